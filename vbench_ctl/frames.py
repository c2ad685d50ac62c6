"""Frames as most networks see them, colours first and in [-1, 1], and back."""

import torch
from torch import Tensor


def normalised(frames: Tensor) -> Tensor:
    """Turn uint8 frames (..., H, W, 3) into (..., 3, H, W) in [-1, 1]."""
    return frames.movedim(-1, -3).float() / 127.5 - 1


def pixels(frames: Tensor, truncate: bool = False) -> Tensor:
    """Turn frames (..., 3, H, W) in [-1, 1] into uint8 (..., H, W, 3), rounded, or cut off as some releases do."""
    values = (frames.float().movedim(-3, -1) + 1) * 127.5
    return (values if truncate else values.round()).clamp(0, 255).to(torch.uint8)


def psnr(real: Tensor, made: Tensor) -> float:
    """Return how near frames (..., 3, H, W) in [-1, 1] are, for a log of training: decibels, at most 80, averaged over them."""
    error = ((real - made) / 2).square().mean((-3, -2, -1))
    return float((-10 * (error + 1e-8).log10()).mean())
