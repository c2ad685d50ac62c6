"""Clip: the one word for a piece of video with what is known about it."""

from dataclasses import dataclass, field

import numpy as np

from vbench_ctl.errors import VbenchError


@dataclass(frozen=True)
class Clip:
    """uint8 RGB frames (T, H, W, 3), an id that is the same on every machine, and per-frame tracks.

    A track is an array of T entries under a name. The usual names are `actions`, `state`, `global_action`,
    `local_action`, `shift_fg`, `shift_bg`, `position`, `stft` and `masks` (T, H, W) uint8; others are kept as they are.
    """

    id: str
    frames: np.ndarray
    fps: float | None = None
    tracks: dict[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        frames = self.frames
        if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3:
            raise VbenchError(
                f"clip {self.id}: frames are {frames.dtype} {frames.shape}, expected uint8 (T, H, W, 3) in RGB order"
            )
        if 0 in frames.shape:
            raise VbenchError(f"clip {self.id}: it has no pixels, its shape is {frames.shape}")
        for name, track in self.tracks.items():
            if len(track) != len(frames):
                raise VbenchError(f"clip {self.id}: {len(track)} entries of {name} for {len(frames)} frames")

    def __len__(self) -> int:
        return len(self.frames)


@dataclass(frozen=True)
class Dropped:
    """A source clip that could not be used, and why."""

    id: str
    reason: str
