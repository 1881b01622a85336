"""Counts with their nouns."""

import pytest

from imgret_assets.wording import counted


@pytest.mark.parametrize(
    ("count", "noun", "text"),
    [
        (0, "image", "0 images"),
        (1, "image", "1 image"),
        (2000, "image", "2,000 images"),
        (1, "near-duplicate", "1 near-duplicate"),
        (1, "pair of images", "1 pair of images"),
        (2, "pair of images", "2 pairs of images"),
        (3, "copy", "3 copies"),
        (2, "day", "2 days"),
    ],
)
def test_a_count_has_its_noun(count: int, noun: str, text: str) -> None:
    assert counted(count, noun) == text
