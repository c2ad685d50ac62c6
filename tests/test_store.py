"""The clip store: what is written is read again, whichever way it was cut, interrupted or damaged."""

import csv
import hashlib
import json
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import tiny

from vbench_ctl import building, execute, files, shards, sources, store
from vbench_ctl.clips import Clip, Dropped
from vbench_ctl.errors import UsageError, VbenchError
from vbench_ctl.store import Store

ENCODINGS = pytest.mark.parametrize("encoding", shards.ENCODINGS)


def contents(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*") if path.name != ".lock")


def small_clip(id: str, frames: int = 2, fps: float | None = 10.0, **tracks: np.ndarray) -> Clip:
    return Clip(id, np.zeros((frames, 6, 8, 3), np.uint8), fps, tracks)


def listed(item: list) -> list:
    """Serve as a recipe's `clips` where the work items are the clips."""
    return item


# Round trips


@ENCODINGS
@pytest.mark.parametrize("size", [(6, 8), (1, 1), (5, 13)])
def test_everything_is_read_as_it_was_written(tmp_path, encoding, size):
    work = tiny.work("test", per_shard=3, size=size)
    held = tiny.built(tmp_path, encoding=encoding, test=work)
    expected = [clip for item in work for clip in tiny.clips(item)]
    assert held.ids == [clip.id for clip in expected] and list(held.lengths) == list(tiny.LENGTHS)
    assert (held.size, held.fps, len(held)) == (size, 10.0, 5)
    for clip, wanted in zip(held, expected, strict=True):
        if encoding != "jpeg95":
            np.testing.assert_array_equal(clip.frames, wanted.frames)
        assert clip.tracks.keys() == wanted.tracks.keys()
        for name, track in wanted.tracks.items():
            assert clip.tracks[name].dtype == track.dtype
            np.testing.assert_array_equal(clip.tracks[name], track)


@ENCODINGS
def test_the_digest_is_of_what_a_reader_sees(tmp_path, encoding):
    held = tiny.built(tmp_path, encoding=encoding)
    digest = hashlib.sha256()
    for clip in held:
        shape = "x".join(map(str, clip.frames.shape))
        digest.update(hashlib.sha256(f"{clip.id} {shape}\0".encode() + clip.frames.tobytes()).digest())
    assert held.summary["content_sha256"] == digest.hexdigest() == held.content_sha256()


def test_png_is_exact_and_jpeg_is_near(tmp_path):
    raw, png, jpeg = (tiny.built(tmp_path / encoding, encoding=encoding) for encoding in shards.ENCODINGS)
    assert raw.summary["content_sha256"] == png.summary["content_sha256"] != jpeg.summary["content_sha256"]
    assert len({held.summary["tracks_sha256"] for held in (raw, png, jpeg)}) == 1
    smooth = np.broadcast_to(np.linspace(0, 255, 64, dtype=np.uint8)[:, None, None], (2, 64, 64, 3))
    building.build(tmp_path / "smooth", tiny.recipe(encoding="jpeg95", make=listed, test=[[Clip("a", smooth.copy())]]))
    assert abs(Store(tmp_path / "smooth").frames(0).astype(int) - smooth).max() <= 3


@ENCODINGS
def test_a_range_of_frames_is_a_slice(tmp_path, encoding):
    held = tiny.built(tmp_path, encoding=encoding)
    for index, length in enumerate(tiny.LENGTHS):
        whole, masks, state = (held.track(n, index) if n else held.frames(index) for n in ("", "masks", "state"))
        ranges = {
            (0, None, 1),
            (0, length, 1),
            (0, 0, 1),
            (length, length, 2),
            (length // 2, length, 1),
            (1, length, 3),
        }
        for start, stop, step in ranges | {(0, length, 2), (0, length, 8), (length // 3, length - length // 3, 5)}:
            cut = slice(start, stop, step)
            np.testing.assert_array_equal(held.frames(index, start, stop, step), whole[cut])
            np.testing.assert_array_equal(held.track("masks", index, start, stop, step), masks[cut])
            np.testing.assert_array_equal(held.track("state", index, start, stop, step), state[cut])


def test_a_range_outside_the_clip_is_refused(tmp_path):
    held = tiny.built(tmp_path)
    for start, stop, step in ((0, 8, 1), (-1, 3, 1), (5, 3, 1), (0, 3, 0)):
        with pytest.raises(VbenchError, match="clip test/clip_1 has 7 frames"):
            held.frames(1, start, stop, step)
    with pytest.raises(UsageError, match=r'no track .* "action"; did you mean "actions"'):
        held.track("action", 0)
    with pytest.raises(VbenchError, match='no clip "test/clip_9" in test'):
        held.index("test/clip_9")
    with pytest.raises(IndexError):
        held[5]


# The format: docs/store.md, read with h5py alone


def test_raw_files_hold_what_the_format_says(tmp_path):
    held = tiny.built(tmp_path, test=tiny.work("test", per_shard=5))
    expected = list(tiny.clips(tiny.Item("test", 0, tiny.LENGTHS)))
    with h5py.File(tmp_path / "test-00000.h5") as file:
        assert file["frames"].chunks == (8, 6, 8, 3) and file["frames"].compression is None
        assert file["masks"].chunks == (8, 6, 8) and file["frames"].dtype == np.uint8
        np.testing.assert_array_equal(file["frames"][:], np.concatenate([clip.frames for clip in expected]))
        np.testing.assert_array_equal(file["masks"][:], np.concatenate([clip.tracks["masks"] for clip in expected]))
        np.testing.assert_array_equal(file["clip_offsets"][:], [0, 1, 8, 16, 25, 115])
        assert file["clip_offsets"].dtype == np.int64 and file["clip_id"].dtype.kind == "S"
        assert [name.decode() for name in file["clip_id"][:]] == held.ids
        assert file["actions"].shape == (115, 4) and file["actions"].dtype == np.float32
        assert all(file.attrs.get_id(name).dtype.kind in "Sif" for name in file.attrs)
        attributes = {n: value.decode() if isinstance(value, bytes) else value for n, value in file.attrs.items()}
    assert attributes["store_version"] == "vbench-store 1" and attributes["fps"] == 10
    assert (attributes["dataset"], attributes["variant"]) == ("tiny", "8x6")
    assert attributes["converter"].endswith("tiny@1") and attributes["source_sha256"] == ""
    assert json.loads(attributes["protocols"]) == []


@pytest.mark.parametrize("encoding", ["png", "jpeg95"])
def test_encoded_files_hold_one_picture_after_the_other(tmp_path, encoding):
    held = tiny.built(tmp_path, encoding=encoding, test=tiny.work("test", per_shard=5))
    with h5py.File(tmp_path / "test-00000.h5") as file:
        assert "frames" not in file and "masks" not in file
        for prefix, magic in (("", b"\x89PNG" if encoding == "png" else b"\xff\xd8\xff"), ("masks_", b"\x89PNG")):
            blob, offsets = file[f"{prefix}blob"], file[f"{prefix}frame_offsets"][:]
            assert blob.dtype == np.uint8 and offsets.dtype == np.int64 and offsets.shape == (116,)
            assert offsets[0] == 0 and offsets[-1] == len(blob) and (np.diff(offsets) > 0).all()
            assert all(blob[at : at + len(magic)].tobytes() == magic for at in offsets[:-1])
    assert held.summary["encoding"] == encoding


def test_without_a_wish_only_large_frames_are_encoded(tmp_path):
    for size, encoding in (((128, 128), "raw"), ((128, 129), "png")):
        frames = np.zeros((1, *size, 3), np.uint8)
        building.build(tmp_path / encoding, tiny.recipe(make=listed, test=[[Clip("a", frames)]]))
        assert Store(tmp_path / encoding).summary["encoding"] == encoding


def test_protocols_and_sources_stand_in_the_files():
    wsprites = replace(tiny.recipe(), dataset="wsprites", variant="128x96-limit32", work={"test": [], "train": []})
    assert "wsprites-quickstart@1" in json.loads(wsprites.attributes("test")["protocols"])
    assert not json.loads(wsprites.attributes("train")["protocols"])
    a, b = (replace(tiny.recipe(), facts={"sources": {"test": [name]}}) for name in "ab")
    assert a.attributes("test")["source_sha256"] != b.attributes("test")["source_sha256"]


def test_the_index_lists_every_clip(tmp_path):
    odd = [small_clip("=1+1"), small_clip('a,"b"')]
    building.build(tmp_path, tiny.recipe(make=listed, train=[odd], test=[[small_clip("c")], [small_clip("d", 3)]]))
    with open(tmp_path / "clips.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["split"], row["index"], row["id"]) for row in rows] == [
        *(("train", "0", "'=1+1"), ("train", "1", 'a,"b"')),  # no spreadsheet takes the first one for a formula
        *(("test", "0", "c"), ("test", "1", "d")),
    ]
    assert [(row["frames"], row["shard"]) for row in rows[2:]] == [("2", "test-00000.h5"), ("3", "test-00001.h5")]
    assert rows[2]["sha256"] == shards.clip_sha256("c", np.zeros((2, 6, 8, 3), np.uint8)).hex()
    assert Store(tmp_path, "train").ids == ["=1+1", 'a,"b"']


# The same store, however it is built


def test_workers_and_shards_do_not_change_the_content(tmp_path):
    hashes = set()
    for workers, per_shard in ((1, 1), (2, 2), (1, 5)):
        folder = tmp_path / f"{workers}{per_shard}"
        building.build(folder, tiny.recipe(test=tiny.work("test", per_shard=per_shard)), workers)
        held = Store(folder)
        hashes.add((held.summary["content_sha256"], held.summary["tracks_sha256"], *held.ids))
    assert len(hashes) == 1


def dying_clips(item: tiny.Item) -> Iterator[Clip]:
    """Kill this process in the middle of the second shard, as a reboot would."""
    for clip in tiny.clips(item):
        yield clip
        if item.first == 2 and "VBENCH_TEST_DIE" in os.environ:
            os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_build_goes_on(tmp_path):
    """Signal 9 leaves a temporary file; the next build removes it and ends with the same content."""
    code = "import test_store, tiny, sys; from pathlib import Path\n"
    code += "test_store.building.build(Path(sys.argv[1]), tiny.recipe(make=test_store.dying_clips))"
    path = os.pathsep.join(map(str, (Path(__file__).parent, Path(__file__).parent.parent)))
    environment = {**os.environ, "VBENCH_TEST_DIE": "1", "PYTHONPATH": path}
    ended = subprocess.run([sys.executable, "-c", code, str(tmp_path / "killed")], env=environment, check=False)
    assert ended.returncode == -signal.SIGKILL
    left = contents(tmp_path / "killed")
    assert "test-00000.h5" in left and "manifest.json" not in left and any(".part" in name for name in left)
    with pytest.raises(VbenchError, match="no finished store there"):
        Store(tmp_path / "killed")

    before = (tmp_path / "killed/test-00000.h5").stat().st_mtime_ns
    resumed = tiny.built(tmp_path / "killed", make=dying_clips)
    assert (tmp_path / "killed/test-00000.h5").stat().st_mtime_ns == before
    assert not any(".part" in name for name in contents(tmp_path / "killed"))
    assert resumed.summary["content_sha256"] == tiny.built(tmp_path / "whole").summary["content_sha256"]


def test_a_killed_worker_is_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("VBENCH_TEST_DIE", "1")
    with pytest.raises(VbenchError, match=r"one of 2 worker processes was killed.*fewer --workers"):
        building.build(tmp_path, tiny.recipe(make=dying_clips), workers=2)
    assert "manifest.json" not in contents(tmp_path)


def refusing_clips(item: tiny.Item) -> Iterator[Clip]:
    yield from tiny.clips(item)
    if item.first == 2:
        raise VbenchError("clip 3 is broken, replace it")


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_in_one_shard_leaves_the_others(tmp_path, workers):
    with pytest.raises(VbenchError, match=r"^clip 3 is broken, replace it$"):
        building.build(tmp_path, tiny.recipe(make=refusing_clips), workers)
    assert contents(tmp_path)[0] == "test-00000.h5" and "test-00001.h5" not in contents(tmp_path)
    assert all(name.startswith("test-") for name in contents(tmp_path))
    assert len(tiny.built(tmp_path)) == 5


def test_a_finished_store_is_left_alone_and_a_split_may_follow(tmp_path):
    tiny.built(tmp_path)
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    tiny.built(tmp_path)
    assert before == {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    tiny.built(tmp_path, train=tiny.work("train"), test=tiny.work("test"))
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("test-*")}.items() <= before.items()
    assert Store(tmp_path, "train").ids[0] == "train/clip_0"
    with pytest.raises(UsageError, match="has the splits test, train; say which one"):
        Store(tmp_path)
    with pytest.raises(UsageError, match='no split "tset"; did you mean "test"'):
        Store(tmp_path, "tset")


def test_other_options_do_not_mix(tmp_path):
    tiny.built(tmp_path)
    for other in (tiny.recipe(encoding="png"), tiny.recipe(test=tiny.work("test", (3, 3)))):
        with pytest.raises(VbenchError, match="holds another test split of tiny 8x6, made with other options"):
            building.build(tmp_path, other)
    assert len(Store(tmp_path)) == 5


def test_shards_of_another_recipe_are_made_again(tmp_path):
    with pytest.raises(VbenchError):
        building.build(tmp_path, tiny.recipe(make=refusing_clips, encoding="png"))
    assert tiny.built(tmp_path).summary["encoding"] == "raw"


def test_one_split_may_begin_like_another(tmp_path):
    splits = {"test": tiny.work("test", (3, 4)), "test-hard": tiny.work("test-hard", (5, 6, 7))}
    building.build(tmp_path, tiny.recipe(**splits))
    assert list(Store(tmp_path, "test").lengths) == [3, 4]
    assert list(Store(tmp_path, "test-hard").lengths) == [5, 6, 7]


def test_an_empty_split_is_refused_and_leaves_nothing(tmp_path):
    with pytest.raises(VbenchError, match="test has no clips, since nothing of it was found; leave that split out"):
        building.build(tmp_path / "new", tiny.recipe(test=[], train=tiny.work("train")))
    assert not (tmp_path / "new").exists()
    dropped = Dropped("a", "no frames")
    for item, why in (([dropped], "none of 2 can be used, first a: no frames; prepare it again"), ([], "none came;")):
        with pytest.raises(VbenchError, match=f"test has no clips, since {why}"):
            building.build(tmp_path / "new", tiny.recipe(make=listed, test=[item, item]))
        assert contents(tmp_path / "new") == []


def test_an_empty_split_leaves_the_others_alone(tmp_path):
    building.build(tmp_path, tiny.recipe(make=listed, test=[[small_clip("a")]]))
    before = contents(tmp_path)
    with pytest.raises(VbenchError, match="train has no clips"):
        building.build(
            tmp_path, tiny.recipe(make=listed, test=[[small_clip("a")]], train=[[Dropped("b", "no frames")]])
        )
    assert contents(tmp_path) == before and Store(tmp_path).ids == ["a"]


def test_what_is_dropped_is_listed_however_much_it_is(tmp_path):
    """HDF5 keeps attributes above 64 kB only in its newer formats."""
    drops = [Dropped(f"clip {index}", "ü" * 100) for index in range(1000)]
    manifest = building.build(tmp_path / "a", tiny.recipe(make=listed, test=[[*drops, small_clip("a")]]))
    assert len(manifest["splits"]["test"]["dropped"]) == 1000 and Store(tmp_path / "a").ids == ["a"]
    with pytest.raises(VbenchError, match=r"^1000 clips cannot be used, first clip 0: üü"):
        building.build(tmp_path / "b", tiny.recipe(make=listed, test=[[*drops, small_clip("a")]]), strict=True)
    assert "manifest.json" not in contents(tmp_path / "b")


# Clips that do not belong together


def floats(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.float32)


MIXED = {
    "size": ([small_clip("a"), Clip("b", np.zeros((2, 6, 9, 3), np.uint8))], "9x6.*8x6|8x6 .*9x6"),
    "tracks": ([small_clip("a", x=floats(2)), small_clip("b")], "x float32.*no tracks|no tracks.*x float32"),
    "type": ([small_clip("a", x=floats(2)), small_clip("b", x=np.zeros(2))], "x float(64|32).*x float(32|64)"),
    "shape": ([small_clip("a", x=floats(2, 3)), small_clip("b", x=floats(2, 4))], "x float32x[34].*x float32x[34]"),
}


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize(("clips", "wrong"), MIXED.values(), ids=MIXED)
def test_clips_of_two_kinds_are_refused(tmp_path, clips, wrong, together):
    """In one shard and in two."""
    with pytest.raises(VbenchError, match=wrong):
        building.build(tmp_path, tiny.recipe(make=listed, test=[clips] if together else [[clip] for clip in clips]))
    assert "manifest.json" not in contents(tmp_path)


@pytest.mark.parametrize(
    ("tracks", "wrong"),
    [
        ({"label": np.array(["a", "b"])}, "its label are <U1, expected numbers"),
        ({"label": np.array([None, 1])}, "its label are object, expected numbers"),
        ({"x": np.zeros(2, np.longdouble)}, "its x are float128, expected numbers of at most 64 bits"),
        ({"clip_offsets": np.zeros(2)}, "no track can be called 'clip_offsets'"),
        ({"a/b": np.zeros(2)}, "no track can be called 'a/b'"),
        ({"masks": np.zeros((2, 6, 8))}, r"masks are float64 \(2, 6, 8\), expected uint8"),
        ({"masks": np.zeros((2, 8, 6), np.uint8)}, r"masks are uint8 \(2, 8, 6\), expected uint8 \(2, 6, 8\)"),
    ],
)
def test_tracks_that_no_file_can_hold_are_refused(tmp_path, tracks, wrong):
    with pytest.raises(VbenchError, match=f"^clip a: .*{wrong}"):
        building.build(tmp_path, tiny.recipe(make=listed, test=[[small_clip("a", **tracks)]]))
    assert contents(tmp_path) == []


def test_an_id_may_be_there_only_once(tmp_path):
    """Within a shard, across shards and across splits."""
    a, b = small_clip("a"), small_clip("b")
    for number, splits in enumerate(({"test": [[a, a]]}, {"test": [[a], [a]]}, {"train": [[a, b]], "test": [[b]]})):
        with pytest.raises(VbenchError, match=r'two clips are called "[ab]".*; each needs an id of its own'):
            building.build(tmp_path / f"{number}", tiny.recipe(make=listed, **splits))
        assert contents(tmp_path / f"{number}") == []


def test_a_split_that_cannot_stay_leaves_the_finished_ones(tmp_path):
    train = [[small_clip("a")], [small_clip("b")]]
    building.build(tmp_path, tiny.recipe(make=listed, train=train))
    before = contents(tmp_path)
    for test in ([[small_clip("c")], [small_clip("a")]], [[small_clip("c")], [small_clip("d", x=floats(2))]]):
        with pytest.raises(VbenchError, match=r"two clips are called|its clips differ"):
            building.build(tmp_path, tiny.recipe(make=listed, train=train, test=test))
        assert contents(tmp_path) == before
    assert Store(tmp_path).ids == ["a", "b"]


def test_ids_may_have_to_begin_with_their_split(tmp_path):
    def build(clip_id: str) -> None:
        building.build(tmp_path, replace(tiny.recipe(make=listed, test=[[small_clip(clip_id)]]), below_split=True))

    for wrong in ("a", "train/a", "testa", "test/", "test//a", "test/../a", "test/.a", "test/a\\b", "test/a\0"):
        with pytest.raises(VbenchError, match="expected an id such as test/17"):
            build(wrong)
    build("test/a..b/c.d")
    assert Store(tmp_path).ids == ["test/a..b/c.d"]


def test_shards_of_another_program_stay_only_where_the_split_is_finished(tmp_path):
    one, two = (replace(tiny.recipe(), code=code) for code in ("one", "two"))
    with pytest.raises(VbenchError):
        building.build(tmp_path, replace(one, clips=refusing_clips))
    assert shards.has_fingerprint(tmp_path / "test-00000.h5", one.fingerprint("test"), "one")
    building.build(tmp_path, two)
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("test-*")}
    assert all(shards.has_fingerprint(tmp_path / name, two.fingerprint("test"), "two") for name in before)
    building.build(tmp_path, one)
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("test-*")} == before


def test_where_work_items_overlap_the_first_keeps_a_clip(tmp_path):
    a, b, c = (small_clip(name) for name in "abc")
    recipe = replace(tiny.recipe(make=listed, test=[[a, b], [b, c], [c, b, a]]), repeats=True)
    manifest = building.build(tmp_path, recipe)
    made = Store(tmp_path, "test")
    assert made.ids == ["a", "b", "c"]
    assert made.content_sha256() == tiny.built(tmp_path / "plain", make=listed, test=[[a, b, c]]).content_sha256()
    first = {"reason": "it is in test-00000.h5 already"}
    wanted = [{"id": "b", **first}, {"id": "c", "reason": "it is in test-00001.h5 already"}]
    assert manifest["splits"]["test"]["dropped"] == [*wanted, {"id": "b", **first}, {"id": "a", **first}]
    (tmp_path / "test-00001.h5").unlink()
    assert building.build(tmp_path, recipe)["splits"] == manifest["splits"]


def test_a_rate_that_changes_is_no_rate(tmp_path):
    for each_file, fps in (
        ([[25.0], [25.0]], 25.0),
        ([[25.0], [30.0]], None),
        ([[25.0, 30.0]], None),
        ([[None]], None),
    ):
        work = [[small_clip(f"{a}{b}", fps=rate) for b, rate in enumerate(rates)] for a, rates in enumerate(each_file)]
        folder = tmp_path / repr(each_file)
        building.build(folder, tiny.recipe(make=listed, test=work))
        assert Store(folder).fps == fps


# Damage


def cut(path: Path, place: float) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(place * len(data))])


@pytest.mark.parametrize("place", [0, 0.001, 0.01, 0.3, 0.5, 0.9, 0.9999])
@pytest.mark.parametrize("encoding", ["raw", "png"])
def test_a_shard_cut_short_is_named_and_made_again(tmp_path, encoding, place):
    whole = tiny.built(tmp_path, encoding=encoding).summary["content_sha256"]
    cut(tmp_path / "test-00001.h5", place)
    with pytest.raises(VbenchError, match=r"test-00001\.h5: missing, cut short .*run prepare again"):
        Store(tmp_path)
    again = tiny.built(tmp_path, encoding=encoding)
    assert again.summary["content_sha256"] == again.content_sha256() == whole


def test_a_missing_shard_is_named_and_made_again(tmp_path):
    whole = tiny.built(tmp_path).content_sha256()
    (tmp_path / "test-00002.h5").unlink()
    with pytest.raises(VbenchError, match=r"test-00002\.h5: missing, cut short .*run prepare again"):
        Store(tmp_path)
    assert tiny.built(tmp_path).content_sha256() == whole


@pytest.mark.parametrize("encoding", ["raw", "png"])
def test_a_file_lost_after_opening_is_a_sentence(tmp_path, encoding):
    held = tiny.built(tmp_path, encoding=encoding)
    cut(tmp_path / "test-00001.h5", 0.5)
    with pytest.raises(VbenchError, match="frames cannot be read"):
        held.frames(2)


@ENCODINGS
def test_a_damaged_shard_never_gives_a_traceback(tmp_path, encoding):
    """Wherever 64 bytes are lost, there is a sentence, or pixels whose digest tells."""
    held = tiny.built(tmp_path, encoding=encoding, test=tiny.work("test", (8, 8), 2))
    path = tmp_path / "test-00000.h5"
    data = path.read_bytes()
    outcomes = set()
    for place in range(0, len(data), len(data) // 31):
        path.write_bytes(data[:place] + b"\xff" * len(data[place : place + 64]) + data[place + 64 :])
        try:
            same = Store(tmp_path).content_sha256() == held.summary["content_sha256"]
            outcomes.add("same" if same else "told by the digest")
        except VbenchError:
            outcomes.add("refused")
    assert outcomes >= ({"refused", "told by the digest"} if encoding == "raw" else {"refused"})


MANIFESTS: dict[str, tuple[Callable[[dict], object], str]] = {
    "no JSON": (lambda manifest: "{", "not a readable JSON file"),
    "a list": (lambda manifest: [], "its format is 'list', expected 'vbench-store 1'"),
    "newer": (lambda manifest: {**manifest, "format": "vbench-store 2"}, "its format is 'vbench-store 2', expected"),
    "no splits": (lambda manifest: {**manifest, "splits": None}, '"splits" is missing'),
    "no shards": (
        lambda manifest: {**manifest, "splits": {"test": {"clips": 5}}},
        "its split test lacks height, .*shards",
    ),
    "other count": (
        lambda manifest: {**manifest, "splits": {"test": {**manifest["splits"]["test"], "clips": 6}}},
        "5 clips in test, the manifest says 6",
    ),
}


@pytest.mark.parametrize(("change", "wrong"), MANIFESTS.values(), ids=MANIFESTS)
def test_a_wrong_manifest_is_named(tmp_path, change, wrong):
    tiny.built(tmp_path)
    changed = change(files.read_json(tmp_path / "manifest.json"))
    text = changed if isinstance(changed, str) else json.dumps(changed)
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(VbenchError, match=wrong):
        Store(tmp_path, "test")
    with pytest.raises(VbenchError):
        sources.open_source(tmp_path, "test")
    if wrong != MANIFESTS["other count"][1]:
        with pytest.raises(VbenchError, match=wrong):
            building.build(tmp_path, tiny.recipe())
    assert (tmp_path / "manifest.json").read_text() == text


def test_a_file_of_another_version_is_named(tmp_path):
    tiny.built(tmp_path)
    with h5py.File(tmp_path / "test-00000.h5", "a") as file:
        file.attrs["store_version"] = "vbench-store 2"  # of variable length, as other programs may write it
    with pytest.raises(VbenchError, match=r"test-00000.h5: its format is 'vbench-store 2', expected 'vbench-store 1'"):
        Store(tmp_path)


# Places where nothing can be written


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """A file system of 256 kB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)]
    if sys.platform != "linux" or os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a small file system can be mounted by root on Linux only")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.parametrize(("encoding", "workers"), [("raw", 1), ("png", 1), ("jpeg95", 1), ("png", 2)])
def test_a_full_disk_is_a_sentence(small_disk, encoding, workers):
    """And the process lives on: HDF5 crashes when it cannot write what it holds."""
    work = tiny.work("test", (9,) * 8, size=(64, 64))
    with pytest.raises(VbenchError, match=r"test-0000.\.h5: the disk is full; free some space"):
        building.build(small_disk / "store", tiny.recipe(encoding=encoding, test=work), workers)
    assert set(contents(small_disk / "store")) <= {"test-00000.h5", "test-00001.h5"}


def limited_builds(folder: Path) -> list[str]:
    import resource

    ends = []
    for most_bytes in (100_000, 50_000):
        resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))
        ends.append(ended_build(folder / f"{most_bytes}", 64))
    return ends


@pytest.mark.skipif(sys.platform == "win32", reason="no limits on file sizes")
def test_a_file_that_may_not_grow_is_a_sentence(tmp_path):
    """Everyone can try this limit; it stops HDF5 like a full disk does."""
    ends = tiny.elsewhere(limited_builds, tmp_path)
    assert all("test-00000.h5: the disk is full" in end for end in ends)
    assert contents(tmp_path / "100000") == contents(tmp_path / "50000") == []


def test_a_place_without_permission_is_a_sentence(tmp_path):
    place = tmp_path / "kept"
    place.mkdir(mode=0o555)
    if os.geteuid() == 0:  # root may write everywhere except where nobody can
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(place)], check=False)
        if mounted.returncode:
            pytest.skip("root, and no file system can be mounted")
    try:
        with pytest.raises(VbenchError, match="no permission to write there; choose another place"):
            building.build(place / "store", tiny.recipe())
        with pytest.raises(VbenchError, match="no permission to write there"):
            files.write_json(place / "x.json", [])
    finally:
        if os.geteuid() == 0:
            subprocess.run(["umount", "-l", str(place)], check=True)
    assert not any(place.iterdir())


def test_a_file_in_the_way_is_a_sentence(tmp_path):
    (tmp_path / "stores").write_text("")
    with pytest.raises(VbenchError, match="a file is in the way"):
        building.build(tmp_path / "stores/tiny", tiny.recipe())


def test_two_builders_do_not_share_a_folder(tmp_path):
    with files.locked(tmp_path), pytest.raises(VbenchError, match="another vbench-ctl is writing there; wait"):
        building.build(tmp_path, tiny.recipe())
    assert contents(tmp_path) == []
    ends = dict(execute.run(ended_build, [tmp_path, tmp_path], 2))
    assert sorted(ends.values())[0] == "" and set(ends.values()) <= {
        "",
        f"{tmp_path}: another vbench-ctl is writing there; wait for it to end",
    }
    assert Store(tmp_path).content_sha256() == Store(tmp_path).summary["content_sha256"]


def ended_build(folder: Path, side: int = 8) -> str:
    """Return the sentence with which a build ends, "" when it is done."""
    try:
        building.build(folder, tiny.recipe(test=tiny.work("test", (9, 9), size=(side, side))))
    except VbenchError as error:
        return str(error)
    return ""


# Readers in other processes


def digest(held: Store) -> str:
    return held.content_sha256()


@ENCODINGS
def test_a_store_goes_to_other_processes(tmp_path, encoding):
    """Opened here, read there: pickled into a spawned worker, and inherited over a fork."""
    held = tiny.built(tmp_path, encoding=encoding)
    whole = held.content_sha256()
    assert pickle.loads(pickle.dumps(held)).content_sha256() == whole
    if encoding == "raw":
        assert dict(execute.run(digest, [held, held], 2)) == {0: whole, 1: whole}
    if "fork" in multiprocessing.get_all_start_methods():
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            os.write(writer, held.content_sha256().encode())
            os._exit(0)
        os.waitpid(child, 0)
        assert os.read(reader, 100).decode() == whole
    assert held.content_sha256() == whole


def test_few_files_are_open_at_a_time(tmp_path, monkeypatch):
    held = tiny.built(tmp_path, test=tiny.work("test", per_shard=1))
    monkeypatch.setattr(store, "OPEN_SHARDS", 2)
    expected = [clip.frames for clip in tiny.clips(tiny.Item("test", 0, tiny.LENGTHS))]
    for index in (0, 1, 2, 3, 4, 0, 4, 1, 1, 3):
        np.testing.assert_array_equal(held.frames(index), expected[index])
        assert sum(shard._open is not None for shard in held._shards) <= 2
