"""Metrics by token: "ssim", "ssim-glass" for a named variant, "ssim@best" for the best sample of each case."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

import numpy as np

from vbench_ctl import networks, registry, rows
from vbench_ctl.errors import UsageError, VbenchError, unknown
from vbench_ctl.inverse import Lesson
from vbench_ctl.networks import Features
from vbench_ctl.protocols import Protocol
from vbench_ctl.rows import Row

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

    def values(self, *clips: Any, frames: int = 0) -> np.ndarray:
        """Return the values (T,) of one clip, or of the list of a case's samples, of so many frames if that is known."""
        compute = self.module.collect if self.pools else self.module.values
        with_own = {"network": self.features} if self.own else {}
        found = compute(*clips, **self.options, **with_own)
        if wrong := self._fault(found, frames):
            raise VbenchError(f"{self.base} gave {wrong}, expected finite numbers, one for each frame")
        return found

    def _fault(self, found: Any, frames: int) -> str:
        """Show what cannot be values; nothing if they can."""
        fits = isinstance(found, np.ndarray) and found.dtype.kind in "biuf"
        if fits and self.pools:
            return ""
        if not fits or found.ndim != 1 or not np.isfinite(found).all() or not (found.size or self.compares_tracks):
            return " ".join(f"{found!r}".split())[:80]
        steps = (frames - 1,) if self.module.NEEDS == "fake" else ()  # from frame to frame
        return f"{len(found)} values of {frames} frames" if frames and len(found) not in (1, frames, *steps) else ""

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
    def window(self) -> tuple[int, str] | None:
        """Return how many frames of a longer clip its network sees, and which, where it does not see all."""
        wanted = getattr(self.module, "window", None)
        return wanted(**self.options) if wanted else None

    def samples_of(self, protocol: Protocol | None) -> int:
        """Return how many samples of a case it takes."""
        return protocol.samples_of(self.listed) if protocol else 1

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
    name = base if base in registry.names("metrics") else name  # a plugin's with a dash, which is refused
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


def split(text: str) -> list[str]:
    """Return the metrics that a text such as "fvd,psnr" names."""
    return [token for token in map(str.strip, text.split(",")) if token]


def token_like(wanted: str) -> str:
    """Return the metric that a signature names, if this version computes it as the signature says."""
    parts = _fields(wanted)
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
    if differing := rows.difference(_in_our_words(wanted), row.signature):
        raise VbenchError(f"{row.metric} comes out as {row.signature}, which differs in {differing}")


def check_beforehand(each: Metric, wanted: str, protocol: Protocol | None, lossy: str, clips: int) -> None:
    """Refuse what cannot come out as a signature says, by the network, the clips and the computation, all known before."""
    if reason := networks.missing(each.features) if each.features else "":
        raise VbenchError(reason)
    fields = _in_our_words(wanted).split("|")
    fields[2] = networks.identity(each.features) if each.features else "-"
    number, times, samples = fields[4].partition("x")
    if number.isdigit() and not (protocol and protocol.batch_of(each.listed)):  # which may leave some out
        fields[4] = f"{clips}{times}{samples}"
    if not each.reads_manifest:  # which says more of the computation
        fields[5] = computation(each, protocol, lossy)
    if differing := rows.difference(_in_our_words(wanted), "|".join(fields)):
        raise VbenchError(f"{each.token} would differ from that signature in {differing}")


def _in_our_words(wanted: str) -> str:
    """Return a signature that says its pipeline in the variant alone, "fvd|tf|...|ddof1|v1", as this version writes it."""
    fields, ours = _fields(wanted), metric(token_like(wanted))
    pipeline = fields[1].removesuffix(f"-{ours.own}")
    fields[1] = ours.base.partition("-")[2] or "default"
    if ours.module.signature(**ours.options).startswith(f"{pipeline},"):
        fields[5] = f"{pipeline},{fields[5].removeprefix(f'{pipeline},')}"
    return "|".join(fields)


def _fields(signature: str) -> list[str]:
    return [field.strip() for field in signature.split("|")]


def computation(each: Metric, protocol: Protocol | None, lossy: str) -> str:
    """Return what a signature says of the computation."""
    square = f",square{protocol.resize}" if protocol and protocol.resize else ""
    return each.module.signature(**each.options) + square + networks.remark(each.features) + lossy


def is_known(token: str) -> bool:
    """Tell whether this version can compute a metric that a protocol names."""
    try:
        return bool(metric(token))
    except UsageError:
        return False


def unavailable(metrics: Sequence[Metric]) -> dict[Metric, str]:
    """Return why metrics cannot be had here, of those whose network is not."""
    reasons = {each: networks.missing(each.features) for each in metrics if each.features}
    return {each: reason for each, reason in reasons.items() if reason}


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


def check_aggregates(protocol: Protocol | None, metrics: Sequence[Metric]) -> None:
    """Refuse to choose among samples where there is one."""
    for each in metrics:
        if each.aggregate and each.samples_of(protocol) == 1:
            where = protocol.id if protocol else "scoring without a protocol"
            raise UsageError(f"{each.token}: {where} uses 1 sample per case, so none is chosen; ask for {each.base}")
