"""Kinetics-style videos (340x256, ten seconds, H.264 in MP4): into a store at 64x64, beside bare decoding by PyAV.

OMP_NUM_THREADS=1 python benchmarks/kinetics.py
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import av
import numpy as np

from vbench_ctl import registry, shards
from vbench_ctl.archives import Archive

# As many bytes as a clip of the published set has on average: 604 GB / 392,000 (activitynet/ActivityNet issue 28)
BYTES = 1_500_000
FRAMES, WIDTH, HEIGHT, VIDEOS, COPIES, RUNS = 250, 340, 256, 2, 4, 7

kinetics = registry.load("datasets", "kinetics600")


def main() -> None:
    """Print CPU microseconds a frame of each way, from interleaved runs over files that are in memory."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary, "val")
        folder.mkdir()
        for at in range(VIDEOS):
            record(folder / f"bench-mark-{at}_000000_000010.mp4", at)
        for at in range(VIDEOS, VIDEOS * COPIES):
            data = (folder / f"bench-mark-{at % VIDEOS}_000000_000010.mp4").read_bytes()
            (folder / f"bench-mar{at:02d}_000000_000010.mp4").write_bytes(data)
        videos = sorted(folder.iterdir())
        size = sum(path.stat().st_size for path in videos)
        ways = {"bare decoding": decode, "frames at 64x64": shrink, "store at 64x64": convert}
        spent: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(RUNS):
            for name, way in ways.items():
                spent[name].append(cpu_seconds(way, videos) / len(videos) / FRAMES * 1e6)
    print(
        f"{WIDTH}x{HEIGHT} H.264 of {size / len(videos) / 1e6:.2f} MB a clip, median of {RUNS} runs of {len(videos)} clips"
    )
    for name, runs in spent.items():
        shares = [bare / own for bare, own in zip(spent["bare decoding"], runs, strict=True)]  # of neighbours in time
        print(f"{name:16} {median(runs):6.0f} us a frame  {median(shares):4.0%} of the speed of bare decoding")


def record(path: Path, seed: int) -> None:
    """Write a video of about BYTES: a camera that sways over a scene with the spectrum of photographs, and its grain."""
    rng = np.random.default_rng(seed)
    scene = photograph(rng, HEIGHT + 200, WIDTH + 200)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.bit_rate = BYTES * 8 * 25 // FRAMES
        stream.codec_context.thread_count = 1
        for t in range(FRAMES):
            x, y = int(100 + 90 * np.sin(t / 20)), int(100 + 90 * np.sin(t / 13))
            view = scene[y : y + HEIGHT, x : x + WIDTH] + rng.integers(-4, 5, (HEIGHT, WIDTH, 3))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(view.clip(0, 255).astype(np.uint8), format="rgb24")))
        container.mux(stream.encode())


def photograph(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Draw a picture whose amplitudes fall as 1/f, as those of photographs do: int (H, W, 3) from 0 to 255."""
    rows, columns = np.fft.fftfreq(height)[:, None, None], np.fft.rfftfreq(width)[None, :, None]
    noise = np.fft.rfft2(rng.normal(size=(height, width, 3)), axes=(0, 1)) / np.hypot(rows, columns).clip(1 / width)
    picture = np.fft.irfft2(noise, s=(height, width), axes=(0, 1))
    return (120 + 55 * (picture - picture.mean()) / picture.std()).clip(0, 255).astype(int)


def decode(videos: list[Path]) -> None:
    for path in videos:
        with av.open(str(path)) as container:
            assert sum(1 for _ in container.decode(video=0)) == FRAMES


def shrink(videos: list[Path]) -> None:
    for path in videos:
        with open(path, "rb") as file:
            frames, _ = kinetics.read(file, 64)
        assert frames.shape == (FRAMES, 64, 64, 3)


def convert(videos: list[Path]) -> None:
    (work,) = kinetics.shards("val", kinetics.Options(), None, Archive((videos[0].parent.parent,)))
    with tempfile.TemporaryDirectory() as folder:
        shards.write_shard(Path(folder, "val-00000.h5"), kinetics.clips, work, fingerprint="")


def cpu_seconds(way: Callable[[list[Path]], None], videos: list[Path]) -> float:
    start = time.process_time()
    way(videos)
    return time.process_time() - start


if __name__ == "__main__":
    main()
