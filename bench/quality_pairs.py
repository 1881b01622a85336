"""Pairs of images that are copies, and pairs that are not, by kind of change: made from photos and drawn documents.

Belongs here: the changes. Not here: counting what is taken for a near-duplicate (`bench.quality`), how documents are
drawn (`imgret_tests.support.artwork`).
"""

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageOps

from imgret_tests.support.artwork import (
    BLUE,
    GREEN,
    ORANGE,
    RED,
    bag,
    form,
    line_drawing,
    page,
    price_list,
    receipt,
    words,
)

COPY, OTHER = "copy", "other picture"


@dataclass(frozen=True)
class Pair:
    """Two images; `expected` says whether the second is a copy of the first.

    Attributes:
        subject: what the images show, such as `photos`.
        change: what was done to the one.
        expected: `COPY` or `OTHER`.
        one: the original.
        two: the changed image.
        files: the bytes of files with several frames, whose first frames `one` and `two` are.
    """

    subject: str
    change: str
    expected: str
    one: Image.Image
    two: Image.Image
    files: tuple[bytes, bytes] | None = None


def photo_pairs(files: Sequence[Path]) -> Iterator[Pair]:
    """Yield the pairs made from photos: each photo once for each kind."""
    rng = np.random.default_rng(5)
    for number, file in enumerate(files):
        image = Image.open(file).convert("RGB")
        other = Image.open(files[(number + 1) % len(files)]).convert("RGB").resize(image.size)
        for change, make in (COPIES | PHOTO_COPIES).items():
            yield Pair("photos", change, COPY, image, make(image))
        for share in (0.01, 0.05):
            side = round((share * image.width * image.height) ** 0.5)
            x, y = int(rng.integers(0, image.width - side)), int(rng.integers(0, image.height - side))
            edited = image.copy()
            edited.paste(other.crop((x, y, x + side, y + side)), (x, y))
            yield Pair("photos", f"{share:.0%} of the area replaced", OTHER, image, _saved(edited, quality=85))
        for percent in (1, 2, 3):
            moved = max(1, round(image.width * percent / 100))
            first = image.crop((0, 0, image.width - moved, image.height))
            second = image.crop((moved, 0, image.width, image.height))
            yield Pair("photos", f"moved by {percent} %", OTHER, first, _saved(second, quality=90))
        turned = _cropped(image.rotate(2, Image.Resampling.BICUBIC), 0.05)
        yield Pair("photos", "turned by 2 degrees", OTHER, _cropped(image, 0.05), _saved(turned, quality=90))
        yield Pair("photos", "hue turned by 60 degrees", OTHER, image, _saved(_turned_hue(image, 60), quality=90))
        place = (float(rng.uniform(0.35, 0.65)), float(rng.uniform(0.35, 0.65)))
        first, second = (_with_object(image, place, colour) for colour in (RED, ORANGE))
        yield Pair("photos", "object in another colour", OTHER, first, _saved(second, quality=90))
        yield Pair("photos", "another photo", OTHER, image, other)
        yield Pair("photos", "grey version", OTHER, image, _saved(image.convert("L"), quality=85))
        frames = [image, ImageOps.mirror(other)]
        yield _frames_pair("half, JPEG 80", COPY, frames, [_scaled(frame, 0.5) for frame in frames])
        yield _frames_pair("another second frame", OTHER, frames, [image, other])
        yield _frames_pair("without the second frame", OTHER, frames, [image])


def document_pairs(seeds: Sequence[int]) -> Iterator[Pair]:
    """Yield the pairs made from drawn documents and goods: each seed once for each kind."""
    for seed in seeds:
        rng = np.random.default_rng(seed)
        text, prices = words(seed, 260), rng.integers(1000, 99999, 18).tolist()
        entries = words(seed + 100, 28)
        drawn = {
            "letters": page(text),
            "forms": form(entries),
            "receipts": receipt(entries[:18], prices),
            "price lists": price_list(prices),
            "line drawings": line_drawing(seed),
        }
        for subject, image in drawn.items():
            for change, make in COPIES.items():
                yield Pair(subject, change, COPY, image, make(image))
        # The last words may lie below the page.
        place = int(rng.integers(200))
        digit = [*prices[:-1], prices[-1] // 10 * 10 + (prices[-1] + 5) % 10]
        other_text, other_prices = page(words(seed + 900, 260)), rng.permutation(prices).tolist()
        others: list[tuple[str, str, Image.Image]] = [
            ("letters", "other text on the letterhead", other_text),
            ("letters", "other text on the letterhead, half", _scaled(other_text, 0.5)),
            ("letters", "one word changed", _saved(page(_replaced(text, place, seed)), quality=90)),
            ("forms", "other entries", _saved(form(words(seed + 900, 28)), quality=90)),
            ("forms", "other entries, half", _scaled(form(words(seed + 900, 28)), 0.5)),
            ("forms", "not filled in", _saved(form([]), quality=90)),
            ("forms", "one entry changed", _saved(form(_replaced(entries, place % 28, seed)), quality=90)),
            ("receipts", "other items", _saved(receipt(words(seed + 900, 18), other_prices), quality=90)),
            ("receipts", "other prices", _saved(receipt(entries[:18], other_prices), quality=90)),
            ("price lists", "other prices", price_list(other_prices)),
            ("price lists", "one digit changed", _saved(price_list(digit))),
            ("price lists", "one digit changed, half", _scaled(price_list(digit), 0.5)),
            ("line drawings", "one line moved", line_drawing(seed, seed % 18)),
        ]
        for subject, change, image in others:
            yield Pair(subject, change, OTHER, drawn[subject], image)
    for first in (RED, ORANGE, BLUE, GREEN):
        for second in (RED, ORANGE, BLUE, GREEN):
            if first == second:
                yield Pair("goods", "half, JPEG 80", COPY, bag(first), _scaled(bag(first), 0.5))
            else:
                yield Pair("goods", "another colour", OTHER, bag(first), _saved(bag(second), quality=90))


def _replaced(text: list[str], place: int, seed: int) -> list[str]:
    return [*text[:place], words(seed + 500, 1)[0], *text[place + 1 :]]


def _frames_pair(change: str, expected: str, one: Sequence[Image.Image], two: Sequence[Image.Image]) -> Pair:
    """Return a pair of TIFF files with these frames."""
    return Pair("frames", change, expected, one[0], two[0], (_tiff_of(one), _tiff_of(two)))


def _tiff_of(frames: Sequence[Image.Image]) -> bytes:
    file = io.BytesIO()
    frames[0].save(file, "TIFF", save_all=True, append_images=frames[1:])
    return file.getvalue()


def _saved(image: Image.Image, form: str = "JPEG", **options: Any) -> Image.Image:
    file = io.BytesIO()
    image.save(file, form, **options)
    return Image.open(file).convert("RGB")


def _scaled(image: Image.Image, scale: float, quality: int = 80) -> Image.Image:
    size = (max(8, round(image.width * scale)), max(8, round(image.height * scale)))
    return _saved(image.resize(size, Image.Resampling.LANCZOS), quality=quality)


def _cropped(image: Image.Image, share: float) -> Image.Image:
    x, y = round(image.width * share), round(image.height * share)
    return image.crop((x, y, image.width - x, image.height - y))


def _thumbnail(image: Image.Image, side: int) -> Image.Image:
    small = image.copy()
    small.thumbnail((side, side))
    return _saved(small, quality=85)


def _framed(image: Image.Image, colour: str) -> Image.Image:
    return _saved(ImageOps.expand(image, round(0.02 * max(image.size)), colour), quality=90)


def _turned_hue(image: Image.Image, degrees: int) -> Image.Image:
    hsv = np.asarray(image.convert("HSV")).copy()
    hsv[..., 0] = (hsv[..., 0].astype(int) + degrees * 256 // 360) % 256
    return Image.fromarray(hsv, "HSV").convert("RGB")


def _with_object(image: Image.Image, place: tuple[float, float], colour: tuple[int, int, int]) -> Image.Image:
    """Return the image with a ball of one colour on it, shaded, whose width is a quarter of the shorter side."""
    made = image.copy()
    radius = min(image.size) / 8
    x, y = place[0] * image.width, place[1] * image.height
    for step in range(8):
        share = 1 - step / 10
        # Lighter towards one side, as a lamp makes it. The brightness of all colours is the same.
        light = 0.7 + 0.06 * step
        shade = tuple(min(255, round(light * channel)) for channel in _as_bright(colour))
        box = (x - radius * share, y - radius * share, x + radius * share, y + radius * share)
        ImageDraw.Draw(made).ellipse(box, fill=shade)
    return made


def _as_bright(colour: tuple[int, int, int]) -> tuple[float, ...]:
    level = float(np.dot(colour, (0.299, 0.587, 0.114)))
    return tuple(channel * 110 / level for channel in colour)


COPIES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "half, JPEG 80": lambda image: _scaled(image, 0.5),
    "quarter, JPEG 80": lambda image: _scaled(image, 0.25),
    "JPEG 40": lambda image: _saved(image, quality=40),
    "JPEG 20": lambda image: _saved(image, quality=20),
    "WebP 50": lambda image: _saved(image, "WEBP", quality=50),
    "brighter 15 %": lambda image: _saved(ImageEnhance.Brightness(image).enhance(1.15)),
    "darker 30 %": lambda image: _saved(ImageEnhance.Brightness(image).enhance(0.7)),
    "contrast -20 %": lambda image: _saved(ImageEnhance.Contrast(image).enhance(0.8)),
    "blurred by 1 pixel": lambda image: _saved(image.filter(ImageFilter.GaussianBlur(1))),
    "sharpened": lambda image: _saved(image.filter(ImageFilter.SHARPEN)),
    "cropped by 1 % per edge": lambda image: _saved(_cropped(image, 0.01)),
    "cropped by 3 % per edge, half": lambda image: _scaled(_cropped(image, 0.03), 0.5),
}
# Changes that are made to photos alone: nobody has thumbnails of 32 pixels of a letter.
PHOTO_COPIES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "thumbnail of 64 pixels": lambda image: _thumbnail(image, 64),
    "thumbnail of 48 pixels": lambda image: _thumbnail(image, 48),
    "thumbnail of 32 pixels": lambda image: _thumbnail(image, 32),
    "white frame of 2 %": lambda image: _framed(image, "white"),
    "black frame of 2 %": lambda image: _framed(image, "black"),
}
