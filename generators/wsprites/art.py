"""W-Sprites characters of our own: 1,296 little people in nine animations, drawn as distances to simple shapes.

All geometry lives in a cell of 64 units (x right, y down, soles near y = 60) and is sampled at the size asked for. Only
operations that IEEE 754 rounds exactly are used (+ - * / sqrt min max floor), so every machine draws the same bytes.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from vbench_ctl.errors import UsageError

ATTRIBUTES = ("body", "bottomwear", "topwear", "hair")
VARIANTS = 6
ACTIONS, VIEWS = ("walk", "spellcast", "slash"), ("front", "left")  # the right view mirrors the left one
ANIMATIONS = tuple(f"{action} {view}" for action in ACTIONS for view in (*VIEWS, "right"))
FRAMES = 8

# Colours

Colour = tuple[int, int, int]
INK, WHITE, IVORY, LIPS = (40, 26, 46), (250, 248, 240), (250, 230, 196), (132, 52, 56)
BLUE, CRIMSON, WINE, KHAKI, PINK = (72, 106, 184), (214, 62, 84), (146, 32, 66), (206, 176, 112), (244, 160, 188)
ROSE, MUSTARD, NIGHT = (196, 92, 140), (240, 180, 62), (58, 50, 76)
GREEN, RED, STEEL, IRON, PURPLE = (92, 172, 90), (224, 68, 72), (198, 210, 226), (112, 122, 148), (132, 88, 186)
LINEN, LEATHER, TEAL, BOOT, BOLT = (242, 234, 214), (150, 94, 56), (32, 154, 156), (122, 76, 48), (232, 120, 84)
BROWN, BLOND, FLAME, RAVEN, SILVER = (128, 80, 46), (246, 208, 96), (226, 74, 54), (56, 50, 72), (236, 236, 244)
INDIGO, AQUA, CORAL, GOLD, SAND = (76, 84, 182), (60, 190, 184), (246, 104, 104), (242, 194, 74), (248, 216, 120)
BLADE, TRAIL, SPARK, ICE, CORE = (220, 232, 244), (176, 226, 255), (255, 226, 110), (96, 210, 255), (246, 255, 255)
EMBER, DEEP = (226, 122, 28), (30, 96, 214)


class Skin(NamedTuple):
    """What sets the six bodies apart."""

    colour: Colour
    iris: Colour
    blush: Colour
    kind: str


SKINS = (
    Skin((255, 220, 192), (58, 110, 190), (250, 164, 150), "human"),
    Skin((226, 172, 122), (44, 134, 84), (222, 128, 92), "elf"),
    Skin((140, 88, 58), (150, 92, 40), (170, 88, 68), "human"),
    Skin((134, 184, 88), (168, 62, 30), (104, 158, 70), "orc"),
    Skin((164, 186, 204), (64, 240, 250), (240, 190, 90), "robot"),
    Skin((186, 144, 220), (240, 186, 30), (226, 112, 184), "imp"),
)
EAR_TIPS = {"elf": (6.8, -3.6), "orc": (5.4, -1.0), "imp": (4.6, -3.6)}  # from the root of the ear, outwards

# Poses: one row per frame; limb 0 is the one on the image's left (front view) or the far one (left view)

# lean, bob, sway of cloth and hair, then x and y of hand 0, hand 1, foot 0, foot 1
STRIDE = {
    "front": (  # contact, down, pass, up: the other half is this one mirrored
        (0.0, 0.8, 0.9, 21.2, 41.8, 42.2, 45.8, 27.8, 59.6, 36.2, 56.6),
        (-0.5, 1.1, 0.4, 21.2, 42.4, 42.4, 45.4, 27.8, 59.5, 36.3, 55.6),
        (-0.8, -0.4, -0.4, 21.2, 44.2, 43.0, 44.2, 28.0, 58.6, 36.6, 55.6),
        (-0.5, -0.9, -0.9, 21.4, 45.2, 43.0, 42.8, 28.0, 57.8, 36.4, 57.4),
    ),
    "left": (  # contact, down, pass, up: the other half is this one with the limbs exchanged
        (-0.6, 0.8, 1.4, 24.0, 42.2, 41.4, 41.8, 40.2, 57.0, 23.4, 58.6),
        (-0.6, 1.1, 0.6, 25.4, 43.4, 40.0, 42.8, 39.8, 55.2, 26.4, 59.0),
        (-0.4, -0.4, 0.2, 31.0, 44.6, 34.4, 45.0, 34.8, 54.6, 32.0, 59.0),
        (-0.4, -0.9, 1.0, 37.4, 43.8, 28.0, 44.2, 26.8, 56.2, 37.0, 58.8),
    ),
}
POSES = {
    "spellcast front": (  # gather the light at the chest, then throw both arms up
        (0.0, 0.4, 0.0, 24.0, 41.4, 40.0, 41.4, 27.2, 58.6, 36.8, 58.6),
        (0.0, 1.0, 0.0, 27.6, 41.4, 36.4, 41.4, 27.2, 58.6, 36.8, 58.6),
        (0.0, 1.4, 0.0, 27.4, 40.8, 36.6, 40.8, 27.2, 58.6, 36.8, 58.6),
        (0.0, 0.2, 0.6, 19.0, 31.4, 45.0, 31.4, 27.2, 58.6, 36.8, 58.6),
        (0.0, -0.8, 0.9, 15.4, 23.8, 48.6, 23.8, 27.2, 58.6, 36.8, 58.6),
        (0.0, -1.0, -0.6, 14.8, 22.8, 49.2, 22.8, 27.2, 58.6, 36.8, 58.6),
        (0.0, -0.8, 0.6, 15.4, 23.6, 48.6, 23.6, 27.2, 58.6, 36.8, 58.6),
        (0.0, 0.0, 0.0, 18.6, 35.0, 45.4, 35.0, 27.2, 58.6, 36.8, 58.6),
    ),
    "spellcast left": (  # draw the light back to the hip, then push it forward
        (0.0, 0.4, 0.0, 26.0, 42.4, 29.0, 43.4, 27.6, 58.4, 36.0, 58.8),
        (0.8, 0.8, 0.6, 33.0, 41.4, 37.0, 42.4, 27.6, 58.4, 36.0, 58.8),
        (1.2, 1.2, 0.4, 35.0, 40.4, 39.6, 41.4, 27.6, 58.4, 36.6, 58.8),
        (-0.6, 0.6, 1.4, 22.0, 35.8, 23.6, 38.0, 25.8, 58.4, 37.8, 58.8),
        (-1.4, 0.4, 2.0, 17.6, 31.8, 18.6, 34.8, 25.2, 58.4, 38.6, 58.8),
        (-1.6, 0.4, 1.2, 16.8, 31.0, 17.8, 34.2, 25.2, 58.4, 38.6, 58.8),
        (-1.4, 0.4, 1.6, 17.4, 31.6, 18.4, 34.6, 25.2, 58.4, 38.6, 58.8),
        (-0.4, 0.4, 0.4, 22.6, 38.8, 24.6, 40.8, 26.8, 58.4, 37.0, 58.8),
    ),
    "slash front": (  # wind up beside the head, cut across the body, follow through
        (0.0, 0.4, 0.0, 20.0, 39.4, 42.6, 43.4, 27.2, 58.6, 36.8, 58.6),
        (0.8, 0.0, 0.6, 16.6, 29.4, 43.0, 42.8, 27.0, 58.6, 37.0, 58.6),
        (1.4, -0.4, 0.9, 16.4, 23.8, 43.0, 42.0, 26.6, 58.4, 37.4, 58.8),
        (-0.4, 0.8, -0.9, 15.4, 36.0, 43.8, 41.4, 26.2, 59.2, 37.4, 58.0),
        (-1.2, 1.6, -1.4, 22.6, 43.4, 44.4, 40.0, 26.0, 59.6, 37.6, 57.6),
        (-0.8, 1.6, 0.4, 33.0, 43.0, 44.6, 39.6, 26.0, 59.6, 37.6, 57.6),
        (-0.4, 1.2, 0.9, 35.0, 42.2, 44.2, 40.4, 26.2, 59.4, 37.4, 57.8),
        (0.0, 0.8, 0.2, 25.4, 42.0, 43.2, 42.4, 26.8, 58.8, 37.0, 58.4),
    ),
    "slash left": (  # wind up behind the head, cut down in front
        (0.0, 0.4, 0.0, 28.0, 43.8, 26.6, 41.8, 27.6, 58.4, 36.0, 58.8),
        (0.8, 0.2, 0.8, 25.0, 41.4, 42.4, 34.4, 27.6, 58.4, 36.4, 58.8),
        (1.6, 0.0, 1.0, 24.0, 39.4, 46.0, 28.4, 27.2, 57.6, 37.0, 58.8),
        (-0.8, 0.8, 2.0, 31.0, 42.4, 20.0, 30.0, 25.4, 58.4, 38.4, 58.8),
        (-1.8, 1.4, 1.4, 37.0, 42.0, 18.0, 38.8, 24.4, 58.4, 39.2, 58.8),
        (-1.8, 1.6, 0.2, 38.0, 41.4, 21.4, 45.4, 24.4, 58.4, 39.4, 58.8),
        (-1.2, 1.4, 0.2, 36.4, 42.4, 22.4, 45.6, 24.8, 58.4, 39.0, 58.8),
        (-0.4, 0.8, 0.2, 31.0, 43.4, 24.4, 43.8, 26.6, 58.4, 37.0, 58.8),
    ),
}
# the blade's direction from the hand, then the bright arc: its centre, radius (0: none) and the side that it lights up
SWORD = {
    "front": (
        (-0.6, -0.9, 0, 0, 0, 0, 0),
        (-0.3, -1.0, 0, 0, 0, 0, 0),
        (0.5, -0.9, 0, 0, 0, 0, 0),
        (-0.9, -0.5, 25, 34, 19, -1.0, -0.5),
        (-0.5, 0.8, 29, 38, 21, -0.7, 0.7),
        (0.9, 0.5, 33, 39, 20, 0.3, 1.0),
        (1.0, 0.1, 0, 0, 0, 0, 0),
        (-0.8, 0.5, 0, 0, 0, 0, 0),
    ),
    "left": (
        (-0.8, -0.7, 0, 0, 0, 0, 0),
        (0.3, -1.0, 0, 0, 0, 0, 0),
        (0.8, -0.5, 0, 0, 0, 0, 0),
        (-0.6, -0.9, 29, 27, 21, -0.6, -1.0),
        (-1.0, 0.1, 28, 36, 23, -1.0, -0.1),
        (-0.6, 0.7, 29, 40, 19, -0.7, 0.8),
        (-0.5, 0.8, 0, 0, 0, 0, 0),
        (-0.9, 0.3, 0, 0, 0, 0, 0),
    ),
}
# x, y and radius (0: none) of the ball of light and of three sparks; the front view adds their mirror images
SPELL = {
    "front": (
        (32, 41, 0, 26, 37, 0, 26, 37, 0, 26, 37, 0),
        (32, 41, 2.0, 26, 36, 2.0, 28, 47, 1.6, 26, 37, 0),
        (32, 40.5, 3.6, 22, 36, 3.0, 25, 46, 2.6, 26, 37, 0),
        (17, 26, 2.6, 24, 44, 2.6, 12, 36, 3.0, 10, 22, 2.6),
        (13, 17, 3.8, 8, 26, 3.6, 20, 9, 3.4, 7, 37, 3.0),
        (12, 15.5, 4.8, 6, 24, 4.6, 21, 6, 4.4, 10, 40, 4.0),
        (13, 16.5, 4.0, 6, 8, 4.0, 19, 5, 3.6, 8, 33, 4.0),
        (17, 29, 1.6, 8, 22, 2.6, 13, 13, 2.4, 11, 43, 2.6),
    ),
    "left": (
        (35, 43, 0, 36, 36, 0, 36, 36, 0, 36, 36, 0),
        (37, 41, 2.0, 33, 35, 2.4, 43, 40, 2.0, 36, 36, 0),
        (39, 40, 3.4, 46, 34, 3.0, 47, 45, 2.6, 36, 49, 2.4),
        (18, 35, 3.4, 10, 42, 3.4, 12, 28, 3.0, 20, 46, 2.6),
        (11.5, 32, 4.6, 6, 22, 3.6, 8, 43, 3.6, 17, 45, 3.0),
        (9.5, 31, 6.0, 7, 18, 4.6, 7, 46, 4.6, 16, 21, 4.0),
        (10, 32, 5.0, 6, 15, 4.0, 6, 49, 3.6, 15, 49, 4.0),
        (18, 38, 1.6, 9, 26, 2.6, 10, 44, 2.4, 17, 29, 2.0),
    ),
}

# Shapes: a signed distance (negative inside) and the box that holds them

Field = np.ndarray | float  # one number, or one for each frame, (8, 1, 1)
Box = tuple[float, float, float, float]  # left, top, right, bottom


class Point(NamedTuple):
    """A place in the cell, in every frame."""

    x: Field
    y: Field

    def at(self, dx: Field = 0.0, dy: Field = 0.0) -> "Point":
        """Return the place dx, dy from here."""
        return Point(self.x + dx, self.y + dy)

    def to(self, other: "Point", share: float = 0.5) -> "Point":
        """Return the place that share of the way to another."""
        return Point(self.x + (other.x - self.x) * share, self.y + (other.y - self.y) * share)


class Shape(NamedTuple):
    """A region of the cell."""

    distance: Callable[[np.ndarray, np.ndarray], np.ndarray]
    box: Box


def _around(*points: Point, by: Field) -> Box:
    xs, ys = ([edge(p[i]) for p in points for edge in (np.min, np.max)] for i in (0, 1))
    margin = float(np.max(by))
    return min(xs) - margin, min(ys) - margin, max(xs) + margin, max(ys) + margin


def circle(centre: Point, radius: Field) -> Shape:
    """A disc; nothing where the radius is 0."""
    radius = np.where(np.asarray(radius) > 0, radius, -99.0)

    def distance(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        dx, dy = x - centre.x, y - centre.y
        return np.sqrt(dx * dx + dy * dy) - radius

    return Shape(distance, _around(centre, by=np.maximum(radius, 0.0)))


def star(centre: Point, radius: Field) -> Shape:
    """A sparkle with four points; nothing where the radius is 0."""
    radius = np.where(np.asarray(radius) > 0, radius, -99.0)

    def distance(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        dx, dy = np.abs(x - centre.x), np.abs(y - centre.y)
        return dx + dy + 1.4 * np.sqrt(dx * dy) - radius

    return Shape(distance, _around(centre, by=np.maximum(radius, 0.0)))


def ellipse(centre: Point, rx: float, ry: float) -> Shape:
    """An ellipse; its distance is right to first order near the edge."""

    def distance(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        dx, dy = (x - centre.x) / rx, (y - centre.y) / ry
        reach = np.sqrt(dx * dx + dy * dy)
        dx, dy = dx / rx, dy / ry
        return reach * (reach - 1.0) / np.maximum(np.sqrt(dx * dx + dy * dy), 1e-9)

    return Shape(distance, _around(centre, by=max(rx, ry)))


def limb(a: Point, b: Point, ra: float, rb: float | None = None) -> Shape:
    """A capsule whose radius goes from ra to rb: an arm, or with a small rb a lock of hair, a horn, a blade."""
    rb = ra if rb is None else rb
    abx, aby = b.x - a.x, b.y - a.y
    length2 = np.maximum(abx * abx + aby * aby, 1e-9)

    def distance(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        dx, dy = x - a.x, y - a.y
        along = np.minimum(np.maximum((dx * abx + dy * aby) / length2, 0.0), 1.0)
        dx, dy = dx - abx * along, dy - aby * along
        return np.sqrt(dx * dx + dy * dy) - (ra + (rb - ra) * along)

    return Shape(distance, _around(a, b, by=max(ra, rb)))


def panel(top: Point, top_half: float, bottom: Point, bottom_half: Field, corner: float = 1.5) -> Shape:
    """A trapezoid with round corners, given by the middles and half widths of its top and bottom: a torso, a skirt."""
    height = bottom.y - top.y

    def distance(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        along = np.minimum(np.maximum((y - top.y) / height, 0.0), 1.0)
        half = top_half + (bottom_half - top_half) * along
        dx = np.abs(x - (top.x + (bottom.x - top.x) * along)) - half + corner
        dy = np.abs(y - (top.y + bottom.y) * 0.5) - height * 0.5 + corner
        ox, oy = np.maximum(dx, 0.0), np.maximum(dy, 0.0)
        return np.sqrt(ox * ox + oy * oy) + np.minimum(np.maximum(dx, dy), 0.0) - corner

    return Shape(distance, _around(top, bottom, by=np.maximum(top_half, bottom_half)))


def band(top: Field, bottom: Field) -> Shape:
    """Everything between two levels: a belt or a hem, painted within a garment."""
    return Shape(lambda x, y: np.maximum(top - y, y - bottom) + 0.0 * x, (0.0, 0.0, 64.0, 64.0))


def stripes(start: Field, period: float) -> Shape:
    """Level bands from start downwards, half as thick as their period."""

    def distance(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        turn = (y - start) / period
        return (np.abs(turn - np.floor(turn) - 0.5) - 0.25) * period + 0.0 * x

    return Shape(distance, (0.0, 0.0, 64.0, 64.0))


def zigzag(centre: Point) -> Shape:
    """A zigzag line across the cell."""

    def distance(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        turn = (x - centre.x) / 5.6
        return np.abs(y - centre.y + 1.25 - np.abs(turn - np.floor(turn) - 0.5) * 5.0) * 0.75 - 0.8

    return Shape(distance, (0.0, 0.0, 64.0, 64.0))


def joined(*shapes: Shape) -> Shape:
    """What lies in any of the shapes."""

    def distance(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        found = shapes[0].distance(x, y)
        for shape in shapes[1:]:
            found = np.minimum(found, shape.distance(x, y))
        return found

    left, top, right, bottom = zip(*(shape.box for shape in shapes), strict=True)
    return Shape(distance, (min(left), min(top), max(right), max(bottom)))


def within(shape: Shape, other: Shape) -> Shape:
    """What lies in the shape and in the other one."""
    return Shape(lambda x, y: np.maximum(shape.distance(x, y), other.distance(x, y)), shape.box)


def without(shape: Shape, hole: Shape) -> Shape:
    """What lies in the shape and not in the hole."""
    return Shape(lambda x, y: np.maximum(shape.distance(x, y), -hole.distance(x, y)), shape.box)


class Canvas:
    """Eight frames of premultiplied RGBA in 0..1, (4, 8, side, side), on a grid finer than the size asked for."""

    def __init__(self, size: int):
        self.size = size
        self.fine = max(1, -(-128 // size))  # subpixels per pixel: thin lines survive in small cells
        self.scale = size * self.fine / 64.0
        self.line = min(max(1.15, 48.0 / size), 2.0)  # outline in units: 3/4 of a pixel where there is room
        self.pixels = np.zeros((4, FRAMES, size * self.fine, size * self.fine))

    def part(self, shape: Shape, colour: Colour, dx: float = 1.2, dy: float = 1.5) -> None:
        """Paint a solid part: a dark outline, shade, and light from the upper left that leaves dx, dy of the shade."""
        rows, columns, x, y = self._window(shape.box, self.line)
        light = [c / 255.0 for c in colour]
        shade = [c * share for c, share in zip(light, (0.76, 0.70, 0.80), strict=True)]
        ink = [c * 0.22 + i / 255.0 * 0.78 for c, i in zip(light, INK, strict=True)]
        distance = shape.distance(x, y)
        inner = self._cover(distance)
        bright = np.minimum(inner, self._cover(shape.distance(x + dx, y + dy)))
        paint = [i + (s - i) * inner + (b - s) * bright for i, s, b in zip(ink, shade, light, strict=True)]
        self._over(rows, columns, [*paint, 1.0], self._cover(distance - self.line))

    def flat(self, shape: Shape, colour: Colour) -> None:
        """Paint a detail in one colour."""
        rows, columns, x, y = self._window(shape.box, 0.0)
        self._over(rows, columns, [*(c / 255.0 for c in colour), 1.0], self._cover(shape.distance(x, y)))

    def cut(self, shape: Shape, margin: float) -> None:
        """Make a hole through which the layers below show."""
        rows, columns, x, y = self._window(shape.box, margin)
        self.pixels[:, :, rows, columns] *= 1.0 - self._cover(shape.distance(x, y) - margin)

    def cells(self) -> np.ndarray:
        """Return (4, 8, size, size) uint8, premultiplied, averaged over the subpixels in whole numbers."""
        cells = np.zeros((4, FRAMES, self.size, self.size), np.uint8)
        top, bottom, left, right = (edge * self.fine for edge in _extent(self.pixels[3], self.fine))
        levels = (self.pixels[:, :, top:bottom, left:right] * 255.0 + 0.5).astype(np.uint16)
        total = sum(levels[:, :, i :: self.fine, j :: self.fine] for i in range(self.fine) for j in range(self.fine))
        count = self.fine * self.fine
        top, bottom, left, right = (edge // self.fine for edge in (top, bottom, left, right))
        cells[:, :, top:bottom, left:right] = (total + count // 2) // count
        return cells

    def _cover(self, distance: np.ndarray) -> np.ndarray:
        return np.minimum(np.maximum(0.5 - distance * self.scale, 0.0), 1.0)

    def _window(self, box: Box, margin: float) -> tuple[slice, slice, np.ndarray, np.ndarray]:
        """Return the rows and columns around a box and the places of their subpixels."""
        side = self.size * self.fine
        left, top = (int(min(max((edge - margin) * self.scale - 2.0, 0.0), side)) for edge in box[:2])
        right, bottom = (int(min(max((edge + margin) * self.scale + 3.0, 0.0), side)) for edge in box[2:])
        x, y = ((np.arange(low, high) + 0.5) / self.scale for low, high in ((left, right), (top, bottom)))
        return slice(top, bottom), slice(left, right), x[None, None, :], y[None, :, None]

    def _over(self, rows: slice, columns: slice, paint: list, cover: np.ndarray) -> None:
        for channel, value in zip(self.pixels, paint, strict=True):
            below = channel[:, rows, columns]
            below += (value - below) * cover


def _extent(alpha: np.ndarray, step: int = 1) -> tuple[int, int, int, int]:
    """Return top, bottom, left and right of what is painted in (n, side, side), in units of step."""
    painted = np.any(alpha, axis=0)
    rows, columns = (np.flatnonzero(np.any(painted, axis=axis)) // step for axis in (1, 0))
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


# Poses


class Pose(NamedTuple):
    """Where the joints are in the eight frames of one action and view."""

    action: str
    view: str
    sway: Field  # how far cloth and hair trail behind, to the right
    head: Point
    chest: Point
    hip: Point
    shoulders: list[Point]
    elbows: list[Point]
    hands: list[Point]
    hips: list[Point]
    knees: list[Point]
    feet: list[Point]

    def pick(self, front, left):
        """Choose by view."""
        return front if self.view == "front" else left


def _pose(action: str, view: str) -> Pose:
    sideways = view != "front"
    lean, bob, sway, *limbs = _columns(_stride(view) if action == "walk" else POSES[f"{action} {view}"])
    hands, feet = ([Point(*limbs[i : i + 2]), Point(*limbs[i + 2 : i + 4])] for i in (0, 4))
    head = Point(32.0 + lean * 1.2 - (0.8 if sideways else 0.0), 21.2 + bob)
    chest, hip = Point(32.0 + lean, 34.8 + bob), Point(32.0 + lean * 0.3, 44.0 + bob * 0.7)
    wide, narrow = (0.8, 1.0) if sideways else (7.0, 3.4)  # half the width of the shoulders and of the hips
    shoulders, hips = [chest.at(-wide), chest.at(wide)], [hip.at(-narrow), hip.at(narrow)]
    elbows = [_bent(shoulders[i], hands[i], 11.5, 1.0 if sideways or i else -1.0) for i in (0, 1)]
    knees = [_bent(hips[i], feet[i], 15.0, -1.0 if sideways else 0.0) for i in (0, 1)]
    return Pose(action, view, sway, head, chest, hip, shoulders, elbows, hands, hips, knees, feet)


def _columns(rows: Sequence[Sequence[float]]) -> list[np.ndarray]:
    """Turn one row per frame into one field per column."""
    return [np.array(column, np.float64)[:, None, None] for column in zip(*rows, strict=True)]


def _stride(view: str) -> list[tuple[float, ...]]:
    """Complete the half stride: the other foot first."""
    rows: list[tuple[float, ...]] = [*STRIDE[view]]
    for lean, bob, sway, *xy in STRIDE[view]:
        other = [*xy[2:4], *xy[:2], *xy[6:], *xy[4:6]]
        if view == "front":
            other = [64.0 - place if i % 2 == 0 else place for i, place in enumerate(other)]
            lean, sway = -lean, -sway
        rows.append((lean, bob, sway, *other))
    return rows


def _bent(a: Point, b: Point, length: float, side: float) -> Point:
    """Return the middle joint of a limb of that length, pushed sideways when there is slack."""
    dx, dy = b.x - a.x, b.y - a.y
    slack = np.maximum(length - np.sqrt(dx * dx + dy * dy), 0.0)
    return a.to(b).at(slack * side * 0.55, slack * 0.15)


# Bodies


def _body(c: Canvas, p: Pose, skin: Skin) -> None:
    for i in p.pick((), (0,)):
        c.part(_arm(p, i), skin.colour)
    _legs(c, p, skin.colour, (2.6, 2.6, 2.4))
    c.part(panel(p.chest.at(0.0, -2.0), p.pick(6.0, 4.8), p.hip.at(0.0, 2.0), p.pick(6.0, 4.8), 3.0), skin.colour)
    paint_ears = [lambda: _ears(c, p, skin), lambda: c.part(_head(p), skin.colour)]
    for paint in p.pick(paint_ears, paint_ears[::-1]):  # from the front the head is before the ears
        paint()
    _face(c, p, skin)
    for i in _near(p):
        c.part(_arm(p, i), skin.colour)


def _near(p: Pose) -> tuple[int, ...]:
    """The arms that hang before the body."""
    return p.pick((0, 1), (1,))


def _head(p: Pose) -> Shape:
    skull = ellipse(p.head, 12.2, 11.0)
    return p.pick(skull, joined(skull, circle(p.head.at(-11.5, 3.8), 1.4)))


def _arm(p: Pose, i: int) -> Shape:
    return joined(limb(p.shoulders[i], p.elbows[i], 2.3), limb(p.elbows[i], p.hands[i], 2.3, 2.0), _hand(p, i))


def _hand(p: Pose, i: int) -> Shape:
    return circle(p.hands[i], 2.6)


def _legs(c: Canvas, p: Pose, colour: Colour, widths: tuple[float, float, float], reach: float = 1.0) -> list[Shape]:
    """Paint both legs, as wide as given at hip, knee and end, down to a share of their length; return their shapes."""
    shapes = []
    for i in (0, 1):
        knee = p.hips[i].to(p.knees[i], min(reach * 2.0, 1.0))
        end = knee.to(p.feet[i].at(0.0, -2.0), max(reach * 2.0 - 1.0, 0.0))
        shapes.append(joined(limb(p.hips[i], knee, *widths[:2]), limb(knee, end, *widths[1:])))
        c.part(shapes[i], colour)
    return shapes


def _ears(c: Canvas, p: Pose, skin: Skin) -> None:
    for side in p.pick((-1.0, 1.0), (1.0,)):
        root = p.pick(p.head.at(side * 11.4, 2.8), p.head.at(3.0, 4.0))
        if skin.kind == "human":
            c.part(circle(root, 2.4), skin.colour)
        elif skin.kind == "robot":
            c.part(panel(root.at(0.0, -3.2), 2.4, root.at(0.0, 3.2), 2.4, 1.0), BOLT)
        else:
            dx, dy = EAR_TIPS[skin.kind]
            c.part(limb(root.at(-side), root.at(side * dx, dy), 2.9, 0.6), skin.colour)
        if skin.kind == "imp":
            c.part(limb(p.head.at(side * 7.5, -9.0), p.head.at(side * 11.3, -15.0), 2.4, 0.5), IVORY)


def _face(c: Canvas, p: Pose, skin: Skin) -> None:
    eyes = [p.head.at(dx, 3.6) for dx in p.pick((-5.0, 5.0), (-7.2,))]
    excited = p.action != "walk"
    if skin.kind == "robot":
        middle, half = p.pick((p.head, 9.0), (p.head.at(-6.4), 5.4))
        c.flat(panel(middle.at(0.0, 0.2), half, middle.at(0.0, 7.2), half, 2.8), INK)
        for eye in eyes:
            c.flat(ellipse(eye, 1.8, 2.7 if excited else 2.1), skin.iris)
            c.flat(circle(eye.at(-0.5, -0.7), 0.8), WHITE)
        return
    for eye, cheek in zip(eyes, p.pick((-3.0, 3.0), (3.3,)), strict=True):
        c.flat(ellipse(eye, 2.0, 3.0), INK)
        c.flat(ellipse(eye.at(0.1, 1.0), 1.3, 1.6), skin.iris)
        c.flat(circle(eye.at(-0.6, -1.2), 0.95), WHITE)
        c.flat(ellipse(eye.at(cheek, 3.7), 1.9, 1.1), skin.blush)
    mouth = p.head.at(p.pick(0.0, -8.4), 7.8)
    half, gape = (2.4 if skin.kind == "orc" else 1.0 if excited else 0.7), (1.1 if excited else 0.55)
    c.flat(limb(mouth.at(-half), mouth.at(half), gape), LIPS)
    for dx in p.pick((-2.6, 2.6), (0.4,)) if skin.kind == "orc" else ():
        c.flat(limb(mouth.at(dx, 0.4), mouth.at(dx, -1.8), 1.0, 0.4), WHITE)


# Bottomwear


def _waist(p: Pose, down: float = 2.6, flare: float = 0.0) -> Shape:
    half = p.pick(6.0, 5.0)
    return panel(p.hip.at(0.0, -3.5), half, p.hip.at(0.0, down), half + flare, 2.0)


def _skirt(p: Pose, hem: float, half: float) -> Shape:
    """A skirt from the waist to a level; seen from the side it is wide enough for the stride."""
    left, right = p.feet[0].x, p.feet[1].x
    share = (hem - 44.0) / 14.0  # of the leg that it covers
    middle = p.pick(p.hip.x, p.hip.x + ((left + right) * 0.5 - p.hip.x) * share) + p.sway * 0.6
    stride = p.pick(0.0, np.abs(left - right) * 0.5 * share)
    return panel(p.hip.at(0.0, -4.0), p.pick(5.6, 4.8), Point(middle, hem), half + stride, 1.2)


def _trousers(c: Canvas, p: Pose) -> None:
    c.part(_waist(p), BLUE)
    _legs(c, p, BLUE, (3.2, 3.2, 3.4))


def _pleated_skirt(c: Canvas, p: Pose) -> None:
    skirt = _skirt(p, 51.6, p.pick(9.6, 7.0))
    c.part(skirt, CRIMSON)
    for dx in (-5.4, -1.8, 1.8, 5.4):
        c.flat(within(limb(p.hip.at(dx * 0.7, 1.5), p.hip.at(dx * 1.25 + p.sway * 0.6, 9.0), 0.5), skirt), WINE)


def _shorts(c: Canvas, p: Pose) -> None:
    c.part(_waist(p), KHAKI)
    _legs(c, p, KHAKI, (3.4, 3.8, 3.8), 0.32)


def _long_dress(c: Canvas, p: Pose) -> None:
    skirt = _skirt(p, 56.4, p.pick(10.4, 5.4))
    c.part(skirt, PINK)
    c.flat(within(skirt, band(53.4, 58.0)), WHITE)
    c.flat(within(skirt, band(51.8, 53.2)), ROSE)


def _baggy_trousers(c: Canvas, p: Pose) -> None:
    c.part(_waist(p), MUSTARD)
    _legs(c, p, MUSTARD, (3.4, 4.8, 2.6))


def _striped_stockings(c: Canvas, p: Pose) -> None:
    for leg, foot in zip(_legs(c, p, WHITE, (2.8, 2.8, 2.7)), p.feet, strict=True):
        c.flat(within(leg, stripes(foot.y, 3.6)), NIGHT)
    c.part(_waist(p, 3.2, 1.6), NIGHT)


BOTTOMWEAR = (_trousers, _pleated_skirt, _shorts, _long_dress, _baggy_trousers, _striped_stockings)

# Topwear


def _sleeved(c: Canvas, p: Pose, torso: Callable, colour: Colour, width: float, reach: float) -> None:
    """Paint a torso with sleeves down to a share of the forearm; the head, bare arms and hands stay before it."""
    for i in p.pick((), (0,)):
        c.part(_sleeve(p, i, width, reach), colour)
        c.cut(_hand(p, i), c.line)
    torso(c, p)
    c.cut(_head(p), c.line * 0.5)
    for i in _near(p):
        c.cut(_arm(p, i), c.line)
        c.part(_sleeve(p, i, width, reach), colour)
        c.cut(_hand(p, i), c.line)


def _sleeve(p: Pose, i: int, width: float, reach: float) -> Shape:
    shoulder, elbow = p.shoulders[i], p.elbows[i]
    return joined(limb(shoulder, elbow, width - 0.3, width), limb(elbow, elbow.to(p.hands[i], reach), width))


def _shirt(p: Pose, down: float, flare: float = 0.0) -> Shape:
    """A garment from the neck to a little below the hip."""
    half = p.pick(6.7, 5.4)
    return panel(p.chest.at(0.0, -2.6), half - 0.4, p.hip.at(0.0, down), half + flare, 2.2)


def _tunic(c: Canvas, p: Pose) -> None:
    cloth = _shirt(p, 2.8, 1.6)
    c.part(cloth, GREEN)
    c.flat(within(cloth, band(p.hip.y - 3.2, p.hip.y - 0.8)), BOOT)
    c.flat(circle(p.hip.at(p.pick(0.0, -4.0), -2.0), 1.5), GOLD)


def _striped_shirt(c: Canvas, p: Pose) -> None:
    shirt = _shirt(p, 1.0)
    c.part(shirt, WHITE)
    c.flat(within(shirt, stripes(p.chest.y, 4.4)), RED)


def _plate(c: Canvas, p: Pose) -> None:
    plate = _shirt(p, 1.4)
    c.part(plate, STEEL)
    c.flat(within(plate, band(p.hip.y - 2.6, p.hip.y - 0.2)), GOLD)
    c.flat(within(star(p.chest.at(p.pick(0.0, -4.6), 2.4), 3.6), plate), GOLD)


def _robe(c: Canvas, p: Pose) -> None:
    for dx in p.pick((-4.6, 4.6), (2.6,)):  # open in front, so that the legs show
        hem = p.hip.at(dx * 1.75 + p.sway * 0.8, 9.4)
        flap = panel(p.hip.at(dx, -4.0), p.pick(2.8, 4.0), hem, p.pick(3.6, 5.2), 1.0)
        c.part(flap, PURPLE)
        c.flat(within(flap, band(hem.y - 2.0, hem.y)), GOLD)
    coat, edge = _shirt(p, 0.6), p.pick(0.0, -4.8)
    c.part(coat, PURPLE)
    c.flat(within(limb(p.chest.at(edge, -3.0), p.hip.at(edge), 1.0), coat), GOLD)


def _vest(c: Canvas, p: Pose) -> None:
    c.part(_shirt(p, 0.4), LINEN)
    for dx in p.pick((-4.2, 4.2), (1.4,)):
        c.part(panel(p.chest.at(dx, -2.6), p.pick(2.9, 4.4), p.hip.at(dx, 0.8), p.pick(2.9, 4.4), 1.4), LEATHER)


def _armour(c: Canvas, p: Pose) -> None:
    _sleeved(c, p, _plate, IRON, 2.6, 0.5)
    for i in _near(p):
        c.part(ellipse(p.shoulders[i].at(p.pick((-0.8, 0.8)[i], 0.0), -0.2), 4.0, 3.2), STEEL)


def _poncho(c: Canvas, p: Pose) -> None:
    hem = p.hip.at(p.sway * 0.7, 0.6)
    drapes = [limb(p.shoulders[i], p.elbows[i], 3.0, 3.6) for i in (0, 1)]
    for i in p.pick((), (0,)):
        c.part(drapes[i], TEAL)
    sheet = panel(p.chest.at(0.0, -3.0), 5.4, hem, p.pick(11.0, 8.8), 2.4)
    cloak = joined(sheet, *(drapes[i] for i in _near(p)))
    c.part(cloak, TEAL)
    c.flat(within(cloak, zigzag(hem.at(0.0, -2.2))), SAND)
    c.flat(within(cloak, zigzag(hem.at(0.0, -6.2))), CORAL)
    c.cut(_head(p), c.line * 0.5)
    for i in _near(p):  # a walker's forearms stay under the cloth
        forearm = limb(p.hands[i] if p.action == "walk" else p.elbows[i], p.hands[i], 2.3)
        c.cut(joined(_hand(p, i), forearm), c.line)


TOPWEAR = (
    lambda c, p: _sleeved(c, p, _tunic, GREEN, 2.8, 0.5),
    lambda c, p: _sleeved(c, p, _striped_shirt, RED, 2.9, 0.0),
    _armour,
    lambda c, p: _sleeved(c, p, _robe, PURPLE, 3.4, 0.6),
    lambda c, p: _sleeved(c, p, _vest, LINEN, 2.9, 0.5),
    _poncho,
)

# Hair: locks run from a root to their tips, (dx, dy) from the middle of the head and the width at the root

SHORT_FRINGE = (-9.6, 0.6, 3.8), (-4.2, -0.4, 4.0), (1.0, -0.8, 3.4), (8.6, -0.2, 4.0)
SHORT_TUFTS = ((4.6, -15.4, 5.0), (-3.0, -14.4, 4.4)), ((6.6, -14.4, 5.0), (13.4, -8.6, 4.4))  # front, left
LONG_FRINGE = (-9.8, 1.2, 3.4), (-5.0, -0.4, 4.2), (5.0, -0.4, 4.2), (9.8, 1.2, 3.4)
SPIKY_FRINGE = (-8.8, 0.6, 3.4), (-3.4, 1.0, 3.6), (3.4, 0.0, 3.4), (8.8, 0.6, 3.4)
SPIKES = (-16, -5, 6), (-13, -13.6, 6), (-4.6, -17.4, 6), (5.4, -17.2, 6), (13, -13.2, 6), (16, -4.6, 6)
SIDE_SPIKES = (
    (-7.6, -15.4, 6),
    (1.4, -17.6, 6.5),
    (10.4, -15.8, 6.5),
    (16.6, -9.8, 6.5),
    (17.8, -1.6, 7),
    (14.6, 5.6, 7),
)
BUN_FRINGE = (-9.8, 0.2, 3.0), (-5.2, -0.2, 3.4), (0.0, -0.4, 3.6), (5.2, -0.2, 3.4), (9.8, 0.2, 3.0)
TAIL_FRINGE = (-10.2, 1.6, 3.6), (-5.4, 0.4, 4.2), (0.4, -1.2, 4.0), (9.8, -0.6, 3.2)
SIDE_FRINGE = (-11.2, -0.2, 3.4), (-7.0, 0.2, 3.6), (-1.4, 1.4, 3.4)
SHINE = ((-7.6, -6.4), (-3.4, -8.8)), ((-3.6, -8.6), (1.6, -9.4))  # front, left


def _cap(p: Pose) -> Shape:
    """Hair around the top and the sides of the head, open at the face."""
    skull = ellipse(p.head.at(p.pick(0.0, 0.8), -1.2), 13.2, 12.4)
    face = p.pick(ellipse(p.head.at(0.0, 6.4), 10.6, 9.0), ellipse(p.head.at(-6.0, 6.4), 9.6, 9.2))
    return within(without(skull, face), band(0.0, p.head.y + p.pick(6.0, 7.4)))


def _locks(root: Point, head: Point, tips: Sequence[tuple[float, float, float]]) -> list[Shape]:
    return [limb(root, head.at(dx, dy), width, 0.4) for dx, dy, width in tips]


def _hair(c: Canvas, p: Pose, colour: Colour, fringe: Sequence[tuple[float, float, float]], *more: Shape) -> None:
    """Paint what grows on the head, as one part: cap, fringe and what stands out; then its shine."""
    roots = p.head.at(p.pick(0.0, -1.0), -8.0)
    c.part(joined(_cap(p), *_locks(roots, p.head, p.pick(fringe, SIDE_FRINGE)), *more), colour)
    a, b = p.pick(*SHINE)
    c.flat(limb(p.head.at(*a), p.head.at(*b), 1.1, 0.8), _shiny(colour))


def _shiny(colour: Colour) -> Colour:
    red, green, blue = ((c * 3 + w * 2) // 5 for c, w in zip(colour, IVORY, strict=True))
    return red, green, blue


def _short(c: Canvas, p: Pose) -> None:
    _hair(c, p, BROWN, SHORT_FRINGE, *_locks(p.head.at(0.0, -8.0), p.head, p.pick(*SHORT_TUFTS)))


def _long(c: Canvas, p: Pose) -> None:
    for side in p.pick((-1.0, 1.0), (1.0,)):
        root, width = p.pick((p.head.at(side * 11.6), 2.8), (p.head.at(8.0), 5.2))
        middle = p.head.at(side * p.pick(13.0, 10.8) + p.sway * 0.5, 12.0)
        tip = p.head.at(side * 11.5 + p.sway * 1.3, 22.0)
        c.part(joined(limb(root, middle, width), limb(middle, tip, width, 0.8)), BLOND)
    _hair(c, p, BLOND, LONG_FRINGE)


def _spiky(c: Canvas, p: Pose) -> None:
    roots = p.pick(p.head.at(0.0, -7.0), p.head.at(2.0, -6.0))
    _hair(c, p, FLAME, SPIKY_FRINGE, *_locks(roots, p.head, p.pick(SPIKES, SIDE_SPIKES)))


def _buns(c: Canvas, p: Pose) -> None:
    for at in p.pick(((-10.2, -11.0), (10.2, -11.0)), ((8.4, -11.6),)):
        bun = p.head.at(*at)
        c.part(circle(bun, 4.6), RAVEN)
        c.flat(limb(bun.at(-1.8, -1.4), bun.at(0.2, -2.4), 0.9), _shiny(RAVEN))
        c.part(circle(bun.to(p.head, 0.16), 3.8), CORAL)  # a ribbon: all but its rim lies behind the hair
    _hair(c, p, RAVEN, BUN_FRINGE)


def _wizard_hat(c: Canvas, p: Pose) -> None:
    c.part(_cap(p), SILVER)
    bend, tip = p.head.at(1.4, -13.6), p.head.at(5.6 + p.sway * 0.8, -18.2)
    cone = joined(limb(p.head.at(0.0, -7.0), bend, 9.2, 4.0), limb(bend, tip, 4.0, 1.0))
    c.part(within(cone, band(0.0, p.head.y - 4.6)), INDIGO)
    c.part(ellipse(p.head.at(0.0, -4.4), 15.6, 3.5), INDIGO)
    c.flat(limb(p.head.at(-8.4, -7.2), p.head.at(8.4, -7.2), 1.2), GOLD)
    c.flat(star(p.head.at(-1.6, -11.6), 3.2), SPARK)


def _ponytail(c: Canvas, p: Pose) -> None:
    knot = p.head.at(p.pick(10.4, 11.4), -8.4)
    middle, end = knot.at(6.0 + p.sway * 0.6, 6.0), knot.at(4.8 + p.sway * 1.4, 19.0)
    c.part(joined(limb(knot, middle, 2.6, 4.0), limb(middle, end, 4.0, 0.6)), AQUA)
    _hair(c, p, AQUA, TAIL_FRINGE)
    c.part(circle(knot, 2.2), CORAL)


HAIR = (_short, _long, _spiky, _buns, _wizard_hat, _ponytail)

# Shoes, sword and spell: the same for everyone


def _shoes(c: Canvas, p: Pose) -> None:
    for foot in p.feet:
        sole = p.pick(ellipse(foot.at(0.0, 0.5), 3.1, 2.0), limb(foot.at(0.6, 0.5), foot.at(-2.6, 0.8), 2.0, 1.7))
        c.part(joined(limb(foot.at(0.0, -1.2), foot, 2.3), sole), BOOT)


def _sword(c: Canvas, p: Pose) -> None:
    dx, dy, x, y, radius, lit_x, lit_y = _columns(SWORD[p.view])
    for depth, colour in ((6.0, TRAIL), (2.8, WHITE)):  # crescents: a disc less the same disc moved
        hole = circle(Point(x - lit_x * depth, y - lit_y * depth), np.maximum(radius, 1.0))
        c.flat(without(circle(Point(x, y), radius), hole), colour)
    length = np.sqrt(dx * dx + dy * dy)
    dx, dy = dx / length, dy / length
    hand = p.hands[p.pick(0, 1)]
    guard = hand.at(dx * 3.6, dy * 3.6)
    c.part(limb(guard, hand.at(dx * 15.5, dy * 15.5), 1.7, 0.9), BLADE, 0.3, 0.3)
    c.part(limb(guard.at(-dy * 2.6, dx * 2.6), guard.at(dy * 2.6, -dx * 2.6), 0.9), GOLD)


def _spell(c: Canvas, p: Pose) -> None:
    columns = _columns(SPELL[p.view])
    kinds = (circle, DEEP, ICE), (star, EMBER, SPARK), (star, DEEP, ICE), (star, EMBER, SPARK)
    for i, (shape, rim, tint) in enumerate(kinds):
        x, y, radius = columns[3 * i : 3 * i + 3]
        for place in p.pick((Point(x, y), Point(64.0 - x, y)), (Point(x, y),)):
            c.flat(shape(place, radius * 1.2 + np.minimum(radius, 1.0)), rim)
            c.flat(shape(place, radius), tint)
            c.flat(shape(place, radius * 0.62), CORE)


# Layers and characters


def _draw(c: Canvas, p: Pose, attribute: str, variant: int) -> None:
    if attribute == "body":
        _body(c, p, SKINS[variant])
    elif attribute == "bottomwear":
        BOTTOMWEAR[variant](c, p)
        for i in _near(p):
            c.cut(_arm(p, i), c.line)
    elif attribute == "topwear":
        TOPWEAR[variant](c, p)
    elif attribute == "hair":
        HAIR[variant](c, p)
        for ear in p.pick((), (p.head.at(3.0, 4.0),)):
            c.cut(circle(ear, 2.4), 0.4)
        for i in () if p.action == "walk" and p.view == "front" else _near(p):
            c.cut(_arm(p, i), c.line + 0.6)
    else:
        _shoes(c, p)
        {"slash": _sword, "spellcast": _spell}.get(p.action, lambda c, p: None)(c, p)


@lru_cache(maxsize=128)
def _layer(attribute: str, variant: int, size: int) -> tuple[np.ndarray, int, int]:
    """Return (4, 48 cells, height, width) of both views, cropped to what is painted, and the crop's top and left."""
    cells = []
    for action in ACTIONS:
        for view in VIEWS:
            canvas = Canvas(size)
            _draw(canvas, _pose(action, view), attribute, variant)
            cells.append(canvas.cells())
    layer = np.concatenate(cells, axis=1)
    top, bottom, left, right = _extent(layer[3])
    return layer[:, :, top:bottom, left:right].astype(np.uint16), top, left


def character(identity: tuple[int, int, int, int], size: int = 64) -> np.ndarray:
    """Return a character's cells, uint8 (9 animations, 8 frames, size, size, 4): straight RGBA, alpha 0 or 255."""
    if len(identity) != len(ATTRIBUTES) or not all(0 <= variant < VARIANTS for variant in identity):
        wanted = f"{len(ATTRIBUTES)} numbers from 0 to {VARIANTS - 1} ({', '.join(ATTRIBUTES)})"
        raise UsageError(f"no W-Sprites character {identity}: give {wanted}")
    if not 8 <= size <= 512:
        raise UsageError(f"W-Sprites characters of {size} pixels cannot be drawn: give a size from 8 to 512")
    cells = np.zeros((4, len(ACTIONS) * len(VIEWS) * FRAMES, size, size), np.uint16)
    for attribute, variant in (*zip(ATTRIBUTES, identity, strict=True), ("shoes", 0)):
        layer, top, left = _layer(attribute, variant, size)
        below = cells[:, :, top : top + layer.shape[2], left : left + layer.shape[3]]
        through = below * (255 - layer[3]) + 128
        below[:] = layer + ((through + (through >> 8)) >> 8)  # a rounded division by 255
    alpha = cells[3]
    edge = (alpha > 127) & (alpha < 255)
    cells[:, edge] = np.minimum(cells[:, edge] * 255 // alpha[edge], 255)
    cells *= alpha > 127
    views = cells.astype(np.uint8).reshape(4, len(ACTIONS), len(VIEWS), FRAMES, size, size)
    views = np.concatenate([views, views[:, :, 1:, :, :, ::-1]], axis=2)
    return np.ascontiguousarray(np.moveaxis(views, 0, -1)).reshape(len(ANIMATIONS), FRAMES, size, size, 4)
