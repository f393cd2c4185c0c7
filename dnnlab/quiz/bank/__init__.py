"""The questions, a room for each topic; a room is read when one of its questions is first asked for."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import import_module

from ...errors import unknown
from ..questions import Question


@dataclass(frozen=True)
class Topic:
    """A topic: its number, its name, its room here, and the lecture it belongs to."""

    number: int
    title: str
    room: str

    @property
    def name(self) -> str:
        """The name of its notebook and of its lecture, as "02_layer_costs"."""
        return f"{self.number:02}_{self.room}"


TOPICS = {
    topic.number: topic
    for topic in (
        Topic(1, "the computational view", "computational_view"),
        Topic(2, "layer costs", "layer_costs"),
        Topic(3, "one epoch", "one_epoch"),
        Topic(4, "bound types", "bound_types"),
        Topic(5, "VRAM and RAM", "vram_vs_ram"),
        Topic(6, "double buffering", "double_buffering"),
        Topic(7, "checkpointing", "checkpointing"),
        Topic(8, "your machine", "your_machine"),
    )
}


@cache
def topic(number: int) -> tuple[Question, ...]:
    """The questions of a topic, in their order."""
    return tuple(import_module(f"{__name__}.{TOPICS[number].room}").QUESTIONS)


def questions() -> tuple[Question, ...]:
    """Every question."""
    return tuple(question for number in TOPICS for question in topic(number))


def find(id: object) -> Question:
    """The question with this id, such as "2.1". Raises UnknownNameError for any other, naming the nearest."""
    if type(id) is str and len(id) < 20:
        number = id.partition(".")[0]
        if number.isdecimal() and int(number) in TOPICS:
            for question in topic(int(number)):
                if question.id == id:
                    return question
            raise unknown("question", id, [question.id for question in topic(int(number))])
    given = id if type(id) in (str, int, float) else type(id).__name__
    raise unknown("question", given, [f"{number}.1" for number in TOPICS])
