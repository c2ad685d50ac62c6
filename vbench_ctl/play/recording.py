"""What was driven, as folders that `score` takes: a lossless clip a side with what it was told, and a film of all sides."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vbench_ctl import __version__, files, pictures, tracks, video
from vbench_ctl.errors import UsageError
from vbench_ctl.generation import FORMAT
from vbench_ctl.protocols import Case

FILMS = "films"
FILM_HEIGHT = 192  # of each side


@dataclass(frozen=True)
class Take:
    """What one side did."""

    name: str
    frames: np.ndarray  # uint8 (T, H, W, 3), the start frame first
    tracks: dict[str, np.ndarray]  # what it was told, an entry for each of the last frames
    checkpoint: str = ""  # of the model


class Made(NamedTuple):
    """Where a recording lies."""

    folder: Path
    film: Path


def save(folder: Path, case: Case, takes: Sequence[Take], fps: float, seed: int) -> Made:
    """Write CASE#NUMBER into the folder of each take; all of them get the same clips, so that one can be scored by another."""
    with files.locked(folder):
        number = next(n for n in itertools.count() if not any(_clip(folder, t, case, n).exists() for t in takes))
        for take in takes:
            _check(folder / take.name, take)
        for take in takes:
            clip = _clip(folder, take, case, number)
            if take.tracks:
                tracks.write(tracks.beside(clip), take.tracks, len(take.frames))
            video.write(clip, take.frames, fps)
            entry = {"clip": case.clip, "start": case.start, "sample": number, "seed": seed}
            _note(folder / take.name, take, {**entry, "file": clip.relative_to(folder / take.name).as_posix()})
        film = folder.parent / FILMS / folder.name / f"{case.key}#{number}.mp4"
        rows = [(take.name, [take.frames]) for take in takes]
        video.write(film, (np.asarray(page) for page in pictures.grid_frames(rows, FILM_HEIGHT)), fps)
    return Made(folder, film)


def _clip(folder: Path, take: Take, case: Case, number: int) -> Path:
    return folder / take.name / f"{case.key}#{number}.mkv"


def _check(folder: Path, take: Take) -> None:
    """Refuse to mix two checkpoints in one folder."""
    place = folder / "manifest.json"
    held = files.read_json(place).get("checkpoint") if place.exists() else take.checkpoint
    if held != take.checkpoint:
        raise UsageError(
            f"{folder} holds recordings of {held}, not of {take.checkpoint}; start vbench-ctl play with another --out"
        )


def _note(folder: Path, take: Take, entry: dict[str, object]) -> None:
    """Add a clip to the manifest."""
    place = folder / "manifest.json"
    clips = files.read_json(place)["clips"] if place.exists() else []
    made = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "with": {"vbench-ctl": __version__}}
    about = {"format": FORMAT, "model": take.name, "control": "a person", "checkpoint": take.checkpoint, "made": made}
    files.write_json(place, {**about, "clips": [*clips, entry]})
