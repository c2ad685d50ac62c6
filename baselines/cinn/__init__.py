"""cINN (Dorkenwald et al., CVPR 2021): a video from one frame; a flow draws its motion, a decoder renders it at once.

Equal in numbers to CompVis/image2video-synthesis-using-cINNs. Where ours deviates, the released behaviour is a setting.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vbench_ctl.baselines.cinn.settings import Settings
from vbench_ctl.errors import UsageError
from vbench_ctl.registry import option

if TYPE_CHECKING:
    from torch import Tensor

    from vbench_ctl.baselines.cinn.flow_stage import FlowStage
    from vbench_ctl.generation import Asked, Given
    from vbench_ctl.play.player import Player, Start
    from vbench_ctl.training import DataFacts, System

TITLE = "cINN"
CONTROL = "endpoint"  # where [model] control names a track; else none
CONTROLS = ("none", "endpoint", "inferred-actions")
STAGES = ("video", "frame", "flow")
WAYS = {
    "samples": "ways to go on from the first frames of --real; --control (columns x, y, z as far as the run's control has "
    "them, one row for all clips or one for each) says where they end",
    "endpoint": "the same from --real and --control, with what differs between them and their last frames in a row",
    "transfer": "let the first frames of --real move as --control-from does, whose row of several in --control is the first",
}


@dataclass(frozen=True)
class Options:
    """How a trained model continues frames."""

    fresh_motion: bool = option(False, "draw a new motion for every further rendering; the release keeps the first one")
    realisations: int = option(8, "how many ways to go on --way samples and endpoint show")

    def __post_init__(self) -> None:
        if self.realisations < 1:
            raise UsageError(f"--realisations {self.realisations}: expected at least 1")


def build(settings: Settings, data: "DataFacts", stage: str, earlier: dict[str, dict[str, "Tensor"]]) -> "System":
    """Return the system of a stage to train; that of the flow is also the one that generates."""
    from vbench_ctl.baselines.cinn.flow_stage import FlowStage
    from vbench_ctl.baselines.cinn.frame_stage import FrameStage
    from vbench_ctl.baselines.cinn.video_stage import VideoStage

    _check_data(settings, data, stage)
    if stage == "video":
        return VideoStage(settings)
    if stage == "frame":
        return FrameStage(settings)
    system = FlowStage(settings)
    system.take(earlier)
    return system


def heeds(settings: Settings) -> tuple[str, ...]:
    """Return the tracks that a run is told."""
    return (settings.control,) if settings.control else ()


def generate(system: "FlowStage", asked: Sequence["Asked"]) -> list[np.ndarray]:
    """Continue the last given frame of each clip by uint8 (predict, H, W, 3)."""
    # One at a time: what a clip becomes does not depend on which others are asked for.
    return [_generated(system, each) for each in asked]


def _generated(system: "FlowStage", asked: "Asked") -> np.ndarray:
    from vbench_ctl.baselines.cinn.play import continued, reconstructed
    from vbench_ctl.generation import drawing

    if not len(asked.context):
        raise UsageError(f"{asked.name}: cinn continues a frame and none is given; use a protocol with context frames")
    if asked.real is not None:  # the motion is to be found in the real clip
        return reconstructed(system, asked.real[len(asked.context) - 1 :], asked.predict)
    told = asked.controls.get(system.settings.control)
    fresh = asked.options is not None and asked.options.fresh_motion
    generator = drawing(asked.seed)
    return continued(system, asked.context[-1], asked.predict, generator, None if told is None else told[-1], fresh)


def show(system: "FlowStage", way: str, given: "Given") -> list[tuple[str, np.ndarray]]:
    """Return named clips, uint8 (T, H, W, 3), of one of the WAYS."""
    from vbench_ctl.baselines.cinn import play

    options = given.options or Options()
    if way == "transfer":
        if given.driving is None:
            raise UsageError("--way transfer copies the motion of a clip; give it with --control-from")
        firsts = [clip[0] for _, clip in given.clips]
        ends = play.endpoints(system, given.control, 1 + len(firsts))
        made = play.transferred(system, given.driving, firsts, given.frames, ends)
        moved = [(name, clip) for (name, _), clip in zip(given.clips, made, strict=True)]
        return [("driving", given.driving[1 : 1 + given.frames]), *moved]
    rows = []
    ends = play.endpoints(system, given.control, len(given.clips))
    for index, ((name, clip), end) in enumerate(zip(given.clips, ends, strict=True)):
        seed, real = (given.seed, index), clip[1 : 1 + given.frames]
        ways = play.realisations(system, clip[0], given.frames, options.realisations, seed, end, options.fresh_motion)
        found = play.spread_rows(ways) if way == "endpoint" else play.numbered(ways)
        rows += [(f"{name}-{label}", frames) for label, frames in [*([("real", real)] if len(real) else []), *found]]
    return rows


def drive(system: "FlowStage", start: "Start") -> "Player":
    """Return what a person drives, from a frame on."""
    from vbench_ctl.baselines.cinn import driving

    return driving.player(system, start)


def import_checkpoint(
    file: Path, config: Path | None = None
) -> tuple[Settings, dict[str, dict[str, "Tensor"]], "DataFacts"]:
    """Read the folder of a released model: settings, weights by stage, facts of the data.

    What the weights don't show comes from config_stage1.yaml, which lies in the folder or is given.
    """
    from vbench_ctl.baselines.cinn import released

    return released.imported(file, config)


def _check_data(settings: Settings, data: "DataFacts", stage: str) -> None:
    """Refuse windows that do not fit the networks."""
    if (data.height, data.width) != (settings.side, settings.side):
        raise UsageError(
            f"cinn: the frames are {data.width}x{data.height}, [model] makes {settings.side}x{settings.side}; set data.size = "
            f"{settings.side}, or change [model] upsample_space and the strides over space"
        )
    needed = settings.frames + 1
    if stage != "frame" and data.length != needed:
        raise UsageError(
            f"cinn: windows of {data.length} frames, the stage {stage} needs {needed}: one to start from and {settings.frames} "
            f"to render; set data.{stage}.length = {needed}"
        )
    if stage != "flow" or not settings.control:
        return
    if settings.control not in data.tracks:
        raise UsageError(
            f"cinn: the control {settings.control} is not among the tracks ({', '.join(data.tracks) or 'none'}); set "
            f'data.flow.tracks = ["{settings.control}"]'
        )
    numbers = int(np.prod(data.tracks[settings.control][0]))
    if numbers != len(settings.control_range):
        raise UsageError(
            f"cinn: an entry of {settings.control} has {numbers} numbers, [model] control_range {len(settings.control_range)}; "
            "give an offset and a range for each"
        )
