"""The page on which a person drives trained models, side by side under the same keys, beside the world if there is one."""

import itertools
import shlex
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vbench_ctl import pairing, registry, resize, runs, sources, store, training, video
from vbench_ctl.controls import TOLD
from vbench_ctl.errors import UsageError, VbenchError, unknown
from vbench_ctl.play import recording, server
from vbench_ctl.play.player import Control, Player, Start, entry
from vbench_ctl.play.recording import Take
from vbench_ctl.play.server import Frames, Page, Reply, Said
from vbench_ctl.protocols import Case
from vbench_ctl.remote import Url
from vbench_ctl.sources import JoinedSource, Source

STARTS = 24  # clips to choose from
STEPS = 600  # of a drive: all its frames are kept, to be recorded
UNDONE = 32  # steps: a model's state may hold what it remembers of many frames
PREVIEW = 96  # height of the pictures to choose from
TRUTH = "truth"  # the folder of a recording that others are scored against
WORLD, RECORDED = "world", "recorded clip"  # what stands beside the models


@dataclass(frozen=True)
class Driven:
    """A trained run."""

    name: str
    loaded: training.Loaded
    checkpoint: str  # in words

    def player(self, start: Start) -> Player:
        """Return what drives it."""
        return self.loaded.leaf.drive(self.loaded.system, start)


@dataclass(frozen=True)
class Table:
    """What all tabs share: models, clips to start from, and where recordings go."""

    models: Sequence[Driven]
    source: Source
    clips: Sequence[str]
    out: Path
    lock: Any = field(default_factory=threading.Lock)  # one computes at a time, else all are slow

    @property
    def page(self) -> Page:
        return Page("play", lambda: Drive(self))

    def world(self, clip: str, frame: int) -> Player | None:
        """Return the world that made a clip, from a frame on, if its dataset can be driven."""
        manifest = self.source.manifest
        leaf: Any = registry.find("datasets", manifest.get("dataset"))
        if not hasattr(leaf, "world") or "options" not in manifest:
            return None
        return leaf.world(leaf.Options(**manifest["options"]), clip, frame)


def table(
    paths: Sequence[Path],
    out: Path,
    real: Path | Url | None = None,
    split: str | None = None,
    root: Path | None = None,
    device: str = "cpu",
) -> Table:
    """Load runs, and the clips to start from: those of `real`, or of the dataset that the first run was trained on."""
    models = []
    for path, name in zip(paths, _names(paths), strict=True):
        loaded = training.load(path, device=device)
        if not hasattr(loaded.leaf, "drive"):
            raise UsageError(f"{path}: {loaded.leaf.TITLE} cannot be driven; take a run of another baseline")
        step, file = runs.checkpoint(path, loaded.leaf.STAGES[-1])
        models.append(Driven(name, loaded, runs.described(step, file)))
    source = _source(paths[0], real, split, root)
    clips = (
        source.ids if len(source.ids) <= STARTS else [source.ids[i * len(source.ids) // STARTS] for i in range(STARTS)]
    )
    return Table(models, source, clips, out)


def _names(paths: Sequence[Path]) -> list[str]:
    """Name runs after their folders; a name that comes again, or that something else has, gets a number."""
    folders = [path.resolve().name for path in paths]
    names: list[str] = []
    for folder in folders:
        alone = folders.count(folder) == 1 and folder not in (TRUTH, WORLD, RECORDED)
        numbered = (f"{folder}-{number}" for number in itertools.count(1))
        names.append(folder if alone else next(name for name in numbered if name not in (*folders, *names)))
    return names


def _source(run: Path, real: Path | Url | None, split: str | None, root: Path | None) -> Source:
    data = training.DataSettings(dataset=str(real)) if real else next(reversed(runs.open_run(run).recipe.data.values()))
    if split:
        return _split_of(data, split, root)
    if real:  # test, else the first that is there
        there = store.read_manifest(real)["splits"] if store.is_store(real) else {}
        return training.open_data(data, min(there, key=lambda name: name != "test", default="test"), root)
    refusals = []
    for each in filter(None, dict.fromkeys(["test", data.validation, data.split])):
        try:
            return training.open_data(data, each, root)
        except VbenchError as error:
            refusals.append(error)
    raise VbenchError(f"{run}: no clips to start from ({refusals[-1]}); give some with --real")


def _split_of(data: training.DataSettings, split: str, root: Path | None) -> Source:
    """Open the split that was asked for, and nothing else in its place."""
    leaf: Any = registry.find("datasets", data.dataset)
    for name in split.split("+") if leaf else ():
        if name not in leaf.SPLITS:
            raise unknown(f"split of {data.dataset}", name, leaf.SPLITS)
    source = training.open_data(data, split, root)
    pairing.check_split(source.parts[0] if isinstance(source, JoinedSource) else source, split)
    return source


# One tab


@dataclass
class Side:
    """A player with everything that it did."""

    name: str
    player: Player
    states: list[Any]  # after each of the last steps
    clips: list[np.ndarray]  # what each step made; the start frame first
    told: list[dict[str, np.ndarray]]  # what each step was told, by track

    @classmethod
    def begun(cls, name: str, player: Player, frame: np.ndarray) -> "Side":
        return cls(name, player, [player.state], [frame[None]], [])

    def go(self, control: Control, frames: int) -> float:
        """Make so many frames under one control; return how many seconds it took."""
        began = time.perf_counter()
        made: list[np.ndarray] = []
        state = self.states[-1]
        while sum(len(clip) for clip in made) < frames:
            clip, state = self.player.step(state, control)
            made.append(clip)
        self.states = [*self.states[-UNDONE:], state]
        self.clips.append(np.concatenate(made)[:frames])
        self.told.append({f"{TOLD}{name}": entry(value) for name, value in control.items()})
        return time.perf_counter() - began

    def undo(self) -> None:
        """Forget the last step."""
        del self.states[-1], self.clips[-1], self.told[-1]

    def tracks(self) -> dict[str, np.ndarray]:
        """Return what was told on the way to each frame but the first."""
        lengths = [len(clip) for clip in self.clips[1:]]
        names = self.told[0] if self.told else {}
        return {name: np.repeat(np.stack([each[name] for each in self.told]), lengths, axis=0) for name in names}


class Drive:
    """What one tab does; all that it did can be told again in a line, so a tab finds back after a restart."""

    def __init__(self, shared: Table):
        self.shared = shared
        self.sides: list[Side] = []
        self.world: Player | None = None
        self.clip, self.frame, self.seed = 0, 0, 0

    def greet(self) -> list[Reply]:
        """Return what there is to start from."""
        shared = self.shared
        first = [shared.source.frames(clip, 0, 1) for clip in shared.clips]
        shown = [_preview(frame) for frame in first]
        lengths = [shared.source.length(clip) for clip in shared.clips]
        return [Frames({"kind": "clips", "names": list(shared.clips), "lengths": lengths, "most": STEPS}, shown)]

    def answer(self, said: Said) -> list[Reply]:
        """Do what the page asks."""
        actions = {"start": self._start, "step": self._step, "undo": self._undo, "record": self._record}
        if said["do"] not in actions:
            raise UsageError(f'"{said["do"][:40]}" is nothing that this page does; reload it')
        with self.shared.lock:
            return actions[said["do"]](said)

    def leave(self) -> None:
        """Let go of everything."""
        self.sides = []

    def _start(self, said: Said) -> list[Reply]:
        shared = self.shared
        self.clip = server.whole(said, "clip", 0, len(shared.clips) - 1)
        name = shared.clips[self.clip]
        self.frame = server.whole(said, "frame", 0, shared.source.length(name) - 1)
        self.seed = server.whole(said, "seed", 0, 2**31)
        script = server.listed(said, "script", STEPS)
        frame = shared.source.frames(name, self.frame, self.frame + 1)
        known = shared.source.tracks_of(name, shared.source.tracks, self.frame, self.frame + 1)
        entries = {track: values[0] for track, values in known.items() if track != "masks" and len(values)}
        self.world = shared.world(name, self.frame)
        sides = [self._side(model, frame, entries) for model in shared.models]
        if self.world:
            sides.append(Side.begun(WORLD, self.world, frame[0]))
        else:
            stop = min(shared.source.length(name), self.frame + 1 + STEPS)
            real = shared.source.frames(name, self.frame + 1, stop) if stop > self.frame + 1 else frame[:0]
            sides.append(Side.begun(RECORDED, _replayed(real, frame), frame[0]))
        self.sides = sides
        for each in script:
            self._go(each)
        return [self._table(), self._frames(all_of_them=True)]

    def _side(self, model: Driven, frame: np.ndarray, entries: dict[str, np.ndarray]) -> Side:
        facts = model.loaded.facts
        seen = resize.pictures(frame, (facts.height, facts.width), "pil_antialias")
        start = Start(seen[0], (frame.shape[1], frame.shape[2]), entries, self.seed)
        return Side.begun(model.name, model.player(start), seen[0])

    def _table(self) -> Reply:
        sides = [{"name": side.name, "point": side.player.point is not None} for side in self.sides]
        buttons = [
            {"key": b.key, "name": b.name, "group": b.group, "stays": b.stays, "of": owner, "rest": rest}
            for owner, b, rest in self._buttons()
        ]
        strides = any(isinstance(v, tuple) for side in self.sides for v in side.player.rest.values())
        return {"kind": "table", "sides": sides, "buttons": buttons, "strides": strides, "fps": self._fps}

    @property
    def _fps(self) -> float:
        return sources.fps(self.shared.source) or video.FPS

    def _buttons(self) -> Iterator[tuple[str, Any, bool]]:
        """Yield whose each button is, and whether it stands for what is chosen at first; the world's word goes first."""
        told = self.world.rest if self.world else {}
        for side in self.sides:
            for button in side.player.buttons:
                if side.player is self.world or not set(button.sets) <= set(told):
                    rest = {name: side.player.rest[name] for name in button.sets}
                    yield side.name, button, button.stays and rest == button.sets

    def _step(self, said: Said) -> list[Reply]:
        if not self.sides:
            raise UsageError("choose a frame to start from")
        if len(self.sides[0].told) >= STEPS:
            raise UsageError(f"a drive has at most {STEPS} steps; record it, then reset")
        return [self._frames(self._go(said.get("asked")))]

    def _go(self, asked: Any) -> list[float]:
        """Let all sides make the same number of frames under the same keys."""
        pressed, point, stride = _checked(asked)
        frames = max(side.player.frames for side in self.sides)
        told = self.world.control(pressed, point, stride) if self.world else {}
        seconds = []
        for side in self.sides:
            control = side.player.control(pressed, point, stride)
            control |= {name: value for name, value in told.items() if name in control}
            seconds.append(side.go(control, frames))
        return seconds

    def _undo(self, said: Said) -> list[Reply]:
        if not self.sides or len(self.sides[0].states) < 2:
            raise UsageError(f"nothing to undo; of a drive the last {UNDONE} steps can be")
        for side in self.sides:
            side.undo()
        return [self._frames()]

    def _frames(self, seconds: Sequence[float] = (), all_of_them: bool = False) -> Frames:
        clips = [side.clips[-1][-1:] if all_of_them else side.clips[-1] for side in self.sides]
        about = {"kind": "frames", "steps": len(self.sides[0].told), "ms": [round(1000 * s, 1) for s in seconds]}
        return Frames(about, clips)

    def _record(self, said: Said) -> list[Reply]:
        if not self.sides or not self.sides[0].told:
            raise UsageError("nothing to record yet; drive first")
        shared, truth = self.shared, self.sides[-1]
        name, steps = shared.clips[self.clip], sum(len(clip) for clip in truth.clips) - 1
        left = shared.source.length(name) - 1 - self.frame
        kind = "world" if self.world else "clip" if steps <= left else "free"
        size = (truth.clips[0].shape[1], truth.clips[0].shape[2])
        takes = [
            Take(
                side.name,
                resize.pictures(np.concatenate(side.clips), size, "pil_bicubic"),
                side.tracks(),
                model.checkpoint,
            )
            for side, model in zip(self.sides, shared.models, strict=False)
        ]
        if kind != "free":
            takes.append(Take(TRUTH, np.concatenate(truth.clips), truth.tracks()))
        case = Case(name, self.frame, steps + 1)
        made = recording.save(shared.out / kind, case, takes, self._fps, self.seed)
        commands = [
            shlex.join(["vbench-ctl", "score", f"{made.folder / model.name}", "--real", f"{made.folder / TRUTH}"])
            for model in (shared.models if kind != "free" else ())
        ]
        places = {"folder": str(made.folder), "film": str(made.film), "commands": commands}
        return [{"kind": "recorded", "frames": steps + 1, **places}]


def _checked(asked: Any) -> tuple[set[str], tuple[float, float] | None, float]:
    """Check [keys, point or nothing, stride] that a page said."""
    if not isinstance(asked, list) or len(asked) != 3:
        raise UsageError("a step is not [keys, point, stride]; reload the page")
    said = dict(zip(("pressed", "point", "stride"), asked, strict=True))
    pressed = {key for key in server.listed(said, "pressed", 64) if isinstance(key, str)}
    stride = server.real(said, "stride", 0.0, 8.0)
    if said["point"] is None:
        return pressed, None, stride
    both = dict(enumerate(server.listed(said, "point", 2)))
    x, y = (server.real({"point": both.get(at)}, "point", 0.0, 1.0) for at in range(2))
    return pressed, (x, y), stride


def _replayed(real: np.ndarray, first: np.ndarray) -> Player:
    """Return a player that shows a recorded clip, whatever is pressed, and then its last frame."""
    frames = np.concatenate([first, real])

    def step(at: int, control: Control) -> tuple[np.ndarray, int]:
        after = min(at + 1, len(frames) - 1)
        return frames[after : after + 1], after

    return Player(0, step, {})


def _preview(frame: np.ndarray) -> np.ndarray:
    height, width = frame.shape[1:3]
    if height <= PREVIEW:
        return frame
    return resize.pictures(frame, (PREVIEW, round(width * PREVIEW / height)), "pil_antialias")
