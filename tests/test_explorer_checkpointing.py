"""The checkpointing explorer: its numbers against schedules added up by hand and closed forms, its marks against what
a plan keeps, and its picture against its numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from driving import agrees
from hypothesis import given, settings
from hypothesis import strategies as st

from dnnlab import zoo
from dnnlab.checkpointing import Chain, Plan, closed_forms, extra_forwards, pareto, simulate, store_all
from dnnlab.errors import DnnlabError, ExtentError, UnknownNameError
from dnnlab.explorers import Panel, checkpointing
from dnnlab.explorers.checkpointing import Drawing
from dnnlab.explorers.checkpointing_model import LONGEST, MOST, NETWORKS, PLANS, State, keeping, model, settle
from dnnlab.figures import MemoryTrace, Stretch
from dnnlab.figures.memory_trace import LOOKS

CHAINS = [*map(str, range(2, LONGEST + 1)), *NETWORKS]
states = st.builds(
    State,
    st.sampled_from(CHAINS), st.sampled_from(list(PLANS)), st.integers(1, LONGEST), st.integers(10, 110),
    st.lists(st.booleans(), max_size=MOST).map(tuple),
)  # fmt: skip


@pytest.fixture
def panel() -> Iterator[Panel]:
    panel = checkpointing(12, "sqrt", strict=True)
    yield panel
    panel.close()


def chain_of(name: str) -> Chain:
    if name in NETWORKS:
        return Chain.of(zoo.network(name, batch=NETWORKS[name][1]))
    return Chain.equal(int(name), backward=2)


_CHAINS = {name: chain_of(name) for name in CHAINS}


# --- what it says


@given(states)
@settings(max_examples=80, deadline=None)
def test_settled_states_are_valid_and_stay(state: State) -> None:
    settled = settle(state)
    stages = _CHAINS[state.chain].stages
    assert settle(settled) == settled
    assert len(settled.kept) == stages - 1
    assert (settled.chain, settled.plan, settled.budget) == (state.chain, state.plan, state.budget)
    assert settled.k == min(state.k, stages)
    if state.plan == "own" and len(state.kept) == stages - 1:
        assert settled.kept == state.kept


@given(states)
@settings(max_examples=80, deadline=None)
def test_time_and_memory_are_those_of_the_schedule(state: State) -> None:
    reading = model(settle(state))
    chain, plan = _CHAINS[state.chain], reading.found.plan
    # Another way than the simulator's: what is alive, added up from the schedule's words alone.
    time, peak, alive = 0, 0, {"x0": chain.outputs[0]}
    for kind, stage in plan.operations:
        size = {"Fc": chain.outputs, "Fe": (*chain.records, 0)}
        if kind in size:
            assert stage is not None
            time += chain.forward[stage]  # type: ignore[assignment]
            made = f"x{stage + 1}"
            alive[made] = chain.outputs[stage + 1] if kind == "Fc" else chain.records[stage]
        elif kind == "D":
            del alive[f"x{stage}"]
            continue
        else:
            place = chain.stages if stage is None else stage
            time += chain.backward[place]  # type: ignore[assignment]
            alive[f"y{place}"] = chain.outputs[place]
        peak = max(peak, sum(alive.values()))  # type: ignore[assignment]
        if kind == "B":
            assert stage is not None
            del alive[f"x{stage + 1}"], alive[f"y{stage + 1}"]
    assert (time, peak) == (reading.found.time, reading.found.peak)


@given(states)
@settings(max_examples=60, deadline=None)
def test_the_sentence_agrees_with_its_parts(state: State) -> None:
    reading = model(settle(state))
    found, front, chain = reading.found, pareto(_CHAINS[state.chain], "persistent"), _CHAINS[state.chain]
    again = found.plan.forwards - chain.stages
    words = reading.sentence
    assert ("No forward runs twice" in words) == (again == 0)
    if again:
        assert words.startswith(f"{again} ")
        told = words.partition("takes ")[2].partition(" times as long")[0]
        assert told != "1" and float(told) == pytest.approx(float(found.time / chain.time), rel=0.005)
    beaten = [p for p in front if p.time <= found.time and p.peak <= found.peak and p[:2] != (found.time, found.peak)]
    assert ("It is on the frontier" in words) == (not beaten)
    most = simulate(chain, store_all(chain.stages)).peak
    fits = 100 * found.peak <= state.budget * most
    assert ("It fits the budget" in words) == fits
    assert ("No plan fits" in words) == (100 * front[-1].peak > state.budget * most)
    rows = reading.table.records()
    assert (rows[0]["forwards"], rows[0]["peak"]) == (found.forwards, found.peak)
    assert (rows[1]["time"], rows[1]["peak"]) == (1, most)
    assert float(str(rows[2]["time"])) <= float(str(rows[0]["time"])) + 1e-12
    assert rows[2]["peak"] <= rows[0]["peak"]  # type: ignore[operator]


@given(st.integers(2, LONGEST), st.integers(1, LONGEST))
def test_equal_stages_follow_the_closed_forms(stages: int, k: int) -> None:
    k = min(k, stages)
    expected = {"all": closed_forms.store_all(stages), "sequential": closed_forms.sequential(stages, k)}
    for plan, cost in expected.items():
        found = model(settle(State(str(stages), plan, k, 60))).found
        assert (found.forwards, found.peak) == (cost.forwards, cost.peak)
    assert model(settle(State(str(stages), "binomial", k, 60))).found.plan.extra_forwards == extra_forwards(stages, k)
    none = model(settle(State(str(stages), "none", k, 60))).found
    assert none.forwards == stages * (stages + 1) // 2


@pytest.mark.parametrize("stages", range(2, 9))
def test_the_frontier_of_equal_stages_is_exact(stages: int) -> None:
    shown = model(settle(State(str(stages), "all", 1, 60))).front
    assert [point[:2] for point in shown] == [point[:2] for point in pareto(_CHAINS[str(stages)], "exact")]


@given(states)
@settings(max_examples=40, deadline=None)
def test_the_best_plan_is_the_fastest_within_the_budget(state: State) -> None:
    reading = model(settle(replace(state, plan="best")))
    limit = state.budget * simulate(_CHAINS[state.chain], store_all(_CHAINS[state.chain].stages)).peak
    within = [point for point in reading.front if 100 * point.peak <= limit]
    if within:
        assert reading.found.time == min(point.time for point in within) and 100 * reading.found.peak <= limit
    else:
        assert reading.found.peak == min(point.peak for point in reading.front)


# --- the plan editor


@given(st.lists(st.booleans(), min_size=1, max_size=MOST).map(tuple))
def test_a_plan_of_your_own_keeps_what_is_marked(kept: tuple[bool, ...]) -> None:
    chain = Chain.equal(len(kept) + 1)
    alive = next(step.alive for step in simulate(chain, keeping(kept)).trace if str(step.operation) == "L")
    for number, mark in enumerate(kept, 1):
        assert (f"x{number}" in alive or f"xb{number}" in alive) == mark


def test_everything_marked_is_keeping_everything() -> None:
    assert keeping((True,) * 11) == store_all(12)
    assert keeping((False,) * 11) == Plan.nested((tuple(range(12)),))


def test_a_mark_makes_the_plan_your_own(panel: Panel) -> None:
    assert panel.state.plan == "sqrt"
    assert [button.value for button in panel.widgets["kept"][:11]] == [n in (4, 8, 9, 10, 11) for n in range(1, 12)]
    panel.widgets["kept"][3].set_state({"value": False})
    agrees(panel)
    assert panel.state.plan == "own" == panel.widgets["plan"][0].value
    assert panel.reading.found.plan == Plan.nested((tuple(range(8)), 8, 9, 10, 11))  # type: ignore[attr-defined]
    panel.set(plan="sqrt")
    assert panel.state.kept[3]
    panel.set(k=5, budget=30)  # neither is a mark
    assert panel.state.plan == "sqrt"


def test_another_chain_keeps_your_plan_where_it_fits(panel: Panel) -> None:
    panel.set(plan="own", kept=(True, False) * 5 + (True,))
    panel.set(budget=80)
    assert panel.state.kept == (True, False) * 5 + (True,)
    panel.set(chain="resnet18")
    assert panel.state.plan == "own" and len(panel.state.kept) == 12
    assert [b.description for b in panel.widgets["kept"] if b.layout.display != "none"][:3] == [
        "conv1",
        "bn1",
        "maxpool",
    ]
    agrees(panel)


def test_tensors_of_your_own_plan_are_named_by_number() -> None:
    panel = checkpointing(6, "own", kept=(2, 4), strict=True)
    assert panel.state.kept == (False, True, False, True, False)
    assert "Plan.nested(((0, 1), (2, 3), (4, 5)))" in panel.reading.formula  # type: ignore[attr-defined]
    panel.close()


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"chain": 13}, UnknownNameError, "unknown chain '13'"),
        ({"chain": "resnet81"}, UnknownNameError, "did you mean 'resnet18'"),
        ({"plan": "squirt"}, UnknownNameError, "did you mean 'sqrt'"),
        ({"k": 0}, ExtentError, "k must be a whole number from 1 to 12, not 0"),
        ({"k": "3"}, ExtentError, "not '3'"),
        ({"budget": 5}, ExtentError, "from 10 to 110, not 5"),
        ({"chain": 4, "plan": "own", "kept": (4,)}, ExtentError, "between stages, 1 to 3, not 4"),
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, Any], error: type[DnnlabError], words: str) -> None:
    with pytest.raises(error, match=words):
        checkpointing(**arguments)


# --- what it shows


@given(states)
@settings(max_examples=40, deadline=None)
def test_bars_and_marks_stand_where_the_numbers_say(state: State) -> None:
    reading, picture = model(settle(state)), _picture()
    picture.png(reading)
    drawing: Any = picture._drawing
    found, chain = reading.found, _CHAINS[state.chain]
    size = 1_000_000 if state.chain in NETWORKS else 1
    ran = [step for step in found.trace if step.operation.kind != "D"]
    bars = sorted(
        (corners[0, 0], corners[2, 0], corners[1, 1])
        for bars in drawing.bars.values()
        for corners in bars.get_path().vertices.reshape(-1, 5, 2)
    )
    assert len(bars) == len(ran)
    for (left, right, top), step in zip(bars, sorted(ran, key=lambda s: (s.start, s.end)), strict=True):
        assert left == pytest.approx(float(step.start / chain.time))
        assert right == pytest.approx(float(step.end / chain.time))
        assert top == pytest.approx(float(step.during / size)) or step.start == step.end
    counts = {kind: len(bars.get_path().vertices) // 5 for kind, bars in drawing.bars.items()}
    assert counts == {"forward": chain.stages, "again": found.plan.extra_forwards, "backward": chain.stages + 1}
    own = drawing.own.get_xydata()[0]
    assert list(own) == pytest.approx([float(found.time / chain.time), float(found.peak / size)])
    assert drawing.peak_words.get_text() == f"peak {float(found.peak / size):.3g}"
    assert len(drawing.points.get_xdata()) == len(reading.front)
    for axes in (drawing.trace, drawing.front):
        assert axes.get_ylim()[1] > float(found.peak / size) and axes.get_xlim()[1] > own[0]
    for scale, ends in zip(drawing.scales, ("get_xlim", "get_xlim", "get_ylim", "get_ylim"), strict=True):
        low, high = getattr(scale.axes, ends)()
        assert 2 <= len(scale.places) <= 11 and min(scale.places) >= low and max(scale.places) <= high
        if scale.numbers:
            words = [text.get_text() for text in scale.numbers if text.get_visible()]
            assert words == [f"{place:g}" for place in scale.places]


def test_kinds_are_told_apart_without_colour() -> None:
    assert len({hatch for _, hatch in LOOKS.values()}) == len(LOOKS)


def test_the_fullest_stretch_is_the_first_of_them() -> None:
    steps = Stretch(0, 1, 2, "forward"), Stretch(1, 2, 3, "backward"), Stretch(2, 3, 3, "backward")
    trace = MemoryTrace(steps, steps, ((3, 3),), 2, "outputs")
    assert trace.fullest is steps[1] and trace.time == 3


_PICTURES: list[Drawing] = []


def _picture() -> Drawing:
    if not _PICTURES:
        _PICTURES.append(Drawing())
    return _PICTURES[0]
