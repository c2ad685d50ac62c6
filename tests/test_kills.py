"""Every stage, killed at random moments and run again, ends like one that was left alone, and leaves nothing else behind.

VBENCH_KILLS says how many kills come before the end in all (`make soak`: 210); moments are drawn from VBENCH_SEED.
"""

import contextlib
import hashlib
import io
import json
import math
import os
import select
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import test_bair
import torch

HERE = Path(__file__).resolve().parent
KILLS = int(os.environ.get("VBENCH_KILLS", "10"))
TRIES = 10  # at most for each kill, which may come after the end
SEED = int(os.environ.get("VBENCH_SEED", "0"))
STORE = ("prepare", "wsprites", "--limit", "32", "--workers", "1")  # of wsprites-quickstart
PROTOCOL = ("--protocol", "wsprites-quickstart")
# Of when, not of what
VOLATILE = {
    "at",
    "cpu_seconds",
    "generated",
    "id",
    "licence_accepted",
    "made",
    "memory_gb",
    "obtained",
    "resumed",
    "speed",
    "steps_per_second",
    "wall_seconds",
}


@dataclass(frozen=True)
class Stage:
    """A command with what must have run before it, and the folder or file where its result lies under the home."""

    words: tuple[str, ...]
    result: str
    before: tuple[tuple[str, ...], ...] = ()


TRAIN = ("train", "glass", "--data", "wsprites", "--recipe", "tiny", "--device", "cpu", "--out", "runs/glass")
TRAIN += tuple(f"--set=training.{each}" for each in ("steps=6", "batch=2", "save_every=2", "pictures_every=3"))
# Quicker to answer than GLASS
G3AN = ("train", "g3an", "--data", "wsprites", "--recipe", "tiny-actions", "--device", "cpu", "--out", "runs/g3an")
G3AN += ("--set=training.steps=1",)
COPY = ("generate", "copy-last", *PROTOCOL, "--out", "outputs/copy", "--workers", "1")
SCORE = ("score", "outputs/copy", *PROTOCOL, "--metrics", "psnr,ssim,flicker", "--workers")
BAIR = ("prepare", "bair", "--yes", "--workers", "2", "--archive")
ROWS = ("rows/wsprites-quickstart@1/copy-last.json",)
STAGES = {
    "prepare": Stage(
        ("prepare", "wsprites", "--size", "32x24", "--frames", "8", "--limit", "60", "--workers", "2"), "stores"
    ),
    "train": Stage(TRAIN, "runs", (STORE,)),
    "generate": Stage(COPY, "outputs", (STORE,)),
    "generate by a run": Stage(
        ("generate", "runs/g3an", *PROTOCOL, "--out", "outputs/g3an", "--device", "cpu"), "outputs", (STORE, G3AN)
    ),
    "score": Stage((*SCORE, "2"), "rows", (STORE, COPY)),
    "leaderboard": Stage(
        ("leaderboard", *ROWS, "--csv", "tables/t.csv", "--markdown", "tables/t.md"),
        "tables",
        (STORE, COPY, (*SCORE, "1")),
    ),
    "report": Stage(
        ("report", *ROWS, "--outputs", "outputs/copy", "--clips", "2", "--workers", "1", "--out", "pages/report"),
        "pages",
        (STORE, COPY, (*SCORE, "1")),
    ),
    "play": Stage(("play", "runs/glass"), "recordings", (STORE, TRAIN)),
    "prepare from a tar": Stage((*BAIR, "bair.tar.gz"), "stores"),
    "prepare from a zip": Stage((*BAIR, "bair.zip"), "stores"),
}


class Zygote:
    """Commands in forks of a process that has everything imported."""

    def __init__(self) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
        command = [sys.executable, str(HERE / "zygote.py")]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, env=environment
        )

    def run(self, words: tuple[str, ...], home: Path, kill_after: float | None = None, whole_group: bool = True) -> int:
        """Run a command in `home`, perhaps killed after some seconds, alone or with its workers; return its status."""
        assert self.process.stdin and self.process.stdout
        log = home.with_suffix(".log")
        order = {"words": words, "folder": str(home), "home": str(home), "log": str(log)}
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        child = int(self.process.stdout.readline())
        if kill_after is not None and not select.select([self.process.stdout], [], [], kill_after)[0]:
            (os.killpg if whole_group else os.kill)(child, signal.SIGKILL)
        status = int(self.process.stdout.readline())
        if status not in (0, -signal.SIGKILL):
            raise AssertionError(f"{' '.join(words)}: status {status}\n{log.read_text()}")
        return status

    def close(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(10)
        self.process.kill()


@pytest.fixture(scope="module")
def zygote():
    one = Zygote()
    yield one
    one.close()


@pytest.fixture(scope="module")
def prepared(zygote, tmp_path_factory):
    """Return homes by what has run in them."""
    homes: dict[tuple[tuple[str, ...], ...], Path] = {}

    def home(before: tuple[tuple[str, ...], ...]) -> Path:
        if before not in homes:
            folder = tmp_path_factory.mktemp("prepared") / "home"
            if before:
                shutil.copytree(home(before[:-1]), folder)
                assert zygote.run(before[-1], folder) == 0
            else:
                archive_bair(folder)
            homes[before] = folder
        return homes[before]

    return home


def archive_bair(home: Path) -> None:
    """Write the data set, small, as a tar and as a zip into an empty home."""
    names = [f"{split}/traj_{at}_to_{at}.tfrecords" for split in ("train", "test") for at in range(3)]
    place = test_bair.folder(home.parent / "bair", {name: test_bair.trajectory(at) for at, name in enumerate(names)})
    home.mkdir()
    with tarfile.open(home / "bair.tar.gz", "w:gz") as tar, zipfile.ZipFile(home / "bair.zip", "w") as archive:
        for path in place.rglob("*.tfrecords"):
            name = path.relative_to(place).as_posix()
            tar.add(path, name)
            archive.write(path, name, zipfile.ZIP_DEFLATED)


@pytest.mark.parametrize("name", STAGES)
def test_a_killed_stage_ends_like_one_left_alone(name, zygote, prepared, tmp_path):
    stage, rng = STAGES[name], np.random.default_rng([SEED, list(STAGES).index(name)])
    alone = tmp_path / "alone"
    shutil.copytree(prepared(stage.before), alone)
    began = time.monotonic()
    assert zygote.run(stage.words, alone) == 0
    lasts = time.monotonic() - began
    wanted = contents(alone / stage.result)
    assert wanted
    wanted_kills = max(1, math.ceil(KILLS / len(STAGES)))
    tries = killed = 0
    while killed < wanted_kills and tries < TRIES * wanted_kills:
        home = tmp_path / f"killed-{tries}"
        shutil.copytree(prepared(stage.before), home)
        for _ in range(min(rng.integers(1, 4), wanted_kills - killed)):  # a second and a third time too
            status = zygote.run(stage.words, home, float(rng.uniform(0, 1.1 * lasts)), bool(rng.integers(2)))
            killed += status != 0
            tries += 1
        finish(zygote, stage, home)
        assert contents(home / stage.result) == wanted
        assert not [path for path in home.rglob("*") if ".part" in path.name or path.name.startswith(".tmp")]
        shutil.rmtree(home)
    assert killed == wanted_kills, f"{killed} of {tries} kills came before the end"
    print(f"{name}: {killed} of {tries} kills came before the end")


def finish(zygote: Zygote, stage: Stage, home: Path) -> None:
    """Run a stage to its end; the workers of one whose parent was killed may need a moment to notice."""
    for _ in range(20):
        try:
            assert zygote.run(stage.words, home) == 0
            return
        except AssertionError as error:
            if "another vbench-ctl is writing there" not in str(error):
                raise
            time.sleep(0.2)
    raise AssertionError("the folder stayed locked by workers whose parent is gone")


# What a stage made, whenever it was made


def contents(folder: Path) -> dict[str, Any]:
    """Return what each file under a folder says, without times."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and not skipped(path)]
    return {str(path.relative_to(folder)): content(path) for path in paths}


def skipped(path: Path) -> bool:
    return path.name.startswith(".") or "tensorboard" in path.parts or path.name.startswith("events.")


def content(path: Path) -> Any:
    if path.suffix == ".json":
        return settled(json.loads(path.read_text()))
    if path.suffix == ".jsonl":
        return [settled(json.loads(line)) for line in path.read_text().splitlines()]
    if path.suffix == ".pt":
        saved = torch.load(path, weights_only=True)
        return digest(saved)
    if path.suffix == ".h5":  # HDF5 writes the time into the file
        with h5py.File(path, "r") as file:
            held = {name: hashlib.sha256(np.ascontiguousarray(file[name][()]).tobytes()).hexdigest() for name in file}
            return held | {f"@{name}": str(value) for name, value in file.attrs.items()}
    if path.suffix == ".npz":
        with np.load(path) as arrays:
            return {name: hashlib.sha256(arrays[name].tobytes()).hexdigest() for name in arrays.files}
    return hashlib.sha256(path.read_bytes()).hexdigest()


def settled(data: Any) -> Any:
    """Leave out what tells of times."""
    if isinstance(data, dict):
        return {key: settled(value) for key, value in data.items() if key not in VOLATILE}
    return [settled(value) for value in data] if isinstance(data, list) else data


def digest(saved: Any) -> Any:
    """Return nested numbers with a hash in place of each tensor."""
    if isinstance(saved, torch.Tensor):
        buffer = io.BytesIO()
        np.save(buffer, saved.detach().numpy())
        return hashlib.sha256(buffer.getvalue()).hexdigest()
    if isinstance(saved, dict):
        return {str(key): digest(value) for key, value in saved.items()}
    return [digest(value) for value in saved] if isinstance(saved, list | tuple) else saved
