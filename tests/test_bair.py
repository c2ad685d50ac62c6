"""The 64x64 BAIR store from TFRecord files written byte by byte."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from test_tfrecord import example, field, record

from vbench_ctl import building, protocols, registry, store
from vbench_ctl.archives import Archive
from vbench_ctl.clips import Dropped
from vbench_ctl.errors import VbenchError

bair = registry.load("datasets", "bair")
PICTURE = 64 * 64 * 3
ROOT = "softmotion30_44k"


def features(seed: int) -> dict:
    rng = np.random.default_rng(seed)
    made: dict = {}
    for t in range(30):
        for view in ("main", "aux1"):
            made[f"{t}/image_{view}/encoded"] = rng.bytes(PICTURE)
        made[f"{t}/action"] = rng.standard_normal(4).astype(np.float32).tolist()
        made[f"{t}/endeffector_pos"] = rng.standard_normal(3).astype(np.float32).tolist()
    return made


def trajectory(seed: int, packed: bool = True, **changed) -> bytes:
    return record(example({**features(seed), **changed}, packed))


def pixels(seed: int, view: str = "aux1") -> np.ndarray:
    made = features(seed)
    data = b"".join(made[f"{t}/image_{view}/encoded"] for t in range(30))
    return np.frombuffer(data, np.uint8).reshape(30, 64, 64, 3)


def folder(path: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (path / ROOT / name).parent.mkdir(parents=True, exist_ok=True)
        (path / ROOT / name).write_bytes(data)
    return path


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    """Two clips of each split, in an order that sorting by number would change, and the validation file."""
    return folder(
        tmp_path_factory.mktemp("bair"),
        {
            "train/traj_512_to_512.tfrecords": trajectory(1),
            "train/traj_10240_to_10240.tfrecords": trajectory(2, packed=False),
            "train/traj_256_to_511.tfrecords": trajectory(3) + trajectory(4),
            "test/traj_0_to_1.tfrecords": trajectory(5) + trajectory(6),
        },
    )


def made(split: str, path: Path, limit: int | None = None, **options) -> list:
    work = bair.shards(split, bair.Options(**options), limit, Archive((path,)))
    return [clip for shard in work for clip in bair.clips(shard)]


def ids(found: list) -> list[str]:
    return [each.id for each in found]


def test_pixels_and_tracks_are_those_of_the_records(small):
    clips = made("test", small)
    assert ids(clips) == ["test/traj_0_to_1/0", "test/traj_0_to_1/1"]
    for clip, seed in zip(clips, (5, 6), strict=True):
        source = features(seed)
        assert np.array_equal(clip.frames, pixels(seed)) and clip.fps is None
        for name, feature in (("actions", "action"), ("state", "endeffector_pos")):
            assert clip.tracks[name].dtype == np.float32
            assert np.array_equal(clip.tracks[name], np.float32([source[f"{t}/{feature}"] for t in range(30)]))


def test_the_other_camera_is_another_variant(small):
    assert np.array_equal(made("test", small, view="main")[0].frames, pixels(5, "main"))
    named = {(p.variant, p.split) for p in protocols.load_all().values() if p.dataset == "bair"}
    ours = [bair.variant(bair.Options(view=view)) for view in ("aux1", "main")]
    assert named == {("64", "test"), ("main64", "test")} and ours == ["64", "main64"]


def test_files_come_by_name_as_in_tfds(small):
    lost = [f"train/traj_256_to_511/{index}" for index in range(256)]
    found = made("train", small)
    assert ids(found) == ["train/traj_10240_to_10240/0", *lost, "train/traj_512_to_512/0"]
    assert np.array_equal(found[0].frames, pixels(2))  # its floats are not packed
    assert [type(each).__name__ for each in found[1:5]] == ["Clip", "Clip", "Dropped", "Dropped"]


def test_validation_by_custom_is_a_split_of_its_own(small, tmp_path):
    assert made("val", small) == [] and bair.variant(bair.Options(validation="apart")) == "64-val"
    train, val = (made(split, small, validation="apart") for split in ("train", "val"))
    assert ids(train) == ["train/traj_10240_to_10240/0", "train/traj_512_to_512/0"]
    assert ids(val)[:2] == ["val/traj_256_to_511/0", "val/traj_256_to_511/1"] and len(val) == 256
    moved = folder(tmp_path, {"val/traj_256_to_511.tfrecords": trajectory(3), "train/traj_512_to_767.tfrecords": b""})
    assert ids(made("val", moved, 1, validation="apart")) == ["val/traj_256_to_511/0"]
    assert ids(made("train", moved, 1)) == ["train/traj_256_to_511/0"]


def test_split_sizes_are_the_published_ones():
    assert bair.expected(bair.Options()) == {"train": 43_264, "val": 0, "test": 256}
    assert bair.expected(bair.Options(validation="apart")) == {"train": 43_008, "val": 256, "test": 256}
    clips, size_bytes = bair.estimate("train", bair.Options(), None)
    assert clips == 43_264 and size_bytes == 43_264 * 30 * (PICTURE + 28)
    assert bair.estimate("test", bair.Options(), 10)[0] == 10


def test_a_limit_takes_the_first_records(small):
    assert ids(made("train", small, 2)) == ["train/traj_10240_to_10240/0", "train/traj_256_to_511/0"]
    assert len(bair.shards("train", bair.Options(), 2, Archive((small,)))) == 2


def test_a_damaged_record_is_left_out_and_named(tmp_path):
    damaged = bytearray(trajectory(2))
    damaged[400_000] ^= 4
    folder(tmp_path, {"test/traj_0_to_2.tfrecords": trajectory(1) + damaged + trajectory(3)})
    first, second, third = made("test", tmp_path)
    assert second == Dropped("test/traj_0_to_2/1", "its checksum is wrong")
    assert np.array_equal(first.frames, pixels(1)) and np.array_equal(third.frames, pixels(3))


def test_records_beyond_those_announced_are_left_out_and_named(tmp_path):
    folder(tmp_path, {"test/traj_0_to_0.tfrecords": trajectory(1) + trajectory(2) + trajectory(3)[:-1000]})
    first, *beyond = made("test", tmp_path)
    reason = "the file's name announces fewer records"
    assert beyond == [Dropped(f"test/traj_0_to_0/{index}", reason) for index in (1, 2)]
    assert first.id == "test/traj_0_to_0/0"
    folder(tmp_path / "whole", {"test/traj_0_to_1.tfrecords": trajectory(1) + trajectory(2)})
    assert ids(made("test", tmp_path / "whole", limit=1)) == ["test/traj_0_to_1/0"]  # a limit is no surplus


def test_a_cut_file_names_every_clip_it_lacks(tmp_path):
    folder(tmp_path, {"test/traj_0_to_3.tfrecords": trajectory(1) + trajectory(2)[:-1000]})
    found = made("test", tmp_path)
    assert ids(found) == [f"test/traj_0_to_3/{index}" for index in range(4)]
    assert "the file ends after" in found[1].reason and "nothing of it can be read" in found[2].reason


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"7/image_aux1/encoded": b"\xff\xd8 a JPEG"}, "7/image_aux1/encoded has 9 bytes, expected 64x64x3"),
        ({"3/action": [1.0, 2.0]}, "3/action has 2 numbers, expected 4"),
        ({"29/endeffector_pos": []}, "29/endeffector_pos has 0 numbers, expected 3"),
    ],
)
def test_a_record_of_another_kind_is_left_out_and_named(tmp_path, changed, reason):
    folder(tmp_path, {"test/traj_0_to_0.tfrecords": trajectory(1, **changed)})
    assert made("test", tmp_path) == [Dropped("test/traj_0_to_0/0", reason)]


def test_a_record_without_a_frame_is_left_out_and_named(tmp_path):
    short = {name: value for name, value in features(1).items() if not name.startswith("29/")}
    lists = field(2, b"")  # a SequenceExample may say that it has no lists
    folder(tmp_path, {"test/traj_0_to_1.tfrecords": record(example(short)) + record(example(features(2)) + lists)})
    dropped, clip = made("test", tmp_path)
    assert dropped.reason == "it has no 29/image_aux1/encoded" and np.array_equal(clip.frames, pixels(2))


def test_an_archive_of_something_else_is_refused(tmp_path):
    (tmp_path / "readme.txt").write_text("nothing")
    with pytest.raises(VbenchError, match=r"has readme.txt, expected softmotion30_44k/test/traj_0_to_255.tfrecords"):
        made("test", tmp_path)
    with pytest.raises(VbenchError, match=r"expected softmotion30_44k/train/traj_256_to_511.tfrecords; give"):
        made("val", tmp_path, validation="apart")


def recipe(path: Path, **options) -> building.Recipe:
    settings = bair.Options(**options)
    work = {split: bair.shards(split, settings, None, Archive((path,))) for split in bair.SPLITS}
    return building.Recipe("bair", bair.variant(settings), bair.VERSION, work, bair.clips, bair.facts(settings), {})


def test_the_store_is_the_same_from_a_tar_and_with_two_workers(small, tmp_path):
    with tarfile.open(tmp_path / "bair_robot_pushing_dataset_v0.tar", "w") as tar:
        for path in sorted(small.rglob("*.tfrecords"), reverse=True):
            entry = tarfile.TarInfo(f"./{path.relative_to(small).as_posix()}")
            entry.size = path.stat().st_size
            tar.addfile(entry, io.BytesIO(path.read_bytes()))
    one = building.build(tmp_path / "one", recipe(small))
    two = building.build(tmp_path / "two", recipe(tmp_path / "bair_robot_pushing_dataset_v0.tar"), workers=2)
    assert one["splits"] == two["splits"]
    test = store.Store(tmp_path / "two", "test")
    assert (len(test), test.size, test.fps, test.tracks) == (2, (64, 64), None, ["actions", "state"])
    assert np.array_equal(test.frames(1), pixels(6)) and np.array_equal(
        test.track("state", 1)[29], np.float32(features(6)["29/endeffector_pos"])
    )
    assert two["splits"]["train"]["clips"] == 4 and len(two["splits"]["train"]["dropped"]) == 254
