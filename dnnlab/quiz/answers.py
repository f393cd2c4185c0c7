"""An answer as plain data: text, numbers, and lists and mappings of them, as JSON holds it.

What is judged is what is recorded, so a verdict in the notebook and one on the record are the same. An object may do
anything when it is asked for something, so nothing is asked of it: only types that are known are read.
"""

from __future__ import annotations

import math
import sys
from fractions import Fraction
from typing import Any

from sympy import Expr

from ..errors import ReadError
from ..notation import lecture

#: An answer has at most so many characters of text or bits of a number; nobody in this course needs as many.
LONGEST = 1000
#: Text has at most so many characters, as the schedule of a long plan; all lists together so many elements.
MOST = 10 * LONGEST
DEEPEST = 40  # lists within lists


def data(answer: object) -> Any:
    """An answer as text, whole numbers, floats, true and false, and lists and mappings of them.

    Formulas and fractions become text, numbers of NumPy plain ones, sets and tuples lists. Raises ReadError for all
    else, and for what is too long.

    >>> data((1, Fraction(2, 3))), data({"k": {"b", "a"}})
    ([1, '2/3'], {'k': ['a', 'b']})
    """
    return _plain(answer, 0, [MOST])


def refuse_type(answer: object, wanted: str) -> ReadError:
    """The error for an answer of a type that is not taken here; its text is never asked for."""
    name = type.__getattribute__(type(answer), "__name__")  # a class can lie, but not to this
    return ReadError(f"expected {wanted}, not an object of type {name[:40]!r}")


def _plain(answer: object, depth: int, left: list[int]) -> Any:
    kind = type(answer)
    left[0] -= 1
    if depth > DEEPEST or left[0] < 0:
        raise ReadError(f"an answer holds at most {MOST} elements, {DEEPEST} deep; this one holds more")
    if kind is bool:
        return answer
    if kind is str:
        return _text(answer)  # type: ignore[arg-type]
    if kind is int:
        return _whole(answer)  # type: ignore[arg-type]
    if kind is float:
        return answer if math.isfinite(answer) else repr(answer)  # type: ignore[arg-type]
    if kind is Fraction:
        return f"{_whole(answer.numerator)}/{_whole(answer.denominator)}"  # type: ignore[attr-defined]
    if kind is list or kind is tuple:
        return [_plain(part, depth + 1, left) for part in answer]  # type: ignore[attr-defined]
    if kind is set or kind is frozenset:
        return sorted((_plain(part, depth + 1, left) for part in answer), key=repr)  # type: ignore[attr-defined]
    if kind is dict:
        pairs = [(_plain(name, depth + 1, left), part) for name, part in answer.items()]  # type: ignore[attr-defined]
        if all(type(name) is str for name, _ in pairs):
            return {name: _plain(part, depth + 1, left) for name, part in pairs}
        raise ReadError("the names in a mapping are text, such as {'batch': 64}")
    if issubclass(kind, Expr) and _ours(answer, left):
        return _text(lecture(answer))
    numpy = sys.modules.get("numpy")  # who has a number of NumPy has imported it
    if numpy is not None and any(kind is number for number in _numbers(numpy)):
        return _plain(answer.item(), depth, left)  # type: ignore[attr-defined]
    raise refuse_type(answer, "text, a number or a list of them")


def _text(text: str) -> str:
    if len(text) > MOST:
        raise ReadError(f"an answer has at most {MOST} characters, this one has {len(text)}")
    return text.encode("utf-8", "replace").decode("utf-8")  # half a character cannot be written to a file


def _whole(number: int) -> int:
    if number.bit_length() > LONGEST:
        raise ReadError("this number has more digits than anything in this course")
    return number


def _ours(answer: Any, left: list[int]) -> bool:
    """True for an expression all of whose parts are of classes of SymPy and the library; others may do anything."""
    todo = [answer]
    while todo:
        part = todo.pop()
        left[0] -= 1
        module = type.__getattribute__(type(part), "__module__")
        if left[0] < 0 or type(module) is not str or module.partition(".")[0] not in ("sympy", "dnnlab"):
            return False
        todo += part.args
    return True


def _numbers(numpy: Any) -> tuple[type, ...]:
    """The types of NumPy's numbers; their own subclasses are not among them."""
    return (numpy.bool_, numpy.str_, *(type(numpy.zeros((), code)[()]) for code in "bBhHiIlLqQefd"))
