"""vbench-ctl train"""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from vbench_ctl import files, registry
from vbench_ctl.cli import _shared

if TYPE_CHECKING:  # --help must not import torch
    from vbench_ctl.training import Planned


@click.command()
@click.argument("baseline", required=False, shell_complete=_shared.known("baselines"))
@click.option("--data", "dataset", shell_complete=_shared.known("datasets"), help="A dataset, a store or a folder.")
@click.option(
    "--recipe",
    default="paper",
    show_default=True,
    help="DATA-RECIPE.toml or RECIPE.toml of the baseline (paper: also DATA.toml), or the path of a .toml file.",
)
@click.option("--set", "sets", multiple=True, metavar="TABLE.KEY=VALUE", help="Change a value of the recipe.")
@click.option("--steps", type=click.IntRange(min=0), help="The same as --set training.steps=N.")
@click.option("--seed", type=click.IntRange(min=0), help="The same as --set training.seed=N.")
@click.option("--stage", help="Only this stage of a system that is trained in several, or all.")
@click.option("--out", type=_shared.FOLDER, help="The run folder.  [default: runs/BASELINE-DATA-RECIPE in --root]")
@click.option("--resume", type=_shared.FOLDER, metavar="RUN", help="Go on with this run; --set may change its recipe.")
@_shared.device()
@click.option(
    "--num-gpus",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Processes, a GPU for each; with --device cpu none.",
)
@_shared.root()
@_shared.dry_run()
@_shared.as_json()
@click.pass_context
def command(
    ctx: click.Context,
    baseline: str | None,
    dataset: str | None,
    recipe: str,
    sets: tuple[str, ...],
    steps: int | None,
    seed: int | None,
    stage: str | None,
    out: Path | None,
    resume: Path | None,
    device: str,
    num_gpus: int,
    root: Path | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Train BASELINE by a recipe.

    The run folder has everything: the resolved recipe, versions, checkpoints, losses, samples over time. Ctrl-C finishes
    the step and saves; vbench-ctl train --resume RUN goes on, and so does the same command again. On several machines:
    torchrun ... -m vbench_ctl train BASELINE ...

    \b
    Examples:
        vbench-ctl train glass --data wsprites --recipe tiny --out runs/glass
        vbench-ctl train glass --data wsprites --set training.batch=4 --num-gpus 2
    """
    if not baseline and not resume:
        raise click.UsageError("say which BASELINE to train, or which run to go on with: --resume RUN")
    if resume:
        given = [name for name in ("baseline", "dataset", "recipe", "out") if _is_given(ctx, name)]
        if given:
            word = {"baseline": "BASELINE", "dataset": "--data"}.get(given[0], f"--{given[0]}")
            raise click.UsageError(f"--resume and {word} exclude each other: a run has its own")
    if baseline:
        registry.load("baselines", baseline)
    from vbench_ctl import processes, recipes, runs, training

    changes = [*sets]
    for name, value in (("steps", steps), ("seed", seed)):
        if value is not None and any(change.startswith(f"training.{name}=") for change in sets):
            raise click.UsageError(f"--{name} and --set training.{name} exclude each other: they are the same")
        changes += [f"training.{name}={value}"] if value is not None else []
    if resume:
        resume = runs.folder_of(resume, root)
        run = runs.open_run(resume, changes)
        baseline, chosen, out = run.baseline, run.recipe, resume
    else:
        assert baseline
        dataset = _named(dataset)
        chosen = recipes.load(baseline, recipe, dataset, changes)
        out = out or runs.path(baseline, chosen, root)
    kind = processes.kind_of_many(num_gpus, device) if num_gpus > 1 else device
    if dry_run:
        _announce(out, training.plan(baseline, chosen, out, stage, root, num_gpus), as_json)
        return
    if num_gpus > 1:
        training.plan(baseline, chosen, out, stage, root, num_gpus)  # a mistake is said once, not by each process
        if not resume:
            with files.locked(out):
                runs.create(out, baseline, chosen)
        words = [f"--set={change}" for change in changes if resume]
        words += [f"--stage={stage}"] * bool(stage) + [f"--root={root}"] * bool(root) + ["--json"] * as_json
        processes.launch(out, words, num_gpus, kind)
        return
    training.train(baseline, chosen, out, stage, device, root, resume=bool(resume))
    if os.environ.get("RANK", "0") == "0":  # of the processes that were launched together
        _report(out, as_json)


def _is_given(ctx: click.Context, name: str) -> bool:
    return ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE


def _named(dataset: str | None) -> str:
    """Keep a name as it is and make a path absolute, since a run may be resumed from elsewhere."""
    if not dataset or dataset in registry.names("datasets") or not Path(dataset).exists():
        return dataset or ""
    return str(Path(dataset).resolve())


def _announce(out: Path, stages: "list[Planned]", as_json: bool) -> None:
    if as_json:
        _shared.print_json({"run": str(out), "stages": [each._asdict() for each in stages]})
        return
    for each in stages:
        trained = ", ".join(f"{name} {count:,}" for name, count in each.trained.items())
        click.echo(
            f"{f'{each.stage}: ' if each.stage else ''}{each.parameters:,} parameters (trained: {trained}), "
            f"steps {each.done} to {each.steps} of batch {each.batch}, {each.windows} windows of {each.frames} in {each.clips} clips"
        )
    click.echo(f"{out}")


def _report(out: Path, as_json: bool) -> None:
    from vbench_ctl import runs

    run = runs.open_run(out)
    newest = {stage: max(runs.checkpoints(out, stage), default=0) for stage in run.recipe.data}
    if as_json:
        _shared.print_json({"run": str(out), "baseline": run.baseline, "steps": newest})
        return
    for stage, step in newest.items():
        click.echo(f"{f'{stage}: ' if stage else ''}step {step} of {run.recipe.training[stage].steps}")
    click.echo(f"run: {out}")
