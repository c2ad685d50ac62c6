import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny
from browser import chromium, page  # noqa: F401  # fixtures
from offline import sitecustomize

from vbench_ctl import networks, weights
from vbench_ctl.errors import VbenchError

os.environ.setdefault("OMP_NUM_THREADS", "1")
ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared() -> Path:
    """The project's shared reference data, which a stranger's clone does not have."""
    path = Path(os.environ.get("VBENCH_SHARED", ROOT.parent / "shared"))
    if not path.is_dir():
        pytest.skip("no shared reference data (set VBENCH_SHARED)")
    return path


@pytest.fixture(scope="session", autouse=True)
def no_network() -> Iterator[pytest.MonkeyPatch]:
    """Let tests and what they start reach this machine alone, as if it had no network."""
    with pytest.MonkeyPatch.context() as patch:
        cut_off(patch)
        yield patch


def cut_off(patch: pytest.MonkeyPatch) -> None:
    patch.setenv("VBENCH_OFFLINE", "1")
    patch.setenv("PYTHONPATH", str(Path(sitecustomize.__file__).parent), prepend=os.pathsep)


@pytest.fixture(scope="session")
def real_weights(no_network) -> Path:
    """A root with the real networks in it; they are fetched once and kept for the next run."""
    root = Path(os.environ.get("VBENCH_TEST_WEIGHTS", ROOT / ".weights-cache"))
    no_network.undo()
    try:
        for name in ("i3d-k400", "inception-2015", "lpips-alex", "lpips-vgg"):
            weights.fetch(name, root)
    except VbenchError as error:
        pytest.skip(f"no real weights: {error}")
    finally:
        cut_off(no_network)
    return root


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what may fetch weights."""
    for item in items:
        if "real_weights" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.network)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch) -> Path:
    """Keep every test away from the user's own data."""
    path = tmp_path / "vbench-home"
    monkeypatch.setenv("VBENCH_HOME", str(path))
    return path


@pytest.fixture
def toy(monkeypatch) -> tiny.Toy:
    """The one network behind all metrics: it needs no weights."""
    network = tiny.Toy()
    monkeypatch.setattr(networks, "_extractor", lambda *asked: network)
    monkeypatch.setattr(networks, "_sha256", lambda *asked: "0123456789abcdef")
    monkeypatch.setattr(networks, "missing", lambda features: "")
    return network
