"""Learned perceptual distance of frames (Zhang et al., CVPR 2018), version 0.1, through the package of its authors."""

from typing import Any

import numpy as np

from vbench_ctl import networks
from vbench_ctl.metrics import check_pair
from vbench_ctl.networks import Features

TITLE = "LPIPS"
DIRECTION = "lower"
UNIT = ""
NEEDS = "pair"
VERSION = 1
VARIANTS: dict[str, dict[str, Any]] = {
    "": {"net": "alex"},
    "vgg": {"net": "vgg"},  # GLASS, CADDY and cINN
    "squeeze": {"net": "squeeze"},
    # JunyaoHu/common_metrics_on_video_quality: maps enlarged, then averaged
    "spatial": {"net": "alex", "spatial": True},
}


def features(*, net: str = "alex", spatial: bool = False) -> Features:
    """Return the network: its trunk and heads."""
    return Features("lpips_net", f"lpips-{net}", "pair", (("net", net),))


def values(real: np.ndarray, fake: np.ndarray, *, net: str = "alex", spatial: bool = False) -> np.ndarray:
    """Return the distance of each frame, float64 (T,), of two uint8 clips (T, H, W, 3)."""
    check_pair(real, fake)
    return networks.between(features(net=net), real, fake)[:, int(spatial)].astype(np.float64)


def signature(*, net: str = "alex", spatial: bool = False) -> str:
    """Name what the number depends on besides network and clips."""
    return f"frame,{net},v0.1" + (",enlarged" if spatial else "")
