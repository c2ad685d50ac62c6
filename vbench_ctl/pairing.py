"""Which generated clips answer which window of which real clip."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vbench_ctl import protocols, store
from vbench_ctl.errors import UsageError, VbenchError
from vbench_ctl.protocols import Case, Protocol
from vbench_ctl.remote import Url
from vbench_ctl.sources import Source, StoreSource, open_source


@dataclass(frozen=True)
class Pair:
    """The generated samples of one case and the window of the real clip they answer; no case means whole clips.

    Where a metric compares two sets, either side may stand alone: no real clip, or no samples.
    """

    real: str | None
    fakes: tuple[str, ...]
    case: Case | None = None
    counts_as_real: bool = True  # the window belongs to the real set
    run: int = 0  # which of the protocol's runs the samples belong to
    sets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # the same many samples of each set there is


def pairs(protocol: Protocol | None, real: Source, fake: Source, alone: bool) -> list[Pair]:
    """Pair real and generated clips; `alone` says that no metric compares clip with clip, so sets need not match."""
    if not protocol:
        if not alone:
            return pair_by_name(real, fake)
        return [Pair(None, (name,)) for name in fake.ids] + [Pair(name, ()) for name in real.ids]
    if protocol.unconditional and not alone:
        raise VbenchError(f"{protocol.id} gives no frames, so no metric can compare clip with clip; leave those out")
    paired = pair_by_protocol(protocol, real, fake)
    if (protocol.unconditional or protocol.reals) and real.ids:
        paired += [Pair(case.clip, (), case) for case in protocols.real_cases(protocol, lengths(real))]
    return paired


def pair_by_name(real: Source, fake: Source) -> list[Pair]:
    """Pair clips of the same id; a clip that only one side has is an error."""
    _complain_about_strays(set(real.ids), set(fake.ids), f"the real set {real.name}", f"the outputs {fake.name}")
    return [Pair(clip_id, (clip_id,)) for clip_id in real.ids]


def pair_by_protocol(protocol: Protocol, real: Source, fake: Source) -> list[Pair]:
    """Pair each case of a protocol with its samples in an outputs folder.

    Clips are named "<clip id>@<start>#<sample>"; "#0" may be left out where there is one sample per case, and
    "@<start>" where there is one window per clip. The samples of the second run are numbered on from the first's.
    Those of a set end in "~<set>"; a whole set may be left out.
    """
    if protocol.unconditional:
        return _unconditional(protocol, fake)
    wanted = cases(protocol, real)
    windows = Counter(case.clip for case in wanted)
    held = set(fake.ids)
    sets = ["", *(word for word in protocol.sets if any(name.endswith(f"~{word}") for name in held))]
    pairs, used, missing = [], set(), []
    for case in wanted:
        stems = [case.key] + ([case.clip] if windows[case.clip] == 1 else [])
        found: dict[str, list[str]] = {word: [] for word in sets}
        for word in sets:
            for names in _answers(stems, protocol, word):
                name = next((name for name in names if name in held and name not in used), None)
                if name is None:
                    missing.append(names[0])
                else:
                    found[word].append(name)
            used.update(found[word])
        for run in range(protocol.runs):
            cut = slice(run * protocol.samples, (run + 1) * protocol.samples)
            parts = {word: tuple(names[cut]) for word, names in found.items()}
            pairs.append(Pair(case.clip, parts.pop(""), case, protocol.reals is None and not run, run, parts))
    if missing:
        raise VbenchError(
            f"{fake.name}: {len(missing)} of the {len(wanted) * protocol.answers * len(sets)} clips that {protocol.id} asks for are "
            f'missing, the first is "{missing[0]}"'
        )
    if held - used:
        raise VbenchError(
            f"{fake.name}: {len(held - used)} clips that {protocol.id} does not know, "
            f'such as "{min(held - used)}"; remove them or choose another protocol'
        )
    return pairs


def answer_name(key: str, sample: int, word: str = "") -> str:
    """Return the name of an answer to a case, or to the case of a set."""
    return f"{key}#{sample}" + (f"~{word}" if word else "")


def _answers(stems: Sequence[str], protocol: Protocol, word: str) -> list[list[str]]:
    """Return the names that each answer to a case may have."""
    bare = [f"{stem}~{word}" if word else stem for stem in stems] if protocol.answers == 1 else []
    return [[answer_name(stem, sample, word) for stem in stems] + bare for sample in range(protocol.answers)]


def _unconditional(protocol: Protocol, fake: Source) -> list[Pair]:
    """Take any clips, as many as the protocol asks for."""
    if len(fake.ids) != protocol.answers:
        raise VbenchError(f"{fake.name}: {len(fake.ids)} clips, {protocol.id} asks for {protocol.answers}")
    return [Pair(None, (name,), run=index // protocol.generated) for index, name in enumerate(fake.ids)]


def _complain_about_strays(real: set[str], fake: set[str], real_name: str, fake_name: str) -> None:
    for here, there, has, lacks in ((real, fake, real_name, fake_name), (fake, real, fake_name, real_name)):
        strays = sorted(here - there)
        if strays:
            raise VbenchError(
                f'{len(strays)} clips of {has} have no partner in {lacks}, the first is "{strays[0]}"; '
                "clips are paired by their path without suffix"
            )


# Real clips


def cases(protocol: Protocol, real: Source) -> list[Case]:
    """Return the cases of a protocol on a real set."""
    try:
        return protocols.cases(protocol, lengths(real))
    except VbenchError as error:
        if isinstance(real, StoreSource):
            raise
        raise VbenchError(f"the real clips that were given: {error}, or give all of them") from error


def lengths(real: Source) -> list[tuple[str, int]]:
    """Return id and number of frames of each clip."""
    return [(clip_id, real.length(clip_id)) for clip_id in real.ids]


def find_real(protocol: Protocol, root: str | Path | None = None) -> StoreSource:
    """Open the store that a protocol is defined on, its newest version."""
    folder = store.newest(protocol.dataset, protocol.variant, protocol.split, root)
    return StoreSource(store.Store(folder, protocol.split))


def open_real(path: str | Path | Url, protocol: Protocol | None, split: str | None = None) -> Source:
    """Open the real set; with a protocol a store must be of its dataset and variant."""
    real = open_source(path, protocol.split if protocol else split)
    check_split(real, split)
    if protocol and isinstance(real, StoreSource):
        held = real.manifest["dataset"], real.manifest["variant"]
        if held != (protocol.dataset, protocol.variant):
            raise UsageError(
                f"{path} is {' '.join(held)}, but {protocol.id} is defined on {protocol.dataset} {protocol.variant}"
            )
    return real


def check_split(real: Source, split: str | None) -> None:
    """Refuse to ask clips that are no store for a split."""
    if split and not isinstance(real, StoreSource):
        raise UsageError(f"{real.name}: no store, and so without splits; leave the split out")


def real_window(real: Source, pair: Pair) -> np.ndarray:
    """Return the real frames of a case: uint8 (T, H, W, 3)."""
    case = pair.case
    if case is None:
        assert pair.real is not None
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


def scaled(frames: np.ndarray, side: int) -> np.ndarray:
    """Cut the middle square of uint8 frames (T, H, W, 3) and scale it to `side`: bilinear, without antialiasing."""
    from vbench_ctl.resize import pictures  # brings PyTorch, which few protocols need here

    return pictures(square(frames, 0.5), (side, side), "torch_half_pixel")


# Whole clips


def whole(fake: np.ndarray, real: np.ndarray | None, protocol: Protocol | None, name: str) -> np.ndarray:
    """Check a generated clip, and put the given frames around it where the model wrote only its own."""
    if real is None:
        if protocol and len(fake) != protocol.length:
            raise VbenchError(f'clip "{name}" has {len(fake)} frames, {protocol.id} asks for {protocol.length}')
        return fake
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
    if predicted.shape[1:] != real.shape[1:]:
        raise VbenchError(
            f"frames came out as {predicted.shape[1:]}, the given ones are {real.shape[1:]}; make them alike"
        )
    return np.concatenate([real[: protocol.context], predicted, real[protocol.length - protocol.ending :]])
