"""Norms of weights and of activations that several networks of cINN share."""

from typing import TypeVar

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

Layer = TypeVar("Layer", nn.Conv2d, nn.Conv3d, nn.Linear)


class SpectralNorm(nn.Module):
    """Divides a weight by an estimate of its largest singular value; each use in training refines the estimate once."""

    u: Tensor
    v: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        rows, columns = weight.flatten(1).shape
        self.register_buffer("u", F.normalize(torch.randn(rows), dim=0))
        self.register_buffer("v", F.normalize(torch.randn(columns), dim=0))

    def forward(self, weight: Tensor) -> Tensor:
        with torch.autocast(weight.device.type, enabled=False):
            matrix, u, v = weight.flatten(1), self.u, self.v
            if self.training:
                with torch.no_grad():
                    v = F.normalize(matrix.T @ u, dim=0)
                    u = F.normalize(matrix @ v, dim=0)
                    self.u.copy_(u)
                    self.v.copy_(v)
            return weight / (u @ (matrix @ v))


class FrozenSpectralNorm(nn.Module):
    """Divides a weight by what one power iteration makes of a vector that stays as it was drawn.

    So it is a rough estimate for ever, and the gradient flows through the iteration: as released,
    CompVis/image2video-synthesis-using-cINNs:stage2_cINN/AE/modules/generator.py.
    """

    u: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.register_buffer("u", _unit(torch.randn(len(weight))))

    def forward(self, weight: Tensor) -> Tensor:
        with torch.autocast(weight.device.type, enabled=False):
            matrix = weight.flatten(1)
            v = _unit(matrix.T @ self.u)
            product = matrix @ v
            return weight / (_unit(product) @ product)


def _unit(x: Tensor) -> Tensor:
    return x / (x.norm() + 1e-4)


def spectral(layer: Layer, norm: type[nn.Module] = SpectralNorm) -> Layer:
    """Let a layer use its weight divided by its spectral norm."""
    parametrize.register_parametrization(layer, "weight", norm(layer.weight), unsafe=True)
    return layer


class ActNorm(nn.Module):
    """Scales and shifts the channels of (B, C, ...); the first batch in training sets both, so that it comes out normal.

    `axes` counts the axes after the channels.
    """

    initialized: Tensor

    def __init__(self, channels: int, axes: int = 0) -> None:
        super().__init__()
        shape = (1, channels, *[1] * axes)
        self.loc = nn.Parameter(torch.zeros(shape))
        self.scale = nn.Parameter(torch.ones(shape))
        self.register_buffer("initialized", torch.tensor(0, dtype=torch.uint8))
        self._asked = False  # the buffer, which lies on a GPU, need be asked only once

    def forward(self, x: Tensor) -> Tensor:
        if self.training and not self._asked:
            if not self.initialized:
                self._initialize(x.detach())
            self._asked = True
        return self.scale * (x + self.loc)

    def inverse(self, x: Tensor) -> Tensor:
        return x / self.scale - self.loc

    def logdet(self) -> Tensor:
        """Return the logarithm of the volume change at one position."""
        return self.scale.abs().log().sum()

    @torch.no_grad()
    def _initialize(self, x: Tensor) -> None:
        over = [axis for axis in range(x.ndim) if axis != 1]
        self.loc.copy_(-x.mean(over, keepdim=True))
        self.scale.copy_(1 / (x.std(over, keepdim=True) + 1e-6))
        self.initialized.fill_(1)
        if dist.is_available() and dist.is_initialized():  # all processes start from the first one's batch
            dist.broadcast(self.loc, 0)
            dist.broadcast(self.scale, 0)
