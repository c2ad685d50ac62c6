"""Frames as CCVS sees them, and back."""

import torch
from torch import Tensor

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, with which the Kinetics model is trained


def normalised(frames: Tensor, imagenet: bool = False) -> Tensor:
    """Turn uint8 frames (..., H, W, 3) into (..., 3, H, W), in [-1, 1] or by ImageNet's mean and deviation."""
    shares = frames.movedim(-1, -3).float() / 255
    mean, std = _scale(shares, imagenet)
    return (shares - mean) / std


def pixels(frames: Tensor, imagenet: bool = False) -> Tensor:
    """Turn frames (..., 3, H, W) back into uint8 (..., H, W, 3), cut off as the release does."""
    mean, std = _scale(frames, imagenet)
    shares = (frames.float() * std + mean).clamp(0, 1)
    return (shares.movedim(-3, -1) * 255).to(torch.uint8)


def _scale(like: Tensor, imagenet: bool) -> tuple[Tensor, Tensor]:
    mean, std = (MEAN, STD) if imagenet else ((0.5,) * 3, (0.5,) * 3)
    return torch.tensor(mean, device=like.device).view(3, 1, 1), torch.tensor(std, device=like.device).view(3, 1, 1)
