"""The networks of CCVS against numbers of the released ones (the shared golden/ccvs)."""

import json

import numpy as np
import pytest
import torch
from recorded import close
from torch import Tensor, nn

from vbench_ctl.baselines.ccvs import discriminators, fusion, layers, networks
from vbench_ctl.baselines.ccvs.settings import Settings

WHOLE, GRADIENT = 1e-4, 1e-3  # of the array's maximum; relative L2 for gradients (golden/ccvs/README.md)
FLOW = Settings.flow_widths


class Golden:
    """One file of golden numbers."""

    def __init__(self, path) -> None:
        self.arrays = np.load(path)

    def __getitem__(self, key: str) -> Tensor:
        return torch.from_numpy(np.array(self.arrays[key]))

    def __contains__(self, key: str) -> bool:
        return key in self.arrays.files

    def state(self, start: str) -> dict[str, Tensor]:
        """Return the weights under a prefix; the constant kernels of blurs are not weights of ours."""
        keys = [key for key in self.arrays.files if key.startswith(start) and not key.endswith((".kernel", ".mask"))]
        return {key.removeprefix(start): self[key] for key in keys}

    def under(self, start: str) -> list[str]:
        return [key.removeprefix(start) for key in self.arrays.files if key.startswith(start)]

    @property
    def config(self) -> dict:
        return json.loads(str(self.arrays["config"]))


@pytest.fixture
def golden(shared):
    return lambda name: Golden(shared / "golden/ccvs" / f"io_{name}.npz")


@pytest.fixture
def listed(shared):
    return lambda name: json.loads((shared / "golden/ccvs" / f"{name}.json").read_text())


def close_gradient(found: Tensor | None, wanted: Tensor) -> None:
    assert found is not None and found.shape == wanted.shape
    assert (found - wanted).norm() <= GRADIENT * wanted.norm() + 1e-9


def loaded(network: nn.Module, file: Golden, start: str) -> nn.Module:
    network.load_state_dict(file.state(start))
    return network


LAYERS = {
    "ae_conv1": lambda: layers.Conv(5, 4, 1),
    "ae_conv1_down": lambda: layers.Conv(5, 4, 1, "down"),
    "ae_conv1_up": lambda: layers.Conv(5, 4, 1, "up"),
    "ae_conv3": lambda: layers.Conv(5, 4, 3),
    "ae_conv3_down": lambda: layers.Conv(5, 4, 3, "down"),
    "ae_conv3_up": lambda: layers.Conv(5, 4, 3, "up"),
    "ae_conv5_noact": lambda: layers.Conv(5, 3, 5, active=False),
    "ae_conv9_noact": lambda: layers.Conv(5, 2, 9, active=False),
    "ae_conv3_up_nobias_noact": lambda: layers.Conv(5, 4, 3, "up", bias=False, active=False),
    "ae_res_down": lambda: layers.Residual(4, 6, "down"),
    "ae_res_up": lambda: layers.Residual(6, 4, "up"),
    "ae_linear": lambda: layers.Linear(6, 3),
    "d_conv1": lambda: layers.JudgeConv(5, 4, 1),
    "d_conv1_down": lambda: layers.JudgeConv(5, 4, 1, down=True),
    "d_conv3": lambda: layers.JudgeConv(5, 4, 3),
    "d_conv3_down": lambda: layers.JudgeConv(5, 4, 3, down=True),
    "d_res_down": lambda: layers.JudgeResidual(4, 6),
    "d_linear_act": lambda: layers.Linear(6, 3, active=True),
    "d3_conv1": lambda: layers.JudgeConv3d(3, 4, (1, 1)),
    "d3_conv3": lambda: layers.JudgeConv3d(3, 4, (3, 3), time_padding=1),
    "d3_res_reduce_t": lambda: layers.JudgeResidual3d(4, 5, shorten=True),
    "d3_res": lambda: layers.JudgeResidual3d(4, 5, shorten=False),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers(golden, name):
    file = golden("layers")
    layer = loaded(LAYERS[name](), file, f"sd/{name}/")
    x = file[f"in/{name}/x"].requires_grad_()
    y = layer(x)
    close(y, file[f"out/{name}"])
    (y * file[f"in/{name}/cot"]).sum().backward()
    close_gradient(x.grad, file[f"grad/{name}/x"])
    parameters = dict(layer.named_parameters())
    for key in file.under(f"grad/{name}/"):
        if key != "x":
            close_gradient(parameters[key].grad, file[f"grad/{name}/{key}"])


def test_resampling(golden):
    file = golden("layers")
    x, kernel = file["in/upfirdn/x"], file["in/upfirdn/asym_kernel"]
    close(layers.Blur(0).kernel, file["out/upfirdn/kernel_1331"])
    for name, how in {
        "pad21": {"pad": (2, 1)},
        "up2_pad21": {"up": 2, "pad": (2, 1)},
        "down2_pad11": {"down": 2, "pad": (1, 1)},
        "crop": {"pad": (-1, 2)},
        "up2_down2": {"up": 2, "down": 2, "pad": (2, 2)},
    }.items():
        close(layers.resampled(x, kernel, **how), file[f"out/upfirdn/{name}"])


def test_blur_by_hand():
    kernel = layers.Blur(0).kernel
    assert kernel.sum(1).tolist() == [1 / 8, 3 / 8, 3 / 8, 1 / 8]
    assert kernel[0, 0] == 1 / 64 and kernel[1, 1] == 9 / 64
    down, up = layers.Conv(1, 1, 3, "down"), layers.Conv(1, 1, 3, "up")
    for layer in (down[1], up[0]):
        nn.init.ones_(layer.weight)
    close(down(torch.ones(1, 1, 4, 4)), torch.full((1, 1, 2, 2), 1.880208))
    found = up(torch.ones(1, 1, 2, 2))[0, 0]
    assert found[0].tolist() == pytest.approx([1.333333, 1.833333, 1.833333, 1.333333], rel=1e-5)
    assert found[1, 1].item() == pytest.approx(2.520833, rel=1e-5)


@pytest.mark.parametrize("name", ["warp_sq", "warp_rect"])
def test_warping(golden, name):
    file = golden("warp_correlation")
    x, flow = (file[f"in/{name}/{each}"].requires_grad_() for each in ("f", "flow"))
    close(layers.pixel_centres(*x.shape[2:], x)[None], file[f"out/{name}/grid"])
    y = layers.warped(x, flow)
    close(y, file[f"out/{name}/y"])
    close(layers.warped(x, flow, outside=1.0), file[f"out/{name}/y_pad1"])
    close(layers.warped(x, flow + 0.037, mode="nearest"), file[f"out/{name}/y_nearest"])
    (y * file[f"in/{name}/cot"]).sum().backward()
    close_gradient(x.grad, file[f"grad/{name}/f"])
    close_gradient(flow.grad, file[f"grad/{name}/flow"])


def test_warping_by_hand():
    ramp = torch.arange(16.0).view(1, 1, 4, 4)
    assert layers.pixel_centres(4, 4, ramp)[0, 0].tolist() == [-0.75, -0.25, 0.25, 0.75]
    flow = torch.zeros(1, 2, 4, 4)
    flow[:, 0] = 1
    assert layers.warped(ramp, flow)[0, 0, 0].tolist() == pytest.approx([1.333333, 2.333333, 2, 0], rel=1e-5)
    flow[:, 0], flow[:, 1] = 0, 0.75
    close(layers.warped(ramp, flow)[0, 0, :3], ramp[0, 0, 1:])


@pytest.mark.parametrize(("name", "stride"), [("s1", 1), ("s2", 2), ("s2odd", 2), ("s1wide", 1)])
def test_correlation(golden, name, stride):
    file = golden("warp_correlation")
    a, b = (file[f"in/corr_{name}/{each}"].requires_grad_() for each in "ab")
    y = layers.correlation(a[..., ::stride, ::stride], b[..., ::stride, ::stride])
    close(y, file[f"out/corr_{name}"])
    (y * file[f"in/corr_{name}/cot"]).sum().backward()
    close_gradient(a.grad, file[f"grad/corr_{name}/a"])
    close_gradient(b.grad, file[f"grad/corr_{name}/b"])


def test_correlation_by_hand():
    a = torch.arange(32.0).view(1, 2, 4, 4) / 10
    y = layers.correlation(a, a.flip(3))
    assert y[0, 24, 0].tolist() == pytest.approx([1.52, 1.54, 1.54, 1.52])
    assert y[0, [25, 31], 0, 0].tolist() == pytest.approx([1.44, 1.84])
    assert y.sum().item() == pytest.approx(778.88)
    strided = layers.correlation(a[..., ::2, ::2], a.flip(3)[..., ::2, ::2])
    assert strided.shape == (1, 49, 2, 2) and strided.sum().item() == pytest.approx(39.36)
    assert strided[0, 24].flatten().tolist() == pytest.approx([1.52, 1.54, 3.68, 3.70])


@pytest.mark.parametrize(("height", "width", "stride"), [(19, 33, 1), (5, 3, 1), (16, 16, 2), (1, 1, 1)])
def test_correlation_is_the_loop_over_shifts(height, width, stride):
    torch.manual_seed(0)
    a, b = torch.randn(2, 3, 6, height, width).unbind()
    wide = nn.functional.pad(b, [3 * stride] * 4)
    shifts = [(y * stride, x * stride) for y in range(7) for x in range(7)]
    wanted = [(a * wide[..., y : y + height, x : x + width]).mean(1)[:, ::stride, ::stride] for y, x in shifts]
    close(layers.correlation(a[..., ::stride, ::stride], b[..., ::stride, ::stride]), torch.stack(wanted, 1))


@pytest.mark.parametrize("name", ["first_level", "later_level"])
def test_fusion(golden, name):
    file = golden("fusion_block")
    about = file.config["blocks"][name]
    level = {1: 0, 8: 3}[about["flow_mult"]]
    block = fusion.Fusion(about["features"], level, FLOW)
    state = file.state(f"sd/{name}/")
    if level:  # the golden block's heads are those of this level
        assert state["matching.flow_head.0.weight"].shape[-1] == about["head_kernel"]
    block.load_state_dict(state)
    contexts = [file[f"in/{name}/context{n}"].requires_grad_() for n in range(about["contexts"])]
    decoded = file[f"in/{name}/decoder"].requires_grad_()
    coarser = None
    if level:
        coarser = fusion.Motion(*(file[f"in/{name}/{each}"].requires_grad_() for each in ("flow", "occ")))
    given = torch.stack(contexts, 1)
    first = block.matching(decoded, given.flatten(0, 1), coarser)
    close(first.flow, file[f"out/{name}/matching_flow"])
    close(first.occlusion, file[f"out/{name}/matching_occ"])
    fused, motion = block(decoded, given, coarser)
    close(fused, file[f"out/{name}/fused"], WHOLE)
    close(motion.flow, file[f"out/{name}/flow"], WHOLE)
    close(motion.occlusion, file[f"out/{name}/occ"], WHOLE)
    (fused * file[f"in/{name}/cot"]).sum().backward()
    close_gradient(decoded.grad, file[f"grad/{name}/decoder"])
    close_gradient(contexts[0].grad, file[f"grad/{name}/context0"])
    if coarser:
        close_gradient(coarser.flow.grad, file[f"grad/{name}/flow"])
        close_gradient(coarser.occlusion.grad, file[f"grad/{name}/occ"])
    parameters = dict(block.named_parameters())
    for key in file.under(f"grad/{name}/"):
        if key in parameters:
            close_gradient(parameters[key].grad, file[f"grad/{name}/{key}"])
    with torch.no_grad():
        block.subpixel.occ_head[0].bias += 30
        close(block(decoded, given, coarser)[0], file[f"out/{name}/fused_saturated"], WHOLE)


@pytest.mark.parametrize(("name", "channels"), [("v4", -3), ("v5", -3), ("scalar", -1), ("mult2", -3)])
def test_quantiser(golden, name, channels):
    file = golden("quantizer")
    quantiser = networks.Quantiser(*file[f"sd/{name}/embedding.weight"].shape)
    loaded(quantiser, file, f"sd/{name}/")
    z = file[f"in/{name}/z"].requires_grad_()
    found = quantiser(z, channels)
    close(found.indices[:, None], file[f"out/{name}/index"])
    close(found.values, file[f"out/{name}/zq"])
    close(found.loss, file[f"out/{name}/loss"])
    close(networks.perplexity(found.indices, len(quantiser.embedding.weight)), file[f"out/{name}/perplexity"])
    through = (found.values * file[f"in/{name}/cot"]).sum()
    close_gradient(*torch.autograd.grad(through, z, retain_graph=True), file[f"grad/{name}/z_through_zq"])
    of_z, of_codebook = torch.autograd.grad(found.loss, [z, quantiser.embedding.weight])
    close_gradient(of_z, file[f"grad/{name}/z_of_loss"])
    close_gradient(of_codebook, file[f"grad/{name}/codebook_of_loss"])


def test_quantiser_by_hand():
    quantiser = networks.Quantiser(3, 2)
    quantiser.embedding.weight.data = torch.tensor([[0.0, 0], [1, 0], [0, 2]])
    found = quantiser(torch.tensor([[0.9, 0.2], [0.1, 1.2]]), -1)
    assert found.indices.tolist() == [1, 2] and found.loss.item() == pytest.approx(0.21875)
    assert networks.perplexity(found.indices, 3).item() == pytest.approx(2)


def test_a_healthy_codebook_uses_all_its_words():
    torch.manual_seed(0)
    released, healthy = networks.Quantiser(16, 2), networks.Healthy(16, 2, 0.99)
    vectors = torch.randn(16, 2)[torch.arange(256) % 16][:, :, None, None] + 3
    for _ in range(20):
        healthy.restart()
        found = healthy(vectors)
        healthy.observe(vectors, found.indices)
    with torch.no_grad():
        used = networks.perplexity(healthy(vectors).indices, 16)
        assert used > 3 * networks.perplexity(released(vectors).indices, 16)
        assert healthy(vectors).loss < 0.1 * released(vectors).loss


@pytest.mark.parametrize(("name", "widths"), [("r4", (2, 3, 6, 12)), ("r6", (1, 1, 2, 2, 4, 4))])
def test_autoencoder(golden, name, widths):
    file = golden(f"autoencoder_{name}")
    about, sizes = file.config, [8 * width for width in widths]
    encoder = loaded(networks.Encoder(sizes, about["z_size"], 0.75), file, "sd/e/")
    quantiser = loaded(networks.Quantiser(about["z_num"], about["z_size"]), file, "sd/q/")
    decoder = loaded(networks.Decoder(sizes, about["z_size"], 0.75, FLOW), file, "sd/g/")
    video = file["in/video"].requires_grad_()
    encoded = [encoder(frame) for frame in video.unbind(1)]
    latent = torch.stack([each.latent for each in encoded], 1)
    close(latent, file["out/e/z"])
    for level, features in enumerate(encoded[4].features):
        close(features[0], file[f"out/e/inter{level}_s0f4"])
    for level in range(len(sizes)):
        means = torch.stack([each.features[level].mean((2, 3)) for each in encoded], 1)
        close(means, file[f"out/e/inter{level}_mean"], WHOLE)
    quantised = quantiser(latent)
    close(quantised.indices.view(file["out/q/index"].shape), file["out/q/index"])
    close(quantised.loss, file["out/q/loss"])
    close(quantised.values, file["out/q/zq"])
    close(quantiser.words(file["out/q/index"].long(), about["z_shape"]), file["out/q/embedded"])
    for count, frames in {0: [], 1: [3], 2: [3, 1], 4: [3, 2, 1, 0]}.items():
        key = f"out/g/k{count}"
        made = decoder(quantised.values[:, 4], [encoded[frame].features for frame in frames])
        close(made.frames, file[f"{key}/rgb"], WHOLE)
        for level, motion in enumerate(made.motions):
            if f"{key}/flow{level}" in file:
                close(motion.flow, file[f"{key}/flow{level}"], WHOLE)
                close(motion.occlusion, file[f"{key}/occ{level}"], WHOLE)
        if f"grad/k{count}/video" in file:
            decoder.zero_grad()
            gradient = torch.autograd.grad((made.frames * file[f"in/cot_k{count}"]).sum(), video, retain_graph=True)
            close_gradient(gradient[0], file[f"grad/k{count}/video"])
        if count in (1, 2):
            parameters = dict(decoder.named_parameters())
            total = (made.frames * file[f"in/cot_k{count}"]).sum()
            for each in file.under(f"grad/k{count}/g/"):
                (found,) = torch.autograd.grad(total, parameters[each], retain_graph=True)
                close_gradient(found, file[f"grad/k{count}/g/{each}"])


@pytest.mark.parametrize("kind", ["image", "video"])
def test_discriminators(golden, kind):
    file = golden(f"{kind}_discriminator")
    widths, size = (6, 12, 18, 18), (32, 32)
    if kind == "image":
        network: nn.Module = discriminators.ImageDiscriminator(widths, size)
    else:
        network = discriminators.VideoDiscriminator(widths, size, 4)
    loaded(network, file, "sd/")
    real, fake = file["in/real"], file["in/fake"]
    close(network(real), file["out/score_real"])
    close(network(fake), file["out/score_fake"])
    close(network(real[:4]), file["out/score_real_first4"])
    if kind == "video":
        close(network(real[:2]), file["out/score_real_first2"])


COUNTS = {  # name of keys_*.json -> network at a recipe's size
    ("encoder", "bair256_ucf256"): lambda: networks.Encoder([128, 128, 256, 256, 512, 512], 512, 0.75),
    ("encoder", "drums128"): lambda: networks.Encoder([128, 128, 256, 256, 512], 512, 0.75),
    ("encoder", "kinetics64"): lambda: networks.Encoder([256, 256, 512, 512], 512, 0.75),
    ("decoder", "bair256_ucf256"): lambda: networks.Decoder([128, 128, 256, 256, 512, 512], 512, 0.75, FLOW),
    ("decoder", "drums128"): lambda: networks.Decoder([128, 128, 256, 256, 512], 512, 0.75, FLOW),
    ("decoder", "kinetics64"): lambda: networks.Decoder([256, 256, 512, 512], 512, 0.75, FLOW),
    ("quantizer", "kinetics64"): lambda: networks.Quantiser(16384, 512),
    ("image_discriminator", "bair256_ucf256"): lambda: discriminators.ImageDiscriminator(
        [64, 64, 128, 128, 256, 256], (256, 256)
    ),
    ("image_discriminator", "drums128"): lambda: discriminators.ImageDiscriminator([64, 64, 128, 128, 256], (128, 128)),
    ("image_discriminator", "kinetics64"): lambda: discriminators.ImageDiscriminator([128, 128, 256, 256], (64, 64)),
    ("video_discriminator", "bair256_ucf256"): lambda: discriminators.VideoDiscriminator(
        [64, 64, 128, 128, 256, 256], (256, 256), 4
    ),
    ("video_discriminator", "drums128"): lambda: discriminators.VideoDiscriminator(
        [64, 64, 128, 128, 256], (128, 128), 4
    ),
    ("video_discriminator", "kinetics64"): lambda: discriminators.VideoDiscriminator([128, 128, 256, 256], (64, 64), 4),
    ("state_estimator", "bair256"): lambda: networks.StateEstimator(512, 128, 2),
    ("state_estimator", "bair256_quantizer"): lambda: networks.Quantiser(128, 1),
    ("stft_autoencoder", "drums_encoder"): lambda: networks.SoundEncoder(512, 512),
    ("stft_autoencoder", "drums_decoder"): lambda: networks.SoundDecoder(512, 512),
    ("stft_autoencoder", "drums_quantizer"): lambda: networks.Quantiser(1024, 512),
}


@pytest.mark.parametrize("which", COUNTS, ids="-".join)
def test_released_names_shapes_and_counts(listed, which):
    name, variant = which
    about = listed(f"keys_{name}")[variant]
    with torch.device("meta"):
        network = COUNTS[which]()
    wanted = {key: shape for key, shape, _ in about["keys"] if not key.endswith(".kernel")}
    assert {key: list(value.shape) for key, value in network.state_dict().items()} == wanted
    assert sum(value.numel() for value in network.parameters()) == about["parameters"]
