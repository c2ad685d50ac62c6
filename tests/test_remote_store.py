"""Stores at a URL: read part by part from a local object server, with a sentence for what goes wrong."""

import contextlib
import pickle
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fsspec
import numpy as np
import pytest
import tiny

from vbench_ctl import remote, sources, store
from vbench_ctl.clips import Clip
from vbench_ctl.errors import UsageError, VbenchError
from vbench_ctl.store import Store


class Server:
    """Serves a folder over HTTP as an object store does: whole files and ranges of bytes."""

    def __init__(self, folder: Path):
        self.folder, self.ranges, self.failing = folder, True, False
        self.sent: list[int] = []  # bytes of each answer
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, self))
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self.http.shutdown()
        self.http.server_close()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, server: Server, *asked):
        self.held = server
        super().__init__(*asked)

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):  # the reader had enough
            super().handle()

    def do_HEAD(self) -> None:
        self.answer(with_body=False)

    def do_GET(self) -> None:
        self.answer(with_body=True)

    def answer(self, with_body: bool) -> None:
        path = self.held.folder / self.path.lstrip("/")
        if self.held.failing or not path.is_file():
            self.send_response(500 if self.held.failing else 404)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        data, asked = path.read_bytes(), self.headers.get("Range")
        size = len(data)
        if asked and self.held.ranges:
            first, last = asked.removeprefix("bytes=").split("-")
            data = data[int(first) : int(last) + 1 if last else None]
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{int(first) + len(data) - 1}/{size}")
        else:
            self.send_response(200)
        if self.held.ranges:
            self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if with_body:
            self.held.sent.append(len(data))
            self.wfile.write(data)

    def log_message(self, *message) -> None:
        pass


@pytest.fixture
def server(tmp_path) -> Iterator[Server]:
    served = Server(tmp_path)
    yield served
    served.stop()


@pytest.mark.parametrize("encoding", store.ENCODINGS)
def test_a_store_at_a_url_reads_as_the_folder_does(server, tmp_path, encoding):
    here = tiny.built(tmp_path / "tiny", encoding=encoding)
    there = Store(f"{server.url}/tiny", "test")
    assert there.ids == here.ids and there.manifest == here.manifest
    for mine, theirs in zip(here, there, strict=True):
        np.testing.assert_array_equal(mine.frames, theirs.frames)
        for name, track in mine.tracks.items():
            np.testing.assert_array_equal(track, theirs.tracks[name])
    np.testing.assert_array_equal(there.frames(4, 3, 80, 7), here.frames(4, 3, 80, 7))
    assert there.content_sha256() == here.summary["content_sha256"]


def test_any_protocol_of_fsspec_will_do(tmp_path):
    here = tiny.built(tmp_path / "tiny")
    memory = fsspec.filesystem("memory")
    memory.put(str(tmp_path / "tiny"), "/bucket/tiny", recursive=True)
    for url in ("memory://bucket/tiny", "memory://bucket/tiny/", f"file://{tmp_path}/tiny"):
        assert Store(url, "test").content_sha256() == here.summary["content_sha256"]


def test_a_chained_url_keeps_what_was_read(server, tmp_path):
    here = tiny.built(tmp_path / "tiny")
    opened = Store(f"simplecache::{server.url}/tiny", "test")
    assert opened.content_sha256() == here.summary["content_sha256"]


def test_only_parts_of_the_files_are_sent(server, tmp_path):
    clip = Clip("long", np.random.default_rng(0).integers(256, size=(1000, 64, 64, 3), dtype=np.uint8))
    store.build(tmp_path / "big", tiny.recipe(make=iter, test=[[clip]]))
    there = Store(f"{server.url}/big")
    np.testing.assert_array_equal(there.frames(0, 500, 516), clip.frames[500:516])
    assert sum(server.sent) < 3_000_000 < clip.frames.nbytes
    sent = len(server.sent)
    there.frames(0, 500, 516)
    assert len(server.sent) == sent


def test_windows_and_sources_come_from_a_url(server, tmp_path):
    here = tiny.built(tmp_path / "tiny")
    there = sources.open_source(f"{server.url}/tiny", "test")
    assert sources.as_source(f"{server.url}/tiny", "x", "test").ids == there.ids == here.ids
    mine, theirs = (held.clips(1, tracks=["actions"]).batch([0, 5]) for held in (here, there.store))
    for name in mine:
        assert mine[name].equal(theirs[name])


def test_a_remote_store_may_be_sent_to_workers(server, tmp_path):
    here = tiny.built(tmp_path / "tiny")
    there = Store(f"{server.url}/tiny", "test")
    there.frames(0)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(there)).frames(4), here.frames(4))


# What goes wrong


def test_what_is_not_there_is_one_sentence(server, tmp_path):
    with pytest.raises(VbenchError, match=r"127.*/nothing: no finished store there .*; check the address$"):
        Store(f"{server.url}/nothing")
    tiny.built(tmp_path / "tiny")
    (tmp_path / "tiny/test-00001.h5").unlink()
    with pytest.raises(VbenchError, match=r"/tiny/test-00001.h5: missing.*; check the address and the network$"):
        Store(f"{server.url}/tiny", "test")


def test_a_server_that_nobody_runs(tmp_path):
    stopped = Server(tmp_path)
    stopped.stop()
    with pytest.raises(VbenchError, match=r"manifest.json: cannot be read \(.*\); check the address, the network"):
        Store(f"{stopped.url}/tiny")


def test_a_server_that_fails_later(server, tmp_path):
    tiny.built(tmp_path / "tiny")
    there = Store(f"{server.url}/tiny", "test")
    server.failing = True
    with pytest.raises(VbenchError, match=r"test-0000\d.h5: frames cannot be read \(.*\); check the address"):
        [there.frames(index) for index in range(5)]
    server.failing = False
    assert len(there.frames(4)) == 90


def test_a_read_that_fails_within_hdf5(server, tmp_path):
    clip = Clip("long", np.random.default_rng(0).integers(256, size=(500, 64, 64, 3), dtype=np.uint8))
    store.build(tmp_path / "big", tiny.recipe(make=iter, test=[[clip]]))
    there = Store(f"{server.url}/big")
    there.frames(0, 0, 16)
    server.failing = True
    with pytest.raises(VbenchError, match="frames cannot be read"):
        there.frames(0, 400, 416)
    server.failing = False
    np.testing.assert_array_equal(there.frames(0, 400, 416), clip.frames[400:416])


def test_a_server_without_ranges_is_named(server, tmp_path):
    clip = Clip("long", np.zeros((200, 64, 64, 3), np.uint8))
    store.build(tmp_path / "big", tiny.recipe(make=iter, test=[[clip]]))
    server.ranges = False
    with pytest.raises(VbenchError, match=r"test-00000.h5: missing.* range .*; check the address and the network$"):
        Store(f"{server.url}/big")


def test_a_missing_driver_is_named(monkeypatch):
    fsspec.register_implementation("vbench", "no_such_module_at_all.FileSystem", errtxt="Install that", clobber=True)
    with pytest.raises(VbenchError, match=r"vbench:// is not installed; ImportError Install that$"):
        sources.open_source("vbench://bucket/tiny")
    monkeypatch.setitem(remote.PACKAGES, "vbench", "vbenchfs")
    with pytest.raises(VbenchError, match=r"vbench:// is not installed; run: pip install vbenchfs$"):
        Store("vbench://bucket/tiny")


def test_an_unknown_protocol_is_a_usage_error():
    with pytest.raises(UsageError, match=r"nonsense://bucket/.*: cannot be opened \(.*nonsense"):
        Store("nonsense://bucket/tiny")


def test_urls_are_told_from_paths(tmp_path):
    assert remote.is_url("s3://bucket/x") and remote.is_url("simplecache::https://host/x")
    assert not remote.is_url("C:/x") and not remote.is_url(tmp_path) and not remote.is_url("a/b:c")
    assert str(remote.Url("s3://bucket/x") / "y.h5") == "s3://bucket/x/y.h5"
    assert (remote.Url("s3://bucket/x") / "y.h5").name == "y.h5"
