"""The third stage: the flow from codes of motion to noise, given the start frame and perhaps where things shall end."""

from collections.abc import Iterator, Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vbench_ctl.baselines.cinn import frame_stage, losses, video_stage
from vbench_ctl.baselines.cinn.flow import Flow
from vbench_ctl.baselines.cinn.settings import Settings
from vbench_ctl.errors import VbenchError
from vbench_ctl.features import misfits
from vbench_ctl.frames import normalised, pixels
from vbench_ctl.training import Batch, Update

BETAS = (0.9, 0.99)


class FlowStage(nn.Module):
    """The flow, and all that generating needs of the stages before it, which stays as it is."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.settings = settings
        self.encoder = video_stage.encoder(settings)
        self.decoder = video_stage.decoder(settings)
        self.embedder = frame_stage.encoder(settings)
        self.flow = Flow(
            settings.code,
            settings.condition,
            settings.flow_width,
            settings.flow_depth,
            settings.flow_blocks,
            bool(settings.control),
            settings.flow_conditioning,
        )
        for part in self._frozen():
            part.requires_grad_(False)

    def take(self, earlier: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Load the weights of the stages before this one."""
        places = (
            ("video", "encoder", self.encoder),
            ("video", "decoder", self.decoder),
            ("frame", "encoder", self.embedder),
        )
        for stage, name, part in places:
            start = f"{name}."
            held = {key.removeprefix(start): value for key, value in earlier[stage].items() if key.startswith(start)}
            for key, found, expected in misfits(held, part.state_dict()):
                had, asked = ("nothing" if each is None else str(list(each)) for each in (found, expected))
                raise VbenchError(
                    f"cinn: the stage {stage} was trained with {start}{key} of {had}, and [model] asks for {asked}; undo what "
                    f"you changed in [model], or train the stage {stage} anew"
                )
            part.load_state_dict(held)

    def train(self, mode: bool = True) -> "FlowStage":
        """Switch to training, the frozen parts never: their norms would follow the batch, as they do in the release."""
        super().train(mode)
        for part in self._frozen():
            part.eval()
        return self

    def _frozen(self) -> tuple[nn.Module, ...]:
        return self.encoder, self.decoder, self.embedder

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """Return the one Adam."""
        return {"flow": torch.optim.Adam(self.flow.parameters(), self.settings.flow_rate, BETAS, amsgrad=True)}

    def rates(self, step: int) -> dict[str, float]:
        """Return the factor on the learning rate."""
        return {"flow": 0.5 ** (step // self.settings.flow_rate_every)}

    def updates(self, batch: Batch, step: int) -> Iterator[Update]:
        """Yield the one update of a step."""
        yield self.update(*self._pair(batch))

    def update(self, code: Tensor, condition: Tensor) -> Update:
        """Return the update for codes (B, D) under conditions (B, C)."""
        noise, logdet = self.flow(code, condition, not self.settings.reference_logdet)
        logs = {"gaussian": 0.5 * noise.square().sum(1).mean(), "logdet": logdet.mean()}
        logs = {name: value.detach() for name, value in logs.items()}
        return Update("flow", losses.flow(noise, logdet), logs, self.settings.flow_clip_norm or None)

    @torch.no_grad()
    def _pair(self, batch: Batch) -> tuple[Tensor, Tensor]:
        frames = normalised(batch["frames"])
        mean, logvar = self.encoder(frames[:, 1:])
        code = video_stage.sampled(mean, logvar, torch.randn_like(mean))
        return code, self.condition(frames[:, 0], self.endpoint(batch))

    def endpoint(self, batch: Batch) -> Tensor | None:
        """Return where each clip of a batch ends, if the flow is told."""
        return batch[self.settings.control][:, -1] if self.settings.control else None

    def condition(self, first: Tensor, endpoint: Tensor | None = None) -> Tensor:
        """Return what the flow is told of start frames (B, 3, H, W) and of end points (B, K) if it has a control."""
        seen = self.embedder(first)[0]
        if not self.settings.control:
            return seen
        assert endpoint is not None
        return torch.cat([seen, self.bins(endpoint).to(seen)], 1)

    def bins(self, endpoint: Tensor) -> Tensor:
        """Return the bins of end points (B, K) as ones among zeros (B, K * bins); what lies outside takes the outermost.

        The release counts a number far below from the other end, and stops at one above.
        """
        settings = self.settings
        place = endpoint.flatten(1).cpu().double()  # a few numbers; Apple's GPUs have no float64
        if not place.isfinite().all():
            raise VbenchError(f"cinn: some clip has no {settings.control} at its last frame; leave it out of the data")
        offset, extent = (place.new_tensor(each) for each in (settings.control_offset, settings.control_range))
        # Minus a ten-thousandth, so that 1 falls into the last bin: as released.
        number = ((place - offset) / extent * settings.control_bins - 1e-4).long()
        return F.one_hot(number.clamp(0, settings.control_bins - 1), settings.control_bins).flatten(1)

    def evaluate(self, batch: Batch, step: int) -> dict[str, float]:
        """Return the exact negative log-likelihood, and how far the noise is from what it should be: 1."""
        noise, logdet = self.flow(*self._pair(batch))
        return {"nll": float(losses.flow(noise, logdet)), "noise_variance": float(noise.square().mean())}

    def pictures(self, batch: Batch, step: int) -> list[tuple[str, np.ndarray]]:
        """Return a clip, its reconstruction, and samples from its first frame, each uint8 (T, H, W, 3)."""
        from vbench_ctl.baselines.cinn.play import rendered

        batch = {name: values[:1] for name, values in batch.items()}
        frames = normalised(batch["frames"])
        condition = self.condition(frames[:, 0], self.endpoint(batch)).expand(4, -1)
        noise = torch.randn(4, self.settings.code, device=frames.device)
        codes = torch.cat([self.encoder(frames[:, 1:])[0], self.flow.inverse(noise, condition)])
        made = rendered(self.decoder, frames[:, 0].expand(len(codes), -1, -1, -1), codes, self.settings.frames)
        labels = ["reconstruction"] + ["sample"] * 4
        rows = [
            ("real", frames[0]),
            *zip(labels, torch.cat([frames[:, :1].expand_as(made[:, :1]), made], 1), strict=True),
        ]
        return [(label, pixels(clip).cpu().numpy()) for label, clip in rows]
