"""A person clicks where something is in single frames: the track `state` of a folder that a state estimator trains on.

It stands in for the tool of 16lemoing/ccvs, whose states are (x, y) in parts of the frame, from its top left corner.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vbench_ctl import tracks, video
from vbench_ctl.errors import UsageError
from vbench_ctl.play import server
from vbench_ctl.play.server import Frames, Page, Reply, Said
from vbench_ctl.protocols import Case
from vbench_ctl.sources import Source

TRACK = "state"


@dataclass(frozen=True)
class Desk:
    """What all tabs share: the frames to look at, and where the annotated ones go."""

    source: Source
    frames: list[Case]
    out: Path

    @property
    def page(self) -> Page:
        return Page("annotate", lambda: Annotator(self))

    def place(self, at: int) -> Path:
        """Return where the clip of one frame lies once it is annotated."""
        return self.out / f"{self.frames[at].key}.mkv"

    def picture(self, at: int) -> np.ndarray:
        """Return the frame, uint8 (1, H, W, 3)."""
        case = self.frames[at]
        return self.source.frames(case.clip, case.start, case.start + 1)

    def mark(self, at: int) -> list[float] | None:
        """Return where was clicked, (x, y) in parts of the frame."""
        if not self.place(at).exists():
            return None
        return [float(part) for part in tracks.read(tracks.beside(self.place(at)), [TRACK])[TRACK][0]]

    def write(self, at: int, x: float, y: float) -> None:
        """Keep a frame with its mark; the frame comes last and says that both are there."""
        clip = self.place(at)
        tracks.write(tracks.beside(clip), {TRACK: np.array([[x, y]], np.float32)}, 1)
        if not clip.exists():
            video.write(clip, self.picture(at))

    def remove(self, at: int) -> None:
        """Forget a mark."""
        self.place(at).unlink(missing_ok=True)
        tracks.beside(self.place(at)).unlink(missing_ok=True)

    def open(self) -> list[int]:
        """Return the frames that have no mark."""
        return [at for at in range(len(self.frames)) if not self.place(at).exists()]


def desk(source: Source, out: Path, count: int, seed: int = 0) -> Desk:
    """Choose so many frames, going through all clips in random order again and again; the seed decides which."""
    rng = np.random.default_rng(seed)
    total = sum(source.length(clip) for clip in source.ids)
    chosen: dict[tuple[str, int], None] = {}
    while len(chosen) < min(count, total):
        for clip in rng.permutation(len(source.ids)):
            name = source.ids[clip]
            chosen.setdefault((name, int(rng.integers(source.length(name)))))
    return Desk(source, [Case(clip, frame, 1) for clip, frame in list(chosen)[:count]], out)


class Annotator:
    """One tab."""

    def __init__(self, shared: Desk):
        self.shared = shared

    def greet(self) -> list[Reply]:
        left = self.shared.open()
        return [self._frame(left[0] if left else 0)]

    def answer(self, said: Said) -> list[Reply]:
        """Keep or forget a mark, and show a frame."""
        shared = self.shared
        at = server.whole(said, "at", 0, len(shared.frames) - 1)
        if said["do"] == "show":
            return [self._frame(at)]
        if said["do"] == "unmark":
            shared.remove(at)
            return [self._frame(at)]
        if said["do"] != "mark":
            raise UsageError(f'"{said["do"][:40]}" is nothing that this page does; reload it')
        shared.write(at, server.real(said, "x", 0, 1), server.real(said, "y", 0, 1))
        left = shared.open()
        following = next((each for each in left if each > at), left[0] if left else at)
        return [self._frame(following if said.get("go_on") else at)]

    def leave(self) -> None:
        """Nothing is held."""

    def _frame(self, at: int) -> Reply:
        shared = self.shared
        case, done = shared.frames[at], len(shared.frames) - len(shared.open())
        about = {"at": at, "of": len(shared.frames), "done": done, "mark": shared.mark(at)}
        return Frames({"kind": "frame", "name": f"{case.clip}, frame {case.start}", **about}, [shared.picture(at)])
