"""Chunks, engines and threads of a comparison."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from imgret_assets.domain.similarity.cascade import CascadeOptions, NearestSearch, PairSearch, gpu_bounds, kernels
from imgret_assets.domain.similarity.cascade.plans import Plan
from imgret_assets.domain.similarity.cascade.preparation import PreparedVectors, Selection
from imgret_assets.domain.similarity.cascade.prepared_chunk import PreparedChunk
from imgret_assets.domain.similarity.cascade.sieve import Sieve, chunk_rows, fastest_engine, pairs_of_rows
from imgret_assets.domain.similarity.pair_arrays import merge_pairs
from imgret_assets.domain.similarity.pieces.work import compared_chunks
from imgret_assets.errors import SettingError
from imgret_assets.locations import PROJECT
from imgret_tests.support.vector_sets import assert_same_pairs, clusters, expected_pairs, spread
from imgret_tests.unit.similarity.cascade.searches import SMALL_CHUNKS, all_lists, find_pairs, plans_for


@pytest.mark.parametrize(
    ("features", "engine"),
    [({"avx2", "avx512bf16", "amx-bf16"}, "int16"), ({"avx2"}, "int16"), (set(), "float32")],
)
def test_the_fastest_engine_follows_the_cpu(monkeypatch: pytest.MonkeyPatch, features: set[str], engine: str) -> None:
    monkeypatch.setattr(kernels, "cpu_features", lambda: frozenset(features))
    assert fastest_engine("cpu") == engine


def test_a_gpu_is_the_fastest_engine_where_the_setting_allows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_bounds, "gpu_is_usable", lambda device: device == "auto")
    assert fastest_engine("auto") == "cuda"
    assert fastest_engine("cpu") != "cuda"


def test_an_unknown_engine_is_an_error(rng: np.random.Generator) -> None:
    vectors = spread(rng, 20, 32).astype(np.float32)
    with pytest.raises(SettingError, match=r"Unknown engine 'int8'\. Expected: int16, float32, cuda"):
        PairSearch(vectors, 0.5, options=CascadeOptions(engine="int8"))


SEARCH_ON_ANOTHER_CPU = """
import sys
import numpy as np
from imgret_assets.domain.similarity.cascade import kernels
from imgret_tests.unit.similarity.cascade.searches import find_pairs
assert not kernels.cpu_features()
found = find_pairs(np.load(sys.argv[1]), 0.8, engine="int16")
np.savez(sys.argv[2], a=found.a, b=found.b, scores=found.scores)
"""


def test_int16_compiled_for_a_cpu_without_avx2_finds_the_same_pairs(rng: np.random.Generator, tmp_path: Path) -> None:
    vectors = clusters(rng, 300, 64).astype(np.float32)
    np.save(tmp_path / "vectors.npy", vectors)
    command = [sys.executable, "-c", SEARCH_ON_ANOTHER_CPU, str(tmp_path / "vectors.npy"), str(tmp_path / "found.npz")]
    environment = os.environ | {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}
    subprocess.run(command, check=True, cwd=PROJECT, env=environment)
    expected = find_pairs(vectors, 0.8, engine="float32")
    assert len(expected)
    with np.load(tmp_path / "found.npz") as found:
        np.testing.assert_array_equal(found["a"], expected.a)
        np.testing.assert_array_equal(found["b"], expected.b)
        np.testing.assert_array_equal(found["scores"], expected.scores)


@pytest.mark.parametrize("engine", ["int16", "float32"])
def test_one_thread_includes_the_threads_of_libraries(rng: np.random.Generator, engine: str) -> None:
    """Other threads of this process use hardly any processor time meanwhile."""
    vectors = clusters(rng, 4000, 512).astype(np.float32)
    options = CascadeOptions(engine=engine, threads=1)
    find_pairs(vectors[:100], 0.9, engine=engine, threads=1)
    process, thread = time.process_time(), time.thread_time()
    find_pairs(vectors, 0.9, engine=engine, threads=1)
    all_lists(NearestSearch(vectors, 3, options=options))
    of_process, of_thread = time.process_time() - process, time.thread_time() - thread
    assert of_thread > 0.3
    assert of_process - of_thread < 0.1 * of_thread


def test_a_threshold_of_each_position_applies_to_its_pairs(rng: np.random.Generator) -> None:
    """The lower one of two positions counts."""
    vectors = np.abs(spread(rng, 100, 8)).astype(np.float32)
    for engine in ("int16", "float32", "cuda"):
        prepared = PreparedVectors(vectors, Selection(50), lambda *_: 0.5, 8, engine, CascadeOptions())
        sieve = Sieve(prepared.bounds, 2)
        first, second = (prepared.chunk(chunk) for chunk in prepared.chunks)
        thresholds = np.full(50, 2.0)
        thresholds[17] = -1.0
        among_first = sieve.search(first, first, thresholds, thresholds)
        assert sorted(zip(among_first.left.tolist(), among_first.right.tolist(), strict=True)) == [
            *((row, 17) for row in range(17)), *((17, row) for row in range(18, 50)),
        ]  # fmt: skip
        for left_thresholds, right_thresholds in ((thresholds, np.full(50, 2.0)), (np.full(50, 2.0), thresholds)):
            answer = sieve.search(first, second, left_thresholds, right_thresholds)
            columns = (answer.left, answer.right)
            named, others = columns if left_thresholds is thresholds else columns[::-1]
            assert set(named.tolist()) == {17}
            assert sorted(others.tolist()) == list(range(50))


@pytest.mark.parametrize("engine", ["int16", "float32", "cuda"])
@pytest.mark.parametrize("plan", plans_for(48)[:3])
def test_two_chunks_are_compared_without_the_rest_of_their_search(
    rng: np.random.Generator, engine: str, plan: Plan
) -> None:
    """Each with its vectors alone, in an array of its own, as on another machine."""
    vectors = clusters(rng, 130, 48).astype(np.float32)
    prepared = PreparedVectors(vectors, Selection(50), lambda *_: 0.5, 48, engine, CascadeOptions(plan=plan))
    apart = [alone(prepared.chunk(chunk)) for chunk in prepared.chunks]
    found = []
    for left, right in compared_chunks(prepared.chunks, 3):
        sides = apart[left.number], apart[right.number]
        answer = Sieve(prepared.bounds, 1).search(*sides, *(np.full(len(chunk), 0.6) for chunk in sides))
        found.append(pairs_of_rows(prepared.order[left.places], prepared.order[right.places], answer))
    assert len(found) == 6
    assert_same_pairs(merge_pairs(found), expected_pairs(vectors, 0.6))


def alone(chunk: PreparedChunk) -> PreparedChunk:
    vectors = chunk.vectors[chunk.rows]
    vectors.flags.writeable = False
    rows, norms = np.arange(len(chunk)), chunk.norms[chunk.rows]
    return PreparedChunk(vectors, rows, norms, chunk.coordinates.copy(), chunk.residual_norms.copy())


def test_a_chunk_fits_the_memory_even_if_every_pair_passes() -> None:
    assert chunk_rows(SMALL_CHUNKS) == 48
    assert chunk_rows(1) == 16
    assert chunk_rows(2 << 30) == 3856
    assert chunk_rows(1 << 40) == 4096
