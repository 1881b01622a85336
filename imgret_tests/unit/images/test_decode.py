"""Tests of the decoder: headers, pixels, statuses of odd files, decoding at a reduced size."""

import io
import struct
import subprocess
import tracemalloc
import warnings
import zlib
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms, ImageFile

from imgret_assets.domain.images.decode import EXTENSIONS, Header, count_frames, decode, decode_frames, read_header
from imgret_assets.domain.images.image_status import Status, UnusableImageError
from imgret_tests.support.odd_files import MAX_PIXELS, OddFile, odd_files, png_chunk, png_header, saved, with_late_exif
from imgret_tests.support.picture_forms import Form, all_forms, colours, tiff
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
    assert replace(header_of(saved(image, form)), depth=None) == Header(32, 32, form)
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


@pytest.mark.parametrize("before", [b"IDAT", b"IEND"])
@pytest.mark.parametrize(
    "chunk",
    [
        png_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(200_000_000))),
        png_chunk(b"iTXt", b"Comment\0\1\0\0\0" + zlib.compress(bytes(20_000_000))),
        png_chunk(b"tEXt", b"Comment\0" + bytes(3_000_000)),
        png_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(900_000))) * 80,
        png_chunk(b"tEXt", b"Comment\0of a camera")[:-1] + b"?",
    ],
    ids=["bomb", "international bomb", "3 MB", "80 texts", "wrong checksum"],
)
def test_a_text_in_a_png_does_not_make_it_unusable(chunk: bytes, before: bytes) -> None:
    image = picture(4, size=(40, 20))
    exif = Image.Exif()
    exif[0x0112] = 6
    data = with_late_exif(saved(image, "PNG"), 6)
    at = data.index(before) - 4
    data = data[:at] + chunk + data[at:]
    tracemalloc.start()
    assert replace(header_of(data), depth=None) == Header(20, 40, "PNG")
    decoded = decode(data, max_pixels=MAX_PIXELS)
    assert tracemalloc.get_traced_memory()[1] < len(data) * 6 + 20_000_000, "a text is never decompressed whole"
    tracemalloc.stop()
    np.testing.assert_array_equal(np.asarray(decoded), np.asarray(image.transpose(Image.Transpose.ROTATE_270)))


def test_a_profile_of_more_than_a_megabyte_is_no_text() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes() + bytes(1_500_000)
    data = saved(picture(5), "PNG", icc_profile=profile)
    assert header_of(data).width == 40
    assert outcome(data) is Status.OK


@pytest.mark.parametrize("form", all_forms(), ids=lambda form: form.name)
def test_every_form_has_the_pixels_of_its_picture(form: Form) -> None:
    header = header_of(form.data)
    assert (header.height, header.width) == form.pixels.shape[:2]
    pixels = np.asarray(decode(form.data, max_pixels=MAX_PIXELS)).astype(int)
    assert np.abs(pixels - form.pixels).max() <= form.tolerance


def test_the_forms_that_other_pixels_are_decoded_of_than_before_are_marked() -> None:
    marked = Counter((form.name.split()[0], header_of(form.data).decoding) for form in all_forms())
    assert dict(marked) == {
        ("tiff", ""): 57,
        ("tiff", "ground2"): 3,
        ("tiff", "tiff1"): 194,
        ("bigtiff", ""): 2,
        ("bigtiff", "tiff1"): 4,
        ("bmp", ""): 12,
        ("bmp", "runs1"): 28,
        ("png", ""): 22,
        ("png", "ground2"): 8,
        ("pnm", ""): 26,
        ("tga", ""): 12,
        ("tga", "ground2"): 8,
    }


@pytest.mark.parametrize("form", [form for form in all_forms() if len(form.data) > 200], ids=lambda form: form.name)
def test_a_form_that_is_cut_is_truncated(form: Form) -> None:
    for length in (150, len(form.data) // 2, len(form.data) * 9 // 10):
        assert outcome(form.data[:length]) in (Status.TRUNCATED, Status.OK), length


@pytest.mark.parametrize(
    ("photometric", "samples", "name"),
    [
        (32803, 1, "raw sensor data"),
        (34892, 3, "linear raw data"),
        (32845, 3, "LogLuv"),
        (999, 3, "interpretation 999"),
    ],
)
def test_a_whole_tiff_without_a_decoder_is_unsupported_and_named(photometric: int, samples: int, name: str) -> None:
    data = tiff(colours()[..., :samples], 8, photometric)
    with pytest.raises(
        UnusableImageError, match=rf"a TIFF of .*{name} \({samples} x 8 bits, compression 1\)"
    ) as problem:
        header_of(data)
    assert problem.value.status is Status.UNSUPPORTED


def test_a_whole_tiff_with_an_unknown_compression_is_unsupported() -> None:
    data = tiff(colours(), 12, 2, tags=((259, 3, [34676]),))
    with pytest.raises(UnusableImageError, match="34676") as problem:
        decode(data, max_pixels=MAX_PIXELS)
    assert problem.value.status is Status.UNSUPPORTED


def test_a_whole_tiff_with_wrong_compressed_bytes_is_damaged() -> None:
    whole = tiff(colours(), 12, 2, compression="deflate")
    data = whole[:-400] + bytes(byte ^ 0x55 for byte in whole[-400:])
    assert outcome(data) is Status.DAMAGED


@pytest.mark.parametrize(
    "data",
    [
        b"8BPS\0\1" + bytes(99),
        b"P7\nWIDTH 3\nHEIGHT 3\nDEPTH 3\nMAXVAL 255\nENDHDR\n" + bytes(27),
    ],
)
def test_a_format_without_a_decoder_is_unsupported_and_named(data: bytes) -> None:
    with pytest.raises(UnusableImageError, match=r"^(Photoshop|PAM) images have no decoder here") as problem:
        header_of(data)
    assert problem.value.status is Status.UNSUPPORTED


@pytest.mark.parametrize("side", [16, 256])
@pytest.mark.parametrize("padding", [0, 60_000, 65_536, 90_000, 131_072, 200_000])
def test_an_icon_of_any_size_is_an_icon(side: int, padding: int) -> None:
    """The length of an icon's image stands where a TGA has its depth."""
    inner = saved(picture(6, size=(side, side)), "PNG")
    inner = inner[:33] + png_chunk(b"tEXt", b"Comment\0" + bytes(padding)) + inner[33:]
    data = struct.pack("<HHHBBBBHHII", 0, 1, 1, side % 256, side % 256, 0, 0, 1, 32, len(inner), 22) + inner
    assert replace(header_of(data), depth=None) == Header(side, side, "ICO")
    assert outcome(data) is Status.OK


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_rotated_tiff_is_listed_as_it_is_shown(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = saved(picture(3, size=(40, 20)), "TIFF", exif=exif)
    size = (20, 40) if orientation >= 5 else (40, 20)
    assert replace(header_of(data), depth=None) == Header(*size, "TIFF")
    assert decode(data, max_pixels=MAX_PIXELS).size == size


def test_damaged_files_that_have_all_bytes_are_not_called_truncated() -> None:
    noise = Image.fromarray(np.random.default_rng(3).integers(0, 255, (60, 80, 3), dtype=np.uint8))
    for form, wrong in (("PNG", slice(200, 260)), ("JPEG2000", slice(90, 130)), ("GIF", slice(820, 840))):
        data = bytearray(saved(noise, form))
        data[wrong] = bytes(byte ^ 0xFF for byte in data[wrong])
        assert outcome(bytes(data)) in (Status.DAMAGED, Status.OK), form


def test_no_warning_without_the_name_of_the_file_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    whole = tiff(colours(), 8, 2, compression="deflate")
    for data in (whole[:-300] + bytes(300), whole[:-30], tiff(colours(), 8, 2, tags=((65000, 3, [1]),))):
        outcome(data)
    for odd in ODD:
        outcome(odd.data)
    assert capfd.readouterr() == ("", "")


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


# Frames

SEQUENCES: dict[str, dict[str, Any]] = {
    "GIF": {},
    "PNG": {},
    "WEBP": {"lossless": True},
    "AVIF": {"quality": 95},
    "TIFF": {"compression": "tiff_deflate"},
    "MPO": {"quality": 95},
}
FRAME_COLOURS = [(200, 30, 30), (30, 180, 40), (20, 40, 210)]


def sequence(form: str, colours: list[tuple[int, int, int]]) -> bytes:
    first, *rest = [Image.new("RGB", (48, 32), colour) for colour in colours]
    file = io.BytesIO()
    first.save(file, form, save_all=True, append_images=rest, **SEQUENCES[form])
    return file.getvalue()


@pytest.mark.parametrize("form", SEQUENCES)
def test_frames_are_counted_and_decoded_in_order(form: str) -> None:
    data = sequence(form, FRAME_COLOURS)
    assert count_frames(data) == 3
    frames = list(decode_frames(data, max_pixels=10_000))
    assert [frame.mode for frame in frames] == ["RGB"] * 3
    means = np.array([np.asarray(frame).mean(axis=(0, 1)) for frame in frames])
    np.testing.assert_allclose(means, FRAME_COLOURS, atol=8)


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP", "TIFF"])
def test_a_single_picture_has_one_frame(form: str) -> None:
    assert count_frames(sequence(form, FRAME_COLOURS[:1])) == 1


def test_a_large_frame_is_refused_wherever_it_is() -> None:
    file = io.BytesIO()
    Image.new("RGB", (20, 20)).save(file, "TIFF", save_all=True, append_images=[Image.new("RGB", (48, 32))])
    frames = decode_frames(file.getvalue(), max_pixels=1000)
    assert next(frames).size == (20, 20)
    with pytest.raises(UnusableImageError, match=r"48 x 32 pixels are more than the limit of 1,000") as raised:
        next(frames)
    assert raised.value.status == Status.TOO_LARGE


def test_a_page_that_pillow_decodes_to_noise_is_decoded_by_the_second_decoder(rng: np.random.Generator) -> None:
    """Colours of 16 bits in planes: Pillow mixes up their bytes, and says nothing."""
    pixels = rng.integers(0, 256, (32, 48, 3), dtype=np.uint8)
    deep = np.moveaxis(pixels.astype(np.uint16) * 257, -1, 0)
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        writer.write(pixels, photometric="rgb")
        writer.write(deep, photometric="rgb", planarconfig="separate")
    assert count_frames(file.getvalue()) == 2
    for frame in decode_frames(file.getvalue(), max_pixels=10_000):
        np.testing.assert_array_equal(np.asarray(frame), pixels)


def test_a_cut_sequence_is_an_error_and_not_a_shorter_one() -> None:
    data = sequence("TIFF", FRAME_COLOURS)
    with pytest.raises(UnusableImageError):
        list(decode_frames(data[: len(data) // 2], max_pixels=10_000))
