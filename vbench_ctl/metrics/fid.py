"""Frechet inception distance (Heusel et al., NeurIPS 2017) of all frames of all clips.

The variants differ in how a frame becomes 299x299; mseitzer/pytorch-fid's way is the default. Frames of one clip are not
independent, so the interval leaves out whole clips.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from vbench_ctl.networks import Features
from vbench_ctl.statistics.frechet import frechet_jackknife
from vbench_ctl.statistics.resampling import Estimate

TITLE = "FID"
DIRECTION = "lower"
UNIT = ""
NEEDS = "features"
VERSION = 1
ENOUGH = 256
FRECHET = True  # of the real set it needs mean and covariance only
VARIANTS: dict[str, dict[str, Any]] = {
    "": {"mode": "legacy_pytorch"},  # mseitzer/pytorch-fid
    "tensorflow": {"mode": "legacy_tensorflow"},  # bioinf-jku/TTUR
    "clean": {"mode": "clean"},  # GaParmar/clean-fid
}


def features(*, mode: str = "legacy_pytorch") -> Features:
    """Return the pooled features of Inception-v3, a row per frame."""
    return Features("inception", "inception-2015", "frame", (), (("mode", mode),))


def estimate(
    real: np.ndarray, fake: np.ndarray, clusters: Sequence[str], groups_of: int = 0, *, mode: str = "legacy_pytorch"
) -> Estimate:
    """Return the distance of generated features (N, 2048) to real ones with its jackknife interval over clusters."""
    return frechet_jackknife(real, fake, clusters=clusters)


def signature(*, mode: str = "legacy_pytorch") -> str:
    """Name what the number depends on besides network and clips."""
    return f"{mode},frames,ddof1"
