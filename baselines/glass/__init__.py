"""GLASS (Davtyan & Favaro, ECCV 2022): global shifts and local actions of a foreground, learnt without labels.

Equal in numbers to Araachie/glass, whose checkpoints it reads. Where ours deviates, the released behaviour is a setting.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vbench_ctl.baselines.glass.settings import Settings
from vbench_ctl.errors import UsageError
from vbench_ctl.registry import option
from vbench_ctl.tracks import AGAIN

if TYPE_CHECKING:
    from torch import Tensor

    from vbench_ctl.baselines.glass.play import Seen
    from vbench_ctl.baselines.glass.system import System
    from vbench_ctl.generation import Asked, Given, Made
    from vbench_ctl.training import DataFacts

TITLE = "GLASS"
CONTROL = "inferred-actions"
CONTROLS = ("inferred-actions", "actions")
STAGES = ("",)
WAYS = {
    "control": "play the actions of --control (columns action, dx, dy in pixels) from the first frames of --real",
    "transfer": "let the first frames of --real do what happens in --control-from",
    "grid": "repeat every learnt action and every direction from the first frames of --real",
    "segment": "masks, foreground and background of the clips of --real",
}

__all__ = [
    "CONTROL",
    "CONTROLS",
    "STAGES",
    "TITLE",
    "WAYS",
    "Options",
    "Settings",
    "build",
    "generate",
    "import_checkpoint",
    "show",
]


@dataclass(frozen=True)
class Options:
    """How a trained model continues clips."""

    teacher_forced: bool = option(False, "make every frame from the real one before it, as the release evaluates")


def build(settings: Settings, data: "DataFacts", stage: str, earlier: dict[str, dict[str, "Tensor"]]) -> "System":
    """Return the system to train."""
    from vbench_ctl.baselines.glass.system import System

    if settings.labels and "local_action" not in data.tracks:
        raise UsageError('glass: model.labels counts the track local_action; add it: data.tracks = ["local_action"]')
    return System(settings, data.height, data.width)


def generate(system: "System", asked: Sequence["Asked"]) -> list["Made"]:
    """Make clips again from their first frames and the actions inferred from them, each with what was inferred."""
    return [_generated(system, each) for each in asked]


def _generated(system: "System", asked: "Asked") -> "Made":
    # One at a time: what a clip becomes does not depend on which others are asked for.
    import torch

    from vbench_ctl.baselines.glass.frames import normalised, pixels
    from vbench_ctl.baselines.glass.play import remake, see
    from vbench_ctl.generation import Made

    if not len(asked.context) or (asked.real is None and "local_action" not in asked.controls):
        raise UsageError(
            f"{asked.name}: GLASS needs a first frame, and either the real clip to infer actions from or true local "
            "actions; use a protocol with context frames and inferred-actions, or that of W-Sprites with actions"
        )
    if asked.real is None:
        return Made(_told(system, asked))
    device = next(system.parameters()).device
    frames = normalised(torch.from_numpy(np.ascontiguousarray(asked.real[None])).to(device))
    forced = asked.options is not None and asked.options.teacher_forced
    made, seen = remake(system, frames, given=frames.shape[1] - 1 if forced else len(asked.context))
    start = len(asked.context) - 1
    tracks = _inferred(seen, asked.size)
    if made.shape[1] > 1:  # the second look is at the frames that were made alone, as the release has it
        tracks |= {AGAIN + name: track for name, track in _inferred(see(system, made), asked.size).items()}
    return Made(pixels(made, truncate=forced)[0, start : start + asked.predict].cpu().numpy(), tracks)


def _inferred(seen: "Seen", size: tuple[int, int]) -> dict[str, np.ndarray]:
    """Return what was seen in one clip as the tracks of a store have it: actions, pixels of that size, masks of 0 to 255."""
    from torch.nn.functional import interpolate

    halves = np.array([size[1] / 2, size[0] / 2], np.float32)  # shifts are in halves of the width and the height
    masks = interpolate(seen.masks, size, mode="bilinear") if seen.masks.shape[2:] != size else seen.masks
    return {
        "local_action": seen.controls.actions[0].cpu().numpy(),
        "motion_fg": seen.controls.shifts[0].float().cpu().numpy() * halves,
        "motion_bg": seen.controls.camera[0].float().cpu().numpy() * halves,
        "masks": (255 * masks[0].float()).round().byte().cpu().numpy(),
    }


def _told(system: "System", asked: "Asked") -> np.ndarray:
    """Continue the last given frame under true actions, each as the code that it went with in training."""
    import torch

    from vbench_ctl.baselines.glass.frames import normalised, pixels
    from vbench_ctl.baselines.glass.play import Controls, rollout

    if not system.settings.labels:
        raise UsageError(
            f"{asked.name}: this GLASS does not know which of its codes true actions are; train it with "
            '--set model.labels=9 --set data.tracks=["local_action"], which only counts them'
        )
    device, start = next(system.parameters()).device, len(asked.context)
    steps = slice(start, start + asked.predict)
    halves = np.array([asked.size[1] / 2, asked.size[0] / 2])  # shifts are in halves of the width and the height
    shifts = torch.tensor(asked.controls["motion_fg"][steps] / halves, dtype=torch.float32, device=device)[None]
    actions = system.codes_of(torch.tensor(asked.controls["local_action"][steps], device=device))[None]
    first = normalised(torch.from_numpy(np.ascontiguousarray(asked.context[-1:])).to(device))
    return pixels(rollout(system, first, Controls(actions, shifts, torch.zeros_like(shifts))))[0].cpu().numpy()


def show(system: "System", way: str, given: "Given") -> list[tuple[str, np.ndarray]]:
    """Return named clips, uint8 (T, H, W, 3), of one of the WAYS."""
    from vbench_ctl.baselines.glass import ways

    return ways.WAYS[way](system, given)


def import_checkpoint(
    file: Path, config: Path | None = None
) -> tuple[Settings, dict[str, dict[str, "Tensor"]], "DataFacts"]:
    """Read a released checkpoint (step_*.pth): settings, weights by stage, facts of the data.

    What the weights don't show (a plain direction, schedules, losses) comes from the YAML configuration if it is given.
    """
    from vbench_ctl.baselines.glass import released
    from vbench_ctl.baselines.glass.system import System
    from vbench_ctl.training import DataFacts

    tensors = released.read(file)
    settings = released.settings(tensors, config)
    height, width = released.frame_size(tensors)
    state = released.placed(System(settings, height, width), tensors)
    return settings, {"": state}, DataFacts(height, width)
