"""The run folder: what was trained, how, on what, and its checkpoints.

recipe.toml                              the resolved recipe: every value
run.json                                 format, baseline, data, versions, when it was resumed with which changes
log.jsonl                                losses, learning rates and validation numbers by stage and step
checkpoints/[STAGE/]step-000001000.pt    weights, their moving average, optimisers; the newest few
pictures/, tensorboard/, wandb/          samples over time, and loggers
"""

import contextlib
import dataclasses
import json
import os
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from vbench_ctl import __version__, fetch, files, provenance, recipes
from vbench_ctl.errors import UsageError, VbenchError
from vbench_ctl.recipes import DataSettings, Recipe, TrainingSettings

FORMAT = "vbench-run 1"
_PUT_BACK = "it is damaged, put back a copy of it or train anew with another --out"
WITH = ("torch", "numpy", "accelerate")
# Where run.json has it:
_ABOUT: dict[str, type] = {"id": str, "seed": dict, "data": dict, "made": dict, "resumed": list}
_MADE: dict[str, type] = {"with": dict, "command": list}
_LOGGED: dict[str, type] = {"losses": dict, "validation": dict}  # of numbers
STATE = ("step", "system", "optimizers", "ema", "facts")  # what every checkpoint has


@dataclass(frozen=True)
class Run:
    """An opened run folder."""

    folder: Path
    baseline: str
    recipe: Recipe
    about: dict[str, Any]  # what run.json says

    def title(self, stage: str) -> str:
        """Return how messages and loggers call a stage of it."""
        return f"{self.folder.name} {stage}".strip()


def path(baseline: str, recipe: Recipe, root: str | Path | None = None) -> Path:
    """Return where a run belongs unless the user says otherwise."""
    dataset = Path(next(iter(recipe.data.values())).dataset).stem or "data"
    return files.home(root) / "runs" / f"{baseline}-{dataset}-{recipe.name}"


def folder_of(word: str | Path, root: str | Path | None = None) -> Path:
    """Return the folder of a run that a command is given; runs/NAME may also lie where train puts it by default."""
    folder, kept = Path(word), files.home(root) / word
    is_kept = folder.parts[:1] == ("runs",) and not folder.exists() and (kept / "run.json").is_file()
    return kept if is_kept else folder


def create(folder: Path, baseline: str, recipe: Recipe, **facts: Any) -> Run:
    """Start a run folder, with more facts in run.json; one of the same run is opened, so that going on needs no other words.

    One that was refused before anything was trained may be begun anew with another recipe.
    """
    text = recipes.text(recipe)
    if (folder / "run.json").exists():
        held = open_run(folder)
        same = held.baseline == baseline and recipes.text(held.recipe) == text
        if not same and any((folder / "checkpoints").rglob("step-*.pt")):
            other = f", where {_named(_changes(recipe, held.recipe))}" if held.baseline == baseline else ""
            raise UsageError(
                f"{folder} holds another run, of {held.baseline} with {folder}/recipe.toml{other}; choose another --out, "
                f'or go on with that one: vbench-ctl train --resume "{folder}"'
            )
        if same:
            return held
    about = {
        "format": FORMAT,
        "id": secrets.token_hex(4),
        "baseline": baseline,
        "recipe": recipe.name,
        "seed": {stage: training.seed for stage, training in recipe.training.items()},
        "data": {},
        "made": provenance.made(*WITH),
        **facts,
    }
    files.write_text(folder / "recipe.toml", text)
    files.write_json(folder / "run.json", about)
    return Run(folder, baseline, recipe, about)


def open_run(folder: Path, sets: Sequence[str] = ()) -> Run:
    """Open a run folder, with changes to its recipe."""
    if not (folder / "run.json").is_file():
        raise UsageError(f"{folder}: no run there (it has no run.json); start one with vbench-ctl train")
    about = files.read_json(folder / "run.json")
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        found = about.get("format") if isinstance(about, dict) else None
        made = about.get("made") if found else None
        held = made.get("with") if isinstance(made, dict) else None
        by = held.get("vbench-ctl", "another program") if isinstance(held, dict) else "another program"
        raise VbenchError(
            f"{folder}/run.json: its format is {found!r} (vbench-ctl {by}), this version {__version__} reads {FORMAT!r}; "
            "use the version that made it, or train anew with another --out"
        )
    _check_kinds(
        folder / "run.json", {"baseline": None, "recipe": None, **about}, {"baseline": str, "recipe": str, **_ABOUT}
    )
    about = {**{key: kind() for key, kind in _ABOUT.items() if key != "resumed"}, **about}
    for leg in (about["made"], *about.get("resumed", [])):
        _check_kinds(folder / "run.json", leg, _MADE)
    leaf = recipes.trainable(about["baseline"])
    recipe = recipes.read(folder / "recipe.toml", leaf, sets=sets, name=about["recipe"])
    return Run(folder, about["baseline"], recipe, about)


def _check_kinds(path: Path, held: Any, kinds: dict[str, type]) -> None:
    """Refuse a table, where a file has one, that holds values of other kinds."""
    if not isinstance(held, dict):
        raise VbenchError(f"{path}: it holds {held!r:.80} where a table is expected; {_PUT_BACK}")
    for key, kind in kinds.items():
        if not isinstance(held.get(key, kind()), kind):
            raise VbenchError(f"{path}: {key} is {held[key]!r:.80}, expected {kind.__name__}; {_PUT_BACK}")


def go_on(folder: Path, recipe: Recipe) -> Run:
    """Open a run that goes on with this recipe, and note when and what is different; one that begins is not noted."""
    held = open_run(folder)
    changes = _changes(held.recipe, recipe)
    for stage in recipe.data:
        done, steps = max(checkpoints(folder, stage), default=0), recipe.training[stage].steps
        if done > steps != held.recipe.training[stage].steps:
            raise UsageError(
                f"{folder}: it is at step {done} already, beyond {steps}; ask for more steps, or train anew"
            )
    if not changes and not any(checkpoints(folder, stage) for stage in recipe.data):
        return held
    about = {**held.about, "resumed": [*held.about.get("resumed", []), {**provenance.made(*WITH), "changes": changes}]}
    files.write_text(folder / "recipe.toml", recipes.text(recipe))
    files.write_json(folder / "run.json", about)
    return Run(folder, held.baseline, recipe, about)


def _changes(before: Recipe, after: Recipe) -> dict[str, Any]:
    """Return what recipes of one baseline say differently, as the later one has it."""
    found: dict[str, Any] = {}
    for stage in after.data:
        held, asked = recipes.flat(before, stage), recipes.flat(after, stage)
        found |= {f"{stage} {key}".strip(): asked[key] for key in asked if asked[key] != held[key]}
    return found


def _named(changes: dict[str, Any], most: int = 3) -> str:
    named = [f"{key} = {value}" for key, value in changes.items()]
    return ", ".join(named[:most]) + f" and {len(named) - most} more" * (len(named) > most)


@contextlib.contextmanager
def kept_if_refused(folder: Path) -> Iterator[None]:
    """Put back what a run says of itself if going on with it is refused before anything more was trained."""
    texts = {
        name: (folder / name).read_text("utf-8") for name in ("recipe.toml", "run.json") if (folder / name).exists()
    }
    trained = set((folder / "checkpoints").rglob("step-*.pt"))
    try:
        yield
    except VbenchError:
        if set((folder / "checkpoints").rglob("step-*.pt")) == trained:
            for name, text in texts.items():
                files.write_text(folder / name, text)
        raise


@contextlib.contextmanager
def unmade_if_refused(folder: Path) -> Iterator[None]:
    """Take back what a new run says of itself where training is refused before it begins."""
    new = not (folder / "run.json").exists()
    try:
        yield
    except VbenchError:
        if new and {path.name for path in folder.iterdir()} <= {".lock", "recipe.toml", "run.json"}:
            for name in ("run.json", "recipe.toml"):
                (folder / name).unlink(missing_ok=True)
        raise


def note_data(run: Run, stage: str, fingerprint: str, before: Sequence[str] = ()) -> None:
    """Write down what a stage is trained on; it must be the same when it goes on, and in the stages `before`."""
    for name in before:
        if (seen := run.about["data"].get(name, fingerprint)) != fingerprint:
            raise VbenchError(
                f"{run.folder}: its stage {name} was trained on {seen}, and {stage} would be trained on {fingerprint}; put "
                f"the data back, train anew with another --out, or, if it is meant so, --set data.{stage}.dataset=..."
            )
    held = run.about["data"].setdefault(stage, fingerprint)
    if held != fingerprint:
        raise VbenchError(
            f"{run.folder}: this run was trained on {held}, and what is there now is {fingerprint}; put the data back, "
            "or train anew with another --out"
        )
    files.write_json(run.folder / "run.json", run.about)


# Checkpoints


def checkpoints(folder: Path, stage: str) -> dict[int, Path]:
    """Return the checkpoints of a stage by step, in order."""
    found = (folder / "checkpoints" / stage).glob("step-*.pt")
    steps = {path.stem.removeprefix("step-"): path for path in found}
    return {int(step): steps[step] for step in sorted(steps) if step.isdecimal()}


def checkpoint(folder: Path, stage: str, step: int | None = None) -> tuple[int, Path]:
    """Return step and place of a stage's newest checkpoint, or of that of a step."""
    found = checkpoints(folder, stage)
    of = f" of the stage {stage}" if stage else ""
    if not found:
        raise VbenchError(f'{folder}: no checkpoint{of} yet; run "vbench-ctl train --resume {folder}"')
    if step is not None and step not in found:
        raise VbenchError(
            f"{folder}: the checkpoint{of} of step {step} is gone, there are {', '.join(map(str, found))}; a training that "
            "goes on keeps the newest training.keep of them"
        )
    step = max(found) if step is None else step
    return step, found[step]


def described(step: int, path: Path) -> str:
    """Name a checkpoint by its step and by what it holds."""
    return f"step {step}, sha256 {fetch.digest(path)[:16]}"


def save(folder: Path, stage: str, state: dict[str, Any], keep: int) -> Path:
    """Write a checkpoint in one step, then remove the oldest beyond `keep`."""
    import torch

    path = folder / "checkpoints" / stage / f"step-{state['step']:09d}.pt"
    with files.atomic(path) as part, open(part, "wb") as file:
        try:
            torch.save(state, file)
        except RuntimeError as error:  # torch hides that the disk was full
            raise (error.__context__ if isinstance(error.__context__, OSError) else error) from None
        file.flush()
        os.fsync(file.fileno())
    for old in list(checkpoints(folder, stage).values())[:-keep]:
        old.unlink()
    return path


def restore(path: Path) -> dict[str, Any]:
    """Read a checkpoint into the processor's memory; nothing in it is executed."""
    from vbench_ctl import pickles  # brings NumPy

    try:
        state = pickles.load_torch(path)
    except MemoryError as error:
        raise VbenchError(f"{path}: does not fit into memory; restore it on a larger machine") from error
    except Exception as error:  # a broken file can fail in any way
        reason = str(error).partition("\n")[0]
        raise VbenchError(
            f"{path}: cut short or not a checkpoint ({reason}); remove it, and the one before it is used"
        ) from error
    if not isinstance(state, dict) or any(key not in state for key in STATE):
        raise VbenchError(f"{path}: not a checkpoint of vbench-ctl, which has {', '.join(STATE)}; remove it")
    return state


def last(folder: Path, stage: str) -> dict[str, Any] | None:
    """Read the newest checkpoint of a stage, if there is one."""
    found = checkpoints(folder, stage)
    return restore(found[max(found)]) if found else None


def imported(
    folder: Path,
    baseline: str,
    leaf: ModuleType,
    settings: Any,
    weights: dict[str, dict[str, Any]],
    facts: Any,
    source: Path,
) -> Run:
    """Make a finished run of weights by stage that were trained elsewhere; run.json comes last, so a killed one begins anew."""
    with files.locked(folder):
        if (folder / "run.json").exists():
            raise UsageError(f"{folder} holds a run already; choose another --out")
        files.sweep(folder)
        for stage, tensors in weights.items():
            state = {"step": 1, "system": tensors, "optimizers": {}, "ema": {}, "facts": dataclasses.asdict(facts)}
            save(folder, stage, state, keep=1)
        data = {stage: DataSettings(dataset="elsewhere") for stage in leaf.STAGES}
        training = {stage: TrainingSettings(steps=1, track=()) for stage in leaf.STAGES}
        recipe = Recipe("imported", settings, data, training)
        return create(folder, baseline, recipe, imported={"name": source.name, "stages": tuple(weights)})


# The log


def log(folder: Path, entry: dict[str, Any]) -> None:
    """Append one line to the log."""
    with files.explained(folder / "log.jsonl"), open(folder / "log.jsonl", "a", encoding="utf-8") as file:
        file.write(json.dumps(entry) + "\n")


def read_log(folder: Path) -> list[dict[str, Any]]:
    """Return the lines of the log; one that was being written when its process was killed is left out."""
    path = folder / "log.jsonl"
    if not path.exists():
        return []
    try:
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        entries = [json.loads(line) for line in lines if line.endswith("\n")]
    except (OSError, ValueError, RecursionError) as error:
        raise VbenchError(f"{path}: not a readable log ({error}); put back a copy of it or remove it") from error
    for entry in entries:
        _check_logged(path, entry)
    return entries


def _check_logged(path: Path, entry: Any) -> None:
    """Refuse a line of another program."""
    _check_kinds(path, entry, {"stage": str, "step": int, **_LOGGED})
    numbers = [entry[key] for key in ("steps_per_second", "wall_seconds", "cpu_seconds") if key in entry]
    numbers += [value for key in _LOGGED for value in entry.get(key, {}).values()]
    if not {"stage", "step"} <= entry.keys() or not all(map(files.is_number, (entry["step"], *numbers))):
        raise VbenchError(
            f"{path}: {entry!r:.200} is no line of a log, which has a stage, a step and numbers; remove it"
        )


def history(run: Run) -> dict[str, Any]:
    """Return how a run was made: its recipe, its seeds, all commands, and the steps and cost of each stage."""
    legs, logged = [run.about["made"], *run.about.get("resumed", [])], read_log(run.folder)
    return {
        "recipe": run.about["recipe"],
        "seed": run.about["seed"],
        "data": run.about["data"],
        "commands": [leg.get("command", []) for leg in legs],
        "stages": {s: _cost([entry for entry in logged if entry["stage"] == s]) for s in run.recipe.training},
    }


def _cost(entries: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Return how many steps a stage's lines of the log tell of and what they took; those that a kill undid are not there."""
    spent = {
        name: round(sum(entry.get(name, 0.0) for entry in entries), 2)
        for name in ("wall_seconds", "cpu_seconds")
        if any(name in entry for entry in entries)  # logs from before 1.0 have neither
    }
    return {"steps": max((entry["step"] for entry in entries), default=0), **spent}


def rewind_log(folder: Path, stage: str, step: int) -> bool:
    """Forget what a stage logged after `step`: it is about to be done again; tell whether there was anything."""
    held = read_log(folder)
    kept = [entry for entry in held if entry["stage"] != stage or entry["step"] <= step]
    files.write_text(folder / "log.jsonl", "".join(json.dumps(entry) + "\n" for entry in kept))
    return len(kept) < len(held)
