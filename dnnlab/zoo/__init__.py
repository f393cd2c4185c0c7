"""Networks everybody knows, layer by layer, with the names their usual PyTorch versions give to layers."""

from collections.abc import Callable

from ..errors import unknown
from ..networks import Network
from .mobilenets import mobilenet_v1, mobilenet_v2
from .plain import alexnet, lenet5, vgg16
from .resnets import resnet18, resnet50
from .transformers import bert_base, gpt2_small, llama

#: Every network of the zoo by name.
ZOO: dict[str, Callable[..., Network]] = {
    function.__name__: function
    for function in (
        *(lenet5, alexnet, vgg16, resnet18, resnet50, mobilenet_v1, mobilenet_v2),
        *(bert_base, gpt2_small, llama),
    )
}


def network(name: str, **options: object) -> Network:
    """The network of that name, such as `network("resnet50", batch=8)`.

    Raises `UnknownNameError` with the nearest name for one that is not in the zoo.
    """
    if name not in ZOO:
        raise unknown("network", name, ZOO)
    return ZOO[name](**options)


__all__ = [*ZOO, "ZOO", "network"]
