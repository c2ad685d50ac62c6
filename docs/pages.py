"""Fills the pages with what the code says of itself: a line `<!-- WORD NAME -->` becomes what WORD says of NAME.

mkdocs calls on_page_markdown (mkdocs.yml); nothing here is run when the toolkit is used. What is read without mkdocs holds its
tables itself, between `<!-- table PROTOCOL METRIC... -->`, or `<!-- table costs -->`, and `<!-- end -->`, and

    python docs/pages.py README.md results/reproduced/README.md docs/baselines/*.md

makes them anew from the rows that come with the toolkit, and so numbers in the text: 20.3<!-- PROTOCOL MODEL METRIC -->, or of
a frame, <!-- PROTOCOL MODEL METRIC[-1] -->, with as many decimals as stand there.
"""

import dataclasses
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from click import Context

from vbench_ctl import controls, generation, leaderboard, prepare, protocols, recipes, registry, suites, tokens, weights
from vbench_ctl.cli import main
from vbench_ctl.rows import Row

ROOT = Path(__file__).resolve().parent.parent
MARK = re.compile(r"^<!-- ([a-z]+)(?: ([\w./@+-]+))? -->$", re.MULTILINE)
BOARD = re.compile(r"^(<!-- table (\S+)((?: \S+)*) -->\n).*?^(<!-- end -->)$", re.MULTILINE | re.DOTALL)
SAID = re.compile(r"-?\d+(?:\.(\d+))?(<!-- (\S+@\d+) (\S+) ([\w-]+)(?:\[(-?\d+)\])? -->)")
REPRODUCED = "results/reproduced/README.md"
KEPT = ("measured", "end")  # marks of pages that hold their numbers themselves


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Return a page with its marks filled in."""
    return MARK.sub(lambda mark: mark[0] if mark[1] in KEPT else WORDS[mark[1]](*filter(None, [mark[2]])), markdown)


def with_boards(markdown: str) -> str:
    """Return a text with its tables and marked numbers made from the rows that come with the toolkit."""
    markdown = BOARD.sub(lambda mark: f"{mark[1]}{board(mark[2], mark[3].split())}\n{mark[4]}", markdown)
    return SAID.sub(lambda mark: number(mark[3], mark[4], mark[5], mark[6], len(mark[1] or "")) + mark[2], markdown)


def number(protocol: str, model: str, metric: str, frame: str | None, decimals: int) -> str:
    """Return the number of a row, or of one of its frames, as a text says it."""
    (row,) = (r for r in _rows() if (r.protocol, r.model, r.metric) == (protocol, model, metric))
    value = row.value if frame is None else row.per_frame[int(frame)]
    return f"{value:.{decimals}f}"


def board(protocol: str, metrics: Sequence[str]) -> str:
    """Return the table of a protocol, with some columns or all, and what is to be said of these; or that of costs."""
    if protocol == "costs":
        return costs()
    rows = leaderboard.select(_rows(), [protocol])
    (table,) = leaderboard.tables(r for r in rows if not metrics or r.metric in metrics)
    table = replace(table, columns=sorted(table.columns, key=lambda c: metrics.index(c.metric) if metrics else 0))
    lines = [[model, *(_plain(cells.get(c)) for c in table.columns)] for model, cells in table.cells.items()]
    said = [f"- {line}" for line in (*leaderboard.floors(table), *table.remarks)]
    return "\n".join([grid(["model", *table.labels()], lines), *([""] if said else []), *said])


def costs() -> str:
    """Return the CPU-minutes that each trained run took to be trained, to answer a protocol and to be scored."""
    lines = []
    for key, rows in _answers(_rows()).items():
        made = rows[0].provenance["generated"]
        stages = [stage.get("cpu_seconds") for stage in made["run"]["stages"].values() if stage["steps"]]
        trained = "not kept" if None in stages else f"{sum(stages) / 60:.1f}"
        scored = {tuple(r.provenance["made"]["command"]): r.provenance["made"]["cpu_seconds"] for r in rows}
        lines.append([*key, trained, f"{made['cpu_seconds'] / 60:.1f}", f"{sum(scored.values()) / 60:.1f}"])
    return grid(["run", "protocol", "trained", "generated", "scored"], lines)


def _answers(held: Iterable[Row]) -> dict[tuple[str, str], list[Row]]:
    """Group the rows with a value of trained runs by run and protocol, where they know what making the clips took."""
    answered: dict[tuple[str, str], list[Row]] = {}
    for r in held:
        made = r.provenance.get("generated", {})
        if "run" in made and "cpu_seconds" in made and r.value is not None:
            answered.setdefault((r.model, r.protocol), []).append(r)
    return answered


@cache
def _rows() -> list[Row]:
    """Return the rows that come with the toolkit, read once for all that pages say of them."""
    return leaderboard.reproduced_rows()


def _plain(row: Row | None) -> str:
    """Return a number without the star that stands for a note."""
    return leaderboard.number(row).removesuffix(" *")


def grid(head: Sequence[str], lines: Iterable[Sequence[object]]) -> str:
    """Return a markdown table."""
    cells = [[" ".join(str(cell).split()).replace("|", "\\|").replace("<", "&lt;") for cell in line] for line in lines]
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, ["---"] * len(head), *cells))


def _bytes(size: object) -> str:
    return f"{size / 1e9:.3g} GB" if isinstance(size, int) else str(size)


# Datasets


def datasets() -> str:
    """List all datasets."""
    lines = []
    for name in registry.names("datasets"):
        card = prepare.card(name)
        lines.append(
            [
                f"[{name}]({name}.md)",
                card["about"],
                card["access"],
                _bytes(card.get("disk", {}).get("store_bytes", "-")),
            ]
        )
    return grid(["name", "about", "access", "store"], lines)


def dataset(name: str) -> str:
    """Say everything about a dataset but its quirks."""
    leaf, card = registry.load("datasets", name), prepare.card(name)
    disk = card.get("disk", {})
    facts = {
        "about": card["about"],
        "access": card["access"],
        "licence": card["licence"],
        "citation": card["citation"],
        "homepage": card.get("homepage", ""),
        "splits": ", ".join(
            f"{split}: {size}" for split, size in card.get("splits", dict.fromkeys(leaf.SPLITS, "-")).items()
        ),
        "download": _bytes(disk.get("archive_bytes", "")),
        "store": _bytes(disk.get("store_bytes", "")),
        "converter": f"version {leaf.VERSION}",
        "notes": card.get("notes", ""),
    }
    parts = [grid(["", ""], [item for item in facts.items() if item[1]])]
    if "file" in card:
        lines = [
            [f["name"], f["kind"], " ".join(f["urls"]) or "-", _bytes(f["size"]), f.get("help") or f.get("layouts", "")]
            for f in card["file"]
        ]
        parts += [
            "### Files",
            grid(["file", "kind", "from", "size", "how to get it, or what `--archive` takes"], lines),
        ]
    parts += [
        "### Prepare",
        f"```sh\nvbench-ctl prepare {name} --dry-run\nvbench-ctl prepare {name}{' --yes' if 'file' in card else ''}\n```",
    ]
    if own := dataclasses.fields(leaf.Options):
        lines = [[f"`--{f.name.replace('_', '-')}`", f.default or "-", f.metadata["help"]] for f in own]
        parts.append(grid(["option", "default", "what"], lines))
    held = [p for p in protocols.load_all().values() if p.dataset == name]
    parts += [
        "### Protocols",
        grid(
            ["id", "task", "metrics"],
            [[f"[{p.id}](../protocols.md#{anchor(p.id)})", protocols.task(p), ", ".join(p.metrics)] for p in held],
        ),
    ]
    return "\n\n".join(parts)


# Metrics


def metrics() -> str:
    """List all metrics."""
    lines = []
    for name in registry.names("metrics"):
        leaf = registry.load("metrics", name)
        lines.append([f"[{name}]({_page_of(name)}#{name})", leaf.TITLE, leaf.DIRECTION, leaf.NEEDS, _first(leaf)])
    return grid(["name", "title", "better", "needs", "about"], lines)


def _page_of(metric: str) -> str:
    """Return the page that has the section of a metric."""
    for page in sorted((ROOT / "docs/metrics").glob("*.md")):
        if f"<!-- metric {metric} -->" in page.read_text("utf-8"):
            return page.name
    raise KeyError(f"no page of docs/metrics has a section of {metric}")


def metric(name: str) -> str:
    """Say what the code says of a metric: its source, its scale and what its variants' signatures have."""
    leaf = registry.load("metrics", name)
    unit = f", in {leaf.UNIT}" if leaf.UNIT else ""
    about = " ".join((leaf.__doc__ or "").split())
    lines = [[f"`{name}{'-' * bool(v)}{v}`", f"`{leaf.signature(**options)}`"] for v, options in leaf.VARIANTS.items()]
    said = f"{leaf.TITLE}{unit}: {leaf.DIRECTION} is better; needs {leaf.NEEDS}; version {leaf.VERSION}."
    return f"*{said}* {about}\n\n" + grid(["token", "what its signature says of the computation"], lines)


def networks() -> str:
    """List the fixed networks."""
    lines = [[e.name, e.title, e.licence, "; ".join(map(str, e.sources))] for e in weights.known().values()]
    return grid(["name", "what", "licence", "sources, in this order"], lines)


def suite(name: str) -> str:
    """List the metrics of a suite."""
    chosen = suites.load(name)
    return f"{chosen.about}\n\n" + ", ".join(f"`{token}`" for token in chosen.metrics)


# Baselines


def baselines() -> str:
    """List all baselines."""
    lines = [
        [f"`{n}`", registry.load("baselines", n).CONTROL, _first(registry.load("baselines", n))]
        for n in registry.names("baselines")
    ]
    return grid(["name", "control", "about"], lines)


def baseline(name: str) -> str:
    """Say what a baseline is told, its recipes and the results that come with the toolkit."""
    leaf = registry.load("baselines", name)
    parts = [
        " ".join((leaf.__doc__ or "").split()),
        f"Told: {', '.join(getattr(leaf, 'CONTROLS', (leaf.CONTROL,))) or 'nothing'}.",
    ]
    if generation.is_trained(leaf):
        found = {recipe: path.read_text("utf-8") for recipe, path in recipes.files(name, leaf).items()}
        parts += [
            "### Recipes",
            grid(["recipe", "what"], [[f"`{recipe}`", _comment(text)] for recipe, text in found.items()]),
        ]
    held = [r for r in _rows() if r.model == name or r.model.startswith(f"{name}-")]
    if held:
        parts += ["### Results", _results(held)]
    if making := _making(held):
        lines = [[*key, f"{m.clips:,}", f"{m.seconds:,.1f}", f"{m.each:.3g}", m.on] for key, m in making.items()]
        head = ["run", "protocol", "clips made", "CPU-seconds", "each", "on"]
        parts += ["What making these clips took, as far as the rows know:", grid(head, lines)]
    return "\n\n".join(parts)


def _comment(text: str) -> str:
    """Return what a recipe says of itself in its first lines."""
    said = " ".join(line.removeprefix("#").strip() for line in text.partition("\n\n")[0].splitlines())
    return said.replace(REPRODUCED, f"[{REPRODUCED}](../results.md)")


def _results(held: Sequence[Row]) -> str:
    """Return a table of rows, each with its note and its signature."""
    lines = [[r.model, r.protocol, r.metric, _plain(r), r.n, r.note, f"`{r.signature}`"] for r in held]
    return grid(["run", "protocol", "metric", "value", "clips", "note", "signature"], lines)


class Making(NamedTuple):
    """What a run took to answer a protocol."""

    clips: int
    seconds: float
    on: str

    @property
    def each(self) -> float:
        return self.seconds / self.clips


def _making(held: Iterable[Row]) -> dict[tuple[str, str], Making]:
    """Return the clips that trained runs made for protocols, and their CPU-seconds where the rows have them."""
    found = {}
    for key, rows in _answers(held).items():
        p, made = protocols.load(key[1]), rows[0].provenance["generated"]
        sets = {word for r in rows for word in tokens.metric(r.metric).sets}  # a model may lack some that are asked for
        clips = p.answers if p.unconditional else max(r.n for r in rows) * p.answers * (1 + len(sets))
        found[key] = Making(clips, made["cpu_seconds"], made["on"])
    return found


# Protocols and what they are told


def protocol(which: str = "") -> str:
    """Return the card of a protocol, or of all."""
    wanted = [protocols.load(which)] if which else protocols.load_all().values()
    cards = ((p, [[label.strip(), value] for label, value in protocols.card(p)]) for p in wanted)
    return "\n\n".join(f"### {p.id} {{ #{anchor(p.id)} }}\n\n" + grid(["", ""], card[1:]) for p, card in cards)


def summary() -> str:
    """List all protocols."""
    rows = protocols.summary_rows()
    return grid([*rows[0]], [[f"[{row['id']}](#{anchor(row['id'])})", *[*row.values()][1:]] for row in rows])


def anchor(protocol_id: str) -> str:
    """Return where the card of a protocol is on its page."""
    return re.sub(r"[^a-z0-9]+", "-", protocol_id)


def quirks() -> str:
    """List what released procedures do that a reader should know."""
    return grid(["quirk", "meaning"], protocols.quirks().items())


def control() -> str:
    """List the ways to tell a model what to make."""
    return grid(
        ["control", "what is told", "tracks"],
        [[n, c.about, ", ".join(c.tracks) or "-"] for n, c in controls.CONTROLS.items()],
    )


def sets() -> str:
    """List the further answers that a protocol may ask for."""
    return grid(["set", "what is told"], controls.SETS.items())


# What a large job costs, from docs/benchmarks.md and from the rows that come with the toolkit

PAPER = "the paper's size"
SECONDS = {  # of one core for one clip: what it was measured as
    "convert 10 s of video to 64x64": (250 * 940e-6, "250 frames x 940 us"),
    "FVD": (14.9 / 16, "14.9 s / 16 clips of 16x64x64"),
    "FVD, FID, LPIPS, PSNR, SSIM": (66.1 / 16, "66.1 s / 16 clips of 16x64x64"),
    "G3AN": (0.81, "0.81 s"),
    "cINN": (6.3 + 36.9e-3, "6.3 s + 36.9 ms"),
    "CCVS": (97 + 15 * (0.018 + 0.049 + 0.096 + 0.344 + 1.19 + 5.69), "97 s + 15 frames x 7.39 s"),  # tokens, fusion
    "a step of G3AN": (6.4 / 2, "6.4 s / 2 clips"),
    "a step of GLASS": (15.5 / 2, "15.5 s / 2 clips"),
}
MILLION, BESIDE = 1_000_000, 50_000  # clips that are made, real ones that they are compared with
# Job, what is done or which run answered which protocol, clips, bytes on disk for each
JOBS: list[tuple[str, str | tuple[str, str], int, int]] = [
    ("Kinetics-600: all splits into a store", "convert 10 s of video to 64x64", 482_000, 250 * 64 * 64 * 3),
    ("Kinetics-600: its test split, for 50,000 windows", "convert 10 s of video to 64x64", 60_000, 250 * 64 * 64 * 3),
    ("Kinetics-600: FVD of 50,000 clips against 50,000", "FVD", 2 * BESIDE, 16 * 64 * 64 * 3),
    ("Kinetics-600: five metrics of the same", "FVD, FID, LPIPS, PSNR, SSIM", 2 * BESIDE, 16 * 64 * 64 * 3),
    (f"a million clips by G3AN, {PAPER}, 64x64", "G3AN", MILLION, 16 * 64 * 64 * 3),
    (f"a million clips by cINN, {PAPER}, 64x64", "cINN", MILLION, 16 * 64 * 64 * 3),
    (f"a million clips by CCVS, {PAPER}, 256x256", "CCVS", MILLION, 16 * 256 * 256 * 3),
    ("a million clips by", ("glass-wsprites-actions", "wsprites-control@1"), MILLION, 16 * 128 * 96 * 3),
    ("a million clips by", ("ccvs-wsprites-tiny", "wsprites-control@1"), MILLION, 16 * 128 * 96 * 3),
    ("a million clips by", ("cinn-wsprites-small", "wsprites-inferred-small@1"), MILLION, 9 * 64 * 48 * 3),
    ("a million clips: FVD against 50,000", "FVD", MILLION + BESIDE, 16 * 64 * 64 * 3),
    ("a million clips: five metrics of the same", "FVD, FID, LPIPS, PSNR, SSIM", MILLION + BESIDE, 16 * 64 * 64 * 3),
    ("training G3AN: 60,012 steps of 96 clips", "a step of G3AN", 60_012 * 96, 0),
    ("training GLASS: 470,000 steps of 12 clips", "a step of GLASS", 470_000 * 12, 0),
]
MACHINES, CORES, CORE_HOUR, GIGABYTE_MONTH = 8, 16, 0.05, 0.023  # a cluster, cores of each; assumed prices in USD
LINE = 1e9  # bits in a second, assumed


def jobs() -> str:
    """Carry measured costs of a clip forward to large jobs."""
    making, lines = _making(_rows()), []
    for job, work, clips, size in JOBS:
        if isinstance(work, str):
            each, how = SECONDS[work]
        else:
            job, made = f"{job} {work[0]}, {work[1]}", making[work]
            each, how = made.each, f"{made.seconds:,.1f} s / {made.clips:,} clips"
        hours, disk = clips * each / 3600, clips * size / 1e9
        spread, moved = f"{hours / MACHINES / CORES:,.2f}", f"{disk * 8e9 / LINE / 3600:,.2f}"
        money = f"{hours * CORE_HOUR:,.1f}" + f" + {disk * GIGABYTE_MONTH:,.1f} a month" * bool(size)
        stored = [f"{disk:,.0f}", moved] if size else ["-", "-"]
        lines.append([job, f"{clips:,} x ({how}) = {hours:,.1f}", spread, *stored, money])
    head = ["job", "core-hours", f"hours on {MACHINES} machines of {CORES} cores", "disk, GB"]
    return grid([*head, f"hours over {LINE / 1e9:g} Gbit/s", "USD"], lines)


# The literature, the commands, files of the repository


def published(which: str) -> str:
    """List the numbers of the literature that were looked up in a paper, "verified", or the others."""
    found = [r for r in leaderboard.published_rows(True) if r.provenance["verified"] == (which == "verified")]
    lines = [
        [
            r.dataset,
            r.model,
            r.metric,
            _plain(r),
            _linked(r.provenance["compares_with"]),
            r.note,
            r.provenance["source"],
        ]
        for r in found
    ]
    return grid(["dataset", "model", "metric", "value", "compares with", "note", "source"], lines)


def _linked(comparison: str) -> str:
    return comparison if comparison.startswith("none") else f"[{comparison}](protocols.md#{anchor(comparison)})"


def commands() -> str:
    """List the commands."""
    context = Context(main)
    found = [
        [f"`vbench-ctl {n}`", (main.get_command(context, n).help or "").strip().partition("\n\n")[0]]
        for n in main.list_commands(context)
    ]  # type: ignore[union-attr]
    return grid(["command", "what it does"], found)


def file(path: str) -> str:
    """Return a markdown file of the repository below its headline, with links as they lead from the pages."""
    body = (ROOT / path).read_text("utf-8").partition("\n")[2]
    text = re.sub(r"^<!-- .* -->\n|<!-- .*? -->", "", body, flags=re.MULTILINE)
    return re.sub(r"\[([^\]]*)\]\(([^)#:]+)(#[^)]*)?\)", lambda link: _led(ROOT / path, *link.groups("")), text).strip()


def _led(source: Path, text: str, target: str, part: str) -> str:
    """Return a link of a file of the repository: to a page, or the path of what is none."""
    place = (source.parent / target).resolve()
    if place.is_relative_to(ROOT / "docs"):
        return f"[{text}]({place.relative_to(ROOT / 'docs').as_posix()}{part})"
    return f"`{place.relative_to(ROOT).as_posix()}`"


def _first(leaf: Any) -> str:
    return (leaf.__doc__ or "").strip().partition("\n")[0]


WORDS: dict[str, Callable[..., str]] = {
    word.__name__: word
    for word in (
        datasets,
        dataset,
        metrics,
        metric,
        networks,
        suite,
        baselines,
        baseline,
        protocol,
        summary,
        quirks,
        control,
        sets,
        jobs,
        published,
        commands,
        file,
    )
}


if __name__ == "__main__":
    for name in sys.argv[1:]:
        Path(name).write_text(with_boards(Path(name).read_text("utf-8")), "utf-8")
