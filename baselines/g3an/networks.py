"""G3AN's networks: a generator with one stream each for space, time and video, and two discriminators.

Equal in numbers and names to wyhsirius/g3an-project:model; 128 pixels and controls are not in the original.
"""

import copy
import itertools
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vbench_ctl.baselines.g3an.settings import FRAMES, Settings
from vbench_ctl.baselines.g3an.spectral import DEVIATION, Convolution, Spectral, plain, transposed

SLOPE = 0.2  # of the discriminators' leaky ReLU
SCORES = 1 << 20  # attention scores that a processor works on at once, since they stay in its cache


class Axis(NamedTuple):
    """How a module's convolutions move along time or space."""

    kernel: int
    stride: int
    padding: int


OPEN, DOUBLE, KEEP = Axis(4, 1, 0), Axis(4, 2, 1), Axis(1, 1, 0)


class Plan(NamedTuple):
    """One module: its width in units of the generator's, and what it does to space and time."""

    width: float
    space: Axis
    time: Axis


# The sixth module, for 128 pixels, is not in the original.
PLANS = (
    Plan(8, OPEN, OPEN),
    Plan(8, DOUBLE, DOUBLE),
    Plan(4, DOUBLE, DOUBLE),
    Plan(2, DOUBLE, KEEP),
    Plan(1, DOUBLE, KEEP),
    Plan(0.5, DOUBLE, KEEP),
)
ATTENTIVE = 4  # the module after which there is attention


class Streams(NamedTuple):
    """What modules hand on: space (B, C, 1, H, W), video (B, 2 C, T, H, W), time (B, C, T, 1, 1)."""

    space: Tensor
    video: Tensor
    time: Tensor


# Generator


class G3(nn.Module):
    """One module: each stream is convolved, then the video gets the time added and the space put in front."""

    def __init__(self, inputs: tuple[int, int, int], outputs: int, space: Axis, time: Axis, mode: str):
        super().__init__()
        of_space, of_video, of_time = inputs
        if mode == "3d":
            parts = [(of_video, space, time)]
        elif mode == "1p2d":
            parts = [(of_video, KEEP, time), (outputs, space, KEEP)]
        else:
            parts = [(of_video, space, KEEP), (outputs, KEEP, time)]
        self.conv_v = nn.Sequential(*(layer for part in parts for layer in _layers(part[0], outputs, *part[1:])))
        self.conv_s = nn.Sequential(*_layers(of_space, outputs, space, KEEP))
        self.conv_t = nn.Sequential(*_layers(of_time, outputs, KEEP, time))

    def forward(self, streams: Streams) -> Streams:
        space, time = self.conv_s(streams.space), self.conv_t(streams.time)
        video = self.conv_v(streams.video) + time
        return Streams(space, torch.cat([space.expand(-1, -1, video.shape[2], -1, -1), video], 1), time)


def _layers(inputs: int, outputs: int, space: Axis, time: Axis) -> list[nn.Module]:
    kernel, stride, padding = ((t, s, s) for t, s in zip(time, space, strict=True))
    norm = nn.BatchNorm3d(outputs)
    nn.init.normal_(norm.weight, 1, DEVIATION)
    return [Spectral(*transposed(inputs, outputs, kernel, stride, padding)), norm, nn.ReLU(inplace=True)]


class Attention(nn.Module):
    """Self-attention along time, one sequence per pixel, or over space, one per frame."""

    def __init__(self, width: int, along: str, layout: str):
        super().__init__()
        self.along, self.layout = along, layout
        self.gamma = nn.Parameter(torch.zeros(1))  # so that it begins by changing nothing
        self.q_conv = Spectral(*plain(width, width // 8, (1, 1, 1)))
        self.k_conv = Spectral(*plain(width, width // 8, (1, 1, 1)))
        self.v_conv = Spectral(*plain(width, width, (1, 1, 1)))

    def forward(self, x: Tensor) -> Tensor:
        batch, width, frames, height, wide = x.shape
        # Sequences of pixels over time (B H W, T, C), or of frames over space (B T, H W, C)
        order, length = ((0, 3, 4, 2, 1), frames) if self.along == "time" else ((0, 2, 3, 4, 1), height * wide)
        rows = x.permute(order).contiguous().view(-1, width)
        convs = self.q_conv, self.k_conv, self.v_conv
        found = attended(*(_linear(rows, each).unflatten(0, (-1, length)) for each in convs))
        if self.layout == "reference":
            # As the release has it: the numbers stay where they are and are called (B, H, W, C, T).
            found = found.reshape(batch, height, wide, width, frames).permute(0, 3, 4, 1, 2)
        elif self.along == "time":
            found = found.reshape(batch, height, wide, frames, width).permute(0, 4, 3, 1, 2)
        else:
            found = found.reshape(batch, frames, height, wide, width).permute(0, 4, 1, 2, 3)
        return torch.addcmul(x, self.gamma.to(found.dtype), found)


def _linear(rows: Tensor, conv: Spectral | Convolution) -> Tensor:
    """Apply a convolution of single points to rows (N, C)."""
    return F.linear(rows, conv.effective().flatten(1), conv.bias)


def attended(queries: Tensor, keys: Tensor, values: Tensor, scores: int = SCORES) -> Tensor:
    """Return softmax(Q K^T) V of sequences (S, N, C), unscaled; a processor has `scores` of them at a time."""
    if queries.device.type != "cpu":
        return F.scaled_dot_product_attention(queries, keys, values, scale=1.0)
    portion = max(1, scores // queries.shape[1] ** 2)
    parts = zip(*(each.split(portion) for each in (queries, keys, values)), strict=True)
    return torch.cat([(q @ k.transpose(1, 2)).softmax(-1) @ v for q, k, v in parts])


class Factorised(nn.Module):
    """Attention along time, then over space."""

    def __init__(self, width: int, layout: str):
        super().__init__()
        self.tsa = Attention(width, "time", layout)
        self.ssa = Attention(width, "space", layout)

    def forward(self, x: Tensor) -> Tensor:
        return self.ssa(self.tsa(x))


class Generator(nn.Module):
    """Codes of appearance (B, A) and motion (B, M, L) -> clips (B, 3, 4 L + 12, side, side) in (-1, 1).

    With controls (not in the original) it also takes `told` (B, controls, 4 L + 12), which joins the motion code.
    """

    def __init__(self, settings: Settings, side: int = 64, controls: int = 0):
        super().__init__()
        self.plans = PLANS[:5] if side == 64 else PLANS
        motion = settings.motion + (settings.control_code if controls else 0)
        inputs = settings.appearance, settings.appearance + motion, motion
        for number, plan in enumerate(self.plans, start=1):
            outputs = max(1, int(plan.width * settings.width))
            self.add_module(f"block{number}", G3(inputs, outputs, plan.space, plan.time, settings.mode))
            inputs = outputs, 2 * outputs, outputs
        if settings.attention:
            self.fsa = Factorised(int(2 * PLANS[ATTENTIVE - 1].width * settings.width), settings.attention_layout)
        self.to_rgb = nn.Sequential(Convolution(*plain(inputs[1], 3, (1, 3, 3), padding=(0, 1, 1))))
        if controls:
            # Backwards through time as the modules go forwards: 4 L + 12 -> L + 3 -> L
            self.controls = nn.Sequential(
                nn.Conv1d(controls, 2 * settings.control_code, 4, stride=4),
                nn.ReLU(),
                nn.Conv1d(2 * settings.control_code, settings.control_code, 4),
            )

    def forward(self, appearance: Tensor, motion: Tensor, told: Tensor | None = None) -> Tensor:
        return self.to_rgb(self.stages(appearance, motion, told)[-1].video).float().tanh()

    def stages(self, appearance: Tensor, motion: Tensor, told: Tensor | None = None) -> list[Streams]:
        """Return the streams after each module, and after the attention."""
        if told is not None:
            motion = torch.cat([motion, self.controls(told)], 1)
        space, time = appearance[:, :, None, None, None], motion[..., None, None]
        streams = Streams(space, torch.cat([space.expand(-1, -1, time.shape[2], -1, -1), time], 1), time)
        found = []
        for number in range(1, len(self.plans) + 1):
            streams = self.get_submodule(f"block{number}")(streams)
            found.append(streams)
            if number == ATTENTIVE and hasattr(self, "fsa"):
                streams = streams._replace(video=self.fsa(streams.video))
                found.append(streams)
        return found


def frozen(generator: Generator) -> Generator:
    """Return a copy for generating, with spectral and batch norms worked into the convolutions."""
    generator = copy.deepcopy(generator).eval().requires_grad_(False)
    for module in list(generator.modules()):
        children = [*module.named_children(), ("", None)]
        for (name, child), (following, norm) in itertools.pairwise(children):
            if isinstance(child, Spectral) and isinstance(norm, nn.BatchNorm3d):
                setattr(module, name, child.frozen(norm))
                setattr(module, following, nn.Identity())
            elif isinstance(child, Spectral):
                setattr(module, name, child.frozen())
    return generator.requires_grad_(False)


# Discriminators


class VideoDiscriminator(nn.Module):
    """Clips (B, 3, 16, side, side) in [-1, 1] -> logits (B,).

    With controls (not in the original) the features are also projected on what `told` (B, controls, 16) says, as in
    Miyato & Koyama (ICLR 2018), the actions of a clip's frames taken as independent given the clip.
    """

    def __init__(self, width: int, side: int = 64, controls: int = 0):
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 3
        for outputs in (width, 2 * width, 4 * width, 8 * width):
            layers += [*_halving(inputs, outputs, 3), *_leaky(outputs, outputs, (4, 1, 1))]
            inputs = outputs
        if side == 128:  # by then no time is left to take away
            layers += _halving(inputs, inputs, 3)
        layers += _leaky(inputs, inputs, (1, 4, 4))
        self.net = nn.Sequential(*layers, Spectral(*plain(inputs, 1, (4, 1, 1))))
        if controls:
            self.projection = Spectral(*plain(controls, 4 * inputs, (FRAMES,)))

    def forward(self, clips: Tensor, told: Tensor | None = None) -> Tensor:
        features = self.net[:-1](clips)
        logits = self.net[-1](features).flatten(1).squeeze(1)
        if told is None:
            return logits.float()
        return logits.float() + (features.flatten(1) * self.projection(told).flatten(1)).float().sum(1)


class ImageDiscriminator(nn.Module):
    """Frames (B, 3, side, side) in [-1, 1] -> logits (B,)."""

    def __init__(self, width: int, side: int = 64):
        super().__init__()
        widths: Sequence[int] = [3, width, 2 * width, 4 * width, 8 * width] + [8 * width] * (side == 128)
        layers = [layer for pair in itertools.pairwise(widths) for layer in _halving(*pair, 2)]
        self.net = nn.Sequential(*layers, Spectral(*plain(widths[-1], 1, (4, 4))))

    def forward(self, frames: Tensor) -> Tensor:
        return self.net(frames).flatten(1).squeeze(1).float()


def _halving(inputs: int, outputs: int, axes: int) -> list[nn.Module]:
    """Return a convolution that halves height and width, of 2 or 3 axes."""
    time = axes - 2
    return _leaky(inputs, outputs, (1,) * time + (4, 4), (1,) * time + (2, 2), (0,) * time + (1, 1))


def _leaky(inputs: int, outputs: int, kernel: tuple[int, ...], *how: tuple[int, ...]) -> list[nn.Module]:
    return [Spectral(*plain(inputs, outputs, kernel, *how)), nn.LeakyReLU(SLOPE, inplace=True)]
