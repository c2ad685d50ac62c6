"""Kernel distance: squared maximum mean discrepancy with a polynomial kernel (Binkowski et al. 2018), KID and KVD.

k(x, y) = (x.y / D + coef)^degree. Without the diagonal it has no bias in N and may fall below 0 near 0, so it is the
companion of the Frechet distance for small sets. With degree 2, coef 0 and the diagonal it is JEDi's / 100 (pip videojedi).
"""

from collections.abc import Hashable, Sequence

import numpy as np
from scipy.special import ndtri

from vbench_ctl.errors import VbenchError
from vbench_ctl.statistics import check_pair
from vbench_ctl.statistics.resampling import LEVEL, Estimate, blocks, jackknifed

WHOLE = 5000  # clips up to which every pair is looked at
SUBSET = 1000  # clips; toshas/torch-fidelity and GaParmar/clean-fid


def kid(
    real: np.ndarray,
    fake: np.ndarray,
    *,
    degree: int = 3,
    coef: float = 1.0,
    unbiased: bool = True,
    clusters: Sequence[Hashable] | None = None,
    seed: int = 0,
) -> Estimate:
    """Return the kernel distance of features (N, D) and (M, D) with its interval.

    Up to 5000 clips it is exact, from one pass over all pairs in 20 blocks of generated clips, which also gives the
    jackknife, the real set held fixed. Beyond, it is the mean over 100 subsets of 1000 clips of either set, and its
    error their deviation scaled to the whole set.
    """
    if degree < 1:
        raise VbenchError(f"the kernel's degree is {degree}, expected 1 or more; KID and KVD use 3")
    real, fake = check_pair(real, fake)
    fewest, most = sorted((len(real), len(fake)))
    if most > WHOLE and fewest >= 2 * SUBSET:
        values = kid_subsets(real, fake, degree=degree, coef=coef, unbiased=unbiased, seed=seed)
        # The variance over subsets of m of N clips is V (1 - m / N) / m, that of a mean over all of them V / N.
        error = float(values.std(ddof=1) * np.sqrt(SUBSET / (fewest - SUBSET)))
        value, reach = float(values.mean()), float(ndtri((1 + LEVEL) / 2)) * error
        return Estimate(value, value - reach, value + reach, error)
    return _whole(real, fake, degree, coef, unbiased, blocks(len(fake), 20, clusters, seed))


def kid_subsets(
    real: np.ndarray,
    fake: np.ndarray,
    *,
    subsets: int = 100,
    size: int = SUBSET,
    degree: int = 3,
    coef: float = 1.0,
    unbiased: bool = True,
    seed: int = 0,
) -> np.ndarray:
    """Return the kernel distance of random subsets of both features (N, D), (subsets,): KID as usually reported.

    toshas/torch-fidelity and GaParmar/clean-fid give the mean and deviation of 100 subsets of min(1000, N) clips.
    """
    real, fake = check_pair(real, fake)
    size = min(size, len(real), len(fake))
    if subsets < 1 or size < 2:
        raise VbenchError(f"{subsets} subsets of {size} clips, expected at least 1 subset of 2 or more clips")
    values = np.empty(subsets)
    for number in range(subsets):
        rng = np.random.default_rng([seed, number])
        x, y = (f[rng.permutation(len(f))[:size]].astype(np.float64) for f in (real, fake))
        xx, yy, xy = (_kernel_sum(*pair, degree, coef) for pair in ((x, x), (y, y), (x, y)))
        if unbiased:
            xx, yy = xx - _diagonal_sum(x, degree, coef), yy - _diagonal_sum(y, degree, coef)
        values[number] = _distance(xx, yy, xy, size, size, unbiased)
    return values


def _whole(
    real: np.ndarray, fake: np.ndarray, degree: int, coef: float, unbiased: bool, split: list[np.ndarray]
) -> Estimate:
    real = real.astype(np.float64)
    reals = np.array_split(real, -(-len(real) // 256))  # any cut will do: the real set stays whole
    fakes = [fake[block].astype(np.float64) for block in split]
    sizes = np.array([len(block) for block in split])
    within_real = _within(reals, degree, coef).sum()
    within = _within(fakes, degree, coef)
    across = np.array([sum(_kernel_sum(a, b, degree, coef) for a in reals) for b in fakes])
    if unbiased:
        within_real -= _diagonal_sum(real, degree, coef)
        within -= np.diag([_diagonal_sum(block, degree, coef) for block in fakes])

    def distance(kept: np.ndarray) -> float:
        xx, yy, xy = within_real, within[np.ix_(kept, kept)].sum(), across[kept].sum()
        return _distance(xx, yy, xy, len(real), int(sizes[kept].sum()), unbiased)

    everything = np.arange(len(fakes))
    value = distance(everything)
    if len(fakes) < 2 or len(fake) - sizes.max() < 2:
        return Estimate(value)
    return jackknifed(value, [distance(np.delete(everything, left_out)) for left_out in everything])


def _within(parts: list[np.ndarray], degree: int, coef: float) -> np.ndarray:
    """Sum the kernel over all pairs of clips of each two parts of one set: (parts, parts)."""
    sums = np.zeros((len(parts), len(parts)))
    for i, a in enumerate(parts):
        for j, b in enumerate(parts[: i + 1]):
            sums[i, j] = sums[j, i] = _kernel_sum(a, b, degree, coef)
    return sums


def _kernel_sum(x: np.ndarray, y: np.ndarray, degree: int, coef: float) -> float:
    base = x @ y.T / x.shape[1] + coef
    power = base.copy()
    for _ in range(degree - 1):  # numpy's own power of a float takes several times as long
        power *= base
    return float(power.sum())


def _diagonal_sum(x: np.ndarray, degree: int, coef: float) -> float:
    return float((((x**2).sum(axis=1) / x.shape[1] + coef) ** degree).sum())


def _distance(xx: float, yy: float, xy: float, m: int, n: int, unbiased: bool) -> float:
    """Put together the sums of the kernel over pairs; for the unbiased form xx and yy are without their diagonals."""
    distance = xx / (m * (m - unbiased)) + yy / (n * (n - unbiased)) - 2 * xy / (m * n)
    if not np.isfinite(distance):
        raise VbenchError("the features are too large for this kernel in float64; scale both sets down alike")
    return float(distance)
