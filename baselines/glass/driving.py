"""GLASS under somebody's hands: a learnt local action, the foreground's shift and the camera's, step by step."""

from dataclasses import replace

import numpy as np
import torch

from vbench_ctl.baselines.glass import play
from vbench_ctl.baselines.glass.play import GLOBAL_SHIFTS, State
from vbench_ctl.baselines.glass.system import System
from vbench_ctl.frames import pixels
from vbench_ctl.play.player import Button, Control, Player, Start, arrows, choices

TRUE = -1  # in place of a code: the one that goes with the true action
RIGHT, DOWN = GLOBAL_SHIFTS[0][0], GLOBAL_SHIFTS[2][1]  # in halves of the frame


def player(system: System, start: Start) -> Player:
    """Return what drives a model from a frame on; shifts are told in pixels of the data's frames."""
    device = next(system.parameters()).device
    halves = play.halves(start.size)

    def shift(control: Control, name: str) -> torch.Tensor:
        return torch.tensor(np.array(control[name]) / halves, dtype=torch.float32, device=device)[None]

    def step(state: State, control: Control) -> tuple[np.ndarray, State]:
        code = torch.tensor([control["code"]], device=device)
        if control["code"] == TRUE:
            code = system.codes_of(torch.tensor([control["local_action"]], device=device))
        frame, after = play.step(system, state, code, shift(control, "motion_fg"), shift(control, "motion_bg"))
        return pixels(frame).cpu().numpy(), after

    labels = system.settings.labels
    rest: Control = {"code": TRUE if labels else 0, "motion_fg": (0.0, 0.0), "motion_bg": (0.0, 0.0)}
    own = tuple(replace(button, group="learnt action") for button in choices({"code": system.settings.codes}))
    if labels:
        rest["local_action"] = 0
        own = (Button("t", "as the true action", {"code": TRUE}, own[0].group, stays=True), *own)
    x, y = RIGHT * halves[0], DOWN * halves[1]
    return Player(
        play.start(system, play.seen(system, start.frame[None])),
        step,
        rest,
        (*own, *arrows("motion_fg", x, y), *arrows("motion_bg", -x, -y, "wasd")),
    )
