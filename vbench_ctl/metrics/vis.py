"""Video Inception score (Saito et al., ICCV 2017): that of C3D's classes of UCF-101, of 16 frames at 112x112.

It looks at generated clips alone. Real UCF-101 scores about 60 with this classifier and 23 with others (raahii/evan#4),
so no other network may take its name.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from vbench_ctl.networks import Features
from vbench_ctl.statistics.inception_score import TGAN2_EPS, inception_score_estimate
from vbench_ctl.statistics.resampling import Estimate

TITLE = "video Inception score"
DIRECTION = "higher"
UNIT = ""
NEEDS = "features"
GENERATED_ONLY = True  # it looks at no real clip
VERSION = 1
VARIANTS: dict[str, dict[str, Any]] = {
    "": {"splits": 10},  # universome/stylegan-v:src/metrics, on 2048 shuffled clips
    # pfnet-research/tgan2:scripts/compute_inception_score.py scores 2048 clips as a whole, ten times
    "tgan2": {"splits": 1, "eps": TGAN2_EPS},
}


def features(*, splits: int = 10, eps: float = 0.0) -> Features:
    """Return the probabilities of C3D's 101 classes."""
    return Features("c3d", "c3d-ucf101")


def estimate(
    real: None,
    fake: np.ndarray,
    clusters: Sequence[str],
    groups_of: int = 0,
    *,
    splits: int = 10,
    eps: float = 0.0,
) -> Estimate:
    """Return the mean score of the parts of generated probabilities (N, 101), with its interval over clusters."""
    return inception_score_estimate(fake, clusters, splits, eps=eps)


def signature(*, splits: int = 10, eps: float = 0.0) -> str:
    """Name what the number depends on besides network and clips."""
    return f"align_corners,stretch,bgr,first 16 frames,{splits} parts" + (f",eps{eps:g}" if eps else "")
