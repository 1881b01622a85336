"""Runs over images and tables in a bucket, killed at random moments, end with what a run over files gives."""

import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from neo4j import Driver

from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.home import open_home
from imgret_assets.settings import load_settings
from imgret_tests.support.command_place import NewPlace, Place
from imgret_tests.support.photos import photo
from imgret_tests.support.pictures import write_pictures
from imgret_tests.support.s3_server import OwnBucket

pytestmark = [pytest.mark.server, pytest.mark.exhaustive, pytest.mark.timeout(3600)]

KILLS = 20


def test_twenty_kills_leave_nothing_missing_and_nothing_twice(
    s3: OwnBucket, new_place: NewPlace, shared_database: Driver, tmp_path: Path
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    write_pictures(photos, 12)
    for number in range(6):
        photo(number // 2).save(photos / f"photo-{number}.png")
    s3.store.upload(photos, s3.bucket, "photos")
    given = {
        **s3.environment,
        "IMGRET_IMAGES": f"s3://{s3.bucket}/photos",
        "IMGRET_STORE": f"s3://{s3.bucket}/tables",
        "IMGRET_LOCK_TIMEOUT_S": "60",
    }
    machines = [new_place(tmp_path, home=f"machine-{number}", **given) for number in range(2)]
    rng = np.random.default_rng(20261128)
    whole_s, killed, number = 12.0, 0, 0
    while killed < KILLS:
        number += 1
        assert number < 4 * KILLS, "the runs end before they are killed"
        if number % 4 == 0:
            # Something new to do, which the next run may be killed over.
            photo(100 + number).save(photos / f"new-{number}.png")
            s3.store.put(s3.bucket, f"photos/new-{number}.png", (photos / f"new-{number}.png").read_bytes())
        place = machines[number % 2]
        started = time.monotonic()
        killed += run_and_kill(place, rng.uniform(0.0, whole_s))
        whole_s = max(whole_s, time.monotonic() - started)

    for place in machines:
        place.answer("run")
    graph = graph_of(shared_database)
    on_files = new_place(tmp_path, home="on-files")
    assert on_files.run("db", "adopt", "--wipe").returncode == 0
    on_files.answer("run", "--images", "photos")
    expected = rows_of(on_files)
    assert {name: len(rows) > 0 for name, rows in expected.items()} == dict.fromkeys(expected, True)
    for place in machines:
        assert rows_of(place) == expected
    assert graph == graph_of(shared_database)


def rows_of(place: Place) -> dict[str, list[tuple[object, ...]]]:
    """Return the rows of all tables, without what depends on where the images lie."""
    home = open_home(load_settings(env=dict(place.environment)))
    (space,) = [folder.name.partition("=")[2] for folder in (home.warehouse / "embeddings").iterdir()]
    files = {
        "embeddings": [tables.embeddings_path(home.warehouse, space, shard) for shard in home.shards],
        "pairs": [tables.pairs_path(home.warehouse, space)],
        "nearest": [tables.nearest_path(home.warehouse, space)],
        "duplicates": [tables.duplicates_path(home.warehouse)],
        "groups": [tables.groups_path(home.warehouse, space)],
    }
    return {
        name: sorted(tuple(map(repr, row.values())) for path in paths for row in tables.read(path).to_pylist())
        for name, paths in files.items()
    }


def graph_of(database: Driver) -> list[list[tuple[object, ...]]]:
    """Return what the graph says about images and their relationships."""
    nodes = "MATCH (n:Image) RETURN n.path, n.sha256, n.label, n.group, n.embeddings ORDER BY n.path"
    relationships = (
        "MATCH (a:Image)-[r]->(b:Image) RETURN a.path AS a, type(r) AS kind, b.path AS b, r.score ORDER BY a, kind, b"
    )
    return [
        [tuple(map(repr, row.values())) for row in database.execute_query(each).records]
        for each in (nodes, relationships)
    ]


def run_and_kill(place: Place, after_s: float) -> bool:
    """Start a run, kill it and its children after some seconds; return False where it had ended by then."""
    with subprocess.Popen(
        [place.program, "run"],
        cwd=place.folder,
        env=place.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as run:
        try:
            run.wait(after_s)
        except subprocess.TimeoutExpired:
            os.killpg(run.pid, signal.SIGKILL)
            return True
    return False
