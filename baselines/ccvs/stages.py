"""The systems of CCVS's three stages, each built with the weights of those before it."""

import math
from collections.abc import Mapping

from torch import Tensor, nn

from vbench_ctl.baselines.ccvs import autoencoder, control, synthesis
from vbench_ctl.baselines.ccvs.autoencoder import Autoencoder
from vbench_ctl.baselines.ccvs.networks import Quantiser, SoundDecoder, SoundEncoder, StateEstimator
from vbench_ctl.baselines.ccvs.settings import Settings
from vbench_ctl.errors import UsageError, VbenchError
from vbench_ctl.features import misfits
from vbench_ctl.training import DataFacts

State = Mapping[str, Tensor]


def build(settings: Settings, data: DataFacts, stage: str, earlier: Mapping[str, State]) -> nn.Module:
    """Return the system of one stage."""
    if stage == "autoencoder":
        return autoencoder.System(settings, data.height, data.width)
    if stage == "control" and settings.control in ("none", "actions"):
        return control.NothingSystem()
    if stage == "control" and settings.control == "sound":
        _check_tracks(data, "stft")
        return control.SoundSystem(_sound(settings), settings.control_learning_rate)
    frozen = Autoencoder(settings, data.height, data.width)
    _load(frozen, earlier["autoencoder"], "autoencoder", "")
    if stage == "control":
        _check_tracks(data, "state")
        return control.StateSystem(frozen, _state(settings, frozen), settings.control_learning_rate)
    made = controls(settings, frozen)
    if made is not None:
        _load(made, earlier["control"], "control", "control.")
    return synthesis.System(settings, frozen, made, control_tokens(settings, data))


def controls(settings: Settings, frozen: Autoencoder) -> control.State | control.Sound | None:
    """Return the networks that turn states or sound into tokens."""
    if settings.control == "state":
        return _state(settings, frozen)
    return _sound(settings) if settings.control == "sound" else None


def control_tokens(settings: Settings, data: DataFacts) -> int:
    """Return how many control tokens a frame has."""
    if settings.control == "state":
        return settings.state_numbers
    if settings.control == "sound":
        _check_tracks(data, "stft")
        height, width = data.tracks["stft"][0]
        return (height // 8) * (width // 8)
    _check_tracks(data, *settings.control_tracks)
    return sum(math.prod(data.tracks[name][0]) for name in settings.control_tracks)


def _state(settings: Settings, frozen: Autoencoder) -> control.State:
    estimator = StateEstimator(settings.code_width, settings.control_width, settings.state_numbers, frozen.size)
    return control.State(estimator, Quantiser(settings.control_codes, 1))


def _sound(settings: Settings) -> control.Sound:
    sizes = (settings.control_width, settings.sound_code_width)
    return control.Sound(SoundEncoder(*sizes), SoundDecoder(*sizes), Quantiser(settings.control_codes, sizes[1]))


def _check_tracks(data: DataFacts, *names: str) -> None:
    for name in names:
        if name not in data.tracks:
            raise UsageError(
                f'ccvs: a window has no "{name}" ({", ".join(data.tracks) or "frames alone"}); name it in data.tracks of this stage'
            )


def _load(network: nn.Module, state: State, stage: str, prefix: str) -> None:
    """Take the weights of an earlier stage, whose sizes may be of another recipe."""
    wanted = network.state_dict()
    held = {name: state[prefix + name] for name in wanted if prefix + name in state}
    for name, found, expected in misfits(held, wanted):
        raise VbenchError(
            f"ccvs: the stage {stage} has {'nothing' if found is None else found} for {prefix}{name}, and [model] expects "
            f"{expected}; undo what you changed in [model], or train the stage {stage} anew with another --out"
        )
    network.load_state_dict(held)
