"""The same grades from a Dask cluster: two workers, each a process of its own, on loopback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from classes import HALF, RIGHT, answering, hand_in
from click.testing import CliRunner

from dnnlab.classroom.workers import Lost, cluster
from dnnlab.cli import main
from dnnlab.errors import DnnlabError

distributed = pytest.importorskip("distributed", reason="the extra cluster is not installed")

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The scheduler of a cluster of two worker processes. Like another machine's, they find dnnlab for themselves."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), before)))
    try:
        with distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address=":0"
        ) as started:
            yield started.scheduler_address
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


def run(*arguments: object) -> tuple[int, str, str]:
    done = CliRunner().invoke(main, [str(argument) for argument in arguments])
    return done.exit_code, done.stdout, done.stderr


def test_the_grades_are_the_same_to_the_byte(address: str, tmp_path: Path) -> None:
    answers = (RIGHT, HALF, "k·c", "", "k +")
    files = {f"s{n:02}/a.ipynb": answering(who=f'"S{n}"', q2_1=repr(answers[n % 5]), q2_3="'1/k'") for n in range(15)}
    files |= {"t/broken.ipynb": b"{", "u/deep.ipynb": b"[" * 100_000}
    hand_in(tmp_path / "in", files)
    assert run("grade", tmp_path / "in", "-j", 2, "--out", tmp_path / "local")[0] == 0
    status, told, _ = run("grade", tmp_path / "in", "--scheduler", address, "--out", tmp_path / "cluster")
    assert status == 0 and "17 students" in told
    for name in ("grades.csv", "grades.json", "report.txt"):
        assert (tmp_path / "local" / name).read_bytes() == (tmp_path / "cluster" / name).read_bytes()
    assert json.loads((tmp_path / "cluster" / "grades.json").read_text())["students"][0]["score"] == 1


def test_limits_hold_on_a_cluster_too_and_both_workers_work(address: str) -> None:
    with cluster(address) as spread:
        seen: list[int] = []
        assert spread(abs, range(-30, 0), seen.append) == list(range(30, 0, -1)) and seen[-1] == 30
        lost = spread(os._exit, [1])
        assert isinstance(lost[0], Lost) and spread(abs, [-1]) == [1]
        assert spread(abs, []) == []
    with distributed.Client(address, set_as_default=False) as client:
        work = client.get_worker_logs(), client.scheduler_info(n_workers=-1)["workers"]
        assert len(work[1]) == 2


@pytest.mark.parametrize("dead", ["tcp://127.0.0.1:9", "nonsense://x", "127.0.0.1:9", "", "tcp://no such host:1"])
def test_a_dead_address(dead: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dnnlab.classroom.workers.WAITING", 0.5)
    with (
        pytest.raises(DnnlabError, match=r"no Dask scheduler answers at .*such as tcp"),
        cluster(dead),
    ):
        pass


def test_a_cluster_without_workers(tmp_path: Path) -> None:
    with distributed.LocalCluster(n_workers=0, host="127.0.0.1", dashboard_address=":0") as empty:
        hand_in(tmp_path, {"ada/a.ipynb": answering(q2_1="'k'")})
        status, _, told = run("grade", tmp_path, "--scheduler", empty.scheduler_address, "--out", tmp_path / "out")
    assert status == 2 and "has no workers; start some first" in told


def test_without_the_extra(tmp_path: Path) -> None:
    """In a process where `distributed` cannot be imported."""
    hand_in(tmp_path, {"ada/a.ipynb": answering(q2_1="'k'")})
    code = "import sys; sys.modules['distributed'] = None; from dnnlab.cli import main; main()"
    command = [sys.executable, "-c", code, "grade", str(tmp_path), "--scheduler", "tcp://127.0.0.1:9"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and "pip install 'dnnlab[cluster]'" in done.stderr
    assert done.stderr.count("\n") == 1
