"""Mean and covariance of feature vectors, gathered block by block in float64 and merged without loss."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vbench_ctl import files
from vbench_ctl.errors import VbenchError
from vbench_ctl.statistics import check_dimensions, check_features

ROWS = 1024  # read at a time, so that a float64 copy of a large float32 array never exists


class Gaussian(NamedTuple):
    """A mean (D,) and a covariance (D, D) of which the number of clips is not known."""

    mean: np.ndarray
    cov: np.ndarray


@dataclass
class Moments:
    """The number n, the mean (D,) and the sum m2 (D, D) of (x - mean)(x - mean)^T of the vectors seen so far.

    Sums of x and x x^T would cancel where the mean is far larger than the deviation; Chan, Golub and LeVeque's update
    (1979) does not.
    """

    n: int = 0
    mean: np.ndarray = field(default_factory=lambda: np.zeros(0))
    m2: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))

    @classmethod
    def of(cls, features: np.ndarray, name: str = "the features") -> Moments:
        """Return the moments of features (N, D)."""
        moments = cls()
        moments.add(features, name)
        return moments

    def add(self, block: np.ndarray, name: str = "the features") -> None:
        """Take in a block of features (n, D)."""
        if np.ndim(block) != 2:
            check_features(block, name)
        for at in range(0, len(block), ROWS):
            self.merge(_moments(check_features(block[at : at + ROWS], name, first=self.n)))

    def merge(self, other: Moments) -> None:
        """Take in the moments of other clips."""
        if not other.n:
            return
        if not self.n:
            self.n, self.mean, self.m2 = other.n, other.mean.copy(), other.m2.copy()
            return
        check_dimensions(len(self.mean), len(other.mean), "the features so far", "the next ones")
        n = self.n + other.n
        delta = other.mean - self.mean
        self.m2 += other.m2
        self.m2 += np.outer(delta, delta * (self.n * other.n / n))
        self.mean = self.mean + delta * (other.n / n)
        self.n = n

    def without(self, part: Moments) -> Moments:
        """Return the moments of what is left after taking out a part that was merged in."""
        n = self.n - part.n
        if n < 1:
            raise VbenchError(f"{part.n} of {self.n} clips cannot be taken out; at least 1 has to stay")
        mean = self.mean + (self.mean - part.mean) * (part.n / n)
        delta = part.mean - mean
        m2 = self.m2 - part.m2
        m2 -= np.outer(delta, delta * (n * part.n / self.n))
        return Moments(n, mean, m2)

    def cov(self, ddof: int = 1) -> np.ndarray:
        """Return the covariance (D, D), divided by n - ddof."""
        if self.n < 2:
            raise VbenchError(f"a covariance needs at least 2 clips, got {self.n}; score more clips")
        return self.m2 / (self.n - ddof)


def load(path: Path) -> Gaussian:
    """Read an .npz file of mu (D,) and sigma (D, D) as mseitzer/pytorch-fid writes it, which does not hold n."""
    try:
        held = files.read_npz(path, lambda names: {"mu", "sigma"}.intersection(names))
    except files.DAMAGED as error:
        raise VbenchError(f"{path}: not a readable .npz file ({error}); compute the statistics again") from error
    if len(held) < 2:
        raise VbenchError(
            f"{path}: it holds {', '.join(held) or 'none'} of the statistics' names, expected mu and sigma; "
            "compute the statistics again"
        )
    mean, cov = held["mu"], held["sigma"]
    if not {mean.dtype.kind, cov.dtype.kind} <= set("iuf"):
        raise VbenchError(
            f"{path}: the mean is {mean.dtype} and the covariance {cov.dtype}, expected numbers; "
            "compute the statistics again"
        )
    mean, cov = mean.astype(np.float64), cov.astype(np.float64)
    if mean.ndim != 1 or cov.shape != (len(mean), len(mean)) or not np.isfinite(cov.sum() + mean.sum()):
        raise VbenchError(
            f"{path}: the mean {mean.shape} and the covariance {cov.shape} do not fit or are not finite, "
            "expected (D,) and (D, D); compute the statistics again"
        )
    if not np.allclose(cov, cov.T, rtol=0, atol=1e-6 * np.abs(cov).max(initial=0)):
        raise VbenchError(f"{path}: its covariance is not symmetric; compute the statistics again")
    return Gaussian(mean, cov)


def _moments(rows: np.ndarray) -> Moments:
    mean = rows.mean(axis=0)
    centred = rows - mean
    rounding = centred.mean(axis=0)  # what is lost of a mean far larger than the deviation
    centred -= rounding
    return Moments(len(rows), mean + rounding, centred.T @ centred)
