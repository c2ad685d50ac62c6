"""Rows to tables, one per protocol, in which a column holds only numbers that were made alike."""

import csv
import functools
import importlib
import io
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from vbench_ctl import files, generation, protocols, registry, rows, suites, tokens
from vbench_ctl.errors import VbenchError
from vbench_ctl.rows import Row

PUBLISHED = "published"  # the signature of a number from the literature: how it was computed is not known exactly
UNVERIFIED = "published, unverified"  # the same of one that nobody has looked up in a paper
ARROWS = {"higher": "↑", "lower": "↓", "": ""}


class Column(NamedTuple):  # of 100,000 rows each is looked up several times
    metric: str
    signature: str
    direction: str
    unit: str

    @property
    def label(self) -> str:
        unit = f" ({self.unit})" if self.unit else ""
        published = f", {self.signature}" if is_published(self.signature) else ""
        return f"{self.metric}{unit} {ARROWS[self.direction]}".strip() + published


@dataclass(frozen=True)
class Table:
    """All rows of one protocol: a line per model, a column per metric and signature."""

    protocol: str
    title: str
    columns: list[Column]
    cells: dict[str, dict[Column, Row]]  # model -> column -> row, the best model of the first column first
    remarks: list[str] = field(default_factory=list)

    def labels(self) -> list[str]:
        """Return the column heads; columns of one metric that must stay apart are numbered."""
        heads = [column.label for column in self.columns]
        return [
            f"{head} [{heads[: at + 1].count(head)}]" if heads.count(head) > 1 else head
            for at, head in enumerate(heads)
        ]


def is_published(signature: str) -> bool:
    """Tell whether a number is from the literature."""
    return signature in (PUBLISHED, UNVERIFIED)


def tables(found: Iterable[Row]) -> list[Table]:
    """Group rows into tables, in the order in which the protocols first appear."""
    by_protocol: dict[str, list[Row]] = {}
    for row in found:
        by_protocol.setdefault(row.protocol, []).append(row)
    return [_table(protocol, group) for protocol, group in by_protocol.items()]


def _table(protocol: str, group: list[Row]) -> Table:
    known = protocols.load_all().get(protocol)
    group = _without_answered_gaps(group)
    columns = list(dict.fromkeys(map(_column, group)))
    order = list(known.metrics) if known else []
    columns.sort(
        key=lambda c: (
            order.index(c.metric) if c.metric in order else len(order),
            c.metric,
            c.signature == UNVERIFIED,
            c.signature == PUBLISHED,
        )
    )
    cells: dict[str, dict[Column, Row]] = {}
    replaced = []
    for row in group:
        earlier = cells.setdefault(row.model, {})
        column = _column(row)
        if column in earlier and earlier[column].value != row.value:
            replaced.append(
                f"{row.model}, {row.metric}: of several numbers the last is shown, another is {number(earlier[column])}"
            )
        earlier[column] = row
    models = sorted(cells, key=lambda model: [_rank(column, cells[model].get(column)) for column in columns])
    title = known.title if known else "not a named protocol: these numbers compare with each other only"
    shown = (row for held in cells.values() for row in held.values())
    remarks = _remarks(columns) + replaced + rows.mixed(shown) + _disorder(columns, cells)
    if known and any(is_published(column.signature) for column in columns) and (why := incomparable(known)):
        remarks.append(f"published numbers of this table compare with none made here: {why}")
    return Table(protocol, title, columns, {model: cells[model] for model in models}, remarks)


def _column(row: Row) -> Column:
    return Column(row.metric, row.signature, row.direction, row.unit)


def _without_answered_gaps(group: list[Row]) -> list[Row]:
    """Put what was not available into the column of those who have it; drop it where the model has a number by now."""
    columns = {
        row.metric: row.signature
        for row in reversed(group)
        if row.value is not None and not is_published(row.signature)
    }
    numbers = {(row.model, row.metric) for row in group if row.value is not None and not is_published(row.signature)}
    return [
        row if row.value is not None else replace(row, signature=columns.get(row.metric, row.signature))
        for row in group
        if row.value is not None or (row.model, row.metric) not in numbers
    ]


def _rank(column: Column, row: Row | None) -> tuple[bool, float]:
    if row is None or row.value is None:
        return True, 0.0
    return False, -row.value if column.direction == "higher" else row.value


def _disorder(columns: Sequence[Column], cells: dict[str, dict[Column, Row]]) -> list[str]:
    """Say where a sanity row surely stands above what must obey better: neither metric nor model is to be trusted there."""
    measured = {metric for suite in suites.load_all().values() for metric in suite.obedience}
    places = {model: place for model in cells if (place := _place(model)) is not None}
    remarks = []
    for column in columns:
        ranges = {
            model: _from_worst(column, row)
            for model in places
            if column.metric in measured and (row := cells[model].get(column)) and row.value is not None
        }
        remarks += [
            f"{column.metric}: {lower} stands above {upper}, which must obey better"
            for upper in ranges
            for lower in ranges
            if places[upper] > places[lower] and ranges[upper][1] < ranges[lower][0]
        ]
    return remarks


def _from_worst(column: Column, row: Row) -> tuple[float, float]:
    """Return the ends of a row's interval, the larger the better; its value twice where it has none."""
    ends = [row.value if end is None else end for end in (row.low, row.high)]
    low, high = sorted(float(end) if column.direction == "higher" else -float(end) for end in ends)  # type: ignore[arg-type]
    return low, high


def _place(model: str) -> int | None:
    """Return where a row stands among the sanity rows: models are at 0; None if it is one without a place."""
    try:
        leaf = registry.find("baselines", model)
    except VbenchError:  # of somebody else's, which does not load
        return None
    return 0 if leaf is None or generation.is_trained(leaf) else getattr(leaf, "SANITY", None)


def _remarks(columns: Sequence[Column]) -> list[str]:
    """Say why a metric has more than one column."""
    remarks = []
    for metric in dict.fromkeys(column.metric for column in columns):
        signatures = [c.signature for c in columns if c.metric == metric and not is_published(c.signature)]
        for number, signature in enumerate(signatures[1:], 2):
            why = rows.difference(signatures[0], signature)
            remarks.append(f"{metric} [{number}] is kept apart from {metric} [1]: their signatures differ in {why}")
        if signatures and any(c.metric == metric and is_published(c.signature) for c in columns):
            remarks.append(f"published {metric} is kept apart: papers do not say how they computed it in every detail")
    return remarks


# Where rows come from


def collect(
    paths: Sequence[Path],
    root: str | Path | None = None,
    published: bool = True,
    include_unverified: bool = False,
    wanted: Sequence[str] = (),
) -> list[Row]:
    """Return the rows of files, or of all that was scored here, and beside them those of the literature."""
    found = [row for path in paths for row in rows.load(path)] if paths else [*scored_rows(root), *reproduced_rows()]
    literature = published_rows(include_unverified=True) if published else []
    shown = [row for row in literature if include_unverified or row.signature == PUBLISHED]
    known = {row.protocol for row in found}
    found += [row for row in shown if wanted or not paths or row.protocol in known]
    return select(found, wanted, {row.protocol for row in literature})


def scored_rows(root: str | Path | None = None) -> list[Row]:
    """Return the rows that `score` saved on this machine."""
    found = sorted(path for path in (files.home(root) / "rows").rglob("*.json") if not path.name.startswith("."))
    return [row for path in found for row in rows.load(path)]


def reproduced_rows() -> list[Row]:
    """Return the rows that come with the toolkit."""
    return [row for path in reproduced() for row in rows.load(path)]


def reproduced() -> list[Path]:
    """Return the files of the rows that come with the toolkit."""
    return sorted((_results() / "reproduced").glob("*.json"))


def shipped_tables() -> Path:
    """Return the folder of the tables that come with the toolkit: those of `reproduced`."""
    return _results() / "tables"


def _results() -> Path:
    return Path(next(iter(importlib.import_module("vbench_ctl.results").__path__)))


def published_rows(include_unverified: bool = False) -> list[Row]:
    """Return the numbers of the literature; those that nobody has looked up in a paper stay hidden by default."""
    with open(_results() / "published.csv", encoding="utf-8", newline="") as file:
        return [
            _published_row(entry) for entry in csv.DictReader(file) if include_unverified or entry["verified"] == "true"
        ]


def direction(metric: str) -> str:
    """Say which way a metric of a protocol is better: as ours is, or as papers have it that no metric here computes."""
    return protocols.WITHOUT_COUNTERPART.get(metric) or tokens.metric(metric).direction


def incomparable(protocol: protocols.Protocol) -> str:
    """Say why the published numbers of a protocol compare with none made here; an empty text if they do."""
    return "" if protocol.select else f"how they were made is not known; {protocol.note}"


def _published_row(entry: dict[str, str]) -> Row:
    value = float(entry["value"])
    spread = float(entry["std"]) if entry["std"] else None
    verified = entry["verified"] == "true"
    protocol = protocols.load(entry["protocol"])
    metric = protocols.published_metric(protocol, entry["metric"])
    return Row(
        metric=metric,
        value=value,
        low=value - spread if spread else None,
        high=value + spread if spread else None,
        direction=direction(metric),
        n=0,
        protocol=entry["protocol"],
        signature=PUBLISHED if verified else UNVERIFIED,
        model=f"{entry['method']} ({entry['year']})",
        dataset=entry["dataset"],
        note=entry["note"],
        provenance={
            "source": entry["source"],
            "verified": verified,
            "compares_with": f"none: {why}" if (why := incomparable(protocol)) else protocol.id,
            "interval": "one standard deviation" if spread else "",
        },
    )


# How tables are shown


def number(row: Row | None) -> str:
    """Format one cell: four significant digits and the interval."""
    if row is None:
        return ""
    if row.value is None:
        return "n/a (weights) *" if "weights" in row.note else "n/a *" if row.note else "n/a"
    text = f"{row.value:.4g}"
    if row.low is not None and row.high is not None:
        text += f" [{row.low:.4g}, {row.high:.4g}]"
    return text + (" *" if row.note else "")


def write(found: Sequence[Table], csv_path: Path | None, markdown_path: Path | None) -> None:
    """Write tables as CSV and as markdown, each where a path is given."""
    for path, text in ((csv_path, as_csv), (markdown_path, markdown)):
        if path:
            with files.turn(path):
                files.write_text(path, text(found))


def write_each(found: Sequence[Table], folder: Path) -> None:
    """Write a markdown and a CSV file for each table into a folder."""
    for name, text in _texts(found).items():
        with files.turn(folder / name):
            files.write_text(folder / name, text)


def check_each(found: Sequence[Table], folder: Path) -> None:
    """Refuse a folder of tables that is not what the rows give."""
    wanted = _texts(found)
    wrong = [name for name, text in wanted.items() if not _holds(folder / name, text)]
    if wrong:
        raise VbenchError(
            f"{folder}: {', '.join(wrong)}: not what the rows give; run leaderboard with those rows and --tables {folder} to write them anew"
        )
    if more := sorted({path.name for path in folder.glob("*@*") if path.suffix in (".md", ".csv")} - wanted.keys()):
        raise VbenchError(f"{folder}: there are no rows for {', '.join(more)}; remove what is out of date")


def _holds(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text("utf-8") == text


def _texts(found: Sequence[Table]) -> dict[str, str]:
    names = {table.protocol: re.sub(r"^\.|[^\w.@+-]", "_", table.protocol) for table in found}
    return {
        f"{names[table.protocol]}{suffix}": text([table])
        for table in found
        for suffix, text in ((".md", markdown), (".csv", as_csv))
    }


def markdown(found: Sequence[Table]) -> str:
    """Return the tables as markdown."""
    parts = []
    for table in found:
        lines = [f"### {_plain(table.protocol)}", "", _plain(table.title), ""]
        lines.append("| " + " | ".join(["model", *map(_plain, table.labels())]) + " |")
        lines.append("|" + "---|" * (1 + len(table.columns)))
        for model, cells in table.cells.items():
            numbers = (number(cells.get(column)) for column in table.columns)
            lines.append("| " + " | ".join(map(_plain, (model, *numbers))) + " |")
        lines += ["", *(f"- {_plain(remark)}" for remark in (*table.remarks, *notes(table)))]
        parts.append("\n".join(lines).rstrip() + "\n")
    return "\n".join(parts)


def notes(table: Table) -> list[str]:
    """Return what the stars of a table mean, its floors and its signatures."""
    starred = [
        f"* {model}, {column.metric}: {cells[column].note}"
        for model, cells in table.cells.items()
        for column in table.columns
        if column in cells and cells[column].note
    ]
    signed = [f"{label}: {column.signature}" for label, column in zip(table.labels(), table.columns, strict=True)]
    return starred + floors(table) + [line for line in signed if not line.endswith((PUBLISHED, UNVERIFIED))]


def floors(table: Table) -> list[str]:
    """Return how far real clips are from real ones, where a column says so."""
    found = {
        column: sorted(
            {f"{row.floor:.4g}" for cells in table.cells.values() if (row := cells.get(column)) and row.floor}
        )
        for column in table.columns
    }
    said = (
        f"{column.metric}: one half of the real clips against the other has {' or '.join(texts)}"
        for column, texts in found.items()
        if texts
    )
    return list(dict.fromkeys(said))


def as_csv(found: Sequence[Table]) -> str:
    """Return one line per number, for other programs."""
    text = io.StringIO(newline="")
    cell = functools.lru_cache(files.cell)  # most texts come again and again
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ["protocol", "model", "metric", "value", "low", "high", "direction", "unit", "n", "signature", "note"]
    )
    for table in found:
        for model, cells in table.cells.items():
            for c in table.columns:
                if row := cells.get(c):
                    texts = (row.direction, row.unit, str(row.n), row.signature, row.note)
                    values = ("" if v is None else repr(v) for v in (row.value, row.low, row.high))
                    writer.writerow([*map(cell, (row.protocol, model, row.metric)), *values, *map(cell, texts)])
    return text.getvalue()


def _plain(text: str) -> str:
    """Keep a text from being taken for markdown tables, links or HTML, and terminals from following its codes."""
    text = text.replace("\\", "\\\\").replace("|", "\\|").replace("](", "]\\(").replace("<", "&lt;")
    return printable(text)


def printable(text: str) -> str:
    """Keep a terminal from following the codes in a text."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def select(found: Iterable[Row], wanted: Sequence[str], unverified: Collection[str] = ()) -> list[Row]:
    """Keep the rows of the named protocols, all when none is named; of some protocols there are unverified rows besides."""
    found = list(found)
    if not wanted:
        return found
    ids = {row.protocol for row in found}
    chosen = {name if name in ids else protocols.load(name).id for name in wanted}
    kept = [row for row in found if row.protocol in chosen]
    if not kept:
        raise VbenchError(
            f"no rows for {', '.join(sorted(chosen))}; there are some for {', '.join(sorted(ids)) or 'nothing'}"
            + (", and of the protocol asked for with --include-unverified" if chosen & set(unverified) else "")
        )
    return kept
