"""Datasets that come as folders of images: DTDB and Landscape, from archives in their true layout."""

import io
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from vbench_ctl import building, prepare, registry, store
from vbench_ctl.archives import Archive
from vbench_ctl.clips import Clip, Dropped
from vbench_ctl.errors import UsageError, VbenchError


def picture(seed: int, size=(27, 40), suffix: str = "png") -> bytes:
    """An image that JPEG keeps well: a slope whose place depends on the seed."""
    y, x = np.mgrid[: size[0], : size[1]]
    pixels = np.stack([x * 4 + seed, y * 5 + seed, (x + y) * 2 + seed], -1) % 200
    buffer = io.BytesIO()
    image = Image.fromarray(pixels.astype(np.uint8))
    image.save(buffer, suffix, **({"quality": 100, "subsampling": 0} if suffix == "jpeg" else {}))
    return buffer.getvalue()


def squashed(data: bytes, size: int) -> np.ndarray:
    """What the papers' loaders see, by PyTorch itself."""
    frame = torch.from_numpy(np.array(Image.open(io.BytesIO(data)))).permute(2, 0, 1)[None].float()
    small = torch.nn.functional.interpolate(frame, (size, size), mode="bilinear", align_corners=False)
    return small[0].permute(1, 2, 0).round().numpy().astype(np.uint8)


def packed(path, files) -> Archive:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return Archive((path,))


def converted(name: str, split: str, archive: Archive, limit=None, **options):
    leaf = registry.load("datasets", name)
    shards = leaf.shards(split, leaf.Options(**options), limit, archive)
    return [clip for shard in shards for clip in leaf.clips(shard)]


@pytest.fixture
def dtdb(tmp_path) -> Archive:
    files = {
        f"dtdb/fire/train/video{v}/frame{t}.jpg": picture(10 * v + t, suffix="jpeg") for v in (2, 10) for t in range(12)
    }
    files |= {f"dtdb/fire/eval/flame/frame{t}.jpg": picture(t, suffix="jpeg") for t in (0, 1, 3, 10)}
    files |= {f"dtdb/clouds/eval/sky/frame{t}.png": picture(t) for t in range(3)}
    files |= {"dtdb/fire/eval/broken/frame0.jpg": picture(0, suffix="jpeg")[:200], "dtdb/fire/readme.txt": b"hello"}
    return packed(tmp_path / "dtdb.zip", files)


def test_dtdb_frames_are_squashed_as_the_paper_does(dtdb):
    (sky,) = converted("dtdb", "eval", dtdb, texture="clouds", size=16)
    assert sky.id == "eval/sky"
    np.testing.assert_array_equal(sky.frames, [squashed(picture(t), 16) for t in range(3)])
    train = converted("dtdb", "train", dtdb, size=16)
    assert [(clip.id, clip.frames.shape) for clip in train] == [
        ("train/video10", (12, 16, 16, 3)),
        ("train/video2", (12, 16, 16, 3)),
    ]
    assert (
        np.abs(train[1].frames[11].astype(int) - squashed(picture(31), 16)).mean() < 2
    )  # numbers, not names, order frames


def test_dtdb_gaps_close_and_broken_frames_drop_their_clip(dtdb):
    broken, flame = converted("dtdb", "eval", dtdb, size=16)
    assert isinstance(broken, Dropped) and "dtdb/fire/eval/broken/frame0.jpg" in broken.reason
    assert len(flame) == 4
    assert len(converted("dtdb", "train", dtdb, limit=1)) == 1
    both = converted("dtdb", "eval", dtdb, texture="all", size=16)
    assert [clip.id for clip in both] == ["eval/clouds/sky", "eval/fire/broken", "eval/fire/flame"]
    assert set(both[0].tracks["class"]) == {1} and set(both[2].tracks["class"]) == {0}
    with pytest.raises(VbenchError, match="expected waterfall/train/VIDEO"):
        converted("dtdb", "train", dtdb, texture="waterfall")
    with pytest.raises(UsageError, match="--size 4"):
        registry.load("datasets", "dtdb").Options(size=4)


@pytest.mark.parametrize("again", ["dtdb/fire/eval/flame/frame03.png", "copy/dtdb/fire/eval/flame/frame3.jpg"])
def test_two_pictures_of_one_number_drop_their_clip(dtdb, tmp_path, again):
    extra = packed(tmp_path / "extra.zip", {again: picture(3)})
    _, flame = converted("dtdb", "eval", Archive((*dtdb.paths, *extra.paths)), size=16)
    assert flame.id == "eval/flame" and again in flame.reason
    assert "are both frame 3; take one of them away" in flame.reason


LIST = b"aaa/aaa_1/\naaa/aaa_2/\n\naaa/aaa_1/\nccc/ccc_9\n"


@pytest.fixture
def landscape(tmp_path) -> Archive:
    files = {"sky/readme.txt": b"x", "sky/loader.py": b"raise SystemExit"}
    for video, clip, numbers in (("aaa", "aaa_1", (5, 6, 9, 10)), ("aaa", "aaa_2", (1, 2)), ("bbb", "bbb_1", (1,))):
        for t in numbers:
            files[f"sky/sky_train/{video}/{clip}/{clip}_frames_{t:08d}.jpg"] = picture(t, suffix="jpeg")
    files["sky/sky_test/ddd/ddd_1/ddd_1_frames_00000001.jpg"] = picture(3, suffix="jpeg")
    archive = packed(tmp_path / "sky_timelapse.zip", files)
    for split, listed in {"train": LIST, "eval": b"bbb/bbb_1\nddd/ddd_1\n", "test": b"ddd/ddd_1\n"}.items():
        (tmp_path / f"cinn-{split}.txt").write_bytes(listed)
    return Archive((*archive.paths, *sorted(tmp_path.glob("cinn-*.txt"))))


def test_landscape_takes_the_listed_clips_once(landscape):
    first, second, lost = converted("landscape", "train", landscape, size=16)
    assert [first.id, second.id, lost.id] == ["train/aaa/aaa_1", "train/aaa/aaa_2", "train/ccc/ccc_9"]
    assert "no frame of it" in lost.reason
    assert len(first) == 4 and np.abs(first.frames[3].astype(int) - squashed(picture(10), 16)).mean() < 2
    (test,) = converted("landscape", "test", landscape, size=16)
    assert test.id == "test/ddd/ddd_1" and test.frames.shape == (1, 16, 16, 3)


def test_lists_that_a_text_editor_saved_are_read(landscape, tmp_path):
    saved = tmp_path / "saved/cinn-test.txt"
    saved.parent.mkdir()
    saved.write_bytes(b"\xef\xbb\xbfddd/ddd_1\r\n\xe9\r\n")
    test, lost = converted("landscape", "test", Archive((landscape.paths[0], saved)), size=16)
    assert [test.id, lost.id] == ["test/ddd/ddd_1", "test/\ufffd"]


def test_landscape_crops_take_every_clip(landscape):
    found = converted("landscape", "train", landscape, geometry="crop", size=16)
    assert [clip.id for clip in found] == ["train/aaa/aaa_1", "train/aaa/aaa_2", "train/bbb/bbb_1"]
    whole = np.array(Image.open(io.BytesIO(picture(1, suffix="jpeg"))))
    square = Image.fromarray(whole[:, 6:33]).resize((16, 16), Image.Resampling.BILINEAR)
    assert (
        np.abs(found[2].frames[0].astype(int) - np.asarray(square)).max() <= 4
    )  # crop before or after: the same centre
    assert prepare.plan("landscape", geometry="crop").splits == ("train", "test")
    with pytest.raises(UsageError, match='no split of landscape crop128 "eval"'):
        prepare.plan("landscape", splits=["eval"], geometry="crop")


def test_landscape_says_what_is_lacking(landscape, tmp_path):
    with pytest.raises(VbenchError, match=r"expected cinn-train\.txt"):
        converted("landscape", "train", Archive(landscape.paths[:1]))
    with pytest.raises(VbenchError, match="expected sky_test/VIDEO"):
        converted("landscape", "test", packed(tmp_path / "other.zip", {"a.txt": b""}))


@pytest.mark.parametrize("name", ["dtdb", "landscape"])
def test_what_is_left_out_is_listed(name, dtdb, landscape, tmp_path):
    leaf, archive = registry.load("datasets", name), {"dtdb": dtdb, "landscape": landscape}[name]
    options = leaf.Options(size=16)
    work = {split: leaf.shards(split, options, None, archive) for split in leaf.SPLITS}
    building.build(
        tmp_path / "made", building.Recipe(name, leaf.variant(options), leaf.VERSION, work, leaf.clips, {}, {})
    )
    dropped = (tmp_path / "made" / "dropped.csv").read_text().splitlines()
    assert dropped[0] == "split,id,reason" and len(dropped) == {"dtdb": 2, "landscape": 3}[name]
    assert all(isinstance(clip, Clip) for clip in store.Store(tmp_path / "made", "train"))
