"""Clips that a dataset keeps as folders of numbered images."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vbench_ctl import resize, store, video
from vbench_ctl.archives import Archive, Member
from vbench_ctl.clips import Clip
from vbench_ctl.errors import VbenchError


@dataclass(frozen=True)
class FolderShard:
    """Some clips, each with its frames in order; no frames say that a clip of a list is not there."""

    clips: tuple[tuple[str, tuple[Member, ...]], ...]
    size: tuple[int, int]  # height, width
    mode: str  # of vbench_ctl.resize
    aspect: str = "stretch"
    fps: float | None = None


def numbered(archive: Archive, pattern: str, key: Sequence[str]) -> dict[tuple[str, ...], tuple[Member, ...]]:
    """Group the images whose name ends in `pattern` by its groups `key`, each clip's frames ordered by "number".

    Gaps in the numbers close; clips are sorted by name.
    """
    found: dict[tuple[str, ...], list[tuple[int, Member]]] = {}
    for match, member in archive.found(pattern):
        found.setdefault(tuple(match[name] for name in key), []).append((int(match["number"]), member))
    return {clip: tuple(member for _, member in sorted(found[clip], key=_number)) for clip in sorted(found)}


def _number(entry: tuple[int, Member]) -> tuple[int, str]:
    return entry[0], entry[1].name


def cut(
    clips: Mapping[str, tuple[Member, ...]],
    size: tuple[int, int],
    mode: str,
    aspect: str = "stretch",
    fps: float | None = None,
) -> list[FolderShard]:
    """Cut clips into work items of about store.SHARD_BYTES."""
    groups: list[list[tuple[str, tuple[Member, ...]]]] = []
    made = 0
    for clip_id, members in clips.items():
        made += len(members) * size[0] * size[1] * 3
        if not groups or made > store.SHARD_BYTES:
            groups.append([])
            made = len(members) * size[0] * size[1] * 3
        groups[-1].append((clip_id, members))
    return [FolderShard(tuple(group), size, mode, aspect, fps) for group in groups]


def clips_of_folders(shard: FolderShard) -> Iterator[Clip | store.Dropped]:
    """Yield the clips of a work item; one with a frame that cannot be read is dropped."""
    for clip_id, members in shard.clips:
        if not members:
            yield store.Dropped(clip_id, "it is on the list, and the archive has no frame of it")
            continue
        try:
            frames = np.stack([_frame(member, shard) for member in members])
        except VbenchError as error:
            yield store.Dropped(clip_id, str(error))
            continue
        yield Clip(clip_id, frames, shard.fps)


def _frame(member: Member, shard: FolderShard) -> np.ndarray:
    with member.open() as file:
        picture = video.image(file, member.name)
    return resize.pictures(picture[None], shard.size, shard.mode, shard.aspect)[0]
