"""A PyTorch module to a record: `torch.export` traces it on shapes, and each ATen operation is read by name."""

from __future__ import annotations

import logging
import operator
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import DnnlabError, quote
from .aten import COPIES, FRESH, READERS, SAME, VIEWS, Arguments
from .operations import Call, Recorder, Recording

NOTHING = ("_assert", "sym_", "_set_grad", "_enter_", "_exit_")


def record(module: Any, arguments: tuple[Any, ...], options: Mapping[str, Any]) -> Recording:
    """Trace a module with `torch.export` (nothing is computed), and read its operations.

    Raises `DnnlabError` where PyTorch cannot trace it, with PyTorch's own reason.
    """
    import torch

    talk = logging.getLogger("torch.fx.experimental.symbolic_shapes")  # tells at length what the error says
    fast, level = torch.backends.mha.get_fastpath_enabled(), talk.level
    talk.setLevel(logging.CRITICAL)
    torch.backends.mha.set_fastpath_enabled(False)  # the fused encoder of inference is one opaque operation
    try:
        program = torch.export.export(module, arguments, dict(options))
    except Exception as error:  # whatever the module's own code raises
        raise _refused(module, arguments, error) from error
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        talk.setLevel(level)
    reader = _Reader(torch)
    names = {id(tensor): name for name, tensor in reversed([*module.named_parameters(remove_duplicate=False)])}
    tensors = dict(module.named_parameters(remove_duplicate=False))
    signature = program.graph_signature
    inputs, given = [], {}
    for node in program.graph.nodes:
        if node.op != "placeholder":
            continue
        value = node.meta.get("val")
        if node.name in signature.inputs_to_parameters:
            name = names[id(tensors[signature.inputs_to_parameters[node.name]])]
            given[node] = reader.add_value(f"parameter {name}", value, "parameter", name)
        elif node.name in signature.user_inputs and hasattr(value, "shape"):
            given[node] = reader.add_value(node.name, value, "input", node.name)
            inputs.append(given[node])
        elif hasattr(value, "shape"):
            given[node] = reader.add_value(node.name, value, "constant", node.name)
    results = reader.run(program.graph_module, given)
    made = tuple(name for name in _flat(results) if name in reader.recorder.values)
    recorder = reader.recorder
    return Recording(type(module).__name__, recorder.values, tuple(recorder.operations), tuple(inputs), made)


def _refused(module: Any, arguments: tuple[Any, ...], error: Exception) -> DnnlabError:
    """The error for a module that cannot be traced: what was given, PyTorch's reason, what to do."""
    reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    shapes = ", ".join(str(tuple(getattr(x, "shape", ()))) for x in arguments)
    if (
        "data-dependent" in str(error).lower()
        or "DataDependent" in type(error).__name__
        or "control flow" in str(error)
    ):
        advice = "its control flow depends on numbers, which shapes do not tell; import the parts without it"
    else:
        advice = "check that module(*example) runs with tensors of these shapes"
    return DnnlabError(
        f"{type(module).__name__} cannot be traced with an example of shape {shapes or 'nothing'}: "
        f"{type(error).__name__}: {quote(reason, 200)}. What to do: {advice}"
    )


def _flat(value: Any) -> list[Any]:
    if isinstance(value, tuple | list):
        return [entry for part in value for entry in _flat(part)]
    return [value]


class _Reader:
    """Walks a traced graph; `known` maps its nodes to names of values (or tuples of them, or plain numbers)."""

    def __init__(self, torch: Any) -> None:
        self.torch, self.recorder = torch, Recorder()
        self.count = 0

    def add_value(self, name: str, tensor: Any, role: str, label: str) -> str:
        return self.recorder.value(name, tensor.shape, role, _real(tensor), label)

    def run(self, graph_module: Any, known: dict[Any, Any], outer: Call = ()) -> Any:
        """Read every node; returns what the graph hands back."""
        for node in graph_module.graph.nodes:
            if node.op == "get_attr":
                found = graph_module
                for part in node.target.split("."):
                    found = getattr(found, part)
                if hasattr(found, "shape"):
                    self.count += 1
                    found = self.add_value(f"{node.name} {self.count}", found, "constant", node.name)
                known[node] = found
            elif node.op == "call_function":
                known[node] = self.call(node, known, outer)
            elif node.op == "output":
                return self.get(node.args[0], known)
        return None

    def get(self, argument: Any, known: dict[Any, Any]) -> Any:
        """An argument with its nodes replaced by what is known of them."""
        if isinstance(argument, self.torch.fx.Node):
            return known.get(argument)
        if isinstance(argument, tuple | list):
            return tuple(self.get(part, known) for part in argument)
        return argument

    def call(self, node: Any, known: dict[Any, Any], outer: Call) -> Any:
        """Read one operation and return the names of its results."""
        if node.target is operator.getitem:
            source, place = self.get(node.args, known)
            return source[place] if isinstance(source, tuple) else source
        call = _call(node) or outer
        if isinstance(node.target, self.torch._ops.HigherOrderOperator):
            return self.inside(node, known, call)
        schema = getattr(node.target, "_schema", None)
        if schema is None:
            return None  # arithmetic on sizes
        name = schema.name.split("::")[1]
        value = node.meta.get("val")
        results = [entry for entry in _flat(value) if hasattr(entry, "shape")]
        if name.startswith(NOTHING) or not results:
            return None
        given: dict[str, Any] = {}
        for place, argument in enumerate(schema.arguments):
            if place < len(node.args):
                given[argument.name] = self.get(node.args[place], known)
            else:
                given[argument.name] = self.get(node.kwargs.get(argument.name, argument.default_value), known)
        plain = name.rstrip("_") if not name.startswith("__") else name
        in_place = name.endswith("_") and not name.endswith("__")
        names = self.operation(plain, given, results, call, in_place)
        if in_place and isinstance(node.args[0], self.torch.fx.Node) and names:
            known[node.args[0]] = names[0]  # whoever asks for the overwritten tensor gets the new one
        return names if isinstance(value, tuple | list) else names[0]

    def inside(self, node: Any, known: dict[Any, Any], call: Call) -> Any:
        """A graph in the graph, such as the body of `with torch.no_grad()`: read in its place."""
        arguments = [self.get(argument, known) for argument in node.args]
        bodies = [place for place, argument in enumerate(arguments) if isinstance(argument, self.torch.fx.GraphModule)]
        if len(bodies) != 1:
            raise DnnlabError(
                f"{node.target} chooses what to compute when it runs; import the parts without that choice"
            )
        body = arguments[bodies[0]]
        entrances = [entry for entry in body.graph.nodes if entry.op == "placeholder"]
        tensors = arguments[bodies[0] + 1 :]
        return self.run(body, dict(zip(entrances, tensors, strict=False)), call)

    def operation(
        self, name: str, given: Arguments, results: Sequence[Any], call: Call, in_place: bool
    ) -> tuple[str, ...]:
        """Write down one ATen operation."""
        self.count += 1
        outputs = []
        for place, tensor in enumerate(results):
            outputs.append((f"{self.count}.{place}", tuple(int(size) for size in tensor.shape), _real(tensor)))
        values = self.recorder.values
        operands = [entry for entry in _flat(list(given.values())) if isinstance(entry, str) and entry in values]
        add = self.recorder.add
        if name in SAME and operands:
            return (operands[0],)
        if name in VIEWS and operands:
            return tuple(add("view", name, operands[:1], [output], call)[0] for output in outputs)
        if name in COPIES and operands:
            real = [entry for entry in operands if values[entry].real and values[entry].role != "constant"]
            return add("copy", name, (real or operands)[:1], outputs, call, in_place)
        if not operands or name in FRESH:
            return add("constant", name, (), outputs, call)
        read = READERS.get(name)
        found = read(given, values, outputs[0][1]) if read else None
        if found is None:
            return add("unknown", name, dict.fromkeys(operands), outputs, call)
        kind, wanted, settings = found
        if kind == "same":
            return (wanted[0],)
        used = tuple(entry for entry in wanted if entry is not None)
        return add(kind, name, used, outputs, call, in_place, **settings)


def _real(tensor: Any) -> bool:
    return bool(tensor.is_floating_point() or tensor.is_complex())


def _call(node: Any) -> Call:
    """The modules a node was traced in, as (what tells calls apart, path), outermost first, without the root."""
    stack = node.meta.get("nn_module_stack") or {}
    return tuple((key, path) for key, (path, _) in stack.items() if path)
