"""Motion-masked MSE: squared error weighted by how much the real clip moves there (Menapace et al., CVPR 2021).

Matches willi-menapace/PlayableVideoGeneration:evaluation and Araachie/glass:evaluation. The weight is not normalised,
so the number depends on how much a dataset moves and compares models on one dataset only.
"""

from typing import Any

import numpy as np

from vbench_ctl.metrics import check_pair

TITLE = "Motion-masked MSE"
DIRECTION = "lower"
UNIT = ""
NEEDS = "pair"
VERSION = 1  # raised whenever the numbers change
VARIANTS: dict[str, dict[str, Any]] = {"": {}}


def values(real: np.ndarray, fake: np.ndarray) -> np.ndarray:
    """Return the mean over pixels of (real - fake)^2 M on the [0, 1] scale, float64 (T,), of clips (T, H, W, 3).

    M is the channel mean of |real_t - real_(t-1)| and 0 in the first frame, whose value is therefore 0.
    """
    check_pair(real, fake)
    errors = real.astype(np.int32) - fake
    errors *= errors
    motion = np.abs(np.diff(real.astype(np.int32), axis=0))
    weighted = errors[1:].sum(axis=-1) * motion.sum(axis=-1)  # int64 and exact: at most 3 * 255^2 * 3 * 255 a pixel
    sums = np.concatenate([[0], weighted.sum(axis=(1, 2))])
    return sums / (3 * real[0].size * 255**3)  # 3: the mask is a mean of channels


def signature() -> str:
    """Name what the number depends on."""
    return "frame,rgb,range1,mask-real-difference,exact"
