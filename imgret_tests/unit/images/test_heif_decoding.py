"""Tests of HEIC files: pixels, rotation, many images, missing bytes, wrong names, limits."""

import io
import threading
from contextlib import suppress

import numpy as np
import pytest
from PIL import Image

from imgret_assets.domain.images import optional_decoders
from imgret_assets.domain.images.decode import Header, count_frames, decode, decode_frames, read_header
from imgret_assets.domain.images.heif_decoding import reduced
from imgret_assets.domain.images.image_status import Status, UnusableImageError
from imgret_assets.domain.images.stored_depth import StoredDepth
from imgret_tests.support.heif_files import heif, many_images

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
COLOURS = StoredDepth(3, 24)


def header_of(data: bytes, max_pixels: int = 10**6) -> Header:
    return read_header(io.BytesIO(data), max_pixels=max_pixels)


def shows(image: Image.Image, corner: tuple[int, int, int], opposite: tuple[int, int, int]) -> bool:
    """Whether the corner at the top left and the one at the bottom right have these colours."""
    pixels = np.asarray(image).astype(int)
    return bool(np.abs(pixels[4, 4] - corner).max() < 8 and np.abs(pixels[-5, -5] - opposite).max() < 8)


@pytest.mark.parametrize(
    ("name", "header", "corners"),
    [
        ("halves", Header(64, 48, "HEIF", depth=COLOURS), (RED, BLUE)),
        ("turned", Header(48, 64, "HEIF", depth=COLOURS), (RED, BLUE)),
        ("green", Header(64, 48, "HEIF", depth=COLOURS), (GREEN, GREEN)),
        ("transparent", Header(64, 48, "HEIF", "ground2", depth=COLOURS), (RED, WHITE)),
        ("deep", Header(64, 48, "HEIF", depth=StoredDepth(3, 30)), (RED, BLUE)),
    ],
)
def test_header_and_pixels(name: str, header: Header, corners: tuple[tuple[int, int, int], ...]) -> None:
    data = heif(name)
    assert header_of(data) == header
    image = decode(data, max_pixels=10**6)
    assert (image.mode, image.size) == ("RGB", (header.width, header.height))
    assert shows(image, *corners)
    assert count_frames(data) == 1


def test_an_image_with_an_orientation_in_exif_and_one_of_its_own_is_rotated_once() -> None:
    """Red is on the left as stored, and on top as shown; rotated twice it would be on the right."""
    pixels = np.asarray(decode(heif("turned"), max_pixels=10**6)).astype(int)
    assert np.abs(pixels[10, :] - RED).max() < 30
    assert np.abs(pixels[-10, :] - BLUE).max() < 30


@pytest.mark.parametrize(
    ("rotation", "size", "corners"),
    [(1, (64, 48), (RED, BLUE)), (6, (48, 64), (RED, BLUE)), (3, (64, 48), (BLUE, RED)), (8, (48, 64), (BLUE, RED))],
)
def test_a_rotation_of_the_file_itself(
    rotation: int, size: tuple[int, int], corners: tuple[tuple[int, int, int], ...]
) -> None:
    data = many_images(1, 0, rotation=rotation)
    assert header_of(data) == Header(*size, "HEIF", depth=COLOURS)
    assert shows(decode(data, max_pixels=10**6), *corners)


def test_of_300_images_the_primary_one_counts() -> None:
    data = many_images(300, 150)
    assert header_of(data) == Header(64, 48, "HEIF", depth=COLOURS, frames=300)
    assert shows(decode(data, max_pixels=10**6), RED, BLUE)
    assert count_frames(data) == 300
    frames = list(decode_frames(data, max_pixels=10**6))
    assert len(frames) == 300
    assert [number for number, frame in enumerate(frames) if shows(frame, RED, BLUE)] == [0]


@pytest.mark.parametrize("name", ["halves", "turned", "transparent"])
def test_a_file_cut_at_any_length_is_truncated(name: str) -> None:
    whole = heif(name)
    for length in range(12, len(whole), 7):
        with pytest.raises(UnusableImageError) as problem:
            decode(whole[:length], max_pixels=10**6)
        assert problem.value.status is Status.TRUNCATED, length
    with pytest.raises(UnusableImageError, match=r"its box 'mdat' ends after the file \(.*Unexpected end of file"):
        decode(whole[:-1], max_pixels=10**6)


def test_random_bytes_never_crash_the_decoder(rng: np.random.Generator) -> None:
    for name in ("halves", "transparent"):
        whole = np.frombuffer(heif(name), np.uint8)
        for _ in range(40):
            damaged = whole.copy()
            damaged[rng.integers(12, len(whole), 6)] = rng.integers(0, 256, 6)
            with suppress(UnusableImageError):
                assert decode(damaged.tobytes(), max_pixels=10**6).mode == "RGB"


def test_a_file_whose_content_is_wrong_is_damaged() -> None:
    data = bytearray(heif("halves"))
    at = data.index(b"pitm") + 8
    data[at : at + 2] = b"\0\x09"
    with pytest.raises(UnusableImageError, match="HEIF with all its bytes and wrong content") as problem:
        header_of(bytes(data))
    assert problem.value.status is Status.DAMAGED


def test_the_limit_of_pixels_is_checked_before_any_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    from pi_heif.as_plugin import HeifImageFile

    monkeypatch.setattr(HeifImageFile, "load", lambda _: pytest.fail("pixels were decoded"))
    for use in (lambda data: header_of(data, 3000), lambda data: decode(data, max_pixels=3000)):
        with pytest.raises(UnusableImageError, match="64 x 48 pixels are more than the limit of 3,000") as problem:
            use(heif("halves"))
        assert problem.value.status is Status.TOO_LARGE


def test_pixels_are_acquired_before_they_are_decoded() -> None:
    acquired: list[int] = []
    decode(heif("halves"), max_pixels=10**6, acquire_pixels=acquired.append)
    assert acquired == [64 * 48]


def test_an_image_is_made_smaller_where_the_caller_needs_no_more() -> None:
    whole = decode(heif("halves"), max_pixels=10**6)
    half = decode(heif("halves"), max_pixels=10**6, min_size=(20, 20))
    assert (whole.size, half.size) == ((64, 48), (32, 24))
    assert shows(half, RED, BLUE)
    assert reduced(whole, (65, 1)) is whole
    assert decode(heif("halves"), max_pixels=10**6, min_size=(8, 6)).size == (8, 6)


def test_without_the_decoder_the_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optional_decoders, "is_installed", lambda _form: False)
    with pytest.raises(UnusableImageError, match=r"HEIC/HEIF images need pi-heif, .* not installed: `") as problem:
        header_of(heif("halves"))
    assert problem.value.status is Status.UNSUPPORTED


def test_threads_decode_at_once() -> None:
    images: list[Image.Image] = []
    threads = [
        threading.Thread(target=lambda: images.append(decode(heif("halves"), max_pixels=10**6))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(images) == 8
    assert all(shows(image, RED, BLUE) for image in images)
