"""Signs that clips are not what they are taken for: red and blue swapped, or values from 0 to 1 kept as integers."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

# A model's mean colour is off by a few of 255 levels; a swap shows where red and blue differ by more than that.
LEVELS = 8.0
NEARER = 4.0


class Look(NamedTuple):
    """The mean colour of some clips, float64 (3,), and their largest value."""

    colour: np.ndarray
    brightest: int


def look(clips: Sequence[np.ndarray]) -> Look:
    """Look at clips, uint8 (T, H, W, 3) each."""
    # rows first, as in metrics.squared_errors
    sums = [
        clip.reshape(-1, 3 * clip.shape[2]).sum(axis=0, dtype=np.int64).reshape(-1, 3).sum(axis=0) for clip in clips
    ]
    return Look(sum(sums) * 3 / sum(clip.size for clip in clips), max(int(clip.max()) for clip in clips))


def doubts(fakes: Sequence[Look], reals: Sequence[Look]) -> list[str]:
    """Say what is suspicious about generated and real clips, a sentence each."""
    found = [
        f"the {name} clips hold only 0 and 1, as if values from 0 to 1 had been cast to uint8; multiply them by 255 first"
        for name, looks in (("generated", fakes), ("real", reals))
        if looks and max(one.brightest for one in looks) == 1
    ]
    if fakes and reals:
        fake, real = (np.mean([one.colour for one in looks], axis=0) for looks in (fakes, reals))
        apart, swapped = np.linalg.norm(fake - real), np.linalg.norm(fake[::-1] - real)
        if apart > LEVELS and swapped < apart / NEARER:
            found.append(
                f"the generated clips' mean colour is {apart:.0f} levels from the real clips', and {swapped:.0f} with red "
                "and blue swapped, as if one of them were BGR; write both as RGB"
            )
    return found
