"""Training batches of random 16-frame windows at 64x64: from a store, and from PNG files by a plain torch data set.

OMP_NUM_THREADS=1 python benchmarks/windows.py
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import tempfile
import time
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from vbench_ctl import exporters, prepare, store
from vbench_ctl.windows import loader

CLIPS, LENGTH, BATCH, RUNS = 256, 16, 32, 5
STEPS = {"png": 4, "jitter": 8}  # batches of a run, where it is not 100
WAYS: dict[str, dict[str, Any]] = {
    "windows": {},
    "stride 2": {"stride": 2},
    "with labels": {"tracks": ["global_action"]},
    "flip": {"augment": ["flip"]},
    "jitter": {"augment": ["flip", "jitter:0.1:0.1:0.1:0"]},
}

Batches = Iterable[dict[str, Tensor]]


class Pngs(Dataset[dict[str, Tensor]]):
    """Random windows of clips that are folders of PNG files."""

    def __init__(self, folders: list[Path]):
        self.clips = [sorted(folder.glob("*.png")) for folder in folders]

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        files = self.clips[index]
        start = int(torch.randint(len(files) - LENGTH + 1, ()))
        frames = [np.asarray(Image.open(file)) for file in files[start : start + LENGTH]]
        return {"frames": torch.from_numpy(np.stack(frames))}


def main() -> None:
    """Print windows per CPU-second of each way, from interleaved runs in one process over files that are in memory."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        plan = prepare.plan("wsprites", folder, ["test"], limit=CLIPS, size="64", frames=40)
        prepare.make(plan)
        opened = store.Store(plan.folder, "test")
        exporters.export(opened, folder / "png", "png")
        pngs = DataLoader(Pngs([folder / "png" / clip_id for clip_id in opened.ids]), BATCH, shuffle=True)
        rates: dict[str, list[float]] = {name: [] for name in (*WAYS, "png")}
        for run in range(RUNS):
            for name, runs in rates.items():
                batches = pngs if name == "png" else windows(opened, name, run)
                runs.append(windows_per_second(batches, STEPS.get(name, 100)))
    slowest = median(rates["png"])
    print(f"batches of {BATCH} random {LENGTH}-frame windows of 64x64, median of {RUNS} runs")
    for name, runs in rates.items():
        print(f"{name:12} {median(runs):8.0f} windows per CPU-second  {median(runs) / slowest:6.1f} x png")


def windows(opened: store.Store, name: str, run: int) -> Batches:
    return loader(opened.clips(LENGTH, **WAYS[name], seed=run), BATCH)


def windows_per_second(batches: Batches, steps: int) -> float:
    start = time.process_time()
    count = sum(len(batch["frames"]) for batch in islice(batches, steps))
    return count / (time.process_time() - start)


if __name__ == "__main__":
    main()
