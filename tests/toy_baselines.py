"""Two tiny trained baselines as a plugin: a GAN with two optimisers, and a system of two stages."""

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from vbench_ctl.errors import UsageError
from vbench_ctl.play.player import Player, Start
from vbench_ctl.training import Batch, DataFacts, Update


def colours(batch: Batch) -> Tensor:
    """Return mean colours in [-1, 1]: (B * T, 3)."""
    return batch["frames"].float().mean((2, 3)).flatten(0, 1) / 127.5 - 1


class Gan(nn.Module):
    TITLE = "toy GAN"
    CONTROL = "none"
    STAGES = ("",)

    @dataclass(frozen=True)
    class Settings:
        width: int = 8
        rate: float = 1e-2
        noise: bool = True
        pause: float = 0.0
        interrupt_at: int = -1
        explode_at: int = -1
        gulp_at: int = -1

        def __post_init__(self) -> None:
            if self.width < 1:
                raise UsageError(f"model.width = {self.width}: it must be at least 1")

    def __init__(self, settings: "Gan.Settings"):
        super().__init__()
        self.settings, width = settings, settings.width
        norm = nn.BatchNorm1d(width) if settings.noise else nn.Identity()
        self.generator = nn.Sequential(nn.Linear(3, width), norm, nn.ReLU(), nn.Linear(width, 3))
        self.discriminator = nn.Sequential(nn.Linear(3, width), nn.LeakyReLU(), nn.Linear(width, 1))
        self.unused = nn.Parameter(torch.zeros(2))

    @staticmethod
    def build(settings: "Gan.Settings", data: DataFacts, stage: str, earlier: dict) -> "Gan":
        return Gan(settings)

    @staticmethod
    def generate(*asked: object) -> list[np.ndarray]:
        return []

    @staticmethod
    def drive(system: "Gan", start: Start) -> Player:
        return Player(start.frame, lambda frame, control: (frame[None], frame), {})

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        first = [*self.generator.parameters(), self.unused]
        return {
            "generator": torch.optim.Adam(first, self.settings.rate),
            "discriminator": torch.optim.SGD(self.discriminator.parameters(), self.settings.rate, momentum=0.9),
        }

    def rates(self, step: int) -> dict[str, float]:
        return {"generator": min(1, (step + 1) / 4)}

    def updates(self, batch: Batch, step: int) -> Iterator[Update]:
        settings = self.settings
        time.sleep(settings.pause)
        if step == settings.interrupt_at:
            os.kill(os.getpid(), signal.SIGINT)
        if step == settings.gulp_at:
            torch.empty(1 << 60)
        real = colours(batch)
        start = torch.randn_like(real) if settings.noise else real.flip(1)
        fake = self.generator(start)
        loss = self.discriminator(fake.detach()).exp().mean() - self.discriminator(real).mean()
        yield Update("discriminator", loss * (float("nan") if step == settings.explode_at else 1), clip_norm=1.0)
        adversarial = -self.discriminator(fake).mean()
        match = (fake.mean(0) - real.mean(0)).square().mean() if settings.noise else (fake - real).square().mean()
        yield Update("generator", adversarial + match, {"match": match, "adversarial": adversarial})
        if step % 2:  # an update that some steps leave out
            yield Update("discriminator", self.discriminator(real).square().mean())

    def evaluate(self, batch: Batch, step: int) -> dict[str, float]:
        assert not self.training
        return {"match": float((self.generator(colours(batch)) - colours(batch)).abs().mean())}

    def pictures(self, batch: Batch, step: int) -> list[tuple[str, np.ndarray]]:
        return [("real", batch["frames"][0].cpu().numpy())]


class Staged(nn.Module):
    """An autoencoder of colours, and a predictor of its codes that was given actions."""

    TITLE = "toy in two stages"
    CONTROL = "actions"
    STAGES = ("autoencoder", "predictor")

    @dataclass(frozen=True)
    class Settings:
        codes: int = 2
        sizes: tuple[int, ...] = (3, 4)
        optional: int | None = None

    def __init__(self, settings: "Staged.Settings", data: DataFacts, stage: str):
        super().__init__()
        self.stage = stage
        self.encoder = nn.Linear(3, settings.codes)
        self.decoder = nn.Linear(settings.codes, 3)
        self.predictor = nn.Linear(settings.codes + data.actions, settings.codes)

    @staticmethod
    def build(settings: "Staged.Settings", data: DataFacts, stage: str, earlier: dict) -> "Staged":
        system = Staged(settings, data, stage)
        if stage == "predictor":
            system.load_state_dict(earlier["autoencoder"], strict=False)
            system.encoder.requires_grad_(False)
        return system

    @staticmethod
    def generate(*asked: object) -> list[np.ndarray]:
        return []

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        trained = [self.predictor] if self.stage == "predictor" else [self.encoder, self.decoder]
        return {"all": torch.optim.SGD([weight for part in trained for weight in part.parameters()], 0.1)}

    def updates(self, batch: Batch, step: int) -> Iterator[Update]:
        colour = colours(batch)
        codes = self.encoder(colour)
        if self.stage == "autoencoder":
            yield Update("all", (self.decoder(codes) - colour).square().mean())
        else:
            actions = batch["actions"].flatten(0, 1)
            yield Update("all", (self.predictor(torch.cat([codes, actions], 1)) - codes.roll(-1, 0)).square().mean())
