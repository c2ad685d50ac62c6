"""What each metric says of each clip: decode the clips of some pairs once, and keep values and features, no pixels."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vbench_ctl import networks, pairing, shards
from vbench_ctl import tracks as known
from vbench_ctl.doubts import Look, look
from vbench_ctl.errors import VbenchError
from vbench_ctl.inverse import Inverse, Lesson
from vbench_ctl.networks import Features, Place
from vbench_ctl.pairing import Pair
from vbench_ctl.presets import Coding
from vbench_ctl.protocols import Protocol
from vbench_ctl.sources import Source
from vbench_ctl.tokens import Metric
from vbench_ctl.tracks import DETECTED, FLOW, INVERSE

CHUNK = 8  # clips of one work item, or the samples of one case


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
class Scored:
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


def score_chunk(question: Question, clips: Sequence[Clips]) -> list[Scored]:
    """Compute each metric on the clips of some pairs, and run each network once on them."""
    networks.use(question.place)
    with networks.undisturbed_by(question.metrics):
        return _score_chunk(question, clips)


def _score_chunk(question: Question, clips: Sequence[Clips]) -> list[Scored]:
    scored = [_score_pair(question, *each) for each in clips]
    done: dict[Any, tuple[list[list[networks.Rows]], list[list[networks.Rows]]]] = {}
    for each in question.metrics:
        if each.compares_sets and each.features and each.base not in question.failed:
            length = question.protocol.length if question.protocol else 0
            samples = each.samples_of(question.protocol)
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


def _score_pair(question: Question, pair: Pair, real: np.ndarray | None, fakes: list[np.ndarray], sets: Sets) -> Scored:
    digest, of_sets = hashlib.sha256(), hashlib.sha256()
    for name, fake in zip(pair.fakes, fakes, strict=True):
        digest.update(shards.clip_sha256(name, fake))
    for word, answers in sorted(sets.items()):
        for name, answer in zip(pair.sets[word], answers, strict=True):
            of_sets.update(shards.clip_sha256(name, answer))
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
    real_sha256 = b"" if real is None else shards.clip_sha256(str(pair.real), real)
    looks = look(fakes) if fakes else None, None if real is None else look([real])
    known = compared.digest(), of_sets.digest()
    return Scored(pair, len(seen), digest.digest(), real_sha256, *looks, values, reached, absent, *known, {}, {})


def _values(question: Question, each: Metric, real: np.ndarray | None, fakes: list[np.ndarray]) -> list[np.ndarray]:
    """Return the values (T,) of each sample of a case that counts, or the one array of all of them together."""
    fakes = fakes[: each.samples_of(question.protocol)]
    if each.compares_samples:
        return [each.values(fakes, frames=len(fakes[0]))] if fakes else []
    if real is None or not each.needs_pair:
        return [each.values(fake, frames=len(fake)) for fake in fakes]
    reals = [real[question.real_frames_of(each, len(fake))] for fake in fakes]
    return [each.values(*pair, frames=len(pair[1])) for pair in zip(reals, fakes, strict=True)]


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
    found = []
    for at, fake in enumerate(fakes):
        answers = {"": fake[seen], **{word: sets[word][at][seen] for word in each.sets}}
        found.append(each.values(real[seen], answers))
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
    if hasattr(each.module, "reached"):
        reached[each.base] = each.module.reached(truth, **each.options)
    found = []
    for name, frames in zip(pair.fakes, fakes, strict=True):
        seen = question.frames_of(each, len(frames))
        told = _tracks(question, question.fake, name, of_fake, (0, None, 1), frames, seen, each, optional)
        for word, track in sorted(told.items()):
            compared.update(f"{name} {word} {track.dtype.str} {track.shape}\0".encode() + track.tobytes())
        try:
            found.append(each.values(truth, told))
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
