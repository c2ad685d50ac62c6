"""What a cINN recipe may set. Defaults are the released values for BAIR at 64x64.

Source of all numbers: CompVis/image2video-synthesis-using-cINNs:stage1_VAE/configs, stage2_cINN/configs, stage2_cINN/AE/configs.
"""

import math
from dataclasses import dataclass
from typing import Literal

from vbench_ctl.errors import UsageError

# Of the frame decoder, by the side of its pictures: channels before and after each block, in units of its width; how many
# numbers of the embedding each block sees, the rest making the seed. 64 and 128 as released; 32 is ours.
WIDTHS = {32: (16, 8, 4, 1), 64: (16, 16, 8, 4, 1), 128: (16, 16, 8, 4, 2, 1)}
CHUNKS = {32: 10, 64: 10, 128: 20}


@dataclass(frozen=True)
class Settings:
    """Sizes, losses and schedules of the three stages; a schedule's `pass` is what the release calls an epoch."""

    # Sizes of the video stage
    code: int = 64  # numbers that describe a motion
    encoder_widths: tuple[int, int, int, int, int] = (64, 128, 256, 512, 512)
    encoder_strides_time: tuple[int, int, int, int] = (1, 2, 2, 2)
    encoder_strides_space: tuple[int, int, int, int] = (1, 2, 2, 2)
    decoder_width: int = 64
    upsample_time: tuple[int, int] = (2, 1)  # of the last two blocks; 8 frames before them
    upsample_space: tuple[int, int] = (2, 1)  # 32 pixels before them
    spade_width: int = 128
    decode_change: bool = False  # the decoder makes what differs from the start frame, not the frames; ours
    temporal_widths: tuple[int, int, int, int, int] = (64, 64, 128, 256, 512)
    temporal_strides_time: tuple[int, int, int, int] = (2, 2, 2, 2)
    temporal_strides_space: tuple[int, int, int, int] = (1, 1, 2, 2)
    patch_width: int = 64

    # Sizes of the frame stage
    embedding: int = 64  # numbers that describe a start frame
    frame_norm: Literal["instance", "batch"] = "instance"
    small_encoder: int = 0  # width of a small frame encoder in place of the ResNet-50; 0: that
    generator_width: int = 96
    generator_classes: int = 1000
    generator_hidden: int = 2000

    # Sizes of the flow
    flow_blocks: int = 20
    flow_width: int = 512
    flow_depth: int = 2  # hidden layers after the first
    flow_conditioning: Literal["none", "parallel", "sequential"] = "none"

    # Control: the entry of a track at the last frame, each number cut into bins
    control: str = ""  # the track; empty: none
    control_offset: tuple[float, ...] = ()
    control_range: tuple[float, ...] = ()
    control_bins: int = 10

    # Training of the video stage
    video_rate: float = 2e-4
    video_decay: float = 1e-5
    video_pass: int = 4300  # steps; BAIR's 43,008 training clips in batches of 10
    video_rate_factor: float = 0.98  # per pass
    video_warmup: int = 1  # passes without discriminators
    weight_pixels: float = 10.0
    weight_moving: float = 0.0  # of errors once more, where and as far as the clip leaves its start frame; ours
    weight_perceptual: float = 30.0
    weight_kl: float = 1e-5
    weight_patch: float = 1.0  # 0: no such discriminator
    weight_temporal: float = 1.0  # 0, and the next one too: no such discriminator
    weight_features: float = 10.0
    weight_penalty: float = 10.0
    temporal_frames: int = 12  # of a clip that the temporal discriminator sees
    patch_frames: int = 20  # of a batch that the other one sees

    # Training of the frame stage
    frame_rate: float = 2e-4
    frame_pass: int = 1434
    frame_warmup: int = 20  # passes without the discriminator
    frame_weight_kl: float = 1e-5
    frame_weight_perceptual: float = 1.0

    # Training of the flow
    flow_rate: float = 1e-5
    flow_rate_every: int = 6027  # steps after which the rate halves; 7 passes on BAIR
    flow_clip_norm: float = 0.0  # the largest norm of the gradient; 0: any, as released

    # As released where we deviate
    reference_logdet: bool = False  # leave the leaky ReLUs out of the flow's log-determinant
    reference_dropout: bool = False  # dropout in the perceptual losses

    def __post_init__(self) -> None:
        self._check_sizes()
        self._check_strides()
        self._check_control()

    @property
    def frames(self) -> int:
        """How many frames one rendering makes."""
        return 8 * math.prod(self.upsample_time)

    @property
    def side(self) -> int:
        """The height and width of the frames."""
        return 32 * math.prod(self.upsample_space)

    @property
    def condition(self) -> int:
        """How many numbers the flow is conditioned on."""
        return self.embedding + self.control_bins * len(self.control_range)

    def _check_sizes(self) -> None:
        for name in ("code", "patch_width", "spade_width", "flow_blocks", "flow_width", "video_pass", "frame_pass"):
            _expect(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        _expect(self.code % 2 == 0, "code", self.code, "an even number: the flow halves it")
        _expect(self.decoder_width >= 1, "decoder_width", self.decoder_width, "at least 1")
        for name in ("encoder_widths", "temporal_widths"):
            widths = getattr(self, name)
            _expect(all(each % 16 == 0 < each for each in widths), name, list(widths), "multiples of 16: group norms")
        sides = tuple(WIDTHS)
        _expect(self.side in sides, "upsample_space", list(self.upsample_space), f"32 times its product in {sides}")
        least = CHUNKS[self.side] * (len(WIDTHS[self.side]) - 1) + 1
        _expect(self.embedding >= least, "embedding", self.embedding, f"at least {least} for frames of {self.side}")
        _expect(
            self.generator_width % 8 == 0 < self.generator_width,
            "generator_width",
            self.generator_width,
            "a multiple of 8",
        )
        _expect(self.small_encoder % 8 == 0, "small_encoder", self.small_encoder, "a multiple of 8")
        enough = self.small_encoder or self.side >= 64
        _expect(
            bool(enough), "small_encoder", self.small_encoder, "above 0: frames of 32 are too small for a ResNet-50"
        )

    def _check_strides(self) -> None:
        time, space = (
            _left(self.frames, (2, *self.encoder_strides_time)),
            _left(self.side, (2, *self.encoder_strides_space)),
        )
        _expect(
            time == 1,
            "encoder_strides_time",
            list(self.encoder_strides_time),
            f"1 step left of {self.frames}, not {time}",
        )
        _expect(
            space == 4,
            "encoder_strides_space",
            list(self.encoder_strides_space),
            f"4 pixels left of {self.side}, not {space}",
        )
        seen = min(self.temporal_frames, self.frames)
        time, space = _left(seen, self.temporal_strides_time), _left(self.side, (4, *self.temporal_strides_space))
        _expect(
            time == 1, "temporal_strides_time", list(self.temporal_strides_time), f"1 step left of {seen}, not {time}"
        )
        _expect(
            space == 4,
            "temporal_strides_space",
            list(self.temporal_strides_space),
            f"4 pixels left of {self.side}, not {space}",
        )

    def _check_control(self) -> None:
        numbers = (len(self.control_offset), len(self.control_range))
        if numbers[0] != numbers[1] or bool(self.control) != bool(numbers[0]):
            raise UsageError(
                f'cinn: control = "{self.control}" with {numbers[0]} offsets and {numbers[1]} ranges, expected as many of '
                "each as an entry of the track has numbers; change [model] control, control_offset or control_range"
            )
        _expect(min(self.control_range, default=1) > 0, "control_range", list(self.control_range), "above 0")
        _expect(self.control_bins >= 2, "control_bins", self.control_bins, "at least 2")


def _left(size: int, strides: tuple[int, ...]) -> int:
    for stride in strides:
        size = -(-size // stride)
    return size


def _expect(fine: bool, name: str, found: object, expected: str) -> None:
    if not fine:
        raise UsageError(f"cinn: {name} is {found}, expected {expected}; change [model] {name}")
