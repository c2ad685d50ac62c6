"""Stores at a URL: read part by part from a local object server, with a sentence for what goes wrong."""

import contextlib
import json
import pickle
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import click
import fsspec
import numpy as np
import pytest
import tiny
from click.testing import CliRunner
from fsspec.registry import _registry as imported

from vbench_ctl import building, remote, shards, sources
from vbench_ctl.cli import main
from vbench_ctl.clips import Clip
from vbench_ctl.errors import UsageError, VbenchError
from vbench_ctl.store import Store


class Server:
    """Serves a folder over HTTP as an object store does: whole files and ranges of bytes."""

    def __init__(self, folder: Path, answers: "type[Handler] | None" = None):
        self.folder, self.ranges, self.failing = folder, True, False
        self.sent: list[int] = []  # bytes of each answer
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), partial(answers or Handler, self))
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

    def tell(self, data: bytes, status: int = 200, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        if status == 404:
            self.send_header("X-Error-Code", "EntryNotFound")  # in the words of the Hugging Face hub
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *message) -> None:
        pass


class Hub(Handler):
    """Answers as the Hugging Face hub does that holds the folder as the data set who/clips."""

    def answer(self, with_body: bool) -> None:
        path, about, tree = self.path.partition("?")[0], "/api/datasets/who/clips", "/api/datasets/who/clips/tree/main/"
        folder = self.held.folder / path.removeprefix(tree)
        if path == about:
            self.tell(json.dumps({"id": "who/clips", "sha": "0" * 40}).encode())
        elif path.startswith(tree) and folder.is_dir():
            names = [each.relative_to(self.held.folder).as_posix() for each in folder.iterdir()]
            sizes = {name: (self.held.folder / name).stat().st_size for name in names}
            entries = [{"type": "file", "path": name, "size": size, "oid": "0" * 40} for name, size in sizes.items()]
            self.tell(json.dumps(entries).encode())
        elif path.startswith("/api/"):
            self.tell(b'{"error": "not there"}', 404)
        else:
            self.path = path.removeprefix("/datasets/who/clips/resolve/main")
            super().answer(with_body)


class Bucket(Handler):
    """Answers as S3 does that holds the folder as s3://bucket, and as Google's storage that holds it as gs://bucket."""

    def answer(self, with_body: bool) -> None:
        parts, media = urlsplit(self.path), "/download/storage/v1/b/bucket/o/"
        self.path, asked = unquote(parts.path), parse_qs(parts.query)
        if self.path.startswith("/storage/v1/b/bucket/o"):
            self.about(self.path.removeprefix("/storage/v1/b/bucket/o").lstrip("/"))
        elif self.path.startswith(media):
            self.path = self.path.removeprefix(media)
            super().answer(with_body)
        elif "list-type" in asked:
            self.tell(self.names(asked["prefix"][0]), kind="application/xml")
        else:
            self.path = self.path.removeprefix("/bucket")
            super().answer(with_body)

    def names(self, prefix: str) -> bytes:
        found = [path for path in self.held.folder.rglob("*") if path.is_file()]
        names = [path.relative_to(self.held.folder).as_posix() for path in found]
        keys = "".join(
            f"<Contents><Key>{name}</Key><Size>1</Size></Contents>" for name in names if name.startswith(prefix)
        )
        return f"<ListBucketResult><IsTruncated>false</IsTruncated>{keys}</ListBucketResult>".encode()

    def about(self, name: str) -> None:
        path = self.held.folder / name
        if name and path.is_file():
            size = str(path.stat().st_size)
            self.tell(json.dumps({"name": name, "bucket": "bucket", "size": size, "generation": "1"}).encode())
        else:
            self.tell(
                json.dumps({"items": []} if not name else {"error": {"code": 404}}).encode(), 404 if name else 200
            )


@pytest.fixture
def server(tmp_path) -> Iterator[Server]:
    served = Server(tmp_path)
    yield served
    served.stop()


@pytest.mark.parametrize("encoding", shards.ENCODINGS)
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


def test_a_store_on_the_hugging_face_hub(tmp_path, monkeypatch):
    hub, constants = map(pytest.importorskip, ("huggingface_hub", "huggingface_hub.constants"))
    here, served = tiny.built(tmp_path / "tiny"), Server(tmp_path, Hub)
    monkeypatch.setattr(constants, "ENDPOINT", served.url)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", f"{served.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    )
    hub.HfFileSystem.clear_instance_cache()
    try:
        there = Store("hf://datasets/who/clips/tiny", "test")
        assert there.ids == here.ids and there.content_sha256() == here.summary["content_sha256"]
        with pytest.raises(VbenchError, match=r"^hf://.*/nothing: no finished store there .*; check the address$"):
            Store("hf://datasets/who/clips/nothing", "test")
    finally:
        hub.HfFileSystem.clear_instance_cache()
        served.stop()


@pytest.mark.parametrize(
    ("protocol", "package", "access"),
    [("s3", "s3fs", {"key": "a", "secret": "b"}), ("gs", "gcsfs", {"token": "anon"})],
)
def test_a_store_in_a_bucket(tmp_path, monkeypatch, protocol, package, access):
    monkeypatch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")  # it would ask by gRPC what kind of bucket it is
    pytest.importorskip(package)
    here, served = tiny.built(tmp_path / "tiny"), Server(tmp_path, Bucket)
    monkeypatch.setitem(fsspec.config.conf, protocol, {"endpoint_url": served.url, **access})
    try:
        there = Store(f"{protocol}://bucket/tiny", "test")
        assert there.ids == here.ids and there.content_sha256() == here.summary["content_sha256"]
        np.testing.assert_array_equal(there.frames(4, 3, 80, 7), here.frames(4, 3, 80, 7))
        with pytest.raises(
            VbenchError, match=rf"^{protocol}://.*/nothing: no finished store there .*; check the address$"
        ):
            Store(f"{protocol}://bucket/nothing", "test")
    finally:
        fsspec.get_filesystem_class(protocol).clear_instance_cache()
        served.stop()


def test_only_parts_of_the_files_are_sent(server, tmp_path):
    clip = Clip("long", np.random.default_rng(0).integers(256, size=(1000, 64, 64, 3), dtype=np.uint8))
    building.build(tmp_path / "big", tiny.recipe(make=iter, test=[[clip]]))
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


@pytest.mark.parametrize(
    ("command", "parameter"),
    [
        ("score", "outputs"),
        ("score", "real"),
        ("generate copy-last", "real"),
        ("export", "source"),
        ("annotate", "clips"),
        ("blind", "outputs"),
        ("blind", "real"),
        ("play", "real"),
    ],
)
def test_commands_take_a_url_where_they_take_a_store(command, parameter):
    found, context = main, click.Context(main)
    for name in command.split():
        found = found.get_command(context, name)
    (kind,) = [param.type for param in found.params if param.name == parameter]
    assert kind.convert("https://host/x", None, None) == remote.Url("https://host/x")
    assert kind.convert("here/x", None, None) == Path("here/x")


def test_a_command_reads_a_url(server, tmp_path):
    here = tiny.built(tmp_path / "tiny")
    tiny.write_outputs(tmp_path / "mine", {clip_id: here.frames(at) for at, clip_id in enumerate(here.ids)})
    words = ["score", str(tmp_path / "mine"), "--real", f"{server.url}/tiny", "--metrics", "mse", "--workers", "1"]
    done = CliRunner().invoke(main, [*words, "--out", str(tmp_path / "rows.json"), "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)[0]["value"] == 0


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
    building.build(tmp_path / "big", tiny.recipe(make=iter, test=[[clip]]))
    there = Store(f"{server.url}/big")
    there.frames(0, 0, 16)
    server.failing = True
    with pytest.raises(VbenchError, match="frames cannot be read"):
        there.frames(0, 400, 416)
    server.failing = False
    np.testing.assert_array_equal(there.frames(0, 400, 416), clip.frames[400:416])


def test_a_server_without_ranges_is_named(server, tmp_path):
    clip = Clip("long", np.zeros((200, 64, 64, 3), np.uint8))
    building.build(tmp_path / "big", tiny.recipe(make=iter, test=[[clip]]))
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


@pytest.mark.parametrize(
    ("protocol", "module", "packages"),
    [
        ("s3", "s3fs", "s3fs"),
        ("gs", "gcsfs", "gcsfs"),
        ("hf", "huggingface_hub", "huggingface_hub"),
        ("https", "aiohttp", "aiohttp requests"),
    ],
)
def test_the_package_of_each_protocol_is_named(monkeypatch, protocol, module, packages):
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules, "fsspec.implementations.http", raising=False)
    monkeypatch.delitem(imported, protocol, raising=False)
    said = f"{protocol}:// is not installed; run: pip install {packages}$"
    with pytest.raises(VbenchError, match=rf"^{protocol}://bucket/tiny/manifest\.json: what reads {said}"):
        Store(f"{protocol}://bucket/tiny", "test")
    with pytest.raises(VbenchError, match=said):
        sources.open_source(f"{protocol}://bucket/tiny", "test")


def test_an_unknown_protocol_is_a_usage_error():
    with pytest.raises(UsageError, match=r"nonsense://bucket/.*: cannot be opened \(.*nonsense"):
        Store("nonsense://bucket/tiny")


def test_urls_are_told_from_paths(tmp_path):
    assert remote.is_url("s3://bucket/x") and remote.is_url("simplecache::https://host/x")
    assert not remote.is_url("C:/x") and not remote.is_url(tmp_path) and not remote.is_url("a/b:c")
    assert str(remote.Url("s3://bucket/x") / "y.h5") == "s3://bucket/x/y.h5"
    assert (remote.Url("s3://bucket/x") / "y.h5").name == "y.h5"
