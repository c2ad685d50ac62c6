"""What this machine has, what is wrong with it, and how to mend that."""

import importlib
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import NamedTuple

from vbench_ctl import __version__, execute, files

CODECS = {"libx264": "mp4", "ffv1": "lossless mkv", "libvpx-vp9": "webm", "gif": "gif"}
FREE_GB = 5
EXTRAS = {
    "tf": ("tensorflow", "tensorflow-hub"),
    "ray": ("ray",),
    "web": ("fastapi", "uvicorn"),
    "track": ("wandb", "tensorboard"),
    "download": ("gdown", "yt-dlp", "huggingface_hub"),
    "skvideo": ("scikit-video",),
}


class Finding(NamedTuple):
    """One line of the report; `mend` is empty when nothing is wrong."""

    subject: str
    state: str  # "ok", "note" (works, with less) or "broken"
    text: str
    mend: str = ""


def examine(root: str | Path | None = None) -> Iterator[Finding]:
    """Yield all findings; a check that fails in an unforeseen way is a finding too."""
    checks: list[Callable[[], Iterator[Finding]]] = [
        _python,
        _packages,
        _torch_pair,
        _devices,
        _video,
        lambda: _disk(files.home(root)),
        lambda: _weights(files.home(root) / "weights"),
        _extras,
    ]
    for check in checks:
        try:
            yield from check()
        except Exception as error:
            yield Finding(getattr(check, "__name__", "check").strip("_"), "broken", f"{type(error).__name__}: {error}")


def _python() -> Iterator[Finding]:
    yield Finding("vbench-ctl", "ok", f"{__version__} in {Path(__file__).parent}")
    good = sys.version_info >= (3, 11)
    text = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    yield Finding("python", "ok" if good else "broken", text, "" if good else "install Python 3.11 or newer")


def _packages() -> Iterator[Finding]:
    found, missing = [], []
    for requirement in requires("vbench-ctl") or []:
        if "extra ==" in requirement:
            continue
        name = requirement.split(";")[0].split(">")[0].split("=")[0].split("<")[0].split("[")[0].strip()
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    yield Finding("packages", "ok", ", ".join(found))
    if missing:
        yield Finding("packages", "broken", f"missing: {', '.join(missing)}", f"pip install {' '.join(missing)}")


def _torch_pair() -> Iterator[Finding]:
    """Try the compiled operators of torchvision: they break when its torch is of another build."""
    import torch

    built_for = f"torch {torch.__version__}"
    mend = "install both from the same index: pip install --force-reinstall torch torchvision"
    try:
        torchvision = importlib.import_module("torchvision")
        torchvision.ops.nms(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.tensor([1.0]), 0.5)
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        yield Finding(
            "torch", "broken", f"{built_for} and torchvision {_version('torchvision')} do not fit: {reason}", mend
        )
        return
    yield Finding("torch", "ok", f"{built_for}, torchvision {torchvision.__version__}")


def _devices() -> Iterator[Finding]:
    import torch

    yield Finding("processors", "ok", f"{execute.cpus()} of {platform.processor() or platform.machine()}")
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        yield Finding("gpu", "ok", ", ".join(names))
    elif torch.backends.mps.is_available():
        yield Finding("gpu", "ok", "Apple GPU (mps)")
    else:
        yield Finding("gpu", "note", "none; everything runs on the processors, training slowly")


def _video() -> Iterator[Finding]:
    import av

    lacking = [f"{codec} ({use})" for codec, use in CODECS.items() if codec not in av.codecs_available]
    text = f"PyAV {av.__version__}, " + ", ".join(
        f"{name} {v[0]}.{v[1]}" for name, v in sorted(av.library_versions.items())
    )
    yield Finding("video", "ok", text)
    if lacking:
        mend = "pip install --force-reinstall av (the wheels from the package index have all of them)"
        yield Finding("video", "broken", f"no encoder for {', '.join(lacking)}", mend)


def _disk(home: Path) -> Iterator[Finding]:
    existing = next(folder for folder in (home, *home.absolute().parents) if folder.exists())
    usage = shutil.disk_usage(existing)
    text = f"{home}: {usage.free / 1e9:.0f} GB free of {usage.total / 1e9:.0f}"
    low = usage.free < FREE_GB * 1e9
    yield Finding(
        "disk", "note" if low else "ok", text, "free some space, or set VBENCH_HOME to a larger disk" if low else ""
    )
    try:
        with files.atomic(home / "doctor.txt") as part:
            part.write_text("can write")
        (home / "doctor.txt").unlink()
    except Exception as error:
        yield Finding("disk", "broken", str(error), "set VBENCH_HOME to a folder you can write to")


def _weights(folder: Path) -> Iterator[Finding]:
    held = sorted(path for path in folder.glob("*") if path.is_file() and not path.name.startswith("."))
    text = ", ".join(f"{path.name} ({path.stat().st_size / 1e6:.0f} MB)" for path in held) if held else "none"
    yield Finding("weights", "ok" if held else "note", f"{folder}: {text}")


def _extras() -> Iterator[Finding]:
    for extra, packages in EXTRAS.items():
        lacking = [name for name in packages if _version(name) is None]
        if lacking:
            yield Finding(
                f"[{extra}]", "note", f"not installed: {', '.join(lacking)}", f'pip install "vbench-ctl[{extra}]"'
            )
        else:
            yield Finding(f"[{extra}]", "ok", ", ".join(f"{name} {_version(name)}" for name in packages))


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
