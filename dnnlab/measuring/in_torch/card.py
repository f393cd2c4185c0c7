"""Where PyTorch computes: a GPU or the processor, with its clock and its meter of memory.

All that touches `torch.cuda` in measuring stands here and in the two streams of `gpu.overlap`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from time import perf_counter
from typing import Any

from ...errors import DnnlabError, unknown
from ..calibrating.caches import system
from .peers import load

#: Takes a piece of work, returns its result and the most bytes of tensors that were alive beyond those before it.
Meter = Callable[[Callable[[], Any]], tuple[Any, int]]


@dataclass(frozen=True, eq=False)
class Card:
    """A place where tensors live ("cuda" or "cpu"), and what is asked of it.

    `clock()` makes a clock, which tells seconds and waits for whatever still runs; `free()` the bytes that are free;
    `peak(work)` runs a piece of work and tells its result and the most memory it took on top.
    """

    place: str
    torch: Any = field(repr=False)
    clock: Callable[[], Callable[[], float]] = field(repr=False)
    free: Callable[[], int | None] = field(repr=False)
    peak: Meter = field(repr=False)

    @property
    def name(self) -> str:
        """What it is called."""
        if self.place == "cpu":
            return system().name or "processor"
        return str(self.torch.cuda.get_device_name())


def card(place: str = "cuda", torch: Any = None) -> Card:
    """The place of that name; `torch` is the package, unless another is given. Raises `DnnlabError` where PyTorch or a
    GPU that it can use is missing.

    >>> card("cpu").place  # doctest: +SKIP
    'cpu'
    """
    if place not in ("cuda", "cpu"):
        raise unknown("place", place, ("cuda", "cpu"))
    torch = load() if torch is None else torch
    if place == "cpu":
        return Card("cpu", torch, lambda: perf_counter, lambda: system().free, partial(_alive, torch))
    if not torch.cuda.is_available():
        raise DnnlabError(
            "PyTorch finds no GPU here; measure the processor instead, or install a build of PyTorch for CUDA or ROCm"
        )
    cuda = torch.cuda
    free = lambda: int(cuda.mem_get_info()[0])  # noqa: E731 - of the two numbers, the first
    return Card("cuda", torch, partial(event_clock, cuda), free, partial(_allocated, cuda))


def event_clock(cuda: Any) -> Callable[[], float]:
    """A clock of events: the GPU itself notes when it comes to each, so that what is between two readings is the
    time on the GPU. Each reading waits for it.

    An event tells milliseconds since another one as a 32-bit number; the readings are added up here, since that far
    from the first one it would no longer tell microseconds.
    """

    def event() -> Any:
        made = cuda.Event(enable_timing=True)
        made.record()
        made.synchronize()
        return made

    before, total = event(), 0.0

    def read() -> float:
        nonlocal before, total
        now = event()
        total += before.elapsed_time(now) / 1000
        before = now
        return total

    return read


def _allocated(cuda: Any, work: Callable[[], Any]) -> tuple[Any, int]:
    """By PyTorch's own account of what it handed out on the GPU."""
    cuda.synchronize()
    cuda.reset_peak_memory_stats()
    before = cuda.memory_allocated()
    result = work()
    cuda.synchronize()
    return result, int(cuda.max_memory_allocated() - before)


def _alive(torch: Any, work: Callable[[], Any]) -> tuple[Any, int]:
    """On the processor PyTorch keeps no account: every storage is noted when an operation makes it, and crossed out
    when it is gone. What a single operation needs in between is not seen."""
    with watched(torch) as meter:
        result = work()
    return result, meter.most


def watched(torch: Any) -> AbstractContextManager[Any]:
    """While inside, the storages that operations make are counted: `.most` bytes at once."""
    import weakref

    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    class Watch(TorchDispatchMode):
        def __init__(self) -> None:
            super().__init__()
            self.alive: dict[int, int] = {}
            self.most = 0

        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            given = {t.untyped_storage()._cdata for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)}
            made = function(*args, **(kwargs or {}))
            for tensor in tree_leaves(made):
                if isinstance(tensor, torch.Tensor):
                    storage = tensor.untyped_storage()
                    if storage._cdata not in given and storage._cdata not in self.alive:
                        self.alive[storage._cdata] = storage.nbytes()
                        weakref.finalize(storage, self.alive.pop, storage._cdata, None)
            self.most = max(self.most, sum(self.alive.values()))
            return made

    @contextmanager
    def inside() -> Any:
        with Watch() as meter:
            yield meter

    return inside()
