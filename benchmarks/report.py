"""Results as text for the terminal, as Markdown and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .harness import Finding, Result, number

VERDICT = {True: "met", False: "**missed**", None: ""}


def lines(result: Result) -> str:
    """A result for the terminal, one line a finding."""
    text = [f"  {f.what:<60} {f.spread} {f.unit}  {_target(f)}".rstrip() for f in result.findings]
    text += [f"  not run: {name}: {reason}" for name, reason in result.skipped.items()]
    return "\n".join(text).replace("**", "")


def _target(finding: Finding) -> str:
    if finding.target is None:
        return ""
    return f"{VERDICT[finding.met]} (target {finding.target[0]} {number(finding.target[1])})"


def write(folder: Path, machine: Mapping[str, Any], results: Iterable[Result], skipped: Mapping[str, str]) -> None:
    """Write `report.md` and `report.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    results = list(results)
    (folder / "report.md").write_text(markdown(machine, results, skipped), encoding="utf-8")
    record = {"machine": machine, "benchmarks": {r.name: _record(r) for r in results}, "not_run": dict(skipped)}
    (folder / "report.json").write_text(compact(record), encoding="utf-8")


def compact(record: Mapping[str, Any]) -> str:
    """JSON with a line for each entry two levels down, and numbers in five digits."""

    def short(value: Any) -> Any:
        if isinstance(value, float):
            return float(f"{value:.5g}")
        if isinstance(value, Mapping):
            return {key: short(entry) for key, entry in value.items()}
        return [short(entry) for entry in value] if isinstance(value, list | tuple) else value

    parts = []
    for name, entries in record.items():
        lines = [f"  {json.dumps(key)}: {json.dumps(short(entry))}" for key, entry in entries.items()]
        parts.append(f"{json.dumps(name)}: {{\n" + ",\n".join(lines) + "\n}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _record(result: Result) -> dict[str, Any]:
    findings = [{**asdict(finding), "met": finding.met} for finding in result.findings]
    return {"about": result.about, "findings": findings, "not_run": dict(result.skipped), "raw": dict(result.raw)}


def markdown(machine: Mapping[str, Any], results: Iterable[Result], skipped: Mapping[str, str]) -> str:
    """The report; a number is the median, with the least and the greatest of all rounds behind it."""
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    memory = f", {machine['memory_bytes'] / 1e9:.0f} GB" if machine["memory_bytes"] else ""
    load = machine["load_average_at_start"]
    text = [
        "# How fast dnnlab is\n",
        "Written by `python benchmarks/run.py`. Numbers are medians with (least … greatest) of all rounds; programs "
        "take turns, and a ratio is taken within a round.\n",
        f"Machine: {machine['processor']}, {machine['logical_processors']} logical processors{memory}, "
        f"{machine['system']}; Python {machine['python']}, {packages}."
        + (f" Load average at the start: {load:.1f}." if load is not None else "")
        + "\n",
    ]
    results = list(results)
    text += _in_short(results, skipped)
    for result in results:
        text += [f"## {result.name}\n", result.about + "\n"]
        if result.findings:
            text += ["| what | measured | unit | target |", "| --- | --- | --- | --- |"]
            text += [f"| {f.what} | {f.spread} | {f.unit} | {_target(f)} |" for f in result.findings] + [""]
        text += [f"Not run: {name}: {reason}\n" for name, reason in result.skipped.items()]
    return "\n".join(text)


def _in_short(results: Iterable[Result], skipped: Mapping[str, str]) -> list[str]:
    """A row for each benchmark: its first ratio, how many targets it meets, which it misses; then what did not run."""
    text = ["## In short\n", "| benchmark | its first ratio | targets met | missed |", "| --- | --- | --- | --- |"]
    for result in results:
        ratios = [f for f in result.findings if f.unit in ("×", "%")] or list(result.findings)
        first = f"{ratios[0].what}: {ratios[0].spread} {ratios[0].unit}" if ratios else "nothing ran"
        aimed = [f for f in result.findings if f.met is not None]
        missed = [f"{f.what}: {number(f.spread.median)} {f.unit}".rstrip() for f in aimed if not f.met]
        met = f"{len(aimed) - len(missed)} of {len(aimed)}" if aimed else ""
        text.append(f"| [{result.name}](#{result.name}) | {first} | {met} | {'; '.join(missed)} |")
    text.append("")
    absent = {name: reason for result in results for name, reason in result.skipped.items()}
    parts = [f"- benchmark `{name}`: {reason}" for name, reason in skipped.items()]
    parts += [f"- {name}: {reason}" for name, reason in absent.items()]
    return [*text, *(["Not run:\n", *parts, ""] if parts else ["Nothing was left out.\n"])]
