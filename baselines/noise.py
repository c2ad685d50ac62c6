"""Sanity row: uniform random pixels after the given frames."""

import numpy as np

from vbench_ctl.generation import Task

TITLE = "noise"
CONTROL = "none"


def generate(task: Task, index: int, rng: np.random.Generator) -> np.ndarray:
    """Return the given frames and then noise."""
    context = task.context(index)
    shape = (task.cases[index].length - len(context), *context.shape[1:])
    return np.concatenate([context, rng.integers(256, size=shape, dtype=np.uint8)])
