"""One test over all parts: every dataset, metric and baseline keeps its contract and knows only the core."""

import ast
import dataclasses
import json
import pickle
from pathlib import Path

import pytest
from click.testing import CliRunner

from vbench_ctl import prepare, registry
from vbench_ctl.cli import main
from vbench_ctl.cli.prepare import dataset_command
from vbench_ctl.clips import Clip
from vbench_ctl.errors import UsageError
from vbench_ctl.registry import option

ROOT = Path(__file__).resolve().parent.parent
LEAVES = [(kind, name) for kind in registry.FOLDERS for name in registry.names(kind)]
LEAF_FOLDERS = ("datasets", "generators", "baselines")


@pytest.mark.parametrize(("kind", "name"), LEAVES)
def test_a_part_keeps_its_contract_and_says_what_it_is(kind, name):
    leaf = registry.load(kind, name)
    assert [word for word in registry.CONTRACTS[kind] if not hasattr(leaf, word)] == []
    assert (leaf.__doc__ or "").strip()
    assert registry.origin(kind, name) == "vbench-ctl"
    assert Path(leaf.__file__).is_relative_to(ROOT)


@pytest.mark.parametrize("name", registry.names("datasets"))
def test_a_dataset_has_a_card_and_options_of_its_own(name):
    leaf = registry.load("datasets", name)
    card = prepare.card(name)
    assert all(card.get(key) for key in ("title", "about", "access", "licence", "citation"))
    fields = dataclasses.fields(leaf.Options)
    assert leaf.Options() == leaf.Options() and leaf.Options.__dataclass_params__.frozen
    assert all(field.metadata["help"].endswith(".") for field in fields)
    command = dataset_command(name)
    flags = [flag for param in command.params for flag in param.opts]
    assert len(flags) == len(set(flags))
    assert {f"--{field.name.replace('_', '-')}" for field in fields} <= set(flags)


@pytest.mark.parametrize("name", registry.names("datasets"))
def test_a_dataset_announces_what_it_will_make(name):
    usual, short = prepare.plan(name), prepare.plan(name, limit=1)
    assert usual.folder != short.folder and short.folder.name.partition("@")[0].endswith("-limit1")
    assert set(short.clips()) == set(short.splits) <= set(registry.load("datasets", name).SPLITS)
    assert max(short.clips().values()) == 1 and 0 < short.size_bytes(short.splits) < usual.size_bytes(usual.splits)
    assert usual.reads_files == bool(usual.files()) == (usual.card["access"] != "generated")


@pytest.mark.parametrize("name", registry.names("datasets"))
def test_a_dataset_is_shown_with_its_whole_card(name, tmp_path):
    card = prepare.card(name)
    words = ["list", "datasets", name, "--root", str(tmp_path)]
    shown, told = (CliRunner().invoke(main, [*words, *more]) for more in ((), ("--json",)))
    found = json.loads(told.stdout)
    assert [{key: file[key] for key in file if key != "state"} for file in found.pop("files")] == card.pop("file", [])
    assert {key: found[key] for key in card} == card
    lines = [line.split() for line in shown.stdout.splitlines()]
    assert all(isinstance(size, int | str) for size in card["splits"].values()) and "{" not in shown.stdout
    assert all(f"{split} {size}" in shown.stdout for split, size in card["splits"].items())
    assert [line[1] for line in lines if line[0] == "file"] == [
        file["name"] for file in prepare.card(name).get("file", [])
    ]


MADE = [name for name in registry.names("datasets") if prepare.card(name)["access"] == "generated"]


@pytest.mark.parametrize("name", MADE)
def test_the_store_of_a_dataset_says_how_it_was_made(name):
    plan = prepare.plan(name)
    assert plan.clips() == plan.card["splits"] and plan.size_bytes(plan.splits) == plan.card["disk"]["store_bytes"]
    for work in prepare.plan(name, limit=1).recipe().work.values():
        again = pickle.loads(pickle.dumps(list(work)))
        assert repr(again) == repr(list(work)) and " at 0x" not in repr(again)  # the fingerprint is made of this


@pytest.mark.parametrize("name", MADE)
def test_a_generated_dataset_makes_what_it_announced(name):
    plan = prepare.plan(name, limit=2)
    recipe = plan.recipe()
    for split, work in recipe.work.items():
        found = [clip for shard in work for clip in recipe.clips(shard)]
        assert len(found) == plan.clips()[split] and all(isinstance(clip, Clip) for clip in found)
        assert len({clip.id for clip in found}) == len(found)
        assert all(clip.id.startswith(f"{split}/") for clip in found)
        assert sum(clip.frames.nbytes for clip in found) <= plan.size_bytes([split])


@pytest.mark.parametrize("name", registry.names("metrics"))
def test_a_metric_can_be_told_apart_by_its_signature(name):
    leaf = registry.load("metrics", name)
    signatures = [leaf.signature(**options) for options in leaf.VARIANTS.values()]
    assert "" in leaf.VARIANTS and len(set(signatures)) == len(signatures)
    assert "-" not in name and all("|" not in text for text in (*signatures, *leaf.VARIANTS))
    assert leaf.DIRECTION in ("higher", "lower")


@pytest.mark.parametrize(("kind", "name"), LEAVES)
def test_a_part_of_ours_is_what_is_asked_of_others(kind, name):
    leaf = registry.load(kind, name)
    for word, (fits, expected) in registry.FORMS[kind].items():
        if hasattr(leaf, word):
            assert callable(getattr(leaf, word)) if word.islower() else fits(getattr(leaf, word)), f"{word}: {expected}"


@pytest.mark.parametrize("name", registry.names("datasets"))
def test_what_a_dataset_of_ours_returns_is_what_is_asked_of_others(name):
    leaf, plan, forms = registry.load("datasets", name), prepare.plan(name), registry.FORMS["datasets"]
    found = {"variant": leaf.variant(plan.options), "facts": leaf.facts(plan.options), "splits": plan.splits}
    found["estimate"] = leaf.estimate(plan.splits[0], plan.options, None)
    if hasattr(leaf, "expected"):
        found["expected"] = leaf.expected(plan.options)
    assert {word: told for word, told in found.items() if not forms[word][0](told)} == {}
    assert registry.code("datasets", name) == ""  # VERSION tells of its changes


def test_baselines_have_different_titles():
    titles = [registry.load("baselines", name).TITLE for name in registry.names("baselines")]
    assert len(set(titles)) == len(titles)


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def test_the_core_names_no_leaf_and_the_library_no_command():
    for path in (ROOT / "vbench_ctl").rglob("*.py"):
        forbidden = [f"vbench_ctl.{folder}." for folder in LEAF_FOLDERS]
        if "cli" not in path.parts and path.name != "__main__.py":
            forbidden += ["vbench_ctl.cli.", "click."]
        assert [name for name in imports(path) if f"{name}.".startswith(tuple(forbidden))] == [], path


def test_a_leaf_knows_only_the_core_and_itself():
    forbidden = tuple(f"vbench_ctl.{folder}." for folder in (*LEAF_FOLDERS, "cli"))
    for path in (path for folder in LEAF_FOLDERS for path in (ROOT / folder).rglob("*.py")):
        folder, own, *_ = path.relative_to(ROOT).parts
        itself = f"vbench_ctl.{folder}.{own.removesuffix('.py')}."
        others = [f"{name}." for name in imports(path) if f"{name}.".startswith(forbidden)]
        assert [name for name in others if not name.startswith(itself)] == [], path


def test_an_unknown_part_gets_the_nearest_name():
    with pytest.raises(UsageError, match='no dataset "wsprite"; did you mean "wsprites"'):
        registry.load("datasets", "wsprite")
    with pytest.raises(UsageError, match='no metric "fuzz"; known: '):
        registry.load("metrics", "fuzz")


def test_options_become_words_of_the_command_line_again():
    @dataclasses.dataclass(frozen=True)
    class Options:
        size: int = 64
        boxes: str = ""
        apart: bool = False

    told = {"size": 32, "boxes": "", "apart": True, "frame_rate": 5, "limit": None}
    assert registry.words(told, Options) == ["--size", "32", "--apart", "--frame-rate", "5"]
    assert registry.words(dataclasses.asdict(Options()), Options) == []


def test_a_part_is_found_where_there_is_one():
    assert registry.find("baselines", "copy-last") is registry.load("baselines", "copy-last")
    assert registry.find("baselines", "nobody") is registry.find("datasets", None) is None


def test_a_type_given_as_text_is_understood(monkeypatch):
    """A plugin's module may say `from __future__ import annotations`."""
    leaf = registry.load("datasets", "wsprites")

    fields = [("count", "int", option(3, "How many.")), ("fast", "bool", option(False, "Leave out what is slow."))]
    Options = dataclasses.make_dataclass("Options", fields, frozen=True)
    monkeypatch.setattr(leaf, "Options", Options)
    types = {param.name: param.type.name for param in dataset_command("wsprites").params}
    assert (types["count"], types["fast"]) == ("integer", "boolean")
