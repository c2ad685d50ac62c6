"""Delta-LPIPS: as Delta-PSNR with the sign turned, how much nearer to the real clip an answer is when the truth is told.

Where little moves, a perceptual distance tells more than pixels do.
"""

import numpy as np

from vbench_ctl import networks
from vbench_ctl.metrics.deltapsnr import DIRECTION, NEEDS, VARIANTS, sets
from vbench_ctl.networks import Features
from vbench_ctl.statistics.interventions import LPIPS, steps

__all__ = ["DIRECTION", "NEEDS", "VARIANTS", "features", "sets", "signature", "values"]

TITLE = "Delta-LPIPS"
UNIT = ""
VERSION = 1


def features(*, against: str = "new-actions", at: int = 4) -> Features:
    """Return the network: its trunk and heads."""
    return LPIPS


def values(
    real: np.ndarray, answers: dict[str, np.ndarray], *, against: str = "new-actions", at: int = 4
) -> np.ndarray:
    """Return the difference at predicted frame `at`, float64 (1,), or with 0 at each, of uint8 clips (1 + predict, H, W, 3)."""
    seen = steps(real, at)
    measure = networks.extractor(LPIPS).distances
    told, other = measure(real[seen], answers[""][seen], answers[against][seen])
    return other.astype(np.float64) - told


def signature(*, against: str = "new-actions", at: int = 4) -> str:
    """Name what the number depends on besides network and clips."""
    return f"{against},{f't{at}' if at else 'mean'},alex,v0.1"
