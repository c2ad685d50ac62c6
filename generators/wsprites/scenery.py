"""W-Sprites backdrops: ten kinds of country, seen a little from above, each scene grown from a random stream.

One unit is 1/105 of the height, so that a scene shows as much whatever its resolution. The arithmetic is that of shapes.py
and all draws are uniform, so the same stream gives the same bytes.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from vbench_ctl.generators.wsprites.shapes import Colour, Point, Shape, ellipse, limb

UNITS = 105.0  # in the height of a scene
COLOUR = 0.86  # of the full saturation, so that the characters stand out

# Things: ellipses (x, y, rx, ry, colour) and strokes (x, y to x, y, width there, width here, colour) from the foot up

Part = tuple
BARK, DARK_BARK, LEAF, PALE_LEAF, GRASS = (118, 88, 66), (92, 80, 84), (92, 134, 82), (104, 148, 88), (104, 142, 80)
NEEDLE, PALE_NEEDLE, RUST, AMBER, SNOW = (74, 112, 98), (88, 128, 108), (182, 108, 66), (204, 138, 70), (234, 240, 247)
SPINE, STONE, PALE_STONE, CLAY, PALE_CLAY = (
    (110, 146, 98),
    (142, 140, 140),
    (156, 154, 152),
    (176, 132, 100),
    (190, 146, 110),
)
COAL, PALE_COAL, WOOD, CREAM, CHERRY = (88, 80, 88), (102, 92, 98), (136, 100, 68), (236, 226, 208), (202, 96, 90)
CORAL, SHELL_PINK, STRAW, CARROT, SOOT = (224, 138, 104), (238, 206, 196), (222, 190, 104), (226, 144, 84), (74, 72, 86)
GLOW, FLAME, PILLAR_STONE, ICE, WALL = (
    (246, 214, 134),
    (228, 144, 80),
    (152, 150, 162),
    (150, 186, 200),
    (150, 140, 146),
)
FOAM, PAD, PETAL, TILE, SLATE = (190, 214, 222), (106, 146, 96), (236, 196, 212), (132, 86, 98), (88, 108, 140)


def _flower(petals: Colour) -> tuple[Part, ...]:
    ring = tuple((dx, dy - 3.4, 0.95, 0.95, petals) for dx, dy in ((-1.1, 0), (1.1, 0), (0, -1.1), (0, 1.1)))
    return ((0, 0, 0, -3, 0.4, 0.4, GRASS), *ring, (0, -3.4, 0.7, 0.7, GLOW))


def _oak(trunk: Colour, crown: Colour, top: Colour) -> tuple[Part, ...]:
    sides = ((-5, -13, 6, 5, crown), (5, -13, 6, 5, crown))
    return ((0, -1, 0, -9, 2.2, 1.8, trunk), *sides, (0, -18, 7.5, 7, top), (-2, -20, 3, 2, _paler(top)))


def _boulder(dark: Colour, pale: Colour) -> tuple[Part, ...]:
    return ((0, -2, 4.6, 3.2, dark), (-2.4, -1.2, 2.8, 2.2, pale))


def _house(roof: Colour) -> tuple[Part, ...]:
    windows = ((-6.4, -6, 1.6, 1.7, GLOW), (6.4, -6, 1.6, 1.7, GLOW))
    roofs = ((-7, -13, 7, -13, 4.6, 4.6, roof), (-4, -18, 4, -18, 3, 3, _paler(roof)))
    return ((-7, -5, 7, -5, 5, 5, WALL), *roofs, (0, -1.6, 0, -5, 1.8, 1.8, DARK_BARK), *windows)


def _paler(colour: Colour) -> Colour:
    red, green, blue = ((c * 5 + 255) // 6 for c in colour)
    return red, green, blue


def _leaf(colour: Colour) -> tuple[Part, ...]:
    return ((0, 0, 1.4, 0.8, colour),)


# fmt: off
FLOWERS = tuple(_flower(petals) for petals in ((226, 120, 130), (236, 230, 222), (158, 138, 206), (232, 190, 92)))
OAK, MAPLE = _oak(BARK, LEAF, PALE_LEAF), _oak(BARK, RUST, AMBER)
ROCK, RED_ROCK, BASALT = _boulder(STONE, PALE_STONE), _boulder(CLAY, PALE_CLAY), _boulder(COAL, PALE_COAL)
HOUSE, BLUE_HOUSE = _house(TILE), _house(SLATE)
PINE = ((0, -1, 0, -5, 1.8, 1.8, BARK), (0, -6, 0, -14, 8, 2, NEEDLE), (0, -12, 0, -20, 6.4, 1.4, NEEDLE),
        (0, -18, 0, -26, 4.6, 0.4, PALE_NEEDLE))
SNOWY_PINE = (*PINE, (-1, -25, 2.4, 1.8, SNOW), (-3, -16, 2.8, 1.2, SNOW), (3.4, -8, 3.2, 1.2, SNOW))
DEAD_TREE = ((0, 0, 0, -12, 2.2, 1.2, DARK_BARK), (0, -8, -5, -14, 1.2, 0.4, DARK_BARK),
             (0, -11, 5, -18, 1.2, 0.4, DARK_BARK), (0, -12, -1, -20, 1.2, 0.3, DARK_BARK))
PALM = ((0, 0, 2, -16, 1.6, 1.1, CLAY), (2, -17, -7, -15, 1.7, 0.3, LEAF), (2, -17, -5, -22, 1.7, 0.3, LEAF),
        (2, -17, 3, -25, 1.7, 0.3, LEAF), (2, -17, 10, -21, 1.7, 0.3, LEAF), (2, -17, 11, -14, 1.7, 0.3, LEAF),
        (1, -15.6, 1.3, 1.3, BARK))
CACTUS = ((0, 0, 0, -13, 2.2, 2.2, SPINE), (-5, -7, -5, -10, 1.4, 1.4, SPINE), (-5, -7, 0, -6, 1.4, 1.4, SPINE),
          (5, -8, 5, -12, 1.4, 1.4, SPINE), (5, -8, 0, -7, 1.4, 1.4, SPINE), (0.6, -15.4, 1.4, 1.0, PETAL))
BUSH = ((-3, -3, 3.6, 3.0, LEAF), (3, -3, 3.6, 3.0, LEAF), (0, -4.6, 3.8, 3.4, PALE_LEAF))
BERRIES = (*BUSH, (-2, -3, 0.9, 0.9, CHERRY), (2.4, -4, 0.9, 0.9, CHERRY), (0, -6, 0.9, 0.9, CHERRY))
TUFT = ((0, 0, -2.6, -3.2, 0.8, 0.2, GRASS), (0, 0, 0, -4.4, 0.8, 0.2, GRASS), (0, 0, 2.6, -3.2, 0.8, 0.2, GRASS))
REEDS = ((-2, 0, -2.8, -7, 0.7, 0.3, GRASS), (2, 0, 2.8, -6, 0.7, 0.3, GRASS), (0, 0, 0, -9, 0.7, 0.3, GRASS),
         (0, -9, 0, -11, 0.9, 0.9, BARK))
STUMP = ((0, -1, 0, -3, 3.0, 2.8, BARK), (0, -4, 2.8, 1.6, (198, 166, 122)), (0, -4, 1.3, 0.7, CLAY))
TOADSTOOL = ((0, 0, 0, -3, 1.1, 0.9, CREAM), (0, -4, 3.0, 2.0, CHERRY), (-1, -4.4, 0.6, 0.5, CREAM),
             (1.2, -4, 0.5, 0.4, CREAM))
SHELL = ((0, -1, 1.8, 1.4, SHELL_PINK), (0, -1.8, 0, 0, 0.3, 0.3, CLAY))
STARFISH = ((0, -2, 0, -4.8, 1.1, 0.3, CORAL), (0, -2, 2.7, -2.8, 1.1, 0.3, CORAL), (0, -2, 1.7, 0.2, 1.1, 0.3, CORAL),
            (0, -2, -1.7, 0.2, 1.1, 0.3, CORAL), (0, -2, -2.7, -2.8, 1.1, 0.3, CORAL))
PARASOL = ((0, 0, 0, -10, 0.6, 0.6, CREAM), (0, -11, 8, 3.6, CHERRY), (0, -11.6, 3.4, 2.8, CREAM))
SNOWMAN = ((0, -3, 4.4, 3.8, SNOW), (0, -9, 3.2, 3.0, SNOW), (-1.2, -9.8, 0.6, 0.6, SOOT), (1.2, -9.8, 0.6, 0.6, SOOT),
           (0, -8.6, 2, -8.2, 0.6, 0.2, CARROT))
LILY, BUBBLE = ((0, 0, 3.2, 1.8, PAD), (0.8, -0.8, 1.2, 0.9, PETAL)), ((0, 0, 1.6, 0.8, GLOW),)
GLINT, FLOE = ((-3, 0, 3, 0, 0.5, 0.2, FOAM),), ((-2, 0, 3, -1.4, 0.4, 0.2, SNOW), (1, 1.4, 4, 0.6, 0.3, 0.2, SNOW))
PILLAR = ((0, -1, 4.6, 2.6, STONE), (0, -1, 0, -17, 3.2, 3.2, PILLAR_STONE), (0, -19, 4.6, 2.4, PALE_STONE))
BONES = ((-3, -1, 3, -2, 0.7, 0.7, CREAM), (-2, -2.4, 2, -0.4, 0.7, 0.7, CREAM), (0, -3.6, 1.9, 1.7, CREAM),
         (-0.7, -3.6, 0.5, 0.6, SOOT), (0.7, -3.6, 0.5, 0.6, SOOT))
CHEST = ((-3, -2, 3, -2, 2.2, 2.2, WOOD), (-3, -4.4, 3, -4.4, 1.8, 1.8, CLAY), (0, -3.4, 0.9, 1.0, STRAW))
BARREL = ((0, -1, 0, -4, 2.4, 2.4, WOOD), (0, -6, 2.3, 1.0, CLAY), (-2.2, -3, 2.2, -3, 0.4, 0.4, SOOT))
TORCH = ((0, 0, 0, -6, 0.8, 1.0, BARK), (0, -8, 0, -11.4, 2.0, 0.3, FLAME), (0, -7.8, 0, -9.4, 1.0, 0.3, GLOW))
LAMP = ((0, 0, 0, -14, 0.8, 0.7, SOOT), (0, -16, 2.2, 2.4, GLOW), (0, -18.4, 2.4, 0.8, SOOT))
CRYSTAL = ((0, 0, 0, -10, 2.2, 0.4, ICE), (-2, 0, -4.4, -6, 1.6, 0.3, ICE), (2, 0, 4, -7, 1.6, 0.3, FOAM))
EMBERS = ((0, 0, 1.4, 0.9, FLAME), (3, -1, 0.8, 0.6, FLAME))
# fmt: on

# Country: ground from dark to light, its pattern, a flow across it, and what stands where


class Flow(NamedTuple):
    """A path, a stream or a sea: colour of its banks and bed, half its width in units, whether it is liquid."""

    bank: Colour
    bed: Colour
    width: float
    wet: bool


class Things(NamedTuple):
    """Kinds of which one may stand in each square of so many units; afloat things lie flat in the flow."""

    kinds: Sequence[tuple[Part, ...]]
    spacing: float
    chance: float
    afloat: bool = False


class Biome(NamedTuple):
    """A kind of country."""

    dark: Colour
    light: Colour
    pattern: str  # "grain", "ripples" or "tiles"
    flow: Flow
    things: Sequence[Things]


# fmt: off
BIOMES = {
    "meadow": Biome((118, 152, 92), (164, 186, 112), "grain", Flow((170, 158, 112), (200, 182, 138), 7, False), (
        Things((TUFT,), 9, 0.6), Things(FLOWERS, 8, 0.5), Things((BUSH, BERRIES, ROCK), 26, 0.5),
        Things((OAK,), 34, 0.6))),
    "forest": Biome((84, 116, 84), (124, 148, 96), "grain", Flow((126, 142, 112), (120, 158, 176), 7, True), (
        Things((TUFT, TUFT, TOADSTOOL), 10, 0.6), Things((BUSH, STUMP, ROCK), 22, 0.6), Things((OAK, PINE), 20, 0.65),
        Things((GLINT,), 8, 0.6, True))),
    "autumn": Biome((160, 134, 92), (194, 166, 104), "grain", Flow((142, 116, 92), (172, 146, 112), 6, False), (
        Things((_leaf(RUST), _leaf(STRAW)), 5, 0.6), Things((STUMP, BUSH, TOADSTOOL), 20, 0.5),
        Things((MAPLE, MAPLE, OAK), 22, 0.65))),
    "desert": Biome((202, 172, 124), (228, 202, 152), "ripples", Flow((188, 156, 112), (214, 184, 138), 5, False), (
        Things((TUFT,), 18, 0.5), Things((RED_ROCK, BONES), 19, 0.6), Things((CACTUS,), 22, 0.6))),
    "beach": Biome((216, 194, 148), (238, 220, 176), "ripples", Flow((226, 234, 228), (112, 166, 186), 21, True), (
        Things((SHELL, STARFISH, TUFT), 11, 0.55), Things((ROCK, PARASOL), 24, 0.5), Things((PALM,), 25, 0.65),
        Things((GLINT,), 7, 0.6, True))),
    "snow": Biome((196, 210, 226), (232, 238, 244), "grain", Flow((208, 222, 234), (164, 194, 214), 9, True), (
        Things((ROCK, TUFT), 16, 0.5), Things((SNOWMAN, STUMP), 36, 0.5),
        Things((SNOWY_PINE, SNOWY_PINE, PINE, DEAD_TREE), 20, 0.65), Things((FLOE,), 9, 0.6, True))),
    "dungeon": Biome((98, 96, 110), (138, 134, 144), "tiles", Flow((116, 84, 72), (142, 72, 82), 7, False), (
        Things((BONES, ROCK), 15, 0.4), Things((CHEST, BARREL, CRYSTAL), 26, 0.5), Things((PILLAR, TORCH), 23, 0.7))),
    "town": Biome((84, 86, 112), (118, 118, 142), "tiles", Flow((104, 104, 116), (140, 132, 136), 8, False), (
        Things((TUFT, BARREL), 15, 0.5), Things((LAMP, BUSH), 22, 0.7), Things((HOUSE, BLUE_HOUSE), 31, 0.75))),
    "volcano": Biome((96, 82, 86), (132, 110, 104), "grain", Flow((122, 70, 66), (226, 134, 76), 6, True), (
        Things((EMBERS,), 9, 0.5), Things((BASALT,), 13, 0.6), Things((DEAD_TREE, CRYSTAL, BASALT), 21, 0.65),
        Things((BUBBLE,), 7, 0.6, True))),
    "swamp": Biome((98, 116, 92), (134, 144, 106), "grain", Flow((112, 108, 84), (104, 138, 128), 14, True), (
        Things((TUFT, TOADSTOOL), 10, 0.6), Things((REEDS, BUSH, STUMP), 15, 0.6), Things((DEAD_TREE, OAK), 25, 0.6),
        Things((LILY, GLINT), 8, 0.6, True))),
}
# fmt: on


def scene(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Draw a random kind of country, uint8 (height, width, 3)."""
    return landscape(list(BIOMES)[int(rng.integers(len(BIOMES)))], rng, width, height)


def landscape(name: str, rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Draw country of that kind, uint8 (height, width, 3)."""
    biome, unit = BIOMES[name], height / UNITS
    x, y = (np.arange(width)[None, :] + 0.5) / unit, (np.arange(height)[:, None] + 0.5) / unit
    picture = _ground(rng, biome, x, y)
    shore = _flow(rng, biome.flow, x, y)
    _pour(rng, picture, biome.flow, shore, x, y)
    _furnish(rng, picture, biome.things, shore, unit)
    grey = picture[..., :1] * 0.3 + picture[..., 1:2] * 0.59 + picture[..., 2:] * 0.11
    picture = grey + (picture - grey) * COLOUR
    return np.floor(np.minimum(np.maximum(picture, 0.0), 255.0) + 0.5).astype(np.uint8)


def _noise(rng: np.random.Generator, x: np.ndarray, y: np.ndarray, size: float) -> np.ndarray:
    """Return smooth noise in -1..1 whose bumps are `size` units wide."""
    (columns, across), (rows, down) = (_lattice(place / size) for place in (x[0], y[:, 0]))
    values = rng.random((rows[-1] + 2, columns[-1] + 2)) * 2.0 - 1.0
    left = values[:, columns] + (values[:, columns + 1] - values[:, columns]) * across
    return left[rows] + (left[rows + 1] - left[rows]) * down[:, None]


def _lattice(place: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Split places into the lattice point before them and a smooth step to the next."""
    low = np.floor(place)
    share = place - low
    return low.astype(np.int64), share * share * (3.0 - 2.0 * share)


def _mix(a: Colour | np.ndarray, b: Colour | np.ndarray, share: np.ndarray) -> np.ndarray:
    start, end = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return start + (end - start) * share[..., None]


def _ground(rng: np.random.Generator, biome: Biome, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Paint the bare ground, float64 (height, width, 3) in 0..255."""
    broad = _noise(rng, x, y, 28.0) * 0.3 + _noise(rng, x, y, 9.0) * 0.22
    fine = _noise(rng, x, y, 1.7) * 0.16
    level = 0.5 + broad + fine
    if biome.pattern == "ripples":
        turn = (y + x * 0.25 + broad * 16.0) / 5.5
        level = level + np.abs(turn - np.floor(turn) - 0.5) * 0.7 - 0.18
    ground = _mix(biome.dark, biome.light, np.minimum(np.maximum(level, 0.0), 1.0))
    return _tiled(rng, ground, x, y) if biome.pattern == "tiles" else ground


def _tiled(rng: np.random.Generator, ground: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Cut ground into flagstones in staggered rows, each a little darker or lighter."""
    wide, high = 13.0, 9.0
    row = np.floor(y / high).astype(np.int64)
    place = x / wide + (row % 2) * 0.5
    column = np.floor(place).astype(np.int64)
    tint = rng.random((int(row.max()) + 1, int(column.max()) + 1))[row, column] * 0.24 + 0.86
    right, down = (place - column) * wide, y - row * high
    joint = np.minimum(np.minimum(right, wide - right), np.minimum(down, high - down))
    light = (np.minimum(right, down) < 1.3) * 0.1 - (np.minimum(wide - right, high - down) < 1.3) * 0.12
    return ground * np.where(joint < 0.5, 0.66, tint + light)[..., None]


def _flow(rng: np.random.Generator, flow: Flow, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the distance to the bank of a winding flow, in units, negative in it."""
    slope, start = rng.random() * 1.2 - 0.6, rng.random() * 0.5 + 0.25
    winding = _noise(rng, x, y, 38.0) * 14.0 + _noise(rng, x, y, 11.0) * 2.0
    lengthwise = y - UNITS * start if rng.random() < 0.5 else x - x[0, -1] * start
    across = x - x[0, -1] * 0.5 if lengthwise.shape[1] == 1 else y - UNITS * 0.5
    return np.abs(lengthwise + across * slope + winding) * 0.85 - flow.width


def _pour(
    rng: np.random.Generator, picture: np.ndarray, flow: Flow, shore: np.ndarray, x: np.ndarray, y: np.ndarray
) -> None:
    texture = _noise(rng, x, y, 4.0) * 7.0 + _noise(rng, x, y, 1.7) * 6.0
    bed = np.asarray(flow.bed, np.float64) + texture[..., None]
    deep = np.minimum(np.maximum(-shore / 16.0, 0.0), 1.0) * (0.22 if flow.wet else 0.0)
    bank = np.minimum(np.maximum(0.5 - (shore - 1.6), 0.0), 1.0)
    bed = _mix(flow.bank, bed * (1.0 - deep)[..., None], np.minimum(np.maximum(0.5 - shore, 0.0), 1.0))
    picture += (bed - picture) * bank[..., None]


def _furnish(
    rng: np.random.Generator, picture: np.ndarray, things: Sequence[Things], shore: np.ndarray, unit: float
) -> None:
    """Set things on jittered grids and paint them from far to near."""
    height, width = shore.shape
    placed = []
    for group in things:
        stamps = [
            _stamp(kind, unit * (0.85 + 0.3 * rng.random()), group.afloat) for kind in group.kinds for _ in (0, 1)
        ]
        cell = group.spacing * unit
        rows, columns = int(height / cell) + 2, int(width / cell) + 2
        jitter = rng.random((rows, columns, 3))
        choice = rng.integers(len(stamps), size=(rows, columns))
        for row, column in np.argwhere(jitter[..., 2] < group.chance):
            left, down = (column + jitter[row, column, 0]) * cell, (row + jitter[row, column, 1]) * cell
            inside = shore[min(int(down), height - 1), min(int(left), width - 1)]
            if inside < -2.0 if group.afloat else inside > 3.0:
                placed.append((down, left, stamps[choice[row, column]]))
    for down, left, stamp in sorted(placed, key=lambda thing: thing[:2]):
        _blit(picture, stamp, int(left), int(down))


class Stamp(NamedTuple):
    """A thing ready to paste: premultiplied colour (h, w, 3), cover (h, w, 1), and where it stands in them."""

    colour: np.ndarray
    cover: np.ndarray
    x: int
    y: int


def _stamp(parts: Sequence[Part], unit: float, afloat: bool) -> Stamp:
    """Draw a thing, on its shadow and with soft outlines, or flat when it is afloat."""
    shapes = [_shape(*part[:-1]) for part in parts]
    left, top, right, bottom = zip(*(shape.box for shape in shapes), strict=True)
    x0, y0 = int((min(left) - 2.0) * unit) - 1, int((min(top) - 2.0) * unit) - 1
    x = (np.arange(x0, int((max(right) + 2.0) * unit) + 2)[None, :] + 0.5) / unit
    y = (np.arange(y0, int((max(bottom) + 3.0) * unit) + 2)[:, None] + 0.5) / unit
    shadow = ellipse(Point(0.6, 0.2), (max(right) - min(left)) * 0.36, 1.5)
    cover = _cover(shadow.distance(x, y), unit)[..., None] * (0.0 if afloat else 0.28)
    colour = np.zeros((*cover.shape[:2], 3))
    for shape, part in zip(shapes, parts, strict=True):
        line = 0.0 if afloat else min(0.7, part[-2] * 0.35)  # small spots keep their colour
        distance = shape.distance(x, y)
        inner = _cover(distance, unit)
        bright = np.minimum(inner, _cover(shape.distance(x + 0.8, y + 1.0), unit))
        tone = np.array(part[-1], np.float64) * (0.62 + 0.2 * inner + 0.18 * (1.0 if afloat else bright))[..., None]
        alpha = _cover(distance - line, unit)[..., None]
        colour, cover = colour + (tone - colour) * alpha, cover + (1.0 - cover) * alpha
    return Stamp(colour, cover, x0, y0)


def _shape(x: float, y: float, *size: float) -> Shape:
    return ellipse(Point(x, y), *size) if len(size) == 2 else limb(Point(x, y), Point(*size[:2]), *size[2:])


def _cover(distance: np.ndarray, unit: float) -> np.ndarray:
    return np.minimum(np.maximum(0.5 - distance * unit, 0.0), 1.0)


def _blit(picture: np.ndarray, stamp: Stamp, x: int, y: int) -> None:
    top, left = y + stamp.y, x + stamp.x
    window = picture[
        max(top, 0) : max(top + stamp.cover.shape[0], 0), max(left, 0) : max(left + stamp.cover.shape[1], 0)
    ]
    rows = slice(max(-top, 0), max(-top, 0) + window.shape[0])
    columns = slice(max(-left, 0), max(-left, 0) + window.shape[1])
    window *= 1.0 - stamp.cover[rows, columns]
    window += stamp.colour[rows, columns]
