"""Support vector machines with kernels, as scikit-learn's SVC has them by default: C = 1, gamma from the data's variance.

The dual of each pair of classes is solved by sequential minimal optimisation with second-order working sets (Fan, Chen,
Lin, JMLR 2005), to a hundredth of LIBSVM's tolerance, so that where the minimum is unique two machines agree on it.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from vbench_ctl.errors import VbenchError

LARGEST = 20_000  # vectors of two classes: their kernel takes 3.2 GB
LIMIT = 1.0  # of each multiplier: C
TOLERANCE = 1e-5
FLAT = 1e-12  # the least curvature, and how near to its ends a multiplier is at them

Kernel = Callable[[np.ndarray, np.ndarray], np.ndarray]  # (N, D), (M, D) -> (N, M)


class Machine(NamedTuple):
    """Tells the first of two classes, where its decision is positive, from the second."""

    first: int
    second: int
    vectors: np.ndarray  # (S, D) that support the border
    weights: np.ndarray  # (S,)
    offset: float


class Voting(NamedTuple):
    """Decides by the votes of a machine for each pair of classes; of equal votes the lower class wins, as in LIBSVM."""

    classes: np.ndarray
    kernel: Kernel
    machines: list[Machine]

    def predict(self, vectors: np.ndarray) -> np.ndarray:
        """Return the class of each vector (N, D)."""
        votes = np.zeros((len(vectors), len(self.classes)), np.int64)
        for machine in self.machines:
            positive = self.kernel(vectors, machine.vectors) @ machine.weights + machine.offset > 0
            votes[:, machine.first] += positive
            votes[:, machine.second] += ~positive
        return self.classes[votes.argmax(axis=1)]


def fit_rbf(vectors: np.ndarray, actions: np.ndarray) -> Voting:
    """Learn to tell actions (N,) from vectors (N, D) by the kernel exp(-gamma |a - b|^2)."""
    gamma = _gamma(vectors)

    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        apart = (a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T
        return np.exp(-gamma * np.maximum(apart, 0))

    return _fit(vectors, actions, kernel)


def fit_poly(vectors: np.ndarray, actions: np.ndarray) -> Voting:
    """Learn to tell actions (N,) from vectors (N, D) by the kernel (gamma a b)^3."""
    gamma = _gamma(vectors)
    return _fit(vectors, actions, lambda a, b: (gamma * (a @ b.T)) ** 3)


def _gamma(vectors: np.ndarray) -> float:
    """Return scikit-learn's "scale"."""
    variance = float(vectors.var()) * vectors.shape[1]
    return 1 / variance if variance else 1.0


def _fit(vectors: np.ndarray, actions: np.ndarray, kernel: Kernel) -> Voting:
    classes = np.unique(actions)
    machines = []
    for second in range(len(classes)):
        for first in range(second):
            either = np.isin(actions, classes[[first, second]])
            if either.sum() > LARGEST:
                raise VbenchError(
                    f"two actions have {either.sum()} movements together, and a machine with a kernel takes {LARGEST} at most; "
                    "score fewer clips, or use a linear one"
                )
            signs = np.where(actions[either] == classes[first], 1.0, -1.0)
            multipliers, offset = _solved(kernel(vectors[either], vectors[either]), signs)
            support = multipliers > 0
            weights = (multipliers * signs)[support]
            machines.append(Machine(first, second, vectors[either][support], weights, offset))
    return Voting(classes, kernel, machines)


def _solved(kernel: np.ndarray, signs: np.ndarray) -> tuple[np.ndarray, float]:
    """Minimise a Q a / 2 - sum a over 0 <= a <= LIMIT with a y = 0, Q = y K y; return a (N,) and the offset."""
    multipliers, diagonal = np.zeros(len(signs)), np.diagonal(kernel)
    missing = signs.copy()  # y minus the decision so far, without its offset
    while True:
        rise = np.where(signs > 0, multipliers < LIMIT, multipliers > 0)
        fall = np.where(signs > 0, multipliers > 0, multipliers < LIMIT)
        one = int(np.where(rise, missing, -np.inf).argmax())
        gap = missing[one] - missing
        if np.where(fall, gap, -np.inf).max() < TOLERANCE:
            break
        curve = np.maximum(diagonal[one] + diagonal - 2 * kernel[one], FLAT)
        other = int(np.where(fall & (gap > 0), gap**2 / curve, -np.inf).argmax())
        room = [LIMIT - multipliers[one] if signs[one] > 0 else multipliers[one]]
        room += [multipliers[other] if signs[other] > 0 else LIMIT - multipliers[other]]
        step = min(gap[other] / curve[other], *room)
        for at, change in ((one, signs[one] * step), (other, -signs[other] * step)):
            value = multipliers[at] + change
            multipliers[at] = 0 if value < FLAT else LIMIT if value > LIMIT - FLAT else value
        missing -= step * (kernel[one] - kernel[other])
    free = (multipliers > 0) & (multipliers < LIMIT)
    if free.any():
        return multipliers, float(missing[free].mean())
    return multipliers, float((missing[rise].max() + missing[fall].min()) / 2)
