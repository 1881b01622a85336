"""The ground of transparent images: white, or black for art that would be lost on white.

Belongs here: choosing the ground by the image, and laying the image on it. Not here: which images are transparent
(`domain.images.decode`).
"""

from collections.abc import Iterator

import numpy as np
from PIL import Image

WHITE, BLACK = (255, 255, 255), (0, 0, 0)
_BAND_PIXELS = 1 << 20
# The choice is made on at most this many pixels a side.
_SIDE = 256
# Black is the ground if what is visible differs from white by fewer levels on average. A mean stays the same in another
# size of the image; a share of the pixels above some level does not, because outlines blend with what they surround.
_MIN_CONTRAST_LEVELS = 32
# Of an image with less transparency, no shape is lost: it is a picture with cut corners or a soft edge.
_MIN_TRANSPARENT = 0.1


def lay_on_ground(rgba: Image.Image) -> Image.Image:
    """Return an image of mode RGBA as RGB on the ground that it contrasts with."""
    colour = choose_ground(rgba)
    laid = Image.new("RGB", rgba.size)
    for box in bands(rgba.size):
        band = rgba.crop(box)
        laid.paste(Image.alpha_composite(Image.new("RGBA", band.size, (*colour, 255)), band).convert("RGB"), box)
    return laid


def bands(size: tuple[int, int]) -> Iterator[tuple[int, int, int, int]]:
    """Yield the boxes of horizontal bands that make up an image: work on each needs little memory beside the image.

    Args:
        size: width and height of the image in pixels.
    """
    width, height = size
    rows = max(1, _BAND_PIXELS // max(1, width))
    for top in range(0, height, rows):
        yield (0, top, width, min(top + rows, height))


def choose_ground(rgba: Image.Image) -> tuple[int, int, int]:
    """Return the ground for an image of mode RGBA: `BLACK` if it would be lost on white, else `WHITE`."""
    if max(rgba.size) > _SIDE:
        scale = _SIDE / max(rgba.size)
        size = (max(1, round(rgba.width * scale)), max(1, round(rgba.height * scale)))
        rgba = rgba.resize(size, Image.Resampling.BOX)
    opacity = np.asarray(rgba.getchannel("A"), np.float64) / 255
    brightness = np.asarray(rgba.convert("RGB").convert("L"), np.float64)
    visible = opacity.sum()
    if visible == 0 or opacity.mean() > 1 - _MIN_TRANSPARENT:
        return WHITE
    contrast_with_white = ((255 - brightness) * opacity).sum() / visible
    return BLACK if contrast_with_white < _MIN_CONTRAST_LEVELS else WHITE
