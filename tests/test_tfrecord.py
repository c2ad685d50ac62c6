"""TFRecord files are read as TensorFlow reads them, and damage is named."""

import importlib.util
import io
import struct
from collections.abc import Iterable

import numpy as np
import pytest

from vbench_ctl import tfrecord
from vbench_ctl.errors import VbenchError

# RFC 3720, B.4, and the check value of the CRC catalogue
KNOWN = {
    b"": 0,
    b"123456789": 0xE3069283,
    bytes(32): 0x8A9136AA,
    b"\xff" * 32: 0x62A8AB43,
    bytes(range(32)): 0x46DD794E,
    bytes(reversed(range(32))): 0x113FDB5C,
}


# A writer of its own, byte by byte; test_bair.py uses it too.


def record(message: bytes) -> bytes:
    """Frame a message as a TFRecord."""
    length = struct.pack("<Q", len(message))
    return length + _crc(length) + message + _crc(message)


def _crc(data: bytes) -> bytes:
    return struct.pack("<I", tfrecord.masked_crc32c(data))


def field(number: int, data: bytes) -> bytes:
    """Write a length-delimited protobuf field."""
    return varint(number << 3 | 2) + varint(len(data)) + data


def varint(value: int) -> bytes:
    groups = []
    while value > 127:
        groups.append(value & 127 | 128)
        value >>= 7
    return bytes([*groups, value])


def example(features: dict[str, bytes | Iterable[float]], packed: bool = True) -> bytes:
    """Write a tf.train.Example; the context of a SequenceExample has the same bytes."""
    entries = b"".join(
        field(1, field(1, name.encode()) + field(2, feature(value, packed))) for name, value in features.items()
    )
    return field(1, entries)


def feature(value: bytes | Iterable[float], packed: bool) -> bytes:
    if isinstance(value, bytes):
        return field(1, field(1, value))
    numbers = [struct.pack("<f", number) for number in value]
    return field(2, field(1, b"".join(numbers)) if packed else b"".join(b"\x0d" + number for number in numbers))


def read(data: bytes) -> list[bytes | str]:
    found = tfrecord.records(io.BytesIO(data))
    return [each.reason if isinstance(each, tfrecord.Damaged) else bytes(each) for each in found]


# CRC-32C


@pytest.mark.parametrize("data", KNOWN)
def test_crc32c_has_its_published_values(data):
    assert tfrecord.crc32c(data) == KNOWN[data]


def test_the_sparse_polynomial_is_a_multiple_of_castagnolis():
    register, powers = 1 << 31, {}  # bit-reversed: the highest bit is x^0
    for power in range(tfrecord._SPARSE + 1):
        powers[power] = register
        register = register >> 1 ^ 0x82F63B78 * (register & 1)
    gap, second, whole = tfrecord._SHIFTS
    assert powers[whole] == powers[whole - gap] ^ powers[whole - second] ^ powers[0]


# around 8 bytes, 6777 bytes (the second folding) and 6777 * 8 bytes (the first)
@pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 7, 8, 9, 63, 6771, 6773, 6774, 54211, 54212, 54213, 100_003])
def test_crc32c_is_that_of_the_bitwise_definition(length):
    data = np.random.default_rng(length).bytes(length)
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ 0x82F63B78 * (byte & 1)
        table.append(byte)
    register = 0xFFFFFFFF
    for byte in data:
        register = register >> 8 ^ table[(register ^ byte) & 255]
    assert tfrecord.crc32c(data) == register ^ 0xFFFFFFFF


# Records


def test_records_come_back_in_order_and_an_empty_file_has_none():
    assert read(record(b"first") + record(b"") + record(b"x" * 100_000)) == [b"first", b"", b"x" * 100_000]
    assert read(b"") == []


def test_a_damaged_message_is_named_and_those_after_it_are_read():
    damaged = bytearray(record(b"second"))
    damaged[14] ^= 1
    assert read(record(b"first") + damaged + record(b"third")) == [b"first", "its checksum is wrong", b"third"]


def test_after_a_damaged_length_nothing_is_made_up():
    damaged = bytearray(record(b"second"))
    damaged[5] ^= 1  # it would be a terabyte long
    found = read(record(b"first") + damaged + record(b"third"))
    assert found == [b"first", "the checksum of its length is wrong, so its end is not known"]


def test_a_length_beyond_any_message_is_not_allocated():
    length = struct.pack("<Q", 2**62)
    assert read(length + _crc(length)) == ["the checksum of its length is wrong, so its end is not known"]


@pytest.mark.parametrize(
    ("kept", "reason"),
    [(5, "the file ends inside its header"), (12, "the file ends after 0 of its 10 bytes"), (20, "after 8 of its 10")],
)
def test_a_cut_tail_is_named(kept, reason):
    first, cut = read(record(b"first") + record(b"second")[:kept])
    assert first == b"first" and reason in str(cut)


# Messages


@pytest.mark.parametrize("packed", [True, False])
def test_floats_may_be_packed_or_one_by_one(packed):
    parsed = tfrecord.Example(example({"a": [1.5, -2.0, 0.1], "none": []}, packed))
    assert np.array_equal(parsed.floats("a"), np.float32([1.5, -2.0, 0.1]))
    assert parsed.floats("a").dtype == np.float32 and parsed.floats("none").shape == (0,)


def test_fields_nobody_asked_for_are_passed_over():
    unknown = varint(9 << 3) + varint(2**60) + varint(10 << 3 | 1) + bytes(8) + varint(11 << 3 | 5) + bytes(4)
    lists = field(2, field(1, b"feature_lists of a SequenceExample"))
    parsed = tfrecord.Example(unknown + example({"a": b"kept", "b": [3.0]}) + lists)
    assert parsed.bytes("a") == b"kept" and parsed.floats("b") == [3.0]


def test_the_last_of_two_equal_names_counts_and_a_split_message_is_one():
    parsed = tfrecord.Example(example({"a": b"old", "b": b"x"}) + example({"a": b"new"}))
    assert parsed.bytes("a") == b"new" and parsed.bytes("b") == b"x"


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (example({"a": b"x"})[:-1], "no whole protobuf message"),
        (b"\x0b", "a field of kind 3"),
        (b"\x0a", "a field of kind 2 before byte 1 of 1"),
        (b"\x0d123", "a field of 4 bytes at byte 1 of 4"),
        (b"\xff" * 12, "no number ends after byte 0"),
        (example({"b": b"x"}), "it has no a"),
        (example({"a": [1.0]}), "a holds 0 byte strings, expected 1"),
    ],
)
def test_what_cannot_be_used_is_named(message, reason):
    with pytest.raises(VbenchError, match=reason):
        tfrecord.Example(message).bytes("a")


def test_numbers_that_are_not_whole_are_named():
    message = field(1, field(1, field(1, b"a") + field(2, field(2, field(1, b"12345")))))
    with pytest.raises(VbenchError, match="a holds 5 bytes of numbers, expected a multiple of 4"):
        tfrecord.Example(message).floats("a")


@pytest.mark.skipif(not importlib.util.find_spec("tensorflow"), reason="compares with TensorFlow: install [tf]")
def test_tensorflow_writes_what_is_read_and_reads_what_is_written(tmp_path):
    import tensorflow as tf

    rng = np.random.default_rng(0)
    pictures, numbers = [rng.bytes(size) for size in (0, 12_288, 300_000)], rng.standard_normal(7).astype(np.float32)
    theirs = {
        f"{i}/encoded": tf.train.Feature(bytes_list=tf.train.BytesList(value=[p])) for i, p in enumerate(pictures)
    }
    theirs["action"] = tf.train.Feature(float_list=tf.train.FloatList(value=numbers))
    theirs["count"] = tf.train.Feature(int64_list=tf.train.Int64List(value=[-1, 2]))
    features = tf.train.Features(feature=theirs)
    steps = tf.train.FeatureLists(feature_list={"ignored": tf.train.FeatureList(feature=[theirs["action"]])})
    with tf.io.TFRecordWriter(str(tmp_path / "theirs")) as file:
        file.write(tf.train.Example(features=features).SerializeToString())
        file.write(tf.train.SequenceExample(context=features, feature_lists=steps).SerializeToString())
    with open(tmp_path / "theirs", "rb") as file:
        found = [tfrecord.Example(message) for message in tfrecord.records(file)]
    assert len(found) == 2
    for parsed in found:
        assert [bytes(parsed.bytes(f"{i}/encoded")) for i in range(3)] == pictures
        assert np.array_equal(parsed.floats("action"), numbers)

    ours = example({"0/encoded": pictures[1], "action": numbers.tolist()}, packed=False)
    (tmp_path / "ours").write_bytes(record(ours) + record(b""))
    messages = [message.numpy() for message in tf.data.TFRecordDataset(str(tmp_path / "ours"))]  # checks both checksums
    assert messages == [ours, b""]
    parsed = tf.train.SequenceExample.FromString(ours).context.feature
    assert parsed["0/encoded"].bytes_list.value[0] == pictures[1]
    assert np.array_equal(np.float32(parsed["action"].float_list.value), numbers)
