"""What cINN's networks see: the clips of the released data loaders and scripts, from our datasets, windows and protocols."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from cinn_golden import close, golden
from PIL import Image

from vbench_ctl import building, protocols, recipes, registry, resize, store
from vbench_ctl.archives import Archive
from vbench_ctl.baselines.cinn import play
from vbench_ctl.baselines.cinn.flow_stage import FlowStage
from vbench_ctl.clips import Clip
from vbench_ctl.frames import normalised, pixels
from vbench_ctl.sources import StoreSource
from vbench_ctl.windows import Windows

LENGTH, SIDE = 5, 16  # of the recorded loaders' clips
ROUNDED = 1 / 255 + 1e-6  # half a level in [-1, 1]: a store holds whole ones
RAW, JPEG = "in/frames_rgb", "in/landscape_frames_after_jpeg"


# Preparing frames


@pytest.mark.parametrize(
    ("name", "frames", "start"),
    [
        ("bair_test", RAW, 0),
        ("bair_eval_start9", RAW, 9),
        ("dtdb_test_item3", RAW, 0),
        ("dtdb_train_start3_noaug", RAW, 3),
        ("landscape_test_start4", JPEG, 4),
        ("iper_test_item7_start2", RAW, 2),
    ],
)
def test_the_clips_of_the_loaders(shared, name, frames, start):
    part = golden(shared, "io_loaders")
    clip = normalised(part[frames][start : start + LENGTH])
    close(resize.resize(clip, (SIDE, SIDE), "torch_half_pixel"), part[f"out/{name}"])


@pytest.mark.parametrize("side", [16, 40, 64])
def test_frames_are_squashed_without_antialiasing(shared, side):
    part = golden(shared, "io_preprocess")
    made = resize.resize(normalised(part[RAW]), (side, side), "torch_half_pixel")
    close(made, part[f"out/resize{side}_then_normalize"])
    if side != 64:
        close(made, part[f"out/normalize_then_resize{side}"])
    antialiased = resize.resize(normalised(part[RAW]), (side, side), "pil_antialias")
    assert (side == 16) == bool((antialiased - made).abs().max() > 0.1)  # the others do not shrink by much


def test_frames_of_the_right_size_stay_as_they_are(shared):
    part = golden(shared, "io_preprocess")
    close(resize.resize(part["in/square"], (20, 20), "torch_half_pixel"), part["out/square_unchanged"], 0)
    frames = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    system = SimpleNamespace(settings=SimpleNamespace(side=32), parameters=lambda: iter([torch.zeros(1)]))
    assert torch.equal(play.seen(system, frames), normalised(torch.from_numpy(frames)))


def test_pictures_of_what_is_made(shared):
    """The release cuts levels off, shows clips side by side and scales them by the largest value: here 1, as nearly always."""
    part = golden(shared, "io_preprocess")
    made = part["in/gif_seq"]
    assert made.abs().max() > 1 == part["out/denorm"].max()
    row = torch.cat(list(pixels(made, truncate=True)), 2)
    assert torch.equal(row, part["out/gif_uint8"])
    assert torch.equal(torch.cat(list(pixels(made)), 2), part["out/gif"].round().to(torch.uint8))
    close(((made + 1) / 2).clamp(0, 1), part["out/denorm"])


# Datasets


def written(folder: Path, names: str, frames: torch.Tensor) -> None:
    folder.mkdir(parents=True)
    for t, frame in enumerate(frames.numpy()):
        with open(folder / names.format(t), "wb") as file:  # PNG whatever the name says, so that levels stay
            Image.fromarray(frame).save(file, "png")


def converted(name: str, split: str, folder: Path) -> Clip:
    leaf = registry.load("datasets", name)
    archive = Archive((folder, *sorted(folder.glob("*.txt"))))
    (shard,) = leaf.shards(split, leaf.Options(size=SIDE), None, archive)
    (clip,) = leaf.clips(shard)
    return clip


def check_window(clip: Clip, start: int, wanted: torch.Tensor) -> None:
    found = normalised(torch.from_numpy(clip.frames[start : start + LENGTH]))
    assert found.shape == wanted.shape and (found - wanted).abs().max() <= ROUNDED


def test_dtdb_and_landscape_hold_the_clips_of_the_loaders(shared, tmp_path):
    part = golden(shared, "io_loaders")
    written(tmp_path / "dtdb/fire/eval/flame", "frame{}.png", part[RAW])
    fire = converted("dtdb", "eval", tmp_path / "dtdb")
    check_window(fire, 0, part["out/dtdb_test_item3"])
    check_window(fire, 3, part["out/dtdb_train_start3_noaug"])
    written(tmp_path / "sky/sky_test/aaa/aaa_1", "aaa_1_frames_{:08d}.jpg", part[JPEG])
    (tmp_path / "sky/cinn-test.txt").write_text("aaa/aaa_1/\n")
    check_window(converted("landscape", "test", tmp_path / "sky"), 4, part["out/landscape_test_start4"])


# Windows


def one_clip(part):
    """A clip as BAIR's, with the gripper's place in each frame."""

    def clips(item: int):
        frames = resize.pictures(part[RAW].numpy(), (SIDE, SIDE), "torch_half_pixel")
        yield Clip("train/0", frames, None, {"state": part["in/endeffector_positions"].numpy().astype(np.float32)})

    return clips


@pytest.fixture
def bair(shared, tmp_path) -> StoreSource:
    clips = one_clip(golden(shared, "io_loaders"))
    building.build(tmp_path / "store", building.Recipe("bair", "16", 1, {"train": [0]}, clips, {}, {}, None))
    return StoreSource(store.Store(tmp_path / "store", "train"))


def test_windows_begin_where_the_loaders_let_them(shared, bair):
    part = golden(shared, "io_loaders")
    windows = Windows(bair, LENGTH)
    low, high = part["out/bair_start_range"].tolist()
    assert {windows.place(draw).start for draw in range(500)} == set(range(low, high))
    shorter = SimpleNamespace(ids=["sky"], length=lambda clip: len(part[JPEG]), name="landscape")
    low, high = part["out/landscape_start_range"].tolist()
    assert {Windows(shorter, LENGTH).place(draw).start for draw in range(200)} == set(range(low, high))


@pytest.mark.parametrize(("name", "cond", "start"), [("test", "test_control", 0), ("eval_start9", "eval_start9", 9)])
def test_the_gripper_is_told_as_the_loader_does(shared, bair, name, cond, start):
    """A window with its frames and the place in its last one, in parts of the range of the recipe."""
    part, settings = golden(shared, "io_loaders"), recipes.load("cinn", "bair-endpoint").model
    windows = Windows(bair, LENGTH, tracks=["state"])
    draw = next(draw for draw in range(500) if windows.place(draw).start == start)
    batch = windows.batch([draw])
    assert (normalised(batch["frames"])[0] - part[f"out/bair_{name}"]).abs().max() <= ROUNDED
    stage = SimpleNamespace(settings=settings)
    place = FlowStage.endpoint(stage, batch).double()
    parts = (place - torch.tensor(settings.control_offset)) / torch.tensor(settings.control_range)
    wanted = part[f"out/bair_{cond}_cond"]
    assert torch.allclose(parts[0], wanted, atol=1e-6)
    bins = FlowStage.bins(stage, place).reshape(3, settings.control_bins).argmax(1)
    assert bins.tolist() == (wanted * 10 - 1e-4).long().tolist()


def test_a_pass_over_iper_has_as_many_clips(shared):
    recipe = recipes.load("cinn", "iper")
    clips = SimpleNamespace(
        ids=[f"train/{outfit:03d}_1_{kind}" for outfit in range(69) for kind in (1, 2)],
        length=lambda clip: 17,
        name="iper",
    )
    epoch = len(Windows(clips, 17, repeats=recipe.data["video"].repeats))
    listed = int(golden(shared, "io_loaders")["out/iper_train_len_iter60"])
    assert listed == 60 * epoch == recipe.model.video_pass * recipe.training["video"].batch


# Protocols


@pytest.mark.parametrize(
    ("id", "clips", "count"),
    [
        ("landscape128-c1-p16@1", 153, "landscape_test_len"),
        ("iper64-c1-p16@1", 42, "iper_test_len"),
        ("dtdb-fire-128-c1-p16@1", 1, "dtdb_test_len"),
    ],
)
def test_protocols_ask_for_as_many_clips(shared, id, clips, count):
    protocol = protocols.load(id)
    if clips == 1:  # recorded with 4 passes over its clips
        assert protocol.select.passes == 5
        protocol = replace(protocol, select=replace(protocol.select, passes=4))
    cases = protocols.cases(protocol, [(f"clip {number:03d}", 40) for number in range(clips)])
    assert len(cases) == int(golden(shared, "io_loaders")[f"out/{count}"])
    if clips == 1:
        assert {case.start for case in cases} == {0}
