"""Control endpoint error: how far the pixels whose motion a model was told end up from where they were sent.

Ours, for the sparse motion of Araachie/yoda (Davtyan and Favaro, AAAI 2024): the optical flow of the generated clip at each
told pixel less what was told. Apart inside and outside the masks of the real clip, it says whether control is local.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from vbench_ctl.controls import TOLD
from vbench_ctl.errors import VbenchError
from vbench_ctl.metrics import FLOW_VERSION
from vbench_ctl.networks import Features
from vbench_ctl.tracks import FLOW, Tracks

TITLE = "Control endpoint error"
DIRECTION = "lower"
UNIT = "px"
NEEDS = "tracks"
VERSION = 1
VARIANTS: dict[str, dict[str, Any]] = {
    "": {},
    "cosine": {"form": "cosine"},  # of the angle between what was told and what was seen
    "inside": {"where": "inside"},
    "outside": {"where": "outside"},
    "raft": {"by": "raft"},  # the flow with which such control is drawn in Araachie/yoda
    "raft-cosine": {"by": "raft", "form": "cosine"},
}
SPARSE, MASKS = TOLD + "sparse_motion", "masks"
STILL = 0.01  # pixels: less is rounding, and has no direction
MASKED = 127  # a mask is 255 inside


def features(*, form: str = "error", where: str = "anywhere", by: str = "own") -> Features | None:
    """Return the network of the flow; our own needs none."""
    return Features("raft", "raft-large", "frame") if by == "raft" else None


def tracks(*, form: str = "error", where: str = "anywhere", by: str = "own") -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return which tracks of the real clips and of the outputs it needs."""
    return () if where == "anywhere" else (MASKS,), (SPARSE, FLOW)


def collect(real: Tracks, fake: Tracks, *, form: str = "error", where: str = "anywhere", by: str = "own") -> np.ndarray:
    """Return of a clip: float64 (1, 5).

    How many pixels were told, the sums over them of the error and of how far they were sent, how many were to move, and the
    sum over those of the cosine.
    """
    told, seen = fake[SPARSE], fake[FLOW]
    steps = min(len(told), len(seen))
    told, seen = told[len(told) - steps :], seen[len(seen) - steps :]  # an entry tells of the way to its frame
    if told.shape[1:] != (3, *seen.shape[1:3]):
        raise VbenchError(
            f"an entry of {SPARSE} is {told.shape[1:]}, expected (3, {seen.shape[1]}, {seen.shape[2]}), dx, dy and mask of "
            "each pixel; write it in the size of the clip"
        )
    asked = told[:, 2] > 0
    if where != "anywhere":
        inside = real[MASKS][-1 - steps : -1] > MASKED  # of the frame that the motion begins in
        asked = asked[steps - len(inside) :] & (inside if where == "inside" else ~inside)
        told, seen = told[steps - len(inside) :], seen[steps - len(inside) :]
    sent, came = np.moveaxis(told[:, :2], 1, -1)[asked].astype(np.float64), seen[asked].astype(np.float64)
    lengths = np.linalg.norm(sent, axis=1)
    moving = lengths > STILL
    cosines = (_directions(sent[moving]) * _directions(came[moving])).sum()
    return np.array([[len(sent), np.linalg.norm(came - sent, axis=1).sum(), lengths.sum(), moving.sum(), cosines]])


def pooled(parts: Sequence[np.ndarray], *, form: str = "error", where: str = "anywhere", by: str = "own") -> float:
    """Return the mean over all told pixels, for the cosine those that were to move; NaN if there are none."""
    pixels, errors, _, moving, cosines = np.concatenate(parts).sum(axis=0)
    total, count = (errors, pixels) if form == "error" else (cosines, moving)
    return float(total / count) if count else float("nan")


def note(parts: Sequence[np.ndarray], *, form: str = "error", where: str = "anywhere", by: str = "own") -> str:
    """Say how much was told, and what standing still would reach."""
    pixels, _, lengths, _, _ = np.concatenate(parts).sum(axis=0)
    side = "" if where == "anywhere" else f" {where} the masks"
    if not pixels:
        return f"no pixel{side} was told to move"
    return f"{pixels:.0f} pixels were told{side}; a clip that stands still has an error of {lengths / pixels:.3g} px"


def direction(*, form: str = "error", where: str = "anywhere", by: str = "own") -> str:
    """Say which way is better: a cosine is to be large."""
    return "higher" if form == "cosine" else DIRECTION


def signature(*, form: str = "error", where: str = "anywhere", by: str = "own") -> str:
    """Name what the number depends on besides the network."""
    return f"{form},{where},{FLOW_VERSION if by == 'own' else by}"


def _directions(motion: np.ndarray) -> np.ndarray:
    """Return motion (n, 2) of length 1, or 0 where nothing moves."""
    lengths = np.linalg.norm(motion, axis=1, keepdims=True)
    return np.divide(motion, lengths, out=np.zeros_like(motion), where=lengths > STILL)
