"""Generate the clips a protocol asks for with a baseline or a trained run, into an outputs folder."""

import contextlib
import csv
import dataclasses
import functools
import io
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from vbench_ctl import (
    controls,
    execute,
    files,
    pairing,
    pictures,
    protocols,
    provenance,
    registry,
    resize,
    speed,
    tracks,
    video,
)
from vbench_ctl.controls import Meaning
from vbench_ctl.errors import UsageError, VbenchError, unknown
from vbench_ctl.progress import progress
from vbench_ctl.protocols import Case, Protocol
from vbench_ctl.sources import OUTPUTS, Source, outputs_manifest

if TYPE_CHECKING:  # a list of baselines must not wait for torch
    import torch

SHOWN = 16  # clips on a sheet
LENGTH = 16  # frames that a way makes unless told otherwise
CHUNK = 8  # clips of one work item, which a trained model makes together


@dataclass(frozen=True)
class Task:
    """What a baseline may look at: the protocol, the real clips and the cases.

    With a `set` of controls.SETS, a case is to be answered as that set says; without, as it happened.
    """

    protocol: Protocol
    real: Source
    cases: Sequence[Case]
    set: str = ""

    def window(self, index: int) -> np.ndarray:
        """Return the real frames of a case, given ones and future: uint8 (T, H, W, 3)."""
        case = self.cases[index]
        return pairing.real_window(self.real, pairing.Pair(case.clip, (), case))

    def context(self, index: int) -> np.ndarray:
        """Return the frames that are given: uint8 (context, H, W, 3)."""
        return self.window(index)[: self.protocol.context]

    def partner(self, index: int) -> int:
        """Return the case whose control another one is told in some sets, or whose motion it takes over."""
        return controls.partners(len(self.cases), self.seed)[index]

    def controls(self, index: int) -> tracks.Tracks:
        """Return what a model is told about each frame of a case besides pictures: arrays (T, ...) by name."""
        if self.protocol.control == "length":
            return {"length": np.array([self.protocol.predict])}
        own = self._true_controls(index)
        if not self.set:
            return own
        given, known = self.protocol.context, self.meaning
        partner = functools.partial(self._partners_controls, index)
        return controls.told(self.set, own, partner, given, self.seed, index, known)

    @property
    def estimated(self) -> tuple[str, ...]:
        """The tracks that a model estimates itself from the real frames, since the store has none of them."""
        control = controls.CONTROLS[self.protocol.control]
        return () if not control.estimated or set(control.tracks) & set(self.real.tracks) else control.tracks

    def wanted(self, index: int) -> tracks.Tracks:
        """Return what an answer is to do: what a model is told, or what is done in the clip whose motion it takes over."""
        if self.protocol.control != "swap":
            return self.controls(index)
        if not set(controls.CONTROLS["actions"].tracks) & set(self.real.tracks):
            return {}
        acting = dataclasses.replace(self.protocol, control="actions")
        return dataclasses.replace(self, protocol=acting, set="new-actions").controls(index)

    def absent(self, word: str) -> str:
        """Say why the cases cannot be asked with a set; nothing if they can."""
        try:
            controls.check_set(word, tuple(self._true_controls(0)), self.meaning)
        except controls.Absent as reason:
            return str(reason)
        return ""

    @property
    def seed(self) -> int:
        """The protocol's seed, of what is drawn for its sets."""
        return self.protocol.select.seed or 0 if self.protocol.select else 0

    @property
    def meaning(self) -> Meaning:
        """What the dataset says of its actions."""
        return controls.meaning(self._dataset)

    def world(self, index: int) -> Any:
        """Return the world of a case from its last given frame on, a play.player.Player; None if its dataset has none."""
        case, leaf = self.cases[index], self._dataset
        if not hasattr(leaf, "world") or case.step != 1 or case.crop is not None:
            return None
        options = leaf.Options(**self.real.manifest.get("options", {}))
        return leaf.world(options, case.clip, case.start + self.protocol.context - 1)

    @property
    def _dataset(self) -> Any:
        return registry.find("datasets", self.protocol.dataset)

    def _partners_controls(self, index: int) -> tracks.Tracks:
        return self._true_controls(self.partner(index))

    def _true_controls(self, index: int) -> tracks.Tracks:
        """Return what happened in a case, as far as the protocol's control tells it."""
        case, control = self.cases[index], controls.CONTROLS[self.protocol.control]
        if not control.tracks:
            return {}
        if not set(control.tracks) & set(self.real.tracks):
            if control.computed:
                return {control.tracks[0]: self._sparse_motion(index)}
            raise VbenchError(
                f"{self.real.name} has none of the tracks {', '.join(control.tracks)} that {self.protocol.id} gives a model; "
                "take the store that prepare makes"
            )
        stop = case.start + (case.length - 1) * case.step + 1
        found = self.real.tracks_of(case.clip, control.tracks, case.start, stop, case.step)
        seen = {"last": slice(-1, None), "given": slice(self.protocol.context)}.get(control.entries, slice(None))
        return {name: track[seen] for name, track in found.items()}

    def _sparse_motion(self, index: int) -> np.ndarray:
        """Return the motion of some pixels on the way to each frame: float32 (T, 3, H, W), 0 for the first frame."""
        from vbench_ctl.statistics import flow  # brings PyTorch

        moved = flow.along(self.window(index))
        found = controls.sparse_motion(moved, np.random.default_rng([self.seed, index]))
        return np.concatenate([np.zeros_like(found[:1]), found])


@dataclass(frozen=True)
class Asked:
    """One clip that a trained model is to make: what it is given, and the seed of its own randomness.

    `controls` are arrays (T, ...) over all frames of the case, or (1, ...) for an end point; `real` is the whole real
    window where a model infers the control from it, `driving` that of another case whose motion is to be taken over.
    """

    name: str
    context: np.ndarray  # uint8 (context, H, W, 3); no frames at all when nothing is given
    ending: np.ndarray  # uint8 (ending, H, W, 3)
    predict: int
    controls: dict[str, np.ndarray]  # none where the store lacks what a model can estimate itself
    real: np.ndarray | None
    size: tuple[int, int]  # height and width of the frames wanted; those given may have been made smaller for the model
    seed: tuple[int, ...]
    options: Any  # the leaf's Options, None where it has none
    driving: np.ndarray | None = None


def drawing(seed: Sequence[int]) -> "torch.Generator":
    """Return PyTorch's generator of one seed such as that of an `Asked`, on the processor: the same for every device."""
    import torch

    state = int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0])
    return torch.Generator().manual_seed(state % 2**63)


@dataclass(frozen=True)
class Made:
    """A clip that a trained model made, with what it inferred on the way: tracks.py.

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
    step: int | None = None  # of the checkpoint: fixed, so that a training that goes on meanwhile changes nothing

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

        step, checkpoint = runs.checkpoint(self.run, self.leaf.STAGES[-1], self.step)
        return {
            "baseline": self.name,
            "checkpoint": runs.described(step, checkpoint),
            "options": dataclasses.asdict(self.options) if self.options else {},
        }

    def history(self) -> dict[str, Any]:
        """Return how the run was trained."""
        if not self.run:
            return {}
        from vbench_ctl import runs

        return {"run": runs.history(runs.open_run(self.run))}

    def heeded(self, control: str) -> str:
        """Return what a manifest says was heeded of a protocol's control: "none" by a run that was trained without it."""
        if not self.run:
            return str(self.leaf.CONTROL)
        wanted = controls.CONTROLS[control].tracks
        if not wanted or not hasattr(self.leaf, "heeds"):
            return control
        from vbench_ctl import runs

        return control if set(wanted) & set(self.leaf.heeds(runs.open_run(self.run).recipe.model)) else "none"

    def strangeness(self, real: Source | None) -> dict[str, str]:
        """Return what a manifest says of a run that meets other data than it was trained on, as far as both are stores."""
        if not self.run or real is None or "dataset" not in real.manifest:
            return {}
        from vbench_ctl import runs

        seen = " + ".join(map(str, runs.open_run(self.run).about["data"].values()))
        stores = dict.fromkeys(found[0] for found in re.finditer(r"(?<!\S)\S+ \S+(?= \S+ [0-9a-f]{64}\b)", seen))
        own = _data_of(f"{real.manifest['dataset']} {real.manifest.get('variant', '')}")
        return {} if not stores or own in map(_data_of, stores) else {"trained_on": ", ".join(stores)}


def _data_of(name: str) -> tuple[str, str]:
    """Return the dataset of a store, and the word that its variant begins with: what follows are sizes and how many clips."""
    dataset, _, variant = name.partition(" ")
    return dataset, re.split(r"[^a-z]", variant)[0]


def model(word: str | Path, device: str = "cpu", **options: Any) -> Model:
    """Resolve a word of the command line: the folder of a run, or the name of a baseline that needs no training."""
    run = Path(word)
    if (run / "run.json").is_file():
        from vbench_ctl import runs
        from vbench_ctl.processes import chosen_device

        name = runs.open_run(run).baseline
        leaf = registry.load("baselines", name)
        chosen = leaf.Options(**options) if hasattr(leaf, "Options") else None
        step, _ = runs.checkpoint(run, leaf.STAGES[-1])
        return Model(name, run.absolute(), str(chosen_device(device)), chosen, step)
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
    task = _task(model, protocol, real)
    absent = absent_sets(model, task)
    wanted = _wanted(protocol, task.cases, absent)
    header = {
        "format": OUTPUTS,
        "model": model.title,
        "protocol": protocol.id,
        "seed": seed,
        "control": model.heeded(protocol.control),
        "dataset": {key: real.manifest.get(key) for key in ("dataset", "variant", "version")},
        **({"absent_sets": absent} if protocol.sets else {}),
        **({"estimated": list(task.estimated)} if model.run and task.estimated else {}),
        **model.facts(),
    }
    watch = provenance.Stopwatch()
    with files.locked(out):
        _check_same(out, header)
        header |= model.strangeness(real)
        known = _held_speed(out)
        files.sweep(out)
        files.write_json(out / "manifest.json", header | known)
        # The same chunks however often it stopped, since what some models make depends on what they make it with.
        chunks = [wanted[at : at + CHUNK] for at in range(0, len(wanted), CHUNK)]
        chunks = [chunk for chunk in chunks if not all((out / each.file).exists() for each in chunk)]
        done = len(wanted) - sum(map(len, chunks))
        timed = chunks[0][0] if chunks and not known else None
        answering = dataclasses.replace(model, device=execute.known_there(model.device, workers))
        generate_chunk = functools.partial(_generate_chunk, _Order(answering, task, seed, out, timed))
        with _unless_refused(out), progress(f"generate {model.title}", len(wanted), "clips", done) as advance:
            for index, found in execute.run(generate_chunk, chunks, workers, gpu=execute.on_gpu(model.device)):
                known |= found
                advance(len(chunks[index]))
        made = {**provenance.made(), **watch.spent(), **model.history()}
        manifest = {**header, **known, "made": made, "clips": [each.entry(task) for each in wanted]}
        files.write_json(out / "manifest.json", manifest)
    return manifest


@contextlib.contextmanager
def _unless_refused(out: Path) -> Iterator[None]:
    """Leave no manifest where a model refuses what is asked before its first clip."""
    try:
        yield
    except VbenchError:
        if not _has_clips(out):
            (out / "manifest.json").unlink(missing_ok=True)
        raise


def _has_clips(out: Path) -> bool:
    return any(out.rglob("*.mkv"))


def count(model: Model, protocol: Protocol, real: Source) -> int:
    """Return how many clips a protocol asks of a model."""
    task = _task(model, protocol, real)
    return len(_wanted(protocol, task.cases, absent_sets(model, task)))


def _task(model: Model, protocol: Protocol, real: Source) -> Task:
    """Return what a protocol asks of a model, which must be able to answer that and set to do it so."""
    taken = getattr(model.leaf, "CONTROLS", (protocol.control,))
    if protocol.control not in taken:
        raise UsageError(
            f"{protocol.id} gives {protocol.control}, and {model.name} takes {' or '.join(taken) or 'none, it makes no clips'}"
        )
    protocols.check_made(protocol, dataclasses.asdict(model.options) if model.options else {}, model.title)
    return Task(protocol, real, pairing.cases(protocol, real))


def absent_sets(model: Model, task: Task) -> dict[str, str]:
    """Return the sets of a protocol that a model cannot answer, each with the reason."""
    if not task.protocol.sets:
        return {}
    can = _answered_sets(model, task)
    reasons = {
        word: task.absent(word) or ("" if word in can else f"{model.name} cannot be asked that")
        for word in task.protocol.sets
    }
    return {word: reason for word, reason in reasons.items() if reason}


def _answered_sets(model: Model, task: Task) -> Collection[str]:
    """Return which sets a model can answer: what is told to one that heeds nothing makes no difference."""
    if hasattr(model.leaf, "sets"):
        return model.leaf.sets(task)
    if model.heeded(task.protocol.control) == "none":
        return controls.SETS
    return [word for word in controls.SETS if word != "no-actions"] if model.run else ()


@dataclass(frozen=True)
class _Wanted:
    """One clip of an outputs folder: a sample of a case, or just a number where nothing is given."""

    file: str
    index: int
    sample: int = 0
    case: bool = True
    set: str = ""

    def entry(self, task: Task) -> dict[str, Any]:
        if not self.case:
            return {"clip": None, "start": 0, "sample": self.index, "file": self.file}
        case = task.cases[self.index]
        found = {"clip": case.clip, "start": case.start, "sample": self.sample, "file": self.file}
        if self.set:
            found["set"] = self.set
        if self.set in controls.FROM_PARTNER or task.protocol.control == "swap":
            found["from"] = task.cases[task.partner(self.index)].key
        return found

    def seed(self, task: Task, seed: int) -> tuple[int, ...]:
        """Return the seed of the answer: every set has that of the case itself, but for the one with another seed."""
        return seed, self.index, self.sample + (task.protocol.answers if self.set == "new-seed" else 0)


def _wanted(protocol: Protocol, cases: Sequence[Case], absent: Collection[str]) -> list[_Wanted]:
    if protocol.unconditional:
        return [_Wanted(f"{index:06d}.mkv", index, case=False) for index in range(protocol.answers)]
    return [
        _Wanted(f"{pairing.answer_name(case.key, sample, word)}.mkv", index, sample, set=word)
        for word in ("", *protocol.sets)
        if word not in absent
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
    timed: _Wanted | None = None  # the clip whose making is timed


def _generate_chunk(order: _Order, wanted: Sequence[_Wanted]) -> dict[str, Any]:
    """Make some clips; return the speed where one of them is to be timed."""
    protocol = order.task.protocol
    for each, made in zip(wanted, _made(order, wanted), strict=True):
        path, frames = order.out / each.file, made.frames
        if path.exists():
            continue
        if len(frames) == protocol.predict and each.case:
            frames = pairing.framed(frames, order.task.window(each.index), protocol)
        if known := _told(order.task, each) | made.tracks:  # a model knows best what it was told
            tracks.write(tracks.beside(path), known, protocol.length)
        video.write(path, frames)  # last: the clip says that all of it is there
    return {"speed": _speed(order, order.timed)} if order.timed and order.timed in wanted else {}


def _speed(order: _Order, wanted: _Wanted) -> dict[str, Any]:
    """Make a clip once more, alone, and its first frame alone where a trained model can be asked for that."""
    model, steps = order.model, order.task.protocol.predict
    if not model.run:
        return speed.measured(lambda: _made(order, [wanted]), None, steps)
    asked = _asked(order, wanted)
    until = len(asked.context) + 1
    short = dataclasses.replace(
        asked,
        predict=1,
        controls={name: track[:until] for name, track in asked.controls.items()},
        real=None if asked.real is None else asked.real[:until],
        driving=None if asked.driving is None else asked.driving[:until],
    )
    frame = (lambda: continuations(model, [short])) if wanted.case and not len(asked.ending) else None
    network = _loaded(model.run, model.device, model.step).system
    return speed.measured(lambda: continuations(model, [asked]), frame, steps, model.device, network)


def _held_speed(out: Path) -> dict[str, Any]:
    """Return the speed that an earlier run measured, as the manifest's entry; what is measured says nothing of the clips."""
    path = out / "manifest.json"
    held = files.read_json(path) if path.exists() else {}
    return {"speed": held["speed"]} if isinstance(held, dict) and "speed" in held else {}


def _made(order: _Order, wanted: Sequence[_Wanted]) -> list[Made]:
    task, model = order.task, order.model
    if not model.run:
        rngs = [np.random.default_rng(each.seed(task, order.seed)) for each in wanted]
        cases = [each.index % len(task.cases) for each in wanted]  # where nothing is given there may be more clips
        asked = zip([dataclasses.replace(task, set=each.set) for each in wanted], cases, rngs, strict=True)
        return [_checked(_whole(model.leaf.generate(*each)), order) for each in asked]
    return continuations(model, [_asked(order, each) for each in wanted])


def _told(task: Task, each: _Wanted) -> tracks.Tracks:
    """Return what was wanted of a model as tracks of the whole case: what was not told, of the last frames, is NaN."""
    control = controls.CONTROLS[task.protocol.control]
    there = control.computed or not control.tracks or set(control.tracks) & set(task.real.tracks)
    if not each.case or not there:  # a model that heeds nothing could do without
        return {}
    told, length = dataclasses.replace(task, set=each.set).wanted(each.index), task.protocol.length
    if control.entries == "given":
        told = {
            name: np.concatenate([track, np.full((length - len(track), *track.shape[1:]), np.nan, track.dtype)])
            for name, track in told.items()
        }
    return {controls.TOLD + name: track for name, track in told.items()}


def _checked(made: Made, order: _Order) -> Made:
    """Refuse what is no clip of a protocol: the predicted frames, or the given ones with them."""
    frames, protocol = made.frames, order.task.protocol
    lengths = sorted({protocol.predict, protocol.length})
    fits = isinstance(frames, np.ndarray) and frames.ndim == 4 and frames.shape[-1] == 3 and frames.dtype == np.uint8
    if not fits or len(frames) not in lengths:
        found = f"{frames.dtype} {frames.shape}" if isinstance(frames, np.ndarray) else type(frames).__name__
        raise VbenchError(
            f"{order.model.name}: a clip came out as {found}, expected uint8 ({' or '.join(map(str, lengths))}, H, W, 3)"
        )
    return made


def _whole(made: np.ndarray | Made) -> Made:
    return made if isinstance(made, Made) else Made(made)


def _asked(order: _Order, each: _Wanted) -> Asked:
    task = dataclasses.replace(order.task, set=each.set)
    protocol, seed = task.protocol, each.seed(task, order.seed)
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
        {} if task.estimated else task.controls(each.index),
        window if protocol.control == "inferred-actions" or task.estimated else None,
        window.shape[1:3],
        seed,
        order.model.options,
        task.window(task.partner(each.index)) if protocol.control == "swap" else None,
    )


def continuations(model: Model, asked: Sequence[Asked]) -> list[Made]:
    """Let a trained run make some clips together: each uint8 (predict, H, W, 3).

    Where it was trained on frames of another size, it sees the given ones resized, and what it makes is resized back.
    """
    assert model.run
    loaded = _loaded(model.run, model.device, model.step)
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
    frames = {"context": asked.context, "ending": asked.ending, "real": asked.real, "driving": asked.driving}
    nothing = np.zeros((0, *size, 3), np.uint8)
    fitted: dict[str, Any] = {
        name: resize.pictures(clip, size, "pil_antialias") if len(clip) else nothing
        for name, clip in frames.items()
        if clip is not None
    }
    return dataclasses.replace(asked, **fitted)


@functools.lru_cache(maxsize=1)
def _loaded(run: Path, device: str, step: int | None) -> Any:
    from vbench_ctl import training

    return training.load(run, device=device, step=step)


# Besides protocols: what else a model can do, to be looked at


@dataclass(frozen=True)
class Given:
    """What a way of a model works from; each way uses what it needs."""

    clips: Sequence[tuple[str, np.ndarray]]  # real clips by id, uint8 (T, H, W, 3)
    driving: np.ndarray | None = None  # a clip whose control is taken over
    control: dict[str, np.ndarray] = field(default_factory=dict)  # columns of numbers (N,) by name
    length: int | None = None  # frames to make, where somebody says so
    seed: int = 0
    options: Any = None  # the leaf's Options
    sizes: Sequence[tuple[int, int]] = ()  # height and width of each clip before it was resized for the model

    @property
    def frames(self) -> int:
        """How many frames to make where nothing else decides it."""
        return self.length or LENGTH


def ways(leaf: ModuleType) -> dict[str, str]:
    """Return what a baseline can do besides protocols, each with a sentence about it."""
    return dict(getattr(leaf, "WAYS", {}))


def show(model: Model, way: str, given: Given, out: Path, real: Source | None = None) -> list[Path]:
    """Write what one way of a trained model makes of what is given, clips of `real` maybe: lossless clips and a sheet."""
    if way not in ways(model.leaf):
        raise unknown(f"way of {model.name}", way, ways(model.leaf))
    assert model.run
    loaded = _loaded(model.run, model.device, model.step)
    size = (loaded.facts.height, loaded.facts.width)
    clips = [(name, resize.pictures(clip, size, "pil_antialias")) for name, clip in given.clips]
    driving = None if given.driving is None else resize.pictures(given.driving, size, "pil_antialias")
    sizes = [clip.shape[1:3] for _, clip in given.clips]
    made = model.leaf.show(loaded.system, way, dataclasses.replace(given, clips=clips, driving=driving, sizes=sizes))
    if not made:
        raise UsageError(f"--way {way} begins at real clips; give some with --real")
    with files.locked(out):
        _check_ours(out)
        if (out / "manifest.json").exists() and "protocol" in files.read_json(out / "manifest.json"):
            raise UsageError(f"{out} holds the outputs of a protocol; choose another --out")
        files.sweep(out)
        paths = [out / f"{name}.mkv" for name, _ in made]
        facts = {"format": OUTPUTS, "model": model.title, "way": way, "seed": given.seed}
        facts |= {**model.facts(), **model.strangeness(real)}
        files.write_json(out / "manifest.json", facts)  # first, so that what is there is known to be ours
        for path, (_, clip) in zip(paths, made, strict=True):
            video.write(path, clip)
        pictures.save(out / "sheet.png", pictures.sheet(made[:SHOWN]))
        facts["files"] = [path.relative_to(out).as_posix() for path in paths]
        files.write_json(out / "manifest.json", facts)
    return paths


def read_control(path: Path) -> dict[str, np.ndarray]:
    """Read a control, a CSV file with a column per number and a row per step: float64 (N,) by column."""
    try:
        rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"))))
        columns = {name: np.array([float(row[name] or "nan") for row in rows]) for name in (rows[0] if rows else {})}
    except (OSError, ValueError, TypeError, csv.Error) as error:
        raise UsageError(f"{path}: not a CSV file of numbers with a header ({error!s:.200})") from error
    if not columns or not all(np.isfinite(values).all() for values in columns.values()):
        raise UsageError(f"{path}: expected a header, then a row of finite numbers per step")
    return columns


def _check_ours(out: Path) -> None:
    """Refuse a folder of clips without a manifest: they would be taken for the model's."""
    if not (out / "manifest.json").exists():
        kinds = (*video.VIDEOS, *video.IMAGES)
        if foreign := next((path for path in out.rglob("*") if path.suffix.lower() in kinds), None):
            raise VbenchError(
                f"{out} holds {foreign.relative_to(out)}, which vbench-ctl generate did not make; choose another --out"
            )


def _check_same(out: Path, header: dict[str, Any]) -> None:
    """Refuse to mix two models or protocols in one folder, or with clips of somebody else's."""
    _check_ours(out)
    if not _has_clips(out):  # of a run that was stopped at once
        return
    held = outputs_manifest(out)
    for key, value in header.items():
        if held.get(key) != value:
            raise VbenchError(f"{out} holds outputs with {key} {held.get(key)}, not {value}; choose another --out")
