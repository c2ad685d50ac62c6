"""Sprite probe: the network that reads W-Sprites back from frames, for the scores of control; it makes no clips.

It is trained on the truth that the generator gives, of all characters and of several worlds, since it is a measuring
device: nobody's model is compared with it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vbench_ctl.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from vbench_ctl.generation import Asked
    from vbench_ctl.training import DataFacts, System

TITLE = "sprite probe"
CONTROL = "none"
CONTROLS = ()  # it makes no clips
STAGES = ("",)


@dataclass(frozen=True)
class Settings:
    """What a recipe of the probe may set."""

    learning_rate: float = 3e-3
    weight_decay: float = 1e-4
    rate_steps: int = 1200  # in which the rate falls to nothing along a cosine
    frames: int = 2  # of each clip that a step looks at
    empty: float = 0.12  # the share of frames that show no sprite
    worn: float = 0.5  # the share of frames that are blurred, noisy or off in colour, as generated ones are
    jitter: int = 2  # pixels by which a cell is cut out beside its place

    def __post_init__(self) -> None:
        if self.frames < 1 or self.rate_steps < 1:
            raise UsageError("sprite-probe: frames and rate_steps are at least 1; change them in [model]")
        if not (0 <= self.empty < 1 and 0 <= self.worn <= 1):
            raise UsageError(
                "sprite-probe: empty and worn are shares of the frames, from 0 to 1; change them in [model]"
            )


def build(settings: Settings, data: "DataFacts", stage: str, earlier: dict[str, dict[str, "Tensor"]]) -> "System":
    """Return the system to train."""
    from vbench_ctl.baselines.sprite_probe.teacher import Teacher

    return Teacher(settings, data)


def generate(system: "System", asked: Sequence["Asked"]) -> list[np.ndarray]:
    """Refuse: this network looks at frames."""
    raise UsageError(
        "sprite-probe makes no clips, it reads them for the scores action, identity and the like; look at it with "
        '"vbench-ctl score REAL --real REAL --metrics action"'
    )
