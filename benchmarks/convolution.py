"""Networks that score, with our convolutions and with PyTorch's own in turns, as wholes and by kinds of layer.

OMP_NUM_THREADS=1 python benchmarks/convolution.py [fid] [fvd] [lpips-vgg]

Frames of 128x128, from uint8 to features; CPU milliseconds a frame (fid, lpips-vgg) or a clip of 16 frames (fvd).
Needs the weights: vbench-ctl weights fetch inception-2015 i3d-k400 lpips-vgg.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy: CPU seconds of waiting BLAS threads would count as work

import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import prod
from statistics import median, quantiles
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vbench_ctl import networks, tokens

CLIPS, FRAMES, SIZE, ROUNDS = 4, 16, 128, 8
METRICS = ("fid", "fvd", "lpips-vgg")
Run = Callable[[], Any]


def clips() -> np.ndarray:
    """Make smooth random clips, uint8 (N, T, H, W, 3)."""
    coarse = np.random.default_rng(0).integers(0, 256, (CLIPS, FRAMES, SIZE // 8, SIZE // 8, 3), np.uint8)
    return coarse.repeat(8, axis=2).repeat(8, axis=3)


def work(metric: str) -> tuple[nn.Module, Run, int]:
    """Return the network of a metric, a run of it, and how many items that has."""
    features = tokens.metric(metric).features
    assert features
    extractor, videos = networks.extractor(features), clips()
    if metric == "fvd":
        return extractor.network, lambda: extractor.features(videos), CLIPS
    frames = videos.reshape(-1, *videos.shape[2:])[: 2 * FRAMES]
    if metric == "fid":
        return extractor.network, lambda: extractor.features(frames), len(frames)
    return extractor.network, lambda: [maps[-1] for maps in extractor.maps(frames)], len(frames)


def ours(network: nn.Module) -> dict[nn.Module, Callable[[Tensor], Tensor]]:
    """Return the convolutions that have a way of ours, and it."""
    return {module: vars(module)["forward"] for module in network.modules() if "forward" in vars(module)}


@contextmanager
def directly(network: nn.Module) -> Iterator[None]:
    """Let a network convolve as PyTorch does."""
    kept = ours(network)
    for module in kept:
        del vars(module)["forward"]
    yield
    for module, way in kept.items():
        vars(module)["forward"] = way


def milliseconds(run: Run, items: int) -> float:
    """Return the CPU time of a run, for each item."""
    start = time.process_time()
    run()
    return (time.process_time() - start) / items * 1e3


def by_layers(network: nn.Module, run: Run, items: int) -> dict[Any, tuple[float, float]]:
    """Return, for every convolution, its millions of multiplications and the milliseconds it takes, for each item."""
    spent: dict[Any, tuple[float, float]] = defaultdict(lambda: (0.0, 0.0))
    started: dict[Any, float] = {}

    def begin(module: Any, _: Any) -> None:
        started[module] = time.process_time()

    def end(module: Any, _: Any, out: Tensor) -> None:
        took = (time.process_time() - started[module]) / items * 1e3
        products = module.weight.numel() * len(out) * prod(out.shape[2:]) / items / 1e6
        spent[module] = (spent[module][0] + products, spent[module][1] + took)

    hooks = []
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d):
            hooks += [module.register_forward_pre_hook(begin), module.register_forward_hook(end)]
    run()
    for hook in hooks:
        hook.remove()
    return spent


def compare(metric: str) -> None:
    """Measure one network and print it."""
    network, run, items = work(metric)
    mine, taken = run(), []
    with directly(network):
        theirs = run()
    for _ in range(ROUNDS):
        with directly(network):
            plain = milliseconds(run, items)
        taken.append((milliseconds(run, items), plain))
    found, exact = np.concatenate([*map(np.asarray, mine)]), np.concatenate([*map(np.asarray, theirs)])
    low, middle, high = quantiles([plain / own for own, plain in taken], n=4)
    print(
        f"{metric}: {median(own for own, _ in taken):.1f} ms, PyTorch's {median(plain for _, plain in taken):.1f} ms, "
        f"{middle:.2f} x as fast (quartiles {low:.2f} and {high:.2f}), "
        f"differs by {abs(found - exact).max() / abs(exact).max():.1e} of the largest"
    )
    quicker, best = ours(network), by_layers(network, run, items)
    for _ in range(2):
        again = by_layers(network, run, items)
        best = {module: (products, min(took, again[module][1])) for module, (products, took) in best.items()}
    kinds: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for module, numbers in best.items():
        shape = "x".join(map(str, module.kernel_size)) + f", stride {max(module.stride)}"
        kinds[("ours " if module in quicker else "PyTorch's ") + shape].append(numbers)
    for kind, layers in sorted(kinds.items(), key=lambda item: -sum(took for _, took in item[1])):
        products, took = map(sum, zip(*layers, strict=True))
        print(
            f"  {kind}: {len(layers)} layers, {took:.2f} ms, {products / took:.0f} thousand million multiplications a second"
        )


def main() -> None:
    """Measure the networks of the metrics given, or all."""
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, one thread, {ROUNDS} rounds in turns", flush=True)
    for metric in sys.argv[1:] or METRICS:
        compare(metric)


if __name__ == "__main__":
    main()
