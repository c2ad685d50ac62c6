"""vbench-ctl leaderboard"""

import sys
from pathlib import Path
from typing import Any

import click

from vbench_ctl.cli import _shared
from vbench_ctl.errors import UsageError, VbenchError


@click.command()
@click.argument("rows", nargs=-1, type=click.Path(path_type=Path, exists=True, dir_okay=False))
@_shared.numbers()
@click.option("--csv", "csv_path", type=_shared.FILE, help="Write CSV, one line per number.")
@click.option("--markdown", "markdown_path", type=_shared.FILE, help="Write markdown tables.")
@click.option(
    "--tables",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write each table as markdown and as CSV into a folder.",
)
@click.option(
    "--check",
    is_flag=True,
    help="Compare the files of --tables with what the rows give, and write nothing; without ROWS and --tables, those "
    "that come with the toolkit.",
)
@_shared.root()
@_shared.as_json()
def command(
    rows: tuple[Path, ...],
    wanted: tuple[str, ...],
    published: bool,
    include_unverified: bool,
    csv_path: Path | None,
    markdown_path: Path | None,
    folder: Path | None,
    check: bool,
    root: Path | None,
    as_json: bool,
) -> None:
    """Print a table for each protocol.

    From ROWS files, or without any from all that was scored on this machine.

    Numbers of different protocols never share a table, and numbers with different signatures never a column.

    \b
    Example:
        vbench-ctl leaderboard --protocol wsprites-control --markdown table.md --csv table.csv
        vbench-ctl leaderboard rows/*.json --tables tables --check
    """
    from vbench_ctl import leaderboard

    if check and not folder:
        if rows:
            raise UsageError("--check needs --tables FOLDER for these rows")
        rows, folder = tuple(leaderboard.reproduced()), leaderboard.shipped_tables()
    found = leaderboard.collect(rows, root, published, include_unverified, wanted)
    tables = leaderboard.tables(found)
    if not tables:
        raise VbenchError("there are no rows; vbench-ctl score makes some")
    if check and folder:
        leaderboard.check_each(tables, folder)
        click.echo(f"{folder}: {len(tables)} tables are what the rows give", err=True)
        return
    leaderboard.write(tables, csv_path, markdown_path)
    if folder:
        leaderboard.write_each(tables, folder)
    if as_json:
        _shared.print_json([row.to_json() for row in found])
    else:
        show(tables)


def show(tables: list[Any]) -> None:
    """Draw tables for a person at a terminal; anywhere else, print them as markdown."""
    from vbench_ctl import leaderboard

    if not sys.stdout.isatty():
        click.echo(leaderboard.markdown(tables), nl=False)
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    for table in tables:
        grid = Table(title=Text(table.protocol), caption=Text(table.title))
        for label in ("model", *table.labels()):
            grid.add_column(Text(label))
        for model, cells in table.cells.items():
            grid.add_row(
                Text(leaderboard.printable(model)),
                *(Text(leaderboard.number(cells.get(column))) for column in table.columns),
            )
        console.print(grid)
        for remark in (*table.remarks, *leaderboard.notes(table)):
            console.print(Text(f"  {leaderboard.printable(remark)}"))
