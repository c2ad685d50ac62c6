"""Training of a dynamics network: what it learns from, that its weights reach DTFVD, and what can go wrong."""

from pathlib import Path

import numpy as np
import pytest
import torch

from vbench_ctl import building, recipes, registry, runs, tokens, training, weights
from vbench_ctl.baselines import dti3d as leaf
from vbench_ctl.baselines.dti3d.classifier import Classifier
from vbench_ctl.clips import Clip
from vbench_ctl.errors import UsageError
from vbench_ctl.features import dti3d
from vbench_ctl.training import DataFacts

FACTS = DataFacts(32, 32, tracks={"class": ((), "int64")}, length=16)


@pytest.mark.parametrize("name", sorted(recipes.files("dti3d", leaf)))
def test_every_recipe_is_whole(name):
    recipe = recipes.load("dti3d", name)
    (data,) = recipe.data.values()
    assert data.dataset in registry.names("datasets")
    facts = DataFacts(64, 64, tracks=dict.fromkeys(data.tracks, ((), "int8")), length=data.length)
    with torch.device("meta"):
        assert leaf.build(recipe.model, facts, "", {}).network.last_pool == 2


def test_numbers_of_parameters():
    """Those of the released network of DTDB's 18 classes."""
    with torch.device("meta"):
        assert sum(weight.numel() for weight in Classifier(leaf.Settings(), FACTS).parameters()) == 12_305_714


def flicker(kind: int, seed: int) -> Clip:
    """Clips that stand still, or flicker."""
    rng = np.random.default_rng(seed)
    frames = np.repeat(rng.integers(60, 200, (1, 32, 32, 3), dtype=np.uint8), 18, 0)
    if kind:
        frames[::2] = 255 - frames[::2]
    return Clip(f"train/{kind}{seed}", frames, 10.0, {"class": np.full(18, kind, np.int64)})


def clips(item: tuple[str, int]):
    for seed in range(item[1]):
        yield flicker(seed % 2, seed)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("dti3d")
    building.build(
        folder / "store", building.Recipe("flicker", "32", 1, {"train": [("train", 4)]}, clips, {}, {}, None)
    )
    sets = [
        'data.tracks=["class"]',
        "model.label=class",
        "model.classes=2",
        "model.size=32",
        "training.steps=3",
        "training.batch=2",
        "training.workers=0",
        "training.log_every=1",
        "training.pictures_every=3",
        "training.track=[]",
    ]
    return training.train(
        "dti3d", recipes.load("dti3d", "tiny", str(folder / "store"), sets), folder / "run", device="cpu"
    )


def test_a_store_with_labels_is_trained_on(run):
    losses = [entry["losses"] for entry in runs.read_log(run)]
    assert len(losses) == 3 and all(each["adam"] > 0 and 0 <= each["adam/accuracy"] <= 1 for each in losses)
    assert (run / "pictures/step-000000003.png").exists()


def test_its_weights_are_those_dtfvd_takes(run):
    """A run's checkpoint is a file of weights for the score, and gives the features that the network was trained with."""
    (file,) = runs.checkpoints(run, "").values()
    name = weights.add("dti3d-16", file)
    assert weights.path(name).stat().st_size < file.stat().st_size / 2  # without the optimiser
    assert tokens.metric(f"dtfvd-{name[-8:]}").features.weights == name
    extractor = dti3d.load(weights.read(weights.path(name)))
    dti3d.self_test(extractor)
    frames = flicker(1, 7).frames[None, :16]
    found = extractor.features(frames)
    system = training.load(run).system
    system.settings = leaf.Settings(classes=2, size=224)
    with torch.no_grad():
        logits = system(torch.from_numpy(frames))
        again = torch.nn.functional.linear(
            torch.from_numpy(found),
            system.network.logits["conv3d"].weight.flatten(1),
            system.network.logits["conv3d"].bias,
        )
    assert torch.allclose(logits, again, atol=1e-3 * float(logits.abs().max()))


def test_labels_count_by_their_share_of_a_clip():
    with torch.device("meta"):
        system = Classifier(leaf.Settings(classes=3), FACTS)
    batch = {"frames": torch.zeros(2, 4, 1, 1, 3), "class": torch.tensor([[0, 0, 2, 2], [1, 1, 1, 1]])}
    assert system.shares(batch).tolist() == [[0.5, 0, 0.5], [0, 1, 0]]
    batch["class"][0, 0] = 3
    with pytest.raises(UsageError, match="class has labels from 0 to 3, expected 0 to 2"):
        system.shares(batch)


@pytest.mark.parametrize(
    ("settings", "facts", "said"),
    [
        ({"label": "kind"}, FACTS, r"the label kind is not among the tracks \(class\)"),
        ({}, DataFacts(32, 32, tracks=FACTS.tracks, length=17), "windows of 17 frames, expected 16 or 32"),
        (
            {},
            DataFacts(32, 32, tracks={"class": ((2,), "float32")}, length=16),
            "class is float32, expected whole numbers",
        ),
    ],
)
def test_data_that_does_not_fit_is_refused(settings, facts, said):
    with pytest.raises(UsageError, match=said):
        leaf.build(leaf.Settings(**settings), facts, "", {})


def test_settings_that_do_not_fit_are_refused():
    with pytest.raises(UsageError, match="classes is 1, expected at least 2"):
        leaf.Settings(classes=1)
    with pytest.raises(UsageError, match="size is 16, expected at least 32"):
        leaf.Settings(size=16)


def test_it_makes_no_clips():
    with pytest.raises(UsageError, match="dti3d makes no clips"):
        leaf.generate(None, [])
