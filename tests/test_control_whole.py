"""The protocols of control, whole: every row that a reader compares, of untrained runs and of sanity rows, is made and scored.

Frames and cases are fewer than the protocols ask for.
"""

from dataclasses import replace

import pytest
import torch

from vbench_ctl import generation, prepare, protocols, recipes, registry, runs, scoring, store
from vbench_ctl.protocols import Select
from vbench_ctl.sources import FolderSource, StoreSource
from vbench_ctl.training import DataFacts

CCVS = [
    *("model.widths=[4,4,4,8]", "model.flow_widths=[4]", "model.code_width=6", "model.codes=12", "model.heads=2"),
    *("model.discriminator_widths=[4,4]", "model.layers=1", "model.width=8", "model.frames=4"),
]
GLASS = [
    *("model.codes=5", "model.code_width=6", "model.state_width=16", "model.compressed=4", "model.hidden=8"),
    "model.masking_widths=[8,32]",
]
# Of each trained baseline: a recipe that tells it actions, what makes it small, and the height and width of its frames.
TRAINED = {
    "ccvs": ("wsprites-tiny", CCVS, (16, 16)),
    "g3an": ("tiny-actions", ["model.width=2", "model.appearance=7", "model.motion=5"], (64, 64)),
    "glass": ("tiny", GLASS, (32, 48)),
}
SANITY = ("truth", "real", "copy-last", "shuffled-control", "noise")
CASES = 2
# Of each protocol: how many frames are asked for here, and those of its metrics that take no time and no weights.
ASKED = {
    "wsprites-control@1": (6, ["action", "identity", "deltapsnr", "psnr", "mmse", "flicker"]),
    "wsprites-longrun@1": (16, ["psnr", "drift", "drift-area", "flicker", "reversal", "reversal-relative"]),
    "wsprites-counterfactual@1": (
        4,
        [
            *("counterfactual", "counterfactual-share", "deltapsnr", "deltapsnr-mean", "deltapsnr-shuffled"),
            *("deltapsnr-none", "reversal", "reversal-relative"),
        ],
    ),
}


@pytest.fixture(scope="module")
def real(tmp_path_factory) -> StoreSource:
    plan = prepare.plan("wsprites", tmp_path_factory.mktemp("home"), ("test", "val"), 4, size="64x48", frames=17)
    prepare.make(plan)
    return StoreSource(store.Store(plan.folder, "test"))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Return a run of fresh weights by the name of its baseline, or a baseline that needs none."""
    folder = tmp_path_factory.mktemp("runs")

    def found(name: str) -> generation.Model:
        if name in TRAINED and not (folder / name).exists():
            (recipe, sets, (height, width)), leaf = TRAINED[name], registry.load("baselines", name)
            settings, weights = recipes.load(name, recipe, "", sets).model, {}
            classes = dict.fromkeys(("global_action", "local_action"), ((), "int8"))
            facts = DataFacts(height, width, tracks={**classes, "shift_bg": ((2,), "float32")}, length=16)
            torch.manual_seed(0)
            for stage in leaf.STAGES:
                weights[stage] = leaf.build(settings, facts, stage, weights).state_dict()
            runs.imported(folder / name, name, leaf, settings, weights, facts, folder)
        return generation.model(folder / name if name in TRAINED else name)

    return found


@pytest.mark.parametrize("id", ASKED)
def test_every_row_of_a_protocol_of_control_is_made_and_scored(id, model, real, tmp_path, monkeypatch):
    monkeypatch.setattr(generation, "_speed", lambda *asked: {})
    (predict, metrics), p = ASKED[id], protocols.load(id)
    assert set(metrics) <= set(p.metrics)
    p = replace(p, variant=real.manifest["variant"], select=Select("first", "head", cases=CASES), predict=predict)
    found = {}
    for name in (*SANITY, *TRAINED):
        manifest = generation.generate(model(name), p, real, tmp_path / name)
        assert len(manifest["clips"]) == CASES * (1 + len(p.sets) - len(manifest["absent_sets"]))
        if name in TRAINED:
            assert manifest["control"] == "actions" and set(manifest["absent_sets"]) == {"no-actions"} & set(p.sets)
        rows = scoring.score(FolderSource(tmp_path / name), real, p, metrics)
        assert [row.metric for row in rows] == metrics
        assert all(row.value is not None or row.note for row in rows)
        found[name] = {row.metric: row.value for row in rows}
    for name in TRAINED:
        lacking = {metric for metric, value in found[name].items() if value is None}
        assert lacking <= {"deltapsnr-none", "counterfactual", "counterfactual-share"}, (
            name
        )  # untrained ones may be deaf
    in_order(id, found)


def in_order(id: str, found: dict[str, dict[str, float | None]]) -> None:
    """Check where each protocol's sanity rows must be."""
    truth, deaf = found["truth"], found["copy-last"]
    if id != "wsprites-counterfactual@1":
        assert truth["psnr"] == 100 > max(row["psnr"] for name, row in found.items() if name != "truth")
    if id == "wsprites-control@1":
        assert truth["action"] > 0.9 and truth["action"] > max(found[n]["action"] for n in SANITY[1:])
        assert found["noise"]["action"] == 0 and deaf["identity"] > 0.9 > found["noise"]["identity"]
        assert truth["deltapsnr"] > 70 and deaf["deltapsnr"] == found["noise"]["deltapsnr"] == 0
    elif id == "wsprites-longrun@1":
        assert 0 < truth["reversal"] < 0.05 and truth["reversal-relative"] < 1
        assert deaf["reversal"] == 0 and found["shuffled-control"]["reversal"] is None
    else:
        assert truth["counterfactual-share"] == 1 and deaf["deltapsnr-none"] == 0
        assert truth["deltapsnr"] > 70 and truth["reversal-relative"] < 1
