"""Options and output that mean the same in every command."""

import dataclasses
import functools
import json
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, get_type_hints

import click
from click.core import ParameterSource
from click.shell_completion import CompletionItem

from vbench_ctl import execute, registry
from vbench_ctl.errors import VbenchError, unknown
from vbench_ctl.remote import Url, located

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]
FOLDER = click.Path(path_type=Path)
FILE = click.Path(path_type=Path, dir_okay=False)


class FolderOrUrl(click.Path):
    """A folder, or the URL of a store."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        place = located(value)
        return place if isinstance(place, Url) else super().convert(value, param, ctx)


CLIPS = FolderOrUrl(path_type=Path)


class Positive(click.ParamType):
    """A finite number above 0, such as a temperature."""

    name = "float"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not 0 < number < math.inf:
            self.fail(f"{value} is not a number above 0, such as 0.5", param, ctx)
        return number


class Group(click.Group):
    """A group that names the nearest word for an unknown one, and never fails while a shell completes a line."""

    noun = "command"

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            if self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
                raise unknown(self.noun, args[0], self.list_commands(ctx))
            return super().resolve_command(ctx, args)
        except VbenchError:
            if ctx.resilient_parsing:
                return None, None, []
            raise


def known(kind: str) -> Callable[[click.Context, click.Parameter, str], list[CompletionItem]]:
    """Complete the names of a kind: "baselines" and the like, "protocols", "suites", "presets" or "weights"."""

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        from vbench_ctl import presets, protocols, suites, weights

        data: dict[str, Callable[[], Iterable[str]]] = {
            "protocols": protocols.load_all,
            "suites": suites.load_all,
            "presets": presets.load_all,
            "weights": weights.known,
        }
        names = [*data[kind]()] if kind in data else registry.names(kind)
        return [CompletionItem(name) for name in names if name.startswith(incomplete)]

    return complete


def protocol() -> Decorator:
    text = "A named protocol; see vbench-ctl list protocols."
    return click.option("--protocol", "protocol_id", shell_complete=known("protocols"), help=text)


def numbers() -> Decorator:
    """Add --protocol, --published and --include-unverified: which numbers the tables hold."""
    options = (
        click.option(
            "--protocol", "wanted", multiple=True, shell_complete=known("protocols"), help="Only these protocols."
        ),
        click.option(
            "--published/--no-published", default=True, show_default=True, help="Numbers from the literature."
        ),
        click.option(
            "--include-unverified",
            is_flag=True,
            help="Published numbers that nobody has seen in a paper or on a page, too.",
        ),
    )
    return lambda command: functools.reduce(lambda made, option: option(made), reversed(options), command)


def root() -> Decorator:
    return click.option("--root", type=FOLDER, help="Where data lives.  [default: VBENCH_HOME or the user data folder]")


def device() -> Decorator:
    text = "Where networks run, such as cpu or cuda:1.  [default: a GPU if there is one]"
    return click.option("--device", default="auto", help=text)


def workers() -> Decorator:
    kind = click.IntRange(min=1)
    return click.option("--workers", type=kind, default=execute.cpus, show_default="all processors", help="Processes.")


def executor() -> Decorator:
    """Add --executor; the command gets its choice as `workers`."""

    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        @click.option(
            "--executor",
            type=click.Choice(["local", "ray"]),
            default="local",
            show_default=True,
            help="This machine, or all of a Ray cluster whose machines share their files: that of RAY_ADDRESS, else one "
            "that runs here.",
        )
        @functools.wraps(command)
        def choose(*arguments: Any, executor: str, workers: int, **others: Any) -> Any:
            if executor == "local":
                return command(*arguments, workers=workers, **others)
            if click.get_current_context().get_parameter_source("workers") is not ParameterSource.DEFAULT:
                raise click.UsageError("--workers and --executor ray exclude each other: a cluster is used whole")
            return command(*arguments, workers="ray", **others)

        return choose

    return add


def page() -> Decorator:
    """Add --host and --port: where a page is served."""

    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        @click.option(
            "--host",
            default="127.0.0.1",
            show_default=True,
            help="Address of this machine to serve the page at; any but a loopback one lets other machines in.",
        )
        @click.option(
            "--port",
            type=click.IntRange(0, 65535),
            default=8765,
            show_default=True,
            help="Its port; 0 takes a free one.",
        )
        @functools.wraps(command)
        def served(*arguments: Any, **others: Any) -> Any:
            return command(*arguments, **others)

        return served

    return add


def as_json() -> Decorator:
    return click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")


def dry_run() -> Decorator:
    return click.option("-n", "--dry-run", is_flag=True, help="Say what would be done and stop.")


def size(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, int] | None:
    """Parse WIDTHxHEIGHT, or one number for a square, into (width, height)."""
    if value is None:
        return None
    width, _, height = value.partition("x")
    if not width.isdecimal() or not (height or width).isdecimal() or "0" in (width, height):
        raise click.BadParameter(f'"{value}" is not WIDTHxHEIGHT or one number, such as 128x96 or 64')
    return int(width), int(height or width)


def own_options(leaf: ModuleType) -> list[click.Parameter]:
    """Make command-line options of the fields of a leaf's `Options`."""
    types: dict[str, Any] = {
        name: Positive() if kind is float else kind for name, kind in get_type_hints(leaf.Options).items()
    }
    return [
        click.Option(
            [f"--{field.name.replace('_', '-')}"],
            default=field.default,
            is_flag=types[field.name] is bool and field.default is False,
            type=click.Choice(field.metadata["choices"]) if field.metadata["choices"] else types[field.name],
            show_default=field.default != "",
            help=field.metadata["help"],
        )
        for field in dataclasses.fields(leaf.Options)
    ]


def print_json(data: Any) -> None:
    click.echo(json.dumps(data, indent=1, ensure_ascii=False))


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print aligned columns; nothing is cut, so that other programs can read it."""
    cells = [list(head), *map(list, rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    for row in cells:
        click.echo("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())


def print_card(fields: Sequence[tuple[str, str]]) -> None:
    """Print labels and values, one pair a line."""
    width = max((len(label) for label, _ in fields), default=0)
    for label, text in fields:
        click.echo(f"{label.ljust(width)}  {text}")


def gigabytes(size_bytes: float) -> str:
    return f"{size_bytes / 1e9:.1f} GB" if size_bytes >= 1e8 else f"{size_bytes / 1e6:.1f} MB"
