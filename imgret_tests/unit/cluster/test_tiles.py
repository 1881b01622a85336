"""The order of pieces on several nodes."""

from hypothesis import given
from hypothesis import strategies as st

from imgret_assets.domain.cluster.tiles import Squares, square_side

PIECES = [(left, right) for left in range(8) for right in range(left, 8)]


def squares(side: int = 4) -> Squares[tuple[int, int]]:
    return Squares(PIECES, lambda piece: piece, side)


def test_nodes_work_on_squares_of_their_own() -> None:
    waiting = squares()
    taken = {"a": [], "b": []}
    for _ in range(10):
        for node, pieces in taken.items():
            pieces.append(waiting.take(node))
    assert {(left // 4, right // 4) for left, right in taken["a"]} == {(0, 0)}
    assert {(left // 4, right // 4) for left, right in taken["b"]} == {(0, 1)}


def test_a_node_without_a_square_takes_from_the_longest_one() -> None:
    waiting = squares(side=8)
    assert waiting.take("a") == PIECES[0]
    assert waiting.take("b") == PIECES[-1]
    assert len(waiting) == len(PIECES) - 2


def test_a_piece_that_was_given_back_comes_next() -> None:
    waiting = squares()
    piece = waiting.take("a")
    assert piece is not None
    waiting.give_back(piece)
    assert waiting.take("b") == piece


@given(st.integers(1, 9), st.lists(st.sampled_from("abc"), min_size=1))
def test_every_piece_is_taken_once(side: int, order: list[str]) -> None:
    waiting, taken = squares(side), []
    while len(taken) < len(PIECES):
        for node in order:
            piece = waiting.take(node)
            if piece is not None:
                taken.append(piece)
    assert sorted(taken) == PIECES
    assert waiting.take("a") is None
    assert len(waiting) == 0


def test_the_side_of_a_square_fits_the_object_store_and_leaves_work_for_all() -> None:
    assert square_side(10_000, 4, 100, 100 * 1000) == 25
    assert square_side(10_000, 4, 100, 100 * 60) == 10
    assert square_side(10_000, 4, 100, 0) == 1
    assert square_side(1, 4, 100, 10**9) == 1
    assert square_side(10**9, 2, 1, 10**9) == 64
