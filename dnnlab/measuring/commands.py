"""The command `dnnlab calibrate`. What it needs is read when it runs."""

from __future__ import annotations

import click


@click.command(short_help="Measure this machine.")
@click.option("--fresh", is_flag=True, help="Measure anew, even where figures are kept.")
@click.option("--seconds", type=float, default=15, show_default=True, help="How long it may take.")
def calibrate(fresh: bool, seconds: float) -> None:
    """Measure this machine: arithmetic, memory, caches, disk, each with its spread.

    The figures are kept in dnnlab-machine.json in this folder, or where the variable DNNLAB_MACHINE says; the next
    time they are read from there.
    """
    from ..tables import Table
    from ..terminal import wrapped
    from .calibrating.machine import this_machine

    table = this_machine(fresh, seconds).table()
    shown = ("figure", "value", "date", "note")
    rows = [{key: record[key] for key in shown} for record in table.records()]
    click.echo(wrapped(Table(shown, rows, table.title, table.note), {"note": 0.99}))


COMMANDS = (calibrate,)
