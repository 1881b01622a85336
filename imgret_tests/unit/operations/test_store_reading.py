"""Readers and a store: newer tables are taken now and then, and a store that is away stops nobody who has tables."""

import time
from dataclasses import replace
from pathlib import Path

import pytest

from imgret_assets.domain.operations import store_reading, table_store
from imgret_assets.domain.operations.store_reading import CHECK_EVERY_S, store_note, take_newer_tables, watch_store
from imgret_assets.domain.operations.table_store import store_session
from imgret_assets.domain.storage import locks, pull_swap
from imgret_assets.domain.storage.home import Home, open_home
from imgret_assets.domain.storage.home_record import read_record
from imgret_assets.errors import StoreError, UnreachableStoreError
from imgret_assets.settings import Settings
from imgret_tests.support.memory_bucket import ADDRESS, MemoryBucket


class Clock:
    """Seconds that a test lets pass."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s

    def wait(self) -> None:
        self.now_s += CHECK_EVERY_S


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def bucket(any_tables: None, monkeypatch: pytest.MonkeyPatch) -> MemoryBucket:
    del any_tables
    bucket = MemoryBucket()
    monkeypatch.setattr(table_store, "open_bucket", lambda url: bucket)
    monkeypatch.setattr(store_reading, "open_bucket", lambda url, *, brief: bucket)
    return bucket


@pytest.fixture
def writer(settings: Settings) -> Settings:
    return replace(settings, store=ADDRESS)


@pytest.fixture
def reader(writer: Settings, tmp_path: Path) -> Settings:
    return replace(writer, home=tmp_path / "reader", dagster_home=tmp_path / "reader" / "dagster")


def table(home: Home) -> Path:
    return home.warehouse / "pairs" / "model=any" / "pairs.parquet"


def commit(settings: Settings, text: str) -> None:
    with store_session(settings, "a test") as session:
        assert session is not None
        file = table(open_home(settings))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        session.publish()


def fail(key: str, *, unless: str | None = None) -> None:
    raise UnreachableStoreError("The store can't be reached: s3://bucket/tables")


def test_a_reader_asks_now_and_then_and_takes_what_is_newer(
    bucket: MemoryBucket, writer: Settings, reader: Settings, clock: Clock
) -> None:
    commit(writer, "one")
    take_newer_tables(reader, clock=clock)
    assert table(open_home(reader)).read_text() == "one"
    commit(writer, "two")
    take_newer_tables(reader, clock=clock)
    assert table(open_home(reader)).read_text() == "one", "it has asked a moment ago"
    clock.wait()
    take_newer_tables(reader, clock=clock)
    assert table(open_home(reader)).read_text() == "two"
    clock.wait()
    bucket.operations.clear()
    take_newer_tables(reader, clock=clock)
    assert bucket.operations == ["read CURRENT"], "one small question where nothing has changed"
    assert store_note(reader) == ""


def test_a_store_that_is_away_is_noted_and_the_tables_are_read(
    bucket: MemoryBucket, writer: Settings, reader: Settings, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit(writer, "one")
    take_newer_tables(reader, clock=clock)
    clock.wait()
    with monkeypatch.context() as patch:
        patch.setattr(bucket, "read", fail)
        take_newer_tables(reader, clock=clock)
    assert table(open_home(reader)).read_text() == "one"
    assert store_note(reader).startswith("the tables are of 20")
    assert "can't be reached: s3://bucket/tables" in store_note(reader)
    clock.wait()
    take_newer_tables(reader, clock=clock)
    assert store_note(reader) == ""


def test_a_server_takes_tables_in_a_thread_until_it_ends(
    bucket: MemoryBucket, writer: Settings, reader: Settings
) -> None:
    commit(writer, "one")
    watched = watch_store(reader)
    try:
        assert watch_store(reader) is watched
        deadline_s = time.monotonic() + 30
        while pull_swap.read_base(reader.home) is None:
            assert time.monotonic() < deadline_s
            time.sleep(0.01)
        assert table(open_home(reader)).read_text() == "one"
    finally:
        watched.set()
    assert watch_store(replace(reader, store=None)) is not watched


def test_without_a_home_the_failure_is_the_answer(
    bucket: MemoryBucket, reader: Settings, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bucket, "read", fail)
    with pytest.raises(UnreachableStoreError):
        take_newer_tables(reader, clock=clock)
    assert not reader.home.exists()


def test_while_a_run_is_at_work_a_reader_leaves_the_tables_to_it(
    bucket: MemoryBucket, writer: Settings, reader: Settings, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_reading, "LOCK_TIMEOUT_S", 0.0)
    commit(writer, "one")
    with locks.hold(reader.home / "locks", [locks.STORE], timeout_s=0, purpose="a run"):
        take_newer_tables(reader, clock=clock)
        assert read_record(reader.home) is None
    clock.wait()
    take_newer_tables(reader, clock=clock)
    assert table(open_home(reader)).read_text() == "one"


def test_a_home_without_tables_becomes_that_of_the_store_and_another_is_left_alone(
    bucket: MemoryBucket, writer: Settings, reader: Settings, clock: Clock
) -> None:
    commit(writer, "one")
    made_by_setup = open_home(reader)
    take_newer_tables(reader, clock=clock)
    assert made_by_setup.record.id != open_home(reader).record.id == open_home(writer).record.id
    other = replace(reader, home=reader.home.with_name("other"))
    file = table(open_home(other))
    file.parent.mkdir(parents=True)
    file.write_text("its own")
    take_newer_tables(other, clock=clock)
    assert "another home" in store_note(other)
    assert file.read_text() == "its own"
    with pytest.raises(StoreError, match="another home"), store_session(other, "a test"):
        pass
