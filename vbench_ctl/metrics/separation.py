"""Global-local separation: how much the camera moves when only other actions of who is seen are told, and vice versa.

Ours. How far the camera's path (or with "object" the place of what moves against it) strays from that of the first answer
when it should not, over how far it does when it should: 0 for a model that keeps the two apart, 1 for one that does not
tell them apart. Both are read from the generated frames alone (statistics/camera.py).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from vbench_ctl.metrics.controlepe import STILL
from vbench_ctl.statistics import camera
from vbench_ctl.statistics.remembered import remembered

TITLE = "Global-local separation"
DIRECTION = "lower"
UNIT = ""
NEEDS = "sets"
RANGE = (0.0, np.inf)
VERSION = 1
VARIANTS: dict[str, dict[str, Any]] = {"": {}, "object": {"of": "object"}}


def sets(*, of: str = "camera") -> tuple[str, ...]:
    """Return which sets of answers it needs."""
    return ("new-local", "new-global")


def collect(real: np.ndarray, answers: dict[str, np.ndarray], *, of: str = "camera") -> np.ndarray:
    """Return for each step how far the answer strays when it should not, and when it should, in pixels: float64 (n, 2)."""
    base, local, moved = (getattr(_path(answers[word]), of) for word in ("", *sets()))
    strays, obeys = (local, moved) if of == "camera" else (moved, local)
    rows = np.column_stack([np.linalg.norm(other - base, axis=1) for other in (strays, obeys)])
    return rows[np.isfinite(rows).all(axis=1)]


_path = remembered(3)(camera.path)  # the other variant looks at the same three clips next


def pooled(parts: Sequence[np.ndarray], *, of: str = "camera") -> float:
    """Return the ratio of the mean distances over all steps; NaN where nothing obeys but by rounding."""
    rows = np.concatenate(parts)
    strays, obeys = rows.mean(axis=0) if len(rows) else (0.0, 0.0)
    return float(strays / obeys) if obeys > STILL else float("nan")


def note(parts: Sequence[np.ndarray], *, of: str = "camera") -> str:
    """Say both distances."""
    rows = np.concatenate(parts)
    strays, obeys = rows.mean(axis=0) if len(rows) else (0.0, 0.0)
    told = (
        ("other actions of who is seen", "other ones of the camera")
        if of == "camera"
        else ("other actions of the camera", "other ones of its own")
    )
    return f"the {of} strays by {strays:.3g} px under {told[0]}, and by {obeys:.3g} px under {told[1]}"


def signature(*, of: str = "camera") -> str:
    """Name what the number depends on."""
    return f"new-local/new-global,{of},path{camera.VERSION}"
