"""Action accuracy of W-Sprites: how often the action that a probe reads from a generated frame is the one asked for.

Ours, in the state space of the generator: the probe was trained on its truth (features/sprite_probe.py) and reads each
frame alone. Never to be read without what it reaches on the real clips and what chance does: the note says both.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from vbench_ctl import detectors
from vbench_ctl.controls import TOLD
from vbench_ctl.errors import VbenchError
from vbench_ctl.networks import Features
from vbench_ctl.statistics import agreement, sprites
from vbench_ctl.tracks import DETECTED, Tracks, aligned

TITLE = "Action accuracy"
DIRECTION = "higher"
UNIT = ""
NEEDS = "tracks"
RANGE = (0.0, 1.0)
VERSION = 1
VARIANTS: dict[str, dict[str, Any]] = {
    "": {},
    "macro": {"form": "macro"},  # the mean F1 score of the actions: a rare one counts like a common one
    "facing": {"form": "facing"},  # only where the sprite looks
    "animation": {"form": "animation"},  # only whether it walks, casts a spell or slashes
}
ACTIONS = "local_action"
VIEWS = 3  # of each animation, see sprites.ACTIONS


def features(*, form: str = "accuracy") -> Features:
    """Return the probe."""
    return detectors.NETWORKS["sprite"]


def tracks(*, form: str = "accuracy") -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return which tracks of the real clips and of the outputs it needs."""
    return (ACTIONS, DETECTED), (DETECTED,)


def optional(*, form: str = "accuracy") -> tuple[str, ...]:
    """Return what the model was told, where that lies beside its clips; elsewhere it was told what happened."""
    return (TOLD + ACTIONS,)


def collect(real: Tracks, fake: Tracks, *, form: str = "accuracy") -> np.ndarray:
    """Return rows (n, 3) of frames: 1 if generated or 0 if real, the true action, and the one read."""
    truth = real[ACTIONS]
    told = fake.get(TOLD + ACTIONS, truth)
    return np.concatenate([_rows(0, truth, real[DETECTED]), _rows(1, told, fake[DETECTED])])


def _rows(which: int, actions: np.ndarray, readings: np.ndarray) -> np.ndarray:
    true, read = aligned(actions, sprites.actions(readings))
    if np.any((true < 0) | (true >= sprites.UNSEEN)):
        raise VbenchError(
            f"{ACTIONS} is from {true.min():g} to {true.max():g}, expected W-Sprites' 0 to {sprites.UNSEEN - 1}; "
            "score other data by idm"
        )
    rows = np.column_stack([np.full(len(true), which), true, read]).astype(np.float64)
    return rows[np.isfinite(rows).all(axis=1)]  # what was not told is NaN


def pooled(parts: Sequence[np.ndarray], *, form: str = "accuracy") -> float:
    """Return the score of the generated frames; NaN where there are none."""
    return _score(_side(parts, 1), form)


def note(parts: Sequence[np.ndarray], *, form: str = "accuracy") -> str:
    """Say what the probe reaches on the real clips, and what knowing nothing would."""
    rows = _side(parts, 1)
    if not len(rows):
        return "no frame was scored"
    other = "macro" if form == "accuracy" else "accuracy"
    commonest = np.bincount(_classes(rows, form)[0]).max() / len(rows)
    unseen = np.mean(rows[:, 1] == sprites.UNSEEN)
    return (
        f"{len(rows)} frames, {'macro-F1' if other == 'macro' else other} {_score(rows, other):.3f}, no sprite in "
        f"{100 * unseen:.3g} %; real clips reach {_score(_side(parts, 0), form):.4f}; always the commonest {commonest:.3f}"
    )


def details(parts: Sequence[np.ndarray], *, form: str = "accuracy") -> dict[str, Any]:
    """Return the confusion matrices, true actions by rows, of the generated frames and of the real ones."""
    labels = [*sprites.ACTIONS, "no sprite"]
    named = {"confusion": 1, "confusion_real": 0}
    return {name: {"labels": labels, "counts": _counts(_side(parts, which)).tolist()} for name, which in named.items()}


def signature(*, form: str = "accuracy") -> str:
    """Name what the number depends on besides the probe."""
    return f"{form},{ACTIONS} told or true,each frame alone"


def _side(parts: Sequence[np.ndarray], which: int) -> np.ndarray:
    """Return true and read actions (n, 2) of the generated frames (1) or of the real ones (0)."""
    rows = np.concatenate(parts)
    return rows[rows[:, 0] == which, 1:].astype(np.int64)


def _classes(rows: np.ndarray, form: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the true and the read class of rows (n, 2)."""
    true, read = rows.T
    if form == "facing":
        return true % VIEWS, np.where(read == sprites.UNSEEN, -1, read % VIEWS)
    if form == "animation":
        return true // VIEWS, read // VIEWS
    return true, read


def _score(rows: np.ndarray, form: str) -> float:
    if not len(rows):
        return float("nan")
    if form == "macro":
        return float(np.nanmean(agreement.f1(_counts(rows))[: sprites.UNSEEN]))
    true, read = _classes(rows, form)
    return float((true == read).mean())


def _counts(rows: np.ndarray) -> np.ndarray:
    """Count true actions read as others, the last as no sprite: int64 (10, 10)."""
    labels = sprites.UNSEEN + 1
    return agreement.confusion(rows[:, 0], rows[:, 1], labels) if len(rows) else np.zeros((labels, labels), np.int64)
