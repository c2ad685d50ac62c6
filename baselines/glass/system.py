"""GLASS as it is trained: one Adam, first on masks, shifts and inpainting alone, then on everything."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from vbench_ctl.baselines.glass import losses, perceptual
from vbench_ctl.baselines.glass.model import Glass, generated, moved_on
from vbench_ctl.baselines.glass.networks import SHRINK
from vbench_ctl.baselines.glass.settings import Settings
from vbench_ctl.errors import UsageError
from vbench_ctl.frames import normalised, pixels, psnr
from vbench_ctl.training import Batch, Update

# Non-finite gradients: Araachie/glass:training/trainer.py.
LARGEST = 1e5

KEPT = 0.999  # of the counts of codes per true action, from one step to the next


class System(Glass):
    """GLASS with its losses, schedules and samples."""

    counts: Tensor

    def __init__(self, settings: Settings, height: int, width: int) -> None:
        super().__init__(settings, height, width)
        if settings.labels:
            self.register_buffer("counts", torch.zeros(settings.labels, settings.codes))

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """Return the one Adam."""
        adam = torch.optim.Adam(self.parameters(), self.settings.learning_rate, weight_decay=self.settings.weight_decay)
        adam.register_step_pre_hook(_make_finite)
        return {"adam": adam}

    def rates(self, step: int) -> dict[str, float]:
        """Return the factor on Adam's learning rate."""
        return {"adam": self.settings.rate_at(step)}

    def updates(self, batch: Batch, step: int) -> Iterator[Update]:
        """Yield the one update of a step; weights that have no loss yet get no gradient and stay as they are."""
        settings = self.settings
        self._check(batch["frames"])
        local = step >= settings.global_steps
        frames = normalised(batch["frames"][:, : settings.frames_at(step)])
        terms = self.terms(
            frames,
            given=settings.given_at(step),
            temperature=settings.temperature_at(step),
            local=local or settings.reference_decay,
            labels=batch.get("local_action") if settings.labels else None,
        )
        yield Update("adam", self.total(terms, local), {name: term.detach() for name, term in terms.items()})
        if settings.revive_every and local and (since := step + 1 - settings.global_steps) % settings.revive_every == 0:
            codebook = self.local.actions.codebook
            codebook.begin() if since == settings.revive_every else codebook.revive()
            if dist.is_initialized():  # each process has its own clips and draws; the first one's codes hold
                dist.broadcast(codebook.codes.data, 0)

    def _check(self, clips: Tensor) -> None:
        """Refuse clips (B, T, H, W, 3) that are too short for the schedule, or too few for a batch norm."""
        settings, (count, length, height, width) = self.settings, clips.shape[:4]
        fewest, most = min(settings.frames[:2]), max(settings.frames[:2])
        if length < most:
            raise UsageError(
                f"glass: the clips have {length} frames, and model.frames asks for up to {most}; "
                f"set data.length={most} or change [model] frames"
            )
        places = height * width // (2 * SHRINK) ** 2  # of the smallest map
        if count * min(fewest - 1, places) < 2:
            raise UsageError(
                f"glass: 1 clip of {fewest} frames of {width}x{height} is too little at once for a batch norm; raise "
                "training.batch, or lower training.accumulate or the number of processes"
            )

    def terms(
        self,
        frames: Tensor,
        given: int,
        temperature: float = 1.0,
        local: bool = True,
        labels: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Return the loss terms by name for frames (B, T, 3, H, W) in [-1, 1]; true actions (B, T) are counted."""
        weights = self.settings.weights
        near = self.distance(frames.device) if weights["background_perceptual"] else None
        frozen = local and self.settings.freeze_layers
        for part in (self.masking, self.inpainting, self.foreground_motion, self.background_motion):
            part.train(self.training and not frozen)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not frozen):
            layers = self.layers(frames)
            terms = losses.of_layers(frames, layers, near, self.settings.mask_share)
        if local:
            far = self.distance(frames.device) if weights["rendering_perceptual"] else None
            made = self.rendering(layers, given, temperature)
            terms |= losses.of_rendering(layers, made, far)
            if labels is not None:
                self._count(made.choice, labels[:, 1 : frames.shape[1]])
        return terms

    @torch.no_grad()
    def _count(self, choice: Tensor, labels: Tensor) -> None:
        """Count codes (B, T-1) beside true actions, forgetting slowly."""
        choice = choice.argmax(-1) if choice.is_floating_point() else choice
        low, high, known = int(labels.min()), int(labels.max()), self.settings.labels
        if low < 0 or high >= known:
            raise UsageError(
                f"glass: the data have a local action {low if low < 0 else high}, and model.labels = {known} counts 0 to "
                f"{known - 1}; set it to the number of actions, or take data whose actions are all known"
            )
        cells = labels.long().flatten() * self.settings.codes + choice.flatten()
        found = torch.bincount(cells, minlength=self.counts.numel()).view_as(self.counts)
        self.counts.mul_(KEPT).add_(found)

    def codes_of(self, actions: Tensor) -> Tensor:
        """Return the code that tells most surely of each true action (...)."""
        return (self.counts / self.counts.sum(0).clamp(min=1)).argmax(1)[actions.long()]

    def total(self, terms: dict[str, Tensor], local: bool = True) -> Tensor:
        """Return the weighted sum; without `local` the local terms count nothing, but their gradients are there."""
        weights = self.settings.weights
        off = () if local else losses.LOCAL
        return torch.stack([0 * term if name in off else weights[name] * term for name, term in terms.items()]).sum()

    def distance(self, device: torch.device) -> losses.Distance:
        """Return the perceptual distance; it is no part of the system, so that nothing trains or saves it."""
        return perceptual.load(device)

    def evaluate(self, batch: Batch, step: int) -> dict[str, float]:
        """Return how well frames 2..T come out of the first one and what was found in them."""
        frames = normalised(batch["frames"])
        layers = self.layers(frames)
        made = self.rendering(layers, given=1, temperature=self.settings.temperature_at(step))
        first = layers.backgrounds[:, 0], layers.background_shifts
        rendered, moved = (
            generated(*first, *shown) for shown in ((made.pictures[0], made.masks), moved_on(layers, given=1))
        )
        found = {
            "psnr": psnr(frames[:, 1:], rendered.clamp(-1, 1)),
            "psnr_moved": psnr(frames[:, 1:], moved.clamp(-1, 1)),
            "psnr_layers": psnr(frames[:, 1:], layers.reconstruction.clamp(-1, 1)),
            "mask_share": float(layers.masks.mean()),
            "codes_used": float(codes_used(made.choice, self.settings.codes)),
        }
        if "masks" in batch:
            found["iou"] = float(iou(layers.masks[:, :, 0], batch["masks"].float() / 255))
        return found

    def pictures(self, batch: Batch, step: int) -> list[tuple[str, np.ndarray]]:
        """Return what becomes of the first clip, each uint8 (T, H, W, 3)."""
        frames = normalised(batch["frames"][:1])
        layers = self.layers(frames)
        made = self.rendering(layers, given=1, temperature=self.settings.temperature_at(step))
        video = generated(layers.backgrounds[:, 0], layers.background_shifts, made.pictures[0], made.masks)
        first = frames[:, :1]
        rows = {
            "real": frames,
            "mask": (2 * layers.masks - 1).expand_as(frames),
            "foreground": layers.foregrounds,
            "background": layers.backgrounds,
            "layers moved": torch.cat([first, layers.reconstruction], 1),
            "rendered": torch.cat([layers.foregrounds[:, :1], made.pictures[0]], 1),
            "rendered mask": (2 * torch.cat([layers.masks[:, :1], made.masks], 1) - 1).expand_as(frames),
            "generated": torch.cat([first, video], 1),
        }
        return [(label, pixels(video)[0].cpu().numpy()) for label, video in rows.items()]


def iou(masks: Tensor, truth: Tensor) -> Tensor:
    """Return the soft intersection over union of masks (..., H, W), the mean over the frames."""
    both = (masks * truth).sum((-2, -1))
    either = (1 - (1 - masks) * (1 - truth)).sum((-2, -1))
    return (both / (either + 1e-16)).mean()


def codes_used(choice: Tensor, codes: int) -> Tensor:
    """Return the perplexity of chosen codes or weights: K when all are taken equally often, 1 when one always is."""
    taken = choice if choice.is_floating_point() else F.one_hot(choice, codes).float()
    share = taken.flatten(0, -2).mean(0)
    return (-(share * (share + 1e-10).log()).sum()).exp()


def _make_finite(optimizer: torch.optim.Optimizer, *_: Any) -> None:
    for group in optimizer.param_groups:
        for weight in group["params"]:
            if weight.grad is not None:
                weight.grad.nan_to_num_(nan=0.0, posinf=LARGEST, neginf=-LARGEST)
