"""Tests of colour profiles: what is converted, what stays as it is, what is ignored with a note."""

import io
import struct
from collections.abc import Sequence

import numpy as np
import pytest
from PIL import Image, ImageCms

from imgret_assets.domain.images.colour_profiles import convert_to_srgb, profile_effect
from imgret_assets.domain.images.decode import Header, decode, read_header
from imgret_tests.support.odd_files import saved
from imgret_tests.support.pictures import picture

RED, GREEN, BLUE = (0.4361, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def profile_of(primaries: Sequence[Sequence[float]] = (), gamma: float = 2.2, space: bytes = b"RGB ") -> bytes:
    """A small ICC profile of version 2: primaries as XYZ in D50, or none for grey, and one exponent."""

    def xyz(values: Sequence[float]) -> bytes:
        return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(value * 65536) for value in values))

    curve = b"curv\0\0\0\0" + struct.pack(">IHH", 1, round(gamma * 256), 0)
    parts = {b"desc": b"desc\0\0\0\0" + struct.pack(">I", 2) + b"x\0" + bytes(78), b"wtpt": xyz((0.9642, 1, 0.8249)),
             b"cprt": b"text\0\0\0\0x\0"}  # fmt: skip
    for name, values in zip((b"r", b"g", b"b"), primaries, strict=False):
        parts[name + b"XYZ"], parts[name + b"TRC"] = xyz(values), curve
    if not primaries:
        parts[b"kTRC"] = curve
    table, body, start = b"", b"", 132 + 12 * len(parts)
    for name, data in parts.items():
        table += name + struct.pack(">II", start + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    head = struct.pack(">I4sI4s4s4s", start + len(body), b"none", 0x02100000, b"mntr", space, b"XYZ ")
    head += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + struct.pack(">3i", 63190, 65536, 54061)
    return head.ljust(128, b"\0") + struct.pack(">I", len(parts)) + table + body


EXCHANGED = profile_of((BLUE, GREEN, RED))


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(decode(data, max_pixels=10**6)).astype(int)


def header(data: bytes) -> Header:
    return read_header(io.BytesIO(data), max_pixels=10**6)


@pytest.mark.parametrize("form", ["PNG", "WEBP", "TIFF", "AVIF", "JPEG"])
def test_an_image_is_converted_by_its_profile(form: str) -> None:
    image = picture(2, size=(64, 48))
    options = {"lossless": True} if form == "WEBP" else {"quality": 95} if form in ("JPEG", "AVIF") else {}
    plain, tagged = (saved(image, form, **options, **extra) for extra in ({}, {"icc_profile": EXCHANGED}))
    assert (header(plain).decoding, header(tagged).decoding) == ("", "profile1")
    assert np.abs(pixels(plain)[..., ::-1] - pixels(tagged)).mean() < 4
    assert np.abs(pixels(plain) - pixels(tagged)).mean() > 10


def test_a_profile_much_like_srgb_changes_little() -> None:
    """An exponent of 2.2 is not the curve of sRGB in dark colours."""
    image = picture(2, size=(64, 48))
    difference = pixels(saved(image, "PNG", icc_profile=profile_of((RED, GREEN, BLUE)))) - np.asarray(image)
    assert np.abs(difference).mean() < 3


@pytest.mark.parametrize("profile", [None, SRGB, b""], ids=["no", "sRGB", "empty"])
def test_ordinary_images_keep_their_pixels(profile: bytes | None) -> None:
    image = picture(2, size=(64, 48))
    for form in ("PNG", "TIFF"):
        data = saved(image, form, icc_profile=profile)
        np.testing.assert_array_equal(pixels(data), np.asarray(image))
        assert (header(data).decoding, header(data).note) == ("", None)


def test_grey_and_cmyk_images_are_converted_by_profiles_of_their_kind() -> None:
    grey = picture(2).convert("L")
    data = saved(grey, "PNG", icc_profile=profile_of(gamma=1.0, space=b"GRAY"))
    assert header(data).decoding == "profile1"
    assert (pixels(data)[..., 0] - np.asarray(grey)).mean() > 20, "a linear scale is brighter"
    assert profile_effect(EXCHANGED, "CMYK").note is not None


@pytest.mark.parametrize(
    ("profile", "note"),
    [
        (b"no profile at all" * 20, "can't be read"),
        (EXCHANGED[:200], "can't be read"),
        (EXCHANGED, "is of RGB colours"),
    ],
)
def test_a_profile_that_does_not_fit_is_ignored_with_a_note(profile: bytes, note: str) -> None:
    image = picture(2).convert("L") if profile is EXCHANGED else picture(2)
    data = saved(image, "PNG", icc_profile=profile)
    assert header(data).decoding == ""
    assert note in (header(data).note or "")
    np.testing.assert_array_equal(pixels(data), np.asarray(image.convert("RGB")))


def test_a_transparent_image_is_converted_and_its_transparency_kept() -> None:
    rgba = picture(2, size=(64, 48)).convert("RGBA")
    rgba.putalpha(Image.linear_gradient("L").resize(rgba.size))
    plain, tagged = saved(rgba, "PNG"), saved(rgba, "PNG", icc_profile=EXCHANGED)
    assert header(tagged).decoding == "profile1+ground2"
    assert np.abs(pixels(plain)[..., ::-1] - pixels(tagged)).mean() < 4


def test_a_large_profile_of_a_png_counts() -> None:
    data = saved(picture(2), "PNG", icc_profile=EXCHANGED + bytes(1_500_000))
    assert header(data).decoding == "profile1"
    assert np.abs(pixels(data)[..., ::-1] - np.asarray(picture(2))).mean() < 4


def test_no_profile_changes_nothing() -> None:
    image = picture(2)
    assert convert_to_srgb(image, None) is image
    assert profile_effect(("no", "bytes"), "RGB").transform is None
