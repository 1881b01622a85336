"""Decoder of image files: from bytes to a header or RGB pixels, or to the status that says why there are none.

Belongs here: opening a file with Pillow or with the second decoder that its form needs, its frames, rotation. Not here:
RGB (`domain.images.rgb_conversion`), signatures and structures of formats (`domain.images.file_formats`), which status
follows from an error (`domain.images.failures`), walking folders (`domain.images.files`), reading files
(`domain.images.manifest`, `domain.images.image_reader`), a model's input (`domain.models.preprocessing`).

A file that can't be decoded raises `UnusableImageError`. Its status and reason become a row of the manifest
(`domain.images.file_inspection`) or of the embeddings (`domain.embeddings.embedding_pipeline`), and the run goes on.

A picture that another version of this module decoded to other pixels has a `Header.decoding`, which its manifest row
and its vector carry: that vector is computed anew, and no other (`domain.embeddings.shard_plan`).

Frames are the pictures of a GIF, APNG, WebP or AVIF sequence, the pages of a TIFF, the images of a HEIF file, and the
pictures of an MPO (the two views of a stereo camera, or what a phone adds to a photograph). The first one alone, of a
HEIF file the primary one, is embedded and hashed.
"""

import io
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO, TypeVar

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from imgret_assets.domain.images.bmp_runs import decode_runs
from imgret_assets.domain.images.colour_profiles import profile_effect
from imgret_assets.domain.images.embedded_exif import read_embedded_exif
from imgret_assets.domain.images.exif_facts import NO_FACTS, ExifFacts, read_exif_facts, read_exif_facts_of_tiff
from imgret_assets.domain.images.failures import failure_of, failure_of_format, failure_of_start
from imgret_assets.domain.images.file_formats import HEIF, JPEG_XL, RAW, START_BYTES, TIFF, identify, missing_part
from imgret_assets.domain.images.heif_decoding import heif_depth, open_heif, other_frames, reduced
from imgret_assets.domain.images.image_status import Status, UnusableImageError
from imgret_assets.domain.images.jpegxl_decoding import decode_jpegxl, read_jpegxl_header
from imgret_assets.domain.images.png_repair import has_late_metadata, repair_png
from imgret_assets.domain.images.raw_decoding import decode_raw, is_raw_tiff, read_raw_size
from imgret_assets.domain.images.raw_names import RAW_ENDINGS
from imgret_assets.domain.images.rgb_conversion import is_transparent, to_rgb
from imgret_assets.domain.images.stored_depth import StoredDepth, stored_depth
from imgret_assets.domain.images.tiff_decoding import (
    SIDEWAYS,
    count_pages,
    decode_tiff,
    is_decoded_by_pillow,
    read_tiff_depth,
    read_tiff_size,
    silence_libtiff,
)

# Grows when a file's status, size or decoding can come out otherwise: manifests of an older decoder are then refreshed
# once (`domain.images.manifest`), and contents that it could not decode are tried again.
DECODER_VERSION = 3
# What `Header.decoding` says of pixels that differ from those of version 1, with the version of each way.
SECOND_TIFF_DECODER = "tiff1"
BMP_RUNS = "runs1"
PROFILE = "profile1"
GROUND = "ground2"
# A TIFF that is a camera raw file was decoded to its preview once.
DEVELOPED = "raw1"

# The setting `max_pixels` is checked on the header, before any pixel is decoded. Pillow's own limit would warn about
# every large photograph, and can't be set by a user.
Image.MAX_IMAGE_PIXELS = None
# Pillow's warnings about odd files don't name the file. What makes a file unusable becomes its status.
warnings.filterwarnings("ignore", module=r"PIL\.")

EXTENSIONS = frozenset(
    f".{ending}"
    for ending in (
        *("jpg", "jpeg", "jpe", "jfif", "png", "apng", "gif", "webp", "bmp", "dib", "tif", "tiff"),
        *("avif", "heic", "heif", "hif", "jp2", "j2k", "jxl", "ppm", "pgm", "pbm", "tga", "ico"),
        *RAW_ENDINGS,
    )
)
# Formats by content, whatever the file's name. EPS, WMF and similar formats are excluded: Pillow would start other
# programs (Ghostscript) for any file that has such a content.
FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", TIFF, "AVIF", "JPEG2000", "PPM", "ICO")
# Formats without a signature, which are tried only on files that have no other one.
_FORMATS_WITHOUT_SIGNATURE = ("DIB", "TGA")
# Formats that only a decoder for whole files reads; their decoders rotate.
_WHOLE_FILE_FORMATS = (JPEG_XL, RAW)
_EXIF_ORIENTATION = 0x0112
# Depth of a developed camera raw file: its sensor has 12 to 16 bits.
_RAW_DEPTH = StoredDepth(3, 48)
_BMP_RUNS_DECODER = "bmp_rle"
_T = TypeVar("_T")


@dataclass(frozen=True)
class Header:
    """Header of an image file.

    Attributes:
        width, height: in pixels, after EXIF rotation.
        format: such as `JPEG`.
        decoding: how the pixels are decoded where another version decoded them otherwise, joined by `+`; empty for
            ordinary pictures.
        note: what was ignored, such as a profile that can't be read; None for nothing.
        depth: channels and bits per pixel as stored, without transparency; None if unknown.
        frames: how many frames the file has; None if they can't be counted.
        exif: when the photo was taken, and by which camera.
    """

    width: int
    height: int
    format: str
    decoding: str = ""
    note: str | None = None
    depth: StoredDepth | None = None
    frames: int | None = 1
    exif: ExifFacts = NO_FACTS


def read_header(file: BinaryIO, *, max_pixels: int) -> Header:
    """Read an image's size and format without decoding pixels.

    Raises:
        UnusableImageError: the file is no image, in a format that this machine can't decode, damaged, or too large.
    """
    try:
        return _read_header(file, max_pixels)
    except UnusableImageError:
        raise
    except Exception as error:
        # Decoders answer hostile bytes with any exception: OSError, SyntaxError, struct.error, zlib.error…
        raise _failure_in(file, error) from error


def _failure_in(file: BinaryIO, error: Exception) -> UnusableImageError:
    file.seek(0)
    try:
        data = b"" if isinstance(error, MemoryError) else file.read()
    except MemoryError as out_of_memory:
        return failure_of(b"", out_of_memory)
    return failure_of(data, error)


def decode(
    data: bytes,
    *,
    max_pixels: int,
    min_size: tuple[int, int] | None = None,
    acquire_pixels: Callable[[int], None] | None = None,
) -> Image.Image:
    """Decode the first frame as RGB, rotated as EXIF says, in sRGB, transparent parts on a ground that contrasts.

    Args:
        data: the file's bytes.
        max_pixels: an image with more pixels is refused by its header.
        min_size: width and height that the caller needs. A JPEG that is at least 2, 4 or 8 times as large in both
            directions is decoded at that fraction of its size, from the low frequencies alone and in a fraction of the
            time. None decodes every pixel.
        acquire_pixels: called once with the number of pixels that are about to be decoded; may wait until they are
            free.

    Raises:
        UnusableImageError: as `read_header`, and with the status `truncated` where pixels are missing.
    """
    with _named_failures(data):
        return to_rgb(next(_Decoding(data, max_pixels, min_size, acquire_pixels).frames()))


def count_frames(data: bytes) -> int:
    """Return the number of frames of a file's bytes, 1 or more, without decoding pixels.

    Raises:
        UnusableImageError: the bytes can't be read as an image.
    """
    with _named_failures(data):
        return _Decoding(data).count()


def decode_frames(data: bytes, *, max_pixels: int) -> Iterator[Image.Image]:
    """Yield each frame as `decode` returns the first one, in order.

    Args:
        data: the file's bytes.
        max_pixels: a frame with more pixels is refused.

    Raises:
        UnusableImageError: a frame can't be decoded, or has too many pixels.
    """
    with _named_failures(data):
        yield from map(to_rgb, _Decoding(data, max_pixels).frames())


@contextmanager
def _named_failures(data: bytes) -> Iterator[None]:
    """Raise any error of a decoder as an UnusableImageError."""
    try:
        yield
    except UnusableImageError:
        raise
    except Exception as error:
        # Decoders answer hostile bytes with any exception: OSError, SyntaxError, struct.error, zlib.error…
        raise failure_of(data, error) from error


def _read_header(file: BinaryIO, max_pixels: int) -> Header:
    form = _identify(file)
    if form in _WHOLE_FILE_FORMATS:
        return _read_header_of_whole_file(file, form, max_pixels)
    if form == TIFF and (size := _size_by_second_decoder(file, max_pixels)) is not None:
        depth = _unless_fails(lambda: read_tiff_depth(file))
        frames = _unless_fails(lambda: count_pages(file))
        exif = _unless_fails(lambda: read_exif_facts_of_tiff(file)) or NO_FACTS
        return Header(*size, TIFF, SECOND_TIFF_DECODER, depth=depth, frames=frames, exif=exif)
    try:
        with _open(file, form, max_pixels) as image:
            if form != "PNG" or "exif" in image.info or not has_late_metadata(file):
                return _header_of(image, file, decodes_pixels=False)
    except UnusableImageError:
        raise
    except Exception:
        if form != "PNG":
            raise
    # Pillow refuses the PNG, or would decode all its pixels for what follows them.
    file.seek(0)
    data = file.read()
    repaired = repair_png(data)
    with _open(io.BytesIO(data if repaired is None else repaired.data), form, max_pixels) as image:
        if repaired is not None and repaired.icc_profile is not None:
            image.info["icc_profile"] = repaired.icc_profile
        return _header_of(image, file, decodes_pixels=True)


def _read_header_of_whole_file(file: BinaryIO, form: str, max_pixels: int) -> Header:
    file.seek(0)
    data = file.read()
    exif = _unless_fails(lambda: read_embedded_exif(data)) or NO_FACTS
    if form == RAW:
        size = read_raw_size(data)
        _check_pixels(size, max_pixels)
        return Header(*size, RAW, DEVELOPED, depth=_RAW_DEPTH, exif=exif)
    header = read_jpegxl_header(data)
    _check_pixels((header.width, header.height), max_pixels)
    return Header(header.width, header.height, JPEG_XL, frames=None if header.is_animated else 1, exif=exif)


def _header_of(image: Image.Image, file: BinaryIO, *, decodes_pixels: bool) -> Header:
    width, height = image.size
    size = (height, width) if _is_sideways(image, decodes_pixels=decodes_pixels) else (width, height)
    effect = profile_effect(image.info.get("icc_profile"), image.mode)
    ways = {
        BMP_RUNS: _has_bmp_runs(image),
        PROFILE: effect.transform is not None,
        GROUND: is_transparent(image),
    }
    decoding = "+".join(way for way, is_used in ways.items() if is_used)
    depth = _unless_fails(lambda: heif_depth(image) if image.format == HEIF else stored_depth(image))
    exif = _unless_fails(lambda: read_exif_facts(_exif(image, decodes_pixels=decodes_pixels))) or NO_FACTS
    # Counting the frames of a GIF reads on in its file; nothing else is read of this image afterwards.
    frames = _unless_fails(lambda: count_pages(file) if image.format == TIFF else _frames_of(image))
    return Header(*size, image.format or "", decoding, effect.note, depth, frames, exif)


def _unless_fails(read: Callable[[], _T]) -> _T | None:
    """Return what a function reads of a header, or None: a file whose first frame is good stays usable."""
    try:
        return read()
    except Exception:  # noqa: BLE001, RUF100 - decoders raise any error on odd files
        return None


def _frames_of(image: Image.Image) -> int:
    return int(getattr(image, "n_frames", 1))


def _size_by_second_decoder(file: BinaryIO, max_pixels: int) -> tuple[int, int] | None:
    """Return the size of a TIFF that the second decoder has to decode; None where Pillow decodes it."""
    pillow_error: Exception | None = None
    try:
        with _open(file, TIFF, max_pixels) as image:
            if is_decoded_by_pillow(_tags(image)):
                return None
    except UnusableImageError:
        raise
    except UnidentifiedImageError:
        pass
    except Exception as error:  # noqa: BLE001, RUF100 - decoders raise any error on odd files
        pillow_error = error
    try:
        size = read_tiff_size(file)
    except UnusableImageError:
        raise
    except Exception as error:
        raise (pillow_error or error) from error
    _check_pixels(size, max_pixels)
    return size


class _Decoding:
    """Decoding of one file."""

    def __init__(
        self,
        data: bytes,
        max_pixels: int = sys.maxsize,
        min_size: tuple[int, int] | None = None,
        acquire_pixels: Callable[[int], None] | None = None,
    ) -> None:
        self._data = data
        self._max_pixels = max_pixels
        self._min_size = min_size
        self._acquire_pixels = acquire_pixels

    def count(self) -> int:
        """Return the number of frames."""
        form = _identify(io.BytesIO(self._data))
        if form == TIFF:
            return count_pages(io.BytesIO(self._data))
        if form == JPEG_XL and read_jpegxl_header(self._data).is_animated:
            raise UnusableImageError(Status.UNSUPPORTED, "the frames of an animated JPEG XL can't be counted")
        if form in _WHOLE_FILE_FORMATS:
            return 1
        with self._opened(form) as image:
            return _frames_of(image)

    def frames(self) -> Iterator[Image.Image]:
        """Yield each frame in any mode, rotated as EXIF says; nothing is read of a frame that nobody asks for."""
        form = _identify(io.BytesIO(self._data))
        if form in _WHOLE_FILE_FORMATS:
            yield self._decode_whole_file(form)
            return
        if form == TIFF:
            yield self._page(0)
            yield from map(self._page, range(1, count_pages(io.BytesIO(self._data))))
            return
        with self._opened(form) as image:
            others = other_frames(image) if form == HEIF else range(1, _frames_of(image))
            yield self._load(image)
            for number in others:
                image.seek(number)
                _check_pixels(image.size, self._max_pixels)
                yield self._load(image)

    @contextmanager
    def _opened(self, form: str | None) -> Iterator[Image.Image]:
        profile: bytes | None = None
        if form == "PNG" and (repaired := repair_png(self._data)) is not None:
            self._data, profile = repaired.data, repaired.icc_profile
        with _open(io.BytesIO(self._data), form, self._max_pixels) as image:
            if profile is not None:
                image.info["icc_profile"] = profile
            yield image

    def _decode_whole_file(self, form: str) -> Image.Image:
        """Return the only frame that is read of such a file, upright."""
        if form == RAW:
            width, height = read_raw_size(self._data)
        else:
            header = read_jpegxl_header(self._data)
            width, height = header.width, header.height
        _check_pixels((width, height), self._max_pixels)
        self._acquire_once(width * height)
        return decode_raw(self._data, min_size=self._min_size) if form == RAW else decode_jpegxl(self._data)

    def _page(self, number: int) -> Image.Image:
        """Return a page of a TIFF, upright."""
        silence_libtiff()
        pillow_error: Exception | None = None
        try:
            with _open(io.BytesIO(self._data), TIFF, self._max_pixels) as image:
                image.seek(number)
                _check_pixels(image.size, self._max_pixels)
                if is_decoded_by_pillow(_tags(image)):
                    return self._load(image)
        except (UnusableImageError, MemoryError, RecursionError):
            raise
        except UnidentifiedImageError:
            pass
        except Exception as error:  # noqa: BLE001, RUF100 - decoders raise any error on odd files
            pillow_error = error
        # tifffile fills missing pixels with zeros.
        if (missing := missing_part(self._data, TIFF)) is not None:
            raise UnusableImageError(Status.TRUNCATED, missing)
        try:
            return decode_tiff(
                self._data, max_pixels=self._max_pixels, acquire_pixels=self._acquire_once, number=number
            )
        except (UnusableImageError, MemoryError, RecursionError):
            raise
        except Exception as error:
            raise (error if pillow_error is None else pillow_error) from error

    def _acquire_once(self, pixels: int) -> None:
        acquire, self._acquire_pixels = self._acquire_pixels, None
        if acquire is not None:
            acquire(pixels)

    def _load(self, image: Image.Image) -> Image.Image:
        if self._min_size is not None and image.format == "JPEG":
            # Pillow takes the size before rotation; an EXIF rotation by 90 degrees exchanges width and height.
            width, height = self._min_size
            image.draft(image.mode, (height, width) if _is_sideways(image, decodes_pixels=False) else (width, height))
        self._acquire_once(image.size[0] * image.size[1])
        if _has_bmp_runs(image):
            return _decode_bmp_runs(image, self._data)
        image.load()
        if image.format == HEIF:
            # The pixels themselves may be more than the header says.
            _check_pixels(image.size, self._max_pixels)
            # A copy: the next frame is decoded into the same object.
            return image.copy() if self._min_size is None else reduced(image, self._min_size)
        return _rotated(image)


def _identify(file: BinaryIO) -> str | None:
    file.seek(0)
    start = file.read(START_BYTES)
    if (failure := failure_of_start(start)) is not None:
        raise failure
    form = identify(start)
    if form == TIFF and is_raw_tiff(file):
        form = RAW
        if (failure := failure_of_format(form)) is not None:
            raise failure
    return form


def _open(file: BinaryIO, form: str | None, max_pixels: int) -> Image.Image:
    file.seek(0)
    if form == HEIF:
        image = open_heif(file)
    else:
        image = Image.open(file, formats=(form,) if form in FORMATS else _FORMATS_WITHOUT_SIGNATURE)
    try:
        _check_pixels(image.size, max_pixels)
    except UnusableImageError:
        image.close()
        raise
    return image


def _check_pixels(size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise UnusableImageError(
            Status.TOO_LARGE, f"{width} x {height} pixels are more than the limit of {max_pixels:,}"
        )


def _tags(image: Image.Image) -> Any:
    return image.tag_v2  # type: ignore[attr-defined]


def _is_sideways(image: Image.Image, *, decodes_pixels: bool) -> bool:
    if image.format in (TIFF, HEIF):
        # Their decoders rotate, and their size is the rotated one.
        return False
    try:
        return _exif(image, decodes_pixels=decodes_pixels).get(_EXIF_ORIENTATION) in SIDEWAYS
    except Exception:  # noqa: BLE001, RUF100 - an image with a damaged EXIF block is still usable
        return False


def _exif(image: Image.Image, *, decodes_pixels: bool) -> Image.Exif:
    # For a PNG without EXIF before its pixels, Pillow's own method decodes all pixels to see what follows them.
    return image.getexif() if decodes_pixels else Image.Image.getexif(image)


def _has_bmp_runs(image: Image.Image) -> bool:
    tiles = getattr(image, "tile", None)
    return bool(tiles) and tiles[0][0] == _BMP_RUNS_DECODER


def _decode_bmp_runs(image: Image.Image, data: bytes) -> Image.Image:
    """Decode a BMP with run lengths, whose header and palette Pillow has read."""
    _, _, offset, (_, is_rle4, direction) = image.tile[0]  # type: ignore[attr-defined]
    indices = decode_runs(data[offset:], image.size, 4 if is_rle4 else 8)
    decoded = Image.fromarray(np.ascontiguousarray(indices if direction == -1 else indices[::-1]))
    if image.mode == "P" and image.palette is not None:
        raw_mode, palette = image.palette.getdata()
        decoded.putpalette(palette, raw_mode)
    return decoded


def _rotated(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # noqa: BLE001, RUF100 - an image with a damaged EXIF block is still usable
        return image
