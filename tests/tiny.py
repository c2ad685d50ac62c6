"""Tiny stores, protocols and outputs for tests."""

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vbench_ctl import building, protocols, store, video
from vbench_ctl.clips import Clip
from vbench_ctl.sources import ArraySource

LENGTHS = (1, 7, 8, 9, 90)
PROTOCOL = """
["tiny-c2-p4@1"]
title = "tiny"
dataset = "tiny"
variant = "8x6"
split = "test"
select = { window = "first" }
context = 2
predict = 4
metrics = ["psnr", "ssim-glass", "mse", "flicker"]
metric_frames = { psnr = "predicted" }
source = "here"
status = "verified"
"""


class Item(NamedTuple):
    """A work item: clips `first`, `first` + 1, ... of a split with these lengths."""

    split: str
    first: int
    lengths: tuple[int, ...]
    size: tuple[int, int] = (6, 8)
    tracks: bool = True


def clip(split: str, index: int, length: int, size: tuple[int, int] = (6, 8), tracks: bool = True) -> Clip:
    """Make a noise clip that depends on split and index alone, with tracks of several types and shapes."""
    rng = np.random.default_rng([len(split), index])
    frames = rng.integers(256, size=(length, *size, 3), dtype=np.uint8)
    known: dict[str, np.ndarray] = {
        "actions": rng.random((length, 4)).astype(np.float32),
        "state": rng.random((length, 2, 3)),
        "global_action": rng.integers(-9, 9, length),
        "dones": rng.random(length) < 0.5,
        "nothing": np.zeros((length, 0), np.int16),
        "masks": rng.integers(3, size=(length, *size), dtype=np.uint8),
    }
    return Clip(f"{split}/clip_{index}", frames, 10.0, known if tracks else {})


def clips(item: Item) -> Iterator[Clip]:
    for index, length in enumerate(item.lengths, item.first):
        yield clip(item.split, index, length, item.size, item.tracks)


def work(split: str, lengths: tuple[int, ...] = LENGTHS, per_shard: int = 2, **how: Any) -> list[Item]:
    return [Item(split, at, lengths[at : at + per_shard], **how) for at in range(0, len(lengths), per_shard)]


def recipe(*, encoding: str | None = None, make: Any = clips, **splits: list[Any]) -> building.Recipe:
    return building.Recipe("tiny", "8x6", 1, splits or {"test": work("test")}, make, {}, {}, encoding)


def built(folder: Path, **how: Any) -> store.Store:
    building.build(folder, recipe(**how))
    return store.Store(folder, "test")


def protocol(**changes: Any) -> protocols.Protocol:
    """Return the tiny protocol: 2 given frames, 4 to predict; texts and numbers may be changed."""
    (parsed,) = protocols.parse(PROTOCOL).values()
    return replace(parsed, **changes)


def write_outputs(folder: Path, outputs: dict[str, np.ndarray]) -> Path:
    """Write clips by id as lossless videos."""
    for clip_id, frames in outputs.items():
        video.write(folder / f"{clip_id}.mkv", frames)
    return folder


def elsewhere(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call an importable function in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def double(number: int) -> int:
    return 2 * number


# Scores of sets


class Toy:
    """A network whose features are mean colours; it counts the clips it sees."""

    def __init__(self) -> None:
        self.seen = 0

    def features(self, clips: np.ndarray, **options: object) -> np.ndarray:
        self.seen += len(clips)
        return clips.reshape(len(clips), -1, 3).mean(axis=1, dtype=np.float64).astype(np.float32)


def noise(count: int, seed: int, frames: int = 6, size: tuple[int, int] = (6, 8)) -> np.ndarray:
    return np.random.default_rng(seed).integers(256, size=(count, frames, *size, 3), dtype=np.uint8)


def colours(clips: np.ndarray) -> np.ndarray:
    return clips.reshape(len(clips), -1, 3).mean(axis=1)


class Named(ArraySource):
    """Clips of an array under given names."""

    def __init__(self, clips: dict[str, np.ndarray]):
        super().__init__(list(clips.values()))
        self.ids = list(clips)

    def length(self, clip_id: str) -> int:
        return len(self.clips[self.ids.index(clip_id)])

    def frames(self, clip_id: str, start: int = 0, stop: int | None = None, step: int = 1) -> np.ndarray:
        return self.clips[self.ids.index(clip_id)][start:stop:step]
