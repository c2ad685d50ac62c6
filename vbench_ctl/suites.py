"""Suites: named lists of metrics that are computed together, whatever the protocol; data, in suites.toml."""

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from vbench_ctl.errors import unknown

_DATA = Path(__file__).with_suffix(".toml")


@dataclass(frozen=True)
class Suite:
    """Metrics by token; those of `obedience` put the sanity rows in order."""

    name: str
    about: str
    metrics: tuple[str, ...]
    obedience: tuple[str, ...]


@cache
def load_all() -> dict[str, Suite]:
    """Return every suite by name."""
    tables = tomllib.loads(_DATA.read_text("utf-8"))
    return {
        name: Suite(name, table["about"], tuple(table["metrics"]), tuple(table["obedience"]))
        for name, table in tables.items()
    }


def load(name: str) -> Suite:
    """Return one suite; an unknown name raises with the nearest."""
    if name not in load_all():
        raise unknown("suite", name, load_all())
    return load_all()[name]
