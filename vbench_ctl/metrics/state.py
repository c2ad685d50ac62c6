"""State error: how far the state in each generated frame is from the one that the model was told for it.

Ours: CCVS (Le Moing et al., NeurIPS 2021) gives no such number. A run reads the states of its clips with the estimator that
it has, after that has been through its frames and its codebook as when it told them, so the true clip has 0.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from vbench_ctl.controls import TOLD
from vbench_ctl.tracks import Tracks, aligned

TITLE = "State error"
DIRECTION = "lower"
UNIT = ""
NEEDS = "tracks"
VERSION = 1
VARIANTS: dict[str, dict[str, Any]] = {"": {}}
STATE = "state"


def tracks() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return which tracks of the real clips and of the outputs it needs."""
    return (), (STATE, TOLD + STATE)


def collect(real: Tracks, fake: Tracks) -> np.ndarray:
    """Return what was told and what was read of each frame of a clip, one under the other: float64 (1, 2, T, D)."""
    told, read = aligned(fake[TOLD + STATE], fake[STATE])
    return np.stack([told, read]).astype(np.float64).reshape(1, 2, len(told), -1)


def pooled(parts: Sequence[np.ndarray]) -> float:
    """Return the mean distance over the frames of all clips where both are known; NaN if there are none."""
    errors = _errors(parts)
    return float(errors.mean()) if len(errors) else float("nan")


def note(parts: Sequence[np.ndarray]) -> str:
    """Say how many frames count, and the distance from what was told for another clip."""
    errors, frames = _errors(parts), sum(part[:, 0, :, 0].size for part in parts)
    counted = f"known in {len(errors)} of {frames} frames"
    clips = [clip for part in parts for clip in part]
    if len(clips) < 2:
        return counted
    pairs = zip(clips, [*clips[1:], clips[0]], strict=True)
    others = [np.stack(aligned(theirs[0], own[1]))[None] for own, theirs in pairs]
    apart = _errors(others)
    return f"{counted}; what the next clip was told is {apart.mean():.3g} away" if len(apart) else counted


def signature() -> str:
    """Name what the number depends on."""
    return "distance from what was told,frames where both are known"


def _errors(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Return the distance in each frame where both are known, (n,)."""
    if not parts:
        return np.zeros(0)
    lengths = [np.linalg.norm(part[:, 0] - part[:, 1], axis=-1).ravel() for part in parts]
    errors = np.concatenate(lengths)
    return errors[np.isfinite(errors)]
