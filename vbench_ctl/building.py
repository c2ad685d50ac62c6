"""Building a store shard by shard: a shard is one work item, written under a temporary name and renamed.

So any number of workers gives the same files, and a killed build goes on where it stopped.
"""

import csv
import hashlib
import io
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from vbench_ctl import __version__, execute, files, protocols, provenance
from vbench_ctl.clips import Clip, Dropped
from vbench_ctl.errors import VbenchError
from vbench_ctl.progress import progress
from vbench_ctl.shards import FORMAT, Shard, chain, has_fingerprint, write_shard
from vbench_ctl.store import read_manifest, refuse_dropped


@dataclass(frozen=True)
class Recipe:
    """What a store is made of: enough to make it again, and to tell whether a shard on disk belongs to it."""

    dataset: str
    variant: str
    version: int  # of the converter or generator: raised when its output changes
    work: dict[str, Sequence[Any]]  # split -> work items, one shard each
    clips: Callable[[Any], Iterable[Clip | Dropped]]  # a work item's clips, in order; importable
    facts: dict[str, Any]  # options and sources: what decides the content beside the work items
    card: dict[str, Any]  # licence, citation and the like, for the manifest
    encoding: str | None = None
    sources: dict[str, Any] = field(default_factory=dict)  # split -> the files it was read from, where they differ
    repeats: bool = False  # a clip may come in several work items of a split: the first of them keeps it
    split_facts: dict[str, dict[str, str]] = field(default_factory=dict)  # split -> what the manifest says of it alone
    below_split: bool = False  # every clip's id is a path that begins with its split
    code: str = ""  # digest of the program that makes the clips, where no version can be trusted to tell of its changes
    # split -> which clips its lists name beside those whose ids came, usable or not
    absent: dict[str, Callable[[Collection[str]], Iterable[Dropped]]] = field(default_factory=dict)

    def fingerprint(self, split: str) -> str:
        """Digest what decides the content of a split."""
        facts = {**self.facts, "sources": self.sources[split]} if self.sources else self.facts
        decides = (FORMAT, self.dataset, self.variant, self.version, self.encoding, self.work[split], facts)
        return hashlib.sha256(repr(decides).encode()).hexdigest()[:16]

    def attributes(self, split: str) -> dict[str, str]:
        """Return what each file of a split says about its making."""
        sources = json.dumps(self.facts["sources"], sort_keys=True) if "sources" in self.facts else ""
        place = (self.dataset, self.variant, split)
        known = [p.id for p in protocols.load_all().values() if (p.dataset, p.variant, p.split) == place]
        return {
            "dataset": self.dataset,
            "variant": self.variant,
            "converter": f"vbench-ctl {__version__}, {self.dataset}@{self.version}",
            "source_sha256": hashlib.sha256(sources.encode()).hexdigest() if sources else "",
            "protocols": json.dumps(known),
            "fingerprint": self.fingerprint(split),
            **({"code": self.code} if self.code else {}),
        }


def build(folder: Path, recipe: Recipe, workers: execute.Workers = 1, strict: bool = False) -> dict[str, Any]:
    """Make the splits of a recipe and return the manifest; finished splits are left alone, interrupted ones go on.

    Clips that cannot be used are left out and listed; if `strict`, the first of them is an error. So is a split without
    any clip, or whose clips do not belong together, and none of it is kept.
    """
    if empty := [split for split, items in recipe.work.items() if not items]:
        raise VbenchError(
            f"{folder}: {empty[0]} has no clips, since nothing of it was found; leave that split out (--split)"
        )
    with files.locked(folder):
        files.sweep(folder)
        manifest = read_manifest(folder) if (folder / "manifest.json").exists() else _new_manifest(recipe)
        made_of = recipe.facts.get("sources")  # of an import, by split
        if isinstance(made_of, dict) and (others := manifest["splits"].keys() - made_of.keys()):
            raise VbenchError(
                f"{folder} has the split {min(others)} of another folder; remove it or choose another name"
            )
        jobs = {split: _jobs(folder, recipe, split) for split in recipe.work}
        todo = [split for split in jobs if not _is_finished(folder, manifest, recipe, split, jobs[split])]
        wanted = [job for split in todo for job in jobs[split]]
        open_jobs = [job for job in wanted if not _is_whole(job)]
        done = len(wanted) - len(open_jobs)
        with progress(f"{recipe.dataset} {recipe.variant}", len(wanted), "shards", done) as advance:
            for _ in execute.run(_run_job, open_jobs, workers):
                advance(1)
        if recipe.repeats:
            again = [job for split in todo for job in _without_repeats(jobs[split])]
            for _ in execute.run(_run_job, again, workers):
                pass
        for split in todo:
            manifest["splits"][split] = {
                "fingerprint": recipe.fingerprint(split),
                **_summarise(folder, [Shard(job.path) for job in jobs[split]], recipe.absent.get(split)),
            }
            if recipe.split_facts.get(split):
                manifest["splits"][split]["facts"] = recipe.split_facts[split]
            if strict:
                refuse_dropped(manifest, [split])
            _refuse_empty(folder, manifest, split)
        if todo:
            if recipe.sources:  # a split that came later may have brought files of its own
                held = {each["name"]: each for each in (*manifest.get("sources", ()), *recipe.facts["sources"])}
                manifest["sources"] = [held[name] for name in sorted(held)]
            _write_index(folder, manifest, todo)
            _write_dropped(folder, manifest)
            files.write_json(folder / "manifest.json", manifest)
        return manifest


def _refuse(folder: Path, shards: Iterable[str], why: str) -> NoReturn:
    """Remove shards that make no store, so that nothing of them stays when the cause is mended, and say why."""
    for name in shards:
        (folder / name).unlink(missing_ok=True)
    raise VbenchError(f"{folder}: {why}")


def _refuse_empty(folder: Path, manifest: dict[str, Any], split: str) -> None:
    """Raise if nothing of a split could be used, and remove its files."""
    summary = manifest["splits"][split]
    if summary["clips"]:
        return
    dropped = summary["dropped"]
    why = (
        f"none of {len(dropped)} can be used, first {dropped[0]['id']}: {dropped[0]['reason']}; prepare it again from files "
        "that are whole"
        if dropped
        else f"none came; {manifest['dataset']} yields nothing for it, leave that split out (--split) or mend the dataset"
    )
    _refuse(folder, summary["shards"], f"{split} has no clips, since {why}")


@dataclass(frozen=True)
class _Job:
    path: Path
    clips: Callable[[Any], Iterable[Clip | Dropped]]
    item: Any
    encoding: str | None
    below: str
    attributes: dict[str, str]


def _jobs(folder: Path, recipe: Recipe, split: str) -> list[_Job]:
    attributes = recipe.attributes(split)
    below = split if recipe.below_split else ""
    return [
        _Job(folder / f"{split}-{index:05d}.h5", recipe.clips, item, recipe.encoding, below, attributes)
        for index, item in enumerate(recipe.work[split])
    ]


def _new_manifest(recipe: Recipe) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "dataset": recipe.dataset,
        "variant": recipe.variant,
        "version": recipe.version,
        **recipe.facts,
        "card": recipe.card,
        "made": provenance.made("numpy", "h5py"),
        "splits": {},
    }


def _is_finished(folder: Path, manifest: dict[str, Any], recipe: Recipe, split: str, jobs: list[_Job]) -> bool:
    """Tell whether a split is there down to its files: one that was lost or cut short since is made again."""
    made = manifest["splits"].get(split)
    if made and made.get("fingerprint") != recipe.fingerprint(split):
        raise VbenchError(
            f"{folder} holds another {split} split of {manifest['dataset']} {manifest['variant']}, made with other options or "
            "from other files; remove it or choose another --root"
        )
    return bool(made) and all(has_fingerprint(job.path, job.attributes["fingerprint"]) for job in jobs)


def _is_whole(job: _Job) -> bool:
    """Tell whether a shard of an unfinished split can stay: its program must be the one that makes the others."""
    return has_fingerprint(job.path, job.attributes["fingerprint"], job.attributes.get("code", ""))


def _run_job(job: _Job) -> None:
    write_shard(job.path, job.clips, job.item, job.encoding, job.below, **job.attributes)


def _without_repeats(jobs: Sequence[_Job]) -> list[_Job]:
    """Return the jobs whose file repeats clips of a file before it, each with these left out."""
    held: dict[str, str] = {}
    again = []
    for job in jobs:
        ids = Shard(job.path).ids
        if repeated := {clip_id: held[clip_id] for clip_id in ids if clip_id in held}:
            again.append(replace(job, clips=partial(_but, repeated, job.clips)))
        held.update({clip_id: job.path.name for clip_id in ids if clip_id not in held})
    return again


def _but(
    repeated: dict[str, str], clips: Callable[[Any], Iterable[Clip | Dropped]], item: Any
) -> Iterator[Clip | Dropped]:
    for clip in clips(item):
        is_repeated = isinstance(clip, Clip) and clip.id in repeated
        yield Dropped(clip.id, f"it is in {repeated[clip.id]} already") if is_repeated else clip


def _write_index(folder: Path, manifest: dict[str, Any], new: Collection[str]) -> None:
    """Write clips.csv, a table of all clips for people and other programs; two of one name are refused."""
    with io.StringIO(newline="") as text:
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(["split", "index", "id", "frames", "shard", "sha256"])
        seen: dict[str, tuple[str, str]] = {}
        for split, summary in manifest["splits"].items():
            position = 0
            for name in summary["shards"]:
                shard = Shard(folder / name)
                for clip_id, frames, digest in zip(shard.ids, np.diff(shard.offsets), shard.digests, strict=True):
                    if clip_id in seen:
                        where, other = seen[clip_id]
                        made = [path for each in {other, split} & {*new} for path in manifest["splits"][each]["shards"]]
                        why = f'two clips are called "{clip_id}" (in {where} and {name}); each needs an id of its own'
                        _refuse(folder, made, why)
                    seen[clip_id] = name, split
                    rows.writerow([split, position, files.cell(clip_id), frames, name, digest.tobytes().hex()])
                    position += 1
        files.write_text(folder / "clips.csv", text.getvalue())


def _write_dropped(folder: Path, manifest: dict[str, Any]) -> None:
    """Write dropped.csv, a table of the clips that could not be used, if there are any."""
    dropped = [(split, drop) for split, summary in manifest["splits"].items() for drop in summary["dropped"]]
    if not dropped:
        (folder / "dropped.csv").unlink(missing_ok=True)
        return
    with io.StringIO(newline="") as text:
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(["split", "id", "reason"])
        rows.writerows([split, files.cell(drop["id"]), files.cell(drop["reason"])] for split, drop in dropped)
        files.write_text(folder / "dropped.csv", text.getvalue())


def _summarise(
    folder: Path, shards: "list[Shard]", absent: Callable[[Collection[str]], Iterable[Dropped]] | None = None
) -> dict[str, Any]:
    filled = [shard for shard in shards if shard.ids]
    kinds = sorted({shard.kind() for shard in filled})
    if len(kinds) > 1:
        why = f"its clips differ ({kinds[0]} and {kinds[1]}); a store holds one kind, see --size"
        _refuse(folder, [shard.path.name for shard in shards], why)
    first = filled[0] if filled else None
    dropped = [drop for shard in shards for drop in shard.dropped]
    if absent:
        came = {clip_id for shard in shards for clip_id in shard.ids} | {drop["id"] for drop in dropped}
        dropped += [{"id": drop.id, "reason": drop.reason} for drop in absent(came)]
    return {
        "clips": sum(len(shard.ids) for shard in shards),
        "frames": int(sum(shard.offsets[-1] for shard in shards)),
        "height": first.size[0] if first else 0,
        "width": first.size[1] if first else 0,
        "fps": first.fps if first and len({shard.fps for shard in filled}) == 1 else None,
        "encoding": first.encoding if first else None,
        "tracks": list(first.tracks) if first else [],
        "dropped": dropped,
        "shards": [shard.path.name for shard in shards],
        "content_sha256": chain(shard.digests for shard in shards),
        "tracks_sha256": chain(shard.track_digests for shard in shards),
    }
