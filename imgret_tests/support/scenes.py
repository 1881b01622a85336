"""Images with structure on many scales, and near-duplicates of them.

Belongs here: drawing scenes, changing them as people change images. Not here: simple images (`pictures.py`).
"""

import io
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance


def scene(seed: int, size: tuple[int, int] = (240, 180)) -> Image.Image:
    """Draw an RGB image with structure on many scales; scenes of different seeds are not similar."""
    rng = np.random.default_rng(seed)
    pixels = np.zeros((size[1], size[0], 3))
    for cells in (4, 9, 20):
        layer = Image.fromarray(rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
        pixels += np.asarray(layer.resize(size, Image.Resampling.BICUBIC), dtype=float)
    return Image.fromarray((pixels / 3).astype(np.uint8))


def detailed_scene(seed: int, size: tuple[int, int] = (360, 270)) -> Image.Image:
    """Draw an RGB image whose finest detail is as fine as its pixels, as that of a sharp photograph."""
    rng = np.random.default_rng(seed)
    image = scene(seed, size)
    draw = ImageDraw.Draw(image)
    for _ in range(60):
        left, top, width, height = (int(side) for side in rng.integers(0, (*size, size[0] // 6, size[1] // 6)))
        colour = tuple(int(level) for level in rng.integers(50, 206) + rng.integers(-25, 26, 3))
        shape = draw.ellipse if rng.uniform() < 0.5 else draw.rectangle
        shape((left, top, left + width + 2, top + height + 2), fill=colour)
    pixels = np.asarray(image, float) + rng.normal(0, 6, (size[1], size[0], 1))
    return Image.fromarray(pixels.round().clip(0, 255).astype(np.uint8))


def encode(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    """Return the bytes of an image file."""
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def near_duplicates_of(image: Image.Image) -> dict[str, bytes]:
    """Return files of the image recompressed, resized, cropped and brightened, by name."""
    width, height = image.size
    x, y = round(width * 0.02), round(height * 0.02)
    return {
        "recompressed.jpg": encode(image, "JPEG", quality=45),
        "half.png": encode(image.resize((width // 2, height // 2))),
        "cropped.png": encode(image.crop((x, y, width - x, height - y))),
        "brighter.jpg": encode(ImageEnhance.Brightness(image).enhance(1.15), "JPEG", quality=60),
    }
