"""One file of a store: the clips of a work item in HDF5, written whole or not at all, read by any number of processes."""

import hashlib
import io
import json
import math
import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from numbers import Real
from pathlib import Path
from typing import Any, TypeVar

import h5py
import numpy as np

from vbench_ctl import files
from vbench_ctl.clips import Clip, Dropped
from vbench_ctl.errors import VbenchError
from vbench_ctl.remote import Parts, Url

Item = TypeVar("Item")

FORMAT = "vbench-store 1"
# What a shard holds beside tracks.
_INDEX = {"frames", "blob", "frame_offsets", "clip_id", "clip_offsets", "clip_sha256", "tracks_sha256"}
_INDEX |= {"masks_blob", "masks_frame_offsets"}
_NUMBERS = {"b1", *(f"{kind}{size}" for kind in "iuf" for size in (1, 2, 4, 8))}  # what every reader knows
CHUNK = 8  # frames; a 16-frame window at 64x64 touches two or three pieces of 98 kB
ENCODINGS = ("raw", "png", "jpeg95")
RAW_PIXELS = 128 * 128  # above this, frames are kept as PNG unless the user says otherwise
SHARD_BYTES = 256 << 20  # what one work item writes at the most, well below the format's 8 GiB
DAMAGED = "it is damaged, get the store again or prepare it elsewhere (--root)"
OTHER_VERSION = "use the version that made it, or prepare another store elsewhere (--root)"


def clip_sha256(clip_id: str, frames: np.ndarray) -> bytes:
    """Digest one clip: its id and shape, a zero byte, the pixels."""
    digest = hashlib.sha256(f"{clip_id} {'x'.join(map(str, frames.shape))}\0".encode())
    digest.update(np.ascontiguousarray(frames).data)
    return digest.digest()


def tracks_sha256(clip: Clip) -> bytes:
    """Digest what is known about one clip besides its frames."""
    digest = hashlib.sha256(clip.id.encode())
    for name, track in sorted(clip.tracks.items()):
        digest.update(f"\0{name} {track.dtype.str} {'x'.join(map(str, track.shape))}\0".encode())
        digest.update(np.ascontiguousarray(track).data)
    return digest.digest()


def chain(digests: Iterable[np.ndarray]) -> str:
    """Digest the digests of the clips in their order."""
    whole = hashlib.sha256()
    for rows in digests:
        whole.update(np.ascontiguousarray(rows).data)
    return whole.hexdigest()


def grouped(items: Iterable[Item], size: Callable[[Item], float]) -> list[list[Item]]:
    """Cut items, each of so many bytes, into work items of about SHARD_BYTES."""
    groups: list[list[Item]] = []
    made = 0.0
    for item in items:
        made += size(item)
        if not groups or made > SHARD_BYTES:
            groups.append([])
            made = size(item)
        groups[-1].append(item)
    return groups


def digest_rows(digests: list[bytes]) -> np.ndarray:
    return np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 32)


# Writing


def write_shard(
    path: Path,
    clips: Callable[[Any], Iterable[Clip | Dropped]],
    item: Any,
    encoding: str | None = None,
    below: str = "",
    **attributes: str,
) -> None:
    """Write the clips of one work item into one file; all ids are paths `below` a folder, where that is named."""
    with new_shard(path, encoding, **attributes) as writer:
        for clip in clips(item):
            if below and isinstance(clip, Clip) and not _is_below(below, clip.id):
                raise VbenchError(
                    f"clip {clip.id!r:.80} cannot be called so; expected an id such as {below}/17, which begins with its split "
                    "and leads to no other folder"
                )
            if isinstance(clip, Dropped):
                if not _is_text(clip.id + clip.reason):
                    raise VbenchError(
                        f"dropped clip {clip.id!a:.80}: {clip.reason!a:.80} holds half a character; mend it"
                    )
                writer.dropped.append(clip)
            else:
                writer.add(clip)


def _is_below(folder: str, clip_id: str) -> bool:
    """Tell whether an id can be the path of a file in a folder."""
    return clip_id.startswith(f"{folder}/") and not re.search(r"/(\.|/|$)|[\\\0]", clip_id)


@contextmanager
def new_shard(path: Path, encoding: str | None = None, **attributes: str) -> "Iterator[ShardWriter]":
    """Yield a writer of clips; the HDF5 file appears under its name when it is whole."""
    with files.new_hdf5(path, libver="v110") as file:
        writer = ShardWriter(file, encoding)
        yield writer
        writer.finish(attributes)


class ShardWriter:
    """Appends clips of one size to an open HDF5 file."""

    def __init__(self, file: h5py.File, encoding: str | None):
        self.file, self.encoding = file, encoding
        self.ids: dict[str, None] = {}  # in their order
        self.offsets = [0]
        self.digests: list[bytes] = []
        self.track_digests: list[bytes] = []
        self.dropped: list[Dropped] = []
        self.fps: float | None = None
        self._kinds: dict[str, str] = {}
        self._datasets: dict[str, h5py.Dataset] = {}
        self._small: dict[str, list[np.ndarray]] = {}  # what is written at the end
        self._begun: dict[str, np.ndarray] = {}  # rows of a chunk that is not full yet

    def add(self, clip: Clip) -> None:
        """Append one clip; all clips of a shard have one frame size and the same tracks."""
        _check(clip)
        if clip.id in self.ids:
            raise VbenchError(f'two clips are called "{clip.id}"; each needs an id of its own')
        if not self.ids:
            self._start(clip)
        height, width = clip.frames.shape[1:3]
        if (height, width) != self.size:
            raise VbenchError(
                f"clip {clip.id} is {width}x{height}, the clips before it are {self.size[1]}x{self.size[0]}; "
                "a store holds one size, so resize them (--size WIDTHxHEIGHT)"
            )
        if _track_kinds(clip) != self._kinds:
            raise VbenchError(
                f"clip {clip.id} has {_listed(_track_kinds(clip))}, the clips before it {_listed(self._kinds)}; "
                "a store's tracks have one type and shape throughout"
            )
        if clip.fps != self.fps:
            self.fps = None
        self.ids[clip.id] = None
        self.offsets.append(self.offsets[-1] + len(clip))
        self.digests.append(clip_sha256(clip.id, self._write_pictures("", clip.frames)))
        self.track_digests.append(tracks_sha256(clip))
        for name, track in clip.tracks.items():
            if name == "masks":
                self._write_pictures("masks_", track)
            else:
                self._small.setdefault(name, []).append(track)

    def _start(self, clip: Clip) -> None:
        self.size = clip.frames.shape[1:3]
        self.fps = clip.fps
        self._kinds = _track_kinds(clip)
        if self.encoding is None:
            self.encoding = "raw" if self.size[0] * self.size[1] <= RAW_PIXELS else "png"

    def _write_pictures(self, prefix: str, pictures: np.ndarray) -> np.ndarray:
        """Append frames or masks in the store's encoding; return what a reader will see."""
        if self.encoding == "raw":
            self._append_chunks("frames" if not prefix else "masks", pictures)
            return pictures
        encoding = "png" if prefix else str(self.encoding)  # a mask is data: never lossy
        blobs = [_encode(picture, encoding) for picture in pictures]
        begin = len(self._datasets[f"{prefix}blob"]) if f"{prefix}blob" in self._datasets else 0
        offsets = begin + np.cumsum([0, *map(len, blobs)])[1 if begin else 0 :]
        self._append(f"{prefix}blob", np.frombuffer(b"".join(blobs), np.uint8), 64 << 10)
        self._small.setdefault(f"{prefix}frame_offsets", []).append(offsets)
        return np.stack([_decode(blob) for blob in blobs]) if encoding == "jpeg95" else pictures

    def _append(self, name: str, values: np.ndarray, chunk: int) -> None:
        data = self._dataset(name, values, chunk)
        data.resize(len(data) + len(values), axis=0)
        data[-len(values) :] = values

    def _append_chunks(self, name: str, values: np.ndarray) -> None:
        """Append rows in whole chunks, past HDF5's cache, which copies everything once more."""
        begun = self._begun.get(name, values[:0])
        taken = -len(begun) % CHUNK
        if taken:
            begun = np.concatenate([begun, values[:taken]])
        if 0 < len(begun) < CHUNK:
            self._begun[name] = begun
            return
        end = taken + (len(values) - taken) // CHUNK * CHUNK
        whole = [values[at : at + CHUNK] for at in range(taken, end, CHUNK)]
        self._write_chunks(name, [begun, *whole] if len(begun) else whole, values)
        self._begun[name] = values[end:].copy()

    def _write_chunks(self, name: str, chunks: list[np.ndarray], like: np.ndarray) -> None:
        data = self._dataset(name, like, CHUNK)
        first = len(data)
        data.resize(first + sum(map(len, chunks)), axis=0)
        corner = (0,) * (data.ndim - 1)
        for number, chunk in enumerate(chunks):
            place = (first + number * CHUNK, *corner)
            data.id.write_direct_chunk(place, np.ascontiguousarray(chunk))

    def _dataset(self, name: str, like: np.ndarray, chunk: int) -> h5py.Dataset:
        if name not in self._datasets:
            rest = like.shape[1:]
            self._datasets[name] = self.file.create_dataset(
                name, (0, *rest), like.dtype, maxshape=(None, *rest), chunks=(chunk, *rest)
            )
        return self._datasets[name]

    def finish(self, attributes: dict[str, str]) -> None:
        """Write what is left and the index of what was added."""
        for name, begun in self._begun.items():
            if len(begun):
                filling = np.zeros((CHUNK - len(begun), *begun.shape[1:]), begun.dtype)
                self._write_chunks(name, [np.concatenate([begun, filling])], begun)
                self._datasets[name].resize(len(self._datasets[name]) - len(filling), axis=0)
        for name, parts in self._small.items():
            self.file[name] = np.concatenate(parts)
        ids = [clip_id.encode() for clip_id in self.ids]
        length = max(map(len, ids), default=1)
        self.file.create_dataset("clip_id", data=np.array(ids, h5py.string_dtype("utf-8", length)))
        self.file["clip_offsets"] = np.array(self.offsets, np.int64)
        self.file["clip_sha256"] = digest_rows(self.digests)
        self.file["tracks_sha256"] = digest_rows(self.track_digests)
        texts = {
            **attributes,
            "store_version": FORMAT,
            "encoding": self.encoding or "raw",
            "tracks": json.dumps([*self._kinds]),
            "dropped": json.dumps([[drop.id, drop.reason] for drop in self.dropped]),
        }
        for name, text in texts.items():
            self.file.attrs[name] = _fixed(text)
        if self.ids:
            self.file.attrs.update(height=self.size[0], width=self.size[1], fps=self.fps or 0.0)


def _fixed(text: str) -> np.ndarray:
    """Return a string of fixed length: HDF5 keeps others without a checksum and can hang on a damaged one."""
    data = text.encode()
    return np.array(data, h5py.string_dtype("utf-8", max(1, len(data))))


def _text(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value


def _check(clip: Any) -> None:
    """Refuse what a store cannot hold."""
    if not isinstance(clip, Clip):
        raise VbenchError(f"among the clips is a {type(clip).__name__}, expected vbench_ctl.clips.Clip or Dropped")
    if "\0" in clip.id or not _is_text(clip.id):
        raise VbenchError(f"a clip's id is {clip.id!a:.80}, expected text such as test/17")
    if clip.fps is not None and not (isinstance(clip.fps, Real) and 0 <= clip.fps < math.inf):
        raise VbenchError(f"clip {clip.id}: its fps are {clip.fps!r:.50}, expected a number above 0, or None")
    for name, track in clip.tracks.items():
        if (
            not isinstance(name, str)
            or not name.strip(".")
            or {"/", "\0"} & {*name}
            or not _is_text(name)
            or name in _INDEX
        ):
            raise VbenchError(f"clip {clip.id}: no track can be called {name!a:.50}, expected a word such as actions")
        if track.dtype.str[1:] not in _NUMBERS:
            raise VbenchError(f"clip {clip.id}: its {name} are {track.dtype}, expected numbers of at most 64 bits")
    masks = clip.tracks.get("masks")
    if masks is not None and (masks.dtype != np.uint8 or masks.shape != clip.frames.shape[:3]):
        raise VbenchError(
            f"clip {clip.id}: its masks are {masks.dtype} {masks.shape}, expected uint8 {clip.frames.shape[:3]}"
        )


def _is_text(name: str) -> bool:
    """Tell whether a file can hold a text: half a character, which Python may have, it cannot."""
    return not any("\ud800" <= letter <= "\udfff" for letter in name)


def _track_kinds(clip: Clip) -> dict[str, str]:
    """Return type and shape of an entry of each track, sorted by name."""
    return {name: _track_kind(track) for name, track in sorted(clip.tracks.items())}


def _track_kind(track: np.ndarray | h5py.Dataset) -> str:
    return "x".join([str(track.dtype), *map(str, track.shape[1:])])


def _listed(kinds: dict[str, str]) -> str:
    return ", ".join(f"{name} {kind}" for name, kind in kinds.items()) or "no tracks"


def _encode(picture: np.ndarray, encoding: str) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    if encoding == "png":
        Image.fromarray(picture).save(buffer, "png", compress_level=3)
    else:
        Image.fromarray(picture).save(buffer, "jpeg", quality=95, subsampling="4:4:4")
    return buffer.getvalue()


# Reading


def has_fingerprint(path: Path, fingerprint: str | None, code: str | None = None) -> bool:
    """Tell whether a shard is there that was made of this and, where `code` is given, by it."""
    try:
        with h5py.File(path, "r") as file:
            by = _text(file.attrs.get("code", ""))
            return _text(file.attrs.get("fingerprint")) == fingerprint and code in (None, by)
    except files.DAMAGED:
        return False


def digests(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Recompute the digests of the clips of one shard from what is on disk: two arrays (N, 32) for pixels and tracks."""
    shard = Shard(path)
    clips = []
    for clip_id, start, stop in zip(shard.ids, shard.offsets[:-1], shard.offsets[1:], strict=True):
        rows = range(start, stop)
        tracks = {name: shard.read(name, rows) for name in shard.tracks}
        clips.append(Clip(clip_id, shard.read("frames", rows), None, tracks))
    shard.close()
    pixels = [clip_sha256(clip.id, clip.frames) for clip in clips]
    return digest_rows(pixels), digest_rows([tracks_sha256(clip) for clip in clips])


class Shard:
    """One HDF5 file of a store. Its index is read at once, its pixels when asked for."""

    def __init__(self, path: Path | Url):
        self.path = path
        self._open: _File | None = None
        try:
            self._opened().complete(self._read_index)
        except files.DAMAGED as error:
            files.refuse_denied(path, error)
            raise VbenchError(
                f"{path}: missing, cut short or not a shard of a store ({_why(error)}); {_remedy(path)}"
            ) from error
        finally:
            self.close()

    def _read_index(self) -> None:
        file = self._opened().hdf5()
        attributes = file.attrs
        found = _text(attributes.get("store_version"))
        if found != FORMAT:
            raise VbenchError(f"{self.path}: its format is {found!r}, expected {FORMAT!r}; {OTHER_VERSION}")
        self.ids = [clip_id.decode() for clip_id in _column(file, "clip_id", "SO")]
        self.offsets = _column(file, "clip_offsets", "iu")
        if len(self.offsets) != len(self.ids) + 1 or self.offsets[0] or (self.offsets[1:] < self.offsets[:-1]).any():
            raise ValueError(f"its clip_offsets do not rise from 0 over {len(self.ids)} clips")
        self.encoding = str(_text(attributes["encoding"]))
        self.tracks: tuple[str, ...] = tuple(json.loads(attributes["tracks"]))
        if not all(isinstance(name, str) for name in self.tracks):
            raise ValueError("the names of its tracks are no text")
        self.fps = float(attributes.get("fps", 0)) or None
        self.size = (int(attributes.get("height", 0)), int(attributes.get("width", 0)))

    @cached_property
    def digests(self) -> np.ndarray:
        """The digests of its clips: uint8 (N, 32)."""
        return self._later(lambda file: file["clip_sha256"][:])

    @cached_property
    def track_digests(self) -> np.ndarray:
        """The digests of its clips' tracks: uint8 (N, 32)."""
        return self._later(lambda file: file["tracks_sha256"][:])

    @cached_property
    def dropped(self) -> list[dict[str, str]]:
        """The source clips that could not be used."""
        listed = self._later(lambda file: json.loads(file.attrs["dropped"]))
        return [{"id": clip_id, "reason": why} for clip_id, why in listed]

    def _later(self, read: Callable[[h5py.File], Any]) -> Any:
        """Read what only those need who build a store: it would make opening one take twice as long."""
        try:
            return self._opened().complete(lambda: read(self._opened().hdf5()))
        except files.DAMAGED as error:
            files.refuse_denied(self.path, error)
            raise VbenchError(f"{self.path}: cannot be read ({_why(error)}); {_remedy(self.path)}") from error
        finally:
            self.close()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": None}

    def kind(self) -> str:
        """Say what all shards of a split must agree in."""
        file = self._opened().hdf5()
        kinds = {name: _track_kind(file[name]) if name in file else "" for name in self.tracks}
        self.close()
        return f"{self.size[1]}x{self.size[0]} {self.encoding} with {_listed(kinds)}"

    def close(self) -> None:
        """Let go of the file; the next read opens it again."""
        self._open = None

    def read(self, name: str, rows: range, out: np.ndarray | None = None) -> np.ndarray:
        """Return these rows of frames, masks or another track, in `out` if that is given."""
        try:
            return self._opened().complete(lambda: self._read(name, rows, out))
        except files.DAMAGED as error:
            files.refuse_denied(self.path, error)
            raise VbenchError(f"{self.path}: {name} cannot be read ({_why(error)}); {_remedy(self.path)}") from error

    def _opened(self) -> "_File":
        if self._open is None or self._open.process != os.getpid():
            self._open = _File(self.path)
        return self._open

    def _read(self, name: str, rows: range, out: np.ndarray | None) -> np.ndarray:
        prefix = {"frames": "", "masks": "masks_"}.get(name)
        if prefix is None or self.encoding == "raw":
            return self._opened().rows(name).read(rows, out)
        return self._pictures(prefix, rows, out)

    def _pictures(self, prefix: str, rows: range, out: np.ndarray | None) -> np.ndarray:
        shape = (len(rows), *self.size, *(() if prefix else (3,)))
        if math.prod(shape) > files.MOST_BYTES:
            raise ValueError(f"pictures {shape} pass the limit of {files.MOST_BYTES:,} bytes")
        out = np.empty(shape, np.uint8) if out is None else out
        if len(rows):
            offsets = self._opened().rows(f"{prefix}frame_offsets").read(range(rows.start, rows.stop + 1))
            blob = self._opened().rows(f"{prefix}blob").read(range(offsets[0], offsets[-1]))
            for at, row in enumerate(rows):
                begin, end = offsets[row - rows.start : row - rows.start + 2] - offsets[0]
                out[at] = _decode(blob[begin:end])
        return out


class _File:
    """A shard's file as one process has it open: an HDF5 handle does not survive a fork."""

    def __init__(self, path: Path | Url):
        self.path, self.process = path, os.getpid()
        self._parts = Parts(path) if isinstance(path, Url) else None
        self._hdf5: h5py.File | None = None
        self._rows: dict[str, _Rows] = {}

    def complete(self, function: Callable[[], Any]) -> Any:
        """Return function(), which reads this file."""
        return self._parts.complete(function) if self._parts else function()

    def hdf5(self) -> h5py.File:
        if self._hdf5 is None:
            self._hdf5 = h5py.File(self._parts.open() if self._parts else self.path, "r")
        return self._hdf5

    def rows(self, name: str) -> "_Rows":
        if name not in self._rows:
            self._rows[name] = _Rows(self.hdf5()[name])
        return self._rows[name]


class _Rows:
    """The rows of a dataset. Where they lie in the file as they are, they are read past HDF5, in a third of its time."""

    def __init__(self, data: h5py.Dataset):
        self.data = data
        self.length, *rest = data.shape
        self.entry = tuple(rest)  # shape of a row
        self.row_bytes = data.dtype.itemsize * math.prod(rest)
        self.piece = data.chunks[0] if data.chunks else self.length  # rows that lie together
        self._places: dict[int, int] | None = None  # piece -> where it begins in the file
        self._file: int | None = data.file.id.get_vfd_handle() if self._is_plain() else None

    def _is_plain(self) -> bool:
        data = self.data
        return (
            hasattr(os, "preadv")
            and hasattr(data.id, "chunk_iter")  # not before HDF5 1.12.3
            and data.file.driver == "sec2"
            and data.file.userblock_size == 0
            and data.dtype.isnative
            and data.id.get_create_plist().get_nfilters() == 0
            and (data.chunks[1:] == self.entry if data.chunks else data.id.get_offset() is not None)
        )

    def read(self, rows: range, out: np.ndarray | None = None) -> np.ndarray:
        """Return some rows, in `out` (C order) if that is given."""
        if not 0 <= rows.start <= rows.stop <= self.length:
            raise ValueError(f"it has {self.length} rows, asked for {rows.start} to {rows.stop}")
        if len(rows) * self.row_bytes > files.MOST_BYTES:
            raise ValueError(f"{len(rows)} rows of {self.row_bytes:,} bytes pass the limit of {files.MOST_BYTES:,}")
        if self._file is None:
            # HDF5's own steps take a hundred times as long as reading what lies between.
            found = self.data[rows.start : rows.stop][:: rows.step]
            if out is None:
                return found
            out[:] = found
            return out
        out = np.empty((len(rows), *self.entry), self.data.dtype) if out is None else out
        if out.size:
            self._read_plain(self._file, rows, out.data.cast("B"))
        return out

    def _read_plain(self, file: int, rows: range, memory: memoryview) -> None:
        if self._places is None:
            self._places = self._find_places()
        at = 0
        for first, count in self._runs(rows):
            number, inside = divmod(first, self.piece)
            part = memory[at : at + count * self.row_bytes]
            if number not in self._places:
                raise OSError("a part of it was never written")
            if os.preadv(file, [part], self._places[number] + inside * self.row_bytes) != len(part):
                raise OSError("the file is cut short")
            at += len(part)

    def _runs(self, rows: range) -> Iterator[tuple[int, int]]:
        """Yield first row and number of rows of what lies together."""
        if rows.step > 1:
            yield from ((row, 1) for row in rows)
            return
        first = rows.start
        while first < rows.stop:
            count = min(rows.stop - first, self.piece - first % self.piece)
            yield first, count
            first += count

    def _find_places(self) -> dict[int, int]:
        if not self.data.chunks:
            return {0: self.data.id.get_offset()}
        places = {}

        def note(chunk: h5py.h5d.StoreInfo) -> None:
            places[chunk.chunk_offset[0] // self.piece] = chunk.byte_offset

        self.data.id.chunk_iter(note)
        return places


def _column(file: h5py.File, name: str, kinds: str) -> np.ndarray:
    """Read a whole column of numbers or texts; memory is taken for what is there alone."""
    data = file[name]
    if data.ndim != 1 or data.dtype.kind not in kinds:
        raise ValueError(f"{name} is {data.dtype} {data.shape}")
    if not files.can_hold(data.id.get_storage_size(), data.nbytes):
        raise ValueError(f"{name} claims {len(data)} entries, and there are fewer")
    return data[:]


def _decode(blob: bytes | np.ndarray) -> np.ndarray:
    from PIL import Image

    try:
        # These formats alone: for others Pillow runs programs, Ghostscript for one.
        return np.asarray(Image.open(io.BytesIO(bytes(blob)), formats=["PNG", "JPEG"]))
    except Image.DecompressionBombError as error:
        raise ValueError(f"a picture is too large ({error})") from error


def _why(error: Exception) -> str:
    """Return what the system says; HDF5 puts more words around it."""
    return os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)


def _remedy(path: Path | Url) -> str:
    is_remote = isinstance(path, Url)
    return "check the address and the network" if is_remote else "remove it and run prepare again"
