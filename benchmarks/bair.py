"""A file of BAIR at 64x64 into a store: MB of TFRecords per CPU-second, beside TensorFlow and a folder of PNG files.

OMP_NUM_THREADS=1 python benchmarks/bair.py
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import tempfile
import time
from collections.abc import Callable
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from PIL import Image

from vbench_ctl import registry, shards, tfrecord
from vbench_ctl.archives import Archive

RECORDS, FRAMES, RUNS = 256, 30, 7
PNG_RECORDS = 16  # of the 256: they take long enough


def main() -> None:
    """Write a file of the true format and print the rates of converting it in several ways, from interleaved runs."""
    import tensorflow as tf

    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "softmotion30_44k/test/traj_0_to_255.tfrecords"
        path.parent.mkdir(parents=True)
        write(path, tf)
        bair = registry.load("datasets", "bair")
        (work,) = bair.shards("test", bair.Options(), None, Archive((Path(temporary),)))
        ways: dict[str, tuple[int, Callable[[Path], Any]]] = {
            "checksums only": (RECORDS, lambda _: read_records(path)),
            "clips": (RECORDS, lambda _: sum(map(len, bair.clips(work)))),
            "store": (RECORDS, lambda out: shards.write_shard(out / "test-00000.h5", bair.clips, work)),
            "tensorflow + png": (PNG_RECORDS, lambda out: write_pngs(path, out, tf, Image.frombytes)),
            "as cINN does": (PNG_RECORDS, lambda out: write_pngs(path, out, tf, through_numbers)),
        }
        spent: dict[str, list[float]] = {name: [] for name in ways}
        for run in range(RUNS):
            for name, (_, way) in ways.items():
                out = Path(temporary) / f"{name} {run}"
                out.mkdir()
                start = time.process_time()
                way(out)
                spent[name].append(time.process_time() - start)
        check_equal(Path(temporary))
        record_bytes = path.stat().st_size / RECORDS
    rates = {name: ways[name][0] / median(spent[name]) for name in ways}
    print(f"BAIR 64x64, {RECORDS} records of {record_bytes / 1e3:.0f} kB, median of {RUNS} runs, per CPU-second")
    for name, rate in rates.items():
        ratios = "".join(f"{rate / rates[other]:7.1f} x {other}" for other in ("tensorflow + png", "as cINN does"))
        print(f"{name:17}{rate * record_bytes / 1e6:6.0f} MB{rate * FRAMES:7.0f} frames{ratios}")


def write(path: Path, tf: Any) -> None:
    """Write pictures that compress like a camera's: smooth, with some noise."""
    rng = np.random.default_rng(0)
    across, down = np.meshgrid(np.arange(64), np.arange(64))
    with tf.io.TFRecordWriter(str(path)) as file:
        for index in range(RECORDS):
            features = {}
            smooth = 128 + 60 * np.sin(np.stack([across, down, across + down], axis=-1) / 9 + index)
            for t in range(FRAMES):
                for view in ("main", "aux1"):
                    noisy = np.clip(smooth + rng.normal(0, 3, smooth.shape) + t, 0, 255).astype(np.uint8)
                    value = tf.train.BytesList(value=[noisy.tobytes()])
                    features[f"{t}/image_{view}/encoded"] = tf.train.Feature(bytes_list=value)
                for name, length in (("action", 4), ("endeffector_pos", 3)):
                    numbers = tf.train.FloatList(value=rng.standard_normal(length))
                    features[f"{t}/{name}"] = tf.train.Feature(float_list=numbers)
            example = tf.train.Example(features=tf.train.Features(feature=features))
            file.write(example.SerializeToString())


def read_records(path: Path) -> int:
    with open(path, "rb") as file:
        return sum(not isinstance(record, tfrecord.Damaged) for record in tfrecord.records(file))


def write_pngs(path: Path, out: Path, tf: Any, picture: Callable[[str, tuple[int, int], bytes], Image.Image]) -> None:
    """Write pictures and places as CompVis/image2video-synthesis-using-cINNs:data/bair/convert_bair.py does."""
    for k, message in enumerate(tf.data.TFRecordDataset(str(path)).take(PNG_RECORDS).as_numpy_iterator()):
        feature = tf.train.Example.FromString(message).features.feature
        (out / str(k)).mkdir()
        for t in range(FRAMES):
            pixels = feature[f"{t}/image_aux1/encoded"].bytes_list.value[0]
            picture("RGB", (64, 64), pixels).save(out / str(k) / f"{t}.png")
        places = [feature[f"{t}/endeffector_pos"].float_list.value for t in range(FRAMES)]
        np.savetxt(out / str(k) / "endeffector_positions.csv", places, delimiter=",")


def through_numbers(mode: str, size: tuple[int, int], data: bytes) -> Image.Image:
    """Take cINN's detour: every pixel becomes a tuple of Python numbers and comes back."""
    image = Image.frombytes(mode, size, data)
    listed = image.get_flattened_data() if hasattr(image, "get_flattened_data") else image.getdata()
    return Image.fromarray(np.array(listed).reshape(*size, 3).astype(np.uint8))


def check_equal(folder: Path) -> None:
    """Both ways must hold the same pixels."""
    import h5py

    with h5py.File(folder / "store 0/test-00000.h5") as shard:
        for t, way in product(range(FRAMES), ("tensorflow + png", "as cINN does")):
            png = np.asarray(Image.open(folder / f"{way} 0/7/{t}.png"))
            assert np.array_equal(shard["frames"][7 * FRAMES + t], png)


if __name__ == "__main__":
    main()
