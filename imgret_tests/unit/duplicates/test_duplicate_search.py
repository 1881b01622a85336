"""Duplicates: exact ones, why the other image is kept, which proportions may be alike."""

from dataclasses import replace

import pytest

from imgret_assets.domain.duplicates.duplicate_search import (
    Duplicate,
    find_exact_duplicates,
    have_like_proportions,
    merge_duplicates,
)
from imgret_assets.domain.duplicates.usable_images import UsableImage, rank_contents


def image(path: str, sha256: str = "x", size_bytes: int = 10, width: int = 4, height: int = 4) -> UsableImage:
    return UsableImage(path, sha256, size_bytes, width, height)


def deep(path: str, channels: int, bits: int, width: int = 4) -> UsableImage:
    return replace(image(path, width=width), channels=channels, bits=bits)


@pytest.mark.parametrize(
    ("keep", "duplicate", "reason"),
    [
        (image("longer/path.png", size_bytes=1, width=5), image("a.png", size_bytes=99), "5 x 4 pixels, not 4 x 4"),
        (image("longer/path.png", size_bytes=11), image("a.png"), "11 bytes, not 10"),
        (image("b.png"), image("aa.png"), "the shorter path"),
        (deep("b.png", 3, 24, width=3), deep("a.png", 1, 8), "stored in colour, not in grey"),
        (
            deep("b.png", 3, 24, width=3),
            replace(deep("a.png", 3, 48), is_grey=True),
            "in colour, not a grey version",
        ),
        (deep("b.png", 3, 24, width=3), deep("a.png", 3, 8), "24 bits per pixel, not 8 bits per pixel"),
        (deep("b.png", 1, 8, width=3), deep("a.png", 1, 1), "8 bits per pixel, not 1 bit per pixel"),
        (image("a.png"), image("b.png"), "the first path"),
    ],
)
def test_an_exact_duplicate_states_why_the_other_image_is_kept(
    keep: UsableImage, duplicate: UsableImage, reason: str
) -> None:
    [row] = find_exact_duplicates(rank_contents([duplicate, keep]))
    assert (row.keep, row.image, row.kind) == (keep, duplicate, "exact")
    assert row.reason == f"same bytes; kept: {reason}"


def test_an_image_that_is_exact_and_near_is_listed_once_as_near() -> None:
    large, first, second = image("large.png", "l", width=9), image("a.png", "s"), image("b.png", "s")
    lone, copy = image("lone.png", "o"), image("lone2.png", "o")
    near = [Duplicate(one, large, "near", 3, 0.99, 0.9) for one in (second, first)]
    rows = merge_duplicates(rank_contents([large, first, second, lone, copy]), near)
    assert [(row.image.path, row.keep.path, row.kind) for row in rows] == [
        ("a.png", "large.png", "near"),
        ("b.png", "large.png", "near"),
        ("lone2.png", "lone.png", "exact"),
    ]


@pytest.mark.parametrize(
    ("first", "second", "like"),
    [
        ((640, 480), (300, 300), True),
        ((1456, 90), (160, 600), False),
        ((1456, 90), (1280, 720), False),
        ((256, 1), (16, 16), False),
        ((4000, 3000), (40, 30), True),
        ((3000, 4000), (400, 300), False),
        ((800, 600), (24, 17), True),
    ],
)
def test_proportions_may_differ_by_a_squeeze_of_4_to_3_and_a_crop(
    first: tuple[int, int], second: tuple[int, int], like: bool
) -> None:
    a, b = (image("a.png", width=width, height=height) for width, height in (first, second))
    assert have_like_proportions(a, b) is have_like_proportions(b, a) is like
