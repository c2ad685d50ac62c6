"""Metrics of control: tracks of real clips against what a model inferred, from the npz file to the row."""

import dataclasses
import inspect
import re
import types

import numpy as np
import pytest
import tiny

from vbench_ctl import (
    building,
    files,
    generation,
    measuring,
    networks,
    protocols,
    registry,
    rows,
    scoring,
    store,
    tokens,
    tracks,
)
from vbench_ctl.api import Scores
from vbench_ctl.clips import Clip
from vbench_ctl.errors import VbenchError
from vbench_ctl.features import person
from vbench_ctl.metrics import actionvar, angle, dacc, dmse, endpoint, iou, nmi, shift
from vbench_ctl.protocols import Select
from vbench_ctl.sources import FolderSource, StoreSource
from vbench_ctl.statistics.agreement import nmi as nmi_of

FRAMES, SIZE, VIDEOS = 6, (6, 8), 6
METRICS = ["nmi", "nmi-character", "iou", "shift", "angle", "nmi-re", "iou-re", "shift-re", "angle-re"]


def known(index: int) -> dict[str, np.ndarray]:
    """Tracks as W-Sprites has them: an entry per frame, the first of what came before."""
    rng = np.random.default_rng(index)
    motion = rng.choice([[0, 0], [7, 0], [-7, 0], [0, 7]], size=9).astype(np.float32)
    return {
        "local_action": rng.integers(3, size=9).astype(np.int8),
        "identity": np.full((9, 4), index // 2, np.uint8),
        "motion_fg": motion,
        "motion_bg": -motion[::-1] / 7,
        "shift_fg": motion / 4,
        "shift_bg": motion[::-1] / 8,
        "position": np.abs(motion.cumsum(axis=0)) - np.float32([0, 1]),  # behind the upper edge at first
        "state": rng.random((9, 2)),
        "masks": (255 * (rng.random((9, *SIZE)) < 0.4)).astype(np.uint8),
    }


@pytest.fixture
def real(tmp_path) -> StoreSource:
    clips = [Clip(f"test/{index}", tiny.noise(1, index, 9)[0], None, known(index)) for index in range(VIDEOS)]
    building.build(tmp_path / "store", tiny.recipe(make=iter, test=[clips]))
    return StoreSource(store.Store(tmp_path / "store"))


def protocol(**changes) -> protocols.Protocol:
    """Two windows of each clip, one frame given, or as the changes say."""
    select = Select("spaced", windows=2)
    usual = {"context": 1, "predict": FRAMES - 1, "metrics": tuple(METRICS), "metric_frames": {}}
    return tiny.protocol(**({"select": select} | usual | changes))


def inferred(real: StoreSource, case: protocols.Case) -> dict[str, np.ndarray]:
    """What a perfect model infers: from its window, and again from the frames it made."""
    window = slice(case.start, case.start + FRAMES)
    truth = {name: track[window] for name, track in known(real.ids.index(case.clip)).items()}
    firsts = {name: truth[name][1:] for name in ("local_action", "motion_fg", "motion_bg")}
    firsts["masks"] = truth["masks"]
    return firsts | {tracks.AGAIN + name: track[1:] for name, track in firsts.items()}


def outputs(folder, real, change=lambda found, index: found, asked=None) -> FolderSource:
    """Write real frames with tracks that a model may have found."""
    cases = protocols.cases(asked or protocol(), [(clip_id, real.length(clip_id)) for clip_id in real.ids])
    for index, case in enumerate(cases):
        clip = real.frames(case.clip, case.start, case.start + FRAMES)
        tiny.write_outputs(folder, {f"{case.key}#0": clip})
        if found := change(inferred(real, case), index):
            tracks.write(folder / f"{case.key}#0.npz", found, FRAMES)
    return FolderSource(folder)


def scored(fake, real, metrics=METRICS, asked=None, **how) -> dict[str, rows.Row]:
    return {row.metric: row for row in scoring.score(fake, real, asked or protocol(), metrics, **how)}


# From files to rows


def test_a_model_that_finds_the_truth(tmp_path, real):
    found = scored(outputs(tmp_path / "out", real), real, [*METRICS, "nmi-co", "iou-co", "shift-bg", "angle-bg-re"])
    for token, row in found.items():
        assert row.value == pytest.approx(0 if token.startswith("shift") else 1), token
        assert row.n == 2 * VIDEOS and (row.low, row.high) == pytest.approx((row.value, row.value))
    assert found["nmi"].signature == "nmi|default|-|6f|12x1|local_action,arithmetic,first|v1"
    assert "3 actions found for 3 in 60 transitions; found ones in random order give 0." in found["nmi"].note
    assert found["shift"].unit == "px" and found["shift"].per_frame == [0] * 5
    assert found["iou-re"].per_frame == pytest.approx([1] * 5) and found["shift-re"].per_frame == [0] * 4
    moving = sum(
        inferred(real, case)["motion_fg"].any(axis=1).sum()
        for case in protocols.cases(protocol(), [(clip_id, 9) for clip_id in real.ids])
    )
    assert found["angle"].note.startswith(f"of {moving} transitions")


def test_a_model_that_errs(tmp_path, real):
    """Half of the shifts turned round, all too far by 3 pixels across, and one label for everything."""

    def change(found, index):
        found["motion_fg"] = (-1) ** index * found["motion_fg"]
        found["motion_bg"] = found["motion_bg"] + np.float32([0, 3])
        found["local_action"] = np.zeros(FRAMES - 1, int)
        found["masks"] = np.zeros_like(found["masks"])
        return found

    found = scored(outputs(tmp_path / "out", real, change), real, ["nmi", "iou", "shift-bg", "angle", "nmi-re"])
    assert found["nmi"].value == 0 and found["iou"].value == 0 and found["nmi-re"].value == pytest.approx(1)
    assert found["shift-bg"].value == pytest.approx(3)
    assert 0.3 < found["angle"].value < 0.7 and found["angle"].low < found["angle"].value < found["angle"].high


def test_workers_order_and_chunks_change_nothing(tmp_path, real, monkeypatch):
    def change(found, index):
        rng = np.random.default_rng(index)
        return found | {"local_action": rng.integers(4, size=FRAMES - 1), "motion_fg": rng.normal(size=(FRAMES - 1, 2))}

    fake, metrics = outputs(tmp_path / "out", real, change), ["nmi", "iou", "angle", "dacc-heldout", "dmse"]
    whole = [dataclasses.replace(row, provenance={}) for row in scored(fake, real, metrics).values()]
    monkeypatch.setattr(measuring, "CHUNK", 1)
    cut = [dataclasses.replace(row, provenance={}) for row in scored(fake, real, metrics[::-1], workers=2).values()]
    assert cut[::-1] == whole and all(row.value is not None for row in whole)


def test_other_tracks_are_another_set_of_outputs(tmp_path, real):
    rows = [
        scored(outputs(tmp_path / str(n), real, lambda found, index, n=n: found | {"masks": found["masks"] // n}), real)
        for n in (1, 2)
    ]
    (a, b), (c, d) = ([each["iou"].provenance[key] for each in rows] for key in ("outputs_sha256", "tracks_sha256"))
    assert a == b and c != d
    assert "tracks_sha256" not in scored(FolderSource(tmp_path / "1"), real, ["mse"])["mse"].provenance


def test_what_is_not_there_is_said(tmp_path, real):
    def change(found, index):
        return {} if index == 3 else {name: track for name, track in found.items() if not name.startswith("again")}

    fake = outputs(tmp_path / "out", real, change)
    found = scored(fake, real, ["nmi", "iou-re", "psnr", "dacc-position"])
    assert found["nmi"].value is None and found["nmi"].n == 0 and found["psnr"].value == 100
    assert found["nmi"].note.startswith("n/a: out has no track local_action of test/1@2#0, which nmi compares")
    assert "no track again_masks of test/0@0#0" in found["iou-re"].note
    bare = StoreSource(tiny.built(tmp_path / "bare", test=tiny.work("test", (9, 9), size=SIZE)))
    asked = protocol(metrics=("iou",))
    (row,) = scored(
        outputs(tmp_path / "x", bare, lambda *_: {"masks": np.zeros((FRAMES, *SIZE))}, asked),
        bare,
        ["dmse-position"],
        asked,
    ).values()
    assert row.note.startswith("n/a: tiny 8x6 test has no track position of test/clip_0, which dmse-position compares")
    clips = tiny.noise(2, 0)
    scores = Scores(["nmi"])
    scores.update(clips, clips)
    assert scores.compute()["nmi"].value is None  # an array has no tracks


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"motion_fg": np.zeros((FRAMES + 1, 2))}, 'out, clip "test/0@0#0": a track has 7 entries for 6 frames'),
        ({"motion_fg": np.zeros(3)}, r'shift of clip "test/0@0#0": an entry of the real track is \(2,\) and .* \(\)'),
        ({"motion_fg": np.full((5, 2), np.nan)}, 'shift of clip "test/0@0#0": motion_fg is not known for every'),
    ],
)
def test_tracks_that_do_not_fit_are_refused(tmp_path, real, wrong, message):
    fake = outputs(tmp_path / "out", real)
    np.savez(tmp_path / "out/test/0@0#0.npz", **wrong)
    (row,) = scored(fake, real, ["shift"]).values()
    assert row.value is None and re.search(message, row.note)


def test_files_of_others_are_only_numbers(tmp_path, monkeypatch):
    path = tmp_path / "a.npz"
    np.savez(path, masks=np.array([{}], object), other=np.arange(3))
    assert list(tracks.read(path, ["other", "absent"])) == ["other"] and tracks.read(tmp_path / "b.npz", ["x"]) == {}
    with pytest.raises(VbenchError, match=r"is not a whole \.npz file of numbers"):
        tracks.read(path, ["masks"])
    monkeypatch.setattr(tracks, "LARGEST", 64)
    np.savez(path, other=np.arange(30))  # a file that changed is read again
    with pytest.raises(VbenchError, match=r"other takes \d+ bytes, expected at most 64: cut it up"):
        tracks.read(path, ["other"])
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(VbenchError, match=r"is not a whole \.npz file"):
        tracks.read(path, ["other"])
    for track in (np.array(["a"]), np.zeros(()), np.zeros(4), np.zeros(0)):
        with pytest.raises(VbenchError, match="expected numbers with 1 to 3 entries"):
            tracks.write(path, {"x": track}, 3)


def test_a_folder_has_tracks_of_a_range(tmp_path):
    tiny.write_outputs(tmp_path, {"a": tiny.noise(1, 0, 6)[0]})
    tracks.write(tmp_path / "a.npz", {"all": np.arange(6), "later": np.arange(1, 6)}, 6)
    source = FolderSource(tmp_path)
    assert source.ids == ["a"]  # the tracks are no clip
    found = source.tracks_of("a", ["all", "later", "none"], 0, 5, 2)
    assert {name: track.tolist() for name, track in found.items()} == {"all": [0, 2, 4], "later": [2, 4]}


def test_only_scored_frames_count(tmp_path, real):
    def change(found, index):
        found["motion_fg"] = found["motion_fg"] + np.arange(5, dtype=np.float32)[:, None] * np.float32([1, 0])
        return found

    fake = outputs(tmp_path / "out", real, change)
    assert scored(fake, real, ["shift"])["shift"].per_frame == pytest.approx([0, 1, 2, 3, 4])
    late = protocol(scored="3:5")
    assert scored(fake, real, ["shift"], late)["shift"].per_frame == pytest.approx([2, 3])
    cropped = protocol(resize=4)
    assert scored(fake, real, ["shift"], cropped)["shift"].note.startswith("n/a: tracks are of whole frames")


# What each metric is, and the numbers of the release


def of_clips(golden) -> tuple[list[dict[str, np.ndarray]], list[dict[str, np.ndarray]]]:
    """Return the golden truth and model answers as tracks: 12 clips of 5 frames of 128x96."""
    held = {name.removeprefix("in/"): golden[name] for name in golden.files if name.startswith("in/")}
    flat = {name: values.reshape(-1, *values.shape[2:]) for name, values in held.items() if values.ndim > 1}
    pixels = np.float32([64, 48])
    reals, fakes = [], []
    for at in range(12):
        reals.append(
            {
                "local_action": flat["true/local"][at],
                "identity": np.full((5, 1), flat["true/character"][at]),
                "shift_fg": flat["true/fg_shifts"][at],
                "shift_bg": flat["true/bg_shifts"][at],
                "motion_fg": flat["true/fg_shifts"][at] * np.float32([32, 16]),
                "motion_bg": -flat["true/bg_shifts"][at] * np.float32([6.25, 4.6875]),
                "masks": flat["true/masks"][at],
            }
        )
        fakes.append(
            {
                "local_action": flat["pred/local_ids"][at],
                "motion_fg": flat["pred/fg"][at] * pixels,
                "motion_bg": flat["pred/bg"][at] * pixels,
                "masks": flat["pred/masks"][at],
                "again_motion_fg": flat["pred/fg_second_pass"][at] * pixels,
                "again_motion_bg": flat["pred/bg_second_pass"][at] * pixels,
                "again_masks": flat["pred/masks_second_pass"][at],
            }
        )
    return reals, fakes


def number(module, variant: str, reals, fakes) -> float:
    options = module.VARIANTS[variant]
    pairs = list(zip(reals, fakes, strict=True))
    if hasattr(module, "pooled"):
        return module.pooled([module.collect(*pair, **options) for pair in pairs], **options)
    return float(np.concatenate([module.values(*pair, **options) for pair in pairs]).mean())


def errors(variant: str, reals, fakes) -> np.ndarray:
    """Return the shift error of every transition."""
    pairs = zip(reals, fakes, strict=True)
    return np.concatenate([shift.values(*pair, **shift.VARIANTS[variant]) for pair in pairs])


@pytest.mark.parametrize("what", ["released", "pixels"])
def test_the_figures_of_the_release(shared, what):
    golden = np.load(shared / "golden/glass/io_evaluator.npz", allow_pickle=False)
    reals, fakes = of_clips(golden)
    figures = {
        "global_nmi": (nmi, ""),
        "local_nmi": (nmi, "character"),
        **{f"mean_iou{end}": (iou, end[1:]) for end in ("", "_re", "_co")},
        **{f"global_angle_match{end}": (angle, end[1:]) for end in ("", "_re", "_co")},
        **{f"bg_angle_match{end}": (angle, f"bg{end.replace('_', '-')}") for end in ("", "_re", "_co")},
    }
    for end in ("", "_re", "_co"):
        slip = "" if what == "pixels" or end == "_co" else "released"  # nothing is compared with labels in co
        for name, of in (("global", ""), ("bg", "bg")):
            variant = "-".join(filter(None, (of, slip, end[1:])))
            figures[f"{name}_shift_mean_norm{end}"] = shift, variant
            for word, extreme in (("min", np.min), ("max", np.max)):
                wanted = float(golden[f"out/{what}/{name}_shift_{word}_norm{end}"])
                assert extreme(errors(variant, reals, fakes)) == pytest.approx(wanted, rel=2e-5), (name, word, end)
    for name, (module, variant) in figures.items():
        wanted = float(golden[f"out/{what}/{name}"])
        assert number(module, variant, reals, fakes) == pytest.approx(wanted, rel=2e-5), name
    random = nmi_of(np.concatenate([one["local_action"][1:] for one in reals]), golden["in/random_ids"])
    assert random == pytest.approx(float(golden[f"out/{what}/random_nmi"]), rel=1e-5)


def test_soft_masks_by_hand():
    half, whole = np.full((1, 2, 2), 0.5), np.full((1, 2, 2), 255, np.uint8)
    assert iou.values({"masks": whole}, {"masks": half}) == pytest.approx(0.5)
    assert iou.values({"masks": half}, {"masks": half}) == pytest.approx(0.25 / 0.75)
    assert iou.values({"masks": half * 0}, {"masks": half * 0}) == 0
    with pytest.raises(VbenchError, match="an entry of the real track"):
        iou.values({"masks": whole}, {"masks": half[:, :1]})


def test_directions_by_hand():
    """Just within, just without, nothing found, and nothing to find."""
    true = np.array([[7, 0], [7, 0], [7, 0], [0, 0]])
    found = np.array([[1, 0.99], [1, 1.01], [0, 0], [1, 0]])
    rows = angle.collect({"motion_fg": true}, {"motion_fg": found})
    assert rows.ravel().tolist() == [1, 0, 0] and angle.pooled([rows]) == pytest.approx(1 / 3)
    assert np.isnan(angle.pooled([rows[:0]]))


def test_characters_are_told_apart_within_each():
    """Each character's actions have other numbers: nothing is lost within, much over all."""
    clips = [
        nmi.collect(
            {"local_action": np.arange(4), "identity": np.full((4, 2), who)},
            {"local_action": (np.arange(4) + who) % 4},
            by_character=True,
        )
        for who in range(3)
    ]
    assert nmi.pooled(clips, by_character=True) == pytest.approx(1) and nmi.pooled(clips) < 0.5
    assert "found ones in random order give 1.000" in nmi.note(clips, by_character=True)  # each occurs but once
    with pytest.raises(VbenchError, match="one action per transition; score one agent only"):
        nmi.collect({"local_action": np.zeros((4, 2))}, {"local_action": np.zeros((3, 2))})


def moved(actions, noise: float, seed: int = 0) -> list[np.ndarray]:
    """Rows of clips whose actions move by one pixel each to a side of its own."""
    rng = np.random.default_rng(seed)
    sides = np.array([[1, 0], [-1, 0], [0, 1]])
    return [np.column_stack([each, sides[each] + noise * rng.normal(size=(len(each), 2))]) for each in actions]


def test_what_is_fitted_elsewhere_counts_less():
    rng = np.random.default_rng(1)
    told = moved(rng.integers(3, size=(20, 5)), 0.1)
    for module, best in ((dacc, 100), (dmse, 0)):
        for variant in ("", "heldout"):
            assert module.pooled(told, **module.VARIANTS[variant]) == pytest.approx(best, abs=4)
    guessed = [np.column_stack([rng.integers(30, size=5), rng.normal(size=(5, 2))]) for _ in range(20)]
    for module, sign in ((dacc, 1), (dmse, -1)):
        same, other = (module.pooled(guessed, **module.VARIANTS[variant]) for variant in ("", "heldout"))
        assert sign * (same - other) > 1  # 30 actions fit 100 movements by chance
    assert dmse.pooled(guessed, form="heldout") > 100
    assert np.isnan(dacc.pooled(told[:1], heldout=True)) and np.isnan(dmse.pooled([told[0][:0]]))
    assert "always the commonest one would be right in" in dacc.note(told)


def test_action_variance_lists_the_actions():
    rows = [np.array([[0, 1.0, 0], [0, 3, 0]]), np.array([[5, 0.0, 8]])]
    assert actionvar.pooled(rows) == pytest.approx((1 + 0) / 2 / 2)  # of two coordinates, of two actions
    told = actionvar.note(rows)
    assert "action 0 (67 %) moves by (2, 0), from (1.2, 0) to (2.8, 0); action 5 (33 %) moves by (0, 8)" in told
    assert np.isnan(actionvar.pooled([rows[0][:0]])) and "no transition" in actionvar.note([rows[0][:0]])


def test_players_by_what_is_known(tmp_path, real):
    def change(found, index):
        position = places(index) + np.float32([3, 4])
        position[0] = -1
        return {"position": position}

    def places(index):
        start = 2 * (index % 2)
        return known(index // 2)["position"][start : start + FRAMES]

    found = scored(outputs(tmp_path / "out", real, change), real, ["add-position", "mdr-position"])
    seen = [(places(index) >= 0).all(axis=1) for index in range(2 * VIDEOS)]
    assert found["add-position"].value == pytest.approx(5)
    missed = sum(each[0] for each in seen) / sum(map(sum, seen))
    assert found["mdr-position"].value == pytest.approx(100 * missed) and 0 < missed < 1
    gone = outputs(tmp_path / "gone", real, lambda found, index: {"position": np.full((FRAMES, 2), -1.0)})
    rows = scored(gone, real, ["add-position", "mdr-position"])
    assert rows["add-position"].value is None and "in 0 of them also in the generated one" in rows["add-position"].note
    assert rows["mdr-position"].value == 100


def test_where_clips_end_and_where_they_were_to(tmp_path, real):
    """Wanted is the real last place; nothing is told of a clip in which none is seen there."""

    def ends(index):
        start = 2 * (index % 2)
        return known(index // 2)["position"][start : start + FRAMES].astype(float)

    seen = [index for index in range(2 * VIDEOS) if (ends(index)[-1] >= 0).all()]
    gone, near = seen[0], seen[1:]

    def change(found, index):
        position = ends(index) + np.array([3, 4])
        if index == gone:
            position[-1] = -1
        return {"position": position}

    asked = protocol(metrics=("endpoint-position",), metric_frames={"endpoint-position": str(FRAMES - 1)})
    fake = outputs(tmp_path / "out", real, change)
    for row in (
        *scored(fake, real, ["endpoint-position"]).values(),
        *scored(fake, real, ["endpoint-position"], asked).values(),
    ):
        assert row.value == pytest.approx(5) and row.direction == "lower"
        wanted = np.array([ends(index)[-1] for index in near])
        apart = np.linalg.norm(wanted[:, None] - (wanted + np.array([3, 4]))[None], axis=2)[
            ~np.eye(len(near), dtype=bool)
        ].mean()
        assert row.note.startswith(
            f"known in {len(near)} of {2 * VIDEOS} clips; the end points of other clips are {apart:.3g} away"
        )
    lost = scored(
        outputs(tmp_path / "lost", real, lambda found, index: {"position": -np.ones((FRAMES, 2))}),
        real,
        ["endpoint-position"],
    )
    assert lost["endpoint-position"].value is None and "known in 0 of" in lost["endpoint-position"].note
    assert lost["endpoint-position"].note.endswith("clips, and a score needs 50% of them")
    lacking = scored(fake, real, ["endpoint"])["endpoint"]
    assert lacking.value is None and "has no track state" in lacking.note
    states = {"state": np.array([[0.0, 0, 0], [-1, -2, -2]])}
    assert endpoint.pooled([endpoint.collect(states, {"state": np.zeros((2, 3))})]) == 3  # a state may be negative


@pytest.mark.parametrize(
    ("seen", "of", "there"), [(1, 400, False), (3, 7, False), (4, 8, True), (1, 1, True), (0, 1, False)]
)
def test_end_points_seen_in_few_clips_are_no_score(seen, of, there):
    parts = [np.array([[0.0, 0, 3, 4]])] * seen + [np.array([[0.0, 0, np.nan, np.nan]])] * (of - seen)
    assert endpoint.pooled(parts) == 5 if there else np.isnan(endpoint.pooled(parts))
    note = endpoint.note(parts)
    assert note.startswith(f"known in {seen} of {of} clips") and ("a score needs 50% of them" in note) != there


# What a detector reads


class Brightest:
    """A detector of the brightest pixel, as one box of a person."""

    def __call__(self, pictures):
        import torch

        found = []
        for picture in pictures:
            y, x = divmod(int(picture.sum(0).argmax()), picture.shape[2])
            box = torch.tensor([[x, y, x, y + 1]]).float() + torch.tensor([100.0, 40, 120, 80])
            found.append({"scores": torch.tensor([0.9]), "labels": torch.tensor([1]), "boxes": box})
        return found


def dotted(places: np.ndarray) -> np.ndarray:
    frames = np.zeros((len(places), *SIZE, 3), np.uint8)
    frames[np.arange(len(places)), places[:, 1], places[:, 0]] = 255
    return frames


def test_a_detector_reads_both_sides(tmp_path, monkeypatch):
    places = np.random.default_rng(0).integers(1, 5, size=(4, FRAMES, 2))
    clips = [Clip(f"test/{index}", dotted(each)) for index, each in enumerate(places)]
    building.build(tmp_path / "store", tiny.recipe(make=iter, test=[clips]))
    real = StoreSource(store.Store(tmp_path / "store"))
    asked = protocol(metrics=("add",), select=Select("first"))
    for index, each in enumerate(places):
        tiny.write_outputs(tmp_path / "out", {f"test/{index}@0#0": dotted(each + np.array([1, 0]))})
        tracks.write(tmp_path / f"out/test/{index}@0#0.npz", {"local_action": np.arange(5) % 2}, FRAMES)
    fake = FolderSource(tmp_path / "out")
    lacking = scored(fake, real, ["add", "mdr", "dmse-person"], asked)
    assert all(row.value is None and "vbench-ctl weights" in row.note for row in lacking.values())

    monkeypatch.setattr(networks, "_extractor", lambda *_: person.Extractor(Brightest()))
    monkeypatch.setattr(networks, "_sha256", lambda *_: "0123456789abcdef")
    monkeypatch.setattr(networks, "missing", lambda features: "")
    found = scored(fake, real, ["add", "mdr", "dmse-person", "dacc-person"], asked)
    assert found["add"].value == pytest.approx(1) and found["mdr"].value == 0
    assert found["add"].signature.startswith("add|default|fasterrcnn-coco:01234567|6f|4x1|detected")
    rows = [np.column_stack([np.arange(5) % 2, np.diff(each, axis=0)]) for each in places]
    assert found["dmse-person"].value == pytest.approx(dmse.pooled(rows), rel=1e-5)
    assert found["dacc-person"].value == pytest.approx(dacc.pooled(rows))


def test_the_detector_is_torchvisions():
    """Its file, old names and new, fits; its boxes are sifted."""
    import torch
    from torchvision.models.detection import fasterrcnn_resnet50_fpn

    with torch.device("meta"):
        theirs = fasterrcnn_resnet50_fpn(weights=None, weights_backbone=None).state_dict()
    names = [name for name in theirs if not name.endswith("num_batches_tracked")]
    shapes = {name: np.broadcast_to(np.float32(0), tuple(theirs[name].shape)) for name in names}
    assert set(person.convert(shapes)) == set(names)
    old = {name.replace("blocks.0.0", "blocks.0").replace("conv.0.0", "conv"): value for name, value in shapes.items()}
    assert old.keys() != shapes.keys() and set(person.convert(old)) == set(names)
    with pytest.raises(VbenchError, match="no published file"):
        person.convert({"fc.weight": np.zeros(1)})
    with pytest.raises(VbenchError, match="lack"):
        person.convert({name: shapes[name] for name in names if name != "backbone.body.conv1.weight"})

    found = person.Extractor(Brightest()).features(dotted(np.array([[3, 2], [0, 0]])), batch=1)
    assert found.dtype == np.float32 and found.tolist() == [[113, 62.5], [110, 60.5]]
    with pytest.raises(VbenchError, match="a person was found in a grey picture"):
        person.self_test(person.Extractor(Brightest()))


# What a model infers on the way


def test_what_a_run_infers_lies_beside_its_clips(tmp_path, real, monkeypatch):
    """A killed run may leave tracks without their clip, which are written again."""
    leaf = types.SimpleNamespace(
        CONTROL="inferred-actions",
        generate=lambda system, asked: [
            generation.Made(each.real[1:], {"motion_fg": np.full((FRAMES - 1, 2), system)}) for each in asked
        ],
    )
    monkeypatch.setattr(generation.Model, "leaf", leaf)
    monkeypatch.setattr(generation.Model, "facts", lambda self: {})
    monkeypatch.setattr(generation.Model, "history", lambda self: {})
    monkeypatch.setattr(generation.Model, "strangeness", lambda self, real: {})
    loaded = types.SimpleNamespace(system=7.0, facts=types.SimpleNamespace(height=SIZE[0], width=SIZE[1]))
    monkeypatch.setattr(generation, "_loaded", lambda *_: loaded)
    model = generation.Model("toy", tmp_path / "run")
    asked = protocol(control="inferred-actions")
    generation.generate(model, asked, real, tmp_path / "out")
    fake = FolderSource(tmp_path / "out")
    assert fake.tracks_of("test/0@0#0", ["motion_fg"])["motion_fg"].tolist() == [[7, 7]] * 5
    assert len(fake.ids) == len(list((tmp_path / "out").rglob("*.npz"))) == 2 * VIDEOS
    assert scored(fake, real, ["shift", "mse"])["mse"].value == 0
    assert files.read_json(tmp_path / "out/manifest.json")["clips"][0]["file"] == "test/0@0#0.mkv"
    (tmp_path / "out/test/0@0#0.mkv").unlink()
    (tmp_path / "out/test/0@0#0.npz").write_bytes(b"cut")
    generation.generate(model, asked, real, tmp_path / "out")
    assert scored(FolderSource(tmp_path / "out"), real, ["shift"])["shift"].value == pytest.approx(
        scored(fake, real, ["shift"])["shift"].value
    )


@pytest.fixture(scope="module")
def glass_made():
    """What an untrained GLASS makes of a clip of 32x48."""
    import torch

    from vbench_ctl.baselines import glass
    from vbench_ctl.baselines.glass.system import System

    torch.manual_seed(0)
    small = glass.Settings(codes=3, code_width=4, state_width=8, compressed=2, hidden=4, masking_widths=(4, 4))
    system = System(small, 32, 48).eval()
    clip = tiny.noise(1, 5, FRAMES, (32, 48))[0]
    return glass, system, clip


def test_glass_tells_what_it_inferred(glass_made):
    import torch

    from vbench_ctl import frames
    from vbench_ctl.baselines.glass import play

    glass, system, clip = glass_made

    def asked(size, forced=True):
        nothing = clip[:0]
        return generation.Asked("a", clip[:1], nothing, FRAMES - 1, {}, clip, size, (0,), glass.Options(forced))

    (made,) = glass.generate(system, [asked((32, 48))])
    assert made.frames.shape == (5, 32, 48, 3)
    shapes = {name: track.shape for name, track in made.tracks.items()}
    firsts = {"local_action": (5,), "motion_fg": (5, 2), "motion_bg": (5, 2), "masks": (6, 32, 48)}
    seconds = {
        "again_local_action": (4,),
        "again_motion_fg": (4, 2),
        "again_motion_bg": (4, 2),
        "again_masks": (5, 32, 48),
    }
    assert shapes == firsts | seconds and made.tracks["masks"].dtype == np.uint8
    seen = play.see(system, frames.normalised(torch.from_numpy(clip[None])))
    assert (made.tracks["local_action"] == seen.controls.actions[0].numpy()).all()
    np.testing.assert_allclose(made.tracks["motion_fg"], seen.controls.shifts[0].numpy() * [24, 16], rtol=1e-5)
    np.testing.assert_allclose(made.tracks["motion_bg"], seen.controls.camera[0].numpy() * [24, 16], rtol=1e-5)
    assert np.abs(made.tracks["masks"] / 255 - seen.masks[0].numpy()).max() <= 0.5 / 255 + 1e-6
    remade, _ = play.remake(system, frames.normalised(torch.from_numpy(clip[None])), given=5)
    again = play.see(system, remade)
    np.testing.assert_allclose(made.tracks["again_motion_fg"], again.controls.shifts[0].numpy() * [24, 16], rtol=1e-5)
    (larger,) = glass.generate(system, [asked((64, 96))])  # what is asked for is in the pixels that are asked for
    np.testing.assert_allclose(larger.tracks["motion_fg"], 2 * made.tracks["motion_fg"], rtol=1e-6)
    assert larger.tracks["masks"].shape == (6, 64, 96)


# The contract


OF_TRACKS = [name for name in registry.names("metrics") if registry.load("metrics", name).NEEDS == "tracks"]


@pytest.mark.parametrize("name", OF_TRACKS)
def test_variants_ask_for_tracks_and_their_options_have_one_default(name):
    module = registry.load("metrics", name)
    assert hasattr(module, "values") != (hasattr(module, "collect") and hasattr(module, "pooled"))
    kinds = [
        word
        for word in (
            "tracks",
            "optional",
            "lesson",
            "values",
            "collect",
            "pooled",
            "note",
            "details",
            "features",
            "signature",
        )
        if hasattr(module, word)
    ]
    signatures = [inspect.signature(getattr(module, word)).parameters.values() for word in kinds]
    options = [{p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY} for parameters in signatures]
    assert all(each == options[0] for each in options)
    for variant in module.VARIANTS.values():
        assert variant.keys() <= options[0].keys()
        real, fake = module.tracks(**variant)
        assert fake and all(isinstance(word, str) for word in (*real, *fake))
        reads = getattr(module, "features", lambda **_: None)(**variant) is not None
        assert reads == (tracks.DETECTED in (*real, *fake)) or tracks.FLOW in fake


def test_protocols_name_these_metrics():
    for token in protocols.load("wsprites-glass").metrics[:9]:
        assert tokens.metric(token).compares_tracks
