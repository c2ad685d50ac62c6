"""The places that files of datasets come from: the web, Google Drive, Dropbox, the Hugging Face hub and YouTube.

An address begins with http:, https:, gdrive:ID, hf:OWNER/NAME/PATH or youtube:ID. What has arrived of a file waits beside
it under its name and `.part...`, also from one run to the next.
"""

import importlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from vbench_ctl import fetch, files
from vbench_ctl.errors import ManualStep, UsageError, VbenchError
from vbench_ctl.fetch import Stopped, WrongHash

PARALLEL_BYTES = 100_000_000  # from this size on aria2c is worth its start
CONNECTIONS = 4  # of aria2c to one server
YOUTUBE_FORMAT = "137"  # 1080p H.264 without sound
YOUTUBE_PAUSE_SECONDS = 5.0


@dataclass(frozen=True)
class Wanted:
    """A file that shall come, and how."""

    target: Path
    sha256: str | None = None
    size: int | None = None
    format: str = YOUTUBE_FORMAT
    cookies: str | None = None  # BROWSER[:PROFILE] whose login YouTube is shown, or a cookies.txt
    rate: str | None = None  # limit for YouTube in bytes a second, such as "2M"
    stop: threading.Event = field(default_factory=threading.Event)  # set by another thread to end it all

    @property
    def name(self) -> str:
        return self.target.name

    def part(self, end: str = "") -> Path:
        return self.target.with_name(f"{self.name}.part{end}")


def bring(url: str, wanted: Wanted) -> None:
    """Bring a file to its target whole and verified, or raise."""
    wanted.target.parent.mkdir(parents=True, exist_ok=True)
    _WAYS[url.partition(":")[0]](url, wanted)


def known(url: str) -> bool:
    """Tell whether this is an address that can be fetched from."""
    return url.partition(":")[0] in _WAYS


def name(url: str) -> str:
    """Return the name of the server an address leads to."""
    return (urlsplit(url).hostname or url.partition(":")[0]).lower()


def arrived(part: Path) -> int:
    """Return how many bytes of a file are there; one of aria2c has holes."""
    state = part.stat()
    return min(state.st_size, state.st_blocks * 512) if part.suffix == ".aria" else state.st_size


def page(url: str) -> str:
    """Return the address that a browser opens."""
    scheme, _, rest = url.partition(":")
    if scheme == "gdrive":
        return f"https://drive.google.com/file/d/{rest}/view"
    if scheme == "youtube":
        return f"https://www.youtube.com/watch?v={rest}"
    if scheme == "hf":
        repository, path = _hub_parts(rest)
        return f"https://huggingface.co/datasets/{repository}/blob/main/{path}"
    return url


# The web, where a large file comes by aria2c if that is there


def _from_web(url: str, wanted: Wanted) -> None:
    url = quote(url, safe="!#$%&'()*+,/:;=?@[]~")  # some lists have spaces in their addresses
    program = shutil.which("aria2c")
    if program and (wanted.size or PARALLEL_BYTES) >= PARALLEL_BYTES and _from_aria(program, url, wanted):
        return
    fetch.fetch(url, wanted.target, wanted.sha256, wanted.size, stop=wanted.stop)


def from_dropbox(url: str) -> str:
    """Return the address under which Dropbox sends a file, not a page about it."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(query=urlencode({**dict(parse_qsl(parts.query)), "dl": "1"})))


def _from_aria(program: str, url: str, wanted: Wanted) -> bool:
    """Fetch over several connections; False where the file is small or has begun to come otherwise, or aria2c fails."""
    if wanted.part().exists():
        return False
    about = fetch.about(url)
    if about.size is None or about.size < PARALLEL_BYTES:
        return False
    if wanted.size not in (None, about.size):
        raise _wrong_size(about.size, wanted.size, wanted, url)
    part, origin = wanted.part(".aria"), wanted.part(".aria.json")
    with fetch.alone(wanted.target):
        if wanted.target.is_file():
            return True  # another process was faster
        _begin(part, origin, {"url": url, "version": about.version, "size": about.size})
        if trouble := _run_aria(program, url, part, about.size, wanted.stop):
            if part.exists():
                raise VbenchError(f"{url}: {trouble}; what has arrived is kept: run it again later")
            print(f"{wanted.name}: {trouble}; fetching it without", file=sys.stderr)
            origin.unlink()
            return False
        _settle(part, about.size, wanted, url)
    return True


def _begin(part: Path, origin: Path, version: dict[str, Any]) -> None:
    """Continue a part only if it is of this version of the file."""
    if not version["version"] or files.read_table(origin) != version:
        _drop(part)
    origin.write_text(json.dumps(version), encoding="utf-8")


def _run_aria(program: str, url: str, part: Path, size: int, stop: threading.Event) -> str:
    """Run aria2c to its end and return what went wrong, if anything."""
    bundle = next((os.environ[key] for key in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE") if os.environ.get(key)), "")
    options = [
        "--no-conf=true",
        f"--dir={part.parent}",
        f"--out={part.name}",
        "--continue=true",
        "--allow-overwrite=true",
        "--auto-file-renaming=false",
        "--file-allocation=none",
        "--follow-torrent=false",
        "--follow-metalink=false",
        f"--split={CONNECTIONS}",
        f"--max-connection-per-server={CONNECTIONS}",
        f"--max-tries={fetch.ATTEMPTS}",
        "--retry-wait=5",
        f"--timeout={fetch.TIMEOUT_SECONDS:.0f}",
        "--summary-interval=0",
        "--console-log-level=error",
        f"--stop-with-process={os.getpid()}",
        *([f"--ca-certificate={bundle}"] if bundle else []),
    ]
    with tempfile.TemporaryFile("w+", errors="replace") as output, _meter(part.name) as tell:
        streams: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": output, "stderr": subprocess.STDOUT}
        process = subprocess.Popen([program, *options, url], **streams, start_new_session=True)
        try:
            while process.poll() is None:
                if stop.wait(0.1):
                    raise Stopped
                if part.exists():
                    tell(arrived(part), size)
        finally:
            process.terminate()  # it then notes which pieces it has
            process.wait()
        output.seek(0)
        said = [line.strip() for line in output if line.strip()]
    return f"aria2c ended with {process.returncode} ({said[-1] if said else 'no word'})" if process.returncode else ""


# Google Drive, with gdown's knowledge of its pages


def _from_drive(url: str, wanted: Wanted) -> None:
    gdown = _package("gdown", "Google Drive")
    part = wanted.part(".drive")  # of its own: gdown takes a whole file for one that is there
    with fetch.alone(wanted.target), _meter(wanted.name) as tell:
        if wanted.target.is_file():
            return  # another process was faster
        try:
            gdown.download(
                id=url.partition(":")[2],
                output=str(part),
                quiet=True,
                resume=True,
                timeout=fetch.TIMEOUT_SECONDS,
                retries=fetch.ATTEMPTS - 1,
                progress=tell,
                cancel=wanted.stop,
            )
        except gdown.DownloadCancelled as error:
            raise Stopped from error
        except gdown.FileURLRetrievalError as error:
            raise _drive_refused(wanted, url) from error
        except Exception as error:  # whatever the network and its pages lead gdown to
            raise _unreached(url, error) from error
        if _is_page(part):
            _drop(part)
            raise _drive_refused(wanted, url)
        _settle(part, wanted.size, wanted, url)


def _drive_refused(wanted: Wanted, url: str) -> ManualStep:
    return ManualStep(
        f"{wanted.name}: Google Drive refused (daily quota, or the file is no longer shared); "
        f"open {page(url)} in a browser and save the file by hand"
    )


# The Hugging Face hub, which tells the SHA-256 of a large file before it comes


def _from_hub(url: str, wanted: Wanted) -> None:
    hub = _package("huggingface_hub", "the Hugging Face hub")
    repository, path = _hub_parts(url.partition(":")[2])
    address = hub.hf_hub_url(repository, path, repo_type="dataset", endpoint=os.environ.get("HF_ENDPOINT"))
    try:
        facts = hub.get_hf_file_metadata(address, timeout=fetch.TIMEOUT_SECONDS, retry_on_errors=True)
    except hub.errors.GatedRepoError as error:
        place = f"https://huggingface.co/datasets/{repository}"
        raise ManualStep(f'{wanted.name}: ask for access at {place}, run "hf auth login", then run again') from error
    except Exception as error:  # of the network or the hub
        raise _unreached(url, error) from error
    told = facts.etag if re.fullmatch("[0-9a-f]{64}", facts.etag or "") else None
    if wanted.sha256 and told and told != wanted.sha256:
        raise WrongHash(f"{page(url)} has another file than expected", told)
    size, token = wanted.size or facts.size, hub.get_token() or ""
    fetch.fetch(address, wanted.target, wanted.sha256 or told, size, token=token, stop=wanted.stop)


def _hub_parts(place: str) -> tuple[str, str]:
    """Split OWNER/NAME/PATH."""
    owner, _, rest = place.partition("/")
    repository, _, path = rest.partition("/")
    return f"{owner}/{repository}", path


# YouTube: exactly one format of a video, as it is stored there, since frame numbers hold for no other encode


def _from_youtube(url: str, wanted: Wanted) -> None:
    yt_dlp = _package("yt_dlp", "YouTube")
    part = wanted.part()
    with fetch.alone(wanted.target), _meter(wanted.name) as tell:
        if wanted.target.is_file():
            return  # another process was faster

        def hook(status: dict[str, Any]) -> None:
            if wanted.stop.is_set():
                raise Stopped
            tell(status.get("downloaded_bytes") or 0, status.get("total_bytes") or status.get("total_bytes_estimate"))

        options = {
            "format": wanted.format,
            "outtmpl": {"default": str(part).replace("%", "%%")},
            "quiet": True,
            "noprogress": True,
            "logger": _Silence(),
            "noplaylist": True,
            "fixup": "never",
            "retries": fetch.ATTEMPTS,
            "socket_timeout": fetch.TIMEOUT_SECONDS,
            "sleep_interval": YOUTUBE_PAUSE_SECONDS,
            "ratelimit": _bytes(wanted.rate),
            "progress_hooks": [hook],
            **_cookies(wanted.cookies),
        }
        try:
            with yt_dlp.YoutubeDL(options) as program:
                program.download([page(url)])
        except Stopped:
            raise
        except Exception as error:  # of the site, the network or a browser's cookies
            raise _youtube_refused(wanted, url, error) from error
        _settle(part, wanted.size, wanted, url)


def _youtube_refused(wanted: Wanted, url: str, error: Exception) -> VbenchError:
    reason = _first_line(error)
    if "format is not available" in reason:
        return VbenchError(
            f"{wanted.name}: {page(url)} is not offered in format {wanted.format}, and frame numbers hold for no other; "
            "update yt-dlp, or find somebody who has the file"
        )
    return VbenchError(
        f"{wanted.name}: {page(url)} does not come ({reason}); what has arrived is kept: run it again later, "
        "and if YouTube asks to sign in or to slow down, with --cookies BROWSER or --rate 2M"
    )


def _cookies(cookies: str | None) -> dict[str, Any]:
    """Return yt-dlp's option for BROWSER[:PROFILE] or a cookies.txt."""
    if not cookies:
        return {}
    if Path(cookies).expanduser().is_file():
        return {"cookiefile": str(Path(cookies).expanduser())}
    browser, _, profile = cookies.partition(":")
    return {"cookiesfrombrowser": (browser.lower(), profile or None, None, None)}


def _bytes(rate: str | None) -> int | None:
    """Read a number of bytes such as 500K or 2M."""
    if not rate:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([KMG]?)", rate.strip().upper())
    if not found or not float(found[1]):
        raise UsageError(f'--rate "{rate}": expected bytes a second, such as 500K or 2M')
    return int(float(found[1]) * 1024 ** " KMG".index(found[2] or " "))


class _Silence:
    """Keeps yt-dlp from writing between the progress lines; it raises its errors as well."""

    def debug(self, text: str) -> None:
        pass

    info = warning = error = debug


_WAYS: dict[str, Callable[[str, Wanted], None]] = {
    "http": _from_web,
    "https": _from_web,
    "gdrive": _from_drive,
    "hf": _from_hub,
    "youtube": _from_youtube,
}


# What they have in common


def _package(package: str, what: str) -> ModuleType:
    try:
        return importlib.import_module(package)
    except ImportError as error:
        mend = 'run: pip install "vbench-ctl[download]"'
        raise VbenchError(f"{what} needs {package}, which is not installed; {mend}") from error


def _unreached(url: str, error: Exception) -> VbenchError:
    return VbenchError(f"{page(url)}: {_first_line(error)}; what has arrived is kept: run it again later")


def _first_line(error: Exception) -> str:
    line = str(error).strip().partition("\n")[0].removeprefix("ERROR: ")
    return line.rstrip(".:") or type(error).__name__


def _settle(part: Path, size: int | None, wanted: Wanted, url: str) -> None:
    """Verify what another program brought and give it its name."""
    if _is_page(part):
        _drop(part)
        raise VbenchError(f"{page(url)}: answers with a web page, expected the file {wanted.name}; save it by hand")
    if size not in (None, found := part.stat().st_size):
        _drop(part)
        raise _wrong_size(found, size, wanted, url)
    if wanted.sha256 and (hashed := fetch.digest(part)) != wanted.sha256:
        _drop(part)
        raise WrongHash(f"{page(url)} sends another file than expected", hashed)
    os.replace(part, wanted.target)


def _is_page(part: Path) -> bool:
    with open(part, "rb") as data:
        return fetch.looks_like_page(data.read(1000))


def _wrong_size(found: int, size: int | None, wanted: Wanted, url: str) -> VbenchError:
    return VbenchError(
        f"{wanted.name}: {page(url)} has {found} bytes, expected {size}; the file was replaced or cut short there"
    )


def _drop(part: Path) -> None:
    for path in (part, part.with_name(f"{part.name}.aria2")):
        path.unlink(missing_ok=True)


@contextmanager
def _meter(label: str) -> Iterator[Callable[[int, int | None], None]]:
    """Yield a function that is told how many bytes are there and how many there will be; it shows the progress."""
    with ExitStack() as stack:
        advance: Callable[[int], None] | None = None
        before = 0

        def tell(arrived: int, total: int | None) -> None:
            nonlocal advance, before
            if advance is None:
                advance, before = stack.enter_context(fetch.megabytes(label, arrived, total)), arrived
            if arrived > before:
                advance(arrived - before)
                before = arrived

        yield tell
