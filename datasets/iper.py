"""iPER: people who turn in an A-pose or move freely, in several outfits."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from vbench_ctl import resize, video
from vbench_ctl.archives import Archive, Member
from vbench_ctl.clips import Clip, Dropped
from vbench_ctl.errors import VbenchError
from vbench_ctl.registry import check_size, option

VERSION = 1
LISTED = {"train": 138, "val": 26, "test": 42}  # entries of the cINN paper's lists, 206 videos in all
SPLITS = tuple(LISTED)
STORED = 256  # the cINN paper keeps frames of 256x256 and shrinks those
FRAMES = 1173  # of a video on average: 241,564 in all


@dataclass(frozen=True)
class Options:
    size: int = option(64, "Side of the square frames.")

    def __post_init__(self) -> None:
        check_size(self.size, STORED)


class Shard(NamedTuple):
    clip: str
    video: Member | None  # None: it is on the list and not in the archive
    size: int


def variant(options: Options) -> str:
    """Name the store these options make."""
    return str(options.size)


def facts(options: Options) -> dict[str, Any]:
    """Return what the manifest must say besides the options."""
    return {"geometry": f"bilinear without antialiasing to {STORED}x{STORED}, then to the stored size, as cINN does"}


def shards(split: str, options: Options, limit: int | None, archive: Archive) -> list[Shard]:
    """Return one work item per video on the cINN paper's list."""
    videos = {name: member for (name,), member in archive.matching(r"(\d{3}_\d+_\d+)\.mp4").items()}
    if not videos:
        raise archive.lacking("the videos 001_1_1.mp4 and so on of iPER_1024_video_release.zip")
    listed = archive.only(rf"(cinn-{split})\.txt", f"cinn-{split}.txt, the list of the cINN paper").text().split()
    names = list(dict.fromkeys(line.strip("/").replace("/", "_") for line in listed))[:limit]
    return [Shard(f"{split}/{name}", videos.get(name), options.size) for name in names]


def estimate(split: str, options: Options, limit: int | None = None) -> tuple[int, int]:
    """Return how many clips and bytes a split takes."""
    count = len(range(LISTED[split])[:limit])
    return count, count * FRAMES * options.size**2 * 3


def expected(options: Options) -> dict[str, int]:
    """Return the published sizes of the splits."""
    return dict(LISTED)


def clips(shard: Shard) -> Iterator[Clip | Dropped]:
    """Yield the clip of one work item; its track `class` is 1 for turning in an A-pose, 2 for moving freely."""
    if shard.video is None:
        yield Dropped(shard.clip, "it is on the list, and the archive has no such video")
        return
    try:
        with shard.video.on_disk() as path:
            fps = video.probe(path).fps
            frames = np.stack([_shrunk(frame, shard.size) for frame in video.frames(path)])
    except VbenchError as error:
        yield Dropped(shard.clip, str(error))
        return
    kind = int(shard.clip.rpartition("_")[2])
    yield Clip(shard.clip, frames, fps, {"class": np.full(len(frames), kind, np.int64)})


def _shrunk(frame: np.ndarray, size: int) -> np.ndarray:
    stored = resize.pictures(frame[None], (STORED, STORED), "torch_half_pixel")
    return resize.pictures(stored, (size, size), "torch_half_pixel")[0]
