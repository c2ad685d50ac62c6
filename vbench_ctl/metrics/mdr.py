"""MDR (Menapace et al., CADDY, CVPR 2021): the share of real frames with a player in whose generated frame none is found.

As in willi-menapace/PlayableVideoGeneration:evaluation/metrics, which prints the counts.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from vbench_ctl.networks import Features
from vbench_ctl.statistics import detections
from vbench_ctl.tracks import Tracks, aligned

TITLE = "MDR"
DIRECTION = "lower"
UNIT = "%"
NEEDS = "tracks"
RANGE = (0.0, 100.0)
VERSION = 1
VARIANTS: dict[str, dict[str, Any]] = {
    "": {},  # the boxes are sifted as for the 256x96 frames of Tennis
    "position": {"of": "position"},  # known of the real clips, read by somebody in the outputs; negative: not seen
}


def features(*, of: str = "detected") -> Features | None:
    """Return the detector, where the places are not known."""
    return Features("person", "fasterrcnn-coco", "frame") if of == "detected" else None


def tracks(*, of: str = "detected") -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return which tracks of the real clips and of the outputs it needs."""
    return (of,), (of,)


def collect(real: Tracks, fake: Tracks, *, of: str = "detected") -> np.ndarray:
    """Return the real and the generated place of each frame of a clip: float64 (n, 4)."""
    return np.concatenate(aligned(real[of], fake[of]), axis=1).astype(np.float64)


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
