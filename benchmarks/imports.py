"""`import dnnlab` beside `import sympy`, in fresh processes."""

from __future__ import annotations

from .harness import Candidate, Finding, Progress, Result, Spread, answers, in_turn, ratio

NAME = "imports"
ABOUT = "`import dnnlab` against `import sympy`, which it cannot do without: time of the import, memory of the process."
CODE = "import time; begin = time.perf_counter(); import {}; print(time.perf_counter() - begin)"
CANDIDATES = tuple(Candidate(f"import {name}", ("-c", CODE.format(name)), (name,)) for name in ("sympy", "dnnlab"))


def measure(repeats: int, progress: Progress) -> Result:
    """Time and memory of the two imports, in turn."""
    runs, skipped = in_turn(CANDIDATES, repeats, progress)
    if skipped:
        return Result(NAME, ABOUT, (), skipped)
    sympy, dnnlab = runs["import sympy"], runs["import dnnlab"]
    seconds = {name: answers(found) for name, found in runs.items()}
    findings = [
        Finding("time, dnnlab / sympy", ratio(seconds["import dnnlab"], seconds["import sympy"]), "×", ("<=", 1.5)),
        Finding("whole process, dnnlab / sympy", ratio([r.seconds for r in dnnlab], [r.seconds for r in sympy]), "×"),
        *(Finding(f"time, {name}", Spread.of(values), "s") for name, values in seconds.items()),
    ]
    if all(found.processor for found in (*sympy, *dnnlab)):
        spread = ratio([r.processor or 0 for r in dnnlab], [r.processor or 0 for r in sympy])
        findings.append(Finding("whole process, processor time, dnnlab / sympy", spread, "×"))
    if all(found.peak for found in (*sympy, *dnnlab)):
        above = [(b.peak or 0) - (a.peak or 0) for a, b in zip(sympy, dnnlab, strict=True)]
        findings.append(Finding("memory above sympy", Spread.of(a / 1e6 for a in above), "MB", ("<=", 20)))
    peaks = {name: [found.peak for found in several] for name, several in runs.items()}
    return Result(NAME, ABOUT, tuple(findings), skipped, {"seconds": seconds, "peak_bytes": peaks})
