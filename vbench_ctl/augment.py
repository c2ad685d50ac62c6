"""Random changes of a window of a clip, as the papers train with: flip, resize, crop, colour jitter.

An augmentation is any function of a window (frames (T, H, W, 3) uint8 under "frames", tracks (T, ...) under their names)
and of a NumPy generator that returns a window. All frames of a window are changed in the same way.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from vbench_ctl import resize
from vbench_ctl.errors import UsageError, unknown

Window = dict[str, np.ndarray]
Augmentation = Callable[[Window, np.random.Generator], Window]
Mirrored = str | Sequence[float]  # what a flip does to a track

PICTURES = ("frames", "masks")  # what has height and width


@dataclass(frozen=True)
class Flip:
    """Mirror left and right with some probability.

    Masks are mirrored with the frames. What happens to any other track must be said, since actions may mean left or
    right: "same"; a factor for each number of an entry, such as (-1, 1) for (x, y); or, where an entry is one whole
    number, the class that each class becomes.
    """

    probability: float = 0.5
    tracks: Mapping[str, Mirrored] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1:
            raise UsageError(f"flip: its probability is {self.probability}, expected 0 to 1")
        for name, how in self.tracks.items():
            if isinstance(how, str) and how != "same":
                raise UsageError(f'flip: "{how}" for {name}, expected "same" or numbers')

    def check(self, tracks: Iterable[str]) -> None:
        """Refuse tracks of which is not known what mirroring makes of them."""
        if unsaid := [name for name in tracks if name not in self.tracks and name not in PICTURES]:
            raise UsageError(
                f"flip: mirrored frames would go with {unsaid[0]} that are not; leave flip out, or say what becomes of "
                f"them: flip:{self.probability}:{unsaid[0]}=same, or a factor for each number, as in {unsaid[0]}=-1/1"
            )

    def __call__(self, window: Window, rng: np.random.Generator) -> Window:
        if rng.random() >= self.probability:
            return window
        return {name: self._mirrored(name, values) for name, values in window.items()}

    def _mirrored(self, name: str, values: np.ndarray) -> np.ndarray:
        if name in PICTURES:
            # NumPy takes ten times as long.
            return torch.from_numpy(np.require(values, requirements=["C", "W"])).flip(2).numpy()
        how = self.tracks[name]
        if isinstance(how, str):
            return values
        if values.ndim == 1 and values.dtype.kind in "iu":
            if values.max(initial=0) >= len(how):
                raise UsageError(f"flip: {name} has the class {values.max()}, but only {len(how)} classes are given")
            return np.where(values < 0, values, np.asarray(how)[values]).astype(values.dtype)
        numbers = math.prod(values.shape[1:])
        if numbers != len(how):
            raise UsageError(f"flip: an entry of {name} has {numbers} numbers, but {len(how)} factors are given")
        return (values * np.reshape(how, values.shape[1:])).astype(values.dtype)


@dataclass(frozen=True)
class Resize:
    """Resize frames to (height, width) in one of the ways of resize.py; masks take the nearest pixel."""

    size: tuple[int, int]
    mode: str = "pil_antialias"

    def __post_init__(self) -> None:
        _check_size("resize", self.size)
        if self.mode not in resize.MODES:
            raise unknown("resize mode", self.mode, resize.MODES)

    def __call__(self, window: Window, rng: np.random.Generator) -> Window:
        changed = {"frames": resize.pictures(window["frames"], self.size, self.mode)}
        if "masks" in window:
            changed["masks"] = resize.masks(window["masks"], self.size)
        return {**window, **changed}


@dataclass(frozen=True)
class Crop:
    """Cut a random part of (height, width) out of frames and masks; other tracks stay as they are."""

    size: tuple[int, int]

    def __post_init__(self) -> None:
        _check_size("crop", self.size)

    def __call__(self, window: Window, rng: np.random.Generator) -> Window:
        height, width = window["frames"].shape[1:3]
        if self.size[0] > height or self.size[1] > width:
            raise UsageError(
                f"crop: {self.size[1]}x{self.size[0]} does not fit into frames of {width}x{height}; resize them before"
            )
        top, left = (int(rng.integers(spare + 1)) for spare in (height - self.size[0], width - self.size[1]))
        part = np.s_[:, top : top + self.size[0], left : left + self.size[1]]
        return {name: values[part] if name in PICTURES else values for name, values in window.items()}


@dataclass(frozen=True)
class Jitter:
    """Change brightness, contrast, saturation and hue in random order.

    The first three have factors from 1 - v to 1 + v, hue turns by -v to v of the colour circle. What a factor does is
    what cINN was trained with (see `recoloured`), not what torchvision does under the same names.
    """

    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0

    def __post_init__(self) -> None:
        strengths = (self.brightness, self.contrast, self.saturation, self.hue)
        if not (all(0 <= strength <= 1 for strength in strengths) and self.hue <= 0.5):
            raise UsageError(f"jitter: {strengths}, expected three numbers from 0 to 1 and a hue from 0 to 0.5")

    def __call__(self, window: Window, rng: np.random.Generator) -> Window:
        draws = rng.uniform(-1, 1, 4)
        order = rng.permutation(4)
        strengths = np.array([self.brightness, self.contrast, self.saturation, self.hue])
        factors = np.array([1.0, 1.0, 1.0, 0.0]) + strengths * draws
        planes = torch.from_numpy(np.ascontiguousarray(window["frames"].transpose(3, 0, 1, 2))).float().div_(255)
        planes = recoloured(planes, factors.tolist(), order.tolist())
        levels = planes.mul_(255).round_().to(torch.uint8)
        return {**window, "frames": levels.permute(1, 2, 3, 0).contiguous().numpy()}


def recoloured(planes: Tensor, factors: Sequence[float], order: Sequence[int]) -> Tensor:
    """Change colours (3, ...) in [0, 1] by the factors of brightness, contrast, saturation and hue, in this order.

    As kornia 0.5.0 defines them, which CompVis/image2video-synthesis-using-cINNs:data/augmentation.py uses: brightness
    adds factor - 1, contrast multiplies and knows no mean, saturation and hue are those of HSV.
    """
    for number in order:
        if factors[number] != (0.0 if number == 3 else 1.0):
            planes = _CHANGES[number](planes, factors[number])
    return planes


def _brighter(planes: Tensor, factor: float) -> Tensor:
    return planes.add(factor - 1).clamp_(0, 1)


def _contrasted(planes: Tensor, factor: float) -> Tensor:
    return planes.mul(factor).clamp_(0, 1)


def _saturated(planes: Tensor, factor: float) -> Tensor:
    """Scale the distance to the largest channel: in HSV, V - c is proportional to S while H and V stay."""
    value = planes.amax(0)
    below = value - planes
    saturation = below.amax(0).div_(value + 1e-6)
    return value - below.mul_(saturation.reciprocal_().clamp_(max=factor))


def _turned(planes: Tensor, turn: float) -> Tensor:
    """Turn the hue; in sixths of the circle, a channel is V - chroma * clamp(min(k, 4 - k), 0, 1) with k = n + H."""
    red, green, blue = planes
    value = planes.amax(0)
    chroma = value - planes.amin(0)
    safe = torch.where(chroma > 0, chroma, 1)
    hue = torch.where(
        value == red,
        (green - blue) / safe,
        torch.where(value == green, (blue - red) / safe + 2, (red - green) / safe + 4),
    )
    k = torch.stack([hue + (n + 6 * turn) for n in (5, 3, 1)]).remainder_(6)
    return value - torch.minimum(k, 4 - k).clamp_(0, 1).mul_(chroma)


_CHANGES = (_brighter, _contrasted, _saturated, _turned)


# From text


def ready(entries: Iterable[str | Augmentation], tracks: Sequence[str] = ()) -> list[Augmentation]:
    """Return augmentations as functions, from texts such as "crop:128" or functions; check that they suit the tracks."""
    found = [parse(entry) if isinstance(entry, str) else entry for entry in entries]
    for augmentation in found:
        if isinstance(augmentation, Flip):
            augmentation.check(tracks)
    return found


def parse(text: str) -> Augmentation:
    """Read NAME:VALUE:VALUE..."""
    name, *words = text.split(":")
    if name not in KINDS:
        raise unknown("augmentation", name, KINDS)
    make, usage = KINDS[name]
    try:
        return make(*words)
    except (TypeError, ValueError) as error:
        raise UsageError(f'augmentation "{text}": expected {usage}') from error


def _flip(probability: str = "0.5", *tracks: str) -> Flip:
    said = dict(track.split("=") for track in tracks)
    return Flip(float(probability), {name: _how(how) for name, how in said.items()})


def _how(text: str) -> Mirrored:
    return text if text == "same" else [float(number) for number in text.split("/")]


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    return int(height or width), int(width)


KINDS: dict[str, tuple[Callable[..., Augmentation], str]] = {
    "flip": (_flip, "flip:PROBABILITY and after it, for each track, :TRACK=same or :TRACK=NUMBER/NUMBER..."),
    "resize": (lambda size, *mode: Resize(_size(size), *mode), "resize:SIZE or resize:WIDTHxHEIGHT, and :MODE"),
    "crop": (lambda size: Crop(_size(size)), "crop:SIZE or crop:WIDTHxHEIGHT"),
    "jitter": (lambda *strengths: Jitter(*map(float, strengths)), "jitter:BRIGHTNESS:CONTRAST:SATURATION:HUE"),
}


def _check_size(kind: str, size: tuple[int, int]) -> None:
    if min(size) < 1:
        raise UsageError(f"{kind}: to {size[1]}x{size[0]}, expected at least 1x1")
