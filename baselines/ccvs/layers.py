"""Layers of CCVS: equalised convolutions, blurred resampling, warping and local correlation.

Two families: `Conv` and `Residual` of the autoencoder (leaky ReLU 0.1), `Judge*` of the discriminators (StyleGAN2's leaky
ReLU 0.2 with gain). The places of the modules are those of 16lemoing/ccvs, so that its checkpoints fit by name.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TAPS = (1.0, 3.0, 3.0, 1.0)  # the binomial filter of StyleGAN2
SLOPE = 0.1
JUDGE_SLOPE = 0.2
REACH = 3  # of the correlation, in pixels to each side: 7 x 7 shifts
TILE = (4, 8)  # rows and columns that the correlation works through in one matrix product


def resampled(x: Tensor, kernel: Tensor, up: int = 1, down: int = 1, pad: tuple[int, int] = (0, 0)) -> Tensor:
    """Put zeros between pixels, pad each axis, convolve every channel of (N, C, H, W) with a kernel, keep every n-th."""
    channels = x.shape[1]
    if up > 1:
        spread = x.new_zeros(*x.shape[:2], x.shape[2] * up, x.shape[3] * up)
        spread[..., ::up, ::up] = x
        x = spread
    x = F.pad(x, (*pad, *pad))
    return F.conv2d(x, kernel.flip(0, 1).expand(channels, 1, -1, -1), stride=down, groups=channels)


class Blur(nn.Module):
    """The binomial filter, in full precision."""

    kernel: Tensor

    def __init__(self, pad: int, gain: float = 1.0) -> None:
        super().__init__()
        taps = torch.tensor(TAPS)
        self.pad = pad
        self.register_buffer("kernel", gain * taps.outer(taps) / taps.sum() ** 2, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return resampled(x.float(), self.kernel, pad=(self.pad, self.pad))


class Equalised(nn.Module):
    """A convolution in two or three dimensions whose weights are scaled when it runs, not when they are drawn."""

    def __init__(
        self,
        before: int,
        after: int,
        kernel: int | tuple[int, ...],
        stride: int | tuple[int, ...] = 1,
        padding: int | tuple[int, ...] = 0,
        bias: bool = True,
    ) -> None:
        super().__init__()
        sides = (kernel, kernel) if isinstance(kernel, int) else kernel
        self.weight = nn.Parameter(torch.randn(after, before, *sides))
        self.bias = nn.Parameter(torch.zeros(after)) if bias else None
        self.scale = 1 / math.sqrt(before * math.prod(sides))
        self.stride, self.padding = stride, padding

    def forward(self, x: Tensor) -> Tensor:
        convolve = F.conv3d if self.weight.ndim == 5 else F.conv2d
        return convolve(x, self.weight * self.scale, self.bias, self.stride, self.padding)


class EqualisedUp(Equalised):
    """The transposed convolution that doubles the size."""

    def forward(self, x: Tensor) -> Tensor:
        return F.conv_transpose2d(x, (self.weight * self.scale).transpose(0, 1), self.bias, stride=2)


class Linear(nn.Module):
    """An equalised linear layer, with the discriminators' activation if wanted."""

    def __init__(self, before: int, after: int, active: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(after, before))
        self.bias = nn.Parameter(torch.zeros(after))
        self.scale, self.active = 1 / math.sqrt(before), active

    def forward(self, x: Tensor) -> Tensor:
        if self.active:
            return judged(F.linear(x, self.weight * self.scale), self.bias)
        return F.linear(x, self.weight * self.scale, self.bias)


# The autoencoder's family


class Conv(nn.Sequential):
    """A convolution that keeps, halves ("down") or doubles ("up") the size, then a leaky ReLU."""

    def __init__(
        self, before: int, after: int, kernel: int, resize: str = "", bias: bool = True, active: bool = True
    ) -> None:
        if resize == "down":
            layers = [Blur(kernel // 2 + 1), Equalised(before, after, kernel, stride=2, bias=bias)]
        elif resize == "up":
            layers = [EqualisedUp(before, after, kernel, bias=bias), Blur(2 - kernel // 2, gain=4.0)]
        else:
            layers = [Equalised(before, after, kernel, padding=kernel // 2, bias=bias)]
        super().__init__(*layers, *([nn.LeakyReLU(SLOPE, inplace=True)] if active else []))


class Residual(nn.Module):
    """Two convolutions beside one, halving or doubling the size."""

    def __init__(self, before: int, after: int, resize: str) -> None:
        super().__init__()
        self.conv1 = Conv(before, before, 3)
        self.conv2 = Conv(before, after, 3, resize)
        self.skip = Conv(before, after, 1, resize, bias=False, active=False)

    def forward(self, x: Tensor) -> Tensor:
        return (self.conv2(self.conv1(x)) + self.skip(x)) / math.sqrt(2)


# The discriminators' family


def judged(x: Tensor, bias: Tensor) -> Tensor:
    """Add a bias to the channels, then StyleGAN2's activation."""
    shaped = bias.view(1, -1, *[1] * (x.ndim - 2))
    return F.leaky_relu(x + shaped, JUDGE_SLOPE) * math.sqrt(2)


class Judged(nn.Module):
    """The bias and activation as a layer."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        return judged(x, self.bias)


class JudgeConv(nn.Sequential):
    """A convolution of pictures that keeps or halves the size; without activation it has no bias either."""

    def __init__(self, before: int, after: int, kernel: int, down: bool = False, active: bool = True) -> None:
        if down:
            layers = [Blur(kernel // 2 + 1), Equalised(before, after, kernel, stride=2, bias=False)]
        else:
            layers = [Equalised(before, after, kernel, padding=kernel // 2, bias=False)]
        super().__init__(*layers, *([Judged(after)] if active else []))


class JudgeResidual(nn.Module):
    """Two convolutions beside one, at half the size."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.conv1 = JudgeConv(before, before, 3)
        self.conv2 = JudgeConv(before, after, 3, down=True)
        self.skip = JudgeConv(before, after, 1, down=True, active=False)

    def forward(self, x: Tensor) -> Tensor:
        return (self.conv2(self.conv1(x)) + self.skip(x)) / math.sqrt(2)


class JudgeConv3d(nn.Module):
    """A convolution of clips (N, C, T, H, W) that keeps or halves height and width; `kernel` is (t, k)."""

    def __init__(
        self,
        before: int,
        after: int,
        kernel: tuple[int, int],
        time_padding: int = 0,
        down: bool = False,
        active: bool = True,
    ) -> None:
        super().__init__()
        times, side = kernel
        self.blur = Blur(side // 2 + 1) if down else None
        stride, padding = ((1, 2, 2), (time_padding, 0, 0)) if down else (1, (time_padding, side // 2, side // 2))
        layer = Equalised(before, after, (times, side, side), stride, padding, bias=False)
        self.layers = nn.Sequential(layer, *([Judged(after)] if active else []))

    def forward(self, x: Tensor) -> Tensor:
        if self.blur is not None:
            x = self.blur(x.flatten(1, 2)).unflatten(1, x.shape[1:3])  # frame by frame
        return self.layers(x)


class JudgeResidual3d(nn.Module):
    """The same for clips; `shorten` takes away the first and the last frame."""

    def __init__(self, before: int, after: int, shorten: bool) -> None:
        super().__init__()
        self.conv1 = JudgeConv3d(before, before, (3, 3), time_padding=1)
        self.conv2 = JudgeConv3d(before, after, (3, 3), time_padding=0 if shorten else 1, down=True)
        self.skip = JudgeConv3d(before, after, (3 if shorten else 1, 1), down=True, active=False)

    def forward(self, x: Tensor) -> Tensor:
        return (self.conv2(self.conv1(x)) + self.skip(x)) / math.sqrt(2)


# Motion


def pixel_centres(height: int, width: int, like: Tensor) -> Tensor:
    """Return where the pixels lie in [-1, 1], x before y: (2, H, W)."""
    y, x = (torch.arange(side, dtype=like.dtype, device=like.device) * 2 + 1 for side in (height, width))
    rows, columns = torch.meshgrid(y / height - 1, x / width - 1, indexing="ij")
    return torch.stack([columns, rows])


def warped(x: Tensor, flow: Tensor, every: int = 1, outside: float = 0.0, mode: str = "bilinear") -> Tensor:
    """Look up (N, C, H, W) at every n-th pixel's place plus its flow (N, 2, H, W) in pixels, x before y.

    The flow is divided by half of W - 1 where the places go by half of W, as released: one pixel of flow moves by
    W / (W - 1). Flows are learnt through this function, so it must stay.
    """
    height, width = x.shape[2:]
    x, flow = x.float(), flow.float()
    half = flow.new_tensor([(width - 1) / 2, (height - 1) / 2]).view(2, 1, 1)
    places = (pixel_centres(height, width, flow) + flow / half)[..., ::every, ::every].movedim(1, -1)
    if not outside:
        return F.grid_sample(x, places, mode=mode, align_corners=False)
    return F.grid_sample(x - outside, places, mode=mode, align_corners=False) + outside


def correlation(a: Tensor, b: Tensor) -> Tensor:
    """Compare each pixel of a with the 7 x 7 pixels around it in b: (N, C, H, W) -> (N, 49, H, W).

    Entry 7 (dy + 3) + dx + 3 is the mean over channels of a[y, x] b[y + dy, x + dx], with zeros outside. The release's
    with a stride is this one, of pictures that keep every stride-th pixel. A tile of a is compared with all of b that
    it can reach in one matrix product; half of its products are wanted, which is still many times faster than 49
    products of whole pictures.
    """
    count, channels, height, width = a.shape
    rows, columns = min(TILE[0], height), min(TILE[1], width)
    down, right = -height % rows, -width % columns
    high, wide = rows + 2 * REACH, columns + 2 * REACH
    tiles = F.pad(a, (0, right, 0, down)).unflatten(3, (-1, columns)).unflatten(2, (-1, rows))
    tiles = tiles.permute(0, 2, 4, 3, 5, 1)  # (N, tiles down, tiles right, rows, columns, C)
    around = F.pad(b, (REACH, REACH + right, REACH, REACH + down)).unfold(2, high, rows).unfold(3, wide, columns)
    around = around.permute(0, 2, 3, 1, 4, 5)  # (N, tiles down, tiles right, C, high, wide)
    grid = tiles.shape[1:3]
    products = tiles.reshape(-1, rows * columns, channels) @ around.reshape(-1, channels, high * wide)
    # Of the products of pixel (y, x), those with (y + dy, x + dx): a diagonal band of the array.
    per_row = columns * high * wide
    strides = (rows * per_row, per_row + wide, high * wide + 1, wide, 1)
    side = 2 * REACH + 1
    band = products.contiguous().as_strided((len(products), rows, columns, side, side), strides)
    band = band.reshape(count, *grid, rows, columns, side * side).transpose(2, 3)
    found = band.reshape(count, grid[0] * rows, grid[1] * columns, side * side)[:, :height, :width].movedim(3, 1)
    return found / channels
