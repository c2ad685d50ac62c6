"""vbench-ctl score"""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from vbench_ctl import execute
from vbench_ctl.cli import _shared
from vbench_ctl.remote import Url

if TYPE_CHECKING:
    from vbench_ctl.rows import Row


@click.command()
@click.argument("outputs", type=_shared.CLIPS)
@_shared.protocol()
@click.option("--real", type=_shared.CLIPS, help="The real clips; with --protocol its own store is the default.")
@click.option("--real-stats", type=_shared.FOLDER, help="Instead of real clips: an .npz file of mu and sigma.")
@click.option("--split", help="Which split of --real, if that is a store with several.")
@click.option("--metrics", help="Comma-separated, such as psnr,ssim-glass,lpips@best.  [default: the protocol's]")
@click.option("--suite", shell_complete=_shared.known("suites"), help="A named list of metrics, such as control.")
@click.option("--preset", shell_complete=_shared.known("presets"), help="Score wholly as a release did: ccvs.")
@click.option("--like", metavar="SIGNATURE", help="Compute what this signature says, or fail saying what differs.")
@click.option("--model", help="Name in the tables.  [default: what the outputs say, or their folder's name]")
@click.option("--allow-lossy", is_flag=True, help="Score JPEG or mp4 clips anyway; the signature says so.")
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), help="File for the rows.  [default: rows/ in --root]"
)
@_shared.root()
@_shared.device()
@click.option(
    "--backend",
    default="torch",
    show_default=True,
    metavar="[torch|tf|tf:FOLDER]",
    help="What runs I3D; tf is TF-Hub's own graph, from tensorflow-hub's cache or a SavedModel FOLDER.",
)
@_shared.executor()
@_shared.workers()
@_shared.as_json()
@click.pass_context
def command(
    ctx: click.Context,
    outputs: Path | Url,
    protocol_id: str | None,
    real: Path | Url | None,
    real_stats: Path | None,
    split: str | None,
    metrics: str | None,
    suite: str | None,
    preset: str | None,
    like: str | None,
    model: str | None,
    allow_lossy: bool,
    out: Path | None,
    root: Path | None,
    device: str,
    backend: str,
    workers: execute.Workers,
    as_json: bool,
) -> None:
    """Score clips against a protocol or real clips.

    Any model may have written the OUTPUTS.

    OUTPUTS and --real are a folder of videos, a folder of frame folders, an .npy, .npz or .h5 array
    (N, T, H, W, 3) uint8, an outputs folder, or a store, which may lie at a URL. Clips are paired by their path without
    suffix.

    \b
    Examples:
        vbench-ctl score outputs/mine --protocol wsprites-control
        vbench-ctl score outputs/mine --protocol wsprites-counterfactual --suite control
        vbench-ctl score outputs/mine --real videos/test --metrics psnr,ssim
        vbench-ctl score outputs/mine --protocol bair256-ccvs-c1-p15 --preset ccvs
    """
    from vbench_ctl import networks, pairing, presets, protocols, scoring, sources, suites, tokens
    from vbench_ctl.rows import load, mixed

    if not protocol_id and not real and not real_stats:
        raise click.UsageError("score needs --protocol P or --real DATA")
    if real and real_stats:
        raise click.UsageError("--real and --real-stats exclude each other: they are two forms of the real set")
    if real_stats and split:
        raise click.UsageError("--real-stats and --split exclude each other: the file is of one set of clips")
    protocol = protocols.load(protocol_id) if protocol_id else None
    if protocol and split:
        raise click.UsageError(f"--split and --protocol exclude each other: {protocol.id} says {protocol.split}")
    named = tokens.split(metrics or "")
    released = presets.load(preset) if preset else None
    if suite and preset:
        raise click.UsageError("--suite and --preset exclude each other: both name metrics")
    if suite and (named or like is not None):
        raise click.UsageError("--suite names the metrics; leave --metrics and --like out")
    if suite:
        named = list(suites.load(suite).metrics)
    if like is not None and named:
        raise click.UsageError("--like and --metrics exclude each other: the signature names the metric")
    if like is not None:
        named = [tokens.token_like(like)]
    for token in named:
        tokens.metric(token)
    if out and out.exists():
        load(out)  # before hours of work, that it can take rows
    fake = sources.open_source(outputs)
    truth: sources.Source
    if real_stats:
        truth = sources.ArraySource([], real_stats.name)
    elif protocol and not real:
        truth = pairing.find_real(protocol, root)
    else:
        assert real
        truth = pairing.open_real(real, protocol, split)
    place = networks.Place(root, device, backend)
    rows = scoring.score(fake, truth, protocol, named, model, allow_lossy, workers, place, real_stats, released, like)
    if as_json:
        _shared.print_json([row.to_json() for row in rows])
    else:
        _show(rows)
    path = scoring.save(rows, out, root)
    if not as_json:
        click.echo(f"rows: {path}", err=True)
    for remark in mixed(load(path)):
        click.echo(f"{path}: {remark}", err=True)
    if like:
        tokens.check_like(rows[0], like)
    if all(row.value is None for row in rows):
        ctx.exit(1)


def _show(rows: "list[Row]") -> None:
    """Print a table of rows, and what is to be known of each."""
    _shared.print_table(
        ["metric", "value", "95% interval", "n", "signature"],
        [
            [
                f"{row.metric}{' (' + row.unit + ')' if row.unit else ''}",
                "n/a" if row.value is None else f"{row.value:.6g}",
                "" if row.low is None else f"[{row.low:.6g}, {row.high:.6g}]",
                str(row.n),
                row.signature,
            ]
            for row in rows
        ],
    )
    for row in rows:
        if row.note:
            click.echo(f"{row.metric}: {row.note}", err=True)
        if row.floor is not None:
            click.echo(f"{row.metric}: one half of the real clips against the other gives {row.floor:.6g}", err=True)
