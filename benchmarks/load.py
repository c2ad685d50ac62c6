"""Large amounts: a store of 100,000 clips, a leaderboard of 100,000 rows, and 5,000 clips scored, with the memory they take.

Each is done in a process of its own, so that nothing else counts.

OMP_NUM_THREADS=1 python benchmarks/load.py [store] [leaderboard] [score]
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from vbench_ctl import building, leaderboard, scoring, store
from vbench_ctl.clips import Clip
from vbench_ctl.rows import Row
from vbench_ctl.sources import Source

CLIPS, PER_SHARD, ROWS, SCORED = 100_000, 5_000, 100_000, (500, 5_000)
SHAPE = (8, 32, 32, 3)  # of a scored clip: 5,000 pairs have 246 MB
TINY = np.zeros((2, 6, 8, 3), np.uint8)


def alone(function: Callable[..., None], *given: Any) -> None:
    """Call a function in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        pool.submit(function, *given).result()


def memory_mb(field: str) -> float:
    """Return the size of this process, now ("VmRSS") or at most ("VmHWM"); `ru_maxrss` would have its parent's too."""
    (line,) = [each for each in Path("/proc/self/status").read_text().splitlines() if each.startswith(field)]
    return int(line.split()[1]) / 1024


def most_memory() -> str:
    """Return the largest size of this process so far in words."""
    return f"{memory_mb('VmHWM'):.0f} MB at most"


def write_clips(first: int) -> Any:
    """Yield the clips of one shard."""
    for number in range(first, first + PER_SHARD):
        yield Clip(f"test/clip_{number:06d}", TINY, 10.0, {"actions": np.zeros(2, np.int64)})


def build_store(folder: Path) -> None:
    """Write a large store."""
    work = dict[str, Sequence[int]](test=range(0, CLIPS, PER_SHARD))
    building.build(folder, building.Recipe("load", "8x6", 1, work, write_clips, {}, {}))


def open_store(folder: Path) -> None:
    """Print what opening it takes."""
    seconds = []
    for _ in range(5):
        began = time.process_time()
        opened = store.Store(folder, "test")
        seconds.append(time.process_time() - began)
    files = CLIPS // PER_SHARD
    print(f"a store of {len(opened.ids):,} clips in {files} files opens in {median(seconds) * 1e3:.0f} ms")
    began = time.process_time()
    opened.frames(opened.index(f"test/clip_{CLIPS - 1:06d}"))
    print(f"its last clip by name: {(time.process_time() - began) * 1e3:.0f} ms; {most_memory()}")


def rank_rows() -> None:
    """Print what a large leaderboard takes."""
    rng = np.random.default_rng(0)
    metrics = [f"metric{number}" for number in range(20)]
    rows = [
        Row(
            metric,
            float(value),
            value - 1,
            value + 1,
            "higher",
            256,
            f"p{protocol}@1",
            f"{metric}|v1",
            f"model {model}",
        )
        for protocol in range(50)
        for model in range(ROWS // 50 // len(metrics))
        for metric, value in zip(metrics, rng.random(len(metrics)), strict=True)
    ]
    began = time.process_time()
    text = leaderboard.as_csv(leaderboard.tables(rows))
    print(
        f"a leaderboard of {len(rows):,} rows as CSV ({len(text) >> 20} MB): {time.process_time() - began:.2f} s; {most_memory()}"
    )


class Noise:
    """Clips made when they are asked for, so that nothing but scoring takes memory."""

    def __init__(self, count: int, seed: int, shape: tuple[int, ...] = SHAPE):
        self.ids, self.seed, self.name = [f"{index:06d}" for index in range(count)], seed, f"noise {seed}"
        self.shape = shape
        self.manifest: dict[str, Any] = {}
        self.tracks: tuple[str, ...] = ()

    def length(self, clip_id: str) -> int:
        return self.shape[0]

    def frames(self, clip_id: str, start: int = 0, stop: int | None = None, step: int = 1) -> np.ndarray:
        rng = np.random.default_rng([self.seed, int(clip_id)])
        return rng.integers(256, size=self.shape, dtype=np.uint8)[start:stop:step]

    def lossy(self) -> None:
        return None


def score_clips(count: int) -> None:
    """Score so many clips and print the memory that takes."""
    fake: Source = Noise(count, 1)  # type: ignore[assignment]
    real: Source = Noise(count, 2)  # type: ignore[assignment]
    scoring.score(fake, real, metrics=["psnr", "ssim", "mse", "flicker"])
    print(f"{count:,} clips scored: {most_memory()}")


def main() -> None:
    wanted = sys.argv[1:] or ["store", "leaderboard", "score"]
    if "store" in wanted:
        with tempfile.TemporaryDirectory() as folder:
            for step in (build_store, open_store):
                alone(step, Path(folder))
    if "leaderboard" in wanted:
        alone(rank_rows)
    if "score" in wanted:
        for count in SCORED:
            alone(score_clips, count)


if __name__ == "__main__":
    main()
