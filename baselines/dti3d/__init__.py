"""DTI3D: an I3D that is trained to tell motions apart, whose features DTFVD compares; it makes no clips.

Dorkenwald et al., CVPR 2021, train it on the classes of DTDB; here on the labels of any store, so that there is a
Frechet distance for data that the published network has not seen: "dtfvd-<sha8>", after the hash of its weights.
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

TITLE = "DTI3D"
CONTROL = "none"
CONTROLS = ()  # it makes no clips
STAGES = ("",)


@dataclass(frozen=True)
class Settings:
    """What a DTI3D recipe may set. How the published network was trained is not recorded: rates and sizes are ours."""

    label: str = "class"  # the track that tells the motion of each frame, a whole number from 0
    classes: int = 18  # of DTDB by dynamics
    size: int = 224  # side that frames are resized to; DTFVD always looks at 224
    learning_rate: float = 1e-3
    weight_decay: float = 1e-5
    rate_steps: tuple[int, ...] = ()  # where the rate falls to a tenth
    smoothing: float = 0.0  # of the labels

    def __post_init__(self) -> None:
        if self.classes < 2:
            raise UsageError(f"dti3d: classes is {self.classes}, expected at least 2; change [model] classes")
        if self.size < 32:
            raise UsageError(
                f"dti3d: size is {self.size}, expected at least 32 for its five halvings; change [model] size"
            )


def build(settings: Settings, data: "DataFacts", stage: str, earlier: dict[str, dict[str, "Tensor"]]) -> "System":
    """Return the system to train."""
    from vbench_ctl.baselines.dti3d.classifier import Classifier

    return Classifier(settings, data)


def generate(system: "System", asked: Sequence["Asked"]) -> list[np.ndarray]:
    """Refuse: this network looks at clips."""
    raise UsageError(
        "dti3d makes no clips, DTFVD compares what it sees in them; take its weights to the scores with "
        '"vbench-ctl weights add dti3d-16 RUN/checkpoints/step-NUMBER.pt", and score by the name that it gets'
    )
