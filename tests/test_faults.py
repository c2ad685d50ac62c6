"""Faults times stages: each says one sentence, leaves nothing half-written, and the same command succeeds once all is well.

A full disk and a read-only place are mounts, which need root; a place without permission needs none, and root gives its right up.
"""

import contextlib
import ctypes
import hashlib
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import tiny
from click.testing import CliRunner
from test_kills import contents
from test_training import GAN, POINTS, fake_distribution

from vbench_ctl import execute, exporters, files, hashes, networks, protocols, registry, video, weights
from vbench_ctl.cli import main
from vbench_ctl.errors import VbenchError
from vbench_ctl.play import drive

STORE, ROWS = "stores/tiny/original@1", "rows/tiny-c2-p4@1/copy-last.json"
PROTOCOL = tiny.PROTOCOL.replace("8x6", "original")
KEYS: list[Any] = [[], None, 1.0]


class Stage(NamedTuple):
    """A command, where its result lies, what it reads, what is called right before it reads that, and a file with a version."""

    words: str
    result: str
    reads: str
    reader: str
    versioned: tuple[str, str]


STAGES = {
    "prepare": Stage(
        "prepare clips --as tiny --workers 1",
        "stores",
        "clips/test/c.mkv",
        "vbench_ctl.importers.clips",
        (f"{STORE}/manifest.json", "vbench-store"),
    ),
    "train": Stage(
        "train toy-gan --recipe gan.toml --set data.variant=original --device cpu --out runs/gan",
        "runs",
        f"{STORE}/test-00000.h5",
        "vbench_ctl.training.Windows",
        ("runs/gan/run.json", "vbench-run"),
    ),
    "generate": Stage(
        "generate copy-last --protocol tiny-c2-p4 --out outputs/copy-last --workers 1",
        "outputs",
        f"{STORE}/test-00000.h5",
        "vbench_ctl.generation.generate",
        ("outputs/copy-last/manifest.json", "vbench-outputs"),
    ),
    "score": Stage(
        "score outputs/copy-last --protocol tiny-c2-p4 --metrics psnr,fid --workers 1",
        "rows",
        "outputs/copy-last/test/c@0#0.mkv",
        "vbench_ctl.measuring.decode_chunk",
        ("outputs/copy-last/manifest.json", "vbench-outputs"),
    ),
    "leaderboard": Stage(
        f"leaderboard {ROWS} --csv tables/t.csv --markdown tables/t.md",
        "tables",
        ROWS,
        "vbench_ctl.leaderboard.collect",
        (ROWS, '"metric"'),
    ),
    "report": Stage(
        f"report {ROWS} --outputs outputs/copy-last --runs runs/gan --clips 2 --out report --workers 1",
        "report",
        "outputs/copy-last/test/c@0#0.mkv",
        "vbench_ctl.report.clips.show",
        ("runs/gan/run.json", "vbench-run"),
    ),
    "play": Stage(
        "play",
        "recordings",
        f"{STORE}/test-00000.h5",
        "vbench_ctl.play.drive.Drive",
        ("runs/gan/run.json", "vbench-run"),
    ),
}


class Done(NamedTuple):
    code: int
    said: str


def run(stage: Stage) -> Done:
    """Run a stage in this folder; of `play` what a tab does: start, drive, record."""
    if stage.words != "play":
        done = CliRunner().invoke(main, stage.words.split(), prog_name="vbench-ctl")
        if done.exception and not isinstance(done.exception, SystemExit):
            raise done.exception
        return Done(done.exit_code, done.stderr)
    try:
        tab = drive.Drive(drive.table([Path("runs/gan")], Path("recordings")))
        for said in (
            {"do": "start", "clip": 0, "frame": 0, "seed": 0},
            {"do": "step", "asked": KEYS},
            {"do": "record"},
        ):
            tab.answer(said)
    except VbenchError as error:
        return Done(error.exit_code, f"Error: {error}\n")
    return Done(0, "")


@pytest.fixture(scope="module")
def surroundings(tmp_path_factory) -> Iterator[None]:
    """A protocol and a baseline of these tests alone."""
    text = (Path(__file__).parent / "toy_baselines.py").read_text()
    plugin = fake_distribution(tmp_path_factory.mktemp("plugin"), "toys", POINTS, {"toy_baselines": text})
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(plugin))
        know_the_protocol(patch)
        know_a_network(patch)
        registry._theirs.cache_clear()
        yield
    registry._theirs.cache_clear()


def know_the_protocol(patch: pytest.MonkeyPatch) -> None:
    known = protocols.load_all() | protocols.parse(PROTOCOL)
    patch.setattr(protocols, "_builtin", lambda: known)


def know_a_network(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(networks, "_extractor", lambda *asked: tiny.Toy())
    patch.setattr(networks, "_sha256", lambda *asked: "0123456789abcdef")
    patch.setattr(networks, "missing", lambda features: "")


@pytest.fixture(scope="module")
def homes(surroundings, tmp_path_factory) -> dict[str, Path]:
    """A home for each stage in which those before it have run, and "" in which all have."""
    found, home = {}, tmp_path_factory.mktemp("homes") / "first"
    tiny.write_outputs(home / "clips/test", dict(zip("abc", tiny.noise(3, 0, 8, (16, 16)), strict=True)))
    (home / "gan.toml").write_text(GAN.replace("steps = 12", "steps = 4").replace("batch = 4", "batch = 2"))
    with pytest.MonkeyPatch.context() as patch:
        for name, following in itertools.zip_longest(STAGES, [*STAGES][1:], fillvalue=""):
            found[name] = home
            home = Path(shutil.copytree(home, home.with_name(following or "last")))
            patch.setenv("VBENCH_HOME", str(home))
            patch.chdir(home)
            done = run(STAGES[name])
            assert done.code == 0, done.said
            found[following] = home
    return found


@pytest.fixture
def disk(tmp_path, monkeypatch) -> Iterator[Path]:
    """A file system of its own where one can be mounted, which is this folder and the home."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(place)]
    mounted = os.geteuid() == 0 and not subprocess.run(mount, capture_output=True, check=False).returncode
    home = place / "home"
    monkeypatch.setenv("VBENCH_HOME", str(home))
    yield home
    monkeypatch.chdir(tmp_path)
    if mounted:
        subprocess.run(["umount", "-l", str(place)], check=True)


# Faults: each lasts for one run of a stage


@contextlib.contextmanager
def full(stage: Stage, home: Path, left: int = 0) -> Iterator[None]:
    """All but some bytes of the disk are taken."""
    if not os.path.ismount(home.parent):
        pytest.skip("a small file system can be mounted by root on Linux only")
    ballast = home.parent / "ballast"
    with open(ballast, "wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass
    os.truncate(ballast, ballast.stat().st_size - left)
    yield
    ballast.unlink()


@contextlib.contextmanager
def nearly_full(stage: Stage, home: Path) -> Iterator[None]:
    is_score = stage.result == "rows"
    with full(stage, home, left=12288 if is_score else 4096):  # for some of the features that score keeps
        yield
        assert not is_score or list((home / "cache").rglob("*.npy"))


@contextlib.contextmanager
def read_only(stage: Stage, home: Path) -> Iterator[None]:
    if not os.path.ismount(home.parent):
        pytest.skip("a file system can be mounted by root on Linux only")
    subprocess.run(["mount", "-o", "remount,ro", str(home.parent)], check=True)
    yield
    subprocess.run(["mount", "-o", "remount,rw", str(home.parent)], check=True)


@contextlib.contextmanager
def denied(stage: Stage, home: Path) -> Iterator[None]:
    """Nobody may write into any folder."""
    folders = [home, *(path for path in home.rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    with without_roots_rights():
        yield
    for folder in folders:
        folder.chmod(0o755)


@contextlib.contextmanager
def without_roots_rights() -> Iterator[None]:
    """Keep this thread from passing over permissions, which root otherwise does (capabilities(7))."""
    calls = ctypes.CDLL(None)
    header, held = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()  # version 3; the calling thread
    assert calls.capget(header, held) == 0
    effective = held[0]
    held[0] &= ~0b110  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    assert calls.capset(header, held) == 0
    yield
    held[0] = effective
    assert calls.capset(header, held) == 0


@contextlib.contextmanager
def removed(stage: Stage, home: Path) -> Iterator[None]:
    """A file goes when it has been found, right before it is read."""
    module, _, name = stage.reader.rpartition(".")
    read, held = getattr(__import__(module, fromlist=["_"]), name), (home / stage.reads).read_bytes()

    def remove(*given: Any, **named: Any) -> Any:
        (home / stage.reads).unlink(missing_ok=True)
        return read(*given, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage.reader, remove)
        yield
    (home / stage.reads).write_bytes(held)


@contextlib.contextmanager
def unreadable(stage: Stage, home: Path) -> Iterator[None]:
    path = home / stage.reads
    mode = path.stat().st_mode
    path.chmod(0)
    with without_roots_rights():
        yield
    path.chmod(mode)


@contextlib.contextmanager
def newer(stage: Stage, home: Path) -> Iterator[None]:
    """What is there was made by a later version."""
    path, word = home / stage.versioned[0], stage.versioned[1]
    text = path.read_text()
    later = text.replace(word, f'"later": 1, {word}') if word[0] == '"' else text.replace(f"{word} 1", f"{word} 2")
    assert later != text
    path.write_text(later)
    yield
    path.write_text(text)


@contextlib.contextmanager
def taken(stage: Stage, home: Path) -> Iterator[None]:
    """Another process writes there."""
    place = {"stores": STORE, "runs": "runs/gan", "outputs": "outputs/copy-last", "recordings": "recordings/clip"}
    with files.locked(home / place[stage.result]):
        yield


Fault = Callable[[Stage, Path], contextlib.AbstractContextManager[None]]
FAULTS: dict[str, tuple[Fault, str]] = {
    "full": (full, "disk is full"),
    "nearly full": (nearly_full, "disk is full"),
    "read-only": (read_only, "no permission to write"),
    "denied": (denied, "no permission to write"),
    "removed": (removed, "[Nn]o such file"),
    "unreadable": (unreadable, "no permission to read it; ask whoever owns it"),
    "newer": (newer, "version"),
    "taken": (taken, "another vbench-ctl is writing there"),
}


@pytest.mark.parametrize("name", STAGES)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_a_sentence_and_the_next_run_succeeds(fault, name, homes, disk, monkeypatch):
    stage, (happens, says) = STAGES[name], FAULTS[fault]
    if fault == "taken" and name in ("score", "leaderboard", "report"):
        pytest.skip("these take turns, see below")
    shutil.copytree(homes["" if fault == "newer" and name in ("prepare", "train", "generate") else name], disk)
    monkeypatch.chdir(disk)
    held = contents(disk)
    with happens(stage, disk):
        done = run(stage)
    *before, last = done.said.splitlines()
    assert done.code in (1, 2) and last.startswith("Error: "), done
    assert not before or name == "score", done  # whose numbers are shown before they are kept
    assert re.search(says, last) and ".part" not in done.said
    print(fault, name, done.said)
    assert not temporary(disk)
    left = contents(disk)
    assert {path: left.get(path) for path in held} == held
    done = run(stage)
    assert done.code == 0, done.said
    after = contents(disk / stage.result)
    assert after == contents(homes[""] / stage.result) and not temporary(disk)


@pytest.mark.parametrize("layout", exporters.LAYOUTS)
def test_an_export_that_fills_the_disk_is_a_sentence(layout, homes, disk, monkeypatch):
    """And the process lives on: HDF5 crashes when it cannot write what it holds."""
    monkeypatch.chdir(shutil.copytree(homes["score"], disk))
    stage = STAGES["prepare"]._replace(words=f"export {STORE} --as {layout} --out {layout}.h5")
    with full(stage, disk, left=4096):
        done = run(stage)
    assert done.code == 1
    assert re.fullmatch(
        rf"Error: (\S+/)?{layout}\.h5: the disk is full; free some space .*, then run again\n", done.said
    )
    assert not Path(f"{layout}.h5").exists()
    done = run(stage)
    assert done.code == 0 and Path(f"{layout}.h5").exists() and not temporary(disk), done.said


def test_an_array_that_fills_the_disk_is_a_sentence(disk):
    disk.mkdir()
    with (
        full(STAGES["prepare"], disk, left=4096),
        pytest.raises(VbenchError, match=r"/clip\.h5: the disk is full"),
    ):
        video.write(disk / "clip.h5", tiny.noise(1, 0, 8, (64, 64))[0])
    assert not list(disk.iterdir())


def test_weights_that_may_not_be_read_are_not_fetched_again(tmp_path):
    (tmp_path / "step-1.pt").write_bytes(b"weights")
    (tmp_path / "step-1.pt").chmod(0)
    with (
        without_roots_rights(),
        pytest.raises(VbenchError, match=r"step-1\.pt: no permission to read it; ask whoever owns it$"),
    ):
        weights.pack(tmp_path / "step-1.pt", tmp_path / "packed.npz")


@pytest.mark.slow
def test_two_processes_on_one_output_take_turns_or_one_is_told(homes, disk, monkeypatch):
    monkeypatch.chdir(shutil.copytree(homes["prepare"], disk))
    items = [(name, number) for name in STAGES for number in range(2)]
    ends = dict(execute.run(together, items, 2))
    for number, (name, stage) in enumerate(STAGES.items()):
        told = [end.said for end in (ends[2 * number], ends[2 * number + 1]) if end.code]
        assert len(told) < 2 and all("another vbench-ctl is writing there" in said for said in told), told
        if name == "report":  # its page says how this test was called
            assert [*contents(disk / "report")] == [*contents(homes[""] / "report")]
        elif name != "play":  # two players record two clips
            assert contents(disk / stage.result) == contents(homes[""] / stage.result)
    assert not temporary(disk)


def together(item: tuple[str, int]) -> Done:
    """Run a stage in a worker process that has this test's protocol and baseline, when the other worker is ready."""
    name, number = item
    with pytest.MonkeyPatch.context() as patch:
        know_the_protocol(patch)
        know_a_network(patch)
        Path(f"{name}-{number}").touch()
        while not Path(f"{name}-{1 - number}").exists():
            time.sleep(0.01)
        return run(STAGES[name])


def test_a_temporary_folder_of_a_killed_process_goes_with_the_next_one(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    code = "import time; from vbench_ctl import files; here = files.Scratch(); print(here.name, flush=True); time.sleep(60)"
    lives = []
    for _ in range(2):
        child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        assert child.stdout
        lives.append((child, Path(child.stdout.readline().strip())))
    (killed, left), (alive, held) = lives
    killed.kill()
    killed.wait()
    for folder in (left, held):
        os.utime(folder, (0, 0))
    with files.Scratch() as mine:
        assert sorted(tmp_path.iterdir()) == sorted([held, Path(mine)])
    assert [*tmp_path.iterdir()] == [held]
    alive.terminate()
    alive.wait()


def test_what_a_killed_process_left_goes_when_the_same_is_written_again(tmp_path):
    mine, other = tmp_path / ".t.0123abcd.part.csv", tmp_path / ".t.x.0123abcd.part.csv"
    for path in (mine, other):
        path.write_text("half")
    with files.turn(tmp_path / "t.csv"):
        files.write_text(tmp_path / "t.csv", "whole")
    assert {path.name for path in tmp_path.iterdir()} == {"t.csv", other.name}


def test_half_a_list_of_hashes_goes_when_another_is_written(home):
    half = home / "cache/.hashes.0123abcd.part.json"
    files.write_text(half, "half")
    hashes.remember(Path(__file__), "0" * 64)
    assert [path.name for path in half.parent.iterdir()] == ["hashes.json"]


@pytest.mark.parametrize(
    ("held", "says"), [("[]", "holds a list, expected a table; remove it"), ("{", "not a readable")]
)
def test_a_cache_of_another_kind_is_named(held, says, home):
    (home / "cache").mkdir(parents=True)
    (home / "cache/hashes.json").write_text(held)
    with pytest.raises(VbenchError, match=says):
        hashes.digest(Path(__file__))
    (home / "cache/hashes.json").write_text(json.dumps({str(Path(__file__).resolve()): {"later": 1}}))
    assert hashes.digest(Path(__file__)) == hashlib.sha256(Path(__file__).read_bytes()).hexdigest()


def temporary(home: Path) -> list[Path]:
    return [path for path in home.rglob("*") if ".part" in path.name or path.name.startswith(".tmp")]


@pytest.mark.parametrize("name", STAGES)
def test_a_clock_that_goes_backwards_changes_nothing(name, homes, disk, monkeypatch):
    """All files seem to be of the future, and whoever looks at the clock finds it an hour before the last look."""
    stage, year = STAGES[name], 365 * 86400
    shutil.copytree(homes[name], disk)
    monkeypatch.chdir(disk)
    for path in disk.rglob("*"):
        os.utime(path, (time.time() + year,) * 2)
    looks = itertools.count(time.time_ns(), -3600 * 10**9)
    monkeypatch.setattr(time, "time_ns", lambda: next(looks))
    monkeypatch.setattr(time, "time", lambda: next(looks) / 1e9)
    for every in ("progress._EVERY_SECONDS", "live.SAID_EVERY_SECONDS"):  # all that is said of the time left
        monkeypatch.setattr(f"vbench_ctl.{every}", 0)
    if name not in ("score", "leaderboard", "report"):
        with taken(stage, disk):
            assert "another vbench-ctl is writing there" in run(stage).said, "a lock is as good as it was"
    said = ""
    for _ in range(1 if name == "play" else 2):  # what is recorded again is another recording
        done = run(stage)
        assert done.code == 0, done.said
        said += done.said
        assert contents(disk / stage.result) == contents(homes[""] / stage.result)
    assert name not in ("prepare", "train", "generate") or re.search(r"\d s left", said)
    assert not re.search(r"-\d+ s left", said)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_what_is_printed_may_fill_a_disk_too():
    with open("/dev/full", "w") as full:
        words = [sys.executable, "-m", "vbench_ctl", "list", "protocols"]
        ended = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True)
    assert ended.returncode == 1 and ended.stderr == (
        "Error: the output: No space left on device; see to it, then run the same command again\n"
    )
