"""The commands of README.md and docs/ do what the pages say, over a small home with the model that comes along.

Belongs here: running those that are quick and harmless. Not here: docs/guide/command-line.md
(`server.test_command_line`), which of them are not run and why (`imgret_tests.support.docs_commands`), whether they
exist at all (`unit.test_docs`).
"""

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from neo4j import Driver

from imgret_tests.server.test_command_line import Place
from imgret_tests.support.docs_commands import COMMAND_LINE, PAGES, Shown, all_shown, shown_on
from imgret_tests.support.neo4j_server import TestedServer, clean_environment
from imgret_tests.support.photos import EXACT_COPY, ORIGINAL, photo, write_photos
from imgret_tests.support.pictures import write_pictures

pytestmark = [pytest.mark.server, pytest.mark.timeout(900)]

PAGE = next(page for page in PAGES if page.name == COMMAND_LINE)


def lines() -> list[Shown]:
    """What is run here: each line once, and none that docs/guide/command-line.md has."""
    run_there = {line.plain for line in shown_on(PAGE)}
    wanted = [line for line in all_shown() if line.reason_not_run is None and line.plain not in run_there]
    return list({line.plain: line for line in wanted}.values())


@pytest.fixture(scope="module")
def place(
    tested_server: TestedServer,
    shared_database: Driver,
    lite0_home: Path,
    imgret_program: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Place:
    """A user's folder as the pages name things in it: pictures, a home, files to ask with, copies that are decided."""
    del shared_database
    folder = tmp_path_factory.mktemp("docs-commands")
    home, images = folder / "imgret-home", folder / "Pictures"
    home.mkdir()
    images.mkdir()
    (home / "models").symlink_to(lite0_home / "models")
    write_pictures(images, 8)
    write_photos(images)
    for name in ("a.jpg", "b.jpg"):
        (images / name).write_bytes((images / ORIGINAL).read_bytes())
    (folder / "moved-photos").symlink_to(images)
    for seed, name in enumerate(("c.jpg", "d.jpg", "street.jpg"), 5):
        photo(seed).resize((500, 400)).save(folder / name)
    (folder / "Downloads").mkdir()
    photo(1).resize((500, 400)).save(folder / "query.png")
    photo(2).save(folder / "Downloads" / "chair.jpg")
    (folder / "Downloads" / "known.png").write_bytes((images / ORIGINAL).read_bytes())
    (folder / ".venv").symlink_to(sys.prefix)
    found = tested_server.connection
    given = {
        "HOME": str(folder),
        "IMGRET_HOME": str(home),
        "IMGRET_IMAGES": str(images),
        "IMGRET_MODEL": "efficientnet_lite0",
        "NEO4J_URI": found.uri,
        "NEO4J_USERNAME": found.username,
        "NEO4J_PASSWORD": found.password,
        "PATH": os.pathsep.join(map(str, (imgret_program.parent, Path(sys.executable).parent, os.environ["PATH"]))),
    }
    place = Place(folder, clean_environment() | given, imgret_program)
    built = place.run("run", "--json")
    assert built.returncode == 0, built.stderr.decode()
    decided = place.run("review", "decide", ORIGINAL, EXACT_COPY, "--verdict", "duplicate", "--keep", ORIGINAL)
    assert decided.returncode == 0, decided.stderr.decode()
    return place


def test_a_good_part_is_run() -> None:
    pages = {line.page for line in lines()}
    assert pages >= {"README.md", "duplicates.md", "operating.md", "queries.md", "review.md"}
    assert len(lines()) >= 20


@pytest.mark.parametrize("line", lines(), ids=lambda line: f"{line.page}: {line.line}")
def test_every_command_does_what_it_says(place: Place, line: Shown) -> None:
    # A run that names its images is to have no others in its environment.
    named = replace(
        place, environment={key: value for key, value in place.environment.items() if key != "IMGRET_IMAGES"}
    )
    done = (named if "--images" in line.line else place).shell(f"set -o pipefail; {line.line}")
    expected = 11 if "--fail-on-found" in line.line or line.line.startswith("imgret known") else 0
    assert done.returncode == expected, done.stderr.decode()
    assert b"Traceback" not in done.stderr
    if "--json" in line.line:
        assert json.loads(done.stdout)
