"""W-Sprites under somebody's hands: the laws of walk.py, with given actions in place of random ones."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from vbench_ctl.generators.wsprites import Canvas, Scene, art, paint, walk
from vbench_ctl.play.player import Button, Control, Player, arrows, chosen

DIRECTIONS = {number: direction for direction, number in walk.GLOBAL.items()}
RESTING = walk.LOCALS["s"]
REST_KEYS = "zxcvbn"
ARROWS = {"ArrowUp": "u", "ArrowLeft": "l", "ArrowDown": "d", "ArrowRight": "r"}


class State(NamedTuple):
    """Where everything is; all lengths are native."""

    place: tuple[int, int]  # of the character
    window: tuple[int, int]  # of the background
    action: int
    phase: int  # frame of that action's animation
    cursors: tuple[int, ...]  # the phase at which each action goes on


def player(scene: Scene, frame: int) -> Player:
    """Return what drives a scene from one of its frames on."""
    scale = float(scene.canvas.scale)
    drift = walk.WINDOW_STEP * scale
    rest: Control = {
        "global_action": walk.GLOBAL["s"],
        "local_action": RESTING[0],
        "motion_fg": (0.0, 0.0),
        "shift_fg": (0.0, 0.0),
        "motion_bg": (0.0, 0.0),
        "shift_bg": (0.0, 0.0),
    }
    return Player(
        state=_at(scene, frame),
        step=lambda state, control: _step(scene, state, control),
        rest=rest,
        buttons=(*_moves(scene.canvas), *_rests(), *_camera(drift / 2, drift * 3 / 8)),
    )


def _moves(canvas: Canvas) -> list[Button]:
    """Return the ways to walk, a full step each."""
    pixels = [walk.STEP * float(canvas.scale)] * 2
    shares = [2 * walk.STEP / length for length in canvas.domain]  # as the track shift_fg counts
    return [
        Button(
            key,
            f"walk {key.removeprefix('Arrow').lower()}",
            {
                "global_action": walk.GLOBAL[direction],
                "local_action": walk.LOCALS[direction][0],
                "motion_fg": _along(direction, pixels),
                "shift_fg": _along(direction, shares),
            },
        )
        for key, direction in ARROWS.items()
    ]


def _along(direction: str, lengths: Sequence[float]) -> tuple[float, ...]:
    return tuple(way * length for way, length in zip(walk.MOVES[direction], lengths, strict=True))


def _rests() -> list[Button]:
    return [
        Button(key, art.ANIMATIONS[action], {"local_action": action}, "standing", stays=True)
        for key, action in zip(REST_KEYS, RESTING, strict=True)
    ]


def _camera(x: float, y: float) -> list[Button]:
    """Return the ways to move the window, the content going the other way; a place of its grid is 1/2 x 3/8 pixels."""
    share = 2 * walk.WINDOW_STEP / walk.WINDOW  # as the track shift_bg counts
    shifts = {button.key: button.sets["shift_bg"] for button in arrows("shift_bg", share, share, "wasd")}
    return [
        Button(button.key, f"camera {button.name}", {**button.sets, "shift_bg": shifts[button.key]}, button.group)
        for button in arrows("motion_bg", -x, -y, "wasd")
    ]


def _at(scene: Scene, frame: int) -> State:
    show, cursors = scene.performances[0], [0] * 9
    for action, phase in zip(show.actions[: frame + 1], show.phases[: frame + 1], strict=True):
        cursors[action] = (phase + 1) % walk.PHASES
    places = show.walk.places[frame], scene.window.places[frame]
    return State(*places, show.actions[frame], show.phases[frame], tuple(cursors))


def _step(scene: Scene, state: State, control: Control) -> tuple[np.ndarray, State]:
    direction = DIRECTIONS[chosen(control["global_action"])]
    action = chosen(control["local_action"]) if direction == "s" else walk.LOCALS[direction][0]
    cursors = list(state.cursors)
    if action in RESTING and action != state.action:
        cursors[action] = 0  # a spell or a slash starts anew
    after = State(
        _moved(state.place, _stride(scene.canvas, control.get("shift_fg"), direction), scene.canvas.domain),
        _moved(state.window, _drift(scene.canvas, control["motion_bg"]), (walk.WINDOW, walk.WINDOW)),
        action,
        cursors[action],
        tuple((cursors[at] + 1) % walk.PHASES if at == action else cursors[at] for at in range(len(cursors))),
    )
    return _drawn(scene, after), after


def _drawn(scene: Scene, state: State) -> np.ndarray:
    show = walk.Performance(walk.Walk(state.place, "s", [state.place]), [state.action], [state.phase])
    places = np.array([[scene.canvas.pixels(state.place)]])
    return paint([scene.view(state.window)], scene.sheets, [show], places)[0]


def _moved(place: tuple[int, int], step: Sequence[int], size: tuple[int, int]) -> tuple[int, int]:
    x, y = (min(max(at + by, 0), most - 1) for at, by, most in zip(place, step, size, strict=True))
    return x, y


def _stride(canvas: Canvas, shift: Any, direction: str) -> list[int]:
    """Return how far the character goes: as far as shift_fg tells (motion_fg is rounded to pixels), or else a full step."""
    if shift is None:
        return [walk.STEP * way for way in walk.MOVES[direction]]
    return [round(share * length / 2) for share, length in zip(shift, canvas.domain, strict=True)]


def _drift(canvas: Canvas, motion: Any) -> list[int]:
    """Return how far the window goes when the content moves so many pixels the other way."""
    scale = float(canvas.scale)
    return [-round(by / pixels) for by, pixels in zip(motion, (scale / 2, scale * 3 / 8), strict=True)]
