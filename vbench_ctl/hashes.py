"""SHA-256 of large files, computed once: VBENCH_HOME/cache/hashes.json knows each by its path, size and time."""

import hashlib
import os
import re
import time
from pathlib import Path

from vbench_ctl import archives, fetch, files

_SETTLED_SECONDS = 2  # a file changed more recently may change again within the resolution of its time


def digest(path: Path, root: Path | None = None) -> str:
    """Return the SHA-256 of a file; it is read again only when its size or time has changed."""
    seen = _seen(path)
    match files.read_table(_cache(root)).get(str(path.resolve())):
        case [size, changed, str(sha256)] if [size, changed] == seen and re.fullmatch("[0-9a-f]{64}", sha256):
            return sha256
    found = fetch.digest(path)
    if _seen(path) == seen:
        remember(path, found, root)
    return found


def remember(path: Path, sha256: str, root: Path | None = None) -> None:
    """Note a hash that is known already."""
    files.check_name(path.resolve())
    size, changed = _seen(path)
    if time.time_ns() - changed < _SETTLED_SECONDS * 1e9:
        return
    with files.changing(_cache(root)) as known:
        for gone in [key for key in known if not os.path.exists(key)]:
            del known[gone]
        known[str(path.resolve())] = [size, changed, sha256]


def listing(path: Path) -> str:
    """Return the SHA-256 of name, size and time of a file or of all in a folder: reading them could take hours."""
    found = archives.members(path) if path.is_dir() else [archives.Member(path.name, path.stat().st_size, path)]
    lines = (f"{each.name}\0{each.size}\0{each.place.stat().st_mtime_ns}\n" for each in found)
    return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def _seen(path: Path) -> list[int]:
    state = path.stat()
    return [state.st_size, state.st_mtime_ns]


def _cache(root: Path | None) -> Path:
    return files.home(root) / "cache" / "hashes.json"
