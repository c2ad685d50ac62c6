"""vbench-ctl generate"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource
from click.shell_completion import CompletionItem

from vbench_ctl import execute, registry
from vbench_ctl.cli import _shared
from vbench_ctl.remote import Url

if TYPE_CHECKING:
    from vbench_ctl.generation import Model
    from vbench_ctl.sources import Source

# Options that hold for a way only, and for a protocol only.
OF_WAYS = ("split", "clips", "length", "control", "control_from")
OF_SOME_WAYS = ("--real", "--control", "--control-from")
OF_PROTOCOLS = ("root", "executor", "workers")


class Models(_shared.Group):
    """One command per baseline that needs no training, and per run: a run has the options of its baseline."""

    noun = "baseline or run"

    def list_commands(self, ctx: click.Context) -> list[str]:
        return registry.names("baselines")

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        from vbench_ctl import runs

        folder = runs.folder_of(name)
        if (folder / "run.json").is_file():
            return model_command(str(folder), registry.load("baselines", runs.open_run(folder).baseline))
        if name in self.list_commands(ctx) or "/" in name or Path(name).is_dir():
            return model_command(name)
        return None

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        names = [CompletionItem(name) for name in self.list_commands(ctx) if name.startswith(incomplete)]
        return names + click.Command.shell_complete(self, ctx, incomplete)


@click.group(cls=Models, subcommand_metavar="(RUN | BASELINE) --protocol ID --out FOLDER [OPTIONS]...")
def command() -> None:
    """Generate the clips of a protocol with a trained RUN, or with a BASELINE that needs no training.

    Run it again and it goes on where it stopped. A RUN is a folder; runs/NAME may lie under VBENCH_HOME.

    \b
    Examples:
        vbench-ctl generate copy-last --protocol wsprites-control --out outputs/copy-last
        vbench-ctl generate runs/glass-wsprites --protocol wsprites-control --out outputs/glass
        vbench-ctl generate runs/glass-wsprites --help          (its own ways to generate)
    """


class Answering(click.Command):
    """The command of one model, where --WAY is short for --way WAY."""

    def __init__(self, *args: Any, ways: Mapping[str, str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.ways = ways

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        known = {name for param in self.params for name in param.opts}
        short = {f"--{way}": f"--way={way}" for way in self.ways if f"--{way}" not in known}
        return super().parse_args(ctx, [short.get(word, word) for word in args])


def model_command(word: str, leaf: ModuleType | None = None) -> click.Command:
    """Build the command of one baseline, or of a run with the options of its baseline."""
    ways = getattr(leaf, "WAYS", {})
    about = (leaf.__doc__ or "").strip().partition("\n")[0] if leaf else "Generate with this baseline."

    @click.command(word, cls=Answering, ways=ways, help=about)
    @_shared.protocol()
    @click.option("--out", type=_shared.FOLDER, required=True, help="The outputs folder.")
    @click.option("--real", type=_shared.CLIPS, help="The real clips.  [default: the protocol's own store]")
    @click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of what is random.")
    @_shared.root()
    @_shared.device()
    @_shared.executor()
    @_shared.workers()
    @_shared.dry_run()
    @_shared.as_json()
    def run(
        protocol_id: str | None,
        out: Path,
        real: Path | Url | None,
        seed: int,
        root: Path | None,
        device: str,
        workers: execute.Workers,
        dry_run: bool,
        as_json: bool,
        way: str | None = None,
        split: str | None = None,
        clips: int = 4,
        length: int | None = None,
        control: Path | None = None,
        control_from: Path | None = None,
        **options: Any,
    ) -> None:
        from vbench_ctl import generation, pairing, protocols, sources, video

        fitting = _fitting(ways)
        if not protocol_id and not way and len(fitting) == 1:
            [way] = fitting
        if bool(protocol_id) == bool(way):
            either = f", or which --way to show: {', '.join(fitting or ways)}" if ways else ""
            raise click.UsageError(f"say which --protocol to generate{either}")
        _refuse(*(("--way", OF_PROTOCOLS) if way else ("--protocol", OF_WAYS)))
        if way and way in ways:
            _refuse_unheeded(way, ways)
        model = generation.model(word, device, **options)
        if way:
            if dry_run:
                click.echo(f"{way} of {model.title} in {out}")
                return
            source = sources.open_source(real, split) if real else None
            shown = [(name, source.frames(name)) for name in source.ids[:clips]] if source else []
            driving = video.read(control_from).frames if control_from else None
            columns = generation.read_control(control) if control else {}
            given = generation.Given(shown, driving, columns, length, seed, model.options)
            _say_strange(model, source)
            paths = generation.show(model, way, given, out, source)
            if as_json:
                _shared.print_json({"out": str(out), "files": [path.relative_to(out).as_posix() for path in paths]})
                return
            click.echo(f"{len(paths)} clips and sheet.png in {out}")
            return
        assert protocol_id
        protocol = protocols.load(protocol_id)
        truth = pairing.open_real(real, protocol) if real else pairing.find_real(protocol, root)
        _say_strange(model, truth)
        if dry_run:
            click.echo(f"{generation.count(model, protocol, truth)} clips of {protocol.length} frames in {out}")
            return
        manifest = generation.generate(model, protocol, truth, out, seed, workers)
        if as_json:
            _shared.print_json(manifest)
            return
        click.echo(f"{len(manifest['clips'])} clips of {protocol.id} in {out}")

    if leaf:
        run.params = [*_own(leaf), *run.params]
    return run


def _say_strange(model: "Model", real: "Source | None") -> None:
    """Say that a run meets clips of other data than it was trained on."""
    for stores in model.strangeness(real).values():
        assert real
        click.echo(f"{model.title} was trained on {stores}, and these are clips of {real.name}", err=True)


def _fitting(ways: Mapping[str, str]) -> list[str]:
    """Return the ways that speak of the options given."""
    given = {param.opts[0] for param in _given(OF_WAYS)}
    return [name for name, text in ways.items() if given & _spoken_of(text)]


def _spoken_of(text: str) -> set[str]:
    return set(re.findall(r"--[\w-]+", text))


def _refuse_unheeded(way: str, ways: Mapping[str, str]) -> None:
    """Refuse options that other ways speak of and this one does not."""
    heeded = _spoken_of(ways[way])
    unheeded = _spoken_of(" ".join([*ways.values(), *OF_SOME_WAYS])) - heeded
    if "--real" in unheeded:
        unheeded |= {"--split", "--clips"}
    for param in _given([each.name or "" for each in click.get_current_context().command.params]):
        if param.opts[0] in unheeded:
            raise click.UsageError(f"--way {way} makes nothing of {param.opts[0]}; leave it out")


def _refuse(chosen: str, others: Sequence[str]) -> None:
    """Refuse options that mean nothing beside the one that was chosen."""
    for param in _given(others):
        raise click.UsageError(f"{param.opts[0]} and {chosen} exclude each other; leave one of them out")


def _given(names: Sequence[str]) -> list[click.Parameter]:
    """Return which of some options are on the command line."""
    context = click.get_current_context()
    found = ((param, context.get_parameter_source(param.name or "")) for param in context.command.params)
    return [param for param, source in found if param.name in names and source is ParameterSource.COMMANDLINE]


def _own(leaf: ModuleType) -> list[click.Parameter]:
    """Return the options that a run of this baseline has besides."""
    from vbench_ctl import generation

    own = _shared.own_options(leaf) if hasattr(leaf, "Options") else []
    if ways := generation.ways(leaf):
        about = "; ".join(f"{name}: {text}" for name, text in ways.items())
        own += [
            click.Option(
                ["--way"], type=click.Choice([*ways]), help=f"Instead of a protocol; --WAY is short for it. {about}."
            ),
            click.Option(["--split"], help="Which split of --real a way takes, if that is a store with several."),
            click.Option(["--clips"], type=click.IntRange(min=1), default=4, help="How many of --real a way takes."),
            click.Option(
                ["--length"],
                type=click.IntRange(min=1),
                help=f"Frames that a way makes.  [default: {generation.LENGTH}, or what --control has steps for]",
            ),
            click.Option(
                ["--control"],
                type=_shared.FOLDER,
                help="CSV file of numbers below the names of its columns; the way says which.",
            ),
            click.Option(["--control-from"], type=_shared.FOLDER, help="A clip whose control is taken over."),
        ]
    return own
