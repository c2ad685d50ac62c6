"""The networks that say where something is in a frame, for the metrics that compare places and movements."""

from collections.abc import Mapping

import numpy as np

from vbench_ctl.networks import Features
from vbench_ctl.statistics.detections import known
from vbench_ctl.tracks import DETECTED

NETWORKS = {
    DETECTED: Features("person", "fasterrcnn-coco", "frame"),
    "sprite": Features("sprite_probe", "sprite-probe", "frame"),
}


def track(of: str) -> str:
    """Return which track has the places that one of the networks sees, or those of the track of that name."""
    return DETECTED if of in NETWORKS else of


def places(tracks: Mapping[str, np.ndarray], of: str) -> np.ndarray:
    """Return the centres (T, 2) that one of the networks saw, NaN where it saw nothing, or the track of that name."""
    return known(tracks[DETECTED][:, :2]) if of in NETWORKS else tracks[of]
