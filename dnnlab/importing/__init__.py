"""Your own network: a PyTorch module or an ONNX file becomes a `Network` of the catalogue's layers.

A reader writes down every operation of the program (`operations`), patterns join what belongs together, and each
operation becomes a layer with all its dimensions bound. What the catalogue does not know stands in the network as a
layer without arithmetic, in `Network.left_out`, and in a warning. Both readers need an extra: `pip install
dnnlab[torch]`, `pip install dnnlab[onnx]`.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from os import PathLike
from typing import Any

from ..errors import DnnlabError, quote
from ..networks import Network
from .assembling import assembled
from .operations import Recording
from .patterns import PATTERNS, Pattern, simplified
from .spelled import ONNX_PATTERNS

__all__ = ["LeftOut", "from_onnx", "from_torch"]


class LeftOut(UserWarning):
    """Operations of an imported network that no total counts."""


def from_torch(module: Any, example: Any) -> Network:
    """The network of a `torch.nn.Module`, as it computes `module(example)`; nothing is run, only shapes are followed.

    `example` is a tensor, a shape (a tuple of integers, for a module that takes real numbers), or a tuple or dict of
    tensors where the module takes several; dropout and batch norm count as in training if the module is in training.
    Layers have the names of their modules, parameters that layers share count once. Raises `DnnlabError` where PyTorch
    is not installed, the module cannot be traced or does not fit the example; warns (`LeftOut`) of operations that the
    catalogue does not have.

    >>> import torch  # doctest: +SKIP
    >>> from_torch(torch.nn.Linear(3, 5), (8, 3)).macs  # doctest: +SKIP
    120
    """
    try:
        import torch
    except ImportError as error:
        raise DnnlabError("importing a PyTorch module needs PyTorch: pip install dnnlab[torch]") from error
    from .pytorch import record

    if not isinstance(module, torch.nn.Module):
        raise DnnlabError(f"expected a torch.nn.Module such as torch.nn.Linear(3, 5), got {quote(module)}")
    if isinstance(example, Mapping):
        return _network(record(module, (), example))
    if isinstance(example, tuple | list) and example and all(isinstance(size, int) for size in example):
        home = next((tensor.device for tensor in module.parameters()), None)
        example = torch.empty(tuple(example), device=home)
    arguments = tuple(example) if isinstance(example, tuple | list) else (example,)
    if not any(isinstance(argument, torch.Tensor) for argument in arguments):
        raise DnnlabError(f"expected an example tensor, or a shape such as (1, 3, 224, 224), got {quote(example)}")
    return _network(record(module, arguments, {}))


def from_onnx(path: str | PathLike[str], **sizes: int) -> Network:
    """The network of an ONNX file; weights are not read, so they may lie in files that are not there.

    `sizes` gives numbers to the dimensions that the file leaves open, by their names: `from_onnx("net.onnx", batch=8)`.
    Layers have the names of their weights or of the file's nodes. Raises `DnnlabError` where the package onnx is not
    installed, the file cannot be read, or a dimension is open; warns (`LeftOut`) of operations that the catalogue does
    not have.
    """
    try:
        import onnx  # noqa: F401
    except ImportError as error:
        raise DnnlabError("importing an ONNX file needs the package onnx: pip install dnnlab[onnx]") from error
    from .onnxfile import record

    return _network(record(path, sizes), ONNX_PATTERNS)


def _network(recording: Recording, patterns: tuple[Pattern, ...] = PATTERNS) -> Network:
    """Patterns, layers, and a word about what is missing."""
    if not recording.inputs:
        raise DnnlabError(f"{recording.name} takes no tensor; give an example of what it computes from")
    shape = recording.values[recording.inputs[0]].shape
    if 0 in shape:
        raise DnnlabError(f"the example has the shape {shape}, which holds no number; give each axis at least one")
    net = assembled(simplified(recording, patterns))
    if net.left_out:
        names = ", ".join(f"{node.kind} ({node.name}, output {node.output_shape})" for node in net.left_out[:8])
        more = f" and {len(net.left_out) - 8} more" if len(net.left_out) > 8 else ""
        warnings.warn(
            f"{net.name}: totals are without {names}{more}: the catalogue does not have these operations. "
            "Their shapes and parameters are in the network; see Network.left_out",
            LeftOut,
            stacklevel=4,
        )
    return net
