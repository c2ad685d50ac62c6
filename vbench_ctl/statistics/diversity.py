"""How different are the clips that a model makes from one start."""

from collections.abc import Iterable

import numpy as np

from vbench_ctl.errors import VbenchError
from vbench_ctl.statistics import check_features


def diversity(starts: Iterable[np.ndarray]) -> np.ndarray:
    """Return per start (N,) the mean squared difference between the features (K, ...) of its K samples.

    CompVis/image2video-synthesis-using-cINNs:metrics/Diversity averages over ordered pairs i != j, which is twice the
    sample variance. Its scores are the mean over starts; DIV VGG also over five layers; DIV DTI3D is times 1000. Starts
    are read one at a time, from an array (N, K, ...) or an iterator.
    """
    return np.array([_of_start(np.asarray(samples), number) for number, samples in enumerate(starts)])


def _of_start(samples: np.ndarray, number: int) -> float:
    name = f"the features of start {number}"
    if samples.ndim < 2:
        raise VbenchError(f"{name} have the shape {samples.shape}, expected (K samples, ...)")
    samples = check_features(samples.reshape(len(samples), -1), name, 2)
    return float(2 * samples.var(axis=0, ddof=1).mean())
