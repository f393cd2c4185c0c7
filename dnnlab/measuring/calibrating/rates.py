"""Probes of this machine: what is done, and how much of it, to tell a rate of arithmetic, memory or functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import Any

from ..timing import fresh_memory
from .turns import Probe

# Of a matrix product: above about 1000 the rate grows no more than it varies. A smaller one where that takes too long.
_SIZES, _LONGEST, _SHORTEST = (1024, 512, 256), 0.12, 0.03
# Evaluations, and bytes, that a piece of work in the cache goes through: many, so that few of them begin outside it.
_EVALUATIONS, _CROSSING, _CALLS = 4e6, 4e8, 1000
_OFTEN = 8  # times as many of those hardly slower than moving their numbers


def repeated(work: Callable[[], object], times: int) -> Callable[[], None]:
    """The work, several times."""

    def run() -> None:
        for _ in range(times):
            work()

    return run


# -- arithmetic ------------------------------------------------------------------------------------------


def numpy_product(dtype: str) -> Probe:
    """NumPy's matrix product."""
    import numpy as np

    kind = {"fp32": np.float32, "fp64": np.float64}[dtype]

    def product(n: int) -> Callable[[], object]:
        left, right = (np.full((n, n), value, kind) for value in (0.5, 0.25))
        out = np.empty((n, n), kind)
        return lambda: np.matmul(left, right, out=out)

    return Probe(
        f"matrix.numpy.{dtype}", "FLOP/s", f"matrix products in NumPy, {dtype}", _product(product), crew="BLAS"
    )


def numpy_pieces() -> Probe:
    """Small products a second, beyond their arithmetic: 64 of them against a large one of as many operations. Threads
    share each product: they start together and wait for the last."""
    import numpy as np

    large, small = (np.full((n, n), 0.5, np.float32) for n in (1024, 256))
    out, part = np.empty_like(large), np.empty_like(small)
    pieces = repeated(lambda: np.matmul(small, small, out=part), 64)
    whole = repeated(lambda: np.matmul(large, large, out=out), 1)
    pair = {"256 × 256": (64.0, pieces)}
    return Probe("functions.numpy.product", "OP/s", "small matrix products in NumPy", pair, whole, "BLAS")


def torch_product(dtype: str) -> Probe:
    """PyTorch's matrix product."""
    import torch

    kind = {"fp64": torch.float64, "fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[dtype]

    def product(n: int) -> Callable[[], object]:
        left, right = (torch.full((n, n), value, dtype=kind) for value in (0.5, 0.25))
        out = torch.empty((n, n), dtype=kind)
        return lambda: torch.mm(left, right, out=out)

    return Probe(
        f"matrix.torch.{dtype}", "FLOP/s", f"matrix products in PyTorch, {dtype}", _product(product), crew="PyTorch"
    )


def _product(product: Callable[[int], Callable[[], object]]) -> dict[str, tuple[float, Callable[[], object]]]:
    """The largest product that does not take too long, judged by the smallest; several of them where it is short."""
    small = min(_SIZES)
    run = product(small)
    run()  # code is loaded, threads are started
    rate = small**3 / min(_seconds(run) for _ in range(5))
    n = next((n for n in _SIZES if n**3 / rate <= _LONGEST), small)
    times = max(1, round(_SHORTEST * rate / n**3))
    return {f"{n} × {n}": (2.0 * n**3 * times, repeated(product(n), times))}


def _seconds(run: Callable[[], object]) -> float:
    begin = perf_counter()
    run()
    return max(perf_counter() - begin, 1e-9)


# -- memory ----------------------------------------------------------------------------------------------


def streams(fact: str, doing: str, size: int, threads: int, pool: ThreadPoolExecutor, arrays: Sequence[Any]) -> Probe:
    """Loops like those of STREAM (J. McCalpin, 1995), of those that NumPy has in one pass, and an update in place; on
    `size` bytes of each of three arrays, a slice for each thread.

    An array that is written without being read crosses twice, for a processor fetches a line before it writes into
    it; counted like this all loops come out alike, with an update in place and without. Small arrays are gone over many
    times within a thread, so that starting the threads does not count.
    """
    import numpy as np

    share = size // 4 // threads
    slices = [tuple(array[t * share : (t + 1) * share] for array in arrays) for t in range(threads)]
    times = max(1, round(_CROSSING / (2 * size)))
    scale = np.float32(0.5)
    loops: dict[str, tuple[int, Callable[[Any, Any, Any], object]]] = {
        "copy": (3, lambda a, b, c: np.copyto(a, b)),
        "scale": (3, lambda a, b, c: np.multiply(b, scale, out=a)),
        "add": (4, lambda a, b, c: np.add(b, c, out=a)),
        "update": (3, lambda a, b, c: np.maximum(a, b, out=a)),
    }

    def spread_over(loop: Callable[[Any, Any, Any], object]) -> Callable[[], object]:
        def one(own: tuple[Any, ...]) -> None:
            for _ in range(times):
                loop(*own)

        return (lambda: one(slices[0])) if threads == 1 else (lambda: list(pool.map(one, slices)))

    moved = share * 4 * threads * times
    return Probe(fact, "B/s", doing, {name: (float(n * moved), spread_over(loop)) for name, (n, loop) in loops.items()})


def torch_streams(fact: str, doing: str, size: int) -> Probe:
    """The same loops in PyTorch, with all its threads: where it is installed, they start faster than Python's."""
    import torch

    arrays = [torch.ones(size // 4) for _ in range(3)]
    times = max(1, round(_CROSSING / (2 * size)))
    loops: dict[str, tuple[int, Callable[[Any, Any, Any], object]]] = {
        "copy": (3, lambda a, b, c: a.copy_(b)),
        "scale": (3, lambda a, b, c: torch.mul(b, 0.5, out=a)),
        "add": (4, lambda a, b, c: torch.add(b, c, out=a)),
        "update": (3, lambda a, b, c: torch.maximum(a, b, out=a)),
    }
    moved = size // 4 * 4 * times
    pieces = {
        name: (float(n * moved), repeated(lambda loop=loop: loop(*arrays), times))  # type: ignore[misc]
        for name, (n, loop) in loops.items()
    }
    return Probe(fact, "B/s", doing, pieces, crew="PyTorch")


def staircase(sizes: Sequence[int], array: Any) -> list[Probe]:
    """Reading and writing in place, one thread, a probe for each size in bytes: the rate falls from step to step as
    one cache after the other is too small."""
    import numpy as np

    scale = np.float32(1.0)

    def probe(size: int) -> Probe:
        part = array[: size // 4]
        times = max(1, round(_CROSSING / (4 * size)))
        run = repeated(lambda: np.multiply(part, scale, out=part), times)
        return Probe(f"step.{size}", "B/s", "sizes of the caches", {"in place": (2.0 * size * times, run)})

    return [probe(size) for size in sizes]


def numpy_allocation(size: int) -> Probe:
    """A new array of `size` bytes: the system clears each page when it is first written. NumPy asks for large pages."""
    import numpy as np

    def run() -> None:
        with fresh_memory():
            np.empty(size, np.uint8).fill(1)

    return Probe("allocation.numpy", "B/s", "fresh memory in NumPy", {"first write": (float(size), run)})


def torch_allocation(size: int) -> Probe:
    """The same in PyTorch, which takes pages as they come."""
    import torch

    def run() -> None:
        with fresh_memory():
            torch.empty(size, dtype=torch.uint8).fill_(1)

    return Probe(
        "allocation.torch", "B/s", "fresh memory in PyTorch", {"first write": (float(size), run)}, crew="PyTorch"
    )


# -- what is slower than moving the numbers --------------------------------------------------------------


def numpy_functions(size: int) -> list[Probe]:
    """Evaluations in NumPy, one thread, on arrays of `size` elements that the cache holds; reading and writing them
    counts, except for steps of a pooling window and to a new row: theirs is the time beyond that of neighbours."""
    import numpy as np

    given = np.linspace(-3, 3, size, dtype=np.float32)
    rows, few = given.reshape(-1, 256), np.empty((size // 256, 1), np.float32)
    out = np.empty_like(given)
    times = max(1, round(_EVALUATIONS / 4 / size))
    kinds: dict[str, tuple[int, Callable[[], object]]] = {
        "exp": (times, lambda: np.exp(given, out=out)),
        "tanh": (times, lambda: np.tanh(given, out=out)),
        "clip": (_OFTEN * times, lambda: np.clip(given, 0, 6, out=out)),
        "sum": (_OFTEN * times, lambda: np.add.reduce(rows, axis=1, out=few, keepdims=True)),
    }
    found = [
        Probe(
            f"functions.numpy.{name}", "OP/s", f"{name} in NumPy",
            {name: (float(size * often), repeated(call, often))},
        )
        for name, (often, call) in kinds.items()
    ]  # fmt: skip
    half = out[: size // 2]
    steps = repeated(lambda: np.maximum(given[::2], given[1::2], out=half), times)
    row = repeated(lambda: np.maximum(given[: size // 2], given[size // 2 :], out=half), times)
    amount = float(size // 2 * times)
    found.append(Probe("functions.numpy.window", "OP/s", "pooling in NumPy", {"maximum": (amount, steps)}, row))
    # NumPy starts its loop anew for each row of neighbours: here for 8 of 16.
    wide, narrow = given.reshape(-1, 16)[:, :8], half.reshape(-1, 8)
    each = repeated(lambda: np.maximum(wide, narrow, out=narrow), times)
    flat = repeated(lambda: np.maximum(given[: size // 2], half, out=half), times)
    starts = {"rows of 8": (float(len(narrow) * times), each)}
    return [*found, Probe("functions.numpy.row", "OP/s", "rows in NumPy", starts, flat)]


def torch_functions(size: int) -> list[Probe]:
    """Evaluations in PyTorch, all its threads, on arrays of `size` elements that the cache holds; reading and writing
    them counts. As in layers: exponentials in a sigmoid, error functions in a GELU (torch.exp and torch.erf are other
    code); an output of pooling with windows of 2 x 2; a comparison in a window of 64; an addition in the
    statistics of a batch, two an element."""
    import torch
    from torch.nn import functional

    given = torch.linspace(-3, 3, size)
    # Which of several random numbers is the largest, a processor cannot guess; of numbers in order it can.
    image, rows = torch.rand(1, size // 4096, 64, 64), given.reshape(-1, 1024)
    scale = torch.ones(1024)
    times = max(1, round(_EVALUATIONS / size))
    kinds: dict[str, tuple[float, int, Callable[[], object]]] = {
        "exp": (1, times, lambda: torch.sigmoid(given)),
        "tanh": (1, times, lambda: torch.tanh(given)),
        "erf": (1, times, lambda: functional.gelu(given)),
        "largest": (1 / 4, times, lambda: functional.max_pool2d(image, 2)),
        "average": (1 / 4, times, lambda: functional.avg_pool2d(image, 2)),
        "window": (1, times, lambda: functional.max_pool2d(image, 8)),
        "moments": (1, _OFTEN * times, lambda: functional.layer_norm(rows, scale.shape, scale, scale)),
        "sum": (2, times, lambda: functional.batch_norm(image, None, None, training=True)),
    }

    def quiet(call: Callable[[], object], times: int) -> Callable[[], None]:
        def run() -> None:
            with torch.no_grad():
                for _ in range(times):
                    call()

        return run

    return [
        Probe(
            f"functions.torch.{name}", "OP/s", f"{name} in PyTorch",
            {name: (float(n * size * often), quiet(call, often))}, crew="PyTorch",
        )
        for name, (n, often, call) in kinds.items()
    ]  # fmt: skip


def torch_relaid() -> Probe:
    """Elements a second that oneDNN lays out anew, with all threads: filters, in blocks of channels."""
    import torch

    n = 320
    filters = torch.full((n, n, 3, 3), 0.5).to_mkldnn()
    ones = [1, 1]
    lay_out = torch._C._nn.mkldnn_reorder_conv2d_weight  # the call of torch.utils.mkldnn
    times = max(1, round(_CROSSING / (12 * filters.numel())))
    run = repeated(lambda: lay_out(filters, ones, ones, ones, 1), times)
    amount = float(filters.numel() * times)
    return Probe("functions.torch.relaid", "OP/s", "filters in PyTorch", {"3 × 3": (amount, run)}, crew="PyTorch")


def numpy_overhead() -> Probe:
    """Seconds that a call of NumPy takes on arrays of a few numbers."""
    import numpy as np

    row, square, out = np.ones((1, 8), np.float32), np.ones((8, 8), np.float32), np.empty((1, 8), np.float32)
    calls = {
        "maximum": (_CALLS, repeated(lambda: np.maximum(row, 0.5, out=out), _CALLS)),
        "matmul": (_CALLS, repeated(lambda: np.matmul(row, square, out=out), _CALLS)),
    }
    return Probe("overhead.numpy", "s", "calls of NumPy", calls, crew="nobody")


def torch_overhead() -> Probe:
    """Seconds that a call of PyTorch takes on tensors of a few numbers."""
    import torch
    from torch.nn.functional import linear

    row, square = torch.ones(1, 8), torch.ones(8, 8)

    def quiet(call: Callable[[], object]) -> Callable[[], None]:
        def run() -> None:
            with torch.no_grad():
                for _ in range(_CALLS):
                    call()

        return run

    calls = {"relu": (_CALLS, quiet(lambda: torch.relu(row))), "linear": (_CALLS, quiet(lambda: linear(row, square)))}
    return Probe("overhead.torch", "s", "calls of PyTorch", calls, crew="nobody")
