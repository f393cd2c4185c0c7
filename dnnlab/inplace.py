"""May a layer overwrite its input? Derived from its adjoint lines: if they do not read the input, it may."""

from __future__ import annotations

from dataclasses import dataclass

from .calculus import witness
from .program import Program, kept
from .statements import write


@dataclass(frozen=True)
class Verdict:
    """`possible`, and the reason in a sentence; it is true or false like its `possible`."""

    possible: bool
    reason: str

    def __bool__(self) -> bool:
        return self.possible


def in_place(program: Program) -> Verdict:
    """Can the output take the input's place and the backward pass still be computed?

    It can where no adjoint line reads the input: the slope is constant, or it can be computed from the
    output. For an element-wise line that cannot, two inputs with one output and two slopes are the proof.

    >>> relu = Program.read("out[i] = max(inp[i], 0)", {"inp": "input", "out": "output"})
    >>> in_place(relu).reason
    'yes: the backward pass reads out, not inp: d_inp[i] += d_out[i] * step(out[i])'
    """
    if not program.nests:
        return Verdict(True, "yes: it is a view; nothing is computed")
    inputs, outputs = program.having("input"), program.having("output")
    if not inputs or not outputs:
        return Verdict(False, "no: it has no input that carries a gradient")
    name, output = inputs[0], outputs[0]
    if program.shape(name) != program.shape(output):
        return Verdict(False, f"no: the output has another shape {program.shape(output)} than {program.shape(name)}")
    final = [nest.statement for nest in program.nests if nest.statement.target.name == output][-1]
    elsewhere = [
        ref for nest in program.nests for ref in nest.statement.refs
        if ref.name == name and nest.statement is final and ref.subscripts != final.target.subscripts
    ]
    if elsewhere or final.accumulate:
        return Verdict(False, f"no: {write(final)} still reads {name} after other outputs were written")
    backward = program.backward()
    read = kept(backward)
    if name not in read:
        line = next((n.text for n in reversed(backward.nests) if n.statement.target.name == "d_" + name), "")
        what = f"reads {output}, not {name}" if output in read else f"does not read {name}"
        return Verdict(True, f"yes: the backward pass {what}: {line}")
    found = witness(program.nests[0].statement) if len(program.nests) == 1 else None
    if found:
        a, b, y, slope_a, slope_b = found
        return Verdict(
            False,
            f"no: {name} = {a:.3g} and {name} = {b:.3g} both give {y:.3g}, with slopes {slope_a:.3g} and "
            f"{slope_b:.3g}; the output does not tell which, so {name} is kept",
        )
    lines = [n.text for n in backward.nests if name in (ref.name for ref in n.statement.refs)]
    return Verdict(False, f"no: the backward pass reads {name} itself: {lines[0]}")
