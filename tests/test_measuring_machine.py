"""This machine as a device: what systems tell, probes that take turns, the file, the progress."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from dnnlab.cli import main
from dnnlab.errors import DnnlabError, ExtentError
from dnnlab.hardware import CONFIDENCE, Device, Memory
from dnnlab.measuring import progress
from dnnlab.measuring.calibrating import caches, disk, machine, numpy_rates, others
from dnnlab.measuring.calibrating.assembling import assemble
from dnnlab.measuring.calibrating.caches import System, fits, linux, mac, records, steps
from dnnlab.measuring.calibrating.turns import MOST_ROUNDS, Found, Probe, take_turns
from dnnlab.measuring.timing import Spread, settled, steady

MIB, GIB = 2**20, 2**30


# -- what the system tells -------------------------------------------------------------------------------


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def processors(caches_of: Callable[[int], list[tuple[int, str, str, str]]], siblings: list[str]) -> dict[str, str]:
    """sysfs of processors: level, type, size and sharers of each cache, and the hyperthreads of a core."""
    files = {}
    for cpu, pair in enumerate(siblings):
        base = f"sys/devices/system/cpu/cpu{cpu}"
        files[f"{base}/topology/thread_siblings_list"] = pair + "\n"
        for index, (level, kind, size, shared) in enumerate(caches_of(cpu)):
            place = f"{base}/cache/index{index}"
            files |= {f"{place}/level": f"{level}\n", f"{place}/type": f"{kind}\n", f"{place}/size": f"{size}\n",
                      f"{place}/shared_cpu_list": f"{shared}\n"}  # fmt: skip
    return files


LAPTOP = processors(  # two cores of two hyperthreads each
    lambda cpu: [
        (1, "Data", "48K", f"{cpu // 2 * 2}-{cpu // 2 * 2 + 1}"),
        (1, "Instruction", "32K", f"{cpu // 2 * 2}-{cpu // 2 * 2 + 1}"),
        (2, "Unified", "1280K", f"{cpu // 2 * 2}-{cpu // 2 * 2 + 1}"),
        (3, "Unified", "8M", "0-3"),
    ],
    ["0-1", "0-1", "2-3", "2-3"],
) | {
    "proc/cpuinfo": "processor\t: 0\nmodel name\t: Some CPU @ 2.40GHz\n\n" * 4,
    "proc/meminfo": "MemTotal:       16000000 kB\nMemFree:  1000 kB\nMemAvailable:    9000000 kB\n",
}  # fmt: skip


def test_linux_tells_cores_and_shared_caches_once(tmp_path: Path) -> None:
    told = linux(tree(tmp_path, LAPTOP), frozenset(range(4)))
    assert told == System(
        "Some CPU @ 2.40GHz", threads=4, cores=2, quota=None,
        caches={1: 2 * 48 * 1024, 2: 2 * 1280 * 1024, 3: 8 * MIB}, last=8 * MIB,
        capacity=16_000_000 * 1024, free=9_000_000 * 1024,
    )  # fmt: skip
    assert told.busy == 4


def test_only_the_processors_that_this_process_may_use_count(tmp_path: Path) -> None:
    told = linux(tree(tmp_path, LAPTOP), frozenset({0, 1}))
    assert (told.threads, told.cores, told.caches[2]) == (2, 1, 1280 * 1024)


def test_two_chips_have_two_last_caches(tmp_path: Path) -> None:
    files = processors(lambda cpu: [(3, "Unified", "32768K", str(cpu // 2))], ["0", "1", "2", "3"])
    told = linux(tree(tmp_path, files), frozenset(range(4)))
    assert (told.caches, told.last, told.cores) == ({3: 64 * MIB}, 32 * MIB, 4)


CGROUPS = {
    "version 2, inside a container": {
        "proc/self/cgroup": "0::/\n",
        "sys/fs/cgroup/memory.max": "1073741824\n",
        "sys/fs/cgroup/memory.current": "536870912\n",
        "sys/fs/cgroup/memory.stat": "anon 1\ninactive_file 134217728\n",
        "sys/fs/cgroup/cpu.max": "150000 100000\n",
    },
    "version 2, a group above limits": {
        "proc/self/cgroup": "0::/user.slice/mine\n",
        "sys/fs/cgroup/user.slice/memory.max": "1073741824\n",
        "sys/fs/cgroup/user.slice/memory.current": "402653184\n",
        "sys/fs/cgroup/user.slice/cpu.max": "150000 100000\n",
        "sys/fs/cgroup/user.slice/mine/memory.max": "max\n",
        "sys/fs/cgroup/user.slice/mine/cpu.max": "max 100000\n",
    },
    "version 1": {
        "proc/self/cgroup": "4:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n1:name=systemd:/\n",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": "1073741824\n",  # the container sees its group at the top
        "sys/fs/cgroup/memory/memory.usage_in_bytes": "536870912\n",
        "sys/fs/cgroup/memory/memory.stat": "total_inactive_file 134217728\n",
        "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "150000\n",
        "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
    },
}


@pytest.mark.parametrize("files", CGROUPS.values(), ids=CGROUPS)
def test_the_limits_of_a_container_count(tmp_path: Path, files: dict[str, str]) -> None:
    told = linux(tree(tmp_path, LAPTOP | files), frozenset(range(4)))
    assert (told.capacity, told.free, told.quota, told.busy) == (GIB, GIB - 384 * MIB, 1.5, 2)


@pytest.mark.parametrize(
    "files",
    [
        {"proc/self/cgroup": "4:memory:/\n3:cpu:/\n", "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1",
         "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712"},
        {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "max\n", "sys/fs/cgroup/cpu.max": "max 100000\n"},
        {"proc/self/cgroup": "nonsense", "sys/fs/cgroup/memory.max": "lots", "sys/fs/cgroup/cpu.max": ""},
    ],
)  # fmt: skip
def test_no_limit_is_no_limit(tmp_path: Path, files: dict[str, str]) -> None:
    told = linux(tree(tmp_path, LAPTOP | files), frozenset(range(4)))
    assert (told.capacity, told.free, told.quota) == (16_000_000 * 1024, 9_000_000 * 1024, None)


def test_a_system_that_tells_nothing_is_no_error(tmp_path: Path) -> None:
    told = linux(tmp_path, frozenset({0, 1}))
    assert (told.threads, told.cores, dict(told.caches), told.last, told.capacity, told.free) == (
        2, 2, {}, None, None, None,
    )  # fmt: skip
    silent = mac(lambda name: "", frozenset({0}))
    assert (silent.cores, dict(silent.caches), silent.capacity) == (1, {}, None)


@given(st.dictionaries(st.sampled_from(sorted(LAPTOP)), st.text(max_size=20)))
def test_files_with_anything_in_them_are_no_error(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, str]
) -> None:
    told = linux(tree(tmp_path_factory.mktemp("root"), LAPTOP | files), frozenset(range(4)))
    assert told.threads == 4 and told.cores >= 1 and all(size > 0 for size in told.caches.values())


def test_an_apple_chip_has_two_kinds_of_cores() -> None:
    told = {
        "machdep.cpu.brand_string": "Apple M2\n", "hw.physicalcpu": "8", "hw.memsize": str(16 * GIB),
        "hw.nperflevels": "2", "hw.pagesize": "16384", "vm.page_free_count": "100000", "vm.page_speculative_count": "0",
        "hw.perflevel0.physicalcpu": "4", "hw.perflevel0.l1dcachesize": "131072",
        "hw.perflevel0.l2cachesize": "16777216", "hw.perflevel0.cpusperl2": "4",
        "hw.perflevel1.physicalcpu": "4", "hw.perflevel1.l1dcachesize": "65536",
        "hw.perflevel1.l2cachesize": "4194304", "hw.perflevel1.cpusperl2": "4",
    }  # fmt: skip
    found = mac(lambda name: told.get(name, ""), frozenset(range(8)))
    assert found == System(
        "Apple M2", 8, 8, None, {1: 4 * 131072 + 4 * 65536, 2: 20 * MIB}, 16 * MIB, 16 * GIB, 4 * GIB
    )


def test_an_intel_mac_has_a_shared_third_level() -> None:
    told = {
        "hw.physicalcpu": "4", "hw.l1dcachesize": "32768", "hw.l2cachesize": "262144", "hw.l3cachesize": "6291456",
        "machdep.cpu.brand_string": "Intel", "hw.memsize": "8589934592",
    }  # fmt: skip
    found = mac(lambda name: told.get(name, ""), frozenset(range(8)))
    assert (found.cores, found.caches, found.last) == (4, {1: 131072, 2: MIB, 3: 6 * MIB}, 6 * MIB)


def test_windows_records_are_read() -> None:
    def record(relation: int, content: bytes) -> bytes:
        return relation.to_bytes(4, "little") + (8 + len(content)).to_bytes(4, "little") + content

    def cache(level: int, size: int, kind: int) -> bytes:
        head = bytes([level, 8]) + (64).to_bytes(2, "little") + size.to_bytes(4, "little") + kind.to_bytes(4, "little")
        return record(2, head + bytes(32))

    core = record(0, bytes(40))
    raw = core + cache(1, 32768, 2) + cache(1, 32768, 1) + core + cache(3, 8 * MIB, 0) + record(3, bytes(24))
    assert records(raw) == (2, [(1, 32768), (3, 8 * MIB)])
    assert records(b"") == records(bytes(20)) == (0, [])


# -- the staircase ---------------------------------------------------------------------------------------


@given(st.integers(0, 7), st.floats(1.5, 10), st.floats(1e9, 1e12))
def test_the_staircase_ends_where_the_rate_falls(step: int, factor: float, memory: float) -> None:
    sizes = steps(32 * MIB, 256 * MIB)
    rates = [(size, memory * (factor if place <= step else 1.05)) for place, size in enumerate(sizes)]
    assert fits(rates) == sizes[step]


def test_without_a_fall_there_is_no_size() -> None:
    assert fits([(size, 1e9) for size in steps(None, 64 * MIB)]) is None


@given(st.none() | st.integers(2**10, 2**34), st.integers(1, 2**10))
def test_steps_rise_and_end_in_memory(told: int | None, pages: int) -> None:
    found = steps(told, pages * 4096)
    assert found == sorted(set(found)) and found[-1] == pages * 4096 and found[0] > 0


@given(st.integers(2**28, 2**40) | st.none(), st.integers(2**14, 2**29) | st.none())
def test_the_arrays_leave_most_of_the_memory_free(free: int | None, last: int | None) -> None:
    here = System("", 1, 1, caches={} if last is None else {3: last}, last=last, free=free)
    assert 0 < 6 * machine.array_bytes(here) <= 3 / 8 * (free or GIB)


# -- taking turns ----------------------------------------------------------------------------------------


class Clock:
    """Time that only probes let pass."""

    def __init__(self) -> None:
        self.now = 100.0
        self.log: list[str] = []

    def __call__(self) -> float:
        return self.now

    def work(self, name: str, seconds: float) -> Callable[[], None]:
        def run() -> None:
            self.log.append(name)
            self.now += seconds

        return run


def probe(clock: Clock, name: str, seconds: float, unit: str = "B/s", **more: Any) -> Probe:
    return Probe(name, unit, f"doing {name}", {"it": (10.0, clock.work(name, seconds))}, **more)


def turns(probes: list[Probe], seconds: float, clock: Clock, **more: Any) -> list[Found]:
    return take_turns(probes, clock() + seconds, clock, settle=lambda: None, **more)


def test_probes_take_turns_and_the_first_run_does_not_count() -> None:
    clock = Clock()
    found = turns([probe(clock, "a", 1), probe(clock, "b", 2)], 12, clock)
    assert clock.log == list("aabb" + "ab" + "ab")
    assert [one.times["it"] for one in found] == [[1, 1, 1], [2, 2, 2]]
    assert [one.spread().median for one in found] == [10, 5]


@given(st.lists(st.floats(0.01, 3), min_size=1, max_size=6), st.floats(0.01, 50))
def test_the_time_is_kept(lasting: list[float], seconds: float) -> None:
    clock = Clock()
    probes = [probe(clock, str(place), time) for place, time in enumerate(lasting)]
    begin = clock()
    found = turns(probes, seconds, clock)
    assert clock() - begin <= seconds + 2 * max(lasting) + 1e-6  # at the most one first run and its repetition too long
    assert found[0].times["it"]  # the most important figure is there in any case
    assert all(bool(one.times["it"]) != bool(one.refusal) for one in found)
    assert all(len(one.times["it"]) <= MOST_ROUNDS for one in found)


def test_a_base_is_taken_off() -> None:
    clock = Clock()
    (found,) = turns([probe(clock, "exp", 3, base=clock.work("copy", 1))], 20, clock)
    assert set(found.times["it"]) == {2} and found.spread().median == 5


def test_seconds_of_a_call_are_told_as_seconds() -> None:
    clock = Clock()
    (found,) = turns([probe(clock, "overhead.numpy", 5, unit="s")], 30, clock)
    assert found.spread().median == found.pieces()["it"] == 0.5


def test_another_crew_waits_until_the_one_before_is_idle() -> None:
    clock = Clock()
    probes = [probe(clock, name, 1, crew=name[0]) for name in ("a1", "a2", "b1")]
    take_turns(probes, clock() + 11.5, clock, settle=clock.work("settle", 0))
    first = ["settle", "a1", "a1", "a2", "a2", "settle", "b1", "b1"]
    assert clock.log == [*first, "settle", "a1", "a1", "a2", "settle", "b1", "b1"]


def test_what_is_refused_is_told_and_the_others_go_on() -> None:
    clock = Clock()

    def refuse() -> None:
        raise RuntimeError('"addmm" not implemented\nfor Half')

    refused = Probe("matrix.torch.fp16", "FLOP/s", "", {"it": (1.0, refuse)})
    bad, good = turns([refused, probe(clock, "b", 1)], 5, clock)
    assert "not implemented" in bad.refusal and "\n" not in bad.refusal
    assert good.refusal == "" and len(good.times["it"]) > 1


def test_a_library_that_spins_is_waited_for() -> None:
    """By a witness of its own: a thread that works for a moment is not idle, so the wait outlasts it."""
    import threading

    stop = threading.Event()
    spins = threading.Thread(target=lambda: [None for _ in iter(stop.is_set, True)])
    spins.start()
    threading.Timer(0.05, stop.set).start()
    settled()
    assert stop.is_set()
    spins.join()


# -- from what was found to a device ---------------------------------------------------------------------

HERE = System("Some CPU", 4, 2, 1.5, {1: 65536, 3: 32 * MIB}, 32 * MIB, 8 * GIB, 4 * GIB)


def found(fact: str, rate: float, unit: str = "B/s", **more: Any) -> Found:
    pieces = {"copy": (rate, lambda: None), "add": (rate, lambda: None)} if fact == "bandwidth" else {
        "1024 × 1024": (rate, lambda: None)
    }  # fmt: skip
    return Found(Probe(fact, unit, "", pieces, **more), {name: [1.0, 1.0, 1.2] for name in pieces})


def staircase(*gigabytes: float) -> list[Found]:
    return [found(f"step.{size}", rate * 1e9) for size, rate in zip(steps(32 * MIB, 128 * MIB), gigabytes, strict=True)]


EXAMPLE = [
    found("matrix.numpy.fp32", 100e9, "FLOP/s"),
    found("matrix.torch.fp32", 140e9, "FLOP/s"),
    found("matrix.numpy.fp64", 70e9, "FLOP/s"),
    found("bandwidth", 20e9),
    found("disk", 1e9),
]
FILE_OF_DISK = disk.Disk(EXAMPLE[-1].probe, "O_DIRECT", 10**12)


def test_the_device_is_what_was_found() -> None:
    made = assemble(HERE, [*EXAMPLE, *staircase(*[70] * 8, 30)], FILE_OF_DISK, ["a note."])
    assert made.peak == {"fp64": 70e9, "fp32": 140e9}
    assert (made.bandwidth, made.capacity, made.on_chip) == (20e9, 8 * GIB, 32 * MIB)
    assert made.disk == Memory("disk", 10**12, 10**9)
    assert (made.external, made.lanes, made.link, made.id) == ("ram", None, None, "this-machine")
    assert made.name == "this machine (Some CPU, 2 cores)"
    assert "PyTorch" in made.fact("peak.fp32").note and "NumPy" in made.fact("peak.fp64").note
    assert "3 times" in made.fact("bandwidth").note and "add" in made.fact("bandwidth").note
    assert made.notes[0] == "a note." and "1.5 of 4 processors" in made.notes[1]
    assert all(f.confidence == "measured" == CONFIDENCE[0] and f.source and f.date for f in made.facts)
    assert made.table().text()


def test_figures_that_vary_are_called_so() -> None:
    restless = replace(EXAMPLE[3], times={name: [1.0, 2.0, 3.0] for name in EXAMPLE[3].times})
    said = assemble(HERE, [*EXAMPLE[:3], restless], None, []).notes[-1]
    assert "bandwidth varied by more than 25%" in said and "fresh=True" in said and "matrix" not in said


def test_the_peak_is_the_fastest_of_all_and_the_rate_of_a_library_its_median() -> None:
    slowed = [replace(one, times={name: [4.0, 1.0, 4.0, 5.0] for name in one.times}) for one in EXAMPLE[:2]]
    made = assemble(HERE, [*slowed, *EXAMPLE[2:]], None, [])
    assert (made.peak["fp32"], made.fact("matrix.torch.fp32").value) == (140e9, 35e9)


def test_processors_that_others_had_are_told() -> None:
    made = assemble(HERE, EXAMPLE, None, [], missing=0.47)
    assert "took 47% of the processors" in made.notes[-1] and "fresh=True" in made.notes[-1]
    assert assemble(HERE, EXAMPLE, None, [], missing=0.02).notes == assemble(HERE, EXAMPLE, None, []).notes


def test_others_are_what_the_system_counts_beyond_ourselves(tmp_path: Path) -> None:
    # user nice system idle iowait irq softirq steal, in hundredths of a second
    (tmp_path / "stat").write_text("cpu  90000000 0 1000 5000 500 0 0 700 0 0\ncpu0 1 2 3 4\n")
    ticks, own = os.sysconf("SC_CLK_TCK"), os.times()
    found = others.use(tmp_path / "stat")
    assert found.total == pytest.approx(90007200 / ticks)
    assert found.others == pytest.approx(90001700 / ticks - own.user - own.system, abs=0.5)
    elsewhere = others.use(tmp_path / "nothing")
    assert elsewhere.others == 0 and elsewhere.missing(others.use(tmp_path / "nothing"), 1.0) == 0


def test_others_on_idle_processors_take_nothing() -> None:
    before = others.Use(5.0, 100.0)
    assert before.missing(others.Use(9.0, 110.0), wanted=4.0) == 0
    assert before.missing(others.Use(9.0, 110.0), wanted=8.0) == pytest.approx(0.25)


def test_a_cache_shared_with_neighbours_is_as_large_as_our_part() -> None:
    made = assemble(HERE, [*EXAMPLE[:-1], *staircase(70, 70, 70, 70, 60, 33, 31, 31, 30)], None, [])
    assert made.on_chip == 12 * MIB and "32 MiB" in made.fact("on_chip").note
    assert made.disk is None


def test_a_cache_nobody_tells_about_is_found_by_its_steps() -> None:
    sizes = steps(None, 128 * MIB)
    rates = [found(f"step.{size}", 50e9 if size <= 4 * MIB else 10e9) for size in sizes]
    made = assemble(System("", 1, 1), [*EXAMPLE, *rates], None, [])
    assert made.on_chip == 4 * MIB and made.capacity is None


def test_the_bandwidth_of_one_thread_stands_in_for_that_of_all() -> None:
    late = replace(EXAMPLE[3], times={}, refusal="no time was left for it")
    made = assemble(HERE, [*EXAMPLE[:3], late, found("bandwidth_one", 12e9)], None, [])
    assert made.bandwidth == 12e9 and "one thread" in made.fact("bandwidth").note
    assert "no figure bandwidth: no time was left" in " ".join(made.notes)
    assert assemble(HERE, [*EXAMPLE, found("bandwidth_one", 12e9)], None, []).bandwidth == 20e9


def test_a_function_as_fast_as_moving_its_numbers_is_no_fact() -> None:
    hidden = Found(
        Probe("functions.numpy.exp", "OP/s", "", {"exp": (1.0, lambda: None)}, lambda: None), {"exp": [-1, 0, 1]}
    )
    names = [fact.name for fact in assemble(HERE, [*EXAMPLE, hidden], None, []).facts]
    assert "functions.numpy.exp" not in names and "bandwidth" in names


def test_without_a_matrix_product_there_is_no_device() -> None:
    refused = replace(EXAMPLE[0], times={}, refusal="no time was left for it")
    with pytest.raises(DnnlabError, match=r"matrix\.numpy\.fp32: no time was left.*more seconds"):
        assemble(HERE, [refused, EXAMPLE[3]], None, [])


# -- the file --------------------------------------------------------------------------------------------


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where figures are kept; measuring is replaced, and counted in `calls`."""
    path = tmp_path / "dnnlab-machine.json"
    monkeypatch.setenv("DNNLAB_MACHINE", str(path))
    monkeypatch.setattr(machine, "measured", pretend)
    pretend.calls = 0  # type: ignore[attr-defined]
    return path


def pretend(here: System, seconds: float, step: progress.Progress) -> Device:
    pretend.calls += 1  # type: ignore[attr-defined]
    step(0.5, "pretending")
    return assemble(HERE, [*EXAMPLE, *staircase(*[70] * 8, 30)], FILE_OF_DISK, ["a note."])


def calls() -> int:
    return pretend.calls  # type: ignore[attr-defined]


def test_the_second_call_reads_what_the_first_measured(kept: Path) -> None:
    first, second = machine.this_machine(), machine.this_machine()
    assert calls() == 1
    assert second == first and second.facts == first.facts and second.notes == first.notes
    assert machine.this_machine(fresh=True) == first and calls() == 2
    assert [path.name for path in kept.parent.iterdir()] == [kept.name]


@pytest.mark.parametrize("key", ["processor", "threads", "memory", "torch", "numpy", "method", "quota"])
def test_another_machine_or_library_is_measured_anew(kept: Path, key: str) -> None:
    machine.this_machine()
    content = json.loads(kept.read_text("utf-8"))
    content["fingerprint"][key] = "another"
    kept.write_text(json.dumps(content), "utf-8")
    said: list[str] = []
    machine.this_machine(progress=lambda part, doing: said.append(doing))
    assert calls() == 2 and f"{key} changed" in said[0]


BROKEN = {
    "no JSON": lambda text: text[:-20],
    "another thing": lambda text: "[]",
    "no fingerprint": lambda text: "{}",
    "a fact without value": lambda text: text.replace('"value"', '"worth"'),
    "a value below zero": lambda text: text.replace('"value": 20000000000', '"value": -5'),
    "a value that is a text": lambda text: text.replace('"value": 20000000000', '"value": "fast"'),
    "a confidence nobody knows": lambda text: text.replace('"measured"', '"sworn"'),
    "a source that is a number": lambda text: text.replace('"note": "', '"note": 7, "x": "'),
    "no peaks": lambda text: text.replace('"peak.', '"top.'),
    "brackets without end": lambda text: "[" * 100_000,
}


@pytest.mark.parametrize("spoil", BROKEN.values(), ids=BROKEN)
def test_a_broken_file_is_kept_aside(kept: Path, spoil: Callable[[str], str]) -> None:
    whole = machine.this_machine()
    broken = spoil(kept.read_text("utf-8"))
    kept.write_text(broken, "utf-8")
    said: list[str] = []
    assert machine.this_machine(progress=lambda part, doing: said.append(doing)) == whole
    assert calls() == 2 and "cannot be read" in said[0]
    assert kept.with_suffix(".broken.json").read_text("utf-8") == broken
    assert machine.this_machine() == whole and calls() == 2


@pytest.mark.parametrize("place", ["folder", "missing/machine.json"])
def test_where_nothing_can_be_written_the_device_says_so(
    kept: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    (kept.parent / "folder").mkdir()
    monkeypatch.setenv("DNNLAB_MACHINE", str(kept.parent / place))
    found = machine.this_machine()
    assert "could not be kept" in found.notes[-1] and "DNNLAB_MACHINE" in found.notes[-1]
    assert [path.name for path in kept.parent.iterdir()] == ["folder"]


def test_seconds_must_be_above_zero(kept: Path) -> None:
    with pytest.raises(ExtentError, match="time to measure this machine must be positive"):
        machine.this_machine(seconds=0)


def test_the_command_shows_every_figure(kept: Path) -> None:
    result = CliRunner().invoke(main, ["calibrate", "--fresh", "--seconds", "2"], env={"COLUMNS": "100"})
    assert result.exit_code == 0, result.output
    assert "140 GFLOP/s" in result.stdout and "in PyTorch" in result.stdout
    assert all(fact.name in result.stdout for fact in machine.this_machine().facts)
    assert max(map(len, result.stdout.splitlines())) <= 100


# -- progress --------------------------------------------------------------------------------------------


@given(st.lists(st.floats(-2, 3)))
def test_progress_never_runs_backwards_and_ends_at_one(parts: list[float]) -> None:
    told: list[float] = []
    with progress.shown(lambda part, doing: told.append(part)) as step:
        for part in parts:
            step(part, "working")
    assert told == sorted(told) and told[-1] == 1 and told[0] >= 0 and len(told) == len(parts) + 1


def test_work_that_fails_is_not_reported_as_done() -> None:
    told: list[float] = []
    with pytest.raises(KeyboardInterrupt), progress.shown(lambda part, doing: told.append(part)) as step:
        step(0.5, "working")
        raise KeyboardInterrupt
    assert told == [0.5]


def test_nobody_looks_nothing_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.shown() as step:
        step(0.5, "working")
    assert capsys.readouterr() == ("", "")


def test_a_terminal_gets_one_line_that_goes_away(capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with progress.shown() as step:
        step(0.5, "matrix products")
    told = capsys.readouterr().err
    assert " 50%  matrix products" in told and "\n" not in told and told.endswith("\r\033[K")


def test_jupyter_gets_a_bar_that_goes_away(monkeypatch: pytest.MonkeyPatch) -> None:
    import IPython.display

    seen: list[str] = []

    class Handle:
        def update(self, bundle: dict[str, str], raw: bool) -> None:
            seen.append(bundle["text/html"])

    def display(bundle: dict[str, str], raw: bool, display_id: bool) -> Handle:
        seen.append(bundle["text/html"])
        return Handle()

    monkeypatch.setattr(progress, "_kernel", lambda: object())
    monkeypatch.setattr(IPython.display, "display", display)
    with progress.shown() as step:
        step(0.25, "<memory>")
    assert 'value="0.000"' in seen[0] and 'value="0.250"' in seen[1] and "&lt;memory&gt;" in seen[1]
    assert seen[-1] == ""


# -- for real, but only the structure --------------------------------------------------------------------


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> System:
    """Small probes: a small cache makes small arrays, and the libraries' are hidden."""
    monkeypatch.setitem(sys.modules, "torch", None)
    return replace(caches.system(), caches={2: MIB}, last=MIB, free=256 * MIB)


class Counting:
    """A clock that goes on when it is read, so that the number of rounds does not hang on how busy the machine is."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1e-3
        return self.now


def test_a_real_measurement_has_the_figures_with_their_units(
    quick: System, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    told: list[float] = []
    mine = machine.measured(quick, 0.3, lambda part, doing: told.append(part), Counting())
    units = {fact.name: fact.unit for fact in mine.facts}
    assert units.items() >= {
        "peak.fp32": "OP/s", "matrix.numpy.fp32": "FLOP/s", "matrix.numpy.fp64": "FLOP/s", "bandwidth": "B/s",
        "bandwidth_one": "B/s", "cache_bandwidth": "B/s", "cache_bandwidth_one": "B/s", "allocation.numpy": "B/s",
        "overhead.numpy": "s", "disk": "B/s", "disk_capacity": "B", "on_chip": "B",
    }.items()  # fmt: skip
    assert not any("torch" in name for name in units) and "dnnlab[torch]" in " ".join(mine.notes)
    assert all(fact.value > 0 for fact in mine.facts)
    assert told == sorted(told) and told[0] >= 0
    assert list(tmp_path.iterdir()) == []  # the file that was read from is gone


def test_arrays_that_hardly_leave_the_cache_are_told(quick: System) -> None:
    little = replace(quick, caches={3: 32 * MIB}, last=MIB)
    told, silent = (machine.measured(here, 0.3, lambda *_: None, Counting()).notes for here in (little, quick))
    assert any("hardly larger than the caches" in note for note in told)
    assert not any("hardly larger than the caches" in note for note in silent)


def test_a_torch_that_does_not_load_leaves_its_figures_out(
    quick: System, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "torch.py").write_text("raise OSError('libtorch_cpu.so: cannot open shared object file')")
    for name in [name for name in sys.modules if name.partition(".")[0] == "torch"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path)
    mine = machine.measured(quick, 0.3, lambda part, doing: None, Counting())
    assert "does not load" in mine.notes[0] and "libtorch_cpu.so" in mine.notes[0]
    assert mine.bandwidth and not any("torch" in fact.name for fact in mine.facts)


def test_a_disk_that_cannot_be_written_is_left_out_with_the_reason(
    quick: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(disk.tempfile, "TemporaryFile", refuse)
    monkeypatch.setattr(numpy_rates, "functions", refuse)
    mine = machine.measured(quick, 0.3, lambda part, doing: None, Counting())
    assert mine.disk is None and mine.bandwidth
    said = " ".join(mine.notes)
    assert "disk was not measured (PermissionError" in said and "functions in NumPy (PermissionError" in said


def test_reading_goes_through_the_whole_file_and_leaves_nothing(tmp_path: Path) -> None:
    with disk.reading(tmp_path) as found:
        ((amount, read),) = found.probe.pieces.values()
        for _ in range(10):
            read()
        assert amount == 8 * MIB and found.capacity > 0
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_not_filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = disk.disk_usage(tmp_path)._replace(free=GIB)
    monkeypatch.setattr(disk, "disk_usage", lambda folder: usage)
    with pytest.raises(OSError, match="less than 1 GB"), disk.reading(tmp_path):
        pass


def test_neither_numpy_nor_torch_is_loaded_before_it_is_needed(tmp_path: Path) -> None:
    code = (
        "import sys, dnnlab.measuring.calibrating.machine, dnnlab.measuring.commands, dnnlab.cli\n"
        "print([name for name in ('numpy', 'torch', 'IPython', 'ipywidgets') if name in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert told.stdout.strip() == "[]"


def test_a_short_call_is_repeated_within_a_reading() -> None:
    clock = Clock()
    assert steady(clock.work("a", 1e-6), seconds=1e-3, least=3, clock=clock).median == pytest.approx(1e-6)
    assert Spread.of([2.0]).turned(6).median == 3


@pytest.mark.skipif(sys.platform != "linux", reason="the figures of the system are those of Linux")
def test_memory_is_kept_inside_and_fresh_once_it_is_given_back() -> None:
    """The system counts the pages that it hands out; in a process of its own, whose memory has no history."""
    code = """
import resource
import numpy as np
from dnnlab.measuring.timing import give_back, kept_memory

def pages(work):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    work()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def made():
    return b"x" * 2**24

with kept_memory() as works:
    made()
    print(works, *(pages(made) for _ in range(3)))
print(*(pages(made) for _ in range(3)))
array = np.ones(2**21, np.uint8)  # less than what NumPy asks large pages for
print(pages(lambda: array.fill(1)))
print(give_back(array.ctypes.data, array.nbytes), array[4096 * 8], pages(lambda: array.fill(1)), array.min())
print(give_back(array.ctypes.data, 100))
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    kept, fresh, filled, given, small = (line.split() for line in told.splitlines())
    if kept[0] == "False":
        pytest.skip("another C library")
    assert max(map(int, kept[1:])) < 10 and int(filled[0]) < 10
    assert min(map(int, fresh)) > 5  # large pages at least
    assert given[:2] == ["True", "0"] and int(given[2]) >= 1 and given[3] == "1"
    assert small == ["False"]
