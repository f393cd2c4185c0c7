"""Recomputation: which activations to keep for the backward pass, and which to compute again.

>>> from dnnlab.checkpointing import Chain, best_plan, simulate
>>> chain = Chain.equal(12, backward=2)
>>> plan = best_plan(chain, 9)
>>> found = simulate(chain, plan)
>>> found.time, found.peak, found.extra_time
(44, 9, 8)
"""

from . import closed_forms
from .chains import Chain
from .closed_forms import extra_forwards
from .families import binomial, every, keeping, sequential, sqrt, store_all, store_none
from .optimal import Front, Point, best_plan, pareto
from .plans import Operation, Plan
from .simulator import Simulation, Step, simulate

__all__ = [
    "Chain", "Front", "Operation", "Plan", "Point", "Simulation", "Step", "best_plan", "binomial", "closed_forms",
    "every", "extra_forwards", "keeping", "pareto", "sequential", "simulate", "sqrt", "store_all", "store_none",
]  # fmt: skip
