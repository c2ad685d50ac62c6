"""Landscape (Sky time-lapse of MDGAN): clouds moving over landscapes, cut from YouTube videos."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from vbench_ctl.archives import Archive
from vbench_ctl.clips import Clip, Dropped
from vbench_ctl.frame_folders import FolderShard, clips_of_folders, cut, numbered
from vbench_ctl.registry import check_size, option

VERSION = 1
FOLDERS = {"train": "sky_train", "eval": "sky_train", "test": "sky_test"}  # that each split is taken from
SPLITS = tuple(FOLDERS)
LISTED = {"train": 1074, "eval": 112, "test": 153}  # distinct entries of the cINN paper's lists; eval has 120 lines
# Frames are numbered at the end of their names; the cINN paper orders them by the last 11 characters.
FRAME = r"(?P<folder>sky_train|sky_test)/(?P<video>[^/]+)/(?P<clip>[^/]+)/(?:[^/]*?)(?P<number>\d{1,7})\.jpe?g"


@dataclass(frozen=True)
class Options:
    geometry: str = option(
        "squash",
        "The cINN paper's squashed squares of its listed clips, or centre crops of all clips.",
        ("squash", "crop"),
    )
    size: int = option(128, "Side of the square frames; 144 leaves room for the paper's random crops.")

    def __post_init__(self) -> None:
        check_size(self.size, 360)  # the height of the frames


def variant(options: Options) -> str:
    """Name the store these options make."""
    return f"{'crop' if options.geometry == 'crop' else ''}{options.size}"


def splits(options: Options) -> tuple[str, ...]:
    """Return the splits that these options have."""
    return ("train", "test") if options.geometry == "crop" else SPLITS


def facts(options: Options) -> dict[str, Any]:
    """Return what the manifest must say besides the options."""
    if options.geometry == "crop":
        return {"geometry": "the largest centre square, resized with an antialiased bilinear filter"}
    return {"geometry": "squashed to a square, bilinear without antialiasing (kornia 0.5 Resize)"}


def shards(split: str, options: Options, limit: int | None, archive: Archive) -> list[FolderShard]:
    """Cut a split into work items of whole clips; `crop` takes every clip."""
    found = numbered(archive, FRAME, ("folder", "video", "clip"))
    there = {f"{video}/{clip}": frames for (folder, video, clip), frames in found.items() if folder == FOLDERS[split]}
    if not there:
        raise archive.lacking(f"{FOLDERS[split]}/VIDEO/VIDEO_N/*.jpg")
    size = (options.size, options.size)
    if options.geometry == "crop":
        names, (mode, aspect) = list(there), ("pil_antialias", "shorter_side_crop")
    else:
        names, (mode, aspect) = _listed(archive, split), ("torch_half_pixel", "stretch")
    return cut({f"{split}/{name}": there.get(name, ()) for name in names[:limit]}, size, mode, aspect)


def _listed(archive: Archive, split: str) -> list[str]:
    """Return the distinct clips on the cINN paper's list, in its order."""
    text = archive.only(rf"(cinn-{split})\.txt", f"cinn-{split}.txt, the list of the cINN paper").text()
    return list(dict.fromkeys(re.sub(r"/+$", "", line.strip()) for line in text.splitlines() if line.strip()))


def estimate(split: str, options: Options, limit: int | None = None) -> tuple[int, int]:
    """Return how many clips and bytes a split takes; the crops hold all clips, about twice the frames."""
    count = LISTED[split] if options.geometry == "squash" else {"train": 2400, "test": 210}[split]
    count = len(range(count)[:limit])
    return count, count * 80 * options.size**2 * 3  # about 80 frames each, measured on nothing better than the paper


def expected(options: Options) -> dict[str, int]:
    """Return the published sizes of the splits."""
    return dict(LISTED) if options.geometry == "squash" else {}


def clips(shard: FolderShard) -> Iterator[Clip | Dropped]:
    """Yield the clips of one work item."""
    return clips_of_folders(shard)
