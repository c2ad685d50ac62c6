"""Random strokes: holes of another shape than the masks have, for inpainting to learn from."""

import torch
from torch import Tensor


def random_strokes(like: Tensor) -> Tensor:
    """Return masks (N, 1, H, W) of a random stroke each, of the shape, type and device of the given ones."""
    return strokes(torch.rand(len(like), 1, 8, device=like.device), *like.shape[2:]).to(like.dtype)[:, None]


def strokes(numbers: Tensor, height: int, width: int) -> Tensor:
    """Draw (N, count, 8) numbers in [0, 1) as strokes: bool (N, height, width).

    A stroke is a quadratic curve of discs: two numbers each for its start, its end and where between them its
    control point lies, and one for the radius at either end. Places and radii are whole pixels, as released.
    """
    size = numbers.new_tensor([width, height])
    start, end, bend = numbers[..., 0:2] * size, numbers[..., 2:4] * size, numbers[..., 4:6]
    control = start + (end - start) * bend
    radii = numbers[..., 6:8] * (width // 8) + 2
    t = torch.arange(width // 2, device=numbers.device)[:, None] / (width // 2)  # discs along the curve
    centres = (1 - t) ** 2 * start[..., None, :] + 2 * t * (1 - t) * control[..., None, :] + t**2 * end[..., None, :]
    radius = (1 - t[:, 0]) * radii[..., 0:1] + t[:, 0] * radii[..., 1:2]
    x = torch.arange(width, device=numbers.device)
    y = torch.arange(height, device=numbers.device)[:, None]
    place = centres.trunc()[..., None, None]  # (N, count, discs, 2, 1, 1)
    distance = (x - place[..., 0, :, :]) ** 2 + (y - place[..., 1, :, :]) ** 2
    return (distance < radius.trunc()[..., None, None] ** 2).flatten(1, 2).any(1)
