"""Functions of one element that both readers know, by the names the frameworks give them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

#: Activations of the catalogue.
ACTIVATIONS = {
    "relu": "ReLU", "relu6": "ReLU6", "leaky_relu": "LeakyReLU", "sigmoid": "Sigmoid", "tanh": "Tanh",
    "hardswish": "HardSwish", "silu": "SiLU",
}  # fmt: skip

#: The rest: the name of the layer and its line, `{x}` for the element.
FORMULAS = {
    "exp": ("Exp", "exp({x})"),
    "log": ("Log", "log({x})"),
    "log1p": ("Log", "log(1 + {x})"),
    "sqrt": ("Sqrt", "sqrt({x})"),
    "rsqrt": ("Rsqrt", "1 / sqrt({x})"),
    "neg": ("Negate", "-{x}"),
    "abs": ("Abs", "abs({x})"),
    "square": ("Power", "{x}**2"),
    "reciprocal": ("Reciprocal", "1 / {x}"),
    "erf": ("Erf", "erf({x})"),
    "hardsigmoid": ("HardSigmoid", "min(max({x} + 3, 0), 6) / 6"),
    "softplus": ("Softplus", "log(1 + exp({x}))"),
    "softsign": ("Softsign", "{x} / (1 + abs({x}))"),
    "mish": ("Mish", "{x} * tanh(log(1 + exp({x})))"),
    "elu": ("ELU", "max({x}, 0) + alpha * (exp(min({x}, 0)) - 1)"),
    "selu": ("SELU", "scale * (max({x}, 0) + alpha * (exp(min({x}, 0)) - 1))"),
    "gelu_tanh": ("GELU (tanh)", "0.5 * {x} * (1 + tanh(0.7978845608028654 * ({x} + 0.044715 * {x}**3)))"),
}


def words(text: str) -> frozenset[str]:
    """Names written in one line."""
    return frozenset(text.split())


def numeric(value: Any) -> float | None:
    """The number, or None for something else."""
    return float(value) if isinstance(value, int | float) else None


def power(source: str, exponent: float) -> tuple[str, tuple[str, ...], dict[str, Any]] | None:
    """A power with a known exponent; None where it is none of those that have a line."""
    if exponent == 0.5:
        name, text = FORMULAS["sqrt"]
    elif exponent == -0.5:
        name, text = FORMULAS["rsqrt"]
    elif exponent == -1:
        name, text = FORMULAS["reciprocal"]
    elif exponent == int(exponent) and 2 <= exponent <= 16:
        name, text = "Power", f"{{x}}**{int(exponent)}"
    else:
        return None
    return "pointwise", (source,), {"name": name, "expression": text}


def products(equation: str, shapes: Sequence[Sequence[int]]) -> dict[str, int] | None:
    """The sizes b, t, d, u of the matrix product that an equation such as "bij,bjk->bik" stands for; None for one that
    sums an axis of a single operand, or that names axes by an ellipsis.

    >>> products("nqhd,nkhd->nhqk", [(2, 5, 4, 8), (2, 7, 4, 8)])
    {'b': 8, 't': 5, 'd': 8, 'u': 7}
    """
    left, arrow, out = equation.replace(" ", "").partition("->")
    names = left.split(",")
    if not arrow or "." in equation or len(names) != 2 or any(len(set(name)) != len(name) for name in names):
        return None
    sizes = {
        axis: size for name, shape in zip(names, shapes, strict=True) for axis, size in zip(name, shape, strict=True)
    }
    found = {"b": 1, "t": 1, "d": 1, "u": 1}
    for axis, size in sizes.items():
        both, kept = axis in names[0] and axis in names[1], axis in out
        if not both and not kept:
            return None
        found["b" if both and kept else "d" if both else "t" if axis in names[0] else "u"] *= size
    return found
