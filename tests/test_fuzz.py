"""Damaged and hostile files: every reader takes them or says in its own words what is wrong, and touches nothing else.

The same inputs on every machine; VBENCH_FUZZ says how many for each reader. `make fuzz` searches by coverage (fuzz.py).
"""

import os
import resource
import tempfile
from pathlib import Path

import parsers
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vbench_ctl.errors import VbenchError

INPUTS = int(os.environ.get("VBENCH_FUZZ", "40"))
MOST_MEMORY = 1 << 20  # KiB that all inputs of a reader together may add: what a header claims is not believed
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


@pytest.mark.parametrize("name", parsers.known())
def test_a_damaged_file_is_read_or_refused_in_words(name, tmp_path, monkeypatch):
    parser = parsers.known()[name]
    examples = parser.examples(tmp_path)
    monkeypatch.chdir(tmp_path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    names = sorted(path.name for path in tmp_path.iterdir())
    read = 0

    @settings(
        max_examples=INPUTS, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(st.sampled_from(examples), EDITS)
    def reads(example: bytes, edits: list[tuple[float, str, bytes]]) -> None:
        nonlocal read
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / parser.file
            path.write_bytes(damaged(example, edits))
            try:
                parser.read(path)
                read += 1
            except VbenchError as error:
                assert str(error)

    reads()
    assert read or name == "pickle", "not even the example was read"
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MOST_MEMORY
