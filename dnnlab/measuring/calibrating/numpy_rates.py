"""Probes of NumPy, and with its loops those of memory and caches: what is done, and how much of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from ..timing import give_back
from .rates import CALLS, CROSSING, EVALUATIONS, OFTEN, repeated, sized
from .turns import Probe


def product(dtype: str) -> Probe:
    """NumPy's matrix product."""
    kind = {"fp32": np.float32, "fp64": np.float64}[dtype]
    rng = np.random.default_rng(0)

    def of_size(n: int) -> Callable[[], object]:
        left, right = (rng.random((n, n)).astype(kind) for _ in range(2))  # equal numbers would take less power
        out = np.empty((n, n), kind)
        return lambda: np.matmul(left, right, out=out)

    return Probe(
        f"matrix.numpy.{dtype}", "FLOP/s", f"matrix products in NumPy, {dtype}", sized(of_size), crew="BLAS"
    )


def pieces() -> Probe:
    """Small products a second, beyond their arithmetic: 512 of them against a large one of as many operations. Threads
    share each product: they start together and wait for the last."""
    large, small = (np.full((n, n), 0.5, np.float32) for n in (1024, 128))
    out, part = np.empty_like(large), np.empty_like(small)
    each = repeated(lambda: np.matmul(small, small, out=part), 512)
    whole = repeated(lambda: np.matmul(large, large, out=out), 1)
    found = {"128 × 128": (512.0, each)}
    return Probe("functions.numpy.product", "OP/s", "small matrix products in NumPy", found, whole, "BLAS")


def streams(fact: str, doing: str, size: int, threads: int, pool: ThreadPoolExecutor, arrays: Sequence[Any]) -> Probe:
    """Loops like those of STREAM (J. McCalpin, 1995), of those that NumPy has in one pass, and an update in place; on
    `size` bytes of each of three arrays, a slice for each thread.

    An array that is written without being read crosses twice, for a processor fetches a line before it writes into
    it; counted like this all loops come out alike, with an update in place and without. Small arrays are gone over many
    times within a thread, so that starting the threads does not count.
    """
    share = size // 4 // threads
    slices = [tuple(array[t * share : (t + 1) * share] for array in arrays) for t in range(threads)]
    times = max(1, round(CROSSING / (2 * size)))
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


def staircase(sizes: Sequence[int], array: Any) -> list[Probe]:
    """Reading and writing in place, one thread, a probe for each size in bytes: the rate falls from step to step as
    one cache after the other is too small."""
    scale = np.float32(1.0)

    def probe(size: int) -> Probe:
        part = array[: size // 4]
        times = max(1, round(CROSSING / (4 * size)))
        run = repeated(lambda: np.multiply(part, scale, out=part), times)
        return Probe(f"step.{size}", "B/s", "sizes of the caches", {"in place": (2.0 * size * times, run)})

    return [probe(size) for size in sizes]


def allocation(size: int) -> Probe:
    """A new array of `size` bytes: the system clears each page when it is first written. NumPy asks for large pages."""
    kept = np.empty(size, np.uint8)

    def run() -> None:
        (kept if give_back(kept.ctypes.data, size) else np.empty(size, np.uint8)).fill(1)

    return Probe("allocation.numpy", "B/s", "fresh memory in NumPy", {"first write": (float(size), run)})


def functions(size: int) -> list[Probe]:
    """Evaluations in NumPy, one thread, on arrays of `size` elements that the cache holds; reading and writing them
    counts, except for steps of a pooling window and to a new row: theirs is the time beyond that of neighbours."""
    given = np.linspace(-3, 3, size, dtype=np.float32)
    rows, few = given.reshape(-1, 256), np.empty((size // 256, 1), np.float32)
    out = np.empty_like(given)
    times = max(1, round(EVALUATIONS / 4 / size))
    kinds: dict[str, tuple[int, Callable[[], object]]] = {
        "exp": (times, lambda: np.exp(given, out=out)),
        "tanh": (times, lambda: np.tanh(given, out=out)),
        "clip": (OFTEN * times, lambda: np.clip(given, 0, 6, out=out)),
        "sum": (OFTEN * times, lambda: np.add.reduce(rows, axis=1, out=few, keepdims=True)),
    }
    found = [
        Probe(
            f"functions.numpy.{name}", "OP/s", f"{name} in NumPy",
            {name: (float(size * often), repeated(call, often))},
        )
        for name, (often, call) in kinds.items()
    ]  # fmt: skip
    half, often = out[: size // 2], OFTEN * times
    flat = repeated(lambda: np.maximum(given[: size // 2], half, out=half), often)
    # Every other element, as the windows of a pooling take them; the others are fetched for nothing.
    steps = repeated(lambda: np.maximum(given[::2], given[1::2], out=half), often)
    taken = {"maximum": (float(size // 2 * often), steps)}
    # NumPy starts its loop anew for each row of neighbours: here for 8 of 16.
    wide, narrow = given.reshape(-1, 16)[:, :8], half.reshape(-1, 8)
    each = repeated(lambda: np.maximum(wide, narrow, out=narrow), often)
    starts = {"rows of 8": (float(len(narrow) * often), each)}
    return [
        *found,
        Probe("functions.numpy.window", "OP/s", "pooling in NumPy", taken, flat),
        Probe("functions.numpy.row", "OP/s", "rows in NumPy", starts, flat),
    ]


def overhead() -> Probe:
    """Seconds that a call of NumPy takes on arrays of a few numbers."""
    row, square, out = np.ones((1, 8), np.float32), np.ones((8, 8), np.float32), np.empty((1, 8), np.float32)
    calls = {
        "maximum": (CALLS, repeated(lambda: np.maximum(row, 0.5, out=out), CALLS)),
        "matmul": (CALLS, repeated(lambda: np.matmul(row, square, out=out), CALLS)),
    }
    return Probe("overhead.numpy", "s", "calls of NumPy", calls, crew="nobody")
