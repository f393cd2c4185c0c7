"""What ONNX files spell out and PyTorch does in one operation: a bias, GELU, SiLU, layer norm."""

from __future__ import annotations

from dataclasses import replace

from .operations import Operation
from .patterns import PATTERNS, Found, Graph, Pattern, merged


def biased(graph: Graph, last: Operation) -> Found | None:
    """A linear layer, and then its bias."""
    if last.kind != "add":
        return None
    for source, bias in (last.inputs, last.inputs[::-1]):
        maker = graph.maker(source, "linear")
        if maker is None or len(maker.inputs) != 2 or graph.values[bias].role != "parameter":
            continue
        if graph.values[bias].size == graph.values[bias].shape[-1] == graph.values[source].shape[-1]:
            return replace(maker, inputs=(*maker.inputs, bias), outputs=last.outputs), [maker]
    return None


def silu(graph: Graph, last: Operation) -> Found | None:
    """x · sigmoid(x)."""
    if last.kind != "multiply":
        return None
    for x, gate in (last.inputs, last.inputs[::-1]):
        maker = graph.maker(gate, "activation")
        if maker is not None and maker.settings["layer"] == "Sigmoid" and maker.inputs == (x,):
            return _activation("SiLU", x, last, [maker])
    return None


def gelu(graph: Graph, last: Operation) -> Found | None:
    """x · (1 + erf(x / √2)) / 2, the factor of a half wherever it stands."""
    half = [last] if last.kind == "pointwise" and last.settings["name"] == "Scale" else []
    mixed = graph.maker(last.inputs[0], "multiply") if half else last
    if mixed is None or mixed.kind != "multiply":
        return None
    for x, gate in (mixed.inputs, mixed.inputs[::-1]):
        parts, value = [] if mixed is last else [mixed], gate
        if not half and (scaled := graph.maker(x, "pointwise", "Scale")) is not None:
            parts, x = [*parts, scaled], scaled.inputs[0]
        elif not half and (scaled := graph.maker(value, "pointwise", "Scale")) is not None:
            parts, value = [*parts, scaled], scaled.inputs[0]
        elif not half:
            continue
        for name in ("Shift", "Erf", "Scale"):
            step = graph.maker(value, "pointwise", name)
            if step is None:
                break
            parts.append(step)
            value = step.inputs[0]
        else:
            if value == x:
                return _activation("GELU", x, last, parts)
    return None


def _activation(layer: str, x: str, last: Operation, parts: list[Operation]) -> Found:
    call = merged([last, *parts])
    return Operation("activation", layer.lower(), (x,), last.outputs, {"layer": layer}, call), parts


def layer_norm(graph: Graph, last: Operation) -> Found | None:
    """weight · (x - mean) / sqrt(variance + eps) + bias."""
    if last.kind != "add":
        return None
    scaled = next((m for name in last.inputs if (m := graph.maker(name, "multiply")) is not None), None)
    if scaled is None:
        return None
    ratio = next((m for name in scaled.inputs if (m := graph.maker(name, "divide")) is not None), None)
    weights = [n for o in (scaled, last) for n in o.inputs if graph.values[n].role == "parameter"]
    if ratio is None or len(weights) != 2:
        return None
    parts, value = [scaled, ratio], ratio.inputs[1]
    for kind, name in (("pointwise", "Sqrt"), ("pointwise", "Shift"), ("mean", ""), ("pointwise", "Power")):
        step = graph.maker(value, kind, name)
        if step is None:
            return None
        parts.append(step)
        value = step.inputs[0]
    centred = graph.maker(value, "subtract", alone=False)
    if centred is None or value != ratio.inputs[0] or graph.uses[value] != 2:
        return None
    mean = graph.maker(centred.inputs[1], "mean")
    if mean is None or mean.inputs[0] != centred.inputs[0]:
        return None
    features = graph.values[centred.inputs[0]].size // graph.values[mean.output].size
    settings = {"features": features, "scale": True, "shift": True}
    parts += [centred, mean]
    inputs = (centred.inputs[0], *weights)
    return Operation("layer_norm", "layer_norm", inputs, last.outputs, settings, merged([last, *parts])), parts


ONNX_PATTERNS: tuple[Pattern, ...] = (PATTERNS[0], layer_norm, biased, gelu, silu, *PATTERNS[1:])
