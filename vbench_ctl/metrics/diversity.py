"""Diversity of several continuations of one start: the mean squared difference of their features over pairs.

CompVis/image2video-synthesis-using-cINNs:metrics/Diversity. Noise raises it too: read it beside a quality score.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from vbench_ctl.intervals import bootstrap_mean
from vbench_ctl.networks import Features
from vbench_ctl.statistics.diversity import diversity
from vbench_ctl.statistics.resampling import Estimate

TITLE = "diversity"
DIRECTION = "higher"
UNIT = ""
NEEDS = "features"
REALS = False  # it looks at the samples alone
VERSION = 1
VARIANTS: dict[str, dict[str, Any]] = {
    "": {"net": "i3d"},
    "dti3d": {"net": "dti3d", "scale": 1000.0},  # printed times 1000 in the release
}


def features(*, net: str = "i3d", scale: float = 1.0) -> Features:
    """Return the features that are compared."""
    if net == "i3d":
        return Features("i3d", "i3d-k400", "clip", (), (("preset", "tf"),))
    return Features("dti3d", "dti3d-16", "clip", (("frames", 16),))


def estimate(
    real: np.ndarray,
    fake: np.ndarray,
    clusters: Sequence[str],
    groups_of: int = 0,
    *,
    net: str = "i3d",
    scale: float = 1.0,
) -> Estimate:
    """Return the mean over starts, which `clusters` tell apart, with its bootstrap interval."""
    names = np.array(clusters)
    starts = list(dict.fromkeys(clusters))
    values = scale * diversity([fake[names == start] for start in starts])
    return Estimate(float(values.mean()), *(bootstrap_mean(values, starts) or (None, None)))


def signature(*, net: str = "i3d", scale: float = 1.0) -> str:
    """Name what the number depends on besides network and clips."""
    return "ordered-pairs" + (f",x{scale:g}" if scale != 1 else "")
