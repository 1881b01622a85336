import numpy as np
import pytest

from imgret_assets.domain.images.crop import Crop
from imgret_assets.domain.search.query import QueryImage
from imgret_assets.domain.search.query_parts import (
    LESS_SHARE,
    QueryPart,
    QueryText,
    QueryVector,
    StoredImage,
    check_parts,
    combine_vectors,
    query_name,
)
from imgret_assets.errors import QueryError

A, B, C = (QueryImage(f"{name}.png", name.encode(), f"x/{name}.png") for name in "abc")


def more(*sources: QueryImage, weight: float = 1.0) -> list[QueryPart]:
    return [QueryPart(source, weight=weight) for source in sources]


def direction(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


def test_the_vector_of_one_part_is_unchanged(rng: np.random.Generator) -> None:
    vector = rng.normal(size=8).astype(np.float32)
    np.testing.assert_array_equal(combine_vectors(more(A), [vector]), vector)


def test_several_parts_are_the_mean_of_the_unit_vectors_whatever_their_lengths(rng: np.random.Generator) -> None:
    vectors = rng.normal(size=(3, 8)) * [[1], [10], [100]]
    combined = combine_vectors(more(A, B, C), list(vectors))
    expected = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).sum(axis=0)
    assert combined.dtype == np.float32
    np.testing.assert_allclose(direction(combined), direction(expected), atol=1e-6)
    assert np.linalg.norm(combined) == pytest.approx(np.linalg.norm(vectors, axis=1).mean(), rel=1e-6)


def test_weights_count_within_their_side(rng: np.random.Generator) -> None:
    vectors = rng.normal(size=(4, 8))
    parts = [QueryPart(A, weight=3), QueryPart(B, weight=1), QueryPart(C, less=True, weight=5)]
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    expected = (3 * unit[0] + unit[1]) / 4 - LESS_SHARE * unit[2]
    np.testing.assert_allclose(direction(combine_vectors(parts, list(vectors[:3]))), direction(expected), atol=1e-6)


def test_parts_that_cancel_out_are_an_error(rng: np.random.Generator) -> None:
    vector = rng.normal(size=8)
    with pytest.raises(QueryError, match="cancel out"):
        combine_vectors(more(A, B), [vector, -vector])


def test_a_query_needs_a_part_that_is_no_less() -> None:
    for parts in ([], [QueryPart(A, less=True)]):
        with pytest.raises(QueryError, match="nothing that the hits shall resemble"):
            check_parts(parts)


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (A, QueryImage("copy.png", A.data)),
        (A, StoredImage("x/a.png")),
        (QueryImage("copy.png", A.data), StoredImage("x/a.png")),
        (StoredImage("x/a.png"), StoredImage("x/a.png")),
        (QueryText("a  red Car"), QueryText("a red car")),
    ],
    ids=["content", "path", "content of the graph", "stored", "text"],
)
def test_the_same_on_both_sides_is_an_error_that_names_it(
    one: QueryImage | StoredImage | QueryText, two: QueryImage | StoredImage | QueryText
) -> None:
    contents = {"x/a.png": A.sha256}
    with pytest.raises(QueryError, match=f"{two.name} is on both sides"):
        check_parts([QueryPart(one), QueryPart(two, less=True)], contents)
    check_parts([QueryPart(one), QueryPart(two), QueryPart(B, less=True)], contents)


def test_two_parts_of_one_image_may_be_on_both_sides() -> None:
    check_parts([QueryPart(A, crop=Crop(0, 0, 5, 5)), QueryPart(A, less=True, crop=Crop(5, 0, 5, 5))])


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan"), float("inf")])
def test_a_weight_is_a_number_greater_than_zero(weight: float) -> None:
    with pytest.raises(QueryError, match=r"weight of a\.png"):
        check_parts([QueryPart(A, weight=weight)])


@pytest.mark.parametrize("source", [StoredImage("x/a.png"), QueryText("words"), QueryVector("v", np.ones(3))])
def test_only_an_image_file_has_a_crop(source: StoredImage | QueryText | QueryVector) -> None:
    with pytest.raises(QueryError, match="has a crop"):
        check_parts([QueryPart(source, crop=Crop(0, 0, 1, 1))])


def test_a_name_for_all_parts() -> None:
    assert query_name(more(A)) == "a.png"
    assert query_name([QueryPart(C, less=True), *more(A, B)]) == "a.png + b.png"
    assert query_name([*more(A, B, C, A), QueryPart(B, less=True)]) == "a.png + b.png + c.png and 1 more"


def test_a_part_is_described_with_its_crop() -> None:
    assert QueryPart(A, crop=Crop(1, 2, 3, 4)).as_json() == {
        "name": "a.png",
        "less": False,
        "weight": 1.0,
        "crop": "1,2,3,4",
    }
