"""Clips from anywhere under one face."""

import json
import pickle
import struct
import zlib

import h5py
import numpy as np
import pytest
import tiny

from vbench_ctl import building, sources, store, video
from vbench_ctl.clips import Clip
from vbench_ctl.errors import UsageError, VbenchError
from vbench_ctl.sources import ArraySource, open_source

CLIPS = np.random.default_rng(0).integers(256, size=(3, 9, 6, 8, 3), dtype=np.uint8)


def folder_of_videos(path):
    for index, frames in enumerate(CLIPS):
        video.write(path / f"{index:05d}.mkv", frames)
    return path


def folder_of_frames(path):
    for index, frames in enumerate(CLIPS):
        video.write(path / f"{index:05d}", frames)
    return path


def array(path, suffix):
    path.mkdir()
    path = path / f"clips{suffix}"
    if suffix == ".npy":
        np.save(path, CLIPS)
    elif suffix == ".npz":
        np.savez(path, CLIPS)
    else:
        with h5py.File(path, "w") as file:
            file["clips"] = CLIPS
    return path


def a_store(path):
    clips = [Clip(video.array_id(index), frames) for index, frames in enumerate(CLIPS)]
    recipe = tiny.recipe(make=iter, test=[clips])
    building.build(path, recipe)
    return path


KINDS = {
    "videos": folder_of_videos,
    "frames": folder_of_frames,
    "store": a_store,
    **{suffix: lambda path, suffix=suffix: array(path, suffix) for suffix in (".npy", ".npz", ".h5")},
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_source_gives_the_same(tmp_path, kind):
    source = open_source(KINDS[kind](tmp_path / "clips"))
    for opened in (source, pickle.loads(pickle.dumps(source))):
        assert opened.ids == ["00000", "00001", "00002"] and opened.length("00001") == 9
        assert opened.lossy() is None
        for cut in (slice(0, None, 1), slice(2, 7, 1), slice(1, 9, 3)):
            got = opened.frames("00002", cut.start, cut.stop, cut.step)
            assert got.dtype == np.uint8
            np.testing.assert_array_equal(got, CLIPS[2][cut])


def test_arrays_in_memory_go_to_other_processes():
    source = pickle.loads(pickle.dumps(ArraySource(list(CLIPS))))
    np.testing.assert_array_equal(source.frames("00001", 3), CLIPS[1, 3:])
    assert source.name == "array" and source.manifest == {}


def test_lossy_clips_are_found(tmp_path):
    video.write(tmp_path / "mixed/a.mkv", CLIPS[0])
    video.write(tmp_path / "mixed/b.mp4", CLIPS[0])
    assert open_source(tmp_path / "mixed").lossy() == f"{tmp_path}/mixed/b.mp4 is h264"
    for encoding, lossy in (("png", None), ("jpeg95", f"{tmp_path}/jpeg95 is jpeg95")):
        tiny.built(tmp_path / encoding, encoding=encoding)
        assert open_source(tmp_path / encoding).lossy() == lossy


def test_a_folder_may_have_its_own_manifest(tmp_path):
    folder = folder_of_videos(tmp_path / "clips")
    for text, manifest in (("[1]", {}), ('{"model": "mine"}', {"model": "mine"})):
        (folder / "manifest.json").write_text(text)
        assert open_source(folder).manifest == manifest
    (folder / "manifest.json").write_text("{")
    with pytest.raises(VbenchError, match=r"manifest.json: not a readable JSON file"):
        open_source(folder)


def test_a_frame_that_is_missing_is_no_silent_shift(tmp_path):
    folder = folder_of_frames(tmp_path)
    (folder / "00001/00005.png").unlink()
    source = open_source(folder)
    for ask in (source.length, source.frames):
        assert len(source.frames("00000")) == 9
        with pytest.raises(VbenchError, match=r"the next frame is 00006\.png; add what is missing"):
            ask("00001")


def test_a_folder_knows_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(folder_of_videos(tmp_path / "mine"))
    assert open_source(".").name == open_source("../mine").name == "mine"
    (tmp_path / "mine/below").mkdir()
    monkeypatch.chdir(tmp_path / "mine/below")
    assert open_source("..").name == "mine"


def test_what_is_no_source_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures/0.webp").write_text("")
    np.save(tmp_path / "floats.npy", CLIPS / 255)
    for name, wrong in {
        "nowhere": "not there; expected a folder of clips, a store, or an .npy",
        "empty": "holds no clips; expected",
        "pictures": "holds no clips but .webp files; expected",
        "notes.txt": "one file; expected a folder of clips",
        "floats.npy": "the array is float64, expected uint8",
    }.items():
        with pytest.raises(VbenchError, match=wrong):
            open_source(tmp_path / name)


def test_a_store_with_two_splits_needs_to_know_which(tmp_path):
    building.build(tmp_path, tiny.recipe(train=tiny.work("train"), test=tiny.work("test")))
    with pytest.raises(UsageError, match="has the splits train, test; say which one"):
        open_source(tmp_path)
    opened = open_source(tmp_path, "train")
    assert opened.name == "tiny 8x6 train" and opened.length("train/clip_4") == 90
    assert isinstance(opened, sources.StoreSource) and opened.manifest["dataset"] == "tiny"


def test_a_broken_store_is_no_folder_of_videos(tmp_path):
    tiny.built(tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    (tmp_path / "manifest.json").write_text(json.dumps({**manifest, "format": "vbench-store 9"}))
    with pytest.raises(VbenchError, match="its format is 'vbench-store 9', expected 'vbench-store 1'"):
        open_source(tmp_path)


def with_blob(folder, picture: bytes) -> store.Store:
    """A store whose first picture is replaced by other bytes."""
    tiny.built(folder, encoding="png", test=tiny.work("test", (2,)))
    with h5py.File(folder / "test-00000.h5", "a") as file:
        rest = file["blob"][file["frame_offsets"][1] :]
        offsets = file["frame_offsets"][:] + len(picture) - file["frame_offsets"][1]
        del file["blob"], file["frame_offsets"]
        file["blob"] = np.concatenate([np.frombuffer(picture, np.uint8), rest])
        file["frame_offsets"] = np.concatenate([[0], offsets[1:]])
    return store.Store(folder, "test")


def test_a_picture_in_a_store_runs_no_program(tmp_path, monkeypatch):
    """Pillow hands EPS to Ghostscript."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/gs").write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    (tmp_path / "bin/gs").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 6\n%%EndComments\nshowpage\n"
    with pytest.raises(VbenchError):
        with_blob(tmp_path / "eps", eps).frames(0)
    assert not (tmp_path / "ran").exists()


def test_a_picture_of_a_huge_size_is_refused(tmp_path):
    header = struct.pack(">I4sIIBBBBB", 13, b"IHDR", 60000, 60000, 8, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + header + struct.pack(">I", zlib.crc32(header[4:]))
    with pytest.raises(VbenchError):
        with_blob(tmp_path / "bomb", png + struct.pack(">I4sI", 0, b"IEND", zlib.crc32(b"IEND"))).frames(0)
