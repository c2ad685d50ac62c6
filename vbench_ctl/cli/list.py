"""vbench-ctl list"""

import click

from vbench_ctl.cli import _shared


@click.group()
def command() -> None:
    """List what there is: datasets, baselines, metrics, protocols. With a NAME, show its card.

    \b
    Examples:
        vbench-ctl list protocols
        vbench-ctl list protocols bair64-c1-p15@1
    """


@command.command()
@click.argument("name", required=False)
@_shared.root()
@_shared.as_json()
def datasets(name: str | None, root: str | None, as_json: bool) -> None:
    """Datasets, and which stores of them are on this machine."""
    from vbench_ctl import files, prepare, registry, store

    def stores(dataset: str) -> list[str]:
        folders = sorted((files.home(root) / "stores" / dataset).glob("*@*"))
        return [folder.name for folder in folders if store.is_store(folder)]

    if name:
        leaf = registry.load("datasets", name)
        card = {
            **prepare.card(name, leaf),
            "splits": list(leaf.SPLITS),
            "version": leaf.VERSION,
            "stores": stores(name),
        }
        _show_card({"name": name, **card, "from": registry.origin("datasets", name)}, as_json)
        return
    cards = {dataset: prepare.card(dataset) for dataset in registry.names("datasets")}
    _show_table(
        ["name", "access", "stores here", "about"],
        [[d, c.get("access", ""), " ".join(stores(d)) or "-", c.get("about", "")] for d, c in cards.items()],
        as_json,
    )


@command.command()
@click.argument("name", required=False)
@_shared.as_json()
def baselines(name: str | None, as_json: bool) -> None:
    """Models that come with the toolkit, and the sanity rows."""
    from vbench_ctl import registry

    if name:
        leaf = registry.load("baselines", name)
        facts = {"name": name, "title": leaf.TITLE, "control": leaf.CONTROL, "about": (leaf.__doc__ or "").strip()}
        _show_card({**facts, "from": registry.origin("baselines", name)}, as_json)
        return
    leaves = {baseline: registry.load("baselines", baseline) for baseline in registry.names("baselines")}
    rows = [[b, leaf.CONTROL, (leaf.__doc__ or "").partition("\n")[0]] for b, leaf in leaves.items()]
    _show_table(["name", "control", "about"], rows, as_json)


@command.command()
@click.argument("name", required=False)
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
    leaves = {metric: registry.load("metrics", metric) for metric in registry.names("metrics")}
    rows = [
        [
            m,
            leaf.DIRECTION,
            " ".join(f"{m}-{v}" for v in leaf.VARIANTS if v) or "-",
            (leaf.__doc__ or "").partition("\n")[0],
        ]
        for m, leaf in leaves.items()
    ]
    _show_table(["name", "better", "variants", "about"], rows, as_json)


@command.command(name="protocols")
@click.argument("name", required=False)
@_shared.as_json()
def show_protocols(name: str | None, as_json: bool) -> None:
    """Benchmark protocols: which clips, frames, samples and metrics."""
    from vbench_ctl import protocols

    if name:
        _show_card(dict(protocols.card(protocols.load(name))), as_json)
        return
    rows = protocols.summary_rows()
    _show_table(list(rows[0]), [list(row.values()) for row in rows], as_json)


def _show_table(head: list[str], rows: list[list[str]], as_json: bool) -> None:
    if as_json:
        _shared.print_json([dict(zip(head, row, strict=True)) for row in rows])
    else:
        _shared.print_table(head, rows)


def _show_card(fields: dict, as_json: bool) -> None:
    if as_json:
        _shared.print_json(fields)
        return
    texts = {k: " ".join(map(str, v)) if isinstance(v, list) else " ".join(str(v).split()) for k, v in fields.items()}
    _shared.print_card(list(texts.items()))
