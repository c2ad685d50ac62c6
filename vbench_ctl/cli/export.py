"""vbench-ctl export"""

from pathlib import Path

import click

from vbench_ctl.cli import _shared


@click.command()
@click.argument("source", metavar="STORE", type=_shared.FOLDER)
@click.option("--out", type=_shared.FOLDER, required=True, help="A new folder.")
@click.option("--as", "layout", required=True, help="mp4, png, pvg, webdataset or videogpt.")
@click.option("--split", help="Which split, if the store has several.")
def command(source: Path, out: Path, layout: str, split: str | None) -> None:
    """Write a split of STORE in a layout that other programs read.

    \b
    Example:
        vbench-ctl export ~/data/stores/wsprites/128x96@1 --split test --as pvg --out wsprites-pvg
    """
    from vbench_ctl import exporters, store

    opened = store.Store(source, split)
    exporters.export(opened, out, layout)
    click.echo(f"{len(opened)} clips of {opened.split} in {out}")
