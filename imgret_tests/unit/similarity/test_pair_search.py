"""Pairs by either means, resumed after a kill, capped and limited: always those of a full comparison."""

from pathlib import Path

import numpy as np
import pytest

from imgret_assets.domain.numerics.vectors import cosines
from imgret_assets.domain.runtime.progress import Progress
from imgret_assets.domain.similarity import checkpoints, pair_search
from imgret_assets.domain.similarity.brute_force import pairs_above
from imgret_assets.domain.similarity.cascade import Block, CascadeOptions, PairSearch
from imgret_assets.domain.similarity.pair_search import SearchOptions, search_pairs
from imgret_assets.domain.similarity.scored_pairs import ScoredPairs, among_best_neighbours
from imgret_assets.errors import TooManyPairsError


@pytest.fixture(autouse=True)
def _always_the_cascade(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pair_search, "BRUTE_FORCE_PAIRS", 0)


@pytest.fixture
def vectors(rng: np.random.Generator) -> np.ndarray:
    """300 rows in 20 families."""
    centres = rng.normal(size=(20, 24))
    return (centres[np.arange(300) % 20] + 0.5 * rng.normal(size=(300, 24))).astype(np.float32)


def assert_same(found: ScoredPairs, expected: ScoredPairs) -> None:
    np.testing.assert_array_equal(found.a, expected.a)
    np.testing.assert_array_equal(found.b, expected.b)
    np.testing.assert_array_equal(found.scores, expected.scores)


@pytest.mark.parametrize("rows", [None, [3, 40, 41, 299], []])
def test_both_means_find_the_same(vectors: np.ndarray, rows: list[int] | None, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = None if rows is None else np.array(rows, np.int64)
    quick = search_pairs(vectors, 0.6, rows=chosen)
    assert ("cascade" in quick.algorithm) == (rows != [])
    monkeypatch.setattr(pair_search, "BRUTE_FORCE_PAIRS", 10**9)
    plain = search_pairs(vectors, 0.6, rows=chosen)
    assert plain.algorithm == "brute force"
    assert_same(quick.pairs, plain.pairs)


@pytest.mark.parametrize("dim", [5, 24, 256, 1280])
def test_a_pair_at_the_threshold_is_decided_alike_by_both_routes(
    rng: np.random.Generator, dim: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scores of pairs are thresholds here: each pair's own score keeps it out, the next number below lets it in."""
    vectors = (rng.normal(size=(1, dim)) + rng.normal(size=(60, dim))).astype(np.float32)
    quick = search_pairs(vectors, 0.0).pairs
    for score in rng.choice(quick.scores, 20, replace=False):
        for threshold in (score, np.nextafter(score, -1.0)):
            monkeypatch.setattr(pair_search, "BRUTE_FORCE_PAIRS", 0)
            quick = search_pairs(vectors, threshold).pairs
            monkeypatch.setattr(pair_search, "BRUTE_FORCE_PAIRS", 10**9)
            assert_same(quick, search_pairs(vectors, threshold).pairs)
            assert (score in quick.scores) == (threshold < score)


def test_a_collection_that_grows_past_the_border_keeps_its_scores(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors = (rng.normal(size=(1, 1280)) + rng.normal(size=(200, 1280))).astype(np.float32)
    monkeypatch.setattr(pair_search, "BRUTE_FORCE_PAIRS", 10**9)
    small = search_pairs(vectors[:150], 0.4).pairs
    monkeypatch.setattr(pair_search, "BRUTE_FORCE_PAIRS", 0)
    large = search_pairs(vectors, 0.4).pairs
    stayed = large.b < 150
    assert len(small) > 1000
    assert_same(large.where(stayed), small)


def test_progress_goes_up_to_all_pairs(vectors: np.ndarray) -> None:
    told: list[Progress] = []
    search_pairs(vectors, 0.6, options=SearchOptions(memory_bytes=1 << 20), progress=told.append)
    assert len(told) > 1
    assert told[-1].done == told[-1].total == 300 * 299 // 2
    assert [one.done for one in told] == sorted(one.done for one in told)


class Killed(BaseException):
    """Stands for the end of the process."""


def test_a_killed_search_goes_on_where_it_was(
    vectors: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "CHECKPOINT_S", 0.0)
    options = SearchOptions(memory_bytes=1 << 19)
    searched: list[int] = []
    real = PairSearch.pairs_of

    def dying(self: PairSearch, block: Block) -> ScoredPairs:
        if len(searched) == stop_at:
            raise Killed
        searched.append(block.number)
        return real(self, block)

    monkeypatch.setattr(PairSearch, "pairs_of", dying)
    blocks = len(PairSearch(vectors, 0.6, options=CascadeOptions(memory_bytes=1 << 19)).blocks)
    assert blocks > 8
    stop_at = 3
    with pytest.raises(Killed):
        search_pairs(vectors, 0.6, options=options, work_folder=tmp_path)
    stop_at = 5
    with pytest.raises(Killed):
        search_pairs(vectors, 0.6, options=options, work_folder=tmp_path)
    stop_at = blocks
    found = search_pairs(vectors, 0.6, options=options, work_folder=tmp_path)
    assert searched == list(range(blocks)), "each block once"
    assert_same(found.pairs, pairs_above(vectors, 0.6))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("change", ["vectors", "threshold", "rows"])
def test_what_was_kept_of_another_question_is_not_used(
    vectors: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    monkeypatch.setattr(checkpoints, "CHECKPOINT_S", 0.0)
    real = PairSearch.pairs_of
    left = 2

    def dying(self: PairSearch, block: Block) -> ScoredPairs:
        nonlocal left
        if not left:
            raise Killed
        left -= 1
        return real(self, block)

    options = SearchOptions(memory_bytes=1 << 19)
    monkeypatch.setattr(PairSearch, "pairs_of", dying)
    with pytest.raises(Killed):
        search_pairs(vectors, 0.6, options=options, work_folder=tmp_path)
    monkeypatch.setattr(PairSearch, "pairs_of", real)
    assert len(list(tmp_path.iterdir())) == 1
    other, threshold, rows = vectors.copy(), 0.6, None
    if change == "vectors":
        other[7] = -other[7]
    elif change == "threshold":
        threshold = 0.5
    else:
        rows = np.arange(200)
    found = search_pairs(other, threshold, rows=rows, options=options, work_folder=tmp_path)
    assert_same(found.pairs, pairs_above(other, threshold, rows=rows))
    assert list(tmp_path.iterdir()) == []


def test_a_cap_is_the_same_however_the_pairs_come(vectors: np.ndarray) -> None:
    everything = pairs_above(vectors, 0.2)
    expected = everything.where(among_best_neighbours(everything, 300, 3))
    for memory in (1 << 19, 1 << 30):
        found = search_pairs(vectors, 0.2, options=SearchOptions(max_neighbours=3, memory_bytes=memory))
        assert_same(found.pairs, expected)
        assert found.left_out == len(everything) - len(expected)


def test_the_cap_by_hand() -> None:
    """Row 0 is everybody's second best; 3 is nobody's best but its own best is 2, so that pair stays."""
    pairs = ScoredPairs(np.array([0, 0, 1, 2]), np.array([1, 2, 2, 3]), np.array([0.8, 0.8, 0.9, 0.1]))
    np.testing.assert_array_equal(among_best_neighbours(pairs, 4, 1), [True, False, True, True])
    np.testing.assert_array_equal(among_best_neighbours(pairs, 4, 2), [True, True, True, True])
    np.testing.assert_array_equal(among_best_neighbours(pairs.where(np.zeros(4, bool)), 4, 1), [])


def test_far_too_many_pairs_are_refused_before_the_work(vectors: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PairSearch, "pairs_of", lambda *_: pytest.fail("it began"))
    with pytest.raises(TooManyPairsError, match=r"About 4\d,\d{3} pairs.*at most 1,000.*raise the threshold"):
        search_pairs(vectors, -0.9, options=SearchOptions(max_pairs=1_000))


def test_a_little_too_many_are_refused_on_the_way(vectors: np.ndarray) -> None:
    count = len(pairs_above(vectors, 0.6))
    assert len(search_pairs(vectors, 0.6, options=SearchOptions(max_pairs=count)).pairs) == count
    with pytest.raises(TooManyPairsError):
        search_pairs(vectors, 0.6, options=SearchOptions(max_pairs=count - 1))


def test_a_cap_lets_dense_data_through(vectors: np.ndarray) -> None:
    found = search_pairs(vectors, -1.0, options=SearchOptions(max_pairs=50_000, max_neighbours=2))
    assert len(found.pairs) <= 600
    assert found.left_out + len(found.pairs) == 300 * 299 // 2
    np.testing.assert_allclose(
        found.pairs.scores, cosines(vectors[found.pairs.a], vectors[found.pairs.b]), rtol=0, atol=1e-12
    )
