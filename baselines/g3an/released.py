"""Generators as wyhsirius/g3an-project saves them: G_*.pth, with DataParallel's prefix "module."."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vbench_ctl import weights
from vbench_ctl.baselines.g3an.networks import PLANS, Generator
from vbench_ctl.baselines.g3an.settings import Settings
from vbench_ctl.errors import VbenchError
from vbench_ctl.features import misfits

PREFIX = "module."
_MODES = {(4, 1, 1): "1p2d", (1, 4, 4): "2p1d", (4, 4, 4): "3d"}  # by the first video kernel of module 2


def read(file: Path) -> dict[str, np.ndarray]:
    """Return the tensors of a released generator under their names in the network."""
    tensors = weights.read(file)
    if all(name.startswith(PREFIX) for name in tensors):
        tensors = {name.removeprefix(PREFIX): value for name, value in tensors.items()}
    return tensors


def settings(file: Path, tensors: Mapping[str, np.ndarray]) -> tuple[Settings, int]:
    """Return the settings that a generator's tensors show, and the side of its frames."""
    try:
        appearance, outputs = tensors["block1.conv_s.0.weight_orig"].shape[:2]
        motion = tensors["block1.conv_t.0.weight_orig"].shape[0]
        kernel = tensors["block2.conv_v.0.weight_orig"].shape[2:]
        found = Settings(
            appearance=appearance,
            motion=motion,
            width=outputs // int(PLANS[0].width),
            mode=_MODES[kernel],  # type: ignore[arg-type]  # its values are the modes
            attention=any(name.startswith("fsa.") for name in tensors),
            attention_layout="reference",
        )
    except (KeyError, ValueError, IndexError) as error:
        some = ", ".join(list(tensors)[:3])
        raise VbenchError(
            f"{file}: no generator of G3AN ({error} does not fit; its tensors are {some} ...); expected a G_*.pth of "
            "wyhsirius/g3an-project"
        ) from error
    return found, 128 if f"block{len(PLANS)}.conv_s.0.weight_orig" in tensors else 64


def placed(file: Path, tensors: Mapping[str, np.ndarray], generator: Generator) -> dict[str, Tensor]:
    """Return the tensors as the generator's state dict, or name the first ones that are not its own."""
    wanted = generator.state_dict()
    wrong = [
        f"{name} is {'lacking' if found is None else 'not of this network' if expected is None else f'{found}, expected {expected}'}"
        for name, found, expected in misfits(tensors, wanted)
    ]
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise VbenchError(
            f"{file}: {'; '.join(wrong[:3])}{more}; expected a whole G_*.pth of wyhsirius/g3an-project, fetch it again"
        )
    return {name: torch.from_numpy(np.array(tensors[name])).to(value.dtype) for name, value in wanted.items()}
