"""GLASS's forward pass: split a clip into layers and shifts, then find local actions and render the foreground."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vbench_ctl.baselines.glass.blocks import Memory
from vbench_ctl.baselines.glass.motion import shifted
from vbench_ctl.baselines.glass.networks import (
    SHRINK,
    Actions,
    Dynamics,
    Encoder,
    Inpainting,
    Masking,
    Motion,
    Quantised,
    Rendered,
    Renderer,
    over_time,
)
from vbench_ctl.baselines.glass.settings import Settings
from vbench_ctl.errors import UsageError


@dataclass(frozen=True)
class Layers:
    """A clip taken apart. `moved_*` and `reconstruction` are frames 2..T made of the frame before."""

    masks: Tensor  # (B, T, 1, H, W) in (0, 1)
    foregrounds: Tensor  # (B, T, 3, H, W), grey (0) outside the mask
    backgrounds: Tensor  # (B, T, 3, H, W), inpainted
    foreground_shifts: Tensor  # (B, T-1, 2)
    background_shifts: Tensor  # (B, T-1, 2)
    moved_foregrounds: Tensor  # (B, T-1, 3, H, W)
    moved_backgrounds: Tensor  # (B, T-1, 3, H, W)
    reconstruction: Tensor  # (B, T-1, 3, H, W)


@dataclass(frozen=True)
class Rendering:
    """Frames 2..T of the foreground, rendered from its states, shifts and local actions."""

    pictures: list[Tensor]  # (B, T-1, 3, H / k, W / k) for k = 1, 2, 4
    masks: Tensor  # (B, T-1, 1, H, W)
    codes: Tensor  # (B, T-1, width)
    choice: Tensor  # (B, T-1), or (B, T-1, K) weights with Gumbel codes
    code_loss: Tensor
    states: Tensor  # (B, T, width, H/8, W/8) of the real foregrounds
    states_again: Tensor  # (B, T-1, width, H/8, W/8) of the rendered ones


class Local(nn.Module):
    """The foreground's part: states, local actions, dynamics and rendering."""

    def __init__(self, settings: Settings, height: int, width: int) -> None:
        super().__init__()
        self.masked_feedback = settings.masked_feedback
        self.encoder = Encoder(settings.state_width)
        self.compressor = nn.Conv2d(settings.state_width, settings.compressed, 1)
        self.actions = Actions(settings)
        self.dynamics = Dynamics(settings, (height // SHRINK, width // SHRINK))
        self.renderer = Renderer(settings.hidden, settings.code_width if settings.render_change else 0)

    def forward(
        self, foregrounds: Tensor, moved: Tensor, shifts: Tensor, given: int, temperature: float = 1.0
    ) -> Rendering:
        """Render frames 2..T of foregrounds (B, T, 3, H, W), the first `given` steps each from the real frame."""
        encoded = over_time(self.encoder, foregrounds)
        actions = self.inferred(over_time(self.encoder, moved), encoded[:, 1:], temperature)
        states = encoded[:, :, :-1]
        parts = list(self._rendered(states, moved[:, :given], actions.codes, shifts))
        pictures = [torch.cat([part.pictures[size] for part in parts], 1) for size in range(3)]
        return Rendering(
            pictures=pictures,
            masks=torch.cat([part.mask for part in parts], 1),
            codes=actions.codes,
            choice=actions.choice,
            code_loss=actions.loss,
            states=states,
            states_again=over_time(self.encoder, pictures[0])[:, :, :-1],
        )

    def inferred(self, before: Tensor, after: Tensor, temperature: float = 1.0) -> Quantised:
        """Return the local actions between encoded foregrounds (B, T-1, width + 1, h, w), the first ones shifted."""
        found = self.actions(before.flatten(0, 1), after.flatten(0, 1), temperature)
        codes, choice = (each.unflatten(0, before.shape[:2]) for each in (found.codes, found.choice))
        return Quantised(codes, choice, found.loss)

    def step(
        self, foreground: Tensor, code: Tensor, shift: Tensor, memory: list[Memory] | None
    ) -> tuple[Rendered, list[Memory]]:
        """Render the frame after a foreground (B, 3, H, W), under a code (B, width) and a shift (B, 2)."""
        state = self.compressor(self.encoder(foreground)[:, :-1])
        hidden, memory = self.dynamics(state, code, shift, memory)
        return self.renderer(hidden, shifted(foreground, shift), code), memory

    def fed_back(self, rendered: Rendered) -> Tensor:
        """Return what the next step sees of a rendered frame."""
        return rendered.pictures[0] * rendered.mask if self.masked_feedback else rendered.pictures[0]

    def _rendered(self, states: Tensor, moved: Tensor, codes: Tensor, shifts: Tensor) -> Iterator[Rendered]:
        """Yield the steps that foregrounds moved (B, given, ...) are given for together, and then the others, (B, 1, ...)."""
        given = moved.shape[1]
        compressed = over_time(self.compressor, states[:, :given])
        memory, hidden = None, []
        for t in range(given):
            x, memory = self.dynamics(compressed[:, t], codes[:, t], shifts[:, t], memory)
            hidden.append(x)
        together = self.renderer(*(each.flatten(0, 1) for each in (torch.stack(hidden, 1), moved, codes[:, :given])))
        videos = [each.unflatten(0, (len(states), given)) for each in (*together.pictures, together.mask)]
        yield Rendered(videos[:3], videos[3])
        one = Rendered([video[:, -1] for video in videos[:3]], videos[3][:, -1])
        for t in range(given, codes.shape[1]):
            one, memory = self.step(self.fed_back(one), codes[:, t], shifts[:, t], memory)
            yield Rendered([picture[:, None] for picture in one.pictures], one.mask[:, None])


class Glass(nn.Module):
    """The whole model, for frames of one size."""

    def __init__(self, settings: Settings, height: int, width: int) -> None:
        super().__init__()
        if height % (2 * SHRINK) or width % (2 * SHRINK):
            raise UsageError(
                f"glass: the frames are {width}x{height}, expected multiples of {2 * SHRINK}; "
                "resize them with size in the recipe's [data]"
            )
        self.settings = settings
        self.local = Local(settings, height, width)
        self.masking = Masking(settings.masking_widths)
        self.foreground_motion = Motion()
        self.background_motion = Motion()
        self.inpainting = Inpainting(settings.enlarge_masks, settings.random_strokes)

    def layers(self, frames: Tensor) -> Layers:
        """Take frames (B, T, 3, H, W) in [-1, 1] apart."""
        masks = over_time(self.masking, frames)
        foregrounds = masks * frames
        backgrounds = over_time(self.inpainting, frames, masks)
        background_shifts = over_time(self.background_motion, backgrounds[:, :-1], backgrounds[:, 1:])
        foreground_shifts = over_time(self.foreground_motion, foregrounds[:, :-1], foregrounds[:, 1:])
        moved_backgrounds = shifted(backgrounds[:, :-1], background_shifts, padding="border")
        moved = shifted(torch.cat([foregrounds, masks], 2)[:, :-1], foreground_shifts)
        moved_foregrounds, moved_masks = moved[:, :, :3], moved[:, :, 3:]
        return Layers(
            masks=masks,
            foregrounds=foregrounds,
            backgrounds=backgrounds,
            foreground_shifts=foreground_shifts,
            background_shifts=background_shifts,
            moved_foregrounds=moved_foregrounds,
            moved_backgrounds=moved_backgrounds,
            # The foreground holds the mask already, so it enters squared, as released.
            reconstruction=composed(moved_foregrounds, moved_masks, moved_backgrounds),
        )

    def rendering(self, layers: Layers, given: int, temperature: float = 1.0) -> Rendering:
        """Render the foreground of frames 2..T anew; no gradient reaches the layers."""
        return self.local(
            layers.foregrounds.detach(),
            layers.moved_foregrounds.detach(),
            layers.foreground_shifts.detach(),
            given,
            temperature,
        )


def composed(foreground: Tensor, mask: Tensor, background: Tensor) -> Tensor:
    """Lay a foreground over a background."""
    return mask * foreground + (1 - mask) * background


def generated(background: Tensor, shifts: Tensor, foregrounds: Tensor, masks: Tensor) -> Tensor:
    """Lay foregrounds of frames 2..T over the first background (B, 3, H, W), which moves by shifts (B, T-1, 2)."""
    backgrounds = background[:, None].expand(-1, shifts.shape[1], -1, -1, -1)
    moved = shifted(backgrounds, shifts.cumsum(1), padding="border", mode="nearest")
    return composed(foregrounds, masks, moved)


def moved_on(layers: Layers, given: int) -> tuple[Tensor, Tensor]:
    """Return foregrounds and masks of frames 2..T that are only moved: what rendering has to beat.

    The first `given` are each the real one before, the others the last of those.
    """
    seen, shifts = torch.cat([layers.foregrounds, layers.masks], 2), layers.foreground_shifts
    later = shifts[:, given - 1 :].cumsum(1)[:, 1:]
    last = seen[:, given - 1 : given].expand(-1, later.shape[1], -1, -1, -1)
    moved = torch.cat([shifted(seen[:, :given], shifts[:, :given]), shifted(last, later)], 1)
    return moved[:, :, :3], moved[:, :, 3:]
