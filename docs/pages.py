"""Fills the pages with what the code says of itself: a line `<!-- WORD NAME -->` becomes what WORD says of NAME.

mkdocs calls on_page_markdown (mkdocs.yml); nothing here is run when the toolkit is used. What is read without mkdocs holds its
tables itself, between `<!-- table PROTOCOL METRIC... -->` and `<!-- end -->`, and

    python docs/pages.py README.md results/reproduced/README.md

makes them anew from the rows that come with the toolkit.
"""

import dataclasses
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from click import Context

from vbench_ctl import controls, generation, leaderboard, prepare, protocols, recipes, registry, suites, weights
from vbench_ctl.cli import main
from vbench_ctl.rows import Row

ROOT = Path(__file__).resolve().parent.parent
MARK = re.compile(r"^<!-- ([a-z]+)(?: ([\w./@+-]+))? -->$", re.MULTILINE)
BOARD = re.compile(r"^(<!-- table (\S+)((?: \S+)*) -->\n).*?^(<!-- end -->)$", re.MULTILINE | re.DOTALL)
KEPT = ("measured", "end")  # marks of pages that hold their numbers themselves


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Return a page with its marks filled in."""
    return MARK.sub(lambda mark: mark[0] if mark[1] in KEPT else WORDS[mark[1]](*filter(None, [mark[2]])), markdown)


def with_boards(markdown: str) -> str:
    """Return a text with the tables between its marks made from the rows that come with the toolkit."""
    return BOARD.sub(lambda mark: f"{mark[1]}{board(mark[2], mark[3].split())}\n{mark[4]}", markdown)


def board(protocol: str, metrics: Sequence[str]) -> str:
    """Return the table of a protocol, with some columns or all."""
    (table,) = leaderboard.tables(leaderboard.select(leaderboard.reproduced_rows(), [protocol]))
    labels = dict(zip(table.columns, table.labels(), strict=True))
    columns = sorted(
        (c for c in table.columns if not metrics or c.metric in metrics),
        key=lambda c: metrics.index(c.metric) if metrics else 0,
    )
    numbers = {
        m: [leaderboard.number(cells.get(c)).removesuffix(" *") for c in columns] for m, cells in table.cells.items()
    }
    floors = [f"- {note}" for note in leaderboard.floors(replace(table, columns=columns))]
    lines = [[m, *found] for m, found in numbers.items() if any(found)]
    return "\n".join([grid(["model", *(labels[c] for c in columns)], lines), *([""] if floors else []), *floors])


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
    held = [r for r in leaderboard.reproduced_rows() if r.model == name or r.model.startswith(f"{name}-")]
    return "\n\n".join(parts + (["### Results", _results(held)] if held else []))


def _comment(text: str) -> str:
    """Return what a recipe says of itself in its first lines."""
    return " ".join(line.removeprefix("#").strip() for line in text.partition("\n\n")[0].splitlines())


def _results(held: Sequence[Row]) -> str:
    """Return a table of rows, each with its signature."""
    lines = [[r.model, r.protocol, r.metric, leaderboard.number(r), r.n, f"`{r.signature}`"] for r in held]
    return grid(["run", "protocol", "metric", "value", "clips", "signature"], lines)


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


# What a large job costs, from docs/benchmarks.md

SECONDS = {  # of one core for one clip: what it was measured as
    "convert 10 s of video to 64x64": (250 * 940e-6, "250 frames x 940 us"),
    "FVD": (14.9 / 16, "14.9 s / 16 clips of 16x64x64"),
    "FVD, FID, LPIPS, PSNR, SSIM": (66.1 / 16, "66.1 s / 16 clips of 16x64x64"),
    "sample G3AN": (0.81, "0.81 s"),
    "sample GLASS, 15 frames of 64x48": (15 * 0.031, "15 x 31 ms"),
}
JOBS = [  # job, what is done, clips, bytes on disk for each
    ("Kinetics-600: all splits into a store", "convert 10 s of video to 64x64", 482_000, 250 * 64 * 64 * 3),
    ("Kinetics-600: its test split, for 50,000 windows", "convert 10 s of video to 64x64", 60_000, 250 * 64 * 64 * 3),
    ("Kinetics-600: FVD of 50,000 clips against 50,000", "FVD", 100_000, 16 * 64 * 64 * 3),
    ("Kinetics-600: five metrics of the same", "FVD, FID, LPIPS, PSNR, SSIM", 100_000, 16 * 64 * 64 * 3),
    ("a million clips: sampled by G3AN", "sample G3AN", 1_000_000, 16 * 64 * 64 * 3),
    ("a million clips: sampled by GLASS", "sample GLASS, 15 frames of 64x48", 1_000_000, 16 * 64 * 48 * 3),
    ("a million clips: FVD against 50,000", "FVD", 1_050_000, 16 * 64 * 64 * 3),
    ("a million clips: five metrics of the same", "FVD, FID, LPIPS, PSNR, SSIM", 1_050_000, 16 * 64 * 64 * 3),
]
MACHINES, CORES, CORE_HOUR, GIGABYTE_MONTH = 8, 16, 0.05, 0.023  # a cluster, cores of each; assumed prices in USD


def jobs() -> str:
    """Carry measured costs of a clip forward to large jobs."""
    lines = []
    for job, work, clips, size in JOBS:
        each, how = SECONDS[work]
        hours, disk = clips * each / 3600, clips * size / 1e9
        money = f"{hours * CORE_HOUR:,.1f} + {disk * GIGABYTE_MONTH:,.1f} a month"
        spread = f"{hours / MACHINES / CORES:,.2f}"
        lines.append([job, f"{clips:,} x ({how}) = {hours:,.1f}", spread, f"{disk:,.0f}", money])
    return grid(["job", "core-hours", f"hours on {MACHINES} machines of {CORES} cores", "disk, GB", "USD"], lines)


# The literature, the commands, files of the repository


def published(which: str) -> str:
    """List the numbers of the literature that were looked up in a paper, "verified", or the others."""
    found = [r for r in leaderboard.published_rows(True) if r.provenance["verified"] == (which == "verified")]
    lines = [
        [
            r.dataset,
            r.model,
            r.metric,
            leaderboard.number(r).removesuffix(" *"),
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
    """Return a markdown file of the repository below its headline."""
    return (ROOT / path).read_text("utf-8").partition("\n")[2].strip().replace("](docs/", "](")


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
