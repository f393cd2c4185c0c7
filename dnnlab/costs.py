"""All that follows from typed lines, put together: the data and the text of `dnnlab cost`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from .bounds import LayerTime, on
from .errors import DnnlabError, ExtentError, unknown
from .hardware import Device
from .loopnest import LoopNest
from .notation import Dim, plain, ratio
from .program import Program
from .reader import read_statement
from .statements import Ref
from .tables import Column, Table


def read_program(lines: Sequence[str], settings: Mapping[str, object]) -> Program:
    """Lines as they are typed, with the roles of tensors found out: what is read before it is written is an
    input, what is only looked up is a constant, the last tensor written is the output.

    Raises `ReadError` for a line that cannot be read, `UnknownNameError` for a setting that no line has.

    >>> dict(read_program(["out[n,k] += w[k,c] * x[ids[n],c]"], {"k": 1000}).roles)
    {'w': 'input', 'x': 'input', 'ids': 'constant', 'out': 'output'}
    """
    statements = [read_statement(line) for line in lines]
    if not statements:
        raise DnnlabError("expected a line such as out[n,k] += w[k,c] * x[n,c]")
    names = dict.fromkeys(name for s in statements for name in (*s.indices, *s.settings, *s.scalars))
    for name in settings:
        if name not in names:
            raise unknown("index or setting", name, names)
    roles: dict[str, str] = {}
    written: set[str] = set()
    for statement in statements:
        refs = (statement.target, *statement.refs)
        looked_up = [sub for ref in refs for sub in ref.subscripts if isinstance(sub, Ref)]
        for ref in (*statement.reads, *looked_up):
            if ref.name not in written:
                roles.setdefault(ref.name, "constant" if ref in looked_up else "input")
        written.add(statement.target.name)
    roles.setdefault(statements[-1].target.name, "output")
    return Program.read(statements, roles, None, (), **settings)


def backward_of(program: Program) -> Program | str:
    """The adjoint lines, or why there are none."""
    try:
        return program.backward()
    except DnnlabError as error:
        return str(error)


def times(program: Program, device: Device, dtype: str) -> list[LayerTime]:
    """What each line takes on a device; `ExtentError` names the extents that are still open."""
    found = []
    for nest in program.nests:
        extents = (*nest.extents, *nest.settings)
        names = sorted({str(s) for _, size in extents for s in getattr(size, "free_symbols", ())})
        if names:
            options = " ".join(f"--set {name}=..." for name in names)
            raise ExtentError(f"what {nest.text!r} waits for depends on {', '.join(names)}; bind them: {options}")
        time = on(nest, device, dtype)
        assert isinstance(time, LayerTime)
        found.append(time)
    return found


def cost_facts(program: Program, device: Device | None = None, dtype: str = "fp16") -> Table:
    """Everything derived from the lines, a fact a row: the line, the quantity, what it is of, value and unit.

    >>> cost_facts(read_program(["out[n,k] += w[k,c] * x[n,c]"], {"k": 10})).records()[2]["value"]
    '20*c*n'
    """
    rows: list[tuple[str, str, str | None, Any, str]] = []
    for nest in program.nests:
        rows += [(nest.text, "operations", kind, count, "operations") for kind, count in nest.operations.items()]
        rows.append((nest.text, "operations", "all", nest.ops, "operations"))
        rows.append((nest.text, "macs", None, nest.macs, "MACs"))
        rows.append((nest.text, "parallelism", None, nest.parallelism, "iterations"))
        rows += [(nest.text, "independent", name, size, "iterations") for name, size in nest.independent.items()]
        rows += [(nest.text, "reducing", name, size, "iterations") for name, size in nest.reducing.items()]
        for tensor in nest.references:
            rows.append((nest.text, "elements", tensor, nest.size(tensor), "elements"))
            rows.append((nest.text, "touches", tensor, nest.accesses(tensor), "touches"))
            rows.append((nest.text, "reuse", tensor, nest.reuse(tensor), "touches per element"))
        rows.append((nest.text, "loops", None, nest.loops(), "Python"))
    backward = backward_of(program)
    if isinstance(backward, Program):
        rows += [(nest.text, "backward operations", "line", nest.ops, "operations") for nest in backward.nests]
        whole = str(program)
        rows.append((whole, "backward operations", "all", backward.ops, "operations"))
        rows += [(whole, "kept for backward", name, size, "elements") for name, size in program.saved.items()]
    for time in times(program, device, dtype) if device else ():
        rows.append((time.name, "traffic", None, time.bytes, "bytes"))
        rows.append((time.name, "time", "compute", time.compute, "seconds"))
        rows.append((time.name, "time", "memory", time.memory, "seconds"))
        rows.append((time.name, "time", "all", time.total, "seconds"))
        rows.append((time.name, "bound", None, time.bound, ""))
    return Table(("line", "quantity", "of", "value", "unit"), rows)


def cost_text(program: Program, device: Device | None = None, dtype: str = "fp16", width: int = 120) -> str:
    """The same for reading, in the lecture's spelling."""
    clock = times(program, device, dtype) if device else []
    parts = []
    for place, nest in enumerate(program.nests):
        parts.append(_line(nest, width))
        if device:
            parts.append(replace(clock[place], name=f"On {device.name} in {dtype} it").sentence())
    backward = backward_of(program)
    if isinstance(backward, str):
        parts.append(f"backward pass: none. {backward}")
    else:
        parts.append(_backward(program, backward))
    return "\n\n".join(parts)


def _line(nest: LoopNest, width: int) -> str:
    kinds = ", ".join(f"{kind} {plain(count)}" for kind, count in nest.operations.items())
    extents = [
        f"{what} {', '.join(_extent(name, size) for name, size in part.items()) or 'none'}"
        for what, part in (("independent:", nest.independent), ("reducing:", nest.reducing))
    ]
    heads = ("tensor", Column("elements", show=plain, align="right"), Column("touches", show=plain, align="right"),
             Column("reuse", "touches per element", show=plain, align="right"))  # fmt: skip
    tensors = Table(heads, [(t, nest.size(t), nest.accesses(t), nest.reuse(t)) for t in nest.references])
    facts = [
        nest.text,
        "",
        f"operations   {plain(nest.ops)} operations" + (f" ({kinds})" if kinds else ""),
        f"MACs         {plain(nest.macs)} MACs",
        f"parallelism  {plain(nest.parallelism)} iterations at once; {'; '.join(extents)}",
        "",
        tensors.text(width),
        "",
        nest.loops(),
    ]
    return "\n".join(facts)


def _backward(program: Program, backward: Program) -> str:
    share = f", {plain(ratio(backward.ops, program.ops))} times the forward pass" if program.ops != 0 else ""
    lines = [f"backward pass: {plain(backward.ops)} operations{share}"]
    longest = max((len(text) for text in backward.statements), default=0)
    lines += [f"  {nest.text:<{longest}}  {plain(nest.ops)} operations" for nest in backward.nests]
    kept = ", ".join(f"{name} ({plain(size)} elements)" for name, size in program.saved.items())
    return "\n".join([*lines, f"kept for it: {kept or 'nothing'}"])


def _extent(name: str, size: Dim) -> str:
    return name if str(size) == name else f"{name} = {plain(size)}"
