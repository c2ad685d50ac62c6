"""AudioSet-Drums: people who play the drums, with a spectrogram slice per frame (the selection of Sound2Sight)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from vbench_ctl import pickles, resize, video
from vbench_ctl.archives import Archive, Member
from vbench_ctl.clips import Clip, Dropped
from vbench_ctl.errors import VbenchError
from vbench_ctl.registry import check_size, option

VERSION = 1
CLIPS = {"train": 6000, "test": 1000}  # about so many; no count is published
SPLITS = tuple(CLIPS)
FRAMES, FPS = 90, 30.0
STFT = (64, 16)  # frequencies and times of one frame's slice, 16lemoing/ccvs:data/base_dataset.py
PER_SHARD = 32
# CCVS's layout and that of TATS
VIDEO = r"(train|test)/(?:mp4|video)/(\d+)\.mp4"
SLICES = r"(train|test)/(?:stft_pickle|stft)/(\d+)\.(?:pickle|pkl)"


@dataclass(frozen=True)
class Options:
    size: int = option(128, "Side of the square frames; the videos have 96.")

    def __post_init__(self) -> None:
        check_size(self.size, 512)


class Shard(NamedTuple):
    clips: tuple[tuple[str, Member | None, Member | None], ...]  # id, video, spectrogram
    size: int


def variant(options: Options) -> str:
    """Name the store these options make."""
    return str(options.size)


def facts(options: Options) -> dict[str, Any]:
    """Return what the manifest must say besides the options."""
    return {
        "geometry": "the largest centre square, bilinear without antialiasing (CCVS)",
        "stft": f"a slice per frame, values in [0, 1], bilinear to {STFT[0]}x{STFT[1]}",
    }


def shards(split: str, options: Options, limit: int | None, archive: Archive) -> list[Shard]:
    """Cut a split into work items of some videos, in the order of their numbers."""
    videos = {int(number): member for (where, number), member in archive.matching(VIDEO).items() if where == split}
    if not videos:
        raise archive.lacking(f"{split}/mp4/1.mp4 and {split}/stft_pickle/1.pickle and so on")
    slices = {int(number): member for (where, number), member in archive.matching(SLICES).items() if where == split}
    numbers = sorted({*videos, *slices})[:limit]
    found = [(f"{split}/{number}", videos.get(number), slices.get(number)) for number in numbers]
    return [Shard(tuple(found[at : at + PER_SHARD]), options.size) for at in range(0, len(found), PER_SHARD)]


def estimate(split: str, options: Options, limit: int | None = None) -> tuple[int, int]:
    """Return how many clips and bytes a split takes."""
    count = len(range(CLIPS[split])[:limit])
    return count, count * FRAMES * (options.size**2 * 3 + STFT[0] * STFT[1] * 4)


def clips(shard: Shard) -> Iterator[Clip | Dropped]:
    """Yield the clips of one work item; a video without as many spectrogram slices as frames is dropped."""
    for clip_id, picture, sound in shard.clips:
        if picture is None or sound is None:
            yield Dropped(clip_id, f"it has no {'spectrogram' if picture else 'video'}")
            continue
        try:
            frames = _frames(picture, shard.size)
            slices = _slices(sound)
            if len(frames) < FRAMES or len(slices) < FRAMES:
                raise VbenchError(
                    f"it has {len(frames)} frames and {len(slices)} spectrogram slices, expected {FRAMES}"
                )
        except VbenchError as error:
            yield Dropped(clip_id, str(error))
            continue
        yield Clip(clip_id, frames[:FRAMES], FPS, {"stft": slices[:FRAMES]})


def _frames(member: Member, size: int) -> np.ndarray:
    with member.on_disk() as path:
        frames = np.stack(list(video.frames(path)))
    side = min(frames.shape[1:3])
    top, left = (frames.shape[1] - side) // 2, (frames.shape[2] - side) // 2
    return resize.pictures(frames[:, top : top + side, left : left + side], (size, size), "torch_half_pixel")


def _slices(member: Member) -> np.ndarray:
    """Return the spectrogram slices of all frames, float32 (T, 64, 16)."""
    import torch

    try:
        raw = np.asarray(pickles.load(member.read()), np.float32)
    except (TypeError, ValueError, VbenchError) as error:
        raise VbenchError(f"{member.name}: no array of numbers ({error})") from error
    if raw.ndim != 3 or not raw.size or not np.isfinite(raw).all() or raw.min() < 0 or raw.max() > 1:
        span = f" from {raw.min():.3g} to {raw.max():.3g}" if raw.size else ""
        raise VbenchError(f"{member.name}: an array {raw.shape}{span}, expected (frames, frequencies, times) in [0, 1]")
    return resize.resize(torch.from_numpy(raw), STFT, "torch_half_pixel").numpy()
