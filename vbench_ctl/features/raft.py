"""Optical flow by RAFT (Teed and Deng, ECCV 2020): torchvision's large network and weights, C_T_SKHT_V2.

On frames enlarged twice, as Araachie/yoda takes the flow that it controls models with.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.optical_flow import raft_large

from vbench_ctl import features as shared
from vbench_ctl.errors import VbenchError

NAME = "RAFT large"
WEIGHTS = "raft-large"
ENLARGED = 2
STRIDE = 8  # of the features, which the frame must be a multiple of
LEAST = 64  # pixels a side: enlarged, 16 features, which the coarsest of four correlations needs


def convert(tensors: shared.Tensors) -> dict[str, Tensor]:
    """Map torchvision's file onto its network's state dict."""
    state = {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in tensors.items()}
    if "update_block.flow_head.conv2.weight" not in state:
        raise shared.unknown_style(NAME, tensors)
    with torch.device("meta"):
        shared.check(state, raft_large(), NAME)
    return state


class Extractor:
    """The network, ready to run."""

    def __init__(self, network: nn.Module, device: str = "cpu") -> None:
        self.network, self.device = network, device

    @torch.inference_mode()
    def along(self, clip: np.ndarray, *, batch: int = shared.BATCH) -> np.ndarray:
        """Return the flow from each frame of a uint8 clip (T, H, W, 3) to the next: float32 (T - 1, H, W, 2)."""
        height, width = clip.shape[1:3]
        if min(height, width) < LEAST:
            raise VbenchError(f"{NAME} needs frames of {LEAST} pixels a side or more, these are {width}x{height}")
        planes = shared.check_frames(clip).movedim(-1, 1).float() / 127.5 - 1
        planes = F.interpolate(planes, scale_factor=ENLARGED, mode="bilinear", align_corners=False)
        below, beside = (-size % STRIDE for size in planes.shape[2:])
        planes = F.pad(planes, (0, beside, 0, below), mode="replicate")
        if len(planes) < 2:
            return np.zeros((0, height, width, 2), np.float32)
        found = [
            self.network(first.to(self.device), second.to(self.device))[-1].cpu()
            for first, second in zip(planes[:-1].split(batch), planes[1:].split(batch), strict=True)
        ]
        flow = torch.cat(found)[:, :, : ENLARGED * height, : ENLARGED * width]
        return F.avg_pool2d(flow, ENLARGED).div(ENLARGED).movedim(1, -1).contiguous().numpy()


def load(weights: shared.Weights, device: str = "cpu") -> Extractor:
    """Return the network of a weight file."""
    network = raft_large()
    network.load_state_dict(convert(shared.tensors(weights)), strict=False)  # batch counters may be missing
    shared.ready(network, device)
    return Extractor(network, device)


def self_test(extractor: Extractor) -> None:
    """Refuse weights that do not see a picture move by 8 pixels; no value of the published ones is published."""
    waves = np.sin(np.arange(136)[:, None] / np.array([3.0, 5.0, 9.0])).sum(axis=1)
    picture = np.repeat(np.round(128 + 20 * (waves[:128, None] + waves))[..., None], 3, axis=-1).astype(np.uint8)
    moved = extractor.along(np.stack([picture[:, 8:], picture[:, :-8]]))
    if not np.allclose(np.median(moved, axis=(0, 1, 2)), [8, 0], atol=1):
        raise VbenchError(f"{NAME}: a picture that moves by 8 pixels is not seen to; the weights are broken")
