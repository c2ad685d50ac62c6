"""What a person sees of a training: loggers, and a view that is alive in a terminal."""

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import numpy as np

from vbench_ctl import recipes
from vbench_ctl.errors import VbenchError
from vbench_ctl.runs import Run

SAID_EVERY_SECONDS = 10


class Trackers:
    """TensorBoard and wandb, through the trackers of accelerate."""

    def __init__(self, run: Run, stage: str, step: int):
        self.trackers = [getattr(self, f"_{name}")(run, stage, step) for name in run.recipe.training[stage].track]
        for tracker in self.trackers:
            tracker.start()

    @staticmethod
    def _tensorboard(run: Run, stage: str, step: int) -> Any:
        from accelerate.tracking import TensorBoardTracker

        _needs("tensorboard")
        # TensorBoard's own switch against importing TensorFlow, where that is installed: many seconds, to make a folder.
        sys.modules.setdefault("tensorboard.compat.notf", ModuleType("notf"))
        # purge_step hides what a killed run has logged beyond its last checkpoint.
        return TensorBoardTracker(stage, run.folder / "tensorboard", purge_step=step + 1)

    @staticmethod
    def _wandb(run: Run, stage: str, step: int) -> Any:
        from accelerate.tracking import WandBTracker

        _needs("wandb")
        import wandb

        mode = os.environ.get("WANDB_MODE") or ("online" if wandb.api.api_key else "offline")
        about = {"name": run.title(stage), "id": f"{run.about['id']}-{stage or 'all'}", "resume": "allow"}
        config = recipes.flat(run.recipe, stage)
        return WandBTracker("vbench-ctl", dir=str(run.folder), mode=mode, config=config, **about)

    def log(self, values: dict[str, Any], step: int) -> None:
        for tracker in self.trackers:
            tracker.log({name: value for name, value in values.items() if value is not None}, step)

    def picture(self, picture: Any, step: int) -> None:
        for tracker in self.trackers:
            if tracker.name == "tensorboard":
                tracker.log_images({"samples": np.asarray(picture)[None]}, step, dataformats="NHWC")
            else:
                tracker.log_images({"samples": [picture]}, step)

    def finish(self) -> None:
        for tracker in self.trackers:
            tracker.finish()


def _needs(package: str) -> None:
    import importlib.util

    if not importlib.util.find_spec(package):
        raise VbenchError(
            f'{package} is not installed; run: pip install "vbench-ctl[track]", or leave it out: --set training.track=[]'
        )


@contextlib.contextmanager
def view(label: str, steps: int, first: int) -> Iterator[Callable[[int, dict[str, Any], float], None]]:
    """Yield a function that shows step, losses and memory: a live view in a terminal, a line now and then elsewhere."""
    if sys.stderr.isatty():
        with _live_view(label, steps, first) as show_live:
            yield show_live
        return
    started = said = time.monotonic()

    def show(step: int, losses: dict[str, Any], memory_gb: float) -> None:
        nonlocal said
        now = time.monotonic()
        if now - said >= SAID_EVERY_SECONDS:
            said = now
            rate = (step - first) / (now - started)
            numbers = ", ".join(f"{name} {_short(value)}" for name, value in losses.items())
            left = f"{rate:.2f} it/s, {(steps - step) / rate:.0f} s left, {memory_gb:.1f} GB"
            print(f"{label}: step {step}/{steps}, {left}, {numbers}", file=sys.stderr)

    yield show


@contextlib.contextmanager
def _live_view(label: str, steps: int, first: int) -> Iterator[Callable[[int, dict[str, Any], float], None]]:
    from rich.console import Console, Group
    from rich.live import Live
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
    from rich.table import Table

    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("steps"), TimeElapsedColumn()
    )
    task = bar.add_task(label, total=steps, completed=first)
    started = time.monotonic()
    with Live(bar, console=Console(stderr=True), refresh_per_second=4) as live:

        def show(step: int, losses: dict[str, Any], memory_gb: float) -> None:
            rate = (step - first) / (time.monotonic() - started)
            minutes, seconds = divmod(round((steps - step) / rate), 60)
            bar.update(task, completed=step)
            table = Table(box=None, show_header=False)
            table.add_row("it/s", f"{rate:.2f}")
            table.add_row("left", f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}")
            table.add_row("memory", f"{memory_gb:.1f} GB")
            for name, value in losses.items():
                table.add_row(name, _short(value))
            live.update(Group(bar, table))

        yield show


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
