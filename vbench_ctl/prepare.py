"""Make the store of a dataset, whichever leaf it comes from."""

import dataclasses
import shutil
import tomllib
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from vbench_ctl import __path__ as package_path
from vbench_ctl import execute, files, registry, store
from vbench_ctl.errors import VbenchError, unknown


class Plan(NamedTuple):
    """What `prepare` is about to do."""

    folder: Path
    recipe: store.Recipe
    clips: dict[str, int]  # expected per split
    size_bytes: dict[str, int]


def plan(
    name: str,
    root: str | Path | None = None,
    splits: Sequence[str] = (),
    limit: int | None = None,
    encoding: str | None = None,
    **options: Any,
) -> Plan:
    """Resolve a dataset's name and options to the store that `make` would write."""
    leaf = registry.load("datasets", name)
    for split in splits:
        if split not in leaf.SPLITS:
            raise unknown(f"split of {name}", split, leaf.SPLITS)
    chosen = [split for split in leaf.SPLITS if split in splits or not splits]
    settings = leaf.Options(**options)
    variant = leaf.variant(settings) + (f"-limit{limit}" if limit is not None else "")
    recipe = store.Recipe(
        dataset=name,
        variant=variant,
        version=leaf.VERSION,
        work={split: leaf.shards(split, settings, limit) for split in chosen},
        clips=leaf.clips,
        facts={"options": dataclasses.asdict(settings), **leaf.facts(settings)},
        card=card(name, leaf),
        encoding=encoding,
    )
    estimates = {split: leaf.estimate(split, settings, limit) for split in chosen}
    return Plan(
        store.store_path(name, variant, leaf.VERSION, root),
        recipe,
        {split: clips for split, (clips, _) in estimates.items()},
        {split: size for split, (_, size) in estimates.items()},
    )


def make(plan: Plan, workers: execute.Workers = 1) -> dict[str, Any]:
    """Write the planned store and return its manifest."""
    with files.explained(plan.folder):
        plan.folder.mkdir(parents=True, exist_ok=True)
    todo = missing(plan.folder, plan.recipe)
    made = sum(path.stat().st_size for split in todo for path in plan.folder.glob(f"{split}-*.h5"))
    needed = sum(plan.size_bytes[split] for split in todo) - made
    free = shutil.disk_usage(plan.folder).free
    if needed > free:
        raise VbenchError(
            f"{plan.folder}: {needed / 1e9:.1f} GB are needed and {free / 1e9:.1f} GB free; "
            "free some space, choose another --root, or take fewer clips (--limit, --split)"
        )
    return store.build(plan.folder, plan.recipe, workers)


def missing(folder: Path, recipe: store.Recipe) -> list[str]:
    """Return the splits of a recipe that its store does not have yet."""
    made = store.read_manifest(folder)["splits"] if store.is_store(folder) else {}
    return [split for split in recipe.work if split not in made]


def card(name: str, leaf: ModuleType | None = None) -> dict[str, Any]:
    """Return a dataset's card: title, licence, citation, access. A third party's module carries its own as `CARD`."""
    for place in package_path:
        for path in (Path(place) / "datasets/cards").glob(f"{name}.toml"):
            return tomllib.loads(path.read_text(encoding="utf-8"))
    return getattr(leaf or registry.load("datasets", name), "CARD", {})
