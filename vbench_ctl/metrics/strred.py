"""ST-RRED (Soundararajan & Bovik 2013): how much the entropies of a subband differ from the real clip's.

scikit-video's ST-RRED. It takes frames 0 and 1, 2 and 3, and so on (an odd last frame is not seen) and has for each
pair a spatial difference, of the first frame, and a temporal one, of the change to the second. The value of a clip is
the mean spatial difference times the mean temporal one, so there is one for all frames.
"""

from typing import Any

import numpy as np

from vbench_ctl.errors import VbenchError, unknown
from vbench_ctl.metrics import check_pair
from vbench_ctl.scikit_video import RELEASE, luma, measure

TITLE = "ST-RRED"
DIRECTION = "lower"
UNIT = ""
NEEDS = "pair"
VERSION = 1  # raised whenever the numbers change
VARIANTS: dict[str, dict[str, Any]] = {
    "": {},  # block by block, then averaged: the second thing skvideo.measure.strred returns
    # Averaged over the frame, then compared: one number per frame of the real clip suffices. The third thing.
    "ssn": {"form": "frames"},
}
COLUMNS = {"blocks": slice(0, 2), "frames": slice(2, 4)}  # spatial and temporal, of the first thing's four
# The subband is an eighth of the frame and is cut into blocks of 3x3, of which there must be 2x2: with fewer there is
# no variance, and any two clips get 0.
SMALLEST = 41


def values(real: np.ndarray, fake: np.ndarray, *, form: str = "blocks") -> np.ndarray:
    """Return the ST-RRED of two uint8 clips (T, H, W, 3), float64 (1,)."""
    if form not in COLUMNS:
        raise unknown("form", form, COLUMNS)
    _check(real, fake)
    try:
        pairs = measure("strred")(luma(real), luma(fake))[0]  # (T // 2, 4)
    except np.linalg.LinAlgError as error:
        raise VbenchError(
            "the real or the generated clip has a frame, or a change of frames, too regular for the covariance that "
            f"ST-RRED inverts ({error}); leave strred out"
        ) from error
    return pairs[:, COLUMNS[form]].mean(axis=0, dtype=np.float64).prod(keepdims=True)


def signature(*, form: str = "blocks") -> str:
    """Name what the number depends on."""
    return f"{form},luma601,range255,not-rounded,sp5-level4-band0,scikit-video{RELEASE}"


def _check(real: np.ndarray, fake: np.ndarray) -> None:
    check_pair(real, fake)
    frames, height, width = real.shape[:3]
    if frames < 2:
        raise VbenchError("ST-RRED compares changes between frames and the clips have 1; give them at least 2 frames")
    if min(height, width) < SMALLEST:
        raise VbenchError(
            f"the clips have frames of {width}x{height} pixels and ST-RRED needs at least {SMALLEST}x{SMALLEST}; "
            "score larger frames or leave strred out"
        )
