"""Dynamic texture FVD (Dorkenwald et al., CVPR 2021): Frechet distance of an I3D trained on dynamic textures.

The network of 16 frames sees the first 16 of longer clips and loops shorter ones; clips of 32 frames, "dtfvd-32", have one of
their own. With a network that the user trained and added it is "dtfvd-<sha8>" or "dtfvd-32-<sha8>", after the hash of its weights.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from vbench_ctl.networks import Features
from vbench_ctl.statistics.frechet import frechet_jackknife
from vbench_ctl.statistics.resampling import Estimate

TITLE = "DTFVD"
DIRECTION = "lower"
UNIT = ""
NEEDS = "features"
VERSION = 1
ENOUGH = 256
FRECHET = True  # of the real set it needs mean and covariance only
VARIANTS: dict[str, dict[str, Any]] = {"": {"frames": 16}, "32": {"frames": 32}}


def features(*, frames: int = 16) -> Features:
    """Return the features of the network trained on so many frames."""
    return Features("dti3d", f"dti3d-{frames}", "clip", (("frames", frames),))


def window(*, frames: int = 16) -> tuple[int, str]:
    """Return how many frames of a longer clip the network sees, and which."""
    return frames, "first"


def estimate(
    real: np.ndarray, fake: np.ndarray, clusters: Sequence[str], groups_of: int = 0, *, frames: int = 16
) -> Estimate:
    """Return the distance of generated features (N, 1024) to real ones with its jackknife interval over clusters."""
    return frechet_jackknife(real, fake, clusters=clusters)


def signature(*, frames: int = 16) -> str:
    """Name what the number depends on besides network and clips."""
    return f"align_corners,{frames}-frame network,ddof1"
