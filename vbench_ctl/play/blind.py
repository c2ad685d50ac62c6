"""A person says which of two clips is better, without knowing whose they are; answers are lines of a CSV file."""

import csv
import io
import sys
import threading
from collections.abc import Sequence
from dataclasses import astuple, dataclass, field, fields
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from vbench_ctl import files, pairing
from vbench_ctl.errors import UsageError, VbenchError
from vbench_ctl.play.server import Frames, Page, Reply, Said
from vbench_ctl.remote import Url
from vbench_ctl.sources import Source, open_source

QUESTIONS = {
    "control": "Which clip below follows the control of the one above better?",
    "real": "Which clip looks more real?",
}
ANSWERS = ("left", "right", "tie")
REAL = "real"  # the name of the real clips among the models


@dataclass(frozen=True)
class Answer:
    """One line of the file."""

    at: str
    rater: str
    question: str
    protocol: str
    clip: str
    left: str
    right: str
    answer: str

    @property
    def key(self) -> tuple[str, ...]:
        """What a rater is asked once."""
        return (self.rater, self.question, self.protocol, *Question(self.clip, self.left, self.right).key)


@dataclass(frozen=True)
class Question:
    """Two models' clips of one id."""

    clip: str
    left: str
    right: str

    @property
    def key(self) -> tuple[str, ...]:
        """What makes it the same question, whichever side is which."""
        return (self.clip, *sorted((self.left, self.right)))


@dataclass
class Poll:
    """What all tabs share: the clips, the questions in order, and the file of answers."""

    kind: str
    sides: dict[str, Source]
    real: Source | None
    protocol: str
    questions: list[Question]
    out: Path
    rater: str
    asked: set[tuple[str, ...]] = field(default_factory=set)  # in a tab, or answered
    unreadable: set[Question] = field(default_factory=set)
    lock: Any = field(default_factory=threading.Lock)

    @property
    def page(self) -> Page:
        return Page("blind", lambda: Voter(self))

    def following(self) -> Question | None:
        """Return the next question, which no other tab gets."""
        with self.lock:
            self.asked |= self.answered()
            left = (question for question in self.questions if question.key not in self.asked)
            found = next(left, None)
            self.asked |= {found.key} if found else set()
            return found

    def clips(self, question: Question) -> list[np.ndarray]:
        """Return the clips of a question; where they cannot be read, tell whoever serves the page, and ask no more."""
        shown = [self.sides[question.left], self.sides[question.right]]
        shown += [self.real] if self.kind == "control" and self.real else []
        try:
            return [source.frames(question.clip) for source in shown]
        except (VbenchError, OSError) as error:
            print(f'a pair is not asked about on "{question.clip}": {error}', file=sys.stderr, flush=True)
            self.unreadable.add(question)
            return []

    def progress(self) -> dict[str, int]:
        """Return how many questions this rater has answered, and of how many."""
        return {"done": len(self.answered()), "of": len(self.questions) - len(self.unreadable)}

    def answered(self) -> set[tuple[str, ...]]:
        """Return which questions this rater has answered, here or at another server."""
        held = {answer.key for answer in read(self.out)} if self.out.exists() else set()
        asker = (self.rater, self.kind, self.protocol)
        return {question.key for question in self.questions if (*asker, *question.key) in held}


def poll(
    outputs: Sequence[Path | Url],
    out: Path,
    kind: str,
    real: Path | Url | None = None,
    split: str | None = None,
    seed: int = 0,
    rater: str = "",
    limit: int | None = None,
) -> Poll:
    """Make the questions about some outputs folders: every pair of models on every clip that both have, in random order.

    Real clips compete where the question is what looks real; where it is control they are shown as what was asked for.
    """
    if not rater.isprintable():
        raise UsageError(f"--rater {rater!a}: has characters that nobody sees; give a name without them")
    if split and not real:
        raise UsageError("--split is of the real clips; give them with --real, or leave it out")
    sides = _sides(outputs)
    truth = pairing.open_real(real, None, split) if real else None
    if kind == "control" and truth is None:
        raise UsageError("what follows the control better is seen beside the real clip; give them with --real")
    if kind == "real" and truth:
        sides[REAL] = truth
    if len(sides) < 2:
        raise UsageError("there is one set of clips, and two are compared; name another outputs folder, or --real")
    protocols = {str(source.manifest.get("protocol", "")) for name, source in sides.items() if name != REAL}
    if len(protocols) > 1:
        raise UsageError(f"the outputs are of {', '.join(map(repr, sorted(protocols)))}; compare those of one protocol")
    protocol = protocols.pop() or (truth.name if truth else "-")
    questions = _questions(sides, truth if kind == "control" else None, seed)[:limit]
    return Poll(kind, sides, truth, protocol, questions, out, rater)


def _sides(outputs: Sequence[Path | Url]) -> dict[str, Source]:
    sides: dict[str, Source] = {}
    for path in outputs:
        source = open_source(path)
        name = str(source.manifest.get("model") or source.name)
        if name in sides or name == REAL:
            raise UsageError(
                f'{path}: there is another set of clips called "{name}"; change "model" in its manifest.json'
            )
        sides[name] = source
    return sides


def _questions(sides: dict[str, Source], shown: Source | None, seed: int) -> list[Question]:
    """Return all pairs of models on all clips they share, in an order and with sides that the seed decides."""
    rng = np.random.default_rng(seed)
    found = []
    for a, b in combinations(sorted(sides), 2):
        common = set(sides[a].ids) & set(sides[b].ids)
        if not common and REAL not in (a, b):
            raise UsageError(
                f'"{a}" and "{b}" have no clip of the same name; generate for one protocol, or record together'
            )
        common &= set(shown.ids) if shown else common
        if not common:
            name = next(iter(sides.values())).ids[0]
            raise UsageError(
                f'no clip of --real is called as those of the outputs are, such as "{name}"; give the outputs of '
                "vbench-ctl generate truth for the same protocol"
            )
        found += [(clip, a, b) for clip in sorted(common)]
    swapped = rng.random(len(found)) < 0.5
    pairs = [Question(c, *((b, a) if swap else (a, b))) for (c, a, b), swap in zip(found, swapped, strict=True)]
    return [pairs[at] for at in rng.permutation(len(pairs))]


# The file


def append(path: Path, answer: Answer) -> None:
    """Add a line to the file of answers in one step, unless it holds this rater's answer already."""
    with files.turn(path):
        if path.exists() and answer.key in {each.key for each in read(path)}:
            return
        held = path.read_bytes().decode("utf-8-sig") if path.exists() else ""  # line ends stay what they are
        held = held or _line([f.name for f in fields(Answer)])
        end = "" if held.endswith("\n") else "\n"  # not every editor ends the last line
        files.write_text(path, held + end + _line([files.cell(text) for text in astuple(answer)]))


def read(path: Path) -> list[Answer]:
    """Read a file of answers."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            lines = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise VbenchError(f"{path}: not a readable CSV file ({error})") from error
    wanted = [f.name for f in fields(Answer)]
    answers = []
    for number, line in enumerate(lines, 2):
        if set(line) != set(wanted) or None in line.values() or line["answer"] not in ANSWERS:
            raise VbenchError(
                f"{path}, line {number}: expected the columns {', '.join(wanted)} and an answer among {', '.join(ANSWERS)}; "
                "take a file that vbench-ctl blind wrote"
            )
        answers.append(Answer(**{name: files.uncell(line[name]) for name in wanted}))
    return answers


def _line(cells: Sequence[str]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerow(cells)  # puts cells that hold either in quotes
    return text.getvalue().removesuffix("\r\n") + "\n"


# One tab


class Voter:
    """A tab: it never hears a name."""

    def __init__(self, shared: Poll):
        self.shared = shared
        self.question: Question | None = None

    def greet(self) -> list[Reply]:
        return [{"kind": "poll", "question": QUESTIONS[self.shared.kind]}, self._next()]

    def answer(self, said: Said) -> list[Reply]:
        """Write down an answer, and ask the next question."""
        shared, question = self.shared, self.question
        if said["do"] != "answer" or said.get("answer") not in ANSWERS or not question:
            raise UsageError(f"expected an answer among {', '.join(ANSWERS)} to a question; reload the page")
        if said.get("number") != shared.questions.index(question):
            raise UsageError("that answer is not to the pair that is shown; reload the page")
        at = datetime.now(UTC).isoformat(timespec="seconds")
        words = (shared.rater, shared.kind, shared.protocol, question.clip, question.left, question.right)
        append(shared.out, Answer(at, *words, said["answer"]))
        return [self._next()]

    def leave(self) -> None:
        """Let another tab have the question that was not answered."""
        with self.shared.lock:
            self.shared.asked -= {self.question.key} if self.question else set()

    def _next(self) -> Reply:
        """Return the next pair that can be seen; only then is it what an answer is to."""
        shared, self.question = self.shared, None
        while question := shared.following():
            if clips := shared.clips(question):
                self.question = question
                return Frames({"kind": "pair", "number": shared.questions.index(question), **shared.progress()}, clips)
        return {"kind": "end", **shared.progress()}
