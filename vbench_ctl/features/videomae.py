"""VideoMAE V2 (Wang et al., CVPR 2023): the giant transformer, fine-tuned on Something-Something V2, of content-debiased FVD.

Layers, names of the tensors and preprocessing as in songweige/content-debiased-fvd:cdfvd/third_party/VideoMAEv2.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vbench_ctl import features as shared

NAME = "videomae"
WEIGHTS = "videomae-ssv2"
SIZE, PATCH, TUBELET = (224, 224), 14, 2  # pixels of a clip and of a patch, frames that a token is made of
WIDTH, HIDDEN, DEPTH, HEADS = 1408, 6144, 40, 16
FRAMES = 16  # the places in time were made for so many, and are stretched for others
EPS = 1e-6
PRESETS = {
    # uint8 made 128x128 by the loader, then 224x224 in [0, 1], without ImageNet's mean and deviation
    "cdfvd-videomae": {"through": 128},
}


class Attention(nn.Module):
    """Self-attention; queries and values have a bias, keys none."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH, bias=False)
        self.q_bias, self.v_bias = nn.Parameter(torch.zeros(WIDTH)), nn.Parameter(torch.zeros(WIDTH))
        self.proj = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        bias = torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias])
        qkv = F.linear(x, self.qkv.weight, bias).unflatten(-1, (3, HEADS, -1))
        q, k, v = qkv.movedim(2, 0).transpose(2, 3)  # (N, heads, tokens, width of a head)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Attention and two layers at each token, each added to what comes in."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.attn = nn.LayerNorm(WIDTH, EPS), Attention()
        self.norm2 = nn.LayerNorm(WIDTH, EPS)
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(WIDTH, HIDDEN), "fc2": nn.Linear(HIDDEN, WIDTH)})

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp["fc2"](F.gelu(self.mlp["fc1"](self.norm2(x))))


class VideoMAE(nn.Module):
    """Clips (N, 3, T, 224, 224) in [0, 1] -> the normalised mean of all tokens, (N, 1408)."""

    def __init__(self) -> None:
        super().__init__()
        size = (TUBELET, PATCH, PATCH)
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv3d(3, WIDTH, size, size)})
        self.blocks = nn.ModuleList(Block() for _ in range(DEPTH))
        self.fc_norm = nn.LayerNorm(WIDTH, EPS)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embed["proj"](x)  # an odd last frame is left out
        x = x.flatten(2).mT + places(x.shape[2]).to(x)
        for block in self.blocks:
            x = block(x)
        return self.fc_norm(x.mean(1))


def places(steps: int) -> Tensor:
    """Return the sine and cosine code (tokens, 1408) of every place in so many steps of time, stretched from 8."""
    made, side = FRAMES // TUBELET, SIZE[0] // PATCH
    at, channel = np.arange(made * side * side)[:, None], np.arange(WIDTH)
    angle = at / 10000 ** (channel // 2 * 2 / WIDTH)
    code = torch.from_numpy(np.where(channel % 2, np.cos(angle), np.sin(angle)).astype(np.float32))
    if steps == made:
        return code
    volume = code.T.reshape(1, WIDTH, made, side, side)
    factor = ((steps + 0.1) / made, 1.0, 1.0)  # the tenth of a step keeps rounding from losing one; it moves the others
    return F.interpolate(volume, scale_factor=factor, mode="trilinear")[0].flatten(1).T


def convert(tensors: shared.Tensors) -> dict[str, Tensor]:
    """Take the tensors of vit_g_hybrid_pt_1200e_ssv2_ft.pth, under "module." or bare, and leave its classes out."""
    bare = {name.rpartition("module.")[2].removeprefix("model."): value for name, value in tensors.items()}
    if "patch_embed.proj.weight" not in bare:
        raise shared.unknown_style(NAME, tensors)
    state = {name: torch.from_numpy(value) for name, value in bare.items() if not name.startswith("head.")}
    with torch.device("meta"):
        shared.check(state, VideoMAE(), NAME)
    return state


class Extractor:
    """VideoMAE, ready to run."""

    def __init__(self, network: VideoMAE, device: str = "cpu") -> None:
        self.network, self.device = network, device

    def features(self, clips: np.ndarray | Tensor, *, through: int = 0, batch: int = shared.BATCH) -> np.ndarray:
        """Return the features, float32 (N, 1408), of uint8 clips (N, T, H, W, 3), first made squares `through` wide."""

        def run(part: Tensor) -> Tensor:
            part = part.to(self.device)
            part = shared.squared(part, through) if through else part
            return self.network(shared.prepared(part, SIZE, resize="torch_half_pixel", range="[0,1]"))

        return shared.in_batches(shared.check_clips(clips, TUBELET), batch, run)


def load(weights: shared.Weights, device: str = "cpu") -> Extractor:
    """Return the extractor of a weight file."""
    with torch.device("meta"):  # a thousand million random numbers less
        network = VideoMAE()
    network.load_state_dict(convert(shared.tensors(weights)), assign=True)
    shared.ready(network, device)
    return Extractor(network, device)


def self_test(extractor: Extractor) -> None:
    """Refuse weights that cannot tell black from white; no value of the released ones is published."""
    shared.check_apart(NAME, extractor.features(shared.black_and_white(FRAMES, 8, 8, 3)))
