"""Topic 8, continued: what was measured, and what explains it."""

from __future__ import annotations

from ..kinds import Choice, Formula, Number
from ..questions import Mistake
from .derived import measured_times as timed

CALIBRATE = "08_your_machine/Calibrate"
MEASURE = "08_your_machine/Predict, then measure"
EXPLAINS = "08_your_machine/What explains the error"

RATES = (
    Number(
        id="8.3",
        title="a share of the roof",
        level=2,
        example="'40 %'",
        draw=timed.layer_timed,
        expected=timed.reached,
        hints=(
            "The roof is the best case of this layer on this machine. How long does it take at best?",
            "Count its operations, and its bytes: weights, inputs and outputs once each, four bytes a number.",
            "At best both engines work at once, so the slower one sets the time. What was measured is longer.",
        ),
        solution=timed.reached_steps,
        insight="A share of the roof says how much is left to gain, and the roof is that of the engine the layer waits "
        "for: a layer that waits for memory can be at its roof with the arithmetic almost idle.",
        mistakes=(
            Mistake(
                "other-roof",
                lambda given: timed.reached(given, min),
                "That is the share of the other roof, of the engine that is not the slower one here. Which engine does "
                "this layer wait for?",
                MEASURE,
            ),
            Mistake(
                "in-turns",
                lambda given: timed.reached(given, sum),
                "You add the two times. The roof is the best case, in which both engines work at once.",
                MEASURE,
            ),
            Mistake(
                "no-sign",
                lambda given: 100 * timed.reached(given),
                "This is a percentage without its sign: write it as '40 %', or as a fraction of 1.",
                MEASURE,
            ),
        ),
        notes=("Bounds: more time to compute or to fetch?", "Bounds: memory-bound against compute-bound"),
    ),
    Number(
        id="8.4",
        title="what a call costs",
        level=2,
        example="'40000'",
        draw=timed.two_sizes,
        expected=lambda given: timed.least(*timed.line(given)),
        hints=(
            "Time = overhead + numbers × time for each. Two measurements, two unknowns.",
            "The overhead is in both times. What do the numbers by which the sizes differ take?",
            "If a tenth of the time is overhead, what are the other nine tenths?",
        ),
        solution=timed.two_sizes_steps,
        insight="A rate that is measured at one size hides an overhead; two sizes show both. Only what is large enough "
        "runs at the rate: join small layers, or make the batch larger.",
        mistakes=(
            Mistake(
                "of-the-work",
                lambda given: timed.least(*timed.line(given), of_all=False),
                "There the overhead is a tenth of the work alone. It is to be a tenth of the whole time, and it is a "
                "part of that itself.",
                EXPLAINS,
            ),
            Mistake(
                "rate-with-overhead",
                timed.rate_with_overhead,
                "You take the rate from the larger size alone, and there is overhead in that time, too.",
                EXPLAINS,
            ),
            Mistake(
                "all-overhead",
                timed.all_overhead,
                "You take the whole time of the smaller size for overhead. Some of it is work.",
                CALIBRATE,
            ),
        ),
    ),
)

REASONS = (
    Choice(
        id="8.8",
        title="what explains the difference",
        level=3,
        example="'overlap'",
        options=timed.EFFECTS,
        draw=timed.row,
        expected=timed.explanation,
        hints=(
            "First the sizes: how many bytes does the layer read and write, and how large is its result alone?",
            "Some effects cannot be at work here at all: strike them out. Work out the seconds of each that can.",
            "Whatever the cache holds moves in a quarter of the time; all else moves as in the best case.",
        ),
        solution=timed.row_steps,
        insight="An explanation is a number, not a word: an effect explains a difference if its seconds, worked out "
        "from figures that were measured elsewhere, are about as long as the difference.",
        mistakes=(
            Mistake(
                "overhead",
                lambda given: "overhead",
                "A call takes 5 µs to start. How much is that of the difference here?",
                EXPLAINS,
            ),
            Mistake(
                "overlap",
                lambda given: "overlap",
                "Taking turns adds the shorter of two times, where there are two. What is that here, and does another "
                "effect add more?",
                MEASURE,
            ),
            Mistake(
                "allocation",
                lambda given: "allocation",
                "Only a result of more than 32 MB gets fresh memory. How large is the result of this layer?",
                EXPLAINS,
            ),
            Mistake(
                "functions",
                lambda given: "functions",
                "Count the exponentials and divide by their rate. Does another effect make more of the difference?",
                EXPLAINS,
            ),
            Mistake(
                "copies",
                lambda given: "copies",
                "This library copies the tensors of convolutions, and no others. Is this layer one?",
                EXPLAINS,
            ),
        ),
        notes=("Bounds: more time to compute or to fetch?",),
    ),
    Formula(
        id="8.9",
        title="a convolution as a matrix product",
        level=3,
        example="'2·c·rs/P'",
        names=tuple("ncrswhbPB"),
        expected=lambda given: timed.even_filters(),
        hints=(
            "Two times: the operations of the convolution at the rate P, and the bytes that are copied at B.",
            "How many numbers are in the columns? For each of the w·h positions of each image there is a whole window.",
            "Set the two times equal and solve for k. Much cancels.",
        ),
        solution=timed.columns_steps,
        insight="A copy pays if each number that is copied is used often enough, here once by each filter. In a "
        "depth-wise convolution a single filter uses it, so columns do not pay there.",
        mistakes=(
            Mistake(
                "one-way",
                lambda given: timed.even_filters(passes=1),
                "Each number in the columns crosses twice: it is written by the copy, and the product reads it.",
                EXPLAINS,
            ),
            Mistake(
                "picture",
                lambda given: timed.even_filters(copied="picture"),
                "You copy each number of the image once. It stands in r·s windows, and in the columns of all of them.",
                EXPLAINS,
            ),
            Mistake(
                "picture-read",
                lambda given: timed.even_filters(passes=3),
                "One pass too many: here the copy reads the image from the cache, which takes next to no time.",
                EXPLAINS,
            ),
        ),
        notes=("Layers: Convolution",),
    ),
)
