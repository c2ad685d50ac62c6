"""The sprite probe as it is trained: on frames of clips from their first frame on, clean ones and worn ones."""

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vbench_ctl.baselines.sprite_probe import Settings
from vbench_ctl.errors import UsageError
from vbench_ctl.features.sprite_probe import CANVAS, CELL, GRID, SpriteProbe, cut, located, native
from vbench_ctl.resize import resize
from vbench_ctl.statistics import sprites
from vbench_ctl.training import Batch, DataFacts, Update

TRACKS = ("local_action", "position", "identity")
WALKS = 3  # the first local actions
COARSEST = 0.35  # of the resolutions that frames are seen at
COLOUR, LIGHT, NOISE = 0.15, 0.1, 0.15  # standard deviations, of the last one the greatest


class Teacher(nn.Module):
    """The network with its losses."""

    def __init__(self, settings: Settings, data: DataFacts) -> None:
        super().__init__()
        if lacking := [name for name in TRACKS if name not in data.tracks]:
            raise UsageError(f"sprite-probe: the clips have no {lacking[0]}; set data.tracks = {list(TRACKS)}")
        if (data.width, data.height) != CANVAS:
            raise UsageError(f"sprite-probe: frames are {data.width}x{data.height}, expected {CANVAS[0]}x{CANVAS[1]}")
        self.settings = settings
        self.network = SpriteProbe()

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """Return the one AdamW."""
        rate, decay = self.settings.learning_rate, self.settings.weight_decay
        return {"adam": torch.optim.AdamW(self.parameters(), rate, weight_decay=decay)}

    def rates(self, step: int) -> dict[str, float]:
        """Return the factor on the learning rate: a short rise, then a cosine."""
        done = min(1.0, step / self.settings.rate_steps)
        return {"adam": min(1.0, (step + 1) / 100) * (1 + math.cos(math.pi * done)) / 2}

    def updates(self, batch: Batch, step: int) -> Iterator[Update]:
        """Yield the one update of a step: the finder looks at one frame of each clip, the reader at all that were drawn."""
        frames, truth = self._drawn(batch)
        worn = torch.rand(len(frames), device=frames.device) < self.settings.worn
        frames[worn] = wear(frames[worn])
        seen, centres = frames[:: self.settings.frames].clone(), truth["centre"][:: self.settings.frames]
        empty = torch.rand(len(seen), device=seen.device) < self.settings.empty
        for at in torch.nonzero(empty).flatten().tolist():
            seen[at] = nothing(seen[at], centres[at])
        heat = self.network.finder(seen.contiguous(memory_format=torch.channels_last))
        columns = frames.shape[-1] // GRID
        found = F.cross_entropy(heat, target(centres, empty, heat.shape[1], columns))
        apart = (located(heat[~empty, 1:], columns) - centres[~empty]).abs().mean()
        aside = torch.randint(-self.settings.jitter, self.settings.jitter + 1, truth["centre"].shape).to(frames.device)
        cells = cut(frames, truth["centre"] + aside).contiguous(memory_format=torch.channels_last)
        poses, identity = self.network.reader(cells)
        posed = F.cross_entropy(poses, truth["pose"])
        known = F.cross_entropy(identity.flatten(0, 1), truth["identity"].flatten())
        right = (poses.argmax(1) == truth["pose"]).float().mean()
        logs = {"finding": found, "pixels": apart, "poses": posed, "identity": known, "right": right}
        yield Update("adam", found + apart + posed + known, {name: each.detach() for name, each in logs.items()})

    def evaluate(self, batch: Batch, step: int) -> dict[str, float]:
        """Return the shares of clean frames that are read right, and the pixels by which they are misplaced."""
        frames, truth = self._drawn(batch)
        read = self.network(frames)
        pose = read[:, 2] * sprites.PHASES + read[:, 3]
        return {
            "action": float((read[:, 2] == truth["pose"] // sprites.PHASES).float().mean()),
            "pose": float((pose == truth["pose"]).float().mean()),
            "identity": float((read[:, 4:] == truth["identity"]).all(1).float().mean()),
            "pixels": float((read[:, :2] - truth["centre"]).norm(dim=1).mean()),
        }

    def _drawn(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return some frames (N, 3, H, W) of each clip, from -1 to 1, and what is true of them."""
        clips, length = batch["frames"].shape[:2]
        chosen = torch.rand(clips, length).argsort(1)[:, : self.settings.frames].flatten().to(batch["frames"].device)
        clip = torch.arange(clips, device=chosen.device).repeat_interleave(len(chosen) // clips)
        frames, _ = native(batch["frames"][clip, chosen])
        actions = batch["local_action"].long()
        truth = {
            "centre": batch["position"] + CELL / 2,
            "pose": actions * sprites.PHASES + phases(actions),
            "identity": batch["identity"].long(),
        }
        return frames, {name: track[clip, chosen] for name, track in truth.items()}


def phases(actions: Tensor) -> Tensor:
    """Return the frame of its animation (B, T) of local actions (B, T) from a clip's first frame on.

    A walk goes on where it stopped; a spell or a slash starts anew (generators/wsprites/walk.py).
    """
    before = torch.stack([(actions == action).cumsum(1) for action in range(WALKS)], -1)
    walked = before.gather(2, actions.clamp(max=WALKS - 1)[..., None])[..., 0] - 1
    times = torch.arange(actions.shape[1], device=actions.device)
    fresh = F.pad(actions[:, 1:] != actions[:, :-1], (1, 0), value=True)
    held = times - (times * fresh).cummax(1).values
    return torch.where(actions < WALKS, walked, held) % sprites.PHASES


def target(centres: Tensor, empty: Tensor, classes: int, columns: int) -> Tensor:
    """Return shares (N, classes) of the four places around each centre (N, 2) whose mean it is; the first is nowhere."""
    shares = torch.zeros(len(centres), classes, device=centres.device)
    low = (centres / GRID - 0.5).floor()
    part = centres / GRID - 0.5 - low
    for right in (0, 1):
        for below in (0, 1):
            weight = (part[:, 0] if right else 1 - part[:, 0]) * (part[:, 1] if below else 1 - part[:, 1])
            place = 1 + (low[:, 1].long() + below) * columns + low[:, 0].long() + right
            shares.scatter_add_(1, place[:, None], weight[:, None])
    shares[empty] = F.one_hot(torch.zeros_like(centres[empty][:, 0], dtype=torch.long), classes).float()
    return shares


def nothing(frame: Tensor, centre: Tensor) -> Tensor:
    """Return a frame (3, H, W) without a sprite: what lies beside the sprite, enlarged, or smooth or fine noise."""
    height, width = frame.shape[1:]
    if torch.rand(()) < 0.5:
        coarse = int(2 ** torch.randint(0, 7, ()))
        noise = torch.rand(3, max(1, height // coarse), max(1, width // coarse), device=frame.device) * 2 - 1
        noise = noise * float(1.2 * torch.rand(())) + frame.mean() * float(torch.rand(()))
        return resize(noise, (height, width), "pil_antialias").clamp_(-1, 1)
    left, right = int(centre[0]) - CELL // 2, width - int(centre[0]) - CELL // 2
    beside = frame[:, :, :left] if left > right else frame[:, :, width - right :]
    return resize(beside, (height, width), "pil_antialias")


def wear(frames: Tensor) -> Tensor:
    """Return frames (N, 3, H, W) as a model may make them: less sharp, off in colour, noisy."""
    count, _, height, width = frames.shape
    scale = COARSEST + (1 - COARSEST) * float(torch.rand(()))
    soft = torch.rand(count, 1, 1, 1, device=frames.device) < 0.6
    small = resize(frames, (round(height * scale), round(width * scale)), "pil_antialias")
    frames = torch.where(soft, resize(small, (height, width), "pil_antialias"), frames)
    gains = 1 + COLOUR * torch.randn(count, 3, 1, 1, device=frames.device)
    shifts = LIGHT * torch.randn(count, 3, 1, 1, device=frames.device)
    noise = NOISE * torch.rand(count, 1, 1, 1, device=frames.device) ** 2 * torch.randn_like(frames)
    return (frames * gains + shifts + noise).clamp_(-1, 1)
