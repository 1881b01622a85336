"""What a camera wrote about a photo: when it was taken, and by which camera.

Belongs here: the EXIF tags that are read, and making a date and a name of what they hold. Not here: opening files
(`domain.images.decode`), the orientation, which decoding applies. No other tag is read: the place, the owner's name and
serial numbers of a camera stay in the file.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, BinaryIO

from PIL import Image

_EXIF_IFD = 0x8769
_DATE_TIME, _DATE_TIME_ORIGINAL, _DATE_TIME_DIGITIZED = 0x0132, 0x9003, 0x9004
_MAKE, _MODEL = 0x010F, 0x0110
# EXIF says `2024:05:31 10:20:30`; programs write other separators, a fraction or a zone after it, or no seconds.
_DATE = re.compile(
    r"(\d{4})[:/.-](\d{1,2})[:/.-](\d{1,2})(?:[ T]+(\d{1,2}):(\d{1,2})(?::(\d{1,2}))?(?:[.,]\d*)?"
    r"(?: ?(?:Z|[+-]\d{2}:?\d{2}))?)?",
    re.ASCII,
)
_MAX_CHARACTERS = 100


@dataclass(frozen=True)
class ExifFacts:
    """What is kept of a photo's EXIF data.

    Attributes:
        taken: when it was taken by the camera's clock, without a zone, in whole seconds; None if unknown.
        camera: make and model; None if unknown.
    """

    taken: datetime | None = None
    camera: str | None = None


NO_FACTS = ExifFacts()


def read_exif_facts(exif: Image.Exif, details: Mapping[int, Any] | Image.Exif | None = None) -> ExifFacts:
    """Return the facts of EXIF data; a damaged tag is one that is not there.

    Args:
        exif: the main directory.
        details: the EXIF directory, where the main one does not lead to it.
    """
    if details is None:
        try:
            details = exif.get_ifd(_EXIF_IFD)
        except Exception:  # noqa: BLE001, RUF100 - Pillow answers damaged EXIF data with any exception
            details = {}
    tags = ((details, _DATE_TIME_ORIGINAL), (details, _DATE_TIME_DIGITIZED), (exif, _DATE_TIME))
    dates = (parse_taken(_text(_value(source, tag))) for source, tag in tags)
    taken = next((date for date in dates if date is not None), None)
    return ExifFacts(taken, camera_name(_text(_value(exif, _MAKE)), _text(_value(exif, _MODEL))))


def read_exif_facts_of_tiff(file: BinaryIO) -> ExifFacts:
    """Return the facts of a file that is a TIFF in its structure, as many camera raw files are."""
    exif = Image.Exif()
    file.seek(0)
    exif.load_from_fp(file)
    return read_exif_facts(exif)


def parse_taken(text: str) -> datetime | None:
    """Return the local date and time of an EXIF text, in whole seconds; None if it is none, such as 0000:00:00.

    A zone is left out, not applied: the time is the one on the camera's clock. A date without a time is its midnight.
    """
    found = _DATE.fullmatch(text)
    if found is None:
        return None
    try:
        return datetime(*(int(part or 0) for part in found.groups()))  # type: ignore[arg-type]  # noqa: DTZ001
    except ValueError:
        return None


def camera_name(make: str, model: str) -> str | None:
    """Return make and model as one text, without a make that the model repeats; None if both are empty."""
    make, model = (text if any(char.isalnum() for char in text) else "" for text in (make, model))
    words = make.casefold().split()
    repeats = (
        bool(model)
        and bool(words)
        and (model.casefold().split()[0] in words or model.casefold().startswith(make.casefold()))
    )
    return (model if repeats else f"{make} {model}".strip())[:_MAX_CHARACTERS].rstrip() or None


def _value(tags: Mapping[int, Any] | Image.Exif, tag: int) -> object:
    try:
        return tags.get(tag)
    except Exception:  # noqa: BLE001, RUF100 - Pillow answers damaged EXIF data with any exception
        return None


def _text(value: object) -> str:
    """Return the text of a tag without zeros at its end, control characters and doubled spaces; empty for others."""
    if isinstance(value, tuple) and len(value) == 1:
        value = value[0]
    if isinstance(value, str):
        # Pillow reads Latin-1, which is every byte; most programs write UTF-8.
        value = value.encode("latin-1", "ignore")
    if not isinstance(value, bytes):
        return ""
    value = value.split(b"\0", 1)[0]
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError:
        text = value.decode("latin-1")
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())
