"""UvA-NEMO: people who smile, posed or spontaneously, each video beginning and ending with a calm face."""

import csv
import functools
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vbench_ctl import resize, video
from vbench_ctl.archives import Archive, Member
from vbench_ctl.clips import Clip, Dropped
from vbench_ctl.errors import UsageError, VbenchError
from vbench_ctl.frame_folders import FolderShard, clips_of_folders, cut, numbered
from vbench_ctl.registry import check_size, option

VERSION = 1
# "all" is what G3AN trains on and compares with; train and test share no subject.
CLIPS = {"all": 1240, "train": 1111, "test": 129}  # the two parts are about as large as 359 to 41 subjects say
SPLITS = tuple(CLIPS)
# AliaksandrSiarohin/video-preprocessing:crop_nemo.py
# fmt: off
TEST_SUBJECTS = {
    4, 71, 93, 105, 112, 116, 133, 141, 148, 155, 162, 166, 172, 174, 176, 201, 205, 213, 215, 225, 263, 265, 270, 304,
    336, 343, 400, 414, 418, 445, 447, 450, 456, 483, 492, 502, 505, 510, 525, 536, 553,
}
# fmt: on
NAME = r"\d{3}_(?:deliberate|spontaneous)_smile_\d+"
KINDS = {"deliberate": 0, "spontaneous": 1}  # the track `class`
FRAMES, FPS = 240, 50.0  # the length is a guess: about 4 to 6 seconds
DETECT = (640, 360)  # where the face is looked for, and how its box is enlarged: crop_nemo.py
MARGIN = 1.1


@dataclass(frozen=True)
class Options:
    size: int = option(64, "Side of the square frames.")
    boxes: str = option(
        "", "CSV with video,x0,y0,x1,y1, the face in each; without it face-alignment finds them.", file=True
    )

    def __post_init__(self) -> None:
        check_size(self.size, 512)


class Box(NamedTuple):
    """A face in pixels of the original video."""

    x0: float
    y0: float
    x1: float
    y1: float


class Shard(NamedTuple):
    clip: str
    video: Member
    box: Box | None  # None: to be found
    size: int


def variant(options: Options) -> str:
    """Name the store these options make."""
    return f"{options.size}{'-boxes' if options.boxes else ''}"


def facts(options: Options) -> dict[str, Any]:
    """Return what the manifest must say besides the options."""
    box = "a given box" if options.boxes else "the box of the face in the first frame"
    taken = "" if options.boxes else "; folders of face frames: as they were cut out by whoever made them"
    return {
        "crop": f"face3@1: {box}, enlarged by {MARGIN}, made square, the same in all frames{taken}",
        "geometry": "antialiased bilinear (Pillow)",
    }


def split_facts(work: Sequence[Shard | FolderShard]) -> dict[str, str]:
    """Return how the faces of a split were cut out, which decides every score."""
    first = work[0]
    if isinstance(first, FolderShard):
        return {"crop": "by whoever made the folders of face frames that were given"}
    if first.box:
        return {"crop": "face3@1 around the boxes that were given"}
    return {"crop": f"face3@1 around what face-alignment {getattr(_package(), '__version__', 'unknown')} found"}


def shards(split: str, options: Options, limit: int | None, archive: Archive) -> list[Shard] | list[FolderShard]:
    """Return one work item per video, or some folders of frames each where the faces are cut out already."""
    videos = {name: member for (name,), member in archive.matching(rf"({NAME})\.mp4").items() if _belongs(name, split)}
    if videos:
        boxes: dict[str, Box] = {}
        chosen = sorted(videos)[:limit]
        if options.boxes:
            boxes = read_boxes(Path(options.boxes).expanduser())
            if lacking := [name for name in chosen if name not in boxes]:
                raise VbenchError(f"{options.boxes}: it has no box for {lacking[0]} ({len(lacking)} in all); add them")
        else:
            _detector()  # it is there, or that is said before anything is made
        return [Shard(f"{split}/{name}", videos[name], boxes.get(name), options.size) for name in chosen]
    if options.boxes:
        raise UsageError(
            f"--boxes {options.boxes}: it is for videos such as 001_deliberate_smile_2.mp4, and the archive has none of "
            f"{split}; leave it out for folders of face frames"
        )
    folders = numbered(archive, rf"(?P<video>{NAME})/(?:[^/]*?)(?P<number>\d+)\.(?:jpe?g|png)", ["video"])
    found = {f"{split}/{name}": frames for (name,), frames in folders.items() if _belongs(name, split)}
    if not found:
        raise archive.lacking("videos such as 001_deliberate_smile_2.mp4, or folders of face frames with such names")
    return cut(dict(list(found.items())[:limit]), (options.size, options.size), "pil_antialias", fps=FPS)


def _belongs(name: str, split: str) -> bool:
    return split == "all" or (int(name.partition("_")[0]) in TEST_SUBJECTS) == (split == "test")


def read_boxes(path: Path) -> dict[str, Box]:
    """Read the face boxes of a CSV file with the columns video,x0,y0,x1,y1."""
    try:
        rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig")), restval=""))
        boxes = {row["video"].removesuffix(".mp4"): Box(*(float(row[key]) for key in Box._fields)) for row in rows}
    except (OSError, KeyError, TypeError, ValueError, csv.Error) as error:
        raise VbenchError(f"{path}: not a CSV file with the columns video,x0,y0,x1,y1 ({error!r})") from error
    if not boxes:
        raise VbenchError(f"{path}: it has no box; add a row video,x0,y0,x1,y1 for each video")
    if bad := [name for name, box in boxes.items() if not all(map(math.isfinite, box))]:
        raise VbenchError(f"{path}: the box of {bad[0]} is not of four numbers; give them in pixels")
    if bad := [name for name, box in boxes.items() if box.x1 <= box.x0 or box.y1 <= box.y0]:
        raise VbenchError(f"{path}: the box of {bad[0]} is empty; x1 and y1 must be the larger ones")
    if bad := [name for name, box in boxes.items() if max(box.x1 - box.x0, box.y1 - box.y0) < 2]:
        raise VbenchError(f"{path}: the box of {bad[0]} is smaller than 2 pixels; give boxes in pixels of the video")
    return boxes


def estimate(split: str, options: Options, limit: int | None = None) -> tuple[int, int]:
    """Return how many clips and bytes a split takes."""
    count = len(range(CLIPS[split])[:limit])
    return count, count * FRAMES * options.size**2 * 3


def expected(options: Options) -> dict[str, int]:
    """Return the published sizes of the splits."""
    return {"all": CLIPS["all"]}


def clips(shard: Shard | FolderShard) -> Iterator[Clip | Dropped]:
    """Yield the clips of one work item; the track `class` is 0 for posed and 1 for spontaneous smiles."""
    found = clips_of_folders(shard) if isinstance(shard, FolderShard) else _cropped(shard)
    for clip in found:
        if isinstance(clip, Clip):
            kind = KINDS[clip.id.split("_")[1]]
            clip.tracks["class"] = np.full(len(clip), kind, np.int64)
        yield clip


def _cropped(shard: Shard) -> Iterator[Clip | Dropped]:
    try:
        with shard.video.on_disk() as path:
            fps, frames = video.probe(path).fps, video.frames(path)
            first = next(frames)
            square = _square(shard.box or find_face(first, shard.video.name), first.shape[:2])
            cut_out = [_cut_out(first, square, shard.size), *(_cut_out(frame, square, shard.size) for frame in frames)]
    except VbenchError as error:
        yield Dropped(shard.clip, str(error))
        return
    yield Clip(shard.clip, np.stack(cut_out), fps)


def find_face(frame: np.ndarray, name: str) -> Box:
    """Return the largest face in a frame, found on a small copy."""
    from PIL import Image

    small = np.asarray(Image.fromarray(frame).resize(DETECT, Image.Resampling.BILINEAR))
    found = _detector().detect_from_image(small)
    if not len(found):
        raise VbenchError(f"{name}: no face found in its first frame; give its box in a CSV file (--boxes)")
    x0, y0, x1, y1 = max((face[:4] for face in found), key=lambda box: (box[2] - box[0]) * (box[3] - box[1]))
    across, down = frame.shape[1] / DETECT[0], frame.shape[0] / DETECT[1]
    return Box(float(x0 * across), float(y0 * down), float(x1 * across), float(y1 * down))


@functools.cache
def _detector() -> Any:
    package = _package()
    return package.FaceAlignment(package.LandmarksType.TWO_D, device="cpu").face_detector


def _package() -> Any:
    try:
        import face_alignment
    except ImportError as error:
        raise VbenchError(
            "uva-nemo needs the place of each face: give a CSV file with video,x0,y0,x1,y1 (--boxes), or "
            'run: pip install "vbench-ctl[faces]"'
        ) from error
    return face_alignment


def _square(box: Box, size: tuple[int, ...]) -> tuple[int, int, int]:
    """Return top, left and side of the enlarged square around a box; the side is at most the frame's."""
    height, width = size
    if box.x1 <= 0 or box.y1 <= 0 or box.x0 >= width or box.y0 >= height:
        raise VbenchError(
            f"its box from ({box.x0:g}, {box.y0:g}) to ({box.x1:g}, {box.y1:g}) lies outside the picture of {width}x{height}; "
            "give the right one in --boxes"
        )
    side = min(round(max(box.x1 - box.x0, box.y1 - box.y0) * MARGIN), *size)
    top, left = (round((low + high - side) / 2) for low, high in ((box.y0, box.y1), (box.x0, box.x1)))
    return min(max(top, 0), size[0] - side), min(max(left, 0), size[1] - side), side


def _cut_out(frame: np.ndarray, square: tuple[int, int, int], size: int) -> np.ndarray:
    top, left, side = square
    return resize.pictures(frame[None, top : top + side, left : left + side], (size, size), "pil_antialias")[0]
