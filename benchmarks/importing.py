"""Imported networks against reference counters, architecture by architecture: the agreement table.

python -m benchmarks.importing             counts all architectures anew and writes agreement.md beside the report
python -m benchmarks.importing FAMILY      the rows of one family, as JSON
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import logging
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from .harness import ROOT, Finding, Progress, Result, Spread, run

NAME = "importing"
ABOUT = (
    "Architectures with random weights, imported with `Network.from_torch` and counted by PyTorch's FlopCounterMode "
    "(fused attention written out, which it does not count on a CPU), by fvcore, and by autograd (a parameter that "
    "gets a gradient was read). The table, architecture by architecture, is in results/agreement.md."
)
FAMILIES: dict[str, tuple[str, ...]] = {  # by what must be installed
    "torchvision": ("torch", "torchvision"),
    "transformers": ("torch", "transformers"),
    "by hand": ("torch",),
}
HEADS = ("architecture", "layers", "MACs", "FlopCounterMode", "fvcore", "parameters read", "autograd", "not read",
         "left out", "seconds")  # fmt: skip


def measure(repeats: int, progress: Progress) -> Result:
    """How many architectures agree, and how far off the others are; counts do not vary, so they are made once."""
    rows, skipped = [], {}
    for family, needs in FAMILIES.items():
        absent = [package for package in needs if importlib.util.find_spec(package) is None]
        if absent:
            skipped[family] = f"{', '.join(absent)} not installed"
            continue
        progress(family)
        try:
            rows += json.loads(run(("-m", "benchmarks.importing", family), limit=1200).output.strip().splitlines()[-1])
        except RuntimeError as error:
            skipped[family] = str(error).strip().splitlines()[-1].replace(str(ROOT), ".")
    if not rows:
        return Result(NAME, ABOUT, (), skipped)
    worst = {"MACs": "FlopCounterMode", "parameters read": "autograd"}
    findings = [Finding("architectures", Spread.of([len(rows)]), "", (">=", 20))]
    for ours, theirs in worst.items():
        apart = [abs(row[ours] - row[theirs]) / row[theirs] for row in rows]
        agreed = sum(row[ours] == row[theirs] for row in rows)
        findings.append(
            Finding(f"equal {ours}, share of architectures", Spread.of([agreed / len(rows)]), "", (">=", 1))
        )
        findings.append(Finding(f"{ours} against {theirs}, relative difference", Spread.of(apart), "", ("<=", 0)))
    results = Path(__file__).parent / "results"
    results.mkdir(exist_ok=True)
    (results / "agreement.md").write_text(table(rows, skipped), encoding="utf-8")
    findings.append(Finding("import", Spread.of(row["seconds"] for row in rows), "s"))
    return Result(NAME, ABOUT, tuple(findings), skipped, {"architectures": rows})


def table(rows: Iterable[Mapping[str, Any]], skipped: Mapping[str, str]) -> str:
    """The agreement table as Markdown."""

    def cell(value: Any) -> str:
        if isinstance(value, float):
            return f"{value:.1f}"
        return f"{value:,}" if isinstance(value, int) else str(value)

    text = [
        "# Imported networks and reference counters\n",
        "Written by the benchmark `importing`: one sample, random weights, inference. MACs are those of convolutions, "
        "linear layers and matrix products; FlopCounterMode counts two operations for each, and attention where it is "
        "written out as matrix products. fvcore counts the same three kinds; the note says what it does not see, and "
        "of `einsum` (in maxvit_t) it takes over NumPy's count rounded to four digits. "
        "*parameters read* are those of the imported network, *autograd* those with a gradient, *not read* those "
        "of the module that its forward pass does not use (heads for training). *left out* are operations without "
        "known arithmetic, which no total counts.\n",
        "| " + " | ".join(HEADS) + " |",
        "| --- |" + " ---: |" * (len(HEADS) - 1),
    ]
    text += ["| " + " | ".join(cell(row[head]) for head in HEADS) + " |" for row in rows]
    text += [f"\nNot run: {family}: {reason}" for family, reason in skipped.items()]
    return "\n".join(text) + "\n"


# -- one family, in a process of its own ----------------------------------------------------------------------

Made = tuple[Any, Any]  # a module, and what to call it with


def vision() -> dict[str, Callable[[], Made]]:
    """torchvision's classifiers. Where its compiled operators were built for another PyTorch, the two that its import
    asks for are declared; no model here calls them."""
    import torch

    with contextlib.suppress(RuntimeError):
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            if not hasattr(torch.ops.torchvision, name):
                library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import torchvision.models as models

    globals()["_declared"] = library  # the declarations live as long as it does

    def make(name: str, **options: Any) -> Callable[[], Made]:
        size = 299 if name == "inception_v3" else 224
        return lambda: (getattr(models, name)(**options), (torch.zeros(1, 3, size, size),))

    plain = [
        "alexnet",
        "vgg16_bn",
        "resnet18",
        "resnet50",
        "resnext50_32x4d",
        "wide_resnet50_2",
        "densenet121",
        "squeezenet1_1",
        "mobilenet_v2",
        "mobilenet_v3_large",
        "shufflenet_v2_x1_0",
        "mnasnet1_0",
        "efficientnet_b0",
        "regnet_y_400mf",
        "convnext_tiny",
        "vit_b_16",
        "swin_t",
        "swin_v2_t",
        "maxvit_t",
    ]
    heads = {name: make(name, init_weights=False) for name in ("googlenet", "inception_v3")}
    return {name: make(name) for name in plain} | heads


def language() -> dict[str, Callable[[], Made]]:
    """transformers' models from a configuration."""
    vision_declared = importlib.util.find_spec("torchvision") is not None
    if vision_declared:  # transformers imports it where it is there
        vision()
    import torch
    import transformers as hf

    hf.logging.set_verbosity_error()
    ids = torch.zeros(1, 64, dtype=torch.long)
    llama = {"hidden_size": 512, "intermediate_size": 1408, "num_hidden_layers": 4, "num_attention_heads": 8}
    t5 = {"input_ids": ids, "decoder_input_ids": ids[:, :32], "use_cache": False}
    return {
        "BERT-base, masked words": lambda: (hf.BertForMaskedLM(hf.BertConfig()), (ids,)),
        "DistilBERT": lambda: (hf.DistilBertForSequenceClassification(hf.DistilBertConfig()), (ids,)),
        "GPT-2 small": lambda: (hf.GPT2LMHeadModel(hf.GPT2Config(use_cache=False)), (ids,)),
        "Llama, small": lambda: (
            hf.LlamaForCausalLM(hf.LlamaConfig(num_key_value_heads=2, use_cache=False, **llama)), (ids,)
        ),
        "T5-small": lambda: (hf.T5ForConditionalGeneration(hf.T5Config()), t5),
        "ViT, hf": lambda: (hf.ViTForImageClassification(hf.ViTConfig()), (torch.zeros(1, 3, 224, 224),)),
    }  # fmt: skip


def by_hand() -> dict[str, Callable[[], Made]]:
    """The tests' modules: what no package has."""
    sys.path.insert(0, str(ROOT / "tests"))
    import torch
    import torch_models
    import torch_transformers
    from torch_twins import TWINS

    ids = torch.zeros(1, 24, dtype=torch.long)
    sizes = {"layers": 2, "width": 64, "heads": 8, "kv_heads": 2, "hidden": 96, "vocabulary": 100}
    made: dict[str, Callable[[], Made]] = {
        "LeNet-5": lambda: (torch_models.LeNet5(), (torch.zeros(1, 1, 32, 32),)),
        "MobileNetV1": lambda: (torch_models.mobilenet_v1(), (torch.zeros(1, 3, 224, 224),)),
        "Llama-style, products": lambda: (torch_transformers.Llama(24, **sizes), (ids,)),
        "GPT-2, products, tied": lambda: (torch_transformers.GPT2(), (ids,)),
    }
    for name, (_, module, shape) in TWINS.items():
        made[f"twin: {name}"] = lambda module=module, shape=shape: (module(), (torch.zeros(1, *shape),))  # type: ignore[misc]
    return made


def rows(family: str) -> list[dict[str, Any]]:
    """Count each architecture of a family."""
    logging.disable(logging.ERROR)
    warnings.simplefilter("ignore")
    makers = {"torchvision": vision, "transformers": language, "by hand": by_hand}[family]()
    found = []
    for name, make in makers.items():
        model, given = make()
        found.append({"architecture": name, **counted(model.eval(), given)})
        print(name, file=sys.stderr, flush=True)
    return found


def counted(model: Any, given: Any) -> dict[str, Any]:
    """A module's counts: dnnlab's, and those of the references."""
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    from dnnlab import Network

    begin = time.perf_counter()
    net = Network.from_torch(model, given)
    seconds = time.perf_counter() - begin
    example = {"args": (), "kwargs": given} if isinstance(given, Mapping) else {"args": given, "kwargs": {}}
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        out = model(*example["args"], **example["kwargs"])
    _tensor(out).sum().backward()
    parameters = list(model.parameters())
    read = sum(p.numel() for p in parameters if p.grad is not None)
    left = Counter(node.kind for node in net.left_out)
    return {
        "layers": len(net.layers),
        "MACs": net.macs,
        "FlopCounterMode": counter.get_total_flops() // 2,
        "fvcore": _fvcore(model, example),
        "parameters read": net.parameters,
        "autograd": read,
        "not read": sum(p.numel() for p in parameters) - read,
        "left out": ", ".join(f"{kind} × {times}" for kind, times in left.items()) or "–",
        "seconds": seconds,
    }


def _tensor(out: Any) -> Any:
    """The tensor a model is asked for."""
    return getattr(out, "logits", out)


def _fvcore(model: Any, example: Mapping[str, Any]) -> int | str:
    """fvcore's count of the same three kinds, and what it does not see."""
    if importlib.util.find_spec("fvcore") is None:
        return "not installed"
    from fvcore.nn import FlopCountAnalysis

    if example["kwargs"]:
        return "takes no keywords"
    try:
        analysis = FlopCountAnalysis(model, example["args"]).unsupported_ops_warnings(False)
        total = sum(analysis.by_operator()[kind] for kind in ("conv", "linear", "matmul", "addmm", "bmm", "einsum"))
        blind = "scaled_dot_product_attention" in " ".join(analysis.unsupported_ops())
    except Exception as error:  # its tracer refuses some modules
        return f"cannot trace it ({type(error).__name__})"
    return f"{int(total):,}, fused attention unseen" if blind else int(total)


def main(arguments: list[str]) -> None:
    """A family's rows as JSON, or the whole table."""
    if arguments:
        print(json.dumps(rows(arguments[0])))
        return
    measure(1, lambda family: print(family, file=sys.stderr))


if __name__ == "__main__":
    main(sys.argv[1:])
