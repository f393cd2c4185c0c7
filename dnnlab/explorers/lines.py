"""Lines as they are typed into an explorer, and all of their costs that does not depend on sizes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from html import escape

from ..costs import cost_facts, read_program
from ..errors import DnnlabError, quote
from ..inplace import in_place
from ..layers import (
    GELU,
    AvgPool2d,
    BatchedLinear,
    BatchNorm2d,
    Conv2d,
    DepthwiseConv2d,
    Layer,
    Linear,
    MaxPool2d,
    PointwiseConv2d,
    PReLU,
    ReLU,
    Softmax,
)
from ..notation import Dim, is_bound, lecture, symbol
from ..notation import settle as whole
from ..program import Program

_IMAGE = tuple(map(symbol, ("n", "c", "h", "w")))
#: Layers whose lines are offered, by the name the catalogue knows.
LAYERS: dict[str, tuple[str, Layer]] = {
    layer.kind: (label, layer)
    for label, layer in (
        ("Convolution", Conv2d()),
        ("Depth-wise convolution", DepthwiseConv2d()),
        ("Pointwise convolution", PointwiseConv2d()),
        ("Linear", Linear()),
        ("Batched linear", BatchedLinear()),
        ("Max pooling", MaxPool2d(stride=2, padding="same")),
        ("Average pooling", AvgPool2d(stride=2, padding="same")),
        ("Batch norm, inference", BatchNorm2d(training=False)),
        ("ReLU", ReLU().fit(_IMAGE)),
        ("PReLU", PReLU().fit(_IMAGE)),
        ("GELU", GELU().fit(_IMAGE)),
        ("Softmax", Softmax()),
    )
}
OWN = "own"
MOST_LINES = 8


@dataclass(frozen=True)
class Costs:
    """All of a line that does not depend on sizes. `names` are the sizes that it has, `facts` the formula of each
    fact that `cost_facts` derives."""

    layer: str
    line: str
    program: Program
    names: tuple[str, ...]
    facts: tuple[str, ...]
    in_place: str
    formula: str

    @property
    def label(self) -> str:
        """What the line is called in a sentence."""
        return LAYERS[self.layer][0] if self.layer in LAYERS else "Your line"

    @property
    def parameters(self) -> tuple[str, ...]:
        """Tensors that are learned."""
        return self.program.having("parameter")

    def at(self, sizes: tuple[tuple[str, int], ...]) -> Program:
        """The lines with these sizes; ShapeError where a tensor would be empty."""
        return _bound(self.program, sizes)


@lru_cache(maxsize=64)
def costs_of(text: str) -> Costs:
    """The costs of lines parted by `;`. Raises ReadError for what cannot be read."""
    parts = [part.strip() for part in text.split(";") if part.strip()]
    if len(parts) > MOST_LINES:
        raise DnnlabError(f"{len(parts)} lines: at most {MOST_LINES} are read; leave some out")
    program = read_program(parts, {})
    layer = next((kind for kind in LAYERS if LAYERS[kind][1].statements == program.statements), OWN)
    program = LAYERS[layer][1].program if layer in LAYERS else _own(program)
    sizes = [size for nest in program.nests for _, size in (*nest.extents, *nest.settings)]
    sizes += [size for tensor in program.tensors for size in program.shape(tensor)]
    names = dict.fromkeys(str(name) for size in sizes for name in sorted(getattr(size, "free_symbols", ()), key=str))
    if not names:
        raise DnnlabError(f"in {quote(text)}: there is no index; write one, such as out[i] = inp[i]")
    return Costs(
        layer, _joined(program), program, tuple(names), _formulas_of(program), _in_place(program), _formula(program)
    )


def text_of(layer: str) -> str:
    """The lines of a layer, as they stand in the box."""
    return _joined(LAYERS[layer][1].program)


def _joined(program: Program) -> str:
    return "; ".join(program.statements)


def _own(program: Program) -> Program:
    """The lines in the letters of the lecture, h and w for the places of an image, r and s for those of a filter;
    tensors that know no samples are parameters."""
    names = {name for nest in program.nests for name in nest.extent}
    letters: dict[str, Dim] = {}
    for pair in (("y", "x"), ("i", "j")):
        wanted = {name: dict(Conv2d().program.nests[0].extents)[name] for name in pair}
        if names.issuperset(pair) and not names & set(map(str, wanted.values())):
            letters |= wanted
    program = read_program(program.statements, letters)
    roles = dict(program.roles)
    if "n" in names:
        # where n only looks up a row, as in table[ids[n],d], the tensor has no samples of its own
        sampled = {
            ref.name
            for nest in program.nests
            for places in nest.references.values()
            for ref in places
            if any(form is not None and "n" in dict(form.terms) for form in nest.subscripts(ref))
        }
        roles |= {name: "parameter" for name, role in roles.items() if role == "input" and name not in sampled}
    return replace(program, roles=tuple(roles.items()))


def _formulas_of(program: Program) -> tuple[str, ...]:
    """The formula of every fact, in the lecture's spelling; "" for what is a number or a text."""
    return tuple("" if is_bound(value) else lecture(value) for *_, value, _ in cost_facts(program).rows)


def _formula(program: Program) -> str:
    """The lines and their formulas as HTML, with LaTeX between dollars."""
    learned = sum(map(program.size, program.having("parameter")))
    widest = max(program.nests, key=lambda nest: len(nest.extents))
    counts = {
        "operations": program.ops,
        "parameters": learned,
        "at the same time": widest.parallelism,
    }
    lines = "<br>".join(f"<code>{escape(line)}</code>" for line in program.statements)
    return lines + "<br>" + "; ".join(f"{what} ${lecture(n, 'latex')}$" for what, n in counts.items() if n != 0)


def _in_place(program: Program) -> str:
    """May the output overwrite the input, and why not; "" where they differ in shape."""
    inputs, outputs = program.having("input"), program.having("output")
    if not inputs or not outputs or program.shape(inputs[0]) != program.shape(outputs[0]):
        return ""
    try:
        return in_place(program).reason
    except DnnlabError:  # lines without a backward pass
        return ""


@lru_cache(maxsize=256)
def _bound(program: Program, sizes: tuple[tuple[str, int], ...]) -> Program:
    known = {symbol(name): size for name, size in sizes}

    def value(size: Dim) -> Dim:
        return size if isinstance(size, int) else whole(size.xreplace(known))

    shapes = {tensor: tuple(map(value, program.shape(tensor))) for tensor in program.tensors}
    extents = {name: value(size) for nest in program.nests for name, size in (*nest.extents, *nest.settings)}
    lines = [nest.statement for nest in program.nests]
    return Program.read(lines, dict(program.roles), shapes, program.detached, **extents)
