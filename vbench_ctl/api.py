"""Scores from inside somebody's program: one call on two sets, or an object that is fed batch by batch."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vbench_ctl import networks, pairing, protocols, scoring, sources
from vbench_ctl.errors import VbenchError
from vbench_ctl.networks import Place
from vbench_ctl.rows import Row, table

__all__ = ["Scores", "score", "table"]


def score(
    fake: Any,
    real: Any,
    metrics: Sequence[str] = (),
    protocol: str | None = None,
    split: str | None = None,
    model: str | None = None,
    device: str = "auto",
    root: str | Path | None = None,
    workers: int = 1,
    backend: str = "torch",
) -> list[Row]:
    """Score generated clips against real ones: arrays or tensors (N, T, H, W, 3) uint8, paths, or clips one by one.

    With `workers` above 1 the calling script needs `if __name__ == "__main__":`, as everywhere in Python.
    """
    named = protocols.load(protocol) if protocol else None
    return scoring.score(
        sources.as_source(fake, "the generated clips"),
        sources.as_source(real, "the real clips", named.split if named else split),
        named,
        metrics,
        model,
        workers=workers,
        place=Place(str(root) if root else None, device, backend),
    )


class Scores:
    """Scores that are fed batch by batch, as in a training loop, and keep no pixels: update, compute, reset."""

    def __init__(
        self, metrics: Sequence[str], device: str = "auto", root: str | Path | None = None, backend: str = "torch"
    ) -> None:
        self.metrics = tuple(scoring.metric(token) for token in metrics)
        scoring.check_aggregates(None, self.metrics)
        self.place = networks.settled(Place(str(root) if root else None, device, backend), self.metrics)
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._scored: list[Any] = []
        self._fakes = self._reals = 0

    def update(self, fake: Any, real: Any) -> None:
        """Add generated and real clips; metrics that compare clip with clip take them as pairs, in this order."""
        fakes = sources.as_source(fake, "the generated clips", first=self._fakes)
        reals = sources.as_source(real, "the real clips", first=self._reals)
        if any(each.compares_cases for each in self.metrics):
            if len(fakes.ids) != len(reals.ids):
                raise VbenchError(f"{len(fakes.ids)} generated and {len(reals.ids)} real clips make no pairs")
            pairs = [pairing.Pair(name, (own,)) for name, own in zip(reals.ids, fakes.ids, strict=True)]
        else:
            pairs = pairing.pairs(None, reals, fakes, alone=True)
        question = scoring.Question(fakes, reals, None, self.metrics, self.place)
        for part in scoring.chunked(pairs):
            self._scored += scoring.score_chunk(question, scoring.decode_chunk(question, part))
        self._fakes += len(fakes.ids)
        self._reals += len(reals.ids)

    def compute(self) -> dict[str, Row]:
        """Return the row of each metric over everything so far."""
        if not self._scored:
            raise VbenchError("nothing was added yet; call update first")
        networks.use(self.place)
        report = scoring.Report(None, self._scored, "in memory", "in memory", "", {})
        return {each.token: report.row(each) for each in self.metrics}
