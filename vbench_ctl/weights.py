"""Network weights: where they come from, whether they are the right ones, and their tensors. The networks are data,
weights.toml: a name means the files whose SHA-256 its entry pins, and any other file goes by `NAME-<sha8>`. Where no hash
is published, the first file to come has the name, and its hash stands in every score."""

import datetime
import hashlib
import pickle
import re
import shutil
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any, NamedTuple, NoReturn

import numpy as np

from vbench_ctl import files, pickles
from vbench_ctl.errors import ManualStep, UsageError, VbenchError, unknown
from vbench_ctl.fetch import digest, fetch_from_index
from vbench_ctl.fetch import fetch as download

TABLE = Path(__file__).with_suffix(".toml")
_RECORD = "weights.json"  # beside each file: what it is and how it came
_FACTS = {"file": str, "sha256": str, "size_bytes": int, "source": str}
_OWN = re.compile(r"(.+)-[0-9a-f]{8}$")
_LEGACY_TORCH = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # torch before 1.6 begins with this pickled number
_TENSORFLOW = ("saved_model.pb", "saved_model.pbtxt", "variables", "checkpoint")  # what its folders hold
_WRAPPERS = ("state_dict", "model_state_dict", "model")  # keys under which checkpoints keep the tensors


@dataclass(frozen=True)
class Source:
    """One place to have a file from; weights.toml says what each kind needs."""

    kind: str
    file: str = ""  # the name it is kept under
    sha256: str = ""
    size_bytes: int = 0
    tensors_sha256: str = ""
    url: str = ""
    package: str = ""
    archive: str = ""
    archive_sha256: str = ""
    member: str = ""
    page: str = ""
    note: str = ""

    def __str__(self) -> str:
        place = {"url": self.url, "pypi": f"{self.archive} of the package index", "package": f"package {self.package}"}
        return place.get(self.kind) or f"by hand: {self.page}"


@dataclass(frozen=True)
class Entry:
    """One network."""

    name: str
    title: str
    licence: str
    homepage: str
    sources: tuple[Source, ...]
    network: str = ""  # the module of vbench_ctl.features that converts its tensors to our names
    options: Mapping[str, Any] = field(default_factory=dict)  # of that conversion
    lengths: Mapping[str, int] = field(default_factory=dict)  # of vectors in its files, which tell them from others

    @property
    def pinned(self) -> tuple[Source, ...]:
        return tuple(source for source in self.sources if source.sha256)


class Status(NamedTuple):
    """One line about a network on this machine."""

    name: str
    state: str  # "ok", "packaged" (in an installed package), "unpinned", "own", "broken" or "absent"
    sha8: str
    size_bytes: int
    licence: str
    source: str


def known() -> dict[str, Entry]:
    """Return every network by name."""
    table = tomllib.loads(TABLE.read_text(encoding="utf-8"))
    return {
        name: Entry(name=name, sources=tuple(Source(**each) for each in facts.pop("source")), **facts)
        for name, facts in table.items()
    }


def check_name(name: str) -> None:
    """Raise, with the nearest name, unless this is the name of a network."""
    if name not in known():
        raise unknown("weights", name, known())


def path(name: str, root: str | Path | None = None) -> Path:
    """Return the file of a network after comparing it with its hash; raises when there is none or it is damaged."""
    entry, record = _entry(name), _record(name, root)
    if record is None:
        return _packaged(entry) or _absent(entry, name, root)
    file = _folder(name, root) / record["file"]
    found = digest(file) if file.is_file() else "-"
    if found != record["sha256"]:
        raise VbenchError(
            f"weights {name}: {file} has SHA-256 {found[:8]}, expected {record['sha256'][:8]}; "
            f"it was cut short or changed: {_mend(entry, name)} to replace it"
        )
    return file


def fetch(name: str, root: str | Path | None = None) -> Path:
    """Bring a network here from the first of its sources that works, and return its file."""
    entry = _entry(name)
    if name != entry.name:
        raise VbenchError(f'weights {name}: a file of your own; run "vbench-ctl weights add {entry.name} FILE"')
    if _recorded(name, root).exists() or _packaged(entry):
        try:
            return path(name, root)
        except VbenchError:
            _forget(name, root)  # damaged
    if held := _same_file(entry, root):
        return held
    failures = []
    for source in entry.sources:
        if source.kind in ("url", "pypi"):
            try:
                file = _from_source(source, _folder(name, root), files.home(root) / "archives")
                _check(entry, file)
                return _keep(name, file, str(source), root)
            except VbenchError as error:
                if isinstance(error.__cause__, PermissionError):
                    raise
                failures.append(f"; tried: {error}")
    tried = "".join(failures)
    for source in entry.sources:
        if source.kind == "manual":
            raise ManualStep(
                f"weights {name}: only to be had by hand: take {source.note} from {source.page}, "
                f'then run "vbench-ctl weights add {name} {source.file}"{tried}'
            )
    raise VbenchError(
        f'weights {name}: no source works; run it again later, or "vbench-ctl weights add {name} FILE"{tried}'
    )


def add(name: str, source: str | Path, root: str | Path | None = None) -> str:
    """Take a file of the user's (weights, a folder of them, or the package that holds them); return its name here.

    Of a checkpoint of a run the weights alone are kept; it is none that anybody published, so it goes by its hash.
    """
    entry, source = _entry(name), Path(source).expanduser()
    if not source.exists():
        raise VbenchError(f"{source}: not there; expected a file with the weights of {name}")
    with files.Scratch() as folder:
        file = _loose(entry, source, Path(folder))
        tensors = read(file)  # refuses what is damaged or harmful
        if trained := _trained(tensors):
            file = Path(folder) / f"{entry.name}.npz"
            _write_npz(file, trained)
        kept = _name_of(entry, digest(file), trained or tensors, root, own=bool(trained))
        target = _folder(kept, root) / file.name
        with files.atomic(target) as part:
            shutil.copyfile(file, part)
    _keep(kept, target, f"added by hand: {source.name}", root)
    return kept


def pack(checkpoint: Path, target: Path) -> int:
    """Write the weights in a run's checkpoint alone, averaged where it has averages, as an .npz; return its bytes."""
    if target.suffix != ".npz":
        raise UsageError(f"{target}: weights are packed as .npz; give it a name that ends so")
    packed = _trained(read(checkpoint))
    if not packed:
        raise VbenchError(f'{checkpoint}: no checkpoint of a run, which has its weights under "system"; name one')
    with files.atomic(target) as unfinished:
        _write_npz(unfinished, packed)
    return target.stat().st_size


def status(root: str | Path | None = None) -> list[Status]:
    """Return a line for every known network and for every file of the user's own."""
    entries = known()
    names = set(entries)
    for record in (files.home(root) / "weights").glob(f"*/{_RECORD}"):
        if _OWN.sub(r"\1", record.parent.name) in entries:
            names.add(record.parent.name)
    return [_status(name, root) for name in sorted(names)]


def read(path: Path) -> dict[str, np.ndarray]:
    """Return the tensors of a weights file under the names it uses; its bytes tell its kind, and nothing in it is run.

    Known are PyTorch checkpoints new and old, TorchScript, safetensors, .npz and .npy, pickles of arrays (flax),
    TensorFlow's SavedModel folders and checkpoints (their .index file), and folders of such files that belong together.
    """
    try:
        tensors = _tensors(path)
    except pickle.UnpicklingError as error:  # from torch.load(weights_only=True)
        raise VbenchError(
            f"{path}: holds more than tensors and plain data, or is damaged; nothing of it was run"
        ) from error
    except VbenchError:
        raise
    except MemoryError as error:
        raise VbenchError(f"{path}: does not fit into memory; read it on a larger machine") from error
    except Exception as error:  # a broken file can fail in any way
        files.refuse_denied(path, error)
        reason = str(error).partition("\n")[0]
        raise VbenchError(f"{path}: is not a whole file of weights ({reason}); fetch it again") from error
    if not tensors:
        raise VbenchError(f"{path}: holds no tensors; expected the weights of a network")
    return tensors


def tensors_sha256(tensors: Mapping[str, np.ndarray]) -> str:
    """Return the SHA-256 over names, types, shapes and bytes, in the order of the names."""
    found = hashlib.sha256()
    for name in sorted(tensors):
        found.update(f"{name} {tensors[name].dtype.str} {tensors[name].shape}\n".encode())
        found.update(np.ascontiguousarray(tensors[name]).tobytes())
    return found.hexdigest()


def state_sha256(name: str, tensors: Mapping[str, np.ndarray]) -> str:
    """Return the SHA-256 of a network's tensors under our names, so that the same weights from another file are the same.

    Of what no network of ours reads, it is that of the names in the file. Raises when they are not the network's.
    """
    entry = _entry(name)
    if entry.network:
        state = import_module(f"vbench_ctl.features.{entry.network}").convert(tensors, **entry.options)
        tensors = {ours: tensor.numpy() for ours, tensor in state.items()}
    return tensors_sha256(tensors)


# What is on this machine


def _entry(name: str) -> Entry:
    """Return the network that a name belongs to, with or without the hash of a file of the user's."""
    entries = known()
    found = entries.get(name) or entries.get(_OWN.sub(r"\1", name))
    if found is None:
        raise unknown("weights", name, entries)
    return found


def _folder(name: str, root: str | Path | None) -> Path:
    return files.home(root) / "weights" / name


def _recorded(name: str, root: str | Path | None) -> Path:
    return _folder(name, root) / _RECORD


def _record(name: str, root: str | Path | None) -> dict[str, Any] | None:
    """Return what was written down of a file; None when nothing was, and raises when it is not what we write."""
    place = _recorded(name, root)
    if not place.exists():
        return None
    found = files.read_json(place)
    whole = isinstance(found, dict) and all(type(found.get(fact)) is kind for fact, kind in _FACTS.items())
    if not whole or Path(found["file"]).name != found["file"] or found["file"] in ("", ".."):
        raise VbenchError(
            f"weights {name}: {place} does not say what the file is, by {', '.join(_FACTS)}; "
            f"{_mend(_entry(name), name)} to replace it"
        )
    return found


def _mend(entry: Entry, name: str) -> str:
    return f'run "vbench-ctl weights fetch {name}"' if name == entry.name else "add it again"


def _check(entry: Entry, file: Path) -> None:
    """Refuse, and remove, a fetched file that is not the network's."""
    try:
        state_sha256(entry.name, read(file))
    except VbenchError:
        file.unlink()
        raise


def _keep(name: str, file: Path, source: str, root: str | Path | None) -> Path:
    """Write down what a file is; from then on it is there, in place of another one of that name."""
    before = _legible(name, root)
    facts = {"file": file.name, "sha256": digest(file), "size_bytes": file.stat().st_size}
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    files.write_json(_recorded(name, root), {**facts, "source": source, "date": today})
    if before and before["file"] != file.name:
        (_folder(name, root) / before["file"]).unlink(missing_ok=True)
    return file


def _legible(name: str, root: str | Path | None) -> dict[str, Any] | None:
    """Return what was written down of a file, if that can be read."""
    try:
        return _record(name, root)
    except VbenchError:
        return None


def _forget(name: str, root: str | Path | None) -> None:
    record = _legible(name, root)
    _recorded(name, root).unlink(missing_ok=True)
    if record:
        (_folder(name, root) / record["file"]).unlink(missing_ok=True)


def _packaged(entry: Entry) -> Path | None:
    """Return the network's file inside an installed package, when it is the pinned one."""
    for source in entry.sources:
        spec = find_spec(source.package) if source.kind == "package" else None
        for folder in (spec and spec.submodule_search_locations) or ():
            file = Path(folder) / source.member
            if file.is_file() and digest(file) == source.sha256:
                return file
    return None


def _same_file(entry: Entry, root: str | Path | None) -> Path | None:
    """Take over a file that is already here for another network: VGG16 is a loss, and the trunk of an LPIPS."""
    pins = {source.sha256 for source in entry.pinned}
    for other in known():
        record = _legible(other, root)
        if record is None or record["sha256"] not in pins:
            continue
        held = _folder(other, root) / record["file"]
        if held.is_file() and digest(held) == record["sha256"]:
            target = _folder(entry.name, root) / held.name
            with files.atomic(target) as part:
                shutil.copyfile(held, part)
            return _keep(entry.name, target, record["source"], root)
    return None


def _absent(entry: Entry, name: str, root: str | Path | None) -> NoReturn:
    own = [each.name for each in _folder(name, root).parent.glob(f"{name}-*") if _OWN.sub(r"\1", each.name) == name]
    hint = f' (there is "{own[0]}", which is none of the files that this name means)' if own else ""
    remedy = f"fetch {name}" if name == entry.name else f"add {entry.name} FILE"
    raise VbenchError(f'n/a: no weights "{name}"{hint}; run "vbench-ctl weights {remedy}"')


def _status(name: str, root: str | Path | None) -> Status:
    entry = _entry(name)
    try:
        record = _record(name, root)
    except VbenchError:
        return Status(name, "broken", "", 0, entry.licence, "")
    if record is None:
        file = _packaged(entry)
        if file is None:
            sizes = [source.size_bytes for source in entry.sources if source.size_bytes]
            return Status(name, "absent", "", min(sizes, default=0), entry.licence, "")
        package = next(source for source in entry.sources if source.kind == "package")
        return Status(name, "packaged", package.sha256[:8], package.size_bytes, entry.licence, str(package))
    try:
        path(name, root)
        state = "own" if name != entry.name else "ok" if entry.pinned else "unpinned"
    except VbenchError:
        state = "broken"
    return Status(name, state, record["sha256"][:8], record["size_bytes"], entry.licence, record["source"])


# Getting a file out of its source


def _from_source(source: Source, folder: Path, archives: Path) -> Path:
    target = folder / source.file
    if source.kind == "url":
        return download(source.url, target, source.sha256 or None, source.size_bytes or None)
    archive = fetch_from_index(source.package, source.archive, source.archive_sha256, archives)
    return _unpacked(archive, source, target)


def _unpacked(archive: Path, source: Source, target: Path) -> Path:
    """Copy one member of an archive, verified, to `target`."""
    with files.atomic(target) as part:
        with _member(archive, source.member) as inside, open(part, "wb") as out:
            shutil.copyfileobj(inside, out, 1 << 20)
        if (found := digest(part)) != source.sha256:
            raise VbenchError(
                f"{archive}: {source.member} in it has SHA-256 {found[:8]}, expected {source.sha256[:8]}; "
                "the archive is not the one that was pinned"
            )
    return target


@contextmanager
def _member(archive: Path, name: str) -> Iterator[IO[bytes]]:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as whole, whole.open(name) as inside:
            yield inside
        return
    with tarfile.open(archive) as tar:
        inside_tar = tar.extractfile(name)
        assert inside_tar is not None, f"{name} is a folder; weights.toml must name a file"
        yield inside_tar


def _loose(entry: Entry, given: Path, folder: Path) -> Path:
    """Return the file that holds the weights in what the user gave."""
    if given.is_dir() or given.suffix == ".index":
        packed = folder / f"{entry.name}.npz"
        np.savez(packed, allow_pickle=False, **read(given))
        return packed
    found = digest(given)
    for source in entry.sources:
        if source.archive and found == source.archive_sha256:
            return _unpacked(given, source, folder / source.file)
    return given


def _name_of(entry: Entry, sha256: str, tensors: Mapping[str, np.ndarray], root: str | Path | None, own: bool) -> str:
    """Return the name that a file may have; raises when it is not the network's.

    The network's name is for its pinned files. Where none is pinned, the first file to come has it that can be one.
    """
    pins = {sha256, state_sha256(entry.name, tensors)}
    for other in (entry, *known().values()):
        if any(pins & {source.sha256, source.tensors_sha256} for source in other.pinned):
            if other.name == entry.name:
                return entry.name
            raise VbenchError(
                f'this file is "{other.name}", not "{entry.name}"; run "vbench-ctl weights add {other.name} FILE"'
            )
    free = not (own or entry.pinned) and _has_lengths(entry, tensors) and sha256 == (_intact(entry, root) or sha256)
    return entry.name if free else f"{entry.name}-{sha256[:8]}"


def _has_lengths(entry: Entry, tensors: Mapping[str, np.ndarray]) -> bool:
    """Tell whether every vector that the entry names is there with its length, whatever stands before the name."""
    return all(
        any(name.endswith(end) and array.shape == (length,) for name, array in tensors.items())
        for end, length in entry.lengths.items()
    )


def _intact(entry: Entry, root: str | Path | None) -> str:
    """Return the SHA-256 of the file that has the network's name here; an empty text when none has, or it is damaged."""
    try:
        return digest(path(entry.name, root))
    except VbenchError:
        return ""


def _trained(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the weights among the tensors of a run's checkpoint, averaged where it has averages; none of other files."""
    return {
        name.removeprefix(part): tensor
        for part in ("system.", "ema.")  # the later one wins
        for name, tensor in tensors.items()
        if name.startswith(part) and not name.endswith("num_batches_tracked")
    }


def _write_npz(path: Path, tensors: Mapping[str, np.ndarray]) -> None:
    """Write tensors so that the same ones give the same bytes."""
    with open(path, "wb") as file:
        np.savez(file, **tensors)  # type: ignore[arg-type]  # names are none of its options


# Reading


def _tensors(path: Path) -> dict[str, np.ndarray]:
    if path.is_dir() and not any((path / name).exists() for name in _TENSORFLOW):
        return {name: array for file in sorted(path.iterdir()) for name, array in _tensors(file).items()}
    if path.is_dir() or path.suffix == ".index":
        return _tensorflow(path)
    with open(path, "rb") as file:
        head = file.read(32)
    if head.startswith(b"PK\x03\x04"):
        return _zipped(path)
    if head.startswith(_LEGACY_TORCH):
        return _torch(path)
    if head.startswith(b"\x93NUMPY"):
        return {path.stem: np.array(np.load(path, mmap_mode="r", allow_pickle=False))}
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < path.stat().st_size:  # the header after its length
        return _safetensors(path)
    if head.startswith(b"\x80"):
        return dict(_flat(pickles.load(path), "/"))
    raise VbenchError(f"{path}: begins with {head[:8]!r}, as no known file of weights does; see what it is")


def _zipped(path: Path) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    if any(name.endswith("/constants.pkl") for name in names):
        return pickles.load_torchscript(path)
    if any(name.endswith("/data.pkl") for name in names):
        return _torch(path)
    return files.read_npz(path)


def _torch(path: Path) -> dict[str, np.ndarray]:
    held = pickles.load_torch(path)
    for key in _WRAPPERS:
        if isinstance(held, dict) and isinstance(held.get(key), dict):
            held = held[key]
    return dict(_flat(held, "."))


def _safetensors(path: Path) -> dict[str, np.ndarray]:
    from safetensors.torch import load_file  # accelerate brings it; NumPy's own reader lacks bfloat16

    return dict(_flat(load_file(path), "."))


def _tensorflow(path: Path) -> dict[str, np.ndarray]:
    if find_spec("tensorflow") is None:
        raise VbenchError(f'{path}: reading TensorFlow variables needs tensorflow; run pip install "vbench-ctl[tf]"')
    import tensorflow

    saved = path / "variables/variables"
    place = path.with_suffix("") if path.suffix == ".index" else saved if saved.parent.is_dir() else path
    reader = tensorflow.train.load_checkpoint(str(place))
    found = {name: reader.get_tensor(name) for name in sorted(reader.get_variable_to_shape_map())}
    return {name: array for name, array in found.items() if isinstance(array, np.ndarray)}


def _flat(value: Any, separator: str, name: str = "") -> Iterator[tuple[str, np.ndarray]]:
    """Yield the arrays in nested dicts, named by their keys."""
    if isinstance(value, np.ndarray):
        yield name, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _flat(item, separator, f"{name}{separator}{key}" if name else str(key))
    elif hasattr(value, "detach"):  # a torch tensor; NumPy knows no bfloat16
        tensor = value.detach()
        yield name, (tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor).numpy()
