"""W-Sprites frames with masks and labels into a store at 128x96: frames per CPU-second, beside the original's 110.

OMP_NUM_THREADS=1 python benchmarks/wsprites.py
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import tempfile
import time
from pathlib import Path

from vbench_ctl import registry, shards

ORIGINAL = 110  # frames per CPU-second of Araachie/glass:data/wsprites with Python 2.7, into PNG files
SHARDS = 18  # of 60 clips of 90 frames


def main() -> None:
    """Print the rate of the first shard, which draws sprites and scenes, of the later ones, and of all."""
    wsprites = registry.load("datasets", "wsprites")
    work = wsprites.shards("test", wsprites.Options())[:SHARDS]
    spent, frames = [], []
    with tempfile.TemporaryDirectory() as folder:
        for index, item in enumerate(work):
            start = time.process_time()
            shards.write_shard(Path(folder) / f"test-{index:05d}.h5", wsprites.clips, item)
            spent.append(time.process_time() - start)
            frames.append(len(item.clips) * 90)
    later = len(work) // 2
    print("W-Sprites 128x96 with masks and labels into a store, CPU seconds with the system's")
    for name, part in (("first shard", slice(0, 1)), ("later shards", slice(later, None)), ("all", slice(None))):
        rate = sum(frames[part]) / sum(spent[part])
        print(
            f"{name:12} {sum(frames[part]):7} frames {sum(spent[part]):7.2f} s {rate:8.0f}/s {rate / ORIGINAL:6.1f} x original"
        )


if __name__ == "__main__":
    main()
