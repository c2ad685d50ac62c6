"""Drawing tokens one after the other, within the transformer's window and beyond it."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from vbench_ctl.baselines.ccvs import layouts
from vbench_ctl.baselines.ccvs.layouts import FRAME, STATE, Item, Layout
from vbench_ctl.baselines.ccvs.transformer import Cache, Tokens, Transformer
from vbench_ctl.errors import UsageError

Draw = Callable[[], Tensor]  # returns uniform numbers in [0, 1), one for each sequence


@dataclass(frozen=True)
class Choice:
    """How a token is chosen from its logits."""

    top_k: int = 100  # 0: all
    temperature: float = 1.0
    greedy: bool = False

    def __post_init__(self) -> None:
        if self.top_k < 0 or self.temperature <= 0:
            raise UsageError(
                f"ccvs: top-k {self.top_k} and temperature {self.temperature}, expected at least 0 and above 0"
            )

    def probabilities(self, logits: Tensor) -> Tensor:
        """Return (B, symbols); all symbols that equal the k-th largest stay."""
        logits = logits.float() / self.temperature
        if self.top_k and self.top_k < logits.shape[-1]:
            least = logits.topk(self.top_k).values[..., -1:]
            logits = logits.masked_fill(logits < least, -torch.inf)
        return logits.softmax(-1)

    def drawn(self, logits: Tensor, draw: Draw) -> Tensor:
        """Choose one symbol for each of (B, symbols): (B,)."""
        if self.greedy:
            return logits.argmax(-1)
        probabilities = self.probabilities(logits)
        below = probabilities.cumsum(-1) <= draw().to(logits.device)[:, None]
        # Sums end a little below 1: what is drawn beyond is the last symbol that has a chance.
        last = probabilities.shape[-1] - 1 - (probabilities > 0).flip(-1).int().argmax(-1)
        return torch.minimum(below.sum(-1), last)


@dataclass(frozen=True)
class Choices:
    """How frame and control tokens are chosen."""

    frames: Choice = Choice()
    states: Choice = Choice(greedy=True)
    beams: int = 1  # sequences that are followed within a window, of which the likeliest stays
    swapped: bool = False  # as released: a beam's n-th symbol is rated by the chance of the n-th beam, not of its own

    def __post_init__(self) -> None:
        if self.beams < 1:
            raise UsageError(f"ccvs: {self.beams} beams, expected at least 1")


@torch.no_grad()
def complete(
    model: Transformer,
    tokens: Tokens,
    total: int,
    choices: Choices,
    draw: Draw,
    layout: Layout | None = None,
    cached: bool = True,
) -> Tokens:
    """Go on until there are `total` frame tokens, and the control tokens of all frames that have begun.

    Control tokens that are there are taken, others drawn. Inside a window each token costs one position, thanks to keys
    and values that are kept; since positions count from the window's start, they are computed anew when it moves.
    `cached=False` computes all positions for every token, to the same result. A narrower `layout` looks back less far.
    """
    layout = layout or model.layout
    if tokens.ending_time is not None and int(tokens.ending_time.max()) >= layout.times:
        raise UsageError(
            f"ccvs: the last frame is number {int(tokens.ending_time.max()) + 1}, and the transformer knows {layout.times}; "
            "ask for shorter clips, or train with a larger model.frames"
        )
    for first, full in layouts.windows(layout, tokens.frames.shape[1], total):
        seen = tokens.since(first, layout)
        made = _filled(model, seen, full - first * layout.tokens, choices, draw, cached)
        new = made.frames[:, seen.frames.shape[1] :]
        states = tokens.states
        if states is not None and made.states is not None and seen.states is not None:
            states = torch.cat([states, made.states[:, seen.states.shape[1] :]], 1)
        tokens = replace(tokens, frames=torch.cat([tokens.frames, new], 1), states=states)
    return tokens


def _filled(model: Transformer, tokens: Tokens, total: int, choices: Choices, draw: Draw, cached: bool) -> Tokens:
    """Go on within one window."""
    layout = model.layout
    order = layouts.whole(layout, -(-total // layout.tokens))
    stop = next(at for at, item in enumerate(order, 1) if item == Item(FRAME, total - 1))
    cache, waiting = Cache() if cached else None, list[Item]()
    scores = torch.zeros(len(tokens.frames), 1, device=tokens.frames.device)
    for item in order[:stop]:
        if not _held(tokens, item):
            # Everything before this item is known: feed what was not yet, and draw.
            if cache is None:
                hidden = model.hidden(model.embedded(tokens, order[: order.index(item)]))
            else:
                hidden = model.hidden(model.embedded(tokens, waiting), cache)
                waiting = []
            logits = model.logits(hidden[:, -1])
            state = item.kind == STATE
            choice = choices.states if state else choices.frames
            logits = logits[:, : model.state_codes if state else model.codes]
            if choices.beams == 1:
                index = choice.drawn(logits, draw)
            else:
                rows, index, scores = _followed(choices, choice, logits, scores, draw)
                tokens = tokens.picked(rows)
                if cache is not None:
                    cache.pick(rows)
            if state:
                assert tokens.states is not None
                tokens = replace(tokens, states=torch.cat([tokens.states, index[:, None]], 1))
            else:
                tokens = replace(tokens, frames=torch.cat([tokens.frames, index[:, None]], 1))
        waiting.append(item)
    return tokens.picked(_rows(scores.argmax(1, keepdim=True), scores.shape[1]))


def _followed(
    choices: Choices, choice: Choice, logits: Tensor, scores: Tensor, draw: Draw
) -> tuple[Tensor, Tensor, Tensor]:
    """Go on with all beams: logits (B * n, symbols), log chances (B, n) -> the rows they follow, symbols, log chances.

    They are the likeliest of all ways to go on, or where symbols are drawn, each beam draws its own.
    """
    beams, count = choices.beams, scores.shape[1]
    if beams > logits.shape[1]:
        raise UsageError(f"ccvs: {beams} beams, expected at most the {logits.shape[1]} symbols of a token")
    chances = choice.probabilities(logits).log()
    if choice.greedy:
        each = chances.unflatten(0, scores.shape).topk(beams)
        before = scores[:, None] if choices.swapped else scores[..., None]
        best = (before + each.values).flatten(1).topk(beams)
        parents, scores = best.indices // each.values.shape[2], best.values
        symbols = each.indices.flatten(1).gather(1, best.indices)
    else:
        parents = (torch.arange(beams, device=scores.device) % count).expand(len(scores), -1)
        symbols = torch.stack(
            [choice.drawn(logits.unflatten(0, scores.shape)[:, beam % count], draw) for beam in range(beams)], 1
        )
        scores = scores.gather(1, parents) + chances[_rows(parents, count), symbols.flatten()].view_as(symbols)
    return _rows(parents, count), symbols.flatten(), scores


def _rows(parents: Tensor, count: int) -> Tensor:
    """Return the rows of beams (B, n) of sequences that have `count` rows each."""
    return (parents + count * torch.arange(len(parents), device=parents.device)[:, None]).flatten()


def _held(tokens: Tokens, item: Item) -> bool:
    if item.kind not in (FRAME, STATE):
        return True
    held = tokens.of(item.kind)
    return held is not None and item.number < held.shape[1]
