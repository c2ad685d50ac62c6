"""Tables: numbers that were not made alike never share a column, and names do no harm."""

import csv
import io
import json
import re
from collections import Counter
from dataclasses import replace

import pytest
from click.testing import CliRunner

from vbench_ctl import leaderboard, protocols, rows, tokens
from vbench_ctl.cli import main
from vbench_ctl.errors import UsageError, VbenchError
from vbench_ctl.leaderboard import as_csv, markdown, published_rows, select, tables
from vbench_ctl.rows import Row

REPRODUCED = leaderboard.shipped_tables().parent / "reproduced"
PSNR = "psnr|default|-|15f|256x1|frame,exact|v1"


def row(model: str = "m", value: float | None = 20.0, metric: str = "psnr", signature: str = PSNR, **more) -> Row:
    given = {"low": None, "high": None, "direction": "higher", "n": 256, "protocol": "mine@1", "unit": "dB", **more}
    return Row(metric=metric, value=value, signature=signature, model=model, **given)


def test_two_signatures_make_two_columns_and_the_remark_says_why():
    other = PSNR.replace("15f", "16f").replace("v1", "v2")
    (table,) = tables([row(), row("n", 21.0, signature=other), row("n", 19.0)])
    assert table.labels() == ["psnr (dB) ↑ [1]", "psnr (dB) ↑ [2]"]
    assert table.remarks == [
        "psnr [2] is kept apart from psnr [1]: their signatures differ in frames 15f / 16f, version v1 / v2"
    ]
    assert [[cells.get(c) and cells[c].value for c in table.columns] for cells in table.cells.values()] == [
        [20.0, None],
        [19.0, 21.0],
    ]
    text = markdown([table])
    assert table.remarks[0].replace("|", "\\|") in text and PSNR.replace("|", "\\|") in text


def test_foreign_signatures_are_shown_whole():
    assert rows.difference("a", "a|b") == "a / a|b"
    assert rows.difference(PSNR, PSNR.replace("256x1", "5x1")) == "clips x samples 256x1 / 5x1"


def test_protocols_never_share_a_table():
    made = tables([row(), row(protocol="other@1"), row("n")])
    assert [(table.protocol, len(table.cells)) for table in made] == [("mine@1", 2), ("other@1", 1)]
    assert "these numbers compare with each other only" in made[0].title
    assert tables([row(protocol="bair64-c1-p15@1")])[0].title == protocols.load("bair64-c1-p15@1").title


@pytest.mark.parametrize(
    ("direction", "order"), [("higher", ["b", "c", "a", "n/a"]), ("lower", ["a", "c", "b", "n/a"])]
)
def test_the_best_model_comes_first(direction, order):
    found = [row("n/a", None, note="weights"), row("a", 1.0), row("b", 3.0), row("c", 2.0)]
    (table,) = tables([Row(**{**r.to_json(), "direction": direction}) for r in found])
    assert list(table.cells) == order
    assert "n/a (weights)" in markdown([table])


def test_a_number_that_another_one_hides_is_told():
    (table,) = tables([row(value=20.0), row(value=21.0), row("n", 5.0), row("n", 5.0)])
    assert table.cells["m"][table.columns[0]].value == 21.0
    assert table.remarks == ["m, psnr: of several numbers the last is shown, another is 20"]


def test_intervals_and_stars():
    (table,) = tables([row(low=19.5, high=20.51234, note="trained longer")])
    text = markdown([table])
    assert "| m | 20 [19.5, 20.51] * |" in text and "trained longer" in text


# Names from elsewhere

NASTY = [
    "a|b",
    "a\\|b",
    "<script>alert(1)</script>",
    '=HYPERLINK("http://x")',
    "+1",
    "-1",
    "@x",
    "\t=1",
    "a\nb\n| c | 99 |",
    "\x1b[31mred",
    "[click](javascript:alert(1))",
    "![](http://x/y.png)",
    "a,b",
    'a"b',
]


@pytest.mark.parametrize("name", NASTY)
def test_markdown_keeps_its_shape(name):
    text = markdown(tables([row(name, note=name, protocol=name), row("n", None, note=name, protocol=name)]))
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len(lines) == 4
    assert all(len(re.findall(r"\|", re.sub(r"\\.", "", line))) == 3 for line in lines)
    assert not {"<script", "](", "\x1b"} & {part for part in ("<script", "](", "\x1b") if part in text}
    assert not any("99" in line.split("|")[2] for line in lines)


@pytest.mark.parametrize("name", NASTY)
def test_no_cell_of_the_csv_is_a_formula(name):
    (entry,) = csv.DictReader(io.StringIO(as_csv(tables([row(name, note=name, protocol=name, value=-0.5)]))))
    for key in ("protocol", "model", "note"):
        assert entry[key] in (name, f"'{name}") and entry[key][:1] not in ("=", "+", "-", "@", "\t")
    assert float(entry["value"]) == -0.5 and entry["signature"] == PSNR


# The literature


def test_unverified_numbers_hide_unless_asked_for():
    shown, everything = published_rows(), published_rows(include_unverified=True)
    hidden = [r for r in everything if r not in shown]
    assert shown and hidden and len(shown) + len(hidden) == len(everything)
    assert {r.signature for r in shown} == {"published"} and {r.signature for r in hidden} == {"published, unverified"}


def test_verified_and_unverified_numbers_stand_apart():
    """In columns of their own, behind ours, which they are kept apart from."""
    ours = row(
        "mine", 24.0, "fvd", "fvd|default|i3d-k400:9480e9ea|16f|50000x1|tf,ddof1|v1", protocol="k600-64-c5-p11@1"
    )
    found = select(published_rows(True), [ours.protocol])
    (table,) = tables([replace(ours, direction="lower", unit=""), *found])
    assert table.labels()[:3] == ["fvd ↓", "fvd ↓, published", "fvd ↓, published, unverified"]
    held = [[model for model, cells in table.cells.items() if column in cells] for column in table.columns[:3]]
    assert (
        held[0] == ["mine"]
        and "CCVS (2021)" in held[1]
        and held[2] == ["LARP-L-Long (2024)", "Rolling Diffusion (2024)"]
    )


def test_every_published_number_says_with_what_it_compares():
    """With the protocol it is filed under; or with none, and why."""
    said = {r.protocol: r.provenance["compares_with"] for r in published_rows(True)}
    assert said["bair64-c1-p15@1"] == "bair64-c1-p15@1"
    for name, protocol in protocols.load_all().items():
        if name in said and protocol.select is None:
            assert said[name].startswith("none: how they were made is not known; ") and protocol.note in said[name]
            (table,) = tables(select(published_rows(True), [name]))
            assert any("compare with none made here" in remark for remark in table.remarks)
        elif name in said:
            assert said[name] == name
    assert sum(text.startswith("none") for text in said.values()) >= 3


def test_no_published_number_hides_another():
    everything = published_rows(include_unverified=True)
    counts = Counter((r.protocol, r.model, r.metric) for r in everything)
    assert [key for key, count in counts.items() if count > 1] == []
    known = protocols.load_all()
    assert all(r.metric in known[r.protocol].metrics for r in everything)


PAPERS = {
    "higher": {"psnr", "ssim", "vis", "clipsim", "avalign", "dacc"},
    "lower": {"fvd", "fid", "vfid", "lpips", "add", "mdr", "dmse"},
}


def test_every_published_column_is_one_of_ours_or_listed_as_without():
    """With the direction that papers have it in, which is ours."""
    everything = published_rows(include_unverified=True)
    for r in everything:
        ours = protocols.WITHOUT_COUNTERPART.get(r.metric) or tokens.metric(r.metric).direction
        assert r.direction == ours and r.metric.partition("-")[0] in PAPERS[ours], f"see what PAPERS says of {r.metric}"
    assert {r.metric.partition("-")[0] for r in everything} == PAPERS["higher"] | PAPERS["lower"]
    asked = {metric for protocol in protocols.load_all().values() for metric in protocol.metrics}
    assert {metric for metric in asked if not tokens.is_known(metric)} == set(protocols.WITHOUT_COUNTERPART)


def test_the_collected_numbers_are_all_there(shared):
    """Those of the specification, each under its name; ours may say more about them."""
    held, wanted = (
        list(csv.DictReader(io.StringIO(path.read_text("utf-8"))))
        for path in (leaderboard._results() / "published.csv", shared / "specs/published_scores.csv")
    )
    keys = ("dataset", "protocol", "method", "year", "metric", "value", "verified", "std")
    assert {tuple(each[key] for key in keys) for each in wanted} <= {tuple(each[key] for key in keys) for each in held}


def test_delta_columns_of_caddy_stand_beside_ours():
    name = "tennis-caddy-rec16@1"
    ours = [
        Row(token, value, None, None, tokens.metric(token).direction, 206, name, PSNR, "mine", unit="%")
        for token, value in (("dacc-person", 50.0), ("dmse-person", 80.0))
    ]
    (table,) = tables([*ours, *select(published_rows(True), [name])])
    labels = table.labels()
    for token, arrow in (("dacc-person", "↑"), ("dmse-person", "↓")):
        at = labels.index(f"{token} (%) {arrow}")
        assert labels[at + 1] == f"{token} {arrow}, published, unverified"
        assert table.cells["CADDY (2021)"][table.columns[at + 1]].value == {"↑": 45.5, "↓": 72.2}[arrow]


def test_published_numbers_stand_beside_ours_not_among_them():
    ours = row("mine", 14.0, protocol="wsprites-glass@1")
    (table,) = tables([ours, row("GLASS (2022)", 15.0, protocol="wsprites-glass@1", signature="published")])
    assert table.labels() == ["psnr (dB) ↑", "psnr (dB) ↑, published"]
    assert any("published psnr is kept apart" in remark for remark in table.remarks)
    assert "published" not in "".join(leaderboard.notes(table))


# Choosing rows


def test_select_names_what_there_is():
    found = [row(), row(protocol="bair64-c1-p15@1")]
    assert select(found, []) == found and select(found, ["mine@1"]) == found[:1]
    assert select(found, ["bair64-c1-p15"]) == found[1:]
    with pytest.raises(VbenchError, match="no rows for bair64-main-c1-p15@1; there are some for bair64-c1-p15@1, mine"):
        select(found, ["bair64-main-c1-p15"])
    with pytest.raises(UsageError, match='no protocol "miné@1"'):
        select(found, ["miné@1"])


def test_saved_rows_are_found_and_half_written_ones_are_not(home):
    rows.save(home / "rows/mine@1/m.json", [row()])
    (home / "rows/mine@1/.n.123.part.json").write_text("[{")
    assert leaderboard.scored_rows() == [row()]
    (home / "rows/mine@1/broken.json").write_text("[{")
    with pytest.raises(VbenchError, match=r"broken\.json: not a readable JSON file"):
        leaderboard.scored_rows()


def test_the_command_prints_and_writes(tmp_path):
    """Unverified numbers only when asked for; CSV and markdown hold what is printed."""
    rows.save(tmp_path / "r.json", [row(protocol="bair64-c1-p15@1")])
    runner, files = CliRunner(), ["--csv", str(tmp_path / "t.csv"), "--markdown", str(tmp_path / "t.md")]
    printed = runner.invoke(main, ["leaderboard", str(tmp_path / "r.json"), *files])
    assert printed.exit_code == 0, printed.output
    assert printed.output == (tmp_path / "t.md").read_text() and "| m |" in printed.output
    entries = list(csv.DictReader(io.StringIO((tmp_path / "t.csv").read_text())))
    more = runner.invoke(main, ["leaderboard", str(tmp_path / "r.json"), "--include-unverified", "--json"])
    everything = [r for r in published_rows(True) if r.protocol == "bair64-c1-p15@1"]
    assert len(json.loads(more.output)) == len(everything) + 1
    assert len(entries) == len([r for r in published_rows() if r.protocol == "bair64-c1-p15@1"]) + 1


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--protocol", "bair65"], 2, 'no protocol "bair65"; did you mean'),
        (["--no-published", "--protocol", "bair64-c1-p15"], 1, "no rows for bair64-c1-p15@1"),
        (["--protocol", "tennis-caddy-rec16"], 1, "and of the protocol asked for with --include-unverified"),
        (["missing.json"], 2, "does not exist"),
        ([__file__, "--check"], 2, "--check needs --tables FOLDER for these rows"),
    ],
)
def test_wrong_words_end_with_a_sentence(arguments, code, message):
    ended = CliRunner().invoke(main, ["leaderboard", *arguments])
    assert ended.exit_code == code and message in ended.output and "Traceback" not in ended.output


def test_a_baseline_that_does_not_load_hides_no_table(monkeypatch):
    def broken(*asked):
        raise VbenchError("it does not load")

    monkeypatch.setattr(leaderboard.registry, "load", broken)
    (table,) = tables([row("noise"), row("n")])
    assert [*table.cells] == ["noise", "n"]


def test_no_rows_at_all_are_said(tmp_path):
    (tmp_path / "rows.json").write_text("[]")
    ended = CliRunner().invoke(main, ["leaderboard", str(tmp_path / "rows.json")])
    assert ended.exit_code == 1 and "there are no rows; vbench-ctl score makes some" in ended.output


def test_a_floor_of_two_columns_is_said_once():
    other = PSNR.replace("v1", "v2")
    (table,) = tables([row("a", floor=411.25), row("b", floor=411.25, signature=other)])
    assert leaderboard.floors(table) == ["psnr: one half of the real clips against the other has 411.2"]


def test_floors_stand_below_the_table():
    found = leaderboard.markdown(leaderboard.tables([row("a", floor=411.25), row("b", 3.0, floor=411.25), row("c")]))
    assert found.count("psnr: one half of the real clips against the other has 411.2") == 1


def test_tables_are_written_one_by_one_and_kept_in_step(tmp_path):
    rows.save(tmp_path / "r.json", [row(protocol="bair64-c1-p15@1"), row(protocol="of/mine")])
    words, folder = (
        ["leaderboard", str(tmp_path / "r.json"), "--no-published", "--tables", str(tmp_path / "t")],
        tmp_path / "t",
    )
    run = CliRunner().invoke
    assert run(main, [*words, "--check"]).exit_code == 1
    assert run(main, words).exit_code == 0
    (folder / "README.md").write_text("mine")
    assert sorted(path.name for path in folder.glob("*.md")) == ["README.md", "bair64-c1-p15@1.md", "of_mine.md"]
    assert "| m |" in (folder / "bair64-c1-p15@1.md").read_text()
    assert run(main, [*words, "--check"]).exit_code == 0
    (folder / "bair64-c1-p15@1.csv").write_text("by hand")
    (folder / "bair64-c1-p2@1.md").write_text("of long ago")
    ended = run(main, [*words, "--check"])
    assert ended.exit_code == 1 and "bair64-c1-p15@1.csv: not what the rows give" in ended.output
    assert (folder / "bair64-c1-p15@1.csv").read_text() == "by hand"
    assert run(main, words).exit_code == 0 and (folder / "README.md").read_text() == "mine"
    assert "no rows for bair64-c1-p2@1.md" in run(main, [*words, "--check"]).output


def test_the_tables_that_come_with_the_toolkit_are_what_its_rows_give():
    ended = CliRunner().invoke(main, ["leaderboard", "--check"])
    anew = "run vbench-ctl leaderboard results/reproduced/*.json --tables results/tables"
    assert ended.exit_code == 0, f"{ended.output}{anew}"


def test_every_number_that_we_made_says_how_and_at_what_cost():
    made = [row for path in sorted(REPRODUCED.glob("*.json")) for row in rows.load(path)]
    assert made
    for row in made:
        assert row.signature and "seed" in row.provenance
        for act in (row.provenance["made"], row.provenance["generated"]):
            assert act["command"] and act["on"] and act["wall_seconds"] > 0 and act["cpu_seconds"] > 0, row


def test_what_was_not_available_shares_the_column_of_those_who_have_it():
    signed = "lpips|default|lpips-alex:0bef3b33|15f|32x1|frame,alex,v0.1|v1"
    made = Row("lpips", 0.25, 0.2, 0.3, "lower", 32, "p@1", signed, "a")
    gap = replace(made, value=None, low=None, high=None, signature="lpips|default|-|15f||x|v1", note="n/a: no weights")
    (table,) = leaderboard.tables([gap, replace(gap, model="b"), made])
    assert [column.signature for column in table.columns] == [signed] and not table.remarks
    assert [leaderboard.number(table.cells[model][table.columns[0]]) for model in ("a", "b")] == [
        "0.25 [0.2, 0.3]",
        "n/a (weights) *",
    ]
