"""The twelve losses of GLASS, by the names that the settings weigh them with."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from vbench_ctl.baselines.glass.model import Layers, Rendering

Distance = Callable[[Tensor, Tensor], Tensor]  # of pictures (N, 3, h, w): target, made -> a number
LOCAL = ("rendering", "rendering_local", "rendering_perceptual", "state", "codes", "rendered_mask")


@torch.no_grad()
def motion_weights(video: Tensor, made: Tensor, bias: float = 0.0) -> Tensor:
    """Return how much frames 2..T of a video (B, T, 3, H, W) and of what was made of them change: (B, T-1, 1, H, W)."""
    made = torch.cat([video[:, :1], made], 1)
    return _change(video[:, 1:], video[:, :-1]) + _change(made[:, 1:], made[:, :-1]) + bias


@torch.no_grad()
def local_weights(target: Tensor, moved: Tensor, rendered: Tensor) -> Tensor:
    """Return where a shift alone, or the rendering, misses the target: (..., 1, H, W)."""
    return _change(target, moved) + _change(target, rendered)


def weighted(target: Tensor, made: Tensor, weights: Tensor) -> Tensor:
    """Return the mean absolute difference under weights."""
    return ((target - made).abs() * weights).mean()


def mask_size(masks: Tensor, share: float) -> Tensor:
    """Return how far the share that each mask (..., 1, H, W) covers is from the one wanted."""
    return (masks.mean((-3, -2, -1)) - share).abs().mean()


def binary_mask(masks: Tensor) -> Tensor:
    """Return how far masks are from 0 and 1."""
    return torch.minimum(masks, 1 - masks).mean()


def perceptual(distance: Distance, target: Tensor, made: Tensor) -> Tensor:
    """Return the distance of videos (B, T, 3, H, W); the target gets no gradient."""
    return distance(target.detach().flatten(0, 1), made.flatten(0, 1))


def multiscale(target: Tensor, made: Sequence[Tensor], weights: Tensor) -> Tensor:
    """Return the weighted difference, averaged over the sizes (B, T, 3, H/k, W/k) of what was made."""
    parts = [weighted(resized(target, one), one, resized(weights, one)) for one in made]
    return torch.stack(parts).mean()


def multiscale_perceptual(distance: Distance, target: Tensor, made: Sequence[Tensor]) -> Tensor:
    """Return the perceptual distance, averaged over the sizes of what was made."""
    return torch.stack([perceptual(distance, resized(target, one), one) for one in made]).mean()


def resized(video: Tensor, like: Tensor) -> Tensor:
    """Resize a video (B, T, C, H, W), bilinear, to the height and width of another."""
    size = like.shape[-2:]
    if video.shape[-2:] == size:
        return video
    frames = F.interpolate(video.flatten(0, 1), size=size, mode="bilinear", align_corners=False)
    return frames.unflatten(0, video.shape[:2])


def of_layers(frames: Tensor, layers: Layers, distance: Distance | None, share: float) -> dict[str, Tensor]:
    """Return the losses of masks, shifts and inpainting for frames (B, T, 3, H, W)."""
    target, made = frames[:, 1:], layers.reconstruction
    losses = {
        "reconstruction": weighted(target, made, motion_weights(frames, made, bias=0.001)),
        "foreground": F.mse_loss(layers.moved_foregrounds, layers.foregrounds[:, 1:]),
        "background": F.l1_loss(layers.moved_backgrounds, layers.backgrounds[:, 1:]),
        "binary_mask": binary_mask(layers.masks),
        "mask_size": mask_size(layers.masks, share),
    }
    if distance:
        losses["background_perceptual"] = perceptual(distance, layers.backgrounds[:, 1:], layers.moved_backgrounds)
    return losses


def of_rendering(layers: Layers, made: Rendering, distance: Distance | None) -> dict[str, Tensor]:
    """Return the losses of local actions and rendering; the layers get no gradient."""
    foregrounds = layers.foregrounds.detach()
    target, full = foregrounds[:, 1:], made.pictures[0]
    missed = local_weights(target, layers.moved_foregrounds, full)
    losses = {
        "rendering": multiscale(target, made.pictures, motion_weights(foregrounds, full)),
        "rendering_local": multiscale(target, made.pictures, missed),
        "state": F.l1_loss(made.states_again, made.states[:, 1:].detach()),
        "codes": made.code_loss,
        "rendered_mask": F.l1_loss(made.masks, layers.masks[:, 1:].detach()),
    }
    if distance:
        losses["rendering_perceptual"] = multiscale_perceptual(distance, target, made.pictures)
    return losses


def _change(a: Tensor, b: Tensor) -> Tensor:
    return (a - b).abs().sum(-3, keepdim=True)
