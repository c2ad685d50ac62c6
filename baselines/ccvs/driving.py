"""CCVS under somebody's hands: the actions, the state or the class of each frame, drawn one frame at a time."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from vbench_ctl.baselines.ccvs import Options, synthesis
from vbench_ctl.baselines.ccvs.frames import pixels
from vbench_ctl.baselines.ccvs.sampling import Choice, Choices, complete
from vbench_ctl.baselines.ccvs.synthesis import Painter, Rendering, System
from vbench_ctl.baselines.ccvs.transformer import Tokens
from vbench_ctl.errors import UsageError
from vbench_ctl.generation import drawing
from vbench_ctl.play.player import Control, Player, Start, choices, entry


@dataclass(frozen=True)
class State:
    """The tokens so far, and what frames are decoded with."""

    tokens: Tokens
    painter: Painter


def player(system: System, start: Start) -> Player:
    """Return what drives a model from a frame on."""
    settings, options = system.settings, Options()
    if settings.ending or settings.control == "sound":
        needs = "the last frame" if settings.ending else "sound"
        raise UsageError(f"ccvs: this model is given {needs}, which nobody can give while driving; take another run")
    device = next(system.parameters()).device
    rest = _rest(system, start)
    choosing = Choices(
        Choice(options.top_k, options.temperature), Choice(options.top_k_state, options.temperature_state)
    )

    @torch.no_grad()
    def step(state: State, control: Control) -> tuple[np.ndarray, State]:
        count = system.autoencoder.tokens
        tokens = _told(system, state.tokens, control)
        made = tokens.frames.shape[1]
        source = drawing((start.seed, made // count))
        with synthesis.memory_explained(device):
            tokens = complete(
                system.transformer, tokens, made + count, choosing, lambda: torch.rand(1, generator=source)
            )
            painter = state.painter.copy()
            frame, _ = painter.paint(tokens.frames[:, -count:])
        return pixels(frame, settings.imagenet_range).cpu().numpy(), State(tokens, painter)

    counts = dict.fromkeys(settings.control_tracks, settings.control_codes)
    if settings.label_track:
        counts[settings.label_track] = settings.labels
    clicked = _click if settings.control == "state" and settings.state_numbers == 2 else None
    return Player(_begun(system, start, rest), step, rest, choices(counts), clicked)


def _click(x: float, y: float) -> Control:
    return {"state": (x, y)}


@torch.no_grad()
def _begun(system: System, start: Start, rest: Control) -> State:
    device = next(system.parameters()).device
    seen = system.autoencoder.seen(torch.from_numpy(start.frame[None, None]).to(device))
    codes, features = system.autoencoder.codes(seen)
    painter = Painter(system.autoencoder, Rendering(), features, None)
    painter.paint(codes)
    return State(_told(system, Tokens(codes), rest), painter)


def _told(system: System, tokens: Tokens, control: Control) -> Tokens:
    """Append the control of the next frame."""
    device = tokens.frames.device
    tracks = {
        name: torch.from_numpy(np.asarray(entry(value)))[None, None].to(device) for name, value in control.items()
    }
    new = None if system.settings.control == "none" else system.control_tokens(tracks, tokens.frames)
    states = new if tokens.states is None or new is None else torch.cat([tokens.states, new], 1)
    return replace(tokens, states=states, label=system.label(tracks))


def _rest(system: System, start: Start) -> Control:
    settings = system.settings
    if settings.control == "state":
        return {"state": _where(system, start)}
    names = [*settings.control_tracks, *([settings.label_track] if settings.label_track else [])]
    if lacking := [name for name in names if name not in start.tracks]:
        raise UsageError(
            f"ccvs: this model is told {lacking[0]}, which the start frame has not; begin at clips that have it"
        )
    if wide := [name for name in names if np.size(start.tracks[name]) != 1]:
        raise UsageError(f"ccvs: {wide[0]} has several numbers in each frame, and buttons choose one; take another run")
    return {name: int(np.ravel(start.tracks[name])[0]) for name in names}


@torch.no_grad()
def _where(system: System, start: Start) -> tuple[float, ...]:
    """Return the state in the start frame, known or estimated."""
    if "state" in start.tracks:
        return tuple(float(value) for value in np.ravel(start.tracks["state"]))
    device = next(system.parameters()).device
    codes, _ = system.autoencoder.codes(system.autoencoder.seen(torch.from_numpy(start.frame[None, None]).to(device)))
    found: Tensor | None = system.control_tokens({}, codes)
    assert found is not None and isinstance(system.control, synthesis.State)
    return tuple(system.control.values(found)[0, 0].tolist())
