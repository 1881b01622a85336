"""The frames of an image file: the pictures of an animation, the pages of a document.

Belongs here: counting and decoding them. Not here: the first frame, which alone is embedded and hashed
(`domain.images.decode`), what follows from the frames of two files (`domain.duplicates.pixel_comparison`).

Frames are those of GIF, APNG, WebP and AVIF sequences, the pages of a TIFF, and the pictures of an MPO (the two views
of a stereo camera, or what a phone adds to a photograph).
"""

import io
from collections.abc import Iterator

from PIL import Image, ImageOps

from imgret_assets.domain.images.decode import to_rgb
from imgret_assets.domain.images.failures import failure_of
from imgret_assets.domain.images.file_formats import START_BYTES, TIFF, identify
from imgret_assets.domain.images.image_status import Status, UnusableImageError
from imgret_assets.domain.images.png_repair import repair_png


def count_frames(data: bytes) -> int:
    """Return the number of frames of a file's bytes, 1 or more, without decoding pixels.

    Raises:
        UnusableImageError: the bytes can't be read as an image.
    """
    try:
        if identify(data[:START_BYTES]) == TIFF:
            import tifffile  # not loaded where no TIFF is compared

            with tifffile.TiffFile(io.BytesIO(data)) as file:
                return len(file.pages)
        with _open(data) as image:
            return int(getattr(image, "n_frames", 1))
    except Exception as error:
        # Decoders answer hostile bytes with any exception: OSError, SyntaxError, struct.error, zlib.error…
        raise failure_of(data, error) from error


def decode_frames(data: bytes, *, max_pixels: int) -> Iterator[Image.Image]:
    """Yield each frame as RGB, rotated as EXIF says, one after another.

    Raises:
        UnusableImageError: a frame can't be decoded, or has more than `max_pixels` pixels.
    """
    try:
        with _open(data) as image:
            for number in range(int(getattr(image, "n_frames", 1))):
                image.seek(number)
                if image.width * image.height > max_pixels:
                    size = f"{image.width} x {image.height}"
                    raise UnusableImageError(
                        Status.TOO_LARGE, f"frame {number + 1} has {size} pixels, more than the limit of {max_pixels:,}"
                    )
                image.load()
                yield to_rgb(ImageOps.exif_transpose(image))
    except UnusableImageError:
        raise
    except Exception as error:
        raise failure_of(data, error) from error


def _open(data: bytes) -> Image.Image:
    form = identify(data[:START_BYTES])
    if form == "PNG" and (repaired := repair_png(data)) is not None:
        data = repaired.data
    return Image.open(io.BytesIO(data), formats=None if form is None else (form,))
