"""Blocks, engines and threads of a search."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from imgret_assets.domain.similarity.cascade import CascadeOptions, NearestSearch, PairSearch, gpu_bounds, kernels
from imgret_assets.domain.similarity.cascade.sieve import Block, Sieve, fastest_engine, pairs_of_rows
from imgret_assets.errors import SettingError
from imgret_assets.locations import PROJECT
from imgret_tests.support.vector_sets import clusters, spread
from imgret_tests.unit.similarity.cascade.searches import SMALL_BLOCKS, all_lists, find_pairs


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


def test_a_row_is_on_one_side_of_a_block_only_where_it_is_chosen(rng: np.random.Generator) -> None:
    vectors = spread(rng, 130, 8).astype(np.float32)
    rows = np.array([100, 3, 50])
    sieve = Sieve(vectors, rows, lambda *_: 0.5, 8, CascadeOptions(memory_bytes=SMALL_BLOCKS))
    blocks = sieve.blocks()
    assert blocks == [Block(0, (0, 3), (0, 48)), Block(1, (0, 3), (48, 96)), Block(2, (0, 3), (96, 130))]
    assert sieve.prepared.order[:3].tolist() == [3, 50, 100]
    assert [block.size for block in blocks] == [144, 144, 102]


def test_a_threshold_of_each_place_applies_to_its_pairs(rng: np.random.Generator) -> None:
    """The lower one of two places counts."""
    vectors = np.abs(spread(rng, 100, 8)).astype(np.float32)
    for engine in ("int16", "float32", "cuda"):
        sieve = Sieve(vectors, None, lambda *_: 0.5, 8, CascadeOptions(engine=engine))
        thresholds = np.full(100, 2.0)
        thresholds[17] = -1.0
        pairs = pairs_of_rows(sieve.search(sieve.blocks()[0], thresholds), sieve.prepared.order)
        assert len(pairs) == 99
        assert np.all((pairs.a == 17) | (pairs.b == 17))
