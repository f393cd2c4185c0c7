"""Topic 8: what will a network take on your machine?"""

from __future__ import annotations

from fractions import Fraction

from ... import LoopNest, zoo
from ...quantities import bytes_of
from ..kinds import Choice, Number, Statement
from ..questions import Mistake, Step
from .derived import your_machine as derived
from .measured_times import RATES, REASONS

SHEET = "08_your_machine/The data sheet"
LAYERS = "08_your_machine/Layer by layer"
UPGRADE = "08_your_machine/What would an upgrade buy?"
LEFT_OUT = "08_your_machine/What the prediction leaves out"

QUESTIONS = (
    Number(
        id="8.1",
        title="the peak of a processor",
        level=1,
        example="'500 GFLOP/s'",
        unit="OP/s",
        draw=derived.cores_drawn,
        expected=derived.peak,
        hints=(
            "Cores × clock × operations in a cycle. What does a core do in one cycle?",
            "A unit works on as many numbers at once as fit into it, and a number of fp32 has 32 bits.",
            "A multiply-add of one number is two operations.",
        ),
        solution=derived.peak_steps,
        insight="Most of a peak rate is width: cores, units and numbers in a unit all have to be filled with work.",
        mistakes=(
            Mistake(
                "one-number",
                lambda given: derived.peak(given, numbers=False),
                "That is one number at a time. A vector unit takes as many as it is wide.",
                SHEET,
            ),
            Mistake(
                "threads",
                lambda given: derived.peak(given, threads=2),
                "Twice too much. Two threads share a core's arithmetic, and a multiply-add is two operations.",
                SHEET,
            ),
        ),
        notes=("Bounds: factor, compute speed and parallelism",),
    ),
    Number(
        id="8.2",
        title="words a second",
        level=2,
        example="12.5",
        draw=derived.memory_drawn,
        tolerance=Fraction(2, 100),
        expected=lambda given: 1 / derived.token(derived.sheet(given), given["dtype"]),
        hints=(
            "One word after the other, nothing is used twice: what must cross the memory interface for each?",
            "Bandwidth is channels × transfers a second × 8 bytes.",
            "Almost all parameters are read once for a token; of the table of words it reads a single row. "
            "zoo.llama(batch=1, length=1) knows both.",
        ),
        solution=derived.token_steps,
        insight="A model that answers one person waits for memory. Half the bytes of a number, twice the words.",
        mistakes=(
            Mistake(
                "one-channel",
                lambda given: 1 / derived.token(derived.sheet(given, channels=1), given["dtype"]),
                "That is what a single channel brings. They work side by side.",
                SHEET,
            ),
            Mistake(
                "whole-table",
                lambda given: (
                    derived.sheet(given).require("bandwidth")
                    / (zoo.network("llama", batch=1, length=1).parameters * bytes_of(given["dtype"]))
                ),
                "Close: that reads every parameter. Of one layer, a token needs a single row.",
                LAYERS,
            ),
        ),
        notes=("Bounds: factor, memory bandwidth",),
    ),
    *RATES,
    Statement(
        id="8.5",
        title="attention with shared keys",
        level=3,
        example="'score[n,g,h,i,j] += query[n,g,h,i,d]'",
        expected=derived.grouped,
        hints=(
            "Without groups the line reads score[n,h,i,j] += query[n,h,i,d] * key[n,h,j,d].",
            "Each head now has two indices, its group and its place in it. Which of the two does a key have?",
            "The index that stands nowhere on the left is summed over.",
        ),
        solution=lambda given: [
            Step("A head is the h-th of the group g; all heads of a group read the same keys:", derived.GROUPED),
            Step("The operations do not change:", LoopNest(derived.GROUPED).ops),
            Step("There are fewer keys to keep and to fetch:", LoopNest(derived.GROUPED).size("key")),
            Step("Each is used more often:", LoopNest(derived.GROUPED).reuse("key")),
        ],
        insight="Sharing keys saves no arithmetic; it makes the cache smaller, and a key that is fetched is used more.",
        mistakes=(
            Mistake(
                "own-position",
                lambda given: "score[n,g,h,i,j] += query[n,g,h,i,d] * key[n,g,i,d]",
                "So position i meets its own key only. A score is of a query at i and a key at j.",
                LAYERS,
            ),
            Mistake(
                "heads-added",
                lambda given: "score[n,g,h,i,j] += query[n,g,a,i,d] * key[n,g,j,d]",
                "This adds up all heads of a group. They share keys, but each has its own scores.",
                LAYERS,
            ),
        ),
        notes=("Computational view: parameters, re-use",),
    ),
    Choice(
        id="8.6",
        title="a detective's work",
        level=3,
        example="'caches'",
        options=("overhead", "bandwidth", "clock", "overlap", "caches"),
        draw=derived.measured,
        expected=lambda given: derived.suspects(given)[0],
        hints=(
            "Predict all four layers on this laptop, with on(layer, laptop, 'fp32'): arithmetic and memory apart.",
            "Which layers took as long as predicted, and which longer? By a factor, or by an amount?",
            "One layer waits for arithmetic, two for memory, and in one both take about as long: what would each "
            "suspect do to each of them?",
        ),
        solution=derived.suspect_steps,
        insight="A prediction that is wrong in a pattern says more than one that is right: it names the suspect.",
        mistakes=(
            Mistake(
                "explains-some",
                lambda given: derived.suspects(given)[1],
                "That explains some of the four layers. Look at the one that it does not explain.",
                LEFT_OUT,
            ),
            Mistake(
                "shorter",
                lambda given: "caches",
                "Caches would make a layer faster than predicted. Is any of them?",
                LEFT_OUT,
            ),
        ),
        notes=("Bounds: more time to compute or to fetch?",),
    ),
    Number(
        id="8.7",
        title="what the energy goes into",
        level=3,
        example="64",
        draw=derived.linear_drawn,
        expected=derived.even_batch,
        hints=(
            "Count both for a batch of n: multiply-adds, and numbers that cross the memory interface.",
            "A multiply-add is a multiplication and an addition; energy() has both, and 32 bits from the DRAM.",
            "The weights cross once for the whole batch, inputs and outputs once for each sample. Set the two energies "
            "equal and solve for n.",
        ),
        solution=derived.energy_steps,
        insight="One number from the DRAM takes as much energy as some 140 multiply-adds: a layer that just keeps the "
        "arithmetic busy still spends most of its energy on the way.",
        mistakes=(
            Mistake(
                "weights-alone",
                lambda given: derived.even_batch(given, moved="parameters"),
                "Weights cross the interface, that is right. What else does?",
                LAYERS,
            ),
            Mistake(
                "no-additions",
                lambda given: derived.even_batch(given, adds=False),
                "A multiply-add has an addition, too, and it takes energy of its own.",
                "03_one_epoch/Bottleneck operation: multiplication?",
            ),
        ),
        notes=("Bounds: factor, size of operands",),
    ),
    *REASONS,
    Number(
        id="8.10",
        title="which upgrade",
        level=4,
        example="64",
        tolerance=Fraction(0),
        draw=derived.machine_drawn,
        expected=derived.turn,
        hints=(
            "upgrades(zoo.alexnet(batch=...), laptop, 'fp32') says what twice of each would buy.",
            "Some layers wait for memory at any batch. What happens to the time of the others, as images are added?",
            "Go up from a single image, one by one.",
        ),
        solution=derived.turn_steps,
        insight="No upgrade is the best for a machine: it is the best for a network at a batch. "
        "A few images more can turn the answer round.",
        mistakes=(
            Mistake(
                "one-layer",
                derived.one_layer,
                "There the largest linear layer turns. But what an upgrade buys depends on the time of all layers.",
                UPGRADE,
            ),
        ),
        notes=("Bounds: the best GPU makes no difference", "Bounds: the best RAM or hard drive makes no difference"),
    ),
)
