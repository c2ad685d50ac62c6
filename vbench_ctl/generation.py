"""Generate the clips a protocol asks for with a baseline or a trained run, into an outputs folder."""

import csv
import dataclasses
import functools
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from vbench_ctl import __version__, execute, files, pairing, pictures, registry, resize, tracks, video
from vbench_ctl.errors import UsageError, VbenchError, unknown
from vbench_ctl.progress import progress
from vbench_ctl.protocols import Case, Protocol
from vbench_ctl.sources import Source

FORMAT = "vbench-outputs 1"
SHOWN = 16  # clips on a sheet
CHUNK = 8  # clips of one work item, which a trained model makes together
# What a protocol's control lets a model see: tracks of every frame; of the last one for "endpoint", of the given ones for
# "context-audio".
CONTROL_TRACKS = {
    "actions": ("actions", "global_action", "local_action", "shift_fg", "shift_bg", "motion_fg"),
    "state": ("state",),
    "endpoint": ("state", "position"),
    "audio": ("stft",),
    "context-audio": ("stft",),
    "class": ("class",),
}


@dataclass(frozen=True)
class Task:
    """What a baseline may look at: the protocol, the real clips and the cases."""

    protocol: Protocol
    real: Source
    cases: Sequence[Case]

    def window(self, index: int) -> np.ndarray:
        """Return the real frames of a case, given ones and future: uint8 (T, H, W, 3)."""
        case = self.cases[index]
        return pairing.real_window(self.real, pairing.Pair(case.clip, (), case))

    def context(self, index: int) -> np.ndarray:
        """Return the frames that are given: uint8 (context, H, W, 3)."""
        return self.window(index)[: self.protocol.context]

    def controls(self, index: int) -> dict[str, np.ndarray]:
        """Return what a model is told about each frame of a case besides pictures: arrays (T, ...) by name."""
        case, control = self.cases[index], self.protocol.control
        names = CONTROL_TRACKS.get(control, ())
        if not names:
            return {}
        if not set(names) & set(self.real.tracks):
            raise VbenchError(
                f"{self.real.name} has none of the tracks {', '.join(names)} that {self.protocol.id} gives a model; "
                "take the store that prepare makes"
            )
        stop = case.start + (case.length - 1) * case.step + 1
        found = self.real.tracks_of(case.clip, names, case.start, stop, case.step)
        seen = {"endpoint": slice(-1, None), "context-audio": slice(self.protocol.context)}.get(control, slice(None))
        return {name: track[seen] for name, track in found.items()}


@dataclass(frozen=True)
class Asked:
    """One clip that a trained model is to make: what it is given, and the seed of its own randomness.

    `controls` are arrays (T, ...) over all frames of the case, or (1, ...) for an end point; `real` is the whole real
    window where a model infers the control from it.
    """

    name: str
    context: np.ndarray  # uint8 (context, H, W, 3); no frames at all when nothing is given
    ending: np.ndarray  # uint8 (ending, H, W, 3)
    predict: int
    controls: dict[str, np.ndarray]
    real: np.ndarray | None
    size: tuple[int, int]  # height and width of the frames wanted; those given may have been made smaller for the model
    seed: tuple[int, ...]
    options: Any  # the leaf's Options, None where it has none


@dataclass(frozen=True)
class Made:
    """A clip that a trained model made, with what it inferred on the way, or was told: tracks.py.

    Tracks are of the whole case, given frames too, and of frames of the size that was asked for.
    """

    frames: np.ndarray  # uint8 (predict, H, W, 3)
    tracks: dict[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class Model:
    """A baseline by name, or a trained run by folder, with the options of its way to generate."""

    name: str
    run: Path | None = None
    device: str = "cpu"
    options: Any = None

    @property
    def leaf(self) -> ModuleType:
        return registry.load("baselines", self.name)

    @property
    def title(self) -> str:
        return self.run.name if self.run else self.name

    def facts(self) -> dict[str, Any]:
        """Return what decides the clips besides protocol and seed."""
        if not self.run:
            return {}
        from vbench_ctl import runs
        from vbench_ctl.fetch import digest

        found = runs.checkpoints(self.run, self.leaf.STAGES[-1])
        if not found:
            raise VbenchError(f'{self.run}: not trained yet; run "vbench-ctl train --resume {self.run}"')
        return {
            "baseline": self.name,
            "checkpoint": f"step {max(found)}, sha256 {digest(found[max(found)])[:16]}",
            "options": dataclasses.asdict(self.options) if self.options else {},
        }


def model(word: str | Path, device: str = "cpu", **options: Any) -> Model:
    """Resolve a word of the command line: the folder of a run, or the name of a baseline that needs no training."""
    run = Path(word)
    if (run / "run.json").is_file():
        from vbench_ctl import runs
        from vbench_ctl.processes import chosen_device

        name = runs.open_run(run).baseline
        leaf = registry.load("baselines", name)
        chosen = leaf.Options(**options) if hasattr(leaf, "Options") else None
        return Model(name, run.absolute(), str(chosen_device(device)), chosen)
    if "/" in str(word) or run.is_dir():
        raise UsageError(
            f"{word}: no run there (it has no run.json); train one with vbench-ctl train, or name a baseline"
        )
    leaf = registry.load("baselines", str(word))
    if is_trained(leaf):
        raise UsageError(
            f'{word} must be trained first: "vbench-ctl train {word} --data DATASET" makes a run; generate from its folder'
        )
    return Model(str(word))


def is_trained(leaf: ModuleType) -> bool:
    """Tell whether a baseline learns from data, so that it generates from a run."""
    return hasattr(leaf, "STAGES")


def generate(
    model: Model, protocol: Protocol, real: Source, out: Path, seed: int = 0, workers: execute.Workers = 1
) -> dict[str, Any]:
    """Write one lossless video per case and sample, and the manifest; what is there already is kept."""
    taken = getattr(model.leaf, "CONTROLS", (protocol.control,))
    if protocol.control not in taken:
        raise UsageError(
            f"{protocol.id} gives {protocol.control}, and {model.name} takes {' or '.join(taken) or 'none, it makes no clips'}"
        )
    cases = pairing.cases(protocol, real)
    wanted = _wanted(protocol, cases)
    header = {
        "format": FORMAT,
        "model": model.title,
        "protocol": protocol.id,
        "seed": seed,
        "control": protocol.control if model.run else model.leaf.CONTROL,
        "dataset": {key: real.manifest.get(key) for key in ("dataset", "variant", "version")},
        **model.facts(),
    }
    with files.locked(out):
        _check_same(out, header)
        files.sweep(out)
        files.write_json(out / "manifest.json", header)
        todo = [each for each in wanted if not (out / each.file).exists()]
        chunks = [todo[at : at + CHUNK] for at in range(0, len(todo), CHUNK)]
        generate_chunk = functools.partial(_generate_chunk, _Order(model, Task(protocol, real, cases), seed, out))
        with progress(f"generate {model.title}", len(wanted), "clips", len(wanted) - len(todo)) as advance:
            for index, _ in execute.run(generate_chunk, chunks, workers, gpu=model.device.startswith("cuda")):
                advance(len(chunks[index]))
        made = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "with": {"vbench-ctl": __version__}}
        manifest = {**header, "made": made, "clips": [each.entry(cases) for each in wanted]}
        files.write_json(out / "manifest.json", manifest)
    return manifest


def count(protocol: Protocol, real: Source) -> int:
    """Return how many clips a protocol asks for."""
    return len(_wanted(protocol, pairing.cases(protocol, real)))


@dataclass(frozen=True)
class _Wanted:
    """One clip of an outputs folder: a sample of a case, or just a number where nothing is given."""

    file: str
    index: int
    sample: int = 0
    case: bool = True

    def entry(self, cases: Sequence[Case]) -> dict[str, Any]:
        if not self.case:
            return {"clip": None, "start": 0, "sample": self.index, "file": self.file}
        case = cases[self.index]
        return {"clip": case.clip, "start": case.start, "sample": self.sample, "file": self.file}


def _wanted(protocol: Protocol, cases: Sequence[Case]) -> list[_Wanted]:
    if protocol.unconditional:
        return [_Wanted(f"{index:06d}.mkv", index, case=False) for index in range(protocol.answers)]
    return [
        _Wanted(f"{case.key}#{sample}.mkv", index, sample)
        for index, case in enumerate(cases)
        for sample in range(protocol.answers)
    ]


@dataclass(frozen=True)
class _Order:
    """What is asked of a model, whichever case and sample."""

    model: Model
    task: Task
    seed: int
    out: Path


def _generate_chunk(order: _Order, wanted: Sequence[_Wanted]) -> None:
    protocol = order.task.protocol
    for each, made in zip(wanted, _made(order, wanted), strict=True):
        path, frames = order.out / each.file, made.frames
        if len(frames) == protocol.predict and each.case:
            frames = pairing.framed(frames, order.task.window(each.index), protocol)
        if made.tracks:
            tracks.write(tracks.beside(path), made.tracks, protocol.length)
        video.write(path, frames)  # last: the clip says that all of it is there


def _made(order: _Order, wanted: Sequence[_Wanted]) -> list[Made]:
    task, model = order.task, order.model
    if not model.run:
        rngs = [np.random.default_rng([order.seed, each.index, each.sample]) for each in wanted]
        cases = [each.index % len(task.cases) for each in wanted]  # where nothing is given there may be more clips
        return [_whole(model.leaf.generate(task, case, rng)) for case, rng in zip(cases, rngs, strict=True)]
    return continuations(model, [_asked(order, each) for each in wanted])


def _whole(made: np.ndarray | Made) -> Made:
    return made if isinstance(made, Made) else Made(made)


def _asked(order: _Order, each: _Wanted) -> Asked:
    protocol, task = order.task.protocol, order.task
    seed = (order.seed, each.index, each.sample)
    if not each.case:
        nothing = np.zeros((0, *task.window(0).shape[1:]), np.uint8)
        size = nothing.shape[1:3]
        return Asked(each.file, nothing, nothing, protocol.predict, {}, None, size, seed, order.model.options)
    window = task.window(each.index)
    return Asked(
        each.file,
        window[: protocol.context],
        window[protocol.length - protocol.ending :],
        protocol.predict,
        task.controls(each.index),
        window if protocol.control == "inferred-actions" else None,
        window.shape[1:3],
        seed,
        order.model.options,
    )


def continuations(model: Model, asked: Sequence[Asked]) -> list[Made]:
    """Let a trained run make some clips together: each uint8 (predict, H, W, 3).

    Where it was trained on frames of another size, it sees the given ones resized, and what it makes is resized back.
    """
    assert model.run
    loaded = _loaded(model.run, model.device)
    size = (loaded.facts.height, loaded.facts.width)
    made = [_whole(one) for one in model.leaf.generate(loaded.system, [_resized(each, size) for each in asked])]
    for each, frames in zip(asked, (one.frames for one in made), strict=True):
        if len(frames) != each.predict or frames.dtype != np.uint8:
            raise VbenchError(
                f"{model.title}: {each.name} came out as {frames.dtype} {frames.shape}, expected {each.predict} uint8 frames"
            )
    return [
        Made(resize.pictures(one.frames, each.size, "pil_bicubic"), one.tracks)
        for each, one in zip(asked, made, strict=True)
    ]


def _resized(asked: Asked, size: tuple[int, int]) -> Asked:
    frames = {"context": asked.context, "ending": asked.ending, "real": asked.real}
    nothing = np.zeros((0, *size, 3), np.uint8)
    fitted: dict[str, Any] = {
        name: resize.pictures(clip, size, "pil_antialias") if len(clip) else nothing
        for name, clip in frames.items()
        if clip is not None
    }
    return dataclasses.replace(asked, **fitted)


@functools.lru_cache(maxsize=1)
def _loaded(run: Path, device: str) -> Any:
    from vbench_ctl import training

    return training.load(run, device=device)


# Besides protocols: what else a model can do, to be looked at


@dataclass(frozen=True)
class Given:
    """What a way of a model works from; each way uses what it needs."""

    clips: Sequence[tuple[str, np.ndarray]]  # real clips by id, uint8 (T, H, W, 3)
    driving: np.ndarray | None = None  # a clip whose control is taken over
    control: dict[str, np.ndarray] = field(default_factory=dict)  # columns of numbers (N,) by name
    length: int = 16
    seed: int = 0
    options: Any = None  # the leaf's Options


def ways(leaf: ModuleType) -> dict[str, str]:
    """Return what a baseline can do besides protocols, each with a sentence about it."""
    return dict(getattr(leaf, "WAYS", {}))


def show(model: Model, way: str, given: Given, out: Path) -> list[Path]:
    """Write what one way of a trained model makes of what is given: lossless clips and a sheet of them."""
    if way not in ways(model.leaf):
        raise unknown(f"way of {model.name}", way, ways(model.leaf))
    assert model.run
    loaded = _loaded(model.run, model.device)
    size = (loaded.facts.height, loaded.facts.width)
    clips = [(name, resize.pictures(clip, size, "pil_antialias")) for name, clip in given.clips]
    driving = None if given.driving is None else resize.pictures(given.driving, size, "pil_antialias")
    made = model.leaf.show(loaded.system, way, dataclasses.replace(given, clips=clips, driving=driving))
    if not made:
        raise UsageError(f"--way {way} begins at real clips; give some with --real")
    with files.locked(out):
        if (out / "manifest.json").exists() and "protocol" in files.read_json(out / "manifest.json"):
            raise UsageError(f"{out} holds the outputs of a protocol; choose another --out")
        files.sweep(out)
        paths = [out / f"{name}.mkv" for name, _ in made]
        for path, (_, clip) in zip(paths, made, strict=True):
            video.write(path, clip)
        pictures.save(out / "sheet.png", pictures.sheet(made[:SHOWN]))
        facts = {"model": model.title, "way": way, "seed": given.seed, **model.facts()}
        files.write_json(out / "manifest.json", {"format": FORMAT, **facts, "files": [path.name for path in paths]})
    return paths


def read_control(path: Path) -> dict[str, np.ndarray]:
    """Read a control, a CSV file with a column per number and a row per step: float64 (N,) by column."""
    try:
        rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))
        columns = {name: np.array([float(row[name]) for row in rows]) for name in (rows[0] if rows else {})}
    except (OSError, ValueError, TypeError) as error:
        raise UsageError(f"{path}: not a CSV file of numbers with a header ({error})") from error
    if not columns or not all(np.isfinite(values).all() for values in columns.values()):
        raise UsageError(f"{path}: expected a header, then a row of finite numbers per step")
    return columns


def _check_same(out: Path, header: dict[str, Any]) -> None:
    """Refuse to mix two models or protocols in one folder."""
    if not (out / "manifest.json").exists() or not any(out.rglob("*.mkv")):  # a run that was refused made no clip
        return
    held = files.read_json(out / "manifest.json")
    if not isinstance(held, dict):
        raise VbenchError(f"{out}/manifest.json is not of an outputs folder; choose another --out")
    for key, value in header.items():
        if held.get(key) != value:
            raise VbenchError(f"{out} holds outputs with {key} {held.get(key)}, not {value}; choose another --out")
