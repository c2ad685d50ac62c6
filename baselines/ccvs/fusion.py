"""How the decoder of CCVS takes over from earlier frames: flow and occlusion by correlation, then a blend."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vbench_ctl.baselines.ccvs.layers import SLOPE, Conv, Equalised, correlation, warped

SHIFTS = 49
FLOOR = 1e-6  # keeps the blend finite where every context is occluded
PROJECTED = 16  # features that the correlation compares, at least


class Motion(NamedTuple):
    """Flow (N, 2, h, w) in pixels of the coarsest level and occlusion logits (N, 1, h, w), for each context."""

    flow: Tensor
    occlusion: Tensor


def doubling(channels: int) -> nn.ConvTranspose2d:
    """Return a learnt doubling of the size, each channel on its own."""
    return nn.ConvTranspose2d(channels, channels, 4, stride=2, padding=1, groups=channels, bias=False)


def estimator(before: int, widths: Sequence[int]) -> nn.Sequential:
    """Return the convolutions in front of the heads."""
    return nn.Sequential(*(Conv(*pair, 3) for pair in itertools.pairwise([before, *widths])))


class Heads(nn.Module):
    """What matching and refinement share: convolutions, and a head each for flow and occlusion."""

    def __init__(self, before: int, kernel: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.convs = estimator(before, widths)
        self.flow_head = Conv(widths[-1], 2, kernel, active=False)
        self.occ_head = Conv(widths[-1], 1, kernel, active=False)

    def corrected(self, hidden: Tensor, motion: Motion) -> Motion:
        """Add the two heads' outputs, computed together: three channels cost what one does."""
        flow, occlusion = self.flow_head[0], self.occ_head[0]
        assert isinstance(flow, Equalised) and isinstance(occlusion, Equalised)
        weight = torch.cat([flow.weight, occlusion.weight]) * flow.scale
        both = narrow(hidden, weight, torch.cat([flow.bias, occlusion.bias]))  # type: ignore[list-item]
        return Motion(motion.flow + both[:, :2], motion.occlusion + both[:, 2:])


class Matching(Heads):
    """A first estimate, from the correlation of decoder and warped context."""

    def __init__(self, features: int, level: int, kernel: int, widths: Sequence[int]) -> None:
        super().__init__(SHIFTS, kernel, widths)
        self.scale, self.stride = 2**level, 1 if level <= 2 else 2
        self.proj = Conv(features, max(PROJECTED, features // 4), 1) if features > PROJECTED else nn.Identity()
        if level:
            self.upsample_flow, self.upsample_occ = doubling(2), doubling(1)
        if self.stride > 1:
            self.upsample_corr = doubling(SHIFTS)

    def forward(self, decoded: Tensor, contexts: Tensor, coarser: Motion | None) -> Motion:
        """Match decoder features (B, F, h, w) with contexts (B * k, F, h, w)."""
        if coarser is None:
            empty = contexts.new_zeros(len(contexts), 3, *contexts.shape[2:])
            motion = Motion(empty[:, :2], empty[:, 2:])
        else:
            motion = Motion(self.upsample_flow(coarser.flow), self.upsample_occ(coarser.occlusion))
        # Only every stride-th pixel is compared, so the others are neither looked up nor projected.
        decoded = decoded[..., :: self.stride, :: self.stride]
        seen = contexts if coarser is None else warped(contexts, self.scale * motion.flow, self.stride)
        costs = F.leaky_relu(correlation(repeated(self.proj(decoded), seen), self.proj(seen)), SLOPE)
        if self.stride > 1:
            costs = self.upsample_corr(costs)
        return self.corrected(self.convs(costs), motion)


class Subpixel(Heads):
    """The refinement of an estimate."""

    def __init__(self, features: int, level: int, kernel: int, widths: Sequence[int]) -> None:
        super().__init__(2 * features + 3, kernel, widths)
        self.scale = 2**level

    def forward(self, decoded: Tensor, contexts: Tensor, motion: Motion) -> Motion:
        """Refine with decoder features (B, F, h, w) and contexts (B * k, F, h, w)."""
        moved = torch.cat([warped(contexts, self.scale * motion.flow), *motion], 1)
        first, *others = list(self.convs)
        assert isinstance(first, Conv) and isinstance(first[0], Equalised)
        layer, activation = first[0], first[1]
        # The part of the first convolution that sees the decoder is the same for all contexts.
        weight, width = layer.weight * layer.scale, decoded.shape[1]
        seen = F.conv2d(decoded, weight[:, :width], layer.bias, padding=1)
        each_context = F.conv2d(moved, weight[:, width:], padding=1).unflatten(0, (len(decoded), -1))
        hidden = activation(each_context.add_(seen[:, None]).flatten(0, 1))
        for each in others:
            hidden = each(hidden)
        return self.corrected(hidden, motion)


class Fusion(nn.Module):
    """One level: matching, refinement, blend. Level 0 is the coarsest."""

    def __init__(self, features: int, level: int, widths: Sequence[int]) -> None:
        super().__init__()
        kernel = 2 ** (level // 2 + 1) + 1
        self.scale = 2**level
        self.matching = Matching(features, level, kernel, widths)
        self.subpixel = Subpixel(features, level, kernel, widths)

    def forward(self, decoded: Tensor, contexts: Tensor, coarser: Motion | None) -> tuple[Tensor, Motion]:
        """Blend decoder features (B, F, h, w) with contexts (B, k, F, h, w); return the motion of each context."""
        flat = contexts.flatten(0, 1)
        if flat.device.type == "cpu":  # where warps and convolutions of few channels take half the time in this order
            decoded, flat = (each.contiguous(memory_format=torch.channels_last) for each in (decoded, flat))
        motion = self.subpixel(decoded, flat, self.matching(decoded, flat, coarser))
        moved = warped(flat, self.scale * motion.flow)
        occlusion = motion.occlusion
        if contexts.shape[1] > 1:
            moved, occlusion = (each.unflatten(0, contexts.shape[:2]) for each in (moved, occlusion))
            weights = 1 - occlusion.sigmoid() + FLOOR
            weights = weights / weights.sum(1, keepdim=True)
            moved, occlusion = (weights * moved).sum(1), (weights * occlusion).sum(1)
        new = occlusion.sigmoid()
        return new * decoded + (1 - new) * moved, motion


def narrow(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Convolve (N, C, H, W) with a weight (few, C, k, k) of odd k, to the same size.

    A k x k convolution to a few channels leaves a processor's vectors nearly empty: so the weight's k columns become k
    times as many channels of a k x 1 convolution, whose results are then added where they belong.
    """
    count, channels, side = weight.shape[:3]
    columns = weight.permute(3, 0, 1, 2).reshape(side * count, channels, side, 1)
    apart = F.conv2d(x, columns, padding=(side // 2, 0))
    same, column = torch.eye(count, device=x.device), torch.eye(side, device=x.device)
    belong = torch.einsum("of,kx->okfx", same, column).reshape(count, side * count, 1, side)
    return F.conv2d(apart, belong, bias, padding=(0, side // 2))


def repeated(x: Tensor, like: Tensor) -> Tensor:
    """Repeat each of (B, ...) for its contexts, (B * k, ...)."""
    times = len(like) // len(x)
    return x if times == 1 else x.repeat_interleave(times, 0)
