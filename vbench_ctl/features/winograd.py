"""Convolutions of 3x3 pixels with a quarter of the multiplications, on a CPU, where PyTorch has only the direct way.

Winograd's F(4x4, 3x3) as matrix products: each tile of 4x4 results is made of 6x6 pixels. The matrices are those of Lavin
and Gray, arXiv 1509.09308, section 4.3. Results differ from direct ones by some 3e-6 of the largest.
"""

from collections.abc import Callable
from functools import cache, partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TILE, PATCH = 4, 6  # pixels of a line: of results, and of what they are made of
TILES = 100  # at a time, so that what they hold stays in the processor's cache
CHANNELS, SIDE = 64, 8  # with fewer channels, or in smaller pictures, the direct way is quicker

# Of a line: pixels, kernel (times 24) and results
OF_PIXELS = [
    [4, 0, -5, 0, 1, 0],
    [0, -4, -4, 1, 1, 0],
    [0, 4, -4, -1, 1, 0],
    [0, -2, -1, 2, 1, 0],
    [0, 2, -1, -2, 1, 0],
    [0, 4, 0, -5, 0, 1],
]
OF_KERNEL = [[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]
OF_RESULTS = [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]]


def _square(line: list[list[int]], scale: int = 1) -> Tensor:
    """Return what a line's matrix does along both axes of a square."""
    matrix = torch.tensor(line, dtype=torch.float64) / scale
    return torch.kron(matrix, matrix)


INTO, OUT_OF = _square(OF_PIXELS).float(), _square(OF_RESULTS).float()


def install(network: nn.Module) -> None:
    """Let the convolutions of a network that it is made for go this way; their weights may not change any more."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d) and _fits(module):
            vars(module)["forward"] = partial(_forward, module, cache(partial(_kernels, module.weight)))


def _fits(conv: nn.Conv2d | nn.Conv3d) -> bool:
    plain = conv.groups == 1 and conv.padding_mode == "zeros" and not isinstance(conv.padding, str)
    plain = plain and set(conv.stride) | set(conv.dilation) == {1}
    return plain and conv.kernel_size[-2:] == (3, 3) and min(conv.in_channels, conv.out_channels) >= CHANNELS


def _kernels(weight: Tensor) -> Tensor:
    """Turn a kernel (out, in, 3, 3) or (out, in, time, 3, 3) into (time, 36, in, out)."""
    pixels = weight.detach().double().flatten(-2).reshape(*weight.shape[:2], -1, 9)
    return torch.einsum("pk,oitk->tpio", _square(OF_KERNEL, 24), pixels).float().contiguous()


def _forward(conv: nn.Conv2d | nn.Conv3d, kernels: Callable[[], Tensor], x: Tensor) -> Tensor:
    """Do what the convolution does with (N, C, H, W) or (N, C, T, H, W)."""
    if min(x.shape[-2:]) < SIDE:
        direct: Callable[..., Tensor] = F.conv2d if x.ndim == 4 else F.conv3d
        return direct(x, conv.weight, conv.bias, padding=conv.padding)
    clips = x.movedim(1, -1).contiguous()
    if x.ndim == 4:  # pictures are the frames of a clip, and the kernel looks at one of them
        clips = clips[None]
    bias = x.new_zeros(conv.out_channels) if conv.bias is None else conv.bias
    out = _convolve(clips, kernels(), bias, (0, *conv.padding)[-3:])
    return (out[0] if x.ndim == 4 else out).movedim(-1, 1)


def _convolve(clips: Tensor, kernels: Tensor, bias: Tensor, padding: tuple[int, int, int]) -> Tensor:
    """Convolve clips (N, T, H, W, in) with kernels (time, 36, in, out)."""
    times = len(kernels)
    sizes = zip(clips.shape[1:4], padding, (times, 3, 3), strict=True)
    frames, height, width = (size + 2 * zeros - kernel + 1 for size, zeros, kernel in sizes)
    rows, columns = -(-height // TILE), -(-width // TILE)
    over_time, above, left = padding
    below, right = rows * TILE + 2 - above - clips.shape[2], columns * TILE + 2 - left - clips.shape[3]
    clips = F.pad(clips, (0, 0, left, right, above, below, over_time, over_time))
    out = clips.new_empty(len(clips), frames, rows * TILE, columns * TILE, kernels.shape[-1])
    # So many frames and rows of tiles at a time; a kernel that goes over time sees all frames at once
    some = frames if times > 1 else max(1, TILES // (rows * columns))
    step = max(1, TILES // (min(some, frames) * columns))
    for clip, made in zip(clips, out, strict=True):
        for frame in range(0, frames, some):
            for row in range(0, rows, step):
                block = made[frame : frame + some, TILE * row : TILE * (row + step)]
                _convolve_tiles(clip[frame:, TILE * row :], kernels, bias, block)
    return out[:, :, :height, :width].contiguous()


def _convolve_tiles(clip: Tensor, kernels: Tensor, bias: Tensor, out: Tensor) -> None:
    """Fill whole tiles (T, rows, columns, out) with what the pixels from the first on give."""
    times, _, inputs, outputs = kernels.shape
    frames, rows, columns = len(out), out.shape[1] // TILE, out.shape[2] // TILE
    of_frame, of_row, of_column, _ = clip.stride()
    patches = clip.as_strided(
        (PATCH, PATCH, frames + times - 1, rows, columns, inputs),
        (of_row, of_column, of_frame, TILE * of_row, TILE * of_column, 1),
    )
    pixels = (INTO @ patches.reshape(PATCH**2, -1)).view(PATCH**2, -1, rows * columns, inputs)
    results = pixels[:, :frames].flatten(1, 2) @ kernels[0]
    for time in range(1, times):
        results.baddbmm_(pixels[:, time : time + frames].flatten(1, 2), kernels[time])
    tiles = (OUT_OF @ results.flatten(1)).view(TILE, TILE, frames, rows, columns, outputs).permute(2, 3, 0, 4, 1, 5)
    torch.add(tiles, bias, out=out.view(frames, rows, TILE, columns, TILE, outputs))
