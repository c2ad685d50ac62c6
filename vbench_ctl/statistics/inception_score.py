"""Inception score of class probabilities (Salimans et al. 2016); of a video network it is the video inception score."""

from collections.abc import Hashable, Sequence
from itertools import pairwise

import numpy as np
from scipy.special import entr

from vbench_ctl.errors import VbenchError
from vbench_ctl.statistics import check_features
from vbench_ctl.statistics.resampling import Estimate, jackknife

TGAN2_EPS = 1e-20  # pfnet-research/tgan2:tgan2/evaluations/inception_score.py adds this to every probability


def inception_score_estimate(
    probabilities: np.ndarray, clusters: Sequence[Hashable], splits: int = 10, *, eps: float = 0.0, seed: int = 0
) -> Estimate:
    """Return the mean score of `splits` random parts of probabilities (N, classes), with its interval over clusters.

    The parts are drawn once, from the clips in the order of their clusters' names, so that the order in which they come
    does not matter; where clips are left out, the others stay in their parts.
    """
    p = _checked(probabilities, splits) + eps
    shuffled = np.argsort(np.array([str(name) for name in clusters]), kind="stable")
    np.random.default_rng(seed).shuffle(shuffled)
    part_of = np.empty(len(p), int)
    for part, (start, stop) in enumerate(pairwise(_edges(len(p), splits))):
        part_of[shuffled[start:stop]] = part
    surprise = -entr(p).sum(axis=1)  # sum p log p of each clip; the mean KL is its mean plus the entropy of the mean

    def mean_score(kept: np.ndarray) -> float:
        parts = [kept[part_of[kept] == part] for part in np.unique(part_of[kept])]
        return float(np.mean([np.exp(surprise[part].mean() + entr(p[part].mean(axis=0)).sum()) for part in parts]))

    return jackknife(mean_score, len(p), clusters=clusters)


def _checked(probabilities: np.ndarray, splits: int) -> np.ndarray:
    p = check_features(probabilities, "the probabilities")
    if not 1 <= splits <= len(p):
        raise VbenchError(f"{splits} splits of {len(p)} clips, expected from 1 to {len(p)}; choose fewer splits")
    if p.min() < 0 or np.abs(p.sum(axis=1) - 1).max() > 1e-3:
        raise VbenchError(
            f"the probabilities lie between {p.min():.4g} and {p.max():.4g} and each clip's sum to between "
            f"{p.sum(axis=1).min():.4g} and {p.sum(axis=1).max():.4g}, expected 0 or more and a sum of 1; apply softmax first"
        )
    return p


def _edges(count: int, splits: int) -> np.ndarray:
    return np.arange(splits + 1) * count // splits
