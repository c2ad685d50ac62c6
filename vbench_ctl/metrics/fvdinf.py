"""FVD at infinitely many clips (Chong and Forsyth, CVPR 2020): a line through FVD over 1/N, read off at 1/N = 0.

It takes the bias out that differs from model to model. The interval leaves out blocks of clips, each from all the random
subsets that the line goes through; at least 512 clips are needed.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from vbench_ctl.metrics import fvd
from vbench_ctl.networks import Features
from vbench_ctl.statistics.frechet import frechet_infinity
from vbench_ctl.statistics.resampling import Estimate, jackknifed

TITLE = "FVD-infinity"
DIRECTION = "lower"
UNIT = ""
NEEDS = "features"
VERSION = 1
VARIANTS: dict[str, dict[str, Any]] = {"": {}}
POINTS, SEED = 15, 0  # layer6ai-labs/dgm-eval:dgm_eval/metrics/fd.py has 15 points and no seed


def features() -> Features:
    """Return the features of FVD."""
    return fvd.features()


def estimate(real: np.ndarray, fake: np.ndarray, clusters: Sequence[str], groups_of: int = 0) -> Estimate:
    """Return the distance of generated features (N, 400) to real ones, extrapolated to infinite N; it may be below 0."""
    line = frechet_infinity(real, fake, points=POINTS, clusters=clusters, seed=SEED)
    found = jackknifed(line.value, line.left_out) if line.left_out else Estimate(line.value)
    return found._replace(note=f"FVD over 1/N has slope {line.slope:.6g} and R2 {line.r2:.4f}")


def signature() -> str:
    """Name what the number depends on besides network and clips."""
    return f"tf,ddof1,{POINTS} sizes from N/4 or 256,seed{SEED}"
