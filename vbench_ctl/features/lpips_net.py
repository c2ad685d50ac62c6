"""LPIPS (Zhang et al., CVPR 2018), version 0.1, through the package `lpips`: a distance per pair of frames."""

import re
import warnings
from collections.abc import Iterator
from functools import cache

import lpips
import numpy as np
import torch
from torch import Tensor

from vbench_ctl import features as shared
from vbench_ctl import weights as held
from vbench_ctl.errors import VbenchError, unknown
from vbench_ctl.features.vgg import as_torch, place

NAME = "lpips"
WEIGHTS = {"alex": "lpips-alex", "vgg": "lpips-vgg", "squeeze": "lpips-squeeze"}
# Numbers of the convolutions (SqueezeNet: of its Fire blocks) in torchvision's list of layers, and the slice `lpips`
# puts each into.
TRUNKS = {
    "alex": {0: 1, 3: 2, 6: 3, 8: 4, 10: 5},
    "vgg": {0: 1, 2: 1, 5: 2, 7: 2, 10: 3, 12: 3, 14: 3, 17: 4, 19: 4, 21: 4, 24: 5, 26: 5, 28: 5},
    "squeeze": {0: 1, 3: 2, 4: 2, 6: 3, 7: 3, 9: 4, 10: 5, 11: 6, 12: 7},
}
LEAST = {"alex": 31, "vgg": 16, "squeeze": 17}  # pixels that leave one after the last pool


def build(net: str) -> lpips.LPIPS:
    """Return the package's network without weights: two pictures (N, 3, H, W) in [-1, 1] -> (N, 1, 1, 1)."""
    if net not in TRUNKS:
        raise unknown("LPIPS network", net, TRUNKS)
    with torch.device("meta"), warnings.catch_warnings():  # torchvision warns of how lpips calls it
        warnings.simplefilter("ignore")
        network = lpips.LPIPS(net=net, pretrained=False, pnet_rand=True, verbose=False)
    network.scaling_layer = lpips.ScalingLayer()  # its constants, with values
    return network


def convert(tensors: shared.Tensors, net: str = "alex") -> dict[str, Tensor]:
    """Map the trunk of torchvision's file, LPIPS's or flax's onto `build`'s names; heads, if none, are the pinned ones."""
    trunk, heads = {}, {}
    for name, value in tensors.items():
        value_as_torch = as_torch(value, channels_last=name.endswith("kernel"))
        if found := place(name, list(TRUNKS[net])):
            number, kind = found
            trunk[f"net.slice{TRUNKS[net][number]}.{number}.{kind}"] = value_as_torch
        elif head := re.search(r"(?:lin(\d)\.model\.1\.weight|NetLinLayer_(\d)/Conv_0/kernel)$", name):
            heads[f"lin{head[1] or head[2]}.model.1.weight"] = value_as_torch
    if not trunk:
        raise shared.unknown_style(f"{NAME}-{net}", tensors)
    network = build(net)
    heads = heads or published_heads(net)
    # the package knows each head under two names
    state = trunk | heads | {name.replace("lin", "lins.", 1): value for name, value in heads.items()}
    state |= network.scaling_layer.state_dict(prefix="scaling_layer.")
    shared.check(state, network, f"{NAME}-{net}")
    return state


def published_heads(net: str) -> dict[str, Tensor]:
    """Return the linear heads of version 0.1, which come with the package `lpips`; their hash is pinned."""
    return {name: as_torch(value) for name, value in held.read(held.path(f"{WEIGHTS[net]}-heads")).items()}


class Extractor:
    """LPIPS, ready to run."""

    def __init__(self, network: lpips.LPIPS, device: str = "cpu") -> None:
        self.network, self.device = network, device

    @torch.inference_mode()
    def maps(self, frames: np.ndarray | Tensor, batch: int = 16) -> Iterator[list[Tensor]]:
        """Yield the normalised maps (n, C, H', W') of every layer, for `batch` uint8 frames (N, H, W, 3) at a time."""
        frames = shared.check_frames(frames)
        least, (height, width) = LEAST[self.network.pnet_type], frames.shape[1:3]
        if min(height, width) < least:
            raise VbenchError(
                f"the frames are {width}x{height} and {NAME} with {self.network.pnet_type} needs at least {least}x{least}; "
                "score larger frames"
            )
        for part in frames.split(batch):
            x = part.to(self.device).movedim(-1, 1).float().div_(127.5).sub_(1)
            yield [lpips.normalize_tensor(one) for one in self.network.net(self.network.scaling_layer(x))]

    @torch.inference_mode()
    def compare(self, real: list[Tensor], fake: list[Tensor]) -> Tensor:
        """Return the distances (n,) of two batches' maps, which may be kept when several models meet one truth."""
        return _mean(self._spread(real, fake))

    def _spread(self, real: list[Tensor], fake: list[Tensor]) -> list[Tensor]:
        """Return where two batches differ, (n, 1, H', W') of every layer."""
        return [head((x - y) ** 2) for head, x, y in zip(self.network.lins, real, fake, strict=True)]

    def between(self, real: np.ndarray, fake: np.ndarray) -> np.ndarray:
        """Return the distance of each of two clips' frames (T, H, W, 3), and that from enlarged maps, float32 (T, 2).

        The second is that of JunyaoHu/common_metrics_on_video_quality; it differs a little.
        """
        return self._distances(real, fake)[0]

    def distances(self, real: np.ndarray, *fakes: np.ndarray, batch: int = 16) -> list[np.ndarray]:
        """Return, for each model's uint8 frames (N, H, W, 3), the distances (N,) to the real ones, float32."""
        return [both[:, 0] for both in self._distances(real, *fakes, batch=batch)]

    @torch.inference_mode()
    def _distances(self, real: np.ndarray, *fakes: np.ndarray, batch: int = 16) -> list[np.ndarray]:
        """Return both kinds of distances (N, 2) of each model's frames: the network, not the mean, is what takes time."""
        for fake in fakes:
            if fake.shape != real.shape:
                raise VbenchError(f"the real frames are {real.shape} and the generated ones {fake.shape}; resize one")
        rows = []
        size = max(1, batch // (1 + len(fakes)))
        for at in range(0, len(real), size):  # real and generated frames together: a batch of one frame is half as fast
            frames = np.stack([each[at : at + size] for each in (real, *fakes)])
            (layers,) = self.maps(frames.reshape(-1, *real.shape[1:]), batch=frames.shape[0] * frames.shape[1])
            truth, *others = zip(*(layer.split(frames.shape[1]) for layer in layers), strict=True)
            spreads = [self._spread(list(truth), list(one)) for one in others]
            rows.append([torch.stack([_mean(one), _mean_enlarged(one, real.shape[1:3])], 1) for one in spreads])
        return [torch.cat(parts).cpu().numpy() for parts in zip(*rows, strict=True)]


def _mean(spread: list[Tensor]) -> Tensor:
    """Return the sum over layers of their means, (n,)."""
    return torch.stack([one.mean((1, 2, 3)) for one in spread]).sum(0)


def _mean_enlarged(spread: list[Tensor], size: tuple[int, int]) -> Tensor:
    """Return the sum over layers of their means once enlarged to `size`, (n,), by what each place then counts."""
    found = []
    for one in spread:
        rows, columns = (_counts(few, many).to(one) for few, many in zip(one.shape[2:], size, strict=True))
        found.append(torch.einsum("nchw,h,w->n", one, rows, columns))
    return torch.stack(found).sum(0)


@cache
def _counts(few: int, many: int) -> Tensor:
    """Return how much each of `few` places contributes to the mean of `many`, between which `lpips.upsample` blends."""
    return lpips.upsample(torch.eye(few)[None, None], (many, few))[0, 0].mean(0)


def load(weights: shared.Weights, device: str = "cpu", net: str = "alex") -> Extractor:
    """Return the extractor of a trunk's weight file; `net` is "alex", "vgg" or "squeeze"."""
    network = build(net)
    network.load_state_dict(convert(shared.tensors(weights), net), assign=True)
    shared.ready(network, device)
    return Extractor(network, device)


# Black against white, 64x64. JunyaoHu/common_metrics_on_video_quality README has 0.8140 for alex from enlarged maps.
# None is published for squeeze, whose file is pinned by its hash alone.
BLACK_WHITE = {"lpips-alex": 0.81395, "lpips-vgg": 0.45384}


def self_test(extractor: Extractor) -> None:
    """Refuse trunks that cannot tell black from white."""
    shared.check_apart(NAME, np.array([0, _black_white(extractor)]))


def verify(extractor: Extractor, weights: str = WEIGHTS["alex"]) -> None:
    """Refuse trunks that are not torchvision's ImageNet ones."""
    shared.check_known(NAME, _black_white(extractor), BLACK_WHITE[weights], weights)


def _black_white(extractor: Extractor) -> float:
    black, white = shared.black_and_white(1, 64, 64, 3)
    ((found,),) = extractor.distances(black, white)
    return float(found)
