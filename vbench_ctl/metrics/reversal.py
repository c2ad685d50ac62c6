"""Revisit error: how far from its start a clip ends after actions and then, backwards, what undoes each of them.

Ours, on the idea of memory in world models (Matrix-Game's scenario consistency). What stands still comes back to where it
never left, so "relative" divides by how far from the start the clip was in the middle, and has no value where nothing was.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from vbench_ctl.errors import VbenchError
from vbench_ctl.networks import Features
from vbench_ctl.statistics.interventions import LPIPS, distances

TITLE = "Revisit error"
DIRECTION = "lower"
UNIT = ""
NEEDS = "sets"
RANGE = (0.0, np.inf)
VERSION = 1
VARIANTS: dict[str, dict[str, Any]] = {
    "": {},
    "relative": {"form": "relative"},
    "path": {"form": "path"},  # every frame of the way back against the same one of the way there
    "lpips": {"of": "lpips"},
    "lpips-relative": {"of": "lpips", "form": "relative"},
}


def sets(*, of: str = "pixel", form: str = "closed") -> tuple[str, ...]:
    """Return which sets of answers it needs."""
    return ("reversed",)


def features(*, of: str = "pixel", form: str = "closed") -> Features | None:
    """Return the network that compares frames; pixels need none."""
    return LPIPS if of == "lpips" else None


def collect(real: np.ndarray, answers: dict[str, np.ndarray], *, of: str = "pixel", form: str = "closed") -> np.ndarray:
    """Return the distance from the start (with "path": of each two frames) and that of the middle: float64 (n, 2)."""
    clip = answers["reversed"]
    half = (len(clip) - 1) // 2
    if not half:
        raise VbenchError("a way there and back needs 2 predicted frames, and there is 1; take a longer protocol")
    there = clip[: half if form == "path" else 1]
    back = clip[2 * half : 2 * half - len(there) : -1]
    (apart,) = distances(of, there, back)
    (away,) = distances(of, clip[:1], clip[half : half + 1])
    return np.column_stack([apart, np.repeat(away, len(apart))])


def pooled(parts: Sequence[np.ndarray], *, of: str = "pixel", form: str = "closed") -> float:
    """Return the mean distance over all clips, or relative to that of the middle; NaN for x/0."""
    apart, away = np.concatenate(parts).mean(axis=0)
    if form != "relative":
        return float(apart)
    return float(apart / away) if away else float("nan")


def note(parts: Sequence[np.ndarray], *, of: str = "pixel", form: str = "closed") -> str:
    """Say how far away the clips were."""
    away = np.concatenate(parts)[:, 1].mean()
    return (
        f"in the middle the clips are {away:.4g} from their start" if away else "nothing moves, so nothing comes back"
    )


def signature(*, of: str = "pixel", form: str = "closed") -> str:
    """Name what the number depends on besides network and clips."""
    return f"reversed,{of},{form}"
