"""Action variance (Menapace et al., CADDY, CVPR 2021): how much the movements that go with one action differ.

As in willi-menapace/PlayableVideoGeneration:evaluation/metrics: the variance per action, coordinates and then actions
averaged alike. The note lists each action with its movement. It depends on the unit; "dmse" relates it to the whole.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from vbench_ctl import detectors
from vbench_ctl.networks import Features
from vbench_ctl.statistics import movements
from vbench_ctl.tracks import Tracks

TITLE = "Action variance"
DIRECTION = "lower"
UNIT = ""
NEEDS = "tracks"
VERSION = 1
VARIANTS: dict[str, dict[str, Any]] = {
    "": {},
    "position": {"of": "position"},
    "person": {"of": "detected"},  # what a detector of people sees of tennis players
    "sprite": {"of": "sprite"},  # what the probe of W-Sprites sees
}
ACTIONS = "local_action"
NAMED = 16  # actions in the note


def features(*, of: str = "state") -> Features | None:
    """Return the detector, where the place of the object is not known."""
    return detectors.NETWORKS.get(of)


def tracks(*, of: str = "state") -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return which tracks of the real clips and of the outputs it needs."""
    return (detectors.track(of),), (ACTIONS,)


def collect(real: Tracks, fake: Tracks, *, of: str = "state") -> np.ndarray:
    """Return the action and the movement of each transition of a clip: float64 (n, 1 + D)."""
    return movements.with_actions(fake[ACTIONS], detectors.places(real, of))


def pooled(parts: Sequence[np.ndarray], *, of: str = "state") -> float:
    """Return the mean over actions of the variance of their movements; NaN if no movement is known."""
    rows = np.concatenate(parts)
    return movements.variance_of_actions(rows[:, 0], rows[:, 1:]) if len(rows) else float("nan")


def note(parts: Sequence[np.ndarray], *, of: str = "state") -> str:
    """List each action: how often it is, and the mean and the deciles from 1 to 9 of its movement."""
    rows = np.concatenate(parts)
    if not len(rows):
        return "no transition has a known movement"
    found = movements.movements(rows[:, 0], rows[:, 1:])
    listed = [
        f"action {action} ({100 * each.share:.0f} %) moves by {_vector(each.mean)}, "
        f"from {_vector(each.quantiles[1])} to {_vector(each.quantiles[9])}"
        for action, each in list(found.items())[:NAMED]
    ]
    whole = f"of all movements the variance is {movements.total_variance(rows[:, 1:]):.4g}"
    return "; ".join([whole, *listed])


def details(parts: Sequence[np.ndarray], *, of: str = "state") -> dict[str, Any]:
    """Return for each action its share of transitions and of its movement mean, variance, kurtosis and deciles."""
    rows = np.concatenate(parts)
    return {
        "actions": [
            {"action": action, **{name: _plain(value) for name, value in each._asdict().items()}}
            for action, each in movements.movements(rows[:, 0], rows[:, 1:]).items()
        ]
    }


def signature(*, of: str = "state") -> str:
    """Name what the number depends on besides the detector."""
    return f"{of} differences,mean of actions"


def _vector(numbers: np.ndarray) -> str:
    return f"({', '.join(f'{number:.3g}' for number in numbers)})"


def _plain(numbers: float | np.ndarray) -> Any:
    """Return numbers as JSON has them, where there is no NaN: a movement that never differs has no kurtosis."""
    values = np.asarray(numbers, object)
    return np.where(np.isfinite(numbers), values, np.array(None)).tolist()
