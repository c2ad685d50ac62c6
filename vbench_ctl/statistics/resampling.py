"""Intervals of scores: leaving out blocks of clips (jackknife), drawing clips again (bootstrap).

Windows of one video are not independent, so whole clusters are left out or drawn. A score may be an array; its bounds
then are arrays of the same shape.
"""

from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtrit

LEVEL = 0.95
Statistic = Callable[[np.ndarray], ArrayLike]  # from the indices (n,) of clips


class Estimate(NamedTuple):
    """A score, its interval and its standard error; None where a single cluster says nothing about them."""

    value: Any
    low: Any = None
    high: Any = None
    error: Any = None
    curve: np.ndarray | None = None  # the score over time, where a metric of whole sets has one
    note: str = ""  # what belongs beside the number


def bootstrap_mean(
    values: np.ndarray, clusters: Sequence[Hashable], resamples: int = 1000, seed: int = 0
) -> tuple[float, float] | None:
    """Return the percentile interval of the mean of (N,) values, drawing whole clusters again; None for one cluster."""
    names = {name: index for index, name in enumerate(dict.fromkeys(clusters))}
    if len(names) < 2:
        return None
    index = np.array([names[name] for name in clusters])
    sums = np.bincount(index, weights=values.astype(np.float64))
    counts = np.bincount(index)
    rng = np.random.default_rng(seed)
    means = np.empty(resamples)
    for at in range(resamples):
        drawn = rng.integers(len(names), size=len(names))
        means[at] = sums[drawn].sum() / counts[drawn].sum()
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def jackknife(
    statistic: Statistic, clips: int, *, count: int = 20, clusters: Sequence[Hashable] | None = None, seed: int = 0
) -> Estimate:
    """Return statistic(all indices) with its interval from `count` calls that leave out one random block each."""
    everything = np.arange(clips)
    split = blocks(clips, count, clusters, seed)
    value = statistic(everything)
    if len(split) < 2:
        return Estimate(_plain(value))
    return jackknifed(value, [statistic(np.setdiff1d(everything, block)) for block in split])


def blocks(clips: int, count: int, clusters: Sequence[Hashable] | None = None, seed: int = 0) -> list[np.ndarray]:
    """Deal the indices of clips into at most `count` random blocks of whole clusters, as equal as clusters allow."""
    members = _members(clips, clusters)
    order = np.random.default_rng(seed).permutation(len(members))
    parts = np.array_split(order, min(count, len(members)))
    return [np.sort(np.concatenate([members[i] for i in part])) for part in parts]


def draws(
    clips: int, resamples: int, clusters: Sequence[Hashable] | None = None, seed: int = 0
) -> Iterator[np.ndarray]:
    """Yield indices of clips, `resamples` times as many clusters as there are, drawn with replacement."""
    members = _members(clips, clusters)
    for number in range(resamples):
        drawn = np.random.default_rng([seed, number]).integers(len(members), size=len(members))
        yield np.concatenate([members[i] for i in drawn])


def jackknifed(value: ArrayLike, left_out: Sequence[ArrayLike], least: float | None = None) -> Estimate:
    """Return the interval of a value from the values without each of b blocks, with Student's t of b - 1 degrees."""
    values = np.asarray(left_out, np.float64)
    count = len(values)
    error = np.sqrt((count - 1) * values.var(axis=0))  # (b - 1) / b * sum of squares
    reach = stdtrit(count - 1, (1 + LEVEL) / 2) * error
    return _estimate(value, np.asarray(value) - reach, np.asarray(value) + reach, error, least)


def basic(value: ArrayLike, replicates: Sequence[ArrayLike], least: float | None = None) -> Estimate:
    """Return the basic bootstrap interval (Davison and Hinkley 1997): the percentiles reflected about the value."""
    values = np.asarray(replicates, np.float64)
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    twice = 2 * np.asarray(value, np.float64)
    return _estimate(value, twice - high, twice - low, values.std(axis=0, ddof=1), least)


def _estimate(value: ArrayLike, low: np.ndarray, high: np.ndarray, error: np.ndarray, least: float | None) -> Estimate:
    if least is not None:
        low, high = np.maximum(low, least), np.maximum(high, least)
    return Estimate(*map(_plain, (value, low, high, error)))


def _plain(value: ArrayLike) -> Any:
    array = np.asarray(value, np.float64)
    return array if array.ndim else float(array)


def _members(clips: int, clusters: Sequence[Hashable] | None) -> list[np.ndarray]:
    if clusters is None:
        return list(np.arange(clips)[:, np.newaxis])
    assert len(clusters) == clips
    found: dict[Hashable, list[int]] = {}
    for index, name in enumerate(clusters):
        found.setdefault(name, []).append(index)
    return [np.array(indices) for indices in found.values()]
