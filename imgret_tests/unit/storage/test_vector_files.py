"""Room for all vectors: in memory, or in a file without a name."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from imgret_assets.domain.storage import vector_files
from imgret_assets.domain.storage.vector_files import empty_vectors
from imgret_assets.errors import DiskFullError


@pytest.mark.parametrize("memory", [799, 800])
def test_vectors_that_take_more_than_half_of_the_memory_are_in_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory: int
) -> None:
    monkeypatch.setattr(vector_files, "usable_memory_bytes", lambda: memory)
    vectors = empty_vectors(tmp_path / "work", (25, 4))
    assert isinstance(vectors, np.memmap) == (memory == 799)
    vectors[:] = np.arange(100).reshape(25, 4)
    assert (vectors.dtype, vectors[24].tolist()) == (np.float32, [96, 97, 98, 99])
    assert list(tmp_path.rglob("*.*")) == []


def test_no_vectors_need_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vector_files, "usable_memory_bytes", lambda: 0)
    assert empty_vectors(tmp_path, (0, 4)).shape == (0, 4)


def test_a_full_disk_is_an_error_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(vector_files, "usable_memory_bytes", lambda: 0)
    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    with pytest.raises(DiskFullError, match="No room"):
        empty_vectors(tmp_path, (25, 4))


def test_room_is_taken_where_the_system_can_not_reserve_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vector_files, "usable_memory_bytes", lambda: 0)
    monkeypatch.delattr(os, "posix_fallocate", raising=False)
    vectors = empty_vectors(tmp_path, (300_000, 4))
    assert (vectors.shape, float(vectors.sum())) == ((300_000, 4), 0.0)
