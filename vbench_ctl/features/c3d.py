"""C3D (Tran et al., ICCV 2015) fine-tuned on UCF-101, whose 101 probabilities the video Inception score is made of.

Layers, preprocessing and names of the tensors as in pfnet-research/tgan2:tgan2/models/c3d/c3d_ucf101.py, with which
universome/stylegan-v:src/metrics scores too.
"""

import re

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vbench_ctl import features as shared
from vbench_ctl.errors import VbenchError

NAME = "c3d"
WEIGHTS = "c3d-ucf101"
SIZE, FRAMES, CLASSES = (112, 112), 16, 101
CONVS = {  # 3x3x3, output channels; a max-pool follows every group
    "conv1a": 64,
    "conv2a": 128,
    "conv3a": 256,
    "conv3b": 256,
    "conv4a": 512,
    "conv4b": 512,
    "conv5a": 512,
    "conv5b": 512,
}
POOLED = ("conv1a", "conv2a", "conv3b", "conv4b", "conv5b")
HIDDEN = 4096
MEAN_CROP = slice(8, 120)  # of the mean clip, 128x171: the middle of its height, but the left of its width


class C3D(nn.Module):
    """Clips (N, 3, 16, 112, 112), BGR, 8-bit values -> logits (N, 101)."""

    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        inputs = 3
        for name, outputs in CONVS.items():
            self.add_module(name, nn.Conv3d(inputs, outputs, 3, padding=1))
            inputs = outputs
        self.fc6 = nn.Linear(inputs * 4 * 4, HIDDEN)
        self.fc7 = nn.Linear(HIDDEN, HIDDEN)
        self.fc8 = nn.Linear(HIDDEN, CLASSES)
        self.register_buffer("mean", torch.zeros(3, FRAMES, *SIZE))

    def forward(self, x: Tensor) -> Tensor:
        x = x - self.mean
        for name in CONVS:
            x = F.relu_(self.get_submodule(name)(x))
            if name in POOLED:
                size = (1, 2, 2) if name == "conv1a" else (2, 2, 2)
                x = F.max_pool3d(x, size, ceil_mode=True)  # of 7x7 it leaves 4x4, as Caffe and Chainer do
        x = F.relu_(self.fc6(x.flatten(1)))
        return self.fc8(F.relu_(self.fc7(x)))


def convert(tensors: shared.Tensors) -> dict[str, Tensor]:
    """Map Chainer's npz files of TGAN2 (network and mean clip), or tensors of the same names, onto the state of `C3D`."""
    state = {}
    for name, value in tensors.items():
        if found := re.search(r"(?:^|[./])((?:conv\d[ab]|fc[678]))[./](W|b|weight|bias)$", name):
            ours = f"{found[1]}.{'weight' if found[2] in ('W', 'weight') else 'bias'}"
        elif re.search(r"(?:^|[./])mean$", name):
            ours, value = "mean", _mean_clip(value)
        else:
            continue
        state[ours] = torch.from_numpy(np.ascontiguousarray(value, dtype=np.float32))
    if not state:
        raise shared.unknown_style(NAME, tensors)
    if "mean" not in state:
        raise VbenchError(
            f"{NAME}: the file lacks the mean clip; put it (mean2.npz) and the weights (conv3d_deepnetA_ucf.npz) into a "
            f'folder and run "vbench-ctl weights add {WEIGHTS} FOLDER"'
        )
    with torch.device("meta"):
        shared.check(state, C3D(), NAME)
    return state


def _mean_clip(value: np.ndarray) -> np.ndarray:
    """Cut the mean clip (3, 16, 128, 171), BGR, as TGAN2 does; one of (3, 16, 112, 112) has been cut."""
    if value.shape[-2:] == SIZE:
        return value
    return value.reshape(3, FRAMES, *value.shape[-2:])[:, :, MEAN_CROP, MEAN_CROP]


class Classifier:
    """C3D, ready to run."""

    def __init__(self, network: C3D, device: str = "cpu") -> None:
        self.network, self.device = network, device

    def features(self, clips: np.ndarray | Tensor, *, batch: int = shared.BATCH) -> np.ndarray:
        """Return the probabilities of the classes, float32 (N, 101), of the first 16 frames of uint8 clips (N, T, H, W, 3).

        Clips are stretched to 112x112; Chainer resizes with aligned corners.
        """

        def run(part: Tensor) -> Tensor:
            part = part[:, :FRAMES].to(self.device)
            x = shared.prepared(part, SIZE, resize="align_corners", channels="bgr", range="[0,1]")
            return self.network(x * 255).softmax(1)

        return shared.in_batches(shared.check_clips(clips, FRAMES), batch, run)


def load(weights: shared.Weights, device: str = "cpu") -> Classifier:
    """Return the classifier of a weight file."""
    with torch.device("meta"):  # 80 million random numbers less
        network = C3D()
    network.load_state_dict(convert(shared.tensors(weights)), assign=True)
    shared.ready(network, device)
    return Classifier(network, device)


def self_test(classifier: Classifier) -> None:
    """Refuse weights that cannot tell black from white; no value of the released ones is published."""
    shared.check_apart(NAME, classifier.features(shared.black_and_white(FRAMES, 8, 8, 3)))
