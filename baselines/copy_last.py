"""Sanity row: the last given frame, standing still."""

import numpy as np

from vbench_ctl.errors import VbenchError
from vbench_ctl.generation import Task

TITLE = "copy last frame"
CONTROL = "none"


def generate(task: Task, index: int, rng: np.random.Generator) -> np.ndarray:
    """Return the given frames and then the last of them again and again."""
    context = task.context(index)
    if not len(context):
        raise VbenchError(f"copy-last repeats the last given frame, and {task.protocol.id} gives none")
    return np.concatenate([context, np.repeat(context[-1:], task.cases[index].length - len(context), axis=0)])
