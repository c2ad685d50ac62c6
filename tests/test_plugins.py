"""docs/extending.md, taken by its word: its examples as a distribution of their own and as parts of this repository."""

import importlib
import json
import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny
from click.testing import CliRunner
from environments import ROOT, Environment, copy_tree

from vbench_ctl import protocols, registry
from vbench_ctl.cli import main

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


# Plugins that load and do something wrong


@pytest.fixture
def plugin(home, tmp_path, monkeypatch):
    """Register the parts of the page with some more code at their end."""

    def register(kind: str, more: str) -> None:
        (source,) = (FILES[path] for path in MODULES if kind in path)
        (tmp_path / f"toy_{kind}.py").write_text(f"{source}\n\n{more}\n")
        sys.modules.pop(f"toy_{kind}", None)
        importlib.invalidate_caches()

    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # two texts of one size within a second look alike
    points = {f"{kind}.{name}": f"toy_{kind}" for kind, name in ADDED.items()}
    fake_distribution(tmp_path, "toys", points, {})
    for kind in ADDED:
        register(kind, "")
    monkeypatch.syspath_prepend(str(tmp_path))
    registry._theirs.cache_clear()
    yield register
    registry._theirs.cache_clear()
    for kind in ADDED:
        sys.modules.pop(f"toy_{kind}", None)


def here(*words: str | Path):
    return CliRunner().invoke(main, [str(word) for word in words])


def prepared(*words: str):
    return here("prepare", "balls", "--split", "test", "--workers", "1", *words)


def refused(done) -> str:
    """Return what a command says that fails: one sentence and nothing else."""
    assert isinstance(done.exception, SystemExit) and done.exit_code, done.exception
    assert "Traceback" not in done.output and done.stdout == ""
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert done.stderr.endswith(f"{line}\n")
    return line


def left(home: Path) -> list[str]:
    return [path.name for path in home.rglob("*") if path.is_file() and path.name != ".lock"]


FRAMES = "np.zeros((16, 32, 32, 3), np.uint8)"
TRACKS = {
    "list": ("{'x': [0] * 16}", "its x are list, expected an array with an entry per frame"),
    "scalar": ("{'x': np.float32(3)}", "its x are float32 (), expected an array with an entry per frame"),
    "None": ("{'x': None}", "its x are NoneType, expected an array"),
    "no tracks": ("None", "its tracks are NoneType, expected a dict of arrays"),
    "tracks in a list": ("[1]", "its tracks are list, expected a dict of arrays"),
    "long double": ("{'x': np.zeros(16, np.longdouble)}", "its x are float128, expected numbers of at most 64 bits"),
    "complex": ("{'x': np.zeros(16, complex)}", "its x are complex128, expected numbers"),
    "called frames": ("{'frames': np.zeros(16)}", "no track can be called 'frames'"),
    "called clip_id": ("{'clip_id': np.zeros(16)}", "no track can be called 'clip_id'"),
    "called nothing": ("{'': np.zeros(16)}", "no track can be called ''"),
    "called 3": ("{3: np.zeros(16)}", "no track can be called 3"),
    "called by half a character": ("{'\\ud800': np.zeros(16)}", r"no track can be called '\ud800'"),
}
YIELDS = {
    **{name: (f"Clip('test/1', {FRAMES}, 10.0, {tracks})", says) for name, (tracks, says) in TRACKS.items()},
    "frames in a list": (f"Clip('test/1', {FRAMES}.tolist())", "clip test/1: frames are list, expected uint8"),
    "no frames": ("Clip('test/1', None)", "clip test/1: frames are NoneType, expected uint8"),
    "nothing": ("None", "among the clips is a NoneType, expected vbench_ctl.clips.Clip or Dropped"),
    "an array": (FRAMES, "among the clips is a ndarray, expected"),
    "a tuple": (f"('test/1', {FRAMES})", "among the clips is a tuple, expected"),
    "id None": (f"Clip(None, {FRAMES})", "its id is NoneType, expected text"),
    "id 5": (f"Clip(5, {FRAMES})", "its id is int, expected text"),
    "empty id": (f"Clip('', {FRAMES})", "expected an id such as test/17"),
    "half a character in the id": (f"Clip('test/\\ud800', {FRAMES})", r"a clip's id is 'test/\ud800', expected text"),
    "id without split": (f"Clip('1', {FRAMES})", "clip '1' cannot be called so; expected an id such as test/17"),
    "id elsewhere": (f"Clip('test/../1', {FRAMES})", "'test/../1' cannot be called so"),
    "id with NUL": (f"Clip('test/1\\0', {FRAMES})", r"'test/1\x00' cannot be called so"),
    "fps -1": (f"Clip('test/1', {FRAMES}, -1)", "its fps are -1, expected a number above 0, or None"),
    "fps inf": (f"Clip('test/1', {FRAMES}, np.inf)", "its fps are inf, expected a number above 0"),
    "fps nan": (f"Clip('test/1', {FRAMES}, np.nan)", "its fps are nan, expected a number above 0"),
    "fps as text": (f"Clip('test/1', {FRAMES}, '10')", "its fps are '10', expected a number above 0"),
    "reason None": ("Dropped('test/1', None)", "dropped with id 'test/1' and reason None, expected two texts"),
    "dropped id 5": ("Dropped(5, 'bad')", "dropped with id 5 and reason 'bad', expected two texts"),
    "half a character in the reason": ("Dropped('test/1', '\\ud800')", r"'\ud800' holds half a character"),
}


@pytest.mark.parametrize(("clip", "says"), YIELDS.values(), ids=YIELDS)
def test_what_is_no_clip_of_a_store_gets_one_sentence(clip, says, plugin, home):
    plugin("datasets", f"from vbench_ctl.clips import Dropped\ndef clips(shard):\n    yield {clip}")
    assert says in refused(prepared())
    assert left(home) == []


RETURNS = {
    "clips None": ("clips = lambda shard: None", "clips() gave None, expected an iterator"),
    "clips 5": ("clips = lambda shard: 5", "clips() gave 5, expected an iterator"),
    "no clips": ("clips = lambda shard: iter(())", "test has no clips, since none came; balls yields nothing for it"),
    "estimate None": ("estimate = lambda *a: None", "estimate() gave None, expected two whole numbers"),
    "estimate of three": ("estimate = lambda *a: (1, 2, 3)", "estimate() gave (1, 2, 3), expected two whole numbers"),
    "variant None": ("variant = lambda o: None", "variant() gave None, expected the name of a folder"),
    "variant elsewhere": ("variant = lambda o: '../../evil'", "variant() gave '../../evil', expected the name of"),
    "facts None": ("facts = lambda o: None", "facts() gave None, expected a dict that JSON can hold"),
    "facts of numpy": ("facts = lambda o: {'x': np.float32(1)}", "expected a dict that JSON can hold"),
    "facts infinite": ("facts = lambda o: {'x': np.inf}", "expected a dict that JSON can hold"),
    "facts with the format": ("facts = lambda o: {'format': 'x'}", "without format, dataset, variant, version"),
    "shards None": ("shards = lambda *a: None", "shards() gave None, expected a list of work items"),
    "shards without repr": (
        "shards = lambda *a: [object()]",
        "expected a list of work items whose repr says everything",
    ),
    "shards of one": ("shards = lambda split: []", "raised TypeError: <lambda>() takes 1 positional argument but 3"),
    "splits of numbers": ("SPLITS = (1, 2)", "SPLITS is (1, 2), expected a tuple of different names"),
    "no splits": ("SPLITS = ()", "SPLITS is (), expected a tuple of different names"),
    "a split twice": ("SPLITS = ('test', 'test')", "SPLITS is ('test', 'test'), expected a tuple of different names"),
    "version True": ("VERSION = True", "VERSION is True, expected a whole number"),
    "no card": ("CARD = None", "CARD is None, expected a dict"),
    "options of another kind": ("class Options: pass", "expected a dataclass whose fields are all vbench_ctl.registry"),
    "options without option": ("@dataclass\nclass Options:\n    radius: int = 4", "expected a dataclass whose fields"),
    "no function": ("clips = 5", "clips is 5, expected a function"),
}


@pytest.mark.parametrize(("code", "says"), RETURNS.values(), ids=RETURNS)
def test_what_a_dataset_says_wrongly_gets_one_sentence(code, says, plugin, home):
    plugin("datasets", code)
    told = refused(here("prepare", "balls", "--split", "test", "--workers", "1"))
    assert says in told and ('dataset "balls" of toys 0.1' in told or "balls/32x32@1" in told)
    assert left(home) == []


RAISED = {
    "clips": "def clips(shard):\n    yield from ()\n    boom()",
    "clips at once": "def clips(shard):\n    boom()",
    "shards": "def shards(*asked):\n    boom()",
    "estimate": "def estimate(*asked):\n    boom()",
    "variant": "def variant(options):\n    boom()",
    "facts": "def facts(options):\n    boom()",
    "options": "class Options(Options):\n    def __post_init__(self):\n        boom()",
}


@pytest.mark.parametrize("error", ["RuntimeError('boom\\nand more')", "SystemExit('boom')"])
@pytest.mark.parametrize("code", RAISED.values(), ids=RAISED)
def test_what_a_dataset_raises_is_told_with_its_line(code, error, plugin, tmp_path):
    plugin("datasets", f"{code}\ndef boom():\n    raise {error}  # here")
    path = tmp_path / "toy_datasets.py"
    (line,) = [number for number, text in enumerate(path.read_text().splitlines(), 1) if text.endswith("# here")]
    says = f'dataset "balls" of toys 0.1 raised {error.partition("(")[0]}: boom ({path}:{line}); mend or uninstall it'
    assert refused(prepared()) == f"Error: {says}"


def test_a_plugins_own_sentence_stays_and_errors_of_the_toolkit_stay_tracebacks(plugin, monkeypatch):
    plugin("datasets", "def clips(shard):\n    raise UsageError('my own sentence')")
    assert refused(prepared()) == "Error: my own sentence"
    plugin("datasets", "from vbench_ctl import pictures\ndef clips(shard):\n    yield pictures.sheet(None)")
    done = prepared()
    assert isinstance(done.exception, TypeError)
    assert done.exception.__notes__ == ['while dataset "balls" of toys 0.1 was at work']
    plugin("datasets", "")
    monkeypatch.setattr("vbench_ctl.shards.tracks_sha256", lambda clip: 1 / 0)  # what is done with what it yields
    done = prepared()
    assert isinstance(done.exception, ZeroDivisionError) and not hasattr(done.exception, "__notes__")


def test_workers_tell_of_a_plugin_as_well(there, tmp_path):
    text = f"{FILES['datasets/balls.py']}\n\ndef clips(shard):\n    yield from ()\n    raise SystemExit(3)\n"
    fake_distribution(tmp_path, "many", {"datasets.many": "many_balls"}, {"many_balls": text})
    words = ("prepare", "many", "--split", "test", "--workers", "2")
    done = there.run("python", "-m", "vbench_ctl", *words, PYTHONPATH=str(tmp_path))
    assert 'dataset "many" of many 0.1 raised SystemExit: 3' in done.stderr.splitlines()[-1]
    assert done.returncode == 1 and "Traceback" not in done.stderr


REFUSED_AT_THE_END = {
    "an id twice": (
        "Clip('test/0', np.zeros((16, 32, 32, 3), np.uint8))",
        'two clips are called "test/0" (in test-00000',
    ),
    "two sizes": (
        "Clip(f'test/{shard.clips.start}', np.zeros((16, shard.clips.start, 32, 3), np.uint8))",
        "clips differ",
    ),
}


@pytest.mark.parametrize(("clip", "says"), REFUSED_AT_THE_END.values(), ids=REFUSED_AT_THE_END)
def test_nothing_stays_of_clips_that_make_no_store(clip, says, plugin, home, tmp_path, monkeypatch):
    """Their shards had the fingerprint of whole ones, so that a plugin was refused after it was mended."""
    more = f"from pathlib import Path\n_good = clips\ndef clips(shard):\n    if Path('bad').exists():\n        yield {clip}\n"
    plugin("datasets", f"{more}    else:\n        yield from _good(shard)")  # the program stays, what it reads changes
    monkeypatch.chdir(tmp_path)
    bad = tmp_path / "bad"
    bad.touch()
    assert says in refused(prepared())
    bad.unlink()
    assert left(home) == []
    assert prepared().exit_code == 0


def test_an_unfinished_split_is_not_made_by_two_programs(plugin, home):
    white = "_good = clips\ndef clips(shard):\n    for clip in _good(shard):\n        clip.frames[:] = 255\n        yield clip\n"
    plugin("datasets", f"{white}    if shard.clips.start > 64:\n        raise ValueError('not yet')")
    assert "not yet" in refused(prepared())
    assert left(home) == ["test-00000.h5"]
    plugin("datasets", "")
    done = prepared("--json")
    made = json.loads(done.stdout)["splits"]["test"]
    plain = json.loads(prepared("--json", "--root", str(home / "other")).stdout)["splits"]["test"]
    assert made["content_sha256"] == plain["content_sha256"]
    plugin("datasets", "# a remark, which changes nothing: VERSION says whether a finished store is another one")
    again = prepared("--json")
    assert again.exit_code == 0 and json.loads(again.stdout)["splits"]["test"] == made
    assert "nothing done" in again.stderr


VALUES = {
    "one too few": (
        "np.zeros(len(real) - 1)",
        "brightness gave 15 values of 16 frames, expected finite numbers, one for each frame",
    ),
    "complex": ("np.zeros(len(real), complex)", "expected finite numbers"),
    "text": ("np.array(['a'] * len(real))", "expected finite numbers"),
    "objects": ("np.array([None] * len(real))", "expected finite numbers"),
    "a list": ("[0.5] * len(real)", "expected finite numbers"),
    "not finite": ("np.full(len(real), np.nan)", "gave array([nan, nan"),
    "none": ("np.zeros(0)", "gave array([], dtype=float64), expected finite numbers"),
    "an error": ("1 / 0", 'metric "brightness" of toys 0.1 raised ZeroDivisionError: division by zero ('),
    "the end": ("exit(5)", 'metric "brightness" of toys 0.1 raised SystemExit: 5 ('),
}


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    """A folder of one small clip."""
    folder = tmp_path_factory.mktemp("clips")
    return tiny.write_outputs(folder, {"a": np.zeros((16, 16, 16, 3), np.uint8)})


def scored(clips: Path):
    return here("score", clips, "--real", clips, "--metrics", "brightness,mse", "--workers", "1", "--json")


@pytest.mark.parametrize(("values", "says"), VALUES.values(), ids=VALUES)
def test_a_metric_that_gives_no_values_has_a_row_that_says_so(values, says, plugin, clips):
    plugin("metrics", f"def values(real, fake, **options):\n    return {values}")
    done = scored(clips)
    own, mse = json.loads(done.stdout)
    assert own["value"] is None and says in own["note"] and mse["value"] == 0
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("text", ["a|b", "a\nb", "", " ", None, 3])
def test_a_signature_that_is_none_is_refused(text, plugin, clips):
    plugin("metrics", f"def signature(**options):\n    return {text!r}")
    says = f'metric "brightness" of toys 0.1: signature() gave {text!r}, expected a few words on one line without "|"'
    assert says in refused(scored(clips))


@pytest.mark.parametrize("error", ["1 / 0", "exit(4)"])
def test_what_a_baseline_raises_is_told_with_its_line(error, plugin, home, tmp_path, monkeypatch):
    tiny.built(home / "stores/tiny/8x6@1", test=tiny.work("test", (7, 8)))
    protocol = tiny.protocol()
    monkeypatch.setattr(protocols, "_builtin", lambda: {protocol.id: protocol})
    plugin("baselines", f"def generate(task, index, rng):\n    {error}")
    words = ("--protocol", protocol.id, "--out", tmp_path / "out", "--workers", "1")
    told = refused(here("generate", "fade-out", *words))
    assert 'baseline "fade-out" of toys 0.1 raised ' in told and f"{tmp_path / 'toy_baselines.py'}:" in told
    assert not (tmp_path / "out/manifest.json").exists()
