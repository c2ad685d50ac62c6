"""How fast a model answers and what it needs, measured once while it generates: for its outputs' manifest."""

import sys
import time
from collections.abc import Callable
from typing import Any

from vbench_ctl.provenance import hardware, memory_bytes


def measured(
    clip: Callable[[], Any], frame: Callable[[], Any] | None, steps: int, device: str = "cpu", network: Any = None
) -> dict[str, Any]:
    """Time the making of one clip of so many steps, and of its first frame alone where a model can be asked for that.

    Elsewhere the first frame is there when the whole clip is. The model has made others before, so nothing is loaded.
    """
    clip_ms = _milliseconds(clip, device)
    try:
        first_ms = _milliseconds(frame, device) if frame else clip_ms
    except Exception:  # a model of one length may fail in any way; that is no reason to make no clips
        first_ms = clip_ms
    return {
        "first_ms": round(first_ms, 3),
        "step_ms": round(clip_ms / steps, 3),
        "memory_mb": round(memory_bytes(device) / 1e6),
        "parameters": sum(each.numel() for each in network.parameters()) if hasattr(network, "parameters") else 0,
        "hardware": hardware(device),
        "threads": _threads(),
    }


def _milliseconds(work: Callable[[], Any], device: str) -> float:
    _settle(device)
    start = time.perf_counter()
    work()
    _settle(device)
    return 1000 * (time.perf_counter() - start)


def _settle(device: str) -> None:
    """Wait until a GPU has done what it was given."""
    if device.startswith("cuda"):
        import torch

        torch.cuda.synchronize(device)


def _threads() -> int:
    """Return how many threads PyTorch uses, 1 where it is not needed."""
    return sys.modules["torch"].get_num_threads() if "torch" in sys.modules else 1
