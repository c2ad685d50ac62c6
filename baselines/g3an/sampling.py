"""What a trained G3AN makes: clips of codes that each belong to a seed, and which appearance goes with which motion."""

import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from vbench_ctl.baselines.g3an.networks import Generator, frozen
from vbench_ctl.baselines.g3an.settings import motion_steps
from vbench_ctl.frames import pixels as pixels_of_frames

if TYPE_CHECKING:
    from vbench_ctl.baselines.g3an.system import System

Seed = int | Sequence[int]
Labelled = list[tuple[str, np.ndarray]]  # names and uint8 clips (T, H, W, 3)
LENGTHS = range(16, 49, 4)  # the nine of the release
LEGACY_BATCH = 64  # clips that share a range: wyhsirius/g3an-project:generate_videos.py
APPEARANCE, MOTION = 0, 1  # last word of a seed


# Codes


def appearance_code(system: "System", seed: Seed) -> Tensor:
    """Draw a code (1, A) of what is seen."""
    return _normal(seed, APPEARANCE, (1, system.settings.appearance))


def motion_code(system: "System", seed: Seed, frames: int) -> Tensor:
    """Draw a code (1, M, L) of how it moves in 16, 20, 24 ... frames."""
    return _normal(seed, MOTION, (1, system.settings.motion, motion_steps(frames)))


def between(first: Tensor, second: Tensor, share: float) -> Tensor:
    """Return the code a share of the way along the arc from one to another, where lengths stay usual."""
    a, b = first.flatten(), second.flatten()
    angle = float(torch.arccos((a @ b / (a.norm() * b.norm())).clamp(-1, 1)))
    if math.sin(angle) < 1e-6:
        return first + (second - first) * share
    of_first, of_second = (math.sin(part * angle) / math.sin(angle) for part in (1 - share, share))
    return of_first * first + of_second * second


def _normal(seed: Seed, purpose: int, shape: tuple[int, ...]) -> Tensor:
    words = [seed] if isinstance(seed, int) else list(seed)
    return torch.from_numpy(np.random.default_rng([*words, purpose]).standard_normal(shape, np.float32))


# Clips


@torch.no_grad()
def made(generator: Generator, codes: Sequence[tuple[Tensor, Tensor]], told: Tensor | None = None) -> Iterator[Tensor]:
    """Make a clip (1, 3, T, H, W) in (-1, 1) of each pair of codes, all under the same controls (1, C, T).

    One at a time: what a clip becomes does not depend on which others are asked for.
    """
    device = next(iter(generator.state_dict().values())).device
    under = None if told is None else told.to(device)
    for appearance, motion in codes:
        yield generator(appearance.to(device), motion.to(device), under)


def pixels(video: Tensor) -> np.ndarray:
    """Turn clips (B, 3, T, H, W) into uint8 (B, T, H, W, 3), to the nearest level."""
    return pixels_of_frames(video.transpose(1, 2)).cpu().numpy()


def legacy_pixels(video: Tensor, low: float, high: float) -> np.ndarray:
    """Do the same as the release does: stretched from the lowest to the highest value of a batch, and cut off."""
    return ((video - low) / (high - low) * 255).to(torch.uint8).movedim(1, -1).cpu().numpy()


def extremes(videos: Sequence[Tensor]) -> tuple[float, float]:
    """Return the lowest and the highest value of a batch."""
    return min(float(each.min()) for each in videos), max(float(each.max()) for each in videos)


# A system does not change while it generates: who trains on loads it anew.
@functools.lru_cache(maxsize=1)
def legacy_range(system: "System", seed: int, batch: int, sample: int, frames: int) -> tuple[float, float]:
    """Return the extremes of 64 clips of an evaluation set, which the release generates together."""
    seeds = [(seed, index, sample) for index in range(batch * LEGACY_BATCH, (batch + 1) * LEGACY_BATCH)]
    codes = [(appearance_code(system, each), motion_code(system, each, frames)) for each in seeds]
    return extremes([torch.stack(video.aminmax()) for video in made(frozen(system.generator), codes)])


# Ways to combine


def random(system: "System", count: int, frames: int, seed: int = 0, legacy: bool = False) -> Labelled:
    """Make clips of independent codes: 0, 1, ..."""
    pairs = {str(index): ((seed, index), (seed, index)) for index in range(count)}
    return _labelled(system, pairs, frames, legacy)


def grid(
    system: "System",
    appearances: Sequence[Seed],
    motions: Sequence[Seed],
    frames: int,
    legacy: bool = False,
    told: Tensor | None = None,
) -> Labelled:
    """Make every appearance move in every way: i_j is appearance i with motion j, for any two numbers of them."""
    pairs = {f"{i}_{j}": (a, m) for i, a in enumerate(appearances) for j, m in enumerate(motions)}
    return _labelled(system, pairs, frames, legacy, told)


def lengths(system: "System", count: int, seed: int = 0, legacy: bool = False) -> Labelled:
    """Make appearances move for 16, 20, ... 48 frames, each length by another motion: i_16, ..."""
    found = []
    for frames in LENGTHS:
        pairs = {f"{i}_{frames}": ((seed, i), (seed, i, frames)) for i in range(count)}
        found += _labelled(system, pairs, frames, legacy)
    return found


def swap(system: "System", first: Seed, second: Seed, frames: int, legacy: bool = False) -> Labelled:
    """Make the clips of two seeds, 0_0 and 1_1, and both with the other's motion."""
    return grid(system, (first, second), (first, second), frames, legacy)


def interpolate(system: "System", first: Seed, second: Seed, count: int, frames: int, legacy: bool = False) -> Labelled:
    """Go from one seed's appearance to another's with the motion kept, then the same with motions."""
    a, b = (appearance_code(system, seed) for seed in (first, second))
    m, n = (motion_code(system, seed, frames) for seed in (first, second))
    shares = [index / max(count - 1, 1) for index in range(count)]
    codes = {f"appearance_{at}": (between(a, b, share), m) for at, share in enumerate(shares)}
    codes |= {f"motion_{at}": (a, between(m, n, share)) for at, share in enumerate(shares)}
    return _clips(system, codes, legacy)


def _labelled(
    system: "System", pairs: Mapping[str, tuple[Seed, Seed]], frames: int, legacy: bool, told: Tensor | None = None
) -> Labelled:
    codes = {
        name: (appearance_code(system, appearance), motion_code(system, motion, frames))
        for name, (appearance, motion) in pairs.items()
    }
    return _clips(system, codes, legacy, told)


def _clips(
    system: "System", codes: Mapping[str, tuple[Tensor, Tensor]], legacy: bool, told: Tensor | None = None
) -> Labelled:
    videos = list(made(frozen(system.generator), list(codes.values()), told))
    found = extremes(videos) if legacy else None
    return [
        (name, (legacy_pixels(video, *found) if found else pixels(video))[0])
        for name, video in zip(codes, videos, strict=True)
    ]
