"""Topic 1: what a layer asks of the machine."""

from __future__ import annotations

from fractions import Fraction

from ..kinds import Choice, Formula, Number
from ..questions import Mistake
from .derived import computational_view as derived

PARAMETERS = "01_computational_view/Parameters"
LINEAR = "02_layer_costs/Linear layers: the same line without an image"
ACTIVATIONS = "01_computational_view/Activations"
WORK = "01_computational_view/MACs: is there work for everyone?"
READY = "01_computational_view/What must be ready first?"


QUESTIONS = (
    Number(
        id="1.1",
        title="time to load a linear layer",
        level=1,
        example="'3.2 ms'",
        unit="s",
        draw=derived.draw_linear,
        expected=lambda given: derived.load(derived.linear(given).parameters, given["device"], given["dtype"]),
        hints=(
            "How many weights does the line out[n,k] += weight[k,c] * inp[n,c] index?",
            "How many bytes is one number of this type?",
            "device(...).bandwidth is in bytes a second: how many seconds do your bytes take?",
        ),
        solution=derived.load_steps,
        insight="A linear layer has a weight for each pair of input and output, and all of them must cross, however "
        "few samples there are.",
        mistakes=(
            Mistake(
                "notes-parameters",
                lambda given: derived.load(given["k"], given["device"], given["dtype"]),
                "This loads one number for each output. The notes' table says so, but each output has a weight for "
                "every input.",
                LINEAR,
            ),
            Mistake(
                "activations",
                lambda given: derived.load(given["k"] + given["c"], given["device"], given["dtype"]),
                "These are the numbers that go in and come out. The parameters lie between each two of them.",
                PARAMETERS,
            ),
        ),
        notes=("Computational view: parameters, size", "Computational view: parameters, time to load"),
    ),
    Number(
        id="1.2",
        title="lanes with work",
        level=2,
        example="'80 %'",
        draw=derived.draw_rounds,
        expected=derived.busy,
        hints=(
            "Each output of the layer can be summed by itself. How many outputs are there, for one image?",
            "How many rounds of all lanes do they take? The last one counts whole, even if few lanes have work in it.",
            "The share is results, divided by rounds times lanes.",
        ),
        solution=derived.lanes_steps,
        insight="A little more than a whole number of rounds is the worst case. A larger batch makes more rounds, and "
        "the last one matters less.",
        mistakes=(
            Mistake(
                "last-round",
                derived.busy_last,
                "This is the share in the last round alone. In the rounds before it every lane has work.",
                WORK,
            ),
            Mistake(
                "no-rounds",
                derived.results_a_lane,
                "This is how many results there are for each lane. What share of the lanes has work, when each round "
                "takes equally long?",
                WORK,
            ),
            Mistake(
                "idle",
                lambda given: 1 - derived.busy(given),
                "This is the share of the lanes that have nothing to do.",
                WORK,
            ),
            Mistake(
                "no-percent",
                lambda given: 100 * derived.busy(given),
                "The digits are right, but a share lies between 0 and 1: write the sign, as in 80 %.",
            ),
            Mistake(
                "sums-too",
                lambda given: derived.busy(given, split=True),
                "Here every multiply-add is handed out by itself. Those of one output are a sum: one lane does them "
                "one after the other.",
                WORK,
            ),
        ),
        notes=(
            "Computational view: MACs, parallelism of a layer",
            "Computational view: MACs, fit to the hardware",
        ),
    ),
    Formula(
        id="1.3",
        title="what overlap buys",
        level=2,
        example="'C/M'",
        names=("C", "M"),
        expected=lambda given: derived.gain(),
        hints=(
            "Without overlap the two take turns. How long does the layer take then?",
            "With overlap both work at the same time. Which of them decides when the layer is done?",
            "How many times faster: the time before, divided by the time after.",
        ),
        solution=derived.gain_steps,
        insight="Never more than twice as fast, and only where both take equally long. Where one side dwarfs the other "
        "there is next to nothing to hide.",
        mistakes=(
            Mistake(
                "time-before",
                lambda given: derived.waiting(overlap=False),
                "This is how long the layer takes without overlap, in seconds. How many times faster is the other one?",
                WORK,
            ),
            Mistake(
                "time-after",
                lambda given: derived.waiting(overlap=True),
                "This is how long the layer takes with overlap, in seconds. How many times faster is that?",
                WORK,
            ),
            Mistake(
                "best-case",
                derived.best_gain,
                "So it is where both take equally long. What if one of them takes far longer than the other?",
                WORK,
            ),
        ),
        notes=("Computational view: MACs, overlap with memory",),
    ),
    Choice(
        id="1.4",
        title="parameters that fit beside activations that do not",
        level=2,
        example="'features.2, classifier.3'",
        options=derived.LAYERS,
        several=True,
        draw=derived.draw_chip,
        expected=lambda given: derived.fitting(given, parameters=True, activations=False),
        hints=(
            "device(...).on_chip is in bytes. fp16 takes two bytes a number.",
            "Parameters do not know the batch: net[name].parameters. Inputs and outputs grow with it.",
            "Early layers have few filters and large images, late ones many weights and small images, or none.",
        ),
        solution=derived.chip_steps,
        insight="Along a network the weights grow and the images shrink. Early layers keep their weights on the chip "
        "and stream the image, late ones do it the other way round.",
        mistakes=(
            Mistake(
                "parameters-alone",
                lambda given: derived.fitting(given, parameters=True, activations=None),
                "The parameters of these fit, but inputs and outputs of at least one of them do as well.",
                ACTIVATIONS,
            ),
            Mistake(
                "turned-round",
                lambda given: derived.fitting(given, parameters=False, activations=True),
                "It is the other way round: the activations of these fit, and the parameters do not.",
                ACTIVATIONS,
            ),
        ),
        notes=(
            "Computational view: parameters, fit on-chip",
            "Computational view: activations, size",
            "Computational view: activations, fit on-chip",
        ),
    ),
    Number(
        id="1.5",
        title="a batch that hides the loading",
        level=3,
        example="'12'",
        draw=derived.draw_shared,
        expected=derived.whole,
        hints=(
            "The weights cross once, however many samples there are. The arithmetic grows with every sample.",
            "For one sample: net[layer].ops operations at the peak rate device(...).rate('fp16'), against two bytes "
            "for each parameter at device(...).bandwidth.",
            "How often must the arithmetic of one sample be repeated until the load is hidden? Samples come whole.",
        ),
        solution=derived.hiding_steps,
        insight="How large the layer is does not matter: in fp16 each weight must be used about as often as the "
        "machine balance says. Positions and tokens are uses, just as samples are.",
        mistakes=(
            Mistake(
                "samples-only",
                lambda given: derived.whole(given, positions=False),
                "This would be right if each sample used a weight once. Here a weight serves every position of the "
                "image, or every token, of each sample.",
                PARAMETERS,
            ),
            Mistake(
                "not-whole",
                derived.hiding,
                "This is where the two meet. No machine runs a part of a sample: from which whole batch on is the load "
                "hidden?",
                PARAMETERS,
            ),
        ),
        notes=("Computational view: parameters, overlap of loading", "Computational view: parameters, re-use"),
    ),
    Number(
        id="1.6",
        title="how long an activation stays in training",
        level=3,
        example="'12'",
        tolerance=Fraction(1, 1000),
        draw=derived.draw_kept,
        expected=lambda given: derived.stay(given, training=True),
        hints=(
            "In training the backward pass reads activations again. Which layers of it read the output of this ReLU?",
            "The next convolution needs it for the gradient of its weights. The slope of ReLU can be read off its own "
            "output, too. Which of their backward passes comes later?",
            "Count the layers behind this one, forwards, and then backwards down to the last reader, which counts.",
        ),
        solution=derived.stay_steps,
        insight="What is made first is read last, so the early activations, which are the largest, wait longest. That "
        "is what checkpointing is about.",
        mistakes=(
            Mistake(
                "inference",
                lambda given: derived.stay(given, training=False),
                "In inference this would be right: the next layer reads it, and it may go. In training the backward "
                "pass asks for it again.",
                ACTIVATIONS,
            ),
            Mistake(
                "forward-only",
                lambda given: derived.behind(given),
                "Here the forward pass is over. The backward pass begins at the last layer and comes to this one late.",
                ACTIVATIONS,
            ),
            Mistake(
                "next-layer",
                lambda given: derived.stay(given, training=True) - derived.stay(given, training=False),
                "This stops at the backward pass of the layer that reads it. ReLU has one as well: what does its slope "
                "depend on?",
                ACTIVATIONS,
            ),
        ),
        notes=("Computational view: activations, how long on-chip",),
    ),
    Number(
        id="1.7",
        title="rows of a camera",
        level=3,
        example="'12'",
        tolerance=Fraction(1, 1000),
        draw=derived.draw_stream,
        expected=lambda given: derived.needed(given)["input"],
        hints=(
            "Begin at the layer: how many rows of the tensor before it does its first output row look at? The border "
            "counts as there.",
            "Go on backwards. To have m rows, a 3 × 3 convolution with a border asks for m + 1; with steps of two the "
            "last of m rows lies 2·(m - 1) further down.",
            "dependencies(net, layer, (0, 1), None, (0, 1), None) of dnnlab.receptive goes the whole way.",
        ),
        solution=derived.rows_steps,
        insight="Layers that look at a window can start long before the picture is complete; how long depends on every "
        "layer on the way, and most of all on those with steps of two.",
        mistakes=(
            Mistake(
                "receptive-field",
                derived.field,
                "This is the receptive field of a pixel far from the border. The first row looks at the border, too, "
                "and that need not be waited for.",
                READY,
            ),
            Mistake(
                "one-layer",
                derived.just_before,
                "These are rows of the tensor just before the layer. They, too, must be made from something.",
                READY,
            ),
        ),
        notes=("Computational view: data dependencies",),
    ),
    Formula(
        id="1.8",
        title="the price of fused tiles",
        level=4,
        example="'t/r'",
        names=("t", "r"),
        expected=lambda given: derived.fused(0),
        hints=(
            "One layer back from a tile of t rows: how many rows does a window of r rows ask for?",
            "Each layer computes the rows that the one behind it asks for, in both directions. The last one computes "
            "its tile and no more.",
            "Compare what the three layers compute for one tile with three tiles of t × t.",
        ),
        solution=derived.fused_steps,
        insight="Nothing between the layers ever leaves the chip; the price is arithmetic, done again at every border. "
        "Small tiles pay most: accelerators that fuse layers live on this trade.",
        mistakes=(
            Mistake(
                "inputs",
                lambda given: derived.fused(1),
                "This counts what each layer reads. What it must compute is what the layer behind it reads.",
                READY,
            ),
            Mistake(
                "one-direction",
                lambda given: derived.fused(0, axes=1),
                "The halo lies around the tile: rows above and below, and columns left and right as well.",
                READY,
            ),
            Mistake(
                "one-layer",
                lambda given: derived.fused(1, layers=1),
                "This is the layer in the middle alone: one halo of its own. What do the other two compute?",
                READY,
            ),
            Mistake(
                "first-layer",
                lambda given: derived.fused(2, layers=1),
                "This is the first layer's share of the story, and it grows most. What do all three take together?",
                READY,
            ),
        ),
        notes=("Computational view: data dependencies",),
    ),
)
