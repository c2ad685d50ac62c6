"""vbench-ctl annotate"""

from pathlib import Path

import click

from vbench_ctl.cli import _shared
from vbench_ctl.remote import Url


@click.command()
@click.argument("clips", type=_shared.CLIPS)
@click.option("--out", type=_shared.FOLDER, required=True, help="The folder that annotated frames go to.")
@click.option("--split", help="Which split of CLIPS, if that is a store with several.")
@click.option(
    "--frames", type=click.IntRange(min=1), default=500, show_default=True, help="How many frames to annotate."
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of which frames.")
@_shared.root()
@_shared.page()
def command(
    clips: Path | Url, out: Path, split: str | None, frames: int, seed: int, root: Path | None, host: str, port: int
) -> None:
    """Click on frames where something is, such as a robot's arm, for a model that is told its place.

    CLIPS are a store or a folder of videos. The folder --out then has the annotated frames with the track "state", and a
    state estimator is trained on it. Run it again and it goes on where it stopped.

    \b
    Example:
        vbench-ctl annotate stores/bair-hd/256@1 --split train --out arms
        vbench-ctl train ccvs --data bair-hd --recipe bair-hd-state --set data.control.dataset=arms
    """
    from vbench_ctl import files, pairing
    from vbench_ctl.play import annotate, server

    source = pairing.open_real(clips, None, split)
    annotate.check_place(out, clips)
    with files.locked(out):
        files.sweep(out)
        desk = annotate.desk(source, out, frames, seed)
        click.echo(f"{len(desk.frames)} frames, {len(desk.open())} of them without a mark", err=True)
        server.serve(lambda: desk.page, host, port, root)
