"""Convolutions divided by their largest singular value, in the layout of the released checkpoints."""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPS = 1e-12  # of torch.nn.utils.spectral_norm, as the release uses it
DEVIATION = 0.02  # of fresh weights; the release leaves those of transposed convolutions as torch draws them


class How(NamedTuple):
    """How a kernel moves."""

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    transposed: bool


class Convolution(nn.Module):
    """A convolution with a weight and a bias, plain or transposed, over 1, 2 or 3 axes."""

    def __init__(self, weight: Tensor, bias: Tensor, how: How):
        super().__init__()
        self.weight, self.bias, self.how = nn.Parameter(weight), nn.Parameter(bias), how

    def forward(self, x: Tensor) -> Tensor:
        return convolved(x, self.effective(), self.bias, self.how)

    def effective(self) -> Tensor:
        """Return the weight that is used."""
        return self.weight


class Spectral(nn.Module):
    """A convolution whose weight is divided by an estimate of its largest singular value.

    In training each call improves the estimate by one power iteration; else the stored vectors are used as they are.
    """

    weight_u: Tensor
    weight_v: Tensor

    def __init__(self, weight: Tensor, bias: Tensor, how: How):
        super().__init__()
        outputs = weight.shape[1 if how.transposed else 0]
        self.bias, self.weight_orig, self.how = nn.Parameter(bias), nn.Parameter(weight), how
        self.register_buffer("weight_u", F.normalize(torch.randn(outputs), dim=0, eps=EPS))
        self.register_buffer("weight_v", F.normalize(torch.randn(weight.numel() // outputs), dim=0, eps=EPS))

    def forward(self, x: Tensor) -> Tensor:
        return convolved(x, self.effective(), self.bias, self.how)

    def effective(self) -> Tensor:
        """Return the weight that is used, of the shape of `weight_orig`."""
        with torch.autocast(self.weight_orig.device.type, enabled=False):
            if self.training:
                self._iterate()
            return self.weight_orig / self._largest()

    def _rows(self) -> Tensor:
        """Return the weight as groups of rows (G, outputs, numbers): transposed ones begin with the inputs."""
        return self.weight_orig.flatten(2) if self.how.transposed else self.weight_orig.flatten(1)[None]

    def _largest(self) -> Tensor:
        """Return u^T W v, through which gradients flow into W."""
        u, v = self.weight_u.clone(), self.weight_v.clone()  # later calls change them before the backward pass
        return (u * _times(self._rows(), v)).sum()

    @torch.no_grad()
    def _iterate(self) -> None:
        rows = self._rows()
        self.weight_v.copy_(F.normalize((self.weight_u[None, None] @ rows).flatten(), dim=0, eps=EPS))
        self.weight_u.copy_(F.normalize(_times(rows, self.weight_v), dim=0, eps=EPS))

    @torch.no_grad()
    def frozen(self, norm: nn.BatchNorm3d | None = None) -> Convolution:
        """Return the plain convolution that this one is in evaluation mode, with the batch norm after it."""
        weight, bias = self.weight_orig / self._largest(), self.bias.clone()
        if norm is not None:
            assert norm.running_mean is not None and norm.running_var is not None
            scale = norm.weight / (norm.running_var + norm.eps).sqrt()
            outputs = [1] * weight.dim()
            outputs[1 if self.how.transposed else 0] = -1
            weight, bias = weight * scale.view(outputs), (bias - norm.running_mean) * scale + norm.bias
        return Convolution(weight, bias, self.how)


def _times(rows: Tensor, v: Tensor) -> Tensor:
    """Multiply groups of rows (G, N, M) by a vector of all their numbers (G M,)."""
    return (rows @ v.view(len(rows), -1, 1)).sum((0, 2))


def convolved(x: Tensor, weight: Tensor, bias: Tensor, how: How) -> Tensor:
    """Apply a weight to (B, C, ...)."""
    if how.transposed:
        return F.conv_transpose3d(x, weight, bias, how.stride, how.padding)
    run = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}[weight.dim() - 2]
    return run(x, weight, bias, how.stride, how.padding)


def plain(
    inputs: int,
    outputs: int,
    kernel: tuple[int, ...],
    stride: tuple[int, ...] = (),
    padding: tuple[int, ...] = (),
) -> tuple[Tensor, Tensor, How]:
    """Return the fresh weight and bias of a convolution, and how it moves: by 1 and unpadded unless told."""
    weight = torch.randn(outputs, inputs, *kernel) * DEVIATION
    how = How(stride or (1,) * len(kernel), padding or (0,) * len(kernel), transposed=False)
    return weight, _uniform(outputs, fan_in=inputs * math.prod(kernel)), how


def transposed(
    inputs: int, outputs: int, kernel: tuple[int, ...], stride: tuple[int, ...], padding: tuple[int, ...]
) -> tuple[Tensor, Tensor, How]:
    """Return the same of a transposed convolution, whose fresh weights are torch's own."""
    fan_in = outputs * math.prod(kernel)  # as torch counts it here
    weight = _uniform(inputs, outputs, *kernel, fan_in=fan_in)
    return weight, _uniform(outputs, fan_in=fan_in), How(stride, padding, transposed=True)


def _uniform(*shape: int, fan_in: int) -> Tensor:
    return (2 * torch.rand(shape) - 1) / math.sqrt(fan_in)
