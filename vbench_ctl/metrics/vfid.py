"""Video FID of G3AN (Wang et al., CVPR 2020): Frechet distance of ResNeXt-101 features of 16 frames at 112x112."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from vbench_ctl.networks import Features
from vbench_ctl.statistics.frechet import frechet_jackknife
from vbench_ctl.statistics.resampling import Estimate

TITLE = "video FID"
DIRECTION = "lower"
UNIT = ""
NEEDS = "features"
VERSION = 1
ENOUGH = 256
FRECHET = True  # of the real set it needs mean and covariance only
VARIANTS: dict[str, dict[str, Any]] = {
    "": {"resize": "pillow", "aspect": "stretch", "channels": "rgb"},  # wyhsirius/g3an-project:evaluation
    # raahii/evan reads with OpenCV, keeps the channels' order and takes the network fine-tuned on UCF-101
    "evan": {
        "resize": "torch_half_pixel",
        "aspect": "shorter_side_crop",
        "channels": "bgr",
        "weights": "resnext101-ucf101",
    },
}


def features(
    *, resize: str = "pillow", aspect: str = "stretch", channels: str = "rgb", weights: str = "resnext101-k400"
) -> Features:
    """Return the pooled features of ResNeXt-101."""
    options = (("resize", resize), ("aspect", aspect), ("channels", channels))
    return Features("resnext3d", weights, "clip", (), options)


def window(**options: str) -> tuple[int, str]:
    """Return how many frames of a longer clip the network sees, and which."""
    return 16, "middle"


def estimate(
    real: np.ndarray, fake: np.ndarray, clusters: Sequence[str], groups_of: int = 0, **options: str
) -> Estimate:
    """Return the distance of generated features (N, 2048) to real ones with its jackknife interval over clusters."""
    return frechet_jackknife(real, fake, clusters=clusters)


def signature(
    *, resize: str = "pillow", aspect: str = "stretch", channels: str = "rgb", weights: str = "resnext101-k400"
) -> str:
    """Name what the number depends on besides network and clips."""
    return f"{resize},{aspect},{channels},ddof1"
