"""Benchmark protocols: which clips and frames, how many samples, which metrics. The protocols themselves are data,
protocols.toml; this module checks them and turns one into exact (clip, frame range) cases."""

import functools
import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, get_type_hints
from urllib.parse import quote

import numpy as np

from vbench_ctl import registry, variants
from vbench_ctl.controls import CONTROLS, SETS
from vbench_ctl.errors import UsageError, VbenchError, unknown

# What the words of a selection mean, to be filled with its numbers.
WINDOWS = {
    "first": "the first window of each clip",
    "centre": "the middle window of each clip",
    "spaced": "{windows} windows of each clip, in the middles of equal parts",
    "every": "every window of each clip, {stride} apart",
    "random": "a random window of each clip, drawn anew each time",
}
DRAWS = {
    "all": "all, in store order",
    "head": "the first {cases}, in store order",
    "cycle": "{cases}, in store order and from the beginning again",
    "subset": "{cases} drawn without replacement",
    "replacement": "{cases} drawn with replacement",
}
# Metric names of results/published.csv that differ from ours. Each IS in it was measured on whole videos.
PUBLISHED_METRICS = {
    "is": "vis",
    "video_fid_resnext101": "vfid",
    "add_px": "add",
    "mdr_percent": "mdr",
    "av_align": "avalign",
}
# Metrics of protocols that only papers have, with the direction that is better.
WITHOUT_COUNTERPART = {"clipsim": "higher", "avalign": "higher"}
MAKING = ("teacher_forced", "train_mode")  # fields that are options of models too
_DATA = Path(__file__).with_suffix(".toml")
_ID = re.compile(r"[a-z0-9][a-z0-9+-]*@[1-9][0-9]*")
_METRIC = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_FRAMES = re.compile(r"all|predicted|\d+:\d+|\d+(,\d+)*")
_BATCH = re.compile(r"([1-9]\d*) (clips|frames)")
_DEVICE = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)  # no file on Windows can have these names


@dataclass(frozen=True)
class Select:
    """How the windows of a split are chosen; `window` and `draw` are words of WINDOWS and DRAWS."""

    window: str
    draw: str = "all"
    clips: int = 0  # the split has exactly this many; 0: the number is not part of the definition
    cases: int = 0
    passes: int = 1
    windows: int = 1  # per clip, of "spaced"
    stride: int = 1  # of "every"
    step: int = 1  # frames of the store per frame of the case
    span: int = 0  # frames a window must have room for, where that is more than it uses
    crops: int = 0  # square crops spread along the longer side of the frame; 0: the whole frame
    short: str = "refuse"  # clips without room for a window: "refuse" or "drop" them
    seed: int | None = None

    @property
    def random(self) -> bool:
        return self.window == "random" or self.draw in ("subset", "replacement")


@dataclass(frozen=True)
class Protocol:
    """One named, versioned way to measure; any change of it is a new version.

    `metric_frames`, `metric_samples` and `metric_batches` hold what single metrics do differently from the rest;
    `metric_frames` may name metrics that the protocol doesn't ask for, but a suite may.
    """

    id: str
    title: str
    dataset: str
    variant: str  # which prepared form of the dataset
    split: str
    select: Select | None  # None: only published numbers are known, not the procedure
    context: int  # real frames given at the start
    predict: int
    metrics: tuple[str, ...]
    source: str
    status: str
    ending: int = 0  # real frames given at the end
    control: str = "none"  # what a model is told besides frames
    sets: tuple[str, ...] = ()  # more answers to each case, of which something else is told: words of controls.SETS
    reals: Select | None = None  # the real set, where it is not the cases themselves
    real_offset: int = 0  # generated frame t is compared with real frame t + real_offset
    generated: int = 0  # unconditional: how many clips are generated
    samples: int = 1  # per case
    runs: int = 1  # everything is generated so many times; a score is the mean and deviation over runs
    scored: str = "all"  # "all", "predicted", a range "0:16" or single frames "15,29,44"
    aggregate: str = "mean"  # paired metrics over the samples of a case: "mean" or "best"
    metric_frames: Mapping[str, str] = field(default_factory=dict, hash=False)
    metric_samples: Mapping[str, int] = field(default_factory=dict, hash=False)
    metric_batches: Mapping[str, str] = field(default_factory=dict, hash=False)  # only whole ones count: "16 clips"
    groups_of: int = 0  # set metrics: one value per so many consecutive clips, then mean and deviation
    resize: int = 0  # clips are cut to their middle square and scaled to this side before scoring
    teacher_forced: bool = False  # every frame is made of the real one before it, not of the one made before
    train_mode: int = 0  # clips made together by their own batch statistics; 0: by those learnt in training
    quirks: tuple[str, ...] = ()
    lossy: bool = False  # JPEG or mp4 clips may be scored
    note: str = ""

    @property
    def length(self) -> int:
        """The frames of a case."""
        return self.context + self.predict + self.ending

    @property
    def unconditional(self) -> bool:
        return self.context + self.ending == 0

    @property
    def answers(self) -> int:
        """How many generated clips answer a case in all runs; where nothing is given, how many there are."""
        return (self.generated if self.unconditional else self.samples) * self.runs

    def frames_of(self, metric: str) -> tuple[int, ...]:
        """Return the frames of a generated case that a metric sees; real frames are `real_offset` later.

        A variant sees what its metric sees, unless the protocol names the variant.
        """
        frames = self.metric_frames.get(metric) or self.metric_frames.get(metric.partition("-")[0], self.scored)
        if frames == "all":
            return tuple(range(self.length))
        if frames == "predicted":
            return tuple(range(self.context, self.context + self.predict))
        if ":" in frames:
            return tuple(range(*map(int, frames.split(":"))))
        return tuple(map(int, frames.split(",")))

    def samples_of(self, metric: str) -> int:
        """Return how many samples per case a metric uses; a variant as many as its metric, unless it is named."""
        return self.metric_samples.get(metric) or self.metric_samples.get(metric.partition("-")[0], self.samples)

    def batch_of(self, metric: str) -> tuple[int, str] | None:
        """Return (number, "clips" or "frames") where a metric as released leaves out the last incomplete batch."""
        number, _, unit = self.metric_batches.get(metric, "").partition(" ")
        return (int(number), unit) if unit else None


@dataclass(frozen=True)
class Case:
    """One window of a real clip: its first `context` frames are given, the rest is to be generated."""

    clip: str
    start: int
    length: int
    step: int = 1
    crop: float | None = None  # where the largest square lies along the longer side: 0 start, 0.5 middle, 1 end
    context: int = 0
    ordinal: int = 0  # above 0 where the same window comes again

    @property
    def key(self) -> str:
        """The name of this case in an outputs folder: a relative path on every system."""
        crop = "" if self.crop is None else f"+{100 * self.crop:.0f}"
        return f"{_path(self.clip)}@{self.start}{crop}" + (f",{self.ordinal}" if self.ordinal else "")


# Loading


def load_all() -> dict[str, Protocol]:
    """Return every protocol by id, in the order of protocols.toml."""
    return dict(_builtin())


def load(name: str) -> Protocol:
    """Return one protocol; a name without "@version" means its newest version, where known defects are mended."""
    known = _builtin()
    versions = [id for id in known if id == name or id.rpartition("@")[0] == name]
    if not versions:
        raise unknown("protocol", name, known)
    return known[max(versions, key=_version)]


def quirks() -> dict[str, str]:
    """Return what each quirk name means."""
    return dict(_tables()["quirks"])


def check_made(protocol: Protocol, options: Any, what: str) -> None:
    """Refuse clips whose options, as far as a manifest tells them, make them otherwise than a protocol says."""
    own = _made_with(protocol)
    held = own | {name: options[name] for name in MAKING if isinstance(options, dict) and name in options}
    if held == own:
        return
    family = protocol.id.partition("@")[0] + "@"
    fitting = [id for id, other in _builtin().items() if id.startswith(family) and _made_with(other) == held]
    instead = f", or for {fitting[0]}" if fitting else ""
    raise UsageError(
        f"{protocol.id} is of clips made with {_making(own)}, and those of {what} are made with {_making(held)}; "
        f"generate them as it says{instead}"
    )


def _made_with(protocol: Protocol) -> dict[str, Any]:
    return {name: getattr(protocol, name) for name in MAKING}


def _making(options: Mapping[str, Any]) -> str:
    """Return options as a command line has them."""
    heeded = {name: value for name, value in options.items() if value}
    return " ".join(registry.words(heeded)) or "neither --teacher-forced nor --train-mode"


def parse(text: str) -> dict[str, Protocol]:
    """Read and check the text of a protocols.toml."""
    try:
        return _protocols(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise VbenchError(f"protocols are not readable TOML ({error}); mend that line") from error


@functools.cache
def _tables() -> dict[str, Any]:
    return tomllib.loads(_DATA.read_text("utf-8"))


@functools.cache
def _builtin() -> dict[str, Protocol]:
    return _protocols(_tables())


def _protocols(tables: Mapping[str, Any]) -> dict[str, Protocol]:
    explained = tables.get("quirks", {})
    return {id: _protocol(id, table, explained) for id, table in tables.items() if id != "quirks"}


def _version(id: str) -> int:
    return int(id.rpartition("@")[2])


def _protocol(id: str, table: Any, explained: Mapping[str, str]) -> Protocol:
    if not _ID.fullmatch(id) or not isinstance(table, dict):
        raise VbenchError(f'"{id}" is no protocol: expected a table named like "bair64-c1-p15@1"')
    selects = {key: _select(id, key, table[key]) for key in ("select", "reals") if key in table}
    protocol = _fill(Protocol, id, "", {**table, **selects}, id=id)
    _check_words(protocol, explained)
    _check_counts(protocol)
    _check_metrics(protocol)
    for key in selects:
        _check_select(protocol, key, getattr(protocol, key))
    return protocol


def _select(id: str, key: str, value: Any) -> Select | None:
    if value == "undefined" and key == "select":
        return None
    if not isinstance(value, dict):
        raise _fault(id, key, f'is {value!r}, expected a table such as {{ window = "first", clips = 256 }}')
    return _fill(Select, id, f"{key}.", value)


def _all(kind: type, values: Iterable[Any]) -> bool:
    return all(type(value) is kind for value in values)


_TYPES = {
    str: ("text", lambda v: type(v) is str),
    int: ("a whole number", lambda v: type(v) is int),
    int | None: ("a whole number", lambda v: type(v) is int),
    bool: ("true or false", lambda v: type(v) is bool),
    Select | None: ("a table", lambda v: v is None or type(v) is Select),
    tuple[str, ...]: ("a list of words", lambda v: type(v) is list and _all(str, v)),
    Mapping[str, str]: ("a table of words", lambda v: type(v) is dict and _all(str, v.values())),
    Mapping[str, int]: ("a table of whole numbers", lambda v: type(v) is dict and _all(int, v.values())),
}
_AT_LEAST_1 = {"predict", "samples", "runs", "passes", "windows", "stride", "step"}


def _fill(cls: type, owner: str, prefix: str, table: dict[str, Any], **given: Any) -> Any:
    """Make a dataclass from a TOML table, checking names and types; `prefix` leads from the protocol to the table."""
    hints = {key: kind for key, kind in get_type_hints(cls).items() if key not in given}
    for key, value in table.items():
        if key not in hints:
            raise unknown(f"key of protocol {owner}", prefix + key, [prefix + known for known in hints])
        expected, fits = _TYPES[hints[key]]
        if not fits(value):
            raise _fault(owner, prefix + key, f"is {value!r}, expected {expected}")
        if type(value) is int and key != "real_offset" and value < (lowest := int(key in _AT_LEAST_1)):
            raise _fault(owner, prefix + key, f"is {value}, expected at least {lowest}")
    for f in fields(cls):
        if f.name in hints and f.name not in table and f.default is MISSING and f.default_factory is MISSING:
            raise _fault(owner, prefix + f.name, "is missing")
    return cls(**given, **{key: tuple(value) if isinstance(value, list) else value for key, value in table.items()})


def _fault(id: str, key: str, text: str) -> VbenchError:
    return VbenchError(f"protocol {id}: {key} {text}")


def _check_words(p: Protocol, explained: Mapping[str, str]) -> None:
    known = {"control": tuple(CONTROLS), "aggregate": ("mean", "best"), "status": ("verified", "unverified")}
    for key, words in known.items():
        if getattr(p, key) not in words:
            raise _fault(p.id, key, f'is "{getattr(p, key)}", expected one of {", ".join(words)}')
    for word in p.sets:
        if word not in SETS:
            raise _fault(p.id, "sets", f'has "{word}", expected words of {", ".join(SETS)}')
        if p.unconditional or (word != "new-seed" and not CONTROLS[p.control].of_steps):
            raise _fault(p.id, "sets", f'has "{word}", which needs given frames and a control of each step')
    for quirk in p.quirks:
        if quirk not in explained:
            raise _fault(p.id, "quirks", f'has "{quirk}", which the [quirks] table does not explain')
    for key in ("title", "dataset", "variant", "split", "source"):
        if not getattr(p, key).strip():
            raise _fault(p.id, key, "is empty")
    if p.select is None and not p.note:
        raise _fault(p.id, "note", "is missing: an undefined selection needs the reason")


def _check_counts(p: Protocol) -> None:
    if p.generated and not p.unconditional:
        raise _fault(p.id, "generated", "is for unconditional protocols; where frames are given, samples says it")
    if p.unconditional and p.select and not p.generated:
        raise _fault(p.id, "generated", "is missing: no frames are given, so it must say how many clips to generate")
    if p.aggregate == "best" and p.samples == 1:
        raise _fault(p.id, "aggregate", 'is "best", but there is 1 sample per case to choose from')


def _check_metrics(p: Protocol) -> None:
    if not p.metrics or len(set(p.metrics)) < len(p.metrics):
        raise _fault(p.id, "metrics", "is empty or names a metric twice")
    for metric in p.metrics:
        if not _METRIC.fullmatch(metric):
            raise _fault(p.id, "metrics", f'has "{metric}", expected words like fvd or fvd-ccvs')
    for key in ("metric_frames", "metric_samples", "metric_batches"):
        for metric, value in getattr(p, key).items():
            if metric not in p.metrics and not (key == "metric_frames" and metric in registry.names("metrics")):
                raise _fault(p.id, key, f'names "{metric}", which is not among its metrics {", ".join(p.metrics)}')
            if key == "metric_samples" and value < 1:
                raise _fault(p.id, key, f"gives {metric} {value}, expected at least 1")
            if key == "metric_samples" and value > p.samples:
                raise _fault(
                    p.id, key, f"gives {metric} {value}, more than the samples per case, which are {p.samples}"
                )
            if key == "metric_batches" and not _BATCH.fullmatch(value):
                raise _fault(p.id, key, f'gives {metric} "{value}", expected text like "16 clips" or "50 frames"')
    for metric in p.metrics:
        key, frames = ("metric_frames", p.metric_frames[metric]) if metric in p.metric_frames else ("scored", p.scored)
        if not _FRAMES.fullmatch(frames):
            raise _fault(p.id, key, f'is "{frames}", expected all, predicted, a range 0:16 or frames 15,29,44')
        seen = p.frames_of(metric)
        if not seen or min(seen) + min(p.real_offset, 0) < 0 or max(seen) + max(p.real_offset, 0) >= p.length:
            raise _fault(
                p.id, key, f'"{frames}" with real_offset {p.real_offset} leaves the {p.length} frames of a case'
            )


def _check_select(p: Protocol, key: str, s: Select | None) -> None:
    if s is None:
        return
    for word, known in {"window": WINDOWS, "draw": DRAWS, "short": ("refuse", "drop")}.items():
        if getattr(s, word) not in known:
            raise _fault(p.id, f"{key}.{word}", f'is "{getattr(s, word)}", expected one of {", ".join(known)}')
    if 0 < s.span <= _room(p, replace(s, span=0)):
        raise _fault(p.id, f"{key}.span", f"is {s.span}, but a window has that many frames anyway")
    if (s.seed is not None) != s.random:
        raise _fault(p.id, f"{key}.seed", "belongs where something is drawn at random, and nowhere else")
    if bool(s.cases) != (s.draw != "all"):
        raise _fault(p.id, f"{key}.cases", 'belongs to every draw but "all"')
    for name, word, users in [
        ("passes", "draw", "all"),
        ("windows", "window", "spaced"),
        ("stride", "window", "every"),
    ]:
        if getattr(s, name) > 1 and getattr(s, word) != users:
            raise _fault(p.id, f"{key}.{name}", f'belongs to {word} = "{users}"')


# Resolving


def cases(protocol: Protocol, clips: Sequence[tuple[str, int]]) -> list[Case]:
    """Return the cases to generate (unconditional: the real ones), from (clip id, frame count) in store order."""
    return _resolve(protocol, protocol.select, clips)


def real_cases(protocol: Protocol, clips: Sequence[tuple[str, int]]) -> list[Case]:
    """Return the cases of the real set, which mostly are those of `cases`."""
    return _resolve(protocol, protocol.reals or protocol.select, clips)


def _resolve(protocol: Protocol, select: Select | None, clips: Sequence[tuple[str, int]]) -> list[Case]:
    if select is None:
        raise VbenchError(f"{protocol.id} only holds published numbers: {protocol.note}")
    usable = _usable(protocol, select, clips)
    pool = _pool(protocol, select, usable)
    if select.draw in ("head", "subset") and len(pool) < select.cases:
        raise _too_few(protocol, select, select.cases, len(pool), "clips" if len(pool) == len(usable) else "windows")
    found, seen = [], Counter[str]()
    for index, rng in _picks(select, len(pool)):
        clip, start, last, crop = pool[index]
        if start is None:
            start = int(rng.integers(last + 1))
        case = Case(clip, start, protocol.length, select.step, crop, protocol.context)
        name = case.key.casefold()  # two names that differ in case are one file on Windows and macOS
        found.append(replace(case, ordinal=seen[name]) if seen[name] else case)
        seen[name] += 1
    return found


def _usable(protocol: Protocol, select: Select, clips: Sequence[tuple[str, int]]) -> list[tuple[str, int]]:
    """Return the clips with room for a window, or say what is wrong with the set."""
    room = _room(protocol, select)
    usable = [(clip, frames) for clip, frames in clips if frames >= room]
    counted = clips if select.short == "drop" else usable
    if select.clips and len(clips) > select.clips:
        raise VbenchError(
            f"{protocol.id} is defined on exactly {select.clips} clips in {_place(protocol)}, found {len(clips)}; "
            f"a larger set gives other scores, so {_remedy(protocol)} into an empty folder"
        )
    if len(counted) < select.clips or not usable:
        raise _too_few(protocol, select, max(select.clips, 1), len(counted) if usable else 0)
    if len(counted) < len(clips):
        clip, frames = next((clip, frames) for clip, frames in clips if frames < room)
        raise VbenchError(
            f'{protocol.id} needs clips of at least {room} frames, but "{clip}" in {_place(protocol)} has {frames}; '
            f"{_remedy(protocol)}"
        )
    return usable


def _room(protocol: Protocol, select: Select) -> int:
    """Return how many frames of a clip a window must have room for."""
    return max(select.span, (protocol.length - 1) * select.step + 1)


def _too_few(protocol: Protocol, select: Select, needed: int, found: int, what: str = "clips") -> VbenchError:
    return VbenchError(
        f"{protocol.id} needs {needed} {what} of at least {_room(protocol, select)} frames in {_place(protocol)}, "
        f"found {found}; {_remedy(protocol)}"
    )


def _place(protocol: Protocol) -> str:
    return f"{protocol.dataset}/{protocol.split}"


def _remedy(protocol: Protocol) -> str:
    return variants.remedy(protocol.dataset, protocol.variant, "" if protocol.split == "all" else protocol.split)


def _pool(protocol: Protocol, select: Select, clips: Sequence[tuple[str, int]]) -> list[tuple]:
    """List (clip, start or None where it is random, last possible start, crop) of all windows in store order."""
    room = _room(protocol, select)
    return [
        (clip, start, frames - room, crop)
        for clip, frames in clips
        for start in _starts(select, frames - room)
        for crop in _crops(select.crops)
    ]


def _starts(select: Select, last: int) -> Sequence[int | None]:
    if select.window == "first":
        return [0]
    if select.window == "every":
        return range(0, last + 1, select.stride)
    if select.window in ("centre", "spaced"):
        return [(2 * k + 1) * last // (2 * select.windows) for k in range(select.windows)]
    return [None]


def _crops(count: int) -> Sequence[float | None]:
    if count < 2:
        return [0.5 if count else None]
    return [k / (count - 1) for k in range(count)]


def _picks(select: Select, windows: int) -> Iterator[tuple[int, np.random.Generator]]:
    """Yield (index of a window, a random stream): case i draws from default_rng([seed, i]) and from nothing else."""
    order = list(range(windows))
    rng = np.random.default_rng()  # never drawn from where nothing is random
    for i in range(windows * select.passes if select.draw == "all" else select.cases):
        if select.random:
            rng = np.random.default_rng([select.seed or 0, i])
        if select.draw == "replacement":
            yield int(rng.integers(windows)), rng
        elif select.draw == "subset":  # a Fisher-Yates shuffle that stops after `cases` swaps
            j = int(rng.integers(i, windows))
            order[i], order[j] = order[j], order[i]
            yield order[i], rng
        else:
            yield i % windows, rng


def _path(clip: str) -> str:
    """Turn a clip id into a relative path that every file system takes; ids of letters, digits and -._~ stay."""
    return "/".join(map(_name, clip.split("/")))


def _name(part: str) -> str:
    name = quote(part, safe="") or "%"
    name = re.sub(r"\.+$", lambda dots: "%2E" * len(dots[0]), name)  # "..", and what Windows cuts off
    return f"%{ord(name[0]):02X}{name[1:]}" if _DEVICE.match(name) else name


# Showing


def summary_rows() -> list[dict[str, str]]:
    """Return one row per protocol for a table: id, dataset, task, clips x samples, metrics, title."""
    return [
        {
            "id": p.id,
            "dataset": p.dataset,
            "task": task(p),
            "clips x samples": _amount(p),
            "metrics": ", ".join(p.metrics),
            "title": p.title,
        }
        for p in load_all().values()
    ]


def card(protocol: Protocol) -> list[tuple[str, str]]:
    """Return everything about a protocol as (label, value) pairs in reading order; what does not apply is left out."""
    p, meanings = protocol, quirks()
    pairs = [
        ("protocol", p.id),
        ("title", p.title),
        ("data", f"{p.dataset} {p.variant}, split {p.split}"),
        ("task", task(p)),
        ("clips", "undefined: this id only holds published numbers" if p.select is None else _sentence(p.select)),
        ("real set", _sentence(p.reals) if p.reals else ""),
        ("clips x samples", _amount(p)),
        *((f"  and {word}", SETS[word]) for word in p.sets),
        ("runs", _runs(p) if p.runs > 1 else ""),
        ("scored frames", _frames(p, p.scored)),
        ("paired metrics", "best sample of each case" if p.aggregate == "best" else ""),
        ("metrics", ", ".join(p.metrics)),
        *(
            ("  " + m, differs)
            for m in dict.fromkeys([*p.metrics, *p.metric_frames])
            if (differs := _differences(p, m))
        ),
        ("real frames", f"{p.real_offset:+d} against the generated ones" if p.real_offset else ""),
        ("set metrics", f"per group of {p.groups_of} clips, mean and deviation" if p.groups_of else ""),
        ("resized to", f"{p.resize}x{p.resize} before scoring: the middle square, bilinear" if p.resize else ""),
        ("made with", _making(_made_with(p)) if p.control == "inferred-actions" else ""),
        ("lossy clips", "may be scored" if p.lossy else "are refused"),
        *((f"quirk {name}", meanings[name]) for name in p.quirks),
        ("note", p.note),
        ("source", p.source),
        ("status", p.status),
    ]
    return [(label, value) for label, value in pairs if value]


def task(protocol: Protocol) -> str:
    """Say in a few words what is given and what is to be generated."""
    given = f"{protocol.context} + {protocol.ending} last" if protocol.ending else str(protocol.context)
    frames = f"{given} -> {protocol.predict}"
    return frames if protocol.control == "none" else f"{frames}, {protocol.control}"


def published_metric(protocol: Protocol, name: str) -> str:
    """Return the metric of a protocol under which a number of results/published.csv is filed."""
    ours = PUBLISHED_METRICS.get(name, name)
    for metric in protocol.metrics:
        if ours in (metric, metric.partition("-")[0]):
            return metric
    raise unknown(f"metric of {protocol.id}", name, protocol.metrics)


def _amount(p: Protocol) -> str:
    if p.select is None:
        return "?"
    if p.unconditional:
        return f"{p.generated} generated"
    s = p.select
    per_clip = 0 if s.window == "every" else s.windows * max(s.crops, 1) * s.passes
    cases = s.cases or s.clips * per_clip
    return f"{cases or 'all'} x {p.samples}"


def _runs(p: Protocol) -> str:
    clips = "all clips" if p.unconditional else "the samples of a case"
    return f"{p.runs}, each takes the next {p.answers // p.runs} of {clips}; mean and deviation over runs"


def _sentence(s: Select) -> str:
    facts = {
        "clips in the split": s.clips,
        "passes": s.passes if s.passes > 1 else 0,
        "frames apart": s.step if s.step > 1 else 0,
        "frames of room": s.span,
        "crops": s.crops,
    }
    parts = [f"{WINDOWS[s.window]}: {DRAWS[s.draw]}".format(**vars(s))]
    parts += [f"{number} {name}" for name, number in facts.items() if number]
    parts += ["too short clips are left out"] if s.short == "drop" else []
    parts += [f"seed {s.seed}"] if s.random else []
    return "; ".join(parts)


def _frames(p: Protocol, frames: str) -> str:
    if frames == "all":
        return f"all {p.length}"
    if frames == "predicted":
        return f"the {p.predict} predicted"
    return frames


def _differences(p: Protocol, metric: str) -> str:
    parts = []
    if metric in p.metric_frames:
        parts.append(f"frames {_frames(p, p.metric_frames[metric])}")
    if metric in p.metric_samples:
        count = p.metric_samples[metric]
        parts.append(f"{count} sample{'s' * (count > 1)} per case")
    if metric in p.metric_batches:
        parts.append(f"whole batches of {p.metric_batches[metric]} only")
    return ", ".join(parts)
