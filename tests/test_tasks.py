"""The two commands: when an environment is made, kept or repaired, and how outcomes are told."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

import tasks
from tasks import Stage

Calls = list[str]


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Calls:
    """A project in a folder of its own whose environment is made by notes instead of by pip."""
    done: Calls = []
    monkeypatch.setattr(tasks, "ROOT", tmp_path)
    monkeypatch.setattr(tasks, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(tasks, "STAMP", tmp_path / ".venv" / "stamp")
    monkeypatch.setattr(tasks, "LOCK", tmp_path / "lock")
    monkeypatch.setattr(tasks, "LOGS", tmp_path / "logs")
    (tmp_path / "pyproject.toml").write_text("[tool]")
    (tmp_path / "lock").write_text("a==1")

    def make_venv(venv: Path) -> None:
        done.append("make")
        python = Path(tasks.python_of(venv))
        python.parent.mkdir(parents=True, exist_ok=True)
        python.touch()

    monkeypatch.setattr(tasks, "make_venv", make_venv)
    monkeypatch.setattr(tasks, "install", lambda venv, *arguments: done.append(arguments[-1]))
    return done


def after(calls: Calls, wanted: Iterable[str]) -> Calls:
    """What one more `set_up` does."""
    calls.clear()
    tasks.set_up(wanted)
    return list(calls)


def test_second_run_installs_nothing(calls: Calls) -> None:
    assert after(calls, ["lab"]) == ["make", ".[lab]"]
    assert after(calls, ["lab"]) == []


def test_extras_add_up_in_one_environment(calls: Calls) -> None:
    after(calls, ["lab"])
    assert after(calls, ["lab", "test"]) == [".[lab,test]"]
    assert after(calls, ["lab"]) == []
    assert after(calls, ["torch"]) == [".[lab,test,torch]"]


@pytest.mark.parametrize("changed", ["lock", "pyproject.toml"])
def test_changed_versions_are_installed_into_the_same_environment(calls: Calls, changed: str) -> None:
    after(calls, ["lab", "test"])
    (tasks.ROOT / changed).write_text("[tool.else]")
    assert after(calls, ["lab"]) == [".[lab,test]"]


def test_interrupted_installation_starts_afresh(calls: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    after(calls, ["lab"])

    def cut(venv: Path, *arguments: str) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(tasks, "install", cut)
        tasks.set_up(["test"])
    assert after(calls, ["lab"]) == ["make", ".[lab]"]


def test_copied_folder_starts_afresh(calls: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    after(calls, ["lab"])
    stamp = tasks.STAMP.read_text()
    tasks.STAMP.write_text(stamp.replace(tasks.ROOT.name, "elsewhere"))
    assert after(calls, ["lab"]) == ["make", ".[lab]"]
    Path(tasks.python_of(tasks.VENV)).unlink()
    assert after(calls, ["lab"]) == ["make", ".[lab]"]


Outcome = tuple[int, str, str]


@pytest.fixture
def outcome(
    calls: Calls, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Outcome]:
    """Runs `test` with some stages: its status, its last line, and all it said.

    A stage is a Stage, or the text of a file of tests for pytest.
    """
    monkeypatch.setattr(tasks, "python_of", lambda venv: sys.executable)
    monkeypatch.setattr(tasks, "set_up", lambda extras: None)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # plugins take seconds to load

    def outcome(*arguments: str, **stages: str | Stage) -> Outcome:
        plan = {}
        for name, stage in stages.items():
            if isinstance(stage, str):
                (tasks.ROOT / f"test_{name}.py").write_text(stage)
                stage = Stage(("pytest", "-q", f"test_{name}.py"), 60)
            plan[name] = stage
        monkeypatch.setattr(tasks, "stages", lambda: plan)
        status = tasks.main(["test", *arguments])
        said = capsys.readouterr().out
        return status, said.splitlines()[-1], said

    return outcome


ABSENT = "import pytest\npytest.importorskip('absent', reason='no absent: get it')\n"
ONE = "def test_a(): pass\n"
SKIP = "import pytest\ndef test_b(): pytest.skip('no moon')\ndef test_c(): pass\ndef test_d(): pass\n"
BAD = "def test_e(): assert 'ham' == 'eggs'\n"
BAD_END = "import pytest\n@pytest.fixture\ndef f(): yield; 1/0\ndef test_g(f): pass\ndef test_h(): pass\n"


def test_outcomes_of_all_stages_are_summed(outcome: Callable[..., Outcome]) -> None:
    status, last, said = outcome(one=ONE, two=SKIP)
    assert (status, last) == (0, "3 passed, 0 failed, 1 skipped")
    assert "skipped 1: no moon" in said


def test_file_that_skips_itself_says_why(outcome: Callable[..., Outcome]) -> None:
    (tasks.ROOT / "test_self.py").write_text(ABSENT)
    status, last, said = outcome(both=Stage(("pytest", "-q", "test_self.py", "test_one.py"), 60), one=ONE)
    assert (status, last) == (0, "2 passed, 0 failed, 1 skipped")
    assert "skipped 1: no absent: get it\n" in said


def test_failure_shows_its_output_and_the_later_stages_still_run(outcome: Callable[..., Outcome]) -> None:
    status, last, said = outcome(one=BAD, two=BAD_END, three=ONE)
    assert status == 1
    assert last == "2 passed, 2 failed"  # test_g passed, but not what follows it: that is no pass
    assert "'ham' == 'eggs'" in said and "ZeroDivisionError" in said


@pytest.mark.parametrize(
    ("stage", "status"),
    [
        ("# no test here", 5),
        (Stage(("pytest", "test_absent.py"), 60), 4),
        (Stage(("json.tool", "absent.json"), 60, counts=False), 2),
    ],
)
def test_stage_that_ran_no_test_fails(outcome: Callable[..., Outcome], stage: str | Stage, status: int) -> None:
    assert outcome(bad=stage)[:2] == (1, "0 passed, 1 failed")
    assert f"bad ended with status {status}" in outcome(bad=stage)[2]


def test_stage_is_stopped_at_its_limit(outcome: Callable[..., Outcome]) -> None:
    begin = time.monotonic()
    status, last, said = outcome(late=Stage(("http.server", "0"), 3, counts=False), one=ONE)
    assert (status, last) == (1, "1 passed, 1 failed")
    assert "it ran past 3 s" in said
    assert time.monotonic() - begin < 60


def test_choice_of_stage_and_arguments_for_pytest(outcome: Callable[..., Outcome]) -> None:
    assert outcome("--stage", "two", "-k", "test_c", one=BAD, two=SKIP)[:2] == (0, "1 passed, 0 failed")


def test_unknown_stage_is_refused_with_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        tasks.main(["test", "--stage", "untis"])
    said = capsys.readouterr().err
    assert stop.value.code == 2
    assert "untis" in said and all(name in said for name in tasks.stages())
