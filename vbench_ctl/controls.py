"""What a model is told besides the frames it is given: one schema for protocols, baselines and outputs folders.

A control is arrays by name with an entry per frame; the entry of a frame tells of the way to it. Whole numbers are
classes, others vectors. What was told is kept beside each clip as the tracks `told_NAME`.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from vbench_ctl.errors import VbenchError
from vbench_ctl.tracks import Tracks

TOLD = "told_"  # before the name of what a model was told
POINTS = 5  # of a frame where sparse motion is told: Araachie/yoda


@dataclass(frozen=True)
class Control:
    """One way to tell a model what to make."""

    about: str
    tracks: tuple[str, ...] = ()  # of the real clips; those that there are get told
    entries: str = "all"  # of all frames, of the "last" one, of the "given" ones, or of the "clip" as a whole
    computed: bool = False  # from the real frames, where the store has no such track
    estimated: bool = False  # likewise, but by the model itself

    @property
    def of_steps(self) -> bool:
        """Tell whether it says what happens from frame to frame, so that something else can be told instead."""
        return bool(self.tracks) and self.entries == "all"


CONTROLS = {
    "none": Control("nothing but the given frames"),
    "class": Control("the class of the clip", ("class",), "clip"),
    "actions": Control(
        "what is done on the way to each frame: classes, vectors or both",
        ("actions", "global_action", "local_action", "shift_fg", "shift_bg", "motion_fg", "motion_bg"),
    ),
    "inferred-actions": Control("the real clip, in which the model finds latent actions itself and says which"),
    "state": Control("the state in each frame", ("state",), estimated=True),
    "endpoint": Control("the state in the last frame", ("state", "position"), "last"),
    "sparse-motion": Control(
        f"of each step a map (3, H, W) of dx, dy and mask: how {POINTS} pixels move", ("sparse_motion",), computed=True
    ),
    "audio": Control("the sound of each frame", ("stft",)),
    "context-audio": Control("the sound of the given frames", ("stft",), "given"),
    "swap": Control("another real clip, whose motion the given appearance takes over"),
    "length": Control("how many frames to make"),
}

# What the manifest of outputs may say of them: a control, another case's in its place, or who gave it.
HEEDED = (*CONTROLS, "shuffled", "a person")

# Sets of answers to one case that differ in what is told, or in the seed alone.
SETS = {
    "new-seed": "the same actions, another seed",
    "new-actions": "another case's actions, the same seed",
    "shuffled-actions": "its own actions in random order, the same seed",
    "no-actions": "no actions, the same seed; of models that can do without",
    "reversed": "its own actions up to the middle, then what undoes them, the same seed",
    "new-local": "another case's actions of who is seen, its own of the camera, the same seed",
    "new-global": "another case's actions of the camera, its own of who is seen, the same seed",
}
SAME_ACTIONS = ("", "new-seed")  # the sets that are told what the case itself is told
FROM_PARTNER = ("new-actions", "new-local", "new-global")


class Absent(Exception):
    """Why a set cannot be asked for."""


@dataclass(frozen=True)
class Meaning:
    """What a dataset says of its actions (docs/extending.md): how each is undone, and which are the camera's."""

    undo: Mapping[str, Sequence[int] | int] = field(default_factory=dict)  # the class that undoes each class, or -1
    camera: tuple[str, ...] = ()

    def undone(self, name: str, track: np.ndarray) -> np.ndarray:
        """Return for each entry of a track what undoes it."""
        how = self.undo[name]
        return how * track if isinstance(how, int) else np.asarray(how, track.dtype)[track]


def meaning(leaf: object) -> Meaning:
    """Read what a dataset's module says."""
    return Meaning(getattr(leaf, "UNDO", {}), tuple(getattr(leaf, "CAMERA", ())))


def check_set(name: str, tracks: Sequence[str], known: Meaning) -> None:
    """Raise `Absent` where a set cannot be made of these tracks."""
    if name == "reversed" and (unknown := [track for track in tracks if track not in known.undo]):
        raise Absent(f"the dataset does not say what undoes {unknown[0]}")
    if name in ("new-local", "new-global") and not 0 < sum(track in known.camera for track in tracks) < len(tracks):
        raise Absent("the dataset does not say that some of its actions are the camera's and some are not")


def told(
    name: str, own: Tracks, other: Callable[[], Tracks], given: int, seed: int, index: int, known: Meaning
) -> Tracks:
    """Return what a set tells about case `index`, whose first `given` frames and what led to them stay.

    `own` are the arrays (T, ...) of the case, `other()` those of its partner.
    """
    if name in SAME_ACTIONS:
        return own
    if name == "no-actions":
        return {}
    if name in FROM_PARTNER:
        partner = other()
        wanted = {"new-local": lambda n: n not in known.camera, "new-global": lambda n: n in known.camera}
        taken = wanted.get(name, lambda n: True)
        return {n: _joined(track, partner[n][given:], given) if taken(n) else track for n, track in own.items()}
    steps = len(next(iter(own.values()))) - given
    if name == "shuffled-actions":
        order = np.random.default_rng([seed, index]).permutation(steps)
        return {n: _joined(track, track[given:][order], given) for n, track in own.items()}
    half = steps // 2
    return {
        n: _joined(track, np.concatenate([track[given:][:half], known.undone(n, track[given:][:half][::-1])]), given)
        for n, track in own.items()
    }


def _joined(track: np.ndarray, steps: np.ndarray, given: int) -> np.ndarray:
    """Put other entries into a track from the first predicted frame on; after them its own go on."""
    return np.concatenate([track[:given], steps, track[given + len(steps) :]])


@functools.cache
def partners(count: int, seed: int) -> tuple[int, ...]:
    """Give each of `count` cases another one, each once: a random cycle through all of them (Sattolo 1986)."""
    if count < 2:
        raise VbenchError(f"another case's control is to be told, and there is {count} case; take a larger set")
    order, rng = list(range(count)), np.random.default_rng([seed, count])
    for last in range(count - 1, 0, -1):
        at = int(rng.integers(last))
        order[at], order[last] = order[last], order[at]
    return tuple(order)


def sparse_motion(flow: np.ndarray, rng: np.random.Generator, points: int = POINTS) -> np.ndarray:
    """Keep flow (N, H, W, 2) at some pixels each, drawn by its norm: float32 (N, 3, H, W) of dx, dy and mask."""
    count, height, width, _ = flow.shape
    told = np.zeros((count, 3, height, width), np.float32)
    norms = np.linalg.norm(flow.astype(np.float64), axis=-1).reshape(count, -1)
    for step, norm in enumerate(norms):
        chances = norm / norm.sum() if norm.any() else np.full(norm.size, 1 / norm.size)
        some = min(points, int(np.count_nonzero(chances)))
        y, x = np.divmod(rng.choice(norm.size, some, replace=False, p=chances), width)
        told[step, :2, y, x], told[step, 2, y, x] = flow[step, y, x], 1
    return told
