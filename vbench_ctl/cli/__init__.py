"""The command line: one thin module per command, found by file name and imported when it is needed."""

import errno
import importlib
import pkgutil
from typing import Any

import click

from vbench_ctl import __version__
from vbench_ctl.cli import _shared
from vbench_ctl.errors import VbenchError


class Failure(click.ClickException):
    """Shows a VbenchError as one sentence."""

    def __init__(self, error: VbenchError):
        super().__init__(str(error))
        self.exit_code = error.exit_code  # type: ignore[misc]  # click reads it from the instance


class Commands(_shared.Group):
    """A group whose commands are the modules of this package."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        found = [module.name for module in pkgutil.iter_modules(__path__)]
        return sorted(name.replace("_", "-") for name in found if not name.startswith("_"))

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in self.list_commands(ctx):
            return None
        return importlib.import_module(f"{__name__}.{name.replace('-', '_')}").command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except VbenchError as error:
            raise Failure(error) from error
        except OSError as error:  # of a file that went, a disk that fails; a pipe that was closed is click's affair
            if error.errno == errno.EPIPE:
                raise
            place = error.filename or "the output"
            said = f"{place}: {error.strerror or error}; see to it, then run the same command again"
            raise Failure(VbenchError(said)) from error


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="vbench-ctl")
def main() -> None:
    """Prepare data, generate clips and score them, for controllable video generation.

    \b
    Start with:  vbench-ctl quickstart
    Completion:  eval "$(_VBENCH_CTL_COMPLETE=bash_source vbench-ctl)"     (or zsh_source, fish_source)
    """
