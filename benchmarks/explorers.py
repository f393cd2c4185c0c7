"""A move of an explorer in the kernel, beside the plain way: `interact` with a function that makes a new figure."""

from __future__ import annotations

import json
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from .harness import Candidate, Finding, Progress, Result, Spread, answers, in_turn, ratio

NAME = "explorers"
ABOUT = (
    "From a slider's message to a new picture, sentence and table, in the kernel: medians of 100 random moves of every "
    "explorer, after each of its controls has been at every place. The plain way is `interact` with a function that "
    "draws the same roofline in a new figure of pyplot and shows it, as the inline backend does."
)
MOVES = 100


def measure(repeats: int, progress: Progress) -> Result:
    """Moves of all explorers in one process, of the plain way in another, taking turns."""
    needs = ("ipywidgets", "matplotlib")
    candidates = [Candidate(name, ("-m", "benchmarks.explorers", name), needs) for name in ("panels", "plain way")]
    runs, skipped = in_turn(candidates, repeats, progress)
    panels, plain = (answers(runs.get(candidate.name, [])) for candidate in candidates)
    findings: list[Finding] = []
    for name in panels[0] if panels else ():
        findings += [
            Finding(f"{name}, median move", Spread.of(found[name]["median"] for found in panels), "ms", ("<=", 20)),
            Finding(f"{name}, 95th percentile", Spread.of(found[name]["p95"] for found in panels), "ms", ("<=", 60)),
        ]
    if panels and plain:
        slow, quick = [found["median"] for found in plain], [found["roofline"]["median"] for found in panels]
        findings += [
            Finding("plain way, median move", Spread.of(slow), "ms"),
            Finding("times as fast as the plain way", ratio(slow, quick), "×", (">=", 10)),
        ]
    return Result(NAME, ABOUT, tuple(findings), skipped, {"panels": panels, "plain": plain})


def panels() -> dict[str, dict[str, float]]:
    """Milliseconds of random moves, by explorer."""
    from dnnlab.explorers import EXPLORERS

    sys.path.insert(0, "tests")
    from driving import moves

    found = {}
    for name, make in EXPLORERS.items():
        panel, choose = make(strict=True), random.Random(7)
        for field in panel.widgets:
            for widget, message in moves(panel, field):
                widget.set_state(message)

        def steps(panel: Any = panel, choose: random.Random = choose) -> Iterator[Callable[[], None]]:
            for _ in range(MOVES):
                widget, message = choose.choice(list(moves(panel, choose.choice(list(panel.widgets)))))
                yield lambda widget=widget, message=message: widget.set_state(message)

        found[name] = spread(steps())
        panel.close()
    return found


def plain_way() -> dict[str, float]:
    """Milliseconds of moves of a slider that `interact` made."""
    import ipywidgets
    import matplotlib

    matplotlib.use("agg")
    from IPython.core.pylabtools import print_figure
    from matplotlib import pyplot

    from dnnlab import device, roofline, zoo
    from dnnlab.figures import RooflineDrawing

    def draw(batch: int) -> None:
        data = roofline(zoo.resnet50(batch=2**batch), device("h100-sxm"), "fp16")
        figure = pyplot.figure(figsize=(480 / 72, 262 / 72), dpi=108)
        drawing = RooflineDrawing(figure.add_axes((0.13, 0.175, 0.82, 0.73)))
        drawing.update(data, data.points[0])
        for artist in figure.findobj(lambda artist: artist.get_animated()):
            artist.set_animated(False)
        print_figure(figure, bbox_inches="tight")  # what the inline backend sends
        pyplot.close(figure)

    slider = ipywidgets.interactive(draw, batch=(0, 8)).children[0]
    choose = random.Random(7)
    places = [place for place in range(9)]
    for place in places:
        slider.set_state({"value": place})

    def steps() -> Iterator[Callable[[], None]]:
        for _ in range(MOVES // 4):
            place = choose.choice([place for place in places if place != slider.value])
            yield lambda place=place: slider.set_state({"value": place})

    return spread(steps())


def spread(steps: Iterator[Callable[[], None]]) -> dict[str, float]:
    """Median and 95th percentile of the milliseconds that steps take."""
    times = []
    for step in steps:
        begin = time.perf_counter()
        step()
        times.append(1000 * (time.perf_counter() - begin))
    return {"median": statistics.median(times), "p95": statistics.quantiles(times, n=20)[-1]}


if __name__ == "__main__":
    print(json.dumps(panels() if sys.argv[1] == "panels" else plain_way()))
