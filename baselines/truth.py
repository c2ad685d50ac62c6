"""Sanity row: the truth. What really happens and, where the dataset has a world to act in, what would have happened.

No model is better than this row: it is where paired metrics end, and what those of control give for perfect obedience.
"""

import numpy as np

from vbench_ctl.controls import SAME_ACTIONS, SETS
from vbench_ctl.generation import Task

TITLE = "truth"
CONTROL = "actions"
SANITY = 1


def sets(task: Task) -> tuple[str, ...]:
    """Return which sets it can answer: those of other actions only in a world."""
    known = ("new-seed",) if task.world(0) is None else tuple(SETS)
    return tuple(word for word in known if word != "no-actions")


def generate(task: Task, index: int, rng: np.random.Generator) -> np.ndarray:
    """Return the real frames, or those of the dataset's world under other actions."""
    start, stop = task.protocol.context, task.protocol.context + task.protocol.predict
    if task.set in SAME_ACTIONS:
        return task.window(index)[start:stop]
    world, told = task.world(index), task.controls(index)
    assert world is not None
    state, made = world.state, []
    for at in range(start, stop):
        entries = {name: track[at].tolist() for name, track in told.items() if name in world.rest}
        frame, state = world.step(state, {**world.rest, **entries})
        made.append(frame)
    return np.concatenate(made)
