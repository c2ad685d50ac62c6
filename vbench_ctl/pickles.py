"""Reads pickles of plain data without running anything in them.

A pickle is a program. This reader knows lists, tuples, dicts, numbers, strings, bytes, None and numpy arrays of
numbers, and stops at the first name of anything else. NumPy's own reconstruction is stood in for: given a made-up
state it writes outside its memory.
"""

import io
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from vbench_ctl.errors import VbenchError

_SCALARS = (type(None), bool, int, float, str, bytes)
_MOST_VALUES = 10_000_000  # after expanding what a pickle repeats by reference


def load(source: Path | bytes) -> Any:
    """Return the plain data in a pickle of any protocol, from Python 2 or 3."""
    name = "pickle" if isinstance(source, bytes) else str(source)
    try:
        data = source if isinstance(source, bytes) else source.read_bytes()
        # latin1 is what NumPy's bytes need when Python 2 wrote them
        return _plain(_Reader(io.BytesIO(data), encoding="latin1").load(), {})[0]
    except _Refused as error:
        raise VbenchError(
            f"{name}: holds {error}, expected only lists, dicts, numbers, strings and numpy arrays of numbers; "
            "it may be harmful, so nothing of it was run"
        ) from None
    except Exception as error:  # a broken pickle can fail in any way
        raise VbenchError(f"{name}: is not a whole pickle of plain data ({error}); fetch it again") from error


class _Refused(Exception):
    """What a pickle holds beyond plain data."""


class _Reader(pickle._Unpickler):  # type: ignore[name-defined,misc]
    """Looks names up in the table below and nowhere else.

    It is the reader in Python: the one in C makes room for as many memo entries as a pickle claims to have.
    """

    # reading a bytearray as bytes makes no room either for what is only claimed
    dispatch: ClassVar = {**pickle._Unpickler.dispatch, pickle.BYTEARRAY8[0]: pickle._Unpickler.load_binbytes8}  # type: ignore[attr-defined]

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _NAMES:
            raise _Refused(f"{module}.{name}")
        return _NAMES[module, name]

    def persistent_load(self, pid: Any) -> Any:
        raise _Refused("a reference to something outside it")


def _plain(value: Any, done: dict[int, tuple[Any, int]]) -> tuple[Any, int]:
    """Return the value with real arrays, and how many values it holds; refuse everything that is not plain."""
    if type(value) in _SCALARS or isinstance(value, np.number | np.bool_):
        return value, 1
    if isinstance(value, np.ndarray):
        return value, value.size
    if id(value) in done:
        return done[id(value)]
    done[id(value)] = (None, _MOST_VALUES + 1)  # stays only for what holds itself
    if isinstance(value, _Array):
        made: Any = value.array()
        parts = [(made, made.size)]
    elif type(value) in (list, tuple):
        parts = [_plain(item, done) for item in value]
        made = type(value)(item for item, _ in parts)
    elif type(value) is dict:
        keys, items = [_plain(key, done) for key in value], [_plain(item, done) for item in value.values()]
        parts = keys + items
        made = {key: item for (key, _), (item, _) in zip(keys, items, strict=True)}
    else:
        raise _Refused(f"a {type(value).__name__.lstrip('_').lower()}")
    size = 1 + sum(size for _, size in parts)
    if size > _MOST_VALUES:
        raise _Refused("more values than it has bytes for")
    done[id(value)] = (made, size)
    return done[id(value)]


# What stands in for numpy. A pickle reaches functions and instances with slots only, nothing that it could alter.


class _Dtype:
    __slots__ = ("code",)

    def __init__(self, code: str):
        self.code = code

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, order, *structure = state
        if structure[:3] != [None, None, None] or order not in ("<", ">", "|", "="):
            raise _Refused("a numpy array of records")
        self.code = order + self.code.lstrip("<>|=")


class _Array:
    __slots__ = ("state",)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.state = state

    def array(self) -> np.ndarray:
        _, shape, dtype, fortran, data = self.state
        return _filled(data, dtype, shape, "F" if fortran else "C")


def _dtype(code: Any, *_: Any) -> _Dtype:
    if not isinstance(code, str) or not re.fullmatch(r"[<>|=]?([?bBhHiIlLqQefd]|b1|[iu][1248]|f[248])", code):
        raise _Refused(f"a numpy array of type {code!r}")
    return _Dtype(code)


def _filled(data: Any, dtype: Any, shape: Any, order: Any = "C") -> np.ndarray:
    if not isinstance(dtype, _Dtype):
        raise _Refused("a numpy array without a type")
    values = np.frombuffer(data.encode("latin1") if isinstance(data, str) else data, dtype.code)
    return values.reshape(shape, order=order).astype(values.dtype.newbyteorder("="))


def _array(*_: Any) -> _Array:
    return _Array()


def _scalar(dtype: Any, data: Any) -> Any:
    return _filled(data, dtype, (1,))[0]


def _encode(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise _Refused(f"bytes in {encoding}")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    return b""


_NAMES: dict[tuple[str, str], Callable[..., Any] | str] = {
    ("numpy", "dtype"): _dtype,
    ("numpy", "ndarray"): "numpy.ndarray",  # only ever handed to _array
    ("_codecs", "encode"): _encode,  # bytes in protocols before 3
    ("__builtin__", "bytes"): _no_bytes,
    ("builtins", "bytes"): _no_bytes,
}
for _package in ("numpy.core", "numpy._core"):
    _NAMES[f"{_package}.multiarray", "_reconstruct"] = _array
    _NAMES[f"{_package}.multiarray", "scalar"] = _scalar
    _NAMES[f"{_package}.numeric", "_frombuffer"] = _filled
