"""Delta-Acc (Menapace et al., CADDY, CVPR 2021): how often a linear classifier tells the model's action from the movement.

As in willi-menapace/PlayableVideoGeneration:evaluation/metrics: a linear support vector machine on the movements of the
real clips, fitted and scored on the same ones. "heldout" scores each half of the clips by what the other half taught.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from vbench_ctl.networks import Features
from vbench_ctl.statistics import detections, movements
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
    "heldout": {"heldout": True},
    "position": {"of": "position"},
    "position-heldout": {"of": "position", "heldout": True},
    "person": {"of": "detected"},  # what a detector of people sees of tennis players
    "person-ovo": {"of": "detected", "classifier": "ovo"},
    "person-heldout": {"of": "detected", "heldout": True},
}
ACTIONS = "local_action"
FITS: dict[str, Callable[[np.ndarray, np.ndarray], movements.Linear | movements.Pairwise]] = {
    "ovr": movements.fit_linear,
    "ovo": movements.fit_pairwise,
}


def features(*, of: str = "state", classifier: str = "ovr", heldout: bool = False) -> Features | None:
    """Return the detector, where the place of the object is not known."""
    return Features("person", "fasterrcnn-coco", "frame") if of == "detected" else None


def tracks(
    *, of: str = "state", classifier: str = "ovr", heldout: bool = False
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return which tracks of the real clips and of the outputs it needs."""
    return (of,), (ACTIONS,)


def collect(
    real: Tracks, fake: Tracks, *, of: str = "state", classifier: str = "ovr", heldout: bool = False
) -> np.ndarray:
    """Return the action and the movement of each transition of a clip: float64 (n, 1 + D)."""
    places = detections.known(real[of]) if of == "detected" else real[of]
    return movements.with_actions(fake[ACTIONS], places)


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
    return f"{of} differences,linear svm {classifier},{'other half' if heldout else 'fitted on the same'}"
