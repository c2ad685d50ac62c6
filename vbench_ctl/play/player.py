"""What a person can drive: a trained model, or the world that made its data. A leaf returns it, so no page knows a leaf."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Value = int | tuple[float, ...]  # a class, or a vector
Control = dict[str, Value]
KEYS = "0123456789qeryuiopfghjkl"  # for choices; arrows, WASD, T and the lowest row are left to other buttons


@dataclass(frozen=True)
class Button:
    """Something to press, by its key or on the page. Classes that it sets are chosen, vectors are added up."""

    key: str  # as browsers call it: "ArrowUp", "w", "1"; unique
    name: str
    sets: Control
    group: str = "move"  # buttons that stand together
    stays: bool = False  # it stays chosen until another one of its group is


@dataclass(frozen=True)
class Start:
    """Where a drive begins."""

    frame: np.ndarray  # uint8 (H, W, 3), of the size that the model was trained on
    size: tuple[int, int]  # height and width of the frames as the data has them, whose pixels controls count
    tracks: dict[str, np.ndarray]  # what is known of that frame: an entry of each track
    seed: int


@dataclass(frozen=True)
class Player:
    """States are never changed, so that any of them can be returned to; what is random depends on start and controls."""

    state: Any  # where it begins
    # the frames that follow, uint8 (T, H, W, 3), and the state then
    step: Callable[[Any, Control], tuple[np.ndarray, Any]]
    rest: Control  # everything that it takes, as it is when nothing is pressed
    buttons: Sequence[Button] = ()
    point: Callable[[float, float], Control] | None = None  # what a click sets, from (x, y) in parts of the frame
    frames: int = 1  # that a step makes

    def control(
        self, pressed: Collection[str], point: tuple[float, float] | None = None, stride: float = 1.0
    ) -> Control:
        """Return what pressed keys and a click ask for; vectors of buttons are multiplied by `stride`."""
        control = dict(self.rest)
        for button in self.buttons:
            if button.key in pressed:
                control |= {name: _with(control[name], value, stride) for name, value in button.sets.items()}
        if point and self.point:
            control |= self.point(*point)
        return control


def _with(before: Value, value: Value, stride: float) -> Value:
    if isinstance(value, int):
        return value
    assert isinstance(before, tuple)
    return tuple(a + stride * b for a, b in zip(before, value, strict=True))


def arrows(name: str, x: float, y: float, keys: str = "Arrow") -> tuple[Button, ...]:
    """Return four buttons that add (x, 0) or (0, y), to the right and down, to a vector; `keys` may be "wasd"."""
    up, left, down, right = list(keys) if keys != "Arrow" else ("ArrowUp", "ArrowLeft", "ArrowDown", "ArrowRight")
    ways = {up: ("up", (0.0, -y)), left: ("left", (-x, 0.0)), down: ("down", (0.0, y)), right: ("right", (x, 0.0))}
    group = "camera" if keys == "wasd" else "move"
    return tuple(Button(key, word, {name: vector}, group) for key, (word, vector) in ways.items())


def choices(counts: Mapping[str, int]) -> tuple[Button, ...]:
    """Return buttons that choose a class of each control, 0 to count - 1, and stay chosen."""
    wanted = [(name, index) for name, count in counts.items() for index in range(count)]
    keys = [*KEYS, *(f"choice {number}" for number in range(len(KEYS), len(wanted)))]
    return tuple(
        Button(key, str(index), {name: index}, name.replace("_", " "), stays=True)
        for key, (name, index) in zip(keys, wanted, strict=False)
    )


def chosen(value: Value) -> int:
    """Return a control that is a class."""
    assert not isinstance(value, tuple)
    return int(value)


def entry(value: Value) -> np.ndarray:
    """Return a control as the entry of a track."""
    return np.array(value, np.int64 if isinstance(value, int) else np.float32)
