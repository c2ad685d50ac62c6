"""The fixed networks that scores are defined on: frames -> features. Here: what they share.

Each module has NAME, WEIGHTS, a network, `convert` (tensors of any published file -> our state dict), `load`, which
returns an extractor, and `self_test`, which refuses weights that are none, whoever trained them. Where it is known how
far apart the weights of a name see black and white, BLACK_WHITE has it, and `verify` refuses others under that name.
"""

import ctypes
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from vbench_ctl.errors import VbenchError, unknown
from vbench_ctl.features import convolution
from vbench_ctl.resize import resize as resize_planes

RANGES = {"[-1,1]": (2.0, -1.0), "[0,1]": (1.0, 0.0)}  # scale and shift from [0, 1]
CHANNELS = ("rgb", "bgr")
BATCH = 4  # on one thread PyTorch leaves oneDNN for small inputs: single clips take a third longer

Tensors = Mapping[str, np.ndarray]
Weights = Tensors | Path | str


def tensors(weights: Weights) -> Tensors:
    """Return the tensors of a weight file, or the given ones."""
    if isinstance(weights, Mapping):
        return weights
    from vbench_ctl.weights import read

    return read(Path(weights))


def check(state: Mapping[str, Tensor], network: nn.Module, what: str) -> None:
    """Refuse a state dict that lacks a tensor of the network or has one of another shape."""
    wanted = {name: value for name, value in network.state_dict().items() if not name.endswith("num_batches_tracked")}
    for name, found, expected in misfits(state, wanted):
        if found is None:
            raise VbenchError(
                f"{what}: the weights lack {name} {expected}, the file is cut short or another network's; use the right file"
            )
        if expected is not None:
            raise VbenchError(f"{what}: {name} is {found}, expected {expected}; use the right file")


Shape = tuple[int, ...]


def misfits(state: Mapping[str, Any], wanted: Mapping[str, Any]) -> Iterator[tuple[str, Shape | None, Shape | None]]:
    """Yield the tensors in which a state dict is not like the one wanted: name, shape found, shape expected; None: not there."""
    for name in dict.fromkeys([*wanted, *state]):
        found, expected = (tuple(each[name].shape) if name in each else None for each in (state, wanted))
        if found != expected:
            yield name, found, expected


def unknown_style(what: str, found: Tensors) -> VbenchError:
    """Say that a file's names are none that we know."""
    some = ", ".join(sorted(found)[:3]) or "none"
    return VbenchError(
        f"{what}: the file has {len(found)} tensors named {some} and so on, which is no published file of this "
        'network; "vbench-ctl list weights" names the files that fit'
    )


def black_and_white(*shape: int) -> np.ndarray:
    """Return a black and a white clip or frame, uint8 (2, *shape)."""
    both = np.zeros((2, *shape), np.uint8)
    both[1] = 255
    return both


def check_apart(what: str, features: np.ndarray) -> None:
    """Refuse weights that give black and white the same features, or none."""
    if not np.isfinite(features).all() or np.allclose(*features):
        raise VbenchError(f"{what}: black and white have the same or no features; the weights are broken")


def check_known(what: str, found: float, expected: float, weights: str, within: float = 0.01) -> None:
    """Refuse weights that see black and white further apart, or less, than those of this name do."""
    if not abs(found / expected - 1) < within:
        raise VbenchError(
            f"{what}: black and white are {found:.4f} apart, expected {expected}; these are not the weights that "
            f'"{weights}" means, use those'
        )


@torch.no_grad()
def fold(conv: Any, norm: Any) -> nn.Identity:
    """Put a batch norm into the convolution before it and return what is left of it: nothing."""
    conv.weight, conv.bias = fuse_conv_bn_weights(
        conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
    )
    return nn.Identity()


def pointwise(x: Tensor, conv: nn.Conv3d) -> Tensor:
    """Apply a 1x1x1 convolution to (N, C, T, H, W) in channels-last memory as one of pictures, for which PyTorch is quicker."""
    t, h, w = conv.stride
    clips = x[:, :, ::t, ::h, ::w].movedim(1, 2)
    return F.conv2d(clips.flatten(0, 1), conv.weight[..., 0], conv.bias).unflatten(0, clips.shape[:2]).movedim(2, 1)


def ready(network: nn.Module, device: str) -> None:
    """Put a network into eval mode, its kernels into channels-last memory, all of it on the device; it trains no more."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.to(memory_format=torch.channels_last)
        if isinstance(module, nn.Conv3d):
            module.to(memory_format=torch.channels_last_3d)
    network.eval().requires_grad_(False).to(device)
    if torch.device(device).type == "cpu":
        _keep_memory()
        convolution.install(network)


@cache
def _keep_memory() -> None:
    """Let glibc keep what is freed, where it is the allocator: new pages for each layer cost a tenth of the time."""
    with suppress(AttributeError, OSError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(ctypes.c_int(-3), ctypes.c_int(1 << 28))  # M_MMAP_THRESHOLD: what is larger is a mapping of its own
        mallopt(ctypes.c_int(-1), ctypes.c_int(1 << 29))  # M_TRIM_THRESHOLD: only more than that is given back


def check_clips(clips: np.ndarray | Tensor, shortest: int = 1) -> Tensor:
    """Refuse what is not uint8 clips (N, T, H, W, 3) of at least `shortest` frames."""
    clips = _checked(clips, "clips", "(N, T, H, W, 3)")
    if clips.shape[1] < shortest:
        raise VbenchError(
            f"the clips have {clips.shape[1]} frames and this network needs at least {shortest}; score longer clips"
        )
    return clips


def check_frames(frames: np.ndarray | Tensor) -> Tensor:
    """Refuse what is not uint8 frames (N, H, W, 3)."""
    return _checked(frames, "frames", "(N, H, W, 3)")


def _checked(videos: np.ndarray | Tensor, what: str, axes: str) -> Tensor:
    if isinstance(videos, np.ndarray):
        videos = torch.from_numpy(np.ascontiguousarray(videos))  # torch knows no reversed axes
    if videos.dtype != torch.uint8 or videos.ndim != axes.count(",") + 1 or videos.shape[-1] != 3 or not videos.numel():
        found = f"{str(videos.dtype).removeprefix('torch.')} {tuple(videos.shape)}"
        raise VbenchError(f"the {what} are {found}, expected uint8 {axes} in RGB order; convert them first")
    return videos


def prepared(
    clips: Tensor, size: tuple[int, int], *, resize: str, aspect: str = "stretch", channels: str = "rgb", range: str
) -> Tensor:
    """Turn uint8 clips (N, T, H, W, 3) into float32 (N, 3, T, height, width) in channels-last memory."""
    if range not in RANGES:
        raise unknown("range", range, RANGES)
    if channels not in CHANNELS:
        raise unknown("channel order", channels, CHANNELS)
    scale, shift = RANGES[range]
    planes = clips.movedim(-1, 2).float()  # (N, T, 3, H, W)
    planes = planes.mul_(scale / 255).add_(shift)  # before resizing: there are fewer pixels, and its weights sum to 1
    planes = resize_planes(planes, size, resize, aspect).transpose(1, 2)
    if channels == "bgr":
        planes = planes.flip(1)
    return planes.contiguous(memory_format=torch.channels_last_3d)


def squared(clips: Tensor, side: int) -> Tensor:
    """Make uint8 clips (N, T, H, W, 3) square as cd-fvd's loader does: antialiased, centre cut, 8 bits without rounding."""
    planes = resize_planes(clips.movedim(-1, 2).float() / 255, (side, side), "pil_antialias", "shorter_side_crop")
    return (planes * 255).to(torch.uint8).movedim(2, -1)


@torch.inference_mode()
def in_batches(items: Tensor, batch: int, run: Callable[[Tensor], Tensor]) -> np.ndarray:
    """Run at most `batch` items at a time, in parts of like size, and return the float32 features (N, D)."""
    parts = items.tensor_split(-(-len(items) // batch))
    return torch.cat([run(part).float().cpu() for part in parts]).numpy()
