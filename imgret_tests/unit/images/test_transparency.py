"""Tests of the ground of transparent images: what contrasts, and that everything shows the same one."""

import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from imgret_assets.domain.duplicates.fingerprints import fingerprint_image
from imgret_assets.domain.images.contact_sheets import thumbnail
from imgret_assets.domain.images.decode import Header, decode, read_header
from imgret_assets.domain.images.transparency import BLACK, WHITE, choose_ground, lay_on_ground
from imgret_tests.support.odd_files import png_chunk, saved
from imgret_tests.support.pictures import picture


def art(colour: tuple[int, int, int], size: int = 120, *, clear: tuple[int, int, int] | None = None) -> Image.Image:
    """A ring and a bar of a colour on a transparent ground, whose invisible pixels have another one."""
    image = Image.new("RGBA", (size, size), (*(clear or colour), 0))
    draw = ImageDraw.Draw(image)
    draw.ellipse((size // 8, size // 8, size - size // 8, size - size // 8), outline=(*colour, 255), width=size // 10)
    draw.rectangle((size // 3, size // 2, size * 2 // 3, size * 3 // 5), fill=(*colour, 200))
    return image


@pytest.mark.parametrize(
    ("colour", "ground"),
    [
        ((255, 255, 255), BLACK),
        ((250, 250, 240), BLACK),
        ((235, 235, 235), BLACK),
        ((255, 255, 0), BLACK),
        ((0, 0, 0), WHITE),
        ((30, 30, 30), WHITE),
        ((128, 128, 128), WHITE),
        ((255, 0, 0), WHITE),
        ((0, 160, 255), WHITE),
    ],
)
@pytest.mark.parametrize("clear", [None, (0, 0, 0), (255, 255, 255)])
@pytest.mark.parametrize("size", [16, 120, 700])
def test_the_ground_contrasts_with_the_art_whatever_is_invisible(
    colour: tuple[int, int, int], ground: tuple[int, int, int], clear: tuple[int, int, int] | None, size: int
) -> None:
    assert choose_ground(art(colour, size, clear=clear)) == ground


def test_photographs_stay_on_white() -> None:
    bright = np.asarray(picture(3, size=(90, 60))) // 16 + 239
    for pixels in (np.asarray(picture(3, size=(90, 60))), bright):
        opacity = np.full(pixels.shape[:2], 255, np.uint8)
        opacity[:12, :12] = 0
        rgba = Image.fromarray(np.dstack([pixels.astype(np.uint8), opacity]))
        assert choose_ground(rgba) == WHITE
    assert choose_ground(Image.new("RGBA", (9, 9), (255, 255, 255, 0))) == WHITE
    assert choose_ground(Image.new("RGBA", (9, 9), (255, 255, 255, 255))) == WHITE


def test_white_art_on_black_is_black_art_on_white_inverted() -> None:
    white, black = lay_on_ground(art((255, 255, 255))), lay_on_ground(art((0, 0, 0)))
    np.testing.assert_array_equal(255 - np.asarray(white), np.asarray(black))


@pytest.mark.parametrize("colour", [(255, 255, 255), (0, 0, 0), (200, 30, 30)])
@pytest.mark.parametrize("form", ["PNG", "WEBP", "TIFF"])
def test_the_decoded_image_and_its_thumbnail_have_the_same_ground(
    colour: tuple[int, int, int], form: str, tmp_path: Path
) -> None:
    data = saved(art(colour, 300), form, **({"lossless": True} if form == "WEBP" else {}))
    (tmp_path / "art").write_bytes(data)
    header = read_header(io.BytesIO(data), max_pixels=10**6)
    assert replace(header, depth=None) == Header(300, 300, form, "ground2")
    whole = decode(data, max_pixels=10**6)
    small = np.asarray(Image.open(io.BytesIO(thumbnail(tmp_path / "art", size=64)))).astype(int)
    assert np.abs(small - np.asarray(whole.resize((64, 64), Image.Resampling.LANCZOS))).mean() < 12
    assert np.abs(small[0, 0] - np.asarray(whole)[0, 0]).max() < 8


def lettering(level: int, size: int, *, edge: int | None = None) -> Image.Image:
    """Bars of a grey on a transparent ground, with an edge of another grey."""
    image = Image.new("RGBA", (size, size), (0, 0, 0, 0))
    draw = ImageDraw.Draw(image)
    for number in range(9):
        top, right = size * (2 + 10 * number) // 100, size * (40 + 6 * (number * 5 % 9)) // 100
        box = (size // 20, top, right, top + size // 16)
        draw.rectangle(box, fill=(level, level, level, 255))
        if edge is not None:
            draw.rectangle(box, outline=(edge, edge, edge, 255), width=max(1, size // 300))
    return image


@pytest.mark.parametrize(
    ("level", "edge", "ground"),
    [(224, None, BLACK), (228, None, BLACK), (255, None, BLACK), (255, 190, BLACK), (235, 150, BLACK),
     (205, None, WHITE), (90, None, WHITE), (0, 255, WHITE)],
)  # fmt: skip
def test_every_size_of_an_image_has_the_same_ground(level: int, edge: int | None, ground: tuple[int, int, int]) -> None:
    image = lettering(level, 600, edge=edge)
    assert choose_ground(image) == ground
    for size in (1300, 400, 250, 128, 90, 64, 48, 32):
        assert choose_ground(image.resize((size, size), Image.Resampling.LANCZOS)) == ground, size


def test_a_ramp_is_laid_on_the_ground_that_it_differs_from() -> None:
    for first, last, ground in ((255, 225, BLACK), (255, 215, BLACK), (255, 120, WHITE), (120, 0, WHITE)):
        pixels = np.asarray(lettering(255, 200)).copy()
        pixels[..., :3] = np.linspace(first, last, 200).astype(np.uint8)[:, np.newaxis, np.newaxis]
        assert choose_ground(Image.fromarray(pixels)) == ground, (first, last)


def deep(rgba: Image.Image) -> bytes:
    """Return a PNG of 16 bits per channel."""
    values = np.asarray(rgba).astype(">u2") * 257
    rows = b"".join(b"\0" + row.tobytes() for row in values)
    header = struct.pack(">IIBBBBB", *rgba.size, 16, 6, 0, 0, 0)
    chunks = [png_chunk(b"IHDR", header), png_chunk(b"IDAT", zlib.compress(rows)), png_chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def one_bit(rgba: Image.Image, form: str) -> bytes:
    """Return a file in which a pixel is opaque or not, by one entry of a palette."""
    opaque = np.asarray(rgba.getchannel("A")) > 127
    grey = np.asarray(rgba.convert("RGB").convert("L"))
    image = Image.fromarray(np.where(opaque, grey, 255 if grey[opaque].mean() < 128 else 0).astype(np.uint8))
    palette = image.quantize(16)
    ((corner, *_), *_) = np.asarray(palette).tolist()
    return saved(palette, form, transparency=corner)


TRANSPARENT_FILES: dict[str, Callable[[Image.Image], bytes]] = {
    "PNG of 16 bits": deep,
    "GIF": lambda rgba: one_bit(rgba, "GIF"),
    "PNG with one transparent entry": lambda rgba: one_bit(rgba, "PNG"),
    "PNG with a palette of opacities": lambda rgba: saved(rgba.quantize(32), "PNG"),
    "PNG of grey and opacity": lambda rgba: saved(rgba.convert("LA"), "PNG"),
    "WebP": lambda rgba: saved(rgba, "WEBP", lossless=True),
}


@pytest.mark.parametrize("level", [255, 226, 0])
@pytest.mark.parametrize("form", TRANSPARENT_FILES)
def test_vector_hash_and_thumbnail_of_every_form_have_the_same_ground(form: str, level: int, tmp_path: Path) -> None:
    rgba = lettering(level, 240)
    expected = lay_on_ground(rgba)
    assert np.asarray(expected).std() > 60
    (tmp_path / "art").write_bytes(data := TRANSPARENT_FILES[form](rgba))
    whole = decode(data, max_pixels=10**6)
    assert np.abs(np.asarray(whole).astype(int) - np.asarray(expected)).mean() < 6
    hashes = [np.frombuffer(fingerprint_image(image).hash or b"", np.uint8) for image in (whole, expected)]
    assert np.bitwise_count(hashes[0] ^ hashes[1]).sum() <= 24
    small = np.asarray(Image.open(io.BytesIO(thumbnail(tmp_path / "art", size=80)))).astype(int)
    assert np.abs(small - np.asarray(whole.resize((80, 80), Image.Resampling.LANCZOS))).mean() < 12


def test_grey_and_palette_images_are_laid_on_the_same_ground() -> None:
    rgba = art((255, 255, 255))
    for image, options in ((rgba.convert("LA"), {}), (rgba.quantize(8), {})):
        pixels = np.asarray(decode(saved(image, "PNG", **options), max_pixels=10**6)).astype(int)
        assert np.abs(pixels - np.asarray(lay_on_ground(rgba))).mean() < 6
