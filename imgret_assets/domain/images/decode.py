"""Decoder of image files: from bytes to a header or RGB pixels, or to the status that says why there are none.

Belongs here: everything that depends on image formats. Not here: walking folders
(`domain.images.files`), reading files (`domain.images.manifest`, `domain.images.image_reader`), a model's input
(`domain.models.preprocessing`).

A file that can't be decoded raises `UnusableImageError`. Its status and reason become a row of the manifest
(`domain.images.file_inspection`) or of the embeddings (`domain.embeddings.embedding_pipeline`), and the run goes on.
"""

import io
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from imgret_assets.domain.images.image_status import Status, UnusableImageError

# The setting `max_pixels` is checked on the header, before any pixel is decoded. Pillow's own limit would warn about
# every large photograph, and can't be set by a user.
Image.MAX_IMAGE_PIXELS = None

EXTENSIONS = frozenset(
    f".{ending}"
    for ending in (
        *("jpg", "jpeg", "jpe", "jfif", "png", "apng", "gif", "webp", "bmp", "dib", "tif", "tiff"),
        *("avif", "heic", "heif", "jp2", "j2k", "jxl", "ppm", "pgm", "pbm", "tga", "ico"),
    )
)
# Formats by content, whatever the file's name. EPS, WMF and similar formats are excluded: Pillow would start other
# programs (Ghostscript) for any file that has such a content.
FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "DIB", "TIFF", "AVIF", "JPEG2000", "PPM", "TGA", "ICO")
# Words in Pillow's messages about a file whose format it lacks a decoder for. Any other error means a damaged file.
_UNSUPPORTED_HINTS = ("not available", "not supported", "unsupported", "cannot handle", "unknown", "no decode")
_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_SIGNATURES = (_PNG_SIGNATURE, b"\xff\xd8\xff", b"GIF8", b"II*\0", b"MM\0*")
_PNG_METADATA_CHUNKS = (b"eXIf", b"tEXt", b"zTXt", b"iTXt")
_EXIF_ORIENTATION = 0x0112
_SIDEWAYS = frozenset({5, 6, 7, 8})


@dataclass(frozen=True)
class Header:
    """Header of an image file: size in pixels after EXIF rotation, and format, such as `JPEG`."""

    width: int
    height: int
    format: str


def read_header(file: BinaryIO, *, max_pixels: int) -> Header:
    """Read an image's size and format without decoding pixels.

    Raises:
        UnusableImageError: the file is no image, in a format that this machine can't decode, damaged, or too large.
    """
    with _open(file, max_pixels) as image:
        width, height = image.size
        sideways = _is_sideways(image, file)
        return Header(*((height, width) if sideways else (width, height)), format=image.format or "")


def decode(
    data: bytes,
    *,
    max_pixels: int,
    min_size: tuple[int, int] | None = None,
    acquire_pixels: Callable[[int], None] | None = None,
) -> Image.Image:
    """Decode the first frame as RGB, rotated as EXIF says; transparent parts become white.

    Args:
        data: the file's bytes.
        max_pixels: an image with more pixels is refused by its header.
        min_size: width and height that the caller needs. A JPEG that is at least 2, 4 or 8 times as large in both
            directions is decoded at that fraction of its size, from the low frequencies alone and in a fraction of the
            time. None decodes every pixel.
        acquire_pixels: called with the number of pixels that are about to be decoded; may wait until they are free.

    Raises:
        UnusableImageError: as `read_header`, and with the status `truncated` where pixels are missing.
    """
    if not data:
        raise UnusableImageError(Status.EMPTY, "the file has no bytes")
    file = io.BytesIO(data)
    with _open(file, max_pixels) as image:
        try:
            if min_size is not None and image.format == "JPEG":
                # Pillow takes the size before rotation; an EXIF rotation by 90 degrees exchanges width and height.
                width, height = min_size
                image.draft(image.mode, (height, width) if _is_sideways(image, file) else (width, height))
            if acquire_pixels is not None:
                acquire_pixels(image.size[0] * image.size[1])
            image.load()
            return to_rgb(_rotated(image))
        except (MemoryError, RecursionError) as error:
            raise UnusableImageError(Status.TOO_LARGE, f"not enough memory to decode it ({error})") from error
        except Exception as error:
            # Decoders answer hostile bytes with any exception: OSError, SyntaxError, struct.error, zlib.error…
            raise UnusableImageError(_status_of(error, Status.TRUNCATED), _reason(error)) from error


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert an image to mode RGB, 8 bits per channel, white where it is transparent."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I") or image.mode == "F":
        return _deep_to_rgb(image)
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def _is_sideways(image: Image.Image, file: BinaryIO) -> bool:
    try:
        # For a PNG without EXIF before its pixels, Pillow's own method decodes all pixels to see what follows them.
        needs_no_pixels = image.format != "PNG" or "exif" in image.info or not _png_has_late_metadata(file)
        exif = Image.Image.getexif(image) if needs_no_pixels else image.getexif()
        return exif.get(_EXIF_ORIENTATION) in _SIDEWAYS
    except Exception:  # noqa: BLE001, RUF100 - an image with a damaged EXIF block is still usable
        return False


def _png_has_late_metadata(file: BinaryIO) -> bool:
    """Return whether chunks that may contain an orientation follow the pixels."""
    file.seek(len(_PNG_SIGNATURE))
    after_pixels = False
    while len(start := file.read(8)) == 8:
        length, name = struct.unpack(">I4s", start)
        if after_pixels and name in _PNG_METADATA_CHUNKS:
            return True
        after_pixels = after_pixels or name == b"IDAT"
        file.seek(length + 4, io.SEEK_CUR)
    return False


def _rotated(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # noqa: BLE001, RUF100 - an image with a damaged EXIF block is still usable
        return image


def _deep_to_rgb(image: Image.Image) -> Image.Image:
    # Pillow's own conversion clips 16-bit values at 255, which turns most such images white.
    values = np.asarray(image, dtype=np.float64)
    values = np.where(np.isfinite(values), values, 0.0)
    top = float(values.max(initial=0.0))
    if image.mode == "F":
        scale = 255.0 if top <= 1.0 else 255.0 / top
    else:
        scale = 1.0 if top <= 255 and image.mode == "I" else 255.0 / max(65535.0, top)
    grey = np.clip(np.rint(values * scale), 0, 255).astype(np.uint8)
    return Image.fromarray(grey).convert("RGB")


def _open(file: BinaryIO, max_pixels: int) -> Image.Image:
    try:
        image = Image.open(file, formats=FORMATS)
    except UnidentifiedImageError as error:
        raise _unidentified(file) from error
    except (MemoryError, RecursionError) as error:
        raise UnusableImageError(Status.TOO_LARGE, f"not enough memory for its header ({error})") from error
    except Exception as error:
        if "too large" in str(error).lower():
            raise UnusableImageError(Status.TOO_LARGE, _reason(error)) from error
        raise UnusableImageError(_status_of(error, Status.TRUNCATED), _reason(error)) from error
    pixels = image.size[0] * image.size[1]
    if pixels > max_pixels:
        image.close()
        raise UnusableImageError(
            Status.TOO_LARGE, f"{image.size[0]} x {image.size[1]} pixels are more than the limit of {max_pixels:,}"
        )
    return image


def _unidentified(file: BinaryIO) -> UnusableImageError:
    file.seek(0)
    start = file.read(32)
    if not start:
        return UnusableImageError(Status.EMPTY, "the file has no bytes")
    if start[4:8] == b"ftyp" and start[8:12] in _HEIF_BRANDS:
        return UnusableImageError(Status.UNSUPPORTED, "HEIC/HEIF images need a decoder that is not installed")
    if start.startswith((b"\xff\x0a", b"\x00\x00\x00\x0cJXL ")):
        return UnusableImageError(Status.UNSUPPORTED, "JPEG XL images need a decoder that is not installed")
    if start.startswith(_SIGNATURES) or start[4:12] == b"ftypavif" or start[:4] + start[8:12] == b"RIFFWEBP":
        return UnusableImageError(Status.TRUNCATED, "it starts like an image, but its header is incomplete")
    return UnusableImageError(
        Status.NOT_AN_IMAGE, f"its first bytes are {start[:8]!r}, which no known image format has"
    )


def _status_of(error: Exception, otherwise: Status) -> Status:
    text = str(error).lower()
    if isinstance(error, NotImplementedError) or any(hint in text for hint in _UNSUPPORTED_HINTS):
        return Status.UNSUPPORTED
    return otherwise


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
