"""What explorers offer to choose from: networks, devices, dtypes, and how far a batch goes."""

from __future__ import annotations

from functools import lru_cache

from .. import zoo
from ..errors import unknown
from ..hardware import device, devices
from ..networks import Network
from ..quantities import bytes_of
from .amounts import Number
from .controls import Choice

#: Networks by the name the zoo knows, with what is not said by that name.
NETWORKS = {
    "lenet5": "LeNet-5",
    "alexnet": "AlexNet",
    "vgg16": "VGG-16",
    "resnet18": "ResNet-18",
    "resnet50": "ResNet-50",
    "mobilenet_v1": "MobileNetV1",
    "mobilenet_v2": "MobileNetV2",
    "bert_base": "BERT-base, 128 tokens",
    "gpt2_small": "GPT-2 small, 1024 tokens",
}
LARGEST_BATCH = 256


@lru_cache(maxsize=1)
def machines() -> dict[str, str]:
    """Names of devices by id: those whose bandwidth is published, as nobody can tell what the others wait for."""
    return {machine.id: machine.name for machine in devices() if machine.bandwidth is not None}


def dtypes(machine: str) -> list[str]:
    """The dtypes that a device has a rate for."""
    return list(device(machine).peak)


def nearest_dtype(machine: str, dtype: str) -> str:
    """This dtype where the device has it, else the first of those nearest in size."""
    known, width = dtypes(machine), bytes_of(dtype)
    return dtype if dtype in known else min(known, key=lambda other: abs(bytes_of(other) - width))


@lru_cache(maxsize=len(NETWORKS))
def sample(network: str) -> Network:
    """A network of the zoo for one sample."""
    return zoo.network(network, batch=1)


@lru_cache(maxsize=len(NETWORKS))
def kinds(network: str) -> dict[str, str]:
    """The kind of each layer of a network by its name; the batch makes no difference to either."""
    return {node.name: node.kind for node in sample(network).layers}


@lru_cache(maxsize=32)
def batched(network: str, batch: int) -> Network:
    """A network of the zoo at a batch."""
    return sample(network).at_batch(batch)


#: Controls that several explorers share; each state has the fields that they name.
NETWORK = Choice("network", "Network", lambda state: [(label, name) for name, label in NETWORKS.items()])
DEVICE = Choice("device", "Device", lambda state: [(name, id) for id, name in machines().items()])
DTYPE = Choice("dtype", "Dtype", lambda state: [(dtype, dtype) for dtype in dtypes(state.device)])
BATCH = Number("batch", "Batch", 1, LARGEST_BATCH, doubling=True)
LAYER = Choice(
    "layer", "Layer", lambda state: [(f"{n} ({k})", n) for n, k in kinds(state.network).items()], stepped=True
)


def refuse(network: str, device_: str, dtype: str, layer: str) -> None:
    """Raise UnknownNameError for a network, device, dtype or layer (but "", which an explorer settles) that is none."""
    if network not in NETWORKS:
        raise unknown("network", network, NETWORKS)
    device(device_).rate(dtype)  # says which dtypes there are
    if layer and layer not in kinds(network):
        raise unknown(f"layer of {network}", layer, kinds(network))
