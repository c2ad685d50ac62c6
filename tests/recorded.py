"""Golden numbers of released systems, as tests read them."""

import json

import numpy as np
import torch
from torch import Tensor

LAYER = 1e-5  # of the largest value: the tolerance of one layer (README.md of golden/glass and golden/ccvs)


class Golden:
    """One file of golden numbers, or the part of it under a prefix."""

    def __init__(self, arrays, prefix: str = "") -> None:
        self.arrays, self.prefix = arrays, prefix

    def __getitem__(self, key: str) -> Tensor:
        return torch.from_numpy(np.array(self.arrays[self.prefix + key]))

    def part(self, name: str) -> "Golden":
        return Golden(self.arrays, f"{self.prefix}{name}/")

    def keys(self, start: str = "") -> list[str]:
        whole = self.prefix + start
        return [key.removeprefix(whole) for key in self.arrays.files if key.startswith(whole)]

    def state(self, start: str = "sd/") -> dict[str, np.ndarray]:
        return {key: self.arrays[self.prefix + start + key] for key in self.keys(start)}

    def config(self) -> dict:
        return json.loads(str(self.arrays["config"]))


def close(found: Tensor, wanted: Tensor, tolerance: float = LAYER) -> None:
    assert tuple(found.shape) == tuple(wanted.shape)
    if wanted.dtype.is_floating_point:
        far = (found.detach().double() - wanted.double()).abs().max()
        assert far <= tolerance * max(wanted.abs().max().item(), 1e-6), f"{far} of {wanted.abs().max()}"
    else:
        assert torch.equal(found.to(wanted.dtype), wanted)
