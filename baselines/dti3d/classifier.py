"""DTI3D as it is trained: the share of each motion in a clip is what its logits shall say."""

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vbench_ctl.baselines.dti3d import Settings
from vbench_ctl.errors import UsageError
from vbench_ctl.features import dti3d
from vbench_ctl.features.i3d import InceptionI3D, Unit
from vbench_ctl.frames import normalised
from vbench_ctl.resize import resize
from vbench_ctl.training import Batch, DataFacts, Update


class Classifier(nn.Module):
    """The network with its loss. Its tensors bear the names that `vbench-ctl weights add dti3d-16` knows."""

    def __init__(self, settings: Settings, data: DataFacts) -> None:
        super().__init__()
        _check(settings, data)
        self.settings = settings
        self.network = InceptionI3D(settings.classes, dti3d.EPS, dti3d.LAST_POOL[data.length])
        for module in self.modules():
            if isinstance(module, Unit):
                nn.init.kaiming_normal_(module.conv3d.weight, mode="fan_out")

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """Return the one Adam."""
        return {
            "adam": torch.optim.Adam(
                self.parameters(), self.settings.learning_rate, weight_decay=self.settings.weight_decay
            )
        }

    def rates(self, step: int) -> dict[str, float]:
        """Return the factor on the learning rate."""
        return {"adam": 0.1 ** sum(step >= each for each in self.settings.rate_steps)}

    def updates(self, batch: Batch, step: int) -> Iterator[Update]:
        """Yield the one update of a step."""
        logits, shares = self.forward(batch["frames"]), self.shares(batch)
        loss = F.cross_entropy(logits, shares, label_smoothing=self.settings.smoothing)
        yield Update("adam", loss, {"accuracy": _accuracy(logits.detach(), shares)})

    def forward(self, frames: Tensor) -> Tensor:
        """Return logits (B, classes) of uint8 clips (B, T, H, W, 3), which it looks at as DTFVD does."""
        side = self.settings.size
        clips = resize(normalised(frames).transpose(1, 2), (side, side), "align_corners")
        return self.network(clips)

    def shares(self, batch: Batch) -> Tensor:
        """Return how much of each clip has each label, (B, classes)."""
        labels = batch[self.settings.label].flatten(1).cpu().long()  # a few numbers
        low, high = int(labels.min()), int(labels.max())
        if low < 0 or high >= self.settings.classes:
            raise UsageError(
                f"dti3d: {self.settings.label} has labels from {low} to {high}, expected 0 to {self.settings.classes - 1}; "
                "change [model] classes"
            )
        return F.one_hot(labels, self.settings.classes).float().mean(1).to(batch["frames"].device)

    def evaluate(self, batch: Batch, step: int) -> dict[str, float]:
        """Return loss and accuracy."""
        logits, shares = self.forward(batch["frames"]), self.shares(batch)
        return {"loss": float(F.cross_entropy(logits, shares)), "accuracy": float(_accuracy(logits, shares))}

    def pictures(self, batch: Batch, step: int) -> list[tuple[str, np.ndarray]]:
        """Return clips with what they are and what they are taken for."""
        logits, shares = self.forward(batch["frames"][:4]), self.shares(batch)[:4]
        pairs = zip(shares.argmax(1).tolist(), logits.argmax(1).tolist(), strict=True)
        labels = [f"{truth}, taken for {guess}" for truth, guess in pairs]
        return list(zip(labels, batch["frames"][:4].cpu().numpy(), strict=True))


def _accuracy(logits: Tensor, shares: Tensor) -> Tensor:
    """Return how often the largest logit is the motion that most of the clip has."""
    return (logits.argmax(1) == shares.argmax(1)).float().mean()


def _check(settings: Settings, data: DataFacts) -> None:
    if data.length not in dti3d.LAST_POOL:
        raise UsageError(f"dti3d: windows of {data.length} frames, expected 16 or 32; set data.length")
    if settings.label not in data.tracks:
        raise UsageError(
            f"dti3d: the label {settings.label} is not among the tracks ({', '.join(data.tracks) or 'none'}); set "
            f'data.tracks = ["{settings.label}"], or [model] label to a track of whole numbers'
        )
    dtype = data.tracks[settings.label][1]
    if "int" not in dtype:
        raise UsageError(
            f"dti3d: {settings.label} is {dtype}, expected whole numbers; name another track in [model] label"
        )
