"""Where the tennis player is: the centre of the box that Faster R-CNN (ResNet-50-FPN, COCO) draws around a person.

torchvision's network and weights, with boxes sifted as willi-menapace/PlayableVideoGeneration:evaluation/metrics does
(statistics/detections.py).
"""

import re

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.ops.misc import FrozenBatchNorm2d

from vbench_ctl import features as shared
from vbench_ctl.errors import VbenchError
from vbench_ctl.statistics.detections import player, seen

NAME = "Faster R-CNN COCO"
WEIGHTS = "fasterrcnn-coco"
CLASSES = 91  # COCO's labels with their gaps, and the background
# torchvision 0.13 put its convolutions one level deeper; the published file is older.
DEEPER = (
    (re.compile(r"(backbone\.fpn\.(?:inner|layer)_blocks\.\d)\.(weight|bias)"), r"\1.0.\2"),
    (re.compile(r"(rpn\.head\.conv)\.(weight|bias)"), r"\1.0.0.\2"),
)


def network() -> FasterRCNN:
    """Return the network without weights."""

    def frozen(width: int) -> FrozenBatchNorm2d:
        return FrozenBatchNorm2d(width, eps=0.0)  # as it was trained: torchvision overwrites the eps of this file too

    body = resnet_fpn_backbone(backbone_name="resnet50", weights=None, norm_layer=frozen)  # type: ignore[arg-type]
    return FasterRCNN(body, CLASSES)


def convert(tensors: shared.Tensors) -> dict[str, Tensor]:
    """Map torchvision's file, of whichever age, onto the state dict of `network`."""
    state = {}
    for name, value in tensors.items():
        for pattern, deeper in DEEPER:
            name = pattern.sub(deeper, name) if pattern.fullmatch(name) else name
        state[name] = torch.from_numpy(np.ascontiguousarray(value))
    state = {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")}
    if "roi_heads.box_predictor.cls_score.weight" not in state:
        raise shared.unknown_style(NAME, tensors)
    with torch.device("meta"):
        shared.check(state, network(), NAME)
    return state


class Extractor:
    """The detector, ready to run: a function from pictures (3, H, W) in [0, 1] to boxes, labels and scores."""

    def __init__(self, detector: nn.Module, device: str = "cpu") -> None:
        self.detector, self.device = detector, device

    @torch.inference_mode()
    def features(self, frames: np.ndarray, *, batch: int = shared.BATCH) -> np.ndarray:
        """Return the player's centre in pixels, float32 (T, 2), in each of uint8 frames (T, H, W, 3); (-1, -1) is nowhere."""
        pictures = shared.check_frames(frames).movedim(-1, 1)
        found = []
        for part in pictures.split(batch):
            for boxes in self.detector(list(part.to(self.device).float() / 255)):
                scores, labels, corners = (boxes[name].cpu().numpy() for name in ("scores", "labels", "boxes"))
                found.append(player(scores, labels, corners))
        return np.array(found, np.float32).reshape(-1, 2)


def load(weights: shared.Weights, device: str = "cpu") -> Extractor:
    """Return the detector of a weight file."""
    detector = network()
    detector.load_state_dict(convert(shared.tensors(weights)))
    shared.ready(detector, device)
    return Extractor(detector, device)


def self_test(extractor: Extractor) -> None:
    """Refuse weights that see a player in a grey picture; no value of the published ones on a picture is published."""
    grey = np.full((1, 96, 256, 3), 128, np.uint8)
    if seen(extractor.features(grey)).any():
        raise VbenchError(f"{NAME}: a person was found in a grey picture; the weights are broken")
