"""Inception-v3 of 2015-12-05, the network FID is defined on, as `pytorch-fid` builds it; features per frame.

mseitzer/pytorch-fid lists where it departs from torchvision's Inception-v3.
"""

from collections import OrderedDict
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from pytorch_fid.inception import FIDInceptionA, FIDInceptionC, FIDInceptionE_1, FIDInceptionE_2
from torch import Tensor, nn
from torchvision.models import inception_v3
from torchvision.models.inception import BasicConv2d

from vbench_ctl import features as shared
from vbench_ctl.errors import VbenchError, unknown

NAME = "inception"
WEIGHTS = "inception-2015"
WEIGHTS_WITH_HEAD = "inception-2015-head"
CLASSES = 1008  # of the TensorFlow graph: ImageNet has 1000
SIZE = (299, 299)


class Mode(NamedTuple):
    resize: str
    half: float  # 8-bit x enters as x / half - 1


MODES = {
    "legacy_pytorch": Mode("torch_half_pixel", 127.5),  # mseitzer/pytorch-fid
    "legacy_tensorflow": Mode("tf1_legacy", 128),  # bioinf-jku/TTUR, inside the graph
    "clean": Mode("pil_bicubic", 128),  # GaParmar/clean-fid
}


def build() -> nn.Sequential:
    """Return pytorch-fid's network without weights: frames (N, 3, 299, 299) -> (N, 2048, 1, 1)."""
    # pytorch-fid's own function starts with a download, so its blocks are put together here
    network = inception_v3(weights=None, num_classes=CLASSES, aux_logits=False, init_weights=False)
    network.Mixed_5b = FIDInceptionA(192, pool_features=32)
    network.Mixed_5c = FIDInceptionA(256, pool_features=64)
    network.Mixed_5d = FIDInceptionA(288, pool_features=64)
    network.Mixed_6b = FIDInceptionC(768, channels_7x7=128)
    network.Mixed_6c = FIDInceptionC(768, channels_7x7=160)
    network.Mixed_6d = FIDInceptionC(768, channels_7x7=160)
    network.Mixed_6e = FIDInceptionC(768, channels_7x7=192)
    network.Mixed_7b = FIDInceptionE_1(1280)
    network.Mixed_7c = FIDInceptionE_2(2048)
    return nn.Sequential(OrderedDict(item for item in network.named_children() if item[0] not in ("dropout", "fc")))


# Names in the TensorFlow graph and the TorchScript files made from it -> pytorch-fid's.
_A = {"conv": "branch1x1", "tower.conv": "branch5x5_1", "tower.conv_1": "branch5x5_2", "tower_2.conv": "branch_pool"}
_A |= {"tower_1.conv": "branch3x3dbl_1", "tower_1.conv_1": "branch3x3dbl_2", "tower_1.conv_2": "branch3x3dbl_3"}
_B = {"conv": "branch3x3", "tower.conv": "branch3x3dbl_1", "tower.conv_1": "branch3x3dbl_2"}
_B |= {"tower.conv_2": "branch3x3dbl_3"}
_C = {"conv": "branch1x1", "tower.conv": "branch7x7_1", "tower.conv_1": "branch7x7_2", "tower.conv_2": "branch7x7_3"}
_C |= {"tower_1.conv": "branch7x7dbl_1", "tower_2.conv": "branch_pool"}
_C |= {f"tower_1.conv_{number}": f"branch7x7dbl_{number + 1}" for number in range(1, 5)}
_D = {"tower.conv": "branch3x3_1", "tower.conv_1": "branch3x3_2", "tower_1.conv": "branch7x7x3_1"}
_D |= {f"tower_1.conv_{number}": f"branch7x7x3_{number + 1}" for number in range(1, 4)}
_E = {"conv": "branch1x1", "tower_conv": "branch3x3_1", "tower_2_conv": "branch_pool"}
_E |= {"tower_mixed_conv": "branch3x3_2a", "tower_mixed_conv_1": "branch3x3_2b"}
_E |= {"tower_1_conv": "branch3x3dbl_1", "tower_1_conv_1": "branch3x3dbl_2"}
_E |= {"tower_1_mixed_conv": "branch3x3dbl_3a", "tower_1_mixed_conv_1": "branch3x3dbl_3b"}
BLOCKS = dict.fromkeys(("Mixed_5b", "Mixed_5c", "Mixed_5d"), _A) | {"Mixed_6a": _B}
BLOCKS |= dict.fromkeys(("Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"), _C) | {"Mixed_7a": _D}
BLOCKS |= dict.fromkeys(("Mixed_7b", "Mixed_7c"), _E)  # in the graph they are mixed, mixed_1 ... mixed_10
STEM = {"conv": "Conv2d_1a_3x3", "conv_1": "Conv2d_2a_3x3", "conv_2": "Conv2d_2b_3x3"}
STEM |= {"conv_3": "Conv2d_3b_1x1", "conv_4": "Conv2d_4a_3x3"}
LEAVES = {"weight": "conv.weight", "gamma": "bn.weight", "beta": "bn.bias"}
LEAVES |= {"mean": "bn.running_mean", "var": "bn.running_var"}


# NVlabs/stylegan2-ada-pytorch's TorchScript -> pytorch-fid's. The bias is left out, as openai/improved-gan does
# (universome/stylegan-v:src/metrics/inception_score.py): the Inception score is defined on logits without it.
HEAD = {"output.weight": "fc.weight", "fc.weight": "fc.weight"}


def convert(tensors: shared.Tensors, head: bool = False) -> dict[str, Tensor]:
    """Map pytorch-fid's file or a TorchScript of the TensorFlow graph onto the state dict of `build`.

    With `head` the weights "fc.weight" (1008, 2048) of the classes come with it.
    """
    names = _spellings()
    names |= {ours: ours for ours in names.values()}
    state = {}
    for name, value in tensors.items():
        if ours := names.get(name.rpartition("layers.")[2]):
            state[ours] = _float32(value)
    if not state:
        raise shared.unknown_style(NAME, tensors)
    for name in [name for name in state if name.endswith("bn.bias")]:
        state.setdefault(name.replace("bn.bias", "bn.weight"), torch.ones_like(state[name]))  # TensorFlow has no gamma
    with torch.device("meta"):
        shared.check(state, build(), NAME)
    if head:
        state |= {HEAD[name]: _float32(value) for name, value in tensors.items() if name in HEAD}
        if state.get("fc.weight", torch.empty(0)).shape != (CLASSES, 2048):
            raise VbenchError(
                f"{NAME}: the weights lack the {CLASSES}-way head that the Inception score needs; use {WEIGHTS_WITH_HEAD}"
            )
    return state


def _float32(value: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(value, dtype=np.float32))


def _spellings() -> dict[str, str]:
    units = {**STEM}
    for number, (block, branches) in enumerate(BLOCKS.items()):
        mixed = f"mixed_{number}" if number else "mixed"
        units |= {f"{mixed}.{theirs}": f"{block}.{ours}" for theirs, ours in branches.items()}
    return {f"{theirs}.{leaf}": f"{ours}.{kind}" for theirs, ours in units.items() for leaf, kind in LEAVES.items()}


def prepared(frames: Tensor, mode: str) -> Tensor:
    """Turn uint8 frames (N, H, W, 3) into float32 (N, 3, 299, 299)."""
    if mode not in MODES:
        raise unknown("FID mode", mode, MODES)
    x = shared.prepared(frames[:, None], SIZE, resize=MODES[mode].resize, range="[0,1]")[:, :, 0]
    return x.clip(0, 1).mul_(255 / MODES[mode].half).sub_(1)  # bicubic overshoots


class Extractor:
    """Inception-v3, ready to run."""

    def __init__(self, network: nn.Sequential, device: str = "cpu") -> None:
        self.network, self.device = network, device

    def features(self, frames: np.ndarray | Tensor, *, mode: str = "legacy_pytorch", batch: int = 16) -> np.ndarray:
        """Return float32 features (N, 2048) of uint8 frames (N, H, W, 3)."""

        def run(part: Tensor) -> Tensor:
            x = prepared(part.to(self.device), mode).contiguous(memory_format=torch.channels_last)
            return self.network(x).mean((2, 3))

        return shared.in_batches(shared.check_frames(frames), batch, run)


class Classifier:
    """Inception-v3 with its classes, ready to run."""

    def __init__(self, trunk: Extractor, head: Tensor) -> None:
        self.trunk, self.head = trunk, head

    def features(self, frames: np.ndarray | Tensor, *, mode: str = "legacy_tensorflow", batch: int = 16) -> np.ndarray:
        """Return the probabilities of the classes, float32 (N, 1008), of uint8 frames (N, H, W, 3)."""
        pooled = torch.from_numpy(self.trunk.features(frames, mode=mode, batch=batch))
        return F.linear(pooled, self.head).softmax(1).numpy()


def load(weights: shared.Weights, device: str = "cpu", head: bool = False) -> Extractor | Classifier:
    """Return the extractor of a weight file; with `head`, the classifier."""
    state = convert(shared.tensors(weights), head)
    with torch.device("meta"):  # a thousand classes and a second of random numbers less
        network = build()
    network.to_empty(device="cpu").load_state_dict(state, strict=False)
    network.eval()
    for module in network.modules():
        if isinstance(module, BasicConv2d):
            module.bn = shared.fold(module.conv, module.bn)
    shared.ready(network, device)
    trunk = Extractor(network, device)
    return Classifier(trunk, state["fc.weight"]) if head else trunk


# Squared distance of the features of an all-black and an all-white frame, from the released TorchScript.
BLACK_WHITE = dict.fromkeys((WEIGHTS, WEIGHTS_WITH_HEAD), 375.4039)


def self_test(extractor: Extractor | Classifier) -> None:
    """Refuse weights that cannot tell black from white."""
    shared.check_apart(NAME, _of_black_and_white(extractor))


def verify(extractor: Extractor | Classifier, weights: str = WEIGHTS) -> None:
    """Refuse weights that are not those of 2015-12-05; of the head only the hash of its file is known."""
    black, white = _of_black_and_white(extractor).astype(np.float64)
    shared.check_known(NAME, float(((white - black) ** 2).sum()), BLACK_WHITE[weights], weights)


def _of_black_and_white(extractor: Extractor | Classifier) -> np.ndarray:
    extractor = extractor.trunk if isinstance(extractor, Classifier) else extractor
    return extractor.features(shared.black_and_white(*SIZE, 3), mode="legacy_tensorflow")
