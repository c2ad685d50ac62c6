"""Controls of clips as the networks are told them. Not in the original, which is told nothing."""

from collections.abc import Mapping

import torch
from torch import Tensor

from vbench_ctl.baselines.g3an.settings import Settings
from vbench_ctl.errors import UsageError
from vbench_ctl.training import DataFacts


def width(settings: Settings, data: DataFacts) -> int:
    """Return how many numbers tell the controls of a frame."""
    for name in settings.controls:
        if name not in data.tracks:
            raise UsageError(
                f'g3an: controls names "{name}", but a batch has {", ".join(data.tracks) or "frames alone"}; '
                "list it in data.tracks"
            )
    return sum(classes or torch.Size(data.tracks[name][0]).numel() for name, classes in settings.controls.items())


def encoded(tracks: Mapping[str, Tensor], settings: Settings, width: int, frames: int) -> Tensor | None:
    """Turn tracks (B, frames, ...) into (B, width, frames): ones where a class is, and vectors as they are."""
    if not settings.controls:
        return None
    if lacking := [name for name in settings.controls if name not in tracks]:
        raise UsageError(
            f"g3an: this model was trained with {', '.join(settings.controls)}, and here it is not told {lacking[0]}; "
            'use a protocol with control = "actions" of its dataset'
        )
    parts = [_of_track(name, tracks[name], classes) for name, classes in settings.controls.items()]
    told = torch.cat(parts, 2).transpose(1, 2).contiguous()
    if told.shape[1:] != (width, frames):
        raise UsageError(
            f"g3an: told {told.shape[1]} numbers for each of {told.shape[2]} frames, expected {width} for each of {frames}; "
            "use a protocol of the dataset this model was trained on"
        )
    return told


def _of_track(name: str, values: Tensor, classes: int) -> Tensor:
    if not classes:
        return values.flatten(2).float()
    if values.dim() != 2 or values.is_floating_point():
        raise UsageError(f"g3an: {name} is of vectors, not of {classes} classes; set controls.{name} = 0")
    if values.min() < 0 or values.max() >= classes:
        wrong = int(values.max() if values.max() >= classes else values.min())
        raise UsageError(f"g3an: {name} has the class {wrong}, and controls.{name} says 0 to {classes - 1}; change it")
    return torch.nn.functional.one_hot(values.long(), classes).float()
