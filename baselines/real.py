"""Sanity row: other real clips, from another split of the same store. What a perfect sampler would score.

Set metrics show their floor on it, paired metrics what a right-looking answer to another question is worth.
"""

from functools import lru_cache
from pathlib import Path

import numpy as np

from vbench_ctl.errors import VbenchError
from vbench_ctl.generation import Task
from vbench_ctl.pairing import square
from vbench_ctl.sources import StoreSource
from vbench_ctl.store import Store

TITLE = "real (second set)"
CONTROL = "none"


def generate(task: Task, index: int, rng: np.random.Generator) -> np.ndarray:
    """Return a random window of a clip of another split; cases spread over its clips as evenly as they can."""
    other = _second_set(task)
    case, count = task.cases[index], len(task.cases)
    span = (case.length - 1) * case.step + 1
    usable = np.flatnonzero(other.lengths >= span)
    if not len(usable):
        raise VbenchError(f"{other.folder}: no clip of {other.split} has {span} frames for the row real")
    clip = int(usable[index * len(usable) // count if len(usable) >= count else index % len(usable)])
    start = int(rng.integers(other.lengths[clip] - span + 1))
    frames = other.frames(clip, start, start + span, case.step)
    return frames if case.crop is None else square(frames, case.crop)


def _second_set(task: Task) -> Store:
    if isinstance(task.real, StoreSource):
        for split, summary in task.real.manifest["splits"].items():
            if split != task.real.store.split and summary["clips"]:
                return _open(task.real.store.folder, split)
    raise VbenchError(
        f"{task.real.name}: the row real needs a store with a second split; prepare one more with --split"
    )


@lru_cache(maxsize=2)
def _open(folder: Path, split: str) -> Store:
    return Store(folder, split)
