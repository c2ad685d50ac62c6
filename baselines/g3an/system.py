"""G3AN as it is trained: the discriminators of clips and of frames, then the generator against both."""

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vbench_ctl.baselines.g3an import controls, sampling
from vbench_ctl.baselines.g3an.networks import Generator, ImageDiscriminator, VideoDiscriminator
from vbench_ctl.baselines.g3an.settings import FRAMES, SIDES, Settings
from vbench_ctl.errors import UsageError
from vbench_ctl.frames import normalised
from vbench_ctl.training import Batch, DataFacts, Update

BETAS = (0.5, 0.999)


class System(nn.Module):
    """The three networks, their losses and samples."""

    def __init__(self, settings: Settings, data: DataFacts):
        super().__init__()
        _check(data)
        self.settings, self.told = settings, controls.width(settings, data)
        self.generator = Generator(settings, data.height, self.told)
        self.video = VideoDiscriminator(settings.discriminator_width, data.height, self.told)
        self.image = ImageDiscriminator(settings.discriminator_width, data.height)

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """Return one Adam for each network."""
        rates = {"video": self.settings.discriminator_rate, "image": self.settings.discriminator_rate}
        rates["generator"] = self.settings.generator_rate
        return {
            name: torch.optim.Adam(self.get_submodule(name).parameters(), rate, BETAS) for name, rate in rates.items()
        }

    def updates(self, batch: Batch, step: int) -> Iterator[Update]:
        """Yield the updates of both discriminators and of the generator, with codes and frames drawn anew."""
        real = normalised(batch["frames"]).transpose(1, 2)  # (B, 3, T, H, W)
        device, count = real.device, len(real)
        appearance = torch.randn(count, self.settings.appearance, device=device)
        motion = torch.randn(count, self.settings.motion, 1, device=device)
        # One real and one made frame of all clips, as the release draws them
        moments = torch.randint(real.shape[2], (2,)).tolist()
        yield from self.iteration(real, (appearance, motion), moments, self._encoded(batch))

    def iteration(
        self, real: Tensor, codes: tuple[Tensor, ...], moments: list[int], told: Tensor | None = None
    ) -> Iterator[Update]:
        """Yield the three updates for clips (B, 3, T, H, W) in [-1, 1], codes, and the frames that are looked at."""
        real_video, real_image = self.video(real, told), self.image(real[:, :, moments[0]])
        fake = self.generator(*codes, told)
        frame = fake[:, :, moments[1]]
        yield _distinguish("video", real_video, self.video(fake.detach(), told))
        yield _distinguish("image", real_image, self.image(frame.detach()))
        terms = {"video": believed(self.video(fake, told)), "image": believed(self.image(frame))}
        yield Update(
            "generator", terms["video"] + terms["image"], {name: term.detach() for name, term in terms.items()}
        )

    def pictures(self, batch: Batch, step: int) -> list[tuple[str, np.ndarray]]:
        """Return a real clip, and two appearances with two motions each."""
        told = self._encoded({name: values[:1] for name, values in batch.items()})
        return [("real", batch["frames"][0].cpu().numpy()), *sampling.grid(self, (0, 1), (0, 1), FRAMES, told=told)]

    def _encoded(self, batch: Batch) -> Tensor | None:
        return controls.encoded(batch, self.settings, self.told, batch["frames"].shape[1])


def believed(logits: Tensor) -> Tensor:
    """Return the cross entropy of logits (B,) that should say "real"."""
    return F.softplus(-logits).mean()


def unmasked(logits: Tensor) -> Tensor:
    """Return the cross entropy of logits (B,) that should say "made"."""
    return F.softplus(logits).mean()


def _distinguish(name: str, real: Tensor, fake: Tensor) -> Update:
    logs = {"real": real.detach().mean(), "fake": fake.detach().mean()}
    return Update(name, believed(real) + unmasked(fake), logs)


def _check(data: DataFacts) -> None:
    if data.height != data.width or data.height not in SIDES:
        raise UsageError(
            f"g3an: the frames are {data.width}x{data.height}, expected 64x64 or 128x128; set data.size = 64 to train on "
            "resized ones"
        )
    if data.length != FRAMES:
        raise UsageError(f"g3an: the windows have {data.length} frames, expected {FRAMES}; set data.length = {FRAMES}")
