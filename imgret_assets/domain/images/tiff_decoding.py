"""Decoder of the forms of TIFF that Pillow can't decode, or decodes to wrong pixels, by tifffile and imagecodecs.

Belongs here: which forms Pillow decodes right, and the pixels of the others. Not here: opening files and every other
format (`domain.images.decode`), the status of a file that no decoder can decode (`domain.images.failures`).

`imgret_tests/support/picture_forms.py` generates the forms that were compared.
"""

import ctypes
import io
import logging
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, _imaging

from imgret_assets.domain.images.image_status import Status, UnusableImageError
from imgret_assets.domain.images.sample_levels import as_bytes
from imgret_assets.domain.images.stored_depth import StoredDepth, tiff_depth

_BITS, _PHOTOMETRIC, _ORIENTATION, _PLANAR, _SAMPLE_FORMAT, _ICC_PROFILE = 258, 262, 274, 284, 339, 34675
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _CMYK, _LAB = 0, 1, 2, 3, 5, 8
_PHOTOMETRIC_NAMES = {4: "a mask", 6: "YCbCr", 32803: "raw sensor data", 32844: "LogL", 32845: "LogLuv",
                      34892: "linear raw data"}  # fmt: skip
_CHANNELS = {_WHITE_IS_ZERO: 1, _BLACK_IS_ZERO: 1, _RGB: 3, _PALETTE: 1, _CMYK: 4, _LAB: 3}
# A file with more channels is no picture, and its values would need much memory.
_MAX_CHANNELS = 16
# Kinds of an extra channel: opacity with colours that are multiplied by it, and with colours that aren't.
_ASSOCIATED, _UNASSOCIATED = 1, 2
_TRANSPOSITIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Orientations whose width and height are exchanged, here and in EXIF.
SIDEWAYS = frozenset({5, 6, 7, 8})


def is_decoded_by_pillow(tags: Mapping[int, Any]) -> bool:
    """Return whether Pillow decodes the pixels of a TIFF that it can open right, by the tags of its page."""
    bits, kinds = set(_numbers(tags, _BITS)), set(_numbers(tags, _SAMPLE_FORMAT))
    photometric, planar = tags.get(_PHOTOMETRIC, _WHITE_IS_ZERO), tags.get(_PLANAR, 1) == 2
    if bits <= {1, 2, 4} and len(bits) == 1:
        return not planar
    if bits == {8}:
        return kinds == {1}
    if bits == {16}:
        return not planar and photometric != _WHITE_IS_ZERO
    return bits == {32} and photometric == _BLACK_IS_ZERO and kinds != {1} and not planar


@lru_cache(maxsize=1)
def silence_libtiff() -> None:
    """Stop libtiff, which Pillow uses, from printing messages that don't name the file.

    What they say reaches Pillow as an error, too. Where Pillow has no libtiff of its own that can be reached, nothing
    changes.
    """
    try:
        library = ctypes.CDLL(_imaging.__file__)
        library.TIFFSetErrorHandler(None)
        library.TIFFSetWarningHandler(None)
    except (OSError, AttributeError, TypeError):
        return


def read_tiff_size(file: BinaryIO) -> tuple[int, int]:
    """Read the width and height of the first page as it is shown.

    Raises:
        UnusableImageError: with the status `unsupported`, and the feature that has no decoder.
        Exception: any; tifffile can't read the file.
    """
    file.seek(0)
    with _tifffile().TiffFile(file) as tiff:
        page = tiff.pages[0]
        _check_supported(page)
        width, height = page.imagewidth, page.imagelength
        return (height, width) if _orientation(page) in SIDEWAYS else (width, height)


def read_tiff_depth(file: BinaryIO) -> StoredDepth:
    """Read the depth of the first page.

    Raises:
        Exception: any; tifffile can't read the file.
    """
    file.seek(0)
    with _tifffile().TiffFile(file) as tiff:
        page = tiff.pages[0]
        colour_map = None if page.colormap is None else np.asarray(page.colormap).ravel().tolist()
        bits, extra = int(page.bitspersample), len(page.extrasamples)
        return tiff_depth(int(page.photometric), bits, int(page.samplesperpixel), extra, colour_map)


def count_pages(file: BinaryIO) -> int:
    """Return the number of pages.

    Raises:
        Exception: any; tifffile can't read the file.
    """
    file.seek(0)
    with _tifffile().TiffFile(file) as tiff:
        return len(tiff.pages)


def decode_tiff(
    data: bytes, *, max_pixels: int, acquire_pixels: Callable[[int], None] | None = None, number: int = 0
) -> Image.Image:
    """Decode a page, upright, in mode L, RGB, RGBA, CMYK or LAB; `info` has its colour profile.

    Args:
        data: the file's bytes.
        max_pixels: a page with more pixels is not decoded.
        acquire_pixels: called with the number of pixels that are about to be decoded.
        number: of the page, from 0 on.

    Raises:
        UnusableImageError: with the status `unsupported`, and the feature that has no decoder; or `too_large`.
        Exception: any; tifffile can't read the file.
    """
    with _tifffile().TiffFile(io.BytesIO(data)) as tiff:
        page = tiff.pages[number]
        _check_supported(page)
        pixels = page.imagewidth * page.imagelength
        if pixels > max_pixels:
            raise UnusableImageError(Status.TOO_LARGE, f"{pixels:,} pixels are more than the limit of {max_pixels:,}")
        if acquire_pixels is not None:
            acquire_pixels(pixels)
        values = page.asarray(maxworkers=1)
        if "S" not in page.axes:
            values = values[..., np.newaxis]
        elif page.axes.startswith("S"):
            values = np.moveaxis(values, 0, -1)
        image = _as_image(values, page)
        orientation, profile = _orientation(page), page.tags.valueof(_ICC_PROFILE)
    if orientation in _TRANSPOSITIONS:
        image = image.transpose(_TRANSPOSITIONS[orientation])
    if isinstance(profile, bytes):
        image.info["icc_profile"] = profile
    return image


def _tifffile() -> Any:
    import tifffile

    # Its messages don't name the file, and what matters in them becomes the reason of a status.
    logging.getLogger("tifffile").setLevel(logging.CRITICAL + 1)
    return tifffile


def _numbers(tags: Mapping[int, Any], tag: int) -> tuple[int, ...]:
    value = tags.get(tag, 1)
    return tuple(value) if isinstance(value, tuple | list) else (value,)


def _orientation(page: Any) -> int:
    value = page.tags.valueof(_ORIENTATION)
    return value if isinstance(value, int) else 1


def _check_supported(page: Any) -> None:
    """Raise the status of a page whose values would not become a picture."""
    photometric, channels = int(page.photometric), int(page.samplesperpixel)
    if photometric not in _CHANNELS:
        name = _PHOTOMETRIC_NAMES.get(photometric, f"photometric interpretation {photometric}")
        raise UnusableImageError(Status.UNSUPPORTED, f"a TIFF of {name} ({_form(page)}) has no decoder here")
    if not _CHANNELS[photometric] <= channels <= _MAX_CHANNELS or page.imagedepth != 1:
        raise UnusableImageError(Status.UNSUPPORTED, f"a TIFF of {channels} channels ({_form(page)}) has no decoder")
    if page.dtype is None or page.dtype.kind not in "buif":
        raise UnusableImageError(Status.UNSUPPORTED, f"a TIFF of this kind of numbers ({_form(page)}) has no decoder")
    if photometric == _PALETTE and page.colormap is None:
        raise UnusableImageError(Status.UNSUPPORTED, f"a TIFF with a palette that is missing ({_form(page)})")


def _form(page: Any) -> str:
    return f"{page.samplesperpixel} x {page.bitspersample} bits, compression {int(page.compression)}"


def _as_image(values: np.ndarray, page: Any) -> Image.Image:
    """Return values (height, width, channels) of any depth as an image of 8 bits per channel."""
    photometric = int(page.photometric)
    channels = _CHANNELS[photometric]
    if photometric == _PALETTE:
        colours = (np.asarray(page.colormap).astype(np.uint32) * 255 + 32767) // 65535
        indices = np.minimum(values[..., 0].astype(np.int64), colours.shape[1] - 1)
        return Image.fromarray(np.ascontiguousarray(colours.T.astype(np.uint8)[indices]))
    extra = [int(kind) for kind in page.extrasamples]
    has_alpha = photometric == _RGB and values.shape[-1] > channels and extra[:1] in ([_ASSOCIATED], [_UNASSOCIATED])
    levels = as_bytes(values[..., : channels + has_alpha], int(page.bitspersample))
    if photometric == _LAB:
        if int(page.bitspersample) != 8:
            raise UnusableImageError(Status.UNSUPPORTED, f"a TIFF in CIELAB ({_form(page)}) has no decoder here")
        # a and b are signed in the file, and unsigned with an offset of 128 in Pillow.
        levels = values[..., :3].astype(np.uint8) ^ np.array([0, 128, 128], np.uint8)
        return Image.frombytes("LAB", levels.shape[1::-1], np.ascontiguousarray(levels).tobytes())
    if photometric == _WHITE_IS_ZERO:
        levels = 255 - levels
    if channels == 1:
        return Image.fromarray(np.ascontiguousarray(levels[..., 0]))
    mode = "CMYK" if photometric == _CMYK else "RGBA" if has_alpha else "RGB"
    image = Image.frombytes(mode, levels.shape[1::-1], np.ascontiguousarray(levels).tobytes())
    if has_alpha and extra[0] == _ASSOCIATED:
        return Image.frombytes("RGBa", image.size, image.tobytes()).convert("RGBA")
    return image
