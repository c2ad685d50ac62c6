"""In which order the transformer of CCVS sees tokens: integers in, integers out.

A frame is a run of frame tokens; control tokens (a state, sound or actions) of a frame stand before it, or all of them
before all frames. In front there may be a start token, a class label or the tokens of the last frame.
"""

import itertools
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

from vbench_ctl.errors import UsageError

START, LABEL, ENDING, STATE, FRAME = "start", "label", "ending", "state", "frame"


class Item(NamedTuple):
    """One token of a sequence: token `number` of its kind."""

    kind: str
    number: int


@dataclass(frozen=True)
class Layout:
    """What a sequence consists of."""

    tokens: int  # of a frame
    times: int  # frames that have a position
    length: int  # tokens that the transformer looks back at; a start token or label does not count
    states: int = 0  # control tokens of a frame
    states_first: bool = False  # all control tokens before all frames
    ending: bool = False  # the tokens of the last frame in front
    start: bool = False
    label: bool = False

    @property
    def per_frame(self) -> int:
        """Frame and control tokens of a frame."""
        return self.tokens + self.states

    @property
    def window(self) -> int:
        """Frames that the transformer looks back at."""
        return (self.length - self.tokens * self.ending) // self.per_frame

    def narrowed(self, window: int) -> "Layout":
        """Return the layout that looks back at so many frames; 0: as many as before."""
        if window > self.window:
            raise UsageError(
                f"ccvs: a window of {window} frames, and this transformer sees {self.window}; ask for fewer"
            )
        length = self.tokens * self.ending + window * self.per_frame
        return replace(self, length=length) if window else self

    @property
    def prefix(self) -> tuple[Item, ...]:
        """What stands in front of all frames."""
        ending = [Item(ENDING, index) for index in range(self.tokens * self.ending)]
        return (*([Item(START, 0)] * self.start), *([Item(LABEL, 0)] * self.label), *ending)


@lru_cache(maxsize=64)
def whole(layout: Layout, frames: int) -> tuple[Item, ...]:
    """Return the whole sequence of so many frames."""
    states = [Item(STATE, index) for index in range(frames * layout.states)]
    tokens = [Item(FRAME, index) for index in range(frames * layout.tokens)]
    if layout.states_first or not layout.states:
        return (*layout.prefix, *states, *tokens)
    body: list[Item] = []
    for frame in range(frames):
        body += states[frame * layout.states :][: layout.states] + tokens[frame * layout.tokens :][: layout.tokens]
    return (*layout.prefix, *body)


@lru_cache(maxsize=64)
def fed(layout: Layout, tokens: int, states: int = 0) -> tuple[Item, ...]:
    """Return what the network is fed when so many frame and control tokens are there.

    Between control tokens only whole frames have a place, and the control tokens of the frame after them, as far as they
    are there; then what there is of that frame. Before the first whole frame stands its control alone, as released.
    """
    states = min(states, layout.times * layout.states)
    if layout.states_first or not layout.states:
        return (
            *layout.prefix,
            *(Item(STATE, index) for index in range(states)),
            *(Item(FRAME, index) for index in range(tokens)),
        )
    frames = tokens // layout.tokens
    if not frames:
        return (*layout.prefix, *(Item(STATE, index) for index in range(min(states, layout.states))))
    following = range(frames * layout.states, min(states, (frames + 1) * layout.states))
    partial = range(frames * layout.tokens, tokens)
    return (
        *whole(layout, frames),
        *(Item(STATE, index) for index in following),
        *(Item(FRAME, index) for index in partial),
    )


@lru_cache(maxsize=64)
def predicted(layout: Layout, frames: int, kind: str) -> tuple[tuple[int, int], ...]:
    """Return (output, number) of the outputs that predict tokens of a kind, where all of so many frames but one token is fed.

    An output predicts the item after its own; those of the last frame's tokens predict nothing, as released.
    """
    order = whole(layout, frames)
    following = enumerate(itertools.pairwise(order))
    return tuple((at, item.number) for at, (own, item) in following if own.kind != ENDING and item.kind == kind)


def windows(layout: Layout, known: int, total: int) -> list[tuple[int, int]]:
    """Return (first frame, frame tokens in all when it is full) for each position of the window that makes tokens.

    The window is filled first; then it moves on by one frame at a time.
    """
    found = []
    first = 0
    while known < total:
        full = min((first + layout.window) * layout.tokens, total)
        if full > known:
            found.append((first, full))
            known = full
        first += 1
    return found
