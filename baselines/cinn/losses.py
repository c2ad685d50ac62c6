"""The losses of the three stages.

CompVis/image2video-synthesis-using-cINNs:stage1_VAE/modules/loss.py, stage2_cINN/modules/loss.py, stage2_cINN/AE/modules/loss.py.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def kl(mean: Tensor, logvar: Tensor) -> Tensor:
    """Return the divergence of Gaussians (B, D) from the standard one, summed over D, the mean over the batch."""
    return 0.5 * (mean.square() + logvar.exp() - 1 - logvar).sum(1).mean()


def moving(first: Tensor, made: Tensor, real: Tensor) -> Tensor:
    """Return the mean absolute error of (B, T, ...) times how far real numbers are from those of the first frames (B, ...)."""
    return ((made - real) * (real - first[:, None])).abs().mean()


def hinge(real: Tensor, fake: Tensor) -> Tensor:
    """Return a discriminator's loss of its logits."""
    return 0.5 * (F.relu(1 - real).mean() + F.relu(1 + fake).mean())


def feature_matching(real: Sequence[Tensor], fake: Sequence[Tensor]) -> Tensor:
    """Return the mean absolute difference of a discriminator's maps, the mean over the layers."""
    return torch.stack([F.l1_loss(b, a) for a, b in zip(real, fake, strict=True)]).mean()


def gradient_penalty(logits: Tensor, clips: Tensor) -> Tensor:
    """Return the squared gradient of the mean logit by the clips (B, ...), the mean over them.

    That it is of the mean, not of each clip's logit, divides it by the square of the batch: as released.
    """
    (gradient,) = torch.autograd.grad(logits.mean(), clips, create_graph=True)
    return gradient.square().flatten(1).sum(1).mean()


def flow(noise: Tensor, logdet: Tensor) -> Tensor:
    """Return the negative log-likelihood of codes that became noise (B, D), without the constant of the Gaussian."""
    return (0.5 * noise.square().sum(1) - logdet).mean()


def adaptive_weight(likelihood: Tensor, adversarial: Tensor, weight: Tensor) -> Tensor:
    """Return the factor that gives both losses gradients of one length at a weight."""
    ours, theirs = (
        torch.autograd.grad(loss, weight, retain_graph=True)[0].norm() for loss in (likelihood, adversarial)
    )
    return (ours / (theirs + 1e-4)).clamp(0, 1e4).detach()
