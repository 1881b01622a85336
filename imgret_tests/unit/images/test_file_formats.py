"""Tests of formats by content: signatures, and what is missing at the end of a file."""

import numpy as np
import pytest
from PIL import Image

from imgret_assets.domain.images.file_formats import START_BYTES, identify, missing_part, png_chunks
from imgret_tests.support.odd_files import animation, saved
from imgret_tests.support.picture_forms import Form, all_forms

FORMATS = ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM", "ICO"]


def noise() -> Image.Image:
    return Image.fromarray(np.random.default_rng(8).integers(0, 255, (24, 32, 3), dtype=np.uint8))


@pytest.mark.parametrize("form", FORMATS)
def test_a_format_is_identified_by_its_first_bytes(form: str) -> None:
    assert identify(saved(noise(), form)[:START_BYTES]) == form


@pytest.mark.parametrize("start", [b"", b"P", b"P9 ", b"RIFF1234WAVE", b"\0\0\0\x14ftypisom\0\0\0\0mp42", b"\0\0\2\0"])
def test_other_bytes_have_no_format(start: bytes) -> None:
    assert identify(start) is None


@pytest.mark.parametrize("form", FORMATS)
def test_nothing_is_missing_in_a_whole_file_and_something_in_every_part_of_it(form: str) -> None:
    data = saved(noise(), form)
    assert missing_part(data, form) is None
    assert missing_part(data + b"what follows", form) is None or form == "JPEG2000"
    complete = [length for length in range(12, len(data) - 12) if missing_part(data[:length], form) is None]
    assert complete == []


def test_nothing_is_missing_in_other_kinds_of_whole_files() -> None:
    for form in ("GIF", "WEBP", "PNG", "AVIF"):
        assert missing_part(animation(form), form) is None
    raw = saved(noise(), "JPEG2000", no_jp2=True)
    assert missing_part(raw, "JPEG2000") is None
    assert missing_part(raw[:-20], "JPEG2000") is not None
    assert missing_part(saved(noise(), "JPEG", progressive=True, comment=b"\xff\xd9"), "JPEG") is None


@pytest.mark.parametrize("form", all_forms(), ids=lambda form: form.name)
def test_nothing_is_missing_in_a_whole_file_of_any_form(form: Form) -> None:
    assert missing_part(form.data, identify(form.data[:START_BYTES])) is None


def test_chunks_end_with_the_last_one_and_with_the_file() -> None:
    data = saved(noise(), "PNG")
    assert [chunk.name for chunk in png_chunks(data + b"rest")] == [b"IHDR", b"IDAT", b"IEND"]
    assert [chunk.name for chunk in png_chunks(data[:-20])] == [b"IHDR"]
