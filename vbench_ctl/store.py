"""The clip store: HDF5 shards, a manifest and an index in one folder. The format is described in docs/store.md.

A store is built shard by shard. A shard is one work item, written under a temporary name and renamed, so that any
number of workers gives the same files and a killed build goes on where it stopped.
"""

import csv
import hashlib
import io
import json
import math
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from vbench_ctl import __version__, execute, files, protocols, provenance, remote, variants
from vbench_ctl.clips import Clip
from vbench_ctl.errors import UsageError, VbenchError, unknown
from vbench_ctl.progress import progress
from vbench_ctl.remote import Parts, Url

if TYPE_CHECKING:  # windows.py needs torch
    from vbench_ctl.windows import Windows

FORMAT = "vbench-store 1"
CHUNK = 8  # frames; a 16-frame window at 64x64 touches two or three pieces of 98 kB
ENCODINGS = ("raw", "png", "jpeg95")
RAW_PIXELS = 128 * 128  # above this, frames are kept as PNG unless the user says otherwise
SHARD_BYTES = 256 << 20  # what one work item writes at the most, well below the format's 8 GiB
OPEN_SHARDS = 256  # a process may often hold no more than 1024 files
# What a reader needs to know of a split before it opens a file.
SUMMARY: dict[str, tuple[type, ...]] = {
    "clips": (int,),
    "height": (int,),
    "width": (int,),
    "fps": (int, float, type(None)),
    "encoding": (str, type(None)),
    "tracks": (list,),
    "shards": (list,),
    "content_sha256": (str,),
}
_DAMAGED = "it is damaged, get the store again or prepare it elsewhere (--root)"
_OTHER_VERSION = "use the version that made it, or prepare another store elsewhere (--root)"


@dataclass(frozen=True)
class Dropped:
    """A source clip that could not be used, and why."""

    id: str
    reason: str


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


# Writing


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
        self.ids: list[str] = []
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
        self.ids.append(clip.id)
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
        self.file["clip_sha256"] = _digest_rows(self.digests)
        self.file["tracks_sha256"] = _digest_rows(self.track_digests)
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


def _track_kinds(clip: Clip) -> dict[str, str]:
    """Return type and shape of an entry of each track, sorted by name; refuse what a store cannot hold."""
    for name, track in clip.tracks.items():
        if track.dtype.kind not in "biuf":
            raise VbenchError(f"clip {clip.id}: its {name} are {track.dtype}, expected numbers")
    masks = clip.tracks.get("masks")
    if masks is not None and (masks.dtype != np.uint8 or masks.shape != clip.frames.shape[:3]):
        raise VbenchError(
            f"clip {clip.id}: its masks are {masks.dtype} {masks.shape}, expected uint8 {clip.frames.shape[:3]}"
        )
    return {name: _track_kind(track) for name, track in sorted(clip.tracks.items())}


def _track_kind(track: np.ndarray | h5py.Dataset) -> str:
    return "x".join([str(track.dtype), *map(str, track.shape[1:])])


def _listed(kinds: dict[str, str]) -> str:
    return ", ".join(f"{name} {kind}" for name, kind in kinds.items()) or "no tracks"


def _digest_rows(digests: list[bytes]) -> np.ndarray:
    return np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 32)


def _encode(picture: np.ndarray, encoding: str) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    if encoding == "png":
        Image.fromarray(picture).save(buffer, "png", compress_level=3)
    else:
        Image.fromarray(picture).save(buffer, "jpeg", quality=95, subsampling="4:4:4")
    return buffer.getvalue()


def _decode(blob: bytes | np.ndarray) -> np.ndarray:
    from PIL import Image

    try:
        # These formats alone: for others Pillow runs programs, Ghostscript for one.
        return np.asarray(Image.open(io.BytesIO(bytes(blob)), formats=["PNG", "JPEG"]))
    except Image.DecompressionBombError as error:
        raise ValueError(f"a picture is too large ({error})") from error


# Building


@dataclass(frozen=True)
class Recipe:
    """What a store is made of: enough to make it again, and to tell whether a shard on disk belongs to it."""

    dataset: str
    variant: str
    version: int  # of the converter or generator: raised when its output changes
    work: dict[str, Sequence[Any]]  # split -> work items, one shard each
    clips: Callable[[Any], Iterable[Clip | Dropped]]  # a work item's clips, in order; importable
    facts: dict[str, Any]  # options and sources: what decides the content beside the work items
    card: dict[str, Any]  # licence, citation and the like, for the manifest
    encoding: str | None = None
    sources: dict[str, Any] = field(default_factory=dict)  # split -> the files it was read from, where they differ
    repeats: bool = False  # a clip may come in several work items of a split: the first of them keeps it
    split_facts: dict[str, dict[str, str]] = field(default_factory=dict)  # split -> what the manifest says of it alone
    # split -> which clips its lists name beside those whose ids came, usable or not
    absent: dict[str, Callable[[Collection[str]], Iterable[Dropped]]] = field(default_factory=dict)

    def fingerprint(self, split: str) -> str:
        """Digest what decides the content of a split."""
        facts = {**self.facts, "sources": self.sources[split]} if self.sources else self.facts
        decides = (FORMAT, self.dataset, self.variant, self.version, self.encoding, self.work[split], facts)
        return hashlib.sha256(repr(decides).encode()).hexdigest()[:16]

    def attributes(self, split: str) -> dict[str, str]:
        """Return what each file of a split says about its making."""
        sources = json.dumps(self.facts["sources"], sort_keys=True) if "sources" in self.facts else ""
        place = (self.dataset, self.variant, split)
        known = [p.id for p in protocols.load_all().values() if (p.dataset, p.variant, p.split) == place]
        return {
            "dataset": self.dataset,
            "variant": self.variant,
            "converter": f"vbench-ctl {__version__}, {self.dataset}@{self.version}",
            "source_sha256": hashlib.sha256(sources.encode()).hexdigest() if sources else "",
            "protocols": json.dumps(known),
            "fingerprint": self.fingerprint(split),
        }


def store_path(dataset: str, variant: str, version: int, root: str | Path | None = None) -> Path:
    """Return where the store of this dataset belongs."""
    return files.home(root) / "stores" / dataset / f"{variant}@{version}"


def made(dataset: str, root: str | Path | None = None) -> list[str]:
    """Return the names of the stores of a dataset that are there."""
    folders = sorted((files.home(root) / "stores" / dataset).glob("*@*"))
    return [folder.name for folder in folders if is_store(folder)]


def newest(dataset: str, variant: str, split: str, root: str | Path | None = None) -> Path:
    """Return the finished store of a variant with the highest version, which has the split."""
    folder = files.home(root) / "stores" / dataset
    versions = {path.name.rpartition("@")[2]: path for path in folder.glob(f"{variant}@*") if is_store(path)}
    if numbers := list(filter(str.isdecimal, versions)):
        found = versions[max(numbers, key=int)]
        splits = read_manifest(found)["splits"]
        if split in splits:
            return found
        lacking = f'{found} has no split "{split}" ({", ".join(splits)})'
    else:
        others = ", ".join(made(dataset, root))
        lacking = f"no store {dataset} {variant} in {folder.parent}" + (f" (there is {others})" if others else "")
    raise VbenchError(f"{lacking}; {variants.remedy(dataset, variant, split)}")


def split_facts(dataset: str, root: str | Path | None = None) -> dict[str, dict[str, dict[str, str]]]:
    """Return what the manifests of a dataset's stores say of single splits: store -> split -> facts."""
    found = {}
    for name in made(dataset, root):
        with suppress(VbenchError):  # of another version, or damaged
            splits = read_manifest(files.home(root) / "stores" / dataset / name)["splits"]
            if told := {split: summary["facts"] for split, summary in splits.items() if "facts" in summary}:
                found[name] = told
    return found


def build(folder: Path, recipe: Recipe, workers: execute.Workers = 1, strict: bool = False) -> dict[str, Any]:
    """Make the splits of a recipe and return the manifest; finished splits are left alone, interrupted ones go on.

    Clips that cannot be used are left out and listed; if `strict`, the first of them is an error. A split without any
    clip is one, too, and none of it is kept.
    """
    if empty := [split for split, items in recipe.work.items() if not items]:
        raise VbenchError(
            f"{folder}: {empty[0]} has no clips, since nothing of it was found; leave that split out (--split)"
        )
    with files.locked(folder):
        files.sweep(folder)
        manifest = read_manifest(folder) if (folder / "manifest.json").exists() else _new_manifest(recipe)
        jobs = {split: _jobs(folder, recipe, split) for split in recipe.work}
        todo = [split for split in jobs if not _is_finished(folder, manifest, recipe, split, jobs[split])]
        wanted = [job for split in todo for job in jobs[split]]
        open_jobs = [job for job in wanted if not _is_whole(job)]
        done = len(wanted) - len(open_jobs)
        with progress(f"{recipe.dataset} {recipe.variant}", len(wanted), "shards", done) as advance:
            for _ in execute.run(_run_job, open_jobs, workers):
                advance(1)
        if recipe.repeats:
            again = [job for split in todo for job in _without_repeats(jobs[split])]
            for _ in execute.run(_run_job, again, workers):
                pass
        for split in todo:
            manifest["splits"][split] = {
                "fingerprint": recipe.fingerprint(split),
                **_summarise(folder, [_Shard(job.path) for job in jobs[split]], recipe.absent.get(split)),
            }
            if recipe.split_facts.get(split):
                manifest["splits"][split]["facts"] = recipe.split_facts[split]
            if strict:
                refuse_dropped(manifest, [split])
            _refuse_empty(folder, manifest, split)
        if todo:
            if recipe.sources:  # a split that came later may have brought files of its own
                held = {each["name"]: each for each in (*manifest.get("sources", ()), *recipe.facts["sources"])}
                manifest["sources"] = [held[name] for name in sorted(held)]
            _write_index(folder, manifest)
            _write_dropped(folder, manifest)
            files.write_json(folder / "manifest.json", manifest)
        return manifest


def _refuse_empty(folder: Path, manifest: dict[str, Any], split: str) -> None:
    """Raise if nothing of a split could be used, and remove its files."""
    summary = manifest["splits"][split]
    if summary["clips"]:
        return
    for name in summary["shards"]:
        (folder / name).unlink()
    dropped = summary["dropped"]
    why = (
        f"none of {len(dropped)} can be used, first {dropped[0]['id']}: {dropped[0]['reason']}"
        if dropped
        else "none came"
    )
    raise VbenchError(f"{folder}: {split} has no clips, since {why}; prepare it again from files that are whole")


@dataclass(frozen=True)
class _Job:
    path: Path
    clips: Callable[[Any], Iterable[Clip | Dropped]]
    item: Any
    encoding: str | None
    attributes: dict[str, str]


def _jobs(folder: Path, recipe: Recipe, split: str) -> list[_Job]:
    attributes = recipe.attributes(split)
    return [
        _Job(folder / f"{split}-{index:05d}.h5", recipe.clips, item, recipe.encoding, attributes)
        for index, item in enumerate(recipe.work[split])
    ]


def _new_manifest(recipe: Recipe) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "dataset": recipe.dataset,
        "variant": recipe.variant,
        "version": recipe.version,
        **recipe.facts,
        "card": recipe.card,
        "made": provenance.made("numpy", "h5py"),
        "splits": {},
    }


def _is_finished(folder: Path, manifest: dict[str, Any], recipe: Recipe, split: str, jobs: list[_Job]) -> bool:
    """Tell whether a split is there down to its files: one that was lost or cut short since is made again."""
    made = manifest["splits"].get(split)
    if made and made.get("fingerprint") != recipe.fingerprint(split):
        raise VbenchError(
            f"{folder} holds another {split} split of {manifest['dataset']} {manifest['variant']}, made with other options or "
            "from other files; remove it or choose another --root"
        )
    return bool(made) and all(map(_is_whole, jobs))


def _is_whole(job: _Job) -> bool:
    return _has_fingerprint(job.path, job.attributes["fingerprint"])


def _has_fingerprint(path: Path, fingerprint: str | None) -> bool:
    try:
        with h5py.File(path, "r") as file:
            return _text(file.attrs.get("fingerprint")) == fingerprint
    except files.DAMAGED:
        return False


def _run_job(job: _Job) -> None:
    write_shard(job.path, job.clips, job.item, job.encoding, **job.attributes)


def _without_repeats(jobs: Sequence[_Job]) -> list[_Job]:
    """Return the jobs whose file repeats clips of a file before it, each with these left out."""
    held: dict[str, str] = {}
    again = []
    for job in jobs:
        ids = _Shard(job.path).ids
        if repeated := {clip_id: held[clip_id] for clip_id in ids if clip_id in held}:
            again.append(replace(job, clips=partial(_but, repeated, job.clips)))
        held.update({clip_id: job.path.name for clip_id in ids if clip_id not in held})
    return again


def _but(
    repeated: dict[str, str], clips: Callable[[Any], Iterable[Clip | Dropped]], item: Any
) -> Iterator[Clip | Dropped]:
    for clip in clips(item):
        is_repeated = isinstance(clip, Clip) and clip.id in repeated
        yield Dropped(clip.id, f"it is in {repeated[clip.id]} already") if is_repeated else clip


def write_shard(
    path: Path,
    clips: Callable[[Any], Iterable[Clip | Dropped]],
    item: Any,
    encoding: str | None = None,
    **attributes: str,
) -> None:
    """Write the clips of one work item into one file."""
    with new_shard(path, encoding, **attributes) as writer:
        for clip in clips(item):
            if isinstance(clip, Dropped):
                writer.dropped.append(clip)
            else:
                writer.add(clip)


def _write_index(folder: Path, manifest: dict[str, Any]) -> None:
    """Write clips.csv, a table of all clips for people and other programs."""
    with io.StringIO(newline="") as text:
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(["split", "index", "id", "frames", "shard", "sha256"])
        seen: dict[str, str] = {}
        for split, summary in manifest["splits"].items():
            position = 0
            for name in summary["shards"]:
                shard = _Shard(folder / name)
                for clip_id, frames, digest in zip(shard.ids, np.diff(shard.offsets), shard.digests, strict=True):
                    if clip_id in seen:
                        raise VbenchError(f'{folder}: two clips are called "{clip_id}" (in {seen[clip_id]} and {name})')
                    seen[clip_id] = name
                    rows.writerow([split, position, files.cell(clip_id), frames, name, digest.tobytes().hex()])
                    position += 1
        files.write_text(folder / "clips.csv", text.getvalue())


def _write_dropped(folder: Path, manifest: dict[str, Any]) -> None:
    """Write dropped.csv, a table of the clips that could not be used, if there are any."""
    dropped = [(split, drop) for split, summary in manifest["splits"].items() for drop in summary["dropped"]]
    if not dropped:
        (folder / "dropped.csv").unlink(missing_ok=True)
        return
    with io.StringIO(newline="") as text:
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(["split", "id", "reason"])
        rows.writerows([split, files.cell(drop["id"]), files.cell(drop["reason"])] for split, drop in dropped)
        files.write_text(folder / "dropped.csv", text.getvalue())


def _summarise(
    folder: Path, shards: "list[_Shard]", absent: Callable[[Collection[str]], Iterable[Dropped]] | None = None
) -> dict[str, Any]:
    filled = [shard for shard in shards if shard.ids]
    kinds = sorted({shard.kind() for shard in filled})
    if len(kinds) > 1:
        raise VbenchError(f"{folder}: its clips differ ({kinds[0]} and {kinds[1]}); a store holds one kind, see --size")
    first = filled[0] if filled else None
    dropped = [drop for shard in shards for drop in shard.dropped]
    if absent:
        came = {clip_id for shard in shards for clip_id in shard.ids} | {drop["id"] for drop in dropped}
        dropped += [{"id": drop.id, "reason": drop.reason} for drop in absent(came)]
    return {
        "clips": sum(len(shard.ids) for shard in shards),
        "frames": int(sum(shard.offsets[-1] for shard in shards)),
        "height": first.size[0] if first else 0,
        "width": first.size[1] if first else 0,
        "fps": first.fps if first and len({shard.fps for shard in filled}) == 1 else None,
        "encoding": first.encoding if first else None,
        "tracks": list(first.tracks) if first else [],
        "dropped": dropped,
        "shards": [shard.path.name for shard in shards],
        "content_sha256": chain(shard.digests for shard in shards),
        "tracks_sha256": chain(shard.track_digests for shard in shards),
    }


def chain(digests: Iterable[np.ndarray]) -> str:
    """Digest the digests of the clips in their order."""
    whole = hashlib.sha256()
    for rows in digests:
        whole.update(np.ascontiguousarray(rows).data)
    return whole.hexdigest()


# Reading


def read_manifest(folder: Path | Url) -> dict[str, Any]:
    """Read and check a store's manifest."""
    if not (folder / "manifest.json").is_file():
        remedy = "check the address" if isinstance(folder, Url) else "run prepare"
        raise VbenchError(f"{folder}: no finished store there (it has no manifest.json); {remedy}")
    manifest = _manifest(folder)
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        found = manifest.get("format") if isinstance(manifest, dict) else type(manifest).__name__
        raise VbenchError(f"{folder}/manifest.json: its format is {found!r}, expected {FORMAT!r}; {_OTHER_VERSION}")
    splits = manifest.get("splits")
    if not isinstance(splits, dict) or not all(isinstance(summary, dict) for summary in splits.values()):
        raise VbenchError(f'{folder}/manifest.json: "splits" is missing or no table of tables')
    for split, summary in splits.items():
        if missing := [key for key in SUMMARY if key not in summary]:
            raise VbenchError(f"{folder}/manifest.json: its split {split} lacks {', '.join(missing)}")
        for key, kinds in SUMMARY.items():
            named = summary[key] if isinstance(summary[key], list) else ()
            away = key == "shards" and not all(map(_stays, named))
            if not isinstance(summary[key], kinds) or away or not all(isinstance(name, str) for name in named):
                raise VbenchError(f"{folder}/manifest.json: {key} of its split {split} is {summary[key]!r}; {_DAMAGED}")
    if wrong := [key for key in ("dataset", "variant") if not isinstance(manifest.get(key), str)]:
        raise VbenchError(f"{folder}/manifest.json: its {wrong[0]} is {manifest.get(wrong[0])!r}; {_DAMAGED}")
    return manifest


def _stays(name: object) -> bool:
    """Tell whether a name stays in the folder it is looked up in."""
    return isinstance(name, str) and bool(name.strip(".")) and not {"/", "\\", "\0"} & set(name)


def missing(folder: Path, splits: Iterable[str]) -> tuple[str, ...]:
    """Return those of the splits that are not made yet, or of which a file is lost or belongs to another store."""
    made = read_manifest(folder)["splits"] if is_store(folder) else {}

    def is_there(split: str) -> bool:
        names = made[split]["shards"] if split in made else ()
        return split in made and all(_has_fingerprint(folder / name, made[split].get("fingerprint")) for name in names)

    return tuple(split for split in splits if not is_there(split))


def refuse_dropped(manifest: dict[str, Any], splits: Iterable[str]) -> None:
    """Raise if any clip of these splits could not be used."""
    dropped = [drop for split in splits for drop in manifest["splits"][split]["dropped"]]
    if dropped:
        raise VbenchError(f"{len(dropped)} clips cannot be used, first {dropped[0]['id']}: {dropped[0]['reason']}")


def digests(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Recompute the digests of the clips of one shard from what is on disk: two arrays (N, 32) for pixels and tracks."""
    shard = _Shard(path)
    clips = []
    for clip_id, start, stop in zip(shard.ids, shard.offsets[:-1], shard.offsets[1:], strict=True):
        rows = range(start, stop)
        tracks = {name: shard.read(name, rows) for name in shard.tracks}
        clips.append(Clip(clip_id, shard.read("frames", rows), None, tracks))
    shard.close()
    pixels = [clip_sha256(clip.id, clip.frames) for clip in clips]
    return _digest_rows(pixels), _digest_rows([tracks_sha256(clip) for clip in clips])


def is_store(path: Path | Url) -> bool:
    """Tell whether a folder is a store, of whatever version of the format."""
    try:
        manifest = _manifest(path)
    except VbenchError:
        return False
    return isinstance(manifest, dict) and str(manifest.get("format")).startswith(FORMAT.partition(" ")[0])


def _manifest(folder: Path | Url) -> Any:
    return files.read_json(folder / "manifest.json")  # type: ignore[arg-type]  # a Url reads as a Path does


class Store:
    """One split of a store, read lazily; it may be passed to worker processes, each opens the files for itself.

    The folder may be a URL that fsspec knows (https://, s3://, gs://, hf://): then parts of its files are read as needed.
    """

    def __init__(self, folder: str | Path | Url, split: str | None = None):
        self.folder: Path | Url = remote.located(folder)
        self.manifest = read_manifest(self.folder)
        splits = self.manifest["splits"]
        if split is None and len(splits) != 1:
            raise UsageError(f"{self.folder} has the splits {', '.join(splits)}; say which one")
        self.split = next(iter(splits)) if split is None else split
        if self.split not in splits:
            raise unknown("split", self.split, splits)
        self.summary = splits[self.split]
        self._shards = [_Shard(self.folder / name) for name in self.summary["shards"]]
        self._first = np.cumsum([0, *(len(shard.ids) for shard in self._shards)])
        self.ids = [clip_id for shard in self._shards for clip_id in shard.ids]
        self.lengths = np.concatenate([np.zeros(0, np.int64), *(np.diff(shard.offsets) for shard in self._shards)])
        self.size: tuple[int, int] = (self.summary["height"], self.summary["width"])
        self.fps: float | None = self.summary["fps"]
        self.tracks: list[str] = self.summary["tracks"]
        self._index: dict[str, int] | None = None
        self._recent: list[_Shard] = []  # those with an open file
        if len(self.ids) != self.summary["clips"]:
            raise VbenchError(
                f"{self.folder}: {len(self.ids)} clips in {self.split}, the manifest says {self.summary['clips']}"
            )

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[Clip]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> Clip:
        if not 0 <= index < len(self):
            raise IndexError(index)
        tracks = {name: self.track(name, index) for name in self.tracks}
        return Clip(self.ids[index], self.frames(index), self.fps, tracks)

    def index(self, clip_id: str) -> int:
        """Return the position of a clip in this split."""
        if self._index is None:
            self._index = {clip_id: index for index, clip_id in enumerate(self.ids)}
        if clip_id not in self._index:
            raise VbenchError(f'{self.folder}: no clip "{clip_id}" in {self.split}')
        return self._index[clip_id]

    def clips(self, length: int, stride: int | Sequence[int] = 1, **how: Any) -> "Windows":
        """Return windows of so many frames as a torch data set; windows.Windows says what else may be asked for."""
        from vbench_ctl.sources import StoreSource
        from vbench_ctl.windows import Windows

        return Windows(StoreSource(self), length, stride, **how)

    def frames(
        self, index: int, start: int = 0, stop: int | None = None, step: int = 1, out: np.ndarray | None = None
    ) -> np.ndarray:
        """Return frames start, start+step, ... below stop of one clip: uint8 (T, H, W, 3), in `out` if that is given."""
        return self._read("frames", index, start, stop, step, out)

    def track(self, name: str, index: int, start: int = 0, stop: int | None = None, step: int = 1) -> np.ndarray:
        """Return the same range of a track."""
        if name not in self.tracks:
            raise unknown(f"track in {self.folder}", name, self.tracks)
        return self._read(name, index, start, stop, step)

    def _read(
        self, name: str, index: int, start: int, stop: int | None, step: int, out: np.ndarray | None = None
    ) -> np.ndarray:
        length = int(self.lengths[index])
        stop = length if stop is None else stop
        if not 0 <= start <= stop <= length or step < 1:
            raise VbenchError(f"clip {self.ids[index]} has {length} frames, asked for {start} to {stop}")
        number = int(self._first.searchsorted(index, "right")) - 1
        shard = self._shards[number]
        base = int(shard.offsets[index - self._first[number]])
        if shard not in self._recent:
            self._recent.append(shard)
            if len(self._recent) > OPEN_SHARDS:
                self._recent.pop(0).close()
        return shard.read(name, range(base + start, base + stop, step), out)

    def content_sha256(self) -> str:
        """Recompute the digest of ids and pixels from what is on disk."""
        digests = [clip_sha256(clip_id, self.frames(index)) for index, clip_id in enumerate(self.ids)]
        return chain([_digest_rows(digests)])


class _Shard:
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
            raise VbenchError(f"{self.path}: its format is {found!r}, expected {FORMAT!r}; {_OTHER_VERSION}")
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


def _why(error: Exception) -> str:
    """Return what the system says; HDF5 puts more words around it."""
    return os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)


def _remedy(path: Path | Url) -> str:
    is_remote = isinstance(path, Url)
    return "check the address and the network" if is_remote else "remove it and run prepare again"
