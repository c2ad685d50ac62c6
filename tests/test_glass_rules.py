"""What our GLASS promises besides: the rules of its loss, its options, its recipes, what it refuses."""

import json
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import glass_golden
import numpy as np
import pytest
import tiny as tiny_clips
import torch
from click.testing import CliRunner
from glass_golden import SMALL
from torch import Tensor, nn

from vbench_ctl import files, frames, generation, recipes, runs, training
from vbench_ctl.baselines import glass
from vbench_ctl.baselines.glass import losses, model, motion, networks, play, released
from vbench_ctl.baselines.glass.settings import Settings
from vbench_ctl.baselines.glass.system import System
from vbench_ctl.cli import main
from vbench_ctl.errors import UsageError, VbenchError
from vbench_ctl.training import DataFacts


@pytest.fixture
def golden(shared):
    return partial(glass_golden.golden, shared)


@pytest.fixture
def listed(shared):
    return partial(glass_golden.listed, shared)


TINY: dict[str, Any] = {
    **SMALL,
    "frames": (6, 6, 0, 1),
    "weight_background_perceptual": 0.0,
    "weight_rendering_perceptual": 0.0,
}


def tiny(**settings):
    torch.manual_seed(0)
    facts = DataFacts(height=32, width=48, tracks={"local_action": ((), "int8")})
    return glass.build(Settings(**{**TINY, **settings}), facts, "", {})


def clips(count: int = 2, length: int = 6, seed: int = 0) -> Tensor:
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.integers(256, size=(count, length, 32, 48, 3), dtype=np.uint8))


def test_local_losses_train_no_masks_and_layers_no_local_part():
    system = tiny().train()
    video = frames.normalised(clips())
    layers = system.layers(video)
    made = system.rendering(layers, 3)
    of_layers, of_rendering = losses.of_layers(video, layers, None, 0.06), losses.of_rendering(layers, made, None)
    local, others = (
        list(system.local.parameters()),
        [*system.masking.parameters(), *system.foreground_motion.parameters()],
    )
    others += [*system.background_motion.parameters(), *system.inpainting.parameters()]
    grads = torch.autograd.grad(sum(of_rendering.values()), local + others, allow_unused=True, retain_graph=True)
    assert any(each is not None for each in grads[: len(local)]) and all(each is None for each in grads[len(local) :])
    grads = torch.autograd.grad(sum(of_layers.values()), local + others, allow_unused=True)
    assert all(each is None for each in grads[: len(local)]) and all(each is not None for each in grads[len(local) :])


@pytest.mark.parametrize("decay", [False, True])
def test_local_part_waits_for_its_losses(decay):
    system = tiny(global_steps=1, weight_decay=0.1, reference_decay=decay)
    (adam,) = system.optimizers().values()
    before = [weight.detach().clone() for weight in system.local.encoder.parameters()]
    changed = []
    for step in range(2):
        for update in system.updates({"frames": clips()}, step):
            adam.zero_grad()
            update.loss.backward()
            adam.step()
            assert ("rendering" in update.logs) == (step == 1 or decay)
        changed.append(
            any(not torch.equal(*pair) for pair in zip(before, system.local.encoder.parameters(), strict=True))
        )
    assert changed == [decay, True]


def test_frozen_layers_stay_as_they_are_once_the_local_losses_begin():
    system = tiny(global_steps=1, weight_decay=0.1, freeze_layers=True).train()
    (adam,) = system.optimizers().values()
    changed = []
    for step in range(2):
        before = {name: value.clone() for name, value in system.state_dict().items()}
        for update in system.updates({"frames": clips()}, step):
            adam.zero_grad()
            update.loss.backward()
            adam.step()
        after = system.state_dict()
        different = {name.partition(".")[0] for name, value in before.items() if not torch.equal(value, after[name])}
        changed.append(different)
    assert changed == [{"masking", "inpainting", "foreground_motion", "background_motion"}, {"local"}]


def sought(codebook: networks.Codebook, count: int = 6) -> Tensor:
    """Let a codebook of three codes or more seek what lies at three places."""
    places = torch.tensor([[5.0, 0], [0, 5], [-5, -5]])
    z = places.repeat(count // 3, 1) + 0.01 * torch.randn(count, 2)
    codebook.train()(z)
    return z


def test_codes_begin_where_what_came_gathers():
    torch.manual_seed(0)
    codebook = networks.Codebook(3, 2, recent=1024)
    z = sought(codebook)
    codebook.begin()
    found = codebook.codes.detach()
    centres = z.view(2, 3, 2).mean(0)
    torch.testing.assert_close(found[torch.cdist(centres, found).argmin(1)], centres)
    codebook = networks.Codebook(9, 2, recent=1024)  # more codes than came
    z = sought(codebook)
    codebook.begin()
    assert (codebook.codes.detach()[:, None] == z).all(-1).any(1).all()


def test_idle_codes_begin_again_at_what_came():
    torch.manual_seed(0)
    codebook = networks.Codebook(4, 2, recent=1024)
    codebook.codes.data = torch.tensor([[5.0, 0], [99, 99], [0, 5], [-5, -5]])
    z = sought(codebook)
    codebook.revive()
    assert (codebook.codes[1] == z).all(1).any()
    assert codebook.codes[[0, 2, 3]].tolist() == [[5, 0], [0, 5], [-5, -5]]


def test_codes_begin_and_begin_again_on_time_and_the_same_in_all_processes(monkeypatch):
    system = tiny(global_steps=1, revive_every=2).train()
    codebook, done, now = system.local.actions.codebook, [], 0
    for name in ("begin", "revive"):
        monkeypatch.setattr(codebook, name, lambda name=name: done.append((now, name)))
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "broadcast", lambda codes, source: codes.fill_(10 * now + source))
    for now in range(7):
        list(system.updates({"frames": clips()}, now))
        assert now not in (2, 4, 6) or (codebook.codes == 10 * now).all()
    assert done == [(2, "begin"), (4, "revive"), (6, "revive")]


@pytest.mark.parametrize("gumbel", [False, True])
def test_codes_are_counted_beside_the_true_actions_that_led_to_their_frames(gumbel):
    system = tiny(global_steps=0, labels=3, gumbel=gumbel).train()
    labels, made = torch.tensor([[2, 0, 1, 0, 0, 1], [2, 1, 0, 0, 1, 1]]), []
    rendering = system.rendering
    system.rendering = lambda *given: made.append(rendering(*given)) or made[-1]
    wanted = torch.zeros(3, 5)
    for _ in range(2):
        list(system.updates({"frames": clips(), "local_action": labels}, 0))
        choice = made[-1].choice.argmax(-1) if gumbel else made[-1].choice
        wanted *= 0.999
        for label, code in zip(labels[:, 1:].flatten(), choice.flatten(), strict=True):
            wanted[label, code] += 1
    torch.testing.assert_close(system.counts, wanted)
    for more, wrong in ((2, 3), (-1, -1)):
        with pytest.raises(UsageError, match=rf"a local action {wrong}, and model\.labels = 3 counts 0 to 2; set it"):
            list(system.updates({"frames": clips(), "local_action": labels + more}, 0))


def test_counting_true_actions_changes_no_number_of_the_training():
    found = []
    for labels in (0, 3):
        system = tiny(global_steps=0, labels=labels, noise=2).train()
        adam, batch = (
            system.optimizers()["adam"],
            {"frames": clips(), "local_action": torch.zeros(2, 6, dtype=torch.int8)},
        )
        torch.manual_seed(1)
        for step in range(2):
            (update,) = system.updates(batch, step)
            adam.zero_grad()
            update.loss.backward()
            adam.step()
        found.append((update.loss, *system.parameters()))
    assert all(torch.equal(bare, counted) for bare, counted in zip(*found, strict=True))
    other = DataFacts(height=32, width=48, tracks={})
    with pytest.raises(UsageError, match=r"counts the track local_action; set .* or model\.labels = 0"):
        glass.build(Settings(**{**TINY, "labels": 3}), other, "", {})


def test_a_true_action_is_told_by_the_code_that_is_surest_of_it():
    system = tiny(labels=2)
    system.counts.copy_(
        torch.tensor([[90.0, 0, 0, 0, 0], [10, 5, 0, 0, 0]])
    )  # code 0 is more often, code 1 only, action 1
    assert system.codes_of(torch.tensor([[0, 1, 1]])).tolist() == [[0, 1, 1]]


@torch.no_grad()
def test_what_a_rendered_frame_depends_on():
    system = tiny().eval()
    video = frames.normalised(clips(1))
    layers = system.layers(video)
    codes, shifts = torch.zeros(1, 5, 6), torch.zeros(1, 5, 2)
    states = networks.over_time(system.local.encoder, layers.foregrounds)[:, :, :-1]
    for given, seen in ((1, [1, 1, 1, 1, 1]), (5, [1, 2, 3, 4, 5])):
        given_moved = layers.moved_foregrounds[:, :given]
        first = torch.cat([part.mask for part in system.local._rendered(states, given_moved, codes, shifts)], 1)
        for changed in range(6):
            other = states.clone()
            other[:, changed] += 1
            made = torch.cat([part.mask for part in system.local._rendered(other, given_moved, codes, shifts)], 1)
            moved = [(made[0, t] != first[0, t]).any().item() for t in range(5)]
            assert moved == [changed < seen[t] and changed <= t for t in range(5)]


def test_a_shifted_square_needs_no_loss():
    frame = torch.zeros(1, 1, 3, 16, 32)
    frame[..., 4:8, 4:8] = 1
    moved = motion.shifted(frame, torch.tensor([[[8 / 32, 0.0]]]))
    assert torch.allclose(moved, frame.roll(4, -1), atol=1e-6)


def test_evaluation_and_pictures():
    system = tiny().eval()
    batch = {"frames": clips(), "masks": torch.full((2, 6, 32, 48), 255, dtype=torch.uint8)}
    with torch.no_grad():
        found = system.evaluate(batch, 0)
        rows = system.pictures(batch, 0)
    assert found["iou"] == pytest.approx(found["mask_share"]) and 1 <= found["codes_used"] <= 5.001
    assert {clip.shape for _, clip in rows} == {(6, 32, 48, 3)} and {clip.dtype for _, clip in rows} == {
        np.dtype("uint8")
    }


def asked(context: int, window: np.ndarray | None, **options):
    from vbench_ctl.generation import Asked

    given = clips(1)[0, :context].numpy()
    return Asked("a", given, given[:0], 6 - context, {}, window, (32, 48), (0,), glass.Options(**options))


def test_clips_are_made_again_whatever_else_is_asked_for():
    system = tiny().train()
    one, other = clips(1)[0].numpy(), clips(1, seed=1)[0].numpy()
    (alone,) = (made.frames for made in glass.generate(system, [asked(2, one)]))
    together = [made.frames for made in glass.generate(system, [asked(2, other), asked(2, one)])]
    assert alone.shape == (4, 32, 48, 3) and alone.dtype == np.uint8
    assert np.array_equal(alone, together[1]) and not np.array_equal(alone, together[0])
    assert system.training  # as it was before
    noisy = tiny(gumbel=True, reference_noise=True)
    torch.nn.init.normal_(noisy.local.actions.codebook.codes)  # far from each other: noise shows
    one_of = [[each.frames.tobytes() for each in glass.generate(noisy, [asked(2, one)] * 2)] for _ in range(2)]
    assert len({*one_of[0], *one_of[1]}) == 1
    (forced,) = (made.frames for made in glass.generate(system, [asked(2, one, teacher_forced=True)]))
    assert np.abs(forced[0].astype(int) - alone[0]).max() <= 1  # both are made of the real frames so far
    with pytest.raises(UsageError, match="inferred-actions"):
        glass.generate(system, [asked(2, None)])


@pytest.mark.parametrize("gumbel", [False, True])
def test_clips_made_in_training_mode_feel_those_made_with_them(gumbel):
    system = tiny(gumbel=gumbel).eval()
    before = {name: value.clone() for name, value in system.state_dict().items()}
    ask = {at: asked(1, clips(1, seed=at)[0].numpy(), train_mode=2, teacher_forced=True) for at in range(3)}

    def made(*order: int) -> list[bytes]:
        return [one.frames.tobytes() for one in glass.generate(system, [ask[at] for at in order])]

    pair = made(0, 1)
    assert made(0, 1) == pair and made(0, 2)[0] != pair[0]
    assert made(0, 1, 2)[:2] == pair and made(0, 1, 2)[2] == made(2)[0]
    assert all(torch.equal(before[name], value) for name, value in system.state_dict().items())
    (one,) = glass.generate(system, [ask[0]])
    assert one.frames.shape == (5, 32, 48, 3) and one.tracks["local_action"].shape == (5,)
    with pytest.raises(UsageError, match="--train-mode 3: expected 0, 1, 2, 4 or 8 clips"):
        glass.Options(train_mode=3)


def test_what_a_model_was_told_does_not_pass_for_found():
    system = System(Settings(**{**TINY, "labels": 3}), 32, 48)
    system.counts.copy_(torch.eye(3, 5))
    moved = np.full((6, 2), 3, np.float32)
    controls = {"local_action": np.array([0, 1, 2, 1, 0, 2]), "motion_fg": moved, "motion_bg": 0 * moved}
    (made,) = glass.generate(system, [replace(asked(2, None), controls=controls)])
    assert made.frames.shape == (4, 32, 48, 3)
    assert set(made.tracks) == {f"again_{name}" for name in ("local_action", "motion_fg", "motion_bg", "masks")}
    assert made.tracks["again_local_action"].shape == (3,)
    with pytest.raises(UsageError, match="does not know which of its codes true actions are"):
        glass.generate(tiny(), [replace(asked(2, None), controls=controls)])


@pytest.fixture
def run(tmp_path):
    """A run of a system that has learnt nothing."""
    system = tiny()
    facts = training.DataFacts(32, 48)
    return runs.imported(
        tmp_path / "run", "glass", glass, system.settings, {"": system.state_dict()}, facts, Path("x.pth")
    ).folder


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--protocol", "wsprites-quickstart", "--clips", "3"], "--clips and --protocol exclude each other"),
        (["--protocol", "wsprites-quickstart", "--split", "test"], "--split and --protocol exclude each other"),
        (["--protocol", "wsprites-quickstart", "--length", "9"], "--length and --protocol exclude each other"),
        (["--protocol", "wsprites-quickstart", "--control", "x.csv"], "--control and --protocol exclude each other"),
        (
            ["--protocol", "wsprites-quickstart", "--control-from", "x"],
            "--control-from and --protocol exclude each other",
        ),
        (["--way", "grid", "--control", "c.csv"], "--way grid makes nothing of --control; leave it out"),
        (["--way", "grid", "--workers", "2"], "--workers and --way exclude each other"),
        (["--way", "grid", "--root", "x"], "--root and --way exclude each other"),
        (["--way", "grid", "--protocol", "wsprites-quickstart"], "say which --protocol"),
    ],
)
def test_options_that_would_be_ignored_are_refused(run, tmp_path, words, says):
    done = CliRunner().invoke(main, ["generate", str(run), *words, "--out", str(tmp_path / "out")])
    assert done.exit_code == 2 and says in done.output and not (tmp_path / "out").exists()


def test_ways_are_told_to_programs(run, tmp_path):
    tiny_clips.write_outputs(tmp_path / "clips", {"a": clips(1)[0].numpy()})
    words = ["--way", "transfer", "--real", tmp_path / "clips", "--control-from", next((tmp_path / "clips").glob("a*"))]
    done = CliRunner().invoke(
        main, [str(word) for word in ("generate", run, *words, "--out", tmp_path / "o", "--json")]
    )
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["files"] == ["driving.mkv", "a.mkv"]


def test_a_run_is_imported_by_one_process_and_whole(run, tmp_path):
    weights, facts = {"": tiny().state_dict()}, training.DataFacts(32, 48)

    def again(folder: Path) -> runs.Run:
        return runs.imported(folder, "glass", glass, Settings(**TINY), weights, facts, Path("x.pth"))

    assert json.loads((run / "run.json").read_text())["imported"] == {"name": "x.pth", "stages": [""]}
    with pytest.raises(UsageError, match="holds a run already"):
        again(run)
    with files.locked(tmp_path / "new"), pytest.raises(VbenchError, match="another vbench-ctl is writing there"):
        again(tmp_path / "new")
    (run / "run.json").unlink()  # as if killed before the end
    assert training.load(again(run).folder).facts.height == 32


def test_steps_refuse_actions_that_are_not_learnt():
    system = tiny()
    state = play.start(system, frames.normalised(clips(1)[:, 0]))
    with pytest.raises(UsageError, match="0 to 4"):
        play.step(system, state, torch.tensor([5]), torch.zeros(1, 2))


def test_a_rendered_change_begins_as_none_and_sees_what_it_changes():
    system = tiny(render_change=True).eval()
    video = frames.normalised(clips())
    with torch.no_grad():
        layers = system.layers(video)
        made = system.rendering(layers, 3)
        torch.testing.assert_close(made.pictures[0][:, :3], layers.moved_foregrounds[:, :3])
        again = motion.shifted(made.pictures[0][:, 2], layers.foreground_shifts[:, 3])
        torch.testing.assert_close(made.pictures[0][:, 3], again)  # from what was rendered, where nothing is given
        for weight in system.local.renderer.heads[-1].parameters():
            torch.nn.init.normal_(weight, std=0.01)
        hidden, moved, code = torch.zeros(1, 8, 4, 6), torch.randn(2, 1, 3, 32, 48), torch.randn(2, 1, 6)
        one, other, told = (
            system.local.renderer(hidden, *seen).mask
            for seen in ((moved[0], code[0]), (moved[1], code[0]), (moved[0], code[1]))
        )
        changed = system.rendering(layers, 3).pictures[0]
    assert not torch.equal(one, other) and not torch.equal(one, told)
    assert not torch.allclose(changed, made.pictures[0])
    assert changed.abs().max() <= 1


@pytest.mark.parametrize("given", [1, 3, 5])
def test_what_is_only_moved_begins_at_the_last_given_frame(given):
    system = tiny(render_change=True).eval()
    video = frames.normalised(clips())
    with torch.no_grad():
        layers = system.layers(video)
        layers = replace(layers, foreground_shifts=torch.tensor([0.25, 0.0]).expand(2, 5, 2))  # 6 pixels to the right
        foregrounds, masks = model.moved_on(layers, given)
        for t in range(5):
            source, steps = min(t, given - 1), max(1, t + 2 - given)
            for moved, real in ((foregrounds, layers.foregrounds), (masks, layers.masks)):
                wanted = torch.nn.functional.pad(real[:, source], (6 * steps, 0))[..., :48]
                torch.testing.assert_close(moved[:, t], wanted, atol=1e-4, rtol=0)
        found, again = system.evaluate({"frames": clips()}, 0), play.remake(system, video, moved=True)[0]
        error = ((again - video[:, 1:]) / 2).clamp(-1, 1).square().mean((2, 3, 4))
    assert found["psnr_moved"] == pytest.approx(float((-10 * error.log10()).mean()), rel=1e-3)


def test_a_moved_foreground_needs_shifts_to_infer():
    with pytest.raises(UsageError, match="leave --train-mode away"):
        glass.Options(moved=True, train_mode=1)


def test_true_actions_are_told_with_their_motion():
    frames, steps = clips()[0].numpy(), np.zeros(6, np.int8)
    asked = generation.Asked("a", frames[:1], frames[:0], 5, {"local_action": steps}, None, (32, 48), (0,), None)
    with pytest.raises(UsageError, match=r"a: GLASS needs .* the tracks local_action, motion_fg, motion_bg; use"):
        glass.generate(tiny(labels=1), [asked])


def test_masked_feedback_feeds_the_masked_picture():
    made = networks.Rendered([torch.ones(1, 3, 2, 2)], torch.full((1, 1, 2, 2), 0.25))
    for masked, value in ((False, 1.0), (True, 0.25)):
        assert (tiny(masked_feedback=masked).local.fed_back(made) == value).all()


def test_a_released_checkpoint_is_read_back(golden, listed, tmp_path):
    state = {key: torch.from_numpy(value) for key, value in golden("sd_small").state().items()}
    torch.save({"model": state, "global_step": 5}, tmp_path / "step_5.pth")
    weights = dict.fromkeys(released.LOSSES, 0.5)
    schedule: dict[str, Any] = {}
    for word, when in (
        ("num_observations", "increase"),
        ("gt_observations", "decrease"),
        ("gumbel_temperature", "decrease"),
    ):
        first, last = {"num_observations": (6, 12), "gt_observations": (5, 1), "gumbel_temperature": (1.0, 0.4)}[word]
        schedule |= {f"{word}_start": first, f"{word}_end": last, f"{word}_{when}_start": 10, f"{word}_steps": 20}
    training = {
        **schedule,
        "pretraining_steps_gma": 7,
        "optimizer": {"learning_rate": 0.1, "weight_decay": 0.2},
        "lr_schedule": [3],
        "lr_gamma": 0.3,
        "loss_params": {"mask_size": 0.4},
        "loss_weights": weights,
        "batching": {"observations_count": 8},
    }
    network = {"action_network": {"use_plain_direction": True}}
    config = tmp_path / "a.yaml"
    config.write_text(json.dumps({"training": training, "model": {"action_separator": network}}))

    settings, stages, facts = glass.import_checkpoint(tmp_path / "step_5.pth")
    assert settings == Settings(**SMALL) and (facts.height, facts.width) == (64, 80)
    system = glass.build(settings, facts, "", {})
    system.load_state_dict(stages[""])
    assert torch.equal(system.local.compressor.bias, state["local_action_separator.state_compressor.0.bias"])

    settings, _, _ = glass.import_checkpoint(tmp_path / "step_5.pth", config)
    assert settings.plain_direction and settings.frames == (6, 8, 10, 20) and settings.rate_steps == (3,)
    assert set(settings.weights.values()) == {0.5} and settings.codes == 5

    config.write_text("training: 3")
    with pytest.raises(VbenchError, match="no configuration of GLASS"):
        glass.import_checkpoint(tmp_path / "step_5.pth", config)
    names = (
        "masking_network.backbone.conv1.weight",
        *(name for name in state if name.endswith("initial_hidden_state")),
    )
    for name in names[:2]:
        torch.save({"model": {key: value for key, value in state.items() if key != name}}, tmp_path / "cut.pth")
        with pytest.raises(VbenchError, match=rf"cut\.pth: no whole checkpoint of GLASS \('{name}' does not fit\)"):
            glass.import_checkpoint(tmp_path / "cut.pth")
    torch.save({"model": {"a": torch.zeros(2)}}, tmp_path / "other.pth")
    with pytest.raises(VbenchError, match="no checkpoint of GLASS"):
        glass.import_checkpoint(tmp_path / "other.pth")


def test_tensors_of_another_model_are_refused():
    module = nn.Linear(2, 3)
    with pytest.raises(VbenchError, match="1 tensors, expected 2"):
        released.placed(module, {"weight": np.zeros((3, 2))})
    with pytest.raises(VbenchError, match=r"w \(2, 3\) stands where weight \(3, 2\)"):
        released.placed(module, {"w": np.zeros((2, 3)), "b": np.zeros(3)})


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"codes": 0}, "codes is 0, expected at least 1"),
        ({"masking_widths": (0, 2)}, "masking_widths is 0, 2, expected at least 1"),
        ({"noise": -1}, "noise is -1, expected at least 0"),
        ({"labels": -1}, "labels is -1"),
        ({"revive_every": -1}, "revive_every is -1"),
        ({"global_steps": -1}, "global_steps is -1"),
        ({"learning_rate": -1.0}, "learning_rate is -1.0"),
        ({"weight_decay": -1.0}, "weight_decay is -1.0"),
        ({"joint_input": True, "modulated": False}, "joint_input needs"),
        ({"gumbel": True, "revive_every": 50}, "revive_every is 50, and Gumbel codes are never sought"),
        ({"given": (6, 1, 0, 10)}, "fewer than"),
        ({"temperature": (0.0, 0.4, 0, 10)}, "above 0"),
    ],
)
def test_settings_that_cannot_be(changed, message):
    with pytest.raises(UsageError, match=message):
        Settings(**changed)


def test_frames_must_fit_the_networks():
    from vbench_ctl.training import DataFacts

    with pytest.raises(UsageError, match="multiples of 16"):
        glass.build(Settings(), DataFacts(height=96, width=120), "", {})


@pytest.mark.parametrize(
    ("count", "length", "settings", "message"),
    [
        (2, 5, {}, "the clips have 5 frames, and model.frames asks for up to 6; set data.length=6"),
        (2, 5, {"frames": (4, 6, 90, 10), "given": (3, 3, 0, 1)}, "asks for up to 6"),
        (1, 2, {"frames": (2, 2, 0, 1), "given": (1, 1, 0, 1)}, "1 clip of 2 frames of 48x32 is too little at once"),
    ],
)
def test_clips_that_cannot_be_learnt_from_are_refused_at_the_first_step(count, length, settings, message):
    with pytest.raises(UsageError, match=message):
        next(tiny(**settings).train().updates({"frames": clips(count, length)}, 0))


@pytest.mark.parametrize(("count", "length"), [(2, 2), (1, 3)])
def test_two_transitions_at_once_are_enough(count, length):
    system = tiny(frames=(length, length, 0, 1), given=(1, 1, 0, 1), global_steps=0).train()
    list(system.updates({"frames": clips(count, length)}, 0))


def test_one_place_is_too_little_for_one_clip():
    small = System(Settings(**{**TINY, "global_steps": 0}), 16, 16).train()
    for count in (2, 1):
        with pytest.raises(UsageError, match="1 clip of 6 frames of 16x16") if count == 1 else nullcontext():
            list(small.updates({"frames": clips(count)[:, :, :16, :16]}, 0))


def test_missing_weights_name_their_command():
    system = tiny(weight_background_perceptual=0.02)
    with pytest.raises(VbenchError, match="weights fetch vgg19"):
        next(system.updates({"frames": clips()}, 0))


def test_recipes_resolve():
    found = {name: recipes.load("glass", name) for name in recipes.files("glass", glass)}
    assert {"wsprites", "bair-hd", "tennis", "tiny", "wsprites-gumbel"} <= found.keys()
    for name, recipe in found.items():
        assert recipe.data[""].length >= recipe.model.frames_at(10**9), name
        acts = recipe.data[""].dataset == "wsprites" and recipe.model.global_steps < recipe.training[""].steps
        if acts:  # a run that learns codes of W-Sprites can be told true actions
            assert recipe.model.labels == 9 and "local_action" in recipe.data[""].tracks, name
    tennis = found["tennis"].model
    assert (tennis.codes, tennis.noise, tennis.compressed, tennis.mask_share) == (4, 8, 16, 0.01)


def test_mixed_precision_keeps_pixels_and_shifts_whole():
    system = tiny(global_steps=0).train()
    with torch.autocast("cpu", torch.bfloat16):
        video = frames.normalised(clips())
        layers = system.layers(video)
        made = system.rendering(layers, 2)
        terms = losses.of_layers(video, layers, None, 0.06) | losses.of_rendering(layers, made, None)
    kept = [layers.masks, layers.backgrounds, layers.foreground_shifts, made.pictures[0], made.masks, made.codes]
    assert all(each.dtype == torch.float32 for each in [*kept, *terms.values()])
