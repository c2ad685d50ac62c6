"""Every file is made here, with PyAV, Pillow and patched bytes; nothing is fetched."""

import re
import struct
import unicodedata
from fractions import Fraction

import av
import h5py
import numpy as np
import pytest
from av.video.reformatter import ColorRange, Colorspace
from PIL import Image
from scipy import ndimage

from vbench_ctl import video
from vbench_ctl.clips import Clip
from vbench_ctl.errors import UsageError, VbenchError

EXACT = ["clip.mkv", "clip.avi", "clip", "clip.npy", "clip.npz", "clip.h5"]
CLOSE = {"clip.mp4": 2.5, "clip.webm": 2.5, "clip.gif": 6.0}  # mean error of `smooth`, whose frames differ by 8
VIDEO_FILES = ["clip.mkv", "clip.avi", *CLOSE]
BITS, BLOCK = 10, 8


def smooth(count=4, height=48, width=64):
    y, x = np.mgrid[:height, :width]
    waves = [np.stack([3 * x + 5 * t, 3 * y + t, x + y + 7 * t], -1) for t in range(count)]
    return (127.5 + 127.5 * np.sin(np.stack(waves) / 40)).astype(np.uint8)


def noise(count=4, height=48, width=64):
    return np.random.default_rng(0).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def numbered(count):
    """Frames that show their number in binary: one white or black block a bit."""
    bits = (np.arange(count)[:, None] >> np.arange(BITS)) & 1
    rows = (255 * bits).astype(np.uint8).repeat(BLOCK, axis=1)
    return np.broadcast_to(rows[:, None, :, None], (count, 2 * BLOCK, BITS * BLOCK, 3))


def numbers(frames):
    bits = [frame[:, BLOCK // 2 :: BLOCK].mean(axis=(0, 2)) > 127 for frame in frames]
    return [int(bit @ (1 << np.arange(BITS))) for bit in bits]


def encode(path, frames, codec="libx264", pixels="yuv420p", times=None, base=Fraction(1, 10), options=None, **colours):
    """Write a video without vbench_ctl; `colours` are the stream's tags and the conversion's matrix and range."""
    matrix, span = colours.pop("matrix", Colorspace.ITU601), colours.pop("span", ColorRange.MPEG)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=1 / base, options=options or {})
        stream.height, stream.width, stream.pix_fmt = *frames[0].shape[:2], pixels
        stream.codec_context.time_base = base
        for name, value in colours.items():
            setattr(stream.codec_context, name, value)
        for time, array in zip(times or range(len(frames)), frames, strict=True):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(array), format="rgb24")
            frame = frame.reformat(format=pixels, dst_colorspace=matrix, dst_color_range=span)
            frame.pts, frame.time_base = time, base
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def error_of(call, *args, **kwargs):
    """Return the text of the one sentence that a call fails with."""
    with pytest.raises(VbenchError) as caught:
        call(*args, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def difference(a, b):
    return np.abs(a.astype(int) - b).mean()


# Round trips


@pytest.mark.parametrize("size", [(48, 64), (47, 63), (48, 63), (47, 64), (1, 1)])
@pytest.mark.parametrize("name", EXACT)
def test_lossless_formats_return_every_bit(tmp_path, name, size):
    clip = noise(3, *size)
    video.write(tmp_path / name, clip)
    read = video.read(tmp_path / name)
    assert isinstance(read, Clip) and read.id == "clip"
    np.testing.assert_array_equal(read.frames, clip)


@pytest.mark.parametrize("size", [(48, 64), (47, 63), (48, 63), (47, 64)])
@pytest.mark.parametrize("name", CLOSE)
def test_lossy_formats_return_every_frame_nearly(tmp_path, name, size):
    clip = smooth(5, *size)
    video.write(tmp_path / name, clip)
    read = video.read(tmp_path / name).frames
    assert read.shape == clip.shape
    assert max(difference(a, b) for a, b in zip(read, clip, strict=True)) < CLOSE[name]


@pytest.mark.parametrize("name", [*EXACT, *CLOSE])
def test_one_frame_is_a_clip(tmp_path, name):
    video.write(tmp_path / name, smooth(1))
    assert video.read(tmp_path / name).frames.shape == (1, 48, 64, 3)


@pytest.mark.parametrize("name", [*EXACT, *CLOSE])
def test_writing_twice_gives_the_same_bytes(tmp_path, name):
    for folder in "ab":
        video.write(tmp_path / folder / name, smooth())
    files = [sorted(p for p in (tmp_path / folder).rglob("*") if p.is_file()) for folder in "ab"]
    assert [p.read_bytes() for p in files[0]] == [p.read_bytes() for p in files[1]] and files[0]


@pytest.mark.parametrize("name", ["clip.mp4", "clip.webm"])
def test_bytes_do_not_depend_on_what_was_written_before(tmp_path, name):
    """x264's AVX-512 code reads memory that it never wrote, where pictures are no multiple of 128 pixels wide."""
    clip, made = ndimage.gaussian_filter(noise(16, 96, 136), (1, 3, 3, 0)), set()
    for before in range(4):
        video.write(tmp_path / f"other-{before}{name}", noise(5, 240 - 58 * before, 130 + 30 * before))
        video.write(tmp_path / str(before) / name, clip)
        made.add((tmp_path / str(before) / name).read_bytes())
    assert len(made) == 1


def test_gif_keeps_up_to_256_colours_and_repeated_frames(tmp_path):
    clip = noise(2, 16, 16)[[0, 0, 1, 1, 0]]
    video.write(tmp_path / "clip.gif", clip)
    np.testing.assert_array_equal(video.read(tmp_path / "clip.gif").frames, clip)


@pytest.mark.parametrize("fps", [10, 24, 25, 30, 30000 / 1001, 7.5])
@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "clip.avi", "clip.webm"])
def test_the_rate_comes_back(tmp_path, name, fps):
    video.write(tmp_path / name, smooth(24, 16, 16), fps=fps)
    assert video.read(tmp_path / name).fps == pytest.approx(fps, rel=1e-3)
    assert video.read(tmp_path / name, step=2).fps == pytest.approx(fps / 2, rel=1e-3)


def test_crf_trades_size_for_quality(tmp_path):
    for crf in (10, 40):
        video.write(tmp_path / f"{crf}.mp4", smooth(), crf=crf)
    fine, coarse = (difference(video.read(tmp_path / f"{crf}.mp4").frames, smooth()) for crf in (10, 40))
    assert fine < coarse and (tmp_path / "10.mp4").stat().st_size > (tmp_path / "40.mp4").stat().st_size


def test_frames_may_come_from_a_generator_and_parents_are_made(tmp_path):
    path = tmp_path / "a" / "b" / "clip.mkv"
    video.write(str(path), (frame for frame in smooth()))
    np.testing.assert_array_equal(video.read(str(path)).frames, smooth())


@pytest.mark.parametrize(
    "name", ["a clip.mp4", "schön ☃.mkv", "a:b %03d #1?.webm", "http:x.avi", "naïve dir.gif", "été"]
)
def test_unicode_spaces_and_signs_in_names(tmp_path, name):
    video.write(tmp_path / "dé ir" / name, smooth())
    assert list(video.find(tmp_path)) == [f"dé ir/{name.rsplit('.', 1)[0]}"]
    assert len(video.read(tmp_path / "dé ir" / name)) == 4


# Frame exactness


@pytest.fixture(scope="module")
def long_clips(tmp_path_factory):
    """400 numbered frames with B-frames and a key frame every 40."""
    folder = tmp_path_factory.mktemp("long")
    b_frames = {"g": "40", "bf": "3", "b_strategy": "0", "sc_threshold": "0", "preset": "veryfast"}
    encode(folder / "closed.mp4", numbered(400), options=b_frames)
    encode(folder / "closed.mkv", numbered(400), options=b_frames)
    encode(folder / "open.mkv", numbered(400), options={**b_frames, "x264-params": "open-gop=1"})
    encode(folder / "plain.avi", numbered(400), "mpeg4", options={"g": "40", "bf": "2"})
    video.write(folder / "hidden.webm", numbered(400))
    return folder


LONG = ["closed.mp4", "closed.mkv", "open.mkv", "plain.avi", "hidden.webm"]


def test_the_long_clips_have_b_frames_out_of_order(long_clips):
    with av.open(str(long_clips / "closed.mp4")) as container:
        times = [packet.pts for packet in container.demux(video=0) if packet.size]
    assert len(times) == 400 and times != sorted(times)


@pytest.mark.parametrize("name", LONG)
@pytest.mark.parametrize(
    "part", [(0, None, 1), (3, 50, 7), (250, 251, 1), (333, None, 9), (399, 400, 1), (280, 320, 1)]
)
def test_frame_indices_are_exact(long_clips, name, part):
    assert numbers(video.frames(long_clips / name, *part)) == list(range(400))[slice(*part)]


@pytest.mark.parametrize(("name", "cut"), [("closed.mp4", 320), ("closed.mkv", 320), ("plain.avi", 0)])
def test_a_late_start_seeks_where_that_is_exact(long_clips, name, cut):
    assert video._clean_cut(long_clips / name, 333)[0] == cut


def test_an_open_gop_is_no_place_to_seek_to(long_clips):
    assert video._clean_cut(long_clips / "open.mkv", 333)[0] == 0


def test_a_seek_that_lands_elsewhere_decodes_from_the_start(long_clips, monkeypatch):
    index, time = video._clean_cut(long_clips / "closed.mp4", 333)
    monkeypatch.setattr(video, "_clean_cut", lambda path, start: (index, time + 1))
    assert numbers(video.frames(long_clips / "closed.mp4", 333, 336)) == [333, 334, 335]


@pytest.mark.parametrize("part", [(-1, None, 1), (0, -1, 1), (0, None, 0)])
def test_ranges_count_from_the_first_frame(tmp_path, part):
    video.write(tmp_path / "clip.npy", smooth())
    with pytest.raises(UsageError, match="at least"):
        video.frames(tmp_path / "clip.npy", *part)


@pytest.mark.parametrize("name", [*EXACT, *CLOSE])
def test_ranges_work_alike_for_all_kinds(tmp_path, name):
    video.write(tmp_path / name, numbered(12))
    assert numbers(video.frames(tmp_path / name, 2, 9, 3)) == [2, 5, 8]
    assert numbers(video.frames(tmp_path / name, 10, 99)) == [10, 11]
    assert list(video.frames(tmp_path / name, 5, 2)) == []
    assert "no frames in 12" in error_of(video.read, tmp_path / name, 12)


def test_reading_stops_at_the_limit(tmp_path):
    for name in ("clip.mp4", "clip.mkv", "clip.npy"):  # Matroska has no frame count in its header
        video.write(tmp_path / name, numbered(20))
        frame_bytes = numbered(1).nbytes
        assert "pass the limit" in error_of(video.read, tmp_path / name, max_bytes=19 * frame_bytes)
        assert len(video.read(tmp_path / name, stop=19, max_bytes=19 * frame_bytes)) == 19


# Times


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv"])
def test_variable_frame_rate(tmp_path, name):
    encode(tmp_path / name, numbered(6), times=[0, 1, 2, 5, 20, 21])  # tenths of a second
    assert numbers(video.frames(tmp_path / name)) == [0, 1, 2, 3, 4, 5]
    assert numbers(video.read(tmp_path / name, fps=10).frames)[:22] == [0, 1, 2, 2, 2] + [3] * 15 + [4, 5]
    assert numbers(video.frames(tmp_path / name, stop=5, fps=2)) == [0, 3, 3, 3, 4]
    assert numbers(video.frames(tmp_path / name, 1, 5, 2, fps=2)) == [3, 3]


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "clip.avi", "clip.webm"])
@pytest.mark.parametrize("fps", [10, 24, 30, 30000 / 1001, 60])
def test_a_constant_rate_survives_the_containers_rounding(tmp_path, name, fps):
    video.write(tmp_path / name, numbered(25), fps=fps)
    assert numbers(video.frames(tmp_path / name, fps=fps)) == list(range(25))
    assert numbers(video.frames(tmp_path / name, fps=2 * fps)) == [i // 2 for i in range(50)]
    assert numbers(video.frames(tmp_path / name, fps=fps / 2)) == list(range(0, 25, 2))
    assert video.read(tmp_path / name, fps=fps / 2).fps == pytest.approx(fps / 2)


def test_images_and_arrays_have_no_times(tmp_path):
    for name in ("clip", "clip.npy"):
        video.write(tmp_path / name, smooth())
        assert "leave fps out" in error_of(video.read, tmp_path / name, fps=10)


@pytest.mark.parametrize("fps", [0, -1, float("nan"), float("inf"), 1e-9, 1e9])
def test_rates_that_mean_nothing(tmp_path, fps):
    assert "expected a rate" in error_of(video.write, tmp_path / "clip.mp4", smooth(), fps=fps)
    video.write(tmp_path / "clip.mp4", smooth())
    assert "expected a rate" in error_of(video.frames, tmp_path / "clip.mp4", fps=fps)


# Rotation

MATRICES = {  # a, b, c, d of the track header, and what a player then shows
    "upright": ((1, 0, 0, 1), lambda f: f, 0),
    "clockwise, as phones held upright write": ((0, 1, -1, 0), lambda f: np.rot90(f, -1), 270),
    "upside down": ((-1, 0, 0, -1), lambda f: np.rot90(f, 2), 180),
    "counterclockwise": ((0, -1, 1, 0), lambda f: np.rot90(f), 90),
    "mirrored": ((-1, 0, 0, 1), lambda f: f[:, ::-1], 180),
    "transposed": ((0, 1, 1, 0), lambda f: f.swapaxes(0, 1), 270),
}


def turn(path, a, b, c, d):
    """Patch the matrix of the first tkhd box (ISO 14496-12, 8.3.2, version 0)."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40
    assert struct.unpack(">9i", data[at : at + 36]) == (1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    data[at : at + 36] = struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    path.write_bytes(data)


@pytest.mark.parametrize("case", MATRICES)
def test_pictures_are_turned_as_players_turn_them(tmp_path, case):
    path = tmp_path / "clip.mp4"
    video.write(path, smooth(3, 32, 48))
    stored = video.read(path).frames
    matrix, shown, rotation = MATRICES[case]
    turn(path, *matrix)
    turned = video.read(path).frames
    np.testing.assert_array_equal(turned, np.stack([shown(frame) for frame in stored]))
    info = video.probe(path)
    assert (info.height, info.width, info.rotation) == (*turned.shape[1:3], rotation)


def test_an_odd_angle_is_refused(tmp_path):
    path = tmp_path / "clip.mp4"
    video.write(path, smooth(3, 32, 48))
    turn(path, 1, 1, -1, 1)
    assert "multiple of 90" in error_of(video.read, path)


# Colours


def card(height=64, width=96):
    """Saturated flat patches of 32 x 32 pixels."""
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0), (250, 120, 10)]
    return np.array(colours, np.uint8).reshape(2, 3, 3).repeat(height // 2, 0).repeat(width // 3, 1)


def worst(frame):
    """Largest error inside the patches of the card, away from their edges."""
    error = np.abs(frame.astype(int) - card()).reshape(2, 32, 3, 32, 3)
    return error[:, 8:24, :, 8:24].max()


@pytest.mark.parametrize("name", ["clip.mp4", "clip.webm", "clip.mkv", "clip.gif"])
def test_saturated_colours_come_back(tmp_path, name):
    video.write(tmp_path / name, [card()] * 3)
    assert worst(video.read(tmp_path / name).frames[-1]) <= 3


@pytest.mark.parametrize("name", ["clip.mp4", "clip.webm"])
def test_what_is_written_says_its_matrix_and_range(tmp_path, name):
    video.write(tmp_path / name, [card()] * 3)
    with av.open(str(tmp_path / name)) as container:
        coding = container.streams.video[0].codec_context
        # ITU-T H.273: BT.601 matrix (6), BT.709 primaries (1), sRGB transfer (13); FFmpeg's 1 is limited range
        assert (coding.colorspace, coding.color_primaries, coding.color_trc, coding.color_range) == (6, 1, 13, 1)


@pytest.mark.parametrize("tags", ["bt709", "bt601", "full range", "no tags", "jpeg in avi"])
def test_tags_of_other_writers_are_followed(tmp_path, tags):
    path, frames, crisp = tmp_path / "clip.mkv", [card()] * 3, {"crf": "4"}
    if tags == "bt709":
        encode(path, frames, options=crisp, matrix=Colorspace.ITU709, colorspace=1, color_range=1)
    elif tags == "bt601":
        encode(path, frames, options=crisp, colorspace=5, color_range=1)
    elif tags == "full range":
        encode(path, frames, options=crisp, span=ColorRange.JPEG, colorspace=6, color_range=2)
    elif tags == "no tags":
        encode(path, frames, options=crisp)
    else:
        path = tmp_path / "clip.avi"
        encode(path, frames, "mjpeg", "yuvj420p", options={"q:v": "1"}, span=ColorRange.JPEG, color_range=2)
    assert worst(video.read(path).frames[-1]) <= 4


def test_a_wrong_matrix_would_be_seen(tmp_path):
    encode(tmp_path / "clip.mkv", [card()] * 3, options={"crf": "4"}, matrix=Colorspace.ITU709, colorspace=6)
    assert worst(video.read(tmp_path / "clip.mkv").frames[-1]) > 15


# What is known before reading


@pytest.mark.parametrize("name", [*EXACT, *CLOSE])
def test_probe(tmp_path, name):
    video.write(tmp_path / name, smooth(4, 47, 63), fps=20)
    info = video.probe(tmp_path / name)
    assert (info.width, info.height, info.rotation) == (63, 47, 0)
    assert info.frames == (None if name in ("clip.mkv", "clip.webm") else 4)
    assert info.lossless == (name in EXACT)
    assert info.fps == (20 if name in VIDEO_FILES else None)
    codecs = {"mp4": "h264", "mkv": "ffv1", "avi": "ffv1", "webm": "vp9", "clip": "png"}
    suffix = name.split(".")[-1]
    assert info.codec == codecs.get(suffix, suffix)


def test_lossless_codecs_of_yuv_or_with_jpg_among_them_are_lossy(tmp_path):
    encode(tmp_path / "clip.mkv", smooth(), "ffv1", "yuv420p")
    assert not video.probe(tmp_path / "clip.mkv").lossless
    video.write(tmp_path / "clip", smooth())
    Image.fromarray(smooth()[0]).save(tmp_path / "clip" / "00004.jpg")
    info = video.probe(tmp_path / "clip")
    assert (info.codec, info.lossless, info.frames) == ("jpg+png", False, 5)


# Damaged and wrong files


@pytest.mark.parametrize("name", [*VIDEO_FILES, "clip.mov", "clip.npy", "clip.npz", "clip.h5"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_files_that_are_cut_short(tmp_path, name, share):
    path = tmp_path / name
    if name == "clip.mov":
        encode(path, noise(12))  # its index comes last
    else:
        video.write(path, noise(12))
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    assert str(path) in error_of(video.read, path)
    assert str(path) in error_of(lambda: list(video.frames(path)))


def test_a_live_recording_of_unknown_length_is_whole(tmp_path):
    path = tmp_path / "clip.mkv"
    video.write(path, smooth())
    data = bytearray(path.read_bytes())
    at = data.index(b"\x18\x53\x80\x67") + 4
    data[at : at + 8] = b"\x01" + 7 * b"\xff"
    path.write_bytes(data)
    np.testing.assert_array_equal(video.read(path).frames, smooth())


def test_damage_is_found_when_it_is_reached(tmp_path):
    path = tmp_path / "clip.mp4"
    video.write(path, noise(12))
    with av.open(str(path)) as container:
        at = [packet.pos + packet.size // 2 for packet in container.demux(video=0) if packet.size][6]
    data = bytearray(path.read_bytes())
    data[at : at + 16] = bytes(byte ^ 0x55 for byte in data[at : at + 16])
    path.write_bytes(data)
    next(video.frames(path))
    assert str(path) in error_of(lambda: list(video.frames(path)))


def test_files_that_are_no_videos(tmp_path):
    video.write(tmp_path / "good.mp4", smooth())
    wrong = {
        "text.mp4": b"this is not a video\n" * 50,
        "empty.mp4": b"",
        "playlist.mp4": f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{tmp_path}/good.mp4\n#EXT-X-ENDLIST\n".encode(),
        "script.mp4": f"ffconcat version 1.0\nfile good.mp4\nfile {tmp_path}/good.mp4\n".encode(),
        "text.gif": b"GIF89a",
        "text.npy": b"not numbers",
        "text.npz": b"not a zip",
        "text.h5": b"not HDF5",
    }
    for name, content in wrong.items():
        (tmp_path / name).write_bytes(content)
        assert name in error_of(video.read, tmp_path / name)
        assert name in error_of(video.probe, tmp_path / name)
    assert "no such file" in error_of(video.read, tmp_path / "missing.mp4")


def test_a_file_with_sound_alone(tmp_path):
    with av.open(str(tmp_path / "clip.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        sound.sample_rate = 16000
        container.mux(stream.encode(sound))
        container.mux(stream.encode())
    assert "holds audio and no video" in error_of(video.read, tmp_path / "clip.mp4")


def test_a_video_without_frames(tmp_path):
    for name, codec, pixels in [("clip.mkv", "ffv1", "bgr0"), ("clip.mp4", "libx264", "yuv420p")]:
        with av.open(str(tmp_path / name), "w") as container:
            stream = container.add_stream(codec, rate=10)
            stream.height, stream.width, stream.pix_fmt = 48, 64, pixels
            container.start_encoding()
        assert name in error_of(video.read, tmp_path / name)


def test_an_unknown_codec(tmp_path):
    path = tmp_path / "clip.mp4"
    video.write(path, smooth())
    path.write_bytes(path.read_bytes().replace(b"avc1", b"zzzz").replace(b"avcC", b"zzzC"))
    assert str(path) in error_of(video.read, path)


# Folders of frames


def test_frames_are_in_natural_order(tmp_path):
    for i in (10, 2, 6, 14):
        Image.fromarray(numbered(64)[i]).save(tmp_path / f"frame{i}.PNG")
    (tmp_path / "notes.txt").write_text("ignored")
    (tmp_path / "._frame1.png").write_bytes(b"ignored")
    assert numbers(video.read(tmp_path).frames) == [2, 6, 10, 14]


@pytest.mark.parametrize(
    ("names", "complaint"),
    [
        (("00", "01", "03", "04"), "01.png: the next frame is 03.png; add what is missing"),
        (("1_of_9", "3_of_9", "7_of_9"), "3_of_9.png: the next frame is 7_of_9.png"),
        (("1", "01", "2"), "have one number; keep one of them"),
    ],
)
def test_a_gap_between_numbered_frames(tmp_path, names, complaint):
    for name in names:
        Image.new("RGB", (8, 6)).save(tmp_path / f"{name}.png")
    assert complaint in error_of(video.check_numbers, tmp_path)


@pytest.mark.parametrize("names", [("033", "066", "100"), ("1.0", "1.5", "2.0"), ("a", "b", "d"), ("7",), ("2", "9")])
def test_other_names_of_frames_are_free(tmp_path, names):
    for name in names:
        Image.new("RGB", (8, 6)).save(tmp_path / f"{name}.png")
    video.check_numbers(tmp_path)


def test_a_folder_that_mixes_sizes_names_the_first_odd_one(tmp_path):
    for i, size in enumerate([(8, 6), (8, 6), (9, 6)]):
        Image.new("RGB", size).save(tmp_path / f"{i}.png")
    for start in (0, 2):
        assert "frame 2 is 9x6, the ones before it are 8x6" in error_of(video.read, tmp_path, start)


def test_a_frame_that_is_there_twice(tmp_path):
    for name in ("0.png", "1.png", "1.jpg"):
        Image.new("RGB", (8, 6)).save(tmp_path / name)
    assert "both frame 1" in error_of(video.read, tmp_path)


def test_a_folder_without_frames_and_a_broken_frame(tmp_path):
    assert "holds no frames" in error_of(video.read, tmp_path)
    video.write(tmp_path / "clip", noise())
    whole = (tmp_path / "clip" / "00001.png").read_bytes()
    for broken in (whole[: len(whole) // 2], b"", b"text"):
        (tmp_path / "clip" / "00001.png").write_bytes(broken)
        assert "00001.png: is not a whole PNG or JPEG" in error_of(video.read, tmp_path / "clip")


def image_of(kind, colour):
    """Return a 4 x 2 image of one kind and the RGB values it shows."""
    red, green, blue = colour
    images = {
        "RGBA": Image.new("RGBA", (4, 2), (red, green, blue, 128)),
        "L": Image.new("L", (4, 2), red),
        "LA": Image.new("LA", (4, 2), (red, 7)),
        "P": Image.new("RGB", (4, 2), colour).quantize(4),
        "1": Image.new("1", (4, 2), 1),
        "I;16": Image.fromarray(np.full((2, 4), red * 257, np.uint16)),
    }
    half = tuple(round(255 + (value - 255) * 128 / 255) for value in colour)  # over white
    grey = {"1": 255, "LA": round(255 + (red - 255) * 7 / 255)}.get(kind, red)
    return images[kind], {"RGBA": half, "P": colour}.get(kind, (grey, grey, grey))


@pytest.mark.parametrize("kind", ["RGBA", "L", "LA", "P", "1", "I;16"])
def test_images_of_any_kind_become_rgb(tmp_path, kind):
    image, shown = image_of(kind, (200, 100, 50))
    image.save(tmp_path / "0.png")
    with Image.open(tmp_path / "0.png") as stored:
        assert stored.mode == kind
    np.testing.assert_array_equal(video.read(tmp_path).frames, np.broadcast_to(np.uint8(shown), (1, 2, 4, 3)))


def test_sixteen_bit_colours_lose_their_lower_half(tmp_path):
    wide = noise(1, 4, 6)[0].astype(np.uint16) * 257
    frame = av.VideoFrame.from_ndarray(wide, format="rgb48le").reformat(format="rgb48be")
    coder = av.CodecContext.create("png", "w")
    coder.width, coder.height, coder.pix_fmt, coder.time_base = 6, 4, "rgb48be", Fraction(1, 10)
    data = b"".join(bytes(packet) for packet in [*coder.encode(frame), *coder.encode(None)])
    assert data[24] == 16  # the bit depth in IHDR
    (tmp_path / "0.png").write_bytes(data)
    np.testing.assert_array_equal(video.read(tmp_path).frames, noise(1, 4, 6))


def test_exif_turns_a_jpg(tmp_path):
    image = Image.fromarray(smooth(1, 16, 32)[0])
    image.save(tmp_path / "plain.jpg")
    stored = video.read(tmp_path).frames[0]
    (tmp_path / "plain.jpg").unlink()
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned clockwise by 90 degrees
    image.save(tmp_path / "turned.jpg", exif=exif)
    np.testing.assert_array_equal(video.read(tmp_path).frames[0], np.rot90(stored, -1))


# Arrays


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".h5"])
@pytest.mark.parametrize("shape", [(3, 2, 4, 6, 3), (2, 4, 6, 3)])
def test_arrays_of_clips(tmp_path, suffix, shape):
    given = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    save_array(tmp_path / f"clips{suffix}", given)
    clips = video.arrays(tmp_path / f"clips{suffix}")
    assert len(clips) == (3 if len(shape) == 5 else 1)
    for i, clip in enumerate(given.reshape(-1, 2, 4, 6, 3)):
        np.testing.assert_array_equal(np.asarray(clips[i]), clip)
    if len(shape) == 5:
        assert "holds 3 clips" in error_of(video.read, tmp_path / f"clips{suffix}")


def save_array(path, array, name="clips"):
    if path.suffix == ".npy":
        np.save(path, array)
    elif path.suffix == ".npz":
        np.savez(path, **{name: array})
    else:
        with h5py.File(path, "a") as file:
            file[name] = array


def test_large_arrays_stay_on_disk(tmp_path):
    for suffix, kind in [(".npy", np.memmap), (".h5", h5py.Dataset), (".hdf5", h5py.Dataset)]:
        save_array(tmp_path / f"clips{suffix}", np.zeros((2, 2, 4, 6, 3), np.uint8))
        assert isinstance(video.arrays(tmp_path / f"clips{suffix}"), kind)


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".h5"])
@pytest.mark.parametrize(
    ("array", "hint"),
    [
        (np.zeros((2, 3, 4, 6, 3), np.float32), "float32, expected uint8"),
        (np.zeros((2, 3, 4, 6, 3), np.int64), "int64, expected uint8"),
        (np.zeros((2, 4, 3, 5, 6), np.uint8), "np.moveaxis(x, 2, -1)"),
        (np.zeros((2, 3, 4, 5, 6), np.uint8), "np.moveaxis(x, 1, -1)"),
        (np.zeros((4, 3, 5, 6), np.uint8), "np.moveaxis(x, 1, -1)"),
        (np.zeros((3, 4, 5, 6), np.uint8), "np.moveaxis(x, 0, -1)"),
        (np.zeros((2, 4, 5, 6, 1), np.uint8), "expected (N, T, H, W, 3)"),
        (np.zeros((5, 6, 3), np.uint8), "expected (N, T, H, W, 3)"),
        (np.zeros((0, 4, 5, 6, 3), np.uint8), "no pixels"),
        (np.uint8(3), "expected (N, T, H, W, 3)"),
    ],
)
def test_arrays_of_another_kind_are_refused(tmp_path, suffix, array, hint):
    save_array(tmp_path / f"clips{suffix}", array)
    message = error_of(video.arrays, tmp_path / f"clips{suffix}")
    assert hint in message and "clips" + suffix in message


def test_the_hinted_axis_is_the_one_to_move(tmp_path):
    for shape in [(2, 4, 3, 5, 6), (2, 3, 4, 5, 6), (4, 3, 5, 6), (3, 4, 5, 6)]:
        np.save(tmp_path / "clips.npy", np.zeros(shape, np.uint8))
        axis = re.search(r"np\.moveaxis\(x, (\d), -1\)", error_of(video.arrays, tmp_path / "clips.npy"))[1]
        np.save(tmp_path / "clips.npy", np.moveaxis(np.zeros(shape, np.uint8), int(axis), -1))
        assert video.arrays(tmp_path / "clips.npy")[0].shape == (4, 5, 6, 3)


def test_several_arrays_are_named(tmp_path):
    clip = np.zeros((2, 4, 6, 3), np.uint8)
    np.savez(tmp_path / "clips.npz", actions=clip, frames=clip)
    with h5py.File(tmp_path / "clips.h5", "w") as file:
        file["actions"], file["group/frames"] = clip, clip
    for name in ("clips.npz", "clips.h5"):
        assert re.search(r"holds 2 arrays \(actions, (group/)?frames\)", error_of(video.arrays, tmp_path / name))


class Payload:
    ran = False

    def __setstate__(self, state):
        Payload.ran = True


def test_pickles_are_never_loaded(tmp_path):
    payload = Payload()
    payload.state = 1
    objects = np.array([payload], dtype=object)
    np.save(tmp_path / "clips.npy", objects, allow_pickle=True)
    np.savez(tmp_path / "clips.npz", objects)
    for name in ("clips.npy", "clips.npz"):
        assert name in error_of(video.arrays, tmp_path / name)
    assert not Payload.ran
    np.load(tmp_path / "clips.npy", allow_pickle=True)
    assert Payload.ran  # so the payload is live


def test_array_ids_sort_as_they_count():
    assert [video.array_id(i) for i in (0, 42, 123456)] == ["00000", "00042", "123456"]


def test_arrays_of_a_video_are_refused(tmp_path):
    video.write(tmp_path / "clip.mp4", smooth())
    assert "not an array file" in error_of(video.arrays, tmp_path / "clip.mp4")


# Writing


def failing(count):
    yield from smooth(count)
    raise RuntimeError("the model stopped")


@pytest.mark.parametrize("name", [*EXACT, *CLOSE])
def test_a_failure_leaves_what_was_there(tmp_path, name):
    path = tmp_path / "out" / name
    with pytest.raises(RuntimeError, match="the model stopped"):
        video.write(path, failing(3))
    assert list((tmp_path / "out").iterdir()) == []
    video.write(path, numbered(5))
    with pytest.raises(RuntimeError, match="the model stopped"):
        video.write(path, failing(3))
    assert list((tmp_path / "out").iterdir()) == [path]
    assert numbers(video.read(path).frames) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("name", [*EXACT, *CLOSE])
@pytest.mark.parametrize(
    ("frames", "hint"),
    [
        ([], "no frames"),
        (np.zeros((2, 8, 8, 3), np.float32), "float32"),
        (np.zeros((2, 3, 8, 8), np.uint8), "(3, 8, 8)"),
        (np.zeros((2, 8, 8), np.uint8), "(8, 8)"),
        (np.zeros((2, 0, 8, 3), np.uint8), "(0, 8, 3)"),
        ([np.zeros((8, 8, 3), np.uint8), np.zeros((8, 9, 3), np.uint8)], "frame 1 to write is (8, 9, 3)"),
    ],
)
def test_frames_of_another_kind_are_not_written(tmp_path, name, frames, hint):
    assert hint in error_of(video.write, tmp_path / "out" / name, frames)
    assert list((tmp_path / "out").iterdir()) == []


def test_shorter_clip_replaces_a_longer_one(tmp_path):
    for name in [*EXACT, *CLOSE]:
        for count in (5, 3):
            video.write(tmp_path / name, numbered(count))
        assert numbers(video.read(tmp_path / name).frames) == [0, 1, 2]


def test_a_folder_of_the_user_is_never_replaced(tmp_path):
    photo = tmp_path / "clip" / "holiday.png"
    photo.parent.mkdir()
    photo.write_bytes(b"dear")
    assert "holiday.png" in error_of(video.write, tmp_path / "clip", smooth())
    assert photo.read_bytes() == b"dear"
    (tmp_path / "file").write_text("dear")
    assert "is a file" in error_of(video.write, tmp_path / "file", smooth())
    (tmp_path / "folder.mp4").mkdir()
    assert "is a folder" in error_of(video.write, tmp_path / "folder.mp4", smooth())


def test_arguments_that_mean_nothing_here(tmp_path):
    assert "cannot write .xyz; expected .mp4" in error_of(video.write, tmp_path / "clip.xyz", smooth())
    assert "crf" in error_of(video.write, tmp_path / "clip.mkv", smooth(), crf=20)
    assert "at most 50" in error_of(video.write, tmp_path / "clip.gif", smooth(), fps=60)
    (tmp_path / "file").write_text("in the way")
    assert "a file is in the way" in error_of(video.write, tmp_path / "file" / "clip.mp4", smooth())
    assert "too long" in error_of(video.write, tmp_path / f"{'x' * 300}.mp4", smooth())


# Finding


def test_find_names_clips_by_relative_path_in_natural_order(tmp_path):
    for name in ("clip10.mp4", "clip2.GIF", "b/clip1.mkv", "a/frames", "a/b.c"):
        target = tmp_path / name
        if name == "a/b.c":
            target.mkdir()
            Image.new("RGB", (8, 6)).save(target / "1.jpg")
        else:
            video.write(target, smooth())
    (tmp_path / "manifest.json").write_text("{}")
    (tmp_path / "features.npy").write_bytes(b"")
    (tmp_path / ".hidden.mp4").write_bytes(b"")
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "x.mp4").write_bytes(b"")
    found = video.find(tmp_path)
    assert list(found) == ["a/b.c", "a/frames", "b/clip1", "clip2", "clip10"]
    assert found["clip2"] == tmp_path / "clip2.GIF" and found["a/b.c"] == tmp_path / "a" / "b.c"
    assert all(len(video.read(path)) for path in found.values())


def test_a_folder_of_frames_is_one_clip_named_after_itself(tmp_path):
    video.write(tmp_path / "walk", smooth())
    assert video.find(tmp_path / "walk") == {"walk": tmp_path / "walk"}


def test_two_files_with_one_id(tmp_path):
    video.write(tmp_path / "a.mp4", smooth())
    video.write(tmp_path / "a.gif", smooth())
    message = error_of(video.find, tmp_path)
    assert "a.gif" in message and "a.mp4" in message
    (tmp_path / "a.gif").unlink()
    video.write(tmp_path / "a", smooth())
    assert 'clip "a"' in error_of(video.find, tmp_path)


def test_images_beside_clips_are_ambiguous(tmp_path):
    video.write(tmp_path / "a.mp4", smooth())
    Image.new("RGB", (8, 6)).save(tmp_path / "preview.png")
    message = error_of(video.find, tmp_path)
    assert "preview.png" in message and "a.mp4" in message


def test_nothing_to_find(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing")
    assert "holds no clips" in error_of(video.find, tmp_path)
    assert "is not a folder" in error_of(video.find, tmp_path / "missing")


def test_ids_are_the_same_for_names_written_by_a_mac(tmp_path):
    video.write(tmp_path / unicodedata.normalize("NFD", "é.mkv"), smooth())
    assert list(video.find(tmp_path)) == [unicodedata.normalize("NFC", "é")]


def test_a_link_that_leads_back_up_is_not_followed(tmp_path):
    video.write(tmp_path / "a" / "clip.mkv", smooth())
    (tmp_path / "a" / "up").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "a" / "round").symlink_to(tmp_path / "a", target_is_directory=True)
    assert list(video.find(tmp_path)) == ["a/clip"]


def test_an_array_that_lies_in_another_file_is_refused(tmp_path):
    secret = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(1, 2, 4, 4, 3)
    secret.tofile(tmp_path / "secret")
    with h5py.File(tmp_path / "clips.h5", "w") as file:
        file.create_dataset("x", secret.shape, np.uint8, external=[(str(tmp_path / "secret"), 0, secret.size)])
    assert "points elsewhere" in error_of(video.arrays, tmp_path / "clips.h5")
