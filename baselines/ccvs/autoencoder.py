"""The first stage of CCVS: the frame autoencoder and its two discriminators, as they are trained."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vbench_ctl.baselines.ccvs import elastic, losses
from vbench_ctl.baselines.ccvs.discriminators import ImageDiscriminator, VideoDiscriminator
from vbench_ctl.baselines.ccvs.frames import normalised, pixels
from vbench_ctl.baselines.ccvs.networks import Decoder, Encoder, Features, Healthy, Quantiser, perplexity
from vbench_ctl.baselines.ccvs.settings import Settings
from vbench_ctl.errors import UsageError, VbenchError
from vbench_ctl.frames import psnr
from vbench_ctl.training import Batch, Update

R1_EVERY = 16
SHOWN = 4  # clips on a sheet of samples


class Triple(NamedTuple):
    """Training pictures: an elastic view, another frame and the view's target, and what is known of the view."""

    pictures: Tensor  # (B, 3, 3, H, W): context, other frame, target
    flow: Tensor  # (B, 2, H, W)
    mask: Tensor  # (B, 1, H, W)


class Made(NamedTuple):
    """What an update is made of: pictures or clips, real and made, and the loss terms by name."""

    real: Tensor
    fake: Tensor
    terms: dict[str, Tensor]
    alone: Tensor | None = None  # frames made without context, where that is trained


class Autoencoder(nn.Module):
    """Encoder, quantiser and decoder for frames of one size."""

    def __init__(self, settings: Settings, height: int, width: int) -> None:
        super().__init__()
        shrink = 2 ** (len(settings.widths) - 1)
        if height % shrink or width % shrink:
            raise VbenchError(
                f"ccvs: the frames are {width}x{height}, and with {len(settings.widths)} model.widths their sides must be "
                f"multiples of {shrink}; resize them with data.size, or give fewer widths"
            )
        self.settings = settings
        self.frame_size, self.size = (height, width), (height // shrink, width // shrink)
        self.encoder = Encoder(settings.widths, settings.code_width, settings.shared)
        self.quantiser = (
            Healthy(settings.codes, settings.code_width, settings.codebook_decay)
            if settings.healthy_codebook
            else Quantiser(settings.codes, settings.code_width)
        )
        self.decoder = Decoder(settings.widths, settings.code_width, settings.shared, settings.flow_widths)

    @property
    def tokens(self) -> int:
        """Tokens of a frame."""
        return self.size[0] * self.size[1]

    def seen(self, frames: Tensor) -> Tensor:
        """Return frames uint8 (..., H, W, 3) as the networks see them."""
        if tuple(frames.shape[-3:-1]) != self.frame_size:
            height, width = self.frame_size
            found = "x".join(map(str, reversed(frames.shape[-3:-1])))
            raise VbenchError(f"ccvs: the frames are {found}, the model was trained with {width}x{height}; resize them")
        return normalised(frames, self.settings.imagenet_range)

    @torch.no_grad()
    def codes(self, frames: Tensor) -> tuple[Tensor, list[Features]]:
        """Return the codes (B, T * tokens) of frames (B, T, 3, H, W), and the features of each frame."""
        indices, features = [], []
        for frame in frames.unbind(1):
            encoded = self.encoder(frame)
            flat = encoded.latent.movedim(1, -1).flatten(0, 2)
            indices.append(self.quantiser.nearest(flat).view(len(frame), -1))
            features.append(encoded.features)
        empty = torch.zeros(len(frames), 0, dtype=torch.long, device=frames.device)
        return torch.cat([empty, *indices], 1), features


class System(Autoencoder):
    """The autoencoder with discriminators, losses and optimisers."""

    def __init__(self, settings: Settings, height: int, width: int) -> None:
        super().__init__(settings, height, width)
        widths, size = settings.discriminator_widths, (height, width)
        self.image_discriminator = ImageDiscriminator(widths, size)
        self.video_discriminator = VideoDiscriminator(widths, size, settings.clip_frames)

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """Return Adam for the autoencoder and Adam for both discriminators, slower for its additional R1 steps."""
        made = [*self.encoder.parameters(), *self.decoder.parameters(), *self.quantiser.parameters()]
        judging = [*self.image_discriminator.parameters(), *self.video_discriminator.parameters()]
        rate, ratio = self.settings.learning_rate, R1_EVERY / (R1_EVERY + 1)
        return {
            "autoencoder": torch.optim.Adam(made, rate, betas=(0.0, 0.99)),
            "discriminators": torch.optim.Adam(judging, rate * ratio, betas=(0.0, 0.99**ratio)),
        }

    def updates(self, batch: Batch, step: int) -> Iterator[Update]:
        """Yield the updates by pictures, then those by clips; every 16 steps also R1's."""
        frames = batch["frames"]
        if isinstance(self.quantiser, Healthy):
            self.quantiser.restart()
        for made, judge in self._halves(frames):
            yield Update("autoencoder", torch.stack(list(made.terms.values())).sum(), _logs(made.terms))
            if not self.settings.weight_adversarial:
                continue
            yield Update("discriminators", self.judgement(made, judge))
            if step % R1_EVERY == 0:
                yield Update("discriminators", self.penalty(judge, made.real))

    def _halves(self, frames: Tensor) -> Iterator[tuple[Made, nn.Module]]:
        """Yield what pictures and then what clips make, each with the weights of that moment."""
        yield self.of_pictures(self.triple(frames)), self.image_discriminator
        count = max(1, round(len(frames) * self.settings.video_share))
        yield self.of_clips(self.clips(frames[:count])), self.video_discriminator

    # Draws

    def triple(self, frames: Tensor) -> Triple:
        """Draw two frames of each window uint8 (B, T, H, W, 3) and pull one of them out of shape."""
        count, length = frames.shape[:2]
        if length < 2:
            raise UsageError(f"ccvs: windows of {length} frame, expected at least 2; set data.autoencoder.length")
        first = torch.randint(length, (count,), device=frames.device)
        other = (first + torch.randint(1, length, (count,), device=frames.device)) % length
        rows = torch.arange(count, device=frames.device)
        picture, another = (self.seen(frames[rows, at]) for at in (first, other))
        draws = elastic.drawn(count, self.frame_size, frames.device)
        views = elastic.views(picture, draws, self.settings.strength)
        return Triple(torch.stack([views.context, another, views.target], 1), views.flow, views.mask)

    def clips(self, frames: Tensor) -> Tensor:
        """Draw frames of each window at even distances: (B, clip_frames, 3, H, W)."""
        count, length = frames.shape[:2]
        wanted = self.settings.clip_frames
        if length < wanted:
            raise UsageError(
                f"ccvs: windows of {length} frames, expected at least the {wanted} of model.clip_frames; "
                "set data.autoencoder.length"
            )
        step, start = torch.rand(2, count, device=frames.device)
        steps = (step * (length - 1) / (wanted - 1)).long().clamp(min=1)
        starts = (start * (length - steps * (wanted - 1))).long()
        at = starts[:, None] + steps[:, None] * torch.arange(wanted, device=frames.device)
        return self.seen(frames[torch.arange(count, device=frames.device)[:, None], at])

    # Losses

    def of_pictures(self, triple: Triple) -> Made:
        """Make the other frame and the target from their codes and what the context shows."""
        settings = self.settings
        encoded = self.encoder(triple.pictures.flatten(0, 1))
        quantised = self._quantised(encoded.latent)
        latent = quantised.values.unflatten(0, (-1, 3))[:, 1:].flatten(0, 1)
        context = [each.unflatten(0, (-1, 3))[:, 0].repeat_interleave(2, 0) for each in encoded.features]
        made = self.decoder(latent, [context])
        real = triple.pictures[:, 1:].flatten(0, 1)
        ours = [type(motion)(motion.flow[1::2], motion.occlusion[1::2]) for motion in made.motions]
        terms = {"codes": settings.weight_codes * quantised.loss}
        if settings.strength.corruption:
            terms["occlusion"] = settings.weight_occlusion * losses.occlusion(ours, triple.mask)
        terms["flow"] = settings.weight_flow * losses.elastic_flow(ours, triple.flow, triple.mask)
        terms |= self._likeness(made.frames, real)
        terms |= self._fooling(self.image_discriminator, made.frames)
        return Made(real, made.frames, terms)

    def of_clips(self, clips: Tensor) -> Made:
        """Make frames 2..T of clips (B, T, 3, H, W), each from the ones made before it."""
        settings = self.settings
        count, length = clips.shape[:2]
        encoded = self.encoder(clips.flatten(0, 1))
        quantised = self._quantised(encoded.latent)
        latent = quantised.values.unflatten(0, (count, length))
        last = length - 1 if settings.ending_context else length
        made = self._continued(latent, [each.unflatten(0, (count, length))[:, 0] for each in encoded.features], last)
        fake = torch.cat([clips[:, :1], made, clips[:, last:]], 1)
        terms = {"codes": settings.weight_codes * quantised.loss}
        # A real last frame counts as one without error, as released.
        terms |= self._likeness(fake[:, 1:].flatten(0, 1), clips[:, 1:].flatten(0, 1))
        terms |= self._fooling(self.video_discriminator, fake)
        alone = None
        if settings.without_context:
            alone = self.decoder(latent.flatten(0, 1)).frames
            terms_alone = self._likeness(alone, clips.flatten(0, 1)) | self._fooling(self.image_discriminator, alone)
            terms |= {f"alone_{name}": term for name, term in terms_alone.items()}
        return Made(clips, fake, {f"clip_{name}": term for name, term in terms.items()}, alone)

    def _continued(self, latent: Tensor, first: Features, last: int) -> Tensor:
        """Make frames 2..last; a gradient goes back through the frame before only."""
        # With an ending the release keeps its features too, in a slot that nothing reads.
        memory, made = [first], list[Tensor]()
        size = self.settings.memory - self.settings.ending_context
        for t in range(1, last):
            recent = memory[::-1]
            contexts = [recent[0], *([part.detach() for part in features] for features in recent[1:])]
            made.append(self.decoder(latent[:, t], contexts).frames)
            memory = [*memory, self.encoder(made[-1]).features][-size:]
        return torch.stack(made, 1)

    def judgement(self, made: Made, judge: nn.Module) -> Tensor:
        """Return the loss of the discriminator that saw these."""
        loss = losses.told_apart(judge(made.real), judge(made.fake.detach()))
        if made.alone is not None:
            image = self.image_discriminator
            loss = loss + losses.told_apart(image(made.real.flatten(0, 1)), image(made.alone.detach()))
        return loss

    def penalty(self, judge: nn.Module, real: Tensor) -> Tensor:
        """Return R1 for the steps since the last time."""
        return self.settings.weight_r1 / 2 * R1_EVERY * losses.steepness(judge, real)

    def _likeness(self, made: Tensor, real: Tensor) -> dict[str, Tensor]:
        settings = self.settings
        terms = {"pixels": settings.weight_pixels * F.l1_loss(made, real)}
        if settings.weight_perceptual:
            terms["perceptual"] = settings.weight_perceptual * self.distance(made.device)(made, real)
        return terms

    def _fooling(self, judge: nn.Module, made: Tensor) -> dict[str, Tensor]:
        weight = self.settings.weight_adversarial
        return {"adversarial": weight * losses.fooled(judge(made))} if weight else {}

    def _quantised(self, latent: Tensor):  # type: ignore[no-untyped-def]
        quantised = self.quantiser(latent)
        if isinstance(self.quantiser, Healthy) and self.training:
            self.quantiser.observe(latent, quantised.indices)
        return quantised

    def distance(self, device: torch.device) -> losses.Distance:
        """Return the perceptual distance; it is no part of the system, so that nothing trains or saves it."""
        from vbench_ctl.baselines.ccvs import perceptual

        return perceptual.load(device)

    # What comes of it

    def evaluate(self, batch: Batch, step: int) -> dict[str, float]:
        """Return how well frames 2..T come out of codes and the first frame, and how many code words are used."""
        clips = self.seen(batch["frames"][:, : self.settings.clip_frames])
        codes, features = self.codes(clips)
        latent = self.quantiser.words(codes.unflatten(1, (-1, self.tokens)), self.size)
        made = self._continued(latent, features[0], clips.shape[1])
        used = perplexity(codes, self.settings.codes)
        return {"psnr": psnr(clips[:, 1:], made), "words_used": float(used)}

    def pictures(self, batch: Batch, step: int) -> list[tuple[str, np.ndarray]]:
        """Return real clips and what becomes of them, each uint8 (T, H, W, 3)."""
        found = []
        for clip in self.seen(batch["frames"][:SHOWN]).split(1):
            codes, features = self.codes(clip)
            latent = self.quantiser.words(codes.unflatten(1, (-1, self.tokens)), self.size)
            made = torch.cat([clip[:, :1], self._continued(latent, features[0], clip.shape[1])], 1)
            for label, frames in (("real", clip), ("from codes and the first frame", made)):
                found.append((label, pixels(frames[0], self.settings.imagenet_range).cpu().numpy()))
        return found


def _logs(terms: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: term.detach() for name, term in terms.items()}
