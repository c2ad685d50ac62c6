"""BAIR robot pushing at 256x256, as CCVS cuts it from the wide pictures or as CADDY packed it for itself and GLASS."""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from vbench_ctl import pickles, video
from vbench_ctl.archives import Archive, Member
from vbench_ctl.clips import Clip, Dropped
from vbench_ctl.errors import VbenchError
from vbench_ctl.registry import option
from vbench_ctl.shards import SHARD_BYTES

VERSION = 1
SPLITS = ("train", "val", "test")
FRAMES, SIZE = 30, 256
# 16lemoing/ccvs:data/scripts/preprocess_bairhd.py: trajectories and columns; 43,264 to 44,119 stay unused
TRAJECTORIES = {"train": range(43_264), "test": range(44_120, 44_376)}
LEFT, RIGHT = 157, 967
HELD_OUT = 5  # every fifth annotated frame is for validation, 16lemoing/ccvs:data/bairhd_dataset.py
PER_SHARD = SHARD_BYTES // (FRAMES * SIZE * SIZE * 3)
PNG_BYTES = 96_000  # CADDY's archive: 126.6 GB for about 44,000 clips of 30 pictures


@dataclass(frozen=True)
class Options:
    packing: str = option(
        "ccvs",
        "CCVS's cut of softmotion_0511, CADDY's folders with pickles, or single frames annotated with CCVS's tool.",
        ("ccvs", "caddy", "annotated"),
    )


class Source(NamedTuple):
    """The files of one clip; none where the archive has a gap."""

    id: str
    files: tuple[Member, ...]


class Shard(NamedTuple):
    """One work item: some clips of one packing."""

    packing: str
    sources: tuple[Source, ...]


def variant(options: Options) -> str:
    """Name the store these options make."""
    return {"ccvs": "256", "caddy": "caddy256", "annotated": "annotated256"}[options.packing]


def splits(options: Options) -> tuple[str, ...]:
    """Return the splits that these options have."""
    return {"ccvs": ("train", "test"), "caddy": SPLITS, "annotated": ("train", "val")}[options.packing]


def facts(options: Options) -> dict[str, str]:
    """Return what the manifest must say about these options."""
    made = {
        "ccvs": f"columns {LEFT} to {RIGHT - 1}, OpenCV's bilinear {SIZE}x{SIZE} without antialiasing, then upside down",
        "caddy": "pictures as packed; actions: actions.pkl; state: the gripper's place from metadata.pkl",
        "annotated": f"pictures as annotated; state: the arm's (x, y) in the picture, divided by {SIZE}",
    }
    return {
        "attribution": "BAIR robot pushing, Ebert, Finn, Lee and Levine, CC BY 4.0",
        "frames": made[options.packing],
    }


def expected(options: Options) -> dict[str, int]:
    """Return the published size of each split; nobody published those of the other packings."""
    return {split: len(numbers) for split, numbers in TRAJECTORIES.items()} if options.packing == "ccvs" else {}


def estimate(split: str, options: Options, limit: int | None = None) -> tuple[int, int]:
    """Return how many clips and bytes a split takes; CADDY's are taken to be as many as those of CCVS."""
    if options.packing == "annotated":
        return 0, 0  # the user's own
    clips = len(TRAJECTORIES.get(split, range(0))[:limit])
    return clips, clips * FRAMES * PNG_BYTES


def shards(split: str, options: Options, limit: int | None, archive: Archive) -> list[Shard]:
    """Cut a split into work items."""
    find = {"ccvs": _trajectories, "caddy": _episodes, "annotated": _annotations}[options.packing]
    sources = find(split, limit, archive)
    groups = [sources[at : at + PER_SHARD] for at in range(0, len(sources), PER_SHARD)]
    return [Shard(options.packing, tuple(group)) for group in groups]


def clips(shard: Shard) -> Iterator[Clip | Dropped]:
    """Yield the clips of one work item."""
    read = {"ccvs": _trajectory, "caddy": _episode, "annotated": _annotation}[shard.packing]
    for source in shard.sources:
        try:
            frames, tracks = read(source.files)
            yield Clip(source.id, frames, None, tracks)
        except VbenchError as error:
            yield Dropped(source.id, str(error))


def _picture(file: Member) -> np.ndarray:
    return video.image(io.BytesIO(file.read()), file.name)


# CCVS: softmotion_0511/aux1/traj_group12/traj12345/images/aux1_full_cropped_im7_*.jpg


def _trajectories(split: str, limit: int | None, archive: Archive) -> list[Source]:
    """Return the trajectories of a split by number; one that is missing is there without files."""
    numbers = TRAJECTORIES[split]
    found: dict[int, list[Member]] = {}
    pictures = archive.matching(r"traj_group\d+/traj(\d+)/images/aux1_full_cropped_im(\d+)_([^/]*)\.jpg")
    for (number, _, _), file in pictures.items():
        if int(number) in numbers:
            found.setdefault(int(number), []).append(file)
    if not found:
        raise archive.lacking(
            f"aux1/traj_group{numbers[0] // 1000}/traj{numbers[0]}/images/aux1_full_cropped_im0_*.jpg and the like"
        )
    if limit is not None and len(found) >= limit:
        numbers = range(numbers.start, sorted(found)[limit - 1] + 1)
    return [Source(f"{split}/{number:05d}", tuple(found.get(number, ()))) for number in numbers]


def _trajectory(files: tuple[Member, ...]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return frames (30, 256, 256, 3); the pictures have no tracks."""
    if not files:
        raise VbenchError("the archive does not have it")
    by_time: dict[int, list[Member]] = {}
    for file in files:
        time = file.path.name.removeprefix("aux1_full_cropped_im").partition("_")[0]
        by_time.setdefault(int(time), []).append(file)
    for t in range(FRAMES):
        if len(by_time.get(t, [])) != 1:
            raise VbenchError(f"it has {len(by_time.get(t, []))} pictures of frame {t}, expected 1")
    return np.stack([_cut(by_time[t][0]) for t in range(FRAMES)]), {}


def _cut(file: Member) -> np.ndarray:
    """Return the part of a wide picture that shows the table, 256x256: the camera hung upside down."""
    wide = _picture(file)
    if wide.shape[1] < RIGHT:
        raise VbenchError(f"{file.name} is {wide.shape[1]} pixels wide, expected at least {RIGHT}")
    return opencv_bilinear(wide[:, LEFT:RIGHT], SIZE, SIZE)[::-1]


def opencv_bilinear(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize uint8 (H, W, 3) as cv2.resize does: two taps an axis, no antialiasing, in integers of 11 bits.

    Its rounding is opencv/opencv:modules/imgproc/src/resize.cpp, HResizeLinear and VResizeLinear for uchar.
    """
    (top, bottom), (upper, lower) = _taps(picture.shape[0], height)
    columns, weights = _taps(picture.shape[1], width)
    # all three colours of a row in a row, which NumPy multiplies twice as fast
    (left, right), (before, after) = (3 * columns[..., None] + np.arange(3)).reshape(2, -1), weights.repeat(3, axis=1)

    def across(rows: np.ndarray) -> np.ndarray:
        chosen = picture[rows].reshape(height, -1)
        return (chosen.take(left, 1) * before + chosen.take(right, 1) * after) >> 4

    above, below = across(top) * upper[:, None], across(bottom) * lower[:, None]
    return (((above >> 16) + (below >> 16) + 2) >> 2).astype(np.uint8).reshape(height, width, 3)


@cache
def _taps(before: int, after: int) -> tuple[np.ndarray, np.ndarray]:
    """Return for each output pixel the two input pixels and their weights out of 2048: (2, after) each."""
    places = ((np.arange(after) + 0.5) * (1 / (after / before)) - 0.5).astype(np.float32)
    first = np.floor(places)
    share = places - first
    pixels = np.stack([first, first + 1]).astype(np.int32).clip(0, before - 1)
    return pixels, np.rint(np.stack([1 - share, share]) * 2048).astype(np.int32)


# CADDY: bair_256_ours/test/00012/00003.png and four pickles, willi-menapace/PlayableVideoGeneration:dataset/video.py


def _episodes(split: str, limit: int | None, archive: Archive) -> list[Source]:
    """Return the episodes of a split by number."""
    found: dict[str, list[Member]] = {}
    for pattern in (r"(train|val|test)/(\d+)/(\d+)\.(png|jpg|jpeg)", r"(train|val|test)/(\d+)/(actions|metadata)\.pkl"):
        for (folder, episode, *_), file in archive.matching(pattern).items():
            if folder == split:
                found.setdefault(episode, []).append(file)
    if not found:
        raise archive.lacking(f"bair_256_ours/{split}/00000/00000.png with actions.pkl and metadata.pkl and the like")
    return [Source(f"{split}/{episode}", tuple(found[episode])) for episode in sorted(found)[:limit]]


def _episode(files: tuple[Member, ...]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return frames (T, 256, 256, 3) and the tracks; there are as many frames as actions."""
    labels = {file.path.name: file for file in files if file.path.suffix == ".pkl"}
    actions = _entries(labels, "actions.pkl")
    states = [entry.get("state") if isinstance(entry, dict) else None for entry in _entries(labels, "metadata.pkl")]
    if len(states) != len(actions):
        raise VbenchError(f"metadata.pkl has {len(states)} entries, expected {len(actions)} as in actions.pkl")
    pictures = sorted((file for file in files if file.path.suffix != ".pkl"), key=_number)
    numbers = [_number(file) for file in pictures]
    if numbers != [*range(len(actions))]:
        wrong = next((t for t in range(len(actions)) if numbers.count(t) != 1), len(actions))
        raise VbenchError(
            f"it has {numbers.count(wrong)} pictures of frame {wrong}, "
            f"expected one of each frame from 0 to {len(actions) - 1} as in actions.pkl"
        )
    # a video without labels has None throughout, willi-menapace/PlayableVideoGeneration:dataset/video.py
    if all(action is None for action in actions):
        actions = [0] * len(actions)
    tracks = {"actions": _track("actions.pkl", actions)}
    if any(state is not None for state in states):
        tracks["state"] = _track('"state" in metadata.pkl', states)
    return np.stack([_square(file) for file in pictures]), tracks


def _number(file: Member) -> int:
    return int(file.path.stem)


def _entries(labels: dict[str, Member], name: str) -> list[Any]:
    """Return the list in a pickle; a pickle is read as data and never run."""
    if name not in labels:
        raise VbenchError(f"it has no {name}")
    try:
        entries = pickles.load(labels[name].read())
    except VbenchError as error:
        raise VbenchError(f"{labels[name].name}: {str(error).removeprefix('pickle: ')}") from error
    if not isinstance(entries, list | tuple | np.ndarray) or not len(entries):
        raise VbenchError(f"{name} holds a {type(entries).__name__}, expected a list with an entry for each frame")
    return [*entries]


def _track(name: str, entries: list[Any]) -> np.ndarray:
    """Return one number or vector per frame, int64 or float32."""
    try:
        values = np.array(entries)
    except ValueError:
        values = np.array(None)
    if values.dtype.kind not in "biuf":
        raise VbenchError(f"{name} is not a number or a vector of one length in each frame")
    return values.astype(np.float32 if values.dtype.kind == "f" else np.int64)


# Frames that CCVS's tool annotated: annotated_frames/00012_101_87.jpg, the arm being at x = 101 and y = 87


def _annotations(split: str, limit: int | None, archive: Archive) -> list[Source]:
    """Return the annotated frames of a split."""
    found = archive.matching(r"(\d{5,})_(\d+)_(\d+)\.(jpg|png)")
    if not found:
        raise archive.lacking("annotated_frames/00012_101_87.jpg and the like, ID_X_Y")
    wanted = {"train": range(1, HELD_OUT), "val": range(1)}[split]
    chosen = [file for (index, *_), file in found.items() if int(index) % HELD_OUT in wanted]
    return [Source(f"{split}/{file.path.stem}", (file,)) for file in sorted(chosen, key=_name)[:limit]]


def _name(file: Member) -> str:
    return file.path.name


def _annotation(files: tuple[Member, ...]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return the one frame (1, 256, 256, 3) and where the arm is in it, (x, y) from 0 to 1."""
    _, x, y = files[0].path.stem.split("_")
    return _square(files[0])[None], {"state": np.array([[int(x), int(y)]], np.float32) / SIZE}


def _square(file: Member) -> np.ndarray:
    picture = _picture(file)
    if picture.shape[:2] != (SIZE, SIZE):
        raise VbenchError(f"{file.name} is {picture.shape[1]}x{picture.shape[0]}, expected {SIZE}x{SIZE}")
    return picture
