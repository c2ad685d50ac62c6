"""Generate the clips a protocol asks for with a baseline, into an outputs folder."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from vbench_ctl import __version__, execute, files, pairing, protocols, registry, video
from vbench_ctl.errors import VbenchError
from vbench_ctl.progress import progress
from vbench_ctl.protocols import Case, Protocol
from vbench_ctl.sources import Source

FORMAT = "vbench-outputs 1"
CHUNK = 8  # clips of one work item


@dataclass(frozen=True)
class Task:
    """What a baseline may look at: the protocol, the real clips and the cases."""

    protocol: Protocol
    real: Source
    cases: Sequence[Case]

    def window(self, index: int) -> np.ndarray:
        """Return the real frames of a case, given ones and future: uint8 (T, H, W, 3)."""
        case = self.cases[index]
        return pairing.real_window(self.real, pairing.Pair(case.clip, (), case))

    def context(self, index: int) -> np.ndarray:
        """Return the frames that are given: uint8 (context, H, W, 3)."""
        return self.window(index)[: self.protocol.context]


def generate(
    baseline: str, protocol: Protocol, real: Source, out: Path, seed: int = 0, workers: execute.Workers = 1
) -> dict[str, Any]:
    """Write one lossless video per case and sample, and the manifest; what is there already is kept."""
    cases = protocols.cases(protocol, [(clip_id, real.length(clip_id)) for clip_id in real.ids])
    leaf = registry.load("baselines", baseline)
    wanted = [(index, sample) for index in range(len(cases)) for sample in range(protocol.samples)]
    header = {
        "format": FORMAT,
        "model": baseline,
        "protocol": protocol.id,
        "seed": seed,
        "control": leaf.CONTROL,
        "dataset": {key: real.manifest.get(key) for key in ("dataset", "variant", "version")},
    }
    with files.locked(out):
        _check_same(out, header)
        files.sweep(out)
        files.write_json(out / "manifest.json", header)
        todo = [pair for pair in wanted if not _path(out, cases[pair[0]], pair[1]).exists()]
        chunks = [todo[at : at + CHUNK] for at in range(0, len(todo), CHUNK)]
        generate_chunk = functools.partial(_generate_chunk, _Order(baseline, Task(protocol, real, cases), seed, out))
        with progress(f"generate {baseline}", len(wanted), "clips", len(wanted) - len(todo)) as advance:
            for index, _ in execute.run(generate_chunk, chunks, workers):
                advance(len(chunks[index]))
        clips = [
            {"clip": cases[index].clip, "start": cases[index].start, "sample": sample, "file": name}
            for index, sample in wanted
            for name in [_path(out, cases[index], sample).relative_to(out).as_posix()]
        ]
        made = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "with": {"vbench-ctl": __version__}}
        manifest = {**header, "made": made, "clips": clips}
        files.write_json(out / "manifest.json", manifest)
    return manifest


@dataclass(frozen=True)
class _Order:
    """What is asked of a baseline, whichever case and sample."""

    baseline: str
    task: Task
    seed: int
    out: Path


def _generate_chunk(order: _Order, wanted: Sequence[tuple[int, int]]) -> None:
    leaf = registry.load("baselines", order.baseline)
    for index, sample in wanted:
        rng = np.random.default_rng([order.seed, index, sample])
        frames = leaf.generate(order.task, index, rng)
        if len(frames) == order.task.protocol.predict:
            frames = pairing.framed(frames, order.task.window(index), order.task.protocol)
        video.write(_path(order.out, order.task.cases[index], sample), frames)


def _path(out: Path, case: Case, sample: int) -> Path:
    return out / f"{case.key}#{sample}.mkv"


def _check_same(out: Path, header: dict[str, Any]) -> None:
    """Refuse to mix two models or protocols in one folder."""
    if not (out / "manifest.json").exists():
        return
    held = files.read_json(out / "manifest.json")
    if not isinstance(held, dict):
        raise VbenchError(f"{out}/manifest.json is not of an outputs folder; choose another --out")
    for key, value in header.items():
        if held.get(key) != value:
            raise VbenchError(f"{out} holds outputs with {key} {held.get(key)}, not {value}; choose another --out")
