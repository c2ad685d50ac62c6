"""Frames a second of driving GLASS at the paper's widths, through a page's own session, beside W-Sprites' world."""

import resource
import statistics
import tempfile
import time
from pathlib import Path

import torch

from vbench_ctl import recipes, registry, runs
from vbench_ctl.cli import main
from vbench_ctl.play import drive
from vbench_ctl.training import DataFacts

STEPS = 60
SIZES = {"glass wsprites-actions": (48, 64), "glass wsprites": (96, 128)}


def model(folder: Path, recipe: str, size: tuple[int, int]) -> Path:
    """Make a run of random weights."""
    name, _, recipe = recipe.partition(" ")
    leaf = registry.load("baselines", name)
    settings = recipes.load(name, recipe).model
    facts = DataFacts(*size, tracks={"local_action": ((), "int8")})
    torch.manual_seed(0)
    weights = leaf.build(settings, facts, "", {}).state_dict()
    runs.imported(folder, name, leaf, settings, {"": weights}, facts, folder)
    return folder


def measure(run: Path, store: Path, out: Path) -> tuple[float, float]:
    """Return wall and CPU milliseconds of a step."""
    tab = drive.Drive(drive.table([run], out, store))
    tab.answer({"do": "start", "clip": 0, "frame": 0, "seed": 0})
    wall, cpu = [], []
    for _ in range(STEPS):
        began, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_utime
        tab.answer({"do": "step", "asked": [["ArrowRight"], None, 1.0]})
        wall.append(1000 * (time.perf_counter() - began))
        cpu.append(1000 * (resource.getrusage(resource.RUSAGE_SELF).ru_utime - used))
    return statistics.median(wall), statistics.median(cpu)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        words = ["prepare", "wsprites", "--split", "test", "--limit", "2", "--root", place]
        main(words, standalone_mode=False)
        (store,) = (Path(place) / "stores/wsprites").iterdir()
        for recipe, size in SIZES.items():
            run = model(Path(place) / recipe.replace(" ", "-"), recipe, size)
            for threads in (1, 2):
                torch.set_num_threads(threads)
                wall, cpu = measure(run, store, Path(place) / "out")
                print(
                    f"{recipe} {size[1]}x{size[0]}, {threads} threads: {wall:.0f} ms a step, {cpu:.0f} of CPU, {1000 / wall:.1f} a second"
                )
