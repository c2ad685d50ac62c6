"""cINN under somebody's hands: a click says where the next clip ends."""

import numpy as np

from vbench_ctl.baselines.cinn import play
from vbench_ctl.baselines.cinn.flow_stage import FlowStage
from vbench_ctl.errors import UsageError
from vbench_ctl.generation import drawing
from vbench_ctl.play.player import Control, Player, Start, entry

State = tuple[np.ndarray, int]  # the last frame, and how many clips were made


def player(system: FlowStage, start: Start) -> Player:
    """Return what drives a model from a frame on, a clip for each step."""
    settings = system.settings
    name = settings.control

    def step(state: State, control: Control) -> tuple[np.ndarray, State]:
        last, count = state
        chance = drawing((start.seed, count))
        clip = play.continued(system, last, settings.frames, chance, entry(control[name]) if name else None)
        return clip, (clip[-1], count + 1)

    rest = _rest(name, start)

    def point(x: float, y: float) -> Control:
        ranges = zip(settings.control_offset, settings.control_range, strict=True)
        across, down = (offset + part * extent for part, (offset, extent) in zip((x, y), ranges, strict=False))
        return {name: (across, down, *entry(rest[name])[2:].tolist())}  # a third number, a height, stays

    clicked = point if name and len(settings.control_range) >= 2 else None
    return Player((start.frame, 0), step, rest, point=clicked, frames=settings.frames)


def _rest(name: str, start: Start) -> Control:
    if not name:
        return {}
    if name not in start.tracks:
        raise UsageError(f"cinn: this model is told {name}, which the start frame has not; begin at clips that have it")
    return {name: tuple(float(value) for value in np.ravel(start.tracks[name]))}
