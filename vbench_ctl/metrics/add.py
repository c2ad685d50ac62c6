"""ADD (Menapace et al., CADDY, CVPR 2021): how far the detected player is from where it is in the real frame, in pixels.

As in willi-menapace/PlayableVideoGeneration:evaluation/metrics: the mean over all frames in which a detector finds it in
both clips. A player that is gone costs nothing here, so read it beside MDR.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from vbench_ctl import detectors
from vbench_ctl.networks import Features
from vbench_ctl.statistics import detections
from vbench_ctl.tracks import Tracks, aligned

TITLE = "ADD"
DIRECTION = "lower"
UNIT = "px"
NEEDS = "tracks"
VERSION = 1
VARIANTS: dict[str, dict[str, Any]] = {
    "": {},  # the boxes are sifted as for the 256x96 frames of Tennis
    "position": {"of": "position"},  # known of the real clips, read by somebody in the outputs; negative: not seen
    "sprite": {"of": "sprite"},  # read by the probe of W-Sprites
}


def features(*, of: str = "detected") -> Features | None:
    """Return the detector, where the places are not known."""
    return detectors.NETWORKS.get(of)


def tracks(*, of: str = "detected") -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return which tracks of the real clips and of the outputs it needs."""
    return (detectors.track(of),), (detectors.track(of),)


def collect(real: Tracks, fake: Tracks, *, of: str = "detected") -> np.ndarray:
    """Return the real and the generated place of each frame of a clip: float64 (n, 4)."""
    return np.concatenate(aligned(detectors.places(real, of), detectors.places(fake, of)), axis=1).astype(np.float64)


def pooled(parts: Sequence[np.ndarray], *, of: str = "detected") -> float:
    """Return the mean distance over the frames of all clips; NaN if nothing is seen in both."""
    places = np.concatenate(parts)
    return detections.mean_distance(places[:, :2], places[:, 2:])


def note(parts: Sequence[np.ndarray], *, of: str = "detected") -> str:
    """Say how many frames count."""
    places = np.concatenate(parts)
    real, fake = detections.seen(places[:, :2]), detections.seen(places[:, 2:])
    return (
        f"seen in {real.sum()} of {len(places)} real frames, in {(real & fake).sum()} of them also in the generated one"
    )


def signature(*, of: str = "detected") -> str:
    """Name what the number depends on besides the detector."""
    return f"{of},centres,frames where both are seen"
