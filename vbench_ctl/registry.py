"""Finds the parts that others add: datasets, baselines and metrics, each one module.

Ours are found by file name (`datasets/uva_nemo.py` is "uva-nemo"), third parties' by entry point: group "vbench_ctl",
name "<kind>.<name>" (`datasets.toy = toy_plugin.toy`). Listing names imports no leaf. What a module of each kind
defines stands in docs/extending.md.
"""

import importlib
import pkgutil
from collections.abc import Sequence
from dataclasses import field
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import Any

from vbench_ctl.errors import VbenchError, unknown

# A generated dataset is used like a downloaded one, so both folders hold datasets.
FOLDERS = {"datasets": ("datasets", "generators"), "baselines": ("baselines",), "metrics": ("metrics",)}


def names(kind: str) -> list[str]:
    """Return the names of all leaves of a kind, sorted."""
    return sorted(set(_ours(kind)) | set(_theirs(kind)))


def load(kind: str, name: str) -> ModuleType:
    """Import one leaf; an unknown name raises with the nearest one."""
    ours, theirs = _ours(kind), _theirs(kind)
    if name in ours and name in theirs:
        raise VbenchError(
            f'{kind[:-1]} "{name}" is in vbench-ctl and in {theirs[name].value}; uninstall or rename that one'
        )
    if name in ours:
        return importlib.import_module(ours[name])
    if name not in theirs:
        raise unknown(kind[:-1], name, names(kind))
    try:
        return theirs[name].load()
    except Exception as error:  # a plugin may fail in any way; its name is what the user needs
        raise VbenchError(f'{kind[:-1]} "{name}" from {theirs[name].value} does not load: {error!r}') from error


def origin(kind: str, name: str) -> str:
    """Say which distribution a leaf comes from."""
    theirs = _theirs(kind)
    dist = theirs[name].dist if name in theirs else None
    return f"{dist.name} {dist.version}" if dist else "vbench-ctl"


def _ours(kind: str) -> dict[str, str]:
    found = {}
    for folder in FOLDERS[kind]:
        package = f"vbench_ctl.{folder}"
        for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
            if not module.name.startswith("_"):
                found[module.name.replace("_", "-")] = f"{package}.{module.name}"
    return found


def _theirs(kind: str) -> dict[str, EntryPoint]:
    points = entry_points(group="vbench_ctl")
    return {p.name.removeprefix(f"{kind}."): p for p in points if p.name.startswith(f"{kind}.")}


def option(default: Any, help: str, choices: Sequence[str] = ()) -> Any:
    """Declare one field of a leaf's `Options` dataclass; the command line makes `--field-name` of it."""
    return field(default=default, metadata={"help": help, "choices": choices})
