"""Draw docs/player.gif: a trained run and the world that made its data, driven by the same keys as `vbench-ctl play` does.

python docs/player_gif.py RUN STORE
"""

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vbench_ctl import pictures
from vbench_ctl.play import drive

FRAME = 30  # of the clips, where each drive begins
DRIVES = {  # the number of a clip on the page, and the keys
    22: ["ArrowRight"] * 6 + ["ArrowDown"] * 3 + ["ArrowLeft"] * 6,
    8: ["ArrowDown"] * 4 + ["ArrowRight"] * 7 + ["ArrowUp"] * 4,
    14: ["z"] * 8 + ["ArrowLeft"] * 7,
}
NAMES = {"z": "cast", "": "start"}
HEIGHT, BAR, GAP, FPS = 192, 26, 8, 6


def driven(run: Path, store: Path) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    """Yield each pressed key with the frame that each side of a page made of it."""
    with tempfile.TemporaryDirectory() as out:
        shared = drive.table([run], Path(out), store)
        for clip, keys in DRIVES.items():
            tab = drive.Drive(shared)
            tab.answer({"do": "start", "clip": clip, "frame": FRAME, "seed": 0})
            yield "", {side.name: side.clips[-1][-1] for side in tab.sides}
            for key in keys:
                tab.answer({"do": "step", "asked": [[key], None, 1.0]})
                yield key, {side.name: side.clips[-1][-1] for side in tab.sides}


def page(key: str, frames: dict[str, np.ndarray]) -> Image.Image:
    """Draw the sides beside each other, enlarged, below their names and the pressed key."""
    sizes = [(HEIGHT * frame.shape[1] // frame.shape[0], HEIGHT) for frame in frames.values()]
    shown = [
        Image.fromarray(f).resize(size, Image.Resampling.NEAREST)
        for f, size in zip(frames.values(), sizes, strict=True)
    ]
    width = shown[0].width
    sheet = Image.new("RGB", (len(shown) * (width + GAP) - GAP, BAR + HEIGHT), pictures.PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(15)
    for at, (name, picture) in enumerate(zip(frames, shown, strict=True)):
        sheet.paste(picture, (at * (width + GAP), BAR))
        pen.text((at * (width + GAP) + width // 2, BAR // 2), name, pictures.INK, font, anchor="mm")
    pressed = NAMES.get(key, key.removeprefix("Arrow").lower())
    pen.text((sheet.width // 2, BAR // 2), pressed, (190, 60, 30), font, anchor="mm")
    return sheet


def main() -> None:
    """Drive, draw and write."""
    run, store = map(Path, sys.argv[1:])
    pages = [page(key, frames) for key, frames in driven(run, store)]
    pictures.save_gif(Path(__file__).parent / "player.gif", pages, FPS)


if __name__ == "__main__":
    main()
