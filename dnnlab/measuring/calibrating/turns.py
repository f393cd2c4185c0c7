"""Probes take turns: small pieces of work, timed round after round.

A noisy moment (another program, a neighbour on the same host) then hits one round of every figure, and the median
over the rounds does not care; measured one after the other, it would spoil one figure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter

from ...errors import quote
from ..timing import Spread, settled

#: What an odd system or library may raise when it cannot do what a probe asks for.
REFUSALS = (OSError, RuntimeError, MemoryError, TypeError, ValueError, ImportError, AttributeError)
#: More rounds would no longer move a median.
MOST_ROUNDS = 40


@dataclass(frozen=True, eq=False)
class Probe:
    """How to measure one fact, in `unit`. A round does every piece of work once; `pieces` gives, by name, its amount
    (operations, bytes, calls) and how to do it. `base`, where there is one, is done with each piece, and its time
    taken off: what is left is the time beyond moving the numbers. `doing` is for the progress. `crew`: whose threads
    do the work.
    """

    fact: str
    unit: str
    doing: str
    pieces: Mapping[str, tuple[float, Callable[[], object]]] = field(repr=False)
    base: Callable[[], object] | None = field(default=None, repr=False)
    crew: str = ""


@dataclass(frozen=True)
class Found:
    """What the rounds found: by piece the seconds of each round, or why there are none."""

    probe: Probe
    times: Mapping[str, Sequence[float]]
    refusal: str = ""

    def seconds(self) -> Spread:
        """Of a round, all pieces together."""
        return Spread.of(sum(times) for times in zip(*self.times.values(), strict=True))

    def spread(self) -> Spread:
        """In the unit of the probe, all pieces of a round together."""
        return self._in_unit(self.seconds(), sum(amount for amount, _ in self.probe.pieces.values()))

    def pieces(self) -> dict[str, float]:
        """The median of each piece, in the unit of the probe."""
        return {
            name: self._in_unit(Spread.of(self.times[name]), amount).median
            for name, (amount, _) in self.probe.pieces.items()
        }

    def _in_unit(self, seconds: Spread, amount: float) -> Spread:
        """An amount a second, or for a probe in seconds the time of one."""
        if self.probe.unit != "s":
            return seconds.turned(amount)
        five = (seconds.least, seconds.lower, seconds.median, seconds.upper, seconds.greatest)
        least, lower, median, upper, greatest = (time / amount for time in five)
        return Spread(least, lower, median, upper, greatest, seconds.repeats)


def take_turns(
    probes: Sequence[Probe],
    until: float,
    clock: Callable[[], float] = perf_counter,
    tell: Callable[[str], None] = lambda doing: None,
    settle: Callable[[], None] = settled,
) -> list[Found]:
    """Rounds of all probes while the clock shows less than `until`; only a first run can reach beyond it.

    The first run of each probe does not count: it touches the memory and loads the code; nor does the first of a crew
    after another, which must first spread over the processors. A probe for which no time is left, or which the system
    refuses, comes back with the reason. `settle` is called where another crew takes over.
    """
    taken: list[dict[str, list[float]]] = [{name: [] for name in probe.pieces} for probe in probes]
    refusals = [""] * len(probes)
    longest = [0.0] * len(probes)
    crew = ""
    for number in range(MOST_ROUNDS):
        for place, probe in enumerate(probes):
            if refusals[place]:
                continue
            begin = clock()
            if begin + longest[place] > until:
                if not number:
                    refusals[place] = "no time was left for it"
                continue
            tell(probe.doing)
            changes, crew = probe.crew != crew, probe.crew
            try:
                if changes:
                    settle()
                if changes or not number:
                    _round(probe, clock)  # does not count
                begin = clock()
                for name, seconds in _round(probe, clock).items():
                    taken[place][name].append(seconds)
            except REFUSALS as error:
                refusals[place] = reason(error)
            longest[place] = max(longest[place], clock() - begin)
    return [Found(*found) for found in zip(probes, taken, refusals, strict=True)]


def _round(probe: Probe, clock: Callable[[], float]) -> dict[str, float]:
    """Seconds of each piece, less those of the base."""

    def seconds(work: Callable[[], object]) -> float:
        begin = clock()
        work()
        return clock() - begin

    if probe.base is None:
        return {name: seconds(work) for name, (_, work) in probe.pieces.items()}
    return {name: seconds(work) - seconds(probe.base) for name, (_, work) in probe.pieces.items()}


def reason(error: BaseException) -> str:
    """An error in one line, as a note tells it."""
    return f"{type(error).__name__}: {quote(str(error), 120)}"
