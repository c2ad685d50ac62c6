"""What `score` says to clips, weights and caches that are wrong: a sentence or a number, never nonsense."""

import errno
import multiprocessing
import os
import re
import resource
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tiny
from tiny import noise

from vbench_ctl import execute, networks, rows, scoring, video, weights
from vbench_ctl.cli import main
from vbench_ctl.doubts import doubts, look
from vbench_ctl.errors import UsageError, VbenchError
from vbench_ctl.networks import Features, Place
from vbench_ctl.sources import as_source

SETS = ["fvd", "fid", "kvd", "kid"]


def score(fake, real, *metrics: str, **how) -> list[rows.Row]:
    return scoring.score(as_source(fake, "the fakes"), as_source(real, "the reals"), metrics=metrics, **how)


def reason(fake, real, metric: str) -> str:
    """Return why a metric has no number."""
    (row,) = score(fake, real, metric)
    assert row.value is None
    return row.note


# Clips


def test_one_clip_is_no_set_and_too_few_frames_no_prefix(toy):
    for one, many in ((noise(1, 0), noise(5, 1)), (noise(5, 1), noise(1, 0))):
        for metric in ("fvd", "kvd"):
            assert "hold 1 clips, expected at least 2; score more clips" in reason(one, many, metric)
    assert score(noise(1, 0), noise(1, 1), "fid", "psnr")[0].low is None  # 6 frames of one clip: a value, no interval
    assert "prefixes need clips of one length of 10 frames or more" in reason(noise(5, 0), noise(5, 1), "fvd-prefix")


def test_features_of_the_real_clips_that_are_not_finite_are_named(toy, monkeypatch):
    whole = toy.features

    def broken(clips, **options):
        return np.where(clips[:, :1, 0, 0, 0] == 7, np.nan, whole(clips))

    monkeypatch.setattr(toy, "features", broken)
    real = np.maximum(noise(5, 0), 8)
    real[3, 0, 0, 0] = 7
    fake = np.maximum(noise(5, 1), 8)
    for which, sets in (("real", (fake, real)), ("generated", (real, fake))):
        said = f'n/a: the {which} features are not finite for 1 of 5 clips, the first is clip "00003"'
        assert reason(*sets, "fvd").startswith(said)


def test_constant_and_identical_sets_have_numbers(toy):
    black = np.zeros((12, 3, 12, 12, 3), np.uint8)
    fvd, fid, kvd, psnr, ssim, flicker = score(black, black + 255, "fvd", "fid", "kvd", "psnr", "ssim", "flicker")
    assert fvd.value == fid.value == pytest.approx(3 * 255**2) and psnr.value == 0 and flicker.value == 0
    assert kvd.value > 0 and 0 < ssim.value < 1e-3
    for clips in (black, noise(12, 0, 3, (12, 12))):
        found = score(clips, clips, "fvd", "fid", "psnr", "ssim", "mse")
        assert [row.value for row in found] == pytest.approx([0, 0, 100, 1, 0], abs=1e-6)
    same = {row.metric: row for row in score(noise(40, 0), noise(40, 0), *SETS)}
    assert same["kvd"].value < 0 and same["kid"].value < 0.05  # without bias it falls below 0


@pytest.mark.parametrize("lowest", [0, -1])
def test_floats_are_refused_wherever_they_come_from(tmp_path, lowest):
    clips = np.random.default_rng(0).uniform(lowest, 1, size=(2, 4, 8, 8, 3)).astype(np.float32)
    np.save(tmp_path / "floats.npy", clips)
    for given in (clips, list(clips), tmp_path / "floats.npy"):
        with pytest.raises(
            VbenchError, match="the array is float32, expected uint8 RGB from 0 to 255; convert it"
        ) as error:
            score(given, noise(2, 0, 4, (8, 8)), "psnr")
        assert str(error.value).count(". ") == 0


def test_values_from_0_to_1_kept_as_integers_are_doubted(toy):
    cast = (noise(6, 0) > 127).astype(np.uint8)
    said = "clips hold only 0 and 1, as if values from 0 to 1 had been cast to uint8; multiply them by 255 first"
    for row in score(cast, noise(6, 1), "psnr", "fvd"):
        assert f"the generated {said}" in row.note and "the real" not in row.note
    (row,) = score(noise(6, 1), cast, "psnr")
    assert row.note == f"the real {said}"
    signed = cast.copy()
    signed[0, 0, 0, 0] = 255
    said = "clips hold only 0, 1 and 255, as if values from -1 to 1 had been cast to uint8; add 1 and multiply them by 127.5 first"
    assert score(signed, noise(6, 1), "psnr")[0].note == f"the generated {said}"
    almost = cast.copy()
    almost[-1, -1, -1, -1, -1] = 2
    for fine in (almost, np.zeros_like(cast), 255 * cast):
        assert score(fine, noise(6, 1), "psnr")[0].note == ""


def test_swapped_channels_are_doubted(tmp_path, capsys):
    orange = np.clip(noise(6, 0) // 4 + np.array([150, 90, 20]), 0, 255).astype(np.uint8)
    other = np.clip(noise(6, 1) // 4 + np.array([146, 91, 24]), 0, 255).astype(np.uint8)
    assert score(other, orange, "psnr")[0].note == ""
    (row,) = score(other[..., ::-1], orange, "psnr")
    assert "with red and blue swapped, as if one of them were BGR; write both as RGB" in row.note
    assert score(orange[..., ::-1], orange[..., ::-1], "psnr")[0].note == ""  # blue on both sides
    assert score(orange // 2, orange, "psnr")[0].note == ""  # bad in another way
    for name, clips in (("real", orange), ("fake", other[..., ::-1])):
        np.save(tmp_path / f"{name}.npy", clips)
    words = ["score", str(tmp_path / "fake.npy"), "--real", str(tmp_path / "real.npy"), "--metrics", "psnr"]
    assert main(words, standalone_mode=False) is None
    assert "as if one of them were BGR" in capsys.readouterr().err


def test_the_mean_colour_is_that_of_all_pixels():
    clips = [noise(1, 0)[0], noise(1, 1, 3)[0]]
    pixels = np.concatenate([clip.reshape(-1, 3) for clip in clips])
    found = look(clips)
    assert found.colour == pytest.approx(pixels.mean(axis=0), rel=1e-12)
    assert len(found.levels) > 3 and found.levels <= set(pixels.ravel().tolist())
    assert doubts([], []) == doubts([found], []) == []


# Weights


def placed(home: Path, content: bytes, **record) -> Path:
    """Put a file of weights into place with what `weights` notes about it."""
    file = home / "weights/i3d-k400/i3d.pt"
    file.parent.mkdir(parents=True)
    file.write_bytes(content)
    facts = {"file": file.name, "sha256": weights.digest(file), "size_bytes": len(content), "source": "", "date": ""}
    weights.files.write_json(file.parent / weights._RECORD, facts | record)
    return file


def test_a_weights_file_that_was_cut_short_is_no_score(home):
    file = placed(home, bytes(1000))
    file.write_bytes(bytes(500))
    fvd, psnr = score(noise(3, 0), noise(3, 1), "fvd", "psnr")
    assert fvd.value is None and psnr.value is not None
    assert "it was cut short or changed" in fvd.note and 'run "vbench-ctl weights fetch i3d-k400"' in fvd.note


def test_a_half_downloaded_weights_file_is_no_file(home):
    file = placed(home, b"")
    file.rename(file.with_name(f".{file.name}.part"))
    (file.parent / weights._RECORD).unlink()
    (fvd,) = score(noise(3, 0), noise(3, 1), "fvd")
    assert fvd.value is None and fvd.note == 'n/a: no weights "i3d-k400"; run "vbench-ctl weights fetch i3d-k400"'


def test_a_weights_file_of_something_else_is_a_sentence(home):
    file = placed(home, b"")
    np.savez(file.with_suffix(".npz"), conv=np.zeros(3, np.float32))
    file.with_suffix(".npz").replace(file)
    facts = weights.files.read_json(file.parent / weights._RECORD)
    weights.files.write_json(file.parent / weights._RECORD, facts | {"sha256": weights.digest(file)})
    assert "no published file of this network" in reason(noise(3, 0, 16), noise(3, 1, 16), "fvd")


def test_a_file_of_weights_is_hashed_once(home, monkeypatch):
    placed(home, bytes(100))
    hashed = []
    monkeypatch.setattr(weights, "digest", lambda file, digest=weights.digest: hashed.append(file) or digest(file))
    networks.use(Place())
    assert [networks.missing(Features("i3d", "i3d-k400")) for _ in range(4)] == [""] * 4 and len(hashed) == 1


@pytest.mark.parametrize(("device", "on_gpu"), [("cpu", False), ("cuda", True), ("cuda:1", True), ("mps", True)])
def test_which_devices_are_gpus(device, on_gpu):
    assert execute.on_gpu(device) is on_gpu


def test_a_device_that_is_not_there_is_a_sentence(toy):
    for device in ("cuda:99", "gpu"):
        with pytest.raises(UsageError, match=f'^networks cannot run on "{device}" here .* use --device cpu or auto$'):
            score(noise(3, 0), noise(3, 1), "fvd", place=Place(device=device))


# The cache


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-4]),
        lambda path: path.write_bytes(b"not an array"),
        lambda path: np.save(path, np.load(path)[:-1]),
        lambda path: np.save(path, np.load(path)[0]),
        lambda path: np.save(path, np.load(path).astype(np.float64)),
        lambda path: np.save(path, np.array([{}]), allow_pickle=True),
        lambda path: path.unlink(),
    ],
    ids=["empty", "short", "other", "rows", "row", "type", "pickle", "gone"],
)
def test_what_is_wrong_in_the_cache_is_made_anew(toy, home, spoil):
    real, fake = noise(8, 0), noise(8, 1)
    (first,) = score(fake, real, "fvd")
    held = sorted((home / "cache").rglob("*.npy"))
    for path in held:
        spoil(path)
    (again,) = score(fake, real, "fvd")
    assert (again.value, toy.seen) == (first.value, 32) and sorted((home / "cache").rglob("*.npy")) == held
    score(fake, real, "fvd")
    assert toy.seen == 32


def test_features_of_another_version_are_not_met(toy, monkeypatch):
    real, fake = noise(8, 0), noise(8, 1)
    score(fake, real, "fvd")
    monkeypatch.setattr(networks, "VERSION", networks.VERSION + 1)
    score(fake, real, "fvd")
    assert toy.seen == 32
    monkeypatch.setattr(networks, "_sha256", lambda *asked: "other weights")
    score(fake, real, "fvd")
    assert toy.seen == 48


def test_features_that_vanish_while_they_are_needed_are_a_sentence(toy):
    found = networks.where(Features("i3d", "i3d-k400"), list(noise(3, 0)))
    assert networks.gathered(found).shape == (3, 3)
    found[0].path.unlink()
    with pytest.raises(VbenchError, match=r"\.npy: removed or damaged while it was needed; run the same command again"):
        networks.gathered(found)


def test_large_sets_lie_on_disk(toy, home, monkeypatch):
    real, fake = noise(20, 0), noise(20, 1)
    in_memory = score(fake, real, *SETS)
    monkeypatch.setattr(networks, "IN_MEMORY", 100)
    found = networks.gathered(networks.where(Features("i3d", "i3d-k400"), list(real)))
    assert isinstance(found, np.memmap)
    on_disk = score(fake, real, *SETS)
    assert [(row.value, row.low) for row in on_disk] == [(row.value, row.low) for row in in_memory]
    assert all(path.suffix == ".npy" for path in (home / "cache").rglob("*") if path.is_file())

    def full(*_):
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(os, "posix_fallocate", full)
    row = score(fake, real, *SETS)[0]
    assert row.value is None and re.search(r"cache: the disk is full; free some space", row.note)


def score_beside_others(seeds: tuple[int, int]) -> list[float | None]:
    """Score with a toy network; in a process of its own."""
    toy = tiny.Toy()
    networks._extractor, networks._sha256, networks.missing = lambda *a: toy, lambda *a: "01234567", lambda features: ""
    fake, real = (noise(64, seed) for seed in seeds)
    return [row.value for row in score(fake, real, "fvd", "fid", place=Place())]


def test_an_array_that_the_disk_has_no_room_for_is_a_sentence(home, tmp_path):
    """NumPy says how many values it wrote, and no errno."""
    allowed = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, allowed[1]))
    try:
        with pytest.raises(VbenchError, match=r"features\.npy: the disk is full"):
            networks._keep(home / "features.npy", np.zeros((400, 400)))
        with pytest.raises(VbenchError, match=r"clip\.npy: the disk is full"):
            video.write(tmp_path / "clip.npy", noise(1, 0, 9, (64, 64))[0])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, allowed)
    assert not [path for folder in (home, tmp_path) for path in folder.glob("*.npy")]


def test_two_processes_share_a_cache(home):
    """Both write the same features at the same time."""
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        a, b = pool.map(score_beside_others, [(1, 0), (1, 0)])
    assert a == b
    assert not [path for path in (home / "cache").rglob("*") if ".part" in path.name]


# Rows


def save_many(path: Path, model: str) -> None:
    row = rows.Row("mse", 1.0, None, None, "lower", 3, "p@1", "s", model)
    for number in range(20):
        rows.save(path, [rows.Row(**{**row.to_json(), "metric": f"m{number}"})])


def test_two_processes_save_rows_into_one_file(tmp_path):
    path = tmp_path / "rows.json"
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        list(pool.map(save_many, [path, path], ["a", "b"]))
    assert len({(row.model, row.metric) for row in rows.load(path)}) == 40
    assert [each.name for each in tmp_path.iterdir() if each.is_file()] == ["rows.json"]
