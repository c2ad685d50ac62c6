"""Clips that others packed: folders of videos, PVG/CADDY folders, VideoGPT/TATS and MCVD HDF5 files, plain arrays.

A clip's id is its path below the imported folder, without suffix. Its split is the first folder on that path called
train, val, valid, validation, test, eval or all; without one it is "all".
"""

import hashlib
import itertools
import math
import os
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from PIL import Image

from vbench_ctl import building, files, pickles, resize, shards, video
from vbench_ctl.clips import Clip, Dropped
from vbench_ctl.errors import UsageError, VbenchError, unknown
from vbench_ctl.sources import ArraySource

VERSION = 1
SPLITS = ("train", "val", "valid", "validation", "test", "eval", "all")
# The tracks that GLASS's label file holds, under its names (Araachie/glass:dataset/video.py).
GLACTIONS = {"global_action": "global", "local_action": "local", "shift_fg": "shifts", "shift_bg": "bg_shifts"}


class Source(NamedTuple):
    """One clip where it lies."""

    id: str
    file: str  # file or folder, relative to the root
    size_bytes: int
    rows: tuple[int, int] = (0, 0)  # its place in a file of many clips


@dataclass(frozen=True)
class Part:
    """One work item. Its repr leaves the root out: the same folder elsewhere makes the same store."""

    root: Path = field(repr=False)
    layout: str
    size: tuple[int, int] | None
    sources: tuple[Source, ...]


def recipe(
    source: Path,
    name: str,
    layout: str = "auto",
    size: tuple[int, int] | None = None,
    encoding: str | None = None,
    limit: int | None = None,
) -> building.Recipe:
    """Return how to make the store `name` from a folder or file; `size` is (width, height), `limit` is per split."""
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise UsageError(f'"{name}" cannot name a dataset; use letters, digits, "-", "_" and "."')
    if layout not in ("auto", *LAYOUTS):
        raise unknown("layout", layout, LAYOUTS)
    layout = detect(source) if layout == "auto" else layout
    root = source if source.is_dir() else source.parent
    splits: dict[str, list[Source]] = {}
    for found in _distinct(_LAYOUTS[layout].find(source)):
        splits.setdefault(split_of(found.id), []).append(found)
    splits = {split: sources[:limit] for split, sources in splits.items()}
    growth = _growth(source, root, layout, size, itertools.chain(*splits.values()))
    resized = "x".join(map(str, size)) if size else None
    return building.Recipe(
        dataset=name,
        variant=(resized or "original") + (f"-limit{limit}" if limit is not None else ""),
        version=VERSION,
        work={split: _parts(root, layout, size, sources, growth) for split, sources in splits.items()},
        clips=clips,
        facts={
            "options": {"layout": layout, "size": resized, "limit": limit},
            "resize": "Pillow bicubic with antialiasing on uint8, aspect not kept; masks nearest, other tracks unchanged"
            if size
            else None,
            "sources": {split: _listing(sources) for split, sources in splits.items()},
        },
        card={},
        encoding=encoding,
    )


def detect(source: Path) -> str:
    """Return the layout of a folder or file, going by the first clips in it."""
    if not source.exists():
        raise VbenchError(f"{source}: no such file or folder; expected one with {_known()}")
    for folder, names in _folders(source):
        suffixes = {Path(name).suffix.lower() for name in names}
        if {"actions.pkl", "glactions.pkl"} & set(names):
            return "pvg"
        if suffixes & {*video.VIDEOS, *video.IMAGES} and source.is_dir():
            return "videos"
        for name in names:
            if Path(name).suffix.lower() in video.HDF5:
                return _hdf5_layout(folder / name)
        if suffixes & {".npy", ".npz"}:
            return "arrays"
    raise VbenchError(f"{source}: holds nothing to import; expected {_known()}")


def split_of(clip_id: str) -> str:
    """Return the split that a clip's id puts it in."""
    return next((part for part in clip_id.split("/")[:-1] if part in SPLITS), "all")


def clips(part: Part) -> Iterator[Clip | Dropped]:
    """Yield the clips of one work item; one whose frames cannot be read is a Dropped, wrong labels are an error."""
    layout = _LAYOUTS[part.layout]
    for name, sources in itertools.groupby(part.sources, key=lambda source: source.file):
        with layout.open(part.root / name) as opened:
            for source in sources:
                try:
                    clip = layout.read(opened, source)
                except VbenchError as error:
                    path = part.root / name
                    if not path.is_symlink() and not os.access(path, os.R_OK, effective_ids=True):
                        raise  # it went meanwhile, and may come again
                    yield Dropped(source.id, str(error).replace(f"{part.root}{os.sep}", ""))
                    continue
                tracks = layout.tracks(opened, source, len(clip))
                clip = replace(clip, id=source.id, tracks=tracks)
                yield clip if part.size is None else _resized(clip, part.size)


# Work items


def _distinct(sources: Iterator[Source]) -> Iterator[Source]:
    """Pass clips on, refusing two with one id."""
    seen: dict[str, Source] = {}
    for source in sources:
        files.check_name(Path(source.file))
        if source.id in seen:
            raise VbenchError(
                f'{seen[source.id].file} and {source.file}: are both clip "{source.id}"; rename or remove one of them'
            )
        seen[source.id] = source
        yield source


def _growth(given: Path, root: Path, layout: str, size: tuple[int, int] | None, sources: Iterator[Source]) -> float:
    """Return how many bytes of clip a byte of source makes, going by the first clip that can be read."""
    why = f"expected {LAYOUTS[layout]}"
    for source in sources:
        clip = next(clips(Part(root, layout, size, (source,))))
        if isinstance(clip, Clip):
            made = clip.frames.nbytes + sum(track.nbytes for track in clip.tracks.values())
            return made / max(1, source.size_bytes)
        why = clip.reason
    raise VbenchError(f"{given}: holds no clip that can be read as {layout}; {why}")


def _parts(root: Path, layout: str, size: tuple[int, int] | None, sources: list[Source], growth: float) -> list[Part]:
    """Cut a split into work items of about shards.SHARD_BYTES, going by the source alone."""
    groups = shards.grouped(sources, lambda source: source.size_bytes * growth)
    return [Part(root, layout, size, tuple(group)) for group in groups]


def _listing(sources: Sequence[Source]) -> dict[str, Any]:
    names = "".join(f"{source.file} {source.rows} {source.size_bytes}\n" for source in sources)
    total = sum(source.size_bytes for source in sources)
    return {"clips": len(sources), "bytes": total, "sha256": hashlib.sha256(names.encode()).hexdigest()}


def _resized(clip: Clip, size: tuple[int, int]) -> Clip:
    """Resize frames and masks to (width, height)."""
    frames = [np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BICUBIC)) for frame in clip.frames]
    tracks = dict(clip.tracks)
    if "masks" in tracks:
        tracks["masks"] = resize.masks(tracks["masks"], size[::-1])
    return replace(clip, frames=np.stack(frames), tracks=tracks)


# Finding


def _known() -> str:
    return "; ".join(f"{name}: {text}" for name, text in LAYOUTS.items())


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def _folders(source: Path) -> Iterator[tuple[Path, list[str]]]:
    """Yield each folder with its files in natural order, top down; a file is a folder with that file alone."""
    if source.is_file():
        yield source.parent, [source.name]
        return
    for place, folders, names in os.walk(source, followlinks=True, onerror=_unlisted):
        folder = Path(place)
        for name in folders:
            if (folder / name).is_symlink() and folder.resolve().is_relative_to((folder / name).resolve()):
                raise VbenchError(f"{folder / name}: is a link to a folder that holds it; remove it")
        folders[:] = sorted((name for name in folders if not name.startswith(".")), key=_natural)
        yield folder, sorted((name for name in names if not name.startswith(".")), key=_natural)


def _unlisted(error: OSError) -> None:
    raise VbenchError(f"{error.filename}: cannot be listed ({error.strerror})") from error


def _files(source: Path, suffixes: Sequence[str]) -> Iterator[tuple[Path, str, str]]:
    """Yield each file of many clips, its relative name, and how its ids start: with nothing if it is the only one."""
    for folder, names in _folders(source):
        for path in (folder / name for name in names):
            if path.suffix.lower() in suffixes:
                name = path.relative_to(folder if source.is_file() else source).as_posix()
                yield path, name, "" if source.is_file() else _id(source, path.with_suffix("")) + "/"


def _id(root: Path, path: Path) -> str:
    name = path.relative_to(root).as_posix() if path != root else path.absolute().name
    return unicodedata.normalize("NFC", name)  # macOS takes accents apart


def _size_bytes(path: Path) -> int:
    """Return the bytes of a file or of the files directly in a folder; a link to nowhere has none."""
    return sum(file.stat().st_size for file in (path.iterdir() if path.is_dir() else [path]) if file.is_file())


# Videos and folders of frames


def _find_videos(source: Path) -> Iterator[Source]:
    for _ in _folders(source):
        pass  # refuses circles of links, which video.find follows
    for clip_id, path in video.find(source).items():
        yield Source(clip_id, path.relative_to(source).as_posix(), _size_bytes(path))


def _read_frames(path: Path, _: Source) -> Clip:
    return video.read(path)


def _no_tracks(_: Any, __: Source, ___: int) -> dict[str, np.ndarray]:
    return {}


# PVG/CADDY folders (willi-menapace/PlayableVideoGeneration:dataset/video.py): frames 00000.png on, and one pickled list
# per kind of label with an entry per frame


def _find_pvg(source: Path) -> Iterator[Source]:
    for folder, names in _folders(source):
        images = any(Path(name).suffix.lower() in video.IMAGES for name in names)
        if images and not (folder.name == "masks" and folder != source):
            yield Source(_id(source, folder), folder.relative_to(source).as_posix(), _size_bytes(folder))


def _pvg_tracks(folder: Path, _: Source, frames: int) -> dict[str, np.ndarray]:
    """Return the labels that are not None throughout; a single None becomes NaN, or -1 among whole numbers."""
    labels = {name: _pickled(folder / f"{name}.pkl") for name in ("actions", "rewards", "metadata", "dones")}
    metadata = labels.pop("metadata")
    if metadata is not None:
        states = [entry.get("state") if isinstance(entry, dict) else None for entry in metadata]
        labels["state"] = states
    found = {name: _track(folder / f"{name}.pkl", entries, frames) for name, entries in labels.items()}
    known = _pickled(folder / "glactions.pkl")
    for name, key in GLACTIONS.items() if known is not None else ():
        if not isinstance(known, dict) or key not in known:
            raise VbenchError(f'{folder}/glactions.pkl: has no "{key}", expected {", ".join(GLACTIONS.values())}')
        found[name] = _track(folder / "glactions.pkl", known[key], frames)
    tracks = {name: track for name, track in found.items() if track is not None}
    if {"actions", "global_action"} <= tracks.keys() and np.array_equal(tracks["actions"], tracks["global_action"]):
        del tracks["actions"]  # W-Sprites repeats its global actions there
    if (folder / "masks").is_dir():
        tracks["masks"] = video.read(folder / "masks").frames[..., 0]  # grey, so the channels are equal
    return tracks


def _pickled(path: Path) -> Any:
    return pickles.load(path) if path.exists() else None


def _track(path: Path, entries: Any, frames: int) -> np.ndarray | None:
    """Return one label per frame as int64 or float32, or None where there is none."""
    if entries is None:
        return None
    if not isinstance(entries, list | tuple | np.ndarray) or len(entries) != frames:
        found = f"{len(entries)} entries" if hasattr(entries, "__len__") else f"a {type(entries).__name__}"
        raise VbenchError(f"{path}: holds {found}, expected a list of {frames}, one for each frame beside it")
    known = [entry is not None for entry in entries]
    if not any(known):
        return None
    try:
        values = np.array([entry for entry in entries if entry is not None])
    except ValueError:
        values = np.array(None)
    if values.dtype.kind not in "biuf":
        raise VbenchError(f"{path}: its entries are not numbers or vectors of one length; expected one for each frame")
    floats = values.dtype.kind == "f"
    track = np.full((frames, *values.shape[1:]), np.nan if floats else -1, np.float32 if floats else np.int64)
    track[known] = values
    return track


# HDF5 files


@contextmanager
def _opened(path: Path) -> Iterator[h5py.File]:
    try:
        with h5py.File(path, "r") as file:
            yield file
    except files.DAMAGED as error:
        raise VbenchError(f"{path}: is cut short or no HDF5 file ({error}); copy or fetch it again") from error


def _hdf5_layout(path: Path) -> str:
    with _opened(path) as file:
        if _videogpt_splits(file):
            return "videogpt"
        return "mcvd" if "len" in file else "arrays"


def _rows(data: h5py.Dataset, start: int, stop: int) -> np.ndarray:
    place = f"{data.file.filename}: {data.name}"
    if (stop - start) * math.prod(data.shape[1:]) * data.dtype.itemsize > files.MOST_BYTES:
        raise VbenchError(
            f"{place}: a clip of {stop - start} entries would take more than {files.MOST_BYTES >> 30} GiB"
        )
    try:
        return video.hdf5_checked(data)[start:stop]
    except (OSError, RuntimeError, ValueError) as error:
        raise VbenchError(f"{place}: {start} to {stop} cannot be read ({error}); copy or fetch it again") from error


def _list(group: h5py.Group, name: str) -> h5py.Dataset:
    """Return a dataset of rows."""
    data = video.hdf5_item(group, name)
    if not data.ndim:
        raise VbenchError(f"{group.file.filename}: {name} in {group.name} is a single value, expected rows of them")
    return data


# VideoGPT/TATS (wilson1yan/VideoGPT:videogpt/data.py, songweige/TATS:tats/data.py): all frames of a split in a row, and
# where each clip starts. TATS ends the starts with the number of frames, VideoGPT does not.


def _videogpt_splits(file: h5py.File) -> list[str]:
    """Return the splits of a file that has where clips of one start, or frames of one of the usual splits."""
    frames = {f"{split}_data" for split in SPLITS}
    return list(dict.fromkeys(key.rpartition("_")[0] for key in file if key.endswith("_idx") or key in frames))


def _find_videogpt(source: Path) -> Iterator[Source]:
    for path, name, before in _files(source, video.HDF5):
        with _opened(path) as file:
            splits = _videogpt_splits(file)
            if not splits:
                raise VbenchError(f"{path}: has no train_idx or the like, so it is no VideoGPT file")
            for split in splits:
                if f"{split}_idx" not in file:
                    raise VbenchError(
                        f"{path}: has {split}_data and no {split}_idx with the starts of its clips; add it"
                    )
                frames, starts = _list(file, f"{split}_data"), _starts(file, split)
                frame_bytes = math.prod(frames.shape[1:])
                for index, (start, stop) in enumerate(itertools.pairwise(starts)):
                    clip_id = f"{before}{split}/{video.array_id(index)}"
                    yield Source(clip_id, name, (stop - start) * frame_bytes, (start, stop))


def _starts(file: h5py.File, split: str) -> list[int]:
    """Return where the clips start, and the end."""
    data, index = _list(file, f"{split}_data"), video.hdf5_item(file, f"{split}_idx")
    total = len(data)
    if index.ndim != 1 or index.dtype.kind not in "iu" or not 0 < len(index) <= total + 1:
        raise VbenchError(
            f"{file.filename}: {split}_idx is {index.dtype} {index.shape}, expected the starts of clips in {total} frames"
        )
    starts = _rows(index, 0, len(index)).tolist()
    bounds = starts if starts[-1] == total else [*starts, total]
    wrong = next((i for i, (a, b) in enumerate(itertools.pairwise(bounds)) if not 0 <= a < b <= total), None)
    if bounds[0] != 0 or wrong is not None:
        found = bounds[wrong or 0 : (wrong or 0) + 2]
        raise VbenchError(
            f"{file.filename}: {split}_idx has {found} at {wrong or 0}, "
            f"expected rising starts from 0 within the {total} frames of {split}_data"
        )
    return bounds


def _read_videogpt(file: h5py.File, source: Source) -> Clip:
    return Clip(source.id, _rows(_list(file, f"{_split(source)}_data"), *source.rows))


def _videogpt_tracks(file: h5py.File, source: Source, _: int) -> dict[str, np.ndarray]:
    name = f"{_split(source)}_actions"
    return {"actions": _rows(_list(file, name), *source.rows)} if name in file else {}


def _split(source: Source) -> str:
    return source.id.split("/")[-2]


# MCVD (voletiv/mcvd-pytorch:datasets/h5.py): a group for each clip with a dataset for each frame; `len` holds the lengths


def _find_mcvd(source: Path) -> Iterator[Source]:
    for path, name, before in _files(source, video.HDF5):
        with _opened(path) as file:
            lengths = video.hdf5_item(file, "len", h5py.Group)
            for index in range(len(lengths)):
                length, group = video.hdf5_item(lengths, str(index))[()], video.hdf5_item(file, str(index), h5py.Group)
                if np.ndim(length) or length != len(group):
                    raise VbenchError(f"{path}: clip {index} has {len(group)} frames, its length is given as {length}")
                frame_bytes = math.prod(_list(group, "0").shape)
                yield Source(f"{before}{index}", name, len(group) * frame_bytes, (index, index + 1))


def _read_mcvd(file: h5py.File, source: Source) -> Clip:
    group = video.hdf5_item(file, str(source.rows[0]), h5py.Group)
    frames = [_list(group, str(t)) for t in range(len(group))]
    if len({frame.shape for frame in frames}) > 1:
        raise VbenchError(f"{file.filename}: the frames of clip {source.id} differ in size")
    return Clip(source.id, np.stack([_rows(frame, 0, len(frame)) for frame in frames]))


# Arrays of clips


def _find_arrays(source: Path) -> Iterator[Source]:
    for path, name, before in _files(source, video.ARRAYS):
        with _array(path) as clips:
            for index, clip_id in enumerate(clips.ids):
                yield Source(before + clip_id, name, math.prod(clips.shape(clip_id)), (index, index + 1))


@contextmanager
def _array(path: Path) -> Iterator[ArraySource]:
    yield ArraySource(video.arrays(path), str(path), path)


def _read_array(clips: ArraySource, source: Source) -> Clip:
    return Clip(source.id, np.array(clips.frames(video.array_id(source.rows[0]))))


class _Layout(NamedTuple):
    text: str
    find: Callable[[Path], Iterator[Source]]
    open: Callable[[Path], AbstractContextManager[Any]]
    read: Callable[[Any, Source], Clip]
    tracks: Callable[[Any, Source, int], dict[str, np.ndarray]] = _no_tracks


_LAYOUTS = {
    "videos": _Layout("video files and folders of frames (cINN's are such)", _find_videos, nullcontext, _read_frames),
    "pvg": _Layout(
        "PVG/CADDY/GLASS folders of frames with actions.pkl", _find_pvg, nullcontext, _read_frames, _pvg_tracks
    ),
    "videogpt": _Layout(
        "VideoGPT/TATS HDF5 with train_data and train_idx", _find_videogpt, _opened, _read_videogpt, _videogpt_tracks
    ),
    "mcvd": _Layout("MCVD/RIVER HDF5 shards", _find_mcvd, _opened, _read_mcvd),
    "arrays": _Layout(".npy, .npz or .h5 with clips (N, T, H, W, 3) uint8", _find_arrays, _array, _read_array),
}
LAYOUTS = {name: layout.text for name, layout in _LAYOUTS.items()}
