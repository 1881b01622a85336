"""A home with several image roots by the commands: from one plain root to two named ones, a query, a missing root."""

import json

import pytest

from imgret_tests.support.command_place import NewPlace, Place
from imgret_tests.support.photos import EXACT_COPY, NEAR_COPY, ORIGINAL, photo, write_photos
from imgret_tests.support.pictures import write_pictures

pytestmark = [pytest.mark.server, pytest.mark.timeout(900)]

ROOTS = ("--images", "photos=./photos", "--images", "archive=./archive")
COPY = f"archive/{ORIGINAL}"


@pytest.fixture(scope="module")
def place(new_place: NewPlace, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Pictures and photos in one root, three other images and a copy of one of the photos in the second."""
    folder = tmp_path_factory.mktemp("several-roots")
    for root in ("photos", "archive"):
        (folder / root).mkdir()
    write_pictures(folder / "photos", 8)
    write_photos(folder / "photos")
    for seed in (7, 8, 9):
        photo(seed).save(folder / "archive" / f"{seed}.png")
    (folder / COPY).write_bytes((folder / "photos" / ORIGINAL).read_bytes())
    return new_place(folder)


def test_from_one_plain_root_to_two_named_ones_and_one_that_is_not_mounted(place: Place) -> None:
    near = json.dumps(f"photos/{NEAR_COPY}")
    plain = place.answer("run", "--images", "photos")
    assert (plain["usable"], plain["embedded"]) == (11, 10)  # two have the same bytes
    decided = place.run("review", "decide", ORIGINAL, NEAR_COPY, "--verdict", "not_duplicates")
    assert decided.returncode == 0, decided.stderr.decode()

    named = place.answer("run", *ROOTS)
    assert (named["images"], named["embedded"]) == (plain["images"] + 4, 3)
    place = place.with_environment(IMGRET_IMAGES="photos=./photos;archive=./archive")
    (decision,) = place.answer("review", "history")["decisions"]
    assert decision["state"] == "in_force"
    assert near in json.dumps(place.answer("duplicates", "--kind", "near"))
    assert near not in json.dumps(place.answer("duplicates", "--kind", "near", "--undecided"))
    hits = [hit["path"] for hit in place.answer("query", COPY, "-k", "20")["results"]]
    assert set(hits[:2]) == {f"photos/{ORIGINAL}", f"photos/{EXACT_COPY}"}
    assert {path.partition("/")[0] for path in hits} == {"photos", "archive"}
    below = place.answer("query", COPY, "-k", "20", "--folder", place.folder / "photos")["results"]
    assert {hit["path"] for hit in below} == {path for path in hits if path.startswith("photos/")}
    copies = json.dumps(place.answer("duplicates", "--kind", "exact"))
    assert all(json.dumps(path) in copies for path in (COPY, f"photos/{ORIGINAL}", f"photos/{EXACT_COPY}"))
    assert place.answer("run", "--verify")["embedded"] == 0

    (place.folder / "archive").rename(place.folder / "unmounted")
    missing = place.run("run")
    assert missing.returncode != 0
    assert b"image root archive" in missing.stderr
    assert b"nothing was deleted" in missing.stderr
    assert place.answer("query", "photos/" + ORIGINAL, "-k", "20")["results"]
