"""The poses of W-Sprites characters: tables of joints for the eight frames of each action, in units of the cell."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from vbench_ctl.generators.wsprites.shapes import Field, Point

ACTIONS, VIEWS = ("walk", "spellcast", "slash"), ("front", "left")  # the right view mirrors the left one

# One row per frame; limb 0 is the one on the image's left (front view) or the far one (left view)

# lean, bob, sway of cloth and hair, then x and y of hand 0, hand 1, foot 0, foot 1
STRIDE = {
    "front": (  # contact, down, pass, up: the other half is this one mirrored
        (0.0, 0.8, 0.9, 21.2, 41.8, 42.2, 45.8, 27.8, 58.8, 36.2, 55.8),
        (-0.5, 1.1, 0.4, 21.2, 42.4, 42.4, 45.4, 27.8, 58.7, 36.3, 54.8),
        (-0.8, -0.4, -0.4, 21.2, 44.2, 43.0, 44.2, 28.0, 57.8, 36.6, 54.8),
        (-0.5, -0.9, -0.9, 21.4, 45.2, 43.0, 42.8, 28.0, 57.0, 36.4, 56.6),
    ),
    "left": (  # contact, down, pass, up: the other half is this one with the limbs exchanged
        (-0.6, 0.8, 1.4, 24.0, 42.2, 41.4, 41.8, 40.2, 56.2, 23.4, 57.8),
        (-0.6, 1.1, 0.6, 25.4, 43.4, 40.0, 42.8, 39.8, 54.4, 26.4, 58.2),
        (-0.4, -0.4, 0.2, 31.0, 44.6, 34.4, 45.0, 34.8, 53.8, 32.0, 58.2),
        (-0.4, -0.9, 1.0, 37.4, 43.8, 28.0, 44.2, 26.8, 55.4, 37.0, 58.0),
    ),
}
POSES = {
    "spellcast front": (  # gather the light at the chest, then throw both arms up
        (0.0, 0.4, 0.0, 24.0, 41.4, 40.0, 41.4, 27.2, 57.8, 36.8, 57.8),
        (0.0, 1.0, 0.0, 27.6, 41.4, 36.4, 41.4, 27.2, 57.8, 36.8, 57.8),
        (0.0, 1.4, 0.0, 27.4, 40.8, 36.6, 40.8, 27.2, 57.8, 36.8, 57.8),
        (0.0, 0.2, 0.6, 19.0, 31.4, 45.0, 31.4, 27.2, 57.8, 36.8, 57.8),
        (0.0, -0.8, 0.9, 15.4, 23.8, 48.6, 23.8, 27.2, 57.8, 36.8, 57.8),
        (0.0, -1.0, -0.6, 14.8, 22.8, 49.2, 22.8, 27.2, 57.8, 36.8, 57.8),
        (0.0, -0.8, 0.6, 15.4, 23.6, 48.6, 23.6, 27.2, 57.8, 36.8, 57.8),
        (0.0, 0.0, 0.0, 18.6, 35.0, 45.4, 35.0, 27.2, 57.8, 36.8, 57.8),
    ),
    "spellcast left": (  # draw the light back to the hip, then push it forward
        (0.0, 0.4, 0.0, 26.0, 42.4, 29.0, 43.4, 27.6, 57.6, 36.0, 58.0),
        (0.8, 0.8, 0.6, 33.0, 41.4, 37.0, 42.4, 27.6, 57.6, 36.0, 58.0),
        (1.2, 1.2, 0.4, 35.0, 40.4, 39.6, 41.4, 27.6, 57.6, 36.6, 58.0),
        (-0.6, 0.6, 1.4, 22.0, 35.8, 23.6, 38.0, 25.8, 57.6, 37.8, 58.0),
        (-1.4, 0.4, 2.0, 17.6, 31.8, 18.6, 34.8, 25.2, 57.6, 38.6, 58.0),
        (-1.6, 0.4, 1.2, 16.8, 31.0, 17.8, 34.2, 25.2, 57.6, 38.6, 58.0),
        (-1.4, 0.4, 1.6, 17.4, 31.6, 18.4, 34.6, 25.2, 57.6, 38.6, 58.0),
        (-0.4, 0.4, 0.4, 22.6, 38.8, 24.6, 40.8, 26.8, 57.6, 37.0, 58.0),
    ),
    "slash front": (  # wind up beside the head, cut across the body, follow through
        (0.0, 0.4, 0.0, 20.0, 39.4, 42.6, 43.4, 27.2, 57.8, 36.8, 57.8),
        (0.8, 0.0, 0.6, 16.6, 29.4, 43.0, 42.8, 27.0, 57.8, 37.0, 57.8),
        (1.4, -0.4, 0.9, 16.4, 23.8, 43.0, 42.0, 26.6, 57.6, 37.4, 58.0),
        (-0.4, 0.8, -0.9, 17.6, 35.6, 43.8, 41.4, 26.2, 58.4, 37.4, 57.2),
        (-1.2, 1.6, -1.4, 22.6, 43.4, 44.4, 40.0, 26.0, 58.8, 37.6, 56.8),
        (-0.8, 1.6, 0.4, 33.0, 43.0, 44.6, 39.6, 26.0, 58.8, 37.6, 56.8),
        (-0.4, 1.2, 0.9, 35.0, 42.2, 44.2, 40.4, 26.2, 58.6, 37.4, 57.0),
        (0.0, 0.8, 0.2, 25.4, 42.0, 43.2, 42.4, 26.8, 58.0, 37.0, 57.6),
    ),
    "slash left": (  # wind up behind the head, cut down in front
        (0.0, 0.4, 0.0, 28.0, 43.8, 26.6, 41.8, 27.6, 57.6, 36.0, 58.0),
        (0.8, 0.2, 0.8, 25.0, 41.4, 42.4, 34.4, 27.6, 57.6, 36.4, 58.0),
        (1.6, 0.0, 1.0, 24.0, 39.4, 46.0, 28.4, 27.2, 56.8, 37.0, 58.0),
        (-0.8, 0.8, 2.0, 31.0, 42.4, 20.0, 30.0, 25.4, 57.6, 38.4, 58.0),
        (-1.8, 1.4, 1.4, 37.0, 42.0, 19.6, 38.8, 24.4, 57.6, 39.2, 58.0),
        (-1.8, 1.6, 0.2, 38.0, 41.4, 21.4, 45.4, 24.4, 57.6, 39.4, 58.0),
        (-1.2, 1.4, 0.2, 36.4, 42.4, 22.4, 45.6, 24.8, 57.6, 39.0, 58.0),
        (-0.4, 0.8, 0.2, 31.0, 43.4, 24.4, 43.8, 26.6, 57.6, 37.0, 58.0),
    ),
}
# the blade's direction from the hand, then the bright arc: its centre, radius (0: none) and the side that it lights up
SWORD = {
    "front": (
        (-0.6, -0.9, 0, 0, 0, 0, 0),
        (-0.3, -1.0, 0, 0, 0, 0, 0),
        (0.5, -0.9, 0, 0, 0, 0, 0),
        (-0.9, -0.5, 26.5, 34, 19, -1.0, -0.5),
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


def pose(action: str, view: str) -> Pose:
    sideways = view != "front"
    lean, bob, sway, *limbs = columns(_stride(view) if action == "walk" else POSES[f"{action} {view}"])
    hands, feet = ([Point(*limbs[i : i + 2]), Point(*limbs[i + 2 : i + 4])] for i in (0, 4))
    head = Point(32.0 + lean * 1.2 - (0.8 if sideways else 0.0), 21.2 + bob)
    chest, hip = Point(32.0 + lean, 34.8 + bob), Point(32.0 + lean * 0.3, 44.0 + bob * 0.7)
    wide, narrow = (0.8, 1.0) if sideways else (7.0, 3.4)  # half the width of the shoulders and of the hips
    shoulders, hips = [chest.at(-wide), chest.at(wide)], [hip.at(-narrow), hip.at(narrow)]
    elbows = [_bent(shoulders[i], hands[i], 11.5, 1.0 if sideways or i else -1.0) for i in (0, 1)]
    knees = [_bent(hips[i], feet[i], 15.0, -1.0 if sideways else 0.0) for i in (0, 1)]
    return Pose(action, view, sway, head, chest, hip, shoulders, elbows, hands, hips, knees, feet)


def columns(rows: Sequence[Sequence[float]]) -> list[np.ndarray]:
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
