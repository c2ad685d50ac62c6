"""Progress of long work on stderr: bars in a terminal, one below the other, a line now and then elsewhere.

Several threads may show theirs at once.
"""

import atexit
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress

_EVERY_SECONDS = 10


@contextmanager
def progress(label: str, total: int, unit: str, done: int = 0) -> Iterator[Callable[[int], None]]:
    """Yield a function that is told how many more units are done."""
    if sys.stderr.isatty():
        with _screen.bar(label, total, unit, done) as advance_bar:
            yield advance_bar
        return
    start = said = time.monotonic()
    first = done

    def advance(count: int) -> None:
        nonlocal done, said
        done += count
        now = time.monotonic()
        if now - said >= _EVERY_SECONDS:
            said = now
            rate = (done - first) / (now - start)
            left = f", {(total - done) / rate:.0f} s left" if rate else ""
            # In one piece: print promises less.
            sys.stderr.write(f"{label}: {done}/{total} {unit}, {rate:.1f}/s{left}\n")

    yield advance


class _Screen:
    """The bars of all threads: a terminal bears only one display that rewrites itself."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.display: Progress | None = None
        self.users = 0

    @contextmanager
    def bar(self, label: str, total: int, unit: str, done: int) -> Iterator[Callable[[int], None]]:
        with self.lock:
            display = self.display
            if display is None:
                self.display = display = _display()
                display.start()
            self.users += 1
        task = display.add_task(label, total=total, completed=done, unit=unit)
        try:
            yield lambda count: display.advance(task, count)
        finally:
            with self.lock:
                self.users -= 1
                if not self.users:
                    self.display = None
                    display.stop()

    def close(self) -> None:
        """Give the cursor back when the program ends while a thread is still at work."""
        if self.display:
            self.display.stop()


_screen = _Screen()
atexit.register(_screen.close)


def _display() -> "Progress":
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[unit]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=Console(stderr=True))
