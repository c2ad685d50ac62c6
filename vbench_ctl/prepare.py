"""Make the store of a dataset, whichever leaf it comes from."""

import dataclasses
import functools
import tomllib
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from vbench_ctl import __path__ as package_path
from vbench_ctl import acquire, building, execute, files, hashes, pictures, registry, shards, store
from vbench_ctl.archives import Archive, Broken
from vbench_ctl.errors import UsageError, VbenchError, unknown
from vbench_ctl.progress import progress

SHOWN = 8  # clips on a contact sheet


@dataclasses.dataclass(frozen=True)
class Plan:
    """What `prepare` is about to do."""

    name: str
    options: Any  # the leaf's Options
    splits: tuple[str, ...]
    root: Path | None
    limit: int | None
    encoding: str | None
    given: tuple[Path, ...]  # files and folders the user has

    @property
    def leaf(self) -> ModuleType:
        return registry.load("datasets", self.name)

    @functools.cached_property
    def card(self) -> dict[str, Any]:
        return card(self.name, self.leaf)

    @property
    def variant(self) -> str:
        return self.leaf.variant(self.options) + (f"-limit{self.limit}" if self.limit is not None else "")

    @property
    def folder(self) -> Path:
        return store.store_path(self.name, self.variant, self.leaf.VERSION, self.root)

    @property
    def reads_files(self) -> bool:
        """Tell whether the dataset is read from files, not made from a seed."""
        return "file" in self.card

    @property
    def archive_bytes(self) -> int | str:
        """Return how much there is to download in all, or "unknown"."""
        return self.card.get("disk", {}).get("archive_bytes", "unknown")

    @property
    def other_splits(self) -> dict[str, str]:
        """Return the splits that one other option would bring, and that option."""
        return _other_splits(self.leaf, self.options)

    @property
    def missing(self) -> tuple[str, ...]:
        """Return the splits that the store does not have yet."""
        return store.missing(self.folder, self.splits)

    def words(self) -> list[str]:
        """Return the options as they are given on the command line."""
        splits = () if self.splits == _splits(self.leaf, self.options) else self.splits
        options = registry.words(dataclasses.asdict(self.options), type(self.options))
        others = registry.words({"limit": self.limit, "encoding": self.encoding})
        return [*(word for split in splits for word in ("--split", split)), *options, *others]

    def clips(self) -> dict[str, int]:
        """Return how many clips each split is expected to have."""
        return {split: self._estimate(split)[0] for split in self.splits}

    def size_bytes(self, splits: Sequence[str]) -> int:
        """Return how much these splits take on disk."""
        return sum(self._estimate(split)[1] for split in splits)

    def _estimate(self, split: str) -> tuple[int, int]:
        clips, size = self.leaf.estimate(split, self.options, self.limit)
        return clips, size

    def files(self) -> list[acquire.Item]:
        """Return the files the dataset is read from, and where they are."""
        if not self.reads_files:
            return []
        return acquire.plan(self.name, self.card, self.splits, self.root, self.given, dataclasses.asdict(self.options))

    def recipe(self, archive: Archive | None = None, accepted: str = "") -> building.Recipe:
        """Return what the store is made of; a dataset that is read from files needs its archive."""
        sources = (
            [{key: each.get(key) for key in ("name", "size", "sha256")} for each in archive.sources] if archive else []
        )
        where = [archive] if archive else []
        work = {split: self.leaf.shards(split, self.options, self.limit, *where) for split in self.splits}
        facts = {"options": self._told_options(), **self.leaf.facts(self.options)}
        return building.Recipe(
            dataset=self.name,
            variant=self.variant,
            version=self.leaf.VERSION,
            work=work,
            clips=self.leaf.clips,
            below_split=True,
            code=registry.code("datasets", self.name),
            facts={**facts, "sources": sources} if archive else facts,
            card={**self.card, "obtained": [*archive.sources], "licence_accepted": accepted} if archive else self.card,
            encoding=self.encoding,
            sources={split: self._sources(split, sources) for split in self.splits} if archive else {},
            repeats=getattr(self.leaf, "REPEATS", False),
            split_facts={split: self.leaf.split_facts(items) for split, items in work.items() if items}
            if hasattr(self.leaf, "split_facts")
            else {},
            absent={split: functools.partial(self.leaf.absent, split, archive) for split in self.splits}
            if archive and self.limit is None and hasattr(self.leaf, "absent")
            else {},
        )

    def _told_options(self) -> dict[str, Any]:
        """Return the options as the manifest has them: of a file what it holds, since where it lies decides nothing."""
        told = dataclasses.asdict(self.options)
        for field in dataclasses.fields(self.options):
            if field.metadata["file"] and told[field.name]:
                told[field.name] = f"sha256 {hashes.digest(Path(told[field.name]).expanduser(), self.root)}"
        return told

    def _sources(self, split: str, sources: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return what decides a split: the files that the card says are for it, and those the card does not know."""
        others = {file["name"] for file in self.card["file"] if split not in file.get("splits", [split])}
        return [{key: each[key] for key in ("size", "sha256")} for each in sources if each["name"] not in others]


def plan(
    name: str,
    root: str | Path | None = None,
    splits: Sequence[str] = (),
    limit: int | None = None,
    encoding: str | None = None,
    given: Sequence[str | Path] = (),
    **options: Any,
) -> Plan:
    """Resolve a dataset's name and options to the store that `make` would write; `given` are files a user has."""
    leaf = registry.load("datasets", name)
    settings = registry.call("datasets", name, "Options", **options)
    there = _splits(leaf, settings)
    for split in splits:
        if split not in there:
            error = unknown(f"split of {name} {leaf.variant(settings)}", split, there)
            other = _other_splits(leaf, settings).get(split)
            raise UsageError(f"{error}; {other} has it") if other else error
    chosen = tuple(split for split in there if split in splits or not splits)
    paths = tuple(Path(path).expanduser() for path in given)
    for path in paths:
        if not path.exists():
            raise VbenchError(f"{path}: not there; give a file or folder that is")
    return Plan(name, settings, chosen, Path(root) if root else None, limit, encoding, paths)


def _splits(leaf: ModuleType, options: Any) -> tuple[str, ...]:
    """Return the splits that a dataset has with these options."""
    return tuple(leaf.splits(options) if hasattr(leaf, "splits") else leaf.SPLITS)


def _other_splits(leaf: ModuleType, options: Any) -> dict[str, str]:
    """Return the splits that a dataset has with one option changed, and which: "--packing caddy or --packing annotated"."""
    found: dict[str, str] = {}
    for field in dataclasses.fields(options):
        for choice in field.metadata["choices"]:
            word = f"--{field.name.replace('_', '-')} {choice}"
            with suppress(VbenchError):  # some choices need another option as well
                for split in _splits(leaf, dataclasses.replace(options, **{field.name: choice})):
                    if split not in _splits(leaf, options):
                        found[split] = f"{found[split]} or {word}" if split in found else word
    return found


def make(
    plan: Plan,
    workers: execute.Workers = 1,
    strict: bool = False,
    accepted: bool = False,
    **download: Any,
) -> dict[str, Any]:
    """Write the planned store and return its manifest; `accepted` says that the user agreed to the licence."""
    with files.explained(plan.folder):
        plan.folder.mkdir(parents=True, exist_ok=True)
    todo = plan.missing
    if plan.reads_files and not todo and not plan.given:
        manifest = store.read_manifest(plan.folder)  # also where the archives are gone
        if strict:
            store.refuse_dropped(manifest, plan.splits)
        return manifest
    _check_space(plan, todo)
    archive = None
    if plan.reads_files:
        archive = acquire.fetch(
            plan.name,
            plan.card,
            plan.splits,
            plan.root,
            plan.given,
            options=dataclasses.asdict(plan.options),
            words=plan.words(),
            in_part=plan.limit is not None,
            **download,
        )
    at = datetime.now(UTC).isoformat(timespec="seconds") if accepted else ""
    try:
        manifest = building.build(plan.folder, plan.recipe(archive, at), workers, strict)
    except Broken as error:
        raise acquire.distrusted(error, plan.name, plan.root) from error
    if strict:
        store.refuse_dropped(manifest, plan.splits)  # those that were made before, too
    for split in plan.splits:
        if split in todo or not (plan.folder / f"{split}.png").exists():
            draw(plan.folder, split)
    return manifest


def _check_space(plan: Plan, todo: Sequence[str]) -> None:
    named = {file["name"] for file in plan.card.get("file", ())}
    if all(path.absolute().name in named for path in plan.given):
        made = sum(path.stat().st_size for split in todo for path in plan.folder.glob(f"{split}-*.h5"))
        to_write = plan.size_bytes(todo) - made
    else:  # what the user's own files hold may be a small part of what was published
        to_write = 0
    needed = to_write + sum(item.needed for item in plan.files())
    advice = "free some space, choose another --root, or take fewer clips (--limit, --split)"
    files.check_space(plan.folder, needed, "are needed", advice)


def draw(folder: Path, split: str) -> Path:
    """Draw a contact sheet of a split, on which a person sees whether colours, orientation and crops are right."""
    clips = store.Store(folder, split)
    picks = np.unique(np.linspace(0, max(0, len(clips) - 1), SHOWN).round().astype(int))[: len(clips)]
    path = folder / f"{split}.png"
    if len(picks):
        pictures.save(path, pictures.sheet([(clips.ids[at], clips.frames(at)) for at in picks]))
    return path


class Check(NamedTuple):
    """One thing that `verify` looked at."""

    split: str
    what: str
    expected: str
    found: str
    note: str = ""

    @property
    def good(self) -> bool:
        return self.expected in (self.found, "unknown")


def verify(plan: Plan, workers: execute.Workers = 1) -> list[Check]:
    """Recount and rehash a store from what is on disk, and compare its splits with the published sizes."""
    manifest = store.read_manifest(plan.folder)
    published = plan.leaf.expected(plan.options) if plan.limit is None and hasattr(plan.leaf, "expected") else {}
    checks = []
    for split in plan.splits:
        if split not in manifest["splits"]:
            raise VbenchError(f"{plan.folder}: it has no split {split} yet; run prepare without --verify first")
        made = manifest["splits"][split]
        paths = [plan.folder / name for name in made["shards"]]
        found: list[Any] = [None] * len(paths)
        with progress(f"verify {split}", len(paths), "shards") as advance:
            for index, digests in execute.run(shards.digests, paths, workers):
                found[index] = digests
                advance(1)
        dropped = f"{len(made['dropped'])} dropped" if made["dropped"] else ""
        checks += [
            Check(split, "clips", str(made["clips"]), str(sum(len(pixels) for pixels, _ in found))),
            Check(split, "published clips", str(published.get(split, "unknown")), str(made["clips"]), dropped),
            Check(split, "content_sha256", made["content_sha256"], shards.chain(pixels for pixels, _ in found)),
            Check(split, "tracks_sha256", made["tracks_sha256"], shards.chain(tracks for _, tracks in found)),
            *(Check(split, what, "unknown", told) for what, told in made.get("facts", {}).items()),
        ]
    return checks


def card(name: str, leaf: ModuleType | None = None) -> dict[str, Any]:
    """Return a dataset's card: title, licence, citation, access. A third party's module carries its own as `CARD`."""
    for place in package_path:
        for path in (Path(place) / "datasets/cards").glob(f"{name}.toml"):
            return tomllib.loads(path.read_text(encoding="utf-8"))
    return getattr(leaf or registry.load("datasets", name), "CARD", {})
