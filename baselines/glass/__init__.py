"""GLASS (Davtyan & Favaro, ECCV 2022): global shifts and local actions of a foreground, learnt without labels.

Equal in numbers to Araachie/glass, whose checkpoints it reads. Where ours deviates, the released behaviour is a setting.
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vbench_ctl.baselines.glass.settings import Settings
from vbench_ctl.errors import UsageError, VbenchError
from vbench_ctl.generation import CHUNK
from vbench_ctl.registry import option
from vbench_ctl.tracks import AGAIN

if TYPE_CHECKING:
    from torch import Tensor

    from vbench_ctl.baselines.glass.play import Seen
    from vbench_ctl.baselines.glass.system import System
    from vbench_ctl.generation import Asked, Given, Made
    from vbench_ctl.play.player import Player, Start
    from vbench_ctl.training import DataFacts

TITLE = "GLASS"
CONTROL = "inferred-actions"
CONTROLS = ("inferred-actions", "actions", "swap")
STAGES = ("",)
TOLD = ("local_action", "motion_fg", "motion_bg")  # the tracks of "actions"
WAYS = {
    "control": "play the actions of --control (columns action, dx, dy and, if you like, camera_dx, camera_dy, in pixels of the clips) from the first frames of --real",
    "transfer": "let the first frames of --real do what happens in --control-from",
    "grid": "repeat every learnt action and every direction from the first frames of --real",
    "segment": "masks, foreground and background of the clips of --real",
}


@dataclass(frozen=True)
class Options:
    """How a trained model continues clips."""

    teacher_forced: bool = option(False, "make every frame from the real one before it, as the release evaluates")
    train_mode: int = option(
        0,
        "make so many clips together by their own batch statistics, as the release evaluates: 1 of bair-hd, 2 of tennis, "
        "4 of wsprites; 0: by those learnt in training",
    )

    moved: bool = option(
        False, "show the last given foreground moved by the shifts, not the rendered one: so much do local actions add"
    )

    def __post_init__(self) -> None:
        if self.moved and self.train_mode:
            raise UsageError("--moved renders nothing, so leave --train-mode away")
        if self.train_mode < 0 or (self.train_mode and CHUNK % self.train_mode):
            raise UsageError(f"--train-mode {self.train_mode}: expected 0, 1, 2, 4 or {CHUNK} clips")


def build(settings: Settings, data: "DataFacts", stage: str, earlier: dict[str, dict[str, "Tensor"]]) -> "System":
    """Return the system to train."""
    from vbench_ctl.baselines.glass.system import System

    if settings.labels and "local_action" not in data.tracks:
        raise UsageError(
            'glass: model.labels counts the track local_action; set data.tracks = ["local_action"], or model.labels = 0'
        )
    return System(settings, data.height, data.width)


def generate(system: "System", asked: Sequence["Asked"]) -> list["Made"]:
    """Make clips again from their first frames and the actions inferred from them, each with what was inferred."""
    for each in asked:
        _check(each)
    options = asked[0].options or Options()
    if options.train_mode and asked[0].real is not None:
        groups = [asked[at : at + options.train_mode] for at in range(0, len(asked), options.train_mode)]
        return [made for group in groups for made in _as_in_training(system, group, options)]
    # One at a time: what a clip becomes does not depend on which others are asked for.
    found = []
    for each in asked:
        with _seeded(each.seed):
            found.append(_generated(system, each, options))
    return found


@contextlib.contextmanager
def _seeded(seed: Sequence[int]) -> Iterator[None]:
    """Draw the noise of Gumbel codes by a seed."""
    import torch

    from vbench_ctl.generation import drawing

    with torch.random.fork_rng():
        torch.manual_seed(drawing(seed).initial_seed())
        yield


def _check(asked: "Asked") -> None:
    told = asked.real is not None or asked.driving is not None or set(TOLD) <= set(asked.controls)
    if not len(asked.context) or not told:
        raise UsageError(
            f"{asked.name}: GLASS needs a first frame, and either the real clip to infer actions from or the tracks "
            f"{', '.join(TOLD)}; use a protocol with context frames and inferred-actions, or that of W-Sprites with actions"
        )


def _generated(system: "System", asked: "Asked", options: Options) -> "Made":
    from vbench_ctl.baselines.glass.play import remake

    if options.moved and (asked.driving is not None or asked.real is None):
        raise UsageError(f"{asked.name}: --moved needs shifts to infer; use a protocol with inferred-actions")
    if asked.driving is not None:
        return _swapped(system, asked)
    if asked.real is None:
        return _told(system, asked)
    real = _real(system, [asked])
    given = real.shape[1] - 1 if options.teacher_forced else len(asked.context)
    made, seen = remake(system, real, given, moved=options.moved)
    return _whole(system, asked, made, _inferred(seen, asked.size), options.teacher_forced)


def _as_in_training(system: "System", asked: Sequence["Asked"], options: Options) -> list["Made"]:
    """Make clips together, by the seed of the first one."""
    from vbench_ctl.baselines.glass.play import remake_as_in_training

    real = _real(system, asked)
    given = real.shape[1] - 1 if options.teacher_forced else len(asked[0].context)
    with _seeded(asked[0].seed):
        made, seen = remake_as_in_training(system, real, given)
    return [
        _whole(system, each, made[[at]], _inferred(seen, each.size, at), options.teacher_forced)
        for at, each in enumerate(asked)
    ]


def _real(system: "System", asked: Sequence["Asked"]) -> "Tensor":
    """Return the real clips (B, T, 3, H, W) in [-1, 1], on the system's device."""
    from vbench_ctl.baselines.glass import play

    return play.seen(system, np.stack([each.real for each in asked if each.real is not None]))


def _whole(
    system: "System", asked: "Asked", made: "Tensor", tracks: dict[str, np.ndarray], truncate: bool = False
) -> "Made":
    """Cut the frames asked for out of those that were made (1, N, 3, H, W), in which actions are inferred once more."""
    from vbench_ctl.baselines.glass.play import see
    from vbench_ctl.frames import pixels
    from vbench_ctl.generation import Made

    if made.shape[1] > 1:  # this look is at the frames that were made alone, as the release has it
        tracks |= {AGAIN + name: track for name, track in _inferred(see(system, made), asked.size).items()}
    start = 0 if asked.real is None else len(asked.context) - 1  # of frames 2..T, or of what comes after those given
    return Made(pixels(made, truncate)[0, start : start + asked.predict].cpu().numpy(), tracks)


def _inferred(seen: "Seen", size: tuple[int, int], at: int = 0) -> dict[str, np.ndarray]:
    """Return what was seen in one of some clips as a store has it: actions, pixels of that size, masks of 0 to 255."""
    from torch.nn.functional import interpolate

    from vbench_ctl.baselines.glass.play import halves

    pixels = halves(size).astype(np.float32)
    masks = interpolate(seen.masks, size, mode="bilinear") if seen.masks.shape[2:] != size else seen.masks
    return {
        "local_action": seen.controls.actions[at].cpu().numpy(),
        "motion_fg": seen.controls.shifts[at].float().cpu().numpy() * pixels,
        "motion_bg": seen.controls.camera[at].float().cpu().numpy() * pixels,
        "masks": (255 * masks[at].float()).round().byte().cpu().numpy(),
    }


def _swapped(system: "System", asked: "Asked") -> "Made":
    """Continue the last given frame by what happens in another clip."""
    from vbench_ctl.baselines.glass import play

    assert asked.driving is not None
    start = len(asked.context)
    clip = play.seen(system, asked.driving[start - 1 : start + asked.predict])
    return _whole(system, asked, play.transfer(system, clip[None], play.seen(system, asked.context[-1:])), {})


def _told(system: "System", asked: "Asked") -> "Made":
    """Continue the last given frame under true actions, each as the code that it went with in training."""
    import torch

    from vbench_ctl.baselines.glass import play

    if not system.settings.labels:
        raise UsageError(
            f"{asked.name}: this GLASS does not know which of its codes true actions are; train it with "
            '--set model.labels=9 --set data.tracks=["local_action"], which only counts them'
        )
    device, start = next(system.parameters()).device, len(asked.context)
    steps = slice(start, start + asked.predict)
    halves = play.halves(asked.size)
    shifts, camera = (
        torch.tensor(asked.controls[name][steps] / halves, dtype=torch.float32, device=device)[None]
        for name in TOLD[1:]
    )
    actions = system.codes_of(torch.tensor(asked.controls["local_action"][steps], device=device))[None]
    made = play.rollout(system, play.seen(system, asked.context[-1:]), play.Controls(actions, shifts, camera))
    # Nothing is inferred here; as tracks, what was told would look as if it had been found.
    return _whole(system, asked, made, {})


def show(system: "System", way: str, given: "Given") -> list[tuple[str, np.ndarray]]:
    """Return named clips, uint8 (T, H, W, 3), of one of the WAYS."""
    from vbench_ctl.baselines.glass import ways

    with _seeded((given.seed,)):
        return ways.WAYS[way](system, given)


def drive(system: "System", start: "Start") -> "Player":
    """Return what a person drives, from a frame on."""
    from vbench_ctl.baselines.glass import driving

    return driving.player(system, start)


def import_checkpoint(
    file: Path, config: Path | None = None
) -> tuple[Settings, dict[str, dict[str, "Tensor"]], "DataFacts"]:
    """Read a released checkpoint (step_*.pth): settings, weights by stage, facts of the data.

    What the weights don't show (a plain direction, schedules, losses) comes from the YAML configuration if it is given.
    """
    from vbench_ctl.baselines.glass import released
    from vbench_ctl.baselines.glass.system import System
    from vbench_ctl.training import DataFacts

    tensors = released.read(file)
    try:
        settings = released.settings(tensors, config)
        height, width = released.frame_size(tensors)
    except (KeyError, ValueError, IndexError) as error:
        raise VbenchError(
            f"{file}: no whole checkpoint of GLASS ({error} does not fit); expected a step_*.pth of Araachie/glass, fetch it "
            "again"
        ) from error
    state = released.placed(System(settings, height, width), tensors)
    return settings, {"": state}, DataFacts(height, width)
