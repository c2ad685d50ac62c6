"""What a protocol asks of a trained CCVS, as tokens and frames, and back."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vbench_ctl.baselines.ccvs import Options, synthesis
from vbench_ctl.baselines.ccvs.control import State
from vbench_ctl.baselines.ccvs.frames import pixels
from vbench_ctl.baselines.ccvs.sampling import Choice, Choices, Draw
from vbench_ctl.baselines.ccvs.synthesis import Rendering, Script, System
from vbench_ctl.baselines.ccvs.transformer import Tokens
from vbench_ctl.controls import TOLD
from vbench_ctl.errors import UsageError, VbenchError
from vbench_ctl.generation import Asked, Made, drawing


def made(system: System, asked: Sequence[Asked]) -> list[Made]:
    """Continue clips, some at once, each with the states that its model was told and those read from its frames."""
    found: list[Made] = []
    options = asked[0].options or Options()
    with synthesis.memory_explained(next(system.parameters()).device):
        for at in range(0, len(asked), options.batch):
            found += _made(system, asked[at : at + options.batch], options)
    return found


@torch.no_grad()
def _made(system: System, asked: Sequence[Asked], options: Options) -> list[Made]:
    first, settings, autoencoder = asked[0], system.settings, system.autoencoder
    device = next(system.parameters()).device
    _check(system, first)
    given = _given(first, options, autoencoder.tokens)
    total = _length(first, options)
    context = autoencoder.seen(_stacked([each.context[:given] for each in asked], device))
    codes, features = autoencoder.codes(context)
    tokens = Tokens(codes)
    ending = None
    if settings.ending:
        ending_codes, (ending,) = autoencoder.codes(autoencoder.seen(_stacked([each.ending for each in asked], device)))
        time = torch.full((len(asked),), total - 1, device=device)
        tokens = Tokens(codes, ending=ending_codes, ending_time=time)
    tracks = {
        name: _stacked([each.controls[name] for each in asked], device)
        for name in settings.told
        if name in first.controls
    }
    if isinstance(system.control, State) and "state" not in tracks and first.real is not None:
        tracks["state"] = _read(system, _stacked([each.real for each in asked if each.real is not None], device))
    states = _states(system, codes, tracks, len(first.context), given, total, options)
    tokens = Tokens(codes, states, tokens.ending, tokens.ending_time, _label(system, tracks))
    choices = Choices(
        Choice(options.top_k, options.temperature, options.greedy),
        Choice(options.top_k_state, options.temperature_state, options.greedy_state),
        options.beams,
        options.swapped_beams,
    )
    rendering = Rendering(options.memory, options.keep_first, options.end_context)
    script = Script(total - settings.ending, choices, rendering, options.step_by_step, options.window)
    frames, _ = system.continued(tokens, features, ending, script, _draw(asked))
    start = len(first.context)
    clips = pixels(frames[:, start : start + first.predict], settings.imagenet_range)
    if states is None or not isinstance(system.control, State):
        return [Made(clip) for clip in clips.cpu().numpy()]
    beside = {"state": _read(system, clips)}
    told = system.control.values(states)
    if "state" not in first.controls or options.square_path or told.shape[1] < total:  # other than the store says
        beside[TOLD + "state"] = F.pad(told, (0, 0, 0, total - told.shape[1]), value=torch.nan)[
            :, : start + first.predict
        ]
    arrays = {name: track.cpu().numpy() for name, track in beside.items()}
    return [
        Made(clip, {name: track[at] for name, track in arrays.items()}) for at, clip in enumerate(clips.cpu().numpy())
    ]


def _read(system: System, clips: Tensor) -> Tensor:
    """Return the states (B, T, numbers) that the estimator reads from frames (B, T, H, W, 3), as its tokens say them."""
    codes, _ = system.autoencoder.codes(system.autoencoder.seen(clips))
    tokens = system.control_tokens({}, codes)
    assert tokens is not None and isinstance(system.control, State)
    return system.control.values(tokens)


def _check(system: System, asked: Asked) -> None:
    settings = system.settings
    if asked.real is not None and settings.control != "state":
        raise UsageError(
            f"{asked.name}: the store has no states and this model cannot estimate any (model.control); take a run that was "
            "trained with states, or another protocol"
        )
    if len(asked.ending) > 1:
        raise UsageError(
            f"{asked.name}: the protocol gives {len(asked.ending)} last frames, and CCVS is told one at most; take a protocol "
            "with ending = 1"
        )
    if settings.ending != bool(len(asked.ending)):
        told, trained = ("gives", "without") if len(asked.ending) else ("gives no", "with")
        raise UsageError(
            f"{asked.name}: the protocol {told} last frame, and this model was trained {trained} one (model.ending); take "
            "another protocol or another run"
        )
    if not len(asked.context) and not settings.unconditional:
        raise UsageError(
            f"{asked.name}: the protocol gives no frame, and this model needs one; train with model.unconditional = true"
        )


def _given(asked: Asked, options: Options, tokens: int) -> int:
    """Return how many given frames are used."""
    if options.x_cond_len < 0:
        return len(asked.context)
    frames, rest = divmod(options.x_cond_len, tokens)
    if rest or frames > len(asked.context) or (not frames and len(asked.context)):
        raise UsageError(
            f"--x-cond-len {options.x_cond_len}: expected a multiple of the {tokens} tokens of a frame, up to "
            f"{tokens * len(asked.context)} for the {len(asked.context)} frames that the protocol gives"
        )
    return frames


def _length(asked: Asked, options: Options) -> int:
    """Return how many frames a clip has, an ending too."""
    needed = len(asked.context) + asked.predict + len(asked.ending)
    if options.vid_len and options.vid_len < needed:
        raise UsageError(
            f"--vid-len {options.vid_len}: the protocol asks for clips of {needed} frames; give at least that"
        )
    return options.vid_len or needed


def _states(
    system: System, codes: Tensor, tracks: dict[str, Tensor], context: int, given: int, total: int, options: Options
) -> Tensor | None:
    """Return the control tokens that are known: of all frames if they are kept, else of those `given` of the context."""
    control = system.settings.control
    names = system.settings.of_frames
    if control == "none":
        return None
    if not given:
        raise UsageError(
            f"ccvs: a model with {control} needs a frame to begin with; use a protocol with context frames"
        )
    there = all(name in tracks for name in names)
    # As a protocol with context-audio has it.
    of_given = there and all(tracks[name].shape[1] == context for name in names)
    kept = {"yes": True, "no": False}.get(options.keep_state, there and not of_given and not options.square_path)
    if options.square_path:
        return _square(system, codes, total)
    if not there and (kept or control != "state"):
        raise UsageError(
            f"ccvs: this model was trained with {control} and the protocol gives no {', '.join(names)}; use a protocol that does"
            + (", or leave --keep-state away" if control == "state" else "")
        )
    if not kept and control == "state":
        return system.control_tokens({}, codes)  # as training saw them
    frames = total if kept else given
    shortest = min(tracks[name].shape[1] for name in names)
    if shortest < frames:
        raise VbenchError(
            f"ccvs: {', '.join(names)} are there for {shortest} frames, and {frames} are needed; "
            "give --vid-len no more than that, or --keep-state no, which draws what lacks"
        )
    return system.control_tokens({name: tracks[name][:, :frames] for name in names}, codes)


def _square(system: System, codes: Tensor, total: int) -> Tensor:
    if not isinstance(system.control, State):
        raise UsageError("--square-path moves a state, and this model knows none; leave it away")
    start = system.control_tokens({}, codes[:, : system.autoencoder.tokens])
    assert start is not None
    return system.control.codes(synthesis.square_path(system.control.values(start)[:, 0], total))


def _label(system: System, tracks: dict[str, Tensor]) -> Tensor | None:
    name = system.settings.label_track
    if name and name not in tracks:
        raise UsageError(f'ccvs: this model was trained with the class of a clip, and the protocol gives no "{name}"')
    return system.label(tracks)


def _stacked(arrays: Sequence[np.ndarray], device: torch.device) -> Tensor:
    return torch.from_numpy(np.stack(arrays)).to(device)


def _draw(asked: Sequence[Asked]) -> Draw:
    """Return uniform numbers, those of each clip from its own seed."""
    sources = [drawing(each.seed) for each in asked]
    return lambda: torch.cat([torch.rand(1, generator=source) for source in sources])
