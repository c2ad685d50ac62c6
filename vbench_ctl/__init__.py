"""The benchmark toolkit for controllable video generation."""

from pathlib import Path
from typing import Any

__version__ = "1.0.0rc1"

_here = Path(__file__).resolve().parent
# A checkout: the top-level folders beside this one are vbench_ctl.datasets and so on. An installed package has them inside.
if (_here.parent / "setup.cfg").is_file() and not (_here / "datasets").is_dir():
    __path__.append(str(_here.parent))


_OFFERED = ("score", "Scores", "table")


def __getattr__(name: str) -> Any:
    """Offer `vbench_ctl.score`, `Scores` and `table` without importing NumPy and more for every command."""
    if name in _OFFERED:
        from vbench_ctl import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return ["__version__", *_OFFERED]
