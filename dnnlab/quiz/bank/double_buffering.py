"""Topic 6: can loading hide behind computing?"""

from __future__ import annotations

from functools import partial

from ..kinds import Choice, Formula, Number, Setting
from ..questions import Mistake
from .derived.double_buffering import (
    COMPUTE_WAITS,
    LOAD_WAITS,
    NOBODY,
    SEE,
    WAY,
    case,
    far_away,
    makespan,
    makespan_steps,
    most_spread,
    pace,
    pair,
    rounded,
    saved,
    saved_steps,
    second,
    slowest,
    slowest_steps,
    spread_steps,
    start,
    third,
    third_steps,
    tiles,
    uneven_buffers,
    uneven_enough,
    uneven_steps,
    waits,
    waits_steps,
    with_two,
    worth,
    worth_steps,
)

HOW = "06_double_buffering/How much is a buffer worth?"
CAN = "06_double_buffering/Can loading overlap with computation?"
STORES = "06_double_buffering/Results must leave, too"
SIZE = "06_double_buffering/Buffers against tile size"
ROUNDED = "That is it, but rounded: write it exactly, with its root."
FAR = "06_double_buffering/A longer way: disk → RAM → VRAM → chip"

QUESTIONS = (
    Number(
        id="6.1",
        title="a third buffer",
        level=1,
        example="'5'",
        expected=third,
        prediction="06.third",
        hints=(
            "What does the arithmetic wait for with two buffers, once it has its first tile?",
            "Does a buffer make an engine faster?",
        ),
        solution=third_steps,
        insight="With equal tiles the second buffer lets the slower engine work without a break, and a third has "
        "nothing left to do.",
        mistakes=(
            Mistake(
                "second",
                second,
                "That is what the second buffer saves over one. What does a third save over two?",
                HOW,
            ),
        ),
    ),
    Number(
        id="6.2",
        title="two buffers",
        level=1,
        example="'30 ms'",
        unit="s",
        expected=makespan,
        draw=tiles,
        hints=(
            "Draw two lanes, load above compute. When does the first tile come out?",
            "Then one tile after the other comes out, at the pace of the slower engine.",
            "How many tiles follow the first?",
        ),
        solution=makespan_steps,
        insight="Fill, then the pace of the slower engine, then drain.",
        mistakes=(
            Mistake(
                "in-turns",
                lambda given: makespan(given, buffers=1),
                "So long it takes with one buffer, where loading and computing take turns.",
                CAN,
            ),
            Mistake(
                "no-fill",
                pace,
                "You let the slower engine work from the very start to the very end. But at one end it waits, while "
                "the faster one works alone.",
                HOW,
            ),
            Mistake(
                "one-too-many",
                lambda given: makespan(given, more=1),
                "One tile too many: the first one is in the fill and the drain already.",
                HOW,
            ),
        ),
    ),
    Choice(
        id="6.3",
        title="who waits for what",
        level=2,
        example="'nobody'",
        options=(LOAD_WAITS, COMPUTE_WAITS, NOBODY),
        several=True,
        expected=waits,
        draw=case,
        hints=(
            "Draw the lanes of the first four tiles. Load i needs the buffer that an earlier tile has left.",
            "Compute i needs its tile. Is it there when the tile before is done?",
            "The wait for the very first tile, and the rest after the last one, do not count.",
        ),
        solution=waits_steps,
        insight="With equal tiles and two buffers only the faster engine waits. With one buffer, or with tiles so "
        "uneven that two buffers do not bridge them, each engine waits for the other in turn.",
        mistakes=(
            Mistake(
                "mean",
                lambda given: waits(given, mean=True),
                "So it would be if all tiles had the mean times. Follow a large tile after a small one: is it loaded "
                "in time?",
                SEE,
            ),
            Mistake(
                "nobody",
                lambda given: NOBODY,
                "Compare what a tile takes in the two: can both work without a break in between?",
                SEE,
            ),
        ),
        notes=("Double buffering: picture",),
    ),
    Choice(
        id="6.4",
        title="the slowest of four",
        level=2,
        example="'memory'",
        options=tuple(WAY),
        expected=slowest,
        draw=far_away,
        hints=(
            "Four engines, each with two buffers behind it: what does a tile take in each?",
            'A T4: device("t4") has the bandwidths of link and memory, and .rate("fp16").',
            "Only the slowest engine sets the pace.",
        ),
        solution=slowest_steps,
        insight="A chain of engines is as fast as its slowest one, wherever it stands. All others wait for it.",
        mistakes=(
            Mistake(
                "disk",
                lambda given: "disk",
                "This disk is not the slowest here: work out what a tile takes on it, and in the other three.",
                FAR,
            ),
            Mistake(
                "arithmetic",
                lambda given: "arithmetic",
                "The arithmetic waits here: with so few operations a tile it is done before the next tile is there.",
                FAR,
            ),
            Mistake(
                "memory",
                lambda given: "memory",
                "From VRAM to the chip a tile comes faster than over the link. What does it take in each of the four?",
                FAR,
            ),
        ),
        notes=("Bounds: I/O-bound against CPU-bound",),
    ),
    Formula(
        id="6.5",
        title="what the second buffer saves",
        level=2,
        example="'n·C'",
        names=tuple("nLC"),
        expected=lambda given: saved(),
        hints=(
            "Write down both times: with one buffer in turns, with two at the pace of the slower engine.",
            "Subtract. L + C - max(L, C) has a shorter name.",
        ),
        solution=saved_steps,
        insight="The shorter of the two hides behind the longer one, for each tile but one. So overlap at most halves "
        "the time, and saves most where both are alike.",
        mistakes=(
            Mistake(
                "time",
                with_two,
                "That is how long it takes with two buffers. How much shorter is that than with one?",
                HOW,
            ),
        ),
    ),
    Formula(
        id="6.6",
        title="one buffer before, two behind",
        level=3,
        example="'n·L + S'",
        names=tuple("nLCS"),
        expected=lambda given: uneven_buffers(),
        hints=(
            "With one buffer between them, can load and compute ever work at the same time?",
            "Can store work at the same time as these two?",
            "The first tile passes three engines. What sets the pace of the others?",
        ),
        solution=uneven_steps,
        insight="A single buffer makes one engine out of two. Whether that costs anything depends on who is slowest: "
        "with S above L + C it does not.",
        mistakes=(
            Mistake(
                "two-before",
                lambda given: uneven_buffers(2),
                "That is right for two buffers in front of the arithmetic. With one, a tile cannot be loaded while "
                "another is computed.",
                STORES,
            ),
            Mistake(
                "one-behind",
                lambda given: uneven_buffers(1, 1),
                "That is right for one buffer on either side. With two behind, a result can be stored while the next "
                "is computed.",
                STORES,
            ),
        ),
    ),
    Setting(
        id="6.7",
        title="how uneven tiles may be",
        level=3,
        example="'spread = 5'",
        explorer="double_buffering",
        controls={"spread": range(91)},
        start=start,
        draw=pair,
        goal=uneven_enough,
        expected=lambda given: {"spread": most_spread(given["load"], given["compute"])},
        hints=(
            "The sentence under the picture says what a third buffer would gain.",
            "Raise Spread step by step. When does the arithmetic begin to wait?",
            "A large tile is loaded while the small one before it is computed: compare these two times.",
        ),
        solution=spread_steps,
        insight="Two buffers bridge tiles that differ as long as the longest load fits behind the shortest compute. "
        "Beyond that a third one is a stock.",
        mistakes=(
            Mistake(
                "equal",
                lambda given: {"spread": 0},
                "With equal tiles a third buffer gains nothing, that is right. How uneven may they get?",
                SEE,
            ),
        ),
    ),
    Formula(
        id="6.8",
        title="overlap or larger tiles",
        level=4,
        example="'2·C'",
        names=("C",),
        expected=lambda given: worth(),
        hints=(
            "Half the memory for a block: what becomes of its side, and how often is each operand fetched?",
            "One buffer: loading and computing take turns. Two: they overlap, but there is more to load.",
            "Set the two times equal. Which argument of the max is it that can be as large as the sum?",
        ),
        solution=worth_steps,
        insight="Two buffers win unless memory is more than about 2.4 times as slow as the arithmetic; then the "
        "larger tile is worth more than the overlap.",
        mistakes=(
            Mistake(
                "twice",
                lambda given: worth(2),
                "You let the bytes double with half the memory. A block with half the area has more than half the "
                "side.",
                SIZE,
            ),
            Mistake("rounded:2", partial(rounded, digits=2), ROUNDED, SIZE),
            Mistake("rounded:3", partial(rounded, digits=3), ROUNDED, SIZE),
        ),
    ),
)
