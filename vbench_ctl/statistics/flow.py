"""Dense optical flow without weights: where each pixel of one frame is in the next, by least squares over a pyramid.

Lucas and Kanade (IJCAI 1981) in a window around every pixel, coarse to fine as in Bouguet's pyramid (Intel 2000). Where
nothing can be seen to move, in plain colour, the coarser level's answer stays, and 0 where no level sees anything.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vbench_ctl.metrics import LUMA
from vbench_ctl.statistics.remembered import remembered

LEAST = 12  # pixels of the shorter side of the coarsest level
WINDOW = 7  # pixels: the side of the box that is averaged over, twice, so that the weights fall off
ROUNDS = (2, 5)  # of Newton's method at the finest level, and at the others
DAMPING = 1e-5  # of squared slopes of a brightness from 0 to 1: a slope of one grey level in a pixel is 1.5e-5


def flow(frames: np.ndarray, following: np.ndarray) -> np.ndarray:
    """Return by how many pixels (dx, dy) each pixel moved, float32 (N, H, W, 2), between uint8 frames (N, H, W, 3)."""
    return _moved(_grey(frames), _grey(following))


@remembered(4)  # several metrics look at the same clip, forwards and backwards
def along(clip: np.ndarray) -> np.ndarray:
    """Return the flow from each frame of a uint8 clip (T, H, W, 3) to the next: float32 (T - 1, H, W, 2), read-only."""
    grey = _grey(clip.copy())
    found = _moved(grey[:-1], grey[1:])
    found.flags.writeable = False
    return found


def warped(frames: np.ndarray, motion: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fetch the pixels that flow (N, H, W, 2) says are the same from frames (N, H, W, C).

    Returns float32 (N, H, W, C), and bool (N, H, W): where that lies inside the frame.
    """
    planes = torch.tensor(np.ascontiguousarray(frames), dtype=torch.float32).movedim(-1, 1)
    places = _places(torch.tensor(motion).movedim(-1, 1))
    return _fetched(planes, places).movedim(1, -1).numpy(), _inside(places).numpy()


@torch.inference_mode()
def _moved(first: Tensor, second: Tensor) -> np.ndarray:
    """Return the flow (N, H, W, 2) between brightnesses (N, 1, H, W)."""
    levels = [(first, second)]
    while min(levels[-1][0].shape[2:]) >= 2 * LEAST:
        levels.append((_halved(levels[-1][0]), _halved(levels[-1][1])))
    found = torch.zeros(len(first), 2, *levels[-1][0].shape[2:])
    for depth, (here, there) in reversed(list(enumerate(levels))):
        height, width = here.shape[2:]
        if found.shape[2:] != here.shape[2:]:
            scale = torch.tensor([width / found.shape[3], height / found.shape[2]])[:, None, None]
            found = F.interpolate(found, (height, width), mode="bilinear", align_corners=False) * scale
        found = _refined(here, there, found, ROUNDS[min(depth, 1)])
    return found.movedim(1, -1).contiguous().numpy()


def _refined(first: Tensor, second: Tensor, found: Tensor, rounds: int) -> Tensor:
    """Improve a flow (N, 2, H, W) so that the second brightness, fetched along it, is the first."""
    x, y = _slopes(first)
    xx, xy, yy = _averaged(torch.cat([x * x, x * y, y * y], dim=1)).split(1, dim=1)
    xx, yy = xx + DAMPING, yy + DAMPING
    area = xx * yy - xy * xy
    for _ in range(rounds):
        places = _places(found)
        error = (_fetched(second, places) - first) * _inside(places)[:, None]
        u, v = _averaged(torch.cat([x * error, y * error], dim=1)).split(1, dim=1)
        step = torch.cat([xy * v - yy * u, xy * u - xx * v], dim=1) / area
        found = found + step.clamp(-1, 1)  # the linear picture holds no further than a pixel
    return found


def _grey(frames: np.ndarray) -> Tensor:
    """Return the brightness, 0 to 1, of uint8 frames (N, H, W, 3): float32 (N, 1, H, W)."""
    planes = torch.from_numpy(np.ascontiguousarray(frames))
    return (planes.float() @ (torch.tensor(LUMA) / 255))[:, None]


def _halved(planes: Tensor) -> Tensor:
    """Return half as many pixels each way, after smoothing by (1, 2, 1) / 4."""
    padded = F.pad(planes, (1, 1, 1, 1), mode="replicate")
    down = padded[:, :, :-2] + 2 * padded[:, :, 1:-1] + padded[:, :, 2:]
    both = (down[..., :-2] + 2 * down[..., 1:-1] + down[..., 2:]) / 16
    return F.interpolate(both, (planes.shape[2] // 2, planes.shape[3] // 2), mode="area")


def _slopes(planes: Tensor) -> tuple[Tensor, Tensor]:
    """Return the central differences of (N, 1, H, W) to the right and down."""
    padded = F.pad(planes, (1, 1, 1, 1), mode="replicate")
    x = (padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]) / 2
    y = (padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]) / 2
    return x, y


def _averaged(planes: Tensor) -> Tensor:
    """Average twice over the window (N, C, H, W); what lies outside the frame counts as 0."""
    for dim in (3, 2, 3, 2):
        size, reach = planes.shape[dim], WINDOW // 2
        padded = F.pad(planes, (reach, reach, 0, 0) if dim == 3 else (0, 0, reach, reach))
        planes = padded.narrow(dim, 0, size) + padded.narrow(dim, 1, size)
        for at in range(2, WINDOW):  # several times faster than avg_pool2d
            planes += padded.narrow(dim, at, size)
    return planes / WINDOW**4


def _places(motion: Tensor) -> Tensor:
    """Return where flow (N, 2, H, W) leads, (N, H, W, 2), as grid_sample counts: -1 and 1 are the outermost pixels."""
    height, width = motion.shape[2:]
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    across = (motion[:, 0] + x) * (2 / max(width - 1, 1)) - 1
    down = (motion[:, 1] + y) * (2 / max(height - 1, 1)) - 1
    return torch.stack([across, down], dim=-1)


def _inside(places: Tensor) -> Tensor:
    return (places.abs() <= 1).all(dim=-1)


def _fetched(planes: Tensor, places: Tensor) -> Tensor:
    return F.grid_sample(planes, places, mode="bicubic", padding_mode="border", align_corners=True)
