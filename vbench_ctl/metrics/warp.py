"""Warping error: how much the colour of what moves changes on its way from one generated frame to the next.

As in Lai et al. (ECCV 2018): the next frame is fetched along the flow and compared where nothing was covered, which
forward and backward flow tell (Sundaram et al., ECCV 2010). The flow is our own, without weights (statistics/flow.py). A
frozen picture has no error, so it is read beside how much clips move.
"""

from typing import Any

import numpy as np

from vbench_ctl.errors import VbenchError
from vbench_ctl.metrics import FLOW_VERSION, check_frames

TITLE = "Warping error"
DIRECTION = "lower"
UNIT = ""
NEEDS = "fake"
VERSION = 1
VARIANTS: dict[str, dict[str, Any]] = {"": {}}
COVERED = (0.01, 0.5)  # of squared lengths, and pixels squared: Sundaram et al. (2010) section 4


def values(fake: np.ndarray) -> np.ndarray:
    """Return the mean squared error on the [0, 1] scale of each transition, float64 (T-1,), of a uint8 clip (T, H, W, 3).

    Where everything was covered or left the frame, nothing is compared and the error is 0.
    """
    check_frames(fake, "generated")
    if len(fake) < 2:
        raise VbenchError("warp follows motion and the generated clip has 1 frame; give it at least 2 frames")
    from vbench_ctl.statistics import flow

    forward, backward = flow.along(fake), flow.along(fake[::-1])[::-1]
    following, inside = flow.warped(fake[1:], forward)
    back, _ = flow.warped(backward, forward)
    lengths = (forward.astype(np.float64) ** 2).sum(axis=-1) + (back.astype(np.float64) ** 2).sum(axis=-1)
    seen = inside & (((forward + back).astype(np.float64) ** 2).sum(axis=-1) <= COVERED[0] * lengths + COVERED[1])
    errors = ((following - fake[:-1]).astype(np.float64) ** 2).mean(axis=-1) / 255**2
    return (errors * seen).sum(axis=(1, 2)) / np.maximum(seen.sum(axis=(1, 2)), 1)


def signature() -> str:
    """Name what the number depends on."""
    return f"rgb,range1,{FLOW_VERSION},not-covered"
