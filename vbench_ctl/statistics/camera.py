"""How the camera moves in a clip, and where something moves against it, read from the pixels alone.

The camera's motion is the one translation that explains most of the frame: least squares on the slopes of brightness
(Lucas and Kanade, IJCAI 1981) with Tukey's weights, so that whoever walks before the background counts as an outlier.
"""

from typing import NamedTuple

import numpy as np

VERSION = 1  # raised whenever the paths change
SHORTEST = 32  # pixels of the shorter side are enough to see a path
ROUNDS = 3  # of Newton's method; motions of a pixel or two need fewer
MARGIN = 2  # pixels at the edge, where what comes into view is not known
TUKEY = 4.685  # robust deviations: 95 % as efficient as plain least squares where nothing is an outlier
GREY = 1.0  # least deviation, in levels of grey: below is rounding


class Path(NamedTuple):
    """For each step of a clip of T frames, in pixels (x, y)."""

    camera: np.ndarray  # float64 (T - 1, 2): how far the background's content has moved since the first frame
    object: np.ndarray  # float64 (T - 1, 2): the middle of what moves otherwise; NaN where nothing does


def path(clip: np.ndarray) -> Path:
    """Follow a uint8 clip (T, H, W, 3)."""
    block = max(1, min(clip.shape[1:3]) // SHORTEST)
    grey = _reduced(clip, block)
    before, after = grey[:-1], grey[1:]
    moves = np.zeros((len(before), 2))
    for _ in range(ROUNDS):
        carried = _carried(before, moves)
        moves += _change((carried + after) / 2, *_unexplained(carried, after))
    rest, scale = _unexplained(_carried(before, moves), after)
    places = _middles(np.where(np.abs(rest) > scale, np.abs(rest), 0.0)) + MARGIN + 1
    return Path(np.cumsum(block * moves, axis=0), block * (places + 0.5) - 0.5)


def _reduced(clip: np.ndarray, block: int) -> np.ndarray:
    """Return the mean of channels and of blocks of pixels, a little blurred: float64 (T, H' - 2, W' - 2)."""
    height, width = clip.shape[1] // block, clip.shape[2] // block
    cut = clip[:, : height * block, : width * block].astype(np.uint32)
    summed = cut[..., 0] + cut[..., 1] + cut[..., 2]
    rows = np.add.reduceat(summed, range(0, height * block, block), axis=1)
    means = np.add.reduceat(rows, range(0, width * block, block), axis=2) / (3.0 * block**2)
    means = (means[:, :-2] + 2 * means[:, 1:-1] + means[:, 2:]) / 4  # so that slopes tell more of the way
    return (means[:, :, :-2] + 2 * means[:, :, 1:-1] + means[:, :, 2:]) / 4


def _carried(frames: np.ndarray, moves: np.ndarray) -> np.ndarray:
    """Move what frames (N, H, W) show by (x, y) pixels each, (N, 2); at the edge the last pixel goes on."""
    for axis, by in ((2, moves[:, 0]), (1, moves[:, 1])):
        size = frames.shape[axis]
        places = np.clip(np.arange(size) - by[:, None], 0, size - 1)
        places = places[:, None, :] if axis == 2 else places[:, :, None]
        low = places.astype(np.intp)
        first, second = (np.take_along_axis(frames, at, axis) for at in (low, np.minimum(low + 1, size - 1)))
        frames = first + (places - low) * (second - first)
    return frames


def _unexplained(before: np.ndarray, after: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return what differs inside the margin, (N, H - 4, W - 4), and from where on it is an outlier, (N, 1, 1)."""
    rest = _inside(after - before)
    spread = 1.4826 * np.median(np.abs(rest), axis=(1, 2), keepdims=True)  # 1.4826: of a normal distribution
    return rest, TUKEY * np.maximum(spread, GREY)


def _change(frames: np.ndarray, rest: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Return by how much to move on, (N, 2), from the slopes of frames (N, H, W), no further than the pixel for which slopes tell what comes."""
    weights = np.clip(1 - (rest / scale) ** 2, 0, None) ** 2
    y, x = (_inside(slope).reshape(len(rest), -1) for slope in np.gradient(frames, axis=(1, 2)))
    slopes = np.stack([x, y], axis=1)  # (N, 2, pixels)
    weighted = slopes * weights.reshape(len(rest), 1, -1)
    normal, pull = weighted @ slopes.swapaxes(1, 2), weighted @ rest.reshape(len(rest), -1, 1)
    return np.clip(-(np.linalg.pinv(normal, hermitian=True) @ pull)[..., 0], -1, 1)


def _middles(amounts: np.ndarray) -> np.ndarray:
    """Return the centre of mass (x, y) of each of (N, H, W): (N, 2), NaN where there is none."""
    height, width = amounts.shape[1:]
    sums = amounts.sum(axis=1) @ np.arange(width), amounts.sum(axis=2) @ np.arange(height)
    with np.errstate(invalid="ignore"):
        return np.stack(sums, axis=1) / amounts.sum(axis=(1, 2))[:, None]


def _inside(frames: np.ndarray) -> np.ndarray:
    return frames[:, MARGIN:-MARGIN, MARGIN:-MARGIN]
