"""The kinds of questions: how an answer is read, and when it is right."""

from .choice import Choice
from .formula import Formula
from .number import Number
from .plan import Plan
from .setting import Setting
from .statement import Statement

__all__ = ["Choice", "Formula", "Number", "Plan", "Setting", "Statement"]
