"""A server on this machine that does what servers do on bad days."""

import hashlib
import http.server
import threading
from contextlib import contextmanager

DATA = bytes(range(256)) * 40  # 10,240 bytes
SHA256 = hashlib.sha256(DATA).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    """Answers each request with the next of `script`, then by its path with one of `paths`, else with `whole`."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.script, self.paths, self.requests = [], {}, []

    @property
    def root(self):
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def url(self):
        return f"{self.root}/weights.bin"

    @property
    def asked(self):
        return [path for path, _ in self.requests]


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.requests.append((self.path, dict(self.headers)))
        script = self.server.script
        answer = script.pop(0) if script else self.server.paths.get(self.path.partition("?")[0], whole)
        answer(self)

    do_HEAD = do_GET

    def send(self, status, body=b"", length=None, **headers):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_):
        pass


@contextmanager
def serving():
    """Yield a running server."""
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


def whole(handler, data=DATA, etag='"v1"'):
    """A good server: it knows ranges and the version they belong to."""
    asked, version = handler.headers.get("Range"), handler.headers.get("If-Range")
    first, _, last = asked.removeprefix("bytes=").partition("-") if asked and version in (None, etag) else ("0", "", "")
    start, end = int(first), min(len(data), int(last) + 1 if last else len(data))
    if not start and end == len(data):
        handler.send(200, data, ETag=etag)
    elif start >= len(data):
        handler.send(416, Content_Range=f"bytes */{len(data)}")
    else:
        handler.send(206, data[start:end], ETag=etag, Content_Range=f"bytes {start}-{end - 1}/{len(data)}")


def gives(data, **headers):
    return lambda handler: whole(handler, data, **headers)


def breaks_after(count, data=DATA, etag='"v1"'):
    return lambda handler: handler.send(200, data[:count], length=len(data), ETag=etag)


def answers(status, body=b"", **headers):
    return lambda handler: handler.send(status, body, **headers)
