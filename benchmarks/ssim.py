"""CPU seconds of SSIM on 8 clips of 16 frames at 128x128: ours, scikit-image per frame and per colour plane, OpenCV.

OMP_NUM_THREADS=1 python benchmarks/ssim.py

OpenCV's line is the way of JunyaoHu/common_metrics_on_video_quality, which is no package; without opencv-python-headless it
is left out.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy: CPU seconds of waiting BLAS threads would count as work

import time
from collections.abc import Callable
from functools import partial
from statistics import median

import numpy as np
from skimage.metrics import structural_similarity

try:
    import cv2
except ImportError:
    cv2 = None

from vbench_ctl.metrics import ssim

CLIPS, FRAMES, SIZE, RUNS = 8, 16, 128, 5
# Wang 2004 in scikit-image's words; it cuts the same 5 pixels at each border.
WANG = partial(structural_similarity, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255)

Score = Callable[[np.ndarray, np.ndarray], np.ndarray]


def per_frame(real: np.ndarray, fake: np.ndarray) -> np.ndarray:
    """Score each frame (H, W, 3) with one call of scikit-image."""
    return np.array([WANG(x, y, channel_axis=-1) for x, y in zip(real, fake, strict=True)])


def per_plane(real: np.ndarray, fake: np.ndarray) -> np.ndarray:
    """Score each colour plane (H, W) with one call of scikit-image, on contiguous float64 copies."""
    reals, fakes = (np.ascontiguousarray(np.moveaxis(clip, -1, 1), dtype=np.float64) for clip in (real, fake))
    return np.array([[WANG(x, y) for x, y in zip(*pair, strict=True)] for pair in zip(reals, fakes, strict=True)]).mean(
        1
    )


def by_opencv(real: np.ndarray, fake: np.ndarray) -> np.ndarray:
    """Score each colour plane (H, W) from five filters with the whole 11x11 kernel, in float64 from 0 to 1."""
    edge = cv2.getGaussianKernel(11, 1.5)
    kernel = edge @ edge.T

    def local_mean(plane: np.ndarray) -> np.ndarray:
        return cv2.filter2D(plane, -1, kernel)[5:-5, 5:-5]

    def plane_score(x: np.ndarray, y: np.ndarray) -> float:
        mean_x, mean_y = local_mean(x), local_mean(y)
        var_x, var_y = local_mean(x**2) - mean_x**2, local_mean(y**2) - mean_y**2
        cov = local_mean(x * y) - mean_x * mean_y
        luminance = (2 * mean_x * mean_y + 0.01**2) / (mean_x**2 + mean_y**2 + 0.01**2)
        return float((luminance * (2 * cov + 0.03**2) / (var_x + var_y + 0.03**2)).mean())

    planes = (np.ascontiguousarray(np.moveaxis(clip / 255, -1, 1)) for clip in (real, fake))
    return np.array(
        [[plane_score(x, y) for x, y in zip(*pair, strict=True)] for pair in zip(*planes, strict=True)]
    ).mean(1)


def pairs() -> list[tuple[np.ndarray, np.ndarray]]:
    """Make smooth random clips and noisy copies, uint8 (T, H, W, 3)."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (CLIPS, FRAMES, SIZE // 8, SIZE // 8, 3))
    real = coarse.repeat(8, axis=2).repeat(8, axis=3)
    fake = (real + rng.normal(0, 20, real.shape)).clip(0, 255)
    return list(zip(real.astype(np.uint8), fake.astype(np.uint8), strict=True))


def cpu_seconds(score: Score, clips: list[tuple[np.ndarray, np.ndarray]]) -> tuple[float, np.ndarray]:
    """Score all clips and return the CPU seconds it took and the values (N, T)."""
    start = time.process_time()
    scores = np.array([score(real, fake) for real, fake in clips])
    return time.process_time() - start, scores


def main() -> None:
    """Print one line per way: CPU seconds (median of interleaved runs), how many times ours, largest difference."""
    if cv2:
        cv2.setNumThreads(1)
    clips = pairs()
    ways: dict[str, Score] = {"vbench-ctl": ssim.values, "skimage frame": per_frame, "skimage plane": per_plane}
    ways |= {"OpenCV": by_opencv} if cv2 else {}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    scores = {}
    for _ in range(RUNS):
        for name, score in ways.items():
            spent, scores[name] = cpu_seconds(score, clips)
            seconds[name].append(spent)
    ours = median(seconds["vbench-ctl"])
    print(f"SSIM of {CLIPS} clips {FRAMES}x{SIZE}x{SIZE}x3, median of {RUNS} runs")
    for name, runs in seconds.items():
        difference = np.abs(scores[name] - scores["vbench-ctl"]).max()
        print(
            f"{name:14} {median(runs):7.3f} CPU s  {median(runs) / ours:5.2f} x ours  max difference {difference:.1e}"
        )


if __name__ == "__main__":
    main()
