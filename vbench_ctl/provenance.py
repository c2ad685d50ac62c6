"""When, with what, on what and at what cost something was made: for stores, runs, outputs and rows."""

import importlib.metadata
import os
import platform
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vbench_ctl import __version__, execute


def made(*packages: str) -> dict[str, Any]:
    """Return the facts of something that is made now, with the versions of more packages."""
    versions = {name: importlib.metadata.version(name) for name in packages}
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "with": {"vbench-ctl": __version__, "python": platform.python_version(), **versions},
        "on": f"{hardware('cpu')}, {execute.cpus()} cores, {platform.system()}",
        "command": _command(),
    }


class Stopwatch:
    """What passes from now on: seconds of the clock, and of the processors by this process and its finished children."""

    def __init__(self) -> None:
        self.wall, self.cpu = time.monotonic(), _cpu()

    def spent(self) -> dict[str, float]:
        return {"wall_seconds": round(time.monotonic() - self.wall, 2), "cpu_seconds": round(_cpu() - self.cpu, 2)}


def hardware(device: str) -> str:
    """Name the GPU or the processor."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.get_device_name(device)
    if os.path.exists("/proc/cpuinfo"):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        for line in lines:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def memory_bytes(device: str) -> int:
    """Return the most that was in use so far: of the GPU's memory, else of this process."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.max_memory_allocated(device)
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most  # macOS counts bytes, others KiB


def _cpu() -> float:
    return sum(os.times()[:4])


def _command() -> list[str]:
    """Return the command line; a program is named without its folder."""
    name = Path(sys.argv[0]).name
    return ["vbench-ctl" if name == "__main__.py" else name, *sys.argv[1:]]
