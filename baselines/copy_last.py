"""Sanity row: the last given frame, standing still."""

import numpy as np

from vbench_ctl.errors import VbenchError
from vbench_ctl.generation import Task

TITLE = "copy last frame"
CONTROL = "none"


def generate(task: Task, index: int, rng: np.random.Generator) -> np.ndarray:
    """Return the last given frame again and again."""
    context = task.context(index)
    if not len(context):
        raise VbenchError(f"copy-last repeats the last given frame, and {task.protocol.id} gives none")
    return np.repeat(context[-1:], task.protocol.predict, axis=0)
