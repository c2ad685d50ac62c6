"""G3AN under somebody's hands: what is seen and how it moves are chosen, and each step is a whole clip."""

import numpy as np
import torch

from vbench_ctl.baselines.g3an import controls, sampling
from vbench_ctl.baselines.g3an.networks import frozen
from vbench_ctl.baselines.g3an.settings import FRAMES
from vbench_ctl.baselines.g3an.system import System
from vbench_ctl.errors import UsageError
from vbench_ctl.play.player import Control, Player, Start, choices, chosen, entry

OFFERED = 8  # appearances, and motions


def player(system: System, start: Start) -> Player:
    """Return what drives a generator; the frame to start from is not seen, since it makes clips of codes."""
    generator = frozen(system.generator)
    told = _told(system, start)

    def step(state: None, control: Control) -> tuple[np.ndarray, None]:
        appearance, motion = ((start.seed, chosen(control[name])) for name in ("appearance", "motion"))
        codes = sampling.appearance_code(system, appearance), sampling.motion_code(system, motion, FRAMES)
        tracks = {name: torch.from_numpy(np.stack([entry(control[name])] * FRAMES))[None] for name in told}
        under = controls.encoded(tracks, system.settings, system.told, FRAMES)
        (video,) = sampling.made(generator, [codes], under)
        return sampling.pixels(video)[0], None

    classes = {name: count for name, count in system.settings.controls.items() if count}
    return Player(
        None,
        step,
        {"appearance": 0, "motion": 0, **told},
        choices({"appearance": OFFERED, "motion": OFFERED, **classes}),
        frames=FRAMES,
    )


def _told(system: System, start: Start) -> Control:
    """Return the controls of the frame to start from."""
    found: Control = {}
    for name, classes in system.settings.controls.items():
        if name not in start.tracks:
            raise UsageError(
                f"g3an: this model is told {name}, which the start frame has not; begin at clips that have it"
            )
        found[name] = int(start.tracks[name]) if classes else tuple(float(v) for v in np.ravel(start.tracks[name]))
    return found
