"""What this machine has, what is wrong with it, and how to mend that."""

import importlib
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from pathlib import Path
from typing import NamedTuple

from packaging.requirements import Requirement

from vbench_ctl import __version__, execute, files, provenance, registry, weights
from vbench_ctl.errors import VbenchError

FREE_GB = 5
NOT_FOR_USERS = ("all", "docs", "test")  # extras that are not worth a line


class Finding(NamedTuple):
    """One line of the report; `mend` is empty when nothing is wrong."""

    subject: str
    state: str  # "ok", "note" (works, with less) or "broken"
    text: str
    mend: str = ""


def examine(root: str | Path | None = None) -> Iterator[Finding]:
    """Yield all findings; a check that fails in an unforeseen way is a finding too."""
    home = files.home(root)
    checks = {
        "python": _python(),
        "packages": _packages(),
        "torch": _torch_pair(),
        "processors": _processors(),
        "gpu": _gpu(),
        "video": _video(),
        "disk": _disk(home),
        "weights": _weights(home),
        "extras": _extras(),
        "plugins": _plugins(),
    }
    for subject, findings in checks.items():
        try:
            yield from findings
        except Exception as error:
            yield Finding(subject, "broken", _reason(error), "mend what the lines above say first, then run it again")


def _python() -> Iterator[Finding]:
    yield Finding("vbench-ctl", "ok", f"{__version__} in {Path(__file__).parent}")
    good = sys.version_info >= (3, 11)
    text = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    yield Finding("python", "ok" if good else "broken", text, "" if good else "install Python 3.11 or newer")


def _packages() -> Iterator[Finding]:
    needed = _requirements("")
    if not needed:
        yield Finding("packages", "broken", "vbench-ctl itself is not installed", "pip install -e . in the checkout")
    good, bad = _sorted_out(needed)
    if good:
        yield Finding("packages", "ok", ", ".join(good))
    if bad:
        wanted = " ".join(f'"{requirement}"' for requirement in bad)
        yield Finding("packages", "broken", ", ".join(bad.values()), f"pip install {wanted}")


def _extras() -> Iterator[Finding]:
    extras = metadata("vbench-ctl").get_all("Provides-Extra") or [] if _version("vbench-ctl") else []
    for extra in extras:
        good, bad = _sorted_out(_requirements(extra))
        mend = f'pip install "vbench-ctl[{extra}]"' if bad else ""
        if extra not in NOT_FOR_USERS:
            yield Finding(f"[{extra}]", "note" if bad else "ok", ", ".join(bad.values() if bad else good), mend)


def _requirements(extra: str) -> list[Requirement]:
    """Return what one extra asks for; "" is what every installation needs."""
    try:
        found = [Requirement(text) for text in requires("vbench-ctl") or []]
    except PackageNotFoundError:
        return []
    always = {str(each) for each in found if each.marker is None or each.marker.evaluate({"extra": ""})}
    if not extra:
        return [each for each in found if str(each) in always]
    return [
        each for each in found if each.marker and str(each) not in always and each.marker.evaluate({"extra": extra})
    ]


def _sorted_out(requirements: list[Requirement]) -> tuple[list[str], dict[str, str]]:
    """Return what is there, and by "name>=version" what is missing or does not fit."""
    good, bad = [], {}
    for each in requirements:
        held = _version(each.name)
        if held is None:
            bad[f"{each.name}{each.specifier}"] = f"{each.name} is missing"
        elif not each.specifier.contains(held, prereleases=True):
            bad[f"{each.name}{each.specifier}"] = f"{each.name} is {held}, needed is {each.specifier}"
        else:
            good.append(f"{each.name} {held}")
    return good, bad


def _torch_pair() -> Iterator[Finding]:
    """Try the compiled operators of torchvision: they break when its torch is of another build."""
    pair = f"torch {_version('torch') or '-'} and torchvision {_version('torchvision') or '-'}"
    mend = "install both from the same index: pip install --force-reinstall torch torchvision"
    try:
        torch = importlib.import_module("torch")
        torchvision = importlib.import_module("torchvision")
        torchvision.ops.nms(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.tensor([1.0]), 0.5)
    except Exception as error:
        yield Finding("torch", "broken", f"{pair} do not fit: {_reason(error)}", mend)
        return
    yield Finding("torch", "ok", f"torch {torch.__version__}, torchvision {torchvision.__version__}")


def _processors() -> Iterator[Finding]:
    yield Finding("processors", "ok", f"{execute.cpus()} of {provenance.hardware('cpu')}")


def _gpu() -> Iterator[Finding]:
    import torch

    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        yield Finding("gpu", "ok", ", ".join(names))
    elif torch.backends.mps.is_available():
        yield Finding("gpu", "ok", "Apple GPU (mps)")
    else:
        yield Finding("gpu", "note", "none; everything runs on the processors, training slowly")


def _video() -> Iterator[Finding]:
    import av

    from vbench_ctl import video

    libraries = (f"{name} {v[0]}.{v[1]}" for name, v in sorted(av.library_versions.items()))
    yield Finding("video", "ok", f"PyAV {av.__version__}, {', '.join(libraries)}")
    lacking = [f"{codec} ({suffix})" for suffix, (codec, _) in video.CODECS.items() if not _encodes(codec)]
    if lacking:
        mend = "pip install --force-reinstall av (the wheels from the package index have all of them)"
        yield Finding("video", "broken", f"no encoder for {', '.join(lacking)}", mend)


def _encodes(codec: str) -> bool:
    import av

    try:
        return av.Codec(codec, "w").is_encoder
    except av.codec.codec.UnknownCodecError:
        return False


def _disk(home: Path) -> Iterator[Finding]:
    existing = next(folder for folder in (home, *home.absolute().parents) if folder.exists())
    usage = shutil.disk_usage(existing)
    text = f"{home}: {usage.free / 1e9:.0f} GB free of {usage.total / 1e9:.0f}"
    low = usage.free < FREE_GB * 1e9
    mend = "free some space, or set VBENCH_HOME to a larger disk" if low else ""
    yield Finding("disk", "note" if low else "ok", text, mend)
    try:
        with files.explained(home), tempfile.NamedTemporaryFile(dir=existing) as file:
            file.write(b"can write")
    except VbenchError as error:
        yield Finding("disk", "broken", str(error), "set VBENCH_HOME to a folder you can write to")


def _weights(home: Path) -> Iterator[Finding]:
    """Verify the networks that were fetched or added; those inside packages come with them."""
    held = [row for row in weights.status(home) if row.state not in ("absent", "packaged")]
    good = [f"{row.name} ({row.sha8}, {row.state})" for row in held if row.state != "broken"]
    text = f"{home / 'weights'}: {', '.join(good) or 'none'}"
    yield Finding("weights", "ok" if good else "note", text, "" if good else "vbench-ctl weights fetch i3d-k400")
    for row in held:
        if row.state == "broken":
            yield Finding("weights", "broken", f"{row.name} is damaged", f"vbench-ctl weights fetch {row.name}")


def _plugins() -> Iterator[Finding]:
    """Load what third parties registered."""
    for point in registry.plugins():
        kind, _, name = point.name.partition(".")
        dist = point.dist.name if point.dist else point.value
        if kind not in registry.FOLDERS or not name:
            text = f'{dist} registers "{point.name}", expected {", ".join(f"{k}.NAME" for k in registry.FOLDERS)}'
            yield Finding("plugins", "broken", text, f"mend or uninstall {dist}")
            continue
        try:
            registry.load(kind, name)
            yield Finding("plugins", "ok", f"{point.name} of {registry.origin(kind, name)}")
        except VbenchError as error:
            yield Finding("plugins", "broken", str(error), f"upgrade or uninstall {dist}")


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".strip().partition("\n")[0]
