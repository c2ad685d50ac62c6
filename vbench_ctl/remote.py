"""Files at a URL, read where they are: https://, s3://, gs://, hf:// and whatever else fsspec knows."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from vbench_ctl.errors import UsageError, VbenchError

Result = TypeVar("Result")

# What pip installs for a protocol; fsspec names its packages only in sentences.
PACKAGES = {
    "s3": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "hf": "huggingface_hub",
    "http": "aiohttp requests",
    "https": "aiohttp requests",
    "abfs": "adlfs",
    "az": "adlfs",
    "sftp": "paramiko",
    "ssh": "paramiko",
}
BLOCK = 256 << 10  # what one request brings at the least; a 16-frame window at 64x64 lies in one or two
BLOCKS = 16  # of each open file that are kept between reads
REQUEST = 32  # blocks of one request at the most


def is_url(path: Any) -> bool:
    """Tell a URL from a path."""
    return isinstance(path, str) and "://" in path


@dataclass(frozen=True)
class Url:
    """A folder or file at a URL, with what reading a store needs of pathlib's face; it may be passed to worker processes."""

    address: str
    inside: str = ""

    def __str__(self) -> str:
        return f"{self.address}/{self.inside}" if self.inside else self.address

    def __truediv__(self, name: str) -> "Url":
        return Url(self.address.rstrip("/"), f"{self.inside}/{name}" if self.inside else name)

    @property
    def name(self) -> str:
        return str(self).rstrip("/").rpartition("/")[2]

    def is_file(self) -> bool:
        """Tell whether it can be read; only a missing file is a no."""
        return self._read(0, 1) is not None

    def read_text(self, encoding: str = "utf-8") -> str:
        data = self._read()
        if data is None:
            raise FileNotFoundError(f"{self} is not there")
        return data.decode(encoding)

    def open(self) -> Any:
        """Open it for reading ranges of it, each by a request of its own."""
        filesystem, path = self._place()
        return filesystem.open(path, "rb", cache_type="none")

    def _read(self, start: int | None = None, end: int | None = None) -> bytes | None:
        filesystem, path = self._place()
        try:
            return filesystem.cat_file(path, start=start, end=end)
        except FileNotFoundError:
            return None
        except Exception as error:  # each protocol has its own
            raise VbenchError(
                f"{self}: cannot be read ({_brief(error)}); check the address, the network and your access to it"
            ) from error

    def _place(self) -> tuple[Any, str]:
        """Return the file system and the path in it; fsspec keeps one per process and thread."""
        import fsspec

        protocol = self.address.partition("::")[0].partition("://")[0]
        try:
            filesystem, root = fsspec.core.url_to_fs(self.address)
        except ImportError as error:
            package = PACKAGES.get(protocol)
            remedy = f"run: pip install {package}" if package else _brief(error)
            raise VbenchError(f"{self}: what reads {protocol}:// is not installed; {remedy}") from error
        except Exception as error:
            raise UsageError(f"{self}: cannot be opened ({_brief(error)}); expected a URL that fsspec knows") from error
        return filesystem, f"{root.rstrip('/')}/{self.inside}" if self.inside else root


def located(folder: str | Path | Url) -> Path | Url:
    """Take a folder's path or URL as what it is."""
    if isinstance(folder, Url):
        return folder
    return Url(str(folder)) if is_url(folder) else Path(folder)


class Parts(io.RawIOBase):
    """A remote file as HDF5 reads it. What is not there yet fails, and `complete` fetches it and tries again.

    Nothing is fetched while HDF5 waits: h5py holds a lock then, which a garbage collection in fsspec's thread may want.
    """

    def __init__(self, url: Url):
        self._url = url
        self._file: Any = None
        self._size = self._at = 0
        self._blocks: dict[int, bytes] = {}
        self._missing: range | None = None  # blocks that HDF5 asked for in vain
        self._ahead, self._end = 1, -1  # blocks of the last request, and where it ended

    def complete(self, function: Callable[[], Result]) -> Result:
        """Return function(), which reads this file by HDF5, after fetching whatever it needs."""
        while True:
            failure, self._missing = None, None
            try:
                result = function()
            except Exception as error:
                failure = error
            if self._missing is not None:
                self._fetch(self._missing)
            elif failure:
                raise failure
            else:
                self._blocks = dict(list(self._blocks.items())[-BLOCKS:])
                return result

    def _fetch(self, blocks: range) -> None:
        """Bring the first of the blocks that is not there, and the more after it the longer they follow each other."""
        first = next(block for block in blocks if block not in self._blocks)
        self._ahead = min(2 * self._ahead, REQUEST) if first == self._end else 1
        self._end = first + max(blocks.stop - first, self._ahead)
        try:
            self._file.seek(first * BLOCK)
            data = self._file.read(min(self._end * BLOCK, self._size) - first * BLOCK)
        except Exception as error:  # each protocol has its own
            raise OSError(_brief(error)) from error
        for at in range(0, len(data), BLOCK):
            self._blocks[first + at // BLOCK] = data[at : at + BLOCK]
        if first not in self._blocks:
            raise OSError("the server sent nothing")

    def open(self) -> "Parts":
        """Ask for the file's size."""
        if self._file is None:
            try:
                self._file = self._url.open()
                self._size = self._file.seek(0, io.SEEK_END)
            except VbenchError:
                raise
            except Exception as error:
                raise OSError(_brief(error)) from error
        return self

    # What HDF5 calls

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def readinto(self, buffer: Any) -> int:
        size = len(buffer)
        blocks = range(self._at // BLOCK, -(-min(self._at + size, self._size) // BLOCK))
        if any(block not in self._blocks for block in blocks):
            self._missing = blocks
            raise OSError("not fetched yet")
        data = b"".join(self._blocks[block] for block in blocks)[self._at % BLOCK :][:size]
        if len(data) < size:  # HDF5 would take what is in its memory for the rest
            raise OSError("the file is cut short")
        buffer[:] = data
        self._at += size
        return size


def _brief(error: Exception) -> str:
    return " ".join(f"{type(error).__name__} {error}".split())
