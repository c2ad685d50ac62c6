"""Windows for training: pure in seed and draw, whoever reads them, and read right."""

import os
import subprocess
import sys
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from torch.utils.data import DataLoader

from vbench_ctl import building, sources, store, video
from vbench_ctl.clips import Clip
from vbench_ctl.errors import UsageError, VbenchError
from vbench_ctl.sources import ArraySource
from vbench_ctl.windows import Windows, loader

LENGTHS = (7, 8, 9, 20, 9)


@pytest.fixture
def held(tmp_path) -> store.Store:
    return tiny.built(tmp_path / "held", test=tiny.work("test", LENGTHS))


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(one[name].equal(other[name]) for name in one)


def noise(*lengths: int, size: tuple[int, int] = (6, 8)) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(256, size=(length, *size, 3), dtype=np.uint8) for length in lengths]


class Gate:
    """An augmentation that fails, or ends its process, when a file says so."""

    def __init__(self, path: Path):
        self.path = path

    def __call__(self, window, rng):
        word = self.path.read_text()
        if word == "fail":
            raise VbenchError("no such luck")
        if word == "exit":
            os._exit(1)
        return window


# What a window is


@pytest.mark.parametrize("encoding", ["raw", "png"])
@pytest.mark.parametrize("augment", [(), ("crop:8x6",)])
def test_a_window_is_a_slice_of_its_clip(tmp_path, encoding, augment):
    held = tiny.built(tmp_path, encoding=encoding, test=tiny.work("test", LENGTHS))
    windows = held.clips(3, (1, 2, 3), tracks=held.tracks, augment=augment)
    batch = windows.batch(range(12))
    for draw in range(12):
        clip_id, start, stride = windows.place(draw)
        clip, cut = held[held.index(clip_id)], slice(start, start + 2 * stride + 1, stride)
        expected = {"frames": clip.frames[cut], **{name: track[cut] for name, track in clip.tracks.items()}}
        window = windows[draw] if draw < len(windows) else windows.batch([draw])
        assert batch.keys() == window.keys() == expected.keys()
        for name, values in expected.items():
            np.testing.assert_array_equal(batch[name][draw], values)
            np.testing.assert_array_equal(window[name].reshape(values.shape), values)
            assert window[name].numpy().dtype == values.dtype


def test_every_kind_of_clips_gives_the_same_windows(tmp_path):
    clips = noise(9, 12, 10)
    for index, frames in enumerate(clips):
        video.write(tmp_path / "videos" / f"{index:05d}.mkv", frames)
    recipe = tiny.recipe(make=iter, test=[[Clip(video.array_id(index), frames) for index, frames in enumerate(clips)]])
    building.build(tmp_path / "store", recipe)
    array = Windows(ArraySource(clips), 4)
    for place in ("videos", "store"):
        windows = Windows(sources.open_source(tmp_path / place), 4)
        assert same(windows.batch(range(6)), array.batch(range(6)))


def test_windows_are_copies():
    (clip,) = noise(4)
    windows = Windows(ArraySource([clip]), 4)
    windows[0]["frames"].zero_()
    windows.batch([0])["frames"].zero_()
    assert clip.any()


def test_starts(held):
    def starts(how: str) -> set[tuple[str, int]]:
        windows = held.clips(3, 2, start=how)
        return {windows.place(draw)[:2] for draw in range(40 * len(windows))}

    fitting = {(clip_id, start) for clip_id, n in zip(held.ids, LENGTHS, strict=True) for start in range(n - 4)}
    assert starts("random") == starts("all") == fitting
    assert starts("first") == {(clip_id, 0) for clip_id in held.ids}
    assert starts("centre") == {(clip_id, (n - 5) // 2) for clip_id, n in zip(held.ids, LENGTHS, strict=True)}


def test_random_starts_are_even():
    windows = Windows(ArraySource(noise(9)), 5)
    counts = Counter(windows.place(draw).start for draw in range(2000))
    assert sorted(counts) == [0, 1, 2, 3, 4] and min(counts.values()) > 330


def test_each_window_draws_a_stride_that_fits(held):
    windows = held.clips(4, [3, 2])
    drawn = {(place.clip, place.stride) for place in map(windows.place, range(200))}
    expected = {
        (clip_id, stride) for clip_id, n in zip(held.ids, LENGTHS, strict=True) for stride in (2, 3) if n > 3 * stride
    }
    assert drawn == expected and len(expected) == 5 + 1


# Draws


def test_a_draw_is_a_function_of_seed_and_number(held):
    windows = held.clips(3, augment=["flip", "jitter:0.3"], seed=7)
    again = held.clips(3, augment=["flip", "jitter:0.3"], seed=7)
    for draw in (12, 3, 999, 0, 3):
        assert same(windows.batch([draw]), again.batch([draw]))
    other = held.clips(3, augment=["flip", "jitter:0.3"], seed=8)
    assert not same(windows.batch(range(5)), other.batch(range(5)))
    # What is done to a window does not move it.
    assert [held.clips(3, seed=7).place(draw) for draw in range(20)] == [windows.place(draw) for draw in range(20)]


@pytest.mark.parametrize("start", ["random", "all"])
def test_each_epoch_has_every_item_once_in_its_own_order(held, start):
    windows = held.clips(7, start=start)
    size = len(windows)
    assert size == (5 if start == "random" else sum(n - 6 for n in LENGTHS))
    epochs = [[windows.place(epoch * size + at) for at in range(size)] for epoch in range(4)]
    for epoch in epochs:
        what = [place[: 1 if start == "random" else 2] for place in epoch]
        assert len(set(what)) == size
    assert len({tuple(epoch) for epoch in epochs}) == 4


def test_a_loop_over_windows_ends_after_the_first_epoch(held):
    windows = held.clips(3, augment=["flip"])
    assert all(same(one, windows[draw]) for draw, one in enumerate(windows))
    assert len(list(windows)) == len(windows) == len(held)
    for beyond in (-1, len(windows)):
        with pytest.raises(IndexError):
            windows[beyond]
    own = DataLoader(windows, batch_size=None)  # a sampler of its own, the draws of the first epoch
    assert [len(list(own)) for _ in range(2)] == [len(windows)] * 2


def test_without_shuffling_the_order_is_that_of_the_source(held):
    windows = held.clips(3, shuffle=False, start="first")
    assert [windows.place(draw).clip for draw in range(10)] == held.ids * 2
    with pytest.raises(IndexError):
        windows.place(-1)


@pytest.mark.filterwarnings("ignore:tiny")
def test_some_clips_may_come_more_often(held):
    windows = held.clips(3, repeats={"*_1": 3, "*_2": 0, "*_[12]": 9})
    counts = Counter(windows.place(draw).clip for draw in range(len(windows)))
    assert counts == {"test/clip_0": 1, "test/clip_1": 3, "test/clip_3": 1, "test/clip_4": 1}
    every = held.clips(19, start="all", repeats={"*": 2})
    assert Counter(every.place(draw).start for draw in range(len(every))) == {0: 2, 1: 2}
    with pytest.raises(UsageError, match=r"no clip is left by repeats \{'\*': 0\}"):
        held.clips(3, repeats={"*": 0})


# What cannot be done


def test_short_clips_are_left_out_with_a_warning(held):
    with pytest.warns(UserWarning, match="tiny 8x6 test: 2 of 5 clips have fewer than 9 frames and are left out"):
        windows = held.clips(5, 2)
    assert {windows.place(draw).clip for draw in range(50)} == {held.ids[at] for at in (2, 3, 4)}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        held.clips(7)


@pytest.mark.filterwarnings("ignore:tiny")
def test_what_cannot_be_is_one_sentence(held):
    cases = {
        r"none of its 5 clips has the 21 frames that a window of 21 at stride 1 needs, the longest has 20": {
            "length": 21
        },
        "windows of 0 frames": {"length": 0},
        r"stride \[0, 2\]": {"stride": [2, 0]},
        r"stride \[\]": {"stride": []},
        r'no start "frist"; did you mean "first"': {"start": "frist"},
        r'start "all" lists the windows of one stride, found \[1, 2\]': {"stride": [1, 2], "start": "all"},
        r'no track in tiny 8x6 test "action"; did you mean "actions"\? known: actions, dones, .*state': {
            "tracks": ["action"]
        },
        "flip: mirrored frames would go with actions that are not": {"tracks": ["actions"], "augment": ["flip"]},
        "resize: to 0x4": {"size": (4, 0)},
        "seed -1": {"seed": -1},
    }
    for sentence, how in cases.items():
        with pytest.raises(VbenchError, match=sentence):
            held.clips(**{"length": 3, **how})
    with pytest.raises(UsageError, match='no track in array "actions"; known: none'):
        Windows(ArraySource(noise(5)), 3, tracks=["actions"])
    with pytest.raises(UsageError, match="batches of 0 by 0 workers"):
        loader(held.clips(3), 0)
    with pytest.raises(UsageError, match="batches of '3' by 0 workers"):
        loader(held.clips(3), "3")
    with pytest.raises(
        UsageError, match=r"an augmentation cannot be sent to workers \(.*\); define it at the top level"
    ):
        held.clips(3, augment=[lambda window, rng: window]).loader(2, workers=1)


def test_clips_of_different_sizes_need_a_size():
    clips = [*noise(4), *noise(4, size=(12, 10))]
    with pytest.raises(
        VbenchError,
        match=r"array: frames of clip 0000\d are \(4, .*\), of another clip .* give the size to resize them to",
    ):
        Windows(ArraySource(clips), 4).batch([0, 1])
    batch = Windows(ArraySource(clips), 4, size=(6, 8), shuffle=False).batch([0, 1])
    np.testing.assert_array_equal(batch["frames"][0], clips[0])
    assert batch["frames"].shape == (2, 4, 6, 8, 3)
    assert Windows(ArraySource(clips), 4, size=5)[0]["frames"].shape == (4, 5, 5, 3)


# Batches


def test_batches_go_on_over_epochs_and_from_anywhere(held):
    windows = held.clips(3, tracks=["actions"])
    whole = list(loader(windows, 4, steps=6))
    for step, batch in enumerate(whole):
        assert same(batch, windows.batch(range(4 * step, 4 * step + 4)))
    assert all(map(same, loader(windows, 4, first_draw=12, steps=3), whole[3:]))
    endless = loader(windows, 4)
    assert all(same(next(endless), batch) for batch in whole)


def test_processes_share_each_step(held):
    windows = held.clips(3)
    ranks = [list(loader(windows, 2, first_draw=6, rank=rank, world=3, steps=2)) for rank in range(3)]
    for step, parts in enumerate(zip(*ranks, strict=True)):
        together = torch.cat([part["frames"] for part in parts])
        assert together.equal(windows.batch(range(6 + 6 * step, 12 + 6 * step))["frames"])


def test_workers_change_nothing(held):
    windows = held.clips(3, tracks=["masks"], augment=["flip", "jitter:0.1:0.1:0.1:0.1"])
    windows[0]  # files are open here when the workers start
    alone, helped = (list(loader(windows, 2, workers=workers, steps=5)) for workers in (0, 2))
    assert all(map(same, alone, helped)) and len(helped) == 5


def test_a_loop_is_an_epoch_and_the_next_loop_the_next(held):
    windows = held.clips(3)
    batches = windows.loader(2)
    assert len(batches) == 3
    for epoch in range(2):
        found = list(batches)
        assert [len(batch["frames"]) for batch in found] == [2, 2, 1]
        assert torch.cat([batch["frames"] for batch in found]).equal(
            windows.batch(range(5 * epoch, 5 * epoch + 5))["frames"]
        )
    (third, *_) = windows.loader(5, epoch=2)
    assert same(third, windows.batch(range(10, 15)))


def test_what_goes_wrong_in_a_worker_is_one_sentence(held, tmp_path):
    gate = tmp_path / "gate"
    gate.write_text("")
    batches = held.clips(3, augment=[Gate(gate)]).loader(2, workers=1)
    first = list(batches)
    gate.write_text("fail")
    with pytest.raises(VbenchError, match=r"^no such luck$"):
        list(batches)
    gate.write_text("")
    again = list(batches)  # by the same worker
    assert len(again) == len(first) == 3
    gate.write_text("exit")
    with pytest.raises(VbenchError, match=r"a worker that reads clips was killed.*; use fewer workers"):
        list(batches)


def test_torch_is_left_as_it_was(held):
    before = torch.get_rng_state()
    list(held.clips(3, augment=["jitter:0.1", "crop:4"]).loader(2))
    assert torch.get_rng_state().equal(before)


def test_torchs_own_loader_takes_windows_too(held):
    (batch,) = DataLoader(held.clips(3, tracks=["state"]), batch_size=5, shuffle=True)
    assert batch["frames"].shape == (5, 3, 6, 8, 3) and batch["state"].shape == (5, 3, 2, 3)


def test_a_store_is_opened_without_torch(held):
    code = f"import sys; from vbench_ctl.store import Store; Store({str(held.folder)!r}, 'test')[0]; print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"
