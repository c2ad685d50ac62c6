"""The last clips that were looked at: variants of a metric ask for the same ones one after another."""

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any, TypeVar

import numpy as np

Found = TypeVar("Found")


def remembered(clips: int) -> Callable[[Callable[..., Found]], Callable[..., Found]]:
    """Keep what a function of a uint8 clip and hashable others returned for its last so many clips."""

    def keep(compute: Callable[..., Found]) -> Callable[..., Found]:
        @lru_cache(maxsize=clips)
        def of_bytes(pixels: bytes, shape: tuple[int, ...], *others: Any) -> Found:
            return compute(np.frombuffer(pixels, np.uint8).reshape(shape), *others)

        @wraps(compute)
        def of_clip(clip: np.ndarray, *others: Any) -> Found:
            return of_bytes(clip.tobytes(), clip.shape, *others)

        return of_clip

    return keep
