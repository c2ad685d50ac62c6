"""DTI3D: an Inception-I3D trained on the dynamics of DTDB, whose 1024 pooled features DTFVD compares.

Dorkenwald et al., CVPR 2021; CompVis/image2video-synthesis-using-cINNs:metrics/DTFVD.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from vbench_ctl import features as shared
from vbench_ctl.errors import VbenchError
from vbench_ctl.features import i3d

NAME = "dti3d"
WEIGHTS: Mapping[int, str] = {16: "dti3d-16", 32: "dti3d-32"}  # frames: two trainings
LAST_POOL = {16: 2, 32: 4}
EPS = 1e-5  # PyTorch's, where the Kinetics I3D has TensorFlow's 1e-3
SHORTEST = 6  # frames: three times in a row they are at least 16

convert = i3d.convert


def looped(clips: Tensor, frames: int) -> Tensor:
    """Repeat clips (N, T, ...) from their start until they have `frames` frames; longer ones are cut."""
    return clips[:, torch.arange(frames) % clips.shape[1]]


class Extractor:
    """DTI3D, ready to run, for clips of 16 or of 32 frames."""

    def __init__(self, network: i3d.InceptionI3D, frames: int, device: str = "cpu") -> None:
        self.network, self.frames, self.device = network, frames, device

    def features(self, clips: np.ndarray | Tensor, *, loop: bool = True, batch: int = shared.BATCH) -> np.ndarray:
        """Return what the last pool leaves, float32 (N, 1024), of uint8 clips (N, T, H, W, 3).

        The network of 16 frames cuts longer clips and loops shorter ones, or without `loop` takes them as they are; the
        reference does the one for DTFVD, the other for the diversity. That of 32 does neither.
        """
        clips = shared.check_clips(clips, SHORTEST if loop else i3d.SHORTEST)
        if self.frames == 32 and clips.shape[1] != 32:
            raise VbenchError(
                f"the clips have {clips.shape[1]} frames and {WEIGHTS[32]} needs exactly 32; cut them to 32, or to 16 "
                f"and use {WEIGHTS[16]}"
            )

        def run(part: Tensor) -> Tensor:
            part = looped(part, self.frames) if loop else part[:, : self.frames]
            part = part.to(self.device)
            x = shared.prepared(part, i3d.SIZE, resize="align_corners", range="[-1,1]")
            return self.network.pooled(x).mean(2)

        return shared.in_batches(clips, batch, run)


def load(weights: shared.Weights, device: str = "cpu", frames: int = 16) -> Extractor:
    """Return the extractor of a weight file trained on clips of `frames` frames, 16 or 32."""
    if frames not in WEIGHTS:
        raise VbenchError(f"{NAME}: there is no network of {frames} frames, only of 16 and of 32; choose one")
    network = i3d.built(weights, device, eps=EPS, last_pool=LAST_POOL[frames])
    return Extractor(network, frames, device)


def self_test(extractor: Extractor) -> None:
    """Refuse weights that cannot tell black from white; no value of the released ones is published."""
    shared.check_apart(NAME, extractor.features(shared.black_and_white(extractor.frames, 8, 8, 3)))
