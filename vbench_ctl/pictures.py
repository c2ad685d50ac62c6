"""Contact sheets: clips as rows of frames, so that a person can see what numbers cannot say."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vbench_ctl import files

GAP = 4
PAPER, INK = (250, 250, 247), (40, 40, 40)


def sheet(rows: Sequence[tuple[str, np.ndarray]], columns: int = 8, height: int = 96) -> Image.Image:
    """Draw labelled clips (T, H, W, 3), one a row, as `columns` frames evenly spread over time."""
    strips = []
    for label, clip in rows:
        picks = np.linspace(0, len(clip) - 1, columns).round().astype(int)
        strips.append((label, [_scaled(clip[t], height) for t in picks]))
    return _grid(strips)


def grid_frames(rows: Sequence[tuple[str, Sequence[np.ndarray]]], height: int = 96) -> list[Image.Image]:
    """Draw rows of clips that play side by side: one picture per frame, a short clip holds its last one."""
    length = max(len(clip) for _, clips in rows for clip in clips)
    return [
        _grid([(label, [_scaled(clip[min(t, len(clip) - 1)], height) for clip in clips]) for label, clips in rows])
        for t in range(length)
    ]


def save(path: Path, picture: Image.Image) -> None:
    """Write one picture."""
    with files.atomic(path) as part:
        picture.save(part)


def save_gif(path: Path, pictures: Sequence[Image.Image], fps: float) -> None:
    """Write an endless GIF."""
    with files.atomic(path) as part:
        first, *rest = [picture.quantize(128, dither=Image.Dither.NONE) for picture in pictures]
        first.save(part, save_all=True, append_images=rest, duration=round(1000 / fps), loop=0)


def _scaled(frame: np.ndarray, height: int) -> Image.Image:
    image = Image.fromarray(frame)
    size = max(1, round(image.width * height / image.height)), height
    enlarge = height % image.height == 0  # whole multiples keep hard pixel edges
    return image.resize(size, Image.Resampling.NEAREST if enlarge else Image.Resampling.BICUBIC)


def _grid(rows: Sequence[tuple[str, Sequence[Image.Image]]]) -> Image.Image:
    font = ImageFont.load_default(12)
    margin = GAP + max(int(font.getlength(label)) for label, _ in rows) + GAP
    heights = [max(image.height for image in images) for _, images in rows]
    width = margin + max(sum(image.width + GAP for image in images) for _, images in rows)
    page = Image.new("RGB", (width, GAP + sum(height + GAP for height in heights)), PAPER)
    draw = ImageDraw.Draw(page)
    y = GAP
    for (label, images), height in zip(rows, heights, strict=True):
        draw.text((GAP, y + height // 2), label, INK, font, anchor="lm")
        x = margin
        for image in images:
            page.paste(image, (x, y))
            x += image.width + GAP
        y += height + GAP
    return page
