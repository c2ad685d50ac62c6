"""Every way to install the toolkit holds the whole tree and leaves Hugging Face's `datasets` alone."""

import configparser
import json
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest
import yaml
from environments import ROOT, Environment, copy_tree
from packaging.version import Version

from vbench_ctl import __version__

FOLDERS = {
    "vbench_ctl": "vbench_ctl",
    "datasets": "vbench_ctl/datasets",
    "generators": "vbench_ctl/generators",
    "baselines": "vbench_ctl/baselines",
    "results": "vbench_ctl/results",
}
NAMESPACES = ("datasets", "generators", "baselines", "results")
USE_IT = """
import json, datasets, vbench_ctl.datasets, vbench_ctl.results
from vbench_ctl import leaderboard, prepare, protocols, registry
print(json.dumps({
    "package": vbench_ctl.__file__,
    "hugging_face": [datasets.__file__, datasets.WHOSE],
    "names": {kind: registry.names(kind) for kind in registry.FOLDERS},
    "leaf": registry.load("datasets", "wsprites").__name__,
    "licence": prepare.card("wsprites")["licence"],
    "protocols": len(protocols.load_all()),
    "published": len(leaderboard.published_rows(include_unverified=True)),
}))
"""


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    return copy_tree(tmp_path_factory.mktemp("tree") / "vbench-ctl")


@pytest.fixture(scope="module")
def built(tree, tmp_path_factory) -> tuple[Path, Path]:
    """An sdist, and the wheel made from it."""
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", out, shutil.copytree(tree, out / "tree")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (sdist,), (wheel,) = out.glob("*.tar.gz"), out.glob("*.whl")
    return sdist, wheel


@pytest.fixture(scope="module")
def hugging_face(tmp_path_factory) -> Path:
    """A distribution called `datasets` with an import package called `datasets`."""
    folder = tmp_path_factory.mktemp("hugging_face")
    (folder / "datasets").mkdir()
    (folder / "datasets/__init__.py").write_text('WHOSE = "Hugging Face"\n')
    (folder / "setup.cfg").write_text("[metadata]\nname = datasets\nversion = 4.0\n[options]\npackages = datasets\n")
    (folder / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
    )
    return folder


def files_of(folder: Path) -> set[str]:
    paths = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
    return {path.as_posix() for path in paths if "__pycache__" not in path.parts}


def test_leaf_folders_have_no_init():
    assert [name for name in NAMESPACES if (ROOT / name / "__init__.py").exists()] == []
    assert all((ROOT / name).is_dir() for name in NAMESPACES)


def test_the_sdist_holds_the_whole_tree(tree, built):
    with tarfile.open(built[0]) as archive:
        held = {name.partition("/")[2] for name in archive.getnames() if archive.getmember(name).isfile()}
    assert files_of(tree) - held == set()
    assert {name for name in held - files_of(tree) if ".egg-info/" not in name} == {"PKG-INFO"}


def test_the_wheel_holds_the_packages_and_nothing_else(tree, built):
    expected = {f"{to}/{name}" for folder, to in FOLDERS.items() for name in files_of(tree / folder)}
    with zipfile.ZipFile(built[1]) as wheel:
        held = set(wheel.namelist())
        (record,) = (name for name in held if name.endswith(".dist-info/RECORD"))
        claimed = {line.split(",")[0] for line in wheel.read(record).decode().splitlines()}
    ours = {name for name in held if ".dist-info/" not in name}
    assert ours == expected
    assert claimed == held and {name.split("/")[0] for name in held - ours} == {record.split("/")[0]}


def test_every_package_has_its_line_in_setup_cfg():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    listed = set(setup["options"]["packages"].split())
    packages = {f"vbench_ctl.{name}" for name in NAMESPACES}
    for folder, place in FOLDERS.items():
        for path in (ROOT / folder).rglob("__init__.py"):
            packages.add("/".join([place, *path.parent.relative_to(ROOT / folder).parts]).replace("/", "."))
    assert listed == packages


def test_the_metadata_says_what_it_needs(built):
    with zipfile.ZipFile(built[1]) as wheel:
        (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = message_from_bytes(wheel.read(name))
        assert any(name.endswith("licenses/LICENSE") for name in wheel.namelist())
    assert metadata["Name"] == "vbench-ctl"
    assert metadata["Requires-Python"] == ">=3.11"
    assert "Apache-2.0" in (metadata["License"], metadata["License-Expression"])  # setuptools changed the field
    assert {"tf", "ray", "web", "track", "download", "remote", "skvideo", "all", "test"} <= {
        *metadata.get_all("Provides-Extra")
    }


def test_an_index_takes_what_is_built(built):
    pytest.importorskip("twine", reason="twine is not installed; the extra test has it")
    done = subprocess.run([sys.executable, "-m", "twine", "check", "--strict", *built], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_an_index_shows_points_at_nothing_that_it_lacks(built):
    with zipfile.ZipFile(built[1]) as wheel:
        (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
        shown = message_from_bytes(wheel.read(name)).get_payload()
    assert "vbench-ctl score" in shown and [at for at in re.findall(r"\]\(([^)]+)", shown) if "://" not in at] == []


def test_the_version_is_one_everywhere():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert citation["version"] == __version__ == str(Version(__version__))
    assert re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)[0] == __version__


@pytest.mark.parametrize("way", ["wheel", "source", "editable"])
def test_an_installation_works_beside_hugging_face(way, tree, built, hugging_face, tmp_path):
    there = Environment(tmp_path / "venv")
    source = Path(shutil.copytree(tree, tmp_path / "source"))
    words = {"wheel": [built[1]], "source": [source], "editable": ["--editable", source]}[way]
    there.install(hugging_face, *words)
    seen = json.loads(there.output("python", "-I", "-c", USE_IT))
    home = source if way == "editable" else there.packages
    assert Path(seen["package"]) == home / "vbench_ctl/__init__.py"
    assert seen["hugging_face"] == [str(there.packages / "datasets/__init__.py"), "Hugging Face"]
    assert "wsprites" in seen["names"]["datasets"] and "copy-last" in seen["names"]["baselines"]
    assert seen["leaf"] == "vbench_ctl.generators.wsprites"
    assert seen["licence"] and seen["protocols"] and seen["published"]
    assert there.output("vbench-ctl", "--version").startswith("vbench-ctl, version ")
    if way != "editable":  # the same files whichever way, and none outside the package but the command
        assert {f"vbench_ctl/{name}" for name in files_of(there.packages / "vbench_ctl")} == contents(built[1])
        assert claimed_outside(there.packages) == {"../../../bin/vbench-ctl"}
    there.output("python", "-m", "pip", "uninstall", "--yes", "--quiet", "vbench-ctl")
    assert there.output("python", "-I", "-c", "import datasets; print(datasets.WHOSE)") == "Hugging Face\n"


def contents(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as opened:
        return {name for name in opened.namelist() if name.startswith("vbench_ctl/")}


def claimed_outside(packages: Path) -> set[str]:
    (record,) = packages.glob("vbench_ctl-*.dist-info/RECORD")
    claimed = {line.split(",")[0] for line in record.read_text().splitlines()}
    return {name for name in claimed if not name.startswith(("vbench_ctl/", record.parent.name))}


def test_an_unpacked_sdist_works_where_it_lies(built, hugging_face, tmp_path):
    there = Environment(tmp_path / "venv")
    there.install(hugging_face)
    with tarfile.open(built[0]) as archive:
        archive.extractall(tmp_path, filter="data")
    (folder,) = tmp_path.glob("vbench_ctl-*")
    seen = json.loads(there.output("python", "-c", USE_IT, cwd=folder))
    assert Path(seen["package"]) == folder / "vbench_ctl/__init__.py"
    assert seen["hugging_face"][1] == "Hugging Face"  # although the folder `datasets` lies here
    assert "wsprites" in seen["names"]["datasets"] and seen["licence"]
