"""Convolutions with fewer multiplications than the direct way has, which is all that PyTorch offers on a CPU.

Patches of pixels and kernels are each mapped linearly to points, multiplied point by point and mapped to a tile of results,
all of it as matrix products, in a picture first down, then across. Kernels of up to 5 pixels go Cook's and Toom's way, which
Winograd made minimal (Lavin and Gray, arXiv 1509.09308): those of 3x3 take 64 products in place of 324, or 36 in place of 144
where such tiles fit better, those of 1x3 and 3x1 take 6 in place of 12, those of 5x5 take 64 in place of 400. Kernels of 1x7
and 7x1 take the Fourier transform of 24 pixels, 35 in place of 126. Where a kernel of 7 frames takes every second one, points
are whole frames, 13 convolutions of pictures in place of 28.
Results differ from direct ones by some 1e-5 of the largest.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from math import prod

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

AT_ONCE = 900_000  # numbers at a time, so that they stay in the processor's cache, but
MANY_POINTS = 3600  # so many at least, so that the products are of large matrices
# With fewer products for each number mapped, in smaller pictures or where tiles stick out far the direct way is quicker
PRODUCTS = 21
SIDE = 8
MOST_COVERED = 1.8  # times the picture
POINTS = (0, 1, -1, 2, -2, 1 / 2, -1 / 2)  # and infinity: small numbers that lose little precision


@dataclass(frozen=True, eq=False)
class Line:
    """A way to convolve along a line, for kernels of one length."""

    of_pixels: Tensor  # (points, pixels of a patch)
    of_kernel: Tensor  # (points, pixels of a kernel), float64
    of_points: Tensor  # (pixels of a tile, points)

    @property
    def points(self) -> int:
        """Return how many products a tile takes."""
        return len(self.of_pixels)

    @property
    def patch(self) -> int:
        """Return how many pixels a tile is made from."""
        return self.of_pixels.shape[1]

    @property
    def tile(self) -> int:
        """Return how many results there are at a time."""
        return len(self.of_points)

    def tiles(self, results: int) -> int:
        """Return how many tiles cover so many results."""
        return -(-results // self.tile)

    def pixels(self, results: int) -> int:
        """Return how many pixels these tiles see."""
        return self.tile * (self.tiles(results) - 1) + self.patch

    def cut(self, before: int, pixels: int, results: int) -> "Line":
        """Return the way for one tile only, without the pixels that lie outside and the results that are not wanted."""
        return Line(self.of_pixels[:, before : before + pixels], self.of_kernel, self.of_points[:results])


def toom(kernel: int, tile: int) -> Line:
    """Return the way by the values of polynomials at points."""
    patch = tile + kernel - 1
    points = POINTS[: patch - 1]

    def powers(count: int) -> np.ndarray:
        return np.array([[point**power for power in range(count)] for point in points] + [[0.0] * (count - 1) + [1]])

    # Fractions go where they cost no precision, to the kernel
    scale = np.array([np.prod([point - other for other in points if other != point]) for point in points] + [1.0])
    of_pixels = np.linalg.inv(powers(patch)) * scale
    return _line(of_pixels.T, powers(kernel) / scale[:, None], powers(tile).T)


def fourier(kernel: int, patch: int) -> Line:
    """Return the way over frequencies; each product of complex numbers is three of real ones."""
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
    return _line(np.stack(of_pixels), np.stack(of_kernel), np.stack(of_points, 1) / patch)


def halving(kernel: int, tile: int) -> Line:
    """Return the way of a stride of 2: even and odd pixels meet a part of the kernel each."""
    even, odd = (toom(len(range(phase, kernel, 2)), tile) for phase in (0, 1))
    of_pixels, of_kernel = (np.zeros((even.points + odd.points, size)) for size in (2 * (tile - 1) + kernel, kernel))
    of_pixels[: even.points, ::2], of_pixels[even.points :, 1::2] = even.of_pixels, odd.of_pixels
    of_kernel[: even.points, ::2], of_kernel[even.points :, 1::2] = even.of_kernel, odd.of_kernel
    return _line(of_pixels, of_kernel, np.hstack([even.of_points, odd.of_points]))


def _line(of_pixels: np.ndarray, of_kernel: np.ndarray, of_points: np.ndarray) -> Line:
    return Line(torch.from_numpy(of_pixels).float(), torch.from_numpy(of_kernel), torch.from_numpy(of_points).float())


PIXEL_BY_PIXEL = _line(*np.ones((3, 1, 1)))
# Down and across a picture, for kernels of one size
WAYS: dict[tuple[int, ...], list[tuple[Line, Line]]] = {
    (3, 3): [(toom(3, tile),) * 2 for tile in (4, 6)],
    (1, 3): [(PIXEL_BY_PIXEL, toom(3, 4))],
    (3, 1): [(toom(3, 4), PIXEL_BY_PIXEL)],
    (5, 5): [(toom(5, 4),) * 2],
    (1, 7): [(PIXEL_BY_PIXEL, fourier(7, 24))],
    (7, 1): [(fourier(7, 24), PIXEL_BY_PIXEL)],
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
    ways = WAYS.get(conv.kernel_size[-2:])
    products = conv.in_channels * conv.out_channels / (conv.in_channels + conv.out_channels)
    if ways and set(conv.stride) == {1} and products >= PRODUCTS:
        return partial(_over_pixels, ways, cache(partial(_kernels, conv.weight)), conv)
    return None


def _kernels(weight: Tensor, down: Line, across: Line) -> Tensor:
    """Turn a kernel (out, in, h, w) or (out, in, time, h, w) into (times, points, in, out)."""
    weight = weight.detach().double().reshape(*weight.shape[:2], -1, *weight.shape[-2:])
    points = torch.einsum("ph,qw,oithw->tqpio", down.of_kernel, across.of_kernel, weight)
    return points.flatten(1, 2).float().contiguous()


def _kernels_of_pictures(weight: Tensor) -> list[Tensor]:
    """Turn a kernel (out, in, time, h, w) into one for pictures, (out, in, h, w), for each point."""
    kernels = torch.einsum("pk,oikhw->poihw", OVER_TIME.of_kernel, weight.detach().double()).float()
    return [kernel.contiguous(memory_format=torch.channels_last) for kernel in kernels]


def _over_time(kernels: Callable[[], list[Tensor]], conv: nn.Conv3d, x: Tensor) -> Tensor:
    """Do what the convolution does with (N, C, T, H, W), by points in time."""
    patch, tile, stride = OVER_TIME.patch, OVER_TIME.tile, conv.stride[0]
    sizes, padding = _sizes_and_padding(conv, x)
    before, above, left = padding
    tiles = OVER_TIME.tiles(sizes[0])
    if tiles * tile > MOST_COVERED * sizes[0]:
        return F.conv3d(x, conv.weight, conv.bias, conv.stride, padding)
    lengths = (stride * tile * (tiles - 1) + patch, x.shape[3] + 2 * above, x.shape[4] + 2 * left)
    out = x.new_empty(len(x), tiles * tile, *sizes[1:], conv.out_channels)
    for clip, made in zip(x.movedim(1, -1).contiguous(), out, strict=True):
        clip = _cut(clip, (-before, -above, -left), lengths)
        for first in range(0, tiles * tile, tile):
            points = torch.tensordot(OVER_TIME.of_pixels, clip[stride * first :][:patch], 1).movedim(-1, 1)
            pictures = zip(points[:, None], kernels(), strict=True)
            results = torch.cat([F.conv2d(picture, kernel, stride=conv.stride[1:]) for picture, kernel in pictures])
            frames = torch.tensordot(OVER_TIME.of_points, results.movedim(1, -1), 1)
            torch.add(frames, _bias(conv), out=made[first : first + tile])
    return out[:, : sizes[0]].movedim(-1, 1)


def _over_pixels(
    ways: list[tuple[Line, Line]], kernels: Callable[[Line, Line], Tensor], conv: nn.Conv2d | nn.Conv3d, x: Tensor
) -> Tensor:
    """Do what the convolution does with (N, C, H, W) or (N, C, T, H, W), by points in tiles of pictures."""
    sizes, padding = _sizes_and_padding(conv, x)

    def tiles(way: tuple[Line, Line]) -> int:
        return prod(line.tiles(size) for line, size in zip(way, sizes[-2:], strict=True))

    way = min(ways, key=lambda way: tiles(way) * prod(line.points for line in way))
    covered = tiles(way) * prod(line.tile for line in way)
    if min(sizes[-2:]) < SIDE or covered > MOST_COVERED * prod(sizes[-2:]):
        direct: Callable[..., Tensor] = F.conv2d if x.ndim == 4 else F.conv3d
        return direct(x, conv.weight, conv.bias, padding=padding)
    clips = x.movedim(1, -1)
    if x.ndim == 5:
        return _convolve(way, clips, kernels(*way), _bias(conv), padding, sizes).movedim(-1, 1)
    # Pictures are the frames of a clip, and the kernel looks at one of them
    return _convolve(way, clips[None], kernels(*way), _bias(conv), (0, *padding), (len(x), *sizes))[0].movedim(-1, 1)


def _sizes_and_padding(conv: nn.Conv2d | nn.Conv3d, x: Tensor) -> tuple[tuple[int, ...], tuple[int, ...]]:
    padding = tuple(int(zeros) for zeros in conv.padding)
    axes = zip(x.shape[2:], padding, conv.kernel_size, conv.stride, strict=True)
    return tuple((size + 2 * zeros - kernel) // stride + 1 for size, zeros, kernel, stride in axes), padding


def _bias(conv: nn.Conv2d | nn.Conv3d) -> Tensor:
    return conv.weight.new_zeros(()) if conv.bias is None else conv.bias


def _convolve(
    way: tuple[Line, Line],
    clips: Tensor,
    kernels: Tensor,
    bias: Tensor,
    padding: tuple[int, ...],
    sizes: tuple[int, ...],
) -> Tensor:
    """Convolve clips (N, T, H, W, in) with kernels (times, points, in, out)."""
    (over_time, *around), (frames, height, width) = padding, sizes
    lines, before = [], []
    for line, results, pixels, zeros in zip(way, (height, width), clips.shape[2:4], around, strict=True):
        alone = line.tiles(results) == 1
        lines.append(line.cut(zeros, pixels, results) if alone else line)
        before.append(0 if alone else zeros)
    (down, across), (above, left) = lines, before
    rows, columns = down.tiles(height), across.tiles(width)
    clips = clips.contiguous()
    out = clips.new_empty(len(clips), *sizes, kernels.shape[-1])
    # So many frames and rows of tiles at a time; a kernel that goes over time sees all frames at once
    times, points, *channels = kernels.shape
    tiles = max(MANY_POINTS, AT_ONCE // sum(channels)) // points
    some = frames if times > 1 else max(1, tiles // (rows * columns))
    step = max(1, tiles // (min(some, frames) * columns))
    for clip, made in zip(clips, out, strict=True):
        for frame in range(0, frames, some):
            for row in range(0, rows, step):
                part = made[frame : frame + some, down.tile * row : down.tile * (row + step)]
                starts = (frame - over_time, down.tile * row - above, -left)
                lengths = (len(part) + times - 1, down.pixels(part.shape[1]), across.pixels(width))
                _convolve_tiles((down, across), _cut(clip, starts, lengths), kernels, bias, part)
    return out


def _cut(clip: Tensor, starts: Sequence[int], lengths: Sequence[int]) -> Tensor:
    """Return a part of a clip (T, H, W, C), with zeros where there is no clip."""
    around: list[int] = []
    for axis, (size, start, length) in enumerate(zip(clip.shape, starts, lengths, strict=False)):
        first, last = (min(max(place, 0), size) for place in (start, start + length))
        clip = clip.narrow(axis, first, last - first)
        before = min(max(-start, 0), length)
        around = [before, length - before - (last - first), *around]
    return F.pad(clip, [0, 0, *around]) if any(around) else clip


def _convolve_tiles(way: tuple[Line, Line], clip: Tensor, kernels: Tensor, bias: Tensor, out: Tensor) -> None:
    """Fill whole tiles (T, rows, columns, out) from the pixels (T, H, W, in) that they see."""
    (down, across), times, frames = way, len(kernels), len(out)
    points = _to_points(across, _to_points(down, clip, 1), 3)  # (across, down, T, rows, columns, in)
    rows, columns = points.shape[3:5]
    points = points.flatten(0, 1).flatten(2, 3)
    results = points[:, :frames].flatten(1, 2) @ kernels[0]
    for time in range(1, times):
        results.baddbmm_(points[:, time : time + frames].flatten(1, 2), kernels[time])
    results = results.view(across.points, down.points, -1)
    if down.points > 1:
        results = down.of_points @ results
    results = results.flatten(1)
    if across.points > 1:
        results = across.of_points @ results
    tiles = results.view(across.tile, down.tile, frames, rows, columns, -1).permute(2, 3, 1, 4, 0, 5)
    for some_rows, top_down, high in _whole_and_cut(down.tile, out.shape[1]):
        for some_columns, left_right, wide in _whole_and_cut(across.tile, out.shape[2]):
            part = out[:, top_down, left_right].unflatten(2, (-1, wide)).unflatten(1, (-1, high))
            torch.add(tiles[:, some_rows, :high, some_columns, :wide], bias, out=part)


def _whole_and_cut(tile: int, results: int) -> Iterator[tuple[slice, slice, int]]:
    """Say which tiles lie within so many results, which results they give and how many each; then the same of a cut tile."""
    whole, rest = divmod(results, tile)
    if whole:
        yield slice(whole), slice(whole * tile), tile
    if rest:
        yield slice(whole, None), slice(whole * tile, None), rest


def _to_points(line: Line, x: Tensor, axis: int) -> Tensor:
    """Return the points of all patches along an axis, which counts patches then, (points, ...)."""
    if line.points == 1:
        return x[None]
    patches = x.unfold(axis, line.patch, line.tile).movedim(-1, 0)
    return (line.of_pixels @ patches.reshape(line.patch, -1)).view(-1, *patches.shape[1:])
