"""A class: every notebook that was handed in is read, every answer judged again, and what is odd is said.

A student is who the folder says, else who `student(...)` names, else the file. With the secret of the class the
numbers of a student are those of their own code, whatever code the notebook holds.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ..errors import DnnlabError, unknown
from ..quiz.bank import TOPICS, find, topic
from ..quiz.questions import Question, nothing
from ..quiz.session import folded, seed_of
from ..quiz.verdicts import OPEN, UNREADABLE, Verdict
from .codes import Roster, code, key
from .submissions import Found, Notebook, Source, clean, content, read_notebook, sources
from .workers import Lost, Spread

#: `progress("reading", 12, 200)`.
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Student:
    """One student: the verdicts by question, the notebooks that they stand in, and what the lecturer should know."""

    name: str
    verdicts: Mapping[str, Verdict]
    notebooks: Mapping[str, str]
    remarks: tuple[str, ...] = ()

    def points(self, question: Question) -> int:
        """A right answer counts as much as the question's level."""
        verdict = self.verdicts.get(question.id)
        return question.level if verdict is not None and verdict.correct else 0


@dataclass(frozen=True)
class Grades:
    """A class: the questions that count, the students by name, and the files that could not be read, each with why."""

    questions: tuple[Question, ...]
    students: tuple[Student, ...]
    problems: tuple[tuple[str, str], ...] = ()

    @property
    def possible(self) -> int:
        return sum(question.level for question in self.questions)

    def score(self, student: Student) -> int:
        return sum(map(student.points, self.questions))


@dataclass
class _Pile:
    """What one student handed in, as it is gathered."""

    name: str
    notebooks: list[tuple[Source, Notebook]]
    remarks: list[str]


def no_progress(step: str, done: int, of: int) -> None:
    """Nothing is shown."""


def grade(
    folder: Path,
    spread: Spread,
    secret: bytes = b"",
    roster: Roster | None = None,
    topics: Sequence[int] = (),
    progress: Progress = no_progress,
) -> Grades:
    """The grades of everything that lies in a folder; `spread` is that of `workers`.

    Without `topics` all questions count of the topics that anybody handed in. Raises DnnlabError for a folder that is
    none and an unknown topic; whatever a notebook holds becomes a part of the result.
    """
    for number in topics:
        if number not in TOPICS:
            raise unknown("topic", number, map(str, TOPICS))
    found = sources(folder)
    if not found:
        raise DnnlabError(f"no notebook lies in {folder.name!r}; name the folder that holds what was handed in")
    items = (Lost(source.problem) if source.problem else _loaded(source) for source in found)
    read = spread(read_one, items, lambda done: progress("reading", done, len(found)))
    piles, problems = _piles(found, read, roster)
    work = _seeded(piles, secret)
    judged = spread(judge_all, work, lambda done: progress("judging", done, len(work)))
    numbers = set(topics) or {int(id.partition(".")[0]) for _, answers in work for id, _, _, _ in answers}
    students = [_student(*each) for each in zip(piles, work, judged, strict=True)]
    questions = [question for number in sorted(numbers) for question in topic(number)]
    return Grades(tuple(questions), tuple(sorted(students, key=lambda s: (folded(s.name), s.name))), tuple(problems))


# -- reading ---------------------------------------------------------------------------------------------


def _loaded(source: Source) -> bytes | Lost:
    try:
        return content(source)
    except DnnlabError as error:
        return Lost(str(error))


def read_one(item: bytes | Lost) -> Notebook | Lost:
    """What a notebook says, or why it says nothing."""
    if isinstance(item, Lost):
        return item
    try:
        return read_notebook(item)
    except DnnlabError as error:
        return Lost(str(error))


def _piles(
    found: Sequence[Source], read: Sequence[Notebook | Lost], roster: Roster | None
) -> tuple[list[_Pile], list[tuple[str, str]]]:
    """What was handed in, student by student, and the files that could not be read."""
    piles: dict[str, _Pile] = {folded(name): _Pile(name, [], []) for name in (roster.names if roster else ())}
    problems = []
    for source, notebook in zip(found, read, strict=True):
        named = notebook.name if isinstance(notebook, Notebook) else ""
        name = source.student or clean(named) or PurePosixPath(source.name).stem or source.name
        if roster and folded(name) not in piles:
            piles[folded(name)] = _Pile(name, [], ["is not on the roster"])
        pile = piles.setdefault(folded(name), _Pile(name, [], []))
        if isinstance(notebook, Lost):
            problems.append((source.name, notebook.reason))
            pile.remarks.append(f"{source.name} {notebook.reason}")
        else:
            pile.notebooks.append((source, notebook))
    for pile in piles.values():
        if not (pile.notebooks or pile.remarks):
            pile.remarks.append("handed in nothing")
    return list(piles.values()), problems


# -- whose numbers ---------------------------------------------------------------------------------------

#: An answer on its way: the question, the seed of its numbers, what was found, the file it was found in.
_Answer = tuple[str, str, Found, str]
_Work = tuple[str, tuple[_Answer, ...]]


def _seeded(piles: Sequence[_Pile], secret: bytes) -> list[_Work]:
    """The answers of each student with the seed of the numbers that they are judged by."""
    points = key(secret) if secret else ""
    owners: dict[str, list[str]] = defaultdict(list)
    for pile in piles:
        for seed in {code(secret, pile.name)} if secret else {_own(notebook) for _, notebook in pile.notebooks}:
            owners[seed].append(pile.name)
    work: list[_Work] = []
    for pile in piles:
        if secret:
            _told_of_codes(pile, true := code(secret, pile.name), owners)
            seeds = [true] * len(pile.notebooks)
        else:
            seeds = _open_seeds(pile, owners)
        work.append((points, tuple(_last(pile, seeds))))
    return work


def _own(notebook: Notebook) -> str:
    """The seed that a notebook names itself."""
    return seed_of({"name": notebook.name, "code": notebook.code})


def _open_seeds(pile: _Pile, owners: Mapping[str, Sequence[str]]) -> list[str]:
    """Without a secret: what the notebook says, else what another of the same student says."""
    written = {_own(notebook): clean(notebook.code or notebook.name) for _, notebook in pile.notebooks}
    named = [seed for seed in written if seed]
    if len(named) > 1:
        told = ", ".join(written[seed] for seed in named)
        pile.remarks.append(f"the notebooks have different names or codes: {told}")
    for seed in named:
        others = sorted(set(owners[seed]) - {pile.name})
        if others:
            pile.remarks.append(f"has the name or code, and so the numbers, of {', '.join(others)}")
    return [_own(notebook) or (named[-1] if named else "") for _, notebook in pile.notebooks]


def _told_of_codes(pile: _Pile, true: str, owners: Mapping[str, Sequence[str]]) -> None:
    """With the secret the numbers are those of the student's true code; another's, or none, is told."""
    for source, notebook in pile.notebooks:
        if notebook.code and folded(notebook.code) != true:
            whose = ", ".join(owners.get(folded(notebook.code), ())) or "nobody in this class"
            pile.remarks.append(f"{source.name} has the personal code of {whose}")
    if pile.notebooks and not any(notebook.code for _, notebook in pile.notebooks):
        pile.remarks.append("gave no personal code, so numbers of their own were never seen")


def _last(pile: _Pile, seeds: Sequence[str]) -> Iterable[_Answer]:
    """The answer to each question that counts: the last one that is not open, in the order of the files."""
    last: dict[str, _Answer] = {}
    for (source, notebook), seed in zip(pile.notebooks, seeds, strict=True):
        for found in notebook.found:
            before = last.get(found.question)
            if before is None or before[2].open:
                last[found.question] = (found.question, seed, found, source.name)
            elif not found.open:
                if found != before[2]:
                    pile.remarks.append(
                        f"{found.question} is answered in {before[3]} and in {source.name}; {source.name} counts"
                    )
                last[found.question] = (found.question, seed, found, source.name)
    return last.values()


# -- judging ---------------------------------------------------------------------------------------------


def judge_all(work: _Work) -> tuple[Verdict, ...]:
    """The verdicts on the answers of one student."""
    key, answers = work
    return tuple(_judge(find(question), found, seed, key) for question, seed, found, _ in answers)


def _judge(question: Question, found: Found, seed: str, key: str) -> Verdict:
    if question.draw is nothing:
        seed = ""  # the same for everybody, so that the expected answer is worked out once
    if found.problem:
        return Verdict(question.id, UNREADABLE, f"This cannot be read as an answer: {found.problem}.", "not-written")
    return question.judge(found.value, seed, key)


def _student(pile: _Pile, work: _Work, judged: Sequence[Verdict] | Lost) -> Student:
    files = {question: file for question, _, _, file in work[1]}
    if isinstance(judged, Lost):
        told = f"judging the answers {judged.reason}"
        judged = tuple(Verdict(question, UNREADABLE, f"Not judged: {told}.", "lost") for question in files)
        pile.remarks.append(told)
    return Student(pile.name, {verdict.question: verdict for verdict in judged}, files, tuple(pile.remarks))


def status(student: Student, question: Question) -> str:
    """The status of a question, "not attempted" where no notebook has it."""
    verdict = student.verdicts.get(question.id)
    return OPEN if verdict is None else verdict.status
