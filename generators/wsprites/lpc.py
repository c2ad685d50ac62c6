"""The original's look, from Liberated Pixel Cup sheets and a photo that the user has (Araachie/glass:data/wsprites)."""

import hashlib
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from vbench_ctl.errors import VbenchError

ATTRIBUTION = (
    "Liberated Pixel Cup art (lpc.opengameart.org) by way of jrconway3/Universal-LPC-spritesheet and YingzhenLi/Sprites, "
    "CC BY-SA 3.0 and GPL 3.0: whoever passes these frames on must name it and keep its licence"
)
LAYERS = ("body", "bottomwear", "topwear", "hair", "shoes")  # bottom to top
VARIANTS = 6  # of each layer
SHOES = 1  # but every character wears these
SHEET = (832, 1344)  # 13x21 cells of 64x64
CELL = 64
# Local action -> (row of the sheet, columns of the 8 frames).
CELLS = [
    *((row, (8, 1, 2, 3, 4, 5, 6, 7)) for row in (10, 9, 11)),  # walk front, left, right
    *((row, (0, 1, 2, 3, 4, 5, 4, 6)) for row in (2, 1, 3)),  # spellcast
    *((row, (0, 1, 2, 3, 4, 5, 4, 0)) for row in (14, 13, 15)),  # slash
]
PHOTO = "bg.JPEG"
PHOTO_SIZE, CROP_SIZE = 281, 256  # so that a 256-pixel window has 25x25 places
FILES = [
    *(f"{layer}/{variant}.png" for layer in LAYERS[:-1] for variant in range(VARIANTS)),
    f"{LAYERS[-1]}/{SHOES}.png",
    PHOTO,
]


def sprites(identity: tuple[int, ...], folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return colours (9, 8, 64, 64, 3), which channels are solid (same shape, bool) and the mask (9, 8, 64, 64)."""
    sheet = Image.new("RGBA", SHEET, (0, 0, 0, 255))
    for layer, variant in zip(LAYERS, (*identity, SHOES), strict=True):
        sheet = Image.alpha_composite(sheet, _sheet(folder / layer / f"{variant}.png"))
    pixels = np.asarray(sheet.convert("RGB"))
    colours = np.stack([np.stack([_cell(pixels, row, column) for column in columns]) for row, columns in CELLS])
    # The original keeps v/256 and truncates 255 * that: every v >= 1 becomes v-1.
    colours = np.where(colours > 0, colours - 1, 0).astype(np.uint8)
    return colours, colours > 0, _grey(colours > 0)


def _cell(pixels: np.ndarray, row: int, column: int) -> np.ndarray:
    return pixels[row * CELL : (row + 1) * CELL, column * CELL : (column + 1) * CELL]


def _grey(solid: np.ndarray) -> np.ndarray:
    """Convert 255 * solid to grey as Pillow 6.2 did (no rounding): zero channels show the background through."""
    r, g, b = (solid[..., channel] * 255 for channel in range(3))
    return ((r * 19595 + g * 38470 + b * 7471) >> 16).astype(np.uint8)


@lru_cache(maxsize=64)
def _sheet(path: Path) -> Image.Image:
    sheet = _opened(path, "RGBA")
    if sheet.size != SHEET:
        raise VbenchError(f"{path}: it is {sheet.size[0]}x{sheet.size[1]}, an LPC sheet is {SHEET[0]}x{SHEET[1]}")
    return sheet


@lru_cache(maxsize=1)
def _photo(path: Path) -> Image.Image:
    return _opened(path, "RGB").resize((PHOTO_SIZE, PHOTO_SIZE), Image.Resampling.LANCZOS)


@lru_cache(maxsize=625)
def backdrop(folder: Path, place: tuple[int, int], width: int, height: int) -> np.ndarray:
    """Return the photo seen from one place: uint8 (height, width, 3)."""
    x, y = place
    window = _photo(folder / PHOTO).crop((x, y, x + CROP_SIZE, y + CROP_SIZE))
    return np.asarray(window.resize((width, height), Image.Resampling.LANCZOS))


def digest(folder: Path) -> str:
    """Return the SHA-256 of the sheets and the photo, each with its name."""
    state = hashlib.sha256()
    for name in FILES:
        try:
            data = (folder / name).read_bytes()
        except OSError as error:
            raise _lacking(folder / name) from error
        state.update(f"{name}\0{len(data)}\0".encode() + data)
    return state.hexdigest()


def _opened(path: Path, mode: str) -> Image.Image:
    try:
        with Image.open(path, formats=["PNG", "JPEG"]) as image:
            return image.convert(mode)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise _lacking(path) from error


def _lacking(path: Path) -> VbenchError:
    return VbenchError(
        f"{path}: not there or not a whole image; --art-dir wants the LPC layout: body/, bottomwear/, topwear/, hair/ with "
        f"0.png to {VARIANTS - 1}.png each, shoes/{SHOES}.png and {PHOTO}"
    )
