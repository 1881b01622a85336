"""The commands of README.md and docs/ do what the pages say, over a small home with the model that comes along.

Belongs here: running those that are quick and harmless. Not here: docs/guide/command-line.md
(`server.test_command_line`), which of them are not run and why (`imgret_tests.support.docs_commands`), whether they
exist at all (`unit.test_docs`).
"""

import json
import sys

import pytest

from imgret_tests.support.command_place import NewPlace, Place
from imgret_tests.support.docs_commands import COMMAND_LINE, PAGES, Shown, all_shown, shown_on
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
def place(new_place: NewPlace, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A user's folder as the pages name things in it: pictures, a home, files to ask with, copies that are decided."""
    folder = tmp_path_factory.mktemp("docs-commands")
    images = folder / "Pictures"
    images.mkdir()
    write_pictures(images, 8)
    write_photos(images)
    for name in ("a.jpg", "b.jpg"):
        (images / name).write_bytes((images / ORIGINAL).read_bytes())
    (images / "photos/2024").mkdir(parents=True)
    photo(9).save(images / "photos/2024/hut.png")
    (folder / "moved-photos").symlink_to(images)
    for seed, name in enumerate(("c.jpg", "d.jpg", "street.jpg"), 5):
        photo(seed).resize((500, 400)).save(folder / name)
    (folder / "Downloads").mkdir()
    photo(1).resize((500, 400)).save(folder / "query.png")
    photo(2).save(folder / "Downloads" / "chair.jpg")
    (folder / "Downloads" / "known.png").write_bytes((images / ORIGINAL).read_bytes())
    (folder / ".venv").symlink_to(sys.prefix)
    place = new_place(folder, home="imgret-home", HOME=str(folder), IMGRET_IMAGES=str(images))
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
    named = place.with_environment(IMGRET_IMAGES=None)
    done = (named if "--images" in line.line else place).shell(f"set -o pipefail; {line.line}")
    expected = 11 if "--fail-on-found" in line.line or line.line.startswith("imgret known") else 0
    assert done.returncode == expected, done.stderr.decode()
    assert b"Traceback" not in done.stderr
    if "--json" in line.line:
        assert json.loads(done.stdout)
