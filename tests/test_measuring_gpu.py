"""Measuring GPUs, without one: what is PyTorch alone runs on the processor.

The lines that are CUDA's own run against `FakeCuda`, a model of streams and events, which shows that they stand in the
right order and no more.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnnlab.buffering import pipeline
from dnnlab.checkpointing.plans import Plan
from dnnlab.errors import DnnlabError, ExtentError, UnknownNameError
from dnnlab.measuring.gpu import device as gpu
from dnnlab.measuring.gpu import overlap as gpu_overlap
from dnnlab.measuring.timing import steady

torch = pytest.importorskip("torch", reason="PyTorch is an extra: pip install dnnlab[torch]")

from torch import nn  # noqa: E402

from dnnlab.measuring.gpu.step import checkpointed_step, example  # noqa: E402
from dnnlab.measuring.in_torch.card import Card, card  # noqa: E402

CPU = card("cpu")


class FakeStream:
    """A queue: `at` is when all that was put into it is done."""

    def __init__(self) -> None:
        self.at = 0.0

    def wait_event(self, event: FakeEvent) -> None:
        assert event.at is not None, "an event that nobody recorded holds nobody up"
        self.at = max(self.at, event.at)


class FakeEvent:
    def __init__(self, cuda: FakeCuda, enable_timing: bool) -> None:
        assert enable_timing
        self.cuda, self.at, self.waited = cuda, None, False

    def record(self, stream: FakeStream | None = None) -> None:
        self.at = (stream or self.cuda.current).at

    def synchronize(self) -> None:
        assert self.at is not None
        self.waited = True

    def elapsed_time(self, later: FakeEvent) -> float:
        assert self.at is not None and later.at is not None
        assert self.cuda.idle or later.waited, "the event may not have come yet"
        return (later.at - self.at) * 1000


class FakeCuda:
    """A GPU of which only the order of things is real. Work is put on the current stream by `spend`."""

    def __init__(self) -> None:
        self.current = FakeStream()
        self.idle = False
        self.bytes, self.most, self.asked = 100, 0, []
        self.Stream = FakeStream

    def Event(self, enable_timing: bool = False) -> FakeEvent:
        return FakeEvent(self, enable_timing)

    def spend(self, seconds: float) -> None:
        self.idle = False
        self.current.at += seconds

    @contextmanager
    def stream(self, stream: FakeStream) -> Iterator[None]:
        before, self.current = self.current, stream
        yield
        self.current = before

    def synchronize(self) -> None:
        self.idle = True

    def is_available(self) -> bool:
        return True

    def get_device_name(self) -> str:
        return "Fake"

    def get_device_properties(self) -> Any:
        return SimpleNamespace(total_memory=8 * 2**30, multi_processor_count=4, L2_cache_size=2**22)

    def mem_get_info(self) -> tuple[int, int]:
        return 6 * 2**30, 8 * 2**30

    def reset_peak_memory_stats(self) -> None:
        assert self.idle
        self.most = self.bytes

    def memory_allocated(self) -> int:
        return self.bytes

    def max_memory_allocated(self) -> int:
        assert self.idle
        return self.most


class FakeTensor:
    """Copying into it and its mean take the time that the machine was told for the tile."""

    def __init__(self, torch: FakeTorch, value: float = 0.0) -> None:
        self.torch, self.value = torch, value

    def copy_(self, other: FakeTensor, non_blocking: bool = False) -> None:
        assert non_blocking, "the host would wait for the copy"
        self.value = other.value
        self.torch.cuda.spend(self.torch.load[int(other.value)])

    def mean(self) -> float:
        self.torch.cuda.spend(self.torch.compute[int(self.value)])
        return self.value


class FakeTorch:
    float32 = "float32"

    def __init__(self, load: list[float], compute: list[float]) -> None:
        self.cuda, self.load, self.compute = FakeCuda(), load, compute

    def full(self, shape: tuple[int, ...], value: float, dtype: Any = None, pin_memory: bool = False) -> FakeTensor:
        assert pin_memory, "a copy from other memory is not asynchronous"
        return FakeTensor(self, value)

    def empty(self, size: int, dtype: Any = None, device: str = "cpu") -> FakeTensor:
        assert device == "cuda"
        return FakeTensor(self)


# -- the lines that are CUDA's own, against the fake ------------------------------------------------------

TIMES = st.lists(st.integers(1, 50), min_size=1, max_size=8)


@settings(deadline=None)
@given(st.integers(1, 4), TIMES, st.data())
def test_streams_and_events_put_the_rules_of_the_pipeline(buffers: int, load: list[int], data: Any) -> None:
    compute = data.draw(st.lists(st.integers(1, 50), min_size=len(load), max_size=len(load)))
    fake = FakeTorch([float(time) for time in load], [float(time) for time in compute])
    place = card("cuda", fake)
    (run,) = gpu_overlap.overlapped_copies(len(load), "4 kB", 1, [buffers], place).runs
    count = min(buffers, len(load))
    expected = pipeline(load, compute, buffers=count)
    assert run.schedule.makespan == pytest.approx(float(expected.makespan))
    for name, pairs in expected.intervals.items():
        for found, wanted in zip(run.schedule.intervals[name], pairs, strict=True):
            assert found == pytest.approx([float(time) for time in wanted])
    assert run.results == tuple(float(i) for i in range(len(load)))


def test_more_passes_lengthen_the_work_and_not_the_copies() -> None:
    fake = FakeTorch([1.0] * 4, [2.0] * 4)
    overlap = gpu_overlap.overlapped_copies(4, "4 kB", 3, (1, 2), card("cuda", fake))
    assert [run.schedule.busy for run in overlap.runs] == [{"load": 4.0, "compute": 24.0}] * 2
    assert [float(run.schedule.makespan) for run in overlap.runs] == [28.0, 25.0]


def test_wrong_tiles() -> None:
    place = card("cuda", FakeTorch([1.0], [1.0]))
    with pytest.raises(ExtentError, match="4 bytes"):
        gpu_overlap.overlapped_copies(1, 3, place=place)
    with pytest.raises(ExtentError, match="numbers of buffers"):
        gpu_overlap.overlapped_copies(1, buffers=(), place=place)


def test_the_clock_waits_and_adds_up_what_the_gpu_spent() -> None:
    fake = FakeTorch([], [])
    read = card("cuda", fake).clock()
    assert read() == 0.0
    fake.cuda.spend(0.25)
    assert read() == pytest.approx(0.25)
    fake.cuda.spend(1e-6)
    assert read() == pytest.approx(0.250001, abs=1e-12)
    assert steady(lambda: fake.cuda.spend(0.5), seconds=4, clock=read).median == pytest.approx(0.5)


def test_memory_is_what_the_work_took_on_top() -> None:
    fake = FakeTorch([], [])

    def work() -> str:
        fake.cuda.idle = False
        fake.cuda.most = 160
        return "done"

    assert card("cuda", fake).peak(work) == ("done", 60)


def test_what_the_driver_tells() -> None:
    place = card("cuda", FakeTorch([], []))
    assert {one.name: one.value for one in gpu.sizes(place)} == {"capacity": 8 * 2**30, "on_chip": 2**22}
    assert (place.name, place.free()) == ("Fake", 6 * 2**30)


def test_no_gpu_and_no_such_place() -> None:
    absent = SimpleNamespace(cuda=SimpleNamespace(is_available=lambda: False))
    with pytest.raises(DnnlabError, match="no GPU"):
        card("cuda", absent)
    with pytest.raises(UnknownNameError, match="place"):
        card("tpu")
    if not torch.cuda.is_available():
        for ask in (gpu.this_gpu, gpu_overlap.overlapped_copies, lambda: gpu.record("nowhere")):
            with pytest.raises(DnnlabError, match="no GPU"):
                ask()


# -- the rest, on the processor --------------------------------------------------------------------------


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Card:
    for name, value in (("_SIDE", 64), ("_ARRAY", 2**16), ("_PINNED", 2**14), ("_LAUNCHES", 3)):
        monkeypatch.setattr(gpu, name, value)
    return CPU


def test_a_device_is_nothing_but_its_facts(small: Card) -> None:
    before = torch.backends.cuda.matmul.allow_tf32
    told: list[tuple[float, str]] = []
    found = gpu.this_gpu(0.2, lambda part, doing: told.append((part, doing)), small)
    assert torch.backends.cuda.matmul.allow_tf32 == before
    assert told[-1] == (1.0, "done")
    assert set(found.peak) <= set(gpu.RATES) and "fp32" in found.peak
    for one in found.facts:
        assert one.value > 0 and one.confidence == "measured" and one.date
    assert found.fact("matrix.cuda.fp32").value == found.rate("fp32")
    assert found.bandwidth == found.fact("bandwidth").value and found.link == found.fact("link").value
    assert found.fact("overhead.cuda").unit == "s" and "copy" in found.fact("bandwidth").note


def test_probes_count_what_they_do(small: Card) -> None:
    product, stream, link = (
        gpu.product(small, "fp32", 2**20),
        gpu.stream(small, "bandwidth", 4000),
        gpu.link(small, 512),
    )
    assert [amount for amount, _ in product.pieces.values()] == [2 * 64**3]
    assert stream.pieces["add"][0] == 1.5 * stream.pieces["copy"][0] and stream.pieces["copy"][0] % 8000 == 0
    assert [amount for amount, _ in link.pieces.values()] == [512]
    # a matrix product that has no room becomes smaller
    assert list(gpu.product(small, "fp64", 1000).pieces) == ["64 × 64"]


def test_no_matrix_product_is_no_device() -> None:
    with pytest.raises(DnnlabError, match="more seconds"):
        gpu.gpu_device("card", [], ["There is no figure."])


def test_checkpoints_take_less_memory_and_more_forwards() -> None:
    """A stage keeps its input for the backward pass; eight of them, in segments of three, keep fewer at a time."""
    stages = [nn.Sequential(nn.Linear(8, 8), nn.ReLU()) for _ in range(8)]
    found = checkpointed_step(stages, torch.ones(4096, 8), seconds=0.01, place=CPU)
    plain, saving = found.runs
    assert (plain.forwards, plain.name) == (8, "everything kept") and saving.forwards > 8
    one = 4096 * 8 * 4  # bytes of an output
    assert 8 * one <= plain.most <= 12 * one  # the activations; a linear layer's own output is not kept
    assert saving.most < 0.75 * plain.most
    assert plain.times.median > 0 and found.table().records()[1]["forwards"] == saving.forwards
    assert "times the memory" in found.sentence()


def test_memory_on_the_processor_is_that_of_the_tensors() -> None:
    def work() -> Any:
        first = torch.ones(1000)
        second = first + first
        del first
        third = second * 2  # 4000 bytes each: two of the three alive at once
        view = third[:10]
        return view.add_(1).shape

    assert CPU.peak(work) == (torch.Size([10]), 8000)


def test_wrong_steps() -> None:
    with pytest.raises(DnnlabError, match="one for each stage"):
        checkpointed_step(3, torch.ones(1), place=CPU)  # type: ignore[arg-type]
    with pytest.raises(DnnlabError, match="tensor"):
        checkpointed_step([nn.ReLU()], 3, place=CPU)
    with pytest.raises(DnnlabError, match="asks for a gradient"):
        checkpointed_step([nn.ReLU()], torch.ones(1), place=CPU)
    with pytest.raises(DnnlabError, match="2 stages"):
        checkpointed_step([nn.ReLU()], torch.ones(1), Plan.nested((0, 1)), place=CPU)
    stages, x = example(CPU, depth=2, width=4, rows=3)
    assert tuple(nn.Sequential(*stages)(x).shape) == (3, 4)


# -- what ships ------------------------------------------------------------------------------------------


def test_nothing_ships_and_says_so() -> None:
    found = gpu.gpu_measurements()
    assert found.found == () and "could be had" in found.sentence() and found.table().records() == []


def test_a_record_is_read_as_it_was_written(small: Card, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dnnlab.buffering.overlap import measured_overlap
    from dnnlab.measuring.gpu import step as torch_step

    monkeypatch.setattr(gpu_overlap, "measured_overlap", lambda *_: measured_overlap(3, "4 kB", 1))
    monkeypatch.setattr(torch_step, "example", lambda here: example(here, 4, 8, 64))
    written = gpu.record(tmp_path / "card.json", 0.2, small)
    (found,) = gpu.gpu_measurements(tmp_path).found
    assert found.device == written.device and found.device.facts == written.device.facts
    assert found.where == written.where and found.where["torch"] == str(torch.__version__)
    assert [run["run"] for run in found.runs][-1] == "training step, checkpoints"
    assert len(gpu.gpu_measurements(tmp_path).table().records()) == len(written.runs) == 4


@pytest.mark.parametrize("text", ["", "[]", "{}", json.dumps({"facts": [{"name": 1}]})])
def test_a_file_that_is_no_record(text: str, tmp_path: Path) -> None:
    (tmp_path / "odd.json").write_text(text)
    with pytest.raises(DnnlabError, match=r"'odd.json' is no record of a GPU"):
        gpu.gpu_measurements(tmp_path)


@pytest.mark.skipif(os.name == "nt", reason="the stand-in for the driver's program is a shell script")
@pytest.mark.parametrize(
    "does, told", [("echo 555.42.06", "555.42.06"), ("exit 9", "unknown"), ("true", "unknown"), (None, "unknown")]
)
def test_the_driver_is_asked_for_its_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, does: str | None, told: str
) -> None:
    if does is not None:
        (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\n{does}\n", encoding="utf-8")
        (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpu.driver() == told
