"""VGG-16 and VGG-19 (Simonyan & Zisserman, ICLR 2015), trained on ImageNet: five feature maps per frame."""

import re
from collections.abc import Iterator, Sequence
from itertools import islice, pairwise
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vbench_ctl import features as shared
from vbench_ctl.errors import unknown

NAME = "vgg"
WEIGHTS = {"vgg16": "vgg16", "vgg19": "vgg19"}
SIZE = (224, 224)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet, torchvision
WIDTHS = (64, 128, 256, 512, 512)  # output channels of the 3x3 convolutions between two pools


class Shape(NamedTuple):
    convs: tuple[int, ...]  # between two pools
    taps: tuple[int, ...]  # after which one of them, counted from 1, the ReLU is a map


NETS = {
    "vgg16": Shape((2, 2, 3, 3, 3), (2, 2, 3, 3, 3)),  # relu1_2 to relu5_3: LPIPS and the VGG diversity score
    "vgg19": Shape((2, 2, 4, 4, 4), (1, 1, 1, 1, 1)),  # relu1_1 to relu5_1: the losses of GLASS
}


def shape_of(net: str) -> Shape:
    """Return the shape of "vgg16" or "vgg19"."""
    if net not in NETS:
        raise unknown("VGG network", net, NETS)
    return NETS[net]


class VGG(nn.Module):
    """Frames (N, 3, H, W), normalised -> five maps (N, C, H/2^k, W/2^k), k = 0..4; what lies behind the last is left out."""

    def __init__(self, net: str = "vgg16") -> None:
        super().__init__()
        self.convs_of_block, self.taps = shape_of(net)
        inner = [
            width for width, count in zip(WIDTHS[:-1], self.convs_of_block[:-1], strict=True) for _ in range(count)
        ]
        widths = [3, *inner, *[WIDTHS[-1]] * self.taps[-1]]
        self.convs = nn.ModuleList(nn.Conv2d(before, after, 3, padding=1) for before, after in pairwise(widths))

    def forward(self, x: Tensor) -> list[Tensor]:
        maps: list[Tensor] = []
        convs = iter(self.convs)
        for count, tap in zip(self.convs_of_block, self.taps, strict=True):
            x = F.max_pool2d(x, 2) if maps else x
            for number, conv in enumerate(islice(convs, count), start=1):
                x = F.relu(conv(x))
                if number == tap:
                    maps.append(x)
        return maps


def torchvision_numbers(net: str) -> list[int]:
    """Return the numbers of the convolutions that are used in torchvision's list of layers, which counts all layers."""
    convs, taps = shape_of(net)
    starts = [sum(2 * count + 1 for count in convs[:block]) for block in range(len(convs))]  # 2: its ReLU; 1: the pool
    used = (*convs[:-1], taps[-1])
    return [start + 2 * number for start, count in zip(starts, used, strict=True) for number in range(count)]


def convert(tensors: shared.Tensors, net: str = "vgg16") -> dict[str, Tensor]:
    """Map torchvision's file, LPIPS's or flax's onto the state dict of `VGG`; other layers are left out."""
    state, numbers = {}, torchvision_numbers(net)
    for name, value in tensors.items():
        if found := place(name, numbers):
            number, kind = found
            state[f"convs.{numbers.index(number)}.{kind}"] = as_torch(value, name.endswith("kernel"))
    if not state:
        raise shared.unknown_style(net, tensors)
    with torch.device("meta"):
        shared.check(state, VGG(net), net)
    return state


FIRE = "(?:squeeze|expand1x1|expand3x3)"  # the parts of a layer of SqueezeNet


def place(name: str, numbers: Sequence[int]) -> tuple[int, str] | None:
    """Return a tensor's number in torchvision's list of layers, one of `numbers`, and its name within that layer."""
    if found := re.search(rf"(?:features|net\.slice\d)\.(\d+)\.((?:{FIRE}\.)?(?:weight|bias))$", name):
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


def likeness(real: Sequence[Tensor], fake: Sequence[Tensor]) -> Tensor:
    """Return how alike the maps (N, C, H, W) of frames are, (N,): their cosine, averaged over the maps."""
    cosines = [F.cosine_similarity(x.flatten(1), y.flatten(1), eps=1e-6) for x, y in zip(real, fake, strict=True)]
    return torch.stack(cosines).mean(0)


class Extractor:
    """VGG, ready to run."""

    def __init__(self, network: VGG, net: str = "vgg16", device: str = "cpu") -> None:
        self.network, self.net, self.device = network, net, device

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

    @torch.inference_mode()
    def between(self, real: np.ndarray | Tensor, fake: np.ndarray | Tensor, *, batch: int = 16) -> np.ndarray:
        """Return how alike frame t of both is to this network, float32 (N, 1), of uint8 frames (N, H, W, 3) in their size."""

        def maps(frames: Tensor) -> list[Tensor]:
            x = frames.to(self.device).movedim(-1, 1) / 255  # channels last, as the frames lie in memory
            return self.network((x - 0.5) / (0.5 + 1e-6))

        parts = zip(*(shared.check_frames(frames).split(batch) for frames in (real, fake)), strict=True)
        return torch.cat([likeness(maps(x), maps(y)) for x, y in parts])[:, None].cpu().numpy()


def load(weights: shared.Weights, device: str = "cpu", net: str = "vgg16") -> Extractor:
    """Return the extractor of a weight file; `net` is "vgg16" or "vgg19"."""
    network = VGG(net)
    network.load_state_dict(convert(shared.tensors(weights), net))
    shared.ready(network, device)
    return Extractor(network, net, device)


# Squared distance of the features of an all-black and an all-white frame, measured; the weights of VGG19 are pinned by
# their hash alone.
BLACK_WHITE = {"vgg16": 437.3693}


def self_test(extractor: Extractor) -> None:
    """Refuse weights that cannot tell black from white."""
    shared.check_apart(extractor.net, extractor.features(shared.black_and_white(*SIZE, 3)))


def verify(extractor: Extractor, weights: str = "vgg16") -> None:
    """Refuse weights that are not ImageNet's as torchvision has them."""
    black, white = extractor.features(shared.black_and_white(*SIZE, 3)).astype(np.float64)
    shared.check_known(extractor.net, float(((white - black) ** 2).sum()), BLACK_WHITE[weights], weights)
