"""A GPU as a `Device`, measured; and what was measured on GPUs elsewhere and ships with the library.

Everything here is PyTorch that runs on the processor too, where the tests run it; `in_torch.card` holds what is
CUDA's own.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date
from importlib.resources import files
from pathlib import Path
from typing import Any

from ... import __version__
from ...errors import DnnlabError, quote
from ...hardware import Device, Fact
from ...quantities import DTYPES, positive, show
from ...tables import Column, Table
from ..calibrating.rates import repeated
from ..calibrating.turns import REFUSALS, Found, Probe, reason, take_turns
from ..in_torch.card import Card, card
from ..in_torch.support import TYPES
from ..progress import Progress, shown

#: Dtypes whose matrix products are timed; "tf32" is fp32 whose products the GPU may round.
RATES = ("fp64", "fp32", "tf32", "bf16", "fp16")
_SIDE = 4096  # of a matrix; a GPU needs a large one to be full
_ARRAY = 2**30  # bytes of an array in a stream, and an eighth of what is free at the most
_PINNED = 2**28  # bytes of a copy over the link
_LAUNCHES = 500  # calls on a few numbers, one behind the other
_MEASURED = f"measured by dnnlab {__version__} in PyTorch"
_TOLD = "told by the driver"


def this_gpu(seconds: float | str = 10, progress: Progress | None = None, place: Card | None = None) -> Device:
    """The GPU that PyTorch sees, as a `Device`, measured in about `seconds`.

    Rates (operations a second, by dtype) are those of matrix products, the bandwidth that of copies and sums of arrays
    too large for its cache, the link that of copies from pinned memory. `place` is another `Card` than the GPU.
    Raises `DnnlabError` where PyTorch or a GPU is missing.

    >>> this_gpu().bandwidth  # doctest: +SKIP
    """
    limit = positive(seconds, "s", "time to measure the GPU")
    here = card() if place is None else place
    clock = here.clock()
    with shown(progress) as step:
        notes: list[str] = []
        sized = sizes(here)
        probes = _made(here, sized, notes)
        begin = clock()
        found = take_turns(
            probes, begin + limit, clock, lambda doing: step((clock() - begin) / limit, doing), lambda: None
        )
    return gpu_device(here.name, [*_facts(found), *sized], [*notes, *_refused(found)])


def sizes(here: Card) -> list[Fact]:
    """What the driver tells: memory, and the cache that all parts of the chip share."""
    if here.place != "cuda":
        return []
    told = here.torch.cuda.get_device_properties()
    facts = [fact("capacity", int(told.total_memory), "B", _TOLD, f"compute units: {told.multi_processor_count}")]
    cache = int(getattr(told, "L2_cache_size", 0))
    return [*facts, *([fact("on_chip", cache, "B", _TOLD, "the L2 cache")] if cache else [])]


def fact(name: str, value: float, unit: str, source: str, note: str) -> Fact:
    """Something that was found today."""
    return Fact(name, value, unit, "measured", (source,), date.today().isoformat(), note)


# -- probes ----------------------------------------------------------------------------------------------


def _made(here: Card, sized: Sequence[Fact], notes: list[str]) -> list[Probe]:
    """The probes that can be made ready; a note for each that cannot."""
    free = here.free() or 2**30
    array = min(_ARRAY, free // 8)
    cache = next((int(one.value) for one in sized if one.name == "on_chip"), 0)
    makers: list[Callable[[], Probe]] = [
        *(lambda dtype=dtype: product(here, dtype, array) for dtype in RATES),
        lambda: stream(here, "bandwidth", array),
        *([lambda: stream(here, "cache_bandwidth", cache // 12)] if cache else []),
        lambda: link(here, min(_PINNED, array)),
        lambda: launches(here),
    ]
    probes = []
    for make in makers:
        try:
            probes.append(make())
        except REFUSALS as error:
            notes.append(f"There is no figure for one of the probes ({reason(error)}).")
    return probes


def product(here: Card, dtype: str, room: int) -> Probe:
    """A matrix product; in "tf32" that of fp32 with rounded factors, which PyTorch allows on request."""
    torch = here.torch
    kind = getattr(torch, TYPES["fp32" if dtype == "tf32" else dtype])
    n = _SIDE
    while n > 64 and 3 * n * n * int(DTYPES[dtype]) > room:
        n //= 2
    left, right = (torch.full((n, n), value, dtype=kind, device=here.place) for value in (0.5, 0.25))
    out = torch.empty((n, n), dtype=kind, device=here.place)
    allowed = torch.backends.cuda.matmul

    def run() -> None:
        before = allowed.allow_tf32
        try:
            allowed.allow_tf32 = dtype == "tf32"
            torch.mm(left, right, out=out)
        finally:
            allowed.allow_tf32 = before

    return Probe(f"matrix.cuda.{dtype}", "FLOP/s", f"matrix products, {dtype}", {f"{n} × {n}": (2.0 * n**3, run)})


def stream(here: Card, name: str, size: int) -> Probe:
    """Arrays of `size` bytes copied and added, as often as makes a gigabyte."""
    torch, count = here.torch, max(size // 4, 1)
    a, b, c = (torch.full((count,), 0.5, dtype=torch.float32, device=here.place) for _ in range(3))
    times = max(1, _ARRAY // (4 * count) // 8)
    pieces: dict[str, tuple[float, Callable[[], object]]] = {
        "copy": (8.0 * count * times, repeated(lambda: c.copy_(a), times)),
        "add": (12.0 * count * times, repeated(lambda: torch.add(a, b, out=c), times)),
    }
    return Probe(name, "B/s", "the cache" if name.startswith("cache") else "memory", pieces)


def link(here: Card, size: int) -> Probe:
    """Copies from pinned memory of the host, which a GPU fetches by itself."""
    torch = here.torch
    host = torch.empty(size, dtype=torch.uint8, pin_memory=here.place == "cuda")
    there = torch.empty(size, dtype=torch.uint8, device=here.place)
    return Probe("link", "B/s", "copies from the host", {
        "to the device": (float(size), lambda: there.copy_(host, non_blocking=True)),
    })  # fmt: skip


def launches(here: Card) -> Probe:
    """Calls on a few numbers, one behind the other: what starting one takes."""
    few = here.torch.full((4,), 0.5, device=here.place)
    run = repeated(lambda: here.torch.relu(few), _LAUNCHES)
    return Probe("overhead.cuda", "s", "starting calls", {"relu": (float(_LAUNCHES), run)})


def _facts(found: Sequence[Found]) -> list[Fact]:
    """The medians with their spreads; of matrix products the peaks too."""
    facts = []
    for one in found:
        if one.refusal:
            continue
        spread, unit = one.spread(), one.probe.unit
        parts = ", ".join(f"{name} {show(value, unit)}" for name, value in one.pieces().items())
        made = fact(one.probe.fact, spread.median, unit, _MEASURED, f"{spread.text(unit)}: {parts}")
        kind, _, dtype = one.probe.fact.rpartition(".")
        if kind == "matrix.cuda":
            facts.append(replace(made, name=f"peak.{dtype}", unit="OP/s"))
        facts.append(made)
    return facts


def _refused(found: Sequence[Found]) -> list[str]:
    return [f"There is no figure {one.probe.fact}: {one.refusal}." for one in found if one.refusal]


def gpu_device(name: str, facts: Sequence[Fact], notes: Sequence[str]) -> Device:
    """A GPU that is nothing but its facts. Raises `DnnlabError` where no matrix product is among them."""
    value = {one.name: one.value for one in facts}
    peak = {one.removeprefix("peak."): rate for one, rate in value.items() if one.startswith("peak.")}
    if not peak:
        raise DnnlabError(f"{name} could not be measured. {' '.join(notes)} Allow it more seconds")
    figures: dict[str, Any] = {figure: value.get(figure) for figure in ("bandwidth", "capacity", "on_chip", "link")}
    return Device(name, peak, **figures, lanes=None, external="vram", facts=tuple(facts), notes=tuple(notes))


# -- what ships ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class GpuMeasurement:
    """What was measured on one GPU: the device with its facts, and by name the seconds and bytes of its runs, with
    `where`: driver, versions and date."""

    device: Device
    where: Mapping[str, str]
    runs: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, repr=False)
class GpuMeasurements:
    """All measurements of GPUs that ship with the library."""

    found: tuple[GpuMeasurement, ...]

    def sentence(self) -> str:
        """How many there are, and where they come from."""
        if not self.found:
            return (
                "No measurement of a GPU ships with this version: none could be had when it was made. "
                "this_gpu() measures your own, and record(path) keeps what it finds."
            )
        return "; ".join(f"{one.device.name}, {one.where.get('date', 'undated')}" for one in self.found) + "."

    def table(self) -> Table:
        """A row for each run that was measured."""
        columns = ("GPU", "run", Column("seconds", "time", "s"), Column("memory", "most memory", "B"))
        rows = [
            (one.device.name, run["run"], run.get("seconds"), run.get("bytes"))
            for one in self.found
            for run in one.runs
        ]
        return Table(columns, rows, "Measured on GPUs", self.sentence())

    def __repr__(self) -> str:
        return self.sentence()

    def _repr_html_(self) -> str:
        return self.table().html()


def gpu_measurements(folder: Path | str | None = None) -> GpuMeasurements:
    """The measurements that ship, or those of a folder of records. Raises `DnnlabError` for a file that is none.

    >>> gpu_measurements().found
    ()
    """
    home = files("dnnlab") / "data" / "measured" if folder is None else Path(folder)
    if not home.is_dir():
        return GpuMeasurements(())
    records = sorted((entry for entry in home.iterdir() if entry.name.endswith(".json")), key=lambda entry: entry.name)
    return GpuMeasurements(tuple(_read(entry.name, entry.read_text(encoding="utf-8")) for entry in records))


def _read(name: str, text: str) -> GpuMeasurement:
    try:
        content = json.loads(text)
        facts = [Fact(**(entry | {"source": tuple(entry["source"])})) for entry in content["facts"]]
        device = gpu_device(content["name"], facts, content["notes"])
        return GpuMeasurement(device, dict(content["where"]), tuple(content["runs"]))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DnnlabError(
            f"{quote(name)} is no record of a GPU ({reason(error)}); write one with record(path)"
        ) from error


def record(path: Path | str, seconds: float | str = 10, place: Card | None = None) -> GpuMeasurement:
    """Measure the GPU, copies that overlap and a training step with checkpoints, and keep it all in a JSON file.

    Such files ship in dnnlab/data/measured. Raises `DnnlabError` where PyTorch or a GPU is missing.
    """
    from .overlap import overlapped_copies
    from .step import checkpointed_step, example

    here = card() if place is None else place
    device = this_gpu(seconds, place=here)
    overlap, step = overlapped_copies(place=here), checkpointed_step(*example(here), place=here)
    runs: list[dict[str, Any]] = [
        {"run": f"overlapped copies, buffers: {run.schedule.buffers[0]}", "seconds": float(run.schedule.makespan)}
        for run in overlap.runs
    ]
    runs += [{"run": f"training step, {one.name}", "seconds": one.times.median, "bytes": one.most,
              "spread": asdict(one.times)} for one in step.runs]  # fmt: skip
    where = {"date": date.today().isoformat(), "dnnlab": __version__, "torch": str(here.torch.__version__),
             "cuda": str(getattr(getattr(here.torch, "version", None), "cuda", None) or "none"),
             "driver": driver()}  # fmt: skip
    content = {"name": device.name, "where": where, "facts": [asdict(one) for one in device.facts],
               "notes": list(device.notes), "runs": runs}  # fmt: skip
    Path(path).write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return GpuMeasurement(device, where, tuple(runs))


def driver() -> str:
    """The version of the GPU's driver, which PyTorch does not tell but the driver's own program; else "unknown"."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return "unknown"
    asked = [program, "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        told = subprocess.run(asked, capture_output=True, text=True, timeout=20, check=True).stdout.split()
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return told[0] if told else "unknown"
