"""Your model as a baseline, from generating to the leaderboard, beside a row that needs no training.

python examples/your_model.py FOLDER

This module is what a plugin is: TITLE, CONTROL and generate. Installed with an entry point (docs/extending.md) it is
found by its name, and `vbench-ctl generate slide ...` does the same; here it stands for itself.
"""

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
from scipy.ndimage import shift

from vbench_ctl import generation, leaderboard, pairing, prepare, protocols, scoring, sources
from vbench_ctl.generation import Model, Task

TITLE = "slide"
CONTROL = "actions"
PROTOCOL = "wsprites-quickstart@1"  # one given frame, fifteen to predict, 32 clips


def generate(task: Task, index: int, rng: np.random.Generator) -> np.ndarray:
    """Move the given frame as far as the camera is told to have moved."""
    given = task.context(index)
    told = task.controls(index)["motion_bg"][len(given) :]  # (predict, 2): x, y in pixels a frame
    moved = ((0.0, 0.0) if np.isnan(step).any() else step for step in told)
    places = np.cumsum(list(moved), axis=0)
    return np.stack([shift(given[-1], (y, x, 0), order=1, mode="nearest") for x, y in places])


class Mine(Model):
    """A model whose module is this one."""

    @property
    def leaf(self) -> ModuleType:
        return sys.modules[__name__]


def main() -> None:
    """Prepare, generate with two models, score them, and print the table."""
    home, protocol = Path(sys.argv[1]), protocols.load(PROTOCOL)
    limit = int(protocol.variant.rpartition("-limit")[2])
    prepare.make(prepare.plan(protocol.dataset, home, (protocol.split,), limit))
    real = pairing.find_real(protocol, home)
    found = []
    for model in (Mine("slide"), generation.model("copy-last")):
        folder = home / "outputs" / model.title
        generation.generate(model, protocol, real, folder)
        rows = scoring.score(sources.open_source(folder), real, protocol, ["psnr", "ssim", "mmse", "flicker"])
        scoring.save(rows, root=home)
        found += rows
    print(leaderboard.markdown(leaderboard.tables(found)))


if __name__ == "__main__":
    main()
