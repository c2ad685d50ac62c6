"""From what each metric says of each clip to its row: pool or average, with an interval, a floor and a signature."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from vbench_ctl import networks
from vbench_ctl.doubts import doubts
from vbench_ctl.errors import VbenchError
from vbench_ctl.measuring import Scored
from vbench_ctl.protocols import Protocol
from vbench_ctl.rows import Row, signature
from vbench_ctl.statistics import check_rows
from vbench_ctl.statistics.moments import Gaussian
from vbench_ctl.statistics.resampling import Estimate, basic, bootstrap_mean, draws
from vbench_ctl.tokens import Metric, computation

RESAMPLES = 200  # of the bootstrap of metrics that pool what all clips say


@dataclass(frozen=True)
class Outcome:
    """Everything that was computed, ready to be told metric by metric."""

    protocol: Protocol | None
    scored: list[Scored]
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

    def _of_clips(self, each: Metric, answered: list[Scored]) -> Row:
        answered = answered[: self._whole(each, len(answered), "clips")]
        samples = each.samples_of(self.protocol)
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

    def _of_pool(self, each: Metric, answered: list[Scored]) -> Row:
        samples = each.samples_of(self.protocol)
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

    def _of_sets(self, each: Metric, answered: list[Scored]) -> Row:
        answered = answered[: self._whole(each, len(answered), "clips")]
        reals = self._reals(each) if self._has_reals(each) else []
        real_rows: Any = self.stats
        if self._has_reals(each):
            real_rows, _ = self._gathered(each, reals, [clip.real_rows for clip in reals], "real")
        fake_rows, clusters = self._gathered(each, answered, [clip.fake_rows for clip in answered], "generated")
        groups = self._groups_of(each)
        estimate = each.module.estimate(real_rows, fake_rows, clusters, groups, **each.options)
        samples = each.samples_of(self.protocol)
        against = f"/{len(reals)}" if reals and len(reals) != len(answered) else ""
        grouped = f":{groups}" if groups else ""
        uneven = (
            f"{len(answered)} generated clips against {len(reals)} real ones" if against and not self.protocol else ""
        )
        note = "; ".join(filter(None, (uneven, _unlike(each, answered, reals), _few(each, len(answered), len(reals)))))
        return self._finished(each, estimate, len(answered), f"{len(answered)}x{samples}{against}{grouped}", note=note)

    def _reals(self, each: Metric) -> list[Scored]:
        reals = [clip for clip in self.scored if clip.real_rows[each.token]]
        return reals[: self._whole(each, len(reals), "clips")]

    def _gathered(
        self, each: Metric, clips: list[Scored], rows: list[dict[str, list[networks.Rows]]], which: str
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
        if not all(np.isfinite(value) for value in (found.value, found.low, found.high) if value is not None):
            raise VbenchError(f"{each.token} came out as {found.value} [{found.low}, {found.high}], which is no number")
        lengths = {clip.frames for clip in self.scored}
        frames = len(self.protocol.frames_of(each.listed)) if self.protocol else max(lengths)
        frames = 1 + self.protocol.predict if self.protocol and each.sets else frames
        span = f"{frames if self.protocol else _span(lengths)}f"
        network = networks.identity(each.features) if each.features and found.value is not None else ""
        computed = computation(each, self.protocol, self.lossy) + (f",{where}" if where else "")
        runs = f":{self.protocol.runs}runs" if self.protocol and self.protocol.runs > 1 else ""
        notes = [note, found.note, _cut(each, frames), *self._doubts]
        variant = each.base.partition("-")[2]  # with the hash of weights of the user's own
        return Row(
            metric=each.token,
            value=found.value,
            low=found.low,
            high=found.high,
            direction=each.direction,
            n=n,
            protocol=self.where,
            signature=signature(each.name, variant, network, span, count + runs, computed, each.module.VERSION),
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


def _cut(each: Metric, frames: int) -> str:
    """Say that a network sees fewer frames than the clips have, and which."""
    seen, which = each.window or (frames, "")
    return f"of the {frames} frames the {which} {seen} are scored" if seen < frames else ""


def _unlike(each: Metric, fakes: Sequence[Scored], reals: Sequence[Scored]) -> str:
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


def _cluster(clip: Scored) -> str:
    """Return what a clip is not independent of: the video it comes from."""
    return clip.pair.real or clip.pair.fakes[0]
