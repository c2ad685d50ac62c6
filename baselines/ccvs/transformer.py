"""The transformer of CCVS, a minGPT over the tokens of frames and of what controls them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vbench_ctl.baselines.ccvs import layouts
from vbench_ctl.baselines.ccvs.layouts import ENDING, FRAME, LABEL, START, STATE, Item, Layout

DECAY = 0.01


@dataclass(frozen=True)
class Tokens:
    """The tokens of some sequences; what a layout has no place for stays away."""

    frames: Tensor  # (B, L)
    states: Tensor | None = None  # (B, S)
    ending: Tensor | None = None  # (B, tokens)
    ending_time: Tensor | None = None  # (B,) the frame that the ending is
    label: Tensor | None = None  # (B,)

    def of(self, kind: str) -> Tensor | None:
        """Return the tokens of a kind as (B, n)."""
        label = None if self.label is None else self.label[:, None]
        return {FRAME: self.frames, STATE: self.states, ENDING: self.ending, LABEL: label}[kind]

    def since(self, frame: int, layout: Layout) -> "Tokens":
        """Return the tokens from a frame on, as if it were the first."""
        states = None if self.states is None else self.states[:, frame * layout.states :]
        time = None if self.ending_time is None else self.ending_time - frame
        return replace(self, frames=self.frames[:, frame * layout.tokens :], states=states, ending_time=time)

    def picked(self, rows: Tensor) -> "Tokens":
        """Return some of the sequences, in this order."""
        held = (self.frames, self.states, self.ending, self.ending_time, self.label)
        return Tokens(*(None if each is None else each[rows] for each in held))  # type: ignore[arg-type]


class Cache:
    """Keys and values of the positions so far, for each layer."""

    def __init__(self) -> None:
        self.layers: list[tuple[Tensor, Tensor]] = []
        self.length = 0

    def extended(self, layer: int, keys: Tensor, values: Tensor, room: int) -> tuple[Tensor, Tensor]:
        """Append (B, heads, n, width) to a layer and return all of it; `room` is for how many positions at most."""
        if layer == len(self.layers):
            shape = (*keys.shape[:2], room, keys.shape[3])
            self.layers.append((keys.new_empty(shape), values.new_empty(shape)))
        stop = self.length + keys.shape[2]
        for held, new in zip(self.layers[layer], (keys, values), strict=True):
            held[:, :, self.length : stop] = new
        return self.layers[layer][0][:, :, :stop], self.layers[layer][1][:, :, :stop]

    def pick(self, rows: Tensor) -> None:
        """Keep some of the sequences, in this order."""
        self.layers = [(keys[rows], values[rows]) for keys, values in self.layers]


class Attention(nn.Module):
    """Causal self-attention."""

    def __init__(self, width: int, heads: int, room: int) -> None:
        super().__init__()
        self.heads, self.room = heads, room
        self.key, self.query, self.value, self.proj = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: Tensor, layer: int, cache: Cache | None) -> Tensor:
        query, key, value = (
            each(x).unflatten(2, (self.heads, -1)).transpose(1, 2) for each in (self.query, self.key, self.value)
        )
        causal, mask = True, None
        if cache is not None:
            key, value = cache.extended(layer, key, value, self.room)
            causal = not cache.length
            if cache.length and x.shape[1] > 1:
                mask = torch.ones(x.shape[1], key.shape[2], dtype=torch.bool, device=x.device).tril(cache.length)
        y = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=causal)
        return self.proj(y.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Attention and two linear layers, each on normalised inputs and added."""

    def __init__(self, width: int, heads: int, room: int) -> None:
        super().__init__()
        self.ln1, self.ln2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = Attention(width, heads, room)
        # The released list of layers has a dropout of 0 in third place.
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Identity(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor, layer: int, cache: Cache | None) -> Tensor:
        x = x + self.attn(self.ln1(x), layer, cache)
        return x + self.mlp(self.ln2(x))


class Transformer(nn.Module):
    """Tokens in the order of a layout -> logits of the token after each."""

    def __init__(
        self,
        layout: Layout,
        codes: int,
        state_codes: int,
        layers: int,
        heads: int,
        width: int,
        scale: float,
        labels: int = 0,
        grid: tuple[int, int] | None = None,
    ) -> None:
        """`scale` is of the first weights; `grid` asks for tables of rows and columns in place of one of a frame's places."""
        super().__init__()
        self.layout, self.codes, self.state_codes, self.grid = layout, codes, state_codes, grid
        if layout.start:
            self.start_tok_emb = nn.Parameter(torch.randn(1, width))
        if grid:
            self.h_emb, self.w_emb = (nn.Parameter(scale * torch.randn(1, side, width)) for side in grid)
        else:
            self.s_emb = nn.Parameter(torch.zeros(1, layout.tokens, width))
        self.t_emb = nn.Parameter(torch.zeros(1, layout.times, width))
        self.tok_emb = nn.Embedding(codes, width)
        if layout.states:
            self.state_s_emb = nn.Parameter(torch.zeros(1, layout.states, width))
            self.state_tok_emb = nn.Embedding(state_codes, width)
        if layout.label:
            self.lbl_emb = nn.Embedding(labels, width)
        room = layout.length + layout.start + layout.label
        self.blocks = nn.ModuleList(Block(width, heads, room) for _ in range(layers))
        self.ln_f = nn.LayerNorm(width)
        self.head = nn.Linear(width, max(codes, state_codes), bias=False)
        self.apply(partial(_draw, scale=scale))

    def forward(self, tokens: Tokens) -> Tensor:
        """Return logits (B, n, symbols) of what a network is fed when these tokens are there."""
        states = 0 if tokens.states is None else tokens.states.shape[1]
        return self.logits(self.hidden(self.embedded(tokens, layouts.fed(self.layout, tokens.frames.shape[1], states))))

    def embedded(self, tokens: Tokens, items: Sequence[Item]) -> Tensor:
        """Embed a run of items: (B, n, width)."""
        parts: list[Tensor] = []
        places: dict[Item, int] = {}
        for kind in dict.fromkeys(item.kind for item in items):
            indices = [item.number for item in items if item.kind == kind]
            first = indices[0]
            assert indices == list(range(first, first + len(indices)))
            places |= {Item(kind, index): len(places) + n for n, index in enumerate(indices)}
            parts.append(self._of_kind(tokens, kind, first, first + len(indices)))
        joined = torch.cat(parts, 1)
        order = [places[item] for item in items]
        return joined if order == sorted(order) else joined[:, torch.tensor(order, device=joined.device)]

    def hidden(self, x: Tensor, cache: Cache | None = None) -> Tensor:
        """Run the blocks on embeddings (B, n, width); with a cache they come after what it holds."""
        for layer, block in enumerate(self.blocks):
            x = block(x, layer, cache)
        if cache is not None:
            cache.length += x.shape[1]
        return x

    def logits(self, hidden: Tensor) -> Tensor:
        return self.head(self.ln_f(hidden))

    def loss(self, tokens: Tokens) -> dict[str, Tensor]:
        """Return the cross entropies of frame and control tokens of whole clips."""
        known = replace(tokens, frames=tokens.frames[:, :-1])
        logits = self(known)
        frames = tokens.frames.shape[1] // self.layout.tokens
        found = {}
        for kind, symbols in ((FRAME, None), (STATE, self.state_codes)):
            wanted = tokens.of(kind)
            if wanted is not None:
                pairs = layouts.predicted(self.layout, frames, kind)
                outputs, indices = torch.tensor(pairs, device=logits.device).t()
                made = logits[:, outputs, :symbols]
                found[kind] = F.cross_entropy(made.flatten(0, 1).float(), wanted[:, indices].flatten())
        return found

    def groups(self) -> list[dict[str, object]]:
        """Return the weights for AdamW: only those of linear layers decay."""
        decaying = {id(layer.weight) for layer in self.modules() if isinstance(layer, nn.Linear)}
        weights = list(self.parameters())
        return [
            {"params": [each for each in weights if id(each) in decaying], "weight_decay": DECAY},
            {"params": [each for each in weights if id(each) not in decaying], "weight_decay": 0.0},
        ]

    def _of_kind(self, tokens: Tokens, kind: str, first: int, stop: int) -> Tensor:
        if kind == START:
            return self.start_tok_emb.expand(len(tokens.frames), 1, -1)
        held = tokens.of(kind)
        assert held is not None
        indices = held[:, first:stop]
        if kind == LABEL:
            return self.lbl_emb(indices)
        at = torch.arange(first, stop, device=indices.device)
        if kind == STATE:
            times, slots = at // self.layout.states, at % self.layout.states
            return self.state_tok_emb(indices) + self.state_s_emb[0, slots] + self.t_emb[0, times]
        if kind == ENDING:
            assert tokens.ending_time is not None
            return self.tok_emb(indices) + self._place(at) + self.t_emb[0, tokens.ending_time][:, None]
        return self.tok_emb(indices) + self._place(at % self.layout.tokens) + self.t_emb[0, at // self.layout.tokens]

    def _place(self, slots: Tensor) -> Tensor:
        if self.grid:
            return self.h_emb[0, slots // self.grid[1]] + self.w_emb[0, slots % self.grid[1]]
        return self.s_emb[0, slots]


def _draw(layer: nn.Module, scale: float) -> None:
    if isinstance(layer, nn.Linear | nn.Embedding):
        nn.init.normal_(layer.weight, 0, scale)
    if isinstance(layer, nn.Linear) and layer.bias is not None:
        nn.init.zeros_(layer.bias)
