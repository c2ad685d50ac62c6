"""The pages say what the code says: marks that are filled from it, commands that parse, links that lead somewhere."""

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import click
import pytest
import yaml
from test_cli import check_example, examples

from vbench_ctl import protocols, registry, rows
from vbench_ctl.cli.generate import Models, model_command

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS.rglob("*.md"), *ROOT.glob("results/**/*.md")])
BASELINE = re.compile("|".join(registry.names("baselines")))
NAMES = [path.relative_to(ROOT).as_posix() for path in PAGES]


def loaded(path: Path) -> ModuleType:
    """Import a program that is in no package."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def pages() -> ModuleType:
    return loaded(DOCS / "pages.py")


@pytest.mark.parametrize("name", [name for name in NAMES if name != "docs/extending.md"])  # test_plugins.py runs that
def test_every_command_of_a_page_parses(name, monkeypatch, tmp_path):
    """Files that a line speaks of need not be there; nothing is run."""
    monkeypatch.setattr(click.Path, "convert", lambda self, value, param, ctx: Path(value))
    (tmp_path / "my_videos").mkdir()
    monkeypatch.chdir(tmp_path)
    for words in examples((ROOT / name).read_text("utf-8")):
        if {"RUN", "OUTPUTS", "...", "DATASET"} & set(words):
            continue  # the form of a command, not one to type
        if words[0] == "generate" and (
            named := BASELINE.match(Path(words[1]).name)
        ):  # a run has its baseline's options
            command = model_command(words[1], registry.load("baselines", named[0]))
            monkeypatch.setattr(Models, "get_command", lambda self, ctx, name, command=command: command)
        try:
            check_example(words)
        except click.ClickException as error:
            pytest.fail(f"{name}: vbench-ctl {' '.join(words)}: {error.format_message()}")


def test_every_mark_is_filled(pages):
    for path in DOCS.rglob("*.md"):
        text = path.read_text("utf-8")
        shown = pages.on_page_markdown(text)
        marks = [mark for mark in pages.MARK.finditer(shown) if mark[1] not in pages.KEPT]
        assert not marks and shown.count("\n") >= text.count("\n"), path
    with pytest.raises(KeyError):
        pages.on_page_markdown("<!-- nonsense bair -->")


def test_every_part_has_its_page():
    """A new dataset, metric or baseline is not finished without."""
    text = {kind: "\n".join(p.read_text("utf-8") for p in (DOCS / kind).glob("*.md")) for kind in registry.FOLDERS}
    for kind, word in (("datasets", "dataset"), ("metrics", "metric"), ("baselines", "baseline")):
        lacking = [name for name in registry.names(kind) if f"<!-- {word} {name} -->" not in text[kind]]
        assert lacking == [], f"docs/{kind} has no section of {lacking}"


def test_every_metric_has_its_formula_conventions_pitfalls_and_accepted_value():
    text = "".join(path.read_text("utf-8") for path in (DOCS / "metrics").glob("*.md"))
    sections = [section for section in re.split("^## ", text, flags=re.MULTILINE) if "<!-- metric " in section]
    wanted = ("\n\n    ", "\n- **Conventions.** ", "\n- **Pitfalls.** ", "\n- **Accepted at** ")
    lacking = {s.partition("\n")[0]: [part for part in wanted if part not in s] for s in sections}
    assert len(sections) == len(registry.names("metrics"))
    assert {name: parts for name, parts in lacking.items() if parts} == {}
    accepted = {s.partition("\n")[0]: re.sub("`.*?`", "", s.partition(wanted[-1])[2]) for s in sections}
    assert [name for name, values in accepted.items() if not re.search(r"\b\d", values)] == []


def test_the_page_of_the_probe_prepares_all_that_its_recipe_reads():
    recipe = (ROOT / "baselines/recipes/sprite-probe/wsprites.toml").read_text("utf-8")
    page = (DOCS / "baselines/sprite-probe.md").read_text("utf-8")
    read = re.findall(r"-frames(\d+)-seed(\d+)-limit(\d+)", recipe)
    assert len(read) > 1 and re.findall(r"--frames (\d+) --seed (\d+) --limit (\d+)", page) == read


def test_a_dataset_page_has_options_files_and_protocols(pages):
    shown = pages.dataset("bair")
    assert "`--view`" in shown and "c6f8d164" not in shown and "bair_robot_pushing_dataset_v0.tar" in shown
    held = [p.id for p in protocols.load_all().values() if p.dataset == "bair"]
    assert held and all(f"[{name}](../protocols.md#{pages.anchor(name)})" in shown for name in held)


def test_a_published_number_names_what_it_compares_with(pages):
    verified, unverified = pages.published("verified"), pages.published("unverified")
    assert "[bair64-c1-p15@1](protocols.md#bair64-c1-p15-1)" in verified and "| none: how they were made" in verified
    assert "recalled" in unverified and "recalled" not in verified


@pytest.mark.parametrize("name", ["README.md", "results/reproduced/README.md"])
def test_tables_are_made_of_the_rows(pages, name):
    text = (ROOT / name).read_text("utf-8")
    assert text.count("<!-- table ") and pages.with_boards(text) == text
    first = re.search(r"\d\.\d+ \[", text.partition("<!-- table ")[2])
    assert first and pages.with_boards(text.replace(first[0], "9.99 [")) == text


def test_numbers_in_the_text_are_those_of_the_rows(pages):
    for page in DOCS.rglob("*.md"):
        assert pages.with_boards(page.read_text("utf-8")) == page.read_text("utf-8"), page
    text = (ROOT / "results/reproduced/README.md").read_text("utf-8")
    changed = re.sub(
        r"\d+\.\d+(<!-- \S+@)",
        lambda mark: f"9.{'9' * len(mark[0].partition('.')[2].partition('<')[0])}{mark[1]}",
        text,
    )
    assert changed.count("9.9") > text.count("9.9") + 10 and pages.with_boards(changed) == text
    with pytest.raises(ValueError, match="not enough values"):
        pages.with_boards("1.0<!-- wsprites-control@1 nobody psnr -->")


def test_a_board_has_the_remarks_of_its_columns_alone(pages):
    remark = "action: shuffled-control stands above"
    assert remark in pages.board("wsprites-control@1", ["action", "psnr"])
    assert remark not in pages.board("wsprites-control@1", ["psnr"])


def test_large_jobs_are_reckoned_from_what_was_measured(pages):
    measured = (DOCS / "benchmarks.md").read_text("utf-8")
    said = ["940 us a frame", "14.9 s", "66.1 s", "0.81 s; 6.4 s", "6.3 s", "36.9 ms", "97 s", "15.5 s"]
    fusion = "0.018, 0.049, 0.096, 0.344, 1.19, 5.69 s"
    scaling = ["270,000 frames", "34 s", "5,900 to 6,900"]
    assert [each for each in (*said, fusion, *scaling) if each not in measured] == []
    assert all(each in (DOCS / "scaling.md").read_text("utf-8") for each in scaling)
    assert "482,000 x (250 frames x 940 us) = 31.5 | 0.25 | 1,481 | 3.29 |" in pages.jobs()
    assert f"= {470_000 * 12 * 15.5 / 2 / 3600:,.1f} |" in pages.jobs()


def test_a_run_costs_what_its_rows_say(pages):
    rows_of = rows.load(ROOT / "results/reproduced/wsprites-control.json")
    seconds = next(r.provenance["generated"]["cpu_seconds"] for r in rows_of if r.model == "ccvs-wsprites-tiny")
    answers = 2 * 1290  # each case under the true actions and under another clip's
    each = [line for line in pages.baseline("ccvs").split("\n") if f"| wsprites-control@1 | {answers:,} | " in line]
    assert len(each) == 1 and f"| {seconds:,.1f} | {seconds / answers:.3g} |" in each[0]
    assert f"({seconds:,.1f} s / {answers:,} clips) = {1e6 * seconds / answers / 3600:,.1f} |" in pages.jobs()


def test_a_number_of_a_baseline_stands_beside_its_note(pages):
    shown = pages.baseline("cinn")
    assert "| n/a | 0 | n/a: known in 0 of 400 clips, and a score needs 50% of them |" in shown and " * |" not in shown


def test_links_of_a_file_of_the_repository_lead_from_the_pages(pages):
    shown = pages.file("results/reproduced/README.md")
    assert "`results/tables`" in shown and "](.." not in shown and "<!--" not in shown
    assert "[docs/extending.md](extending.md)" in pages.file("CONTRIBUTING.md")


@pytest.mark.parametrize(
    "file", sorted((DOCS.parent / "results/reproduced").glob("*.json")), ids=lambda file: file.stem
)
def test_no_result_is_there_twice(file):
    """An earlier number beside a later "n/a" would stay in the table."""
    found = [(row.protocol, row.model, row.metric) for row in rows.load(file)]
    assert len(found) == len(set(found))


@pytest.mark.parametrize("name", NAMES)
def test_every_table_has_its_head(name):
    lines = re.sub(r"^```.*?^```$", "", (ROOT / name).read_text("utf-8"), flags=re.MULTILINE | re.DOTALL).split("\n")
    heads = [at for at, line in enumerate(lines) if line.startswith("|") and not (at and lines[at - 1].startswith("|"))]
    assert [lines[at] for at in heads if not re.fullmatch(r"\|( ?:?-+:? ?\|)+", lines[at + 1])] == []


def test_the_pages_build_without_a_warning(tmp_path):
    pytest.importorskip("material", reason="mkdocs-material is not installed; the extra docs has it")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", tmp_path / "site"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "kvd" in (tmp_path / "site/metrics/sets/index.html").read_text("utf-8")


def test_the_navigation_has_every_page():
    listed = re.findall(r"[\w/-]+\.md", str(yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))["nav"]))
    assert sorted(listed) == sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_to_files(name):
    text = re.sub(r"^```.*?^```$|^    [^\n]*$", "", (ROOT / name).read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    links = [link for link in re.findall(r"\]\(([^)#\s]+)", text) if "://" not in link]
    assert [link for link in links if not ((ROOT / name).parent / link).exists()] == []


def test_the_table_of_cinn_is_what_was_measured(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    cinn = loaded(ROOT / "benchmarks/cinn_wsprites.py")
    page = cinn.PAGE.read_text("utf-8")
    assert cinn.rendered(page, json.loads(cinn.NUMBERS.read_text("utf-8"))) == page


@pytest.fixture
def conventions(monkeypatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return loaded(ROOT / "benchmarks/conventions.py")


def test_the_page_of_conventions_is_what_was_measured(conventions):
    page = conventions.PAGE.read_text("utf-8")
    assert conventions.rendered(page, conventions.kept()) == page


def test_every_convention_of_bair_was_measured_of_every_model(conventions):
    held = [r for r in conventions.kept() if r.material == conventions.BAIR]
    choices = {(r.convention, r.choice, r.metric) for r in held}
    wanted = [*conventions.paired(conventions.opening), *conventions.FVD, *conventions.OF_SETS]
    wanted += [(convention, choice, "fvd") for convention, choice, *_ in conventions.OTHERWISE]
    assert choices == {tuple(each[:3]) for each in wanted} and len(held) == len(choices) * len(conventions.MODELS)


def test_the_summary_of_conventions_has_the_range_and_who_changes_places(conventions):
    def reading(choice: str, model: str, value: float):
        usual = choice == conventions.USUAL
        numbers = (choice, model, "psnr", "", value, None, None, usual)
        return conventions.Reading(conventions.BAIR, "psnr", "" if usual else "formula", *numbers)

    values = {conventions.USUAL: (20, 10), "grey": (22, 8), "swap": (10, 11)}
    made = [reading(c, m, v) for c, both in values.items() for m, v in zip(("SAVP", "CADDY"), both, strict=True)]
    assert conventions.summary(made).split("\n")[-1] == "| formula | psnr |  | -50.0% to +10.0% | BAIR: swap |"
    assert "| CADDY | SAVP |" not in conventions.tables(made[::-1]) and "| SAVP | CADDY |" in conventions.tables(
        made[::-1]
    )
