"""Topic 4: who waits for whom, and which upgrade is wasted."""

from __future__ import annotations

from ...quantities import bytes_of
from ..kinds import Choice, Formula, Number, Setting
from ..questions import Mistake
from .derived.bound_types import (
    OFFERS,
    START,
    ceiling_of,
    ceiling_steps,
    drive,
    drive_steps,
    helpful,
    idle,
    idle_steps,
    layer_on_drive,
    least_drive,
    least_rate,
    linear_steps,
    linear_time,
    machine_and_format,
    macs_each,
    macs_steps,
    one_waiting,
    ridge,
    room,
    room_steps,
    slower_gpu,
    slower_steps,
    started,
    swapped,
    times,
    wasted,
    wasted_steps,
    wasted_without,
)

TWO = "04_bound_types/Two engines, one layer"
WATCH = "04_bound_types/Watch them"
CROSS = "04_bound_types/Where does it cross?"
WORRY = "04_bound_types/Which one should worry you?"
CHIP = "04_bound_types/On-chip buffering: once, or many times?"
WAY = "04_bound_types/A third engine: I/O"

QUESTIONS = (
    Number(
        id="4.1",
        title="how long the arithmetic stands still",
        level=1,
        example="'25 %'",
        expected=idle,
        draw=one_waiting,
        hints=(
            "Two times first: how long is the arithmetic busy, and how long is memory?",
            "Both work at the same time. The layer is done when the slower of them is.",
            "The share of that time in which the arithmetic is not busy.",
        ),
        solution=idle_steps,
        insight="A memory-bound layer is a concern: the dearest part of the machine stands still. A compute-bound "
        "layer is none.",
        mistakes=(
            Mistake(
                "busy",
                lambda given: 1 - idle(given),
                "For this share of the time the arithmetic works. How long does it stand still?",
                TWO,
            ),
            Mistake(
                "in-turns",
                lambda given: times(given)[1] / sum(times(given)),
                "You add the two times, as if one engine worked after the other. They work at the same time.",
                TWO,
            ),
            Mistake(
                "no-sign",
                lambda given: 100 * idle(given),
                "This is a percentage without its sign: write it as '25 %', or as a fraction of 1.",
                TWO,
            ),
        ),
        notes=(
            "Bounds: memory-bound against compute-bound",
            "Bounds: more time to compute or to fetch?",
            "Bounds: concerning or not",
        ),
    ),
    Formula(
        id="4.2",
        title="the time of a linear layer",
        level=2,
        example="'n·c/P'",
        names=tuple("nckbPB"),
        expected=lambda given: linear_time(),
        hints=(
            "Two engines work at the same time. How long is each of them busy?",
            "Arithmetic: count the operations (a multiply-add is two) and divide by P.",
            "Memory: weights, inputs and results, b bytes each, divided by B. The slower engine sets the time.",
        ),
        solution=linear_steps,
        insight="All five factors are in this line: P, B, the size b of a number, the result n·k, and the on-chip "
        "memory, without which the same numbers would cross several times.",
        mistakes=(
            Mistake(
                "no-result",
                lambda given: linear_time(result=False),
                "The results have to be written, and they go through the same memory interface as what is read.",
                TWO,
            ),
            Mistake(
                "macs",
                lambda given: linear_time(macs=True),
                "Memory is right. P counts operations, and a multiply-add is two of them.",
                TWO,
            ),
        ),
        notes=(
            "Bounds: more time to compute or to fetch?",
            "Bounds: factor, memory bandwidth",
            "Bounds: factor, size of operands",
            "Bounds: factor, size of the result",
        ),
    ),
    Number(
        id="4.3",
        title="how often a number must be used",
        level=2,
        example="'120'",
        expected=macs_each,
        draw=machine_and_format,
        hints=(
            "How many operations does this device do in the time in which one byte arrives?",
            "A number of this format has so many bytes: while it arrives, the device can do that many times more.",
            "A multiply-add is two operations.",
        ),
        solution=macs_steps,
        insight="This is about the batch that a linear layer needs: each of its weights is used once for each sample.",
        mistakes=(
            Mistake(
                "for-a-byte",
                ridge,
                "These are the operations for each byte, the balance of the machine. You are asked for the "
                "multiply-adds for each number.",
                CROSS,
            ),
        ),
        notes=("Bounds: factor, compute speed and parallelism", "Bounds: factor, size of operands"),
    ),
    Choice(
        id="4.4",
        title="money wasted",
        level=2,
        example="'GPU for linear, memory for linear'",
        options=tuple(f"{what} for {name}" for name in ("linear", "convolution") for what in OFFERS),
        several=True,
        expected=wasted,
        hints=(
            "First find out what each of the two layers waits for; lecture 04 has a similar pair.",
            "Only a better slowest engine makes a layer faster.",
            "Does a drive do anything at all while the weights are in VRAM?",
        ),
        solution=wasted_steps,
        insight="Even the best GPU makes no difference to a memory-bound layer, and even the best memory or drive none "
        "to a compute-bound one. Ten times the bandwidth for a convolution is an over-optimised memory controller.",
        mistakes=(
            Mistake(
                "swapped",
                swapped,
                "You have the two layers the wrong way round: with one sample, a linear layer uses each weight once, "
                "a convolution uses it at each position of the image.",
                TWO,
            ),
            Mistake(
                "helpful",
                helpful,
                "These are the purchases that do make a difference. Which of them make none?",
                TWO,
            ),
            Mistake(
                "over-optimised",
                wasted_without("memory for convolution"),
                "One is missing: memory already waits for the arithmetic of a compute-bound layer. What would faster "
                "memory do there?",
                WORRY,
            ),
            Mistake(
                "drive",
                wasted_without("drive for linear", "drive for convolution"),
                "What you name is wasted, but nothing comes from the drive here: the weights are in VRAM.",
                WAY,
            ),
        ),
        notes=(
            "Bounds: parameters to fetch, many or few",
            "Bounds: the best GPU makes no difference",
            "Bounds: the best RAM or hard drive makes no difference",
            "Bounds: an over-optimised memory controller",
        ),
    ),
    Setting(
        id="4.5",
        title="a slower GPU that is as fast",
        level=3,
        example="'rate = 400 TOP/s'",
        explorer="bound_types",
        controls={"rate": "OP/s"},
        start=lambda given: START,
        units={"bandwidth": "B/s", "on_chip": "B"},
        goal=slower_gpu,
        expected=lambda given: {"rate": least_rate()},
        hints=(
            "Look at the hatched parts: who stands still, and for how long?",
            "Give away arithmetic as long as the end of the layer does not move.",
            "The arithmetic may become as slow as memory is.",
        ),
        solution=slower_steps,
        insight="A memory-bound layer needs only a part of the GPU it runs on: a better one makes no difference, and "
        "one with a fraction of the arithmetic makes none either.",
        mistakes=(
            Mistake(
                "start",
                lambda given: {"rate": started().device.rate("fp16")},
                "That is where the explorer starts. Move Compute down, and watch the end of the layer.",
                WATCH,
            ),
        ),
        notes=(
            "Bounds: picture of a memory-bound layer",
            "Bounds: picture of a compute-bound layer",
            "Bounds: who stalls whom",
        ),
    ),
    Number(
        id="4.6",
        title="the slowest drive that is fast enough",
        level=3,
        example="'2.5 GB/s'",
        unit="B/s",
        expected=least_drive,
        draw=layer_on_drive,
        hints=(
            "Three engines work at the same time: drive, memory, arithmetic. Which two times are fixed?",
            "The drive must not be the slowest. It may take as long as the slower of the other two.",
            "Bytes of parameters divided by that time.",
        ),
        solution=drive_steps,
        insight="A layer is I/O-bound while the way of its parameters is the slowest engine. Behind a convolution "
        "there is time to hide; behind a linear layer the drive would have to be about as fast as VRAM.",
        mistakes=(
            Mistake(
                "faster-engine",
                lambda given: drive(given)[0] / min(drive(given)[1:]),
                "The drive may take as long as the slower of the two other engines; you gave it the time of the "
                "faster one.",
                WAY,
            ),
            Mistake(
                "in-turns",
                lambda given: drive(given)[0] / sum(drive(given)[1:]),
                "Arithmetic and memory work at the same time, so their times do not add up.",
                WAY,
            ),
        ),
        notes=("Bounds: I/O-bound against CPU-bound",),
    ),
    Formula(
        id="4.7",
        title="the most operations a byte that any batch gives",
        level=3,
        example="'2·c + k'",
        names=tuple("ck"),
        expected=lambda given: ceiling_of(),
        hints=(
            "Write down the operations for n samples, and the bytes of weights, inputs and results.",
            "Divide, and let n grow: which of the three no longer counts?",
            "What is left has n above and below.",
        ),
        solution=ceiling_steps,
        insight="A large batch hides the weights, never the inputs and results. A narrow layer stays memory-bound "
        "whatever the batch, which is why narrow layers are fused with their neighbours.",
        mistakes=(
            Mistake(
                "for-a-number",
                lambda given: bytes_of("fp16") * ceiling_of(),
                "That is for each number that crosses; in fp16 each has two bytes.",
                CROSS,
            ),
            Mistake(
                "no-result",
                lambda given: ceiling_of(result=False),
                "You count weights and inputs, but the results have to be written, too.",
                TWO,
            ),
        ),
        notes=("Bounds: factor, size of the result",),
    ),
    Number(
        id="4.8",
        title="faster arithmetic, the same memory",
        level=4,
        example="'1.5'",
        expected=lambda given: room(given["a"]),
        draw=lambda random: {"a": random.choice((3, 4, 5, 6, 7))},
        hints=(
            "To be balanced again, the product must do a times as many operations with each byte that crosses.",
            "Cut it into square blocks of t by t results: how do the operands' bytes depend on t?",
            "And how many numbers must be on the chip for a block of t by t?",
        ),
        solution=room_steps,
        insight="Re-use grows with the side of a block, memory with its area: arithmetic that gets a times as fast "
        "asks for a² times the memory on the chip, or for more bandwidth (H. T. Kung, 1986).",
        mistakes=(
            Mistake(
                "in-proportion",
                lambda given: given["a"],
                "a times the memory on the chip cuts the traffic by less than a: a block with a times the area has "
                "not a times the side.",
                CHIP,
            ),
            Mistake(
                "root",
                lambda given: float(given["a"]) ** 0.5,
                "The other way round: the traffic falls with the square root of the memory on the chip.",
                CHIP,
            ),
        ),
        notes=("Bounds: factor, on-chip buffering", "Bounds: factor, compute speed and parallelism"),
    ),
)
