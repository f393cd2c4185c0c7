"""An ONNX file to a record: shapes by ONNX's own inference, operations by name; weights are not read."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from math import prod
from os import PathLike, fspath
from typing import Any

from ..errors import DnnlabError, quote
from .onnxops import COPIES, FRESH, OPERATIONS, SAME, VIEWS, WEIGHTED, Facts
from .operations import Call, Recording, Shape


def record(path: str | PathLike[str], sizes: Mapping[str, int]) -> Recording:
    """Read a file; `sizes` gives numbers to dimensions that it leaves open, by their names.

    Raises `DnnlabError` for a file that is none, for a dimension that stays open, for shapes that ONNX cannot infer.
    """
    import onnx

    try:
        model = onnx.load(fspath(path), load_external_data=False)
    except OSError as error:
        raise DnnlabError(
            f"{quote(fspath(path), 200)} cannot be opened: {error.strerror or error}; check the path"
        ) from error
    except Exception as error:  # protobuf's complaint, of a class of its own
        raise DnnlabError(f"{quote(fspath(path), 200)} is no ONNX file: {quote(str(error), 120)}") from error
    if not model.graph.node:
        raise DnnlabError(f"{quote(fspath(path), 200)} is no ONNX file, or its graph has no operation")
    _bind(model, sizes)
    try:
        model = onnx.shape_inference.infer_shapes(model, strict_mode=False, data_prop=True)
    except Exception as error:
        raise DnnlabError(f"the shapes in {quote(fspath(path), 200)} do not fit: {quote(str(error), 200)}") from error
    reader = _Reader(onnx, model)
    for node in model.graph.node:
        reader.read(node)
    values = reader.recorder.values
    results = tuple(reader.named.get(out.name, out.name) for out in model.graph.output)
    inputs = tuple(
        entry.name for entry in model.graph.input if entry.name in values and values[entry.name].role == "input"
    )
    name = model.graph.name or "ONNX"
    return Recording(name, values, tuple(reader.recorder.operations), inputs, tuple(r for r in results if r in values))


def _bind(model: Any, sizes: Mapping[str, int]) -> None:
    """Give numbers to the open dimensions of the inputs; refuse what stays open."""
    weights = {entry.name for entry in model.graph.initializer}
    known = set()
    for entry in model.graph.input:
        if entry.name in weights:
            continue
        missing = []
        for place, axis in enumerate(entry.type.tensor_type.shape.dim):
            if axis.HasField("dim_value") and axis.dim_value > 0:
                continue
            label = axis.dim_param or f"axis {place}"
            known.add(label)
            if label in sizes:
                axis.dim_value = int(sizes[label])
            else:
                missing.append(label)
        if missing:
            options = ", ".join(f"{label}=..." if label.isidentifier() else label for label in missing)
            raise DnnlabError(
                f"input {entry.name!r} leaves dimensions open: {', '.join(missing)}. Give sizes: "
                f"from_onnx(path, {options}), or export the model with fixed sizes"
            )
    extra = [name for name in sizes if name not in known]
    if extra:
        raise DnnlabError(
            f"no open dimension is called {extra[0]!r}; the file has {', '.join(sorted(known)) or 'none'}"
        )
    for entry in (*model.graph.value_info, *model.graph.output):  # their open dimensions are inferred anew
        for axis in entry.type.tensor_type.shape.dim:
            if axis.HasField("dim_param"):
                axis.Clear()


class _Reader(Facts):
    """Reads nodes one by one."""

    def __init__(self, onnx: Any, model: Any) -> None:
        super().__init__()
        self.onnx = onnx
        self.shapes: dict[str, Shape | None] = {}
        self.real: dict[str, bool] = {}
        kinds = onnx.TensorProto
        self.floats = {kinds.FLOAT, kinds.FLOAT16, kinds.BFLOAT16, kinds.DOUBLE}
        for entry in (*model.graph.input, *model.graph.value_info, *model.graph.output):
            tensor = entry.type.tensor_type
            axes = tensor.shape.dim
            whole = tensor.HasField("shape") and all(axis.HasField("dim_value") for axis in axes)
            self.shapes[entry.name] = tuple(axis.dim_value for axis in axes) if whole else None
            self.real[entry.name] = tensor.elem_type in self.floats
        weights = {entry.name for entry in model.graph.initializer}
        learned = _learned(model.graph)
        for entry in model.graph.initializer:
            real = entry.data_type in self.floats
            self.constant(entry.name, entry, "parameter" if real and entry.name in learned else "constant")
        for entry in model.graph.input:
            if entry.name not in weights:
                shape = self.shapes[entry.name] or ()
                self.recorder.value(entry.name, shape, "input", self.real[entry.name], entry.name)

    def constant(self, name: str, tensor: Any, role: str) -> None:
        """A tensor that the file holds; its numbers are looked at only where they are few."""
        shape = tuple(tensor.dims)
        self.recorder.value(name, shape, role, tensor.data_type in self.floats, name)
        if prod(shape) <= 64 and tensor.data_location != self.onnx.TensorProto.EXTERNAL:
            self.numbers[name] = self.onnx.numpy_helper.to_array(tensor)

    def read(self, node: Any) -> None:
        """Write down one node."""
        kind, recorder = node.op_type, self.recorder
        attributes = {entry.name: self.onnx.helper.get_attribute_value(entry) for entry in node.attribute}
        if kind == "Constant" and "value" in attributes:
            self.constant(node.output[0], attributes["value"], "constant")
            return
        if any(isinstance(value, self.onnx.GraphProto) for value in attributes.values()):
            raise DnnlabError(
                f"{node.name or kind} chooses what to compute when it runs ({kind}); export the model without "
                "that choice"
            )
        given = [self.named.get(name, name) for name in node.input]
        inputs = [name for name in given if name in recorder.values]
        outputs = []
        for name in node.output:
            if not name:
                continue
            shape = self.shapes.get(name)
            if shape is None and (kind in FRESH or not self.real.get(name, False) or not inputs):
                recorder.value(name, (), "constant", self.real.get(name, False), name)
                continue
            if shape is None and name == node.output[0]:
                raise DnnlabError(
                    f"the shape of {name!r}, which {node.name or 'a node'} ({kind}) makes, cannot be inferred; "
                    "export the model with fixed sizes and with its small constants in the file"
                )
            if shape is not None:
                outputs.append((name, shape, self.real.get(name, True)))
        if not outputs:
            return
        call = _call(node, [name for name in inputs[1:] if recorder.values[name].role == "parameter"])
        if kind in SAME and inputs and recorder.values[inputs[0]].real and outputs[0][2]:
            self.named[node.output[0]] = inputs[0]
            return
        if kind in FRESH or not inputs:
            recorder.add("constant", kind, (), outputs, call)
            return
        if kind in VIEWS:
            for output in outputs:
                (found,) = recorder.add("view", kind.lower(), inputs[:1], [output], call)
                self.named[output[0]] = found
            return
        found_ = OPERATIONS[kind](self, given, attributes, outputs[0][1], call) if kind in OPERATIONS else None
        if found_ is None and kind in COPIES:
            real = [n for n in inputs if recorder.values[n].real and recorder.values[n].role != "constant"]
            found_ = ("copy", tuple((real or inputs)[:1]), {})
        if found_ is None:
            recorder.add("unknown", kind, dict.fromkeys(inputs), outputs, call)
            return
        label, wanted, settings = found_
        if label == "same":
            self.named[node.output[0]] = wanted[0]
            return
        first = outputs[:1] if label not in ("view", "unknown") else outputs
        recorder.add(label, kind.lower(), (name for name in wanted if name), first, call, **settings)


def _learned(graph: Any) -> set[str]:
    """Names of the tensors in the file that were learned. ONNX does not say, but weights of layers are, and PyTorch's
    exporter notes what was a buffer; what neither tells counts as learned if it is more than a number."""
    noted = {}
    for value in graph.value_info:
        for entry in getattr(value, "metadata_props", ()):
            if entry.key == "pkg.torch.export.graph_signature.InputSpec.kind":
                noted[value.name] = entry.value
    sizes = {entry.name: tuple(entry.dims) for entry in graph.initializer}
    found = {name for name, shape in sizes.items() if not noted and prod(shape) > 1}
    for node in graph.node:
        table = node.op_type in ("MatMul", "Gather")
        if node.op_type in WEIGHTED or table:
            names = (node.input[:1] if node.op_type == "Gather" else node.input[1:])[:2]
            found.update(name for name in names if name in sizes and (not table or len(sizes[name]) == 2))
    return {name for name in found if noted.get(name, "PARAMETER") == "PARAMETER"} | {
        name for name, kind in noted.items() if kind == "PARAMETER"
    }


def _call(node: Any, weights: list[str]) -> Call:
    """The modules a node comes from: as PyTorch's exporters write them, else by the names of its weights."""
    noted = {entry.key: entry.value for entry in getattr(node, "metadata_props", ())}
    if "pkg.torch.onnx.name_scopes" in noted:
        return tuple((path, path) for path in ast.literal_eval(noted["pkg.torch.onnx.name_scopes"])[:-1] if path)
    if weights and "." in weights[0] and "/" not in weights[0] and ":" not in weights[0]:
        return _levels(weights[0].rpartition(".")[0])
    path = ""
    for part in node.name.strip("/").split("/")[:-1]:
        last = path.rpartition(".")[2]
        path = f"{path[: len(path) - len(last)]}{part}" if last and part.startswith(f"{last}.") else f"{path}.{part}"
        path = path.strip(".")
    return _levels(path)


def _levels(path: str) -> Call:
    """A path and the paths above it."""
    parts = path.split(".") if path else []
    return tuple((".".join(parts[: depth + 1]),) * 2 for depth in range(len(parts)))
