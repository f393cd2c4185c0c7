"""May a layer overwrite its input? Derived from its adjoint lines: if they do not read the input, it may."""

from __future__ import annotations

from dataclasses import dataclass

from .adjoint import kept
from .calculus import slopes
from .program import Program
from .statements import Statement, evaluate


@dataclass(frozen=True)
class Verdict:
    """`possible`, and the reason in a sentence; it is true or false like its `possible`."""

    possible: bool
    reason: str

    def __bool__(self) -> bool:
        return self.possible


def overwrites(program: Program) -> bool:
    """May the output take the place of the first input in inference: is each output element the last to read
    the input element it would overwrite?"""
    inputs, outputs = program.having("input"), program.having("output")
    if not inputs or not outputs or program.shape(inputs[0]) != program.shape(outputs[0]):
        return False
    writers = [nest.statement for nest in program.nests if nest.statement.target.name == outputs[0]]
    if len(writers) != 1 or writers[0].accumulate:
        return False
    behind = program.nests[[nest.statement for nest in program.nests].index(writers[0]) + 1 :]
    if any(inputs[0] in nest.references for nest in behind):
        return False
    return all(ref.subscripts == writers[0].target.subscripts for ref in writers[0].refs if ref.name == inputs[0])


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
    if not overwrites(program):
        final = next(n.text for n in reversed(program.nests) if n.statement.target.name == output)
        return Verdict(False, f"no: {final} still reads {name} after other outputs were written")
    backward = program.backward()
    read = kept(nest.statement for nest in backward.nests)
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


def witness(statement: Statement) -> tuple[float, float, float, float, float] | None:
    """Two inputs of an element-wise line with one output and two slopes: proof that it cannot run in place.

    Returns (first input, second input, output, first slope, second slope), or None where none is found
    between -6 and 6.
    """
    if len(statement.reads) != 1 or statement.scalars or statement.accumulate:
        return None
    (ref,) = statement.reads
    slope = dict(slopes(statement)).get(ref)

    def value(x: float) -> float:
        return evaluate(statement.value, {ref: x})

    grid = [i / 16 for i in range(-96, 97)]
    try:
        heights = [value(x) for x in grid]
        turns = [i for i in range(1, 192) if (heights[i] - heights[i - 1]) * (heights[i + 1] - heights[i]) < 0]
        if not turns or slope is None:
            return None
        left = grid[max(turns[0] - 8, 0)]
        level, peak = value(left), heights[turns[0]]
        beyond = [i for i in range(turns[0], 193) if (heights[i] - level) * (peak - level) <= 0]
        if not beyond:
            return None  # the line never comes back to this height
        low, high = grid[beyond[0] - 1], grid[beyond[0]]
        for _ in range(60):  # bisect on the far side of the turn for the same height
            middle = (low + high) / 2
            if (value(middle) - level) * (peak - level) > 0:
                low = middle
            else:
                high = middle
        first, second = evaluate(slope, {ref: left}), evaluate(slope, {ref: low})
        same = abs(value(low) - level) <= 1e-9 * (1 + abs(level))  # not where the line jumps
        return (left, low, level, first, second) if same and abs(first - second) > 1e-9 else None
    except (ValueError, OverflowError, ZeroDivisionError):
        return None
