"""Sanity row: the truth. What really happens and, where the dataset has a world to act in, what would have happened.

This row is where paired metrics end, and what those of control give for perfect obedience. Not all of that is undone by
`reversed`: a character is back in its place, but in another pose.
"""

import numpy as np

from vbench_ctl.controls import SAME_ACTIONS, SETS
from vbench_ctl.errors import VbenchError
from vbench_ctl.generation import Task

TITLE = "truth"
CONTROL = "actions"
SANITY = 1


def sets(task: Task) -> tuple[str, ...]:
    """Return which sets it can answer: those of other actions only in a world."""
    world = task.world(0)
    known = tuple(SETS) if world is not None and world.rest.keys() & task.wanted(0).keys() else ("new-seed",)
    return tuple(word for word in known if word != "no-actions")


def generate(task: Task, index: int, rng: np.random.Generator) -> np.ndarray:
    """Return the real frames, or those of the dataset's world under other actions or those of another clip."""
    start, stop = task.protocol.context, task.protocol.context + task.protocol.predict
    if task.set in SAME_ACTIONS and task.protocol.control != "swap":
        return task.window(index)[start:stop]
    world, told = task.world(index), task.wanted(index)
    if world is None:
        raise VbenchError(
            f"truth must see what another clip's motion would do, and {task.protocol.dataset} has no world; leave it out"
        )
    state, made = world.state, []
    for at in range(start, stop):
        entries = {name: track[at].tolist() for name, track in told.items() if name in world.rest}
        frame, state = world.step(state, {**world.rest, **entries})
        made.append(frame)
    return np.concatenate(made)
