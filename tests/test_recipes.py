"""Recipes: where they are found, what overrides what, that every typo is answered, and that the resolved copy is equal."""

import dataclasses
import re
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch

from vbench_ctl import recipes, registry, variants
from vbench_ctl.errors import UsageError
from vbench_ctl.recipes import DataSettings
from vbench_ctl.training import DataFacts


@dataclasses.dataclass(frozen=True)
class Settings:
    codes: int = 8
    rate: float = 1e-4
    name: str = 'a "b"\n'
    sizes: tuple[tuple[int, int], ...] = ((1, 2),)
    limit: int | None = None
    weights: dict[str, float] = dataclasses.field(default_factory=dict)
    flag: bool = False

    def __post_init__(self) -> None:
        if self.codes < 1:
            raise UsageError(f"model.codes = {self.codes}: it must be at least 1")


@pytest.fixture
def leaf(tmp_path, monkeypatch) -> SimpleNamespace:
    """A baseline of two stages whose recipes lie beside it."""
    toy = SimpleNamespace(STAGES=("first", "second"), Settings=Settings, build=None, __file__=str(tmp_path / "toy.py"))
    monkeypatch.setattr(registry, "load", lambda kind, name: toy)
    return toy


def write(tmp_path, name: str, text: str):
    path = tmp_path / "recipes/toy" / f"{name}.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


BALLS = """
[data]
dataset = "balls"
variant = "64x64"
length = 4
[data.second]
length = 9
[model]
codes = 3
sizes = [[1, 2], [3, 4]]
[training]
steps = 100
[training.second]
steps = 50
batch = 2
"""


def test_a_stage_overrides_its_table_and_the_command_line_overrides_both(leaf, tmp_path):
    write(tmp_path, "balls", BALLS)
    plain = recipes.load("toy", dataset="balls")
    assert plain.name == "paper" and plain.model == Settings(3, sizes=((1, 2), (3, 4)))
    assert [each.length for each in plain.data.values()] == [4, 9]
    assert [each.steps for each in plain.training.values()] == [100, 50]
    sets = ["training.steps=7", "training.first.batch=5", "model.rate=1", "model.weights={a = 1}", "data.split=other"]
    changed = recipes.load("toy", dataset="balls", sets=sets)
    assert [(each.steps, each.batch) for each in changed.training.values()] == [(7, 5), (7, 2)]
    assert changed.model.rate == 1.0 and type(changed.model.rate) is float and changed.model.weights == {"a": 1.0}
    assert [each.split for each in changed.data.values()] == ["other", "other"]


def test_recipes_are_found_by_dataset_and_name(leaf, tmp_path):
    for name, steps in (("balls", 1), ("tiny", 2), ("cubes-tiny", 3)):
        write(tmp_path, name, f"[training]\nsteps = {steps}\n")

    def steps(**how: str) -> int:
        return recipes.load("toy", **how).training["first"].steps

    assert steps(dataset="balls") == steps(dataset="balls", name="paper") == 1
    assert steps(dataset="balls", name="tiny") == steps(name="tiny") == 2
    assert steps(dataset="cubes", name="tiny") == 3
    path = write(tmp_path, "elsewhere", "")
    assert recipes.load("toy", str(path), "balls").data["first"].dataset == "balls"
    assert recipes.load("toy", str(path)).name == "elsewhere"


def test_another_dataset_drops_the_variant(leaf, tmp_path):
    path = str(write(tmp_path, "balls", BALLS))
    assert recipes.load("toy", path, "balls").data["first"].variant == "64x64"
    assert recipes.load("toy", path, "cubes").data["first"] == DataSettings("cubes", length=4)


def test_the_resolved_copy_says_the_same(leaf, tmp_path):
    path = write(tmp_path, "balls", BALLS)
    sets = [
        "data.size=[6, 8]",
        "data.stride=[1, 2]",
        "model.weights={a = 0.5}",
        "training.ema=0.9",
        "training.track=[]",
    ]
    recipe = recipes.read(path, leaf, sets=sets, name="x")
    copy = tmp_path / "recipe.toml"
    copy.write_text(recipes.text(recipe))
    assert recipes.read(copy, leaf, name="x") == recipe
    assert recipe.data["second"].stride == (1, 2) and recipe.data["second"].size == (6, 8)
    assert set(recipes.flat(recipe, "first")) > {"data.length", "model.codes", "training.steps"}


@pytest.mark.parametrize(
    ("text", "sets", "says"),
    [
        ("[trainig]\n", [], 'no table in a recipe "trainig"; did you mean "training"?'),
        ("[training]\nstep = 1\n", [], 'no key in [training] "step"; did you mean "steps"?'),
        ("[training.secnd]\nsteps = 1\n", [], 'no key in [training] "secnd"; did you mean "second"?'),
        ("[model]\ncode = 1\n", [], 'did you mean "codes"?'),
        ("[training]\nsteps = 'many'\n", [], 'training.steps = "many", expected a whole number'),
        ("[training]\nsteps = true\n", [], "training.steps = true, expected a whole number"),
        ("[training]\nsteps = -1\n", [], "training.steps = -1: it must be at least 0"),
        (
            "[training]\nprecision = 'half'\n",
            [],
            'training.precision = "half", expected "no" or "bf16" or "fp16"',
        ),
        ("[training]\nema = 1\n", [], "training.ema = 1.0: a decay is at least 0 and below 1"),
        ("[training]\ntrack = ['wandbb']\n", [], "training.track = "),
        ("[training]\nbatch = 5\naccumulate = 2\n", [], "training.batch = 5 cannot be split into"),
        ("[data]\nlength = 0\n", [], "data.length = 0: it must be at least 1"),
        ("[data]\nstride = []\n", [], "data.stride = 0: it must be at least 1"),
        ("[data]\nsize = [1, 2, 3]\n", [], "data.size = [1, 2, 3], expected"),
        ("[model]\nsizes = [[1, 2], [3]]\n", [], "model.sizes = "),
        ("[model]\ncodes = 0\n", [], "model.codes = 0: it must be at least 1"),
        ("", ["steps=1"], '"steps=1" is not TABLE.KEY=VALUE'),
        ("", ["training.steps"], "is not TABLE.KEY=VALUE"),
        ("", ["training.stesp=1"], '--set: no key in [training] "stesp"; did you mean "steps"?'),
        ("[training]\nsteps = 5\n", ["training.steps=many"], '--set: training.steps = "many", expected a whole number'),
        ("", ["training.track=wandb"], 'expected a list of "tensorboard" or "wandb"'),
        ("", ["modle.codes=1"], 'did you mean "model"?'),
        ("[data\n", [], "not a readable recipe"),
    ],
)
def test_every_mistake_gets_one_sentence(text, sets, says, leaf, tmp_path):
    path = write(tmp_path, "wrong", text)
    with pytest.raises(UsageError) as error:
        recipes.load("toy", str(path), sets=sets)
    assert says in str(error.value) and "\n" not in str(error.value)


def test_unknown_recipes_and_untrained_baselines_are_named(leaf, tmp_path, monkeypatch):
    write(tmp_path, "tiny", "")
    with pytest.raises(UsageError, match='no recipe of toy "tinny"; did you mean "tiny"'):
        recipes.load("toy", "tinny")
    with pytest.raises(UsageError, match='no recipe of toy for the dataset "balls"; known: tiny'):
        recipes.load("toy", dataset="balls")
    with pytest.raises(UsageError, match=r"nowhere.toml: not a readable recipe"):
        recipes.load("toy", "nowhere.toml")
    monkeypatch.setattr(registry, "load", lambda kind, name: ModuleType("sanity"))
    with pytest.raises(UsageError, match='baseline "noise" is not trained'):
        recipes.load("noise")


# The recipes that come with the baselines

SHIPPED = [
    (name, stem)
    for name in registry.names("baselines")
    for stem in recipes.files(name, registry.load("baselines", name))
]
# What an entry of a track is; of all others it is one whole number.
ENTRIES = {
    "position": ((2,), "float32"),
    "shift_bg": ((2,), "float32"),
    "state": ((3,), "float32"),
    "stft": ((64, 16), "float32"),
    "masks": ((96, 128), "uint8"),
}


@pytest.mark.parametrize("name", registry.names("baselines"))
def test_baselines_that_are_trained_have_recipes(name):
    has, needs = any(each == name for each, _ in SHIPPED), hasattr(registry.load("baselines", name), "build")
    assert has == needs, f"{name} is {'' if needs else 'not '}trained; see what baselines/recipes/{name}/ holds"


@pytest.mark.parametrize(("name", "stem"), SHIPPED)
def test_every_recipe_is_whole(name, stem, tmp_path):
    """It says the same when written out, names data that there are, and its networks fit them and each other."""
    leaf = registry.load("baselines", name)
    recipe = recipes.load(name, stem)
    copy = tmp_path / "recipe.toml"
    copy.write_text(recipes.text(recipe))
    assert recipes.read(copy, leaf, name=recipe.name) == recipe
    for table in ("data", "model", "training"):
        with pytest.raises(UsageError, match=rf'no key in \[{table}\] "stepz"'):
            recipes.load(name, stem, sets=[f"{table}.stepz=1"])
    assert set(recipe.data) == set(recipe.training) == set(leaf.STAGES)
    earlier: dict[str, dict] = {}
    for stage, data in recipe.data.items():
        check_data(data)
        assert data.validation or not recipe.training[stage].validate_every
        with torch.device("meta"):  # no weights, so that those of billions of numbers are built at once
            earlier[stage] = leaf.build(recipe.model, facts(data), stage, earlier).state_dict()


def check_data(data: DataSettings) -> None:
    """Compare what is trained on with what the dataset says of itself; without one the user names it."""
    if not data.dataset:
        return
    leaf = registry.load("datasets", data.dataset)
    for variant in data.variant.split("+"):
        options = variants._options(leaf, re.sub(r"-limit\d+$", "", variant or leaf.variant(leaf.Options())))
        assert options is not None, f"no options of {data.dataset} make {variant}"
        there = leaf.splits(leaf.Options(**options)) if hasattr(leaf, "splits") else leaf.SPLITS
        assert set(f"{data.split}+{data.validation}".strip("+").split("+")) <= set(there)
    place = Path(leaf.__file__)
    modules = place.parent.glob("*.py") if place.name == "__init__.py" else [place]
    source = "".join(each.read_text() for each in modules)
    assert [track for track in data.tracks if f'"{track}"' not in source] == []


def facts(data: DataSettings) -> DataFacts:
    """Say of the windows what a variant's name, `size` and crops tell."""
    width, height = re.search(r"(\d+)(?:x(\d+))?", data.variant or "64").groups()
    size = (int(height or width), int(width))
    for crop in [data.size, *(int(each[5:]) for each in data.augment if each.startswith("crop:"))]:
        size = size if crop is None else crop if isinstance(crop, tuple) else (crop, crop)
    known = {track: ENTRIES.get(track, ((), "int64")) for track in data.tracks}
    return DataFacts(*size, tracks=known, actions=9 if "local_action" in known else 0, length=data.length, windows=1000)


def test_a_recipe_that_is_not_whole_is_found():
    """What the test above would say of wrong ones."""
    for wrong in ({"variant": "fire"}, {"variant": "snow144"}, {"split": "test"}, {"tracks": ("position",)}):
        with pytest.raises(AssertionError):
            check_data(dataclasses.replace(recipes.load("cinn", "dtdb-fire").data["flow"], **wrong))
    settings, data = recipes.load("cinn", "bair-endpoint").model, recipes.load("cinn", "wsprites-small").data["video"]
    with pytest.raises(UsageError, match="the frames are 32x32"):
        registry.load("baselines", "cinn").build(settings, facts(data), "video", {})


def test_a_table_that_is_a_value_is_a_sentence(tmp_path):
    path = tmp_path / "flat.toml"
    path.write_text("data = 3\n")
    with pytest.raises(UsageError, match=r"data = 3 is no table; write \[data\]"):
        recipes.read(path, registry.load("baselines", "glass"))
    with pytest.raises(UsageError, match="size was set to a value before"):
        recipes.load("glass", "tiny", "wsprites", ["data.size=64", "data.size.x=1"])
