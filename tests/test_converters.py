"""What holds for all datasets that are read from files: the number of workers and files that went for a while change nothing."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import test_bair
import test_bair_hd
import test_frame_datasets
import test_kinetics600
import test_tennis
import test_video_datasets

from vbench_ctl import building, prepare, registry, shards, video
from vbench_ctl.archives import Archive
from vbench_ctl.errors import Unreadable


class Small(NamedTuple):
    """How a small archive of a dataset is made, and which of its clips are taken."""

    make: Callable[[Path], Any]
    split: str = "train"
    clips: int = 2
    options: dict[str, Any] = {}  # noqa: RUF012


def bair(folder: Path) -> None:
    files = {f"traj_{at}_to_{at}": test_bair.trajectory(at) for at in range(2)}
    test_bair.folder(folder, {f"train/{name}.tfrecords": data for name, data in files.items()})


def bair_hd(folder: Path) -> None:
    for number in range(2):
        test_bair_hd.episode(folder, "train", number)


def kinetics600(folder: Path) -> None:
    for at, stem in enumerate(test_kinetics600.STEMS[:2]):
        path = folder / f"train/{stem}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        video.write(path, test_kinetics600.picture(at, 4, 96, 96), fps=25)


def tennis(folder: Path) -> None:
    for seed, name in enumerate(test_tennis.MATCHES):
        test_tennis.match(folder / f"{name}.mp4", 100, seed=seed)
    test_tennis.tables(folder)


def uva_nemo(folder: Path) -> None:
    for name in ("001_deliberate_smile_2", "002_spontaneous_smile_1"):
        test_video_datasets.film(folder / f"{name}.mp4", size=(90, 160), fps=50)
    rows = [f"{path.stem},40,20,80,60" for path in sorted(folder.glob("*.mp4"))]
    (folder.parent / "boxes.csv").write_text("\n".join(["video,x0,y0,x1,y1", *rows]))


def iper(folder: Path) -> None:
    for name in ("001_2_1", "001_2_2"):
        test_video_datasets.film(folder / f"{name}.mp4", size=(128, 128))
    (folder / "cinn-train.txt").write_text("001/2/1\n001/2/2\n")


def dtdb(folder: Path) -> None:
    pictures(folder, "fire/train/video{clip}/frame{t}.png")


def landscape(folder: Path) -> None:
    pictures(folder, "sky_train/aaa/aaa_{clip}/aaa_{clip}_frames_{t:08d}.jpg")
    (folder / "cinn-train.txt").write_text("aaa/aaa_1\naaa/aaa_0\n")


def pictures(folder: Path, name: str) -> None:
    for clip in range(2):
        for t in range(3):
            path = folder / name.format(clip=clip, t=t)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(test_frame_datasets.picture(10 * clip + t, suffix="jpeg"))


def audioset_drums(folder: Path) -> None:
    test_video_datasets.drums(folder, "ccvs")


SMALL = {
    "bair": Small(bair),
    "bair-hd": Small(bair_hd, options={"packing": "caddy"}),
    "kinetics600": Small(kinetics600),
    "tennis": Small(tennis),
    "uva-nemo": Small(uva_nemo, options={"boxes": "boxes.csv"}),
    "iper": Small(iper),
    "dtdb": Small(dtdb, options={"size": 16}),
    "landscape": Small(landscape, options={"size": 16}),
    "audioset-drums": Small(audioset_drums, clips=1),
}


def test_there_is_a_small_archive_of_every_dataset_that_is_read_from_files():
    read = {name for name in registry.names("datasets") if "file" in prepare.card(name)}
    assert set(SMALL) == read, f"write how SMALL makes a small archive of {read - set(SMALL)}"


@pytest.fixture
def recipe(name, tmp_path, monkeypatch) -> building.Recipe:
    """The recipe of a store whose archive lies in tmp_path/archive, with a work item for each clip."""
    small, leaf = SMALL[name], registry.load("datasets", name)
    for module in (leaf, shards):
        for size in ("SHARD_BYTES", "PER_SHARD"):
            if hasattr(module, size):
                monkeypatch.setattr(module, size, 1)
    monkeypatch.setattr(registry.load("datasets", "tennis"), "SOURCE_SIZE", test_tennis.SIZE)
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "archive"
    folder.mkdir()
    small.make(folder)
    options = leaf.Options(**small.options)
    work = {small.split: leaf.shards(small.split, options, None, Archive((folder,)))}
    assert len(work[small.split]) > 1
    return building.Recipe(name, leaf.variant(options), leaf.VERSION, work, leaf.clips, leaf.facts(options), {})


SLOW = ("uva-nemo", "iper", "landscape", "audioset-drums")  # each worker loads PyTorch, as for dtdb


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in SMALL])
def test_one_and_four_workers_give_the_same_store(recipe, tmp_path):
    one, four = (building.build(tmp_path / f"{workers}", recipe, workers)["splits"] for workers in (1, 4))
    assert one == four
    assert [each["clips"] for each in one.values()] == [SMALL[recipe.dataset].clips]


@pytest.mark.parametrize("name", SMALL)
def test_files_that_went_for_a_while_drop_no_clip(recipe, tmp_path):
    whole = building.build(tmp_path / "whole", recipe)["splits"]
    (tmp_path / "archive").rename(tmp_path / "away")
    with pytest.raises(Unreadable, match=r"cannot be read now \(No such file or directory\)"):
        building.build(tmp_path / "store", recipe)
    (tmp_path / "away").rename(tmp_path / "archive")
    assert building.build(tmp_path / "store", recipe)["splits"] == whole
