"""Clips that a dataset keeps as folders of numbered images."""

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from vbench_ctl import resize, shards, video
from vbench_ctl.archives import Archive, Member
from vbench_ctl.clips import Clip, Dropped
from vbench_ctl.errors import VbenchError

# The frames of a clip in order, or why they have none. No frames say that a clip of a list is not there.
Frames = tuple[Member, ...] | str


@dataclass(frozen=True)
class FolderShard:
    """Some clips, each with its frames."""

    clips: tuple[tuple[str, Frames], ...]
    size: tuple[int, int]  # height, width
    mode: str  # of vbench_ctl.resize
    aspect: str = "stretch"
    fps: float | None = None


def numbered(archive: Archive, pattern: str, key: Sequence[str]) -> dict[tuple[str, ...], Frames]:
    """Group the images whose name ends in `pattern` by its groups `key`, each clip's frames ordered by "number".

    Gaps in the numbers close; clips are sorted by name. Of two images with one number nobody knows which is meant.
    """
    found: dict[tuple[str, ...], list[tuple[int, Member]]] = {}
    for match, member in archive.found(pattern):
        found.setdefault(tuple(match[name] for name in key), []).append((int(match["number"]), member))
    return {clip: _in_order(found[clip]) for clip in sorted(found)}


def _in_order(images: list[tuple[int, Member]]) -> Frames:
    images = sorted(images, key=_number)
    for (number, one), (following, other) in pairwise(images):
        if number == following:
            return f"{one.name} and {other.name} are both frame {number}; take one of them away"
    return tuple(member for _, member in images)


def _number(entry: tuple[int, Member]) -> tuple[int, str]:
    return entry[0], entry[1].name


def cut(
    clips: Mapping[str, Frames],
    size: tuple[int, int],
    mode: str,
    aspect: str = "stretch",
    fps: float | None = None,
) -> list[FolderShard]:
    """Cut clips into work items of about shards.SHARD_BYTES."""

    def needed(clip: tuple[str, Frames]) -> int:
        return 0 if isinstance(clip[1], str) else len(clip[1]) * size[0] * size[1] * 3

    groups = shards.grouped(clips.items(), needed)
    return [FolderShard(tuple(group), size, mode, aspect, fps) for group in groups]


def clips_of_folders(shard: FolderShard) -> Iterator[Clip | Dropped]:
    """Yield the clips of a work item; one with a frame that cannot be read is dropped."""
    for clip_id, members in shard.clips:
        members = members or "it is on the list, and the archive has no frame of it"
        if isinstance(members, str):
            yield Dropped(clip_id, members)
            continue
        try:
            frames = np.stack([_frame(member, shard) for member in members])
        except VbenchError as error:
            yield Dropped(clip_id, str(error))
            continue
        yield Clip(clip_id, frames, shard.fps)


def _frame(member: Member, shard: FolderShard) -> np.ndarray:
    picture = video.image(io.BytesIO(member.read()), member.name)
    return resize.pictures(picture[None], shard.size, shard.mode, shard.aspect)[0]
