"""EXIF data in files that Pillow does not open: JPEG XL, and camera raw files that are no TIFF.

Belongs here: finding the data in their containers. Not here: what is read of it (`domain.images.exif_facts`).
"""

import io
import struct
from collections.abc import Iterator

from PIL import Image

from imgret_assets.domain.images.exif_facts import ExifFacts, read_exif_facts, read_exif_facts_of_tiff

_FUJI = b"FUJIFILMCCD-RAW"
# Where a raw file of Fujifilm has the offset and the length of its JPEG.
_FUJI_JPEG = 84
# Canon's box in the box `moov`; in it, `CMT1` and `CMT2` are TIFFs with the main and the EXIF directory.
_CANON = bytes.fromhex("85c0b687820f11e08111f4ce462b6a48")
_MAIN, _DETAILS = b"CMT1", b"CMT2"
# Containers have a few boxes; a damaged one shall not keep the reader.
_MAX_BOXES = 1000


def read_embedded_exif(data: bytes) -> ExifFacts:
    """Return the facts of a file's bytes: of JPEG XL, or a camera raw file.

    Raises:
        Exception: any; there is none, or it is damaged.
    """
    if data.startswith(_FUJI):
        start, length = struct.unpack_from(">II", data, _FUJI_JPEG)
        with Image.open(io.BytesIO(data[start : start + length]), formats=["JPEG"]) as image:
            return read_exif_facts(image.getexif())
    if data[4:8] == b"JXL ":
        content = next(content for name, content in _boxes(data) if name == b"Exif")
        # The data starts at an offset, which is stored before it.
        return read_exif_facts_of_tiff(io.BytesIO(content[4 + struct.unpack_from(">I", content)[0] :]))
    if data[4:8] == b"ftyp":
        return _read_canon(data)
    return read_exif_facts_of_tiff(io.BytesIO(data))


def _read_canon(data: bytes) -> ExifFacts:
    movie = next(content for name, content in _boxes(data) if name == b"moov")
    own = next(content for name, content in _boxes(movie) if name == b"uuid" and content.startswith(_CANON))
    tiffs = {name: content for name, content in _boxes(own[len(_CANON) :]) if name in (_MAIN, _DETAILS)}
    directories = []
    for name in (_MAIN, _DETAILS):
        directory = Image.Exif()
        directory.load_from_fp(io.BytesIO(tiffs.get(name, b"")))
        directories.append(directory)
    return read_exif_facts(directories[0], directories[1])


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the name and the content of each box of an ISO base media file."""
    at = 0
    for _ in range(_MAX_BOXES):
        if at + 8 > len(data):
            return
        length, name = struct.unpack_from(">I4s", data, at)
        start = at + 8
        if length == 1:
            (length,) = struct.unpack_from(">Q", data, start)
            start += 8
        end = len(data) if length == 0 else at + length
        if end < start:
            return
        yield name, data[start:end]
        at = end
