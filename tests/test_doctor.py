"""doctor: what it finds in machines that have something wrong with them."""

import errno
import shutil
import sys
from importlib import metadata
from importlib.metadata import EntryPoint
from types import ModuleType, SimpleNamespace

import av
import pytest
import torchvision

from vbench_ctl import doctor, registry, video
from vbench_ctl.doctor import Finding, examine


def about(subject: str, root=None) -> list[Finding]:
    return [finding for finding in examine(root) if finding.subject == subject]


def test_every_finding_is_complete_and_broken_ones_say_what_to_do(home):
    found = list(examine())
    assert {"vbench-ctl", "python", "packages", "torch", "processors", "gpu", "video", "disk", "weights", "[tf]"} <= {
        finding.subject for finding in found
    }
    assert all(finding.text and finding.state in ("ok", "note", "broken") for finding in found)
    assert [finding for finding in found if finding.state == "broken" and not finding.mend] == []
    assert not home.exists()  # it looks, and leaves nothing behind


def test_a_torchvision_of_another_build_is_named(monkeypatch):
    def nms(*boxes):
        raise RuntimeError("operator torchvision::nms does not exist\n and a long explanation")

    monkeypatch.setattr(torchvision.ops, "nms", nms)
    (finding,) = about("torch")
    assert finding.state == "broken" and "do not fit" in finding.text
    assert finding.text.endswith("RuntimeError: operator torchvision::nms does not exist")
    assert finding.mend.endswith("pip install --force-reinstall torch torchvision")


def test_a_torchvision_that_fails_on_import_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    (finding,) = about("torch")
    assert finding.state == "broken" and "--force-reinstall" in finding.mend


def test_without_torch_the_other_checks_go_on(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    found = {finding.subject: finding for finding in examine()}
    assert found["torch"].state == found["gpu"].state == "broken"
    assert found["torch"].mend and found["gpu"].mend
    assert found["processors"].state == found["video"].state == "ok"


def versions(monkeypatch, **held: str | None) -> None:
    """Let these distributions have these versions, or be missing."""

    def version(name: str) -> str:
        found = held.get(name.replace("-", "_"), "9999.0")
        if found is None:
            raise metadata.PackageNotFoundError(name)
        return found

    wanted = ["av>=18", "click>=8.1", "scipy", "tensorflow; extra == 'tf'", "setuptools<81; extra == 'tf'"]
    monkeypatch.setattr(doctor, "version", version)
    monkeypatch.setattr(doctor, "requires", lambda name: wanted)
    monkeypatch.setattr(
        doctor, "metadata", lambda name: SimpleNamespace(get_all=lambda key: ["tf", "docs", "all", "test"])
    )


def test_a_missing_and_an_old_package_are_named(monkeypatch):
    versions(monkeypatch, av="12.0.1", scipy=None)
    good, bad = about("packages")
    assert good == Finding("packages", "ok", "click 9999.0")
    assert bad == Finding(
        "packages", "broken", "av is 12.0.1, needed is >=18, scipy is missing", 'pip install "av>=18" "scipy"'
    )


def test_packages_that_fit_need_no_mending(monkeypatch):
    versions(monkeypatch)
    assert about("packages") == [Finding("packages", "ok", "av 9999.0, click 9999.0, scipy 9999.0")]


def test_an_extra_that_does_not_fit_is_a_note(monkeypatch):
    versions(monkeypatch, tensorflow=None, setuptools="84.0")
    mend = 'pip install "vbench-ctl[tf]"'
    assert about("[tf]") == [Finding("[tf]", "note", "tensorflow is missing, setuptools is 84.0, needed is <81", mend)]
    versions(monkeypatch, setuptools="80.0")
    assert about("[tf]") == [Finding("[tf]", "ok", "tensorflow 9999.0, setuptools 80.0")]
    assert about("[all]") == about("[docs]") == about("[test]") == []


def test_an_uninstalled_checkout_is_named(monkeypatch):
    def nothing(name: str):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(doctor, "version", nothing)
    monkeypatch.setattr(doctor, "requires", nothing)
    (finding,) = about("packages")
    assert finding.state == "broken" and "not installed" in finding.text and "pip install -e ." in finding.mend


def test_a_missing_encoder_is_named(monkeypatch):
    real = av.Codec

    def codec(name: str, mode: str):
        return real("no such codec" if name in ("libx264", "libvpx-vp9") else name, mode)

    monkeypatch.setattr(av, "Codec", codec)
    good, bad = about("video")
    assert good.state == "ok" and bad.state == "broken"
    assert bad.text == "no encoder for libx264 (.mp4), libvpx-vp9 (.webm)" and "pip install" in bad.mend


def test_a_decoder_alone_is_not_an_encoder(monkeypatch):
    monkeypatch.setitem(video.CODECS, ".mov", ("svq3", {}))  # FFmpeg only decodes it
    assert [finding.state for finding in about("video")] == ["ok", "broken"]


def test_little_space_is_a_note_and_none_is_broken(monkeypatch, tmp_path):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=2e9, total=1e12))
    (note,) = about("disk", tmp_path)
    assert note.state == "note" and "2 GB free of 1000" in note.text and "VBENCH_HOME" in note.mend

    def full(dir):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("tempfile.NamedTemporaryFile", full)
    broken = about("disk", tmp_path)[-1]
    assert broken.state == "broken" and "the disk is full" in broken.text


@pytest.mark.parametrize("place", ["file", "file/home/deep"])
def test_a_home_that_cannot_be_a_folder_is_named(place, tmp_path):
    (tmp_path / "file").touch()
    broken = about("disk", tmp_path / place)[-1]
    assert broken.state == "broken" and "a file is in the way" in broken.text and "VBENCH_HOME" in broken.mend


def test_a_home_without_permission_is_named(monkeypatch, tmp_path):
    def refused(dir):
        raise PermissionError(errno.EACCES, "Permission denied", str(dir))

    monkeypatch.setattr("tempfile.NamedTemporaryFile", refused)
    broken = about("disk", tmp_path / "not/yet/there")[-1]
    assert broken.state == "broken" and "no permission to write" in broken.text and "VBENCH_HOME" in broken.mend


def test_plugins_are_loaded_and_the_broken_ones_named(monkeypatch):
    good = ModuleType("good_metric")
    for word in registry.CONTRACTS["metrics"]:
        setattr(good, word, getattr(registry.load("metrics", "mse"), word))
    monkeypatch.setitem(sys.modules, "good_metric", good)
    points = [
        EntryPoint("metrics.good", "good_metric", registry.GROUP),
        EntryPoint("metrics.bad", "a_package_that_nobody_has", registry.GROUP),
        EntryPoint("metric.typo", "good_metric", registry.GROUP),
    ]
    monkeypatch.setattr(registry, "plugins", lambda: points)
    registry._theirs.cache_clear()
    try:
        fine, bad, typo = about("plugins")
    finally:
        monkeypatch.undo()
        registry._theirs.cache_clear()
    assert fine == Finding("plugins", "ok", "metrics.good of good_metric")
    assert bad.state == "broken" and "does not load (ModuleNotFoundError" in bad.text and "uninstall" in bad.mend
    assert typo.state == "broken" and 'registers "metric.typo", expected datasets.NAME' in typo.text


def test_a_check_that_fails_unforeseen_is_a_finding(monkeypatch):
    def lost(path):
        raise ValueError("what is this disk?")

    monkeypatch.setattr(shutil, "disk_usage", lost)
    (finding,) = about("disk")
    assert finding.state == "broken" and finding.text == "ValueError: what is this disk?" and finding.mend
    assert about("weights")
