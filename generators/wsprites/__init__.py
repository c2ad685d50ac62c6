"""W-Sprites: one or more characters that walk, cast spells and slash before a drifting background, with the whole truth.

The data set of GLASS (Davtyan & Favaro, ECCV 2022) after its published laws, with our own art. `--labels original`
replays the label stream of the released data set bit by bit; with `--art lpc` the frames are the original's as well.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache, partial
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from vbench_ctl.clips import Clip
from vbench_ctl.errors import UsageError
from vbench_ctl.generators.wsprites import art, lpc, scenery, walk
from vbench_ctl.registry import option
from vbench_ctl.shards import SHARD_BYTES

if TYPE_CHECKING:
    from vbench_ctl.play.player import Player

VERSION = 1
FPS = 10.0  # nominal: the original has no frame rate
CHARACTERS = 6**4
VIDEOS = 10  # per character
CAST = {"train": range(1037), "val": range(1037, 1167), "test": range(1167, CHARACTERS)}  # characters: 80, 10, 10 %
SPLITS = tuple(CAST)
SCENES = 24  # different backgrounds of one seed
# What undoes each action: to the left and to the right, up and down; spells and slashes are none to undo.
UNDO = {
    "global_action": (1, 0, 3, 2, 4),
    "local_action": (0, 2, 1, 3, 4, 5, 6, 7, 8),
    "shift_fg": -1,
    "motion_fg": -1,
    "shift_bg": -1,
    "motion_bg": -1,
}
CAMERA = ("shift_bg", "motion_bg")


class Place(str):
    """A path whose `repr`, by which stores are told apart, does not say it, since where something lies decides nothing."""

    def __repr__(self) -> str:
        return "''"


@dataclass(frozen=True)
class Options:
    size: str = option("128x96", "Frame size, WIDTHxHEIGHT or one number for a square.")
    agents: int = option(1, "Characters in each clip.")
    frames: int = option(walk.FRAMES, "Frames of each clip.")
    seed: int = option(0, "Seed of the random worlds.")
    labels: str = option("own", "Random stream: ours, or the released data set's.", ("own", "original"))
    art: str = option("own", "Our characters, or Liberated Pixel Cup sheets from --art-dir.", ("own", "lpc"))
    art_dir: str = option("", "Folder with the LPC sheets and bg.JPEG, laid out as in the original.")

    def __post_init__(self) -> None:
        _dimensions(self.size)
        object.__setattr__(self, "art_dir", Place(self.art_dir))
        if not 1 <= self.agents <= 255:  # the track that says which agent is seen where is uint8
            raise UsageError(f"--agents {self.agents}: it must be between 1 and 255")
        if self.frames < 1:
            raise UsageError(f"--frames {self.frames}: it must be at least 1")
        if self.seed < 0:
            raise UsageError(f"--seed {self.seed}: it must be at least 0")
        if (self.art == "lpc") != bool(self.art_dir):
            raise UsageError("--art lpc and --art-dir DIR go together")
        if self.art == "lpc" and self.size != "128x96":
            raise UsageError(f"--art lpc --size {self.size}: the LPC sheets are drawn for 128x96")
        if self.labels == "original" and (self.agents, self.frames, self.seed, self.size) != (
            1,
            walk.FRAMES,
            0,
            "128x96",
        ):
            raise UsageError(
                "--labels original fixes the seed, one agent, 90 frames and 128x96; leave those options out"
            )


def variant(options: Options) -> str:
    """Name the store these options make."""
    width, height = _dimensions(options.size)
    parts = [f"{width}x{height}"]
    if options.labels == "original":
        parts.insert(0, "ref")
    parts += [options.art] if options.art != "own" else []
    parts += [f"agents{options.agents}"] if options.agents != 1 else []
    parts += [f"frames{options.frames}"] if options.frames != walk.FRAMES else []
    parts += [f"seed{options.seed}"] if options.seed else []
    return "-".join(parts)


def facts(options: Options) -> dict[str, str]:
    """Return what the manifest must say about these options."""
    if options.art != "lpc":
        return {}
    return {"attribution": lpc.ATTRIBUTION, "art": f"sha256 {lpc.digest(Path(options.art_dir))}"}


class Shard(NamedTuple):
    """One work item: some clips of one split, counted over all characters."""

    options: Options
    split: str
    clips: tuple[int, ...]


def shards(split: str, options: Options, limit: int | None = None) -> list[Shard]:
    """Cut a split into work items; `limit` takes that many clips spread evenly over its characters."""
    count, total = _count(split, limit), _count(split, None)
    chosen = [CAST[split].start * VIDEOS + index * total // count for index in range(count)]
    per_shard = max(1, SHARD_BYTES // _clip_bytes(options))
    return [Shard(options, split, tuple(chosen[at : at + per_shard])) for at in range(0, count, per_shard)]


def estimate(split: str, options: Options, limit: int | None = None) -> tuple[int, int]:
    """Return how many clips and bytes a split takes."""
    count = _count(split, limit)
    return count, count * _clip_bytes(options)


def _count(split: str, limit: int | None) -> int:
    return len(range(len(CAST[split]) * VIDEOS)[:limit])


def _clip_bytes(options: Options) -> int:
    width, height = _dimensions(options.size)
    return options.frames * width * height * (4 if options.agents == 1 else 5)


def clips(shard: Shard) -> Iterator[Clip]:
    """Yield the clips of one work item."""
    for index in shard.clips:
        yield clip(shard.split, index, shard.options)


def identity(character: int) -> tuple[int, int, int, int]:
    """Return (body, bottomwear, topwear, hair) of a character; the original numbers them backwards."""
    code = CHARACTERS - 1 - character
    return code // 216, code // 36 % 6, code // 6 % 6, code % 6


class Scene(NamedTuple):
    """What is drawn for a clip: who does what where, before which background."""

    canvas: "Canvas"
    characters: list[int]
    sheets: list[list[list["Cell"]]]  # of each character, by local action and phase
    performances: list[walk.Performance]
    window: walk.Walk
    view: Callable[[tuple[int, int]], np.ndarray]  # the background (H, W, 3) at a place of the window


def clip(split: str, index: int, options: Options) -> Clip:
    """Make clip `index`: video index % 10 of character index // 10."""
    scene = stage(split, index, options)
    canvas, performances, window = scene.canvas, scene.performances, scene.window
    views = [scene.view(place) for place in window.places]
    places = np.array([[canvas.pixels(place) for place in show.walk.places] for show in performances])  # (N, T, 2)
    frames, agents, masks = paint(views, scene.sheets, performances, places)
    tracks = _truth(canvas, scene.characters, performances, window, places)
    tracks["masks"] = masks
    if options.agents > 1:
        tracks["agents"] = agents
    name = f"{split}/sprite_{index // VIDEOS:06d}_video_{index % VIDEOS:03d}"
    return Clip(name, frames, FPS, tracks)


def stage(split: str, index: int, options: Options) -> Scene:
    """Draw what happens in clip `index`."""
    canvas = _canvas(options.size)
    characters = [index // VIDEOS]
    if options.labels == "original":
        performances, window = _original()[index]
        scene = 0
    else:
        rng = np.random.default_rng([options.seed, index])
        scene = int(rng.integers(SCENES))
        characters += [CAST[split][int(rng.integers(len(CAST[split])))] for _ in range(options.agents - 1)]
        performances, window = walk.perform(rng.random, canvas.domain, options.frames, options.agents)
    sheets = [_sheet(identity(character), canvas.sprite, options.art_dir) for character in characters]
    view: Callable[[tuple[int, int]], np.ndarray]
    if options.art == "lpc":
        view = partial(lpc.backdrop, Path(options.art_dir), width=canvas.width, height=canvas.height)
    else:
        view = _backdrop(options.seed, scene, canvas).view
    return Scene(canvas, characters, sheets, performances, window, view)


def world(options: Options, clip_id: str, frame: int) -> "Player | None":
    """Return the world of a clip from a frame on, to be driven; none where several characters walk."""
    from vbench_ctl.generators.wsprites import driving

    found = re.fullmatch(r"(\w+)/sprite_(\d{6})_video_(\d{3})", clip_id)
    if options.agents != 1 or not found:
        return None
    return driving.player(stage(found[1], int(found[2]) * VIDEOS + int(found[3]), options), frame)


@lru_cache(maxsize=1)
def _original() -> walk.OriginalStream:
    return walk.OriginalStream()


# The canvas: native pixels (sprites of 64, as the laws have it) and the pixels of the wanted size


@dataclass(frozen=True)
class Canvas:
    width: int
    height: int
    scale: Fraction  # wanted pixels per native pixel
    domain: tuple[int, int]  # native places of a sprite's top-left corner

    @property
    def sprite(self) -> int:
        return self._round(walk.SPRITE)

    def pixels(self, place: tuple[int, int]) -> tuple[int, int]:
        """Return where a native place lies on the canvas."""
        return self._round(place[0]), self._round(place[1])

    def _round(self, native: int) -> int:
        numerator, denominator = self.scale.as_integer_ratio()
        return (2 * native * numerator + denominator) // (2 * denominator)


def _dimensions(size: str) -> tuple[int, int]:
    width, by, height = size.partition("x")
    try:
        dimensions = int(width), int(height if by else width)
    except ValueError:
        raise UsageError(f'--size "{size}" is not WIDTHxHEIGHT or one number, such as 128x96 or 64') from None
    if not all(16 <= length <= 1024 for length in dimensions):
        raise UsageError(f"--size {size}: both sides must be between 16 and 1024 pixels")
    return dimensions


@lru_cache(maxsize=8)
def _canvas(size: str) -> Canvas:
    width, height = _dimensions(size)
    scale = min(Fraction(width, walk.CANVAS[0]), Fraction(height, walk.CANVAS[1]))
    domain = int(width / scale) - walk.SPRITE, int(height / scale) - walk.SPRITE
    return Canvas(width, height, scale, domain)


# Sprites and backgrounds, drawn once per process


class Cell(NamedTuple):
    """One picture of a character, cut to what is not empty; ready for `pixels & hole | colours`."""

    top: int
    left: int
    colours: np.ndarray  # (h, w, 3) uint8, 0 where nothing is
    hole: np.ndarray  # (h, w, 3) uint8, 255 where the background shows: a single channel of LPC art may be see-through
    mask: np.ndarray  # (h, w) uint8


@lru_cache(maxsize=32)
def _sheet(attributes: tuple[int, int, int, int], size: int, art_dir: str) -> list[list[Cell]]:
    """Return a character's cells by local action and phase."""
    if art_dir:
        colours, solid, masks = lpc.sprites(attributes, Path(art_dir))
        holes = np.where(solid, np.uint8(0), np.uint8(255))
    else:
        pixels = art.character(attributes, size)
        colours = pixels[..., :3]
        masks = np.where(pixels[..., 3] > 127, np.uint8(255), np.uint8(0))
        holes = np.repeat(~masks[..., None], 3, axis=-1)
    colours = colours & ~holes
    tops, bottoms = _extent(masks.any(axis=-1))
    lefts, rights = _extent(masks.any(axis=-2))
    return [
        [_cut(colours[at], holes[at], masks[at], (tops[at], bottoms[at], lefts[at], rights[at])) for at in row]
        for row in ([(action, phase) for phase in range(walk.PHASES)] for action in range(len(masks)))
    ]


def _extent(occupied: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the first occupied place along the last axis and the one after the last."""
    return occupied.argmax(axis=-1), occupied.shape[-1] - occupied[..., ::-1].argmax(axis=-1)


def _cut(colours: np.ndarray, hole: np.ndarray, mask: np.ndarray, box: tuple[int, int, int, int]) -> Cell:
    top, bottom, left, right = map(int, box)
    inside = slice(top, bottom), slice(left, right)
    return Cell(top, left, colours[inside], hole[inside], mask[inside])


class Backdrop:
    """A scene whose window moves by fractions of a pixel; each fraction is resampled once, the rest is slicing."""

    def __init__(
        self, photo: np.ndarray, canvas: Canvas, pitch: tuple[Fraction, Fraction], step: tuple[Fraction, Fraction]
    ):
        self.photo, self.canvas, self.pitch, self.step = photo, canvas, pitch, step
        self._columns: dict[Fraction, np.ndarray] = {}
        self._phases: dict[tuple[Fraction, Fraction], np.ndarray] = {}
        self._views: dict[tuple[int, int], np.ndarray] = {}

    def view(self, place: tuple[int, int]) -> np.ndarray:
        """Return the frame-sized window at a place of the 25x25 grid."""
        if place not in self._views:
            (x, fraction_x), (y, fraction_y) = (divmod(at * step, 1) for at, step in zip(place, self.step, strict=True))
            phase = self._phase(fraction_x, fraction_y)
            self._views[place] = phase[y : y + self.canvas.height, x : x + self.canvas.width]
        return self._views[place]

    def _phase(self, x: Fraction, y: Fraction) -> np.ndarray:
        if (x, y) not in self._phases:
            if x not in self._columns:  # the narrower picture serves all fractions of y
                self._columns[x] = box_resample(self.photo.swapaxes(0, 1), x, self.pitch[0]).swapaxes(0, 1)
            rows = box_resample(self._columns[x], y, self.pitch[1])
            self._phases[x, y] = np.floor(rows + 0.5).astype(np.uint8, order="C")
        return self._phases[x, y]


def box_resample(pixels: np.ndarray, offset: Fraction, pitch: Fraction) -> np.ndarray:
    """Average rows over consecutive stretches of `pitch` rows, the first beginning at offset * pitch: float64."""
    count = int(len(pixels) / pitch - offset)
    edges = [(k + offset) * pitch for k in range(count + 1)]
    whole = np.array([int(edge) for edge in edges])
    part = np.array([float(edge - int(edge)) for edge in edges])[:, None, None]
    sums = np.concatenate([np.zeros_like(pixels[:1], np.int64), np.cumsum(pixels, axis=0, dtype=np.float64)])
    padded = np.concatenate([pixels, pixels[-1:]])
    area = sums[whole] + part * padded[whole]
    return (area[1:] - area[:-1]) / float(pitch)


@lru_cache(maxsize=2 * SCENES)
def _backdrop(seed: int, scene: int, canvas: Canvas) -> Backdrop:
    """Draw one scene. As in the original a window moves by 1/2 and 3/8 native pixel per place of its grid."""
    detail = max(1, ceil(canvas.scale / 2))  # photo pixels per place; the original has one
    step = canvas.scale / 2, canvas.scale * 3 / 8
    pitch = detail / step[0], detail / step[1]
    photo = scenery.scene(
        np.random.default_rng([seed, CHARACTERS * VIDEOS + scene]),  # streams that no clip uses
        ceil((canvas.width + 1) * pitch[0]) + detail * walk.WINDOW,
        ceil((canvas.height + 1) * pitch[1]) + detail * walk.WINDOW,
    )
    return Backdrop(photo, canvas, pitch, step)


# Painting, and what is known of the result


def paint(
    views: list[np.ndarray],
    sheets: list[list[list[Cell]]],
    performances: list[walk.Performance],
    places: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return frames (T, H, W, 3), which agent is seen where (T, H, W; 0 none) and the foreground masks (T, H, W)."""
    corners = places.tolist()
    nearest_last = np.argsort(places[:, :, 1], axis=0, kind="stable").T.tolist()  # who stands lower is nearer
    frames = np.stack(views)
    masks = np.zeros(frames.shape[:3], np.uint8)
    agents = np.zeros(frames.shape[:3] if len(sheets) > 1 else (0, 0, 0), np.uint8)
    for t in range(len(frames)):
        for agent in nearest_last[t]:
            show = performances[agent]
            cell = sheets[agent][show.actions[t]][show.phases[t]]
            height, width = cell.mask.shape
            x, y = corners[agent][t]
            left, top = x + cell.left, y + cell.top
            box = t, slice(top, top + height), slice(left, left + width)
            pixels, mask = frames[box], masks[box]
            np.bitwise_and(pixels, cell.hole, out=pixels)
            np.bitwise_or(pixels, cell.colours, out=pixels)
            np.bitwise_or(mask, cell.mask, out=mask)
            if len(sheets) > 1:
                agents[box][cell.mask > 0] = agent + 1
    return frames, agents, masks


def _truth(
    canvas: Canvas,
    characters: list[int],
    performances: list[walk.Performance],
    window: walk.Walk,
    places: np.ndarray,
) -> dict[str, np.ndarray]:
    """Return the per-frame tracks; those of a character have an axis of agents when there are several."""
    count = len(window.places)
    native = np.array([[show.walk.start, *show.walk.places] for show in performances], np.float64)
    starts = np.array([[canvas.pixels(show.walk.start)] for show in performances])
    grid = np.array([window.start, *window.places], np.float64)
    drift = np.diff(grid, axis=0)
    tracks: dict[str, np.ndarray] = {
        "global_action": np.array([[walk.GLOBAL[d] for d in show.walk.directions] for show in performances], np.int8),
        "local_action": np.array([show.actions for show in performances], np.int8),
        "shift_fg": (np.diff(native, axis=1) * 2 / canvas.domain).astype(np.float32),
        "motion_fg": np.diff(np.concatenate([starts, places], axis=1), axis=1).astype(np.float32),
        "position": places.astype(np.float32),
        "identity": np.repeat(np.array([identity(c) for c in characters], np.uint8)[:, None], count, axis=1),
    }
    tracks = {name: np.ascontiguousarray(track.swapaxes(0, 1)) for name, track in tracks.items()}
    if len(characters) == 1:
        tracks = {name: track[:, 0] for name, track in tracks.items()}
    # The window moves, so what it shows moves the other way.
    tracks["shift_bg"] = (drift * 2 / walk.WINDOW).astype(np.float32)
    pixels = np.array([float(canvas.scale / 2), float(canvas.scale * 3 / 8)])
    tracks["motion_bg"] = (-drift * pixels + 0.0).astype(np.float32)
    return tracks
