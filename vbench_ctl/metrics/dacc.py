"""Delta-Acc (Menapace et al., CADDY, CVPR 2021): how often a linear classifier tells the model's action from the movement.

As in willi-menapace/PlayableVideoGeneration:evaluation/metrics: a support vector machine on the movements of the real
clips, fitted and scored on the same ones. "heldout" scores each half of the clips by what the other half taught.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from vbench_ctl import detectors
from vbench_ctl.networks import Features
from vbench_ctl.statistics import kernel_machines, movements
from vbench_ctl.tracks import Tracks

TITLE = "Delta-Acc"
DIRECTION = "higher"
UNIT = "%"
NEEDS = "tracks"
RANGE = (0.0, 100.0)
VERSION = 1
VARIANTS: dict[str, dict[str, Any]] = {
    "": {},
    "ovo": {"classifier": "ovo"},  # each action against each other one: the release's "linear_ovo"
    "rbf": {"classifier": "rbf"},  # machines with kernels, which take minutes where there are thousands of transitions
    "poly": {"classifier": "poly"},
    "heldout": {"heldout": True},
    "position": {"of": "position"},
    "position-heldout": {"of": "position", "heldout": True},
    "person": {"of": "detected"},  # what a detector of people sees of tennis players
    "person-ovo": {"of": "detected", "classifier": "ovo"},
    "person-rbf": {"of": "detected", "classifier": "rbf"},
    "person-poly": {"of": "detected", "classifier": "poly"},
    "person-heldout": {"of": "detected", "heldout": True},
    "sprite": {"of": "sprite"},  # what the probe of W-Sprites sees
    "sprite-ovo": {"of": "sprite", "classifier": "ovo"},
    "sprite-heldout": {"of": "sprite", "heldout": True},
}
ACTIONS = "local_action"
FITS: dict[str, Callable[[np.ndarray, np.ndarray], movements.Linear | movements.Pairwise | kernel_machines.Voting]] = {
    "ovr": movements.fit_linear,
    "ovo": movements.fit_pairwise,
    "rbf": kernel_machines.fit_rbf,
    "poly": kernel_machines.fit_poly,
}
NAMES = {"ovr": "linear svm ovr", "ovo": "linear svm ovo", "rbf": "rbf svm", "poly": "cubic svm"}


def features(*, of: str = "state", classifier: str = "ovr", heldout: bool = False) -> Features | None:
    """Return the detector, where the place of the object is not known."""
    return detectors.NETWORKS.get(of)


def tracks(
    *, of: str = "state", classifier: str = "ovr", heldout: bool = False
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return which tracks of the real clips and of the outputs it needs."""
    return (detectors.track(of),), (ACTIONS,)


def collect(
    real: Tracks, fake: Tracks, *, of: str = "state", classifier: str = "ovr", heldout: bool = False
) -> np.ndarray:
    """Return the action and the movement of each transition of a clip: float64 (n, 1 + D)."""
    return movements.with_actions(fake[ACTIONS], detectors.places(real, of))


def pooled(parts: Sequence[np.ndarray], *, of: str = "state", classifier: str = "ovr", heldout: bool = False) -> float:
    """Return the accuracy in percent over the transitions of all clips; NaN if there are too few."""
    together = np.concatenate(parts)
    folds = [movements.halves(parts), movements.halves(parts)[::-1]] if heldout else [(together, together)]
    if not all(len(half) for fold in folds for half in fold):
        return float("nan")
    right = [
        FITS[classifier](taught[:, 1:], taught[:, 0]).predict(asked[:, 1:]) == asked[:, 0] for taught, asked in folds
    ]
    return 100 * float(np.concatenate(right).mean())


def note(parts: Sequence[np.ndarray], *, of: str = "state", classifier: str = "ovr", heldout: bool = False) -> str:
    """Say what saying the same always would reach."""
    actions = np.concatenate(parts)[:, 0]
    if not len(actions):
        return "no transition has a known movement"
    counts = np.unique(actions, return_counts=True)[1]
    return (
        f"{len(counts)} actions in {len(actions)} transitions; always the commonest one would be right in "
        f"{100 * counts.max() / len(actions):.1f} %"
    )


def signature(*, of: str = "state", classifier: str = "ovr", heldout: bool = False) -> str:
    """Name what the number depends on besides the detector."""
    return f"{of} differences,{NAMES[classifier]},{'other half' if heldout else 'fitted on the same'}"
