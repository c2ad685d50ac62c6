"""What a G3AN recipe may set. Defaults are the released values (wyhsirius/g3an-project:cfg.py)."""

from dataclasses import dataclass, field
from typing import Literal

from vbench_ctl.errors import UsageError

FRAMES = 16  # of a training window: what the video discriminator reduces to one number
SIDES = (64, 128)


@dataclass(frozen=True)
class Settings:
    """Sizes and variants of the generator and its two discriminators."""

    # Generator
    appearance: int = 128  # numbers in the code of what is seen
    motion: int = 10  # numbers in the code of how it moves
    width: int = 64  # channels of the last 64-pixel module
    mode: Literal["1p2d", "2p1d", "3d"] = "1p2d"  # video convolutions: time then space, space then time, both at once
    attention: bool = True  # the release trains without it unless told, and samples with it
    # The release takes the attention's output for an array of another order; its checkpoints need that again.
    attention_layout: Literal["fixed", "reference"] = "fixed"

    # Not in the original: the generator and the video discriminator are told tracks of the clip, each by its number of
    # classes, or 0 for a track of vectors.
    controls: dict[str, int] = field(default_factory=dict)
    control_code: int = 32  # numbers that join the motion code for them

    # Training
    discriminator_width: int = 64
    generator_rate: float = 2e-4
    discriminator_rate: float = 2e-4

    def __post_init__(self) -> None:
        for name in ("appearance", "motion", "width", "control_code", "discriminator_width"):
            if getattr(self, name) < 1:
                raise UsageError(f"g3an: {name} is {getattr(self, name)}, expected at least 1; change [model] {name}")
        for name in ("generator_rate", "discriminator_rate"):
            if getattr(self, name) <= 0:
                raise UsageError(f"g3an: {name} is {getattr(self, name)}, expected above 0; change [model] {name}")
        if self.attention and self.width < 2:
            raise UsageError("g3an: attention needs a width of at least 2; change [model] width or attention")
        for name, classes in self.controls.items():
            if classes < 0:
                raise UsageError(f"g3an: controls.{name} is {classes}, expected a number of classes or 0 for vectors")


def longer(frames: int) -> int:
    """Return the length of the shortest clip that can be made and has so many frames."""
    return max(16, -(-frames // 4) * 4)


def motion_steps(frames: int) -> int:
    """Return how many steps a motion code has for a clip of 16, 20, 24 ... frames."""
    steps, rest = divmod(frames - 12, 4)
    if rest or steps < 1:
        shorter, longer = max(16, frames // 4 * 4), max(16, (frames // 4 + 1) * 4)
        near = " or ".join(map(str, sorted({shorter, longer})))
        raise UsageError(f"g3an: makes clips of 16, 20, 24 or any 4 L + 12 frames, not of {frames}; ask for {near}")
    return steps
