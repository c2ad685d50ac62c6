"""Tennis (Menapace et al., CADDY, CVPR 2021): rallies of two broadcast matches at 256x96, cut out by published annotations.

Frame numbers count in the parts of an hour that the matches were split into without coding them again; such a part
begins on a key frame, so the numbers hold for these very encodings only.
"""

import csv
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import groupby, islice
from typing import Any, NamedTuple

import av
import numpy as np
from av.video.reformatter import Colorspace, VideoReformatter
from PIL import Image

from vbench_ctl import video
from vbench_ctl.archives import Archive, Member
from vbench_ctl.clips import Clip, Dropped
from vbench_ctl.errors import VbenchError
from vbench_ctl.shards import SHARD_BYTES

VERSION = 1
WIDTH, HEIGHT = 256, 96
LENGTH, STEP = 16, 5  # of a val or test clip: 16 frames, every fifth one
SOURCE_SIZE, SOURCE_RATE = (1920, 1080), 25
SEGMENT_SECONDS = 3600
SEGMENTS = {"djokovic_federer_wimbledon": 5, "nadal_kyrgios_wimbledon": 4}
THEIRS = {"train": "train", "val": "validation", "test": "test"}  # what the release calls each split
SPLITS = tuple(THEIRS)
EXPECTED = {"train": 313, "val": 175, "test": 206}
TRAIN_FRAMES = 59_178
COLUMNS = ("original_filename", "begin_frame", "end_frame", "top", "left", "bottom", "right")
PNG_SHARE = 0.6  # of the raw size


@dataclass(frozen=True)
class Options:
    pass


def variant(options: Options) -> str:
    """Name the store."""
    return f"{WIDTH}x{HEIGHT}"


def facts(options: Options) -> dict[str, str]:
    """Return what the manifest must say."""
    return {
        "attribution": "annotations of PlayableVideoGeneration, CC BY-NC 4.0; the footage belongs to its broadcasters",
        "resize": "cropped per rally, Pillow's bicubic",
        "pieces": f"val and test: {LENGTH} frames each, without one that would end on a rally's last frame, as released",
        "colours": "BT.601 whatever the video says, as OpenCV read it for the published data set",
        "rate": f"train at {SOURCE_RATE} fps (models take every {STEP}th frame), val and test at {SOURCE_RATE // STEP} fps",
    }


def expected(options: Options) -> dict[str, int]:
    """Return the published sizes of the splits."""
    return dict(EXPECTED)


def estimate(split: str, options: Options, limit: int | None = None) -> tuple[int, int]:
    """Return how many clips and bytes a split takes."""
    clips = len(range(EXPECTED[split])[:limit])
    frames = TRAIN_FRAMES * clips // EXPECTED["train"] if split == "train" else LENGTH * clips
    return clips, int(frames * WIDTH * HEIGHT * 3 * PNG_SHARE)


# The annotations


class Rally(NamedTuple):
    """One row of the annotations; frames count from the beginning of a part of the match."""

    number: int  # by name of the part and first frame
    match: str
    segment: int
    first: int
    last: int
    box: tuple[int, int, int, int]  # left, top, right, bottom


class Cut(NamedTuple):
    """The frames of one clip; none where a rally is too short for any."""

    rally: Rally
    number: int | None  # of the piece; train keeps rallies whole
    frames: range

    def clip_id(self, split: str) -> str:
        return f"{split}/{self.rally.number:05d}" + ("" if self.number is None else f"/{self.number:02d}")


class Shard(NamedTuple):
    """One work item: some clips, and the matches they lie in."""

    split: str
    cuts: tuple[Cut, ...]
    matches: tuple[tuple[str, Member], ...]


def shards(split: str, options: Options, limit: int | None, archive: Archive) -> list[Shard]:
    """Cut the clips of a split into work items."""
    rallies, cuts = cut_up(split, archive)
    matches = {match: _only(archive, rf"({match}\.\w+)") for match in SEGMENTS}
    for match, member in matches.items():
        _check(member, match, [rally for rally in rallies.values() if rally.match == match])
    groups: list[list[Cut]] = []
    room = 0
    for cut in cuts[:limit]:
        size = len(cut.frames) * WIDTH * HEIGHT * 3
        if not groups or size > room:
            groups.append([])
            room = SHARD_BYTES
        groups[-1].append(cut)
        room -= size
    return [Shard(split, tuple(group), tuple(matches.items())) for group in groups]


def cut_up(split: str, archive: Archive) -> tuple[dict[int, Rally], list[Cut]]:
    """Return all rallies by number, and the clips of a split in the order of splits.csv."""
    rallies = _rallies(_only(archive, r"(annotations\.csv)"))
    chosen = _chosen(_only(archive, r"(splits\.csv)"), THEIRS[split])
    if missing := [number for number in chosen if number not in rallies]:
        raise VbenchError(
            f"splits.csv: sequence {missing[0]} is not among the {len(rallies)} of annotations.csv; fetch both again"
        )
    return rallies, [cut for number in chosen for cut in cuts_of(rallies[number], split)]


def cuts_of(rally: Rally, split: str) -> list[Cut]:
    """Cut a rally into clips: whole for training, else into pieces of 16 frames at 5 fps.

    A piece that would end on the rally's last frame is left out, as in the release
    (willi-menapace/PlayableVideoGeneration:dataset/video.py compares start + 16 < length).
    """
    if split == "train":
        return [Cut(rally, None, range(rally.first, rally.last + 1))]
    frames = range(rally.first, rally.last + 1, STEP)
    starts = range(0, len(frames) - LENGTH, LENGTH)
    pieces = [Cut(rally, number, frames[start : start + LENGTH]) for number, start in enumerate(starts)]
    return pieces or [Cut(rally, None, range(0))]


def _rallies(member: Member) -> dict[int, Rally]:
    """Read annotations.csv; a rally's number is its place by name of the part, then by first frame."""
    found = sorted((_rally(row, member) for row in _table(member, COLUMNS)), key=lambda rally: rally[1:4])
    return {number: rally._replace(number=number) for number, rally in enumerate(found)}


def _rally(row: dict[str, str], member: Member) -> Rally:
    try:
        match, _, segment = row["original_filename"].removesuffix(".mp4").rpartition("_")
        first, last, *box = (int(row[name]) for name in ("begin_frame", "end_frame", "left", "top", "right", "bottom"))
        rally = Rally(-1, match, int(segment), first, last, (box[0], box[1], box[2], box[3]))
    except ValueError as error:
        raise VbenchError(f"{member.name}: {row} is no rally ({error}); fetch the file again") from error
    left, top, right, bottom = rally.box
    inside = 0 <= left < right <= SOURCE_SIZE[0] and 0 <= top < bottom <= SOURCE_SIZE[1]
    if match not in SEGMENTS or not 0 <= first <= last or not inside:
        raise VbenchError(f"{member.name}: {row} is no rally of the two matches; fetch the file again")
    return rally


def _chosen(member: Member, split: str) -> list[int]:
    try:
        return [int(row["sequence"]) for row in _table(member, ("sequence", "split")) if row["split"] == split]
    except ValueError as error:
        raise VbenchError(f"{member.name}: not a list of sequences ({error}); fetch the file again") from error


def _table(member: Member, columns: tuple[str, ...]) -> list[dict[str, str]]:
    reader = csv.DictReader(io.StringIO(member.text()), restval="")
    try:
        if lacking := [name for name in columns if name not in (reader.fieldnames or ())]:
            raise VbenchError(
                f"{member.name}: has no column {lacking[0]}, expected {', '.join(columns)}; fetch it again"
            )
        return list(reader)
    except csv.Error as error:
        raise VbenchError(f"{member.name}: not a readable CSV file ({error}); fetch it again") from error


def _only(archive: Archive, pattern: str) -> Member:
    return archive.only(pattern, ", ".join(["annotations.csv", "splits.csv", *(f"{match}.mp4" for match in SEGMENTS)]))


# The matches


class Times(NamedTuple):
    """When the frames of a video are shown, in ticks."""

    shown: np.ndarray  # sorted
    keys: np.ndarray  # those of key frames, sorted
    start: int  # where the file says it begins
    tick: Fraction  # seconds


@lru_cache(maxsize=4)
def _times(member: Member) -> Times:
    """Read the times of all frames from the packets, without decoding."""
    with _opened(member) as container:
        stream = container.streams.video[0]
        packets = [(packet.pts, packet.is_keyframe) for packet in container.demux(stream) if packet.size]
        start, tick = stream.start_time or 0, stream.time_base
    if not packets or any(pts is None for pts, _ in packets):
        raise VbenchError(f"{member.name}: it has no frame times, expected the MP4 of YouTube; fetch it again")
    return Times(
        np.array(sorted(pts for pts, _ in packets)), np.array(sorted(pts for pts, key in packets if key)), start, tick
    )


def segment_start(times: Times, segment: int) -> int:
    """Return the index of a part's first frame: the last key frame at or before its full hour.

    There a copy without decoding begins (PlayableVideoGeneration:dataset/acquisition/split_and_resize_video.py).
    """
    begin = times.start + segment * SEGMENT_SECONDS / times.tick
    before = times.keys[times.keys <= begin]
    return int(np.searchsorted(times.shown, before[-1] if len(before) else times.keys[0]))


def _check(member: Member, match: str, rallies: list[Rally]) -> None:
    """Refuse another encoding, rate, size or length than the annotations were made on."""
    with _opened(member) as container:
        stream = container.streams.video[0]
        found = f"{stream.codec_context.name} {stream.width}x{stream.height} at {float(stream.average_rate or 0):g} fps"
    expected = f"h264 {SOURCE_SIZE[0]}x{SOURCE_SIZE[1]} at {SOURCE_RATE} fps"
    if found != expected:
        raise VbenchError(
            f"{member.name}: it is {found}, expected {expected}, which YouTube calls format 137; fetch that one"
        )
    times = _times(member)
    frames, longest = len(times.shown), SEGMENTS[match] * SEGMENT_SECONDS * SOURCE_RATE
    needed = max((segment_start(times, rally.segment) + rally.last + 1 for rally in rallies), default=0)
    reaches = all(rally.segment * SEGMENT_SECONDS * SOURCE_RATE < frames for rally in rallies)
    if not reaches or not needed <= frames <= longest:
        raise VbenchError(
            f"{member.name}: it lasts {frames / SOURCE_RATE:.0f} s, expected {needed / SOURCE_RATE:.0f} to "
            f"{longest / SOURCE_RATE:.0f} s; it is cut short or another video, fetch it again"
        )


@contextmanager
def _opened(member: Member) -> Iterator[Any]:
    """Open a video in an archive for reading; what FFmpeg raises inside becomes one sentence."""
    try:
        with (
            member.open() as file,
            av.open(file, options={"format_whitelist": video.SAFE["format_whitelist"]}) as container,
        ):
            if not container.streams.video:
                raise VbenchError(f"{member.name}: it holds no video; fetch what YouTube calls format 137")
            yield container
    except av.error.FFmpegError as error:
        raise VbenchError(f"{member.name}: not a video that can be read ({error.strerror}); fetch it again") from error


# Converting


def clips(shard: Shard) -> Iterator[Clip | Dropped]:
    """Yield the clips of one work item; each rally is decoded once, up to a frame that is damaged."""
    matches = dict(shard.matches)
    for rally, cuts in groupby(shard.cuts, key=lambda cut: cut.rally):
        pieces = [(cut.clip_id(shard.split), cut.frames) for cut in cuts]
        found = _frames(matches[rally.match], rally, [index for _, frames in pieces for index in frames])
        reason = ""
        for name, wanted in pieces:
            try:
                frames = [] if reason else list(islice(found, len(wanted)))
            except VbenchError as error:
                reason = str(error)
            if not wanted:
                yield Dropped(name, _too_short(rally))
            elif reason:
                yield Dropped(name, reason)
            else:
                yield Clip(name, np.stack(frames), SOURCE_RATE / wanted.step)


def _too_short(rally: Rally) -> str:
    frames = len(range(rally.first, rally.last + 1, STEP))
    return f"it has {frames} frames at {SOURCE_RATE // STEP} fps, expected more than {LENGTH}"


def _frames(member: Member, rally: Rally, wanted: list[int]) -> Iterator[np.ndarray]:
    """Yield frames of a part of a match, cropped and resized, in ascending order."""
    if not wanted:
        return
    times = _times(member)
    shown = times.shown[segment_start(times, rally.segment) + np.array(wanted)]
    left = iter(shown.tolist())
    due = next(left)
    convert = VideoReformatter()
    with _opened(member) as container:
        stream = container.streams.video[0]
        container.seek(int(times.keys[times.keys <= due][-1]), stream=stream)
        for frame in container.decode(stream):
            if frame.pts > due or frame.is_corrupt:
                break
            if frame.pts == due:
                yield _small(frame, rally.box, convert)
                due = next(left, None)
                if due is None:
                    return
    raise VbenchError(
        f"{member.name}: the frame at {float(due * times.tick):.2f} s is damaged or missing; fetch it again"
    )


def _small(frame: Any, box: tuple[int, int, int, int], convert: VideoReformatter) -> np.ndarray:
    """Crop and resize a decoded frame as the release does (dataset/acquisition/convert_annotated_video_directory.py)."""
    whole = convert.reformat(
        frame, format="rgb24", src_colorspace=Colorspace.ITU601, interpolation=video.EXACT, threads=1
    ).to_ndarray()
    return np.asarray(Image.fromarray(whole).crop(box).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC))
