"""The discriminators of CCVS, StyleGAN2's: one looks at pictures, one at clips of a few frames."""

import itertools
from collections.abc import Sequence
from math import log2

import torch
from torch import Tensor, nn

from vbench_ctl.baselines.ccvs.layers import JudgeConv, JudgeConv3d, JudgeResidual, JudgeResidual3d, Linear
from vbench_ctl.errors import UsageError

GROUP = 4  # samples whose spread a discriminator sees


def spread(x: Tensor, group: int) -> Tensor:
    """Append a channel with the standard deviation over groups of samples; sample n is in group n mod (B / group)."""
    if len(x) % group:
        raise UsageError(
            f"ccvs: a discriminator sees {len(x)} samples at once, which cannot be split into groups of {group}; "
            "make training.batch, divided by training.accumulate and processes, an even number (see video_share too)"
        )
    groups = x.unflatten(0, (group, -1))
    deviation = (groups.var(0, unbiased=False) + 1e-8).sqrt()
    mean = deviation.flatten(1).mean(1).view(-1, *[1] * (x.ndim - 1))
    return torch.cat([x, mean.repeat(group, *[1] * (x.ndim - 1)).expand(-1, 1, *x.shape[2:])], 1)


def _stages(widths: Sequence[int], size: tuple[int, int]) -> tuple[list[int], tuple[int, int]]:
    """Return the width after each halving down to about 4 pixels, and the size that is left."""
    count = int(log2(min(size))) - 2
    padded = [*widths, *[widths[-1]] * count]
    return padded[: count + 1], (size[0] >> count, size[1] >> count)


class ImageDiscriminator(nn.Module):
    """Pictures (N, 3, H, W) -> a logit each; N must be a multiple of 4."""

    def __init__(self, widths: Sequence[int], size: tuple[int, int]) -> None:
        super().__init__()
        widths, left = _stages(widths, size)
        residuals = (JudgeResidual(*pair) for pair in itertools.pairwise(widths))
        self.convs = nn.Sequential(JudgeConv(3, widths[0], 1), *residuals)
        self.final_conv = JudgeConv(widths[-1] + 1, widths[-1], 3)
        self.final_linear = nn.Sequential(
            Linear(widths[-1] * left[0] * left[1], widths[-1], active=True), Linear(widths[-1], 1)
        )

    def forward(self, pictures: Tensor) -> Tensor:
        return self.final_linear(self.final_conv(spread(self.convs(pictures), GROUP)).flatten(1))


class VideoDiscriminator(nn.Module):
    """Clips (N, T, 3, H, W) -> a logit each; N must be below 4 or a multiple of it."""

    def __init__(self, widths: Sequence[int], size: tuple[int, int], frames: int) -> None:
        super().__init__()
        widths, left = _stages(widths, size)
        layers: list[nn.Module] = [JudgeConv3d(3, widths[0], (1, 1))]
        for pair in itertools.pairwise(widths):
            layers.append(JudgeResidual3d(*pair, shorten=frames > 2))
            frames -= 2 if frames > 2 else 0
        self.convs = nn.Sequential(*layers)
        self.final_conv = JudgeConv3d(widths[-1] + 1, widths[-1], (3, 3), time_padding=1)
        self.final_linear = nn.Sequential(
            Linear(widths[-1] * frames * left[0] * left[1], widths[-1], active=True), Linear(widths[-1], 1)
        )

    def forward(self, clips: Tensor) -> Tensor:
        x = self.convs(clips.transpose(1, 2))
        return self.final_linear(self.final_conv(spread(x, min(len(x), GROUP))).flatten(1))
