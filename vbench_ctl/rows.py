"""Row: one score with everything that says how it was made."""

import dataclasses
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vbench_ctl import files
from vbench_ctl.errors import VbenchError

if TYPE_CHECKING:  # commands must not wait for pandas
    import pandas

_NUMBER = (int, float, type(None))
_KINDS = {
    "value": _NUMBER,
    "low": _NUMBER,
    "high": _NUMBER,
    "floor": _NUMBER,
    "n": (int,),
    "per_frame": (list,),
    "provenance": (dict,),
    "details": (dict,),
}


@dataclass(frozen=True)
class Row:
    """One number of a leaderboard; `signature` is equal for two numbers exactly if they were computed alike."""

    metric: str
    value: float | None  # None: not available, `note` says why
    low: float | None
    high: float | None
    direction: str  # "higher" or "lower" is better
    n: int  # clips
    protocol: str
    signature: str
    model: str
    unit: str = ""
    dataset: str = ""
    note: str = ""
    floor: float | None = None  # a set metric of one half of the real clips against the other
    per_frame: list[float] = field(default_factory=list)  # the mean at each scored frame; of "fvd-prefix" FVD up to it
    provenance: dict[str, Any] = field(default_factory=dict)
    # tables of its own that a metric has: "confusion" and the like
    details: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


NESTED = ("per_frame", "provenance", "details")  # fields that no cell of a table holds


def table(rows: Iterable[Row]) -> "pandas.DataFrame":
    """Return rows as a pandas table with a line for each, for notebooks."""
    import pandas

    columns = [each.name for each in dataclasses.fields(Row) if each.name not in NESTED]
    return pandas.DataFrame([[getattr(row, name) for name in columns] for row in rows], columns=columns)


SIGNATURE_FIELDS = ("metric", "variant", "network", "frames", "clips x samples", "computation", "version")


def signature(metric: str, variant: str, network: str, frames: str, count: str, computation: str, version: int) -> str:
    """Join what decides a number into one line, such as psnr|default|-|15f|256x1|rgb,peak255|v1."""
    return "|".join((metric, variant or "default", network or "-", frames, count, computation, f"v{version}"))


def difference(a: str, b: str) -> str:
    """Say in which fields two signatures differ; one that is not ours is shown whole."""
    fields = a.split("|"), b.split("|")
    if {len(SIGNATURE_FIELDS)} != set(map(len, fields)):
        return f"{a} / {b}"
    return ", ".join(f"{name} {x} / {y}" for name, x, y in zip(SIGNATURE_FIELDS, *fields, strict=True) if x != y)


def save(path: Path, rows: Iterable[Row]) -> None:
    """Write rows as JSON, replacing earlier rows of the same model, protocol and signature; processes take turns."""
    rows = list(rows)
    fresh = {_identity(row) for row in rows}
    with files.turn(path):
        kept = [row for row in load(path) if _identity(row) not in fresh] if path.exists() else []
        files.write_json(path, [row.to_json() for row in (*kept, *rows)])


def load(path: Path) -> list[Row]:
    """Read rows that `save` or `score --json` wrote."""
    data = files.read_json(path)
    known = {f.name for f in dataclasses.fields(Row)}
    needed = {f.name for f in dataclasses.fields(Row) if f.default is dataclasses.MISSING} - {*NESTED}
    if not isinstance(data, list):
        raise VbenchError(
            f"{path}: expected a list of rows, found {type(data).__name__}; move it away or name another file"
        )
    rows = []
    for number, entry in enumerate(data):
        missing = needed - set(entry) if isinstance(entry, dict) else needed
        if missing or set(entry) - known:
            wrong = (
                f"lacks {', '.join(sorted(missing))}"
                if missing
                else f"has unknown {', '.join(sorted(set(entry) - known))}, perhaps of a later version: use that one"
            )
            raise VbenchError(f"{path}: row {number} {wrong}")
        _check_values(f"{path}: row {number}", entry)
        rows.append(Row(**entry))
    return rows


def mixed(found: Iterable[Row]) -> list[str]:
    """Say of which models there are rows of different sets of clips under one name."""
    sets: dict[tuple[str, str, str], dict[str, list[str]]] = {}
    for row in found:
        if clips := row.provenance.get("outputs_sha256"):
            name = row.protocol, row.model, str(row.provenance.get("coded", ""))
            sets.setdefault(name, {}).setdefault(str(clips), []).append(row.metric)
    return [
        f"{model}: {' and '.join(', '.join(dict.fromkeys(metrics)) for metrics in held.values())} are of different clips; "
        "score them anew, or tell the models apart with --model"
        for (_, model, _), held in sets.items()
        if len(held) > 1
    ]


def _check_values(place: str, entry: dict[str, Any]) -> None:
    """Refuse values of another kind than Row's."""
    for key, value in entry.items():
        kinds = _KINDS.get(key, (str,))
        if isinstance(value, float) and not math.isfinite(value):
            raise VbenchError(f"{place}: {key} is {value}, expected a finite number, or null where there is none")
        if not isinstance(value, kinds) or (isinstance(value, int) and not files.is_number(value)):
            raise VbenchError(f"{place}: {key} is {value!r}, expected {' or '.join(kind.__name__ for kind in kinds)}")
    if not all(map(files.is_number, entry.get("per_frame", ()))):
        raise VbenchError(f"{place}: per_frame is {entry['per_frame']!r}, expected numbers")
    for kind, held in entry.get("details", {}).items():
        if (kind.startswith("confusion") and not _is_confusion(held)) or (kind == "actions" and not _is_actions(held)):
            raise VbenchError(f"{place}: its table {kind} is not as the metrics write it; remove it from details")
    if entry["n"] < 0:
        raise VbenchError(f"{place}: n is {entry['n']}, expected how many clips were scored")
    if entry["direction"] not in ("higher", "lower"):
        raise VbenchError(f"{place}: direction is {entry['direction']!r}, expected higher or lower")


def _is_confusion(held: Any) -> bool:
    """Tell whether something is {"labels": [...], "counts": [[...], ...]} with a line for each label."""
    if not isinstance(held, dict) or not isinstance(held.get("labels"), list) or not _is_table(held.get("counts")):
        return False
    return len(held["labels"]) == len(held["counts"])


def _is_actions(held: Any) -> bool:
    """Tell whether something is [{"action": ..., "quantiles": [11 vectors]}, ...]."""
    return isinstance(held, list) and all(
        isinstance(each, dict)
        and "action" in each
        and _is_table(each.get("quantiles"))
        and (len(each["quantiles"]), len(each["quantiles"][0])) == (11, len(held[0]["quantiles"][0]))
        for each in held
    )


def _is_table(held: Any) -> bool:
    """Tell whether something is lines of equally many finite numbers."""
    if not isinstance(held, list) or not all(isinstance(line, list) and line for line in held):
        return False
    numbers = [value for line in held for value in line]
    return all(files.is_number(value) and math.isfinite(value) for value in numbers) and len(set(map(len, held))) == 1


def _identity(row: Row) -> tuple[str, str, str, str]:
    return row.model, row.protocol, row.metric, row.signature
