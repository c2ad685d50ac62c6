"""Throw-away environments that borrow all packages from the one the tests run in, so that nothing is downloaded."""

import os
import shutil
import subprocess
import sysconfig
import venv
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("baselines", "benchmarks", "datasets", "docs", "examples", "generators", "results", "tests", "vbench_ctl")
FILES = ("*.cff", "*.cfg", "*.in", "*.md", "*.toml", "*.yml", "LICENSE", "Makefile")


def copy_tree(folder: Path) -> Path:
    """Copy what a checkout holds, so that building leaves nothing in the real one."""
    for name in FOLDERS:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns(".*", "__pycache__"))
    for path in (path for pattern in FILES for path in ROOT.glob(pattern)):
        shutil.copy(path, folder)
    return folder


class Environment:
    """A virtual environment in `folder`; `sources` are further folders to import from."""

    def __init__(self, folder: Path, sources: Sequence[Path] = ()):
        venv.create(folder, with_pip=False, symlinks=True)
        self.folder = folder
        self.bin = Path(sysconfig.get_path("scripts", "venv", {"base": str(folder)}))
        self.packages = Path(sysconfig.get_path("purelib", "venv", {"base": str(folder)}))
        borrowed = dict.fromkeys([*map(str, sources), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")])
        (self.packages / "borrowed.pth").write_text("\n".join(borrowed) + "\n")

    def run(self, program: str, *words: str | Path, cwd: Path | None = None, **variables: str):
        """Run a program of this environment, by default outside of any checkout."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PIP_"))}
        return subprocess.run(
            [self.bin / program, *words],
            cwd=cwd or self.folder,
            env={**kept, "PYTHONDONTWRITEBYTECODE": "1", "VBENCH_HOME": str(self.folder / "home"), **variables},
            capture_output=True,
            text=True,
        )

    def output(self, program: str, *words: str | Path, cwd: Path | None = None) -> str:
        """Run a program that must succeed and return what it prints."""
        done = self.run(program, *words, cwd=cwd)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def install(self, *words: str | Path) -> None:
        """Run `pip install` without network."""
        offline = ("--no-index", "--no-deps", "--no-build-isolation", "--ignore-installed", "--no-compile", "--quiet")
        self.output("python", "-m", "pip", "--disable-pip-version-check", "install", *offline, *words)
