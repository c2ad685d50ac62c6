"""The networks of GLASS: masks, shifts and inpainting (global), and states, actions, dynamics and rendering (local).

Parts are registered in the order in which the released checkpoints list their tensors: `released.py` relies on it.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vbench_ctl.baselines.glass.blocks import (
    SLOPE,
    ConvLSTM,
    Memory,
    Modulated,
    Residual,
    Same,
    final,
    stacked,
    up,
    up_late,
    whole,
)
from vbench_ctl.baselines.glass.settings import Settings
from vbench_ctl.baselines.glass.strokes import random_strokes

SHRINK = 8  # pixels of a frame per place of the encoder's state, in both directions
HOLE = -1.1  # what inpainting sees in place of masked pixels; frames lie in [-1, 1]


def over_time(network: Callable[..., Tensor], *videos: Tensor) -> Tensor:
    """Run a network of (N, ...) on videos (B, T, ...) as one batch, clip by clip."""
    made = network(*(video.flatten(0, 1) for video in videos))
    return made.unflatten(0, videos[0].shape[:2])


class Masking(nn.Module):
    """Frames (N, 3, H, W) -> soft masks of the foreground (N, 1, H, W)."""

    def __init__(self, widths: tuple[int, int]) -> None:
        super().__init__()
        thin, wide = widths
        self.layers = nn.Sequential(
            Same(3, thin, bias=True),
            Residual(thin, wide, pool=2),
            Residual(wide, wide, pool=2),
            *(Residual(wide, wide) for _ in range(9)),
            up(wide, thin),
            Residual(thin, thin),
            up(thin, thin),
            Residual(thin, thin),
            nn.Conv2d(thin, 1, 3, padding=1),
        )

    def forward(self, frames: Tensor) -> Tensor:
        return whole(self.layers(frames)).sigmoid()


class Motion(nn.Module):
    """Two frames (N, 3, H, W) -> the shift (N, 2) between them: x and y, in halves of the width and the height."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(Same(6, 16, pool=2), Same(16, 32, pool=2), Same(32, 32), Same(32, 64, pool=2), Same(64, 128)),
            *(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
            *_perceptron(128, 64, 32, 2),
        )
        last = self.layers[-1]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.weight)
        nn.init.normal_(last.bias, std=1e-4)  # hardly any shift at first

    def forward(self, before: Tensor, after: Tensor) -> Tensor:
        return whole(self.layers(torch.cat([before, after], 1)))


class Inpainting(nn.Module):
    """Fill the masked pixels of frames (N, 3, H, W), masks (N, 1, H, W); the others stay as they are."""

    def __init__(self, enlarge: bool = False, strokes: bool = False) -> None:
        super().__init__()
        self.enlarge, self.strokes = enlarge, strokes
        self.layers = nn.Sequential(
            *(Same(3, 16, pool=2), Same(16, 32, pool=2), Same(32, 32), Same(32, 64, pool=2), Same(64, 64)),
            *(Same(64, 64), up(64, 32), up(32, 32), up(32, 16), Same(16, 3)),
        )

    def forward(self, frames: Tensor, masks: Tensor) -> Tensor:
        if self.enlarge:
            masks = F.max_pool2d(masks, 3, stride=1, padding=1)  # the release forgot the stride, and the result
        if self.strokes and self.training:
            masks = 1 - (1 - masks) * (1 - random_strokes(masks))
        return frames * (1 - masks) + whole(self.layers(patched(frames, masks))) * masks


def patched(frames: Tensor, masks: Tensor) -> Tensor:
    """Return the frames with a hole where the mask is."""
    return frames * (1 - masks) + HOLE * masks


class Encoder(nn.Module):
    """Frames (N, 3, H, W) -> state (N, width, H/8, W/8) and attention (N, 1, H/8, W/8), which may be negative."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            Same(3, 16, pool=2),
            *(Residual(16, 16), Residual(16, 32, pool=2), Residual(32, 32)),
            *(Residual(32, 64, pool=2), Residual(64, 64), Residual(64, width + 1)),
        )

    def forward(self, frames: Tensor) -> Tensor:
        """Return both on one channel axis, the attention last."""
        return self.layers(frames)


class Quantised(NamedTuple):
    """Codes (..., width), their choice (...,) or weights (..., codes), and the loss of their distance."""

    codes: Tensor
    choice: Tensor
    loss: Tensor


RECENT = 1024  # transitions that codes begin again from
ROUNDS = 20  # of k-means, which codes begin by
IDLE = 0.1  # of how often codes are chosen on average: those that are so often, or less, begin again


class Codebook(nn.Module):
    """The nearest of K learnt codes (van den Oord et al., 2017); gradients pass straight through."""

    recent: Tensor

    def __init__(self, codes: int, width: int, recent: int = 0) -> None:
        super().__init__()
        self.codes = nn.Parameter(torch.empty(codes, width).uniform_(-1 / codes, 1 / codes))
        if recent:  # what codes were lately sought for, to begin again from
            self.register_buffer("recent", torch.zeros(recent, width))

    def distances(self, z: Tensor) -> Tensor:
        """Return the squared distance of (..., width) to every code: (..., codes)."""
        return (z[..., None, :] - self.codes).square().sum(-1)

    def forward(self, z: Tensor) -> Quantised:
        if self.training and hasattr(self, "recent"):
            self.recent.copy_(torch.cat([self.recent, z.detach().flatten(0, -2)])[-len(self.recent) :])
        choice = self.distances(z).argmin(-1)
        nearest = self.codes[choice]
        # 0.25 weighs the codes' way to z, not z's way to the codes: the reverse of the paper's, as released.
        loss = F.mse_loss(z, nearest.detach()) + 0.25 * F.mse_loss(nearest, z.detach())
        return Quantised(z + (nearest - z).detach(), choice, loss)

    @property
    def sought(self) -> Tensor:
        """What was sought lately; rows of zeros wait to be filled."""
        return self.recent[self.recent.any(1)]

    @torch.no_grad()
    def begin(self) -> None:
        """Put the codes at the centres of k clusters of what was sought lately, far from each other at first."""
        sought = self.sought
        centres = sought[torch.randint(len(sought), (1,), device=sought.device)]
        while len(centres) < len(self.codes):
            nearest = torch.cdist(sought, centres).amin(1)
            # The least chance decides only where all that was sought is a centre already.
            centres = torch.cat([centres, sought[nearest.square().clamp(min=1e-12).multinomial(1)]])
        for _ in range(ROUNDS):
            members = F.one_hot(torch.cdist(sought, centres).argmin(1), len(centres)).to(centres)
            counts = members.sum(0)[:, None]
            centres = torch.where(counts > 0, (members.T @ sought) / counts.clamp(min=1), centres)
        self.codes.copy_(centres)

    @torch.no_grad()
    def revive(self) -> None:
        """Move idle codes to something sought lately."""
        sought = self.sought
        counts = self.distances(sought).argmin(-1).bincount(minlength=len(self.codes))
        idle = (counts <= IDLE * len(sought) / len(self.codes)).nonzero()[:, 0]
        picks = torch.randint(len(sought), (len(idle),), device=sought.device)
        self.codes[idle] = sought[picks]


class Actions(nn.Module):
    """What happened between two encoded foregrounds, as one of K codes; the first is already shifted."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        width = settings.state_width
        self.gumbel, self.plain = settings.gumbel, settings.plain_direction
        self.always_noisy = settings.reference_noise
        self.pool = nn.Sequential(
            Residual(width, 2 * width, pool=2), Residual(2 * width, width), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        )
        # The release has it in its checkpoints and never calls it.
        self.unused = nn.Sequential(*_perceptron(width, 2 * width, width))
        sizes = ((width, 2 * width), (2 * width, 2 * width), (2 * width, 2 * width), (2 * width, width))
        self.bilinears = nn.ModuleList(nn.Bilinear(width, before, after) for before, after in sizes)
        self.linears = nn.ModuleList(nn.Linear(width, width) for _ in sizes)
        self.norms = nn.ModuleList(nn.BatchNorm1d(2 * width) for _ in sizes[:-1])
        self.head = nn.Sequential(
            *(
                [nn.Linear(width, settings.codes)]
                if self.gumbel
                else _perceptron(width, 2 * width, width, settings.code_width)
            )
        )
        self.codebook = Codebook(settings.codes, settings.code_width, RECENT if settings.revive_every else 0)

    def forward(self, before: Tensor, after: Tensor, temperature: float = 1.0) -> Quantised:
        """Return the codes of pairs of states with attention (N, width + 1, h, w)."""
        z = whole(self.head(self.direction(self._summary(before), self._summary(after))))
        if not self.gumbel:
            return self.codebook(z)
        logits = z.log_softmax(-1)
        if self.training or self.always_noisy:
            logits = logits - self.exponential(logits).log()
        weights = (logits / temperature).softmax(-1)
        return Quantised(weights @ self.codebook.codes, weights, weights.new_zeros(()))

    def direction(self, before: Tensor, after: Tensor) -> Tensor:
        """Return the way from one summary (N, width) to the next."""
        if self.plain:
            return after - before
        way = after
        for index, (linear, bilinear) in enumerate(zip(self.linears, self.bilinears, strict=True)):
            way = bilinear(whole(linear(before)), way)
            if index < len(self.norms):
                way = F.leaky_relu(self.norms[index](way), SLOPE)
        return way - before

    def exponential(self, like: Tensor) -> Tensor:
        """Draw from Exp(1); minus its logarithm is Gumbel noise."""
        return torch.empty_like(like).exponential_()

    def _summary(self, encoded: Tensor) -> Tensor:
        return whole(self.pool(encoded[:, :-1] * encoded[:, -1:]))


class Dynamics(nn.Module):
    """One step of the foreground's state under a global shift and a local action.

    Three stages with a memory each. The first sees the shift, the others the local action; all of them see both if
    the settings say joint input.
    """

    def __init__(self, settings: Settings, size: tuple[int, int]) -> None:
        super().__init__()
        state, hidden, noise = settings.compressed, settings.hidden, settings.noise
        self.noise, self.joint, self.modulated = noise, settings.joint_input, settings.modulated
        condition = state * 2 if self.joint else state
        half = (size[0] // 2, size[1] // 2)
        told = condition + noise
        widths = (state, 2 * hidden, hidden), (hidden, 2 * hidden, hidden), (size, half, size)
        self.recurrent = nn.ModuleList(
            nn.ModuleList([ConvLSTM(before + told, after, space), nn.BatchNorm2d(after)])
            for before, after, space in zip(*widths, strict=True)
        )
        if self.modulated:
            first: nn.Module = Modulated(hidden + noise, 2 * hidden, condition, pool=2)
            last: nn.Module = Modulated(hidden + noise, hidden, condition)
        else:
            first, last = Same(hidden + told, 2 * hidden, pool=2), Same(hidden + told, hidden)
        self.blocks = nn.ModuleList([first, up_late(2 * hidden + told, hidden), last])
        self.local_projection = nn.Linear(settings.code_width, state)
        self.global_projection = nn.Linear(2, state)

    def forward(
        self,
        state: Tensor,
        code: Tensor,
        shift: Tensor,
        memory: list[Memory] | None = None,
        noise: Tensor | None = None,
    ) -> tuple[Tensor, list[Memory]]:
        """Return the next hidden map (N, hidden, h, w) and the memory after it."""
        local, far = self.local_projection(code), self.global_projection(shift)
        both = torch.cat([local, far], 1)
        noise = state.new_zeros(len(state), self.noise) if noise is None else noise
        kept: list[Memory] = []
        x = state
        for stage, (pair, block) in enumerate(zip(self.recurrent, self.blocks, strict=True)):
            assert isinstance(pair, nn.ModuleList)
            lstm, norm = pair
            condition = both if self.joint else far if stage == 0 else local
            kept.append(lstm(stacked([x, condition, noise]), memory[stage] if memory else None))
            x = norm(kept[-1][0])
            if isinstance(block, Modulated):
                x = block(stacked([x, noise]), condition)
            else:
                x = block(stacked([x, condition, noise]))
        return x, kept


class Rendered(NamedTuple):
    """Pictures (N, 3, H / k, W / k) for k = 1, 2, 4, and the mask (N, 1, H, W) of what they show."""

    pictures: list[Tensor]
    mask: Tensor


class Renderer(nn.Module):
    """Hidden maps (N, hidden, H/8, W/8) -> pictures at three sizes, and a mask."""

    def __init__(self, hidden: int, code_width: int = 0) -> None:
        super().__init__()
        self.stages = nn.ModuleList(
            [
                nn.Sequential(up(hidden, 128), Residual(128, 128)),
                nn.Sequential(up(128, 64), Residual(64, 64)),
                up(64, 32),
            ]
        )
        self.heads = nn.ModuleList([final(128, 3, 3), final(64, 3, 3), final(32, 4, 7)])
        self.refinement = Residual(32 + 3 + code_width, 32) if code_width else None
        if self.refinement:
            for weight in self.heads[-1].parameters():
                nn.init.zeros_(weight[:3])  # no change at first

    def forward(self, x: Tensor, moved: Tensor, code: Tensor) -> Rendered:
        """Render a foreground, or how it differs under a code (N, width) from that before it, `moved` (N, 3, H, W)."""
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        if self.refinement:
            maps[-1] = self.refinement(stacked([x, moved, code]))
        quarter, half, full = (whole(head(x)) for head, x in zip(self.heads, maps, strict=True))
        picture, mask = full[:, :3], (full[:, 3:] + 1) / 2
        if self.refinement:
            picture = (moved + 2 * picture).clamp(-1, 1)
        return Rendered([picture, half, quarter], mask)


def _perceptron(first: int, *widths: int) -> list[nn.Module]:
    """Return linear layers with batch norm and leaky ReLU between them."""
    layers: list[nn.Module] = []
    for before, after in zip((first, *widths), widths, strict=False):
        layers += [nn.Linear(before, after), nn.BatchNorm1d(after), nn.LeakyReLU(SLOPE)]
    return layers[:-2]
