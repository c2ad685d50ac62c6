"""Temporal flicker: how much a generated clip changes from one frame to the next.

It is lowest for a frozen picture, so it is meaningful only beside the real clips' own flicker: of two models that move
alike the one that changes less is the steadier, and a model far below the real clips has stopped moving.
"""

from typing import Any

import numpy as np

from vbench_ctl.errors import VbenchError, unknown
from vbench_ctl.metrics import check_frames

TITLE = "Flicker"
DIRECTION = "lower"
UNIT = ""
NEEDS = "fake"
VERSION = 1  # raised whenever the numbers change
VARIANTS: dict[str, dict[str, Any]] = {
    "": {},  # mean absolute difference on the [0, 1] scale
    # Vchitect/VBench temporal_flickering: (255 - mean absolute difference) / 255, meant for static scenes.
    "vbench": {"form": "steadiness"},
}
DIRECTIONS = {"difference": DIRECTION, "steadiness": "higher"}


def values(fake: np.ndarray, *, form: str = "difference") -> np.ndarray:
    """Return one value per transition, float64 (T-1,), of a uint8 clip (T, H, W, 3)."""
    if form not in DIRECTIONS:
        raise unknown("form", form, DIRECTIONS)
    check_frames(fake, "generated")
    if len(fake) < 2:
        raise VbenchError("flicker compares consecutive frames and the generated clip has 1; give it at least 2 frames")
    change = np.maximum(fake[1:], fake[:-1]) - np.minimum(fake[1:], fake[:-1])
    difference = change.reshape(len(change), -1).sum(axis=1, dtype=np.int64) / (fake[0].size * 255)
    return difference if form == "difference" else 1 - difference


def direction(*, form: str = "difference") -> str:
    """Say which way is better: VBench's form turns the scale round."""
    return DIRECTIONS[form]


def signature(*, form: str = "difference") -> str:
    """Name what the number depends on."""
    return f"{form},rgb,range1,exact"
