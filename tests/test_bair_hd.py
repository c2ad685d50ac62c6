"""The 256x256 BAIR stores: CCVS's cut of wide JPEG pictures, CADDY's folders with pickles, annotated frames."""

import io
import pickle
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vbench_ctl import building, protocols, registry, resize, store
from vbench_ctl.archives import Archive
from vbench_ctl.clips import Dropped
from vbench_ctl.errors import VbenchError

hd = registry.load("datasets", "bair-hd")
WIDE = (1100, 820)
STAMPS = ("16-59-03", "d41d8cd9", "1.5", "")  # what follows im7_ is not known, and varies


def save(path: Path, picture: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path)
    return path


def wide(seed: int, size: tuple[int, int] = WIDE) -> np.ndarray:
    """Draw a picture whose left and right borders are red: they must not be seen."""
    across, down = np.meshgrid(np.linspace(0, 1, size[0]), np.linspace(0, 1, size[1]))
    smooth = np.stack([across, down, np.sin(7 * across + seed) / 2 + 0.5], axis=-1)
    picture = (255 * smooth).astype(np.uint8)
    picture[:, : hd.LEFT - 16] = picture[:, hd.RIGHT + 16 :] = (255, 0, 0)
    return picture


def trajectory(root: Path, number: int, frames=range(30), size: tuple[int, int] = WIDE) -> Path:
    folder = root / f"softmotion_0511/aux1/traj_group{number // 1000}/traj{number}/images"
    folder.mkdir(parents=True, exist_ok=True)
    for t in frames:
        (folder / f"aux1_full_cropped_im{t}_{STAMPS[t % 4]}.jpg").write_bytes(jpeg(t % 4, size))
    return folder


@cache
def jpeg(seed: int, size: tuple[int, int]) -> bytes:
    data = io.BytesIO()
    Image.fromarray(wide(seed, size)).save(data, "jpeg")
    return data.getvalue()


def episode(root: Path, split: str, number: int, frames: int = 3, **labels) -> Path:
    folder = root / f"bair_256_ours/{split}/{number:05d}"
    for t in range(frames):
        save(folder / f"{t:05d}.png", square(10 * number + t))
    lists = {
        "actions": [np.float32([t, -t]) for t in range(frames)],
        "metadata": [{"state": np.array([t, 0.5 * t, 0.25])} for t in range(frames)],
        "rewards": [0.0] * frames,
        "dones": [False] * frames,
        **labels,
    }
    for name, entries in lists.items():
        data = entries if isinstance(entries, bytes) else pickle.dumps(entries)
        (folder / f"{name}.pkl").write_bytes(data)
    return folder


def square(seed: int) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)
    return np.kron(coarse, np.ones((32, 32, 1), np.uint8))


def made(split: str, root: Path, packing: str = "ccvs", limit: int | None = None) -> list:
    work = hd.shards(split, hd.Options(packing), limit, Archive((root,)))
    return [clip for shard in work for clip in hd.clips(shard)]


def reasons(found: list) -> dict[str, str]:
    return {each.id: each.reason for each in found if isinstance(each, Dropped)}


# OpenCV's bilinear


def test_opencv_bilinear_is_bilinear_within_a_level():
    picture = np.random.default_rng(0).integers(0, 256, (97, 130, 3), np.uint8)
    for height, width in ((31, 41), (200, 256), (97, 130)):
        rows, columns = (resize.matrix("torch_half_pixel", *pair) for pair in ((97, height), (130, width)))
        exact = np.stack([rows @ plane @ columns.T for plane in picture.transpose(2, 0, 1)], axis=-1)
        ours = hd.opencv_bilinear(picture, height, width)
        assert ours.shape == (height, width, 3) and np.abs(ours - exact).max() <= 1
    assert np.array_equal(ours, picture)  # the last size is its own


def test_opencv_bilinear_rounds_as_opencv_does():
    """Worked by hand from resize.cpp: 5 rows become 3, the first of 2/3 and 1/3, which are 1365 and 683 of 2048."""
    rows = np.array([3, 2, 40, 9, 9], np.uint8)[:, None, None].repeat(3, axis=2)
    upper, lower = 1365 * (3 * 2048 >> 4) >> 16, 683 * (2 * 2048 >> 4) >> 16
    assert (upper, lower, (upper + lower + 2) >> 2) == (7, 2, 2)  # though 2.67 is nearer to 3
    assert hd.opencv_bilinear(rows, 3, 1)[:, 0, 0].tolist() == [2, 40, 9]
    assert hd.opencv_bilinear(rows.swapaxes(0, 1), 1, 3)[0, :, 0].tolist() == [3, 40, 9]  # across, nothing is cut off


# CCVS


def test_frames_are_cut_resized_and_turned_upside_down(tmp_path):
    folder = trajectory(tmp_path, 44_120)
    (clip,) = made("test", tmp_path, limit=1)
    assert clip.id == "test/44120" and clip.frames.shape == (30, 256, 256, 3) and clip.tracks == {}
    for t in (0, 1, 10, 29):  # im1_ is not im10_
        stored = np.asarray(Image.open(folder / f"aux1_full_cropped_im{t}_{STAMPS[t % 4]}.jpg"))
        expected = hd.opencv_bilinear(np.ascontiguousarray(stored[:, 157:967]), 256, 256)[::-1]
        assert np.array_equal(clip.frames[t], expected)
    top, bottom = clip.frames[0, 0, :, 1].mean(), clip.frames[0, -1, :, 1].mean()
    assert top > 250 and bottom < 5  # green grows downwards in the file
    left, right = clip.frames[0, :, 0, 0].mean(), clip.frames[0, :, -1, 0].mean()
    assert abs(left - 255 * 157 / 1100) < 4 and abs(right - 255 * 966 / 1100) < 4


def test_splits_are_those_of_ccvs(tmp_path):
    for number in (43_263, 43_264, 44_119, 44_120, 44_375, 44_376):
        save(trajectory(tmp_path, number, ()) / "aux1_full_cropped_im0_x.jpg", wide(0, (4, 4)))
    found = {split: made(split, tmp_path) for split in hd.splits(hd.Options())}
    assert {split: len(clips) for split, clips in found.items()} == {"train": 43_264, "test": 256}
    there = {split: [c.id for c in clips if "the archive" not in c.reason] for split, clips in found.items()}
    assert there == {"train": ["train/43263"], "test": ["test/44120", "test/44375"]}
    assert hd.expected(hd.Options()) == {"train": 43_264, "test": 256}
    assert hd.expected(hd.Options("caddy")) == {}


def test_gaps_and_missing_frames_are_left_out_and_named(tmp_path):
    trajectory(tmp_path, 1, range(29))
    save(trajectory(tmp_path, 3, [], WIDE) / "aux1_full_cropped_im4_b.jpg", wide(4))
    trajectory(tmp_path, 4)
    save(trajectory(tmp_path, 4, []) / "aux1_full_cropped_im30_x.jpg", wide(30))  # more frames than CCVS reads
    found = made("train", tmp_path, limit=3)
    assert reasons(found) == {
        "train/00000": "the archive does not have it",
        "train/00001": "it has 0 pictures of frame 29, expected 1",
        "train/00002": "the archive does not have it",
        "train/00003": "it has 0 pictures of frame 0, expected 1",
    }
    assert found[4].id == "train/00004" and len(found[4]) == 30 and len(found) == 5


def test_two_pictures_of_one_frame_and_broken_ones_are_named(tmp_path):
    save(trajectory(tmp_path, 0) / "aux1_full_cropped_im5_again.jpg", wide(5))
    narrow = trajectory(tmp_path, 1, size=(640, 480))
    broken = trajectory(tmp_path, 2) / f"aux1_full_cropped_im0_{STAMPS[0]}.jpg"
    broken.write_bytes(broken.read_bytes()[:2000])
    found = reasons(made("train", tmp_path, limit=3))
    assert found["train/00000"] == "it has 2 pictures of frame 5, expected 1"
    name = (narrow / f"aux1_full_cropped_im0_{STAMPS[0]}.jpg").relative_to(tmp_path)
    assert found["train/00001"] == f"{name} is 640 pixels wide, expected at least 967"
    assert "is not a whole PNG or JPEG image" in found["train/00002"]


# CADDY


def test_caddy_folders_carry_actions_and_state(tmp_path):
    for number in (7, 2, 12):
        episode(tmp_path, "test", number)
    episode(tmp_path, "val", 0)
    found = made("test", tmp_path, "caddy")
    assert [clip.id for clip in found] == ["test/00002", "test/00007", "test/00012"]
    clip = found[1]
    assert np.array_equal(clip.frames, np.stack([square(70 + t) for t in range(3)]))
    assert clip.tracks["state"].dtype == clip.tracks["actions"].dtype == np.float32
    assert clip.tracks["state"].tolist() == [[0, 0, 0.25], [1, 0.5, 0.25], [2, 1, 0.25]]
    assert clip.tracks["actions"].tolist() == [[0, 0], [1, -1], [2, -2]]
    assert [clip.id for clip in made("val", tmp_path, "caddy", limit=5)] == ["val/00000"]


class Harm:
    def __reduce__(self):
        return (exec, ("raise SystemExit('a pickle was run')",))


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        ({"metadata": [Harm()] * 3}, "metadata.pkl: holds builtins.exec, expected only lists"),
        ({"actions": b"no pickle"}, "actions.pkl: is not a whole pickle of plain data"),
        ({"actions": [0, 1]}, "metadata.pkl has 3 entries, expected 2 as in actions.pkl"),
        ({"actions": [0] * 4, "metadata": [{"state": [0]}] * 4}, "it has 0 pictures of frame 3, expected one of each"),
        ({"actions": [0] * 2, "metadata": [{"state": [0]}] * 2}, "it has 1 pictures of frame 2, expected one of each"),
        ({"metadata": [{"state": [0, 0]}, {}, None]}, '"state" in metadata.pkl is not a number or a vector'),
        ({"metadata": [{"state": [0, 0]}, {"state": [0]}, {"state": [0]}]}, '"state" in metadata.pkl is not a number'),
        ({"actions": [None, 1, 2]}, "actions.pkl is not a number or a vector"),
        ({"actions": {"a": 1}}, "actions.pkl holds a dict, expected a list"),
        ({"actions": []}, "actions.pkl holds a list, expected a list with an entry for each frame"),
    ],
)
def test_labels_that_cannot_be_used_are_named(tmp_path, labels, reason):
    episode(tmp_path, "test", 0, **labels)
    (dropped,) = made("test", tmp_path, "caddy")
    assert reason in dropped.reason


def test_a_video_without_labels_has_action_0_and_no_state(tmp_path):
    none = [None] * 3
    episode(tmp_path, "test", 0, actions=none, metadata=none, rewards=none, dones=none)
    (clip,) = made("test", tmp_path, "caddy")
    assert len(clip) == 3 and list(clip.tracks) == ["actions"]
    assert clip.tracks["actions"].dtype == np.int64 and not clip.tracks["actions"].any()


def test_pictures_that_cannot_be_used_are_named(tmp_path):
    (episode(tmp_path, "test", 0) / "00001.png").unlink()
    save(episode(tmp_path, "test", 1) / "00002.jpg", square(0))
    save(episode(tmp_path, "test", 2) / "00000.png", square(0)[:200])
    (episode(tmp_path, "test", 3) / "metadata.pkl").unlink()
    assert reasons(made("test", tmp_path, "caddy")) == {
        "test/00000": "it has 0 pictures of frame 1, expected one of each frame from 0 to 2 as in actions.pkl",
        "test/00001": "it has 2 pictures of frame 2, expected one of each frame from 0 to 2 as in actions.pkl",
        "test/00002": "bair_256_ours/test/00002/00000.png is 256x200, expected 256x256",
        "test/00003": "it has no metadata.pkl",
    }


# Annotated frames


def test_annotated_frames_carry_the_place_of_the_arm(tmp_path):
    folder = tmp_path / "annotated_frames"
    for name in ("00000_1_2", "00004_128_64", "00005_255_0", "00005_7_7", "00011_0_255"):
        save(folder / f"{name}.jpg", square(0))
    val = made("val", folder, "annotated")  # the folder itself may be given
    assert [clip.id for clip in val] == ["val/00000_1_2", "val/00005_255_0", "val/00005_7_7"]
    (first, last) = made("train", tmp_path, "annotated")
    assert (first.id, last.id) == ("train/00004_128_64", "train/00011_0_255")
    assert first.tracks["state"].tolist() == [[0.5, 0.25]] and first.frames.shape == (1, 256, 256, 3)
    assert hd.splits(hd.Options("annotated")) == ("train", "val")


# Stores


def recipe(root: Path, packing: str, splits: tuple[str, ...]) -> building.Recipe:
    options = hd.Options(packing)
    work = {split: hd.shards(split, options, 3, Archive((root,))) for split in splits}
    return building.Recipe("bair-hd", hd.variant(options), hd.VERSION, work, hd.clips, hd.facts(options), {})


def test_variants_are_those_of_the_protocols():
    named = {(p.variant, p.split) for p in protocols.load_all().values() if p.dataset == "bair-hd"}
    assert named == {("256", "test"), ("caddy256", "test")}
    assert [hd.variant(hd.Options(packing)) for packing in ("ccvs", "caddy")] == ["256", "caddy256"]


def test_the_store_is_the_same_with_two_workers(tmp_path, monkeypatch):
    for number in (3, 4, 9):
        episode(tmp_path / "in", "test", number)
    monkeypatch.setattr(hd, "PER_SHARD", 2)
    one, two = (
        building.build(tmp_path / str(workers), recipe(tmp_path / "in", "caddy", ("test",)), workers)
        for workers in (1, 2)
    )
    assert one["splits"] == two["splits"] and len(one["splits"]["test"]["shards"]) == 2
    opened = store.Store(tmp_path / "2", "test")
    assert np.array_equal(opened.frames(2), np.stack([square(90 + t) for t in range(3)]))
    assert opened.track("state", 2).tolist() == [[0, 0, 0.25], [1, 0.5, 0.25], [2, 1, 0.25]]


@pytest.mark.parametrize("packing", ["ccvs", "caddy", "annotated"])
def test_an_archive_of_something_else_is_refused(tmp_path, packing):
    (tmp_path / "readme.txt").write_text("nothing")
    with pytest.raises(VbenchError, match=r"has readme.txt, expected .*; give the right files with --archive"):
        made("train", tmp_path, packing)


def test_a_real_sequence_keeps_its_size_and_place(shared, tmp_path):
    """A sequence of CADDY's own demonstration, stretched to the wide raw picture, comes back through CCVS's cut."""
    from vbench_ctl import video

    grid = video.read(shared / "samples/caddy_grids/bair_reconstructions.mp4", 0, 1).frames[0]
    real = grid[:256, 52:308]
    across = np.asarray(Image.fromarray(real).resize((810, 810), Image.Resampling.BICUBIC))
    raw = np.zeros((810, 1000, 3), np.uint8)
    raw[:, 157:967] = across[::-1]
    data = io.BytesIO()
    Image.fromarray(raw).save(data, "jpeg", quality=95, subsampling="4:4:4")
    folder = trajectory(tmp_path, 0, ())
    for t in range(30):
        (folder / f"aux1_full_cropped_im{t}_x.jpg").write_bytes(data.getvalue())
    (clip,) = made("train", tmp_path, limit=1)
    assert np.abs(clip.frames[7].astype(int) - real).mean() < 2
