"""The report: rows, clips, grids, runs and stores as one static page that opens from disk and needs no network."""

import base64
import dataclasses
import hashlib
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup
from PIL import Image

from vbench_ctl import __version__, files, registry, store, video
from vbench_ctl.errors import UsageError
from vbench_ctl.leaderboard import is_published
from vbench_ctl.report import boards, charts, clips, training
from vbench_ctl.report.clips import Group
from vbench_ctl.report.training import Training
from vbench_ctl.rows import Row
from vbench_ctl.sources import StoreSource

MARK = '<meta name="generator" content="vbench-ctl report'  # by which a report is known
HELD = {"index.html", "rows.json", "media"}
SITE = Path(__file__).parent / "site"


@dataclass(frozen=True)
class Asked:
    """What a report is made of; `command` is how the user asked for it."""

    rows: Sequence[Row]
    outputs: Sequence[Path] = ()
    reals: Sequence[Path] = ()
    runs: Sequence[Path] = ()
    clips: int = 16
    title: str = "vbench-ctl report"
    command: Sequence[str] = ()
    root: Path | None = None
    workers: int = 1


@dataclass(frozen=True)
class Card:
    """A store: what it says of itself, and its contact sheets by split."""

    name: str
    facts: list[tuple[str, str]]
    link: str
    splits: list[list[str]]  # a line of a table each
    sheets: list[tuple[str, str]]


def write(asked: Asked, out: Path) -> None:
    """Write the report into the folder `out`, in one step; an earlier report there is replaced."""
    out = out.resolve()
    check_free(out)
    with files.turn(out), files.atomic(out) as part:
        (part / "media").mkdir(parents=True)
        page = _page(asked, part / "media")
        (part / "index.html").write_text(page, encoding="utf-8")
        files.write_json(part / "rows.json", [row.to_json() for row in asked.rows if not is_published(row.signature)])


def check_free(out: Path) -> None:
    """Refuse to replace anything but an earlier report."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    page = out / "index.html"
    ours = page.is_file() and MARK in page.read_text(encoding="utf-8", errors="replace")[:2000]
    if not ours or {path.name for path in out.iterdir()} - HELD:
        raise UsageError(f"{out} holds something that is not a report; choose another --out, or an empty folder")


def _page(asked: Asked, media: Path) -> str:
    """Gather everything, write videos and pictures into `media`, and return the page."""
    colours = boards.Colours()
    shown = boards.boards(asked.rows, colours)
    ways = [folder for folder in asked.outputs if clips.is_way(folder)]
    held = clips.groups([folder for folder in asked.outputs if folder not in ways], asked.reals, asked.root)
    runs = [training.read(folder) for folder in asked.runs]
    stores = _stores(asked, held)
    content = {
        "title": asked.title,
        "version": __version__,
        "boards": shown,
        "clips": [
            clips.show(group, asked.clips, asked.rows, colours, media, f"case-{at + 1}", asked.workers)
            for at, group in enumerate(held)
        ],
        "grids": [clips.grid(folder, colours, media, f"grid-{at + 1}") for at, folder in enumerate(ways)],
        "runs": [(run, _picture(run.samples, media / f"samples-{at + 1}.png")) for at, run in enumerate(runs)],
        "stores": [_card(folder, media, f"store-{at + 1}") for at, folder in enumerate(stores)],
        "steps": _steps(asked, held, runs, stores),
    }
    style, script = ((SITE / name).read_text(encoding="utf-8") for name in ("report.css", "report.js"))
    loader = jinja2.FileSystemLoader(SITE)
    pages = jinja2.Environment(
        loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    pages.filters["shade"] = charts.shade
    return pages.get_template("page.html").render(
        mark=Markup(MARK), style=Markup(style), script=Markup(script), policy=_policy(style, script), **content
    )


def _policy(style: str, script: str) -> str:
    """Return what the browser may do with the page: its own script, style, pictures and videos, and nothing else."""
    own = [f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in (script, style)]
    media = "'self' file: data:"
    return f"default-src 'none'; script-src {own[0]}; style-src {own[1]}; img-src {media}; media-src {media}"


# Stores


def _stores(asked: Asked, held: Sequence[Group]) -> list[Path]:
    """Return the folders of the stores that were given or found, each once."""
    given = [folder.resolve() for folder in asked.reals if store.is_store(folder)]
    found = [Path(str(group.real.store.folder)).resolve() for group in held if isinstance(group.real, StoreSource)]
    return list(dict.fromkeys([*given, *found]))


def _card(folder: Path, media: Path, name: str) -> Card:
    manifest = store.read_manifest(folder)
    said = manifest.get("card") or {}
    keys = ("about", "licence", "citation", "access")
    facts = [(key, str(said[key])) for key in keys if said.get(key)]
    facts += [("variant", f"{manifest['variant']}, version {manifest.get('version', '?')}")]
    link = str(said.get("homepage", ""))
    sheets = []
    for at, split in enumerate(manifest["splits"]):
        path = folder / f"{split}.png"
        if path.parent == folder and path.is_file():  # a split called ../x has no sheet
            sheets.append((split, _picture(path, media / f"{name}-{at + 1}.png")))
    title = str(said.get("title") or manifest["dataset"])
    web = link if link.startswith(("https://", "http://")) else ""
    return Card(title, facts, web, [_split(*item) for item in manifest["splits"].items()], sheets)


def _split(name: str, said: dict[str, Any]) -> list[str]:
    fps = said.get("fps")
    return [
        name,
        str(said["clips"]),
        str(said.get("frames", "")),
        f"{said['width']}×{said['height']}",
        f"{fps:g}" if isinstance(fps, int | float) else "",
        str(said["encoding"]),
        ", ".join(map(str, said["tracks"])),
        str(said["content_sha256"])[:16],
    ]


def _picture(path: Path | None, to: Path) -> str:
    """Copy a picture as PNG, without what else its file may hold; return its place in the report."""
    if path is None:
        return ""
    Image.fromarray(video.image(path, path)).save(to)
    return f"{to.parent.name}/{to.name}"


# Commands


def _steps(
    asked: Asked, held: Sequence[Group], runs: Sequence[Training], stores: Sequence[Path]
) -> list[tuple[str, list[str]]]:
    """Return the commands that make everything on the page again, under what they do."""
    steps = [
        ("Prepare the data", [_prepare(store.read_manifest(folder)) for folder in stores]),
        ("Train", [run.command for run in runs if run.command]),
        ("Generate", [_generate(group, at) for group in held if group.protocol for at in range(len(group.models))]),
        ("Score", _scores(asked.rows)),
        ("Make this page", [shlex.join(asked.command)] if asked.command else []),
    ]
    return [(what, commands) for what, commands in steps if commands]


def _prepare(manifest: dict[str, Any]) -> str:
    """Return the command that makes a store; what it was limited to is in the name of its variant."""
    dataset = str(manifest["dataset"])
    leaf = registry.find("datasets", dataset)
    told = {name: value for name, value in (manifest.get("options") or {}).items() if name != "limit"}
    for field in dataclasses.fields(leaf.Options) if leaf else ():
        if field.metadata["file"] and told.get(field.name):  # the manifest has its hash
            told[field.name] = "FILE"
    words = [
        *([dataset] if leaf else ["FOLDER", "--as", dataset]),
        *registry.words(told, leaf.Options if leaf else None),
    ]
    _, limited, limit = str(manifest["variant"]).rpartition("-limit")
    return shlex.join(["vbench-ctl", "prepare", *words, *(["--limit", limit] if limited else [])])


def _generate(group: Group, model: int) -> str:
    assert group.protocol
    said = group.fakes[model].manifest
    name = str(said.get("model") or group.models[model])
    baseline = said.get("baseline")
    leaf = registry.find("baselines", baseline)
    words = ["--protocol", group.protocol.id, "--seed", str(said.get("seed", 0))]
    words += registry.words(said.get("options") or {}, getattr(leaf, "Options", None))
    made_by = f"runs/{name}" if baseline else name
    return shlex.join(["vbench-ctl", "generate", made_by, *words, "--out", f"outputs/{group.fakes[model].name}"])


def _scores(rows: Sequence[Row]) -> list[str]:
    """Return a command per model and protocol that computes all its numbers."""
    asked: dict[tuple[str, str, str], list[str]] = {}
    for row in rows:
        if not is_published(row.signature):
            outputs = str(row.provenance.get("outputs") or row.model)
            asked.setdefault((outputs, row.protocol, row.model), []).append(row.metric)
    return [
        shlex.join(
            ["vbench-ctl", "score", f"outputs/{outputs}", *boards.against(protocol)]
            + ["--metrics", ",".join(dict.fromkeys(metrics))]
            + (["--model", model] if model != outputs else [])
        )
        for (outputs, protocol, model), metrics in asked.items()
    ]
