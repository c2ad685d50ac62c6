"""Bring the files that a dataset is read from to VBENCH_HOME/archives/DATASET, as its card says, or take the user's own.

Every file has a SHA-256: the card's, or else the one it had when it first came, kept in VBENCH_HOME/locks/sources.json.
"""

import glob
import json
import re
import shlex
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from vbench_ctl import archives, files, hashes, hosts
from vbench_ctl.errors import ManualStep, UsageError, VbenchError
from vbench_ctl.fetch import Stopped, WrongHash

KINDS = ("http", "gdrive", "dropbox", "hf", "youtube", "manual")
PER_HOST = 2  # files at a time, over all processes
ANNEX_BYTES = 16_000_000  # a pinned file up to this size is an annex: it also comes when the user gives the archive
_PATIENCE_SECONDS = 2  # for threads to end after Ctrl-C

Source = dict[str, Any]  # name, url, size, sha256, obtained, how


class Item(NamedTuple):
    """One file that a dataset is read from."""

    name: str
    target: Path
    kind: str
    origin: str
    size: int | str  # bytes, or "unknown"
    state: str  # "there", "partly (n bytes)", "missing", "given" or "by hand"
    needed: int = 0  # bytes on this disk that are still to come: downloaded, and unpacked into the cache


@dataclass(frozen=True)
class _File:
    """One [[file]] of a card."""

    dataset: str
    name: str  # and its key in the lock
    target: Path
    root: Path | None
    kind: str = "http"
    urls: tuple[str, ...] = ()
    size: int | None = None
    sha256: str | None = None
    format: str = hosts.YOUTUBE_FORMAT
    help: str = ""
    layouts: str = ""
    annex: bool = False
    lock: bool = True  # whether its hash must stay what it was
    words: tuple[str, ...] = ()  # of the command that wants it: its options
    own: bool = False  # a file of the user's own under a name of its own: the lock knows it as it came last

    @property
    def is_there(self) -> bool:
        if self.kind == "manual" and self.target.is_dir():
            return True
        return self.target.is_file() and self.size in (None, self.target.stat().st_size)

    @property
    def is_locked(self) -> bool:
        return self.lock and not self.target.is_dir()  # what a user keeps in a folder is the user's to change

    @property
    def parts(self) -> list[Path]:
        """Return what there is while it is not whole."""
        return list(self.target.parent.glob(f"{glob.escape(self.target.name)}.part*"))

    @property
    def arrived(self) -> int:
        data = [path for path in self.parts if path.suffix not in (".json", ".aria2", ".ytdl")]
        return max((hosts.arrived(path) for path in data), default=0)

    @property
    def needed(self) -> int:
        """Return how many bytes are still to come, as far as they are known."""
        coming = 0 if self.is_there else max(0, (self.size or 0) - self.arrived)
        return coming + archives.to_unpack(self.target, self.root, self.size or 0)

    @property
    def state(self) -> str:
        if self.is_there:
            return "there"
        if self.kind == "manual":
            return "by hand"
        return f"partly ({self.arrived} bytes)" if self.arrived else "missing"


def plan(
    dataset: str,
    card: dict[str, Any],
    splits: Sequence[str],
    root: Path | None,
    given: Sequence[Path] = (),
    options: Mapping[str, Any] | None = None,
) -> list[Item]:
    """Say which files the splits are read from and what is there of them; the network is not asked.

    `options` are the dataset's: an entry of the card may be for some values of them only.
    """
    matched, left = _divide(_wanted(dataset, card, splits, root, options), given)
    own = [
        Item(
            name=path.name,
            target=path,
            kind="manual",
            origin="your own",
            size=path.stat().st_size if path.is_file() else "unknown",
            state="given",
            needed=archives.to_unpack(path, root) if file else 0,
        )
        for path, file in matched.items()
    ]
    return own + [
        Item(
            name=file.name,
            target=file.target,
            kind=file.kind,
            origin=hosts.page(file.urls[0]) if file.urls else "by hand",
            size=file.size or "unknown",
            state=file.state,
            needed=file.needed,
        )
        for file in left
    ]


def fetch(
    dataset: str,
    card: dict[str, Any],
    splits: Sequence[str],
    root: Path | None,
    given: Sequence[Path] = (),
    cookies: str | None = None,
    rate: str | None = None,
    options: Mapping[str, Any] | None = None,
    words: Sequence[str] = (),
    in_part: bool = False,
) -> archives.Archive:
    """Bring every file that the splits need here and return them, verified; `given` paths stand for the card's archives.

    `cookies` is a browser whose login YouTube is shown, or a cookies.txt; `rate` limits YouTube, such as "2M".
    `words` are the options of the command, which errors advise to run. Of files of the user's own that are read `in_part`
    only, names, sizes and times must do for a hash.
    """
    matched, left = _divide(_wanted(dataset, card, splits, root, options, words), given)
    if by_hand := [file for file in left if file.state == "by hand"]:
        raise _manual_step(by_hand)
    _check_space(left)
    sources = [_take(path, file, dataset, root, in_part) for path, file in matched.items()]
    stop = threading.Event()
    sources += _together([partial(_bring, file, stop, cookies, rate) for file in left], stop)
    paths = (*matched, *(file.target for file in left))
    return archives.Archive(paths, root, tuple(sorted(sources, key=lambda source: source["name"])), cookies, rate)


def fetch_one(
    url: str,
    target: Path,
    *,
    dataset: str,
    root: Path | None = None,
    format: str = hosts.YOUTUBE_FORMAT,
    cookies: str | None = None,
    rate: str | None = None,
    lock: bool = True,
) -> Source:
    """Bring one file of a list too long for a card to `target`; return its name, url, size, sha256 and date.

    Worker processes may call it; the lock knows such a file by its address. Without `lock` any hash is good.
    """
    if not hosts.known(url):
        raise VbenchError(f"{url}: not an address that files are fetched from; expected http, gdrive, hf or youtube")
    file = _File(dataset, url, target, root, urls=(url,), format=format, lock=lock)
    return _bring(file, threading.Event(), cookies, rate)


# The card


def _wanted(
    dataset: str,
    card: dict[str, Any],
    splits: Sequence[str],
    root: Path | None,
    options: Mapping[str, Any] | None,
    words: Sequence[str] = (),
) -> list[_File]:
    """Read the entries of a card that these splits and options need."""
    folder = files.home(root) / "archives" / dataset
    needed = [_file(dataset, folder, root, entry) for entry in card["file"] if _needed(entry, splits, options)]
    return [replace(file, words=tuple(words)) for file in needed]


def _needed(entry: dict[str, Any], splits: Sequence[str], options: Mapping[str, Any] | None) -> bool:
    if entry.get("splits") and not set(entry["splits"]) & set(splits):
        return False
    return options is None or all(options.get(key) == value for key, value in entry.get("options", {}).items())


def _file(dataset: str, folder: Path, root: Path | None, entry: dict[str, Any]) -> _File:
    name, kind, urls = entry.get("name", ""), entry.get("kind", "http"), entry.get("urls", [])
    wrong = [url for url in urls if not hosts.known(url)]
    if not name or Path(name).name != name:
        raise VbenchError(f'card of {dataset}: "{name}" is no name for a file; mend the card')
    if kind not in KINDS:
        raise VbenchError(f'card of {dataset}: {name} has kind "{kind}", expected one of {", ".join(KINDS)}')
    if wrong or (kind != "manual" and not urls):
        raise VbenchError(
            f"card of {dataset}: {name} has {wrong[0] if wrong else 'no urls'}, expected http:, gdrive: ..."
        )
    size, sha256 = (None if entry.get(key) == "unknown" else entry.get(key) for key in ("size", "sha256"))
    return _File(
        dataset=dataset,
        name=name,
        target=folder / name,
        root=root,
        kind=kind,
        urls=tuple(hosts.from_dropbox(url) if kind == "dropbox" else url for url in urls),
        size=size,
        sha256=sha256,
        format=entry.get("format", hosts.YOUTUBE_FORMAT),
        help=entry.get("help", ""),
        layouts=entry.get("layouts", ""),
        annex=entry.get("annex", bool(kind == "http" and sha256 and (size or 0) <= ANNEX_BYTES)),
    )


def _divide(wanted: Sequence[_File], given: Sequence[Path]) -> tuple[dict[Path, _File | None], list[_File]]:
    """Match given files with the entries of their names; any other path stands for all entries but the annex files.

    Of those it may hold some as well.
    """
    for path in given:
        if not path.exists():
            raise VbenchError(f"{path}: not there; give a file or folder that is")
    named = {file.name: file for file in wanted}
    matched = {path: named.get(path.absolute().name) for path in given}
    left = [file for file in wanted if file not in matched.values()]
    own = [path for path, file in matched.items() if file is None]
    if not own:
        return matched, left
    annex = [file for file in left if file.annex]
    held = _held([path for path in own if path.is_dir()], [file for file in annex if not file.is_there])
    return {**matched, **held}, [file for file in annex if file not in held.values()]


def _held(folders: Sequence[Path], wanted: Sequence[_File]) -> dict[Path, _File]:
    """Return which of these files lie in folders, at any depth."""
    there = {each.path.name: each for folder in folders for each in archives.members(folder)} if wanted else {}
    found = ((there.get(file.name), file) for file in wanted)
    return {each.place: file for each, file in found if each and file.size in (None, each.size)}


def _manual_step(wanted: Sequence[_File]) -> ManualStep:
    """Explain in one paragraph what only the user can do."""
    dataset, names = wanted[0].dataset, [file.name for file in wanted]
    helps = dict.fromkeys(f"{file.help.strip().rstrip('.')}." for file in wanted if file.help)
    layouts = dict.fromkeys(f"--archive takes {file.layouts.strip().rstrip('.')}." for file in wanted if file.layouts)
    text = " ".join(" ".join([*helps, *layouts]).split()) or "No program can download it."
    return ManualStep(
        f"{dataset} needs {', '.join(names)}, which only you can get: {text} Then run: {_command(wanted[0], names)}"
    )


def _command(file: _File, names: Sequence[str]) -> str:
    place = ["--root", str(file.root)] if file.root else []
    return shlex.join(["vbench-ctl", "prepare", file.dataset, *file.words, *place, "--archive", *names])


def _check_space(wanted: Sequence[_File]) -> None:
    needed = sum(file.needed for file in wanted)
    if not needed:
        return
    folder = wanted[0].target.parent
    with files.explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
    files.check_space(folder, needed, "are to be downloaded and unpacked", "free some space or choose another --root")


# One file


def _take(path: Path, file: _File | None, dataset: str, root: Path | None, in_part: bool) -> Source:
    """Note what the user gave; a file with the name of one of the card must be that one."""
    own = _File(dataset, path.absolute().name, path, root, kind="manual", own=True)
    given = replace(file, target=path, kind="manual") if file else own
    if in_part and not file and path.is_file():
        how = "by hand, read in part (hash of name, size and time)"
        return {
            "name": given.name,
            "url": "",
            "size": _size(path),
            "sha256": hashes.listing(path),
            "obtained": _now(),
            "how": how,
        }
    found = _identity(path, root)
    if found != (given.sha256 or _locked(given).get("sha256", found)):
        raise _refusal(given, found, "", "; or rename it to have it used as it is")
    return _record(given, "", found)


def _identity(path: Path, root: Path | None) -> str:
    return hashes.listing(path) if path.is_dir() else hashes.digest(path, root)


def _size(path: Path) -> int:
    return sum(each.size for each in archives.members(path)) if path.is_dir() else path.stat().st_size


def _how(path: Path, url: str) -> str:
    return (
        "download" if url else "by hand, as a folder (hash of names, sizes and times)" if path.is_dir() else "by hand"
    )


def _bring(file: _File, stop: threading.Event, cookies: str | None = None, rate: str | None = None) -> Source:
    """Make sure that a file is at hand and the right one: from the first address that works."""
    expected = file.sha256 or _locked(file).get("sha256")
    if file.is_there:
        found = _identity(file.target, file.root)
        if expected in (None, found):
            return _record(file, "", found)
        if file.kind == "manual" or not file.sha256:
            raise _refusal(file, found, "")
        print(f"{file.target}: SHA-256 {found[:8]}... is wrong; fetching it again", file=sys.stderr)
    file.target.unlink(missing_ok=True)
    wanted = hosts.Wanted(file.target, expected, file.size, file.format, cookies, rate, stop)
    failures: list[VbenchError] = []
    for url in file.urls:
        try:
            with files.explained(file.target), _slot(url, file.root, stop):
                hosts.bring(url, wanted)
        except WrongHash as error:
            failures.append(_refusal(file, error.found, url) if expected else error)
        except UsageError:
            raise
        except VbenchError as error:
            failures.append(error)
        else:
            return _settled(file, url, expected)
    raise _failure(file, failures)


def _settled(file: _File, url: str, expected: str | None) -> Source:
    """Note a file that has come."""
    for part in file.parts:
        part.unlink()
    if expected:
        hashes.remember(file.target, expected, file.root)
    return _record(file, url, expected or hashes.digest(file.target, file.root))


def _failure(file: _File, failures: Sequence[VbenchError]) -> VbenchError:
    manual = any(isinstance(error, ManualStep) for error in failures)
    hint = f'; what you have by hand is taken with "{_command(file, [file.target.name])}"'
    text = "; ".join(dict.fromkeys(map(str, failures))) + hint * (file.name == file.target.name)
    return ManualStep(text) if manual else VbenchError(text)


def _refusal(file: _File, found: str, url: str, instead: str = "") -> VbenchError:
    """Say that a file is another one than was published, or than came first."""
    text = f"{file.target.name}: SHA-256 {found[:8]}... of {hosts.page(url) if url else file.target} is not the"
    if file.sha256:
        mend = "it was cut short or has changed: fetch it from elsewhere"
        return VbenchError(f"{text} published {file.sha256[:8]}...; {mend}{instead}")
    first = _locked(file)
    return VbenchError(
        f"{text} {first['sha256'][:8]}... that came first ({first['obtained'][:10]}, {first['url'] or 'by hand'}); "
        f"if you trust the new one, take it out of {lock_path(file.root)}{instead}"
    )


# Several at once


def _together(jobs: Sequence[Callable[[], Source]], stop: threading.Event) -> list[Source]:
    """Do all jobs at the same time, to their end also when one fails; Ctrl-C stops them, and what has arrived is kept."""
    results: dict[int, Source] = {}
    failures: dict[int, BaseException] = {}

    def work(index: int) -> None:
        try:
            results[index] = jobs[index]()
        except BaseException as error:  # the main thread raises it
            failures[index] = error
            if isinstance(error, VbenchError) and len(results) + len(failures) < len(jobs):
                sys.stderr.write(f"{error}; the other files go on\n")

    threads = [threading.Thread(target=work, args=(index,), daemon=True) for index in range(len(jobs))]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    except BaseException:
        stop.set()
        until = time.monotonic() + _PATIENCE_SECONDS
        for thread in filter(threading.Thread.is_alive, threads):
            thread.join(max(0, until - time.monotonic()))
        raise
    if failures:
        raise failures[min(failures)]
    return [results[index] for index in range(len(jobs))]


@contextmanager
def _slot(url: str, root: Path | None, stop: threading.Event) -> Iterator[None]:
    """Hold one of the few places that the threads of all processes have at a server."""
    import fcntl

    folder = files.home(root) / "locks" / "hosts"
    folder.mkdir(parents=True, exist_ok=True)
    server, place = re.sub(r"[^a-z0-9.-]", "_", hosts.name(url)), 0
    while True:
        with open(folder / f"{server}.{place}", "a") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pass
            else:
                yield
                return
        place = (place + 1) % PER_HOST
        if stop.wait(0.1):
            raise Stopped


# The lock


def lock_path(root: Path | None = None) -> Path:
    """Return the file that knows what each source was when it first came."""
    return files.home(root) / "locks" / "sources.json"


def distrusted(broken: archives.Broken, dataset: str, root: Path | None) -> VbenchError:
    """Forget an archive that was broken when it first came, so that another one is taken, and say how to get that."""
    with suppress(OSError), files.changing(lock_path(root)) as lock:  # or it is not even there any more
        found, known = hashes.digest(broken.path, root), lock.get(dataset, {})
        for key in [key for key, entry in known.items() if entry["sha256"] == found]:
            del known[key]
    is_ours = files.home(root).absolute() in broken.path.absolute().parents
    return VbenchError(f"{broken}{': remove that file and run the same command' if is_ours else ''}")


def export_lock(root: Path | None, dataset: str) -> str:
    """Return what is known of a dataset's files as lines for its card."""
    entries = files.read_table(lock_path(root)).get(dataset, {})
    if not entries:
        raise VbenchError(f"{dataset}: {lock_path(root)} knows no file of it; download it first")
    return "\n".join(
        f"[[file]]\nname = {_toml(key)}\nurls = {_toml([entry['url']] if entry['url'] else [])}\n"
        f"size = {entry['size']}\nsha256 = {_toml(entry['sha256'])}\n"
        for key, entry in sorted(entries.items())
    )


def _toml(value: str | list[str]) -> str:
    return json.dumps(value, ensure_ascii=False)  # strings and lists of them look the same there


def _locked(file: _File) -> dict[str, Any]:
    if file.own or not file.is_locked:
        return {}
    return dict(files.read_table(lock_path(file.root)).get(file.dataset, {}).get(file.name, {}))


def _record(file: _File, url: str, sha256: str) -> Source:
    """Note what came, unless it has come before, and return the source as a manifest names it."""
    entry = _locked(file)
    new = {"url": url, "size": _size(file.target), "sha256": sha256, "obtained": _now()}
    if not file.is_locked:
        entry = new
    elif entry.get("sha256") != sha256:
        with files.changing(lock_path(file.root)) as lock:
            known = lock.setdefault(file.dataset, {})
            entry = known[file.name] = new if file.sha256 or file.own else known.get(file.name, new)
    if entry["sha256"] != sha256:  # another process was first, and got another file
        raise _refusal(file, sha256, url)
    return {"name": file.target.name, **entry, "how": _how(file.target, entry["url"])}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
