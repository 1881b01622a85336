"""Photos with EXIF data: a camera, dates, and a place that nobody may keep.

Belongs here: encoding them. Not here: pictures without EXIF data (`pictures`), HEIC files (`heif_files`).
"""

import io
from pathlib import Path

from PIL import Image

from imgret_tests.support.pictures import picture

MAKE, MODEL, DATE_TIME, ORIGINAL, DIGITIZED = 0x010F, 0x0110, 0x0132, 0x9003, 0x9004
_EXIF_IFD, _GPS_IFD = 0x8769, 0x8825


def exif_bytes(**texts: str | bytes) -> bytes:
    """Return EXIF data, starting with `Exif` and two zeros.

    Args:
        texts: `make`, `model`, `date_time`, `original`, `digitized`: what the tag of this name holds, a str in UTF-8.
    """
    tags = {name: text if isinstance(text, bytes) else text.encode() for name, text in texts.items()}
    exif = Image.Exif()
    for name, tag in (("make", MAKE), ("model", MODEL), ("date_time", DATE_TIME)):
        if name in tags:
            exif[tag] = tags[name]
    exif[_EXIF_IFD] = {
        tag: tags[name] for name, tag in (("original", ORIGINAL), ("digitized", DIGITIZED)) if name in tags
    }
    exif[_GPS_IFD] = {1: "N", 2: (48.0, 12.0, 30.0), 3: "E", 4: (16.0, 22.0, 0.0)}
    return exif.tobytes()


def photo_bytes(seed: int, exif: bytes, *, form: str = "JPEG", family: int | None = None) -> bytes:
    """Return the bytes of `picture` as a file with EXIF data."""
    loaded = Image.Exif()
    loaded.load(exif)
    buffer = io.BytesIO()
    picture(seed, family=family).save(buffer, form, exif=loaded if form == "TIFF" else exif)
    return buffer.getvalue()


def write_photo(file: Path, seed: int, exif: bytes, *, family: int | None = None) -> None:
    """Write a JPEG with EXIF data."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(photo_bytes(seed, exif, family=family))
