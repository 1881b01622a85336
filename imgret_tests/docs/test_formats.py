"""The table of formats in the documentation: every row is tried, and no ending is left out."""

import io
import re

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from imgret_assets.domain.images.decode import EXTENSIONS, decode, read_header
from imgret_assets.domain.images.optional_decoders import DECODERS, is_installed
from imgret_assets.locations import PROJECT
from imgret_tests.support.heif_files import heif
from imgret_tests.support.odd_files import saved
from imgret_tests.support.raw_files import dng

_LINES = re.findall(r"^\| (.+) \|$", (PROJECT / "docs" / "guide" / "formats.md").read_text(), re.MULTILINE)
ROWS = [[cell.strip() for cell in line.split("|")] for line in _LINES if not line.startswith("format ")]


def example(form: str) -> bytes:
    image = Image.new("RGB", (64, 48), "red")
    if form == "HEIF":
        return heif("halves")
    if form == "RAW":
        return dng()
    if form == "JPEG XL":
        return bytes(imagecodecs.jpegxl_encode(np.asarray(image)))
    return saved(image, form)


@pytest.mark.parametrize(("form", "decoder", "install"), [(row[0], row[2], row[3]) for row in ROWS])
def test_a_file_of_each_row_is_decoded(form: str, decoder: str, install: str) -> None:
    if form in DECODERS:
        assert decoder == DECODERS[form].package
        extra = DECODERS[form].extra
        assert install == ("" if extra is None else f"`imgret[{extra}]`")
        if not is_installed(form):
            pytest.skip(f"{decoder} is not installed")
    data = example(form)
    header = read_header(io.BytesIO(data), max_pixels=10_000)
    image = decode(data, max_pixels=10_000)
    assert (header.format, image.mode, image.size) == (form, "RGB", (header.width, header.height))
    red, green, blue = np.asarray(image).astype(int)[5, 5]
    assert red > 150 > 100 > max(green, blue)


def test_every_ending_is_in_one_row() -> None:
    listed = [f".{ending}" for row in ROWS for ending in row[1].split(", ")]
    assert sorted(listed) == sorted(EXTENSIONS)
