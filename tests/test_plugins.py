"""docs/extending.md, taken by its word: its examples as a distribution of their own and as parts of this repository."""

import json
import re
import shlex
from pathlib import Path

import pytest
from environments import ROOT, Environment, copy_tree

PAGE = (ROOT / "docs/extending.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"^`([\w./]+)`\n\n```\w+\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
(COMMANDS,) = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
MODULES = ("datasets/balls.py", "vbench_ctl/metrics/brightness.py", "baselines/fade_out.py")
ADDED = {"datasets": "balls", "metrics": "brightness", "baselines": "fade-out"}


@pytest.fixture(scope="module")
def there(tmp_path_factory) -> Environment:
    """An environment with this checkout and the plugin of the page."""
    folder = tmp_path_factory.mktemp("plugin")
    (folder / "toy_plugin").mkdir()
    (folder / "toy_plugin/__init__.py").touch()
    (folder / "pyproject.toml").write_text(FILES["pyproject.toml"])
    for name in MODULES:
        (folder / "toy_plugin" / Path(name).name).write_text(FILES[name])
    environment = Environment(folder / "venv", [ROOT])
    environment.install(folder)
    return environment


def vbench(there: Environment, *words: str | Path) -> str:
    return there.output("python", "-m", "vbench_ctl", *words)


def fake_distribution(folder: Path, name: str, points: dict[str, str], modules: dict[str, str]) -> Path:
    """Lay out what an installer would: modules beside a .dist-info folder."""
    info = folder / f"{name}-0.1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1\n")
    lines = (f"{point} = {module}\n" for point, module in points.items())
    (info / "entry_points.txt").write_text("[vbench_ctl]\n" + "".join(lines))
    for module, text in modules.items():
        (folder / f"{module}.py").write_text(text)
    return folder


def one_sentence(done) -> str:
    """Return what a failed command says: one line on stderr and nothing else."""
    assert done.stdout == ""
    assert done.stderr.startswith("Error: ") and done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def test_a_plugin_is_listed_with_where_it_comes_from(there):
    everything = json.loads(vbench(there, "list", "--json"))
    for kind, name in ADDED.items():
        assert name in everything[kind]
        rows = json.loads(vbench(there, "list", kind, "--json"))
        assert {row["name"] for row in rows} == set(everything[kind])
        card = json.loads(vbench(there, "list", kind, name, "--json"))
        assert card["from"] == "toy-plugin 1.0"
    assert "A ball that rolls" in vbench(there, "prepare", "--help")
    assert "--radius" in vbench(there, "prepare", "balls", "--help")


def test_the_commands_of_the_page_run(there):
    first, *lines = COMMANDS.splitlines()
    assert first == "pip install ."  # what the fixture did
    said = {}
    for line in lines:
        program, *words = shlex.split(line)
        assert program == "vbench-ctl"
        said[words[0]] = vbench(there, *words, *(["--workers", "1"] if words[0] != "list" else []))
    assert "fade-out" in said["list"]
    assert (there.folder / "home/stores/balls/32x32-radius6@1/manifest.json").is_file()
    assert "32 clips of wsprites-quickstart@1" in said["generate"]
    assert [line.split()[0] for line in said["score"].splitlines()[1:]] == ["brightness", "brightness-squared", "psnr"]


def test_a_plugin_dataset_is_prepared_like_any_other(there, tmp_path):
    def made(root: str, *words: str) -> dict:
        return json.loads(vbench(there, "prepare", "balls", "--root", tmp_path / root, "--json", *words))

    one, two = made("one", "--workers", "1"), made("two", "--workers", "2")
    assert {split: summary["clips"] for split, summary in one["splits"].items()} == {"train": 64, "test": 16}
    assert one["splits"] == two["splits"] and len(one["splits"]["train"]["shards"]) == 8
    assert one["card"]["licence"] == "CC0-1.0" and one["options"] == {"radius": 4, "seed": 0}
    assert made("one") == one  # the second run leaves it alone
    done = there.run("python", "-m", "vbench_ctl", "prepare", "balls", "--radius", "99")
    assert done.returncode == 2 and "--radius 99" in one_sentence(done)


def test_a_plugin_metric_scores_a_plugin_dataset(there, tmp_path):
    vbench(there, "prepare", "balls", "--split", "test", "--limit", "4", "--root", tmp_path, "--workers", "1")
    store = tmp_path / "stores/balls/32x32-limit4@1"
    rows = json.loads(vbench(there, "score", store, "--real", store, "--metrics", "brightness,psnr", "--json"))
    assert [(row["metric"], row["value"], row["n"]) for row in rows] == [("brightness", 0, 4), ("psnr", 100, 4)]
    assert rows[0]["signature"].startswith("brightness|default|")


def test_the_examples_work_as_parts_of_this_repository(tmp_path):
    checkout = copy_tree(tmp_path / "checkout")
    here = Environment(tmp_path / "venv", [checkout])
    before = json.loads(vbench(here, "list", "--json"))
    for name in (*MODULES, "datasets/cards/balls.toml"):
        text = FILES[name]
        (checkout / name).write_text(re.sub(r"^CARD = .*?^}\n", "", text, flags=re.MULTILINE | re.DOTALL))
    after = json.loads(vbench(here, "list", "--json"))
    assert {kind: set(after[kind]) - set(before[kind]) for kind in ADDED} == {k: {name} for k, name in ADDED.items()}
    card = json.loads(vbench(here, "list", "datasets", "balls", "--json"))
    assert card["licence"] == "CC0-1.0" and card["from"] == "vbench-ctl"


# Plugins that do not work


@pytest.fixture(scope="module")
def trouble(there, tmp_path_factory) -> Path:
    """Plugins with every fault, beside the one that works."""
    folder = tmp_path_factory.mktemp("trouble")
    modules = {
        "cracked": "import a_package_that_nobody_has\n",
        "halfway": '"""Half a dataset."""\nVERSION = 1\n',
        "quitter": "import sys\nsys.exit('install this first')\n",
        "downward": "TITLE = UNIT = ''\nVERSION, VARIANTS, NEEDS, DIRECTION = 1, {}, 'fake', 'down'\nsignature = values = str\n",
        "namesake": "raise SystemExit('nobody asked for this module')\n",
    }
    kinds = ("datasets", "metrics", "baselines")
    points = {f"{kind}.{name}": name for kind in kinds for name in ("cracked", "halfway", "quitter")}
    points["metrics.downward"] = "downward"
    points |= {"datasets.wsprites": "namesake", "metrics.psnr": "namesake", "baselines.noise": "namesake"}
    fake_distribution(folder, "trouble", points, modules)
    return fake_distribution(
        folder, "rival", {"baselines.fade-out": "toy_plugin.fade_out", "metrics.a-b": "statistics"}, {}
    )


@pytest.mark.parametrize("kind", ADDED)
def test_a_broken_plugin_does_not_hide_the_others(kind, there, trouble):
    done = there.run("python", "-m", "vbench_ctl", "list", kind, "--json", PYTHONPATH=str(trouble))
    assert done.returncode == 0, done.stderr
    rows = {row["name"]: list(row.values()) for row in json.loads(done.stdout)}
    broken = {name: row[-1] for name, row in rows.items() if row[1] == "broken"}
    taken = {"datasets": {"wsprites"}, "metrics": {"psnr", "a-b", "downward"}, "baselines": {"noise", "fade-out"}}[kind]
    assert set(broken) == {"cracked", "halfway", "quitter"} | taken
    assert "does not load (SystemExit: install this first)" in broken["quitter"]
    assert "trouble 0.1 does not load (ModuleNotFoundError" in broken["cracked"]
    assert "trouble 0.1 lacks " in broken["halfway"]
    assert len(rows) > len(broken)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["prepare", "cracked"], 'dataset "cracked" of trouble 0.1 does not load (ModuleNotFoundError'),
        (["prepare", "halfway"], 'dataset "halfway" of trouble 0.1 lacks SPLITS, Options'),
        (["prepare", "wsprites"], 'dataset "wsprites" is in vbench-ctl and in trouble 0.1; uninstall or rename'),
        (["list", "baselines", "fade-out"], 'baseline "fade-out" is in rival 0.1 and in toy-plugin 1.0; uninstall'),
        (["list", "metrics", "psnr"], 'metric "psnr" is in vbench-ctl and in trouble 0.1'),
        (["list", "metrics", "a-b"], "a dash in a metric's name starts its variant"),
        (["list", "metrics", "downward"], "DIRECTION is 'down', expected higher or lower"),
        (["list", "metrics", "quitter"], "does not load (SystemExit: install this first); mend or uninstall it"),
        (["generate", "cracked", "--protocol", "wsprites-quickstart@1", "--out", "x"], 'baseline "cracked" of trouble'),
    ],
    ids=lambda words: "-".join(words[:3]) if isinstance(words, list) else "",
)
def test_a_broken_plugin_gets_one_sentence_where_it_is_used(words, says, there, trouble):
    done = there.run("python", "-m", "vbench_ctl", *words, PYTHONPATH=str(trouble))
    assert done.returncode == 1
    assert says in one_sentence(done)


def test_help_and_completion_survive_broken_plugins(there, trouble):
    done = there.run("python", "-m", "vbench_ctl", "prepare", "--help", PYTHONPATH=str(trouble))
    assert done.returncode == 0 and "does not load" in done.stdout
    asked = {"COMP_WORDS": "vbench-ctl prepare ", "COMP_CWORD": "2", "_VBENCH_CTL_COMPLETE": "bash_complete"}
    program = "from vbench_ctl.cli import main; main(prog_name='vbench-ctl')"
    done = there.run("python", "-c", program, PYTHONPATH=str(trouble), **asked)
    assert done.returncode == 0
    assert {f"plain,{name}" for name in ("balls", "cracked", "halfway", "wsprites")} <= set(done.stdout.split())
