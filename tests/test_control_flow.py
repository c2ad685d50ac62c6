"""Optical flow of our own, and the metrics that follow motion: closed forms, constant clips, and what is refused."""

import types

import numpy as np
import pytest
import tiny
from scipy.ndimage import gaussian_filter, shift

from vbench_ctl import measuring, scoring, tracks
from vbench_ctl.errors import VbenchError
from vbench_ctl.features import raft
from vbench_ctl.metrics import controlepe, dynamic, warp
from vbench_ctl.sources import ArraySource, FolderSource
from vbench_ctl.statistics import flow


def texture(seed: int, size=(160, 192), blur=2.0) -> np.ndarray:
    found = gaussian_filter(np.random.default_rng(seed).normal(size=size), blur, mode="wrap")
    return 255 * (found - found.min()) / np.ptp(found)


def moving(dx: float, dy: float, frames=2, seed=0, blur=2.0, size=(96, 128)) -> np.ndarray:
    """A window (T, H, W, 3) onto a texture that moves by so many pixels a frame."""
    whole = texture(seed, (size[0] + 64, size[1] + 64), blur)
    clip = [shift(whole, (t * dy, t * dx), order=3, mode="wrap")[32:-32, 32:-32] for t in range(frames)]
    return np.repeat(np.stack(clip).clip(0, 255).round().astype(np.uint8)[..., None], 3, axis=-1)


# The flow


@pytest.mark.parametrize("blur", [1.0, 4.0])
@pytest.mark.parametrize("by", [(1, 0), (2.5, -1.5), (8, 0), (0, -8), (5.3, 5.9)])
def test_a_texture_that_moves_is_seen_to_within_a_tenth_of_a_pixel(by, blur):
    errors = np.linalg.norm(flow.along(moving(*by, blur=blur))[0] - np.float32(by), axis=-1)
    assert errors[10:-10, 10:-10].mean() < 0.1 and np.median(errors) < 0.1


def test_what_does_not_move_has_no_flow():
    still = np.repeat(moving(0, 0, 1), 3, axis=0)
    assert np.abs(flow.along(still)).max() < 1e-4 and not flow.along(np.zeros((3, 8, 9, 3), np.uint8)).any()
    assert flow.along(still[:1]).shape == (0, 96, 128, 2)
    plain = np.stack([np.full((16, 20, 3), value, np.uint8) for value in (0, 255)])
    assert not flow.along(plain).any()  # a flash is no motion


def test_the_flow_of_a_pair_does_not_depend_on_its_neighbours():
    clip = np.concatenate([moving(2, 1, 3, seed=1), moving(-3, 0, 3, seed=2)])
    whole = flow.along(clip)
    for t in range(len(clip) - 1):
        np.testing.assert_array_equal(flow.along(clip[t : t + 2])[0], whole[t])
    np.testing.assert_array_equal(flow.flow(clip[:-1], clip[1:]), whole)


def test_two_things_that_move_apart():
    left, right = moving(3, 0, seed=3), moving(-3, 0, seed=4)
    found = flow.along(np.concatenate([left, right], axis=2))[0]
    assert np.median(found[:, :128], axis=(0, 1)) == pytest.approx([3, 0], abs=0.1)
    assert np.median(found[:, 128:], axis=(0, 1)) == pytest.approx([-3, 0], abs=0.1)


def test_warping_fetches_whole_pixels_exactly():
    frames = np.random.default_rng(0).integers(256, size=(2, 9, 11, 3), dtype=np.uint8)
    motion = np.tile(np.float32([2, -1]), (2, 9, 11, 1))
    fetched, inside = flow.warped(frames, motion)
    np.testing.assert_allclose(fetched[:, 1:, :-2], frames[:, :-1, 2:], atol=1e-2)
    assert inside[:, 1:, :-2].all() and not inside[:, 0].any() and not inside[:, :, -2:].any()


# Warping error and dynamic degree


def test_a_clip_that_only_moves_has_next_to_no_warping_error():
    steady = moving(2, 1, 5)
    assert warp.values(steady).shape == (4,) and warp.values(steady).max() < 1e-5
    assert not warp.values(np.zeros((3, 24, 24, 3), np.uint8)).any()
    fading = (steady * np.linspace(1, 0.6, 5)[:, None, None, None]).astype(np.uint8)
    assert warp.values(fading).min() > 10 * warp.values(steady).max()


def test_warping_error_of_a_flash_is_its_square():
    flash = np.stack([np.full((24, 24, 3), value, np.uint8) for value in (0, 51, 51)])
    assert warp.values(flash) == pytest.approx([0.04, 0])  # (51 / 255)^2: no motion, so nothing was covered


def test_dynamic_degree_counts_fast_clips():
    """At 128x96 six pixels of 256 are 2.25: 16 frames need 4 fast steps."""
    fast, slow = moving(4, 0, 5), moving(1, 0, 5)
    assert dynamic.values(fast) == dynamic.values(np.repeat(fast, 2, axis=0)) == 1 and dynamic.values(slow) == 0
    still = np.repeat(slow[:1], 12, axis=0)
    assert dynamic.values(still) == 0 and dynamic.values(np.concatenate([fast, still])) == 1
    assert dynamic.values(np.concatenate([fast[:3], still])) == 0  # the two steps and the cut are fewer than 4
    assert dynamic.values(slow, form="speed") == pytest.approx(np.full(4, 256 / 96), rel=0.15)


@pytest.mark.parametrize("metric", [warp, dynamic])
def test_one_frame_does_not_move(metric):
    with pytest.raises(VbenchError, match="the generated clip has 1"):
        metric.values(np.zeros((1, 24, 24, 3), np.uint8))
    with pytest.raises(VbenchError, match="expected uint8"):
        metric.values(np.zeros((3, 24, 24, 3)))


def test_chunks_and_clips_beside_change_nothing(monkeypatch):
    clips = np.stack([moving(dx, 1, 4, seed=dx, size=(24, 32)) for dx in range(1, 4)])
    metrics = ["warp", "dynamic", "dynamic-speed"]
    whole = scoring.score(ArraySource(clips), ArraySource(clips), metrics=metrics)
    monkeypatch.setattr(measuring, "CHUNK", 1)
    again = scoring.score(ArraySource(clips), ArraySource(clips), metrics=metrics)
    assert [row.value for row in again] == [row.value for row in whole]
    assert "|1-" not in whole[0].signature and whole[0].signature.startswith("warp|default|-|4f|3x1|rgb,range1,flow-v1")


# Control endpoint error

TOKENS = ["controlepe", "controlepe-cosine", "controlepe-inside", "controlepe-outside"]


def told(by, points, frames=3, size=(96, 128)) -> np.ndarray:
    """A control map (T, 3, H, W) that sends some points by so many pixels; nothing leads to the first frame."""
    found = np.zeros((frames, 3, *size), np.float32)
    for y, x in points:
        found[1:, :, y, x] = (*by, 1)
    return found


def scored(tmp_path, clip, control, masks=None):
    fake = tiny.write_outputs(tmp_path / "fake", {"a": clip})
    real = tiny.write_outputs(tmp_path / "real", {"a": clip})
    tracks.write(fake / "a.npz", {"told_sparse_motion": control}, len(clip))
    if masks is not None:
        tracks.write(real / "a.npz", {"masks": masks}, len(clip))
    return {row.metric: row for row in scoring.score(FolderSource(fake), FolderSource(real), metrics=TOKENS)}


def test_control_endpoint_error(tmp_path):
    """A clip goes right by 3 as told at two points; a third was sent up by 4, so it is off by 5 and at a right angle."""
    control = told((3, 0), [(40, 30), (50, 60)]) + told((0, -4), [(48, 90)])
    masks = np.zeros((3, 96, 128), np.uint8)
    masks[:, :, 80:] = 255
    found = scored(tmp_path, moving(3, 0, 3), control, masks)
    assert found["controlepe"].value == pytest.approx(5 / 3, abs=0.05)
    assert found["controlepe-cosine"].value == pytest.approx(2 / 3, abs=0.02)
    assert found["controlepe-cosine"].direction == "higher" and found["controlepe"].unit == "px"
    assert found["controlepe-inside"].value == pytest.approx(5, abs=0.1)
    assert found["controlepe-outside"].value < 0.1
    assert found["controlepe"].note == "6 pixels were told; a clip that stands still has an error of 3.33 px"
    assert found["controlepe-inside"].note.startswith("2 pixels were told inside the masks; ")


def test_a_frozen_clip_has_the_error_and_the_cosine_of_standing_still(tmp_path):
    found = scored(tmp_path, np.repeat(moving(0, 0, 1), 3, axis=0), told((3, 4), [(40, 30)])[1:])
    assert found["controlepe"].value == pytest.approx(5) and found["controlepe-cosine"].value == 0
    assert found["controlepe"].low is None  # one video
    assert "no track masks of a" in found["controlepe-inside"].note


def test_a_control_without_points_or_of_another_size(tmp_path):
    clip = moving(1, 0, 3)
    found = scored(tmp_path / "none", clip, told((1, 1), []))
    assert found["controlepe"].value is None and found["controlepe"].note == "n/a: no pixel was told to move"
    small = scored(tmp_path / "small", clip, told((1, 1), [(3, 3)], size=(48, 64)))["controlepe"]
    assert small.value is None and "told_sparse_motion is (3, 48, 64), expected (3, 96, 128)" in small.note
    unknown = {"told_sparse_motion": np.full((3, 3, 96, 128), np.nan)}
    nothing = controlepe.collect({}, unknown | {"flow": np.zeros((2, 96, 128, 2), np.float32)})
    assert nothing.tolist() == [[0] * 5] and np.isnan(controlepe.pooled([nothing]))


def test_raft_runs_in_any_batch_and_refuses_what_is_not_it():
    """Random weights: its own are not here."""
    import torch

    torch.manual_seed(0)
    state = {name: value.numpy() for name, value in raft.raft_large().state_dict().items()}
    network = raft.load(state)
    clip = moving(2, 0, 3, size=(64, 72))
    one, two = (network.along(clip, batch=batch) for batch in (1, 2))
    assert one.shape == (2, 64, 72, 2) and np.isfinite(one).all()
    np.testing.assert_allclose(one, two, atol=1e-3)
    with pytest.raises(VbenchError, match="RAFT large needs frames of 64 pixels a side or more, these are 9x8"):
        network.along(np.zeros((2, 8, 9, 3), np.uint8))
    with pytest.raises(VbenchError, match="the weights are broken"):
        raft.self_test(types.SimpleNamespace(along=lambda clip: np.zeros((1, 4, 4, 2))))
    del state["update_block.flow_head.conv2.weight"]
    with pytest.raises(VbenchError, match="RAFT large: the file has"):
        raft.convert(state)
