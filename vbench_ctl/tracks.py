"""Tracks beside a generated clip: what the model inferred from the real one or was told, in CLIP.npz next to CLIP.mkv.

A track has an entry per frame, or fewer: then they are those of the last frames. So what happens between T frames, and
is told with the later of two, has T - 1 entries, and a model that looked at its T - 1 new frames alone told T - 2.
"""

import zipfile
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from vbench_ctl import files
from vbench_ctl.errors import VbenchError

Tracks = dict[str, np.ndarray]
AGAIN = "again_"  # before the name of what was inferred a second time, from the frames that the model made
# What is read from the frames: by a metric's network, by one that learned to tell actions, by optical flow.
DETECTED, INVERSE, FLOW = "detected", "inverse", "flow"
LARGEST = 1 << 30  # bytes of one track: what is claimed by somebody's file is not all believed


def beside(clip: Path) -> Path:
    """Return where the tracks of a clip lie, a file or a folder of frames."""
    return clip.with_name(f"{clip.name}.npz") if clip.is_dir() else clip.with_suffix(".npz")


def write(path: Path, tracks: Mapping[str, np.ndarray], frames: int) -> None:
    """Write the tracks of a clip of so many frames."""
    for name, track in tracks.items():
        _check(path, name, np.asarray(track), frames)
    with files.atomic(path) as part, open(part, "wb") as file:
        np.savez_compressed(file, **tracks)  # type: ignore[arg-type]  # a track may be called "file"


def names(path: Path) -> list[str]:
    """Return the names of the tracks in a file; none where there is no file."""
    try:
        with zipfile.ZipFile(path) as listed:
            return [name.removesuffix(".npy") for name in listed.namelist()]
    except FileNotFoundError:
        return []
    except (OSError, zipfile.BadZipFile) as error:
        raise VbenchError(f"{path}: is not a whole .npz file of numbers ({error}); write it again") from error


def read(path: Path, names: Collection[str]) -> Tracks:
    """Return those of the named tracks that a file has, read-only; none where there is no file."""
    try:
        now = path.stat()
        found = {name: _track(path, name, now.st_size, now.st_mtime_ns) for name in names}
    except FileNotFoundError:
        return {}
    except files.DAMAGED as error:
        raise VbenchError(f"{path}: is not a whole .npz file of numbers ({error}); write it again") from error
    return {name: track for name, track in found.items() if track is not None}


@lru_cache(maxsize=8)  # the metrics of a suite ask for the same few tracks of a clip one after another
def _track(path: Path, name: str, _size: int, _mtime: int) -> np.ndarray | None:
    track = files.read_npz(path, lambda held: {name}.intersection(held), LARGEST).get(name)
    if track is None:
        return None
    _check(path, name, track)
    track.flags.writeable = False
    return track


def of_frames(track: np.ndarray, frames: Sequence[int], length: int) -> np.ndarray:
    """Return the entries of some frames of a clip of that length, those that the track has."""
    before = length - len(track)
    if before < 0 or before == length:
        raise VbenchError(
            f"a track has {len(track)} entries for {length} frames, expected one per frame or fewer, those of the last "
            "frames; write it again"
        )
    return track[[t - before for t in frames if t >= before]]


def aligned(real: np.ndarray, fake: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the entries of the last frames, as many as both tracks have."""
    if real.shape[1:] != fake.shape[1:]:
        raise VbenchError(
            f"an entry of the real track is {real.shape[1:]} and one of the outputs' is {fake.shape[1:]}, expected equal; "
            "write it as the store has it"
        )
    count = min(len(real), len(fake))
    return real[len(real) - count :], fake[len(fake) - count :]


def _check(path: Path, name: str, track: np.ndarray, frames: int | None = None) -> None:
    """Refuse what is no track of a clip of so many frames, or of one whose length is not known."""
    if track.dtype.kind not in "biuf" or not track.ndim or not 0 < len(track) <= (frames or len(track)):
        most = "1 or more" if frames is None else f"1 to {frames}"
        raise VbenchError(
            f"{path}: {name} is {track.dtype} {track.shape}, expected numbers with {most} entries, one per frame"
        )


# What is compared with what: an inference with the truth, the second one with the truth, or the second with the first

FIRST, SECOND, CONSISTENCY = "first", "again", "consistency"


def sides(true: str, found: str, compared: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return which tracks of the real clips and of the outputs a comparison needs."""
    if compared == CONSISTENCY:
        return (), (found, AGAIN + found)
    return (true,), (found if compared == FIRST else AGAIN + found,)


def compare(
    real: Mapping[str, np.ndarray], fake: Mapping[str, np.ndarray], true: str, found: str, compared: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return the two tracks to compare, of the same last frames: what is right, and what was found."""
    right = fake[found] if compared == CONSISTENCY else real[true]
    return aligned(right, fake[found if compared == FIRST else AGAIN + found])
