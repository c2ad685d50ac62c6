"""Speed of cINN's decoder and flow at the paper's size for BAIR, beside the formulas written down one by one.

OMP_NUM_THREADS=1 python benchmarks/cinn.py [DEVICE]

The formulas: features are repeated before a block's norms and its projection, what SPADE sees is repeated over time, and
log-scale and shift of each coupling are networks of their own. Both ways have the same weights and the same results.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy: CPU seconds of waiting BLAS threads would count as work

import sys
import time
from collections.abc import Callable
from functools import partial
from statistics import median

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vbench_ctl.baselines.cinn.flow import LEAK, Flow, ScaleAndShift
from vbench_ctl.baselines.cinn.networks import SLOPE, Decoder, DecoderBlock, Spade, repeated

RUNS = 5
CLIPS = {"cpu": 1, "cuda": 10}  # rendered at once
CODES = {"one code": 1, "a batch of 50": 50}  # 50: as the flow is trained


# The formulas one by one


def plain_spade(spade: Spade, x: Tensor, picture: Tensor) -> Tensor:
    """Modulate (B, C, T, H, W) by maps that are repeated over time."""
    picture = F.interpolate(picture, x.shape[3:], mode="bilinear", align_corners=True)
    seen = F.leaky_relu(spade.conv(picture), SLOPE)
    gamma, beta = (
        conv(seen).unsqueeze(2).repeat(1, 1, x.shape[2], 1, 1) for conv in (spade.conv_gamma, spade.conv_beta)
    )
    return F.group_norm(x, spade.groups) * (1 + gamma) + beta


def plain_block(block: DecoderBlock, x: Tensor, picture: Tensor, code: Tensor) -> Tensor:
    """Do what a block does to features of its output's size."""
    h = block.conv_0(F.leaky_relu(plain_spade(block.norm_0, x, picture), SLOPE))
    gamma, beta = block.norm_1.linear(code)[..., None, None, None].chunk(2, 1)
    h = block.conv_1(F.leaky_relu(gamma * F.instance_norm(h) + beta, SLOPE))
    return h + (block.conv_s(block.norm_s(x)) if block.projects else x)


def plain_decoder(decoder: Decoder) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the decoder by formulas."""

    def run(picture: Tensor, code: Tensor) -> Tensor:
        x = decoder.fc(code).view(len(code), -1, 1, 4, 4)
        x = plain_block(decoder.head_0, x, picture, code)
        for number, factors in enumerate(decoder.factors):
            block = decoder.get_submodule(f"g_{number}")
            x = plain_block(block, repeated(x, factors), picture, code)  # type: ignore[arg-type]
        return torch.tanh(decoder.conv_img(F.leaky_relu(x, SLOPE))).transpose(1, 2)

    return run


def networks(pair: ScaleAndShift) -> tuple[nn.Sequential, nn.Sequential]:
    """Take the networks of log-scale and shift apart."""
    found = []
    for which in (0, 1):
        parts: list[nn.Module] = []
        for layer in pair.layers:
            weight, bias = layer.weight[which].T, layer.bias[which, 0]
            linear = nn.utils.skip_init(nn.Linear, weight.shape[1], weight.shape[0], device=weight.device)
            linear.load_state_dict({"weight": weight.detach(), "bias": bias.detach()})
            parts += [linear, nn.LeakyReLU()]
        found.append(nn.Sequential(*parts[:-1]))
    return found[0], found[1]


def plain_flow(flow: Flow) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Return the flow by formulas, with four networks in each coupling."""
    apart = [(networks(block.coupling.first), networks(block.coupling.second)) for block in flow.blocks]

    def run(x: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        total = torch.zeros(len(x), device=x.device)
        for block, ((scale0, shift0), (scale1, shift1)) in zip(flow.blocks, apart, strict=True):
            x = block.norm.scale * (x + block.norm.loc)
            total = total + block.norm.scale.abs().log().sum() + (x < 0).sum(1) * torch.tensor(LEAK).log()
            a, b = F.leaky_relu(x, LEAK).chunk(2, 1)
            seen = torch.cat([a, condition], 1)
            scale = scale0(seen)
            b = b * scale.exp() + shift0(seen)
            seen = torch.cat([b, condition], 1)
            also = scale1(seen)
            a = a * also.exp() + shift1(seen)
            total = total + scale.sum(1) + also.sum(1)
            x = torch.cat([b, a], 1)[:, block.order]
        return x, total

    return run


# Measuring


def seconds(run: Callable[[], object], device: str) -> float:
    """Return the CPU seconds of a call, or the seconds until a GPU has done it."""
    clock = time.perf_counter if device == "cuda" else time.process_time
    start = clock()
    run()
    if device == "cuda":
        torch.cuda.synchronize()
    return clock() - start


def compare(title: str, plain: Callable[[], Tensor], ours: Callable[[], Tensor], device: str) -> None:
    """Print the median seconds of interleaved runs, and how far the results are apart."""
    wanted, found = plain(), ours()
    difference = float((found - wanted).abs().max() / wanted.abs().max())
    runs = [(seconds(plain, device), seconds(ours, device)) for _ in range(RUNS)]
    slow, fast = (1000 * median(each) for each in zip(*runs, strict=True))
    print(f"{title:34} {slow:9.1f} ms  ours {fast:9.1f} ms  {slow / fast:5.2f}x  difference {difference:.1e}")


def main() -> None:
    """Print a line per network and direction."""
    device = sys.argv[1] if len(sys.argv) > 1 else "cpu"
    torch.set_num_threads(1)
    torch.manual_seed(0)
    decoder = Decoder(64, 64, (2, 1), (2, 1)).to(device).eval()
    flow = Flow(64, 64).to(device).eval()
    by_formulas, flow_by_formulas = plain_decoder(decoder), plain_flow(flow)
    picture, code = torch.randn(CLIPS[device], 3, 64, 64, device=device), torch.randn(CLIPS[device], 64, device=device)
    with torch.no_grad():
        title = f"decoder, {CLIPS[device]} clips 16x64x64"
        compare(title, lambda: by_formulas(picture, code), lambda: decoder(picture, code), device)
        for name, count in CODES.items():
            pair = torch.randn(count, 64, device=device), torch.randn(count, 64, device=device)
            compare(f"flow, {name}", partial(_noise, flow_by_formulas, *pair), partial(_noise, flow, *pair), device)


def _noise(flow: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]], code: Tensor, condition: Tensor) -> Tensor:
    return flow(code, condition)[0]


if __name__ == "__main__":
    main()
