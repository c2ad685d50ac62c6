"""One module per metric (docs/extending.md). Here: what the metrics that compare pixels share, in exact integers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vbench_ctl.errors import VbenchError

if TYPE_CHECKING:  # listing the metrics' names must not import numpy
    import numpy as np


# Of statistics/flow.py, in the signatures of what is made of it; raised whenever the flow changes.
FLOW_VERSION = "flow-v1"
LUMA = (0.299, 0.587, 0.114)  # of R, G and B, ITU-R BT.601


def check_frames(clip: np.ndarray, which: str) -> None:
    """Refuse what is not a clip of uint8 frames (T, H, W, 3)."""
    if clip.dtype != "uint8" or clip.ndim != 4 or clip.shape[-1] != 3 or not clip.size:
        found = f"{clip.dtype} {clip.shape}"
        raise VbenchError(f"the {which} clip is {found}, expected uint8 (T, H, W, 3) in RGB order; convert it first")


def check_pair(real: np.ndarray, fake: np.ndarray) -> None:
    """Refuse two clips (T, H, W, 3) that cannot be compared pixel by pixel."""
    check_frames(real, "real")
    check_frames(fake, "generated")
    if real.shape != fake.shape:
        raise VbenchError(
            f"the real clip is {real.shape} and the generated one {fake.shape}, expected equal (T, H, W, 3); "
            "cut or resize one of them first"
        )


def squared_errors(real: np.ndarray, fake: np.ndarray) -> np.ndarray:
    """Sum the squared differences of two uint8 clips per frame and channel: int64 (T, 3), exact, at most H W 255^2."""
    check_pair(real, fake)
    frames, height, width, channels = real.shape
    squares = real.astype("int32")
    squares -= fake
    squares *= squares
    # rows first: summing long runs is several times faster than summing over (H, W) beside 3 channels
    columns = squares.reshape(frames, height, width * channels).sum(axis=1, dtype="int64")
    return columns.reshape(frames, width, channels).sum(axis=1)
