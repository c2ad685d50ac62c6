"""Augmentations: the same change for all frames of a window, the papers' numbers, and what a flip does to tracks."""

import numpy as np
import pytest
import torch

from vbench_ctl import augment
from vbench_ctl.augment import Crop, Flip, Jitter, Resize, parse, ready
from vbench_ctl.errors import UsageError


def window(length: int = 4, height: int = 12, width: int = 16) -> augment.Window:
    rng = np.random.default_rng(0)
    return {
        "frames": rng.integers(256, size=(length, height, width, 3), dtype=np.uint8),
        "masks": rng.integers(3, size=(length, height, width), dtype=np.uint8),
        "shift_fg": rng.normal(size=(length, 2)).astype(np.float32),
        "actions": rng.integers(3, size=length),
    }


def rng() -> np.random.Generator:
    return np.random.default_rng(1)


# Flip


def test_a_flip_mirrors_pictures_and_changes_tracks_as_told():
    before = window()
    after = Flip(1, {"shift_fg": (-1, 1), "actions": (0, 2, 1)})(before, rng())
    for name in ("frames", "masks"):
        np.testing.assert_array_equal(after[name], np.flip(before[name], 2))
    np.testing.assert_array_equal(after["shift_fg"], before["shift_fg"] * [-1, 1])
    np.testing.assert_array_equal(after["actions"], np.array([0, 2, 1])[before["actions"]])
    assert {name: values.dtype for name, values in after.items()} == {name: v.dtype for name, v in before.items()}


def test_a_flip_leaves_the_same_what_is_told_so_and_unknown_classes():
    before = {"frames": window()["frames"], "stft": np.ones((4, 9)), "actions": np.array([-1, 0, 1, -1])}
    after = Flip(1, {"stft": "same", "actions": (1, 0)})(before, rng())
    assert after["stft"] is before["stft"]
    assert after["actions"].tolist() == [-1, 1, 0, -1]


def test_a_flip_happens_as_often_as_asked():
    one, chance = {"frames": window()["frames"]}, np.random.default_rng(0)
    for probability, low, high in ((0, 0, 0), (1, 300, 300), (0.2, 40, 80)):
        flip = Flip(probability)
        flipped = sum(not np.array_equal(flip(one, chance)["frames"], one["frames"]) for _ in range(300))
        assert low <= flipped <= high


def test_a_flip_refuses_tracks_it_knows_nothing_about():
    with pytest.raises(UsageError, match=r"go with actions that are not; leave flip out, .* flip:0.5:actions=same"):
        ready(["flip"], ["masks", "actions"])
    assert ready(["flip:0.5:actions=same"], ["masks", "actions"]) == [Flip(0.5, {"actions": "same"})]
    assert ready(["flip"], ["masks"]) == ready(["flip"]) == [Flip()]
    with pytest.raises(UsageError, match="an entry of shift_fg has 2 numbers, but 3 factors are given"):
        Flip(1, {"shift_fg": (-1, 1, 1), "actions": "same"})(window(), rng())
    with pytest.raises(UsageError, match="actions has the class 2, but only 2 classes are given"):
        Flip(1, {"shift_fg": "same", "actions": (1, 0)})(window(), rng())


def test_a_flip_leaves_what_it_was_given_alone():
    before = window()
    before["frames"].flags.writeable = False
    kept = before["frames"].copy()
    Flip(1, {"shift_fg": "same", "actions": "same"})(before, rng())["frames"][:] = 0
    np.testing.assert_array_equal(before["frames"], kept)


# Size


def test_a_crop_is_one_part_of_frames_and_masks():
    before = window()
    places = set()
    chance = np.random.default_rng(0)
    for _ in range(200):
        after = Crop((10, 13))(before, chance)
        (at,) = [
            (top, left)
            for top in range(3)
            for left in range(4)
            if np.array_equal(after["frames"], before["frames"][:, top : top + 10, left : left + 13])
        ]
        np.testing.assert_array_equal(after["masks"], before["masks"][:, at[0] : at[0] + 10, at[1] : at[1] + 13])
        assert after["actions"] is before["actions"]
        places.add(at)
    assert len(places) == 12


def test_a_crop_that_does_not_fit_is_refused():
    with pytest.raises(UsageError, match="crop: 17x12 does not fit into frames of 16x12; resize them before"):
        Crop((12, 17))(window(), rng())


def test_resizing_goes_by_name_and_masks_keep_their_labels():
    before = window()
    after = Resize((24, 48))(before, rng())
    assert after["frames"].shape == (4, 24, 48, 3) and after["frames"].dtype == np.uint8
    np.testing.assert_array_equal(after["masks"], before["masks"].repeat(2, 1).repeat(3, 2))
    small = Resize((6, 4), "torch_half_pixel")(before, rng())["frames"]
    planes = torch.from_numpy(before["frames"].transpose(0, 3, 1, 2).copy()).float()
    expected = torch.nn.functional.interpolate(planes, (6, 4), mode="bilinear", align_corners=False)
    np.testing.assert_allclose(small.transpose(0, 3, 1, 2), expected, atol=0.51)


# Colours


FACTORS = {
    "b1.2_c0.8_s1.3_h0.12": (1.2, 0.8, 1.3, 0.12),
    "b0.75_c1.25_s0.7_h-0.15": (0.75, 1.25, 0.7, -0.15),
    "b1_c1_s1_h0": (1, 1, 1, 0),
}
ORDERS = {
    "brightness": [0],
    "contrast": [1],
    "saturation": [2],
    "hue": [3],
    "jitter_0123": [0, 1, 2, 3],
    "jitter_3102": [3, 1, 0, 2],
    "jitter_2310": [2, 3, 1, 0],
}


@pytest.mark.parametrize("factors", FACTORS)
def test_colours_change_as_cinn_was_trained(shared, factors):
    golden = np.load(shared / "golden/cinn/io_augment.npz")
    planes = torch.from_numpy(golden["in/x"].swapaxes(0, 1).copy())
    for name, order in ORDERS.items():
        found = augment.recoloured(planes, FACTORS[factors], order).numpy().swapaxes(0, 1)
        np.testing.assert_allclose(found, golden[f"out/{factors}/{name}"], atol=2e-5, err_msg=name)


def test_brightness_adds_and_contrast_multiplies():
    planes = torch.tensor([0.2, 0.5, 0.9]).reshape(3, 1, 1, 1)
    brighter, contrasted = (augment.recoloured(planes, (1.25, 1.25, 1, 0), [which]).flatten() for which in (0, 1))
    torch.testing.assert_close(brighter, torch.tensor([0.45, 0.75, 1.0]))
    torch.testing.assert_close(contrasted, torch.tensor([0.25, 0.625, 1.0]))


def test_a_third_of_the_circle_turns_red_to_green_and_no_saturation_is_grey():
    red = torch.tensor([1.0, 0.0, 0.0]).reshape(3, 1)
    turned = augment.recoloured(red, (1, 1, 1, 1 / 3), [3]).flatten()
    torch.testing.assert_close(turned, torch.tensor([0.0, 1.0, 0.0]), atol=1e-5, rtol=0)
    grey = augment.recoloured(torch.rand(3, 5), (1, 1, 0, 0), [2])
    torch.testing.assert_close(grey, grey[:1].expand(3, 5), atol=1e-5, rtol=0)


def test_jitter_is_the_same_for_all_frames_and_differs_between_windows():
    still = {"frames": np.repeat(window(1)["frames"], 5, 0)}
    chance = np.random.default_rng(0)
    first, second = (Jitter(0.3, 0.3, 0.3, 0.15)(still, chance)["frames"] for _ in range(2))
    assert (first == first[:1]).all() and first.dtype == np.uint8 and first.flags.c_contiguous
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(Jitter()(still, chance)["frames"], still["frames"])


# From text


def test_augmentations_are_read_from_text():
    assert parse("flip:0.3:shift_fg=-1/1:stft=same") == Flip(0.3, {"shift_fg": [-1, 1], "stft": "same"})
    assert parse("resize:144") == Resize((144, 144))
    assert parse("resize:128x96:torch_half_pixel") == Resize((96, 128), "torch_half_pixel")
    assert parse("crop:128") == Crop((128, 128))
    assert parse("jitter:0.1:0.2:0.3:0.15") == Jitter(0.1, 0.2, 0.3, 0.15)
    own = lambda window, rng: window  # noqa: E731
    assert ready([own, "crop:8"]) == [own, Crop((8, 8))]


@pytest.mark.parametrize(
    "text, sentence",
    [
        ("flop", r'no augmentation "flop"; did you mean "flip"'),
        ("flip:2", "probability is 2.0, expected 0 to 1"),
        ("flip:nan", "probability is nan, expected 0 to 1"),
        ("flip:0.5:actions=left/right", "expected flip:PROBABILITY"),
        ("flip:actions=same", "expected flip:PROBABILITY"),
        ("crop", '"crop": expected crop:SIZE or crop:WIDTHxHEIGHT'),
        ("crop:big", "expected crop:SIZE"),
        ("crop:0", "crop: to 0x0, expected at least 1x1"),
        ("resize:64:nearby", 'no resize mode "nearby"'),
        ("jitter:0.1:0.1:0.1:0.1:0.1", "expected jitter:BRIGHTNESS:CONTRAST:SATURATION:HUE"),
        ("jitter:2", "three numbers from 0 to 1 and a hue from 0 to 0.5"),
        ("jitter:0:0:0:0.6", "three numbers from 0 to 1 and a hue from 0 to 0.5"),
    ],
)
def test_what_is_no_augmentation_is_one_sentence(text, sentence):
    with pytest.raises(UsageError, match=sentence):
        parse(text)
