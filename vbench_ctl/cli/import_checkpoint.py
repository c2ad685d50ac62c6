"""vbench-ctl import-checkpoint"""

from pathlib import Path

import click

from vbench_ctl.cli import _shared
from vbench_ctl.errors import UsageError


@click.command()
@click.argument("baseline", shell_complete=_shared.known("baselines"))
@click.argument("checkpoint", type=_shared.FOLDER)
@click.argument("config", type=_shared.FOLDER, required=False)
@click.option("--out", type=_shared.FOLDER, required=True, help="The run folder to make.")
@_shared.as_json()
def command(baseline: str, checkpoint: Path, config: Path | None, out: Path, as_json: bool) -> None:
    """Make a run of somebody else's checkpoint.

    CHECKPOINT is a file or folder in the format that the authors of BASELINE released, CONFIG their configuration
    where the weights do not say everything. Nothing in them is executed. Then generate with the run as with your own.

    \b
    Example:
        vbench-ctl import-checkpoint glass wsprites.pth configs/wsprites.yaml --out runs/glass-released
    """
    from vbench_ctl import recipes, runs

    leaf = recipes.trainable(baseline)
    if not hasattr(leaf, "import_checkpoint"):
        raise UsageError(f"{baseline} has no released format that can be imported; train it with vbench-ctl train")
    for path in filter(None, (checkpoint, config)):
        if not path.exists():
            raise UsageError(f"{path}: not there; give a file or folder that is")
    settings, weights, facts = leaf.import_checkpoint(checkpoint, config)
    runs.imported(out, baseline, leaf, settings, weights, facts, checkpoint)
    numbers = {stage or "weights": sum(each.numel() for each in state.values()) for stage, state in weights.items()}
    if as_json:
        _shared.print_json({"run": str(out), "baseline": baseline, "numbers": numbers})
        return
    for stage, count in numbers.items():
        click.echo(f"{stage}: {count:,} numbers")
    click.echo(f"run: {out}")
