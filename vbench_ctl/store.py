"""A store of clips: HDF5 shards, a manifest and an index in one folder. The format is described in docs/store.md."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vbench_ctl import files, remote, variants
from vbench_ctl.clips import Clip
from vbench_ctl.errors import UsageError, VbenchError, unknown
from vbench_ctl.remote import Url
from vbench_ctl.shards import DAMAGED, FORMAT, OTHER_VERSION, Shard, chain, clip_sha256, digest_rows, has_fingerprint

if TYPE_CHECKING:  # windows.py needs torch
    from vbench_ctl.windows import Windows

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


def store_path(dataset: str, variant: str, version: int, root: str | Path | None = None) -> Path:
    """Return where the store of this dataset belongs."""
    return files.home(root) / "stores" / dataset / f"{variant}@{version}"


def datasets(root: str | Path | None = None) -> list[str]:
    """Return the names of the datasets, imported ones too, that have a folder of stores."""
    return sorted(folder.name for folder in (files.home(root) / "stores").glob("*"))


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


def read_manifest(folder: Path | Url) -> dict[str, Any]:
    """Read and check a store's manifest."""
    if not (folder / "manifest.json").is_file():
        remedy = "check the address" if isinstance(folder, Url) else "run prepare"
        raise VbenchError(f"{folder}: no finished store there (it has no manifest.json); {remedy}")
    manifest = _manifest(folder)
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        found = manifest.get("format") if isinstance(manifest, dict) else type(manifest).__name__
        raise VbenchError(f"{folder}/manifest.json: its format is {found!r}, expected {FORMAT!r}; {OTHER_VERSION}")
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
                raise VbenchError(f"{folder}/manifest.json: {key} of its split {split} is {summary[key]!r}; {DAMAGED}")
    if wrong := [key for key in ("dataset", "variant") if not isinstance(manifest.get(key), str)]:
        raise VbenchError(f"{folder}/manifest.json: its {wrong[0]} is {manifest.get(wrong[0])!r}; {DAMAGED}")
    return manifest


def _stays(name: object) -> bool:
    """Tell whether a name stays in the folder it is looked up in."""
    return isinstance(name, str) and bool(name.strip(".")) and not {"/", "\\", "\0"} & set(name)


def missing(folder: Path, splits: Iterable[str]) -> tuple[str, ...]:
    """Return those of the splits that are not made yet, or of which a file is lost or belongs to another store."""
    made = read_manifest(folder)["splits"] if is_store(folder) else {}

    def is_there(split: str) -> bool:
        names = made[split]["shards"] if split in made else ()
        return split in made and all(has_fingerprint(folder / name, made[split].get("fingerprint")) for name in names)

    return tuple(split for split in splits if not is_there(split))


def refuse_dropped(manifest: dict[str, Any], splits: Iterable[str]) -> None:
    """Raise if any clip of these splits could not be used."""
    dropped = [drop for split in splits for drop in manifest["splits"][split]["dropped"]]
    if dropped:
        raise VbenchError(f"{len(dropped)} clips cannot be used, first {dropped[0]['id']}: {dropped[0]['reason']}")


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
            raise UsageError(
                f"{self.folder} has the splits {', '.join(splits)}; say which one: --split, or split= from Python"
            )
        self.split = next(iter(splits)) if split is None else split
        if self.split not in splits:
            raise unknown("split", self.split, splits)
        self.summary = splits[self.split]
        self._shards = [Shard(self.folder / name) for name in self.summary["shards"]]
        self._first = np.cumsum([0, *(len(shard.ids) for shard in self._shards)])
        self.ids = [clip_id for shard in self._shards for clip_id in shard.ids]
        self.lengths = np.concatenate([np.zeros(0, np.int64), *(np.diff(shard.offsets) for shard in self._shards)])
        self.size: tuple[int, int] = (self.summary["height"], self.summary["width"])
        self.fps: float | None = self.summary["fps"]
        self.tracks: list[str] = self.summary["tracks"]
        self._index: dict[str, int] | None = None
        self._recent: list[Shard] = []  # those with an open file
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
        return chain([digest_rows(digests)])
