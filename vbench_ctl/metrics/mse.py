"""Mean squared error of pixels on the [0, 1] scale, per frame."""

from typing import Any

import numpy as np

from vbench_ctl.metrics import squared_errors

TITLE = "MSE"
DIRECTION = "lower"
UNIT = ""
NEEDS = "pair"
VERSION = 1  # raised whenever the numbers change
VARIANTS: dict[str, dict[str, Any]] = {"": {}}  # Araachie/glass and willi-menapace/PlayableVideoGeneration


def values(real: np.ndarray, fake: np.ndarray) -> np.ndarray:
    """Return the mean squared error of each frame, float64 (T,), of two uint8 clips (T, H, W, 3)."""
    return squared_errors(real, fake).sum(axis=1) / (real[0].size * 255**2)


def signature() -> str:
    """Name what the number depends on."""
    return "frame,rgb,range1,exact"
