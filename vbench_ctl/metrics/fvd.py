"""Frechet video distance (Unterthiner et al., 2018): Gaussian fits of the logits of I3D trained on Kinetics-400.

The variants are the pipelines in print (features/i3d.py and videomae.py have what each does). They differ by more than
many published gaps, so each is a metric of its own. "fvd-prefix" is FVD with its growth over time: of the first 10, 11, ... frames;
"fvd-sliding" that of windows of 16 frames: how far a long prediction has drifted at its end, and on the way there.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from vbench_ctl.errors import VbenchError
from vbench_ctl.networks import HOP, SHORTEST_PREFIX, WINDOW, Features
from vbench_ctl.statistics.frechet import frechet_by_groups, frechet_jackknife
from vbench_ctl.statistics.resampling import Estimate

TITLE = "FVD"
DIRECTION = "lower"
UNIT = ""
NEEDS = "features"
VERSION = 1
ENOUGH = 256  # clips; below that the bias is larger than what one wants to see
FRECHET = True  # of the real set it needs mean and covariance only

# The divisor of the covariance and what else a pipeline does is part of it (features/i3d.py).
VARIANTS: dict[str, dict[str, Any]] = {
    "": {"pipeline": "tf"},
    "styleganv": {"pipeline": "styleganv", "ddof": 0},
    "common-styleganv": {"pipeline": "common-styleganv"},
    "videogpt": {"pipeline": "videogpt", "eps": 1e-5},
    "cdfvd-i3d": {"pipeline": "cdfvd-i3d", "ddof": 0, "eps": 1e-5},
    "cdfvd-videomae": {"pipeline": "cdfvd-videomae", "ddof": 0},  # content-debiased FVD: another network altogether
    "araachie": {"pipeline": "araachie"},
    "cinn-log": {"pipeline": "cinn-log"},
    "ccvs": {"pipeline": "ccvs"},
    "prefix": {"parts": "prefix"},  # the network runs anew for every length: work grows with the square of T
    "sliding": {"parts": "window"},
}

ORIGINAL = ("araachie", "cinn-log")  # pipelines with I3D's first release; all others take the weights of TF-Hub
# What a pipeline does to clips before it resizes them for the network.
BEFORE = dict.fromkeys(("cdfvd-i3d", "cdfvd-videomae"), ",through 128x128")
NAMED = {"prefix": "prefixes", "window": "windows"}


def features(*, pipeline: str = "tf", ddof: int = 1, eps: float = 1e-3, parts: str = "") -> Features:
    """Return the features of a pipeline, of whole clips or of parts of them."""
    if pipeline == "cdfvd-videomae":
        return Features("videomae", "videomae-ssv2", "clip", (), (("preset", pipeline),))
    loading = () if eps == 1e-3 else (("eps", eps),)
    weights = "i3d-k400-original" if pipeline in ORIGINAL else "i3d-k400"
    return Features("i3d", weights, parts or "clip", loading, (("preset", pipeline),))


def estimate(
    real: np.ndarray,
    fake: np.ndarray,
    clusters: Sequence[str],
    groups_of: int = 0,
    *,
    pipeline: str = "tf",
    ddof: int = 1,
    eps: float = 1e-3,
    parts: str = "",
) -> Estimate:
    """Return the distance of generated features (N, 400) to real ones with its jackknife interval over clusters.

    With `groups_of` it is the mean over consecutive groups of clips, plus and minus their deviation. Of parts,
    (N, parts, 400), it is that of the last, the whole or the end of the clips, and the curve has all of them.
    """
    if parts:
        if real.shape[1] != fake.shape[1]:
            raise VbenchError(
                f"the real clips have {real.shape[1]} {NAMED[parts]} and the generated ones {fake.shape[1]}; cut them to one length"
            )
        whole = estimate(real[:, -1], fake[:, -1], clusters, groups_of, ddof=ddof)
        alone = [""] * len(fake)  # one cluster: only the last has an interval, which costs 20 more distances
        earlier = [estimate(real[:, t], fake[:, t], alone, groups_of, ddof=ddof) for t in range(real.shape[1] - 1)]
        return whole._replace(curve=np.array([each.value for each in (*earlier, whole)]))
    if groups_of:
        values = frechet_by_groups(real, fake, groups_of, ddof=ddof)
        mean, spread = float(values.mean()), float(values.std())
        return Estimate(mean, mean - spread, mean + spread, spread)
    return frechet_jackknife(real, fake, clusters=clusters, ddof=ddof)


def signature(*, pipeline: str = "tf", ddof: int = 1, eps: float = 1e-3, parts: str = "") -> str:
    """Name what the number depends on besides network and clips."""
    curve = {"": "", "prefix": f",prefixes from {SHORTEST_PREFIX}f", "window": f",windows of {WINDOW}f every {HOP}"}[
        parts
    ]
    return f"{pipeline}{BEFORE.get(pipeline, '')},ddof{ddof}" + (f",eps{eps:g}" if eps != 1e-3 else "") + curve
