"""The benchmarks' own arithmetic, and one of them run for real."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks import report
from benchmarks.harness import Candidate, Finding, Progress, Result, Spread, in_turn, machine, ratio, run
from benchmarks.run import BENCHMARKS, main


def quiet(_: str) -> None:
    pass


def test_spread_and_targets() -> None:
    spread = ratio([3, 8, 10], [1, 2, 5])
    assert spread == Spread(2, 3, 4, 3)
    assert Finding("x", spread, "×", (">=", 3)).met
    assert Finding("x", spread, "×", ("<=", 2.9)).met is False
    assert Finding("x", spread, "×").met is None


def test_a_process_is_measured() -> None:
    found = run(["-c", "x = bytearray(60_000_000); sum(range(2_000_000)); print(len(x))"])
    assert found.output.strip() == "60000000"
    if found.peak is not None and found.processor is not None:
        assert found.peak > 60e6
        assert found.processor > 0
    with pytest.raises(RuntimeError, match="told so"):
        run(["-c", "raise SystemExit('told so')"])


def test_what_cannot_run_is_named() -> None:
    candidates = [
        Candidate("fine", ("-c", "print(1)")),
        Candidate("absent", ("-c", "print(1)"), ("no_such_package",)),
        Candidate("broken", ("-c", "raise ValueError('no such luck')")),
    ]
    runs, skipped = in_turn(candidates, 2, quiet)
    assert len(runs["fine"]) == 2
    assert "no_such_package not installed" in skipped["absent"]
    assert skipped["broken"] == "ValueError: no such luck"
    text = report.markdown(machine(), [Result("name", "about", (), skipped)], {})
    assert "- broken: ValueError: no such luck" in text and "- absent: no_such_package not installed" in text


def test_the_page_begins_with_what_was_met_and_missed() -> None:
    findings = (
        Finding("time", Spread.of([1.0]), "s", ("<=", 2)),
        Finding("times as fast", Spread.of([4.0, 5.0]), "×", (">=", 9)),
    )
    text = report.markdown(machine(), [Result("race", "about", findings)], {"other": "not asked for"})
    assert "| [race](#race) | times as fast: 4.5 (4 … 5) × | 1 of 2 | times as fast: 4.5 × |" in text
    assert "- benchmark `other`: not asked for" in text


def test_a_benchmark_that_fails_does_not_take_the_others_along(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(repeats: int, progress: Progress) -> Result:
        raise ValueError("no such luck")

    def fine(repeats: int, progress: Progress) -> Result:
        return Result("fine", "about", ())

    rooms = {"broken": SimpleNamespace(measure=broken), "fine": SimpleNamespace(measure=fine)}
    monkeypatch.setattr("benchmarks.run.BENCHMARKS", rooms)
    assert main(["--out", str(tmp_path)]) == 1
    assert "not run: ValueError: no such luck" in capsys.readouterr().out
    record = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert record["not_run"] == {"broken": "ValueError: no such luck"} and [*record["benchmarks"]] == ["fine"]


def test_the_entry_point_writes_a_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--only", "imports", "--repeats", "1", "--out", str(tmp_path)]) == 0
    assert "time, dnnlab / sympy" in capsys.readouterr().out
    record = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert set(record["not_run"]) == {*BENCHMARKS} - {"imports"}
    findings = {finding["what"]: finding for finding in record["benchmarks"]["imports"]["findings"]}
    assert findings["time, dnnlab / sympy"]["spread"]["median"] > 0.5
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "| time, dnnlab / sympy |" in text
    assert str(Path.home()) not in text and str(Path(__file__).parent.parent) not in text
