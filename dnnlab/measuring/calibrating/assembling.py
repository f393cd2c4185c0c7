"""From what the rounds found to the facts of a `Device`, each with its spread in words."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from typing import Any

from ... import __version__
from ...errors import DnnlabError
from ...hardware import Device, Fact, Memory
from ...quantities import show
from .caches import System, fits
from .disk import Disk
from .turns import Found

_MEASURED = f"measured on this machine by dnnlab {__version__}"
_TOLD = "told by the system of this machine"
_RESTLESS = 0.25  # of the median lie between the quartiles
_PRODUCTS = {"matrix": "matrix products", "convolution": "convolutions"}
_MISSING = 0.1  # of the processor time that we could have had, taken by others
#: Stands in every note that says the figures are doubtful.
AGAIN = "this_machine(fresh=True) measures again"


def built(name: str, facts: Sequence[Fact], notes: Sequence[str]) -> Device:
    """This machine as a device that is nothing but its facts."""
    value = {fact.name: fact.value for fact in facts}
    peak = {fact.removeprefix("peak."): rate for fact, rate in value.items() if fact.startswith("peak.")}
    figures: dict[str, Any] = {figure: value.get(figure) for figure in ("bandwidth", "capacity", "on_chip")}
    disk = Memory("disk", value.get("disk_capacity"), value["disk"]) if "disk" in value else None
    return Device(
        name, peak, **figures, lanes=None, link=None, disk=disk, external="ram", id="this-machine",
        facts=tuple(facts), notes=tuple(notes),
    )  # fmt: skip


def assemble(
    here: System, found: Sequence[Found], disk: Disk | None, notes: Sequence[str], missing: float = 0.0
) -> Device:
    """The device that the rounds found, while other programs took the share `missing` of our processors.

    Raises DnnlabError where the rounds found no matrix product.
    """
    said = [*notes, *(f"There is no figure {one.probe.fact}: {one.refusal}." for one in found if one.refusal)]
    done = [one for one in found if not one.refusal]
    facts = [fact for one in done if not one.probe.fact.startswith("step.") and (fact := _fact(one)) is not None]
    peaks = _peaks(done)
    if not peaks:
        raise DnnlabError(f"this machine could not be measured. {' '.join(said)} Allow it more seconds")
    if here.busy < here.threads:
        said.append(f"A limit keeps this process to {here.quota:g} of {here.threads} processors.")
    said += _disturbed(missing) or _restless(done)
    facts = [*peaks, *facts, *_alone(facts), *_sizes(here, done)]
    if disk is not None:
        facts = [_disk(fact, disk) if fact.name == "disk" else fact for fact in facts]
        facts.append(_new("disk_capacity", disk.capacity, "B", _TOLD, "used or not"))
    cores = f"{here.cores} core{'s' if here.cores != 1 else ''}"
    return built(f"this machine ({here.name or platform.machine() or 'processor unknown'}, {cores})", facts, said)


def _disturbed(missing: float) -> list[str]:
    """A note where other programs had our processors, for then all figures are low."""
    if missing < _MISSING:
        return []
    return [
        f"Other programs took {missing:.0%} of the processors meanwhile, so these rates are too low. "
        f"When they are closed, {AGAIN}."
    ]


def _restless(found: Sequence[Found]) -> list[str]:
    """A note where the main figures varied, for then their medians may be low."""
    spreads = {one.probe.fact: one.spread() for one in found if one.probe.fact.startswith((*_PRODUCTS, "bandwidth"))}
    names = [name for name, spread in spreads.items() if spread.upper - spread.lower > _RESTLESS * spread.median]
    if not names:
        return []
    return [
        f"The machine was restless meanwhile: {', '.join(names)} varied by more than {_RESTLESS:.0%}. "
        f"When it is quiet, {AGAIN}."
    ]


def _new(name: str, value: float, unit: str, source: str, note: str) -> Fact:
    return Fact(name, value, unit, "measured", (source,), date.today().isoformat(), note)


def _fact(found: Found) -> Fact | None:
    """The median, with its spread in words; None for a function as fast as moving its numbers."""
    probe, seconds = found.probe, found.seconds()
    if probe.base is not None and seconds.lower <= 0:
        return None
    spread, pieces = found.spread(), found.pieces()
    note = spread.text(probe.unit)
    if len(pieces) > 1:
        note += ": " + ", ".join(f"{name} {show(value, probe.unit)}" for name, value in pieces.items())
    elif probe.fact.startswith(tuple(_PRODUCTS)):
        note += f", {next(iter(pieces))}"
    value = round(spread.median) if spread.median > 1000 else spread.median
    return _new(probe.fact, value, probe.unit, _MEASURED, note)


def _peaks(found: Sequence[Found]) -> list[Fact]:
    """For each dtype the greatest rate that was seen: what a noisy moment slows down is still possible."""
    peaks: dict[str, Fact] = {}
    for one in found:
        kind, _, rest = one.probe.fact.partition(".")
        if kind not in _PRODUCTS:
            continue
        library, _, dtype = rest.partition(".")
        name, rate = f"peak.{dtype}", one.spread().greatest
        if name not in peaks or rate > peaks[name].value:
            spelled = {"numpy": "NumPy", "torch": "PyTorch"}[library]
            note = f"the fastest of {one.spread().repeats} times, {_PRODUCTS[kind]} in {spelled}"
            peaks[name] = _new(name, round(rate), "OP/s", _MEASURED, note)
    return list(peaks.values())


def _alone(facts: Sequence[Fact]) -> list[Fact]:
    """For a rate of all threads that is missing that of one: without a bandwidth nothing could be predicted."""
    found = {fact.name: fact for fact in facts}
    return [
        replace(found[one], name=name, note=f"{found[one].note}; of one thread, for there is none of all")
        for name in ("bandwidth", "cache_bandwidth")
        if name not in found and (one := f"{name}_one") in found
    ]


def _sizes(here: System, found: Sequence[Found]) -> list[Fact]:
    """Of the memory and the caches."""
    facts = [] if here.capacity is None else [_new("capacity", here.capacity, "B", _TOLD, _limit(here))]
    steps = [(int(one.probe.fact.removeprefix("step.")), one.spread().median)
             for one in found if one.probe.fact.startswith("step.")]  # fmt: skip
    seen = fits(steps) if len(steps) > 1 else None
    rates = ", ".join(f"{show(size, 'B', binary=True)} at {show(rate, 'B/s')}" for size, rate in steps)
    last = max(here.caches, default=0)
    if here.last and seen and seen < 0.75 * here.last:
        told = show(here.caches[last], "B", binary=True)
        note = f"the system tells {told}, but a part of it is not ours, as on a shared host; one thread moves {rates}"
        facts.append(_new("on_chip", here.caches[last] * seen // here.last, "B", _MEASURED, note))
    elif here.last:
        facts.append(_new("on_chip", here.caches[last], "B", _TOLD, f"level {last}; one thread moves {rates}"))
    elif seen:
        facts.append(_new("on_chip", seen, "B", _MEASURED, f"where the rate falls; one thread moves {rates}"))
    facts += [_new(f"parts.l{level}", size, "B", _TOLD, "") for level, size in here.caches.items() if level < last]
    return facts


def _limit(here: System) -> str:
    return "" if here.free is None else f"{show(here.free, 'B')} of it free when measured"


def _disk(fact: Fact, disk: Disk) -> Fact:
    way = f"read with {disk.way}; a host may still keep the file in its own memory" if disk.way else (
        "the system's copy in memory could not be avoided, so this may be no rate of a disk"
    )  # fmt: skip
    return replace(fact, note=f"{fact.note}; {way}")
