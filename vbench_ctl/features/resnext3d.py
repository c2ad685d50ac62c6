"""ResNeXt-101 3-D (Hara et al., CVPR 2018) on Kinetics, whose 2048 pooled features G3AN's video FID compares.

kenshohara/3D-ResNets-PyTorch, as used by wyhsirius/g3an-project:evaluation. Names of the tensors are the checkpoint's.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from vbench_ctl import features as shared
from vbench_ctl.errors import unknown

NAME = "resnext3d"
WEIGHTS = "resnext101-k400"
SIZE, FRAMES = (112, 112), 16
MEAN = (114.7748, 107.7354, 99.4750)  # of 8-bit R, G, B in ActivityNet; both users subtract it in this order


class Stage(NamedTuple):
    blocks: int
    planes: int
    stride: int


STAGES = (Stage(3, 128, 1), Stage(4, 256, 2), Stage(23, 512, 2), Stage(3, 1024, 2))
GROUPS = 32
LAST_POOL = (1, 4, 4)


class Bottleneck(nn.Module):
    """1x1x1, grouped 3x3x3, 1x1x1, and the input added."""

    def __init__(self, inputs: int, planes: int, stride: int) -> None:
        super().__init__()
        middle, outputs = GROUPS * (planes // 32), 2 * planes
        self.conv1 = nn.Conv3d(inputs, middle, 1, bias=False)
        self.bn1: nn.Module = nn.BatchNorm3d(middle)
        self.conv2 = nn.Conv3d(middle, middle, 3, stride, 1, groups=GROUPS, bias=False)
        self.bn2: nn.Module = nn.BatchNorm3d(middle)
        self.conv3 = nn.Conv3d(middle, outputs, 1, bias=False)
        self.bn3: nn.Module = nn.BatchNorm3d(outputs)
        self.downsample: nn.Sequential | None = None
        if stride > 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv3d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm3d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu_(self.bn1(shared.pointwise(x, self.conv1)))
        y = F.relu_(self.bn2(self.conv2(y)))
        y = self.bn3(shared.pointwise(y, self.conv3))
        if self.downsample is not None:
            shortcut: Any = self.downsample
            x = shortcut[1](shared.pointwise(x, shortcut[0]))
        return F.relu_(y + x)

    def fold(self) -> None:
        """Put every batch norm into its convolution."""
        self.bn1 = shared.fold(self.conv1, self.bn1)
        self.bn2 = shared.fold(self.conv2, self.bn2)
        self.bn3 = shared.fold(self.conv3, self.bn3)
        if self.downsample is not None:
            self.downsample[1] = shared.fold(*self.downsample)


class ResNeXt3D(nn.Module):
    """Clips (N, 3, T, H, W), 8-bit values less the mean -> features (N, 2048)."""

    def __init__(self, stages: tuple[Stage, ...] = STAGES) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(3, 64, 7, (1, 2, 2), 3, bias=False)
        self.bn1: nn.Module = nn.BatchNorm3d(64)
        inputs, self.stages = 64, len(stages)
        for number, (blocks, planes, stride) in enumerate(stages, start=1):
            first = Bottleneck(inputs, planes, stride)
            inputs = 2 * planes
            rest = (Bottleneck(inputs, planes, 1) for _ in range(blocks - 1))
            self.add_module(f"layer{number}", nn.Sequential(first, *rest))

    def stem(self, x: Tensor) -> Tensor:
        """Return the output (N, 64, T/2, H/4, W/4) of the first convolution and pool."""
        return F.max_pool3d(F.relu_(self.bn1(self.conv1(x))), 3, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for number in range(1, self.stages + 1):
            x = self.get_submodule(f"layer{number}")(x)
        # of a larger picture the pool leaves several overlapping windows, so their mean is not the mean of the map
        return F.avg_pool3d(x, LAST_POOL, stride=1).mean((2, 3, 4))

    def fold(self) -> None:
        """Put every batch norm into its convolution."""
        self.bn1 = shared.fold(self.conv1, self.bn1)
        for module in self.modules():
            if isinstance(module, Bottleneck):
                module.fold()


def convert(tensors: shared.Tensors) -> dict[str, Tensor]:
    """Map the released checkpoint, whose classifier is not used, onto the state dict of `ResNeXt3D`."""
    state = {
        name: torch.from_numpy(np.ascontiguousarray(value, dtype=np.float32))
        for name, value in ((name.removeprefix("module."), value) for name, value in tensors.items())
        if not name.startswith("fc.")
    }
    if "layer4.2.conv3.weight" not in state:
        raise shared.unknown_style(NAME, tensors)
    with torch.device("meta"):
        shared.check(state, ResNeXt3D(), NAME)
    return state


def window(clips: Tensor) -> Tensor:
    """Return the 16 frames in the middle of clips (N, T, ...); shorter ones start again, as raahii/evan has it."""
    frames = clips.shape[1]
    start = max(frames // 2 - FRAMES // 2, 0)
    return clips[:, (start + torch.arange(FRAMES)) % frames]


def prepared(clips: Tensor, *, resize: str, aspect: str, channels: str) -> Tensor:
    """Turn uint8 clips (N, 16, H, W, 3) into float32 (N, 3, 16, 112, 112), resized as 8-bit pictures, less the mean."""
    if resize == "pillow":
        if aspect != "stretch":
            raise unknown("aspect with Pillow", aspect, ["stretch"])
        clips, resize = _by_pillow(clips), "torch_half_pixel"  # which leaves them, now that they have the right size
    x = shared.prepared(clips, SIZE, resize=resize, aspect=aspect, channels=channels, range="[0,1]")
    return (x * 255).round_().sub_(x.new_tensor(MEAN).view(3, 1, 1, 1))


def _by_pillow(clips: Tensor) -> Tensor:
    frames = clips.flatten(0, 1).cpu().numpy()
    small = [np.asarray(Image.fromarray(frame).resize(SIZE[::-1], Image.Resampling.BILINEAR)) for frame in frames]
    return torch.from_numpy(np.stack(small)).unflatten(0, clips.shape[:2]).to(clips.device)


class Extractor:
    """ResNeXt-101, ready to run."""

    def __init__(self, network: ResNeXt3D, device: str = "cpu") -> None:
        self.network, self.device = network, device

    def features(
        self,
        clips: np.ndarray | Tensor,
        *,
        resize: str = "pillow",
        aspect: str = "stretch",
        channels: str = "rgb",
        batch: int = shared.BATCH,
    ) -> np.ndarray:
        """Return float32 features (N, 2048) of the middle 16 frames of uint8 clips (N, T, H, W, 3)."""

        def run(part: Tensor) -> Tensor:
            part = window(part).to(self.device)
            return self.network(prepared(part, resize=resize, aspect=aspect, channels=channels))

        return shared.in_batches(shared.check_clips(clips), batch, run)


def load(weights: shared.Weights, device: str = "cpu") -> Extractor:
    """Return the extractor of a weight file."""
    network = ResNeXt3D()
    network.load_state_dict(convert(shared.tensors(weights)), strict=False)  # `convert` has checked them
    network.eval().fold()
    shared.ready(network, device)
    return Extractor(network, device)


def self_test(extractor: Extractor) -> None:
    """Refuse weights that cannot tell black from white; no value of the released ones is published."""
    shared.check_apart(NAME, extractor.features(shared.black_and_white(FRAMES, 8, 8, 3)))
