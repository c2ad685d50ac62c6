"""CPU seconds of the Frechet distance: ours beside scipy.linalg.sqrtm as mseitzer/pytorch-fid uses it.

OMP_NUM_THREADS=1 python benchmarks/frechet.py
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy: CPU seconds of waiting BLAS threads would count as work

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import linalg

from vbench_ctl.statistics.frechet import frechet, frechet_jackknife
from vbench_ctl.statistics.moments import Moments

SIZES = [(2048, 5000), (400, 2048)]  # FID and G3AN's video features; FVD


def sqrtm_distance(real: Moments, fake: Moments) -> float:
    """Return the distance through a matrix square root of the product of the covariances."""
    a, b = real.cov(), fake.cov()
    root = linalg.sqrtm(a @ b)
    return float(((real.mean - fake.mean) ** 2).sum() + np.trace(a) + np.trace(b) - 2 * np.trace(root).real)


def features(dimensions: int, clips: int) -> tuple[np.ndarray, np.ndarray]:
    """Make two correlated sets (N, D) as float32, whose covariances have condition numbers of about 1e4."""
    rng = np.random.default_rng(0)
    mix = rng.normal(size=(dimensions, dimensions)) / np.sqrt(dimensions) + np.eye(dimensions)
    real, fake = rng.normal(size=(2, clips, dimensions)) @ mix
    return real.astype(np.float32), (1.1 * fake + 0.1).astype(np.float32)


def cpu_seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    """Return the CPU seconds of one run and what it returned."""
    start = time.process_time()
    result = work()
    return time.process_time() - start, result


def main() -> None:
    """Print one line per size and way: CPU seconds, how many times ours, relative difference."""
    linalg.eigvalsh(np.eye(50))  # what a first call loads is not counted
    for dimensions, clips in SIZES:
        real, fake = features(dimensions, clips)
        reading, (a, b) = cpu_seconds(lambda: (Moments.of(real), Moments.of(fake)))  # noqa: B023
        ours, value = cpu_seconds(lambda: frechet(a, b))  # noqa: B023
        theirs, other = cpu_seconds(lambda: sqrtm_distance(a, b))  # noqa: B023
        print(f"D = {dimensions}, N = {clips}")
        print(f"  moments of both sets   {reading:8.3f} s")
        print(f"  vbench-ctl             {ours:8.3f} s  {value:.10g}")
        print(f"  scipy.linalg.sqrtm     {theirs:8.3f} s  {theirs / ours:6.1f} x  off by {abs(other / value - 1):.1e}")
        print(f"  both with the moments  {'':10}  {(theirs + reading) / (ours + reading):6.1f} x")
    spent, estimate = cpu_seconds(lambda: frechet_jackknife(real, fake))
    print("interval of the last")
    print(
        f"  jackknife, 20 blocks   {spent:8.3f} s  {estimate.low:.5g} to {estimate.high:.5g}, SE {estimate.error:.3g}"
    )


if __name__ == "__main__":
    main()
