"""Random 16-frame windows at 64x64: from a store, from an HDF5 file as h5py reads it, from a folder of PNG files.

OMP_NUM_THREADS=1 python benchmarks/store.py
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import h5py
import numpy as np
from PIL import Image

from vbench_ctl import exporters, prepare, store

CLIPS, LENGTH, RUNS = 256, 16, 5
READS = {"store": 4000, "h5py": 1000, "png": 100}

Read = Callable[[int, int], np.ndarray]


def main() -> None:
    """Print windows per CPU-second of each way, from interleaved runs over files that are in memory."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        plan = prepare.plan("wsprites", folder, ["test"], limit=CLIPS, size="64", frames=30)
        prepare.make(plan)
        opened = store.Store(plan.folder, "test")
        exporters.export(opened, folder / "png", "png")
        ways = readers(opened, folder / "png")
        windows = draw_windows(opened)
        check_equal(ways, windows[:20])
        rates: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(RUNS):
            for name, read in ways.items():
                rates[name].append(windows_per_second(read, windows[: READS[name]]))
    slowest = median(rates["png"])
    print(f"random {LENGTH}-frame windows of 64x64, median of {RUNS} runs")
    for name, runs in rates.items():
        print(f"{name:6} {median(runs):8.0f} windows per CPU-second  {median(runs) / slowest:6.1f} x png")


def readers(opened: store.Store, pngs: Path) -> dict[str, Read]:
    """Return the ways to read frames start to start + LENGTH of clip n."""
    file = h5py.File(opened.folder / opened.summary["shards"][0])
    offsets, data = file["clip_offsets"][:], file["frames"]
    folders = [pngs / clip_id for clip_id in opened.ids]

    def from_png(n: int, start: int) -> np.ndarray:
        return np.stack([np.asarray(Image.open(folders[n] / f"{t:05d}.png")) for t in range(start, start + LENGTH)])

    return {
        "store": lambda n, start: opened.frames(n, start, start + LENGTH),
        "h5py": lambda n, start: data[offsets[n] + start : offsets[n] + start + LENGTH],
        "png": from_png,
    }


def draw_windows(opened: store.Store) -> list[tuple[int, int]]:
    rng = np.random.default_rng(0)
    clips = rng.integers(len(opened), size=max(READS.values()))
    return [(int(n), int(rng.integers(opened.lengths[n] - LENGTH + 1))) for n in clips]


def check_equal(ways: dict[str, Read], windows: list[tuple[int, int]]) -> None:
    for window in windows:
        clips = [read(*window) for read in ways.values()]
        assert all(np.array_equal(clip, clips[0]) for clip in clips)


def windows_per_second(read: Read, windows: list[tuple[int, int]]) -> float:
    start = time.process_time()
    for window in windows:
        read(*window)
    return len(windows) / (time.process_time() - start)


if __name__ == "__main__":
    main()
