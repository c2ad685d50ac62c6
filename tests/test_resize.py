import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from vbench_ctl.errors import UsageError
from vbench_ctl.resize import MODES, matrix, resize

SIZES = [
    ((64, 64), (224, 224)),
    ((96, 256), (224, 224)),
    ((340, 256), (112, 112)),
    ((17, 5), (8, 40)),
    ((1, 3), (4, 2)),
]


def pictures(height: int, width: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, (2, 3, height, width)).astype(np.float32))


@pytest.mark.parametrize(("before", "after"), SIZES)
@pytest.mark.parametrize(
    ("mode", "options"),
    [
        ("torch_half_pixel", {"align_corners": False}),
        ("align_corners", {"align_corners": True}),
        ("pil_antialias", {"align_corners": False, "antialias": True}),
    ],
)
def test_resizes_as_pytorch_does(mode, options, before, after):
    frames = pictures(*before).double()
    expected = F.interpolate(frames, after, mode="bilinear", **options)
    torch.testing.assert_close(resize(frames, after, mode), expected, atol=1e-12, rtol=0)
    torch.testing.assert_close(resize(frames.float(), after, mode), expected.float(), atol=1e-6, rtol=0)


@pytest.mark.parametrize(("mode", "filter"), [("pil_antialias", "BILINEAR"), ("pil_bicubic", "BICUBIC")])
@pytest.mark.parametrize(("before", "after"), SIZES)
def test_resizes_as_pillow_does(mode, filter, before, after):
    frame = pictures(*before)[0, 0]
    picture = Image.fromarray(frame.numpy()).resize(after[::-1], Image.Resampling[filter])
    torch.testing.assert_close(resize(frame, after, mode), torch.from_numpy(np.array(picture)), atol=1e-5, rtol=0)


def tf1(row: list[float], after: int) -> list[float]:
    """Resize one row as TensorFlow 1 does without align_corners and half-pixel centres."""
    out = []
    for place in range(after):
        source = place * len(row) / after
        low = int(source)
        high = min(low + 1, len(row) - 1)
        out.append(row[low] + (row[high] - row[low]) * (source - low))
    return out


@pytest.mark.parametrize(("before", "after"), SIZES)
def test_resizes_as_tensorflow_1_does(before, after):
    frame = pictures(*before)[0, 0]
    wide = [tf1(row, after[1]) for row in frame.tolist()]
    expected = np.array([tf1(list(column), after[0]) for column in zip(*wide, strict=True)]).T
    np.testing.assert_allclose(resize(frame, after, "tf1_legacy").numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("before", "after"), [(64, 224), (300, 112), (7, 7)])
def test_every_row_adds_up_to_one(mode, before, after):
    np.testing.assert_allclose(matrix(mode, before, after).sum(1), 1, atol=1e-12)
    if before == after:
        np.testing.assert_allclose(matrix(mode, before, after), np.eye(before), atol=1e-12)


@pytest.mark.parametrize("size", [(64, 96), (100, 64), (256, 340), (224, 224)])
def test_crop_keeps_the_centre_of_the_covering_size(size):
    frames = pictures(*size).double()
    scale = 224 / min(size)
    full = tuple(224 if side == min(size) else int(np.ceil(side * scale)) for side in size)
    whole = F.interpolate(frames, full, mode="bilinear", align_corners=False)
    top, left = (full[0] - 224) // 2, (full[1] - 224) // 2
    expected = whole[..., top : top + 224, left : left + 224]
    torch.testing.assert_close(
        resize(frames, (224, 224), "torch_half_pixel", "shorter_side_crop"), expected, atol=1e-12, rtol=0
    )


def test_unknown_words_name_the_nearest():
    with pytest.raises(UsageError, match='no resize mode "tf1_legcy"; did you mean "tf1_legacy"'):
        resize(pictures(4, 4), (8, 8), "tf1_legcy")
    with pytest.raises(UsageError, match='no aspect "crop"'):
        resize(pictures(4, 4), (8, 8), "tf1_legacy", "crop")
