"""Files of datasets: what a card asks for, by download or by hand. The network is a server on this machine."""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
import tomllib
from types import SimpleNamespace

import faults
import pytest
from faults import DATA, SHA256, answers, breaks_after, gives, whole

from vbench_ctl import acquire, archives, files, hashes, hosts
from vbench_ctl import fetch as downloads
from vbench_ctl.errors import ManualStep, UsageError, VbenchError

OTHER = DATA[::-1]
OTHER_SHA256 = hashlib.sha256(OTHER).hexdigest()
NOTES = b"clip,split\n1,train\n"
NOTES_ENTRY = {"name": "notes.csv", "size": len(NOTES), "sha256": hashlib.sha256(NOTES).hexdigest()}
PAGE = b"<!DOCTYPE html><html>Too many users have viewed or downloaded this file recently.</html>"


@pytest.fixture
def server(monkeypatch):
    with faults.serving() as server:
        server.paths["/notes.csv"] = gives(NOTES)
        yield server


@pytest.fixture(autouse=True)
def pauses(monkeypatch):
    """The pauses that would have been made; and no aria2c, whatever this machine has."""
    made = []
    monkeypatch.setattr(downloads, "_sleep", made.append)
    monkeypatch.setattr(hosts, "YOUTUBE_PAUSE_SECONDS", 0)
    monkeypatch.setattr(hosts.shutil, "which", lambda program: None)
    return made


@pytest.fixture
def folder(home):
    return home / "archives" / "toy"


def card(*entries):
    return {"file": list(entries)}


def main_file(server, **facts):
    return {"name": "toy.tar", "urls": [f"{server.root}/toy.tar"], "kind": "http", **facts}


def annex(server):
    return {**NOTES_ENTRY, "urls": [f"{server.root}/notes.csv"]}


def fetch(*entries, **options):
    return acquire.fetch("toy", card(*entries), ["train"], None, **options)


def states(*entries, splits=("train",), **options):
    return {item.name: item.state for item in acquire.plan("toy", card(*entries), splits, None, **options)}


# What a card asks for


def test_a_plan_says_what_comes_from_where_and_asks_nobody(server, folder):
    manual = {"name": "faces.zip", "kind": "manual", "urls": ["https://example.org/ask"]}
    drive = {"name": "big.zip", "kind": "gdrive", "urls": ["gdrive:abc"], "size": "unknown", "sha256": "unknown"}
    entries = [main_file(server, size=5), annex(server), manual, drive]
    plan = acquire.plan("toy", card(*entries), ["train"], None)
    assert [(item.name, item.size, item.state) for item in plan] == [
        ("toy.tar", 5, "missing"),
        ("notes.csv", len(NOTES), "missing"),
        ("faces.zip", "unknown", "by hand"),
        ("big.zip", "unknown", "missing"),
    ]
    assert plan[0].target == folder / "toy.tar" and plan[0].origin == f"{server.root}/toy.tar"
    assert plan[2].origin == "https://example.org/ask"
    assert plan[3].origin == "https://drive.google.com/file/d/abc/view"
    folder.mkdir(parents=True)
    (folder / "toy.tar").write_bytes(b"12345")
    (folder / "faces.zip").write_bytes(b"x")
    (folder / "big.zip.part").write_bytes(DATA)
    (folder / "big.zip.part.json").write_bytes(DATA + DATA)
    (folder / "notes.csv").write_bytes(b"cut short")
    assert states(*entries) == {
        "toy.tar": "there",
        "notes.csv": "missing",
        "faces.zip": "there",
        "big.zip": f"partly ({len(DATA)} bytes)",
    }
    assert server.requests == []


def test_only_files_of_these_splits_and_options_are_wanted(server):
    entries = [
        main_file(server, splits=["test"]),
        {**annex(server), "splits": ["train", "val"]},
        {"name": "a.zip", "urls": ["gdrive:a"], "options": {"packing": "a"}},
        {"name": "b.zip", "urls": ["gdrive:b"], "options": {"packing": "b"}},
    ]
    assert set(states(*entries, options={"packing": "a", "size": 64})) == {"notes.csv", "a.zip"}
    assert set(states(*entries)) == {"notes.csv", "a.zip", "b.zip"}
    assert set(states(*entries, splits=["test"], options={"packing": "b"})) == {"toy.tar", "b.zip"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": "../toy.tar"}, 'card of toy: "../toy.tar" is no name'),
        ({"kind": "ftp"}, 'toy.tar has kind "ftp", expected one of http, gdrive'),
        ({"urls": []}, "toy.tar has no urls"),
        ({"urls": ["file:///etc/passwd"]}, "toy.tar has file:///etc/passwd"),
    ],
)
def test_a_card_with_a_mistake_is_named(server, change, words):
    with pytest.raises(VbenchError, match=words):
        fetch(main_file(server) | change)


def test_everything_comes_once_and_is_described(server, folder):
    archive = fetch(main_file(server), annex(server))
    assert archive.paths == (folder / "toy.tar", folder / "notes.csv")
    assert (folder / "toy.tar").read_bytes() == DATA and (folder / "notes.csv").read_bytes() == NOTES
    assert [(source["name"], source["url"], source["size"], source["sha256"]) for source in archive.sources] == [
        ("notes.csv", f"{server.root}/notes.csv", len(NOTES), NOTES_ENTRY["sha256"]),
        ("toy.tar", f"{server.root}/toy.tar", len(DATA), SHA256),
    ]
    assert {source["how"] for source in archive.sources} == {"download"}
    assert fetch(main_file(server), annex(server)) == archive
    assert len(server.requests) == 2


def test_a_break_is_resumed_by_the_next_run(server, folder, monkeypatch):
    monkeypatch.setattr(downloads, "ATTEMPTS", 1)
    server.script = [breaks_after(4000)]
    with pytest.raises(VbenchError, match=r'kept.*by hand is taken with "vbench-ctl prepare toy --archive toy.tar"'):
        fetch(main_file(server))
    assert states(main_file(server)) == {"toy.tar": "partly (4000 bytes)"}
    fetch(main_file(server))
    assert server.requests[1][1]["Range"] == "bytes=4000-"
    assert [path.name for path in folder.iterdir() if not path.name.startswith(".")] == ["toy.tar"]


def test_the_next_address_is_tried_when_one_fails(server, folder):
    entry = main_file(server, urls=[f"{server.root}/gone", f"{server.root}/page", f"{server.root}/toy.tar"])
    server.paths |= {"/gone": answers(404), "/page": answers(200, PAGE, Content_Type="text/html")}
    archive = fetch(entry)
    assert archive.sources[0]["url"] == f"{server.root}/toy.tar"
    shutil.rmtree(folder)
    entry["urls"].pop()
    with pytest.raises(VbenchError, match=r"gone: not there \(404.*; .*page: answers with a web page"):
        fetch(entry)


def test_spaces_in_addresses_are_quoted(server):
    fetch(main_file(server, urls=[f"{server.root}/ski jumping's%20.tar"]))
    assert server.asked == ["/ski%20jumping's%20.tar"]


def test_too_small_a_disk_is_said_before_anything_comes(server, monkeypatch):
    monkeypatch.setattr(files.shutil, "disk_usage", lambda path: SimpleNamespace(free=1e9))
    with pytest.raises(VbenchError, match=r"3.0 GB are to be downloaded and unpacked and 1.0 GB free"):
        fetch(main_file(server, size=3_000_000_000))
    assert server.requests == []


# Several at once


def test_no_more_than_two_files_come_from_one_server_at_a_time(server):
    waiting, most, free = [], [], threading.Condition()

    def in_company(handler):
        with free:
            waiting.append(handler)
            most.append(len(waiting))
            free.notify_all()
            assert free.wait_for(lambda: max(most) >= 2, 10)
        whole(handler)
        with free:
            waiting.remove(handler)

    server.paths = {f"/{n}": in_company for n in range(6)}
    fetch(*({"name": f"{n}.tar", "urls": [f"{server.root}/{n}"]} for n in range(6)))
    assert max(most) == 2 and len(most) == 6


def test_one_failure_does_not_end_the_others(server, folder, capfd):
    go = threading.Event()

    def later(handler):
        assert go.wait(10)
        whole(handler)

    def refuses(handler):
        handler.send(404)
        go.set()

    server.paths = {"/late": later, "/gone": refuses}
    with pytest.raises(VbenchError, match="gone: not there"):
        fetch({"name": "late.tar", "urls": [f"{server.root}/late"]}, {"name": "x.tar", "urls": [f"{server.root}/gone"]})
    assert (folder / "late.tar").read_bytes() == DATA


CODE = """
import signal, sys
from vbench_ctl import acquire
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts what runs in the background without it
card = {"file": [{"name": f"{name}.tar", "urls": [f"{sys.argv[1]}/{name}"]} for name in "ab"]}
acquire.fetch("toy", card, ["train"], None)
"""


def test_control_c_keeps_the_parts(server, folder):
    data, go = DATA * 100, threading.Event()

    def half(handler):
        handler.send(200, data[:500_000], length=len(data), ETag='"v1"')
        handler.wfile.flush()
        go.wait(60)

    server.paths = {"/a": half, "/b": half}
    entries = [{"name": f"{name}.tar", "urls": [f"{server.root}/{name}"]} for name in "ab"]
    process = subprocess.Popen([sys.executable, "-c", CODE, server.root], stderr=subprocess.PIPE)
    until = time.monotonic() + 60
    while not all(state.startswith("partly") for state in states(*entries).values()):
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    process.wait(60)
    go.set()
    assert b"KeyboardInterrupt" in process.stderr.read()
    held = [state for state in states(*entries).values() if state.startswith("partly")]
    assert len(held) == 2
    server.paths = {"/a": gives(data), "/b": gives(data)}
    fetch(*entries)
    ranges = [request[1]["Range"].removeprefix("bytes=").rstrip("-") for request in server.requests[2:]]
    assert sorted(f"partly ({start} bytes)" for start in ranges) == sorted(held)
    assert (folder / "a.tar").read_bytes() == (folder / "b.tar").read_bytes() == data


# The lock


def test_another_file_than_the_first_is_refused(server, folder):
    fetch(main_file(server))
    (folder / "toy.tar").unlink()
    server.paths["/toy.tar"] = gives(OTHER, etag='"v2"')
    with pytest.raises(VbenchError) as caught:
        fetch(main_file(server))
    text = str(caught.value)
    assert SHA256[:8] in text and OTHER_SHA256[:8] in text and str(acquire.lock_path(None)) in text
    assert not (folder / "toy.tar").exists()
    fetch(main_file(server, sha256=OTHER_SHA256))  # a card that has learnt of it counts more
    assert acquire.fetch("toy", card(main_file(server)), ["train"], None).sources[0]["sha256"] == OTHER_SHA256


def test_a_file_that_changed_here_is_refused_or_fetched_again(server, folder, capfd):
    fetch(main_file(server))
    (folder / "toy.tar").write_bytes(OTHER)
    with pytest.raises(VbenchError, match=f"{OTHER_SHA256[:8]}.*{SHA256[:8]}.* that came first"):
        fetch(main_file(server))
    fetch(main_file(server, sha256=SHA256))
    assert (folder / "toy.tar").read_bytes() == DATA and "fetching it again" in capfd.readouterr().err


def test_a_published_hash_is_held_against_the_server(server, folder):
    with pytest.raises(VbenchError, match=f"{SHA256[:8]}.* is not the published 00000000"):
        fetch(main_file(server, sha256="0" * 64))
    assert not (folder / "toy.tar").exists()


def test_the_lock_is_exported_as_lines_of_a_card(server, home):
    with pytest.raises(VbenchError, match=r"toy: .*knows no file of it"):
        acquire.export_lock(None, "toy")
    fetch(main_file(server), annex(server))
    lines = tomllib.loads(acquire.export_lock(home, "toy"))["file"]
    assert lines == [
        {**NOTES_ENTRY, "urls": [f"{server.root}/notes.csv"]},
        {"name": "toy.tar", "urls": [f"{server.root}/toy.tar"], "size": len(DATA), "sha256": SHA256},
    ]


# By hand

MANUAL = {
    "name": "faces.zip",
    "kind": "manual",
    "urls": ["https://example.org/"],
    "help": "Ask the owners\n at https://example.org/ and accept their licence.",
    "layouts": "a folder of 0001.mp4",
}


def test_what_only_the_user_can_get_is_explained(server, tmp_path):
    with pytest.raises(ManualStep) as caught:
        acquire.fetch("toy", card(main_file(server), MANUAL), ["train"], tmp_path / "my root")
    assert caught.value.exit_code == 3 and server.requests == []
    assert str(caught.value) == (
        "toy needs faces.zip, which only you can get: Ask the owners at https://example.org/ and accept their licence. "
        f"--archive takes a folder of 0001.mp4. Then run: vbench-ctl prepare toy --root '{tmp_path}/my root' --archive faces.zip"
    )


def test_a_file_or_folder_put_in_its_place_is_taken(folder):
    folder.mkdir(parents=True)
    (folder / "faces.zip").write_bytes(DATA)
    assert fetch(MANUAL).sources[0]["how"] == "by hand"
    (folder / "faces.zip").unlink()
    (folder / "faces.zip").mkdir()
    (folder / "faces.zip" / "0001.mp4").write_bytes(DATA)
    (source,) = fetch(MANUAL).sources
    assert source["size"] == len(DATA) and source["how"].startswith("by hand, as a folder")


def test_what_is_given_stands_for_the_archives_but_not_for_the_annex(server, folder, tmp_path):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "0001.mp4").write_bytes(DATA)
    entries = [main_file(server), MANUAL, annex(server)]
    assert states(*entries, given=[mine]) == {"mine": "given", "notes.csv": "missing"}
    archive = fetch(*entries, given=[mine])
    assert archive.paths == (mine, folder / "notes.csv") and server.asked == ["/notes.csv"]
    assert [(source["name"], source["how"][:7]) for source in archive.sources] == [
        ("mine", "by hand"),
        ("notes.csv", "downloa"),
    ]
    assert str(tmp_path) not in str(archive.sources)
    assert [member.name for member in archive.members] == ["0001.mp4", "notes.csv"]


def test_a_folder_that_holds_the_annex_serves_it(server, tmp_path):
    mine = tmp_path / "mine"
    (mine / "lists").mkdir(parents=True)
    (mine / "0001.mp4").write_bytes(DATA)
    (mine / "lists/notes.csv").write_bytes(NOTES)
    entries = [main_file(server), annex(server)]
    assert states(*entries, given=[mine]) == {"mine": "given", "notes.csv": "given"}
    archive = fetch(*entries, given=[mine])
    assert archive.paths == (mine, mine / "lists/notes.csv") and server.requests == []
    assert [(source["name"], source["sha256"]) for source in archive.sources][1] == ("notes.csv", NOTES_ENTRY["sha256"])
    (mine / "lists/notes.csv").write_bytes(NOTES[:-1])
    assert states(*entries, given=[mine])["notes.csv"] == "missing"  # that one is cut short


def test_advice_has_the_options_that_were_given(server):
    with pytest.raises(ManualStep, match=r"Then run: vbench-ctl prepare toy --size=128 --archive faces.zip$"):
        fetch(MANUAL, words=["--size=128"])
    server.paths["/toy.tar"] = answers(404)
    with pytest.raises(VbenchError, match=r'taken with "vbench-ctl prepare toy --size=128 --archive toy.tar"'):
        fetch(main_file(server), words=["--size=128"])


def test_a_changed_folder_is_another_source(tmp_path):
    (tmp_path / "0001.mp4").write_bytes(DATA)
    before = hashes.listing(tmp_path)
    assert hashes.listing(tmp_path) == before
    os.utime(tmp_path / "0001.mp4", (1, 1))
    assert hashes.listing(tmp_path) != before


def test_a_given_file_of_a_known_name_stands_for_that_one_only(server, tmp_path):
    mine = tmp_path / "faces.zip"
    mine.write_bytes(DATA)
    archive = fetch(main_file(server), MANUAL, given=[mine])
    assert [source["name"] for source in archive.sources] == ["faces.zip", "toy.tar"]
    assert archive.paths[0] == mine and server.asked == ["/toy.tar"]


def test_what_is_given_enters_the_lock(server, tmp_path, home):
    """Under a name of the card it must stay what it was; under one of the user's own it may change."""
    theirs, own = tmp_path / "toy.tar", tmp_path / "mine.tar"
    for path in (theirs, own):
        path.write_bytes(DATA)
    for path in (theirs, own):
        assert fetch(main_file(server), given=[path]).sources[0]["sha256"] == SHA256
        path.write_bytes(OTHER)
    assert {entry["name"]: entry["sha256"] for entry in tomllib.loads(acquire.export_lock(home, "toy"))["file"]} == {
        "toy.tar": SHA256,
        "mine.tar": SHA256,
    }
    with pytest.raises(
        VbenchError, match=rf"toy.tar: SHA-256 {OTHER_SHA256[:8]}.* of {theirs} is not the {SHA256[:8]}"
    ):
        fetch(main_file(server), given=[theirs])
    assert theirs.read_bytes() == OTHER  # refused, not removed
    assert fetch(main_file(server), given=[own]).sources[0]["sha256"] == OTHER_SHA256


def test_files_that_are_read_in_part_are_not_read_whole_for_a_hash(server, tmp_path, monkeypatch):
    mine = tmp_path / "mine.tar.gz"
    mine.write_bytes(DATA)
    monkeypatch.setattr(downloads, "digest", lambda path: pytest.fail(f"{path} was read"))
    (source,) = fetch(main_file(server), given=[mine], in_part=True).sources
    assert source["how"].startswith("by hand, read in part") and source["size"] == len(DATA)
    os.utime(mine, (1, 1))
    assert fetch(main_file(server), given=[mine], in_part=True).sources[0]["sha256"] != source["sha256"]


def test_space_is_needed_for_what_is_unpacked_too(server, tmp_path, folder, monkeypatch):
    packed = main_file(server, name="toy.tar.gz", size=len(DATA))
    (item,) = acquire.plan("toy", card(packed), ["train"], None)
    assert item.needed == 2 * len(DATA)
    given = tmp_path / "toy.tar.gz"
    with tarfile.open(given, "w:gz") as tar:
        tar.add(__file__, "a/b.py")
    (item,) = acquire.plan("toy", card(packed), ["train"], None, [given])
    assert item.needed == given.stat().st_size
    monkeypatch.setattr(files.shutil, "disk_usage", lambda path: SimpleNamespace(free=given.stat().st_size - 1))
    with pytest.raises(VbenchError, match=r"are needed at least to unpack toy.tar.gz and .* free; .*give the folder"):
        archives.members(given)
    monkeypatch.undo()
    archives.members(given, tmp_path)
    assert acquire.plan("toy", card(packed), ["train"], tmp_path, [given])[0].needed == 0


def test_a_given_file_that_is_cut_short_is_refused(server, tmp_path):
    mine = tmp_path / "toy.tar"
    mine.write_bytes(DATA[:-1])
    with pytest.raises(VbenchError, match=f"toy.tar: SHA-256 .* is not the published {SHA256[:8]}.*cut short"):
        fetch(main_file(server, sha256=SHA256), given=[mine])
    with pytest.raises(VbenchError, match=r"nowhere: not there; give a file"):
        fetch(main_file(server), given=[tmp_path / "nowhere"])


def test_a_hash_is_computed_once(tmp_path, monkeypatch):
    path, read = tmp_path / "big.tar", []
    path.write_bytes(DATA)
    os.utime(path, (1, 1))
    digest = downloads.digest
    monkeypatch.setattr(downloads, "digest", lambda path: read.append(path) or digest(path))
    assert hashes.digest(path) == hashes.digest(path) == SHA256 and len(read) == 1
    os.utime(path, (2, 2))
    assert hashes.digest(path) == SHA256 and len(read) == 2
    path.write_bytes(OTHER)  # it may change again before its time does
    assert hashes.digest(path) == hashes.digest(path) == OTHER_SHA256 and len(read) == 4


# Lists that are worked off one by one


def test_one_file_of_a_list_is_locked_by_its_address(server, home, tmp_path):
    target, url = tmp_path / "part_0.tar", f"{server.root}/k600/part_0.tar"
    source = acquire.fetch_one(url, target, dataset="toy")
    assert (source["name"], source["url"], source["sha256"]) == ("part_0.tar", url, SHA256)
    target.unlink()
    server.paths["/k600/part_0.tar"] = gives(OTHER, etag='"v2"')
    with pytest.raises(VbenchError, match="that came first"):
        acquire.fetch_one(url, target, dataset="toy")
    acquire.fetch_one(url, target, dataset="toy", lock=False)
    assert target.read_bytes() == OTHER and tomllib.loads(acquire.export_lock(None, "toy"))["file"][0]["name"] == url
    with pytest.raises(VbenchError, match="not an address"):
        acquire.fetch_one("ftp://example.org/x", target, dataset="toy")


WORKER = """
import pathlib, sys
from vbench_ctl import acquire
acquire.fetch_one(sys.argv[1], pathlib.Path(sys.argv[2]), dataset="toy")
"""


def test_processes_share_the_places_at_a_server(server, tmp_path):
    begun, go = [], threading.Event()

    def slowly(handler):
        begun.append(handler)
        go.wait(20)
        whole(handler)

    server.paths = {f"/{n}.tar": slowly for n in range(3)}
    urls = [f"{server.root}/{n}.tar" for n in range(3)]
    workers = [
        subprocess.Popen([sys.executable, "-c", WORKER, url, str(tmp_path / f"{n}.tar")]) for n, url in enumerate(urls)
    ]
    until = time.monotonic() + 20
    while len(begun) < 2:
        assert time.monotonic() < until
        time.sleep(0.01)
    time.sleep(0.3)  # a third would have come by now
    assert len(begun) == 2
    go.set()
    assert [worker.wait(20) for worker in workers] == [0, 0, 0]
    assert set(tomllib.loads(acquire.export_lock(None, "toy"))["file"][2]) == {"name", "urls", "size", "sha256"}


# The hosts


def test_dropbox_is_asked_for_the_file_itself(server, monkeypatch):
    assert hosts.from_dropbox("https://www.dropbox.com/s/x/A.zip") == "https://www.dropbox.com/s/x/A.zip?dl=1"
    assert hosts.from_dropbox("https://www.dropbox.com/scl/fi/x?rlkey=k&dl=0").endswith("?rlkey=k&dl=1")
    fetch(main_file(server, kind="dropbox"))
    assert server.asked == ["/toy.tar?dl=1"]


@pytest.fixture
def drive(server, monkeypatch):
    """Lead gdown's requests for Google Drive to the server."""
    gdown = pytest.importorskip("gdown")
    from requests import Session
    from requests.adapters import HTTPAdapter

    class Detour(HTTPAdapter):
        def send(self, request, **options):
            request.url = request.url.replace("https://drive.google.com", server.root)
            return super().send(request, **options)

    def session(**options):
        session = Session()
        session.mount("https://drive.google.com", Detour())
        return session, os.devnull

    module = sys.modules[gdown.download.__module__]
    monkeypatch.setattr(module, "_get_session", session)
    monkeypatch.setattr(module, "_save_cookies", lambda **options: None)
    return server


DRIVE = {"name": "toy.zip", "kind": "gdrive", "urls": ["gdrive:abc"], "size": "unknown", "sha256": "unknown"}


def attached(handler, data=DATA):
    """A file of Google Drive, in parts if it is asked so."""
    start = int(handler.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
    place = {"Content_Range": f"bytes {start}-{len(data) - 1}/{len(data)}"} if start else {}
    facts = {"Content_Type": "application/zip", "Content_Disposition": 'attachment; filename="toy.zip"', "ETag": '"d"'}
    handler.send(206 if start else 200, data[start:], **facts, **place)


def test_a_file_comes_from_google_drive(drive, folder):
    drive.paths["/uc"] = attached
    archive = fetch(DRIVE)
    assert drive.asked == ["/uc?id=abc"] and (folder / "toy.zip").read_bytes() == DATA
    assert archive.sources[0]["url"] == "gdrive:abc" and archive.sources[0]["sha256"] == SHA256


def test_a_file_of_google_drive_is_resumed(drive, folder):
    folder.mkdir(parents=True)
    (folder / "toy.zip.part.driveabcdefgh.part").write_bytes(DATA[:4000])
    assert states(DRIVE) == {"toy.zip": "partly (4000 bytes)"}
    drive.paths["/uc"] = attached
    fetch(DRIVE)
    assert drive.requests[-1][1]["Range"] == "bytes=4000-" and (folder / "toy.zip").read_bytes() == DATA
    assert states(DRIVE) == {"toy.zip": "there"}


@pytest.mark.parametrize("disposition", [{}, {"Content_Disposition": 'attachment; filename="toy.zip"'}])
def test_a_page_of_google_drive_is_no_archive(drive, folder, disposition):
    drive.paths["/uc"] = answers(200, PAGE, Content_Type="text/html; charset=utf-8", **disposition)
    with pytest.raises(ManualStep) as caught:
        fetch(DRIVE)
    assert str(caught.value) == (
        "toy.zip: Google Drive refused (daily quota, or the file is no longer shared); "
        "open https://drive.google.com/file/d/abc/view in a browser and save the file by hand; "
        'what you have by hand is taken with "vbench-ctl prepare toy --archive toy.zip"'
    )
    assert not (folder / "toy.zip").exists()


@pytest.mark.parametrize(
    ("facts", "words"),
    [({"size": 99}, "has 10240 bytes, expected 99"), ({"sha256": "0" * 64}, "is not the published 00000000")],
)
def test_another_file_of_google_drive_is_refused(drive, folder, facts, words):
    drive.paths["/uc"] = attached
    with pytest.raises(VbenchError, match=words):
        fetch({**DRIVE, **facts})
    assert states(DRIVE) == {"toy.zip": "missing"}


def test_trouble_with_google_drive_is_one_sentence(drive, monkeypatch):
    monkeypatch.setattr(downloads, "ATTEMPTS", 1)
    drive.paths["/uc"] = lambda handler: handler.send(
        200, DATA[:100], length=len(DATA), Content_Disposition="attachment", Content_Type="application/zip"
    )
    with pytest.raises(VbenchError, match=r"abc/view: .*what has arrived is kept") as caught:
        fetch(DRIVE)
    assert "\n" not in str(caught.value)


@pytest.fixture
def hub(server, monkeypatch):
    pytest.importorskip("huggingface_hub")
    monkeypatch.setenv("HF_ENDPOINT", server.root)
    monkeypatch.setenv("HF_TOKEN", "secret")
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    return server


HUB = {"name": "toy.zip", "kind": "hf", "urls": ["hf:owner/data/folder/toy.zip"]}
HUB_PATH = "/datasets/owner/data/resolve/main/folder/toy.zip"


def resolves(handler):
    """The hub sends large files on to another server, and tells about them on the way."""
    facts = {"X_Linked_Etag": f'"{SHA256}"', "X_Linked_Size": str(len(DATA)), "X_Repo_Commit": "0" * 40}
    handler.send(302, Location=f"http://localhost:{handler.server.server_port}/cdn/toy.zip", **facts)


def test_a_file_comes_from_the_hub_and_is_verified(hub, folder):
    hub.paths[HUB_PATH] = resolves
    fetch(HUB)
    assert (folder / "toy.zip").read_bytes() == DATA
    assert hub.asked[-3:] == [HUB_PATH, HUB_PATH, "/cdn/toy.zip"]
    assert hub.requests[-2][1]["Authorization"] == "Bearer secret" and "Authorization" not in hub.requests[-1][1]
    (folder / "toy.zip").unlink()
    acquire.lock_path().unlink()
    hub.paths["/cdn/toy.zip"] = gives(OTHER)
    with pytest.raises(VbenchError, match=f"{OTHER_SHA256[:8]}.* is not the expected {SHA256[:8]}"):
        fetch(HUB)


def test_a_hub_that_has_another_file_is_left_before_it_comes(hub):
    hub.paths[HUB_PATH] = resolves
    with pytest.raises(VbenchError, match=f"{SHA256[:8]}.* is not the published 00000000"):
        fetch({**HUB, "sha256": "0" * 64})
    assert "/cdn/toy.zip" not in hub.asked


def test_a_gated_repository_is_a_manual_step(hub):
    hub.paths[HUB_PATH] = answers(403, X_Error_Code="GatedRepo", X_Error_Message="Access is restricted")
    with pytest.raises(ManualStep, match=r"ask for access at https://huggingface.co/datasets/owner/data, run"):
        fetch(HUB)


def test_a_file_that_the_hub_lacks_is_one_sentence(hub):
    hub.paths[HUB_PATH] = answers(404, X_Error_Code="EntryNotFound")
    with pytest.raises(VbenchError, match=r"owner/data/blob/main/folder/toy.zip: 404") as caught:
        fetch(HUB)
    assert "\n" not in str(caught.value)


@pytest.fixture
def youtube(server, monkeypatch):
    """Lead yt-dlp to a plain video file, which its generic extractor knows."""
    pytest.importorskip("yt_dlp")
    monkeypatch.setattr(hosts, "page", lambda url: f"{server.root}/watch/{url.partition(':')[2]}.mp4")
    return server


MATCH = {"name": "match.mp4", "kind": "youtube", "urls": ["youtube:TUikJi0Qhhw"], "format": "mp4"}


def film(handler, data=DATA):
    start = int(handler.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
    place = {"Content_Range": f"bytes {start}-{len(data) - 1}/{len(data)}"} if start else {}
    handler.send(206 if start else 200, data[start:], Content_Type="video/mp4", **place)


def test_a_video_comes_in_exactly_the_format_asked_for(youtube, folder, monkeypatch):
    youtube.paths["/watch/TUikJi0Qhhw.mp4"] = film
    assert fetch(MATCH).sources[0]["url"] == "youtube:TUikJi0Qhhw"
    assert (folder / "match.mp4").read_bytes() == DATA
    shutil.rmtree(folder)
    with pytest.raises(VbenchError, match=r"is not offered in format 137, and frame numbers hold for no other"):
        fetch({**MATCH, "format": "137"})


def test_a_video_is_resumed(youtube, folder):
    folder.mkdir(parents=True)
    (folder / "match.mp4.part.part").write_bytes(DATA[:4000])
    assert states(MATCH) == {"match.mp4": "partly (4000 bytes)"}
    youtube.paths["/watch/TUikJi0Qhhw.mp4"] = film
    fetch(MATCH)
    assert (folder / "match.mp4").read_bytes() == DATA and youtube.requests[-1][1]["Range"].startswith("bytes=4000-")
    assert states(MATCH) == {"match.mp4": "there"}


def test_youtube_asking_to_sign_in_is_one_sentence_with_what_helps(monkeypatch, tmp_path):
    yt_dlp = pytest.importorskip("yt_dlp")
    asked = {}

    class Refusing:
        def __init__(self, options):
            asked.update(options)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def download(self, urls):
            raise yt_dlp.utils.DownloadError("ERROR: [youtube] x: Sign in to confirm you're not a bot.\nmore")

    monkeypatch.setattr(yt_dlp, "YoutubeDL", Refusing)
    with pytest.raises(
        VbenchError, match=r"watch\?v=TUikJi0Qhhw does not come \(\[youtube\].*bot\).*--cookies BROWSER"
    ):
        fetch({**MATCH, "format": "137"}, cookies="Firefox:default", rate="1.5M")
    assert asked["format"] == "137" and asked["ratelimit"] == 1_572_864
    assert asked["cookiesfrombrowser"] == ("firefox", "default", None, None)
    jar = tmp_path / "cookies.txt"
    jar.touch()
    with pytest.raises(VbenchError):
        fetch(MATCH, cookies=str(jar))
    assert asked["cookiefile"] == str(jar)
    with pytest.raises(UsageError, match=r'--rate "fast": expected bytes a second'):
        fetch(MATCH, rate="fast")


@pytest.mark.parametrize(("entry", "package"), [(DRIVE, "gdown"), (HUB, "huggingface_hub"), (MATCH, "yt_dlp")])
def test_a_package_that_is_missing_is_named(entry, package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(VbenchError, match=rf'needs {package}, .*run: pip install "vbench-ctl\[download\]"'):
        fetch(entry)


# aria2c

ARIA = f"""#!{sys.executable}
import json, os, pathlib, sys, urllib.request
options = dict(word[2:].split("=", 1) for word in sys.argv[1:-1])
folder = pathlib.Path(options["dir"])
part, control = folder / options["out"], folder / (options["out"] + ".aria2")
record = pathlib.Path(os.environ["ARIA_RECORD"])
record.write_text(json.dumps({{"options": options, "url": sys.argv[-1], "held": part.exists() and part.stat().st_size}}))
how = os.environ["ARIA_DOES"]
if how == "nothing":
    sys.exit("errorCode=22 The response status is not successful.")
data = urllib.request.urlopen(sys.argv[-1]).read()
if how == "half":
    part.write_bytes(data[:4000])
    control.write_bytes(b"pieces")
    sys.exit("errorCode=6 Network problem has occurred.")
part.write_bytes(data[:-1] if how == "short" else data)
control.unlink(missing_ok=True)
"""


@pytest.fixture
def aria(server, tmp_path, monkeypatch):
    """A program called aria2c that does what ARIA_DOES says."""
    import json

    program, record = tmp_path / "bin" / "aria2c", tmp_path / "record.json"
    program.parent.mkdir()
    program.write_text(ARIA)
    program.chmod(0o755)
    monkeypatch.setattr(hosts.shutil, "which", lambda name: str(program))
    monkeypatch.setattr(hosts, "PARALLEL_BYTES", 5000)
    monkeypatch.setenv("ARIA_RECORD", str(record))
    monkeypatch.setenv("ARIA_DOES", "all")
    return lambda: json.loads(record.read_text()) if record.exists() else None


def test_a_large_file_comes_by_aria2c(aria, server, folder):
    fetch(main_file(server), annex(server))
    asked = aria()
    assert asked["url"] == f"{server.root}/toy.tar" and asked["options"]["split"] == str(hosts.CONNECTIONS)
    assert asked["options"]["continue"] == "true" and asked["options"]["stop-with-process"] == str(os.getpid())
    assert (folder / "toy.tar").read_bytes() == DATA and (folder / "notes.csv").read_bytes() == NOTES
    assert not list(folder.glob("*.part*"))


def test_aria2c_continues_what_it_began(aria, server, folder, monkeypatch):
    monkeypatch.setenv("ARIA_DOES", "half")
    with pytest.raises(VbenchError, match=r"aria2c ended with 1 \(errorCode=6 Network.*what has arrived is kept"):
        fetch(main_file(server))
    assert states(main_file(server)) == {"toy.tar": "partly (4000 bytes)"}
    monkeypatch.setenv("ARIA_DOES", "all")
    fetch(main_file(server))
    assert aria()["held"] == 4000 and (folder / "toy.tar").read_bytes() == DATA


def test_aria2c_does_not_continue_another_version(aria, server, folder, monkeypatch):
    monkeypatch.setenv("ARIA_DOES", "half")
    with pytest.raises(VbenchError):
        fetch(main_file(server))
    monkeypatch.setenv("ARIA_DOES", "all")
    server.paths["/toy.tar"] = gives(OTHER, etag='"v2"')
    fetch(main_file(server))
    assert aria()["held"] is False and (folder / "toy.tar").read_bytes() == OTHER


def test_where_aria2c_brings_nothing_the_file_comes_without(aria, server, folder, monkeypatch, capfd):
    monkeypatch.setenv("ARIA_DOES", "nothing")
    fetch(main_file(server))
    assert (folder / "toy.tar").read_bytes() == DATA and "fetching it without" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("does", "facts", "words"),
    [
        ("short", {}, "has 10239 bytes, expected 10240"),
        ("all", {"sha256": "0" * 64}, "is not the published 00000000"),
        ("all", {"size": 9999}, "has 10240 bytes, expected 9999"),
    ],
)
def test_what_aria2c_brings_is_verified(aria, server, folder, monkeypatch, does, facts, words):
    monkeypatch.setenv("ARIA_DOES", does)
    with pytest.raises(VbenchError, match=words):
        fetch(main_file(server, **facts))
    assert states(main_file(server)) == {"toy.tar": "missing"}


def test_a_part_of_our_own_is_not_left_to_aria2c(aria, server, folder):
    folder.mkdir(parents=True)
    (folder / "toy.tar.part").write_bytes(DATA[:4000])
    fetch(main_file(server, sha256=SHA256))
    assert aria() is None and server.requests[-1][1]["Range"] == "bytes=4000-"
