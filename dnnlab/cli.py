"""The command line: `dnnlab layers`, `cost`, `analyze`, `devices`, `networks`, those of `classroom`, and `calibrate`.

Every command here prints a table for people, or with `--json` and `--csv` the same values raw. Every number
names its unit. What the library refuses becomes one line on stderr and exit code 2.
"""

from __future__ import annotations

import gc
import json
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from . import __version__, hardware, zoo
from .bounds import LayerTime, NetworkTime, on
from .classroom import commands as classroom
from .costs import cost_facts, cost_text, read_program
from .errors import DnnlabError, quote, unknown
from .measuring import commands as measuring
from .networks import Network
from .quantities import show
from .tables import Column, Table
from .terminal import fitted, paragraph, width, wrapped

T = TypeVar("T", bound=Callable[..., Any])


class Refusal(click.ClickException):
    """An error in one line."""

    exit_code = 2

    def show(self, file: Any = None) -> None:
        click.echo(f"dnnlab: {' '.join(self.message.split())}", err=True)


class Commands(click.Group):
    """A group that turns the library's errors into a `Refusal`, and suggests the nearest command."""

    def invoke(self, ctx: click.Context) -> Any:
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):  # a terminal that cannot show '·' shows '?' instead of failing
                stream.reconfigure(errors="replace")
        try:
            return super().invoke(ctx)
        except DnnlabError as error:
            raise Refusal(str(error)) from None

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            raise unknown("command", args[0], self.list_commands(ctx))
        return super().resolve_command(ctx, args)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="dnnlab")
def main() -> None:
    """What layers and networks cost, and what they wait for."""
    gc.freeze()  # what the imports made is no garbage: a short process need not look for any in it


def formats(command: T) -> T:
    """The options --json and --csv."""
    command = click.option("--csv", "as_csv", is_flag=True, help="Comma-separated values, raw numbers.")(command)
    return click.option("--json", "as_json", is_flag=True, help="JSON, raw numbers.")(command)


def machine(default: str | None) -> Callable[[T], T]:
    """The options --device and --dtype."""

    def options(command: T) -> T:
        told = f"[default: {default}]" if default else ""
        command = click.option("--dtype", default="fp16", show_default=True, help="Number format.")(command)
        return click.option("--device", default=default, help=f"One of `dnnlab devices`. {told}")(command)

    return options


def put(as_json: bool, as_csv: bool, table: Table, text: Callable[[], str], record: Any = None) -> None:
    """Print text, the table as CSV, or the record (or the table) as JSON."""
    if as_json and as_csv:
        raise DnnlabError("--json and --csv exclude each other; give one of them")
    if as_json:
        # plain ASCII, so that no terminal can spoil it
        click.echo(json.dumps(table.records() if record is None else record, indent=2, allow_nan=False))
    else:
        click.echo(table.csv() if as_csv else text(), nl=not as_csv)


# -- commands --------------------------------------------------------------------------------------------


@main.command(short_help="The lecture's table of layers, derived.")
@machine("h100-sxm")
@click.option("--batch", type=int, default=1, show_default=True, help="Samples, for the type of bound.")
@formats
def layers(device: str, dtype: str, batch: int, as_json: bool, as_csv: bool) -> None:
    """The lecture's table of common layers, derived, with the notes' cell beside each."""
    from .notes import layer_table

    table = layer_table(hardware.device(device), dtype, batch)
    put(as_json, as_csv, table, lambda: _cells(table))


@main.command(short_help="What a line of Python costs.")
@click.argument("lines", nargs=-1, required=True, metavar="LINE...")
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="Bind an extent or a setting.")
@machine(None)
@formats
def cost(
    lines: Sequence[str], settings: Sequence[str], device: str | None, dtype: str, as_json: bool, as_csv: bool
) -> None:
    """What one line of Python costs, or several that run one after the other.

    \b
    dnnlab cost 'out[n,k] += w[k,c] * x[n,c]' --set k=1000 --set c=512
    """
    program = read_program(lines, _settings(settings))
    own = hardware.device(device) if device else None
    put(as_json, as_csv, cost_facts(program, own, dtype), lambda: cost_text(program, own, dtype, width()))


@main.command(short_help="A network on a device, layer by layer.")
@click.argument("network")
@click.option("--batch", type=int, help="Samples. [default: 1, or those of the file]")
@click.option("--length", type=int, help="Tokens of each sample, for a transformer.")
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="A size that an ONNX file leaves open.")
@machine("h100-sxm")
@click.option("--overlap/--no-overlap", default=True, help="Do memory and arithmetic work at the same time?")
@formats
def analyze(
    network: str,
    batch: int | None,
    length: int | None,
    settings: tuple[str, ...],
    device: str,
    dtype: str,
    overlap: bool,
    as_json: bool,
    as_csv: bool,
) -> None:
    """One of `dnnlab networks`, or an ONNX file, on a device, layer by layer: what each costs and what it waits for."""
    sizes = {name: value for name, value in (("batch", batch), ("length", length)) if value is not None}
    if network.lower().endswith(".onnx"):
        net = _file(network, batch, _settings(settings))
    elif settings:
        raise DnnlabError("--set gives sizes to an ONNX file; for a network of the zoo there are --batch and --length")
    elif length is not None and network in zoo.ZOO and network not in _transformers():
        raise DnnlabError(f"{network} takes no --length; it is for {', '.join(_transformers())}")
    else:
        net = zoo.network(network, **sizes)
    time = on(net, hardware.device(device), dtype, overlap)
    assert isinstance(time, NetworkTime)
    table = _layers(time)
    totals = {
        "parameters": net.parameters,
        "macs": sum(layer.macs for layer in time.layers),
        "operations": sum(layer.ops for layer in time.layers),
        "traffic_bytes": sum(layer.bytes for layer in time.layers),
        "kept_for_backward_bytes_pytorch": int(net.saved_bytes(dtype, "pytorch")),
        "kept_for_backward_bytes_minimum": int(net.saved_bytes(dtype, None)),
        "inference_peak_bytes_pytorch": net.peak_bytes(dtype, "pytorch"),
        "inference_peak_bytes_minimum": net.peak_bytes(dtype, None),
        "compute_seconds": time.compute,
        "memory_seconds": time.memory,
        "time_seconds": time.total,
    }
    about = {"network": net.name, "input_shape": net.input_shape, "device": time.device.name, "dtype": dtype}
    record = about | {"overlap": overlap, "totals": totals, "verdict": time.sentence(), "layers": table.records()}
    put(as_json, as_csv, table, lambda: _analysis(table, totals, time), record)


@main.command(short_help="Devices that are known, and their figures.")
@click.argument("name", required=False)
@formats
def devices(name: str | None, as_json: bool, as_csv: bool) -> None:
    """The catalogue of devices, or every figure of one with its source."""
    if name is not None:
        own = hardware.device(name)
        put(as_json, as_csv, own.table(), lambda: _facts(own))
        return
    heads = (
        Column("id", "device"), Column("name"), Column("memory"),
        Column("fp32_operations_per_second", "fp32", "OP/s"), Column("fp16_operations_per_second", "fp16", "OP/s"),
        Column("bandwidth_bytes_per_second", "bandwidth", "B/s"), Column("capacity_bytes", "capacity", "B"),
        Column("dtypes"),
    )  # fmt: skip
    rows = [
        (d.id, d.name, d.technology, d.peak.get("fp32"), d.peak.get("fp16"), d.bandwidth, d.capacity, list(d.peak))
        for d in hardware.devices()
    ]
    table = Table(heads, rows)
    put(as_json, as_csv, table, lambda: fitted(table, ("dtypes", "memory", "capacity_bytes")))


@main.command(short_help="Networks that are known.")
@formats
def networks(as_json: bool, as_csv: bool) -> None:
    """The networks that `analyze` knows, for one sample."""
    heads = (
        Column("id", "network"), Column("name"), Column("input"), Column("layers"),
        Column("parameters", show=_count), Column("macs", "MACs", show=_count), Column("operations", show=_count),
    )  # fmt: skip
    rows = []
    for name in zoo.ZOO:
        net = zoo.network(name)
        rows.append((name, net.name, net.input_shape, len(net.layers), net.parameters, net.macs, net.ops))
    table = Table(heads, rows)
    put(as_json, as_csv, table, lambda: fitted(table))


for _command in (*classroom.COMMANDS, *measuring.COMMANDS):
    main.add_command(_command)


# -- helpers ---------------------------------------------------------------------------------------------


def _file(path: str, batch: int | None, sizes: dict[str, str]) -> Network:
    """The network of an ONNX file; what it leaves out is said on stderr."""
    wrong = next((name for name, value in sizes.items() if not value.isdecimal()), None)
    if wrong is not None:
        raise DnnlabError(f"--set {wrong}={quote(sizes[wrong])}: expected a size such as {wrong}=8")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        net = Network.from_onnx(path, **{name: int(value) for name, value in sizes.items()})
    for warning in said:
        click.echo(f"dnnlab: {warning.message}", err=True)
    return net if batch is None else net.at_batch(batch)


def _transformers() -> list[str]:
    """Networks that read a sequence of tokens."""
    from inspect import signature

    return [name for name, build in zoo.ZOO.items() if "length" in signature(build).parameters]


def _settings(texts: Sequence[str]) -> dict[str, str]:
    """`k=1000` as a name and a value, each name once."""
    found: dict[str, str] = {}
    for text in texts:
        name, sign, value = (part.strip() for part in text.partition("="))
        if not (name and sign and value):
            raise DnnlabError(f"--set {quote(text)}: expected NAME=VALUE, such as --set k=1000")
        if name in found:
            raise DnnlabError(f"--set {quote(text)}: {name} is already {found[name]}; give each name once")
        found[name] = value
    return found


def _count(value: Any) -> str:
    return show(value, "")


#: Columns of `analyze`, and the order in which they give way in a narrow terminal.
LAYERS = (
    Column("name", "layer"), Column("kind"), Column("macs", "MACs", show=_count),
    Column("operations", show=_count), Column("traffic_bytes", "traffic", "B"),
    Column("operations_per_byte", "op/B", show=lambda x: f"{x:.3g}"), Column("compute_seconds", "compute", "s"),
    Column("memory_seconds", "memory", "s"), Column("time_seconds", "time", "s"), Column("bound", "bound by"),
    Column("margin", show=lambda x: f"{_count(x)}×"), Column("lanes_in_use", "lanes", show=lambda x: f"{x:.0%}"),
)  # fmt: skip
GIVE_WAY = ("lanes_in_use", "operations_per_byte", "margin", "macs", "kind", "traffic_bytes", "compute_seconds")


def _layers(time: NetworkTime) -> Table:
    """A row for each layer of a network."""

    def row(layer: LayerTime) -> tuple[Any, ...]:
        times = (layer.compute, layer.memory, layer.total, layer.bound, layer.margin, layer.utilisation)
        return (layer.name, layer.kind, layer.macs, layer.ops, layer.bytes, layer.intensity, *times)

    return Table(LAYERS, [row(layer) for layer in time.layers])


def _analysis(table: Table, totals: dict[str, Any], time: NetworkTime) -> str:
    """The table as far as it fits, the totals, and the verdict."""
    keys = [column.key for column in LAYERS]
    records = [dict(zip(keys, row, strict=True)) for row in table.rows]
    last = {"name": "total", "kind": "", "bound": ""} | {key: totals[key] for key in keys if key in totals}
    title = f"{time.name} on {time.device.name}, {time.dtype}{'' if time.overlap else ', no overlap'}"
    text = fitted(Table(LAYERS, [*records, last], title), GIVE_WAY)
    kept, peak = (
        [show(totals[f"{what}_bytes_{how}"], "B") for how in ("pytorch", "minimum")]
        for what in ("kept_for_backward", "inference_peak")
    )
    lines = {
        "parameters": f"{totals['parameters']:,} parameters",
        "MACs": f"{totals['macs']:,} MACs in convolutions, linear layers and matrix products",
        "operations": f"{totals['operations']:,} operations; a MAC is two, and all others are counted too",
        "kept for training": f"{kept[0]} of activations as PyTorch does it, {kept[1]} at the least",
        "inference peak": f"{peak[0]} of activations as PyTorch does it, {peak[1]} at the least, input included",
    }
    gaps = max(map(len, lines))
    summary = [paragraph(line, f"{name:<{gaps}}  ") for name, line in lines.items()]
    return "\n".join([text, "", *summary, "", paragraph(time.sentence())])


def _facts(device: hardware.Device) -> str:
    """Figures of a device, with their sources as footnotes."""
    table, cited = device.table(), {fact.name: fact.source for fact in device.facts}
    place = {source: mark for mark, source in enumerate(dict.fromkeys(s for many in cited.values() for s in many), 1)}
    rows = []
    for record in table.records():
        marks = (f"[{place[source]}]" for source in cited[str(record["figure"])])
        rows.append(record | {"source": " ".join(marks)})
    notes = [paragraph(f"[{mark}] {source}") for source, mark in place.items()]
    return "\n".join([wrapped(Table(table.columns, rows, table.title, table.note), {"note": 0.99}), "", *notes])


def _cells(table: Table) -> str:
    """Cells of the notes; the condition stands behind the verdict."""
    heads = (Column("row", "layer"), "column", "derived", Column("note", "the notes"), Column("verdict", "the note"))
    rows = []
    for record in table.records():
        parts = (record["verdict"], record.pop("condition"))
        rows.append(record | {"verdict": ": ".join(str(part) for part in parts if part)})
    sizes = {"row": 13, "derived": 0.37, "note": 0.24, "verdict": 0.39}
    return wrapped(Table(heads, rows, table.title, table.note), sizes)
