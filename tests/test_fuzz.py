"""Damaged and hostile files: every reader takes them or says in its own words what is wrong, and touches nothing else.

The same inputs on every machine; VBENCH_FUZZ says how many for each reader. `make fuzz` searches by coverage (fuzz.py).
"""

import dataclasses
import hashlib
import importlib
import io
import json
import os
import pickle
import resource
import shutil
import subprocess
import sys
import tarfile
import tracemalloc
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import parsers
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vbench_ctl import archives, files, hashes, rows
from vbench_ctl.errors import VbenchError

INPUTS = int(os.environ.get("VBENCH_FUZZ", "40"))
MOST_BYTES = 1 << 28  # that Python and NumPy may take for an input: what a header claims is not believed
MOST_MEMORY = 1 << 20  # KiB that all inputs of a reader together may add, in libraries too
EDITS = st.lists(
    st.tuples(
        st.floats(0, 1), st.sampled_from(("change", "cut", "insert", "repeat")), st.binary(min_size=1, max_size=8)
    ),
    max_size=6,
)


def damaged(example: bytes, edits: list[tuple[float, str, bytes]]) -> bytes:
    """Return a file with some edits, each at a share of its length."""
    for place, kind, data in edits:
        at = int(place * len(example))
        after = {"change": at + len(data), "insert": at, "cut": at + 7 * data[0], "repeat": max(0, at - 3 * data[0])}[
            kind
        ]
        example = example[:at] + (data if kind in ("change", "insert") else b"") + example[after:]
    return example


# Values that a well-formed file does not have in that place


LACKS = object()
DEEP = "[" * 100_000
VALUES = (LACKS, None, True, 5, -1, 1.5, 10**400, "x", "a\ud800", "../x", [], [1], ["x"], {}, {"a": 1}, DEEP)
WHOLES = np.array([0, 10**15, 3])
ENTRIES = (LACKS, {}, 5, "text", WHOLES, -WHOLES, WHOLES / 2, np.zeros((3, 2)), np.array([b"a", b"b"]), 10**12)


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield each table or list in a JSON value with each key of it."""
    for key, inside in list(value.items() if isinstance(value, dict) else enumerate(value)):
        yield value, key
        if isinstance(inside, dict | list):
            yield from places(inside)


def put(held: Any, key: Any, value: Any) -> None:
    if value is LACKS:
        del held[key]
    else:
        held[key] = value


def other_json(example: bytes, place: float, value: Any) -> bytes:
    """Return JSON, one value to a line or one in all, with another value somewhere."""
    lines = example.splitlines() if b"}\n{" in example else [example]
    data = [json.loads(line) for line in lines]
    found = list(places(data))
    put(*found[int(place * (len(found) - 1))], value)
    return "".join(json.dumps(line).replace(f'"{DEEP}"', DEEP) + "\n" for line in data).encode()


def other_hdf5(example: bytes, place: float, value: Any) -> bytes:
    """Return an HDF5 file with another dataset or attribute somewhere."""
    with io.BytesIO(example) as buffer:
        with h5py.File(buffer, "r+") as file:
            names: list[str] = []
            file.visit(names.append)
            found = [(file, name) for name in names] + [(file.attrs, name) for name in file.attrs]
            held, name = found[int(place * (len(found) - 1))]
            del held[name]
            if held is file and isinstance(value, dict):
                file.create_group(name)
            elif held is file and isinstance(value, int) and value > 5:  # claims much and holds nothing
                file.create_dataset(name, (value,), "u1", chunks=(1000,))
            elif value is not LACKS:
                held[name] = DEEP[:20_000] if isinstance(value, dict) else value
        return buffer.getvalue()


# YAML takes time quadratic in the depth
OTHERS = {".json": (other_json, VALUES), ".jsonl": (other_json, VALUES), ".yaml": (other_json, VALUES[:-1])}
OTHERS |= {".h5": (other_hdf5, ENTRIES), ".hdf5": (other_hdf5, ENTRIES)}
STRUCTURED = [name for name, parser in parsers.known().items() if Path(parser.file).suffix in OTHERS]


def read_each(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inputs: st.SearchStrategy[bytes]) -> int:
    """Give inputs to a reader; return how many it read, the others having been refused in words."""
    parser = parsers.known()[name]
    monkeypatch.chdir(tmp_path)
    names = sorted(path.name for path in tmp_path.iterdir())
    read = 0

    @settings(
        max_examples=INPUTS, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(inputs)
    def reads(data: bytes) -> None:
        nonlocal read
        tracemalloc.start()
        try:
            parsers.give(parser, data)
            read += 1
        except VbenchError as error:
            assert str(error).encode(errors="backslashreplace")
        finally:
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
        assert peak < MOST_BYTES

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    reads()
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MOST_MEMORY
    return read


@pytest.mark.parametrize("name", parsers.known())
def test_a_damaged_file_is_read_or_refused_in_words(name, tmp_path, monkeypatch):
    examples = parsers.known()[name].examples(tmp_path)
    inputs = st.builds(damaged, st.sampled_from(examples), EDITS)
    assert read_each(name, tmp_path, monkeypatch, inputs) or name == "pickle", "not even the example was read"


@pytest.mark.parametrize("name", STRUCTURED)
def test_a_file_with_other_values_is_read_or_refused_in_words(name, tmp_path, monkeypatch):
    parser = parsers.known()[name]
    other, values = OTHERS[Path(parser.file).suffix]
    (example,) = parser.examples(tmp_path)
    read_each(name, tmp_path, monkeypatch, st.builds(other, st.just(example), st.floats(0, 1), st.sampled_from(values)))


# Single cases


def lying(file: bytes) -> bytes:
    """Return an .npy or .npz file whose headers say that there are 10**12 entries."""
    if not file.startswith(b"PK"):
        with io.BytesIO(file) as old, io.BytesIO() as new:
            np.lib.format.read_magic(old)
            shape, order, dtype = np.lib.format.read_array_header_1_0(old)
            header = {"descr": dtype.str, "fortran_order": order, "shape": (10**12, *shape[1:])}
            np.lib.format.write_array_header_1_0(new, header)
            return new.getvalue() + old.read()
    with io.BytesIO(file) as old, io.BytesIO() as new:
        with zipfile.ZipFile(old) as held, zipfile.ZipFile(new, "w") as made:
            for name in held.namelist():
                made.writestr(name, lying(held.read(name)))
        return new.getvalue()


@pytest.mark.parametrize("name", ["tracks", "statistics", "npz clips", "npy clips", "weights npz"])
def test_a_header_that_claims_a_trillion_entries_takes_no_memory(name, tmp_path):
    parser = parsers.known()[name]
    path = tmp_path / parser.file
    path.write_bytes(lying(parser.examples(tmp_path)[0]))
    refused_in_little_memory(parser, path)


def refused_in_little_memory(parser: parsers.Parser, path: Path) -> str:
    tracemalloc.start()
    try:
        with pytest.raises(VbenchError) as caught:
            parser.read(path)
        assert tracemalloc.get_traced_memory()[1] < 1 << 26
    finally:
        tracemalloc.stop()
    assert len(str(caught.value)) < 1000
    return str(caught.value)


@pytest.mark.parametrize(
    "cell",
    ["1" * (8 << 20), "x" * (100 << 10), "9" * (100 << 10), "=1+1", "@SUM(A1)", '"=HYPERLINK(""http://x"")"', "-"],
)
def test_a_control_of_megabytes_or_formulas_is_one_short_sentence(cell, tmp_path):
    path = tmp_path / "control.csv"
    path.write_text(f"dx,dy\n1,2\n3,{cell}\n")
    refused_in_little_memory(parsers.known()["control csv"], path)


def test_a_clip_of_more_than_the_limit_is_refused(tmp_path):
    path = tmp_path / "a.npy"
    with open(path, "wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": (1, 1_000_000, 64, 64, 3)}
        np.lib.format.write_array_header_1_0(file, header)
        file.truncate(file.tell() + 1_000_000 * 64 * 64 * 3)  # 12 GB that no disk has to hold
    assert "expected at most 8,589,934,592; cut the clip up" in refused_in_little_memory(
        parsers.known()["npy clips"], path
    )


def test_names_that_are_no_text_are_a_sentence_where_they_are_needed(tmp_path):
    name = os.fsdecode(b"caf\xe9.mp4")
    (tmp_path / "given").mkdir()
    (tmp_path / "given" / name).write_bytes(b"film")
    with tarfile.open(tmp_path / "a.tar", "w", errors="surrogateescape") as tar:
        tar.add(tmp_path / "given" / name, name)
    for path in (tmp_path / "given", tmp_path / "a.tar"):
        archive = archives.Archive((path,))
        assert [each.read() for each in archive.members] == [b"film"] and not archive.matching(r"other\.mp4")
        assert str(archive.lacking("x")).encode(errors="backslashreplace") and hashes.listing(path)
        with pytest.raises(VbenchError, match=r"caf\\udce9\.mp4': its name is not UTF-8; rename it$"):
            archive.matching(r"(.*)\.mp4")
    with pytest.raises(VbenchError, match="its name is not UTF-8"):
        hashes.digest(tmp_path / "given" / name)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("cinn config", "[" * 600),
        ("cinn config", json.dumps(parsers.CINN_CONFIG).replace(": 1,", f": 1{'0' * 400},")),
        ("clip lists", "youtube_id,label\n" + "x" * (200 << 10)),
        ("clip lists", "x" * (200 << 10)),
        ("clip lists", "youtube_id,label\rabcdefghijk,running\r"),
        ("rallies", parsers.RALLIES.decode() + "x" * (200 << 10)),
        ("rallies", parsers.RALLIES.decode().replace("\n", "\r")),
        ("rallies", parsers.RALLIES.decode() + "nadal_kyrgios_wimbledon_4.mp4,3\n"),
        ("splits", "x" * (200 << 10)),
    ],
)
def test_a_text_that_its_format_does_not_hold_is_refused(name, text, tmp_path):
    parser = parsers.known()[name]
    (tmp_path / parser.file).write_text(text, newline="")
    refused_in_little_memory(parser, tmp_path / parser.file)


@pytest.mark.parametrize("rest", [[], [5], ["not a hash"], [None, "x"]])
def test_a_cached_hash_that_is_none_is_not_believed(rest, home):
    path, state = Path(__file__).resolve(), Path(__file__).stat()
    files.write_json(home / "cache/hashes.json", {str(path): [state.st_size, state.st_mtime_ns, *rest]})
    assert hashes.digest(path) == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_row_of_fewer_than_no_clips_is_refused(tmp_path):
    rows.save(tmp_path / "rows.json", [dataclasses.replace(parsers._row(), n=-5)])
    with pytest.raises(VbenchError, match=r"rows\.json: row 0: n is -5, expected how many clips were scored$"):
        rows.load(tmp_path / "rows.json")


def writes_outside(path: Path) -> None:
    (path.parent.parent / "outside").write_text("")


def writes_outside_of_an_open_folder(path: Path) -> None:
    folder = os.open(path.parent.parent, os.O_RDONLY)
    os.mkdir("outside", dir_fd=folder)
    os.close(folder)


def runs_a_program(path: Path) -> None:
    subprocess.run(["true"], check=True)


def runs_the_file(path: Path) -> None:
    exec(compile("1", str(path), "exec"))


def runs_its_text(path: Path) -> None:
    exec("1")


def evaluates_its_text(path: Path) -> None:
    eval("1")


def unpickles(path: Path) -> None:
    pickle.loads(b"cos\ngetcwd\n.")


ESCAPES = [writes_outside, writes_outside_of_an_open_folder, runs_a_program, runs_the_file, runs_its_text]


@pytest.mark.parametrize("does", [*ESCAPES, evaluates_its_text, unpickles])
def test_a_reader_that_escapes_is_noticed(does, tmp_path):
    (tmp_path / "inside").mkdir()
    with parsers.watched(tmp_path / "inside") as escapes:
        (tmp_path / "inside" / "a").write_text("")
        (tmp_path / "inside" / "b" / "c").mkdir(parents=True)
        shutil.rmtree(tmp_path / "inside" / "b")  # by open folders
        assert not escapes
        does(tmp_path / "inside" / "a")
    assert escapes


def test_a_module_that_a_reader_imports_is_no_escape(tmp_path, monkeypatch):
    module = "import dataclasses\n@dataclasses.dataclass\nclass Point:\n    x: int\n"
    (tmp_path / "imported_late.py").write_text(module)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "inside").mkdir()
    monkeypatch.chdir(tmp_path / "inside")  # what a dataclass is made of has a name without a folder
    with parsers.watched(tmp_path / "inside") as escapes:
        importlib.import_module("imported_late")
    assert not escapes


@pytest.mark.slow
def test_the_search_by_coverage_breaks_no_reader_at_once():
    pytest.importorskip("atheris")
    words = [sys.executable, str(Path(__file__).with_name("fuzz.py")), "--inputs", "5"]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.count("none broke it") == len(parsers.known()), (
        done.stdout + done.stderr
    )
