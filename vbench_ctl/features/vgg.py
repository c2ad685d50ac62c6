"""VGG-16 (Simonyan & Zisserman, ICLR 2015) up to relu5_3, trained on ImageNet: five feature maps per frame."""

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vbench_ctl import features as shared
from vbench_ctl.errors import VbenchError

NAME = "vgg16"
WEIGHTS = "vgg16"
SIZE = (224, 224)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet, torchvision
LAYERS = {  # output channels of the 3x3 convolutions between two pools; the name is the last one's ReLU
    "relu1_2": (64, 64),
    "relu2_2": (128, 128),
    "relu3_3": (256, 256, 256),
    "relu4_3": (512, 512, 512),
    "relu5_3": (512, 512, 512),
}
# Numbers of the convolutions in torchvision's list of layers, which counts ReLUs and pools too.
TORCHVISION = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)


class VGG16(nn.Module):
    """Frames (N, 3, H, W), normalised -> five maps (N, C, H/2^k, W/2^k), k = 0..4."""

    def __init__(self) -> None:
        super().__init__()
        widths = [3, *(width for block in LAYERS.values() for width in block)]
        self.convs = nn.ModuleList(nn.Conv2d(before, after, 3, padding=1) for before, after in pairwise(widths))

    def forward(self, x: Tensor) -> list[Tensor]:
        maps: list[Tensor] = []
        convs = iter(self.convs)
        for block in LAYERS.values():
            x = F.max_pool2d(x, 2) if maps else x
            for _, conv in zip(block, convs, strict=False):
                x = F.relu(conv(x))
            maps.append(x)
        return maps


def convert(tensors: shared.Tensors) -> dict[str, Tensor]:
    """Map torchvision's file, LPIPS's or flax's onto the state dict of `VGG16`; other layers are left out."""
    state = {}
    for name, value in tensors.items():
        if found := place(name, TORCHVISION):
            number, kind = found
            state[f"convs.{TORCHVISION.index(number)}.{kind}"] = as_torch(value, name.endswith("kernel"))
    if not state:
        raise shared.unknown_style(NAME, tensors)
    with torch.device("meta"):
        shared.check(state, VGG16(), NAME)
    return state


def place(name: str, numbers: Sequence[int]) -> tuple[int, str] | None:
    """Return a tensor's number in torchvision's list of layers, one of `numbers`, and whether it is weight or bias."""
    if found := re.search(r"(?:features|net\.slice\d)\.(\d+)\.(weight|bias)$", name):
        number = int(found[1])
    elif found := re.search(r"(?:VGG16|AlexNet)_0/Conv_(\d+)/(kernel|bias)$", name):  # flax counts the convolutions
        number = dict(enumerate(numbers)).get(int(found[1]), -1)
    else:
        return None
    return (number, found[2].replace("kernel", "weight")) if number in numbers else None


def as_torch(value: np.ndarray, channels_last: bool = False) -> Tensor:
    """Return a float32 tensor; `channels_last` kernels are (h, w, in, out)."""
    value = value.transpose(3, 2, 0, 1) if channels_last and value.ndim == 4 else value
    return torch.from_numpy(np.ascontiguousarray(value, dtype=np.float32))


def normalised(frames: Tensor) -> Tensor:
    """Turn frames (N, 3, H, W) in [0, 1] into what the network was trained on."""
    mean, std = (frames.new_tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    return (frames - mean) / std


class Extractor:
    """VGG-16, ready to run."""

    def __init__(self, network: VGG16, device: str = "cpu") -> None:
        self.network, self.device = network, device

    @torch.inference_mode()
    def maps(
        self, frames: np.ndarray | Tensor, *, resize: str = "torch_half_pixel", batch: int = 16
    ) -> Iterator[list[Tensor]]:
        """Yield the five maps (n, C, H', W') of `batch` uint8 frames (N, H, W, 3) at a time."""
        for part in shared.check_frames(frames).split(batch):
            x = shared.prepared(part[:, None].to(self.device), SIZE, resize=resize, range="[0,1]")[:, :, 0]
            yield self.network(normalised(x).contiguous(memory_format=torch.channels_last))

    def features(self, frames: np.ndarray | Tensor, *, resize: str = "torch_half_pixel", batch: int = 16) -> np.ndarray:
        """Return the mean over space of the five maps, float32 (N, 1472), of uint8 frames (N, H, W, 3)."""
        means = (
            torch.cat([one.mean((2, 3)) for one in maps], 1) for maps in self.maps(frames, resize=resize, batch=batch)
        )
        return torch.cat(list(means)).cpu().numpy()


def load(weights: shared.Weights, device: str = "cpu") -> Extractor:
    """Return the extractor of a weight file."""
    network = VGG16()
    network.load_state_dict(convert(shared.tensors(weights)))
    shared.ready(network, device)
    return Extractor(network, device)


# Squared distance of the features of an all-black and an all-white frame, measured.
BLACK_WHITE = 437.3693


def self_test(extractor: Extractor) -> None:
    """Refuse weights that are not ImageNet's as torchvision has them."""
    frames = np.zeros((2, *SIZE, 3), np.uint8)
    frames[1] = 255
    black, white = extractor.features(frames).astype(np.float64)
    found = float(((white - black) ** 2).sum())
    if not abs(found / BLACK_WHITE - 1) < 0.01:
        raise VbenchError(
            f"{NAME}: a black and a white frame are {found:.4f} apart, expected {BLACK_WHITE}; these are not "
            f"torchvision's ImageNet weights, use {WEIGHTS}"
        )
