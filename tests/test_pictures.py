"""Contact sheets: which frames they show, and that they show them as they are."""

import numpy as np
import pytest
from PIL import Image

from vbench_ctl import pictures
from vbench_ctl.errors import VbenchError


def flat_clip(length: int, height: int = 12, width: int = 16) -> np.ndarray:
    """Frame t is all (20 t, 100, 200)."""
    frames = np.zeros((length, height, width, 3), np.uint8)
    frames[..., 0] = 20 * np.arange(length)[:, None, None]
    frames[..., 1:] = 100, 200
    return frames


def shades(page: Image.Image, clip_colours=(100, 200)) -> list[list[int]]:
    """Return the frame shown in each cell of each row, by the red of clips made by flat_clip."""
    pixels = np.asarray(page.convert("RGB")).astype(int)
    inside = (pixels[..., 1:] == clip_colours).all(axis=-1)
    rows = np.flatnonzero(np.diff(inside.any(axis=1), prepend=False, append=False)).reshape(-1, 2)
    found = []
    for top, bottom in rows:
        columns = np.flatnonzero(np.diff(inside[top:bottom].all(axis=0), prepend=False, append=False)).reshape(-1, 2)
        found.append([int(pixels[top, left, 0]) // 20 for left, _ in columns])
        assert all(pixels[top:bottom, a:b, 0].std() == 0 for a, b in columns)
    return found


def test_a_sheet_shows_frames_spread_over_the_whole_clip():
    page = pictures.sheet([("a", flat_clip(9)), ("much longer label", flat_clip(3))], columns=5, height=24)
    assert shades(page) == [[0, 2, 4, 6, 8], [0, 0, 1, 2, 2]]


def test_a_sheet_of_one_frame_and_one_column():
    assert shades(pictures.sheet([("", flat_clip(1))], columns=3, height=12)) == [[0, 0, 0]]
    assert shades(pictures.sheet([("x", flat_clip(7))], columns=1, height=12)) == [[0]]


def test_whole_multiples_keep_every_pixel():
    rng = np.random.default_rng(0)
    clip = rng.integers(256, size=(1, 8, 10, 3), dtype=np.uint8)
    page = np.asarray(pictures.sheet([("", clip)], columns=1, height=24))
    enlarged = clip[0].repeat(3, axis=0).repeat(3, axis=1)
    assert (page[pictures.GAP : pictures.GAP + 24, 2 * pictures.GAP : 2 * pictures.GAP + 30] == enlarged).all()


def test_other_heights_keep_the_aspect():
    page = pictures.sheet([("", flat_clip(1, height=64, width=128))], columns=1, height=48)
    assert page.size == (2 * pictures.GAP + 96 + pictures.GAP, 48 + 2 * pictures.GAP)


def test_a_grid_plays_all_clips_and_a_short_one_holds_its_last_frame():
    frames = pictures.grid_frames([("one", [flat_clip(4), flat_clip(2)]), ("two", [flat_clip(3)])], height=12)
    assert [shades(page) for page in frames] == [[[0, 0], [0]], [[1, 1], [1]], [[2, 1], [2]], [[3, 1], [2]]]
    assert len({page.size for page in frames}) == 1


def test_pictures_are_read_back(tmp_path):
    frames = pictures.grid_frames([("one", [flat_clip(4)])], height=12)
    pictures.save(tmp_path / "new/sheet.png", frames[1])
    with Image.open(tmp_path / "new/sheet.png") as page:
        assert (np.asarray(page) == np.asarray(frames[1])).all()
    pictures.save_gif(tmp_path / "new/sheet.gif", frames, fps=5)
    with Image.open(tmp_path / "new/sheet.gif") as gif:
        assert (gif.n_frames, gif.info["duration"], gif.info["loop"]) == (4, 200, 0)
        for t in range(4):
            gif.seek(t)
            assert shades(gif) == [[t]]
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["sheet.gif", "sheet.png"]


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(VbenchError, match=r"file/sheet\.png: a file is in the way"):
        pictures.save(tmp_path / "file/sheet.png", pictures.sheet([("", flat_clip(1))]))
