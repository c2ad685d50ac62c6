"""Recipes: everything that decides a training, as plain values in a TOML file that the command line may change.

A recipe has the tables [data], [model] and [training]. A system that is trained in stages may have [data.STAGE] and
[training.STAGE] as well, which override the table above them for one stage; what the command line sets overrides both.
"""

import dataclasses
import json
import tomllib
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from vbench_ctl import __path__ as package_path
from vbench_ctl import registry
from vbench_ctl.errors import UsageError, VbenchError, unknown

PAPER = "paper"  # the recipe a paper trained with: it is named after the dataset


@dataclass(frozen=True)
class DataSettings:
    """Which windows of which clips are trained on."""

    dataset: str = ""  # a name, or the path of a store or of a folder of clips
    variant: str = ""  # of the dataset's stores; empty: the default one; of "A+B" the clips of both
    split: str = "train"  # or several: "train+val"
    validation: str = ""  # the split to validate on; empty: none
    length: int = 16  # frames of a window
    stride: int | tuple[int, ...] = 1  # between its frames; of several, each window draws one
    start: Literal["random", "first", "centre", "all"] = "random"  # of the windows of a clip; all: each is an item
    size: int | tuple[int, int] | None = None  # height and width that frames are resized to; none: as they are
    augment: tuple[str, ...] = ()  # such as "flip" or "crop:64"
    repeats: dict[str, int] = dataclasses.field(default_factory=dict)  # pattern of clip ids -> how often in an epoch
    tracks: tuple[str, ...] = ()  # what a batch holds besides the frames, such as "actions"

    def __post_init__(self) -> None:
        strides = self.stride if isinstance(self.stride, tuple) else (self.stride,)
        _at_least(1, "data", length=self.length, stride=min(strides, default=0))
        sides = self.size if isinstance(self.size, tuple) else (self.size,)
        _at_least(1, "data", size=min(side for side in sides if side is not None) if self.size is not None else 1)


@dataclass(frozen=True)
class TrainingSettings:
    """How long, in what portions and how exactly to train, and what to keep."""

    steps: int = 1000  # 0: a stage that needs no training is kept as it is initialised
    batch: int = 8  # clips of one step, over all processes
    accumulate: int = 1  # portions that each process works through one after the other in a step; saves memory
    seed: int = 0
    precision: Literal["no", "bf16", "fp16"] = "no"
    ema: float = 0.0  # decay of the moving average of the weights per update; 0: none
    deterministic: bool = True  # the same bits again on the same GPU; false may be faster
    compile: bool = False  # torch.compile on each network of the system
    workers: int = 2  # processes that read clips, for each training process
    log_every: int = 20
    save_every: int = 1000
    keep: int = 3  # checkpoints; the oldest go first
    validate_every: int = 0  # 0: never
    validation_batches: int = 8
    pictures_every: int = 0  # 0: never
    # By default where it is installed: it comes with the extra [track].
    track: tuple[Literal["tensorboard", "wandb"], ...] = dataclasses.field(
        default_factory=lambda: ("tensorboard",) if find_spec("tensorboard") else ()
    )

    def __post_init__(self) -> None:
        ones = ("batch", "accumulate", "log_every", "save_every", "keep", "validation_batches")
        zeros = ("steps", "seed", "workers", "validate_every", "pictures_every")
        _at_least(1, "training", **{name: getattr(self, name) for name in ones})
        _at_least(0, "training", **{name: getattr(self, name) for name in zeros})
        if not 0 <= self.ema < 1:
            raise UsageError(f"training.ema = {self.ema}: a decay is at least 0 and below 1, such as 0.999")
        if self.batch % self.accumulate:
            raise UsageError(
                f"training.batch = {self.batch} cannot be split into training.accumulate = {self.accumulate} equal parts"
            )


def _at_least(least: int, table: str, **values: int) -> None:
    for key, value in values.items():
        if value < least:
            raise UsageError(f"{table}.{key} = {value}: it must be at least {least}")


@dataclass(frozen=True)
class Recipe:
    """A resolved recipe: the model's settings, and for each stage what it is trained on and how."""

    name: str
    model: Any  # the `Settings` of the baseline
    data: dict[str, DataSettings]
    training: dict[str, TrainingSettings]


# Reading


def load(baseline: str, name: str = PAPER, dataset: str = "", sets: Sequence[str] = ()) -> Recipe:
    """Find and resolve a recipe: a name, or the path of a .toml file; `sets` are "table.key=value"."""
    leaf = trainable(baseline)
    path = Path(name) if name.endswith(".toml") else _find(baseline, leaf, name, dataset)
    return read(path, leaf, dataset, sets, path.stem if name.endswith(".toml") else name)


def trainable(baseline: str) -> ModuleType:
    """Import a baseline that is trained."""
    leaf = registry.load("baselines", baseline)
    if not hasattr(leaf, "build"):
        raise UsageError(f'baseline "{baseline}" is not trained; use it at once: vbench-ctl generate {baseline}')
    return leaf


def read(path: Path, leaf: ModuleType, dataset: str = "", sets: Sequence[str] = (), name: str = "") -> Recipe:
    """Read a recipe file, with `dataset` and `sets` over it."""
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{path}: not a readable recipe ({error})") from error
    changes = _parsed(sets)
    kinds = {"data": DataSettings, "model": leaf.Settings, "training": TrainingSettings}
    for table in [*tables, *changes]:
        if table not in kinds:
            raise unknown("table in a recipe", table, kinds)
        if not isinstance(tables.get(table, {}), dict):
            raise UsageError(f"{path}: {table} = {tables[table]!r} is no table; write [{table}] and its keys below")
    if dataset:
        others = [tables.get("data", {}), *_stage_tables(tables.get("data", {}), leaf).values()]
        for each in others:
            if each.get("dataset", dataset) != dataset:
                each.pop("variant", None)
        changes["data"] = {"dataset": dataset, **changes.get("data", {})}

    def resolved(table: str, stage: str) -> Any:
        values: dict[str, Any] = {}
        for layer in (tables.get(table, {}), changes.get(table, {})):
            own = _stage_tables(layer, leaf) if table != "model" else {}
            values |= {key: value for key, value in layer.items() if key not in own} | own.get(stage, {})
        set_here = {*changes.get(table, {}), *_stage_tables(changes.get(table, {}), leaf).get(stage, {})}
        where = {key: "--set" if key in set_here else str(path) for key in values}
        return fitted(values, kinds[table], table, where, leaf.STAGES if table != "model" else ())

    data = {stage: resolved("data", stage) for stage in leaf.STAGES}
    training = {stage: resolved("training", stage) for stage in leaf.STAGES}
    return Recipe(name or path.stem, resolved("model", ""), data, training)


def _stage_tables(table: dict[str, Any], leaf: ModuleType) -> dict[str, dict[str, Any]]:
    return {key: value for key, value in table.items() if key in leaf.STAGES and isinstance(value, dict)}


def _find(baseline: str, leaf: ModuleType, name: str, dataset: str) -> Path:
    """Look for DATASET-NAME.toml and NAME.toml; the paper's recipe is DATASET.toml."""
    found = files(baseline, leaf)
    wanted = [f"{dataset}-{name}", name] + ([dataset] if name == PAPER else [])
    for stem in wanted:
        if stem in found:
            return found[stem]
    if name == PAPER:
        raise unknown(f"recipe of {baseline} for the dataset", dataset or "(none given, see --data)", found)
    raise unknown(f"recipe of {baseline}", name, found)


def files(baseline: str, leaf: ModuleType) -> dict[str, Path]:
    """Return the recipes that come with a baseline; a third party's lie beside its module in recipes/NAME."""
    places = [Path(place) / "baselines" for place in package_path]
    if getattr(leaf, "__file__", None):
        places.append(Path(str(leaf.__file__)).parent)
    return {path.stem: path for place in places for path in sorted((place / "recipes" / baseline).glob("*.toml"))}


def _parsed(sets: Sequence[str]) -> dict[str, Any]:
    """Turn "training.steps=5" into tables; what is no TOML value is taken as text."""
    tables: dict[str, Any] = {}
    for text in sets:
        path, equals, value = text.partition("=")
        *parents, key = path.strip().split(".")
        if not equals or not parents:
            raise UsageError(f'"{text}" is not TABLE.KEY=VALUE, such as training.steps=1000')
        table = tables
        for parent in parents:
            table = table.setdefault(parent, {})
            if not isinstance(table, dict):
                raise UsageError(f'"{text}": {parent} was set to a value before, so that nothing lies below it')
        try:
            table[key] = tomllib.loads(f"value = {value}")["value"]
        except (tomllib.TOMLDecodeError, RecursionError):
            table[key] = value.strip()
    return tables


# Values


class _Misfit(Exception):
    pass


def fitted(values: dict[str, Any], kind: Any, table: str, where: Mapping[str, str], tables: Sequence[str] = ()) -> Any:
    """Make the dataclass `kind` of plain values, said to be from `where`; an unknown key is answered with the nearest."""
    hints = get_type_hints(kind)
    known = [field.name for field in dataclasses.fields(kind)]
    made = {}
    for key, value in values.items():
        if key not in known:
            raise UsageError(f"{where[key]}: {unknown(f'key in [{table}]', key, [*known, *filter(None, tables)])}")
        try:
            made[key] = _value(value, hints[key])
        except _Misfit:
            raise UsageError(f"{where[key]}: {table}.{key} = {_toml(value)}, expected {_said(hints[key])}") from None
    return kind(**made)


def _said(kind: Any) -> str:
    """Say in words which values are of a type."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return " or ".join(_said(one) for one in inner if one is not types.NoneType)
    if origin is Literal:
        return " or ".join(map(_toml, inner))
    if origin is tuple:
        return f"a list of {_said(inner[0])}" if inner[-1] is Ellipsis else f"[{', '.join(map(_said, inner))}]"
    if origin is dict:
        return f"a table of {_said(inner[1])}"
    return {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}.get(kind, str(kind))


def _value(value: Any, kind: Any) -> Any:
    """Return a TOML value as the type that is wanted: lists become tuples, whole numbers may be floats."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        for one in inner:
            try:
                return _value(value, one)
            except _Misfit:
                continue
    elif origin is Literal:
        if value in inner:
            return value
    elif origin is tuple and isinstance(value, list | tuple):
        kinds = [inner[0]] * len(value) if inner[-1] is Ellipsis else inner
        if len(kinds) == len(value):
            return tuple(_value(*pair) for pair in zip(value, kinds, strict=True))
    elif origin is dict and isinstance(value, dict):
        return {key: _value(each, inner[1]) for key, each in value.items()}
    elif kind is float and type(value) in (int, float):
        return float(value)
    elif kind is Any or type(value) is kind:
        return value
    raise _Misfit


# Writing


def text(recipe: Recipe) -> str:
    """Write a resolved recipe as TOML, every value in it, so that it means the same when defaults change."""
    tables = {"model": recipe.model}
    for stage in recipe.data:
        dot = f".{stage}" if stage else ""
        tables |= {f"data{dot}": recipe.data[stage], f"training{dot}": recipe.training[stage]}
    return "\n".join(f"[{name}]\n{_lines(settings)}" for name, settings in tables.items())


def flat(recipe: Recipe, stage: str) -> dict[str, Any]:
    """Return "table.key" -> plain value of everything that decides one stage."""
    tables = {"data": recipe.data[stage], "model": recipe.model, "training": recipe.training[stage]}
    return {
        f"{table}.{key}": value if isinstance(value, int | float | str) else str(value)
        for table, settings in tables.items()
        for key, value in dataclasses.asdict(settings).items()
    }


def _lines(settings: Any) -> str:
    """Write one table; a value of None is left out, which means the same."""
    values = {field.name: getattr(settings, field.name) for field in dataclasses.fields(settings)}
    lacking = [key for key, value in values.items() if value is None]
    defaults = {field.name: field.default for field in dataclasses.fields(settings)}
    if wrong := [key for key in lacking if defaults[key] is not None]:
        raise VbenchError(f"{type(settings).__name__}: {', '.join(wrong)} may be None only if that is the default")
    return "".join(f"{key} = {_toml(value)}\n" for key, value in values.items() if value is not None)


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_toml(str(key))} = {_toml(each)}' for key, each in value.items())}}}"
    return repr(value)
