"""A chain: stages one after the other and a loss, with what each takes in time and memory.

Stage i turns x_i into x_{i+1}; the loss turns x_L into the gradient y_L. Times and sizes are in any unit
(operations or seconds, elements or bytes), as long as it is the same throughout.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from fractions import Fraction
from functools import cached_property
from math import gcd, lcm
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from ..errors import DnnlabError, ExtentError, ReadError, quote
from ..quantities import read_quantity
from ..tables import Table

if TYPE_CHECKING:
    from ..hardware import Device
    from ..networks import Network

Amount: TypeAlias = int | float | Fraction
LARGEST = 10**30  # of one time or size; sums of them stay far from where floats end


@dataclass(frozen=True)
class Chain:
    """L stages and a loss. `forward` has L times, `backward` L + 1 (the last is the loss), `outputs` the L + 1
    sizes of x_0 to x_L, `records` the L sizes of what each stage keeps for its backward, its output included;
    `forward_temp` (L) and `backward_temp` (L + 1, the last for the loss) are held only while the stage runs, and
    `gradients` are the L + 1 sizes of y_0 to y_L (those of the outputs, unless given).

    Numbers are ints, floats or fractions. Raises `DnnlabError` for a list of the wrong length, `ReadError` for what
    is no finite number, `ExtentError` for a negative one, one above 10^30, or a record smaller than its output.

    >>> chain = Chain(forward=[1, 2], backward=[2, 4, 0], outputs=[1, 1, 1], records=[3, 3])
    >>> chain.stages, chain.forward_time, chain.time
    (2, 3, 9)
    """

    forward: tuple[Amount, ...]
    backward: tuple[Amount, ...]
    outputs: tuple[Amount, ...]
    records: tuple[Amount, ...]
    forward_temp: tuple[Amount, ...] = ()
    backward_temp: tuple[Amount, ...] = ()
    gradients: tuple[Amount, ...] = ()
    names: tuple[str, ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        lists = {f.name: _listed(f.name, getattr(self, f.name)) for f in fields(self)}
        stages = len(lists["forward"])
        if not stages:
            raise DnnlabError("a chain needs at least one stage: forward is empty")
        lists["forward_temp"] = lists["forward_temp"] or (0,) * stages
        lists["backward_temp"] = lists["backward_temp"] or (0,) * (stages + 1)
        lists["gradients"] = lists["gradients"] or lists["outputs"]
        lists["names"] = lists["names"] or tuple(map(str, range(stages)))
        for name, values in lists.items():
            more = name in ("backward", "outputs", "backward_temp", "gradients")
            if len(values) != stages + more:
                what = "one for each stage" + {"backward": " and the loss", "backward_temp": " and the loss"}.get(
                    name, " and one for the chain's input" if more else ""
                )
                raise DnnlabError(
                    f"forward has {stages} stages, so {name} needs {stages + more} values ({what}); it has "
                    f"{len(values)}"
                )
            if name != "names":
                values = tuple(amount(value, f"{name}[{i}]") for i, value in enumerate(values))
            object.__setattr__(self, name, values)
        for i, (record, output) in enumerate(zip(self.records, self.outputs[1:], strict=True)):
            if record < output:
                raise ExtentError(
                    f"records[{i}] = {record} is smaller than outputs[{i + 1}] = {output}, the output of the same "
                    "stage; a record is the output together with what else the backward pass needs"
                )

    @classmethod
    def equal(
        cls,
        stages: int,
        forward: Amount = 1,
        backward: Amount = 1,
        output: Amount = 1,
        record: Amount | None = None,
        loss: Amount = 0,
    ) -> Self:
        """A chain of equal stages; a record is the output alone unless `record` says more.

        >>> Chain.equal(3).records, Chain.equal(3, backward=2, loss=1).backward
        ((1, 1, 1), (2, 2, 2, 1))
        """
        stages = count(stages, "stages")
        kept = output if record is None else record
        return cls(
            forward=(forward,) * stages,
            backward=(backward,) * stages + (loss,),
            outputs=(output,) * (stages + 1),
            records=(kept,) * stages,
        )

    @classmethod
    def of(
        cls, network: Network, dtype: str = "fp32", device: Device | None = None, framework: str | None = "pytorch"
    ) -> Chain:
        """The chain that a network is, cut wherever a single tensor passes; see `dnnlab.checkpointing.cutting`."""
        from .cutting import chain_of

        return chain_of(network, dtype, device, framework)

    @property
    def stages(self) -> int:
        """The number of stages, the loss apart."""
        return len(self.forward)

    @cached_property
    def whole(self) -> Counts:
        """The chain in whole numbers, for sums and comparisons that are exact."""
        return Counts.of(self)

    @property
    def forward_time(self) -> Amount:
        """Time of all forwards, each once."""
        return self.whole.times.amount(sum(self.whole.forward))

    @property
    def time(self) -> Amount:
        """Time of a step that runs nothing twice: every forward and backward once, and the loss."""
        return self.whole.times.amount(sum(self.whole.forward) + sum(self.whole.backward))

    def table(self) -> Table:
        """A row for each stage and one for the loss."""
        columns = ("stage", "forward", "backward", "output", "record", "forward temp", "backward temp")
        rows = list(
            zip(self.names, self.forward, self.backward, self.outputs[1:], self.records, self.forward_temp,
                self.backward_temp, strict=False)
        )  # fmt: skip
        loss = ("loss", None, self.backward[-1], None, None, None, self.backward_temp[-1])
        return Table(columns, (*rows, loss), title=f"A chain of {self.stages} stages, input {self.outputs[0]}")

    def _repr_html_(self) -> str:
        return self.table().html()


@dataclass(frozen=True)
class Whole:
    """Amounts as whole numbers of a common `unit`, so that sums and comparisons are exact and quick."""

    unit: Fraction
    like: type = int

    @classmethod
    def of(cls, amounts: Iterable[Amount]) -> Self:
        """The largest unit that all the amounts are multiples of."""
        exact = [Fraction(a) for a in amounts]
        below = lcm(*(a.denominator for a in exact))
        above = gcd(*(int(a * below) for a in exact))
        kinds = {type(a) for a in amounts}
        return cls(Fraction(above or 1, below), float if float in kinds else Fraction)

    def count(self, amount: Amount) -> int:
        """How many units an amount is, rounded down (amounts of the chain are whole)."""
        return Fraction(amount) // self.unit

    def counts(self, amounts: Iterable[Amount]) -> tuple[int, ...]:
        """`count` of each."""
        return tuple(map(self.count, amounts))

    def amount(self, count: int) -> Amount:
        """An amount again: an int where it is whole, else a float if the amounts were, or a fraction."""
        exact = count * self.unit
        return int(exact) if exact.denominator == 1 else self.like(exact)


@dataclass(frozen=True)
class Counts:
    """A chain in whole numbers: of the common unit `times` of its times, and `sizes` of its sizes."""

    times: Whole
    sizes: Whole
    forward: tuple[int, ...]
    backward: tuple[int, ...]
    outputs: tuple[int, ...]
    records: tuple[int, ...]
    forward_temp: tuple[int, ...]
    backward_temp: tuple[int, ...]
    gradients: tuple[int, ...]

    @classmethod
    def of(cls, chain: Chain) -> Self:
        """The chain's lists, counted."""
        times = Whole.of((*chain.forward, *chain.backward))
        held = (chain.outputs, chain.records, chain.forward_temp, chain.backward_temp, chain.gradients)
        sizes = Whole.of(sum(held, ()))
        timed = map(times.counts, (chain.forward, chain.backward))
        return cls(times, sizes, *timed, *map(sizes.counts, held))


def count(value: object, what: str, least: int = 1) -> int:
    """A whole number of at least `least`, or an `ExtentError` that says `what` was asked for."""
    if isinstance(value, bool) or not hasattr(value, "__index__") or value.__index__() < least:
        raise ExtentError(f"{what} must be a whole number of at least {least}, not {quote(value)}")
    return int(value.__index__())


def amount(value: object, what: str) -> Amount:
    """A finite time or size that is not negative, exact; a `DnnlabError` says what was wrong with `what`."""
    try:
        number = value if isinstance(value, Fraction) else read_quantity(value, "")
    except ReadError as error:
        raise ReadError(f"{what}: {error}") from error
    if number < 0:
        raise ExtentError(f"{what} must not be negative, but it is {quote(value)}")
    if number > LARGEST:
        raise ExtentError(f"{what} = {quote(value)} is too large; the limit is 10^30")
    return int(number) if isinstance(number, Fraction) and number.denominator == 1 else number


def _listed(name: str, values: Any) -> tuple[Any, ...]:
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise DnnlabError(f"{name} must be a list with a value for each stage, not {quote(values)}")
    return tuple(values)
