"""PSNR, SSIM, MSE, motion-masked MSE and flicker: closed forms, scikit-image, recorded numbers, and the contract."""

import importlib.util
import inspect
from pathlib import Path

import numpy as np
import pytest
from skimage.metrics import structural_similarity

from vbench_ctl import registry
from vbench_ctl.errors import VbenchError
from vbench_ctl.metrics import flicker, mmse, mse, psnr, ssim

PIXEL_METRICS = {"flicker": flicker, "mmse": mmse, "mse": mse, "psnr": psnr, "ssim": ssim}
PRESETS = [(name, variant) for name, module in PIXEL_METRICS.items() for variant in module.VARIANTS]
WHOLE = [("psnr", "video"), ("psnr", "moving")]  # one number for a clip


def clips(rng, frames=3, height=24, width=30):
    """A random clip and a noisy copy of it."""
    real = rng.integers(0, 256, (frames, height, width, 3), dtype=np.uint8)
    noise = rng.integers(-40, 41, real.shape)
    return real, (real + noise).clip(0, 255).astype(np.uint8)


def score(name, variant, real, fake):
    module = PIXEL_METRICS[name]
    inputs = (real, fake) if module.NEEDS == "pair" else (fake,)
    return module.values(*inputs, **module.VARIANTS[variant])


def uint8(frames):
    """Undo a division by 255."""
    scaled = np.asarray(frames, np.float64) * 255
    assert np.abs(scaled - scaled.round()).max() < 1e-4
    return scaled.round().astype(np.uint8)


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.fixture
def pair_p():
    """The closed-form pair P of one 64x64 frame."""
    i, j, c = np.ogrid[:64, :64, :3]
    x = (7 * i + 13 * j + 29 * c) % 256
    y = (x + 3 * ((i * j) % 17)) % 256
    return x[np.newaxis].astype(np.uint8), y[np.newaxis].astype(np.uint8)


@pytest.mark.parametrize(
    ("name", "variant", "expected"),
    [
        ("mse", "", 0.07626679542323465),
        ("psnr", "", 11.176645014052),
        ("psnr", "video", 11.176645014052),
        ("psnr", "channel", 11.179079923117),
        ("psnr", "piq", 11.176644444611),
        ("ssim", "", 0.479226750679433),
        ("ssim", "piq", 0.479226750679433),
        ("ssim", "luma", 0.517502651242557),
        ("ssim", "uniform7", 0.518636481684004),
        ("ssim", "ccvs", 0.532392484634605),
        ("ssim", "glass", 0.861886075989298),
    ],
)
def test_pair_p(pair_p, name, variant, expected):
    assert score(name, variant, *pair_p) == pytest.approx([expected], rel=1e-12)


@pytest.mark.parametrize(
    ("name", "variant", "expected"),
    [("mse", "", 0), ("mmse", "", 0), ("psnr", "", 100), ("psnr", "channel", 100), ("psnr", "video", 100)]
    + [("psnr", "moving", 100)]
    + [("psnr", "piq", 80)]
    + [("ssim", variant, 1) for variant in ssim.VARIANTS],
)
def test_identical_clips(rng, name, variant, expected):
    real, _ = clips(rng)
    assert score(name, variant, real, real) == pytest.approx(
        np.full(1 if (name, variant) in WHOLE else 3, expected), abs=1e-12
    )


def test_black_against_white():
    black = np.zeros((2, 16, 16, 3), np.uint8)
    white = np.full_like(black, 255)
    assert (mse.values(black, white) == 1).all()
    assert psnr.values(black, white) == pytest.approx([0, 0])
    assert ssim.values(black, white) == pytest.approx([1e-4 / 1.0001] * 2)  # common_metrics: 9.999000099990664e-05
    assert ssim.values(black, white, **ssim.VARIANTS["ccvs"]) == pytest.approx([4e-4 / 1.0004] * 2)


def test_one_wrong_value_is_counted_exactly():
    real = np.zeros((1, 4, 4, 3), np.uint8)
    fake = real.copy()
    fake[0, 1, 2, 1] = 51  # a fifth of the range, in one of 48 values
    assert mse.values(real, fake) == pytest.approx([0.04 / 48])
    assert psnr.values(real, fake) == pytest.approx([10 * np.log10(48 / 0.04)])
    assert psnr.values(real, fake, unit="channel") == pytest.approx([(200 + 10 * np.log10(16 / 0.04)) / 3])


def test_psnr_of_a_clip_is_at_most_the_mean_of_its_frames():
    real = np.zeros((2, 8, 8, 3), np.uint8)
    fake = np.stack([real[0] + 51, real[1] + 102])  # MSE 0.04 and 0.16
    assert psnr.values(real, fake) == pytest.approx(-10 * np.log10([0.04, 0.16]))
    assert psnr.values(real, fake, unit="video") == pytest.approx([-10 * np.log10(0.1)])


def test_psnr_of_what_moves_leaves_out_what_stays_as_in_the_first_frame():
    real = np.zeros((3, 4, 4, 3), np.uint8)
    real[1, 0, 0, 2] = 1  # two pixels move, one of them in two frames
    real[2, 0, :2] = 102
    still = np.repeat(real[:1], 3, axis=0)
    assert psnr.values(real, still, unit="moving") == pytest.approx([-10 * np.log10((0.16 * 6 + 1 / 255**2) / 9)])
    elsewhere = real.copy()
    elsewhere[:, 2:] = 255
    assert psnr.values(real, elsewhere, unit="moving") == [100]
    assert psnr.values(still, elsewhere, unit="moving") == [100]  # nothing moves


def test_psnr_stays_at_its_cap_below_an_mse_of_1e_10():
    real = np.zeros((1, 256, 256, 3), np.uint8)
    fake = real.copy()
    fake[0, 0, 0, 0] = 1  # MSE 7.8e-11
    assert psnr.values(real, fake) == [100]
    assert psnr.values(real, fake, cap=np.inf) > 101


def test_motion_masked_mse_of_grey_frames():
    grey = np.array([0, 51, 153], np.uint8).reshape(3, 1, 1, 1)  # 0, 0.2, 0.6: masks 0, 0.2, 0.4
    real = np.broadcast_to(grey, (3, 4, 5, 3))
    fake = real // 3 * 2  # errors 0, 0.2 / 3, 0.2
    assert mmse.values(real, fake) == pytest.approx([0, 0.04 / 9 * 0.2, 0.04 * 0.4])


def test_motion_mask_weights_the_error_where_the_real_clip_moves():
    real = np.zeros((2, 2, 2, 3), np.uint8)
    real[1, 0, 0] = 0, 0, 255  # one pixel moves, by a third of the range over its channels
    fake = np.zeros_like(real)
    fake[1, 1, 1] = 255  # an error where nothing moves is not counted
    assert mmse.values(real, fake) == pytest.approx([0, 1 / 12 / 3])


def test_flicker_of_a_ramp():
    ramp = np.broadcast_to(np.array([0, 51, 255, 204], np.uint8).reshape(4, 1, 1, 1), (4, 6, 5, 3))
    assert flicker.values(ramp) == pytest.approx([0.2, 0.8, 0.2])
    assert flicker.values(ramp, form="steadiness") == pytest.approx([0.8, 0.2, 0.8])
    assert (flicker.direction(), flicker.direction(form="steadiness")) == ("lower", "higher")


@pytest.mark.parametrize(("height", "width"), [(11, 11), (18, 19), (27, 64), (70, 33)])
def test_ssim_equals_scikit_image(rng, height, width):
    real, fake = clips(rng, 2, height, width)
    real[:, : height // 2] = real[:, :1, :1]  # flat parts: where variances cancel
    fake[:, : height // 2] = real[:, : height // 2] // 2
    wang = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255}
    for variant, options in {"": wang, "uniform7": {"data_range": 255}, "ccvs": {"data_range": 510}}.items():
        expected = [structural_similarity(x, y, channel_axis=-1, **options) for x, y in zip(real, fake, strict=True)]
        assert score("ssim", variant, real, fake) == pytest.approx(expected, rel=1e-9)


def test_luma_of_grey_frames_is_their_rgb_score(rng):
    real, fake = (np.repeat(clip[..., :1], 3, axis=-1) for clip in clips(rng))
    assert ssim.values(real, fake, colour="luma") == pytest.approx(ssim.values(real, fake), rel=1e-9)


@pytest.mark.parametrize("variant", ssim.VARIANTS)
def test_ssim_does_not_depend_on_the_block(rng, variant, monkeypatch):
    real, fake = clips(rng, 2, 29, 23)
    whole = score("ssim", variant, real, fake)
    for block in (1, 5, 64):
        monkeypatch.setattr(ssim, "BLOCK", block)
        assert score("ssim", variant, real, fake) == pytest.approx(whole, rel=1e-12)


@pytest.mark.parametrize(("name", "variant"), [p for p in PRESETS if p not in WHOLE])
def test_frames_are_scored_alone(rng, name, variant):
    real, fake = clips(rng, 4)
    whole = score(name, variant, real, fake)
    parts = [score(name, variant, real[t : t + 2], fake[t : t + 2])[-1] for t in range(3)]
    assert (whole[-3:] == parts).all()


@pytest.mark.parametrize(
    ("name", "variant"), [p for p in PRESETS if p[0] not in ("mmse", "flicker") and p[1] != "moving"]
)
def test_symmetric(rng, name, variant):
    real, fake = clips(rng)
    assert score(name, variant, real, fake) == pytest.approx(score(name, variant, fake, real), rel=1e-12)


@pytest.mark.parametrize(("name", "variant"), PRESETS)
def test_presets_give_one_float64_per_frame_and_leave_their_inputs_alone(rng, name, variant):
    real, fake = clips(rng, 4)
    kept = real.copy(), fake.copy()
    found = score(name, variant, real, fake)
    assert found.dtype == np.float64 and np.isfinite(found).all()
    length = 1 if (name, variant) in WHOLE else 3 if name == "flicker" else 4
    assert found.shape == (length,)
    assert (kept[0] == real).all() and (kept[1] == fake).all()


@pytest.mark.parametrize("name", ["mse", "mmse", "psnr", "ssim"])
def test_unequal_clips_are_refused(name):
    short, long = np.zeros((2, 16, 16, 3), np.uint8), np.zeros((3, 16, 16, 3), np.uint8)
    with pytest.raises(VbenchError, match=r"\(2, 16, 16, 3\).*\(3, 16, 16, 3\)"):
        score(name, "", short, long)
    with pytest.raises(VbenchError, match="generated clip is float64"):
        score(name, "", short, short / 255)
    with pytest.raises(VbenchError, match="real clip is uint8"):
        score(name, "", short[0], short[0])


def test_frames_smaller_than_the_window_are_refused():
    tiny = np.zeros((1, 10, 40, 3), np.uint8)
    with pytest.raises(VbenchError, match=r"40x10 pixels .* 11x11"):
        ssim.values(tiny, tiny)
    assert ssim.values(tiny, tiny, window="uniform7") == pytest.approx([1])


def test_flicker_needs_two_frames():
    with pytest.raises(VbenchError, match="at least 2 frames"):
        flicker.values(np.zeros((1, 4, 4, 3), np.uint8))


@pytest.mark.parametrize(
    ("call", "hint"),
    [
        (lambda clip: psnr.values(clip, clip, unit="frames"), '"frame"'),
        (lambda clip: ssim.values(clip, clip, window="uniform"), '"uniform7"'),
        (lambda clip: ssim.values(clip, clip, colour="rbg"), '"rgb"'),
        (lambda clip: flicker.values(clip, form="diff"), '"difference"'),
    ],
)
def test_unknown_options_name_the_nearest(call, hint):
    with pytest.raises(VbenchError, match=f"did you mean {hint}"):
        call(np.zeros((2, 16, 16, 3), np.uint8))


def test_glass_golden(shared):
    golden = np.load(shared / "golden/glass/io_metrics.npz")
    reals, fakes = (uint8(golden[f"in/{key}"].transpose(0, 1, 3, 4, 2)) for key in ("real", "generated"))
    recorded = {
        "mse": ("mse", ""),
        "motion_masked_mse": ("mmse", ""),
        "psnr": ("psnr", "piq"),
        "ssim_glass_released": ("ssim", "glass"),
        "ssim_pvg_form": ("ssim", ""),
    }
    for key, preset in recorded.items():
        found = np.stack([score(*preset, real, fake) for real, fake in zip(reals, fakes, strict=True)])
        np.testing.assert_allclose(found, golden[f"f64/out/{key}"], rtol=2e-6, atol=1e-9, err_msg=key)
        np.testing.assert_allclose(found, golden[f"out/{key}"], rtol=1e-5, atol=1e-9, err_msg=key)


def test_ccvs_golden(shared):
    golden = np.load(shared / "golden/ccvs/io_metrics.npz")
    real, fake = (golden[f"in/{key}"].reshape(-1, 20, 20, 3) for key in ("real_u8", "fake_u8"))
    np.testing.assert_allclose(score("psnr", "piq", real, fake), golden["out/psnr_per_image"], rtol=1e-5)
    assert score("psnr", "piq", real, fake).mean() == pytest.approx(float(golden["out/psnr_all"]), rel=1e-5)
    for variant, key in {"ccvs": "out/ssim", "uniform7": "out/ssim_data_range_1"}.items():
        expected = golden[f"{key}_per_image_per_channel"].mean(axis=1)
        np.testing.assert_allclose(score("ssim", variant, real, fake), expected, rtol=1e-5)
    assert score("ssim", "ccvs", real, fake).mean() == pytest.approx(float(golden["out/ssim_all"]), rel=1e-5)


def test_piq_pools_large_frames(rng):
    real, fake = clips(rng, 1, 385, 384)  # pooled by round(384 / 256) = 2, the odd row is dropped
    halves = [clip[:, :384].reshape(1, 192, 2, 192, 2, 3).mean(axis=(2, 4)) for clip in (real, fake)]
    wang = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255}
    expected = structural_similarity(halves[0][0], halves[1][0], channel_axis=-1, **wang)
    assert score("ssim", "piq", real, fake) == pytest.approx([expected], rel=1e-9)


def test_glass_golden_of_a_large_frame(shared):
    golden = np.load(shared / "golden/glass/io_metrics.npz")
    c, y, x = np.ogrid[:3, :400, :416]
    real = ((1024 * c + 32 * y + x) % 97) / 96
    fake = 0.6 * real + 0.4 * ((7 * y + 3 * x + 11 * c) % 61) / 60
    real, fake = ((image * 255).round().astype(np.uint8).transpose(1, 2, 0)[np.newaxis] for image in (real, fake))
    # Recorded on unrounded floats; rounding to uint8 alone moves these two values by 1.1e-4 and 3.2e-5.
    assert score("ssim", "piq", real, fake) == pytest.approx(golden["f64/out/ssim_large_pooled"], abs=2e-4)
    assert score("ssim", "", real, fake) == pytest.approx(golden["f64/out/ssim_large_not_pooled"], abs=2e-4)


@pytest.mark.parametrize("name", registry.names("metrics"))
def test_metric_contract(name):
    metric = registry.load("metrics", name)
    if not hasattr(metric, "values") or metric.NEEDS == "tracks":
        pytest.skip("a metric of another kind")
    assert metric.TITLE and metric.__doc__
    assert metric.DIRECTION in ("higher", "lower") and "|" not in metric.UNIT
    assert metric.NEEDS in ("pair", "fake", "samples", "sets") and metric.VERSION >= 1
    assert "" in metric.VARIANTS
    parameters = list(inspect.signature(metric.values).parameters.values())
    inputs = {"pair": ["real", "fake"], "sets": ["real", "answers"]}.get(metric.NEEDS, [metric.NEEDS])
    assert [p.name for p in parameters[: len(inputs)]] == inputs
    options = {p.name: p.default for p in parameters[len(inputs) :]}
    signed = inspect.signature(metric.signature).parameters
    for option in set(options) & set(signed):
        assert signed[option].default == options[option], f"{option} has two defaults"
    for preset in metric.VARIANTS.values():
        assert set(preset) <= set(options)


@pytest.mark.parametrize("name", PIXEL_METRICS)
def test_different_presets_have_different_signatures(name):
    metric = PIXEL_METRICS[name]
    texts = [metric.signature(**options) for options in metric.VARIANTS.values()]
    assert len(set(texts)) == len(texts)
    assert all(text and " " not in text and "\n" not in text for text in texts)


def test_benchmark_compares_equal_things(rng):
    path = Path(__file__).parent.parent / "benchmarks/ssim.py"
    spec = importlib.util.spec_from_file_location("ssim_benchmark", path)
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    real, fake = clips(rng, 2)
    ours = ssim.values(real, fake)
    assert benchmark.per_frame(real, fake) == pytest.approx(ours, rel=1e-9)
    assert benchmark.per_plane(real, fake) == pytest.approx(ours, rel=1e-9)
    if benchmark.cv2:
        assert benchmark.by_opencv(real, fake) == pytest.approx(ours, rel=1e-9)
