"""Soft intersection over union of the masks that a model found and the true ones.

As in Araachie/glass:evaluation/evaluator.py (Davtyan & Favaro, ECCV 2022): no threshold, so blurred masks lose.
"""

from typing import Any

import numpy as np

from vbench_ctl import tracks as known
from vbench_ctl.tracks import CONSISTENCY, FIRST, SECOND, Tracks

TITLE = "Mask IoU"
DIRECTION = "higher"
UNIT = ""
NEEDS = "tracks"
VERSION = 1
VARIANTS: dict[str, dict[str, Any]] = {
    "": {},
    "re": {"compared": SECOND},  # found again in what the model made
    "co": {"compared": CONSISTENCY},  # what was found again against what was found first
}
TRACK = "masks"
LEAST = 1e-16  # of the union, as released: two empty masks overlap by 0


def tracks(*, compared: str = FIRST) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return which tracks of the real clips and of the outputs it needs."""
    return known.sides(TRACK, TRACK, compared)


def values(real: Tracks, fake: Tracks, *, compared: str = FIRST) -> np.ndarray:
    """Return the IoU of each frame whose mask was found, float64 (n,); masks (T, H, W) are uint8, or shares 0 to 1."""
    true, found = (_shares(masks) for masks in known.compare(real, fake, TRACK, TRACK, compared))
    overlap = (true * found).sum(axis=1)
    union = (true + found).sum(axis=1) - overlap  # 1 - (1 - a)(1 - b) = a + b - a b
    return overlap / (union + LEAST)


def signature(*, compared: str = FIRST) -> str:
    """Name what the number depends on."""
    return f"frame,soft,{compared}"


def _shares(masks: np.ndarray) -> np.ndarray:
    return masks.reshape(len(masks), -1) / (255.0 if masks.dtype == np.uint8 else 1.0)
