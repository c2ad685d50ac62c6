"""The first stage: a conditional video VAE with a spatial and a temporal discriminator."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vbench_ctl.baselines.cinn import losses, perceptual
from vbench_ctl.baselines.cinn.networks import Decoder, Encoder, PatchDiscriminator, TemporalDiscriminator
from vbench_ctl.baselines.cinn.settings import Settings
from vbench_ctl.frames import normalised, pixels, psnr
from vbench_ctl.training import Batch, Update

BETAS = (0.5, 0.9)


class Drawn(NamedTuple):
    """What is random in a step."""

    noise: Tensor  # (B, D) of the posterior
    start: int  # of the frames that the temporal discriminator sees
    picks: Tensor  # frames that the other one sees, numbers below B * T


class VideoStage(nn.Module):
    """Video encoder, decoder and discriminators with their losses."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.settings = settings
        self.encoder = encoder(settings)
        self.decoder = decoder(settings)
        self.temporal = TemporalDiscriminator(
            settings.temporal_widths, settings.temporal_strides_time, settings.temporal_strides_space
        )
        self.patch = PatchDiscriminator(settings.patch_width)

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """Return one Adam for encoder and decoder and one for each discriminator."""
        parts = {
            "vae": [*self.encoder.parameters(), *self.decoder.parameters()],
            "temporal": [*self.temporal.parameters()],
            "patch": [*self.patch.parameters()],
        }
        rate, decay = self.settings.video_rate, self.settings.video_decay
        return {name: torch.optim.Adam(part, rate, BETAS, weight_decay=decay) for name, part in parts.items()}

    def rates(self, step: int) -> dict[str, float]:
        """Return the factors on the learning rates; those of the discriminators start to fall when they start."""
        settings, done = self.settings, step // self.settings.video_pass
        late = settings.video_rate_factor ** max(done - settings.video_warmup, 0)
        return {"vae": settings.video_rate_factor**done, "temporal": late, "patch": late}

    def updates(self, batch: Batch, step: int) -> Iterator[Update]:
        """Yield the updates of both discriminators, then of the VAE, which meets the new ones; at first only its own."""
        frames = normalised(batch["frames"])
        return self.parts(frames, self.drawn(frames), step >= self.settings.video_warmup * self.settings.video_pass)

    def drawn(self, frames: Tensor) -> Drawn:
        """Draw what is random for frames (B, 1 + T, 3, H, W)."""
        settings, (count, length) = self.settings, frames.shape[:2]
        noise = torch.randn(count, settings.code, device=frames.device)
        # On the processor: no waiting for a GPU.
        start = int(torch.randint(max(length - settings.temporal_frames, 1), ()))
        return Drawn(noise, start, torch.randint(count * (length - 1), (settings.patch_frames,)).to(frames.device))

    def parts(self, frames: Tensor, drawn: Drawn, adversarial: bool) -> Iterator[Update]:
        """Yield the updates of a step for frames (B, 1 + T, 3, H, W) in [-1, 1].

        The discriminators look at the clips even while they have no say: their norms follow as in the release. One that
        never has a say, its weights being 0, is left out.
        """
        settings, first, real = self.settings, frames[:, 0], frames[:, 1:]
        mean, logvar = self.encoder(real)
        made = self.decoder(first, sampled(mean, logvar, drawn.noise))
        window = slice(drawn.start, drawn.start + settings.temporal_frames)
        real_window, made_window = real[:, window], made[:, window]
        real_picks, made_picks = (clips.flatten(0, 1)[drawn.picks] for clips in (real, made))

        over_time, of_frames = settings.weight_temporal or settings.weight_features, settings.weight_patch
        if over_time:
            update = self._temporal_update(real_window, made_window.detach())
            if adversarial:
                yield update
        if of_frames:
            update = self._patch_update(real_picks, made_picks.detach())
            if adversarial:
                yield update

        terms = {
            "pixels": F.l1_loss(made, real),
            "perceptual": self._perceptual(real, made),
            "kl": losses.kl(mean, logvar),
        }
        if settings.weight_moving:
            terms["moving"] = losses.moving(first, made, real)
        own = list(terms)
        if over_time:
            logits, maps = self.temporal(made_window)
            terms["temporal"] = -logits.mean()
            terms["features"] = losses.feature_matching(self.temporal(real_window)[1], maps)
        if of_frames:
            terms["patch"] = -self.patch(made_picks).mean()
        counted = terms if adversarial else own
        total = torch.stack([getattr(settings, f"weight_{name}") * terms[name] for name in counted]).sum()
        yield Update("vae", total, {name: term.detach() for name, term in terms.items()})

    def _temporal_update(self, real: Tensor, made: Tensor) -> Update:
        real = real.detach().requires_grad_()
        fake_logits, real_logits = self.temporal(made)[0], self.temporal(real)[0]
        hinge = losses.hinge(real_logits, fake_logits)
        penalty = losses.gradient_penalty(real_logits, real)
        logs = {"hinge": hinge, "penalty": penalty, "real": real_logits.mean(), "fake": fake_logits.mean()}
        return Update(
            "temporal",
            hinge + self.settings.weight_penalty * penalty,
            {name: value.detach() for name, value in logs.items()},
        )

    def _patch_update(self, real: Tensor, made: Tensor) -> Update:
        # The made frames come first: the first batch that the discriminator sees sets its norms, as in the release.
        fake_logits = self.patch(made)
        real_logits = self.patch(real)
        logs = {"real": real_logits.mean().detach(), "fake": fake_logits.mean().detach()}
        return Update("patch", losses.hinge(real_logits, fake_logits), logs)

    def _perceptual(self, real: Tensor, made: Tensor) -> Tensor:
        if not self.settings.weight_perceptual:
            return made.new_zeros(())
        return self.distance(made.device)(real.flatten(0, 1), made.flatten(0, 1)).mean()

    def distance(self, device: torch.device) -> nn.Module:
        """Return the perceptual distance; it is no part of the system, so that nothing trains or saves it."""
        return perceptual.load(device, self.settings.reference_dropout)

    def evaluate(self, batch: Batch, step: int) -> dict[str, float]:
        """Return how near the reconstructions are."""
        frames = normalised(batch["frames"])
        made, mean, logvar = self._reconstructed(frames)
        return {
            "pixels": float(F.l1_loss(made, frames[:, 1:])),
            "perceptual": float(self._perceptual(frames[:, 1:], made)),
            "kl": float(losses.kl(mean, logvar)),
            "psnr": psnr(frames[:, 1:], made),
        }

    def pictures(self, batch: Batch, step: int) -> list[tuple[str, np.ndarray]]:
        """Return clips and what becomes of them, each uint8 (T, H, W, 3)."""
        frames = normalised(batch["frames"][:3])
        made = torch.cat([frames[:, :1], self._reconstructed(frames)[0]], 1)
        pairs = zip(pixels(frames).cpu().numpy(), pixels(made).cpu().numpy(), strict=True)
        return [row for real, again in pairs for row in (("real", real), ("reconstruction", again))]

    def _reconstructed(self, frames: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean, logvar = self.encoder(frames[:, 1:])
        return self.decoder(frames[:, 0], sampled(mean, logvar, torch.randn_like(mean))), mean, logvar


def encoder(settings: Settings) -> Encoder:
    """Return a new video encoder."""
    return Encoder(
        settings.encoder_widths, settings.encoder_strides_time, settings.encoder_strides_space, settings.code
    )


def decoder(settings: Settings) -> Decoder:
    """Return a new video decoder."""
    return Decoder(
        settings.decoder_width,
        settings.code,
        settings.upsample_time,
        settings.upsample_space,
        settings.spade_width,
        settings.decode_change,
    )


def sampled(mean: Tensor, logvar: Tensor, noise: Tensor) -> Tensor:
    """Return a sample (B, D) of Gaussians."""
    return mean + (0.5 * logvar).exp() * noise
