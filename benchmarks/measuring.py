"""Expected times against measured ones, layer by layer: how far the model and the plain roofline are off.

python -m benchmarks.measuring          a round: this machine's figures, then every layer in each library, as JSON
python -m benchmarks.measuring page     three rounds and results/predicted.md, without the other benchmarks
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from .harness import Candidate, Finding, Progress, Result, Spread, answers, number, run

if TYPE_CHECKING:
    from dnnlab.layers import Layer
    from dnnlab.measuring.comparing import Compared, Comparison

NAME = "measuring"
ABOUT = (
    "Layers timed in PyTorch and in NumPy, beside what dnnlab expects of them (`expected`: counts over this machine's "
    "measured rates) and beside the plain roofline (`on`: the best case). Each round is a fresh process that measures "
    "the machine anew; none of its probes has a shape of these layers. Errors are |expected / measured - 1|, medians "
    "over layers; *products* are compute-bound convolutions, linear layers and matrix products of 50 MFLOP and more, "
    "*streaming* layers move arrays of several times the last cache. The table, layer by layer, is in "
    "results/predicted.md."
)
LIBRARIES = ("torch", "numpy")
ROUNDS = 3  # at most: a round takes a minute
LARGE = 50e6  # operations of a product whose error counts
TARGETS = {"products": ("<=", 0.15), "streaming": ("<=", 0.25)}
SECONDS = 0.12  # for each layer
# A time counts when other programs took less than this share of the processors meanwhile; if not, it is taken again.
DISTURBED, TRIES = 0.08, 3


def measure(repeats: int, progress: Progress) -> Result:
    """Errors and rank correlations, round by round."""
    rounds, skipped = [], {}
    needs = Candidate(NAME, ("-m", "benchmarks.measuring"), ("dnnlab", "numpy"))
    if needs.missing:
        return Result(NAME, ABOUT, (), {NAME: needs.missing})
    if importlib.util.find_spec("torch") is None:
        skipped["torch"] = "torch not installed"
    for turn in range(min(repeats, ROUNDS)):
        progress(f"round {turn + 1} of {min(repeats, ROUNDS)}")
        try:
            rounds += answers([run(needs.arguments)])
        except RuntimeError as error:
            skipped[f"round {turn + 1}"] = str(error).strip().splitlines()[-1]
    if not rounds:
        return Result(NAME, ABOUT, (), skipped)
    results = Path(__file__).parent / "results"
    results.mkdir(exist_ok=True)
    (results / "predicted.md").write_text(page(rounds, skipped), encoding="utf-8")
    return Result(NAME, ABOUT, tuple(findings(rounds)), skipped, {"rounds": rounds})


def findings(rounds: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    """The summary of each library, round by round."""
    for library in rounds[0]["libraries"]:
        found = [turn["libraries"][library]["summary"] for turn in rounds]

        def spread(key: str, found: list[dict[str, float]] = found) -> Spread:
            return Spread.of(summary[key] for summary in found)

        yield Finding(f"layers, {library}", spread("layers"), "", (">=", 40))
        for group, target in TARGETS.items():
            if all(f"{group} error" in summary for summary in found):
                yield Finding(f"error of {group}, {library}", spread(f"{group} error"), "", target)
                yield Finding(f"error of {group}, {library}, plain roofline", spread(f"{group} roofline"), "")
        yield Finding(f"rank correlation, {library}", spread("rank"), "", (">=", 0.95))
        yield Finding(f"rank correlation, {library}, plain roofline", spread("rank roofline"), "")


# -- the page ---------------------------------------------------------------------------------------------------

HEADS = ("layer", "kind", "group", "at best", "expected", "measured", "least … greatest", "error", "of the roof",
         "explained by")  # fmt: skip


def page(rounds: Sequence[Mapping[str, Any]], skipped: Mapping[str, str]) -> str:
    """The layers of all rounds as Markdown."""
    text = [
        "# Expected and measured times of layers\n",
        f"Written by the benchmark `measuring`: medians of {len(rounds)} rounds, each in a fresh process that measures "
        "the machine first; *least … greatest* is over all repeats of all rounds; a time that other programs "
        "disturbed (on Linux) is taken again. *at best* is the plain roofline, "
        "*expected* what dnnlab's model of the library makes of this machine's figures, *error* expected / measured - "
        "1, *of the roof* at best / measured. *products* are compute-bound and have 50 MFLOP and more, *streaming* "
        "layers move arrays of several times the last cache; *others* count in the rank correlation alone.\n",
        f"Machine: {rounds[0]['device']}.\n",
        "| figure | rounds |",
        "| --- | --- |",
    ]
    figures = rounds[0]["figures"]
    text += [f"| {name} | {' · '.join(turn['figures'].get(name, '–') for turn in rounds)} |" for name in figures]
    for library in rounds[0]["libraries"]:
        text += ["", f"## {library}\n", *_summary(library, rounds), ""]
        text += ["| " + " | ".join(HEADS) + " |", "| --- | --- | --- |" + " ---: |" * 6 + " --- |"]
        turns = [turn["libraries"][library]["rows"] for turn in rounds]
        for name in turns[0]:
            found = [turn[name] for turn in turns if name in turn]
            text.append("| " + " | ".join((name, *_cells(found))) + " |")
        for name, reason in rounds[0]["libraries"][library]["left out"].items():
            text.append(f"\nNot measured: {name}: {reason}")
    text += [f"\nNot run: {name}: {reason}" for name, reason in skipped.items()]
    return "\n".join(text) + "\n"


def _summary(library: str, rounds: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield "| summary | median (least … greatest of the rounds) | target |"
    yield "| --- | --- | --- |"
    for finding in findings(rounds):
        if f", {library}" in finding.what:
            target = "" if finding.target is None else f"{finding.target[0]} {number(finding.target[1])}"
            yield f"| {finding.what} | {finding.spread} | {target} |"


def _cells(found: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    from dnnlab.quantities import show

    best, expected, time = (median(row[key] for row in found) for key in ("best", "expected", "time"))
    yield found[0]["kind"]
    yield found[0]["group"]
    yield from (show(seconds, "s") for seconds in (best, expected, time))
    yield f"{show(min(row['least'] for row in found), 's')} … {show(max(row['greatest'] for row in found), 's')}"
    yield f"{expected / time - 1:+.0%}"
    yield f"{best / time:.0%}"
    # The explanation of the round whose error is in the middle.
    yield sorted(found, key=lambda row: row["error"])[len(found) // 2]["explanation"]


# -- one round, in a process of its own ---------------------------------------------------------------------------


def layers(size: float) -> dict[str, Layer]:
    """The layers by name; `size`: bytes of each large array of those that stream."""
    from dnnlab import layers as kinds
    from dnnlab import zoo

    picked = {
        "AlexNet": (("alexnet", 1), "features.0 features.3 features.6 features.8 features.10 features.2 features.7"),
        "AlexNet, batch 8": (("alexnet", 8), "features.3 classifier.1"),
        "ResNet-50": (
            ("resnet50", 1),
            "conv1 layer1.0.conv2 layer1.0.conv3 layer2.0.downsample.0 layer3.1.conv2 layer4.0.conv3 layer4.1.conv2 "
            "bn1 layer1.0.relu layer1.0.add",
        ),
        "ResNet-50, batch 8": (("resnet50", 8), "layer1.0.conv1 layer2.1.conv2 layer3.0.conv3 layer4.1.conv1"),
        "VGG-16": (("vgg16", 1), "features.2 features.10 features.19 features.24"),
        "MobileNetV2": (("mobilenet_v2", 1), "features.2.conv.0.0 features.12.conv.0.2 features.18.0"),
        "MobileNetV2, batch 8": (("mobilenet_v2", 8), "features.3.conv.0.0 features.12.conv.2 features.18.0"),
        "BERT": (
            ("bert_base", 1),
            "encoder.0.attention.query encoder.0.intermediate encoder.0.output encoder.0.gelu encoder.0.attention.add "
            "embeddings.norm",
        ),
        "BERT, batch 4": (("bert_base", 4), "encoder.0.attention.query encoder.0.output"),
    }
    found: dict[str, Layer] = {}
    for name, ((known, batch), nodes) in picked.items():
        net = zoo.network(known, batch=batch)
        found |= {f"{name}: {node}": net[node].layer for node in nodes.split()}
    found |= {
        "MLP: 64 × 784 → 2500": kinds.Linear(n=64, c=784, k=2500, bias=True),
        "MLP: 128 × 4000 → 1000": kinds.Linear(n=128, c=4000, k=1000),
        "MLP: 1 × 400 → 120": kinds.Linear(n=1, c=400, k=120, bias=True),
        "MLP: 300 × 1500 → 1500": kinds.Linear(n=300, c=1500, k=1500),
        "products of 12 heads": kinds.MatrixProduct(b=12, t=300, d=64, u=300),
        "products of 40 heads": kinds.MatrixProduct(b=40, t=200, d=96, u=200),
    }
    # Images of 56 x 56 with 64 channels, and rows of 768.
    numbers = size / 4
    images = max(1, round(numbers / (64 * 56 * 56)))
    rows = max(1, round(numbers / 768))
    shape: dict[str, Any] = {"n": images, "c": 64, "h": 56, "w": 56}
    streaming: dict[str, Layer] = {
        "ReLU": kinds.ReLU(m=images * 64 * 56 * 56),
        "Add": kinds.Add(m=images * 64 * 56 * 56),
        "Multiply": kinds.Multiply(m=rows * 768),
        "BatchNorm2d": kinds.BatchNorm2d(**shape),
        "LayerNorm": kinds.LayerNorm(n=1, t=rows, c=768),
        "Softmax": kinds.Softmax(n=rows, c=768),
        "GELU": kinds.GELU(m=rows * 768),
        "Sigmoid": kinds.Sigmoid(m=rows * 768),
        "Tanh": kinds.Tanh(m=rows * 768),
        "MaxPool2d": kinds.MaxPool2d(**shape, r=2, s=2, stride=2),
        "AvgPool2d": kinds.AvgPool2d(**shape, r=3, s=3, stride=2),
        "GlobalAvgPool2d": kinds.GlobalAvgPool2d(**shape),
        "SGD": kinds.SGD(p=rows * 768),
        "Adam": kinds.Adam(p=rows * 384),
        "Linear, one sample": kinds.Linear(n=1, c=8000, k=max(1, round(numbers / 8000))),
    }
    return found | {f"large {name}": layer for name, layer in streaming.items()}


def group(row: Compared) -> str:
    """What its error counts in."""
    best = row.expectation.best
    if row.expectation.work.matrix >= LARGE and best.bound != "memory":
        return "products"
    far = 3 * (best.device.on_chip or 2**25)
    return "streaming" if best.bound == "memory" and best.bytes > far else "others"


def summary(comparison: Comparison) -> dict[str, float]:
    """Median errors by group and rank correlations, of the model and of the plain roofline."""
    from dnnlab.measuring.comparing import rank_correlation

    times = [row.time for row in comparison.rows]
    found: dict[str, float] = {"layers": len(times)}
    for name in TARGETS:
        rows = [row for row in comparison.rows if group(row) == name]
        if rows:
            found |= {
                f"{name} error": median(abs(row.error) for row in rows),
                f"{name} roofline": median(abs(row.roof - 1) for row in rows),
            }
    found["rank"] = comparison.rank_correlation()
    found["rank roofline"] = rank_correlation([row.best for row in comparison.rows], times)
    return found


def once(say: Callable[[str], None]) -> dict[str, Any]:
    """A round."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["DNNLAB_MACHINE"] = str(Path(folder) / "machine.json")
        from dnnlab.measuring.calibrating.caches import system
        from dnnlab.measuring.calibrating.machine import this_machine

        device = this_machine(fresh=True, seconds=12)
    say(f"{device.name}: " + ", ".join(f"{fact.name} {fact}" for fact in device.facts))
    # Several times the last cache, also where others have taken a part of it; and a dozen such arrays fit the memory.
    cache = max((*system().caches.values(), device.on_chip or 2**24))
    size = min(4 * cache, (device.capacity or 2**33) / 24)
    found = layers(size)
    libraries = [library for library in LIBRARIES if library == "numpy" or importlib.util.find_spec("torch")]
    turn: dict[str, Any] = {
        "device": device.name, "figures": {fact.name: str(fact) for fact in device.facts}, "libraries": {},
    }  # fmt: skip
    for library in libraries:
        turn["libraries"][library] = _timed(found, library, device, say)
    return turn


def _timed(found: Mapping[str, Layer], library: str, device: Any, say: Callable[[str], None]) -> dict[str, Any]:
    """All layers in a library."""
    from dataclasses import replace

    from dnnlab.measuring.comparing import Comparison
    from dnnlab.measuring.layers import measure as measure_layers

    rows: list[Compared] = []
    left_out: dict[str, str] = {}
    for name, layer in found.items():
        measured = quiet(lambda layer=layer: measure_layers(layer, using=library, seconds=SECONDS))  # type: ignore[misc]
        for _, left_out[name] in measured.left_out:
            say(f"{library:<6}{name:<40}{left_out[name]}")
        for row in measured.against(device).rows:
            rows.append(replace(row, name=name))
            say(f"{library:<6}{name:<40}{row.time * 1e3:10.3f} ms {row.error:+.0%} {row.explanation()}")
    comparison = Comparison(library, "fp32", device, tuple(rows))
    say(comparison.sentence())
    return answer(comparison, left_out)


def answer(comparison: Comparison, left_out: Mapping[str, str]) -> dict[str, Any]:
    """What a round tells about a library."""
    entries = {
        row.name: {
            "kind": row.kind, "group": group(row), "best": row.best, "expected": row.expected, "time": row.time,
            "least": row.measured.least, "greatest": row.measured.greatest, "repeats": row.measured.repeats,
            "error": row.error, "explanation": row.explanation(), "effects": dict(row.expectation.effects),
        }
        for row in comparison.rows
    }  # fmt: skip
    return {"summary": summary(comparison), "rows": entries, "left out": dict(left_out)}


def quiet(take: Callable[[], Any]) -> Any:
    """What `take` returns, taken again while other programs disturb it; the least disturbed one in the end."""
    from dnnlab.measuring.calibrating.caches import system
    from dnnlab.measuring.calibrating.others import use

    found, threads = [], system().busy
    for _ in range(TRIES):
        before, start = use(), time.perf_counter()
        taken = take()
        found.append((before.missing(use(), threads * (time.perf_counter() - start)), taken))
        if found[-1][0] < DISTURBED:
            break
    return min(found, key=lambda one: one[0])[1]


def main(arguments: list[str]) -> None:
    """A round as JSON, or the whole page."""
    if arguments:
        from .report import lines

        print(lines(measure(ROUNDS, lambda step: print(step, file=sys.stderr))))
        return
    print(json.dumps(once(lambda text: print(text, file=sys.stderr, flush=True))))


if __name__ == "__main__":
    main(sys.argv[1:])
