"""Delta-PSNR (Bruce et al., Genie, ICML 2024): how much closer to the real clip a model comes when it is told the truth.

PSNR of the answer to the true actions less PSNR of the answer to other ones from the same start and seed. The paper looks
at the fourth predicted frame and draws random actions; here they are those of another case, so of the right frequency.
"""

from typing import Any

import numpy as np

from vbench_ctl.metrics import psnr
from vbench_ctl.statistics.interventions import gained

TITLE = "Delta-PSNR"
DIRECTION = "higher"
UNIT = "dB"
NEEDS = "sets"
VERSION = 1
VARIANTS: dict[str, dict[str, Any]] = {
    "": {},
    "mean": {"at": 0},  # over all predicted frames
    "shuffled": {"against": "shuffled-actions", "at": 0},  # against its own actions in random order
    "none": {"against": "no-actions", "at": 0},
}


def sets(*, against: str = "new-actions", at: int = 4) -> tuple[str, ...]:
    """Return which sets of answers it needs."""
    return (against,)


def values(
    real: np.ndarray, answers: dict[str, np.ndarray], *, against: str = "new-actions", at: int = 4
) -> np.ndarray:
    """Return the difference at predicted frame `at`, float64 (1,), or with 0 at each, of uint8 clips (1 + predict, H, W, 3)."""
    return gained(psnr.values, real, answers, against, at)


def signature(*, against: str = "new-actions", at: int = 4) -> str:
    """Name what the number depends on."""
    return f"{against},{f't{at}' if at else 'mean'},{psnr.signature()}"
