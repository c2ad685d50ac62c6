"""Convolutions with fewer multiplications than the direct way has, which is all that PyTorch offers on a CPU.

Patches of pixels and kernels are each mapped linearly to points, multiplied point by point and mapped to a tile of results,
all of it as matrix products. Kernels of up to 5 pixels go Cook's and Toom's way, which Winograd made minimal (Lavin and Gray,
arXiv 1509.09308): those of 3x3 take 36 products in place of 144, those of 1x3 and 3x1 take 6 in place of 12, those of 5x5, line
by line, 40 in place of 100. Kernels of 1x7 and 7x1 take the Fourier transform of 24 pixels, 35 in place of 126. Where a kernel
of 7 frames takes every second one, points are whole frames, 13 convolutions of pictures in place of 28.
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
CHANNELS = 48  # with fewer, or in smaller pictures, or where tiles stick out far, the direct way is quicker
SIDE = 8
MOST_COVERED = 1.8  # times the picture
POINTS = (0, 1, -1, 2, -2, 1 / 2, -1 / 2)  # and infinity: small numbers that lose little precision


class Algorithm(NamedTuple):
    """A way to convolve, for kernels of one size; the matrices are float64."""

    patch: tuple[int, ...]
    tile: tuple[int, ...]
    of_pixels: Tensor  # (points, pixels of a patch)
    of_kernel: Tensor  # (points, pixels of a kernel)
    of_points: Tensor  # (pixels of a tile, points)

    def squared(self) -> "Algorithm":
        """Return the way along a line taken in both directions of a picture."""
        matrices = (torch.kron(each, each) for each in self[2:])
        return Algorithm(self.patch * 2, self.tile * 2, *matrices)

    def across(self) -> "Algorithm":
        """Return the way along a line for those of a picture."""
        return Algorithm((1, *self.patch), (1, *self.tile), *self[2:])

    def down(self) -> "Algorithm":
        """Return the way along a line for the columns of a picture."""
        return Algorithm((*self.patch, 1), (*self.tile, 1), *self[2:])


def toom(kernel: int, tile: int) -> Algorithm:
    """Return the way by the values of polynomials at points, along a line."""
    patch = tile + kernel - 1
    points = POINTS[: patch - 1]

    def powers(count: int) -> np.ndarray:
        return np.array([[point**power for power in range(count)] for point in points] + [[0.0] * (count - 1) + [1]])

    # Fractions go where they cost no precision, to the kernel
    scale = np.array([np.prod([point - other for other in points if other != point]) for point in points] + [1.0])
    of_pixels = np.linalg.inv(powers(patch)) * scale
    return _along_a_line(of_pixels.T, powers(kernel) / scale[:, None], powers(tile).T)


def fourier(kernel: int, patch: int) -> Algorithm:
    """Return the way over frequencies, along a line; each product of complex numbers is three of real ones."""
    tile = patch - kernel + 1
    angles = 2 * np.pi / patch * np.outer(np.arange(patch // 2 + 1), np.arange(patch))
    of_pixels, of_kernel, of_points = [], [], []
    for frequency, (cos, sin) in enumerate(zip(np.cos(angles), np.sin(angles), strict=True)):
        if frequency in (0, patch / 2):  # real
            of_pixels.append(cos)
            of_kernel.append(cos[:kernel])
            of_points.append(cos[:tile])
        else:
            of_pixels += [cos - sin, cos, -sin]
            of_kernel += [cos[:kernel], (sin - cos)[:kernel], (cos + sin)[:kernel]]
            of_points += [2 * (cos - sin)[:tile], -2 * sin[:tile], -2 * cos[:tile]]
    return _along_a_line(np.stack(of_pixels), np.stack(of_kernel), np.stack(of_points, 1) / patch)


def halving(kernel: int, tile: int) -> Algorithm:
    """Return the way of a stride of 2 along a line: even and odd pixels meet a part of the kernel each."""
    even, odd = (toom(len(range(phase, kernel, 2)), tile) for phase in (0, 1))
    many = len(even.of_pixels)
    of_pixels, of_kernel = (np.zeros((many + len(odd.of_pixels), size)) for size in (2 * (tile - 1) + kernel, kernel))
    of_pixels[:many, ::2], of_pixels[many:, 1::2] = even.of_pixels, odd.of_pixels
    of_kernel[:many, ::2], of_kernel[many:, 1::2] = even.of_kernel, odd.of_kernel
    return _along_a_line(of_pixels, of_kernel, np.hstack([even.of_points, odd.of_points]))


def _along_a_line(*matrices: np.ndarray) -> Algorithm:
    of_pixels, of_kernel, of_points = (torch.from_numpy(each) for each in matrices)
    return Algorithm((of_pixels.shape[1],), (len(of_points),), of_pixels, of_kernel, of_points)


# Of 5x5 the five lines are summed, as the frames of a kernel over time are
ALGORITHMS: dict[tuple[int, ...], Algorithm] = {
    (3, 3): toom(3, 4).squared(),
    (1, 3): toom(3, 4).across(),
    (3, 1): toom(3, 4).down(),
    (5, 5): toom(5, 4).across(),
    (1, 7): fourier(7, 24).across(),
    (7, 1): fourier(7, 24).down(),
}
OVER_TIME = halving(7, 4)  # of kernels of 7x7x7 with a stride of 2


def install(network: nn.Module) -> None:
    """Let the convolutions of a network for which it is quicker go this way; their weights may not change any more."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d) and (way := _way(module)):
            vars(module)["forward"] = way


def _way(conv: nn.Conv2d | nn.Conv3d) -> Callable[[Tensor], Tensor] | None:
    if conv.groups > 1 or conv.padding_mode != "zeros" or isinstance(conv.padding, str) or set(conv.dilation) != {1}:
        return None
    if isinstance(conv, nn.Conv3d) and conv.kernel_size == (7, 7, 7) and conv.stride == (2, 2, 2):
        return partial(_over_time, cache(partial(_kernels_of_pictures, conv.weight)), conv)
    if isinstance(conv, nn.Conv3d) and conv.kernel_size[-2:] == (5, 5):
        return None  # lines of several frames
    algorithm = ALGORITHMS.get(conv.kernel_size[-2:])
    if algorithm and set(conv.stride) == {1} and min(conv.in_channels, conv.out_channels) >= CHANNELS:
        return partial(_over_pixels, algorithm, cache(partial(_kernels, algorithm, conv.weight)), conv)
    return None


def _kernels(algorithm: Algorithm, weight: Tensor) -> Tensor:
    """Turn a kernel (out, in, h, w) or (out, in, time, h, w) into (times, points, in, out); lines that are summed are times."""
    taps = algorithm.of_kernel.shape[1]
    pixels = weight.detach().double().reshape(*weight.shape[:2], -1, taps)
    return torch.einsum("pk,oitk->tpio", algorithm.of_kernel, pixels).float().contiguous()


def _kernels_of_pictures(weight: Tensor) -> list[Tensor]:
    """Turn a kernel (out, in, time, h, w) into one for pictures, (out, in, h, w), for each point."""
    kernels = torch.einsum("pk,oikhw->poihw", OVER_TIME.of_kernel, weight.detach().double()).float()
    return [kernel.contiguous(memory_format=torch.channels_last) for kernel in kernels]


def _over_time(kernels: Callable[[], list[Tensor]], conv: nn.Conv3d, x: Tensor) -> Tensor:
    """Do what the convolution does with (N, C, T, H, W), by points in time."""
    (patch,), (tile,), stride = OVER_TIME.patch, OVER_TIME.tile, conv.stride[0]
    sizes, padding = _sizes_and_padding(conv, x)
    before, above, left = padding
    tiles = -(-sizes[0] // tile)
    if tiles * tile > MOST_COVERED * sizes[0]:
        return F.conv3d(x, conv.weight, conv.bias, conv.stride, padding)
    after = stride * tile * (tiles - 1) + patch - before - x.shape[2]
    clips = _padded(x.movedim(1, -1), (before, after), (above, above), (left, left))
    out = x.new_empty(len(x), tiles * tile, *sizes[1:], conv.out_channels)
    for clip, made in zip(clips, out, strict=True):
        for first in range(0, tiles * tile, tile):
            points = torch.tensordot(OVER_TIME.of_pixels.float(), clip[stride * first :][:patch], 1).movedim(-1, 1)
            pictures = zip(points[:, None], kernels(), strict=True)
            results = torch.cat([F.conv2d(picture, kernel, stride=conv.stride[1:]) for picture, kernel in pictures])
            frames = torch.tensordot(OVER_TIME.of_points.float(), results.movedim(1, -1), 1)
            torch.add(frames, _bias(conv), out=made[first : first + tile])
    return out[:, : sizes[0]].movedim(-1, 1)


def _over_pixels(algorithm: Algorithm, kernels: Callable[[], Tensor], conv: nn.Conv2d | nn.Conv3d, x: Tensor) -> Tensor:
    """Do what the convolution does with (N, C, H, W) or (N, C, T, H, W), by points in tiles of pictures."""
    sizes, padding = _sizes_and_padding(conv, x)
    tiles = [-(-size // tile) for size, tile in zip(sizes[-2:], algorithm.tile, strict=True)]
    if min(sizes[-2:]) < SIDE or prod(tiles) * prod(algorithm.tile) > MOST_COVERED * prod(sizes[-2:]):
        direct: Callable[..., Tensor] = F.conv2d if x.ndim == 4 else F.conv3d
        return direct(x, conv.weight, conv.bias, padding=padding)
    clips = x.movedim(1, -1)
    if x.ndim == 5:
        return _convolve(algorithm, clips, kernels(), _bias(conv), padding, sizes).movedim(-1, 1)
    if len(kernels()) > 1:  # the lines of a picture are the frames of a clip
        above, left = padding
        out = _convolve(algorithm, clips[:, :, None], kernels(), _bias(conv), (above, 0, left), (sizes[0], 1, sizes[1]))
        return out[:, :, 0].movedim(-1, 1)
    # Pictures are the frames of a clip, and the kernel looks at one of them
    return _convolve(algorithm, clips[None], kernels(), _bias(conv), (0, *padding), (len(x), *sizes))[0].movedim(-1, 1)


def _sizes_and_padding(conv: nn.Conv2d | nn.Conv3d, x: Tensor) -> tuple[tuple[int, ...], tuple[int, ...]]:
    padding = tuple(int(zeros) for zeros in conv.padding)
    axes = zip(x.shape[2:], padding, conv.kernel_size, conv.stride, strict=True)
    return tuple((size + 2 * zeros - kernel) // stride + 1 for size, zeros, kernel, stride in axes), padding


def _bias(conv: nn.Conv2d | nn.Conv3d) -> Tensor:
    return conv.weight.new_zeros(()) if conv.bias is None else conv.bias


def _padded(clips: Tensor, *zeros: tuple[int, int]) -> Tensor:
    """Return clips (N, T, H, W, C), with zeros around where there are any, in that order in memory."""
    around = [each for before_and_after in reversed(zeros) for each in before_and_after]
    return (F.pad(clips, [0, 0, *around]) if any(around) else clips).contiguous()


def _convolve(
    algorithm: Algorithm,
    clips: Tensor,
    kernels: Tensor,
    bias: Tensor,
    padding: tuple[int, ...],
    sizes: tuple[int, ...],
) -> Tensor:
    """Convolve clips (N, T, H, W, in) with kernels (times, points, in, out)."""
    (high, wide), (over_time, above, left), (frames, height, width) = algorithm.tile, padding, sizes
    rows, columns = -(-height // high), -(-width // wide)
    below = rows * high + algorithm.patch[0] - high - above - clips.shape[2]
    right = columns * wide + algorithm.patch[1] - wide - left - clips.shape[3]
    clips = _padded(clips, (over_time, over_time), (above, below), (left, right))
    out = clips.new_empty(len(clips), frames, rows * high, columns * wide, kernels.shape[-1])
    # So many frames and rows of tiles at a time; a kernel that goes over time sees all frames at once
    some = frames if len(kernels) > 1 else max(1, TILES // (rows * columns))
    step = max(1, TILES // (min(some, frames) * columns))
    for clip, made in zip(clips, out, strict=True):
        for frame in range(0, frames, some):
            for row in range(0, rows, step):
                block = made[frame : frame + some, high * row : high * (row + step)]
                _convolve_tiles(algorithm, clip[frame:, high * row :], kernels, bias, block)
    return out[:, :, :height, :width]


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
