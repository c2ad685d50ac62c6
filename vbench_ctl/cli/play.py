"""vbench-ctl play"""

from pathlib import Path

import click

from vbench_ctl.cli import _shared
from vbench_ctl.remote import Url


@click.command()
@click.argument("runs", nargs=-1, required=True, type=_shared.FOLDER, metavar="RUN...")
@click.option("--real", type=_shared.CLIPS, help="Clips to start from.  [default: those the first run is tested on]")
@click.option("--split", help="Which split of them.  [default: test, else one that is there]")
@click.option("--out", type=_shared.FOLDER, help="Where recordings go.  [default: VBENCH_HOME/recordings]")
@_shared.root()
@_shared.device()
@_shared.page()
def command(
    runs: tuple[Path, ...],
    real: Path | Url | None,
    split: str | None,
    out: Path | None,
    root: Path | None,
    device: str,
    host: str,
    port: int,
) -> None:
    """Drive trained models by hand, several side by side, on a page of this machine.

    Arrow keys and buttons say what is done; where the dataset is generated, its world is driven by the same keys beside
    them. A recording is a film, and folders that score takes.

    \b
    Example:
        vbench-ctl play runs/glass-wsprites runs/ccvs-wsprites
    """
    from vbench_ctl import files
    from vbench_ctl.play import drive, server
    from vbench_ctl.processes import chosen_device
    from vbench_ctl.runs import folder_of

    place = out or files.home(root) / "recordings"
    chosen = str(chosen_device(device))
    folders = [folder_of(run, root) for run in runs]
    server.serve(lambda: drive.table(folders, place, real, split, root, chosen).page, host, port, root)
