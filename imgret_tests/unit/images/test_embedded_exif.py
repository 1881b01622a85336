"""Date and camera in files that Pillow does not open; the containers are made here, as the formats describe them."""

import io
import struct
from contextlib import suppress
from datetime import datetime

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from imgret_assets.domain.images.decode import read_header
from imgret_assets.domain.images.embedded_exif import read_embedded_exif
from imgret_assets.domain.images.exif_facts import NO_FACTS, ExifFacts
from imgret_tests.support.exif_photos import ORIGINAL, exif_bytes, photo_bytes
from imgret_tests.support.pictures import picture

EXIF = exif_bytes(make="Canon", model="Canon EOS R5", original="2024:05:31 10:20:30")
TIFF = EXIF.removeprefix(b"Exif\0\0")
FACTS = ExifFacts(datetime.fromisoformat("2024-05-31T10:20:30"), "Canon EOS R5")
CANON = bytes.fromhex("85c0b687820f11e08111f4ce462b6a48")


def box(name: bytes, content: bytes, *, is_long: bool = False) -> bytes:
    if is_long:
        return struct.pack(">I4sQ", 1, name, 16 + len(content)) + content
    return struct.pack(">I4s", 8 + len(content), name) + content


def tiff(**tags: str) -> bytes:
    """A TIFF with a single directory."""
    exif = Image.Exif()
    for name, tag in (("make", 271), ("model", 272), ("original", ORIGINAL)):
        if name in tags:
            exif[tag] = tags[name]
    return exif.tobytes().removeprefix(b"Exif\0\0")


def jpeg_xl(exif: bytes = b"\0\0\0\0" + TIFF, *, is_long: bool = False) -> bytes:
    codestream = bytes(imagecodecs.jpegxl_encode(np.asarray(picture(1, size=(40, 30))), effort=1, usecontainer=False))
    start = box(b"JXL ", b"\r\n\x87\n") + box(b"ftyp", b"jxl \0\0\0\0jxl ")
    return start + box(b"Exif", exif, is_long=is_long) + box(b"jxlc", codestream)


def cr3(first: bytes, second: bytes) -> bytes:
    own = box(b"uuid", CANON + box(b"CNCV", b"CanonCR3") + box(b"CMT1", first) + box(b"CMT2", second))
    return box(b"ftyp", b"crx \0\0\0\1crx isom") + box(b"moov", box(b"uuid", b"\0" * 40) + own)


def raf(jpeg: bytes) -> bytes:
    header = b"FUJIFILMCCD-RAW 0201".ljust(84, b"\0") + struct.pack(">II", 200, len(jpeg))
    return header.ljust(200, b"\0") + jpeg + b"pixels"


@pytest.mark.skipif(not imagecodecs.JPEGXL.available, reason="imagecodecs was built without JPEG XL")
@pytest.mark.parametrize(
    "data", [jpeg_xl(), jpeg_xl(is_long=True), jpeg_xl(struct.pack(">I", 6) + EXIF)], ids=["box", "long box", "offset"]
)
def test_jpeg_xl(data: bytes) -> None:
    header = read_header(io.BytesIO(data), max_pixels=10**6)
    assert (header.width, header.height, header.exif) == (40, 30, FACTS)


@pytest.mark.skipif(not imagecodecs.JPEGXL.available, reason="imagecodecs was built without JPEG XL")
@pytest.mark.parametrize("exif", [b"", b"\0\0\0\0", b"\xff\xff\xff\xff" + TIFF, b"\0\0\0\0" + TIFF[:9]])
def test_damaged_data_leaves_an_image_without_facts(exif: bytes) -> None:
    assert read_header(io.BytesIO(jpeg_xl(exif)), max_pixels=10**6).exif == NO_FACTS


def test_raw_files_of_fujifilm_and_canon() -> None:
    assert read_embedded_exif(raf(photo_bytes(1, EXIF))) == FACTS
    main, details = tiff(make="Canon", model="Canon EOS R5"), tiff(original="2024:05:31 10:20:30")
    assert read_embedded_exif(cr3(main, details)) == FACTS
    assert read_embedded_exif(TIFF) == FACTS


@pytest.mark.parametrize("data", [b"", raf(b""), box(b"ftyp", b"crx "), cr3(b"", b""), box(b"JXL ", b"") + b"\0" * 8])
def test_files_without_the_data_have_no_facts(data: bytes) -> None:
    found = NO_FACTS
    with suppress(Exception):
        found = read_embedded_exif(data)
    assert found == NO_FACTS
