"""Near copies among hits are shown once, at the best one's place."""

from imgret_assets.app.components.copy_folding import FoldedHit, fold_copies
from imgret_assets.domain.search.query import Hit


def hits(names: str) -> list[Hit]:
    return [Hit(name, 1 - number / 100, None) for number, name in enumerate(names)]


def test_copies_join_the_best_of_them() -> None:
    a, b, c, d, e = hits("abcde")
    assert fold_copies([a, b, c, d, e], [("d", "a"), ("e", "d")]) == [
        FoldedHit(a, ("d", "e")),
        FoldedHit(b),
        FoldedHit(c),
    ]


def test_copies_of_a_picture_that_is_no_hit_belong_together() -> None:
    a, b, c = hits("abc")
    assert fold_copies([a, b, c], [("a", "kept"), ("c", "kept")]) == [FoldedHit(a, ("c",)), FoldedHit(b)]


def test_pairs_in_both_directions_or_twice_change_nothing() -> None:
    a, b = hits("ab")
    assert fold_copies([a, b], [("a", "b"), ("b", "a"), ("a", "b")]) == [FoldedHit(a, ("b",))]


def test_without_copies_nothing_is_folded() -> None:
    assert fold_copies(hits("ab"), []) == [FoldedHit(hit) for hit in hits("ab")]
    assert fold_copies([], [("x", "y")]) == []
