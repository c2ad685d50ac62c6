"""Distances and scores of whole sets of feature vectors, in float64. Here: the check that all of them begin with."""

from collections.abc import Sequence

import numpy as np

from vbench_ctl.errors import VbenchError


def check_rows(
    features: np.ndarray,
    name: str = "the features",
    least: int = 1,
    ids: Sequence[str] | None = None,
    first: int = 0,
) -> np.ndarray:
    """Return features (N, D) as they are; one sentence says what is wrong with them and, where one clip is, which.

    A clip is named by `ids`, or by its number counted on from `first`.
    """
    features = np.asarray(features)
    if features.ndim != 2 or not features.shape[1] or features.dtype.kind not in "fiub":
        raise VbenchError(
            f"{name} are {features.dtype} {features.shape}, expected real numbers (N, D), one row per clip; "
            "reshape or flatten them first"
        )
    if len(features) < least:
        raise VbenchError(f"{name} hold {len(features)} clips, expected at least {least}; score more clips")
    broken = np.flatnonzero(~np.isfinite(features).all(axis=1))
    if len(broken):
        which = f'"{ids[broken[0]]}"' if ids is not None else f"number {first + broken[0]} (counted from 0)"
        raise VbenchError(
            f"{name} are not finite for {len(broken)} of {len(features)} clips, the first is clip {which}; "
            "look at its frames and run the network in float32"
        )
    return features


def check_features(features: np.ndarray, name: str = "the features", least: int = 1, first: int = 0) -> np.ndarray:
    """Return features (N, D) as float64, checked by `check_rows`."""
    return check_rows(features, name, least, first=first).astype(np.float64)


def check_pair(real: np.ndarray, fake: np.ndarray, least: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Return two feature sets (N, D) and (M, D) as they are."""
    real = check_rows(real, "the real features", least)
    fake = check_rows(fake, "the generated features", least)
    check_dimensions(real.shape[1], fake.shape[1])
    return real, fake


def check_sets(real: np.ndarray, fake: np.ndarray, least: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Return two feature sets (N, D) and (M, D) as float64."""
    real, fake = check_pair(real, fake, least)
    return real.astype(np.float64), fake.astype(np.float64)


def check_dimensions(a: int, b: int, first: str = "the real features", second: str = "the generated ones") -> None:
    """Refuse vectors of different networks."""
    if a != b:
        raise VbenchError(
            f"{first} have {a} dimensions and {second} {b}, expected equal; compute both with one network"
        )
