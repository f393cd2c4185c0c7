"""One step of training for every batch at once: no count of it is more than a straight line in the batch.

What belongs to the parameters (their bytes, their update) is the same for every batch, and what belongs to samples
grows with each of them. So the counts at two batches tell them at all others, and deriving hundreds of lines anew for
every batch that somebody tries is spared. The tests hold this against `epoch` for the networks of the zoo.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from .epoch import Epoch, epoch, in_batches, updating
from .errors import DnnlabError, ExtentError, quote
from .layers.optimizers import Optimizer
from .networks import Network
from .notation import dimension
from .phases import Phase, Task

# Far enough for whatever grows with the batch to have overtaken all that does not.
_FAR = 2**30


@dataclass(frozen=True)
class Steps:
    """A network's step of training with one sample and with very many, and its parameters; see `steps`."""

    one: Epoch
    far: Epoch
    parameters: int

    def at(self, batch: int) -> Epoch:
        """The step at a batch, as `epoch(net.at_batch(batch))` derives it. Raises `ExtentError` for a batch that is
        no positive whole number."""
        more = _count("batch", batch) - 1
        one, far = self.one, self.far
        return Epoch(
            one.name,
            _phase(one.forward, far.forward, more),
            _phase(one.backward, far.backward, more),
            one.update,
            _line(one.kept, far.kept, more),
        )

    def epoch(self, samples: int, batch: int, drop_last: bool = False) -> Epoch:
        """An epoch of `samples` in batches, as `epoch(net.at_batch(batch), samples)` derives it. Raises its errors."""
        return in_batches(self.at, _count("samples", samples), _count("batch", batch), drop_last)

    def using(self, optimizer: Optimizer) -> Steps:
        """The same with another optimizer, which makes no difference to the passes."""
        update = updating(self.parameters, optimizer)
        return replace(self, one=replace(self.one, update=update), far=replace(self.far, update=update))


def steps(net: Network, optimizer: Optimizer | None = None, input_gradient: bool | None = None) -> Steps:
    """The step of training of a network at every batch; the arguments are those of `epoch`.

    >>> from dnnlab import zoo
    >>> every = steps(zoo.lenet5())
    >>> every.at(32).forward.traffic - every.at(31).forward.traffic, every.at(32).update == every.at(1).update
    (30218, True)
    >>> every.epoch(60_000, 64) == epoch(zoo.lenet5(batch=64), 60_000)
    True
    """
    if not isinstance(net, Network):
        raise DnnlabError(f"expected a network, got {quote(net)}")
    one, far = (epoch(net.at_batch(n), None, optimizer, input_gradient) for n in (1, _FAR))
    return Steps(one, far, int(net.parameters))


def _count(name: str, value: object) -> int:
    count = dimension(name, value)
    if not isinstance(count, int):
        raise ExtentError(f"{name} must be a number here, not {quote(value)}")
    return count


def _phase(one: Phase, far: Phase, more: int) -> Phase:
    tasks = tuple(_task(first, last, more) for first, last in zip(one.tasks, far.tasks, strict=True))
    return replace(one, tasks=tasks, stored=_line(one.stored, far.stored, more))


def _task(one: Task, far: Task, more: int) -> Task:
    if one == far:
        return one
    counts = zip(one.operations, far.operations, strict=True)
    return Task(
        one.name,
        one.kind,
        tuple((kind, _line(count, last, more)) for (kind, count), (_, last) in counts),
        _line(one.macs, far.macs, more),
        _line(one.traffic, far.traffic, more),
        max(one.parallelism, far.parallelism // _FAR * (more + 1)),  # of the most parallel of several lines
    )


def _line(one: int, far: int, more: int) -> int:
    return one + (far - one) // (_FAR - 1) * more
