"""The pair search by either algorithm, after a kill, with caps and limits: always the pairs of a full comparison."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imgret_assets.domain.runtime.progress import Progress
from imgret_assets.domain.similarity import group_pairs, pair_arrays, pair_search
from imgret_assets.domain.similarity.brute_force import pairs_above
from imgret_assets.domain.similarity.cascade import CascadeOptions, PairSearch
from imgret_assets.domain.similarity.pair_arrays import among_best_neighbours
from imgret_assets.domain.similarity.pair_search import SearchOptions, search_pairs
from imgret_assets.domain.similarity.pieces import computing
from imgret_assets.domain.similarity.pieces.answers import Answer, AnswerFiles
from imgret_assets.domain.similarity.pieces.work import Piece
from imgret_assets.errors import TooManyPairsError
from imgret_tests.support.vector_sets import assert_same_pairs, expected_pairs, repeated_rows, thresholds

BRUTE_FORCE = SearchOptions(algorithm="brute_force")
# Memory for chunks of 48 rows or so.
SMALL_CHUNKS = 1 << 19


@pytest.fixture(autouse=True)
def _cascade_for_small_collections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pair_search, "BRUTE_FORCE_PAIRS", 0)


@pytest.fixture
def vectors(rng: np.random.Generator) -> np.ndarray:
    """300 rows in 20 families."""
    centres = rng.normal(size=(20, 24))
    return (centres[np.arange(300) % 20] + 0.5 * rng.normal(size=(300, 24))).astype(np.float32)


# One exact score for each pair


@pytest.mark.parametrize("rows", [None, [3, 40, 41, 299], []])
def test_both_algorithms_return_the_same_pairs(vectors: np.ndarray, rows: list[int] | None) -> None:
    chosen = None if rows is None else np.array(rows, np.int64)
    cascade = search_pairs(vectors, 0.6, rows=chosen)
    assert cascade.algorithm.startswith("brute force" if rows == [] else "cascade of")
    brute_force = search_pairs(vectors, 0.6, rows=chosen, options=BRUTE_FORCE)
    assert brute_force.algorithm == "brute force"
    assert_same_pairs(cascade.pairs, brute_force.pairs)


def test_a_small_collection_is_compared_by_brute_force(vectors: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pair_search, "BRUTE_FORCE_PAIRS", 300 * 299 // 2)
    assert search_pairs(vectors, 0.6).algorithm == "brute force"
    monkeypatch.setattr(pair_search, "BRUTE_FORCE_PAIRS", 300 * 299 // 2 - 1)
    assert search_pairs(vectors, 0.6).algorithm.startswith("cascade of")


@pytest.mark.parametrize("dim", [5, 24, 256, 1280])
def test_a_pair_at_the_threshold_is_decided_alike_by_both_algorithms(rng: np.random.Generator, dim: int) -> None:
    """The thresholds are scores of pairs: a pair's own score keeps it out, the next lower number lets it in."""
    vectors = (rng.normal(size=(1, dim)) + rng.normal(size=(60, dim))).astype(np.float32)
    for score in rng.choice(search_pairs(vectors, 0.0).pairs.scores, 20, replace=False):
        for threshold in (score, np.nextafter(score, -1.0)):
            cascade = search_pairs(vectors, threshold).pairs
            assert_same_pairs(cascade, search_pairs(vectors, threshold, options=BRUTE_FORCE).pairs)
            assert (score in cascade.scores) == (threshold < score)


def test_a_collection_that_outgrows_brute_force_keeps_its_scores(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors = (rng.normal(size=(1, 1280)) + rng.normal(size=(200, 1280))).astype(np.float32)
    monkeypatch.setattr(pair_search, "BRUTE_FORCE_PAIRS", 150 * 149 // 2)
    small, large = search_pairs(vectors[:150], 0.4), search_pairs(vectors, 0.4)
    assert (small.algorithm, large.algorithm.split()[0]) == ("brute force", "cascade")
    assert len(small.pairs) > 1000
    assert_same_pairs(large.pairs.where(large.pairs.b < 150), small.pairs)


# Progress and kills


@pytest.mark.parametrize("algorithm", ["cascade", "brute_force"])
def test_progress_goes_up_to_all_pairs(rng: np.random.Generator, algorithm: str) -> None:
    vectors = rng.normal(size=(2500, 8)).astype(np.float32)
    reports: list[Progress] = []
    options = SearchOptions(memory_bytes=1 << 24, algorithm=algorithm)
    search_pairs(vectors, 0.99, options=options, progress=reports.append)
    assert len(reports) > 1
    assert reports[-1].done == reports[-1].total == 2500 * 2499 // 2
    assert [report.done for report in reports] == sorted(report.done for report in reports)


class Killed(BaseException):
    """The end of the process."""


def kill_before(monkeypatch: pytest.MonkeyPatch, piece_count: int) -> list[str]:
    """Let every search die before it compares another piece than the next few; return the keys of those compared."""
    compared: list[str] = []
    answer_of, limit = PairSearch.answer, piece_count

    def killed(self: PairSearch, piece: Piece) -> Answer:
        if len(compared) == limit:
            raise Killed
        compared.append(piece.key)
        return answer_of(self, piece)

    monkeypatch.setattr(PairSearch, "answer", killed)
    return compared


def test_a_killed_search_goes_on_where_it_was(
    vectors: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(computing, "WRITE_EVERY_S", 0.0)
    options, answers = SearchOptions(memory_bytes=SMALL_CHUNKS), AnswerFiles(tmp_path / "answers")
    pieces = PairSearch(vectors, 0.6, options=CascadeOptions(memory_bytes=SMALL_CHUNKS)).pieces
    assert len(pieces) > 8
    all_compared: list[str] = []
    for piece_count in (3, 2):
        with monkeypatch.context() as patched:
            compared = kill_before(patched, piece_count)
            with pytest.raises(Killed):
                search_pairs(vectors, 0.6, options=options, answers=answers)
            all_compared += compared
    compared = kill_before(monkeypatch, len(pieces))
    result = search_pairs(vectors, 0.6, options=options, answers=answers)
    all_compared += compared
    assert sorted(all_compared) == sorted(piece.key for piece in pieces), "each piece once"
    assert_same_pairs(result.pairs, pairs_above(vectors, 0.6))


@pytest.mark.parametrize(("change", "reused"), [("vectors", True), ("threshold", False), ("rows", False)])
def test_answers_of_another_search_count_where_their_pieces_are_the_same(
    vectors: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str, reused: bool
) -> None:
    monkeypatch.setattr(computing, "WRITE_EVERY_S", 0.0)
    options, answers = SearchOptions(memory_bytes=SMALL_CHUNKS), AnswerFiles(tmp_path / "answers")
    with monkeypatch.context() as patched:
        kill_before(patched, 5)
        with pytest.raises(Killed):
            search_pairs(vectors, 0.6, options=options, answers=answers)
    assert len(list((tmp_path / "answers").iterdir())) == 5
    changed, threshold, rows = vectors.copy(), 0.6, None
    if change == "vectors":
        # Of the last chunk.
        changed[299] = -changed[299]
    elif change == "threshold":
        threshold = 0.5
    else:
        rows = np.arange(200)
    with monkeypatch.context() as patched:
        compared = kill_before(patched, 1000)
        result = search_pairs(changed, threshold, rows=rows, options=options, answers=answers)
    cascade_options = CascadeOptions(memory_bytes=SMALL_CHUNKS)
    pieces = PairSearch(changed, threshold, rows=rows, options=cascade_options).pieces
    assert len(compared) == len(pieces) - 5 * reused
    assert_same_pairs(result.pairs, pairs_above(changed, threshold, rows=rows))


# Caps and limits


@pytest.mark.parametrize("options", [{"memory_bytes": SMALL_CHUNKS}, {}, {"algorithm": "brute_force"}])
def test_a_cap_does_not_depend_on_the_search(vectors: np.ndarray, options: dict[str, object]) -> None:
    everything = pairs_above(vectors, 0.2)
    expected = everything.where(among_best_neighbours(everything, 300, 3))
    result = search_pairs(vectors, 0.2, options=SearchOptions(max_neighbours=3, **options))  # type: ignore[arg-type]
    assert_same_pairs(result.pairs, expected)
    assert result.left_out == len(everything) - len(expected)


@pytest.mark.parametrize("algorithm", ["cascade", "brute_force"])
def test_far_too_many_pairs_are_refused_before_the_work(
    vectors: np.ndarray, monkeypatch: pytest.MonkeyPatch, algorithm: str
) -> None:
    monkeypatch.setattr(PairSearch, "answer", lambda *_: pytest.fail("a piece was compared"))
    monkeypatch.setattr(pair_search, "blocks_of_pairs", lambda *_, **__: pytest.fail("a block was searched"))
    with pytest.raises(TooManyPairsError, match=r"About 4\d,\d{3} pairs.*at most 1,000.*raise the threshold"):
        search_pairs(vectors, -0.9, options=SearchOptions(max_pairs=1_000, algorithm=algorithm))


@pytest.mark.parametrize("algorithm", ["cascade", "brute_force"])
def test_a_pair_too_many_is_refused_during_the_work(vectors: np.ndarray, algorithm: str) -> None:
    count = len(pairs_above(vectors, 0.6))
    options = SearchOptions(max_pairs=count, algorithm=algorithm)
    assert len(search_pairs(vectors, 0.6, options=options).pairs) == count
    with pytest.raises(TooManyPairsError):
        search_pairs(vectors, 0.6, options=SearchOptions(max_pairs=count - 1, algorithm=algorithm))


@pytest.mark.parametrize("algorithm", ["cascade", "brute_force"])
def test_with_a_cap_dense_collections_are_searched(vectors: np.ndarray, algorithm: str) -> None:
    options = SearchOptions(max_pairs=50_000, max_neighbours=2, algorithm=algorithm)
    result = search_pairs(vectors, -1.0, options=options)
    everything = pairs_above(vectors, -1.0)
    assert_same_pairs(result.pairs, everything.where(among_best_neighbours(everything, 300, 2)))
    assert result.left_out + len(result.pairs) == 300 * 299 // 2


# Rows with equal vectors


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    vectors=repeated_rows(),
    data=st.data(),
    cap=st.sampled_from([None, 1, 2, 7, 100]),
    block=st.sampled_from([1, 5, 1 << 20]),
    algorithm=st.sampled_from(["cascade", "brute_force"]),
)
def test_rows_with_equal_vectors(
    vectors: np.ndarray, data: st.DataObject, cap: int | None, block: int, algorithm: str
) -> None:
    count = len(vectors)
    chosen = data.draw(st.none() | st.sets(st.integers(0, max(0, count - 1)), max_size=count))
    rows = None if chosen is None else np.array(sorted(chosen), np.int64)[: count or 0]
    threshold = data.draw(thresholds(vectors))
    expected = expected_pairs(vectors, threshold, rows)
    everything = len(expected)
    if cap is not None:
        expected = expected.where(among_best_neighbours(expected, count, cap))
    original = vectors.copy()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(group_pairs, "_BLOCK", block)
        patched.setattr(pair_arrays, "_MERGED", block)
        options = SearchOptions(max_neighbours=cap, algorithm=algorithm)
        result = search_pairs(vectors, threshold, rows=rows, options=options)
        np.testing.assert_array_equal(vectors, original)
        again = search_pairs(vectors, threshold, rows=rows, options=options, may_overwrite=True)
    assert_same_pairs(result.pairs, expected)
    assert_same_pairs(again.pairs, expected)
    assert result.left_out == everything - len(expected)


def test_equal_vectors_count_for_the_limit_on_pairs(vectors: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    repeated = np.concatenate([vectors, np.repeat(vectors[:1], 40, axis=0)])
    count = len(pairs_above(repeated, 0.6))
    assert len(search_pairs(repeated, 0.6, options=SearchOptions(max_pairs=count)).pairs) == count
    with pytest.raises(TooManyPairsError):
        search_pairs(repeated, 0.6, options=SearchOptions(max_pairs=count - 1))
    # The 41 rows with one vector alone are 820 pairs: known before anything is compared.
    monkeypatch.setattr(PairSearch, "answer", lambda *_: pytest.fail("a piece was compared"))
    with pytest.raises(TooManyPairsError, match="About 820 pairs"):
        search_pairs(repeated, 0.6, options=SearchOptions(max_pairs=819))


def test_importing_the_searches_loads_neither_numba_nor_torch() -> None:
    code = (
        "import sys, imgret_assets.domain.similarity.pair_search, imgret_assets.domain.similarity.neighbours_table, "
        "imgret_assets.domain.similarity.cascade; print('numba' in sys.modules, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
