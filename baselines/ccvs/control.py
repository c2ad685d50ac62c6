"""The stage in the middle of CCVS: what turns states or sound into tokens that stand before those of a frame.

Tokens of actions (ours) are the actions themselves, and without control there is nothing to train.
"""

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vbench_ctl.baselines.ccvs.autoencoder import Autoencoder
from vbench_ctl.baselines.ccvs.networks import Quantiser, SoundDecoder, SoundEncoder, StateEstimator
from vbench_ctl.errors import VbenchError
from vbench_ctl.training import Batch, Update


class State(nn.Module):
    """Estimates a state (N, numbers) in (0, 1) from quantised latent maps, and quantises each number."""

    def __init__(self, estimator: StateEstimator, quantiser: Quantiser) -> None:
        super().__init__()
        self.estimator, self.quantiser = estimator, quantiser

    def codes(self, states: Tensor) -> Tensor:
        """Return the tokens (B, T * numbers) of states (B, T, numbers), or (B, numbers) of (B, numbers)."""
        return self.quantiser.nearest(states.reshape(-1, 1)).view(len(states), -1)

    def estimated(self, latent: Tensor) -> Tensor:
        """Return the tokens (B, T * numbers) of latent maps (B, T, width, h, w)."""
        return self.codes(self.estimator(latent.flatten(0, 1)).view(len(latent), -1))

    def values(self, codes: Tensor) -> Tensor:
        """Return the states (B, T, numbers) of tokens."""
        return self.quantiser.embedding(codes)[..., 0].unflatten(1, (-1, self.estimator.fc.weight.shape[0]))

    def terms(self, latent: Tensor, states: Tensor) -> dict[str, Tensor]:
        """Return the losses for latent maps (N, width, h, w) and their states (N, numbers)."""
        found = self.estimator(latent)
        return {"state": F.mse_loss(found, states), "codes": self.quantiser(found, -1).loss}

    def error(self, latent: Tensor, states: Tensor) -> Tensor:
        """Return the mean squared error of the quantised estimate."""
        return F.mse_loss(self.quantiser(self.estimator(latent), -1).values, states)


class Sound(nn.Module):
    """An autoencoder of the slices of a spectrogram, (B, T, h, w) in [-1, 1]."""

    def __init__(self, encoder: SoundEncoder, decoder: SoundDecoder, quantiser: Quantiser) -> None:
        super().__init__()
        self.encoder, self.decoder, self.quantiser = encoder, decoder, quantiser

    def codes(self, sound: Tensor) -> Tensor:
        """Return the tokens (B, T * tokens of a slice)."""
        latent = self.encoder(sound.flatten(0, 1)[:, None])
        return self.quantiser.nearest(latent.movedim(1, -1).flatten(0, 2)).view(len(sound), -1)

    def values(self, codes: Tensor, size: tuple[int, int]) -> Tensor:
        """Return the slices of tokens; `size` is that of the latent map."""
        latent = self.quantiser.words(codes.unflatten(1, (-1, size[0] * size[1])), size)
        return self.decoder(latent.flatten(0, 1)).unflatten(0, latent.shape[:2])[:, :, 0]

    def terms(self, sound: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the slices again, and the losses; the release adds a VGG distance that has no gradient."""
        quantised = self.quantiser(self.encoder(sound.flatten(0, 1)[:, None]))
        made = self.decoder(quantised.values).view(sound.shape)
        return made, {"sound": F.mse_loss(made, sound), "codes": quantised.loss}


class StateSystem(nn.Module):
    """The state estimator as it is trained, on single frames with their states; the autoencoder stays as it is."""

    def __init__(self, autoencoder: Autoencoder, control: State, learning_rate: float) -> None:
        super().__init__()
        self.autoencoder, self.control, self.learning_rate = autoencoder.requires_grad_(False), control, learning_rate

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        return {"control": torch.optim.Adam(self.control.parameters(), self.learning_rate, betas=(0.5, 0.9))}

    def updates(self, batch: Batch, step: int) -> Iterator[Update]:
        terms = self.control.terms(*self._pairs(batch))
        yield Update("control", torch.stack(list(terms.values())).sum(), terms)

    def evaluate(self, batch: Batch, step: int) -> dict[str, float]:
        return {"error": float(self.control.error(*self._pairs(batch)))}

    def pictures(self, batch: Batch, step: int) -> list[tuple[str, np.ndarray]]:
        """Return the first clip with a white cross at the state, and one at its estimate."""
        latent, states = self._pairs(batch)
        codes = self.control.quantiser(self.control.estimator(latent), -1).values
        clip = batch["frames"][0].cpu().numpy()
        return [
            (label, crossed(clip, places[: len(clip), :2].cpu().numpy()))
            for label, places in (("real", states), ("estimated", codes))
        ]

    def _pairs(self, batch: Batch) -> tuple[Tensor, Tensor]:
        codes, _ = self.autoencoder.codes(self.autoencoder.seen(batch["frames"]))
        latent = self.autoencoder.quantiser.words(
            codes.unflatten(1, (-1, self.autoencoder.tokens)), self.autoencoder.size
        )
        return latent.flatten(0, 1), batch["state"].flatten(0, 1).float()


class SoundSystem(nn.Module):
    """The sound's autoencoder as it is trained."""

    def __init__(self, control: Sound, learning_rate: float) -> None:
        super().__init__()
        self.control, self.learning_rate = control, learning_rate

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        return {"control": torch.optim.Adam(self.control.parameters(), self.learning_rate, betas=(0.0, 0.99))}

    def updates(self, batch: Batch, step: int) -> Iterator[Update]:
        _, terms = self.control.terms(heard(batch["stft"]))
        yield Update("control", torch.stack(list(terms.values())).sum(), terms)

    def evaluate(self, batch: Batch, step: int) -> dict[str, float]:
        _, terms = self.control.terms(heard(batch["stft"]))
        return {"error": float(terms["sound"])}

    def pictures(self, batch: Batch, step: int) -> list[tuple[str, np.ndarray]]:
        """Return the slices of the first clip as grey pictures, and what the autoencoder makes of them."""
        sound = heard(batch["stft"][:1])
        made, _ = self.control.terms(sound)
        return [
            (label, ((each[0] + 1) * 127.5).clamp(0, 255).byte()[..., None].expand(-1, -1, -1, 3).cpu().numpy())
            for label, each in (("real", sound), ("again", made))
        ]


class NothingSystem(nn.Module):
    """The stage of a system without anything to train here."""

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        return {}

    def updates(self, batch: Batch, step: int) -> Iterator[Update]:
        yield from ()

    def evaluate(self, batch: Batch, step: int) -> dict[str, float]:
        return {}

    def pictures(self, batch: Batch, step: int) -> list[tuple[str, np.ndarray]]:
        return [("real", batch["frames"][0].cpu().numpy())]


def crossed(clip: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Draw a white cross on 3 x 3 black pixels into each frame (T, H, W, 3) at (x, y) in parts of its sides."""
    marked = clip.copy()
    for frame, (x, y) in zip(marked, places, strict=True):
        row, column = (min(int(part * side), side - 1) for part, side in zip((y, x), frame.shape[:2], strict=True))
        rows, columns = slice(max(row - 1, 0), row + 2), slice(max(column - 1, 0), column + 2)
        frame[rows, columns] = 0
        frame[rows, column] = frame[row, columns] = 255
    return marked


def heard(slices: Tensor) -> Tensor:
    """Turn slices (B, T, h, w) in [0, 1] into what the networks hear, in [-1, 1]."""
    if slices.shape[2] % 8 or slices.shape[3] % 8:
        raise VbenchError(
            f"ccvs: slices of {slices.shape[2]}x{slices.shape[3]}, expected multiples of 8, such as 64x16"
        )
    return 2 * slices.float() - 1
