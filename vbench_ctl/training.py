"""Training: one loop for all baselines, on one or many processes, to be read from top to bottom.

A baseline says what a step computes (`System`); the loop feeds it, steps its optimisers, logs, saves and resumes. All
that is random is a function of (seed, step, process), so a checkpoint needs no state of it and resuming gives the same bits.
"""

import contextlib
import dataclasses
import itertools
import math
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from accelerate.utils import set_seed
from torch import Tensor, nn

from vbench_ctl import files, live, pictures, provenance, recipes, registry, remote, runs, sources, store
from vbench_ctl.errors import UsageError, VbenchError, unknown
from vbench_ctl.processes import Processes, chosen_device, joined
from vbench_ctl.recipes import DataSettings, Recipe, TrainingSettings
from vbench_ctl.runs import Run
from vbench_ctl.sources import JoinedSource, Source, StoreSource, open_source
from vbench_ctl.windows import Batch, Windows, loader

PRECISIONS = {"bf16": torch.bfloat16, "fp16": torch.float16}


# What a baseline defines


class Update(NamedTuple):
    """One step of one optimiser."""

    optimizer: str
    loss: Tensor
    logs: Mapping[str, Tensor | float] = MappingProxyType({})
    clip_norm: float | None = None  # the largest norm of its gradient


@dataclass(frozen=True)
class DataFacts:
    """What a baseline may know of its data when it is built."""

    height: int
    width: int
    fps: float | None = None
    tracks: dict[str, tuple[tuple[int, ...], str]] = dataclasses.field(default_factory=dict)  # shape of an entry, dtype
    actions: int = 0  # classes, or the width of a vector; 0: no actions
    length: int = 0  # frames of a window
    windows: int = 0  # of one epoch


class System(Protocol):
    """What `build` of a baseline returns: an nn.Module with these. It may leave out rates, evaluate and pictures.

    Which updates a step makes may depend on the step, not on the data: all processes must make the same ones.
    """

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """Return the optimisers by name; called once, when the weights are on their device."""
        ...

    def rates(self, step: int) -> dict[str, float]:
        """Return the factors on the optimisers' learning rates at a step; those left out are 1."""
        ...

    def updates(self, batch: Batch, step: int) -> Iterator[Update]:
        """Yield the updates of one step in order; what comes after a yield sees the new weights."""
        ...

    def evaluate(self, batch: Batch, step: int) -> dict[str, float]:
        """Return validation numbers of one batch; called in evaluation mode, without gradients."""
        ...

    def pictures(self, batch: Batch, step: int) -> list[tuple[str, np.ndarray]]:
        """Return labelled clips, uint8 (T, H, W, 3), for the sheet of samples."""
        ...


class Stopped(VbenchError):
    """Ctrl-C or a termination request; everything is saved."""


# Training


def train(
    baseline: str,
    recipe: Recipe,
    out: Path,
    stage: str | None = None,
    device: str = "auto",
    root: str | Path | None = None,
    resume: bool = False,
) -> Path:
    """Train all stages of a baseline, or one, into the run folder `out`, and return it; finished stages are left alone.

    An interrupted run of the same recipe goes on; with `resume` also one whose recipe differs, and there must be one.
    """
    leaf = recipes.trainable(baseline)
    stages = _chosen_stages(leaf, stage)
    processes = joined(device)
    with contextlib.ExitStack() as until:
        if processes.main:
            until.enter_context(files.locked(out))
            until.enter_context(runs.kept_if_refused(out) if resume else runs.unmade_if_refused(out))
            files.sweep(out)
            run = runs.go_on(out, recipe) if resume else runs.create(out, baseline, recipe)
        processes.wait()
        if not processes.main:
            run = runs.open_run(out)
        with _interrupts(processes.count) as interrupted:
            for each in stages:
                with _memory_explained(run.recipe.training[each], processes.device):
                    _train_stage(run, leaf, each, processes, root, interrupted)
    return out


def _train_stage(
    run: Run,
    leaf: ModuleType,
    stage: str,
    processes: Processes,
    root: str | Path | None,
    interrupted: Callable[[], bool],
) -> None:
    settings, data = run.recipe.training[stage], run.recipe.data[stage]
    rank, device = processes.rank, processes.device
    portion = _portion(settings, processes.count)

    # Where the run stopped
    state = runs.last(run.folder, stage)
    first = state["step"] if state else 0
    if state and first >= settings.steps:
        processes.say(f"{run.title(stage)}: its {settings.steps} steps are done")
        return

    # Data
    source = open_data(data, data.split, root)
    windows = _windows(source, data, settings.seed, processes.say)
    held_windows = windows
    if data.validation:
        held_windows = _windows(open_data(data, data.validation, root), data, settings.seed, processes.say)
    facts = data_facts(windows, source)
    if processes.main:
        before = [name for name in leaf.STAGES[: leaf.STAGES.index(stage)] if _same_data(run.recipe.data[name], data)]
        runs.note_data(run, stage, _fingerprint(source), before)

    # System and optimisers, the same in all processes
    _be_deterministic(settings.deterministic, device)
    set_seed(settings.seed)
    system = leaf.build(run.recipe.model, facts, stage, _earlier(run, leaf, stage)).to(device)
    optimizers = system.optimizers()
    base_rates = {name: [group["lr"] for group in each.param_groups] for name, each in optimizers.items()}
    average = Average(system, optimizers, settings.ema)
    scaler = torch.amp.GradScaler(device.type, enabled=settings.precision == "fp16")
    if settings.validate_every and not (data.validation and hasattr(system, "evaluate")):
        why = "data.validation names no split" if not data.validation else "this baseline has no numbers for it"
        raise UsageError(f"training.validate_every = {settings.validate_every}, but {why}; set it to 0")

    if settings.pictures_every and not hasattr(system, "pictures"):
        raise UsageError(
            f"training.pictures_every = {settings.pictures_every}, but this baseline has none; set it to 0"
        )
    if state:
        _restore(run, stage, state, system, optimizers, average, scaler)
        del state
        processes.say(f"{run.title(stage)}: going on at step {first} of {settings.steps}")
    if not settings.steps:  # a stage that needs no training: those after it get it as it was initialised
        if processes.main:
            runs.save(run.folder, stage, _state(0, system, optimizers, average, scaler, facts), settings.keep)
        processes.wait()
        processes.say(f"{run.title(stage)}: not trained, its steps are 0")
        return
    if settings.compile:
        for network in system.children():
            network.compile()

    # Loggers
    trackers = live.Trackers(run, stage, first) if processes.main else None
    if processes.main and runs.rewind_log(run.folder, stage, first) and not first:
        processes.say(f"{run.title(stage)}: no checkpoint is left, so it begins anew")
    meter = _Meter()
    batches = _started(loader(windows, portion, first * settings.batch, rank, processes.count, settings.workers))
    started, watch = time.monotonic(), provenance.Stopwatch()

    system.train()
    view = live.view(run.title(stage), settings.steps, first) if processes.main else contextlib.nullcontext()
    with view as show:
        for step in range(first, settings.steps):
            # One step: forward, backward and an optimiser's step for each update of the system
            set_seed(_mixed(settings.seed, step, rank))
            rates = system.rates(step) if hasattr(system, "rates") else {}
            for name, optimizer in optimizers.items():
                for group, base in zip(optimizer.param_groups, base_rates[name], strict=True):
                    group["lr"] = base * rates.get(name, 1.0)
            parts = [system.updates(_on(device, next(batches)), step) for _ in range(settings.accumulate)]
            while update := _forward_backward(parts, optimizers, settings, device, scaler, meter, step):
                optimizer = optimizers[update.optimizer]
                weights = _weights(optimizer)
                processes.average_gradients(weights)
                scaler.unscale_(optimizer)
                if update.clip_norm is not None:
                    nn.utils.clip_grad_norm_(weights, update.clip_norm)
                scaler.step(optimizer)
                scaler.update()
                average.follow(update.optimizer)
            processes.share_buffers(system)

            # What came of it
            done = step + 1
            stop = processes.any(interrupted())
            save = stop or done == settings.steps or done % settings.save_every == 0
            if save or done % settings.log_every == 0:
                losses = _means(meter, processes, run, stage)
                meter = _Meter()
                if trackers and show:
                    numbers = {"losses": losses, "rates": {name: float(rates.get(name, 1.0)) for name in optimizers}}
                    speed = (done - first) / (time.monotonic() - started)
                    entry = {"stage": stage, "step": done, **numbers, "steps_per_second": speed}
                    memory_gb = provenance.memory_bytes(str(device)) / 1e9
                    runs.log(run.folder, {**entry, **watch.spent(), "memory_gb": memory_gb})
                    watch = provenance.Stopwatch()
                    trackers.log(losses, done)
                    show(done, losses, memory_gb)

            # Validation and samples, with the averaged weights
            if settings.validate_every and done % settings.validate_every == 0:
                values = _validate(system, average, held_windows, settings, processes, done)
                if trackers:
                    runs.log(run.folder, {"stage": stage, "step": done, "validation": values})
                    trackers.log({f"validation/{name}": value for name, value in values.items()}, done)
            if settings.pictures_every and done % settings.pictures_every == 0 and trackers:
                batch = _on(device, next(iter(loader(held_windows, _portion(settings, 1)))))
                with _evaluation(system, average, settings, device, 0):
                    sheet = pictures.sheet(system.pictures(batch, done))
                name = f"{stage}-step-{done:09d}.png" if stage else f"step-{done:09d}.png"
                pictures.save(run.folder / "pictures" / name, sheet)
                trackers.picture(sheet, done)

            # Checkpoint
            if save and processes.main:
                _check_finite(system, run, stage, done)
                runs.save(run.folder, stage, _state(done, system, optimizers, average, scaler, facts), settings.keep)
            if save:
                processes.wait()
            if stop and done < settings.steps:
                processes.fail(
                    Stopped(
                        f"{run.title(stage)} stopped after step {done} of {settings.steps} and saved; go on with: "
                        f'vbench-ctl train --resume "{run.folder}"'
                    )
                )
    if trackers:
        trackers.finish()


def _portion(settings: TrainingSettings, processes: int) -> int:
    """Return how many clips a process works through at once."""
    parts = settings.accumulate * processes
    if settings.batch % parts:
        raise UsageError(
            f"training.batch = {settings.batch} cannot be split into {processes} processes x training.accumulate = "
            f"{settings.accumulate} equal parts; change one of them"
        )
    return settings.batch // parts


def _forward_backward(
    parts: Sequence[Iterator[Update]],
    optimizers: dict[str, torch.optim.Optimizer],
    settings: TrainingSettings,
    device: torch.device,
    scaler: torch.amp.GradScaler,
    meter: "_Meter",
    step: int,
) -> Update | None:
    """Compute the gradient of the next update, summed over the parts of the batch; None when the step is over."""
    update = None
    for number, part in enumerate(parts):
        with _autocast(settings, device):
            update = next(part, None)
        if update is None:
            return None
        optimizer = optimizers[update.optimizer]
        if number == 0:
            optimizer.zero_grad(set_to_none=True)
        meter.add(update, step)
        # Only this optimiser's weights: a generator's loss leaves nothing in the discriminator's gradient.
        scaler.scale(update.loss / len(parts)).backward(inputs=_weights(optimizer))
    return update


def _weights(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [weight for group in optimizer.param_groups for weight in group["params"] if weight.requires_grad]


def _autocast(settings: TrainingSettings, device: torch.device) -> torch.autocast:
    enabled = settings.precision in PRECISIONS
    return torch.autocast(device.type, PRECISIONS.get(settings.precision), enabled=enabled)


def _mixed(*numbers: int) -> int:
    """Make one seed of several numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


def _on(device: torch.device, batch: Batch) -> Batch:
    return {name: values.to(device, non_blocking=True) for name, values in batch.items()}


def _be_deterministic(wanted: bool, device: torch.device) -> None:
    torch.use_deterministic_algorithms(wanted, warn_only=True)
    torch.backends.cudnn.benchmark = not wanted and device.type == "cuda"


def _say(text: str) -> None:
    print(text, file=sys.stderr)


# The moving average of the weights


class Average:
    """Keeps an exponential moving average of all weights that are trained; a decay of 0 keeps none."""

    def __init__(self, system: nn.Module, optimizers: dict[str, torch.optim.Optimizer], decay: float):
        self.decay = decay
        self.live = {name: weight for name, weight in system.named_parameters() if weight.requires_grad and decay}
        self.weights = {name: weight.detach().clone() for name, weight in self.live.items()}
        names = {id(weight): name for name, weight in self.live.items()}
        self._of = {
            optimizer: [names[id(weight)] for weight in _weights(each) if id(weight) in names]
            for optimizer, each in optimizers.items()
        }

    @torch.no_grad()
    def follow(self, optimizer: str) -> None:
        """Move towards the weights that an optimiser has just changed."""
        if names := self._of[optimizer]:
            kept = [self.weights[name] for name in names]
            torch._foreach_lerp_(kept, [self.live[name].detach() for name in names], 1 - self.decay)

    @contextlib.contextmanager
    def worn(self) -> Iterator[None]:
        """Let the system wear the averaged weights for a while."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for name, weight in self.live.items():
            kept = self.weights[name].clone()
            self.weights[name].copy_(weight)
            weight.copy_(kept)


# Validation


@contextlib.contextmanager
def _evaluation(
    system: nn.Module, average: Average, settings: TrainingSettings, device: torch.device, number: int
) -> Iterator[None]:
    """Prepare for looking at a system: evaluation mode, averaged weights, the same randomness each time."""
    set_seed(_mixed(settings.seed, number))
    system.eval()
    try:
        with torch.no_grad(), average.worn(), _autocast(settings, device):
            yield
    finally:
        system.train()


def _validate(
    system: Any,
    average: Average,
    windows: Windows,
    settings: TrainingSettings,
    processes: Processes,
    step: int,
) -> dict[str, float]:
    """Return the means over the first batches of the validation windows; each process takes whole batches in turn."""
    found: dict[str, list[float]] = {}
    batches = loader(windows, _portion(settings, 1), 0, processes.rank, processes.count)
    for number in range(processes.rank, settings.validation_batches, processes.count):
        with _evaluation(system, average, settings, processes.device, number):
            for name, value in system.evaluate(_on(processes.device, next(batches)), step).items():
                found.setdefault(name, []).append(float(value))
    gathered = processes.gather(found)
    together = {name: [value for each in gathered for value in each.get(name, ())] for name in gathered[0]}
    return {name: math.fsum(values) / len(values) for name, values in together.items()}


# Ctrl-C, memory, numbers that are none


@contextlib.contextmanager
def _interrupts(processes: int) -> Iterator[Callable[[], bool]]:
    """Yield a function that tells whether Ctrl-C was pressed; pressed twice, it ends the program at once."""
    if threading.current_thread() is not threading.main_thread():  # where Python allows no handlers
        yield lambda: False
        return
    pressed: list[int] = []

    def note(number: int, frame: Any) -> None:
        # A launcher passes on what the terminal has already sent: only alone is a second time a second wish.
        if pressed and processes == 1:
            raise KeyboardInterrupt
        pressed.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(pressed)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _memory_explained(settings: TrainingSettings, device: torch.device) -> Iterator[None]:
    """Turn running out of memory into a sentence."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_memory(error):
            raise
        wanted = " ".join(str(error).split())[:300]
        raise VbenchError(
            f"a step with training.batch = {settings.batch} in {settings.accumulate} portions does not fit into the memory "
            f"of {_device_name(device)} ({wanted}); --set training.accumulate={2 * settings.accumulate} halves what is "
            "needed at once, and so do a smaller training.batch, a smaller data.length or training.precision=bf16"
        ) from error


def is_memory(error: Exception) -> bool:
    """Tell whether memory did not suffice: PyTorch has several words for it."""
    texts: tuple[str, ...] = (
        "out of memory",
        "can't allocate memory",
        "not enough memory",
        "ALLOC_FAILED",
        "bad_alloc",
    )
    texts += ("insufficient shared memory", "killed by signal: Killed")  # of a process that reads clips
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(text in str(error) for text in texts)


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        return f"{properties.name} with {properties.total_memory / 1e9:.0f} GB"
    return f"this machine with {os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 1e9:.0f} GB"


class _Meter:
    """Collects the losses and logs of some steps where they are; fetching each at once would stop a GPU."""

    def __init__(self) -> None:
        self.values: dict[str, list[Tensor]] = {}
        self.losses: dict[str, list[int]] = {}  # name -> the step of each value

    def add(self, update: Update, step: int) -> None:
        self.losses.setdefault(update.optimizer, []).append(step)
        self._add(update.optimizer, update.loss)
        for name, value in update.logs.items():
            self._add(f"{update.optimizer}/{name}", value)

    def _add(self, name: str, value: Tensor | float) -> None:
        self.values.setdefault(name, []).append(torch.as_tensor(value).detach())

    def fetch(self) -> dict[str, np.ndarray]:
        return {name: torch.stack(values).double().cpu().numpy() for name, values in self.values.items()}


def _means(meter: _Meter, processes: Processes, run: Run, stage: str) -> dict[str, float | None]:
    """Return the mean of each loss since the last time, over all processes; a loss that is no number ends the run."""
    values = meter.fetch()
    broken = [
        (meter.losses[name][index], name, float(values[name][index]))
        for name in meter.losses
        for index in np.flatnonzero(~np.isfinite(values[name]))[:1]
    ]
    gathered = processes.gather(({name: float(each.mean()) for name, each in values.items()}, broken))
    if found := sorted(each for _, many in gathered for each in many):
        step, name, value = found[0]
        processes.fail(_diverged(f'the loss "{name}" became {value} in step {step + 1}', run, stage))
    means = {name: math.fsum(each[name] for each, _ in gathered) / processes.count for name in gathered[0][0]}
    return {name: value if math.isfinite(value) else None for name, value in means.items()}


def _check_finite(system: nn.Module, run: Run, stage: str, step: int) -> None:
    """Keep what is no number out of checkpoints."""
    for name, value in system.state_dict().items():
        if isinstance(value, Tensor) and value.is_floating_point() and not value.isfinite().all():
            raise _diverged(f'"{name}" is no longer a number after step {step}', run, stage)


def _diverged(what: str, run: Run, stage: str) -> VbenchError:
    saved = runs.checkpoints(run.folder, stage)
    where = f"the last checkpoint is of step {max(saved)}" if saved else "there is no checkpoint yet"
    again = f'go on with vbench-ctl train --resume "{run.folder}" --set ...' if saved else "start with another --out"
    return VbenchError(
        f"{run.title(stage)}: {what}, so training has failed; {where}. Lower the learning rate in [model], or set "
        f"training.precision=no if it is not, and {again}"
    )


# Data


def open_data(data: DataSettings, split: str, root: str | Path | None = None) -> Source:
    """Open what a recipe is about: splits and variants of a dataset's stores, or whatever lies at a path."""
    if not data.dataset:
        raise UsageError("no dataset; name one with --data, or in the recipe as data.dataset")
    chosen = [(variant, each) for variant in data.variant.split("+") for each in split.split("+")]
    parts = [_opened(data.dataset, variant, each, root) for variant, each in chosen]
    return parts[0] if len(parts) == 1 else JoinedSource(parts)


def _opened(name: str, variant: str, split: str, root: str | Path | None) -> Source:
    stores = files.home(root) / "stores"
    prepared = {path.name for path in stores.glob("*") if path.is_dir()}
    if leaf := registry.find("datasets", name):
        variant = variant or leaf.variant(leaf.Options())
    elif name in prepared:
        variants = sorted({path.name.rpartition("@")[0] for path in (stores / name).glob("*@*")})
        if not variant and len(variants) != 1:
            raise UsageError(f"{name} has the variants {', '.join(variants)}; say which: --set data.variant=...")
        variant = variant or variants[0]
    elif remote.is_url(name) or Path(name).exists():
        return open_source(name, split)
    else:
        raise unknown("dataset", name, {*registry.names("datasets"), *prepared})
    return StoreSource(store.Store(store.newest(name, variant, split, root), split))


def _windows(source: Source, data: DataSettings, seed: int, say: Callable[[str], None]) -> Windows:
    for track in data.tracks:
        if track not in source.tracks:
            raise VbenchError(
                f"{source.name} has no {track}, which this baseline is trained with (data.tracks); it has "
                f"{', '.join(source.tracks) or 'frames alone'}"
            )
    with warnings.catch_warnings(record=True) as caught:  # of clips that are too short
        warnings.simplefilter("always")
        windows = Windows(
            source,
            data.length,
            data.stride,
            start=data.start,
            tracks=data.tracks,
            size=data.size,
            augment=data.augment,
            repeats=data.repeats,
            seed=seed,
        )
    for warning in caught:
        say(str(warning.message))
    return windows


def _started(batches: Iterator[Batch]) -> Iterator[Batch]:
    """Begin reading, by workers that leave Ctrl-C to this process: they inherit that it is ignored."""
    if threading.current_thread() is not threading.main_thread():
        return batches
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        return itertools.chain([next(batches)], batches)
    finally:
        signal.signal(signal.SIGINT, before)


def data_facts(windows: Windows, source: Source) -> DataFacts:
    """Look at the first window for what a baseline may know of its data."""
    item = windows[0]
    length, height, width = item["frames"].shape[:3]
    tracks = {
        name: (tuple(values.shape[1:]), str(values.dtype).removeprefix("torch."))
        for name, values in item.items()
        if name != "frames"
    }
    actions = 0
    if "actions" in tracks:
        shape, dtype = tracks["actions"]
        if shape or "int" not in dtype:
            actions = math.prod(shape)
        else:  # classes: count to the highest
            actions = 1 + max(int(source.track("actions", clip_id).max(initial=-1)) for clip_id in source.ids)
    return DataFacts(height, width, sources.fps(source), tracks, actions, length, len(windows))


def _same_data(one: DataSettings, other: DataSettings) -> bool:
    """Say whether two stages are told to learn from the same clips."""
    return (one.dataset, one.variant, one.split) == (other.dataset, other.variant, other.split)


def _fingerprint(source: Source) -> str:
    if isinstance(source, StoreSource):
        return f"{source.name} {source.store.summary['content_sha256']}"
    if isinstance(source, JoinedSource):
        return " + ".join(map(_fingerprint, source.parts))
    return f"{source.name}, {len(source.ids)} clips"


# Stages and checkpoints


def _chosen_stages(leaf: ModuleType, stage: str | None) -> tuple[str, ...]:
    if stage in (None, "all"):
        return leaf.STAGES
    if stage not in leaf.STAGES:
        raise unknown("stage", stage, filter(None, leaf.STAGES))
    return (stage,)


def _earlier(run: Run, leaf: ModuleType, stage: str, finished: bool = True) -> dict[str, dict[str, Tensor]]:
    """Return the weights of the stages before this one, by name."""
    found = {}
    for name in leaf.STAGES[: leaf.STAGES.index(stage)]:
        state = runs.last(run.folder, name)
        if state is None or (finished and state["step"] < run.recipe.training[name].steps):
            reached = f"is at step {state['step']} of {run.recipe.training[name].steps}" if state else "was not trained"
            raise VbenchError(
                f"{run.folder}: the stage {stage} needs the stage {name}, which {reached}; "
                f'run "vbench-ctl train --resume {run.folder} --stage {name}"'
            )
        found[name] = {**state["system"], **state["ema"]}
    return found


def _state(
    step: int,
    system: nn.Module,
    optimizers: dict[str, torch.optim.Optimizer],
    average: Average,
    scaler: torch.amp.GradScaler,
    facts: DataFacts,
) -> dict[str, Any]:
    """Return what a checkpoint holds."""
    return {
        "step": step,
        "system": system.state_dict(),
        "optimizers": {name: optimizer.state_dict() for name, optimizer in optimizers.items()},
        "ema": average.weights,
        "scaler": scaler.state_dict(),
        "facts": dataclasses.asdict(facts),
    }


def _restore(
    run: Run,
    stage: str,
    state: dict[str, Any],
    system: nn.Module,
    optimizers: dict[str, torch.optim.Optimizer],
    average: Average,
    scaler: torch.amp.GradScaler,
) -> None:
    """Put a checkpoint back; what the recipe says of the optimisers holds, in case it was changed."""
    with _fitting(run, stage, state):
        system.load_state_dict(state["system"])
        for name, optimizer in optimizers.items() if state["optimizers"] else ():  # an imported run has none
            now = optimizer.state_dict()["param_groups"]
            optimizer.load_state_dict({"state": state["optimizers"][name]["state"], "param_groups": now})
        for name, kept in average.weights.items():
            kept.copy_(state["ema"].get(name, state["system"][name]))
        if state.get("scaler") and scaler.is_enabled():
            scaler.load_state_dict(state["scaler"])


@contextlib.contextmanager
def _fitting(run: Run, stage: str, state: dict[str, Any]) -> Iterator[None]:
    """Turn a checkpoint that does not fit its system into a sentence."""
    try:
        yield
    except (KeyError, ValueError, RuntimeError) as error:
        if is_memory(error):
            raise
        reason = " ".join(str(error).split())[:200]
        raise VbenchError(
            f"{run.title(stage)}: the checkpoint of step {state['step']} does not fit the system of {run.folder}/recipe.toml "
            f"({reason}); undo what you changed in [model], or train anew with another --out"
        ) from error


class Loaded(NamedTuple):
    """A trained system and where it comes from."""

    leaf: ModuleType
    system: Any
    settings: Any
    facts: DataFacts


def load(run: Path, stage: str | None = None, device: str = "cpu", ema: bool = True, step: int | None = None) -> Loaded:
    """Load the newest checkpoint of a run's last stage, or of another stage or step, in evaluation mode."""
    opened = runs.open_run(run)
    leaf = recipes.trainable(opened.baseline)
    (stage,) = _chosen_stages(leaf, leaf.STAGES[-1] if stage is None else stage)
    state = runs.restore(runs.checkpoint(run, stage, step)[1])
    facts = DataFacts(**{**state["facts"], "tracks": dict(state["facts"]["tracks"])})
    system = leaf.build(opened.recipe.model, facts, stage, _earlier(opened, leaf, stage, finished=False))
    with _fitting(opened, stage, state):
        system.load_state_dict({**state["system"], **(state["ema"] if ema else {})})
    return Loaded(leaf, system.to(chosen_device(device)).eval(), opened.recipe.model, facts)


class Planned(NamedTuple):
    """What `train` would do in one stage."""

    stage: str
    steps: int
    done: int
    batch: int
    clips: int
    windows: int
    frames: str
    parameters: int
    trained: dict[str, int]  # parameters by optimiser


def plan(
    baseline: str,
    recipe: Recipe,
    out: Path,
    stage: str | None = None,
    root: str | Path | None = None,
    processes: int = 1,
) -> list[Planned]:
    """Build each stage once, without training it, and say what would be trained."""
    leaf = recipes.trainable(baseline)
    wanted = _chosen_stages(leaf, stage)
    earlier: dict[str, dict[str, Tensor]] = {}
    found = []
    for name in leaf.STAGES[: leaf.STAGES.index(wanted[-1]) + 1]:
        data, settings = recipe.data[name], recipe.training[name]
        _portion(settings, processes)
        source = open_data(data, data.split, root)
        windows = _windows(source, data, settings.seed, _say)
        facts = data_facts(windows, source)
        system = leaf.build(recipe.model, facts, name, earlier)
        earlier[name] = system.state_dict()
        trained = {each: sum(map(Tensor.numel, _weights(by))) for each, by in system.optimizers().items()}
        parameters = sum(weight.numel() for weight in system.parameters())
        done = max(runs.checkpoints(out, name), default=0)
        frames = f"{facts.length}x{facts.height}x{facts.width}"
        sizes = (settings.batch, len(source.ids), len(windows), frames, parameters, trained)
        found.append(Planned(name, settings.steps, done, *sizes))
    return [each for each in found if each.stage in wanted]
