"""Frechet video distance (Unterthiner et al., 2018): Gaussian fits of the logits of I3D trained on Kinetics-400.

The variants are the pipelines in print (features/i3d.py has what each does). They differ by more than many published
gaps, so each is a metric of its own.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from vbench_ctl import networks
from vbench_ctl.errors import VbenchError
from vbench_ctl.networks import Features
from vbench_ctl.statistics.frechet import frechet, frechet_by_groups, frechet_jackknife
from vbench_ctl.statistics.resampling import Estimate

TITLE = "FVD"
DIRECTION = "lower"
UNIT = ""
NEEDS = "features"
VERSION = 1
ENOUGH = 256  # clips; below that the bias is larger than what one wants to see

# The divisor of the covariance and what else a pipeline does is part of it (specs of the references, features/i3d.py).
VARIANTS: dict[str, dict[str, Any]] = {
    "": {"pipeline": "tf"},
    "styleganv": {"pipeline": "styleganv", "ddof": 0},
    "common-styleganv": {"pipeline": "common-styleganv"},
    "videogpt": {"pipeline": "videogpt", "eps": 1e-5},
    "cdfvd-i3d": {"pipeline": "cdfvd-i3d", "ddof": 0, "eps": 1e-5},
    "araachie": {"pipeline": "araachie"},
    "cinn-log": {"pipeline": "cinn-log"},
    "ccvs": {"pipeline": "ccvs"},
}


def features(*, pipeline: str = "tf", ddof: int = 1, eps: float = 1e-3) -> Features:
    """Return the features of a pipeline."""
    loading = () if eps == 1e-3 else (("eps", eps),)
    return Features("i3d", "i3d-k400", "clip", loading, (("preset", pipeline),))


def estimate(
    real: np.ndarray,
    fake: np.ndarray,
    clusters: Sequence[str],
    groups_of: int = 0,
    *,
    pipeline: str = "tf",
    ddof: int = 1,
    eps: float = 1e-3,
) -> Estimate:
    """Return the distance of generated features (N, 400) to real ones with its jackknife interval over clusters.

    With `groups_of` it is the mean over consecutive groups of clips, plus and minus their deviation.
    """
    if groups_of:
        values = frechet_by_groups(real, fake, groups_of, ddof=ddof)
        mean, spread = float(values.mean()), float(values.std())
        return Estimate(mean, mean - spread, mean + spread, spread)
    return frechet_jackknife(real, fake, clusters=clusters, ddof=ddof)


def signature(*, pipeline: str = "tf", ddof: int = 1, eps: float = 1e-3) -> str:
    """Name what the number depends on besides network and clips."""
    return f"{pipeline},ddof{ddof}" + (f",eps{eps:g}" if eps != 1e-3 else "")


def prefix_fvd(real: Sequence[np.ndarray], fake: Sequence[np.ndarray], shortest: int = 10) -> np.ndarray:
    """Return the FVD of the first `shortest`, `shortest` + 1, ... frames of uint8 clips (T, H, W, 3), float64 (lengths,).

    The network runs anew for every length, so the work grows with the square of T.
    """
    longest = min(len(clip) for clip in (*real, *fake))
    if longest < shortest:
        raise VbenchError(f"the shortest clip has {longest} frames, expected at least {shortest}; score longer clips")
    curve = []
    for length in range(shortest, longest + 1):
        real_rows, fake_rows = (networks.of(features(), [clip[:length] for clip in side]) for side in (real, fake))
        curve.append(frechet(real_rows, fake_rows))
    return np.array(curve)
