"""Drift: how fast a prediction gets worse the longer it runs, from the mean quality of all clips at each frame.

The slope of a line through it, the area that it loses against its first frame, and the half-life: when the squared error
has doubled, which is 3.01 dB of PSNR. Given frames, which all clips have exactly, are left out. Quality over time itself
is in the rows of psnr and lpips, and that of sets of clips in fvd-sliding.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from vbench_ctl.metrics import lpips, psnr
from vbench_ctl.networks import Features

TITLE = "Drift"
DIRECTION = "higher"  # a slope that falls less steeply
UNIT = ""
NEEDS = "pair"
VERSION = 1
VARIANTS: dict[str, dict[str, Any]] = {
    "": {},  # dB per frame
    "area": {"form": "area"},  # dB, the mean over time
    "halflife": {"form": "halflife"},  # frames
    "lpips": {"of": "lpips"},
    "lpips-area": {"of": "lpips", "form": "area"},
}
HALVED = 10 * np.log10(2)  # dB


def features(*, of: str = "psnr", form: str = "slope") -> Features | None:
    """Return the network that compares frames; PSNR needs none."""
    return lpips.features() if of == "lpips" else None


def collect(real: np.ndarray, fake: np.ndarray, *, of: str = "psnr", form: str = "slope") -> np.ndarray:
    """Return for each frame its number, its quality and whether it is exact, float64 (T, 3), of uint8 clips (T, H, W, 3)."""
    quality = lpips.values(real, fake) if of == "lpips" else psnr.values(real, fake)
    exact = (real == fake).all(axis=(1, 2, 3))
    return np.column_stack([np.arange(len(quality)), quality, exact]).astype(np.float64)


def pooled(parts: Sequence[np.ndarray], *, of: str = "psnr", form: str = "slope") -> float:
    """Return the slope, the area or the half-life of the mean curve; NaN without two frames, or without an end."""
    curve = _curve(parts)
    if len(curve) < 2:
        return float("nan")
    if form == "slope":
        times = np.arange(len(curve)) - (len(curve) - 1) / 2
        return float(times @ curve / (times @ times))
    if form == "area":
        return float(_worse(curve, of).mean())
    return _when(_worse(curve, of), HALVED)


def note(parts: Sequence[np.ndarray], *, of: str = "psnr", form: str = "slope") -> str:
    """Say where the curve begins and ends."""
    curve = _curve(parts)
    if len(curve) < 2:
        return "drift is of two predicted frames or more"
    ends = f"from {curve[0]:.4g} to {curve[-1]:.4g} in {len(curve)} frames"
    if form == "halflife" and np.isnan(_when(_worse(curve, of), HALVED)):
        return f"the squared error does not double: PSNR goes {ends}"
    return ends


def direction(*, of: str = "psnr", form: str = "slope") -> str:
    """Say which way is better: LPIPS grows with time, and an area is what was lost."""
    return "lower" if form == "area" or (of == "lpips" and form == "slope") else DIRECTION


def signature(*, of: str = "psnr", form: str = "slope") -> str:
    """Name what the number depends on."""
    return f"{form},mean curve,{lpips.signature() if of == 'lpips' else psnr.signature()}"


def _curve(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Return the mean quality at each frame, (T,), from the first on that is not exact in all clips."""
    rows = np.concatenate(parts)
    times = rows[:, 0].astype(int)
    counts = np.bincount(times)
    inexact = np.flatnonzero(np.bincount(times, weights=rows[:, 2]) < counts)
    return (np.bincount(times, weights=rows[:, 1]) / counts)[inexact[0] if len(inexact) else 0 :]


def _worse(curve: np.ndarray, of: str) -> np.ndarray:
    """Return how much worse each frame is than the first."""
    return curve - curve[0] if of == "lpips" else curve[0] - curve


def _when(worse: np.ndarray, level: float) -> float:
    """Return after how many frames a curve (T,) reaches a level above its start, between frames on a line; NaN if never."""
    reached = np.flatnonzero(worse >= level)
    if not len(reached):
        return float("nan")
    at = reached[0]
    return float(at - 1 + (level - worse[at - 1]) / (worse[at] - worse[at - 1]))
