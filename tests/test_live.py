"""What a person sees of a training as it goes."""

import io
import re

import pytest

from vbench_ctl import live


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch):
    """A clock that a test sets."""
    clock = [0.0]
    monkeypatch.setattr(live.time, "monotonic", lambda: clock[0])
    return clock


def test_a_terminal_shows_step_speed_time_left_memory_and_losses(monkeypatch, clock):
    monkeypatch.setattr("sys.stderr", screen := Terminal())
    for name, value in {"TERM": "xterm", "COLUMNS": "100", "LINES": "30", "NO_COLOR": "1"}.items():
        monkeypatch.setenv(name, value)
    with live.view("glass", 1000, 100) as show:
        clock[0] = 50.0
        show(200, {"adam": 1.23456, "adam/state": None}, 3.21)
    last = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", screen.getvalue()).replace("\r", "").split("glass")[-1]
    shown = [line.split() for line in last.splitlines()]
    assert "200/1000" in shown[0]
    assert shown[1:6] == [
        ["it/s", "2.00"],
        ["left", "0:06:40"],
        ["memory", "3.2", "GB"],
        ["adam", "1.235"],
        ["adam/state", "-"],
    ]


def test_elsewhere_a_line_comes_now_and_then(monkeypatch, clock, capsys):
    with live.view("glass", 1000, 100) as show:
        for clock[0], step in ((5.0, 110), (10.0, 120), (15.0, 130)):
            show(step, {"adam": 0.5}, 1.0)
    assert capsys.readouterr().err == "glass: step 120/1000, 2.00 it/s, 440 s left, 1.0 GB, adam 0.5\n"
