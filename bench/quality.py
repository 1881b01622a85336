"""How often near-duplicates are kept and other pictures refused, by kind of change, and the time a pair takes.

Belongs here: kinds of changes to photos and documents, the rates of the method and of the correlation of small grey
images alone, which decided before. Not here: the method (`imgret_assets.domain.duplicates.confirmation`), documents
(`imgret_tests.support.artwork`).
"""

import io
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

from bench.report import Measure, Report
from imgret_assets.domain.duplicates.confirmation import BORDER, CHANGED, GREY, SAME, compare_images
from imgret_assets.domain.duplicates.duplicate_search import MIN_CORRELATION, RADIUS_BITS
from imgret_assets.domain.duplicates.fingerprints import correlate, fingerprint_image
from imgret_tests.support.artwork import BLUE, GREEN, ORANGE, RED, bag, line_drawing, page, price_list, words

PHOTOS, DOCUMENTS = 40, 12
# What decided before: the correlation of small grey images alone.
CORRELATION_ALONE = 0.96
COPY, OTHER = "copy", "other picture"


@dataclass(frozen=True)
class Pair:
    """Two images; `expected` says whether the second is a copy of the first."""

    subject: str
    change: str
    expected: str
    one: Image.Image
    two: Image.Image


def run(report: Report, sources: Sequence[Path], *, say: Callable[[str], None]) -> None:
    """Measure the rates on photos and on drawn documents."""
    counts: dict[tuple[str, str, str], list[tuple[bool, bool, bool, bool]]] = defaultdict(list)
    seconds, compared = 0.0, 0
    step = max(1, len(sources) // PHOTOS)
    for pair in (*_photo_pairs(sources[::step][:PHOTOS]), *_document_pairs(range(DOCUMENTS))):
        is_candidate, bits, correlation = _candidate(pair)
        kind = ""
        if is_candidate:
            started = time.process_time()
            kind = compare_images(pair.one, pair.two).verdict
            seconds, compared = seconds + time.process_time() - started, compared + 1
        before = bits <= RADIUS_BITS and correlation >= CORRELATION_ALONE
        row = (bits <= RADIUS_BITS, before, kind in (SAME, BORDER), kind in (CHANGED, GREY))
        counts[pair.expected, pair.subject, pair.change].append(row)
    say(f"quality: {compared:,} pairs compared by their pixels")
    report.notes.append("| expected | images | change | pairs | candidates | correlation alone | near | look_first |")
    report.notes.append("|---|---|---|---|---|---|---|---|")
    totals: dict[str, list[bool]] = defaultdict(list)
    for (expected, subject, change), rows in sorted(counts.items()):
        shares = " | ".join(f"{sum(column) / len(rows):.2f}" for column in zip(*rows, strict=True))
        report.notes.append(f"| {expected} | {subject} | {change} | {len(rows)} | {shares} |")
        totals[expected] += [near for candidate, _, near, _ in rows if candidate]
    kept, taken = (float(np.mean(totals[expected])) for expected in (COPY, OTHER))
    report.measures.append(Measure("copies that are near-duplicates, of candidates", 100 * kept, 97, unit="%"))
    report.measures.append(Measure("other pictures taken for one", 100 * taken, 2, at_most=True, unit="%"))
    report.measures.append(Measure("comparison of a pair, one core", 1000 * seconds / compared, unit="ms"))


def _candidate(pair: Pair) -> tuple[bool, int, float]:
    """Return whether the pair is compared by its pixels, the bits that differ, and the correlation."""
    one, two = fingerprint_image(pair.one), fingerprint_image(pair.two)
    if one.hash is None or two.hash is None or one.grey is None or two.grey is None:
        return False, 256, 0.0
    bits = int(np.bitwise_count(np.frombuffer(one.hash, np.uint8) ^ np.frombuffer(two.hash, np.uint8)).sum())
    correlation = float(correlate(one.grey, two.grey[np.newaxis])[0])
    return bits <= RADIUS_BITS and correlation >= MIN_CORRELATION, bits, correlation


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


def _turned_hue(image: Image.Image, degrees: int) -> Image.Image:
    hsv = np.asarray(image.convert("HSV")).copy()
    hsv[..., 0] = (hsv[..., 0].astype(int) + degrees * 256 // 360) % 256
    return Image.fromarray(hsv, "HSV").convert("RGB")


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
    "thumbnail of 64 pixels": lambda image: _thumbnail(image, 64),
}


def _photo_pairs(files: Sequence[Path]) -> Iterator[Pair]:
    rng = np.random.default_rng(5)
    for number, file in enumerate(files):
        image = Image.open(file).convert("RGB")
        other = Image.open(files[(number + 1) % len(files)]).convert("RGB").resize(image.size)
        for change, make in COPIES.items():
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
        yield Pair("photos", "another photo", OTHER, image, other)
        yield Pair("photos", "grey version", OTHER, image, _saved(image.convert("L"), quality=85))


def _document_pairs(seeds: Sequence[int]) -> Iterator[Pair]:
    for seed in seeds:
        rng = np.random.default_rng(seed)
        text, prices = words(seed, 260), rng.integers(1000, 99999, 18).tolist()
        drawn = {"pages": page(text), "price lists": price_list(prices), "line drawings": line_drawing(seed)}
        for subject, image in drawn.items():
            for change, make in COPIES.items():
                if change != "thumbnail of 64 pixels":
                    yield Pair(subject, change, COPY, image, make(image))
        # The last words may lie below the page.
        place = int(rng.integers(200))
        changed = [*text[:place], words(seed + 500, 1)[0], *text[place + 1 :]]
        digit = [*prices[:-1], prices[-1] // 10 * 10 + (prices[-1] + 5) % 10]
        others = rng.permutation(prices).tolist()
        yield Pair("pages", "other text", OTHER, drawn["pages"], page(words(seed + 900, 260)))
        yield Pair("pages", "other text, half", OTHER, drawn["pages"], _scaled(page(words(seed + 900, 260)), 0.5))
        yield Pair("pages", "one word changed", OTHER, drawn["pages"], _saved(page(changed), quality=90))
        yield Pair("price lists", "other prices", OTHER, drawn["price lists"], price_list(others))
        yield Pair("price lists", "one digit changed", OTHER, drawn["price lists"], _saved(price_list(digit)))
        yield Pair(
            "price lists", "one digit changed, half", OTHER, drawn["price lists"], _scaled(price_list(digit), 0.5)
        )
        yield Pair("line drawings", "one line moved", OTHER, drawn["line drawings"], line_drawing(seed, seed % 18))
    for first in (RED, ORANGE, BLUE, GREEN):
        for second in (RED, ORANGE, BLUE, GREEN):
            if first == second:
                yield Pair("goods", "half, JPEG 80", COPY, bag(first), _scaled(bag(first), 0.5))
            else:
                yield Pair("goods", "another colour", OTHER, bag(first), _saved(bag(second), quality=90))
