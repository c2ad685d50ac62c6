import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared() -> Path:
    """The project's shared reference data, which a stranger's clone does not have."""
    path = Path(os.environ.get("VBENCH_SHARED", ROOT.parent / "shared"))
    if not path.is_dir():
        pytest.skip("no shared reference data (set VBENCH_SHARED)")
    return path


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch) -> Path:
    """Keep every test away from the user's own data."""
    path = tmp_path / "vbench-home"
    monkeypatch.setenv("VBENCH_HOME", str(path))
    return path
