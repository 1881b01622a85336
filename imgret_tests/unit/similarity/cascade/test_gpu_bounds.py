"""The code for a GPU, run by torch on the CPU."""

from typing import Any

import numpy as np
import pytest

from imgret_assets.domain.runtime import gpus
from imgret_assets.domain.similarity.cascade import CascadeOptions, PairSearch, gpu_bounds
from imgret_tests.support.vector_sets import assert_same_pairs, clusters, expected_pairs
from imgret_tests.unit.similarity.cascade.searches import SMALL_CHUNKS, all_pairs


def test_too_little_memory_on_the_gpu_halves_the_tiles(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    vectors = clusters(rng, 300, 48).astype(np.float32)
    sizes: list[int] = []
    real = torch.nonzero

    def with_little_memory(passes: torch.Tensor, **named: Any) -> object:
        sizes.append(len(passes))
        if len(passes) > 40:
            raise torch.cuda.OutOfMemoryError("too large")
        return real(passes, **named)

    monkeypatch.setattr(torch, "nonzero", with_little_memory)
    search = PairSearch(vectors, 0.9, options=CascadeOptions(engine="cuda"))
    assert_same_pairs(all_pairs(search), expected_pairs(vectors, 0.9))
    assert sizes[0] == 300
    assert max(sizes[-8:]) <= 40
    assert sizes.count(300) < 5


@pytest.mark.parametrize("failing", ["an operand", "a tile of one row"])
def test_the_cpu_goes_on_where_the_gpu_has_no_memory_at_all(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, failing: str
) -> None:
    """In the middle of the search, after blocks that the GPU has done."""
    import torch

    vectors = clusters(rng, 200, 48).astype(np.float32)
    search = PairSearch(vectors, 0.9, options=CascadeOptions(engine="cuda", memory_bytes=SMALL_CHUNKS))
    owner, name = (gpu_bounds, "operand") if failing == "an operand" else (torch, "nonzero")
    real, calls = getattr(owner, name), []

    def with_memory_for_a_while(*given: Any, **named: Any) -> object:
        calls.append(name)
        if len(calls) > 3:
            raise torch.cuda.OutOfMemoryError("too large")
        return real(*given, **named)

    monkeypatch.setattr(owner, name, with_memory_for_a_while)
    assert_same_pairs(all_pairs(search), expected_pairs(vectors, 0.9))
    assert len(calls) > 3
    assert [record.message for record in caplog.records] == [
        "The GPU's memory is too small to compare vectors. The CPU compares them, which takes longer."
    ]


def test_any_other_error_of_the_gpu_is_raised(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("device-side assert")

    monkeypatch.setattr(torch, "nonzero", fail)
    search = PairSearch(clusters(rng, 60, 48).astype(np.float32), 0.9, options=CascadeOptions(engine="cuda"))
    with pytest.raises(RuntimeError, match="device-side assert"):
        all_pairs(search)


def test_a_product_that_reaches_a_cutoff_passes() -> None:
    rows = np.array([[2048.0, 0.0], [0.0, 4096.0]], np.float32)
    operand = gpu_bounds.operand(rows)
    tiles = gpu_bounds.passing_tiles(operand, operand, np.array([4.0, 17.0]) * 2**20, np.array([5.0, 17.0]) * 2**20, 1)
    assert [(r.tolist(), c.tolist(), size) for r, c, size in tiles] == [([0], [0], 1), ([], [], 1)]


@pytest.mark.parametrize("allowed", [True, False])
def test_sums_are_float32_and_the_settings_of_the_process_come_back(allowed: bool) -> None:
    import torch

    matmul = torch.backends.cuda.matmul
    names = ("allow_fp16_accumulation", "allow_fp16_reduced_precision_reduction")
    # Not by monkeypatch: torch's module has the attributes by __getattr__ and none to delete.
    defaults = [getattr(matmul, name) for name in names]
    operand = gpu_bounds.operand(np.ones((2, 4), np.float32))
    try:
        for name in names:
            setattr(matmul, name, allowed)
        for _ in gpu_bounds.passing_tiles(operand, operand, np.zeros(2), np.zeros(2), 2):
            assert [getattr(matmul, name) for name in names] == [False, False]
        assert [getattr(matmul, name) for name in names] == [allowed, allowed]
    finally:
        for name, value in zip(names, defaults, strict=True):
            setattr(matmul, name, value)


def test_torch_is_imported_only_where_there_may_be_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    has_driver = True
    monkeypatch.setattr(gpus.Path, "exists", lambda _: has_driver)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    usable = [gpu_bounds.gpu_is_usable(device) for device in ("auto", "cuda", "cpu", "mps")]
    assert usable == [True, True, False, False]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert not gpu_bounds.gpu_is_usable("auto")
    has_driver = False
    monkeypatch.setattr(torch.cuda, "is_available", lambda: pytest.fail("torch was asked"))
    assert not gpu_bounds.gpu_is_usable("auto")
