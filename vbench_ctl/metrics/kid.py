"""Kernel inception distance (Binkowski et al., ICLR 2018) of all frames: unbiased squared MMD of the features of FID."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from vbench_ctl.networks import Features
from vbench_ctl.statistics.kernel import kid
from vbench_ctl.statistics.resampling import Estimate

TITLE = "KID"
DIRECTION = "lower"
UNIT = ""
NEEDS = "features"
VERSION = 1
VARIANTS: dict[str, dict[str, Any]] = {"": {}}


def features() -> Features:
    """Return the features of FID."""
    return Features("inception", "inception-2015", "frame", (), (("mode", "legacy_pytorch"),))


def estimate(real: np.ndarray, fake: np.ndarray, clusters: Sequence[str], groups_of: int = 0) -> Estimate:
    """Return the squared MMD of generated and real features (N, 2048) with its interval over clusters."""
    return kid(real, fake, clusters=clusters)


def signature() -> str:
    """Name what the number depends on besides network and clips."""
    return "legacy_pytorch,frames,cubic,unbiased"
