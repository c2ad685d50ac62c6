"""vbench-ctl weights"""

from collections.abc import Iterator
from pathlib import Path

import click

from vbench_ctl.cli import _shared
from vbench_ctl.errors import UsageError, VbenchError


class Actions(_shared.Group):
    noun = "weights command"


@click.group(cls=Actions)
def command() -> None:
    """Fetch, add and examine the networks that metrics are defined on.

    \b
    Examples:
        vbench-ctl weights status
        vbench-ctl weights fetch i3d-k400 inception-2015
        vbench-ctl weights add i3d-k400 ~/i3d_torchscript.pt
    """


@command.command()
@click.argument("names", nargs=-1, shell_complete=_shared.known("weights"), metavar="[NAME]...")
@click.option("--all", "every", is_flag=True, help="All networks.")
@_shared.root()
@_shared.dry_run()
@_shared.as_json()
@click.pass_context
def fetch(
    ctx: click.Context, names: tuple[str, ...], every: bool, root: Path | None, dry_run: bool, as_json: bool
) -> None:
    """Bring networks here, verified, each from the first of its sources that works.

    \b
    Examples:
        vbench-ctl weights fetch i3d-k400
        vbench-ctl weights fetch --all --dry-run
    """
    from vbench_ctl import weights

    if every == bool(names):
        raise UsageError("expected names of networks or --all; vbench-ctl weights status lists them")
    entries = weights.known()
    for name in names:
        weights.check_name(name)
    wanted = [entries[name] for name in (entries if every else dict.fromkeys(names))]
    if dry_run:
        _announce(wanted, as_json)
        return
    failed = []
    for entry in wanted:
        click.echo(f"{entry.name}: {entry.title}; licence: {entry.licence}", err=True)
        try:
            weights.fetch(entry.name, root)
        except VbenchError as error:
            click.echo(f"{error}", err=True)
            failed.append(error)
    _show([row for row in weights.status(root) if row.name in {entry.name for entry in wanted}], as_json)
    if failed:
        ctx.exit(min(error.exit_code for error in failed))  # 3 only when nothing but manual steps is left


@command.command()
@_shared.root()
@_shared.as_json()
def status(root: Path | None, as_json: bool) -> None:
    """List all networks, and verify those that are here.

    \b
    ok        here, with the SHA-256 it must have
    packaged  the same, inside an installed package
    unpinned  here; no hash of it is published
    own       here, added by you, none of the files its name means: scores are named after its hash
    broken    here, and damaged
    absent    not here
    """
    from vbench_ctl import weights

    _show(weights.status(root), as_json)


@command.command()
@click.argument("name", shell_complete=_shared.known("weights"))
@click.argument("file", type=_shared.FOLDER)
@_shared.root()
@_shared.as_json()
def add(name: str, file: Path, root: Path | None, as_json: bool) -> None:
    """Use FILE for the network NAME, when it is one of the files the name means; otherwise as NAME-<sha8>.

    Where no hash of the network is published, the name goes to the first file that can be it.

    Scores with weights of your own are called after them: dtfvd-<sha8>, fvd-<sha8>, diversity-dti3d-<sha8>. The
    checkpoint of a run is always your own.

    FILE may be a PyTorch checkpoint, TorchScript, safetensors, .npz, a flax pickle, a TensorFlow SavedModel folder or
    checkpoint, the archive of a package that holds one of them, or a folder of several that belong together.

    \b
    Examples:
        vbench-ctl weights add dti3d-16 I3D_16.pth.tar
        vbench-ctl weights add dti3d-16 runs/dti3d-wsprites-paper/checkpoints/step-000020000.pt
    """
    from vbench_ctl import weights

    kept = weights.add(name, file, root)
    if kept != name:
        scores = ", ".join(_scores_with(kept)) or "none, for it is no network of theirs"
        click.echo(
            f'{file} is none of the files that "{name}" means here, so it is kept as "{kept}"; scores that can be '
            f"asked for with it: {scores}",
            err=True,
        )
    _show([row for row in weights.status(root) if row.name == kept], as_json)


@command.command()
@click.argument("checkpoint", type=_shared.FOLDER)
@click.argument("file", type=_shared.FOLDER)
def pack(checkpoint: Path, file: Path) -> None:
    """Write the weights in the CHECKPOINT of a run alone to FILE, an .npz without optimisers.

    \b
    Example:
        vbench-ctl weights pack runs/sprite-probe-wsprites-paper/checkpoints/step-000001000.pt sprite_probe.npz
    """
    from vbench_ctl import weights
    from vbench_ctl.fetch import digest

    size_bytes = weights.pack(checkpoint, file)
    click.echo(f"{file}: {size_bytes:,} bytes, SHA-256 {digest(file)}")


def _scores_with(kept: str) -> Iterator[str]:
    """Yield the scores that take these weights of the user's own."""
    from vbench_ctl import registry, tokens

    for name in registry.names("metrics"):
        for variant in registry.load("metrics", name).VARIANTS:
            token = "-".join(filter(None, (name, variant, kept[-8:])))
            try:
                features = tokens.metric(token).features
            except UsageError:  # it takes no weights of the user's own
                continue
            if features and features.weights == kept:
                yield token


def _announce(entries: list, as_json: bool) -> None:
    """Say what would be fetched."""
    if as_json:
        rows = [
            {
                "name": entry.name,
                "licence": entry.licence,
                "sources": [{"from": str(source), "size_bytes": source.size_bytes or None} for source in entry.sources],
            }
            for entry in entries
        ]
        _shared.print_json(rows)
        return
    for entry in entries:
        click.echo(f"{entry.name}: {entry.title}; licence: {entry.licence}")
        for source in entry.sources:
            size = _shared.gigabytes(source.size_bytes) if source.size_bytes else "size unknown"
            notes = ", ".join(filter(None, [source.note, "" if source.sha256 else "no published hash"]))
            click.echo(f"    {size:>12}  {source}{notes and f' ({notes})'}")


def _show(rows: list, as_json: bool) -> None:
    if as_json:
        _shared.print_json([row._asdict() for row in rows])
        return
    head = ["name", "state", "sha256", "size", "licence", "from"]
    cells = [
        [row.name, row.state, row.sha8 or "-", _size(row.size_bytes), row.licence, row.source or "-"] for row in rows
    ]
    _shared.print_table(head, cells)


def _size(size_bytes: int) -> str:
    return _shared.gigabytes(size_bytes) if size_bytes else "-"
