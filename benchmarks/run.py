"""Run all benchmarks and write the report.

python benchmarks/run.py                    all, 7 rounds each
python benchmarks/run.py --only sweeps      one
python benchmarks/run.py --repeats 15 --out FOLDER
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

if __package__ in (None, ""):  # started as a file
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import (
    checkpoints,
    counts,
    explorers,
    grading,
    importing,
    imports,
    measuring,
    pipelines,
    programs,
    report,
    sweeps,
    tiling,
    training,
)
from benchmarks.harness import ROOT, Result, machine

MODULES = (imports, programs, counts, sweeps, tiling, pipelines, checkpoints, training, explorers, grading, importing,
           measuring)  # fmt: skip
BENCHMARKS = {module.NAME: module for module in MODULES}


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmarks that were asked for; the report grows with each, so that a stopped run leaves one."""
    parser = argparse.ArgumentParser("python benchmarks/run.py", description="How fast dnnlab is beside its peers.")
    parser.add_argument("--only", action="append", choices=list(BENCHMARKS), help="one benchmark; may be repeated")
    parser.add_argument("--repeats", type=int, default=7, help="rounds of each benchmark (7)")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results", help="folder of the report")
    options = parser.parse_args(arguments)
    if options.repeats < 1:
        parser.error("--repeats takes a number of at least 1")
    names = list(dict.fromkeys(options.only or BENCHMARKS))
    about, results, failed = machine(), list[Result](), 0
    skipped = {name: "not asked for" for name in BENCHMARKS if name not in names}
    skipped |= {name: "the run was stopped before it" for name in names}
    for name in names:
        begin = time.monotonic()

        def progress(step: str, name: str = name, begin: float = begin) -> None:
            if sys.stdout.isatty():
                print(f"\r\033[K{name:<10}{time.monotonic() - begin:5.0f} s  {step}", end="", flush=True)

        try:
            results.append(BENCHMARKS[name].measure(options.repeats, progress))
            del skipped[name]
            found = report.lines(results[-1])
        except Exception as error:  # one that fails must not take the others along
            failed = 1
            skipped[name] = f"{type(error).__name__}: {error}".splitlines()[0].replace(str(ROOT), ".")
            found = f"  not run: {skipped[name]}"
        if sys.stdout.isatty():
            print("\r\033[K", end="")
        print(f"{name:<10}{time.monotonic() - begin:5.0f} s   {len(results)} of {len(names)} done", flush=True)
        print(found, flush=True)
        report.write(options.out, about, results, skipped)
    print(f"report: {options.out / 'report.md'}")
    return failed


if __name__ == "__main__":
    sys.exit(main())
