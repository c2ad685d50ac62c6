"""Finds the parts that others add: datasets, baselines and metrics, each one module.

Ours are found by file name (`datasets/uva_nemo.py` is "uva-nemo"), third parties' by entry point: group "vbench_ctl",
name "<kind>.<name>" (`datasets.toy = toy_plugin.toy`). Listing names imports no leaf. What a module of each kind
defines stands in docs/extending.md.
"""

import hashlib
import importlib
import json
import pkgutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, field, fields, is_dataclass
from functools import cache, partial
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from traceback import walk_tb
from types import ModuleType
from typing import Any

from vbench_ctl.errors import UsageError, VbenchError, unknown

GROUP = "vbench_ctl"
# A generated dataset is used like a downloaded one, so both folders hold datasets.
FOLDERS = {"datasets": ("datasets", "generators"), "baselines": ("baselines",), "metrics": ("metrics",)}
CONTRACTS = {
    "datasets": ("VERSION", "SPLITS", "Options", "variant", "facts", "shards", "estimate", "clips"),
    "baselines": ("TITLE", "CONTROL", "generate"),
    "metrics": ("TITLE", "DIRECTION", "UNIT", "NEEDS", "VERSION", "VARIANTS", "signature"),
}
# What a store's manifest says itself.
_MANIFEST = ("format", "dataset", "variant", "version", "options", "card", "made", "splits")


def _is_name(found: Any) -> bool:
    return isinstance(found, str) and found.isprintable() and bool(found.strip(". ")) and not {"/", "\\"} & {*found}


def _are_names(found: Any) -> bool:
    return isinstance(found, tuple | list) and all(map(_is_name, found)) and 0 < len(found) == len({*found})


def _is_table(found: Any) -> bool:
    """Tell whether a JSON file can hold something as a table."""
    try:
        json.dumps(found, ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError):
        return False
    return isinstance(found, dict) and all(isinstance(key, str) for key in found)


def _are_facts(found: Any) -> bool:
    return _is_table(found) and not {*_MANIFEST} & {*found}


def _are_items(found: Any) -> bool:
    return isinstance(found, list) and " at 0x" not in repr(found)


def _are_counts(found: Any) -> bool:
    return isinstance(found, tuple | list) and len(found) == 2 and all(type(n) is int and n >= 0 for n in found)


def _are_options(found: Any) -> bool:
    if not (isinstance(found, type) and is_dataclass(found)):
        return False
    return all(
        each.default is not MISSING and {"help", "choices", "file"} <= {*each.metadata} for each in fields(found)
    )


def _is_line(found: Any) -> bool:
    return isinstance(found, str) and found.isprintable() and bool(found.strip()) and "|" not in found


def _is(kind: type) -> Callable[[Any], bool]:
    return lambda found: type(found) is kind


def _is_in(*known: str) -> tuple[Callable[[Any], bool], str]:
    return lambda found: isinstance(found, str) and found in known, " or ".join(known)


_OPTIONS = (_are_options, "a dataclass whose fields are all vbench_ctl.registry.option(default, help)")
_WHOLE, _TEXT, _DICT = (_is(int), "a whole number"), (_is(str), "a text"), (_is(dict), "a dict")
_SEVERAL = (lambda found: isinstance(found, Iterable), "an iterator")
# What the constants of a third party's part are, and what its functions return: a test, and in words. Clips are looked at
# one by one where they are written (clips.py, shards.py) or made (generation.py), values of metrics in tokens.py.
FORMS: dict[str, dict[str, tuple[Callable[[Any], bool], str]]] = {
    "datasets": {
        "VERSION": _WHOLE,
        "SPLITS": (_are_names, "a tuple of different names"),
        "Options": _OPTIONS,
        "CARD": _DICT,
        "variant": (_is_name, "the name of a folder, such as 64x64"),
        "facts": (
            _are_facts,
            f"a dict that JSON can hold, without {', '.join(_MANIFEST)}, which the manifest has itself",
        ),
        "splits": (_are_names, "a tuple of different names"),
        "shards": (_are_items, "a list of work items whose repr says everything"),
        "estimate": (_are_counts, "two whole numbers: clips, bytes"),
        "clips": _SEVERAL,
        "absent": _SEVERAL,
        "split_facts": (_is_table, "a dict that JSON can hold"),
        "expected": (_is_table, "a dict of numbers by split"),
    },
    "baselines": {"TITLE": _TEXT, "CONTROL": _TEXT, "Options": _OPTIONS},
    "metrics": {
        "TITLE": _TEXT,
        "UNIT": _TEXT,
        "VERSION": _WHOLE,
        "VARIANTS": _DICT,
        "DIRECTION": _is_in("higher", "lower"),
        "NEEDS": _is_in("pair", "fake", "features", "samples", "sets", "tracks", "manifest"),
        "signature": (_is_line, 'a few words on one line without "|"'),
    },
}


def names(kind: str) -> list[str]:
    """Return the names of all leaves of a kind, sorted."""
    return sorted(_ours(kind).keys() | _theirs(kind).keys())


def load(kind: str, name: str) -> ModuleType:
    """Import one leaf, a third party's as a `Plugin`; an unknown name raises with the nearest one."""
    ours, theirs = _ours(kind), _theirs(kind).get(name, [])
    places = ["vbench-ctl"] * (name in ours) + [_place(point) for point in theirs]
    if not places:
        raise unknown(kind[:-1], name, names(kind))
    if len(places) > 1:
        raise VbenchError(f'{kind[:-1]} "{name}" is in {" and in ".join(places)}; uninstall or rename one of them')
    if name in ours:
        return importlib.import_module(ours[name])
    leaf = _load_theirs(kind, name, theirs[0])
    return Plugin(kind, name, leaf) if isinstance(leaf, ModuleType) else leaf  # a class serves as well, as it is


def find(kind: str, name: str | None) -> ModuleType | None:
    """Import one leaf, if there is one of that name."""
    return load(kind, name) if name in names(kind) else None


def origin(kind: str, name: str) -> str:
    """Say which distribution a leaf comes from."""
    return " and ".join(_place(point) for point in _theirs(kind).get(name, [])) or "vbench-ctl"


def plugins() -> list[EntryPoint]:
    """Return everything that third parties registered, whether it fits or not."""
    return sorted(entry_points(group=GROUP), key=lambda point: (point.name, _place(point)))


class Plugin(ModuleType):
    """A third party's module. What its functions raise, or return amiss, becomes one sentence that names it."""

    def __init__(self, kind: str, name: str, leaf: ModuleType):
        super().__init__(name, leaf.__doc__)
        self._key, self._leaf = (kind, name), leaf

    def __getattr__(self, word: str) -> Any:
        found = getattr(self._leaf, word)
        return partial(call, *self._key, word) if callable(found) and not isinstance(found, type) else found


def call(kind: str, name: str, word: str, *given: Any, **named: Any) -> Any:
    """Call what a leaf defines; of a third party's, see `Plugin`. Other processes can be sent it."""
    if name in _ours(kind):
        return getattr(load(kind, name), word)(*given, **named)
    (point,) = _theirs(kind)[name]
    try:
        found = getattr(point.load(), word)(*given, **named)
    except (Exception, SystemExit) as error:
        _blame(error, kind, name, point)
        raise
    fits, expected = FORMS[kind].get(word, (None, ""))
    if word.islower() and fits and not fits(found):
        raise VbenchError(f"{_title(kind, name, point)}: {word}() gave {found!r:.80}, expected {expected}")
    return _passed_on(found, kind, name, point) if isinstance(found, Iterator) else found


def _passed_on(found: Iterator[Any], kind: str, name: str, point: EntryPoint) -> Iterator[Any]:
    try:
        yield from found
    except (Exception, SystemExit) as error:
        _blame(error, kind, name, point)
        raise


def _blame(error: BaseException, kind: str, name: str, point: EntryPoint) -> None:
    """Say in one sentence what a plugin raised and where; its own sentences, and errors of the toolkit's code, stay."""
    if isinstance(error, VbenchError):
        return
    is_theirs, place = True, ""
    for frame, line in walk_tb(error.__traceback__):
        module = str(frame.f_globals.get("__name__"))
        if module.partition(".")[0] == point.module.partition(".")[0]:
            is_theirs, place = True, f" ({frame.f_code.co_filename}:{line})"
        elif module.partition(".")[0] == __package__ and module != __name__:
            is_theirs = False
    what = _title(kind, name, point)
    if is_theirs:
        raise VbenchError(f"{what} raised {_reason(error)}{place}; mend or uninstall it") from error
    error.add_note(f"while {what} was at work")


def _reason(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".partition("\n")[0].removesuffix(": ")


def code(kind: str, name: str) -> str:
    """Digest the program of a third party's part; ours has a VERSION to go by, and no digest."""
    if name in _ours(kind):
        return ""
    (point,) = _theirs(kind)[name]
    file = Path(importlib.import_module(point.module).__file__ or "")
    whole = sorted(file.parent.rglob("*.py")) if file.name == "__init__.py" else [file]
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in whole if path.is_file())).hexdigest()[:16]


def _title(kind: str, name: str, point: EntryPoint) -> str:
    return f'{kind[:-1]} "{name}" of {_place(point)}'


def _load_theirs(kind: str, name: str, point: EntryPoint) -> ModuleType:
    what = _title(kind, name, point)
    try:
        leaf = point.load()
    except (Exception, SystemExit) as error:  # a plugin may fail in any way; its name is what the user needs
        raise VbenchError(f"{what} does not load ({_reason(error)}); mend or uninstall it") from error
    if kind == "metrics" and "-" in name:
        raise VbenchError(f"{what}: a dash in a metric's name starts its variant; rename the entry point")
    missing = [word for word in CONTRACTS[kind] if not hasattr(leaf, word)]
    if missing:
        raise VbenchError(f"{what} lacks {', '.join(missing)}; docs/extending.md says what a {kind[:-1]} defines")
    for word in dict.fromkeys((*CONTRACTS[kind], *FORMS[kind])):
        fits, expected = (callable, "a function") if word.islower() else FORMS[kind][word]
        if hasattr(leaf, word) and not fits(getattr(leaf, word)):
            raise VbenchError(f"{what}: {word} is {getattr(leaf, word)!r:.50}, expected {expected}")
    return leaf


def _place(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else point.value


# What is installed does not change while a program runs, and looking through all distributions takes a while.
@cache
def _ours(kind: str) -> dict[str, str]:
    found = {}
    for folder in FOLDERS[kind]:
        package = f"vbench_ctl.{folder}"
        for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
            if not module.name.startswith("_"):
                found[module.name.replace("_", "-")] = f"{package}.{module.name}"
    return found


@cache
def _theirs(kind: str) -> dict[str, list[EntryPoint]]:
    found: dict[str, list[EntryPoint]] = {}
    for point in plugins():
        group, _, name = point.name.partition(".")
        if group == kind:
            found.setdefault(name, []).append(point)
    return found


def option(default: Any, help: str, choices: Sequence[str] = (), file: bool = False) -> Any:
    """Declare one field of a leaf's `Options` dataclass; the command line makes `--field-name` of it.

    The manifest has the hash of a `file` instead of its path.
    """
    return field(default=default, metadata={"help": help, "choices": choices, "file": file})


def check_size(size: int, most: int) -> None:
    """Refuse a side of frames that is not from 8 to `most` pixels; `Options` call it."""
    if not 8 <= size <= most:
        raise UsageError(f"--size {size}: it must be between 8 and {most} pixels")


def words(options: Mapping[str, Any], kind: type | None = None) -> list[str]:
    """Return options as words of the command line; those of `Options` only where they differ from its defaults."""
    usual = vars(kind()) if kind else {}
    found = []
    for name, value in options.items():
        if value not in (usual.get(name), None, "") and value is not False:
            found += [f"--{name.replace('_', '-')}"] + ([] if value is True else [str(value)])
    return found
