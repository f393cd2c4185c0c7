"""Exercises that check themselves: `check("2.1", answer)` says right, or wrong and why, never the answer."""

from .session import check, hint, progress, solution, student
from .verdicts import Note, Verdict

__all__ = ["Note", "Verdict", "check", "hint", "progress", "solution", "student"]
