"""Best, mean and worst of K samples of a case, for models that answer one start in many ways."""

from typing import NamedTuple

import numpy as np

from vbench_ctl.errors import UsageError, VbenchError


class Order(NamedTuple):
    """Per case (N,), or per case and frame (N, T) where curves were given."""

    best: np.ndarray
    mean: np.ndarray
    worst: np.ndarray


def order_statistics(values: np.ndarray, direction: str) -> Order:
    """Return the best, mean and worst sample of values (N, K) or curves (N, K, T); direction is "higher" or "lower".

    As in edenton/svg:generate_svg_lp.py the sample with the best mean over time is taken whole: choosing anew in every
    frame would give a better curve that no sample has.
    """
    values = np.asarray(values, np.float64)
    if direction not in ("higher", "lower"):
        raise UsageError(f'the direction is "{direction}", expected "higher" or "lower"')
    if values.ndim not in (2, 3) or 0 in values.shape:
        raise VbenchError(
            f"the values have the shape {values.shape}, expected (cases, samples) or (cases, samples, frames)"
        )
    means = values if values.ndim == 2 else values.mean(axis=2)
    if np.isnan(means).any():
        case, sample = np.argwhere(np.isnan(means))[0]
        raise VbenchError(f"the value of sample {sample} of case {case} is not a number; look at its frames")
    cases = np.arange(len(values))
    highest, lowest = values[cases, means.argmax(axis=1)], values[cases, means.argmin(axis=1)]
    best, worst = (highest, lowest) if direction == "higher" else (lowest, highest)
    return Order(best, values.mean(axis=1), worst)
