"""Latency: milliseconds until a model shows the first frame, and for each step, as its outputs' manifest has them.

They were measured while it generated (speed.py), for one clip at a time, on the hardware that the signature names: two
machines never share a column. The note says what the model needs besides.
"""

from collections.abc import Mapping
from typing import Any

TITLE = "Latency"
DIRECTION = "lower"
UNIT = "ms"
NEEDS = "manifest"
VERSION = 1
VARIANTS: dict[str, dict[str, Any]] = {"": {}, "step": {"of": "step_ms"}}  # a step: the clip's time over its frames


def read(manifest: Mapping[str, Any], *, of: str = "first_ms") -> tuple[float | None, str, str]:
    """Return the milliseconds, a remark, and what they were measured on; None and the reason where they were not."""
    speed = manifest.get("speed")
    if not isinstance(speed, dict) or not isinstance(speed.get(of), int | float) or isinstance(speed[of], bool):
        return None, "n/a: the outputs' manifest has no speed; vbench-ctl generate measures it", ""
    threads = f"{speed.get('threads')} thread{'' if speed.get('threads') == 1 else 's'}"
    needs = f"{speed.get('memory_mb')} MB at most, {speed.get('parameters')} parameters"
    return float(speed[of]), needs, f"{speed.get('hardware')},{threads}".replace("|", "/")


def signature(*, of: str = "first_ms") -> str:
    """Name what the number depends on besides the hardware."""
    return f"{of},1 clip"
