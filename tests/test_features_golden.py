"""The feature networks against numbers of the reference code, with the random weights of golden/cinn and golden/g3an."""

import json
import zlib
from functools import cache
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from vbench_ctl.features import dti3d, i3d, lpips_net, resnext3d, vgg
from vbench_ctl.metrics import vfid
from vbench_ctl.resize import resize


def close(found, expected, tolerance: float) -> None:
    """Compare relative to the largest value, as the golden READMEs do."""
    np.testing.assert_allclose(found, expected, atol=tolerance * np.abs(expected).max(), rtol=0)


@cache
def draw(file: Path) -> dict[str, np.ndarray]:
    """Return the weights that golden/cinn/README.md's recipe makes."""
    spec = json.loads(file.read_text())
    rng, drawn = np.random.RandomState(spec["recipe_seed"]), {}  # the recipe's generator
    for name, shape, dtype, kind, mean, std in spec["keys"]:
        if kind in ("const", "keep"):
            drawn[name] = np.full(shape, mean, dtype)
            continue
        noise = rng.standard_normal(int(np.prod(shape))).reshape(shape)
        drawn[name] = (mean + std * (np.abs(noise) if kind == "abs" else noise)).astype(dtype)
    return drawn


def clip(seed: int, shape: list[int]) -> torch.Tensor:
    """Return a clip (B, 3, T, 224, 224), resized as cINN's metrics do."""
    noise = np.random.RandomState(seed).standard_normal(int(np.prod(shape))).reshape(shape)
    frames = torch.from_numpy((noise / 2).clip(-1, 1).astype(np.float32))
    return resize(frames, i3d.SIZE, "align_corners").transpose(1, 2)


@pytest.fixture(scope="module")
def cinn(shared) -> Path:
    return shared / "golden" / "cinn"


@pytest.fixture(scope="module")
def g3an(shared) -> Path:
    return shared / "golden" / "g3an"


KERNELS = {"7s2_odd": (7, 2), "7s2_even": (7, 2), "333": (3, 1), "7s2_T9": (7, 2)}
# hassony2's port (tf_*) pads odd pictures differently, which 224 pixels never become where there is a stride.


@pytest.mark.parametrize("name", ["unit_7s2_odd", "unit_7s2_even", "unit_333", "tf_unit_7s2_T9", "tf_unit_333"])
@pytest.mark.parametrize("folded", [False, True])
@torch.inference_mode()
def test_units(cinn, name, folded):
    with np.load(cinn / "io_i3d_units.npz") as golden:
        kernel, stride = KERNELS[name.removeprefix("tf_").removeprefix("unit_")]
        unit = i3d.Unit(3, 4, kernel, stride, eps=1e-3 if name.startswith("tf_") else 1e-5).eval()
        unit.load_state_dict(state(golden, f"{name}/sd/"))
        if folded:
            unit.fold()
        close(unit(torch.from_numpy(golden[f"in/{name}"])), golden[f"out/{name}"], 2e-5)


@pytest.mark.parametrize("name", ["mixed", "tf_mixed"])
@torch.inference_mode()
def test_mixed_block(cinn, name):
    spelled = {"branch_0": "b0", "branch_1.0": "b1a", "branch_1.1": "b1b"}
    spelled |= {"branch_2.0": "b2a", "branch_2.1": "b2b", "branch_3.1": "b3b"}
    with np.load(cinn / "io_i3d_units.npz") as golden:
        weights = state(golden, f"{name}/sd/")
        for theirs, ours in spelled.items():
            weights = {key.replace(theirs, ours): value for key, value in weights.items()}
        block = i3d.Mixed(i3d.Branches(6, 4, 3, 5, 2, 3, 4), eps=1e-3 if name == "tf_mixed" else 1e-5).eval()
        block.load_state_dict(weights)
        # Pools are padded with zeros, and ours leaves them out: the same for inputs that are not negative, as all are
        # behind a ReLU. The golden input is negative in places, so the last branch is told apart.
        x = torch.from_numpy(golden[f"in/{name}"])
        close(block(x)[:, :12], golden[f"out/{name}"][:, :12], 2e-5)
        pooled = F.max_pool3d(F.pad(x, [1] * 6), 3, 1)
        close(block.b3b(pooled), golden[f"out/{name}"][:, 12:], 2e-5)


def state(golden, prefix: str) -> dict[str, torch.Tensor]:
    return {
        key.removeprefix(prefix).replace("batch3d", "bn"): torch.from_numpy(golden[key])
        for key in golden.files
        if key.startswith(prefix)
    }


POOLS = {"133": ((1, 3, 3), (1, 2, 2)), "333s2": ((3, 3, 3), (2, 2, 2)), "222": ((2, 2, 2), (2, 2, 2))}
POOLS |= {"333s1": ((3, 3, 3), (1, 1, 1)), "333s2_T4": POOLS["333s2"]}


def test_pools_behind_a_relu(cinn):
    with np.load(cinn / "io_i3d_units.npz") as golden:
        names = [name for name in golden.files if name.startswith(("in/pool", "in/tf_pool_333s2_T4"))]
        assert len(names) == 5
        for name in names:
            kernel, stride = POOLS[name.split("pool_")[1]]
            found = i3d.max_pool(torch.from_numpy(golden[name]).relu(), kernel, stride)
            # ReLU and maximum may change places, and the zeros around do not count once nothing is negative
            np.testing.assert_array_equal(found, golden[name.replace("in/", "out/")].clip(0), err_msg=name)


@torch.inference_mode()
def test_dti3d_of_16_frames(cinn):
    network = dti3d.load(draw(cinn / "keys_dti3d_16.json")).network
    with np.load(cinn / "rc_i3d.npz") as golden:
        x = clip(20211050, [2, 16, 3, 32, 32])
        features = network.pooled(x).mean(2)
        close(features, golden["out/dti3d_16/features"], 1e-4)
        close(network(x), golden["out/dti3d_16/logits"][..., 0], 1e-4)
        short = dti3d.looped(x[:1, :, :6].transpose(1, 2), 16).transpose(1, 2)
        close(network.pooled(short).mean(2), golden["out/dti3d_16/features_of_first_6_frames_tiled"][:1], 1e-4)


@torch.inference_mode()
def test_dti3d_layers_and_32_frames(cinn):
    weights = draw(cinn / "keys_dti3d_16.json")
    with np.load(cinn / "rc_i3d.npz") as golden:
        for name, x in dti3d.load(weights).network.endpoints(clip(20211050, [2, 16, 3, 32, 32])[:1]):
            x = x.double()
            checks = [float(x.sum()), float(x.abs().sum()), float((x**2).sum())]
            np.testing.assert_allclose(checks, golden[f"out/dti3d_16/{name}_checks"], rtol=1e-4, err_msg=name)
        network = dti3d.load(weights, frames=32).network
        features = network.pooled(clip(20211051, [1, 32, 3, 32, 32])).mean(2)
        close(features, golden["out/dti3d_32/features"], 1e-4)


@torch.inference_mode()
def test_kinetics_i3d_of_16_and_17_frames(cinn):
    network = i3d.load(draw(cinn / "keys_i3d_kinetics.json")).network
    with np.load(cinn / "rc_i3d.npz") as golden:
        for name, x in (("T16", clip(20211052, [2, 16, 3, 32, 32])), ("T17", clip(20211053, [2, 17, 3, 20, 20]))):
            close(network((x[:1] + 1) / 2), golden[f"out/i3d_kinetics/{name}_logits"][:1], 1e-4)


def test_dti3d_is_given_looped_clips(cinn):
    with np.load(cinn / "io_frechet.npz") as golden:
        for name in ("tile6", "tile16", "tile20"):
            clips = dti3d.looped(torch.from_numpy(golden[f"in/{name}/generated"][:4]), 16)
            x = resize(clips, i3d.SIZE, "align_corners").transpose(1, 2)
            probe = x[:, :, :, ::56, ::75].mean(3).flatten(1)
            close(probe, golden[f"out/{name}/features"], 2e-5)


@torch.inference_mode()
def test_lpips_of_random_weights(cinn):
    network = lpips_net.load(draw(cinn / "keys_lpips_vgg.json"), net="vgg").network
    with np.load(cinn / "io_lpips.npz") as golden:
        x, y = (torch.from_numpy(golden[f"in/{name}"]) for name in "xy")
        found, layers = network(x, y, retPerLayer=True)
        close(found, golden["out/lpips"], 2e-5)
        for number, layer in enumerate(layers):
            close(layer, golden[f"out/layer{number}"], 2e-5)


@torch.inference_mode()
def test_vgg_maps_give_the_diversity_score(cinn):
    network = vgg.load(draw(cinn / "keys_lpips_vgg.json")).network
    with np.load(cinn / "io_diversity.npz") as golden:
        videos = torch.from_numpy(golden["in/vgg_videos"])[0]  # (realisations, T, 3, H, W) of the first start
        frames = vgg.normalised((videos.flatten(0, 1) + 1) / 2)
        x = resize(frames, vgg.SIZE, "torch_half_pixel")
        close(x[..., ::8, ::8], golden["out/vgg_input_sub"], 2e-5)
        for number, layer in enumerate(network(x)):
            maps = layer.unflatten(0, videos.shape[:2])
            pairs = [float(((maps[i] - maps[j]) ** 2).mean()) for i, j in permutations(range(len(maps)), 2)]
            assert np.mean(pairs) == pytest.approx(golden[f"out/div_vgg_item0_layer{number}"], rel=1e-4)


def hashed(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return golden/g3an's deterministic numbers in [-1, 1): murmur3's finaliser over counters."""
    x: np.ndarray = np.arange(np.prod(shape), dtype=np.uint32) + np.uint32(zlib.crc32(name.encode()))
    x = (x ^ (x >> 16)) * np.uint32(0x85EBCA6B)
    x = (x ^ (x >> 13)) * np.uint32(0xC2B2AE35)
    return (2 * (x ^ (x >> 16)).astype(np.float64) / 2**32 - 1).reshape(shape)


def rich_fill(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return the weights that golden/g3an/README.md calls rich."""
    filled = {}
    for name, value in network.state_dict().items():
        shape, parts = tuple(value.shape), name.split(".")
        if name.endswith("num_batches_tracked"):
            continue
        scale = 0.2 if "bn3" in parts else 1.0
        if len(shape) == 5:
            new = np.sqrt(6 / np.prod(shape[1:])) * hashed(name, shape)
        else:
            noise = hashed(name, shape)
            new = {
                "weight": scale + 0.3 * scale * noise,
                "bias": 0.2 * noise,
                "running_mean": 0.2 * noise,
                "running_var": 1 + 0.4 * noise,
            }[parts[-1]]
        filled[name] = torch.from_numpy(new.astype(np.float32))
    return filled


def resnext_input(name: str, frames: int, size: int) -> torch.Tensor:
    values = 127.5 + 127.5 * hashed(name, (1, 3, frames, size, size))
    mean = np.array(resnext3d.MEAN).reshape(3, 1, 1, 1)
    return torch.from_numpy((values - mean).astype(np.float32))


@pytest.mark.parametrize("folded", [False, True])
@torch.inference_mode()
def test_resnext_of_one_block_per_stage(g3an, folded):
    network = resnext3d.ResNeXt3D(tuple(stage._replace(blocks=1) for stage in resnext3d.STAGES)).eval()
    network.load_state_dict(rich_fill(network), strict=False)
    if folded:
        network.fold()
    with np.load(g3an / "io_resnext.npz") as golden:
        close(network(resnext_input("rx", 16, 112)), golden["out/r1111_rich/rx/feature"], 1e-4)


@torch.inference_mode()
def test_resnext_101(g3an):
    with torch.device("meta"):
        names = resnext3d.ResNeXt3D()
    tensors = {f"module.{name}": value.numpy() for name, value in rich_fill(names).items()}
    tensors |= {"module.fc.weight": np.zeros((400, 2048)), "module.fc.bias": np.zeros(400)}
    network = resnext3d.load(tensors).network
    with np.load(g3an / "io_resnext.npz") as golden:
        x = network.stem(resnext_input("rx", 16, 112))
        stages = [x, *(x := network.get_submodule(f"layer{number}")(x) for number in range(1, 5))]
        found = [[float(stage.double().mean()), float(stage.double().std(correction=0))] for stage in stages]
        np.testing.assert_allclose(found, golden["out/r101_rich/rx/stage_mean_std"], rtol=1e-4)
        for name, frames, size in (("rx", 16, 112), ("rx160", 16, 160), ("rx32", 32, 112)):
            found = network(resnext_input(name, frames, size))
            close(found, golden[f"out/r101_rich/{name}/feature"], 1e-4)


def test_resnext_keys_and_parameters_are_the_checkpoints(g3an):
    spec = json.loads((g3an / "keys_resnext101.json").read_text())
    with torch.device("meta"):
        network = resnext3d.ResNeXt3D()
    keys = [(name, shape) for name, shape, _ in spec["keys"] if ".fc." not in name]
    assert keys == [(f"module.{name}", list(value.shape)) for name, value in network.state_dict().items()]
    assert sum(value.numel() for value in network.parameters()) == 47_521_216


@pytest.mark.parametrize("name", ["up64", "down", "small_wide"])
def test_resnext_resizes_with_pillow(g3an, name):
    with np.load(g3an / "io_preprocess.npz") as golden:
        clip = torch.from_numpy(golden[f"in/frames_{name}"])[None]
        x = resnext3d.prepared(clip, **vfid.VARIANTS[""])
        pixels = x[0] + x.new_tensor(resnext3d.MEAN).view(3, 1, 1, 1)
        np.testing.assert_allclose(pixels, golden[f"out/eval_{name}_u8"], atol=1e-4)


def test_resnext_window_is_the_middle(g3an):
    with np.load(g3an / "io_preprocess.npz") as golden:
        lengths = golden["out/window/n_frames"]
        rows = golden["out/window/indices_padded_with_minus1"]
        for frames, row in zip(lengths, rows, strict=True):
            found = resnext3d.window(torch.arange(int(frames))[None])[0].tolist()
            # the reference slips out of shorter clips; ours start again
            expected = [at for at in row.tolist() if at >= 0][:16] if frames >= 16 else np.arange(16) % frames
            assert found == list(expected), frames
