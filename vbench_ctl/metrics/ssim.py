"""Structural similarity (Wang et al., IEEE TIP 2004) per frame, in float64.

The window slides over the four images x, y, x^2 + y^2 and xy, first along the columns, then along the rows. Each pass is
a batch of products of one small banded matrix with overlapping slices of the image, which BLAS does several times
faster than a loop over taps. benchmarks/ssim.py compares the speed with scikit-image.
"""

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from vbench_ctl.errors import VbenchError, unknown
from vbench_ctl.metrics import LUMA, check_pair

TITLE = "SSIM"
DIRECTION = "higher"
UNIT = ""
NEEDS = "pair"
VERSION = 1  # raised whenever the numbers change
VARIANTS: dict[str, dict[str, Any]] = {
    # Wang 2004 on each colour channel, then their mean: JunyaoHu/common_metrics_on_video_quality, piq before 0.7
    # (PlayableVideoGeneration pins 0.5.1), and edenton/svg finn_ssim averaged over channels.
    "": {},
    # Wang 2004 on BT.601 luma.
    "luma": {"colour": "luma"},
    # photosynthesis-team/piq 0.7.0: frames of 384 pixels and more are average-pooled first.
    "piq": {"pool": True},
    # Araachie/glass passes the range 1.0 to piq 0.7.0 as the window size: a 1x1 window leaves the luminance term alone.
    "glass": {"window": "1x1", "pool": True},
    # 16lemoing/ccvs and edenton/svg eval_seq: scikit-image's defaults, which took the range of floats as -1 to 1, so 2
    # for frames in [0, 1]. That doubles the range in both constants and raises the score.
    "ccvs": {"window": "uniform7", "sample": True, "data_range": 510.0},
    # The same with the range the frames have.
    "uniform7": {"window": "uniform7", "sample": True},
}
COLOURS = ("rgb", "luma")
BLOCK = 8  # rows of the banded matrix: the fastest of 4 to 12 at 64, 128 and 256 pixels; wider bands are mostly zeros


def gaussian(size: int, sigma: float) -> np.ndarray:
    """Return a normalised Gaussian of `size` taps."""
    taps = np.exp(-((np.arange(size) - size // 2) ** 2) / (2 * sigma**2))
    return taps / taps.sum()


WINDOWS = {"gauss11x1.5": gaussian(11, 1.5), "uniform7": np.full(7, 1 / 7), "1x1": np.ones(1)}


def values(
    real: np.ndarray,
    fake: np.ndarray,
    *,
    window: str = "gauss11x1.5",
    colour: str = "rgb",
    data_range: float = 255.0,
    sample: bool = False,
    pool: bool = False,
) -> np.ndarray:
    """Return the SSIM of each frame, float64 (T,), of two uint8 clips (T, H, W, 3).

    Only windows inside the frame count. `sample` divides (co)variances by n - 1 instead of n; `pool` averages blocks of
    round(min(H, W) / 256) pixels first.
    """
    if window not in WINDOWS:
        raise unknown("window", window, WINDOWS)
    if colour not in COLOURS:
        raise unknown("colour", colour, COLOURS)
    check_pair(real, fake)
    reals, fakes = (_planes(clip, colour, pool) for clip in (real, fake))
    height, width = reals.shape[-2:]
    size = len(WINDOWS[window])
    if min(height, width) < size:
        raise VbenchError(
            f"frames are {width}x{height} pixels and the SSIM window {window} needs {size}x{size}; "
            "score larger frames or leave SSIM out"
        )
    mean_ssim = _Workspace(height, width, WINDOWS[window]).mean_ssim
    constants = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    unbias = size**2 / (size**2 - 1) if sample else 1.0
    planes = zip(reals.reshape(-1, height, width), fakes.reshape(-1, height, width), strict=True)
    scores = [mean_ssim(x, y, constants, unbias) for x, y in planes]
    return np.array(scores).reshape(len(reals), -1).mean(axis=1)


def signature(
    *,
    window: str = "gauss11x1.5",
    colour: str = "rgb",
    data_range: float = 255.0,
    sample: bool = False,
    pool: bool = False,
) -> str:
    """Name what the number depends on."""
    pooled = ",pool256" if pool else ""
    return f"{window},valid,{colour},range{data_range:g},{'sample' if sample else 'population'}{pooled},float64"


def _planes(clip: np.ndarray, colour: str, pool: bool) -> np.ndarray:
    """Turn (T, H, W, 3) into (T, C, H, W), uint8 where nothing was averaged."""
    planes = np.moveaxis(clip, -1, 1)
    if colour == "luma":
        planes = np.tensordot(clip, LUMA, axes=1)[:, np.newaxis]
    frames, channels, height, width = planes.shape
    step = max(1, round(min(height, width) / 256)) if pool else 1
    if step == 1:
        return planes
    height, width = height // step, width // step
    planes = planes[:, :, : height * step, : width * step]
    return planes.reshape(frames, channels, height, step, width, step).mean(axis=(3, 5))


class _Workspace:
    """Buffers for planes of one size, padded to whole blocks; what comes out of the padding is never read."""

    def __init__(self, height: int, width: int, kernel: np.ndarray) -> None:
        extra = len(kernel) - 1
        self.rows, self.cols = height - extra, width - extra
        tall, wide = (-(-n // BLOCK) * BLOCK for n in (self.rows, self.cols))
        self.maps = np.zeros((4, tall + extra, wide + extra))  # x, y, x^2 + y^2, xy
        half = np.empty((4, tall, wide + extra))  # filtered along the columns
        self.filtered = np.empty((4, wide, tall))  # and along the rows
        self.spare = np.empty((wide, tall))
        self.band = np.stack([np.pad(kernel, (i, BLOCK - 1 - i)) for i in range(BLOCK)])
        # each pass: overlapping slices (4, N / BLOCK, taps, R) to blocks of results (4, N / BLOCK, BLOCK, R)
        self.passes = [
            (self._slices(self.maps), half.reshape(4, -1, BLOCK, wide + extra)),
            (self._slices(half.swapaxes(1, 2)), self.filtered.reshape(4, -1, BLOCK, tall)),
        ]

    def _slices(self, images: np.ndarray) -> np.ndarray:
        return sliding_window_view(images, self.band.shape[1], axis=1)[:, ::BLOCK].swapaxes(2, 3)

    def mean_ssim(self, x: np.ndarray, y: np.ndarray, constants: tuple[float, float], unbias: float) -> float:
        """Return the mean SSIM of two planes (H, W)."""
        self._load(x, y)
        for slices, out in self.passes:
            np.matmul(self.band, slices, out=out)
        self._combine(*constants, unbias)
        return 4 * float(self.spare[: self.cols, : self.rows].mean())

    def _load(self, x: np.ndarray, y: np.ndarray) -> None:
        height, width = x.shape
        xs, ys, squares, product = self.maps
        xs[:height, :width] = x
        ys[:height, :width] = y
        np.multiply(xs, xs, out=squares)
        np.multiply(ys, ys, out=product)
        squares += product
        np.multiply(xs, ys, out=product)

    def _combine(self, c1: float, c2: float, unbias: float) -> None:
        """Leave a quarter of (2 mx my + c1) (2 cov + c2) / ((mx^2 + my^2 + c1) (var_x + var_y + c2)) in `spare`.

        All in place: writing to fresh arrays takes twice the time.
        """
        mean_x, mean_y, variances, covariance = self.filtered
        means = np.multiply(mean_x, mean_y, out=self.spare)
        mean_x *= mean_x
        mean_y *= mean_y
        mean_x += mean_y
        variances -= mean_x
        covariance -= means
        if unbias != 1:
            variances *= unbias
            covariance *= unbias
        means += c1 / 2  # the two factors 2 wait for the end
        covariance += c2 / 2
        means *= covariance
        mean_x += c1
        variances += c2
        mean_x *= variances
        means /= mean_x
