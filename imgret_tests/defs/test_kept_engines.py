"""Dagster's SQLite storage: one engine for each of its files while a run is executed."""

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.storage.event_log.sqlite import sqlite_event_log
from dagster._core.storage.runs.sqlite import sqlite_run_storage

from imgret_assets.defs.instance.dagster_home import open_instance
from imgret_assets.defs.instance.kept_engines import kept_engines
from imgret_assets.settings import load_settings


@dg.asset
def twelve() -> int:
    return 12


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count the engines that Dagster makes, by the address of the file."""
    counted: Counter[str] = Counter()

    def counting(create: Callable[..., Any]) -> Callable[..., Any]:
        def create_engine(address: str, **options: Any) -> Any:
            counted[address] += 1
            return create(address, **options)

        return create_engine

    for module in (sqlite_event_log, sqlite_run_storage):
        monkeypatch.setattr(module, "create_engine", counting(module.create_engine))
    return counted


def test_a_run_makes_few_engines_and_later_ones_are_made_as_ever(tmp_path: Path, made: Counter[str]) -> None:
    settings = load_settings({"home": tmp_path / "home"}, env={"IMGRET_ENV_FILE": os.devnull})
    with kept_engines(), open_instance(settings) as instance:
        run = dg.materialize([twelve], instance=instance)
        event = instance.get_latest_materialization_event(dg.AssetKey("twelve"))
        assert event is not None
        assert event.run_id == run.run_id
    # One more with other options is that of a file's first opening.
    assert max(made.values()) <= 2, made
    assert sum(made.values()) <= 6, made
    within = sum(made.values())
    with open_instance(settings) as instance:
        assert [found.run_id for found in instance.get_runs()] == [run.run_id]
        assert len(instance.all_logs(run.run_id)) > 5
    assert sum(made.values()) > within
