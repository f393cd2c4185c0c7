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
    others = [name for name in runs if name != OURS.name]
    seconds = {name: [found.seconds for found in several] for name, several in runs.items()}
    processor = {name: [found.processor or 0.0 for found in several] for name, several in runs.items()}
    peaks = {name: [float(found.peak or 0) for found in several] for name, several in runs.items()}
    findings = [Finding(f"time, {name}", Spread.of(values), "s") for name, values in seconds.items()]
    findings += _times("fast", seconds, others)
    if ours[0].processor and ours[0].peak:  # the system tells
        without_target = _times("fast", processor, others)
        findings += [Finding(f"{f.what}, processor time", f.spread, f.unit) for f in without_target]
        findings += [Finding(f"peak memory, {n}", Spread.of(v / 1e6 for v in peaks[n]), "MB") for n in peaks]
        findings += _times("light", peaks, others)
    raw = {"seconds": seconds, "processor_seconds": processor, "peak_bytes": peaks}
    return Result(NAME, ABOUT, tuple(findings), skipped, raw)


def _times(how: str, values: dict[str, list[float]], others: list[str]) -> list[Finding]:
    """How many times faster or lighter than each peer."""
    ours, target = values[OURS.name], (">=", 3.0)
    return [Finding(f"times as {how} as {name}", ratio(values[name], ours), "×", target) for name in others]
