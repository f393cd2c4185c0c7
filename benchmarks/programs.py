"""`dnnlab analyze resnet50` as a whole program, beside programs that count the same network with a peer."""

from __future__ import annotations

from .harness import Candidate, Finding, Progress, Result, Spread, in_turn, ratio

NAME = "programs"
ABOUT = (
    "`dnnlab analyze resnet50` (counts, times on a device, bytes kept) against a program that counts a hand-written "
    "ResNet-50 with a peer (on meta tensors; fvcore with numbers): from the start of Python to its end."
)
OURS = Candidate("dnnlab analyze resnet50", ("-m", "dnnlab", "analyze", "resnet50"), ("dnnlab",))
PEERS = {"FlopCounterMode": ("torch",), "fvcore": ("torch", "fvcore"), "torchinfo": ("torch", "torchinfo")}
MACS = 4_089_184_256  # of ResNet-50; who counts something else has not done the work


def measure(repeats: int, progress: Progress) -> Result:
    """Wall time and peak memory of each program, in turn."""
    peers = [Candidate(name, ("-m", "benchmarks.peers", name), needs) for name, needs in PEERS.items()]
    runs, skipped = in_turn([OURS, *peers], repeats, progress)
    if OURS.name not in runs:
        return Result(NAME, ABOUT, (), skipped)
    ours = runs[OURS.name]
    if f"{MACS:,}" not in ours[0].output:
        raise RuntimeError(f"dnnlab did not print {MACS:,} MACs")
    if "FlopCounterMode" in runs and str(2 * MACS) not in runs["FlopCounterMode"][0].output:
        raise RuntimeError(f"FlopCounterMode did not print {2 * MACS} FLOP")
    findings = []
    peaks = {name: [found.peak for found in several] for name, several in runs.items()}
    times = {name: [found.seconds for found in several] for name, several in runs.items()}
    others = [name for name in runs if name != OURS.name]
    for name, values in times.items():
        findings.append(Finding(f"time, {name}", Spread.of(values), "s"))
    for name in others:
        findings.append(Finding(f"times as fast as {name}", ratio(times[name], times[OURS.name]), "×", (">=", 3)))
    if all(None not in values for values in peaks.values()):
        memory = {name: [float(value or 0) for value in values] for name, values in peaks.items()}
        for name, values in memory.items():
            findings.append(Finding(f"peak memory, {name}", Spread.of(v / 1e6 for v in values), "MB"))
        for name in others:
            findings.append(Finding(f"times as light as {name}", ratio(memory[name], memory[OURS.name]), "×", (">=", 3)))
    return Result(NAME, ABOUT, tuple(findings), skipped, {"seconds": times, "peak_bytes": peaks})
