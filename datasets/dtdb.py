"""DTDB: dynamic textures (fire, clouds, vegetation, waterfall), the frames that the cINN paper took from the database."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from vbench_ctl.archives import Archive
from vbench_ctl.clips import Clip, Dropped
from vbench_ctl.frame_folders import FolderShard, clips_of_folders, cut, numbered
from vbench_ctl.registry import check_size, option

VERSION = 1
SPLITS = ("train", "eval")  # the paper tests on eval as well
TEXTURES = ("fire", "clouds", "vegetation", "waterfall")
FRAME = r"(?P<texture>{textures})/(?P<split>train|eval)/(?P<video>[^/]+)/frame(?P<number>\d+)\.(?:png|jpe?g)"
TYPICAL = {"train": (90, 250), "eval": (15, 250)}  # videos and frames of each, a rough guess: no count is published


@dataclass(frozen=True)
class Options:
    texture: str = option("fire", "Which texture; all of them are told apart by the track class.", (*TEXTURES, "all"))
    size: int = option(128, "Side of the square frames; 144 leaves room for the paper's random crops.")

    def __post_init__(self) -> None:
        check_size(self.size, 1024)


def variant(options: Options) -> str:
    """Name the store these options make."""
    return f"{options.texture}{options.size}"


def facts(options: Options) -> dict[str, Any]:
    """Return what the manifest must say besides the options."""
    return {"geometry": "squashed to a square, bilinear without antialiasing (kornia 0.5 Resize)"}


def shards(split: str, options: Options, limit: int | None, archive: Archive) -> list[FolderShard]:
    """Cut a split into work items of whole videos."""
    textures = "|".join(TEXTURES) if options.texture == "all" else options.texture
    videos = numbered(archive, FRAME.format(textures=textures), ("split", "texture", "video"))
    chosen = {_id(key, options): found for key, found in videos.items() if key[0] == split}
    if not chosen:
        raise archive.lacking(f"{textures}/{split}/VIDEO/frame0.jpg and so on")
    return cut(dict(list(chosen.items())[:limit]), (options.size, options.size), "torch_half_pixel")


def _id(key: tuple[str, ...], options: Options) -> str:
    split, texture, video = key
    return f"{split}/{texture}/{video}" if options.texture == "all" else f"{split}/{video}"


def estimate(split: str, options: Options, limit: int | None = None) -> tuple[int, int]:
    """Return how many clips and bytes a split takes."""
    videos, frames = TYPICAL[split]
    count = videos * (len(TEXTURES) if options.texture == "all" else 1)
    count = len(range(count)[:limit])
    return count, count * frames * options.size**2 * 3


def clips(shard: FolderShard) -> Iterator[Clip | Dropped]:
    """Yield the clips of one work item; where there are all textures, the track `class` is the place in TEXTURES."""
    for clip in clips_of_folders(shard):
        if isinstance(clip, Clip) and clip.id.count("/") == 2:
            clip.tracks["class"] = np.full(len(clip), TEXTURES.index(clip.id.split("/")[1]), np.int64)
        yield clip
