"""cINN's networks, losses and flow against numbers of the released system, and the laws they obey."""

import math

import numpy as np
import pytest
import torch
from cinn_golden import (
    PAPER,
    PIPELINE,
    close,
    close_checks,
    decoder_state,
    drawn,
    golden,
    inputs,
    keys,
    perceptual,
    placed,
    without,
)
from torch import Tensor, nn

from vbench_ctl.baselines.cinn import frame_networks, losses, networks, norms, play, released
from vbench_ctl.baselines.cinn.flow import LEAK, Coupling, Flow
from vbench_ctl.baselines.cinn.flow_stage import FlowStage
from vbench_ctl.baselines.cinn.settings import Settings
from vbench_ctl.baselines.cinn.video_stage import sampled
from vbench_ctl.errors import UsageError, VbenchError

WIDTHS = (64, 16, 16, 16, 32)
PAPER_ENCODERS = {
    "enc_64": ((64, 128, 256, 512, 512), (1, 2, 2, 2)),
    "enc_dtdb": ((64, 64, 128, 256, 512), (2, 2, 2, 2)),
    "enc_landscape": ((64, 128, 128, 256, 512), (2, 2, 2, 2)),
}
TEMPORAL = ((64, 64, 128, 256, 512), (2, 2, 2, 2))


# Networks of the video stage


def test_the_video_encoder(shared):
    part = golden(shared, "io_enc")
    network = placed(networks.Encoder(WIDTHS, (1, 2, 2, 1), (1, 2, 2, 1), 8), part.state())
    clips = part["in/x"].requires_grad_()
    mean, logvar = network(clips.transpose(1, 2))
    code = sampled(mean, logvar, part["in/eps"])
    for name, found in {"mu": mean, "logvar": logvar, "z": code}.items():
        close(found, part[f"out/{name}"])
    (code.square().mean() + mean.square().mean() + logvar.square().mean()).backward()
    close(clips.grad[..., ::2, ::2], part["grad/in/x_sub2"], 5e-5)
    check_gradients(network, part, released.video_state)
    close(network(part["in/x"].transpose(1, 2)[:, :7])[0], part["out/mu_7frames"])


def check_gradients(network: nn.Module, part, state, tolerance: float = 5e-5) -> None:
    wanted = state(part.state("grad/sd/"))
    parameters = dict(network.named_parameters())
    assert wanted
    for name, value in wanted.items():
        close(parameters[name].grad, value, tolerance)


def test_the_decoder(shared):
    part = golden(shared, "io_dec")
    network = placed(networks.Decoder(8, 8, (1, 1), (1, 1)), part.state())
    picture, code = part["in/img"].requires_grad_(), part["in/z"].requires_grad_()
    made = network(picture, code)
    close(made, part["out/y"])
    made.square().mean().backward()
    close(picture.grad, part["grad/in/img"], 5e-5)
    close(code.grad, part["grad/in/z"], 5e-5)
    check_gradients(network, part, released.video_state)
    network.train()
    close(network(picture, code)[..., ::2, ::2], part["out/train/y_sub2"])
    state = network.state_dict()
    for name, value in released.video_state(part.state("after/train/")).items():
        close(state[name], value)


@pytest.mark.parametrize(
    ("name", "space", "time", "step"),
    [
        ("s21_t11", (2, 1), (1, 1), 4),
        ("s12_t11", (1, 2), (1, 1), 4),
        ("s11_t21", (1, 1), (2, 1), 4),
        ("s11_t12", (1, 1), (1, 2), 4),
    ],
)
def test_where_the_decoder_grows(shared, name, space, time, step):
    part = golden(shared, "io_dec")
    network = placed(networks.Decoder(8, 8, time, space), part.state())
    with torch.no_grad():
        made = network(part["in/img"][:1], part["in/z"][:1])
    close(made[..., ::step, ::step], part[f"out/y_{name}_sub"])
    close_checks(made, part[f"out/y_{name}_checks"])


@pytest.mark.parametrize("width", [24, 32])
def test_spade(shared, width):
    part = golden(shared, "io_dec_blocks")
    network = placed(networks.Spade(width, 128), part.part(f"spade{width}").state())
    close(network(part[f"in/spade{width}/x"], part[f"in/spade{width}/img"]), part[f"out/spade{width}"])


def test_adain(shared):
    part = golden(shared, "io_dec_blocks")
    network = placed(networks.AdaIN(6, 8), part.part("adain").state())
    close(network(part["in/adain/x"], part["in/adain/z"]), part["out/adain"])
    beta = network.linear(part["in/adain/z"]).chunk(2, 1)[1]
    close(network(torch.ones(2, 6, 2, 3, 4), part["in/adain/z"])[..., 0, 0, 0], beta)  # a constant is shifted to beta


@pytest.mark.parametrize("sizes", [(16, 16), (32, 16), (16, 24)])
def test_a_block_of_the_decoder(shared, sizes):
    part = golden(shared, "io_dec_blocks")
    name = "blk_{}_{}".format(*sizes)
    network = placed(networks.DecoderBlock(*sizes, 8, 128), part.part(name).state())
    x, picture, code = part[f"in/{name}/x"], part[f"in/{name}/img"], part[f"in/{name}/z"]
    close(network(x, picture, code), part[f"out/{name}"])
    # Repeating inside the block is what repeating before it would be.
    close(network(x, picture, code, (2, 2, 2)), network(networks.repeated(x, (2, 2, 2)), picture, code))


def test_spade_modulates_all_times_alike():
    network = networks.Spade(16, 8)
    nn.init.normal_(network.conv_gamma.weight)
    x = torch.randn(1, 16, 1, 5, 6).expand(-1, -1, 4, -1, -1)
    made = network(x, torch.randn(1, 3, 9, 11))
    assert torch.equal(made[:, :, :1].expand_as(made), made)


def test_the_temporal_discriminator(shared):
    part = golden(shared, "io_disc_t")
    network = placed(networks.TemporalDiscriminator(WIDTHS, (2, 2, 2, 2), (1, 1, 2, 1)), part.state())
    clips = part["in/x"].requires_grad_()
    logits, maps = network(clips.transpose(1, 2))
    close(logits, part["out/logit"])
    for number, found in enumerate(maps):
        wanted = part[f"out/fmap{number}"]
        close(found[:, : wanted.shape[1]], wanted)
        close_checks(found, part[f"out/fmap{number}_checks"])
    logits.square().mean().backward()
    close(clips.grad[..., ::2, ::2], part["grad/in/x_sub2"], 1e-4)
    check_gradients(network, part, released.video_state)
    network.train()
    close(network(part["in/x"].transpose(1, 2))[0], part["out/train/logit"])
    state = network.state_dict()
    for name, value in released.video_state(part.state("after/train/")).items():
        close(state[name], value)


def test_the_patch_discriminator(shared):
    part = golden(shared, "io_disc_s")
    network = placed(networks.PatchDiscriminator(8), part.state())
    pictures = part["in/x"].requires_grad_()
    logits = network(pictures)
    close(logits, part["out/y"])
    logits.square().mean().backward()
    close(pictures.grad, part["grad/in/x"])
    network.train()
    close(network(part["in/x"]), part["out/train/y"])


def test_the_first_batch_sets_the_norms_of_the_patch_discriminator(shared):
    part = golden(shared, "io_disc_s")
    fresh = {"loc": 0, "scale": 1, "initialized": 0}
    tensors = {
        name: np.full_like(value, fresh[last]) if (last := name.rpartition(".")[2]) in fresh else value
        for name, value in part.state().items()
    }
    network = placed(networks.PatchDiscriminator(8), tensors)
    close(network(part["in/x"]), part["out/uninit_eval/y"])
    network.train()
    close(network(part["in/x"]), part["out/init_train/y"])
    state = network.state_dict()
    for name in part.keys("after/init_train/"):
        close(state[name], part[f"after/init_train/{name}"])


# Networks of the frame stage


@pytest.mark.parametrize(("size", "embedding"), [(64, 48), (128, 108)])
def test_the_generator_of_frames(shared, size, embedding):
    part = golden(shared, f"io_ae_gen{size}")
    network = frame_networks.Generator(size, embedding, 8, 20)
    state = decoder_state(part.state(), attention=size == 128)
    network.load_state_dict(state)
    step = 1 if size == 64 else 2
    given = part["in/z"].requires_grad_()
    network.eval()
    made = network(given, part["in/class"])
    close(made[..., ::step, ::step], part["out/y"])
    made.square().mean().backward()
    close(given.grad, part["grad/in/z"], 1e-4)
    network.train()
    close(network(part["in/z"], part["in/class"])[..., ::step, ::step], part["out/train/y"], 5e-5)
    after = decoder_state(part.state("after/train/"), attention=True)
    state = network.state_dict()
    for name, value in after.items():
        close(state[name], value)


PARTS = {
    "attention": lambda: frame_networks.SelfAttention(16),
    "classup": lambda: frame_networks.class_head(6, 12, 9),
    "sn": lambda: norms.spectral(nn.Linear(5, 4), norms.FrozenSpectralNorm),
}


@pytest.mark.parametrize("name", PARTS)
def test_parts_of_the_generator(shared, name):
    part = golden(shared, "io_ae_parts")
    network = PARTS[name]()
    state = {key.removeprefix("main."): value for key, value in part.part(name).state().items()}
    network.load_state_dict(decoder_state(state, attention=True))
    x = part[f"in/{name}/x"].requires_grad_()
    made = network(x)
    close(made, part[f"out/{name}"])
    if part.keys(f"grad/{name}/in/x"):
        made.square().mean().backward()
        close(x.grad, part[f"grad/{name}/in/x"])


def test_conditional_batch_norm(shared):
    part = golden(shared, "io_ae_parts")
    network = frame_networks.ConditionalNorm(6, 5)
    network.load_state_dict(decoder_state(part.part("condbn").state(), attention=True))
    network.eval()
    close(network(part["in/condbn/x"], part["in/condbn/c"]), part["out/condbn/eval"])
    network.train()
    close(network(part["in/condbn/x"], part["in/condbn/c"]), part["out/condbn/train"])
    close(network.norm.running_var, part["after/condbn/running_var"])


def test_the_posterior_of_frames(shared):
    part = golden(shared, "io_ae_parts")
    network = frame_networks.FrameEncoder(4)
    network.model = nn.Flatten()
    mean, logvar = network(part["in/gauss/params"])
    close(mean, part["out/gauss/mode"].flatten(1))
    close(logvar, part["out/gauss/logvar"].flatten(1))
    close(losses.kl(mean, logvar), part["out/gauss/kl"])
    close(sampled(mean, logvar, part["in/gauss/noise"].flatten(1)), part["out/gauss/sample"].flatten(1))


# Sizes


def count(network: nn.Module) -> int:
    return sum(weight.numel() for weight in network.parameters())


def test_numbers_of_parameters(shared):
    listed = {name: keys(shared, name)["n_params"] for name in LISTED}
    with torch.device("meta"):
        assert {name: count(make()) for name, make in LISTED.items()} == listed


LISTED = {
    **{
        name: lambda sizes=sizes: networks.Encoder(sizes[0], (1, 2, 2, 2), sizes[1], 64)
        for name, sizes in PAPER_ENCODERS.items()
    },
    "dec_nf64": lambda: networks.Decoder(64, 64, (2, 1), (2, 1)),
    "dec_nf32": lambda: networks.Decoder(32, 64, (2, 1), (2, 2)),
    "disc_t": lambda: networks.TemporalDiscriminator(*TEMPORAL, (1, 1, 2, 2)),
    "disc_s": networks.PatchDiscriminator,
    "flow_c64": lambda: Flow(64, 64),
    "flow_c128": lambda: Flow(64, 128),
    "flow_c94_control": lambda: Flow(64, 94, controlled=True),
}


@pytest.mark.parametrize(
    ("name", "size", "embedding", "norm"),
    [
        ("ae_64_z64_in", 64, 64, "instance"),
        ("ae_64_z128_in", 64, 128, "instance"),
        ("ae_128_z128_in", 128, 128, "instance"),
        ("ae_128_z128_bn", 128, 128, "batch"),
    ],
)
def test_numbers_of_parameters_of_the_frame_stage(shared, name, size, embedding, norm):
    listed = keys(shared, name)
    with torch.device("meta"):
        ours = count(frame_networks.FrameEncoder(embedding, norm)) + count(frame_networks.FrameDecoder(size, embedding))
        unused = count(frame_networks.SelfAttention(192)) if size == 64 else 0  # the release never runs it there
    # The release counts u and v of its spectral norms, though it trains neither.
    vectors = sum(math.prod(shape) for key, shape, *_ in listed["keys"] if key.endswith(("weight_u", "weight_v")))
    assert ours + unused + vectors == listed["n_params"]


# Losses


def test_losses(shared):
    part = golden(shared, "io_losses")
    close(losses.kl(part["in/mu"], part["in/logvar"]), part["out/kl"])
    close(losses.kl(torch.ones(3, 64), torch.zeros(3, 64)), torch.tensor(32.0))
    close(losses.hinge(part["in/real"], part["in/fake"]), part["out/hinge_disc"])
    maps = [[part[f"in/fmap_{name}{number}"] for number in range(3)] for name in "ab"]
    close(losses.feature_matching(*maps), part["out/fmap_l1"])
    noise = part["in/flow_nu"].flatten(1)
    close(losses.flow(noise, part["in/flow_logdet"]), part["out/flow_Loss"])


def test_the_gradient_penalty(shared):
    part = golden(shared, "io_losses")
    clips, weight = part["in/gp_x"].requires_grad_(), part["in/gp_w"]
    linear = clips.flatten(1) @ weight
    close(losses.gradient_penalty(linear, clips), part["out/gp_linear"])
    close(part["out/gp_linear"], weight.square().sum() / 9)  # a batch of 3
    bent = linear.tanh() + 0.3 * clips.flatten(1).square().sum(1)
    close(losses.gradient_penalty(bent, clips), part["out/gp_nonlinear"])


def test_the_gradient_of_the_gradient_penalty(shared):
    part = golden(shared, "io_losses")
    network = networks.TemporalDiscriminator(WIDTHS, (2, 2, 2, 2), (1, 1, 2, 1))
    placed(network, golden(shared, "io_disc_t").state())
    clips = part["in/gp_clip"].requires_grad_()
    penalty = losses.gradient_penalty(network(clips)[0], clips)
    close(penalty, part["out/gp_disc_t"], 5e-5)
    penalty.backward()
    close(network.fc.weight.grad, part["grad/gp_disc_t/fc.weight"], 1e-4)
    close(network.norm1.weight.grad, part["grad/gp_disc_t/norm1.weight"], 1e-4)


def test_the_adaptive_weight(shared):
    part = golden(shared, "io_losses")
    weight = part["in/aw_w"].requires_grad_()
    out = part["in/aw_h"] @ weight.T
    likelihood, adversarial = out.abs().sum() / 3, -out.tanh().mean()
    close(losses.adaptive_weight(likelihood, adversarial, weight), part["out/adaptive_weight"])
    clamped = losses.adaptive_weight(1e6 * likelihood, 1e-6 * adversarial, weight)
    close(clamped, part["out/adaptive_weight_clamped"])


def test_the_perceptual_distance(shared):
    part = golden(shared, "io_lpips")
    network = perceptual(shared)
    x = part["in/x"].requires_grad_()
    found = network(part["in/y"], x)
    close(found, part["out/lpips"].flatten())
    found.sum().backward()
    close(x.grad, part["grad/in/x"])

    class Kept(nn.Module):
        def __init__(self, number: int) -> None:
            super().__init__()
            shape = part[f"in/keep_mask{number}_shape"].tolist()
            bits = np.unpackbits(part[f"in/keep_mask{number}_packed"].numpy())[: math.prod(shape)]
            self.mask = torch.from_numpy(bits.reshape(shape).astype(np.float32))

        def forward(self, x: Tensor) -> Tensor:
            return 2 * x * self.mask

    for number, head in enumerate(network.network.lins):
        assert isinstance(head.model[0], nn.Dropout)
        head.model[0] = Kept(number)
    close(network(part["in/y"], x), part["out/lpips_dropout"].flatten())


# The flow


FLOWS = {"io_flow": (6, False), "io_flow_control": (36, True)}


@pytest.mark.parametrize("name", FLOWS)
def test_the_flow(shared, name):
    part, (width, controlled) = golden(shared, name), FLOWS[name]
    flow = placed(Flow(8, width, 16, 2, 5, controlled), part.state(), released.flow_state)
    code, condition = part["in/z"].requires_grad_(), part["in/c"]
    noise, logdet = flow(code, condition)
    close(noise, part["out/nu"][..., 0, 0])
    close(logdet, part["out/logdet_exact"])
    close(losses.flow(noise, logdet), part["out/loss_exact"])
    again, released_logdet = flow(code, condition, exact=False)
    assert torch.equal(again, noise)
    close(released_logdet, part["out/logdet_released"])
    loss = losses.flow(noise, released_logdet)
    close(loss, part["out/loss_released"])
    loss.backward()
    close(code.grad, part["grad/in/z"])
    close(flow.blocks[0].norm.scale.grad, part["grad/sd/sub_layers.0.norm_layer.scale"][..., 0, 0])
    log_scale = flow.blocks[2].coupling.second.layers[3].weight.grad[0].T
    close(log_scale, part["grad/sd/sub_layers.2.coupling.s.1.main.6.weight"])
    close(flow.inverse(part["in/nu2"], condition), part["out/inverse_of_nu2"][..., 0, 0])
    x, total = part["in/z"], torch.zeros(5)
    for number, block in enumerate(flow.blocks):
        x, change = block(x, condition, exact=False)
        total = total + change
        close(x, part["out/per_block"][number])
        close(total, part["out/per_block_logdet_cumulative"][number])


@pytest.mark.parametrize("name", FLOWS)
def test_the_log_determinant_is_that_of_the_jacobian(shared, name):
    part, (width, controlled) = golden(shared, name), FLOWS[name]
    flow = placed(Flow(8, width, 16, 2, 5, controlled), part.state(), released.flow_state).double()
    codes, conditions = part["in/z"].double(), part["in/c"].double()
    _, logdets = flow(codes, conditions)
    _, reported = flow(codes, conditions, exact=False)
    for code, condition, logdet in zip(codes, conditions, logdets.detach(), strict=True):
        jacobian = torch.func.jacrev(lambda z, c=condition: flow(z[None], c[None])[0][0])(code)
        assert float(torch.linalg.slogdet(jacobian.detach())[1]) == pytest.approx(logdet.item(), abs=1e-10)
    close(logdets, part["out/slogdet_float64"], 1e-9)
    close(logdets, reported + math.log(LEAK) * part["out/n_negative"].sum(1).double(), 1e-9)


@pytest.mark.parametrize("controlled", [False, True])
def test_the_flow_comes_back(controlled):
    torch.manual_seed(0)
    flow, condition = Flow(64, 94, 64, controlled=controlled), torch.randn(40, 94)
    flow(torch.randn(40, 64) * 3 + 1, condition)  # sets the norms
    assert all(block.norm.initialized for block in flow.blocks)
    with torch.no_grad():
        code = torch.randn(40, 64)
        assert (flow.inverse(flow(code, condition)[0], condition) - code).abs().max() < 1e-5
        assert (flow(flow.inverse(code, condition), condition)[0] - code).abs().max() < 1e-5
        copy = Flow(64, 94, 64, controlled=controlled)
        copy.load_state_dict(flow.state_dict())  # with its permutations
        assert torch.equal(copy(code, condition)[0], flow(code, condition)[0])


@pytest.mark.parametrize("conditioning", ["none", "parallel", "sequential"])
def test_the_first_batch_sets_the_norms_of_the_flow(shared, conditioning):
    part = golden(shared, "io_flow_init")
    flow = Flow(8, 6, 16, 2, 3, conditioning=conditioning)
    placed(flow, part.part(conditioning).state(), released.flow_state)
    if conditioning == "none":
        close(flow.inverse(part["in/z"][:2], part["in/c"][:2]), part["out/reverse_before_init"][..., 0, 0])
    flow.train()
    noise, logdet = flow(part["in/z"], part["in/c"], exact=False)
    close(noise, part[f"out/{conditioning}/nu"][..., 0, 0])
    close(logdet, part[f"out/{conditioning}/logdet_released"])
    after, state = released.flow_state(part.state(f"after/{conditioning}/")), flow.state_dict()
    for name, value in after.items():
        close(state[name], value)
    if conditioning == "none":
        again, _ = flow(part["in/z"][:2] * 3, part["in/c"][:2])
        close(again, part["out/none/second_call_nu"][..., 0, 0])


def test_act_norm(shared):
    part = golden(shared, "io_flow_parts")
    norm = norms.ActNorm(5)
    x = part["in/actnorm/x"].flatten(1)
    close(norm(x), part["out/actnorm/y"].flatten(1))
    close(norm.logdet().expand(7), part["out/actnorm/logdet"])
    close(norm.inverse(x), part["out/actnorm/inverse_of_x"].flatten(1))
    made = norm(x)
    assert made.mean(0).abs().max() < 1e-6 and (made.std(0) - 1).abs().max() < 1e-4
    spatial = norms.ActNorm(3, axes=2)
    close(spatial(part["in/actnorm_spatial/x"]), part["out/actnorm_spatial/y"])
    close(20 * spatial.logdet().expand(2), part["out/actnorm_spatial/logdet"])
    constant = norms.ActNorm(3)
    close(constant(part["in/actnorm_const/x"].flatten(1)), part["out/actnorm_const/y"].flatten(1))
    close(constant.scale, part["out/actnorm_const/scale"].flatten(1))


@pytest.mark.parametrize("name", ["normal", "cond"])
def test_coupling(shared, name):
    part = golden(shared, "io_flow_parts")
    tensors = {f"sub_layers.0.coupling.{key}": value for key, value in part.part(f"coupling_{name}").state().items()}
    state = {key.removeprefix("blocks.0.coupling."): value for key, value in released.flow_state(tensors).items()}
    coupling = Coupling(6, 4, 10, 2, blind=name == "cond")
    coupling.load_state_dict(state)
    x, condition = (part[f"in/coupling_{name}/{each}"].flatten(1) for each in "xc")
    made, change = coupling(x, condition)
    close(made, part[f"out/coupling_{name}/y"])
    close(change, part[f"out/coupling_{name}/logdet"])
    close(coupling.inverse(x, condition), part[f"out/coupling_{name}/inverse_of_x"].flatten(1))


BAIR = Settings(**released.BAIR_CONTROL)
TINY_SIZES = {
    "code": 8,
    "encoder_widths": WIDTHS,
    "encoder_strides_time": (1, 2, 2, 1),
    "encoder_strides_space": (1, 2, 2, 1),
    "decoder_width": 8,
    "upsample_time": (1, 1),
    "upsample_space": (1, 1),
    "temporal_widths": WIDTHS,
    "temporal_strides_space": (1, 1, 2, 1),
    "patch_width": 8,
    "embedding": 31,
    "small_encoder": 8,
    "flow_blocks": 5,
    "flow_width": 16,
}


def test_bins_of_end_points(shared):
    part = golden(shared, "io_flow_parts")
    with torch.device("meta"):
        stage = FlowStage(BAIR)
    found = stage.bins(part["in/position/raw_csv"])
    wanted = part["out/position/onehot"].reshape(12, 3, 10)
    outside = (part["out/position/normalised"] < -0.1).any(1)
    assert outside.sum() == 1  # the release counts those from the other end
    assert torch.equal(found.reshape(12, 3, 10)[~outside], wanted[~outside].to(found.dtype))
    assert found.reshape(12, 3, 10).argmax(-1)[outside][0, :2].tolist() == [0, 0]
    beyond = stage.bins(torch.tensor([[9.0, 9.0, 9.0]]))
    assert beyond.reshape(3, 10).argmax(-1).tolist() == [9, 9, 9]
    with pytest.raises(VbenchError, match="no state at its last frame"):
        stage.bins(torch.tensor([[0.4, float("nan"), 0.2]]))


# Generating


class Given(nn.Module):
    """An embedder that was told what to answer."""

    def __init__(self, embeddings: Tensor) -> None:
        super().__init__()
        self.embeddings = embeddings

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        return self.embeddings, self.embeddings


def small(shared, flow_file: str, **changes) -> FlowStage:
    """Return the small networks of the golden files."""
    stage = FlowStage(Settings(**{**TINY_SIZES, **changes}))
    placed(stage.encoder, golden(shared, "io_enc").state())
    placed(stage.decoder, golden(shared, "io_dec").state())
    width, controlled = FLOWS[flow_file]
    stage.flow = placed(Flow(8, width, 16, 2, 5, controlled), golden(shared, flow_file).state(), released.flow_state)
    return stage.eval()


@torch.no_grad()
def test_rollout(shared):
    part = golden(shared, "io_rollout")
    stage = small(shared, "io_flow")
    stage.embedder = Given(part["in/e_x0"])
    code = stage.flow.inverse(part["in/residual"], stage.condition(part["in/x0"]))
    close(code, part["out/z"])
    close(play.rendered(stage.decoder, part["in/x0"], code, 8), part["out/sample_len8"])
    longer = play.rendered(stage.decoder, part["in/x0"], code, 24)
    close(longer[..., ::2, ::2], part["out/sample_len20_sub2"])  # 20 are asked for there, and three renderings returned
    assert torch.equal(play.rendered(stage.decoder, part["in/x0"], code, 20), longer[:, :20])


@torch.no_grad()
def test_rollout_to_an_end_point(shared):
    part = golden(shared, "io_rollout")
    control = {**released.BAIR_CONTROL, "control_offset": (0.0,) * 3, "control_range": (1.0,) * 3}
    stage = small(shared, "io_flow_control", **control)
    stage.embedder = Given(part["in/e_x0"])
    code = stage.flow.inverse(part["in/residual"], stage.condition(part["in/x0"], part["in/position"]))
    made = play.rendered(stage.decoder, part["in/x0"], code, 8)
    close(made[..., ::2, ::2], part["out/endpoint_sample_sub2"])


@torch.no_grad()
def test_transfer_of_motion(shared):
    part = golden(shared, "io_rollout")
    stage = small(shared, "io_flow")
    mean, _ = stage.encoder(part["in/query"][:, 1:])
    noise, _ = stage.flow(mean, part["in/e_query0"])
    close(noise, part["out/transfer_residual"][..., 0, 0])
    code = stage.flow.inverse(noise.expand(3, -1), part["in/e_targets"])
    close(code, part["out/transfer_z"])
    close(play.rendered(stage.decoder, part["in/targets"], code, 8)[..., ::2, ::2], part["out/transfer_sub2"])


# Paper size


@pytest.mark.slow
@pytest.mark.parametrize("name", PAPER_ENCODERS)
@torch.no_grad()
def test_a_paper_encoder(shared, name):
    part, (widths, strides) = golden(shared, "rc_enc"), PAPER_ENCODERS[name]
    network = placed(networks.Encoder(widths, (1, 2, 2, 2), strides, 64), drawn(keys(shared, name)))
    asked = inputs(part, name)
    mean, logvar = network(asked["x"].transpose(1, 2))
    close(mean, part[f"out/{name}/mu"], PAPER)
    close(logvar, part[f"out/{name}/logvar"], PAPER)
    close(sampled(mean, logvar, asked["eps"]), part[f"out/{name}/z"], PAPER)
    close(network(asked["x"].transpose(1, 2)[:, :15])[0], part[f"out/{name}/mu_15frames"], PAPER)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "space", "step"), [("nf64", (2, 1), 4), ("nf32", (2, 2), 8)])
@torch.no_grad()
def test_a_paper_decoder(shared, name, space, step):
    part = golden(shared, "rc_dec")
    network = placed(networks.Decoder(int(name[2:]), 64, (2, 1), space), drawn(keys(shared, f"dec_{name}")))
    asked = inputs(part, name)
    made = network(asked["img"], asked["z"])
    close(made[..., ::step, ::step], part[f"out/{name}/y_sub"], PAPER)
    close(made.mean((3, 4)), part[f"out/{name}/y_frame_means"], PAPER)


@pytest.mark.slow
@torch.no_grad()
def test_the_paper_discriminators(shared):
    part = golden(shared, "rc_disc")
    weights = drawn(keys(shared, "disc_t"))
    for name, strides in (("disc_t64", (1, 1, 2, 2)), ("disc_t128", (1, 2, 2, 2))):
        with torch.device("meta"):
            network = networks.TemporalDiscriminator(*TEMPORAL, strides)
        network.load_state_dict(released.video_state(weights), assign=True)
        logits, maps = network.eval()(inputs(part, name)["x"].transpose(1, 2))
        close(logits, part[f"out/{name}/logit"], PAPER)
        for number, found in enumerate(maps):
            close_checks(found, part[f"out/{name}/fmap{number}_checks"], PAPER)
    patch = placed(networks.PatchDiscriminator(), drawn(keys(shared, "disc_s")))
    for name in ("disc_s64", "disc_s128"):
        close(patch(inputs(part, name)["x"]), part[f"out/{name}/y"], PAPER)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "width"), [("flow_c64", 64), ("flow_c128", 128), ("flow_c94_control", 94)])
@torch.no_grad()
def test_a_paper_flow(shared, name, width):
    part = golden(shared, "rc_flow")
    flow = placed(Flow(64, width, controlled=width == 94), drawn(keys(shared, name)), released.flow_state)
    asked = inputs(part, name)
    if width == 94:
        asked["c"][:, 64:] = nn.functional.one_hot(part[f"in/{name}/bins"].long(), 10).flatten(1)
    noise, logdet = flow(asked["z"], asked["c"])
    close(noise, part[f"out/{name}/nu"][..., 0, 0], PAPER)
    close(logdet, part[f"out/{name}/logdet_exact"], PAPER)
    close(flow(asked["z"], asked["c"], exact=False)[1], part[f"out/{name}/logdet_released"], PAPER)
    close(flow.inverse(asked["z"], asked["c"]), part[f"out/{name}/inverse_of_z"][..., 0, 0], PAPER)
    assert (flow.inverse(noise, asked["c"]) - asked["z"]).abs().max() < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "size", "embedding", "norm"),
    [
        ("ae_64_z64_in", 64, 64, "instance"),
        ("ae_64_z128_in", 64, 128, "instance"),
        ("ae_128_z128_in", 128, 128, "instance"),
        ("ae_128_z128_bn", 128, 128, "batch"),
    ],
)
@torch.no_grad()
def test_a_paper_frame_autoencoder(shared, name, size, embedding, norm):
    part, tensors = golden(shared, "rc_ae"), drawn(keys(shared, name))
    encoder, decoder = frame_networks.FrameEncoder(embedding, norm), frame_networks.FrameDecoder(size, embedding)
    placed(encoder, without(tensors, "encoder."), released.frame_state)
    theirs = {key: value for key, value in tensors.items() if key.startswith("decoder.")}
    decoder.load_state_dict(decoder_state(theirs, attention=size == 128))
    pictures = inputs(part, name)["x"]
    mean, logvar = encoder(pictures)
    close(mean, part[f"out/{name}/mode"], PIPELINE)
    close(losses.kl(mean, logvar), part[f"out/{name}/kl"], PIPELINE)
    made = decoder.eval()(mean)
    close(made[..., ::4, ::4], part[f"out/{name}/recon_sub"], PIPELINE)


def paper(shared, settings: Settings, embedder: str, decoder: str, flow: str, encoder: str | None = None) -> FlowStage:
    stage = FlowStage(settings)
    placed(stage.embedder, without(drawn(keys(shared, embedder)), "encoder."), released.frame_state)
    placed(stage.decoder, drawn(keys(shared, decoder)))
    placed(stage.flow, drawn(keys(shared, flow)), released.flow_state)
    if encoder:
        placed(stage.encoder, drawn(keys(shared, encoder)))
    return stage.eval()


@pytest.mark.slow
@torch.no_grad()
def test_the_paper_pipeline_on_bair(shared):
    part = golden(shared, "rc_pipeline")
    stage = paper(shared, Settings(), "ae_64_z64_in", "dec_nf64", "flow_c64")
    asked = inputs(part, "bair")
    condition = stage.condition(asked["x0"])
    close(condition, part["out/bair/e"], PIPELINE)
    code = stage.flow.inverse(asked["residual"], condition)
    close(code, part["out/bair/z"], PIPELINE)
    made = play.rendered(stage.decoder, asked["x0"], code, 32)
    close(made[..., ::4, ::4], part["out/bair/video_sub"], PIPELINE)
    control = {**released.BAIR_CONTROL, "control_offset": (0.0,) * 3, "control_range": (1.0,) * 3}
    told = FlowStage(Settings(**control)).eval()
    told.embedder, told.decoder = stage.embedder, stage.decoder
    placed(told.flow, drawn(keys(shared, "flow_c94_control")), released.flow_state)
    code = told.flow.inverse(asked["residual"], told.condition(asked["x0"], part["in/bair_control/position"]))
    made = play.rendered(told.decoder, asked["x0"], code, 16)
    close(made[..., ::4, ::4], part["out/bair_control/video_sub"], PIPELINE)


@pytest.mark.slow
@torch.no_grad()
def test_the_paper_pipeline_on_landscape(shared):
    part = golden(shared, "rc_pipeline")
    sizes = {"decoder_width": 32, "encoder_widths": (64, 128, 128, 256, 512), "embedding": 128, "frame_norm": "batch"}
    settings = Settings(**{**released.STRIDES[32], **sizes})
    stage = paper(shared, settings, "ae_128_z128_bn", "dec_nf32", "flow_c128", "enc_landscape")
    asked = inputs(part, "landscape_transfer")
    mean, _ = stage.encoder(asked["query"][:, 1:])
    noise, _ = stage.flow(mean, stage.condition(asked["query"][:, 0]))
    close(noise, part["out/landscape_transfer/residual"], PIPELINE)
    code = stage.flow.inverse(noise.expand(2, -1), stage.condition(asked["targets"]))
    close(code, part["out/landscape_transfer/z"], PIPELINE)
    made = play.rendered(stage.decoder, asked["targets"], code, 16)
    close(made[..., ::8, ::8], part["out/landscape_transfer/video_sub"], PIPELINE)


# Settings


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"code": 7}, "code is 7, expected an even number"),
        ({"decoder_width": 0}, "decoder_width is 0, expected at least 1"),
        ({"encoder_widths": (64, 128, 250, 512, 512)}, "multiples of 16"),
        ({"upsample_space": (2, 3)}, "upsample_space is"),
        ({"embedding": 40}, "embedding is 40, expected at least 41 for frames of 64"),
        ({"upsample_time": (2, 2)}, "encoder_strides_time is"),
        ({"encoder_strides_space": (2, 2, 2, 2)}, "4 pixels left of 64, not 2"),
        ({"temporal_strides_space": (1, 2, 2, 2)}, "temporal_strides_space is"),
        ({"control": "state"}, "with 0 offsets and 0 ranges"),
        ({"control": "state", "control_offset": (0.0,), "control_range": (0.0,)}, "control_range is"),
        (
            {"upsample_space": (1, 1), "encoder_strides_space": (1, 1, 2, 2), "temporal_strides_space": (1, 1, 2, 1)},
            "too small for a ResNet",
        ),
    ],
)
def test_settings_that_do_not_fit_are_refused(changes, said):
    with pytest.raises(UsageError, match=said):
        Settings(**changes)
