"""Tables in a bucket by the commands: two machines in turn, a graph that has fallen behind, a store that is away."""

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from subprocess import CompletedProcess, run
from typing import Any

import pytest
from neo4j import Driver

from imgret_tests.support.neo4j_server import TestedServer, clean_environment
from imgret_tests.support.object_stores import S3Server
from imgret_tests.support.photos import ORIGINAL, photo, write_photos
from imgret_tests.support.pictures import write_pictures

pytestmark = [pytest.mark.server, pytest.mark.timeout(900)]


@dataclass(frozen=True)
class Machine:
    """A working folder with images, the environment that leads to a home and to the store, and the program `imgret`."""

    folder: Path
    environment: Mapping[str, str]
    program: Path

    def run(self, *arguments: str) -> CompletedProcess[bytes]:
        return run(
            [self.program, *arguments],
            cwd=self.folder,
            env=dict(self.environment),
            capture_output=True,
            timeout=600,
            check=False,
        )

    def answer(self, *arguments: str) -> Any:
        done = self.run(*arguments, "--json")
        assert done.returncode == 0, done.stderr.decode()
        return json.loads(done.stdout)

    def with_environment(self, **changes: str) -> "Machine":
        return replace(self, environment={**self.environment, **changes})


@pytest.fixture
def first(
    s3: S3Server,
    tested_server: TestedServer,
    shared_database: Driver,
    lite0_home: Path,
    imgret_program: Path,
    tmp_path: Path,
) -> Machine:
    """A machine with photos and pictures, a home without tables, and an empty bucket."""
    del shared_database
    for home in ("first", "second"):
        (tmp_path / home).mkdir()
        (tmp_path / home / "models").symlink_to(lite0_home / "models")
    (tmp_path / "photos").mkdir()
    write_pictures(tmp_path / "photos", 8)
    write_photos(tmp_path / "photos")
    found = tested_server.connection
    given = {
        **s3.environment,
        "IMGRET_STORE": f"s3://{s3.bucket}/tables",
        "IMGRET_HOME": str(tmp_path / "first"),
        "IMGRET_MODEL": "efficientnet_lite0",
        "NEO4J_URI": found.uri,
        "NEO4J_USERNAME": found.username,
        "NEO4J_PASSWORD": found.password,
        "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"])),
    }
    return Machine(tmp_path, clean_environment() | given, imgret_program)


def test_two_machines_take_turns_and_a_store_that_is_away_stops_runs_alone(first: Machine, s3: S3Server) -> None:
    second = first.with_environment(IMGRET_HOME=str(first.folder / "second"))
    ran = first.answer("run", "--images", "photos")
    queries = [("query", ORIGINAL, "-k", "20"), ("duplicates",), ("groups",)]
    for query in queries:
        answers = [machine.answer(*query) for machine in (second, first)]
        for answer in answers:
            answer.pop("took_ms", None)
        assert answers[0] == answers[1], "an empty home has taken the tables"

    # As with a Neo4j of its own, of which nobody has told it.
    assert first.run("db", "adopt", "--wipe").returncode == 0
    photo(9).save(first.folder / "photos" / "new.png")
    again = second.answer("run")
    assert again["embedded"] == 1, "the vectors of the first machine were taken"
    assert again["nodes"] == ran["nodes"] + 1, "and the graph was made from the tables"

    hits = [hit["path"] for hit in first.answer("query", "new.png", "-k", "3")["results"]]
    assert hits, "the first machine has taken the table of the second"
    assert first.answer("run")["embedded"] == 0

    cut_off = first.with_environment(AWS_ENDPOINT_URL="http://127.0.0.1:1")
    answered = cut_off.run(*queries[0])
    assert answered.returncode == 0
    assert b"the tables are of 20" in answered.stderr
    assert b"can't be reached" in answered.stderr
    failed = cut_off.run("run")
    assert failed.returncode == 1
    assert b"The store can't be reached" in failed.stderr
    for done in (answered, failed):
        assert s3.environment["AWS_SECRET_ACCESS_KEY"].encode() not in done.stdout + done.stderr
