"""LPIPS (Zhang et al., CVPR 2018) with VGG-16 as a loss."""

from functools import lru_cache

import lpips
import torch
from torch import Tensor, nn

from vbench_ctl import features, weights
from vbench_ctl.features import lpips_net

WEIGHTS = "lpips-vgg"


class Perceptual(nn.Module):
    """Pictures (N, 3, H, W) in [-1, 1] -> their distances (N,) from others; gradients reach the second ones alone.

    With `dropout` the maps' differences are dropped with probability 0.5, as the release never switches that off.
    """

    def __init__(self, network: lpips.LPIPS, dropout: bool = False) -> None:
        super().__init__()
        self.network = network.eval().requires_grad_(False)
        if dropout:
            network.lins.train()

    def forward(self, target: Tensor, made: Tensor) -> Tensor:
        with torch.no_grad():
            wanted = self._maps(target)
        found = self._maps(made)
        heads = self.network.lins
        parts = [head((x - y).square()) for head, x, y in zip(heads, wanted, found, strict=True)]
        return torch.stack([part.mean((1, 2, 3)) for part in parts]).sum(0)

    def _maps(self, pictures: Tensor) -> list[Tensor]:
        return [lpips.normalize_tensor(each) for each in self.network.net(self.network.scaling_layer(pictures))]


@lru_cache(maxsize=2)
def load(device: torch.device, dropout: bool = False) -> Perceptual:
    """Return the distance with its published weights, which must be on this machine."""
    network = lpips_net.build("vgg")
    state = lpips_net.convert(features.tensors(weights.path(WEIGHTS)), "vgg")
    network.load_state_dict(state, assign=True)
    return Perceptual(network, dropout).to(device)
