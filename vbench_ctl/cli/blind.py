"""vbench-ctl blind"""

from pathlib import Path

import click

from vbench_ctl.cli import _shared
from vbench_ctl.remote import Url


@click.command()
@click.argument("outputs", nargs=-1, type=_shared.CLIPS, metavar="[OUTPUTS]...")
@click.option(
    "--real",
    type=_shared.CLIPS,
    help="Real clips, such as outputs of truth: shown beside for control, among the rest for real.",
)
@click.option("--split", help="Which split of --real, if that is a store with several.")
@click.option(
    "--question",
    type=click.Choice(["control", "real"]),
    default="real",
    show_default=True,
    help="Which clip follows the control better, or which looks more real.",
)
@click.option("--out", type=_shared.FILE, help="The CSV file that answers are added to.")
@click.option("--rater", default="", help="Who answers; everybody is asked everything once.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of order and sides.")
@click.option("--limit", type=click.IntRange(min=1), help="Ask so many questions.  [default: all]")
@click.option("--report", type=_shared.FILE, help="Print the scores of a file of answers and stop.")
@_shared.root()
@_shared.page()
@_shared.as_json()
def command(
    outputs: tuple[Path | Url, ...],
    real: Path | Url | None,
    split: str | None,
    question: str,
    out: Path | None,
    rater: str,
    seed: int,
    limit: int | None,
    report: Path | None,
    root: Path | None,
    host: str,
    port: int,
    as_json: bool,
) -> None:
    """Ask people which of two clips is better, on a page that does not say whose they are.

    OUTPUTS are outputs folders whose clips have the same names. The scores of --report are rows for the leaderboard.

    \b
    Examples:
        vbench-ctl blind outputs/glass outputs/ccvs --question real --out answers.csv
        vbench-ctl blind outputs/glass outputs/ccvs --question control --real outputs/truth --out answers.csv
        vbench-ctl blind --report answers.csv --json
    """
    from vbench_ctl import leaderboard
    from vbench_ctl.play import blind, preference, server

    if bool(report) == bool(outputs):
        raise click.UsageError("name OUTPUTS to compare, or a file of answers to --report")
    if report:
        found = preference.rows(blind.read(report))
        if as_json:
            _shared.print_json([row.to_json() for row in found])
        else:
            click.echo(leaderboard.markdown(leaderboard.tables(found)), nl=False)
        return
    if not out:
        raise click.UsageError("say with --out which CSV file answers are added to")
    poll = blind.poll(outputs, out, question, real, split, seed, rater, limit)
    click.echo(f"{len(poll.questions)} questions, {len(poll.answered())} of them answered", err=True)
    server.serve(lambda: poll.page, host, port, root)
