"""From clips to rows: pairing, what each number is made of, and what is refused."""

import dataclasses
import json
from dataclasses import replace

import numpy as np
import pytest
import tiny
from click.testing import CliRunner

from vbench_ctl import (
    building,
    leaderboard,
    measuring,
    pairing,
    protocols,
    rows,
    scoring,
    sources,
    store,
    tokens,
    video,
)
from vbench_ctl.cli import main
from vbench_ctl.errors import UsageError, VbenchError
from vbench_ctl.metrics import mse, psnr
from vbench_ctl.protocols import Select
from vbench_ctl.sources import ArraySource, open_source
from vbench_ctl.statistics.resampling import bootstrap_mean

RNG = np.random.default_rng(7)
LENGTHS = (8, 9, 10)


def noise(like: np.ndarray, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(256, size=like.shape, dtype=np.uint8)


@pytest.fixture
def real(tmp_path) -> sources.StoreSource:
    """Three clips of 8, 9 and 10 frames."""
    return sources.StoreSource(tiny.built(tmp_path / "store", test=tiny.work("test", LENGTHS, size=(8, 9))))


def windows(real: sources.Source, length: int = 6) -> dict[str, np.ndarray]:
    return {f"{clip_id}@0#0": real.frames(clip_id, 0, length) for clip_id in real.ids}


def by_metric(found: list[rows.Row]) -> dict[str, rows.Row]:
    return {row.metric: row for row in found}


# What a row says


def test_a_row_says_how_it_was_made(tmp_path, real):
    fakes = {name: noise(frames, index) for index, (name, frames) in enumerate(windows(real).items())}
    outputs = open_source(tiny.write_outputs(tmp_path / "mine", fakes))
    found = by_metric(scoring.score(outputs, real, tiny.protocol()))
    assert list(found) == ["psnr", "ssim-glass", "mse", "flicker"]
    truth = dict(windows(real).items())
    expected = [mse.values(truth[name], fakes[name]).mean() for name in fakes]
    row = found["mse"]
    assert row.value == np.mean(expected) and row.low < row.value < row.high
    assert (row.direction, row.n, row.protocol, row.model) == ("lower", 3, "tiny-c2-p4@1", "mine")
    assert row.signature == "mse|default|-|6f|3x1|frame,rgb,range1,exact|v1"
    assert found["psnr"].value == np.mean([psnr.values(truth[n][2:6], fakes[n][2:6]).mean() for n in fakes])
    assert found["psnr"].signature.startswith("psnr|default|-|4f|3x1|frame,rgb")
    assert (len(row.per_frame), len(found["psnr"].per_frame), len(found["flicker"].per_frame)) == (6, 4, 5)
    assert row.per_frame == pytest.approx(np.mean([mse.values(truth[n], fakes[n]) for n in fakes], axis=0))
    assert row.provenance["real_sha256"] == real.store.summary["content_sha256"]
    assert row.dataset == "tiny" and len(row.provenance["outputs_sha256"]) == 64


def test_workers_chunks_and_order_do_not_change_a_score(tmp_path, real, monkeypatch):
    fakes = {name: noise(frames, index) for index, (name, frames) in enumerate(windows(real).items())}
    outputs = open_source(tiny.write_outputs(tmp_path / "mine", fakes))
    found = []
    for workers, chunk in ((1, 8), (1, 1), (2, 1)):
        monkeypatch.setattr(measuring, "CHUNK", chunk)
        found.append(
            [
                replace(row, provenance={**row.provenance, "made": ""})
                for row in scoring.score(outputs, real, tiny.protocol(), workers=workers)
            ]
        )
    assert found[0] == found[1] == found[2]
    asked = scoring.score(outputs, real, tiny.protocol(), ["flicker", "psnr", "flicker"])
    assert [row.metric for row in asked] == ["flicker", "psnr"]
    assert asked[1].value == found[0][0].value


def test_a_metric_named_twice_counts_once(tmp_path, real):
    """With samples, a value twice would push a sample out."""
    fakes = {f"{c}@0#{k}": noise(real.frames(c, 0, 6), k) for c in real.ids for k in range(2)}
    outputs = open_source(tiny.write_outputs(tmp_path / "mine", fakes))
    once, twice = (scoring.score(outputs, real, tiny.protocol(samples=2), ["mse"] * times) for times in (1, 2))
    assert [row.value for row in once] == [row.value for row in twice]


def test_an_unknown_metric_is_named():
    with pytest.raises(UsageError, match='no metric "psnrr"; did you mean "psnr"'):
        tokens.metric("psnrr")
    with pytest.raises(UsageError, match='no variant of ssim "ssim-glas"; did you mean "ssim-glass"'):
        tokens.metric("ssim-glas")
    with pytest.raises(VbenchError, match="asks for fancy, none of which this version can compute"):
        tokens.default_metrics(tiny.protocol(metrics=("fancy",)))


# Pairing


def test_what_may_be_left_out_of_names(tmp_path, real):
    """ "#0" where there is one sample, "@0" where there is one window."""
    scores = set()
    for number, form in enumerate(("{}@0#0", "{}#0", "{}@0", "{}")):
        fakes = {form.format(clip_id): noise(real.frames(clip_id, 0, 6), 1) for clip_id in real.ids}
        folder = tiny.write_outputs(tmp_path / f"{number}", fakes)
        scores.add(scoring.score(open_source(folder), real, tiny.protocol(), ["mse"])[0].value)
    assert len(scores) == 1


def test_two_windows_of_a_clip_need_their_starts(tmp_path, real):
    two = tiny.protocol(select=Select("spaced", windows=2))
    starts = {case.key: case for case in protocols.cases(two, [(c, real.length(c)) for c in real.ids])}
    assert len(starts) == 6
    fakes = {key: real.frames(case.clip, case.start, case.start + 6) for key, case in starts.items()}
    (row,) = scoring.score(open_source(tiny.write_outputs(tmp_path / "full", fakes)), real, two, ["mse"])
    assert (row.value, row.n) == (0, 6)
    bare = tiny.write_outputs(tmp_path / "bare", {c: real.frames(c, 0, 6) for c in real.ids})
    with pytest.raises(VbenchError, match=r'bare: 6 of the 6 clips .* are missing, the first is "test/clip_0@0#0"'):
        scoring.score(open_source(bare), real, two)


def test_one_file_is_not_two_samples(tmp_path):
    """A clip may be called like another one's sample."""
    frames = RNG.integers(256, size=(2, 6, 6, 8, 3), dtype=np.uint8)
    clips = [tiny.Clip(name, frames[at]) for at, name in enumerate(("a", "a#0"))]
    building.build(tmp_path / "store", tiny.recipe(make=iter, test=[clips]))
    real = sources.StoreSource(store.Store(tmp_path / "store"))
    outputs = tiny.write_outputs(tmp_path / "out", {"a#0": frames[0]})
    with pytest.raises(VbenchError, match="1 of the 2 clips that tiny-c2-p4@1 asks for are missing"):
        scoring.score(open_source(outputs), real, tiny.protocol())


def test_given_frames_may_be_left_out(tmp_path, real):
    truth = windows(real)
    whole = tiny.write_outputs(
        tmp_path / "whole", {n: np.concatenate([f[:2], noise(f, 3)[2:]]) for n, f in truth.items()}
    )
    own = tiny.write_outputs(tmp_path / "own", {n: noise(f, 3)[2:] for n, f in truth.items()})
    a, b = (scoring.score(open_source(folder), real, tiny.protocol(), model="m") for folder in (whole, own))
    assert [row.value for row in a] == [row.value for row in b]
    assert a[0].provenance["outputs_sha256"] == b[0].provenance["outputs_sha256"]


def test_missing_and_extra_clips_are_named(tmp_path, real):
    truth = windows(real)
    few = tiny.write_outputs(tmp_path / "few", dict(list(truth.items())[:1]))
    with pytest.raises(
        VbenchError,
        match='few: 2 of the 3 clips that tiny-c2-p4@1 asks for are missing, the first is "test/clip_1@0#0"',
    ):
        scoring.score(open_source(few), real, tiny.protocol())
    many = tiny.write_outputs(tmp_path / "many", {**truth, "test/clip_9@0#0": truth["test/clip_0@0#0"]})
    with pytest.raises(VbenchError, match='many: 1 clips that tiny-c2-p4@1 does not know, such as "test/clip_9@0#0"'):
        scoring.score(open_source(many), real, tiny.protocol())


def test_folders_pair_by_name(tmp_path):
    clips = {name: RNG.integers(256, size=(5, 6, 8, 3), dtype=np.uint8) for name in ("a", "b/c")}
    real, fake = (open_source(tiny.write_outputs(tmp_path / name, clips)) for name in ("real", "fake"))
    (row,) = scoring.score(fake, real, metrics=["mse"])
    assert row.value == 0 and row.protocol.startswith("real:") and row.signature.startswith("mse|default|-|5f|2x1|")
    more = open_source(tiny.write_outputs(tmp_path / "more", {**clips, "d": clips["a"]}))
    for outputs, truth, wrong in (
        (more, real, "1 clips of the outputs more have no partner in the real set real"),
        (real, more, "1 clips of the real set more have no partner in the outputs real"),
    ):
        with pytest.raises(VbenchError, match=f'{wrong}, the first is "d"'):
            scoring.score(outputs, truth)


@pytest.mark.parametrize("shape", [(5, 6, 8, 3), (7, 6, 8, 3), (3, 6, 8, 3)])
def test_other_frame_counts_are_refused(shape):
    real, fake = (ArraySource([np.zeros(s, np.uint8)]) for s in ((6, 6, 8, 3), shape))
    with pytest.raises(VbenchError, match=f'^clip "00000" has {shape[0]} frames, expected 6$'):
        scoring.score(fake, real)


def test_protocol_frame_counts_are_refused(tmp_path, real):
    fakes = {name: frames[:5] for name, frames in windows(real).items()}
    with pytest.raises(
        VbenchError, match=r'clip "test/clip_0@0#0" has 5 frames, expected 6 \(or 4 without the given ones\)'
    ):
        scoring.score(open_source(tiny.write_outputs(tmp_path / "o", fakes)), real, tiny.protocol())


def test_other_sizes_are_refused():
    real, fake = (ArraySource([np.zeros((6, *size, 3), np.uint8)]) for size in ((6, 8), (8, 6)))
    with pytest.raises(VbenchError, match='clip "00000" is 6x8, the real one 8x6; generate or resize'):
        scoring.score(fake, real)


def test_clips_of_different_lengths_say_so_in_the_signature():
    clips = [RNG.integers(256, size=(n, 6, 8, 3), dtype=np.uint8) for n in (4, 6)]
    (row,) = scoring.score(ArraySource(clips), ArraySource(clips), metrics=["mse"])
    assert "|4-6f|" in row.signature and row.per_frame == []


# Samples


def test_mean_and_best_of_samples(tmp_path, real):
    fakes = {
        f"{c}@0#{k}": noise(real.frames(c, 0, 6), 10 * index + k) for index, c in enumerate(real.ids) for k in range(3)
    }
    outputs = open_source(tiny.write_outputs(tmp_path / "o", fakes))
    truth = windows(real)

    def values(measure, frames=slice(None)) -> np.ndarray:
        return np.array(
            [
                [measure(truth[f"{c}@0#0"][frames], fakes[f"{c}@0#{k}"][frames]).mean() for k in range(3)]
                for c in real.ids
            ]
        )

    plain = by_metric(scoring.score(outputs, real, tiny.protocol(samples=3)))
    best = by_metric(scoring.score(outputs, real, tiny.protocol(samples=3, aggregate="best")))
    assert plain["mse"].value == pytest.approx(values(mse.values).mean(), rel=1e-15)
    assert best["mse"].value == values(mse.values).min(axis=1).mean()
    assert best["psnr"].value == values(psnr.values, slice(2, 6)).max(axis=1).mean()
    assert "|3x3:best|" in best["mse"].signature and "|3x3:mean|" in plain["mse"].signature
    # without a real clip beside it no sample is the best
    assert best["flicker"].value == plain["flicker"].value and "|3x3:mean|" in best["flicker"].signature
    first = scoring.score(outputs, real, tiny.protocol(samples=3, metric_samples={"mse": 1}), ["mse"])[0]
    assert first.value == values(mse.values)[:, 0].mean() and "|3x1|" in first.signature


def test_an_offset_shifts_the_real_frames(tmp_path, real):
    fakes = {name: real.frames(name.partition("@")[0], 1, 7) for name in windows(real)}
    outputs = open_source(tiny.write_outputs(tmp_path / "o", fakes))
    shifted = tiny.protocol(real_offset=1, scored="0:5", metric_frames={})
    assert scoring.score(outputs, real, shifted, ["mse"])[0].value == 0
    assert scoring.score(outputs, real, replace(shifted, real_offset=0), ["mse"])[0].value > 0


# Lossy clips


def test_lossy_outputs_are_refused_where_the_protocol_says_so(tmp_path, real):
    for name, frames in windows(real).items():
        tiny.video.write(tmp_path / f"o/{name}.mp4", frames)
    outputs = open_source(tmp_path / "o")
    with pytest.raises(VbenchError, match=r"mp4 is h264, a lossy encoding, which tiny-c2-p4@1 does not allow"):
        scoring.score(outputs, real, tiny.protocol())
    allowed, open_to_all = (
        scoring.score(outputs, real, tiny.protocol(lossy=lossy), ["mse"], allow_lossy=not lossy)[0]
        for lossy in (False, True)
    )
    assert ",lossy-h264|" in allowed.signature and open_to_all.signature == allowed.signature
    assert allowed.value == open_to_all.value > 0


def test_lossy_reals_are_told_from_lossy_outputs(tmp_path):
    clips = {"a": RNG.integers(256, size=(4, 6, 8, 3), dtype=np.uint8)}
    exact = open_source(tiny.write_outputs(tmp_path / "exact", clips))
    tiny.video.write(tmp_path / "lossy/a.mp4", clips["a"])
    lossy = open_source(tmp_path / "lossy")
    signatures = [
        scoring.score(fake, real, metrics=["mse"])[0].signature
        for fake, real in ((lossy, exact), (exact, lossy), (lossy, lossy), (exact, exact))
    ]
    marks = [signature.split("|")[5].removeprefix("frame,rgb,range1,exact") for signature in signatures]
    assert marks == [",lossy-h264", ",real-lossy-h264", ",lossy-h264,real-lossy-h264", ""]


# Intervals


def test_one_clip_has_no_interval(tmp_path):
    clip = RNG.integers(256, size=(4, 6, 8, 3), dtype=np.uint8)
    (row,) = scoring.score(ArraySource([clip]), ArraySource([noise(clip, 1)]), metrics=["mse"])
    assert row.low is None and row.high is None and row.n == 1 and row.value > 0


def test_the_interval_of_two_values_is_binomial():
    """The mean of 400 coins, 100 of them heads, is normal: 0.25 +- 1.96 sqrt(0.25 0.75 / 400)."""
    values = np.array([1.0] * 100 + [0.0] * 300)
    low, high = bootstrap_mean(values, range(400))
    half = 1.959964 * np.sqrt(0.25 * 0.75 / 400)
    assert (low, high) == pytest.approx((0.25 - half, 0.25 + half), abs=0.005)
    assert bootstrap_mean(values, range(400)) == (low, high)


def test_the_interval_draws_whole_clusters():
    """Ten copies of 40 values tell no more than 40 values do."""
    values = np.array([1.0] * 10 + [0.0] * 30)
    alone = bootstrap_mean(values, range(40))
    repeated = bootstrap_mean(np.repeat(values, 10), np.repeat(np.arange(40), 10))
    taken_apart = bootstrap_mean(np.repeat(values, 10), range(400))
    assert repeated == pytest.approx(alone)
    assert (alone[1] - alone[0]) / (taken_apart[1] - taken_apart[0]) == pytest.approx(np.sqrt(10), rel=0.15)
    assert bootstrap_mean(values, ["one"] * 40) is None
    assert bootstrap_mean(np.full(5, 2.5), range(5)) == (2.5, 2.5)


def test_windows_of_one_video_are_one_cluster(tmp_path, real):
    every = tiny.protocol(select=Select("every"))
    cases = protocols.cases(every, [(c, real.length(c)) for c in real.ids])
    fakes = {case.key: noise(real.frames(case.clip, 0, 6), at) for at, case in enumerate(cases)}
    (row,) = scoring.score(open_source(tiny.write_outputs(tmp_path / "o", fakes)), real, every, ["mse"])
    truth = [real.frames(case.clip, case.start, case.start + 6) for case in cases]
    values = [mse.values(t, fakes[case.key]).mean() for t, case in zip(truth, cases, strict=True)]
    assert row.n == 12 and (row.low, row.high) == bootstrap_mean(np.array(values), [case.clip for case in cases])


# The real set


def test_the_real_set_of_a_protocol_is_found(home):
    with pytest.raises(VbenchError, match=r'no store tiny 8x6 .*run "vbench-ctl prepare FOLDER --as tiny"'):
        pairing.find_real(tiny.protocol())
    for version in (2, 10):
        building.build(home / f"stores/tiny/8x6@{version}", tiny.recipe())
    (home / "stores/tiny/8x6@2.bak").mkdir()
    assert pairing.find_real(tiny.protocol()).store.folder.name == "8x6@10"
    (home / "stores/tiny/8x6@11").mkdir()
    assert pairing.find_real(tiny.protocol()).store.folder.name == "8x6@10"
    with pytest.raises(VbenchError, match=r'8x6@10 has no split "eval" \(test\); run "vbench-ctl prepare'):
        pairing.find_real(tiny.protocol(split="eval"))
    with pytest.raises(VbenchError, match=r'no store tiny 9x9 .* \(there is 8x6@10, 8x6@2\); run "vbench-ctl prepare'):
        pairing.find_real(tiny.protocol(variant="9x9"))


def test_a_store_of_something_else_is_refused(tmp_path):
    tiny.built(tmp_path)
    with pytest.raises(UsageError, match="is tiny 8x6, but tiny-c2-p4@1 is defined on tiny 16x16"):
        pairing.open_real(tmp_path, tiny.protocol(variant="16x16"))
    assert pairing.open_real(tmp_path, tiny.protocol()).ids[0] == "test/clip_0"


class Short(ArraySource):
    """A source whose files hold less than their headers say."""

    def length(self, clip_id: str) -> int:
        return 9


def test_a_real_clip_shorter_than_its_header_is_named():
    clip = RNG.integers(256, size=(4, 6, 8, 3), dtype=np.uint8)
    fake = ArraySource([noise(clip, 1)])
    with pytest.raises(VbenchError, match='clip "00000" is shorter than its header says, with 4 of 6 frames'):
        scoring.score(fake, Short([clip], "short"), tiny.protocol())


# Rows on disk


def a_row(**changes) -> rows.Row:
    row = rows.Row("mse", 1.0, 0.5, 1.5, "lower", 3, "p@1", "mse|default|-|6f|3x1|exact|v1", "m")
    return replace(row, **changes)


def test_rows_come_back_and_replace_their_like(tmp_path):
    path = tmp_path / "deep/rows.json"
    rows.save(path, [a_row(), a_row(metric="psnr")])
    rows.save(path, [a_row(value=2.0, per_frame=[1.0, 3.0]), a_row(signature="other")])
    assert rows.load(path) == [a_row(metric="psnr"), a_row(value=2.0, per_frame=[1.0, 3.0]), a_row(signature="other")]


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        (lambda entry: {key: entry[key] for key in entry if key not in ("value", "n")}, "row 1 lacks n, value"),
        (lambda entry: {**entry, "fvd": 3}, "row 1 has unknown fvd"),
        (lambda entry: {**entry, "value": "3"}, "row 1: value is '3', expected int or float or NoneType"),
        (lambda entry: {**entry, "n": 2.5}, "row 1: n is 2.5, expected int"),
        (lambda entry: {**entry, "value": float("nan")}, "row 1: value is nan, expected a finite number"),
        (lambda entry: {**entry, "model": None}, "row 1: model is None, expected str"),
        (lambda entry: {**entry, "direction": "up"}, "row 1: direction is 'up', expected higher or lower"),
        (lambda entry: [], "row 1 lacks direction"),
    ],
)
def test_wrong_rows_are_named(tmp_path, change, wrong):
    good = a_row().to_json()
    (tmp_path / "rows.json").write_text(json.dumps([good, change(good)]))
    with pytest.raises(VbenchError, match=f"rows.json: {wrong}"):
        rows.load(tmp_path / "rows.json")


def test_rows_that_are_no_list_are_named(tmp_path):
    for text, wrong in (("{}", "expected a list of rows, found dict"), ("[", "not a readable JSON file")):
        (tmp_path / "rows.json").write_text(text)
        with pytest.raises(VbenchError, match=wrong):
            rows.save(tmp_path / "rows.json", [a_row()])
        assert (tmp_path / "rows.json").read_text() == text


@pytest.mark.parametrize("found", [np.array([1.0, np.nan]), np.array([]), np.float64(3), np.ones((2, 2)), None])
def test_what_are_no_values_is_said_and_the_others_stand(tmp_path, real, monkeypatch, found):
    monkeypatch.setattr(mse, "values", lambda *clips, **options: found)
    outputs = open_source(tiny.write_outputs(tmp_path / "mine", windows(real)))
    of_mse, of_psnr = scoring.score(outputs, real, tiny.protocol(), ["mse", "psnr"])
    assert of_mse.value is None and "expected finite numbers, one for each frame" in of_mse.note
    assert of_psnr.value == 100
    assert json.loads(json.dumps(of_mse.to_json(), allow_nan=False))


@pytest.fixture
def command(tmp_path, real):
    """`score` with the words of two folders of videos."""
    for name, seed in (("fake", 1), ("real", 2)):
        tiny.write_outputs(tmp_path / name, {clip: noise(frames, seed) for clip, frames in windows(real).items()})
    words = ["score", str(tmp_path / "fake"), "--real", str(tmp_path / "real"), "--metrics", "mse"]
    return lambda *more: CliRunner().invoke(main, [*words, *map(str, more)])


def test_a_file_that_takes_no_rows_is_said_before_the_work(command, tmp_path, monkeypatch):
    (tmp_path / "rows.json").write_text("{}")
    monkeypatch.setattr(scoring, "score", lambda *asked: pytest.fail("it was scored"))
    done = command("--out", tmp_path / "rows.json")
    assert done.exit_code == 1 and "found dict; move it away or name another file" in done.stderr


def test_numbers_that_cannot_be_kept_are_shown(command, tmp_path):
    (tmp_path / "file").write_text("")
    done = command("--out", tmp_path / "file/rows.json")
    assert done.exit_code == 1 and "mse" in done.stdout and "file is in the way" in done.stderr


def test_other_clips_under_the_same_name_are_told(command, tmp_path):
    assert "different clips" not in command("--out", tmp_path / "rows.json").stderr
    for path in (tmp_path / "fake").rglob("*.mkv"):
        video.write(path, video.read(path).frames[::-1])
    done = command("--out", tmp_path / "rows.json", "--metrics", "psnr")
    said = "fake: mse and psnr are of different clips; score them anew, or tell the models apart with --model"
    assert done.exit_code == 0 and said in done.stderr
    (table,) = leaderboard.tables(rows.load(tmp_path / "rows.json"))
    assert said in table.remarks


def test_clips_that_are_no_store_have_no_splits(command):
    done = command("--split", "test")
    assert done.exit_code == 2 and "real: no store, and so without splits; leave the split out" in done.stderr


def test_a_model_may_have_any_name(home):
    for model in ("../../x", ".hidden", "a/b|c\n", "ü" * 20, ""):
        path = scoring.save([a_row(model=model, protocol="real set:ab12")])
        assert path.parent == home / "rows/real_set_ab12" and not path.name.startswith(".")
        assert rows.load(path)[0].model == model
    with pytest.raises(VbenchError, match="name is too long"):
        scoring.save([a_row(model="x" * 300)])


def limited_save(path, most_bytes: int) -> str:
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))
    try:
        rows.save(path, [a_row(model="x" * 5000)])
    except VbenchError as error:
        return str(error)
    return ""


def test_rows_on_a_full_disk_stay_as_they_were(tmp_path):
    path = tmp_path / "rows.json"
    rows.save(path, [a_row()])
    end = tiny.elsewhere(limited_save, path, 1000)
    assert end == f"{path}: the disk is full; free some space or choose another place, then run again"
    assert rows.load(path) == [a_row()] and [p.name for p in tmp_path.iterdir() if p != path] in ([], ["vbench-home"])


def test_rows_hold_every_promised_field():
    promised = {"metric", "value", "low", "high", "direction", "n", "protocol", "signature", "model"}
    assert promised <= {field.name for field in dataclasses.fields(rows.Row)} == set(a_row().to_json())
