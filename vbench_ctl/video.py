"""Any clip on disk to and from RGB frames: video files, folders of frames, and arrays.

Frames are counted as they are displayed: each coded frame once, in order of presentation, turned upright. Colours
follow the file's own tags; a file without tags is BT.601 with limited range, as FFmpeg takes it.
"""

import platform
import re
import struct
import unicodedata
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import chain, islice, pairwise
from pathlib import Path
from typing import Any, BinaryIO

import av
import h5py
import numpy as np
from av.codec.context import Flags
from av.stream import Disposition
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, Interpolation, VideoReformatter
from PIL import Image, ImageOps, UnidentifiedImageError

from vbench_ctl import files
from vbench_ctl.clips import Clip
from vbench_ctl.errors import UsageError, VbenchError

VIDEOS = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".gif", ".mpg", ".mpeg", ".wmv")
IMAGES = (".png", ".jpg", ".jpeg")
HDF5 = (".h5", ".hdf5")
ARRAYS = (".npy", ".npz", *HDF5)

# Exact arithmetic and full chroma: FFmpeg's fast path darkens by a level (measured: 0.94 on a photograph) and promises
# no equal bits across processors.
EXACT = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT | Interpolation.BITEXACT
ROUNDING = Fraction(1, 1000)  # Matroska and WebM keep times in whole milliseconds

# Only real containers, only this file: playlists and scripts under a video's name could open other files or addresses.
SAFE = {"format_whitelist": "mov,matroska,webm,avi,gif,mpeg,mpegts,asf", "protocol_whitelist": "file"}
LOSSLESS = {"ffv1", "huffyuv", "ffvhuff", "utvideo", "rawvideo", "png", "qtrle"}  # of RGB; of YUV they are not
ONE_FRAME_PER_PACKET = {"h264", "hevc", "vp9", "av1", "ffv1"}  # VP8 hides frames, MPEG-4 in AVI packs two
SEEK_FROM = 250  # frames: x264's longest distance between key frames; before that, decoding is as quick as seeking

FPS = 10.0  # of clips that do not say
CRF = {".mp4": 17, ".webm": 20}  # hard to tell from the original by eye
FFV1 = {"level": "3", "g": "1", "slicecrc": "1"}  # every frame alone and with a checksum
# x264's AVX-512 code weighs blocks by memory nobody wrote where pictures are no multiple of 128 pixels wide: other bytes each
# time. SSE 4.2, without which NumPy does not start either, is no slower, and gives the bytes that AVX2 gives.
X264 = {"x264-params": "asm=sse4.2"} if platform.machine().lower() in ("x86_64", "amd64") else {}
CODECS: dict[str, tuple[str, dict[str, str]]] = {
    ".mp4": ("libx264", X264),
    ".mkv": ("ffv1", FFV1),
    ".avi": ("ffv1", FFV1),
    ".webm": ("libvpx-vp9", {"b": "0", "deadline": "good", "cpu-used": "4"}),
    ".gif": ("gif", {"gifflags": "+offsetting"}),
}
CONTAINER = {  # bitexact: Matroska's identifiers are random without it
    ".mp4": {"fflags": "+bitexact", "movflags": "+faststart"},
    ".mkv": {"fflags": "+bitexact"},
    ".avi": {"fflags": "+bitexact"},
    ".webm": {"fflags": "+bitexact"},
}
SMPTE170M = 6  # ITU-T H.273 table 4; PyAV's Colorspace holds swscale's numbers instead


@dataclass(frozen=True)
class Info:
    """What is known of a clip before reading it; `frames` is the header's word and None where it has none."""

    frames: int | None
    width: int
    height: int
    fps: float | None
    codec: str
    lossless: bool  # the pixels are those that were written; H.264 in lossless mode counts as lossy
    rotation: int  # degrees counterclockwise that players, and we, turn the stored picture by


def probe(path: Path | str) -> Info:
    """Return size, rate, codec and losslessness of a clip; only its first frame is decoded."""
    path = Path(path)
    kind = _kind(path)
    if kind == "video":
        stat = path.stat()
        return _probe_video(path, stat.st_size, stat.st_mtime_ns)
    if kind == "array":
        array = _one_clip(path)
        return Info(len(array), array.shape[2], array.shape[1], None, path.suffix[1:].lower(), True, 0)
    images = _images(path)
    height, width = _image(images[0]).shape[:2]
    codecs = {image.suffix[1:].lower().replace("jpeg", "jpg") for image in images}
    return Info(len(images), width, height, None, "+".join(sorted(codecs)), codecs == {"png"}, 0)


def coding(path: Path | str) -> tuple[str, bool]:
    """Return the codec of a clip and whether it is lossless, as `probe` does, where nothing else is asked for."""
    path = Path(path)
    if _kind(path) == "video":
        with _opened(path) as (_, stream):
            return _coding(stream)
    info = probe(path)
    return info.codec, info.lossless


def frames(
    path: Path | str, start: int = 0, stop: int | None = None, step: int = 1, fps: float | None = None
) -> Iterator[np.ndarray]:
    """Yield the frames [start:stop:step] of one clip as uint8 RGB (H, W, 3), one at a time.

    With `fps`, the frame at k / fps seconds after the first is the latest one shown by then (VFR becomes constant);
    start, stop and step then count those. Like a slice, a range past the end is cut short.
    """
    path = Path(path)
    if start < 0 or step < 1 or (stop is not None and stop < 0):
        raise UsageError(f"frames {start}:{stop}:{step}: start and stop must be at least 0 and step at least 1")
    rate = None if fps is None else _rate(fps)
    kind = _kind(path)
    found: Iterator[np.ndarray]
    if rate and kind != "video":
        raise UsageError(f"{path}: has no frame times, so it cannot be read at {fps} fps; leave fps out")
    if kind == "folder":
        found = (_image(image) for image in _images(path)[start:stop:step])
    elif kind == "array":
        clip = _one_clip(path)
        found = (np.array(clip[i]) for i in range(*slice(start, stop, step).indices(len(clip))))
    elif rate:
        found = _upright(islice(_at_rate(_decoded(path), rate), start, stop, step))
    else:
        found = _upright(islice(_decoded(path, start), 0, None if stop is None else max(stop - start, 0), step))
    return _same_size(path, found, start, step)


def read(
    path: Path | str,
    start: int = 0,
    stop: int | None = None,
    step: int = 1,
    fps: float | None = None,
    max_bytes: int = files.MOST_BYTES,
) -> Clip:
    """Read one clip, (T, H, W, 3) uint8 named after its file, with the range and rate of `frames`."""
    path = Path(path)
    info = probe(path)
    frame_bytes = info.height * info.width * 3
    if fps is None and info.frames is not None:
        _refuse_above(max_bytes, path, len(range(info.frames)[start:stop:step]), frame_bytes)
    size = (info.height, info.width, 3)
    found = _limited(path, frames(path, start, stop, step, fps), max_bytes)
    pixels = np.fromiter(_same_size(path, found, start, step, size), np.dtype((np.uint8, size)))
    if not len(pixels):
        raise VbenchError(f"{path}: has no frames in {start}:{stop}:{step}; choose a range inside the clip")
    rate = fps or info.fps
    return Clip(_name(path.absolute()), pixels, fps=rate and float(rate) / step)


def find(folder: Path | str) -> dict[str, Path]:
    """Return every clip below a folder by its id, its relative path without suffix, in natural order.

    A folder that holds images is one clip; hidden files and files of other kinds are passed over.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise VbenchError(f"{folder}: is not a folder; expected one with videos or with folders of frames")
    found: dict[str, Path] = {}
    for path in _clips_below(folder):
        parts = path.relative_to(folder).parts or (folder.absolute().name,)
        id = "/".join([*map(_nfc, parts[:-1]), _name(path)])
        if id in found:
            raise VbenchError(f'{found[id]} and {path}: are both clip "{id}"; rename or remove one of them')
        found[id] = path
    if not found:
        others = sorted({path.suffix.lower() for path in folder.rglob("*") if path.suffix and path.is_file()})
        seen = f" but {', '.join(others[:3])} files" if others else ""
        raise VbenchError(
            f"{folder}: holds no clips{seen}; expected {', '.join(VIDEOS)} or folders of {', '.join(IMAGES)}"
        )
    return found


def arrays(path: Path | str) -> Any:
    """Return the clips of a .npy, .npz or .h5 file as an array or list of N clips (T, H, W, 3) uint8.

    .npy is memory-mapped and .h5 is read as it is indexed; one clip (T, H, W, 3) makes a list of one.
    """
    path = Path(path)
    if _kind(path) != "array":
        raise VbenchError(f"{path}: is not an array file; expected {', '.join(ARRAYS)}")
    return checked_array(_only_array(path), str(path))


def checked_array(array: Any, name: str) -> Any:
    """Return N clips (N, T, H, W, 3) uint8 as they are, and one clip as a list of one; refuse anything else."""
    if array.dtype != np.uint8:
        mends = {
            "float": "convert it where its range is known: (255 * x).round().astype('uint8') if that is 0 to 1, "
            "(127.5 * (x + 1)).round().astype('uint8') if it is -1 to 1",
            "int": "if its values are 0 to 255 convert it with x.astype('uint8')",
        }
        mend = next((f"; {text}" for kind, text in mends.items() if kind in str(array.dtype)), "")
        raise VbenchError(f"{name}: the array is {array.dtype}, expected uint8 RGB from 0 to 255{mend}")
    if array.ndim not in (4, 5) or array.shape[-1] != 3:
        raise VbenchError(f"{name}: the array is {array.shape}, expected (N, T, H, W, 3){_layout_hint(array.shape)}")
    if 0 in array.shape:
        raise VbenchError(f"{name}: the array is {array.shape} and so has no pixels, expected (N, T, H, W, 3)")
    return array if array.ndim == 5 else [array]


def array_id(index: int) -> str:
    """Return the id of clip `index` of an array file: 00000, 00001 and so on."""
    return f"{index:05d}"


def write(
    path: Path | str,
    frames: Iterable[np.ndarray],
    fps: float = FPS,
    crf: int | None = None,
    bit_rate: int | None = None,
) -> None:
    """Write uint8 RGB frames (H, W, 3) as one clip in the format that the suffix names; none is a folder of PNG.

    Lossless: .mkv and .avi (FFV1), .npy, .npz, .h5 and the folder. Lossy: .mp4 (H.264; 4:2:0, and 4:4:4 for odd sizes,
    which some players refuse), .webm (VP9), .gif (256 colours a frame). `crf` sets the quality of .mp4 and .webm; `bit_rate`, in
    bits per second, is for .mp4 in its place.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix and suffix not in (*CODECS, *ARRAYS):
        raise UsageError(
            f"{path}: cannot write {suffix}; expected {', '.join((*CODECS, *ARRAYS))} or none for a folder"
        )
    if crf is not None and suffix not in CRF:
        raise UsageError(f"{path}: crf is the quality of {' and '.join(CRF)} and means nothing here; leave it out")
    if bit_rate is not None and (suffix != ".mp4" or crf is not None):
        raise UsageError(f"{path}: bit_rate is the quality of .mp4 in place of crf; leave one out")
    rate = _rate(fps)
    if suffix == ".gif" and rate > 50:  # delays are whole 1/100 s, and players slow down a delay of 1
        raise UsageError(f"{path}: a GIF shows at most 50 frames a second, not {fps}; write .mp4 or .webm")
    with _placed(path) as temporary:
        if suffix in CODECS:
            quality = {"crf": CRF.get(suffix) if crf is None else crf} if bit_rate is None else {"b": bit_rate}
            _write_video(temporary, _checked(path, frames), rate, quality)
        elif suffix:
            _write_array(temporary, np.stack(list(_checked(path, frames))))
        else:
            temporary.mkdir()
            for i, frame in enumerate(_checked(path, frames)):
                Image.fromarray(frame).save(temporary / f"{i:05d}.png")


# Video files


@lru_cache(maxsize=1 << 16)  # where lengths are asked for again and again
def _probe_video(path: Path, _size: int, _mtime: int) -> Info:
    with _opened(path) as (_, stream):
        with closing(_decoded(path)) as decoded:  # a generator that is left lying swallows Ctrl-C
            first = next(decoded)
            height, width = next(_upright([first])).shape[:2]
        (codec, lossless), rate = _coding(stream), stream.average_rate
        return Info(
            frames=stream.frames or None,
            width=width,
            height=height,
            fps=float(rate) if rate else None,
            codec=codec,
            lossless=lossless,
            rotation=first.rotation % 360,
        )


def _coding(stream: Any) -> tuple[str, bool]:
    codec, pixels = stream.codec_context.name, stream.codec_context.format
    rgb8 = pixels is not None and pixels.is_rgb and all(component.bits == 8 for component in pixels.components)
    return codec, codec in LOSSLESS and rgb8


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, Any]]:
    """Open a container and its first video stream; whatever FFmpeg raises inside becomes one sentence."""
    try:
        # "file:" keeps a colon in a name from being taken for a protocol
        with av.open(f"file:{path}", options=SAFE) as container:
            if _cut_short(path, container.format.name):
                raise VbenchError(f"{path}: is cut short, the end of the file is missing; copy or fetch it again")
            yield container, _video_stream(path, container)
    except (av.error.FFmpegError, UnicodeDecodeError) as error:  # the latter of the container's texts
        files.refuse_denied(path, error)
        reason = getattr(error, "strerror", None) or error
        raise VbenchError(
            f"{path}: cannot be read as a video ({reason}); it is damaged or something else, fetch it again"
        ) from error


def _video_stream(path: Path, container: Any) -> Any:
    streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]  # no cover art
    if not streams:
        kinds = ", ".join(sorted({stream.type or "data" for stream in container.streams})) or "nothing"
        raise VbenchError(f"{path}: holds {kinds} and no video; expected a video file")
    if streams[0].codec_context is None:
        raise VbenchError(f"{path}: its video codec is unknown here; convert it to H.264, VP9 or FFV1")
    return streams[0]


def _cut_short(path: Path, container_format: str) -> bool:
    """Compare the outermost lengths that a container declares with the file's: FFmpeg just reads what is left."""
    size, end = path.stat().st_size, 0
    with path.open("rb") as file:
        if container_format == "gif":
            file.seek(max(size - 64, 0))
            return not file.read().rstrip(b"\0").endswith(b"\0;")  # the last block's end and the trailer
        while end + 8 <= size:
            file.seek(end)
            length = _declared_length(file.read(16), container_format)
            if not length:
                break
            end += length
    return end > size


def _declared_length(head: bytes, container_format: str) -> int:
    """Return the length of the box, element or chunk that starts here; 0 where none is declared."""
    if container_format == "avi" and head[:4] == b"RIFF":
        length = int.from_bytes(head[4:8], "little")
        return length and 8 + length + length % 2
    if container_format.startswith("matroska") and head[:4] in (b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67") and head[4]:
        width = 9 - head[4].bit_length()  # the leading zeros of the first byte give the bytes of the number
        unknown = (1 << 7 * width) - 1  # as live recordings write it
        length = int.from_bytes(head[4 : 4 + width], "big") & unknown
        return 0 if length == unknown else 4 + width + length
    if container_format.startswith("mov"):
        length = int.from_bytes(head[:4], "big")
        return int.from_bytes(head[8:16], "big") if length == 1 else length
    return 0


def _decoded(path: Path, start: int = 0, seek: bool = True) -> Generator[Any, None, None]:
    """Yield the displayed frames from index `start` on, seeking there where that is certain to be exact."""
    index, time = _clean_cut(path, start) if seek and start >= SEEK_FROM else (0, None)
    with _opened(path) as (container, stream):
        if index:
            container.seek(time, stream=stream)
        for frame in container.decode(stream):
            if time is not None and frame.pts != time:
                if frame.pts < time:
                    continue
                break  # landed behind the cut
            time = None
            if frame.is_corrupt:
                raise VbenchError(f"{path}: frame {index} is damaged and shows guessed pixels; fetch the file again")
            if index >= start:
                yield frame
            index += 1
    if time is not None:
        yield from _decoded(path, start, seek=False)
    if not index:
        raise VbenchError(f"{path}: holds a video without frames; expected at least one")


def _clean_cut(path: Path, start: int) -> tuple[int, int | None]:
    """Return index and time of the last clean cut at or before frame `start`; (0, None) if there is none."""
    stat = path.stat()
    return max((cut for cut in _clean_cuts(path, stat.st_size, stat.st_mtime_ns) if cut[0] <= start), default=(0, None))


@lru_cache(maxsize=8)
def _clean_cuts(path: Path, _size: int, _mtime: int) -> list[tuple[int, int]]:
    """Return (index, time) of the key frames that no frame before them, in file order, is displayed after."""
    with _opened(path) as (container, stream):
        packets = [(p.pts, p.is_keyframe, p.is_discard) for p in container.demux(stream) if p.size]
        one_each = stream.codec_context.name in ONE_FRAME_PER_PACKET
    if not one_each or not packets or any(pts is None or discard for pts, _, discard in packets):
        return []
    times, keys = np.array([p[0] for p in packets]), np.array([p[1] for p in packets])
    latest_before = np.concatenate([times[:1] - 1, np.maximum.accumulate(times)[:-1]])
    earliest_after = np.minimum.accumulate(times[::-1])[::-1]
    clean = keys & (latest_before < times) & (earliest_after == times)
    distinct = len(np.unique(times)) == len(times)
    return [(int(i), int(times[i])) for i in np.flatnonzero(clean)] if distinct and clean[0] else []


def _at_rate(decoded: Iterator[Any], rate: Fraction) -> Iterator[Any]:
    """Yield for each k / rate seconds after the first frame the latest frame shown by then."""
    first = shown = next(decoded)
    made = 0
    for frame in chain(decoded, [None]):
        until = _time(shown) + _duration(shown, 1 / rate) if frame is None else _time(frame)
        while made / rate < until - _time(first) - ROUNDING:
            yield shown
            made += 1
        shown = frame


def _time(frame: Any) -> Fraction:
    ticks = frame.dts if frame.pts is None else frame.pts  # AVI keeps no display times
    if ticks is None:
        raise VbenchError("the video has frames without times, so it cannot be read at another rate; leave fps out")
    return ticks * frame.time_base


def _duration(frame: Any, default: Fraction) -> Fraction:
    return frame.duration * frame.time_base if frame.duration else default


def _upright(decoded: Iterable[Any]) -> Iterator[np.ndarray]:
    """Convert decoded frames to RGB (H, W, 3), turned and mirrored as the display matrix says."""
    convert = VideoReformatter()
    for frame in decoded:
        pixels = convert.reformat(frame, format="rgb24", interpolation=EXACT, threads=1).to_ndarray()
        matrix = frame.side_data.get("DISPLAYMATRIX")
        yield pixels if matrix is None else _displayed(pixels, *struct.unpack("9i", matrix))


def _displayed(pixels: np.ndarray, *matrix: int) -> np.ndarray:
    """Apply a display matrix [a b u; c d v; x y w], which takes (p, q) to (a p + c q, b p + d q), q pointing down."""
    a, b, _, c, d = matrix[:5]
    if b == c == 0:
        right, down = a, d
    elif a == d == 0:
        pixels, right, down = pixels.swapaxes(0, 1), c, b
    else:
        raise VbenchError("the video is to be shown at an angle that is not a multiple of 90 degrees; straighten it")
    return np.ascontiguousarray(pixels[:: -1 if down < 0 else 1, :: -1 if right < 0 else 1])


def _write_video(path: Path, frames: Iterator[np.ndarray], rate: Fraction, quality: Mapping[str, int | None]) -> None:
    first = next(frames)
    codec, options = CODECS[path.suffix]
    with av.open(f"file:{path}", "w", options=CONTAINER.get(path.suffix, {})) as container:
        chosen = {name: f"{value}" for name, value in quality.items() if value is not None}
        stream: Any = container.add_stream(codec, rate=rate, options=options | chosen)
        stream.height, stream.width = first.shape[:2]
        stream.pix_fmt = _pixel_format(codec, *first.shape[:2])
        if stream.pix_fmt.startswith("yuv"):
            # The BT.601 matrix, tagged: readers that ignore tags assume it, those that follow them find it.
            stream.colorspace, stream.color_range = SMPTE170M, ColorRange.MPEG
            stream.color_primaries, stream.color_trc = ColorPrimaries.BT709, ColorTrc.IEC61966_2_1
        stream.codec_context.flags |= Flags.bitexact
        stream.codec_context.thread_count = 1  # the encoders' bytes depend on the number of threads
        convert = VideoReformatter()
        for i, pixels in enumerate(chain([first], frames)):
            frame = _coded(pixels, stream.pix_fmt, convert)
            frame.pts, frame.time_base, frame.duration = i, 1 / rate, 1
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def _pixel_format(codec: str, height: int, width: int) -> str:
    if codec == "libx264":  # takes only even sizes in 4:2:0
        return "yuv444p" if height % 2 or width % 2 else "yuv420p"
    return {"ffv1": "bgr0", "libvpx-vp9": "yuv420p", "gif": "pal8"}[codec]


def _coded(pixels: np.ndarray, pixel_format: str, convert: VideoReformatter) -> av.VideoFrame:
    if pixel_format == "pal8":
        indexed: Any = _palette(pixels)
        return av.VideoFrame.from_ndarray(indexed, format="pal8")
    frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
    if pixel_format == "bgr0":
        return convert.reformat(frame, format="bgr0", threads=1)
    return convert.reformat(
        frame,
        format=pixel_format,
        dst_colorspace=Colorspace.ITU601,
        dst_color_range=ColorRange.MPEG,
        interpolation=EXACT,
        threads=1,
    )


def _palette(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return indices (H, W) and an ARGB palette (256, 4) of a frame; up to 256 colours are kept exactly."""
    image = Image.fromarray(pixels).quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    colours = np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3)
    palette = np.full((256, 4), 255, np.uint8)
    palette[: len(colours), 1:] = colours
    return np.array(image), palette


# Folders of frames


def _images(folder: Path) -> list[Path]:
    """Return the images directly in a folder in natural order: frame2 before frame10."""
    images = [path for path in _visible(folder) if path.suffix.lower() in IMAGES and path.is_file()]
    if not images:
        raise VbenchError(f"{folder}: holds no frames; expected {', '.join(IMAGES)}")
    for one, other in pairwise(sorted(images, key=lambda path: path.stem)):
        if one.stem == other.stem:
            raise VbenchError(f"{one} and {other.name}: are both frame {one.stem}; keep one of them")
    return images


def check_numbers(clip: Path) -> None:
    """Refuse a folder of evenly numbered frames with a gap, after which each would stand for another moment.

    Names that are times are uneven, and other names say nothing.
    """
    if not clip.is_dir():
        return
    images = _images(clip)
    names = [re.split(r"(\d+)", path.stem) for path in images]
    if len({tuple(name[::2]) for name in names}) > 1:
        return
    varying = [
        numbers for numbers in zip(*(map(int, name[1::2]) for name in names), strict=True) if len({*numbers}) > 1
    ]
    if len(varying) != 1:
        return
    steps = [after - before for before, after in pairwise(varying[0])]
    at, step = steps.index(max(steps)), min(steps)
    if step == 0:
        one, other = images[steps.index(0)], images[steps.index(0) + 1]
        raise VbenchError(f"{one} and {other.name}: have one number; keep one of them")
    if step < max(steps) and not any(each % step for each in steps):
        raise VbenchError(
            f"{images[at]}: the next frame is {images[at + 1].name}; add what is missing, or number all in a row"
        )


def _image(path: Path) -> np.ndarray:
    return image(path, path)


def image(source: Path | BinaryIO, name: Path | str) -> np.ndarray:
    """Read one image as RGB (H, W, 3): upright by its EXIF tag, over white, the upper 8 of 16 bits."""
    try:
        with Image.open(source, formats=["PNG", "JPEG"]) as stored:
            upright = ImageOps.exif_transpose(stored)
            if upright.mode.startswith("I"):
                upright = Image.fromarray((np.asarray(upright) >> 8).astype(np.uint8))
            if upright.has_transparency_data:
                upright = Image.alpha_composite(Image.new("RGBA", upright.size, "white"), upright.convert("RGBA"))
            return np.array(upright.convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        why = "it begins as neither does" if isinstance(error, UnidentifiedImageError) else error
        raise VbenchError(f"{name}: is not a whole PNG or JPEG image ({why}); replace it") from error


def _visible(folder: Path) -> list[Path]:
    return sorted((path for path in folder.iterdir() if not path.name.startswith(".")), key=_natural)


def _natural(path: Path) -> tuple[list[str | int], str]:
    parts = re.split(r"(\d+)", path.name)
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], path.name


def _clips_below(folder: Path) -> list[Path]:
    """Return the clips at any depth in natural order, or the folder itself where it holds images."""
    clips, image = [], None
    for path in _visible(folder):
        if path.is_dir():
            if not (path.is_symlink() and folder.resolve().is_relative_to(path.resolve())):  # a link that leads back up
                clips += _clips_below(path)
        elif path.suffix.lower() in VIDEOS:
            clips.append(path)
        elif path.suffix.lower() in IMAGES:
            image = path
    if image and clips:
        raise VbenchError(
            f"{image}: lies beside the clip {clips[0]}; a folder holds the frames of one clip or other clips"
        )
    return [folder] if image else clips


def _name(path: Path) -> str:
    return _nfc(path.name if path.is_dir() else path.stem)


def _nfc(name: str) -> str:
    """Compose accents: macOS stores them apart, and an id is the same on every machine."""
    return unicodedata.normalize("NFC", name)


# Arrays


def _only_array(path: Path) -> Any:
    """Open the one array of a file, never unpickling."""
    suffix = path.suffix.lower()
    try:
        if suffix == ".npy":
            return np.load(path, mmap_mode="r", allow_pickle=False)
        if suffix in HDF5:
            file = h5py.File(path)
            names: list[str] = []
            file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
            return hdf5_checked(hdf5_item(file, _only_name(path, names)))
        return next(iter(files.read_npz(path, lambda names: [_only_name(path, names)]).values()))
    except files.DAMAGED as error:
        raise VbenchError(f"{path}: is not a whole {suffix} file of numbers ({error}); save it again") from error


def hdf5_item(group: h5py.Group, name: str, kind: type = h5py.Dataset) -> Any:
    """Return what lies in this very file under a name; HDF5 can point to other files on the machine."""
    link = group.get(name, getlink=True)
    item = group[name] if isinstance(link, h5py.HardLink) else link
    place = f"{group.file.filename}: {name} in {group.name}"
    if isinstance(item, h5py.SoftLink | h5py.ExternalLink) or (
        isinstance(item, h5py.Dataset) and (item.is_virtual or item.external)
    ):
        raise VbenchError(f"{place} points elsewhere, perhaps to another file; expected the data itself")
    if not isinstance(item, kind):
        raise VbenchError(f"{place} is {'missing' if item is None else 'of another kind'}, expected a {kind.__name__}")
    return item


def hdf5_checked(data: h5py.Dataset) -> h5py.Dataset:
    """Return a dataset whose entries are there: HDF5 makes up those that were never written."""
    if not files.can_hold(data.id.get_storage_size(), data.nbytes):
        place = f"{data.file.filename}: {data.name}"
        raise VbenchError(f"{place} claims {data.shape} entries, and there are fewer; write the file again")
    return data


def _only_name(path: Path, names: Sequence[str]) -> str:
    if len(names) != 1:
        listed = ", ".join(names[:8]) + (" and more" if len(names) > 8 else "")
        mend = "make a store of it, vbench-ctl prepare FILE --as NAME" if "_idx" in listed else "save that alone"
        raise VbenchError(f"{path}: holds {len(names)} arrays ({listed}), expected one with the clips; {mend}")
    return names[0]


def _layout_hint(shape: tuple[int, ...]) -> str:
    """Name the axis that looks like the colours, if one does."""
    axes = [axis for axis in range(len(shape) - 4, len(shape) - 1) if axis >= 0 and shape[axis] == 3]
    if len(shape) not in (4, 5) or not axes:
        return " or (T, H, W, 3)"
    return f"; move the colours to the end with np.moveaxis(x, {axes[-1]}, -1)"


def _one_clip(path: Path) -> Any:
    clips = arrays(path)
    if len(clips) != 1:
        raise VbenchError(
            f"{path}: holds {len(clips)} clips where one was expected; give it where many clips are taken"
        )
    return clips[0]


def _write_array(path: Path, clip: np.ndarray) -> None:
    if path.suffix == ".npy":
        np.save(path, clip)
    elif path.suffix == ".npz":
        np.savez_compressed(path, frames=clip)
    else:
        with files.new_hdf5(path) as file:
            file.create_dataset("frames", data=clip, chunks=(1, *clip.shape[1:]), compression="gzip")


# Checks and places


def _kind(path: Path) -> str:
    if path.is_dir():
        return "folder"
    if not path.is_file():
        raise VbenchError(f"{path}: no such file or folder; expected a video, an array or a folder of frames")
    return "array" if path.suffix.lower() in ARRAYS else "video"


def _rate(fps: float) -> Fraction:
    """Return a rate as the fraction it stands for: 29.97003 is 30000/1001."""
    if not 0.001 <= fps <= 1000:  # False for NaN; above, Matroska's milliseconds run out
        raise UsageError(f"fps {fps}: expected a rate from 0.001 to 1000 frames a second")
    return Fraction(fps).limit_denominator(1001)


def _same_size(
    path: Path, found: Iterator[np.ndarray], start: int, step: int, size: tuple[int, ...] | None = None
) -> Iterator[np.ndarray]:
    for i, frame in enumerate(found):
        size = size or frame.shape
        if frame.shape != size:
            raise VbenchError(
                f"{path}: frame {start + i * step} is {frame.shape[1]}x{frame.shape[0]}, the ones before it are "
                f"{size[1]}x{size[0]}; a clip has one size, so resize or split it"
            )
        yield frame


def _limited(path: Path, found: Iterator[np.ndarray], max_bytes: int) -> Iterator[np.ndarray]:
    for number, frame in enumerate(found, 1):
        _refuse_above(max_bytes, path, number, frame.nbytes)
        yield frame


def _refuse_above(max_bytes: int, path: Path, number: int, frame_bytes: int) -> None:
    if number * frame_bytes > max_bytes:
        raise VbenchError(
            f"{path}: {number} frames of {frame_bytes:,} bytes pass the limit of {max_bytes:,} bytes; "
            "read a part with start, stop and step, or cut the video"
        )


def _checked(path: Path, given: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Yield the frames to write, each uint8 RGB and of the first one's size; none at all is an error."""
    size = None
    for i, frame in enumerate(map(np.ascontiguousarray, given)):
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or 0 in frame.shape:
            raise VbenchError(f"{path}: frame {i} to write is {frame.dtype} {frame.shape}, expected uint8 (H, W, 3)")
        size = size or frame.shape
        if frame.shape != size:
            raise VbenchError(
                f"{path}: frame {i} to write is {frame.shape}, those before are {size}; resize them alike"
            )
        yield frame
    if size is None:
        raise VbenchError(f"{path}: no frames to write, expected at least one")


@contextmanager
def _placed(path: Path) -> Iterator[Path]:
    """Give a temporary place beside `path`, moved there on success and removed on failure."""
    with files.atomic(path) as temporary:
        _refuse_to_replace(path)
        try:
            yield temporary
        except av.error.FFmpegError as error:
            raise OSError(error.errno, error.strerror) from error


def _refuse_to_replace(path: Path) -> None:
    """Stop before overwriting what `write` did not write: a folder with other files in it, or a file in its place."""
    if path.suffix and path.is_dir():
        raise VbenchError(f"{path}: is a folder, expected a place for a file; remove it or choose another name")
    if not path.suffix and path.is_file():
        raise VbenchError(
            f"{path}: is a file, expected a place for a folder of frames; remove it or choose another name"
        )
    foreign = [p.name for p in path.iterdir() if not re.fullmatch(r"\d{5,}\.png", p.name)] if path.is_dir() else []
    if foreign:
        raise VbenchError(f"{path}: holds {foreign[0]}, which is no frame written here; choose an empty or new folder")
