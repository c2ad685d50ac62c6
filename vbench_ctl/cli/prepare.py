"""vbench-ctl prepare"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from vbench_ctl import execute, registry
from vbench_ctl.cli import _shared
from vbench_ctl.errors import UsageError, VbenchError

if TYPE_CHECKING:  # --help must not import numpy
    from vbench_ctl import acquire, prepare

SHOWN_DROPS = 10


class Datasets(_shared.Group):
    """One command per dataset, with the dataset's own options; a folder is imported."""

    noun = "dataset"

    def list_commands(self, ctx: click.Context) -> list[str]:
        return registry.names("datasets")

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name in self.list_commands(ctx):
            return dataset_command(name)
        if Path(name).exists():
            return import_command(Path(name))
        if "/" in name:
            known = ", ".join(self.list_commands(ctx))
            raise VbenchError(f"{name}: not there; expected a dataset ({known}) or a folder of clips")
        return None

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        names = [CompletionItem(name) for name in self.list_commands(ctx) if name.startswith(incomplete)]
        return names + click.Command.shell_complete(self, ctx, incomplete)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Datasets"):
            formatter.write_dl([(name, _about(name)) for name in self.list_commands(ctx)])


def _about(name: str) -> str:
    from vbench_ctl import prepare

    try:
        return prepare.card(name).get("about", "")
    except VbenchError as error:
        return f"broken: {error}"


@click.group(cls=Datasets, subcommand_metavar="(DATASET | FOLDER --as NAME) [OPTIONS]...")
def command() -> None:
    """Make the store of a dataset or of a folder.

    Download or generate DATASET and convert it; or import a FOLDER of clips.

    \b
    Examples:
        vbench-ctl prepare wsprites --split test --limit 32
        vbench-ctl prepare my_videos/ --as mine --size 64x64
        vbench-ctl prepare wsprites --help          (a dataset's own options)
    """


def dataset_command(name: str) -> click.Command:
    """Build the command of one dataset from its options and its card."""
    from vbench_ctl import acquire, prepare

    leaf = registry.load("datasets", name)
    card = prepare.card(name, leaf)
    usual = prepare.plan(name)
    others = "".join(f"; {split} with {option}" for split, option in usual.other_splits.items())

    @click.argument("more", nargs=-1, type=_shared.FOLDER, metavar="")
    @click.option(
        "--split",
        "splits",
        multiple=True,
        help=f"Only these splits.  [default: all of {', '.join(usual.splits)}{others}]",
    )
    @click.option(
        "--limit", type=click.IntRange(min=1), help="Only so many clips of each split; the store's name says so."
    )
    @_encoding()
    @click.option("--strict", is_flag=True, help="Fail if any clip cannot be used.")
    @click.option("--verify", is_flag=True, help="Recount and rehash the store that is there.")
    @_shared.root()
    @_shared.executor()
    @_shared.workers()
    @_shared.dry_run()
    @_shared.as_json()
    def run(
        more: tuple[Path, ...],
        splits: tuple[str, ...],
        limit: int | None,
        encoding: str | None,
        strict: bool,
        verify: bool,
        root: Path | None,
        workers: execute.Workers,
        dry_run: bool,
        as_json: bool,
        archive: tuple[Path, ...] = (),
        yes: bool = True,
        export_lock: bool = False,
        cookies: str | None = None,
        rate: str | None = None,
        **options: Any,
    ) -> None:
        if more and not archive:
            raise UsageError(f"{more[0]}: files that you have are given with --archive")
        plan = prepare.plan(name, root, splits, limit, encoding, (*archive, *more), **options)
        if export_lock:
            click.echo(acquire.export_lock(root, name), nl=False)
        elif verify:
            _show_checks(plan.folder, prepare.verify(plan, workers), as_json)
        elif dry_run:
            _announce(plan.folder, (name, plan.variant), plan.clips(), plan.missing, as_json, plan)
        else:
            todo, items = plan.missing, plan.files()
            if todo and items and not any(item.state == "by hand" for item in items):  # what is lacking is said first
                _ask(plan, todo, items, yes)
            manifest = prepare.make(plan, workers, strict, plan.reads_files, cookies=cookies, rate=rate)
            _report(plan.folder, manifest, todo, as_json)

    made = click.command(name, help=card.get("about", ""))(run)
    own, common = _shared.own_options(leaf), [*_file_options(card), *made.params]
    if taken := {each.name for each in own} & {each.name for each in common}:
        raise VbenchError(f"dataset {name}: its option {min(taken, key=str)} is one of prepare itself; rename it")
    made.params = [*own, *common]
    return made


def _file_options(card: dict[str, Any]) -> list[click.Parameter]:
    """Return the options of a dataset that is read from files."""
    if "file" not in card:
        return []
    archive = click.Option(
        ["--archive"], multiple=True, type=_shared.FOLDER, help="Files or folders that you have, instead of a download."
    )
    yes = click.Option(["--yes"], is_flag=True, help="Accept the licence and the disk space without being asked.")
    lock = click.Option(["--export-lock"], is_flag=True, help="Print the hashes that the first download recorded.")
    cookies = click.Option(["--cookies"], help="Browser whose login YouTube is shown, such as firefox.")
    rate = click.Option(["--rate"], help="Limit of YouTube downloads in bytes a second, such as 2M.")
    youtube = card.get("youtube", any(file.get("kind") == "youtube" for file in card["file"]))
    return [archive, yes, lock, *([cookies, rate] if youtube else [])]


def _encoding() -> _shared.Decorator:
    from vbench_ctl import shards

    text = "How frames are kept.  [default: raw, above 128x128 png]"
    return click.option("--encoding", type=click.Choice(shards.ENCODINGS), help=text)


def import_command(source: Path) -> click.Command:
    """Build the command that imports a folder or an array file."""
    from vbench_ctl import building, importers, store

    @click.command(str(source), help="Make a store from a folder of clips, in any of the layouts the field uses.")
    @click.option("--as", "name", required=True, help="Name of the new dataset.")
    @click.option(
        "--layout",
        type=click.Choice(["auto", *importers.LAYOUTS]),
        default="auto",
        show_default=True,
        help="How the clips lie there; auto goes by the first of them.",
    )
    @click.option(
        "--size",
        callback=_shared.size,
        metavar="WIDTHxHEIGHT",
        help="Resize frames and masks; other tracks stay as they are.",
    )
    @click.option("--limit", type=click.IntRange(min=1), help="Only the first so many clips of each split.")
    @_encoding()
    @click.option("--strict", is_flag=True, help="Fail if any clip cannot be used.")
    @_shared.root()
    @_shared.executor()
    @_shared.workers()
    @_shared.dry_run()
    @_shared.as_json()
    def run(
        name: str,
        layout: str,
        size: tuple[int, int] | None,
        limit: int | None,
        encoding: str | None,
        strict: bool,
        root: Path | None,
        workers: execute.Workers,
        dry_run: bool,
        as_json: bool,
    ) -> None:
        if name in registry.names("datasets"):
            raise UsageError(f'"{name}" is a dataset of its own; choose another name for --as')
        recipe = importers.recipe(source, name, layout, size, encoding, limit)
        folder = store.store_path(name, recipe.variant, recipe.version, root)
        todo = store.missing(folder, recipe.work)
        if dry_run:
            clips = {split: sum(len(part.sources) for part in parts) for split, parts in recipe.work.items()}
            _announce(folder, (name, recipe.variant), clips, todo, as_json)
            return
        _report(folder, building.build(folder, recipe, workers, strict), todo, as_json)

    return run


def _announce(
    folder: Path,
    name: tuple[str, str],
    clips: dict[str, int],
    todo: Sequence[str],
    as_json: bool,
    plan: "prepare.Plan | None" = None,
) -> None:
    dataset, variant = name
    size_bytes, items = (plan.size_bytes(todo), plan.files()) if plan else (None, [])
    if as_json:
        facts = {"store": str(folder), "dataset": dataset, "variant": variant, "clips": clips, "todo": [*todo]}
        wanted = [{**item._asdict(), "target": str(item.target)} for item in items]
        coming = {"files": wanted, "archive_bytes": plan.archive_bytes} if plan and wanted else {}
        _shared.print_json({**facts, "size_bytes": size_bytes, **coming})
        return
    if plan and items:
        rows = [[item.name, _size(item.size), item.state, item.origin] for item in items]
        _shared.print_table(["file", "size", "state", "from"], rows)
        if todo:
            click.echo(f"{_coming(plan, items)} to download and unpack")
    for split, count in clips.items():
        click.echo(f"{dataset} {variant} {split}: {count} clips{'' if split in todo else ', made already'}")
    click.echo(f"{folder}" if size_bytes is None else f"{_shared.gigabytes(size_bytes)} in {folder}")


def _size(size: int | str) -> str:
    return _shared.gigabytes(size) if isinstance(size, int) else "unknown"


def _coming(plan: "prepare.Plan", items: "Sequence[acquire.Item]") -> str:
    """Say how much is still to come; where that is not known, how much the whole data set is."""
    known = sum(item.needed for item in items)
    if all(isinstance(item.size, int) or not item.state.startswith(("missing", "partly")) for item in items):
        return _shared.gigabytes(known)
    whole = f" (the whole data set: {_size(plan.archive_bytes)})" if plan.archive_bytes != "unknown" else ""
    return f"{f'{_shared.gigabytes(known)} and ' if known else ''}files of unknown size{whole}"


def _ask(plan: "prepare.Plan", todo: Sequence[str], items: "Sequence[acquire.Item]", yes: bool) -> None:
    """Show what comes and under which licence, and let the user agree."""
    store_size = _shared.gigabytes(plan.size_bytes(todo))
    for label in ("title", "licence", "citation"):
        click.echo(f"{label}: {' '.join(str(plan.card.get(label, 'unknown')).split())}", err=True)
    click.echo(f"disk: {_coming(plan, items)} to download and unpack, {store_size} in {plan.folder}", err=True)
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError(f"{plan.name}: nobody to ask; add --yes if you accept the licence and the disk space")
    click.confirm("Go on?", abort=True, err=True)


def _show_checks(folder: Path, checks: "list[prepare.Check]", as_json: bool) -> None:
    if as_json:
        _shared.print_json([{**check._asdict(), "good": check.good} for check in checks])
    else:
        rows = [
            [check.split, check.what, check.expected, check.found, "good" if check.good else "WRONG", check.note]
            for check in checks
        ]
        _shared.print_table(["split", "what", "expected", "found", "", ""], rows)
    if bad := [check for check in checks if not check.good]:
        note = f" ({bad[0].note})" if bad[0].note else ""
        raise VbenchError(
            f"{folder}: {bad[0].what} of {bad[0].split} is {bad[0].found}{note}, expected {bad[0].expected}; "
            "remove the store and prepare it again"
        )


def _report(folder: Path, manifest: dict[str, Any], made_now: Sequence[str], as_json: bool) -> None:
    if not made_now:
        click.echo("the store was complete: nothing done", err=True)
    if as_json:
        _shared.print_json({"store": str(folder), **manifest})
        return
    for split, made in manifest["splits"].items():
        text = f"{split}: {made['clips']} clips, {made['frames']} frames of {made['width']}x{made['height']}"
        click.echo(f"{text}, content_sha256 {made['content_sha256']}")
        for drop in made["dropped"][:SHOWN_DROPS]:
            click.echo(f"{split}: left out {drop['id']}: {drop['reason']}", err=True)
        if len(made["dropped"]) > SHOWN_DROPS:
            click.echo(f"{split}: {len(made['dropped'])} clips left out, all in {folder / 'dropped.csv'}", err=True)
    click.echo(f"store: {folder}")
