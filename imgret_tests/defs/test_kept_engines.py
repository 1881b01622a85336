"""Dagster's SQLite storage: one engine and connection for each of its files while a run is executed."""

import os
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from sqlite3 import dbapi2
from typing import Any

import dagster as dg
import psutil
import pytest
from dagster._core.storage.event_log.sqlite import sqlite_event_log
from dagster._core.storage.runs.sqlite import sqlite_run_storage

from imgret_assets.defs.instance.dagster_home import open_instance
from imgret_assets.defs.instance.kept_engines import MAX_OPEN, kept_engines
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


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count the connections that are opened, by the name of the file."""
    counted: Counter[str] = Counter()
    connect = dbapi2.connect

    def counting(database: str, *arguments: Any, **options: Any) -> sqlite3.Connection:
        counted[Path(database).name] += 1
        return connect(database, *arguments, **options)

    monkeypatch.setattr(dbapi2, "connect", counting)
    return counted


def open_files(folder: Path) -> list[str]:
    return [file.path for file in psutil.Process().open_files() if Path(file.path).is_relative_to(folder)]


def test_connections_stay_open_until_the_end_of_the_block(tmp_path: Path, connections: Counter[str]) -> None:
    settings = load_settings({"home": tmp_path / "home"}, env={"IMGRET_ENV_FILE": os.devnull})
    with open_instance(settings):
        pass
    connections.clear()
    with kept_engines(), open_instance(settings) as instance:
        first = dg.materialize([twelve], instance=instance).run_id
        assert max(connections[name] for name in (f"{first}.db", "index.db", "runs.db")) <= 3, connections
        # Another process can read and write meanwhile.
        reading = f"import sqlite3; db = sqlite3.connect({str(settings.dagster_home / 'history' / 'runs.db')!r}); "
        reading += "print(db.execute('update runs set mode = 1').rowcount); db.commit()"
        done = subprocess.run([sys.executable, "-c", reading], capture_output=True, text=True, check=True)
        assert done.stdout == "1\n"
        runs = [dg.materialize([twelve], instance=instance).run_id for _ in range(MAX_OPEN + 2)]
        assert len({name for name in open_files(settings.dagster_home) if name.endswith(".db")}) <= MAX_OPEN + 1
        assert {run.run_id for run in instance.get_runs()} == {first, *runs}
    assert open_files(settings.dagster_home) == []
    assert not list(settings.dagster_home.rglob("*-wal")), "closing the last connection moves all into the file"


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


def test_commits_wait_for_the_disk_at_checkpoints_only(tmp_path: Path) -> None:
    settings = load_settings({"home": tmp_path}, env={"IMGRET_ENV_FILE": os.devnull})
    with kept_engines(), open_instance(settings) as instance:
        result = dg.materialize([twelve], instance=instance)
        storage = instance.event_log_storage
        assert isinstance(storage, sqlite_event_log.SqliteEventLogStorage)
        for connected in (storage.run_connection(result.run_id), storage.index_connection()):
            with connected as connection:
                values = [
                    connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("synchronous", "journal_mode")
                ]
                assert values == [1, "wal"]
    with open_instance(settings) as instance:
        storage = instance.event_log_storage
        assert isinstance(storage, sqlite_event_log.SqliteEventLogStorage)
        with storage.index_connection() as connection:
            assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
