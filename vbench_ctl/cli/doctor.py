"""vbench-ctl doctor"""

from pathlib import Path

import click

from vbench_ctl.cli import _shared


@click.command()
@_shared.root()
@_shared.as_json()
@click.pass_context
def command(ctx: click.Context, root: Path | None, as_json: bool) -> None:
    """Examine this machine, and say what mends it.

    It looks at versions, devices, disk, codecs, weights, extras and plugins.

    \b
    Example:
        vbench-ctl doctor
    """
    from vbench_ctl import doctor

    findings = list(doctor.examine(root))
    if as_json:
        _shared.print_json([finding._asdict() for finding in findings])
    else:
        for finding in findings:
            click.echo(f"{finding.state:6}  {finding.subject:10}  {finding.text}")
            if finding.mend:
                click.echo(f"{'':20}-> {finding.mend}")
    if any(finding.state == "broken" for finding in findings):
        ctx.exit(1)
