"""The memory that this process may use."""

import psutil
import pytest

from imgret_assets.domain.runtime import memory


@pytest.mark.parametrize(("limit", "usable"), [(None, None), (2**63 - 4096, None), (2**20, 2**20)])
def test_a_limit_below_the_machine_s_memory_counts(
    monkeypatch: pytest.MonkeyPatch, limit: int | None, usable: int | None
) -> None:
    monkeypatch.setattr(memory, "memory_limit_bytes", lambda: limit)
    assert memory.usable_memory_bytes() == (usable or psutil.virtual_memory().total)
