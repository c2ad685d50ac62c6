"""What a sprite probe reads from a frame of W-Sprites: where the sprite stands, what it does, and who it is."""

import numpy as np

from vbench_ctl.statistics.detections import seen

ACTIONS = tuple(f"{action} {view}" for action in ("walk", "spell", "slash") for view in ("front", "left", "right"))
PHASES = 8  # frames of an animation
ATTRIBUTES = ("body", "bottomwear", "topwear", "hair")
VARIANTS = 6  # of each attribute
UNSEEN = len(ACTIONS)  # the label of a frame without a sprite, beside the local actions 0 to 8

# A reading is one row per frame: the sprite's centre in pixels, then the labels; all of them -1 where none is seen.
COLUMNS = ("x", "y", "local_action", "phase", *ATTRIBUTES)


def centres(readings: np.ndarray) -> np.ndarray:
    """Return the centres (T, 2) of readings (T, 8), which `detections` understands."""
    return readings[:, :2]


def actions(readings: np.ndarray) -> np.ndarray:
    """Return the local action of each of readings (T, 8), int64 (T,); UNSEEN where there is no sprite."""
    return np.where(seen(centres(readings)), readings[:, 2], UNSEEN).astype(np.int64)


def identities(readings: np.ndarray) -> np.ndarray:
    """Return the four attributes of each of readings (T, 8), int64 (T, 4); -1 where there is no sprite."""
    return readings[:, 4:].astype(np.int64)
