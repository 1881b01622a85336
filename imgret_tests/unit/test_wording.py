"""Counts with their nouns, scores and shares."""

import pytest

from imgret_assets.wording import counted, percent_text, score_text


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


@pytest.mark.parametrize(
    ("score", "digits", "text"),
    [
        (0.9996, 3, "0.999"),
        (0.99999, 4, "0.9999"),
        (0.9994, 3, "0.999"),
        (0.99999998, 2, "0.99"),
        (1.0, 3, "1.000"),
        (1 - 1e-15, 3, "1.000"),
        (0.12345, 3, "0.123"),
        (-0.99999, 3, "-1.000"),
        (0.0, 3, "0.000"),
    ],
)
def test_only_the_score_of_equal_vectors_is_written_as_one(score: float, digits: int, text: str) -> None:
    assert score_text(score, digits) == text


@pytest.mark.parametrize(
    ("share", "text"), [(1.0, "100.0%"), (0.9997, "99.9%"), (0.905, "90.5%"), (0.0, "0.0%"), (2 / 3, "66.7%")]
)
def test_only_the_whole_is_written_as_a_hundred_percent(share: float, text: str) -> None:
    assert percent_text(share) == text
