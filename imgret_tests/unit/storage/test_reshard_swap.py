"""The swap at the end of resharding, and finishing it after a kill at any of its steps."""

import shutil
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from imgret_assets.domain.storage import atomic_files, tables
from imgret_assets.domain.storage.home import Home, open_home
from imgret_assets.domain.storage.home_record import read_record, shard_keys
from imgret_assets.domain.storage.reshard_swap import finish_swap, is_ready, mark_ready, staging_folder
from imgret_assets.errors import HomeError

TABLES = ("manifest", "embeddings/model=x")
SHARDS = 2


class Killed(BaseException):
    """Stands for a kill."""


def fill(folder: Path, shards: int) -> None:
    """Write a file for each shard of two tables; its text says of how many shards it is."""
    for table in TABLES:
        (folder / table).mkdir(parents=True)
        for key in shard_keys(shards):
            (folder / table / f"shard={key}.parquet").write_text(f"{key} of {shards}")


def contents(folder: Path) -> dict[str, str]:
    return {file.relative_to(folder).as_posix(): file.read_text() for file in folder.rglob("*.parquet")}


@pytest.fixture
def resharded(home: Home) -> Home:
    """A home of four shards whose tables of two shards are ready."""
    fill(home.warehouse, 4)
    fill(staging_folder(home.path), SHARDS)
    mark_ready(home.path, SHARDS)
    return home


def assert_finished(home: Home) -> None:
    expected = {f"{table}/shard={key}.parquet": f"{key} of {SHARDS}" for table in TABLES for key in ("00", "01")}
    assert contents(home.warehouse) == expected
    record = read_record(home.path)
    assert record is not None
    assert (record.id, record.shards) == (home.record.id, SHARDS)
    assert not staging_folder(home.path).exists()


def test_the_new_tables_take_the_place_of_the_old_ones(resharded: Home) -> None:
    assert is_ready(resharded.path)
    record = finish_swap(resharded.path)
    assert record == read_record(resharded.path)
    assert_finished(resharded)
    assert not is_ready(resharded.path)
    assert finish_swap(resharded.path) is None


def test_without_a_marker_nothing_is_swapped(home: Home) -> None:
    """A run killed before the marker leaves a half-made staging folder."""
    fill(home.warehouse, 4)
    fill(staging_folder(home.path), SHARDS)
    before = contents(home.warehouse)
    assert finish_swap(home.path) is None
    assert open_home(home.settings).record.shards == 4
    assert contents(home.warehouse) == before


def test_no_home_is_no_swap(tmp_path: Path) -> None:
    assert finish_swap(tmp_path) is None


@pytest.mark.parametrize("steps", range(12))
def test_a_swap_that_was_killed_is_finished_when_the_home_is_opened(
    resharded: Home, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    """Twelve steps: four moves, four removals of old files, three of writing the record, the removal of the folder."""
    done = 0

    def counted(step):
        def run(*arguments, **options):
            nonlocal done
            if done == steps:
                raise Killed
            done += 1
            return step(*arguments, **options)

        return run

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", counted(Path.replace))
        patch.setattr(Path, "unlink", counted(Path.unlink))
        patch.setattr(atomic_files, "write_json", counted(atomic_files.write_json))
        patch.setattr(shutil, "rmtree", counted(shutil.rmtree))
        with pytest.raises(Killed):
            finish_swap(resharded.path)
    assert open_home(replace(resharded.settings, shards=None)).record.shards == SHARDS
    assert_finished(resharded)


@pytest.mark.parametrize("marker", ["", "{", "[2]", "{}", '{"shards": 0}', '{"shards": "many"}', "\0\0"])
@pytest.mark.parametrize("moved", [0, 1])
def test_a_damaged_marker_is_replaced_by_what_the_new_tables_say(
    home: Home, marker: str, moved: int, caplog: pytest.LogCaptureFixture
) -> None:
    for key in shard_keys(SHARDS)[moved:]:
        path = staging_folder(home.path) / "manifest" / f"shard={key}.parquet"
        tables.write(path, pa.table({"n": [1]}), {"shards": str(SHARDS)})
    mark_ready(home.path, SHARDS)
    (staging_folder(home.path) / "READY.json").write_text(marker)
    record = finish_swap(home.path)
    assert record is not None
    assert record.shards == SHARDS
    assert "READY.json is damaged; the new tables have 2 shards" in caplog.text


def test_a_damaged_marker_without_new_tables_is_named(home: Home) -> None:
    mark_ready(home.path, SHARDS)
    (staging_folder(home.path) / "READY.json").write_text("{")
    with pytest.raises(HomeError, match=r"READY\.json is damaged.*the next command then finishes the reshard"):
        open_home(home.settings)
