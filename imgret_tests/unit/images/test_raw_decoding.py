"""Tests of camera raw files: recognised by content, developed where rawpy is installed, named where it is not."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from imgret_assets.domain.images import optional_decoders
from imgret_assets.domain.images.decode import EXTENSIONS, Header, decode, read_header
from imgret_assets.domain.images.exif_facts import ExifFacts
from imgret_assets.domain.images.image_status import Status, UnusableImageError
from imgret_assets.domain.images.raw_decoding import is_raw_tiff
from imgret_assets.domain.images.raw_names import RAW_ENDINGS
from imgret_assets.domain.images.stored_depth import StoredDepth
from imgret_tests.support.odd_files import saved
from imgret_tests.support.picture_forms import colours, tiff
from imgret_tests.support.pictures import picture
from imgret_tests.support.raw_files import dng

needs_rawpy = pytest.mark.skipif(not optional_decoders.is_installed("RAW"), reason="the extra imgret[raw] is missing")
SIGNATURES = [
    b"FUJIFILMCCD-RAW 0201FF129502X-T2",
    b"IIRO\x08\0\0\0",
    b"IIRS\x08\0\0\0",
    b"MMOR\0\0\0\x08",
    b"IIU\0\x18\0\0\0",
    b"FOVb\0\0\0\0",
    b"\0MRM\0\0\0\0",
    b"\0\0\0\x18ftypcrx \0\0\0\1crx isom",
]


def test_a_raw_file_is_recognised_by_its_content() -> None:
    assert is_raw_tiff(io.BytesIO(dng()))
    # Sensor data alone may be anything; with the name of a maker it is a camera's.
    sensor = tiff(colours()[..., :1], 8, 32803)
    assert not is_raw_tiff(io.BytesIO(sensor))
    assert is_raw_tiff(io.BytesIO(tiff(colours()[..., :1], 8, 32803, tags=((271, 3, [78]),))))
    assert not is_raw_tiff(io.BytesIO(saved(picture(1), "TIFF")))
    assert not is_raw_tiff(io.BytesIO(struct.pack("<2sHIH", b"II", 42, 8, 65535)))


@needs_rawpy
@pytest.mark.parametrize(("orientation", "size"), [(1, (64, 48)), (3, (64, 48)), (6, (48, 64)), (8, (48, 64))])
def test_header_and_pixels(orientation: int, size: tuple[int, int]) -> None:
    data = dng(orientation=orientation)
    header = read_header(io.BytesIO(data), max_pixels=10**6)
    assert header == Header(*size, "RAW", "raw1", depth=StoredDepth(3, 48), exif=ExifFacts(camera="imgret test"))
    image = decode(data, max_pixels=10**6)
    assert (image.mode, image.size) == ("RGB", size)
    pixels = np.asarray(image).astype(int)
    first, last = pixels[4, 4], pixels[-5, -5]
    if orientation in (3, 8):
        first, last = last, first
    assert first[0] > first[2] + 100
    assert last[2] > last[0] + 100


@needs_rawpy
def test_half_of_the_pixels_are_developed_where_the_caller_needs_no_more() -> None:
    assert decode(dng(), max_pixels=10**6, min_size=(32, 24)).size == (32, 24)
    assert decode(dng(), max_pixels=10**6, min_size=(33, 24)).size == (64, 48)


@needs_rawpy
def test_a_file_cut_at_any_length_is_truncated_and_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    whole = dng()
    for length in [*range(300, 700, 37), len(whole) // 2, len(whole) - 1]:
        with pytest.raises(UnusableImageError) as problem:
            decode(whole[:length], max_pixels=10**6)
        assert problem.value.status is Status.TRUNCATED, length
    assert capfd.readouterr() == ("", "")


@needs_rawpy
def test_the_limit_of_pixels_is_checked_before_any_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    import rawpy

    class NeverDeveloped(rawpy.RawPy):
        def postprocess(self, *_args: object, **_options: object) -> np.ndarray:
            pytest.fail("pixels were decoded")

    monkeypatch.setattr(rawpy, "RawPy", NeverDeveloped)
    for use in (
        lambda: read_header(io.BytesIO(dng()), max_pixels=3000),
        lambda: decode(dng(), max_pixels=3000),
    ):
        with pytest.raises(UnusableImageError, match="64 x 48 pixels are more than the limit of 3,000") as problem:
            use()
        assert problem.value.status is Status.TOO_LARGE


@needs_rawpy
@pytest.mark.parametrize("start", SIGNATURES, ids=lambda start: start[:12].decode("latin-1"))
def test_a_raw_file_that_libraw_does_not_know_has_its_message(start: bytes) -> None:
    with pytest.raises(UnusableImageError, match="LibRaw: ") as problem:
        read_header(io.BytesIO(start + bytes(2000)), max_pixels=10**6)
    assert problem.value.status in (Status.UNSUPPORTED, Status.TRUNCATED, Status.DAMAGED)


@pytest.mark.parametrize("data", [dng(), *(start + bytes(2000) for start in SIGNATURES)])
def test_without_rawpy_the_extra_is_named(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optional_decoders, "is_installed", lambda form: form != "RAW")
    for use in (lambda: read_header(io.BytesIO(data), max_pixels=10**6), lambda: decode(data, max_pixels=10**6)):
        with pytest.raises(UnusableImageError, match=r"camera raw images need the extra imgret\[raw\].*: `") as problem:
            use()
        assert problem.value.status is Status.UNSUPPORTED


def test_a_tiff_that_is_no_raw_file_needs_no_rawpy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optional_decoders, "is_installed", lambda _form: False)
    assert decode(saved(Image.new("RGB", (8, 6), "red"), "TIFF"), max_pixels=100).size == (8, 6)


def test_endings_of_raw_files_are_image_extensions() -> None:
    assert {f".{ending}" for ending in RAW_ENDINGS} <= EXTENSIONS
