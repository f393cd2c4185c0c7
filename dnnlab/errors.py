"""The one family of errors: every message names what was given, what was expected and what to do."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class DnnlabError(ValueError):
    """Root of every error the library raises on purpose."""


class ReadError(DnnlabError):
    """A statement, formula or quantity that cannot be read; the message quotes the input."""


class ExtentError(DnnlabError):
    """An extent or setting that is missing, unknown, zero, negative or not a number."""


class ShapeError(DnnlabError):
    """Tensors, or neighbouring layers of a network, whose shapes do not fit."""


class UnknownNameError(DnnlabError):
    """A device, dtype, layer or network that is not in the catalogue."""


def unknown(what: str, given: object, allowed: Iterable[str]) -> UnknownNameError:
    """The error for a name that is not in a list, with the nearest name and the whole list.

    >>> print(unknown("dtype", "fp61", ["fp16", "fp32"]))
    unknown dtype 'fp61'; did you mean 'fp16'? Known: fp16, fp32
    """
    names = list(allowed)
    nearest = get_close_matches(str(given), names, 1, 0.5)
    hint = f"; did you mean {nearest[0]!r}?" if nearest else "."
    return UnknownNameError(f"unknown {what} {quote(given)}{hint} Known: {', '.join(names)}")


def quote(given: object, limit: int = 60) -> str:
    """The input as it is quoted in a message: one line, at most `limit` characters.

    >>> quote("a" * 100, 10)
    "'aaaaaaaaa…'"
    """
    try:
        text = given if isinstance(given, str) else " ".join(repr(given).split())
    except ValueError:  # Python refuses to print an integer of more than 4300 digits
        text = f"a huge {type(given).__name__}"
    short = text if len(text) <= limit else text[: limit - 1] + "…"
    return repr(short) if isinstance(given, str) else short
