"""Datasets that come as videos: iPER, UvA-NEMO and AudioSet-Drums, from archives in their true layout."""

import json
import os
import pickle
import sys
import types
import zipfile

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from vbench_ctl import hashes, prepare, registry, video
from vbench_ctl.archives import Archive
from vbench_ctl.cli import main
from vbench_ctl.clips import Dropped
from vbench_ctl.errors import UsageError, VbenchError


def film(path, frames=6, size=(48, 64), fps=30, seed=0):
    """A video of a bright square that moves over a slope."""
    y, x = np.mgrid[: size[0], : size[1]]
    slope = np.stack([x * 2, y * 3, x + y], -1).astype(np.uint8)
    clip = np.repeat(slope[None], frames, 0)
    for t in range(frames):
        clip[t, 8 : 16 + seed, 8 + t : 20 + t] = 230
    path.parent.mkdir(parents=True, exist_ok=True)
    video.write(path, clip, fps)
    return video.read(path).frames


def zipped(folder, path) -> Archive:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*.*")):
            archive.write(file, file.relative_to(folder))
    return Archive((path,))


def converted(name: str, split: str, archive: Archive, limit=None, **options):
    leaf = registry.load("datasets", name)
    shards = leaf.shards(split, leaf.Options(**options), limit, archive)
    return [clip for shard in shards for clip in leaf.clips(shard)]


def small(frames, *sizes):
    """Bilinear without antialiasing, one size after the other, by PyTorch itself."""
    planes = torch.from_numpy(frames).permute(0, 3, 1, 2).float()
    for size in sizes:
        planes = torch.nn.functional.interpolate(planes, (size, size), mode="bilinear", align_corners=False).round()
    return planes.permute(0, 2, 3, 1).numpy().astype(np.uint8)


@pytest.fixture
def iper(tmp_path) -> tuple[Archive, np.ndarray]:
    frames = film(tmp_path / "iper/set/001_2_1.mp4", size=(128, 128))
    film(tmp_path / "iper/set/001_2_2.mp4", frames=4, size=(128, 128))
    whole = (tmp_path / "iper/set/001_2_1.mp4").read_bytes()
    (tmp_path / "iper/set/003_1_1.mp4").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "iper/set/train.txt").write_text("the official list, not the paper's")
    archive = zipped(tmp_path / "iper", tmp_path / "iPER_1024_video_release.zip")
    (tmp_path / "cinn-test.txt").write_text("001/2/1\n001/2/2\n001/2/1\n003/1/1\n030/1/2\n")
    return Archive((*archive.paths, tmp_path / "cinn-test.txt")), frames


def test_iper_follows_the_papers_list(iper):
    archive, frames = iper
    first, second, broken, lost = converted("iper", "test", archive, size=32)
    assert [first.id, second.id, broken.id, lost.id] == [
        f"test/{n}" for n in ("001_2_1", "001_2_2", "003_1_1", "030_1_2")
    ]
    np.testing.assert_array_equal(first.frames, small(frames, 256, 32))
    assert first.fps == 30 and set(first.tracks["class"]) == {1} and set(second.tracks["class"]) == {2}
    assert "cut short" in broken.reason and "no such video" in lost.reason
    with pytest.raises(VbenchError, match=r"expected cinn-val\.txt"):
        converted("iper", "val", archive)
    with pytest.raises(VbenchError, match=r"expected the videos 001_1_1\.mp4"):
        converted("iper", "test", Archive(archive.paths[1:]))
    saved = archive.paths[1].parent / "saved/cinn-test.txt"  # by a text editor
    saved.parent.mkdir()
    saved.write_bytes(b"\xef\xbb\xbf001/2/1\r\n\xe9\r\n")
    again, lost = converted("iper", "test", Archive((archive.paths[0], saved)), size=32)
    assert [again.id, lost.id] == ["test/001_2_1", "test/\ufffd"]


@pytest.fixture
def nemo(tmp_path) -> tuple[Archive, np.ndarray]:
    place = tmp_path / "UvA-NEMO_SMILE_DATABASE/videos"
    frames = film(place / "001_deliberate_smile_2.mp4", size=(90, 160), fps=50)
    film(place / "004_spontaneous_smile_1.mp4", size=(90, 160), fps=50, seed=4)
    return Archive((place.parent,)), frames


def boxes(
    path, text="video,x0,y0,x1,y1\n001_deliberate_smile_2,40,20,80,60\n004_spontaneous_smile_1.mp4,150,0,160,30\n"
):
    path.write_text(text)
    return str(path)


def test_nemo_crops_one_square_around_the_given_face(nemo, tmp_path):
    archive, frames = nemo
    posed, other = converted("uva-nemo", "all", archive, boxes=boxes(tmp_path / "boxes.csv"), size=44)
    np.testing.assert_array_equal(posed.frames, frames[:, 18:62, 38:82])  # 40 x 1.1 = 44, around (60, 40)
    assert posed.id == "all/001_deliberate_smile_2" and posed.fps == 50
    assert set(posed.tracks["class"]) == {0} and set(other.tracks["class"]) == {1}
    assert other.frames.shape == (6, 44, 44, 3)  # a face at the border stays inside
    for split, subject in (("train", "001"), ("test", "004")):
        (one,) = converted("uva-nemo", split, archive, boxes=boxes(tmp_path / "boxes.csv"))
        assert one.id.startswith(f"{split}/{subject}_") and one.frames.shape[1:3] == (64, 64)


def test_nemo_finds_faces_with_face_alignment(nemo, monkeypatch):
    seen = []

    class Detector:
        def detect_from_image(self, image):
            seen.append(image.shape)
            return [np.array([160, 80, 320, 240, 0.9]), np.array([0, 0, 10, 10, 0.99])]

    module = types.SimpleNamespace(
        LandmarksType=types.SimpleNamespace(TWO_D=1),
        FaceAlignment=lambda kind, device: types.SimpleNamespace(face_detector=Detector()),
    )
    monkeypatch.setitem(sys.modules, "face_alignment", module)
    registry.load("datasets", "uva-nemo")._detector.cache_clear()
    archive, frames = nemo
    (clip,) = converted("uva-nemo", "all", archive, limit=1, size=44)
    assert seen == [(360, 640, 3)]
    np.testing.assert_array_equal(clip.frames, frames[:, 18:62, 38:82])  # the larger face, scaled back by 4
    registry.load("datasets", "uva-nemo")._detector.cache_clear()


def test_nemo_without_boxes_or_detector_says_what_to_do(nemo, tmp_path, monkeypatch):
    archive, _ = nemo
    monkeypatch.setitem(sys.modules, "face_alignment", None)
    registry.load("datasets", "uva-nemo")._detector.cache_clear()
    with pytest.raises(VbenchError, match=r'--boxes.*pip install "vbench-ctl\[faces\]"'):
        converted("uva-nemo", "all", archive)
    head = "video,x0,y0,x1,y1\n"
    for text, why in (
        ("video,x0\na,1\n", "not a CSV file"),
        (f"{head}a,5,5,1,9\n", "the box of a is empty"),
        (f"{head}a,5,5,nan,9\n", "the box of a is not of four numbers"),
        (f"{head}a,5,5,inf,9\n", "the box of a is not of four numbers"),
        (f"{head}a,0.2,0.1,0.6,0.5\n", "the box of a is smaller than 2 pixels; give boxes in pixels of the video"),
        ("x0,y0,x1,y1,video\n1,2,30\n", "not a CSV file with the columns video"),  # a row shorter than the head
        ("x0,video,y0,x1,y1\n1\n", "not a CSV file with the columns video"),
        (head, "it has no box; add a row"),
        ("", "it has no box; add a row"),
    ):
        with pytest.raises(VbenchError, match=why):
            converted("uva-nemo", "all", archive, boxes=boxes(tmp_path / "bad.csv", text))
    with pytest.raises(VbenchError, match="no box for 001_deliberate_smile_2"):
        converted("uva-nemo", "all", archive, boxes=boxes(tmp_path / "few.csv", "video,x0,y0,x1,y1\nb,1,1,9,9\n"))


def test_nemo_drops_a_video_whose_box_lies_outside_and_reads_boxes_of_a_spreadsheet(nemo, tmp_path):
    rows = "\ufeffvideo,x0,y0,x1,y1\r\n001_deliberate_smile_2,160,20,200,60\r\n004_spontaneous_smile_1,150,0,160,30\r\n"
    outside, inside = converted("uva-nemo", "all", nemo[0], boxes=boxes(tmp_path / "boxes.csv", rows))
    assert "its box from (160, 20) to (200, 60) lies outside the picture of 160x90" in outside.reason
    assert inside.id == "all/004_spontaneous_smile_1"


def test_nemo_tells_how_faces_were_cut_out():
    leaf = registry.load("datasets", "uva-nemo")
    assert "folders of face frames: as they were cut out" in leaf.facts(leaf.Options())["crop"]
    assert "face3@1: a given box, enlarged" in leaf.facts(leaf.Options(boxes="boxes.csv"))["crop"]


def test_nemo_reads_boxes_below_the_home_of_the_user(nemo, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    boxes(tmp_path / "boxes.csv")
    assert len(prepare.plan("uva-nemo", splits=["all"], boxes="~/boxes.csv").recipe(nemo[0]).work["all"]) == 2


def test_nemo_remembers_the_boxes_but_not_where_they_lie(nemo, tmp_path):
    told = []
    for name in ("a.csv", "b.csv"):
        plan = prepare.plan("uva-nemo", splits=["all"], boxes=boxes(tmp_path / name))
        recipe = plan.recipe(nemo[0])
        told.append((recipe.fingerprint("all"), recipe.facts["options"]["boxes"]))
        assert str(tmp_path) not in repr(recipe.facts) + repr(recipe.work)
    assert told[0] == told[1] and told[0][1] == f"sha256 {hashes.digest(tmp_path / 'a.csv')}"


def test_nemo_refuses_boxes_for_faces_that_are_cut_out_already(nemo, tmp_path):
    video.write(tmp_path / "faces/013_spontaneous_smile_1", nemo[1])
    with pytest.raises(UsageError, match=r"--boxes .*boxes.csv: .*leave it out for folders of face frames"):
        converted("uva-nemo", "all", Archive((tmp_path / "faces",)), boxes=boxes(tmp_path / "boxes.csv"))


def test_nemo_takes_faces_that_are_cut_out_already(nemo, tmp_path):
    frames = nemo[1]
    folder = tmp_path / "faces/013_spontaneous_smile_1"
    video.write(folder, frames)
    (clip,) = converted("uva-nemo", "train", Archive((tmp_path / "faces",)), size=32)
    assert clip.id == "train/013_spontaneous_smile_1" and clip.frames.shape == (6, 32, 32, 3)
    assert set(clip.tracks["class"]) == {1} and clip.fps == 50
    with pytest.raises(VbenchError, match="or folders of face frames"):
        converted("uva-nemo", "test", Archive((tmp_path / "faces",)))


def test_nemo_tells_which_crop_a_store_has(nemo, tmp_path, home, monkeypatch):
    module = types.SimpleNamespace(
        __version__="1.4.1",
        LandmarksType=types.SimpleNamespace(TWO_D=1),
        FaceAlignment=lambda kind, device: types.SimpleNamespace(face_detector=None),
    )
    monkeypatch.setitem(sys.modules, "face_alignment", module)
    leaf = registry.load("datasets", "uva-nemo")
    leaf._detector.cache_clear()
    video.write(tmp_path / "faces/013_spontaneous_smile_1", nemo[1])
    crops = {
        prepare.plan("uva-nemo", splits=["all"], **options).recipe(archive).split_facts["all"]["crop"]
        for archive, options in (
            (nemo[0], {}),
            (nemo[0], {"boxes": boxes(tmp_path / "boxes.csv")}),
            (Archive((tmp_path / "faces",)), {}),
        )
    }
    leaf._detector.cache_clear()
    given = "by whoever made the folders of face frames that were given"
    assert crops == {
        "face3@1 around what face-alignment 1.4.1 found",
        "face3@1 around the boxes that were given",
        given,
    }
    words = ["prepare", "uva-nemo", "--split", "all", "--size", "32"]
    assert CliRunner().invoke(main, [*words, "--archive", str(tmp_path / "faces"), "--yes"]).exit_code == 0
    checks = json.loads(CliRunner().invoke(main, [*words, "--verify", "--json"]).stdout)
    (crop,) = (check for check in checks if check["what"] == "crop")
    assert crop["found"] == given and crop["good"]
    assert f"32@1 all crop {given}" in CliRunner().invoke(main, ["list", "datasets", "uva-nemo"]).stdout


def drums(place, layout, frames=90):
    """Four clips, one without sound and one without pictures, in CCVS's or TATS's layout."""
    pictures, sound, suffix = {"ccvs": ("mp4", "stft_pickle", "pickle"), "tats": ("video", "stft", "pkl")}[layout]
    rng = np.random.default_rng(0)
    raw = rng.random((frames, 45, 17)).astype(np.float32)
    made = film(place / "AudioSet_Dataset/train" / pictures / "2.mp4", frames, (96, 96))
    film(place / "AudioSet_Dataset/train" / pictures / "10.mp4", 12, (96, 96))
    film(place / "AudioSet_Dataset/train" / pictures / "11.mp4", 12, (96, 96))
    for number in (2, 10, 12):
        path = place / "AudioSet_Dataset/train" / sound / f"{number}.{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pickle.dumps(raw, protocol=2))
    return made, raw


@pytest.mark.parametrize("layout", ["ccvs", "tats"])
def test_drums_have_a_slice_of_sound_per_frame(layout, tmp_path):
    frames, raw = drums(tmp_path / "set", layout)
    archive = zipped(tmp_path / "set", tmp_path / "AudioSet_Drums.zip")
    clip, short, silent, dark = converted("audioset-drums", "train", archive)
    assert clip.id == "train/2" and clip.fps == 30
    np.testing.assert_array_equal(clip.frames, small(frames, 128))
    wanted = torch.nn.functional.interpolate(torch.from_numpy(raw)[:, None], (64, 16), mode="bilinear")[:, 0]
    np.testing.assert_allclose(clip.tracks["stft"], wanted.numpy(), atol=1e-6)
    assert "12 frames and 90 spectrogram slices, expected 90" in short.reason
    assert (silent.id, silent.reason) == ("train/11", "it has no spectrogram")
    assert (dark.id, dark.reason) == ("train/12", "it has no video")
    with pytest.raises(VbenchError, match="expected test/mp4"):
        converted("audioset-drums", "test", archive)


def test_drums_golden_slices(shared, tmp_path):
    golden = np.load(shared / "golden/ccvs/io_preprocess.npz")
    drums(tmp_path, "ccvs")
    path = tmp_path / "AudioSet_Dataset/train/stft_pickle/2.pickle"
    path.write_bytes(pickle.dumps(golden["in/stft_raw"]))
    clip = converted("audioset-drums", "train", Archive((tmp_path,)))[0]
    found = clip.tracks["stft"][golden["out/stft_frames"]] * 2 - 1
    np.testing.assert_allclose(found, golden["out/stft"][:, 0], atol=1e-6)


class Malicious:
    def __reduce__(self):
        return os.system, ("touch /tmp/vbench-was-here",)


@pytest.mark.parametrize("value", [Malicious(), {"a": 1}, np.full((90, 4, 4), 2.0), np.zeros((90, 4))])
def test_drums_refuse_what_is_no_spectrogram(value, tmp_path):
    drums(tmp_path, "ccvs")
    (tmp_path / "AudioSet_Dataset/train/stft_pickle/2.pickle").write_bytes(pickle.dumps(value))
    dropped = converted("audioset-drums", "train", Archive((tmp_path,)))[0]
    assert isinstance(dropped, Dropped) and "stft_pickle/2.pickle" in dropped.reason
    assert not os.path.exists("/tmp/vbench-was-here")


@pytest.mark.parametrize("name", ["iper", "uva-nemo", "audioset-drums"])
def test_sizes_are_checked(name):
    with pytest.raises(UsageError, match="--size 1:"):
        registry.load("datasets", name).Options(size=1)
