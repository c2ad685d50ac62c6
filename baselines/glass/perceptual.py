"""VGG-19 (Simonyan & Zisserman, ICLR 2015) of ImageNet as a distance of pictures, for losses."""

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vbench_ctl import features, weights
from vbench_ctl.features import vgg

WEIGHTS = "vgg19"
# Output channels of the convolutions between two pools, up to relu5_1, the last one used.
LAYERS = ((64, 64), (128, 128), (256,) * 4, (512,) * 4, (512,))
TORCHVISION = (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28)  # numbers of the convolutions in torchvision's list


class Perceptual(nn.Module):
    """The distance of pictures (N, 3, H, W) in [-1, 1], as they are: neither resized nor normalised for ImageNet."""

    def __init__(self, layers: Sequence[Sequence[int]] = LAYERS) -> None:
        super().__init__()
        self.blocks = [len(block) for block in layers]
        widths = [3, *(width for block in layers for width in block)]
        self.convs = nn.ModuleList(nn.Conv2d(before, after, 3, padding=1) for before, after in pairwise(widths))
        self.requires_grad_(False)

    def maps(self, x: Tensor) -> list[Tensor]:
        """Return relu1_1, relu2_1, relu3_1, relu4_1 and relu5_1."""
        found: list[Tensor] = []
        convs = iter(self.convs)
        for count in self.blocks:
            x = F.max_pool2d(x, 2) if found else x
            for position in range(count):
                x = F.relu(next(convs)(x))
                if position == 0:
                    found.append(x)
        return found

    def forward(self, target: Tensor, made: Tensor) -> Tensor:
        """Return the mean absolute differences of the maps, summed; the target gets no gradient."""
        with torch.no_grad():
            wanted = self.maps(target)
        return torch.stack([F.l1_loss(b, a) for a, b in zip(wanted, self.maps(made), strict=True)]).sum()


@lru_cache(maxsize=1)
def load(device: torch.device) -> Perceptual:
    """Return the distance with torchvision's weights, which must be on this machine."""
    tensors = features.tensors(weights.path(WEIGHTS))
    state = {}
    for name, value in tensors.items():
        if place := vgg.place(name, TORCHVISION):
            state[f"convs.{TORCHVISION.index(place[0])}.{place[1]}"] = vgg.as_torch(value)
    network = Perceptual()
    features.check(state, network, WEIGHTS)
    network.load_state_dict(state)
    return network.to(memory_format=torch.channels_last).to(device)
