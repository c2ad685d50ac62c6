"""CCVS (Le Moing, Ponce, Schmid, NeurIPS 2021): tokens drawn one by one, frames decoded from them and earlier frames.

Equal in numbers to 16lemoing/ccvs, whose checkpoints it reads. Actions and classes as control are ours.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vbench_ctl.baselines.ccvs.settings import Settings
from vbench_ctl.errors import UsageError
from vbench_ctl.registry import option

if TYPE_CHECKING:
    from torch import Tensor, nn

    from vbench_ctl.baselines.ccvs.synthesis import System
    from vbench_ctl.generation import Asked, Made
    from vbench_ctl.play.player import Player, Start
    from vbench_ctl.training import DataFacts

TITLE = "CCVS"
CONTROL = "by recipe"  # none, the last frame, states, sound, actions or a class
CONTROLS = ("none", "state", "audio", "context-audio", "actions", "class")
STAGES = ("autoencoder", "control", "transformer")


@dataclass(frozen=True)
class Options:
    """How a trained model continues clips."""

    vid_len: int = option(0, "frames of a clip, the given ones too; 0: as many as the protocol asks for")
    x_cond_len: int = option(-1, "tokens of given frames that are used, of 64 a frame; -1: those of all given frames")
    top_k: int = option(100, "frame tokens are drawn among so many; 0: all")
    temperature: float = option(1.0, "of the draw of frame tokens")
    greedy: bool = option(False, "take the likeliest frame token in place of drawing")
    keep_state: str = option(
        "auto", "take all states, sound or actions as given; auto: if they are", ("auto", "yes", "no")
    )
    top_k_state: int = option(10, "control tokens that are not given are drawn among so many; 0: all")
    temperature_state: float = option(1.0, "of the draw of control tokens")
    greedy_state: bool = option(False, "take the likeliest control token in place of drawing")
    square_path: bool = option(False, "let the state go along a square from where it is in the first frame")
    window: int = option(0, "frames that the transformer looks back at; 0: as many as it can")
    beams: int = option(1, "sequences that are followed within a window; the likeliest stays")
    swapped_beams: bool = option(False, "rate beams as the release does, which mixes up their chances")
    memory: int = option(15, "earlier frames that a frame is decoded with")
    keep_first: int = option(0, "of them, the first ones that are never forgotten")
    end_context: str = option(
        "last-given",
        "with a last frame: what every frame is decoded with too; the release takes the last given frame",
        ("last-given", "ending"),
    )
    step_by_step: bool = option(False, "go on from the tokens of each decoded frame in place of those drawn")
    batch: int = option(1, "clips made at once; more are faster, but may differ in the last bits")

    def __post_init__(self) -> None:
        for name, least in (("vid_len", 0), ("x_cond_len", -1), ("window", 0), ("batch", 1)):
            if getattr(self, name) < least:
                raise UsageError(f"--{name.replace('_', '-')} {getattr(self, name)}: it must be at least {least}")
        if self.square_path and self.keep_state == "yes":
            raise UsageError("--square-path makes the states that --keep-state yes takes as given; leave one away")


def build(settings: Settings, data: "DataFacts", stage: str, earlier: dict[str, dict[str, "Tensor"]]) -> "nn.Module":
    """Return the system of one stage to train: autoencoder, control (nothing without states or sound), transformer."""
    from vbench_ctl.baselines.ccvs import stages

    return stages.build(settings, data, stage, earlier)


def heeds(settings: Settings) -> tuple[str, ...]:
    """Return the tracks that a run is told."""
    return settings.told


def generate(system: "System", asked: Sequence["Asked"]) -> list["Made"]:
    """Continue clips; a state that the store lacks is estimated from the real frames."""
    from vbench_ctl.baselines.ccvs import continuation

    return continuation.made(system, asked)


def drive(system: "System", start: "Start") -> "Player":
    """Return what a person drives, from a frame on."""
    from vbench_ctl.baselines.ccvs import driving

    return driving.player(system, start)


def import_checkpoint(
    file: Path, config: Path | None = None
) -> tuple[Settings, dict[str, dict[str, "Tensor"]], "DataFacts"]:
    """Read a folder of released checkpoints: settings, weights by stage, facts of the data.

    What the weights don't show (the last frame given, ImageNet's range, the number of heads) comes from opt.txt, and is
    asked for where there is none.
    """
    from vbench_ctl.baselines.ccvs import released

    return released.imported(file, config)
