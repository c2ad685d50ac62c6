"""Frames in [-1, 1] and back: every level survives, and values between are rounded or cut off."""

import pytest
import torch

from vbench_ctl import frames

LEVELS = torch.arange(256, dtype=torch.uint8).view(1, 16, 16, 1).expand(1, 16, 16, 3)


def test_every_level_comes_back():
    seen = frames.normalised(LEVELS)
    assert seen.shape == (1, 3, 16, 16) and (seen.min(), seen.max()) == (-1, 1)
    assert torch.equal(frames.pixels(seen), LEVELS) and torch.equal(frames.pixels(seen.double()), LEVELS)
    assert torch.equal(frames.normalised(LEVELS[None])[0], seen)


def test_values_between_levels_and_beyond_them():
    between = torch.tensor([-2.0, -1, -0.001, 0, 0.999, 1, 2]).view(1, 7, 1).expand(3, 7, 1)
    assert frames.pixels(between)[:, 0, 0].tolist() == [0, 0, 127, 128, 255, 255, 255]
    assert frames.pixels(between, truncate=True)[:, 0, 0].tolist() == [0, 0, 127, 127, 254, 255, 255]


def test_psnr_is_averaged_over_frames():
    real, made = torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4, 4)
    made[1] = 0.2  # a tenth of the range: 20 dB; the first one is as near as counts
    assert frames.psnr(real, made) == pytest.approx((80 + 20) / 2, abs=1e-3)
    assert frames.psnr(real[None], made[None]) == frames.psnr(real, made)
