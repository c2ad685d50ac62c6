"""Signs that clips are not what they are taken for: red and blue swapped, or values up to 1 kept as integers."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

# A model's mean colour is off by a few of 255 levels; a swap shows where red and blue differ by more than that.
LEVELS = 8.0
NEARER = 4.0
CAST = frozenset((0, 1, 255))  # what a cast to uint8 leaves of values from -1 to 1


class Look(NamedTuple):
    """The mean colour of some clips, float64 (3,), and their values, or the first four or more of them."""

    colour: np.ndarray
    levels: frozenset[int]


def look(clips: Sequence[np.ndarray]) -> Look:
    """Look at clips, uint8 (T, H, W, 3) each."""
    # rows first, as in metrics.squared_errors
    sums = [
        clip.reshape(-1, 3 * clip.shape[2]).sum(axis=0, dtype=np.int64).reshape(-1, 3).sum(axis=0) for clip in clips
    ]
    return Look(sum(sums) * 3 / sum(clip.size for clip in clips), _levels(clips))


def _levels(clips: Sequence[np.ndarray]) -> frozenset[int]:
    """Collect the values of clips, row by row until there are more than a cast leaves: most clips' first row has more."""
    found: set[int] = set()
    for row in (row for clip in clips for row in clip.reshape(-1, 3 * clip.shape[2])):
        found.update(np.unique(row).tolist())
        if len(found) > len(CAST):
            break
    return frozenset(found)


def doubts(fakes: Sequence[Look], reals: Sequence[Look]) -> list[str]:
    """Say what is suspicious about generated and real clips, a sentence each."""
    found = []
    for name, looks in (("generated", fakes), ("real", reals)):
        levels = frozenset[int]().union(*(one.levels for one in looks))
        if 1 in levels and levels <= CAST:
            held, least, mend = (
                ("0, 1 and 255", -1, "add 1 and multiply them by 127.5")
                if 255 in levels
                else ("0 and 1", 0, "multiply them by 255")
            )
            found.append(
                f"the {name} clips hold only {held}, as if values from {least} to 1 had been cast to uint8; {mend} first"
            )
    if fakes and reals:
        fake, real = (np.mean([one.colour for one in looks], axis=0) for looks in (fakes, reals))
        apart, swapped = np.linalg.norm(fake - real), np.linalg.norm(fake[::-1] - real)
        if apart > LEVELS and swapped < apart / NEARER:
            found.append(
                f"the generated clips' mean colour is {apart:.0f} levels from the real clips', and {swapped:.0f} with red "
                "and blue swapped, as if one of them were BGR; write both as RGB"
            )
    return found
