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


@pytest.mark.parametrize(("first", "count", "bound"), [(0, 1, {2}), (1, 2, {3, 5}), (2, 2, {5, 2}), (4, 1, {3})])
def test_a_process_keeps_to_some_of_its_processors(
    monkeypatch: pytest.MonkeyPatch, first: int, count: int, bound: set[int]
) -> None:
    chosen: list[set[int]] = []
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {2, 3, 5}, raising=False)
    monkeypatch.setattr(os, "sched_setaffinity", lambda _, processors: chosen.append(processors), raising=False)
    cpu.bind_to_processors(first, count)
    assert chosen == [bound]


def test_a_process_that_may_use_all_of_its_processors_is_not_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {2, 3, 5}, raising=False)
    monkeypatch.delattr(os, "sched_setaffinity", raising=False)
    cpu.bind_to_processors(0, 3)
    monkeypatch.setattr(os, "sched_setaffinity", lambda *_: pytest.fail("bound"), raising=False)
    cpu.bind_to_processors(0, 3)
