"""Shapes as signed distances, and the canvas that draws them: the brushes of the W-Sprites pictures.

All geometry lives in a cell of 64 units (x right, y down) and is sampled at the size asked for. Only operations that
IEEE 754 rounds exactly are used (+ - * / sqrt min max floor), so every machine draws the same bytes.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

FRAMES = 8
Colour = tuple[int, int, int]
INK = (40, 26, 46)

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


def panel(top: Point, top_half: float, bottom: Point, bottom_half: Field, corner: float) -> Shape:
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
        top, bottom, left, right = (edge * self.fine for edge in extent(self.pixels[3], self.fine))
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


def extent(alpha: np.ndarray, step: int = 1) -> tuple[int, int, int, int]:
    """Return top, bottom, left and right of what is painted in (n, side, side), in units of step."""
    painted = np.any(alpha, axis=0)
    rows, columns = (np.flatnonzero(np.any(painted, axis=axis)) // step for axis in (1, 0))
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
