"""Many askers at once: each gets the answer that it gets alone, nobody waits much longer than the others.

The exhaustive tests let fifty clients ask for a minute, in each mode through the functions and on the page; they print
rate, waiting times, errors and memory. The ordinary ones are a sample of a few seconds with a fake model.
"""

import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count, pairwise
from pathlib import Path

import pytest
from neo4j import Driver

from imgret_assets.app import navigation
from imgret_assets.domain.graph.connection import open_database
from imgret_assets.domain.search.find_similar import find_similar
from imgret_assets.domain.search.query import MODES, Answer, Query, QueryImage, read_query
from imgret_assets.domain.similarity.neighbours_table import refresh_neighbours
from imgret_assets.domain.storage.home import Home, open_home
from imgret_assets.locations import PROJECT
from imgret_assets.settings import Settings, load_settings
from imgret_tests.support.browser import PageProcess, page_process
from imgret_tests.support.fake_model import FakeEmbedder
from imgret_tests.support.graph_fixtures import Graph, chain_on
from imgret_tests.support.load import Load, ask_in_threads, visit
from imgret_tests.support.neo4j_server import TestedServer, clean_environment
from imgret_tests.support.page_visitors import Address, View, Visitor
from imgret_tests.support.photos import photo
from imgret_tests.support.pictures import write_pictures

pytestmark = [pytest.mark.server, pytest.mark.timeout(900)]

CLIENTS, SECONDS = 50, 60.0
SAMPLE_CLIENTS, SAMPLE_SECONDS = 12, 0.7
# The first seconds fill caches, such as thumbnails and connections.
WARM_UP_SECONDS = 15.0
MAX_RATIO = 5.0
MAX_GROWTH_BYTES = 64 << 20
VIEWS_PER_SESSION = 3
# `imgret app` with the fake model for queries.
FAKE_PAGE = textwrap.dedent("""
    from types import SimpleNamespace

    from imgret_assets.app.components import comparison
    from imgret_assets.cli.main import main
    from imgret_assets.domain.search import explain, find_similar
    from imgret_tests.support.fake_model import fake_embedder

    for module in (explain, find_similar):
        module.query_embedder = lambda home, space: fake_embedder("fake")
    comparison.resolve_space = lambda home, space: SimpleNamespace(space=fake_embedder("fake").space)
    main()
""")


@dataclass(frozen=True)
class Library:
    """A home with a graph, the images that are asked for, and who embeds them: None for the process's own embedder."""

    home: Home
    environment: dict[str, str]
    paths: list[str]
    embedder: FakeEmbedder | None = None

    def image(self, number: int) -> QueryImage:
        return read_query(self.home.images / self.paths[number % len(self.paths)], self.home.images)


def environment_of(settings: Settings, server: TestedServer) -> dict[str, str]:
    """What a process needs to use a home with its graph in the server under test."""
    found = server.connection
    return {
        "IMGRET_HOME": str(settings.home),
        "IMGRET_IMAGES": str(settings.images),
        "IMGRET_SHARDS": str(settings.shards),
        "NEO4J_URI": found.uri,
        "NEO4J_USERNAME": found.username,
        "NEO4J_PASSWORD": found.password,
        "PYTHONPATH": str(PROJECT),
    }


@pytest.fixture(scope="module")
def small(tested_server: TestedServer, shared_database: Driver, tmp_path_factory: pytest.TempPathFactory) -> Library:
    """Forty pictures in eight folders, embedded by the fake model."""
    graph = Graph(chain_on(tested_server, tmp_path_factory.mktemp("askers")), shared_database)
    paths = write_pictures(graph.root, 40, families=8)
    graph.refresh_all()
    refresh_neighbours(graph.chain.home, graph.chain.space.id)
    environment = clean_environment() | environment_of(graph.chain.settings, tested_server)
    return Library(graph.chain.home, environment, paths, graph.chain.embedder)


@pytest.fixture
def library(tested_server: TestedServer, database: Driver, lite0_home: Path, tmp_path: Path) -> Library:
    """Three hundred images, embedded by the bundled model in a run of the command."""
    del database
    (tmp_path / "home").mkdir(exist_ok=True)
    (tmp_path / "home" / "models").symlink_to(lite0_home / "models")
    paths = write_pictures(tmp_path / "images", 240, families=16)
    for seed in range(60):
        paths.append(f"photos/{seed:02d}.jpg")
        (tmp_path / "images" / "photos").mkdir(exist_ok=True)
        photo(seed).save(tmp_path / "images" / paths[-1])
    settings = load_settings({"home": tmp_path / "home", "images": tmp_path / "images", "shards": 4})
    environment = clean_environment() | environment_of(settings, tested_server)
    environment["IMGRET_MODEL"] = "efficientnet_lite0"
    command = [sys.executable, "-m", "imgret_assets.cli.main", "run", "--json"]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return Library(open_home(load_settings(env=environment)), environment, paths[::7])


def asker(library: Library, database: object, mode: str) -> Callable[[int, int], str | None]:
    """Return a question that compares each answer with that of a lone asker, to the last bit."""

    def answer(number: int) -> Answer:
        query = Query(10, mode, relations=True)
        return find_similar(
            library.home, library.image(number), query, database=database, embedder=library.embedder  # type: ignore[arg-type]
        )  # fmt: skip

    alone = [answer(number) for number in range(len(library.paths))]
    assert {found.mode for found in alone} == {mode}
    assert all(len(found.results) == 10 for found in alone)

    def ask(client: int, number: int) -> str | None:
        place = (7 * client + number) % len(alone)
        found, expected = answer(place), alone[place]
        return None if found.results == expected.results else f"{found.query}: {found.results} != {expected.results}"

    return ask


def assert_good(load: Load, *, steady: bool) -> None:
    """No errors; if the load was `steady`, no starving client and no growing memory either."""
    assert load.failures == [], load.failures[:3]
    assert len(load.waited_s) >= load.clients
    if steady:
        assert load.p99_s <= MAX_RATIO * load.p50_s, load
        assert load.growth_bytes <= MAX_GROWTH_BYTES, load


@pytest.mark.parametrize("mode", MODES)
def test_a_few_askers_get_the_answers_of_one(small: Library, mode: str) -> None:
    with open_database(small.home.settings) as database:
        load = Load(mode, SAMPLE_CLIENTS, os.getpid())
        assert_good(ask_in_threads(load, asker(small, database, mode), seconds=SAMPLE_SECONDS), steady=False)


@pytest.mark.exhaustive
def test_fifty_askers_for_a_minute(library: Library) -> None:
    with open_database(library.home.settings) as database:
        for mode in MODES:
            ask = asker(library, database, mode)
            ask_in_threads(Load(f"{mode}, warming up", CLIENTS, os.getpid()), ask, seconds=WARM_UP_SECONDS)
            load = ask_in_threads(Load(mode, CLIENTS, os.getpid()), ask, seconds=SECONDS)
            assert_good(load, steady=True)


def search_addresses(library: Library, mode: str, number: int) -> list[Address]:
    return [
        Address(navigation.SEARCH, (("image", path), ("k", "10"), ("mode", mode))) for path in library.paths[:number]
    ]


def other_addresses(library: Library, number: int) -> list[Address]:
    """All pages but Search with an image: its start, the lists, and pages about one or two images."""
    paths = library.paths[: number + 1]
    lists = (navigation.SEARCH, navigation.DUPLICATES, navigation.GROUPS, navigation.REVIEW, navigation.OVERVIEW)
    return [
        *(Address(name) for name in lists),
        *(Address(navigation.GRAPH, (("image", path),)) for path in paths[:-1]),
        *(Address(navigation.COMPARE, (("a", a), ("b", b))) for a, b in pairwise(paths)),
    ]


def visit_page(page: PageProcess, name: str, addresses: list[Address], *, clients: int, seconds: float) -> Load:
    """Let visitors open addresses, each looked at several times; each view must be the one that a lone visitor sees."""
    alone: dict[Address, View] = {}

    async def look_alone(load: Load, _number: int, _until: float) -> None:
        for address in addresses:
            async with Visitor(page.address, navigation.SEARCH) as visitor:
                asked_at = time.monotonic()
                alone[address] = view = await visitor.view(address)
                load.note(asked_at, "; ".join(view.failures) or None)

    async def look(load: Load, number: int, until: float) -> None:
        for step in count():
            address = addresses[(7 * number + step) % len(addresses)]
            async with Visitor(page.address, navigation.SEARCH) as visitor:
                for _ in range(VIEWS_PER_SESSION):
                    if time.monotonic() >= until:
                        return
                    asked_at = time.monotonic()
                    load.note(asked_at, what_is_wrong(await visitor.view(address), alone[address]))

    # Once through all addresses; they also fill caches, such as thumbnails and the connection.
    assert_good(visit(Load(f"page, {name}, alone", 1, page.pid), look_alone, seconds=0.1), steady=False)
    for address, view in alone.items():
        mode = dict(address.query).get("mode")
        assert mode is None or any(f"mode {mode}" in caption for caption in view.captions), (address, view.captions)
    if seconds > WARM_UP_SECONDS:
        visit(Load(f"page, {name}, warming up", clients, page.pid), look, seconds=WARM_UP_SECONDS)
    return visit(Load(f"page, {name}", clients, page.pid), look, seconds=seconds)


def what_is_wrong(view: View, alone: View) -> str | None:
    if view.failures:
        return "; ".join(view.failures)
    return None if view.answer == alone.answer else f"{view.answer} != {alone.answer}"


def test_a_few_visitors_see_what_one_sees(small: Library, tmp_path: Path) -> None:
    start = ("-c", FAKE_PAGE)
    addresses = [*search_addresses(small, "rerank", 2), *other_addresses(small, 1)]
    with page_process(small.environment, tmp_path, start) as page:
        load = visit_page(page, "all pages", addresses, clients=SAMPLE_CLIENTS, seconds=SAMPLE_SECONDS)
    assert_good(load, steady=False)


@pytest.mark.exhaustive
def test_fifty_visitors_for_a_minute(library: Library, tmp_path: Path) -> None:
    kinds = {mode: search_addresses(library, mode, 30) for mode in MODES} | {"others": other_addresses(library, 10)}
    loads = []
    with page_process(library.environment, tmp_path) as page:
        for name, addresses in kinds.items():
            loads.append(visit_page(page, name, addresses, clients=CLIENTS, seconds=SECONDS))
    for load in loads:
        assert_good(load, steady=True)
