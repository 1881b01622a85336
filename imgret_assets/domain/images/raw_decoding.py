"""Decoder of camera raw files by rawpy (LibRaw), an extra: which TIFF is one, its size, and its developed pixels.

Belongs here: recognising raw files that are TIFFs by their structure, developing. Not here: the signatures of the other
raw formats (`domain.images.file_formats`), whether rawpy is installed (`domain.images.optional_decoders`), raw files
beside the JPEG of the same shot (`domain.images.raw_pairs`).
"""

import io
import struct
from collections.abc import Callable
from typing import Any, BinaryIO

from PIL import Image

from imgret_assets.domain.images.image_status import Status, UnusableImageError

# No camera writes a TIFF with offsets of 64 bits.
_SIGNATURES = (b"II*\0", b"MM\0*")
_COMPRESSION, _PHOTOMETRIC, _MAKE, _SUB_DIRECTORIES, _DNG_VERSION = 259, 262, 271, 330, 50706
_STRIP_OFFSETS, _STRIP_BYTES, _TILE_OFFSETS, _TILE_BYTES = 273, 279, 324, 325
_NUMBERS = frozenset(
    {_COMPRESSION, _PHOTOMETRIC, _SUB_DIRECTORIES, _STRIP_OFFSETS, _STRIP_BYTES, _TILE_OFFSETS, _TILE_BYTES}
)
_SENSOR_PHOTOMETRICS = frozenset({32803, 34892})
# How cameras compress sensor data: Sony, Samsung, Nikon, Kodak, Pentax.
_SENSOR_COMPRESSIONS = frozenset({32767, 32769, 32770, 34713, 65000, 65535})
_KINDS = {3: "H", 4: "I", 13: "I", 16: "Q"}
# Directories and values that a raw file has many times fewer of.
_MAX_DIRECTORIES, _MAX_ENTRIES, _MAX_VALUES = 32, 1000, 100_000
# LibRaw's orientations whose width and height are exchanged.
_SIDEWAYS = frozenset({5, 6})

_Directory = dict[int, tuple[int, ...]]


def is_raw_tiff(file: BinaryIO) -> bool:
    """Return whether a TIFF is a camera raw file: a DNG, or sensor data with the name of the camera's maker."""
    try:
        directories = _directories(file)
    except (struct.error, OSError, ValueError, OverflowError):
        return False
    if any(_DNG_VERSION in directory for directory in directories):
        return True
    has_maker = any(_MAKE in directory for directory in directories)
    return has_maker and any(
        _SENSOR_PHOTOMETRICS & set(directory.get(_PHOTOMETRIC, ()))
        or _SENSOR_COMPRESSIONS & set(directory.get(_COMPRESSION, ()))
        for directory in directories
    )


def read_raw_size(data: bytes) -> tuple[int, int]:
    """Return width and height as shown, without decoding.

    Raises:
        UnusableImageError: LibRaw can't read the file; with the status and its message.
    """
    return _with_named_errors(data, _size)


def decode_raw(data: bytes, *, min_size: tuple[int, int] | None = None) -> Image.Image:
    """Develop a raw file, upright, as RGB in sRGB, with the white balance of the camera.

    Args:
        data: the file's bytes.
        min_size: width and height that the caller needs; a file that is at least twice as large is developed at half
            its size, where each pixel has its own red, green and blue. None develops every pixel.

    Raises:
        UnusableImageError: LibRaw can't decode the file; with the status and its message.
    """

    def develop(raw: Any) -> Image.Image:
        width, height = _size(raw)
        is_half = min_size is not None and width >= 2 * min_size[0] and height >= 2 * min_size[1]
        return Image.fromarray(raw.postprocess(half_size=is_half, use_camera_wb=True, output_bps=8))

    return _with_named_errors(data, develop)


def _size(raw: Any) -> tuple[int, int]:
    sizes = raw.sizes
    return (sizes.height, sizes.width) if sizes.flip in _SIDEWAYS else (sizes.width, sizes.height)


def _with_named_errors(data: bytes, use: Callable[[Any], Any]) -> Any:
    import rawpy

    # LibRaw would print a message that does not name the file.
    if (missing := _missing_part(data)) is not None:
        raise UnusableImageError(Status.TRUNCATED, missing)
    raw = rawpy.RawPy()
    try:
        raw.open_buffer(io.BytesIO(data))
        return use(raw)
    except rawpy.LibRawError as error:
        raise UnusableImageError(_status_of(error), _reason_of(error)) from error
    finally:
        raw.close()


def _status_of(error: Exception) -> Status:
    import rawpy

    if isinstance(error, rawpy.LibRawIOError):
        return Status.TRUNCATED
    if isinstance(error, rawpy.LibRawFileUnsupportedError | rawpy.LibRawNotImplementedError):
        return Status.UNSUPPORTED
    if isinstance(error, rawpy.LibRawUnsufficientMemoryError):
        return Status.TOO_LARGE
    return Status.DAMAGED


def _reason_of(error: Exception) -> str:
    message = error.args[0] if error.args else ""
    return f"LibRaw: {message.decode(errors='replace') if isinstance(message, bytes) else message}"


def _missing_part(data: bytes) -> str | None:
    """Return what is missing at the end of a raw file, as far as it is a TIFF; None for nothing."""
    try:
        directories = _directories(io.BytesIO(data))
    except (struct.error, ValueError, OverflowError):
        return "its directory ends after the file"
    for directory in directories:
        for starts, lengths in ((_STRIP_OFFSETS, _STRIP_BYTES), (_TILE_OFFSETS, _TILE_BYTES)):
            for start, length in zip(directory.get(starts, ()), directory.get(lengths, ()), strict=False):
                if start + length > len(data):
                    return "its pixels end after the file"
    return None


def _directories(file: BinaryIO) -> list[_Directory]:
    """Return the first directory of a TIFF and those that it refers to, each with the tags that are needed here.

    Raises:
        struct.error: a directory ends after the file.
    """
    file.seek(0)
    start = file.read(8)
    if start[:4] not in _SIGNATURES:
        return []
    order = "<" if start[:1] == b"I" else ">"
    pending = [struct.unpack(f"{order}I", start[4:8])[0]]
    directories: list[_Directory] = []
    while pending and len(directories) < _MAX_DIRECTORIES:
        directory = _read_directory(file, order, pending.pop(0))
        pending += directory.get(_SUB_DIRECTORIES, ())
        directories.append(directory)
    return directories


def _read_directory(file: BinaryIO, order: str, at: int) -> _Directory:
    file.seek(at)
    count = min(struct.unpack(f"{order}H", file.read(2))[0], _MAX_ENTRIES)
    entries = file.read(12 * count)
    directory: _Directory = {}
    for number in range(count):
        tag, kind, values = struct.unpack_from(f"{order}HHI", entries, 12 * number)
        inline = entries[12 * number + 8 : 12 * number + 12]
        if tag not in _NUMBERS or kind not in _KINDS or values > _MAX_VALUES:
            directory[tag] = ()
            continue
        form = f"{order}{values}{_KINDS[kind]}"
        length = struct.calcsize(form)
        if length > 4:
            file.seek(struct.unpack(f"{order}I", inline)[0])
            inline = file.read(length)
        directory[tag] = struct.unpack(form, inline[:length])
    return directory
