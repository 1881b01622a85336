"""Tables in a store: what a run takes and commits, two machines in turn, and a process that dies at any operation."""

import hashlib
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from imgret_assets.domain.embeddings.embeddings_table import refresh_embeddings
from imgret_assets.domain.images.manifest import refresh_manifest
from imgret_assets.domain.operations import table_store
from imgret_assets.domain.operations.table_store import Published, describe_store, store_session
from imgret_assets.domain.review.decision_log import read_decisions, record, verify_decisions
from imgret_assets.domain.review.decisions import NOT_DUPLICATES, File, SetDecision
from imgret_assets.domain.storage import pull_swap, tables
from imgret_assets.domain.storage.home import Home, open_home
from imgret_assets.errors import ChangedObjectError, StoreError, UnreachableStoreError
from imgret_assets.settings import Settings
from imgret_tests.support.fake_model import FakeEmbedder
from imgret_tests.support.memory_bucket import ADDRESS, KilledError, MemoryBucket
from imgret_tests.support.pictures import picture_bytes, write_pictures


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> MemoryBucket:
    """An empty store, which every session of the test opens."""
    bucket = MemoryBucket()
    monkeypatch.setattr(table_store, "open_bucket", lambda url: bucket)
    return bucket


@pytest.fixture
def first(settings: Settings) -> Settings:
    """A machine of whose home the store knows nothing."""
    return replace(settings, store=ADDRESS)


@pytest.fixture
def second(first: Settings, tmp_path: Path) -> Settings:
    """Another machine with the same images and an empty home."""
    return replace(first, home=tmp_path / "second" / "home", dagster_home=tmp_path / "second" / "dagster")


def names_in(home: Home) -> list[str]:
    file = home.warehouse / "pairs" / "model=any" / "pairs.parquet"
    return file.read_text().split() if file.is_file() else []


def run_with(settings: Settings, name: str) -> Published:
    """A run that adds a name to one table, writes a second one by its number, and removes that of the number before."""
    with store_session(settings, "a test") as session:
        assert session is not None
        home = open_home(settings)
        names = sorted({*names_in(home), name})
        number = len(names)
        for path, text in {
            "pairs/model=any/pairs.parquet": "\n".join(names),
            f"map/model={number}/map.parquet": name,
        }.items():
            file = home.warehouse / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        shutil.rmtree(home.warehouse / "map" / f"model={number - 1}", ignore_errors=True)
        return session.publish("run")


def files_of(settings: Settings) -> dict[str, str]:
    """The SHA-256 of every shared file by its path."""
    found = pull_swap.shared_files(settings.home)
    return {name: hashlib.sha256(file.read_bytes()).hexdigest() for name, file in found}


def current(bucket: MemoryBucket) -> dict[str, object]:
    """The generation in force, after checking that all its objects are there with their content."""
    pointer = json.loads(bucket.content("CURRENT"))
    if pointer["generation"] is None:
        return {}
    generation = json.loads(bucket.content(f"generations/{pointer['generation']}.json"))
    for file in generation["files"].values():
        assert hashlib.sha256(bucket.content(file["object"])).hexdigest() == file["sha256"]
    return generation


def expire_lease(bucket: MemoryBucket) -> None:
    """Let another process take the lease, as if its holder had slept for too long."""
    stored = bucket.read("LEASE")
    assert stored is not None
    bucket.replace("LEASE", json.dumps(json.loads(stored.data) | {"released": True}).encode(), stored.etag)


@pytest.mark.usefixtures("any_tables")
def test_machines_take_turns(bucket: MemoryBucket, first: Settings, second: Settings) -> None:
    run_with(first, "a")
    run_with(second, "b")
    run_with(first, "c")
    with store_session(second, "a test"):
        assert files_of(second) == files_of(first)
        assert names_in(open_home(second)) == ["a", "b", "c"]
    assert current(bucket)["number"] == 3


@pytest.mark.usefixtures("any_tables")
def test_the_doctor_tells_what_the_store_has_and_who_is_at_work(
    bucket: MemoryBucket, first: Settings, second: Settings
) -> None:
    assert describe_store(first) == f"{ADDRESS}: no tables yet"
    run_with(first, "a")
    assert describe_store(first).endswith("which the home has")
    assert describe_store(second).endswith("newer than the home's: the next query or run takes it")
    with store_session(first, "a test"):
        assert f"process {os.getpid()} in {first.home} (a test)" in describe_store(second)


@pytest.mark.usefixtures("any_tables")
def test_unchanged_files_are_uploaded_once(bucket: MemoryBucket, first: Settings) -> None:
    earlier = run_with(first, "a")
    bucket.operations.clear()
    again = run_with(first, "a")
    assert len(bucket.operations) == 8, bucket.operations
    assert (again.generation, again.uploaded) == (earlier.generation, 0)
    later = run_with(first, "b")
    assert (later.uploaded, later.files) == (2, 3), "the record of the home is as it was"
    assert current(bucket)["number"] == 2


@pytest.mark.usefixtures("any_tables")
def test_decisions_of_both_machines_are_kept(bucket: MemoryBucket, first: Settings, second: Settings) -> None:
    def decide(settings: Settings, name: str) -> None:
        files = (File("a" * 64, f"{name}-a.png"), File("b" * 64, f"{name}-b.png"))
        record(open_home(settings), [SetDecision(NOT_DUPLICATES, files)], by=name)

    run_with(first, "a")
    decide(first, "before")
    run_with(first, "a")
    run_with(second, "a")
    decide(first, "one")
    decide(second, "two")
    for settings in (second, first, second):
        run_with(settings, "a")
    for settings in (first, second):
        home = open_home(settings)
        assert [event.by for event in read_decisions(home).events] == ["before", "two", "one"]
        assert verify_decisions(home).startswith("3 verified")


@pytest.mark.usefixtures("any_tables")
def test_another_home_is_refused(bucket: MemoryBucket, first: Settings, second: Settings) -> None:
    run_with(first, "a")
    other = open_home(replace(second, store=None))
    (other.warehouse / "manifest").mkdir(parents=True)
    (other.warehouse / "manifest" / "shard=00.parquet").write_text("its own")
    before = sorted(path.name for path in other.path.iterdir())
    with pytest.raises(StoreError, match="another home"), store_session(second, "a test"):
        pass
    assert sorted(path.name for path in other.path.iterdir()) == before, "nothing was written"


def test_a_store_that_is_away_ends_a_run_before_anything_is_written(
    bucket: MemoryBucket, first: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(key: str, *, unless: str | None = None) -> None:
        raise UnreachableStoreError("The store can't be reached")

    monkeypatch.setattr(bucket, "read", fail)
    with pytest.raises(UnreachableStoreError), store_session(first, "a test"):
        pass
    assert not first.home.exists()


def test_tables_that_do_not_belong_together_are_not_committed(
    bucket: MemoryBucket, first: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_store, "keep_complete_state", lambda home: False)
    assert run_with(first, "a").generation == ""
    assert bucket.all_keys() == {"LEASE"}


@pytest.mark.usefixtures("any_tables")
@pytest.mark.parametrize("holder_commits_first", [False, True])
def test_a_sleeper_can_not_commit(
    bucket: MemoryBucket, first: Settings, second: Settings, holder_commits_first: bool
) -> None:
    """The first machine slept in its run. The second has taken the lease over, and has committed or not."""
    run_with(first, "a")
    with store_session(first, "a test") as sleeper:
        assert sleeper is not None
        expire_lease(bucket)
        with store_session(second, "a test") as holder:
            assert holder is not None
            if holder_commits_first:
                run_with(second, "b")
            with pytest.raises(ChangedObjectError, match="run again"):
                run_with(first, "c")
            run_with(second, "d")
    run_with(first, "c")
    assert names_in(open_home(first)) == (["a", "b", "c", "d"] if holder_commits_first else ["a", "c", "d"])


@pytest.mark.usefixtures("any_tables")
@pytest.mark.parametrize("kill_after", [False, True])
def test_a_process_that_dies_at_any_operation_loses_nothing(
    bucket: MemoryBucket, first: Settings, second: Settings, kill_after: bool
) -> None:
    """The second machine takes the tables, changes them and commits; it dies at each operation, then runs again."""
    run_with(first, "a")
    contents = bucket.contents()
    run_with(first, "b")
    expected = files_of(first)
    number = 0
    while True:
        number += 1
        bucket.reset(contents)
        shutil.rmtree(second.home, ignore_errors=True)
        bucket.kill_at, bucket.kill_after = number, kill_after
        try:
            run_with(second, "b")
        except KilledError:
            bucket.kill_at = 0
            assert current(bucket)["number"] in (1, 2)
            run_with(second, "b")
            assert current(bucket)["number"] == 2, "and no third"
            assert files_of(second) == expected
        else:
            break
    assert number > 15


@pytest.mark.usefixtures("any_tables")
def test_a_process_that_dies_at_any_step_of_the_swap_leaves_it_to_the_next(
    bucket: MemoryBucket, first: Settings, second: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_with(first, "a")
    run_with(second, "a")
    run_with(first, "b")
    saved = second.home.with_name("saved")
    shutil.copytree(second.home, saved)
    replace_file, unlink_file = Path.replace, Path.unlink
    number, kill_at = 0, 0

    def die_in_time() -> None:
        nonlocal number
        number += pull_swap.is_ready(second.home)
        if number >= kill_at:
            raise KilledError

    def dying_replace(path: Path, target: Path) -> Path:
        die_in_time()
        return replace_file(path, target)

    def dying_unlink(path: Path, missing_ok: bool = False) -> None:
        die_in_time()
        unlink_file(path, missing_ok)

    is_killed = True
    while is_killed:
        kill_at, number, is_killed = kill_at + 1, 0, False
        shutil.rmtree(second.home)
        shutil.copytree(saved, second.home)
        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", dying_replace)
            patch.setattr(Path, "unlink", dying_unlink)
            try:
                with store_session(second, "a test"):
                    number = -1000
            except KilledError:
                is_killed = True
        # A reader opens the home, which finishes a swap that has begun.
        assert names_in(open_home(second)) in (["a"], ["a", "b"])
        with store_session(second, "a test"):
            assert files_of(second) == files_of(first)
    assert kill_at > 5


def embed(settings: Settings, embedder: FakeEmbedder) -> None:
    refresh_manifest(open_home(settings))
    refresh_embeddings(open_home(settings), embedder)


@pytest.mark.usefixtures("any_tables")
def test_real_tables_are_taken_and_an_overtaken_run_keeps_its_vectors(
    bucket: MemoryBucket, first: Settings, second: Settings, settled: None
) -> None:
    embedder = FakeEmbedder()
    assert first.images is not None
    write_pictures(first.images, 12)
    with store_session(first, "a test") as session:
        assert session is not None
        embed(first, embedder)
        session.publish()
    new = first.images.local("new.png")
    new.write_bytes(picture_bytes(60))
    with store_session(first, "a test") as sleeper:
        assert sleeper is not None
        embed(first, embedder)
        assert embedder.embedded == 13
        new.unlink()
        expire_lease(bucket)
        with store_session(second, "a test") as holder:
            assert holder is not None
            assert len(rows_of(second)) == 8, "two tables of each shard"
            first.images.local("family0/picture0000.png").unlink()
            embed(second, embedder)
            assert embedder.embedded == 13, "all vectors were taken"
            holder.publish()
        with pytest.raises(ChangedObjectError):
            sleeper.publish()
    new.write_bytes(picture_bytes(60))
    with store_session(first, "a test") as session:
        assert session is not None
        assert rows_of(first) == rows_of(second)
        embed(first, embedder)
        assert embedder.embedded == 13, "the vector of the run that could not commit was kept"
        session.publish()
    with store_session(second, "a test"):
        assert rows_of(first) == rows_of(second)


def rows_of(settings: Settings) -> dict[str, list[dict[str, object]]]:
    """The rows of all tables of a home."""
    folder = open_home(settings).warehouse
    return {file.relative_to(folder).as_posix(): tables.read(file).to_pylist() for file in folder.rglob("*.parquet")}
