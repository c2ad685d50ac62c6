"""Endpoint error: how far the object is, in the last scored frame, from where the model was told that it shall end.

Ours: cINN (Dorkenwald et al., CVPR 2021) shows pictures only. The wanted place is what is seen in the real clip there; read
it beside the note, which says how far off the end points of other clips would be, and where nothing is seen any more.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from vbench_ctl import detectors
from vbench_ctl.networks import Features
from vbench_ctl.statistics import detections
from vbench_ctl.tracks import Tracks, aligned

TITLE = "Endpoint error"
DIRECTION = "lower"
UNIT = ""
NEEDS = "tracks"
VERSION = 1
LEAST = 0.5  # of the clips must have both places known: those that a detector still reads are the easy ones
VARIANTS: dict[str, dict[str, Any]] = {
    "": {"of": "state"},  # known of the real clips, read by somebody's estimator in the outputs
    "position": {"of": "position"},
    "sprite": {"of": "sprite"},  # pixels, read by the probe of W-Sprites on both sides
}


def features(*, of: str = "state") -> Features | None:
    """Return the detector, where the places are not known."""
    return detectors.NETWORKS.get(of)


def tracks(*, of: str = "state") -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return which tracks of the real clips and of the outputs it needs."""
    return (detectors.track(of),), (detectors.track(of),)


def collect(real: Tracks, fake: Tracks, *, of: str = "state") -> np.ndarray:
    """Return the wanted and the reached place of a clip, side by side: float64 (1, 2 D)."""
    wanted, reached = aligned(_places(real, of), _places(fake, of))
    return np.concatenate([wanted[-1], reached[-1]]).astype(np.float64)[None]


def pooled(parts: Sequence[np.ndarray], *, of: str = "state") -> float:
    """Return the mean distance over the clips where both are known; NaN if these are too few."""
    wanted, reached = _known(parts)
    return float(np.linalg.norm(wanted - reached, axis=1).mean()) if _enough(wanted, parts) else float("nan")


def note(parts: Sequence[np.ndarray], *, of: str = "state") -> str:
    """Say how many clips count, and the distance of the reached places from the end points of other clips."""
    wanted, reached = _known(parts)
    counted = f"known in {len(wanted)} of {sum(map(len, parts))} clips"
    if not _enough(wanted, parts):
        return f"{counted}, and a score needs {LEAST:.0%} of them"
    if len(wanted) < 2:
        return counted
    apart = np.linalg.norm(wanted[:, None] - reached[None], axis=2)
    others = apart[~np.eye(len(apart), dtype=bool)].mean()
    return f"{counted}; the end points of other clips are {others:.3g} away"


def signature(*, of: str = "state") -> str:
    """Name what the number depends on besides the detector."""
    return f"{of},last frame,clips where both are known"


def _places(tracks: Tracks, of: str) -> np.ndarray:
    """Return the places (T, D), NaN where nothing is seen."""
    places = detectors.places(tracks, of)
    return detections.known(places) if of == "position" else places  # a state may be negative


def _enough(wanted: np.ndarray, parts: Sequence[np.ndarray]) -> bool:
    return len(wanted) >= max(1, LEAST * sum(map(len, parts)))


def _known(parts: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    rows = np.concatenate(parts)
    wanted, reached = np.split(rows[np.isfinite(rows).all(axis=1)], 2, axis=1)
    return wanted, reached
