"""Golden numbers of the released GLASS (the shared golden/glass), and released weights placed into our networks."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from recorded import Golden
from torch import nn

from vbench_ctl.baselines.glass import perceptual, released

WHOLE, GRADIENT = 1e-4, 1e-3  # of the array's maximum; relative L2 for gradients (golden/glass/README.md)
SMALL: dict[str, Any] = {
    "codes": 5,
    "code_width": 6,
    "state_width": 16,
    "compressed": 4,
    "hidden": 8,
    "masking_widths": (8, 32),
}


def golden(shared: Path, name: str) -> Golden:
    return Golden(np.load(shared / "golden/glass" / f"{name}.npz"))


def listed(shared: Path, name: str) -> dict:
    return json.loads((shared / "golden/glass" / f"{name}.json").read_text())


def loaded(module: nn.Module, part: Golden) -> Any:
    module.load_state_dict(released.placed(module, part.state()))
    return module


def named(module: nn.Module, part: Golden) -> dict[str, str]:
    """Return our name of each released tensor."""
    return dict(zip(part.state(), module.state_dict(), strict=True))


def small_distance(part: Golden) -> perceptual.Perceptual:
    network = perceptual.Perceptual([(8, 8), (8, 8), (12,) * 4, (12,) * 4, (16,)])
    return loaded(network, part)
