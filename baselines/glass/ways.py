"""What GLASS can do besides protocols: play by given actions, copy a motion, show every action, take a clip apart."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from vbench_ctl.baselines.glass import play
from vbench_ctl.baselines.glass.system import System
from vbench_ctl.errors import UsageError
from vbench_ctl.frames import pixels
from vbench_ctl.generation import Given

Named = list[tuple[str, np.ndarray]]  # clips, uint8 (T, H, W, 3)
COLUMNS = ("action", "dx", "dy", "camera_dx", "camera_dy")  # of --control; the camera need not move


def control(system: System, given: Given) -> Named:
    """Play the columns action, dx, dy and, if there, camera_dx and camera_dy (in pixels of the clips) from first frames."""
    columns = _steps(given)
    actions = torch.tensor(columns["action"].astype(np.int64))
    device, made = next(system.parameters()).device, []
    for (name, clip), size in zip(given.clips, given.sizes, strict=True):
        shifts, camera = (_shifts(columns, names, size) for names in (("dx", "dy"), ("camera_dx", "camera_dy")))
        controls = play.Controls(*(each[None].to(device) for each in (actions, shifts, camera)))
        first = play.seen(system, clip[:1])
        made.append((name, _whole(clip, play.rollout(system, first, controls))))
    return made


def transfer(system: System, given: Given) -> Named:
    """Let each first frame do what happens in the driving clip."""
    if given.driving is None:
        raise UsageError("--way transfer copies the motion of a clip; give it with --control-from")
    driving = play.seen(system, given.driving[None, : given.frames])
    made = [("driving", given.driving[: given.frames])]
    for name, clip in given.clips:
        first = play.seen(system, clip[:1])
        made.append((name, _whole(clip, play.transfer(system, driving, first))))
    return made


def grid(system: System, given: Given) -> Named:
    """Repeat every learnt action, and every direction, from the first frames, a row for each."""
    if not given.clips:
        raise UsageError("--way grid begins at real first frames; give clips with --real")
    frames = torch.cat([play.seen(system, clip[:1]) for _, clip in given.clips])
    grids: dict[str, Callable[..., Tensor]] = {"local": play.local_grid, "global": play.global_grid}
    return [(name, pixels(make(system, frames, given.frames - 1)).cpu().numpy()) for name, make in grids.items()]


def segment(system: System, given: Given) -> Named:
    """Take each clip apart: its masks, its foreground and its background without it."""
    made = []
    for name, clip in given.clips:
        seen = play.see(system, play.seen(system, clip[None, : given.frames]))
        masks = (2 * seen.masks - 1)[:, :, None].expand(-1, -1, 3, -1, -1)
        parts = {"mask": masks, "foreground": seen.foregrounds, "background": seen.backgrounds}
        made += [(f"{name}-{part}", pixels(video)[0].cpu().numpy()) for part, video in parts.items()]
    return made


WAYS = {"control": control, "transfer": transfer, "grid": grid, "segment": segment}


def _whole(clip: np.ndarray, made: Tensor) -> np.ndarray:
    return np.concatenate([clip[:1], pixels(made)[0].cpu().numpy()])


def _steps(given: Given) -> dict[str, np.ndarray]:
    """Return the columns of --control for the steps that are asked for."""
    told = given.control
    if not told:
        raise UsageError(f"--way control plays a CSV file of the columns {', '.join(COLUMNS)}; give it with --control")
    if odd := [name for name in told if name not in COLUMNS]:
        raise UsageError(f"--control: there is no column {odd[0]}; expected {', '.join(COLUMNS)}")
    if lacking := [name for name in COLUMNS[:3] if name not in told]:
        raise UsageError(
            f"--control: the column {lacking[0]} is missing; expected action, dx, dy (pixels to the right, down)"
        )
    if len(fractions := told["action"][told["action"] % 1 != 0]):
        raise UsageError(f"--control: action {fractions[0]:g} is no whole number; learnt actions are numbered from 0")
    rows = len(told["action"])
    if given.length and not 1 < given.length <= rows + 1:
        raise UsageError(
            f"--length {given.length}: --control has steps for 2 to {rows + 1} frames with the first one; leave --length away"
        )
    return {name: column[: given.length - 1 if given.length else rows] for name, column in told.items()}


def _shifts(control: dict[str, np.ndarray], names: tuple[str, str], size: tuple[int, int]) -> Tensor:
    """Turn pixels of clips of a size into halves of the width and the height, as the model has it; columns that are not there are zero."""
    steps = len(control["action"])
    moved = np.stack([control.get(name, np.zeros(steps)) for name in names], -1)
    return torch.tensor(moved / play.halves(size)).float()
