"""What PyTorch itself says about a module: its layers, operations, memory and receptive field.

Each meter watches a real or a shape-only (meta device) run from outside: hooks, dispatcher, autograd, the
gradient's footprint. No formula of `dnnlab` is used.
"""

from __future__ import annotations

from dataclasses import dataclass

try:
    import torch
except ImportError:  # collected by pytest on a machine without it
    import pytest

    pytest.skip("PyTorch is not installed: python -m tasks test --with torch", allow_module_level=True)

from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.distributed._tools.mem_tracker import MemTracker
from torch.utils.flop_counter import FlopCounterMode

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Leaf:
    """A module as it was called: shapes, own parameters, and FLOPs of its forward pass."""

    name: str
    input_shape: Shape
    output_shape: Shape
    parameters: int
    flops: int


def leaves(model: nn.Module, *inputs: Tensor, whole: tuple[type[nn.Module], ...] = ()) -> list[Leaf]:
    """The modules that compute, in the order in which they run: those without children, and those of the types
    in `whole` as one. A shared parameter counts for the first module that has it."""
    calls: list[tuple[str, Shape, Shape, int]] = []
    counted: set[nn.Parameter] = set()

    def watch(name: str, module: nn.Module) -> torch.utils.hooks.RemovableHandle:
        def hook(module: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> None:
            own = set(module.parameters()) - counted
            counted.update(own)
            calls.append((name, tuple(given[0].shape), tuple(out.shape), sum(p.numel() for p in own)))

        return module.register_forward_hook(hook)

    handles, inside = [], ""
    for name, module in model.named_modules():
        if inside and name.startswith(inside):
            continue
        inside = f"{name}." if isinstance(module, whole) else ""
        if inside or not any(True for _ in module.children()):
            handles.append(watch(name, module))
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(*inputs)
    for handle in handles:
        handle.remove()
    counts, root = counter.get_flop_counts(), type(model).__name__
    return [Leaf(*call, flops=sum(counts.get(f"{root}.{call[0]}", {}).values())) for call in calls]


def flops(model: nn.Module, *inputs: Tensor) -> tuple[int, int]:
    """FLOPs of the forward and of the backward pass; the input's gradient is made if it asks for one.

    PyTorch's counter multiplies the weight gradient of a grouped convolution by its groups; that is taken back.
    """
    with FlopCounterMode(display=False) as forward:
        out = model(*inputs)
    with FlopCounterMode(display=False) as backward:
        out.sum().backward()
    model.zero_grad()
    counts, root = forward.get_flop_counts(), type(model).__name__
    excess = 0
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv1d | nn.Conv2d) and module.groups > 1:
            excess += (module.groups - 1) * sum(counts[f"{root}.{name}"].values())
    return forward.get_total_flops(), backward.get_total_flops() - excess


def saved_bytes(model: nn.Module, *inputs: Tensor) -> dict[str, int]:
    """Bytes of the tensors that autograd keeps, each storage once, by what they are."""
    roles = {t.untyped_storage()._cdata: "input" for t in inputs}
    roles |= {t.untyped_storage()._cdata: "parameters" for t in model.parameters()}
    roles |= {t.untyped_storage()._cdata: "buffers" for t in model.buffers()}
    storages: dict[int, torch.UntypedStorage] = {}  # holding them keeps their addresses from being used again

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        storages[storage._cdata] = storage
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        out = model(*inputs)
    total = dict.fromkeys(("activations", "input", "parameters", "buffers"), 0)
    for key, storage in storages.items():
        total[roles.get(key, "activations")] += storage.nbytes()
    del out
    return total


def inference_peak(model: nn.Module, *inputs: Tensor) -> int:
    """The most bytes of activations alive at once in inference, the input apart."""
    tracker = MemTracker()
    tracker.track_external(model, *inputs)
    training = model.training
    model.eval()
    with torch.no_grad(), tracker:
        model(*inputs)
    model.train(training)
    return tracker.get_tracker_snapshot("peak")[inputs[0].device]["Activation"]


def smooth(model: nn.Module) -> nn.Module:
    """Make every path from input to output visible in the gradient: positive weights that sum to one (else
    numbers overflow) and means for maxima. Changes the model and returns it."""
    for module in model.modules():
        for name, child in module.named_children():
            if isinstance(child, nn.MaxPool2d):
                size = child.kernel_size, child.stride, child.padding
                setattr(module, name, nn.AvgPool2d(*size, ceil_mode=child.ceil_mode))
            elif isinstance(child, nn.Conv2d):
                with torch.no_grad():
                    child.weight.fill_(1 / child.weight[0].numel())
                    if child.bias is not None:
                        child.bias.zero_()
    return model.double().eval()


def footprints(model: nn.Module, names: list[str], channels: int, size: int) -> dict[str, tuple[int, int, int]]:
    """Height and width of the input that one output pixel of each named module depends on, and how many rows
    its neighbour below looks further down. Refuses a pixel whose footprint touches the border.

    The image is nearly black, so that no sum of branches comes to six, where ReLU6 is flat.
    """
    outputs: dict[str, Tensor] = {}
    modules = dict(model.named_modules())
    handles = [
        modules[name].register_forward_hook(lambda _module, _given, out, name=name: outputs.update({name: out}))
        for name in names
    ]
    image = torch.full((1, channels, size, size), 1e-9, dtype=torch.float64, requires_grad=True)
    model(image)
    for handle in handles:
        handle.remove()
    found = {}
    for name, out in outputs.items():
        y, x = out.shape[2] // 2, out.shape[3] // 2
        rows, columns = _support(out[..., y, x], image)
        below, _ = _support(out[..., y + 1, x], image)
        found[name] = (rows[1] - rows[0] + 1, columns[1] - columns[0] + 1, below[0] - rows[0])
    return found


def _support(pixel: Tensor, image: Tensor) -> tuple[tuple[int, int], tuple[int, int]]:
    """First and last row and column that the pixel depends on."""
    (gradient,) = torch.autograd.grad(pixel.sum(), image, retain_graph=True)
    seen = gradient[0].sum(0) != 0
    edges = []
    for axis in (1, 0):
        places = seen.any(axis).nonzero().flatten().tolist()
        if places[0] == 0 or places[-1] == len(seen) - 1:
            raise ValueError("the footprint touches the border: take a larger image")
        edges.append((places[0], places[-1]))
    return edges[0], edges[1]
