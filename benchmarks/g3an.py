"""CPU seconds of a clip and of a training step of G3AN, beside its networks put together the usual way.

OMP_NUM_THREADS=1 python benchmarks/g3an.py [WIDTH]

The usual way: torch's spectral norm on every convolution, batch norms in evaluation mode, attention scores of all frames
at once, and gradients of all weights in every backward pass.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy: CPU seconds of waiting BLAS threads would count as work

import copy
import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vbench_ctl.baselines.g3an import networks
from vbench_ctl.baselines.g3an.settings import Settings
from vbench_ctl.baselines.g3an.spectral import Spectral
from vbench_ctl.baselines.g3an.system import System
from vbench_ctl.training import DataFacts

WIDTH, BATCH, RUNS = 64, 2, 3


class Normed(nn.Module):
    """The same convolution by torch's own layer and spectral norm."""

    def __init__(self, ours: Spectral):
        super().__init__()
        inputs, outputs = ours.weight_orig.shape[:2] if ours.how.transposed else ours.weight_orig.shape[1::-1]
        kinds = {4: nn.Conv2d, 5: nn.ConvTranspose3d if ours.how.transposed else nn.Conv3d}
        kernel: Any = ours.weight_orig.shape[2:]
        layer: Any = kinds[ours.weight_orig.dim()](inputs, outputs, kernel, ours.how.stride, ours.how.padding)
        self.layer = nn.utils.spectral_norm(layer)
        self.layer.load_state_dict(ours.state_dict())
        self.bias = self.layer.bias

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


class Dense(nn.Module):
    """The same attention by convolutions, with the scores of all sequences in memory, in the release's layout."""

    def __init__(self, ours: networks.Attention):
        super().__init__()
        self.gamma, self.along = ours.gamma, ours.along
        self.q_conv, self.k_conv, self.v_conv = ours.q_conv, ours.k_conv, ours.v_conv

    def forward(self, x: Tensor) -> Tensor:
        batch, width, frames, height, wide = x.shape
        order, length = ((0, 3, 4, 2, 1), frames) if self.along == "time" else ((0, 2, 3, 4, 1), height * wide)
        queries, keys, values = (
            conv(x).permute(order).reshape(-1, length, conv.bias.numel())
            for conv in (self.q_conv, self.k_conv, self.v_conv)
        )
        found = (queries @ keys.transpose(1, 2)).softmax(-1) @ values
        return self.gamma * found.reshape(batch, height, wide, width, frames).permute(0, 3, 4, 1, 2) + x


def usual(system: System) -> System:
    """Return a copy of a system put together the usual way."""
    system = copy.deepcopy(system)
    factorised = system.generator.fsa
    factorised.tsa, factorised.ssa = Dense(factorised.tsa), Dense(factorised.ssa)  # type: ignore[assignment]
    for module in list(system.modules()):
        for name, child in module.named_children():
            if isinstance(child, Spectral):
                setattr(module, name, Normed(child))
    return system


def sampled(generator: networks.Generator, codes: tuple[Tensor, Tensor]) -> Tensor:
    """Make clips."""
    with torch.no_grad():
        return generator(*codes)


def step(system: System, real: Tensor, codes: tuple[Tensor, ...], everything: bool) -> Tensor:
    """Do one training step, with gradients of `everything` or of what is updated, and return the losses."""
    optimizers, found = system.optimizers(), []
    for update in system.iteration(real, codes, [3, 8]):
        optimizer = optimizers[update.optimizer]
        optimizer.zero_grad()
        update.loss.backward(inputs=None if everything else optimizer.param_groups[0]["params"])
        optimizer.step()
        found.append(update.loss.detach())
    return torch.stack(found)


def measured(run: Callable[[], Tensor]) -> tuple[float, Tensor]:
    """Return the CPU seconds of a run and what came out."""
    start = time.process_time()
    found = run()
    return time.process_time() - start, found


def compared(title: str, ways: dict[str, Callable[[], tuple[float, Tensor]]]) -> None:
    """Print one line per way: CPU seconds (median of interleaved runs), how many times ours, largest difference."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    first: dict[str, Tensor] = {}
    for _ in range(RUNS):
        for name, way in ways.items():
            spent, found = way()
            seconds[name].append(spent)
            first.setdefault(name, found)
    ours = median(seconds["vbench-ctl"])
    print(title)
    for name, spents in seconds.items():
        difference = (first[name] - first["vbench-ctl"]).abs().max()
        print(
            f"{name:22} {median(spents):7.3f} CPU s  {median(spents) / ours:5.2f} x ours  max difference {difference:.1e}"
        )


def main() -> None:
    """Measure sampling and training."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    width = int(sys.argv[1]) if len(sys.argv) > 1 else WIDTH
    settings = Settings(width=width, discriminator_width=width, attention_layout="reference")
    system = System(settings, DataFacts(64, 64, length=16))
    nn.init.ones_(system.generator.fsa.tsa.gamma)
    nn.init.ones_(system.generator.fsa.ssa.gamma)
    codes = torch.randn(BATCH, settings.appearance), torch.randn(BATCH, settings.motion, 1)
    with torch.no_grad():
        for _ in range(15):  # so that the spectral norms and the statistics mean something
            system.generator(*codes)
    plain, frozen = usual(system), networks.frozen(system.generator)
    one = codes[0][:1], codes[1][:1]
    plain.eval()
    system.eval()
    compared(
        f"one clip 16x64x64 of width {width}, median of {RUNS} runs",
        {
            "usual": lambda: measured(lambda: sampled(plain.generator, one)),
            "norms in each call": lambda: measured(lambda: sampled(system.generator, one)),
            "vbench-ctl": lambda: measured(lambda: sampled(frozen, one)),
        },
    )
    system.train()
    real = F.interpolate(torch.randn(BATCH, 3, 16, 8, 8), (16, 64, 64)).clamp(-1, 1)

    def first_step(system: System, everything: bool) -> tuple[float, Tensor]:
        return measured(lambda: step(system, real, codes, everything))

    compared(
        f"one training step of {BATCH} clips, median of {RUNS} runs; difference of the losses",
        {
            "usual": lambda: first_step(usual(system), True),
            "all gradients": lambda: first_step(copy.deepcopy(system), True),
            "vbench-ctl": lambda: first_step(copy.deepcopy(system), False),
        },
    )


if __name__ == "__main__":
    main()
