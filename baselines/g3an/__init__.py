"""G3AN (Wang et al., CVPR 2020): clips from noise, one code for what is seen and one for how it moves.

Equal in numbers to wyhsirius/g3an-project, whose checkpoints it reads. Frames of 128 pixels and being told controls
are not in the original.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vbench_ctl.baselines.g3an.settings import FRAMES, Settings
from vbench_ctl.errors import UsageError
from vbench_ctl.registry import option

if TYPE_CHECKING:
    from torch import Tensor

    from vbench_ctl.baselines.g3an.networks import Generator
    from vbench_ctl.baselines.g3an.system import System
    from vbench_ctl.generation import Asked, Given
    from vbench_ctl.play.player import Player, Start
    from vbench_ctl.training import DataFacts

TITLE = "G3AN"
CONTROL = "none"
CONTROLS = ("none", "actions", "length")  # actions by runs with [model] controls
STAGES = ("",)

WAYS = {
    "random": "independent clips, --appearances of them",
    "grid": "every one of --appearances in every one of --motions",
    "lengths": "--appearances that move for 16, 20, ... 48 frames",
    "swap": "two clips, and each with the other's motion",
    "interpolate": "from one appearance to another, then from one motion to another, --appearances steps each",
}


@dataclass(frozen=True)
class Options:
    """How a trained model generates."""

    legacy_range: bool = option(
        False, "stretch colours to the extremes of what is made together, as the release does: 64 clips of a protocol"
    )
    appearances: int = option(8, "appearances, clips or steps of a way")
    motions: int = option(8, "motions of the way grid")

    def __post_init__(self) -> None:
        if self.appearances < 1 or self.motions < 1:
            raise UsageError(f"g3an: {self.appearances} appearances and {self.motions} motions; expected at least 1")


def build(settings: Settings, data: "DataFacts", stage: str, earlier: dict[str, dict[str, "Tensor"]]) -> "System":
    """Return the system to train."""
    from vbench_ctl.baselines.g3an.system import System

    return System(settings, data)


def heeds(settings: Settings) -> tuple[str, ...]:
    """Return the tracks that a run is told."""
    return tuple(settings.controls)


def generate(system: "System", asked: Sequence["Asked"]) -> list[np.ndarray]:
    """Make clips of the codes of their seeds, each uint8 (predict, H, W, 3); what given frames show is not used."""
    from vbench_ctl.baselines.g3an.networks import frozen

    generator = frozen(system.generator)
    return [_generated(system, generator, each) for each in asked]


def _generated(system: "System", generator: "Generator", asked: "Asked") -> np.ndarray:
    import torch

    from vbench_ctl.baselines.g3an import controls, sampling
    from vbench_ctl.baselines.g3an.settings import longer

    start, stop = len(asked.context), len(asked.context) + asked.predict
    frames = longer(stop + len(asked.ending))  # what is too long for the protocol is cut off
    codes = sampling.appearance_code(system, asked.seed), sampling.motion_code(system, asked.seed, frames)
    told_at = np.minimum(np.arange(frames), stop + len(asked.ending) - 1)  # the last entry again for the rest
    heeded = {
        name: track for name, track in asked.controls.items() if name in system.settings.controls
    }  # not the length
    tracks = {name: torch.from_numpy(track[told_at])[None] for name, track in heeded.items()}
    told = controls.encoded(tracks, system.settings, system.told, frames)
    (video,) = sampling.made(generator, [codes], told)
    if asked.options is not None and asked.options.legacy_range:
        if told is not None:
            raise UsageError("g3an: --legacy-range is the release's, which is told no controls; leave it out")
        seed, index, sample = asked.seed
        found = sampling.legacy_range(system, seed, index // sampling.LEGACY_BATCH, sample, frames)
        return sampling.legacy_pixels(video, *found)[0, start:stop]
    return sampling.pixels(video)[0, start:stop]


def show(system: "System", way: str, given: "Given") -> list[tuple[str, np.ndarray]]:
    """Return named clips, uint8 (T, H, W, 3), of one of the WAYS, of codes that the seed decides."""
    from vbench_ctl.baselines.g3an import sampling

    if system.told:
        raise UsageError("g3an: this run is told controls, which only a protocol has; use a protocol")
    options, seed, frames = given.options or Options(), given.seed, given.frames
    count, legacy = options.appearances, options.legacy_range
    if way == "random":
        return sampling.random(system, count, frames, seed, legacy)
    if way == "lengths":
        return sampling.lengths(system, count, seed, legacy)
    first, second = (seed, 0), (seed, 1)
    if way == "swap":
        return sampling.swap(system, first, second, frames, legacy)
    if way == "interpolate":
        return sampling.interpolate(system, first, second, count, frames, legacy)
    appearances, motions = ([(seed, at) for at in range(number)] for number in (count, options.motions))
    return sampling.grid(system, appearances, motions, frames, legacy)


def drive(system: "System", start: "Start") -> "Player":
    """Return what a person drives, from a frame on."""
    from vbench_ctl.baselines.g3an import driving

    return driving.player(system, start)


def import_checkpoint(
    file: Path, config: Path | None = None
) -> tuple[Settings, dict[str, dict[str, "Tensor"]], "DataFacts"]:
    """Read a released generator: settings, weights by stage, facts of the data; the discriminators are fresh."""
    import torch

    from vbench_ctl.baselines.g3an import released
    from vbench_ctl.baselines.g3an.system import System
    from vbench_ctl.training import DataFacts

    if config is not None:
        raise UsageError(f"{config}: the release of G3AN has no configuration files; leave it out")
    tensors = released.read(file)
    settings, side = released.settings(file, tensors)
    facts = DataFacts(side, side, length=FRAMES)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        system = System(settings, facts)
    system.generator.load_state_dict(released.placed(file, tensors, system.generator))
    return settings, {"": system.state_dict()}, facts
