"""Reads pickles of plain data without running anything in them.

A pickle is a program. This reader knows lists, tuples, dicts, numbers, strings, bytes, None and numpy arrays of
numbers, and stops at the first name of anything else. NumPy's own reconstruction is stood in for: given a made-up
state it writes outside its memory. A TorchScript archive is a zip with such a pickle and the bytes of its tensors; what
`torch.save` wrote PyTorch reads safely itself, but for tensors that claim more than they have.
"""

import io
import math
import pickle
import re
import zipfile
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
        found = _Reader(data, 2 * len(data)).load()
        return _plain(found, {}, max(_MOST_VALUES, len(data)))[0]  # each value of an array took at least a byte
    except _Refused as error:
        raise VbenchError(
            f"{name}: holds {error}, expected only lists, dicts, numbers, strings and numpy arrays of numbers; "
            "it may be harmful, so nothing of it was run"
        ) from None
    except Exception as error:  # a broken pickle can fail in any way
        raise VbenchError(f"{name}: is not a whole pickle of plain data ({error}); fetch it again") from error


def load_torchscript(source: Path) -> dict[str, np.ndarray]:
    """Return the tensors of a TorchScript archive under the names of its state dict; its code stays unread."""
    tensors: dict[str, np.ndarray] = {}
    try:
        with zipfile.ZipFile(source) as archive:
            _collect(_ScriptReader(archive, "data").load(), "", tensors, set())
            _collect(_ScriptReader(archive, "constants").load(), "constants", tensors, set())
    except _Refused as error:
        raise VbenchError(f"{source}: holds {error}, expected a module of tensors; nothing of it was run") from None
    except Exception as error:  # a broken archive can fail in any way
        raise VbenchError(f"{source}: is not a whole TorchScript archive ({error}); fetch it again") from error
    return tensors


def load_torch(source: Path) -> Any:
    """Return the tensors and plain data that `torch.save` wrote; a tensor without bytes for each of its values is refused."""
    import torch

    held = torch.load(source, map_location="cpu", weights_only=True)
    waiting, seen = [held], set()
    while waiting:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, torch.Tensor):
            there = value.untyped_storage().nbytes() if value.device.type == "cpu" else 0
            if value.numel() * value.element_size() > there:
                raise _Refused(f"a tensor of shape {tuple(value.shape)} in {there} bytes")
        elif isinstance(value, dict):
            waiting += value.values()
        elif isinstance(value, list | tuple):
            waiting += value
    return held


class _Refused(Exception):
    """What a pickle holds beyond plain data."""


class _Reader(pickle._Unpickler):  # type: ignore[name-defined,misc]
    """Looks names up in the table below and nowhere else.

    It is the reader in Python: the one in C makes room for as many memo entries as a pickle claims to have. What is
    made of bytes that it repeats by reference may come to `most` bytes, or to as many as a small pickle may hold values.
    """

    def __init__(self, data: bytes, most: int) -> None:
        self.room = max(_MOST_VALUES, most)
        super().__init__(io.BytesIO(data), encoding="latin1")  # what NumPy's bytes need when Python 2 wrote them

    def find_class(self, module: str, name: str) -> Any:
        found = self.named(module, name)
        if found is None:
            raise _Refused(f"{module}.{name}")
        return found if isinstance(found, str | type) else lambda *given: self.counted(found(*given))

    def named(self, module: str, name: str) -> Any:
        return _NAMES.get((module, name))

    def counted(self, made: Any) -> Any:
        """Return what was made if there was room for it."""
        values = getattr(made, "values", made)
        self.take(len(values) if type(values) is bytes else getattr(values, "nbytes", 0))
        return made

    def take(self, size: int) -> None:
        self.room -= size
        if self.room < 0:
            raise _Refused("more values than it has bytes for")

    def load_build(self) -> None:
        made = self.stack[-2]  # type: ignore[attr-defined]
        if not isinstance(made, _Dtype | _Array | _Module):  # or it could alter the functions below
            raise _Refused(f"attributes of a {type(made).__name__}")
        super().load_build()  # type: ignore[misc]
        self.counted(made)

    # reading a bytearray as bytes makes no room either for what is only claimed
    dispatch: ClassVar = {
        **pickle._Unpickler.dispatch,  # type: ignore[attr-defined]
        pickle.BYTEARRAY8[0]: pickle._Unpickler.load_binbytes8,  # type: ignore[attr-defined]
        pickle.BUILD[0]: load_build,  # type: ignore[dict-item]
    }

    def persistent_load(self, pid: Any) -> Any:
        raise _Refused("a reference to something outside it")


def _plain(value: Any, done: dict[int, tuple[Any, int]], most: int) -> tuple[Any, int]:
    """Return the value with real arrays, and how many values it holds; refuse everything that is not plain."""
    if type(value) in _SCALARS or isinstance(value, np.number | np.bool_):
        return value, 1
    if isinstance(value, np.ndarray):
        return value, value.size
    if id(value) in done:
        return done[id(value)]
    done[id(value)] = (None, most + 1)  # stays only for what holds itself
    if isinstance(value, _Array):
        made: Any = value.values
        parts = [(made, made.size)]
    elif type(value) in (list, tuple):
        parts = [_plain(item, done, most) for item in value]
        made = type(value)(item for item, _ in parts)
    elif type(value) is dict:
        keys = [_plain(key, done, most) for key in value]
        items = [_plain(item, done, most) for item in value.values()]
        parts = keys + items
        made = {key: item for (key, _), (item, _) in zip(keys, items, strict=True)}
    else:
        raise _Refused(f"a {type(value).__name__.lstrip('_').lower()}")
    size = 1 + sum(size for _, size in parts)
    if size > most:
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
    __slots__ = ("values",)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, fortran, data = state
        self.values = _filled(data, dtype, shape, "F" if fortran else "C")


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


# TorchScript. What its classes are called does not matter here: a module is the tensors and modules it names.

_STORAGES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "<i1",
    "ByteStorage": "<u1",
    "BoolStorage": "?",
}


class _Module:
    __slots__ = ("fields",)

    def __setstate__(self, fields: Any) -> None:
        self.fields = fields


class _Tensor:
    __slots__ = ("values",)

    def __init__(self, values: np.ndarray):
        self.values = values


class _ScriptReader(_Reader):
    """Reads one pickle of a TorchScript archive, `data.pkl` or `constants.pkl`, beside the folder of its tensors."""

    def __init__(self, archive: zipfile.ZipFile, part: str):
        self.archive = archive
        self.folder = f"{archive.namelist()[0].partition('/')[0]}/{part}"
        there = sum(entry.compress_size for entry in archive.infolist())
        # Each storage is read, copied, and may be shared.
        super().__init__(archive.read(f"{self.folder}.pkl"), 8 * there)

    def named(self, module: str, name: str) -> Any:
        if module.startswith("__torch__"):
            return _Module
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        return _SCRIPT_NAMES.get((module, name))

    def persistent_load(self, pid: Any) -> _Tensor:
        kind, dtype, key, *_ = pid
        if kind != "storage" or dtype not in _STORAGES.values():
            raise _Refused("a reference to something that is no tensor")
        place = f"{self.folder}/{key}"
        self.take(self.archive.getinfo(place).file_size)
        return _Tensor(np.frombuffer(self.archive.read(place), dtype))


def _tensor(storage: _Tensor, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: Any) -> _Tensor:
    """View the bytes of a storage as a tensor; strides count values."""
    values = storage.values
    if min((offset, *shape, *strides)) < 0 or math.prod(shape) > values.size:
        raise _Refused("a tensor of an impossible shape")
    last = offset + sum((length - 1) * stride for length, stride in zip(shape, strides, strict=True))
    if 0 not in shape and last >= values.size:
        raise _Refused("a tensor that reaches beyond its bytes")
    steps = [stride * values.itemsize for stride in strides]
    return _Tensor(np.lib.stride_tricks.as_strided(values[offset:], shape, steps).copy())


def _same(value: Any, *_: Any) -> Any:
    return value


def _no_items(*_: Any) -> dict:
    return {}


_SCRIPT_NAMES: dict[tuple[str, str], Callable[..., Any]] = {
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _same,
    ("torch.jit._pickle", "restore_type_tag"): _same,
    ("torch", "device"): _same,
    ("collections", "OrderedDict"): _no_items,
}
for _kind in ("int", "tensor", "double", "bool"):
    _SCRIPT_NAMES["torch.jit._pickle", f"build_{_kind}list"] = _same


def _collect(value: Any, name: str, tensors: dict[str, np.ndarray], seen: set[int]) -> None:
    """Put the tensors below `value` into `tensors`, named by the way to them."""
    if isinstance(value, _Tensor):
        tensors[name] = value.values
        return
    if id(value) in seen:
        return
    seen.add(id(value))
    fields = getattr(value, "fields", {}) if isinstance(value, _Module) else value
    if isinstance(fields, list | tuple):
        fields = dict(enumerate(fields))
    if isinstance(fields, dict):
        for key, item in fields.items():
            _collect(item, f"{name}.{key}".lstrip("."), tensors, seen)
