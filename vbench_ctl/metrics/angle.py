"""Share of shifts whose direction a model found to within 45 degrees, of those transitions where anything moves.

As in Araachie/glass:evaluation/evaluator.py (Davtyan & Favaro, ECCV 2022). A quarter is right by chance.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from vbench_ctl import tracks as known
from vbench_ctl.tracks import CONSISTENCY, FIRST, SECOND, Tracks

TITLE = "Shift direction"
DIRECTION = "higher"
UNIT = ""
NEEDS = "tracks"
RANGE = (0.0, 1.0)
VERSION = 1
VARIANTS: dict[str, dict[str, Any]] = {
    "": {},
    "re": {"compared": SECOND},  # found again in what the model made
    "co": {"compared": CONSISTENCY},  # what was found again against what was found first
    "bg": {"of": "bg"},
    "bg-re": {"of": "bg", "compared": SECOND},
    "bg-co": {"of": "bg", "compared": CONSISTENCY},
}


def tracks(*, of: str = "fg", compared: str = FIRST) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return which tracks of the real clips and of the outputs it needs."""
    return known.sides(f"motion_{of}", f"motion_{of}", compared)


def collect(real: Tracks, fake: Tracks, *, of: str = "fg", compared: str = FIRST) -> np.ndarray:
    """Return 1 for each transition whose direction was found and 0 for each other one that moves: float64 (n, 1)."""
    true, found = (
        track.astype(np.float64) for track in known.compare(real, fake, f"motion_{of}", f"motion_{of}", compared)
    )
    lengths = np.linalg.norm(true, axis=-1) * np.linalg.norm(found, axis=-1)
    near = (true * found).sum(axis=-1) > lengths / np.sqrt(2)  # false where nothing was found to move
    moves = np.isfinite(true).all(axis=-1) & true.any(axis=-1)
    return near[moves].astype(np.float64).reshape(-1, 1)


def pooled(parts: Sequence[np.ndarray], *, of: str = "fg", compared: str = FIRST) -> float:
    """Return the share over the transitions of all clips; NaN if nothing moves."""
    hits = np.concatenate(parts)
    return float(hits.mean()) if len(hits) else float("nan")


def note(parts: Sequence[np.ndarray], *, of: str = "fg", compared: str = FIRST) -> str:
    """Say how many transitions count."""
    return f"of {sum(map(len, parts))} transitions in which it moves"


def signature(*, of: str = "fg", compared: str = FIRST) -> str:
    """Name what the number depends on."""
    return f"{of},within 45 degrees,{compared}"
