"""Layers that a program spells out in several operations: attention, RMS norm, rotary positions, rows added to tokens.

Each pattern looks at the last operation of its layer and follows the values back; where all is as expected the
operations become one. A value that somebody else uses stays, and nothing is matched.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from .operations import MOVES, Operation, Recording, Value

Found = tuple[Operation, list[Operation]]  # the layer, and the operations it stands for beside the last


@dataclass
class Graph:
    """A record while patterns are looked for: who makes a value, and how many operations use it."""

    values: dict[str, Value]
    operations: list[Operation]
    results: tuple[str, ...]
    first: str  # the network's input

    def __post_init__(self) -> None:
        self.makers = {name: operation for operation in self.operations for name in operation.outputs}
        self.uses = Counter(name for operation in self.operations for name in operation.inputs)
        self.uses.update(self.results)

    def maker(self, value: str, kind: str, name: str = "", alone: bool = True) -> Operation | None:
        """The operation of that kind (and name of a function) that makes a value which nobody else uses."""
        found = self.makers.get(value)
        if found is None or found.kind != kind or (alone and self.uses[value] != 1):
            return None
        return found if not name or found.settings.get("name") == name else None

    def replace(self, last: Operation, found: Found) -> None:
        """Put the layer where its last operation stood."""
        layer, parts = found
        gone = {id(part) for part in parts}
        place = next(place for place, operation in enumerate(self.operations) if operation is last)
        self.operations[place] = layer
        self.operations = [operation for operation in self.operations if id(operation) not in gone]
        self.__post_init__()

    def origin(self, value: str, grow: bool = False) -> tuple[str, list[Operation]]:
        """The value that another one is a view of with the same elements (`grow`: repeated perhaps), and the views."""
        views: list[Operation] = []
        while (operation := self.makers.get(value)) is not None and operation.kind in MOVES:
            before, after = self.values[operation.inputs[0]], self.values[value]
            if before.size != after.size and not (grow and after.size % before.size == 0 and before.size < after.size):
                break
            if operation.kind == "copy" and not grow:
                break
            views.append(operation)
            value = operation.inputs[0]
        return value, views


def merged(parts: Iterable[Operation]) -> tuple[tuple[str, str], ...]:
    """The modules that all these operations were called in."""
    calls = [part.call for part in parts]
    shared = []
    for level in zip(*calls, strict=False):
        if any(entry != level[0] for entry in level):
            break
        shared.append(level[0])
    return tuple(shared)


def linear(graph: Graph, last: Operation) -> Found | None:
    """A product with a learned matrix, perhaps transposed first."""
    if last.kind != "product" or last.settings:
        return None
    weight, views = graph.origin(last.inputs[1])
    if graph.values[weight].role != "parameter" or len(graph.values[weight].shape) != 2:
        return None
    return replace(last, kind="linear", inputs=(last.inputs[0], weight)), [
        v for v in views if graph.uses[v.output] == 1
    ]


def attention(graph: Graph, last: Operation) -> Found | None:
    """softmax(query · key · scale + mask) · value, the mask a constant, with or without dropout."""
    if last.kind != "product" or last.settings:
        return None
    parts: list[Operation] = []
    value, dropout, masked = last.inputs[0], False, False
    if (drop := graph.maker(value, "dropout")) is not None:
        parts.append(drop)
        value, dropout = drop.inputs[0], True
    soft = graph.maker(value, "softmax")
    if soft is None or soft.settings["axis"] != len(graph.values[value].shape) - 1:
        return None
    parts.append(soft)
    value = soft.inputs[0]
    while (step := graph.makers.get(value)) is not None and graph.uses[value] == 1:
        if step.kind == "pointwise" and step.settings["name"] == "Scale":
            value = step.inputs[0]
        elif step.kind == "add" and "made" in (roles := [graph.values[name].role for name in step.inputs]):
            if roles.count("made") != 1 or "parameter" in roles:
                return None  # a learned bias of the scores
            value, masked = step.inputs[roles.index("made")], True
        elif step.kind == "copy" and graph.values[step.inputs[0]].size == graph.values[value].size:
            value, masked = step.inputs[0], True  # scores that are filled where the mask says so
        else:
            break
        parts.append(step)
    first = graph.maker(value, "product")
    if first is None or first.settings or len(graph.values[value].shape) < 3:
        return None
    parts.append(first)
    turned = graph.makers.get(first.inputs[1])
    if turned is not None and turned.kind == "view" and graph.uses[first.inputs[1]] == 1:
        parts.append(turned)
    settings = {"causal": masked, "dropout": dropout}
    operands = (*first.inputs, last.inputs[1])
    key = turned.inputs[0] if turned is not None and turned in parts else first.inputs[1]
    operation = Operation(
        "attention", "attention", (operands[0], key, operands[2]), last.outputs, settings, merged([last, *parts[:-1]])
    )
    return operation, parts


def heads(graph: Graph, last: Operation) -> Found | None:
    """Attention whose operands are split into heads by views, and whose result is put together by views: from
    (n, t, width) to (n, t, width)."""
    if last.kind != "attention" or "heads" in last.settings:
        return None
    query, key, _ = (graph.values[name] for name in last.inputs)
    out = graph.values[last.output]
    if len(query.shape) not in (3, 4) or len(out.shape) != len(query.shape):
        return None
    n, t, d = query.shape[0], query.shape[-2], query.shape[-1]
    a = query.shape[1] if len(query.shape) == 4 else 1
    found = [graph.origin(name, grow=place > 0) for place, name in enumerate(last.inputs)]
    sizes = [graph.values[name].size for name, _ in found]
    u = graph.values[last.inputs[2]].shape[-2]
    g = max(1, sizes[1] // (n * u * d))
    if sizes[1] != sizes[2] or sizes[1] != n * u * g * d or out.size != n * t * a * d:
        found, g = [(name, []) for name in last.inputs], key.shape[1] if len(key.shape) == 4 else 1
        if key.size != n * u * g * d or graph.values[last.inputs[2]].size != key.size:
            return None
    inputs, gone = [], list[Operation]()
    for (name, views), given in zip(found, last.inputs, strict=True):
        grown = graph.values[name].size != graph.values[given].size
        plain = graph.values[name].shape in ((n, t, a * d), (n, u, g * d))
        inputs.append(name if plain or grown else given)
        if plain or grown:  # views that serve nobody else go
            gone += [view for view in views if graph.uses[view.output] == 1 and view not in gone]
    outputs, users = last.outputs, [o for o in graph.operations if last.output in o.inputs]
    trail: list[Operation] = []
    while len(users) == 1 and graph.uses[outputs[0]] == 1 and users[0].kind == "view":
        if graph.values[users[0].output].size != out.size:
            break
        trail.append(users[0])
        outputs = users[0].outputs
        if graph.values[outputs[0]].shape == (n, t, a * d):
            break
        users = [o for o in graph.operations if outputs[0] in o.inputs]
    if not trail or graph.values[outputs[0]].shape != (n, t, a * d):
        trail, outputs = [], last.outputs
    settings = {**last.settings, "heads": (n, t, u, a, g, d)}
    return replace(last, inputs=tuple(inputs), outputs=outputs, settings=settings), [*gone, *trail]


def rms_norm(graph: Graph, last: Operation) -> Found | None:
    """weight · x / sqrt(mean(x²) + eps)."""
    if last.kind != "multiply":
        return None
    weights = [name for name in last.inputs if graph.values[name].role == "parameter"]
    if len(weights) != 1:
        return None
    scaled = graph.maker(next(name for name in last.inputs if name != weights[0]), "multiply")
    if scaled is None:
        return None
    for x, inverse in (scaled.inputs, scaled.inputs[::-1]):
        root = graph.maker(inverse, "pointwise", "Rsqrt")
        parts, value = [scaled], inverse
        roots = ("Rsqrt",) if root else ("Reciprocal", "Sqrt")
        for name in (*roots, "Shift", "Mean", "Power"):
            step = graph.maker(value, "mean") if name == "Mean" else graph.maker(value, "pointwise", name)
            if step is None:
                break
            parts.append(step)
            value = step.inputs[0]
        axes = len(graph.values[x].shape)
        if len(parts) == 4 + len(roots) and value == x and parts[-2].settings["axes"] == (axes - 1,):
            settings = {"features": graph.values[x].shape[-1], "scale": True, "shift": False}
            call = merged([last, *parts])
            return Operation("rms_norm", "rms_norm", (x, weights[0]), last.outputs, settings, call), parts
    return None


def rows(graph: Graph, last: Operation) -> Found | None:
    """Tokens plus rows of a learned table, by position or looked up: (n, t, c) + (t, c)."""
    shape = graph.values[last.output].shape
    if last.kind != "add" or len(shape) != 3 or last.in_place:
        return None
    for x, other in (last.inputs, last.inputs[::-1]):
        if (
            graph.values[x].role != "made"
            or graph.values[x].shape != shape
            or graph.values[other].shape[-2:] != shape[1:]
        ):
            continue
        lookup = graph.maker(other, "embedding")
        if lookup is not None and graph.values[lookup.inputs[0]].real is False:
            ids = graph.values[lookup.inputs[0]]
            if ids.name == graph.first:
                continue  # the tokens themselves
            # more tokens than rows: they cannot be positions
            few = graph.values[lookup.inputs[1]].shape[0] < shape[1]
            settings = {"lookup": ids.role == "input" or few}
            return _added(last, (x, lookup.inputs[1]), settings, [lookup])
        views, value = list[Operation](), other
        while (step := graph.maker(value, "view")) is not None:
            views.append(step)
            value = step.inputs[0]
        if graph.values[value].role == "parameter" and graph.values[value].shape[-1] == shape[-1]:
            return _added(last, (x, value), {"lookup": False}, views)
    return None


def _added(last: Operation, inputs: tuple[str, str], settings: dict[str, bool], parts: list[Operation]) -> Found:
    looked_up = bool(parts) and parts[0].kind == "embedding"  # that module has the table, and its name
    call = parts[0].call if looked_up else merged([last, *parts])
    label = parts[0].label if looked_up else last.label
    return Operation("add_embedding", label, inputs, last.outputs, settings, call), parts


def _part(graph: Graph, value: str) -> tuple[str, list[Operation]]:
    """The larger tensor that a value is a part of, and the views between."""
    size, views = graph.values[value].size, list[Operation]()
    while graph.values[value].size == size and (step := graph.makers.get(value)) is not None and step.kind == "view":
        views.append(step)
        value = step.inputs[0]
    return value, views


def rotary(graph: Graph, last: Operation) -> Found | None:
    """Neighbouring features turned in pairs: (p cos - q sin, p sin + q cos), put side by side again."""
    if last.kind != "concatenate" or len(last.inputs) != 2:
        return None
    (low, before), (high, behind) = (graph.origin(name) for name in last.inputs)
    minus, plus = graph.maker(low, "subtract"), graph.maker(high, "add")
    if minus is None or plus is None:
        return None
    turns = [graph.maker(name, "multiply") for name in (*minus.inputs, *plus.inputs)]
    if any(turn is None for turn in turns):
        return None
    parts = [minus, plus, *(turn for turn in turns if turn is not None)]
    halves = list(dict.fromkeys(n for part in parts[2:] for n in part.inputs if graph.values[n].role == "made"))
    parts += [*before, *behind]
    taken = [_part(graph, name) for name in halves]
    if len(halves) != 2 or len({source for source, _ in taken}) != 1 or not all(views for _, views in taken):
        return None
    parts += [view for _, views in taken for view in views if graph.uses[view.output] <= 2]
    source, views = graph.origin(taken[0][0])
    parts += [view for view in views if graph.uses[view.output] <= 2]
    shape = graph.values[source].shape
    users = [operation for operation in graph.operations if last.output in operation.inputs]
    outputs = last.outputs
    if len(users) == 1 and users[0].kind == "view" and graph.values[users[0].output].shape == shape:
        parts.append(users[0])
        outputs = users[0].outputs
    turned = graph.values[last.output]
    pairs = turned.shape
    if len(shape) != 3 or pairs[-1] != 2 or turned.size != graph.values[source].size:
        return None
    graph.values[last.output] = replace(turned, shape=shape)  # what follows views it as it needs
    settings = {"width": 2 * pairs[-2]}
    return Operation("rotary", "rotary", (source,), outputs, settings, merged([last, *parts])), parts


Pattern = Callable[[Graph, Operation], Found | None]
PATTERNS: tuple[Pattern, ...] = (linear, rms_norm, rotary, attention, heads, rows)


def simplified(recording: Recording, patterns: tuple[Pattern, ...] = PATTERNS) -> Recording:
    """The record with patterns found, chains of views made one, and views that nobody uses left out."""
    graph = Graph(dict(recording.values), list(recording.operations), recording.results, recording.inputs[0])
    for pattern in patterns:
        for operation in list(graph.operations):
            if not any(entry is operation for entry in graph.operations):
                continue  # part of a layer that was found meanwhile
            found = pattern(graph, operation)
            if found is not None:
                graph.replace(operation, found)
    _views(graph)
    return replace(recording, values=graph.values, operations=tuple(graph.operations))


def _views(graph: Graph) -> None:
    """A view of a view is a view; one that changes nothing, or that nobody uses, is none."""
    source: dict[str, str] = {}
    kept: list[Operation] = []
    for operation in graph.operations:
        inputs = tuple(source.get(name, name) for name in operation.inputs)
        maker = graph.makers.get(inputs[0]) if inputs else None
        if operation.kind == "view":
            if maker is not None and maker.kind == "view" and graph.uses[inputs[0]] == 1:
                inputs = tuple(source.get(name, name) for name in maker.inputs)
            if (
                graph.values[inputs[0]].shape == graph.values[operation.output].shape
                and "permute" not in operation.label
            ):
                source[operation.output] = inputs[0]
                graph.uses[inputs[0]] += graph.uses[operation.output] - 1
                continue
        changed = replace(operation, inputs=inputs)
        graph.makers.update(dict.fromkeys(changed.outputs, changed))
        kept.append(changed)
    while True:
        used = {name for operation in kept for name in operation.inputs} | {source.get(r, r) for r in graph.results}
        needed = [o for o in kept if o.kind != "view" or used.intersection(o.outputs)]
        if len(needed) == len(kept):
            break
        kept = needed
    graph.operations = kept
    graph.results = tuple(source.get(name, name) for name in graph.results)
