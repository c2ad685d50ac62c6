"""Downloads that resume, are verified, and never look finished before they are.

What has arrived waits in `NAME.part` beside the target, also from one run to the next; `NAME.part.json` says which
version of the file on the server it is a part of.
"""

import ast
import base64
import email.utils
import hashlib
import http.client
import json
import os
import re
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache
from html.parser import HTMLParser
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urljoin, urlsplit, urlunsplit

from vbench_ctl import __version__, files
from vbench_ctl.errors import VbenchError
from vbench_ctl.progress import progress

TIMEOUT_SECONDS = 30.0
ATTEMPTS = 5
BACK_OFF_SECONDS = 1.0  # doubled with each attempt
LONGEST_WAIT_SECONDS = 300  # a server that asks for more has no time for us today
INDEX = "https://pypi.org/simple"  # pip's own default
_SLOWEST = 1000  # bytes a second; what comes slower will not come
_WORTHWHILE = 1 << 20  # an attempt that brought this many bytes more than any before does not count as failed
_BLOCK = 1 << 20
_MEGABYTE = 1_000_000
_LARGEST_PAGE = 50_000_000  # of a package index
_BUSY = (429, 503)
_PASSING = (408, 500, 502, 504, *_BUSY)
_BUNDLES = ("PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")  # SSL_CERT_FILE is Python's own
_PAGE = re.compile(rb"\s*<(!doctype html|html)", re.IGNORECASE)
_Result = TypeVar("_Result")


def fetch(
    url: str,
    target: Path,
    sha256: str | None = None,
    size: int | None = None,
    *,
    timeout: float = TIMEOUT_SECONDS,
    opener: urllib.request.OpenerDirector | None = None,
    token: str = "",
    stop: threading.Event | None = None,
) -> Path:
    """Bring the file at `url` to `target` and return that; after a break, the next call takes up where this one ended.

    `token` is shown to this server alone; when another thread sets `stop`, what has arrived is kept and Stopped raised.
    """
    if urlsplit(url).scheme not in ("http", "https"):
        raise VbenchError(f"{_shown(url)}: not an address of http or https; fetch the file by hand")
    with files.explained(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with alone(target):
            if target.is_file() and (sha256 is None or digest(target) == sha256):
                return target  # by an earlier run, or by the one this one waited for
            download = _Download(url, target, sha256, size, timeout, opener or _opener(), token, stop)
            _patiently(url, download.attempt)
            os.replace(download.part, target)
            download.origin.unlink(missing_ok=True)
    return target


def fetch_from_index(package: str, archive: str, sha256: str, folder: Path) -> Path:
    """Bring a file of a package from the index that pip uses to `folder`; nothing of it is unpacked, built or run.

    `pip download` would run the build script of a source archive to learn its name.
    """
    target = folder / archive
    if target.is_file() and digest(target) == sha256:
        return target
    settings = _pip_settings()
    opener = _opener(settings.get("cert"), settings.get("proxy"))
    failures = []
    for index in (settings.get("index-url", INDEX), *settings.get("extra-index-url", "").split()):
        if urlsplit(index).scheme not in ("http", "https"):
            continue
        try:
            links = _links(f"{index.rstrip('/')}/{_normal(package)}/", opener)
            if archive in links:
                return fetch(links[archive], target, sha256, opener=opener)
            failures.append(f"{_shown(index)} has no {archive}")
        except VbenchError as error:
            failures.append(str(error))
    raise VbenchError("; ".join(failures) or f"{archive}: pip is set to use no package index on the network")


def digest(path: Path) -> str:
    """Read a file, showing the progress, and return its SHA-256 in hexadecimal."""
    state = hashlib.sha256()
    with open(path, "rb") as file, megabytes(f"verify {path.name}", 0, path.stat().st_size) as advance:
        while block := file.read(_BLOCK):
            state.update(block)
            advance(len(block))
    return state.hexdigest()


class WrongHash(VbenchError):
    """The file came, but it is not the one that was meant; `found` is the SHA-256 it has."""

    def __init__(self, text: str, found: str) -> None:
        super().__init__(text)
        self.found = found


class Stopped(Exception):
    """Somebody set `stop`."""


class About(NamedTuple):
    """What a server says about a file before it is fetched."""

    size: int | None
    version: str  # ETag or date; empty where it promises nothing


def about(url: str) -> About:
    """Ask a server for the size and version of a file."""

    def attempt() -> About:
        with _response(url, {"Range": "bytes=0-0"}, TIMEOUT_SECONDS, _opener()) as response:
            size = _total(response) if response.status == 206 else _length(response)
            return About(size, _version(response))

    return _patiently(url, attempt)


class _Trouble(Exception):
    """What may pass. `cost` is how many attempts it uses up, `wait` what the server asked for, in seconds."""

    def __init__(self, text: str, cost: int = 1, wait: float = 0):
        super().__init__(text)
        self.cost, self.wait = cost, wait


def _patiently(url: str, attempt: Callable[[], _Result]) -> _Result:
    """Try until it works, waiting longer each time, or say what the last trouble was."""
    left, pause = ATTEMPTS, BACK_OFF_SECONDS
    while True:
        try:
            return attempt()
        except _Trouble as trouble:
            left -= trouble.cost
            if left <= 0 or trouble.wait > LONGEST_WAIT_SECONDS:
                mend = "what has arrived is kept: run it again later, or check the network and proxy"
                raise VbenchError(f"{_shown(url)}: {trouble}; {mend}") from trouble
            _sleep(max(pause, trouble.wait))
            pause *= 2 if trouble.cost else 1


def _sleep(seconds: float) -> None:
    time.sleep(seconds)


@dataclass
class _Download:
    url: str
    target: Path
    sha256: str | None
    size: int | None
    timeout: float
    opener: urllib.request.OpenerDirector
    token: str
    stop: threading.Event | None
    longest: int = 0  # bytes that the part has ever had

    def __post_init__(self) -> None:
        self.longest = self.arrived

    @property
    def arrived(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    @property
    def part(self) -> Path:
        return self.target.with_name(f"{self.target.name}.part")

    @property
    def origin(self) -> Path:
        return self.target.with_name(f"{self.target.name}.part.json")

    def attempt(self) -> None:
        """Complete the part file and verify it, or raise; what brings the end nearer is no failed attempt."""
        try:
            self._complete()
        except _Trouble as trouble:
            if self.arrived >= self.longest + _WORTHWHILE:
                trouble.cost = 0
            self.longest = max(self.longest, self.arrived)
            raise

    def _complete(self) -> None:
        held = self._resumable()
        self._receive(held)
        if self.sha256 is None or (found := digest(self.part)) == self.sha256:
            return
        self._discard()
        if held:
            raise _Trouble("the parts do not fit together")
        raise WrongHash(
            f"{self.target.name}: SHA-256 {found[:8]}... is not the expected {self.sha256[:8]}...; "
            f"{_shown(self.url)} has changed or sends another file: fetch it from elsewhere and add it by hand",
            found,
        )

    def _resumable(self) -> int:
        """Return how many bytes are there to build upon."""
        held = self.arrived
        if held and (self.sha256 or self._known_version()):  # one of them tells whether the parts fit
            return held
        self._discard()
        return 0

    def _known_version(self) -> str:
        """Return the ETag or date under which this address gave the part."""
        origin = files.read_json(self.origin) if self.origin.exists() else {}
        return origin.get("version", "") if origin.get("url") == _shown(self.url) else ""

    def _discard(self) -> None:
        self.part.unlink(missing_ok=True)
        self.origin.unlink(missing_ok=True)

    def _receive(self, held: int) -> None:
        headers = {"Range": f"bytes={held}-"} if held else {}
        if held and self._known_version():
            headers["If-Range"] = self._known_version()
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        with _response(self.url, headers, self.timeout, self.opener) as response:
            if response.status == 416:
                return self._finish(held, _total(response))
            if response.status == 206:
                self._check_part(response, held)
            else:
                held = 0
            length = _length(response)
            total = None if length is None else held + length
            blocks = _blocks(response, self.timeout)
            first = next(blocks, b"")
            if not held and self.target.suffix not in (".html", ".htm") and _is_page(response, first):
                raise VbenchError(
                    f"{_shown(self.url)}: answers with a web page, expected the file {self.target.name}; "
                    "it may ask to sign in or to confirm: open it in a browser and save the file by hand"
                )
            if self.size is not None and total not in (None, self.size):
                raise self._wrong_size(total)
            if not held:
                self._discard()
                files.write_json(self.origin, {"url": _shown(self.url), "version": _version(response)})
            self._write(chain([first], blocks), held, total or self.size)

    def _check_part(self, response: Any, held: int) -> None:
        """Refuse a part that continues something else; not every server heeds If-Range."""
        known, sent = self._known_version(), _version(response)
        if _start(response) != held or (known and sent and known != sent):
            self._discard()
            raise _Trouble("the server sent another part than asked for")

    def _write(self, blocks: Iterable[bytes], held: int, total: int | None) -> None:
        with megabytes(self.target.name, held, total) as advance, open(self.part, "ab" if held else "wb") as file:
            for block in blocks:
                file.write(block)
                advance(len(block))
                if self.stop and self.stop.is_set():
                    raise Stopped
            arrived = file.tell()
        if total is not None and arrived < total:
            raise _Trouble(f"the connection broke after {arrived} of {total} bytes")
        if total is not None and arrived > total:
            self._discard()
            raise self._wrong_size(arrived)

    def _finish(self, held: int, total: int | None) -> None:
        """Judge a part that the server has nothing to add to."""
        if held != (total or self.size):
            self._discard()
            raise _Trouble("the server has less than there is already")

    def _wrong_size(self, total: int | None) -> VbenchError:
        return VbenchError(
            f"{self.target.name}: {_shown(self.url)} has {total} bytes, expected {self.size}; "
            "the file was replaced there: fetch it from elsewhere and add it by hand"
        )


# One request, with everything that can go wrong sorted into what may pass (_Trouble) and what will not (VbenchError).


@contextmanager
def _response(
    url: str, headers: dict[str, str], timeout: float, opener: urllib.request.OpenerDirector
) -> Iterator[Any]:
    """Open an address; statuses 200, 206 and 416 come back as a response."""
    where = _shown(url)
    try:
        response = opener.open(_request(url, headers), timeout=timeout)
    except HTTPError as error:
        if error.code != 416:
            raise _explained(error, where) from error
        response = error
    except (OSError, http.client.HTTPException) as error:
        reason = error.reason if isinstance(error, URLError) else error
        if isinstance(reason, socket.gaierror):
            raise VbenchError(f"{where}: the server's name is not found ({reason}); check the network") from error
        if isinstance(reason, ssl.SSLCertVerificationError):
            mend = "set SSL_CERT_FILE to your network's certificates"
            raise VbenchError(f"{where}: its certificate is not trusted ({reason.verify_message}); {mend}") from error
        raise _Trouble(f"no answer ({reason})", cost=ATTEMPTS // 2 + 1) from error  # two tries are enough
    with response:
        yield response


def _explained(error: HTTPError, where: str) -> Exception:
    if error.code in _PASSING:
        wait = _asked_wait(error.headers)
        asks = f" and asks for {wait:.0f} seconds of patience" if wait else ""
        return _Trouble(f"the server answers {error.code} {error.reason}{asks}", wait=wait)
    if error.code in (401, 403, 407):
        return VbenchError(f"{where}: the server refuses ({error.code}); ask for access, or fetch the file by hand")
    if 300 <= error.code < 400:
        reason = error.reason.partition("\n")[0]
        return VbenchError(f"{where}: sends on to nowhere good ({reason}); fetch the file by hand")
    return VbenchError(f"{where}: not there ({error.code} {error.reason}); fetch the file from elsewhere")


def _asked_wait(headers: Any) -> float:
    """Return the seconds of a Retry-After header, which holds seconds or a date."""
    text = headers.get("Retry-After", "").strip()
    if text.isdecimal():
        return float(text)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return 0.0


def _blocks(response: Any, timeout: float) -> Iterator[bytes]:
    """Yield what arrives; a server that only drips is given up."""
    since, arrived = time.monotonic(), 0
    while True:
        try:
            block = response.read1(_BLOCK)
        except (OSError, http.client.HTTPException) as error:
            raise _Trouble(f"the connection broke ({error})") from error
        if not block:
            return
        yield block
        arrived += len(block)
        if (elapsed := time.monotonic() - since) > timeout:
            if arrived < _SLOWEST * elapsed:
                raise _Trouble(f"only {arrived} bytes came in {elapsed:.0f} seconds")
            since, arrived = time.monotonic(), 0


def _request(url: str, headers: dict[str, str]) -> urllib.request.Request:
    headers = {"User-Agent": f"vbench-ctl/{__version__}", **headers}
    proof = headers.pop("Authorization", "")
    if login := _login(url):
        proof = "Basic " + base64.b64encode(login.encode()).decode()
    request = urllib.request.Request(_shown(url), headers=headers)
    if proof:  # a redirection to elsewhere must not take it along
        request.add_unredirected_header("Authorization", proof)
    return request


def _login(url: str) -> str:
    return unquote(urlsplit(url).netloc.rpartition("@")[0])


def _shown(url: str) -> str:
    """Return an address without the name and password in it."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a few redirections, never from https to something weaker."""

    max_redirections = 8

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        scheme = urlsplit(newurl).scheme
        if scheme != "https" and (scheme != "http" or req.type == "https"):
            raise VbenchError(f"{req.full_url}: sends on to {newurl}, which is not secure; fetch the file by hand")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener(bundle: str | None = None, proxy: str | None = None) -> urllib.request.OpenerDirector:
    """Make what opens addresses: with the proxies of the environment, and every certificate the user trusts."""
    bundles = {bundle, *(os.environ.get(name) for name in _BUNDLES)} - {None, "", os.environ.get("SSL_CERT_FILE")}
    context = _trusting(frozenset(path for path in bundles if path and Path(path).is_file()))
    handlers: list[Any] = [urllib.request.HTTPSHandler(context=context), _Redirects]
    if proxy:
        handlers.append(urllib.request.ProxyHandler({"http": proxy, "https": proxy}))
    return urllib.request.build_opener(*handlers)


@cache  # reading certificates takes a while
def _trusting(bundles: frozenset[str]) -> ssl.SSLContext:
    context = ssl.create_default_context()
    for path in bundles:
        context.load_verify_locations(path)
    return context


def _start(response: Any) -> int | None:
    found = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return int(found[1]) if found else None


def _total(response: Any) -> int | None:
    """Return the size of the whole file that an answer about a part of it tells."""
    found = re.match(r"bytes [^/]*/(\d+)", response.headers.get("Content-Range", ""))
    return int(found[1]) if found else None


def _length(response: Any) -> int | None:
    length = response.headers.get("Content-Length", "").strip()
    return int(length) if length.isdecimal() else None


def _version(response: Any) -> str:
    version = response.headers.get("ETag") or response.headers.get("Last-Modified") or ""
    return "" if version.startswith("W/") else version  # a weak ETag does not promise the same bytes


def _is_page(response: Any, block: bytes) -> bool:
    return response.headers.get_content_type() == "text/html" or looks_like_page(block)


def looks_like_page(beginning: bytes) -> bool:
    """Tell whether a file that begins so is a web page."""
    return _PAGE.match(beginning) is not None


@contextmanager
def megabytes(label: str, held: int, total: int | None) -> Iterator[Callable[[int], None]]:
    """Show progress in whole megabytes; without a known end there is none to show."""
    arrived = held
    shown = progress(label, (total or 0) // _MEGABYTE, "MB", held // _MEGABYTE) if total else nullcontext(None)
    with shown as advance:

        def add(size: int) -> None:
            nonlocal arrived
            whole = (arrived + size) // _MEGABYTE - arrived // _MEGABYTE
            arrived += size
            if advance and whole:
                advance(whole)

        yield add


@contextmanager
def alone(target: Path) -> Iterator[None]:
    """Hold `target` for this process; a second one waits until the first is done."""
    import fcntl

    with open(target.with_name(f".{target.name}.lock"), "a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"{target}: another process is fetching it; waiting for that", file=sys.stderr)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


# The package index, by its "simple" interface: a page of links for each package (PEP 503), or the same as JSON (PEP 691).


def _pip_settings() -> dict[str, str]:
    """Return what pip's files and environment say about the index; pip itself need not be there."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    found: dict[str, str] = {}
    for scope in ("global", "download"):  # the narrower one wins
        for key, value in re.findall(rf"^{scope}\.([\w-]+)=(.*)$", listed, re.MULTILINE):
            found[key] = str(ast.literal_eval(value))
    environment = {key[4:].lower().replace("_", "-"): text for key, text in os.environ.items() if key[:4] == "PIP_"}
    return found | {key: text for key, text in environment.items() if text}


def _normal(package: str) -> str:
    return re.sub(r"[-_.]+", "-", package).lower()


def _links(url: str, opener: urllib.request.OpenerDirector) -> dict[str, str]:
    """Return the addresses of a package's files by name."""
    wanted = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"

    def attempt() -> tuple[str, bytes, str]:
        with _response(url, {"Accept": wanted}, TIMEOUT_SECONDS, opener) as response:
            page = b""
            for block in _blocks(response, TIMEOUT_SECONDS):
                page += block
                if len(page) > _LARGEST_PAGE:
                    raise VbenchError(
                        f"{_shown(url)}: the page is larger than any package index has; check the address"
                    )
            return response.headers.get_content_type(), page, response.geturl()

    kind, page, place = _patiently(url, attempt)
    try:
        text = page.decode()
        listed = _json_links(text) if kind.endswith("json") else _html_links(text)
    except (ValueError, KeyError, TypeError) as error:
        raise VbenchError(f"{_shown(url)}: not a page of a package index ({error}); check pip's index-url") from error
    return {name: _with_login(urljoin(place, link), url) for name, link in listed.items()}


def _json_links(text: str) -> dict[str, str]:
    return {file["filename"]: file["url"] for file in json.loads(text)["files"]}


def _html_links(text: str) -> dict[str, str]:
    reader = _Anchors()
    reader.feed(text)
    return reader.links


class _Anchors(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.links: dict[str, str] = {}
        self.link = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.link = (dict(attrs).get("href") or "").partition("#")[0]

    def handle_data(self, data: str) -> None:
        if self.link and data.strip():
            self.links[data.strip()] = self.link
            self.link = ""


def _with_login(link: str, index: str) -> str:
    """Give a file the login of its index when both are on the same server."""
    parts, login = urlsplit(link), urlsplit(index).netloc.rpartition("@")[0]
    if login and parts.hostname == urlsplit(index).hostname:
        return urlunsplit(parts._replace(netloc=f"{login}@{parts.netloc}"))
    return link
