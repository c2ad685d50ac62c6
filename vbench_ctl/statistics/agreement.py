"""How well two labellings of the same things agree: true actions and those that a model found, or read from a clip.

Found labels have no names of their own, so NMI, ARI, purity and matched accuracy do not depend on how they are numbered.
"""

from collections.abc import Callable, Hashable, Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import linear_sum_assignment

from vbench_ctl.errors import VbenchError

SHUFFLES = 20  # for the level of chance


def table(true: ArrayLike, found: ArrayLike) -> np.ndarray:
    """Count how often each pair of labels meets: int64 (true labels, found labels), of two labellings (N,)."""
    true, found = _checked(true, found)
    rows, columns = (np.unique(labels, return_inverse=True) for labels in (true, found))
    counts = np.zeros((len(rows[0]), len(columns[0])), np.int64)
    np.add.at(counts, (rows[1], columns[1]), 1)
    return counts


def nmi(true: ArrayLike, found: ArrayLike) -> float:
    """Return the mutual information over the mean of the two entropies, 0 to 1; of two constant labellings 1.

    That is scikit-learn's normalized_mutual_info_score. Of few things it is high by chance alone: see `chance`.
    """
    shares = table(true, found) / np.size(true)
    if shares.size == 1:
        return 1.0
    ends = [_entropy(shares.sum(axis=axis)) for axis in (0, 1)]
    mutual = sum(ends) - _entropy(shares)
    return max(0.0, float(mutual / np.mean(ends)))


def chance(
    score: Callable[[np.ndarray, np.ndarray], float],
    true: ArrayLike,
    found: ArrayLike,
    groups: Sequence[Hashable] | np.ndarray | None = None,
) -> float:
    """Return the mean score after the found labels (N,) were put in random order, or in random order within groups (N,)."""
    true, found = _checked(true, found)
    rng = np.random.default_rng(0)
    members = [np.arange(len(true))] if groups is None else _members(np.asarray(groups))
    scores = []
    for _ in range(SHUFFLES):
        shuffled = found.copy()
        for part in members:
            shuffled[part] = rng.permutation(found[part])
        scores.append(score(true, shuffled))
    return float(np.mean(scores))


def nmi_within(true: ArrayLike, found: ArrayLike, groups: ArrayLike) -> float:
    """Return the mean over groups (N,), such as characters, of the NMI within each."""
    true, found = _checked(true, found)
    return float(np.mean([nmi(true[part], found[part]) for part in _members(np.asarray(groups))]))


def ari(true: ArrayLike, found: ArrayLike) -> float:
    """Return the adjusted Rand index (Hubert and Arabie 1985): 1 for equal partitions, 0 on average by chance."""
    counts = table(true, found)
    pairs = [_pairs(counts).sum(), _pairs(counts.sum(axis=1)).sum(), _pairs(counts.sum(axis=0)).sum()]
    everything = _pairs(np.array(np.size(true)))
    expected = pairs[1] * pairs[2] / everything if everything else 0.0
    most = (pairs[1] + pairs[2]) / 2
    return 1.0 if most == expected else float((pairs[0] - expected) / (most - expected))


def purity(true: ArrayLike, found: ArrayLike) -> float:
    """Return the share of things that have the commonest true label among those with their found label."""
    counts = table(true, found)
    return float(counts.max(axis=0).sum() / counts.sum())


def matched_accuracy(true: ArrayLike, found: ArrayLike) -> float:
    """Return the accuracy after found labels were given true names, each at most one, in the best way there is."""
    counts = table(true, found)
    chosen = linear_sum_assignment(counts, maximize=True)
    return float(counts[chosen].sum() / counts.sum())


# Labels that mean the same on both sides


def confusion(true: ArrayLike, found: ArrayLike, labels: int) -> np.ndarray:
    """Count true labels (rows) read as found ones (columns): int64 (labels, labels); labels are 0, 1, ..."""
    true, found = _checked(true, found)
    for each in (true, found):
        if each.dtype.kind not in "iub" or each.min() < 0 or each.max() >= labels:
            raise VbenchError(
                f"labels are {each.dtype} from {each.min()} to {each.max()}, expected whole numbers from 0 to {labels - 1}"
            )
    return np.bincount(true.astype(np.int64) * labels + found, minlength=labels**2).reshape(labels, labels)


def f1(counts: np.ndarray) -> np.ndarray:
    """Return the F1 score of each label, float64 (labels,), of a confusion matrix; NaN for one that occurs on no side."""
    with np.errstate(invalid="ignore"):
        return 2 * np.diagonal(counts) / (counts.sum(axis=0) + counts.sum(axis=1))


def macro_f1(counts: np.ndarray) -> float:
    """Return the mean F1 score of the labels that occur on either side of a confusion matrix (labels, labels)."""
    return float(np.nanmean(f1(counts)))


def _entropy(shares: np.ndarray) -> float:
    """Return the entropy in nats."""
    positive = shares[shares > 0]
    return float(-(positive * np.log(positive)).sum())


def _pairs(counts: np.ndarray) -> np.ndarray:
    return counts * (counts - 1) / 2.0


def _members(groups: np.ndarray) -> list[np.ndarray]:
    _, numbers = np.unique(groups, return_inverse=True)
    return [np.flatnonzero(numbers == number) for number in range(numbers.max() + 1)]


def _checked(true: ArrayLike, found: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    true, found = np.asarray(true), np.asarray(found)
    if true.ndim != 1 or true.shape != found.shape or not true.size:
        raise VbenchError(
            f"the true labels are {true.shape} and the found ones {found.shape}, expected one label per thing, (N,), "
            "on both sides; cut them to the same transitions"
        )
    return true, found
