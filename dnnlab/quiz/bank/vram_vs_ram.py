"""Topic 5: does it fit, and what if it does not?"""

from __future__ import annotations

from fractions import Fraction

from ..kinds import Choice, Formula, Number
from ..questions import Mistake
from .derived.vram_vs_ram import (
    INSIDE,
    OUTSIDE,
    SHOP,
    all_heads,
    all_outside,
    best_buy,
    best_share,
    best_share_steps,
    budget,
    budget_steps,
    conversations,
    even_share,
    fitting,
    fitting_steps,
    held,
    held_steps,
    mean_speed,
    no_room,
    outside,
    outside_steps,
    patience,
    seconds,
    server,
    server_steps,
    slowdown,
    stored_steps,
    takes_over,
    takes_over_steps,
    without_master,
)

FIT = "05_vram_vs_ram/Does it fit?"
MORE = "05_vram_vs_ram/Training needs more"
WHY = "05_vram_vs_ram/Why is VRAM smaller than RAM?"
NOT = "05_vram_vs_ram/What if it does not fit?"

QUESTIONS = (
    Choice(
        id="5.1",
        title="where it fits",
        level=1,
        example="'fp16 on a T4, training on an H100'",
        options=(
            "fp16 on a T4",
            "int8 on a T4",
            "fp16 on an RTX 4090",
            "fp16 on a desktop CPU",
            "training on an H100",
        ),
        several=True,
        expected=fitting,
        hints=(
            "What has to be in the external memory? Add up its parts for each of the five.",
            "Eight billion parameters of one, two or, in training with Adam, 16 bytes each.",
            'A desktop CPU has an external memory as well: device("ryzen-7950x").capacity. And fits(...) in '
            "dnnlab.memory has the sums.",
        ),
        solution=fitting_steps,
        insight="To fit on a processor is to fit in its external memory. A CPU's is slow and large, and training asks "
        "for about eight times the memory of a model in use.",
        mistakes=(
            Mistake(
                "no-ram",
                lambda given: fitting(given) - {"fp16 on a desktop CPU"},
                "One more fits: a CPU is a processor, too, and RAM is its external memory. It is slow, but large.",
                FIT,
            ),
            Mistake(
                "rounded",
                lambda given: fitting(given) | {"fp16 on a T4"},
                "One of these does not fit, by a small margin: beside the weights, the keys and values of 8,192 "
                "tokens need room.",
                FIT,
            ),
            Mistake(
                "training",
                lambda given: fitting(given) | {"training on an H100"},
                "Training keeps more for each parameter than its weight: a gradient, a master copy, Adam's two "
                "numbers.",
                MORE,
            ),
        ),
        notes=("Double buffering: what it means to fit on a processor",),
    ),
    Choice(
        id="5.2",
        title="room or speed",
        level=2,
        example="'DDR5'",
        options=tuple(SHOP),
        expected=best_buy,
        draw=budget,
        hints=(
            "First the room: how many bytes do the weights need, and what do they cost in each memory?",
            "Then the speed: for each token all weights are read once.",
            "Of the memories that you can afford, the fastest.",
        ),
        solution=budget_steps,
        insight="The same money buys room or speed. VRAM is smaller than RAM because it is faster, and a byte of it "
        "dearer.",
        mistakes=(
            Mistake(
                "not-enough",
                lambda given: "HBM3",
                "It is the fastest, but what your money buys of it does not hold all weights.",
                WHY,
            ),
            Mistake(
                "too-slow",
                lambda given: "DDR5",
                "It has the most room for the money. But your budget buys enough of a faster memory.",
                WHY,
            ),
        ),
        notes=("Double buffering: why VRAM is smaller than RAM",),
    ),
    Formula(
        id="5.3",
        title="weights in two memories",
        level=2,
        example="'V/fast'",
        names=("V", "R", "fast", "slow"),
        expected=lambda given: slowdown(),
        hints=(
            "How long does it take to read each of the two parts?",
            "One part is read after the other.",
            "How long would all of it take from VRAM?",
        ),
        solution=stored_steps,
        insight="Times add up, speeds do not: a small share in a slow memory soon takes most of the time.",
        mistakes=(
            Mistake(
                "mean-speed",
                mean_speed,
                "You read everything at the mean of the two bandwidths. But the slow memory takes more of the "
                "time than of the bytes: work out the time of each part for itself.",
                NOT,
            ),
            Mistake(
                "seconds",
                seconds,
                "These are the seconds of the two parts. How many times as long is that as with all bytes in VRAM?",
                NOT,
            ),
            Mistake(
                "other-part",
                lambda given: slowdown(OUTSIDE, INSIDE),
                "You have the two parts the wrong way round: R bytes lie in the slow memory.",
                NOT,
            ),
            Mistake(
                "all-outside",
                all_outside,
                "So many times as long it would take with all bytes in RAM. Here V of them lie in VRAM.",
                NOT,
            ),
            Mistake(
                "against-a-part",
                lambda given: 1 + OUTSIDE / INSIDE * all_outside(given),
                "You compare with reading V bytes. If all bytes were in VRAM, there would be R more to read.",
                NOT,
            ),
        ),
    ),
    Number(
        id="5.4",
        title="how many conversations",
        level=2,
        example="'12'",
        expected=conversations,
        draw=server,
        hints=(
            "How many bytes are left beside the weights?",
            "A token keeps a key and a value for each key-value head of each layer, two bytes a number.",
            "How many conversations of this length find room, whole ones?",
        ),
        solution=server_steps,
        insight="With many users the cache of keys and values, not the model, fills the memory. That is why models "
        "share keys and values between heads.",
        mistakes=(
            Mistake(
                "query-heads",
                lambda given: conversations(given, share=all_heads()),
                "You count a key and a value for each of the 32 heads. Heads share them here: which heads are kept?",
                FIT,
            ),
            Mistake(
                "keys-only",
                lambda given: conversations(given, share=Fraction(1, 2)),
                "There is a key and a value for each token.",
                FIT,
            ),
            Mistake(
                "no-weights",
                lambda given: conversations(given, weights=False),
                "The weights have to be in the same memory.",
                FIT,
            ),
        ),
    ),
    Formula(
        id="5.5",
        title="training state on many devices",
        level=3,
        example="'6·P/d'",
        names=tuple("Pd"),
        expected=lambda given: held(),
        hints=(
            "List what there is for each parameter, with its bytes: five things.",
            "Which of them are divided, and which does every device hold whole?",
            "zero(...) in dnnlab.memory shows four ways to divide.",
        ),
        solution=held_steps,
        insight="With many devices only the weights are left: an eighth of the whole. To divide these as well costs "
        "half as much communication again.",
        mistakes=(
            Mistake(
                "gradients-whole",
                lambda given: held(1),
                "You leave the gradients whole on each device. Here they are divided as well.",
                MORE,
            ),
            Mistake(
                "all-divided",
                lambda given: held(3),
                "You divide everything. The weights stay whole on each device.",
                MORE,
            ),
            Mistake(
                "no-master",
                without_master,
                "Something of 4 bytes is missing: in mixed precision Adam does not update the 2-byte weight itself.",
                MORE,
            ),
        ),
    ),
    Formula(
        id="5.6",
        title="where attention takes over",
        level=3,
        example="'2·h + a'",
        names=tuple("ha"),
        expected=lambda given: takes_over(),
        hints=(
            "transformer_layer_saved() in dnnlab.memory says what a layer keeps; .published leaves out the small "
            "statistics.",
            "Set the part with the square of s equal to the rest. The batch cancels.",
            "What is left is one equation for s.",
        ),
        solution=takes_over_steps,
        insight="Beyond this length, and it is not long, most of what is kept are the weights of attention. Those are "
        "what fused attention makes again in the backward pass.",
        mistakes=(
            Mistake(
                "no-dropout",
                lambda given: takes_over(dropout=False),
                "Dropout is in the layer as well. It keeps masks, and the weights of attention once more.",
                MORE,
            ),
        ),
    ),
    Number(
        id="5.7",
        title="how much may lie outside",
        level=3,
        example="'12 %'",
        tolerance=Fraction(1, 50),
        expected=outside,
        draw=patience,
        hints=(
            "One token reads each weight once. How long does that take with all weights inside, and how long may it "
            "take?",
            "The weights outside arrive while the layer before is at work: the longer of the two decides.",
            "Once arrival decides, how many bytes does the link bring in the time there is?",
        ),
        solution=outside_steps,
        insight="The link is so much slower than the memory that a few per cent outside set the pace, however much "
        "lies inside.",
        mistakes=(
            Mistake(
                "in-turns",
                lambda given: outside(given, "serial"),
                "You let each layer wait for its weights and then work. With double buffering they arrive during the "
                "work on the layer before.",
                NOT,
            ),
            Mistake(
                "no-sign",
                lambda given: 100 * outside(given),
                "This is a percentage without its sign: write it as '12 %', or as a fraction of 1.",
                NOT,
            ),
        ),
    ),
    Formula(
        id="5.8",
        title="two processors at once",
        level=4,
        example="'slow/W'",
        names=("W", "M", "fast", "slow"),
        expected=best_share,
        hints=(
            "Each processor reads its own part, both at the same time. What decides how long a pass takes?",
            "Leave M aside at first: with which share are both done at the same moment?",
            "Now M: at least so much must lie outside. Which of the two shares is the right one, and when?",
        ),
        solution=best_share_steps,
        insight="As long as there is room, the bandwidths add up: W/(fast + slow). The slow memory is a help, not only "
        "a last resort.",
        mistakes=(
            Mistake(
                "room-enough",
                lambda given: even_share(),
                "That is the best share as long as what is left finds room inside. And if it does not?",
                NOT,
            ),
            Mistake(
                "only-what-must",
                lambda given: no_room(),
                "So much has to lie outside, but more may be better: the two processors work at the same time.",
                NOT,
            ),
        ),
    ),
)
