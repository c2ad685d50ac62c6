"""Clips from anywhere, under one face: a store, a folder of videos or of frame folders, an array file, arrays."""

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from vbench_ctl import files, remote, store, video
from vbench_ctl import tracks as known
from vbench_ctl.errors import UsageError, VbenchError, unknown
from vbench_ctl.remote import Url

OUTPUTS = "vbench-outputs 1"  # the format of the manifest of an outputs folder


class Source(Protocol):
    """Clips by id; may be passed to worker processes."""

    name: str
    ids: list[str]
    manifest: dict[str, Any]  # of a store or an outputs folder; empty elsewhere
    tracks: Sequence[str]  # of a store, or beside the clips of a folder; none elsewhere

    def length(self, clip_id: str) -> int:
        """Return the number of frames of a clip."""
        ...

    def frames(self, clip_id: str, start: int = 0, stop: int | None = None, step: int = 1) -> np.ndarray:
        """Return frames of one clip: uint8 (T, H, W, 3)."""
        ...

    def track(self, name: str, clip_id: str, start: int = 0, stop: int | None = None, step: int = 1) -> np.ndarray:
        """Return the same range of a track."""
        ...

    def tracks_of(
        self, clip_id: str, names: Collection[str], start: int = 0, stop: int | None = None, step: int = 1
    ) -> known.Tracks:
        """Return the same range of those of the named tracks that are known; shorter ones are of the last frames."""
        ...

    def lossy(self) -> str | None:
        """Return the first lossy encoding among the clips, with where it is, or None."""
        ...


def as_source(clips: Any, name: str, split: str | None = None, first: int = 0) -> Source:
    """Take clips as a researcher has them at hand: a path, an array or tensor (N, T, H, W, 3) uint8, or clips one by one.

    Clips that have no names are numbered from `first` on. Those that an iterator makes are put on disk as they come.
    """
    if isinstance(clips, str | Path):
        return open_source(clips, split)
    if hasattr(clips, "dtype"):
        return ArraySource(video.checked_array(_array(clips), name), name, first=first)
    if hasattr(clips, "ids"):
        return clips
    if isinstance(clips, Mapping):
        raise UsageError(
            f"{name}: several things by name ({', '.join(map(str, clips))}); give the one that is the clips"
        )
    if not hasattr(clips, "__iter__") and not hasattr(clips, "__getitem__"):
        raise UsageError(
            f"{name}: {clips!r:.50} holds no clips; expected a path, an array or tensor (N, T, H, W, 3) uint8, or clips one by one"
        )
    found = _one_by_one(clips, name)
    held = list(found) if isinstance(clips, list | tuple) else _OnDisk(found)
    if not held:
        raise VbenchError(f"{name}: no clips")
    return ArraySource(held, name, first=first)


def _one_by_one(clips: Iterable[Any], name: str) -> Iterator[np.ndarray]:
    for number, clip in enumerate(clips):
        if isinstance(clip, str | Path):
            raise UsageError(f"{name}, clip {number}: {str(clip)!r} is a name; give the folder that the clips lie in")
        if isinstance(clip, list | tuple) and any(getattr(each, "ndim", 0) > 3 for each in clip):
            raise UsageError(
                f"{name}, clip {number}: a {type(clip).__name__} of arrays, as a DataLoader makes of a batch; give the one of the clips"
            )
        try:
            array = _array(clip if hasattr(clip, "dtype") else np.asarray(clip))
        except ValueError as error:
            raise VbenchError(f"{name}, clip {number}: no array ({error}); expected (T, H, W, 3) uint8") from error
        yield from video.checked_array(array, f"{name}, clip {number}")


def _array(clips: Any) -> Any:
    """Return a tensor, on whichever device, as an array; one that is not uint8 stays what it is, to be refused."""
    bytes_of = hasattr(clips, "detach") and str(clips.dtype) == "torch.uint8"
    return clips.detach().cpu().numpy() if bytes_of else clips


def open_source(path: str | Path | Url, split: str | None = None) -> Source:
    """Open what lies at `path`, whatever it is; a store with several splits needs to know which. At a URL lies a store."""
    located = remote.located(path)
    if isinstance(located, Url):
        return StoreSource(store.Store(located, split))
    path = located
    if not path.exists():
        raise VbenchError(f"{path}: not there; expected a folder of clips, a store, or an .npy, .npz or .h5 array")
    if path.is_file() and path.suffix.lower() in video.ARRAYS:
        return ArraySource(video.arrays(path), path.stem, path)
    if path.is_file():
        raise VbenchError(f"{path}: one file; expected a folder of clips, a store, or an .npy, .npz or .h5 array")
    if store.is_store(path):
        return StoreSource(store.Store(path, split))
    return FolderSource(path)


def fps(source: Source) -> float | None:
    """Return the frames per second of a source's clips, where it is a store that knows them."""
    return source.store.fps if isinstance(source, StoreSource) else None


class StoreSource:
    """One split of a store."""

    def __init__(self, opened: store.Store):
        self.store = opened
        self.manifest = opened.manifest
        self.name = f"{self.manifest['dataset']} {self.manifest['variant']} {opened.split}"
        self.ids = opened.ids
        self.tracks: Sequence[str] = opened.tracks

    def length(self, clip_id: str) -> int:
        return int(self.store.lengths[self.store.index(clip_id)])

    def frames(self, clip_id: str, start: int = 0, stop: int | None = None, step: int = 1) -> np.ndarray:
        return self.store.frames(self.store.index(clip_id), start, stop, step)

    def track(self, name: str, clip_id: str, start: int = 0, stop: int | None = None, step: int = 1) -> np.ndarray:
        return self.store.track(name, self.store.index(clip_id), start, stop, step)

    def tracks_of(
        self, clip_id: str, names: Collection[str], start: int = 0, stop: int | None = None, step: int = 1
    ) -> known.Tracks:
        return {name: self.track(name, clip_id, start, stop, step) for name in names if name in self.tracks}

    def lossy(self) -> str | None:
        encoding = self.store.summary["encoding"]
        return f"{self.store.folder} is {encoding}" if encoding == "jpeg95" else None


class JoinedSource:
    """Several sources one after the other; before each id stands the number of its source."""

    def __init__(self, parts: Sequence[Source]):
        self.parts = parts
        self.manifest: dict[str, Any] = {}
        self.name = " + ".join(part.name for part in parts)
        self.ids = [f"{number}/{clip_id}" for number, part in enumerate(parts) for clip_id in part.ids]
        self.tracks: Sequence[str] = [name for name in parts[0].tracks if all(name in part.tracks for part in parts)]

    def length(self, clip_id: str) -> int:
        part, inside = self._place(clip_id)
        return part.length(inside)

    def frames(self, clip_id: str, start: int = 0, stop: int | None = None, step: int = 1) -> np.ndarray:
        part, inside = self._place(clip_id)
        return part.frames(inside, start, stop, step)

    def track(self, name: str, clip_id: str, start: int = 0, stop: int | None = None, step: int = 1) -> np.ndarray:
        part, inside = self._place(clip_id)
        return part.track(name, inside, start, stop, step)

    def tracks_of(
        self, clip_id: str, names: Collection[str], start: int = 0, stop: int | None = None, step: int = 1
    ) -> known.Tracks:
        part, inside = self._place(clip_id)
        return part.tracks_of(inside, names, start, stop, step)

    def lossy(self) -> str | None:
        return next(filter(None, (part.lossy() for part in self.parts)), None)

    def _place(self, clip_id: str) -> tuple[Source, str]:
        number, _, inside = clip_id.partition("/")
        return self.parts[int(number)], inside


def outputs_manifest(folder: Path) -> dict[str, Any]:
    """Read the manifest of an outputs folder; nothing where there is none. Other programs may write there what they like."""
    path = folder / "manifest.json"
    held = files.read_json(path) if path.is_file() else {}
    found = held if isinstance(held, dict) else {}
    made = str(found.get("format"))
    if made.startswith(OUTPUTS.partition(" ")[0]) and made != OUTPUTS:
        raise VbenchError(f"{path}: its format is {made!r}, expected {OUTPUTS!r}; use the version that made it")
    return found


class FolderSource:
    """Videos and frame folders below a folder, with tracks beside them; an outputs folder is one with a manifest."""

    def __init__(self, folder: Path):
        self.manifest = outputs_manifest(folder)
        self.paths = video.find(folder)
        for path in self.paths.values():
            files.check_name(path)
        self.ids = list(self.paths)
        # The others are expected to have them.
        self.tracks: Sequence[str] = known.names(known.beside(self.paths[self.ids[0]]))
        self.name = folder.resolve().name or str(folder)

    def length(self, clip_id: str) -> int:
        path = self.paths[clip_id]
        video.check_numbers(path)
        frames = video.probe(path).frames
        return sum(1 for _ in video.frames(path)) if frames is None else frames

    def frames(self, clip_id: str, start: int = 0, stop: int | None = None, step: int = 1) -> np.ndarray:
        video.check_numbers(self.paths[clip_id])
        return video.read(self.paths[clip_id], start, stop, step).frames

    def track(self, name: str, clip_id: str, start: int = 0, stop: int | None = None, step: int = 1) -> np.ndarray:
        found = self.tracks_of(clip_id, [name], start, stop, step)
        if name not in found:
            raise unknown(f"track beside {self.paths[clip_id]}", name, known.names(known.beside(self.paths[clip_id])))
        return found[name]

    def tracks_of(
        self, clip_id: str, names: Collection[str], start: int = 0, stop: int | None = None, step: int = 1
    ) -> known.Tracks:
        found = known.read(known.beside(self.paths[clip_id]), names)
        if not found or (start, stop, step) == (0, None, 1):
            return found
        length = self.length(clip_id)
        frames = range(length)[start:stop:step]
        return {name: known.of_frames(track, frames, length) for name, track in found.items()}

    def lossy(self) -> str | None:
        for path in self.paths.values():
            codec, lossless = video.coding(path)
            if not lossless:
                return f"{path} is {codec}"
        return None


class _OnDisk(Sequence[np.ndarray]):
    """Clips that came one by one, in a file that goes with them: memory holds one at a time."""

    def __init__(self, clips: Iterable[np.ndarray]):
        self.folder = files.Scratch()
        self.path = Path(self.folder.name, "clips")
        self.places: list[tuple[int, tuple[int, ...]]] = []
        with open(self.path, "wb") as file:
            for clip in clips:
                self.places.append((file.tell(), clip.shape))
                file.write(np.ascontiguousarray(clip).data)

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: Any) -> Any:
        offset, shape = self.places[index]
        return np.memmap(self.path, np.uint8, "r", offset, shape)


class ArraySource:
    """N clips of one array (N, T, H, W, 3) uint8, or a sequence of clips."""

    tracks: Sequence[str] = ()

    def __init__(self, clips: Any, name: str = "array", path: Path | None = None, first: int = 0):
        self.clips, self.path, self.name, self.first = clips, path, name, first
        self.ids = [video.array_id(first + index) for index in range(len(clips))]
        self.manifest: dict[str, Any] = {}

    @property
    def is_one(self) -> bool:
        """Tell whether the clips are one array, which need not be read to know their shape."""
        return hasattr(self.clips, "dtype")

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "clips": None} if self.path else self.__dict__

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self.path:
            self.clips = video.arrays(self.path)

    def length(self, clip_id: str) -> int:
        return self.shape(clip_id)[0]

    def shape(self, clip_id: str) -> tuple[int, ...]:
        """Return the shape of a clip, (T, H, W, 3), without reading it."""
        return self.clips.shape[1:] if self.is_one else self.clips[int(clip_id) - self.first].shape

    def frames(self, clip_id: str, start: int = 0, stop: int | None = None, step: int = 1) -> np.ndarray:
        index, (length, *rest) = int(clip_id) - self.first, self.shape(clip_id)
        asked = range(length)[start:stop]
        if self.path and (size_bytes := len(asked) * math.prod(rest)) > files.MOST_BYTES:
            raise VbenchError(
                f"{self.name}: {len(asked)} frames of clip {clip_id} take {size_bytes:,} bytes, expected at most "
                f"{files.MOST_BYTES:,}; cut the clip up"
            )
        part = slice(asked.start, asked.stop)
        try:
            found = self.clips[index, part] if self.is_one else self.clips[index][part]
            return np.asarray(found[::step])
        except (OSError, RuntimeError) as error:  # of HDF5, which reads only now
            raise VbenchError(f"{self.name}: clip {clip_id} cannot be read ({error}); save it again") from error

    def track(self, name: str, clip_id: str, start: int = 0, stop: int | None = None, step: int = 1) -> np.ndarray:
        raise unknown(f"track in {self.name}", name, self.tracks)

    def tracks_of(
        self, clip_id: str, names: Collection[str], start: int = 0, stop: int | None = None, step: int = 1
    ) -> known.Tracks:
        return {}

    def lossy(self) -> str | None:
        return None
