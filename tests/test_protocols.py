"""Protocols: the data file, its checks, and the exact cases each resolves to on invented stores."""

import csv
import hashlib
import itertools
import json
import re
from dataclasses import replace
from pathlib import Path, PureWindowsPath

import numpy as np
import pytest

from vbench_ctl import protocols
from vbench_ctl.errors import UsageError, VbenchError
from vbench_ctl.protocols import Case, Select, cases, load, real_cases

ROOT = Path(__file__).parents[1]
GOLDEN = Path(__file__).parent / "golden" / "protocols"
ALL = protocols.load_all()
GOLDEN_IDS = [
    *("bair64-c1-p15@1", "bair256-ccvs-c1-p15@1", "k600-64-c5-p11@1"),
    *("tennis-caddy-rec16@1", "nemo64-unc16@1", "iper64-c1-p16@1", "dtdb-fire-128-c1-p16@2"),
    *("landscape128-c1-p16@2", "drums128-c15-p30@1", "wsprites-glass@1", "wsprites-quickstart@1"),
]
_held = {ALL[id].dataset for id in GOLDEN_IDS}
# Of a dataset that came later, its first protocol.
GOLDEN_IDS += {p.dataset: id for id, p in reversed(ALL.items()) if p.select and p.dataset not in _held}.values()


def store(p: protocols.Protocol) -> list[tuple[str, int]]:
    """Invent (clip id, frame count) in store order, with ids and lengths like those of the dataset."""
    if p.dataset == "bair":
        return [(f"test/traj_0_to_255/{i}", 30) for i in range(256)]
    if p.dataset == "bair-hd":
        return [(f"test/{44120 + i:05d}", 30) for i in range(256)]
    if p.dataset == "kinetics600":  # some clips are too short for any window
        return [(f"{p.split}/c{i * 7919:010d}_{i % 90:06d}_{i % 90 + 10:06d}", 5 + 31 * i % 296) for i in range(52000)]
    if p.dataset == "tennis":
        return [(f"test/{i // 2:03d}/{i % 2:05d}", 16) for i in range(206)]
    if p.dataset == "uva-nemo":
        return [(f"{i // 4 + 1:03d}_smile_{i % 4}", 120 + 7 * i % 211) for i in range(1240)]
    if p.dataset == "iper":
        return [(f"test/{i // 2:03d}_{i // 2 % 5}_{i % 2 + 1}", 400 + 13 * i) for i in range(42)]
    if p.dataset == "dtdb":
        return [(f"eval/{p.variant}_{i:02d}", 40 + i) for i in range(6)]
    if p.dataset == "landscape":
        return [(f"{p.split}/y{i // 2:03d}/y{i // 2:03d}_{i}", 33 + 11 * i % 501) for i in range(153)]
    if p.dataset == "audioset-drums":
        return [(f"test/{i}", 90) for i in range(1000)]
    if p.dataset == "wsprites":
        count = int(p.variant.partition("-limit")[2] or 1290)
        frames = 144 if "-frames144" in p.variant else 90
        return [(f"test/{1167 + i // 10:04d}/{i % 10}", frames) for i in range(count)]
    rules = [rule for rule in (p.select, p.reals) if rule]  # any other dataset: as many clips as they ask for, or 100
    count = max((rule.clips for rule in rules), default=0) or max((rule.cases for rule in rules), default=0) or 100
    room = max((protocols._room(p, rule) for rule in rules), default=0)
    return [(f"{p.split}/{i:05d}", room + i % 9) for i in range(count)]


def record(p: protocols.Protocol) -> dict:
    rows = [[c.clip, c.start, c.start + c.length, c.key] for c in cases(p, store(p))]
    digest = hashlib.sha256("\n".join(" ".join(map(str, row)) for row in rows).encode()).hexdigest()
    shown = {"cases": rows} if len(rows) <= 32 else {"first": rows[:5], "last": rows[-5:]}
    return {"protocol": p.id, "count": len(rows), "sha256": digest, **shown}


def small(p: protocols.Protocol) -> protocols.Protocol:
    """Draw at most 300 cases, so that every protocol can be tried in no time."""

    def fewer(s):
        return replace(s, cases=min(s.cases, 300)) if s else None

    return replace(p, select=fewer(p.select), reals=fewer(p.reals))


# The data file


def test_every_id_of_the_specification_exists(shared):
    text = (shared / "specs" / "datasets.md").read_text("utf-8")
    section = text[text.index("## 3. Protocols") : text.index("## 4. ")]
    wanted = set()
    for cell in re.findall(r"^\| (`.*?) \|", section, re.MULTILINE):
        ids = [word for quoted in re.findall(r"`([^`]+)`", cell) for word in braces(quoted)]
        wanted.update(word if word[0] != "@" else ids[0].rpartition("@")[0] + word for word in ids)
    assert len(wanted) >= 49
    assert wanted <= set(ALL)
    assert {f"dtdb-{t}-128-c1-p16@2" for t in ("fire", "clouds", "vegetation", "waterfall")} <= set(ALL)


def braces(word: str) -> list[str]:
    parts = [part.split(",") for part in re.split(r"[{}]", word)]
    return ["".join(choice) for choice in itertools.product(*parts)]


def test_every_published_score_has_its_protocol_and_metric(shared):
    with open(shared / "specs" / "published_scores.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) > 100
    for row in rows:
        assert protocols.published_metric(ALL[row["protocol"]], row["metric"]) in ALL[row["protocol"]].metrics


def test_a_published_metric_finds_its_variant_or_is_refused():
    assert protocols.published_metric(ALL["sky256-unc16-fvd2048@1"], "fvd") == "fvd-styleganv"
    assert protocols.published_metric(ALL["nemo64-unc16@1"], "video_fid_resnext101") == "vfid"
    with pytest.raises(VbenchError, match="no metric of nemo64-unc16@1"):
        protocols.published_metric(ALL["nemo64-unc16@1"], "fvd")


def test_every_quirk_is_used():
    assert set(protocols.quirks()) == {quirk for p in ALL.values() for quirk in p.quirks}


def test_quirks_agree_with_the_fields_they_explain():
    for p in ALL.values():
        assert ("off-by-one" in p.quirks) == (p.real_offset != 0), p.id
        assert ("drop-last" in p.quirks) == bool(p.metric_batches), p.id
        assert ("other-reals" in p.quirks) == (p.reals is not None), p.id
        assert ("bgr" in p.quirks) == ("fvd-ccvs" in p.metrics), p.id
        assert "mp4" not in p.quirks or p.lossy, p.id
        assert ("teacher-forced" in p.quirks) == p.teacher_forced, p.id
        assert ("train-mode" in p.quirks) == (p.train_mode > 0), p.id


RELEASED, FREE = {"teacher_forced": True, "train_mode": 4}, {"teacher_forced": False, "train_mode": 0, "moved": False}


@pytest.mark.parametrize("options", [None, "odd", {}, {"temperature": 1.0}, {"teacher_forced": True}, RELEASED])
def test_what_a_manifest_does_not_tell_of_options_is_taken_on_trust(options):
    protocols.check_made(load("wsprites-glass@1"), options, "out")


def test_clips_made_otherwise_than_a_protocol_says_are_refused():
    for name in ("bair256-glass-rec30", "tennis-glass-rec16", "wsprites-glass"):
        first, second = ALL[f"{name}@1"], load(name)
        assert second.id == f"{name}@2" and (second.context, second.predict) == (1, first.predict)
        assert replace(first.select, seed=None) == replace(second.select, seed=None)
        protocols.check_made(second, FREE, "out")
        with pytest.raises(
            UsageError, match=f"made with --teacher-forced --train-mode {first.train_mode}, and those of"
        ):
            protocols.check_made(first, FREE, "out")
    with pytest.raises(UsageError) as refused:
        protocols.check_made(ALL["wsprites-glass@1"], FREE, "out")
    assert str(refused.value) == (
        "wsprites-glass@1 is of clips made with --teacher-forced --train-mode 4, and those of out are made with neither "
        "--teacher-forced nor --train-mode; generate them as it says, or for wsprites-glass@2"
    )
    for id, options in (("wsprites-glass@2", RELEASED), ("wsprites-glass-small@1", {"teacher_forced": True})):
        with pytest.raises(UsageError, match=f"{id} is of clips made with neither"):
            protocols.check_made(ALL[id], options, "out")
    with pytest.raises(UsageError, match=r"with --teacher-forced --train-mode 1; generate them as it says$"):
        protocols.check_made(ALL["wsprites-glass@1"], {**RELEASED, "train_mode": 1}, "out")


@pytest.mark.parametrize(
    "file", sorted((ROOT / "results" / "reproduced").glob("glass-*.json")), ids=lambda file: file.stem
)
def test_our_rows_of_glass_are_of_freely_running_protocols(file):
    for row in json.loads(file.read_text("utf-8")):
        assert not ALL[row["protocol"]].teacher_forced and not ALL[row["protocol"]].train_mode
        assert row["metric"] in ALL[row["protocol"]].metrics


def test_published_rows_of_glass_are_of_its_release():
    with open(ROOT / "results" / "published.csv", newline="", encoding="utf-8") as rows:
        found = {row["protocol"] for row in csv.DictReader(rows) if row["method"] == "GLASS"}
    assert found and all(ALL[id].teacher_forced and ALL[id].train_mode for id in found)


def test_protocols_can_be_dictionary_keys():
    assert len(set(ALL.values())) == len(ALL)


# Loading


def test_a_name_without_version_is_the_newest():
    assert load("dtdb-fire-128-c1-p16").id == "dtdb-fire-128-c1-p16@2"
    assert load("dtdb-fire-128-c1-p16@1").real_offset == -1
    assert load("dtdb-fire-128-c1-p16").real_offset == 0
    assert load("bair64-c1-p15").id == "bair64-c1-p15@1"


def test_version_10_is_newer_than_version_9(monkeypatch):
    known = {f"x@{n}": replace(ALL["bair64-c1-p15@1"], id=f"x@{n}") for n in (9, 10, 1)}
    monkeypatch.setattr(protocols, "_builtin", lambda: known)
    assert load("x").id == "x@10"


@pytest.mark.parametrize("name", ["bair64-c1-p51", "bair64-c1-p15@7"])
def test_an_unknown_protocol_names_the_nearest(name, monkeypatch):
    known = {id: ALL[id] for id in ("bair64-c1-p15@1", "bair64-c2-p28@1", "k600-64-c5-p11@1")}
    monkeypatch.setattr(protocols, "_builtin", lambda: known)
    with pytest.raises(UsageError, match=f'no protocol "{name}"; did you mean "bair64-c1-p15'):
        load(name)


def test_load_all_gives_a_copy():
    protocols.load_all().clear()
    assert protocols.load_all() == ALL


GOOD = """
title = "Toy"
dataset = "toy"
variant = "64"
split = "test"
select = { window = "first", clips = 3 }
context = 1
predict = 15
metrics = ["fvd", "psnr"]
source = "here"
status = "verified"
"""


def table(**changes: str) -> str:
    """Return a good protocol with some keys set to other TOML, or left out where that is empty."""
    lines = dict(line.split(" = ", 1) for line in GOOD.strip().splitlines()) | changes
    return '["toy-c1-p15@1"]\n' + "\n".join(f"{key} = {value}" for key, value in lines.items() if value)


def test_a_good_protocol_parses():
    p = protocols.parse(table())["toy-c1-p15@1"]
    assert (p.length, p.metrics, p.select, p.control) == (16, ("fvd", "psnr"), Select("first", clips=3), "none")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"contxt": "1"}, 'no key of protocol toy-c1-p15@1 "contxt"; did you mean "context"'),
        ({"id": '"x@1"'}, 'no key of protocol toy-c1-p15@1 "id"'),
        ({"title": ""}, "title is missing"),
        ({"title": '" "'}, "title is empty"),
        ({"context": '"1"'}, "context is '1', expected a whole number"),
        ({"context": "true"}, "context is True, expected a whole number"),
        ({"context": "-1"}, "context is -1, expected at least 0"),
        ({"predict": "0"}, "predict is 0, expected at least 1"),
        ({"lossy": "1"}, "lossy is 1, expected true or false"),
        ({"split": "3"}, "split is 3, expected text"),
        ({"metrics": '"fvd"'}, "metrics is 'fvd', expected a list of words"),
        ({"metrics": "[]"}, "metrics is empty or names a metric twice"),
        ({"metrics": '["fvd", "fvd"]'}, "metrics is empty or names a metric twice"),
        ({"metrics": '["FVD!"]'}, 'metrics has "FVD!", expected words like fvd or fvd-ccvs'),
        ({"quirks": '["odd"]'}, r'quirks has "odd", which the \[quirks\] table does not explain'),
        ({"control": '"joystick"'}, 'control is "joystick", expected one of none, class'),
        ({"aggregate": '"max"'}, 'aggregate is "max", expected one of mean, best'),
        ({"aggregate": '"best"'}, 'aggregate is "best", but there is 1 sample'),
        ({"status": '"maybe"'}, 'status is "maybe", expected one of verified, unverified'),
        ({"generated": "5"}, "generated is for unconditional protocols"),
        ({"context": "0"}, "generated is missing"),
        ({"scored": '"some"'}, 'scored is "some", expected all, predicted'),
        ({"scored": '"0:17"'}, 'scored "0:17" with real_offset 0 leaves the 16 frames'),
        ({"scored": '"5:5"'}, 'scored "5:5"'),
        ({"real_offset": "-1"}, 'scored "all" with real_offset -1 leaves the 16 frames'),
        ({"real_offset": "1", "scored": '"predicted"'}, "real_offset 1 leaves"),
        ({"metric_frames": '{ psnr = "15,16" }'}, 'metric_frames "15,16" with real_offset 0 leaves'),
        ({"metric_frames": '{ sim = "all" }'}, 'metric_frames names "sim", which is not among its metrics fvd, psnr'),
        ({"metric_frames": "{ psnr = 3 }"}, "metric_frames is {'psnr': 3}, expected a table of words"),
        ({"metric_samples": "{ fvd = 0 }"}, "metric_samples gives fvd 0, expected at least 1"),
        ({"metric_samples": '{ fvd = "1" }'}, "expected a table of whole numbers"),
        ({"metric_samples": "{ fvd = 5 }"}, "metric_samples gives fvd 5, more than the samples per case, which are 1"),
        ({"samples": "4", "metric_samples": "{ fvd = 5 }"}, "gives fvd 5, more than the samples per case, which are 4"),
        ({"metric_batches": '{ fvd = "16" }'}, 'metric_batches gives fvd "16", expected text like "16 clips"'),
        ({"select": '"undefined"'}, "note is missing: an undefined selection needs the reason"),
        ({"select": '"first"'}, "select is 'first', expected a table"),
        ({"reals": '"undefined"'}, "reals is 'undefined', expected a table"),
        ({"select": "{ clips = 3 }"}, "select.window is missing"),
        ({"select": '{ window = "frist" }'}, 'select.window is "frist", expected one of first, centre'),
        ({"select": '{ window = "first", draw = "most" }'}, 'select.draw is "most", expected one of all, head'),
        ({"select": '{ window = "first", short = "keep" }'}, 'select.short is "keep", expected one of refuse, drop'),
        ({"select": '{ window = "first", clip = 3 }'}, '"select.clip"; did you mean "select.clips"'),
        ({"select": '{ window = "random" }'}, "select.seed belongs where something is drawn at random"),
        ({"select": '{ window = "first", seed = 0 }'}, "select.seed belongs where"),
        ({"select": '{ window = "random", seed = -1 }'}, "select.seed is -1, expected at least 0"),
        ({"select": '{ window = "first", draw = "head" }'}, 'select.cases belongs to every draw but "all"'),
        ({"select": '{ window = "first", cases = 3 }'}, 'select.cases belongs to every draw but "all"'),
        ({"select": '{ window = "first", span = 16 }'}, "select.span is 16, but a window has that many"),
        ({"select": '{ window = "first", stride = 2 }'}, 'select.stride belongs to window = "every"'),
        ({"select": '{ window = "first", windows = 2 }'}, 'select.windows belongs to window = "spaced"'),
        ({"select": '{ window = "first", draw = "head", cases = 3, passes = 2 }'}, 'passes belongs to draw = "all"'),
        ({"reals": '{ window = "first", passes = 0 }'}, "reals.passes is 0, expected at least 1"),
    ],
)
def test_a_faulty_protocol_is_refused_with_its_id_and_key(changes, says):
    with pytest.raises(VbenchError, match=says) as error:
        protocols.parse(table(**changes))
    assert "toy-c1-p15@1" in str(error.value)


@pytest.mark.parametrize("id", ["toy", "toy@0", "Toy@1", "toy@1.5"])
def test_an_id_without_version_is_refused(id):
    with pytest.raises(VbenchError, match=f'"{re.escape(id)}" is no protocol'):
        protocols.parse(table().replace("toy-c1-p15@1", id))


# Frames, samples, batches


def test_frames_samples_and_batches_of_a_metric():
    p = load("drums128-c15-p30")
    assert p.frames_of("fvd") == tuple(range(45)) and p.frames_of("psnr-piq") == (15, 29, 44)
    assert p.batch_of("psnr-piq") == (16, "clips") and p.batch_of("fvd") is None
    p = load("bair64-c2-p28")
    assert p.frames_of("psnr") == tuple(range(2, 30)) and p.frames_of("fvd") == tuple(range(30))
    assert (p.samples_of("psnr"), p.samples_of("fvd"), p.samples_of("fvd-ccvs")) == (100, 1, 1)
    p = load("bair256-ccvs-p2p-c1+1-p14")
    assert p.length == 16 and replace(p, scored="predicted").frames_of("fvd") == tuple(range(1, 15))
    assert load("bair64-cinn-c1-p15").frames_of("fvd") == tuple(range(16))  # of 17, the last is dropped


@pytest.mark.parametrize(
    ("branch", "id"),
    [("bair", "bair64-cinn-c1-p15@1"), ("iPER", "iper64-c1-p16@1"), ("landscape", "landscape128-c1-p16@1")],
)
def test_scored_frames_are_those_of_the_released_cinn_scorer(shared, branch, id):
    data = np.load(shared / "golden" / "cinn" / "io_eval_protocol.npz")  # recorded with 4 generated frames
    p = replace(ALL[id], predict=4, scored="0:4" if branch == "bair" else ALL[id].scored)
    real = data["in/real"]
    whole = np.concatenate([real[:, :1], data["in/generated"]], axis=1)  # the given frame, then the generated ones
    frames = list(p.frames_of("lpips-vgg"))
    number, unit = p.batch_of("lpips-vgg")
    assert unit == "frames"  # recorded is the second batch, batch1
    expected = whole[:, frames].reshape(-1, *whole.shape[2:])[number : 2 * number]
    np.testing.assert_array_equal(data[f"out/{branch}/lpips_batch1_generated"], expected)
    expected = real[:, [t + p.real_offset for t in frames]].reshape(-1, *real.shape[2:])[number : 2 * number]
    np.testing.assert_array_equal(data[f"out/{branch}/lpips_batch1_real"], expected)
    assert data[f"out/{branch}/lpips_batches"] == len(real) * len(frames) // number
    assert data[f"out/{branch}/fvd_first"].shape[:3] == (1, p.batch_of("fvd")[0], len(frames))


# Cases


@pytest.mark.parametrize("id", GOLDEN_IDS)
def test_cases_are_the_recorded_ones(id):
    path = GOLDEN / f"{id}.json"
    assert path.is_file(), f"no recorded cases of {id}: run python tests/test_protocols.py, which writes {path}"
    assert record(ALL[id]) == json.loads(path.read_text("utf-8"))


@pytest.mark.parametrize("id", ALL)
def test_cases_fit_their_clips_and_have_names_of_their_own(id):
    p = small(ALL[id])
    clips = store(p)[::150] if p.dataset == "kinetics600" else store(p)
    if p.select is None:
        with pytest.raises(VbenchError, match=f"{re.escape(id)} only holds published numbers: .*(known|recorded)"):
            cases(p, clips)
        return
    frames = dict(clips)
    for resolve in (cases, real_cases) if p.reals else (cases,):
        found = resolve(p, clips)
        assert found == resolve(p, clips)
        assert len({case.key.casefold() for case in found}) == len(found) > 0
        assert all(0 <= c.start <= frames[c.clip] - p.length and c.length == p.length for c in found)


@pytest.mark.parametrize(
    ("id", "generated", "real"),
    [
        ("bair64-c1-p15@1", 256, 256),
        ("bair64-c1-p15-debiased@1", 25600, 3840),  # 15 windows of 256 clips
        ("bair256-ccvs-unc16@1", 1280, 1280),
        ("tennis-caddy-rec16@1", 206, 206),
        ("nemo64-unc16@1", 5000, 1240),
        ("sky256-unc128-fvd2048@1", 2048, 2048),
        ("iper64-c1-p16@1", 1000, 1000),
        ("dtdb-waterfall-128-c1-p16@1", 30, 30),  # 6 videos, 5 times
        ("landscape128-c1-p16@1", 918, 918),
        ("drums128-audio-c15-p30@1", 100, 100),
        ("wsprites-control@1", 1290, 1290),
    ],
)
def test_numbers_of_generated_and_real_clips(id, generated, real):
    p, clips = ALL[id], store(ALL[id])
    keys = range(p.answers) if p.unconditional else [case.key for case in cases(p, clips)]
    assert (len(keys), len(set(keys)), len(real_cases(p, clips))) == (generated, generated, real)


def toy(context: int = 1, predict: int = 15, **select) -> protocols.Protocol:
    return replace(ALL["bair64-c1-p15@1"], context=context, predict=predict, select=Select(**select), reals=None)


def pairs(found: list[Case]) -> list[tuple[str, int]]:
    return [(case.clip, case.start) for case in found]


def test_cycle_goes_round_the_clips_and_draws_each_start_from_its_own_stream():
    p = ALL["iper64-c1-p16@1"]
    clips = store(p)
    starts = [int(np.random.default_rng([0, i]).integers(clips[i % 42][1] - 16)) for i in range(1000)]
    assert pairs(cases(p, clips)) == [(clips[i % 42][0], start) for i, start in enumerate(starts)]


def test_random_windows_reach_both_ends_of_a_clip():
    starts = {start for _, start in pairs(cases(toy(window="random", passes=200, seed=3), [("a", 20)]))}
    assert starts == {0, 1, 2, 3, 4}


def test_subset_is_without_and_replacement_with_repetition():
    clips = [(f"c{i}", 16) for i in range(50)]
    subset = cases(toy(window="first", draw="subset", cases=40, seed=5), clips)
    assert len({case.clip for case in subset}) == 40 and [case.clip for case in subset] != [c for c, _ in clips[:40]]
    assert pairs(cases(toy(window="first", draw="subset", cases=10, seed=5), clips)) == pairs(subset)[:10]
    drawn = cases(toy(window="first", draw="replacement", cases=200, seed=5), clips)
    assert len(drawn) == 200 and len({case.clip for case in drawn}) == 50


def test_another_seed_draws_other_windows():
    p = small(ALL["k600-64-c5-p11-replacement@1"])
    clips = [(f"c{i}", 300) for i in range(1000)]
    assert pairs(cases(p, clips)) != pairs(real_cases(p, clips))


def test_centre_is_that_of_the_released_g3an_scorer():
    clips = [(f"n{n}", n) for n in (16, 17, 18, 33, 120)]
    assert [start for _, start in pairs(cases(toy(0, 16, window="centre"), clips))] == [n // 2 - 8 for _, n in clips]


def test_the_real_set_is_that_of_the_cases_unless_said():
    p, clips = ALL["landscape128-c1-p16@2"], store(ALL["landscape128-c1-p16@2"])
    assert real_cases(p, clips) == cases(p, clips)
    apart = replace(p, reals=Select("first", clips=153))
    assert pairs(real_cases(apart, clips)) == [(clip, 0) for clip, _ in clips]
    assert cases(apart, clips) == cases(p, clips)


def test_spaced_windows_and_crops():
    found = cases(toy(window="spaced", windows=2, crops=3), [("a", 96)])
    assert [(case.start, case.crop) for case in found] == [(s, c) for s in (20, 60) for c in (0.0, 0.5, 1.0)]
    assert found[1].key == "a@20+50"
    assert cases(toy(window="first", crops=1), [("a", 16)])[0].crop == 0.5


def test_every_window_with_stride_span_and_step():
    clips = [("a", 95), ("b", 96)]
    chunks = toy(window="every", stride=32, span=32)
    assert pairs(cases(chunks, clips)) == [("a", 0), ("a", 32), ("b", 0), ("b", 32), ("b", 64)]
    assert len(cases(toy(0, 12, window="every"), [("a", 90)])) == 79  # GLASS's windows of a W-Sprites video
    strided = cases(toy(window="every", step=5), [("a", 77)])
    assert pairs(strided) == [("a", 0), ("a", 1)] and strided[0].step == 5  # 16 frames reach over 76


def test_the_longer_context_sees_the_same_windows():
    clips = store(ALL["landscape128-c2-p14@1"])
    one, two = (pairs(cases(ALL[id], clips)) for id in ("landscape128-c1-p16@2", "landscape128-c2-p14@1"))
    assert one == two


def test_the_quickstart_is_defined_on_a_store_of_32_clips():
    quickstart = ALL["wsprites-quickstart@1"]
    clips = store(quickstart)
    assert pairs(cases(quickstart, clips)) == [(clip, 0) for clip, _ in clips] and len(clips) == 32
    with pytest.raises(VbenchError, match="exactly 32 clips"):
        cases(quickstart, [*clips, ("test/one_more", 90)])


# Keys


def test_a_repeated_window_gets_an_ordinal():
    found = cases(toy(window="first", passes=3), [("test/a", 16), ("test/b", 17)])
    keys = ["test/a@0", "test/b@0", "test/a@0,1", "test/b@0,1", "test/a@0,2", "test/b@0,2"]
    assert [case.key for case in found] == keys


def test_ids_that_differ_in_case_only_are_two_files_everywhere():
    found = cases(toy(window="first"), [("x/aB", 16), ("x/Ab", 16)])
    assert [case.key for case in found] == ["x/aB@0", "x/Ab@0,1"]


@pytest.mark.parametrize(
    ("clip", "key"),
    [
        ("test/traj_0_to_255/17", "test/traj_0_to_255/17@0"),
        ("test/-a_B~c.d", "test/-a_B~c.d@0"),
        ("playing piano/x:y", "playing%20piano/x%3Ay@0"),
        ("../up", "%2E%2E/up@0"),
        ("/root", "%/root@0"),
        ("C:\\x", "C%3A%5Cx@0"),
        ("a./b@1,2", "a%2E/b%401%2C2@0"),
        ("con/aux.x/nul", "%63on/%61ux.x/%6Eul@0"),
        ("caf\u00e9", "caf%C3%A9@0"),
    ],
)
def test_keys_are_relative_paths_on_every_system(clip, key):
    assert Case(clip, 0, 16).key == key
    path = PureWindowsPath(key)
    assert not path.is_absolute() and not path.drive and not path.root and ".." not in path.parts
    assert not set('<>:"|?*\\ ') & set(key)


# Stores that do not fit


def test_too_few_clips():
    p = ALL["bair64-c1-p15@1"]
    says = (
        "bair64-c1-p15@1 needs 256 clips of at least 16 frames in bair/test, found 255; "
        'run "vbench-ctl prepare bair --split test"'
    )
    with pytest.raises(VbenchError, match=f"^{re.escape(says)}$"):
        cases(p, store(p)[:-1])
    with pytest.raises(VbenchError, match=f"^{re.escape(says)}$"):
        cases(p, [*store(p)[:-1], ("test/short", 15)])


def test_extra_clips_are_another_test_set():
    p = ALL["bair64-c1-p15@1"]
    with pytest.raises(VbenchError, match="is defined on exactly 256 clips in bair/test, found 257; a larger set"):
        cases(p, [*store(p), ("test/extra", 30)])


def test_a_short_clip_is_refused_by_name_unless_the_rule_drops_it():
    clips = [("eval/a", 40), ("eval/b", 9)]
    with pytest.raises(VbenchError, match=r'at least 17 frames, but "eval/b" in dtdb/eval has 9; run "vbench-ctl prep'):
        cases(ALL["dtdb-fire-128-c1-p16@2"], clips)
    assert pairs(cases(toy(window="first", short="drop"), clips)) == [("eval/a", 0)]


def test_a_rule_that_drops_counts_the_split_before_dropping():
    p = ALL["iper64-c1-p16@1"]
    clips = [*store(p)[:-1], ("test/short", 9)]
    assert "test/short" not in {case.clip for case in cases(p, clips)}
    with pytest.raises(VbenchError, match=r"needs 42 clips .* in iper/test, found 41"):
        cases(p, clips[1:])


@pytest.mark.parametrize("draw", ["head", "subset"])
def test_a_draw_without_repetition_needs_enough(draw):
    seed = {"seed": 0} if draw == "subset" else {}
    clips = [(f"c{i}", 30) for i in range(9)] + [("short", 3)]
    with pytest.raises(VbenchError, match="needs 10 clips of at least 16 frames in bair/test, found 9"):
        cases(toy(window="first", draw=draw, cases=10, short="drop", **seed), clips)
    with pytest.raises(VbenchError, match="needs 200 windows of at least 16 frames in bair/test, found 135"):
        cases(toy(window="every", draw=draw, cases=200, short="drop", **seed), clips)


@pytest.mark.parametrize("clips", [[], [("a", 3)]])
@pytest.mark.parametrize("short", ["refuse", "drop"])
def test_a_store_without_a_usable_clip(clips, short):
    with pytest.raises(VbenchError, match="needs 1 clips of at least 16 frames in bair/test, found 0"):
        cases(toy(window="first", short=short), clips)


def test_a_protocol_on_all_splits_names_none_in_the_remedy():
    with pytest.raises(VbenchError, match=r'in uva-nemo/all, found 0; run "vbench-ctl prepare uva-nemo"$'):
        cases(ALL["nemo64-unc16@1"], [])


# Showing


@pytest.mark.parametrize("id", ALL)
def test_a_card_tells_what_a_protocol_does(id):
    card, p = dict(protocols.card(ALL[id])), ALL[id]
    assert all(isinstance(value, str) and value for value in card.values())
    assert (card["protocol"], card["source"], card["status"]) == (id, p.source, p.status)
    assert card["metrics"] == ", ".join(p.metrics)
    assert all(f"quirk {quirk}" in card for quirk in p.quirks)


def test_a_card_loses_no_line_as_a_table():
    pairs = protocols.card(protocols.load("wsprites-counterfactual"))
    assert len(dict(pairs)) == len(pairs) and {"  and new-actions", "  and reversed"} <= dict(pairs).keys()


def test_the_card_of_one_protocol():
    card = dict(protocols.card(load("iper64-c1-p16")))
    assert card["data"] == "iper 64, split test"
    assert card["task"] == "1 -> 16"
    assert card["clips"] == (
        "a random window of each clip, drawn anew each time: 1000, in store order and from the beginning again; "
        "42 clips in the split; too short clips are left out; seed 0"
    )
    assert card["scored frames"] == "all 17"
    assert card["clips x samples"] == "1000 x 5"
    assert card["  fvd"] == "1 sample per case, whole batches of 16 clips only"
    assert card["  diversity"] == "frames the 16 predicted, whole batches of 16 clips only"
    assert dict(protocols.card(load("dtdb-fire-128-c1-p16@1")))["real frames"] == "-1 against the generated ones"


def test_the_table_has_a_row_per_protocol():
    rows = protocols.summary_rows()
    assert [row["id"] for row in rows] == list(ALL)
    row = next(row for row in rows if row["id"] == "bair64-c2-p28@1")
    assert row == {
        "id": "bair64-c2-p28@1",
        "dataset": "bair",
        "task": "2 -> 28",
        "clips x samples": "256 x 100",
        "metrics": "fvd, psnr, ssim, lpips",
        "title": "BAIR frame prediction from two frames, 28 predicted, best of 100",
    }
    amounts = {row["id"]: (row["task"], row["clips x samples"]) for row in rows}
    assert amounts["landscape128-c1-p16@2"] == ("1 -> 16", "918 x 5")
    assert amounts["nemo64-unc16@1"] == ("0 -> 16", "5000 generated")
    assert amounts["bair256-caddy-rec30@1"] == ("4 -> 26, inferred-actions", "all x 1")
    assert amounts["bair256-ccvs-p2p-c1+1-p14@1"] == ("1 + 1 last -> 14", "1280 x 1")
    assert amounts["k600-64-c5-p11-39k@1"] == ("5 -> 11", "?")


if __name__ == "__main__":  # writes the recorded cases that are lacking, for a dataset that was added
    for path, id in ((GOLDEN / f"{id}.json", id) for id in GOLDEN_IDS):
        if not path.exists():
            path.write_text(json.dumps(record(ALL[id]), indent=1) + "\n", "utf-8")
