"""Whether there may be a GPU, and whether it has run out of memory."""

import pytest
import torch

from imgret_assets.domain.runtime import gpus


@pytest.mark.parametrize("driver", ["/dev/nvidiactl", "/dev/kfd", "/dev/dxg", None])
def test_a_gpu_is_possible_where_there_is_a_driver(monkeypatch: pytest.MonkeyPatch, driver: str | None) -> None:
    monkeypatch.setattr(gpus.Path, "exists", lambda self: str(self) == driver)
    assert gpus.has_driver() is (driver is not None)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("anything"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_too_little_memory_is_told_from_other_errors(error: RuntimeError) -> None:
    assert gpus.is_out_of_memory(error)
    assert not gpus.is_out_of_memory(RuntimeError("CUDA error: device-side assert triggered"))
