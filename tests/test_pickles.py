import builtins
import codecs
import os
import pickle
import struct
import sys
import tracemalloc

import numpy as np
import pytest

from vbench_ctl import pickles
from vbench_ctl.errors import VbenchError

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)
PLAIN = [[1, -(2**80), 0.5, True, None, "é", b"\x00\xff", b""], {"state": (1.0, 2.0), 3: []}]
ARRAYS = [
    np.arange(6, dtype=np.float32).reshape(2, 3),
    np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    np.arange(3, dtype=">i2"),
    np.zeros((0, 4), np.uint8),
    np.array(5),
    np.array([True, False]),
]
SCALARS = [np.float64(0.25), np.int16(-7), np.bool_(True)]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_plain_data_comes_back(protocol):
    assert pickles.load(pickle.dumps(PLAIN, protocol)) == PLAIN


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_numpy_numbers_come_back(protocol):
    found = pickles.load(pickle.dumps({"arrays": ARRAYS, "scalars": SCALARS}, protocol))
    for made, array in zip(found["arrays"], ARRAYS, strict=True):
        np.testing.assert_array_equal(made, array)
        assert made.dtype == array.dtype.newbyteorder("=") and made.flags.writeable
    assert found["scalars"] == SCALARS and [type(x) for x in found["scalars"]] == [type(x) for x in SCALARS]


def test_names_of_older_numpy_are_known():
    data = pickle.dumps([ARRAYS[0], SCALARS[0]], 2).replace(b"numpy._core.", b"numpy.core.")
    assert b"numpy.core.multiarray" in data
    np.testing.assert_array_equal(pickles.load(data)[0], ARRAYS[0])


def test_ascii_pickle_of_python_2():
    """As Python 2.7 writes {'global': [1, True], 'x': 2L, 's': 'a\\xff'}: byte strings, bools as I01, longs with L."""
    data = b"(dp0\nS'global'\np1\n(lp2\nI1\naI01\nasS'x'\np3\nL2L\nsS's'\np4\nS'a\\xff'\np5\ns."
    assert pickles.load(data) == {"global": [1, True], "x": 2, "s": "a\xff"}


def test_array_of_python_2():
    """NumPy under Python 2 keeps the pixels in a byte string."""
    data = (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n(I2\nt"
        b"cnumpy\ndtype\n(S'u1'\nI0\nI1\ntR(I3\nS'|'\nNNNI-1\nI-1\nI0\ntbI00\nS'\\x07\\xff'\ntb."
    )
    assert pickles.load(data).tolist() == [7, 255]


class Call:
    """Pickles as a call of any function."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    ("function", "name"), [(os.system, "system"), (builtins.eval, "eval"), (builtins.getattr, "getattr")]
)
def test_calls_are_refused_and_not_made(tmp_path, protocol, function, name):
    mark = tmp_path / "mark"
    argument = {"system": f"touch {mark}", "eval": f"open({str(mark)!r}, 'w')", "getattr": ""}[name]
    path = tmp_path / "actions.pkl"
    path.write_bytes(pickle.dumps([1, {"a": Call(function, argument)}], protocol))
    with pytest.raises(VbenchError, match=name) as caught:
        pickles.load(path)
    assert str(path) in str(caught.value) and not mark.exists()


@pytest.mark.parametrize(
    "data",
    [
        b"cos\nsystem\n(S'true'\ntR.",
        b"(S'true'\nios\nsystem\n.",  # INST
        b"(cos\nsystem\nS'true'\no.",  # OBJ
        b"cnumpy\nload\n(S'x.npy'\ntR.",
        b"cnumpy\ndtype.__class__\n.",
        b"cvbench_ctl.pickles\nload\n(S'x'\ntR.",
        b"Pid\n.",  # a persistent reference
    ],
)
def test_names_beyond_the_table_are_refused(data):
    with pytest.raises(VbenchError, match="nothing of it was run"):
        pickles.load(data)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    "value",
    [
        np.array([{}, 1], object),
        np.array(["a"]),
        np.zeros(2, "f4,i4"),
        np.array([1j]),
        np.datetime64("2020-01-01"),
        np.dtype("f4"),
        {1, 2},
        1j,
        range(3),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_not_numbers_is_refused(protocol, value):
    with pytest.raises(VbenchError, match="expected only"):
        pickles.load(pickle.dumps([value], protocol))


def test_a_made_up_numpy_state_stays_without_effect():
    """dtype('f8') whose state claims objects: NumPy itself would take the bytes for pointers."""
    data = (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n(I1\nt"
        b"cnumpy\ndtype\n(S'f8'\nI0\nI1\ntR(I3\nS'<'\nNNNI-1\nI-1\nI63\ntbI00\nS'AAAAAAAA'\ntb."
    )
    assert pickles.load(data).tolist() == list(struct.unpack("<d", b"A" * 8))


CLAIMS = {
    "bytes": b"\x80\x04\x8e" + struct.pack("<Q", 1 << 34) + b"abc.",  # BINBYTES8
    "bytearray": b"\x80\x05\x96" + struct.pack("<Q", 1 << 34) + b"abc.",  # BYTEARRAY8
    "memo": b"\x80\x02Nr" + struct.pack("<I", 0xFFFFFFF0) + b"",  # LONG_BINPUT
    "array": pickle.dumps(np.zeros(4), 2).replace(b"K\x04\x85", b"J\xff\xff\xff\x7f\x85"),
}


@pytest.mark.parametrize("claim", CLAIMS)
def test_declared_sizes_allocate_nothing(claim):
    tracemalloc.start()
    with pytest.raises(VbenchError, match="whole pickle"):
        pickles.load(CLAIMS[claim])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


def test_repetition_by_reference_is_bounded():
    nested = [0]
    for _ in range(60):
        nested = [nested, nested]
    with pytest.raises(VbenchError, match="more values"):
        pickles.load(pickle.dumps(nested))


class Built(Call):
    """Pickles as an array whose state is the given one."""

    def __reduce__(self):
        how, given, _ = np.zeros(0).__reduce__()
        return how, given, self.arguments[0]


SHARED, SHARED_TEXT, BYTE = bytes(1 << 20), "\0" * (1 << 20), np.dtype("u1")
OVER_SHARED_BYTES = {
    "state": lambda: Built(None, (1, (1 << 20,), BYTE, False, SHARED)),
    "buffer": lambda: Call(np._core.numeric._frombuffer, SHARED, BYTE, (1 << 20,), "C"),
    "text": lambda: Call(codecs.encode, SHARED_TEXT, "latin1"),
}


@pytest.mark.parametrize("way", OVER_SHARED_BYTES)
def test_what_is_made_of_the_same_bytes_is_bounded(way):
    few, many = ([OVER_SHARED_BYTES[way]() for _ in range(count)] for count in (2, 500))
    assert len(pickles.load(pickle.dumps(few))) == 2
    data = pickle.dumps(many)
    tracemalloc.start()
    with pytest.raises(VbenchError, match="more values"):
        pickles.load(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20 << 20


def test_functions_stay_as_they_are():
    setting = b"(N}S'__defaults__'\n(S'F'\ntstb."  # the state of an object without __setstate__
    before = pickles._filled.__defaults__
    with pytest.raises(VbenchError, match="attributes of a function"):
        pickles.load(b"cnumpy.core.numeric\n_frombuffer\n" + setting)
    assert pickles._filled.__defaults__ == before


def test_a_list_that_holds_itself_is_refused():
    circle = []
    circle.append(circle)
    with pytest.raises(VbenchError, match="more values"):
        pickles.load(pickle.dumps(circle))


def test_deep_nesting_is_an_error_of_the_file():
    depth = 100_000
    with pytest.raises(VbenchError, match="whole pickle"):
        pickles.load(b"]" * depth + b"a" * (depth - 1) + b".")
    assert sys.getrecursionlimit() < depth


@pytest.mark.parametrize("cut", [0, 1, 10, -1])
def test_a_truncated_pickle_is_named(tmp_path, cut):
    path = tmp_path / "dones.pkl"
    path.write_bytes(pickle.dumps(PLAIN)[:cut])
    with pytest.raises(VbenchError, match=r"dones\.pkl: is not a whole pickle"):
        pickles.load(path)
