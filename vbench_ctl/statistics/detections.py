"""Where a thing is seen in real and generated frames: how far apart, and how often it is gone.

As in willi-menapace/PlayableVideoGeneration:evaluation/metrics (Menapace et al., CVPR 2021). Not seen is a negative
coordinate, or NaN.
"""

import numpy as np

NOWHERE = (-1.0, -1.0)
# Of 256x96 frames of Tennis, in pixels: boxes in the upper corners or at the bottom are line judges and ball boys.
CORNERS, CORNER_TOP, BOTTOM_TOP = (60, 200), 26, 80
PERSON = 1  # COCO's label
SURE = 0.8  # the least score


def player(scores: np.ndarray, labels: np.ndarray, boxes: np.ndarray) -> tuple[float, float]:
    """Return the centre of the tallest person among the boxes (n, 4: left, top, right, bottom) that may be the player."""
    left, top, right, bottom = boxes.astype(np.float64).reshape(-1, 4).T
    corner = ((right <= CORNERS[0]) | (left >= CORNERS[1])) & (top <= CORNER_TOP)
    chosen = np.flatnonzero((scores > SURE) & (labels == PERSON) & ~corner & (top <= BOTTOM_TOP))
    if not len(chosen):
        return NOWHERE
    at = chosen[np.argsort((bottom - top)[chosen], kind="stable")[-1]]  # of equal ones the last, as released
    return float(left[at] + right[at]) / 2, float(top[at] + bottom[at]) / 2


def known(centres: np.ndarray) -> np.ndarray:
    """Return centres (T, 2) with NaN where nothing was seen."""
    return np.where(seen(centres)[:, None], centres, np.nan)


def seen(centres: np.ndarray) -> np.ndarray:
    """Tell for centres (..., 2) where there is one: bool (...)."""
    return np.all(centres >= 0, axis=-1)  # false for NaN


def mean_distance(real: np.ndarray, fake: np.ndarray) -> float:
    """Return the mean distance of centres (N, 2) over the frames where both are seen; NaN where there are none."""
    both = seen(real) & seen(fake)
    return float(np.linalg.norm(real[both] - fake[both], axis=1).mean()) if both.any() else float("nan")


def missing_share(real: np.ndarray, fake: np.ndarray) -> float:
    """Return the share of the frames whose real centre (N, 2) is seen and whose generated one is not; NaN without any."""
    there = seen(real)
    return float(np.mean(~seen(fake[there]))) if there.any() else float("nan")
