"""Progress on stderr, also of several threads."""

import io
import threading

from vbench_ctl import progress as shown
from vbench_ctl.progress import progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_threads_share_one_display(monkeypatch):
    terminal, both = Terminal(), threading.Barrier(2, timeout=10)
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    displays = set()

    def work(label):
        with progress(label, 3, "MB") as advance:
            both.wait()
            displays.add(id(shown._screen.display))
            advance(3)
            both.wait()

    threads = [threading.Thread(target=work, args=(label,)) for label in ("first.tar", "second.tar")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(displays) == 1 and shown._screen.display is None
    assert all(text in terminal.getvalue() for text in ("first.tar", "second.tar", "3/3"))
    assert terminal.getvalue().count("\x1b[?25l") == terminal.getvalue().count("\x1b[?25h")  # the cursor is back


def test_a_line_now_and_then_elsewhere(monkeypatch, capsys):
    now = iter([0.0, 1.0, 11.0, 12.0])
    monkeypatch.setattr(shown.time, "monotonic", lambda: next(now))
    with progress("toy.tar", 100, "MB", done=10) as advance:
        for _ in range(3):
            advance(22)
    assert capsys.readouterr().err == "toy.tar: 54/100 MB, 4.0/s, 12 s left\n"


def test_nothing_done_yet_says_nothing_of_the_rest(monkeypatch, capsys):
    now = iter([0.0, 11.0])
    monkeypatch.setattr(shown.time, "monotonic", lambda: next(now))
    with progress("toy.tar", 100, "MB") as advance:
        advance(0)
    assert capsys.readouterr().err == "toy.tar: 0/100 MB, 0.0/s\n"
