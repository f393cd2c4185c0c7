"""The double-buffering explorer and the lanes it draws, held against a reckoning of their own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from html import escape
from typing import Any

import pytest
from driving import agrees
from hypothesis import given, settings
from hypothesis import strategies as st

from dnnlab.buffering import device_pipeline, pipeline, run_pipeline
from dnnlab.errors import ExtentError, UnknownNameError
from dnnlab.explorers import Panel, double_buffering
from dnnlab.explorers.double_buffering import LONGEST, MOST_BUFFERS, MOST_TILES, WIDEST, Drawing, State, model
from dnnlab.figures import Block, Canvas, Lane, Lanes, LanesDrawing, Mark, Wait, picture
from dnnlab.figures.schedules import in_turns, lanes_of
from dnnlab.hardware import device
from dnnlab.quantities import show

states = st.builds(
    State,
    st.integers(1, LONGEST), st.integers(1, LONGEST), st.integers(0, LONGEST), st.integers(1, MOST_TILES),
    st.integers(1, MOST_BUFFERS), st.integers(0, WIDEST),
)  # fmt: skip
MICRO = Fraction(1, 10**6)


@pytest.fixture
def panel() -> Iterator[Panel]:
    panel = double_buffering(strict=True)
    yield panel
    panel.close()


def ends(state: State, buffers: int) -> dict[str, list[Fraction]]:
    """When each engine ends each tile, event by event: whoever has all that it needs starts as soon as it can."""
    names = ["load", "compute", *(["store"] if state.store else [])]
    done: dict[str, list[Fraction]] = {name: [] for name in names}
    for i in range(state.tiles):
        size = Fraction(100 + (state.spread if i % 2 == 0 else -state.spread), 100) * MICRO
        for j, name in enumerate(names):
            needs = [done[name][-1]] if i else []
            if j:
                needs.append(done[names[j - 1]][i])
            if j + 1 < len(names) and i >= buffers:
                needs.append(done[names[j + 1]][i - buffers])
            done[name].append(max(needs, default=Fraction(0)) + getattr(state, name) * size)
    return done


# --- what it says


@given(states)
@settings(max_examples=150, deadline=None)
def test_the_schedule_is_that_of_the_rules(state: State) -> None:
    reading = model(state)
    for count in (state.buffers, state.buffers + 1):
        done = ends(state, count)
        schedule = reading.others[count]
        assert {name: [end for _, end in pairs] for name, pairs in schedule.intervals.items()} == done
    assert reading.schedule == reading.others[state.buffers]


@given(states)
@settings(max_examples=150, deadline=None)
def test_the_sentence_says_time_bottleneck_and_gain(state: State) -> None:
    sentence = model(state).sentence
    now, then = (max(ends(state, count)[name][-1] for name in ("load", "compute", "store")[: 2 + bool(state.store)])
                 for count in (state.buffers, state.buffers + 1))  # fmt: skip
    assert f" {show(now, 's')}, " in sentence
    busy = {"load": state.load, "compute": state.compute, "store": state.store}
    busiest = [name for name, time in busy.items() if time == max(busy.values())]
    if len(busiest) == 1:
        assert f"{busiest[0].capitalize()} is the bottleneck, busy" in sentence
    else:
        assert sentence.count("are equally busy, ") == 1 and all(name in sentence.lower() for name in busiest)
    if now == then:
        assert sentence.endswith(" would gain nothing.")
    else:
        assert f" would save {show(now - then, 's')}: {float(now / then):.3g} times as fast." in sentence
    assert sentence.endswith("gain nothing.") or state.buffers == 1 or state.spread  # the theorem of equal tiles
    assert ("on either side" in sentence) == bool(state.store)


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (State(3, 4, 0, 8, 1, 0), "8 tiles take 56 µs, one step after the other: nothing overlaps."),
        (State(3, 4, 0, 8, 2, 0), "8 tiles take 35 µs, 1.6 times as fast as one step after the other (56 µs)."),
        (
            State(3, 4, 0, 8, 2, 0),
            "Compute is the bottleneck, busy 91% of the time; load waits 6 µs for a free buffer.",
        ),
        (State(4, 3, 0, 8, 2, 0), "Load is the bottleneck, busy 91% of the time; compute waits 7 µs for load."),
        (State(1, 1, 9, 9, 2, 0), "compute waits 56 µs for an output buffer;"),
        (State(4, 4, 0, 8, 2, 50), " for a free buffer; compute waits "),
        (
            State(5, 5, 5, 4, 2, 0),
            "Load, compute and store are equally busy, 67% of the time. A third buffer on either",
        ),
        (State(3, 4, 0, 8, 1, 0), "A second buffer would save 21 µs: 1.6 times as fast."),
        (State(3, 4, 0, 1, 4, 0), "One tile takes 7 µs"),
        (State(3, 4, 0, 8, 2, 90), "A third buffer would save"),
        (State(2, 6, 0, 8, 2, 50), "A third buffer would gain nothing."),
    ],
)
def test_sentences(state: State, words: str) -> None:
    assert words in model(state).sentence


@given(states)
@settings(max_examples=30, deadline=None)
def test_the_table_says_the_same(state: State) -> None:
    reading = model(state)
    done = ends(state, state.buffers)
    last = max(column[-1] for column in done.values())
    for row, name in zip(reading.table.records(), done, strict=True):
        assert row["engine"] == name
        # Work and waits of an engine fill all of the time.
        spent = [Fraction(str(row[key])) for key in ("busy", "fill", "waits", "drain")]
        assert sum(spent) == last
        assert f"{name} works from " in reading.alt
    times = ", ".join(f"{n}: {show(one.makespan, 's')}" for n, one in reading.others.items())
    assert reading.table.note == f"Time by number of buffers: {times}."


def test_a_third_buffer_pays_only_for_unequal_tiles(panel: Panel) -> None:
    saved = []
    for spread in (0, 30, 60, 90):
        panel.set(spread=spread)
        agrees(panel)
        others = panel.reading.others  # type: ignore[attr-defined]
        saved.append(others[2].makespan - others[3].makespan)
    assert saved[0] == 0 < saved[1] < saved[2] < saved[3]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"load": 0}, "load must be a whole number from 1 to 20, not 0"),
        ({"compute": 2.5}, "not 2.5"),
        ({"store": -1}, "from 0 to 20, not -1"),
        ({"tiles": 13}, "tiles must be a whole number from 1 to 12, not 13"),
        ({"buffers": 5}, "from 1 to 4, not 5"),
        ({"spread": True}, "not True"),
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ExtentError, match=words):
        double_buffering(**arguments)


def test_set_names_what_it_has_no_control_for(panel: Panel) -> None:
    with pytest.raises(UnknownNameError, match="unknown control 'channels'"):
        panel.set(channels=2)


# --- what it shows


def boxes(artist: Any) -> list[tuple[float, float, float, float]]:
    """Left, top, right, bottom of each shape of a collection, or of each part of a patch."""
    if hasattr(artist, "get_paths"):
        parts = [path.vertices for path in artist.get_paths()]
    else:
        parts = [polygon for polygon in artist.get_path().to_polygons(closed_only=False)]
    return [(*part.min(axis=0), *part.max(axis=0)) for part in parts]


@given(states)
@settings(max_examples=25, deadline=None)
def test_blocks_and_marks_stand_where_their_times_say(state: State) -> None:
    drawing = _picture()
    drawing.png(reading := model(state))
    lanes: Any = drawing._drawing
    x = [float(value) for value in lanes.end.get_xdata()]
    left = min(box[0] for box in boxes(lanes.blocks["#0072B2"]))  # load starts at 0
    scale = (x[0] - left) / float(reading.schedule.makespan)
    assert x[0] == x[1]
    done = ends(state, state.buffers)
    blocks = [box for artist in lanes.blocks.values() for box in boxes(artist)]
    for name, column in done.items():
        for i, end in enumerate(column):
            start = reading.schedule.intervals[name][i][0]
            right = max(float(end) * scale - 1, float(start) * scale + 1)
            at = (left + float(start) * scale, left + right)
            assert any(abs(box[0] - at[0]) < 1e-6 and abs(box[2] - at[1]) < 1e-6 for box in blocks), (name, i)
    waited = [box for artist in lanes.waits.values() for box in boxes(artist) if box[2] > box[0]]
    stalls = [stall for one in reading.schedule.stalls.values() for stall in one]
    assert sorted(round(box[2] - box[0], 6) for box in waited) == sorted(
        round(float(s.time) * scale, 6) for s in stalls
    )
    assert lanes.reference.get_visible() == (state.buffers > 1)
    if state.buffers > 1:
        single = max(column[-1] for column in ends(state, 1).values())
        assert float(lanes.reference.get_xdata()[0]) == pytest.approx(left + float(single) * scale)
        assert lanes.reference_words.get_text() == f"1 buffer: {show(single, 's')}"
    assert lanes.end_words.get_text() == show(reading.schedule.makespan, "s")


@given(states)
@settings(max_examples=60, deadline=None)
def test_a_buffer_holds_one_tile_at_a_time(state: State) -> None:
    schedule = model(state).schedule
    lanes = lanes_of(schedule).lanes
    thin = [lane for lane in lanes if lane.thin]
    assert len(thin) == min(state.buffers, state.tiles) * len(schedule.buffers)
    for lane in thin:
        for before, after in zip(lane.blocks, lane.blocks[1:], strict=False):
            assert before.end <= after.start
    for j, (writer, reader) in enumerate(zip(schedule.engines, schedule.engines[1:], strict=False)):
        held = thin[j * len(thin) // len(schedule.buffers) : (j + 1) * len(thin) // len(schedule.buffers)]
        parts = [part for lane in held for part in lane.blocks]
        assert sorted((p.start, p.end) for p in parts if p.rising) == schedule.intervals[writer]
        assert sorted((p.start, p.end) for p in parts if p.label) == schedule.intervals[reader]


def test_every_wait_has_a_look_of_its_own() -> None:
    drawing = _picture()._drawing
    hatches = [patch.get_hatch() for patch in drawing.waits.values()]
    assert len(set(hatches)) == len(hatches) == 3
    words = [text.get_text() for text in drawing.axes.texts]
    assert [word for word in words if word.startswith(("waits", "fill"))] == [
        "waits for a tile", "waits for a buffer", "fill, drain",
    ]  # fmt: skip


def test_lanes_of_any_name_and_number() -> None:
    canvas = Canvas(480, 150)
    drawing = LanesDrawing(canvas.axes(0, 0, 1, 1), 480, 150, waits=("memory",))
    drawing.update(Lanes(()))
    assert not drawing.end.get_visible()
    first = Lane("disk", (Block(0, 1, "0"), Block(1, 2, "a long label")), (Wait(2, 4, "memory"), Wait(4, 5, "?")))
    drawing.update(shown := Lanes((first, Lane("arithmetic", ())), reference=Mark(4.5, "then")))
    assert shown.last == 5
    assert [len([box for box in boxes(patch) if box[2] > box[0]]) for patch in drawing.waits.values()] == [1, 1]
    assert [name.get_text() for name in drawing.names if name.get_visible()] == ["disk", "arithmetic"]
    assert len(drawing.numbers["#FFFFFF"].get_paths()) == 1  # the long label does not fit its block
    assert canvas.png(*drawing.layers)[:4] == b"\x89PNG"
    before = canvas.draws[:]
    drawing.update(replace(shown, end=Mark(3, "now")))
    canvas.png(*drawing.layers)
    assert canvas.draws == [*before[:3], before[3] + 1]  # names and axis stay


def test_a_still_picture_has_words_and_is_small() -> None:
    single, double = (pipeline([3] * 8, [4] * 8, buffers=count) for count in (1, 2))
    assert in_turns(single) == Mark(56, "1 buffer: 56 s") and in_turns(double).words == "2 buffers: 35 s"
    t4 = device("t4").with_disk("2 TB", "3 GB/s")
    stills = [
        picture(double, single),
        picture(device_pipeline(t4, ["2 MB"] * 8, ["10 GFLOP"] * 8), buffers=False),
        picture(run_pipeline(lambda i: i, lambda tile: tile, 3, store=lambda tile: tile).schedule),
    ]
    for still in stills:
        bundle = still._repr_mimebundle_()
        assert len(still.png()) < 20_000 and bundle["image/png"] in bundle["text/html"]
        assert f'alt="{escape(still.alt)}"' in bundle["text/html"]
        assert escape(still.schedule.sentence()) in bundle["text/html"]
        assert all(name in still.alt for name in still.schedule.engines)


_PICTURES: list[Drawing] = []


def _picture() -> Drawing:
    if not _PICTURES:
        _PICTURES.append(Drawing())
    return _PICTURES[0]
