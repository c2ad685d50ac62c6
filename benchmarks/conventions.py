"""How much each convention of scoring moves a score, on clips that anybody can make again.

OMP_NUM_THREADS=1 python benchmarks/conventions.py [bair_reconstructions.mp4]     measure, then write both files
python benchmarks/conventions.py --render                                         write the page from the numbers again

The numbers go to results/conventions.json, one reading after another, and from there into docs/conventions.md. A run that
was stopped goes on, and what is on file is not measured again (remove the file for that). The video is the one of
bair_models.py.
"""

import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
from bair_models import CELL, MODELS, clips
from scipy.ndimage import gaussian_filter

import vbench_ctl
from vbench_ctl import files, networks, prepare, registry, rows, video
from vbench_ctl.measuring import CHUNK as TOGETHER
from vbench_ctl.store import Store

ROOT = Path(__file__).resolve().parent.parent
NUMBERS, PAGE = ROOT / "results/conventions.json", ROOT / "docs/conventions.md"
PARTS = {  # what stands between which marks of the page
    "tables": ("<!-- measured -->", "<!-- end of what was measured -->"),
    "summary": ("<!-- measured summary -->", "<!-- end of the summary -->"),
}
COUNT = 32  # clips
FRAMES, LONG = 16, 32  # of a scored clip, of the clip that windows are drawn from
SOFTNESS = 1.5  # pixels, the deviation of the blur that stands for a model
CRF = 23  # the default of x264
CODED = f"outputs in H.264, crf {CRF}"
WSPRITES = f"W-Sprites 128x96, {COUNT} clips of {FRAMES} frames"
BAIR = f"five published models on BAIR, 14 clips of 15 frames at {CELL}x{CELL}"
SHORT = {WSPRITES: "W-Sprites", BAIR: "BAIR"}
SHOWN = ("soft", "copy-last", *MODELS)  # the order of columns
FAMILIES = ("psnr", "ssim", "lpips", "fid", "fvd")
USUAL = "as usual"
Clips = np.ndarray  # uint8 (N, T, H, W, 3)
Key = tuple[str, ...]


@dataclass(frozen=True)
class Reading:
    """One score under one choice; `usual` is the choice it is to be compared with."""

    material: str
    family: str
    convention: str
    choice: str
    model: str
    metric: str
    signature: str
    value: float
    low: float | None
    high: float | None
    usual: bool

    @property
    def key(self) -> Key:
        return self.material, self.convention, self.choice, self.model, self.metric


Held = dict[Key, Reading]  # what was measured before


def read(held: Held, key: Key, fake: Callable[[], Clips], real: Callable[[], Clips]) -> Reading:
    """Return a reading that there is, or score."""
    if key in held:
        return held[key]
    material, convention, choice, model, metric = key
    (row,) = vbench_ctl.score(fake(), real(), [metric], model=model, device="cpu")
    assert row.value is not None, row.note
    numbers = (row.metric, row.signature, row.value, row.low, row.high)
    return Reading(material, metric.partition("-")[0], convention, choice, model, *numbers, choice == USUAL)


def wsprites() -> np.ndarray:
    """Return the first frames of 32 clips, spread over the characters: (32, LONG, 96, 128, 3)."""
    plan = prepare.plan("wsprites", None, ("test",), 10 * COUNT, frames=LONG)
    prepare.make(plan)
    store = Store(plan.folder, "test")
    return np.stack([store.frames(index) for index in range(0, 10 * COUNT, 10)])


def soft(real: Clips) -> Clips:
    """Stand for a model that predicts well and blurs: every frame but the given one."""
    made = np.stack([gaussian_filter(clip[1:], (0, SOFTNESS, SOFTNESS, 0)) for clip in real])
    return np.concatenate([real[:, :1], made], axis=1)


def copied(real: Clips) -> Clips:
    """Stand for a model that predicts no motion."""
    return np.repeat(real[:, :1], real.shape[1], axis=1)


def in_mp4(shown: Clips) -> Clips:
    """Write clips as H.264 and read them back."""
    with tempfile.TemporaryDirectory() as folder:
        path, found = Path(folder) / "clip.mp4", []
        for clip in shown:
            video.write(path, clip, crf=CRF)
            found.append(video.read(path).frames)
            path.unlink()
    return np.stack(found)


def window(seed: int) -> Callable[[Clips], Clips]:
    """Return what draws a window of each clip."""

    def drawn(long: Clips) -> Clips:
        starts = np.random.default_rng(seed).integers(0, LONG - FRAMES + 1, len(long))
        return np.stack([clip[start : start + FRAMES] for clip, start in zip(long, starts, strict=True)])

    return drawn


def opening(long: Clips) -> Clips:
    return long[:, :FRAMES]


def predicted(long: Clips) -> Clips:
    return long[:, 1:FRAMES]


def sparse(long: Clips) -> Clips:
    """Take two frames of each clip: FID of all would take long and say the same."""
    return opening(long)[:, [FRAMES // 2, -1]]


def half(long: Clips) -> Clips:
    return opening(long)[: len(long) // 2]


# Convention, choice, metric, and what is done to the real clips and to the outputs before the metric sees them
Choice = tuple[str, str, str, Callable[[Clips], Clips], Callable[[Clips], Clips]]


def paired(shown: Callable[[Clips], Clips]) -> list[Choice]:
    """Return the choices of metrics that compare frame with frame, of the frames that are scored as usual."""

    def coded(clips: Clips) -> Clips:
        return shown(in_mp4(clips))

    def swapped(clips: Clips) -> Clips:
        return np.ascontiguousarray(shown(clips)[..., ::-1])

    return [
        ("", USUAL, "psnr", shown, shown),
        ("formula", "MSE of whole clips", "psnr-video", shown, shown),
        ("formula", "mean of three channels", "psnr-channel", shown, shown),
        ("formula", "1e-8 added", "psnr-piq", shown, shown),
        ("coding", CODED, "psnr", shown, coded),
        ("", USUAL, "ssim", shown, shown),
        ("formula", "grey values", "ssim-luma", shown, shown),
        ("formula", "7x7 mean, sample covariance", "ssim-uniform7", shown, shown),
        ("formula", "7x7 mean, range taken for 2 (CCVS, SVG)", "ssim-ccvs", shown, shown),
        ("formula", "1x1 window (GLASS)", "ssim-glass", shown, shown),
        ("coding", CODED, "ssim", shown, coded),
        ("", USUAL, "lpips", shown, shown),
        ("coding", CODED, "lpips", shown, coded),
        ("colours", "BGR", "lpips", swapped, swapped),
        ("formula", "maps enlarged first (spatial)", "lpips-spatial", shown, shown),
    ]


GIVEN: list[Choice] = [("given frame", "in", metric, opening, opening) for metric in ("psnr", "ssim", "lpips")]
FVD: list[Choice] = [
    ("", USUAL, "fvd", opening, opening),
    ("number of clips", "half", "fvd", half, half),
]
OF_SETS: list[Choice] = [
    ("", USUAL, "fid", sparse, sparse),
    ("coding", CODED, "fid", sparse, lambda c: sparse(in_mp4(c))),
    ("resize to 299", "TensorFlow 1 (TTUR)", "fid-tensorflow", sparse, sparse),
    ("resize to 299", "antialiased bicubic (clean-fid)", "fid-clean", sparse, sparse),
    ("coding", CODED, "fvd", opening, in_mp4),
    ("colours", "BGR (CCVS)", "fvd-ccvs", opening, opening),
]
OF_LONG: list[Choice] = [
    ("real window", "at random", "fvd", window(0), opening),
    ("given frame", "out", "fvd", predicted, predicted),
]


OTHERWISE = [  # convention, choice, pipeline and divisor, which no variant of the metric has alone
    ("covariance", "divided by N (StyleGAN-V, cd-fvd)", "tf", 0),
    ("resize to 224", "half-pixel (StyleGAN-V)", "styleganv", 1),
]


def scored(material: str, real: Clips, made: dict[str, Clips], choices: list[Choice], held: Held) -> Iterator[Reading]:
    """Yield the readings of some choices, model by model."""
    for model, fake in made.items():
        for convention, choice, metric, of_real, of_fake in choices:
            key = (material, convention, choice, model, metric)
            yield read(held, key, partial(of_fake, fake), partial(of_real, real))


def otherwise(material: str, real: Clips, made: dict[str, Clips], held: Held) -> Iterator[Reading]:
    """Yield FVD with one thing changed that the releases change with others, of the features that are kept."""
    fvd = registry.load("metrics", "fvd")
    for convention, choice, pipeline, ddof in OTHERWISE:
        which, computed = fvd.features(pipeline=pipeline), fvd.signature(pipeline=pipeline, ddof=ddof)
        for model, fake in made.items():
            if (key := (material, convention, choice, model, "fvd")) in held:
                yield held[key]
                continue
            cases = [*map(str, range(len(real)))]
            found = fvd.estimate(features(which, real), features(which, fake), cases, ddof=ddof)
            of, frames, count = networks.identity(which), f"{real.shape[1]}f", f"{len(real)}x1"
            signed = rows.signature("fvd", "", of, frames, count, computed, fvd.VERSION)
            numbers = ("fvd", signed, found.value, found.low, found.high)
            yield Reading(material, "fvd", convention, choice, model, *numbers, False)


def features(which: networks.Features, shown: Clips) -> np.ndarray:
    """Return the features of clips, some clips at a time."""
    return np.concatenate([networks.of(which, list(shown[i : i + TOGETHER])) for i in range(0, len(shown), TOGETHER)])


def measured(videos: list[str], held: Held) -> Iterator[Reading]:
    """Yield everything, what takes long last: two models that blur or stand still, five published ones."""
    long = wsprites()
    made = {"soft": soft(opening(long)), "copy-last": copied(opening(long))}
    grids = [video.read(path).frames for path in videos]
    shown = [{model: clips(grid, number) for number, model in enumerate(("", *MODELS))} for grid in grids]
    published = [(each[""], {model: each[model] for model in MODELS}) for each in shown]
    yield from scored(WSPRITES, long, made, paired(predicted) + GIVEN, held)
    for real, models in published:
        yield from scored(BAIR, real, models, paired(opening), held)
    yield from scored(WSPRITES, long, made, FVD, held)
    yield from otherwise(WSPRITES, opening(long), made, held)
    yield from scored(WSPRITES, long, made, OF_SETS + OF_LONG, held)
    for real, models in published:
        yield from scored(BAIR, real, models, FVD, held)
        yield from otherwise(BAIR, real, models, held)
        yield from scored(BAIR, real, models, OF_SETS, held)


# The page


def summary(readings: list[Reading]) -> str:
    """Return one table of all: how far each convention moves each metric, and whether it changes the order of models."""
    head = ["convention", "metric", *(f"change on {name}" for name in SHORT.values()), "other order of models"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for convention in dict.fromkeys(r.convention for r in readings if not r.usual):
        for family in FAMILIES:
            if held := [r for r in readings if (r.convention, r.family) == (convention, family)]:
                usual = [r for r in readings if r.usual and r.family == family]
                lines.append("| " + " | ".join([convention, family, *_changes(held, usual)]) + " |")
    return "\n".join(lines)


def _changes(held: list[Reading], usual: list[Reading]) -> list[str]:
    """Return the least and largest change on each material, and by which choices the models come in another order."""
    ranges, swaps = [], []
    for material, name in SHORT.items():
        before = {r.model: r for r in usual if r.material == material}
        choices: dict[str, dict[str, Reading]] = {}
        for r in (r for r in held if r.material == material):
            choices.setdefault(r.choice, {})[r.model] = r
        changes = [r.value / before[r.model].value - 1 for cells in choices.values() for r in cells.values()]
        ranges.append(f"{_percent(min(changes))} to {_percent(max(changes))}" if changes else "")
        for choice, cells in choices.items():
            if _order(cells) != _order({model: before[model] for model in cells}):
                swaps.append(f"{name}: {choice}")
    return [*ranges, "; ".join(swaps) or "no"]


def tables(readings: list[Reading]) -> str:
    """Return a table for each material and family of metrics, as markdown."""
    parts = []
    for material in SHORT:
        held = [r for r in readings if r.material == material]
        families = [[r for r in held if r.family == family] for family in FAMILIES]
        parts += [f"## On {material}", *(table(family) for family in families if family)]
    return "\n\n".join(parts)


def table(readings: list[Reading]) -> str:
    """Return one table: a line per choice, a column per model, each beside what it is as usual."""
    models = sorted({r.model for r in readings}, key=SHOWN.index)
    usual = {r.model: r.value for r in readings if r.usual}
    choices: dict[tuple[str, str], dict[str, Reading]] = {}
    for r in sorted(readings, key=lambda r: not r.usual):
        choices.setdefault((r.convention, r.choice), {})[r.model] = r
    lines = [f"### {readings[0].family}", "", "| convention | choice | " + " | ".join(models) + " |"]
    lines.append("|---|---|" + "---|" * len(models))
    for (convention, choice), cells in choices.items():
        numbers = (_number(cells[model], usual[model]) if model in cells else "" for model in models)
        lines.append(f"| {convention} | {choice} | " + " | ".join(numbers) + " |")
    if len(models) > 2:
        lines += ["", "Best first:", "", *(f"- {choice}: {_order(cells)}" for (_, choice), cells in choices.items())]
    signed = dict.fromkeys(r.signature for r in readings)
    return "\n".join([*lines, "", "Signatures:", "", *(f"- `{each}`" for each in signed)])


def _order(cells: dict[str, Reading]) -> str:
    """Return the models of one line of a table, the best first."""
    higher = next(iter(cells.values())).family in ("psnr", "ssim")
    return ", ".join(sorted(cells, key=lambda model: cells[model].value, reverse=higher))


def _number(r: Reading, usual: float) -> str:
    if r.usual:
        interval = f" [{r.low:.4g}, {r.high:.4g}]" if r.low is not None and r.high is not None else ""
        return f"**{r.value:.4g}**{interval}"
    return f"{r.value:.4g} ({_percent(r.value / usual - 1)})"


def _percent(change: float) -> str:
    return f"{change:+.1%}"


def rendered(page: str, readings: list[Reading]) -> str:
    """Return the page with the tables of these readings in it."""
    for made in (summary, tables):
        begin, end = PARTS[made.__name__]
        head, _, rest = page.partition(begin)
        page = f"{head}{begin}\n\n{made(readings)}\n\n{end}{rest.partition(end)[2]}"
    return page


def kept() -> list[Reading]:
    """Return the readings that are on file."""
    return [Reading(**each) for each in json.loads(NUMBERS.read_text("utf-8"))]


def main() -> None:
    """Measure, unless only the page is wanted, and keep what there is after each reading."""
    if sys.argv[1:] != ["--render"]:
        held = {each.key: each for each in kept()} if NUMBERS.exists() else {}
        for each in measured(sys.argv[1:], dict(held)):
            held[each.key] = each
            files.write_json(NUMBERS, [asdict(r) for r in held.values()])
            print(*each.key, f"{each.value:.5g}", flush=True)
    files.write_text(PAGE, rendered(PAGE.read_text("utf-8"), kept()))


if __name__ == "__main__":
    main()
