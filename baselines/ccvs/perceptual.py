"""VGG-19 of ImageNet as the perceptual distance of the losses."""

from functools import lru_cache

import torch

from vbench_ctl import features, weights
from vbench_ctl.baselines.ccvs.losses import Distance, perceptual
from vbench_ctl.features import vgg

WEIGHTS = "vgg19"


@lru_cache(maxsize=1)
def load(device: torch.device) -> Distance:
    """Return the distance with torchvision's weights, which must be on this machine; model.weight_perceptual = 0 needs none."""
    network = vgg.VGG(WEIGHTS)
    network.load_state_dict(vgg.convert(features.tensors(weights.path(WEIGHTS)), WEIGHTS))
    network.requires_grad_(False)
    return perceptual(network.to(device))
