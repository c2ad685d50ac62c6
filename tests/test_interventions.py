"""Sets of answers to one case: what each is told, how it is generated and kept, and the metrics that compare them."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import tiny
from scipy import ndimage

from vbench_ctl import (
    controls,
    files,
    generation,
    leaderboard,
    measuring,
    prepare,
    protocols,
    registry,
    rows,
    runs,
    scoring,
    store,
    suites,
    tokens,
    tracks,
)
from vbench_ctl.controls import Meaning
from vbench_ctl.errors import VbenchError
from vbench_ctl.generation import Asked, Made, Model, Task
from vbench_ctl.metrics import counterfactual, deltalpips, deltapsnr, deltassim, psnr, reversal, separation
from vbench_ctl.protocols import Select
from vbench_ctl.sources import FolderSource, StoreSource
from vbench_ctl.statistics import camera

ALL = tuple(controls.SETS)
KNOWN = Meaning({"turn": (1, 0, 2), "camera": -1}, ("camera",))
OWN = {"turn": np.int8([2, 0, 0, 1, 2, 1]), "camera": np.float32([[0, 0], [1, 0], [2, 0], [3, 0], [4, 0], [5, 0]])}
OTHER = {"turn": np.int8([0, 1, 1, 1, 1, 1]), "camera": np.float32([[9, t] for t in range(6)])}
TOKENS = [
    *("deltapsnr", "deltapsnr-mean", "deltapsnr-shuffled", "deltapsnr-none", "deltassim", "counterfactual"),
    *("counterfactual-share", "reversal", "reversal-relative", "reversal-path", "separation", "separation-object"),
]


@pytest.fixture(scope="module")
def real(tmp_path_factory) -> StoreSource:
    plan = prepare.plan("wsprites", tmp_path_factory.mktemp("home"), ("test", "val"), 5, size="64x48", frames=12)
    prepare.make(plan)
    return StoreSource(store.Store(plan.folder, "test"))


def protocol(**changes) -> protocols.Protocol:
    """Two given frames, eight to predict, of each of the five clips."""
    usual = {"select": Select("first"), "context": 2, "predict": 8, "metrics": tuple(TOKENS)}
    return replace(protocols.load("wsprites-counterfactual-small"), **(usual | changes))


def task(real: StoreSource, word: str = "") -> Task:
    return Task(protocol(), real, [protocols.Case(clip, 0, 10, context=2) for clip in real.ids], word)


@pytest.fixture(scope="module")
def made(real, tmp_path_factory) -> dict[str, FolderSource]:
    folder = tmp_path_factory.mktemp("outputs")
    names = ("copy-last", "noise", "shuffled-control", "truth")
    for name in names:
        generation.generate(generation.model(name), protocol(), real, folder / name)
    return {name: FolderSource(folder / name) for name in names}


@pytest.fixture(scope="module")
def scores(made, real) -> dict[str, dict[str, rows.Row]]:
    return {
        name: {row.metric: row for row in scoring.score(outputs, real, protocol())} for name, outputs in made.items()
    }


# What is told


def told(word: str) -> dict[str, np.ndarray]:
    return controls.told(word, OWN, lambda: OTHER, 1, 0, 3, KNOWN)


def test_a_set_keeps_what_led_to_the_given_frames():
    for word in (word for word in ALL if word != "no-actions"):
        assert {name: (len(track), track.dtype) for name, track in told(word).items()} == {
            name: (6, track.dtype) for name, track in OWN.items()
        }
        assert all((track[0] == OWN[name][0]).all() for name, track in told(word).items())
    assert told("no-actions") == {}


def test_each_set_is_told_what_it_says():
    assert told("new-seed") is OWN
    np.testing.assert_array_equal(told("new-actions")["turn"], [2, 1, 1, 1, 1, 1])
    np.testing.assert_array_equal(
        told("reversed")["turn"], [2, 0, 0, 1, 1, 1]
    )  # 0 0, then what undoes them, then its own
    np.testing.assert_array_equal(told("reversed")["camera"][:, 0], [0, 1, 2, -2, -1, 5])
    for word, changed in (("new-local", "turn"), ("new-global", "camera")):
        for name, track in told(word).items():
            np.testing.assert_array_equal(track[1:], (OTHER if name == changed else OWN)[name][1:])
    shuffled = told("shuffled-actions")
    order = (shuffled["camera"][1:, 0] - 1).astype(int)
    assert sorted(order) == [0, 1, 2, 3, 4] and list(order) != [0, 1, 2, 3, 4]
    np.testing.assert_array_equal(shuffled["turn"][1:], OWN["turn"][1:][order])  # all tracks in the same order


def test_every_case_has_another_one_as_partner():
    for count in (2, 3, 50):
        found = controls.partners(count, 7)
        assert sorted(found) == list(range(count)) and all(at != to for at, to in enumerate(found))
        assert found == controls.partners(count, 7)
    assert controls.partners(50, 7) != controls.partners(50, 8)
    with pytest.raises(VbenchError, match="there is 1 case; take a larger set"):
        controls.partners(1, 0)


def test_what_a_dataset_does_not_say_cannot_be_asked():
    controls.check_set("reversed", ["turn", "camera"], KNOWN)
    with pytest.raises(controls.Absent, match="does not say what undoes jump"):
        controls.check_set("reversed", ["turn", "jump"], KNOWN)
    for names in (["turn"], ["camera"]):
        with pytest.raises(controls.Absent, match="some of its actions are the camera's and some are not"):
            controls.check_set("new-local", names, KNOWN)


def test_what_wsprites_undoes_twice_is_as_it_was(real):
    known, own = task(real).meaning, task(real).controls(0)
    assert set(own) <= set(known.undo) and 0 < sum(name in own for name in known.camera) < len(own)
    for name, track in own.items():
        np.testing.assert_array_equal(known.undone(name, known.undone(name, track)), track)


def test_sparse_motion_is_told_where_something_moves():
    flow = np.zeros((3, 8, 9, 2), np.float32)
    flow[0, 2, 3] = 3, -1  # a single pixel moves
    flow[1, 4:6, 1:7] = -2, 0.5
    maps = controls.sparse_motion(flow, np.random.default_rng(0))
    assert maps.shape == (3, 3, 8, 9) and maps.dtype == np.float32
    assert list(maps[:, 2].sum(axis=(1, 2))) == [1, 5, 5]  # where nothing moves any pixels will do
    for step in (0, 1):
        mask = maps[step, 2] > 0
        assert flow[step][mask].any(axis=-1).all()
        np.testing.assert_array_equal(maps[step, :2][:, mask], flow[step][mask].T)
    drawn = [controls.sparse_motion(flow[1:2] * 1, np.random.default_rng(seed), 1) for seed in range(400)]
    flow[1, 4, 1] *= 9  # a third of all norm lies there
    often = [controls.sparse_motion(flow[1:2], np.random.default_rng(seed), 1)[0, 2, 4, 1] for seed in range(400)]
    assert np.mean([one[0, 2, 4, 1] for one in drawn]) == pytest.approx(1 / 12, abs=0.05)
    assert np.mean(often) == pytest.approx(9 / 20, abs=0.1)


def test_sparse_motion_length_and_swap_need_no_tracks(real):
    own = replace(task(real), protocol=protocol(control="sparse-motion", sets=("new-actions",)))
    other = replace(own, set="new-actions")
    assert own.controls(0)["sparse_motion"].shape == (10, 3, 48, 64)
    np.testing.assert_array_equal(own.controls(0)["sparse_motion"], own.controls(0)["sparse_motion"])
    partner = own.controls(own.partner(0))["sparse_motion"]
    np.testing.assert_array_equal(other.controls(0)["sparse_motion"][2:], partner[2:])
    assert own.absent("reversed") == "the dataset does not say what undoes sparse_motion"
    assert replace(task(real), protocol=protocol(control="length", sets=())).controls(0)["length"].tolist() == [8]


# Protocols


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('sets = ["new-deeds"]', 'sets has "new-deeds", expected words of new-seed'),
        ('sets = ["new-actions"]', 'sets has "new-actions", which needs given frames and a control of each step'),
        ('sets = ["reversed"]\ncontrol = "endpoint"', 'sets has "reversed", which needs'),
    ],
)
def test_sets_of_protocols_are_checked(line, message):
    with pytest.raises(VbenchError, match=message):
        protocols.parse(tiny.PROTOCOL + line)
    assert protocols.parse(tiny.PROTOCOL + 'sets = ["new-seed"]')["tiny-c2-p4@1"].sets == ("new-seed",)


def test_small_forms_of_protocols_differ_in_size_alone():
    for name in ("wsprites-control", "wsprites-counterfactual", "wsprites-longrun"):
        large, small = protocols.load(name), protocols.load(f"{name}-small")
        for key in ("control", "sets", "context", "predict"):
            assert getattr(large, key) == getattr(small, key)


# Generating


def test_names_entries_and_what_was_told_of_each_answer(made, real):
    manifest = made["truth"].manifest
    assert manifest["absent_sets"] == {"no-actions": "truth cannot be asked that"}
    answers = {(entry["clip"], entry.get("set", "")): entry for entry in manifest["clips"]}
    assert len(answers) == len(manifest["clips"]) == 5 * 7
    clip = real.ids[2]
    assert answers[clip, "reversed"]["file"] == f"{clip}@0#0~reversed.mkv"
    assert answers[clip, "new-actions"]["from"] == f"{real.ids[task(real).partner(2)]}@0"
    assert "set" not in answers[clip, ""] and "from" not in answers[clip, "reversed"]
    for word in ("", *ALL[:3], *ALL[4:]):
        wanted = task(real, word).controls(2)
        name = answers[clip, word]["file"].removesuffix(".mkv")
        found = made["truth"].tracks_of(name, [f"told_{track}" for track in wanted])
        assert found and {n.removeprefix("told_") for n in found} == set(wanted)
        for track, entries in found.items():
            np.testing.assert_array_equal(entries, wanted[track.removeprefix("told_")])


def test_the_world_of_wsprites_is_the_truth_under_the_true_actions(real):
    leaf, asked = registry.load("baselines", "truth"), task(real, "new-actions")
    itself = replace(asked, set="shuffled-actions")
    for index in range(5):
        world, told = asked.world(index), replace(asked, set="").controls(index)
        state, frames = world.state, []
        for at in range(2, 10):
            entries = {name: track[at].tolist() for name, track in told.items() if name in world.rest}
            frame, state = world.step(state, {**world.rest, **entries})
            frames.append(frame[0])
        np.testing.assert_array_equal(np.stack(frames), asked.window(index)[2:])
        for other in (asked, itself):
            answer = leaf.generate(other, index, np.random.default_rng())
            assert answer.shape == (8, 48, 64, 3) and (answer != asked.window(index)[2:]).any()


@pytest.mark.parametrize("size", ["128x96", "64x48", "96x96"])
def test_the_world_of_wsprites_returns_when_its_steps_are_undone(size):
    """Place and window, though steps are cut short at the edges; the animation goes on."""
    leaf, known = registry.load("datasets", "wsprites"), controls.meaning(registry.load("datasets", "wsprites"))
    options, cut = leaf.Options(size=size, frames=30), 0
    for index in range(4):
        index += leaf.CAST["test"].start * 10
        clip = leaf.clip("test", index, options)
        told = {name: clip.tracks[name] for name in known.undo}
        world = leaf.world(options, clip.id, 0)
        assert world.rest.keys() >= told.keys()
        reversed_ = controls.told("reversed", told, dict, 1, 0, 0, known)
        state, places = world.state, []
        for at in range(1, 29):
            frame, state = world.step(state, {name: track[at].tolist() for name, track in reversed_.items()})
            places.append(state[:2])
            if at <= 14:
                np.testing.assert_array_equal(frame[0], clip.frames[at])
        assert places[-1] == world.state[:2] and places[13] != places[-1]
        assert places[14:] == [*places[:13][::-1], world.state[:2]]
        walked = np.abs(np.diff([world.state[0], *(place for place, _ in places)], axis=0)).sum(axis=1)
        cut += (~np.isin(walked, (0, 7))).sum()
    assert cut > 0


def test_sanity_rows_answer_what_they_can(made):
    assert made["copy-last"].manifest["absent_sets"] == {} == made["noise"].manifest["absent_sets"]
    absent = made["shuffled-control"].manifest["absent_sets"]
    assert sorted(absent) == sorted(set(ALL) - {"new-seed", "new-actions"})
    noise, names = made["noise"], [name for name in made["noise"].ids if "~" not in name]
    for name in names:
        same, other = noise.frames(f"{name}~new-actions"), noise.frames(f"{name}~new-seed")
        assert (same == noise.frames(name)).all() and (other[2:] != noise.frames(name)[2:]).any()


@pytest.mark.parametrize("count", [2, 3, 4, 5, 32, 256])
def test_the_shuffled_control_answers_with_neither_its_own_nor_the_told_future(count):
    """Of two cases there is no third, so it ignores what is told."""
    leaf = registry.load("baselines", "shuffled-control")
    asked = SimpleNamespace(cases=range(count), set="new-actions", protocol=protocol(), window=lambda case: [case] * 10)
    asked.partner = lambda case: controls.partners(count, 0)[case]
    for case in range(count):
        answered = {*leaf.generate(asked, case, np.random.default_rng())}
        assert not answered & ({case, asked.partner(case)} if count > 2 else {asked.partner(case)})


def test_an_interrupted_run_goes_on_to_the_same_bytes(made, real, tmp_path, monkeypatch):
    monkeypatch.setattr(generation, "CHUNK", 3)
    out = tmp_path / "out"
    generation.generate(generation.model("noise"), protocol(), real, out)
    (out / f"{real.ids[0]}@0#0~reversed.mkv").unlink()
    generation.generate(generation.model("noise"), protocol(), real, out)
    for name in FolderSource(out).ids:
        assert (FolderSource(out).frames(name) == made["noise"].frames(name)).all()


def test_a_trained_model_is_told_the_set_under_the_seed_of_its_case(real, tmp_path, monkeypatch):
    heard: list[Asked] = []

    def answer(system: object, asked: list[Asked]) -> list[Made]:
        heard.extend(asked)
        return [Made(np.zeros((8, 48, 64, 3), np.uint8), {"local_action": np.zeros(8, np.int8)}) for _ in asked]

    leaf = SimpleNamespace(STAGES=("",), CONTROLS=("actions", "swap"), CONTROL="actions", generate=answer)
    load = registry.load
    monkeypatch.setattr(registry, "load", lambda kind, name: leaf if name == "toy" else load(kind, name))
    facts = SimpleNamespace(height=48, width=64)
    monkeypatch.setattr(generation, "_loaded", lambda *run: SimpleNamespace(system=None, facts=facts))
    monkeypatch.setattr(Model, "facts", lambda self: {})
    monkeypatch.setattr(Model, "history", lambda self: {})
    monkeypatch.setattr(Model, "strangeness", lambda self, real: {})
    monkeypatch.setattr(generation, "_speed", lambda *asked: {})
    model = Model("toy", tmp_path / "run")
    manifest = generation.generate(model, protocol(samples=2), real, tmp_path / "out", seed=4)
    assert manifest["absent_sets"] == {"no-actions": "toy cannot be asked that"}
    seeds = {each.name: each.seed for each in heard}
    base = f"{real.ids[1]}@0#1"
    assert seeds[f"{base}.mkv"] == seeds[f"{base}~new-actions.mkv"] == seeds[f"{base}~reversed.mkv"] == (4, 1, 1)
    assert seeds[f"{base}~new-seed.mkv"] == (4, 1, 3)  # of no other sample
    by_name = {each.name: each for each in heard}
    for word in ("reversed", "new-local"):
        wanted = task(real, word).controls(1)
        assert all((by_name[f"{base}~{word}.mkv"].controls[n] == track).all() for n, track in wanted.items())
    tracks = np.load(tmp_path / "out" / f"{base}~reversed.npz")
    assert {"local_action", "told_global_action"} <= set(tracks.files)

    leaf.heeds = lambda settings: settings
    for tracks_told, heeded in ((("local_action", "class"), "actions"), ((), "none"), (("class",), "none")):
        about = SimpleNamespace(recipe=SimpleNamespace(model=tracks_told))
        monkeypatch.setattr(runs, "open_run", lambda run, about=about: about)
        manifest = generation.generate(model, protocol(), real, tmp_path / f"out-{len(tracks_told)}")
        assert manifest["control"] == heeded and ("no-actions" in manifest["absent_sets"]) is (heeded != "none")
        assert "told_local_action" in np.load(tmp_path / f"out-{len(tracks_told)}" / f"{real.ids[1]}@0#0.npz").files

    heard.clear()
    swapped = generation.generate(model, protocol(control="swap", sets=()), real, tmp_path / "swap")
    for index, each in enumerate(heard):
        np.testing.assert_array_equal(each.driving, task(real).window(task(real).partner(index)))
        assert swapped["clips"][index]["from"] == f"{real.ids[task(real).partner(index)]}@0"


# Every kind of control


def test_every_kind_of_control_has_a_protocol():
    assert {protocol.control for protocol in protocols.load_all().values()} == set(controls.CONTROLS)


SANITY = ("truth", "real", "copy-last", "shuffled-control", "noise")


@pytest.mark.parametrize("kind", ["sparse-motion", "swap", "length"])
def test_sanity_rows_answer_what_needs_no_actions(real, tmp_path, kind):
    """With what was wanted beside every clip; in order, where the protocol's metrics need no weights from elsewhere."""
    asked = replace(protocols.load(f"wsprites-{kind}"), select=Select("first"), predict=8)
    found = {}
    for name in SANITY:
        generation.generate(generation.model(name), asked, real, tmp_path / name)
        rows = scoring.score(FolderSource(tmp_path / name), real, asked)
        absent = {row.metric for row in rows if row.value is None}
        assert absent <= {"lpips", "fvd", "fvd-sliding"} | ({"add-sprite"} if name == "noise" else set())
        found[name] = {row.metric: row.value for row in rows}
    table = np.load(next((tmp_path / "noise").rglob("*.npz")))
    if kind == "sparse-motion":
        assert table["told_sparse_motion"].shape == (9, 3, 48, 64)
        errors = {name: found[name]["controlepe"] for name in SANITY}
        assert errors["truth"] == 0 and found["truth"]["controlepe-cosine"] == pytest.approx(1)
        assert min(errors[name] for name in SANITY[1:]) > 0 and max(errors, key=errors.get) == "noise"
        assert found["copy-last"]["controlepe-cosine"] == 0
    elif kind == "swap":
        told = generation.Task(asked, real, [protocols.Case(clip, 0, 9, context=1) for clip in real.ids])
        first = np.load(tmp_path / f"copy-last/{real.ids[0]}@0#0.npz")["told_local_action"]
        np.testing.assert_array_equal(first[1:], real.track("local_action", real.ids[told.partner(0)])[1:9])
        actions = {name: found[name]["action"] for name in SANITY}
        assert actions["truth"] > 0.95 and max(actions, key=actions.get) == "truth" and actions["noise"] == 0
        assert found["truth"]["identity"] > 0.9 > found["shuffled-control"]["identity"]
    else:
        assert table["told_length"].tolist() == [8]
        assert found["truth"]["identity"] > 0.9 > found["real"]["identity"]
    assert found["truth"]["mdr-sprite"] == 0 and found["noise"]["mdr-sprite"] > 80


def test_what_another_clip_does_is_not_guessed(made, real):
    """Clips that lie alone were told nobody knows what: the real action of the given clip was not wanted."""
    asked = replace(protocols.load("wsprites-swap"), select=Select("first"), predict=8)
    clips = {clip: real.frames(clip, 0, 9) for clip in real.ids}
    (row,) = scoring.score(tiny.Named(clips), real, asked, ["action"])
    assert row.value is None and "has no track told_local_action" in row.note


@pytest.mark.parametrize("kind", [*controls.CONTROLS, "shuffled", "a person", None])
def test_a_manifest_may_name_any_control(made, real, kind):
    outputs = FolderSource(made["copy-last"].paths[made["copy-last"].ids[0]].parent.parent)
    outputs.manifest = {**made["copy-last"].manifest, "control": kind}
    assert scoring.score(outputs, real, protocol(), ["psnr"])[0].value > 0
    outputs.manifest["control"] = "telepathy"
    with pytest.raises(VbenchError, match='the manifest says control "telepathy", expected one of none, class'):
        scoring.score(outputs, real, protocol(), ["psnr"])


# Pairing


def test_a_whole_set_may_lack_but_no_part_of_one(made, real, tmp_path):
    for name in made["copy-last"].ids:
        if "~reversed" not in name:
            tiny.write_outputs(tmp_path / "less", {name: made["copy-last"].frames(name)})
    (row,) = scoring.score(FolderSource(tmp_path / "less"), real, protocol(), ["reversal"])
    assert row.value is None and row.note == "n/a: less has no answers to reversed, which it compares"
    tiny.write_outputs(
        tmp_path / "less", {f"{real.ids[0]}@0#0~reversed": made["copy-last"].frames(made["copy-last"].ids[0])}
    )
    with pytest.raises(VbenchError, match=r'4 of the 40 clips .* are missing, the first is ".*#0~reversed"'):
        scoring.score(FolderSource(tmp_path / "less"), real, protocol(), ["reversal"])
    with pytest.raises(VbenchError, match=r"35 clips that .* does not know"):
        scoring.score(made["copy-last"], real, protocol(sets=()), ["psnr"])


def test_metrics_of_sets_say_why_they_cannot_be_computed(made, real, tmp_path):
    tiny.write_outputs(tmp_path / "base", {n: made["truth"].frames(n) for n in made["truth"].ids if "~" not in n})
    (row,) = scoring.score(FolderSource(tmp_path / "base"), real, protocol(sets=()), ["deltapsnr"])
    assert row.value is None and "does not ask for new-actions; name a protocol that does" in row.note
    (row,) = scoring.score(real, real, None, ["deltapsnr"])
    assert row.value is None and "this is scored without a protocol" in row.note


# Metrics


def clip(value: float, frames: int = 9) -> np.ndarray:
    return np.full((frames, 16, 16, 3), value, np.uint8)


def test_deltas_are_differences_of_their_metrics(toy, monkeypatch):
    rng = np.random.default_rng(0)
    real, base, other = (rng.integers(256, size=(9, 16, 16, 3), dtype=np.uint8) for _ in range(3))
    answers = {"": base, "new-actions": other, "shuffled-actions": real}
    each = psnr.values(real, base) - psnr.values(real, other)
    np.testing.assert_array_equal(deltapsnr.values(real, answers), each[4:5])
    np.testing.assert_array_equal(deltapsnr.values(real, answers, at=0), each[1:])
    assert (deltapsnr.values(real, answers, against="shuffled-actions", at=0) < -80).all()
    assert deltassim.values(real, answers | {"": real}) == 1 - tokens.metric("ssim").values(real, other)[4]
    distances = SimpleNamespace(distances=lambda real, *fakes: [np.full(len(real), n, np.float32) for n in (0.25, 1)])
    monkeypatch.setattr("vbench_ctl.networks.extractor", lambda features: distances)
    assert deltalpips.values(real, answers).tolist() == [0.75] and len(deltalpips.values(real, answers, at=0)) == 8
    assert (deltapsnr.values(real, {"": base, "new-actions": base}, at=0) == 0).all()
    with pytest.raises(VbenchError, match="looks at predicted frame 4, and there are 3; ask for the variant mean"):
        deltapsnr.values(real[:4], {word: one[:4] for word, one in answers.items()})


def test_counterfactual_divergence_is_a_ratio_of_distances():
    rows = counterfactual.collect(clip(0), {"": clip(10), "new-actions": clip(40), "new-seed": clip(20)})
    np.testing.assert_allclose(rows, np.tile([30 / 255, 10 / 255], (8, 1)))
    assert counterfactual.pooled([rows]) == pytest.approx(3)
    assert counterfactual.pooled([rows], form="share") == pytest.approx(3 / 4)
    mixed = [rows, counterfactual.collect(clip(0), {"": clip(10), "new-actions": clip(10), "new-seed": clip(10)})]
    assert counterfactual.pooled(mixed) == pytest.approx(
        3
    )  # of mean distances, so a clip without any counts for nothing
    still = [np.zeros((8, 2))]
    deaf, sure = [rows * [0, 1]], [rows * [1, 0]]
    assert np.isnan(counterfactual.pooled(still)) and np.isnan(counterfactual.pooled(still, form="share"))
    assert counterfactual.note(still) == "neither other actions nor another seed change any frame"
    assert counterfactual.pooled(deaf) == 0 and counterfactual.pooled(deaf, form="share") == 0
    assert np.isnan(counterfactual.pooled(sure)) and "counterfactual-share has a value" in counterfactual.note(sure)
    assert counterfactual.pooled(sure, form="share") == 1


@pytest.mark.parametrize("predict", [8, 9])
def test_the_revisit_error_compares_both_ways(predict):
    there = [0, 10, 20, 30, 40]
    back = np.array([*there, 30, 20, 10, 6, 99][: predict + 1])
    loop = np.repeat(back, 16 * 16 * 3).reshape(-1, 16, 16, 3).astype(np.uint8)
    (row,) = reversal.collect(loop, {"reversed": loop})
    np.testing.assert_allclose(row, [6 / 255, 40 / 255])
    assert reversal.pooled([row[None]]) == pytest.approx(6 / 255)
    assert reversal.pooled([row[None]], form="relative") == pytest.approx(6 / 40)
    path = reversal.collect(loop, {"reversed": loop}, form="path")
    np.testing.assert_allclose(path[:, 0], [6 / 255, 0, 0, 0])
    frozen = [reversal.collect(clip(7), {"reversed": clip(7)})]
    assert reversal.pooled(frozen) == 0 and np.isnan(reversal.pooled(frozen, form="relative"))
    assert reversal.note(frozen) == "nothing moves, so nothing comes back"
    with pytest.raises(VbenchError, match="needs 2 predicted frames"):
        reversal.collect(loop[:2], {"reversed": loop[:2]})


def scene(drift: tuple[float, float], walk: tuple[int, int] | None, frames: int = 9) -> np.ndarray:
    """A blurred texture whose content drifts, and a block that walks before it: uint8 (T, 96, 128, 3)."""
    rng = np.random.default_rng(3)
    texture = ndimage.gaussian_filter(rng.random((140, 170)), 6)
    texture = 60 + 100 * (texture - texture.min()) / np.ptp(texture)
    shown = [
        ndimage.shift(texture, (t * drift[1], t * drift[0]), order=3)[20:116, 20:148].clip(0, 255)
        for t in range(frames)
    ]
    clip = np.repeat(np.round(np.stack(shown))[..., None], 3, axis=-1).astype(np.uint8)
    if walk:
        for t in range(frames):
            x, y = 40 + walk[0] * t, 30 + walk[1] * t
            clip[t, y : y + 24, x : x + 18] = 250, 230, 240
    return clip


def test_the_camera_is_seen_behind_whoever_walks():
    for walk in (None, (5, 0), (-3, 2)):
        found = camera.path(scene((-1, 0.75), walk))
        np.testing.assert_allclose(found.camera, np.outer(np.arange(1, 9), [-1, 0.75]), atol=0.3)
        if walk:
            middles = np.array([[40 + 9 + walk[0] * (t - 0.5), 30 + 12 + walk[1] * (t - 0.5)] for t in range(1, 9)])
            assert np.abs(found.object - middles).max() < 4
    flat = camera.path(clip(80))
    assert (flat.camera == 0).all() and np.isnan(flat.object).all()


def test_separation_tells_who_moves_what():
    base, local, moved = scene((1, 0), (2, 0)), scene((1, 0), (0, 3)), scene((-1, 0), (2, 0))
    apart = {"": base, "new-local": local, "new-global": moved}
    mixed = {"": base, "new-local": scene((-1, 0), (0, 3)), "new-global": scene((-1, 0), (0, 3))}
    for of in ("camera", "object"):
        assert separation.pooled([separation.collect(base, apart, of=of)], of=of) < 0.2
        assert separation.pooled([separation.collect(base, mixed, of=of)], of=of) == pytest.approx(1)
    deaf = [separation.collect(base, {"": base, "new-local": base, "new-global": base})]
    assert np.isnan(separation.pooled(deaf)) and "strays by 0 px" in separation.note(deaf)
    rounding = [np.tile([7e-15, 3.6e-15], (8, 1))]
    assert np.isnan(separation.pooled(rounding)) and np.isnan(separation.pooled(rounding, of="object"))
    assert separation.pooled([np.tile([0.01, 0.02], (8, 1))]) == 0.5


def test_truth_obeys_and_what_heeds_nothing_does_not(scores):
    truth, deaf, noise = (scores[name] for name in ("truth", "copy-last", "noise"))
    assert truth["deltapsnr"].value > 70 and truth["counterfactual-share"].value == 1
    assert truth["separation"].value < 0.3 and truth["separation-object"].value < 0.3
    assert truth["reversal-relative"].value < 1 and truth["counterfactual"].value is None
    assert deaf["deltapsnr"].value == deaf["deltassim"].value == deaf["reversal"].value == 0
    assert deaf["reversal-relative"].value is None and deaf["separation"].value is None
    assert noise["counterfactual"].value == noise["deltapsnr-shuffled"].value == 0
    assert truth["deltapsnr-none"].note == (
        "n/a: truth has no answers to no-actions (truth cannot be asked that), which it compares"
    )
    assert "|new-actions,t4," in truth["deltapsnr"].signature and "sets_sha256" in truth["deltapsnr"].provenance


def test_sanity_rows_stand_in_order_of_obedience(scores):
    for metric in ("deltapsnr", "deltapsnr-mean", "deltassim"):
        truth, shuffled, noise = (scores[name][metric].value for name in ("truth", "shuffled-control", "noise"))
        assert truth > shuffled and truth > noise == 0
    table, *_ = leaderboard.tables([row for rows in scores.values() for row in rows.values()])
    assert not any("truth, which must obey better" in remark for remark in table.remarks)


def test_what_obeys_now_and_then_stands_between(made, real, tmp_path):
    """In place of a trained network: the truth's answers in three of five cases, those of another control in two."""
    for name in made["shuffled-control"].ids:
        obeys = real.ids.index(name.partition("@")[0]) < 3
        tiny.write_outputs(tmp_path / "often", {name: made["truth" if obeys else "shuffled-control"].frames(name)})
    obedience = ("action", "action-macro", "action-facing", "deltapsnr", "deltapsnr-mean", "deltassim")
    assert set(obedience) <= set(suites.load("control").obedience)
    answers = {"often": FolderSource(tmp_path / "often"), **made}
    rows = [row for outputs in answers.values() for row in scoring.score(outputs, real, protocol(), obedience)]
    found = {(row.model, row.metric): row.value for row in rows}
    for metric in obedience:
        truth, often, shuffled, noise = (found[n, metric] for n in ("truth", "often", "shuffled-control", "noise"))
        assert truth > often > max(shuffled, noise), metric
        assert shuffled > noise or not metric.startswith("action"), metric
    (table,) = leaderboard.tables(rows)
    ends = {(row.model, row.metric): (row.low, row.high) for row in rows}
    said = [m for m in obedience if ends["shuffled-control", m][1] < ends["noise", m][0]]
    assert table.remarks == [f"{m}: noise stands above shuffled-control, which must obey better" for m in said]


def test_a_sanity_row_out_of_order_is_said(scores):
    truth, noise = (replace(scores[name]["deltapsnr"], low=None, high=None) for name in ("truth", "noise"))
    worse = [replace(truth, value=-3.0), replace(noise, value=0.0)]
    trained = replace(worse[0], model="my run", value=-1.0)
    (table,) = leaderboard.tables([*worse, trained])
    assert table.remarks == [
        "deltapsnr: noise stands above truth, which must obey better",
        "deltapsnr: my run stands above truth, which must obey better",
        "deltapsnr: noise stands above my run, which must obey better",
    ]
    assert not leaderboard.tables([replace(row, metric="psnr") for row in worse])[0].remarks  # a blur may win that
    assert not leaderboard.tables([replace(worse[0], low=-6.0, high=0.5), worse[1]])[0].remarks  # by chance, perhaps


@pytest.mark.parametrize("size", [1, 100])
def test_no_score_depends_on_how_many_clips_go_together(scores, made, real, monkeypatch, size):
    monkeypatch.setattr(measuring, "CHUNK", size)
    for row in scoring.score(made["truth"], real, protocol()):
        assert (row.value, row.low, row.high) == tuple(
            getattr(scores["truth"][row.metric], n) for n in ("value", "low", "high")
        )


@pytest.fixture(scope="module")
def tracked(made, real, tmp_path_factory) -> FolderSource:
    """Another clip's future with tracks of it, as a model may have found and been told them, and not quite right."""
    folder, rng = tmp_path_factory.mktemp("tracked") / "out", np.random.default_rng(7)
    for name in made["shuffled-control"].ids:
        tiny.write_outputs(folder, {name: made["shuffled-control"].frames(name)})
        clip = name.partition("@")[0]
        known = real.tracks_of(clip, ["local_action", "motion_fg", "motion_bg", "masks", "position"], 0, 10)
        known |= {word: track + rng.normal(size=track.shape) for word, track in known.items() if word[:6] != "local_"}
        known["masks"] = known["masks"].clip(0, 255).astype(np.uint8)
        told = rng.random((10, 3, 48, 64)) * (rng.random((10, 1, 48, 64)) < 0.01)
        tracks.write(folder / f"{name}.npz", known | {"told_sparse_motion": told}, 10)
    return FolderSource(folder)


WHOLE_SUITE = [*suites.load("control").metrics, "endpoint-position", "endpoint-sprite", "shift-bg", "controlepe-inside"]


@pytest.fixture(scope="module")
def at_once(tracked, real) -> dict[str, rows.Row]:
    return {row.metric: row for row in scored_by(tracked, real, 8)}


def scored_by(outputs, real, cases: int, workers: int = 1) -> list[rows.Row]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measuring, "CHUNK", 3 * cases)  # each has two other answers
        return scoring.score(outputs, real, protocol(), WHOLE_SUITE, workers=workers)


@pytest.mark.parametrize(("cases", "workers"), [(1, 1), (3, 1), (3, 2)])
def test_no_number_of_the_suite_depends_on_batches_and_workers(tracked, real, at_once, cases, workers):
    for row in scored_by(tracked, real, cases, workers):
        same = at_once[row.metric]
        numbers = [np.array([r.value, r.low, r.high, *r.per_frame], float) for r in (row, same)]  # None is NaN
        np.testing.assert_allclose(*numbers, rtol=1e-9, atol=1e-12, err_msg=row.metric)
        assert (row.n, row.note, row.signature) == (same.n, same.note, same.signature)


def test_of_the_suite_these_have_numbers_here(at_once):
    """So that the test above compares some of each module; the others need weights, training or other answers."""
    numbers = {metric.partition("-")[0] for metric, row in at_once.items() if row.value is not None}
    lacking = {metric.partition("-")[0] for metric in WHOLE_SUITE} - numbers
    assert lacking == {"idm", "deltalpips", "lpips", "reversal", "separation", "latency"}


def test_several_samples_are_compared_with_their_own_other_answers(real, tmp_path):
    generation.generate(generation.model("noise"), protocol(samples=2), real, tmp_path / "out")
    rows = scoring.score(
        FolderSource(tmp_path / "out"), real, protocol(samples=2), ["deltapsnr", "counterfactual-share"]
    )
    assert [row.value for row in rows] == [0, 0] and "|5x2:mean|" in rows[0].signature


# Suites


def test_suites_hold_metrics_that_there_are():
    for suite in suites.load_all().values():
        assert len(set(suite.metrics)) == len(suite.metrics) and set(suite.obedience) <= set(suite.metrics)
        for token in suite.metrics:
            assert tokens.metric(token).token == token
    with pytest.raises(VbenchError, match='did you mean "control"'):
        suites.load("contrl")


def test_the_suite_of_control_gives_every_row(made, real):
    suite = suites.load("control")
    rows = scoring.score(made["shuffled-control"], real, protocol(), suite.metrics)
    assert [row.metric for row in rows] == list(suite.metrics)
    assert all(row.value is not None or row.note for row in rows)
    assert {row.metric for row in rows if row.value is None} >= {"deltapsnr-none", "reversal", "separation"}


def test_manifests_of_plain_protocols_say_nothing_of_sets(real, tmp_path):
    manifest = generation.generate(generation.model("copy-last"), protocol(sets=()), real, tmp_path)
    assert "absent_sets" not in manifest and files.read_json(tmp_path / "manifest.json") == manifest
