"""BAIR robot pushing at 64x64 (Ebert et al., CoRL 2017): 30 frames from a fixed camera, an action and the gripper's place each."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice, repeat
from typing import NamedTuple

import numpy as np

from vbench_ctl import tfrecord
from vbench_ctl.archives import Archive, Member
from vbench_ctl.clips import Clip, Dropped
from vbench_ctl.errors import VbenchError
from vbench_ctl.registry import option

VERSION = 1
SPLITS = ("train", "test")
FRAMES, SIZE = 30, 64
TRAIN, TEST, PER_FILE = 43_264, 256, 256
# alexlee-gk/video_prediction:data/download_and_preprocess_dataset.sh; cINN calls it eval
VALIDATION = "traj_256_to_511"
CLIP_BYTES = FRAMES * (SIZE * SIZE * 3 + 4 * (4 + 3))


@dataclass(frozen=True)
class Options:
    view: str = option("aux1", "Camera: the one of almost all papers, or the second one.", ("aux1", "main"))
    validation: str = option(
        "in-train",
        f"The 256 clips of {VALIDATION}: part of train, or apart as the split val, by custom.",
        ("in-train", "apart"),
    )


class Shard(NamedTuple):
    """The first records of one file."""

    options: Options
    split: str
    file: Member
    records: int


def variant(options: Options) -> str:
    """Name the store these options make."""
    name = {"aux1": "64", "main": "main64"}[options.view]
    return name if options.validation == "in-train" else f"{name}-val"


def splits(options: Options) -> tuple[str, ...]:
    """Return the splits that these options have."""
    return SPLITS if options.validation == "in-train" else ("train", "val", "test")


def facts(options: Options) -> dict[str, str]:
    """Return what the manifest must say about these options."""
    return {
        "attribution": "BAIR robot pushing, Ebert, Finn, Lee and Levine, CC BY 4.0",
        "tracks": "actions: the robot's command from this frame to the next; state: x, y, z of the end effector",
    }


def expected(options: Options) -> dict[str, int]:
    """Return the published size of each split."""
    apart = 0 if options.validation == "in-train" else PER_FILE
    return {"train": TRAIN - apart, "val": apart, "test": TEST}


def estimate(split: str, options: Options, limit: int | None = None) -> tuple[int, int]:
    """Return how many clips and bytes a split takes."""
    clips = len(range(expected(options)[split])[:limit])
    return clips, clips * CLIP_BYTES


def shards(split: str, options: Options, limit: int | None, archive: Archive) -> list[Shard]:
    """Make a work item of each TFRecord file, in order of the names as TFDS and SAVP have it."""
    found = archive.matching(r"(train|val|test)/(traj_\d+_to_\d+)\.tfrecords")
    work, left = [], limit
    for (folder, name), file in sorted(found.items(), key=lambda each: each[1].path.name):
        if _split_of(folder, name, options) == split:
            records = len(range(_announced(name))[:left])
            left = None if left is None else left - records
            work += [Shard(options, split, file, records)] if records else []
    if not work and expected(options)[split]:
        like = f"train/{VALIDATION}.tfrecords" if split == "val" else f"{split}/traj_0_to_255.tfrecords and the like"
        raise archive.lacking(f"softmotion30_44k/{like}")
    return work


def _split_of(folder: str, name: str, options: Options) -> str:
    """Return the split a file belongs to, also where somebody has moved the validation file into a folder val."""
    if folder == "test":
        return "test"
    return "val" if options.validation == "apart" and name == VALIDATION else "train"


def clips(shard: Shard) -> Iterator[Clip | Dropped]:
    """Yield the clips of one file."""
    stem = re.sub(r"\.tfrecords$", "", shard.file.path.name)
    missing = tfrecord.Damaged("nothing of it can be read: the file has ended or is damaged before it")
    with shard.file.open() as file:
        found = tfrecord.records(file)
        for index, record in enumerate(islice(chain(found, repeat(missing)), shard.records)):
            name = f"{shard.split}/{stem}/{index}"
            try:
                yield (
                    Dropped(name, record.reason) if isinstance(record, tfrecord.Damaged) else _clip(name, record, shard)
                )
            except VbenchError as error:
                yield Dropped(name, str(error))
        if shard.records == _announced(stem):  # or a limit ends it
            for index, _ in enumerate(found, shard.records):
                yield Dropped(f"{shard.split}/{stem}/{index}", "the file's name announces fewer records")


def _announced(stem: str) -> int:
    """Return how many records a file has by its name, traj_FIRST_to_LAST."""
    first, last = re.findall(r"\d+", stem)
    return int(last) + 1 - int(first)


def _clip(name: str, record: bytes, shard: Shard) -> Clip:
    example = tfrecord.Example(record)
    frames = _frames(example, f"image_{shard.options.view}/encoded")
    tracks = {"actions": _track(example, "action", 4), "state": _track(example, "endeffector_pos", 3)}
    return Clip(name, frames, None, tracks)


def _frames(example: tfrecord.Example, feature: str) -> np.ndarray:
    """Return the frames (30, 64, 64, 3); despite the name "encoded" they are bare RGB bytes."""
    pictures = [example.bytes(f"{t}/{feature}") for t in range(FRAMES)]
    for t, picture in enumerate(pictures):
        if len(picture) != SIZE * SIZE * 3:
            raise VbenchError(f"{t}/{feature} has {len(picture)} bytes, expected {SIZE}x{SIZE}x3")
    return np.frombuffer(b"".join(pictures), np.uint8).reshape(FRAMES, SIZE, SIZE, 3)


def _track(example: tfrecord.Example, feature: str, length: int) -> np.ndarray:
    """Return a float32 vector per frame (30, length)."""
    rows = [example.floats(f"{t}/{feature}") for t in range(FRAMES)]
    for t, row in enumerate(rows):
        if len(row) != length:
            raise VbenchError(f"{t}/{feature} has {len(row)} numbers, expected {length}")
    return np.stack(rows).astype(np.float32)
