"""The networks that scores need: loaded once per process, tested at first load, their features kept on disk.

Features of each clip are kept under what they were computed from (the pixels, the weights, the preprocessing), so that
no clip is computed twice, whatever is scored beside it, an interrupted run goes on, and nothing stale can be met.
"""

import hashlib
import importlib
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from vbench_ctl import execute, files, weights
from vbench_ctl.errors import UsageError, VbenchError, unknown

VERSION = 4  # of the cache: raised when a network's features change
WINDOW, HOP = 16, 8  # frames of a sliding window, and from the start of one to that of the next
# In frames: JunyaoHu/common_metrics_on_video_quality begins its curves there, one frame above I3D's least.
SHORTEST_PREFIX = 10
IN_MEMORY = 1 << 28  # bytes; a larger set of features lies on disk while a metric looks at it


@dataclass(frozen=True)
class Features:
    """Which features: of which network with which weights, of what part of a clip, after which preprocessing."""

    network: str  # a module of vbench_ctl.features
    weights: str  # a name of weights.toml
    # "clip": a row (D,) per clip; "frame": per frame; "prefix": (T - 9, D) per clip, of its first 10, 11... frames;
    # "window": (windows, D) per clip, of 16 frames each, 8 apart; "pair": of the frames of two clips, see `between`
    per: str = "clip"
    loading: tuple[tuple[str, Any], ...] = ()  # arguments of its module's load
    options: tuple[tuple[str, Any], ...] = ()  # arguments of its extractor's features, or a "preset" of its module

    @property
    def module(self) -> ModuleType:
        return importlib.import_module(f"vbench_ctl.features.{self.network}")

    def count(self, clip: np.ndarray) -> int:
        """Return how many rows a clip has."""
        return len(clip) if self.per == "frame" else 1


class Rows(NamedTuple):
    """Where the features of one clip lie: a file of the cache, of so many rows."""

    path: Path
    length: int


@dataclass(frozen=True)
class Place:
    """Where weights and the cache are, and on what the networks run."""

    root: str | Path | None = None
    device: str = "cpu"  # or "auto": a GPU if there is one
    backend: str = "torch"  # or "tf" or "tf:FOLDER": I3D's TensorFlow graph, features/i3d_tf.py

    def __post_init__(self) -> None:
        if self.root:  # a path and its text are the same place, whose networks are loaded once
            object.__setattr__(self, "root", str(self.root))


AUTO = Place(device="auto")
_place = Place()


def use(place: Place) -> None:
    """Set the place for this process."""
    global _place
    _place = place


def settled(place: Place, metrics: Iterable[Any]) -> Place:
    """Set the place for this process, its device chosen: a GPU if there is one and any of the metrics has a network."""
    if place.backend not in ("torch", "tf") and not place.backend.startswith("tf:"):
        raise unknown("backend", place.backend, ["torch", "tf", "tf:FOLDER"])
    if place.device == "auto":
        device = "cpu"
        if any(each.features for each in metrics):  # asking takes seconds, which pixel metrics need not spend
            import torch

            device = "cuda" if torch.cuda.is_available() else "cpu"
        place = replace(place, device=device)
    elif execute.on_gpu(place.device):
        _check_device(place.device)
    use(place)
    return place


def _check_device(device: str) -> None:
    """Refuse a device that this machine or its PyTorch does not have."""
    import torch

    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        raise UsageError(f'networks cannot run on "{device}" here ({reason}); use --device cpu or auto') from error


@contextmanager
def undisturbed() -> Iterator[None]:
    """Let networks compute in float32 whatever the program around has set: autocast, TF32, a default type or device."""
    import torch

    with ExitStack() as restored:
        for kind in {"cpu", _place.device.partition(":")[0]} - {"auto"}:  # not settled: no network runs
            restored.enter_context(torch.autocast(kind, enabled=False))
        if torch.empty(0).device.type != "cpu":  # such a context slows every call of PyTorch down
            restored.enter_context(torch.device("cpu"))
        restored.callback(torch.set_default_dtype, torch.get_default_dtype())
        torch.set_default_dtype(torch.float32)
        for part, name, exact in _precisions():
            restored.callback(setattr, part, name, getattr(part, name))
            setattr(part, name, exact)
        yield


def undisturbed_by(metrics: Iterable[Any]) -> AbstractContextManager[None]:
    """Return that where metrics have a network or PyTorch is loaded; loading it takes seconds, which others need not spend."""
    needed = "torch" in sys.modules or any(each.features for each in metrics)
    return undisturbed() if needed else nullcontext()


def _precisions() -> list[tuple[Any, str, Any]]:
    """Return what lets PyTorch compute with less than float32, by default convolutions with TF32, and the value that does not."""
    from torch import backends

    if not hasattr(backends.cudnn, "conv"):  # before PyTorch 2.9
        return [(part, "allow_tf32", False) for part in (backends.cudnn, backends.cuda.matmul)]
    mkldnn: Any = backends.mkldnn
    parts = (backends.cudnn.conv, backends.cuda.matmul, mkldnn.conv, mkldnn.matmul)
    return [(part, "fp32_precision", "ieee") for part in parts]


def missing(features: Features) -> str:
    """Say why these features cannot be had here; an empty text if they can."""
    try:
        if _in_tensorflow(features.network, _place):
            if "eps" in dict(features.loading):
                return (
                    "n/a: the TensorFlow graph has its own eps in the batch norms; score this one without --backend tf"
                )
            if features.weights != features.module.WEIGHTS:
                return f"n/a: the TensorFlow graph has weights of its own, not {features.weights}; score this one without --backend tf"
        _source(features.network, features.weights, _place)
        return ""
    except VbenchError as error:
        return str(error)


def identity(features: Features) -> str:
    """Return the network's name and eight digits of its tensors' hash, whichever file they came in."""
    return f"{features.weights}:{_sha256(features, _place)[:8]}"


def remark(features: Features | None) -> str:
    """Return what a signature must say of where the network runs."""
    return ",backend-tf" if features and _in_tensorflow(features.network, _place) else ""


def extractor(features: Features) -> Any:
    """Return the loaded and tested network."""
    with undisturbed():
        return _extractor(features.network, features.weights, features.loading, _place)


def of(features: Features, clips: Sequence[np.ndarray]) -> np.ndarray:
    """Return the features, float32 (N, D), of uint8 clips (T, H, W, 3), computed or from the cache."""
    return np.concatenate([rows for _, rows in _kept(features, clips)])


def where(features: Features, clips: Sequence[np.ndarray]) -> list[Rows]:
    """Compute the features of uint8 clips (T, H, W, 3), unless the cache has them; return where those of each lie."""
    return [Rows(path, len(rows)) for path, rows in _kept(features, clips)]


def between(features: Features, real: np.ndarray, fake: np.ndarray) -> np.ndarray:
    """Return what a network says of each frame of two uint8 clips (T, H, W, 3), float32 (T, D), computed or from the cache."""
    path = _cache_path(features, real, fake)
    found = _read(path, len(real))
    if found is not None:
        return found
    with undisturbed():
        return _keep(path, extractor(features).between(real, fake))


def gathered(parts: Sequence[Rows]) -> np.ndarray:
    """Read the features of many clips into one float32 array (N, ...), which lies on disk where it is large."""
    shape = _there(parts[0]).shape[1:]
    out = _empty((sum(part.length for part in parts), *shape))
    at = 0
    for part in parts:
        rows = _there(part)
        if rows.shape[1:] != shape:
            raise VbenchError(
                f"the features of some clips are {shape} and those of others {rows.shape[1:]}; "
                "where prefixes are compared all clips of a set need one length, so cut them alike"
            )
        out[at : at + len(rows)] = rows
        at += len(rows)
    return out


def _there(part: Rows) -> np.ndarray:
    found = _read(*part)
    if found is None:
        raise VbenchError(f"{part.path}: removed or damaged while it was needed; run the same command again")
    return found


def _empty(shape: tuple[int, ...]) -> np.ndarray:
    size_bytes = 4 * int(np.prod(shape))
    if size_bytes <= IN_MEMORY:
        return np.empty(shape, np.float32)
    folder = files.home(_place.root) / "cache"
    with files.explained(folder), tempfile.TemporaryFile(dir=folder) as file:  # it has no name, and goes with the array
        if hasattr(os, "posix_fallocate"):  # a disk found full at the first touch would end the process
            os.posix_fallocate(file.fileno(), 0, size_bytes)
        return np.memmap(file, np.float32, "w+", shape=shape)


def _kept(features: Features, clips: Sequence[np.ndarray]) -> list[tuple[Path, np.ndarray]]:
    """Return the file of each clip and the rows it holds, having computed together what the cache did not have."""
    paths = [_cache_path(features, clip) for clip in clips]
    held = {path: _read(path, features.count(clip)) for path, clip in zip(paths, clips, strict=True)}
    lacking = {path: clip for path, clip in zip(paths, clips, strict=True) if held[path] is None}
    if lacking:
        with undisturbed():
            found = _compute(features, list(lacking.values()))
        for path, computed in zip(lacking, found, strict=True):
            held[path] = _keep(path, computed)
    return [(path, rows) for path in paths if (rows := held[path]) is not None]


def _keep(path: Path, rows: np.ndarray) -> np.ndarray:
    """Put an array into the cache, as float32."""
    rows = rows.astype(np.float32, copy=False)
    with files.turn(path), files.atomic(path) as part, open(part, "wb") as file:
        np.save(file, rows)
    return rows


def _read(path: Path, length: int) -> np.ndarray | None:
    """Return an array of so many rows from the cache; None where there is none, or none that can be used."""
    try:
        found = np.load(path, allow_pickle=False)
    except files.DAMAGED:
        return None
    good = isinstance(found, np.ndarray) and found.dtype == np.float32 and found.ndim > 1 and len(found) == length
    return found if good else None


def _compute(features: Features, clips: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return the rows of each clip."""
    if features.per in ("prefix", "window"):
        return _of_parts(features, clips)
    network, options = extractor(features), dict(features.options)
    if "preset" in options:
        options = features.module.PRESETS[options["preset"]]
    if features.per == "frame":
        return [network.features(clip, **options) for clip in clips]
    # Clips of one shape go together; a set may hold several lengths.
    found: list[Any] = [None] * len(clips)
    for shape in dict.fromkeys(clip.shape for clip in clips):
        alike = [at for at, clip in enumerate(clips) if clip.shape == shape]
        for at, row in zip(alike, network.features(np.stack([clips[at] for at in alike]), **options), strict=True):
            found[at] = row[np.newaxis]
    return found


def _of_parts(features: Features, clips: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return the features of the prefixes or windows of each clip, (1, parts, D): the network runs for each."""
    least = SHORTEST_PREFIX if features.per == "prefix" else WINDOW
    shortest, longest = (bound(map(len, clips)) for bound in (min, max))
    if shortest < least or shortest != longest:
        raise VbenchError(
            f"the clips have {shortest} to {longest} frames, and {'prefixes' if features.per == 'prefix' else 'windows'} "
            f"need clips of one length of {least} frames or more; cut them alike or score longer ones"
        )
    whole = replace(features, per="clip")
    if features.per == "prefix":
        parts = [slice(0, length) for length in range(least, longest + 1)]
    else:
        parts = [slice(start, start + WINDOW) for start in range(0, longest - WINDOW + 1, HOP)]
    # Only whole clips are kept apart, for the metrics that look at them; a file for each part would be many.
    by_part = [
        of(whole, cut) if part == slice(0, longest) else np.concatenate(_compute(whole, cut))
        for part in parts
        for cut in [[clip[part] for clip in clips]]
    ]
    return list(np.stack(by_part, axis=1)[:, np.newaxis])


def _cache_path(features: Features, *clips: np.ndarray) -> Path:
    digest = hashlib.sha256(f"{VERSION} {features} {_sha256(features, _place)}{remark(features)}".encode())
    for clip in clips:
        digest.update(f"\0{clip.shape}\0".encode())
        digest.update(np.ascontiguousarray(clip).data)
    key = digest.hexdigest()
    return files.home(_place.root) / "cache" / "features" / key[:2] / f"{key}.npy"


@lru_cache(maxsize=8)
def _extractor(network: str, name: str, loading: tuple[tuple[str, Any], ...], place: Place) -> Any:
    module = importlib.import_module(f"vbench_ctl.features.{network}")
    known = tuple(option for option in loading if option[0] != "eps")
    if known != loading:  # what is known of weights is known of the eps that they were trained with
        _extractor(network, name, known, place)
    if _in_tensorflow(network, place):
        loaded = importlib.import_module("vbench_ctl.features.i3d_tf").load(_source(network, name, place))
    else:
        loaded = module.load(_tensors(network, name, place), place.device, **dict(loading))
    if known == loading and name in getattr(module, "BLACK_WHITE", {}):
        module.verify(loaded, name)
    else:
        module.self_test(loaded)
    return loaded


@cache
def _sha256(features: Features, place: Place) -> str:
    """Digest the tensors under our names, so that the same weights from another file are the same."""
    return weights.state_sha256(features.weights, _tensors(features.network, features.weights, place))


@lru_cache(maxsize=2)
def _tensors(network: str, name: str, place: Place) -> dict[str, np.ndarray]:
    return weights.read(_source(network, name, place))


def _source(network: str, name: str, place: Place) -> Path:
    """Return the file of weights, or the folder of the graph that has them."""
    if _in_tensorflow(network, place):
        return importlib.import_module("vbench_ctl.features.i3d_tf").folder(place.backend)
    return _file(name, files.home(place.root))


def _in_tensorflow(network: str, place: Place) -> bool:
    return network == "i3d" and place.backend != "torch"


@cache
def _file(name: str, root: Path) -> Path:
    """Return a file of weights, compared with its hash once per process; what is missing is looked for again."""
    return weights.path(name, root)
