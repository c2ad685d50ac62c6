"""Cosine similarity of VGG19's maps of frames, as CADDY's evaluation and GLASS after it compute it."""

from typing import Any

import numpy as np

from vbench_ctl import networks
from vbench_ctl.metrics import check_pair
from vbench_ctl.networks import Features

TITLE = "VGG similarity"
DIRECTION = "higher"
UNIT = ""
NEEDS = "pair"
RANGE = (-1.0, 1.0)
VERSION = 1
VARIANTS: dict[str, dict[str, Any]] = {"": {}}


def features() -> Features:
    """Return the network."""
    return Features("vgg", "vgg19", "pair", (("net", "vgg19"),))


def values(real: np.ndarray, fake: np.ndarray) -> np.ndarray:
    """Return the similarity of each frame, float64 (T,), of two uint8 clips (T, H, W, 3)."""
    check_pair(real, fake)
    return networks.between(features(), real, fake)[:, 0].astype(np.float64)


def signature() -> str:
    """Name what the number depends on besides network and clips."""
    return "frame,cosine,relu1_1 to relu5_1"
