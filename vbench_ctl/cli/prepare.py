"""vbench-ctl prepare"""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

import click
from click.shell_completion import CompletionItem

from vbench_ctl import execute, registry
from vbench_ctl.cli import _shared
from vbench_ctl.errors import UsageError, VbenchError

if TYPE_CHECKING:  # --help must not import numpy
    from vbench_ctl.store import Recipe


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
    """Build the command of one dataset from its options."""
    from vbench_ctl import prepare, store

    leaf = registry.load("datasets", name)
    types = get_type_hints(leaf.Options)
    own = [
        click.Option(
            [f"--{field.name.replace('_', '-')}"],
            default=field.default,
            type=click.Choice(field.metadata["choices"]) if field.metadata["choices"] else types[field.name],
            show_default=field.default != "",
            help=field.metadata["help"],
        )
        for field in dataclasses.fields(leaf.Options)
    ]
    about = prepare.card(name, leaf).get("about", "")

    @click.option(
        "--split", "splits", multiple=True, help=f"Only these splits.  [default: all of {', '.join(leaf.SPLITS)}]"
    )
    @click.option(
        "--limit", type=click.IntRange(min=1), help="Only so many clips of each split; the store's name says so."
    )
    @click.option(
        "--encoding", type=click.Choice(store.ENCODINGS), help="How frames are kept.  [default: raw, above 128x128 png]"
    )
    @_shared.root()
    @_shared.executor()
    @_shared.workers()
    @_shared.dry_run()
    @_shared.as_json()
    @click.pass_context
    def run(
        ctx: click.Context,
        splits: tuple[str, ...],
        limit: int | None,
        encoding: str | None,
        root: Path | None,
        workers: execute.Workers,
        dry_run: bool,
        as_json: bool,
        **options: Any,
    ) -> None:
        plan = prepare.plan(name, root, splits, limit, encoding, **options)
        todo = prepare.missing(plan.folder, plan.recipe)
        if dry_run:
            size_bytes = sum(plan.size_bytes[split] for split in todo)
            _announce(plan.folder, plan.recipe, plan.clips, todo, size_bytes, as_json)
            return
        _report(plan.folder, prepare.make(plan, workers), todo, as_json)

    made = click.command(name, help=about)(run)
    made.params = [*own, *made.params]
    return made


def import_command(source: Path) -> click.Command:
    """Build the command that imports a folder or an array file."""
    from vbench_ctl import importers, prepare, store

    @click.command(str(source), help="Make a store from a folder of clips, in any of the layouts the field uses.")
    @click.option("--as", "name", required=True, help="Name of the new dataset.")
    @click.option(
        "--layout",
        type=click.Choice(["auto", *importers.LAYOUTS]),
        default="auto",
        show_default=True,
        help="How the clips lie there; auto goes by the first of them.",
    )
    @click.option("--size", callback=_shared.size, metavar="WIDTHxHEIGHT", help="Resize the frames.")
    @click.option("--limit", type=click.IntRange(min=1), help="Only the first so many clips of each split.")
    @click.option(
        "--encoding", type=click.Choice(store.ENCODINGS), help="How frames are kept.  [default: raw, above 128x128 png]"
    )
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
        todo = prepare.missing(folder, recipe)
        if dry_run:
            clips = {split: sum(len(part.sources) for part in parts) for split, parts in recipe.work.items()}
            _announce(folder, recipe, clips, todo, None, as_json)
            return
        _report(folder, store.build(folder, recipe, workers, strict), todo, as_json)

    return run


def _announce(
    folder: Path, recipe: "Recipe", clips: dict[str, int], todo: list[str], size_bytes: int | None, as_json: bool
) -> None:
    if as_json:
        facts = {"dataset": recipe.dataset, "variant": recipe.variant, "clips": clips, "todo": todo}
        _shared.print_json({"store": str(folder), **facts, "size_bytes": size_bytes})
        return
    for split, count in clips.items():
        click.echo(
            f"{recipe.dataset} {recipe.variant} {split}: {count} clips{'' if split in todo else ', made already'}"
        )
    click.echo(f"{folder}" if size_bytes is None else f"{_shared.gigabytes(size_bytes)} in {folder}")


def _report(folder: Path, manifest: dict[str, Any], made_now: list[str], as_json: bool) -> None:
    if not made_now:
        click.echo("the store was complete: nothing done", err=True)
    if as_json:
        _shared.print_json({"store": str(folder), **manifest})
        return
    for split, made in manifest["splits"].items():
        text = f"{split}: {made['clips']} clips, {made['frames']} frames of {made['width']}x{made['height']}"
        click.echo(f"{text}, content_sha256 {made['content_sha256']}")
        for drop in made["dropped"]:
            click.echo(f"{split}: left out {drop['id']}: {drop['reason']}", err=True)
    click.echo(f"store: {folder}")
