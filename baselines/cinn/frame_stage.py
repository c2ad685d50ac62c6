"""The second stage: an autoencoder of single frames, whose encoder embeds the start frame for the flow."""

from collections.abc import Generator, Iterator

import numpy as np
import torch
from torch import Tensor, nn

from vbench_ctl.baselines.cinn import losses, perceptual
from vbench_ctl.baselines.cinn.frame_networks import FrameDecoder, FrameEncoder
from vbench_ctl.baselines.cinn.networks import PatchDiscriminator
from vbench_ctl.baselines.cinn.settings import Settings
from vbench_ctl.frames import normalised, pixels
from vbench_ctl.training import Batch, Update


class Plateau(nn.Module):
    """Halves the learning rate when a loss has not fallen for two passes; its state lies in checkpoints.

    torch.optim.lr_scheduler.ReduceLROnPlateau with factor 0.5, patience 1, threshold 1e-4 (absolute), as released.
    """

    best: Tensor
    bad: Tensor
    factor: Tensor
    FACTOR, PATIENCE, THRESHOLD = 0.5, 1, 1e-4
    LEAST = 1e-8  # of the rate, and of what it may change by

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.least = self.LEAST / rate  # as a factor
        self.register_buffer("best", torch.tensor(torch.finfo(torch.float32).max))
        self.register_buffer("bad", torch.tensor(0))
        self.register_buffer("factor", torch.tensor(1.0))

    @torch.no_grad()
    def note(self, loss: Tensor) -> None:
        """Take the loss of a pass."""
        better = loss < self.best - self.THRESHOLD
        self.best.copy_(torch.where(better, loss, self.best))
        self.bad.copy_(torch.where(better, 0, self.bad + 1))
        tired = self.bad > self.PATIENCE
        lower = (self.factor * self.FACTOR).clamp(min=self.least)
        self.factor.copy_(torch.where(tired & (self.factor - lower > self.least), lower, self.factor))
        self.bad.copy_(torch.where(tired, 0, self.bad))


class FrameStage(nn.Module):
    """Frame encoder, decoder and discriminator with their losses."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.settings = settings
        self.encoder = encoder(settings)
        self.decoder = FrameDecoder(
            settings.side,
            settings.embedding,
            settings.generator_width,
            settings.generator_classes,
            settings.generator_hidden,
        )
        self.patch = PatchDiscriminator(settings.patch_width)
        self.plateau = Plateau(settings.frame_rate)

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """Return one Adam for the autoencoder and one for the discriminator."""
        parts = {
            "autoencoder": [*self.encoder.parameters(), *self.decoder.parameters()],
            "patch": [*self.patch.parameters()],
        }
        return {name: torch.optim.Adam(part, self.settings.frame_rate) for name, part in parts.items()}

    def rates(self, step: int) -> dict[str, float]:
        """Return the factors on the learning rates."""
        factor = float(self.plateau.factor)
        return {"autoencoder": factor, "patch": factor}

    def updates(self, batch: Batch, step: int) -> Iterator[Update]:
        """Yield the update of the autoencoder, then, after the first passes, that of the discriminator."""
        settings = self.settings
        adversarial = step >= settings.frame_warmup * settings.frame_pass
        found = yield from self.parts(normalised(batch["frames"]).flatten(0, 1), adversarial)
        if (step + 1) % settings.frame_pass == 0:
            self.plateau.note(found)

    def parts(self, pictures: Tensor, adversarial: bool) -> Generator[Update, None, Tensor]:
        """Yield the updates for pictures (N, 3, H, W) in [-1, 1]; return the reconstruction's loss per number."""
        mean, logvar = self.encoder(pictures)
        made = self.decoder(mean)  # of the mean: the release draws nothing
        difference = (pictures - made).abs()
        if weight := self.settings.frame_weight_perceptual:
            difference = difference + weight * self.distance(made.device)(pictures, made)[:, None, None, None]
        likelihood = difference.sum() / len(pictures)
        divergence = losses.kl(mean, logvar)
        fooled = -self.patch(made).mean()
        balance = losses.adaptive_weight(likelihood, fooled, self.decoder.generator.last_weight)
        total = likelihood + self.settings.frame_weight_kl * divergence
        if adversarial:
            total = total + balance * fooled
        logs = {"likelihood": likelihood, "kl": divergence, "patch": fooled, "balance": balance}
        yield Update("autoencoder", total, {name: value.detach() for name, value in logs.items()})

        real_logits, fake_logits = self.patch(pictures), self.patch(made.detach())
        if adversarial:
            logs = {"real": real_logits.mean().detach(), "fake": fake_logits.mean().detach()}
            yield Update("patch", losses.hinge(real_logits, fake_logits), logs)
        return difference.detach().mean()

    def distance(self, device: torch.device) -> nn.Module:
        """Return the perceptual distance; it is no part of the system, so that nothing trains or saves it."""
        return perceptual.load(device, self.settings.reference_dropout)

    def evaluate(self, batch: Batch, step: int) -> dict[str, float]:
        """Return how near the reconstructions are."""
        pictures = normalised(batch["frames"]).flatten(0, 1)
        mean, logvar = self.encoder(pictures)
        return {
            "pixels": float((pictures - self.decoder(mean)).abs().mean()),
            "kl": float(losses.kl(mean, logvar)),
        }

    def pictures(self, batch: Batch, step: int) -> list[tuple[str, np.ndarray]]:
        """Return frames of the batch and what becomes of them, each uint8 (N, H, W, 3)."""
        pictures = normalised(batch["frames"]).flatten(0, 1)[:8]
        made = self.decoder(self.encoder(pictures)[0])
        return [("real", pixels(pictures).cpu().numpy()), ("reconstruction", pixels(made).cpu().numpy())]


def encoder(settings: Settings) -> FrameEncoder:
    """Return a new frame encoder."""
    return FrameEncoder(settings.embedding, settings.frame_norm, settings.small_encoder)
