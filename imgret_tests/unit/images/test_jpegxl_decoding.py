"""Tests of JPEG XL: the header that is read here, pixels, missing bytes, limits."""

import io
from contextlib import suppress
from typing import Any

import imagecodecs
import numpy as np
import pytest

from imgret_assets.domain.images.decode import Header, count_frames, decode, read_header
from imgret_assets.domain.images.image_status import Status, UnusableImageError
from imgret_assets.domain.images.jpegxl_decoding import JpegXlHeader, read_jpegxl_header
from imgret_tests.support.pictures import picture

pytestmark = pytest.mark.skipif(not imagecodecs.JPEGXL.available, reason="imagecodecs was built without JPEG XL")


def jxl(values: np.ndarray, **options: Any) -> bytes:
    return bytes(imagecodecs.jpegxl_encode(values, effort=1, **options))


def bits(*fields: tuple[int, int]) -> bytes:
    """A codestream of numbers, each with its number of bits, the lowest bit first."""
    value = at = 0
    for number, count in fields:
        value |= number << at
        at += count
    return b"\xff\x0a" + value.to_bytes(-(-at // 8), "little")


def test_the_size_in_the_header_is_that_of_the_pixels(rng: np.random.Generator) -> None:
    sides = [(1, 1), (8, 8), (256, 256), (64, 48), (48, 64), (512, 513), (1, 8193), (30, 20), (1600, 900), (400, 200)]
    sides += [tuple(rng.integers(1, 700, 2).tolist()) for _ in range(40)]
    for width, height in sides:
        data = jxl(np.zeros((height, width), np.uint8))
        assert read_jpegxl_header(data) == JpegXlHeader(width, height, False), (width, height)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_in_the_header_exchanges_width_and_height(orientation: int) -> None:
    """8 x 16 pixels, not all as usual, further fields, an orientation, no other size, no preview, no animation."""
    data = bits((1, 1), (1, 5), (0, 3), (0, 5), (0, 1), (1, 1), (orientation - 1, 3), (0, 1), (0, 1), (0, 1))
    width, height = (16, 8) if orientation >= 5 else (8, 16)
    assert read_jpegxl_header(data) == JpegXlHeader(width, height, False)


@pytest.mark.parametrize(
    ("values", "mode"),
    [
        (np.asarray(picture(3, size=(40, 30))), "RGB"),
        (np.asarray(picture(3, size=(40, 30))).astype(np.uint16) * 257, "RGB"),
        ((np.asarray(picture(3, size=(40, 30))) / np.float32(255)).astype(np.float32), "RGB"),
        (np.asarray(picture(3, size=(40, 30)).convert("L")), "L"),
        (np.asarray(picture(3, size=(40, 30)).convert("RGBA")), "RGBA"),
    ],
    ids=["8 bits", "16 bits", "floats", "grey", "transparent"],
)
@pytest.mark.parametrize("options", [{}, {"usecontainer": True}], ids=["bare", "container"])
def test_header_and_pixels(values: np.ndarray, mode: str, options: dict[str, Any]) -> None:
    data = jxl(values, lossless=True, **options)
    header = read_header(io.BytesIO(data), max_pixels=10**6)
    assert (header.width, header.height, header.format, header.frames) == (40, 30, "JPEG XL", 1)
    expected = picture(3, size=(40, 30)).convert("L" if mode == "L" else "RGB").convert("RGB")
    difference = np.abs(np.asarray(decode(data, max_pixels=10**6)).astype(int) - np.asarray(expected))
    assert difference.max() <= 1


@pytest.mark.parametrize("options", [{}, {"usecontainer": True}], ids=["bare", "container"])
def test_a_file_cut_at_any_length_is_truncated(options: dict[str, Any]) -> None:
    whole = jxl(np.asarray(picture(3, size=(40, 30))), **options)
    for length in range(12 if options else 2, len(whole), 11):
        with pytest.raises(UnusableImageError) as problem:
            decode(whole[:length], max_pixels=10**6)
        assert problem.value.status is Status.TRUNCATED, length


def test_the_limit_of_pixels_is_checked_before_any_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    data = jxl(np.zeros((30, 40, 3), np.uint8))
    monkeypatch.setattr(imagecodecs, "jpegxl_decode", lambda *_, **__: pytest.fail("pixels were decoded"))
    for use in (lambda: read_header(io.BytesIO(data), max_pixels=1199), lambda: decode(data, max_pixels=1199)):
        with pytest.raises(UnusableImageError, match="40 x 30 pixels are more than the limit of 1,199") as problem:
            use()
        assert problem.value.status is Status.TOO_LARGE


def test_the_first_frame_of_an_animation_counts_and_the_others_are_not_counted() -> None:
    frames = np.stack([np.asarray(picture(seed, size=(40, 30))) for seed in (1, 2, 3)])
    data = jxl(frames, lossless=True)
    assert read_header(io.BytesIO(data), max_pixels=10**6) == Header(40, 30, "JPEG XL", frames=None)
    np.testing.assert_array_equal(np.asarray(decode(data, max_pixels=10**6)), frames[0])
    with pytest.raises(UnusableImageError, match="can't be counted"):
        count_frames(data)
    assert count_frames(jxl(frames[0])) == 1


def test_random_bytes_never_crash_the_decoder(rng: np.random.Generator) -> None:
    whole = np.frombuffer(jxl(np.asarray(picture(3, size=(40, 30)))), np.uint8)
    for _ in range(40):
        damaged = whole.copy()
        damaged[rng.integers(2, len(whole), 6)] = rng.integers(0, 256, 6)
        with suppress(UnusableImageError):
            assert decode(damaged.tobytes(), max_pixels=10**6).mode == "RGB"
