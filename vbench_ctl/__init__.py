"""The benchmark toolkit for controllable video generation."""

from pathlib import Path

__version__ = "0.1.0"

_root = Path(__file__).resolve().parent.parent
if (_root / "setup.cfg").is_file():  # a checkout: its top-level folders are vbench_ctl.datasets and so on
    __path__.append(str(_root))
