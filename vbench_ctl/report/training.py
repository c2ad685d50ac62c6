"""What the page says of runs: losses and validation numbers over steps, the newest samples, the command."""

import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from vbench_ctl import runs
from vbench_ctl.report import charts
from vbench_ctl.report.boards import Figure


@dataclass(frozen=True)
class Training:
    """One run folder."""

    name: str
    facts: list[tuple[str, str]]
    figures: list[Figure]
    samples: Path | None  # the newest sheet
    command: str


def read(folder: Path) -> Training:
    """Read a run folder."""
    run = runs.open_run(folder)
    log = runs.read_log(folder)
    made = run.about["made"]
    steps = {entry["stage"]: entry["step"] for entry in log}
    speed = next((entry["steps_per_second"] for entry in reversed(log) if "steps_per_second" in entry), None)
    facts = [
        ("baseline", run.baseline),
        ("recipe", run.recipe.name),
        ("steps", ", ".join(f"{stage} {step:,}".strip() for stage, step in steps.items())),
        ("speed", f"{speed:.3g} steps a second" if speed else ""),
        ("data", ", ".join(map(str, run.about["data"].values()))),
        ("made", f"{made.get('at', '')}, {made.get('on', '')}".strip(", ")),
        ("with", ", ".join(f"{name} {version}" for name, version in made.get("with", {}).items())),
    ]
    words = [str(word) for word in made.get("command", [])[1:]]
    names = (f"{stage}-step-*.png".removeprefix("-") for stage in run.recipe.training)
    sheets = [sheet for name in names for sheet in sorted((folder / "pictures").glob(name))]
    return Training(
        folder.resolve().name,
        [(label, text) for label, text in facts if text],
        [figure for stage in steps for figure in _figures(folder.resolve().name, stage, log)],
        sheets[-1] if sheets else None,
        shlex.join(["vbench-ctl", *words]) if words else "",
    )


def _figures(name: str, stage: str, log: list[dict]) -> list[Figure]:
    """Draw a chart per loss of a stage, with the validation number of the same name as dots."""
    entries = [entry for entry in log if entry["stage"] == stage]
    losses, held = (_series(entries, key) for key in ("losses", "validation"))
    figures = []
    for term in dict.fromkeys((*losses, *held)):
        series = [charts.Line("training", 0, losses[term])] if term in losses else []
        series += [charts.Line("validation", 1, held[term], dots=True)] if term in held else []
        words = f"{stage} {term}".strip()
        chart = charts.lines(series, "step", f"{words} of {name} by step", whole=True)
        if chart:
            legend = [(line.label, line.colour) for line in series] if len(series) > 1 else []
            figures.append(Figure(words, "" if term in losses else "validation", chart, legend))
    return figures


def _series(entries: Iterable[dict], key: str) -> dict[str, list[tuple[float, float]]]:
    found: dict[str, list[tuple[float, float]]] = {}
    for entry in entries:
        for term, value in entry.get(key, {}).items():
            found.setdefault(term, []).append((entry["step"], value))
    return found
