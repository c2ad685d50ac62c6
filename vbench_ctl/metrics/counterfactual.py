"""Counterfactual divergence: how much other actions change an answer, in units of how much another seed does.

Ours. The mean distance of the answers to two action sequences with one seed over that of the answers to one sequence with
two seeds. A model that ignores what it is told has 0, since the seed is the same; 1 is one that other actions change as
much as another seed does. The ratio has no value where the seed changes nothing, which the note says; "share" puts the
first distance over the sum of both, so that a model without randomness has 1.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from vbench_ctl.networks import Features
from vbench_ctl.statistics.interventions import LPIPS, distances

TITLE = "Counterfactual divergence"
DIRECTION = "higher"
UNIT = ""
NEEDS = "sets"
RANGE = (0.0, np.inf)
VERSION = 1
VARIANTS: dict[str, dict[str, Any]] = {
    "": {},
    "share": {"form": "share"},
    "lpips": {"of": "lpips"},
    "lpips-share": {"of": "lpips", "form": "share"},
}


def sets(*, of: str = "pixel", form: str = "ratio") -> tuple[str, ...]:
    """Return which sets of answers it needs."""
    return ("new-actions", "new-seed")


def features(*, of: str = "pixel", form: str = "ratio") -> Features | None:
    """Return the network that compares frames; pixels need none."""
    return LPIPS if of == "lpips" else None


def collect(real: np.ndarray, answers: dict[str, np.ndarray], *, of: str = "pixel", form: str = "ratio") -> np.ndarray:
    """Return for each predicted frame its distance under other actions and with another seed: float64 (predict, 2)."""
    base, actions, seed = (answers[word][1:] for word in ("", *sets()))
    return np.column_stack(distances(of, base, actions, seed))


def pooled(parts: Sequence[np.ndarray], *, of: str = "pixel", form: str = "ratio") -> float:
    """Return the ratio of the mean distances of all frames, or the share of the first; NaN where that is x/0."""
    actions, seed = np.concatenate(parts).mean(axis=0)
    whole = seed if form == "ratio" else actions + seed
    return float(actions / whole) if whole else float("nan")


def note(parts: Sequence[np.ndarray], *, of: str = "pixel", form: str = "ratio") -> str:
    """Say both distances, and why there may be no value."""
    actions, seed = np.concatenate(parts).mean(axis=0)
    if not actions and not seed:
        return "neither other actions nor another seed change any frame"
    text = f"other actions change a frame by {actions:.4g}, another seed by {seed:.4g}"
    return text if seed or form == "share" else f"{text}, so there is no ratio; counterfactual-share has a value"


def signature(*, of: str = "pixel", form: str = "ratio") -> str:
    """Name what the number depends on besides network and clips."""
    return f"new-actions/new-seed,{of},{form}"
