"""The commands of the project in plain Python, for every system: no make and no package is needed first.

    python -m tasks lab      open the lectures; what follows goes to JupyterLab (--no-browser --port 9000)
    python -m tasks test     run every check; --stage NAME runs one, what else follows goes to pytest
    python -m tasks slides   write a slide deck of each lecture to build/slides
    python -m tasks refresh  run the lectures and store their outputs (or those that are named)
    python -m tasks bench    run the benchmarks
    python -m tasks lock     write requirements.lock anew from the newest versions that go together
    python -m tasks clean    remove the environment and everything that was built

Each command first makes .venv what it needs. A stamp in it says what was installed, so a second run finds
its environment ready and starts at once.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

if sys.version_info < (3, 11):  # noqa: UP036 - an older Python, started by hand, is told so
    sys.exit(f"dnnlab needs Python 3.11 or newer, and this is {sys.version.split()[0]}")

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
STAMP = VENV / "installed.json"
LOCK = ROOT / "requirements.lock"
LOGS = ROOT / "build" / "logs"
LOCKED = ("lab", "test", "slides", "torch", "onnx", "cluster", "nbgrader", "bench", "binder")
TESTED = ("lab", "test", "slides", "cluster", "nbgrader")  # what the tests are run with
HELD = ("torch==2.13.0",)  # the reference figures of what autograd keeps were measured with this one
CACHES = (".pytest_cache", ".mypy_cache", ".ruff_cache", ".hypothesis")
RUBBISH = (".venv", "build", "dist", "dnnlab.egg-info", *CACHES)
# Output goes to files: say it at once, and in UTF-8 on Windows too (formulas hold '·' and '×').
SETTINGS = {"PYTHONUNBUFFERED": "1", "PYTHONUTF8": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


def run(label: str, command: Iterable[str], limit: float, progress: Callable[[str], str]) -> tuple[int, str]:
    """Run a command with its output kept in build/logs; return its exit status and that output.

    Begins a line that the caller ends. On a terminal it shows how far the command is: `progress` of the
    output so far. A command that runs past `limit` seconds is stopped and has status 124.
    """
    LOGS.mkdir(parents=True, exist_ok=True)
    log, begin, live = LOGS / f"{label}.log", time.monotonic(), sys.stdout.isatty()
    print(f"{label:<10}", end="", flush=True)
    with log.open("wb") as out:
        child = subprocess.Popen(
            list(command),
            cwd=ROOT,
            env=os.environ | SETTINGS,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
        try:
            while child.poll() is None and time.monotonic() - begin < limit:
                try:
                    child.wait(timeout=0.5)
                except subprocess.TimeoutExpired:
                    if live:
                        far = progress(log.read_text("utf-8", "replace"))
                        print(f"\r{label:<10}{time.monotonic() - begin:5.0f} s  {far}", end="", flush=True)
            late = child.poll() is None
        finally:
            stop(child)
    print(f"\r{'':<78}\r{label:<10}" if live else "", end="")
    print(f"{time.monotonic() - begin:5.0f} s  ", end="")
    output = log.read_text("utf-8", "replace")
    return (124, f"{output}\nstopped: it ran past {limit:.0f} s\n") if late else (child.returncode, output)


def stop(child: subprocess.Popen[bytes]) -> None:
    """End a child that still runs: first as Ctrl-C would, so that it ends its servers and browsers itself."""
    if child.poll() is None and os.name == "posix":
        child.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(timeout=15)
    if child.poll() is None:
        child.kill()
        child.wait()


# --- the environment


def python_of(venv: Path) -> str:
    return str(venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))


def set_up(wanted: Iterable[str]) -> None:
    """Make .venv hold the project, editable, with the extras `wanted`, at the versions of the lock."""
    # An environment is full of absolute paths: in a copied folder, or for another Python, it starts afresh.
    home = {"root": str(ROOT), "python": sys.version.split()[0]}
    files = hashlib.sha256((ROOT / "pyproject.toml").read_bytes() + LOCK.read_bytes()).hexdigest()
    try:
        old = json.loads(STAMP.read_text())
    except (OSError, ValueError):
        old = {}  # there is none, or its installation was cut short
    usable = os.path.exists(python_of(VENV)) and home.items() <= old.items()
    extras = sorted({*wanted, *(old["extras"] if usable else ())})
    new = {**home, "files": files, "extras": extras}
    if usable and old == new:
        return
    STAMP.unlink(missing_ok=True)
    if not usable:
        make_venv(VENV)
    install(VENV, "-c", LOCK.name, "-e", f".[{','.join(extras)}]")
    STAMP.write_text(json.dumps(new, indent=1))


def make_venv(venv: Path) -> None:
    """A new, empty environment, made by the Python underneath where this one runs from an environment."""
    python = getattr(sys, "_base_executable", sys.executable)
    if subprocess.run([python, "-m", "venv", "--clear", str(venv)], check=False).returncode:
        sys.exit(f"{python} could not make {venv}; on Debian and Ubuntu, apt-get install python3-venv helps")


def install(venv: Path, *arguments: str) -> None:
    """Run pip in an environment. Only its exit status counts: it warns about things that are fine."""
    command = [python_of(venv), "-m", "pip", "install", "--no-input", *arguments]
    status, output = run("install", command, 3600, lambda text: f"{text.count('Collecting ')} packages")
    print(" ".join(arguments), flush=True)
    if status:
        sys.exit(f"{output}\npip could not install {arguments[-1]} (status {status}); its reasons are above")


# --- the tests


@dataclass(frozen=True)
class Stage:
    """One part of `test`: a module with its arguments, a limit in seconds, and whether it is pytest's."""

    command: tuple[str, ...]
    limit: float
    counts: bool = True


def stages() -> dict[str, Stage]:
    """The stages by name, in their order: the quick ones first, so that a slip shows early."""
    parallel = ("pytest", "-q", "-n", str(min(os.cpu_count() or 1, 4)), "--dist")
    nbval = ("--nbval-lax", "--nbval-current-env", "--nbval-cell-timeout", "60")
    sources = ("--doctest-modules", "dnnlab", "slides", "tasks.py", "tests", "--ignore=tests/browser")
    return {
        "lint": Stage(("ruff", "check", "."), 120, counts=False),
        "types": Stage(("mypy",), 300, counts=False),
        "unit": Stage((*parallel, "worksteal", *sources), 2400),
        "trees": Stage(("dnnlab", "build", "--check"), 120, counts=False),
        "notebooks": Stage((*parallel, "loadfile", *nbval, "notebooks", "exercises", "solutions"), 1200),
        "browser": Stage(("pytest", "-q", "tests/browser"), 900),  # one at a time: journeys measure times
    }


def run_tests(names: list[str], extras: list[str], slow: bool, more: list[str]) -> int:
    set_up([*TESTED, *extras])
    if slow:
        os.environ["DNNLAB_SLOW"] = "1"  # read by tests/conftest.py
    LOGS.mkdir(parents=True, exist_ok=True)
    # Notebooks under test are no student, and the figures of a machine that runs tests are no student's either.
    os.environ.setdefault("DNNLAB_PROGRESS", str(LOGS / "progress.json"))
    os.environ.setdefault("DNNLAB_MACHINE", str(LOGS / "machine.json"))
    plan = stages()
    total = sum((run_stage(name, plan[name], more) for name in names or plan), Counter[str]())
    print(words(total), flush=True)
    return 1 if total["failed"] else 0


def run_stage(name: str, stage: Stage, more: Iterable[str]) -> Counter[str]:
    """Run one stage, print its line (and its output if it fails), return its outcomes."""
    report = LOGS / f"{name}.xml"
    report.unlink(missing_ok=True)
    command = [python_of(VENV), "-m", *stage.command]
    if stage.counts:
        command += [f"--junitxml={report}", *more]
    status, output = run(name, command, stage.limit, percent)
    outcomes, reasons = tally(report, status)
    print(words(outcomes) if stage.counts else "FAILED" if status else "ok", flush=True)
    for reason, number in reasons.items():
        print(f"{'':<19}skipped {number}: {reason}", flush=True)
    if status:
        print(f"\n{output.strip()}\n\n{name} ended with status {status}\n", flush=True)
    return outcomes


def tally(report: Path, status: int) -> tuple[Counter[str], Counter[str]]:
    """The outcomes of a stage, from its JUnit report if it has one, and the reasons for skips, counted.

    A stage that went wrong without a failed test (nothing collected, a crash, a limit) counts as one failure.
    """
    outcomes, reasons = Counter[str](), Counter[str]()
    for case in ET.parse(report).iter("testcase") if report.exists() else ():
        marks = {child.tag: child for child in case}
        if "failure" in marks or "error" in marks:
            outcomes["failed"] += 1
        elif "skipped" in marks:
            outcomes["skipped"] += 1
            # A skipped test has its reason as message, a file that skips itself in the text.
            said = re.search(r"'Skipped: (.*)'\)", marks["skipped"].text or "")
            reasons[said[1] if said else marks["skipped"].get("message", "")] += 1
        else:
            outcomes["passed"] += 1
    if status and not outcomes["failed"]:
        outcomes["failed"] = 1
    return outcomes, reasons


def words(outcomes: Counter[str]) -> str:
    """The outcomes as one line.

    >>> words(Counter(passed=3, failed=1, skipped=2)), words(Counter(passed=3))
    ('3 passed, 1 failed, 2 skipped', '3 passed, 0 failed')
    """
    skipped = f", {outcomes['skipped']} skipped" if outcomes["skipped"] else ""
    return f"{outcomes['passed']} passed, {outcomes['failed']} failed{skipped}"


def percent(text: str) -> str:
    """How far pytest is, from its own marks.

    >>> percent("....... [ 40%]\\n....... [ 80%]\\n..")
    '80 %'
    """
    return "".join(f"{far} %" for far in re.findall(r"\[ *(\d+)%\]", text)[-1:])


# --- the other commands


def lab(more: list[str]) -> int:
    set_up(["lab"])
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        more = [*more, "--allow-root"]  # in a container there is nobody else, and Jupyter would refuse
    # As an address, not as a file to open: so it also stands in what is printed where there is no browser.
    return become("jupyterlab", "--LabApp.default_url=/lab/tree/notebooks/00_start_here.ipynb", *more)


def slides(more: list[str]) -> int:
    set_up(["slides"])
    return become("slides", *more)


def refresh(more: list[str]) -> int:
    set_up(["lab"])
    LOGS.mkdir(parents=True, exist_ok=True)
    # Nobody's predictions are stored, and no state of widgets: with it, exported pages show no picture.
    for name, file in (("DNNLAB_PROGRESS", "refresh.json"), ("DNNLAB_MACHINE", "refresh-machine.json")):
        os.environ[name] = str(LOGS / file)
        (LOGS / file).unlink(missing_ok=True)
    keep = [f"--ExecutePreprocessor.{name}=False" for name in ("store_widget_state", "record_timing")]
    named = more or [str(path) for path in sorted((ROOT / "notebooks").glob("*.ipynb"))]
    return become("nbconvert", "--to", "notebook", "--execute", "--inplace", *keep, *named)


def bench(more: list[str]) -> int:
    set_up(["bench"])
    return become("benchmarks", *more)


def become(*module: str) -> int:
    """Turn into `python -m module` where the system can (signals then reach it alone), else wait for it."""
    os.chdir(ROOT)
    command = [python_of(VENV), "-m", *module]
    if os.name == "posix":
        os.execv(command[0], command)
    return subprocess.call(command)


def lock() -> int:
    """Install every extra into an empty environment and write down the versions that pip chose."""
    with tempfile.TemporaryDirectory() as folder:
        venv = Path(folder)
        make_venv(venv)
        install(venv, *HELD, "-e", f".[{','.join(LOCKED)}]")
        freeze = [python_of(venv), "-m", "pip", "freeze", "--exclude-editable"]
        frozen = subprocess.run(freeze, check=True, stdout=subprocess.PIPE, text=True).stdout
    title = (
        "# Written by `python -m tasks lock`: every version that the project is tested with.\n"
        "# Used as constraints (pip install -c): a name is installed only where an extra asks for it.\n"
    )
    LOCK.write_text(title + "\n".join(pins(frozen)) + "\n", encoding="utf-8", newline="\n")
    return 0


def pins(frozen: str) -> list[str]:
    """The plain pins of `pip freeze`: no addresses, no editable lines, no mark of one machine's build.

    >>> pins("-e /here\\nnumpy==2.4.6\\ndnnlab @ file:///here\\ntorch==2.13.0+cpu\\n")
    ['numpy==2.4.6', 'torch==2.13.0']
    """
    return re.findall(r"^([\w.-]+==[^\s+;]+)", frozen, re.MULTILINE)


def clean() -> int:
    for name in RUBBISH:
        shutil.rmtree(ROOT / name, ignore_errors=True)
    return 0


def main(arguments: list[str]) -> int:
    whole = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("python -m tasks", description=__doc__, formatter_class=whole)
    parser.add_argument("command", choices=["lab", "test", "slides", "refresh", "bench", "lock", "clean"])
    command, more = parser.parse_args(arguments[:1]).command, arguments[1:]
    if command in ("lock", "clean"):
        return lock() if command == "lock" else clean()
    if command != "test":
        return {"lab": lab, "slides": slides, "refresh": refresh, "bench": bench}[command](more)
    parser = argparse.ArgumentParser("python -m tasks test", allow_abbrev=False, epilog="More: to pytest.")
    parser.add_argument("--stage", action="append", default=[], choices=list(stages()), help="only this one")
    parser.add_argument("--with", dest="extras", action="append", default=[], help="an extra to install too")
    parser.add_argument("--slow", action="store_true", help="also what takes minutes or the network")
    options, more = parser.parse_known_args(more)
    return run_tests(options.stage, options.extras, options.slow, more)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
