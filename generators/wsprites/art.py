"""W-Sprites characters of our own: 1,296 little people in nine animations, drawn as distances to simple shapes.

By the rules of shapes.py; soles stand near y = 60 of the cell.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from vbench_ctl.errors import UsageError
from vbench_ctl.generators.wsprites.poses import ACTIONS, SPELL, SWORD, VIEWS, Pose, columns, pose
from vbench_ctl.generators.wsprites.shapes import (
    FRAMES,
    INK,
    Canvas,
    Colour,
    Point,
    Shape,
    band,
    circle,
    ellipse,
    extent,
    joined,
    limb,
    panel,
    star,
    stripes,
    within,
    without,
    zigzag,
)

ATTRIBUTES = ("body", "bottomwear", "topwear", "hair")
VARIANTS = 6
ANIMATIONS = tuple(f"{action} {view}" for action in ACTIONS for view in (*VIEWS, "right"))

# Colours

WHITE, IVORY, LIPS = (250, 248, 240), (250, 230, 196), (132, 52, 56)
BLUE, CRIMSON, WINE, KHAKI, PINK = (72, 106, 184), (214, 62, 84), (146, 32, 66), (206, 176, 112), (244, 160, 188)
ROSE, MUSTARD, NIGHT = (196, 92, 140), (240, 180, 62), (58, 50, 76)
GREEN, RED, STEEL, IRON, PURPLE = (92, 172, 90), (224, 68, 72), (198, 210, 226), (112, 122, 148), (106, 84, 178)
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
    Skin((216, 146, 200), (240, 186, 30), (232, 104, 160), "imp"),
)
EAR_TIPS = {"elf": (6.8, -3.6), "orc": (5.4, -1.0), "imp": (4.6, -3.6)}  # from the root of the ear, outwards

# Bodies


def _body(c: Canvas, p: Pose, skin: Skin) -> None:
    for i in p.pick((), (0,)):
        c.part(_arm(p, i), skin.colour)
    _legs(c, p, skin.colour, (2.6, 2.6, 2.4))
    c.part(panel(p.chest.at(0.0, -2.0), p.pick(6.0, 4.8), p.hip.at(0.0, 2.0), p.pick(6.0, 4.8), 3.0), skin.colour)
    if p.view == "front":
        _ears(c, p, skin)
    c.part(_head(p), skin.colour)
    if p.view != "front":
        _ears(c, p, skin)
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
SIDE_SPIKES = (-8, -15, 6), (1.4, -17.6, 6), (10.4, -15.8, 6), (16.6, -9.8, 6.5), (17.8, -1.6, 7), (14.6, 5.6, 7)
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
    red, green, blue = (min(c * 7 // 5 + 24, 240) for c in colour)
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
    c.part(within(_cap(p), band(p.head.y - 5.0, 64.0)), SILVER)
    bend, tip = p.head.at(1.4, -12.6), p.head.at(5.8 + p.sway * 0.8, -16.2)
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
    dx, dy, x, y, radius, lit_x, lit_y = columns(SWORD[p.view])
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
    table = columns(SPELL[p.view])
    kinds = (circle, DEEP, ICE), (star, EMBER, SPARK), (star, DEEP, ICE), (star, EMBER, SPARK)
    for i, (shape, rim, tint) in enumerate(kinds):
        x, y, radius = table[3 * i : 3 * i + 3]
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
        if p.action == "slash":
            _sword(c, p)
        elif p.action == "spellcast":
            _spell(c, p)


@lru_cache(maxsize=128)
def _layer(attribute: str, variant: int, size: int) -> tuple[np.ndarray, int, int]:
    """Return (4, 48 cells, height, width) of both views, cropped to what is painted, and the crop's top and left."""
    cells = []
    for action in ACTIONS:
        for view in VIEWS:
            canvas = Canvas(size)
            _draw(canvas, pose(action, view), attribute, variant)
            cells.append(canvas.cells())
    layer = np.concatenate(cells, axis=1)
    top, bottom, left, right = extent(layer[3])
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
