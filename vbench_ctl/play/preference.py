"""Bradley-Terry scores of answers to "which of two is better": rows, the human column of a leaderboard.

Bradley and Terry (1952): a beats b with the odds of exp(score a - score b). The likelihood, which is concave in the scores,
is maximised by Newton's steps; scores are finite exactly if no set of items wins all its comparisons with the others
(Ford 1957).
"""

import hashlib
import json
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.sparse.csgraph import connected_components
from scipy.special import expit

from vbench_ctl.errors import VbenchError
from vbench_ctl.play.blind import Answer
from vbench_ctl.rows import Row, signature
from vbench_ctl.statistics.resampling import LEVEL

DRAWS = 1000
TOLERANCE, ROUNDS = 1e-10, 200
# Of a win, each way between all that were compared: added where scores would be infinite (Haldane, Anscombe), and
# Jeffreys' prior of their intervals.
HALF = 0.5


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
    """Return the most likely scores (..., K) for wins (..., K, K), on average 0."""
    games, every = wins + wins.swapaxes(-1, -2), np.arange(wins.shape[-1])
    scores = np.zeros(wins.shape[:-1])
    for _ in range(ROUNDS):
        beats = expit(scores[..., :, None] - scores[..., None, :])  # how likely a beats b
        loses = beats.swapaxes(-1, -2)
        slope = (wins * loses - wins.swapaxes(-1, -2) * beats).sum(-1)
        bend = -games * beats * loses
        bend[..., every, every] -= bend.sum(-1)
        step = np.zeros_like(scores)  # the first stays, since only differences matter
        step[..., 1:] = np.linalg.solve(bend[..., 1:, 1:], slope[..., 1:, None])[..., 0]
        step /= np.maximum(np.ptp(step, axis=-1, keepdims=True), 1)  # a step of 1 at most never overshoots
        scores += step
        if np.abs(step).max() < TOLERANCE:
            break
    return scores - scores.mean(-1, keepdims=True)


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
    """Return the interval of each score: Rubin's (1981) Bayesian bootstrap of whole clips (clips, K, K), with Jeffreys' prior.

    Every clip weighs as much as a draw from Gamma(1), and each outcome that was possible as one from Gamma(1/2) more. For two
    models it is Jeffreys' interval of how often one wins, which holds what it should where one nearly always does (Brown,
    Cai and DasGupta 2001). NaN where it says nothing.
    """
    total = wins.sum(0)
    among = _largest_group(total)
    low, high = np.full((2, len(total)), np.nan)
    if len(wins) > 1 and len(among) > 1:
        rng = np.random.default_rng(0)
        drawn = np.tensordot(rng.standard_exponential((DRAWS, len(wins))), wins, 1)
        drawn += rng.standard_gamma(HALF, drawn.shape) * (total + total.T > 0)
        drawn = drawn[:, among][:, :, among]
        low[among], high[among] = np.quantile(_fitted(drawn), [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return low, high


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
