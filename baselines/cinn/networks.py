"""Networks of the video stage: encoder, decoder and two discriminators.

Layers bear the names of the release, so that its files load as they are.
CompVis/image2video-synthesis-using-cINNs:stage1_VAE/modules.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vbench_ctl.baselines.cinn.norms import ActNorm, spectral

GROUPS = 16  # of all group norms; fewer only in decoders narrower than the released ones
SLOPE = 0.2  # of the leaky ReLUs

Strides = tuple[int, int, int]  # over time, height, width


# Encoder and temporal discriminator: a ResNet-18 in three dimensions


class Block(nn.Module):
    """Two convolutions beside a skip, which a convolution projects where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: Strides, wrap: Callable[[nn.Conv3d], nn.Conv3d]) -> None:
        super().__init__()
        self.conv1 = wrap(nn.Conv3d(inputs, outputs, 3, stride, 1, bias=False))
        self.bn1 = nn.GroupNorm(GROUPS, outputs)
        self.conv2 = wrap(nn.Conv3d(outputs, outputs, 3, 1, 1, bias=False))
        self.bn2 = nn.GroupNorm(GROUPS, outputs)
        self.downsample: nn.Module = nn.Identity()
        if inputs != outputs or max(stride) > 1:
            projection = wrap(nn.Conv3d(inputs, outputs, 3, stride, 1, bias=False))
            self.downsample = nn.Sequential(projection, nn.GroupNorm(GROUPS, outputs))

    def forward(self, x: Tensor) -> Tensor:
        main = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(main + self.downsample(x))


def layers(
    widths: Sequence[int],
    strides_time: Sequence[int],
    strides_space: Sequence[int],
    first: Callable[[nn.Conv3d], nn.Conv3d],
    second: Callable[[nn.Conv3d], nn.Conv3d],
) -> nn.ModuleList:
    """Return one layer of two blocks for each pair of widths; the first block strides."""
    strides = [(time, space, space) for time, space in zip(strides_time, strides_space, strict=True)]
    return nn.ModuleList(
        nn.Sequential(Block(before, after, stride, first), Block(after, after, (1, 1, 1), second))
        for (before, after), stride in zip(pairwise(widths), strides, strict=True)
    )


class Encoder(nn.Module):
    """Frames (B, T, 3, H, W) -> mean and log-variance (B, D) of the motion's code."""

    def __init__(
        self, widths: Sequence[int], strides_time: Sequence[int], strides_space: Sequence[int], code: int
    ) -> None:
        super().__init__()
        self.conv1 = _fan_out(nn.Conv3d(3, widths[0], (3, 7, 7), 2, (1, 3, 3), bias=False))
        self.norm1 = nn.GroupNorm(GROUPS, widths[0])
        self.layer = layers(widths, strides_time, strides_space, _fan_out, _fan_out)
        self.conv_mu = nn.Conv2d(widths[-1], code, 4)
        self.conv_var = nn.Conv2d(widths[-1], code, 4)

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        x = F.relu(self.norm1(self.conv1(frames.transpose(1, 2))))
        for layer in self.layer:
            x = layer(x)
        x = x.squeeze(2)  # (B, C, 4, 4)
        return self.conv_mu(x).flatten(1), self.conv_var(x).flatten(1)


class TemporalDiscriminator(nn.Module):
    """Frames (B, T, 3, H, W) -> logits (B, 1) and the maps after each layer."""

    def __init__(self, widths: Sequence[int], strides_time: Sequence[int], strides_space: Sequence[int]) -> None:
        super().__init__()
        self.conv1 = _orthogonal(nn.Conv3d(3, widths[0], (3, 7, 7), (1, 2, 2), (1, 3, 3), bias=False))
        self.norm1 = nn.GroupNorm(GROUPS, widths[0])
        self.layer = layers(widths, strides_time, strides_space, lambda conv: spectral(_orthogonal(conv)), _orthogonal)
        self.fc = nn.Linear(widths[-1], 1, bias=False)

    def forward(self, frames: Tensor) -> tuple[Tensor, list[Tensor]]:
        x = F.relu(self.norm1(self.conv1(frames.transpose(1, 2))))
        x = F.max_pool3d(x, 3, (1, 2, 2), 1)
        maps = []
        for layer in self.layer:
            x = layer(x)
            maps.append(x)
        return self.fc(F.avg_pool3d(x, (1, 4, 4), 1).flatten(1)), maps


def _fan_out(conv: nn.Conv3d) -> nn.Conv3d:
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return conv


def _orthogonal(conv: nn.Conv3d) -> nn.Conv3d:
    if not conv.weight.is_meta:
        nn.init.orthogonal_(conv.weight)
    return conv


# Decoder: the start frame modulates by SPADE, the code by AdaIN


class Spade(nn.Module):
    """A group norm whose scale and shift at each place are seen in a picture, the same at all times.

    Since a norm commutes with repeating pixels, the features are repeated after it, by `factors` over time and space.
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.groups = groups_of(width)
        self.conv = _small(nn.Conv2d(3, hidden, 3, padding=1))
        self.conv_gamma = _small(nn.Conv2d(hidden, width, 3, padding=1))
        self.conv_beta = _small(nn.Conv2d(hidden, width, 3, padding=1))

    def forward(self, x: Tensor, picture: Tensor, factors: Strides = (1, 1, 1)) -> Tensor:
        x = repeated(F.group_norm(x, self.groups), factors)
        if picture.shape[2:] != x.shape[3:]:
            picture = F.interpolate(picture, x.shape[3:], mode="bilinear", align_corners=True)
        seen = F.leaky_relu(self.conv(picture), SLOPE)
        gamma, beta = self.conv_gamma(seen).unsqueeze(2), self.conv_beta(seen).unsqueeze(2)
        return torch.addcmul(beta, x, 1 + gamma)


def _small(conv: nn.Conv2d) -> nn.Conv2d:
    """At the start SPADE does almost nothing."""
    nn.init.xavier_uniform_(conv.weight, gain=0.02)
    nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
    return conv


class AdaIN(nn.Module):
    """An instance norm over time and space whose scale and shift come from a code (B, D)."""

    def __init__(self, width: int, code: int) -> None:
        super().__init__()
        self.linear = nn.Linear(code, 2 * width)

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        gamma, beta = self.linear(code)[..., None, None, None].chunk(2, 1)
        return torch.addcmul(beta, F.instance_norm(x), gamma)


class Norm3D(nn.Module):
    """The group norm on a skip; a module of its own only in its name."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.bn = nn.GroupNorm(groups_of(width), width)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(x)


def groups_of(width: int) -> int:
    """Return the most groups, up to 16, that channels can be cut into."""
    return next(groups for groups in range(GROUPS, 0, -1) if width % groups == 0)


def repeated(x: Tensor, factors: Strides) -> Tensor:
    """Repeat the entries of (B, C, T, H, W) over time, height and width."""
    return x if factors == (1, 1, 1) else F.interpolate(x, scale_factor=tuple(map(float, factors)), mode="nearest")


class DecoderBlock(nn.Module):
    """Features (B, C, T, H, W) -> (B, C', T', H', W'), larger by `factors`."""

    def __init__(self, inputs: int, outputs: int, code: int, hidden: int) -> None:
        super().__init__()
        middle = min(inputs, outputs)
        self.conv_0 = spectral(nn.Conv3d(inputs, middle, 3, padding=1))
        self.conv_1 = spectral(nn.Conv3d(middle, outputs, 3, padding=1))
        self.norm_0 = Spade(inputs, hidden)
        self.norm_1 = AdaIN(middle, code)
        self.projects = inputs != outputs
        if self.projects:
            self.conv_s = spectral(nn.Conv3d(inputs, outputs, 1, bias=False))
            self.norm_s = Norm3D(inputs)

    def forward(self, x: Tensor, picture: Tensor, code: Tensor, factors: Strides = (1, 1, 1)) -> Tensor:
        h = self.conv_0(F.leaky_relu(self.norm_0(x, picture, factors), SLOPE))
        h = self.conv_1(F.leaky_relu(self.norm_1(h, code), SLOPE))
        # What looks at one place alone may come before the repeating, at an eighth of the cost.
        skip = self.conv_s(self.norm_s(x)) if self.projects else x
        return repeated(skip, factors) + h


class Decoder(nn.Module):
    """A start frame (B, 3, H, W) and a code (B, D) -> the frames after it (B, T, 3, H, W) in [-1, 1].

    With `change` it makes what differs from the start frame; sums may then leave the range.
    """

    def __init__(
        self,
        width: int,
        code: int,
        upsample_time: Sequence[int],
        upsample_space: Sequence[int],
        hidden: int = 128,
        change: bool = False,
    ) -> None:
        super().__init__()
        self.change = change
        self.fc = nn.Linear(code, 16 * width * 16)
        self.head_0 = DecoderBlock(16 * width, 16 * width, code, hidden)
        for number, (before, after) in enumerate(pairwise((16, 16, 8, 4, 2, 1))):
            self.add_module(f"g_{number}", DecoderBlock(before * width, after * width, code, hidden))
        self.conv_img = nn.Conv3d(width, 3, 3, padding=1)
        last = [(time, space, space) for time, space in zip(upsample_time, upsample_space, strict=True)]
        self.factors: list[Strides] = [(2, 2, 2)] * 3 + last

    def forward(self, picture: Tensor, code: Tensor) -> Tensor:
        x = self.fc(code).view(len(code), -1, 1, 4, 4)
        x = self.head_0(x, picture, code)
        for number, factors in enumerate(self.factors):
            x = self.get_submodule(f"g_{number}")(x, picture, code, factors)
        made = torch.tanh(self.conv_img(F.leaky_relu(x, SLOPE))).transpose(1, 2)
        return picture[:, None] + 2 * made if self.change else made


# Discriminator of single frames, also that of the frame stage


class PatchDiscriminator(nn.Module):
    """Pictures (N, 3, H, W) -> logits of overlapping patches (N, 1, H', W')."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        parts: list[nn.Module] = [_patch_conv(3, width, 2), nn.LeakyReLU(SLOPE)]
        for factor, stride in ((1, 2), (2, 2), (4, 1)):
            parts += [_patch_conv(factor * width, 2 * factor * width, stride)]
            parts += [ActNorm(2 * factor * width, axes=2), nn.LeakyReLU(SLOPE)]
        self.main = nn.Sequential(*parts, _patch_conv(8 * width, 1, 1))

    def forward(self, pictures: Tensor) -> Tensor:
        return self.main(pictures)


def _patch_conv(inputs: int, outputs: int, stride: int) -> nn.Conv2d:
    conv = nn.Conv2d(inputs, outputs, 4, stride, 1)
    nn.init.normal_(conv.weight, 0.0, 0.02)
    return spectral(conv)
