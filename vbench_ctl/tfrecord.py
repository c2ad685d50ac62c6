"""TFRecord files and the tf.train.Example messages in them, read without TensorFlow.

A record is a length, its masked CRC-32C, the message, its masked CRC-32C (tensorflow/tensorflow:core/lib/io/record_writer.h).
"""

import struct
from collections.abc import Iterator
from functools import cache
from typing import BinaryIO, NamedTuple

import numpy as np

from vbench_ctl.errors import VbenchError

_HEADER, _FOOTER = 12, 4
_MOST_BYTES = 2**31 - 1  # of a protobuf message

# Castagnoli's polynomial, bit-reversed (RFC 3720, 12.1)
_POLYNOMIAL = 0x82F63B78
# It divides x^6777 + x^484 + x^100 + 1, found by search; and over GF(2) q(x)^n = q(x^n) for n = 8 and n = 64. So an
# entry of 8 or 64 bits may be moved onto those that come _SHIFTS entries later without changing the remainder.
_SPARSE = 6777
_SHIFTS = (_SPARSE - 484, _SPARSE - 100, _SPARSE)
# A register that begins with zeros holds only ones after these four bytes, which is how CRC-32C begins.
_START = np.frombuffer(bytes.fromhex("54641f64"), np.uint8)


class Damaged(NamedTuple):
    """What stands in for a record that cannot be read."""

    reason: str


def records(file: BinaryIO) -> Iterator[bytes | Damaged]:
    """Yield the messages of a TFRecord file; after a damaged length nothing more can be found."""
    while header := file.read(_HEADER):
        if len(header) < _HEADER:
            yield Damaged("the file ends inside its header")
            return
        length, length_crc = struct.unpack("<QI", header)
        if masked_crc32c(header[:8]) != length_crc or length > _MOST_BYTES:
            yield Damaged("the checksum of its length is wrong, so its end is not known")
            return
        message, footer = file.read(length), file.read(_FOOTER)
        if len(footer) < _FOOTER:
            yield Damaged(f"the file ends after {len(message) + len(footer)} of its {length + _FOOTER} bytes")
            return
        good = masked_crc32c(message) == int.from_bytes(footer, "little")
        yield message if good else Damaged("its checksum is wrong")


def masked_crc32c(data: bytes) -> int:
    """Return the CRC-32C as TFRecord files store it (tensorflow/tensorflow:core/lib/hash/crc32c.h)."""
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def crc32c(data: bytes) -> int:
    """Return the CRC-32C of any bytes."""
    size = -(-(len(_START) + len(data)) // 8) * 8  # zeros in front change nothing
    message = np.zeros(size, np.uint8)
    begin = size - len(data)
    message[begin - len(_START) : begin] = _START
    message[begin:] = np.frombuffer(data, np.uint8)
    rest = _folded(_folded(message.view(np.uint64)).view(np.uint8))
    bits = np.unpackbits(rest, bitorder="little")
    return int(np.bitwise_xor.reduce(_remainders()[-len(bits) :] * bits)) ^ 0xFFFFFFFF


def _folded(entries: np.ndarray) -> np.ndarray:
    """Return at most _SPARSE entries with the same remainder as all of them; `entries` is used up."""
    at, end = 0, len(entries) - _SPARSE
    while at < end:
        length = min(_SHIFTS[0], end - at)  # what is moved does not reach into itself
        for shift in _SHIFTS:
            entries[at + shift : at + shift + length] ^= entries[at : at + length]
        at += length
    return entries[max(0, end) :]


@cache
def _remainders() -> np.ndarray:
    """Return what each of the last bits of a message adds to the register, the very last one at the end."""
    values = np.empty(8 * _SPARSE, np.uint32)
    register = 1
    for at in reversed(range(len(values))):
        register = register >> 1 ^ _POLYNOMIAL * (register & 1)
        values[at] = register
    return values


class Example:
    """The features of a tf.train.Example, or of the context of a SequenceExample, which looks the same on the wire."""

    def __init__(self, message: bytes):
        self._message = message
        self._features: dict[str, tuple[int, int]] = {}  # where each lies in the message
        for number, start, stop in _fields(message, 0, len(message)):
            if number == 1:
                self._add(start, stop)

    def _add(self, start: int, stop: int) -> None:
        """Take note of the entries of a map; a later one of the same name replaces an earlier one."""
        message = self._message
        for number, at, end in _fields(message, start, stop):
            if number == 1:
                name, feature = b"", (0, 0)
                for field, begin, until in _fields(message, at, end):
                    if field == 1:
                        name = message[begin:until]
                    elif field == 2:
                        feature = begin, until
                self._features[name.decode(errors="replace")] = feature

    def bytes(self, name: str) -> memoryview:
        """Return the one byte string of a feature."""
        values = self._values(name, 1)
        if len(values) != 1:
            raise VbenchError(f"{name} holds {len(values)} byte strings, expected 1")
        return values[0]

    def floats(self, name: str) -> np.ndarray:
        """Return the numbers of a feature, float32 (n,); they may be packed or one by one."""
        data = b"".join(self._values(name, 2))
        if len(data) % 4:
            raise VbenchError(f"{name} holds {len(data)} bytes of numbers, expected a multiple of 4")
        return np.frombuffer(data, "<f4")

    def _values(self, name: str, kind: int) -> list[memoryview]:
        """Return what a feature's lists of this kind hold: bytes are kind 1, floats 2."""
        if name not in self._features:
            raise VbenchError(f"it has no {name}")
        message, view, values = self._message, memoryview(self._message), []
        for number, start, stop in _fields(message, *self._features[name]):
            if number == kind:
                values += [view[at:end] for field, at, end in _fields(message, start, stop) if field == 1]
        return values


def _fields(message: bytes, at: int, end: int) -> list[tuple[int, int, int]]:
    """Return number, begin and end of each field of a protobuf message (protobuf.dev, Encoding)."""
    found = []
    while at < end:
        # Most numbers are one byte, and a call for each would take as long as all the rest.
        tag, at = (message[at], at + 1) if message[at] < 128 else _varint(message, at, end)
        kind = tag & 7
        if kind == 2 and at < end:
            length, at = (message[at], at + 1) if message[at] < 128 else _varint(message, at, end)
        elif kind == 0:
            length = _varint(message, at, end)[1] - at
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
        else:
            raise VbenchError(f"it is no protobuf message: a field of kind {kind} before byte {at} of {end}")
        if at + length > end:
            raise VbenchError(f"it is no whole protobuf message: a field of {length} bytes at byte {at} of {end}")
        found.append((tag >> 3, at, at + length))
        at += length
    return found


def _varint(message: bytes, at: int, end: int) -> tuple[int, int]:
    """Return the number that begins at `at` in groups of 7 bits, and where it ends."""
    value = shift = 0
    for place in range(at, min(at + 10, end)):
        byte = message[place]
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place + 1
        shift += 7
    raise VbenchError(f"it is no protobuf message: no number ends after byte {at} of {end}")
