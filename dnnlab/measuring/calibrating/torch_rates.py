"""Probes of PyTorch: what is done, and how much of it. PyTorch is imported when one is made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..timing import give_back
from .rates import CALLS, CROSSING, EVALUATIONS, OFTEN, repeated, sized
from .turns import Probe


def product(dtype: str) -> Probe:
    """PyTorch's matrix product."""
    import torch

    kind = {"fp64": torch.float64, "fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[dtype]

    def of_size(n: int) -> Callable[[], object]:
        left, right = (torch.rand(n, n).to(kind) for _ in range(2))
        out = torch.empty((n, n), dtype=kind)
        return lambda: torch.mm(left, right, out=out)

    return Probe(
        f"matrix.torch.{dtype}", "FLOP/s", f"matrix products in PyTorch, {dtype}", sized(of_size), crew="PyTorch"
    )


def convolution() -> Probe:
    """oneDNN's convolution, fp32, of filters that are laid out beforehand; over rows so wide that neither their ends
    nor reading the filters again count."""
    import torch

    n, rows, columns = 256, 8, 160
    image, filters = torch.rand(1, n, rows, columns).to_mkldnn(), _laid_out(torch, _filters(torch, n))
    times = 3
    amount = 2.0 * n * n * 9 * rows * columns * times
    run = repeated(lambda: torch.mkldnn_convolution(image, filters, None, *[[1, 1]] * 3, 1), times)
    pieces = {f"3 × 3, {n} channels, {rows} × {columns}": (amount, run)}
    return Probe("convolution.torch.fp32", "FLOP/s", "convolutions in PyTorch", pieces, crew="PyTorch")


def streams(fact: str, doing: str, size: int) -> Probe:
    """The loops of `numpy_rates.streams` with all threads of PyTorch, which start faster than those of Python."""
    import torch

    arrays = [torch.ones(size // 4) for _ in range(3)]
    times = max(1, round(CROSSING / (2 * size)))
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


def allocation(size: int) -> Probe:
    """A new tensor of `size` bytes. PyTorch takes pages as they come."""
    import torch

    kept = torch.empty(size, dtype=torch.uint8)

    def run() -> None:
        (kept if give_back(kept.data_ptr(), size) else torch.empty(size, dtype=torch.uint8)).fill_(1)

    return Probe(
        "allocation.torch", "B/s", "fresh memory in PyTorch", {"first write": (float(size), run)}, crew="PyTorch"
    )


def functions(size: int) -> list[Probe]:
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
    times = max(1, round(EVALUATIONS / size))
    kinds: dict[str, tuple[float, int, Callable[[], object]]] = {
        "exp": (1, times, lambda: torch.sigmoid(given)),
        "tanh": (1, times, lambda: torch.tanh(given)),
        "erf": (1, times, lambda: functional.gelu(given)),
        "largest": (1 / 4, times, lambda: functional.max_pool2d(image, 2)),
        "average": (1 / 4, times, lambda: functional.avg_pool2d(image, 2)),
        "window": (1, times, lambda: functional.max_pool2d(image, 8)),
        "moments": (1, OFTEN * times, lambda: functional.layer_norm(rows, scale.shape, scale, scale)),
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


def relaid() -> Probe:
    """Elements a second that oneDNN lays out anew, with all threads: filters, in blocks of channels."""
    import torch

    filters = _filters(torch, 320)
    times = max(1, round(CROSSING / (12 * filters.numel())))
    run = repeated(lambda: _laid_out(torch, filters), times)
    amount = float(filters.numel() * times)
    return Probe("functions.torch.relaid", "OP/s", "filters in PyTorch", {"3 × 3": (amount, run)}, crew="PyTorch")


def _filters(torch: Any, n: int) -> Any:
    """Filters of 3 x 3 for n channels, as oneDNN is given them."""
    return torch.rand(n, n, 3, 3).to_mkldnn()


def _laid_out(torch: Any, filters: Any) -> Any:
    """Filters in oneDNN's blocks of channels, by the call of torch.utils.mkldnn."""
    return torch._C._nn.mkldnn_reorder_conv2d_weight(filters, *[[1, 1]] * 3, 1)


def overhead() -> Probe:
    """Seconds that a call of PyTorch takes on tensors of a few numbers."""
    import torch
    from torch.nn.functional import linear

    row, square = torch.ones(1, 8), torch.ones(8, 8)

    def quiet(call: Callable[[], object]) -> Callable[[], None]:
        def run() -> None:
            with torch.no_grad():
                for _ in range(CALLS):
                    call()

        return run

    calls = {"relu": (CALLS, quiet(lambda: torch.relu(row))), "linear": (CALLS, quiet(lambda: linear(row, square)))}
    return Probe("overhead.torch", "s", "calls of PyTorch", calls, crew="nobody")
