"""What a training step starts from: parameters, running statistics, plain numbers, dropout masks, and the loss."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..errors import DnnlabError, ExtentError, ShapeError, quote, unknown
from ..layers import Dropout
from ..layers.base import Shape
from ..networks import Network, Node
from ..notation import product
from ..program import Program
from ..quantities import read_quantity
from ..vectorised import Array, run

#: Arrays by layer and tensor.
Tensors = dict[str, dict[str, Array]]
#: Numbers of the lines that are no dimension, as frameworks set them.
SCALARS = {"eps": 1e-5, "momentum": 0.1, "slope": 0.01}


@dataclass(frozen=True, eq=False)
class Given:
    """What a step reads and never changes, so that a forward that runs again computes what it computed before."""

    tensors: Tensors
    dtype: np.dtype[Any]
    scalars: Mapping[str, float]
    seed: int

    def stored(self, node: Node) -> dict[str, Array]:
        """Parameters and running statistics of a layer."""
        return dict(self.tensors.get(node.shares or node.name, {}))

    def forward(self, node: Node) -> dict[str, Array]:
        """All that a layer's forward pass reads beside its inputs: a dropout mask is drawn, from the layer's own
        seed and therefore the same one in every replay."""
        found = self.stored(node)
        if isinstance(node.layer, Dropout):
            rng = np.random.default_rng([self.seed, zlib.crc32(node.name.encode())])
            kept = rng.random(node.layer.program.shape("mask")) >= node.layer.p
            found["mask"] = kept.astype(self.dtype) / self.dtype.type(1 - node.layer.p)
        return found


def parameters_of(network: Network, seed: int = 0, dtype: str = "float32") -> Tensors:
    """Arrays for a network's parameters and running statistics, by layer and tensor: weights are normal with a
    variance of one over the number of terms they are summed with, biases and means 0, scales and variances 1.

    Raises `DnnlabError` for a dtype that is no floating-point number or extents that are still open.

    >>> from dnnlab import zoo
    >>> {name: array.shape for name, array in parameters_of(zoo.lenet5())["conv1"].items()}
    {'weight': (6, 1, 5, 5), 'bias': (6,)}
    """
    if not isinstance(network, Network):
        raise DnnlabError(f"parameters are made for a Network such as zoo.lenet5(), got {quote(network)}")
    if dtype not in ("float16", "float32", "float64"):
        raise unknown("dtype", dtype, ("float16", "float32", "float64"))
    rng = np.random.default_rng(_seed(seed))
    made: Tensors = {}
    for node in network.layers:
        program = node.layer.program
        for name in () if node.shares else program.having("parameter", "state"):
            shape = _closed(program.shape(name), f"{name!r} of {node.name!r}")
            if len(shape) > 1:
                reader = next(nest for nest in program.nests if name in nest.references)
                terms = reader.iterations / program.size(reader.statement.target.name)
                array = rng.standard_normal(shape) / max(1, terms) ** 0.5
            else:
                array = np.full(shape, float(not name.startswith(("bias", "running_mean"))))
            made.setdefault(node.name, {})[name] = array.astype(dtype)
    return made


def read_given(
    network: Network, parameters: Mapping[str, Mapping[str, Any]], scalars: Mapping[str, float] | None, seed: int
) -> Given:
    """Parameters, running statistics and constants such as the mask of an attention layer, checked and in one
    floating-point type: that of the parameters."""
    if not isinstance(parameters, Mapping) or not all(isinstance(own, Mapping) for own in parameters.values()):
        raise DnnlabError("parameters are {layer: {tensor: array}}, as parameters_of(network) makes them")
    names = [node.name for node in network.layers]
    for name in parameters:
        if name not in names:
            raise unknown(f"layer of {network.name}", name, names)
    learned = {node.name: node.layer.program.having("parameter") for node in network.layers}
    arrays = [array for name, own in parameters.items() for tensor, array in own.items() if tensor in learned[name]]
    types = [array.dtype for array in arrays if isinstance(array, np.ndarray)]
    floats = [kind for kind in types if np.issubdtype(kind, np.floating)]
    dtype = np.result_type(*floats) if floats else np.dtype(np.float32)
    tensors: Tensors = {}
    for node in network.layers:
        drawn = () if isinstance(node.layer, Dropout) else ("constant",)
        wanted = () if node.shares else node.layer.program.having("parameter", "state", *drawn)
        for name in parameters.get(node.name, {}):
            if name not in wanted:
                raise unknown(f"tensor of {node.name!r}", name, wanted or ["(none)"])
        for name in wanted:
            what = f"{name!r} of {node.name!r}"
            if name not in parameters.get(node.name, {}):
                raise DnnlabError(f"parameters lack {what}; add an array of shape {node.layer.program.shape(name)}")
            shape = _closed(node.layer.program.shape(name), what)
            tensors.setdefault(node.name, {})[name] = read_array(what, parameters[node.name][name], shape, dtype)
    numbers = {name: read_quantity(value, "") for name, value in (scalars or {}).items()}
    for name in numbers:
        if name not in (known := _numbers(network)):
            raise unknown(f"number in the lines of {network.name}", name, known or ["(none)"])
    return Given(tensors, dtype, SCALARS | numbers, _seed(seed))


def _numbers(network: Network) -> list[str]:
    """Plain numbers that stand in the lines and follow from no dimension."""
    nests = [nest for node in network.layers for nest in node.layer.program.nests]
    return sorted({name for nest in nests for name in nest.statement.scalars if name not in dict(nest.settings)})


def read_array(what: str, given: Any, shape: Shape, dtype: np.dtype[Any]) -> Array:
    """An array of that shape and type, in one piece, without NaN and infinity."""
    try:
        array = np.asarray(given, dtype, order="C")
    except (TypeError, ValueError) as error:
        raise DnnlabError(f"{what} should be an array of numbers of shape {shape}, got {quote(given)}") from error
    if array.shape != tuple(shape):
        raise ShapeError(f"{what} should have shape {shape}, got {array.shape}")
    if not np.isfinite(array).all():
        raise DnnlabError(f"{what} holds NaN or infinity")
    return array


def _seed(seed: object) -> int:
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise ExtentError(f"seed = {quote(seed)}: expected a whole number, 0 or more")
    return seed


def _closed(shape: Shape, what: str) -> tuple[int, ...]:
    if not all(isinstance(size, int) for size in shape):
        raise ShapeError(f"{what} has an open shape {shape}; give the network numbers, such as batch=8")
    return tuple(shape)


# -- the loss ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Loss:
    """The loss of an output, in lines of its own; called with the output it gives its value and gradient."""

    program: Program
    target: Array

    @cached_property
    def backward(self) -> Program:
        """The adjoint lines."""
        return self.program.backward()

    @property
    def ops(self) -> int:
        """Operations of value and gradient."""
        return int(self.program.ops + self.backward.ops)

    def __call__(self, output: Array) -> tuple[float, Array]:
        """The value, and the gradient y_L."""
        x = output.reshape(self.program.shape("out"))
        tensors = run(self.program, {"out": x, "target": self.target})
        saved = {name: tensors[name] for name in self.program.saved}
        slope = run(self.backward, {**saved, "d_loss": np.ones(1, x.dtype)})["d_out"]
        return float(tensors["loss"][0]), slope.reshape(output.shape)


def read_loss(name: str, shape: Shape, target: Any, dtype: np.dtype[Any]) -> Loss:
    """The loss of that name for an output of that shape.

    >>> print(read_loss("mse", (2, 5), None, np.dtype("float32")).program)
    loss[0] += (out[i] - target[i])**2 / count
    """
    roles = {"out": "input", "target": "constant", "loss": "output"}
    if name == "mse":
        count = product(shape)
        line = "loss[0] += (out[i] - target[i])**2 / count"
        program = Program.read([line], roles, {}, i=count, count=count)
        full = np.zeros(shape) if target is None else target
        return Loss(program, read_array("the target", full, shape, dtype).reshape(-1))
    if name != "cross_entropy":
        raise unknown("loss", name, ("mse", "cross_entropy"))
    if len(shape) != 2:
        raise ShapeError(f"cross_entropy takes an output (n, classes), but that of the network is {shape}")
    n, classes = shape
    lines = [
        "top[n] = max(top[n], out[n,c])",
        "total[n] += exp(out[n,c] - top[n])",
        "loss[0] += (log(total[n]) + top[n] - out[n,target[n]]) / count",
    ]
    shapes = {"out": (n, classes)}
    program = Program.read(lines, roles, shapes, detached=("top",), n=n, c=classes, count=n)
    labels = read_array("the target (a class for each sample)", target, (n,), np.dtype(np.float64))
    if not np.isin(labels, np.arange(classes)).all():
        raise DnnlabError(
            f"the target of cross_entropy holds whole numbers from 0 to {classes - 1}, got {quote(target)}"
        )
    return Loss(program, labels.astype(dtype))
