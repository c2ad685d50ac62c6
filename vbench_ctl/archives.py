"""Read the files in folders, tar and zip archives alike, without unpacking what can be read in place.

A name that would lead out of the archive (`../`, absolute, a link) is refused, whether it is read or unpacked.
"""

import hashlib
import io
import os
import re
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path, PurePosixPath
from typing import IO, Any, BinaryIO, cast

from vbench_ctl import files
from vbench_ctl.errors import Unreadable, VbenchError, of_the_system
from vbench_ctl.progress import progress

IN_MEMORY = 4 << 20  # bytes of a zipped file, the rest of it lies on the disk
PIECE = 1 << 20  # bytes to copy at a time

_TARS = (".tar",)
_COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
_DAMAGED: tuple[type[Exception], ...] = (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error)
_DAMAGED += (NotImplementedError,)  # Deflate64
_DAMAGED += (TypeError, ValueError, IndexError, OverflowError)  # from headers that make no sense
_UNREADABLE: tuple[type[Exception], ...] = (OSError, *_DAMAGED)


class Broken(VbenchError):
    """An archive that is not whole."""

    def __init__(self, path: Path, what: str, error: object) -> None:
        super().__init__(path, what, str(error))  # so that it can be sent from a worker
        self.path = path

    def __str__(self) -> str:
        path, what, error = self.args
        return f"{path}: not a whole {what} archive ({error}); fetch it again"


@dataclass(frozen=True)
class Member:
    """One file of a folder or an archive. Its `repr` does not say where the archive lies, since that decides nothing."""

    name: str  # in the archive, with slashes
    size: int
    place: Path = field(repr=False)  # the file itself, or the archive
    offset: int | None = field(default=None, repr=False)  # of its bytes in an uncompressed tar
    zipped: bool = field(default=False, repr=False)

    @property
    def path(self) -> PurePosixPath:
        return PurePosixPath(self.name)

    def open(self) -> BinaryIO:
        """Open it for reading; the file object can seek."""
        with self._explained():
            if self.zipped:  # into memory, or where it is large into a file without a name: a zip cannot seek back
                copy = cast(BinaryIO, tempfile.SpooledTemporaryFile(IN_MEMORY))  # noqa: SIM115  # as below
                self._copy_to(copy)
                copy.seek(0)
                return copy
            file = open(self.place, "rb")  # noqa: SIM115  # the caller closes it
        return file if self.offset is None else io.BufferedReader(_Part(file, self.offset, self.size))

    def _copy_to(self, copy: IO[bytes]) -> None:
        with _zip(self.place, os.getpid()).open(self.name) if self.zipped else self.open() as file:
            shutil.copyfileobj(file, copy, PIECE)

    def read(self) -> bytes:
        """Return its bytes."""
        with self._explained(), self.open() as file:
            data = file.read()
        self._check_whole(len(data))
        return data

    def text(self) -> str:
        """Return it as a text, whatever byte is none."""
        return self.read().decode("utf-8-sig", errors="replace")

    def _check_whole(self, size: int) -> None:
        if size != self.size:
            raise VbenchError(
                f"{self.place}: {self.name} has {size} of {self.size} bytes, the file is cut short; fetch it again"
            )

    @contextmanager
    def on_disk(self) -> Iterator[Path]:
        """Yield a path of its own, for readers that take nothing else; one that lies in an archive is copied out."""
        if self.offset is None and not self.zipped:
            try:
                yield self.place
            except VbenchError:
                self._check()
                raise
            return
        with files.Scratch() as folder:
            path = Path(folder, f"member{self.path.suffix}")
            with self._explained(), open(path, "wb") as copy:
                self._copy_to(copy)
                size = copy.tell()
            self._check_whole(size)
            try:
                yield path
            except VbenchError as error:  # a reason for leaving a clip out is the same each time
                raise VbenchError(str(error).replace(str(path), self.name)) from error

    def _check(self) -> None:
        """Raise Unreadable where not the file is at fault that somebody could not read it."""
        with self._explained(), self.open() as file:
            while file.read(PIECE):
                pass

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except Unreadable:
            raise
        except _UNREADABLE as error:
            if isinstance(error, OSError) and of_the_system(error):
                said = f"{self.name} cannot be read now ({error.strerror})"
                raise Unreadable(error.errno, said, str(self.place)) from error
            raise VbenchError(f"{self.place}: {self.name} cannot be read ({error}); fetch the file again") from error


class _Part(io.RawIOBase):
    """A stretch of a file, read as if it were one."""

    def __init__(self, file: BinaryIO, offset: int, size: int) -> None:
        self.file, self.offset, self.size, self.at = file, offset, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self.at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self.at, os.SEEK_END: self.size}[whence]
        return self.at

    def readinto(self, buffer: Any) -> int:
        wanted = max(0, min(len(buffer), self.size - self.at))
        self.file.seek(self.offset + self.at)
        data = self.file.read(wanted)
        buffer[: len(data)] = data
        self.at += len(data)
        return len(data)

    def close(self) -> None:
        self.file.close()
        super().close()


@dataclass(frozen=True)
class Archive:
    """What a dataset is read from: downloaded or handed files and folders, and where unpacked ones may be kept."""

    paths: tuple[Path, ...]
    root: Path | None = None  # VBENCH_HOME, unless given
    sources: tuple[dict[str, Any], ...] = ()  # name, size, sha256 and origin of each path, for the manifest
    cookies: str | None = None  # of YouTube, as acquire.fetch_one takes them: some datasets fetch more from there
    rate: str | None = None

    @cached_property
    def members(self) -> list[Member]:
        """Return all files in all paths, sorted by name; compressed tars are unpacked once."""
        return sorted((each for path in self.paths for each in members(path, self.root)), key=lambda each: each.name)

    def matching(self, pattern: str) -> dict[tuple[str, ...], Member]:
        """Return the files whose name ends in a match of `pattern`, by the groups that it found.

        The name may begin with any folders, so it does not matter how deep a user unpacked the archive.
        """
        return {match.groups(): each for match, each in self.found(pattern)}

    def found(self, pattern: str) -> Iterator[tuple[re.Match[str], Member]]:
        """Yield the same files, each with its match."""
        expression = re.compile(rf"(?:.*/)?{pattern}")
        for each in self.members:
            if match := expression.fullmatch(each.name):
                files.check_name(each.place / each.name)
                yield match, each

    def only(self, pattern: str, wanted: str) -> Member:
        """Return the one file that matches; where there is none, say that `wanted` is lacking."""
        found = self.matching(pattern)
        if not found:
            raise self.lacking(wanted)
        return next(iter(found.values()))

    def lacking(self, wanted: str) -> VbenchError:
        """Say that the paths do not hold what the dataset is made of."""
        there = ", ".join(each.name for each in self.members[:3]) or "no file"
        where = ", ".join(map(str, self.paths)) or "nothing"
        return VbenchError(f"{where}: has {there}, expected {wanted}; give the right files with --archive")


def members(path: Path, root: Path | None = None) -> list[Member]:
    """Return the files of a folder or an archive, or the file itself, sorted by name."""
    if path.is_dir():
        found = _in_folder(path)
    elif not path.exists():
        raise VbenchError(f"{path}: not there; give a file or folder that is")
    elif path.name.lower().endswith(_COMPRESSED):
        found = _in_folder(unpacked(path, root))
    elif path.name.lower().endswith(_TARS):
        found = _in_tar(path)
    elif path.suffix.lower() == ".zip":
        found = _in_zip(path)
    else:
        found = [Member(path.name, path.stat().st_size, path)]
    seen = (each for each in found if not any(part.startswith((".", "__MACOSX")) for part in each.path.parts))
    return sorted(seen, key=lambda each: each.name)


def stream(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield name and bytes of each file of a tar, compressed or not, in its order: nothing is written to disk."""
    with _opened_tar(path, "r|*") as tar:
        for entry in tar:
            if _is_file(entry, path):
                file = tar.extractfile(entry)
                assert file
                yield entry.name.removeprefix("./"), file.read()


def unpacked(path: Path, root: Path | None = None) -> Path:
    """Unpack a tar into the cache, once, and return the folder."""
    folder = _cached(path, root)
    if folder.is_dir():
        return folder
    with files.turn(folder):
        if not folder.is_dir():  # by another process meanwhile
            with files.atomic(folder) as part:
                part.mkdir()
                needed, what = to_unpack(path, root), f"are needed at least to unpack {path.name}"
                advice = f"free some space, or unpack {path.name} elsewhere and give the folder"
                files.check_space(part.parent, needed, what, advice)
                _unpack(path, part)
    return folder


def to_unpack(path: Path, root: Path | None = None, size: int = 0) -> int:
    """Return how many bytes unpacking a file into the cache will take: pictures make as many as in the tar, no fewer.

    `size` is that of a file which is not there yet.
    """
    if not path.name.lower().endswith(_COMPRESSED):
        return 0
    if not path.is_file():
        return size
    return 0 if _cached(path, root).is_dir() else path.stat().st_size


def _cached(path: Path, root: Path | None) -> Path:
    """Return where a compressed tar is or will be unpacked."""
    state = path.stat()
    key = hashlib.sha256(f"{path.resolve()} {state.st_size} {state.st_mtime_ns}".encode()).hexdigest()[:16]
    return files.home(root) / "cache" / "unpacked" / f"{path.name.split('.')[0]}-{key}"


def _unpack(path: Path, folder: Path) -> None:
    total = path.stat().st_size >> 20
    shown = 0
    with (
        open(path, "rb") as file,
        _opened_tar(path, "r|*", file) as tar,
        progress(f"unpack {path.name}", total, "MB") as advance,
    ):
        for entry in tar:
            if _is_file(entry, path):
                tar.extract(entry, folder, filter="data")
            advance((file.tell() >> 20) - shown)
            shown = file.tell() >> 20


class _Entry(tarfile.TarInfo):
    """An entry of a tar whose damaged header is an error: tarfile takes it for the end."""

    @classmethod
    def fromtarfile(cls, tarfile_: tarfile.TarFile) -> "_Entry":
        try:
            return super().fromtarfile(tarfile_)  # type: ignore[return-value]
        except (tarfile.TruncatedHeaderError, tarfile.EmptyHeaderError, tarfile.InvalidHeaderError) as error:  # type: ignore[attr-defined]
            raise tarfile.ReadError(str(error)) from error


@contextmanager
def _opened_tar(path: Path, mode: Any, file: BinaryIO | None = None) -> Iterator[tarfile.TarFile]:
    try:
        with tarfile.open(path, mode, fileobj=file, tarinfo=_Entry) as tar:
            yield tar
    except _DAMAGED as error:
        raise Broken(path, "tar", error) from error


def _in_folder(folder: Path) -> list[Member]:
    found = []
    seen = set()
    for place, folders, names in os.walk(folder, onerror=_unlisted, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:  # a link that leads back up
            folders.clear()
            continue
        seen.add(real)
        folders.sort()
        for name in names:
            path = Path(place, name)
            if path.exists():  # or a link to nowhere
                found.append(Member(path.relative_to(folder).as_posix(), path.stat().st_size, path))
    return found


def _unlisted(error: OSError) -> None:
    raise VbenchError(f"{error.filename}: cannot be listed ({error.strerror}); change its permissions") from error


def _in_tar(path: Path) -> list[Member]:
    with _opened_tar(path, "r:") as tar:
        entries = [entry for entry in tar if _is_file(entry, path)]
    return [Member(entry.name.removeprefix("./"), entry.size, path, entry.offset_data) for entry in entries]


@lru_cache(maxsize=4)
def _zip(path: Path, process: int) -> zipfile.ZipFile:
    """Open a zip archive once per process: its list of files may be long."""
    return zipfile.ZipFile(path)


def _in_zip(path: Path) -> list[Member]:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
    except _UNREADABLE as error:
        raise Broken(path, "zip", error) from error
    for entry in entries:
        _check_inside(entry.filename, path)
        if entry.flag_bits & 1:
            raise VbenchError(f"{path}: {entry.filename} is encrypted; unpack it with its password and give the folder")
    return [Member(entry.filename, entry.file_size, path, zipped=True) for entry in entries]


def _is_file(entry: tarfile.TarInfo, path: Path) -> bool:
    """Tell whether an entry is a file; whatever could lead out of the archive is refused."""
    _check_inside(entry.name, path)
    if entry.issym() or entry.islnk():
        _check_inside(entry.linkname, path)
        raise VbenchError(
            f"{path}: {entry.name} is a link, which data archives have no need of; do not trust this file"
        )
    return entry.isfile()


def _check_inside(name: str, path: Path) -> None:
    parts = PurePosixPath(name.replace("\\", "/"))
    if parts.is_absolute() or ".." in parts.parts or re.match(r"[A-Za-z]:", name) or "\0" in name:
        raise VbenchError(f"{path}: {name} leads out of the archive; do not trust this file")
