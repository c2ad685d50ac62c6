"""Sanity row: uniform random pixels."""

import numpy as np

from vbench_ctl.generation import Task

TITLE = "noise"
CONTROL = "none"
SANITY = -2


def generate(task: Task, index: int, rng: np.random.Generator) -> np.ndarray:
    """Return noise in the size of the given frames."""
    return rng.integers(256, size=(task.protocol.predict, *task.window(index).shape[1:]), dtype=np.uint8)
