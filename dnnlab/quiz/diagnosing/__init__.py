"""What is likely to be wrong with a wrong formula or number: general rules, no word about any question."""

from .formulas import diagnose
from .numbers import diagnose_number

__all__ = ["diagnose", "diagnose_number"]
