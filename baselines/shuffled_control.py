"""Sanity row: a perfect model that was given another clip's control, so it answers with that clip's real future.

It looks as real as the test set, down to the same frames, and obeys nothing.
"""

import numpy as np

from vbench_ctl.errors import VbenchError
from vbench_ctl.generation import Task

TITLE = "shuffled control"
CONTROL = "shuffled"
SANITY = -1


def sets(task: Task) -> tuple[str, ...]:
    """Return which sets it can answer: it knows real futures only."""
    return ("new-seed", "new-actions")


def generate(task: Task, index: int, rng: np.random.Generator) -> np.ndarray:
    """Return what really happens in another case than was told; where its own control was, each future is used once."""
    count = len(task.cases)
    if count < 2:
        raise VbenchError(f"shuffled-control needs at least 2 cases to exchange, {task.protocol.id} has {count}")
    told = task.partner(index) if task.set == "new-actions" or task.protocol.control == "swap" else index
    other = (told + count // 2) % count  # far away in the store: neighbours often show the same scene
    if other == index and count > 2:  # its own future is the answer to no other control
        other = (other + 1) % count
    start = task.protocol.context
    return task.window(other)[start : start + task.protocol.predict]
