"""What a trained cINN can do: continue a frame, end where it is told, move a picture as a video moves."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from vbench_ctl import resize
from vbench_ctl.baselines.cinn.flow_stage import FlowStage
from vbench_ctl.baselines.cinn.networks import Decoder
from vbench_ctl.errors import UsageError, unknown
from vbench_ctl.frames import normalised, pixels
from vbench_ctl.generation import drawing

RESIZE = "pil_antialias"  # as data.size of a recipe

Row = tuple[str, np.ndarray]  # a label and a clip, uint8 (T, H, W, 3)


def rendered(decoder: Decoder, first: Tensor, code: Tensor, frames: int) -> Tensor:
    """Render frames (B, frames, 3, H, W) after first ones (B, 3, H, W).

    Longer clips than one rendering go on from its last frame with the same code, as the release does.
    """
    parts: list[Tensor] = []
    while sum(part.shape[1] for part in parts) < frames:
        parts.append(decoder(first, code).clamp(-1, 1))
        first = parts[-1][:, -1]
    return torch.cat(parts, 1)[:, :frames]


@torch.no_grad()
def continued(
    system: FlowStage,
    first: np.ndarray,
    frames: int,
    generator: torch.Generator,
    endpoint: np.ndarray | None = None,
    fresh: bool = False,
) -> np.ndarray:
    """Continue a first frame, uint8 (H, W, 3), by uint8 (frames, H, W, 3); `fresh` draws a new motion for each rendering."""
    picture, told = seen(system, first[None]), _told(system, endpoint)
    made: list[Tensor] = []
    while len(made) * system.settings.frames < frames:
        noise = torch.randn(1, system.settings.code, generator=generator).to(picture.device)
        code = system.flow.inverse(noise, system.condition(picture, told))
        made.append(rendered(system.decoder, picture, code, system.settings.frames if fresh else frames))
        if not fresh:
            break
        picture = made[-1][:, -1]
    return _sized(torch.cat(made, 1)[0, :frames], first.shape[:2])


@torch.no_grad()
def transferred(
    system: FlowStage,
    query: np.ndarray,
    targets: Sequence[np.ndarray],
    frames: int,
    endpoints: Sequence[np.ndarray | None] | None = None,
) -> list[np.ndarray]:
    """Move pictures, uint8 (H, W, 3), as the video `query`, uint8 (T, H, W, 3), moves: uint8 (frames, H, W, 3) each.

    `endpoints` are those of the query and of each target, where the flow is told.
    """
    ends = endpoints or [None] * (1 + len(targets))
    code = motion(system, query)
    noise, _ = system.flow(code, system.condition(seen(system, query[:1]), _told(system, ends[0])))
    made = []
    for target, end in zip(targets, ends[1:], strict=True):
        picture = seen(system, target[None])
        code = system.flow.inverse(noise, system.condition(picture, _told(system, end)))
        made.append(_sized(rendered(system.decoder, picture, code, frames)[0], target.shape[:2]))
    return made


@torch.no_grad()
def reconstructed(system: FlowStage, clip: np.ndarray, frames: int) -> np.ndarray:
    """Render uint8 (frames, H, W, 3) from the first frame of a clip, uint8 (T, H, W, 3), and the motion found in it."""
    return _sized(rendered(system.decoder, seen(system, clip[:1]), motion(system, clip), frames)[0], clip.shape[1:3])


def motion(system: FlowStage, clip: np.ndarray) -> Tensor:
    """Return the code (1, D) of how a clip, uint8 (T, H, W, 3), goes on from its first frame."""
    needed = system.settings.frames
    if len(clip) < needed:
        raise UsageError(
            f"the video has {len(clip)} frames, cinn reads a motion from {needed} or {needed + 1}; take a longer one"
        )
    return system.encoder(seen(system, clip[: needed + 1])[None, 1:])[0]


def realisations(
    system: FlowStage,
    first: np.ndarray,
    frames: int,
    count: int,
    seed: Sequence[int],
    endpoint: np.ndarray | None = None,
    fresh: bool = False,
) -> list[np.ndarray]:
    """Continue one frame in several ways."""
    generators = [drawing((*seed, number)) for number in range(count)]
    return [continued(system, first, frames, each, endpoint, fresh) for each in generators]


def numbered(clips: Sequence[np.ndarray]) -> list[Row]:
    """Name realisations."""
    return [(f"realisation-{number}", clip) for number, clip in enumerate(clips, 1)]


def spread(clips: Sequence[np.ndarray]) -> np.ndarray:
    """Return how far clips of one length differ: the standard deviation of each pixel over them, (T, H, W) in levels."""
    return np.stack(clips).astype(np.float64).std(0).mean(-1)


def spread_rows(clips: Sequence[np.ndarray]) -> list[Row]:
    """Return realisations with what differs between them, brighter where more, and their last frames in a row."""
    differs = spread(clips)
    levels = (255 * differs / max(differs.max(), 1.0)).round().astype(np.uint8)
    ends = np.stack([clip[-1] for clip in clips])
    return [
        *numbered(clips),
        (f"spread-to-{differs.max():.0f}", levels[..., None].repeat(3, -1)),
        ("last-frames", ends),
    ]


def endpoints(system: FlowStage, columns: Mapping[str, np.ndarray], count: int) -> list[np.ndarray | None]:
    """Return where each of so many clips ends, of columns of numbers by axis with a row for all or for each."""
    settings = system.settings
    axes = _axes(len(settings.control_range))
    if not settings.control:
        if columns:
            raise UsageError("this cinn was trained without a control and goes where it likes; leave --control away")
        return [None] * count
    expected = f"the columns {', '.join(axes)}: the {settings.control} at the end of a clip"
    if not columns:
        raise UsageError(
            f"this cinn was trained with the control {settings.control}; give --control, a CSV file with {expected}"
        )
    for name in columns:
        if name not in axes:
            raise unknown("column of --control", name, axes)
    if lacking := [axis for axis in axes if axis not in columns]:
        raise UsageError(f"--control: the column {lacking[0]} is missing; expected {expected}")
    rows = np.stack([columns[axis] for axis in axes], 1)
    if len(rows) not in (1, count):
        raise UsageError(f"--control: {len(rows)} rows, expected one for all {count} clips or one for each")
    return list(rows.repeat(count // len(rows), 0))


def _axes(count: int) -> tuple[str, ...]:
    return ("x", "y", "z")[:count] if count <= 3 else tuple(str(number) for number in range(1, count + 1))


def seen(system: FlowStage, frames: np.ndarray) -> Tensor:
    """Turn uint8 frames (T, H, W, 3) of any size into what the networks see, (T, 3, side, side)."""
    side = system.settings.side
    device = next(system.parameters()).device
    return normalised(torch.from_numpy(resize.pictures(frames, (side, side), RESIZE)).to(device))


def _sized(frames: Tensor, size: tuple[int, ...]) -> np.ndarray:
    return resize.pictures(pixels(frames).cpu().numpy(), (size[0], size[1]), RESIZE)


def _told(system: FlowStage, endpoint: np.ndarray | None) -> Tensor | None:
    """Check an end point (K,) against the control of the flow."""
    settings = system.settings
    if not settings.control:
        return None
    if endpoint is None:
        raise UsageError(
            f"this cinn was trained with the control {settings.control}, which is not given; use a protocol with the "
            f"control endpoint and data that has {settings.control}"
        )
    numbers = np.asarray(endpoint, np.float64).reshape(1, -1)
    if numbers.shape[1] != len(settings.control_range):
        raise UsageError(
            f"{settings.control} has {numbers.shape[1]} numbers, this cinn was trained with {len(settings.control_range)}; "
            "use the data it was trained on"
        )
    return torch.from_numpy(numbers).to(next(system.parameters()).device)
