"""Golden numbers of the released GLASS (the shared golden/glass), and released weights placed into our networks."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from recorded import Golden
from torch import nn

from vbench_ctl.baselines.glass import losses, perceptual, released
from vbench_ctl.features import vgg

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


def small_vgg(part: Golden) -> vgg.VGG:
    network = vgg.VGG("vgg19")
    widths = pairwise([3, *[8] * 4, *[12] * 8, 16])
    network.convs = nn.ModuleList(nn.Conv2d(before, after, 3, padding=1) for before, after in widths)
    return loaded(network.requires_grad_(False), part)


def small_distance(part: Golden) -> losses.Distance:
    return perceptual.by_maps(small_vgg(part))
