"""The feature networks without real weights: names of published files, padding, shapes, batches, errors."""

import warnings
from typing import Any

import lpips
import numpy as np
import pytest
import torch
import torchvision

from vbench_ctl import features, networks
from vbench_ctl import weights as held
from vbench_ctl.errors import UsageError, VbenchError
from vbench_ctl.features import dti3d, i3d, inception, lpips_net, resnext3d, vgg
from vbench_ctl.metrics import fvd, vfid

CONV_PARAMETERS, LOGIT_PARAMETERS, BN_CHANNELS = 12_272_704, 410_000, 7280  # TF-Hub graph, counted


@pytest.fixture(scope="module")
def weights() -> dict[str, np.ndarray]:
    """Random I3D tensors, with batch norms that do something, and without gamma."""
    torch.manual_seed(0)
    state = i3d.InceptionI3D().state_dict()
    for name, value in state.items():
        if value.ndim == 5:
            value.normal_(0, (2 / value[0].numel()) ** 0.5)  # or the signal dies on its way through 57 layers
        if "running_var" in name:
            value.uniform_(0.5, 1.5)
        if name.endswith(("running_mean", "bn.bias")):
            value.normal_(0, 0.1)
    return {name: value.numpy() for name, value in state.items() if "num_batches" not in name}


@pytest.fixture(scope="module")
def extractor(weights) -> i3d.Extractor:
    return i3d.load(weights)


def clips(count: int, frames: int, size: int = 24, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, frames, size, size + 8, 3), np.uint8)


def test_parameters_are_those_of_the_graph():
    with torch.device("meta"):
        sizes = {name: value.numel() for name, value in i3d.InceptionI3D().named_parameters()}
    assert sum(size for name, size in sizes.items() if name.endswith("conv3d.weight")) - 400 * 1024 == CONV_PARAMETERS
    assert sizes["logits.conv3d.weight"] + sizes["logits.conv3d.bias"] == LOGIT_PARAMETERS
    assert sum(size for name, size in sizes.items() if name.endswith("bn.bias")) == BN_CHANNELS
    assert len([name for name in sizes if name.endswith("conv3d.weight")]) == 58


TF_BRANCHES = {
    "b0": "Branch_0/Conv3d_0a_1x1",
    "b1a": "Branch_1/Conv3d_0a_1x1",
    "b1b": "Branch_1/Conv3d_0b_3x3",
    "b2a": "Branch_2/Conv3d_0a_1x1",
    "b2b": "Branch_2/Conv3d_0b_3x3",
    "b3b": "Branch_3/Conv3d_0b_1x1",
}
HASSONY_BRANCHES = {
    "b0": "branch_0",
    "b1a": "branch_1.0",
    "b1b": "branch_1.1",
    "b2a": "branch_2.0",
    "b2b": "branch_2.1",
    "b3b": "branch_3.1",
}


def piergiaj(name: str, value: np.ndarray) -> tuple[str, np.ndarray]:
    return name, value


def data_parallel(name: str, value: np.ndarray) -> tuple[str, np.ndarray]:
    return f"module.{name}", value


def hassony2(name: str, value: np.ndarray) -> tuple[str, np.ndarray]:
    layer, *branch, kind, leaf = name.split(".")
    layer = "conv3d_0c_1x1" if layer == "logits" else layer[0].lower() + layer[1:]
    place = [HASSONY_BRANCHES[one] for one in branch]
    return ".".join([layer, *place, {"bn": "batch3d"}.get(kind, kind), leaf]), value


def tensorflow(name: str, value: np.ndarray) -> tuple[str, np.ndarray]:
    layer, *branch, kind, leaf = name.split(".")
    layer = "Logits/Conv3d_0c_1x1" if layer == "logits" else layer
    place = [TF_BRANCHES[one] for one in branch]
    if name.startswith("Mixed_5b.b2b"):
        place = ["Branch_2/Conv3d_0a_3x3"]  # as the graph has it
    if kind == "bn":
        leaf = {"bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}[leaf]
        return "/".join(["RGB/inception_i3d", layer, *place, "batch_norm", leaf]), value.reshape(1, 1, 1, 1, -1)
    leaf = {"weight": "w", "bias": "b"}[leaf]
    value = value.transpose(2, 3, 4, 1, 0) if value.ndim == 5 else value
    return "/".join(["RGB/inception_i3d", layer, *place, "conv_3d", leaf]), value


def saved_model(name: str, value: np.ndarray) -> tuple[str, np.ndarray]:
    name, value = tensorflow(name, value)
    return f"module/{name}:0", value


def flax(name: str, value: np.ndarray) -> tuple[str, np.ndarray]:
    layer, *branch, kind, leaf = name.split(".")
    layer = "Logits/Conv3d_0c_1x1" if layer == "logits" else layer
    place = [TF_BRANCHES[one] for one in branch]
    if kind == "bn":
        tree = "params" if leaf == "bias" else "batch_stats"
        value = value if leaf == "bias" else value.reshape(1, 1, 1, 1, -1)
        return "/".join([tree, layer, *place, "BatchNorm_0", leaf.removeprefix("running_")]), value
    value = value.transpose(2, 3, 4, 1, 0) if value.ndim == 5 else value
    return "/".join(["params", layer, *place, "Conv_0", {"weight": "kernel"}.get(leaf, leaf)]), value


@pytest.mark.parametrize("style", [piergiaj, data_parallel, hassony2, tensorflow, saved_model, flax])
def test_every_published_spelling_gives_the_same_weights(weights, style):
    gammas = style in (piergiaj, data_parallel, hassony2)
    named = [style(name, value) for name, value in weights.items() if gammas or not name.endswith("bn.weight")]
    state = i3d.convert(dict(named))
    assert state.keys() == weights.keys()
    for name, value in weights.items():
        np.testing.assert_array_equal(state[name].numpy(), value, err_msg=name)


def test_strange_cut_and_misshapen_files_are_refused_by_name(weights):
    with pytest.raises(VbenchError, match=r"i3d: the file has 1 tensors named blocks\.0\.weight and so on"):
        i3d.convert({"blocks.0.weight": np.zeros(3)})
    with pytest.raises(VbenchError, match=r"the weights lack Mixed_4c\.b1b\.conv3d\.weight \(224, 112, 3, 3, 3\)"):
        i3d.convert({name: value for name, value in weights.items() if name != "Mixed_4c.b1b.conv3d.weight"})
    with pytest.raises(VbenchError, match=r"Conv3d_2b_1x1\.conv3d\.weight is \(64, 63, 1, 1, 1\), expected"):
        i3d.convert(weights | {"Conv3d_2b_1x1.conv3d.weight": np.zeros((64, 63, 1, 1, 1))})
    for network in (resnext3d, vgg, inception, lpips_net):
        with pytest.raises(VbenchError, match="the file has 1 tensors named strange"):
            network.convert({"strange": np.zeros(3)})


def test_where_state_dicts_differ():
    wanted = {"a": np.zeros((2, 3)), "b": np.zeros(()), "c": np.zeros(4)}
    state = {"d": np.zeros(1), "a": np.zeros((3, 2)), "c": np.zeros(4)}
    assert list(features.misfits(state, wanted)) == [("a", (3, 2), (2, 3)), ("b", None, ()), ("d", (1,), None)]
    assert not list(features.misfits(wanted, wanted))


def test_folded_network_is_the_same_function(weights, extractor):
    plain = i3d.InceptionI3D().eval()
    plain.load_state_dict(i3d.convert(weights), strict=False)
    x = torch.rand(1, 3, 9, 96, 96) * 2 - 1  # any multiple of 32 passes; small is fast
    with torch.inference_mode():
        expected, found = plain(x), extractor.network(x)
    torch.testing.assert_close(found, expected, atol=1e-5 * float(expected.abs().max()), rtol=0)


def test_batches_and_order_do_not_matter(extractor):
    two = clips(2, 9)
    together = extractor.features(two, batch=2)
    alone = extractor.features(two[::-1], batch=1)[::-1]
    assert together.shape == (2, 400) and together.dtype == np.float32
    np.testing.assert_allclose(alone, together, atol=1e-5 * np.abs(together).max(), rtol=0)
    assert np.abs(together[0] - together[1]).max() > 1e-2 * np.abs(together).max()  # or this would say nothing


def test_seventeen_frames_have_two_positions(extractor):
    x = torch.rand(1, 3, 17, 64, 64) * 2 - 1
    with torch.inference_mode():
        pooled = extractor.network.pooled(x)
        parts = [extractor.network.logits["conv3d"](pooled[..., at][..., None, None, None]) for at in (0, 1)]
        logits = extractor.network(x)
    assert pooled.shape == (1, 1024, 2)
    torch.testing.assert_close(logits, torch.stack(parts).mean(0).flatten(1))


def test_endpoints_have_the_sizes_of_the_table(extractor):
    with torch.inference_mode():
        shapes = {name: tuple(x.shape[1:]) for name, x in extractor.network.endpoints(torch.zeros(1, 3, 9, 224, 224))}
    assert shapes["Conv3d_1a_7x7"] == (64, 5, 112, 112) and shapes["MaxPool3d_3a_3x3"] == (192, 5, 28, 28)
    assert shapes["Mixed_3c"] == (480, 5, 28, 28) and shapes["Mixed_4f"] == (832, 3, 14, 14)
    assert shapes["Mixed_5c"] == (1024, 2, 7, 7)


def test_options_reach_the_pixels():
    network: Any = lambda x: x.flatten(1)[:, ::997]  # noqa: E731
    pixels = i3d.Extractor(network)
    one = clips(1, 9)
    plain = pixels.features(one)
    np.testing.assert_array_equal(pixels.features(one[..., ::-1], channels="bgr"), plain)
    np.testing.assert_allclose(pixels.features(one, range="[0,1]"), (plain + 1) / 2, atol=1e-6)
    others: list[dict[str, Any]]
    others = [{"resize": "align_corners"}, {"aspect": "shorter_side_crop"}, {"channels": "bgr"}]
    for options in others:
        assert np.abs(pixels.features(one, **options) - plain).max() > 0.1, options


def interpolated(planes: torch.Tensor, size: tuple[int, int], **options: Any) -> torch.Tensor:
    return torch.nn.functional.interpolate(planes, size, mode="bilinear", **options)


def as_tensorflow_1(planes: torch.Tensor) -> torch.Tensor:
    """Resize to 224 as TensorFlow 1 does: without the half pixel."""
    for axis in (2, 3):
        length = planes.shape[axis]
        source = torch.arange(224) * (length / 224)
        low = source.floor().long()
        weight = (source - low).view(-1, *[1] * (3 - axis))
        below, above = (planes.index_select(axis, at) for at in (low, (low + 1).clamp(max=length - 1)))
        planes = below + (above - below) * weight
    return planes


def as_cdfvd(planes: torch.Tensor) -> torch.Tensor:
    """Make 200x240 pictures squares of 128, antialiased, in 8 bits, and those 224 wide."""
    small = interpolated(planes / 255, (128, 154), antialias=True, align_corners=False)[..., 13:141]
    return interpolated((small * 255).byte().float(), (224, 224))


PIPELINES: dict[str, Any] = {
    "tf": as_tensorflow_1,
    "ccvs": lambda planes: as_tensorflow_1(planes).flip(1),
    "styleganv": lambda planes: interpolated(planes, (224, 224)),
    "araachie": lambda planes: interpolated(planes, (224, 224)),
    "common-styleganv": lambda planes: interpolated(planes, (224, 269))[..., 22:246],
    "videogpt": lambda planes: interpolated(planes, (224, 269))[..., 22:246],
    "cinn-log": lambda planes: interpolated(planes, (224, 224), align_corners=True),
    "cdfvd-i3d": as_cdfvd,
}


@pytest.mark.parametrize("preset", i3d.PRESETS)
def test_presets_prepare_clips_as_the_releases_do(preset):
    """Smooth clips, on which a value at the edge of two 8-bit levels is all that may differ."""
    waves = np.sin(np.arange(200)[:, None] / 17)[..., None] + np.cos(np.arange(240)[:, None] / np.array([11, 19, 29]))
    one = np.round(127.5 + 60 * waves).clip(0, 255).astype(np.uint8)[None, None].repeat(9, axis=1)
    seen: Any = lambda x: x[:, :, 0].flatten(1)  # noqa: E731
    found = i3d.Extractor(seen).features(one, **i3d.PRESETS[preset]).reshape(3, 224, 224)
    (planes,) = PIPELINES[preset](torch.from_numpy(one[0, :1]).movedim(-1, 1).float())
    expected = planes / 255 if preset == "cinn-log" else 2 * planes / 255 - 1
    off = np.abs(found - expected.numpy())
    assert off.max() < 2.1 / 255 and off.mean() < 1e-4


def test_pipelines_have_the_eps_and_divisors_of_the_releases():
    signatures = {name: fvd.signature(**options) for name, options in fvd.VARIANTS.items()}
    rest = {name: signature.partition("ddof")[2] for name, signature in signatures.items()}
    assert {name for name, text in rest.items() if text.startswith("0")} == {"styleganv", "cdfvd-i3d", "cdfvd-videomae"}
    assert {name for name, text in rest.items() if ",eps1e-05" in text} == {"videogpt", "cdfvd-i3d"}
    eps = {name: dict(fvd.features(**options).loading).get("eps") for name, options in fvd.VARIANTS.items()}
    assert {name for name, value in eps.items() if value == 1e-5} == {"videogpt", "cdfvd-i3d"}
    assert set(eps.values()) == {None, 1e-5}
    original = {
        name for name, options in fvd.VARIANTS.items() if fvd.features(**options).weights == "i3d-k400-original"
    }
    assert original == {"araachie", "cinn-log"}


def test_clips_that_cannot_be_scored_are_refused(extractor):
    with pytest.raises(VbenchError, match="the clips have 8 frames and this network needs at least 9"):
        extractor.features(clips(1, 8))
    with pytest.raises(VbenchError, match=r"the clips are float32 \(1, 9, 24, 32, 3\), expected uint8"):
        extractor.features(clips(1, 9).astype(np.float32))
    with pytest.raises(UsageError, match='no range "255"'):
        extractor.features(clips(1, 9), range="255")
    with pytest.raises(UsageError, match='no channel order "gbr"'):
        extractor.features(clips(1, 9), channels="gbr")


def test_other_weights_fail_the_self_test(extractor):
    i3d.self_test(extractor)
    with pytest.raises(VbenchError, match=r"i3d of 10 frames: black and white are .*, expected 569\.77"):
        i3d.verify(extractor)


def test_broken_weights_fail_every_test(weights):
    broken = i3d.load(weights | {"logits.conv3d.weight": np.zeros_like(weights["logits.conv3d.weight"])})
    with pytest.raises(VbenchError, match="i3d: black and white have the same or no features"):
        i3d.self_test(broken)


@pytest.mark.parametrize(
    ("name", "alike", "other"), [(i3d.WEIGHTS, (565, 574), (560, 580)), (i3d.ORIGINAL, (212, 226), (133.9, 207, 231))]
)
def test_how_far_off_a_known_value_may_be(monkeypatch, name, alike, other):
    """That of the first release is three digits of another program."""
    found = iter([*alike, *other])
    monkeypatch.setattr(i3d, "black_white", lambda extractor, frames: next(found))
    for _ in alike:
        i3d.verify(None, name)
    for _ in other:
        with pytest.raises(VbenchError, match=f'these are not the weights that "{name}" means'):
            i3d.verify(None, name)


@pytest.mark.parametrize(
    ("name", "tested"),
    [
        ("i3d-k400", ["i3d-k400 at 0.001", "1e-05"]),
        ("i3d-k400-original", ["i3d-k400-original at 0.001", "1e-05"]),
        ("i3d-k400-1a2b3c4d", ["0.001", "1e-05"]),
    ],
)
def test_known_values_are_asked_of_the_names_that_have_them(monkeypatch, name, tested):
    """Whatever eps a pipeline has, the weights are first seen with the one they were trained with, and once."""
    found = []
    monkeypatch.setattr(networks, "_tensors", lambda *asked: {})
    monkeypatch.setattr(i3d, "load", lambda tensors, device, eps=1e-3: eps)
    monkeypatch.setattr(i3d, "self_test", lambda eps: found.append(f"{eps}"))
    monkeypatch.setattr(i3d, "verify", lambda eps, weights: found.append(f"{weights} at {eps}"))
    networks._extractor.cache_clear()
    for loading in ((("eps", 1e-5),), (), (("eps", 1e-5),)):
        networks.extractor(networks.Features("i3d", name, "clip", loading))
    networks._extractor.cache_clear()
    assert found == tested


@pytest.mark.parametrize("name", [name for name, entry in held.known().items() if entry.network])
def test_every_network_reads_its_files(name):
    with pytest.raises(VbenchError, match="the file has 1 tensors named x and so on"):
        held.state_sha256(name, {"x": np.zeros(1)})


def test_only_the_heads_of_lpips_are_read_by_no_network():
    assert {name for name, entry in held.known().items() if not entry.network} == {
        f"{trunk}-heads" for trunk in lpips_net.WEIGHTS.values()
    }


def test_other_heads_than_the_pinned_ones_are_not_taken(monkeypatch):
    """The package `lpips` might come with others one day."""
    monkeypatch.setattr(held, "digest", lambda path: "0" * 64)
    with pytest.raises(VbenchError, match='n/a: no weights "lpips-alex-heads"; run "vbench-ctl weights fetch lpips-al'):
        lpips_net.published_heads("alex")


def test_dti3d_loops_short_clips_and_wants_32_exactly():
    frames = torch.arange(7)[None]
    assert dti3d.looped(frames, 16).tolist() == [[*range(7), *range(7), 0, 1]]
    assert dti3d.looped(torch.arange(20)[None], 16).tolist() == [list(range(16))]
    network = dti3d.Extractor(i3d.InceptionI3D(18, last_pool=4), 32)
    with pytest.raises(VbenchError, match="the clips have 31 frames and dti3d-32 needs exactly 32"):
        network.features(clips(1, 31))
    with pytest.raises(VbenchError, match="no network of 24 frames"):
        dti3d.load({}, frames=24)


def test_dti3d_features(weights):
    heads = {"logits.conv3d.weight": np.zeros((18, 1024, 1, 1, 1)), "logits.conv3d.bias": np.zeros(18)}
    extractor = dti3d.load(weights | heads)
    short = clips(1, 6)
    features = extractor.features(short)
    assert features.shape == (1, 1024) and features.dtype == np.float32
    looped = extractor.features(np.concatenate([short, short, short], axis=1))
    np.testing.assert_allclose(looped, features, atol=1e-6 * features.max())
    with pytest.raises(VbenchError, match="the clips have 5 frames and this network needs at least 6"):
        extractor.features(clips(1, 5))
    of_nine, cut = extractor.features(clips(1, 9), loop=False), extractor.features(clips(1, 18), loop=False)
    assert np.abs(of_nine - extractor.features(clips(1, 9))).max() > 1e-3 * features.max()
    np.testing.assert_allclose(cut, extractor.features(clips(1, 18)), atol=1e-6 * features.max())
    with pytest.raises(VbenchError, match="the clips have 8 frames and this network needs at least 9"):
        extractor.features(clips(1, 8), loop=False)


def test_resnext_features():
    torch.manual_seed(0)
    network = resnext3d.ResNeXt3D(tuple(stage._replace(blocks=1) for stage in resnext3d.STAGES)).eval()
    extractor = resnext3d.Extractor(network)
    three = clips(3, 18)
    together, alone = extractor.features(three), extractor.features(three[::-1], batch=1)[::-1]
    assert together.shape == (3, 2048) and together.dtype == np.float32
    np.testing.assert_allclose(alone, together, atol=1e-5 * together.max(), rtol=0)
    np.testing.assert_allclose(extractor.features(three[:1, 1:17]), together[:1], atol=1e-5 * together.max())
    assert (
        np.abs(
            extractor.features(three[:1], **dict(vfid.features(**vfid.VARIANTS["evan"]).options)) - together[:1]
        ).max()
        > 1e-3
    )
    resnext3d.self_test(extractor)


def test_same_padding_is_tensorflows():
    assert i3d.same_padding(224, 7, 2) == (2, 3)
    assert i3d.same_padding(9, 7, 2) == (3, 3)
    assert i3d.same_padding(112, 3, 2) == (0, 1)
    assert i3d.same_padding(7, 2, 2) == (0, 1)
    assert i3d.same_padding(5, 1, 2) == (0, 0)


def random_state(network: torch.nn.Module, seed: int = 0) -> dict[str, np.ndarray]:
    """Draw kernels that keep the signal's size, and small biases."""
    rng = np.random.default_rng(seed)
    return {
        name: rng.normal(
            0, (2 / np.prod(value.shape[1:])) ** 0.5 if value.ndim > 1 else 0.1, tuple(value.shape)
        ).astype(np.float32)
        for name, value in network.state_dict().items()
    }


@pytest.mark.parametrize(
    ("net", "taps"), [("vgg16", (3, 8, 15, 22, 29)), ("vgg19", (1, 6, 11, 20, 29))]
)  # numbers of the ReLUs in torchvision's list of layers; those of VGG19 are in GLASS's code
@torch.inference_mode()
def test_vgg_maps_are_torchvisions(net, taps):
    theirs = torchvision.models.get_model(net, weights=None, init_weights=False, num_classes=2).features.eval()
    tensors = {f"features.{name}": value for name, value in random_state(theirs).items()}
    theirs.load_state_dict({name.removeprefix("features."): torch.from_numpy(v) for name, v in tensors.items()})
    extractor = vgg.load(tensors | {"classifier.0.weight": np.zeros((2, 2), np.float32)}, net=net)
    x = torch.rand(2, 3, 48, 33, generator=torch.Generator().manual_seed(0)) * 2 - 1
    found, passed = extractor.network(x), x
    for number, layer in enumerate(theirs):
        passed = layer(passed)
        if number in taps:
            expected = passed.clone()  # the next layers of theirs work in place
            torch.testing.assert_close(found[taps.index(number)], expected, rtol=0, atol=3e-5 * float(expected.max()))
    assert len(found) == 5
    vgg_features = extractor.features(np.zeros((1, 32, 32, 3), np.uint8))
    assert vgg_features.shape == (1, 1472)
    real, fake = np.random.default_rng(0).integers(0, 256, (2, 3, 32, 33, 3), np.uint8)
    alike = extractor.between(real, fake)
    maps = [extractor.network(torch.from_numpy(c).movedim(-1, 1) / 127.5 - 1) for c in (real, fake)]
    torch.testing.assert_close(torch.from_numpy(alike[:, 0]), vgg.likeness(*maps), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(extractor.between(real, fake, batch=2), alike, rtol=1e-5)
    np.testing.assert_allclose(extractor.between(real, real), 1, rtol=1e-5)


def test_a_vgg_is_not_taken_for_the_other():
    with torch.device("meta"):
        sixteen, nineteen = vgg.VGG("vgg16"), vgg.VGG("vgg19")
    numbers = {net: vgg.torchvision_numbers(net) for net in vgg.NETS}
    for network, own, other in ((sixteen, "vgg16", "vgg19"), (nineteen, "vgg19", "vgg16")):
        tensors = {
            f"features.{numbers[own][at]}.{kind}": np.zeros(tuple(getattr(conv, kind).shape), np.float32)
            for at, conv in enumerate(network.convs)
            for kind in ("weight", "bias")
        }
        assert len(vgg.convert(tensors, own)) == 26
        with pytest.raises(VbenchError, match=f"{other}: "):
            vgg.convert(tensors, other)
    with pytest.raises(UsageError, match='no VGG network "vgg18"'):
        vgg.VGG("vgg18")


def test_lpips_on_squeezenet_is_the_packages():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = lpips.LPIPS(net="squeeze", pretrained=False, pnet_rand=True, verbose=False).eval()
    trunk = torchvision.models.squeezenet1_1(weights=None).eval()
    tensors = random_state(trunk)
    trunk.load_state_dict({name: torch.from_numpy(value) for name, value in tensors.items()})
    for number in range(1, 8):
        for name, layer in theirs.net.get_submodule(f"slice{number}").named_children():
            layer.load_state_dict(trunk.features[int(name)].state_dict())
    theirs.load_state_dict(lpips_net.published_heads("squeeze"), strict=False)
    extractor = lpips_net.load(tensors, net="squeeze")
    frames = [clips(1, 3, seed=seed)[0] for seed in (0, 1)]
    with torch.inference_mode():
        expected = theirs(*(torch.from_numpy(one).movedim(-1, 1) / 127.5 - 1 for one in frames)).flatten()
    (found,) = extractor.distances(*frames)
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert found.min() > 0
    lpips_net.self_test(extractor)
    with pytest.raises(VbenchError, match="the frames are 24x16 and lpips with squeeze needs at least 17x17"):
        extractor.distances(*(one[:, :16, :24] for one in frames))
