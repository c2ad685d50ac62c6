"""Shifts: how GLASS moves foregrounds and backgrounds."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor


def shifted(
    images: Tensor,
    shifts: Tensor,
    padding: Literal["zeros", "border"] = "zeros",
    mode: Literal["bilinear", "nearest"] = "bilinear",
    scales: Tensor | None = None,
) -> Tensor:
    """Move the content of images (..., C, H, W) by shifts (..., 2): 1 is half the width to the right, half the height down.

    `scales` (..., 2) make it larger or smaller about the middle first.
    """
    flat, shift = images.flatten(0, -4), shifts.flatten(0, -2)
    height, width = flat.shape[2:]
    exact = torch.promote_types(shift.dtype, torch.float32)  # half precision would miss pixels
    x = (torch.arange(width, device=flat.device, dtype=exact) * 2 + 1) / width - 1
    y = (torch.arange(height, device=flat.device, dtype=exact) * 2 + 1) / height - 1
    centres = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)  # of the pixels: (H, W, 2)
    grid = centres - shift[:, None, None]
    if scales is not None:
        grid = grid / (scales.flatten(0, -2)[:, None, None] + 1e-9)
    moved = F.grid_sample(flat.to(exact), grid, mode=mode, padding_mode=padding, align_corners=False)
    return moved.to(images.dtype).view_as(images)
