"""Runs commands of vbench-ctl, each in a fork of this process, which has everything imported, so that a start takes no time.

Of `play` it is what a tab does: start, drive, record. A line of stdin is an order as JSON; it is answered by the process id at once and by the exit status at the end.
"""

import contextlib
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from vbench_ctl import generation, leaderboard, prepare, report, scoring, training  # noqa: F401
from vbench_ctl.cli import main
from vbench_ctl.play import drive


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
        record(words[1]) if words[0] == "play" else main(list(words), prog_name="vbench-ctl")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    except BaseException:
        import traceback

        traceback.print_exc()
        return 70
    return 0


def record(run: str) -> None:
    """Start from a run, drive and record; what has been recorded is left alone, else it would be another recording."""
    if Path("recordings/world", Path(run).name, "manifest.json").exists():
        return
    tab = drive.Drive(drive.table([Path(run)], Path("recordings")))
    tab.answer({"do": "start", "clip": 0, "frame": 0, "seed": 0})
    for _ in range(3):
        tab.answer({"do": "step", "asked": [["ArrowRight"], None, 1.0]})
    tab.answer({"do": "record"})


if __name__ == "__main__":
    serve()
