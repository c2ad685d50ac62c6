"""Diversity of several continuations of one start: the mean squared difference over pairs of samples.

The variants differ in what is compared: features of whole clips, maps of VGG16, pixels; "lpips" is the mean LPIPS of
pairs. CompVis/image2video-synthesis-using-cINNs:metrics/Diversity. Noise raises it too: read it beside a quality score.
With a network that the user trained and added it is "diversity-dti3d-<sha8>" and the like, after the hash of its weights.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from vbench_ctl import networks
from vbench_ctl.errors import VbenchError
from vbench_ctl.metrics import check_frames, fvd
from vbench_ctl.networks import Features
from vbench_ctl.statistics.diversity import diversity
from vbench_ctl.statistics.interventions import LPIPS

TITLE = "diversity"
DIRECTION = "higher"
UNIT = ""
NEEDS = "samples"
VERSION = 1
VARIANTS: dict[str, dict[str, Any]] = {
    "": {"of": "i3d"},
    "dti3d": {"of": "dti3d", "scale": 1000.0},  # printed times 1000 in the release
    "dti3d-32": {"of": "dti3d-32", "scale": 1000.0},  # of clips of 32 frames; the other looks at the first 16
    "vgg": {"of": "vgg"},
    "lpips": {"of": "lpips"},
    "pixel": {"of": "pixel"},
}
NETWORKS = {
    "i3d": fvd.features(),
    "dti3d": Features("dti3d", "dti3d-16", "clip", (("frames", 16),), (("loop", False),)),
    "dti3d-32": Features("dti3d", "dti3d-32", "clip", (("frames", 32),)),
    "vgg": Features("vgg", "vgg16", "frame"),
    "lpips": LPIPS,
}
WORDS = {"dti3d": ",unlooped", "vgg": ",relu1_2-relu5_3,224", "lpips": ",v0.1", "pixel": ",rgb,range1,exact"}


def features(*, of: str = "i3d", scale: float = 1.0) -> Features | None:
    """Return the network whose outputs are compared; pixels need none."""
    return NETWORKS.get(of)


def window(*, of: str = "i3d", scale: float = 1.0) -> tuple[int, str] | None:
    """Return how many frames of a longer clip the network sees, and which, unless it sees all."""
    return (16, "first") if of == "dti3d" else None


def values(
    samples: Sequence[np.ndarray], *, of: str = "i3d", scale: float = 1.0, network: Features | None = None
) -> np.ndarray:
    """Return the diversity, float64 (1,) or of each frame (T,), of K samples of one start, uint8 (T, H, W, 3) each.

    `network` stands in for that of the variant, with weights of the user's own.
    """
    for sample in samples:
        check_frames(sample, "generated")
    if len(samples) < 2:
        raise VbenchError(
            f"diversity compares the samples of one start and there is {len(samples)}; "
            "score with a protocol that asks for several samples"
        )
    if len({sample.shape for sample in samples}) > 1:
        raise VbenchError("the samples of one start differ in length or size; cut or resize them alike")
    frames = np.stack(samples, axis=1)  # (T, K, H, W, 3)
    if of == "pixel":
        return scale * _of_pixels(frames)
    network = network or NETWORKS[of]
    if network.per == "clip":
        return scale * diversity([networks.of(network, samples)])
    # The maps of a frame's samples (25 MB each with VGG16) are held together, and dropped before the next frame's.
    maps = networks.extractor(network).maps(frames.reshape(-1, *frames.shape[2:]), batch=len(samples))
    return scale * np.array([_of_maps(one) if of == "vgg" else _lpips(one, network) for one in maps])


def signature(*, of: str = "i3d", scale: float = 1.0) -> str:
    """Name what the number depends on besides network and clips."""
    return f"{of},pairs" + WORDS.get(of, "") + (f",x{scale:g}" if scale != 1 else "")


def _of_pixels(frames: np.ndarray) -> np.ndarray:
    """Return the mean squared difference (T,) on the [0, 1] scale, from exact integers: the sum over pairs in one go."""
    count, size = frames.shape[1], frames[0, 0].size
    sums = []
    for one in frames.reshape(len(frames), count, size).astype(np.int64):
        sums.append(2 * count * (one**2).sum() - 2 * (one.sum(axis=0) ** 2).sum())
    return np.array(sums) / (count * (count - 1) * size * 255**2)


def _of_maps(maps: list[Any]) -> float:
    """Return the mean over layers of maps (K, C, H, W): over pairs the mean squared difference is twice the variance."""
    return float(np.mean([2 * float(one.var(0).double().mean()) for one in maps]))


def _lpips(maps: list[Any], network: Features) -> float:
    """Return the mean LPIPS of the pairs of K samples, of the normalised maps (K, C, H, W) of its layers."""
    compare = networks.extractor(network).compare
    rows = [
        compare([one[first : first + 1] for one in maps], [one[first + 1 :] for one in maps]).double()
        for first in range(len(maps[0]) - 1)
    ]
    return float(np.mean([float(distance) for row in rows for distance in row]))
