"""Precision, recall, density and coverage of generated clips among real ones, by nearest neighbours of FVD's features.

Kynkaanniemi et al., NeurIPS 2019; Naeem et al., ICML 2020. Coverage is the default; the others are variants.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from vbench_ctl.metrics import fvd
from vbench_ctl.networks import Features
from vbench_ctl.statistics.neighbours import prdc
from vbench_ctl.statistics.resampling import Estimate, blocks, jackknife

TITLE = "PRDC"
DIRECTION = "higher"
UNIT = ""
NEEDS = "features"
VERSION = 1
BLOCKS = 20  # of clips, one left out at a time
VARIANTS: dict[str, dict[str, Any]] = {
    "": {"which": "coverage"},
    "precision": {"which": "precision"},
    "recall": {"which": "recall"},
    "density": {"which": "density"},
}


def features(*, which: str = "coverage", k: int = 5) -> Features:
    """Return the features of FVD."""
    return fvd.features()


def estimate(
    real: np.ndarray,
    fake: np.ndarray,
    clusters: Sequence[str],
    groups_of: int = 0,
    *,
    which: str = "coverage",
    k: int = 5,
) -> Estimate:
    """Return one of the four with its jackknife interval over clusters of generated features (N, 400).

    There is none where k neighbours would not be left without a part of the clips.
    """

    def statistic(kept: np.ndarray) -> float:
        return getattr(prdc(real, fake[kept], k=k), which)

    most = max(map(len, blocks(len(fake), BLOCKS, clusters)))
    if len(fake) - most <= k:
        return Estimate(
            statistic(np.arange(len(fake))), note=f"no interval: {len(fake)} clips are too few to leave any out"
        )
    return jackknife(statistic, len(fake), count=BLOCKS, clusters=clusters)


def signature(*, which: str = "coverage", k: int = 5) -> str:
    """Name what the number depends on besides network and clips."""
    return f"tf,{which},k{k}"
