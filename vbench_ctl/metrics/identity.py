"""Identity of W-Sprites: the share of generated frames in which the sprite has all four attributes of the real one.

Ours: body, bottomwear, topwear and hair as a probe reads them from each frame alone (features/sprite_probe.py). The note
says what it reaches on the real clips, so how far the probe itself is to be trusted.
"""

import numpy as np

from vbench_ctl import detectors
from vbench_ctl.networks import Features
from vbench_ctl.statistics import sprites
from vbench_ctl.tracks import DETECTED, Tracks, aligned

TITLE = "Identity accuracy"
DIRECTION = "higher"
UNIT = ""
NEEDS = "tracks"
VERSION = 1
VARIANTS: dict[str, dict[str, str]] = {
    "": {},
    "share": {"form": "share"},  # of the attributes that are right, each for itself
}
TRUE = "identity"


def features(*, form: str = "all") -> Features:
    """Return the probe."""
    return detectors.NETWORKS["sprite"]


def tracks(*, form: str = "all") -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return which tracks of the real clips and of the outputs it needs."""
    return (TRUE, DETECTED), (DETECTED,)


def values(real: Tracks, fake: Tracks, *, form: str = "all") -> np.ndarray:
    """Return 1 for each frame that is right and 0 for others, or the share of right attributes: float64 (n,)."""
    true, read = aligned(real[TRUE], sprites.identities(fake[DETECTED]))
    right = true == read
    return (right.all(axis=1) if form == "all" else right.mean(axis=1)).astype(np.float64)


def reached(real: Tracks, *, form: str = "all") -> np.ndarray:
    """Return the values of the real clip itself, where only the probe errs."""
    return values(real, real, form=form)


def signature(*, form: str = "all") -> str:
    """Name what the number depends on besides the probe."""
    return f"{form},{len(sprites.ATTRIBUTES)} attributes,each frame alone"
