"""Finds the parts that others add: datasets, baselines and metrics, each one module.

Ours are found by file name (`datasets/uva_nemo.py` is "uva-nemo"), third parties' by entry point: group "vbench_ctl",
name "<kind>.<name>" (`datasets.toy = toy_plugin.toy`). Listing names imports no leaf. What a module of each kind
defines stands in docs/extending.md.
"""

import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from dataclasses import field
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import Any

from vbench_ctl.errors import UsageError, VbenchError, unknown

GROUP = "vbench_ctl"
# A generated dataset is used like a downloaded one, so both folders hold datasets.
FOLDERS = {"datasets": ("datasets", "generators"), "baselines": ("baselines",), "metrics": ("metrics",)}
CONTRACTS = {
    "datasets": ("VERSION", "SPLITS", "Options", "variant", "facts", "shards", "estimate", "clips"),
    "baselines": ("TITLE", "CONTROL", "generate"),
    "metrics": ("TITLE", "DIRECTION", "UNIT", "NEEDS", "VERSION", "VARIANTS", "signature"),
}
_TYPES: dict[str, tuple[type, ...]] = {
    "VERSION": (int,),
    "SPLITS": (tuple, list),
    "TITLE": (str,),
    "UNIT": (str,),
    "CONTROL": (str,),
    "VARIANTS": (dict,),
}
_CHOICES = {
    "DIRECTION": ("higher", "lower"),
    "NEEDS": ("pair", "fake", "features", "samples", "sets", "tracks", "manifest"),
}


def names(kind: str) -> list[str]:
    """Return the names of all leaves of a kind, sorted."""
    return sorted(_ours(kind).keys() | _theirs(kind).keys())


def load(kind: str, name: str) -> ModuleType:
    """Import one leaf; an unknown name raises with the nearest one."""
    ours, theirs = _ours(kind), _theirs(kind).get(name, [])
    places = ["vbench-ctl"] * (name in ours) + [_place(point) for point in theirs]
    if not places:
        raise unknown(kind[:-1], name, names(kind))
    if len(places) > 1:
        raise VbenchError(f'{kind[:-1]} "{name}" is in {" and in ".join(places)}; uninstall or rename one of them')
    return importlib.import_module(ours[name]) if name in ours else _load_theirs(kind, name, theirs[0])


def find(kind: str, name: str | None) -> ModuleType | None:
    """Import one leaf, if there is one of that name."""
    return load(kind, name) if name in names(kind) else None


def origin(kind: str, name: str) -> str:
    """Say which distribution a leaf comes from."""
    return " and ".join(_place(point) for point in _theirs(kind).get(name, [])) or "vbench-ctl"


def plugins() -> list[EntryPoint]:
    """Return everything that third parties registered, whether it fits or not."""
    return sorted(entry_points(group=GROUP), key=lambda point: (point.name, _place(point)))


def _load_theirs(kind: str, name: str, point: EntryPoint) -> ModuleType:
    what = f'{kind[:-1]} "{name}" of {_place(point)}'
    try:
        leaf = point.load()
    except (Exception, SystemExit) as error:  # a plugin may fail in any way; its name is what the user needs
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise VbenchError(f"{what} does not load ({reason}); mend or uninstall it") from error
    if kind == "metrics" and "-" in name:
        raise VbenchError(f"{what}: a dash in a metric's name starts its variant; rename the entry point")
    missing = [word for word in CONTRACTS[kind] if not hasattr(leaf, word)]
    if missing:
        raise VbenchError(f"{what} lacks {', '.join(missing)}; docs/extending.md says what a {kind[:-1]} defines")
    for word, kinds in _TYPES.items():
        if word in CONTRACTS[kind] and not isinstance(getattr(leaf, word), kinds):
            expected = " or ".join(each.__name__.lower() for each in kinds)
            raise VbenchError(f"{what}: {word} is {getattr(leaf, word)!r:.50}, expected {expected}")
    for word, known in _CHOICES.items():
        if word in CONTRACTS[kind] and getattr(leaf, word) not in known:
            raise VbenchError(f"{what}: {word} is {getattr(leaf, word)!r}, expected {' or '.join(known)}")
    return leaf


def _place(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else point.value


# What is installed does not change while a program runs, and looking through all distributions takes a while.
@cache
def _ours(kind: str) -> dict[str, str]:
    found = {}
    for folder in FOLDERS[kind]:
        package = f"vbench_ctl.{folder}"
        for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
            if not module.name.startswith("_"):
                found[module.name.replace("_", "-")] = f"{package}.{module.name}"
    return found


@cache
def _theirs(kind: str) -> dict[str, list[EntryPoint]]:
    found: dict[str, list[EntryPoint]] = {}
    for point in plugins():
        group, _, name = point.name.partition(".")
        if group == kind:
            found.setdefault(name, []).append(point)
    return found


def option(default: Any, help: str, choices: Sequence[str] = (), file: bool = False) -> Any:
    """Declare one field of a leaf's `Options` dataclass; the command line makes `--field-name` of it.

    The manifest has the hash of a `file` instead of its path.
    """
    return field(default=default, metadata={"help": help, "choices": choices, "file": file})


def check_size(size: int, most: int) -> None:
    """Refuse a side of frames that is not from 8 to `most` pixels; `Options` call it."""
    if not 8 <= size <= most:
        raise UsageError(f"--size {size}: it must be between 8 and {most} pixels")


def words(options: Mapping[str, Any], kind: type | None = None) -> list[str]:
    """Return options as words of the command line; those of `Options` only where they differ from its defaults."""
    usual = vars(kind()) if kind else {}
    found = []
    for name, value in options.items():
        if value not in (usual.get(name), None, "") and value is not False:
            found += [f"--{name.replace('_', '-')}"] + ([] if value is True else [str(value)])
    return found
