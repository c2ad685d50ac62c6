"""The networks, shifts and losses of GLASS against numbers of the released ones."""

from functools import partial
from typing import Any

import glass_golden
import numpy as np
import pytest
import torch
from glass_golden import GRADIENT, WHOLE, loaded, named, small_distance, small_vgg
from recorded import LAYER, Golden, close
from torch import Tensor, nn

from vbench_ctl.baselines.glass import blocks, losses, motion, networks, strokes
from vbench_ctl.baselines.glass.settings import Settings
from vbench_ctl.baselines.glass.system import codes_used
from vbench_ctl.features import vgg


@pytest.fixture
def golden(shared):
    return partial(glass_golden.golden, shared)


def close_gradient(found: Tensor | None, wanted: Tensor) -> None:
    if not wanted.numel():
        assert found is None
        return
    assert found is not None and found.shape == wanted.shape
    assert (found - wanted).norm() <= GRADIENT * wanted.norm() + 1e-9


def scalar(*outputs: Tensor) -> Tensor:
    """What the golden gradients are of."""
    return torch.stack([(y + y.square() / 2).mean() for y in outputs]).sum()


def check(
    module: nn.Module, part: Golden, run, inputs=("x",), outputs=("y",), tolerance: float = LAYER, after="out/"
) -> None:
    """Compare outputs in eval and train mode, the buffers after it and the gradients."""
    loaded(module, part)
    with torch.no_grad():
        for found, name in zip(run(*(part[f"in/{each}"] for each in inputs)), outputs, strict=True):
            close(found, part[f"out/eval/{name}"], tolerance)
    module.train()
    given = [part[f"in/{each}"].requires_grad_() for each in inputs]
    made = run(*given)
    for found, name in zip(made, outputs, strict=True):
        close(found, part[f"out/train/{name}"], tolerance)
    ours, state = named(module, part), module.state_dict()
    for key in part.keys("out/after_train/"):
        close(state[ours[key]], part[f"out/after_train/{key}"], tolerance)
    check_gradients(module, part, made, dict(zip(inputs, given, strict=True)))


def check_gradients(module: nn.Module, part: Golden, made, given: dict[str, Tensor]) -> None:
    total = scalar(*made)
    close(total, part["grad/scalar"])
    total.backward()
    ours, parameters = named(module, part), dict(module.named_parameters())
    for key in part.keys("grad/in/"):
        close_gradient(given[key].grad, part[f"grad/in/{key}"])
    for key in part.keys("grad/sd/"):
        close_gradient(parameters[ours[key]].grad, part[f"grad/sd/{key}"])


BLOCKS = {
    "same": lambda: blocks.Same(5, 6),
    "same_down2": lambda: blocks.Same(5, 6, pool=2),
    "res_identity": lambda: blocks.Residual(5, 5),
    "res_project": lambda: blocks.Residual(4, 6),
    "res_down2": lambda: blocks.Residual(4, 6, pool=2),
    "res_same_width_down2": lambda: blocks.Residual(4, 4, pool=2),
    "up": lambda: blocks.up(5, 4),
    "up_late": lambda: blocks.up_late(5, 4),
    "final_k3": lambda: blocks.final(4, 3, 3),
    "final_k7": lambda: blocks.final(4, 4, 7),
}


@pytest.mark.parametrize("name", BLOCKS)
def test_blocks(golden, name):
    module = BLOCKS[name]().eval()
    check(module, golden("io_blocks").part(name), lambda x: [module(x)])


@pytest.mark.parametrize(("name", "pool"), [("modconv", 1), ("modconv_down2", 2)])
def test_modulated_convolution(golden, name, pool):
    module = blocks.Modulated(5, 4, 3, pool).eval()
    check(module, golden("io_blocks").part(name), lambda x, style: [module(x, style)], ("x", "style"))


def test_modulated_convolution_of_one_and_of_a_batch(golden):
    part = golden("io_blocks").part("modconv_raw")
    x, weight, scales = part["in/x"], part["in/weight"], part["in/scales"]
    close(blocks.modulated_conv(x, weight, scales), part["out/batch"])
    one_by_one = [blocks.modulated_conv(x[n : n + 1], weight, scales[n : n + 1]) for n in range(len(x))]
    close(torch.cat(one_by_one), part["out/one_by_one"])
    close(part["out/one_by_one"], part["out/batch"])  # so samples of a batch do not feel each other


def test_modulated_convolution_by_hand():
    x = (
        torch.stack([torch.arange(1, 5).view(2, 2) + 4 * n for n in range(2)]).float()[:, None]
        * torch.tensor([0.1, 0.2])[None, :, None, None]
    )
    weight = (torch.arange(36.0) - 17).view(2, 2, 3, 3) / 10
    y = blocks.modulated_conv(x, weight, torch.tensor([[1.0, 2.0], [0.5, -1.0]]))
    wanted = [[-0.316590, -0.418716, -0.622968, -0.725094], [0.855644, 0.798218, 0.683367, 0.625941]]
    wanted += [[-0.202209, -0.042893, 0.275740, 0.435056], [-1.726218, -1.636634, -1.457466, -1.367882]]
    assert y.flatten(2).flatten(0, 1).numpy() == pytest.approx(np.array(wanted), abs=2e-6)


def test_convolutional_lstm(golden):
    part = golden("io_blocks").part("convlstm")
    module = blocks.ConvLSTM(5, 4, (6, 8)).eval()

    def run(x, cond):
        made = []
        memory: Any = None
        for step in range(3):
            memory = module(blocks.stacked([x[step], cond[step]]), memory)
            made.append(memory[0])
        again, _ = module(blocks.stacked([x[2], cond[2]]), None)
        return torch.stack(made), memory[1], again

    loaded(module, part)
    x, cond = part["in/x"].requires_grad_(), part["in/cond"].requires_grad_()
    made = run(x, cond)
    for found, name in zip(made, ("h", "cell_last", "h_restart"), strict=True):
        close(found, part[f"out/eval/{name}"])
    check_gradients(module, part, made, {"x": x, "cond": cond})


def test_stacking_and_doubling(golden):
    part = golden("io_blocks")
    image, vector = part["concat/in/map"], part["concat/in/vector"]
    close(blocks.stacked([image, vector, image[:, :1]]), part["concat/out/y"])
    close(blocks.Doubled()(part["upsample/in/x"]), part["upsample/out/y"])


def test_masking(golden):
    module = networks.Masking((8, 32)).eval()
    check(module, golden("io_masking_narrow"), lambda x: [module(x)], outputs=("mask",))


@pytest.mark.parametrize("which", ["fg", "bg"])
def test_motion(golden, which):
    module = networks.Motion().eval()

    def run(pairs):
        return [networks.over_time(module, pairs[:, :, :3], pairs[:, :, 3:])]

    check(module, golden("io_motion").part(which), run, ("pairs",), ("shift",))


def test_motion_starts_with_hardly_any_shift():
    shift = networks.Motion()(torch.randn(3, 3, 16, 16), torch.randn(3, 3, 16, 16))
    assert 0 < shift.abs().max() < 5e-4


def test_inpainting(golden):
    part = golden("io_inpainting")
    module = networks.Inpainting().eval()

    def run(x, mask):
        return networks.over_time(networks.patched, x, mask), networks.over_time(module, x, mask)

    loaded(module, part)
    x, mask = part["in/x"], part["in/mask"]
    for found, name in zip(run(x, mask), ("patched", "inpainted"), strict=True):
        close(found, part[f"out/eval/{name}"])
    close(
        networks.over_time(module.layers, networks.over_time(networks.patched, x, mask)), part["out/eval_not_combined"]
    )
    close(run(x, mask)[1], part["out/eval_enlarged"])  # the release's dilation does nothing
    module.train()
    given = {"x": x.requires_grad_(), "mask": mask.requires_grad_()}
    made = run(**given)
    for found, name in zip(made, ("patched", "inpainted"), strict=True):
        close(found, part[f"out/train/{name}"])
    ours, state = named(module, part), module.state_dict()
    for key in part.keys("out/after_train/"):
        close(state[ours[key]], part[f"out/after_train/{key}"])
    check_gradients(module, part, made, given)


def test_enlarged_masks_are_inpainted_one_pixel_further():
    frames, masks = torch.ones(1, 3, 16, 16), torch.zeros(1, 1, 16, 16)
    masks[..., 8, 8] = 1
    for enlarge, changed in ((False, 1), (True, 9)):
        made = networks.Inpainting(enlarge=enlarge).eval()(frames, masks)
        assert (made != frames).any(1).sum() == changed


def test_strokes(golden):
    part = golden("io_inpainting").part("strokes")
    close(strokes.strokes(part["in/theta"], 24, 32), part["out/mask"])
    whole = golden("io_inpainting")
    x, masks = whole["in/x"].flatten(0, 1), whole["in/mask"].flatten(0, 1)
    drawn = strokes.strokes(part["in/theta_forward"], 24, 32)[:, None].float()
    both = 1 - (1 - masks) * (1 - drawn)
    close(networks.patched(x, both).unflatten(0, (2, 2)), part["out/patched"])


def test_encoder(golden):
    module = networks.Encoder(64).eval()
    part = golden("io_encoder")
    check(module, part, lambda x: [module(x)], outputs=("state_and_attention",))
    compressor = loaded(nn.Conv2d(64, 8, 1), part.part("compressor"))
    close(compressor(part["compressor/in/state"]), part["compressor/out/y"])


def test_codebook(golden):
    part = golden("io_quantizer")
    book = loaded(networks.Codebook(7, 4), part)
    z = part["in/z"].permute(0, 2, 3, 1).requires_grad_()
    found = book(z)
    close(found.codes.permute(0, 3, 1, 2), part["out/z_q"])
    close(found.choice[..., None], part["out/ids"])
    close(found.loss, part["out/loss"])
    close(codes_used(found.choice, 7), part["out/perplexity"])
    soft = (-book.distances(z)).softmax(-1) @ book.codes
    close(soft.permute(0, 3, 1, 2), part["out/soft_reconstruction"])
    by_z, by_codes = torch.autograd.grad(found.loss, (z, book.codes), retain_graph=True)
    close_gradient(by_z.permute(0, 3, 1, 2), part["grad/loss_z"])
    close_gradient(by_codes, part["grad/loss_codebook"])
    (straight,) = torch.autograd.grad(found.codes.square().sum(), z)
    close_gradient(straight.permute(0, 3, 1, 2), part["grad/straight/zq2_z"])


def test_codebook_takes_the_first_of_equals(golden):
    part = golden("io_quantizer").part("tie")
    book = networks.Codebook(4, 2)
    book.codes.data = part["in/codebook"]
    close(book(part["in/z"].flatten(1)).choice, part["out/ids"])


def test_codebook_by_hand():
    book = networks.Codebook(3, 2)
    book.codes.data = torch.tensor([[0.0, 0], [1, 0], [0, 1]])
    z = torch.tensor([[0.9, 0.2], [0.1, 0.7]], requires_grad=True)
    found = book(z)
    found.loss.backward()
    assert found.choice.tolist() == [1, 2] and found.loss.item() == pytest.approx(0.046875)
    assert z.grad is not None and z.grad.numpy() == pytest.approx(np.array([[-0.05, 0.1], [0.05, -0.15]]))
    wanted = np.array([[0, 0], [0.0125, -0.025], [-0.0125, 0.0375]])
    assert book.codes.grad is not None and book.codes.grad.numpy() == pytest.approx(wanted)


@pytest.mark.parametrize("variant", ["vq", "vq_plain", "gumbel", "gumbel_plain"])
def test_actions(golden, variant):
    part = golden("io_action").part(variant)
    gumbel = variant.startswith("gumbel")
    plain = "plain" in variant
    settings = Settings(
        codes=5, code_width=6, state_width=8, gumbel=gumbel, plain_direction=plain, reference_noise=True
    )
    module = loaded(networks.Actions(settings).eval(), part)
    names = ("states", "att", "next_states", "next_att")
    if gumbel:
        module.exponential = lambda like: part["in/exponential"]

    def run(states, att, next_states, next_att):
        before, after = torch.cat([states, att], 2), torch.cat([next_states, next_att], 2)
        return module(before.flatten(0, 1), after.flatten(0, 1), 0.7)

    def compare(found, mode):
        close(found.codes.unflatten(0, (3, 4)), part[f"out/{mode}/codes"], WHOLE)
        if gumbel:
            close(found.choice.unflatten(0, (3, 4)), part[f"out/{mode}/ids"], WHOLE)
        else:
            close(found.choice.view(3, 4, 1, 1, 1), part[f"out/{mode}/ids"])
            close(found.loss, part[f"out/{mode}/vq_loss"], WHOLE)

    direction = module.direction(part["in/first"].flatten(0, 1), part["in/second"].flatten(0, 1))
    close(direction.unflatten(0, (3, 2)), part["out/direction_eval"], WHOLE)
    compare(run(*(part[f"in/{name}"] for name in names)), "eval")
    module.train()
    given = {name: part[f"in/{name}"].requires_grad_() for name in names}
    found = run(**given)
    compare(found, "train")
    ours, state = named(module, part), module.state_dict()
    for key in part.keys("out/after_train/"):
        close(state[ours[key]], part[f"out/after_train/{key}"], WHOLE)
    check_gradients(module, part, [found.codes, found.choice if gumbel else found.loss], given)


@pytest.mark.parametrize("always", [False, True])
def test_codes_are_noisy_in_evaluation_only_as_released(always):
    settings = Settings(codes=5, code_width=6, state_width=8, gumbel=True, reference_noise=always)
    module, states = networks.Actions(settings).eval(), torch.randn(4, 9, 6, 8)
    assert torch.equal(module(states, states).choice, module(states, states).choice) != always


DYNAMICS: dict[str, dict[str, Any]] = {
    "modulated": {},
    "noise": {"noise": 3},
    "joint_input": {"joint_input": True},
    "joint_noise": {"joint_input": True, "noise": 2},
    "not_modulated": {"modulated": False},
    "not_modulated_noise": {"modulated": False, "noise": 2},
}


@pytest.mark.parametrize("variant", DYNAMICS)
def test_dynamics(golden, variant):
    part = golden("io_dynamics").part(variant)
    settings = Settings(compressed=3, hidden=4, code_width=5, **DYNAMICS[variant])
    module = networks.Dynamics(settings, (6, 8)).eval()

    def run(states, codes, shifts, noise=None):
        made, memory = [], None
        for step in range(3):
            hidden, memory = module(
                states[step], codes[step], shifts[step], memory, None if noise is None else noise[step]
            )
            made.append(hidden)
        return [torch.stack(made)]

    names = ("states", "codes", "shifts")
    check(module, part, run, names, ("hidden",), WHOLE)
    if "noise" in DYNAMICS[variant]:
        loaded(module, part).eval()
        (found,) = run(*(part[f"in/{name}"] for name in (*names, "noise")))
        close(found, part["out/eval_randomize"], WHOLE)


def test_renderer(golden):
    module = networks.Renderer(8).eval()

    def run(h):
        made = module(h, torch.zeros(len(h), 3, 8 * h.shape[2], 8 * h.shape[3]), torch.zeros(len(h), 1))
        return [*made.pictures, made.mask]

    check(module, golden("io_renderer"), run, ("h",), ("rgb_full", "rgb_half", "rgb_quarter", "mask"), WHOLE)


# Shifts


@pytest.mark.parametrize("padding", ["zeros", "border"])
@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
def test_shifts(golden, padding, mode):
    part = golden("io_warp")
    made = motion.shifted(part["in/image"], part["in/params_shift"][:, 2:], padding, mode)
    close(made, part[f"out/shift_inverse_{padding}_{mode}"])


@pytest.mark.parametrize("padding", ["zeros", "border"])
def test_scaled_shifts_and_their_gradients(golden, padding):
    part = golden("io_warp")
    image, params = part["in/image"].requires_grad_(), part["in/params_scale"].requires_grad_()
    made = motion.shifted(image, params[:, 2:], padding, scales=params[:, :2])
    close(made, part[f"out/scale_inverse_{padding}_bilinear"])
    part = part.part(f"grad/scale_inverse_{padding}_bilinear")
    total = made.square().mean()
    close(total, part["scalar"])
    total.backward()
    close_gradient(image.grad, part["image"])
    close_gradient(params.grad, part["params"])


@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
def test_shifts_of_clips(golden, mode):
    part = golden("io_warp").part("shift")
    clips, shifts = part["in/backgrounds"], part["in/shifts"]
    close(motion.shifted(clips, shifts, "border", mode), part[f"out/all_{mode}"])
    close(motion.shifted(clips[:, :-1], shifts[:, : clips.shape[1] - 1], "border", mode), part[f"out/pairs_{mode}"])


def test_shifts_by_hand():
    image = torch.arange(1.0, 17).view(1, 1, 4, 4)
    rows = [
        (
            motion.shifted(image, torch.tensor([[0.5, 0.0]])),
            [[0, 1, 2, 3], [0, 5, 6, 7], [0, 9, 10, 11], [0, 13, 14, 15]],
        ),
        (
            motion.shifted(image, torch.tensor([[0.0, -0.5]]), "border"),
            [[5, 6, 7, 8], [9, 10, 11, 12], [13, 14, 15, 16], [13, 14, 15, 16]],
        ),
        (
            motion.shifted(image, torch.tensor([[0.25, 0.0]])),
            [[0.5, 1.5, 2.5, 3.5], [2.5, 5.5, 6.5, 7.5], [4.5, 9.5, 10.5, 11.5], [6.5, 13.5, 14.5, 15.5]],
        ),
    ]
    for found, wanted in rows:
        assert found[0, 0].numpy() == pytest.approx(np.array(wanted, np.float32))


# Losses


@pytest.fixture
def tensors(golden):
    part = golden("io_losses")
    return part, {name: part[f"in/{name}"].requires_grad_() for name in part.keys("in/")}


def test_motion_weights(tensors):
    part, given = tensors
    frames, made, moved = given["frames"], given["prediction"], given["shifted"]
    close(losses.motion_weights(frames, made, 0.001), part["out/motion_weights_bias"])
    close(losses.motion_weights(frames, made), part["out/motion_weights"])
    close(losses.local_weights(frames[:, 1:], moved, made), part["out/local_motion_weights"])


def test_losses(tensors):
    part, given = tensors
    frames, made, moved = given["frames"], given["prediction"], given["shifted"]
    target, scales = frames[:, 1:], [made, given["pred_half"], given["pred_quarter"]]
    local = losses.local_weights(target, moved, made)
    distance = small_distance(part.part("vgg"))
    pictures, painted = given["p_frames"][:, 1:], [given["p_full"], given["p_half"], given["p_quarter"]]
    found = {
        "reconstruction": losses.weighted(target, made, losses.motion_weights(frames, made, 0.001)),
        "reconstruction_plain": losses.weighted(target, made, torch.ones(())),
        "foreground": (target - moved).square().mean(),
        "background": (target - moved).abs().mean(),
        "perceptual": losses.perceptual(distance, pictures, given["p_full"]),
        "binary_mask": losses.binary_mask(given["masks"]),
        "mask_size": losses.mask_size(given["masks"], 0.06),
        "mask_size_half": losses.mask_size(given["masks"], 0.5),
        "multiscale_l1_global": losses.multiscale(target, scales, losses.motion_weights(frames, made)),
        "multiscale_l1_local": losses.multiscale(target, scales, local),
        "multiscale_l1_plain": losses.multiscale(target, scales, torch.ones_like(local)),
        "multiscale_perceptual": losses.multiscale_perceptual(distance, pictures, painted),
        "mask_reconstruction": (given["masks_pred"] - given["masks"][:, 1:]).abs().mean(),
    }
    for name, value in found.items():
        close(value, part[f"out/{name}"])
        for key in part.keys(f"grad/{name}/"):
            (gradient,) = torch.autograd.grad(value, given[key], retain_graph=True)
            close_gradient(gradient, part[f"grad/{name}/{key}"])


def test_vgg_similarity(golden, tensors):
    """The metric's own network is VGG19 whole; the release was recorded with a narrow one."""
    part, recorded = tensors[0], golden("io_metrics")
    network = small_vgg(part.part("vgg"))
    real, fake = (recorded[f"in/vgg_{which}"].flatten(0, 1) for which in ("real", "generated"))
    maps = [network((pictures - 0.5) / (0.5 + 1e-6)) for pictures in (real, fake)]
    close(vgg.likeness(*maps), recorded["out/vgg_similarity"].flatten())


def test_perceptual_maps(tensors):
    part, given = tensors
    maps = small_vgg(part.part("vgg"))(given["vgg_image"])
    for index, found in enumerate(maps, 1):
        close(found, part[f"out/vgg_tap{index}"])
    total = torch.stack([found.mean() for found in maps]).sum()
    close(total, part["grad/scalar"])
    total.backward()
    close_gradient(given["vgg_image"].grad, part["grad/vgg_image"])


def test_resized_targets(tensors):
    part, given = tensors
    video = given["resize"]
    close(losses.resized(video, video[..., ::2, ::2]), part["out/resize_half"])
    close(losses.resized(video, torch.zeros(5, 7)), part["out/resize_odd"])


def test_weights_by_hand(golden):
    part = golden("io_losses")

    def grey(*values):
        return torch.tensor(values)[None, :, None, None, None].expand(1, -1, 3, 1, 1)

    video, made = grey(0.0, 0.5, 1.0), grey(0.2, 0.9)
    weights = losses.motion_weights(video, made, 0.001)
    assert weights.flatten().tolist() == pytest.approx([2.101, 3.601])
    close(weights.flatten(), part["out/spec_weights"])
    close(losses.weighted(video[:, 1:], made, weights), part["out/spec_weighted_l1"])
    close(losses.local_weights(video[:, 1:], grey(0.4, 0.8), made).flatten(), part["out/spec_local_weights"])
