"""What the metrics that compare several answers to one case share; their clips begin with the last given frame."""

from collections.abc import Callable

import numpy as np

from vbench_ctl import networks
from vbench_ctl.errors import VbenchError
from vbench_ctl.networks import Features

LPIPS = Features("lpips_net", "lpips-alex", "frame", (("net", "alex"),))


def steps(clip: np.ndarray, at: int) -> slice:
    """Return where predicted frame `at` of a clip (1 + predict, ...) lies; with 0 where all of them do."""
    if at >= len(clip):
        raise VbenchError(f"it looks at predicted frame {at}, and there are {len(clip) - 1}; ask for the variant mean")
    return slice(at, at + 1) if at else slice(1, None)


def gained(
    measure: Callable[[np.ndarray, np.ndarray], np.ndarray],
    real: np.ndarray,
    answers: dict[str, np.ndarray],
    against: str,
    at: int,
) -> np.ndarray:
    """Return by how much an answer to the true actions is more like the real clip than one to others, frame by frame."""
    seen = steps(real, at)
    return measure(real[seen], answers[""][seen]) - measure(real[seen], answers[against][seen])


def distances(of: str, frames: np.ndarray, *others: np.ndarray) -> list[np.ndarray]:
    """Return how far each of other clips (T, H, W, 3) is from the first, frame by frame: float64 (T,) each.

    For "pixel" that is the mean absolute difference on the [0, 1] scale, else LPIPS.
    """
    return MEASURES[of](frames, *others)


def _of_pixels(frames: np.ndarray, *others: np.ndarray) -> list[np.ndarray]:
    exact = frames.astype(np.int32)
    sums = [np.abs(exact - other).reshape(len(frames), -1).sum(axis=1, dtype=np.int64) for other in others]
    return [each / (frames[0].size * 255) for each in sums]


def _of_lpips(frames: np.ndarray, *others: np.ndarray) -> list[np.ndarray]:
    found = networks.extractor(LPIPS).distances(frames, *others)
    return [each.astype(np.float64) for each in found]


MEASURES: dict[str, Callable[..., list[np.ndarray]]] = {"pixel": _of_pixels, "lpips": _of_lpips}
