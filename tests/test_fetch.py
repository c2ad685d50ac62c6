"""Downloads from a server on this machine that does what servers do on bad days."""

import hashlib
import json
import subprocess
import sys
import threading
import time

import faults
import pytest
from faults import DATA, SHA256, answers, breaks_after, whole

from vbench_ctl import fetch as downloads
from vbench_ctl.errors import VbenchError
from vbench_ctl.fetch import fetch, fetch_from_index

SLOW_DATA = b"\x01" * 8_000


@pytest.fixture
def server():
    with faults.serving() as server:
        yield server


@pytest.fixture(autouse=True)
def pauses(monkeypatch):
    """The pauses that would have been made."""
    made = []
    monkeypatch.setattr(downloads, "_sleep", made.append)
    return made


@pytest.fixture
def target(tmp_path):
    return tmp_path / "folder" / "weights.bin"


def leftovers(target):
    return [path.name for path in target.parent.iterdir() if ".part" in path.name]


def test_a_file_comes_whole_and_only_once(server, target):
    assert fetch(server.url, target, SHA256, len(DATA)) == target
    assert target.read_bytes() == DATA and leftovers(target) == []
    fetch(server.url, target, SHA256)
    fetch(server.url, target)
    assert len(server.requests) == 1


def test_a_damaged_file_is_fetched_again(server, target):
    target.parent.mkdir()
    target.write_bytes(DATA[:100])
    fetch(server.url, target, SHA256)
    assert target.read_bytes() == DATA


@pytest.mark.parametrize("sha256", [SHA256, None])
def test_a_broken_connection_is_resumed(server, target, pauses, sha256):
    server.script = [breaks_after(4000)]
    fetch(server.url, target, sha256)
    headers = server.requests[1][1]
    assert (headers["Range"], headers["If-Range"]) == ("bytes=4000-", '"v1"')
    assert target.read_bytes() == DATA and pauses == [1.0] and leftovers(target) == []


def test_a_part_is_kept_from_one_run_to_the_next(server, target, monkeypatch):
    monkeypatch.setattr(downloads, "ATTEMPTS", 1)
    server.script = [breaks_after(4000)]
    with pytest.raises(VbenchError, match="broke after 4000 of 10240 bytes; what has arrived is kept"):
        fetch(server.url, target)
    assert not target.exists() and leftovers(target)
    fetch(server.url, target)
    assert server.requests[1][1]["Range"] == "bytes=4000-" and target.read_bytes() == DATA


@pytest.mark.parametrize("sha256", [SHA256, None])
def test_a_version_changed_in_between_starts_over(server, target, sha256):
    server.script = [breaks_after(4000, b"x" * len(DATA), '"v0"')]
    fetch(server.url, target, sha256)
    assert target.read_bytes() == DATA


def test_parts_of_two_versions_are_found_out_by_the_hash(server, target):
    """A server without ETag or date cannot say that the file has changed."""
    server.script = [breaks_after(4000, b"x" * len(DATA), etag="")]
    fetch(server.url, target, SHA256)
    assert [request[1].get("Range") for request in server.requests] == [None, "bytes=4000-", None]
    assert target.read_bytes() == DATA


def test_without_hash_and_version_nothing_is_pieced_together(server, target):
    server.script = [breaks_after(4000, b"x" * len(DATA), etag="")]
    fetch(server.url, target)
    assert [request[1].get("Range") for request in server.requests] == [None, None]
    assert target.read_bytes() == DATA


def test_another_address_does_not_continue_a_part_without_a_hash(server, target, monkeypatch):
    monkeypatch.setattr(downloads, "ATTEMPTS", 1)
    server.script = [breaks_after(4000, b"x" * len(DATA))]
    with pytest.raises(VbenchError):
        fetch(server.url, target)
    fetch(server.url + "?mirror", target)
    assert "Range" not in server.requests[1][1] and target.read_bytes() == DATA


def test_a_part_that_is_the_whole_file_needs_no_more(server, target):
    target.parent.mkdir()
    target.with_name("weights.bin.part").write_bytes(DATA)
    fetch(server.url, target, SHA256)
    assert target.read_bytes() == DATA and len(server.requests) == 1


def test_a_part_longer_than_the_file_is_thrown_away(server, target):
    target.parent.mkdir()
    target.with_name("weights.bin.part").write_bytes(DATA + b"more")
    fetch(server.url, target, SHA256)
    assert target.read_bytes() == DATA and len(server.requests) == 2


def test_a_server_that_sends_another_range_is_not_believed(server, target):
    server.script = [breaks_after(4000), answers(206, DATA[3000:], Content_Range="bytes 3000-10239/10240")]
    fetch(server.url, target, SHA256)
    assert target.read_bytes() == DATA


def test_busy_servers_are_given_the_time_they_ask_for(server, target, pauses):
    server.script = [answers(429, Retry_After="7"), answers(503, Retry_After="Thu, 01 Jan 1970 00:00:00 GMT")]
    fetch(server.url, target, SHA256)
    assert target.read_bytes() == DATA and pauses == [7.0, 2.0]


def test_a_server_that_asks_for_hours_is_left(server, target, pauses):
    server.script = [answers(429, Retry_After="7200")]
    with pytest.raises(VbenchError, match=r"429.*asks for 7200 seconds"):
        fetch(server.url, target)
    assert pauses == []


def test_passing_errors_are_waited_out_longer_each_time(server, target, pauses):
    server.script = [answers(500), answers(502), answers(504)]
    fetch(server.url, target, SHA256)
    assert target.read_bytes() == DATA and pauses == [1.0, 2.0, 4.0]


def test_lasting_errors_end(server, target, pauses):
    server.script = [answers(500)] * 9
    with pytest.raises(VbenchError, match="answers 500"):
        fetch(server.url, target)
    assert len(server.requests) == downloads.ATTEMPTS


@pytest.mark.parametrize(
    ("status", "words"), [(404, "not there"), (410, "not there"), (403, "refuses"), (401, "refuses")]
)
def test_final_errors_are_not_repeated(server, target, status, words):
    server.script = [answers(status)]
    with pytest.raises(VbenchError, match=words):
        fetch(server.url, target)
    assert len(server.requests) == 1


def test_another_size_is_refused_before_it_is_fetched(server, target):
    with pytest.raises(VbenchError, match="has 10240 bytes, expected 99"):
        fetch(server.url, target, size=99)
    assert not target.exists()


def test_a_server_that_does_not_say_the_length_is_held_to_the_size(server, target, monkeypatch):
    def unmeasured(count):
        def send(handler):
            handler.send_response(200)
            handler.end_headers()
            handler.wfile.write((DATA + DATA)[:count])

        return send

    server.script = [unmeasured(5000), unmeasured(len(DATA))]
    fetch(server.url, target, size=len(DATA))
    assert target.read_bytes() == DATA
    target.unlink()
    server.script = [unmeasured(len(DATA) + 1)]
    with pytest.raises(VbenchError, match="has 10241 bytes, expected 10240"):
        fetch(server.url, target, size=len(DATA))
    assert leftovers(target) == []


def test_a_wrong_hash_leaves_nothing(server, target):
    with pytest.raises(VbenchError, match=r"SHA-256 .* is not the expected 00000000"):
        fetch(server.url, target, "0" * 64)
    assert not target.exists() and leftovers(target) == []


@pytest.mark.parametrize(
    "page",
    [
        answers(200, b"please sign in", Content_Type="text/html; charset=utf-8"),
        answers(200, b"\n<!DOCTYPE html><html>too many downloads", Content_Type="application/octet-stream"),
    ],
)
def test_a_web_page_is_no_file_and_costs_no_part(server, target, page):
    target.parent.mkdir()
    part = target.with_name("weights.bin.part")
    part.write_bytes(DATA[:50])
    server.script = [page]
    with pytest.raises(VbenchError, match="answers with a web page"):
        fetch(server.url, target, SHA256, size=len(DATA))
    assert not target.exists() and part.read_bytes() == DATA[:50]


def test_redirections_are_followed_but_not_for_ever(server, target):
    server.script = [answers(302, Location="/elsewhere")]
    fetch(server.url, target, SHA256)
    assert [request[0] for request in server.requests] == ["/weights.bin", "/elsewhere"]
    target.unlink()
    server.script = [answers(302, Location=f"/{step}") for step in range(50)]
    with pytest.raises(VbenchError, match="infinite loop"):
        fetch(server.url, target)


@pytest.mark.parametrize(
    ("location", "words"), [("file:///etc/hostname", "not allowed"), ("ftp://127.0.0.1/x", "not secure")]
)
def test_redirections_to_something_else_are_refused(server, target, location, words):
    server.script = [answers(302, Location=location)]
    with pytest.raises(VbenchError, match=words):
        fetch(server.url, target)
    assert not target.exists()


def test_only_web_addresses_are_fetched(target):
    with pytest.raises(VbenchError, match="not an address of http"):
        fetch("file:///etc/hostname", target)


def test_a_server_that_only_drips_is_given_up(server, target, monkeypatch):
    monkeypatch.setattr(downloads, "ATTEMPTS", 1)
    stop = threading.Event()

    def drip(handler):
        handler.send(200, length=len(SLOW_DATA))
        for byte in SLOW_DATA:
            if stop.wait(0.05):
                return
            handler.wfile.write(bytes([byte]))
            handler.wfile.flush()

    server.script = [drip]
    try:
        with pytest.raises(VbenchError, match="bytes came in"):
            fetch(server.url, target, timeout=0.3)
    finally:
        stop.set()


def test_a_server_that_falls_silent_is_given_up(server, target, monkeypatch):
    monkeypatch.setattr(downloads, "ATTEMPTS", 1)
    stop = threading.Event()

    def silence(handler):
        handler.send(200, DATA[:10], length=len(DATA))
        handler.wfile.flush()
        stop.wait(10)

    server.script = [silence]
    try:
        with pytest.raises(VbenchError, match="connection broke"):
            fetch(server.url, target, timeout=0.2)
    finally:
        stop.set()


def test_progress_that_counts_does_not_use_up_attempts(server, target, monkeypatch):
    data = b"z" * (8 << 20)
    monkeypatch.setattr(downloads, "ATTEMPTS", 2)

    def a_megabyte_more(handler):
        start = int(handler.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
        end = start + (1 << 20)
        status, extra = (206, {"Content_Range": f"bytes {start}-/{len(data)}"}) if start else (200, {})
        handler.send(status, data[start:end], length=len(data) - start, **extra)

    server.script = [a_megabyte_more] * 8
    fetch(server.url, target, hashlib.sha256(data).hexdigest())
    assert target.stat().st_size == len(data) and len(server.requests) == 8


@pytest.mark.parametrize(("etag", "known"), [("", False), ('"v1"', True)])
def test_progress_that_is_lost_again_does(server, target, etag, known):
    """Each answer begins at the first byte and breaks at the same one, with or without a part that could be continued."""
    data = b"z" * (4 << 20)
    server.script = [breaks_after(2 << 20, data, etag)] * 20
    with pytest.raises(VbenchError, match="broke after 2097152 of 4194304 bytes"):
        fetch(server.url, target, hashlib.sha256(data).hexdigest() if known else None)
    assert len(server.requests) == 1 + downloads.ATTEMPTS


def test_a_server_that_ignores_if_range_does_not_mix_two_versions(server, target):
    """Without a hash only the version says that the second half belongs to another file."""
    other = answers(206, DATA[4000:], Content_Range="bytes 4000-10239/10240", ETag='"v1"')
    server.script = [breaks_after(4000, b"x" * len(DATA), '"v0"'), other]
    fetch(server.url, target)
    assert target.read_bytes() == DATA
    assert [request[1].get("Range") for request in server.requests] == [None, "bytes=4000-", None]


@pytest.mark.parametrize("headers", [{}, {"Content_Range": "bytes */3000"}, {"Content_Range": "nonsense"}])
def test_a_range_that_cannot_be_satisfied_starts_over(server, target, headers):
    server.script = [breaks_after(4000, b"x" * len(DATA), '"v0"'), answers(416, **headers)]
    fetch(server.url, target)
    assert target.read_bytes() == DATA and len(server.requests) == 3


@pytest.mark.parametrize("length", ["nonsense", "-1", ""])
def test_a_length_that_is_no_number_is_not_believed(server, target, length):
    def unmeasured(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", length)
        handler.end_headers()
        handler.wfile.write(DATA)

    server.script = [unmeasured]
    fetch(server.url, target, SHA256, len(DATA))
    assert target.read_bytes() == DATA and len(server.requests) == 1


def test_a_length_that_never_comes_ends(server, target):
    server.script = [lambda handler: handler.send(200, DATA, length=len(DATA) + 1)] * 9
    with pytest.raises(VbenchError, match="broke after 10240 of 10241 bytes; what has arrived is kept"):
        fetch(server.url, target)
    assert len(server.requests) == downloads.ATTEMPTS and not target.exists()


def test_a_redirection_to_itself_ends(server, target):
    server.paths["/weights.bin"] = answers(302, Location="/weights.bin")
    with pytest.raises(VbenchError, match="sends on to nowhere good"):
        fetch(server.url, target)
    assert len(server.requests) < 20


def test_a_token_is_shown_to_this_server_only(server, target):
    server.script = [answers(302, Location="/elsewhere")]
    fetch(server.url, target, SHA256, token="secret")
    assert [request[1].get("Authorization") for request in server.requests] == ["Bearer secret", None]


def test_a_stopped_download_keeps_what_has_arrived(server, target):
    stop = threading.Event()

    def begin(handler):
        handler.send(200, DATA[:100], length=len(DATA), ETag='"v1"')
        handler.wfile.flush()
        stop.set()
        handler.wfile.write(DATA[100:])

    server.script = [begin]
    with pytest.raises(downloads.Stopped):
        fetch(server.url, target, stop=stop)
    arrived = target.with_name("weights.bin.part").stat().st_size
    assert 0 < arrived <= len(DATA) and not target.exists()
    fetch(server.url, target)
    assert server.requests[1][1]["Range"] == f"bytes={arrived}-" and target.read_bytes() == DATA


@pytest.mark.parametrize(
    ("answer", "version"),
    [
        (whole, '"v1"'),
        (answers(200, DATA, ETag='W/"weak"'), ""),
        (answers(206, b"0", Content_Range="bytes 0-0/10240", Last_Modified="yesterday"), "yesterday"),
    ],
)
def test_a_server_is_asked_about_a_file(server, answer, version):
    server.script = [answers(503), answer]
    assert downloads.about(server.url) == (len(DATA), version)


def test_no_server_is_said_soon(target, pauses):
    with pytest.raises(VbenchError, match="no answer"):
        fetch("http://127.0.0.1:9/weights.bin", target)
    assert len(pauses) == 1


def test_two_processes_do_not_write_the_same_part(server, target, capfd):
    go = threading.Event()

    def slowly(handler):
        go.wait(10)
        whole(handler)

    server.script = [slowly]
    code = "import sys, pathlib; from vbench_ctl.fetch import fetch; fetch(sys.argv[1], pathlib.Path(sys.argv[2]), sys.argv[3])"
    other = subprocess.Popen([sys.executable, "-c", code, server.url, str(target), SHA256])
    while not server.requests:
        assert other.poll() is None
        time.sleep(0.01)
    second = threading.Thread(target=fetch, args=(server.url, target, SHA256))
    second.start()
    said = ""
    while "another process" not in said:
        said += capfd.readouterr().err
        time.sleep(0.01)
    go.set()
    second.join(20)
    assert other.wait(20) == 0 and target.read_bytes() == DATA
    assert len(server.requests) == 1


# The package index


@pytest.fixture
def index(server, monkeypatch):
    """Make the server the index that pip uses."""
    settings = {"index-url": f"http://user:p%40ss@127.0.0.1:{server.server_port}/simple/"}
    monkeypatch.setattr(downloads, "_pip_settings", lambda: settings)
    server.settings = settings
    return server


HTML = b'<html><a href="../../files/toy-1.0.tar.gz#sha256=00">toy-1.0.tar.gz</a> <a href="/x">toy-2.0.tar.gz</a></html>'
JSON = json.dumps(
    {"files": [{"filename": "toy-1.0.tar.gz", "url": "../../files/toy-1.0.tar.gz", "hashes": {}}]}
).encode()


@pytest.mark.parametrize(
    "page",
    [
        answers(200, HTML, Content_Type="text/html"),
        answers(200, JSON, Content_Type="application/vnd.pypi.simple.v1+json"),
    ],
)
def test_an_archive_comes_from_the_index_and_is_not_built(index, tmp_path, page):
    index.script = [page]
    path = fetch_from_index("Toy_", "toy-1.0.tar.gz", SHA256, tmp_path)
    assert path == tmp_path / "toy-1.0.tar.gz" and path.read_bytes() == DATA
    assert [request[0] for request in index.requests] == ["/simple/toy-/", "/files/toy-1.0.tar.gz"]
    assert {request[1]["Authorization"] for request in index.requests} == {"Basic dXNlcjpwQHNz"}  # user:p@ss
    fetch_from_index("toy", "toy-1.0.tar.gz", SHA256, tmp_path)
    assert len(index.requests) == 2


def test_the_login_does_not_follow_a_redirection(index, tmp_path):
    index.script = [answers(200, HTML, Content_Type="text/html"), answers(302, Location="/elsewhere")]
    fetch_from_index("toy", "toy-1.0.tar.gz", SHA256, tmp_path)
    assert "Authorization" in index.requests[1][1] and "Authorization" not in index.requests[2][1]


def test_a_second_index_is_asked_when_the_first_has_none(index, tmp_path):
    index.settings["extra-index-url"] = f"file:///nowhere http://127.0.0.1:{index.server_port}/more"
    index.script = [answers(404), answers(200, HTML, Content_Type="text/html")]
    fetch_from_index("toy", "toy-1.0.tar.gz", SHA256, tmp_path)
    assert [request[0] for request in index.requests] == ["/simple/toy/", "/more/toy/", "/files/toy-1.0.tar.gz"]


@pytest.mark.parametrize(
    ("page", "words"),
    [
        (answers(404), "not there"),
        (answers(200, b"<html></html>", Content_Type="text/html"), "has no toy-1.0.tar.gz"),
        (answers(200, b"[]", Content_Type="application/json"), "not a page of a package index"),
        (answers(200, b"{", Content_Type="application/json"), "not a page of a package index"),
    ],
)
def test_an_index_without_the_archive_is_named_without_its_password(index, tmp_path, page, words):
    index.script = [page]
    with pytest.raises(VbenchError, match=words) as caught:
        fetch_from_index("toy", "toy-1.0.tar.gz", SHA256, tmp_path)
    assert "127.0.0.1" in str(caught.value) and "p%40ss" not in str(caught.value)


def test_an_archive_of_another_hash_is_refused(index, tmp_path):
    index.script = [answers(200, HTML, Content_Type="text/html")]
    with pytest.raises(VbenchError, match="is not the expected"):
        fetch_from_index("toy", "toy-1.0.tar.gz", "0" * 64, tmp_path)
    assert not list(tmp_path.glob("toy*"))


def test_settings_of_pip_are_read(tmp_path, monkeypatch):
    config = tmp_path / "pip.conf"
    config.write_text(
        "[global]\nindex-url = http://global/simple\ncert = /global.pem\n[download]\nindex-url = http://narrow/simple\n"
    )
    for key in ("PIP_INDEX_URL", "PIP_CERT", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(key, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", str(config))
    settings = downloads._pip_settings()
    assert (settings["index-url"], settings["cert"]) == ("http://narrow/simple", "/global.pem")
    monkeypatch.setenv("PIP_INDEX_URL", "http://environment/simple")
    assert downloads._pip_settings()["index-url"] == "http://environment/simple"
