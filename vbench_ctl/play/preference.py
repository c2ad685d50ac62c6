"""Bradley-Terry scores of answers to "which of two is better": rows, the human column of a leaderboard.

Bradley and Terry (1952): a beats b with the odds of exp(score a - score b). The likelihood is maximised by Hunter's (2004)
minorisation; scores are finite exactly if no set of items wins all its comparisons with the others (Ford 1957).
"""

import hashlib
import json
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.sparse.csgraph import connected_components

from vbench_ctl.errors import VbenchError
from vbench_ctl.play.blind import Answer
from vbench_ctl.rows import Row, signature
from vbench_ctl.statistics.resampling import LEVEL

DRAWS = 1000
TOLERANCE, ROUNDS = 1e-12, 100_000
HALF = 0.5  # of a win, added each way between all that were compared where scores would be infinite (Haldane, Anscombe)


class Scores(NamedTuple):
    """Log strengths, on average 0 among those that can be compared; NaN for the others."""

    values: np.ndarray  # (K,) float64
    continued: bool  # half a win was added, else they were infinite


def bradley_terry(wins: np.ndarray) -> Scores:
    """Return the scores of K items of which a won wins[a, b] times against b; a tie is half a win for both."""
    wins = np.asarray(wins, np.float64)
    among = _largest_group(wins)
    values = np.full(len(wins), np.nan)
    if len(among) < 2:
        return Scores(values, False)
    part = wins[np.ix_(among, among)]
    continued = connected_components(part, directed=True, connection="strong")[0] > 1
    values[among] = _fitted(part + HALF * (part + part.T > 0) if continued else part)
    return Scores(values, continued)


def _largest_group(wins: np.ndarray) -> np.ndarray:
    """Return the largest group of items that comparisons link with each other."""
    _, group = connected_components(wins, directed=False)
    return np.flatnonzero(group == np.bincount(group).argmax())


def _fitted(wins: np.ndarray) -> np.ndarray:
    games, won = wins + wins.T, wins.sum(1)
    strengths = np.ones(len(wins))
    for _ in range(ROUNDS):
        after = won / (games / (strengths[:, None] + strengths)).sum(1)
        after /= np.exp(np.log(after).mean())
        done = np.abs(np.log(after / strengths)).max() < TOLERANCE
        strengths = after
        if done:
            break
    return np.log(strengths)


# Answers to rows


def rows(answers: Sequence[Answer]) -> list[Row]:
    """Return a row for each model, question and protocol."""
    if not answers:
        raise VbenchError("no answers yet; collect some with vbench-ctl blind")
    groups = dict.fromkeys((a.protocol, a.question) for a in answers)
    return [
        row
        for protocol, question in groups
        for row in _rows_of([a for a in answers if (a.protocol, a.question) == (protocol, question)])
    ]


def _rows_of(answers: Sequence[Answer]) -> list[Row]:
    names = sorted({name for answer in answers for name in (answer.left, answer.right)})
    clips = list(dict.fromkeys(answer.clip for answer in answers))
    wins = np.stack([_wins([a for a in answers if a.clip == clip], names) for clip in clips])  # (clips, K, K)
    scores = bradley_terry(wins.sum(0))
    low, high = _interval(wins)
    # A score is relative to whom one competes with.
    against = hashlib.sha256(json.dumps(names).encode()).hexdigest()[:8]
    how = f"bradley-terry,ties-half,{len(names)}-of:{against}"
    signed = signature("preference", answers[0].question, "", "-", f"{len(clips)}x1", how, 1)
    found = []
    for at, name in enumerate(names):
        known = np.isfinite(scores.values[at])
        row = Row(
            metric="preference",
            value=float(scores.values[at]) if known else None,
            low=_number(low[at]) if known else None,
            high=_number(high[at]) if known else None,
            direction="higher",
            n=int(sum(name in (answer.left, answer.right) for answer in answers)),
            protocol=answers[0].protocol,
            signature=signed,
            model=name,
            unit="log odds",
            note=_note(wins.sum(0), at, scores),
            provenance={"raters": len({answer.rater for answer in answers}), "answers": len(answers)},
        )
        found.append(row)
    return found


def _wins(answers: Sequence[Answer], names: Sequence[str]) -> np.ndarray:
    wins = np.zeros((len(names), len(names)))
    for answer in answers:
        left, right = names.index(answer.left), names.index(answer.right)
        share = {"left": 1.0, "right": 0.0, "tie": 0.5}[answer.answer]
        wins[left, right] += share
        wins[right, left] += 1 - share
    return wins


def _interval(wins: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the percentile interval of each score, drawing whole clips again; NaN where it says nothing."""
    rng, nothing = np.random.default_rng(0), np.full(wins.shape[1], np.nan)
    if len(wins) < 2:
        return nothing, nothing
    drawn = [bradley_terry(wins[rng.integers(len(wins), size=len(wins))].sum(0)).values for _ in range(DRAWS)]
    counted = np.stack(drawn)
    bounds = nothing.copy(), nothing.copy()
    for item, values in enumerate(counted.T):
        if len(held := values[np.isfinite(values)]):
            bounds[0][item], bounds[1][item] = np.quantile(held, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return bounds


def _note(wins: np.ndarray, at: int, scores: Scores) -> str:
    won, lost = wins[at].sum(), wins[:, at].sum()
    if not np.isfinite(scores.values[at]):
        return "never compared, directly or through others, with the larger group of models"
    if not scores.continued:
        return ""
    what = "won all its comparisons; " if not lost else "lost all its comparisons; " if not won else ""
    return f"{what}half a win is added each way between all that were compared, without which scores are infinite"


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
