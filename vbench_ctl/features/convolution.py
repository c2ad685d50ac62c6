"""Convolutions with fewer multiplications than the direct way has, which is all that PyTorch offers on a CPU.

Patches of pixels and kernels are each mapped linearly to points, multiplied point by point and mapped to a tile of results,
all of it as matrix products. Kernels of 3x3 pixels have Winograd's F(4x4, 3x3), 36 products in place of 144, with the matrices
of Lavin and Gray, arXiv 1509.09308, section 4.3; those of 1x7 and 7x1 the Fourier transform of 24 pixels, 35 in place of 126.
Results differ from direct ones by some 3e-6 of the largest.
"""

from collections.abc import Callable
from functools import cache, partial
from math import prod
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

TILES = 100  # at a time, so that what they hold stays in the processor's cache
CHANNELS = 64  # with fewer, or in smaller pictures, or where tiles stick out far, the direct way is quicker
SIDE = 8
MOST_COVERED = 1.8  # times the picture


class Algorithm(NamedTuple):
    """A way to convolve, for kernels of one size; the matrices are float64."""

    patch: tuple[int, int]
    tile: tuple[int, int]
    of_pixels: Tensor  # (points, pixels of a patch)
    of_kernel: Tensor  # (points, pixels of a kernel)
    of_points: Tensor  # (pixels of a tile, points)


def winograd() -> Algorithm:
    """Return F(4x4, 3x3)."""
    of_pixels = [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ]
    of_kernel = np.array([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]) / 24
    of_points = [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]]
    lines = (torch.tensor(each, dtype=torch.float64) for each in (of_pixels, of_kernel, of_points))
    return Algorithm((6, 6), (4, 4), *(torch.kron(line, line) for line in lines))


def fourier(kernel: int, pixels: int, vertical: bool) -> Algorithm:
    """Return the way over frequencies for a kernel of one line; each product of complex numbers is three of real ones."""
    tile = pixels - kernel + 1
    angles = 2 * np.pi / pixels * np.outer(np.arange(pixels // 2 + 1), np.arange(pixels))
    of_pixels, of_kernel, of_points = [], [], []
    for frequency, (cos, sin) in enumerate(zip(np.cos(angles), np.sin(angles), strict=True)):
        if frequency in (0, pixels / 2):  # real
            of_pixels.append(cos)
            of_kernel.append(cos[:kernel])
            of_points.append(cos[:tile])
        else:
            of_pixels += [cos - sin, cos, -sin]
            of_kernel += [cos[:kernel], (sin - cos)[:kernel], (cos + sin)[:kernel]]
            of_points += [2 * (cos - sin)[:tile], -2 * sin[:tile], -2 * cos[:tile]]
    of_results = np.stack(of_points, 1) / pixels
    matrices = (torch.from_numpy(each) for each in (np.stack(of_pixels), np.stack(of_kernel), of_results))
    if vertical:
        return Algorithm((pixels, 1), (tile, 1), *matrices)
    return Algorithm((1, pixels), (1, tile), *matrices)


ALGORITHMS = {(3, 3): winograd(), (1, 7): fourier(7, 24, vertical=False), (7, 1): fourier(7, 24, vertical=True)}


def install(network: nn.Module) -> None:
    """Let the convolutions of a network for which it is quicker go this way; their weights may not change any more."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d) and _fits(module):
            algorithm = ALGORITHMS[module.kernel_size[-2], module.kernel_size[-1]]
            kernels = cache(partial(_kernels, algorithm, module.weight))
            vars(module)["forward"] = partial(_forward, algorithm, kernels, module)


def _fits(conv: nn.Conv2d | nn.Conv3d) -> bool:
    plain = conv.groups == 1 and conv.padding_mode == "zeros" and not isinstance(conv.padding, str)
    plain = plain and set(conv.stride) | set(conv.dilation) == {1}
    return plain and conv.kernel_size[-2:] in ALGORITHMS and min(conv.in_channels, conv.out_channels) >= CHANNELS


def _kernels(algorithm: Algorithm, weight: Tensor) -> Tensor:
    """Turn a kernel (out, in, h, w) or (out, in, time, h, w) into (time, points, in, out)."""
    pixels = weight.detach().double().flatten(-2)
    pixels = pixels.reshape(*pixels.shape[:2], -1, pixels.shape[-1])
    return torch.einsum("pk,oitk->tpio", algorithm.of_kernel, pixels).float().contiguous()


def _forward(algorithm: Algorithm, kernels: Callable[[], Tensor], conv: nn.Conv2d | nn.Conv3d, x: Tensor) -> Tensor:
    """Do what the convolution does with (N, C, H, W) or (N, C, T, H, W)."""
    padding = tuple(int(zeros) for zeros in conv.padding)
    sizes = [
        size + 2 * zeros - kernel + 1
        for size, zeros, kernel in zip(x.shape[2:], padding, conv.kernel_size, strict=True)
    ]
    tiles = [-(-size // tile) for size, tile in zip(sizes[-2:], algorithm.tile, strict=True)]
    covered = prod(tiles) * prod(algorithm.tile)
    if min(sizes[-2:]) < SIDE or covered > MOST_COVERED * prod(sizes[-2:]):
        direct: Callable[..., Tensor] = F.conv2d if x.ndim == 4 else F.conv3d
        return direct(x, conv.weight, conv.bias, padding=padding)
    clips = x.movedim(1, -1).contiguous()
    if x.ndim == 4:  # pictures are the frames of a clip, and the kernel looks at one of them
        clips, padding, sizes = clips[None], (0, *padding), [len(x), *sizes]
    bias = x.new_zeros(conv.out_channels) if conv.bias is None else conv.bias
    out = _convolve(algorithm, clips, kernels(), bias, padding, sizes)
    return (out[0] if x.ndim == 4 else out).movedim(-1, 1)


def _convolve(
    algorithm: Algorithm, clips: Tensor, kernels: Tensor, bias: Tensor, padding: tuple[int, ...], sizes: list[int]
) -> Tensor:
    """Convolve clips (N, T, H, W, in) with kernels (time, points, in, out)."""
    (high, wide), (over_time, above, left), (frames, height, width) = algorithm.tile, padding, sizes
    rows, columns = -(-height // high), -(-width // wide)
    below = rows * high + algorithm.patch[0] - high - above - clips.shape[2]
    right = columns * wide + algorithm.patch[1] - wide - left - clips.shape[3]
    clips = F.pad(clips, (0, 0, left, right, above, below, over_time, over_time))
    out = clips.new_empty(len(clips), frames, rows * high, columns * wide, len(bias))
    # So many frames and rows of tiles at a time; a kernel that goes over time sees all frames at once
    some = frames if len(kernels) > 1 else max(1, TILES // (rows * columns))
    step = max(1, TILES // (min(some, frames) * columns))
    for clip, made in zip(clips, out, strict=True):
        for frame in range(0, frames, some):
            for row in range(0, rows, step):
                block = made[frame : frame + some, high * row : high * (row + step)]
                _convolve_tiles(algorithm, clip[frame:, high * row :], kernels, bias, block)
    return out[:, :, :height, :width].contiguous()


def _convolve_tiles(algorithm: Algorithm, clip: Tensor, kernels: Tensor, bias: Tensor, out: Tensor) -> None:
    """Fill whole tiles (T, rows, columns, out) with what the pixels from the first on give."""
    (high, wide), (times, points, inputs, outputs) = algorithm.tile, kernels.shape
    frames, rows, columns = len(out), out.shape[1] // high, out.shape[2] // wide
    of_frame, of_row, of_column, _ = clip.stride()
    patches = clip.as_strided(
        (*algorithm.patch, frames + times - 1, rows, columns, inputs),
        (of_row, of_column, of_frame, high * of_row, wide * of_column, 1),
    )
    pixels = algorithm.of_pixels.float() @ patches.reshape(prod(algorithm.patch), -1)
    pixels = pixels.view(points, -1, rows * columns, inputs)
    results = pixels[:, :frames].flatten(1, 2) @ kernels[0]
    for time in range(1, times):
        results.baddbmm_(pixels[:, time : time + frames].flatten(1, 2), kernels[time])
    tiles = (algorithm.of_points.float() @ results.flatten(1)).view(high, wide, frames, rows, columns, outputs)
    torch.add(tiles.permute(2, 3, 0, 4, 1, 5), bias, out=out.view(frames, rows, high, columns, wide, outputs))
