"""The curl examples of docs/guide/api.md, over `imgret serve` with the model that comes along.

Belongs here: running them in order, and what they have to answer. Not here: the API's own tests (`imgret_tests/api`).
"""

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import pytest

from imgret_assets.domain.neo4j_server.host import unused_port
from imgret_assets.locations import PROJECT
from imgret_tests.support.command_place import NewPlace, Place
from imgret_tests.support.docs_commands import Shown, shown_on
from imgret_tests.support.photos import ORIGINAL, photo, write_photos
from imgret_tests.support.pictures import write_pictures

pytestmark = [
    pytest.mark.server,
    pytest.mark.timeout(900),
    pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl"),
]

PAGE = PROJECT / "docs/guide/api.md"
WITHIN_S = 120.0
SHOWN_PORT = "8600"
TOKEN = "0123456789abcdef0123"
CURL = 'curl -H "Authorization: Bearer $IMGRET_API_TOKEN"'
EXAMPLES = [line for line in shown_on(PAGE) if "curl" in line.line]
# What an answer has in it that is no problem.
MEMBER = {
    "/v1/similar": "answers",
    "/v1/images/a.jpg": "relationships",
    "/v1/groups": "groups",
    "/v1/duplicates": "duplicates",
    "/healthz": "status",
    "/readyz": "status",
    "/openapi.json": "paths",
}


@pytest.fixture(scope="module")
def place(new_place: NewPlace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A folder with the files that the page names, and a server with a token; its port is in the environment."""
    folder = tmp_path_factory.mktemp("api-examples")
    images = folder / "images"
    images.mkdir()
    write_pictures(images, 8)
    write_photos(images)
    (images / "a.jpg").write_bytes((images / ORIGINAL).read_bytes())
    photo(1).resize((500, 400)).save(folder / "query.png")
    port = str(unused_port())
    place = new_place(folder, IMGRET_IMAGES=str(images), IMGRET_API_PORT=port, IMGRET_API_TOKEN=TOKEN)
    built = place.run("run", "--json")
    assert built.returncode == 0, built.stderr.decode()
    log = (folder / "serve.log").open("wb")
    server = subprocess.Popen(
        [sys.executable, "-m", "imgret_assets.cli.main", "serve"], env=place.environment, cwd=folder, stderr=log
    )
    try:
        wait_until_ready(f"http://127.0.0.1:{port}/readyz", server)
        yield place
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(WITHIN_S)
        log.close()
    assert server.returncode in (0, -signal.SIGTERM), (folder / "serve.log").read_text()


def wait_until_ready(address: str, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + WITHIN_S
    while time.monotonic() < deadline:
        assert server.poll() is None, "the server has ended"
        with suppress(HTTPError, URLError, ConnectionError, TimeoutError):
            urlopen(address, timeout=5).close()  # noqa: S310 - an address made here
            return
        time.sleep(0.1)
    raise TimeoutError(address)


def test_the_page_shows_every_address() -> None:
    shown = " ".join(line.line for line in EXAMPLES)
    assert [address for address in MEMBER if address not in shown] == []


@pytest.mark.parametrize("line", EXAMPLES, ids=lambda line: line.line)
def test_each_example_answers(place: Place, line: Shown) -> None:
    # Every example but one is for a server without a token.
    authorised = line.line if "Authorization" in line.line else line.line.replace("curl ", f"{CURL} ", 1)
    done = place.shell(authorised.replace(f":{SHOWN_PORT}", f":{place.environment['IMGRET_API_PORT']}"))
    assert done.returncode == 0, done.stderr.decode()
    address = line.line.split(f":{SHOWN_PORT}")[1].split("?")[0].strip('"')
    if "-o " in line.line:
        assert (place.folder / "thumbnail.jpg").read_bytes().startswith(b"\xff\xd8")
    elif address == "/metrics":
        assert b"imgret_api_requests_total" in done.stdout
    else:
        document = json.loads(done.stdout)
        assert document[MEMBER[address]], document
        assert document.get("failed", []) == []


def test_an_answer_is_that_of_the_command(place: Place) -> None:
    port = place.environment["IMGRET_API_PORT"]
    asked = place.shell(f"{CURL} -F image=@query.png -F k=4 -F mode=exact http://127.0.0.1:{port}/v1/similar")
    command = json.loads(place.run("query", "query.png", "-k", 4, "--mode", "exact", "--json").stdout)
    [answer] = json.loads(asked.stdout)["answers"]
    assert [(hit["path"], hit["score"]) for hit in answer["results"]] == [
        (hit["path"], hit["score"]) for hit in command["results"]
    ]
