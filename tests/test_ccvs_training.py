"""Losses, elastic views and training steps of CCVS against numbers of the released ones (the shared golden/ccvs)."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from test_ccvs_networks import GRADIENT, WHOLE, Golden, close, close_gradient, golden, listed  # noqa: F401
from torch import nn

from vbench_ctl.baselines.ccvs import autoencoder, control, discriminators, elastic, losses, networks, synthesis
from vbench_ctl.baselines.ccvs.autoencoder import Triple
from vbench_ctl.baselines.ccvs.frames import pixels
from vbench_ctl.baselines.ccvs.settings import Settings
from vbench_ctl.errors import UsageError
from vbench_ctl.features import vgg


def narrow_vgg(file: Golden, start: str) -> losses.Distance:
    """VGG-19's order of layers with the golden file's few channels."""
    state = file.state(start)
    numbers = vgg.torchvision_numbers("vgg19")
    widths = [3, 4, 4, 6, 6, 8, 8, 8, 8, 10, 10, 10, 10, 10]
    network = vgg.VGG("vgg19")
    network.convs = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in itertools.pairwise(widths))
    held = {key.partition(".")[2]: value for key, value in state.items()}
    network.load_state_dict(
        {f"convs.{n}.{k}": held[f"{at}.{k}"] for n, at in enumerate(numbers) for k in ("weight", "bias")}
    )
    network.requires_grad_(False)
    return losses.perceptual(network)


def test_perceptual_distance(golden):  # noqa: F811
    file = golden("vgg_loss")
    x = file["in/x"].requires_grad_()
    distance = narrow_vgg(file, "sd/")(x, file["in/y"])
    close(distance, file["out/loss"])
    distance.backward()
    close_gradient(x.grad, file["grad/x"])


def test_logistic_losses(golden):  # noqa: F811
    file = golden("gan_losses")
    close(losses.fooled(file["in/d_fake"]), file["out/logistic/g"])
    close(losses.told_apart(file["in/d_real"], file["in/d_fake"]), file["out/logistic/d"])
    assert losses.fooled(torch.tensor([0.5])).item() == pytest.approx(0.474077, rel=1e-5)
    assert losses.told_apart(torch.tensor([0.5]), torch.tensor([0.3])).item() == pytest.approx(1.328432, rel=1e-5)


@pytest.mark.parametrize("kind", ["image", "video"])
def test_what_discriminators_learn_from(golden, kind):  # noqa: F811
    file = golden(f"{kind}_discriminator")
    widths, size = (6, 12, 18, 18), (32, 32)
    if kind == "image":
        network: nn.Module = discriminators.ImageDiscriminator(widths, size)
    else:
        network = discriminators.VideoDiscriminator(widths, size, 4)
    network.load_state_dict(file.state("sd/"))
    real, fake = file["in/real"], file["in/fake"].requires_grad_()
    made = losses.fooled(network(fake))
    close(made, file["out/g_loss"])
    (gradient,) = torch.autograd.grad(made, fake)
    close_gradient(gradient[:2], file["grad/g_loss/fake_first2"])
    parameters = dict(network.named_parameters())
    told = losses.told_apart(network(real), network(fake))
    close(told, file["out/d_loss"])
    steep = losses.steepness(network, real)
    close(steep, file["out/r1_penalty"], WHOLE)
    close(80 * steep[None], file["out/r1_loss"], WHOLE)
    for name, loss in (("d_loss", told), ("r1", 80 * steep)):
        for key in file.under(f"grad/{name}/"):
            (gradient,) = torch.autograd.grad(loss, parameters[key], retain_graph=True)
            close_gradient(gradient, file[f"grad/{name}/{key}"])


def test_a_batch_that_cannot_be_grouped_is_refused():
    with pytest.raises(UsageError, match="groups of 4"):
        discriminators.ImageDiscriminator((4, 4), (16, 16))(torch.zeros(6, 3, 16, 16))


# Elastic views


def test_inverse_of_a_field(golden):  # noqa: F811
    file = golden("elastic")
    close(elastic.filling_kernel(torch.zeros(1)), file["out/inversion/kernel3"])
    close(elastic.inverse(file["in/inversion/flow"][None])[0], file["out/inversion/inverse"])
    constant = torch.tensor([2.0, 0]).view(1, 2, 1, 1).expand(1, 2, 6, 6)
    close(elastic.inverse(constant), -constant)


@pytest.mark.parametrize("name", ["0.9", "0.97", "1.05", "1.1", "inv_1.1"])
def test_zoom(golden, name):  # noqa: F811
    file = golden("elastic")
    zoom = float(name.removeprefix("inv_"))
    field = elastic.zoom_flow(torch.tensor([1 / zoom if "inv" in name else zoom]), (8, 10))[0]
    close(field[0, 0], file[f"out/zoom_{name}/dx"])
    close(field[1, :, 0], file[f"out/zoom_{name}/dy"])


@pytest.mark.parametrize("name", ["paper_1", "paper_2", "paper_resized", "kinetics_like", "no_blur", "no_corruption"])
def test_elastic_views(golden, name):  # noqa: F811
    file = golden("elastic")
    about = file.config["cases"][name]
    fields = torch.stack([file[f"in/{name}/noise_{each}"] for each in ("dx", "dy", "mask")])[None]
    blur = (0.0, 0.0) if about["ub"] is None else (0.0, 2.0)
    corruption = 0.5 if about.get("cor", True) else 0.0
    strength = elastic.Strength(about.get("al", 3.0), about.get("sg", 0.1), blur=blur, corruption=corruption)
    draws = elastic.Draws(fields, torch.tensor([about["u"]]), torch.tensor([about["ub"] or 0.0]))
    picture, size = file[f"in/{name}/img"][None], (about["dim"],) * 2
    made = elastic.views(picture, draws, strength, size)
    close(made.context[0], file[f"out/{name}/context"])
    close(made.target[0], file[f"out/{name}/target"])
    close(made.flow[0], file[f"out/{name}/flow"])
    if corruption:
        close(made.mask, file[f"out/{name}/mask"])
    else:
        assert not made.mask.any()
    # One picture does not feel another of its batch.
    twice = elastic.Draws(fields.repeat(2, 1, 1, 1), draws.zoom.repeat(2), draws.blur.repeat(2))
    close(elastic.views(picture.repeat(2, 1, 1, 1), twice, strength, size).flow[1:], made.flow)


# What comes out


def test_frames_crosses_and_paths_as_written(golden):  # noqa: F811
    file = golden("postprocess")
    for name, imagenet in (("uint8", False), ("uint8_imagenet", True)):
        assert torch.equal(pixels(file["in/vid"], imagenet), file[f"out/{name}"])
    for case in range(5):
        place = (file[f"in/cross7/{case}"].double() + 0.5) / 7
        drawn = control.crossed(np.full((1, 7, 7, 3), 100, np.uint8), place.numpy()[None])
        assert np.array_equal(drawn[0, ..., 0], file[f"out/cross7/{case}"].numpy())
    grey = int(file["out/cross256_background"])
    drawn = np.stack(
        [control.crossed(np.full((3, 256, 256, 3), grey, np.uint8), each) for each in file["in/state"].numpy()]
    )
    changed = (drawn != grey).any(-1)
    assert np.array_equal(np.argwhere(changed), file["out/cross256_changed_pixels_b_t_y_x"].numpy())
    assert np.array_equal(drawn[changed][:, 0], file["out/cross256_values"].numpy())
    close(synthesis.square_path(file["in/square/init"][:, 0], 16), file["out/square/states"])


# A training step

TRAINED = Settings(
    widths=(8, 16, 16, 32), code_width=12, codes=24, discriminator_widths=(6, 6, 12, 12), clip_frames=4, memory=4
)
TERMS = {  # of pictures: ours -> the release's
    "adversarial": "gen_img",
    "codes": "quant_img",
    "pixels": "rec_img",
    "perceptual": "vgg_img",
    "occlusion": "mask_rec_img",
    "flow": "elastic_flow_rec_img",
}
CLIP_TERMS = {
    "clip_codes": "quant_vid",
    "clip_adversarial": "gen_vid",
    "clip_pixels": "rec_vid",
    "clip_perceptual": "vgg_vid",
}


class Trained(autoencoder.System):
    """The system with the golden file's VGG."""

    def __init__(self, file: Golden, settings: Settings) -> None:
        super().__init__(settings, 32, 32)
        self.file = file
        names = {
            "e": self.encoder,
            "q": self.quantiser,
            "g": self.decoder,
            "di": self.image_discriminator,
            "dv": self.video_discriminator,
        }
        for name, network in names.items():
            network.load_state_dict(file.state(f"sd/{name}/"))
        self.weights = {f"{name}/{key}": each for name, net in names.items() for key, each in net.named_parameters()}

    def distance(self, device):
        return narrow_vgg(self.file, "sd/vgg/")

    def triple(self, frames):
        mask, flow = self.file["in/mask_img"], self.file["in/flow_img"]
        return Triple(self.file["in/img"].unflatten(0, (-1, 3)), flow, mask)

    def clips(self, frames):
        return self.file["in/vid"]


def check_norms(system: Trained, file: Golden, loss: torch.Tensor, stage: str, nets: str) -> None:
    names = file.config["param_names"][nets]
    gradients = torch.autograd.grad(loss, [system.weights[name] for name in names], retain_graph=True)
    norms = torch.stack([gradient.norm() for gradient in gradients])
    wanted = file[f"grad/{stage}/norms"]
    assert (norms - wanted).norm() <= GRADIENT * wanted.norm(), stage
    # A warp looks up at borders of pixels where flows are near 0, so the biases of flows alone may differ by more.
    assert ((norms - wanted).abs() <= 0.02 * wanted + 1e-4 * wanted.max()).all(), stage


def test_losses_of_pictures(golden):  # noqa: F811
    file = golden("train_step")
    system = Trained(file, TRAINED)
    made = system.of_pictures(system.triple(None))
    close(made.fake, file["out/img_g/fake_img"], WHOLE)
    for ours, theirs in TERMS.items():
        close(made.terms[ours], file[f"out/img_g/{theirs}"], WHOLE)
    total = sum(made.terms.values())
    close(total, file["out/img_g/total"], WHOLE)
    check_norms(system, file, total, "img_g", "e+q+g")
    told = system.judgement(made, system.image_discriminator)
    close(told, file["out/img_d/dis_img"], WHOLE)
    check_norms(system, file, told, "img_d", "di")
    steep = system.penalty(system.image_discriminator, made.real)
    close(steep, file["out/img_r1/dis_r1_loss"], WHOLE)


@pytest.mark.parametrize(
    ("stage", "changes"),
    [("vid_g", {}), ("vid_g_p2p", {"ending_context": True}), ("vid_g_unc", {"without_context": True})],
)
def test_losses_of_clips(golden, stage, changes):  # noqa: F811
    file = golden("train_step")
    system = Trained(file, replace(TRAINED, **changes))
    made = system.of_clips(system.clips(None))
    if stage == "vid_g":
        close(made.fake, file[f"out/{stage}/fake_vid"], WHOLE)
    for ours, theirs in CLIP_TERMS.items():
        close(made.terms[ours], file[f"out/{stage}/{theirs}"], WHOLE)
    total = sum(made.terms.values())
    close(total, file[f"out/{stage}/total"], WHOLE)
    check_norms(system, file, total, stage, "e+q+g")
    told = system.judgement(made, system.video_discriminator)
    if stage == "vid_g":
        close(told, file["out/vid_d/dis_vid"], WHOLE)
        check_norms(system, file, told, "vid_d", "dv")
        steep = system.penalty(system.video_discriminator, made.real)
        close(steep, file["out/vid_r1/vdis_r1_loss"], WHOLE)
    if stage == "vid_g_unc":
        close(told, file["out/vid_d_unc/total"], WHOLE)
        check_norms(system, file, told, "vid_d_unc", "di+dv")


def test_a_step(golden, listed):  # noqa: F811
    file = golden("train_step")
    system = Trained(file, TRAINED)
    optimizers = system.optimizers()
    for ours, theirs in (("autoencoder", "autoencoder_generator"), ("discriminators", "autoencoder_discriminators")):
        (wanted,) = listed("optimizer_groups")[theirs]["groups"]
        (group,) = optimizers[ours].param_groups
        assert len(group["params"]) == wanted["count"] and group["lr"] == pytest.approx(wanted["lr"], rel=1e-12)
        assert list(group["betas"]) == pytest.approx(wanted["betas"], rel=1e-12)
    batch = {"frames": torch.zeros(4, 30, 32, 32, 3, dtype=torch.uint8)}
    averaged = {name: weight.detach().clone() + 1 for name, weight in system.weights.items()}
    seen = []
    for number, update in enumerate(system.updates(batch, 0)):
        optimizer = optimizers[update.optimizer]
        optimizer.zero_grad(set_to_none=True)
        update.loss.backward(inputs=optimizer.param_groups[0]["params"])
        optimizer.step()
        seen.append(update.optimizer)
        if update.optimizer == "autoencoder":
            for name, weight in system.weights.items():
                averaged[name].lerp_(weight.detach(), 0.001)
        if number in (2, 5):
            stage = "step/step_img/" if number == 2 else "step/step_vid/"
            for key in file.under(stage):
                net, _, name = key.partition("/")
                found = averaged[f"{net[0]}/{name}"] if net.endswith("_ema") else system.weights[key].detach()
                wanted = file[stage + key]
                # The first steps of Adam are the signs of gradients: one near 0 may go either way.
                far = (found - wanted).abs() > 1e-4
                assert far.float().mean() < 0.02 and (found - wanted).abs().max() < 0.009, (number, key)
    assert seen == ["autoencoder", "discriminators", "discriminators"] * 2


def test_without_their_weight_there_are_no_discriminators():
    settings = replace(TRAINED, weight_adversarial=0.0, weight_perceptual=0.0, flow_widths=(6, 5), without_context=True)
    system = autoencoder.System(settings, 16, 16)
    assert {layer[0].weight.shape[0] for layer in system.decoder.inter_blocks[0].subpixel.convs} == {6, 5}
    updates = list(system.updates({"frames": torch.zeros(2, 8, 16, 16, 3, dtype=torch.uint8)}, 0))
    assert [update.optimizer for update in updates] == ["autoencoder"] * 2
    assert all(update.loss.isfinite() for update in updates)
    assert not any("adversarial" in name for update in updates for name in update.logs)


# Control


def test_state_estimator(golden):  # noqa: F811
    file = golden("state_estimator")
    estimator = networks.StateEstimator(10, 6, 2)
    quantiser = networks.Quantiser(16, 1)
    system = control.State(estimator, quantiser)
    estimator.load_state_dict(file.state("sd/s/"))
    quantiser.load_state_dict(file.state("sd/q/"))
    z = file["in/z"].requires_grad_()
    close(estimator(z), file["out/pred"])
    terms = system.terms(z, file["in/state"])
    close(terms["state"], file["out/rec_loss"])
    close(terms["codes"], file["out/quant_loss"])
    total = sum(terms.values())
    close(total, file["out/train_loss"])
    total.backward()
    close_gradient(z.grad, file["grad/z"])
    close_gradient(estimator.convs[0][1].weight.grad, file["grad/s/convs.0.1.weight"])
    close_gradient(quantiser.embedding.weight.grad, file["grad/q/embedding.weight"])
    close(system.error(z, file["in/state"]), file["out/eval_loss"])
    codes = system.estimated(file["in/z_video"])
    close(codes, file["out/code_video"])
    close(system.values(codes), file["out/state_from_code"])
    close(system.codes(file["in/state"]).view(3, 2), file["out/code_of_given_state"])


def test_sound_autoencoder(golden):  # noqa: F811
    file = golden("stft_autoencoder")
    encoder, decoder = networks.SoundEncoder(6, 5), networks.SoundDecoder(6, 5)
    system = control.Sound(encoder, decoder, networks.Quantiser(20, 5))
    for name, network in (("e", encoder), ("d", decoder), ("q", system.quantiser)):
        network.load_state_dict(file.state(f"sd/{name}/"))
    sound = file["in/stft"][:, :, 0]
    close(encoder(sound.flatten(0, 1)[:, None]).unflatten(0, (2, 3)), file["out/z"])
    made, terms = system.terms(sound)
    close(made[:, :, None], file["out/recon"])
    close(terms["codes"], file["out/quant_loss"])
    close(terms["sound"], file["out/mse"])
    sum(terms.values()).backward()
    close_gradient(encoder.convs[1][1].weight.grad, file["grad/e/convs.1.1.weight"])
    close_gradient(decoder.convs[4][0].weight.grad, file["grad/d/convs.4.0.weight"])
    codes = system.codes(sound)
    close(codes, file["out/code"])
    close(system.values(codes, (8, 2))[:, :, None], file["out/decoded"])
