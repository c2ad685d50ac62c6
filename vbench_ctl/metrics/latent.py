"""Quality of the actions that a model found by itself: accuracy with the best names, purity, adjusted Rand index.

Found actions have no names. For the accuracy each gets that of one true action, none twice, so that most transitions are
right (Hungarian method); purity lets several share a name, so it grows with their number; the adjusted Rand index of
Hubert and Arabie (1985) counts pairs of transitions and is 0 by chance. "nmi" is the fourth.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from vbench_ctl.metrics import nmi
from vbench_ctl.statistics import agreement
from vbench_ctl.tracks import CONSISTENCY, FIRST, SECOND, Tracks

TITLE = "Accuracy of found actions"
DIRECTION = "higher"
UNIT = ""
NEEDS = "tracks"
RANGE = (-0.5, 1.0)  # the least ARI there is: Chacon and Rastrojo (2023)
VERSION = 1
VARIANTS: dict[str, dict[str, Any]] = {
    "": {},
    "purity": {"form": "purity"},
    "ari": {"form": "ari"},
    "re": {"compared": SECOND},  # found again in what the model made
    "purity-re": {"form": "purity", "compared": SECOND},
    "ari-re": {"form": "ari", "compared": SECOND},
    "ari-co": {"form": "ari", "compared": CONSISTENCY},  # what was found again against what was found first
}
FORMS = {"accuracy": agreement.matched_accuracy, "purity": agreement.purity, "ari": agreement.ari}


def tracks(*, form: str = "accuracy", compared: str = FIRST) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return which tracks of the real clips and of the outputs it needs."""
    return nmi.tracks(compared=compared)


def collect(real: Tracks, fake: Tracks, *, form: str = "accuracy", compared: str = FIRST) -> np.ndarray:
    """Return true and found action of each transition of a clip: float64 (n, 2)."""
    return nmi.collect(real, fake, compared=compared)[:, :2]


def pooled(parts: Sequence[np.ndarray], *, form: str = "accuracy", compared: str = FIRST) -> float:
    """Return the agreement over the rows of all clips together."""
    return FORMS[form](*np.concatenate(parts).T)


def note(parts: Sequence[np.ndarray], *, form: str = "accuracy", compared: str = FIRST) -> str:
    """Say what chance reaches."""
    true, found = np.concatenate(parts).T
    labels = f"{len(np.unique(found))} actions found for {len(np.unique(true))}"
    level = agreement.chance(FORMS[form], true, found)
    return f"{labels} in {len(true)} transitions; found ones in random order give {level:.3f}"


def details(parts: Sequence[np.ndarray], *, form: str = "accuracy", compared: str = FIRST) -> dict[str, Any]:
    """Return how often each true action (rows) was found as each code (columns)."""
    true, found = np.concatenate(parts).T
    labels = [int(label) for label in np.unique(true)]
    return {"confusion": {"labels": labels, "counts": agreement.table(true, found).tolist()}}


def signature(*, form: str = "accuracy", compared: str = FIRST) -> str:
    """Name what the number depends on."""
    return f"{nmi.TRACK},{form},{compared}"
