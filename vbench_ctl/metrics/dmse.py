"""Delta-MSE (Menapace et al., CADDY, CVPR 2021): the share of the object's movement that the model's actions don't explain.

The movement is that of the real clip, the action what the model inferred on the way. An action that always means the same
movement leaves nothing. The release (willi-menapace/PlayableVideoGeneration:evaluation/metrics) prints the variances only;
the variant "unweighted" is the ratio of the two it prints.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from vbench_ctl import detectors
from vbench_ctl.networks import Features
from vbench_ctl.statistics import movements
from vbench_ctl.tracks import Tracks

TITLE = "Delta-MSE"
DIRECTION = "lower"
UNIT = "%"
NEEDS = "tracks"
VERSION = 1
VARIANTS: dict[str, dict[str, Any]] = {
    "": {},
    "unweighted": {"form": "unweighted"},  # each action counts alike, however rare
    "heldout": {"form": "heldout"},  # the mean movement of an action is that of the other half of the clips
    "position": {"of": "position"},
    "position-unweighted": {"of": "position", "form": "unweighted"},
    "position-heldout": {"of": "position", "form": "heldout"},
    "person": {"of": "detected"},  # what a detector of people sees of tennis players
    "person-unweighted": {"of": "detected", "form": "unweighted"},
    "person-heldout": {"of": "detected", "form": "heldout"},
    "sprite": {"of": "sprite"},  # what the probe of W-Sprites sees
    "sprite-unweighted": {"of": "sprite", "form": "unweighted"},
    "sprite-heldout": {"of": "sprite", "form": "heldout"},
}
ACTIONS = "local_action"


def features(*, of: str = "state", form: str = "weighted") -> Features | None:
    """Return the detector, where the place of the object is not known."""
    return detectors.NETWORKS.get(of)


def tracks(*, of: str = "state", form: str = "weighted") -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return which tracks of the real clips and of the outputs it needs."""
    return (detectors.track(of),), (ACTIONS,)


def collect(real: Tracks, fake: Tracks, *, of: str = "state", form: str = "weighted") -> np.ndarray:
    """Return the action and the movement of each transition of a clip: float64 (n, 1 + D)."""
    return movements.with_actions(fake[ACTIONS], detectors.places(real, of))


def pooled(parts: Sequence[np.ndarray], *, of: str = "state", form: str = "weighted") -> float:
    """Return 100 times the variance of movements within actions over their variance; NaN if nothing moves."""
    if form == "heldout":
        halves = movements.halves(parts)
        if not all(map(len, halves)):
            return float("nan")
        left = [
            movements.unexplained(one[:, 0], one[:, 1:], (other[:, 0], other[:, 1:]))
            for one, other in (halves, halves[::-1])
        ]
        return 100 * float(np.average(left, weights=[len(half) for half in halves]))
    rows = np.concatenate(parts)
    actions, vectors = rows[:, 0], rows[:, 1:]
    if not len(rows) or not movements.total_variance(vectors):
        return float("nan")
    if form == "unweighted":
        return 100 * movements.variance_of_actions(actions, vectors) / movements.total_variance(vectors)
    return 100 * movements.unexplained(actions, vectors)


def note(parts: Sequence[np.ndarray], *, of: str = "state", form: str = "weighted") -> str:
    """Say what was seen."""
    rows = np.concatenate(parts)
    return f"{len(np.unique(rows[:, 0]))} actions in {len(rows)} transitions with a known movement"


def signature(*, of: str = "state", form: str = "weighted") -> str:
    """Name what the number depends on besides the detector."""
    return f"{of} differences,{form}"
