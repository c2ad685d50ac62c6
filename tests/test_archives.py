"""Folders, tars and zips are read alike; what leads out of an archive is refused."""

import contextlib
import io
import pickle
import tarfile
import tracemalloc
import zipfile

import pytest

from vbench_ctl import archives
from vbench_ctl.archives import Archive
from vbench_ctl.errors import Unreadable, VbenchError

FILES = {"set/train/b 1.bin": bytes(range(256)) * 40, "set/train/a.txt": b"first", "set/readme": b""}


def folder(path):
    for name, data in FILES.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    (path / ".hidden").write_bytes(b"not part of it")
    return path


def tar(path, mode="w", entries=()):
    with tarfile.open(path, mode) as made:
        for name, data in FILES.items():
            entry = tarfile.TarInfo(f"./{name}")
            entry.size = len(data)
            made.addfile(entry, io.BytesIO(data))
        for entry in entries:
            made.addfile(entry)
    return path


def zipped(path, extra=()):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        for name, data in [*FILES.items(), *extra]:
            made.writestr(name, data)
    return path


LAYOUTS = {
    "folder": lambda place: folder(place / "given"),
    "tar": lambda place: tar(place / "given.tar"),
    "tar.gz": lambda place: tar(place / "given.tar.gz", "w:gz"),
    "tgz": lambda place: tar(place / "given.tgz", "w:gz"),
    "zip": lambda place: zipped(place / "given.ZIP"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_all_layouts_hold_the_same_files(layout, tmp_path):
    found = archives.members(LAYOUTS[layout](tmp_path))
    assert {each.name: each.read() for each in found} == FILES
    assert [repr(each) for each in found] == [f"Member(name={n!r}, size={len(FILES[n])})" for n in sorted(FILES)]
    large = pickle.loads(pickle.dumps(found[-1]))
    with large.open() as file:
        assert file.read(3) == b"\0\1\2" and file.seek(-2, 2) == large.size - 2 and file.read() == b"\xfe\xff"
        file.seek(300)
        assert file.read(2) == bytes([300 - 256, 301 - 256])


def test_a_file_is_its_own_member_and_nothing_is_unpacked_twice(tmp_path, home):
    path = tmp_path / "one.mp4"
    path.write_bytes(b"film")
    assert [(each.name, each.read()) for each in archives.members(path)] == [("one.mp4", b"film")]
    packed = tar(tmp_path / "given.tar.gz", "w:gz")
    first = archives.unpacked(packed)
    (first / "mark").write_text("kept")
    assert archives.unpacked(packed) == first and (first / "mark").exists()
    assert home in first.parents


def test_what_a_killed_process_had_unpacked_is_removed(tmp_path, home):
    packed = tar(tmp_path / "given.tar.gz", "w:gz")
    folder = archives.unpacked(packed)
    left = folder.with_name(f".{folder.name}.0123abcd.part")
    folder.rename(left)
    assert archives.unpacked(packed) == folder and list(folder.parent.iterdir()) == [folder]


def test_an_error_names_the_member_that_was_copied_out(tmp_path):
    for path in (tar(tmp_path / "a.tar"), zipped(tmp_path / "a.zip")):
        member = archives.members(path)[0]
        with pytest.raises(VbenchError) as caught, member.on_disk() as copy:
            raise VbenchError(f"{copy}: not a video")
        assert str(caught.value) == f"{member.name}: not a video"


@pytest.mark.parametrize("make", [tar, zipped])
def test_a_large_member_takes_little_memory(make, tmp_path, monkeypatch):
    data = bytes(range(256)) * (48 << 12)
    monkeypatch.setitem(FILES, "set/large.bin", data)
    (member,) = [each for each in archives.members(make(tmp_path / f"a.{make.__name__[:3]}")) if each.size == len(data)]
    tracemalloc.start()
    with member.open() as file, member.on_disk() as copy:
        assert copy.stat().st_size == len(data) and file.seek(-2, 2) and file.read() == b"\xfe\xff"
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(data) > 40 << 20 > 4 * peak


def test_names_are_matched_at_any_depth(tmp_path):
    archive = Archive((LAYOUTS["tar"](tmp_path), LAYOUTS["zip"](tmp_path)))
    assert len(archive.members) == 2 * len(FILES)
    assert list(archive.matching(r"train/(\w)\.(txt)")) == [("a", "txt")]
    assert "set/readme" in str(archive.lacking("traj_*.tfrecords")) and "--archive" in str(archive.lacking("x"))


def test_a_stream_of_a_tar_writes_nothing(tmp_path, home):
    for path in (tar(tmp_path / "a.tar.gz", "w:gz"), tar(tmp_path / "b.tar")):
        assert dict(archives.stream(path)) == FILES
    assert not home.exists()


def entry(name, kind=tarfile.REGTYPE, target=""):
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, target
    return made


EVIL = {
    "../out": entry("../out"),
    "/etc/out": entry("/etc/out"),
    "a/../../out": entry("a/../../out"),
    "link": entry("link", tarfile.SYMTYPE, "/etc/passwd"),
    "hard": entry("hard", tarfile.LNKTYPE, "set/readme"),
}


@pytest.mark.parametrize("name", EVIL)
@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_tars_that_lead_out_are_refused(name, mode, tmp_path):
    path = tar(tmp_path / ("evil.tar" if mode == "w" else "evil.tar.gz"), mode, [EVIL[name]])
    for read in (archives.members, lambda path: list(archives.stream(path)), archives.unpacked):
        with pytest.raises(VbenchError, match="do not trust this file") as caught:
            read(path)
        assert name in str(caught.value) or "/etc/passwd" in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["../out", "/out", "..\\out", "C:/out"])
def test_zips_that_lead_out_are_refused(name, tmp_path):
    with pytest.raises(VbenchError, match="leads out of the archive"):
        archives.members(zipped(tmp_path / "evil.zip", [(name, b"x")]))


@pytest.mark.parametrize("name", ["cut.tar", "cut.tar.gz", "cut.zip"])
def test_damaged_archives_are_named(name, tmp_path):
    path = tmp_path / name
    path.write_bytes(b"this is no archive" * 100)
    with pytest.raises(archives.Broken, match=r"not a whole (tar|zip) archive .*fetch it again") as caught:
        archives.members(path)
    sent = pickle.loads(pickle.dumps(caught.value))  # from a worker
    assert str(sent) == str(caught.value) and sent.path == path


def test_a_cut_short_member_is_named(tmp_path):
    path = tar(tmp_path / "cut.tar")
    found = archives.members(path)[-1]
    path.write_bytes(path.read_bytes()[: found.offset + 100])
    with pytest.raises(VbenchError, match=r"cut\.tar: set/train/b 1\.bin has 100 of 10240 bytes"):
        found.read()
    with pytest.raises(VbenchError, match="missing: not there"):
        archives.members(tmp_path / "missing")


@pytest.mark.parametrize("cut", [512 * 2, 512 * 2 + 100])
def test_a_tar_that_ends_early_is_not_taken_for_a_shorter_one(cut, tmp_path):
    path = tar(tmp_path / "early.tar")
    first = archives.members(path)
    assert len(first) == 3
    end = min(each.offset + each.size for each in first if each.size > 100)
    at = -(-end // 512) * 512
    path.write_bytes(path.read_bytes()[: at + cut - 1024])
    with pytest.raises(VbenchError, match="not a whole tar archive"):
        archives.members(path)


def test_what_the_system_does_not_read_now_is_not_taken_for_damaged(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.mp4").write_bytes(b"no video")
    (member,) = archives.members(tmp_path / "in")
    with pytest.raises(VbenchError, match="damaged"), member.on_disk():
        raise VbenchError("damaged")
    (tmp_path / "in/a.mp4").unlink()
    with pytest.raises(Unreadable, match=r"a\.mp4 cannot be read now \(No such file or directory\)") as caught:
        member.read()
    assert not isinstance(caught.value, VbenchError) and pickle.loads(pickle.dumps(caught.value)).args
    with pytest.raises(Unreadable), member.on_disk():
        raise VbenchError("FFmpeg did not find it")


def test_links_in_a_users_folder_are_followed_once(tmp_path):
    place = folder(tmp_path / "real")
    (tmp_path / "given").mkdir()
    (tmp_path / "given/train").symlink_to(place / "set/train")
    (tmp_path / "given/up").symlink_to(tmp_path / "given")
    (tmp_path / "given/nowhere").symlink_to(tmp_path / "gone")
    assert [each.name for each in archives.members(tmp_path / "given")] == ["train/a.txt", "train/b 1.bin"]


def test_a_damaged_zip_member_is_a_sentence(tmp_path):
    path = zipped(tmp_path / "a.zip")
    data = bytearray(path.read_bytes())
    data[60:64] = b"\xff\xff\xff\xff"
    path.write_bytes(data)
    for each in archives.members(path):
        with contextlib.suppress(VbenchError):  # whichever was hit
            each.read()
            with each.open() as file:
                file.read()
