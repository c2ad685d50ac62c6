"""Token layouts, transformer and sampler of CCVS against numbers of the released ones (the shared golden/ccvs)."""

from dataclasses import replace

import pytest
import torch
from test_ccvs_networks import Golden, close, close_gradient, golden, listed  # noqa: F401

from vbench_ctl.baselines.ccvs import layouts
from vbench_ctl.baselines.ccvs.layouts import FRAME, STATE, Layout
from vbench_ctl.baselines.ccvs.sampling import Choice, Choices, complete
from vbench_ctl.baselines.ccvs.settings import Settings
from vbench_ctl.baselines.ccvs.transformer import Tokens, Transformer
from vbench_ctl.errors import UsageError

CASES = (
    "prediction",
    "unconditional",
    "point_to_point",
    "state",
    "sound",
    "state_front",
    "label",
    "spatio_temporal",
    "small_scale",
    "beam",
)
SCALE = Settings.first_weights
TINY = Layout(tokens=4, times=4, length=24, states=2)


def built(file: Golden) -> Transformer:
    about, options = file.config, file.config["options"]
    layout = Layout(
        tokens=6,
        times=about["num_blocks"],
        length=about["block_size"],
        states=about["state_size"],
        states_first=options.get("x_state_front", False),
        ending=options.get("x_p2p", False),
        start=options.get("x_use_start_token", False),
        label="x_cat" in options,
    )
    grid = (2, 3) if options.get("x_emb_mode") == "spatio-temporal" else None
    sizes = (about["n_layer"], about["n_head"], about["n_embd"])
    model = Transformer(layout, about["vocab"], about["state_vocab"], *sizes, SCALE, labels=3, grid=grid)
    model.load_state_dict(file.state("sd/"))
    return model.eval()


def given(file: Golden) -> Tokens:
    """The clip that a file is about."""
    found = {"states": "state_code", "ending": "cond_code", "ending_time": "delta", "label": "label"}
    held = {ours: file[f"in/{theirs}"].long() for ours, theirs in found.items() if f"in/{theirs}" in file}
    return Tokens(file["in/code"].long(), **held)


@pytest.mark.parametrize("name", CASES)
def test_transformer(golden, name):  # noqa: F811
    file = golden(f"transformer_{name}")
    model, tokens = built(file), given(file)
    known = replace(tokens, frames=tokens.frames[:, :-1])
    items = layouts.fed(model.layout, known.frames.shape[1], 0 if known.states is None else known.states.shape[1])
    embedded = model.embedded(known, items)
    close(embedded, file["out/embedding_train"])
    logits = model(known)
    skipped = model.layout.tokens if model.layout.ending else 0
    close(logits[:, skipped:], file["out/logits_train"])
    losses = model.loss(tokens)
    close(sum(losses.values()), file["out/loss"])
    sum(losses.values()).backward()
    parameters = dict(model.named_parameters())
    for key in file.under("grad/loss/"):
        close_gradient(parameters[key].grad, file[f"grad/loss/{key}"])
    for kind, key in ((STATE, "out/state_positions"), (FRAME, "out/frame_positions")):
        if key in file:
            assert [at for at, _ in layouts.predicted(model.layout, tokens.frames.shape[1] // 6, kind)] == file[
                key
            ].tolist()


@pytest.mark.parametrize("name", CASES)
def test_partial_inputs(golden, name):  # noqa: F811
    file = golden(f"transformer_{name}")
    model, tokens = built(file), given(file)
    lengths = list(file.under("out/len_"))
    assert len(lengths) >= 3 or name == "small_scale"
    for key in lengths:
        frames, _, states = key.removeprefix("L").partition("_S")
        known = replace(tokens, frames=tokens.frames[:, : int(frames)])
        if states:
            known = replace(known, states=tokens.states[:, : int(states)])
        count = 0 if known.states is None else known.states.shape[1]
        items = layouts.fed(model.layout, int(frames), count)
        assert len(items) == file[f"out/len_{key}"].item()
        if f"out/logits_{key}" in file:
            skipped = model.layout.tokens if model.layout.ending else 0
            close(model(known)[:, skipped:], file[f"out/logits_{key}"])
        if f"out/embedding_{key}" in file:
            close(model.embedded(known, items), file[f"out/embedding_{key}"])


def generations(file: Golden) -> list[str]:
    return sorted({key.partition("/")[0] for key in file.under("in/gen_")})


@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize("name", CASES)
def test_generation(golden, name, cached):  # noqa: F811
    file = golden(f"transformer_{name}")
    model, about = built(file), file.config
    for each in generations(file):
        key = f"in/gen_{each}"
        tokens = given(file)
        states = file[f"{key}/state_code"].long() if f"{key}/state_code" in file else None
        time = file[f"{key}/delta"].long() if f"{key}/delta" in file else tokens.ending_time
        tokens = replace(
            tokens, frames=tokens.frames[:, : file[f"{key}/n_cond"].item()], states=states, ending_time=time
        )
        wanted = file[f"out/gen_{each}/code"]
        rows = iter(file[f"{key}/uniform"]) if f"{key}/uniform" in file else iter(())
        top_k = 0 if each == "no_top_k" else about["top_k"] or about["options"].get("x_top_k") or 0
        frames = Choice(top_k, about["temperature"], greedy=each == "greedy_slide" or f"{key}/uniform" not in file)
        top_k = about["top_k_state"] or 0
        greedy = each == "states_greedy" or not about["options"].get("x_sample_state")
        choice = Choice(top_k, about["temperature_state"], greedy)
        choices = Choices(frames, choice, about["options"].get("x_beam_size") or 1, swapped=True)
        made = complete(model, tokens, wanted.shape[1], choices, rows.__next__, cached=cached)
        assert torch.equal(made.frames, wanted.long()), each
        if states is not None:
            assert torch.equal(made.states, file[f"out/gen_{each}/state_code"].long()), each
        assert next(rows, None) is None  # as many draws as the release makes


def test_beams_find_what_is_likelier_than_the_likeliest_first_token(golden):  # noqa: F811
    model = built(golden("transformer_beam"))
    first = Tokens(torch.tensor([[3, 1, 4, 1, 5, 9], [2, 6, 5, 3, 5, 8]]))

    def likelihood(beams: int, greedy: bool = True) -> tuple[torch.Tensor, torch.Tensor]:
        draws = torch.Generator().manual_seed(0)
        choices = Choices(Choice(0, greedy=greedy), beams=beams)
        made = complete(model, first, 12, choices, lambda: torch.rand(2, generator=draws)).frames
        chances = model(Tokens(made[:, :-1])).log_softmax(-1)[:, 5:]
        return chances.gather(2, made[:, 6:, None]).sum((1, 2)), made

    (one, _), (all_of_them, best) = likelihood(1), likelihood(13)
    assert (all_of_them >= one - 1e-5).all() and (all_of_them > one + 1e-3).any()
    again = complete(model, first, 12, Choices(Choice(0, greedy=True), beams=13), lambda: one, cached=False)
    assert torch.equal(again.frames, best)
    assert (likelihood(13, greedy=False)[0] > likelihood(1, greedy=False)[0]).all()


def test_layout_of_state_and_frame_tokens_by_hand():
    lengths = [len(layouts.fed(TINY, tokens, 8)) for tokens in (0, 1, 3, 4, 5, 8)]
    assert lengths == [2, 2, 2, 8, 9, 14]
    whole = layouts.whole(TINY, 2)
    assert [item.kind[0] for item in whole] == list("ssffffssffff")
    assert len(layouts.predicted(TINY, 4, STATE)) == 7 and len(layouts.predicted(TINY, 4, FRAME)) == 16
    assert all((at + 1) % 6 < 2 for at, _ in layouts.predicted(TINY, 4, STATE))


def test_positions_by_hand():
    layout = Layout(tokens=4, times=4, length=20, states=2)
    model = Transformer(layout, 3, 3, 1, 1, 1, SCALE)
    with torch.no_grad():
        for table in (model.tok_emb.weight, model.state_tok_emb.weight):
            table.zero_()
        model.s_emb[0, :, 0] = torch.arange(4.0)
        model.t_emb[0, :, 0] = torch.arange(4.0) * 100
        model.state_s_emb[0, :, 0] = torch.tensor([10.0, 20])
    tokens = Tokens(torch.zeros(1, 10, dtype=torch.long), torch.zeros(1, 5, dtype=torch.long))
    at = {kind: model._of_kind(tokens, kind, 0, count)[0, :, 0].tolist() for kind, count in ((FRAME, 10), (STATE, 5))}
    assert at == {FRAME: [0, 1, 2, 3, 100, 101, 102, 103, 200, 201], STATE: [10, 20, 110, 120, 210]}
    ending = Tokens(tokens.frames, ending=tokens.frames[:, :4], ending_time=torch.tensor([3]))
    assert model._of_kind(ending, "ending", 0, 4)[0, :, 0].tolist() == [300, 301, 302, 303]


def test_the_window_is_filled_and_then_moves_by_a_frame():
    layout = Layout(tokens=4, times=4, length=16)
    assert layouts.windows(layout, 4, 12) == [(0, 12)]
    assert layouts.windows(layout, 4, 22) == [(0, 16), (1, 20), (2, 22)]
    assert layouts.windows(layout, 16, 20) == [(1, 20)]
    assert layouts.windows(layout, 16, 16) == []


def test_a_narrower_window():
    layout = Layout(tokens=4, times=4, length=20, ending=True)
    assert (layout.window, layout.narrowed(2).window, layout.narrowed(0)) == (4, 2, layout)
    with pytest.raises(UsageError, match="a window of 5 frames, and this transformer sees 4"):
        layout.narrowed(5)


def test_kept_keys_and_values_change_no_logits(golden):  # noqa: F811
    from vbench_ctl.baselines.ccvs.transformer import Cache

    file = golden("transformer_state")
    model, tokens = built(file), given(file)
    items = layouts.whole(model.layout, 4)
    x = model.embedded(tokens, items)
    cache = Cache()
    parts = [model.hidden(x[:, a:b], cache) for a, b in ((0, 9), (9, 10), (10, 13), (13, 32))]
    close(model.logits(torch.cat(parts, 1)), model.logits(model.hidden(x)).detach())


def test_samples_of_a_batch_do_not_feel_each_other(golden):  # noqa: F811
    file = golden("transformer_prediction")
    model, codes = built(file), given(file).frames[:, :6]
    numbers = torch.rand(18, 2)
    both = complete(model, Tokens(codes), 24, Choices(), iter(numbers).__next__)
    alone = complete(model, Tokens(codes[1:]), 24, Choices(), iter(numbers[:, 1:]).__next__)
    assert torch.equal(both.frames[1:], alone.frames)


@pytest.mark.parametrize(
    ("name", "choice"),
    [
        ("t1_k5", Choice(5)),
        ("t07_k3", Choice(3, 0.7)),
        ("t13_none", Choice(0, 1.3)),
        ("t1_k1", Choice(1)),
    ],
)
def test_sampler(golden, name, choice):  # noqa: F811
    file = golden("sampler")
    logits = file["in/logits"][:, -1]
    close(choice.probabilities(logits), file[f"out/{name}/prob"])
    assert torch.equal((choice.probabilities(logits) > 0).sum(1), file[f"out/{name}/kept"].long())
    for column in range(5):
        drawn = choice.drawn(logits, lambda column=column: file["in/uniform"][:, column])
        assert torch.equal(drawn, file[f"out/{name}/drawn"][:, column].long())


def test_a_draw_of_almost_one_has_a_chance():
    logits = torch.tensor([[3.0, 2.9, 2.8, -9, -9]]).repeat(1, 40)
    drawn = Choice(120).drawn(logits, lambda: torch.tensor([1 - 2**-24]))
    assert Choice(120).probabilities(logits)[0, drawn.item()] > 0


LISTED = {
    "bair_prediction_and_p2p_ucf": (Layout(64, 16, 1024), 1024, 0),
    "bair_unconditional": (Layout(64, 16, 1024, start=True), 1024, 0),
    "bair_state": (Layout(64, 16, 1056, states=2), 1024, 128),
    "drums_sound": (Layout(64, 16, 1280, states=16), 1024, 1024),
    "kinetics_prediction_and_p2p": (Layout(64, 16, 1024), 16384, 0),
}


@pytest.mark.parametrize("name", LISTED)
def test_released_names_shapes_and_counts(listed, name):  # noqa: F811
    about = listed("keys_transformer")[name]
    with torch.device("meta"):
        model = Transformer(*LISTED[name], 24, 16, 1024, SCALE)
    wanted = {key: shape for key, shape, _ in about["keys"] if not key.endswith(".mask")}
    assert {key: list(value.shape) for key, value in model.state_dict().items()} == wanted
    assert sum(value.numel() for value in model.parameters()) == about["parameters"]


@pytest.mark.parametrize("name", ["prediction", "unconditional", "state"])
def test_which_weights_decay(golden, listed, name):  # noqa: F811
    model = built(golden(f"transformer_{name}"))
    names = {id(weight): key for key, weight in model.named_parameters()}
    for ours, theirs in zip(model.groups(), listed("optimizer_groups")[f"transformer_{name}"]["groups"], strict=True):
        assert sorted(names[id(weight)] for weight in ours["params"]) == theirs["names"]
        assert ours["weight_decay"] == theirs["weight_decay"]
