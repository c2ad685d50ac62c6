import json
import os
import pickle
import tarfile

import h5py
import numpy as np
import pytest
from PIL import Image

from vbench_ctl import building, exporters, importers, store
from vbench_ctl.clips import Clip
from vbench_ctl.errors import UsageError, VbenchError

SIZE = (12, 16)
LABELS = {
    "global_action": np.array([0, 1, 4]),
    "local_action": np.array([1, 2, 5]),
    "shift_fg": np.float32([[0, 0.5], [0.25, 0], [0, 0]]),
    "shift_bg": np.float32([[0.08, 0]] * 3),
    "masks": np.random.default_rng(9).integers(0, 256, (3, *SIZE), np.uint8),
}


def noise(seed, frames=3):
    return np.random.default_rng(seed).integers(0, 256, (frames, *SIZE, 3), np.uint8)


def itself(clip):
    return [clip]


def build(folder, splits, fps=None):
    """Make a store of {split: {id: (frames, tracks)}} and open its splits."""
    work = {
        split: [Clip(name, frames, fps, tracks) for name, (frames, tracks) in clips.items()]
        for split, clips in splits.items()
    }
    building.build(folder, building.Recipe("toy", "x", 1, work, itself, {}, {}))
    return [store.Store(folder, split) for split in splits]


@pytest.fixture
def source(tmp_path):
    return build(
        tmp_path / "store",
        {
            "train": {f"train/sprite_{i:06d}_video_000": (noise(i), LABELS) for i in range(3)},
            "test": {"test/sprite_001167_video_000": (noise(5), LABELS)},
        },
        fps=5,
    )


def imported(folder, layout="auto"):
    recipe = importers.recipe(folder, "back", layout)
    place = store.store_path("back", recipe.variant, 1)
    building.build(place, recipe)
    return place


def same_content(splits, place):
    for split in splits:
        assert store.Store(place, split.split).summary["content_sha256"] == split.summary["content_sha256"]
    return True


@pytest.mark.parametrize("layout", ["png", "pvg"])
def test_lossless_folders_come_back_the_same(tmp_path, source, layout):
    left_out = exporters.export(source, tmp_path / "out", layout)
    assert same_content(source, imported(tmp_path / "out"))
    assert left_out == (sorted(LABELS) if layout == "png" else [])
    assert not [name for name in os.listdir(tmp_path / "out") if name.startswith(".")]


def test_pvg_tracks_come_back_the_same(tmp_path, source):
    exporters.export(source, tmp_path / "out", "pvg")
    back = store.Store(imported(tmp_path / "out"), "train")
    assert back.summary["tracks_sha256"] == source[0].summary["tracks_sha256"]


def test_wsprites_are_written_as_the_original_folder(tmp_path, source):
    """File names and contents as Araachie/glass:data/wsprites leaves them, pickles that Python 2 reads."""
    exporters.export(source[1], tmp_path / "out", "pvg")
    folder = tmp_path / "out/test/sprite_001167_video_000"
    pictures = [f"{t:05d}.png" for t in range(3)]
    lists = ["actions.pkl", "dones.pkl", "glactions.pkl", "metadata.pkl", "rewards.pkl"]
    assert sorted(os.listdir(folder)) == sorted([*pictures, *lists, "masks"])
    assert sorted(os.listdir(folder / "masks")) == pictures
    with Image.open(folder / "masks/00000.png") as mask:
        assert mask.mode == "L"
    data = {name: (folder / name).read_bytes() for name in lists}
    assert all(content[:2] == b"\x80\x02" for content in data.values())
    assert pickle.loads(data["actions.pkl"]) == [0, 1, 4]
    assert pickle.loads(data["rewards.pkl"]) == [None] * 3
    labels = pickle.loads(data["glactions.pkl"])
    assert labels["global"] == [0, 1, 4] and labels["local"] == [1, 2, 5]
    assert labels["shifts"] == [[0, 0.5], [0.25, 0], [0, 0]] and set(labels) == {
        "global",
        "local",
        "shifts",
        "bg_shifts",
    }


def test_pvg_labels_of_bair(tmp_path):
    tracks = {
        "actions": np.float32([[1, 2], [3, 4], [5, 6]]),
        "state": np.float32([[0.5], [1], [2]]),
        "rewards": np.float32([0, 0.5, 1]),
        "dones": np.array([0, 0, 1]),
        "local_action": np.array([1, 2, 3]),
    }
    (made,) = build(tmp_path / "store", {"val": {"val/00000": (noise(0), tracks)}})
    assert exporters.export(made, tmp_path / "out", "pvg") == ["local_action"]
    folder = tmp_path / "out/val/00000"
    assert pickle.loads((folder / "metadata.pkl").read_bytes()) == [
        {"state": [0.5]},
        {"state": [1.0]},
        {"state": [2.0]},
    ]
    assert pickle.loads((folder / "dones.pkl").read_bytes()) == [False, False, True]
    assert not (folder / "glactions.pkl").exists()
    back = store.Store(imported(tmp_path / "out"))[0].tracks
    assert set(back) == set(tracks) - {"local_action"}
    for name in back:
        np.testing.assert_array_equal(back[name], tracks[name])


def test_a_split_that_ids_do_not_name_becomes_a_folder(tmp_path):
    made = build(
        tmp_path / "store", {"test": {"a/1.5": (noise(0), {})}, "all": {"b": (noise(1), {}), "train/c": (noise(2), {})}}
    )
    exporters.export(made, tmp_path / "out", "png")
    assert store.Store(imported(tmp_path / "out"), "test").ids == ["test/a/1.5"]
    assert store.Store(imported(tmp_path / "out"), "all").ids == ["all/train/c", "b"]


def test_mp4_keeps_names_rate_and_about_the_pixels(tmp_path):
    smooth = np.linspace(0, 255, 4 * 32 * 32 * 3).reshape(4, 32, 32, 3).astype(np.uint8)
    (made,) = build(tmp_path / "store", {"all": {"a.b/c.d": (smooth, {})}}, fps=5)
    exporters.export(made, tmp_path / "out", "mp4")
    back = store.Store(imported(tmp_path / "out"))
    assert back.ids == ["a.b/c.d"] and back.fps == 5
    assert np.abs(back.frames(0).astype(int) - smooth).mean() < 8


def test_videogpt_comes_back_the_same(tmp_path):
    tracks = [{"actions": np.float32(np.full((t, 4), t))} for t in (3, 5, 2)]
    splits = {
        "train": {f"train/{i:05d}": (noise(i, len(track["actions"])), track) for i, track in enumerate(tracks)},
        "test": {"test/00000": (noise(7), tracks[0])},
    }
    made = build(tmp_path / "store", splits)
    assert exporters.export(made, tmp_path / "out.h5", "videogpt") == []
    with h5py.File(tmp_path / "out.h5") as file:
        assert file["train_data"].shape == (10, *SIZE, 3) and file["train_idx"][:].tolist() == [0, 3, 8, 10]
    place = imported(tmp_path / "out.h5")
    assert same_content(made, place)
    assert store.Store(place, "train").summary["tracks_sha256"] == made[0].summary["tracks_sha256"]


def test_webdataset_samples(tmp_path, source):
    assert exporters.export(source, tmp_path / "out", "webdataset") == []
    assert sorted(os.listdir(tmp_path / "out")) == ["test-000000.tar", "train-000000.tar"]
    with tarfile.open(tmp_path / "out/train-000000.tar") as tar:
        names = tar.getnames()
        tar.extractall(tmp_path / "back", filter="data")
    key = "train/sprite_000001_video_000"
    assert names[3:6] == [f"{key}.mkv", f"{key}.json", f"{key}.npz"] and len(names) == 9
    assert json.loads((tmp_path / f"back/{key}.json").read_text()) == {
        "id": key,
        "split": "train",
        "frames": 3,
        "fps": 5,
        "tracks": sorted(LABELS),
    }
    with np.load(tmp_path / f"back/{key}.npz") as tracks:
        for name, track in LABELS.items():
            np.testing.assert_array_equal(tracks[name], track)
    assert same_content(source[:1], imported(tmp_path / "back"))


def test_webdataset_is_the_same_every_time(tmp_path, source, monkeypatch):
    exporters.export(source, tmp_path / "one", "webdataset")
    monkeypatch.setattr("time.time", lambda: 2_000_000_000.0)
    monkeypatch.setattr("time.localtime", lambda *_: (2033, 5, 18, 3, 33, 20, 2, 138, 0))
    exporters.export(source, tmp_path / "two", "webdataset")
    for name in os.listdir(tmp_path / "one"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_webdataset_keys_end_at_the_first_dot(tmp_path):
    made = build(tmp_path / "store", {"all": {"v.1/a.b%": (noise(0), {}), "a": (noise(1), {})}})
    exporters.export(made, tmp_path / "out", "webdataset")
    with tarfile.open(tmp_path / "out/all-000000.tar") as tar:
        assert tar.getnames() == ["v.1/a%2Eb%25.mkv", "v.1/a%2Eb%25.json", "a.mkv", "a.json"]


def test_webdataset_tars_are_closed_when_full(tmp_path, source, monkeypatch):
    monkeypatch.setattr(exporters, "TAR_BYTES", 1)
    exporters.export(source, tmp_path / "out", "webdataset")
    assert sorted(os.listdir(tmp_path / "out")) == ["test-000000.tar", *(f"train-{i:06d}.tar" for i in range(3))]


def test_progress_counts_clips(tmp_path, source):
    for layout in exporters.LAYOUTS:
        counts = []
        exporters.export(source, tmp_path / f"{layout}.h5", layout, counts.append)
        assert counts == [1] * 4


# Being stopped, and places that are taken


@pytest.mark.parametrize("layout", exporters.LAYOUTS)
def test_a_stopped_export_shows_nothing_and_goes_on(tmp_path, source, layout, monkeypatch):
    class Stopped(Exception):
        pass

    def stop_at_the_third(count, seen=[]):  # noqa: B006
        seen.append(count)
        if len(seen) == 3:
            raise Stopped

    with pytest.raises(Stopped):
        exporters.export(source, tmp_path / "out.h5", layout, stop_at_the_third)
    assert not (tmp_path / "out.h5").exists()
    read = []
    get = store.Store.__getitem__
    monkeypatch.setattr(store.Store, "__getitem__", lambda self, index: read.append(index) or get(self, index))
    exporters.export(source, tmp_path / "out.h5", layout)
    if layout in ("mp4", "png", "pvg"):
        assert len(read) == 1  # of four clips
    exporters.export(source, tmp_path / "again.h5", layout)
    assert tree(tmp_path / "out.h5") == tree(tmp_path / "again.h5")
    assert not list(tmp_path.glob(".*part*"))


@pytest.mark.parametrize("layout", exporters.LAYOUTS)
def test_two_exports_to_one_place_do_not_mix(tmp_path, source, layout):
    def another(count):
        for stores in (source, source[:1]):
            with pytest.raises(VbenchError, match=r"/out\.h5: another vbench-ctl is writing there"):
                exporters.export(stores, tmp_path / "out.h5", layout)

    exporters.export(source, tmp_path / "out.h5", layout, another)
    exporters.export(source, tmp_path / "again.h5", layout)
    assert tree(tmp_path / "out.h5") == tree(tmp_path / "again.h5")
    assert not list(tmp_path.glob(".*part*"))


def tree(place):
    if place.is_file():
        with h5py.File(place) as file:
            return {name: file[name][:].tobytes() for name in file}
    return {path.relative_to(place): path.read_bytes() for path in sorted(place.rglob("*")) if path.is_file()}


def test_what_is_there_stays(tmp_path, source):
    (tmp_path / "out").mkdir()
    exporters.export(source, tmp_path / "out", "png")
    before = tree(tmp_path / "out")
    for layout in ("png", "pvg", "webdataset"):
        with pytest.raises(VbenchError, match="is there already"):
            exporters.export(source[0], tmp_path / "out", layout)
    assert tree(tmp_path / "out") == before
    (tmp_path / "x.h5").write_bytes(b"mine")
    with pytest.raises(VbenchError, match="is there already"):
        exporters.export(source, tmp_path / "x.h5", "videogpt")
    assert (tmp_path / "x.h5").read_bytes() == b"mine"


def test_wrong_words(tmp_path, source):
    with pytest.raises(UsageError, match='did you mean "webdataset"'):
        exporters.export(source, tmp_path / "out", "webdatset")
    with pytest.raises(UsageError, match=r"ends in \.h5"):
        exporters.export(source, tmp_path / "out", "videogpt")


@pytest.mark.parametrize("layout", exporters.LAYOUTS)
@pytest.mark.parametrize("name", ["../a", "a/../../b", "/etc/a", "a//b", ".hidden", "a/", "", "a\\b", "a/./b"])
def test_names_that_lead_elsewhere_are_refused_before_writing(tmp_path, layout, name):
    (made,) = build(tmp_path / "store", {"all": {"fine": (noise(0), {}), name: (noise(1), {})}})
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(VbenchError, match="cannot be the name of a file"):
        exporters.export(made, tmp_path / "out.h5", layout)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_split_that_leads_elsewhere_is_refused(tmp_path, source):
    source[0].split = "../../train"
    with pytest.raises(VbenchError, match="cannot be the name"):
        exporters.export(source[0], tmp_path / "out", "webdataset")


def test_a_clip_inside_another_is_refused(tmp_path):
    (made,) = build(tmp_path / "store", {"all": {"a": (noise(0), {}), "a/b": (noise(1), {})}})
    with pytest.raises(VbenchError, match='"a/b" would lie inside another clip'):
        exporters.export(made, tmp_path / "out", "png")


def test_a_link_in_the_way_is_not_written_through(tmp_path, source):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/mine").write_text("mine")
    (tmp_path / "out").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(VbenchError, match="is there already"):
        exporters.export(source, tmp_path / "out", "png")
    assert os.listdir(tmp_path / "elsewhere") == ["mine"]
