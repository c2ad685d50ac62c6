"""Kernel video distance (Unterthiner et al., 2018): unbiased squared MMD of the features of FVD.

Unlike FVD it has no bias in the number of clips, which makes it the companion for small sets; it can fall below 0.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from vbench_ctl.networks import Features
from vbench_ctl.statistics.kernel import kid
from vbench_ctl.statistics.resampling import Estimate

TITLE = "KVD"
DIRECTION = "lower"
UNIT = ""
NEEDS = "features"
VERSION = 1
VARIANTS: dict[str, dict[str, Any]] = {"": {}}


def features() -> Features:
    """Return the features of FVD."""
    return Features("i3d", "i3d-k400", "clip", (), (("preset", "tf"),))


def estimate(real: np.ndarray, fake: np.ndarray, clusters: Sequence[str], groups_of: int = 0) -> Estimate:
    """Return the squared MMD of generated and real features (N, 400) with its interval over clusters."""
    return kid(real, fake, clusters=clusters)


def signature() -> str:
    """Name what the number depends on besides network and clips."""
    return "tf,cubic,unbiased"
