"""Topic 7: remember an activation, or compute it again."""

from __future__ import annotations

from fractions import Fraction

from ...checkpointing import best_plan, closed_forms, extra_forwards, store_none
from ...notation import symbol
from ..kinds import Choice, Formula, Number, Plan, Setting
from ..questions import Mistake, Step
from .derived import checkpointing as derived

KEPT = "07_checkpointing/Why anything is kept at all"
NONE = "07_checkpointing/The other extreme"
SEGMENTS = "07_checkpointing/Segments"
NESTED = "07_checkpointing/Segments within segments"
STEP = "07_checkpointing/A real training step"

QUESTIONS = (
    Choice(
        id="7.1",
        title="the fullest moment",
        level=1,
        example="'loss'",
        options=("first forward", "last forward", "loss", "first backward", "last backward"),
        expected=derived.fullest,
        hints=(
            "Walk through the step and count: what does each operation add, and what does it free?",
            "Outputs pile up while the forward pass runs. Is anything else made before the first of them is freed?",
            "A backward reads a gradient and makes another one. Count while it runs, not when it is over.",
        ),
        solution=derived.fullest_steps,
        insight="All outputs and two gradients: the backward pass begins with everything that the forward pass left.",
        mistakes=(
            Mistake(
                "gradients",
                lambda given: "last forward",
                "All outputs are there then, that is right. But nothing has been freed yet, and more is to come.",
                KEPT,
            ),
            Mistake(
                "frees",
                lambda given: "last backward",
                "By then almost everything is gone: each backward frees the output that only it needed.",
                KEPT,
            ),
            Mistake(
                "one-gradient",
                lambda given: "loss",
                "All outputs are there, and a first gradient is made. Is that the most that are held at once?",
                KEPT,
            ),
        ),
        notes=("Checkpointing: store all activations",),
    ),
    Choice(
        id="7.2",
        title="other gradients",
        level=1,
        example="'neither'",
        options=("equal", "close", "neither"),
        expected=lambda given: derived.gradients(),
        hints=(
            "What is computed the second time, from what?",
            "The same operations on the same numbers, in the same order: what could differ?",
        ),
        solution=lambda given: [
            Step("A replayed segment starts from the very numbers that its first run started from."),
            Step(
                "train_step, with everything kept and with √n segments, gives gradients that are", derived.gradients()
            ),
        ],
        insight="Checkpointing changes when a number is computed, never which. Only dropout needs care: "
        "the same random mask must be drawn again.",
        mistakes=(
            Mistake(
                "rounding",
                lambda given: "close",
                "Rounding errors differ where sums are taken in another order. Is there another order here?",
                STEP,
            ),
            Mistake(
                "lost",
                lambda given: "neither",
                "Nothing is lost that the backward pass needs: what was dropped is made again before it is read.",
                STEP,
            ),
        ),
        notes=("Checkpointing: skip some and compute them again",),
        prediction="07.bits",
    ),
    Formula(
        id="7.3",
        title="the price of keeping nothing",
        level=2,
        example="'n/2'",
        names=("n",),
        expected=derived.times_as_long,
        hints=(
            "Count forwards first: how far must you run for the last backward, how far for the one before?",
            "1 + 2 + … + n has a closed form.",
            "Add the backwards, each worth two forwards, and divide by a step that runs each forward once.",
        ),
        solution=derived.times_steps,
        insight="The price grows with depth: a chain of 12 takes almost three times as long, one of 60 eleven times.",
        mistakes=(
            Mistake(
                "forward-alone",
                lambda given: closed_forms.store_none().forwards / symbol("n"),
                "That compares the forwards alone. A step has a backward pass too, and it is not run twice.",
                NONE,
            ),
            Mistake(
                "no-ratio",
                lambda given: closed_forms.store_none().forwards + 2 * symbol("n"),
                "That is the time of the step, in forwards. How many times as long is that as with everything kept?",
                NONE,
            ),
            Mistake(
                "count",
                lambda given: closed_forms.store_none().forwards,
                "So many forwards are run. A step has backwards, too; and how many times as long is all of it?",
                NONE,
            ),
        ),
        notes=("Checkpointing: less memory, more computation",),
    ),
    Number(
        id="7.4",
        title="segments that do not divide",
        level=2,
        example="14",
        tolerance=Fraction(0),
        draw=derived.uneven,
        expected=lambda given: closed_forms.sequential(given["n"], given["k"]).peak,
        hints=(
            "checkpoint_sequential rounds the length of a segment down. What is left for the last one?",
            "The last segment is needed at once, so all its outputs stay. Of the others only their inputs do.",
            "Count what is alive when the forward pass ends, then what the first backward adds.",
        ),
        solution=derived.uneven_steps,
        insight="Rounding makes the last segment long, and it is the one that is kept whole: "
        "more segments can need more memory.",
        mistakes=(
            Mistake(
                "after-forward",
                lambda given: closed_forms.sequential(given["n"], given["k"]).saved,
                "So much is alive when the forward pass ends. The peak comes a moment later.",
                SEGMENTS,
            ),
            Mistake(
                "even-segments",
                lambda given: given["k"] + -(-given["n"] // given["k"]) + 2,
                "That would hold if the stages were spread evenly. PyTorch rounds down, and one segment pays for it.",
                SEGMENTS,
            ),
        ),
        notes=("Checkpointing: skip some and compute them again",),
    ),
    Setting(
        id="7.5",
        title="how many segments for ResNet-18",
        level=3,
        example="'k = 2'",
        explorer="checkpointing",
        start=lambda given: {"chain": "resnet18", "plan": "sequential"},
        controls={"k": range(1, 13)},
        goal=derived.lowest,
        expected=derived.best_k,
        hints=(
            "Choose ResNet-18 and 'k segments (PyTorch)', and move k through all its values.",
            "Note the peaks: how far down do they go, and for which k?",
            "Among those, read which one runs the fewest operations again.",
        ),
        solution=derived.lowest_steps,
        insight="√n is for equal stages. Here large early stages set the peak, and short segments run less again.",
        mistakes=(
            Mistake(
                "square-root",
                lambda given: {"k": 4},
                "About √n segments is the rule for equal stages. The stages of ResNet-18 differ in size and in time.",
                derived.REAL,
            ),
        ),
        notes=("Checkpointing: less memory, more computation",),
    ),
    Number(
        id="7.6",
        title="the fewest extra forwards",
        level=3,
        example="12",
        tolerance=Fraction(0),
        draw=derived.slots,
        expected=lambda given: extra_forwards(given["n"], given["c"]),
        hints=(
            "Find r first: the smallest number for which C(c + r, c) is at least n.",
            "If every stage were run again r times, that would be r·n. Some need fewer.",
            "The rule of Griewank and Walther takes C(c + r, r − 1) off.",
        ),
        solution=derived.slots_steps,
        insight="The reach of c slots and r replays, C(c + r, c), grows so fast that r stays small: "
        "three slots and three replays go through 20 stages, six and three through 84.",
        mistakes=(
            Mistake(
                "all-forwards",
                lambda given: given["n"] + extra_forwards(given["n"], given["c"]),
                "That counts the first run through the chain, too. How many come on top of it?",
                NESTED,
            ),
            Mistake(
                "every-stage",
                lambda given: closed_forms.repeats(given["n"], given["c"]) * given["n"],
                "r is how often a stage is run again at most. Not every stage needs so many.",
                NESTED,
            ),
        ),
        notes=("Checkpointing: less memory, more computation",),
    ),
    Plan(
        id="7.7",
        title="a plan within a budget",
        level=3,
        example="[1, 2]",
        draw=derived.lengths,
        chain=derived.equal_chain,
        budget=lambda given: given["budget"],
        expected=lambda given: best_plan(derived.equal_chain(given), given["budget"]),
        hints=(
            "Start with the tensors that √n segments keep, and let simulate() tell the time and the peak.",
            "The fullest moment is when a segment has been run again: kept inputs, its outputs, and two gradients. "
            "Make all segments equally full, not equally long.",
            "Segments are run again from the last to the first, and inputs are freed on the way: earlier ones may be "
            "longer. And the last stretch is not run again at all, so what it holds costs no time.",
        ),
        solution=derived.plan_steps,
        insight="The best plan fills the budget at every turn, and runs nothing again that there is room to keep.",
        mistakes=(
            Mistake(
                "only-the-input",
                lambda given: store_none(given["stages"]),
                "It fits with room to spare, and pays for it at every stage. Use the memory that you have.",
                NONE,
            ),
        ),
        notes=("Checkpointing: skip some and compute them again",),
    ),
    Plan(
        id="7.8",
        title="drop it and make it again",
        level=4,
        example="'Fe0 Fe1 Fe2 Fe3 L B3 B2 B1 B0'",
        chain=lambda given: derived.TIGHT,
        budget=lambda given: derived.ROOM,
        expected=lambda given: best_plan(derived.TIGHT, derived.ROOM, "exact"),
        hints=(
            "Nested segments keep a tensor from when it is made until its backward has used it. A schedule need not.",
            "Stage 0 is slow and its output small: x1 should be made as seldom as can be. Which tensor is large, and "
            "quickly made again?",
            "Free x2 while it is in the way, and make it again from x1 when its turn comes.",
        ),
        solution=derived.tight_steps,
        insight="Plans that never drop what they will need are the best for almost every chain and budget, "
        "but a large tensor that is cheap to make may be worth dropping and making twice.",
        mistakes=(
            Mistake(
                "persistent",
                lambda given: best_plan(derived.TIGHT, derived.ROOM, "persistent"),
                "No plan in nested segments is faster than this one. But a schedule may also free a tensor that it "
                "needs later, and make it once more.",
                NESTED,
            ),
        ),
        notes=("Checkpointing: less memory, more computation",),
    ),
)
