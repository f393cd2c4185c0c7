"""A table of ResNet-50 in a process that runs already: the first one, later ones, other batches."""

from __future__ import annotations

from statistics import median

from .harness import Candidate, Finding, Progress, Result, Spread, answers, in_turn
from .programs import PEERS

NAME = "counts"
ABOUT = (
    "A table of ResNet-50, network built and counted, after the imports: the first, the median of five more of the "
    "same batch, and the median of three other batches. Each round is a fresh process."
)
TARGETS = {"first": ("<=", 0.5), "later": ("<=", 0.020)}
WORDS = {"first": "first table", "later": "the same again", "other": "another batch"}


def measure(repeats: int, progress: Progress) -> Result:
    """Seconds of each kind of table for each candidate, processes in turn."""
    candidates = [
        Candidate(name, ("-m", "benchmarks.peers", name, "again"), needs)
        for name, needs in {"dnnlab": ("dnnlab",), **PEERS}.items()
    ]
    runs, skipped = in_turn(candidates, repeats, progress)
    raw = {name: answers(several) for name, several in runs.items()}
    findings = []
    for kind, words in WORDS.items():
        for name, several in raw.items():
            wall, processor = (
                Spread.of(median(pair[clock] for pair in answer[kind]) for answer in several) for clock in (0, 1)
            )
            target = TARGETS.get(kind) if name == "dnnlab" else None
            findings.append(Finding(f"{words}, {name}", wall, "s", target))
            if target:
                findings.append(Finding(f"{words}, {name}, processor time", processor, "s", target))
    return Result(NAME, ABOUT, tuple(findings), skipped, raw)
