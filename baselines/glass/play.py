"""What a trained GLASS can do: tell the actions of a clip, and make one of a first frame and actions."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Concatenate, NamedTuple, ParamSpec, TypeVar

import numpy as np
import torch
from torch import Tensor

from vbench_ctl.baselines.glass.blocks import Memory
from vbench_ctl.baselines.glass.model import Glass, Layers, composed, generated, moved_on
from vbench_ctl.baselines.glass.motion import shifted
from vbench_ctl.errors import UsageError
from vbench_ctl.frames import normalised

P = ParamSpec("P")
R = TypeVar("R")
# Of the global grid: right, left, down, up and stay (Araachie/glass:training/trainer.py).
GLOBAL_SHIFTS = ((0.07, 0.0), (-0.07, 0.0), (0.0, 0.1), (0.0, -0.1), (0.0, 0.0))
TEMPERATURE = 0.4  # of Gumbel codes in evaluation (Araachie/glass:configs)


def halves(size: tuple[int, int]) -> np.ndarray:
    """Return how many pixels a shift of 1 is in x and y, for frames of a height and width."""
    return np.array([size[1] / 2, size[0] / 2])


def seen(glass: Glass, frames: np.ndarray) -> Tensor:
    """Turn uint8 frames (..., H, W, 3) into what the networks see: (..., 3, H, W) in [-1, 1], where they are."""
    return normalised(torch.from_numpy(np.ascontiguousarray(frames)).to(next(glass.parameters()).device))


class Controls(NamedTuple):
    """What happens between the frames of clips: shifts are in halves of the width and the height."""

    actions: Tensor  # (B, T-1) learnt local actions
    shifts: Tensor  # (B, T-1, 2) of the foreground
    camera: Tensor  # (B, T-1, 2) of the background


class Seen(NamedTuple):
    """What GLASS sees in clips of T frames."""

    masks: Tensor  # (B, T, H, W) in (0, 1)
    foregrounds: Tensor  # (B, T, 3, H, W) in [-1, 1]
    backgrounds: Tensor  # (B, T, 3, H, W), inpainted
    controls: Controls


@dataclass(frozen=True)
class State:
    """Where a player is: the last foreground (B, 3, H, W), the dynamics' memory, the background and how far it moved."""

    foreground: Tensor
    background: Tensor  # (B, 3, H, W) of the first frame
    camera: Tensor  # (B, 2)
    memory: list[Memory] | None = None


def _evaluating(run: Callable[Concatenate[Glass, P], R]) -> Callable[Concatenate[Glass, P], R]:
    """Run with the statistics learnt in training, without gradients."""

    @functools.wraps(run)
    def quiet(glass: Glass, *args: P.args, **kwargs: P.kwargs) -> R:
        training = glass.training
        glass.eval()
        try:
            with torch.no_grad():
                return run(glass, *args, **kwargs)
        finally:
            glass.train(training)

    return quiet


@_evaluating
def see(glass: Glass, frames: Tensor) -> Seen:
    """Tell masks, layers, shifts and local actions of frames (B, T, 3, H, W) in [-1, 1], T at least 2."""
    if frames.shape[1] < 2:
        raise UsageError("glass: motion is seen from frame to frame, and one frame has none; give at least 2")
    layers = glass.layers(frames)
    pairs = [layers.moved_foregrounds, layers.foregrounds[:, 1:]]
    before, after = (glass.local.encoder(each.flatten(0, 1)).unflatten(0, each.shape[:2]) for each in pairs)
    return _seen(layers, glass.local.inferred(before, after, TEMPERATURE).choice)


@_evaluating
def remake(glass: Glass, frames: Tensor, given: int = 1, moved: bool = False) -> tuple[Tensor, Seen]:
    """Make frames 2..T of clips (B, T, 3, H, W) again, (B, T-1, 3, H, W), and tell what was seen in the real ones.

    The first `given` foregrounds are each made of the real frame before, the others of the one made before. With `moved`
    none is rendered: they are only moved.
    """
    return _remade(glass, frames, given, moved)


@torch.no_grad()
def remake_as_in_training(glass: Glass, frames: Tensor, given: int) -> tuple[Tensor, Seen]:
    """Do the same with the clips' own statistics in place of the learnt ones, as the release evaluates; nothing is learnt."""
    training, before = glass.training, [buffer.clone() for buffer in glass.buffers()]
    glass.train()
    try:
        return _remade(glass, frames, given)
    finally:
        glass.train(training)
        for buffer, value in zip(glass.buffers(), before, strict=True):
            buffer.copy_(value)


def _remade(glass: Glass, frames: Tensor, given: int, moved: bool = False) -> tuple[Tensor, Seen]:
    layers = glass.layers(frames)
    made = glass.rendering(layers, given, TEMPERATURE)
    background = layers.backgrounds[:, 0]
    if glass.training:  # the release inpaints the first frames once more, and alone they have other statistics
        background = glass.inpainting(frames[:, 0], layers.masks[:, 0])
    shown = moved_on(layers, given) if moved else (made.pictures[0], made.masks)
    return generated(background, layers.background_shifts, *shown), _seen(layers, made.choice)


def _seen(layers: Layers, choice: Tensor) -> Seen:
    actions = choice.argmax(-1) if choice.is_floating_point() else choice
    controls = Controls(actions, layers.foreground_shifts, layers.background_shifts)
    return Seen(layers.masks[:, :, 0], layers.foregrounds, layers.backgrounds, controls)


@_evaluating
def start(glass: Glass, frames: Tensor) -> State:
    """Begin at frames (B, 3, H, W) in [-1, 1]."""
    masks = glass.masking(frames)
    return State(masks * frames, glass.inpainting(frames, masks), frames.new_zeros(len(frames), 2))


@_evaluating
def step(
    glass: Glass, state: State, action: Tensor, shift: Tensor, camera: Tensor | None = None
) -> tuple[Tensor, State]:
    """Make the next frames (B, 3, H, W) under local actions (B,), shifts (B, 2) and the background's shifts (B, 2)."""
    codes = glass.local.actions.codebook.codes
    if action.min() < 0 or action.max() >= len(codes):
        raise UsageError(f"glass: local action {action.tolist()}, this model has 0 to {len(codes) - 1}")
    made, memory = glass.local.step(state.foreground, codes[action], shift, state.memory)
    moved = state.camera if camera is None else state.camera + camera
    background = shifted(state.background, moved, padding="border", mode="nearest")
    after = replace(state, foreground=glass.local.fed_back(made), camera=moved, memory=memory)
    return composed(made.pictures[0], made.mask, background), after


def rollout(glass: Glass, frames: Tensor, controls: Controls) -> Tensor:
    """Continue frames (B, 3, H, W) under controls of N steps: (B, N, 3, H, W)."""
    state, made = start(glass, frames), []
    for t in range(controls.actions.shape[1]):
        frame, state = step(glass, state, controls.actions[:, t], controls.shifts[:, t], controls.camera[:, t])
        made.append(frame)
    return torch.stack(made, 1)


def transfer(glass: Glass, driving: Tensor, frames: Tensor) -> Tensor:
    """Let frames (B, 3, H, W) do what happens in driving clips (B, T, 3, H, W): (B, T-1, 3, H, W)."""
    return rollout(glass, frames, see(glass, driving).controls)


def local_grid(glass: Glass, frames: Tensor, steps: int = 7) -> Tensor:
    """Repeat each local action from each of frames (B, 3, H, W): foregrounds (steps + 1, 3, B * H, K * W)."""
    return _grid(glass, frames, [(action, (0.0, 0.0)) for action in range(glass.settings.codes)], steps)


def global_grid(glass: Glass, frames: Tensor, steps: int = 7) -> Tensor:
    """Repeat each of `GLOBAL_SHIFTS` with local action 0: foregrounds (steps + 1, 3, B * H, 5 * W)."""
    return _grid(glass, frames, [(0, shift) for shift in GLOBAL_SHIFTS], steps)


def _grid(glass: Glass, frames: Tensor, columns: Sequence[tuple[int, tuple[float, float]]], steps: int) -> Tensor:
    videos = []
    for action, shift in columns:
        state = start(glass, frames)
        shown = [state.foreground]
        for _ in range(steps):
            same = torch.full((len(frames),), action, device=frames.device)
            _, state = step(glass, state, same, frames.new_tensor(shift).expand(len(frames), 2))
            shown.append(state.foreground)
        videos.append(torch.stack(shown))  # (steps + 1, B, 3, H, W)
    grid = torch.stack(videos)  # (K, steps + 1, B, 3, H, W)
    return grid.permute(1, 3, 2, 4, 0, 5).flatten(4, 5).flatten(2, 3)
