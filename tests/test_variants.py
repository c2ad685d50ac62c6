"""The command that makes a variant is right for every store that a protocol or a recipe asks for."""

import re
import shlex
import tomllib
from pathlib import Path

import pytest

from vbench_ctl import protocols, registry, variants
from vbench_ctl.cli.prepare import dataset_command

RECIPES = Path(__file__).resolve().parent.parent / "baselines/recipes"


def asked() -> set[tuple[str, str, str]]:
    """Return every dataset, variant and split that something is defined on."""
    every = protocols.load_all().values()
    found = {(p.dataset, p.variant, p.split) for p in every if p.select}
    for path in RECIPES.glob("*/*.toml"):
        data = tomllib.loads(path.read_text()).get("data", {})
        if data.get("variant") and isinstance(data["variant"], str):
            splits = data.get("split", "train").split("+")
            found |= {(data["dataset"], each, split) for each in data["variant"].split("+") for split in splits}
    return {each for each in found if each[0] in registry.names("datasets")}


def made_by(command: str) -> str:
    """Return the variant that a command line makes."""
    dataset, *rest = shlex.split(command.removeprefix("vbench-ctl prepare "))
    leaf, params = registry.load("datasets", dataset), dataset_command(dataset).make_context(dataset, rest).params
    options = leaf.Options(**{name: params[name] for name in leaf.Options.__dataclass_fields__})
    return leaf.variant(options) + (f"-limit{params['limit']}" if params["limit"] else "")


@pytest.mark.parametrize(("dataset", "variant", "split"), sorted(asked()))
def test_the_command_makes_the_variant(dataset, variant, split):
    said = variants.remedy(dataset, variant, split)
    found = re.fullmatch(r'run "(vbench-ctl prepare .*)"', said)
    assert found, said
    assert made_by(found[1]) == variant and f"--split {split}" in found[1]


def test_defaults_are_left_out_and_what_is_unknown_is_said():
    assert variants.remedy("wsprites", "128x96", "test") == 'run "vbench-ctl prepare wsprites --split test"'
    assert variants.remedy("wsprites", "64x48-limit400", "train") == (
        'run "vbench-ctl prepare wsprites --split train --size 64x48 --limit 400"'
    )
    said = 'run "vbench-ctl prepare wsprites" with the options that make "64-nosuch" (prepare wsprites --help)'
    assert variants.remedy("wsprites", "64-nosuch") == said
    assert variants.remedy("mine", "64x64", "test") == 'run "vbench-ctl prepare FOLDER --as mine"'
