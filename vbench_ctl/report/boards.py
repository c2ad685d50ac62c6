"""What the page says of rows: leaderboards, curves over frames, confusion matrices, and how to make each number again."""

import json
import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup

from vbench_ctl import leaderboard, protocols
from vbench_ctl.leaderboard import Column, Table, is_published
from vbench_ctl.report import charts
from vbench_ctl.rows import Row

AXES = ("to the right", "down")
LATENT = ("latent", "nmi")  # metrics whose columns are codes without a name


class Colours(dict[str, int]):
    """The number of each model, the same all over the page, in the order in which they are met."""

    def __missing__(self, model: str) -> int:
        self[model] = len(self)
        return self[model]


@dataclass(frozen=True)
class Cell:
    """One number of a table; `card` is everything about it, label by label."""

    text: str
    value: float | None
    bar: Markup
    best: bool
    card: list[tuple[str, str]]


@dataclass(frozen=True)
class Head:
    label: str
    direction: str
    signature: str


@dataclass(frozen=True)
class Line:
    """A model's line of a table; `tag` is "verified" or "unverified" where the literature says so, else empty."""

    model: str
    colour: int | None  # none of the literature
    tag: str
    source: str
    cells: list[Cell | None]


@dataclass(frozen=True)
class Figure:
    """A chart with its words; `models` are (name, colour) for the legend."""

    title: str
    caption: str
    chart: Markup
    models: list[tuple[str, int]] = field(default_factory=list)


@dataclass(frozen=True)
class Board:
    """One protocol: its table, its curves, and what the protocol says."""

    protocol: str
    title: str
    heads: list[Head]
    lines: list[Line]
    remarks: list[str]
    facts: list[tuple[str, str]]
    curves: list[Figure]
    actions: list[Figure]


def boards(found: Sequence[Row], colours: Colours) -> list[Board]:
    """Return a board per protocol."""
    return [_board(table, colours) for table in leaderboard.tables(found)]


def _board(table: Table, colours: Colours) -> Board:
    known = protocols.load_all().get(table.protocol)
    scales = {column: _scale(table, column) for column in table.columns}
    heads = [
        Head(label, column.direction, column.signature)
        for label, column in zip(table.labels(), table.columns, strict=True)
    ]
    lines = [_line(table, model, scales, colours) for model in table.cells]
    facts = protocols.card(known) if known else []
    remarks = [*table.remarks, *leaderboard.notes(table)]
    return Board(
        table.protocol, table.title, heads, lines, remarks, facts, _curves(table, colours), _actions(table, colours)
    )


def _line(table: Table, model: str, scales: dict[Column, tuple[float, float]], colours: Colours) -> Line:
    cells = table.cells[model]
    tag, source = _literature(list(cells.values()))
    colour = None if tag else colours[model]
    shown = [_cell(table, column, cells.get(column), scales[column], colour) for column in table.columns]
    return Line(model, colour, tag, source, shown)


# One number


def _cell(table: Table, column: Column, row: Row | None, scale: tuple[float, float], colour: int | None) -> Cell | None:
    if row is None:
        return None
    if row.value is None:
        return Cell("n/a", None, Markup(""), False, card(row))
    least, most = scale
    shown = math.isfinite(row.value)
    bar = charts.error_bar(row.value, row.low, row.high, least, most, colour) if shown else Markup("")
    values = [r.value for cells in table.cells.values() if (r := cells.get(column)) and r.value is not None]
    best = len(values) > 1 and row.value == (max if row.direction == "higher" else min)(values)
    return Cell(f"{row.value:.4g}", row.value, bar, best, card(row))


def _scale(table: Table, column: Column) -> tuple[float, float]:
    """Return the least and the greatest number of a column, intervals included."""
    rows = [cells[column] for cells in table.cells.values() if column in cells]
    ends = [end for row in rows for end in (row.value, row.low, row.high) if end is not None and math.isfinite(end)]
    return (min(ends), max(ends)) if ends else (0.0, 1.0)


def _literature(rows: Sequence[Row]) -> tuple[str, str]:
    """Say whether the numbers of a line are from the literature: "verified" or "unverified", and where from."""
    published = [row for row in rows if is_published(row.signature)]
    if not published:
        return "", ""
    verified = all(row.provenance.get("verified") for row in published)
    sources = dict.fromkeys(str(row.provenance.get("source", "")) for row in published)
    return "verified" if verified else "unverified", ", ".join(filter(None, sources))


def card(row: Row) -> list[tuple[str, str]]:
    """Return everything about a number as labels and texts; the signature is among them."""
    said = row.provenance
    interval = "" if row.low is None or row.high is None else f"{row.low:.6g} to {row.high:.6g}"
    made = _facts(said.get("made"))
    kind = said.get("interval") or ("95 %" if interval else "")
    facts = [
        ("model", row.model),
        (row.metric, "not available" if row.value is None else f"{row.value:.6g} {row.unit}".strip()),
        ("interval", f"{interval} ({kind})" if interval else ""),
        ("clips", str(row.n or "")),
        ("floor", "" if row.floor is None else f"{row.floor:.6g}, one half of the real clips against the other"),
        ("note", row.note),
        ("source", str(said.get("source", ""))),
        ("made", ", ".join(str(text) for text in (made.get("at"), made.get("on"), said.get("device")) if text)),
        ("cost", _cost(said)),
        ("outputs", _digest(said, "outputs")),
        ("real clips", _digest(said, "real")),
        ("signature", row.signature),
        ("again", again(row)),
    ]
    return [(label, text) for label, text in facts if text]


def _cost(said: dict[str, Any]) -> str:
    """Say how many CPU seconds were spent to train the model, to make its clips and to score them, as far as is known."""
    generated = _facts(said.get("generated"))
    stages = _facts(_facts(generated.get("run")).get("stages")).values()
    spent = {
        "trained": [_facts(stage).get("cpu_seconds") for stage in stages],
        "generated": [generated.get("cpu_seconds")],
        "scored": [_facts(said.get("made")).get("cpu_seconds")],
    }
    known = {what: sum(each for each in found if isinstance(each, int | float)) for what, found in spent.items()}
    return ", ".join(f"{what} in {seconds:.0f} CPU seconds" for what, seconds in known.items() if seconds)


def _facts(said: object) -> dict[str, Any]:
    """Return facts; other programs may write what they like in their place."""
    return said if isinstance(said, dict) else {}


def _digest(said: dict[str, object], key: str) -> str:
    digest = str(said.get(f"{key}_sha256", ""))[:16]
    return f"{said.get(key, '')} {digest}".strip()


def again(row: Row) -> str:
    """Return the command that computes a number as its signature says; none for one from the literature."""
    if is_published(row.signature) or row.value is None:
        return ""
    outputs = f"outputs/{row.provenance.get('outputs') or row.model}"
    return shlex.join(["vbench-ctl", "score", outputs, *against(row.protocol), "--like", row.signature])


def against(protocol: str) -> list[str]:
    """Return the words of `score` that say what outputs are compared with."""
    return ["--protocol", protocol] if protocol in protocols.load_all() else ["--real", "REAL"]


# Charts


def _curves(table: Table, colours: Colours) -> list[Figure]:
    """Draw each column's mean over the scored frames, a line per model."""
    figures = []
    for head, column in zip(table.labels(), table.columns, strict=True):
        held = [(model, cells[column]) for model, cells in table.cells.items() if column in cells]
        held = [(model, row) for model, row in held if len(row.per_frame) > 1]
        if not held:
            continue
        series = [
            charts.Line(model, colours[model], list(zip(_frames(row), row.per_frame, strict=True)))
            for model, row in held
        ]
        name = f"{head} by frame, {table.protocol}: " + ", ".join(model for model, _ in held)
        chart = charts.lines(series, "frame", name, whole=True)
        models = [(model, colours[model]) for model, _ in held]
        figures.append(Figure(head, "mean over all clips, at each scored frame", chart, models))
    return figures


def _frames(row: Row) -> list[int]:
    """Return which frames of a case a curve is of, counted from 1."""
    known = protocols.load_all().get(row.protocol)
    frames = known.frames_of(row.metric.partition("@")[0]) if known else ()
    return [t + 1 for t in frames] if len(frames) == len(row.per_frame) else list(range(1, len(row.per_frame) + 1))


def _actions(table: Table, colours: Colours) -> list[Figure]:
    """Draw confusion matrices, how well each action was found, and how far each moves; of equal tables the first."""
    figures: dict[str, list[Figure]] = {}
    for model, cells in table.cells.items():
        for row in cells.values():
            for kind, held in row.details.items():
                who = "real clips" if kind == "confusion_real" else model
                draw = _movements if kind == "actions" else _confusion
                if kind == "actions" or kind.startswith("confusion"):
                    key = f"{who} {json.dumps(held, sort_keys=True)}"
                    figures.setdefault(key, draw(held, who, row, colours[model]))
    return [figure for drawn in figures.values() for figure in drawn]


def _confusion(held: dict[str, Any], who: str, row: Row, colour: int) -> list[Figure]:
    """Draw true actions by rows against what was found: the same labels, or codes where there are others."""
    labels, counts = [str(label) for label in held["labels"]], held["counts"]
    square = all(len(line) == len(labels) for line in counts) and not row.metric.startswith(LATENT)
    columns = labels if square else [str(code) for code in range(len(counts[0]))]
    name = f"{row.metric} of {who} on {row.protocol}"
    matrix = charts.confusion(labels, columns, counts, f"Confusion matrix, {name}")
    hits = [line[at] if square else max(line) for at, line in enumerate(counts)]
    totals = [sum(line) for line in counts]
    seen = [at for at, total in enumerate(totals) if total]
    what = "found right, of each action" if square else "in the code found most often, of each action"
    bars = charts.bars(
        [labels[at] for at in seen],
        [hits[at] / totals[at] for at in seen],
        [f"{labels[at]}: {hits[at]:g} of {totals[at]:g}" for at in seen],
        f"Share {what}, {name}",
        colour,
    )
    title = f"{who}: {row.metric}"
    found = "what was found" if square else "the code that was found"
    return [
        Figure(title, f"rows: the true action; columns: {found}; percent of the row", matrix),
        Figure(title, f"share {what}", bars),
    ]


def _movements(held: Sequence[dict[str, Any]], who: str, row: Row, colour: int) -> list[Figure]:
    """Draw how far each action moves, a chart per direction."""
    labels = [str(each["action"]) for each in held]
    across = len(held[0]["quantiles"][0]) if held else 0
    return [
        Figure(
            f"{who}: {row.metric}",
            f"movement by action, {AXES[axis] if across == 2 else axis + 1}: median, middle 40 % and 80 % of it",
            charts.spreads(
                labels,
                [[step[axis] for step in each["quantiles"]] for each in held],
                f"Movement by action, direction {axis + 1}, of {who} on {row.protocol}",
                colour,
            ),
        )
        for axis in range(across)
    ]
