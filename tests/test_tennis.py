"""The matches are made here: a few seconds at a quarter of the size, with key frames and frames out of order as x264 sets them."""

from fractions import Fraction

import av
import numpy as np
import pytest
from av.video.reformatter import ColorRange, Colorspace
from PIL import Image

from vbench_ctl import building, protocols, registry, store, video
from vbench_ctl.archives import Archive
from vbench_ctl.errors import VbenchError

tennis = registry.load("datasets", "tennis")
MATCHES = tuple(tennis.SEGMENTS)
HEADER = ",original_filename,begin_frame,end_frame,top,left,bottom,right"
SIZE = (480, 270)
BOX = "112,37,270,462"
# number of the rally -> part of which match, first and last frame; out of order, as one row of the published table is
RALLIES = [
    (1, f"{MATCHES[0]}_00000.mp4", 5, 96),  # 92 frames: 19 at 5 fps
    (0, f"{MATCHES[0]}_00000.mp4", 0, 4),
    (3, f"{MATCHES[1]}_00000.mp4", 1, 9),
    (2, f"{MATCHES[1]}_00000.mp4", 0, 80),  # 81 frames: 17 at 5 fps
]


def match(path, frames, size=SIZE, rate=25, times=None, codec="libx264", seed=0):
    """Write a video whose frames differ in brightness, tagged BT.709 as YouTube's are."""
    y, x = np.mgrid[: size[1] // 8, : size[0] // 8]
    with av.open(str(path), "w") as container:
        options = {"preset": "ultrafast", "crf": "12", "g": "12", "bf": "2", "sc_threshold": "0"}
        stream = container.add_stream(codec, rate=rate, options=options if codec == "libx264" else {})
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.codec_context.time_base = Fraction(1, rate)
        stream.colorspace, stream.color_range = 1, ColorRange.MPEG
        stream.codec_context.thread_count = 1
        for t, time in enumerate(times or range(frames)):
            waves = np.stack([x + 5 * t, y + 7 * t + 30 * seed, x + y - 3 * t], -1) / 9
            small = (127.5 + 100 * np.sin(waves)).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(small, format="rgb24")
            frame = frame.reformat(*size, "yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG)
            frame.pts, frame.time_base = time, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def tables(folder, rallies=RALLIES, splits=((1, "train"), (3, "train"), (2, "validation"), (1, "test"), (2, "test"))):
    rows = [f"{row},{name},{first},{last},{BOX}" for row, (_, name, first, last) in enumerate(rallies)]
    (folder / "annotations.csv").write_text("\n".join([HEADER, *rows]) + "\n")
    lines = [f"{number},{split}" for number, split in splits]
    (folder / "splits.csv").write_text("\n".join(["sequence,split", *lines]) + "\n")
    return folder


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    for seed, name in enumerate(MATCHES):
        match(folder / f"{name}.mp4", 100, seed=seed)
    return folder


@pytest.fixture
def archive(tmp_path, videos, monkeypatch):
    monkeypatch.setattr(tennis, "SOURCE_SIZE", SIZE)
    folder = tmp_path / "archive"
    folder.mkdir()
    for path in videos.iterdir():
        (folder / path.name).symlink_to(path)
    return tables(folder)


def build(folder, archive, split, workers=1, limit=None):
    options = tennis.Options()
    work = {split: tennis.shards(split, options, limit, Archive((archive,)))}
    recipe = building.Recipe(
        "tennis", tennis.variant(options), tennis.VERSION, work, tennis.clips, tennis.facts(options), {}
    )
    building.build(folder, recipe, workers)
    return store.Store(folder, split)


def frames_of(path, wanted):
    """Decode without seeking and do what the release does with each frame."""
    left, top, right, bottom = 37, 112, 462, 270
    made = []
    with av.open(str(path)) as container:
        for index, frame in enumerate(container.decode(video=0)):
            if index in wanted:
                whole = frame.reformat(format="rgb24", src_colorspace=Colorspace.ITU601, interpolation=video.EXACT)
                picture = Image.fromarray(whole.to_ndarray()).crop((left, top, right, bottom))
                made.append(np.asarray(picture.resize((256, 96), Image.Resampling.BICUBIC)))
    return np.stack(made)


# Clips


def test_rallies_are_cut_cropped_and_resized(tmp_path, archive, videos):
    made = build(tmp_path / "store", archive, "train")
    assert made.ids == ["train/00001", "train/00003"]
    assert (made.size, made.fps) == ((96, 256), 25)
    assert np.array_equal(made.frames(0), frames_of(videos / f"{MATCHES[0]}.mp4", range(5, 97)))
    assert np.array_equal(made.frames(1), frames_of(videos / f"{MATCHES[1]}.mp4", range(1, 10)))


def test_val_and_test_are_pieces_of_16_at_5_fps(tmp_path, archive, videos):
    made = build(tmp_path / "store", archive, "test")
    assert made.ids == ["test/00001/00", "test/00002/00"]
    assert made.lengths.tolist() == [16, 16] and made.fps == 5
    assert np.array_equal(made.frames(0), frames_of(videos / f"{MATCHES[0]}.mp4", range(5, 85, 5)))
    assert np.array_equal(made.frames(1), frames_of(videos / f"{MATCHES[1]}.mp4", range(0, 80, 5)))
    assert build(tmp_path / "first", archive, "test", limit=1).ids == made.ids[:1]


def test_what_cannot_be_used_is_dropped_with_the_reason(tmp_path, archive, videos, monkeypatch):
    tables(archive, splits=((0, "test"), (2, "test"), (1, "test")))
    decoded = tennis._small

    def damaged(frame, box, convert):
        if frame.pts == 40 * frame.time_base.denominator // 25 and box[0] == 37:
            raise VbenchError("the frame at 1.60 s is damaged")
        return decoded(frame, box, convert)

    monkeypatch.setattr(tennis, "_small", damaged)
    rows = (archive / "annotations.csv").read_text().replace(",5,96,112,37,", ",5,96,112,38,")
    (archive / "annotations.csv").write_text(rows)
    made = build(tmp_path / "store", archive, "test")
    assert made.ids == ["test/00001/00"]
    assert made.summary["dropped"] == [
        {"id": "test/00000", "reason": "it has 1 frames at 5 fps, expected more than 16"},
        {"id": "test/00002/00", "reason": "the frame at 1.60 s is damaged"},
    ]


def test_order_is_that_of_the_list_of_splits(tmp_path, archive):
    tables(archive, splits=((2, "test"), (0, "train"), (1, "test")))
    assert build(tmp_path / "store", archive, "test").ids == ["test/00002/00", "test/00001/00"]


def test_one_and_two_workers_give_the_same_store(tmp_path, archive, monkeypatch):
    alone = build(tmp_path / "a", archive, "test")
    monkeypatch.setattr(tennis, "SHARD_BYTES", 1)
    shared = build(tmp_path / "b", archive, "test", workers=2)
    assert len(shared.summary["shards"]) == 2
    assert alone.content_sha256() == shared.content_sha256()


@pytest.mark.parametrize(("frames", "pieces"), [(15, 0), (16, 0), (17, 1), (32, 1), (33, 2), (48, 2), (224, 13)])
def test_a_piece_that_fits_exactly_is_left_out(frames, pieces):
    rally = tennis.Rally(7, MATCHES[0], 0, 100, 100 + 5 * (frames - 1), (0, 0, 9, 9))
    cuts = [cut for cut in tennis.cuts_of(rally, "test") if cut.frames]
    assert pieces or len(tennis.cuts_of(rally, "test")) == 1  # so that it can be named among what is dropped
    assert [cut.number for cut in cuts] == list(range(pieces))
    assert all(len(cut.frames) == 16 and cut.frames.step == 5 for cut in cuts)
    assert [cut.frames[0] for cut in cuts] == [100 + 80 * number for number in range(pieces)]


def test_published_split_sizes(tmp_path):
    """519 rallies made up so that their totals are the published ones.

    Of 103 rallies, 8 (validation) and 5 (test) end with a piece that fits exactly: counted too, it would be 183 and 211.
    """
    lengths = {"train": [189] * 312 + [210], "validation": pieces(175, 103, exact=8), "test": pieces(206, 103, exact=5)}
    assert sum(lengths["train"]) == tennis.TRAIN_FRAMES
    every = [(split, length) for split, each in lengths.items() for length in each]
    numbers = np.random.default_rng(0).permutation(len(every)).tolist()
    names = [f"{name}_{part:05d}.mp4" for name, parts in tennis.SEGMENTS.items() for part in range(parts)]
    rallies = [
        (number, names[number * len(names) // len(every)], 300 * number, 300 * number + length - 1)
        for number, (_, length) in zip(numbers, every, strict=True)
    ]
    tables(tmp_path, rallies, [(number, split) for number, (split, _) in zip(numbers, every, strict=True)])
    for split, theirs in tennis.THEIRS.items():
        found, cuts = tennis.cut_up(split, Archive((tmp_path,)))
        chosen = list(dict.fromkeys(cut.rally for cut in cuts))
        assert len(found) == 519 and len(cuts) == tennis.EXPECTED[split]
        if split == "train":
            assert [len(cut.frames) for cut in cuts] == lengths["train"]
        else:
            assert {len(cut.frames) for cut in cuts} == {16}
            loose = sum(len(range(rally.first, rally.last + 1, 5)) // 16 for rally in found.values() if rally in chosen)
            assert loose == {"val": 183, "test": 211}[split]
        order = [number for number, (name, _) in zip(numbers, every, strict=True) if name == theirs]
        assert [rally.number for rally in chosen] == order


def pieces(total, rallies, exact):
    """Return lengths at 25 fps of rallies that make `total` pieces, `exact` of them with one that fits exactly."""
    counts = [total // rallies + (at < total % rallies) for at in range(rallies)]
    return [5 * (16 * count + (16 if at < exact else 3)) for at, count in enumerate(counts)]


# Parts of an hour


def test_a_part_begins_on_the_key_frame_before_its_hour():
    shown = np.arange(0, 7300 * 25) * 512  # ticks of 1/12800 s
    times = tennis.Times(shown, shown[::125], 0, Fraction(1, 12800))
    assert tennis.segment_start(times, 0) == 0
    assert tennis.segment_start(times, 1) == 3600 * 25  # a key frame at the very hour
    late = tennis.Times(shown, shown[7::125], 0, Fraction(1, 12800))
    assert tennis.segment_start(late, 1) == 3600 * 25 - 118
    assert tennis.segment_start(late, 0) == 7  # there is none before
    shifted = tennis.Times(shown + 1024, shown[::125] + 1024, 1024, Fraction(1, 12800))
    assert tennis.segment_start(shifted, 2) == 7200 * 25


def test_frames_of_a_later_part(tmp_path, archive, videos, monkeypatch):
    monkeypatch.setattr(tennis, "SEGMENT_SECONDS", 1)  # a new part every 25 frames; key frames at 0, 12, 24, 36, ...
    tables(
        archive,
        [(0, f"{MATCHES[0]}_00001.mp4", 3, 9), (1, f"{MATCHES[1]}_00003.mp4", 0, 5)],
        [(1, "train"), (0, "train")],
    )
    made = build(tmp_path / "store", archive, "train")
    assert made.ids == ["train/00001", "train/00000"]
    assert np.array_equal(made.frames(0), frames_of(videos / f"{MATCHES[1]}.mp4", range(72, 78)))
    assert np.array_equal(made.frames(1), frames_of(videos / f"{MATCHES[0]}.mp4", range(27, 34)))


# Checks


@pytest.mark.parametrize(
    ("made", "message"),
    [
        ({"size": (1280, 720)}, r"it is h264 1280x720 at 25 fps, expected h264 1920x1080 at 25 fps, .*format 137"),
        ({"rate": 30}, r"it is h264 1920x1080 at 30 fps, expected h264 1920x1080 at 25 fps"),
        ({"codec": "mpeg4"}, r"it is mpeg4 1920x1080 at 25 fps, expected h264"),
        ({"frames": 20}, r"it lasts 1 s, expected 4 to 18000 s; it is cut short or another video"),
    ],
)
def test_another_encoding_is_refused(tmp_path, archive, monkeypatch, made, message):
    monkeypatch.undo()
    for name in MATCHES:
        (archive / f"{name}.mp4").unlink()
        match(archive / f"{name}.mp4", **{"frames": 3, "size": (1920, 1080), **made})
    with pytest.raises(VbenchError, match=message):
        build(tmp_path / "store", archive, "test")


def test_a_video_that_is_too_long_is_refused(tmp_path, archive, monkeypatch):
    monkeypatch.setattr(tennis, "SEGMENT_SECONDS", 1)
    tables(archive, [(0, f"{MATCHES[1]}_00000.mp4", 0, 3)], [(0, "train")])
    monkeypatch.setattr(tennis, "SEGMENTS", {MATCHES[0]: 3, MATCHES[1]: 4})
    with pytest.raises(VbenchError, match=rf"{MATCHES[0]}.mp4: it lasts 4 s, expected 0 to 3 s"):
        build(tmp_path / "store", archive, "train")


def test_a_missing_match_is_fatal(tmp_path, archive):
    (archive / f"{MATCHES[1]}.mp4").unlink()
    with pytest.raises(VbenchError, match=rf"expected annotations.csv, splits.csv, {MATCHES[0]}.mp4, {MATCHES[1]}.mp4"):
        build(tmp_path / "store", archive, "test")


def test_a_match_without_pictures_is_explained(tmp_path, archive):
    path = archive / f"{MATCHES[1]}.mp4"
    path.unlink()
    with av.open(str(path), "w", format="matroska") as sound:
        stream = sound.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        sound.mux([*stream.encode(frame), *stream.encode()])
    with pytest.raises(
        VbenchError, match=rf"{MATCHES[1]}\.mp4: it holds no video; fetch what YouTube calls format 137"
    ):
        build(tmp_path / "store", archive, "test")


def test_a_damaged_match_is_explained(tmp_path, archive):
    path = archive / f"{MATCHES[0]}.mp4"
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(VbenchError, match=rf"{MATCHES[0]}.mp4: not a video that can be read"):
        build(tmp_path / "store", archive, "test")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("annotations.csv", "a,b\n1,2\n", "annotations.csv: has no column original_filename"),
        ("annotations.csv", f"{HEADER}\n0,{MATCHES[0]}_00000.mp4,x,9,{BOX}\n", "is no rally .*invalid literal"),
        ("annotations.csv", f"{HEADER}\n0,other_00000.mp4,1,9,{BOX}\n", "is no rally of the two matches"),
        ("annotations.csv", f"{HEADER}\n0,{MATCHES[0]}_00000.mp4,9,1,{BOX}\n", "is no rally of the two matches"),
        ("annotations.csv", f"{HEADER}\n0,{MATCHES[0]}_00000.mp4,1,9,0,0,271,9\n", "is no rally of the two matches"),
        ("splits.csv", "sequence,split\n99,test\n", "sequence 99 is not among the 4 of annotations.csv"),
        ("splits.csv", "<html>\n", "splits.csv: has no column sequence"),
    ],
)
def test_tables_that_do_not_fit_are_explained(tmp_path, archive, name, text, message):
    (archive / name).write_text(text)
    with pytest.raises(VbenchError, match=message):
        build(tmp_path / "store", archive, "test")


def test_variant_and_splits_are_those_of_the_protocols():
    for protocol in protocols.load_all().values():
        if protocol.dataset == "tennis":
            assert protocol.variant == tennis.variant(tennis.Options())
            assert protocol.select.clips == tennis.EXPECTED[protocol.split]
    assert tennis.estimate("test", tennis.Options())[0] == 206
    assert tennis.estimate("train", tennis.Options(), 10)[0] == 10
