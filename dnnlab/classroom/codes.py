"""Personal codes of a class: from its secret and a name, always the same one, and no way back.

A code makes a student's numbers. In grading it is worked out again, so whoever copies answers with numbers, or a
notebook with its code, has another's numbers.
"""

from __future__ import annotations

import csv
import hmac
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import DnnlabError, quote
from ..quiz.session import folded

ALPHABET = "23456789abcdefghjkmnpqrstvwxyz"  # without what looks alike, and without u, against words
LENGTH = 6
LEAST = 16  # bytes of a secret
COLUMNS = ("student", "name", "id")
_EXPECTED = "a roster is a CSV file whose first line names its columns; one of them is 'student', 'name' or 'id'"


@dataclass(frozen=True)
class Roster:
    """Who takes part: the columns of the file, its rows, and the names, those that grading knows students by."""

    columns: tuple[str, ...]
    rows: tuple[Mapping[str, str], ...]
    names: tuple[str, ...]


def code(secret: bytes, name: str) -> str:
    """The personal code of a student.

    >>> code(b"a secret of this example", "Ada Lovelace") == code(b"a secret of this example", " ada  lovelace")
    True
    """
    number = int.from_bytes(_digest(secret, f"student/{folded(name)}"), "big")
    letters = []
    for _ in range(LENGTH):
        number, place = divmod(number, len(ALPHABET))
        letters.append(ALPHABET[place])
    return "".join(letters)


def key(secret: bytes) -> str:
    """What varies the points where formulas are compared; nobody outside can work it out."""
    return _digest(secret, "points").hex()


def _digest(secret: bytes, text: str) -> bytes:
    return hmac.digest(secret, text.encode("utf-8", "surrogatepass"), "sha256")


def read_secret(path: Path) -> bytes:
    """The secret of a class. Raises DnnlabError where there is none, or it is too short to be one."""
    try:
        secret = path.read_bytes().strip()
    except OSError as error:
        told = f"the secret {quote(str(path))} cannot be read: {error.strerror}"
        raise DnnlabError(f"{told}; `dnnlab codes ROSTER.csv --secret FILE` makes one") from None
    if len(secret) < LEAST:
        raise DnnlabError(f"the secret in {quote(str(path))} has {len(secret)} bytes; it needs at least {LEAST}")
    return secret


def make_secret(path: Path) -> bool:
    """Write a new secret that only its owner can read; False, and nothing is touched, where there is a file already."""
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_hex(32) + "\n")
    except FileExistsError:
        return False
    except OSError as error:
        raise DnnlabError(f"the secret {quote(str(path))} cannot be written: {error.strerror}") from None
    return True


def read_roster(path: Path) -> Roster:
    """The students of a class, from a CSV file with commas, semicolons or tabs.

    Raises DnnlabError where it cannot be read, names no students, or one of them twice.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise DnnlabError(f"the roster {quote(str(path))} cannot be read: {reason}") from None
    head = text.partition("\n")[0]
    reader = csv.DictReader(text.splitlines(), delimiter=max(",;\t", key=head.count), restkey="", restval="")
    columns = tuple(reader.fieldnames or ())
    by_name = {folded(column): column for column in columns}
    column = next((by_name[name] for name in COLUMNS if name in by_name), None)
    if column is None:
        raise DnnlabError(f"{quote(str(path))} begins with {quote(head)}; {_EXPECTED}")
    rows = tuple({name: row[name] for name in columns} for row in reader if row[column].strip())
    names = tuple(" ".join(row[column].split()) for row in rows)
    if not names:
        raise DnnlabError(f"{quote(str(path))} names no student; {_EXPECTED}")
    seen: set[str] = set()
    for name in names:
        if folded(name) in seen:
            raise DnnlabError(f"{quote(str(path))} names {quote(name)} twice; each student needs a name of their own")
        seen.add(folded(name))
    return Roster(columns, rows, names)
