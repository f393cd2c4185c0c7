"""Optimal plans: the reference's exact fronts, brute force, and laws on random chains."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_checkpointing import REFERENCE, chain_of, chains

from dnnlab import DnnlabError, zoo
from dnnlab.checkpointing import Chain, Plan, best_plan, families, pareto, persistent, simulate, store_all
from dnnlab.errors import ExtentError, UnknownNameError

Pairs = list[tuple[Any, Any]]


def pairs(front: Any) -> Pairs:
    return [(time, peak) for time, peak, _ in front]


def least_time(front: Pairs, budget: Any) -> Any:
    return min((time for time, peak in front if peak <= budget), default=None)


# -- the reference -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("entry", REFERENCE, ids=lambda entry: entry["id"])
def test_pareto_is_the_exact_front(entry: dict[str, Any]) -> None:
    chain = chain_of(entry)
    front = pareto(chain)
    assert [[time, peak] for time, peak, _ in front] == [point[:2] for point in entry["tied"]]
    assert front.among == "exact"
    for time, peak, plan in front:
        found = simulate(chain, plan)
        assert (found.time, found.peak) == (time, peak)


def test_persistent_plans_are_never_better_than_exact_ones_and_as_good_at_98_percent_of_budgets() -> None:
    same = budgets = 0
    for entry in REFERENCE:
        exact = [(time, peak) for time, peak, _ in entry["tied"]]
        ours = pairs(pareto(chain_of(entry), "persistent"))
        for budget in range(exact[-1][1], exact[0][1] + 1):
            best, found = least_time(exact, budget), least_time(ours, budget)
            assert found is None or found >= best
            same, budgets = same + (found == best), budgets + 1
    assert (same, budgets) == (1620, 1644)  # 98.5 %


@pytest.mark.parametrize("entry", REFERENCE, ids=lambda entry: entry["id"])
def test_restricted_families_have_the_reference_fronts(entry: dict[str, Any]) -> None:
    chain = chain_of(entry)
    if chain.stages < 8:  # a quarter of the time is in the rest
        assert [list(pair) for pair in pairs(pareto(chain, families.flat(chain.stages)))] == entry["flat"]
    front = pareto(chain, families.partitions(chain.stages))
    assert [list(pair) for pair in pairs(front)] == entry["segments"]
    assert front.among == "given"


# -- brute force ---------------------------------------------------------------------------------------------


def everything(chain: Chain) -> Pairs:
    """All that schedules can do, without a queue, a bound or a budget: labels (time, peak) of every state spread
    along every operation until nothing new is found."""
    stages = chain.stages
    sizes = {("x", j): chain.outputs[j] for j in range(stages + 1)}
    sizes |= {("xb", j + 1): chain.records[j] for j in range(stages)}
    sizes |= {("y", j): chain.gradients[j] for j in range(stages + 1)}

    def steps(alive: frozenset[tuple[str, int]]) -> Iterator[tuple[Any, Any, frozenset[tuple[str, int]]]]:
        held = sum(sizes[name] for name in alive)

        def there(j: int) -> bool:
            return ("x", j) in alive or ("xb", j) in alive

        for i in range(stages):
            if there(i) and not there(i + 1):
                for kind in ("x", "xb"):
                    peak = held + sizes[kind, i + 1] + chain.forward_temp[i]
                    yield chain.forward[i], peak, alive | {(kind, i + 1)}
            if there(i) and alive >= {("xb", i + 1), ("y", i + 1)}:
                peak = held + sizes["y", i] + chain.backward_temp[i]
                yield chain.backward[i], peak, (alive | {("y", i)}) - {("xb", i + 1), ("y", i + 1)}
        for j in range(1, stages + 1):
            if there(j) and ("xb", j + 1) not in alive:
                yield 0, held, alive - {("x", j), ("xb", j)}
        if there(stages) and not any(kind == "y" for kind, _ in alive):
            peak = held + sizes["y", stages] + chain.backward_temp[stages]
            yield chain.backward[stages], peak, alive | {("y", stages)}

    start = frozenset({("x", 0)})
    labels: dict[Any, set[tuple[Any, Any]]] = {start: {(0, chain.outputs[0])}}
    todo = [start]
    while todo:
        state = todo.pop()
        for seconds, peak, reached in steps(state):
            known = labels.setdefault(reached, set())
            new = {(t + seconds, max(p, peak)) for t, p in labels[state]}
            new = {(t, p) for t, p in new if not any(a <= t and b <= p for a, b in known)}
            if new:
                kept = {(a, b) for a, b in known if not any(t <= a and p <= b for t, p in new)}
                labels[reached] = kept | new
                todo.append(reached)
    ends = [pair for state, found in labels.items() if ("y", 0) in state for pair in found]
    return undominated(ends)


def undominated(found: Pairs) -> Pairs:
    front: Pairs = []
    for time, peak in sorted(found):
        if not front or peak < front[-1][1]:
            front.append((time, peak))
    return front


def all_nested(first: int, last: int, top: bool = True) -> Iterator[tuple[Any, ...]]:
    """Every nesting of the stages from first to last; inside a replay the last item is a stage."""
    if first > last:
        yield ()
        return
    for rest in all_nested(first + 1, last, top):
        yield (first, *rest)
    for end in range(first, last + (1 if top else 0)):
        for rest in all_nested(end + 1, last, top):
            for inner in all_nested(first, end, False):
                yield (inner, *rest)


@settings(max_examples=15)
@given(st.data(), st.integers(1, 3))
def test_exact_fronts_are_those_of_brute_force(data: st.DataObject, stages: int) -> None:
    chain = data.draw(chains(stages, st.integers(0, 9)))
    assert pairs(pareto(chain)) == everything(chain)


@settings(max_examples=15)
@given(st.data(), st.integers(1, 4))
def test_persistent_fronts_are_those_of_all_nested_plans(data: st.DataObject, stages: int) -> None:
    chain = data.draw(chains(stages, st.integers(0, 9)))
    found = [simulate(chain, Plan.nested(segments)) for segments in all_nested(0, stages - 1)]
    assert pairs(pareto(chain, "persistent")) == undominated([(one.time, one.peak) for one in found])


# -- laws ----------------------------------------------------------------------------------------------------


@settings(max_examples=10)
@given(st.data(), st.integers(1, 4))
def test_fractions_and_floats_are_searched_exactly(data: st.DataObject, stages: int) -> None:
    amounts = data.draw(st.sampled_from([st.fractions(0, 9, max_denominator=12), st.floats(0, 9)]))
    chain = data.draw(chains(stages, amounts))
    exact = Chain(*(tuple(map(Fraction, values)) for values in (
        chain.forward, chain.backward, chain.outputs, chain.records, chain.forward_temp, chain.backward_temp,
        chain.gradients,
    )))  # fmt: skip
    assert pairs(pareto(chain)) == [(type(a)(b), type(c)(d)) for (a, c), (b, d) in zip(
        pairs(pareto(chain)), pairs(pareto(exact)), strict=True
    )]  # fmt: skip
    for time, peak, plan in pareto(chain):
        assert (simulate(chain, plan).time, simulate(chain, plan).peak) == (time, peak)


@settings(max_examples=12)
@given(st.data(), st.sampled_from(["exact", "persistent"]), st.sampled_from([None, 3, 10]))
def test_more_memory_never_costs_time_and_no_plan_is_above_its_budget(
    data: st.DataObject, search: str, slots: int | None
) -> None:
    chain = data.draw(chains(data.draw(st.integers(1, 4 if search == "exact" else 9)), st.integers(0, 4)))
    most = simulate(chain, store_all(chain.stages))
    least = pareto(chain, search)[-1].peak
    before = None
    for budget in range(least, most.peak + 2):
        found = simulate(chain, best_plan(chain, budget, search, slots))
        assert found.peak <= budget
        assert found.time >= most.time
        # With rounded sizes the law holds among budgets of the same slot size.
        assert before is None or slots is not None or found.time <= before
        before = found.time
    assert before == most.time
    if least:
        with pytest.raises(ExtentError, match=f"the least that any can do with is {least}$"):
            best_plan(chain, least - 1, search, slots)


@settings(max_examples=5)
@given(st.data())
def test_rounded_plans_stay_within_their_budget_and_improve_with_slots(data: st.DataObject) -> None:
    chain = data.draw(chains(data.draw(st.integers(9, 11)), st.floats(0.5, 100)))
    front = pareto(chain, "persistent", slots=40)
    for time, peak, plan in front:
        assert (simulate(chain, plan).time, simulate(chain, plan).peak) == (time, peak)
    for (quick, much), (slow, little) in pairwise(pairs(front)):
        assert quick < slow
        assert much > little
    fine = pareto(chain, "persistent", slots=80)
    assert fine[-1].peak == front[-1].peak  # the least is exact in any case
    assert fine[0] == front[0]


@settings(max_examples=5)
@given(st.data())
def test_budgets_of_one_slot_size_keep_the_law(data: st.DataObject) -> None:
    chain = data.draw(chains(data.draw(st.integers(9, 16)), st.integers(50, 99)))
    least, most = persistent.least(chain).peak, simulate(chain, store_all(chain.stages)).peak
    slots = (most - chain.outputs[0]) // 7  # slots of eight units for the upper half of the budgets
    budgets = range(max(least, chain.outputs[0] + 4 * slots + 1), most, 23)
    times = [simulate(chain, best_plan(chain, budget, "persistent", slots)).time for budget in budgets]
    assert times == sorted(times, reverse=True)


@settings(max_examples=10)
@given(st.data())
def test_the_table_agrees_with_the_plans_it_gives(data: st.DataObject) -> None:
    chain = data.draw(chains(data.draw(st.integers(1, 12)), st.integers(0, 9)))
    slots = simulate(chain, store_all(chain.stages)).peak
    table = persistent.Table(chain, 1, chain.whole.sizes.count(slots))
    for m, time in enumerate(table.time[chain.stages, 0]):
        if time != float("inf"):
            plan = table.plan(m)
            found = persistent.measured(chain, plan)
            assert found.peak - chain.whole.outputs[0] <= m
            assert found.time - sum(chain.whole.backward) == time


def test_sizes_of_any_magnitude() -> None:
    forwards = simulate(Chain.equal(10), best_plan(Chain.equal(10), 8)).forwards
    for scale in (1e-12, 1, 10**25, Fraction(1, 3)):
        chain = Chain.equal(10, forward=scale, backward=scale, output=scale)
        found = simulate(chain, best_plan(chain, 8 * scale))
        assert found.forwards == forwards
        assert float(found.time) == pytest.approx(float((forwards + 10) * scale), rel=1e-12)
        assert float(found.peak) == pytest.approx(float(8 * scale), rel=1e-12)
    huge = Chain([1] * 10, [1] * 11, [10**25 + i for i in range(11)], [10**25 + 3 * i for i in range(1, 11)])
    assert simulate(huge, best_plan(huge, 8 * 10**25 + 200)).forwards == forwards


def test_real_networks_step_down() -> None:
    chain = Chain.of(zoo.resnet50(batch=1))
    most = simulate(chain, store_all(chain.stages))
    half = simulate(chain, best_plan(chain, most.peak / 2))
    assert half.peak <= most.peak / 2
    assert most.time < half.time < 1.34 * most.time  # one more forward pass at the most
    assert simulate(chain, best_plan(chain, f"{most.peak / 2e6} MB")).time == half.time


# -- what is asked ---------------------------------------------------------------------------------------------


def test_long_chains_say_that_they_are_not_searched_exactly() -> None:
    chain = Chain.equal(20)
    front = pareto(chain)
    assert (front.among, front.rounded) == ("persistent", False)
    assert "others may be a little better" in front.sentence()
    assert "exact" in pareto(Chain.equal(3)).sentence()
    assert "<table" in front._repr_html_()
    assert all(plan.segments is not None for _, _, plan in front)
    with pytest.raises(ExtentError, match="up to 12 stages, this one has 20; ask for 'persistent'"):
        pareto(chain, "exact")
    with pytest.raises(ExtentError, match="up to 12 stages"):
        best_plan(chain, 10, "exact")
    with pytest.raises(ExtentError, match="too long"):
        best_plan(Chain.equal(2001), 10)


@pytest.mark.parametrize("budget", [-1, float("nan"), float("inf"), True, None, "lots", [3]])
def test_a_budget_that_is_none_is_refused(budget: Any) -> None:
    with pytest.raises(DnnlabError):
        best_plan(Chain.equal(4), budget)


def test_what_cannot_be_asked_is_refused() -> None:
    chain = Chain.equal(4)
    with pytest.raises(UnknownNameError, match="did you mean 'exact'"):
        best_plan(chain, 9, "exakt")
    with pytest.raises(ExtentError, match="slots must be a whole number of at least 1"):
        best_plan(chain, 9, slots=0)
    for ask in (best_plan, pareto):
        with pytest.raises(DnnlabError, match="takes a Chain"):
            ask([1, 2], 9)
    assert pareto(chain, []) == ()
    assert bisect_right([peak for _, peak in reversed(pairs(pareto(chain)))], 4) == 0
