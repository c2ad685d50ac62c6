"""Kinetics-600 (Carreira et al., arXiv 1808.01340): ten-second clips of human actions, made small without coding them again.

From the CVDF copy, one tar at a time (fetched, converted, deleted), from YouTube, or from tars and folders of videos.
"""

import csv
import io
import re
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from itertools import groupby, islice
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple
from urllib.parse import quote, unquote, urlsplit

import av
import numpy as np
from av.filter import Graph
from av.video.reformatter import Interpolation, VideoReformatter

from vbench_ctl import acquire, archives, files, video
from vbench_ctl.archives import Archive, Member
from vbench_ctl.clips import Clip, Dropped
from vbench_ctl.errors import UsageError, VbenchError, of_the_system
from vbench_ctl.registry import option
from vbench_ctl.shards import RAW_PIXELS, SHARD_BYTES

VERSION = 2
# How many clips there are, roughly: activitynet/ActivityNet issue 28. Some are gone since; MAGVIT had 384,000 and 29,000.
CLIPS = {"train": 392_000, "val": 30_000, "test": 60_000}
SPLITS = tuple(CLIPS)
REPEATS = True  # no tar knows what is in the others
FRAMES = 250  # of a typical clip: 10 seconds
CLIPS_PER_TAR = 500  # at least, in most: train has a tar per class, val and test are cut into parts
YOUTUBE_FORMAT = "best[ext=mp4][height<=480]/best[height<=480]/best"  # more lines would be thrown away
# What yt-dlp says about a video begins with its id; all else is trouble of this machine or the way to YouTube, and so is
# what passes: a server that is down or asks for patience, and what yt-dlp calls a fault of its own.
GONE = re.compile(r"\[youtube\] [\w-]{11}: |is not offered in format")
PASSING = re.compile(
    r"HTTP Error|unable to download|timed out|connection|too many requests|not a bot|captcha|try again later|reloaded|"
    r"please report this issue",
    re.IGNORECASE,
)
VIEWS = 3  # square views of "short128": MAGVIT scores three crops of each clip (arXiv 2212.05199, B.3)
PNG_SHARE = 0.6  # of the raw size, of small natural pictures
# Frames that are decoded before they are shrunk together: by turns, each work drives the other out of the processor's cache.
BATCH = 16
# Each pixel is the mean of the area it covers.
FILTER = Interpolation.AREA | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT | Interpolation.BITEXACT
NAMES = {"valid": "val", "validate": "val", "validation": "val"}  # that splits go by
TARS = (".tar", ".tar.gz", ".tgz")
ANNOTATIONS = "kinetics600.tar.gz"  # the official ones, no videos
VIDEOS = r"\.(?i:mp4|mkv|webm|avi)"
STEM = re.compile(r"(?<![\w-])([\w-]{11})_(\d{6})_(\d{6})(?!\d)")  # of a clip file: YouTube id, start, end in seconds


@dataclass(frozen=True)
class Options:
    size: str = option("64", 'Side of the centre square, or "short128": left, centre and right square side by side.')
    frames: int = option(0, "Frames kept of each clip, from its beginning; 0 keeps all.")
    source: str = option("cvdf", "The frozen copy of CVDF, or what is left on YouTube.", ("cvdf", "youtube"))

    def __post_init__(self) -> None:
        if self.size != "short128" and not (self.size.isdecimal() and 16 <= int(self.size) <= 512):
            raise UsageError(f'--size {self.size}: expected a number from 16 to 512, or "short128"')
        if self.frames < 0:
            raise UsageError(f"--frames {self.frames}: it must be at least 1, or 0 for all")

    @property
    def side(self) -> int:
        return int(self.size.removeprefix("short"))

    @property
    def views(self) -> int:
        return VIEWS if self.size.startswith("short") else 1


def variant(options: Options) -> str:
    """Name the store these options make."""
    parts = [options.size if options.views > 1 else str(options.side)]
    parts += [f"frames{options.frames}"] if options.frames else []
    parts += [options.source] if options.source != "cvdf" else []
    return "-".join(parts)


def facts(options: Options) -> dict[str, str]:
    """Return what the manifest must say about these options."""
    return {
        "attribution": "Kinetics-600, annotations CC BY 4.0; the videos belong to those who put them on YouTube",
        "geometry": f"{options.views} largest square(s) along the longer side, {options.side} pixels each",
        "resize": "the mean of the area that a pixel covers (libswscale), colours as the video is tagged, else BT.601",
        "tracks": "label: class number, the same in all splits: in alphabetical order in the official annotations, "
        "else in all lists there are; -1 where it is unknown",
    }


def estimate(split: str, options: Options, limit: int | None = None) -> tuple[int, int]:
    """Return how many clips and bytes a split takes, roughly: nobody has all of them any more."""
    clips = len(range(CLIPS[split])[:limit])
    return clips, clips * _clip_bytes(options)


def _clip_bytes(options: Options) -> int:
    pixels = options.views * options.side**2
    share = 1 if pixels <= RAW_PIXELS else PNG_SHARE
    return int((options.frames or FRAMES) * pixels * 3 * share)


# What there is to convert


class Source(NamedTuple):
    """A clip in a file or on YouTube, or a tar of clips; where it lies or will lie decides nothing."""

    name: str
    address: str = ""  # where it has to be fetched from
    member: Member | None = None

    @property
    def is_tar(self) -> bool:
        return self.name.lower().endswith(TARS)


@dataclass(frozen=True)
class Shard:
    """One work item: some videos, or one tar with the `limit` first videos in it."""

    options: Options
    split: str
    sources: tuple[Source, ...]
    limit: int | None
    annotations: tuple[Member, ...]  # of the split
    classes: tuple[Member, ...]  # of all splits: what the classes are numbered by
    archive: Archive = field(repr=False)  # where files are kept for a while, and how YouTube is asked


def shards(split: str, options: Options, limit: int | None, archive: Archive) -> list[Shard]:
    """Make a work item of each tar, and of each 256 MB of single videos."""
    if options.source != "youtube" and (archive.cookies or archive.rate):
        raise UsageError("--cookies and --rate are for YouTube; add --source youtube, or leave them out")
    annotations, classes, videos, lists = _sorted_out(split, archive)
    if not videos:
        videos = _on_youtube(split, annotations) if options.source == "youtube" else _on_cvdf(split, lists)
    if not videos:
        what = "an annotation file such as test.csv" if options.source == "youtube" else f"k600_{split}_path.txt"
        raise archive.lacking(f"{split}/CLASS/ID_START_END.mp4, {split}/CLASS.tar.gz or {what}")
    if not classes:
        print(
            f"kinetics600: nothing tells the classes, so the label of every clip of {split} will be -1; stop and give "
            f"{ANNOTATIONS} with --archive as well ('vbench-ctl list datasets kinetics600' says where it is) to have them",
            file=sys.stderr,
        )
    tars = [source for source in videos if source.is_tar]
    single = [source for source in videos if not source.is_tar][:limit]
    per_shard = max(1, SHARD_BYTES // _clip_bytes(options))
    groups: list[tuple[tuple[Source, ...], int | None]]
    groups = [(tuple(single[at : at + per_shard]), None) for at in range(0, len(single), per_shard)]
    groups += [((tar,), share) for tar, share in _shared(tars, None if limit is None else limit - len(single))]
    handed = Archive((), archive.root, cookies=archive.cookies, rate=archive.rate)
    return [Shard(options, split, sources, share, annotations, classes, handed) for sources, share in groups]


def _shared(tars: list[Source], limit: int | None) -> list[tuple[Source, int | None]]:
    """Say how many clips to take of each tar; a limit is spread over no more tars than it takes."""
    if limit is None:
        return [(tar, None) for tar in tars]
    chosen = tars[: -(-limit // CLIPS_PER_TAR)]
    shares = [limit * (at + 1) // len(chosen) - limit * at // len(chosen) for at in range(len(chosen))]
    return list(zip(chosen, shares, strict=True))


def _sorted_out(
    split: str, archive: Archive
) -> tuple[tuple[Member, ...], tuple[Member, ...], list[Source], list[Member]]:
    """Return the annotations of a split, those that number the classes, the split's videos and its lists of addresses."""
    annotations, videos, lists = [], [], []
    official: list[Member] = []
    others: list[Member] = []
    for root, member in _files(archive):
        name = member.path.name.lower()
        told = [NAMES.get(part.lower(), part.lower()) for part in (root, *member.path.parts[:-1])]
        place = next((part for part in reversed(told) if part in SPLITS), None)
        if found := re.fullmatch(r"k600_(train|val|test)_path\.txt", name):
            lists += [member] if found[1] == split else []
        elif found := re.fullmatch(r"(?:kinetics[-_]?600[-_]?)?(train|test|val\w*)\.(csv|txt)", name):
            annotations += [member] if NAMES.get(found[1], found[1]) == split else []
            (official if root == ANNOTATIONS else others).append(member)
        elif name.endswith(TARS) or re.search(rf"{VIDEOS}$", name):
            if place == split:
                videos.append(Source(member.name, member=member))
            elif place is None:
                raise VbenchError(
                    f"{member.place}: whether {member.name} is of {', '.join(SPLITS)} cannot be told; "
                    "put the videos of each split into a folder of that name"
                )
    return tuple(annotations), tuple(official or others), videos, lists


def _files(archive: Archive) -> Iterator[tuple[str, Member]]:
    """Yield (name of the folder or archive it is in, file); tars of videos are left as they are."""
    for path in archive.paths:
        if path.name.lower().endswith(TARS) and path.name != ANNOTATIONS:
            yield path.parent.name, Member(path.name, path.stat().st_size, path)
            continue
        for member in archives.members(path, archive.root):
            if member.place.name == ANNOTATIONS and path.is_dir():
                yield from ((ANNOTATIONS, each) for each in archives.members(member.place, archive.root))
            else:
                yield path.name, member


def _on_cvdf(split: str, lists: list[Member]) -> list[Source]:
    """Read the tars' addresses, one a line, as they are or in quotes, with blanks and quotes inside."""
    lines = [line.strip().strip('"').strip() for member in lists for line in member.text().splitlines()]
    addresses = dict.fromkeys(quoted(line) for line in lines if line and not line.startswith("#"))
    for address in addresses:
        if urlsplit(address).scheme not in ("http", "https") or not address.lower().endswith(TARS):
            raise VbenchError(f'{lists[0].name}: "{address}" is no address of a tar; fetch the list again')
    return [Source(f"{split}/{unquote(address.rpartition('/')[2])}", address) for address in addresses]


def quoted(address: str) -> str:
    """Percent-encode an address; one that is encoded already stays."""
    return quote(address, safe="/:,()%+&=?~")


def _on_youtube(split: str, annotations: Sequence[Member]) -> list[Source]:
    """List the clips to fetch from YouTube, each once."""
    listed = dict.fromkeys(key for key in _labels(tuple(annotations)) if key[1] is not None)
    return [Source(f"{split}/{_stem(key)}.mp4", f"youtube:{key[0]}") for key in listed]


# Annotations. What the lists of CVDF look like is not recorded anywhere, so they are read by what is in a line.

Key = tuple[str, Any, Any]  # YouTube id, start and end in seconds, or None where a list has only ids


def parse(text: str, name: str) -> dict[Key, str]:
    """Return the class of each clip in a list: a CSV with or without a header, or lines with a path, an id and a class."""
    rows = [line for line in text.splitlines() if line.strip()]
    try:
        head = [word.strip() for word in next(csv.reader(rows[:1]), [])]
        if "youtube_id" in head:
            table = csv.DictReader(io.StringIO(text), skipinitialspace=True)
            found = [_row(row) for row in table]
        else:
            found = [_line(line) for line in rows]
    except csv.Error as error:
        raise VbenchError(f"{name}: not a list of clips ({error}); fetch the list again") from error
    clips = {key: label.replace("_", " ").strip('" ').lower() for key, label in filter(None, found)}
    if rows and not clips:
        raise VbenchError(f'{name}: no line names a YouTube clip, the first is "{rows[0][:60]}"; fetch the list again')
    return clips


def _row(row: dict[str, Any]) -> tuple[Key, str] | None:
    name = (row.get("youtube_id") or "").strip()
    times = _times([name, *(row.get(column) or "" for column in ("time_start", "time_end"))], 0)
    return ((name, *(times or (None, None))), row.get("label") or "") if re.fullmatch(r"[\w-]{11}", name) else None


def _line(line: str) -> tuple[Key, str] | None:
    words = [word.strip() for word in next(csv.reader([line], skipinitialspace=True))]
    if found := STEM.search(line):
        folder = re.search(r"([^/,]+)/$", line[: found.start()])
        words = [re.sub(rf"\S*{re.escape(found[0])}(?:{VIDEOS})?", "", word) for word in words]
        return (found[1], int(found[2]), int(found[3])), folder[1] if folder else _class_in(words)
    if len(words) == 1:
        words = re.split(r"\t", line) if "\t" in line else line.split()
    at = _id_at(words)
    if at is None:
        return None
    times = _times(words, at)
    rest = words[:at] + words[at + (3 if times else 1) :]
    return (words[at], *(times or (None, None))), _class_in(rest)


def _id_at(words: Sequence[str]) -> int | None:
    """Find the word that is a YouTube id: "tobogganing" has eleven letters as well, but no times behind it."""
    fit = [at for at, word in enumerate(words) if re.fullmatch(r"[\w-]{11}", word)]
    timed = [at for at in fit if _times(words, at)]
    mixed = [at for at in fit if re.search(r"[A-Z\d_-]", words[at])]
    return next(iter(timed or mixed or fit), None)


def _times(words: Sequence[str], at: int) -> tuple[int, int] | None:
    """Return the two numbers behind a word, if there are two."""
    begin, end = (_seconds(word) for word in (*words[at + 1 : at + 3], "", "")[:2])
    return None if begin is None or end is None else (begin, end)


def _class_in(words: Iterable[str]) -> str:
    """Return what is left of a line when numbers and names of splits are taken away."""
    return " ".join(word for word in words if re.search("[a-z]", word.lower()) and NAMES.get(word, word) not in SPLITS)


def _seconds(word: str) -> int | None:
    with suppress(ValueError, OverflowError):
        return int(float(word))
    return None


@lru_cache(maxsize=4)
def _labels(annotations: tuple[Member, ...]) -> dict[Key, str]:
    """Return the classes in the annotations of a split; clips that two lists have count once."""
    found: dict[Key, str] = {}
    for member in annotations:
        for key, label in parse(member.text(), member.name).items():
            found[key] = found.get(key) or label
    return found


@lru_cache(maxsize=4)
def _numbers(classes: tuple[Member, ...]) -> dict[str, int]:
    """Return the number of each class."""
    return {label: at for at, label in enumerate(sorted({label for label in _labels(classes).values() if label}))}


@lru_cache(maxsize=4)
def _by_id(annotations: tuple[Member, ...]) -> dict[str, str]:
    """Return the class of each YouTube id."""
    return {key[0]: label for key, label in _labels(annotations).items() if label}


# Converting


def clips(shard: Shard) -> Iterator[Clip | Dropped]:
    """Yield the clips of one work item; a tar that had to be fetched is deleted behind the last."""
    seen: dict[str, str] = {}
    trouble: list[VbenchError] = []
    for name, file, seconds in _videos(shard, trouble):
        stem = re.sub(rf"{VIDEOS}$", "", name.rpartition("/")[2])
        clip_id = f"{shard.split}/{stem}"
        if stem in seen:
            yield Dropped(clip_id, f"{name} is the same clip as {seen[stem]}")
            continue
        seen[stem] = name
        if isinstance(file, VbenchError):
            yield Dropped(clip_id, str(file))
            continue
        yield _clip(clip_id, file, seconds, _label(stem, name, shard), shard.options)
    if len(trouble) == len(seen) >= 10:  # no network or no yt-dlp, rather than ten videos that are gone
        raise trouble[0]


def _videos(
    shard: Shard, trouble: list[VbenchError]
) -> Iterator[tuple[str, BinaryIO | VbenchError, tuple[int, int] | None]]:
    """Yield name, open file and stretch in seconds of each video of a work item."""
    for source in shard.sources:
        if source.is_tar:
            yield from _in_tar(source, shard)
        elif source.member:
            with source.member.open() as file:
                yield source.name, file, None
        else:
            found = STEM.search(source.name)
            assert found
            target = _place(shard, f"youtube-{found[0]}.mp4")
            try:
                acquire.fetch_one(
                    source.address,
                    target,
                    dataset="kinetics600",
                    root=shard.archive.root,
                    format=YOUTUBE_FORMAT,
                    cookies=shard.archive.cookies,
                    rate=shard.archive.rate,
                    lock=False,
                )
            except VbenchError as error:
                if not GONE.search(str(error)) or PASSING.search(str(error)):  # the shard stays open
                    raise
                trouble.append(error)
                yield source.name, error, None
                continue
            with open(target, "rb") as file:
                yield source.name, file, (int(found[2]), int(found[3]))
            target.unlink()


def _in_tar(source: Source, shard: Shard) -> Iterator[tuple[str, BinaryIO, None]]:
    if source.member:
        path = source.member.place
    else:
        path = _place(shard, re.sub(r"[^\w.-]+", "_", source.name.rpartition("/")[2]))
        acquire.fetch_one(source.address, path, dataset="kinetics600", root=shard.archive.root)
    folder = re.sub(r"\.(tar|tar\.gz|tgz)$", "", source.name)
    found = ((name, data) for name, data in archives.stream(path) if re.search(rf"(^|/)[^./][^/]*{VIDEOS}$", name))
    for name, data in islice(found, shard.limit):
        yield f"{folder}/{name}", io.BytesIO(data), None
    if not source.member:
        path.unlink()


def absent(split: str, archive: Archive, came: Collection[str]) -> Iterator[Dropped]:
    """Yield the clips on the lists of a split that no tar or folder has; `came` are the ids of all others."""
    keys = {_key(clip_id.partition("/")[2]) for clip_id in came}
    names = {key[0] for key in keys}
    for key in _labels(_sorted_out(split, archive)[0]):
        name, start, _ = key
        if start is None and name not in names:
            yield Dropped(f"{split}/{name}", "it is on a list without its times, and no tar or folder has it")
        elif start is not None and not keys & {key, (name, None, None)}:
            yield Dropped(f"{split}/{_stem(key)}", "it is on a list, and no tar or folder has it")


def _key(stem: str) -> Key:
    """Return what a list calls the clip of a file."""
    found = STEM.fullmatch(stem)
    return (found[1], int(found[2]), int(found[3])) if found else (stem[:11], None, None)


def _stem(key: Key) -> str:
    name, start, end = key
    return f"{name}_{start:06d}_{end:06d}"


def _place(shard: Shard, name: str) -> Path:
    """Return where a file is kept for as long as it is converted."""
    return files.home(shard.archive.root) / "cache" / "kinetics600" / shard.split / name


def _label(stem: str, name: str, shard: Shard) -> int:
    """Return a clip's class by id and times, by id alone, or by the folder or tar it lies in."""
    labels, by_id, numbers = _labels(shard.annotations), _by_id(shard.annotations), _numbers(shard.classes)
    told = [labels.get(_key(stem)), by_id.get(stem[:11])]
    told += [folder.replace("_", " ").lower() for folder in reversed(name.split("/")[:-1])]
    return next((numbers[label] for label in told if label in numbers), -1)


def _clip(
    clip_id: str, file: BinaryIO, seconds: tuple[int, int] | None, label: int, options: Options
) -> Clip | Dropped:
    try:
        frames, fps = read(file, options.side, options.views, options.frames or None, seconds)
    except (av.error.FFmpegError, OSError, ValueError) as error:  # the last two when a box points out of the file
        if of_the_system(error) and not isinstance(error, av.error.FFmpegError):
            raise
        return Dropped(clip_id, f"not a video that can be read ({getattr(error, 'strerror', error)})")
    except VbenchError as error:
        return Dropped(clip_id, str(error))
    return Clip(clip_id, frames, fps, {"label": np.full(len(frames), label, np.int16)})


def read(
    file: BinaryIO, side: int, views: int = 1, most: int | None = None, seconds: tuple[int, int] | None = None
) -> tuple[np.ndarray, float | None]:
    """Return the frames of a video, uint8 (T, side, views * side, 3), and its rate.

    The views are the largest squares, evenly along the longer side, a single one in the middle.
    """
    with av.open(file, options={"format_whitelist": video.SAFE["format_whitelist"]}) as container:
        if not container.streams.video:
            raise VbenchError("it holds no video")
        stream = container.streams.video[0]
        stream.thread_type = "NONE"  # there are other workers
        squares: dict[tuple[int, ...], _Squares] = {}
        parts = [np.empty((0, side, views * side, 3), np.uint8)]
        decoded = islice(_decoded(container, stream, seconds), most)
        while batch := list(islice(decoded, BATCH)):
            for shape, alike in groupby(batch, key=_shape):
                if shape not in squares:
                    squares[shape] = _Squares(shape, side, views)
                parts.append(squares[shape].of(list(alike)))
        rate = stream.average_rate
    frames = np.concatenate(parts)
    if len(frames) < (most or 1):
        raise VbenchError(f"it has {len(frames)} frames, expected {most or 'at least 1'}")
    return frames, float(rate) if rate else None


def _decoded(container: Any, stream: Any, seconds: tuple[int, int] | None) -> Iterator[Any]:
    """Yield the frames of a whole video, or of a stretch of it; a damaged or cut one is no use."""
    packets = 0
    for packet in container.demux(stream):
        packets += bool(packet.size)
        for frame in packet.decode():
            if frame.is_corrupt:
                raise VbenchError("it is damaged and shows guessed pixels")
            if seconds is None or seconds[0] <= frame.time < seconds[1]:
                yield frame
            elif frame.time >= seconds[1]:
                return
    if packets < stream.frames:
        raise VbenchError(f"it is cut short, with {packets} of {stream.frames} frames")


def _shape(frame: Any) -> tuple[Any, ...]:
    """Return what frames must have in common to be cut and shrunk by one _Squares."""
    return frame.width, frame.height, frame.rotation // 90 % 4, frame.format.name


class _Squares:
    """Cuts the square views out of frames of one shape and shrinks them."""

    def __init__(self, shape: tuple[Any, ...], side: int, views: int):
        width, height, self.turns, pixels = shape
        self.side = side
        # Even: pixels of 4:2:0 share their colour in twos
        square = min(width, height) // 2 * 2
        spare = width - square, height - square
        # Turned upright, the first view may be the last of the stored picture.
        turned = self.turns in ((1, 2) if spare[0] > spare[1] else (2, 3))
        places = [place / (views - 1) if views > 1 else 0.5 for place in range(views)]
        corners = [[round(length * place) // 2 * 2 for length in spare] for place in places]
        self.crops = [_crop(width, height, pixels, square, *at) for at in (reversed(corners) if turned else corners)]
        self.shrink, self.pack = [VideoReformatter() for _ in corners], VideoReformatter()

    def of(self, frames: list[Any]) -> np.ndarray:
        """Return the square views of decoded frames side by side, upright: uint8 (T, side, views * side, 3)."""
        views = [self._view(frames, *each) for each in zip(self.crops, self.shrink, strict=True)]
        return np.concatenate(views, axis=2) if len(views) > 1 else views[0]

    def _view(self, frames: list[Any], crop: Graph, shrink: VideoReformatter) -> np.ndarray:
        side, how = self.side, {"interpolation": FILTER, "threads": 1}
        squares: list[Any] = []
        for frame in frames:
            crop.push(frame)
            squares.append(crop.pull())
        # By way of planes: swscale takes twice as long to rgb24 at once, with the same result.
        planes = [shrink.reformat(square, side, side, "gbrp", **how) for square in squares]
        packed = [self.pack.reformat(small, format="rgb24", **how).planes[0] for small in planes]
        rows = np.frombuffer(b"".join(packed), np.uint8).reshape(len(frames), side, -1)  # padded at the end
        return np.rot90(rows[:, :, : 3 * side].reshape(-1, side, side, 3), self.turns, axes=(1, 2))


def _crop(width: int, height: int, pixels: str, side: int, left: int, top: int) -> Graph:
    """Make a filter that cuts a square out of frames without copying it."""
    graph = Graph()
    source = graph.add_buffer(width=width, height=height, format=pixels, time_base=Fraction(1, 1000))  # type: ignore[arg-type]
    crop = graph.add("crop", f"{side}:{side}:{left}:{top}")
    sink = graph.add("buffersink")
    source.link_to(crop)
    crop.link_to(sink)
    graph.configure()
    return graph
