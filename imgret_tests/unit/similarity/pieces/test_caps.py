"""The cap on neighbours within pieces: it loses no pair of the cap over all pieces, and counts what it leaves out."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from imgret_assets.domain.similarity.pair_arrays import ScoredPairs, among_best_neighbours
from imgret_assets.domain.similarity.pieces.answers import Answer
from imgret_assets.domain.similarity.pieces.caps import Cap


@st.composite
def scored_rows(draw: st.DrawFn) -> tuple[ScoredPairs, int, list[np.ndarray]]:
    """Pairs of some rows with few different scores, the number of rows, and the rows of each chunk in any order."""
    count = draw(st.integers(2, 12))
    everything = [(a, b) for a in range(count) for b in range(a + 1, count)]
    chosen = draw(st.lists(st.sampled_from(everything), unique=True).map(sorted))
    scores = [draw(st.integers(1, 3)) / 4 for _ in chosen]
    a, b = (np.array([pair[side] for pair in chosen], np.int32) for side in (0, 1))
    order = np.array(draw(st.permutations(range(count))))
    cuts = sorted(draw(st.lists(st.integers(0, count), max_size=3)))
    return ScoredPairs(a, b, np.array(scores, float)), count, np.split(order, cuts)


@given(drawn=scored_rows(), most=st.integers(1, 4), sizes=st.none() | st.lists(st.integers(1, 3), min_size=12))
def test_the_cap_of_pieces_and_then_of_all_is_that_of_all(
    drawn: tuple[ScoredPairs, int, list[np.ndarray]], most: int, sizes: list[int] | None
) -> None:
    pairs, count, chunks = drawn
    size_of = np.ones(12, np.int64) if sizes is None else np.array(sizes[:12])
    kept: list[tuple[int, int, float]] = []
    left_out = 0
    for number, left in enumerate(chunks):
        for right in chunks[number:]:
            answer = answer_of(pairs, left, right)
            of_sides = [None if sizes is None else size_of[side] for side in (left, right)]
            capped = Cap(most, *of_sides).apply(answer, is_diagonal=left is right)
            left_out += capped.left_out
            assert len(capped) <= len(answer)
            rows = zip(left[capped.left].tolist(), right[capped.right].tolist(), capped.scores.tolist(), strict=True)
            kept += [(min(a, b), max(a, b), score) for a, b, score in rows]
    arrived = ScoredPairs.sorted_from(*(np.array([row[side] for row in kept]) for side in range(3))) if kept else pairs
    expected = pairs.where(among_best_neighbours(pairs, count, most))
    final = arrived.where(among_best_neighbours(arrived, count, most))
    assert [column.tolist() for column in (final.a, final.b, final.scores)] == [
        column.tolist() for column in (expected.a, expected.b, expected.scores)
    ]
    weights = size_of[pairs.a] * size_of[pairs.b]
    arrived_weights = size_of[arrived.a] * size_of[arrived.b]
    assert left_out == weights.sum() - arrived_weights.sum()


def answer_of(pairs: ScoredPairs, left: np.ndarray, right: np.ndarray) -> Answer:
    """Return the pairs with one row on each side; of a chunk with itself each pair once."""
    left_place = {row: place for place, row in enumerate(left.tolist())}
    right_place = {row: place for place, row in enumerate(right.tolist())}
    found = []
    for a, b, score in zip(pairs.a.tolist(), pairs.b.tolist(), pairs.scores.tolist(), strict=True):
        if a in left_place and b in right_place:
            found.append((left_place[a], right_place[b], score))
        elif b in left_place and a in right_place:
            found.append((left_place[b], right_place[a], score))
    columns = list(zip(*found, strict=True)) or [(), (), ()]
    return Answer(np.array(columns[0], np.int32), np.array(columns[1], np.int32), np.array(columns[2], float))


def test_a_piece_with_many_pairs_keeps_few(rng: np.random.Generator) -> None:
    left, right = (side.ravel().astype(np.int32) for side in np.mgrid[:200, :300])
    capped = Cap(5).apply(Answer(left, right, rng.random(60_000)), is_diagonal=False)
    assert len(capped) <= 5 * 500
    assert capped.left_out == 60_000 - len(capped)
    np.testing.assert_array_equal(np.bincount(capped.left, minlength=200) >= 5, True)


def test_other_sizes_are_another_key() -> None:
    ones, twos = np.ones(4, np.int64), np.full(4, 2)
    keys = {Cap(5).key, Cap(6).key, Cap(5, ones, twos).key, Cap(5, twos, ones).key}
    assert len(keys) == 4
