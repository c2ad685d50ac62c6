"""Stores written in the layouts that other programs read.

A clip lies at its id below the exported folder, under the name of its split where the id does not say it; importing
the folder (of WebDataset, the unpacked tars) gives the clips back. An export appears under its name when it is whole;
until then it lies in a hidden folder beside it, under a name that stands for its content, and a killed one goes on with
what is missing.
"""

import hashlib
import io
import itertools
import json
import os
import pickle
import re
import shutil
import tarfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from vbench_ctl import files, video
from vbench_ctl.clips import Clip
from vbench_ctl.errors import UsageError, VbenchError, unknown
from vbench_ctl.importers import GLACTIONS, split_of
from vbench_ctl.store import Store

TAR_BYTES = 1_000_000_000  # a tar is closed when it has passed this

Advance = Callable[[int], None]
WriteClip = Callable[[Path, Clip], None]


def export(
    source: Store | Sequence[Store], folder: Path, layout: str, advance: Advance = lambda clips: None
) -> list[str]:
    """Write splits to a new folder (videogpt: a new .h5 file); return the tracks that the layout has no place for."""
    if layout not in LAYOUTS:
        raise unknown("layout", layout, LAYOUTS)
    if layout == "videogpt" and folder.suffix.lower() not in video.HDF5:
        raise UsageError(f"{folder}: the videogpt layout is one file; give it a name that ends in .h5")
    splits = [_Split(store) for store in ([source] if isinstance(source, Store) else source)]
    _refuse_to_replace(folder, layout)
    content = repr([layout, *((split.name, split.store.summary) for split in splits)])
    key = hashlib.sha256(content.encode()).hexdigest()[:12]
    hidden = folder.absolute().with_name(f".{folder.name}.part")
    part = hidden / key / folder.name
    with files.explained(folder), files.locked(hidden):
        _refuse_to_replace(folder, layout)  # another export may have ended meanwhile
        part.parent.mkdir(exist_ok=True)
        _LAYOUTS[layout].write(part, splits, advance)
        os.replace(part, folder)
        shutil.rmtree(hidden)
    return sorted({track for split in splits for track in _LAYOUTS[layout].left_out(set(split.store.tracks))})


def _refuse_to_replace(folder: Path, layout: str) -> None:
    if folder.exists() and (layout == "videogpt" or not folder.is_dir() or any(folder.iterdir())):
        raise VbenchError(f"{folder}: is there already; remove it or choose another place")


class _Split:
    """A store's split and where each of its clips goes; names that lead elsewhere are refused before any writing."""

    def __init__(self, store: Store):
        self.store, self.name = store, store.split
        self.places = [id if split_of(id) == self.name else f"{self.name}/{id}" for id in store.ids]
        known = set(self.places)
        for place in [self.name, *self.places]:
            parents = list(itertools.accumulate(place.split("/"), "{}/{}".format))[:-1]
            if re.search(r"(^|/)(\.|/|$)|[\\\0]", place):
                raise VbenchError(
                    f'{store.folder}: "{place}" cannot be the name of a file; expected one like train/a/7'
                )
            if not known.isdisjoint(parents):
                raise VbenchError(f'{store.folder}: clip "{place}" would lie inside another clip; rename one of them')


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """Yield an empty hidden folder for half-written files."""
    scratch = folder / ".part"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    yield scratch
    shutil.rmtree(scratch)


# A file or folder for each clip


def _write_clips(folder: Path, splits: Iterable[_Split], advance: Advance, suffix: str, write: WriteClip) -> None:
    with _scratch(folder) as scratch:
        for split in splits:
            for index, place in enumerate(split.places):
                path = folder / f"{place}{suffix}"
                if not path.exists():
                    made = scratch / f"{index}{suffix}"
                    write(made, split.store[index])
                    path.parent.mkdir(parents=True, exist_ok=True)
                    os.replace(made, path)
                advance(1)


def _write_mp4(folder: Path, splits: Iterable[_Split], advance: Advance) -> None:
    _write_clips(folder, splits, advance, ".mp4", _write_video)


def _write_png(folder: Path, splits: Iterable[_Split], advance: Advance) -> None:
    _write_clips(folder, splits, advance, "", lambda path, clip: _write_pictures(path, clip.frames))


def _write_pvg(folder: Path, splits: Iterable[_Split], advance: Advance) -> None:
    _write_clips(folder, splits, advance, "", _write_labelled)


def _write_video(path: Path, clip: Clip) -> None:
    video.write(path, clip.frames, clip.fps or video.FPS)


def _write_pictures(folder: Path, pictures: np.ndarray) -> None:
    folder.mkdir()
    for t, picture in enumerate(pictures):
        Image.fromarray(picture).save(folder / f"{t:05d}.png")


def _write_labelled(folder: Path, clip: Clip) -> None:
    """Write frames and one pickled list per kind of label (willi-menapace/PlayableVideoGeneration:dataset/video.py)."""
    _write_pictures(folder, clip.frames)
    if "masks" in clip.tracks:
        _write_pictures(folder / "masks", clip.tracks["masks"])
    labels: dict[str, list[Any]] = {name: track.tolist() for name, track in clip.tracks.items() if name != "masks"}
    nothing = [None] * len(clip)
    lists: dict[str, Any] = {
        "actions": labels.get("actions", labels.get("global_action", nothing)),
        "rewards": labels.get("rewards", nothing),
        "metadata": [{"state": state} for state in labels["state"]] if "state" in labels else nothing,
        "dones": [bool(done) for done in labels["dones"]] if "dones" in labels else nothing,
    }
    if labels.keys() >= GLACTIONS.keys():
        lists["glactions"] = {key: labels[name] for name, key in GLACTIONS.items()}
    for name, entries in lists.items():
        (folder / f"{name}.pkl").write_bytes(pickle.dumps(entries, protocol=2))  # Python 2 reads that


def _no_pvg(tracks: set[str]) -> set[str]:
    kept = {"actions", "rewards", "state", "dones", "masks"}
    if tracks >= GLACTIONS.keys():
        kept |= GLACTIONS.keys()
    elif "actions" not in tracks:
        kept.add("global_action")
    return tracks - kept


# WebDataset: the members of a tar that share a name up to its first dot are one sample


def _write_tars(folder: Path, splits: Iterable[_Split], advance: Advance) -> None:
    with _scratch(folder) as scratch:
        for split in splits:
            tars = itertools.groupby(_samples(split, scratch, advance), key=lambda sample: sample[0])
            for number, (_, samples) in enumerate(tars):
                with tarfile.open(folder / f"{split.name}-{number:06d}.tar", "w") as tar:
                    for _, members in samples:
                        for name, data in members.items():
                            member = tarfile.TarInfo(name)  # mode, owner and time are the same every time
                            member.size = len(data)
                            tar.addfile(member, io.BytesIO(data))


def _samples(split: _Split, scratch: Path, advance: Advance) -> Iterator[tuple[int, dict[str, bytes]]]:
    """Yield each clip as (bytes before it in tars, members by name)."""
    written = 0
    for place, clip in zip(split.places, split.store, strict=True):
        above, _, name = place.rpartition("/")
        key = "/".join([above] * bool(above) + [name.replace("%", "%25").replace(".", "%2E")])
        _write_video(scratch / "clip.mkv", clip)
        facts = {"id": clip.id, "split": split.name, "frames": len(clip), "fps": clip.fps, "tracks": [*clip.tracks]}
        members = {
            f"{key}.mkv": (scratch / "clip.mkv").read_bytes(),
            f"{key}.json": json.dumps(facts, ensure_ascii=False).encode(),
        }
        if clip.tracks:
            packed = io.BytesIO()
            tracks: dict[str, Any] = clip.tracks
            np.savez_compressed(packed, **tracks)
            members[f"{key}.npz"] = packed.getvalue()
        yield written // TAR_BYTES, members
        written += sum(map(len, members.values()))
        advance(1)


# VideoGPT/TATS


def _write_videogpt(path: Path, splits: Iterable[_Split], advance: Advance) -> None:
    """Write all frames of a split in a row, and the starts of clips with the end: TATS leaves the last entry out."""
    with files.new_hdf5(path) as file:
        for split in splits:
            clips = split.store
            bounds = np.concatenate([[0], np.cumsum(clips.lengths)]).astype(np.int64)
            file[f"{split.name}_idx"] = bounds
            frames = file.create_dataset(f"{split.name}_data", (bounds[-1], *clips.size, 3), np.uint8)
            for index, (start, stop) in enumerate(itertools.pairwise(bounds)):
                frames[start:stop] = clips.frames(index)
                advance(1)
            if "actions" in clips.tracks:
                file[f"{split.name}_actions"] = np.concatenate([clips.track("actions", i) for i in range(len(clips))])


class _Layout(NamedTuple):
    text: str
    write: Callable[[Path, Sequence[_Split], Advance], None]
    left_out: Callable[[set[str]], set[str]]


_LAYOUTS = {
    "mp4": _Layout("an H.264 file for each clip; lossy", _write_mp4, lambda tracks: tracks),
    "png": _Layout("a folder of PNG frames for each clip", _write_png, lambda tracks: tracks),
    "pvg": _Layout("PVG/CADDY/GLASS: PNG frames, actions.pkl and the other labels", _write_pvg, _no_pvg),
    "webdataset": _Layout("tars of lossless .mkv, .json and .npz, about 1 GB each", _write_tars, lambda tracks: set()),
    "videogpt": _Layout("one VideoGPT/TATS HDF5 file", _write_videogpt, lambda tracks: tracks - {"actions"}),
}
LAYOUTS = {name: layout.text for name, layout in _LAYOUTS.items()}
