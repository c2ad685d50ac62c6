"""Action accuracy: how often a network that learned to tell actions from real frames tells those the model was told.

As the GameWorld Score of Matrix-Game (arXiv 2506.18701); ours learns on each store's training split (inverse.py). It is
never read alone: the note says what the network reaches on the real clips, and what the commonest action always would.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from vbench_ctl import inverse
from vbench_ctl import tracks as known
from vbench_ctl.controls import TOLD
from vbench_ctl.inverse import Lesson
from vbench_ctl.statistics import agreement
from vbench_ctl.tracks import INVERSE, Tracks

TITLE = "Action accuracy (inverse dynamics)"
DIRECTION = "higher"
UNIT = ""
NEEDS = "tracks"
VERSION = 1
VARIANTS: dict[str, dict[str, Any]] = {
    "": {},  # the share of transitions
    "f1": {"form": "f1"},  # the mean F1 score of the actions: a rare one counts like a common one
    "gap": {"form": "gap"},  # the accuracy on the real clips less that on the generated ones
    "r2": {"form": "r2"},  # of actions that are vectors: the share of their variance that is told
    "mse": {"form": "mse"},  # of vectors: the squared error, in the unit of the actions squared
}
VECTORS = ("r2", "mse")
NAMED = {"accuracy": "accuracy", "macro-F1": "f1"}


def lesson(*, form: str = "accuracy") -> Lesson:
    """Return what the network is to learn."""
    # A robot's command is the way to the next frame, a label the way to its own.
    return Lesson("actions", "earlier", classes=False) if form in VECTORS else Lesson("local_action")


def tracks(*, form: str = "accuracy") -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return which tracks of the real clips and of the outputs it needs."""
    return (lesson(form=form).track, INVERSE), (INVERSE,)


def optional(*, form: str = "accuracy") -> tuple[str, ...]:
    """Return what the model was told, where that lies beside its clips; elsewhere it was told what happened."""
    return (TOLD + lesson(form=form).track,)


def direction(*, form: str = "accuracy") -> str:
    """Say which way is better: a gap and an error are to be small."""
    return "lower" if form in ("gap", "mse") else DIRECTION


def collect(real: Tracks, fake: Tracks, *, form: str = "accuracy") -> np.ndarray:
    """Return rows (n, 1 + 2 D) of true and read action of each transition; the first column is 1 for the generated clip."""
    taught = lesson(form=form)
    truth = real[taught.track]
    told = fake.get(TOLD + taught.track, truth)
    return np.concatenate([_rows(taught, 0, truth, real[INVERSE]), _rows(taught, 1, told, fake[INVERSE])])


def _rows(taught: Lesson, which: int, actions: np.ndarray, read: np.ndarray) -> np.ndarray:
    true, read = known.aligned(inverse.entries(taught, actions), read)
    rows = np.column_stack([np.full(len(true), which), true, read]).astype(np.float64)
    return rows[np.isfinite(rows).all(axis=1)]  # what was not told is NaN


def pooled(parts: Sequence[np.ndarray], *, form: str = "accuracy") -> float:
    """Return the score of the generated clips; NaN if there is no transition, or no variance to tell."""
    real, fake = _sides(parts)
    if form == "gap":
        return _score(real, "accuracy") - _score(fake, "accuracy")
    return _score(fake, form)


def note(parts: Sequence[np.ndarray], *, form: str = "accuracy") -> str:
    """Say what the network reaches on the real clips, and what knowing nothing would."""
    real, fake = _sides(parts)
    if not len(fake):
        return "no transition was scored"
    if form in VECTORS:
        true, _ = _halves(fake)
        if not true.var(axis=0).any():
            return "the actions never differ, so there is nothing to tell"
        chance = f"; always their mean would have {true.var(axis=0).mean():.4g}" if form == "mse" else ""
        return f"{len(fake)} transitions; real clips have {_score(real, form):.4g}{chance}"
    commonest = np.unique(fake[:, 0], return_counts=True)[1].max() / len(fake)
    reached = ", ".join(f"{name} {_score(real, each):.3f}" for name, each in NAMED.items())
    return f"{len(fake)} transitions; real clips reach {reached}; always the commonest action would {commonest:.3f}"


def details(parts: Sequence[np.ndarray], *, form: str = "accuracy") -> dict[str, Any]:
    """Return the confusion matrix of the generated clips and that of the real ones; none of vectors."""
    if form in VECTORS:
        return {}
    real, fake = _sides(parts)
    return {"confusion": _confusion(fake), "confusion_real": _confusion(real)}


def signature(*, form: str = "accuracy") -> str:
    """Name what the number depends on besides the store, whose training split the network learned from."""
    taught = lesson(form=form)
    settings = (
        f"{taught.side}px,{taught.clips}x{taught.frames},{taught.steps} steps of {taught.batch},seed{taught.seed}"
    )
    return f"{form},{taught.track},own cnn v{inverse.VERSION} of train,{settings}"


def _sides(parts: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of the real clips and those of the generated ones."""
    rows = np.concatenate(parts)
    return rows[rows[:, 0] == 0, 1:], rows[rows[:, 0] == 1, 1:]


def _halves(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return what is true and what was read, (n, D) each."""
    return rows[:, : rows.shape[1] // 2], rows[:, rows.shape[1] // 2 :]


def _score(rows: np.ndarray, form: str) -> float:
    if not len(rows):
        return float("nan")
    true, read = _halves(rows)
    if form == "accuracy":
        return float((true == read).mean())
    if form == "f1":
        return agreement.macro_f1(np.array(_confusion(rows)["counts"]))
    errors, spread = ((true - read) ** 2).mean(axis=0), true.var(axis=0)
    if form == "mse":
        return float(errors.mean())
    moving = spread > 0
    return float((1 - errors[moving] / spread[moving]).mean()) if moving.any() else float("nan")


def _confusion(rows: np.ndarray) -> dict[str, list[Any]]:
    """Count true actions (rows) read as others (columns)."""
    labels, numbers = np.unique(rows, return_inverse=True)
    true, read = numbers.reshape(rows.shape).T
    counts = agreement.confusion(true, read, len(labels)) if len(rows) else np.zeros((0, 0), int)
    return {"labels": [int(label) for label in labels], "counts": counts.tolist()}
