"""Which command makes the store of a variant: its options are read off the name, and the dataset confirms them."""

import dataclasses
import re
from collections.abc import Iterator
from itertools import combinations
from types import ModuleType
from typing import Any

from vbench_ctl import registry
from vbench_ctl.errors import VbenchError

MOST = 3  # options that differ from their defaults; no variant in use has more


def remedy(dataset: str, variant: str, split: str = "") -> str:
    """Say how to make a split of a variant: `run "vbench-ctl prepare ..."`."""
    leaf = registry.find("datasets", dataset)
    if not leaf:
        return f'run "vbench-ctl prepare FOLDER --as {dataset}"'
    plain, limit = re.fullmatch(r"(.+?)(?:-limit(\d+))?", variant, re.DOTALL).groups()  # type: ignore[union-attr]
    options = _options(leaf, plain)
    words = registry.words({"split": split, **(options or {}), "limit": limit})
    unknown = "" if options is not None else f' with the options that make "{plain}" (prepare {dataset} --help)'
    return f'run "{" ".join(["vbench-ctl prepare", dataset, *words])}"{unknown}'


def _options(leaf: ModuleType, variant: str) -> dict[str, Any] | None:
    """Return the fewest options that make a variant, if any do."""
    settings = [(field.name, value) for field in dataclasses.fields(leaf.Options) for value in _values(field, variant)]
    for count in range(MOST + 1):
        for chosen in combinations(settings, count):
            if len(dict(chosen)) == count and _makes(leaf, dict(chosen), variant):
                return dict(chosen)
    return None


def _values(field: "dataclasses.Field[Any]", variant: str) -> Iterator[Any]:
    """Yield what an option may have been set to; what has no default value (a path, say) no name can tell."""
    if field.metadata["choices"]:
        yield from (choice for choice in field.metadata["choices"] if choice != field.default)
    elif isinstance(field.default, str) and field.default:
        yield from dict.fromkeys([*variant.split("-"), *re.findall(r"\d+", variant)])
    elif type(field.default) is int:
        yield from dict.fromkeys(map(int, re.findall(r"\d+", variant)))


def _makes(leaf: ModuleType, options: dict[str, Any], variant: str) -> bool:
    try:
        return str(leaf.variant(leaf.Options(**options))) == variant
    except VbenchError:
        return False
