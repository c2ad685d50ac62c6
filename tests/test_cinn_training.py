"""cINN's training steps against the release's, its recipes, resuming, generating, importing, and what can go wrong."""

import dataclasses
import fnmatch
import json
import shutil
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tiny
import torch
from cinn_golden import close, decoder_state, drawn, given, golden, keys, perceptual, placed, stepped, without
from click.testing import CliRunner
from torch import nn

from vbench_ctl import building, files, generation, recipes, runs, sources, training
from vbench_ctl.baselines import cinn
from vbench_ctl.baselines.cinn import losses, play, released
from vbench_ctl.baselines.cinn.flow import Flow
from vbench_ctl.baselines.cinn.flow_stage import FlowStage
from vbench_ctl.baselines.cinn.frame_stage import FrameStage, Plateau
from vbench_ctl.baselines.cinn.settings import Settings
from vbench_ctl.baselines.cinn.video_stage import Drawn, VideoStage
from vbench_ctl.cli import main
from vbench_ctl.clips import Clip
from vbench_ctl.errors import UsageError, VbenchError
from vbench_ctl.training import DataFacts

STEP = 5e-4  # golden/cinn/README.md: the losses of a first step in float32
DOUBLE = 1e-9

# Names of the release's logs and of ours. Its logits of a discriminator are those after the discriminator's step, ours
# those before it: Logits_Fake_* there is the generator's loss with its sign changed.
LOGS = {
    "Loss_VAE": "vae",
    "Loss_L1": "vae/pixels",
    "LPIPS": "vae/perceptual",
    "Loss_KL": "vae/kl",
    "Loss_GEN_S": "vae/patch",
    "Loss_GEN_T": "vae/temporal",
    "Loss_Fmap_T": "vae/features",
    "Loss_Disc_T": "temporal/hinge",
    "L_GP": "temporal/penalty",
    "Loss_Disc_S": "patch",
}
SMALL = {
    "code": 8,
    "encoder_widths": (64, 16, 16, 16, 32),
    "encoder_strides_time": (1, 2, 2, 2),
    "encoder_strides_space": (1, 2, 2, 1),
    "decoder_width": 8,
    "upsample_time": (2, 1),
    "upsample_space": (1, 1),
    "temporal_widths": (64, 16, 16, 16, 32),
    "temporal_strides_space": (1, 1, 2, 1),
    "patch_width": 8,
    "embedding": 32,
    "small_encoder": 8,
}


# The video stage


def video_stage(shared, dtype: torch.dtype) -> VideoStage:
    settings = Settings(**SMALL, weight_kl=0.01, weight_temporal=0.7, weight_perceptual=3.0)
    stage = VideoStage(settings)
    for name, file in {"encoder": "io_enc", "decoder": "io_dec", "temporal": "io_disc_t", "patch": "io_disc_s"}.items():
        placed(getattr(stage, name), golden(shared, file).state())
    for name, value in stage.patch.state_dict().items():
        fresh = {"loc": 0, "scale": 1, "initialized": 0}.get(name.rpartition(".")[2])
        if fresh is not None:
            value.fill_(fresh)
    distance = perceptual(shared).to(dtype)
    stage.distance = lambda device: distance
    return stage.to(dtype).train()


def check_video_steps(shared, tag: str, dtype: torch.dtype, steps: int, tolerance: float) -> None:
    part, stage = golden(shared, "io_train_stage1"), video_stage(shared, dtype)
    optimizers, clips = stage.optimizers(), (part["in/seq"].float() / 127).to(dtype)
    for step in range(steps):
        picks = part["in/frame_indices"][step].long()
        chosen = Drawn(part[f"in/eps{step}"], int(part["in/window_start"][step]), picks)
        logs = stepped(stage.parts(clips, chosen, adversarial=tag.endswith("1")), optimizers)
        assert ("temporal" in logs) == ("patch" in logs) == tag.endswith("1")
        for theirs, ours in LOGS.items():
            if ours in logs:
                wanted = float(part[f"out/{tag}/step{step}/{theirs}"])
                assert logs[ours] == pytest.approx(wanted, rel=tolerance, abs=tolerance * 1e-3), theirs
    after, state = part.part(f"after/{tag}"), stage.state_dict()
    loose = max(tolerance, 5e-3) if dtype == torch.float32 else tolerance
    for name, ours in {"ds": "patch", "dt": "temporal", "dec": "decoder"}.items():
        for key, value in released.video_state(after.state(f"{name}/")).items():
            close(state[f"{ours}.{key}"], value, loose)
    for name, ours in {"ds": "patch", "dt": "temporal", "dec": "decoder", "enc": "encoder"}.items():
        sizes = [float(weight.detach().double().square().sum()) for weight in getattr(stage, ours).parameters()]
        wanted = after[f"{name}_params"][:, 2]
        # In order of size: the release lists a layer's bias before its weight.
        np.testing.assert_allclose(
            sorted(sizes), sorted(wanted.tolist()), rtol=2 * loose, atol=1e-6 if loose > 1e-6 else 1e-10
        )


def test_a_step_of_the_video_stage(shared):
    check_video_steps(shared, "epoch1", torch.float32, 1, STEP)


@pytest.mark.slow
def test_a_step_of_the_video_stage_before_the_discriminators(shared):
    check_video_steps(shared, "epoch0", torch.float32, 1, STEP)


@pytest.mark.slow
@pytest.mark.parametrize(("tag", "steps"), [("f64_epoch0", 1), ("f64_epoch1", 2)])
def test_steps_of_the_video_stage_in_double_precision(shared, tag, steps):
    check_video_steps(shared, tag, torch.float64, steps, DOUBLE)


NARROW = {
    "code": 8,
    "encoder_widths": (16,) * 5,
    "temporal_widths": (16,) * 5,
    "decoder_width": 8,
    "spade_width": 8,
    "patch_width": 4,
}


def test_discriminators_without_a_say_are_left_out():
    clips = torch.rand(2, 17, 3, 64, 64) * 2 - 1
    for weights, judges in (
        ({"weight_patch": 0.0}, {"temporal", "features"}),
        ({"weight_temporal": 0.0, "weight_features": 0.0}, {"patch"}),
        ({"weight_patch": 0.0, "weight_temporal": 0.0, "weight_features": 0.0}, set()),
    ):
        stage = VideoStage(Settings(**NARROW, weight_perceptual=0.0, **weights))
        *judging, last = stage.parts(clips, stage.drawn(clips), adversarial=True)
        assert {each.optimizer for each in judging} == judges & {"temporal", "patch"}
        assert set(last.logs) == {"pixels", "perceptual", "kl"} | judges and last.loss.isfinite()


def test_errors_may_count_more_where_a_clip_leaves_its_start():
    first, real, made = torch.zeros(1, 1), torch.tensor([[[1.0], [0.0]]]), torch.full((1, 2, 1), 0.5)
    assert float(losses.moving(first, made, real)) == 0.25
    settings = Settings(**NARROW, weight_perceptual=0.0, weight_moving=7.0)
    stage, clips = VideoStage(settings), torch.rand(2, 17, 3, 64, 64) * 2 - 1
    (last,) = stage.parts(clips, stage.drawn(clips), adversarial=False)
    total = sum(getattr(settings, f"weight_{name}") * last.logs[name] for name in ("pixels", "kl", "moving"))
    assert last.loss.detach() == pytest.approx(float(total)) and last.logs["moving"] > 0


def test_a_decoder_may_make_what_changes():
    plain = VideoStage(Settings(**NARROW)).decoder.eval()
    change = VideoStage(Settings(**NARROW, decode_change=True)).decoder.eval()
    change.load_state_dict(plain.state_dict())
    picture, code = torch.rand(1, 3, 64, 64) * 2 - 1, torch.randn(1, 8)
    with torch.no_grad():
        close(change(picture, code), picture[:, None] + 2 * plain(picture, code), 1e-6)


def test_rates_of_the_video_stage():
    with torch.device("meta"):
        stage = VideoStage(Settings(**SMALL, video_pass=10, video_warmup=2))
    assert stage.rates(9) == {"vae": 1.0, "temporal": 1.0, "patch": 1.0}
    assert stage.rates(39) == {"vae": 0.98**3, "temporal": 0.98, "patch": 0.98}


# The frame stage


def frame_stage(shared, dtype: torch.dtype) -> FrameStage:
    stage = FrameStage(Settings(frame_weight_kl=1e-3))
    tensors = drawn(keys(shared, "ae_64_z64_in"))
    placed(stage.encoder, without(tensors, "encoder."), released.frame_state)
    theirs = {key: value for key, value in tensors.items() if key.startswith("decoder.")}
    stage.decoder.load_state_dict(decoder_state(theirs, attention=False))
    placed(stage.patch, drawn(keys(shared, "disc_s")))
    distance = perceptual(shared).to(dtype)
    stage.distance = lambda device: distance
    return stage.to(dtype).train()


FRAME_LOGS = {
    "Loss": "autoencoder",
    "Loss_nll": "autoencoder/likelihood",
    "L_KL": "autoencoder/kl",
    "Loss_G": "autoencoder/patch",
    "Disc_weight": "autoencoder/balance",
    "L_disc": "patch",
    "Logits_real": "patch/real",
    "Logits_fake": "patch/fake",
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tag", "dtype", "steps", "tolerance"),
    [
        ("epoch0", torch.float32, 1, 3e-3),
        ("epoch20", torch.float32, 1, 3e-3),
        ("f64_epoch20", torch.float64, 2, DOUBLE),
    ],
)
def test_steps_of_the_frame_stage(shared, tag, dtype, steps, tolerance):
    part, stage = golden(shared, "rc_train_ae"), frame_stage(shared, dtype)
    optimizers, pictures = stage.optimizers(), given(*part.config()["inputs"]["x"]).to(dtype)
    for step in range(steps):
        logs = stepped(stage.parts(pictures, adversarial="20" in tag), optimizers)
        for theirs, ours in FRAME_LOGS.items():
            if ours in logs:
                assert logs[ours] == pytest.approx(float(part[f"out/{tag}/step{step}/{theirs}"]), rel=tolerance), theirs
    state, after = stage.state_dict(), part.part(f"after/{tag}")
    for theirs, ours in {
        "encoder.model.fc.sub_layers.0.bias": "encoder.model.fc.bias",
        "decoder.decoder.colorize.module.weight_bar": "decoder.generator.colorize.parametrizations.weight.original",
        "decoder.decoder.GBlock.0.HyperBN.bn.running_mean": "decoder.generator.blocks.0.norm0.norm.running_mean",
        "disc main.3.scale": "patch.main.3.scale",
        "disc main.2.weight_u": "patch.main.2.parametrizations.weight.0.u",
    }.items():
        close(state[ours], after[theirs], max(tolerance, 5e-3) if dtype == torch.float32 else tolerance)


def test_the_plateau_is_that_of_pytorch():
    plateau, weight = Plateau(2e-4), nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.Adam([weight], 2e-4)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, factor=0.5, patience=1, threshold=1e-4, threshold_mode="abs", min_lr=1e-8
    )
    for loss in [1.0, 0.9, 0.89995, 0.95, 0.8, 0.81, 0.82, 0.83, 0.84, 0.7, *[0.7] * 40]:
        plateau.note(torch.tensor(loss))
        scheduler.step(loss)
        assert 2e-4 * float(plateau.factor) == pytest.approx(optimizer.param_groups[0]["lr"])


# The flow's stage


@pytest.mark.parametrize(("start", "dtype", "tolerance"), [("", torch.float32, 5e-5), ("f64_", torch.float64, DOUBLE)])
def test_steps_of_the_flow(shared, start, dtype, tolerance):
    part = golden(shared, "io_train_flow")
    stage = FlowStage(Settings(**SMALL, flow_rate=0.01, reference_logdet=True))
    stage.flow = placed(Flow(8, 6, 16, 2, 5), part.state(), released.flow_state)
    stage.to(dtype).train()
    optimizers = stage.optimizers()
    for step in range(3):
        logs = stepped([stage.update(part["in/z"].to(dtype), part["in/c"].to(dtype))], optimizers)
        for theirs, ours, sign in (
            ("Loss", "flow", 1),
            ("nll_loss", "flow/gaussian", 1),
            ("nlogdet_loss", "flow/logdet", -1),
        ):
            wanted = float(part[f"out/{start}step{step}/{theirs}"])
            assert sign * logs[ours] == pytest.approx(wanted, rel=tolerance), (step, theirs)
    norm = stage.flow.blocks[0].norm.scale
    close(norm, part[f"after/{start}sub_layers.0.norm_layer.scale"][..., 0, 0], 10 * tolerance)
    shift = stage.flow.blocks[3].coupling.first.layers[0].bias[1, 0]
    close(shift, part[f"after/{start}sub_layers.3.coupling.t.0.main.0.bias"], 10 * tolerance)


@pytest.mark.slow
def test_the_flow_learns_two_modes():
    """A conditional density with two modes: the exact likelihood must beat the best Gaussian's."""
    torch.manual_seed(0)
    width, known = 16, 4
    mixing, direction = torch.randn(known, width), torch.randn(width)

    def draw(count: int) -> tuple[torch.Tensor, torch.Tensor]:
        condition = torch.randn(count, known)
        sign = torch.randint(2, (count, 1)) * 2.0 - 1
        bent = 1 + 0.3 * condition[:, :1].sin()
        return (condition @ mixing).tanh() + 1.5 * sign * direction * bent + 0.3 * torch.randn(count, width), condition

    flow = Flow(width, known, 64, 2, 6)
    adam = torch.optim.Adam(flow.parameters(), 1e-3, amsgrad=True)

    def nll(code: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        noise, logdet = flow(code, condition)
        return (0.5 * noise.square().sum(1) - logdet).mean()

    for _ in range(300):
        loss = nll(*draw(128))
        adam.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(flow.parameters(), 5.0)
        adam.step()
    code, condition = draw(4000)
    features = torch.cat([condition, torch.ones(len(condition), 1)], 1)
    rest = code - features @ torch.linalg.lstsq(features, code).solution
    gaussian = 0.5 * torch.logdet(rest.T.cov()) + width / 2
    with torch.no_grad():
        assert nll(*draw(2000)) < gaussian - 2


# Recipes and whole trainings


def test_clips_of_free_movement_count_twice_on_iper():
    ((pattern, times),) = recipes.load("cinn", "iper").data["video"].repeats.items()
    assert times == 2
    assert [fnmatch.fnmatchcase(clip, pattern) for clip in ("train/001_1_2", "train/001_1_1")] == [True, False]


def test_the_recipes_of_the_paper_are_all_there():
    assert {
        "bair",
        "bair-endpoint",
        "landscape",
        "iper",
        "dtdb-fire",
        "dtdb-clouds",
        "dtdb-vegetation",
        "dtdb-waterfall",
        "wsprites",
        "tiny",
    } <= recipes.files("cinn", cinn).keys()


def test_the_small_run_that_is_told_differs_in_its_flow_only():
    """The settings of the published rows: results/reproduced/cinn-wsprites-small.json has the commands."""
    rows = json.loads((Path(recipes.__file__).parents[1] / "results/reproduced/cinn-wsprites-small.json").read_text())
    run = next(row for row in rows if row["model"] == "cinn-wsprites-small-endpoint")["provenance"]["generated"]["run"]
    first, again = run["commands"]
    sets = [word for before, word in pairwise(again) if before == "--set"]
    told = recipes.load("cinn", "small-endpoint", "wsprites")
    assert sets and first[first.index("--recipe") + 1] == "small"
    assert recipes.text(told) == recipes.text(recipes.load("cinn", "small", "wsprites", sets))


FAST = [
    "model.code=8",
    "model.decoder_width=8",
    "model.spade_width=8",
    "model.encoder_widths=[16,16,16,16,16]",
    "model.temporal_widths=[16,16,16,16,16]",
    "model.patch_width=4",
    "model.small_encoder=8",
    "model.generator_width=8",
    "model.generator_classes=8",
    "model.generator_hidden=8",
    "model.flow_width=16",
    "model.flow_blocks=4",
    "model.weight_perceptual=0",
    "model.frame_weight_perceptual=0",
    "model.video_pass=2",
    "model.video_warmup=1",
    "model.frame_pass=2",
    "model.frame_warmup=1",
    "training.batch=2",
    "training.workers=0",
    "training.save_every=2",
    "training.log_every=1",
    "training.track=[]",
]


def moving(index: int) -> Clip:
    """A bright square that moves to the right."""
    frames = np.full((20, 32, 32, 3), 40, np.uint8)
    places = np.stack([np.arange(20) % 24, np.full(20, 4 * index)], 1).astype(np.float32)
    for frame, (x, y) in zip(frames, places.astype(int), strict=True):
        frame[y : y + 8, x : x + 8] = (250, 200, 60 * index)
    return Clip(f"test/clip_{index}", frames, 10.0, {"position": places})


def moving_clips(item: tuple[str, int]):
    for index in range(item[1]):
        yield moving(index)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A whole training of a very small model with a control."""
    folder = tmp_path_factory.mktemp("cinn")
    building.build(
        folder / "store", building.Recipe("moving", "32", 1, {"train": [("train", 4)]}, moving_clips, {}, {}, None)
    )
    return trained(folder / "run", folder / "store")


CONTROL = [
    "model.control=position",
    "model.control_offset=[0.0, 0.0]",
    "model.control_range=[24.0, 24.0]",
    'data.flow.tracks=["position"]',
]


def trained(out: Path, where: Path, *sets: str, steps: int = 3, stage: str | None = None, resume: bool = False) -> Path:
    every = [*FAST, *CONTROL, f"training.steps={steps}", *(f"training.{each}.steps={steps}" for each in cinn.STAGES)]
    recipe = recipes.load("cinn", "tiny", str(where), [*every, *sets])
    return training.train("cinn", recipe, out, stage, "cpu", resume=resume)


@pytest.fixture(scope="module")
def system(run) -> FlowStage:
    return training.load(run).system


def test_all_stages_are_trained(run):
    for stage in cinn.STAGES:
        state = runs.last(run, stage)
        assert state is not None and state["step"] == 3
    logged = {(entry["stage"], name) for entry in runs.read_log(run) for name in entry.get("losses", {})}
    assert {("video", "patch"), ("video", "temporal/penalty"), ("frame", "patch"), ("flow", "flow/logdet")} <= logged


def test_trained_again_or_resumed_the_bits_are_the_same(run, tmp_path):
    again = trained(tmp_path / "again", run.parent / "store", stage="all")
    check_same(run, again)
    for stage in cinn.STAGES:
        (again / "checkpoints" / stage / "step-000000003.pt").unlink()  # back to step 2
    check_same(run, trained(again, run.parent / "store"))


def check_same(one: Path, two: Path) -> None:
    for stage in cinn.STAGES:
        ours, theirs = (runs.last(each, stage) for each in (one, two))
        assert ours["step"] == theirs["step"] == 3
        for name, value in ours["system"].items():
            assert torch.equal(value, theirs["system"][name]), (stage, name)


def asked(clip: Clip, predict: int, seed: int, **controls: np.ndarray) -> generation.Asked:
    given, size = clip.frames[:1], clip.frames.shape[1:3]
    return generation.Asked(clip.id, given, given[:0], predict, controls, None, size, (0, seed), cinn.Options())


def test_a_run_continues_frames(system):
    clips = [moving(index) for index in range(2)]
    order = [asked(clip, 20, seed, position=clip.tracks["position"][-1:]) for seed, clip in enumerate(clips)]
    made = cinn.generate(system, order)
    assert [(each.shape, each.dtype) for each in made] == [((20, 32, 32, 3), np.uint8)] * 2
    assert np.array_equal(cinn.generate(system, order[1:])[0], made[1])  # whatever it is asked with
    again = cinn.generate(system, [asked(clips[1], 16, 1, position=clips[1].tracks["position"][-1:])])[0]
    assert np.array_equal(again, made[1][:16])
    other = cinn.generate(system, [asked(clips[1], 20, 2, position=clips[1].tracks["position"][-1:])])[0]
    assert not np.array_equal(other, made[1])


def test_frames_of_any_size_are_continued_at_their_size(system):
    frame = np.zeros((48, 64, 3), np.uint8)
    made = play.continued(system, frame, 3, generation.drawing((1, 2)), np.zeros(2), fresh=True)
    assert made.shape == (3, 48, 64, 3)


def test_fresh_motion_begins_alike_and_goes_on_differently(system):
    clip = moving(1)
    end = clip.tracks["position"][-1]
    kept, fresh = (
        play.continued(system, clip.frames[0], 32, generation.drawing((3,)), end, fresh=flag) for flag in (False, True)
    )
    assert np.array_equal(kept[:16], fresh[:16]) and not np.array_equal(kept[16:], fresh[16:])


ENDS = {"y": np.array([4.0]), "x": np.array([16.0])}  # whatever their order


def shown(system: FlowStage, way: str, control=ENDS, **how) -> list[tuple[str, np.ndarray]]:
    clips = [(f"clip_{index}", moving(index).frames) for index in (1, 2)]
    return cinn.show(system, way, generation.Given(clips, control=control, options=cinn.Options(realisations=2), **how))


def test_ways(system):
    samples = shown(system, "samples", length=16)
    assert [name for name, _ in samples[:3]] == ["clip_1-real", "clip_1-realisation-1", "clip_1-realisation-2"]
    ends = shown(system, "endpoint", length=16)
    assert [len(frames) for _, frames in ends] == [16, 16, 16, 16, 2] * 2 and ends[4][0] == "clip_1-last-frames"
    moved = shown(system, "transfer", driving=moving(0).frames)
    assert [name for name, _ in moved] == ["driving", "clip_1", "clip_2"]
    everything = [*samples, *ends, *moved]
    assert all(frames.dtype == np.uint8 and frames.shape[1:] == (32, 32, 3) for _, frames in everything)
    assert len({name for name, _ in ends}) == len(ends)


def test_each_clip_may_have_an_end_of_its_own(system):
    """The same clips and seeds as told one by one, whatever the order of the columns."""
    ends = np.array([[2.0, 20.0], [22.0, 3.0]])
    made = dict(shown(system, "samples", {"y": ends[:, 1], "x": ends[:, 0]}, seed=4))
    for index, end in enumerate(ends):
        alone = play.realisations(system, moving(index + 1).frames[0], 16, 2, (4, index), end)
        for number, frames in enumerate(alone, 1):
            assert np.array_equal(made[f"clip_{index + 1}-realisation-{number}"], frames)
    other = dict(shown(system, "samples", {"x": ends[:, 1], "y": ends[:, 0]}, seed=4))
    assert any(not np.array_equal(made[name], frames) for name, frames in other.items())
    found = play.endpoints(system, {"x": np.arange(3.0), "y": np.arange(3.0) + 5}, 3)
    assert [list(end) for end in found] == [[0, 5], [1, 6], [2, 7]]
    assert len(shown(system, "transfer", {"x": np.arange(3.0), "y": np.arange(3.0)}, driving=moving(0).frames)) == 3


@pytest.mark.parametrize(
    ("control", "says"),
    [
        ({}, "trained with the control position; give --control, a CSV file with the columns x, y"),
        (
            {"x": [1.0]},
            "--control: the column y is missing; expected the columns x, y: the position at the end of a clip",
        ),
        ({"x": [1.0], "y": [1.0], "z": [1.0]}, 'no column of --control "z"; known: x, y'),
        ({"X": [1.0], "y": [1.0]}, 'no column of --control "X"; did you mean "x"?'),
        ({"x": [1.0] * 3, "y": [1.0] * 3}, "--control: 3 rows, expected one for all 2 clips or one for each"),
    ],
)
@pytest.mark.parametrize("way", ["samples", "endpoint"])
def test_a_control_that_does_not_fit_is_one_sentence(system, way, control, says):
    with pytest.raises(UsageError) as error:
        shown(system, way, {name: np.array(values) for name, values in control.items()})
    assert says in str(error.value) and "\n" not in str(error.value)


def test_a_run_that_is_told_nothing_takes_no_control(system, monkeypatch):
    monkeypatch.setattr(
        system, "settings", dataclasses.replace(system.settings, control="", control_offset=(), control_range=())
    )
    assert play.endpoints(system, {}, 2) == [None, None]
    with pytest.raises(UsageError, match=r"was trained without a control .* leave --control away"):
        play.endpoints(system, ENDS, 2)


def test_the_motion_of_a_clip_onto_itself_is_its_reconstruction(system):
    clip = moving(1)
    end = clip.tracks["position"][16]
    (moved,) = play.transferred(system, clip.frames, [clip.frames[0]], 16, [end, end])
    with torch.no_grad():
        frames = play.seen(system, clip.frames[:17])[None]
        again = system.decoder(frames[:, 0], system.encoder(frames[:, 1:])[0])
    close(play.seen(system, moved), again[0], 0.02)  # up to whole levels
    inferring = dataclasses.replace(asked(clip, 16, 0), real=clip.frames[:17])
    assert np.abs(cinn.generate(system, [inferring])[0].astype(int) - moved).max() <= 1
    with pytest.raises(UsageError, match="the video has 9 frames"):
        cinn.generate(system, [dataclasses.replace(inferring, real=clip.frames[:9])])


def test_spread():
    still, moved = np.zeros((2, 4, 4, 3), np.uint8), np.zeros((2, 4, 4, 3), np.uint8)
    moved[1] = 100
    assert play.spread([still, still]).max() == 0
    assert play.spread([still, moved])[0].max() == 0 and play.spread([still, moved])[1].min() == 50
    label, rows = play.spread_rows([still, moved])[2]
    assert label == "spread-to-50" and rows[1].min() == 255


# What can go wrong


def test_the_flow_needs_the_stages_before_it(run, tmp_path):
    with pytest.raises(VbenchError, match="the stage flow needs the stage video, which was not trained"):
        trained(tmp_path / "run", run.parent / "store", stage="flow")


def test_stages_of_other_sizes_are_refused(run):
    recipe = runs.open_run(run).recipe
    earlier = {stage: runs.last(run, stage)["system"] for stage in ("video", "frame")}
    facts = DataFacts(32, 32, tracks={"position": ((2,), "float32")}, length=17)
    settings = {**vars(recipe.model), "code": 10}
    with pytest.raises(VbenchError, match=r"the stage video was trained with encoder\.conv_mu\.weight of \[8, "):
        cinn.build(Settings(**settings), facts, "flow", earlier)
    settings = {**vars(recipe.model), "embedding": 40}
    with pytest.raises(VbenchError, match="the stage frame was trained with encoder"):
        cinn.build(Settings(**settings), facts, "flow", earlier)


@pytest.mark.parametrize(
    ("facts", "stage", "said"),
    [
        (DataFacts(64, 64, length=16), "video", "windows of 16 frames, the stage video needs 17"),
        (DataFacts(64, 48, length=17), "video", "the frames are 48x64"),
        (DataFacts(64, 64, length=17), "flow", r"the control state is not among the tracks \(none\)"),
        (DataFacts(64, 64, tracks={"state": ((2,), "float32")}, length=17), "flow", "has 2 numbers"),
    ],
)
def test_data_that_does_not_fit_is_refused(facts, stage, said):
    with pytest.raises(UsageError, match=said):
        cinn.build(Settings(**released.BAIR_CONTROL), facts, stage, {})


def test_generating_without_what_the_model_needs_is_refused(system):
    clip = moving(0)
    with pytest.raises(UsageError, match="the control position, which is not given"):
        cinn.generate(system, [asked(clip, 4, 0)])
    with pytest.raises(UsageError, match="position has 3 numbers, this cinn was trained with 2"):
        cinn.generate(system, [asked(clip, 4, 0, position=np.zeros((1, 3)))])
    with pytest.raises(VbenchError, match="no position at its last frame"):
        cinn.generate(system, [asked(clip, 4, 0, position=np.full((1, 2), np.nan))])
    nothing = generation.Asked("x", clip.frames[:0], clip.frames[:0], 4, {}, None, (32, 32), (0,), None)
    with pytest.raises(UsageError, match="continues a frame and none is given"):
        cinn.generate(system, [nothing])
    with pytest.raises(UsageError, match="the video has 9 frames, cinn reads a motion from 16"):
        play.transferred(system, clip.frames[:9], [clip.frames[0]], 4)
    with pytest.raises(UsageError, match="give it with --control-from"):
        shown(system, "transfer")
    with pytest.raises(UsageError, match="--realisations 0"):
        cinn.Options(realisations=0)


# Data of another dataset


def test_clips_of_another_dataset_are_continued_and_it_is_said(run, tmp_path):
    """The run learnt from a store called "moving 32"."""
    words = ["--way", "samples", "--clips", "1", "--length", "2", "--realisations", "1", "--device", "cpu", "--control"]
    (tmp_path / "ends.csv").write_text("y,x\n4,16\n")
    said = {}
    for name in ("moving", "other"):
        recipe = building.Recipe(name, "32", 1, {"test": [("test", 2)]}, moving_clips, {}, {}, None)
        building.build(tmp_path / name, recipe)
        real = sources.open_source(tmp_path / name, "test")
        protocol = tiny.protocol(context=1, predict=2, control="endpoint", metric_frames={})
        out = tmp_path / f"{name}-protocol"
        manifest = generation.generate(generation.model(run, "cpu"), protocol, real, out)
        again = generation.generate(generation.model(run, "cpu"), protocol, real, out)  # nothing left to do
        shown = tmp_path / f"{name}-way"
        done = CliRunner().invoke(
            main,
            ["generate", *map(str, (run, "--out", shown, "--real", tmp_path / name, *words, tmp_path / "ends.csv"))],
        )
        assert done.exit_code == 0, done.output
        found = [each.get("trained_on") for each in (manifest, again, files.read_json(shown / "manifest.json"))]
        said[name] = (found, done.stderr)
    assert said["moving"] == ([None] * 3, "")
    assert said["other"] == (
        ["moving 32"] * 3,
        f"{run.name} was trained on moving 32, and these are clips of other 32 test\n",
    )


@pytest.mark.parametrize(
    ("trained_on", "real", "said"),
    [
        ("bair 64 train", ("bair", "64-val"), None),
        ("bair 64 train", ("bair", "main64"), "bair 64"),
        ("bair 64 train", ("bair-hd", "256"), "bair 64"),
        ("dtdb fire144 train", ("dtdb", "fire128"), None),
        ("dtdb fire144 train", ("dtdb", "clouds128"), "dtdb fire144"),
        ("dtdb fire144 train + dtdb clouds144 train", ("dtdb", "clouds128"), None),
        (
            "dtdb fire144 train + dtdb fire144 eval + dtdb clouds144 train",
            ("iper", "64"),
            "dtdb fire144, dtdb clouds144",
        ),
        ("wsprites 64x48-limit400 train", ("wsprites", "128x96"), None),
        ("clips, 12 clips", ("iper", "64"), None),
        ("", ("iper", "64"), None),
    ],
)
def test_what_is_other_data(run, tmp_path, trained_on, real, said):
    folder = tmp_path / "run"
    shutil.copytree(run, folder, ignore=shutil.ignore_patterns("checkpoints"))
    stores = [f"{each} {'0a' * 32}" for each in trained_on.split(" + ")] if "," not in trained_on else [trained_on]
    about = files.read_json(folder / "run.json")
    files.write_json(folder / "run.json", about | {"data": {"flow": " + ".join(stores)} if trained_on else {}})
    clips = SimpleNamespace(manifest=dict(zip(("dataset", "variant"), real, strict=True)))
    model = generation.Model("cinn", folder)
    assert model.strangeness(clips) == ({"trained_on": said} if said else {})
    assert model.strangeness(SimpleNamespace(manifest={})) == model.strangeness(None) == {}
    assert generation.Model("copy-last").strangeness(clips) == {}


# Released folders


def written(folder: Path, shared, control: bool = False) -> Path:
    """Write a released folder of small networks: the tensors have the released names."""
    enc, dec = golden(shared, "io_enc").state(), golden(shared, "io_dec").state()
    with torch.device("meta"):
        embedder = FlowStage(Settings()).embedder.state_dict()
    embedding = 128
    rng = np.random.default_rng(0)
    frame = {
        name.replace("model.fc.", "model.fc.sub_layers.0."): rng.normal(0, 0.01, tuple(value.shape)).astype(np.float32)
        for name, value in embedder.items()
    }
    for kind in ("weight", "bias"):
        shape = (2 * embedding, 2048, 1, 1) if kind == "weight" else (2 * embedding,)
        frame[f"model.fc.sub_layers.0.{kind}"] = rng.normal(0, 0.01, shape).astype(np.float32)
    flow = released_flow(embedding + 30 * control, control)
    parts = {"stage1/best_PFVD_ENC": enc, "stage1/best_PFVD_GEN": dec, "AE/Encoder_stage2": frame, "stage2/cINN": flow}
    for name, tensors in parts.items():
        path = folder / f"{name}.pth"
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(
            {"epoch": 3, "state_dict": {key: torch.from_numpy(np.array(each)) for key, each in tensors.items()}}, path
        )
    (folder / "stage1/config_stage1.yaml").write_text(CONFIG)
    return folder


def released_flow(condition: int, control: bool) -> dict[str, np.ndarray]:
    rng, tensors = np.random.default_rng(1), {}
    for block in range(4):
        start = f"sub_layers.{block}."
        for name in ("loc", "scale"):
            tensors[f"{start}norm_layer.{name}"] = rng.normal(1, 0.1, (1, 8, 1, 1)).astype(np.float32)
        tensors[f"{start}norm_layer.initialized"] = np.array(1, np.uint8)
        inputs = condition if control and block % 4 else 4 + condition
        for net in ("s.0", "s.1", "t.0", "t.1"):
            for place, (before, after) in {0: (inputs, 16), 2: (16, 16), 4: (16, 16), 6: (16, 4)}.items():
                layer = f"{start}coupling.{net}.main.{place}."
                tensors[f"{layer}weight"] = rng.normal(0, 0.1, (after, before)).astype(np.float32)
                tensors[f"{layer}bias"] = rng.normal(0, 0.1, after).astype(np.float32)
        order = rng.permutation(8)
        tensors[f"{start}shuffle.forward_shuffle_idx"] = order
        tensors[f"{start}shuffle.backward_shuffle_idx"] = order.argsort()
    return tensors


CONFIG = """
Encoder: {res_type_encoder: resnet18, z_dim: 8, channels: [64, 16, 16, 16, 32], stride_t: [1, 2, 2, 2], stride_s: [1, 2, 2, 2]}
Decoder: {channel_factor: 8, z_dim: 8, upsample_s: [2, 1], upsample_t: [2, 1]}
Discriminator_Temporal: {channels: [64, 16, 16, 16, 32], stride_t: [2, 2, 2, 2], stride_s: [1, 1, 2, 2]}
Training: {w_recon: 20, w_percep: 30, w_kl: 1e-6}
"""


@pytest.mark.parametrize("control", [False, True])
def test_a_released_folder_is_imported(shared, tmp_path, control):
    settings, stages, facts = cinn.import_checkpoint(written(tmp_path / "bair", shared, control))
    assert (settings.code, settings.embedding, settings.flow_blocks, settings.flow_width, settings.flow_depth) == (
        8,
        128,
        4,
        16,
        2,
    )
    assert (settings.side, settings.frames, settings.weight_pixels) == (64, 16, 20.0)
    assert settings.control == ("state" if control else "") and (facts.height, facts.length) == (64, 17)
    system = cinn.build(settings, facts, "flow", {"video": stages["video"], "frame": stages["frame"]})
    system.load_state_dict(stages["flow"])
    close(system.encoder.conv1.weight, golden(shared, "io_enc")["sd/conv1.weight"], 0)
    made = play.continued(system.eval(), np.zeros((64, 64, 3), np.uint8), 2, generation.drawing((0,)), np.zeros(3))
    assert made.shape == (2, 64, 64, 3)
    by_flow, *_ = cinn.import_checkpoint(tmp_path / "bair/stage2")
    assert by_flow == settings


def test_folders_that_are_no_released_model_are_refused(shared, tmp_path):
    folder = written(tmp_path / "bair", shared)
    with pytest.raises(UsageError, match="is no folder"):
        cinn.import_checkpoint(folder / "stage2/cINN.pth")
    torch.save(
        {"state_dict": {k: torch.from_numpy(v) for k, v in released_flow(64, False).items()}},
        folder / "stage2/cINN.pth",
    )
    with pytest.raises(
        VbenchError,
        match="takes a condition of 64, the frame encoder makes one of 128; they are of models of different",
    ):
        cinn.import_checkpoint(folder)
    (folder / "stage2_control").mkdir()
    (folder / "stage2_control/cINN.pth").write_bytes((folder / "stage2/cINN.pth").read_bytes())
    with pytest.raises(VbenchError, match=r"stage2/cINN\.pth and stage2_control/cINN\.pth, expected one model"):
        cinn.import_checkpoint(folder)
    (folder / "AE/Encoder_stage2.pth").unlink()
    with pytest.raises(VbenchError, match=r"lacks encoder_stage2 \(frame encoder\)"):
        cinn.import_checkpoint(folder / "stage2")
