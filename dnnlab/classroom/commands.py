"""Commands for a class: `dnnlab build`, `codes`, `grade`. What they need is read when they run."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import click

from ..errors import DnnlabError, quote

FOLDER = click.Path(path_type=Path)


@click.command(short_help="Make exercises/ from solutions/.")
@click.option("--check", is_flag=True, help="Write nothing; fail where exercises and solutions are out of step.")
@click.argument("solutions", type=FOLDER, default="solutions")
@click.argument("exercises", type=FOLDER, default="exercises")
def build(check: bool, solutions: Path, exercises: Path) -> None:
    """Make each exercise notebook from its solutions notebook: the answers go, all else stays byte for byte."""
    from . import trees

    if not check:
        for name in trees.build(solutions, exercises):
            click.echo(f"wrote {exercises / name}")
    wrong = trees.out_of_step(solutions, exercises)
    for name, problem in wrong.items():
        click.echo(f"{exercises / name} {problem}", err=True)
    if wrong:
        raise DnnlabError(f"{len(wrong)} of {exercises}/ out of step with {solutions}/; run: dnnlab build")
    if check:
        click.echo(f"{exercises} is what {solutions} makes")


@click.command(short_help="Personal codes for a class.")
@click.argument("roster", type=FOLDER)
@click.option("--secret", type=FOLDER, required=True, help="File of the secret; made where there is none.")
@click.option("--out", type=FOLDER, help="Write the codes here instead of printing them; never over a file.")
def codes(roster: Path, secret: Path, out: Path | None) -> None:
    """The roster (a CSV file with a column 'student', 'name' or 'id') with a personal code for each student.

    Keep the secret to yourself: grading needs it, and whoever has it can work out every code.
    """
    from ..tables import Table
    from .codes import code, make_secret, read_roster, read_secret
    from .report import defused

    class_of = read_roster(roster)
    if out is not None and out.exists():
        raise DnnlabError(f"{quote(str(out))} exists already; name another file, or remove it first")
    if make_secret(secret):
        click.echo(f"wrote a new secret to {secret}; keep it, and keep it to yourself", err=True)
    own = read_secret(secret)
    kept = [column for column in class_of.columns if column != "code"]
    rows = [
        [*(row[column] for column in kept), code(own, name)]
        for row, name in zip(class_of.rows, class_of.names, strict=True)
    ]
    table = defused(Table([*kept, "code"], rows)).csv()
    if out is None:
        click.echo(table, nl=False)
    else:
        out.write_text(table, encoding="utf-8", newline="\n")


@click.command(short_help="Grade a folder of notebooks, without running them.")
@click.argument("folder", type=FOLDER)
@click.option("-j", "--jobs", type=int, default=os.cpu_count() or 1, help="Processes. [default: one for each core]")
@click.option("--secret", type=FOLDER, help="The secret of the class, see `dnnlab codes`.")
@click.option("--roster", type=FOLDER, help="The roster: says who handed in nothing, and who is not on it.")
@click.option("--topic", "topics", type=int, multiple=True, help="Only this topic counts; may be repeated.")
@click.option("--out", type=FOLDER, default="grades", show_default=True, help="Folder of the results.")
@click.option("--scheduler", metavar="ADDRESS", help="Work on this Dask cluster, such as tcp://10.0.0.1:8786.")
@click.option("--gradebook", metavar="URL", help="Put the grades into nbgrader's, such as sqlite:///gradebook.db.")
def grade(
    folder: Path,
    jobs: int,
    secret: Path | None,
    roster: Path | None,
    topics: tuple[int, ...],
    out: Path,
    scheduler: str | None,
    gradebook: str | None,
) -> None:
    """Grade every notebook in a folder: <student>/…/*.ipynb, or files that name their student.

    No notebook is run: the answers are read and judged again. Writes grades.csv, grades.json and report.txt, and
    prints what the class got wrong.
    """
    from . import report, workers
    from .codes import read_roster, read_secret
    from .grading import grade as graded

    own = read_secret(secret) if secret else b""
    members = read_roster(roster) if roster else None
    try:
        with workers.cluster(scheduler) if scheduler else workers.local(jobs) as spread:
            grades = graded(folder, spread, own, members, topics, _progress())
    finally:
        _end_line()
    files = report.write(out, grades)
    click.echo(report.text(grades))
    click.echo("wrote " + ", ".join(map(str, files)))
    if gradebook:
        from .gradebook import put

        click.echo(f"{put(grades, gradebook)} grades are in {gradebook}")


def _progress() -> Any:
    """How far it is, on a terminal alone: one line that is written over."""
    begin = time.monotonic()

    def show(step: str, done: int, of: int) -> None:
        if sys.stderr.isatty():
            click.echo(f"\r\033[K{step} {time.monotonic() - begin:5.0f} s  {done} of {of}", nl=False, err=True)

    return show


def _end_line() -> None:
    if sys.stderr.isatty():
        click.echo("\r\033[K", nl=False, err=True)


COMMANDS = (build, codes, grade)
