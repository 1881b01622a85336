"""The picture files that contenders work on.

Belongs here: many distinct files out of few pictures, pictures as large as a camera's. Not here: timing.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from imgret_assets.domain.images.decode import EXTENSIONS
from imgret_assets.locations import PROJECT
from imgret_assets.samples.folders import draw_catalogue

SHARED_PHOTOS = PROJECT.parent / "shared" / "photos"


def source_pictures(folder: Path | None, work: Path) -> list[Path]:
    """The pictures to repeat: of the folder given, else of `../shared/photos`, else the drawn samples."""
    if folder is None:
        folder = SHARED_PHOTOS if SHARED_PHOTOS.is_dir() else work / "samples"
        if folder == work / "samples":
            draw_catalogue(folder)
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in EXTENSIONS)
    if not files:
        raise SystemExit(f"bench: no pictures in {folder}")
    return files


def repeated(sources: Sequence[Path], count: int, folder: Path) -> list[Path]:
    """`count` files with different contents: each picture again and again, with a number behind its last byte."""
    folder.mkdir(parents=True)
    files: list[Path] = []
    for number in range(count):
        source = sources[number % len(sources)]
        file = folder / f"{number:06d}{source.suffix.lower()}"
        file.write_bytes(source.read_bytes() + number.to_bytes(4, "big"))
        files.append(file)
    return files


def large_jpegs(sources: Sequence[Path], count: int, folder: Path) -> list[Path]:
    """`count` JPEG files of 4,000 x 3,000 pixels: pictures made large, with a camera's noise."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(12)
    noise = rng.normal(0, 6, (3000, 4000, 1)).astype(np.int16)
    files: list[Path] = []
    for number in range(count):
        with Image.open(sources[number * len(sources) // count]) as image:
            large = image.convert("RGB").resize((4000, 3000), Image.Resampling.LANCZOS)
        pixels = np.clip(np.asarray(large, np.int16) + np.roll(noise, 37 * number, axis=0), 0, 255).astype(np.uint8)
        file = folder / f"{number:03d}.jpg"
        Image.fromarray(pixels).save(file, quality=90)
        files.append(file)
    return files
