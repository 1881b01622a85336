"""What comparing two chunks takes."""

import numpy as np
import pytest

from imgret_assets.domain.similarity.cascade import CascadeOptions
from imgret_assets.domain.similarity.cascade.bounds import SCALE
from imgret_assets.domain.similarity.cascade.plans import Plan
from imgret_assets.domain.similarity.cascade.preparation import PreparedVectors, Selection
from imgret_tests.support.vector_sets import clusters
from imgret_tests.unit.similarity.cascade.searches import PLAIN


def prepare(vectors: np.ndarray, plan: Plan) -> PreparedVectors:
    shards = np.arange(len(vectors)) % 2
    return PreparedVectors(
        vectors, Selection(40, shards=shards), lambda *_: 0.5, 64, "int16", CascadeOptions(plan=plan)
    )


@pytest.mark.parametrize("plan", [PLAIN, Plan((15, 48), plain=False)])
def test_a_chunk_holds_no_copy(rng: np.random.Generator, plan: Plan) -> None:
    vectors = clusters(rng, 150, 70).astype(np.float32)
    prepared = prepare(vectors, plan)
    assert [len(chunk) for chunk in prepared.chunks] == [38, 37, 38, 37]
    chunk = prepared.chunk(prepared.chunks[1])
    assert chunk.rows.tolist() == list(range(76, 150, 2))
    for of_chunk, of_all in (
        (chunk.vectors, vectors),
        (chunk.rows, prepared.order),
        (chunk.coordinates, prepared.coordinates),
        (chunk.residual_norms, prepared.residual_norms),
    ):
        assert not of_all.size or np.shares_memory(of_chunk, of_all)


def test_the_first_bound_takes_the_coordinates_of_the_plan(rng: np.random.Generator) -> None:
    vectors = clusters(rng, 150, 70).astype(np.float32)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    for plan in (PLAIN, Plan((15, 48), plain=False)):
        prepared = prepare(vectors, plan)
        chunk = prepared.chunk(prepared.chunks[2])
        integers, residual_norms = chunk.first_integers(prepared.bounds.plan, 2)
        if plan.plain:
            assert np.abs(integers[:, :70] / SCALE - unit[chunk.rows]).max() < 0.51 / SCALE
            assert len(residual_norms) == 0
        else:
            np.testing.assert_array_equal(integers, prepared.coordinates[75:113])
            np.testing.assert_array_equal(residual_norms, prepared.residual_norms[75:113, 0])
