"""MDR (Menapace et al., CADDY, CVPR 2021): the share of real frames with a player in whose generated frame none is found.

As in willi-menapace/PlayableVideoGeneration:evaluation/metrics, which prints the counts.
"""

from collections.abc import Sequence

import numpy as np

from vbench_ctl.metrics.add import DIRECTION, NEEDS, VARIANTS, collect, features, tracks
from vbench_ctl.statistics import detections

__all__ = ["DIRECTION", "NEEDS", "VARIANTS", "collect", "features", "note", "pooled", "signature", "tracks"]

TITLE = "MDR"
UNIT = "%"
RANGE = (0.0, 100.0)
VERSION = 1


def pooled(parts: Sequence[np.ndarray], *, of: str = "detected") -> float:
    """Return the percentage over the frames of all clips; NaN if nothing is seen in the real ones."""
    places = np.concatenate(parts)
    return 100 * detections.missing_share(places[:, :2], places[:, 2:])


def note(parts: Sequence[np.ndarray], *, of: str = "detected") -> str:
    """Say how many frames count."""
    places = np.concatenate(parts)
    return f"seen in {detections.seen(places[:, :2]).sum()} of {len(places)} real frames"


def signature(*, of: str = "detected") -> str:
    """Name what the number depends on besides the detector."""
    return f"{of},real frames where it is seen"
