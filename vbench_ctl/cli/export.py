"""vbench-ctl export"""

from pathlib import Path

import click

from vbench_ctl.cli import _shared
from vbench_ctl.remote import Url


@click.command()
@click.argument("source", metavar="STORE", type=_shared.CLIPS)
@click.option("--as", "layout", required=True, help="mp4, png, pvg, webdataset or videogpt.")
@click.option("--out", type=_shared.FOLDER, required=True, help="A new folder; for videogpt a new .h5 file.")
@click.option("--split", "splits", multiple=True, help="Only these splits.  [default: all]")
def command(source: Path | Url, layout: str, out: Path, splits: tuple[str, ...]) -> None:
    """Write a STORE in a layout of other programs.

    \b
    Example:
        vbench-ctl export ~/data/stores/wsprites/128x96@1 --split test --as pvg --out wsprites-pvg
    """
    from vbench_ctl import exporters, store
    from vbench_ctl.progress import progress

    opened = [store.Store(source, split) for split in splits or store.read_manifest(source)["splits"]]
    clips = sum(map(len, opened))
    with progress("export", clips, "clips") as advance:
        left_out = exporters.export(opened, out, layout, advance)
    click.echo(f"{clips} clips in {out}")
    if left_out:
        click.echo(f"{layout} has no place for {', '.join(left_out)}, which were left out", err=True)
