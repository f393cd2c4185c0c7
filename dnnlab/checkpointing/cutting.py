"""From a network to a chain: cut wherever a single tensor passes from what is before to what is behind.

A residual block is one stage, as its input is needed to its end; so is a layer with whatever overwrites its output
(ReLU in place), and with a change of shape that follows.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..bounds import on
from ..errors import DnnlabError, ExtentError, quote
from ..frameworks import INDEX
from ..hardware import Device
from ..layers import GELU
from ..lifetimes import VIEWS, saved_bytes
from ..networks import INPUT, Network, Node
from ..notation import is_bound, product
from ..quantities import bytes_of
from .chains import Amount, Chain


def chain_of(
    network: Network, dtype: str = "fp32", device: Device | None = None, framework: str | None = "pytorch"
) -> Chain:
    """The chain that a network is: times in operations, or in seconds on a `device`; sizes in bytes.

    A record holds what the framework keeps of a stage for its backward pass (`Network.saved_bytes`; None: the least),
    its output included. A backward pass takes as many times the time of the forward pass as it has operations
    (on a device too: the forward pass's bound is taken to hold for it). The loss takes nothing. Raises `DnnlabError`
    for a network that is not one, and `ExtentError` while dimensions are open.

    >>> from dnnlab import zoo
    >>> chain = Chain.of(zoo.resnet18(batch=1))
    >>> chain.stages, chain.names[3], chain.outputs[-1]
    (13, 'layer1.0', 4000)
    """
    if not isinstance(network, Network):
        raise DnnlabError(f"expected a network such as zoo.resnet18(batch=8), got {quote(network)}")
    open_sizes = [size for edge in (INPUT, *(n.name for n in network.layers)) for size in network.shape(edge)]
    if not all(map(is_bound, open_sizes)):
        raise ExtentError(f"{network.name} has open dimensions; bind them: network.at_batch(8)")
    width = bytes_of(dtype)
    stages = stages_of(network)
    records = _records(network, stages, dtype, framework)
    edges = [INPUT, *(stage[-1].name for stage in stages)]
    forward, backward = [], []
    operations = {row.name: (row.ops, row.backward_ops) for row in network.rows()}
    for stage in stages:
        there, back = (sum(operations[node.name][way] for node in stage) for way in (0, 1))
        time: Amount = there
        if device is not None:
            time = sum(on(node, device, dtype).total for node in stage)
        forward.append(time)
        backward.append(time * back / there if device is not None and there else back)
    outputs = [product(network.shape(edge)) * width for edge in edges]
    if any(node.kind == "Embedding" and INPUT in node.inputs for node in network.layers):
        outputs[0] = product(network.input_shape) * INDEX
    return Chain(
        forward=tuple(forward),
        backward=(*backward, 0),
        outputs=tuple(outputs),
        records=tuple(map(max, records, outputs[1:])),
        names=tuple(_name(stage, network) for stage in stages),
    )


def stages_of(network: Network) -> list[tuple[Node, ...]]:
    """The network's layers, cut into as many stages as there are places where a single tensor passes."""
    last = {edge: place for place, node in enumerate(network.layers) for edge in node.inputs}
    stages: list[tuple[Node, ...]] = []
    current: list[Node] = []
    passing: set[str] = {INPUT}
    for place, node in enumerate(network.layers):
        current.append(node)
        passing.add(node.name)
        passing = {edge for edge in passing if last.get(edge, -1) > place}
        following = network.layers[place + 1] if place + 1 < len(network.layers) else None
        if following is None or (passing == {node.name} and not following.in_place and following.kind not in VIEWS):
            stages.append(tuple(current))
            current = []
    return stages


def _records(network: Network, stages: Sequence[Sequence[Node]], dtype: str, framework: str | None) -> list[int]:
    """Bytes of each stage's record.

    What a stage keeps of its input is its predecessor's output. So that this is counted there, a probe that keeps its
    input is put behind each stage.
    """
    layers: list[Node] = []
    probes = []
    for stage in stages:
        end = stage[-1]
        probes.append(f"{end.name} probe")
        layers += [*stage, Node(probes[-1], GELU().fit(end.output_shape), (end.name,))]
    kept = saved_bytes(Network(network.name, network.input_shape, tuple(layers)), dtype, framework).by_layer
    names = [[*(node.name for node in stage), probe] for stage, probe in zip(stages, probes, strict=True)]
    return [sum(kept.get(name, 0) for name in stage) for stage in names]


def _name(stage: Sequence[Node], network: Network) -> str:
    """The name of the block that a stage is, or of its first layer."""
    block = stage[0].name
    while "." in block:
        block = block.rpartition(".")[0]
        inside = [node.name for node in network.layers if node.name.startswith(f"{block}.")]
        if inside == [node.name for node in stage]:
            return block
    return stage[0].name
