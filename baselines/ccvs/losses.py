"""The losses of CCVS's autoencoder."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from vbench_ctl.baselines.ccvs.fusion import Motion

Distance = Callable[[Tensor, Tensor], Tensor]  # of made and real pictures; real ones get no gradient
VGG_WEIGHTS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0)


def fooled(fake: Tensor) -> Tensor:
    """Return the generator's loss for logits of what it made."""
    return F.softplus(-fake).mean()


def told_apart(real: Tensor, fake: Tensor) -> Tensor:
    """Return the discriminator's loss."""
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def steepness(discriminator: Callable[[Tensor], Tensor], real: Tensor) -> Tensor:
    """Return the mean squared gradient of the logits by real pictures or clips (R1)."""
    real = real.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(discriminator(real).sum(), real, create_graph=True)
    return gradient.square().flatten(1).sum(1).mean()


def perceptual(maps: Callable[[Tensor], Sequence[Tensor]]) -> Distance:
    """Return the distance by the feature maps of a network; pictures go in as they are, not as ImageNet's."""

    def distance(made: Tensor, real: Tensor) -> Tensor:
        with torch.no_grad():
            wanted = maps(real)
        terms = (F.l1_loss(*pair) for pair in zip(maps(made), wanted, strict=True))
        return torch.stack([weight * term for weight, term in zip(VGG_WEIGHTS, terms, strict=True)]).sum()

    return distance


def occlusion(motions: Sequence[Motion], mask: Tensor) -> Tensor:
    """Return how far the finest level is from calling new what the context does not show: mask (N, 1, H, W)."""
    return (motions[-1].occlusion.sigmoid()[mask] - 1).square().mean()


def elastic_flow(motions: Sequence[Motion], flow: Tensor, mask: Tensor) -> Tensor:
    """Return how far the flow of each level is from the true one (N, 2, H, W) where the context shows it."""
    coarse = flow / 2 ** (len(motions) - 1)
    terms = []
    for motion in motions:
        size = motion.flow.shape[2:]
        wanted = F.interpolate(coarse, size, mode="bilinear", align_corners=False)
        shown = F.interpolate(mask.float(), size, mode="bilinear", align_corners=False) < 0.5
        chosen = shown.expand_as(wanted)
        terms.append((motion.flow - wanted)[chosen].square().mean())
    return torch.stack(terms).sum()
