"""After kill -9 during a search for pairs or neighbours the next run goes on and writes the tables of a fresh home.

Also where many images have one vector: a search then compares one of them, and the tables hold all.
"""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from imgret_assets.domain.analysis.groups_table import refresh_groups
from imgret_assets.domain.similarity import neighbours_table, pair_search
from imgret_assets.domain.similarity.cascade import nearest_search, sieve
from imgret_assets.domain.similarity.pairs_table import refresh_pairs
from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.home import Home, open_home
from imgret_assets.settings import load_settings
from imgret_tests.support.processes import Process
from imgret_tests.support.vector_tables import SPACE, write_tables

COUNT, SHARDS = 400, 2
# Chunks of 48 rows, and a file after each piece; the other process stops before the fifth piece.
STOP_AT = 4
SETUP = """
import sys
from dataclasses import replace
from pathlib import Path
from imgret_assets.domain.similarity import neighbours_table, pair_search
from imgret_assets.domain.similarity.cascade import sieve, nearest_search
from imgret_assets.domain.similarity.pieces import answers, computing
from imgret_assets.domain.storage.home import open_home
from imgret_assets.settings import load_settings

computing.WRITE_EVERY_S, pair_search.BRUTE_FORCE_PAIRS, neighbours_table.BRUTE_FORCE_ROWS = 0.0, 0, 0
sieve.MAX_CHUNK_ROWS = nearest_search.CHUNK_ROWS = 48
table, folder, stop_at = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
home = open_home(load_settings({"home": folder, "shards": 2}, env={"IMGRET_ENV_FILE": "/dev/null"}))
searched = []
search = sieve.Sieve.search


def watched(self, *chunks_and_thresholds):
    if len(searched) == stop_at:
        say("stopped")
        wait()
    searched.append(chunks_and_thresholds)
    return search(self, *chunks_and_thresholds)


finished = []
read = answers.AnswerFiles.read


def watched_read(self, piece):
    answer = read(self, piece)
    finished.extend([piece] * (answer is not None))
    return answer


sieve.Sieve.search = watched
answers.AnswerFiles.read = watched_read
stop_before = sys.argv[4] if len(sys.argv) > 4 else None
rename = Path.replace


def watched_rename(self, target):
    if stop_before is not None and str(target).endswith(stop_before):
        say("stopped")
        wait()
    return rename(self, target)


Path.replace = watched_rename
if table == "pairs":
    from imgret_assets.domain.similarity.pairs_table import refresh_pairs
    refresh_pairs(home, "SPACE", 0.9)
else:
    neighbours_table.refresh_neighbours(home, "SPACE")
if table == "groups":
    from imgret_assets.domain.analysis.groups_table import refresh_groups
    refresh_groups(home, "SPACE")
say(f"{len(searched)} {len(finished)}")
""".replace("SPACE", SPACE.id)


@pytest.fixture(params=["different", pytest.param("repeated", marks=pytest.mark.exhaustive)])
def rows(rng: np.random.Generator, request: pytest.FixtureRequest) -> dict[str, tuple[float, ...]]:
    """Vectors by path; where repeated, ten contents have 30 further names each, more than a list has entries."""
    different = {f"{number:03d}.png": tuple(rng.normal(size=3).tolist()) for number in range(COUNT)}
    if request.param == "different":
        return different
    # By path, names of a content lie before, between and after the others.
    names = {f"{name * 13:03d}-{number}.png": f"{number:03d}.png" for number in range(10) for name in range(30)}
    return different | {name: different[path] for name, path in names.items()}


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pair_search, "BRUTE_FORCE_PAIRS", 0)
    monkeypatch.setattr(neighbours_table, "BRUTE_FORCE_ROWS", 0)
    monkeypatch.setattr(sieve, "MAX_CHUNK_ROWS", 48)
    monkeypatch.setattr(nearest_search, "CHUNK_ROWS", 48)


def home_at(folder: Path) -> Home:
    return open_home(load_settings({"home": folder, "shards": SHARDS}, env={"IMGRET_ENV_FILE": "/dev/null"}))


def refresh(table: str, home: Home) -> None:
    if table == "pairs":
        refresh_pairs(home, SPACE.id, 0.9)
    else:
        neighbours_table.refresh_neighbours(home, SPACE.id)
    if table == "groups":
        refresh_groups(home, SPACE.id)


def table_path(table: str, home: Home) -> Path:
    paths = {"pairs": tables.pairs_path, "nearest": tables.nearest_path, "groups": tables.groups_path}
    return paths[table](home.warehouse, SPACE.id)


@pytest.mark.parametrize("table", ["pairs", "nearest"])
@pytest.mark.parametrize("incremental", [False, True])
def test_a_killed_search_goes_on(
    tmp_path: Path, rows: dict[str, tuple[float, ...]], table: str, incremental: bool
) -> None:
    folder = tmp_path / "killed"
    home = home_at(folder)
    if incremental:
        write_tables(home, {path: rows[path] for path in sorted(rows)[: len(rows) * 7 // 10]})
        refresh(table, home)
    write_tables(home, rows)
    path = table_path(table, home)
    earlier = path.read_bytes() if path.exists() else None

    with Process(SETUP, [table, folder, STOP_AT]) as dying:
        assert dying.hear() == "stopped"
        dying.kill()
        assert dying.popen.returncode == -9
    assert len(list((home.work / table / SPACE.id).glob("*.npz"))) == STOP_AT
    assert (path.read_bytes() if path.exists() else None) == earlier

    with Process(SETUP, [table, folder, -1]) as second:
        searched, read = (int(number) for number in second.hear().split())
    assert read == STOP_AT, "it started again"
    assert searched > STOP_AT
    assert list((home.work / table / SPACE.id).glob("*")) == []

    assert_as_from_nothing(table, home, rows, tmp_path)


def assert_as_from_nothing(table: str, home: Home, rows: dict[str, tuple[float, ...]], folder: Path) -> None:
    fresh = home_at(folder / "fresh")
    write_tables(fresh, rows)
    refresh(table, fresh)
    for one in [table, *(["nearest"] if table == "groups" else [])]:
        found, expected = (pq.read_table(table_path(one, each)).to_pydict() for each in (home, fresh))
        assert found == expected


@pytest.mark.parametrize("rows", ["repeated"], indirect=True)
@pytest.mark.parametrize(
    ("table", "before", "incremental"),
    [
        pytest.param(table, before, incremental, marks=() if is_sample else pytest.mark.exhaustive)
        for table, before in (
            ("nearest", f"nearest/{SPACE.id}.parquet"),
            ("nearest", ".lists.npz"),
            ("nearest", "nearest.parquet"),
            ("groups", "groups.parquet"),
            ("pairs", "pairs.parquet"),
        )
        for incremental in (False, True)
        for is_sample in [table == "nearest" and before == "nearest.parquet" and incremental]
    ],
)
def test_a_search_that_is_killed_while_it_writes_loses_nothing(
    tmp_path: Path, rows: dict[str, tuple[float, ...]], table: str, before: str, incremental: bool
) -> None:
    home = home_at(tmp_path / "killed")
    if incremental:
        write_tables(home, {path: rows[path] for path in sorted(rows)[: len(rows) * 7 // 10]})
        refresh(table, home)
    write_tables(home, rows)
    with Process(SETUP, [table, home.path, -1, before]) as dying:
        assert dying.hear() == "stopped"
        dying.kill()
    refresh(table, home)
    assert_as_from_nothing(table, home, rows, tmp_path)
