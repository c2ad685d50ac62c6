"""The memory of scoring clips of 16x128x128 with FVD, FID, LPIPS, PSNR and SSIM in one call, by their number.

OMP_NUM_THREADS=1 python benchmarks/memory.py [CLIPS]...

Without numbers it takes 8 and 32 clips, some five minutes. Each number has a process of its own and an empty cache. Needs the
weights: vbench-ctl weights fetch i3d-k400 inception-2015 lpips-alex.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import sys
import tempfile
from pathlib import Path

from load import Noise, alone, memory_mb

from vbench_ctl import files, networks, scoring, tokens
from vbench_ctl.networks import Place
from vbench_ctl.sources import Source

SHAPE = (16, 128, 128, 3)
METRICS = ("fvd", "fid", "lpips", "psnr", "ssim")
COUNTS = (8, 32)


def besides_networks(count: int, weights: Path) -> float:
    """Score so many clips and return the MB that takes at most, less what libraries and loaded networks take."""
    fake: Source = Noise(count, 1, SHAPE)  # type: ignore[assignment]
    real: Source = Noise(count, 2, SHAPE)  # type: ignore[assignment]
    with tempfile.TemporaryDirectory() as root:
        (Path(root) / "weights").symlink_to(weights, target_is_directory=True)
        place = Place(root)
        networks.use(place)
        for token in METRICS:
            if features := tokens.metric(token).features:
                networks.extractor(features)
        loaded = memory_mb("VmRSS")
        scoring.score(fake, real, metrics=METRICS, place=place)
    return memory_mb("VmHWM") - loaded


def tell(count: int, weights: Path) -> None:
    """Print what so many clips take."""
    print(
        f"{count:,} clips scored: {besides_networks(count, weights):.0f} MB besides libraries and networks", flush=True
    )


def main() -> None:
    """Print a line for each number of clips."""
    for count in [int(word) for word in sys.argv[1:]] or COUNTS:
        alone(tell, count, files.home().resolve() / "weights")


if __name__ == "__main__":
    main()
