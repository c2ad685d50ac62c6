"""CPU seconds of CCVS at the paper's sizes: correlation, fusion blocks and sampling, beside the plain ways of doing them.

OMP_NUM_THREADS=1 python benchmarks/ccvs.py

Plain: the correlation as a loop over its 49 shifts; fusion blocks with it, where each context has a copy of the
decoder's features and each head is a convolution; sampling that runs the whole sequence again for every token.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: CPU seconds of waiting threads would count as work

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from statistics import median
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor

from vbench_ctl.baselines.ccvs import fusion, layers
from vbench_ctl.baselines.ccvs.fusion import Fusion, Heads, Matching, Motion, Subpixel
from vbench_ctl.baselines.ccvs.layouts import Layout
from vbench_ctl.baselines.ccvs.sampling import Choice, Choices, complete
from vbench_ctl.baselines.ccvs.settings import Settings
from vbench_ctl.baselines.ccvs.transformer import Tokens, Transformer

RUNS = 5
CONTEXTS = 4  # of a training step
LEVELS = ((384, 8), (384, 16), (192, 32), (192, 64), (96, 128), (96, 256))  # features and side, BAIR at 256x256
TOKENS, FRAMES = 64, 16
PROBES = (64, 320, 640, 1023)  # tokens already there when the plain sampler is timed


def shifted(a: Tensor, b: Tensor, stride: int = 1) -> Tensor:
    """The correlation as a loop over its shifts."""
    height, width = a.shape[2:]
    wide = F.pad(b, [layers.REACH * stride] * 4)
    a = a[..., ::stride, ::stride]
    places = [(y * stride, x * stride) for y in range(7) for x in range(7)]
    costs = [(a * wide[..., y : y + height : stride, x : x + width : stride]).mean(1) for y, x in places]
    return torch.stack(costs, 1)


def corrected(self: Heads, hidden: Tensor, motion: Motion) -> Motion:
    return Motion(motion.flow + self.flow_head(hidden), motion.occlusion + self.occ_head(hidden))


def refined(self: Subpixel, decoded: Tensor, contexts: Tensor, motion: Motion) -> Motion:
    mine = fusion.repeated(decoded, contexts)
    hidden = self.convs(torch.cat([mine, layers.warped(contexts, self.scale * motion.flow), *motion], 1))
    return self.corrected(hidden, motion)


def matched(self: Matching, decoded: Tensor, contexts: Tensor, coarser: Motion | None) -> Motion:
    if coarser is None:
        motion = Motion(*torch.zeros(len(contexts), 3, *contexts.shape[2:]).split([2, 1], 1))
    else:
        motion = Motion(self.upsample_flow(coarser.flow), self.upsample_occ(coarser.occlusion))
        contexts = layers.warped(contexts, self.scale * motion.flow)
    mine = self.proj(fusion.repeated(decoded, contexts))
    costs = F.leaky_relu(shifted(mine, self.proj(contexts), self.stride), layers.SLOPE)
    if self.stride > 1:
        costs = self.upsample_corr(costs)
    return self.corrected(self.convs(costs), motion)


def fused(self: Fusion, decoded: Tensor, contexts: Tensor, coarser: Motion | None) -> tuple[Tensor, Motion]:
    flat = contexts.flatten(0, 1)
    motion = self.subpixel(decoded, flat, self.matching(decoded, flat, coarser))
    moved = layers.warped(flat, self.scale * motion.flow).unflatten(0, contexts.shape[:2])
    occlusion = motion.occlusion.unflatten(0, contexts.shape[:2])
    weights = 1 - occlusion.sigmoid() + fusion.FLOOR
    moved, occlusion = ((weights * each).sum(1) / weights.sum(1) for each in (moved, occlusion))
    new = occlusion.sigmoid()
    return new * decoded + (1 - new) * moved, motion


@contextmanager
def plainly() -> Iterator[None]:
    with (
        patch.object(Heads, "corrected", corrected),
        patch.object(Subpixel, "forward", refined),
        patch.object(Matching, "forward", matched),
        patch.object(Fusion, "forward", fused),
    ):
        yield


def seconds(work: Callable[[], Tensor]) -> tuple[float, Tensor]:
    """Return the CPU seconds of one call and what it returns."""
    start = time.process_time()
    result = work()
    return time.process_time() - start, result


def compared(label: str, ours: Callable[[], Tensor], plain: Callable[[], Tensor]) -> tuple[float, float]:
    """Print the medians of some runs of both, in turns, and how far the results are apart."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(RUNS):
        results = []
        for spent, work in zip(times, (ours, plain), strict=True):
            took, result = seconds(work)
            spent.append(took)
            results.append(result)
    fast, slow = (median(each) for each in times)
    apart = float((results[0] - results[1]).abs().max() / results[1].abs().max())
    print(f"{label:44} {fast:8.3f} s  plain {slow:8.3f} s  {slow / fast:5.1f} x  apart {apart:.0e}", flush=True)
    return fast, slow


def strided(a: Tensor, b: Tensor, stride: int) -> Tensor:
    return layers.correlation(a[..., ::stride, ::stride], b[..., ::stride, ::stride])


@torch.no_grad()
def correlations() -> None:
    """Compare the correlations of all levels."""
    total = [0.0, 0.0]
    for level, (features, side) in enumerate(LEVELS):
        stride = 1 if level <= 2 else 2
        a, b = torch.randn(2, 1, max(fusion.PROJECTED, features // 4), side, side)
        label = f"correlation {a.shape[1]}x{side}x{side}, stride {stride}"
        spent = compared(label, partial(strided, a, b, stride), partial(shifted, a, b, stride))
        total = [sum(pair) for pair in zip(total, spent, strict=True)]
    print(f"all correlations of a frame: {total[1] / total[0]:.1f} x\n")


@torch.no_grad()
def blocks() -> None:
    """Compare the fusion blocks of all levels, with as many contexts as in training."""
    total = [0.0, 0.0]
    for level, (features, side) in enumerate(LEVELS):
        block = Fusion(features, level, Settings.flow_widths)
        decoded, contexts = torch.randn(1, features, side, side), torch.randn(1, CONTEXTS, features, side, side)
        half = side // 2
        coarser = Motion(torch.randn(CONTEXTS, 2, half, half), torch.randn(CONTEXTS, 1, half, half)) if level else None

        def ours(block: Fusion = block, given: tuple = (decoded, contexts, coarser)) -> Tensor:
            return block(*given)[0]

        def plain(ours: Callable[[], Tensor] = ours) -> Tensor:
            with plainly():
                return ours()

        spent = compared(f"fusion of {CONTEXTS} contexts {features}x{side}x{side}", ours, plain)
        total = [sum(pair) for pair in zip(total, spent, strict=True)]
    print(f"all fusion blocks of a frame: {total[1] / total[0]:.1f} x\n")


def last(model: Transformer, tokens: Tokens) -> Tensor:
    """Return the logits of the next token, all positions computed."""
    return model(tokens)[:, -1]


@torch.no_grad()
def sampling() -> None:
    """Compare drawing 15 frames of 64 tokens after one, by the paper's transformer."""
    torch.manual_seed(0)
    model = Transformer(Layout(TOKENS, FRAMES, TOKENS * FRAMES), 1024, 0, 24, 16, 1024, Settings.first_weights).eval()
    first = Tokens(torch.randint(1024, (1, TOKENS)))
    total, choices = TOKENS * FRAMES, Choices(Choice(greedy=True))
    spent, made = seconds(lambda: complete(model, first, total, choices, lambda: torch.rand(1)).frames)
    # All 960 plain runs would take hours: some lengths are timed, those between are drawn as straight lines.
    probes = []
    for length in PROBES:
        took, logits = seconds(partial(last, model, Tokens(made[:, :length])))
        assert int(logits.argmax()) == int(made[0, length]), "the plain sampler draws another token"
        probes.append(took)
    plain = sum((b - a) * (x + y) / 2 for (a, b), (x, y) in zip(pairwise(PROBES), pairwise(probes), strict=True))
    print(f"{total - TOKENS} tokens of a transformer of 304 million weights: {spent:.0f} s")
    print(f"the same, all positions for every token: {plain:.0f} s by {len(PROBES)} lengths, {plain / spent:.0f} x")


if __name__ == "__main__":
    correlations()
    blocks()
    sampling()
