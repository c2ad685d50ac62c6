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

if TYPE_CHECKING:
    from torch import Tensor

    from vbench_ctl.baselines.glass.system import System
    from vbench_ctl.generation import Asked, Given
    from vbench_ctl.training import DataFacts

TITLE = "GLASS"
CONTROL = "inferred-actions"
STAGES = ("",)
WAYS = {
    "control": "play the actions of --control (columns action, dx, dy in pixels) from the first frames of --real",
    "transfer": "let the first frames of --real do what happens in --control-from",
    "grid": "repeat every learnt action and every direction from the first frames of --real",
    "segment": "masks, foreground and background of the clips of --real",
}

__all__ = [
    "CONTROL",
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

    return System(settings, data.height, data.width)


def generate(system: "System", asked: Sequence["Asked"]) -> list[np.ndarray]:
    """Make clips again from their first frames and the actions inferred from them, each uint8 (predict, H, W, 3)."""
    return [_generated(system, each) for each in asked]


def _generated(system: "System", asked: "Asked") -> np.ndarray:
    # One at a time: what a clip becomes does not depend on which others are asked for.
    import torch

    from vbench_ctl.baselines.glass.frames import normalised, pixels
    from vbench_ctl.baselines.glass.play import reconstruct

    if asked.real is None or not len(asked.context):
        raise UsageError(
            f"{asked.name}: GLASS infers the actions from the real clip and needs its first frame; use a protocol "
            "with inferred-actions and context frames"
        )
    device = next(system.parameters()).device
    frames = normalised(torch.from_numpy(np.ascontiguousarray(asked.real[None])).to(device))
    forced = asked.options is not None and asked.options.teacher_forced
    made = reconstruct(system, frames, given=frames.shape[1] - 1 if forced else len(asked.context))
    start = len(asked.context) - 1
    return pixels(made, truncate=forced)[0, start : start + asked.predict].cpu().numpy()


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
