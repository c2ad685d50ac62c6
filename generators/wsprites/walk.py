"""The laws of W-Sprites: who stands where, does what, and how the camera drifts (Araachie/glass:data/wsprites).

Everything random comes from one stream of floats in [0, 1), drawn in a fixed order. Our generator feeds it from
NumPy's PCG64, one stream per clip; the original's labels come out when it is fed from Python's Mersenne twister.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import NamedTuple, TypeVar

FRAMES = 90
SPRITE = 64  # native pixels; all lengths below are native
CANVAS = (128, 96)  # width, height
STEP = 7  # of a character
INERTIA = 0.9
WINDOW = 25  # the background's viewpoints form a 25x25 grid
WINDOW_STEP = 2
WINDOW_INERTIA = 0.95
LEAVE_STAY = 0.9  # probability to go on standing, whatever the inertia
GLOBAL = {"l": 0, "r": 1, "u": 2, "d": 3, "s": 4}
MOVES = {"s": (0, 0), "r": (1, 0), "u": (0, -1), "l": (-1, 0), "d": (0, 1)}  # in this order, see choice()
LOCALS = {"r": (2,), "l": (1,), "u": (0,), "d": (0,), "s": (3, 4, 5, 6, 7, 8)}
HOLDS = (4, 5, 6, 7, 8)  # frames of one spell or slash
PHASES = 8  # frames of an animation
SEED_OF_THE_ORIGINAL = 1543

Draw = Callable[[], float]
T = TypeVar("T")


class Walk(NamedTuple):
    """A random walk on a grid: per frame the direction taken and the place after the step; `start` came before."""

    start: tuple[int, int]
    directions: str
    places: list[tuple[int, int]]


class Performance(NamedTuple):
    """What one character does in a clip."""

    walk: Walk
    actions: list[int]  # local action per frame
    phases: list[int]  # frame of that action's animation


def choice(draw: Draw, options: Sequence[T]) -> T:
    """Pick one of the options with one draw (Python 2's `random.choice`; `MOVES` is in its dictionary order)."""
    return options[int(draw() * len(options))]


class Walker:
    """Steps through a domain of `size` places, changing direction now and then."""

    def __init__(self, draw: Draw, size: tuple[int, int], step: int, inertia: float):
        self.draw, self.step, self.inertia = draw, step, inertia
        self.last = size[0] - 1, size[1] - 1
        self.place = (int(draw() * size[0]), int(draw() * size[1]))
        self.direction = ""

    def advance(self) -> str:
        """Take one step and return its direction."""
        (x, y), (right, bottom) = self.place, self.last
        allowed, others = _options(x == 0, x == right, y == 0, y == bottom, self.direction)
        fresh = choice(self.draw, allowed)
        if not others:
            self.direction = fresh
        else:
            other = choice(self.draw, others)
            if self.draw() > (LEAVE_STAY if self.direction == "s" else self.inertia):
                self.direction = other
        dx, dy = MOVES[self.direction]
        if dx or dy:
            x, y = x + self.step * dx, y + self.step * dy
            self.place = (min(max(x, 0), right), min(max(y, 0), bottom))
        return self.direction


@cache
def _options(left: bool, right: bool, top: bool, bottom: bool, current: str) -> tuple[list[str], list[str]]:
    """Return the directions that stay inside, given which borders the place touches, and those among them to turn to.

    There is nothing to turn from when the current direction is not allowed any more.
    """
    blocked = {"l": left, "r": right, "u": top, "d": bottom}
    allowed = [direction for direction in MOVES if not blocked.get(direction)]
    return allowed, [direction for direction in allowed if direction != current] if current in allowed else []


def stroll(draw: Draw, domain: tuple[int, int], frames: int) -> Walk:
    """Walk one character through the domain of its top-left corner."""
    walker = Walker(draw, domain, STEP, INERTIA)
    start, directions, places = walker.place, "", []
    for _ in range(frames):
        directions += walker.advance()
        places.append(walker.place)
    return Walk(start, directions, places)


def acts(draw: Draw, directions: str) -> Iterator[tuple[int, int]]:
    """Yield (local action, animation phase) per frame: walking where the walk goes, spells and slashes where it rests."""
    cursors = [0] * 9  # a walk animation goes on where it stopped; a spell or a slash starts anew
    previous: int | None = None
    frame = 0
    while frame < len(directions):
        direction = directions[frame]
        action = choice(draw, LOCALS[direction])
        while direction == "s" and action == previous:
            action = choice(draw, LOCALS[direction])
        previous = action
        held = 1
        if direction == "s":
            length, cursors[action] = choice(draw, HOLDS), 0
            while held < length and directions[frame + held : frame + held + 1] == "s":
                held += 1
        for _ in range(held):
            yield action, cursors[action]
            cursors[action] = (cursors[action] + 1) % PHASES
        frame += held


def perform(draw: Draw, domain: tuple[int, int], frames: int, agents: int = 1) -> tuple[list[Performance], Walk]:
    """Draw one clip: what each character does, and the drift of the background's window."""
    walks = [stroll(draw, domain, frames) for _ in range(agents)]
    window = Walker(draw, (WINDOW, WINDOW), WINDOW_STEP, WINDOW_INERTIA)
    start, directions, places = window.place, "", []
    shows: list[list[tuple[int, int]]] = [[] for _ in walks]
    scripts = [acts(draw, walk.directions) for walk in walks]
    for _ in range(frames):
        for show, script in zip(shows, scripts, strict=True):
            show.append(next(script))
        directions += window.advance()
        places.append(window.place)
    performances = [
        Performance(walk, [action for action, _ in show], [phase for _, phase in show])
        for walk, show in zip(walks, shows, strict=True)
    ]
    return performances, Walk(start, directions, places)


class OriginalStream:
    """The original's clips in their order (10 videos of each of 1,296 characters), drawn as far as they are asked for."""

    def __init__(self) -> None:
        self.draw = random.Random(SEED_OF_THE_ORIGINAL).random
        self._clips: list[tuple[list[Performance], Walk]] = []

    def __getitem__(self, index: int) -> tuple[list[Performance], Walk]:
        while len(self._clips) <= index:
            self._clips.append(perform(self.draw, (CANVAS[0] - SPRITE, CANVAS[1] - SPRITE), FRAMES))
        return self._clips[index]
