"""From clips to rows: pair generated clips with real ones, compute each metric per clip, average, and say how."""

import functools
import hashlib
import platform
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from vbench_ctl import __version__, execute, files, networks, pairing, registry, rows, store
from vbench_ctl.errors import UsageError, VbenchError, unknown
from vbench_ctl.intervals import bootstrap_mean
from vbench_ctl.networks import AUTO, Features, Place
from vbench_ctl.pairing import Pair
from vbench_ctl.progress import progress
from vbench_ctl.protocols import Protocol
from vbench_ctl.rows import Row, signature
from vbench_ctl.sources import Source, StoreSource
from vbench_ctl.statistics import check_features

CHUNK = 8  # cases of one work item


# Metrics by token: "ssim", "ssim-glass" for a named variant, "ssim@best" for the best sample of each case

AGGREGATES = ("best", "mean", "worst")


@dataclass(frozen=True)
class Metric:
    """A metric module with the options of one of its variants."""

    token: str
    name: str
    variant: str
    aggregate: str = ""  # of the samples of a case; empty for the protocol's

    @property
    def base(self) -> str:
        """Return the token that protocols use, which say nothing of an aggregate."""
        return self.token.partition("@")[0]

    @property
    def module(self) -> ModuleType:
        return registry.load("metrics", self.name)

    @property
    def options(self) -> dict[str, Any]:
        return self.module.VARIANTS[self.variant]

    def values(self, *clips: Any) -> np.ndarray:
        """Return the values (T,) of one clip, or of the list of a case's samples."""
        return self.module.values(*clips, **self.options)

    @property
    def direction(self) -> str:
        """Say which values are better; a variant may turn a metric round."""
        own = getattr(self.module, "direction", None)
        return own(**self.options) if own else self.module.DIRECTION

    @property
    def needs_pair(self) -> bool:
        return self.module.NEEDS == "pair"

    @property
    def compares_samples(self) -> bool:
        return self.module.NEEDS == "samples"

    @property
    def compares_sets(self) -> bool:
        return self.module.NEEDS == "features"

    @property
    def features(self) -> Features | None:
        """Return which features of which network it is computed from, if any."""
        wanted = getattr(self.module, "features", None)
        return wanted(**self.options) if wanted else None


def metric(token: str) -> Metric:
    """Resolve a token; an unknown name or variant raises with the nearest."""
    base, at, aggregate = token.partition("@")
    name, _, variant = base.partition("-")
    module = registry.load("metrics", name)
    if variant not in module.VARIANTS:
        raise unknown(f"variant of {name}", base, [f"{name}-{v}" if v else name for v in module.VARIANTS])
    if at and aggregate not in AGGREGATES:
        raise unknown("aggregate of samples", aggregate, AGGREGATES)
    found = Metric(token, name, variant, aggregate)
    if at and not found.needs_pair:
        raise UsageError(f"{token}: {name} does not compare clip with clip, so no sample is the best; ask for {base}")
    return found


def token_like(wanted: str) -> str:
    """Return the metric that a signature names, if this version computes it as the signature says."""
    parts = wanted.split("|")
    if len(parts) != len(rows.SIGNATURE_FIELDS):
        raise UsageError(f'"{wanted}" is no signature; expected {" | ".join(rows.SIGNATURE_FIELDS)}')
    name, variant, *_, version = parts
    token = name if variant == "default" else f"{name}-{variant}"
    ours = metric(token)
    if version != f"v{ours.module.VERSION}":
        raise VbenchError(
            f"{token} is at v{ours.module.VERSION} here, the signature is of {version}; install that release"
        )
    return token


def check_like(row: Row, wanted: str) -> None:
    """Refuse a score that was not computed as a signature says."""
    if row.value is None:
        raise VbenchError(row.note)
    if row.signature != wanted:
        raise VbenchError(
            f"{row.metric} came out as {row.signature}, which differs in {rows.difference(wanted, row.signature)}"
        )


def is_known(token: str) -> bool:
    """Tell whether this version can compute a metric that a protocol names."""
    try:
        return bool(metric(token))
    except UsageError:
        return False


# Scoring


def score(
    fake: Source,
    real: Source,
    protocol: Protocol | None = None,
    metrics: Sequence[str] = (),
    model: str | None = None,
    allow_lossy: bool = False,
    workers: execute.Workers = 1,
    place: Place = AUTO,
) -> list[Row]:
    """Score generated clips against real ones in one pass and return a row per metric, in the order asked for."""
    chosen = tuple(metric(token) for token in dict.fromkeys(metrics or default_metrics(protocol)))
    place = networks.settled(place, chosen)
    lacking = {each: networks.missing(each.features) for each in chosen if each.features}
    able = tuple(each for each in chosen if not lacking.get(each))
    lossy = _check_lossy(protocol, fake, real, allow_lossy)
    if protocol:
        _check_protocol(protocol, fake)
    check_aggregates(protocol, able)
    pairs = pairing.pairs(protocol, real, fake, alone=not any(each.needs_pair for each in able))
    chunks = [pairs[at : at + CHUNK] for at in range(0, len(pairs), CHUNK)]
    results: list[Any] = [None] * len(chunks)
    asked = functools.partial(score_chunk, Question(fake, real, protocol, able, place))
    with progress("score", len(pairs), "clips") as advance:
        for index, result in execute.run(asked, chunks, workers, gpu=place.device == "cuda"):
            results[index] = result
            advance(len(chunks[index]))
    scored = [clip for result in results for clip in result]
    provenance = {
        "vbench-ctl": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "machine": platform.machine(),
        "device": place.device,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "outputs": fake.name,
        "outputs_sha256": hashlib.sha256(b"".join(clip.sha256 for clip in scored)).hexdigest(),
        "real": real.name,
        "real_sha256": real_sha256(real, scored),
    }
    name = model or str(fake.manifest.get("model") or fake.name)
    where = protocol.id if protocol else f"{real.name}:{provenance['real_sha256'][:8]}"
    report = Report(protocol, scored, where, name, lossy, provenance)
    return [report.absent(each, lacking[each]) if lacking.get(each) else report.row(each) for each in chosen]


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
    found = [token for token in protocol.metrics if is_known(token)]
    if not found:
        raise VbenchError(
            f"{protocol.id} asks for {', '.join(protocol.metrics)}, none of which this version can compute; "
            f"name others with --metrics ({', '.join(known)})"
        )
    return found


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
    rules = {"several runs": protocol.runs > 1, "resizing": protocol.resize}
    beyond = [rule for rule, wanted in rules.items() if wanted]
    if beyond:
        raise VbenchError(f"{protocol.id} asks for {' and '.join(beyond)}, which this version cannot score yet")


def check_aggregates(protocol: Protocol | None, metrics: Sequence[Metric]) -> None:
    """Refuse to choose among samples where there is one."""
    for each in metrics:
        if each.aggregate and _samples_of(protocol, each) == 1:
            where = protocol.id if protocol else "scoring without a protocol"
            raise UsageError(f"{each.token}: {where} uses 1 sample per case, so none is chosen; ask for {each.base}")


def _samples_of(protocol: Protocol | None, each: Metric) -> int:
    return protocol.samples_of(each.base) if protocol else 1


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
class Question:
    """What is asked about each pair."""

    fake: Source
    real: Source
    protocol: Protocol | None
    metrics: tuple[Metric, ...]
    place: Place

    def frames_of(self, each: Metric, length: int) -> list[int]:
        """Return the frames of a generated clip that a metric sees."""
        return list(self.protocol.frames_of(each.base)) if self.protocol else list(range(length))

    def real_frames_of(self, each: Metric, length: int) -> list[int]:
        """Return the frames of the real clip that they are compared with."""
        offset = self.protocol.real_offset if self.protocol else 0
        return [t + offset for t in self.frames_of(each, length)]


@dataclass
class _Scored:
    """What is kept of one pair: values and features, no pixels."""

    pair: Pair
    frames: int
    sha256: bytes
    real_sha256: bytes
    values: dict[str, list[np.ndarray]]  # base token -> values (T,) of each sample, or of all samples together
    fake_rows: dict[str, np.ndarray]  # token -> features (samples * rows, D)
    real_rows: dict[str, np.ndarray]  # token -> features (rows, D)


def score_chunk(question: Question, pairs: Sequence[Pair]) -> list[_Scored]:
    """Decode each clip of some pairs once, and run each network once on it."""
    networks.use(question.place)
    clips = [_read(question, pair) for pair in pairs]
    scored = [_score_pair(question, pair, real, fakes) for pair, (real, fakes) in zip(pairs, clips, strict=True)]
    done: dict[Any, tuple[list[np.ndarray], list[np.ndarray]]] = {}
    for each in question.metrics:
        if each.compares_sets and each.features:
            length = question.protocol.length if question.protocol else 0
            samples = _samples_of(question.protocol, each)
            key = each.features, tuple(question.frames_of(each, length)), samples
            if key not in done:  # two metrics often look at the same features
                done[key] = _rows(question, each, pairs, clips, samples)
            for clip, fake_rows, real_rows in zip(scored, *done[key], strict=True):
                clip.fake_rows[each.token], clip.real_rows[each.token] = fake_rows, real_rows
    return scored


def _read(question: Question, pair: Pair) -> tuple[np.ndarray | None, list[np.ndarray]]:
    real = None if pair.real is None else pairing.real_window(question.real, pair)
    fakes = [pairing.whole(question.fake.frames(name), real, question.protocol, name) for name in pair.fakes]
    return real, fakes


def _score_pair(question: Question, pair: Pair, real: np.ndarray | None, fakes: list[np.ndarray]) -> _Scored:
    digest = hashlib.sha256()
    for name, fake in zip(pair.fakes, fakes, strict=True):
        digest.update(store.clip_sha256(name, fake))
    values: dict[str, list[np.ndarray]] = {}
    for each in question.metrics:
        if not each.compares_sets and each.base not in values:
            cut = [fake[question.frames_of(each, len(fake))] for fake in fakes]
            values[each.base] = _values(question, each, real, cut)
    seen = real if real is not None else fakes[0]
    real_sha256 = b"" if real is None else store.clip_sha256(str(pair.real), real)
    return _Scored(pair, len(seen), digest.digest(), real_sha256, values, {}, {})


def _values(question: Question, each: Metric, real: np.ndarray | None, fakes: list[np.ndarray]) -> list[np.ndarray]:
    """Return the values (T,) of each sample of a case, or the one array of all of them together."""
    if each.compares_samples:
        return [each.values(fakes[: _samples_of(question.protocol, each)])] if fakes else []
    if real is None or not each.needs_pair:
        return [each.values(fake) for fake in fakes]
    return [each.values(real[question.real_frames_of(each, len(fake))], fake) for fake in fakes]


def _rows(
    question: Question,
    each: Metric,
    pairs: Sequence[Pair],
    clips: list[tuple[np.ndarray | None, list[np.ndarray]]],
    samples: int,
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return the features of each pair's samples and of its window of the real set, none where there is nothing."""
    features = each.features
    assert features
    fakes = [[fake[question.frames_of(each, len(fake))] for fake in part[:samples]] for _, part in clips]
    reals = [
        [real[question.real_frames_of(each, len(real))]] if real is not None and pair.counts_as_real else []
        for pair, (real, _) in zip(pairs, clips, strict=True)
    ]
    return _shared_out(features, fakes), _shared_out(features, reals)


def _shared_out(features: Features, clips: list[list[np.ndarray]]) -> list[np.ndarray]:
    """Compute the features of several lists of clips together, and cut the rows up again."""
    flat = [clip for part in clips for clip in part]
    rows = networks.of(features, flat) if flat else np.empty((0, 1), np.float32)
    counts = [sum(1 if features.per == "clip" else len(clip) for clip in part) for part in clips]
    return np.split(rows, np.cumsum(counts)[:-1])


# Rows


@dataclass(frozen=True)
class Report:
    """Everything that was computed, ready to be told metric by metric."""

    protocol: Protocol | None
    scored: list[_Scored]
    where: str
    model: str
    lossy: str
    provenance: dict[str, Any]

    def row(self, each: Metric) -> Row:
        """Return the row of a metric."""
        return self._of_sets(each) if each.compares_sets else self._of_clips(each)

    def absent(self, each: Metric, reason: str) -> Row:
        """Return the row of a metric that cannot be computed here."""
        return self._finished(each, None, None, None, 0, "", note=reason)

    def _of_clips(self, each: Metric) -> Row:
        answered = self._whole_batches(each, [clip for clip in self.scored if clip.pair.fakes])
        samples = _samples_of(self.protocol, each)
        aggregate = self._aggregate(each)
        per_clip, curves = [], []
        for clip in answered:
            values = clip.values[each.base][:samples]
            means = [float(value.mean()) for value in values]
            if aggregate == "mean":
                per_clip.append(float(np.mean(means)))
                curves.append(np.mean(values, axis=0))
            else:
                highest = (aggregate == "best") == (each.direction == "higher")
                pick = means.index(max(means) if highest else min(means))
                per_clip.append(means[pick])
                curves.append(values[pick])
        low, high = bootstrap_mean(np.array(per_clip), [_cluster(clip) for clip in answered]) or (None, None)
        chosen = f":{aggregate}" if samples > 1 and not each.compares_samples else ""
        count = f"{len(answered)}x{samples}{chosen}"
        row = self._finished(each, float(np.mean(per_clip)), low, high, len(answered), count)
        if len({len(curve) for curve in curves}) == 1:
            row = replace(row, per_frame=[float(value) for value in np.mean(curves, axis=0)])
        return row

    def _of_sets(self, each: Metric) -> Row:
        answered = [clip for clip in self.scored if clip.pair.fakes]
        reals = [clip for clip in self.scored if len(clip.real_rows[each.token])]
        fake_rows, owners = self._rows([clip.fake_rows[each.token] for clip in answered], answered, each)
        clusters = [_cluster(answered[owner]) for owner in owners]
        real_rows, _ = self._rows([clip.real_rows[each.token] for clip in reals], reals, each)
        check_features(fake_rows, "the generated features", ids=clusters)
        groups = self.protocol.groups_of if self.protocol and hasattr(each.module, "ENOUGH") else 0
        options = each.options
        estimate = each.module.estimate(real_rows, fake_rows, clusters, groups, **options)
        samples = _samples_of(self.protocol, each)
        against = f"/{len(reals)}" if len(reals) != len(answered) else ""
        grouped = f":{groups}" if groups else ""
        enough = getattr(each.module, "ENOUGH", 0)
        note = (
            f"only {len(answered) * samples} clips: below {enough} it is biased upwards"
            if (len(answered) * samples < enough)
            else ""
        )
        row = self._finished(
            each,
            estimate.value,
            estimate.low,
            estimate.high,
            len(answered),
            f"{len(answered)}x{samples}{against}{grouped}",
            note=note,
        )
        return replace(row, floor=_floor(each, real_rows, [_cluster(clip) for clip in reals]))

    def _whole_batches(self, each: Metric, clips: list[_Scored]) -> list[_Scored]:
        """Return the clips less those of the last incomplete batch, where a release leaves these out."""
        number, unit = (self.protocol and self.protocol.batch_of(each.base)) or (1, "clips")
        if unit == "frames":
            return clips
        if len(clips) < number:
            raise VbenchError(f"{each.token}: {len(clips)} clips make no batch of {number}, the least of {self.where}")
        return clips[: len(clips) // number * number]

    def _rows(self, rows: list[np.ndarray], clips: list[_Scored], each: Metric) -> tuple[np.ndarray, list[int]]:
        """Return the rows of all clips and the clip each belongs to, less what a release leaves out of them."""
        if not rows:
            raise VbenchError(f"{each.token}: there are no real clips to compare with")
        owners = [index for index, part in enumerate(rows) for _ in part]
        batch = self.protocol.batch_of(each.base) if self.protocol else None
        together = np.concatenate(rows)
        if batch:
            number, unit = batch
            per_clip = len(rows[0]) if unit == "clips" else 1
            kept = len(together) // (number * per_clip) * number * per_clip
            together, owners = together[:kept], owners[:kept]
        return together, owners

    def _aggregate(self, each: Metric) -> str:
        if each.aggregate:
            return each.aggregate
        return self.protocol.aggregate if self.protocol and each.needs_pair else "mean"  # without a partner no best

    def _finished(
        self,
        each: Metric,
        value: float | None,
        low: float | None,
        high: float | None,
        n: int,
        count: str,
        note: str = "",
    ) -> Row:
        lengths = {clip.frames for clip in self.scored}
        frames = len(self.protocol.frames_of(each.base)) if self.protocol else max(lengths)
        span = f"{frames}f" if self.protocol or len(lengths) == 1 else f"{min(lengths)}-{max(lengths)}f"
        network = networks.identity(each.features) if each.features and value is not None else ""
        computation = each.module.signature(**each.options) + self.lossy
        return Row(
            metric=each.token,
            value=value,
            low=low,
            high=high,
            direction=each.direction,
            n=n,
            protocol=self.where,
            signature=signature(each.name, each.variant, network, span, count, computation, each.module.VERSION),
            model=self.model,
            unit=each.module.UNIT,
            dataset=self.protocol.dataset if self.protocol else "",
            note=note,
            provenance=self.provenance,
        )


def _cluster(clip: _Scored) -> str:
    """Return what a clip is not independent of: the video it comes from."""
    return clip.pair.real or clip.pair.fakes[0]


def _floor(each: Metric, rows: np.ndarray, clusters: list[str]) -> float | None:
    """Return the score of one random half of the real clips against the other: what no model can be told from."""
    per_clip = len(rows) // max(1, len(clusters))
    if len(clusters) < 4 or per_clip * len(clusters) != len(rows):
        return None
    order = np.random.default_rng(0).permutation(len(clusters))
    halves = order[: len(order) // 2], order[len(order) // 2 :]
    a, b = (np.concatenate([np.arange(at * per_clip, (at + 1) * per_clip) for at in np.sort(half)]) for half in halves)
    try:
        value = each.module.estimate(rows[a], rows[b], [clusters[at // per_clip] for at in b], 0, **each.options).value
    except VbenchError:  # half of the clips are too few for this metric
        return None
    return float(value)
