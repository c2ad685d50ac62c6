"""From clips to rows: pair generated clips with real ones, compute each metric per clip, average, and say how."""

import functools
import hashlib
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from vbench_ctl import execute, files, inverse, measuring, networks, pairing, provenance, rows, tokens
from vbench_ctl.controls import HEEDED
from vbench_ctl.errors import UsageError, VbenchError
from vbench_ctl.fetch import digest
from vbench_ctl.inverse import Inverse, Lesson, Unlearnable
from vbench_ctl.measuring import Scored
from vbench_ctl.networks import AUTO, Place
from vbench_ctl.outcome import Outcome
from vbench_ctl.presets import Coding, Preset
from vbench_ctl.progress import progress
from vbench_ctl.protocols import Protocol, check_made
from vbench_ctl.rows import Row
from vbench_ctl.sources import Source, StoreSource
from vbench_ctl.statistics import moments
from vbench_ctl.statistics.moments import Gaussian
from vbench_ctl.tokens import Metric


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
    chosen = tuple(dict.fromkeys(tokens.metric(token) for token in metrics or tokens.default_metrics(protocol)))
    stats = _stats(real_stats, protocol, chosen) if real_stats else None
    place = networks.settled(place, chosen)
    place = replace(place, device=execute.known_there(place.device, workers))
    lacking = tokens.unavailable(chosen)
    able = tuple(each for each in chosen if each not in lacking)
    lossy = _check_lossy(protocol, fake, real, allow_lossy)
    codings = _codings(preset, protocol, fake, real)
    lossy += "".join(f",{whose}{coding}" for whose, coding in zip(("", "real-"), codings, strict=True) if coding)
    stats_sha256 = digest(real_stats) if real_stats else ""
    lossy += f",real-stats-{stats_sha256[:8]}" if real_stats else ""
    if protocol:
        _check_protocol(protocol, fake)
    tokens.check_aggregates(protocol, able)
    pairs = pairing.pairs(protocol, real, fake, alone=not any(each.compares_cases for each in able))
    if like:
        answered = sum(bool(pair.fakes) for pair in pairs if pair.run == 0)
        tokens.check_beforehand(chosen[0], like, protocol, lossy, answered)
    chunks = measuring.chunked(pairs)
    results: list[Any] = [None] * len(chunks)
    with networks.undisturbed_by(able):
        inverses = _inverses(able, real, place)
    question = measuring.Question(fake, real, protocol, able, place, inverses, codings)
    decode, answer = (functools.partial(step, question) for step in (measuring.decode_chunk, measuring.score_chunk))
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
    if codings[0]:
        facts["coded"] = str(codings[0])
    if any(each.sets for each in able):
        facts["sets_sha256"] = hashlib.sha256(b"".join(clip.sets_sha256 for clip in scored)).hexdigest()
    if any(each.compares_tracks for each in able):
        facts["tracks_sha256"] = hashlib.sha256(b"".join(clip.tracks_sha256 for clip in scored)).hexdigest()
    name = model or str(fake.manifest.get("model") or fake.name)
    where = protocol.id if protocol else f"{real.name}:{facts['real_sha256'][:8]}"
    if real_stats:
        facts["real_sha256"] = stats_sha256
    groups_of = protocol.groups_of if protocol else preset.groups_of if preset else 0
    outcome = Outcome(protocol, scored, where, name, lossy, facts, stats, fake.manifest, groups_of)
    return outcome.rows_of(chosen, lacking)


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


def real_sha256(real: Source, scored: Sequence[Scored]) -> str:
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
