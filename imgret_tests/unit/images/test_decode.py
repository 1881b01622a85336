"""Tests of the decoder: headers, pixels, statuses of odd files, decoding at a reduced size."""

import io
import struct
import subprocess
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image, ImageFile

from imgret_assets.domain.images.decode import EXTENSIONS, Header, decode, read_header, to_rgb
from imgret_assets.domain.images.image_status import Status, UnusableImageError
from imgret_tests.support.odd_files import MAX_PIXELS, OddFile, odd_files, png_chunk, png_header, saved
from imgret_tests.support.pictures import picture

ODD = odd_files()
FORMATS = ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF", "PPM", "TGA", "ICO"]


def header_of(data: bytes, max_pixels: int = MAX_PIXELS) -> Header:
    return read_header(io.BytesIO(data), max_pixels=max_pixels)


def outcome(data: bytes) -> Status:
    try:
        decode(data, max_pixels=MAX_PIXELS)
    except UnusableImageError as problem:
        return problem.status
    return Status.OK


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("odd", ODD, ids=lambda odd: odd.name)
def test_the_header_of_an_odd_file(odd: OddFile) -> None:
    if odd.listed is not Status.OK:
        with pytest.raises(UnusableImageError, match=r"\S") as problem:
            header_of(odd.data)
        assert problem.value.status is odd.listed
    else:
        header = header_of(odd.data)
        assert ((header.width, header.height), header.format) == (odd.size, odd.format)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("odd", ODD, ids=lambda odd: odd.name)
def test_the_pixels_of_an_odd_file(odd: OddFile) -> None:
    expected = odd.decoded if odd.listed is Status.OK else odd.listed
    if expected is not Status.OK:
        with pytest.raises(UnusableImageError, match=r"\S") as problem:
            decode(odd.data, max_pixels=MAX_PIXELS)
        assert problem.value.status is expected
        return
    image = decode(odd.data, max_pixels=MAX_PIXELS)
    assert (image.mode, image.size) == ("RGB", odd.size)
    if odd.centre:
        centre = np.asarray(image)[image.height // 2, image.width // 2]
        assert np.abs(centre.astype(int) - odd.centre).max() <= odd.tolerance


@pytest.mark.parametrize("name", ["turned.jpg", "turned.png", "turned at its end.png", "turned.webp"])
def test_an_image_is_rotated_as_exif_says(name: str) -> None:
    data = next(odd.data for odd in ODD if odd.name == name)
    pixels = np.asarray(decode(data, max_pixels=MAX_PIXELS)).astype(int)
    assert np.abs(pixels[5, 10] - (255, 0, 0)).max() < 8
    assert np.abs(pixels[35, 10] - (0, 0, 255)).max() < 8


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_is_decoded(form: str) -> None:
    image = picture(7, size=(32, 32))
    assert header_of(saved(image, form)) == Header(32, 32, form)
    difference = np.asarray(decode(saved(image, form), max_pixels=MAX_PIXELS)).astype(int) - np.asarray(image)
    assert np.abs(difference).mean() < (0.01 if form in ("PNG", "BMP", "TIFF", "PPM", "TGA", "ICO") else 10)


@pytest.mark.filterwarnings("ignore:Truncated File Read")
@pytest.mark.parametrize("form", FORMATS)
def test_a_file_cut_at_any_length_is_damaged_and_never_unsupported(form: str) -> None:
    whole = saved(picture(3, size=(24, 24)), form)
    for length in range(1, len(whole) - 64, max(1, len(whole) // 40)):
        assert outcome(whole[:length]) in (Status.OK, Status.TRUNCATED, Status.NOT_AN_IMAGE), length


def test_bytes_at_random_positions_never_crash_the_decoder(rng: np.random.Generator) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for form in FORMATS:
            whole = np.frombuffer(saved(picture(4, size=(24, 24)), form), np.uint8)
            for _ in range(15):
                damaged = whole.copy()
                damaged[rng.integers(0, len(whole), 6)] = rng.integers(0, 256, 6)
                assert outcome(damaged.tobytes()) in set(Status)


def test_the_limit_of_pixels_is_checked_before_any_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda _: pytest.fail("pixels were decoded"))
    data = saved(Image.new("RGB", (100, 100)), "BMP")
    assert header_of(data, 10_000).width == 100
    with pytest.raises(UnusableImageError, match="100 x 100 pixels are more than the limit of 9,999") as problem:
        decode(data, max_pixels=9_999)
    assert problem.value.status is Status.TOO_LARGE


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize(
    # Metadata after the pixels of a PNG can only be read by decoding them.
    "odd",
    [odd for odd in ODD if odd.format and odd.name != "turned at its end.png"],
    ids=lambda odd: odd.name,
)
def test_reading_the_header_decodes_no_pixels(odd: OddFile, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow decodes a whole PNG to read its EXIF, which may follow the pixels."""
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda _: pytest.fail("pixels were decoded"))
    header_of(odd.data)


def test_a_large_photograph_causes_no_warning() -> None:
    bomb = png_header(20_000, 10_000) + png_chunk(b"IDAT", zlib.compress(b"\0"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert header_of(bomb, 10**9).width == 20_000


def test_a_decompression_bomb_in_a_text_chunk_is_too_large() -> None:
    texts = png_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(50_000_000)))
    with pytest.raises(UnusableImageError, match=r"(?i)too large") as problem:
        header_of(png_header(10, 10) + texts)
    assert problem.value.status is Status.TOO_LARGE


def test_no_other_program_is_started_for_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow passes PostScript to Ghostscript, and the name of a file says nothing about its content."""
    monkeypatch.setattr(subprocess, "check_call", lambda *_, **__: pytest.fail("a program was started"))
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("a program was started"))
    for name in ("postscript.jpg", "svg.png", "pdf.jpg"):
        with pytest.raises(UnusableImageError, match="no known image format"):
            decode(next(odd.data for odd in ODD if odd.name == name), max_pixels=MAX_PIXELS)


def test_an_image_that_exhausts_memory_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    def starve(_: object) -> None:
        raise MemoryError("no more")

    monkeypatch.setattr(ImageFile.ImageFile, "load", starve)
    with pytest.raises(UnusableImageError, match="not enough memory to decode it") as problem:
        decode(saved(picture(1), "PNG"), max_pixels=MAX_PIXELS)
    assert problem.value.status is Status.TOO_LARGE


def test_a_format_that_can_not_be_decoded_here_is_unsupported(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> None:
        raise OSError("decoder jpeg not available")

    monkeypatch.setattr(ImageFile.ImageFile, "load", refuse)
    with pytest.raises(UnusableImageError, match="OSError: decoder jpeg not available") as problem:
        decode(saved(picture(1), "JPEG"), max_pixels=MAX_PIXELS)
    assert problem.value.status is Status.UNSUPPORTED


@pytest.mark.parametrize(
    ("values", "grey"),
    [
        (np.array([[0, 30_000, 65_535]], np.uint16), [0, 117, 255]),
        (np.array([[0, 255]], np.uint16), [0, 1]),
        (np.array([[0, 100, 255]], np.int32), [0, 100, 255]),
        (np.array([[0, 30_000, 65_535]], np.int32), [0, 117, 255]),
        (np.array([[0, 200_000, 1_000_000]], np.int32), [0, 51, 255]),
        (np.array([[0.0, 0.2, 1.0]], np.float32), [0, 51, 255]),
        (np.array([[-3.0, 2.0, np.nan, np.inf]], np.float32), [0, 255, 0, 0]),
    ],
)
def test_deep_pixel_values_are_scaled_not_clipped(values: np.ndarray, grey: list[int]) -> None:
    pixels = np.asarray(to_rgb(Image.fromarray(values)))
    assert pixels[0].tolist() == [[value] * 3 for value in grey]


def test_no_bytes_are_an_empty_file() -> None:
    with pytest.raises(UnusableImageError, match="has no bytes") as problem:
        decode(b"", max_pixels=MAX_PIXELS)
    assert problem.value.status is Status.EMPTY


def test_a_png_with_a_chunk_that_claims_to_be_endless_is_still_listed() -> None:
    data = saved(picture(1), "PNG")
    end = data.rindex(b"IEND") - 4
    assert header_of(data[:end] + struct.pack(">I", 2**31 - 1) + b"eXIf").width == 40


def test_extensions_are_lower_case_and_begin_with_a_dot() -> None:
    assert {".jpg", ".jpeg", ".png", ".gif", ".webp", ".bmp", ".tif", ".tiff"} <= EXTENSIONS
    assert all(extension.startswith(".") and extension == extension.lower() for extension in EXTENSIONS)


# Decoding at a reduced size


def large_jpeg(width: int, height: int, orientation: int = 1) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return saved(picture(1, size=(width, height)), "JPEG", quality=92, exif=exif)


@pytest.mark.parametrize(
    ("size", "enough", "decoded"),
    [
        ((1600, 1200), (200, 150), (200, 150)),
        ((1600, 1200), (200, 151), (400, 300)),
        ((1600, 1200), (448, 448), (800, 600)),
        ((1600, 1200), (801, 100), (1600, 1200)),
        ((100, 80), (448, 448), (100, 80)),
        ((1603, 1201), (448, 448), (802, 601)),
    ],
)
def test_a_large_jpeg_is_decoded_at_the_smallest_sufficient_fraction(
    size: tuple[int, int], enough: tuple[int, int], decoded: tuple[int, int]
) -> None:
    assert decode(large_jpeg(*size), max_pixels=10**7, min_size=enough).size == decoded
    assert decode(large_jpeg(*size), max_pixels=10**7).size == size


def test_the_minimum_size_of_a_rotated_jpeg_is_that_after_rotation() -> None:
    """The file stores 1600 x 400 pixels; after rotation they are 400 wide and 1600 high."""
    shown = decode(large_jpeg(1600, 400, orientation=6), max_pixels=10**7, min_size=(200, 700))
    assert shown.size == (200, 800)
    assert decode(large_jpeg(1600, 400, orientation=6), max_pixels=10**7, min_size=(201, 100)).size == (400, 1600)


def test_other_formats_are_decoded_at_full_size() -> None:
    data = saved(picture(1, size=(1600, 1200)), "PNG")
    assert decode(data, max_pixels=10**7, min_size=(100, 100)).size == (1600, 1200)


def test_a_reduced_decode_resembles_the_full_one() -> None:
    data = large_jpeg(1600, 1200)
    small = decode(data, max_pixels=10**7, min_size=(400, 300))
    full = decode(data, max_pixels=10**7).resize((400, 300), Image.Resampling.BOX)
    difference = np.abs(np.asarray(small, np.int16) - np.asarray(full, np.int16))
    assert difference.mean() < 1.5


@pytest.mark.parametrize("min_size", [None, (100, 100)])
def test_half_a_large_jpeg_is_truncated_at_any_scale(min_size: tuple[int, int] | None) -> None:
    data = large_jpeg(1600, 1200)
    with pytest.raises(UnusableImageError) as problem:
        decode(data[: len(data) // 2], max_pixels=10**7, min_size=min_size)
    assert problem.value.status == "truncated"


def test_pixels_are_acquired_before_they_are_decoded() -> None:
    asked: list[int] = []
    data = large_jpeg(1600, 1200)
    decode(data, max_pixels=10**7, acquire_pixels=asked.append)
    decode(data, max_pixels=10**7, min_size=(400, 300), acquire_pixels=asked.append)
    with pytest.raises(UnusableImageError):
        decode(data, max_pixels=10**6, min_size=(400, 300), acquire_pixels=asked.append)
    assert asked == [1600 * 1200, 400 * 300]
