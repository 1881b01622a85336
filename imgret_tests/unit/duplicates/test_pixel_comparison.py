"""The comparison of files by their pixels: every frame counts."""

import io
from typing import Any

import pytest
from PIL import Image

from imgret_assets.domain.duplicates.confirmation import FRAMES, SAME
from imgret_assets.domain.duplicates.pixel_comparison import compare_bytes
from imgret_tests.support.photos import photo

MAX_PIXELS = 10**7


def sequence(form: str, numbers: list[int], **options: Any) -> bytes:
    first, *rest = [photo(number).resize((320, 240)) for number in numbers]
    file = io.BytesIO()
    first.save(file, form, save_all=True, append_images=rest, **options)
    return file.getvalue()


def still(number: int) -> bytes:
    file = io.BytesIO()
    photo(number).resize((640, 480)).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("form", ["GIF", "WEBP", "TIFF", "PNG"])
def test_the_first_frame_alone_makes_no_duplicate(form: str) -> None:
    comparison = compare_bytes(sequence(form, [1, 2, 3]), still(1), max_pixels=MAX_PIXELS)
    assert comparison is not None
    assert comparison.verdict == FRAMES
    assert comparison.reason == "one file has 3 frames, the other 1"


def test_sequences_that_only_begin_alike_are_no_duplicates() -> None:
    comparison = compare_bytes(
        sequence("TIFF", [1, 2, 3]), sequence("WEBP", [1, 2, 4], quality=80), max_pixels=MAX_PIXELS
    )
    assert comparison is not None
    assert (comparison.verdict, comparison.reason) == (FRAMES, "frame 3 of 3 differs")


def test_the_order_of_frames_counts() -> None:
    comparison = compare_bytes(sequence("TIFF", [1, 2, 3]), sequence("TIFF", [1, 3, 2]), max_pixels=MAX_PIXELS)
    assert comparison is not None
    assert comparison.verdict == FRAMES


def test_the_same_frames_in_another_form_are_a_near_duplicate() -> None:
    comparison = compare_bytes(
        sequence("TIFF", [1, 2, 3]), sequence("WEBP", [1, 2, 3], quality=80), max_pixels=MAX_PIXELS
    )
    assert comparison is not None
    assert comparison.verdict == SAME


def test_equal_frames_without_structure_are_the_same() -> None:
    def with_black(form: str, **options: Any) -> bytes:
        file = io.BytesIO()
        black = [Image.new("RGB", (320, 240))] * 2
        # A TIFF keeps equal pages; an animation would join them.
        photo(1).resize((320, 240)).save(file, form, save_all=True, append_images=black, **options)
        return file.getvalue()

    comparison = compare_bytes(
        with_black("TIFF", compression="tiff_lzw"),
        with_black("TIFF", compression="tiff_deflate"),
        max_pixels=MAX_PIXELS,
    )
    assert comparison is not None
    assert comparison.verdict == SAME


def test_what_can_not_be_decoded_is_not_compared() -> None:
    assert compare_bytes(b"no image", still(1), max_pixels=MAX_PIXELS) is None
