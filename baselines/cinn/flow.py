"""The conditional flow between codes of motion and noise: a bijection for each start frame.

CompVis/image2video-synthesis-using-cINNs:stage2_cINN/modules.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vbench_ctl.baselines.cinn.norms import ActNorm

LEAK = 0.9  # slope of the invertible leaky ReLU
CONTROLLED = 4  # with a control only every fourth coupling looks at the code


class Pair(nn.Module):
    """Two linear layers side by side: (2, B, inputs) -> (2, B, outputs), in one product of matrices."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        bound = inputs**-0.5  # as nn.Linear begins
        self.weight = nn.Parameter(torch.empty(2, inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(2, 1, outputs).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        return torch.baddbmm(self.bias, x, self.weight)


class ScaleAndShift(nn.Module):
    """Two networks in step: (B, inputs) -> log-scale and shift, each (B, outputs)."""

    def __init__(self, inputs: int, outputs: int, hidden: int, depth: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Pair(*sizes) for sizes in pairwise((inputs, *[hidden] * (depth + 1), outputs)))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = x.expand(2, *x.shape)
        for layer in self.layers[:-1]:
            x = F.leaky_relu(layer(x))
        scale, shift = self.layers[-1](x)
        return scale, shift


class Coupling(nn.Module):
    """Changes each half of a code by what the other half and the condition say; the halves come out swapped.

    A `blind` one asks the condition alone.
    """

    def __init__(self, width: int, condition: int, hidden: int, depth: int, blind: bool = False) -> None:
        super().__init__()
        self.blind = blind
        inputs = condition if blind else width // 2 + condition
        self.first = ScaleAndShift(inputs, width // 2, hidden, depth)
        self.second = ScaleAndShift(inputs, width // 2, hidden, depth)

    def forward(self, x: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """Return the changed code and the logarithms of the volume change (B,)."""
        a, b = x.chunk(2, 1)
        scale, shift = self.first(self._seen(a, condition))
        b = b * scale.exp() + shift
        also, shift = self.second(self._seen(b, condition))
        a = a * also.exp() + shift
        return torch.cat([b, a], 1), (scale + also).sum(1)

    def inverse(self, x: Tensor, condition: Tensor) -> Tensor:
        b, a = x.chunk(2, 1)
        scale, shift = self.second(self._seen(b, condition))
        a = (a - shift) * (-scale).exp()
        scale, shift = self.first(self._seen(a, condition))
        b = (b - shift) * (-scale).exp()
        return torch.cat([a, b], 1)

    def _seen(self, half: Tensor, condition: Tensor) -> Tensor:
        return condition if self.blind else torch.cat([half, condition], 1)


class FlowBlock(nn.Module):
    """ActNorm, leaky ReLU, coupling, permutation."""

    order: Tensor
    back: Tensor

    def __init__(self, width: int, condition: int, hidden: int, depth: int, blind: bool) -> None:
        super().__init__()
        self.norm = ActNorm(width)
        self.coupling = Coupling(width, condition, hidden, depth, blind)
        order = torch.randperm(width)
        self.register_buffer("order", order)
        self.register_buffer("back", order.argsort())

    def forward(self, x: Tensor, condition: Tensor, exact: bool = True) -> tuple[Tensor, Tensor]:
        """Return the changed code and the logarithms of the volume change (B,), without the leaky ReLU's if not exact."""
        x = self.norm(x)
        negative = x < 0
        x, change = self.coupling(torch.where(negative, LEAK * x, x), condition)
        change = change + self.norm.logdet()
        if exact:
            change = change + math.log(LEAK) * negative.sum(1, dtype=x.dtype)
        return x[:, self.order], change

    def inverse(self, x: Tensor, condition: Tensor) -> Tensor:
        x = self.coupling.inverse(x[:, self.back], condition)
        return self.norm.inverse(torch.where(x < 0, x / LEAK, x))


class Flow(nn.Module):
    """Codes (B, D) under conditions (B, C) <-> noise (B, D).

    `conditioning` says what a block sees of the condition: "none" all of it as it is, "parallel" its own linear map of
    it, "sequential" a linear map of what the block before saw. The paper's models have "none".
    """

    def __init__(
        self,
        width: int,
        condition: int,
        hidden: int = 512,
        depth: int = 2,
        blocks: int = 20,
        controlled: bool = False,
        conditioning: str = "none",
    ) -> None:
        super().__init__()
        self.conditioning = conditioning
        self.blocks = nn.ModuleList(
            FlowBlock(width, condition, hidden, depth, blind=controlled and number % CONTROLLED > 0)
            for number in range(blocks)
        )
        maps = 0 if conditioning == "none" else blocks
        self.maps = nn.ModuleList(nn.Linear(condition, condition) for _ in range(maps))

    def forward(self, code: Tensor, condition: Tensor, exact: bool = True) -> tuple[Tensor, Tensor]:
        """Return noise (B, D) and the log-determinants (B,); not exact, those the release reports.

        The release leaves out the leaky ReLU's part, log 0.9 for each negative number.
        """
        total = code.new_zeros(len(code))
        for block, seen in zip(self.blocks, self._seen(condition), strict=True):
            code, change = block(code, seen, exact)
            total = total + change
        return code, total

    def inverse(self, noise: Tensor, condition: Tensor) -> Tensor:
        """Return codes (B, D)."""
        seen = self._seen(condition)
        for block, each in zip(reversed(self.blocks), reversed(seen), strict=True):
            assert isinstance(block, FlowBlock)
            noise = block.inverse(noise, each)
        return noise

    def _seen(self, condition: Tensor) -> Sequence[Tensor]:
        if self.conditioning == "none":
            return [condition] * len(self.blocks)
        seen: list[Tensor] = []
        for linear in self.maps:
            before = seen[-1] if seen and self.conditioning == "sequential" else condition
            seen.append(linear(before))
        return seen
