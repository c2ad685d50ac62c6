"""vbench-ctl quickstart"""

from pathlib import Path

import click

from vbench_ctl.cli import _shared


@click.command()
@click.option("--out", type=_shared.FOLDER, default="quickstart", show_default=True, help="Where everything goes.")
@_shared.workers()
def command(out: Path, workers: int) -> None:
    """See the whole tool work in a few minutes.

    Without network: data, baselines, scores, tables, pictures.

    \b
    Example:
        vbench-ctl quickstart --out my-quickstart
    """
    from vbench_ctl import quickstart
    from vbench_ctl.cli.leaderboard import show

    tables = quickstart.run(out, workers, say=lambda text: click.echo(text, err=True))
    show(tables)
    click.echo(
        f"""
{out}/leaderboard.csv, leaderboard.md   the table above
{out}/contact-sheet.png, .gif           what the models made, beside the truth

Next:
  vbench-ctl list protocols                           what can be measured
  vbench-ctl prepare wsprites --help                  bigger worlds: --size, --agents, --seed
  vbench-ctl prepare FOLDER --as NAME                 your own videos
  vbench-ctl score YOUR_OUTPUTS --real REAL_VIDEOS    your own model"""
    )
