"""Training of two toy systems: the loop, resuming to the bit after a kill, several processes, and what can go wrong."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from click.testing import CliRunner, Result
from test_plugins import fake_distribution

from vbench_ctl import __version__, building, files, generation, recipes, registry, runs, store, training
from vbench_ctl.cli import main
from vbench_ctl.errors import UsageError, VbenchError

GAN = """
[data]
dataset = "tiny"
split = "test"
length = 4
[training]
steps = 12
batch = 4
workers = 0
save_every = 4
log_every = 3
ema = 0.9
track = []
"""
STAGED = GAN.replace("length", 'tracks = ["actions"]\nlength') + "[training.predictor]\nsteps = 6\n"
POINTS = {"baselines.toy-gan": "toy_baselines:Gan", "baselines.toy-staged": "toy_baselines:Staged"}


@pytest.fixture(scope="module")
def plugin(tmp_path_factory) -> Path:
    """A distribution that registers the toys."""
    text = (Path(__file__).parent / "toy_baselines.py").read_text()
    return fake_distribution(tmp_path_factory.mktemp("plugin"), "toys", POINTS, {"toy_baselines": text})


@pytest.fixture(autouse=True)
def toys(plugin, home, tmp_path, monkeypatch) -> None:
    """Register the toys, prepare their data, and work in a folder with their recipes."""
    monkeypatch.syspath_prepend(str(plugin))
    registry._theirs.cache_clear()
    tiny.built(home / "stores/tiny/8x6@1")
    (tmp_path / "gan.toml").write_text(GAN)
    (tmp_path / "staged.toml").write_text(STAGED)
    monkeypatch.chdir(tmp_path)
    yield
    registry._theirs.cache_clear()


def gan(*sets: str) -> recipes.Recipe:
    return recipes.load("toy-gan", "gan.toml", sets=sets)


def trained(out: str, *sets: str, baseline: str = "toy-gan", **how) -> Path:
    recipe = recipes.load(baseline, baseline.replace("toy-", "") + ".toml", sets=sets)
    return training.train(baseline, recipe, Path(out), device="cpu", **how)


def newest(run: Path, stage: str = "") -> dict:
    state = runs.last(run, stage)
    assert state is not None
    return state


def same(one: object, two: object) -> bool:
    """Compare nested states to the bit."""
    if isinstance(one, torch.Tensor):
        return isinstance(two, torch.Tensor) and torch.equal(one, two)
    if isinstance(one, dict):
        return isinstance(two, dict) and one.keys() == two.keys() and all(same(one[key], two[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(two) and all(map(same, one, two))
    return one == two


def losses(run: Path) -> list[tuple[str, int, dict]]:
    return [(entry["stage"], entry["step"], entry["losses"]) for entry in runs.read_log(run) if "losses" in entry]


def vbench(*words: str | Path) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words], prog_name="vbench-ctl")


def started(plugin: Path, *words: str | Path, launcher: tuple[str, ...] = ()) -> subprocess.Popen:
    """Start the command in a process of its own."""
    path = os.pathsep.join([str(plugin), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, *launcher, "-m", "vbench_ctl", "train", *map(str, words)],
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


# The loop


def test_a_run_folder_has_everything(tmp_path):
    run = trained(
        "run", "training.keep=2", "data.validation=test", "training.validate_every=6", "training.pictures_every=6"
    )
    assert [path.name for path in sorted((run / "checkpoints").iterdir())] == ["step-000000008.pt", "step-000000012.pt"]
    assert [path.name for path in sorted((run / "pictures").iterdir())] == ["step-000000006.png", "step-000000012.png"]
    assert [step for _, step, _ in losses(run)] == [3, 4, 6, 8, 9, 12]
    assert set(losses(run)[-1][2]) == {"generator", "discriminator", "generator/match", "generator/adversarial"}
    validated = [entry for entry in runs.read_log(run) if "validation" in entry]
    assert [entry["step"] for entry in validated] == [6, 12] and validated[0]["validation"]["match"] > 0
    about = json.loads((run / "run.json").read_text())
    assert about["baseline"] == "toy-gan" and torch.__version__.startswith(about["made"]["with"]["torch"])
    assert store.Store(files.home() / "stores/tiny/8x6@1").summary["content_sha256"] in about["data"][""]
    assert recipes.read(run / "recipe.toml", registry.load("baselines", "toy-gan"), name="gan") == gan(
        "training.keep=2", "data.validation=test", "training.validate_every=6", "training.pictures_every=6"
    )
    state = newest(run)
    assert state["step"] == 12 and not same(state["ema"], {name: state["system"][name] for name in state["ema"]})


def test_what_is_only_looked_at_changes_nothing():
    plain = newest(trained("plain"))
    looked = trained(
        "looked",
        "data.validation=test",
        "training.validate_every=2",
        "training.pictures_every=3",
        "training.log_every=1",
    )
    assert same(newest(looked), plain)


def test_the_averaged_weights_are_those_that_are_loaded():
    run = trained("run")
    state = newest(run)
    leaf, system, settings, facts = training.load(run)
    assert leaf.TITLE == "toy GAN" and settings.width == 8 and not system.training
    assert (facts.height, facts.width, facts.fps, facts.length) == (6, 8, 10.0, 4)
    assert same(dict(system.state_dict()), {**state["system"], **state["ema"]})
    assert same(dict(training.load(run, ema=False).system.state_dict()), state["system"])


def test_the_average_follows_its_optimiser():
    weight = torch.nn.Linear(1, 1, bias=False)
    optimizer = torch.optim.SGD(weight.parameters(), 1.0)
    average = training.Average(weight, {"all": optimizer}, 0.75)
    before = weight.weight.item()
    with torch.no_grad():
        weight.weight += 4
    average.follow("all")
    assert average.weights["weight"].item() == pytest.approx(before + 1)
    with average.worn():
        assert weight.weight.item() == pytest.approx(before + 1)
    assert weight.weight.item() == pytest.approx(before + 4)


def test_portions_of_a_batch_add_up_to_the_batch():
    sets = ("model.noise=false", "training.ema=0")
    whole = newest(trained("whole", *sets))["system"]
    parts = newest(trained("parts", *sets, "training.accumulate=2"))["system"]
    start = newest(trained("start", *sets, "training.steps=1"))["system"]
    for name, value in whole.items():
        assert torch.allclose(value, parts[name], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(whole["generator.0.weight"], start["generator.0.weight"], atol=1e-3)


def test_rates_are_factors_on_the_learning_rates():
    run = trained("run", "training.log_every=1")
    rates = [entry["rates"] for entry in runs.read_log(run) if "rates" in entry]
    assert [each["generator"] for each in rates[:5]] == [0.25, 0.5, 0.75, 1, 1]
    assert {each["discriminator"] for each in rates} == {1}
    groups = newest(run)["optimizers"]["generator"]["param_groups"]
    assert groups[0]["lr"] == pytest.approx(0.01)


@pytest.mark.parametrize(
    "setting", ["training.precision=bf16", "training.precision=fp16", "training.deterministic=false"]
)
def test_other_ways_to_compute_stay_near(setting):
    sets = ("model.noise=false", "training.steps=4")
    plain, other = newest(trained("plain", *sets))["system"], newest(trained("other", *sets, setting))["system"]
    for name, value in plain.items():
        assert torch.allclose(value, other[name], atol=0.05)


def test_loggers_write_into_the_run_folder(monkeypatch):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    run = trained("run", 'training.track=["tensorboard", "wandb"]', "training.pictures_every=12")
    events = EventAccumulator(str(run / "tensorboard")).Reload()
    assert [event.step for event in events.Scalars("generator")] == [3, 4, 6, 8, 9, 12]
    assert events.Tags()["images"]
    assert list((run / "wandb").glob("offline-run-*/*.wandb"))


# Stages


def test_stages_are_trained_in_order_and_see_the_earlier_ones():
    run = trained("run", baseline="toy-staged")
    first, second = newest(run, "autoencoder"), newest(run, "predictor")
    assert (first["step"], second["step"]) == (12, 6)
    assert same(second["system"]["encoder.weight"], first["ema"]["encoder.weight"])
    assert second["facts"]["actions"] == 4 and second["facts"]["tracks"] == {"actions": ((4,), "float32")}
    assert training.load(run).system.stage == "predictor"
    assert training.load(run, "autoencoder").system.stage == "autoencoder"


def test_a_run_says_what_each_stage_took_and_by_which_commands():
    trained("run", baseline="toy-staged", stage="autoencoder")
    before = runs.history(runs.open_run(Path("run")))["stages"]
    assert before["autoencoder"]["steps"] == 12 and before["autoencoder"]["cpu_seconds"] > 0
    assert before["predictor"] == {"steps": 0}
    trained("run", "training.predictor.steps=9", baseline="toy-staged", resume=True)
    after = runs.history(runs.open_run(Path("run")))
    assert after["stages"]["autoencoder"] == before["autoencoder"] and after["stages"]["predictor"]["steps"] == 9
    assert len(after["commands"]) == 2 and after["seed"] == {"autoencoder": 0, "predictor": 0}
    assert after["data"]["predictor"].startswith("tiny 8x6 test ")


def test_one_stage_at_a_time():
    with pytest.raises(VbenchError, match="the stage predictor needs the stage autoencoder, which was not trained"):
        trained("run", baseline="toy-staged", stage="predictor")
    trained("run", baseline="toy-staged", stage="autoencoder")
    assert list(runs.checkpoints(Path("run"), "autoencoder")) == [4, 8, 12]
    assert not runs.checkpoints(Path("run"), "predictor")
    one = newest(trained("run", baseline="toy-staged", stage="predictor"), "predictor")
    assert same(one, newest(trained("whole", baseline="toy-staged"), "predictor"))
    with pytest.raises(UsageError, match='no stage "predicter"; did you mean "predictor"'):
        trained("run", baseline="toy-staged", stage="predicter")


def test_a_stage_of_other_data_than_the_one_before_is_refused_unless_it_is_meant_so():
    trained("run", baseline="toy-staged", stage="autoencoder")
    building.build(Path("vbench-home/stores/other/8x6@2"), tiny.recipe(test=tiny.work("test", (9, 9, 9))))
    with pytest.raises(
        VbenchError, match=r"its stage autoencoder was trained on tiny 8x6 test \w+, and predictor would be"
    ):
        trained("run", "data.dataset=other", baseline="toy-staged", stage="predictor", resume=True)
    assert (
        not runs.checkpoints(Path("run"), "predictor") and "predictor" not in runs.open_run(Path("run")).about["data"]
    )
    trained("run", "data.predictor.dataset=other", baseline="toy-staged", stage="predictor", resume=True)
    assert runs.checkpoints(Path("run"), "predictor")


# Going on


def test_a_killed_run_goes_on_to_the_same_bits(plugin):
    sets = ("training.save_every=3", "training.steps=40")
    whole = trained("whole", *sets)
    changes = [f"--set={each}" for each in (*sets, "model.pause=0.1", "training.workers=1")]
    process = started(plugin, "toy-gan", "--recipe", "gan.toml", "--out", "killed", "--device", "cpu", *changes)
    while not runs.checkpoints(Path("killed"), "") and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert newest(Path("killed"))["step"] < 40
    done = vbench(
        "train", "--resume", "killed", "--set", "model.pause=0", "--set", "training.workers=0", "--device", "cpu"
    )
    assert done.exit_code == 0, done.output
    assert "going on at step" in done.stderr and "step 40 of 40" in done.stdout
    assert same(newest(Path("killed")), newest(whole))
    assert losses(Path("killed")) == losses(whole)
    about = json.loads(Path("killed/run.json").read_text())
    assert about["resumed"][0]["changes"] == {"model.pause": 0.0, "training.workers": 0}


def test_ctrl_c_finishes_the_step_saves_and_says_how_to_go_on():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(training.Stopped, match=r'after step 6 of 12 and saved; .* vbench-ctl train --resume "run"'):
        trained("run", "model.interrupt_at=5")
    assert max(runs.checkpoints(Path("run"), "")) == 6
    assert signal.getsignal(signal.SIGINT) is before
    trained("run", "model.interrupt_at=5")  # the same command goes on by itself
    assert same(newest(Path("run")), newest(trained("whole")))


def test_a_run_that_was_refused_may_be_begun_anew():
    with pytest.raises(VbenchError, match="91 frames"):
        trained("run", "data.length=91", "training.steps=2")
    assert not Path("run").exists()
    run = trained("run", "training.steps=2")
    assert newest(run)["step"] == 2 and runs.open_run(run).recipe == gan("training.steps=2")


def test_a_run_whose_checkpoints_are_gone_says_that_it_begins_anew(capsys):
    run = trained("run")
    shutil.rmtree(run / "checkpoints")
    trained("run")
    assert "run: no checkpoint is left, so it begins anew" in capsys.readouterr().err
    assert newest(run)["step"] == 12


def test_a_run_does_not_go_back():
    run = trained("run")
    before = (run / "recipe.toml").read_text()
    done = vbench("train", "--resume", "run", "--steps", "5", "--device", "cpu")
    assert done.exit_code == 2 and "it is at step 12 already, beyond 5; ask for more steps" in done.stderr
    assert (run / "recipe.toml").read_text() == before


def test_a_finished_run_is_left_alone_and_can_be_prolonged(capsys):
    run = trained("run")
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*.pt")}
    trained("run")
    assert "its 12 steps are done" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*.pt")} == before
    done = vbench("train", "--resume", "run", "--steps", "16", "--device", "cpu", "--json")
    assert json.loads(done.stdout)["steps"] == {"": 16}
    assert same(newest(run), newest(trained("long", "training.steps=16")))


def test_finished_stages_are_left_alone_without_their_data(home, capsys):
    trained("run", baseline="toy-staged", stage="autoencoder")
    shutil.move(home / "stores", home / "elsewhere")
    trained("run", baseline="toy-staged", stage="autoencoder")
    assert "run autoencoder: its 12 steps are done" in capsys.readouterr().err
    with pytest.raises(UsageError, match='no dataset "tiny"'):
        trained("run", baseline="toy-staged")


def test_a_stage_of_no_steps_is_kept_as_it_is_initialised(capsys):
    run = trained("run", "training.autoencoder.steps=0", baseline="toy-staged")
    assert list(runs.checkpoints(run, "autoencoder")) == [0]
    first, second = newest(run, "autoencoder"), newest(run, "predictor")
    assert first["step"] == 0 and second["step"] == 6
    assert same(second["system"]["encoder.weight"], first["system"]["encoder.weight"])
    assert training.load(run, "autoencoder").system.stage == "autoencoder"
    trained("run", "training.autoencoder.steps=0", baseline="toy-staged")
    assert "run autoencoder: its 0 steps are done" in capsys.readouterr().err


def test_a_checkpoint_of_a_step_is_loaded_until_it_is_gone():
    run = trained("run")
    assert runs.checkpoint(run, "") == (12, run / "checkpoints/step-000000012.pt")
    (state,) = (runs.restore(runs.checkpoint(run, "", 8)[1]),)
    assert same(dict(training.load(run, step=8, ema=False).system.state_dict()), state["system"])
    with pytest.raises(VbenchError, match="the checkpoint of step 5 is gone, there are 4, 8, 12"):
        training.load(run, step=5)
    with pytest.raises(VbenchError, match='nothing: no checkpoint yet; run "vbench-ctl train --resume nothing"'):
        runs.checkpoint(Path("nothing"), "")


def test_a_model_stays_at_its_checkpoint_while_training_goes_on(monkeypatch):
    run = trained("run")
    model = generation.model(run)
    before = model.facts()
    training.train("toy-gan", gan("training.steps=13"), run, device="cpu", resume=True)
    assert model.step == 12 and model.facts() == before and "step 12, sha256" in before["checkpoint"]
    assert generation.model(run).facts() != before
    found = []
    monkeypatch.setattr(
        training, "load", lambda run, **how: found.append(training.runs.checkpoint(run, "", how["step"]))
    )
    with pytest.raises(AttributeError):  # there is no system behind this load
        generation.continuations(model, [])
    assert found == [(12, run.absolute() / "checkpoints/step-000000012.pt")]
    (run / "checkpoints/step-000000012.pt").unlink()
    with pytest.raises(VbenchError, match="the checkpoint of step 12 is gone"):
        model.facts()


def test_another_recipe_needs_resume():
    run = trained("run")
    with pytest.raises(
        UsageError, match=r"run holds another run, of toy-gan with .*, where model\.rate = 0\.\d+; choose"
    ):
        trained("run", "model.rate=0.5")
    training.train("toy-gan", gan("model.rate=0.5", "training.steps=13"), run, device="cpu", resume=True)
    assert newest(run)["optimizers"]["generator"]["param_groups"][0]["lr"] == 0.5


# Several processes


def test_two_processes_give_what_one_gives(plugin):
    looked = ("data.validation=test", "training.validate_every=4", "training.validation_batches=3")
    sets = ("model.noise=false", "training.accumulate=2", *looked)
    one = trained("one", *sets)
    words = ("toy-gan", "--recipe", "gan.toml", "--out", "two", "--device", "cpu", *(f"--set={each}" for each in sets))
    process = started(plugin, *words, "--num-gpus", "2", "--json")
    said, complaints = process.communicate(timeout=600)
    assert process.returncode == 0, complaints
    assert json.loads(said) == {"run": "two", "baseline": "toy-gan", "steps": {"": 12}}
    alone, together = newest(one), newest(Path("two"))
    for part in ("system", "ema"):
        for name, value in alone[part].items():
            assert torch.allclose(value, together[part][name], rtol=1e-4, atol=1e-4), name
    for (_, step, values), (_, other_step, others) in zip(losses(one), losses(Path("two")), strict=True):
        assert step == other_step and values == pytest.approx(others, rel=1e-4, abs=1e-4)
    validated, also = ([each for each in runs.read_log(Path(run)) if "validation" in each] for run in ("one", "two"))
    assert len(validated) == len(also) == 3
    for alone, together in zip(validated, also, strict=True):
        assert alone["validation"] == pytest.approx(together["validation"], rel=1e-5)
    about = json.loads(Path("two/run.json").read_text())
    assert "resumed" not in about and "--num-gpus" in about["made"]["command"]


def test_a_batch_must_be_shared_out_evenly():
    done = vbench("train", "toy-gan", "--recipe", "gan.toml", "--out", "run", "--device", "cpu", "--num-gpus", "3")
    assert done.exit_code == 2 and "training.batch = 4 cannot be split into 3 processes" in done.stderr
    assert not Path("run").exists()


def test_a_rehearsal_knows_how_many_gpus_there_are(monkeypatch):
    monkeypatch.setattr("vbench_ctl.processes.chosen_device", torch.device)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    words = ("toy-gan", "--recipe", "gan.toml", "--out", "run", "--dry-run", "--num-gpus", "2")
    done = vbench("train", *words, "--device", "cuda")
    assert done.exit_code == 2 and "--num-gpus 2: this machine has 1" in done.stderr
    assert vbench("train", *words, "--device", "cpu").exit_code == 0
    monkeypatch.setattr("vbench_ctl.processes.chosen_device", lambda device: torch.device("cpu"))
    done = vbench("train", *words)
    assert done.exit_code == 2 and "this machine has none; 2 processes without GPUs take --device cpu" in done.stderr
    odd = vbench("train", *words[:-1], "3", "--device", "cpu")
    assert odd.exit_code == 2 and "cannot be split into 3 processes" in odd.stderr
    assert not Path("run").exists()


# What can go wrong


def test_a_loss_that_is_no_number_ends_the_run():
    with pytest.raises(VbenchError) as error:
        trained("run", "model.explode_at=6", "training.log_every=100")
    assert 'the loss "discriminator" became nan in step 7' in str(error.value)
    assert "the last checkpoint is of step 4" in str(error.value) and "learning rate" in str(error.value)
    assert max(runs.checkpoints(Path("run"), "")) == 4


def test_memory_that_does_not_suffice_is_explained():
    with pytest.raises(
        VbenchError, match=r"training.batch = 4 in 1 portions does not fit .*training.accumulate=2"
    ) as error:
        trained("run", "model.gulp_at=2")
    assert re.search(
        r"of this machine with \d+ GB \(.* you tried to allocate 4611686018427387904 bytes", str(error.value)
    )
    assert isinstance(error.value.__cause__, RuntimeError) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 8 GiB"),
        RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("not enough memory: you tried to allocate 400 bytes."),
        RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. "),
        MemoryError("Unable to allocate 8.00 EiB for an array"),
    ],
    ids=lambda error: str(error)[:30],
)
@pytest.mark.parametrize("place", ["load_state_dict", "updates", "evaluate"])
def test_memory_that_does_not_suffice_anywhere_is_not_taken_for_something_else(place, error, monkeypatch):
    def fail(*_):
        raise error

    run = trained("run", "training.steps=1")
    sets = ("training.steps=2", "training.validate_every=1", "data.validation=test")
    monkeypatch.setattr(registry.load("baselines", "toy-gan"), place, fail, raising=False)
    with pytest.raises(VbenchError, match=r"training.accumulate=2 halves") as found:
        training.train("toy-gan", gan(*sets), run, device="cpu", resume=True)
    assert " ".join(str(error).split()) in str(found.value) and found.value.__cause__ is error


def test_other_errors_of_a_step_stay_what_they_are(monkeypatch):
    error = RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    def fail(*_):
        raise error

    monkeypatch.setattr(registry.load("baselines", "toy-gan"), "updates", fail)
    with pytest.raises(RuntimeError) as found:
        trained("run")
    assert found.value is error


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_is_said(monkeypatch):
    @contextlib.contextmanager
    def full(path: Path) -> Iterator[Path]:
        with files.explained(path):
            yield Path("/dev/full")

    monkeypatch.setattr(files, "atomic", full)
    with pytest.raises(VbenchError, match="the disk is full"):
        runs.save(Path("run"), "", {"step": 1, "system": torch.zeros(100_000)}, keep=3)


def cut(run: Path) -> None:
    path = run / "checkpoints/step-000000012.pt"
    path.write_bytes(path.read_bytes()[:1000])


def foreign(run: Path) -> None:
    torch.save({"weights": torch.zeros(1)}, run / "checkpoints/step-000000012.pt")


def other_version(run: Path) -> None:
    about = json.loads((run / "run.json").read_text())
    files.write_json(run / "run.json", {**about, "format": "vbench-run 9", "made": {"with": {"vbench-ctl": "7.0"}}})


def other_data(run: Path) -> None:
    (run / "checkpoints/step-000000012.pt").unlink()  # or there is nothing left to train on them
    building.build(Path("vbench-home/stores/tiny/8x6@2"), tiny.recipe(test=tiny.work("test", (9, 9, 9))))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (cut, "step-000000012.pt: cut short or not a checkpoint"),
        (foreign, "step-000000012.pt: not a checkpoint of vbench-ctl"),
        (
            other_version,
            f"its format is 'vbench-run 9' (vbench-ctl 7.0), this version {__version__} reads 'vbench-run 1'",
        ),
        (other_data, "run: this run was trained on tiny 8x6 test"),
    ],
)
def test_a_damaged_run_is_refused(damage, says):
    damage(trained("run"))
    with pytest.raises(VbenchError) as error:
        trained("run")
    assert says in str(error.value) and "\n" not in str(error.value)


def test_the_checkpoint_before_a_broken_one_is_used_when_that_is_removed():
    run = trained("run")
    whole = newest(run)
    cut(run)
    (run / "checkpoints/step-000000012.pt").unlink()
    assert same(newest(trained("run")), whole)


def test_a_checkpoint_of_another_system_is_refused_and_the_run_stays_what_it_was():
    run = trained("run")
    before = [(run / name).read_bytes() for name in ("recipe.toml", "run.json")]
    with pytest.raises(VbenchError, match=r"does not fit the system of run/recipe\.toml"):
        training.train("toy-gan", gan("model.width=9", "training.steps=13"), run, device="cpu", resume=True)
    assert [(run / name).read_bytes() for name in ("recipe.toml", "run.json")] == before
    training.train("toy-gan", gan("training.steps=13"), run, device="cpu", resume=True)
    assert newest(run)["step"] == 13


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["toy-gann", "--data", "tiny"], 2, 'no baseline "toy-gann"; did you mean "toy-gan"?'),
        (["noise", "--data", "tiny"], 2, 'baseline "noise" is not trained'),
        (["toy-gan"], 2, "no recipe of toy-gan for the dataset"),
        ([], 2, "say which BASELINE to train"),
        (["toy-gan", "--resume", "x"], 2, "--resume and BASELINE exclude each other"),
        (["--resume", "x", "--recipe", "paper"], 2, "--resume and --recipe exclude each other"),
        (["toy-gan", "--recipe", "gan.toml", "--steps", "1", "--set", "training.steps=2"], 2, "they are the same"),
        (["--resume", "nowhere"], 2, "nowhere: no run there"),
        (["--resume", "x", "--data", "tiny"], 2, "--resume and --data exclude each other"),
        (["toy-gan", "--recipe", "gan.toml", "--data", "tinny"], 2, 'no dataset "tinny"; did you mean "tiny"?'),
        (["toy-gan", "--recipe", "gan.toml", "--set", "data.variant=9x9"], 1, "no store tiny 9x9"),
        (
            ["toy-gan", "--recipe", "gan.toml", "--set", "data.split=train"],
            1,
            'has no split "train" (test); run "vbench',
        ),
        (["toy-gan", "--recipe", "gan.toml", "--set", 'data.tracks=["act"]'], 1, "has no act, which this baseline"),
        (["toy-gan", "--recipe", "gan.toml", "--set", "data.length=91"], 1, "91"),
        (
            ["toy-gan", "--recipe", "gan.toml", "--set", "training.validate_every=1"],
            2,
            "data.validation names no split",
        ),
        (["toy-gan", "--recipe", "gan.toml", "--set", "training.stpes=1"], 2, 'did you mean "steps"?'),
        (["toy-gan", "--recipe", "gan.toml", "--device", "gpu"], 2, 'no device "gpu"'),
        (["toy-gan", "--recipe", "gan.toml", "--device", "cuda:99"], 2, 'no device "cuda:99" on this machine'),
        (["toy-gan", "--recipe", "gan.toml", "--out", "gan.toml"], 1, "a file is in the way of a folder"),
        (["toy-gan", "--recipe", "gan.toml", "--out", "/proc/x"], 1, "/proc/x: no permission to write there"),
        (["toy-gan", "--recipe", "gan.toml", "--stage", "first"], 2, 'no stage "first"'),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_gets_one_sentence_and_its_exit_code(words, code, says):
    done = vbench("train", *words)
    message = done.stderr.splitlines()[-1]
    assert message.startswith("Error: ") and says in message, done.output
    assert done.exit_code == code and done.stdout == ""


def test_a_dry_run_says_what_would_be_trained_and_leaves_nothing():
    done = vbench(
        "train", "toy-staged", "--recipe", "staged.toml", "--data", "tiny", "--dry-run", "--steps", "5", "--json"
    )
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert said["run"].endswith("runs/toy-staged-tiny-staged")
    assert [(each["stage"], each["steps"], each["trained"]) for each in said["stages"]] == [
        ("autoencoder", 5, {"all": 17}),
        ("predictor", 5, {"all": 14}),
    ]
    assert not Path(said["run"]).exists()
    text = vbench("train", "toy-gan", "--recipe", "gan.toml", "--dry-run").stdout
    assert "steps 0 to 12 of batch 4" in text and "windows of 4x6x8 in 5 clips" in text


def test_folders_of_videos_are_trained_on_as_well():
    tiny.write_outputs(Path("videos"), {f"clip{index}": tiny.noise(1, index)[0] for index in range(2)})
    done = vbench("train", "toy-gan", "--recipe", "gan.toml", "--data", "videos", "--steps", "2", "--device", "cpu")
    assert done.exit_code == 0, done.output
    run = files.home() / "runs/toy-gan-videos-gan"
    assert newest(run)["facts"]["fps"] is None
    assert recipes.read(run / "recipe.toml", registry.load("baselines", "toy-gan")).data[""].dataset.startswith("/")


def test_the_number_of_action_classes_is_counted():
    clips = tiny.clip("test", 0, 9)
    made = Path("classes")
    numbered = [type(clips)("test/a", clips.frames, 10.0, {"actions": np.array([0, 1, 4, 1, 0, 2, 2, 1, 0])})]
    building.build(made, tiny.recipe(test=[0], make=lambda item: numbered))
    data = recipes.DataSettings(str(made), split="test", length=4, tracks=("actions",))
    source = training.open_data(data, "test")
    facts = training.data_facts(training._windows(source, data, 0, print), source)
    assert facts.actions == 5 and facts.tracks == {"actions": ((), "int64")}
