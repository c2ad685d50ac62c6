"""Frechet distance between Gaussian fits of two feature sets (Dowson and Landau 1982), the distance of FID and FVD.

d^2 = |m1 - m2|^2 + tr S1 + tr S2 - 2 tr (S1 S2)^(1/2). No square root of a matrix product is formed: with S1 = A A^T
and S2 = B B^T the last trace is the sum of the singular values of A^T B, which is real and never NaN. Agrees with
mseitzer/pytorch-fid:src/pytorch_fid/fid_score.py where that is accurate.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import linalg
from scipy.linalg import lapack

from vbench_ctl.errors import VbenchError
from vbench_ctl.statistics import check_dimensions, check_features, check_rows, check_sets
from vbench_ctl.statistics.moments import Gaussian, Moments
from vbench_ctl.statistics.resampling import Estimate, blocks, jackknifed

EPS = float(np.finfo(np.float64).eps)
ROUNDING = 1e-6  # how far below 0, in units of tr S1 + tr S2, a distance may come out by rounding

Set = Moments | Gaussian | np.ndarray


def frechet(real: Set, fake: Set, *, ddof: int = 1) -> float:
    """Return the squared Frechet distance of two sets, each features (N, D), Moments, or a Gaussian from a file.

    Features of no more clips than dimensions are compared without a D x D matrix, exact however low their rank.
    """
    a, b = _side(real, "the real features", ddof), _side(fake, "the generated features", ddof)
    check_dimensions(len(a.mean), len(b.mean))
    spread = a.trace + b.trace
    shift = float(((a.mean - b.mean) ** 2).sum())
    if not np.isfinite(shift + spread):
        raise VbenchError("the features are too large for a covariance in float64; scale both sets down alike")
    return _at_least_zero(shift + spread - 2 * _root_trace(a, b), spread)


def frechet_by_groups(real: np.ndarray, fake: np.ndarray, groups_of: int, *, ddof: int = 1) -> np.ndarray:
    """Return the distance of each pair of consecutive groups of clips, (N / groups_of,), of two features (N, D).

    16lemoing/ccvs reports their mean and population deviation as FVD; it is not the FVD of the whole set.
    """
    real, fake = check_sets(real, fake)
    if len(real) != len(fake) or groups_of < 2 or len(real) % groups_of:
        raise VbenchError(
            f"{len(real)} real and {len(fake)} generated clips do not make groups of {groups_of}, expected as many real "
            "as generated ones and a multiple of the size (2 or more); leave clips out or choose another size"
        )
    groups = len(real) // groups_of
    pairs = zip(np.split(real, groups), np.split(fake, groups), strict=True)
    return np.array([frechet(*pair, ddof=ddof) for pair in pairs])


# Intervals and extrapolation. The real set is held fixed: they say how far another draw of generated clips would move.


def frechet_jackknife(
    real: Set,
    fake: np.ndarray,
    *,
    count: int = 20,
    clusters: Sequence | None = None,
    seed: int = 0,
    ddof: int = 1,
) -> Estimate:
    """Return the distance with its jackknife interval, leaving out one block of generated clips at a time.

    Features (N, D) are cut into `count` random blocks of whole clusters; the cost is `count` distances. It is an interval
    of the distance at this number of clips, bias and all, and so the one to compare models by.
    """
    split = blocks(len(fake), count, clusters, seed)
    sizes = [len(block) for block in split]
    if len(split) > 1 and len(fake) - max(sizes) > fake.shape[-1]:  # whatever is left out, no rank is missing
        return _jackknife_of_moments(_reduced(real, "the real features"), fake, split, ddof)
    value = frechet(real, fake, ddof=ddof)
    if len(split) < 2 or len(fake) - max(sizes) < 2:
        return Estimate(value)
    against = Against(real, fake, ddof=ddof)
    everything = np.arange(len(fake))
    return jackknifed(value, [against.distance(np.setdiff1d(everything, block)) for block in split], least=0)


class Extrapolation(NamedTuple):
    """The distance at infinitely many clips, the slope over 1/N, R^2 of the line, and the points it went through."""

    value: float
    slope: float
    r2: float
    sizes: np.ndarray
    distances: np.ndarray
    left_out: list[float]  # the value without each block of clips, for a jackknife interval; none where too few stay


def frechet_infinity(
    real: Set,
    fake: np.ndarray,
    *,
    points: int = 15,
    least: int | None = None,
    count: int = 20,
    clusters: Sequence | None = None,
    seed: int = 0,
    ddof: int = 1,
) -> Extrapolation:
    """Extrapolate the distance of generated features (N, D) to infinite N (Chong and Forsyth 2020).

    A line in 1/N is fitted to the distances of random subsets of equally spaced sizes, as in
    layer6ai-labs/dgm-eval:dgm_eval/metrics/fd.py, here seeded and from max(256, N / 4) on. To leave out one of `count`
    blocks of whole clusters is to leave it out of each of these subsets.
    """
    fake = check_features(fake, "the generated features")
    if len(fake) < 512:
        raise VbenchError(
            f"{len(fake)} generated clips are too few to extrapolate from, expected at least 512; generate more, "
            "or report the kernel distance, which has no bias in N"
        )
    least = max(256, len(fake) // 4) if least is None else least
    if not 2 <= least < len(fake) or points < 3:
        raise VbenchError(
            f"{points} sizes from {least} to {len(fake)} clips make no line, expected 3 or more sizes that start "
            f"between 2 and {len(fake) - 1}"
        )
    sizes = np.linspace(least, len(fake), points).round().astype(int)
    against = Against(real, fake, ddof=ddof)
    subsets = [np.random.default_rng([seed, size]).permutation(len(fake))[:size] for size in sizes]

    def line(chosen: Sequence[np.ndarray]) -> tuple[np.ndarray, float, float]:
        distances = np.array([against.distance(subset) for subset in chosen])
        slope, value = np.polyfit([1 / len(subset) for subset in chosen], distances, 1)
        return distances, float(slope), float(value)

    distances, slope, value = line(subsets)
    residual = distances - value - slope / sizes
    deviation = distances - distances.mean()
    level = np.abs(deviation).max() <= 1e-9 * distances.max()  # what little is left to explain is rounding
    r2 = 1.0 if level else 1 - (residual**2).sum() / (deviation**2).sum()
    split = blocks(len(fake), count, clusters, seed)
    kept = [[np.setdiff1d(subset, block) for subset in subsets] for block in split]
    enough = len(split) > 1 and all(len(subset) > 1 for without in kept for subset in without)
    left_out = [line(without)[2] for without in kept] if enough else []
    return Extrapolation(value, slope, float(r2), sizes, distances, left_out)


def _jackknife_of_moments(real: Set, fake: np.ndarray, split: Sequence[np.ndarray], ddof: int) -> Estimate:
    """Return the distance and its interval from the moments of all clips and of the blocks to leave out, in turn."""
    total = Moments.of(fake)
    value = frechet(real, total, ddof=ddof)
    side = _side(real, "the real features", ddof)
    root = side.root()
    left_out = (total.without(Moments.of(fake[block])) for block in split)
    return jackknifed(value, [_to_root(side, root, rest, ddof) for rest in left_out], least=0)


def _to_root(side: _Side, root: np.ndarray, rest: Moments, ddof: int) -> float:
    """Return the distance of moments from a side with a known root."""
    trace = float(np.trace(rest.m2)) / (rest.n - ddof)
    product = root.T @ (rest.m2 @ root)
    product /= rest.n - ddof
    values = linalg.eigvalsh(product, overwrite_a=True, check_finite=False)
    spread = side.trace + trace
    shift = float(((side.mean - rest.mean) ** 2).sum())
    return _at_least_zero(shift + spread - 2 * float(np.sqrt(values.clip(min=0)).sum()), spread)


class Against:
    """The distances of many subsets of one generated set (N, D) from one real set.

    The real covariance A A^T is factored and the generated rows are multiplied by A once; after that a subset costs the
    eigenvalues of a matrix no larger than D or its own size.
    """

    def __init__(self, real: Set, fake: np.ndarray, *, ddof: int = 1) -> None:
        side = _side(real, "the real features", ddof)
        fake = check_features(fake, "the generated features", 2)
        check_dimensions(len(side.mean), fake.shape[1])
        mean = fake.mean(axis=0)
        self.ddof = ddof
        self.real_trace = side.trace
        self.offset = mean - side.mean
        self.rows = fake - mean
        self.squares = (self.rows**2).sum(axis=1)
        self.products = self.rows @ side.root()

    def distance(self, chosen: np.ndarray) -> float:
        """Return the distance of the rows at `chosen`, indices (n,) that may repeat."""
        n = len(chosen)
        mean = np.bincount(chosen, minlength=len(self.rows)) @ self.rows / n
        trace = max(self.squares[chosen].sum() - n * (mean**2).sum(), 0) / (n - self.ddof)
        products = self.products[chosen]
        products -= products.mean(axis=0)
        gram = products @ products.T if n < products.shape[1] else products.T @ products
        root_trace = np.sqrt(linalg.eigvalsh(gram / (n - self.ddof)).clip(min=0)).sum()
        spread = self.real_trace + trace
        return _at_least_zero(float(((self.offset + mean) ** 2).sum() + spread - 2 * root_trace), spread)


# The trace of (S1 S2)^(1/2)


class _Side:
    """One set: its mean and the trace of its covariance, which is given as such or as rows (N, D) with rows^T rows."""

    def __init__(self, mean: np.ndarray, trace: float, cov: np.ndarray | None, rows: np.ndarray | None = None) -> None:
        self.mean, self.trace, self.cov, self.rows = mean, trace, cov, rows

    def covariance(self) -> np.ndarray:
        if self.cov is None:
            assert self.rows is not None
            self.cov = self.rows.T @ self.rows
        return self.cov

    def root(self) -> np.ndarray:
        """Return some A (D, r) with A A^T the covariance."""
        return self.rows.T if self.rows is not None else _root(self.covariance())


def _side(features: Set, name: str, ddof: int) -> _Side:
    if ddof not in (0, 1):
        raise VbenchError(f"ddof is {ddof}, expected 1 (divide by N - 1) or 0 (divide by N)")
    if isinstance(features, Gaussian):
        if ddof != 1:
            raise VbenchError(f"{name}: a file of mu and sigma does not say N, so ddof has to be 1; compute them again")
        return _Side(features.mean, float(np.trace(features.cov)), features.cov)
    if isinstance(features, Moments):
        if features.n < 2:
            raise VbenchError(f"{name} hold {features.n} clips, expected at least 2; score more clips")
        cov = features.cov(ddof)
        return _Side(features.mean, float(np.trace(cov)), cov)
    features = check_rows(features, name, 2)
    if len(features) > features.shape[1]:
        return _side(Moments.of(features, name), name, ddof)
    features = features.astype(np.float64)
    mean = features.mean(axis=0)
    rows = (features - mean) / np.sqrt(len(features) - ddof)
    return _Side(mean, float((rows**2).sum()), None, rows)


def _reduced(features: Set, name: str) -> Set:
    """Return the moments of features of more clips than dimensions, and anything else as it is."""
    if isinstance(features, np.ndarray) and features.ndim == 2 and len(features) > features.shape[1]:
        return Moments.of(features, name)
    return features


def _root_trace(a: _Side, b: _Side) -> float:
    if a.rows is None and b.rows is None:
        trace = _root_trace_by_eigenvalues(a.covariance(), b.covariance())
        if trace is not None:
            return trace
    product = a.root().T @ b.root()
    return float(linalg.svdvals(product).sum()) if product.size else 0.0


def _root_trace_by_eigenvalues(a: np.ndarray, b: np.ndarray) -> float | None:
    """Return the trace from the eigenvalues of L^T S2 L with S1 = L L^T; None where roots of small ones lose digits.

    About a third of the work of singular values, and less than a tenth of that of scipy.linalg.sqrtm.
    """
    factor, failed = lapack.dpotrf(a, lower=1)
    if failed:
        return None
    product, failed = lapack.dsygst(b, factor, itype=2, lower=1)
    assert not failed
    values = linalg.eigvalsh(product, lower=True, check_finite=False, driver="evd")
    if values[0] <= 0:
        return None
    roots = np.sqrt(values)
    # Each eigenvalue is known to EPS times the largest, so its root to EPS times the largest over twice the root.
    # The bound is about a million times what was seen with condition numbers up to 1e12.
    error = EPS * values[-1] * (0.5 / roots).sum()
    return float(roots.sum()) if error <= ROUNDING * roots.sum() else None


def _root(cov: np.ndarray) -> np.ndarray:
    """Return A (D, r) with A A^T = cov (D, D): a Cholesky factor, or without the directions that are only rounding."""
    noise = len(cov) * EPS
    factor, failed = lapack.dpotrf(cov, lower=1)
    if not failed and (np.diag(factor) ** 2).min() > noise * np.diag(cov).max():
        return factor
    values, vectors = linalg.eigh(cov, driver="evd")
    # Features come from float32 networks: a variance of 1e-13 of the largest is not theirs.
    kept = values > noise * values[-1]
    return vectors[:, kept] * np.sqrt(values[kept])


def _at_least_zero(distance: float, spread: float) -> float:
    if distance < -ROUNDING * spread or not np.isfinite(distance):
        raise VbenchError(
            f"the Frechet distance came out as {distance:.6g} with traces {spread:.6g}, which is more than rounding; "
            "a covariance that was read is not symmetric or not positive, so compute the statistics again"
        )
    return max(distance, 0.0)
