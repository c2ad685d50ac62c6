"""vbench-ctl list"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import click

from vbench_ctl.cli import _shared
from vbench_ctl.errors import VbenchError


class Kinds(_shared.Group):
    noun = "list of"


@click.group(cls=Kinds, invoke_without_command=True, subcommand_metavar="[KIND [NAME]]")
@_shared.as_json()
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """List datasets, baselines, metrics, protocols, suites, weights.

    With a NAME, show its card.

    \b
    Examples:
        vbench-ctl list
        vbench-ctl list protocols
        vbench-ctl list protocols bair64-c1-p15@1
    """
    if ctx.invoked_subcommand is None:
        _show_names(as_json)
    elif as_json:
        raise click.UsageError(f"--json belongs behind the kind: vbench-ctl list {ctx.invoked_subcommand} --json")


@command.command()
@click.argument("name", required=False, shell_complete=_shared.known("datasets"))
@_shared.root()
@_shared.as_json()
def datasets(name: str | None, root: Path | None, as_json: bool) -> None:
    """Datasets, and which stores of them are on this machine."""
    from vbench_ctl import acquire, prepare, registry, store

    if name:
        leaf = registry.load("datasets", name)
        card = prepare.card(name, leaf)
        items = acquire.plan(name, card, [*leaf.SPLITS], root) if "file" in card else []
        states = {item.name: item.state for item in items}
        facts = {
            **{key: value for key, value in card.items() if key != "file"},
            "splits": card.get("splits", dict.fromkeys(leaf.SPLITS, "unknown")),
            "version": leaf.VERSION,
            "files": [{"name": file["name"], "state": states[file["name"]], **file} for file in card.get("file", ())],
            "stores": store.made(name, root),
            **({"store_facts": told} if (told := store.split_facts(name, root)) else {}),
            "from": registry.origin("datasets", name),
        }
        _show_card({"name": name, **facts}, as_json)
        return

    def row(dataset: str, leaf: ModuleType) -> list[str]:
        card = prepare.card(dataset, leaf)
        items = acquire.plan(dataset, card, [*leaf.SPLITS], root, (), vars(leaf.Options())) if "file" in card else []
        there = sum(item.state == "there" for item in items)
        sizes = [
            card.get("disk", {}).get(f"{what}_bytes", "unknown" if items else "-") for what in ("archive", "store")
        ]
        return [
            card.get("access", ""),
            *(_shared.gigabytes(size) if isinstance(size, int) else str(size) for size in sizes),
            f"{there}/{len(items)}" if items else "-",
            " ".join(store.made(dataset, root)) or "-",
            card.get("about", ""),
        ]

    imported = [
        [name, "imported", "-", "-", "-", " ".join(stores), "Clips of your own: prepare FOLDER --as NAME."]
        for name in store.datasets(root)
        if name not in registry.names("datasets") and (stores := store.made(name, root))
    ]
    head = ["name", "access", "download", "store", "files here", "stores here", "about"]
    _show_leaves("datasets", head, row, as_json, imported)


@command.command()
@click.argument("name", required=False, shell_complete=_shared.known("baselines"))
@_shared.as_json()
def baselines(name: str | None, as_json: bool) -> None:
    """Models that come with the toolkit, and the sanity rows."""
    from vbench_ctl import registry

    if name:
        leaf = registry.load("baselines", name)
        facts = {"name": name, "title": leaf.TITLE, "control": leaf.CONTROL, "about": (leaf.__doc__ or "").strip()}
        _show_card({**facts, "from": registry.origin("baselines", name)}, as_json)
        return

    def row(baseline: str, leaf: ModuleType) -> list[str]:
        return [leaf.CONTROL, _first_line(leaf)]

    _show_leaves("baselines", ["name", "control", "about"], row, as_json)


@command.command()
@click.argument("name", required=False, shell_complete=_shared.known("metrics"))
@_shared.as_json()
def metrics(name: str | None, as_json: bool) -> None:
    """Metrics and their variants."""
    from vbench_ctl import registry

    if name:
        leaf = registry.load("metrics", name)
        variants = {v or "default": leaf.signature(**options) for v, options in leaf.VARIANTS.items()}
        facts = {
            "name": name,
            "title": leaf.TITLE,
            "better": leaf.DIRECTION,
            "unit": leaf.UNIT or "-",
            "version": leaf.VERSION,
        }
        about = {"about": (leaf.__doc__ or "").strip(), "from": registry.origin("metrics", name)}
        _show_card({**facts, **{f"variant {v}": text for v, text in variants.items()}, **about}, as_json)
        return

    def row(metric: str, leaf: ModuleType) -> list[str]:
        variants = " ".join(f"{metric}-{variant}" for variant in leaf.VARIANTS if variant)
        return [leaf.DIRECTION, variants or "-", _first_line(leaf)]

    _show_leaves("metrics", ["name", "better", "variants", "about"], row, as_json)


@command.command(name="protocols")
@click.argument("name", required=False, shell_complete=_shared.known("protocols"))
@_shared.as_json()
def show_protocols(name: str | None, as_json: bool) -> None:
    """Benchmark protocols: which clips, frames, samples and metrics."""
    from vbench_ctl import protocols

    if name:
        _show_card(dict(protocols.card(protocols.load(name))), as_json)
        return
    rows = protocols.summary_rows()
    _show_table(list(rows[0]), [list(row.values()) for row in rows], as_json)


@command.command(name="suites")
@click.argument("name", required=False, shell_complete=_shared.known("suites"))
@_shared.as_json()
def show_suites(name: str | None, as_json: bool) -> None:
    """Lists of metrics for `score --suite`."""
    from vbench_ctl import suites

    if name:
        suite = suites.load(name)
        _show_card({"name": suite.name, "about": suite.about, "metrics": list(suite.metrics)}, as_json)
        return
    rows = [[suite.name, str(len(suite.metrics)), suite.about] for suite in suites.load_all().values()]
    _show_table(["name", "metrics", "about"], rows, as_json)


@command.command(name="weights")
@click.argument("name", required=False, shell_complete=_shared.known("weights"))
@_shared.root()
@_shared.as_json()
def show_weights(name: str | None, root: Path | None, as_json: bool) -> None:
    """Networks that scores are defined on; `vbench-ctl weights status` says which are here."""
    from vbench_ctl import weights

    if name:
        weights.check_name(name)
        (state,) = (status for status in weights.status(root) if status.name == name)
        entry = weights.known()[name]
        sources = [source.url or source.page or f"{source.package} {source.archive}" for source in entry.sources]
        card = {"name": name, "title": entry.title, "licence": entry.licence, "homepage": entry.homepage}
        _show_card({**card, "state": state.state, "sources": sources}, as_json)
        return
    states = {status.name: status.state for status in weights.status(root)}
    rows = [[entry.name, states[entry.name], entry.title] for entry in weights.known().values()]
    _show_table(["name", "state", "title"], rows, as_json)


def _show_names(as_json: bool) -> None:
    from vbench_ctl import protocols, registry, suites, weights

    names = {kind: registry.names(kind) for kind in registry.FOLDERS}
    data = {"protocols": [*protocols.load_all()], "suites": [*suites.load_all()], "weights": [*weights.known()]}
    _show_card({**names, **data}, as_json)


def _show_leaves(
    kind: str,
    head: list[str],
    row: Callable[[str, ModuleType], list[str]],
    as_json: bool,
    more: Sequence[list[str]] = (),
) -> None:
    """Show a row for each leaf, and more; one that does not load says why and leaves the others alone."""
    from vbench_ctl import registry

    rows = []
    for name in registry.names(kind):
        try:
            rows.append([name, *row(name, registry.load(kind, name))])
        except VbenchError as error:
            rows.append([name, "broken", *["-"] * (len(head) - 3), str(error)])
    _show_table(head, [*rows, *more], as_json)


def _first_line(leaf: ModuleType) -> str:
    return (leaf.__doc__ or "").strip().partition("\n")[0]


def _show_table(head: list[str], rows: list[list[str]], as_json: bool) -> None:
    if as_json:
        _shared.print_json([dict(zip(head, row, strict=True)) for row in rows])
    else:
        _shared.print_table(head, rows)


def _show_card(fields: dict, as_json: bool) -> None:
    if as_json:
        _shared.print_json(fields)
        return
    _shared.print_card([*_lines(fields)])


def _lines(fields: dict) -> Iterator[tuple[str, str]]:
    """Yield the labels and texts of a card; each table of a list has lines of its own below its name."""
    for label, value in fields.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            for (_, name), *rest in map(_lines, value):
                yield label.removesuffix("s"), name
                yield from ((f"  {below}", text) for below, text in rest)
        else:
            yield label, _text(label, value)


def _text(label: str, value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key.removesuffix('_bytes')} {_text(key, each)}" for key, each in value.items())
    if isinstance(value, int) and label.endswith("_bytes"):
        return _shared.gigabytes(value)
    if isinstance(value, int) and label == "size":
        return f"{value:,} bytes"
    return (" ".join(map(str, value)) or "-") if isinstance(value, list) else " ".join(str(value).split())
