"""The best plan for a budget, and every trade of time against memory that a chain offers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from ..errors import DnnlabError, ExtentError, quote, unknown
from ..quantities import read_quantity
from ..tables import Table
from . import persistent
from .chains import Amount, Chain, amount
from .exact import Found, Search
from .plans import Plan

SEARCHES = ("exact", "persistent")
SHORT = 8  # stages up to which the exact search is the default
LIMIT = 12  # stages up to which it can be asked for


class Point(NamedTuple):
    """A plan, with the time it takes and the peak memory it needs."""

    time: Amount
    peak: Amount
    plan: Plan


class Front(tuple[Point, ...]):
    """Points that no other beats in both time and memory, the fastest first. `among` says among which plans:
    "exact" (all there are), "persistent" (all, or with `rounded` the best found), "given"."""

    among: str
    rounded: bool

    @classmethod
    def of(cls, chain: Chain, plans: Iterable[Found], among: str, rounded: bool = False) -> Front:
        """The points of plans that are in whole units of the chain."""
        times, sizes = chain.whole.times, chain.whole.sizes
        self = cls(Point(times.amount(found.time), sizes.amount(found.peak), found.plan) for found in plans)
        self.among, self.rounded = among, rounded
        return self

    def sentence(self) -> str:
        """What the front is, in words."""
        what = {
            "exact": "The exact front: no plan beats any of these.",
            "persistent": "The best plans that drop nothing they still need; others may be a little better.",
            "given": "The best of the plans that were given.",
        }[self.among]
        return what + (" Sizes were rounded to find them, peaks are true." if self.rounded else "")

    def table(self) -> Table:
        """A row for each point."""
        rows = [(point.time, point.peak, point.plan.extra_forwards, repr(point.plan)) for point in self]
        return Table(("time", "peak", "extra forwards", "plan"), rows, note=self.sentence())

    def _repr_html_(self) -> str:
        return self.table().html()


def best_plan(chain: Chain, budget: Amount | str, search: str | None = None, slots: int | None = None) -> Plan:
    """The plan of least time whose peak is within a memory budget (the unit is that of the chain's sizes).

    `search` "exact" looks at all plans, "persistent" at those that drop nothing they still need (Beaumont et al.
    2019), which all have nested segments; by default chains of up to 8 stages are searched exactly. `slots` is the
    resolution of the persistent search: it is exact where the budget has no more units (common divisors of the
    sizes) than that; the default is as fine as half a second or so allows, at least 500.
    Raises `ExtentError` for a budget that no plan meets; it says the least that can.

    >>> chain = Chain.equal(9, backward=2)
    >>> best_plan(chain, 7)
    Plan.nested(((0, 1, 2, 3), (4, 5, 6), 7, 8))
    >>> best_plan(chain, 4)
    Traceback (most recent call last):
    ...
    dnnlab.errors.ExtentError: no persistent plan for this chain fits into 4; the least that any can do with is 5
    """
    search = _search(chain, search, "best_plan")
    if isinstance(budget, str):
        budget = read_quantity(budget, "B")
    whole = chain.whole.sizes.count(amount(budget, "budget"))
    found = persistent.fastest(chain, whole, slots)
    if search == "exact":
        best = Search(chain).fastest(whole)
        if best is not None and (found is None or best.time < found.time):
            found = best  # plans that are as fast and nested are easier to read and to run
    if found is None:
        needed = chain.whole.sizes.amount(_least(chain, search).peak)
        kind = "persistent plan" if search == "persistent" else "plan"
        raise ExtentError(
            f"no {kind} for this chain fits into {quote(budget)}; the least that any can do with is {needed}"
        )
    return found.plan


def pareto(chain: Chain, plans: str | Iterable[Plan] | None = None, slots: int | None = None) -> Front:
    """All trades of time against memory: `(time, peak, plan)`, the fastest first, each slower one with less memory.

    `plans` "exact", "persistent", or plans of your own to choose from; by default exact for up to 8 stages, else
    persistent (the result's `among` and `rounded` say which). `slots` is as for `best_plan`.

    >>> [(time, peak) for time, peak, _ in pareto(Chain.equal(4))]
    [(8, 7), (10, 6), (13, 5)]
    >>> pareto(Chain.equal(20)).among
    'persistent'
    """
    if isinstance(chain, Chain) and isinstance(plans, Iterable) and not isinstance(plans, str):
        return Front.of(chain, persistent.undominated(persistent.measured(chain, plan) for plan in plans), "given")
    search = _search(chain, plans, "pareto")
    found = persistent.front(chain, slots)
    if search == "persistent":
        return Front.of(chain, found, search, persistent.rounds(chain, slots))
    nested = {plan[:2]: plan for plan in found}
    return Front.of(chain, (nested.get(best[:2], best) for best in Search(chain).front()), search)


def _search(chain: Chain, search: str | None, asked: str) -> str:
    if not isinstance(chain, Chain):
        raise DnnlabError(f"{asked} takes a Chain, got {quote(chain)}")
    if search is None:
        return "exact" if chain.stages <= SHORT else "persistent"
    if search not in SEARCHES:
        raise unknown("search", search, SEARCHES)
    if search == "exact" and chain.stages > LIMIT:
        raise ExtentError(
            f"the exact search takes chains of up to {LIMIT} stages, this one has {chain.stages}; ask for 'persistent'"
        )
    return search


def _least(chain: Chain, search: str) -> Found:
    """The plan that needs the least memory."""
    found = persistent.least(chain)
    if search == "exact":
        seeker = Search(chain)
        while (better := seeker.fastest(found.peak - 1)) is not None:
            found = better
    return found
