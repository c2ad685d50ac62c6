"""Agreement of the actions that a model found by itself with the true ones: normalised mutual information.

As in Araachie/glass:evaluation/evaluator.py (Davtyan & Favaro, ECCV 2022), with scikit-learn's arithmetic mean of
entropies. Of few transitions it is high by chance, so the note says what the same labels reach in random order.
"""

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from vbench_ctl import tracks as known
from vbench_ctl.errors import VbenchError
from vbench_ctl.statistics.agreement import chance, nmi, nmi_within
from vbench_ctl.tracks import CONSISTENCY, FIRST, SECOND, Tracks

TITLE = "NMI of found actions"
DIRECTION = "higher"
UNIT = ""
NEEDS = "tracks"
RANGE = (0.0, 1.0)
VERSION = 1
VARIANTS: dict[str, dict[str, Any]] = {
    "": {},
    "character": {"by_character": True},  # the mean over characters, the release's "Local NMI"
    "re": {"compared": SECOND},  # found again in what the model made
    "character-re": {"by_character": True, "compared": SECOND},
    "co": {"compared": CONSISTENCY},  # what was found again against what was found first
}
TRACK = "local_action"


def tracks(*, by_character: bool = False, compared: str = FIRST) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return which tracks of the real clips and of the outputs it needs."""
    real, fake = known.sides(TRACK, TRACK, compared)
    return (*real, "identity") if by_character else real, fake


def collect(real: Tracks, fake: Tracks, *, by_character: bool = False, compared: str = FIRST) -> np.ndarray:
    """Return true and found action, and the character, of each transition of a clip: float64 (n, 3)."""
    true, found = known.compare(real, fake, TRACK, TRACK, compared)
    if true.ndim != 1:
        raise VbenchError(
            f"{TRACK} has the shape {true.shape}, expected one action per transition; score one agent only"
        )
    character = zlib.crc32(np.ascontiguousarray(real["identity"][-1]).tobytes()) if by_character else 0
    return np.column_stack([true, found, np.full(len(true), character)]).astype(np.float64)


def pooled(parts: Sequence[np.ndarray], *, by_character: bool = False, compared: str = FIRST) -> float:
    """Return the NMI over the rows of all clips together."""
    true, found, characters = np.concatenate(parts).T
    return nmi_within(true, found, characters) if by_character else nmi(true, found)


def note(parts: Sequence[np.ndarray], *, by_character: bool = False, compared: str = FIRST) -> str:
    """Say what chance reaches."""
    true, found, characters = np.concatenate(parts).T
    if by_character:
        level = chance(lambda a, b: nmi_within(a, b, characters), true, found, characters)
    else:
        level = chance(nmi, true, found)
    labels = f"{len(np.unique(found))} actions found for {len(np.unique(true))}"
    return f"{labels} in {len(true)} transitions; found ones in random order give {level:.3f}"


def signature(*, by_character: bool = False, compared: str = FIRST) -> str:
    """Name what the number depends on."""
    return f"{TRACK},arithmetic,{compared}" + (",mean of characters" if by_character else "")
