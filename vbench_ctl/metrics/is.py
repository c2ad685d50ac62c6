"""Inception score (Salimans et al., NeurIPS 2016) of all frames: how sure Inception is of each and how they differ.

It looks at generated frames alone. Frames are dealt at random into parts, whose mean score is reported; the interval
leaves out whole clips. Logits without bias and ten parts are those of universome/stylegan-v:src/metrics/inception_score.py.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from vbench_ctl.networks import Features
from vbench_ctl.statistics.inception_score import inception_score_estimate
from vbench_ctl.statistics.resampling import Estimate

TITLE = "Inception score"
DIRECTION = "higher"
UNIT = ""
NEEDS = "features"
GENERATED_ONLY = True  # it looks at no real clip
VERSION = 1
VARIANTS: dict[str, dict[str, Any]] = {"": {}}


def features(*, splits: int = 10) -> Features:
    """Return the probabilities of Inception's 1008 classes, a row per frame."""
    loading, options = (("head", True),), (("mode", "legacy_tensorflow"),)
    return Features("inception", "inception-2015-head", "frame", loading, options)


def estimate(
    real: None, fake: np.ndarray, clusters: Sequence[str], groups_of: int = 0, *, splits: int = 10
) -> Estimate:
    """Return the mean score of the parts of generated probabilities (N, 1008), with its interval over clusters."""
    return inception_score_estimate(fake, clusters, splits)


def signature(*, splits: int = 10) -> str:
    """Name what the number depends on besides network and clips."""
    return f"legacy_tensorflow,frames,no bias,{splits} parts"
