"""From clips to rows: pair generated clips with real ones, compute each metric per clip, average, and say how."""

import functools
import hashlib
import platform
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from vbench_ctl import __version__, execute, files, protocols, registry, rows, store
from vbench_ctl.errors import UsageError, VbenchError, unknown
from vbench_ctl.intervals import bootstrap_mean
from vbench_ctl.progress import progress
from vbench_ctl.protocols import Case, Protocol
from vbench_ctl.rows import Row, signature
from vbench_ctl.sources import Source, StoreSource, open_source

CHUNK = 8  # cases of one work item


# Metrics by token: "ssim", or "ssim-glass" for a named variant


@dataclass(frozen=True)
class Metric:
    """A metric module with the options of one of its variants."""

    token: str
    name: str
    variant: str

    @property
    def module(self) -> ModuleType:
        return registry.load("metrics", self.name)

    @property
    def options(self) -> dict[str, Any]:
        return self.module.VARIANTS[self.variant]

    def values(self, real: np.ndarray | None, fake: np.ndarray) -> np.ndarray:
        """Return the values (T,) of one clip."""
        clips = (fake,) if real is None else (real, fake)
        return self.module.values(*clips, **self.options)

    @property
    def direction(self) -> str:
        """Say which values are better; a variant may turn a metric round."""
        own = getattr(self.module, "direction", None)
        return own(**self.options) if own else self.module.DIRECTION

    @property
    def needs_pair(self) -> bool:
        return self.module.NEEDS == "pair"


def metric(token: str) -> Metric:
    """Resolve a token; an unknown name or variant raises with the nearest."""
    name, _, variant = token.partition("-")
    module = registry.load("metrics", name)
    if variant not in module.VARIANTS:
        raise unknown(f"variant of {name}", token, [f"{name}-{v}" if v else name for v in module.VARIANTS])
    return Metric(token, name, variant)


# What is compared with what


@dataclass(frozen=True)
class Pair:
    """The generated samples of one case and the window of the real clip they answer; no case means whole clips."""

    real: str
    fakes: tuple[str, ...]
    case: Case | None = None


def pair_by_name(real: Source, fake: Source) -> list[Pair]:
    """Pair clips of the same id; a clip that only one side has is an error."""
    _complain_about_strays(set(real.ids), set(fake.ids), f"the real set {real.name}", f"the outputs {fake.name}")
    return [Pair(clip_id, (clip_id,)) for clip_id in real.ids]


def pair_by_protocol(protocol: Protocol, real: Source, fake: Source) -> list[Pair]:
    """Pair each case of a protocol with its samples in an outputs folder.

    Clips are named "<clip id>@<start>#<sample>"; "#0" may be left out where there is one sample per case, and
    "@<start>" where there is one window per clip.
    """
    cases = protocols.cases(protocol, [(clip_id, real.length(clip_id)) for clip_id in real.ids])
    windows = Counter(case.clip for case in cases)
    held = set(fake.ids)
    pairs, used, missing = [], set(), []
    for case in cases:
        stems = [case.key] + ([case.clip] if windows[case.clip] == 1 else [])
        found = []
        for sample in range(protocol.samples):
            names = [f"{stem}#{sample}" for stem in stems] + (stems if protocol.samples == 1 else [])
            name = next((name for name in names if name in held and name not in used), None)
            if name is None:
                missing.append(names[0])
            else:
                found.append(name)
        used.update(found)
        pairs.append(Pair(case.clip, tuple(found), case))
    if missing:
        raise VbenchError(
            f"{fake.name}: {len(missing)} of the {len(cases) * protocol.samples} clips that {protocol.id} asks for are "
            f'missing, the first is "{missing[0]}"'
        )
    if held - used:
        raise VbenchError(
            f"{fake.name}: {len(held - used)} clips that {protocol.id} does not know, "
            f'such as "{min(held - used)}"; remove them or choose another protocol'
        )
    return pairs


def _complain_about_strays(real: set[str], fake: set[str], real_name: str, fake_name: str) -> None:
    for here, there, has, lacks in ((real, fake, real_name, fake_name), (fake, real, fake_name, real_name)):
        strays = sorted(here - there)
        if strays:
            raise VbenchError(
                f'{len(strays)} clips of {has} have no partner in {lacks}, the first is "{strays[0]}"; '
                "clips are paired by their path without suffix"
            )


# Scoring


def score(
    fake: Source,
    real: Source,
    protocol: Protocol | None = None,
    metrics: Sequence[str] = (),
    model: str | None = None,
    allow_lossy: bool = False,
    workers: int = 1,
) -> list[Row]:
    """Score generated clips against real ones and return a row per metric, in the order asked for."""
    chosen = tuple(metric(token) for token in dict.fromkeys(metrics or default_metrics(protocol)))
    lossy = _check_lossy(protocol, fake, real, allow_lossy)
    if protocol:
        _check_protocol(protocol, fake)
    pairs = pair_by_protocol(protocol, real, fake) if protocol else pair_by_name(real, fake)
    chunks = [pairs[at : at + CHUNK] for at in range(0, len(pairs), CHUNK)]
    results: list[Any] = [None] * len(chunks)
    score_chunk = functools.partial(_score_chunk, _Question(fake, real, protocol, chosen))
    with progress("score", len(pairs), "clips") as advance:
        for index, result in execute.run(score_chunk, chunks, workers):
            results[index] = result
            advance(len(chunks[index]))
    scored = [clip for result in results for clip in result]
    outputs_sha256 = hashlib.sha256(b"".join(clip.sha256 for clip in scored)).hexdigest()
    provenance = {
        "vbench-ctl": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "machine": platform.machine(),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "outputs": fake.name,
        "outputs_sha256": outputs_sha256,
        "real": real.name,
        "real_sha256": real_sha256(real, scored),
    }
    name = model or str(fake.manifest.get("model") or fake.name)
    where = protocol.id if protocol else f"{real.name}:{provenance['real_sha256'][:8]}"
    return [_row(each, scored, protocol, where, name, lossy, provenance) for each in chosen]


def save(scores: Sequence[Row], path: Path | None = None, root: str | Path | None = None) -> Path:
    """Keep rows where `leaderboard` finds them, or in the given file; return the file."""
    protocol, model = (re.sub(r"^\.|^$|[^\w.@+-]", "_", word) for word in (scores[0].protocol, scores[0].model))
    path = path or files.home(root) / "rows" / protocol / f"{model}.json"
    rows.save(path, scores)
    return path


def default_metrics(protocol: Protocol | None) -> list[str]:
    """Return the metrics a protocol asks for that this version can compute; without one, the pixel metrics."""
    if not protocol:
        return ["psnr", "ssim", "mse", "flicker"]
    known = registry.names("metrics")
    found = [token for token in protocol.metrics if token.partition("-")[0] in known]
    if not found:
        raise VbenchError(
            f"{protocol.id} asks for {', '.join(protocol.metrics)}, none of which this version can compute; "
            f"name others with --metrics ({', '.join(known)})"
        )
    return found


def find_real(protocol: Protocol, root: str | Path | None = None) -> StoreSource:
    """Open the store that a protocol is defined on, its newest version."""
    folder = files.home(root) / "stores" / protocol.dataset
    versions = {path: path.name.rpartition("@")[2] for path in folder.glob(f"{protocol.variant}@*")}
    found = sorted((path for path, version in versions.items() if version.isdecimal()), key=lambda p: int(versions[p]))
    if not found:
        raise VbenchError(
            f"{protocol.id}: no store {protocol.dataset} {protocol.variant} in {folder.parent}; "
            f'run "vbench-ctl prepare {protocol.dataset} --split {protocol.split}"'
        )
    return StoreSource(store.Store(found[-1], protocol.split))


def open_real(path: str | Path, protocol: Protocol | None, split: str | None = None) -> Source:
    """Open the real set; with a protocol a store must be of its dataset and variant."""
    real = open_source(path, protocol.split if protocol else split)
    if protocol and isinstance(real, StoreSource):
        held = real.manifest["dataset"], real.manifest["variant"]
        if held != (protocol.dataset, protocol.variant):
            raise UsageError(
                f"{path} is {' '.join(held)}, but {protocol.id} is defined on {protocol.dataset} {protocol.variant}"
            )
    return real


def real_sha256(real: Source, scored: "list[_Scored]") -> str:
    """Identify the real set: a store by its content, anything else by the windows that were read."""
    if isinstance(real, StoreSource):
        return real.store.summary["content_sha256"]
    return hashlib.sha256(b"".join(clip.real_sha256 for clip in scored)).hexdigest()


def _check_protocol(protocol: Protocol, fake: Source) -> None:
    """Refuse outputs of another protocol, and protocols whose rules this version does not carry out."""
    made_for = fake.manifest.get("protocol")
    if made_for not in (None, protocol.id):
        raise VbenchError(
            f"{fake.name} was made for {made_for}, not for {protocol.id}; score it with --protocol {made_for}"
        )
    rules = {
        "unconditional clips": protocol.unconditional,
        "several runs": protocol.runs > 1,
        "resizing": protocol.resize,
    }
    beyond = [rule for rule, wanted in rules.items() if wanted]
    if beyond:
        raise VbenchError(f"{protocol.id} asks for {' and '.join(beyond)}, which this version cannot score yet")


def _check_lossy(protocol: Protocol | None, fake: Source, real: Source, allowed: bool) -> str:
    """Return a remark for the signature, or refuse lossy clips where the protocol does."""
    found = {"": fake.lossy(), "real-": real.lossy()}
    remark = "".join(f",{whose}lossy-{where.split()[-1]}" for whose, where in found.items() if where)
    if remark and protocol and not protocol.lossy and not allowed:
        raise VbenchError(
            f"{found[''] or found['real-']}, a lossy encoding, which {protocol.id} does not allow since it shifts scores; "
            "write .mkv (FFV1), .png or .npy, or score with --allow-lossy, which the signature then says"
        )
    return "" if protocol and protocol.lossy else remark


@dataclass(frozen=True)
class _Question:
    """What is asked about each pair."""

    fake: Source
    real: Source
    protocol: Protocol | None
    metrics: tuple[Metric, ...]


@dataclass(frozen=True)
class _Scored:
    clip: str
    frames: int
    values: dict[str, list[np.ndarray]]  # token -> values (T,) of each sample
    sha256: bytes
    real_sha256: bytes


def _score_chunk(question: _Question, pairs: Sequence[Pair]) -> list[_Scored]:
    return [_score_pair(question, pair) for pair in pairs]


def _score_pair(question: _Question, pair: Pair) -> _Scored:
    protocol = question.protocol
    real = real_window(question.real, pair)
    digest = hashlib.sha256()
    values: dict[str, list[np.ndarray]] = {each.token: [] for each in question.metrics}
    for name in pair.fakes:
        fake = _whole(question.fake.frames(name), real, protocol, name)
        digest.update(store.clip_sha256(name, fake))
        for each in question.metrics:
            seen = list(protocol.frames_of(each.token)) if protocol else list(range(len(fake)))
            offset = protocol.real_offset if protocol else 0
            partner = real[[t + offset for t in seen]] if each.needs_pair else None
            values[each.token].append(each.values(partner, fake[seen]))
    return _Scored(pair.real, len(real), values, digest.digest(), store.clip_sha256(pair.real, real))


def real_window(real: Source, pair: Pair) -> np.ndarray:
    """Return the real frames of a case: uint8 (T, H, W, 3)."""
    case = pair.case
    if case is None:
        return real.frames(pair.real)
    frames = real.frames(case.clip, case.start, case.start + (case.length - 1) * case.step + 1, case.step)
    if len(frames) != case.length:
        raise VbenchError(
            f'{real.name}: clip "{case.clip}" is shorter than its header says, with {len(frames)} of {case.length} frames '
            f"from frame {case.start} on; fetch or write it again"
        )
    return frames if case.crop is None else square(frames, case.crop)


def square(frames: np.ndarray, place: float) -> np.ndarray:
    """Cut the largest square, `place` of the way along the longer side."""
    height, width = frames.shape[1:3]
    side = min(height, width)
    top, left = round((height - side) * place), round((width - side) * place)
    return frames[:, top : top + side, left : left + side]


def _whole(fake: np.ndarray, real: np.ndarray, protocol: Protocol | None, name: str) -> np.ndarray:
    """Check a generated clip, and put the given frames around it where the model wrote only its own."""
    if fake.shape[1:] != real.shape[1:]:
        sizes = [f"{clip.shape[2]}x{clip.shape[1]}" for clip in (fake, real)]
        raise VbenchError(f'clip "{name}" is {sizes[0]}, the real one {sizes[1]}; generate or resize to the real size')
    if protocol and len(fake) == protocol.predict:
        return framed(fake, real, protocol)
    if len(fake) != len(real):
        bare = f" (or {protocol.predict} without the given ones)" if protocol and not protocol.unconditional else ""
        raise VbenchError(f'clip "{name}" has {len(fake)} frames, expected {len(real)}{bare}')
    return fake


def framed(predicted: np.ndarray, real: np.ndarray, protocol: Protocol) -> np.ndarray:
    """Put the frames that a protocol gives, at the start and at the end, around the predicted ones."""
    return np.concatenate([real[: protocol.context], predicted, real[protocol.length - protocol.ending :]])


def _row(
    each: Metric,
    scored: list[_Scored],
    protocol: Protocol | None,
    where: str,
    model: str,
    lossy: str,
    provenance: dict[str, Any],
) -> Row:
    samples = protocol.samples_of(each.token) if protocol else 1
    aggregate = protocol.aggregate if protocol and each.needs_pair else "mean"  # without a partner there is no best
    best = max if each.direction == "higher" else min
    per_clip, curves = [], []
    for clip in scored:
        means = [float(values.mean()) for values in clip.values[each.token][:samples]]
        if aggregate == "best":
            pick = means.index(best(means))
            per_clip.append(means[pick])
            curves.append(clip.values[each.token][pick])
        else:
            per_clip.append(float(np.mean(means)))
            curves.append(np.mean(clip.values[each.token][:samples], axis=0))
    lengths = {clip.frames for clip in scored}
    frames = len(protocol.frames_of(each.token)) if protocol else max(lengths)
    span = f"{frames}f" if protocol or len(lengths) == 1 else f"{min(lengths)}-{max(lengths)}f"
    count = f"{len(scored)}x{samples}" + (f":{aggregate}" if samples > 1 else "")
    computation = each.module.signature(**each.options) + lossy
    interval = bootstrap_mean(np.array(per_clip), [clip.clip for clip in scored])
    return Row(
        metric=each.token,
        value=float(np.mean(per_clip)),
        low=interval[0] if interval else None,
        high=interval[1] if interval else None,
        direction=each.direction,
        n=len(scored),
        protocol=where,
        signature=signature(each.name, each.variant, "", span, count, computation, each.module.VERSION),
        model=model,
        unit=each.module.UNIT,
        dataset=protocol.dataset if protocol else "",
        per_frame=[float(v) for v in np.mean(curves, axis=0)] if len({len(c) for c in curves}) == 1 else [],
        provenance=provenance,
    )
