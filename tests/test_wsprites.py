import hashlib
import itertools
import json
import shutil
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from vbench_ctl import prepare, registry
from vbench_ctl.errors import UsageError, VbenchError
from vbench_ctl.generators.wsprites import lpc, walk

wsprites = registry.load("datasets", "wsprites")
VIDEO_0_0 = {  # character 0, video 0 of the released data set
    "directions": "ssssssssssssssuuuslssssssssssssssssssrrrrrrrrrddddduuuuusssssssssssssssslllldddddlllllrrrr",
    "local": "777777775555550007133333333555555444422222222200000000007777755555666668111100000111112222",
}
SHA256_OF_ALL_LABELS = "4bfcfb387899023b8b94adbf1d1ab4edbb5f0cff7fd2d732f961f3d3e10f5600"


@pytest.fixture(scope="module")
def original() -> walk.OriginalStream:
    return wsprites._original()  # the one its clips come from, so that it is drawn once


# The released data set's labels


def test_first_original_video(original):
    (show,), window = original[0]
    assert show.walk.directions == VIDEO_0_0["directions"]
    assert "".join(map(str, show.actions)) == VIDEO_0_0["local"]
    assert show.walk.places[0] == (6, 19) and show.walk.places[-1] == (28, 31)
    assert window.places[12][1] + walk.WINDOW_STEP == window.places[13][1]


def test_all_original_labels(original):
    digest = hashlib.sha256()
    for index in range(wsprites.CHARACTERS * wsprites.VIDEOS):
        (show,), window = original[index]
        grid = [window.start, *window.places]
        drift = [f"{2 * (x - u) / 25:g},{2 * (y - v) / 25:g}" for (u, v), (x, y) in itertools.pairwise(grid)]
        places = ",".join(f"{x}:{y}" for x, y in show.walk.places)
        line = "|".join((show.walk.directions, places, "".join(map(str, show.actions)), ";".join(drift)))
        digest.update(f"{line}\n".encode())
    assert digest.hexdigest() == SHA256_OF_ALL_LABELS
    assert original.draw() == 0.18364561799043166


def test_original_labels_in_our_clips(shared):
    golden = json.loads((shared / "golden/glass/wsprites_labels.json").read_text())
    options = wsprites.Options(labels="original")
    for name in ("0_0", "1167_0"):
        want = golden["videos"][name]
        character, video = map(int, name.split("_"))
        split = "train" if character < 1037 else "test"
        clip = wsprites.clip(split, character * wsprites.VIDEOS + video, options)
        assert clip.id == want["folder"]
        assert clip.tracks["global_action"].tolist() == want["global"]
        assert clip.tracks["local_action"].tolist() == want["local"]
        assert np.allclose(clip.tracks["shift_fg"], want["shifts"])
        assert np.allclose(clip.tracks["shift_bg"], want["bg_shifts"])
        assert clip.tracks["position"].tolist() == want["positions"]
        assert clip.tracks["identity"][0].tolist() == want["attributes_body_bottom_top_hair"]


def test_original_pixels_with_the_original_art(shared, tmp_path):
    """The released frames and masks, bit by bit, given the photo as the release's JPEG library decoded it."""
    art = shared / "samples/lpc"
    if not art.is_dir():
        pytest.skip("no LPC art in the shared reference data")
    frames = np.load(shared / "golden/glass/wsprites_frames_lpc.npz")
    golden = json.loads((shared / "golden/glass/wsprites_labels.json").read_text())
    folder = shutil.copytree(art, tmp_path / "lpc")
    Image.fromarray(frames["photo_ijg9"]).save(folder / "bg.JPEG", "png")  # Pillow goes by the content
    options = wsprites.Options(labels="original", art="lpc", art_dir=str(folder))
    name = "0_0"
    clip = wsprites.clip("train", 0, options)
    want = golden["videos"][name]
    assert [hashlib.sha256(frame.tobytes()).hexdigest() for frame in clip.frames] == want["frame_sha256"]
    assert [hashlib.sha256(mask.tobytes()).hexdigest() for mask in clip.tracks["masks"]] == want["mask_sha256"]
    assert "CC BY-SA 3.0" in wsprites.facts(options)["attribution"]


def test_original_pixels_with_art_by_formula(shared, tmp_path):
    """The same with sheets that need no art: every alpha, zeros in single channels (`config` of the file says how)."""
    golden = np.load(shared / "golden/glass/wsprites_frames_synthetic.npz")
    y, x = np.ogrid[:1344, :832]
    u, v = x // 4, y // 4
    for k, layer in enumerate(lpc.LAYERS):
        red = (7 * u + 13 * v + 50 * k) % 256 * ((u + v) % 5 != 0)
        green, blue = (11 * u + 3 * v + 90 * k) % 256, (5 * u + 17 * v + 20 * k) % 256
        alpha = np.array([0, 255, 128])[(x // 8 + 2 * (y // 8) + k) % 3]
        there = (x // 16 + y // 16 + k) % 2 == 0
        (tmp_path / layer).mkdir()
        variant = lpc.SHOES if layer == "shoes" else 5  # of character 0
        sheet = Image.fromarray((np.stack([red, green, blue, alpha], -1) * there[..., None]).astype(np.uint8))
        sheet.save(tmp_path / layer / f"{variant}.png", compress_level=1)
    y, x, c = np.ogrid[:256, :256, :3]
    photo = ((3 * x + 5 * y + 70 * c + x * y // 16) % 256).astype(np.uint8)
    Image.fromarray(photo).save(tmp_path / lpc.PHOTO, "png")
    clip = wsprites.clip("train", 0, wsprites.Options(labels="original", art="lpc", art_dir=str(tmp_path)))
    config = json.loads(str(golden["config"]))
    assert np.array_equal(clip.frames[golden["index"]], golden["frames"])
    assert np.array_equal(clip.tracks["masks"][golden["index"]], golden["masks"])
    assert [hashlib.sha256(frame.tobytes()).hexdigest() for frame in clip.frames] == config["frame_sha256"]
    assert [hashlib.sha256(mask.tobytes()).hexdigest() for mask in clip.tracks["masks"]] == config["mask_sha256"]
    for place in ((20, 3), (24, 24), (7, 13), (0, 0)):
        wanted = golden["background_{}_{}".format(*place)]
        assert np.array_equal(lpc.backdrop(tmp_path, place, 128, 96), wanted)


# Our own


@pytest.fixture(scope="module")
def clip():
    return wsprites.clip("test", 11670, wsprites.Options())


def test_pinned_clip(clip):
    """The same bytes on every machine: what is drawn uses exactly rounded operations only."""
    assert (
        hashlib.sha256(clip.frames.tobytes()).hexdigest()
        == "68e3ba390ed1b51bd62232dcb985c3bf7cdc974167191a9843e57b207a1f49e4"
    )
    assert (
        hashlib.sha256(clip.tracks["masks"].tobytes()).hexdigest()
        == "3ae41043737e32d0f288c2d04f524fade469a3dec46bf1c07579b0598ffcd8bc"
    )


def test_clip_does_not_depend_on_what_was_made_before(clip):
    options = wsprites.Options()
    wsprites.clip("train", 5, options)
    again = wsprites.clip("test", 11670, options)
    assert np.array_equal(again.frames, clip.frames)


def test_shapes_and_types(clip):
    assert clip.frames.shape == (90, 96, 128, 3) and clip.id == "test/sprite_001167_video_000"
    shapes = {name: track.shape for name, track in clip.tracks.items()}
    assert shapes == {
        "global_action": (90,),
        "local_action": (90,),
        "shift_fg": (90, 2),
        "shift_bg": (90, 2),
        "motion_fg": (90, 2),
        "motion_bg": (90, 2),
        "position": (90, 2),
        "identity": (90, 4),
        "masks": (90, 96, 128),
    }


def test_truth_agrees_with_the_pixels(clip):
    """Where the truth says the figure stands there is mask, its motion is that of its place, and actions fit moves."""
    tracks = clip.tracks
    assert np.array_equal(np.diff(tracks["position"], axis=0), tracks["motion_fg"][1:])
    assert np.allclose(tracks["shift_fg"] * [32, 16], tracks["motion_fg"])
    assert np.allclose(tracks["shift_bg"] * [-6.25, -4.6875], tracks["motion_bg"])
    for t in range(len(clip)):
        rows, columns = np.nonzero(tracks["masks"][t])
        x, y = tracks["position"][t]
        assert x <= columns.min() and columns.max() < x + 64 and y <= rows.min() and rows.max() < y + 64
        expected = {0: 1, 1: 2, 2: 0, 3: 0}.get(int(tracks["global_action"][t]))
        assert tracks["local_action"][t] == expected if expected is not None else tracks["local_action"][t] >= 3


def test_background_moves_as_the_truth_says():
    """Undo the background's motion of whole pixels and the uncovered background is the same again."""
    clip = wsprites.clip("test", 11671, wsprites.Options())
    whole = 0
    for t in range(1, len(clip)):
        dx, dy = clip.tracks["motion_bg"][t]
        if dy or not dx:
            continue
        dx = int(dx)
        before = np.roll(clip.frames[t - 1], dx, axis=1)
        covered = np.roll(clip.tracks["masks"][t - 1], dx, axis=1) | clip.tracks["masks"][t]
        inside = np.zeros_like(covered, bool)
        inside[:, abs(dx) : -abs(dx)] = True
        assert np.array_equal(before[inside & (covered == 0)], clip.frames[t][inside & (covered == 0)])
        whole += 1
    assert whole > 5


@pytest.mark.parametrize("size", ["64", "32x48", "256x192", "200x80"])
def test_any_size(size):
    clip = wsprites.clip("val", 10370, wsprites.Options(size=size, frames=12))
    width, _, height = size.partition("x")
    assert clip.frames.shape == (12, int(height or width), int(width), 3)
    assert all(mask.any() for mask in clip.tracks["masks"])


def test_several_agents():
    clip = wsprites.clip("test", 11680, wsprites.Options(agents=3, frames=20))
    assert clip.tracks["position"].shape == (20, 3, 2) and clip.tracks["identity"].shape == (20, 3, 4)
    assert set(np.unique(clip.tracks["agents"])) <= {0, 1, 2, 3}
    assert np.array_equal(clip.tracks["agents"] > 0, clip.tracks["masks"] > 0)
    lone = wsprites.clip("test", 11680, wsprites.Options(frames=20))
    assert np.array_equal(clip.tracks["identity"][:, 0], lone.tracks["identity"])


def test_splits_have_disjoint_characters():
    ranges = list(wsprites.CAST.values())
    assert [len(r) for r in ranges] == [1037, 130, 129]
    assert sorted(c for r in ranges for c in r) == list(range(1296))
    assert len({wsprites.identity(c) for c in range(1296)}) == 1296
    assert wsprites.identity(1295) == (0, 0, 0, 0) and wsprites.identity(0) == (5, 5, 5, 5)


def test_limit_spreads_over_the_characters():
    (shard,) = wsprites.shards("test", wsprites.Options(), 32)
    assert len(shard.clips) == 32 and len({index // wsprites.VIDEOS for index in shard.clips}) == 32
    assert wsprites.estimate("test", wsprites.Options(), 32) == (32, 32 * 90 * 96 * 128 * 4)
    everything = [index for shard in wsprites.shards("val", wsprites.Options()) for index in shard.clips]
    assert everything == list(range(10370, 11670))


def test_seeds_differ():
    frames = [wsprites.clip("test", 11690, wsprites.Options(seed=seed, frames=4)).frames for seed in (0, 1)]
    assert not np.array_equal(*frames)


def test_box_resampling_is_exact_area_averaging():
    pixels = np.arange(8, dtype=np.uint8).reshape(8, 1, 1) * 10
    halves = wsprites.box_resample(pixels, Fraction(0), Fraction(2))
    assert halves.ravel().tolist() == [5.0, 25.0, 45.0, 65.0]
    thirds = wsprites.box_resample(pixels, Fraction(0), Fraction(8, 3))
    assert np.allclose(thirds.ravel(), [8.75, 35.0, 61.25])
    late = wsprites.box_resample(pixels, Fraction(1, 2), Fraction(2))
    assert late.ravel().tolist() == [15.0, 35.0, 55.0]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"size": "big"}, "WIDTHxHEIGHT"),
        ({"size": "4"}, "between 16 and 1024"),
        ({"agents": 0}, "between 1 and 255"),
        ({"agents": 256}, "between 1 and 255"),
        ({"frames": 0}, "at least 1"),
        ({"seed": -1}, "at least 0"),
        ({"art": "lpc"}, "go together"),
        ({"art_dir": "somewhere"}, "go together"),
        ({"labels": "original", "seed": 3}, "fixes the seed"),
    ],
)
def test_wrong_options(options, says):
    with pytest.raises(UsageError, match=says):
        wsprites.Options(**options)


def test_missing_art_is_named(tmp_path):
    options = wsprites.Options(art="lpc", art_dir=str(tmp_path))
    with pytest.raises(VbenchError, match=r"body/\d.png: not there .* LPC layout"):
        wsprites.clip("test", 11670, options)


@pytest.fixture
def sheets(tmp_path):
    """A folder with all LPC files, each of its own colour."""
    for at, name in enumerate(lpc.FILES):
        path = tmp_path / "lpc" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGBA", lpc.SHEET, (9 * at, 40, 90, 255)).save(path, "png")
    return tmp_path / "lpc"


@pytest.mark.parametrize("name", [lpc.FILES[0], lpc.PHOTO])
def test_art_that_is_cut_short_is_named(sheets, name):
    for at in range(lpc.VARIANTS):
        path = sheets / name.replace("0", str(at))
        path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(
        VbenchError, match=rf"{name.replace('0', '.')}: not there or not a whole image; --art-dir wants"
    ):
        wsprites.clip("test", 11670, wsprites.Options(art="lpc", art_dir=str(sheets)))


def test_a_store_of_lpc_art_knows_the_sheets_and_not_where_they_lie(sheets, tmp_path):
    def recipe(folder):
        return prepare.plan("wsprites", splits=["test"], limit=1, art="lpc", art_dir=str(folder)).recipe()

    made, again = recipe(sheets), recipe(shutil.copytree(sheets, tmp_path / "elsewhere"))
    assert made.fingerprint("test") == again.fingerprint("test") and str(tmp_path) not in repr(made.work)
    assert json.loads(json.dumps(made.facts))["options"]["art_dir"] == str(sheets)  # there its worlds are drawn from
    Image.new("RGBA", lpc.SHEET).save(tmp_path / "elsewhere" / lpc.FILES[-2])
    assert recipe(tmp_path / "elsewhere").fingerprint("test") != made.fingerprint("test")
    (sheets / lpc.PHOTO).unlink()
    with pytest.raises(VbenchError, match=rf"{lpc.PHOTO}: not there"):
        recipe(sheets)


def test_a_store_of_our_art_is_told_by_all_its_options():
    told = "Options(size='128x96', agents=1, frames=90, seed=0, labels='own', art='own', art_dir='')"
    assert repr(wsprites.Options()) == told


def test_variants_name_their_options():
    assert wsprites.variant(wsprites.Options()) == "128x96"
    assert wsprites.variant(wsprites.Options(size="64", agents=2, seed=7)) == "64x64-agents2-seed7"
    assert wsprites.variant(wsprites.Options(labels="original")) == "ref-128x96"
