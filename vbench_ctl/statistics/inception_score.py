"""Inception score of class probabilities (Salimans et al. 2016); of a video network it is the video inception score."""

from itertools import pairwise

import numpy as np
from scipy.special import rel_entr

from vbench_ctl.errors import VbenchError
from vbench_ctl.statistics import check_features

TGAN2_EPS = 1e-20  # pfnet-research/tgan2:tgan2/evaluations/inception_score.py adds this to every probability


def inception_score(probabilities: np.ndarray, splits: int = 10, *, eps: float = 0.0) -> np.ndarray:
    """Return exp(mean KL(p | mean p)) of each of `splits` consecutive parts, (splits,), of probabilities (N, classes).

    Reported are the mean and the population deviation over parts. A part sees fewer clips than the whole and scores
    lower, so scores with different splits do not compare. Parts follow the order of clips: shuffle sorted ones.
    """
    p = check_features(probabilities, "the probabilities")
    if not 1 <= splits <= len(p):
        raise VbenchError(f"{splits} splits of {len(p)} clips, expected from 1 to {len(p)}; choose fewer splits")
    if p.min() < 0 or np.abs(p.sum(axis=1) - 1).max() > 1e-3:
        raise VbenchError(
            f"the probabilities lie between {p.min():.4g} and {p.max():.4g} and each clip's sum to between "
            f"{p.sum(axis=1).min():.4g} and {p.sum(axis=1).max():.4g}, expected 0 or more and a sum of 1; apply softmax first"
        )
    edges = np.arange(splits + 1) * len(p) // splits
    parts = [p[start:stop] + eps for start, stop in pairwise(edges)]
    return np.array([np.exp(rel_entr(part, part.mean(axis=0)).sum(axis=1).mean()) for part in parts])
