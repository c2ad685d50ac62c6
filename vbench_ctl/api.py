"""Scores from inside somebody's program: one call on two sets, or an object that is fed batch by batch."""

from collections.abc import Iterable, Sequence
from numbers import Integral
from pathlib import Path
from typing import Any

from vbench_ctl import execute, measuring, networks, pairing, protocols, scoring, sources, tokens
from vbench_ctl.errors import UsageError, VbenchError
from vbench_ctl.networks import Place
from vbench_ctl.outcome import Outcome
from vbench_ctl.rows import Row, table

__all__ = ["Scores", "score", "table"]


def score(
    fake: Any,
    real: Any,
    metrics: str | Sequence[str] = (),
    protocol: str | None = None,
    split: str | None = None,
    model: str | None = None,
    allow_lossy: bool = False,
    device: Any = "auto",
    root: str | Path | None = None,
    workers: execute.Workers = 1,
    backend: str = "torch",
) -> list[Row]:
    """Score generated clips against real ones: arrays or tensors (N, T, H, W, 3) uint8, paths, or clips one by one.

    Clips that an iterator makes lie in a temporary file until the scores are there. Metrics are a list, or a text as on
    the command line: "fvd,psnr". A device is "auto", a name like "cuda:1", or PyTorch's own.
    With `workers` above 1 the calling script needs `if __name__ == "__main__":`, as everywhere in Python.
    """
    if workers != "ray" and not (isinstance(workers, Integral) and workers > 0):
        raise UsageError(f'workers is {workers!r}, expected a number of processes or "ray"')
    named = protocols.load(str(protocol)) if protocol else None
    truth = sources.as_source(real, "the real clips", named.split if named else split)
    pairing.check_split(truth, split)
    return scoring.score(
        sources.as_source(fake, "the generated clips"),
        truth,
        named,
        _tokens(metrics),
        model,
        allow_lossy,
        workers=workers,
        place=_place(root, device, backend),
    )


def _place(root: str | Path | None, device: Any, backend: str) -> Place:
    if not isinstance(root, str | Path | None):
        raise UsageError(f"root is {root!r}, expected the folder that keeps weights and the cache")
    return Place(root, str(device), str(backend))


def _tokens(metrics: str | Sequence[str]) -> Sequence[str]:
    if isinstance(metrics, str):
        return tokens.split(metrics)
    found = list(metrics) if isinstance(metrics, Iterable) else [metrics]
    if not all(isinstance(token, str) for token in found):
        raise UsageError(f'metrics are {metrics!r}, expected names: "fvd,psnr" or ["fvd", "psnr"]')
    return found


class Scores:
    """Scores that are fed batch by batch, as in a training loop, and keep no pixels: update, compute, reset."""

    def __init__(
        self, metrics: str | Sequence[str], device: Any = "auto", root: str | Path | None = None, backend: str = "torch"
    ) -> None:
        self.metrics = tuple(tokens.metric(token) for token in _tokens(metrics))
        tokens.check_aggregates(None, self.metrics)
        self.place = networks.settled(_place(root, device, backend), self.metrics)
        self._lacking = tokens.unavailable(self.metrics)
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._scored: list[measuring.Scored] = []
        self._fakes = self._reals = 0

    def update(self, fake: Any = None, real: Any = None) -> None:
        """Add generated clips, real ones or both; metrics that compare clip with clip take them as pairs, in this order."""
        if fake is None and real is None:
            raise UsageError("update has no clips to add; give it generated ones, real ones or both")
        fakes = _added(fake, "the generated clips", self._fakes)
        reals = _added(real, "the real clips", self._reals)
        able = tuple(each for each in self.metrics if each not in self._lacking)
        if paired := [each.token for each in able if each.compares_cases]:
            if len(fakes.ids) != len(reals.ids):
                raise VbenchError(
                    f"{len(fakes.ids)} generated and {len(reals.ids)} real clips make no pairs, which {paired[0]} compares; "
                    "give as many of both"
                )
            pairs = [pairing.Pair(name, (own,)) for name, own in zip(reals.ids, fakes.ids, strict=True)]
        else:
            pairs = pairing.pairs(None, reals, fakes, alone=True)
        question = measuring.Question(fakes, reals, None, able, self.place)
        for part in measuring.chunked(pairs):
            self._scored += measuring.score_chunk(question, measuring.decode_chunk(question, part))
        self._fakes += len(fakes.ids)
        self._reals += len(reals.ids)

    def compute(self) -> dict[str, Row]:
        """Return the row of each metric over everything so far; of one that cannot be had, why."""
        if not self._scored:
            raise VbenchError("nothing was added yet; call update first")
        networks.use(self.place)
        outcome = Outcome(None, self._scored, "in memory", "in memory", "", {})
        found = outcome.rows_of(self.metrics, self._lacking)
        return {each.token: row for each, row in zip(self.metrics, found, strict=True)}


def _added(clips: Any, name: str, first: int) -> sources.Source:
    return sources.ArraySource([], name) if clips is None else sources.as_source(clips, name, first=first)
