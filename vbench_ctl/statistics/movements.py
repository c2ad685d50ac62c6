"""What actions do: the movements that go with each action, and how well an action can be told from a movement.

Action variance and accuracy as in willi-menapace/PlayableVideoGeneration:evaluation/metrics (Menapace et al., CVPR 2021).
"""

import zlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

QUANTILES = np.linspace(0, 1, 11)
ROUNDS = 100  # of Newton's method; it needs fewer than 20


class Movement(NamedTuple):
    """The movements (n, D) of one action."""

    share: float  # of all transitions
    mean: np.ndarray  # (D,)
    variance: np.ndarray  # (D,)
    kurtosis: np.ndarray  # (D,), 0 for a normal distribution
    quantiles: np.ndarray  # (11, D), from least to greatest in steps of a tenth


def movements(actions: np.ndarray, vectors: np.ndarray) -> dict[int, Movement]:
    """Describe the movements (N, D) of each action that occurs in (N,)."""
    return {
        int(action): _described(vectors[actions == action], len(vectors))
        for action in np.unique(actions)  # sorted
    }


def _described(vectors: np.ndarray, total: int) -> Movement:
    apart = vectors - vectors.mean(axis=0)
    variance = (apart**2).mean(axis=0)
    with np.errstate(invalid="ignore"):  # movements that never differ have no shape
        kurtosis = (apart**4).mean(axis=0) / variance**2 - 3
    return Movement(
        len(vectors) / total, vectors.mean(axis=0), variance, kurtosis, np.quantile(vectors, QUANTILES, axis=0)
    )


def total_variance(vectors: np.ndarray) -> float:
    """Return the variance of movements (N, D), the mean over coordinates."""
    return float(vectors.var(axis=0).mean())


def variance_of_actions(actions: np.ndarray, vectors: np.ndarray) -> float:
    """Return the plain mean over actions of the variance of their movements: a rare action counts like a common one."""
    return float(np.mean([each.variance.mean() for each in movements(actions, vectors).values()]))


def unexplained(actions: np.ndarray, vectors: np.ndarray, fitted: tuple[np.ndarray, np.ndarray] | None = None) -> float:
    """Return the share, 0 to 1, of the variance of movements (N, D) that their actions (N,) do not explain.

    With `fitted`, actions and movements of other clips, the mean movement of each action is theirs, and that of an action
    which does not occur there is the mean of all of theirs.
    """
    known, moved = fitted or (actions, vectors)
    expected = np.broadcast_to(moved.mean(axis=0), vectors.shape).copy()
    for action in np.unique(known):
        expected[actions == action] = moved[known == action].mean(axis=0)
    total = ((vectors - vectors.mean(axis=0)) ** 2).sum()
    return float(((vectors - expected) ** 2).sum() / total) if total else float("nan")


# A linear support vector machine, as scikit-learn's LinearSVC has it by default: squared hinge loss, C = 1, one against
# the rest, the offset a weight like the others. Its minimum is unique, so Newton's method finds what liblinear approaches.


class Linear(NamedTuple):
    """Decides between the classes (K,) by weights (K, D + 1) of which the last belongs to a constant 1."""

    classes: np.ndarray
    weights: np.ndarray

    def predict(self, vectors: np.ndarray) -> np.ndarray:
        """Return the class of each vector (N, D)."""
        return self.classes[(_with_one(vectors) @ self.weights.T).argmax(axis=1)]


class Pairwise(NamedTuple):
    """Decides by the votes of a machine for each pair of classes."""

    classes: np.ndarray
    machines: list[tuple[int, int, np.ndarray]]  # of two classes, and the weights (D + 1,) that favour the second

    def predict(self, vectors: np.ndarray) -> np.ndarray:
        """Return the class of each vector (N, D); of equal votes the surer decisions win, as in scikit-learn."""
        votes, sureness = (np.zeros((len(vectors), len(self.classes))) for _ in range(2))
        for first, second, weights in self.machines:
            decision = _with_one(vectors) @ weights
            votes[:, first] += decision <= 0
            votes[:, second] += decision > 0
            sureness[:, first] -= decision
            sureness[:, second] += decision
        return self.classes[(votes + sureness / (3 * (np.abs(sureness) + 1))).argmax(axis=1)]


def fit_linear(vectors: np.ndarray, actions: np.ndarray) -> Linear:
    """Learn to tell actions (N,) from vectors (N, D), each action against all others."""
    classes = np.unique(actions)
    padded = _with_one(vectors)
    return Linear(classes, np.stack([_machine(padded, actions == each) for each in classes]))


def fit_pairwise(vectors: np.ndarray, actions: np.ndarray) -> Pairwise:
    """Learn to tell actions (N,) from vectors (N, D), each action against each other one."""
    classes = np.unique(actions)
    machines = []
    for second in range(len(classes)):
        for first in range(second):
            either = np.isin(actions, classes[[first, second]])
            weights = _machine(_with_one(vectors[either]), actions[either] == classes[second])
            machines.append((first, second, weights))
    return Pairwise(classes, machines)


def _machine(vectors: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Minimise |w|^2 / 2 + sum max(0, 1 - y w x)^2 over w (D,), for vectors (N, D) with y = 1 where wanted, else -1."""
    signs = np.where(wanted, 1.0, -1.0)
    weights = np.zeros(vectors.shape[1])
    for _ in range(ROUNDS):
        near = signs * (vectors @ weights) < 1  # only these pull at the weights
        part = vectors[near]
        hessian = np.eye(len(weights)) + 2 * part.T @ part
        step = np.linalg.solve(hessian, 2 * part.T @ signs[near]) - weights
        if np.abs(step).max() <= 1e-10 * max(1.0, np.abs(weights).max()):
            break
        weights = weights + _reach(vectors, signs, weights, step) * step
    return weights


def _reach(vectors: np.ndarray, signs: np.ndarray, weights: np.ndarray, step: np.ndarray) -> float:
    """Return how far to go: the whole step, or the first half, quarter, ... of it that lowers the loss."""
    here, reach = _loss(vectors, signs, weights), 1.0
    while _loss(vectors, signs, weights + reach * step) > here and reach > 1e-12:
        reach /= 2
    return reach


def _loss(vectors: np.ndarray, signs: np.ndarray, weights: np.ndarray) -> float:
    return float(weights @ weights / 2 + (np.maximum(0, 1 - signs * (vectors @ weights)) ** 2).sum())


def _with_one(vectors: np.ndarray) -> np.ndarray:
    return np.concatenate([vectors, np.ones((len(vectors), 1))], axis=1)


# From tracks


def with_actions(actions: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Return rows (n, 1 + D): each action with the movement on its way, from actions (T - 1,) and places (T, D).

    Movements from or to an unknown place (NaN) are left out. Of T actions the first belongs to no movement.
    """
    places = np.asarray(places, np.float64).reshape(len(places), -1)
    vectors = np.diff(places, axis=0)
    count = min(len(vectors), len(actions))
    rows = np.column_stack([actions[len(actions) - count :], vectors[len(vectors) - count :]]).astype(np.float64)
    return rows[np.isfinite(rows).all(axis=1)]


def halves(parts: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Deal the rows (n, D) of each video to one of two halves, by what is in them, so that no order changes it."""
    dealt = [zlib.crc32(np.ascontiguousarray(part).tobytes()) % 2 for part in parts]
    nothing = np.zeros((0, parts[0].shape[1]))
    return [
        np.concatenate([nothing, *(p for p, at in zip(parts, dealt, strict=True) if at == half)]) for half in (0, 1)
    ]
