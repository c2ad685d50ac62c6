"""Delta-SSIM: as Delta-PSNR, how much more similar to the real clip a model's answer is when it is told the truth."""

import numpy as np

from vbench_ctl.metrics import ssim
from vbench_ctl.metrics.deltapsnr import DIRECTION, NEEDS, VARIANTS, sets
from vbench_ctl.statistics.interventions import gained

__all__ = ["DIRECTION", "NEEDS", "VARIANTS", "sets", "signature", "values"]

TITLE = "Delta-SSIM"
UNIT = ""
VERSION = 1


def values(
    real: np.ndarray, answers: dict[str, np.ndarray], *, against: str = "new-actions", at: int = 4
) -> np.ndarray:
    """Return the difference at predicted frame `at`, float64 (1,), or with 0 at each, of uint8 clips (1 + predict, H, W, 3)."""
    return gained(ssim.values, real, answers, against, at)


def signature(*, against: str = "new-actions", at: int = 4) -> str:
    """Name what the number depends on."""
    return f"{against},{f't{at}' if at else 'mean'},{ssim.signature()}"
