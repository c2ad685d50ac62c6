"""Layers of GLASS: convolution blocks, the modulated convolution and the convolutional LSTM."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SLOPE = 0.2  # of every leaky ReLU


class Same(nn.Module):
    """3x3 convolution, average pooling, batch norm, leaky ReLU: (N, i, h, w) -> (N, o, h / pool, w / pool)."""

    def __init__(self, before: int, after: int, pool: int = 1, bias: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(before, after, 3, padding=1, bias=bias)
        self.norm = nn.BatchNorm2d(after)
        self.pool = pool

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(self.norm(pooled(self.conv(x), self.pool)), SLOPE)


class Residual(nn.Module):
    """Two 3x3 convolutions beside a skip: (N, i, h, w) -> (N, o, h / pool, w / pool)."""

    def __init__(self, before: int, after: int, pool: int = 1) -> None:
        super().__init__()
        self.first = Same(before, after, pool)
        self.conv = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(after)
        self.pool = pool
        self.skip: nn.Module = nn.Identity()
        if before != after or pool != 1:
            self.skip = nn.Sequential(nn.Conv2d(before, after, 1, bias=False), nn.BatchNorm2d(after))

    def forward(self, x: Tensor) -> Tensor:
        # The release pools after the 1x1 convolution; the two commute, and this way it costs a quarter.
        return F.leaky_relu(self.norm(self.conv(self.first(x))) + self.skip(pooled(x, self.pool)), SLOPE)


class Doubled(nn.Module):
    """Twice the height and width, bilinear, the corners staying where they are."""

    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)


def up(before: int, after: int) -> nn.Sequential:
    """Return a block that doubles the size and then convolves."""
    return nn.Sequential(Doubled(), Same(before, after))


def up_late(before: int, after: int) -> nn.Sequential:
    """Return a block that convolves and then doubles the size."""
    return nn.Sequential(Same(before, after), Doubled())


def final(before: int, after: int, kernel: int) -> nn.Sequential:
    """Return a convolution to values in (-1, 1)."""
    return nn.Sequential(nn.Conv2d(before, after, kernel, padding=kernel // 2), nn.Tanh())


def pooled(x: Tensor, pool: int) -> Tensor:
    """Return the means over pool x pool pixels."""
    return x if pool == 1 else F.avg_pool2d(x, pool)


class Modulated(nn.Module):
    """A 3x3 convolution whose input channels are scaled by a style: (N, i, h, w), (N, c) -> (N, o, h / pool, w / pool).

    The scales are divided by their root mean square over the whole batch. The demodulation undoes that but for its
    epsilon, so samples of a batch hardly feel each other.
    """

    def __init__(self, before: int, after: int, style: int, pool: int = 1) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(after, before, 3, 3))
        self.affine = nn.Linear(style, before)
        self.norm = nn.BatchNorm2d(after)
        self.pool = pool

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        y = modulated_conv(x, self.weight, whole(self.affine(style)))
        return F.leaky_relu(self.norm(pooled(y, self.pool)), SLOPE)


def modulated_conv(x: Tensor, weight: Tensor, scales: Tensor) -> Tensor:
    """Convolve (N, i, h, w) by (o, i, 3, 3) with input channels scaled by (N, i), at unit gain: (N, o, h, w).

    Scaling the input and the output is the same as scaling each sample's own kernel, with one convolution for all.
    """
    weight = weight * weight.square().mean((1, 2, 3), keepdim=True).rsqrt()
    scales = scales * scales.square().mean().rsqrt()
    # A sum of products, not a matrix product: mixed precision would round that.
    gain = ((scales.square()[:, None] * weight.square().sum((2, 3))).sum(-1) + 1e-8).rsqrt()  # (N, o)
    return F.conv2d(x * scales[:, :, None, None], weight, padding=1) * gain[:, :, None, None]


def whole(x: Tensor) -> Tensor:
    """Return what mixed precision left at half precision as float32: pixels, masks and shifts need it."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


Memory = tuple[Tensor, Tensor]  # hidden and cell state, (N, o, h, w) each


class ConvLSTM(nn.Module):
    """An LSTM whose gates are 3x3 convolutions: (N, i, h, w) -> (N, o, h, w). It learns the state it starts from."""

    def __init__(self, before: int, after: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.first_hidden = nn.Parameter(torch.zeros(after, *size))
        self.first_cell = nn.Parameter(torch.zeros(after, *size))
        self.gates = nn.ModuleList(nn.Conv2d(before + after, after, 3, padding=1) for _ in range(4))

    def forward(self, x: Tensor, memory: Memory | None) -> Memory:
        """Return the next memory; its hidden state is the output."""
        if memory is None:
            memory = (self.first_hidden.expand(len(x), -1, -1, -1), self.first_cell.expand(len(x), -1, -1, -1))
        hidden, cell = memory
        weight = torch.cat([gate.weight for gate in self.gates])  # type: ignore[misc]
        bias = torch.cat([gate.bias for gate in self.gates])  # type: ignore[misc]
        enter, keep, leave, value = F.conv2d(torch.cat([x, hidden], 1), weight, bias, padding=1).chunk(4, 1)
        cell = keep.sigmoid() * cell + enter.sigmoid() * value.tanh()
        return leave.sigmoid() * cell.tanh(), cell


def stacked(parts: Sequence[Tensor]) -> Tensor:
    """Concatenate maps (N, c, h, w) and vectors (N, c) on channels, the vectors repeated over the first map's size."""
    size = parts[0].shape[2:]
    return torch.cat([part if part.ndim == 4 else part[:, :, None, None].expand(-1, -1, *size) for part in parts], 1)
