"""Tables in a bucket by the commands: two machines in turn, a graph that has fallen behind, a store that is away."""

from pathlib import Path

import pytest

from imgret_tests.support.command_place import NewPlace, Place
from imgret_tests.support.photos import ORIGINAL, photo, write_photos
from imgret_tests.support.pictures import write_pictures
from imgret_tests.support.s3_server import OwnBucket

pytestmark = [pytest.mark.server, pytest.mark.timeout(900)]


@pytest.fixture
def machines(s3: OwnBucket, new_place: NewPlace, tmp_path: Path) -> tuple[Place, Place]:
    """Two machines that see photos and pictures, each with a home without tables, and an empty bucket."""
    (tmp_path / "photos").mkdir()
    write_pictures(tmp_path / "photos", 8)
    write_photos(tmp_path / "photos")
    given = {**s3.environment, "IMGRET_STORE": f"s3://{s3.bucket}/tables"}
    return new_place(tmp_path, home="first", **given), new_place(tmp_path, home="second", **given)


def test_two_machines_take_turns_and_a_store_that_is_away_stops_runs_alone(
    machines: tuple[Place, Place], s3: OwnBucket
) -> None:
    first, second = machines
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
