"""vbench-ctl generate"""

from pathlib import Path

import click

from vbench_ctl import execute
from vbench_ctl.cli import _shared


@click.command()
@click.argument("baseline", shell_complete=_shared.known("baselines"))
@_shared.protocol(required=True)
@click.option("--out", type=_shared.FOLDER, required=True, help="The outputs folder.")
@click.option("--real", type=_shared.FOLDER, help="The real clips.  [default: the protocol's own store]")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of what is random.")
@_shared.root()
@_shared.executor()
@_shared.workers()
@_shared.dry_run()
@_shared.as_json()
def command(
    baseline: str,
    protocol_id: str,
    out: Path,
    real: Path | None,
    seed: int,
    root: Path | None,
    workers: execute.Workers,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Generate the clips of a protocol with BASELINE.

    Run it again and it goes on where it stopped.

    \b
    Example:
        vbench-ctl generate copy-last --protocol wsprites-control --out outputs/copy-last
    """
    from vbench_ctl import generation, pairing, protocols, registry

    registry.load("baselines", baseline)
    protocol = protocols.load(protocol_id)
    source = pairing.open_real(real, protocol) if real else pairing.find_real(protocol, root)
    if dry_run:
        cases = protocols.cases(protocol, [(clip_id, source.length(clip_id)) for clip_id in source.ids])
        click.echo(f"{len(cases) * protocol.samples} clips of {protocol.length} frames in {out}")
        return
    manifest = generation.generate(baseline, protocol, source, out, seed, workers)
    if as_json:
        _shared.print_json(manifest)
        return
    click.echo(f"{len(manifest['clips'])} clips of {protocol.id} in {out}")
