"""A person clicks where something is in single frames: the track `state` of a folder that a state estimator trains on.

It stands in for the tool of 16lemoing/ccvs, whose states are (x, y) in parts of the frame, from its top left corner.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vbench_ctl import pairing, tracks, video
from vbench_ctl.errors import UsageError
from vbench_ctl.play import server
from vbench_ctl.play.server import Frames, Page, Reply, Said
from vbench_ctl.protocols import Case
from vbench_ctl.remote import Url
from vbench_ctl.sources import Source

TRACK = "state"
DRAWS = 10  # for each frame there is, which find nearly all of them


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


def check_place(out: Path, clips: Path | Url) -> None:
    """Refuse to put marks among the clips, or into a folder with clips that are no marks."""
    place = out.resolve()
    if isinstance(clips, Path) and clips.resolve() in (place, *place.parents):
        raise UsageError(f"{out}: lies among the clips to annotate; choose another --out")
    for path in sorted(out.rglob("*")):
        is_clip = path.suffix.lower() in (*video.VIDEOS, *video.IMAGES) and not path.name.startswith(".")
        if path.name == "manifest.json" or (is_clip and not _is_mark(path)):
            raise UsageError(f"{out}: holds {path.relative_to(out)}, which is no mark; choose another --out")


def _is_mark(path: Path) -> bool:
    state = tracks.read(tracks.beside(path), [TRACK]).get(TRACK)
    return state is not None and state.shape == (1, 2)


def desk(source: Source, out: Path, count: int, seed: int = 0) -> Desk:
    """Choose so many frames; the seed decides which."""
    lengths = pairing.lengths(source)
    wanted = min(count, sum(length for _, length in lengths))
    draws = _draws(lengths, np.random.default_rng(seed))
    chosen: dict[tuple[str, int], None] = {}
    while len(chosen) < wanted:
        chosen[next(draws)] = None
    return Desk(source, [Case(clip, frame, 1) for clip, frame in chosen], out)


def _draws(lengths: Sequence[tuple[str, int]], rng: np.random.Generator) -> Iterator[tuple[str, int]]:
    """Yield a frame of each clip in random order, again and again; in the end all there are, so that none is waited for."""
    for _ in range(DRAWS * sum(length for _, length in lengths) // len(lengths)):
        for at in rng.permutation(len(lengths)):
            clip, length = lengths[at]
            yield clip, int(rng.integers(length))
    frames = [(clip, frame) for clip, length in lengths for frame in range(length)]
    yield from (frames[at] for at in rng.permutation(len(frames)))


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
