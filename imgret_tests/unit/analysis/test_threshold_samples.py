"""Pairs just above and below a threshold, without duplicates, against all pairs written out."""

import numpy as np
import pytest

from imgret_assets.domain.analysis.threshold_samples import load_threshold_samples, samples_of
from imgret_assets.domain.duplicates.duplicates_table import refresh_duplicates
from imgret_assets.domain.embeddings.embeddings_table import refresh_embeddings
from imgret_assets.domain.images.manifest import refresh_manifest
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import StaleTableError
from imgret_tests.support.fake_model import FakeEmbedder
from imgret_tests.support.pictures import picture_bytes
from imgret_tests.support.tree import put
from imgret_tests.unit.analysis.sample_collections import labelled_collection, neighbours_of

SPACE = FakeEmbedder().space.id


@pytest.mark.parametrize("threshold", [-1.0, 0.3, 0.6, 1.0])
def test_the_pairs_nearest_to_the_threshold_come_first(rng: np.random.Generator, threshold: float) -> None:
    vectors, _ = labelled_collection(rng, 80)
    neighbours = neighbours_of(vectors, 10)
    sets = [f"{row // 2}" if row < 20 else f"alone{row}" for row in range(80)]
    samples = samples_of(neighbours.paths, neighbours.rows, neighbours.scores, sets)
    scores = {
        (min(a, b), max(a, b)): float(score)
        for a, row, values in zip(range(80), neighbours.rows.tolist(), neighbours.scores, strict=True)
        for b, score in zip(row, values, strict=True)
        if sets[a] != sets[b]
    }
    assert len(samples.scores) == len(scores)
    above = sorted(score for score in scores.values() if score > threshold)
    below = sorted((score for score in scores.values() if score <= threshold), reverse=True)
    for shown, expected in ((samples.above(threshold, 4), above), (samples.below(threshold, 4), below)):
        assert [pair.score for pair in shown[:1]] == pytest.approx(expected[:1])
        assert len(shown) == min(4, len(expected))
        images = [path for pair in shown for path in (pair.a, pair.b)]
        assert len(set(images)) == len(images)
        assert [pair.score for pair in shown] == sorted((pair.score for pair in shown), reverse=expected is below)
        for pair in shown:
            assert scores[int(pair.a), int(pair.b)] == pytest.approx(pair.score)


@pytest.mark.parametrize("count", [0, 1])
def test_without_neighbours_there_is_no_pair(count: int) -> None:
    rows = np.full((count, 3), -1, np.int32)
    samples = samples_of(["a.png"] * count, rows, np.full((count, 3), -np.inf), ["a"] * count)
    assert (samples.above(0.5, 3), samples.below(0.5, 3)) == ([], [])


def test_the_tables_are_read_and_must_be_current(built: Home) -> None:
    refresh_duplicates(built, SPACE)
    samples = load_threshold_samples(built, SPACE)
    assert (np.diff(samples.scores) >= 0).all()
    pairs = samples.above(-1.0, 3)
    assert len(pairs) == 3
    assert all(built.images.local(path).is_file() for pair in pairs for path in (pair.a, pair.b))
    put(built.images, "new.png", picture_bytes(77))
    refresh_manifest(built)
    refresh_embeddings(built, FakeEmbedder())
    with pytest.raises(StaleTableError, match="neighbours table is older"):
        load_threshold_samples(built, SPACE)
