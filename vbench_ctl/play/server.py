"""What the pages share: a server for this machine, a token in its address, checks of who asks, a conversation per tab.

A tab talks over one WebSocket: it says JSON objects {"do": ...} and hears JSON objects {"kind": ...} or frames. Nothing a
browser sends names a file: pages are looked up among those of the package, clips by their number.
"""

import asyncio
import contextlib
import errno
import importlib.resources
import importlib.util
import json
import os
import secrets
import socket
import struct
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from vbench_ctl import files
from vbench_ctl.errors import UsageError, VbenchError

if TYPE_CHECKING:
    from fastapi import FastAPI
    from uvicorn import Server

PORT = 8765
LARGEST = 1 << 16  # bytes that a browser may say at once
LOOPBACK = ("127.0.0.1", "localhost", "::1")
TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css"}
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",  # the address holds the token
    "cache-control": "no-store",
}
MENDS: dict[int | None, str] = {  # of an address that cannot be listened to; of others the host is at fault
    errno.EADDRINUSE: "another page may be open, choose another --port",
    errno.EACCES: "choose a --port from 1024 on",
}
POLICY, TRY_LATER, TOO_LARGE = 1008, 1013, 1009  # RFC 6455 and IANA's registry of WebSocket close codes


@dataclass(frozen=True)
class Frames:
    """A reply that is pictures: clips, uint8 (T, H, W, 3), with what is said about them."""

    about: dict[str, Any]
    clips: Sequence[np.ndarray]

    def packed(self) -> bytes:
        """Return the length of the head (uint32, little endian), the head as JSON, then the pixels of all clips."""
        head = json.dumps({**self.about, "shapes": [clip.shape[:3] for clip in self.clips]}).encode()
        return b"".join([struct.pack("<I", len(head)), head, *(np.ascontiguousarray(c).tobytes() for c in self.clips)])


Reply = dict[str, Any] | Frames
Said = dict[str, Any]


class Visitor(Protocol):
    """One tab: what it hears first, and what it hears when it says something."""

    def greet(self) -> list[Reply]: ...

    def answer(self, said: Said) -> list[Reply]: ...

    def leave(self) -> None: ...


@dataclass(frozen=True)
class Page:
    """A page by the name of its files, and what talks to each tab that opens it."""

    name: str
    visitor: Callable[[], Visitor]
    most: int = 8  # tabs at once


# Serving


def serve(prepared: Callable[[], Page], host: str = LOOPBACK[0], port: int = PORT, root: Path | None = None) -> None:
    """Serve a page until Ctrl-C, and say where it is; it is prepared, which may take long, once it has a place."""
    if missing := [name for name in ("fastapi", "uvicorn", "websockets") if not importlib.util.find_spec(name)]:
        raise VbenchError(f'{missing[0]} is not installed, which pages need; run: pip install "vbench-ctl[web]"')
    if host in ("0.0.0.0", "::", ""):
        raise UsageError(f"--host {host!r} is no address that a browser can name; give the one of this machine")
    door = _door(host, port)
    port = door.getsockname()[1]
    if host not in LOOPBACK:
        print(
            f"WARNING: {host} is reached from other machines: whoever has the address below can use this page, and it is "
            "not encrypted",
            file=sys.stderr,
        )
    page = prepared()
    token = kept_token(root)
    print(f"Open  {_origin(host, port)}/{token}/\nStop with Ctrl-C.", flush=True)
    with contextlib.suppress(KeyboardInterrupt):  # the way to stop it
        ready(page, token, host, port).run(sockets=[door])


def ready(page: Page, token: str, host: str, port: int) -> "Server":
    """Return the server of a page, to be run."""
    import uvicorn

    config = uvicorn.Config(
        app(page, token, host, port),
        log_config=None,  # its own would close the log handlers that other libraries in this process have
        log_level="warning",
        access_log=False,  # it would hold the token
        server_header=False,
        ws_max_size=LARGEST,
        ws_per_message_deflate=False,  # pixels over loopback: compressing them takes longer than sending
        lifespan="off",  # nothing is begun or ended with it
    )
    return uvicorn.Server(config)


def kept_token(root: Path | None = None) -> str:
    """Return the token of this user, the same after a restart so that open tabs find back; remove the file for another."""
    path = files.home(root) / "web-token"
    with files.explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            with files.atomic(path) as part:
                os.close(os.open(part, os.O_CREAT | os.O_EXCL, 0o600))
                part.write_text(secrets.token_urlsafe(24))
        return path.read_text()


def _door(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    door = socket.socket(family, socket.SOCK_STREAM)
    door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        door.bind((host, port))
        door.listen()  # so that nobody else takes it while the page is prepared
    except (OSError, UnicodeError) as error:
        door.close()
        reason = getattr(error, "strerror", None) or error
        mend = MENDS.get(getattr(error, "errno", None), "give an address of this machine as --host, or leave it out")
        raise VbenchError(f"{host} port {port}: cannot be listened to ({reason}); {mend}") from error
    return door


def _origin(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


# The application


def app(page: Page, token: str, host: str = LOOPBACK[0], port: int = PORT) -> "FastAPI":
    """Return the application of a page."""
    from fastapi import FastAPI, WebSocket
    from fastapi.responses import Response

    made = FastAPI(openapi_url=None)
    hosts = LOOPBACK if host in LOOPBACK else (host,)
    made.add_middleware(Guard, token=token, origins=frozenset(_origin(name, port) for name in hosts))
    shown = _files(page.name)
    tabs = _Tabs(page)

    @made.get("/{token}/{name:path}")
    def file(token: str, name: str) -> Response:
        found = shown.get(name)
        if found is None:
            return Response("no such page", 404, media_type="text/plain")
        return Response(found[1], media_type=found[0], headers=HEADERS)

    async def talk(socket: WebSocket) -> None:
        await tabs.talk(socket)

    made.add_api_websocket_route("/{token}/talk", talk)
    return made


def _files(name: str) -> dict[str, tuple[str, bytes]]:
    """Return type and content of what a page consists of, by address; the page itself is at ""."""
    pages = importlib.resources.files("vbench_ctl.play") / "pages"
    wanted = {"": f"{name}.html", **{each: each for each in (f"{name}.js", "link.js", "style.css")}}
    return {at: (TYPES[Path(each).suffix], (pages / each).read_bytes()) for at, each in wanted.items()}


class Guard:
    """Lets in who knows the token, asks for this machine by name and comes from this page: against other sites and DNS
    that is turned to this machine."""

    def __init__(self, app: Any, token: str, origins: frozenset[str]):
        self.app, self.token, self.origins = app, token.encode(), origins
        self.hosts = {origin.removeprefix("http://") for origin in origins}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] in ("http", "websocket") and (reason := self.refusal(scope)):
            await _refuse(scope, send, reason)
            return
        await self.app(scope, receive, send)

    def refusal(self, scope: Any) -> str:
        """Return why a request is not answered, or nothing."""
        found: dict[str, list[str]] = {}
        for name, value in scope["headers"]:
            found.setdefault(name.decode("latin-1"), []).append(value.decode("latin-1"))
        origins = found.get("origin", [])
        if [host for host in found.get("host", [""]) if host not in self.hosts]:
            return "this page is not served under that name"
        if any(origin not in self.origins for origin in origins) or (scope["type"] == "websocket" and not origins):
            return "this page answers itself alone"
        said = scope["path"].partition("/")[2].partition("/")[0]
        if not secrets.compare_digest(said.encode(), self.token):
            return "wrong token; open the address that vbench-ctl printed"
        return ""


async def _refuse(scope: Any, send: Any, reason: str) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": POLICY, "reason": reason})  # before it is accepted: HTTP 403
        return
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": 403, "headers": headers})
    await send({"type": "http.response.body", "body": reason.encode()})


class _Tabs:
    """The conversations that are open."""

    def __init__(self, page: Page):
        self.page, self.open = page, 0

    async def talk(self, socket: Any) -> None:
        from fastapi import WebSocketDisconnect

        await socket.accept()
        if self.open >= self.page.most:
            text = (
                f"{self.open} tabs have this page open already, which is as many as it serves; close one, then reload"
            )
            await socket.send_json({"kind": "busy", "text": text})
            await socket.close(TRY_LATER)
            return
        self.open += 1
        try:
            await self._converse(socket)
        except (WebSocketDisconnect, asyncio.CancelledError):  # the tab has gone, or the server ends
            pass
        finally:
            self.open -= 1

    async def _converse(self, socket: Any) -> None:
        visitor = await asyncio.to_thread(self.page.visitor)
        try:
            await _send(socket, await asyncio.to_thread(_excused, visitor.greet))
            while (message := await socket.receive())["type"] == "websocket.receive":
                text = message.get("text") or ""  # bytes are nothing that a page says
                if len(text) > LARGEST:
                    await socket.close(TOO_LARGE)
                    return
                await _send(socket, await asyncio.to_thread(_excused, _heard, visitor, text))
        finally:
            visitor.leave()


async def _send(socket: Any, replies: Sequence[Reply]) -> None:
    for reply in replies:
        if isinstance(reply, Frames):
            await socket.send_bytes(reply.packed())
        else:
            await socket.send_text(json.dumps(reply))  # in ASCII: what a browser said may be half a character


def _excused(function: Callable[..., list[Reply]], *arguments: Any) -> list[Reply]:
    try:
        return function(*arguments)
    except (VbenchError, OSError) as error:
        return [{"kind": "error", "text": str(error)}]


# What a browser says is checked before it is used


def _heard(visitor: Visitor, text: str) -> list[Reply]:
    return visitor.answer(_parsed(text))


def _parsed(text: str) -> Said:
    try:
        said = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError("the page said something that is not JSON; reload it") from error
    if not isinstance(said, dict) or not isinstance(said.get("do"), str):
        raise UsageError('the page said something without {"do": ...}; reload it')
    return said


def whole(said: Said, name: str, low: int, high: int) -> int:
    """Return a whole number that a page said."""
    value = said.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise UsageError(f"{name} is {str(value)[:40]}, expected a whole number from {low} to {high}")
    return value


def real(said: Said, name: str, low: float, high: float) -> float:
    """Return a number that a page said."""
    value = said.get(name)
    if not isinstance(value, int | float) or isinstance(value, bool) or not low <= value <= high:
        raise UsageError(f"{name} is {str(value)[:40]}, expected a number from {low} to {high}")
    return float(value)


def listed(said: Said, name: str, most: int) -> list[Any]:
    """Return a list that a page said."""
    value = said.get(name, [])
    if not isinstance(value, list) or len(value) > most:
        raise UsageError(f"{name} is not a list of at most {most} entries; reload the page")
    return value
