"""Clip: the one word for a piece of video with what is known about it."""

from dataclasses import dataclass, field
from typing import Any

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
        if not isinstance(self.id, str):
            raise VbenchError(f"clip {self.id!r:.50}: its id is {_kind(self.id)}, expected text such as test/17")
        frames = self.frames
        if not isinstance(frames, np.ndarray) or frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3:
            raise VbenchError(f"clip {self.id}: frames are {_kind(frames)}, expected uint8 (T, H, W, 3) in RGB order")
        if 0 in frames.shape:
            raise VbenchError(f"clip {self.id}: it has no pixels, its shape is {frames.shape}")
        if not isinstance(self.tracks, dict):
            raise VbenchError(f"clip {self.id}: its tracks are {_kind(self.tracks)}, expected a dict of arrays by name")
        for name, track in self.tracks.items():
            if not isinstance(track, np.ndarray) or track.ndim == 0:
                raise VbenchError(
                    f"clip {self.id}: its {name} are {_kind(track)}, expected an array with an entry per frame"
                )
            if len(track) != len(frames):
                raise VbenchError(f"clip {self.id}: {len(track)} entries of {name} for {len(frames)} frames")

    def __len__(self) -> int:
        return len(self.frames)


@dataclass(frozen=True)
class Dropped:
    """A source clip that could not be used, and why."""

    id: str
    reason: str

    def __post_init__(self) -> None:
        if not isinstance(self.id, str) or not isinstance(self.reason, str):
            raise VbenchError(
                f"a clip was dropped with id {self.id!r:.50} and reason {self.reason!r:.50}, expected two texts"
            )


def _kind(found: Any) -> str:
    """Say what something is that should be an array or a text."""
    shape, kind = getattr(found, "shape", None), type(found).__name__
    return f"{getattr(found, 'dtype', kind)} {shape}" if shape is not None else kind
