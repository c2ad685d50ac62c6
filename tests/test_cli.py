"""The command line: help, examples, exit codes, what goes to stdout, completion, and `prepare` from end to end."""

import errno
import glob
import json
import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner, Result

from vbench_ctl import doctor, files, protocols, registry, tokens
from vbench_ctl.cli import main
from vbench_ctl.errors import ManualStep, VbenchError

ROOT = Path(__file__).resolve().parent.parent
HEAVY = ("torch", "torchvision", "tensorflow", "scipy", "pandas", "matplotlib", "lpips", "accelerate", "ray")
CONTEXT = click.Context(main)
COMMANDS = [[name] for name in main.list_commands(CONTEXT)]
KINDS = [["list", name] for name in main.get_command(CONTEXT, "list").list_commands(CONTEXT)]
HELPED = [[], *COMMANDS, *KINDS, ["prepare", "wsprites"], ["prepare", "."]]
TINY = ("prepare", "wsprites", "--size", "32", "--frames", "8", "--limit", "2", "--split", "test", "--workers", "1")


def vbench(*words: str | Path) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words], prog_name="vbench-ctl")


def good(*words: str | Path) -> str:
    done = vbench(*words)
    assert done.exit_code == 0, done.output
    return done.stdout


def sentence(done: Result | subprocess.CompletedProcess) -> str:
    """Return the message of a failed command: nothing on stdout, one line after the usage, no traceback."""
    *usage, message = done.stderr.splitlines()
    assert done.stdout == "" and message.startswith("Error: "), done.stderr
    assert not usage or usage[0].startswith("Usage: vbench-ctl")
    return message


# Help and examples


def test_help_imports_nothing_heavy():
    program = f"""
import sys
from click.testing import CliRunner
from vbench_ctl.cli import main
def show(words):
    done = CliRunner().invoke(main, [*words, "--help"])
    assert done.exit_code == 0 and done.stdout.startswith("Usage: "), done.output
    return sorted(sys.modules.keys() & set({HEAVY!r} + ("numpy", "h5py")))
print(show([]))
for words in {[words for words in HELPED if words[:1] != ["prepare"]]!r}: light = show(words)
print(light)
for words in {HELPED!r}: everything = show(words)
print(everything)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "[]", "['h5py', 'numpy']"], done.stderr


@pytest.mark.parametrize("words", HELPED, ids=" ".join)
def test_every_option_of_every_command_is_explained(words):
    command = resolve([*words])[0]
    assert command.help or command.short_help
    assert [param.name for param in command.params if isinstance(param, click.Option) and not param.help] == []


def resolve(words: list[str]) -> tuple[click.Command, list[str]]:
    """Return the command that a line calls, and the rest of the line."""
    command: click.Command = main
    while words and isinstance(command, click.Group) and not words[0].startswith("-"):
        found = command.get_command(CONTEXT, words[0])
        if found is None:
            break
        command, words = found, words[1:]
    return command, words


def examples(text: str) -> list[list[str]]:
    """Return the lines that begin with vbench-ctl, without what is said beside them."""
    lines = (re.split(r"\s{2,}|\s#", line.strip())[0] for line in text.splitlines())
    return [shlex.split(line)[1:] for line in lines if line.startswith("vbench-ctl ")]


def check_example(words: list[str]) -> None:
    """Parse a command line, without running it, and look up the names in it."""
    command, rest = resolve([name for word in words for name in glob.glob(word) or [word]])  # as a shell does
    try:
        params = command.make_context(command.name, [*rest]).params
    except click.exceptions.Exit:  # --help
        return
    for name in [*filter(None, [params.get("protocol_id")]), *params.get("wanted", ())]:
        protocols.load(name)
    for token in (params.get("metrics") or "").split(","):
        assert not token or tokens.metric(token)
    if params.get("baseline"):
        registry.load("baselines", params["baseline"])


@pytest.mark.parametrize("words", [words for words in HELPED if len(words) == 1], ids=" ".join)
def test_every_command_has_examples_that_parse(words, tmp_path, monkeypatch):
    (tmp_path / "my_videos").mkdir()
    files.write_json(tmp_path / "rows/mine.json", [])
    monkeypatch.chdir(tmp_path)
    text = good(*words, "--help")
    _, mark, below = text.partition("Example")
    found = [line for line in examples(below) if line[: len(words)] == words]
    assert mark and found, text
    for line in found:
        check_example(line)


def test_every_command_appears_in_the_readme():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [words for words in COMMANDS if f"vbench-ctl {words[0]}" not in text] == []


# Exit codes and messages


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["lst"], 2, 'no command "lst"; did you mean "list"?'),
        (["list", "dataset"], 2, 'no list of "dataset"; did you mean "datasets"?'),
        (["list", "datasets", "wsprite"], 2, 'no dataset "wsprite"; did you mean "wsprites"?'),
        (["list", "metrics", "pnsr"], 2, 'no metric "pnsr"; did you mean "psnr"?'),
        (["list", "protocols", "wsprites-controll@1"], 2, 'did you mean "wsprites-control@1"?'),
        (["list", "--json", "metrics"], 2, "vbench-ctl list metrics --json"),
        (["prepare", "wsprits"], 2, 'no dataset "wsprits"; did you mean "wsprites"?'),
        (["prepare", "nowhere/clips"], 1, "nowhere/clips: not there; expected a dataset (audioset-drums, "),
        (["prepare", "wsprites", "--limt", "3"], 2, "'--limt'. (Did you mean one of: '--limit'"),
        (["prepare", "wsprites", "--split", "tets"], 2, 'no split of wsprites 128x96 "tets"; did you mean "test"?'),
        (["prepare", "wsprites", "--size", "foo"], 2, '--size "foo" is not WIDTHxHEIGHT'),
        (["prepare", "wsprites", "--size", "64x"], 2, '--size "64x" is not WIDTHxHEIGHT'),
        (["prepare", "wsprites", "--size", "4x4"], 2, "--size 4x4: both sides must be between 16 and 1024"),
        (["prepare", "wsprites", "--agents", "0"], 2, "--agents 0: it must be between 1 and 255"),
        (["prepare", "wsprites", "--agents", "many"], 2, "'many' is not a valid integer"),
        (["prepare", "wsprites", "--seed", "-1"], 2, "--seed -1: it must be at least 0"),
        (["prepare", "wsprites", "--art", "oil"], 2, "'oil' is not one of 'own', 'lpc'"),
        (["prepare", "wsprites", "--art", "lpc"], 2, "--art lpc and --art-dir DIR go together"),
        (["prepare", "wsprites", "--limit", "0"], 2, "0 is not in the range x>=1"),
        (["prepare", "wsprites", "--workers", "0"], 2, "0 is not in the range x>=1"),
        (["prepare", "wsprites", "--labels", "original", "--size", "64"], 2, "--labels original fixes"),
        (["prepare", "."], 2, "Missing option '--as'"),
        (["prepare", ".", "--as", "wsprites"], 2, '"wsprites" is a dataset of its own'),
        (["prepare", ".", "--as", "mine", "--size", "axb"], 2, '"axb" is not WIDTHxHEIGHT'),
        (["generate", "copylast", "--protocol", "wsprites-control", "--out", "x"], 2, 'did you mean "copy-last"?'),
        (["generate", "copy-last", "--protocol", "wsprites-contro", "--out", "x"], 2, 'no protocol "wsprites-contro"'),
        (
            ["generate", "copy-last", "--protocol", "wsprites-control", "--out", "x"],
            1,
            'run "vbench-ctl prepare wsprites',
        ),
        (["generate", "copy-last"], 2, "Missing option"),
        (["score", "nowhere", "--real", "nowhere"], 1, "nowhere: not there; expected a folder of clips"),
        (["score", "nowhere"], 2, "score needs --protocol P or --real DATA"),
        (["score", "nowhere", "--real", "x", "--metrics", "pnsr"], 2, 'no metric "pnsr"; did you mean "psnr"?'),
        (["score", "nowhere", "--real", "x", "--metrics", "ssim-glas"], 2, 'did you mean "ssim-glass"?'),
        (["score", "x", "--split", "test", "--protocol", "wsprites-control"], 2, "exclude each other"),
        (["score", "x", "--split", "test", "--real-stats", "x.npz"], 2, "--real-stats and --split exclude each other"),
        (["leaderboard", "--protocol", "wsprites-contro"], 2, 'did you mean "wsprites-control@1"?'),
        (["leaderboard", "nowhere.json"], 2, "'nowhere.json' does not exist"),
        (["export", "nowhere", "--out", "x", "--as", "mp4"], 1, "nowhere: no finished store there"),
        (["doctor", "--jsn"], 2, "'--jsn'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_gets_one_sentence_and_its_exit_code(words, code, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = vbench(*words)
    assert says in sentence(done)
    assert done.exit_code == code
    assert list(tmp_path.rglob("*.*")) == []


@pytest.mark.parametrize(("error", "code"), [(VbenchError, 1), (ManualStep, 3)])
def test_the_kind_of_an_error_decides_the_exit_code(error, code, monkeypatch):
    def load(kind: str, name: str) -> None:
        raise error("ask the authors for the archive and place it in archives/")

    monkeypatch.setattr(registry, "load", load)
    done = vbench("prepare", "wsprites")
    assert (done.exit_code, sentence(done)) == (
        code,
        "Error: ask the authors for the archive and place it in archives/",
    )


def test_what_the_system_refuses_while_reading_is_a_sentence(monkeypatch):
    def load(kind: str, name: str) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO), "archives/a.tar")

    monkeypatch.setattr(registry, "load", load)
    done = vbench("prepare", "wsprites")
    assert done.exit_code == 1
    assert sentence(done) == "Error: archives/a.tar: Input/output error; see to it, then run the same command again"


def test_what_the_system_does_not_name_is_a_sentence_too(monkeypatch):
    def load(kind: str, name: str) -> None:
        raise OSError("160000 requested and 16352 written")

    monkeypatch.setattr(registry, "load", load)
    assert sentence(vbench("prepare", "wsprites")).startswith("Error: the output: 160000 requested and 16352 written; ")


def test_no_command_at_all_shows_the_help():
    done = vbench()
    assert done.exit_code == 2 and "Commands:" in done.output


@pytest.mark.parametrize(
    "words",
    [
        *(["list"], *KINDS, ["leaderboard"], ["prepare", "wsprites", "--dry-run"]),
        *(["list", "datasets", "wsprites"], ["list", "baselines", "real"], ["list", "metrics", "ssim"]),
        ["list", "protocols", "wsprites-control"],
    ],
    ids=" ".join,
)
def test_json_parses_and_stands_alone(words):
    done = vbench(*words, "--json")
    assert done.exit_code == 0 and json.loads(done.stdout) and done.stderr == ""


@pytest.mark.parametrize(
    ("typed", "offers"),
    [
        ("", {"doctor", "prepare", "score"}),
        ("prepare ", {"wsprites"}),
        ("prepare wspr", {"wsprites"}),
        ("prepare wsprites --li", {"--limit"}),
        ("prepare nosuch ", {"wsprites"}),
        ("nosuch ", {"prepare"}),
        ("list ", {"datasets", "protocols"}),
        ("list metrics ps", {"psnr"}),
        ("list weights i3d", {"i3d-k400"}),
        ("weights fetch i3d", {"i3d-k400"}),
        ("generate copy", {"copy-last"}),
        ("generate copy-last --protocol wsprites-c", {"wsprites-control@1"}),
    ],
)
def test_the_shell_completes(typed, offers):
    words = ["vbench-ctl", *typed.split()]
    index = len(words) if not typed or typed.endswith(" ") else len(words) - 1
    asked = {"_VBENCH_CTL_COMPLETE": "bash_complete", "COMP_WORDS": " ".join(words), "COMP_CWORD": str(index)}
    done = CliRunner().invoke(main, prog_name="vbench-ctl", env=asked)
    assert done.exit_code == 0, done.output
    found = {line.partition(",")[2] for line in done.stdout.split()}
    assert offers <= found and all(name.startswith(words[index] if index < len(words) else "") for name in found)


def test_doctor_fails_only_when_something_is_broken(monkeypatch):
    findings = [doctor.Finding("python", "ok", "3.12"), doctor.Finding("gpu", "note", "none")]
    monkeypatch.setattr(doctor, "examine", lambda root: iter(findings))
    assert good("doctor").splitlines() == ["ok      python      3.12", "note    gpu         none"]
    findings.append(doctor.Finding("torch", "broken", "they do not fit", "pip install torch"))
    done = vbench("doctor")
    assert done.exit_code == 1 and done.stdout.endswith("they do not fit\n" + 20 * " " + "-> pip install torch\n")
    done = vbench("doctor", "--json")
    assert done.exit_code == 1 and json.loads(done.stdout)[2]["mend"] == "pip install torch"


# prepare, from end to end


def contents(folder: Path) -> dict[str, tuple[int, int]]:
    """Return what tells whether files were written again."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): (path.stat().st_ino, path.stat().st_mtime_ns) for path in paths}


def test_prepare_makes_a_store_once(tmp_path):
    planned = json.loads(good(*TINY, "--root", tmp_path, "--dry-run", "--json"))
    assert planned["clips"] == {"test": 2} and planned["todo"] == ["test"] and planned["size_bytes"] > 0
    assert good(*TINY, "--root", tmp_path, "--dry-run").splitlines()[0] == "wsprites 32x32-frames8-limit2 test: 2 clips"
    assert list(tmp_path.iterdir()) == []

    first = vbench(*TINY, "--root", tmp_path)
    assert first.exit_code == 0 and first.stderr == ""
    assert first.stdout.splitlines()[1] == f"store: {planned['store']}"
    assert re.fullmatch(r"test: 2 clips, 16 frames of 32x32, content_sha256 [0-9a-f]{64}", first.stdout.splitlines()[0])
    made = contents(tmp_path)

    second = vbench(*TINY, "--root", tmp_path)
    assert second.stdout == first.stdout and second.stderr == "the store was complete: nothing done\n"
    assert contents(tmp_path) == made
    again = json.loads(good(*TINY, "--root", tmp_path, "--json"))
    assert again["store"] == planned["store"] and again["splits"]["test"]["clips"] == 2
    assert "made already" in good(*TINY, "--root", tmp_path, "--dry-run")
    assert json.loads(good("list", "datasets", "wsprites", "--root", tmp_path, "--json"))["stores"] == [
        "32x32-frames8-limit2@1"
    ]


def test_a_store_grows_by_another_split(tmp_path):
    good(*TINY, "--root", tmp_path)
    made = contents(tmp_path)
    both = json.loads(good(*TINY, "--split", "val", "--root", tmp_path, "--json"))
    assert set(both["splits"]) == {"test", "val"}
    assert made.items() - contents(tmp_path).items() <= {
        item for item in made.items() if item[0].endswith((".json", ".csv", ".lock"))
    }


def test_prepare_says_where_it_cannot_write(tmp_path):
    (tmp_path / "file").touch()
    assert "a file is in the way of a folder" in sentence(vbench(*TINY, "--root", tmp_path / "file"))


def test_prepare_refuses_what_does_not_fit_on_the_disk(tmp_path, monkeypatch):
    good(*TINY, "--root", tmp_path)
    usage = type("Usage", (), {"free": 1000, "total": 10**9, "used": 10**9 - 1000})
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    assert "--limit" in sentence(vbench(*TINY, "--seed", "1", "--root", tmp_path))
    good(*TINY, "--root", tmp_path)  # needs no space, since it is there


def test_an_import_says_what_it_would_do_and_does_it_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("clips.npy", np.random.default_rng(0).integers(256, size=(3, 5, 16, 20, 3), dtype=np.uint8))
    words = ("prepare", "clips.npy", "--as", "mine", "--root", "data", "--workers", "1")
    planned = json.loads(good(*words, "--dry-run", "--json"))
    assert sum(planned["clips"].values()) == 3 and not Path("data").exists()
    made = json.loads(good(*words, "--json"))
    assert made["store"] == planned["store"] and set(made["splits"]) == set(planned["clips"])
    assert vbench(*words).stderr == "the store was complete: nothing done\n"
    *_, last = json.loads(good("list", "datasets", "--root", "data", "--json"))
    assert (last["name"], last["access"], last["stores here"]) == ("mine", "imported", "original@1")


DRIVER = """
import sys
from vbench_ctl import shards
shards.SHARD_BYTES = 2 * 8 * 32 * 32 * 4  # two clips a shard
from vbench_ctl.cli import main
if __name__ == "__main__":
    main(sys.argv[1:], prog_name="vbench-ctl")
"""
MANY = ("prepare", "wsprites", "--size", "32", "--frames", "8", "--limit", "16", "--split", "test", "--json")


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> dict:
    """What an uninterrupted run in one shard makes."""
    return json.loads(good(*MANY, "--root", tmp_path_factory.mktemp("whole"), "--workers", "1"))["splits"]["test"]


def driven(tmp_path: Path, *words: str) -> list[str | Path]:
    (tmp_path / "driver.py").write_text(DRIVER)
    return [sys.executable, tmp_path / "driver.py", *MANY, "--root", tmp_path / "data", *words]


def finish(command: list[str | Path]) -> dict:
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)["splits"]["test"]


def test_workers_and_shards_do_not_matter(whole, tmp_path):
    made = finish(driven(tmp_path, "--workers", "2"))
    assert len(made["shards"]) == 8 and len(whole["shards"]) == 1
    assert {**made, "shards": 0, "fingerprint": 0} == {**whole, "shards": 0, "fingerprint": 0}


def test_a_killed_run_goes_on_where_it_stopped(whole, tmp_path):
    command = driven(tmp_path, "--workers", "1")
    folder = tmp_path / "data/stores/wsprites/32x32-frames8-limit16@1"
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as killed:
        while len(list(folder.glob("test-*.h5"))) < 2:
            assert killed.poll() is None
            time.sleep(0.002)
        killed.kill()
    assert not (folder / "manifest.json").exists()
    before = {name: seen for name, seen in contents(folder).items() if name.startswith("test-")}
    assert 2 <= len(before) < 8
    (folder / ".test-00007.999999.part.h5").write_bytes(b"cut short")
    made = finish(command)
    assert made["content_sha256"] == whole["content_sha256"] and made["tracks_sha256"] == whole["tracks_sha256"]
    assert before.items() <= contents(folder).items()
    assert list(folder.glob(".*.part*")) == []
