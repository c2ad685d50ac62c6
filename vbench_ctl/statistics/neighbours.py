"""Precision, recall, density and coverage from k nearest neighbours.

Precision and recall: Kynkaanniemi et al. 2019; density and coverage: Naeem et al. 2020. As in
clovaai/generative-evaluation-prdc:prdc/prdc.py a vector on the rim of a ball lies outside.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from vbench_ctl.errors import VbenchError
from vbench_ctl.statistics import check_sets

CELLS = 1 << 24  # distances held at once: 128 MB
RIM = 1e-9  # relative width of a rim: what is this near to a ball's surface would be in or out by rounding


class Prdc(NamedTuple):
    """Shares of clips, apart from density, which may exceed 1."""

    precision: float
    recall: float
    density: float
    coverage: float


def prdc(real: np.ndarray, fake: np.ndarray, *, k: int = 5) -> Prdc:
    """Return how far features (N, D) and (M, D) lie within each other's balls to the k-th neighbour.

    For intervals: `resampling.jackknife(lambda kept: prdc(real, fake[kept]), len(fake))`.
    """
    real, fake = check_sets(real, fake)
    if not 1 <= k < min(len(real), len(fake)):
        raise VbenchError(
            f"{k} neighbours among {len(real)} real and {len(fake)} generated clips, expected at least 1 and fewer "
            "than either; lower k or score more clips"
        )
    centre = real.mean(axis=0)  # distances are differences of squares, which a common offset would swamp
    real, fake = real - centre, fake - centre
    real_radii, fake_radii = _radii(real, k), _radii(fake, k)
    if not real_radii.any():
        raise VbenchError(
            f"each real clip has {k} or more exact copies, so its neighbourhood is a point; "
            "look at the real clips or choose another network"
        )
    around = np.zeros(len(fake))  # for each generated clip: how many real balls hold it
    recalled = covered = 0
    for rows, squares in _squared_distances(real, fake):
        radii = real_radii[rows, np.newaxis]
        around += (squares < radii).sum(axis=0)
        recalled += (squares < fake_radii).any(axis=1).sum()
        covered += (squares.min(axis=1) < radii[:, 0]).sum()
    return Prdc(
        precision=float((around > 0).mean()),
        recall=float(recalled / len(real)),
        density=float(around.mean() / k),
        coverage=float(covered / len(real)),
    )


def _radii(features: np.ndarray, k: int) -> np.ndarray:
    """Return the squared distance (N,) of each vector to its k-th neighbour, less a rim."""
    radii = np.empty(len(features))
    for rows, squares in _squared_distances(features, features):
        squares[np.arange(len(squares)), np.arange(len(features))[rows]] = np.inf  # nobody is their own neighbour
        radii[rows] = np.partition(squares, k - 1, axis=1)[:, k - 1]
    return radii * (1 - RIM)


def _squared_distances(a: np.ndarray, b: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield blocks of rows of a with their squared distances (rows, M) to all of b; copies are at 0 exactly."""
    b_squares = (b**2).sum(axis=1)
    step = max(1, CELLS // len(b))
    for at in range(0, len(a), step):
        rows = slice(at, min(at + step, len(a)))
        sums = (a[rows] ** 2).sum(axis=1)[:, np.newaxis] + b_squares
        squares = sums - 2 * (a[rows] @ b.T)
        squares[squares < 1e-13 * sums] = 0
        yield rows, squares
