"""Presets: all that a release does to clips before and while it scores them, in one word; data, in presets.toml."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from vbench_ctl import files
from vbench_ctl.errors import UsageError, unknown
from vbench_ctl.protocols import Protocol

_DATA = Path(__file__).with_suffix(".toml")


@dataclass(frozen=True)
class Coding:
    """H.264 mp4 of so many bits and frames a second."""

    bit_rate: int
    fps: int

    def __str__(self) -> str:
        return f"mp4-{self.bit_rate // 1000}k-{self.fps}fps"

    def through(self, clip: np.ndarray) -> np.ndarray:
        """Return a clip (T, H, W, 3) as it comes out of such a file."""
        from vbench_ctl import video  # brings PyAV, for which shell completion must not wait

        with files.Scratch() as folder:
            path = Path(folder) / "clip.mp4"
            video.write(path, clip, self.fps, bit_rate=self.bit_rate)
            return video.read(path).frames


@dataclass(frozen=True)
class Preset:
    """How one release scores; `besides` are its metrics that are computed where they are asked for."""

    name: str
    metrics: tuple[str, ...]
    besides: tuple[str, ...]
    groups_of: int  # of set metrics, where no protocol says it
    bit_rate: int
    fps: int
    fps_of: Mapping[str, int]  # of data sets for which it has another rate

    def chosen(self, tokens: Sequence[str], protocol: Protocol | None) -> list[str]:
        """Return the metrics to compute: those asked for, else the release's own and what it has of the protocol's."""
        known = (*self.metrics, *self.besides)
        if wrong := [token for token in tokens if token.partition("@")[0] not in known]:
            raise UsageError(
                f"--preset {self.name} computes {', '.join(known)} and no {wrong[0]}; ask for these, or leave --preset away"
            )
        asked = protocol.metrics if protocol else ()
        return [*tokens] or [*self.metrics, *(token for token in self.besides if token in asked)]

    def coding(self, dataset: str) -> Coding:
        """Return what clips of a data set go through."""
        return Coding(self.bit_rate, self.fps_of.get(dataset, self.fps))


@cache
def load_all() -> dict[str, Preset]:
    """Return every preset by name."""
    tables = tomllib.loads(_DATA.read_text("utf-8"))
    for table in tables.values():
        table |= {key: tuple(table[key]) for key in ("metrics", "besides")}
    return {name: Preset(name, **table) for name, table in tables.items()}


def load(name: str) -> Preset:
    """Return one preset; an unknown name raises with the nearest."""
    if name not in load_all():
        raise unknown("preset", name, load_all())
    return load_all()[name]
