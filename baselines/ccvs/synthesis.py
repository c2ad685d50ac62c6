"""The last stage of CCVS: the transformer over frozen codes, and synthesis by both autoregressions.

Tokens are drawn one by one; each frame is decoded from its tokens and from what earlier frames show, then encoded
again for the frames after it.
"""

import contextlib
from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from vbench_ctl.baselines.ccvs.autoencoder import Autoencoder
from vbench_ctl.baselines.ccvs.control import Sound, State, heard
from vbench_ctl.baselines.ccvs.frames import pixels
from vbench_ctl.baselines.ccvs.networks import Features
from vbench_ctl.baselines.ccvs.sampling import Choices, Draw, complete
from vbench_ctl.baselines.ccvs.settings import Settings
from vbench_ctl.baselines.ccvs.transformer import Tokens, Transformer
from vbench_ctl.errors import UsageError, VbenchError
from vbench_ctl.training import Batch, Update, is_memory

BETAS = (0.9, 0.95)
SQUARE = (10 / 64, 0.2, 0.8)  # step per frame and borders of the square path, 16lemoing/ccvs:helpers/generator.py
SHOWN = 2  # clips on a sheet of samples


@dataclass(frozen=True)
class Rendering:
    """What frames are decoded with."""

    memory: int = 15  # earlier frames
    keep_first: int = 0  # of them, the first ones that stay when the memory is full
    end_context: str = "last-given"  # with an ending: that or "ending" is one context more for every frame

    def __post_init__(self) -> None:
        if self.memory < 1 or not 0 <= self.keep_first < self.memory:
            raise UsageError(
                f"ccvs: a memory of {self.memory} frames of which the first {self.keep_first} stay, expected at least 1 "
                "and fewer than that; change --memory or --keep-first"
            )


class Memory:
    """The features of earlier frames, of which the oldest goes when there are too many."""

    def __init__(self, rendering: Rendering) -> None:
        self.rendering, self.held = rendering, list[Features]()

    def append(self, features: Features) -> None:
        if len(self.held) == self.rendering.memory:
            del self.held[self.rendering.keep_first]
        self.held.append(features)

    def recent(self) -> list[Features]:
        """Return what is held, the newest first."""
        return self.held[::-1]


class Painter:
    """Decodes frame after frame; the given ones from their own features, the others from the memory."""

    def __init__(
        self, autoencoder: Autoencoder, rendering: Rendering, given: Sequence[Features], ending: Features | None
    ):
        self.autoencoder, self.given, self.memory = autoencoder, list(given), Memory(rendering)
        self.extra: list[Features] = []
        if ending is not None:
            self.extra = [self.given[-1] if rendering.end_context == "last-given" and given else ending]
        self.painted = 0

    def copy(self) -> "Painter":
        """Return another one that goes on from here."""
        other = copy(self)
        other.memory = Memory(self.memory.rendering)
        other.memory.held = list(self.memory.held)
        return other

    @torch.no_grad()
    def paint(self, codes: Tensor) -> tuple[Tensor, Tensor]:
        """Decode the next frame from its codes (B, tokens): (B, 3, H, W), and encode it: its codes."""
        autoencoder = self.autoencoder
        latent = autoencoder.quantiser.words(codes, autoencoder.size)
        if self.painted < len(self.given):
            features = self.given[self.painted]
            frame, seen = autoencoder.decoder(latent, [features]).frames, codes
        else:
            frame = autoencoder.decoder(latent, [*self.memory.recent(), *self.extra]).frames
            seen, (features,) = autoencoder.codes(frame[:, None])
        self.memory.append(features)
        self.painted += 1
        return frame, seen


@dataclass(frozen=True)
class Script:
    """How many frames are made of what is given, and how."""

    frames: int  # in all, the given ones too, the ending not
    choices: Choices
    rendering: Rendering
    again: bool = False  # tokens of a frame are replaced by those of the decoded frame
    window: int = 0  # frames that the transformer looks back at; 0: as many as it can


class System(nn.Module):
    """The transformer with the frozen networks that make its tokens and its frames."""

    def __init__(
        self, settings: Settings, autoencoder: Autoencoder, control: State | Sound | None, control_tokens: int
    ) -> None:
        super().__init__()
        self.settings = settings
        self.autoencoder = autoencoder.requires_grad_(False)
        self.control = control.requires_grad_(False) if control else None
        layout = settings.layout(autoencoder.tokens, control_tokens)
        symbols = settings.control_codes if control_tokens else 0
        sizes = (settings.layers, settings.heads, settings.width)
        grid = autoencoder.size if settings.grid_places else None
        self.transformer = Transformer(
            layout, settings.codes, symbols, *sizes, settings.first_weights, settings.labels, grid
        )

    # Training

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """Return AdamW for the transformer."""
        rate = self.settings.transformer_learning_rate
        return {"transformer": torch.optim.AdamW(self.transformer.groups(), rate, BETAS)}

    def updates(self, batch: Batch, step: int) -> Iterator[Update]:
        """Yield the one update of a step."""
        terms = self.transformer.loss(self.tokens(batch))
        yield Update("transformer", torch.stack(list(terms.values())).sum(), terms)

    def evaluate(self, batch: Batch, step: int) -> dict[str, float]:
        """Return the cross entropies of frame and control tokens."""
        terms = self.transformer.loss(self.tokens(batch))
        return {f"{name}_loss": float(term) for name, term in terms.items()}

    def pictures(self, batch: Batch, step: int) -> list[tuple[str, np.ndarray]]:
        """Return real clips and how they go on after the first frame, each uint8 (T, H, W, 3)."""
        seen = self.autoencoder.seen(batch["frames"][:SHOWN])
        tokens = self.tokens({name: values[:SHOWN] for name, values in batch.items()})
        length = tokens.frames.shape[1] // self.autoencoder.tokens
        codes, given = self.autoencoder.codes(seen[:, :1])
        _, ending = self.autoencoder.codes(seen[:, -1:])
        script = Script(length, Choices(), Rendering())
        draw = lambda: torch.rand(len(codes), device=codes.device)  # noqa: E731
        made = self.continued(
            replace(tokens, frames=codes), given, ending[0] if self.settings.ending else None, script, draw
        )[0]
        rows = [("real", seen), ("first frame real, the others drawn", made)]
        imagenet = self.settings.imagenet_range
        return [(label, pixels(row[n], imagenet).cpu().numpy()) for n in range(len(codes)) for label, row in rows]

    def tokens(self, batch: Batch) -> Tokens:
        """Return the tokens of whole training clips."""
        settings = self.settings
        frames = self.autoencoder.seen(batch["frames"])
        wanted = self.transformer.layout.window + settings.ending
        if frames.shape[1] != wanted:
            raise UsageError(
                f"ccvs: windows of {frames.shape[1]} frames, expected the {wanted} of model.frames; set data.transformer.length"
            )
        codes, _ = self.autoencoder.codes(frames)
        states = self.control_tokens(batch, codes)
        label = self.label(batch)
        if not settings.ending:
            return Tokens(codes, states, label=label)
        count = self.autoencoder.tokens
        time = torch.full((len(codes),), frames.shape[1] - 1, device=codes.device)
        return Tokens(codes[:, :-count], states, codes[:, -count:], time, label)

    def control_tokens(self, tracks: Batch, codes: Tensor) -> Tensor | None:
        """Return the control tokens of tracks (B, T, ...), or of frames with such codes where a state is estimated."""
        if isinstance(self.control, State):
            if "state" in tracks:
                return self.control.codes(tracks["state"].float())
            latent = self.autoencoder.quantiser.words(
                codes.unflatten(1, (-1, self.autoencoder.tokens)), self.autoencoder.size
            )
            return self.control.estimated(latent)
        if isinstance(self.control, Sound):
            return self.control.codes(heard(tracks["stft"]))
        if self.settings.control == "actions":
            names = self.settings.control_tracks
            actions = [tracks[name].long().unsqueeze(-1).flatten(2) for name in names]
            joined = torch.cat(actions, 2).flatten(1)
            self._check_symbols(joined, self.settings.control_codes, ", ".join(names), "control_codes")
            return joined
        return None

    def label(self, tracks: Batch) -> Tensor | None:
        """Return the class of each clip, that of its first frame."""
        name = self.settings.label_track
        if not name:
            return None
        label = tracks[name].flatten(1)[:, 0].long()
        self._check_symbols(label, self.settings.labels, name, "labels")
        return label

    @staticmethod
    def _check_symbols(symbols: Tensor, count: int, name: str, key: str) -> None:
        if symbols.numel() and not (symbols.min() >= 0 and symbols.max() < count):
            found = f"{int(symbols.min())} to {int(symbols.max())}"
            raise UsageError(f"ccvs: {name} are {found}, expected 0 to {count - 1}; change model.{key}")

    # Synthesis

    def continued(
        self, tokens: Tokens, given: Sequence[Features], ending: Features | None, script: Script, draw: Draw
    ) -> tuple[Tensor, Tokens]:
        """Make clips (B, frames, 3, H, W) whose first frames have these tokens and features, and return their tokens."""
        painter = Painter(self.autoencoder, script.rendering, given, ending)
        count, made = self.autoencoder.tokens, []
        layout = self.transformer.layout.narrowed(script.window)
        if len(given) > layout.window:
            raise UsageError(
                f"ccvs: {len(given)} frames are given, and the transformer sees {layout.window}; give fewer (--x-cond-len), or "
                "train with a larger model.frames"
            )
        if not script.again:
            tokens = complete(self.transformer, tokens, script.frames * count, script.choices, draw, layout)
        for frame in range(script.frames):
            if script.again:
                tokens = complete(self.transformer, tokens, (frame + 1) * count, script.choices, draw, layout)
            here = slice(frame * count, (frame + 1) * count)
            picture, seen = painter.paint(tokens.frames[:, here])
            made.append(picture)
            if script.again:
                codes = tokens.frames.clone()
                codes[:, here] = seen
                tokens = replace(tokens, frames=codes)
        return torch.stack(made, 1), tokens


def square_path(start: Tensor, frames: int) -> Tensor:
    """Return states (B, T, 2) that go from the start (B, 2) up, right, down and left, turning at the borders."""
    step, low, high = SQUARE
    directions = torch.tensor([[0.0, -step], [step, 0], [0, step], [-step, 0]], device=start.device)
    paths = []
    for place in start:
        path, direction = [place], 0
        for _ in range(frames - 1):
            for _ in range(len(directions)):
                following = path[-1] + directions[direction]
                if ((following >= low) & (following < high)).all():
                    break
                direction = (direction + 1) % len(directions)
            path.append(path[-1] + directions[direction])
        paths.append(torch.stack(path))
    return torch.stack(paths)


@contextlib.contextmanager
def memory_explained(device: torch.device) -> Iterator[None]:
    """Say what to lower when there is no room."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_memory(error):
            raise
        reason = str(error).partition("\n")[0]
        raise VbenchError(
            f"ccvs: {device} has not enough memory to make these clips ({reason}); lower --batch, then --memory"
        ) from error
