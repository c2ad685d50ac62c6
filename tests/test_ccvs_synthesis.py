"""Synthesis with CCVS against rollouts of the released generator (the shared golden/ccvs), and what users meet."""

import functools
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from click.testing import CliRunner
from test_ccvs_networks import WHOLE, Golden, close, golden, listed  # noqa: F401
from torch import Tensor

from vbench_ctl import building, generation, protocols, recipes, runs, scoring, store, training
from vbench_ctl import networks as networks_of
from vbench_ctl.baselines import ccvs
from vbench_ctl.baselines.ccvs import networks, synthesis
from vbench_ctl.baselines.ccvs.autoencoder import Autoencoder
from vbench_ctl.baselines.ccvs.control import Sound, State
from vbench_ctl.baselines.ccvs.sampling import Choice, Choices
from vbench_ctl.baselines.ccvs.settings import Settings
from vbench_ctl.baselines.ccvs.synthesis import Painter, Rendering, Script, System
from vbench_ctl.baselines.ccvs.transformer import Tokens
from vbench_ctl.cli import main
from vbench_ctl.clips import Clip
from vbench_ctl.errors import UsageError, VbenchError
from vbench_ctl.generation import Asked, Made
from vbench_ctl.metrics import state
from vbench_ctl.sources import StoreSource, open_source
from vbench_ctl.training import DataFacts

CASES = {
    "prediction": {},
    "prediction_greedy_step_by_step": {},
    "point_to_point": {"ending": True},
    "unconditional": {"unconditional": True},
    "state_sampled": {"control": "state", "control_codes": 9},
    "state_given": {"control": "state", "control_codes": 9},
    "state_square": {"control": "state", "control_codes": 9},
    "sound_given_keep_first": {"control": "sound", "control_codes": 10},
}


def built(file: Golden, name: str) -> tuple[System, dict]:
    about = file.config["cases"][name]
    frames = about["x_num_blocks"]
    settings = Settings(
        widths=(8, 16, 24), code_width=10, codes=24, layers=1, heads=2, width=16, frames=frames, **CASES[name]
    )
    autoencoder = Autoencoder(settings, 16, 16)
    for label, network in (("e", autoencoder.encoder), ("q", autoencoder.quantiser), ("g", autoencoder.decoder)):
        network.load_state_dict(file.state(f"sd/{label}/"))
    control: State | Sound | None = None
    if settings.control == "state":
        control = State(networks.StateEstimator(10, 6, 2, (4, 4)), networks.Quantiser(9, 1))
        control.estimator.load_state_dict(file.state("sd/s/"))
        control.quantiser.load_state_dict(file.state("sd/sq/"))
    if settings.control == "sound":
        control = Sound(networks.SoundEncoder(5, 6), networks.SoundDecoder(5, 6), networks.Quantiser(10, 6))
        control.encoder.load_state_dict(file.state("sd/stft_e/"))
        control.quantiser.load_state_dict(file.state("sd/stft_q/"))
    system = System(settings, autoencoder, control, 2 if control else 0)
    system.transformer.load_state_dict(file.state(f"sd/transformer_{name.partition('_')[0]}/"))
    return system.eval(), about


@pytest.mark.parametrize("name", CASES)
def test_rollouts(golden, name):  # noqa: F811
    file = golden("rollout")
    system, about = built(file, name)
    video = file["in/vid"][:, : about["vid_len"]]
    count = about["x_cond_len"] // 16
    codes, features = system.autoencoder.codes(video)
    given, known = features[:count], codes[:, : count * 16]
    assert torch.equal(known, file[f"out/{name}/code_cond"].long())
    tokens = Tokens(known)
    body = about["vid_len"]
    ending = None
    if system.settings.ending:
        body, ending = body - 1, features[-1]
        time = torch.full((2,), about["vid_len"] - 1)
        tokens = replace(tokens, ending=codes[:, -16:], ending_time=time)
    if isinstance(system.control, State):
        states = system.control_tokens({}, codes)
        kept = states if about.get("keep_state") else states[:, : 2 * count]
        if about.get("custom_state"):
            start = system.control.values(states[:, :2])[:, 0]
            kept = system.control.codes(synthesis.square_path(start, body))
        tokens = replace(tokens, states=kept)
    if isinstance(system.control, Sound):
        tokens = replace(tokens, states=system.control.codes(file["in/stft"][:, : about["vid_len"], 0]))
    if tokens.states is not None:
        assert torch.equal(tokens.states, file[f"out/{name}/state_code_cond"].long())
    rows = iter(file[f"in/{name}/uniform"]) if f"in/{name}/uniform" in file else iter(())
    frames = Choice(about.get("x_top_k", 0), greedy=not about.get("x_sample"))
    choices = Choices(frames, Choice(about.get("x_top_k_state", 0), greedy=not about.get("x_sample_state")))
    rendering = Rendering(about["q_skip_memory"], about.get("q_n_first", 0))
    script = Script(body, choices, rendering, again=about.get("step_by_step", False))
    made, found = system.continued(tokens, given, ending, script, rows.__next__)
    wanted = file[f"out/{name}/code"].long()
    # Step by step the release returns the tokens of the last window alone.
    assert torch.equal(found.frames[:, -wanted.shape[1] :], wanted)
    fake = torch.cat([made, video[:, body:]], 1)
    if script.again:  # and shows the given frames as they are
        fake = torch.cat([video[:, :count], made[:, count:]], 1)
    close(fake, file[f"out/{name}/fake"], WHOLE)
    if tokens.states is not None:
        assert torch.equal(found.states, file[f"out/{name}/state_code"].long())
    painter = Painter(system.autoencoder, rendering, given, ending)
    again = torch.stack([painter.paint(each)[0] for each in codes[:, : body * 16].split(16, 1)], 1)
    close(torch.cat([again, video[:, body:]], 1), file[f"out/{name}/rec"], WHOLE)


# From a recipe to clips

TINY = """
[data]
dataset = "balls"
split = "train"
length = 6
[data.transformer]
length = 4
[model]
widths = [4, 4, 8]
code_width = 6
codes = 12
discriminator_widths = [4, 4]
clip_frames = 3
memory = 3
weight_perceptual = 0.0
layers = 1
heads = 2
width = 8
frames = 4
[training]
steps = 1
batch = 2
workers = 0
log_every = 1
ema = 0.5
track = []
[training.control]
steps = 1
"""
CONTROLS = {
    "none": "",
    "ending": "model.ending=true",
    "unconditional": "model.unconditional=true",
    "state": 'model.control="state" model.control_codes=7 model.control_width=4 data.control.tracks=["state"]',
    "sound": 'model.control="sound" model.control_codes=7 model.control_width=4 model.sound_code_width=4 '
    'data.control.tracks=["stft"] data.transformer.tracks=["stft"]',
    "actions": 'model.control="actions" model.control_tracks=["actions"] model.control_codes=5 data.transformer.tracks=["actions"]',
    "class": 'model.label_track="actions" model.labels=5 data.transformer.tracks=["actions"]',
    "grid": "model.grid_places=true model.first_weights=0.5",
}


@pytest.fixture(scope="module")
def balls(tmp_path_factory) -> Path:
    """A store of a few clips with all that may control one."""
    folder = tmp_path_factory.mktemp("stores") / "balls"
    building.build(folder, tiny.recipe(make=clips, train=[range(5)]))
    return folder


def clips(numbers) -> Iterator[Clip]:
    rng = np.random.default_rng(0)
    for number in numbers:
        tracks = {
            "state": rng.random((8, 2)).astype(np.float32),
            "stft": rng.random((8, 16, 8)).astype(np.float32),
            "actions": rng.integers(5, size=8).astype(np.int8),
        }
        yield Clip(f"clip_{number}", rng.integers(256, size=(8, 16, 16, 3), dtype=np.uint8), 10.0, tracks)


@pytest.fixture
def trained(balls, tmp_path):
    """Train a tiny model and return its system."""
    (tmp_path / "tiny.toml").write_text(TINY.replace("balls", str(balls)))

    def train(control: str, *sets: str) -> System:
        recipe = recipes.load("ccvs", str(tmp_path / "tiny.toml"), sets=[*CONTROLS[control].split(), *sets])
        run = training.train("ccvs", recipe, tmp_path / "run", device="cpu")
        losses = [each["losses"] for each in runs.read_log(run)]
        assert all(np.isfinite(value) for each in losses for value in each.values()) and len(losses) == 3
        return training.load(run).system

    return train


def asked(name: str = "clip", seed: int = 0, given: int = 2, ending: int = 0, **options) -> Asked:
    total = 4 if ending else 6
    rng = np.random.default_rng(len(name))
    frames = rng.integers(256, size=(total, 16, 16, 3), dtype=np.uint8)
    (source,) = clips([0])
    controls = {track: values[:total] for track, values in source.tracks.items()}
    first, last, predict = frames[:given], frames[total - ending :], total - given - ending
    way = ccvs.Options(top_k=5, **options)
    return Asked(name, first, last, predict, controls, None, size=(16, 16), seed=(seed, 1), options=way)


def continued(system: System, some: list[Asked]) -> list[np.ndarray]:
    return [each.frames for each in ccvs.generate(system, some)]


@pytest.mark.parametrize("control", ["none", "state", "sound"])
def test_train_and_continue(trained, control):
    system = trained(control)
    assert continued(system, [asked()])[0].shape == (4, 16, 16, 3)


@pytest.mark.parametrize("control", ["ending", "unconditional", "actions", "class", "grid"])
def test_clips_depend_on_their_own_seeds(trained_once, control):
    system = trained_once(control)
    losses = list(system.updates(windows(system), 0))
    assert len(losses) == 1 and losses[0].loss.isfinite()
    how = {"given": 0 if control == "unconditional" else 3, "ending": int(control == "ending")}
    how["given"] -= how["given"] and how["ending"]
    one, two = asked("one", 1, **how), asked("another", 2, **how)
    made = continued(system, [one, two])
    assert [each.shape for each in made] == [(one.predict, 16, 16, 3)] * 2 and made[0].dtype == np.uint8
    assert np.array_equal(continued(system, [two])[0], made[1])  # neither order nor company matter
    other = replace(two, seed=(3, 1))
    assert not np.array_equal(continued(system, [other])[0], made[1])


def test_places_as_rows_and_columns_and_larger_first_weights(trained_once):
    weights = trained_once("grid").transformer.state_dict()
    assert weights["h_emb"].shape == weights["w_emb"].shape == (1, 4, 8) and "s_emb" not in weights
    plain = trained_once("none").transformer.state_dict()
    for name in ("head.weight", "tok_emb.weight", "blocks.0.attn.key.weight"):
        assert 10 < weights[name].std() / plain[name].std() < 40  # 0.5 / 0.02 of 64 to 96 draws


def windows(system: System) -> dict[str, Tensor]:
    """A training batch of one window."""
    (source,) = clips([0])
    arrays = {"frames": source.frames, **source.tracks}
    return {name: torch.from_numpy(values[None, :4]) for name, values in arrays.items()}


def test_ways_to_continue(trained_once):
    system = trained_once("state")
    plain = continued(system, [asked()])[0]
    kept = continued(system, [asked(keep_state="yes")])[0]
    assert np.array_equal(plain, kept)
    together = continued(system, [asked("one", batch=2), asked("two", batch=2)])
    assert np.array_equal(together[0], continued(system, [asked("one")])[0])
    for options in (
        {"keep_state": "no"},
        {"square_path": True},
        {"x_cond_len": 16},
        {"vid_len": 6, "step_by_step": True},
        {"window": 2, "greedy": True, "greedy_state": True},
        {"memory": 3, "keep_first": 1, "temperature": 0.5, "end_context": "ending"},
        {"beams": 3, "greedy": True, "keep_state": "no"},
    ):
        (made,) = continued(system, [asked(**options)])
        assert made.shape == plain.shape, options
    given = continued(system, [asked(greedy=True)])[0]
    assert np.array_equal(given, continued(system, [asked(greedy=True, seed=3)])[0])


@pytest.mark.parametrize(
    ("control", "how", "options", "message"),
    [
        ("none", {"given": 5}, {}, "5 frames are given, and the transformer sees 4"),
        ("none", {}, {"x_cond_len": 17}, "a multiple of the 16 tokens"),
        ("none", {}, {"x_cond_len": 48}, "up to 32 for the 2 frames"),
        ("none", {}, {"vid_len": 5}, "clips of 6 frames"),
        ("none", {}, {"window": 9}, "this transformer sees 4"),
        ("none", {}, {"beams": 13}, "at most the 12 symbols"),
        ("none", {}, {"beams": 0}, "0 beams, expected at least 1"),
        ("none", {}, {"square_path": True, "keep_state": "no"}, None),
        ("sound", {"short": 2}, {"x_cond_len": 16}, None),
        ("none", {"given": 0}, {}, "model.unconditional"),
        ("none", {"ending": 1}, {}, "trained without one"),
        ("none", {"ending": 2}, {}, "gives 2 last frames, and CCVS is told one at most"),
        ("ending", {"ending": 2, "given": 1}, {}, "gives 2 last frames, and CCVS is told one at most"),
        ("ending", {"ending": 1}, {"vid_len": 5}, "the last frame is number 5, and the transformer knows 4"),
        ("state", {"without": "state"}, {"keep_state": "yes"}, "gives no state"),
        ("state", {}, {"vid_len": 8}, "there for 6 frames, and 8 are needed"),
        ("sound", {"short": 4}, {}, "stft are there for 4 frames, and 6 are needed"),
        ("sound", {"without": "stft"}, {}, "gives no stft"),
        ("none", {"without": "state", "real": True}, {}, "cannot estimate any"),
    ],
)
def test_what_cannot_be_continued(trained_once, control, how, options, message):
    system = trained_once(control)
    how = dict(how)
    without, short, real = how.pop("without", None), how.pop("short", None), how.pop("real", False)
    one = asked(**how, **options)
    if real:
        one = replace(one, real=one.context)
    controls = {name: values[:short] for name, values in one.controls.items() if name != without}
    one = replace(one, controls=controls)
    if message is None:
        assert continued(system, [one])
        return
    with pytest.raises(VbenchError, match=message):
        continued(system, [one])


# States that no track tells


def told(made: Made) -> np.ndarray:
    return made.tracks["told_state"]


def test_states_are_estimated_from_the_real_window():
    torch.manual_seed(1)
    system = untrained("state")
    with torch.no_grad():  # an estimator that tells frames apart
        system.control.estimator.fc.weight *= 3000
        system.control.quantiser.embedding.weight.copy_(torch.linspace(0, 1, 7)[:, None])
    one = asked()
    real = np.random.default_rng(7).integers(256, size=(6, 16, 16, 3), dtype=np.uint8)
    real[:2] = one.context
    blind = replace(one, controls={}, real=real)
    (made,) = ccvs.generate(system, [blind])
    codes, _ = system.autoencoder.codes(system.autoencoder.seen(torch.from_numpy(real[None])))
    wanted = system.control.values(system.control_tokens({}, codes))[0].numpy()
    assert np.array_equal(told(made), wanted) and len(np.unique(wanted)) > 1
    entries = system.control.quantiser.embedding.weight.detach().numpy()
    assert made.tracks["state"].shape == (4, 2) and np.isin(made.tracks["state"], entries).all()
    (given,) = ccvs.generate(system, [replace(one, controls={"state": wanted})])
    assert (
        np.array_equal(given.frames, made.frames) and "told_state" not in given.tracks
    )  # the store's own lies beside it
    (free,) = ccvs.generate(system, [replace(blind, options=replace(blind.options, keep_state="no"))])
    assert np.array_equal(told(free)[:2], wanted[:2]) and np.isnan(told(free)[2:]).all()
    (square,) = ccvs.generate(system, [replace(one, options=replace(one.options, square_path=True))])
    assert told(square).shape == (6, 2) and not np.array_equal(told(square), one.controls["state"])


ASKED = """
["balls-state@1"]
title = "states"
dataset = "balls"
variant = "16"
split = "train"
select = { window = "first" }
control = "state"
context = 1
predict = 3
metrics = ["state", "psnr"]
source = "here"
status = "verified"
"""


@pytest.mark.parametrize("tracks", [True, False])
def test_a_state_protocol_from_a_store_to_a_score(trained, balls, tmp_path, tracks):
    trained("state")
    (protocol,) = protocols.parse(ASKED).values()
    folder = balls
    if not tracks:
        folder = tmp_path / "bare"
        building.build(folder, tiny.recipe(make=bare, train=[range(5)]))
    real, out = StoreSource(store.Store(folder, "train")), tmp_path / "out"
    manifest = generation.generate(generation.model(tmp_path / "run", "cpu"), protocol, real, out)
    assert manifest.get("estimated", []) == ([] if tracks else ["state"])
    fake = open_source(out)
    states, _ = scoring.score(fake, real, protocol, place=networks_of.Place())
    beside = [fake.tracks_of(clip, ["state", "told_state"]) for clip in fake.ids]
    by_hand = [np.linalg.norm(each["told_state"][1:] - each["state"], axis=1) for each in beside]
    assert len(beside) == 5 and all(each["told_state"].shape == (4, 2) for each in beside)
    assert states.value == pytest.approx(np.mean(by_hand)) and "known in 15 of 15 frames" in states.note
    if tracks:
        assert np.array_equal(beside[0]["told_state"], real.tracks_of(real.ids[0], ["state"], 0, 4)["state"])


def bare(numbers) -> Iterator[Clip]:
    return (replace(clip, tracks={}) for clip in clips(numbers))


def test_state_error_by_hand():
    right = {"state": np.array([[0.5, 0.5], [0, 0]]), "told_state": np.array([[9, 9], [0.5, 0.5], [0, 0.0]])}
    off = {"state": np.array([[3.0, 4], [0, 0]]), "told_state": np.array([[0, 0], [0, 0], [np.nan, 0]])}
    parts = [state.collect({}, each) for each in (right, off)]
    assert state.pooled(parts[:1]) == 0 and state.pooled(parts[1:]) == 5 and state.pooled(parts) == pytest.approx(5 / 3)
    # of the next clip: (0.5, 0.5) to (0, 0), then (3, 4) to (0.5, 0.5) and (0, 0) to itself
    apart = (0.5**0.5 + (2.5**2 + 3.5**2) ** 0.5) / 3
    assert state.note(parts) == f"known in 3 of 4 frames; what the next clip was told is {apart:.3g} away"
    assert np.isnan(state.pooled([])) and "0 of 0" in state.note([])


@pytest.fixture(scope="module")
def trained_once() -> Callable[[str], System]:
    """Untrained systems, each built once."""
    return functools.cache(untrained)


def untrained(control: str) -> System:
    tables = tomllib.loads(TINY)["model"]
    sets = dict(each.split("=", 1) for each in CONTROLS[control].split() if each.startswith("model."))
    tables |= {key.removeprefix("model."): tomllib.loads(f"x = {value}")["x"] for key, value in sets.items()}
    settings = recipes.fitted(tables, Settings, "model", "here")
    facts = DataFacts(
        16, 16, tracks={"stft": ((16, 8), "float32"), "state": ((2,), "float32"), "actions": ((), "int8")}
    )
    states: dict = {}
    for stage in ccvs.STAGES:
        system = ccvs.build(settings, facts, stage, states)
        states[stage] = system.state_dict()
    return system.eval()


def test_out_of_memory_says_what_to_lower():
    with pytest.raises(VbenchError, match="lower --batch"), synthesis.memory_explained(torch.device("cpu")):
        torch.empty(1 << 60)


@pytest.mark.parametrize(
    ("said", "kind"),
    [("CUBLAS_STATUS_ALLOC_FAILED", VbenchError), ("CUDA error: an illegal memory access", RuntimeError)],
)
def test_only_a_lack_of_room_is_explained_as_one(said, kind):
    with pytest.raises(kind, match=said), synthesis.memory_explained(torch.device("cpu")):
        raise RuntimeError(said)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"widths": (4,)}, "at least 2 numbers"),
        ({"heads": 3, "width": 8}, "split into 3"),
        ({"control": "state", "ending": True}, "needs a first frame"),
        ({"control": "actions"}, "control_tracks"),
        ({"labels": 3}, "label_track"),
        ({"video_share": 0.0}, "video_share"),
        ({"clip_frames": 1}, "clip_frames"),
        ({"memory": 1, "ending_context": True}, "memory is 1, expected at least 2"),
        ({"codes": 0}, "codes is 0"),
        ({"flow_widths": ()}, "model.flow_widths 1"),
        ({"codebook_decay": 1.0}, "codebook_decay is 1.0"),
    ],
)
def test_settings_that_cannot_be(changes, message):
    with pytest.raises(UsageError, match=message):
        Settings(**changes)


def test_frames_and_windows_that_do_not_fit(trained_once, balls, tmp_path):
    with pytest.raises(VbenchError, match="multiples of 4"):
        Autoencoder(Settings(widths=(4, 4, 8)), 18, 16)
    one = asked()
    with pytest.raises(VbenchError, match="16x16; resize"):
        continued(trained_once("none"), [replace(one, context=one.context[:, :8])])
    (tmp_path / "tiny.toml").write_text(TINY.replace("balls", str(balls)))
    for change, message in (
        ("data.transformer.length=3", "windows of 3 frames, expected the 4"),
        ("model.clip_frames=7", "at least the 7 of model.clip_frames"),
        ("training.batch=3", "groups of 4"),
    ):
        recipe = recipes.load("ccvs", str(tmp_path / "tiny.toml"), sets=[change])
        with pytest.raises(UsageError, match=message):
            training.train("ccvs", recipe, tmp_path / message[:9], device="cpu")


def test_stages_of_different_models_are_refused(trained_once):
    states = {"autoencoder": {f"{key}": value for key, value in trained_once("none").autoencoder.state_dict().items()}}
    settings = replace(trained_once("none").settings, codes=13)
    with pytest.raises(VbenchError, match=r"quantiser.embedding.weight, and \[model\] expects \(13, 6\)"):
        ccvs.build(settings, DataFacts(16, 16), "transformer", states)


# Released checkpoints


def released(folder: Path, system: System, skip: str = "", **changes: Tensor | None) -> Path:
    """Write a system as the release does: a file per network."""
    networks = {
        "qvid_e_ema_latest_net_7": system.autoencoder.encoder,
        "qvid_q_ema_latest_net_7": system.autoencoder.quantiser,
        "qvid_g_ema_latest_net_7": system.autoencoder.decoder,
        "transformer_t_latest_net_9": system.transformer,
    }
    if isinstance(system.control, State):
        networks |= {
            "state_s_best_net_5": system.control.estimator,
            "state_q_best_net_5": system.control.quantiser,
        }
    if isinstance(system.control, Sound):
        networks |= {
            "stft_e_best_net_5": system.control.encoder,
            "stft_d_best_net_5": system.control.decoder,
            "stft_q_best_net_5": system.control.quantiser,
        }
    for name, network in networks.items():
        state = dict(network.state_dict())
        if name.startswith("qvid_e"):
            state["blocks.1.conv2.0.kernel"] = torch.ones(4, 4)
        if name.startswith("transformer"):
            length = system.transformer.layout.length
            state["blocks.0.attn.mask"] = torch.ones(1, 1, length, length)
        state |= {
            key.partition("/")[2]: value for key, value in changes.items() if name.startswith(key.partition("/")[0])
        }
        state = {key: value for key, value in state.items() if value is not None}
        path = folder / name.partition("_")[0] / f"{name}.pth"
        path.parent.mkdir(parents=True, exist_ok=True)
        if not (skip and name.startswith(skip)):
            torch.save(state, path)
    (folder / "qvid" / "qvid_e_latest_net_7.pth").write_bytes(b"the weights that are not averaged are not read")
    opt(folder)
    return folder


def opt(folder: Path, **changes: str | None) -> None:
    """Write the options of the run that made them."""
    told = {"dataset": "bairhd", "q_use_ema": "True", "x_n_head": "2", "x_p2p": "False", **changes}
    lines = [f"{name:>25}: {value:<30}\t[default: None]\n" for name, value in told.items() if value is not None]
    (folder / "opt.txt").write_text("".join(lines))


@pytest.mark.parametrize("control", ["none", "unconditional", "ending", "state", "sound"])
def test_import_of_released_checkpoints(trained_once, tmp_path, control):
    system = trained_once(control)
    folder = released(tmp_path / "released", system)
    # A slice of the golden sound is 16x8; that of the release has 16 tokens, which its importer knows.
    opt(folder, x_p2p=str(control == "ending"))
    if control == "sound":
        with pytest.raises(VbenchError, match="tokens of sound"):
            ccvs.import_checkpoint(folder)
        return
    settings, stages, facts = ccvs.import_checkpoint(folder)
    assert (facts.height, facts.width) == (16, 16)
    run = runs.imported(tmp_path / "run", "ccvs", ccvs, settings, stages, facts, folder).folder
    loaded = training.load(run).system
    how = {"given": 0 if control == "unconditional" else 2, "ending": int(control == "ending")}
    assert np.array_equal(continued(loaded, [asked(**how)])[0], continued(system, [asked(**how)])[0])


def test_released_checkpoints_that_do_not_fit(trained_once, tmp_path):
    system = trained_once("state")
    with pytest.raises(VbenchError, match="no file of qvid_g"):
        ccvs.import_checkpoint(released(tmp_path / "a", system, skip="qvid_g"))
    changes = {"transformer/tok_emb.weight": torch.zeros(13, 8), "transformer/head.weight": torch.zeros(13, 8)}
    with pytest.raises(VbenchError, match="codebook for frames has 12 entries and the transformer knows 13"):
        ccvs.import_checkpoint(released(tmp_path / "b", system, **changes))
    with pytest.raises(VbenchError, match="codebook for control has 6 entries and the transformer knows 7"):
        ccvs.import_checkpoint(released(tmp_path / "c", system, **{"state_q/embedding.weight": torch.zeros(6, 1)}))
    twice = released(tmp_path / "d", system)
    (twice / "qvid_q_ema_latest_net_8.pth").write_bytes(b"")
    with pytest.raises(VbenchError, match="keep one of them"):
        ccvs.import_checkpoint(twice)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dataset": None}, 'dataset of this model is not in its weights.*"dataset: bairhd".* as CONFIG'),
        ({"x_p2p": None}, "x_p2p of this model"),
        ({"x_n_head": None}, "x_n_head of this model"),
        ({"q_use_ema": None}, "q_use_ema of this model"),  # averaged weights lie beside those that are not
        ({"x_p2p": "7"}, "x_p2p is 7, expected True or False"),
        ({"x_n_head": "many"}, "x_n_head is many, expected a whole number"),
        ({"x_n_head": "3"}, "width 8 is no multiple"),
    ],
)
def test_what_weights_do_not_show_is_asked_for(trained_once, tmp_path, changes, message):
    folder = released(tmp_path / "released", trained_once("none"))
    opt(folder, **changes)
    with pytest.raises(UsageError, match=message):
        ccvs.import_checkpoint(folder)
    (tmp_path / "elsewhere").mkdir()
    opt(tmp_path / "elsewhere", dataset="kinetics600")
    told = (tmp_path / "elsewhere" / "opt.txt").rename(tmp_path / "options")
    assert ccvs.import_checkpoint(folder, told)[0].imagenet_range  # CONFIG is a file of any name


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"qvid_e/blocks.0.0.weight": None},
            "qvid_e_ema_latest_net_7.pth: it has no blocks.0.0.weight, expected the 4",
        ),
        ({"qvid_e/blocks.1.conv2.1.weight": None}, "it has no blocks.1.conv2.1.weight"),
        ({"qvid_q/embedding.weight": torch.zeros(12)}, r"embedding.weight is \(12,\), expected the 2 sides"),
        ({"qvid_g/inter_blocks.0.subpixel.convs.0.0.weight": None}, "expected the 4 sides .* in a qvid_g"),
        ({"transformer/t_emb": None}, "it has no t_emb"),
        ({"transformer/s_emb": None}, "it has no s_emb"),
        ({"transformer/head.weight": torch.zeros(12, 9)}, r"transformer.head.weight is \(12, 9\), expected \(12, 8\)"),
        ({"transformer/another": torch.zeros(1)}, "transformer.another is .* expected nothing of that name"),
        ({"qvid_g/blocks.0.0.bias": None}, "autoencoder.decoder.blocks.0.0.bias is nowhere"),
        ({"state_s/fc.weight": None}, "it has no fc.weight"),
        (
            {"state_s/convs.0.1.weight": torch.zeros(4, 5, 3, 3)},
            r"control.estimator.convs.0.1.weight is \(4, 5, 3, 3\)",
        ),
    ],
)
def test_wrong_files_are_refused_before_a_run_is_written(trained_once, tmp_path, changes, message):
    folder, out = released(tmp_path / "released", trained_once("state"), **changes), tmp_path / "run"
    with pytest.raises(VbenchError, match=message):
        ccvs.import_checkpoint(folder)
    done = CliRunner().invoke(main, ["import-checkpoint", "ccvs", str(folder), "--out", str(out)])
    assert done.exit_code and "Traceback" not in done.output and not out.exists()


@pytest.mark.parametrize("name", sorted(recipes.files("ccvs", ccvs)))
def test_recipes_are_whole(name):
    recipe = recipes.read(recipes.files("ccvs", ccvs)[name], ccvs)
    window = recipe.model.layout(64, 0).window + recipe.model.ending
    assert recipe.data["transformer"].length == window
    assert recipe.data["autoencoder"].length >= recipe.model.clip_frames
    if recipe.model.control in ("none", "actions"):
        assert recipe.training["control"].steps == 1
