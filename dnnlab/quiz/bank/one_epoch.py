"""Topic 3: one step of training, forward, backward and update."""

from __future__ import annotations

from ... import SGD, Adam, Conv2d, Linear, epoch
from ...extremes import Max, Min
from ..kinds import Choice, Formula, Number, Setting
from ..questions import Mistake
from .derived import one_epoch as derived
from .derived.one_epoch import WAITS

BACK = "03_one_epoch/The way back"
FIRST = "03_one_epoch/Who does not need a gradient"
MEMORY = '03_one_epoch/"Memory: 1x of the forward pass"'
UPDATE = "03_one_epoch/Gradient update: the third phase is a line too"
KIND = "03_one_epoch/Bottleneck operation: multiplication?"

QUESTIONS = (
    Number(
        id="3.1",
        title="the way back, in operations",
        level=1,
        example="'1.5'",
        prediction="03.backward",
        expected=lambda given: derived.times(epoch(Conv2d())),
        hints=(
            "out[...] += weight[...] * inp[...]: the derivative of a product has a part for each factor.",
            "d_weight is what the update needs, d_inp what the layer before needs. What loops has each of their lines?",
        ),
        solution=derived.convolution_steps,
        insight="A product has two gradients, each as much work as the product itself.",
        mistakes=(
            Mistake(
                "one-gradient",
                lambda given: derived.times(epoch(Conv2d(), input_gradient=False)),
                "This is the gradient of the weights alone. A layer in the middle must also say what its input should "
                "have been.",
                FIRST,
            ),
            Mistake(
                "whole-step",
                lambda given: derived.times(epoch(Conv2d())) + 1,
                "This is forward and backward pass together. How much is the backward pass by itself?",
                BACK,
            ),
        ),
        notes=("Epoch: forward pass, compute", "Epoch: backward pass, compute"),
    ),
    Formula(
        id="3.2",
        title="where the first layer saves",
        level=2,
        example="'L/3'",
        names=("L",),
        expected=lambda given: derived.stack(derived.times(derived.first())),
        hints=(
            "Give each layer's forward pass one unit of work. What does a layer inside the network take backward?",
            "The first layer has weights to learn, but in front of it there is only data. Which gradient can it spare?",
            "Add up all layers, and divide by what the forward pass takes.",
        ),
        solution=derived.stack_steps,
        insight="“Twice” is what a deep network comes near to. With two layers, a quarter of that is saved.",
        mistakes=(
            Mistake(
                "all-layers",
                lambda given: derived.times(epoch(Linear())),
                "This holds for a layer inside the network. One of the L layers is not inside.",
                FIRST,
            ),
            Mistake(
                "first-for-free",
                lambda given: derived.stack(0),
                "Here the first layer does nothing on the way back. Its weights must learn, too: one gradient stays.",
                FIRST,
            ),
            Mistake(
                "whole-step",
                lambda given: derived.stack(derived.times(derived.first())) + 1,
                "This is forward and backward pass together.",
                BACK,
            ),
        ),
        notes=("Epoch: backward pass, compute",),
    ),
    Choice(
        id="3.3",
        title="where multiplications lead by count",
        level=2,
        example="'forward, SGD'",
        options=("forward", "backward", "SGD", "momentum", "Adam"),
        several=True,
        expected=lambda given: derived.led(None),
        hints=(
            "A multiply-add is one multiplication and one addition. Is there more of one than of the other?",
            "Write the update's lines down, and count each kind of operation for one parameter.",
            "SGD: param = param - lr * grad. Momentum has a line before that. Adam has two, and a longer one behind.",
        ),
        solution=derived.led_steps,
        insight="By count, multiplication leads in the updates that remember something, where the notes do not say so, "
        "and is level with addition in the passes, where they do. By energy it leads everywhere.",
        mistakes=(
            Mistake(
                "as-the-notes",
                lambda given: {"forward", "backward"},
                "So say the notes, and weighed by energy it is so. By count, each multiplication of these passes comes "
                "with an addition: they are level. What of the updates?",
                KIND,
            ),
            Mistake(
                "by-energy",
                lambda given: derived.led("fp32"),
                "Weighed by energy, multiplications do lead in all of these. By count some of them are level with "
                "another kind.",
                KIND,
            ),
        ),
        notes=(
            "Epoch: forward pass, bottleneck",
            "Epoch: backward pass, bottleneck",
            "Epoch: gradient update, bottleneck",
        ),
    ),
    Formula(
        id="3.4",
        title="how little an update computes",
        level=2,
        example="'c/k'",
        names=tuple("nkcrswh"),
        expected=lambda given: derived.update_share(),
        hints=(
            "The line of SGD is param[i] = param[i] - lr * grad[i]. How many operations is that for each parameter?",
            "How many parameters has the convolution, and how many operations does its forward pass take?",
            "In the forward pass each weight takes part in a multiply-add at every position of every sample.",
        ),
        solution=derived.update_steps,
        insight="One over the re-use of a weight. A convolution hardly notices the update's arithmetic; a linear layer "
        "with a small batch does.",
        mistakes=(
            Mistake(
                "subtractions-only",
                lambda given: derived.update_share(("subtract",)),
                "This counts the subtraction, as the notes do. The learning rate costs a multiplication each.",
                UPDATE,
            ),
        ),
        notes=("Epoch: gradient update, compute",),
    ),
    Formula(
        id="3.5",
        title="what the first layer moves on the way back",
        level=3,
        example="'n·k'",
        names=("n", "c", "k"),
        expected=lambda given: derived.first().backward.traffic,
        hints=(
            "Which gradients does the first layer make, and which does nobody need?",
            "The line is d_weight[k,c] += d_out[n,k] * inp[n,c]. Each tensor in it crosses once.",
            "Add up the elements of what is read and of what is written.",
        ),
        solution=derived.first_steps,
        insight="Exactly what its forward pass moves: in a first layer “memory 1x” holds for traffic as well. A layer "
        "inside reads its weights again and writes one gradient more.",
        mistakes=(
            Mistake(
                "middle-layer",
                lambda given: epoch(Linear()).backward.traffic,
                "This is right for a layer inside the network. Who would use the gradient of the data?",
                FIRST,
            ),
            Mistake(
                "weights-again",
                lambda given: derived.first().backward.traffic + Linear().parameters,
                "The weights are read for the gradient of the input, which nobody needs here. The gradient of the "
                "weights does without them.",
                MEMORY,
            ),
        ),
        notes=("Epoch: forward pass, memory", "Epoch: backward pass, memory"),
    ),
    Number(
        id="3.6",
        title="a step of Adam",
        level=3,
        example="'3.2 ms'",
        unit="s",
        draw=derived.draw_update,
        expected=lambda given: derived.adam(given).total,
        hints=(
            "For each parameter Adam keeps two numbers beside it. What does a step read, and what does it write?",
            "Every number is used once, so count the bytes that cross: fp32 takes four for each number.",
            "Bytes over device(...).bandwidth; then see whether the arithmetic, Adam(p=...).ops, takes longer.",
        ),
        solution=derived.adam_steps,
        insight="Nothing is used twice, so no batch makes it faster, and neither would a better multiplier. Fewer "
        "bytes a number would.",
        mistakes=(
            Mistake(
                "reads-only",
                lambda given: derived.crossing(given, Adam().traffic - Adam().parameters - Adam().state),
                "This is what is read. The parameters and both running means must be written back.",
                WAITS,
            ),
            Mistake(
                "no-state",
                lambda given: derived.crossing(given, SGD().traffic),
                "This is a step of SGD: parameter and gradient in, parameter out. What does Adam remember?",
                UPDATE,
            ),
            Mistake(
                "no-gradient",
                lambda given: derived.crossing(given, Adam().traffic - Adam().inputs),
                "Parameters and running means are read and written here. What else does the step read?",
                UPDATE,
            ),
            Mistake(
                "arithmetic",
                lambda given: float(derived.adam(given).compute),
                "This is what the arithmetic takes at the peak rate. Which of the two engines is the slower one here?",
                WAITS,
            ),
        ),
        notes=("Epoch: gradient update, memory",),
    ),
    Setting(
        id="3.7",
        title="until the update no longer leads",
        level=3,
        example="'batch = 8'",
        explorer="one_epoch",
        controls={"batch": derived.BATCHES},
        start=derived.start,
        goal=derived.goal,
        draw=derived.draw_setting,
        expected=lambda given: {"batch": derived.least(given)},
        hints=(
            "Compare the bars at batch 1 and at batch 64. Which of them move, and which stays?",
            "Double the batch until the forward pass is the longer one. The least batch lies between the last two.",
            "Halve the gap between a batch that is too small and one that is large enough, again and again.",
        ),
        solution=derived.least_steps,
        insight="The update takes the same time whatever the batch, so a larger batch pays for it less often. With a "
        "few samples AlexNet spends most of its time updating.",
        mistakes=(
            Mistake(
                "one-sample",
                lambda given: {"batch": 1},
                "With one sample the forward pass is as short as it can be, and the update is not. Which control makes "
                "the forward pass longer?",
                WAITS,
            ),
        ),
        notes=("Epoch: gradient update, memory",),
    ),
    Formula(
        id="3.8",
        title="a batch that is worth an update",
        level=4,
        example="'max(B, d)'",
        names=("B", "d"),
        expected=lambda given: Min(*derived.regimes(derived.square(Adam()))),
        hints=(
            "Time everything in numbers that cross. How many does Adam move for each of its d·d parameters? Which two "
            "times has the forward pass, and which of them counts?",
            "At which batch does its traffic take as long as the update? At which does its arithmetic?",
            "The forward pass takes the longer of its two times, so it is long enough as soon as one of them is.",
        ),
        solution=derived.regimes_steps,
        insight="For wide layers the machine alone decides: on an H100 in 16 bits it takes about two thousand samples "
        "before Adam costs less than the forward pass. Large batches are not only for the multipliers.",
        mistakes=(
            Mistake(
                "both",
                lambda given: Max(*derived.regimes(derived.square(Adam()))),
                "Here arithmetic and traffic must both have caught up. The forward pass takes the longer of the two, "
                "so is one of them not enough?",
                WAITS,
            ),
            Mistake(
                "sgd",
                lambda given: Min(*derived.regimes(derived.square(SGD()))),
                "This is right for SGD. Adam keeps two running means for each parameter, reads them and writes them.",
                UPDATE,
            ),
            Mistake(
                "macs",
                lambda given: Min(*derived.regimes(derived.square(Adam()), macs=True)),
                "Here a multiply-add counts as one operation. B counts multiplications and additions.",
                BACK,
            ),
        ),
        notes=("Epoch: gradient update, memory", "Epoch: forward pass, memory"),
    ),
)
