"""The W-Sprites oracle: a small network that reads place, action, phase and identity of the sprite back from a frame.

Ours, trained by `vbench-ctl train sprite-probe`. One part finds the sprite's cell of 64x64 native pixels in the frame,
the other reads what is in it. Each frame is read alone, so no other frame, real or generated, has a part in the answer.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vbench_ctl import features as shared
from vbench_ctl.errors import VbenchError
from vbench_ctl.frames import normalised
from vbench_ctl.resize import resize
from vbench_ctl.statistics import sprites

NAME = "sprite probe"
WEIGHTS = "sprite-probe"
CANVAS = (128, 96)  # native width and height; other frames are scaled so that a sprite is as large as there
CELL = 64  # native pixels of a sprite's side
GRID = 4  # native pixels between two places that the finder tells apart; what lies between is interpolated
REACH = 2  # grid places around the likeliest one that say where exactly
BATCH = 32


class Layer(nn.Module):
    """A convolution, a batch norm and a rectifier; for reading, the norm is folded into the convolution."""

    def __init__(self, before: int, after: int, kernel: int = 3, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(before, after, kernel, stride, dilation, dilation)
        self.norm: nn.Module = nn.BatchNorm2d(after)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.conv(x)))


class Finder(nn.Module):
    """Says for each place of a grid whether the sprite's centre is there, and whether there is none at all."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.patches = Layer(3, width, GRID + 2, GRID)
        self.layers = nn.ModuleList(Layer(width, width, dilation=reach) for reach in (1, 2, 4, 1))  # sees 17x17 places
        self.heat = nn.Conv2d(width, 1, 1)
        self.nowhere = nn.Linear(width, 1)

    def forward(self, frames: Tensor) -> Tensor:
        """Return logits (N, 1 + places), the first of none, of frames (N, 3, H, W) from -1 to 1."""
        x = self.patches(frames)
        for layer in self.layers:
            x = x + layer(x)
        return torch.cat([self.nowhere(x.amax((2, 3))), self.heat(x).flatten(1)], 1)


class Reader(nn.Module):
    """Says what the sprite of a cell does, in which phase, and who it is."""

    def __init__(self) -> None:
        super().__init__()
        sizes = ((3, 24, 2), (24, 48, 2), (48, 64, 1), (64, 80, 2), (80, 80, 1), (80, 64, 2))
        self.layers = nn.Sequential(*(Layer(before, after, stride=stride) for before, after, stride in sizes))
        last = 64 * (CELL // 16) ** 2
        self.poses = nn.Linear(last, len(sprites.ACTIONS) * sprites.PHASES)
        self.identity = nn.Linear(last, len(sprites.ATTRIBUTES) * sprites.VARIANTS)

    def forward(self, cells: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (N, 72) of actions and their phases and (N, 4, 6) of attributes, of cells (N, 3, 64, 64)."""
        x = self.layers(cells).flatten(1)
        return self.poses(x), self.identity(x).unflatten(1, (len(sprites.ATTRIBUTES), sprites.VARIANTS))


class SpriteProbe(nn.Module):
    """The finder and the reader."""

    def __init__(self) -> None:
        super().__init__()
        self.finder, self.reader = Finder(), Reader()

    def forward(self, frames: Tensor) -> Tensor:
        """Return readings (N, 8) in native pixels of frames (N, 3, H, W) from -1 to 1."""
        logits = self.finder(frames)
        centres = located(logits[:, 1:], frames.shape[-1] // GRID)
        poses, identity = self.reader(cut(frames, centres))
        poses = poses.softmax(1).unflatten(1, (len(sprites.ACTIONS), sprites.PHASES))
        actions = poses.sum(2).argmax(1)
        phases = poses.take_along_dim(actions[:, None, None], 1)[:, 0].argmax(1)
        labels = torch.cat([actions[:, None], phases[:, None], identity.argmax(2)], 1)
        found = torch.cat([centres, labels], 1)
        nowhere = logits[:, :1] > logits[:, 1:].logsumexp(1, keepdim=True)
        return torch.where(nowhere, -1.0, found)


def located(heat: Tensor, columns: int) -> Tensor:
    """Return the centres (N, 2: x, y), between places, of logits (N, places) of a grid with so many columns."""
    numbers = torch.arange(heat.shape[1], device=heat.device)
    places = torch.stack([numbers % columns, numbers // columns], 1)
    near = ((places - places[heat.argmax(1)][:, None]).abs() <= REACH).all(2)
    shares = heat.masked_fill(~near, -torch.inf).softmax(1)
    return GRID * (shares @ places.float() + 0.5)


def cut(frames: Tensor, centres: Tensor) -> Tensor:
    """Return the cells (N, 3, 64, 64) around centres (N, 2) of frames (N, 3, H, W); beyond the edge its pixels go on."""
    corners = (centres.round() - CELL // 2).long()
    places = torch.arange(CELL, device=frames.device)
    columns = (corners[:, :1] + places).clamp(0, frames.shape[3] - 1)
    rows = (corners[:, 1:] + places).clamp(0, frames.shape[2] - 1)
    items = torch.arange(len(frames), device=frames.device)[:, None, None, None]
    channels = torch.arange(frames.shape[1], device=frames.device)[:, None, None]
    return frames[items, channels, rows[:, None, :, None], columns[:, None, None, :]]


def native(frames: Tensor) -> tuple[Tensor, Tensor]:
    """Return uint8 frames (N, H, W, 3) as (N, 3, H, W) from -1 to 1 at native size, and their pixels per native one."""
    height, width = frames.shape[1:3]
    scale = min(width / CANVAS[0], height / CANVAS[1])
    size = GRID * round(height / scale / GRID), GRID * round(width / scale / GRID)
    planes = resize(normalised(frames), size, "pil_antialias")
    return planes, torch.tensor([width / size[1], height / size[0]])


class Extractor:
    """The probe, ready to run."""

    def __init__(self, network: SpriteProbe, device: str = "cpu") -> None:
        self.network, self.device = network, device

    @torch.inference_mode()
    def features(self, frames: np.ndarray, *, batch: int = BATCH) -> np.ndarray:
        """Return readings, float32 (T, 8), of uint8 frames (T, H, W, 3); centres are in pixels of these frames."""

        def run(part: Tensor) -> Tensor:
            planes, scale = native(part.to(self.device))
            found = self.network(planes.contiguous(memory_format=torch.channels_last))
            found[:, :2] *= torch.where(found[:, :2] < 0, 1, scale.to(self.device))
            return found

        return shared.in_batches(shared.check_frames(frames), batch, run)


def convert(tensors: shared.Tensors) -> dict[str, Tensor]:
    """Map our file or a checkpoint of its training onto the state dict of `SpriteProbe`."""
    held = {name.rpartition("network.")[2]: value for name, value in tensors.items()}
    with torch.device("meta"):
        wanted = SpriteProbe()
    state = {
        name: torch.from_numpy(np.ascontiguousarray(held[name], np.float32))
        for name in wanted.state_dict()
        if name in held
    }
    if not state:
        raise shared.unknown_style(NAME, tensors)
    shared.check(state, wanted, NAME)
    return state


def load(weights: shared.Weights, device: str = "cpu") -> Extractor:
    """Return the extractor of a weight file."""
    network = SpriteProbe()
    network.load_state_dict(convert(shared.tensors(weights)), strict=False)  # norms count batches, which nobody needs
    for layer in network.modules():
        if isinstance(layer, Layer):
            layer.norm = shared.fold(layer.conv, layer.norm)
    shared.ready(network, device)
    return Extractor(network, device)


def self_test(extractor: Extractor) -> None:
    """Refuse weights that see a sprite in a grey picture."""
    grey = np.full((1, 96, 128, 3), 128, np.uint8)
    if extractor.features(grey)[0, 0] >= 0:
        raise VbenchError(f"{NAME}: a sprite was found in a grey picture; the weights are broken")
