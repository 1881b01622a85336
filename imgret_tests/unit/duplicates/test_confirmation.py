"""What is a near-duplicate by its pixels: kinds of copies are kept, kinds of other pictures are refused."""

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter

from imgret_assets.domain.duplicates.confirmation import BORDER, CHANGED, DIFFERENT, GREY, SAME, compare_images
from imgret_tests.support.artwork import BLUE, GREEN, ORANGE, RED, bag, line_drawing, page, price_list, words
from imgret_tests.support.scenes import scene

TEXT = words(1, 260)
PRICES = np.random.default_rng(3).integers(100, 99999, 18).tolist()
PHOTO = scene(2, (640, 480)).filter(ImageFilter.GaussianBlur(1))
PICTURES = {
    "photo": PHOTO,
    "page": page(TEXT),
    "prices": price_list(PRICES),
    "drawing": line_drawing(5),
    "bag": bag(RED),
}


def saved(image: Image.Image, form: str = "JPEG", **options: Any) -> Image.Image:
    """Return the image as a file of that format has it."""
    file = io.BytesIO()
    image.save(file, form, **options)
    file.seek(0)
    return Image.open(file).convert("RGB")


def scaled(image: Image.Image, scale: float) -> Image.Image:
    return image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS)


def cropped(image: Image.Image, share: float) -> Image.Image:
    x, y = round(image.width * share), round(image.height * share)
    return image.crop((x, y, image.width - x, image.height - y))


COPIES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "JPEG 50": lambda image: saved(image, quality=50),
    "JPEG 25": lambda image: saved(image, quality=25),
    "WebP 60": lambda image: saved(image, "WEBP", quality=60),
    "half": lambda image: saved(scaled(image, 0.5), quality=80),
    "third": lambda image: saved(scaled(image, 1 / 3), quality=85),
    "enlarged": lambda image: saved(scaled(image, 1.4), quality=90),
    "squeezed": lambda image: image.resize((image.width * 3 // 4, image.height), Image.Resampling.LANCZOS),
    "darker": lambda image: saved(ImageEnhance.Brightness(image).enhance(0.75)),
    "less contrast": lambda image: saved(ImageEnhance.Contrast(image).enhance(0.8)),
    "blurred": lambda image: saved(image.filter(ImageFilter.GaussianBlur(0.8))),
    "cropped by 1 percent": lambda image: saved(cropped(image, 0.01)),
    "cropped by 4 percent, half": lambda image: saved(scaled(cropped(image, 0.04), 0.5), quality=70),
}


@pytest.mark.parametrize("copy", COPIES)
@pytest.mark.parametrize("name", PICTURES)
def test_a_copy_is_the_same_picture(name: str, copy: str) -> None:
    picture = PICTURES[name]
    comparison = compare_images(picture, COPIES[copy](picture))
    # White margins look like a plain frame; a frame counts as the same picture.
    assert comparison.verdict in (SAME, BORDER), comparison
    assert comparison.excess <= 1


def with_other_word(text: list[str], place: int) -> list[str]:
    other = next(word for word in words(9, 200) if len(word) == len(text[place]) and word != text[place])
    return [*text[:place], other, *text[place + 1 :]]


def with_other_digit(price: int) -> int:
    return price // 10 * 10 + (price + 5) % 10


OTHERS: dict[str, tuple[Image.Image, Image.Image]] = {
    "another page on the same paper": (page(TEXT), page(words(2, 260))),
    "another page, half as large": (page(TEXT), saved(scaled(page(words(2, 260)), 0.5))),
    "another word": (page(TEXT), page(with_other_word(TEXT, 120))),
    "other prices": (price_list(PRICES), price_list([*PRICES[1:], PRICES[0]])),
    "another digit": (
        price_list(PRICES),
        saved(price_list([PRICES[0] // 10 * 10 + (PRICES[0] + 5) % 10, *PRICES[1:]]), quality=90),
    ),
    "a stroke elsewhere": (line_drawing(5), saved(line_drawing(5, moved=7), quality=85)),
    "red and orange": (bag(RED), saved(bag(ORANGE), quality=92)),
    "red and blue": (bag(RED), saved(bag(BLUE), quality=92)),
    "green and red, half as large": (bag(GREEN), saved(scaled(bag(RED), 0.5))),
    "another photo": (PHOTO, scene(3, (640, 480))),
}


@pytest.mark.parametrize("name", OTHERS)
def test_another_picture_is_no_copy(name: str) -> None:
    comparison = compare_images(*OTHERS[name])
    assert comparison.verdict in (DIFFERENT, CHANGED), comparison


def test_a_replaced_patch_of_5_percent_is_no_copy() -> None:
    side = round((0.05 * 640 * 480) ** 0.5)
    patch = scene(8, (640, 480)).crop((100, 100, 100 + side, 100 + side))
    for corner in ((0, 0), (260, 180), (640 - side, 480 - side)):
        edited = PHOTO.copy()
        edited.paste(patch, corner)
        for copy in (edited, saved(scaled(edited, 0.5), quality=60)):
            assert compare_images(PHOTO, copy).verdict in (DIFFERENT, CHANGED)


@pytest.mark.parametrize("moved", [6, 13, 19])
def test_a_moved_view_is_another_picture(moved: int) -> None:
    """As in a burst: what leaves at one edge is new at the other."""
    wide = scene(12, (720, 540)).filter(ImageFilter.GaussianBlur(1))
    first, second = wide.crop((0, 0, 640, 480)), wide.crop((moved, 0, 640 + moved, 480))
    comparison = compare_images(first, second)
    assert (comparison.verdict, comparison.reason[:7]) == (DIFFERENT, "shifted")


@pytest.mark.parametrize("degrees", [1, 2])
def test_a_turned_view_is_another_picture(degrees: float) -> None:
    turned = PHOTO.rotate(degrees, Image.Resampling.BICUBIC)
    assert compare_images(cropped(PHOTO, 0.05), cropped(turned, 0.05)).verdict == DIFFERENT


def test_a_small_edit_needs_a_look() -> None:
    edited = PHOTO.copy()
    edited.paste((250, 240, 20), (500, 400, 530, 430))
    comparison = compare_images(PHOTO, saved(edited, quality=85))
    assert comparison.verdict == CHANGED
    assert comparison.reason.endswith("of the area differs")
    assert comparison.excess > 1


def test_a_grey_version_needs_a_look() -> None:
    comparison = compare_images(PHOTO, saved(scaled(PHOTO, 0.5).convert("L")))
    assert (comparison.verdict, comparison.reason) == (GREY, "one is a grey version of the other")


@pytest.mark.parametrize("colour", ["black", "white"])
def test_a_plain_frame_does_not_count(colour: str) -> None:
    framed = Image.new("RGB", (640 + 24, 480 + 24), colour)
    framed.paste(PHOTO, (12, 12))
    assert compare_images(PHOTO, saved(framed, quality=90)).verdict == BORDER


@pytest.mark.parametrize("turn", [90, 180])
def test_turned_hues_are_another_picture(turn: int) -> None:
    hsv = np.asarray(PHOTO.convert("HSV")).copy()
    hsv[..., 0] = (hsv[..., 0].astype(int) + turn * 256 // 360) % 256
    other = Image.fromarray(hsv, "HSV").convert("RGB")
    assert compare_images(PHOTO, other).verdict == DIFFERENT


@pytest.mark.parametrize("side", [160, 64, 48, 32])
def test_a_thumbnail_is_the_same_picture(side: int) -> None:
    small = PHOTO.copy()
    small.thumbnail((side, side))
    assert compare_images(PHOTO, saved(small, quality=85)).verdict == SAME


def test_the_order_of_two_images_of_different_sizes_does_not_count() -> None:
    half = saved(scaled(PHOTO, 0.5), quality=70)
    assert compare_images(PHOTO, half) == compare_images(half, PHOTO)


@pytest.mark.parametrize("size", [(1, 1), (2, 300), (9, 9), (300, 2)])
def test_tiny_and_flat_images_are_compared_without_an_error(size: tuple[int, int]) -> None:
    flat = Image.new("RGB", size, (90, 90, 90))
    assert compare_images(PHOTO, flat).verdict == DIFFERENT
    assert compare_images(flat, flat).verdict in (SAME, DIFFERENT)
