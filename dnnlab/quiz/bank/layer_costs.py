"""Topic 2: what each kind of layer costs."""

from __future__ import annotations

from ... import BatchNorm2d, Conv2d, MaxPool2d
from ..kinds import Choice, Formula, Statement
from ..questions import Mistake
from .derived import layer_costs as derived

SIX = "02_layer_costs/Six letters"
SISTER = "02_layer_costs/Predict: the slim sister"
LINEAR = "02_layer_costs/Linear layers: the same line without an image"
POOLING = "02_layer_costs/Pooling is a convolution in disguise"
NORM = "02_layer_costs/Batch norm: two rules for two lives"
PLACE = "02_layer_costs/Activations: may they overwrite their input?"
CELLS = "02_layer_costs/The lecture's table, cell by cell"

QUESTIONS = (
    Formula(
        id="2.1",
        title="operations of a convolution",
        level=1,
        example="'k·c'",
        names=tuple("kcrswh"),
        expected=lambda given: Conv2d(n=1).ops,
        hints=(
            "Say the line of the layer aloud: for each filter, for each output position, which products are summed?",
            "Multiply the extents of all loops: filters, positions, channels, filter height and width.",
            "Each step of the loops is a multiplication and an addition.",
        ),
        solution=derived.convolution_steps,
        insight="Every letter stands for a loop of the line; the 2 is the multiplication and the addition.",
        mistakes=(
            Mistake(
                "parameters",
                lambda given: Conv2d(n=1).parameters,
                "These are the parameters. The filter is used again at every output position.",
                SIX,
            ),
            Mistake(
                "first-addition",
                lambda given: Conv2d(n=1).ops - Conv2d(n=1).activations,
                "Here the first product of each sum is added to nothing. The question begins each sum at zero, as a "
                "machine does, so every product comes with an addition.",
                SIX,
            ),
            Mistake(
                "no-padding",
                lambda given: Conv2d(n=1, padding="valid").ops,
                "This is a convolution without padding, whose output is smaller than its input. Here it is padded.",
                SIX,
            ),
        ),
        notes=("Layers: Convolution", *(f"Symbols: {letter}" for letter in "whcsrk")),
    ),
    Statement(
        id="2.2",
        title="a slim convolution with gaps",
        level=2,
        example="'out[n,k] += weight[k,c] * inp[n,c]'",
        expected=lambda given: derived.gappy(),
        hints=(
            "Begin with a convolution, out[n,k,y,x] += weight[k,c,i,j] * inp[n,c,y+i,x+j], and let each channel meet "
            "its own filter only: which index goes?",
            "One step of i moves one row down in the filter. How far should it move in the image?",
            "Rows and columns are alike: what you do to i, do to j.",
        ),
        solution=derived.gappy_steps,
        insight="Gaps let a filter see further at no price: the window has as many places as before, and so each "
        "output takes as many operations.",
        mistakes=(
            Mistake(
                "no-gaps",
                lambda given: "out[n,k,y,x] += weight[k,i,j] * inp[n,k,y+i,x+j]",
                "This is a depth-wise convolution without gaps: neighbours in the filter meet neighbours in the image.",
                SISTER,
            ),
            Mistake(
                "stride",
                lambda given: "out[n,k,y,x] += weight[k,i,j] * inp[n,k,y*2+i,x*2+j]",
                "Here the window moves two steps at a time: that is a stride. The gaps are to be inside the window.",
                SISTER,
            ),
            Mistake(
                "all-channels",
                lambda given: "out[n,k,y,x] += weight[k,i,j] * inp[n,c,y+2*i,x+2*j]",
                "The gaps are right, but each filter meets every channel here: c stands on the right only, so the line "
                "sums over it.",
                SISTER,
            ),
        ),
        notes=("Layers: Depth-wise convolution",),
    ),
    Formula(
        id="2.3",
        title="two slim convolutions for a full one",
        level=2,
        example="'k/c'",
        names=tuple("kcrswh"),
        expected=lambda given: derived.share(),
        hints=(
            "Write down the operations of the three convolutions, each with its own loops.",
            "The depth-wise one has c filters and sums over no channel; the pointwise one has a window of one element.",
            "Add the two, divide by the full one, and see which letters go.",
        ),
        solution=derived.separable_steps,
        insight="What is left depends on the number of filters and the window alone, not on the image or the channels. "
        "For 3 × 3 windows and many filters it is little more than a ninth.",
        mistakes=(
            Mistake(
                "only-depth-wise",
                lambda given: derived.separable()[0] / derived.separable()[2],
                "This is the depth-wise convolution alone. It cannot mix channels: the pointwise one behind it must, "
                "and that is usually the dearer of the two.",
                SISTER,
            ),
            Mistake(
                "only-pointwise",
                lambda given: derived.separable()[1] / derived.separable()[2],
                "This is the pointwise convolution alone. The depth-wise one is slim, but it is not free.",
                SISTER,
            ),
        ),
        notes=("Layers: Depth-wise convolution",),
    ),
    Formula(
        id="2.4",
        title="comparisons of a max pooling",
        level=2,
        example="'c·w/s'",
        names=tuple("crswh"),
        expected=lambda given: MaxPool2d(n=1).ops,
        hints=(
            "How many windows fit side by side into w columns? A window that does not fit is left out.",
            "How many elements does one window hold, and in how many channels does all this happen?",
            "The number of windows is rounded before anything is multiplied by it.",
        ),
        solution=derived.pooling_steps,
        insight="Where all divides this is c·h·w, one comparison for each input element, however large the window: "
        "that is what O(1) means in the notes.",
        mistakes=(
            Mistake(
                "outputs",
                lambda given: MaxPool2d(n=1).activations,
                "These are the windows. Each of them compares all of its elements.",
                POOLING,
            ),
            Mistake(
                "first-free",
                lambda given: MaxPool2d(n=1).ops - MaxPool2d(n=1).activations,
                "The first element of a window could do without a comparison, that is right. The question counts one "
                "for each element, as a machine does that begins with the smallest number there is.",
                POOLING,
            ),
            Mistake(
                "every-position",
                lambda given: MaxPool2d(n=1, stride=1).ops,
                "Here a window starts at every position. In this layer the next one starts where the last one ended.",
                POOLING,
            ),
        ),
        notes=("Layers: Pooling",),
    ),
    Formula(
        id="2.5",
        title="batch norm, folded away",
        level=2,
        example="'k·r'",
        names=tuple("kcrs"),
        expected=lambda given: derived.folded().conv.parameters,
        hints=(
            "At inference the statistics stand still: batch norm is out = scale·inp + shift, two constants a channel.",
            "The convolution multiplies by constants anyway. What can the scale be multiplied into?",
            "The shift is added once to each output of a filter. What does a convolution call such a number?",
        ),
        solution=derived.folded_steps,
        insight="Of four numbers a channel only one is left, and the pass over the whole image that batch norm took is "
        "gone altogether.",
        mistakes=(
            Mistake(
                "no-shift",
                lambda given: Conv2d().parameters,
                "The scale goes into the weights, but nothing there can add: where does the shift go?",
                NORM,
            ),
            Mistake(
                "not-folded",
                lambda given: Conv2d().parameters + BatchNorm2d(c="k").parameters,
                "Here scale and shift are still kept beside the convolution. One of them can be multiplied into "
                "numbers that are there anyway.",
                NORM,
            ),
            Mistake(
                "with-statistics",
                lambda given: Conv2d().parameters + BatchNorm2d(c="k").parameters + BatchNorm2d(c="k").state,
                "This is what training keeps, with mean and variance. At inference these are constants, and constants "
                "can be worked into others.",
                NORM,
            ),
        ),
        notes=("Layers: Normalization",),
    ),
    Choice(
        id="2.6",
        title="overwriting the input",
        level=3,
        example="'square, mish'",
        options=tuple(derived.CURVES),
        several=True,
        expected=lambda given: derived.overwriting(),
        hints=(
            "The backward pass needs the slope of the curve. Can you tell it from the output, once the input is gone?",
            "Look for two inputs with the same output. If their slopes differ, the output does not tell enough.",
            "A curve that always rises gives each output once, so its slope can be worked out from there.",
        ),
        solution=derived.places_steps,
        insight="What counts is not how difficult the function is, but whether its output still tells the slope.",
        mistakes=(
            Mistake(
                "only-pieces",
                lambda given: {"leaky ReLU"},
                "An exponential is no obstacle. The slope of exp is exp itself, and that is the output: which others "
                "give each output only once?",
                PLACE,
            ),
            Mistake(
                "sign-lost",
                lambda given: derived.overwriting() | {"square", "absolute value"},
                "Two inputs that differ in their sign have the same square, and the same absolute value. Have they the "
                "same slope?",
                PLACE,
            ),
        ),
        notes=("Layers: Activation Functions",),
    ),
    Choice(
        id="2.7",
        title="layers of MobileNetV2 that keep the multipliers busy",
        level=3,
        example="'batch norm, linear'",
        options=tuple(derived.MOBILE),
        several=True,
        draw=derived.draw_machine,
        expected=derived.computing,
        hints=(
            "For each layer: operations, divided by the bytes that must cross. on(net[name], device(...)) does it.",
            "device(...).balance('fp16') says how many operations the machine does while a byte crosses.",
            "Batch and number of channels decide how often a loaded number is used. Where are both large?",
        ),
        solution=derived.bound_steps,
        insight="The notes call convolutions compute-bound. With few channels, or one a filter, they are not; and a "
        "linear layer can be, with enough samples. A bound belongs to a layer at a size, on a machine.",
        mistakes=(
            Mistake(
                "as-the-notes",
                derived.noted,
                "So says the lecture's table of convolutions. It holds where many channels are summed and many filters "
                "share what is loaded: the first layer sees three channels, the depth-wise one a single one a filter.",
                CELLS,
            ),
            Mistake(
                "all-products",
                lambda given: derived.noted(given) - {"depth-wise"} | {"linear"},
                "These do multiply and add, and the depth-wise one you have rightly left out. But three input channels "
                "give the first layer little to do for each number that it moves.",
                CELLS,
            ),
        ),
        notes=("Layers: Linear/Fully-Connected", "Layers: Depth-wise convolution", "Layers: Convolution"),
    ),
    Formula(
        id="2.8",
        title="rows from which on it is compute-bound",
        level=4,
        example="'d/B'",
        names=("d", "B"),
        expected=lambda given: derived.balanced(derived.square().ops, derived.square().traffic),
        hints=(
            "Count the operations of t rows, and the numbers that cross: rows in, weights, rows out.",
            "Arithmetic takes as long as memory where the operations are B times the numbers moved.",
            "That equation is linear in t. Bring all t to one side before you divide.",
        ),
        solution=derived.balanced_steps,
        insight="Very wide layers need about B/2 rows, narrower ones more, and with d at or below B no batch is large "
        "enough. “Equal”, says the notes' table: at one batch, for one width, on one machine.",
        mistakes=(
            Mistake(
                "weights-only",
                lambda given: derived.balanced(derived.square().ops, derived.square().parameters),
                "Here only the weights are moved. The rows come and go as well, and with many rows they are what is "
                "moved most.",
                LINEAR,
            ),
            Mistake(
                "macs",
                lambda given: derived.balanced(derived.square().macs, derived.square().traffic),
                "Here a multiply-add counts once. B counts operations, and a multiply-add is two of them.",
                LINEAR,
            ),
            Mistake(
                "no-outputs",
                lambda given: derived.balanced(
                    derived.square().ops, derived.square().traffic - derived.square().inputs
                ),
                "The result must go back to memory, too: t rows come in, and t rows go out.",
                LINEAR,
            ),
        ),
        notes=("Layers: Batched Linear",),
    ),
)
