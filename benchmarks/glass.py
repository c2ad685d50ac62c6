"""CPU seconds of GLASS's training step at the paper's sizes on W-Sprites, beside the plain way of computing each part.

OMP_NUM_THREADS=1 python benchmarks/glass.py [compile]

Plain: a kernel for each sample in the modulated convolution, a convolution for each gate of the LSTM, skips convolved
before they are pooled, a warp for each of picture and mask, networks run on one frame after another, and frames and
weights with the channels before the pixels. "compile" compares with torch.compile in place of those.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: CPU seconds of waiting threads would count as work

import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor

from vbench_ctl.baselines.glass import blocks, losses, model, networks
from vbench_ctl.baselines.glass.blocks import ConvLSTM, Memory, Residual
from vbench_ctl.baselines.glass.perceptual import by_maps
from vbench_ctl.baselines.glass.settings import Settings
from vbench_ctl.baselines.glass.system import System
from vbench_ctl.features.vgg import VGG
from vbench_ctl.frames import normalised

RUNS = 3
CLIPS, HEIGHT, WIDTH = 12, 96, 128  # of a step of the paper; the whole step is measured on 2 clips of 3 frames
WARPED = model.shifted


# The plain way of each part


def own_kernels(x: Tensor, weight: Tensor, scales: Tensor) -> Tensor:
    """Scale a kernel for each sample, and convolve each with its own."""
    weight = weight * weight.square().mean((1, 2, 3), keepdim=True).rsqrt()
    scales = scales * scales.square().mean().rsqrt()
    kernels = weight * scales[:, None, :, None, None]  # (N, o, i, 3, 3)
    kernels = kernels * (kernels.square().sum((2, 3, 4), keepdim=True) + 1e-8).rsqrt()
    y = F.conv2d(x.reshape(1, -1, *x.shape[2:]), kernels.flatten(0, 1), padding=1, groups=len(x))
    return y.view(len(x), -1, *y.shape[2:])


def gate_by_gate(self: ConvLSTM, x: Tensor, memory: Memory | None) -> Memory:
    """Convolve for each gate."""
    if memory is None:
        memory = (self.first_hidden.expand(len(x), -1, -1, -1), self.first_cell.expand(len(x), -1, -1, -1))
    hidden, cell = memory
    enter, keep, leave, value = (gate(torch.cat([x, hidden], 1)) for gate in self.gates)
    cell = keep.sigmoid() * cell + enter.sigmoid() * value.tanh()
    return leave.sigmoid() * cell.tanh(), cell


def late_pool(self: Residual, x: Tensor) -> Tensor:
    """Convolve the skip before it is pooled."""
    skip = x
    if isinstance(self.skip, torch.nn.Sequential):
        conv, norm = self.skip
        skip = norm(blocks.pooled(conv(x), self.pool))
    return F.leaky_relu(self.norm(self.conv(self.first(x))) + skip, blocks.SLOPE)


def two_warps(images: Tensor, *how: Any, **also: Any) -> Tensor:
    """Move pictures and masks one after the other."""
    return torch.cat([WARPED(part, *how, **also) for part in images.split([3, images.shape[-3] - 3], -3)], -3)


def frame_by_frame(network: Callable[..., Tensor], *videos: Tensor) -> Tensor:
    """Run a network on one frame after another; batch norms then see the frames of one time only."""
    return torch.stack([network(*(video[:, t] for video in videos)) for t in range(videos[0].shape[1])], 1)


# Measuring


def gradients(run: Callable[..., Tensor], inputs: Sequence[Tensor], weights: Sequence[Tensor] = ()) -> Tensor:
    """Return what a part makes and, behind it, the gradients of its mean square, flat."""
    inputs = [each.detach().requires_grad_() for each in inputs]
    made = run(*inputs)
    found = torch.autograd.grad(made.square().mean(), [*inputs, *weights])
    return torch.cat([made.detach().flatten(), *(each.flatten() for each in found)])


def seconds(run: Callable[[], Tensor]) -> tuple[float, Tensor]:
    """Return the CPU seconds of a call and what came out."""
    start = time.process_time()
    found = run()
    return time.process_time() - start, found


def compare(title: str, plain: Callable[[], Tensor], ours: Callable[[], Tensor], runs: int = RUNS) -> None:
    """Print the median CPU seconds of interleaved runs, their ratio, and how far the results are apart."""
    pairs = [(seconds(plain), seconds(ours)) for _ in range(runs)]
    slow, fast = (median(each[way][0] for each in pairs) for way in (0, 1))
    ratio = median(one[0] / two[0] for one, two in pairs)
    (_, wanted), (_, found) = pairs[0]
    difference = float((found - wanted).abs().max() / wanted.abs().max())
    print(f"{title:44} {slow:7.3f} s  ours {fast:7.3f} s  {ratio:5.2f}x  difference {difference:.0e}", flush=True)


def compare_part(title: str, plain: Callable[..., Tensor], ours: Callable[..., Tensor], *inputs: Tensor) -> None:
    """Compare two ways of computing a part, with the gradients of what goes in."""
    compare(title, partial(gradients, plain, inputs), partial(gradients, ours, inputs))


def step(system: System, frames: Tensor) -> Tensor:
    """Compute the gradients of a training step, and return the losses."""
    terms = system.terms(frames, given=1)
    system.total(terms).backward()
    system.zero_grad()
    return torch.stack([term.detach() for term in terms.values()])


def plain_step(system: System, frames: Tensor) -> Tensor:
    """Do the same in the plain ways, but for frames one by one, whose batch norms are others."""
    with (
        patch.object(blocks, "modulated_conv", own_kernels),
        patch.object(ConvLSTM, "forward", gate_by_gate),
        patch.object(Residual, "forward", late_pool),
        patch.object(model, "shifted", two_warps),
    ):
        return step(system, frames.contiguous())


def build() -> System:
    """Return the paper's system; the perceptual network has the right size and weights by chance."""
    torch.manual_seed(0)
    system = System(Settings(), HEIGHT, WIDTH).train()
    distance = by_maps(VGG("vgg19").requires_grad_(False).to(memory_format=torch.channels_last))
    system.distance = lambda device: distance  # type: ignore[method-assign]
    return system


def compare_parts(system: System, frames: Tensor) -> None:
    """Print a line for each part."""
    dynamics = system.local.dynamics
    lstm, block = dynamics.recurrent[1][0], dynamics.blocks[0]  # type: ignore[index]
    assert isinstance(lstm, ConvLSTM) and isinstance(block, blocks.Modulated)
    hidden, style = torch.randn(CLIPS, 32, HEIGHT // 8, WIDTH // 8), torch.randn(CLIPS, 32)
    conv = (hidden, block.weight.detach(), style)
    compare_part(f"modulated convolution, {CLIPS} clips", own_kernels, blocks.modulated_conv, *conv)
    seen = torch.randn(CLIPS, lstm.gates[0].in_channels - 64, HEIGHT // 16, WIDTH // 16)
    compare_part(f"LSTM, {CLIPS} clips", lambda x: gate_by_gate(lstm, x, None)[0], lambda x: lstm(x, None)[0], seen)
    shrinking = system.masking.layers[1]
    assert isinstance(shrinking, Residual)
    wide = torch.randn(1, 64, HEIGHT, WIDTH).to(memory_format=torch.channels_last)
    compare_part("block that halves the size, a frame", partial(late_pool, shrinking), shrinking, wide)
    layers, shifts = torch.randn(1, CLIPS, 4, HEIGHT, WIDTH), torch.randn(1, CLIPS, 2) / 10
    compare_part(f"warp, {CLIPS} frames", two_warps, WARPED, layers, shifts)
    with torch.no_grad():
        video = frames[:1]
        first, again = (partial(way, system.eval().masking, video) for way in (frame_by_frame, networks.over_time))
        compare("masks of 3 frames, together", first, again)
    system.train()
    pixels = frames[0, :1]
    weights = list(system.masking.parameters())
    compare(
        "masking and its gradients, channels last",
        lambda: gradients(system.masking, [pixels.contiguous()], weights),
        lambda: gradients(system.masking, [pixels], weights),
    )


def compare_losses(system: System, frames: Tensor) -> None:
    """Print what the losses cost: there would be little to win by fusing them."""
    layers = system.layers(frames)
    made = system.rendering(layers, 1)

    def run() -> Tensor:
        terms = losses.of_layers(frames, layers, None, 0.06) | losses.of_rendering(layers, made, None)
        total = torch.stack(list(terms.values())).sum()
        return torch.autograd.grad(total, [layers.masks, made.pictures[0]], retain_graph=True)[0]

    took, whole = (median(seconds(each)[0] for _ in range(RUNS)) for each in (run, partial(step, system, frames)))
    print(f"losses without the perceptual ones: {took:.3f} s, {100 * took / whole:.1f} % of a step", flush=True)


def main() -> None:
    """Compare the parts and a whole step, or a whole step with a compiled one."""
    torch.set_num_threads(1)
    clips = torch.randint(256, (2, 3, HEIGHT, WIDTH, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    frames = normalised(clips)  # as the clips lie in memory: the channels of a pixel side by side
    system = build()
    if sys.argv[1:] == ["compile"]:  # which takes its time
        compiled = build()
        for network in compiled.children():
            network.compile()
        print(f"torch.compile takes {seconds(partial(step, compiled, frames))[0]:.0f} s")
        compare("step, compiled (ours) and not", partial(step, system, frames), partial(step, compiled, frames))
        return
    compare_parts(system, frames)
    compare("training step, 2 clips of 3 frames", partial(plain_step, system, frames), partial(step, system, frames))
    compare_losses(system, frames)


if __name__ == "__main__":
    main()
