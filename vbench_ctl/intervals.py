"""Confidence intervals of means over clips."""

from collections.abc import Hashable, Sequence

import numpy as np

RESAMPLES = 1000
LEVEL = 0.95


def bootstrap_mean(values: np.ndarray, clusters: Sequence[Hashable], seed: int = 0) -> tuple[float, float] | None:
    """Return the percentile interval of the mean of (N,) values, resampling whole clusters; None for one cluster.

    Windows of one video are not independent, so the videos are what is drawn again.
    """
    names = {name: index for index, name in enumerate(dict.fromkeys(clusters))}
    if len(names) < 2:
        return None
    index = np.array([names[name] for name in clusters])
    sums = np.bincount(index, weights=values.astype(np.float64))
    counts = np.bincount(index)
    rng = np.random.default_rng(seed)
    means = np.empty(RESAMPLES)
    for at in range(RESAMPLES):
        drawn = rng.integers(len(names), size=len(names))
        means[at] = sums[drawn].sum() / counts[drawn].sum()
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
