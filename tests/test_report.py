"""The report, as a person sees it in a browser: it sorts, filters, copies, plays, fits a phone, and names do no harm."""

import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import tiny
from click.testing import CliRunner
from PIL import Image
from tiny import Named

from vbench_ctl import files, leaderboard, prepare, recipes, registry, report, rows, runs, tokens, video
from vbench_ctl.cli import main
from vbench_ctl.errors import UsageError
from vbench_ctl.report import boards, charts, clips, training
from vbench_ctl.rows import Row
from vbench_ctl.sources import open_source

PROTOCOL = "bair64-c1-p15@1"
FVD = "fvd|default|i3d-k400:9480e9ea|16f|256x1|tf,ddof1|v1"
PSNR = "psnr|default|-|15f|256x1|frame,exact|v1"
NASTY = ["<script>window.hurt = 1</script>", "=cmd|' /C calc'!A0", "../../up", '"><img src=x onerror="window.hurt=1">']
CASES, FRAMES, HEIGHT, WIDTH = 6, 8, 24, 32
LABELS = ["walk", "cast", "slash"]


def row(model: str, value: float | None, metric: str = "psnr", **more) -> Row:
    higher = metric == "psnr"
    given = {
        "low": None if value is None else value - 0.5,
        "high": None if value is None else value + 0.5,
        "direction": "higher" if higher else "lower",
        "n": 256,
        "protocol": PROTOCOL,
        "signature": PSNR if higher else FVD,
        "per_frame": [20.0 - t for t in range(15)] if higher else [],
        **more,
    }
    return Row(metric=metric, value=value, model=model, **given)


def found_rows() -> list[Row]:
    confusion = {"labels": LABELS, "counts": [[8, 2, 0], [1, 9, 0], [0, 5, 5]]}
    moves = [{"action": 0, "share": 1.0, "quantiles": [[0.1 * k, -0.2 * k] for k in range(11)]}]
    return [
        row("alpha", 21.5, details={"confusion": confusion}),
        row("alpha", 90.0, "fvd"),
        row("beta", 9.25, details={"actions": moves}),
        row("beta", 110.0, "fvd"),
        row("gamma", None, note="n/a: no weights"),
        row("gamma", 1000.0, "fvd", note="few clips"),
        *(row(name, 15.0 + at, note=name, provenance={"outputs": name}) for at, name in enumerate(NASTY)),
        *(r for r in leaderboard.published_rows(True) if r.protocol == PROTOCOL),
    ]


def moving(seed: int) -> np.ndarray:
    """Return a clip of a bright square that wanders over a dark floor."""
    clip = np.full((FRAMES, HEIGHT, WIDTH, 3), 40, np.uint8)
    for t, frame in enumerate(clip):
        frame[6 + seed % 4 : 14 + seed % 4, 2 * t + 2 : 2 * t + 10] = (230, 60 + 20 * seed, 90)
    return clip


@pytest.fixture(scope="module")
def material(tmp_path_factory) -> report.Asked:
    """Real clips and outputs of two models, a grid of appearances and motions, a run with a log, and a small store."""
    place = tmp_path_factory.mktemp("material")
    for at in range(CASES):
        real = moving(at)
        video.write(place / f"real/clip {at}.mkv", real)
        video.write(place / f"good/clip {at}.mkv", np.clip(real.astype(int) + 3, 0, 255).astype(np.uint8))
        shift = 60 if at == 4 else 6  # the worst case of all
        video.write(place / f"nasty/clip {at}.mkv", np.clip(real.astype(int) + shift, 0, 255).astype(np.uint8))
    files.write_json(place / "nasty/manifest.json", {"model": NASTY[0]})
    for name in ("0_0", "0_1", "1_0", "1_1", "2_0", "2_1"):
        video.write(place / f"grid/{name}.mkv", moving(int(name[0]))[: 4 + int(name[2])])
    files.write_json(place / "grid/manifest.json", {"model": "alpha", "way": "grid"})
    leaf = registry.load("baselines", "glass")
    run = runs.create(place / "run", "glass", recipes.load("glass", next(iter(recipes.files("glass", leaf)))))
    for step in range(1, 40):
        runs.log(run.folder, {"stage": "", "step": step, "losses": {"adam": 1000 * 0.7**step, "flat": 1.0}})
    runs.log(run.folder, {"stage": "", "step": 40, "validation": {"adam": 0.5}})
    prepare.make(prepare.plan("wsprites", place / "home", ("test",), 2))
    (store,) = (place / "home/stores/wsprites").iterdir()
    return report.Asked(
        found_rows(),
        [place / "good", place / "nasty", place / "grid"],
        [place / "real"],
        [place / "run"],
        clips=4,
        command=("vbench-ctl", "report", "my rows.json"),
    ), store


@pytest.fixture(scope="module")
def site(material, tmp_path_factory) -> Path:
    """A report in a folder whose name must be quoted in addresses, as an unpacked zip may have it."""
    out = tmp_path_factory.mktemp("site") / "report"
    report.write(material[0], out)
    return Path(shutil.move(out, out.with_name("a report #1 (50%)")))


@pytest.fixture
def opened(page, site):
    """The page in a browser; whatever the console says or the network is asked for fails the test."""
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("dialog", lambda dialog: complaints.append(dialog.message))
    page.on("request", lambda asked: asked.url.startswith(("file:", "data:")) or complaints.append(asked.url))
    page.goto((site / "index.html").as_uri())
    yield page
    assert complaints == []
    assert page.evaluate("window.hurt") is None


def models(page) -> list[str]:
    return page.locator(".board tbody tr:visible th span").all_inner_texts()


# In the browser


def test_heads_sort_by_click_and_by_key_and_gaps_stay_last(opened):
    head = opened.get_by_role("button", name="psnr ↑", exact=True)
    head.click()
    cell = opened.locator("th", has=head)
    assert cell.get_attribute("aria-sort") == "descending"
    first = models(opened)
    assert first[:2] == ["alpha", NASTY[3]] and first.index("gamma") > first.index("beta")
    head.press("Enter")
    assert cell.get_attribute("aria-sort") == "ascending"
    again = models(opened)
    assert again[0] == "beta" and again.index("gamma") > again.index("alpha")
    opened.get_by_role("button", name="model").press("Enter")
    assert opened.locator("th[aria-sort]").count() == 1
    assert models(opened) == sorted(models(opened), key=lambda name: again.index(name)) or models(opened) != again


def test_the_filter_keeps_what_matches(opened):
    everything = models(opened)
    opened.keyboard.press("/")
    opened.keyboard.type("BET")
    assert models(opened) == ["beta"]
    assert opened.locator("#matches").inner_text() == f"1 of {len(everything)} lines"
    opened.locator("#filter").fill("no such model")
    assert models(opened) == [] and not opened.locator(".board").is_visible()
    opened.locator("#filter").fill("bair64")
    assert models(opened) == everything


def test_a_signature_shows_on_hover_and_is_copied(opened):
    number = opened.locator("tr", has_text="alpha").first.locator(".num").last
    number.hover()
    card = opened.locator("#card")
    card.wait_for(state="visible")
    text = number.inner_text().strip()
    assert (
        FVD if text == "90" else PSNR
    ) in card.inner_text() and "vbench-ctl score outputs/alpha" in card.inner_text()
    opened.mouse.move(5, 5)
    card.wait_for(state="hidden")
    number.press("Enter")
    assert card.locator(".copy").first.evaluate("node => node === document.activeElement")
    opened.keyboard.press("Enter")
    opened.keyboard.press("Escape")
    card.wait_for(state="hidden")
    assert number.evaluate("node => node === document.activeElement")
    opened.locator("#filter").focus()
    opened.keyboard.press("Control+v")
    assert opened.locator("#filter").input_value() == (FVD if text == "90" else PSNR)


def until(page, words: str, what) -> None:
    """Wait for the page; its policy forbids what Playwright's own waiting for a function does."""
    for _ in range(600):
        if what(page.evaluate(words)):
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"{words} is still {page.evaluate(words)}")


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def test_play_all_plays_and_steps_go_one_frame(opened):
    opened.evaluate("document.querySelector('#clips .case').scrollIntoView({block: 'center'})")  # not below the buttons
    frames = "[...document.querySelectorAll('#clips .film')].slice(0, 2).map(film => film.dataset.frame)"
    until(opened, frames, lambda at: at == ["7", "7"])
    picture = opened.locator("#clips canvas").first
    before = picture.screenshot()
    opened.locator("body").press("ArrowLeft")
    until(opened, frames, lambda at: at == ["6", "6"])
    assert opened.locator("#where").inner_text() == "frame 7 of 8"
    until(opened, "", lambda _: picture.screenshot() != before)
    real, good = (pixels(opened.locator(f"#clips canvas.{kind}").first.screenshot()) for kind in ("real", "generated"))
    assert np.abs(real - good).mean() < 10  # both are of the same frame
    opened.get_by_role("button", name="Play all").click()
    seen: set[str] = set()
    until(opened, frames, lambda at: seen.update(at) or len(seen) >= 3)
    opened.get_by_role("button", name="Pause").click()
    until(opened, frames, lambda at: at[0] == at[1])
    assert opened.get_by_role("button", name="Play all").is_visible()


def test_layers_can_be_left_out(opened):
    assert opened.locator("#clips canvas.difference").first.is_visible()
    assert opened.locator("#clips canvas.flow").count() == 3 * 4  # of the real clip and two models, in four cases
    for name in ("difference", "flow"):
        opened.get_by_label(name, exact=True).uncheck()
        assert not opened.locator(f"canvas.{name} >> visible=true").count()


def test_names_stay_text(opened, site):
    for name in NASTY:
        assert name in models(opened)
    assert NASTY[0] in opened.locator("#clips figcaption").all_text_contents()[2]
    assert opened.locator("img[src=x]").count() == 0
    assert opened.locator("script").count() == 1
    assert {path.name for path in site.iterdir()} == {"index.html", "rows.json", "media"}
    assert all(re.fullmatch(r"[a-z]+-\d+(-\d+)?\.(mp4|png)", path.name) for path in (site / "media").iterdir())


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_scrolls_downwards_only(opened, scheme):
    opened.emulate_media(color_scheme=scheme)
    opened.set_viewport_size({"width": 390, "height": 844})
    assert opened.evaluate("document.documentElement.scrollWidth") == 390
    ink, paper = opened.evaluate("(s => [s.color, s.backgroundColor])(getComputedStyle(document.body))")
    assert (sum(map(float, re.findall(r"\d+", ink)[:3])) > sum(map(float, re.findall(r"\d+", paper)[:3]))) == (
        scheme == "dark"
    )


def test_the_button_changes_the_colours(opened):
    paper = "getComputedStyle(document.body).backgroundColor"
    opened.emulate_media(color_scheme="light")
    light = opened.evaluate(paper)
    for _ in range(2):
        opened.locator("#theme").click()
    assert opened.locator("#theme").inner_text() == "Dark" and opened.evaluate(paper) != light


def test_everything_has_a_name(opened):
    nameless = """[...document.querySelectorAll('button, input, select, canvas, a, img, svg[role=img], section, [role=region]')]
        .filter(n => !(n.ariaLabel || n.labels?.length || n.alt || n.textContent.trim() || n.getAttribute('aria-labelledby')))
        .map(n => n.outerHTML.slice(0, 80))"""
    assert opened.evaluate(nameless) == []
    assert (
        len(set(opened.evaluate("[...document.querySelectorAll('[id]')].map(n => n.id)")))
        == opened.locator("[id]").count()
    )
    assert opened.evaluate(
        "[...document.querySelectorAll('[aria-labelledby]')].every(n => document.getElementById(n.getAttribute('aria-labelledby')))"
    )


def test_every_part_is_there(opened):
    assert opened.locator("nav a").all_inner_texts() == [
        "Leaderboards", "Curves", "Actions", "Clips", "Failures", "Grids", "Training", "Reproduce",
    ]  # fmt: skip
    verified = opened.locator(".tag").all_inner_texts()
    assert "published, verified" in verified and set(verified) <= {"published, verified", "published, unverified"}
    assert opened.locator("#grids tbody th").all_inner_texts() == ["appearance 1", "appearance 2", "appearance 3"]
    assert opened.locator("#grids canvas").count() == 6
    assert "vbench-ctl report 'my rows.json'" in opened.locator("#again").inner_text()
    assert opened.locator("#training figure").count() == 2


# Without one


def test_the_worst_case_is_found(site):
    text = (site / "index.html").read_text(encoding="utf-8")
    failures = text[text.index('id="failures"') : text.index('id="grids"')]
    titles = re.findall(r'<article class="case brief" aria-label="(.*?)">', failures)
    assert len(titles) == 2 * 2 * 2  # metrics, models, cases
    assert titles[2] == titles[6] == "clip 4"


def test_a_metric_that_no_case_has_is_left_out(tmp_path):
    """Frames of 8x8 pixels are too small for SSIM."""
    for at in range(2):
        video.write(tmp_path / f"real/{at}.mkv", moving(at)[:, :8, :8])
        video.write(tmp_path / f"mine/{at}.mkv", 255 - moving(at)[:, :8, :8])
    (group,) = clips.groups([tmp_path / "mine"], [tmp_path / "real"], None)
    shown = clips.show(group, 2, [], boards.Colours(), tmp_path / "media", "case", 1)
    assert [worst.metric for worst in shown.worst] == ["psnr"]
    assert [case.stacks[1][0].note.split()[0] for case in shown.shown] == ["psnr", "psnr"]


def test_cases_are_told_apart_by_metrics_that_have_a_value():
    protocol = tiny.protocol()
    group = clips.Group(protocol, Named({}), ["a"], [Named({})], [[]], 10)
    told = [row("a", None, "strred", protocol=protocol.id), row("a", 20.0, protocol=protocol.id)]
    assert clips._metrics(group, told) == ["psnr"]


def test_a_film_holds_every_picture_in_its_place(tmp_path):
    parts = [moving(0), moving(1)[:5], np.random.default_rng(0).integers(0, 255, (FRAMES, HEIGHT, WIDTH, 3), np.uint8)]
    film = clips.write_film(tmp_path / "media/x.mp4", parts, fps=10)
    shown = video.read(tmp_path / film.file).frames
    assert len(shown) == film.frames == FRAMES
    for part, (x, y) in zip(parts[:2], film.places, strict=False):
        piece = shown[:, y : y + HEIGHT, x : x + WIDTH].astype(int)
        held = part[np.minimum(np.arange(FRAMES), len(part) - 1)]
        assert np.abs(piece - held).mean() < 4


def test_wide_films_go_on_below(tmp_path, monkeypatch):
    monkeypatch.setattr(clips, "WIDEST", 100)
    film = clips.write_film(tmp_path / "x.mp4", [moving(at) for at in range(3)], fps=10)
    assert film.places == [(0, 0), (36, 0), (0, 28)]


def test_a_grid_has_the_clips_that_its_manifest_lists_in_their_order(tmp_path):
    for name in ("test/0", "test/1", "a way before"):
        video.write(tmp_path / f"way/{name}.mkv", moving(0)[:2])
    files.write_json(tmp_path / "way/manifest.json", {"way": "x", "files": ["test/1.mkv", "test/0.mkv", "lost.mkv"]})
    grid = clips.grid(tmp_path / "way", boards.Colours(), tmp_path / "media", "grid")
    assert [tile.label for tile in grid.rows[0][1]] == ["test/1", "test/0"]


def test_flow_is_painted_by_direction():
    assert clips._painted(np.zeros((1, 1, 2)), 1).tolist() == [[[255, 255, 255]]]
    right, left = (clips._painted(np.array([[[dx, 0.0]]]), 1)[0, 0].tolist() for dx in (2.0, -2.0))
    assert right == [255, 0, 0] and left == [0, 255, 255]


def test_the_same_question_gives_the_same_bytes(material, tmp_path):
    asked = report.Asked(material[0].rows, material[0].outputs, material[0].reals, clips=2, workers=1)
    for name in ("a", "b"):
        report.write(asked, tmp_path / name)
    a, b = (
        {p.relative_to(tmp_path / n): p.read_bytes() for p in (tmp_path / n).rglob("*") if p.is_file()} for n in "ab"
    )
    assert a == b and any(path.suffix == ".mp4" for path in a)


def test_only_an_earlier_report_is_replaced(tmp_path):
    out = tmp_path / "out"
    (out / "mine").mkdir(parents=True)
    for _ in range(2):
        with pytest.raises(UsageError, match="holds something that is not a report; choose another --out"):
            report.write(report.Asked([row("a", 1.0)]), out)
        (out / "index.html").write_text("<title>my own page</title>")
    shutil.rmtree(out)
    report.write(report.Asked([row("a", 1.0)]), out)
    report.write(report.Asked([row("b", 1.0)]), out)
    assert [r.model for r in rows.load(out / "rows.json")] == ["b"]
    (out / "notes.txt").write_text("a stranger's own")
    with pytest.raises(UsageError, match="not a report"):
        report.write(report.Asked([row("c", 1.0)]), out)


def test_what_fails_half_way_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(boards, "boards", lambda *given: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        report.write(report.Asked([row("a", 1.0)]), tmp_path / "out")
    assert list(tmp_path.iterdir()) == [tmp_path / "vbench-home"] or not list(tmp_path.iterdir())


def test_stores_have_cards_and_their_command(material, tmp_path):
    store = material[1]
    report.write(report.Asked([row("a", 1.0)], reals=[store]), tmp_path / "out")
    text = (tmp_path / "out/index.html").read_text(encoding="utf-8")
    assert "vbench-ctl prepare wsprites --limit 2" in text and "CC0-1.0" in text and "128×96" in text
    assert (tmp_path / "out/media/store-1-1.png").is_file()


@pytest.mark.parametrize(
    ("dataset", "variant", "options", "expected"),
    [
        ("wsprites", "64x48-limit3", {"size": "64x48"}, "wsprites --size 64x48 --limit 3"),
        (
            "mine",
            "64x64-limit5",
            {"layout": "videos", "size": "64x64", "limit": 5},
            "FOLDER --as mine --layout videos --size 64x64 --limit 5",
        ),
        ("mine", "original", {"layout": "pvg", "size": None, "limit": None}, "FOLDER --as mine --layout pvg"),
        ("uva-nemo", "64-boxes", {"boxes": "sha256 ab"}, "uva-nemo --boxes FILE"),
    ],
)
def test_the_command_of_a_store_can_be_given(dataset, variant, options, expected):
    leaf = registry.load("datasets", dataset) if dataset in registry.names("datasets") else None
    told = {**(vars(leaf.Options()) if leaf else {}), **options}
    found = report._prepare({"dataset": dataset, "variant": variant, "options": told})
    assert found == f"vbench-ctl prepare {expected}"


def test_the_command_writes_a_page_and_says_where(tmp_path):
    rows.save(tmp_path / "r.json", [row("mine", 20.0)])
    done = CliRunner().invoke(
        main, ["report", str(tmp_path / "r.json"), "--out", str(tmp_path / "out"), "--title", "T<b>"]
    )
    assert done.exit_code == 0, done.output
    text = (tmp_path / "out/index.html").read_text(encoding="utf-8")
    assert done.output.strip() == str(tmp_path / "out/index.html") and "<title>T&lt;b&gt;</title>" in text
    assert "published, verified" in text and "published, unverified" not in text
    assert "http://" not in text.replace("http://www.w3.org", "") and "<video" not in text


def test_outputs_without_a_protocol_need_their_real_clips(material, tmp_path):
    with pytest.raises(
        UsageError, match="good names no protocol, so its real clips are not known; give them with one --real"
    ):
        report.write(report.Asked([], material[0].outputs[:1]), tmp_path / "out")


def test_the_newest_samples_of_a_run_in_stages_are_of_the_last_stage(tmp_path):
    """The stages are video, frame and flow, in this order."""
    leaf = registry.load("baselines", "cinn")
    run = runs.create(tmp_path, "cinn", recipes.load("cinn", next(iter(recipes.files("cinn", leaf)))))
    (run.folder / "pictures").mkdir()
    for name in ("video-step-000000900", "frame-step-000000300", "flow-step-000000100", "flow-step-000000200"):
        (run.folder / f"pictures/{name}.png").touch()
    assert training.read(run.folder).samples.name == "flow-step-000000200.png"


# Numbers and charts


def test_a_card_says_everything_of_a_number():
    said = {"outputs": "mine", "outputs_sha256": "ab" * 32, "made": {"at": "2026-01-01"}, "device": "cpu"}
    card = dict(boards.card(row("m", 20.0, floor=1.5, note="few", provenance=said)))
    assert card["signature"] == PSNR and card["interval"] == "19.5 to 20.5 (95 %)" and card["note"] == "few"
    assert card["outputs"] == "mine abababababababab" and card["floor"].startswith("1.5")
    assert card["again"] == f"vbench-ctl score outputs/mine --protocol {PROTOCOL} --like '{PSNR}'"
    assert tokens.token_like(PSNR) == "psnr"
    assert "again" not in dict(boards.card(leaderboard.published_rows()[0]))


def test_a_card_sums_what_a_model_cost_and_takes_no_offence_at_what_others_write():
    stages = {"a": {"steps": 5, "cpu_seconds": 60.0}, "b": {"steps": 5}, "c": {"cpu_seconds": 30.0}}
    said = {"made": {"cpu_seconds": 4.0}, "generated": {"cpu_seconds": 20.4, "run": {"stages": stages}}}
    card = dict(boards.card(row("m", 20.0, provenance=said)))
    assert card["cost"] == "trained in 90 CPU seconds, generated in 20 CPU seconds, scored in 4 CPU seconds"
    for odd in ("2026-01-01", 5, [1], {"run": "x", "cpu_seconds": "y"}, {"run": {"stages": [1]}}):
        assert "cost" not in dict(boards.card(row("m", 20.0, provenance={"made": odd, "generated": odd})))


def test_cases_of_models_with_one_name_are_told_apart(material):
    good = material[0].outputs[0]
    (group,) = clips.groups([good, good], material[0].reals, None)
    assert group.models == ["good", "good (good)"] and len(group.pairs[0]) == CASES
    assert open_source(good).ids == [pair.fakes[0] for pair in group.pairs[0]]


@pytest.mark.parametrize(
    ("least", "most", "expected"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (3, 3, [3]),
        (-2, 9, [-2, 0, 2, 4, 6, 8]),
        (0.031, 0.049, [0.035, 0.04, 0.045]),
    ],
)
def test_ticks_are_round(least, most, expected):
    assert charts.ticks(least, most) == pytest.approx(expected)


def test_charts_escape_and_leave_out_what_is_not_a_number():
    series = [charts.Line("<b>", 0, [(0, 1.0), (1, float("nan")), (2, 3.0)], dots=True)]
    text = str(charts.lines(series, "<x>", '"name"'))
    assert "<b>" not in text and "&lt;x&gt;" in text and "nan" not in text and text.count("<circle") == 2
    assert charts.lines([charts.Line("a", 0, [(0, float("inf"))])], "x", "y") == ""


def test_long_series_are_thinned_and_keep_their_end():
    kept = charts._thinned([(float(t), 0.0) for t in range(100_001)])
    assert len(kept) <= charts.MOST_POINTS and kept[-1][0] == 100_000 and kept == sorted(kept)


def test_confusion_shares_are_of_rows(material):
    figures = boards.boards(material[0].rows, boards.Colours())[0].actions
    matrix, shares, *moves = figures
    assert "walk, found as cast: 2, 20.0% of the row" in matrix.chart and "slash: 5 of 10" in shares.chart
    assert len(moves) == 2 and "to the right" in moves[0].caption and "median -1" in moves[1].chart


def test_what_a_page_may_do_is_pinned(site):
    text = (site / "index.html").read_text(encoding="utf-8")
    assert "default-src &#39;none&#39;" in text and "unsafe" not in text
    assert json.loads((site / "rows.json").read_text())[0]["model"] == "alpha"
