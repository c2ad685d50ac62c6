"""vbench-ctl report"""

from pathlib import Path

import click

from vbench_ctl.cli import _shared


@click.command()
@click.argument("rows", nargs=-1, type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option(
    "--out", type=_shared.FOLDER, required=True, help="The folder of the site; an earlier report is replaced."
)
@click.option(
    "--outputs",
    multiple=True,
    type=_shared.FOLDER,
    help="Outputs folders to be looked at side by side, and folders that generate --way made.",
)
@click.option(
    "--real", "reals", multiple=True, type=_shared.FOLDER, help="The real clips.  [default: the protocols' own stores]"
)
@click.option("--runs", multiple=True, type=_shared.FOLDER, help="Run folders: their training curves.")
@click.option(
    "--clips", type=click.IntRange(min=1), default=16, show_default=True, help="Cases shown of each protocol."
)
@click.option("--title", default="vbench-ctl report", show_default=True, help="Headline of the page.")
@_shared.numbers()
@_shared.root()
@_shared.workers()
def command(
    rows: tuple[Path, ...],
    out: Path,
    outputs: tuple[Path, ...],
    reals: tuple[Path, ...],
    runs: tuple[Path, ...],
    clips: int,
    title: str,
    wanted: tuple[str, ...],
    published: bool,
    include_unverified: bool,
    root: Path | None,
    workers: int,
) -> None:
    """Write a page to look at.

    From ROWS files, or without any from all that was scored on this machine: leaderboards, curves, clips of all models
    in step, their worst cases, training curves, data, and the commands that make all of it again. The folder opens from
    disk and needs no network.

    \b
    Example:
        vbench-ctl report --outputs outputs/glass --outputs outputs/copy-last --runs runs/glass --out report
    """
    import sys

    from vbench_ctl import leaderboard, report
    from vbench_ctl.runs import folder_of

    found = leaderboard.collect(rows, root, published, include_unverified, wanted)
    words, folders = ("vbench-ctl", *sys.argv[1:]), [folder_of(run, root) for run in runs]
    report.write(report.Asked(found, outputs, reals, folders, clips, title, words, root, workers), out)
    click.echo(f"{out / 'index.html'}")
