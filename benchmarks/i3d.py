"""Clips per CPU second of FVD's network, from uint8 frames to logits, step by step, and next to cd-fvd.

OMP_NUM_THREADS=1 python benchmarks/i3d.py [FOLDER]
OMP_NUM_THREADS=1 python benchmarks/i3d.py engines

FOLDER holds the source of songweige/content-debiased-fvd, the package cd-fvd; without it that line is left out. "engines"
compares ways of running the same network: TorchScript frozen, that with oneDNN's graphs, OpenVINO where it is installed, and
torch.compile; minutes.
Needs the weights: vbench-ctl weights fetch i3d-k400.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy: CPU seconds of waiting BLAS threads would count as work

import contextlib
import copy
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import module_from_spec, spec_from_file_location
from itertools import chain
from pathlib import Path
from statistics import median

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from vbench_ctl import features as shared
from vbench_ctl import weights
from vbench_ctl.features import i3d

CLIPS, FRAMES, SIZE, RUNS = 4, 16, 128, 3
EPS = 1e-5  # of the batch norms in cd-fvd's code; TensorFlow's network has 1e-3
Score = Callable[[np.ndarray], np.ndarray]


def clips() -> np.ndarray:
    """Make smooth random clips, uint8 (N, T, H, W, 3)."""
    coarse = np.random.default_rng(0).integers(0, 256, (CLIPS, FRAMES, SIZE // 8, SIZE // 8, 3), np.uint8)
    return coarse.repeat(8, axis=2).repeat(8, axis=3)


def by_interpolation(batch: Tensor) -> Tensor:
    """Prepare clips the usual way: floats, frames as pictures, interpolate, channels first."""
    frames = batch.float().flatten(0, 1).permute(0, 3, 1, 2).contiguous()
    resized = F.interpolate(frames, i3d.SIZE, mode="bilinear", align_corners=False)
    return 2 * resized.unflatten(0, batch.shape[:2]).transpose(1, 2).contiguous() / 255 - 1


def plainly(network: Callable[[Tensor], Tensor], batch: int) -> Score:
    """Return the usual loop around a network."""

    @torch.no_grad()
    def score(videos: np.ndarray) -> np.ndarray:
        parts = torch.from_numpy(videos).split(batch)
        return torch.cat([network(by_interpolation(part)) for part in parts]).numpy()

    return score


def cd_fvd(folder: Path, state: dict[str, Tensor]) -> Score:
    """Return cd-fvd's network with our weights, in batches of up to 16 as it has them."""
    spec = spec_from_file_location("cdfvd_i3d", next(folder.rglob("cdfvd/third_party/i3d/pytorch_i3d.py")))
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    network = module.InceptionI3d(i3d.CLASSES, in_channels=3).eval()
    network.load_state_dict(state, strict=False)
    return plainly(network, 16)


def directly(network: torch.nn.Module) -> torch.nn.Module:
    """Return our network with PyTorch's own convolutions."""
    network = copy.deepcopy(network)
    for module in network.modules():
        vars(module).pop("forward", None)
    return network


def ways(folder: Path | None) -> dict[str, Score]:
    """Return every way from uint8 clips to logits, the slowest first."""
    tensors = weights.read(weights.path(i3d.WEIGHTS))
    state = i3d.convert(tensors)
    unfolded, folded = i3d.InceptionI3D(eps=EPS).eval(), i3d.InceptionI3D(eps=EPS).eval()
    for network in (unfolded, folded):
        network.load_state_dict(state, strict=False)
    folded.fold()
    ours = i3d.load(tensors, eps=EPS)
    plain = i3d.Extractor(directly(ours.network), "cpu")
    preset = i3d.PRESETS["cdfvd-i3d"]
    first = {"cd-fvd": cd_fvd(folder, state)} if folder else {}
    return first | {
        "our layers, as usual": plainly(unfolded, 16),
        "batch norms folded": plainly(folded, 16),
        "channels last": plainly(lambda x: plain.network(x.contiguous(memory_format=torch.channels_last_3d)), 16),
        "direct convolutions": lambda videos: plain.features(videos, **preset),
        "vbench-ctl": lambda videos: ours.features(videos, **preset),
    }


def cpu_seconds(run: Callable[[], object]) -> float:
    """Return the CPU seconds that a call takes."""
    start = time.process_time()
    run()
    return time.process_time() - start


def engines(network: torch.nn.Module, x: Tensor) -> Iterator[tuple[str, Callable[[Tensor], Tensor]]]:
    """Yield ways of running a network, each ready for input like x when it is asked for."""
    frozen = torch.jit.freeze(torch.jit.trace(network, x))
    yield "frozen", frozen
    yield "frozen, optimised", torch.jit.optimize_for_inference(frozen)
    torch.jit.enable_onednn_fusion(True)
    try:
        graphs = torch.jit.freeze(torch.jit.trace(network, x))
        for _ in range(2):  # it looks at the shapes once and makes the graphs then
            graphs(x)
        yield "frozen, oneDNN graphs", graphs
    finally:
        torch.jit.enable_onednn_fusion(False)
    with contextlib.suppress(ImportError):
        yield "openvino", openvino(network, x)
    compiled = torch.compile(network)
    compiled(x)
    yield "torch.compile", compiled


def openvino(network: torch.nn.Module, x: Tensor) -> Callable[[Tensor], Tensor]:
    """Return our network as OpenVINO runs it, in float32 on one thread; it is no dependency: `pip install openvino`."""
    import openvino as ov

    model = ov.convert_model(torch.export.export(network, (x,)))
    settings = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    compiled = ov.Core().compile_model(model, "CPU", settings)
    return lambda x: torch.from_numpy(next(iter(compiled(x.contiguous().numpy()).values())))


@torch.inference_mode()
def compare_engines() -> None:
    """Print one line per way: clips per CPU second beside direct convolutions, seconds of getting ready, difference."""
    warnings.simplefilter("ignore")  # TorchScript is deprecated
    ours = i3d.load(weights.path(i3d.WEIGHTS)).network
    network = directly(ours)
    x = shared.prepared(torch.from_numpy(clips()), i3d.SIZE, **i3d.PRESETS["tf"])
    logits, began = network(x), time.process_time()
    print(f"I3D of {CLIPS} clips {FRAMES}x{SIZE}x{SIZE}x3 that are resized already, torch {torch.__version__}")
    for name, engine in chain([("direct convolutions", network), ("vbench-ctl", ours)], engines(network, x)):
        ready = time.process_time() - began
        pairs = [(cpu_seconds(lambda: network(x)), cpu_seconds(partial(engine, x))) for _ in range(RUNS)]
        plain, theirs = (median(runs) for runs in zip(*pairs, strict=True))
        difference = float((engine(x) - logits).abs().max() / logits.abs().max())
        print(
            f"{name:22} {CLIPS / theirs:6.3f} clips/s  {plain / theirs:5.2f} x direct  ready after {ready:4.0f} s  "
            f"difference {difference:.1e}",
            flush=True,
        )
        began = time.process_time()


def peak() -> float:
    """Return the most float32 operations per CPU second that a large matrix product or convolution reaches."""
    a = torch.randn(2048, 2048)
    x = torch.randn(2, 64, 8, 56, 56).contiguous(memory_format=torch.channels_last_3d)
    kernel = torch.randn(192, 64, 3, 3, 3).contiguous(memory_format=torch.channels_last_3d)
    product = 2 * 2048**3 / min(cpu_seconds(lambda: a @ a) for _ in range(RUNS))
    operations = 2 * x[:, 0].numel() * kernel.numel()
    return max(product, operations / min(cpu_seconds(lambda: F.conv3d(x, kernel, padding=1)) for _ in range(RUNS)))


def main() -> None:
    """Print one line per way: clips per CPU second (median of interleaved runs), share of the peak, difference."""
    torch.set_num_threads(1)
    if sys.argv[1:] == ["engines"]:
        compare_engines()
        return
    videos = clips()
    everything = ways(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
    with FlopCounterMode(display=False) as counter:
        everything["direct convolutions"](videos[:1])
    each, most = counter.get_total_flops(), peak()
    seconds: dict[str, list[float]] = {name: [] for name in everything}
    logits = {name: score(videos) for name, score in everything.items()}
    for _ in range(RUNS):
        for name, score in everything.items():
            seconds[name].append(cpu_seconds(partial(score, videos)))
    print(
        f"I3D of {CLIPS} clips {FRAMES}x{SIZE}x{SIZE}x3, {each / 1e9:.1f} GFLOP each directly, peak {most / 1e9:.0f} GFLOP/s"
    )
    for name, runs in seconds.items():
        rate = CLIPS / median(runs)
        largest = np.abs(logits["vbench-ctl"]).max()
        difference = np.abs(logits[name] - logits["vbench-ctl"]).max() / largest
        print(f"{name:22} {rate:6.3f} clips/s  {rate * each / most:5.0%} of the peak  difference {difference:.1e}")


if __name__ == "__main__":
    main()
