"""Networks of the frame stage: a picture's embedding, and a BigGAN generator that makes the picture again from it.

CompVis/image2video-synthesis-using-cINNs:stage2_cINN/AE/modules. Only the encoder is needed after training.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from vbench_ctl.baselines.cinn.norms import FrozenSpectralNorm, Layer, spectral
from vbench_ctl.baselines.cinn.settings import CHUNKS, WIDTHS

EPS = 1e-4  # of the batch norms
CLASS_WIDTH = 128
ATTENTION_BEFORE = 4  # block; so only pictures of 128 have attention


class FrameEncoder(nn.Module):
    """Pictures (B, 3, H, W) -> mean and log-variance (B, D) of the embedding: a ResNet-50, or a small one of our own."""

    def __init__(self, embedding: int, norm: str = "instance", small_width: int = 0) -> None:
        super().__init__()
        if small_width:
            self.model: nn.Module = _small(small_width, 2 * embedding)
        else:
            norms = {"instance": nn.InstanceNorm2d, "batch": nn.BatchNorm2d}
            self.model = torchvision.models.resnet50(norm_layer=norms[norm], num_classes=2 * embedding)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        mean, logvar = self.model(pictures).chunk(2, 1)
        return mean, logvar.clamp(-30, 10)


def _small(width: int, outputs: int) -> nn.Sequential:
    parts: list[nn.Module] = []
    for before, after in pairwise((3, width, 2 * width, 4 * width, 4 * width)):
        parts += [nn.Conv2d(before, after, 3, 2, 1), nn.GroupNorm(8, after), nn.ReLU()]
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16 * width, outputs))


class ConditionalNorm(nn.Module):
    """A batch norm whose scale and shift come from a condition (B, C)."""

    def __init__(self, width: int, condition: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(width, EPS, affine=False)
        self.gamma = _normed(nn.Linear(condition, width, bias=False))
        self.beta = _normed(nn.Linear(condition, width, bias=False))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        gamma, beta = self.gamma(condition)[..., None, None], self.beta(condition)[..., None, None]
        return torch.addcmul(beta, self.norm(x), 1 + gamma)


class GeneratorBlock(nn.Module):
    """Features (B, C, H, W) -> (B, C', 2H, 2W)."""

    def __init__(self, inputs: int, outputs: int, condition: int) -> None:
        super().__init__()
        self.norm0 = ConditionalNorm(inputs, condition)
        self.conv0 = _normed(nn.Conv2d(inputs, outputs, 3, padding=1))
        self.norm1 = ConditionalNorm(outputs, condition)
        self.conv1 = _normed(nn.Conv2d(outputs, outputs, 3, padding=1))
        self.skip = _normed(nn.Conv2d(inputs, outputs, 1))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        h = self.conv0(_doubled(F.relu(self.norm0(x, condition))))
        h = self.conv1(F.relu(self.norm1(h, condition)))
        return h + _doubled(self.skip(x))  # one by one: the same before doubling as after it


def _doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0)


def _normed(layer: Layer) -> Layer:
    return spectral(layer, FrozenSpectralNorm)


class SelfAttention(nn.Module):
    """Each place looks at all places of a quarter of the resolution."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.theta = _normed(nn.Conv2d(width, width // 8, 1, bias=False))
        self.phi = _normed(nn.Conv2d(width, width // 8, 1, bias=False))
        self.g = _normed(nn.Conv2d(width, width // 2, 1, bias=False))
        self.out = _normed(nn.Conv2d(width // 2, width, 1, bias=False))
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        asked = self.theta(x).flatten(2)  # (B, C / 8, H W)
        keys = F.max_pool2d(self.phi(x), 2).flatten(2)
        values = F.max_pool2d(self.g(x), 2).flatten(2)
        looks = (asked.mT @ keys).softmax(-1)  # (B, H W, H W / 4)
        seen = (values @ looks.mT).view(len(x), -1, *x.shape[2:])
        return self.gamma * self.out(seen) + x


class Generator(nn.Module):
    """An embedding (B, D) and a class (B, K), soft, -> pictures (B, 3, H, W) in [-1, 1]."""

    def __init__(self, size: int, embedding: int, width: int = 96, classes: int = 1000) -> None:
        super().__init__()
        widths, chunk = [factor * width for factor in WIDTHS[size]], CHUNKS[size]
        self.first = embedding - chunk * (len(widths) - 1)  # numbers that the seed is made from
        self.chunk = chunk
        self.linear = nn.Linear(classes, CLASS_WIDTH, bias=False)
        self.seed = _normed(nn.Linear(self.first, 16 * widths[0]))
        self.blocks = nn.ModuleList(GeneratorBlock(*sizes, chunk + CLASS_WIDTH) for sizes in pairwise(widths))
        self.attention = SelfAttention(widths[ATTENTION_BEFORE]) if len(self.blocks) > ATTENTION_BEFORE else None
        self.norm = nn.BatchNorm2d(widths[-1], EPS)
        self.colorize = _normed(nn.Conv2d(widths[-1], 3, 3, padding=1))

    def forward(self, embedding: Tensor, classes: Tensor) -> Tensor:
        seed, *chunks = embedding.split([self.first, *[self.chunk] * len(self.blocks)], 1)
        known = self.linear(classes)
        x = self.seed(seed).view(len(seed), 4, 4, -1).permute(0, 3, 1, 2)
        for number, (block, chunk) in enumerate(zip(self.blocks, chunks, strict=True)):
            if self.attention is not None and number == ATTENTION_BEFORE:
                x = self.attention(x)
            x = block(x, torch.cat([chunk, known], 1))
        return torch.tanh(self.colorize(F.relu(self.norm(x))))

    @property
    def last_weight(self) -> Tensor:
        """The weight of the last layer as it is trained, not normed."""
        return self.colorize.parametrizations.weight.original  # type: ignore[union-attr,return-value]


def class_head(embedding: int, hidden: int = 2000, classes: int = 1000) -> nn.Sequential:
    """Return the network from an embedding (B, D) to a soft class (B, K)."""
    parts: list[nn.Module] = []
    for before, after in pairwise((embedding, hidden, hidden, hidden)):
        parts += [nn.Linear(before, after), nn.LeakyReLU()]
    return nn.Sequential(*parts, nn.Linear(hidden, classes), nn.Softmax(1))


class FrameDecoder(nn.Module):
    """Embeddings (B, D) -> pictures (B, 3, H, W) in [-1, 1]; the class they are of is their own guess."""

    def __init__(self, size: int, embedding: int, width: int = 96, classes: int = 1000, hidden: int = 2000) -> None:
        super().__init__()
        self.class_head = class_head(embedding, hidden, classes)
        self.generator = Generator(size, embedding, width, classes)

    def forward(self, embedding: Tensor) -> Tensor:
        return self.generator(embedding, self.class_head(embedding))
