"""Inverse dynamics: a small network that tells the action from two frames, learned on the real training split.

It judges whether generated clips do what the model was told, as the GameWorld Score of Matrix-Game (arXiv 2506.18701)
does with a network for one game. It is learned once per store, track and settings, and kept in VBENCH_HOME/cache.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vbench_ctl import files, store
from vbench_ctl.progress import progress
from vbench_ctl.statistics.remembered import remembered

VERSION = 1  # raised whenever another network would be learned
TAUGHT = "train"  # the split that actions are learned from


@dataclass(frozen=True)
class Lesson:
    """What is to be told from two frames, and how it is learned."""

    track: str
    entry: str = "later"  # of a transition: the track's entry at the "later" or the "earlier" of its two frames
    classes: bool = True  # whole numbers, or vectors
    side: int = 48  # pixels of the shorter side of what the network sees
    clips: int = 768  # of the training split, evenly spread
    frames: int = 16  # of each, from a place drawn at random
    steps: int = 1000
    batch: int = 32
    rate: float = 8e-3
    seed: int = 0


class Unlearnable(Exception):
    """Why nothing can be learned from a store."""


class Inverse:
    """A learned network: frames -> the action between each two; may be passed to worker processes."""

    def __init__(self, lesson: Lesson, state: dict[str, np.ndarray]):
        self.lesson, self.state = lesson, state
        self.labels = state["labels"]  # the classes; of vectors their mean and deviation, (2, D)
        self._network: Any = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_network": None}

    def read(self, clip: np.ndarray) -> np.ndarray:
        """Return the action between each two frames of a uint8 clip (T, H, W, 3): (T - 1,) or (T - 1, D), float64."""
        return _told(clip, self)


@remembered(16)  # the samples of a case and their real clip, for one variant after another
def _told(clip: np.ndarray, inverse: Inverse) -> np.ndarray:
    import torch

    labels = inverse.labels
    if inverse._network is None:
        inverse._network = _network(inverse.lesson, labels)
        weights = {name: torch.from_numpy(value) for name, value in inverse.state.items() if name != "labels"}
        inverse._network.load_state_dict(weights)
        inverse._network.eval()
    if len(clip) < 2:
        return np.zeros((0, *labels.shape[1:]))
    with torch.inference_mode():
        seen = torch.tensor(_seen(clip, inverse.lesson.side))
        found = inverse._network(_pairs(seen[None])).double().numpy()
    return labels[found.argmax(axis=1)].astype(np.float64) if inverse.lesson.classes else labels[0] + found * labels[1]


def entries(lesson: Lesson, track: np.ndarray) -> np.ndarray:
    """Return the entries of a track (T, ...) that belong to the transitions between its frames, (T - 1, ...)."""
    return track[1:] if lesson.entry == "later" else track[:-1]


def learned(asked: store.Store, lesson: Lesson, root: str | Path | None = None) -> Inverse:
    """Return the network of the training split beside a store's split, from the cache or learned now."""
    if asked.split == TAUGHT:
        raise Unlearnable(f"the real clips are the ones that actions are learned from, {TAUGHT}; score another split")
    summary = asked.manifest["splits"].get(TAUGHT)
    if not summary:
        raise Unlearnable(f'{asked.folder} has no split "{TAUGHT}" to learn actions from; prepare it as well')
    if lesson.track not in summary["tracks"]:
        raise Unlearnable(f"{asked.folder} has no track {lesson.track}, the actions that are to be told")
    facts = [VERSION, repr(lesson), summary["content_sha256"], summary.get("tracks_sha256")]
    key = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
    path = files.home(root) / "cache" / "inverse" / f"{key}.npz"
    state = _read(path)
    if state is None:
        state = _learn(store.Store(asked.folder, TAUGHT), lesson)
        with files.turn(path), files.atomic(path) as part, open(part, "wb") as file:
            np.savez(file, **state)  # type: ignore[arg-type]
    return Inverse(lesson, state)


def _read(path: Path) -> dict[str, np.ndarray] | None:
    """Return what an earlier run learned; None where there is nothing, or nothing that can be used."""
    try:
        with np.load(path, allow_pickle=False) as held:
            return dict(held)
    except files.DAMAGED:
        return None


def _learn(taught: store.Store, lesson: Lesson) -> dict[str, np.ndarray]:
    """Learn from pairs of frames in random order; the seed decides everything but the rounding of a processor."""
    import torch
    import torch.nn.functional as F

    clips, actions = _material(taught, lesson)
    labels, wanted = _labels(lesson, actions)
    targets = torch.from_numpy(wanted)
    steps_each = clips.shape[1] - 1
    draw = torch.Generator().manual_seed(lesson.seed)
    with (
        torch.inference_mode(False),  # whoever scores may well have switched gradients off
        torch.enable_grad(),
        torch.random.fork_rng(devices=[]),
        progress("learn actions", lesson.steps, "steps") as advance,
    ):
        torch.manual_seed(lesson.seed)
        network = _network(lesson, labels)
        optimizer = torch.optim.AdamW(network.parameters(), lr=lesson.rate, weight_decay=1e-2)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lesson.rate, lesson.steps)
        loss_of: Callable[..., Any] = F.cross_entropy if lesson.classes else F.mse_loss
        for _ in range(lesson.steps):
            chosen = torch.randint(len(targets), (lesson.batch,), generator=draw)
            at, step = chosen // steps_each, chosen % steps_each
            pairs = torch.stack([clips[at, step], clips[at, step + 1]], dim=1)
            loss = loss_of(network(_pairs(pairs)), targets[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            advance(1)
    return {name: value.numpy() for name, value in network.state_dict().items()} | {"labels": labels}


def _material(taught: store.Store, lesson: Lesson) -> tuple[Any, np.ndarray]:
    """Return frames as the network sees them, uint8 (N, T, h, w, 3), and the actions between them, (N (T - 1), ...)."""
    import torch

    usable = np.flatnonzero(taught.lengths >= 2)
    if not len(usable):
        raise Unlearnable(f"{taught.folder}: no clip of {taught.split} has two frames to learn an action from")
    length = int(min(lesson.frames, taught.lengths[usable].min()))
    chosen = usable[np.unique(np.linspace(0, len(usable) - 1, min(lesson.clips, len(usable))).round().astype(int))]
    frames, actions = [], []
    with progress("read training clips", len(chosen), "clips") as advance:
        for index in map(int, chosen):
            start = int(np.random.default_rng([lesson.seed, index]).integers(taught.lengths[index] - length + 1))
            frames.append(_seen(taught.frames(index, start, start + length), lesson.side))
            actions.append(entries(lesson, taught.track(lesson.track, index, start, start + length)))
            advance(1)
    return torch.from_numpy(np.stack(frames)), np.concatenate(actions)


def _labels(lesson: Lesson, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return what the outputs of the network mean, and what they should be for each of (N, ...) actions."""
    if lesson.classes:
        if actions.ndim != 1 or actions.dtype.kind not in "iub":
            raise Unlearnable(
                f"an entry of {lesson.track} is {actions.dtype} {actions.shape[1:]}, expected the number of a class"
            )
        classes, wanted = np.unique(actions, return_inverse=True)
        if len(classes) < 2:
            raise Unlearnable(f"{lesson.track} is {classes[0]} in all training clips, so there is nothing to tell")
        return classes, wanted.astype(np.int64)
    if actions.ndim != 2 or actions.dtype.kind not in "iuf" or not np.isfinite(actions).all():
        raise Unlearnable(f"an entry of {lesson.track} is {actions.dtype} {actions.shape[1:]}, expected finite numbers")
    vectors = actions.astype(np.float64)
    scale = vectors.std(axis=0)
    labels = np.stack([vectors.mean(axis=0), np.where(scale > 0, scale, 1.0)])
    return labels, ((vectors - labels[0]) / labels[1]).astype(np.float32)


def _seen(clip: np.ndarray, side: int) -> np.ndarray:
    """Return frames (T, H, W, 3) as the network sees them: the mean colour of blocks of pixels, uint8."""
    import torch
    import torch.nn.functional as F

    height, width = clip.shape[1:3]
    if min(height, width) <= side:
        return np.ascontiguousarray(clip)
    size = round(height * side / min(height, width)), round(width * side / min(height, width))
    planes = torch.tensor(clip).float().movedim(-1, 1)
    return F.interpolate(planes, size, mode="area").round().byte().movedim(1, -1).contiguous().numpy()


def _pairs(clips: Any) -> Any:
    """Return each frame beside the next and their difference, float32 (N (T - 1), 9, h, w), of uint8 (N, T, h, w, 3)."""
    import torch

    frames = clips.float() / 127.5 - 1
    first, second = frames[:, :-1].flatten(0, 1), frames[:, 1:].flatten(0, 1)
    # In memory by pixels, as convolutions like.
    return torch.cat([first, second, second - first], dim=-1).movedim(-1, 1)


def _network(lesson: Lesson, labels: np.ndarray) -> Any:
    """Build the network: strided convolutions, what is seen in each quarter of the frame, a hidden layer."""
    import torch
    from torch import nn

    outputs = len(labels) if lesson.classes else labels.shape[1]

    def layer(inside: int, outside: int, size: int, stride: int) -> list[nn.Module]:
        convolution = nn.Conv2d(inside, outside, size, stride, size // 2, bias=False)
        return [convolution, nn.BatchNorm2d(outside), nn.ReLU()]

    trunk = [*layer(9, 16, 5, 2), *layer(16, 32, 3, 2), *layer(32, 64, 3, 2), *layer(64, 64, 3, 1)]
    head = [nn.AdaptiveMaxPool2d(2), nn.Flatten(), nn.Linear(256, 64), nn.ReLU(), nn.Linear(64, outputs)]
    return nn.Sequential(*trunk, *head).to(memory_format=torch.channels_last)
