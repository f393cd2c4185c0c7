"""Plans, chains and the simulator, held against reference schedules, a second simulator, and rules by pencil."""

from __future__ import annotations

import json
import math
from fractions import Fraction
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnnlab import DnnlabError, device, zoo
from dnnlab.checkpointing import (
    Chain,
    Operation,
    Plan,
    binomial,
    closed_forms,
    every,
    extra_forwards,
    families,
    keeping,
    sequential,
    simulate,
    sqrt,
    store_all,
    store_none,
)
from dnnlab.checkpointing.cutting import stages_of
from dnnlab.errors import ExtentError, ReadError

REFERENCE = json.loads((Path(__file__).parent / "data" / "checkpointing_fronts.json").read_text())["chains"]
LISTS = ("forward", "backward", "outputs", "records", "forward_temp", "backward_temp")


def chain_of(entry: dict[str, Any]) -> Chain:
    return Chain(**{name: entry[name] for name in LISTS})


@st.composite
def chains(draw: st.DrawFn, stages: int, amounts: Any) -> Chain:
    n = stages

    def some(count: int) -> list[Any]:
        return draw(st.lists(amounts, min_size=count, max_size=count))

    outputs = some(n + 1)
    return Chain(
        some(n), some(n + 1), outputs, [x + more for x, more in zip(outputs[1:], some(n), strict=True)],
        some(n), some(n + 1), draw(st.sampled_from([outputs, [0] * (n + 1)])),
    )  # fmt: skip


@st.composite
def nests(draw: st.DrawFn, most: int = 9) -> tuple[Any, ...]:
    """Nested segments of up to `most` stages: some of a flat row wrapped, again and again."""
    items: list[Any] = list(range(draw(st.integers(1, most))))
    for _ in range(draw(st.integers(0, 4))):
        a, b = sorted((draw(st.integers(0, len(items))), draw(st.integers(0, len(items)))))
        items[a:b] = [tuple(items[a:b])] if a < b else []
    return tuple(items)


def witness(chain: Chain, plan: Plan) -> tuple[Any, Any]:
    """A second simulator, written straight from the rules: a set of what is alive, summed anew at every step."""
    size = {("x", j): value for j, value in enumerate(chain.outputs)}
    size |= {("y", j): value for j, value in enumerate(chain.gradients)}
    size |= {("xb", j + 1): value for j, value in enumerate(chain.records)}
    alive, time, peak = {("x", 0)}, Fraction(0), Fraction(chain.outputs[0])
    for kind, stage in plan.operations:
        i = chain.stages if stage is None else stage
        more: Any = 0
        if kind != "D":
            assert ("x", i) in alive or ("xb", i) in alive
        if kind == "Fc":
            alive |= {("x", i + 1)}
            time, more = time + Fraction(chain.forward[i]), chain.forward_temp[i]
        elif kind == "Fe":
            alive |= {("xb", i + 1)}
            time, more = time + Fraction(chain.forward[i]), chain.forward_temp[i]
        elif kind == "D":
            assert i > 0
            assert ("xb", i + 1) not in alive
            assert alive & {("x", i), ("xb", i)}
            alive -= {("x", i), ("xb", i)}
        else:
            if kind == "B":
                assert alive >= {("xb", i + 1), ("y", i + 1)}
            alive |= {("y", i)}
            time, more = time + Fraction(chain.backward[i]), chain.backward_temp[i]
        peak = max(peak, sum((Fraction(size[name]) for name in alive), Fraction(more)))
        if kind == "B":
            alive -= {("xb", i + 1), ("y", i + 1)}
    assert ("y", 0) in alive
    return time, peak


# -- the simulator -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("entry", REFERENCE, ids=lambda entry: entry["id"])
def test_every_reference_schedule_simulates_to_its_time_and_peak(entry: dict[str, Any]) -> None:
    chain = chain_of(entry)
    for time, peak, schedule in entry["tied"] + entry["transient"]:
        plan = Plan.read(schedule)
        found = simulate(chain, plan)
        assert (found.time, found.peak) == (time, peak)
        assert plan.text == schedule
        assert found.forwards == schedule.count("F")
        assert witness(chain, plan) == (time, peak)


@given(st.data())
def test_the_two_simulators_agree(data: st.DataObject) -> None:
    plan = Plan.nested(data.draw(nests()))
    amounts = data.draw(st.sampled_from([st.integers(0, 9), st.floats(0, 9), st.fractions(0, 9, max_denominator=7)]))
    chain = data.draw(chains(plan.stages, amounts))
    found = simulate(chain, plan)
    time, peak = witness(chain, plan)
    assert (Fraction(found.time), Fraction(found.peak)) == (time, peak) or (found.time, found.peak) == (
        float(time),
        float(peak),
    )


@given(nests())
def test_a_trace_adds_up(segments: tuple[Any, ...]) -> None:
    plan = Plan.nested(segments)
    chain = Chain.equal(plan.stages, forward=2, backward=3, output=2, record=5, loss=1)
    found = simulate(chain, plan)
    sizes = {"x": 2, "xb": 5, "y": 2}
    assert [step.operation for step in found.trace] == list(plan.operations)
    assert (found.trace[0].start, found.trace[-1].end) == (0, found.time)
    assert found.peak == max(step.during for step in found.trace)
    assert found.extra_time == 2 * plan.extra_forwards
    for step, following in zip(found.trace, found.trace[1:], strict=False):
        assert (step.end, step.after) == (following.start, following.before)
    for step in found.trace:
        assert step.after == sum(sizes[name.rstrip("0123456789")] for name in step.alive)
        assert step.during >= max(step.before, step.after) or step.operation.kind == "D"
    assert found.trace[-1].alive == ("x0", "y0")  # nothing is left behind
    assert found.table().rows[0][0] == str(plan.operations[0])
    assert "<table" in found._repr_html_()


INVALID = {
    "Fc1 Fe0 L": "operation 0 of the plan, Fc1, cannot run: it needs x1, the output of stage 0",
    "Fc0 D0": "operation 1 of the plan, D0, cannot run: x0, the chain's input, always stays",
    "Fe0 Fe1 D1": "xb2, the record of stage 1, holds on to its input x1; run B1 or D2 first",
    "Fe0 Fe1 L D3": "chain of 2 stages has D0 to D2",
    "Fe0 D1 D1": "operation 2 of the plan, D1, cannot run: x1 is not alive",
    "Fe0 Fe0": "operation 1 of the plan, Fe0, cannot run: x1 is alive already; run D1 before it",
    "Fe0 L": "operation 1 of the plan, L, cannot run: it needs x2, the output of stage 1",
    "Fe0 Fe1 B1": "it needs y2, the gradient that L makes",
    "Fe0 Fe1 L B0": "it needs y1, the gradient that B1 makes",
    "Fe0 Fc1 L B1": "it needs xb2, the record of stage 1, which is not alive; run Fe1 before it",
    "Fe0 Fe1 L L": "the loss has run already",
    "Fe0 Fe1": "the plan ends after 2 operations without L",
    "Fe0 Fe1 L B1": "the plan ends after 4 operations without B0",
}


@pytest.mark.parametrize("schedule", INVALID)
def test_an_invalid_schedule_says_which_operation_misses_what(schedule: str) -> None:
    with pytest.raises(DnnlabError) as error:
        simulate(Chain.equal(2), Plan.read(schedule, 2))
    assert INVALID[schedule] in str(error.value)


def test_a_plan_for_another_chain_is_refused() -> None:
    with pytest.raises(DnnlabError, match="the plan is for 3 stages, the chain has 2"):
        simulate(Chain.equal(2), store_all(3))
    with pytest.raises(DnnlabError, match="simulate takes a chain and a plan"):
        simulate(Chain.equal(2), 3)  # type: ignore[arg-type]
    with pytest.raises(DnnlabError, match="a chain of 2 stages has"):
        simulate(Chain.equal(2), "Fe0 Fe1 Fe2 L B2 B1 B0")


def test_a_schedule_may_be_given_as_text() -> None:
    text = "Fc0 Fc1 D1 Fe2 L B2 D2 Fe0 Fe1 B1 B0"
    assert simulate(Chain.equal(3), text) == simulate(Chain.equal(3), Plan.read(text))


# -- plans ---------------------------------------------------------------------------------------------------


@given(nests())
def test_text_and_nested_segments_are_the_same_plan(segments: tuple[Any, ...]) -> None:
    plan = Plan.nested(segments)
    read = Plan.read(plan.text)
    assert read == plan
    assert hash(read) == hash(plan)
    assert read.segments is not None
    assert Plan.nested(read.segments) == plan
    assert eval(repr(plan), {"Plan": Plan}) == plan
    assert repr(Plan.nested(list(segments))) == repr(plan)
    assert Plan.read(plan.operations) == plan == Plan.read([tuple(op) for op in plan.operations])
    lines = plan.picture().splitlines()
    assert lines[0].split() == ["stage", *map(str, range(plan.stages))]
    assert plan.forwards == plan.stages + plan.extra_forwards


def test_a_trailing_tuple_of_a_replay_is_entered_at_once() -> None:
    """As PyTorch stops a recomputation early; at the top level the whole forward pass runs, up to the loss."""
    assert Plan.nested(((0, 1, (2, 3)), 4)).text == "Fc0 Fc1 D1 Fc2 D2 Fc3 D3 Fe4 L B4 D4 Fe0 Fe1 Fe2 Fe3 B3 B2 B1 B0"
    assert Plan.nested((0, (1, 2))).text == "Fe0 Fc1 Fc2 D2 L D3 Fe1 Fe2 B2 B1 B0"


def test_a_plan_that_drops_what_it_still_needs_has_no_nested_form() -> None:
    plan = Plan.read("Fc0 Fc1 Fc2 D2 Fe3 L B3 D3 Fc1 D1 Fe2 B2 D2 Fe0 Fe1 B1 B0")
    assert simulate(Chain.equal(4), plan).forwards == 8
    assert plan.segments is None
    assert repr(plan) == f"Plan.read({plan.text!r}, 4)"
    assert plan.text in plan._repr_html_()


def test_plans_nest_deeply() -> None:
    plan = store_none(200)
    assert Plan.read(plan.text).segments == plan.segments
    assert repr(plan).count("(") == 201


@pytest.mark.parametrize(
    "wrong", ["", "Fx0", "Fe", "L0", "Fe-1", "Fe0,Fe1", 3, [("Fe", 1.5)], [("Fe", True)], [None], "L", "D1"]
)
def test_what_is_no_schedule_is_refused(wrong: Any) -> None:
    with pytest.raises(ReadError, match="expected"):
        Plan.read(wrong)


@pytest.mark.parametrize("wrong", [(), ((),), (1, 0), (0, 2), (0, 0), (0, True), (0, "1"), "01", 5, (0, (1, None))])
def test_what_is_no_nesting_is_refused(wrong: Any) -> None:
    with pytest.raises(DnnlabError, match="expected"):
        Plan.nested(wrong)


def test_a_nesting_that_contains_itself_is_refused() -> None:
    loop: list[Any] = [0]
    loop.append(loop)
    with pytest.raises(DnnlabError, match="contain themselves"):
        Plan.nested(loop)


def test_operations_out_of_range_are_refused() -> None:
    with pytest.raises(DnnlabError, match="operation 1 of the plan is Fe7, but a chain of 2 stages has Fe0 to Fe1"):
        Plan(2, (Operation("Fe", 0), Operation("Fe", 7)))
    with pytest.raises(DnnlabError, match="at least 1"):
        Plan(0, ())


# -- chains --------------------------------------------------------------------------------------------------

GOOD: dict[str, Any] = {"forward": [1, 2], "backward": [1, 2, 3], "outputs": [1, 2, 3], "records": [2, 3]}
BAD = {
    "forward is empty": {"forward": []},
    "backward needs 3 values (one for each stage and the loss); it has 2": {"backward": [1, 2]},
    "outputs needs 3 values (one for each stage and one for the chain's input); it has 4": {"outputs": [1, 2, 3, 4]},
    "records needs 2 values (one for each stage); it has 3": {"records": [2, 3, 4]},
    "forward_temp needs 2 values": {"forward_temp": [0]},
    "backward_temp needs 3 values": {"backward_temp": [0, 0]},
    "gradients needs 3 values": {"gradients": [0, 0]},
    "names needs 2 values": {"names": ["one"]},
    "forward[1] must not be negative, but it is -2": {"forward": [1, -2]},
    "outputs[0]: a quantity must be finite, not nan": {"outputs": [math.nan, 2, 3]},
    "records[1]: a quantity must be finite, not inf": {"records": [2, math.inf]},
    "forward[0]: a quantity must be a number, not True": {"forward": [True, 2]},
    "forward[0]: a quantity must be a number, not None": {"forward": [None, 2]},
    "outputs[2] = 1e+31 is too large": {"outputs": [1, 2, 1e31]},
    "records[0] = 1 is smaller than outputs[1] = 2": {"records": [1, 3]},
    "records must be a list": {"records": 5},
    "outputs must be a list": {"outputs": "123"},
}


@pytest.mark.parametrize("message", BAD)
def test_a_chain_that_is_none_says_what_is_wrong(message: str) -> None:
    with pytest.raises(DnnlabError) as error:
        Chain(**GOOD | BAD[message])
    assert message in str(error.value)


def test_a_good_chain_shows_itself() -> None:
    chain = Chain(**GOOD)
    assert (chain.stages, chain.time, chain.gradients, chain.forward_temp) == (2, 9, (1, 2, 3), (0, 0))
    assert eval(repr(chain), {"Chain": Chain}) == chain
    assert [row[0] for row in chain.table().rows] == ["0", "1", "loss"]
    assert simulate(Chain(**GOOD | {"gradients": [0, 0, 0]}), store_all(2)).peak == 6
    for wrong in (0, -1, 1.5, True, None, "3"):
        with pytest.raises(ExtentError, match="stages must be a whole number of at least 1"):
            Chain.equal(wrong)  # type: ignore[arg-type]


def test_times_add_up_exactly() -> None:
    tenth = Chain.equal(10, forward=0.1, backward=Fraction(1, 3))
    assert tenth.forward_time == pytest.approx(1.0, abs=0)
    assert Chain.equal(3, forward=Fraction(1, 3)).forward_time == 1


# -- families and their closed forms -------------------------------------------------------------------------


def cost(plan: Plan) -> tuple[Any, Any, Any]:
    """Forwards, what is kept at the loss, and peak of a plan for equal stages."""
    found = simulate(Chain.equal(plan.stages), plan)
    saved = next(step.before for step in found.trace if step.operation.kind == "L")
    return found.forwards, saved, found.peak


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 12))
def test_closed_forms_are_what_the_simulator_finds(n: int, k: int, slots: int) -> None:
    k = min(k, n)
    assert closed_forms.store_all(n) == cost(store_all(n))
    assert closed_forms.store_none(n) == cost(store_none(n))
    assert closed_forms.sequential(n, k) == cost(sequential(n, k))
    assert closed_forms.binomial(n, slots) == cost(binomial(n, slots))


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 8))
def test_symbolic_closed_forms_are_the_numbers(n: int, k: int, slots: int) -> None:
    k = min(k, n)
    values = {"n": n, "k": k, "c": slots, "r": closed_forms.repeats(n, slots)}
    forms = {"store_all": (n,), "store_none": (n,), "sequential": (n, k), "binomial": (n, slots)}
    for form, arguments in forms.items():
        symbolic = getattr(closed_forms, form)()
        bound = [part.subs({s: values[str(s)] for s in part.free_symbols}) for part in symbolic]
        assert tuple(bound) == getattr(closed_forms, form)(*arguments)


def test_sequential_is_what_pytorch_was_measured_to_save() -> None:
    assert [cost(sequential(12, k)) for k in range(1, 7)] == [
        (12, 13, 15), (18, 8, 10), (20, 7, 9), (21, 7, 9), (20, 9, 11), (22, 8, 10),
    ]  # fmt: skip
    assert sequential(7, 7).segments == ((0,), (1,), (2,), (3,), (4,), (5,), 6)


@given(st.integers(1, 24))
def test_sqrt_is_the_best_number_of_segments(n: int) -> None:
    best = cost(sqrt(n))[2]
    assert best == min(cost(sequential(n, k))[2] for k in range(1, n + 1))
    assert best >= closed_forms.sqrt(n)[1]  # k there need not be whole
    assert cost(sqrt(n * n))[2] == 2 * n + 2 == closed_forms.sqrt(n * n)[1]


def least_extra(longest: int, slots: int) -> list[list[int]]:
    """Extra forwards by dynamic programming over where the next tensor is kept: rows by slots, columns by length."""
    table = [[0, 0] + [10**12] * (longest - 1)]
    for c in range(1, slots + 1):
        row = [0, 0]
        for n in range(2, longest + 1):
            row.append(min(k + row[k] + table[c - 1][n - k] for k in range(1, n)))
        table.append(row)
    return table


def test_extra_forwards_are_those_of_the_dynamic_programme() -> None:
    table = least_extra(200, 6)
    for slots in range(1, 7):
        for n in range(1, 201):
            assert extra_forwards(n, slots) == table[slots][n]


@given(st.integers(1, 1000), st.integers(2, 40))
def test_binomial_plans_take_as_many_forwards_as_their_closed_form(n: int, slots: int) -> None:
    plan = binomial(n, slots)
    assert plan.extra_forwards == extra_forwards(n, slots)
    kept = most = 1
    for kind, stage in plan.operations:
        kept += (kind in ("Fc", "Fe")) - (kind == "D" or (kind == "B" and stage is not None))
        most = max(most, kept)
    assert most <= slots + 2  # beside the slots, the running stage's input and its output or record


def test_extra_forwards_reach_far() -> None:
    assert extra_forwards(10**9, 1) == 10**9 * (10**9 - 1) // 2
    assert extra_forwards(1, 5) == 0
    assert extra_forwards(6, 10**6) == 5
    for n, slots in ((0, 1), (5, 0), (2.5, 1), (5, True)):
        with pytest.raises(ExtentError, match="whole number of at least 1"):
            extra_forwards(n, slots)  # type: ignore[arg-type]


def test_every_and_keeping() -> None:
    assert every(7, 3) == keeping(7, [3, 6]) == Plan.nested(((0, 1, 2), (3, 4, 5), 6))
    assert every(6, 9) == keeping(6, []) == store_all(6)
    assert keeping(5, [4, 2, 2]).segments == ((0, 1), (2, 3), 4)
    for wrong in (lambda: every(5, 0), lambda: sequential(5, 6), lambda: keeping(5, [5]), lambda: keeping(5, [0])):
        with pytest.raises(ExtentError):
            wrong()


@given(st.integers(1, 7))
def test_restricted_families_are_complete(n: int) -> None:
    partitions = {plan.text for plan in families.partitions(n)}
    flat = {plan.text for plan in families.flat(n)}
    assert len(partitions) == 2 ** (n - 1)
    assert len(flat) == list(accumulate(range(2 * n), lambda ab, _: (ab[1], ab[0] + ab[1]), initial=(0, 1)))[2 * n][1]
    assert partitions <= flat


# -- chains of networks --------------------------------------------------------------------------------------

NETWORKS = [zoo.alexnet(batch=2), zoo.resnet18(batch=1), zoo.mobilenet_v2(batch=1), zoo.gpt2_small(batch=1, length=16)]


@pytest.mark.parametrize("net", NETWORKS, ids=lambda net: net.name)
def test_a_network_as_a_chain_loses_nothing(net: Any) -> None:
    chain, stages = Chain.of(net), stages_of(net)
    assert [node.name for stage in stages for node in stage] == [node.name for node in net.layers]
    assert chain.forward_time == net.ops
    assert sum(chain.backward) == sum(row.backward_ops for row in net.rows())
    for before, stage in enumerate(stages[1:]):
        outside = {edge for node in stage for edge in node.inputs} - {node.name for node in stage}
        assert outside == {stages[before][-1].name}
    # What is kept in all is what the network keeps, and outputs at the cuts that no layer asks for.
    saved = net.saved_bytes()
    assert saved <= sum(chain.records) <= saved + sum(chain.outputs[1:])


def test_residual_blocks_are_stages() -> None:
    net = zoo.resnet18(batch=1)
    chain = Chain.of(net)
    blocks = [f"layer{i}.{j}" for i in (1, 2, 3, 4) for j in (0, 1)]
    assert [name for name in chain.names if name.startswith("layer")] == blocks
    assert sum(chain.records) == net.saved_bytes() + chain.outputs[-1]
    assert simulate(chain, store_all(chain.stages)).forwards == chain.stages


def test_a_chain_on_a_device_has_seconds() -> None:
    net = zoo.resnet18(batch=8)
    chain = Chain.of(net, "fp16", device("h100-sxm"))
    plain = Chain.of(net, "fp16")
    assert 1e-6 < chain.time < 1
    assert chain.outputs == plain.outputs
    assert 2 * chain.outputs[0] == Chain.of(net, "fp32").outputs[0]
    for i in range(chain.stages):
        assert chain.backward[i] / chain.forward[i] == pytest.approx(plain.backward[i] / plain.forward[i])


def test_only_a_bound_network_is_a_chain() -> None:
    with pytest.raises(ExtentError, match="open dimensions"):
        Chain.of(zoo.resnet18(batch="n"))
    with pytest.raises(DnnlabError, match="expected a network"):
        Chain.of("resnet18")  # type: ignore[arg-type]
