import os
import pickle
import shutil

import h5py
import numpy as np
import pytest
from PIL import Image

from vbench_ctl import building, importers, shards, store, video
from vbench_ctl.clips import Dropped
from vbench_ctl.errors import UsageError, VbenchError

SIZE = (12, 16)  # height, width


def noise(seed, frames=3, size=SIZE):
    return np.random.default_rng(seed).integers(0, 256, (frames, *size, 3), np.uint8)


def put_frames(folder, frames, names="{:05d}.png"):
    folder.mkdir(parents=True)
    for t, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / names.format(t))


def put_pickles(folder, **entries):
    for name, value in entries.items():
        (folder / f"{name}.pkl").write_bytes(pickle.dumps(value, protocol=0))


def put_pvg(folder, frames, **entries):
    nothing = [None] * len(frames)
    put_frames(folder, frames)
    put_pickles(folder, **{"actions": nothing, "rewards": nothing, "metadata": nothing, "dones": nothing, **entries})


def read(source, split=None, tmp=None, **options):
    """Import a source and return the store."""
    recipe = importers.recipe(source, "ours", **options)
    folder = store.store_path("ours", recipe.variant, recipe.version)
    building.build(folder, recipe)
    return store.Store(folder, split)


def clips_of(source, **options):
    """Return what the recipe yields, without a store."""
    recipe = importers.recipe(source, "ours", **options)
    return [clip for parts in recipe.work.values() for part in parts for clip in recipe.clips(part)]


# Folders of videos and frames


def test_videos_and_frame_folders_of_any_depth(tmp_path):
    video.write(tmp_path / "train/b/clip 10.mkv", noise(1), fps=5)
    video.write(tmp_path / "train/b/clip 9.mkv", noise(2), fps=5)
    put_frames(tmp_path / "test/x", noise(3))
    (tmp_path / "README.md").write_text("about")
    found = read(tmp_path, "train")
    assert found.ids == ["train/b/clip 9", "train/b/clip 10"]
    assert found.fps == 5 and found.manifest["options"]["layout"] == "videos"
    np.testing.assert_array_equal(found.frames(0), noise(2))
    np.testing.assert_array_equal(store.Store(found.folder, "test").frames(0), noise(3))


def test_frame_folders_of_cinn(tmp_path):
    """DTDB names the split below the texture; landscape frames have gaps and are ordered as numbers."""
    folder = tmp_path / "fire/eval/v1"
    frames = noise(0, 12)
    put_frames(folder, frames, "frame{}.png")
    (folder / "frame5.png").unlink()
    put_frames(tmp_path / "fire/train/v1", noise(1), "frame{}.png")
    found = read(tmp_path, "eval")
    assert found.ids == ["fire/eval/v1"]
    np.testing.assert_array_equal(found.frames(0), np.delete(frames, 5, axis=0))


def test_without_split_folders_all_clips_are_one_split(tmp_path):
    put_frames(tmp_path / "001_1_1", noise(0), "frame_{}.png")
    put_frames(tmp_path / "mytrain/001_1_2", noise(1), "frame_{}.png")
    assert read(tmp_path).ids == ["001_1_1", "mytrain/001_1_2"]


def test_two_folders_do_not_become_one_store(tmp_path):
    put_frames(tmp_path / "one/clip", noise(0))
    put_frames(tmp_path / "two/train/clip", noise(1))
    building.build(tmp_path / "store", importers.recipe(tmp_path / "one", "ours"))
    with pytest.raises(VbenchError, match="has the split all of another folder; remove it or choose another name"):
        building.build(tmp_path / "store", importers.recipe(tmp_path / "two", "ours"))
    assert [*store.read_manifest(tmp_path / "store")["splits"]] == ["all"]


def test_an_undecodable_video_is_dropped_with_its_reason(tmp_path):
    video.write(tmp_path / "good.mkv", noise(0))
    (tmp_path / "bad.mkv").write_bytes((tmp_path / "good.mkv").read_bytes()[:-100])
    found = read(tmp_path)
    assert found.ids == ["good"]
    (dropped,) = found.summary["dropped"]
    assert dropped["id"] == "bad" and dropped["reason"].startswith("bad.mkv: is cut short")


def test_nothing_but_undecodable_videos_is_an_error(tmp_path):
    (tmp_path / "bad.mp4").write_bytes(b"no video at all")
    with pytest.raises(VbenchError, match=r"no clip that can be read as videos; bad\.mp4"):
        importers.recipe(tmp_path, "ours")


def test_mixed_sizes_need_a_size(tmp_path):
    put_frames(tmp_path / "a", noise(0))
    put_frames(tmp_path / "b", noise(1, size=(20, 20)))
    with pytest.raises(VbenchError, match="--size"):
        read(tmp_path)
    found = read(tmp_path, size=(8, 6))
    assert found.size == (6, 8) and found.manifest["variant"] == "8x6"
    whole = np.asarray(Image.fromarray(noise(0)[2]).resize((8, 6), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(found.frames(0)[2], whole)


def test_resizing_is_antialiased(tmp_path):
    stripes = np.zeros((1, 32, 32, 3), np.uint8)
    stripes[:, :, ::2] = 255
    put_frames(tmp_path / "a", stripes)
    (clip,) = clips_of(tmp_path, size=(4, 4))
    assert abs(int(clip.frames.min()) - 127) <= 8 and abs(int(clip.frames.max()) - 127) <= 8


def test_two_files_with_one_id_are_named(tmp_path):
    video.write(tmp_path / "a.mkv", noise(0))
    video.write(tmp_path / "a.avi", noise(1))
    with pytest.raises(VbenchError, match=r'a\.avi and .*a\.mkv: are both clip "a"'):
        importers.recipe(tmp_path, "ours")


def test_two_arrays_with_one_id_are_named(tmp_path):
    np.save(tmp_path / "a.npy", noise(0)[None])
    np.savez(tmp_path / "a.npz", noise(1)[None])
    with pytest.raises(VbenchError, match=r'a\.npy and a\.npz: are both clip "a/00000"'):
        importers.recipe(tmp_path, "ours")


def test_a_folder_that_links_to_itself_is_an_error(tmp_path):
    put_frames(tmp_path / "clips/a", noise(0))
    for name in "bc":  # two of them: following both would never end
        (tmp_path / "clips" / name).symlink_to(tmp_path)
    with pytest.raises(VbenchError, match="link to a folder that holds it"):
        importers.recipe(tmp_path, "ours")


def test_links_to_clips_elsewhere_are_followed_under_their_own_names(tmp_path):
    put_frames(tmp_path / "elsewhere/a", noise(0))
    (tmp_path / "subset").mkdir()
    (tmp_path / "subset/first").symlink_to(tmp_path / "elsewhere/a")
    assert [clip.id for clip in clips_of(tmp_path / "subset")] == ["first"]


def test_a_link_to_nowhere_is_dropped(tmp_path):
    put_frames(tmp_path / "a", noise(0))
    (tmp_path / "b.mp4").symlink_to(tmp_path / "gone.mp4")
    _, dropped = clips_of(tmp_path)
    assert dropped.id == "b" and "no such file" in dropped.reason


# Recipes


def test_the_same_folder_elsewhere_makes_the_same_store(tmp_path):
    put_frames(tmp_path / "here/train/a", noise(0))
    put_frames(tmp_path / "here/train/b", noise(1))
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    here, there = (importers.recipe(tmp_path / name, "ours") for name in ("here", "there"))
    assert here.fingerprint("train") == there.fingerprint("train")
    with (tmp_path / "there/train/b/00001.png").open("ab") as file:
        file.write(b"more")
    assert here.fingerprint("train") != importers.recipe(tmp_path / "there", "ours").fingerprint("train")
    assert here.fingerprint("train") != importers.recipe(tmp_path / "here", "ours", size=(8, 6)).fingerprint("train")


def test_work_items_hold_about_a_shard_and_keep_the_order(tmp_path, monkeypatch):
    np.save(tmp_path / "a.npy", np.stack([noise(i) for i in range(7)]))
    monkeypatch.setattr(shards, "SHARD_BYTES", 2 * noise(0).nbytes)
    recipe = importers.recipe(tmp_path / "a.npy", "ours")
    assert [len(part.sources) for part in recipe.work["all"]] == [2, 2, 2, 1]
    found = read(tmp_path / "a.npy")
    assert found.ids == [f"{i:05d}" for i in range(7)] and len(found.summary["shards"]) == 4
    np.testing.assert_array_equal(found.frames(5), noise(5))


def test_workers_do_not_change_the_store(tmp_path, monkeypatch):
    for i in range(4):
        put_frames(tmp_path / f"source/{i}", noise(i))
    monkeypatch.setattr(shards, "SHARD_BYTES", 1)
    recipe = importers.recipe(tmp_path / "source", "ours")
    made = [building.build(tmp_path / f"{n}", recipe, n)["splits"]["all"] for n in (1, 2)]
    assert made[0] == made[1] and made[0]["clips"] == 4


def test_limit_is_per_split_and_in_the_name(tmp_path):
    for split, count in (("train", 3), ("test", 2)):
        for i in range(count):
            put_frames(tmp_path / split / str(i), noise(i))
    recipe = importers.recipe(tmp_path, "ours", limit=2)
    assert {split: sum(len(part.sources) for part in parts) for split, parts in recipe.work.items()} == {
        "test": 2,
        "train": 2,
    }
    assert recipe.variant == "original-limit2"


def test_wrong_words_and_empty_places(tmp_path):
    with pytest.raises(UsageError, match='did you mean "videogpt"'):
        importers.recipe(tmp_path, "ours", layout="videogbt")
    with pytest.raises(UsageError, match="cannot name a dataset"):
        importers.recipe(tmp_path, "../ours")
    with pytest.raises(VbenchError, match="holds nothing to import; expected videos"):
        importers.recipe(tmp_path, "ours")
    with pytest.raises(VbenchError, match="no such file"):
        importers.recipe(tmp_path / "missing", "ours")
    for layout in importers.LAYOUTS:
        with pytest.raises(VbenchError, match=r"holds no clip"):
            importers.recipe(tmp_path, "ours", layout=layout)


# PVG folders


def test_pvg_labels_become_tracks(tmp_path):
    put_pvg(
        tmp_path / "train/00000",
        noise(0),
        actions=[[1.0, 2.0], [3.0, 4.0], None],
        rewards=[0.5, 1, 2],
        metadata=[{"state": np.array([0.25, 0.5])}, {"state": [1.0, 2.0]}, {}],
        dones=[False, False, True],
    )
    (clip,) = clips_of(tmp_path)
    assert clip.id == "train/00000" and set(clip.tracks) == {"actions", "rewards", "state", "dones"}
    np.testing.assert_array_equal(clip.tracks["actions"], np.float32([[1, 2], [3, 4], [np.nan, np.nan]]))
    np.testing.assert_array_equal(clip.tracks["state"], np.float32([[0.25, 0.5], [1, 2], [np.nan, np.nan]]))
    assert clip.tracks["dones"].tolist() == [0, 0, 1] and clip.tracks["rewards"].dtype == np.float32


def test_pvg_whole_numbers_mark_none_by_minus_one(tmp_path):
    put_pvg(tmp_path / "a", noise(0), actions=[4, None, 0])
    (clip,) = clips_of(tmp_path)
    assert clip.tracks["actions"].tolist() == [4, -1, 0] and set(clip.tracks) == {"actions"}


def put_wsprites(folder, frames):
    labels = {
        "global": [0, 1, 4],
        "local": [1, 2, 5],
        "shifts": [(0.0, 0.5), (0.25, 0.0), (0.0, 0.0)],
        "bg_shifts": [(0.08, 0.0)] * 3,
    }
    put_pvg(folder, frames, actions=labels["global"], glactions=labels)
    (folder / "masks").mkdir()
    masks = noise(9)[..., 0]
    for t, mask in enumerate(masks):
        Image.fromarray(mask).save(folder / f"masks/{t:05d}.png")
    return masks


def test_wsprites_folder(tmp_path):
    masks = put_wsprites(tmp_path / "val/sprite_001037_video_000", noise(0))
    (clip,) = clips_of(tmp_path)
    assert clip.id == "val/sprite_001037_video_000"
    assert set(clip.tracks) == {"global_action", "local_action", "shift_fg", "shift_bg", "masks"}
    assert clip.tracks["local_action"].tolist() == [1, 2, 5]
    np.testing.assert_array_equal(clip.tracks["shift_bg"], np.full((3, 2), [0.08, 0], np.float32))
    np.testing.assert_array_equal(clip.tracks["masks"], masks)
    (small,) = clips_of(tmp_path, size=(8, 6))
    assert small.frames.shape == (3, 6, 8, 3)
    top, left = masks.shape[1] / 6, masks.shape[2] / 8
    under = [[masks[:, int((row + 0.5) * top), int((column + 0.5) * left)] for column in range(8)] for row in range(6)]
    np.testing.assert_array_equal(small.tracks["masks"], np.moveaxis(under, -1, 0))


def test_a_single_pvg_folder_is_named_after_itself(tmp_path):
    put_pvg(tmp_path / "00017", noise(0))
    assert [clip.id for clip in clips_of(tmp_path / "00017")] == ["00017"]


def test_pvg_folders_are_ordered_as_numbers(tmp_path):
    for name in ("v10", "v9", "w1", "10", "9"):
        put_pvg(tmp_path / name, noise(0))
    assert [clip.id for clip in clips_of(tmp_path)] == ["9", "10", "v9", "v10", "w1"]


def test_pickles_of_a_wrong_length_are_named(tmp_path):
    put_pvg(tmp_path / "a", noise(0), actions=[1, 2])
    with pytest.raises(VbenchError, match=r"a/actions\.pkl: holds 2 entries, expected a list of 3"):
        importers.recipe(tmp_path, "ours")


@pytest.mark.parametrize("actions", [[[1], [1, 2], [3]], ["a", "b", "c"], [{}, {}, {}]])
def test_labels_that_are_no_numbers_are_named(tmp_path, actions):
    put_pvg(tmp_path / "a", noise(0), actions=actions)
    with pytest.raises(VbenchError, match=r"a/actions\.pkl: its entries are not numbers"):
        importers.recipe(tmp_path, "ours")


def test_a_malicious_pickle_stops_the_import(tmp_path):
    class Call:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'mark'}",)

    put_pvg(tmp_path / "source/a", noise(0), metadata=[Call(), None, None])
    with pytest.raises(VbenchError, match=r"metadata\.pkl: holds .*system"):
        importers.recipe(tmp_path / "source", "ours")
    assert not (tmp_path / "mark").exists()


def test_missing_glaction_is_named(tmp_path):
    put_pvg(tmp_path / "a", noise(0), glactions={"global": [1, 2, 3]})
    with pytest.raises(VbenchError, match='has no "local"'):
        importers.recipe(tmp_path, "ours")


def test_clips_with_other_labels_are_refused_by_the_store(tmp_path):
    put_pvg(tmp_path / "a", noise(0), actions=[1, 2, 3])
    put_frames(tmp_path / "b", noise(1))
    with pytest.raises(VbenchError, match="clip b has no tracks"):
        read(tmp_path)


# HDF5 files


def put_videogpt(path, ends=False, **changed):
    frames = np.concatenate([noise(0, 3), noise(1, 4), noise(2, 2)])
    arrays = {
        "train_data": frames,
        "train_idx": np.array([0, 3, 7] + [9] * ends),
        "train_actions": np.arange(36, dtype=np.float32).reshape(9, 4),
        "test_data": frames[:4],
        "test_idx": np.array([0]),
        "test_actions": np.zeros((4, 4), np.float32),
        **changed,
    }
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array


@pytest.mark.parametrize("ends", [False, True], ids=["VideoGPT", "TATS"])
def test_videogpt_with_and_without_the_end(tmp_path, ends):
    put_videogpt(tmp_path / "bair.h5", ends)
    train = read(tmp_path / "bair.h5", "train")
    assert train.ids == ["train/00000", "train/00001", "train/00002"] and train.lengths.tolist() == [3, 4, 2]
    np.testing.assert_array_equal(train.frames(1), noise(1, 4))
    np.testing.assert_array_equal(train.track("actions", 2), np.arange(28, 36).reshape(2, 4))
    assert store.Store(train.folder, "test").ids == ["test/00000"]


@pytest.mark.parametrize("starts", [[0, 3, 10], [0, 3, 3], [0, 7, 3], [1, 3, 7], [-1, 3, 7], [0.0, 3.0], [[0, 3]], []])
def test_videogpt_starts_outside_the_frames_are_named(tmp_path, starts):
    put_videogpt(tmp_path / "bair.h5", train_idx=np.array(starts))
    with pytest.raises(VbenchError, match="train_idx"):
        importers.recipe(tmp_path / "bair.h5", "ours")


def put_mcvd(path, clips):
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file.create_group("videos")
        for i, clip in enumerate(clips):
            file[f"len/{i}"] = len(clip)
            for t, frame in enumerate(clip):
                file.create_dataset(f"{i}/{t}", data=frame, compression="lzf")


def test_mcvd_shards(tmp_path):
    many = [noise(i, 2) for i in range(11)]
    put_mcvd(tmp_path / "train/shard_0001.hdf5", many)
    put_mcvd(tmp_path / "train/shard_0002.hdf5", [noise(20, 12)])
    put_mcvd(tmp_path / "test/shard_0001.hdf5", [noise(21)])
    train = read(tmp_path, "train")
    assert train.ids == [*(f"train/shard_0001/{i}" for i in range(11)), "train/shard_0002/0"]
    np.testing.assert_array_equal(train.frames(10), many[10])
    np.testing.assert_array_equal(train.frames(11), noise(20, 12))


def test_mcvd_length_that_does_not_fit(tmp_path):
    put_mcvd(tmp_path / "shard_0001.hdf5", [noise(0)])
    with h5py.File(tmp_path / "shard_0001.hdf5", "a") as file:
        file["len/0"][()] = 7
    with pytest.raises(VbenchError, match="clip 0 has 3 frames, its length is given as 7"):
        importers.recipe(tmp_path, "ours")


def test_a_truncated_hdf5_file_is_named(tmp_path):
    put_videogpt(tmp_path / "bair.h5")
    data = (tmp_path / "bair.h5").read_bytes()
    (tmp_path / "bair.h5").write_bytes(data[: len(data) // 2])
    for layout in ("auto", "videogpt", "mcvd", "arrays"):
        with pytest.raises(VbenchError, match=r"bair\.h5: is (cut short|not a whole)"):
            importers.recipe(tmp_path / "bair.h5", "ours", layout=layout)


def put_link(tmp_path, kind):
    """Make secret.h5 and bair.h5, whose frames lie in the former."""
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["x"] = noise(7)
        raw = file["x"].id.get_offset()
    with h5py.File(tmp_path / "bair.h5", "w") as file:
        file["train_idx"] = np.array([0])
        if kind == "external link":
            file["train_data"] = h5py.ExternalLink("secret.h5", "/x")
        elif kind == "soft link through one":
            file["out"] = h5py.ExternalLink("secret.h5", "/")
            file["train_data"] = h5py.SoftLink("/out/x")
        elif kind == "virtual dataset":
            layout = h5py.VirtualLayout(noise(7).shape, np.uint8)
            layout[:] = h5py.VirtualSource(tmp_path / "secret.h5", "x", noise(7).shape)
            file.create_virtual_dataset("train_data", layout)
        else:
            place = [(str(tmp_path / "secret.h5"), raw, noise(7).nbytes)]
            file.create_dataset("train_data", noise(7).shape, np.uint8, external=place)
        return np.array_equal(file["train_data"][:], noise(7))


KINDS = ["external link", "soft link through one", "virtual dataset", "external storage"]


@pytest.mark.parametrize("kind", KINDS)
def test_data_in_another_file_is_refused(tmp_path, kind):
    assert put_link(tmp_path, kind)  # HDF5 itself follows it
    with pytest.raises(VbenchError, match="train_data in / points elsewhere"):
        importers.recipe(tmp_path / "bair.h5", "ours")


@pytest.mark.parametrize("kind", KINDS)
def test_arrays_in_another_file_are_refused(tmp_path, kind):
    put_link(tmp_path, kind)
    with h5py.File(tmp_path / "bair.h5", "a") as file:
        del file["train_idx"]
    with pytest.raises(VbenchError, match=r"points elsewhere|holds 0 arrays"):
        importers.recipe(tmp_path / "bair.h5", "ours", layout="arrays")


def test_mcvd_frame_in_another_file_is_refused(tmp_path):
    put_link(tmp_path, KINDS[0])
    put_mcvd(tmp_path / "shard_0001.hdf5", [noise(0), noise(1)])
    with h5py.File(tmp_path / "shard_0001.hdf5", "a") as file:
        del file["1/2"]
        file["1/2"] = h5py.ExternalLink("secret.h5", "/x")
    _, refused = clips_of(tmp_path / "shard_0001.hdf5")
    assert isinstance(refused, Dropped) and "points elsewhere" in refused.reason


def test_frames_of_many_clips_without_their_starts_are_no_one_clip(tmp_path):
    put_videogpt(tmp_path / "bair.h5")
    with pytest.raises(VbenchError, match="vbench-ctl prepare FILE --as NAME"):
        video.arrays(tmp_path / "bair.h5")
    with h5py.File(tmp_path / "bair.h5", "a") as file:
        del file["train_idx"]
    with pytest.raises(VbenchError, match="has train_data and no train_idx with the starts of its clips; add it"):
        importers.recipe(tmp_path / "bair.h5", "ours")


def test_a_claimed_huge_clip_is_refused(tmp_path):
    with h5py.File(tmp_path / "bair.h5", "w") as file:
        file.create_dataset("train_data", (1 << 40, 64, 64, 3), np.uint8, chunks=(1, 64, 64, 3))
        file["train_idx"] = np.array([0])
    with pytest.raises(VbenchError, match="more than 8 GiB"):
        importers.recipe(tmp_path / "bair.h5", "ours")


# Arrays


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".h5"])
def test_arrays(tmp_path, suffix):
    clips = np.stack([noise(i) for i in range(3)])
    for split in ("train", "test"):
        path = tmp_path / f"{split}{suffix}"
        if suffix == ".npy":
            np.save(path, clips)
        elif suffix == ".npz":
            np.savez(path, clips)
        else:
            with h5py.File(path, "w") as file:
                file["clips"] = clips
    test = read(tmp_path, "test")
    assert test.ids == ["test/00000", "test/00001", "test/00002"]
    np.testing.assert_array_equal(test.frames(2), clips[2])


def test_arrays_of_another_kind_are_refused(tmp_path):
    np.save(tmp_path / "a.npy", noise(0)[None] / 255)
    with pytest.raises(VbenchError, match="expected uint8"):
        importers.recipe(tmp_path / "a.npy", "ours")
