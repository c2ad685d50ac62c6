"""Error of the shifts that a model found, of the foreground or of the background's content, in pixels a frame.

As in Araachie/glass:evaluation/evaluator.py (Davtyan & Favaro, ECCV 2022), where pixels are by mistake compared with the
normalised shifts of the labels, the background's even of the window that moves over it: the variants "released".
"""

from typing import Any

import numpy as np

from vbench_ctl import tracks as known
from vbench_ctl.errors import VbenchError
from vbench_ctl.tracks import CONSISTENCY, FIRST, SECOND, Tracks

TITLE = "Shift error"
DIRECTION = "lower"
UNIT = "px"
NEEDS = "tracks"
VERSION = 1
VARIANTS: dict[str, dict[str, Any]] = {
    "": {},
    "re": {"compared": SECOND},  # found again in what the model made
    "co": {"compared": CONSISTENCY},  # what was found again against what was found first
    "bg": {"of": "bg"},
    "bg-re": {"of": "bg", "compared": SECOND},
    "bg-co": {"of": "bg", "compared": CONSISTENCY},
    "released": {"slip": True},
    "released-re": {"slip": True, "compared": SECOND},
    "bg-released": {"of": "bg", "slip": True},
    "bg-released-re": {"of": "bg", "slip": True, "compared": SECOND},
}


def tracks(*, of: str = "fg", compared: str = FIRST, slip: bool = False) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return which tracks of the real clips and of the outputs it needs."""
    return known.sides(_true(of, slip), f"motion_{of}", compared)


def values(real: Tracks, fake: Tracks, *, of: str = "fg", compared: str = FIRST, slip: bool = False) -> np.ndarray:
    """Return the distance of found and true shift (dx, dy) of each transition, float64 (n,)."""
    true, found = known.compare(real, fake, _true(of, slip), f"motion_{of}", compared)
    if not (np.isfinite(true).all() and np.isfinite(found).all()):
        raise VbenchError(f"motion_{of} is not known for every transition; cut the clip where it is")
    if slip and of == "bg":
        found = -found  # the release turned the predictions round, since its labels are of the window
    return np.linalg.norm(true.astype(np.float64) - found, axis=-1)


def signature(*, of: str = "fg", compared: str = FIRST, slip: bool = False) -> str:
    """Name what the number depends on."""
    return f"{of},{'pixels less normalised labels' if slip else 'pixels'},{compared}"


def _true(of: str, slip: bool) -> str:
    return f"shift_{of}" if slip else f"motion_{of}"
