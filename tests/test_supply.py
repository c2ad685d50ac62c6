"""What the toolkit depends on: bounded and explained, and nothing that is fetched behind anybody's back."""

import configparser
import re
import socket
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
SPOKEN = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto")  # audit events of CPython
IMPORT_ALL = f"""
import configparser, importlib, pkgutil, sys
asked = []
sys.addaudithook(lambda event, given: asked.append((event, given[-1])) if event in {SPOKEN!r} else None)
setup = configparser.ConfigParser()
setup.read("setup.cfg")
count = 0
for name in setup["options"]["packages"].split():
    package = importlib.import_module(name)
    for module in pkgutil.iter_modules(package.__path__):
        if module.name != "__main__":
            importlib.import_module(f"{{name}}.{{module.name}}")
            count += 1
assert count > 150, count
assert not asked, asked
"""


def required() -> list[Requirement]:
    """Return all that setup.cfg asks for; the toolkit's own extras are left out."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    lines = [setup["options"]["install_requires"], *setup["options.extras_require"].values()]
    found = [Requirement(line) for text in lines for line in text.split("\n") if line.strip()]
    return [each for each in found if each.name != "vbench-ctl"]


def explained() -> dict[str, str]:
    """Return the bounds in docs/dependencies.md by package; no cell of its row may be empty."""
    found = {}
    for line in (ROOT / "docs/dependencies.md").read_text(encoding="utf-8").splitlines():
        name, *cells = [cell.strip() for cell in line.strip("|").split("|")]
        bounds = [cell for cell in cells if re.match("[<>=]", cell)]
        if line.startswith("|") and bounds:
            assert all(cells) and name not in found, line
            found[name] = bounds[0]
    return found


def test_every_dependency_is_explained_with_its_bounds():
    page, asked = explained(), required()
    assert {each.name for each in asked} == set(page)
    for each in asked:
        bounds = {str(bound) for bound in each.specifier}
        assert bounds and bounds <= set(re.findall(r"[<>=]+[\d.]+", page[each.name])), each


def test_every_dependency_is_imported_or_named_by_what_uses_it():
    """One that nothing uses goes: matplotlib has gone so."""
    used = {"PIL": "pillow", "yaml": "pyyaml", "skvideo": "scikit-video", "skimage": "scikit-image", "yt_dlp": "yt-dlp"}
    folders = ("baselines", "benchmarks", "datasets", "generators", "tests", "vbench_ctl")
    paths = {path for folder in folders for path in (ROOT / folder).rglob("*.py")} - {Path(__file__).resolve()}
    texts = [path.read_text(encoding="utf-8") for path in paths]
    texts += [(ROOT / name).read_text(encoding="utf-8") for name in ("Makefile", "pyproject.toml")]
    words = {used.get(word, word.replace("_", "-")) for text in texts for word in re.findall(r"[A-Za-z]\w+", text)}
    # what the test client of FastAPI needs, a theme that mkdocs is told, types for mypy, and the -n of the Makefile
    unnamed = {"httpx", "mkdocs-material", "pandas-stubs", "pytest-xdist"}
    assert {each.name.replace("_", "-") for each in required()} - words == unnamed


def test_what_is_installed_is_within_the_bounds():
    for each in required():
        try:
            assert each.specifier.contains(version(each.name), prereleases=True), f"{each}, found {version(each.name)}"
        except PackageNotFoundError:
            assert each.name in ("face-alignment", "mkdocs-material", "twine"), each


def test_importing_everything_asks_nobody():
    done = subprocess.run([sys.executable, "-c", IMPORT_ALL], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("address", [("192.0.2.1", 80), ("2001:db8::1", 80), ("example.org", 80)])
def test_tests_reach_this_machine_alone(address):
    """The addresses are those that RFC 5737, RFC 3849 and RFC 2606 keep for examples."""
    with pytest.raises(OSError, match="tests reach this machine alone"):
        socket.create_connection(address, timeout=5)
    with socket.create_server(("127.0.0.1", 0)) as door:
        socket.create_connection(door.getsockname(), timeout=5).close()


def test_what_tests_start_reaches_this_machine_alone():
    call = "import socket; socket.create_connection(('192.0.2.1', 80), timeout=5)"
    done = subprocess.run([sys.executable, "-c", call], capture_output=True, text=True)
    assert "tests reach this machine alone, not 192.0.2.1" in done.stderr
