"""Convolutions with fewer multiplications give what PyTorch's give."""

import copy

import pytest
import torch
from torch import nn

from vbench_ctl import features
from vbench_ctl.features import convolution

WITHIN = 2e-5  # of the largest result; the direct way is off by 2e-6


def random(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def made(kind: type[nn.Module], *words, **options):
    torch.manual_seed(0)
    return kind(*words, **options).requires_grad_(False)


FITTING = {
    "pictures of whole tiles": (nn.Conv2d, (64, 80, 3), {"padding": 1}, (3, 64, 16, 12)),
    "cut tiles, no zeros around": (nn.Conv2d, (64, 64, 3), {}, (2, 64, 15, 21)),
    "zeros above and below only": (nn.Conv2d, (64, 64, 3), {"padding": (1, 0)}, (2, 64, 9, 13)),
    "more zeros than the kernel sees": (nn.Conv2d, (64, 64, 3), {"padding": (5, 1)}, (2, 64, 9, 30)),
    "no bias": (nn.Conv2d, (64, 64, 3), {"padding": 1, "bias": False}, (1, 64, 9, 9)),
    "more tiles than go at once": (nn.Conv2d, (64, 64, 3), {"padding": 1}, (3, 64, 50, 47)),
    "more pictures than go at once": (nn.Conv2d, (64, 64, 3), {"padding": 1}, (30, 64, 8, 8)),
    "a line": (nn.Conv2d, (64, 80, (1, 7)), {"padding": (0, 3)}, (9, 64, 17, 17)),
    "a line downwards": (nn.Conv2d, (64, 80, (7, 1)), {"padding": (3, 0)}, (9, 64, 17, 17)),
    "a short line": (nn.Conv2d, (64, 80, (1, 3)), {"padding": (0, 1)}, (2, 64, 8, 8)),
    "a short line downwards": (nn.Conv2d, (64, 80, (3, 1)), {"padding": (1, 0)}, (2, 64, 11, 9)),
    "lines of two tiles": (nn.Conv2d, (64, 64, (1, 7)), {"bias": False}, (2, 64, 9, 40)),
    "one tile, cut, no zeros around": (nn.Conv2d, (64, 64, (1, 7)), {}, (2, 64, 9, 20)),
    "large tiles": (nn.Conv2d, (32, 64, 3), {"padding": 1}, (3, 32, 35, 29)),
    "kernels of five": (nn.Conv2d, (48, 64, 5), {"padding": 2}, (2, 48, 35, 35)),
    "kernels of five, zeros above and below only": (nn.Conv2d, (64, 48, 5), {"padding": (2, 0)}, (2, 64, 12, 19)),
    "clips": (nn.Conv3d, (64, 72, 3), {"padding": 1}, (2, 64, 5, 14, 11)),
    "clips, two frames at a time": (
        nn.Conv3d,
        (64, 64, (2, 3, 3)),
        {"padding": (0, 1, 1)},
        (1, 64, 4, 33, 30),
    ),
    "clips, frame by frame": (nn.Conv3d, (64, 64, (1, 3, 3)), {"padding": (0, 1, 1)}, (2, 64, 4, 9, 8)),
    "clips, kernels of five": (nn.Conv3d, (48, 64, (3, 5, 5)), {"padding": (1, 2, 2)}, (2, 48, 3, 12, 11)),
    "every second frame": (nn.Conv3d, (3, 64, 7), {"stride": 2, "bias": False}, (2, 3, 21, 17, 23)),
    "every second frame, the last one unseen": (nn.Conv3d, (3, 32, 7), {"stride": 2}, (2, 3, 14, 12, 12)),
    "every second frame, cut tiles": (nn.Conv3d, (3, 32, 7), {"stride": 2, "padding": (2, 3, 1)}, (2, 3, 12, 17, 22)),
}


@pytest.mark.parametrize("name", FITTING)
def test_results_are_those_of_the_direct_way(name):
    kind, words, options, shape = FITTING[name]
    conv, x = made(kind, *words, **options), random(*shape)
    exact = copy.deepcopy(conv).double()(x.double())
    convolution.install(conv)
    assert "forward" in vars(conv)
    found = conv(x)
    assert found.shape == exact.shape
    torch.testing.assert_close(found.double(), exact, rtol=0, atol=WITHIN * float(exact.abs().max()))
    assert found.stride(1) == 1  # channels last


@pytest.mark.parametrize("at_once", [0, 10**9])
def test_how_much_goes_at_once_does_not_matter(monkeypatch, at_once):
    conv, x = made(nn.Conv3d, 64, 64, 3, padding=(4, 5, 3)), random(2, 64, 3, 12, 17)
    exact = conv.double()(x.double())
    monkeypatch.setattr(convolution, "AT_ONCE", at_once)
    monkeypatch.setattr(convolution, "MANY_POINTS", at_once)
    convolution.install(conv.float())
    torch.testing.assert_close(conv(x).double(), exact, rtol=0, atol=WITHIN * float(exact.abs().max()))


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_the_order_in_memory_does_not_matter(memory):
    conv, x = made(nn.Conv2d, 64, 64, 3, padding=1), random(2, 64, 10, 10)
    convolution.install(conv)
    assert torch.equal(conv(x.contiguous(memory_format=memory)), conv(x))


def test_one_item_gives_what_many_give():
    conv, x = made(nn.Conv2d, 64, 64, 3, padding=1), random(40, 64, 20, 20)
    convolution.install(conv)
    torch.testing.assert_close(conv(x[:1]), conv(x)[:1], rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "options",
    [{"stride": 2}, {"dilation": 2}, {"groups": 2}, {"padding": 1, "padding_mode": "reflect"}, {"padding": "same"}],
)
def test_other_convolutions_are_left_as_they_are(options):
    conv = made(nn.Conv2d, 128, 128, 3, **options)
    convolution.install(conv)
    assert "forward" not in vars(conv)


def test_few_channels_other_kernels_and_small_pictures_go_the_direct_way():
    few, wide = made(nn.Conv2d, 24, 64, 3), made(nn.Conv2d, 64, 64, 9)
    convolution.install(nn.Sequential(few, wide))
    assert not any("forward" in vars(each) for each in (few, wide))
    conv, x = made(nn.Conv2d, 64, 64, 3, padding=1), random(2, 64, 7, 40)
    direct = conv(x)
    convolution.install(conv)
    assert torch.equal(conv(x), direct)


def test_few_frames_go_the_direct_way():
    conv, x = made(nn.Conv3d, 3, 32, 7, stride=2, padding=3), random(2, 3, 4, 20, 20)
    direct = conv(x)
    convolution.install(conv)
    assert "forward" in vars(conv) and torch.equal(conv(x), direct)


def test_networks_that_score_on_a_cpu_have_it():
    network = nn.Sequential(made(nn.Conv2d, 64, 64, 3), nn.ReLU())
    features.ready(network, "cpu")
    assert "forward" in vars(network[0])
