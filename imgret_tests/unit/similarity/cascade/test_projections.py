"""Heads kept in a file: with them, or with what is left of them, a search of some rows finds what it finds without."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imgret_assets.domain.similarity.cascade import gpu_bounds, sieve
from imgret_assets.domain.similarity.cascade.bounds import Plan
from imgret_assets.domain.similarity.cascade.nearest_search import Nearest, NearestSearch, nearest
from imgret_assets.domain.similarity.cascade.pairs import Cascade, merged
from imgret_assets.domain.similarity.cascade.projections import Heads, digest_factors, read_heads, write_heads
from imgret_assets.domain.similarity.cascade.sieve import Options, Sieve
from imgret_assets.domain.similarity.neighbour_lists import Previous
from imgret_tests.unit.similarity.cascade.test_pairs import (
    assert_same,
    clusters,
    nearest_by_sorting,
    pairs_by_brute_force,
)

PLAN = Plan((15, 32), plain=False, shares=(0.1, 0.01))


@pytest.fixture
def vectors(rng: np.random.Generator) -> np.ndarray:
    return clusters(rng, 300, 48).astype(np.float32)


@pytest.fixture
def file(vectors: np.ndarray, tmp_path: Path) -> Path:
    """Heads of all but the last ten vectors."""
    path = tmp_path / "heads.npz"
    Cascade(vectors[:290], 0.9, options=Options(plan=PLAN, heads=path))
    assert path.is_file()
    return path


def filled(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many vectors are rotated, from here on."""
    counts: list[int] = []
    real = Sieve._fill_heads

    def counting(self: Sieve, places: np.ndarray, *others: np.ndarray) -> None:
        counts.append(len(places))
        real(self, places, *others)

    monkeypatch.setattr(Sieve, "_fill_heads", counting)
    return counts


def pairs_of(vectors: np.ndarray, rows: np.ndarray, file: Path) -> sieve.Found:
    search = Cascade(vectors, 0.9, rows=rows, options=Options(heads=file))
    assert search.plan == PLAN
    return merged(search.pairs_of(block) for block in search.blocks)


def test_only_new_vectors_are_rotated(vectors: np.ndarray, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = filled(monkeypatch)
    rows = np.arange(290, 300)
    assert_same(pairs_of(vectors, rows, file), pairs_by_brute_force(vectors, 0.9, rows))
    assert counts == [10]
    counts.clear()
    assert_same(pairs_of(vectors, rows, file), pairs_by_brute_force(vectors, 0.9, rows))
    assert counts == [], "the new ones are kept too"


def test_a_changed_vector_is_known_by_its_numbers(
    vectors: np.ndarray, file: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever asks need not say that it has changed; rows may also have other numbers than before."""
    now = vectors[rng.permutation(290)]
    now[17], now[40, 3] = -now[17], now[40, 3] + np.float32(0.25)
    counts = filled(monkeypatch)
    rows = np.array([3, 250])
    assert_same(pairs_of(now, rows, file), pairs_by_brute_force(now, 0.9, rows))
    assert counts == [2]


def test_heads_of_other_vectors_mostly_are_not_used(
    vectors: np.ndarray, file: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = vectors.copy()
    now[:160] = clusters(rng, 160, 48)
    counts = filled(monkeypatch)
    search = Cascade(now, 0.9, rows=[1, 2], options=Options(heads=file))
    assert sum(counts) in (0, 300)
    found = merged(search.pairs_of(block) for block in search.blocks)
    assert_same(found, pairs_by_brute_force(now, 0.9, np.array([1, 2])))


def test_a_damaged_file_costs_only_time(vectors: np.ndarray, file: Path) -> None:
    whole = file.read_bytes()
    for damaged in (b"", whole[: len(whole) // 2], b"x" * 100):
        file.write_bytes(damaged)
        assert read_heads(file, 48) is None
        found = Cascade(vectors, 0.9, rows=[5], options=Options(heads=file))
        expected = pairs_by_brute_force(vectors, 0.9, np.array([5]))
        assert_same(merged(found.pairs_of(block) for block in found.blocks), expected)
    file.write_bytes(whole)
    assert read_heads(file, 47) is None


def test_a_file_holds_what_was_written(rng: np.random.Generator, tmp_path: Path) -> None:
    heads = Heads(
        PLAN,
        rng.normal(size=(48, 32)).astype(np.float32),
        rng.integers(0, 2**64, (9, 2), dtype=np.uint64),
        rng.integers(-9, 9, (9, 32)).astype(np.int16),
        rng.integers(0, 9, (9, 2)).astype(np.int16),
    )
    write_heads(tmp_path / "heads.npz", heads)
    found = read_heads(tmp_path / "heads.npz", 48)
    assert found is not None
    assert found.plan == PLAN
    for name in ("basis", "digests", "coordinates", "rests"):
        np.testing.assert_array_equal(getattr(found, name), getattr(heads, name))
    wanted = np.concatenate([heads.digests[[4, 0]], heads.digests[:1] + np.uint64(1)])
    # Of one that agrees in the first hash alone nothing is taken.
    half = heads.digests[2:3] * np.array([[1, 0]], np.uint64)
    assert heads.rows_of(np.concatenate([wanted, half])).tolist() == [4, 0, -1, -1]


def test_digests_tell_vectors_apart(vectors: np.ndarray) -> None:
    def digests_of(rows: np.ndarray) -> np.ndarray:
        return Cascade(rows, 0.9).digests

    before = digests_of(vectors)
    assert len(np.unique(before[:, 0])) == len(np.unique(before[:, 1])) == 300
    np.testing.assert_array_equal(digests_of(np.ascontiguousarray(vectors[::-1]))[::-1], before)
    other = vectors.copy()
    other[7, [2, 3]] = other[7, [3, 2]]
    other[8, 47] = np.nextafter(other[8, 47], np.float32(9))
    assert np.flatnonzero((digests_of(other) != before).any(axis=1)).tolist() == [7, 8]
    assert digest_factors(48).shape == (2, 49)


# Lists with a reserve


def updated(vectors: np.ndarray, old: Nearest, gone: np.ndarray, fresh: np.ndarray) -> NearestSearch:
    """A search of 5, 8 kept, after rows of `gone` went; `fresh` ones changed."""
    kept = np.setdiff1d(np.arange(len(vectors)), gone)
    number = np.full(len(vectors) + 1, -1)
    number[kept] = np.arange(len(kept))
    given = Previous(number[old.rows[kept]], old.scores[kept], number[fresh])
    search = NearestSearch(np.ascontiguousarray(vectors[kept]), 8, wanted=5, previous=given)
    for block in search.blocks:
        search.step(block)
    return search


def test_a_list_that_loses_some_of_its_reserve_is_not_searched_anew(
    vectors: np.ndarray, rng: np.random.Generator
) -> None:
    old = nearest(vectors, 8)
    now = vectors.copy()
    for _ in range(4):
        gone, fresh = np.split(rng.choice(len(now), 7, replace=False), [4])
        gone, fresh = np.sort(gone), np.sort(fresh)
        now[fresh] = now[fresh][:, ::-1]
        search = updated(now, old, gone, fresh)
        now = np.ascontiguousarray(np.delete(now, gone, axis=0))
        count = len(now)
        assert search.compared < count * (count - 1) // 4
        old = search.result()
        expected = nearest_by_sorting(now, 8)
        there = old.rows >= 0
        assert there[:, :5].all()
        # Beyond what is known there is nothing, and what is known is right.
        assert np.all(there[:, :-1] >= there[:, 1:])
        np.testing.assert_array_equal(old.rows[there], expected.rows[there])
        np.testing.assert_array_equal(old.scores[there], expected.scores[there])
        assert np.all(old.scores[~there] == -np.inf)


def test_what_comes_after_the_last_that_is_known_stays_out() -> None:
    """Row 0 has lost its fourth; a new row is fifth: it mustn't stand in the fourth's place, where 5 should be."""
    angles = np.deg2rad([0, 1, 2, 3, 4, 5, 90, 91, 92, 93])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    rows = np.full((10, 4), -1)
    scores = np.full((10, 4), -np.inf)
    full = nearest(vectors, 4)
    rows[:], scores[:] = full.rows, full.scores
    rows[0, 2:] = -1
    now = np.concatenate([vectors, [[np.cos(np.deg2rad(6)), np.sin(np.deg2rad(6))]]]).astype(np.float32)
    previous = Previous(
        np.concatenate([rows, np.full((1, 4), -1)]), np.concatenate([scores, np.zeros((1, 4))]), np.array([10])
    )
    search = NearestSearch(now, 4, wanted=2, previous=previous)
    for block in search.blocks:
        search.step(block)
    assert search.result().rows[0].tolist() == [1, 2, -1, -1]
    assert search.result().rows[10].tolist() == [5, 4, 3, 2]


# torch


def test_too_little_memory_on_the_device_halves_the_tiles(vectors: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    sizes: list[int] = []
    real = torch.nonzero

    def scarce(passes: torch.Tensor, **named: Any) -> object:
        sizes.append(len(passes))
        if len(passes) > 40:
            raise torch.cuda.OutOfMemoryError("scarce")
        return real(passes, **named)

    monkeypatch.setattr(torch, "nonzero", scarce)
    search = Cascade(vectors, 0.9, options=Options(engine="cuda"))
    found = merged(search.pairs_of(block) for block in search.blocks)
    assert_same(found, pairs_by_brute_force(vectors, 0.9))
    assert sizes[0] == 300
    assert max(sizes[-8:]) <= 40
    assert sizes.count(300) < 5


def test_torch_is_asked_only_where_there_may_be_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    there = True
    monkeypatch.setattr(gpu_bounds.Path, "exists", lambda _: there)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert [gpu_bounds.engine_for(device) for device in ("auto", "cuda", "cpu", "mps")] == [
        "cuda",
        "cuda",
        None,
        None,
    ]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu_bounds.engine_for("auto") is None
    there = False
    monkeypatch.setattr(torch.cuda, "is_available", lambda: pytest.fail("it was asked"))
    assert gpu_bounds.engine_for("auto") is None
