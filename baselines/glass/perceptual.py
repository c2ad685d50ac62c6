"""VGG-19 (Simonyan & Zisserman, ICLR 2015) of ImageNet as a distance of pictures, for losses."""

from collections.abc import Callable, Sequence
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from vbench_ctl import features, weights
from vbench_ctl.baselines.glass.losses import Distance
from vbench_ctl.features import vgg

WEIGHTS = "vgg19"


def by_maps(maps: Callable[[Tensor], Sequence[Tensor]]) -> Distance:
    """Return the distance of pictures (N, 3, H, W) in [-1, 1] by the feature maps of a network: mean absolute differences, summed.

    Pictures go in as they are, neither resized nor normalised for ImageNet; the target gets no gradient.
    """

    def distance(target: Tensor, made: Tensor) -> Tensor:
        with torch.no_grad():
            wanted = maps(target)
        return torch.stack([F.l1_loss(b, a) for a, b in zip(wanted, maps(made), strict=True)]).sum()

    return distance


@lru_cache(maxsize=1)
def load(device: torch.device) -> Distance:
    """Return the distance with torchvision's weights, which must be on this machine."""
    network = vgg.VGG(WEIGHTS).requires_grad_(False)
    network.load_state_dict(vgg.convert(features.tensors(weights.path(WEIGHTS)), WEIGHTS))
    return by_maps(network.to(memory_format=torch.channels_last).to(device))
