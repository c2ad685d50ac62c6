"""What a CCVS recipe may set. Defaults are the released BAIR values.

Source of all numbers: 16lemoing/ccvs:scripts, models, helpers.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from vbench_ctl.errors import UsageError

if TYPE_CHECKING:
    from vbench_ctl.baselines.ccvs.elastic import Strength
    from vbench_ctl.baselines.ccvs.layouts import Layout

Control = Literal["none", "state", "sound", "actions"]


@dataclass(frozen=True)
class Settings:
    """Sizes, task and losses of the stages."""

    # Task: what the transformer is told besides the first frames
    control: Control = "none"  # what stands before the tokens of each frame
    control_tracks: tuple[str, ...] = ()  # "actions" (ours): the tracks of whole numbers that are its tokens
    control_codes: int = 128  # symbols of control tokens: entries of the state's or sound's codebook, or actions
    ending: bool = False  # the last frame is given too (point to point)
    unconditional: bool = False  # a start token, so that no frame need be given
    label_track: str = ""  # a track with the class of a clip, given as one token in front
    labels: int = 0  # classes

    # Frame autoencoder
    widths: tuple[int, ...] = (128, 128, 256, 256, 512, 512)  # channels at each resolution, fine to coarse
    code_width: int = 512
    codes: int = 1024
    shared: float = 0.75  # the part of the channels that is taken over from contexts
    healthy_codebook: bool = False  # ours: restart unused words, and weigh as VQ-VAE does
    codebook_decay: float = 0.99  # of how often words are used, by which the healthy codebook restarts them
    flow_widths: tuple[int, ...] = (128, 64, 32)  # channels of the convolutions that find flow and occlusion
    imagenet_range: bool = False  # frames by ImageNet's mean and deviation in place of [-1, 1]

    # Training of the autoencoder
    discriminator_widths: tuple[int, ...] = (64, 64, 128, 128, 256, 256)
    learning_rate: float = 2e-3
    clip_frames: int = 4
    memory: int = 4  # frames that a clip's frame may take over from while training
    video_share: float = 0.5  # of the windows of a batch, those that also give a clip
    without_context: bool = False  # also decode with no context, for unconditional synthesis
    ending_context: bool = False  # the clip's last frame stays real, for point-to-point synthesis
    elastic_alpha: float = 3.0
    elastic_sigma: float = 0.1
    elastic_zoom: tuple[float, float] = (0.9, 1.1)
    elastic_blur: tuple[float, float] = (0.0, 2.0)
    # 0: none of the context is blanked; above 0: about half, whatever it is, as released
    elastic_corruption: float = 0.5
    weight_codes: float = 1.0
    weight_pixels: float = 1.0
    weight_perceptual: float = 10.0  # 0: trains without VGG-19, which is not the published objective
    weight_adversarial: float = 1.0  # 0: trains no discriminators, which is not the published objective
    weight_occlusion: float = 1.0
    weight_flow: float = 1.0
    weight_r1: float = 10.0

    # Control: the state estimator, or the autoencoder of sound
    state_numbers: int = 2  # tokens of a state
    control_width: int = 128  # of the state estimator; the sound's networks have 512
    sound_code_width: int = 512
    control_learning_rate: float = 1e-2

    # Transformer
    layers: int = 24
    heads: int = 16
    width: int = 1024
    frames: int = 16  # frames that have a position, and of a window
    grid_places: bool = False  # ours: a place in a frame is learnt as a row and a column, not by itself
    first_weights: float = 0.02  # their standard deviation; a narrow transformer learns faster from a larger one
    transformer_learning_rate: float = 1e-5

    def __post_init__(self) -> None:
        ones = ("codes", "code_width", "layers", "heads", "width", "frames", "control_width", "state_numbers", "memory")
        for name in ones:
            if getattr(self, name) < 1:
                raise UsageError(f"ccvs: model.{name} is {getattr(self, name)}, expected at least 1")
        if len(self.widths) < 2 or not self.discriminator_widths or not self.flow_widths:
            raise UsageError(
                "ccvs: model.widths needs at least 2 numbers, model.discriminator_widths and model.flow_widths 1"
            )
        if self.width % self.heads:
            raise UsageError(
                f"ccvs: model.width {self.width} cannot be split into {self.heads} model.heads; change one"
            )
        if self.clip_frames < (3 if self.ending_context else 2):
            raise UsageError(f"ccvs: model.clip_frames is {self.clip_frames}, expected at least 2, or 3 with an ending")
        if self.memory < 1 + self.ending_context:
            raise UsageError(f"ccvs: model.memory is {self.memory}, expected at least 2 with model.ending_context")
        if not 0 < self.video_share <= 1:
            raise UsageError(f"ccvs: model.video_share is {self.video_share}, expected above 0 and at most 1")
        if not 0 < self.codebook_decay < 1:
            raise UsageError(f"ccvs: model.codebook_decay is {self.codebook_decay}, expected between 0 and 1")
        if not 0 <= self.elastic_corruption < 1:
            raise UsageError(f"ccvs: model.elastic_corruption is {self.elastic_corruption}, expected 0 to below 1")
        if (self.control == "actions") != bool(self.control_tracks):
            raise UsageError(
                'ccvs: model.control_tracks names the tracks of model.control = "actions"; set both or none'
            )
        if bool(self.labels) != bool(self.label_track):
            raise UsageError("ccvs: model.labels counts the classes of model.label_track; set both or none")
        if self.control != "none" and (self.ending or self.unconditional):
            raise UsageError(
                f'ccvs: model.control = "{self.control}" needs a first frame and knows no last one; set it to "none", or '
                "ending and unconditional to false"
            )

    @property
    def of_frames(self) -> tuple[str, ...]:
        """The tracks that stand before the tokens of each frame."""
        return {"state": ("state",), "sound": ("stft",)}.get(self.control, self.control_tracks)

    @property
    def told(self) -> tuple[str, ...]:
        """The tracks that the transformer is told, the class of a clip too."""
        return (*self.of_frames, self.label_track) if self.label_track else self.of_frames

    @property
    def strength(self) -> "Strength":
        """How far training pictures are pulled out of shape."""
        from vbench_ctl.baselines.ccvs.elastic import Strength

        zoom, blur = self.elastic_zoom, self.elastic_blur
        return Strength(self.elastic_alpha, self.elastic_sigma, zoom, blur, self.elastic_corruption)

    def layout(self, tokens: int, control_tokens: int) -> "Layout":
        """Return the order of tokens, given how many a frame and its control have."""
        from vbench_ctl.baselines.ccvs.layouts import Layout

        length = self.frames * (tokens + control_tokens)
        return Layout(
            tokens,
            self.frames,
            length,
            control_tokens,
            ending=self.ending,
            start=self.unconditional,
            label=bool(self.labels),
        )
