"""The number of threads that can run at once."""

import os

import pytest

from imgret_assets.domain.runtime import cpu


@pytest.mark.parametrize(("limit", "threads"), [(None, 8), (0.2, 1), (1.0, 1), (1.5, 2), (4.0, 4), (7.2, 8), (64.0, 8)])
def test_a_quota_bounds_the_threads(monkeypatch: pytest.MonkeyPatch, limit: float | None, threads: int) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(cpu, "cpu_limit", lambda: limit)
    assert cpu.usable_threads() == threads


def test_without_affinity_all_processors_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on macOS."""
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    monkeypatch.setattr(cpu, "cpu_limit", lambda: None)
    assert cpu.usable_threads() == 6
