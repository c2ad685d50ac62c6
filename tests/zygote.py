"""Runs commands of vbench-ctl, each in a fork of this process, which has everything imported, so that a start takes no time.

A line of stdin is an order as JSON; it is answered by the process id at once and by the exit status at the end.
"""

import contextlib
import json
import os
import sys
from collections.abc import Sequence

import torch

from vbench_ctl import generation, leaderboard, prepare, report, scoring, training  # noqa: F401
from vbench_ctl.cli import main


def serve() -> None:
    """Obey until stdin ends."""
    torch.set_num_threads(1)
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if not child:
            obey(order)
        print(child, flush=True)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def obey(order: dict) -> None:
    """Run one command in a process group of its own, and end this process."""
    os.setsid()
    os.chdir(order["folder"])
    os.environ["VBENCH_HOME"] = order["home"]
    status = 70
    with open(order["log"], "w") as log, contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
        status = run(order["words"])
        log.flush()
    os._exit(status)


def run(words: Sequence[str]) -> int:
    """Return the exit status of a command; a traceback goes to the log."""
    try:
        main(list(words), prog_name="vbench-ctl")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    except BaseException:
        import traceback

        traceback.print_exc()
        return 70
    return 0


if __name__ == "__main__":
    serve()
