"""Where data lives, and writing it so that nothing half-written ever looks finished."""

import errno
import glob
import io
import json
import math
import os
import re
import secrets
import shutil
import sys
import tempfile
import time
import tokenize
import weakref
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from vbench_ctl.errors import VbenchError

if TYPE_CHECKING:  # commands must not wait for NumPy
    import h5py
    import numpy as np

# What HDF5, Pillow and NumPy raise of a broken file, and what comes of entries of another kind; SyntaxError and TokenError
# of NumPy's header, which is Python.
DAMAGED: tuple[type[Exception], ...] = (OSError, EOFError, ValueError, KeyError, RuntimeError, zipfile.BadZipFile)
DAMAGED += (zlib.error, SyntaxError, tokenize.TokenError, MemoryError, TypeError, AttributeError, IndexError)
DAMAGED += (OverflowError,)
MOST_BYTES = 8 << 30  # of one clip: what is claimed by somebody's file is not all believed
MOST_DEFLATED = 1032  # bytes that zlib makes of one

_SCRATCH, _SETTLED_S = "vbench-scratch-", 60  # prefix; seconds in which a new one has surely been locked
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_CUT_SHORT = re.compile(r"\d+ requested and \d+ written")  # NumPy's word, without an errno, for a full disk
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")  # a half of a pair in JSON
_TEMPORARY = re.compile(r"\.(.+?)(?:\.[0-9a-f]{8})?\.part(\.[^.]*)?")  # what `atomic` and exports write to
_FORMULA = re.compile(r"'*[=+\-@\t\r\n]")  # what `cell` has put a ' before is told from what began with one


def home(root: str | Path | None = None) -> Path:
    """Return the folder that holds stores, runs, weights and caches: `root`, VBENCH_HOME, or the platform's own place."""
    if root or os.environ.get("VBENCH_HOME"):
        return Path(root or os.environ["VBENCH_HOME"]).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library/Application Support/vbench-ctl"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData/Local")) / "vbench-ctl"
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share") / "vbench-ctl"


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside `path` (file or folder) which becomes `path` on success and is removed on failure."""
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.absolute().with_name(_part_name(path.stem, secrets.token_hex(4), path.suffix))
        try:
            yield part
            if path.is_dir():
                shutil.rmtree(path)
            os.replace(part, path)
        except BaseException:
            _remove(part)
            raise


@contextmanager
def new_hdf5(path: Path, **options: Any) -> "Iterator[h5py.File]":
    """Yield an HDF5 file that appears under its name when it is whole."""
    import h5py

    with atomic(path) as part, _Patient(part, "w+") as disk:
        try:
            with h5py.File(disk, "w", **options) as file:
                yield file
        finally:
            disk.settle()


class _Patient(io.FileIO):
    """A file that tells only at the end that the disk was full: HDF5 crashes when it cannot write."""

    failure: OSError | None = None

    def write(self, data: Any) -> int:
        if not self.failure:
            try:
                return super().write(data)
            except OSError as failure:
                self.failure = failure
        return len(data)

    def truncate(self, size: int | None = None) -> int:
        return (size or 0) if self.failure else super().truncate(size)

    def settle(self) -> None:
        """Bring it to the disk and out of memory: a large store would push everything else out of the cache."""
        if self.failure:
            raise self.failure
        os.fsync(self.fileno())
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(self.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _part_name(stem: str, token: str, suffix: str) -> str:
    return f".{stem}.{token}.part{suffix.lower()}"  # the suffix stays, since writers go by it


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what the operating system refuses into a sentence about `path`, or what it is a temporary part of."""
    try:
        yield
    except OSError as error:
        asked = asked_for(path)
        in_text = any(f"errno = {code}" in str(error) for code in _FULL)  # h5py
        if error.errno in _FULL or in_text or _CUT_SHORT.search(str(error)):
            raise VbenchError(
                f"{asked}: the disk is full; free some space or choose another place, then run again"
            ) from error
        nowhere = isinstance(error, FileNotFoundError) and Path(str(error.filename)) in (path, *path.parents)  # /proc
        if isinstance(error, PermissionError) or error.errno == errno.EROFS or nowhere:
            raise VbenchError(f"{asked}: no permission to write there; choose another place") from error
        if error.errno == errno.ENAMETOOLONG:
            raise VbenchError(f"{asked}: that name is too long for this file system; choose a shorter one") from error
        if isinstance(error, NotADirectoryError | FileExistsError):
            raise VbenchError(f"{asked}: a file is in the way of a folder; move it or choose another place") from error
        raise


def refuse_denied(path: object, error: Exception) -> None:
    """Say so where it is for want of permission that `path` could not be read."""
    if isinstance(error, PermissionError):
        raise VbenchError(f"{path}: no permission to read it; ask whoever owns it") from error


def asked_for(path: Path) -> Path:
    """Return the file or folder that a temporary one, or one inside it, belongs to; any other path as it is."""
    for place in (*reversed(path.parents), path):
        if found := _TEMPORARY.fullmatch(place.name):
            return place.with_name(found[1] + (found[2] or ""))
    return path


def check_space(folder: Path, needed_bytes: float, what: str, advice: str) -> None:
    """Refuse to begin what will not fit on the disk."""
    free = shutil.disk_usage(folder).free
    if needed_bytes > free:
        raise VbenchError(f"{folder}: {needed_bytes / 1e9:.1f} GB {what} and {free / 1e9:.1f} GB free; {advice}")


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold `folder` for this process alone; a second process gets a sentence, not a mixed-up folder.

    Where it was made for nothing, because the work was refused, it goes again.
    """
    import fcntl

    with explained(folder):
        made = [place for place in (folder, *folder.parents) if not place.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        handle = open(folder / ".lock", "a")  # noqa: SIM115  # closed below, where its errors are not about writing
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise VbenchError(f"{asked_for(folder)}: another vbench-ctl is writing there; wait for it to end") from None
        try:
            yield
        except BaseException:
            with suppress(OSError):  # a parent that is in use by now
                if made and [path.name for path in folder.iterdir()] == [".lock"]:
                    (folder / ".lock").unlink()
                    for place in made:
                        place.rmdir()
            raise


@contextmanager
def turn(path: Path) -> Iterator[None]:
    """Wait until no other process changes the files beside `path`, and remove what a killed one left of `path`.

    The folder is the lock, so none is left behind.
    """
    import fcntl

    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            with suppress(OSError):  # some network file systems lock no folders
                fcntl.flock(folder, fcntl.LOCK_EX)
                for part in path.parent.glob(_part_name(glob.escape(path.stem), "?" * 8, glob.escape(path.suffix))):
                    _remove(part)
            yield
        finally:
            os.close(folder)


def write_text(path: Path, text: str) -> None:
    """Write a text file in one step."""
    with atomic(path) as part:
        part.write_text(text, encoding="utf-8")


def write_json(path: Path, data: Any) -> None:
    """Write a JSON file in one step."""
    write_text(path, json.dumps(data, indent=1, ensure_ascii=False) + "\n")


def cell(text: str) -> str:
    """Keep a spreadsheet from taking a CSV cell for a formula."""
    return f"'{text}" if _FORMULA.match(text) else text


def uncell(text: str) -> str:
    """Return what `cell` was given."""
    return text[1:] if text[:1] == "'" and _FORMULA.match(text) else text


def read_json(path: Path) -> Any:
    """Read a JSON file; a broken one is named."""
    try:
        text = path.read_text(encoding="utf-8")
        data = json.loads(text)
        if _SURROGATE.search(text):
            json.dumps(data, ensure_ascii=False).encode()  # half a character, which could never be written
        return data
    except (OSError, ValueError, RecursionError) as error:
        refuse_denied(path, error)
        raise VbenchError(f"{path}: not a readable JSON file ({error}); mend it or move it away") from error


def read_table(path: Path) -> dict[str, Any]:
    """Return the table that a JSON file holds, an empty one when it is not there."""
    found = read_json(path) if path.exists() else {}
    if not isinstance(found, dict):
        raise VbenchError(
            f"{path}: holds a {type(found).__name__}, expected a table; remove it, if another version made it"
        )
    return found


@contextmanager
def changing(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the table that a JSON file holds and write back what becomes of it; other processes wait."""
    with turn(path):
        data = read_table(path)
        yield data
        write_json(path, data)


def is_number(value: object) -> bool:
    """Tell whether something out of a JSON file is a number that a float can hold."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return isinstance(value, float) or abs(value) <= sys.float_info.max


def read_npz(
    path: Path, chosen: Callable[[list[str]], Iterable[str]] = list, largest: int = sys.maxsize
) -> "dict[str, np.ndarray]":
    """Return those arrays of an .npz file that are chosen among their names, of so many bytes at most.

    Memory is taken for what is there alone.
    """
    with zipfile.ZipFile(path) as held:
        names = [entry.removesuffix(".npy") for entry in held.namelist()]
        size = path.stat().st_size
        return {name: _read_npy(held, held.getinfo(f"{name}.npy"), size, largest) for name in chosen(names)}


def _read_npy(held: zipfile.ZipFile, entry: zipfile.ZipInfo, size_bytes: int, largest: int) -> "np.ndarray":
    import numpy as np

    with held.open(entry) as file:
        claimed = _claimed_bytes(file)
    if claimed > largest:
        name = entry.filename.removesuffix(".npy")
        raise ValueError(f"{name} takes {claimed} bytes, expected at most {largest}: cut it up")
    if claimed != entry.file_size or not can_hold(size_bytes, claimed):
        raise ValueError(f"{entry.filename} claims {claimed} bytes, and there are fewer")
    with held.open(entry) as file:
        return np.lib.format.read_array(file, allow_pickle=False)


def _claimed_bytes(file: IO[bytes]) -> int:
    """Return how long an .npy file is by its header."""
    from numpy.lib import format as npy

    read = npy.read_array_header_1_0 if npy.read_magic(file) == (1, 0) else npy.read_array_header_2_0
    shape, _, dtype = read(file)
    return file.tell() + math.prod(shape) * dtype.itemsize


def can_hold(stored_bytes: int, claimed_bytes: int) -> bool:
    """Tell whether so many stored bytes may be all that is claimed, deflated."""
    return claimed_bytes <= MOST_DEFLATED * stored_bytes


def check_name(path: Path) -> None:
    """Refuse a name that no text can hold."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise VbenchError(f"{str(path)!a}: its name is not UTF-8; rename it") from None


def sweep(folder: Path) -> None:
    """Remove the temporary files that a killed process left at any depth of `folder`."""
    for part in list(folder.rglob(".*.part*")):
        _remove(part)


class Scratch(tempfile.TemporaryDirectory[str]):
    """A temporary folder of this process; what killed ones left is removed, which their locks tell."""

    def __init__(self) -> None:
        import fcntl

        for left in Path(tempfile.gettempdir()).glob(f"{_SCRATCH}*"):
            with suppress(OSError):  # somebody else's, or removed by now
                held = os.open(left, os.O_RDONLY)
                try:
                    fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    if time.time() - left.stat().st_mtime > _SETTLED_S:
                        shutil.rmtree(left)
                finally:
                    os.close(held)
        super().__init__(prefix=_SCRATCH)
        handle = os.open(self.name, os.O_RDONLY)
        weakref.finalize(self, os.close, handle)
        fcntl.flock(handle, fcntl.LOCK_SH)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
