"""Score five published models' reconstructions of seven real BAIR clips, from the grid video that CADDY's authors show.

OMP_NUM_THREADS=1 python benchmarks/bair_models.py bair_reconstructions.mp4

The video is willi-menapace/playable-video-generation-website:video_sequences/bair/reconstructions.mp4: rows of 256x256
cells, the real clips in the first one; every frame stands twice. It is H.264, so the numbers rank, no more.
"""

import sys
from collections.abc import Iterator

import numpy as np

import vbench_ctl
from vbench_ctl import leaderboard, video
from vbench_ctl.rows import Row

MODELS = ("MoCoGAN", "MoCoGAN+", "SAVP", "SAVP+", "CADDY")
COLUMNS, CELL, LEFT = 7, 256, 52
WINDOW = 15  # frames; two of a clip's 30
METRICS = ("fvd", "kvd", "lpips", "psnr", "ssim")


def clips(grid: np.ndarray, row: int) -> np.ndarray:
    """Return the clips of one row, cut in two: uint8 (14, 15, 256, 256, 3)."""
    lefts = range(LEFT, LEFT + COLUMNS * CELL, CELL)
    whole = [grid[::2, row * CELL : (row + 1) * CELL, left : left + CELL] for left in lefts]
    return np.concatenate([clip.reshape(-1, WINDOW, CELL, CELL, 3) for clip in whole])


def scored(grid: np.ndarray) -> Iterator[Row]:
    """Yield the rows of each model."""
    real = clips(grid, 0)
    for number, model in enumerate(MODELS, 1):
        yield from vbench_ctl.score(clips(grid, number), real, METRICS, model=model)


def main() -> None:
    """Print a table, the best FVD first."""
    (path,) = sys.argv[1:]
    print(leaderboard.markdown(leaderboard.tables(scored(video.read(path).frames))))


if __name__ == "__main__":
    main()
