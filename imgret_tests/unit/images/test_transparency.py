"""Tests of the ground of transparent images: what contrasts, and that everything shows the same one."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from imgret_assets.domain.images.contact_sheets import thumbnail
from imgret_assets.domain.images.decode import Header, decode, read_header
from imgret_assets.domain.images.transparency import BLACK, WHITE, choose_ground, lay_on_ground
from imgret_tests.support.odd_files import saved
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
    assert replace(header, depth=None) == Header(300, 300, form, "ground1")
    whole = decode(data, max_pixels=10**6)
    small = np.asarray(Image.open(io.BytesIO(thumbnail(tmp_path / "art", size=64)))).astype(int)
    assert np.abs(small - np.asarray(whole.resize((64, 64), Image.Resampling.LANCZOS))).mean() < 12
    assert np.abs(small[0, 0] - np.asarray(whole)[0, 0]).max() < 8


def test_grey_and_palette_images_are_laid_on_the_same_ground() -> None:
    rgba = art((255, 255, 255))
    for image, options in ((rgba.convert("LA"), {}), (rgba.quantize(8), {})):
        pixels = np.asarray(decode(saved(image, "PNG", **options), max_pixels=10**6)).astype(int)
        assert np.abs(pixels - np.asarray(lay_on_ground(rgba))).mean() < 6
