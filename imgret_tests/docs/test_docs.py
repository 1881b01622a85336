"""Every Cypher example of the documentation runs on a graph that imgret has built, and finds something."""

import re
from collections.abc import Iterator

import pytest
from neo4j import Driver

from imgret_assets.cli.support.cypher_text import Command, split
from imgret_assets.locations import PROJECT
from imgret_tests.support.graph_fixtures import Graph, chain_on
from imgret_tests.support.neo4j_server import TestedServer
from imgret_tests.support.pictures import picture_bytes
from imgret_tests.support.tree import put

pytestmark = pytest.mark.server

DOCS = ("reference/graph.md", "guide/groups.md", "guide/duplicates.md")
BLOCK = re.compile(r"(?:^    \S.*\n(?:^(?:    .*)?\n)*)", re.MULTILINE)
# The image that the examples name.
NAMED = "cars/suv/ibex-plain.jpg"


def examples(page: str) -> list[str]:
    """The indented blocks of a page that are Cypher."""
    text = (PROJECT / "docs" / page).read_text(encoding="utf-8")
    return [block for block in BLOCK.findall(text) if re.match(r"    (CYPHER|MATCH|CALL|:embed|:param)\b", block)]


@pytest.fixture(scope="module")
def graph(tested_server: TestedServer, shared_database: Driver, tmp_path_factory: pytest.TempPathFactory) -> Graph:
    """24 pictures of four families, the named one, and a copy of it."""
    chain = chain_on(tested_server, tmp_path_factory.mktemp("docs"))
    for seed in range(24):
        put(chain.root, f"family{seed % 4}/{seed:04d}.jpg", picture_bytes(seed, family=seed % 4, form="JPEG"))
    put(chain.root, NAMED, picture_bytes(100, form="JPEG"))
    put(chain.root, "copies/of/a/picture-with-a-long-name.jpg", (chain.root / NAMED).read_bytes())
    graph = Graph(chain, shared_database)
    # Lower than by default, so that groups have relationships between them, too.
    graph.chain.home.update(threshold=-1.0)
    graph.refresh_all()
    return graph


@pytest.fixture
def projections(graph: Graph) -> Iterator[None]:
    """Projected graphs that an example leaves are a failure of the next one, which uses their names."""
    yield
    assert graph.rows("CALL gds.graph.list() YIELD graphName RETURN graphName") == []


@pytest.mark.parametrize("page", DOCS)
def test_each_example_runs_and_finds_something(graph: Graph, projections: None, page: str) -> None:
    found = examples(page)
    assert found
    parameters = {}
    for block in found:
        parts, rest = split(re.sub(r"^    ", "", block, flags=re.MULTILINE))
        assert rest == "", block
        for part in parts:
            if isinstance(part, Command):
                name, value = part.name_and_value() or ("", "")
                parameters[name] = int(value) if part.name == "param" else list(graph.vectors()[NAMED])
            else:
                records = graph.driver.execute_query(part, parameters).records  # type: ignore[arg-type]
                assert records, part
