"""Duplicates among hits are shown once, at the place of the best one."""

from imgret_assets.app.components.duplicate_hits import GroupedHit, group_duplicates
from imgret_assets.domain.search.query import Hit


def hits(names: str) -> list[Hit]:
    return [Hit(name, 1 - number / 100, None) for number, name in enumerate(names)]


def test_duplicates_are_grouped_under_the_best_hit() -> None:
    a, b, c, d, e = hits("abcde")
    assert group_duplicates([a, b, c, d, e], [("d", "a"), ("e", "d")]) == [
        GroupedHit(a, ("d", "e")),
        GroupedHit(b),
        GroupedHit(c),
    ]


def test_duplicates_of_an_image_that_is_no_hit_belong_together() -> None:
    a, b, c = hits("abc")
    assert group_duplicates([a, b, c], [("a", "kept"), ("c", "kept")]) == [GroupedHit(a, ("c",)), GroupedHit(b)]


def test_pairs_in_both_directions_or_twice_change_nothing() -> None:
    a, b = hits("ab")
    assert group_duplicates([a, b], [("a", "b"), ("b", "a"), ("a", "b")]) == [GroupedHit(a, ("b",))]


def test_without_duplicates_nothing_is_grouped() -> None:
    assert group_duplicates(hits("ab"), []) == [GroupedHit(hit) for hit in hits("ab")]
    assert group_duplicates([], [("x", "y")]) == []
