"""Pairs by the cascade equal those of comparing everything, to the last bit of the scores."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgret_assets.domain.similarity.cascade import CascadeOptions, PairSearch
from imgret_assets.domain.similarity.cascade.plans import Plan
from imgret_assets.domain.similarity.pair_arrays import merge_pairs
from imgret_tests.support.vector_sets import (
    SHAPES,
    all_scores,
    assert_same_pairs,
    clusters,
    expected_pairs,
    pairs_among,
    spread,
    thresholds,
    vector_sets,
)
from imgret_tests.unit.similarity.cascade.searches import ENGINES, PLAIN, PROPERTY, SMALL_CHUNKS, find_pairs, plans_for


@PROPERTY
@given(st.data())
def test_pairs_are_those_of_brute_force(data: st.DataObject) -> None:
    vectors = data.draw(vector_sets())
    threshold = data.draw(thresholds(vectors))
    pairs = find_pairs(
        vectors, threshold,
        plan=data.draw(st.sampled_from(plans_for(vectors.shape[1]))), engine=data.draw(st.sampled_from(ENGINES)),
        threads=data.draw(st.sampled_from([1, 2])), memory_bytes=data.draw(st.sampled_from([SMALL_CHUNKS, 1 << 30])),
    )  # fmt: skip
    assert_same_pairs(pairs, expected_pairs(vectors, threshold))


@PROPERTY
@given(st.data())
def test_pairs_of_some_rows_with_all_are_those_of_brute_force(data: st.DataObject) -> None:
    vectors = data.draw(vector_sets())
    threshold = data.draw(thresholds(vectors))
    rows = np.array(data.draw(st.lists(st.integers(0, max(0, len(vectors) - 1)), max_size=30)), dtype=np.int64)
    rows = rows[rows < len(vectors)]
    pairs = find_pairs(
        vectors, threshold, rows=rows, memory_bytes=SMALL_CHUNKS,
        plan=data.draw(st.sampled_from(plans_for(vectors.shape[1]))),
        engine=data.draw(st.sampled_from(["int16", "float32"])),
    )  # fmt: skip
    assert_same_pairs(pairs, expected_pairs(vectors, threshold, rows))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("make", SHAPES)
def test_no_pair_at_the_threshold_is_lost(
    rng: np.random.Generator, make: Callable[..., np.ndarray], engine: str
) -> None:
    """The threshold is the score of a pair, or just below it."""
    vectors = make(rng, 70, 64).astype(np.float32)
    scores = all_scores(vectors)
    for threshold in np.quantile(scores[np.triu_indices(70, 1)], [0.5, 0.95], method="nearest"):
        for plan in plans_for(64):
            for shift in (0.0, -1e-12):
                pairs = find_pairs(vectors, threshold + shift, plan=plan, engine=engine)
                assert_same_pairs(pairs, pairs_among(scores, threshold + shift))


def test_pairs_with_hardly_any_residual_are_all_found() -> None:
    """4,000 pairs at 0.8 within 2e-5, with tiny residuals: an earlier sketch lost more than half of them."""
    rng = np.random.default_rng(7)
    plane = np.linalg.qr(rng.standard_normal((320, 4)))[0]
    left = rng.standard_normal((400, 4))
    left /= np.linalg.norm(left, axis=1, keepdims=True)
    orthogonal = rng.standard_normal((400, 10, 4))
    orthogonal -= np.einsum("ijk,ik->ij", orthogonal, left)[..., None] * left[:, None]
    orthogonal /= np.linalg.norm(orthogonal, axis=2, keepdims=True)
    cosine = 0.8 + rng.uniform(-2e-5, 2e-5, (400, 10, 1))
    right = (cosine * left[:, None] + np.sqrt(1 - cosine**2) * orthogonal).reshape(-1, 4)
    vectors = (np.concatenate([left, right]) @ plane.T).astype(np.float32)
    vectors += (1e-6 * rng.standard_normal(vectors.shape)).astype(np.float32)
    rows = np.arange(400)
    expected = find_pairs(vectors, 0.8, rows=rows, plan=PLAIN, engine="float32")
    unit = vectors.astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    truth = unit[:400] @ unit.T
    assert len(expected) >= np.count_nonzero(np.triu(truth > 0.8 + 1e-12, 1)) > 2000
    assert np.count_nonzero(np.triu(truth > 0.8 - 1e-12, 1)) >= len(expected)
    for widths in ((31,), (31, 64), (127, 256)):
        assert_same_pairs(find_pairs(vectors, 0.8, rows=rows, plan=Plan(widths, plain=False)), expected)


def test_results_do_not_depend_on_engine_threads_and_plan(rng: np.random.Generator) -> None:
    vectors = clusters(rng, 200, 70).astype(np.float32)
    expected = expected_pairs(vectors, 0.6)
    assert 100 < len(expected) < 15000
    for engine in ENGINES:
        for threads in (1, 3):
            for plan in plans_for(70):
                assert_same_pairs(find_pairs(vectors, 0.6, engine=engine, threads=threads, plan=plan), expected)


def test_pieces_follow_from_the_memory_and_cover_every_pair_once(rng: np.random.Generator) -> None:
    vectors = spread(rng, 331, 5).astype(np.float32)
    shards = rng.integers(0, 3, 331)
    for rows in (None, np.arange(100, 133), np.arange(9)):
        search = PairSearch(vectors, -1.0, rows=rows, shards=shards, options=CascadeOptions(memory_bytes=SMALL_CHUNKS))
        parts = [search.pairs(piece, search.answer(piece)) for piece in search.pieces]
        assert all(len(part) <= piece.size <= 48**2 for part, piece in zip(parts, search.pieces, strict=True))
        pairs = merge_pairs(parts)
        assert len(np.unique(pairs.a * 331 + pairs.b)) == len(pairs) == search.pair_count
        assert np.all(pairs.a < pairs.b)
    assert len(PairSearch(vectors, -1.0).pieces) == 1


def test_a_piece_has_one_answer_whatever_the_rest_of_the_search(rng: np.random.Generator) -> None:
    """Its key is the same where a shard beside it, the plan or the engine is another one, and so is its answer."""
    vectors, shards = clusters(rng, 220, 40).astype(np.float32), np.repeat(np.arange(5), 44)
    options = CascadeOptions(memory_bytes=SMALL_CHUNKS)
    first = PairSearch(vectors, 0.6, shards=shards, options=options)
    changed = np.insert(vectors, 90, vectors[:1] * np.float32(-1), axis=0)
    second = PairSearch(
        changed, 0.6, shards=np.insert(shards, 90, 2), options=replace(options, engine="float32", threads=1)
    )
    answers = {piece.key: sorted(zip(*first.answer(piece)[:3], strict=True)) for piece in first.pieces}
    same = [piece for piece in second.pieces if piece.key in answers]
    assert len(first.pieces) == len(second.pieces) == len({piece.key for piece in second.pieces}) == 15
    assert len(same) == 10
    for piece in same:
        assert sorted(zip(*second.answer(piece)[:3], strict=True)) == answers[piece.key]


def test_memory_maps_and_slices_are_searched_as_they_are(rng: np.random.Generator, tmp_path: Path) -> None:
    vectors = clusters(rng, 90, 40).astype(np.float32)
    np.save(tmp_path / "vectors.npy", vectors)
    expected = expected_pairs(vectors, 0.5)
    assert_same_pairs(find_pairs(np.load(tmp_path / "vectors.npy", mmap_mode="r"), 0.5), expected)
    assert_same_pairs(find_pairs(np.repeat(vectors, 2, axis=0)[::2], 0.5), expected)


@pytest.mark.parametrize("count", [0, 1])
def test_no_row_and_a_single_row_have_no_pairs(count: int) -> None:
    assert len(find_pairs(np.ones((count, 3), np.float32), -1.0)) == 0


def test_equal_vectors_have_equal_digests(rng: np.random.Generator) -> None:
    vectors = clusters(rng, 300, 48).astype(np.float32)
    digests = PairSearch(vectors, 0.9).digests
    assert len(np.unique(digests[:, 0])) == len(np.unique(digests[:, 1])) == 300
    np.testing.assert_array_equal(PairSearch(np.ascontiguousarray(vectors[::-1]), 0.9).digests[::-1], digests)
    changed = vectors.copy()
    changed[7, [2, 3]] = changed[7, [3, 2]]
    changed[8, 47] = np.nextafter(changed[8, 47], np.float32(9))
    differs = (PairSearch(changed, 0.9).digests != digests).any(axis=1)
    assert np.flatnonzero(differs).tolist() == [7, 8]
