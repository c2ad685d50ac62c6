"""Peak signal-to-noise ratio, 10 log10(1 / MSE) in dB, from exact sums of squared errors."""

from typing import Any

import numpy as np

from vbench_ctl.errors import unknown
from vbench_ctl.metrics import squared_errors

TITLE = "PSNR"
DIRECTION = "higher"
UNIT = "dB"
NEEDS = "pair"
VERSION = 1  # raised whenever the numbers change
VARIANTS: dict[str, dict[str, Any]] = {
    # Per frame over all channels. The cap is JunyaoHu/common_metrics_on_video_quality's "100 dB below an MSE of 1e-10".
    "": {},
    # photosynthesis-team/piq, and so GLASS, PlayableVideoGeneration and CCVS: identical frames get 80 dB.
    "piq": {"eps": 1e-8},
    # edenton/svg eval_seq: PSNR of each channel, then their mean. It has no cap; ours stays, so that one channel without
    # error does not make a whole table infinite.
    "channel": {"unit": "channel"},
    # edenton/svg finn_psnr on a whole clip: one MSE, one logarithm. At most the mean over frames, as log is concave.
    "video": {"unit": "video"},
    # Ours: what stands still from the clip's first frame on is left out, so that repeating it earns nothing.
    "moving": {"unit": "moving"},
}
UNITS = ("frame", "channel", "video", "moving")


def values(
    real: np.ndarray, fake: np.ndarray, *, unit: str = "frame", eps: float = 0.0, cap: float = 100.0
) -> np.ndarray:
    """Return the PSNR of each frame, float64 (T,), or (1,) of a whole clip, of two uint8 clips (T, H, W, 3).

    The units "video" and "moving" are of a whole clip: its one MSE, the latter of the pixels that differ in any channel
    from those of the real clip's first frame. `eps` is added to the MSE on the [0, 1] scale; no value exceeds `cap` dB.
    """
    if unit not in UNITS:
        raise unknown("unit", unit, UNITS)
    sums = squared_errors(real, fake)  # (T, 3)
    pixels = real[0, :, :, 0].size
    if unit == "frame":
        sums, pixels = sums.sum(axis=1, keepdims=True), 3 * pixels
    elif unit == "video":
        sums, pixels = sums.sum(keepdims=True), real.size
    elif unit == "moving":
        moving = (real != real[:1]).any(axis=-1)
        errors = np.where(moving[..., None], real.astype(np.int32) - fake, 0)
        sums, pixels = np.full((1, 1), (errors**2).sum()), max(3 * int(moving.sum()), 1)
    mse = sums / (pixels * 255**2) + eps
    with np.errstate(divide="ignore"):  # no error at all is infinitely many dB, then the cap
        return np.minimum(-10 * np.log10(mse), cap).mean(axis=1)


def signature(*, unit: str = "frame", eps: float = 0.0, cap: float = 100.0) -> str:
    """Name what the number depends on."""
    return f"{unit},rgb,range1,eps{eps:g},cap{cap:g},exact-mse"
