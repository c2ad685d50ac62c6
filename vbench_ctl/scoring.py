"""From clips to rows: pair generated clips with real ones, compute each metric per clip, average, and say how."""

import functools
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from vbench_ctl import execute, files, inverse, networks, pairing, provenance, registry, rows, store
from vbench_ctl import tracks as known
from vbench_ctl.controls import HEEDED
from vbench_ctl.doubts import Look, doubts, look
from vbench_ctl.errors import UsageError, VbenchError, unknown
from vbench_ctl.fetch import digest
from vbench_ctl.inverse import Inverse, Lesson, Unlearnable
from vbench_ctl.networks import AUTO, Features, Place
from vbench_ctl.pairing import Pair
from vbench_ctl.presets import Coding, Preset
from vbench_ctl.progress import progress
from vbench_ctl.protocols import Protocol, check_made
from vbench_ctl.rows import Row, signature
from vbench_ctl.sources import Source, StoreSource
from vbench_ctl.statistics import check_rows, moments
from vbench_ctl.statistics.moments import Gaussian
from vbench_ctl.statistics.resampling import Estimate, basic, bootstrap_mean, draws
from vbench_ctl.tracks import DETECTED, FLOW, INVERSE

CHUNK = 8  # clips of one work item, or the samples of one case
RESAMPLES = 200  # of the bootstrap of metrics that pool what all clips say


# Metrics by token: "ssim", "ssim-glass" for a named variant, "ssim@best" for the best sample of each case

AGGREGATES = ("best", "mean", "worst")
_OWN = re.compile(r"(?:(.+)-)?([0-9a-f]{8})")  # "fvd-1a2b3c4d", "dtfvd-32-1a2b3c4d": with weights that the user added


@dataclass(frozen=True)
class Metric:
    """A metric module with the options of one of its variants."""

    token: str
    name: str
    variant: str
    aggregate: str = ""  # of the samples of a case; empty for the protocol's
    own: str = ""  # begin of the hash of weights of the user's own, in place of those that the metric means

    @property
    def base(self) -> str:
        """Return the token without the aggregate."""
        return self.token.partition("@")[0]

    @property
    def listed(self) -> str:
        """Return the token that protocols use, which say nothing of an aggregate or of weights of the user's own."""
        return f"{self.name}-{self.variant}" if self.variant else self.name

    @property
    def module(self) -> ModuleType:
        return registry.load("metrics", self.name)

    @property
    def options(self) -> dict[str, Any]:
        return self.module.VARIANTS[self.variant]

    def values(self, *clips: Any) -> np.ndarray:
        """Return the values (T,) of one clip, or of the list of a case's samples."""
        compute = self.module.collect if self.pools else self.module.values
        with_own = {"network": self.features} if self.own else {}
        return compute(*clips, **self.options, **with_own)

    @property
    def direction(self) -> str:
        """Say which values are better; a variant may turn a metric round."""
        own = getattr(self.module, "direction", None)
        return own(**self.options) if own else self.module.DIRECTION

    @property
    def needs_pair(self) -> bool:
        return self.module.NEEDS == "pair"

    @property
    def compares_cases(self) -> bool:
        """Tell whether each generated clip is looked at beside the real one it answers."""
        return self.needs_pair or self.compares_tracks or bool(self.sets)

    @property
    def compares_tracks(self) -> bool:
        return self.module.NEEDS == "tracks"

    @property
    def sets(self) -> tuple[str, ...]:
        """Return which sets of answers to a case it compares, of controls.SETS."""
        return self.module.sets(**self.options) if self.module.NEEDS == "sets" else ()

    @property
    def pools(self) -> bool:
        """Tell whether it is computed from what all clips say together, not from a value of each."""
        return hasattr(self.module, "pooled")

    @property
    def compares_samples(self) -> bool:
        return self.module.NEEDS == "samples"

    @property
    def reads_manifest(self) -> bool:
        return self.module.NEEDS == "manifest"

    @property
    def compares_sets(self) -> bool:
        return self.module.NEEDS == "features"

    @property
    def looks_at_reals(self) -> bool:
        """Tell whether a metric of sets needs the real one: some look at generated clips alone."""
        return not getattr(self.module, "GENERATED_ONLY", False)

    @property
    def optional(self) -> tuple[str, ...]:
        """Return which tracks of the outputs it takes besides, where there are any."""
        wanted = getattr(self.module, "optional", None)
        return wanted(**self.options) if wanted else ()

    @property
    def lesson(self) -> Lesson | None:
        """Return what must be learned from the training split before it can be computed, if anything."""
        wanted = getattr(self.module, "lesson", None)
        return wanted(**self.options) if wanted else None

    @property
    def features(self) -> Features | None:
        """Return which features of which network it is computed from, if any."""
        wanted = getattr(self.module, "features", None)
        found = wanted(**self.options) if wanted else None
        return replace(found, weights=f"{found.weights}-{self.own}") if found and self.own else found


def metric(token: str) -> Metric:
    """Resolve a token; an unknown name or variant raises with the nearest."""
    base, at, aggregate = token.partition("@")
    name, _, variant = base.partition("-")
    module, own = registry.load("metrics", name), ""
    with_own = _OWN.fullmatch(variant)
    if with_own and variant not in module.VARIANTS and _takes_own(module, with_own[1] or ""):
        variant, own = with_own[1] or "", with_own[2]
    # A variant may be called by its first option: "fvd-tf" is fvd, and "fid-legacy_tensorflow" is fid-tensorflow.
    called = [known_as for known_as, options in module.VARIANTS.items() if variant in list(options.values())[:1]]
    if called and variant not in module.VARIANTS:
        variant = called[0]
        base = f"{name}-{variant}" if variant else name
        token = base + at + aggregate
    if variant not in module.VARIANTS:
        raise unknown(f"variant of {name}", base, [f"{name}-{v}" if v else name for v in module.VARIANTS])
    if at and aggregate not in AGGREGATES:
        raise unknown("aggregate of samples", aggregate, AGGREGATES)
    found = Metric(token, name, variant, aggregate, own)
    if at and (not found.needs_pair or found.pools):
        raise UsageError(f"{token}: {name} does not compare clip with clip, so no sample is the best; ask for {base}")
    return found


def _takes_own(module: ModuleType, variant: str) -> bool:
    """Tell whether a variant compares sets or samples by the features of a network, which may have other weights."""
    if variant not in module.VARIANTS or module.NEEDS not in ("features", "samples"):
        return False
    return bool(hasattr(module, "features") and module.features(**module.VARIANTS[variant]))


def tokens(text: str) -> list[str]:
    """Return the metrics that a text such as "fvd,psnr" names."""
    return [token for token in map(str.strip, text.split(",")) if token]


def token_like(wanted: str) -> str:
    """Return the metric that a signature names, if this version computes it as the signature says."""
    parts = wanted.split("|")
    if len(parts) != len(rows.SIGNATURE_FIELDS):
        raise UsageError(f'"{wanted}" is no signature; expected {" | ".join(rows.SIGNATURE_FIELDS)}')
    name, variant, _, _, count, _, version = parts
    token = name if variant == "default" else f"{name}-{variant}"
    ours = metric("@".join([token, *(word for word in count.split(":") if word in AGGREGATES)]))
    if version != f"v{ours.module.VERSION}":
        raise VbenchError(
            f"{ours.base} is at v{ours.module.VERSION} here, the signature is of {version}; install that release"
        )
    return ours.token


def check_like(row: Row, wanted: str) -> None:
    """Refuse a score that was not computed as a signature says."""
    if row.value is None:
        raise VbenchError(row.note)
    _check_alike(row.metric, row.signature, wanted)


def _check_beforehand(each: Metric, wanted: str, protocol: Protocol | None, lossy: str) -> None:
    """Refuse what cannot come out as a signature says, by the network and the computation, which are known before."""
    if reason := networks.missing(each.features) if each.features else "":
        raise VbenchError(reason)
    fields = _in_our_words(wanted).split("|")
    fields[2] = networks.identity(each.features) if each.features else "-"
    if not each.reads_manifest:  # which says more of the computation
        fields[5] = _computation(each, protocol, lossy)
    _check_alike(each.token, "|".join(fields), wanted)


def _check_alike(token: str, ours: str, wanted: str) -> None:
    wanted = _in_our_words(wanted)
    if ours != wanted:
        raise VbenchError(f"{token} comes out as {ours}, which differs in {rows.difference(wanted, ours)}")


def _in_our_words(wanted: str) -> str:
    """Return a signature whose variant is called by its option, "fvd|tf|...|ddof1|v1", as this version writes it."""
    fields, ours = wanted.split("|"), metric(token_like(wanted))
    called, fields[1] = fields[1], ours.base.partition("-")[2] or "default"
    if called != fields[1] and ours.module.signature(**ours.options).startswith(f"{called},"):
        fields[5] = f"{called},{fields[5].removeprefix(f'{called},')}"
    return "|".join(fields)


def _computation(each: Metric, protocol: Protocol | None, lossy: str) -> str:
    """Return what a signature says of the computation."""
    square = f",square{protocol.resize}" if protocol and protocol.resize else ""
    return each.module.signature(**each.options) + square + networks.remark(each.features) + lossy


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
    real_stats: Path | None = None,
    preset: Preset | None = None,
    like: str | None = None,
) -> list[Row]:
    """Score generated clips against real ones in one pass and return a row per metric, in the order asked for.

    With `real_stats`, a file of mean and covariance, Frechet distances are those to it; no real clips are needed then.
    With a `preset` clips are coded, and sets grouped, as a release does; a protocol's own groups come first.
    What is known beforehand to differ from the signature `like` of the first metric is refused. A metric that fails has a
    row that says why.
    """
    watch = provenance.Stopwatch()
    if preset and real_stats:
        raise UsageError(
            f"--preset {preset.name} codes the real clips too, which --real-stats does not hold; leave one out"
        )
    metrics = preset.chosen(metrics, protocol) if preset else metrics
    chosen = tuple(dict.fromkeys(metric(token) for token in metrics or default_metrics(protocol)))
    stats = _stats(real_stats, protocol, chosen) if real_stats else None
    place = networks.settled(place, chosen)
    place = replace(place, device=execute.known_there(place.device, workers))
    lacking = unavailable(chosen)
    able = tuple(each for each in chosen if each not in lacking)
    lossy = _check_lossy(protocol, fake, real, allow_lossy)
    codings = _codings(preset, protocol, fake, real)
    lossy += "".join(f",{whose}{coding}" for whose, coding in zip(("", "real-"), codings, strict=True) if coding)
    stats_sha256 = digest(real_stats) if real_stats else ""
    lossy += f",real-stats-{stats_sha256[:8]}" if real_stats else ""
    if protocol:
        _check_protocol(protocol, fake)
    check_aggregates(protocol, able)
    if like:
        _check_beforehand(chosen[0], like, protocol, lossy)
    pairs = pairing.pairs(protocol, real, fake, alone=not any(each.compares_cases for each in able))
    chunks = chunked(pairs)
    results: list[Any] = [None] * len(chunks)
    question = Question(fake, real, protocol, able, place, _inverses(able, real, place), codings)
    decode, answer = (functools.partial(step, question) for step in (decode_chunk, score_chunk))
    with progress("score", len(pairs), "clips") as advance:
        for index, result in execute.run(answer, chunks, workers, execute.on_gpu(place.device), decode):
            results[index] = result
            advance(len(chunks[index]))
    scored = [clip for result in results for clip in result]
    facts: dict[str, Any] = {
        "made": {**provenance.made("numpy"), **watch.spent()},
        "device": place.device if place.device == "cpu" else provenance.hardware(place.device),
        "seed": fake.manifest.get("seed"),
        "generated": fake.manifest.get("made"),
        "outputs": fake.name,
        "outputs_sha256": hashlib.sha256(b"".join(clip.sha256 for clip in scored)).hexdigest(),
        "real": real.name,
        "real_sha256": real_sha256(real, scored),
    }
    if any(each.sets for each in able):
        facts["sets_sha256"] = hashlib.sha256(b"".join(clip.sets_sha256 for clip in scored)).hexdigest()
    if any(each.compares_tracks for each in able):
        facts["tracks_sha256"] = hashlib.sha256(b"".join(clip.tracks_sha256 for clip in scored)).hexdigest()
    name = model or str(fake.manifest.get("model") or fake.name)
    where = protocol.id if protocol else f"{real.name}:{facts['real_sha256'][:8]}"
    if real_stats:
        facts["real_sha256"] = stats_sha256
    groups_of = protocol.groups_of if protocol else preset.groups_of if preset else 0
    report = Report(protocol, scored, where, name, lossy, facts, stats, fake.manifest, groups_of)
    return report.rows_of(chosen, lacking)


def unavailable(metrics: Sequence[Metric]) -> dict[Metric, str]:
    """Return why metrics cannot be had here, of those whose network is not."""
    reasons = {each: networks.missing(each.features) for each in metrics if each.features}
    return {each: reason for each, reason in reasons.items() if reason}


def _inverses(metrics: Sequence[Metric], real: Source, place: Place) -> dict[Lesson, Inverse | str]:
    """Learn what the metrics need of the real training split; a text says why it cannot be."""
    found: dict[Lesson, Inverse | str] = {}
    for lesson in dict.fromkeys(lesson for each in metrics if (lesson := each.lesson)):
        try:
            if isinstance(real, StoreSource):
                found[lesson] = inverse.learned(real.store, lesson, place.root)
        except Unlearnable as reason:
            found[lesson] = str(reason)
    return found


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


def _stats(path: Path, protocol: Protocol | None, chosen: Sequence[Metric]) -> Gaussian:
    """Read the statistics of a real set, for metrics that need no more of it."""
    if protocol and not protocol.unconditional:
        raise UsageError(
            f"{protocol.id} compares clips with real ones, which statistics do not hold; give the real clips"
        )
    for each in chosen:
        if not getattr(each.module, "FRECHET", False) or each.options.get("parts"):
            raise UsageError(
                f"{each.token} needs the real clips themselves; leave --real-stats away, or ask for vfid or fid"
            )
    divided = [each.token for each in chosen if each.options.get("ddof", 1) != 1]
    if divided:
        raise UsageError(
            f"{divided[0]} divides covariances by N, which {path} of mu and sigma does not say; leave {divided[0]} out, "
            "or give the real clips"
        )
    return moments.load(path)


def _check_protocol(protocol: Protocol, fake: Source) -> None:
    """Refuse outputs of another protocol, or made otherwise than it says."""
    made_for = fake.manifest.get("protocol")
    if made_for not in (None, protocol.id):
        raise VbenchError(
            f"{fake.name} was made for {made_for}, not for {protocol.id}; score it with --protocol {made_for}"
        )
    check_made(protocol, fake.manifest.get("options"), fake.name)
    if (control := fake.manifest.get("control")) not in (None, *HEEDED):
        raise VbenchError(
            f'{fake.name}: the manifest says control "{control}", expected one of {", ".join(HEEDED)}; write one or leave it out'
        )


def check_aggregates(protocol: Protocol | None, metrics: Sequence[Metric]) -> None:
    """Refuse to choose among samples where there is one."""
    for each in metrics:
        if each.aggregate and _samples_of(protocol, each) == 1:
            where = protocol.id if protocol else "scoring without a protocol"
            raise UsageError(f"{each.token}: {where} uses 1 sample per case, so none is chosen; ask for {each.base}")


def _samples_of(protocol: Protocol | None, each: Metric) -> int:
    return protocol.samples_of(each.listed) if protocol else 1


def _check_lossy(protocol: Protocol | None, fake: Source, real: Source, allowed: bool) -> str:
    """Return a remark for the signature, or refuse lossy clips where the protocol does."""
    found = {"": fake.lossy(), "real-": real.lossy()}
    remark = "".join(f",{whose}lossy-{where.split()[-1]}" for whose, where in found.items() if where)
    if remark and protocol and not protocol.lossy and not allowed:
        raise VbenchError(
            f"{found[''] or found['real-']}, a lossy encoding, which {protocol.id} does not allow since it shifts scores; "
            "write .mkv (FFV1), .png or .npy, or score with --allow-lossy, which the signature then says"
        )
    return remark


def _codings(
    preset: Preset | None, protocol: Protocol | None, fake: Source, real: Source
) -> tuple[Coding | None, Coding | None]:
    """Return what generated and real clips go through before they are scored; clips that are lossy already did."""
    if not preset:
        return None, None
    coding = preset.coding(protocol.dataset if protocol else str(real.manifest.get("dataset", "")))
    return None if fake.lossy() else coding, None if real.lossy() else coding


@dataclass(frozen=True)
class Question:
    """What is asked about each pair."""

    fake: Source
    real: Source
    protocol: Protocol | None
    metrics: tuple[Metric, ...]
    place: Place
    inverses: Mapping[Lesson, Inverse | str] = field(default_factory=dict)  # or why nothing could be learned
    codings: tuple[Coding | None, Coding | None] = (None, None)  # that generated and real clips go through first
    failed: set[str] = field(default_factory=set)  # base tokens of metrics that further clips need not be asked for

    def frames_of(self, each: Metric, length: int) -> list[int]:
        """Return the frames of a generated clip that a metric sees."""
        return list(self.protocol.frames_of(each.listed)) if self.protocol else list(range(length))

    def real_frames_of(self, each: Metric, length: int) -> list[int]:
        """Return the frames of the real clip that they are compared with."""
        offset = self.protocol.real_offset if self.protocol else 0
        return [t + offset for t in self.frames_of(each, length)]


Sets = dict[str, list[np.ndarray]]  # the samples of each set of answers
Clips = tuple[Pair, np.ndarray | None, list[np.ndarray], Sets]  # of one pair: the real window and the samples


@dataclass
class _Scored:
    """What is kept of one pair: values and where its features lie, no pixels."""

    pair: Pair
    frames: int
    sha256: bytes
    real_sha256: bytes
    fake_look: Look | None
    real_look: Look | None
    values: dict[str, list[np.ndarray]]  # base token -> values (T,) of each sample, or of all samples together, or rows
    reached: dict[str, np.ndarray]  # base token -> values (T,) of the real clip itself, where the metric says them
    absent: dict[str, str]  # base token -> why there are none
    tracks_sha256: bytes  # of the outputs' tracks that were compared
    sets_sha256: bytes  # of the other answers that were compared
    fake_rows: dict[str, list[networks.Rows]]  # token -> features of each sample
    real_rows: dict[str, list[networks.Rows]]  # token -> features of the window, if it is of the real set


def chunked(pairs: Sequence[Pair]) -> list[Sequence[Pair]]:
    """Cut pairs into work items whose clips fit into memory together."""
    most = max([len(pair.fakes) * (1 + len(pair.sets)) for pair in pairs] + [1])
    size = max(1, CHUNK // most)
    return [pairs[at : at + size] for at in range(0, len(pairs), size)]


def decode_chunk(question: Question, pairs: Sequence[Pair]) -> list[Clips]:
    """Decode each clip of some pairs once."""
    return [(pair, *_read(question, pair)) for pair in pairs]


def score_chunk(question: Question, clips: Sequence[Clips]) -> list[_Scored]:
    """Compute each metric on the clips of some pairs, and run each network once on them."""
    networks.use(question.place)
    scored = [_score_pair(question, *each) for each in clips]
    done: dict[Any, tuple[list[list[networks.Rows]], list[list[networks.Rows]]]] = {}
    for each in question.metrics:
        if each.compares_sets and each.features and each.base not in question.failed:
            length = question.protocol.length if question.protocol else 0
            samples = _samples_of(question.protocol, each)
            key = each.features, tuple(question.frames_of(each, length)), samples, each.looks_at_reals
            try:
                if key not in done:  # two metrics often look at the same features
                    done[key] = _rows(question, each, clips, samples)
            except VbenchError as error:
                scored[0].absent[each.base] = _failure(question, each, error)
                continue
            for clip, fake_rows, real_rows in zip(scored, *done[key], strict=True):
                clip.fake_rows[each.token], clip.real_rows[each.token] = fake_rows, real_rows
    return scored


def _read(question: Question, pair: Pair) -> tuple[np.ndarray | None, list[np.ndarray], Sets]:
    protocol, (of_fake, of_real) = question.protocol, question.codings
    window = None if pair.real is None else pairing.real_window(question.real, pair)

    def frames(clip: np.ndarray, coding: Coding | None) -> np.ndarray:
        clip = coding.through(clip) if coding else clip
        return pairing.scaled(clip, protocol.resize) if protocol and protocol.resize else clip

    def samples(names: Sequence[str]) -> list[np.ndarray]:
        whole = (pairing.whole(question.fake.frames(name), window, protocol, name) for name in names)
        return [frames(clip, of_fake) for clip in whole]

    wanted = {word for each in question.metrics for word in each.sets}
    sets = {word: samples(names) for word, names in pair.sets.items() if word in wanted}
    return None if window is None else frames(window, of_real), samples(pair.fakes), sets


def _score_pair(
    question: Question, pair: Pair, real: np.ndarray | None, fakes: list[np.ndarray], sets: Sets
) -> _Scored:
    digest, of_sets = hashlib.sha256(), hashlib.sha256()
    for name, fake in zip(pair.fakes, fakes, strict=True):
        digest.update(store.clip_sha256(name, fake))
    for word, answers in sorted(sets.items()):
        for name, answer in zip(pair.sets[word], answers, strict=True):
            of_sets.update(store.clip_sha256(name, answer))
    values: dict[str, list[np.ndarray]] = {}
    reached: dict[str, np.ndarray] = {}
    absent: dict[str, str] = {}
    compared = hashlib.sha256()
    for each in question.metrics:
        if each.compares_sets or each.reads_manifest or each.base in {*values, *absent, *question.failed}:
            continue
        try:
            if each.compares_tracks:
                values[each.base] = _of_tracks(question, each, pair, real, fakes, compared, reached)
            elif each.sets:
                values[each.base] = _of_answers(question, each, real, fakes, sets)
            else:
                cut = [fake[question.frames_of(each, len(fake))] for fake in fakes]
                values[each.base] = _values(question, each, real, cut)
        except _Absent as reason:
            absent[each.base] = str(reason)
        except VbenchError as error:
            absent[each.base] = _failure(question, each, error)
    seen = real if real is not None else fakes[0]
    real_sha256 = b"" if real is None else store.clip_sha256(str(pair.real), real)
    looks = look(fakes) if fakes else None, None if real is None else look([real])
    known = compared.digest(), of_sets.digest()
    return _Scored(pair, len(seen), digest.digest(), real_sha256, *looks, values, reached, absent, *known, {}, {})


def _values(question: Question, each: Metric, real: np.ndarray | None, fakes: list[np.ndarray]) -> list[np.ndarray]:
    """Return the values (T,) of each sample of a case that counts, or the one array of all of them together."""
    fakes = fakes[: _samples_of(question.protocol, each)]
    if each.compares_samples:
        return [each.values(fakes)] if fakes else []
    if real is None or not each.needs_pair:
        return [each.values(fake) for fake in fakes]
    return [each.values(real[question.real_frames_of(each, len(fake))], fake) for fake in fakes]


class _Absent(Exception):
    """Why a metric cannot be computed on some clip."""


def _failure(question: Question, each: Metric, error: VbenchError) -> str:
    """Say why a metric has no number, and ask no further clips for it; the others go on."""
    question.failed.add(each.base)
    return f"n/a: {error}"


def _of_answers(
    question: Question, each: Metric, real: np.ndarray | None, fakes: list[np.ndarray], sets: Sets
) -> list[np.ndarray]:
    """Return the values (T,) or rows (n, k) of each sample, from the last given frame and the predicted ones."""
    protocol = question.protocol
    if protocol is None or (lacking := [word for word in each.sets if word not in protocol.sets]):
        where = f"{protocol.id} does not ask for {lacking[0]}" if protocol else "this is scored without a protocol"
        raise _Absent(
            f"n/a: it compares the answers to {' and '.join(each.sets)}, and {where}; name a protocol that does"
        )
    if real is None or not fakes:
        return []
    if lacking := [word for word in each.sets if word not in sets]:
        reason = question.fake.manifest.get("absent_sets", {}).get(lacking[0], "")
        because = f" ({reason})" if isinstance(reason, str) and reason else ""
        raise _Absent(f"n/a: {question.fake.name} has no answers to {lacking[0]}{because}, which it compares")
    seen = slice(protocol.context - 1, protocol.context + protocol.predict)
    compute = each.module.collect if each.pools else each.module.values
    found = []
    for at, fake in enumerate(fakes):
        answers = {"": fake[seen], **{word: sets[word][at][seen] for word in each.sets}}
        found.append(compute(real[seen], answers, **each.options))
    return found


def _of_tracks(
    question: Question,
    each: Metric,
    pair: Pair,
    real: np.ndarray | None,
    fakes: list[np.ndarray],
    compared: Any,
    reached: dict[str, np.ndarray],
) -> list[np.ndarray]:
    """Return the values (T,) or rows (n, k) of each sample; the outputs' tracks go into the digest `compared`.

    Where the metric says what the real clip itself reaches, that goes into `reached`.
    """
    if pair.case and (pair.case.crop is not None or (question.protocol and question.protocol.resize)):
        raise _Absent("n/a: tracks are of whole frames, and this protocol cuts or scales them; score without it")
    if real is None or not fakes:
        return []
    of_real, of_fake = each.module.tracks(**each.options)
    optional = each.optional
    if question.protocol and question.protocol.control == "swap":  # what happened is not what was wanted
        of_fake, optional = (*of_fake, *optional), ()
    case = pair.case
    if case and case.step != 1 and INVERSE in of_fake:
        raise _Absent(f"n/a: actions are told from one frame to the next, and this protocol takes every {case.step}th")
    cut = (case.start, case.start + (case.length - 1) * case.step + 1, case.step) if case else (0, None, 1)
    assert pair.real is not None
    seen = question.real_frames_of(each, len(real))
    truth = _tracks(question, question.real, pair.real, of_real, cut, real, seen, each)
    compute = each.module.collect if each.pools else each.module.values
    if hasattr(each.module, "reached"):
        reached[each.base] = each.module.reached(truth, **each.options)
    found = []
    for name, frames in zip(pair.fakes, fakes, strict=True):
        seen = question.frames_of(each, len(frames))
        told = _tracks(question, question.fake, name, of_fake, (0, None, 1), frames, seen, each, optional)
        for word, track in sorted(told.items()):
            compared.update(f"{name} {word} {track.dtype.str} {track.shape}\0".encode() + track.tobytes())
        try:
            found.append(compute(truth, told, **each.options))
        except VbenchError as error:
            raise VbenchError(f'{each.token} of clip "{name}": {error}') from error
        if not each.pools and not len(found[-1]):
            raise _Absent(
                f"n/a: none of the scored frames of {name} has an entry of {of_fake[0]}; score later ones too"
            )
    return found


def _tracks(
    question: Question,
    source: Source,
    clip_id: str,
    names: Sequence[str],
    cut: tuple[int, int | None, int],
    clip: np.ndarray,
    frames: list[int],
    each: Metric,
    optional: Sequence[str] = (),
) -> known.Tracks:
    """Return the entries of some frames of the named tracks of a clip (T, H, W, 3), read from it or known of it."""
    wanted = [*(name for name in names if name not in (DETECTED, INVERSE, FLOW)), *optional]
    held = source.tracks_of(clip_id, wanted, *cut) if wanted else {}
    if lacking := [name for name in wanted if name not in held and name not in optional]:
        raise _Absent(
            f"n/a: {source.name} has no track {lacking[0]} of {clip_id}, which {each.base} compares; docs/store.md says "
            "how a model's clips and a store's carry tracks"
        )
    try:
        found = {name: known.of_frames(track, frames, len(clip)) for name, track in held.items()}
    except VbenchError as error:
        raise VbenchError(f'{source.name}, clip "{clip_id}": {error}') from error
    if DETECTED in names:
        assert each.features
        found[DETECTED] = networks.of(each.features, [clip[frames]])
    if INVERSE in names:
        found[INVERSE] = _inverse(question, each).read(clip[frames])
    if FLOW in names:
        from vbench_ctl.statistics import flow  # brings PyTorch

        along = networks.extractor(each.features).along if each.features else flow.along
        found[FLOW] = along(clip[frames])
    return found


def _inverse(question: Question, each: Metric) -> Inverse:
    """Return the network that learned to tell actions."""
    assert each.lesson
    found = question.inverses.get(each.lesson, f"{question.real.name} is no store with a training split to learn from")
    if isinstance(found, str):
        raise _Absent(f"n/a: {found}")
    return found


def _rows(
    question: Question, each: Metric, clips: Sequence[Clips], samples: int
) -> tuple[list[list[networks.Rows]], list[list[networks.Rows]]]:
    """Return the features of each pair's samples and of its window of the real set, none where there is nothing."""
    features = each.features
    assert features
    fakes = [[fake[question.frames_of(each, len(fake))] for fake in part[:samples]] for _, _, part, _ in clips]
    reals = [
        [real[question.real_frames_of(each, len(real))]]
        if real is not None and pair.counts_as_real and each.looks_at_reals
        else []
        for pair, real, *_ in clips
    ]
    return _shared_out(features, fakes), _shared_out(features, reals)


def _shared_out(features: Features, clips: list[list[np.ndarray]]) -> list[list[networks.Rows]]:
    """Compute the features of several lists of clips together; return where those of each clip lie."""
    flat = [clip for part in clips for clip in part]
    found = iter(networks.where(features, flat) if flat else [])
    return [[next(found) for _ in part] for part in clips]


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
    stats: Gaussian | None = None  # of the real set, where it is not there itself
    manifest: Mapping[str, Any] = field(default_factory=dict)  # of the outputs
    groups_of: int = 0  # clips of a group of set metrics that are computed by group; 0: all clips together

    def rows_of(self, metrics: Sequence[Metric], lacking: Mapping[Metric, str]) -> list[Row]:
        """Return the rows of metrics; those of the lacking ones say why."""
        return [self.absent(each, lacking[each]) if each in lacking else self.row(each) for each in metrics]

    def row(self, each: Metric) -> Row:
        """Return the row of a metric; one that fails says why, and the others stand."""
        if reasons := [clip.absent[each.base] for clip in self.scored if each.base in clip.absent]:
            return self.absent(each, reasons[0])
        try:
            return self._computed(each)
        except VbenchError as error:
            return self.absent(each, f"n/a: {error}")

    def _computed(self, each: Metric) -> Row:
        if each.reads_manifest:
            return self._of_manifest(each)
        scores = self._of_sets if each.compares_sets else self._of_pool if each.pools else self._of_clips
        found = [
            scores(each, [clip for clip in self.scored if clip.pair.fakes and clip.pair.run == run])
            for run in range(self.protocol.runs if self.protocol else 1)
        ]
        missing = next((row for row in found if row.value is None), None)
        row = found[0] if len(found) == 1 else missing or _over_runs(found)
        return replace(row, floor=self._floor(each)) if self._has_reals(each) else row

    def _has_reals(self, each: Metric) -> bool:
        """Tell whether a metric compares with a set of real clips that is there itself."""
        return each.compares_sets and each.looks_at_reals and self.stats is None

    def _groups_of(self, each: Metric) -> int:
        return self.groups_of if hasattr(each.module, "ENOUGH") else 0

    def absent(self, each: Metric, reason: str) -> Row:
        """Return the row of a metric that cannot be computed here."""
        return self._finished(each, Estimate(None), 0, "", note=reason)

    def _of_manifest(self, each: Metric) -> Row:
        value, note, where = each.module.read(self.manifest, **each.options)
        clips = sum(bool(clip.pair.fakes) for clip in self.scored)
        return self._finished(each, Estimate(value), 1 if where else 0, f"{clips}x1" if where else "", note, where)

    def _of_clips(self, each: Metric, answered: list[_Scored]) -> Row:
        answered = answered[: self._whole(each, len(answered), "clips")]
        samples = _samples_of(self.protocol, each)
        aggregate = self._aggregate(each)
        curves = [_curve(clip.values[each.base][:samples], aggregate, each.direction) for clip in answered]
        clusters = [_cluster(clip) for clip in answered]
        values = np.array([curve.mean() for curve in curves])
        frames = sum(map(len, curves))
        if (kept := self._whole(each, frames, "frames")) < frames:  # each frame counts alike, the last clip is cut
            clusters = [name for name, curve in zip(clusters, curves, strict=True) for _ in curve][:kept]
            values = np.concatenate(curves)[:kept]
        low, high = bootstrap_mean(values, clusters) or (None, None)
        chosen = f":{aggregate}" if samples > 1 and not each.compares_samples else ""
        alike = len({len(curve) for curve in curves}) == 1
        over_time = np.mean(curves, axis=0) if alike else None
        estimate = Estimate(float(np.mean(values)), low, high, curve=over_time)
        reached = [clip.reached[each.base] for clip in answered if each.base in clip.reached]
        note = f"real clips reach {np.concatenate(reached).mean():.4f}" if reached else ""
        return self._finished(each, estimate, len(answered), f"{len(answered)}x{samples}{chosen}", note)

    def _of_pool(self, each: Metric, answered: list[_Scored]) -> Row:
        samples = _samples_of(self.protocol, each)
        videos: dict[str, list[np.ndarray]] = {}
        for clip in answered:
            videos.setdefault(_cluster(clip), []).extend(clip.values[each.base][:samples])
        parts = [np.concatenate(held) for held in videos.values()]
        note = each.module.note(parts, **each.options)
        value = each.module.pooled(parts, **each.options)
        if np.isnan(value):
            return self.absent(each, f"n/a: {note}")
        again = draws(len(parts), RESAMPLES) if len(parts) > 1 else ()
        drawn = [each.module.pooled([parts[at] for at in chosen], **each.options) for chosen in again]
        drawn = [one for one in drawn if not np.isnan(one)]  # where nothing was left to compare
        found = basic(value, drawn) if len(drawn) > 1 else Estimate(value)
        if found.low is not None:
            least, most = getattr(each.module, "RANGE", (-np.inf, np.inf))
            found = found._replace(low=max(found.low, least), high=min(found.high, most))
        row = self._finished(each, found, len(answered), f"{len(answered)}x{samples}", note=note)
        tables = getattr(each.module, "details", None)
        return replace(row, details=tables(parts, **each.options)) if tables else row

    def _of_sets(self, each: Metric, answered: list[_Scored]) -> Row:
        answered = answered[: self._whole(each, len(answered), "clips")]
        reals = self._reals(each) if self._has_reals(each) else []
        real_rows: Any = self.stats
        if self._has_reals(each):
            real_rows, _ = self._gathered(each, reals, [clip.real_rows for clip in reals], "real")
        fake_rows, clusters = self._gathered(each, answered, [clip.fake_rows for clip in answered], "generated")
        groups = self._groups_of(each)
        estimate = each.module.estimate(real_rows, fake_rows, clusters, groups, **each.options)
        samples = _samples_of(self.protocol, each)
        against = f"/{len(reals)}" if reals and len(reals) != len(answered) else ""
        grouped = f":{groups}" if groups else ""
        note = "; ".join(filter(None, (_unlike(each, answered, reals), _few(each, len(answered), len(reals)))))
        return self._finished(each, estimate, len(answered), f"{len(answered)}x{samples}{against}{grouped}", note=note)

    def _reals(self, each: Metric) -> list[_Scored]:
        reals = [clip for clip in self.scored if clip.real_rows[each.token]]
        return reals[: self._whole(each, len(reals), "clips")]

    def _gathered(
        self, each: Metric, clips: list[_Scored], rows: list[dict[str, list[networks.Rows]]], which: str
    ) -> tuple[np.ndarray, list[str]]:
        """Return the features (N, ...) of some clips and the cluster of each row, less what a release leaves out."""
        if not clips:
            raise VbenchError(f"{each.token}: there are no {which} clips to compare")
        parts = [(clip, part) for clip, held in zip(clips, rows, strict=True) for part in held[each.token]]
        together = networks.gathered([part for _, part in parts])
        clusters = [_cluster(clip) for clip, part in parts for _ in range(part.length)]
        check_rows(together.reshape(len(together), -1), f"the {which} features", ids=clusters)
        kept = self._whole(each, len(together), "frames")
        return together[:kept], clusters[:kept]

    def _whole(self, each: Metric, count: int, unit: str) -> int:
        """Return how many of the clips or frames count: a release may leave out the last incomplete batch."""
        number, counted = (self.protocol and self.protocol.batch_of(each.listed)) or (1, "")
        if counted != unit:
            return count
        if count < number:
            raise VbenchError(f"{each.token}: {count} {unit} make no batch of {number}, the least of {self.where}")
        return count // number * number

    def _floor(self, each: Metric) -> float | None:
        """Return the score of one random half of the real clips against the other: what no model can be told from.

        Where the score is one of groups, so is this, and what fills none is left out.
        """
        reals, groups = self._reals(each), self._groups_of(each)
        if len(reals) < max(4, 2 * groups):
            return None
        order = np.random.default_rng(0).permutation(len(reals))
        halves = [order[: len(order) // 2], order[len(order) // 2 :]]
        if groups:
            halves = [half[: len(order) // 2 // groups * groups] for half in halves]
        a, b = (
            networks.gathered([part for at in np.sort(half) for part in reals[at].real_rows[each.token]])
            for half in halves
        )
        try:  # all of one cluster: no interval is asked for
            return float(each.module.estimate(a, b, [""] * len(b), groups, **each.options).value)
        except VbenchError:  # half of the clips are too few for this metric
            return None

    @functools.cached_property
    def _doubts(self) -> list[str]:
        fakes = [clip.fake_look for clip in self.scored if clip.fake_look]
        return doubts(fakes, [clip.real_look for clip in self.scored if clip.real_look])

    def _aggregate(self, each: Metric) -> str:
        if each.aggregate:
            return each.aggregate
        return self.protocol.aggregate if self.protocol and each.needs_pair else "mean"  # without a partner no best

    def _finished(self, each: Metric, found: Estimate, n: int, count: str, note: str = "", where: str = "") -> Row:
        lengths = {clip.frames for clip in self.scored}
        frames = len(self.protocol.frames_of(each.listed)) if self.protocol else max(lengths)
        frames = 1 + self.protocol.predict if self.protocol and each.sets else frames
        span = f"{frames if self.protocol else _span(lengths)}f"
        network = networks.identity(each.features) if each.features and found.value is not None else ""
        computation = _computation(each, self.protocol, self.lossy) + (f",{where}" if where else "")
        runs = f":{self.protocol.runs}runs" if self.protocol and self.protocol.runs > 1 else ""
        notes = [note, found.note, *self._doubts]
        variant = each.base.partition("-")[2]  # with the hash of weights of the user's own
        return Row(
            metric=each.token,
            value=found.value,
            low=found.low,
            high=found.high,
            direction=each.direction,
            n=n,
            protocol=self.where,
            signature=signature(each.name, variant, network, span, count + runs, computation, each.module.VERSION),
            model=self.model,
            unit=each.module.UNIT,
            dataset=self.protocol.dataset if self.protocol else "",
            note="; ".join(filter(None, notes)),
            per_frame=[] if found.curve is None else [float(value) for value in found.curve],
            provenance=self.provenance,
        )


def _few(each: Metric, fakes: int, reals: int) -> str:
    """Say that there are too few clips on either side; the samples of one case do not count as clips."""
    least, which = min((reals, "real clips"), (fakes, "clips")) if reals else (fakes, "clips")
    enough = getattr(each.module, "ENOUGH", 0)
    return f"only {least} {which}: below {enough} it is biased upwards" if least < enough else ""


def _unlike(each: Metric, fakes: Sequence[_Scored], reals: Sequence[_Scored]) -> str:
    """Say that whole generated and real clips are compared which differ in length."""
    made, real = ({clip.frames for clip in clips if not clip.pair.case} for clips in (fakes, reals))
    if not made or not real or made == real or (each.features and each.features.per == "frame"):
        return ""
    return f"the generated clips have {_span(made)} frames and the real ones {_span(real)}; cut them to one length"


def _span(lengths: set[int]) -> str:
    return str(min(lengths)) if len(lengths) == 1 else f"{min(lengths)}-{max(lengths)}"


def _curve(samples: list[np.ndarray], aggregate: str, direction: str) -> np.ndarray:
    """Return the values (T,) of a case: the mean of its samples, or the one whose mean over time is best or worst."""
    if aggregate == "mean":
        return np.mean(samples, axis=0)
    means = [float(values.mean()) for values in samples]
    highest = (aggregate == "best") == (direction == "higher")
    return samples[means.index(max(means) if highest else min(means))]


def _over_runs(found: list[Row]) -> Row:
    """Return the mean of a row per run; its interval is their standard deviation."""
    values = np.array([row.value for row in found])
    mean, spread = float(values.mean()), float(values.std(ddof=1))
    each = ", ".join(f"{value:.6g}" for value in values)
    note = f"mean of {len(found)} runs ({each}), plus and minus their standard deviation"
    return replace(
        found[0],
        value=mean,
        low=mean - spread,
        high=mean + spread,
        note="; ".join(filter(None, (note, found[0].note))),
        per_frame=[float(value) for value in np.mean([row.per_frame for row in found], axis=0)],
        provenance={**found[0].provenance, "runs": values.tolist()},
    )


def _cluster(clip: _Scored) -> str:
    """Return what a clip is not independent of: the video it comes from."""
    return clip.pair.real or clip.pair.fakes[0]
