"""Score a model while it trains: no files of clips, no pixels kept, and rows with a signature at every epoch.

python examples/score_in_training_loop.py FOLDER
"""

import sys
from pathlib import Path

import torch
from torch import nn

import vbench_ctl
from vbench_ctl import frames, prepare, rows
from vbench_ctl.store import Store

GIVEN, LENGTH, EPOCHS = 1, 8, 3


class Residual(nn.Module):
    """Predict each frame as the last given one plus a learnt change; any model that continues frames will do."""

    def __init__(self) -> None:
        super().__init__()
        self.change = nn.Conv2d(3, 3 * (LENGTH - GIVEN), 3, padding=1)

    def forward(self, first: torch.Tensor) -> torch.Tensor:
        """Continue (B, 3, H, W) in [-1, 1] to (B, LENGTH - 1, 3, H, W)."""
        return first[:, None] + self.change(first).unflatten(1, (LENGTH - GIVEN, 3))


def main() -> None:
    """Prepare a tiny store, train for a moment, score after each epoch, and save the last rows."""
    home = Path(sys.argv[1])
    plan = prepare.plan("wsprites", home, ("train", "test"), 8, size="32", frames=LENGTH)
    prepare.make(plan)
    train, test = (Store(plan.folder, split).clips(LENGTH) for split in ("train", "test"))
    torch.manual_seed(0)
    model = Residual()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    scores = vbench_ctl.Scores(["psnr", "ssim", "flicker"])
    for epoch in range(EPOCHS):
        for batch in train.loader(batch=4, workers=0):
            clips = frames.normalised(batch["frames"])  # (B, T, 3, H, W)
            loss = (model(clips[:, 0]) - clips[:, GIVEN:]).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        scores.reset()
        for batch in test.loader(batch=4, workers=0):
            with torch.no_grad():
                made = frames.pixels(model(frames.normalised(batch["frames"][:, 0])))
            scores.update(made, batch["frames"][:, GIVEN:])
        found = scores.compute()
        print(f"epoch {epoch}: " + ", ".join(f"{name} {row.value:.4g}" for name, row in found.items()))
    rows.save(home / "rows.json", found.values())
    print(found["psnr"].signature)


if __name__ == "__main__":
    main()
