"""Decoder of HEIC and HEIF by pi-heif: an image that Pillow's functions work on, whose pixels are decoded when needed.

Belongs here: opening a file, its primary image and the others. Not here: AVIF, which Pillow decodes, whether the
decoder is installed (`domain.images.optional_decoders`), what is missing at the end (`domain.images.file_formats`).

A HEIF file rotates and mirrors its images by own properties, which libheif applies; an EXIF orientation beside them
says what was done, and is removed, so that nothing is rotated twice.
"""

from typing import Any, BinaryIO

from PIL import Image

from imgret_assets.domain.images.file_formats import HEIF
from imgret_assets.domain.images.stored_depth import StoredDepth

_REDUCTIONS = (8, 4, 2)


def open_heif(file: BinaryIO) -> Image.Image:
    """Open a file at its primary image, without decoding pixels; `seek` goes to another.

    Raises:
        SyntaxError: libheif can't read the file; the message is its own.
    """
    import pi_heif
    from pi_heif.as_plugin import HeifImageFile

    # Images are decoded in several threads already, which leave no processor idle.
    pi_heif.options.DECODE_THREADS = 1
    image = HeifImageFile(file)
    image.format = HEIF
    return image


def heif_depth(image: Image.Image) -> StoredDepth:
    """Return the depth in which an opened file stores its primary image."""
    channels = 1 if image.mode in ("L", "LA", "La") else 3
    return StoredDepth(channels, channels * int(image.info.get("bit_depth", 8)))


def other_frames(image: Any) -> list[int]:
    """Return the numbers of the images besides the primary one, in the order of the file."""
    return [number for number in range(image.n_frames) if number != image.tell()]


def reduced(image: Image.Image, min_size: tuple[int, int]) -> Image.Image:
    """Return a decoded image at an 8th, 4th or half of its size if it stays at least as large as `min_size`.

    libheif decodes no fraction of an image. A smaller one takes less time where its colour profile is converted.
    """
    for factor in _REDUCTIONS:
        if image.width >= factor * min_size[0] and image.height >= factor * min_size[1]:
            smaller = image.reduce(factor)
            smaller.info = image.info
            return smaller
    return image
