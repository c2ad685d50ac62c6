"""The frame autoencoder of CCVS, the estimator of states and the autoencoder of sound."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vbench_ctl.baselines.ccvs.fusion import Fusion, Motion
from vbench_ctl.baselines.ccvs.layers import Conv, Linear, Residual

COMMITMENT = 0.25

Features = list[Tensor]  # of one frame by resolution, fine to coarse: (B, F, h, w)


class Encoded(NamedTuple):
    """The latent map (N, width, h, w) and what the decoder may take over from this frame."""

    latent: Tensor
    features: Features


class Encoder(nn.Module):
    """Frames (N, 3, H, W) -> latent map at 1 / 2^(levels - 1) of the size."""

    def __init__(self, widths: Sequence[int], code_width: int, shared: float) -> None:
        super().__init__()
        self.shared = [int(shared * width) for width in widths]
        self.blocks = nn.Sequential(
            Conv(3, widths[0], 1),
            *(Residual(before, after, "down") for before, after in itertools.pairwise(widths)),
            Conv(widths[-1], code_width, 1),
        )

    def forward(self, frames: Tensor) -> Encoded:
        x, features = frames, []
        *blocks, last = self.blocks
        for block, count in zip(blocks, self.shared, strict=True):
            x = block(x)
            features.append(x[:, :count])
        return Encoded(last(x), features)


class Quantised(NamedTuple):
    """The nearest code words in place of vectors, their indices (words in order), and the loss."""

    values: Tensor
    indices: Tensor
    loss: Tensor


class Quantiser(nn.Module):
    """The nearest of K code words; the gradient passes through as if nothing had happened.

    As released, the encoder is drawn to the code words with weight 1 and they to it with 0.25, the reverse of VQ-VAE, and
    words that nothing is near to stay unused. `Healthy` mends both.
    """

    encoder_weight, codebook_weight = 1.0, COMMITMENT

    def __init__(self, codes: int, width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(codes, width)
        if width == 1:
            nn.init.uniform_(self.embedding.weight, 0, 1)
        else:
            nn.init.uniform_(self.embedding.weight, -1 / codes, 1 / codes)

    def forward(self, vectors: Tensor, channels: int = -3) -> Quantised:
        """Quantise along one dimension of a tensor."""
        last = vectors.float().movedim(channels, -1)
        flat = last.reshape(-1, self.embedding.embedding_dim)
        indices = self.nearest(flat.detach())
        words = self.embedding(indices)
        drawn = (words.detach() - flat).square().mean() * self.encoder_weight
        loss = drawn + (words - flat.detach()).square().mean() * self.codebook_weight
        values = words.view_as(last).movedim(-1, channels)
        return Quantised(vectors + (values - vectors).detach(), indices, loss)

    def nearest(self, flat: Tensor) -> Tensor:
        """Return the index of the word nearest to each vector (N, width)."""
        words = self.embedding.weight.detach()
        with torch.autocast(flat.device.type, enabled=False):
            distances = flat.square().sum(1, keepdim=True) + words.square().sum(1) - 2 * flat @ words.t()
        return distances.argmin(1)

    def words(self, indices: Tensor, size: tuple[int, int]) -> Tensor:
        """Return the latent map (..., width, h, w) of indices (..., h * w), row by row."""
        return self.embedding(indices).unflatten(-2, size).movedim(-1, -3)


class Healthy(Quantiser):
    """The same with VQ-VAE's weights, where words that are hardly used are put where the encoder's vectors are (ours).

    A word is hardly used when it gets less than 3% of its fair share, averaged over some batches: a word of average use
    that nothing is near any more is put elsewhere after 350 of them with a decay of 0.99, after 35 with 0.9.
    """

    encoder_weight, codebook_weight = COMMITMENT, 1.0
    LEAST, RESTARTS = 0.03, 256
    usage: Tensor
    candidates: Tensor

    def __init__(self, codes: int, width: int, decay: float) -> None:
        super().__init__(codes, width)
        self.decay = decay
        # Buffers, so that all processes of a training restart the same words with the same vectors.
        self.register_buffer("usage", torch.zeros(codes))
        self.register_buffer("candidates", torch.zeros(self.RESTARTS, width))

    @torch.no_grad()
    def restart(self) -> None:
        """Put unused words to vectors of the batch before; for the start of a training step."""
        if not self.usage.any():
            return
        unused = (self.usage < self.LEAST).nonzero()[: self.RESTARTS, 0]
        self.embedding.weight[unused] = self.candidates[: len(unused)]
        self.usage[unused] = 1.0

    @torch.no_grad()
    def observe(self, vectors: Tensor, indices: Tensor, channels: int = -3) -> None:
        """Count which words a batch used and keep some of its vectors."""
        flat = vectors.float().movedim(channels, -1).reshape(-1, self.embedding.embedding_dim)
        share = torch.zeros_like(self.usage).index_add_(0, indices, torch.ones_like(indices, dtype=self.usage.dtype))
        self.usage.lerp_(share * (len(share) / len(indices)), 1 - self.decay)
        self.candidates.copy_(flat[torch.randint(len(flat), (self.RESTARTS,), device=flat.device)])


def perplexity(indices: Tensor, codes: int) -> Tensor:
    """Return how many code words are in use, weighted by how often: K when all are equally."""
    share = torch.bincount(indices.flatten(), minlength=codes).float() / indices.numel()
    return (-(share * (share + 1e-10).log()).sum()).exp()


class Decoded(NamedTuple):
    """Frames (B, 3, H, W), and the motion at each level, coarse to fine, where there are contexts."""

    frames: Tensor
    motions: list[Motion]


class Decoder(nn.Module):
    """Latent maps -> frames, taking over what earlier frames show."""

    def __init__(self, widths: Sequence[int], code_width: int, shared: float, flow_widths: Sequence[int]) -> None:
        super().__init__()
        coarse_to_fine = list(reversed(widths))
        self.shared = [int(shared * width) for width in coarse_to_fine]
        self.blocks = nn.Sequential(
            Conv(code_width, coarse_to_fine[0], 1),
            *(Residual(*pair, "up") for pair in itertools.pairwise(coarse_to_fine)),
            Conv(coarse_to_fine[-1], 3, 1, active=False),
        )
        self.inter_blocks = nn.ModuleList(Fusion(count, level, flow_widths) for level, count in enumerate(self.shared))

    def forward(self, latent: Tensor, contexts: Sequence[Features] = ()) -> Decoded:
        """Decode (B, width, h, w) with the features of any number of frames; with none, fusion is left out."""
        x, motions = latent, list[Motion]()
        *blocks, last = self.blocks
        for level, block in enumerate(blocks):
            x = block(x)
            if contexts:
                given = torch.stack([features[-1 - level] for features in contexts], 1)
                count = self.shared[level]
                coarser = motions[-1] if motions else None
                fused, motion = self.inter_blocks[level](x[:, :count], given, coarser)
                x = torch.cat([fused, x[:, count:]], 1)
                motions.append(motion)
        return Decoded(last(x), motions)


class StateEstimator(nn.Module):
    """Quantised latent maps (N, width, h, w) -> where the arm is, (N, numbers) in (0, 1)."""

    def __init__(self, code_width: int, hidden: int, numbers: int, size: tuple[int, int] = (8, 8)) -> None:
        super().__init__()
        halvings = min(size).bit_length() - 1
        widths = [code_width, *[hidden] * halvings]
        self.convs = nn.Sequential(*(Conv(*pair, 3, "down") for pair in itertools.pairwise(widths)))
        self.fc = Linear(hidden * (size[0] >> halvings) * (size[1] >> halvings), numbers)

    def forward(self, latent: Tensor) -> Tensor:
        return self.fc(self.convs(latent).flatten(1)).sigmoid()


class SoundEncoder(nn.Module):
    """Slices of a spectrogram (N, 1, h, w) in [-1, 1] -> latent maps at an eighth of the size."""

    def __init__(self, hidden: int, code_width: int) -> None:
        super().__init__()
        self.convs = nn.Sequential(
            Conv(1, hidden, 1), *(Conv(hidden, hidden, 3, "down") for _ in range(3)), Conv(hidden, code_width, 3)
        )

    def forward(self, slices: Tensor) -> Tensor:
        return self.convs(slices)


class SoundDecoder(nn.Module):
    """The way back."""

    def __init__(self, hidden: int, code_width: int) -> None:
        super().__init__()
        self.convs = nn.Sequential(
            Conv(code_width, hidden, 3), *(Conv(hidden, hidden, 3, "up") for _ in range(3)), Conv(hidden, 1, 1)
        )

    def forward(self, latent: Tensor) -> Tensor:
        return F.tanh(self.convs(latent))
