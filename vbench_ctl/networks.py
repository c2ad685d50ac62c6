"""The networks that scores need: loaded once per process, tested at first load, their features kept on disk.

Features are kept under what they were computed from (the pixels, the weights, the preprocessing), so that the real set
is never computed twice, an interrupted run goes on, and nothing stale can be met.
"""

import hashlib
import importlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from vbench_ctl import files, weights
from vbench_ctl.errors import VbenchError

VERSION = 1  # of the cache: raised when a network's features change


@dataclass(frozen=True)
class Features:
    """Which features: of which network with which weights, per clip or per frame, after which preprocessing."""

    network: str  # a module of vbench_ctl.features
    weights: str  # a name of weights.toml
    per: str = "clip"  # or "frame"
    loading: tuple[tuple[str, Any], ...] = ()  # arguments of its module's load
    options: tuple[tuple[str, Any], ...] = ()  # arguments of its extractor's features, or a "preset" of its module

    @property
    def module(self) -> ModuleType:
        return importlib.import_module(f"vbench_ctl.features.{self.network}")


@dataclass(frozen=True)
class Place:
    """Where weights and the cache are, and on what the networks run."""

    root: str | None = None
    device: str = "cpu"  # or "auto": a GPU if there is one


AUTO = Place(device="auto")
_place = Place()


def use(place: Place) -> None:
    """Set the place for this process."""
    global _place
    _place = place


def settled(place: Place, metrics: Iterable[Any]) -> Place:
    """Set the place for this process, its device chosen: a GPU if there is one and any of the metrics has a network."""
    if place.device == "auto":
        device = "cpu"
        if any(each.features for each in metrics):  # asking takes seconds, which pixel metrics need not spend
            import torch

            device = "cuda" if torch.cuda.is_available() else "cpu"
        place = replace(place, device=device)
    use(place)
    return place


def missing(features: Features) -> str:
    """Say why these features cannot be had here; an empty text if they can."""
    try:
        weights.path(features.weights, _place.root)
        return ""
    except VbenchError as error:
        return str(error)


def identity(features: Features) -> str:
    """Return the network's name and eight digits of its tensors' hash, whichever file they came in."""
    return f"{features.weights}:{_sha256(features, _place)[:8]}"


def extractor(features: Features) -> Any:
    """Return the loaded and tested network."""
    return _extractor(features.network, features.weights, features.loading, _place)


def of(features: Features, clips: Sequence[np.ndarray]) -> np.ndarray:
    """Return the features, float32 (N, D), of uint8 clips (T, H, W, 3), a row per clip or per frame, from the cache."""
    path = _cache_path(features, clips)
    if path.exists():
        try:
            return np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError):  # damaged: made anew
            path.unlink()
    rows = _compute(features, clips)
    with files.atomic(path) as part, open(part, "wb") as file:
        np.save(file, rows)
    return rows


def _compute(features: Features, clips: Sequence[np.ndarray]) -> np.ndarray:
    network, options = extractor(features), dict(features.options)
    if "preset" in options:
        options = features.module.PRESETS[options["preset"]]
    if features.per == "frame":
        return np.concatenate([network.features(clip, **options) for clip in clips])
    # Clips of one shape go together; a set may hold several lengths.
    rows: list[Any] = [None] * len(clips)
    for shape in dict.fromkeys(clip.shape for clip in clips):
        alike = [at for at, clip in enumerate(clips) if clip.shape == shape]
        for at, row in zip(alike, network.features(np.stack([clips[at] for at in alike]), **options), strict=True):
            rows[at] = row
    return np.stack(rows)


def _cache_path(features: Features, clips: Sequence[np.ndarray]) -> Path:
    digest = hashlib.sha256(f"{VERSION} {features} {_sha256(features, _place)}".encode())
    for clip in clips:
        digest.update(f"\0{clip.shape}\0".encode())
        digest.update(np.ascontiguousarray(clip).data)
    key = digest.hexdigest()
    return files.home(_place.root) / "cache" / "features" / key[:2] / f"{key}.npy"


@lru_cache(maxsize=8)
def _extractor(network: str, name: str, loading: tuple[tuple[str, Any], ...], place: Place) -> Any:
    module = importlib.import_module(f"vbench_ctl.features.{network}")
    loaded = module.load(_tensors(name, place), place.device, **dict(loading))
    if "eps" not in dict(loading):  # the known values are those of the network as it was trained
        module.self_test(loaded)
    return loaded


@cache
def _sha256(features: Features, place: Place) -> str:
    """Digest the tensors under our names, so that the same weights from another file are the same."""
    names = dict(features.loading).keys() & {"net"}
    state = features.module.convert(_tensors(features.weights, place), *(dict(features.loading)[n] for n in names))
    return weights.tensors_sha256({name: tensor.numpy() for name, tensor in state.items()})


@lru_cache(maxsize=2)
def _tensors(name: str, place: Place) -> dict[str, np.ndarray]:
    return weights.read(weights.path(name, place.root))
