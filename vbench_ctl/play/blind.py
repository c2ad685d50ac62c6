"""A person says which of two clips is better, without knowing whose they are; answers are lines of a CSV file."""

import csv
import io
import threading
from collections.abc import Sequence
from dataclasses import astuple, dataclass, field, fields
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from vbench_ctl import files
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
    asked: set[tuple[str, ...]] = field(default_factory=set)  # in other tabs, or answered
    lock: Any = field(default_factory=threading.Lock)

    @property
    def page(self) -> Page:
        return Page("blind", lambda: Voter(self))

    def following(self) -> Question | None:
        """Return the next question, which no other tab gets."""
        with self.lock:
            left = (question for question in self.questions if question.key not in self.asked)
            found = next(left, None)
            self.asked |= {found.key} if found else set()
            return found

    def done(self) -> int:
        """Return how many of the questions this rater has answered."""
        keys = {question.key for question in self.questions}
        return len(keys & _answered(self.out, self.rater, self.kind, self.protocol))


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
    sides = _sides(outputs)
    truth = open_source(real, split) if real else None
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
    asked = _answered(out, rater, kind, protocol)
    return Poll(kind, sides, truth, protocol, questions, out, rater, asked)


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
    allowed = set(shown.ids) if shown else None
    found = []
    for a, b in combinations(sorted(sides), 2):
        common = set(sides[a].ids) & set(sides[b].ids) & (allowed if allowed is not None else set(sides[a].ids))
        if not common:
            raise UsageError(
                f'"{a}" and "{b}" have no clip of the same name; generate for one protocol, or record together'
            )
        found += [(clip, a, b) for clip in sorted(common)]
    swapped = rng.random(len(found)) < 0.5
    pairs = [Question(c, *((b, a) if swap else (a, b))) for (c, a, b), swap in zip(found, swapped, strict=True)]
    return [pairs[at] for at in rng.permutation(len(pairs))]


# The file


def append(path: Path, answer: Answer) -> None:
    """Add a line to the file of answers in one step."""
    with files.turn(path):
        held = path.read_text(encoding="utf-8-sig") if path.exists() else ""
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
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()


def _answered(path: Path, rater: str, kind: str, protocol: str) -> set[tuple[str, ...]]:
    if not path.exists():
        return set()
    mine = (a for a in read(path) if (a.rater, a.question, a.protocol) == (rater, kind, protocol))
    return {Question(answer.clip, answer.left, answer.right).key for answer in mine}


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
        if said["do"] != "answer" or said.get("answer") not in ANSWERS or not self.question:
            raise UsageError(f"expected an answer among {', '.join(ANSWERS)} to a question; reload the page")
        shared, question = self.shared, self.question
        at = datetime.now(UTC).isoformat(timespec="seconds")
        words = (shared.rater, shared.kind, shared.protocol, question.clip, question.left, question.right)
        append(shared.out, Answer(at, *words, said["answer"]))
        return [self._next()]

    def leave(self) -> None:
        """Let another tab have the question that was not answered."""
        with self.shared.lock:
            self.shared.asked -= {self.question.key} if self.question else set()

    def _next(self) -> Reply:
        shared = self.shared
        self.question = shared.following()
        about = {"done": shared.done(), "of": len(shared.questions)}
        if not self.question:
            return {"kind": "end", **about}
        clip = self.question.clip
        clips = [shared.sides[name].frames(clip) for name in (self.question.left, self.question.right)]
        if shared.kind == "control" and shared.real:
            clips.append(shared.real.frames(clip))
        return Frames({"kind": "pair", **about}, clips)
