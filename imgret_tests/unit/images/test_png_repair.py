"""Tests of the repair of PNG files; whole files are decoded in `test_decode.py`."""

import zlib

from imgret_assets.domain.images.png_repair import repair_png
from imgret_tests.support.odd_files import animation, png_chunk, saved
from imgret_tests.support.pictures import picture

PNG = saved(picture(2), "PNG")


def inserted(chunk: bytes) -> bytes:
    at = PNG.index(b"IDAT") - 4
    return PNG[:at] + chunk + PNG[at:]


def test_an_ordinary_file_is_left_as_it_is() -> None:
    texts = png_chunk(b"tEXt", b"Comment\0short") + png_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(9000)))
    for data in (PNG, animation("PNG"), inserted(texts), saved(picture(2), "PNG", icc_profile=bytes(5000))):
        assert repair_png(data) is None


def test_only_what_is_too_large_or_wrong_is_removed() -> None:
    short = png_chunk(b"tEXt", b"Comment\0short")
    large = png_chunk(b"tEXt", b"Comment\0" + bytes(2_000_000))
    wrong = png_chunk(b"tIME", bytes(7))[:-1] + b"?"
    repaired = repair_png(inserted(large + short + wrong) + b"rest")
    assert repaired is not None
    assert repaired.data == inserted(short) + b"rest"
    assert repaired.icc_profile is None


def test_a_large_profile_is_taken_out_and_returned() -> None:
    profile = bytes(range(256)) * 5000
    repaired = repair_png(saved(picture(2), "PNG", icc_profile=profile))
    assert repaired is not None
    assert repaired.icc_profile == profile
    assert b"iCCP" not in repaired.data


def test_pixels_with_a_wrong_checksum_are_not_removed() -> None:
    end = PNG.index(b"IEND") - 4
    assert repair_png(PNG[: end - 1] + b"?" + PNG[end:]) is None
