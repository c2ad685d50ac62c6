"""Dynamic degree: the share of clips that move, as Vchitect/VBench counts them, with a flow of our own.

A clip moves where in a quarter of its frames the fastest twentieth of the pixels is fast enough. VBench takes 8 frames a
second and the flow of RAFT; here all frames count and the flow needs no weights (statistics/flow.py).
"""

from typing import Any

import numpy as np

from vbench_ctl.errors import VbenchError
from vbench_ctl.metrics import FLOW_VERSION, check_frames

TITLE = "Dynamic degree"
DIRECTION = "higher"
UNIT = ""
NEEDS = "fake"
VERSION = 1
VARIANTS: dict[str, dict[str, Any]] = {
    "": {},
    "speed": {"form": "speed"},  # how fast the fastest twentieth is, in pixels of a frame whose shorter side is 256
}
# Vchitect/VBench:vbench/dynamic_degree.py
FASTEST = 0.05  # of the pixels
ENOUGH = 6.0  # pixels, of a frame whose shorter side is 256
FRAMES = 4 / 16  # of the clip


def values(fake: np.ndarray, *, form: str = "degree") -> np.ndarray:
    """Return 1 where a uint8 clip (T, H, W, 3) moves and 0 elsewhere, float64 (1,), or the speed of each step, (T-1,)."""
    check_frames(fake, "generated")
    if len(fake) < 2:
        raise VbenchError("dynamic looks at motion and the generated clip has 1 frame; give it at least 2 frames")
    from vbench_ctl.statistics import flow

    norms = np.linalg.norm(flow.along(fake).astype(np.float64), axis=-1).reshape(len(fake) - 1, -1)
    count = max(1, int(norms.shape[1] * FASTEST))
    speeds = np.partition(norms, -count, axis=1)[:, -count:].mean(axis=1) * 256 / min(fake.shape[1:3])
    if form == "speed":
        return speeds
    return np.array([float((speeds > ENOUGH).sum() >= round(FRAMES * len(fake)))])


def signature(*, form: str = "degree") -> str:
    """Name what the number depends on."""
    return f"{form},{FLOW_VERSION}"
