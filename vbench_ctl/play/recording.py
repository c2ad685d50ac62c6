"""What was driven, as folders that `score` takes: a lossless clip a side with what it was told, and a film of all sides."""

import itertools
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vbench_ctl import files, pictures, provenance, tracks, video
from vbench_ctl.errors import UsageError
from vbench_ctl.protocols import Case
from vbench_ctl.sources import OUTPUTS, outputs_manifest

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
    films = folder.parent / FILMS / folder.name
    with files.locked(folder):
        for place in (folder, films):
            files.sweep(place)
        noted = [_noted(folder / take.name, take) for take in takes]
        held = {entry.get("file") for entries in noted for entry in entries}
        number = next(n for n in itertools.count() if f"{case.key}#{n}.mkv" not in held)
        file = f"{case.key}#{number}.mkv"
        film = films / f"{case.key}#{number}.mp4"
        written = [film]
        try:
            for take in takes:
                clip = folder / take.name / file
                written += [clip, tracks.beside(clip)]
                if take.tracks:
                    tracks.write(tracks.beside(clip), take.tracks, len(take.frames))
                video.write(clip, take.frames, fps)
            rows = [(take.name, [take.frames]) for take in takes]
            video.write(film, (np.asarray(page) for page in pictures.grid_frames(rows, FILM_HEIGHT)), fps)
            entry = {"clip": case.clip, "start": case.start, "sample": number, "seed": seed, "file": file}
            with ExitStack() as all_written:  # and then put in their places, so that no side has what others lack
                for take, entries in zip(takes, noted, strict=True):
                    part = all_written.enter_context(files.atomic(folder / take.name / "manifest.json"))
                    _note(part, take, [*entries, entry])
        except BaseException:
            for path in written:
                path.unlink(missing_ok=True)
            raise
    return Made(folder, film)


def _noted(folder: Path, take: Take) -> list[dict[str, Any]]:
    """Return the clips of the manifest; what else lies there is of a recording that was killed. Refuse another checkpoint's."""
    held = outputs_manifest(folder)
    if held.get("checkpoint", take.checkpoint) != take.checkpoint:
        raise UsageError(
            f"{folder} holds recordings of {held['checkpoint']}, not of {take.checkpoint}; start vbench-ctl play with "
            "another --out"
        )
    return held.get("clips", [])


def _note(path: Path, take: Take, clips: Sequence[dict[str, Any]]) -> None:
    """Write the manifest."""
    about = {"format": OUTPUTS, "model": take.name, "control": "a person", "checkpoint": take.checkpoint}
    files.write_json(path, {**about, "made": provenance.made(), "clips": [*clips]})
