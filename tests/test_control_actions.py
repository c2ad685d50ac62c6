"""Inverse dynamics, latent actions, drift and latency: closed forms, the cache, and what is refused."""

import dataclasses
import json
import pickle

import numpy as np
import pytest
import tiny

from vbench_ctl import building, files, generation, inverse, measuring, protocols, rows, scoring, store, tracks
from vbench_ctl.clips import Clip
from vbench_ctl.errors import UsageError
from vbench_ctl.inverse import Lesson, Unlearnable
from vbench_ctl.metrics import actionvar, drift, idm, latency, latent
from vbench_ctl.sources import ArraySource, FolderSource, StoreSource

FRAMES, SIZE = 8, 16
MOVES = np.array([[0, 0], [3, 0], [-3, 0], [0, 3]])  # of each class


def walker(name: str, seed: int) -> Clip:
    """A bright square that goes where its actions say, round the edges; a vector says the same of the way ahead."""
    rng = np.random.default_rng(seed)
    classes = rng.integers(len(MOVES), size=FRAMES)
    places = rng.integers(SIZE, size=2) + MOVES[classes].cumsum(axis=0)
    frames = np.zeros((FRAMES, SIZE, SIZE, 3), np.uint8)
    for frame, (x, y) in zip(frames, places, strict=True):
        frame[np.ix_(np.arange(y, y + 4) % SIZE, np.arange(x, x + 4) % SIZE)] = 255
    ahead = np.roll(MOVES[classes], -1, axis=0).astype(np.float32)
    return Clip(name, frames, None, {"local_action": classes.astype(np.int8), "actions": ahead})


@pytest.fixture(scope="module")
def real(tmp_path_factory) -> StoreSource:
    folder = tmp_path_factory.mktemp("walkers") / "store"
    sizes = {"train": 48, "test": 12}
    parts = {split: [[walker(f"{split}/{n}", 1000 * len(split) + n) for n in range(sizes[split])]] for split in sizes}
    building.build(folder, tiny.recipe(make=iter, **parts))
    return StoreSource(store.Store(folder, "test"))


@pytest.fixture(scope="module")
def learned(real, tmp_path_factory) -> dict:
    """Networks of few steps, learned once for all tests here."""
    root = tmp_path_factory.mktemp("home")
    short = {lesson: dataclasses.replace(lesson, steps=120, batch=32) for lesson in LESSONS}
    return {lesson: inverse.learned(real.store, short[lesson], root) for lesson in LESSONS}


LESSONS = (idm.lesson(), idm.lesson(form="r2"))


@pytest.fixture
def at_hand(learned, monkeypatch):
    monkeypatch.setattr(inverse, "learned", lambda asked, lesson, root=None: learned[lesson])


def outputs(folder, clips: dict[str, np.ndarray], **told) -> FolderSource:
    tiny.write_outputs(folder, clips)
    for name in clips:
        if told:
            tracks.write(folder / f"{name}.npz", {word: of(name) for word, of in told.items()}, FRAMES)
    return FolderSource(folder)


def scored(fake, real, *tokens, **how) -> dict[str, rows.Row]:
    return {row.metric: row for row in scoring.score(fake, real, metrics=tokens, **how)}


# Inverse dynamics


TOKENS = ("idm", "idm-f1", "idm-gap", "idm-r2", "idm-mse")


def test_real_clips_do_as_they_were_told_and_still_ones_do_not(tmp_path, real, at_hand):
    clips = {name: real.frames(name) for name in real.ids}
    found = scored(outputs(tmp_path / "same", clips), real, *TOKENS)
    assert found["idm"].value > 0.9 and found["idm-f1"].value > 0.9 and found["idm-r2"].value > 0.7
    assert found["idm-gap"].value == 0 and found["idm-gap"].direction == found["idm-mse"].direction == "lower"
    assert f"real clips reach accuracy {found['idm'].value:.3f}" in found["idm"].note
    table = found["idm"].details["confusion"]
    counts = np.array(table["counts"])
    assert table["labels"] == [0, 1, 2, 3] and counts.sum() == 12 * (FRAMES - 1)
    assert np.trace(counts) / counts.sum() == pytest.approx(found["idm"].value)
    assert found["idm"].details["confusion_real"] == table and found["idm-r2"].details == {}
    still = {name: np.repeat(frames[:1], FRAMES, axis=0) for name, frames in clips.items()}
    frozen = scored(outputs(tmp_path / "still", still), real, *TOKENS)
    share = np.mean(np.concatenate([real.track("local_action", name)[1:] for name in real.ids]) == 0)
    assert frozen["idm"].value == pytest.approx(share, abs=0.03)  # all are read as standing
    assert frozen["idm-gap"].value == pytest.approx(found["idm"].value - frozen["idm"].value)
    assert frozen["idm-r2"].value < 0.2 and frozen["idm-mse"].value > found["idm-mse"].value


def test_what_a_model_was_told_is_the_truth(tmp_path, real, at_hand):
    """Each clip does what the next one does, and was told so; the last transition was not told."""
    after = dict(zip(real.ids, [*real.ids[1:], real.ids[0]], strict=True))
    clips = {name: real.frames(other) for name, other in after.items()}

    def told(name):
        return np.append(real.track("local_action", after[name])[:-1].astype(float), np.nan)

    obedient = scored(outputs(tmp_path / "a", clips, told_local_action=told), real, "idm")["idm"]
    assert obedient.value > 0.9 and obedient.note.startswith(f"{12 * (FRAMES - 2)} transitions")
    assert scored(outputs(tmp_path / "b", clips), real, "idm")["idm"].value < 0.6


def test_chunks_and_other_processes_change_nothing(tmp_path, real, learned, at_hand, monkeypatch):
    fake = outputs(
        tmp_path / "noise", {name: tiny.noise(1, n, FRAMES, (SIZE, SIZE))[0] for n, name in enumerate(real.ids)}
    )
    whole = scored(fake, real, "idm", "idm-r2")
    monkeypatch.setattr(measuring, "CHUNK", 1)
    again = scored(fake, real, "idm", "idm-r2")
    for token, row in whole.items():
        assert dataclasses.replace(again[token], provenance={}) == dataclasses.replace(row, provenance={})

    for network in learned.values():
        clip = real.frames("test/0")
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(network)).read(clip), network.read(clip))
        np.testing.assert_allclose(network.read(clip)[:3], network.read(clip[:4]), rtol=1e-4, atol=1e-4)


def test_a_network_is_learned_once_and_for_what_it_was_learned_from(real, tmp_path, monkeypatch):
    lesson = Lesson("local_action", steps=2, batch=4, clips=4)
    first = inverse.learned(real.store, lesson, tmp_path)
    (held,) = (tmp_path / "cache/inverse").iterdir()
    again = inverse._learn(store.Store(real.store.folder, "train"), lesson)
    assert all((first.state[name] == again[name]).all() for name in again)  # the seed decides
    held.write_bytes(held.read_bytes()[:100])  # damaged: learned again
    assert (inverse.learned(real.store, lesson, tmp_path).state["labels"] == [0, 1, 2, 3]).all()
    monkeypatch.setattr(inverse, "_learn", lambda *_: pytest.fail("it is in the cache"))
    assert (
        inverse.learned(real.store, lesson, tmp_path).read(real.frames("test/0")) == first.read(real.frames("test/0"))
    ).all()
    with pytest.raises(pytest.fail.Exception, match="in the cache"):
        inverse.learned(real.store, dataclasses.replace(lesson, seed=1), tmp_path)


def test_a_killed_lesson_leaves_nothing(real, tmp_path, monkeypatch):
    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(inverse, "_learn", stopped)
    with pytest.raises(KeyboardInterrupt):
        inverse.learned(real.store, Lesson("local_action"), tmp_path)
    assert not list(tmp_path.rglob("*.npz"))


def test_what_cannot_be_learned_is_said(tmp_path, real):
    fake = outputs(tmp_path / "out", {name: real.frames(name) for name in real.ids})
    folder = FolderSource(tmp_path / "out")
    for name in real.ids:
        tracks.write(tmp_path / f"out/{name}.npz", {"local_action": np.zeros(FRAMES)}, FRAMES)
    note = scored(fake, folder, "idm")["idm"].note
    assert note == "n/a: out is no store with a training split to learn from"
    train = StoreSource(store.Store(real.store.folder, "train"))
    with pytest.raises(Unlearnable, match="are the ones that actions are learned from, train; score another split"):
        inverse.learned(train.store, Lesson("local_action"), tmp_path)
    with pytest.raises(Unlearnable, match="has no track wind, the actions that are to be told"):
        inverse.learned(real.store, Lesson("wind"), tmp_path)
    with pytest.raises(Unlearnable, match=r"an entry of actions is float32 \(2,\), expected the number of a class"):
        inverse.learned(real.store, Lesson("actions"), tmp_path)
    alone = store.Store(tiny.built(tmp_path / "alone", test=tiny.work("test", (8,))).folder, "test")
    with pytest.raises(Unlearnable, match='has no split "train" to learn actions from; prepare it as well'):
        inverse.learned(alone, Lesson("local_action"), tmp_path)


def rows_of(true, read, which=1):
    return np.column_stack([np.full(len(true), which), true, read]).astype(float)


def test_scores_of_rows_by_hand():
    parts = [rows_of([0, 0, 1, 1], [0, 1, 1, 1]), rows_of([0, 1], [0, 1], which=0)]
    assert idm.pooled(parts) == 0.75 and idm.pooled(parts, form="gap") == 0.25
    assert idm.pooled(parts, form="f1") == pytest.approx((2 / 3 + 4 / 5) / 2)
    assert (
        idm.note(parts)
        == "4 transitions; real clips reach accuracy 1.000, macro-F1 1.000; always the commonest action would 0.500"
    )
    vectors = [rows_of(np.array([[0, 1.0], [2, 1], [4, 1]]), np.array([[0, 2.0], [2, 1], [2, 1]]))]
    assert idm.pooled(vectors, form="r2") == pytest.approx(1 - 4 / 8)  # the second coordinate never differs
    assert idm.pooled(vectors, form="mse") == pytest.approx((4 / 3 + 1 / 3) / 2)
    assert np.isnan(idm.pooled([rows_of([], [])])) and idm.note([rows_of([], [])]) == "no transition was scored"
    assert np.isnan(idm.pooled([rows_of(np.ones((2, 1)), np.ones((2, 1)))], form="r2"))


# Latent actions


def test_found_actions_by_hand():
    """Three codes for two actions: 3 + 2 of 6 have the commonest action of their code, 3 + 1 fit with one name each."""
    parts = [np.array([[0, 5], [0, 5], [0, 5], [1, 5]]), np.array([[1, 7], [1, 9]])]
    assert latent.pooled(parts, form="purity") == pytest.approx(5 / 6)
    assert latent.pooled(parts) == pytest.approx(4 / 6)
    pairs, rows_, columns = 3, 3 + 3, 6  # within cells, of equal actions, of equal codes
    expected = rows_ * columns / 15
    assert latent.pooled(parts, form="ari") == pytest.approx((pairs - expected) / ((rows_ + columns) / 2 - expected))
    assert latent.details(parts)["confusion"] == {"labels": [0, 1], "counts": [[3, 0, 0], [1, 1, 1]]}


@pytest.mark.parametrize("form", latent.FORMS)
def test_names_do_not_matter_and_chance_is_said(form):
    true = np.random.default_rng(0).integers(4, size=400)
    renamed = [np.column_stack([true, (true * 3 + 1) % 4])]
    assert latent.pooled(renamed, form=form) == 1
    note = latent.note(renamed, form=form)
    assert note.startswith("4 actions found for 4 in 400 transitions; found ones in random order give ")
    assert -0.02 < float(note.split()[-1]) < 0.4
    assert latent.pooled([np.column_stack([true, np.zeros(400)])], form=form) == (
        0 if form == "ari" else pytest.approx(np.bincount(true).max() / 400)
    )


def test_found_actions_from_files(tmp_path, real):
    clips = {name: real.frames(name) for name in real.ids}
    fake = outputs(tmp_path / "out", clips, local_action=lambda name: 3 - real.track("local_action", name)[1:])
    found = scored(fake, real, "latent", "latent-purity", "latent-ari", "nmi")
    assert [row.value for row in found.values()] == [1, 1, 1, pytest.approx(1)] and found["latent"].low == 1
    assert "latent-re" in scored(fake, real, "latent-re") and scored(fake, real, "latent-re")["latent-re"].value is None


# The movements of each action


def test_movements_are_in_the_details():
    parts = [np.array([[0, 1.0, 0], [0, 3, 0], [1, 5, 5]])]
    first, second = actionvar.details(parts)["actions"]
    assert first["action"] == 0 and first["share"] == pytest.approx(2 / 3) and first["mean"] == [2, 0]
    assert first["variance"] == [1, 0] and first["kurtosis"] == [-2, None] and len(first["quantiles"]) == 11
    assert first["quantiles"][0] == [1, 0] and second["mean"] == [5, 5]
    json.dumps(actionvar.details(parts), allow_nan=False)


# Drift


def errors(levels) -> tuple[np.ndarray, np.ndarray]:
    """A grey clip and one that is off by so much at each frame."""
    real = np.full((len(levels), 4, 4, 3), 100, np.uint8)
    return real, real + np.uint8(levels)[:, None, None, None]


def test_drift_of_an_error_that_doubles_each_frame():
    """PSNR falls by 6.02 dB a frame after two given ones; the squared error has doubled after half a frame."""
    real, fake = errors([0, 0, 1, 2, 4, 8])
    fall = 20 * np.log10(2)
    assert drift.pooled([drift.collect(real, fake)]) == pytest.approx(-fall)
    assert drift.pooled([drift.collect(real, fake)], form="area") == pytest.approx(1.5 * fall)
    assert drift.pooled([drift.collect(real, fake)], form="halflife") == pytest.approx(0.5)


def test_drift_of_what_does_not_drift():
    real, fake = errors([0, 3, 3, 3])
    parts = [drift.collect(real, fake)] * 2
    assert drift.pooled(parts) == pytest.approx(0) and drift.pooled(parts, form="area") == pytest.approx(0)
    assert np.isnan(drift.pooled(parts, form="halflife"))
    assert drift.note(parts, form="halflife").startswith(
        "the squared error does not double: PSNR goes from 38.59 to 38.59"
    )
    assert drift.pooled([drift.collect(real, real)]) == 0
    assert np.isnan(drift.pooled([drift.collect(real[:1], fake[1:2])]))


def test_drift_is_of_the_mean_curve_of_clips_of_any_length():
    long, short = (np.column_stack([np.arange(n), np.arange(n, 0, -1.0), np.zeros(n)]) for n in (4, 2))
    assert drift._curve([long, short]) == pytest.approx([3, 2, 2, 1])
    shifted = long + np.array([0, 10, 0])
    assert drift.pooled([long, shifted]) == drift.pooled([shifted, long]) == pytest.approx(-1)


def test_drift_in_a_table(toy):
    real = np.stack([errors([0, 1, 2, 4])[0]] * 3)
    fake = np.stack([errors([0, 1, 2, n])[1] for n in (4, 4, 8)])
    found = scored(ArraySource(fake), ArraySource(real), "drift", "drift-area", "drift-halflife", "psnr")
    curve = np.array(found["psnr"].per_frame)[1:]
    assert found["drift"].value == pytest.approx((curve[2] - curve[0]) / 2) and found["drift"].low is not None
    assert found["drift-area"].value == pytest.approx((curve[0] - curve).mean())
    assert found["drift"].signature.startswith("drift|default|-|4f|3x1|slope,mean curve,frame,rgb")
    with pytest.raises(UsageError, match="drift@best: drift does not compare clip with clip"):
        scored(ArraySource(fake), ArraySource(real), "drift@best")


# Latency


def test_generating_measures_its_speed_once(tmp_path, real, monkeypatch):
    protocol = tiny.protocol(variant="8x6", select=protocols.Select("first"), context=1, predict=4)
    out = tmp_path / "out"
    made = generation.generate(generation.model("copy-last"), protocol, real, out)
    speed = made["speed"]
    assert speed["first_ms"] > 0 and speed["step_ms"] == pytest.approx(speed["first_ms"] / 4, abs=1e-3)
    assert speed["parameters"] == 0 and speed["memory_mb"] > 10 and speed["hardware"] and speed["threads"] >= 1
    again = generation.generate(generation.model("copy-last"), protocol, real, out)
    assert again["speed"] == speed and files.read_json(out / "manifest.json")["speed"] == speed
    next(out.rglob("*.mkv")).unlink()  # going on is not refused, nor measured again
    assert generation.generate(generation.model("copy-last"), protocol, real, out)["speed"] == speed
    found = {row.metric: row for row in scoring.score(FolderSource(out), real, protocol, ["latency", "latency-step"])}
    assert found["latency"].value == speed["first_ms"] and found["latency-step"].value == speed["step_ms"]
    assert found["latency"].unit == "ms" and speed["hardware"].replace("|", "/") in found["latency"].signature
    assert f"{speed['memory_mb']} MB at most, 0 parameters" in found["latency"].note


@pytest.mark.parametrize(
    "manifest", [{}, {"speed": None}, {"speed": {"first_ms": "fast"}}, {"speed": {"first_ms": True}}]
)
def test_no_speed_no_latency(manifest):
    value, note, _ = latency.read(manifest)
    assert value is None and note.startswith("n/a: the outputs' manifest has no speed")


def test_a_folder_of_clips_has_no_latency():
    clips = tiny.noise(2, 0)
    row = scored(ArraySource(clips), ArraySource(clips), "latency")["latency"]
    assert row.value is None and row.note.startswith("n/a:")


# Details


def test_details_are_kept_in_files(tmp_path):
    row = rows.Row(
        "idm", 1.0, None, None, "higher", 1, "p@1", "s", "m", details={"confusion": {"labels": [0], "counts": [[1]]}}
    )
    rows.save(tmp_path / "rows.json", [row])
    assert rows.load(tmp_path / "rows.json") == [row]
    old = row.to_json()
    del old["details"]
    files.write_json(tmp_path / "old.json", [old])
    assert rows.load(tmp_path / "old.json")[0].details == {}
