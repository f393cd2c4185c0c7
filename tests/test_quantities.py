"""Quantities: read against Decimal arithmetic, shown against Python's own correctly rounded formats."""

# ruff: noqa: RUF009 - a Quantity is a descriptor, so one for the whole class is what is meant.

from __future__ import annotations

import random
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

import numpy
import pytest
import sympy
from hypothesis import assume, given
from hypothesis import strategies as st

from dnnlab.errors import DnnlabError, ExtentError, ReadError, UnknownNameError
from dnnlab.quantities import DTYPES, Quantity, bytes_of, positive, read_quantity, show

LARGE = {"": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
SMALL = {"m": -3, "µ": -6, "μ": -6, "u": -6, "n": -9, "p": -12}
numbers = st.from_regex(r"[0-9]{1,12}(\.[0-9]{1,9})?(e[+-]?[0-9]{1,2})?", fullmatch=True)
finite = st.floats(allow_nan=False, allow_infinity=False)


def exact(value: Fraction) -> int | float:
    return value.numerator if value.denominator == 1 else float(value)


@given(
    numbers, st.sampled_from(list(LARGE)), st.sampled_from(["B", "B/s", "OP/s", "", "op/B"]), st.booleans()
)
def test_a_large_prefix_is_a_power_of_ten(number: str, prefix: str, unit: str, spaced: bool) -> None:
    text = number + " " * spaced + prefix + unit
    want = exact(Fraction(Decimal(number)) * 10 ** LARGE[prefix])
    got = read_quantity(text, unit)
    assert (got, type(got)) == (want, type(want))


@given(numbers, st.sampled_from([*LARGE, *SMALL]), st.sampled_from(["s", "J", "W", "J/B"]))
def test_a_small_prefix_is_a_negative_power_of_ten(number: str, prefix: str, unit: str) -> None:
    power = (LARGE | SMALL)[prefix]
    want = exact(Fraction(Decimal(number)) * Fraction(10) ** power)
    assert read_quantity(f"{number} {prefix}{unit}", unit) == want


@given(numbers, st.integers(1, 6))
def test_a_binary_prefix_is_a_power_of_1024(number: str, step: int) -> None:
    text = f"{number} {'KMGTPE'[step - 1]}iB"
    assert read_quantity(text, "B") == exact(Fraction(Decimal(number)) * 2 ** (10 * step))


def test_known_quantities() -> None:
    assert read_quantity("192 KiB", "B") == 192 * 1024
    assert read_quantity("3.35 TB/s", "B/s") == 3_350_000_000_000
    assert (
        read_quantity("989.4 TFLOP/s", "op/s") == read_quantity("989.4 TOPS", "FLOP/s") == 989_400_000_000_000
    )
    assert read_quantity("45 ms", "s") == 0.045
    assert read_quantity("3.7 pJ", "J") == 3.7e-12
    assert read_quantity("1.5 h", "s") == 5400
    assert read_quantity("80 GB", "B") != read_quantity("80 GiB", "B")
    assert read_quantity(80e9, "B") == 80_000_000_000 and isinstance(read_quantity(80e9, "B"), int)
    assert read_quantity(numpy.float32(2.5), "s") == 2.5
    assert read_quantity(numpy.int64(7), "B") == read_quantity(sympy.Integer(7), "B") == 7
    assert read_quantity(sympy.Rational(3, 2), "B") == 1.5


@pytest.mark.parametrize(
    ("text", "unit", "says"),
    [
        ("192 KB", "B", "write 'k' for 1000, 'Ki' for 1024"),
        ("80 Gb", "B", "a bit is an eighth of a byte"),
        ("100 Gbit/s", "B/s", "a bit is an eighth of a byte"),
        ("5 mB", "B", "the unit 'mB' is not one of B, kB, MB"),
        ("3 TB/s", "OP/s", "OP/s, kOP/s, MOP/s"),
        ("4 GiFLOP/s", "OP/s", "'GiFLOP/s'"),
        ("3 x", "s", "min, h, d"),
        ("1,000 B", "B", "write a number and a unit, such as '80 GB'"),
        ("1_000", "", "write a number and a unit"),
        ("", "B", "cannot read ''"),
        ("GB", "B", "cannot read 'GB'"),
        ("nan", "s", "cannot read 'nan'"),
        ("0x10", "", "'x10'"),
        ("__import__('os')", "B", "cannot read"),
        ("9" * 65, "B", "at most 64 characters"),
        pytest.param("1" * 10**6, "B", "at most 64 characters", id="a million digits"),
        ("1e999", "B", "too large"),
        ("1e-999 s", "s", "too small"),
        (float("inf"), "B", "must be finite"),
        (float("nan"), "B", "must be finite"),
        pytest.param(10**5000, "B", "an integer of 16610 bits is too large", id="huge"),
        (None, "B", "must be a number, not None"),
        (True, "B", "must be a number, not True"),
        (1j, "", "must be a number"),
        (sympy.Symbol("k"), "B", "must be a number, not k"),
    ],
)
def test_what_cannot_be_read_is_quoted_and_explained(text: object, unit: str, says: str) -> None:
    with pytest.raises(ReadError) as error:
        read_quantity(text, unit)
    assert says in str(error.value)
    assert len(str(error.value)) < 400


@given(st.text(max_size=80), st.sampled_from(["B", "s", "OP/s", ""]))
def test_any_text_reads_or_raises_a_read_error(text: str, unit: str) -> None:
    try:
        assert isinstance(read_quantity(text, unit), (int, float))
    except ReadError as error:
        assert "cannot read" in str(error) or "quantity" in str(error)


def test_ten_thousand_near_misses() -> None:
    source, pieces = random.Random(2), [*"0123456789.eE+- kMGTPimµuBs/OFL()*_,;\n", "GB", "1e9", "**", "٣"]
    read = 0
    for _ in range(10_000):
        try:
            read_quantity("".join(source.choices(pieces, k=source.randrange(12))), "B")
            read += 1
        except ReadError:
            pass
    assert 0 < read < 10_000


@given(finite | st.integers(-(10**25), 10**25))
def test_three_digits_as_python_rounds_them(value: float) -> None:
    assume(not 999e18 < abs(value) < 1e22)  # where E is the last prefix, whole numbers of it are kept
    # Python rounds the exact value half to even, and so must a decimal prefix, which only moves the point.
    want = Fraction(Decimal(f"{Decimal(value):.2e}"))
    mantissa, _, prefix = show(value, "").partition(" ")
    assert Fraction(Decimal(mantissa)) * 10 ** LARGE[prefix] == want


@given(
    st.floats(1e-12, 1e18), st.sampled_from(["B", "B/s", "OP/s", "s", "J", ""]), st.booleans(), st.booleans()
)
def test_what_is_shown_reads_back(value: float, unit: str, binary: bool, negative: bool) -> None:
    value = -value if negative else value
    text = show(value, unit, binary=binary and unit == "B")
    assert abs(read_quantity(text, unit) - value) <= 0.005 * abs(value) * (1 + 1e-12)
    # One mantissa of at most four digits (1023 KiB), never 1000 of a unit that has a next one.
    mantissa = text.split()[0].lstrip("-")
    assert len(mantissa) <= 8
    assert "e" in mantissa or float(mantissa) < (1024 if binary else 1000) or unit == "s"


@pytest.mark.parametrize(
    ("value", "unit", "binary", "text"),
    [
        (999.4, "B", False, "999 B"),
        (999.5, "B", False, "1 kB"),
        (999_999, "B", False, "1 MB"),
        (1023, "B", True, "1023 B"),
        (1023.6, "B", True, "1 KiB"),
        (1023 * 1024, "B", True, "1023 KiB"),
        (59.96, "s", False, "1 min"),
        (3599.9, "s", False, "1 h"),
        (86400 * 5, "s", False, "5 d"),
        (0, "s", False, "0 s"),
        (-0.0, "B", False, "0 B"),
        (0.25, "op/B", False, "0.25 op/B"),
        (1e-9, "op/B", False, "1e-9 op/B"),
        (1e-15, "J", False, "0.001 pJ"),
        (1e24, "B", False, "1e+24 B"),
        pytest.param(10**5000, "", False, "1e+5000", id="huge"),
        (float("inf"), "s", False, "∞ s"),
        (float("-inf"), "s", False, "-∞ s"),
        (float("nan"), "s", False, "undefined s"),
        (25_557_032, "", False, "25.6 M"),
        (12, "", False, "12"),
        (numpy.float32(0.5), "s", False, "500 ms"),
        (sympy.Integer(10) ** 12, "B", False, "1 TB"),
        (Fraction(1, 3), "s", False, "333 ms"),
    ],
)
def test_boundaries(value: object, unit: str, binary: bool, text: str) -> None:
    assert show(value, unit, binary=binary) == text


@pytest.mark.parametrize("value", ["3", None, True, sympy.Symbol("k"), [1], 1j])
def test_only_numbers_are_shown(value: object) -> None:
    with pytest.raises(ReadError, match="must be a number"):
        show(value, "B")


def test_digits_have_limits() -> None:
    assert show(123_456, "B", digits=5) == "123.46 kB"
    with pytest.raises(ReadError, match="between 1 and 15"):
        show(1, "B", digits=0)


@pytest.mark.parametrize("dtype", DTYPES)
def test_bytes_are_the_digits_of_the_name(dtype: str) -> None:
    digits = "".join(c for c in dtype if c.isdigit())
    bits = {"tf32": 32, "bool": 8}.get(dtype) or int(digits)
    assert bytes_of(dtype) == bytes_of(f"{dtype}-acc16") == bits / 8


@pytest.mark.parametrize("dtype", ["fp61", "", "-fp16", "FP16", None, 16, ["fp16"]])
def test_an_unknown_dtype_is_named_beside_those_known(dtype: object) -> None:
    with pytest.raises(UnknownNameError, match=r"unknown dtype .*fp64, fp32, tf32, fp16"):
        bytes_of(dtype)  # type: ignore[arg-type]  # on purpose


@dataclass(frozen=True)
class Thing:
    name: str
    size: Quantity = Quantity("B", "1 GB")
    parts: Quantity = Quantity("", 3, whole=True)


def test_a_quantity_field_reads_what_it_is_given() -> None:
    assert Thing("a", "2 kB") == Thing("a", 2000) and hash(Thing("a", "2 kB")) == hash(Thing("a", 2000))
    assert Thing("a").size is None and Thing("a", parts=3.0).parts == 3
    with pytest.raises(AttributeError):
        Thing("a").size = 3  # type: ignore[misc]  # frozen, on purpose


@given(finite | st.text(max_size=10))
def test_a_quantity_field_is_positive_or_an_error(given_: float | str) -> None:
    try:
        size = Thing("thing", given_).size
    except (ReadError, ExtentError) as error:
        assert str(error).startswith("size of thing")
    else:
        assert size is not None and size > 0


def test_errors_of_quantities_say_what_was_wrong() -> None:
    with pytest.raises(ExtentError, match="time must be positive, not '-3 s'"):
        positive("-3 s", "s", "time")
    with pytest.raises(ReadError, match="time: cannot read 'soon'"):
        positive("soon", "s", "time")
    with pytest.raises(ExtentError, match=r"parts of a must be a whole number, not 2.5"):
        Thing("a", parts=2.5)
    assert issubclass(ReadError, DnnlabError)
