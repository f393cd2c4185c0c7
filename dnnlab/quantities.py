"""Quantities with units: '80 GB' to a number, a number to '3.35 TB/s', and the bytes of a dtype.

Decimal prefixes (k M G T P E) are powers of 1000; binary ones (Ki Mi Gi Ti Pi Ei) are powers of 1024
and belong to bytes alone. 'KB' is neither and is refused. Bytes and operations are counted, so they
take no small prefix ('mB' is a slip for 'MB'); seconds, joules and watts do, and a long time is shown
in min, h and d. Everything between text and number is exact (fractions, not floats).
"""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal
from fractions import Fraction
from functools import lru_cache
from numbers import Rational
from typing import Any

from dnnlab.errors import ExtentError, ReadError, quote, unknown

#: Bytes of one element. TensorFloat-32 computes with 19 bits but is stored in 32.
DTYPES: dict[str, int | float] = {
    "fp64": 8, "fp32": 4, "tf32": 4, "fp16": 2, "bf16": 2, "fp8": 1, "fp4": 0.5,
    "int64": 8, "int32": 4, "int16": 2, "int8": 1, "int4": 0.5, "uint8": 1, "bool": 1,
}  # fmt: skip

_LARGE = {p: Fraction(1000) ** (i + 1) for i, p in enumerate("kMGTPE")}
_BINARY = {p + "i": Fraction(1024) ** (i + 1) for i, p in enumerate("KMGTPE")}
_SMALL = {p: Fraction(1, 1000 ** (4 - i)) for i, p in enumerate("pnµm")}
_TIMES = {"min": Fraction(60), "h": Fraction(3600), "d": Fraction(86400)}
_MEASURED = ("s", "J", "W")  # divisible without end; all other units are counted

# One operation is one operation, however a data sheet spells it; a MAC is two of them and no spelling.
_OPS = ("op", "ops", "OP", "OPs", "FLOP", "FLOPs")
_SPELLINGS = {unit: _OPS for unit in _OPS} | {
    f"{unit}/s": (*(f"{u}/s" for u in _OPS), "OPS", "FLOPS") for unit in _OPS
}

_LONGEST = 64  # characters; a quantity is short, and this bounds the work before any is done
_NUMBER = re.compile(
    r"([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?)"  # the number
    r"\s*([^0-9,._].*)?",  # whatever follows is the unit, unless it looks like more of the number
    re.DOTALL,
)
_LARGEST = Fraction(2**1024 - 2**970)  # of the floats
_WIDE = Context(prec=50, Emax=MAX_EMAX, Emin=MIN_EMIN)  # rounds half to even; wide enough to round only once
_TINIEST, _HUGEST = Decimal("0.0001"), Decimal(10000)  # mantissas written without a power of ten


def read_quantity(text: object, unit: str) -> int | float:
    """The number of `unit`s that a text or a plain number stands for, an int when it is integral.

    A text without a unit counts in `unit` itself. Raises ReadError for anything else.

    >>> read_quantity("192 KiB", "B"), read_quantity("3.35 TB/s", "B/s")
    (196608, 3350000000000)
    >>> read_quantity("989.4 TFLOP/s", "op/s"), read_quantity("45 ms", "s"), read_quantity(80e9, "B")
    (989400000000000, 0.045, 80000000000)
    >>> read_quantity("192 KB", "B")
    Traceback (most recent call last):
    ...
    dnnlab.errors.ReadError: cannot read '192 KB' as B: the unit 'KB' is not one of B, kB, MB, GB, TB, \
PB, EB, KiB, MiB, GiB, TiB, PiB, EiB; 'K' is ambiguous: write 'k' for 1000, 'Ki' for 1024
    """
    if not isinstance(text, str):
        what = f"a quantity in {unit}" if unit else "a quantity"
        plain = _plain(text, what)
        if isinstance(plain, float) and not math.isfinite(plain):
            raise ReadError(f"{what} must be finite, not {plain}")
        return _number(Fraction(plain), text)
    if len(text) > _LONGEST:
        raise ReadError(f"cannot read {quote(text)}: a quantity has at most {_LONGEST} characters")
    match = _NUMBER.fullmatch(text.strip())
    if match is None:
        example = {"B": "80 GB' or '192 KiB", "s": "45 ms", "": "25.6 M"}.get(unit, f"2.5 G{unit}")
        raise ReadError(f"cannot read {quote(text)}: write a number and a unit, such as '{example}'")
    number, suffix = match.groups()
    factor = Fraction(1) if not suffix else _factors(unit).get(suffix)
    if factor is None:
        raise ReadError(f"cannot read {quote(text)} as {unit or 'a count'}: {_complaint(suffix, unit)}")
    return _number(Fraction(number) * factor, text)


def show(value: object, unit: str, binary: bool = False, digits: int = 3) -> str:
    """A number with a prefixed unit, rounded to `digits` significant digits (ties to even).

    Digits before the point are never dropped, so a mantissa can read 1023. An infinite value is shown
    as ∞, a NaN as 'undefined'. `binary` uses Ki, Mi, ... and makes sense for bytes. Raises ReadError
    when the value is not a number.

    >>> show(3.35e12, "B/s"), show(999.9, "B"), show(40 * 2**20, "B", binary=True), show(25_557_032, "")
    ('3.35 TB/s', '1 kB', '40 MiB', '25.6 M')
    >>> show(0.000045, "s"), show(5400, "s"), show(0.25, "op/B"), show(-2e15, "FLOP/s"), show(0, "J")
    ('45 µs', '1.5 h', '0.25 op/B', '-2 PFLOP/s', '0 J')
    """
    if not 1 <= digits <= 15:
        raise ReadError(f"digits must be between 1 and 15, not {quote(digits)}")
    exact = _decimal(_plain(value, "a value to show"))
    if not exact.is_finite():
        text = "undefined" if exact.is_nan() else "∞" if exact > 0 else "-∞"
        return f"{text} {unit}".rstrip()
    size, minus = abs(exact), "-" if exact < 0 else ""
    factors, names = _ladder(unit, binary)
    step = max(0, bisect_right(factors, size) - 1)
    mantissa = _WIDE.divide(size, factors[step])
    if not size:
        return f"0 {unit}".rstrip()
    if not _TINIEST <= mantissa < _HUGEST:
        # Off the ladder at either end a power of ten says more than a row of zeros.
        rounded = Context(prec=digits, Emax=MAX_EMAX, Emin=MIN_EMIN).plus(size)
        return f"{minus}{rounded.normalize(_WIDE):e} {unit}".rstrip()
    mantissa = _rounded(mantissa, digits)
    if step + 1 < len(factors) and mantissa * factors[step] >= factors[step + 1]:
        step, mantissa = step + 1, Decimal(1)  # 999.9 B rounds up to the next step: 1 kB, not 1000 B
    return f"{minus}{mantissa.normalize():f} {names[step]}".rstrip()


def positive(value: object, unit: str, what: str) -> int | float:
    """`read_quantity` for one that must be above zero; errors say `what` was wrong.

    >>> positive("45 ms", "s", "time of a step")
    0.045
    >>> positive(-1, "s", "time of a step")
    Traceback (most recent call last):
    ...
    dnnlab.errors.ExtentError: time of a step must be positive, not -1
    """
    try:
        number = read_quantity(value, unit)
    except ReadError as error:
        raise ReadError(f"{what}: {error}") from error
    if number <= 0:
        raise ExtentError(f"{what} must be positive, not {quote(value)}")
    return number


class Quantity:
    """A field of a frozen dataclass that takes a number or a text with a unit and holds a positive number.

    None stays None: unknown. As a descriptor it lets the dataclass stay a plain list of fields; the
    class needs a `name`, for the errors. A `whole` quantity is an integer.
    """

    def __init__(self, unit: str, example: object, whole: bool = False) -> None:
        self.unit, self.example, self.whole = unit, example, whole

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, instance: Any, owner: type | None = None) -> float | None:
        # Asked of the class, it answers with the default of the field.
        return None if instance is None else instance.__dict__[self.name]

    def __set__(self, instance: Any, value: float | str | None) -> None:
        what = f"{self.name} of {instance.name}"
        number = None if value is None else positive(value, self.unit, what)
        if self.whole and not isinstance(number, (int, type(None))):
            raise ExtentError(f"{what} must be a whole number, not {quote(value)}")
        instance.__dict__[self.name] = number


def bytes_of(dtype: str) -> int | float:
    """Bytes of one element of a dtype; 'fp16-acc16' is a way to compute with fp16 and as large as it.

    Raises UnknownNameError for a dtype that is not in `DTYPES`.

    >>> bytes_of("fp32"), bytes_of("fp4"), bytes_of("fp16-acc16")
    (4, 0.5, 2)
    """
    base = dtype.partition("-")[0] if isinstance(dtype, str) else dtype
    if not isinstance(base, str) or base not in DTYPES:
        raise unknown("dtype", dtype, DTYPES)
    return DTYPES[base]


def _plain(value: object, what: str) -> int | float | Fraction:
    """The value as a Python number, exactly; NumPy and SymPy numbers are accepted, symbols are not."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return value
    if isinstance(value, Rational) and not isinstance(value, bool):
        return Fraction(int(value.numerator), int(value.denominator))
    if isinstance(value, (str, bytes, bool)):
        raise ReadError(f"{what} must be a number, not {quote(value)}")
    try:
        return float(value)  # type: ignore[arg-type]  # whatever has no float raises TypeError
    except (TypeError, ValueError, OverflowError) as error:
        raise ReadError(f"{what} must be a number, not {quote(value)}") from error


def _decimal(number: int | float | Fraction) -> Decimal:
    if isinstance(number, Fraction):
        return _WIDE.divide(Decimal(number.numerator), Decimal(number.denominator))
    return Decimal(number)


def _number(exact: Fraction, given: object) -> int | float:
    if abs(exact) > _LARGEST:
        raise ReadError(f"{_short(given)} is too large a quantity: the limit is about 1.8e308")
    if exact.denominator == 1:
        return exact.numerator
    if exact and not float(exact):
        raise ReadError(f"{_short(given)} is too small a quantity: it would round to zero")
    return float(exact)


def _short(given: object) -> str:
    # Python refuses to print an integer of more than 4300 digits, so one is named by its size instead.
    bits = given.bit_length() if isinstance(given, int) else 0
    return f"an integer of {bits} bits" if bits > 1024 else quote(given)


def _rounded(value: Decimal, digits: int) -> Decimal:
    """The value to `digits` significant digits, or to an integer where that keeps more of them."""
    places = max(0, digits - 1 - value.adjusted())
    return value.quantize(Decimal(1).scaleb(-places), context=_WIDE)


@lru_cache(maxsize=64)
def _factors(unit: str) -> dict[str, Fraction]:
    """Every way to write the unit with a prefix, and what it is worth."""
    prefixes = {"": Fraction(1)} | _LARGE
    if unit.partition("/")[0] == "B":
        prefixes |= _BINARY
    if unit.partition("/")[0] in _MEASURED:
        # Both code points of the micro sign, and u where a keyboard has neither.
        prefixes |= _SMALL | {"μ": _SMALL["µ"], "u": _SMALL["µ"]}
    factors = {p + name: f for name in _SPELLINGS.get(unit, (unit,)) for p, f in prefixes.items()}
    return factors | (_TIMES if unit == "s" else {})


@lru_cache(maxsize=64)
def _ladder(unit: str, binary: bool) -> tuple[tuple[Decimal, ...], tuple[str, ...]]:
    """The steps, smallest first, that a value in this unit is shown in: their worth and their names."""
    steps = {unit: Fraction(1)}
    if unit == "s":
        steps |= _TIMES
    else:
        steps |= {p + unit: f for p, f in (_BINARY if binary else _LARGE).items()}
    if unit.partition("/")[0] in _MEASURED:
        steps |= {p + unit: f for p, f in _SMALL.items()}
    names = sorted(steps, key=lambda name: steps[name])
    return tuple(_decimal(steps[name]) for name in names), tuple(names)


def _complaint(suffix: str, unit: str) -> str:
    hint = ""
    if suffix.startswith("K") and not suffix.startswith("Ki"):
        hint = "; 'K' is ambiguous: write 'k' for 1000, 'Ki' for 1024"
    elif unit.startswith("B") and re.fullmatch(r"[kMGTPE]?i?(b|bit|bits)(/s)?", suffix):
        hint = "; a bit is an eighth of a byte: divide by 8 and write B"
    # Of an operation's many spellings one is enough to name.
    allowed = [name for name in _factors(unit) if name and (name.endswith(unit) or name in _TIMES)]
    return f"the unit {quote(suffix)} is not one of {', '.join(allowed)}{hint}"
