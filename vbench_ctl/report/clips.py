"""What the page shows of clips: each case as one video of all models beside the real clip, and the cases that went worst.

One video per case keeps its pictures in step whatever the browser does; the page cuts them apart again. They are shown
H.264, for the eye; the differences in them are taken from the scored frames.
"""

import dataclasses
import functools
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from vbench_ctl import (
    execute,
    files,
    generation,
    measuring,
    networks,
    pairing,
    protocols,
    registry,
    sources,
    store,
    tokens,
    video,
)
from vbench_ctl.errors import UsageError, VbenchError
from vbench_ctl.pairing import Pair
from vbench_ctl.progress import progress
from vbench_ctl.protocols import Protocol
from vbench_ctl.report.boards import Colours
from vbench_ctl.rows import Row
from vbench_ctl.sources import Source, open_source
from vbench_ctl.statistics import flow

REAL = "real clip"  # how its pictures are called
WORST = 2  # cases of each model by each metric
GAIN = 3  # of differences, which are faint otherwise
SIDE, SHEET = 256, 1536  # pixels: the longest side of a picture of a case, and of a clip that is a grid in itself
WIDEST = 4096  # pixels: what decoders in hardware take
GUTTER = 4  # pixels between the pictures of a video, so that the codec does not mix them


@dataclass(frozen=True)
class Group:
    """The outputs of one protocol, or of none, beside their real clips: for each model a pair per case."""

    protocol: Protocol | None
    real: Source
    models: list[str]
    fakes: list[Source]
    pairs: list[list[Pair]]
    fps: float

    @property
    def title(self) -> str:
        return self.protocol.id if self.protocol else self.real.name

    @property
    def compares(self) -> bool:
        """Tell whether each generated clip answers a real one."""
        return not (self.protocol and self.protocol.unconditional)

    def question(self, model: int, metrics: Sequence[str] = ()) -> measuring.Question:
        chosen = tuple(map(tokens.metric, metrics))
        return measuring.Question(self.fakes[model], self.real, self.protocol, chosen, networks.AUTO)


@dataclass(frozen=True)
class Film:
    """A video of several pictures: where each begins, (x, y), and the size of all."""

    file: str
    places: list[tuple[int, int]]
    width: int
    height: int
    frames: int
    fps: float


@dataclass(frozen=True)
class Tile:
    """One picture of a film; `note` are the model's numbers on this case."""

    label: str
    kind: str  # "real", "generated", "flow" or "difference"
    place: tuple[int, int]
    colour: int | None = None
    note: str = ""


@dataclass(frozen=True)
class Shown:
    """One case as the page shows it: for each model and the real clip a stack of tiles."""

    title: str
    film: Film
    stacks: list[list[Tile]]
    given: int = 0  # frames


@dataclass(frozen=True)
class Worst:
    metric: str
    cases: list[Shown]


@dataclass(frozen=True)
class Clips:
    """The cases of one group."""

    title: str
    about: str
    shown: list[Shown]
    worst: list[Worst]


@dataclass(frozen=True)
class Grid:
    """What a model shows besides protocols: named clips, in rows and columns where their names say so."""

    title: str
    about: str
    film: Film
    heads: list[str]  # of the columns; none where the clips just follow each other
    rows: list[tuple[str, list[Tile]]]


# Which outputs belong together


def is_way(folder: Path) -> bool:
    """Tell whether a folder holds what `generate --way` made, not the outputs of a protocol."""
    path = folder / "manifest.json"
    manifest = files.read_json(path) if path.is_file() else {}
    return isinstance(manifest, dict) and "way" in manifest and "protocol" not in manifest


def groups(outputs: Sequence[Path], reals: Sequence[Path], root: Path | None) -> list[Group]:
    """Put outputs of the same protocol together and find their real clips."""
    held: dict[str, list[tuple[str, Source]]] = {}
    for folder in outputs:
        source = open_source(folder)
        models = held.setdefault(str(source.manifest.get("protocol") or ""), [])
        name = str(source.manifest.get("model") or source.name)
        taken = [model for model, _ in models]
        models.append((name if name not in taken else f"{name} ({source.name})", source))
    return [_group(protocol, models, reals, root) for protocol, models in held.items()]


def _group(name: str, models: list[tuple[str, Source]], reals: Sequence[Path], root: Path | None) -> Group:
    protocol = protocols.load(name) if name else None
    real = _real(protocol, reals, root, models[0][1].name)
    fakes = [source for _, source in models]
    pairs = [
        [dataclasses.replace(pair, fakes=pair.fakes[:1]) for pair in _pairs(protocol, real, fake) if not pair.run]
        for fake in fakes
    ]
    fps = sources.fps(real) or video.FPS
    step = protocol.select.step if protocol and protocol.select else 1
    return Group(protocol, real, [model for model, _ in models], fakes, pairs, float(fps) / step)


def _pairs(protocol: Protocol | None, real: Source, fake: Source) -> list[Pair]:
    if protocol:
        return pairing.pair_by_protocol(protocol, real, fake)
    return pairing.pair_by_name(real, fake)


def _real(protocol: Protocol | None, reals: Sequence[Path], root: Path | None, outputs: str) -> Source:
    """Return the real clips: of those given the store that the protocol is defined on, else the protocol's own."""
    if protocol:
        for folder in reals:
            manifest = store.read_manifest(folder) if store.is_store(folder) else {}
            if (manifest.get("dataset"), manifest.get("variant")) == (protocol.dataset, protocol.variant):
                return pairing.open_real(folder, protocol)
        return pairing.find_real(protocol, root)
    if len(reals) != 1:
        raise UsageError(f"{outputs} names no protocol, so its real clips are not known; give them with one --real")
    return open_source(reals[0])


# What is shown


def show(
    group: Group, count: int, rows: Sequence[Row], colours: Colours, media: Path, name: str, workers: int
) -> Clips:
    """Write the videos of some cases, evenly spread, and of the worst ones, into the folder `media`."""
    total = len(group.pairs[0])
    chosen = sorted({round(at) for at in np.linspace(0, total - 1, min(count, total))})
    values = _values(group, _metrics(group, rows), workers)
    failures = [(token, model, case) for token, found in values.items() for model, case in _worst(token, found)]
    wanted = sorted({*chosen, *(case for _, _, case in failures)})
    draw = functools.partial(_film, group, set(chosen), media, name)
    films = {}
    with progress(f"videos of {group.title}", len(wanted), "videos") as advance:
        for at, film in execute.run(draw, wanted, workers):
            films[wanted[at]] = film
            advance(1)
    shown = {case: _shown(group, case, film, values, colours) for case, film in films.items()}
    worst = [
        Worst(token, [_alone(shown[case], 1 + model) for at, model, case in failures if at == token])
        for token in values
    ]
    about = f"{len(chosen)} of {total} cases, evenly spread" if len(chosen) < total else f"all {total} cases"
    return Clips(group.title, about, [shown[case] for case in chosen], worst)


def _metrics(group: Group, rows: Sequence[Row]) -> list[str]:
    """Return the metrics by which cases can be told apart here: those scored clip by clip that need no network."""
    if not group.compares:
        return []
    there = [row for row in rows if row.value is not None]
    asked = [row.metric for row in there if group.protocol and row.protocol == group.protocol.id]
    known = [tokens.metric(token).base for token in asked if tokens.is_known(token)]
    found = {
        tokens.metric(token).name: token
        for token in reversed(known or ["psnr", "ssim"])
        if (each := tokens.metric(token)).needs_pair and not each.features and not each.pools
    }
    return [found[name] for name in sorted(found)]


def _values(group: Group, names: Sequence[str], workers: int) -> dict[str, np.ndarray]:
    """Return each metric that any case has, of each one's first sample: float64 (models, cases), NaN where it has none."""
    values = {token: np.zeros((len(group.models), len(group.pairs[0]))) for token in names}
    if not names:
        return values
    with progress(f"look at {group.title}", len(group.models) * len(group.pairs[0]), "clips") as advance:
        for model, pairs in enumerate(group.pairs):
            chunks = measuring.chunked(pairs)
            for at, part in execute.run(functools.partial(_measure, group.question(model, names)), chunks, workers):
                start = at * len(chunks[0])
                for token in names:
                    values[token][model, start : start + len(part)] = [one.get(token, np.nan) for one in part]
                advance(len(part))
    return {token: found for token, found in values.items() if not np.isnan(found).all()}


def _measure(question: measuring.Question, pairs: Sequence[Pair]) -> list[dict[str, float]]:
    scored = measuring.score_chunk(question, measuring.decode_chunk(question, pairs))
    return [{token: float(found[0].mean()) for token, found in clip.values.items()} for clip in scored]


def _worst(token: str, values: np.ndarray) -> list[tuple[int, int]]:
    """Return (model, case) of the worst cases of each model; NaN, which cannot be ranked, comes last."""
    sign = 1 if tokens.metric(token).direction == "higher" else -1
    return [
        (model, int(case))
        for model, of_model in enumerate(values)
        for case in np.argsort(sign * of_model, kind="stable")[:WORST]
    ]


def _film(group: Group, flowing: Collection[int], media: Path, name: str, case: int) -> Film:
    """Write the video of one case: the real clip and what each model made, their flow if asked for, the differences."""
    real, made, apart = None, [], []
    for model, pairs in enumerate(group.pairs):
        (decoded,) = measuring.decode_chunk(group.question(model), [pairs[case]])
        truth, clip = decoded[1], decoded[2][0]
        made.append(clip)
        if truth is not None:
            real = truth
            apart.append(np.minimum(GAIN * np.abs(truth.astype(np.int16) - clip), 255).astype(np.uint8))
    pictures = [_some_real(group, case) if real is None else real, *made]
    moving = _flows(pictures) if case in flowing else []
    return write_film(media / f"{name}-{case:05d}.mp4", [*pictures, *apart, *moving], group.fps)


def _flows(pictures: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Paint where everything moves, on the scale of the first clip; the last frame repeats the one before."""
    if any(len(clip) < 2 for clip in pictures):
        return []
    fields = [flow.along(clip) for clip in pictures]
    most = max(1.0, float(np.percentile(np.hypot(fields[0][..., 0], fields[0][..., 1]), 95)))
    painted = [np.stack([_painted(field, most) for field in clip]) for clip in fields]
    return [np.concatenate([clip, clip[-1:]]) for clip in painted]


def _painted(field: np.ndarray, most: float) -> np.ndarray:
    """Paint flow (H, W, 2): the hue is the direction, from red to the right through green down; white does not move."""
    hue = np.arctan2(field[..., 1], field[..., 0]) / (2 * np.pi) % 1
    pure = np.clip(np.abs((hue[..., None] * 6 + np.array([0, 4, 2])) % 6 - 3) - 1, 0, 1)
    strength = np.minimum(np.hypot(field[..., 0], field[..., 1]) / most, 1)[..., None]
    return np.rint(255 * (1 - strength * (1 - pure))).astype(np.uint8)


def _some_real(group: Group, case: int) -> np.ndarray:
    """Return a real clip to look at where generated ones answer none."""
    assert group.protocol
    windows = protocols.real_cases(group.protocol, pairing.lengths(group.real))
    window = windows[case % len(windows)]
    frames = pairing.real_window(group.real, Pair(window.clip, (), window))
    return pairing.scaled(frames, group.protocol.resize) if group.protocol.resize else frames


def _shown(group: Group, case: int, film: Film, values: dict[str, np.ndarray], colours: Colours) -> Shown:
    """Say where in a case's film what is, in the order in which `_film` wrote it."""
    pair, names = group.pairs[0][case], [REAL, *group.models]
    places = iter(film.places)
    stacks = [[Tile(REAL, "real", next(places))]]
    for model, name in enumerate(group.models):
        note = ", ".join(f"{token} {found[model, case]:.3g}" for token, found in values.items())
        stacks.append([Tile(name, "generated", next(places), colours[name], note)])
    apart = [Tile(f"{name}, difference", "difference", next(places)) for name in group.models if group.compares]
    for stack, name, place in zip(stacks, names, places, strict=False):  # no place is left where no flow was asked for
        stack.append(Tile(f"{name}, flow", "flow", place))
    for stack, tile in zip(stacks[1:], apart, strict=False):
        stack.append(tile)
    title = f"{pair.real or pair.fakes[0]}" + (f", from frame {pair.case.start + 1}" if pair.case else "")
    return Shown(title, film, stacks, group.protocol.context if group.protocol else 0)


def _alone(shown: Shown, stack: int) -> Shown:
    """Return one model of a case beside the real clip and their difference."""
    tiles = [shown.stacks[0][0], *(tile for tile in shown.stacks[stack] if tile.kind != "flow")]
    return dataclasses.replace(shown, stacks=[[tile] for tile in tiles])


# Videos


def write_film(path: Path, parts: Sequence[np.ndarray], fps: float, side: int = SIDE) -> Film:
    """Write clips uint8 (T, H, W, 3) of one size beside each other into one video; a short one holds its last frame."""
    parts = [_fitted(part, side) for part in parts]
    length = max(map(len, parts))
    height, width = (max(part.shape[axis] for part in parts) for axis in (1, 2))
    high, wide = (size + size % 2 + GUTTER for size in (height, width))  # even: colours are stored at half size
    columns = min(len(parts), max(1, WIDEST // wide))
    sheet = np.zeros((length, -(-len(parts) // columns) * high, columns * wide, 3), np.uint8)
    places = []
    for index, part in enumerate(parts):
        y, x = index // columns * high, index % columns * wide
        around = (0, length - len(part)), (0, high - part.shape[1]), (0, wide - part.shape[2]), (0, 0)
        sheet[:, y : y + high, x : x + wide] = np.pad(part, around, mode="edge")
        places.append((x, y))
    video.write(path, sheet, fps)
    return Film(f"{path.parent.name}/{path.name}", places, width, height, length, fps)


def _fitted(part: np.ndarray, side: int) -> np.ndarray:
    longest = max(part.shape[1:3])
    if longest <= side:
        return part
    size = [max(1, round(edge * side / longest)) for edge in (part.shape[2], part.shape[1])]
    return np.stack([np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BOX)) for frame in part])


# Grids


_NUMBERED = re.compile(r"(\d+)_(\d+)")


def grid(folder: Path, colours: Colours, media: Path, name: str) -> Grid:
    """Write the video of what `generate --way` made."""
    manifest = files.read_json(folder / "manifest.json")
    model, way = str(manifest.get("model") or folder.name), str(manifest["way"])
    names = manifest.get("files")
    there = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*.mkv"))}
    paths = [there[name] for name in map(str, names if isinstance(names, list) else there) if name in there]
    if not paths:
        raise VbenchError(f"{folder}: no clips there, expected what generate --way made; run it again")
    side = SHEET if len(paths) <= 4 else SIDE  # so few are sheets of their own
    film = write_film(media / f"{name}.mp4", [video.read(path).frames for path in paths], video.FPS, side)
    ids = [path.relative_to(folder).with_suffix("").as_posix() for path in paths]
    tiles = {clip: Tile(clip, "generated", at, colours[model]) for clip, at in zip(ids, film.places, strict=True)}
    heads, rows = _ordered(tiles)
    leaf = registry.find("baselines", manifest.get("baseline"))
    known = generation.ways(leaf) if leaf else {}
    return Grid(f"{model}: {way}", known.get(way, ""), film, heads, rows)


def _ordered(tiles: dict[str, Tile]) -> tuple[list[str], list[tuple[str, list[Tile]]]]:
    """Put tiles called I_J into row I and column J, where every one has its place."""
    found = {clip: _NUMBERED.fullmatch(clip) for clip in tiles}
    at = {(int(match[1]), int(match[2])): tiles[clip] for clip, match in found.items() if match}
    rows, columns = (sorted({place[axis] for place in at}) for axis in (0, 1))
    if len(at) != len(tiles) or len(at) != len(rows) * len(columns):
        return [], [("", list(tiles.values()))]
    heads = [f"motion {column + 1}" for column in columns]
    return heads, [(f"appearance {row + 1}", [at[row, column] for column in columns]) for row in rows]
