"""The gain of re-ranking: query images are never in the collection that is searched."""

import numpy as np
import pytest

from imgret_assets.domain.analysis import rerank_gain
from imgret_assets.domain.analysis.rerank_gain import Gain, measure_gain
from imgret_assets.domain.similarity.brute_force import nearest_neighbours


def test_large_families_gain(rng: np.random.Generator) -> None:
    family = np.repeat(np.arange(5), 30)
    vectors = (rng.normal(size=(5, 24))[family] + 1.7 * rng.normal(size=(150, 24))).astype(np.float32)
    contents = [f"content{row}" for row in range(150)]
    labels: list[str | None] = [f"label{number}" for number in family]
    gain = measure_gain(vectors, contents, labels)
    assert gain is not None
    assert gain.queries == 150
    assert gain.helps
    assert gain.average_reranked > gain.average + 0.05
    assert gain.first_reranked == gain.first
    # Exact duplicates are in one fold: no image is found by its duplicate.
    twice = [row for row in range(150) for _ in range(2)]
    duplicated = measure_gain(vectors[twice], [contents[row] for row in twice], [labels[row] for row in twice])
    assert duplicated is not None
    assert duplicated.first == pytest.approx(gain.first, abs=0.1)


def test_no_query_image_is_in_the_searched_collection(rng: np.random.Generator) -> None:
    """Random labels are found by chance; a query image that found itself would always be right."""
    vectors = rng.normal(size=(100, 8)).astype(np.float32)
    gain = measure_gain(vectors, [str(row) for row in range(100)], [f"label{row % 10}" for row in range(100)])
    assert gain is not None
    assert max(gain.first, gain.first_reranked) < 0.3


def test_one_search_of_all_images_equals_a_search_for_each_fold(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the first search gives too few neighbours, the images outside each fold are searched again."""
    vectors = rng.normal(size=(80, 6)).astype(np.float32)
    contents, labels = [str(row) for row in range(80)], [f"label{row % 3}" for row in range(80)]
    gain = measure_gain(vectors, contents, labels)
    searches: list[int] = []

    def search(vectors: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        searches.append(len(vectors))
        return nearest_neighbours(vectors, k if len(vectors) < 80 else 1)

    monkeypatch.setattr(rerank_gain, "nearest_neighbours", search)
    assert measure_gain(vectors, contents, labels) == gain
    assert searches == [80, *[72] * 10]


def test_without_labels_or_images_there_is_nothing_to_measure(rng: np.random.Generator) -> None:
    vectors = rng.normal(size=(40, 4)).astype(np.float32)
    contents = [str(row) for row in range(40)]
    assert measure_gain(vectors, contents, [None] * 40) is None
    assert measure_gain(vectors[:10], contents[:10], ["a"] * 10) is None


@pytest.mark.parametrize(
    ("gain", "helps"),
    [
        (Gain(0.5, 0.5, 0.40, 0.42, 100), True),
        (Gain(0.5, 0.5, 0.40, 0.405, 100), False),
        (Gain(0.5, 0.49, 0.40, 0.5, 100), False),
    ],
)
def test_a_gain_must_exceed_chance_and_lose_no_first_hit(gain: Gain, helps: bool) -> None:
    assert gain.helps == helps
